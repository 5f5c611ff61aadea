//! The actions there are on this box: what each may do, to what, and what
//! proves it.
//!
//! Invariant: inert, and complete before the daemon starts, so that the guard
//! can judge a proposal by it and the hands can obey it. What a permit's record
//! says of its action is in the record ([`Terms`]): yesterday's attempts mean
//! the same under today's catalogue.

mod builtin;
mod param;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Attrs, TargetId, selects};

/// What the names of an operator's own commands begin with.
pub const COMMAND: &str = "command.";
/// What the name of an action that takes another back ends with.
pub const UNDO: &str = ".undo";

/// What a box has where its file declares it.
pub const DISK_RECLAIM: &str = "disk.reclaim";
pub const LINK_BOUNCE: &str = "link.bounce";
pub const SYSTEM_REBOOT: &str = "system.reboot";
pub const TIME_RESYNC: &str = "time.resync";

pub use builtin::{NOTIFY, WORKLOAD_RESTART, WORKLOAD_START, WORKLOAD_STOP};
pub use param::{ParamKind, ParamSpec};

#[derive(Clone, Debug, PartialEq)]
pub struct ActionSpec {
    pub name: String,
    pub summary: String,
    /// Selectors of the targets it applies to.
    pub targets: Vec<String>,
    pub params: Vec<ParamSpec>,
    pub terms: Terms,
    pub reversible: bool,
    /// The hands give up after this long; a workload's own deadlines are added.
    pub timeout_ms: u64,
}

/// What an action costs, and what proves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// 0 none, 1 one workload, 2 several, 3 the box.
    pub disruption: u8,
    pub proof: Proof,
    /// How long its effect may take to show, besides the target's own start.
    pub settle_ms: u64,
    /// Taken back, by the action of its name and [`UNDO`], when it is not proven.
    pub undo: bool,
}

/// What must be seen before an attempt counts as a repair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Proof {
    /// The target runs, and each of its probes, begun after the action ended,
    /// is good so many times in a row.
    Probes,
    /// The hands saw the workload gone.
    Stopped,
    /// What it was done about is no longer found.
    Cleared,
    /// It repairs nothing, so it proves nothing.
    Nothing,
}

impl Terms {
    /// Of what stops and starts one workload.
    pub const RESTART: Self =
        Self { disruption: 1, proof: Proof::Probes, settle_ms: 0, undo: false };

    /// Whether what needs its target, or is needed by it, must wait until it is
    /// proven. Making room on a disk takes nothing from anybody.
    pub fn holds_closure(&self) -> bool {
        self.disruption > 0 || self.proof == Proof::Probes
    }
}

/// Every action of this box, by name.
#[derive(Clone, Debug, PartialEq)]
pub struct Catalogue {
    specs: BTreeMap<String, Arc<ActionSpec>>,
}

impl Default for Catalogue {
    /// What every box has.
    fn default() -> Self {
        let mut catalogue = Self { specs: BTreeMap::new() };
        builtin::specs().into_iter().for_each(|spec| catalogue.insert(spec));
        catalogue
    }
}

impl Catalogue {
    pub fn insert(&mut self, spec: ActionSpec) {
        self.specs.insert(spec.name.clone(), Arc::new(spec));
    }

    pub fn get(&self, action: &str) -> Option<&Arc<ActionSpec>> {
        self.specs.get(action)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<ActionSpec>> {
        self.specs.values()
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.specs.keys().map(String::as_str)
    }
}

impl ActionSpec {
    /// Whether it takes back what another did.
    pub fn is_undo(&self) -> bool {
        self.name.ends_with(UNDO)
    }

    pub fn applies_to(&self, target: &TargetId) -> bool {
        self.targets.iter().any(|selector| selects(selector, target.as_str()))
    }

    /// What is wrong with `params`, if anything.
    pub fn check(&self, params: &Attrs) -> Result<(), String> {
        for (name, value) in params {
            let Some(param) = self.params.iter().find(|param| param.name == *name) else {
                let known: Vec<_> = self.params.iter().map(|it| it.name.as_str()).collect();
                return Err(format!("{} takes {known:?}, found parameter {name:?}", self.name));
            };
            if !param.kind.takes(value) {
                return Err(format!(
                    "parameter {name} of {} wants {}, found {value}",
                    self.name, param.kind
                ));
            }
            if params.iter().filter(|(other, _)| other == name).count() > 1 {
                return Err(format!(
                    "{} wants each parameter once, found {name:?} twice",
                    self.name
                ));
            }
        }
        let given = |name: &str| params.iter().any(|(given, _)| given == name);
        match self.params.iter().find(|param| param.required && !given(&param.name)) {
            Some(missing) => Err(format!("{} wants parameter {:?}", self.name, missing.name)),
            None => Ok(()),
        }
    }

    /// The parameters as a JSON schema, for the healer.
    pub fn params_schema(&self) -> String {
        let properties: serde_json::Map<_, _> =
            self.params.iter().map(|param| (param.name.clone(), param.kind.schema())).collect();
        let required: Vec<_> =
            self.params.iter().filter(|it| it.required).map(|it| it.name.as_str()).collect();
        serde_json::json!({
            "type": "object", "properties": properties, "required": required, "additionalProperties": false,
        })
        .to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Value;

    #[test]
    fn a_parameter_unknown_missing_twice_or_of_the_wrong_kind_is_named() {
        let catalogue = Catalogue::default();
        let notify = catalogue.get(NOTIFY).unwrap();
        let to = ("to".to_owned(), Value::text("pager"));
        assert_eq!(notify.check(&vec![to.clone()]), Ok(()));
        for (params, word) in [
            (vec![], "wants parameter \"to\""),
            (vec![to.clone(), ("loud".to_owned(), Value::Flag(true))], "found parameter \"loud\""),
            (vec![("to".to_owned(), Value::Int(3))], "wants text"),
            (vec![("to".to_owned(), Value::text("x".repeat(65)))], "at most 64 bytes"),
            (vec![to.clone(), to.clone()], "\"to\" twice"),
        ] {
            let error = notify.check(&params).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn an_action_applies_to_what_its_selectors_name() {
        let catalogue = Catalogue::default();
        let restart = catalogue.get(WORKLOAD_RESTART).unwrap();
        assert!(restart.applies_to(&TargetId::workload("digits")));
        assert!(!restart.applies_to(&TargetId::the_box()));
        assert!(catalogue.get(NOTIFY).unwrap().applies_to(&TargetId::the_box()));
    }
}
