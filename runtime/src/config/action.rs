//! Actions that the box's own file declares: an operator's commands.
//!
//! Invariant: argument lists are here and nowhere else. What a plugin says
//! reaches one as a parameter, whole within one argument, within bounds that
//! this file declares; no shell reads any of it.

use std::collections::{BTreeMap, BTreeSet};

use super::document::At;
use super::probe::{command, environment};
use super::reader::Section;
use super::secret::{self, Given, SecretOwner};
use super::typed::{DAY, HOUR, MINUTE, Named, SECOND};
use super::{CommandConfig, value};
use crate::model::Value;
use crate::model::catalogue::{ActionSpec, COMMAND, ParamKind, ParamSpec, Proof, Terms, UNDO};

/// What a command may say besides its parameters.
const TARGET: &str = "target";

pub(super) struct TypedAction {
    pub config: CommandConfig,
    pub spec: ActionSpec,
    pub targets: Vec<At<String>>,
    pub place: String,
}

pub(super) fn action(section: &mut Section<'_>) -> Named<TypedAction> {
    let name = section.need_name("name");
    let targets = section.texts("targets").unwrap_or_default();
    if targets.is_empty() {
        let hint = "what it repairs, such as targets = [\"workload:llm\"]";
        section.note("targets", "at least one target", "none", hint);
    }
    let owner = SecretOwner::Action { name: format!("{COMMAND}{}", name.value) };
    secret::secrets(section, &owner, Given::Variable);
    let params = params(section);
    let known: BTreeSet<&str> =
        params.iter().map(|(spec, _)| spec.name.as_str()).chain([TARGET]).collect();
    let config = CommandConfig {
        name: format!("{COMMAND}{}", name.value),
        command: argument_list(section, "command", &known),
        precondition: optional(section, "precondition", &known),
        observe: optional(section, "observe", &known),
        undo: optional(section, "undo", &known),
        env: environment(section),
        defaults: params
            .iter()
            .filter_map(|(spec, default)| Some((spec.name.clone(), default.clone()?)))
            .collect(),
    };
    let spec = ActionSpec {
        name: config.name.clone(),
        summary: summary(section, &config),
        targets: Vec::new(),
        terms: terms(section, config.undo.is_some()),
        reversible: config.undo.is_some(),
        timeout_ms: section.duration("timeout", MINUTE, SECOND..=HOUR),
        params: params.into_iter().map(|(spec, _)| spec).collect(),
    };
    let what = TypedAction { config, spec, targets, place: section.place.clone() };
    Named { name, what }
}

impl TypedAction {
    /// What it adds to the catalogue: itself, and how it is taken back.
    pub fn specs(&self) -> Vec<ActionSpec> {
        let targets: Vec<String> = self.targets.iter().map(|it| it.value.clone()).collect();
        let spec = ActionSpec { targets, ..self.spec.clone() };
        let undo = self.config.undo.is_some().then(|| ActionSpec {
            name: format!("{}{UNDO}", spec.name),
            summary: format!("take back {}", spec.name),
            terms: Terms { proof: Proof::Nothing, settle_ms: 0, undo: false, ..spec.terms },
            ..spec.clone()
        });
        std::iter::once(spec).chain(undo).collect()
    }
}

fn summary(section: &mut Section<'_>, config: &CommandConfig) -> String {
    let given = section.text("summary").map(|text| text.value);
    given.unwrap_or_else(|| {
        let program = config.command.first().map_or("", String::as_str);
        format!("run {program}, as this box's file says")
    })
}

fn terms(section: &mut Section<'_>, undo: bool) -> Terms {
    let proofs =
        [("probes", Proof::Probes), ("cleared", Proof::Cleared), ("nothing", Proof::Nothing)];
    let proof = section.choice("proof", &proofs);
    section.default("proof", "probes");
    Terms {
        // 0 nothing, 1 one workload, 2 several, 3 the box; as maintenance windows have it.
        disruption: section.integer("disruption", 1, 0..=3),
        proof: proof.unwrap_or(Proof::Probes),
        settle_ms: section.duration("settle", 30 * SECOND, 0..=DAY),
        undo,
    }
}

fn optional(section: &mut Section<'_>, key: &str, known: &BTreeSet<&str>) -> Option<Vec<String>> {
    if !section.has(key) {
        section.texts(key);
        return None;
    }
    Some(argument_list(section, key, known))
}

/// A command whose arguments may name parameters in braces.
fn argument_list(section: &mut Section<'_>, key: &str, known: &BTreeSet<&str>) -> Vec<String> {
    let words = command(section, key);
    for (at, word) in words.iter().enumerate() {
        for name in placeholders(word) {
            if at == 0 {
                let hint = "a parameter never chooses what is run; write two actions";
                section.note(key, "a program of its own", value::quoted(word), hint);
            } else if !known.contains(name) {
                let known: Vec<_> = known.iter().map(|it| format!("{{{it}}}")).collect();
                let hint = format!("declared here: {}", known.join(", "));
                section.note(key, "parameters of this action", format!("`{{{name}}}`"), hint);
            }
        }
    }
    words
}

/// Names in braces, such as `{size}`. Other braces are the command's own.
pub fn placeholders(word: &str) -> impl Iterator<Item = &str> {
    word.match_indices('{').filter_map(|(at, _)| {
        let (name, _) = word[at + 1..].split_once('}')?;
        value::check_name(name).is_ok().then_some(name)
    })
}

fn params(section: &mut Section<'_>) -> Vec<(ParamSpec, Option<Value>)> {
    let mut seen = BTreeMap::new();
    section.each("param", |section| {
        let param = param(section);
        let name = param.0.name.clone();
        if name == TARGET || seen.insert(name.clone(), ()).is_some() {
            let hint = "each parameter has a name of its own, and {target} is the target's name";
            section.note("name", "a name of its own", value::quoted(&name), hint);
        }
        param
    })
}

fn param(section: &mut Section<'_>) -> (ParamSpec, Option<Value>) {
    let name = section.need_name("name").value;
    let words = section.texts("choices");
    let (min, max) = (section.bound("min"), section.bound("max"));
    let kind = match (words, min, max) {
        (Some(words), None, None) if !words.is_empty() => {
            ParamKind::Choice(words.into_iter().map(|word| word.value).collect())
        }
        (None, Some(Value::Int(min)), Some(Value::Int(max))) if min <= max => {
            ParamKind::Whole { min, max }
        }
        (None, Some(min), Some(max)) if float(&min) <= float(&max) => {
            ParamKind::Number { min: float(&min), max: float(&max) }
        }
        _ => {
            let hint = "choices = [\"small\", \"large\"], or min = 1 and max = 8; text that a \
                        plugin chooses freely reaches no command";
            section.note("choices", "choices, or min and max", "neither of them", hint);
            ParamKind::Whole { min: 0, max: 0 }
        }
    };
    let default = match &kind {
        ParamKind::Choice(_) => section.text("default").map(|text| Value::Text(text.value)),
        _ => section.bound("default"),
    };
    if let Some(default) = default.as_ref().filter(|it| !kind.takes(it)) {
        section.note("default", kind.to_string(), default.to_string(), "");
    }
    (ParamSpec { name, kind, required: default.is_none() }, default)
}

fn float(value: &Value) -> f64 {
    match value {
        Value::Int(number) => *number as f64,
        Value::Num(number) => *number,
        Value::Flag(_) | Value::Text(_) => f64::NAN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_in_braces_are_parameters() {
        let found: Vec<_> = placeholders("--size={size}:{{.State}} {Nope} {} {a-b").collect();
        assert_eq!(found, ["size"]);
    }
}
