//! The actions there are: what each may do, to what, and what proves it.
//!
//! Inert, so that the guard can judge a proposal by it and the hands can obey it.

use super::{Attrs, TargetKind, Value};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActionSpec {
    pub name: &'static str,
    pub summary: &'static str,
    /// Kinds of target it applies to.
    pub targets: &'static [TargetKind],
    pub params: &'static [ParamSpec],
    /// 0 none, 1 one workload, 2 several, 3 the box.
    pub disruption: u8,
    pub reversible: bool,
    /// The hands give up after this long; a workload's own deadlines are added.
    pub timeout_ms: u64,
    pub proof: Proof,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParamSpec {
    pub name: &'static str,
    pub kind: ParamKind,
    pub required: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParamKind {
    /// UTF-8 of at most this many bytes.
    Text { bytes_max: usize },
}

/// What must be seen before an attempt counts as a repair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// The workload runs, and each of its probes, begun after the action ended,
    /// is good so many times in a row.
    Probes,
    /// The hands saw the workload gone.
    Stopped,
    /// It repairs nothing, so it proves nothing.
    Nothing,
}

pub const WORKLOAD_RESTART: &str = "workload.restart";
pub const WORKLOAD_STOP: &str = "workload.stop";
pub const WORKLOAD_START: &str = "workload.start";
pub const NOTIFY: &str = "notify";

const EVERY_TARGET: &[TargetKind] = &[
    TargetKind::Box,
    TargetKind::Workload,
    TargetKind::Model,
    TargetKind::Accelerator,
    TargetKind::Link,
    TargetKind::External,
];

pub const CATALOGUE: &[ActionSpec] = &[
    ActionSpec {
        name: NOTIFY,
        summary: "tell a person, by the command or webhook of that name",
        targets: EVERY_TARGET,
        params: &[
            ParamSpec { name: "to", kind: ParamKind::Text { bytes_max: 64 }, required: true },
            ParamSpec { name: "text", kind: ParamKind::Text { bytes_max: 1024 }, required: false },
        ],
        disruption: 0,
        reversible: true,
        timeout_ms: 30_000,
        proof: Proof::Nothing,
    },
    ActionSpec {
        name: WORKLOAD_START,
        summary: "start a workload that does not run",
        targets: &[TargetKind::Workload],
        params: &[],
        disruption: 0,
        reversible: true,
        timeout_ms: 10_000,
        proof: Proof::Probes,
    },
    ActionSpec {
        name: WORKLOAD_RESTART,
        summary: "stop a workload's whole tree, then start it",
        targets: &[TargetKind::Workload],
        params: &[],
        disruption: 1,
        reversible: true,
        timeout_ms: 10_000,
        proof: Proof::Probes,
    },
    ActionSpec {
        name: WORKLOAD_STOP,
        summary: "stop a workload's whole tree and leave it stopped",
        targets: &[TargetKind::Workload],
        params: &[],
        disruption: 1,
        reversible: true,
        timeout_ms: 10_000,
        proof: Proof::Stopped,
    },
];

/// The entry of that name.
pub fn spec(action: &str) -> Option<&'static ActionSpec> {
    CATALOGUE.iter().find(|spec| spec.name == action)
}

impl ActionSpec {
    /// What is wrong with `params`, if anything.
    pub fn check(&self, params: &Attrs) -> Result<(), String> {
        for (name, value) in params {
            let Some(param) = self.params.iter().find(|param| param.name == name) else {
                let known: Vec<_> = self.params.iter().map(|param| param.name).collect();
                return Err(format!("{} takes {known:?}, found parameter {name:?}", self.name));
            };
            let ParamKind::Text { bytes_max } = param.kind;
            match value {
                Value::Text(text) if text.len() <= bytes_max => {}
                other => {
                    return Err(format!(
                        "parameter {name} of {} wants text of at most {bytes_max} bytes, found {other}",
                        self.name
                    ));
                }
            }
        }
        match self
            .params
            .iter()
            .find(|p| p.required && !params.iter().any(|(name, _)| name == p.name))
        {
            Some(missing) => Err(format!("{} wants parameter {:?}", self.name, missing.name)),
            None => Ok(()),
        }
    }

    /// The parameters as a JSON schema, for the healer.
    pub fn params_schema(&self) -> String {
        let properties: serde_json::Map<_, _> = self
            .params
            .iter()
            .map(|param| {
                let ParamKind::Text { bytes_max } = param.kind;
                (
                    param.name.to_owned(),
                    serde_json::json!({ "type": "string", "maxLength": bytes_max }),
                )
            })
            .collect();
        let required: Vec<_> = self.params.iter().filter(|p| p.required).map(|p| p.name).collect();
        serde_json::json!({
            "type": "object", "properties": properties, "required": required, "additionalProperties": false,
        })
        .to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_unknown_missing_or_of_the_wrong_kind_is_named() {
        let notify = spec(NOTIFY).unwrap();
        let to = ("to".to_owned(), Value::text("pager"));
        assert_eq!(notify.check(&vec![to.clone()]), Ok(()));
        for (params, word) in [
            (vec![], "wants parameter \"to\""),
            (vec![to.clone(), ("loud".to_owned(), Value::Flag(true))], "found parameter \"loud\""),
            (vec![("to".to_owned(), Value::Int(3))], "wants text"),
            (vec![("to".to_owned(), Value::text("x".repeat(65)))], "at most 64 bytes"),
        ] {
            let error = notify.check(&params).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
    }
}
