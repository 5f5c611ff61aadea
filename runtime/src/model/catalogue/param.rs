//! What may be said of an action besides its target.

use std::fmt;

use crate::model::Value;

#[derive(Clone, Debug, PartialEq)]
pub struct ParamSpec {
    pub name: String,
    pub kind: ParamKind,
    pub required: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub enum ParamKind {
    /// UTF-8 of at most this many bytes.
    Text { bytes_max: usize },
    /// One of these words.
    Choice(Vec<String>),
    /// A whole number, both ends included.
    Whole { min: i64, max: i64 },
    /// A number, both ends included.
    Number { min: f64, max: f64 },
}

impl ParamKind {
    pub fn takes(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::Text { bytes_max }, Value::Text(text)) => text.len() <= *bytes_max,
            (Self::Choice(words), Value::Text(text)) => words.contains(text),
            (Self::Whole { min, max }, Value::Int(number)) => (min..=max).contains(&number),
            (Self::Number { min, max }, Value::Num(number)) => (min..=max).contains(&number),
            (Self::Number { min, max }, Value::Int(number)) => {
                (*min..=*max).contains(&(*number as f64))
            }
            _ => false,
        }
    }

    /// As JSON schema has it.
    pub fn schema(&self) -> serde_json::Value {
        match self {
            Self::Text { bytes_max } => {
                serde_json::json!({ "type": "string", "maxLength": bytes_max })
            }
            Self::Choice(words) => serde_json::json!({ "type": "string", "enum": words }),
            Self::Whole { min, max } => {
                serde_json::json!({ "type": "integer", "minimum": min, "maximum": max })
            }
            Self::Number { min, max } => {
                serde_json::json!({ "type": "number", "minimum": min, "maximum": max })
            }
        }
    }
}

impl fmt::Display for ParamKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text { bytes_max } => write!(f, "text of at most {bytes_max} bytes"),
            Self::Choice(words) => write!(f, "one of {}", words.join(", ")),
            Self::Whole { min, max } => write!(f, "a whole number from {min} to {max}"),
            Self::Number { min, max } => write!(f, "a number from {min} to {max}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lies_within_its_bounds_is_taken() {
        let choice = ParamKind::Choice(vec!["small".into(), "large".into()]);
        let whole = ParamKind::Whole { min: 1, max: 8 };
        let number = ParamKind::Number { min: 0.5, max: 2.0 };
        for (kind, value, taken) in [
            (&choice, Value::text("small"), true),
            (&choice, Value::text("tiny"), false),
            (&choice, Value::Int(1), false),
            (&whole, Value::Int(1), true),
            (&whole, Value::Int(8), true),
            (&whole, Value::Int(9), false),
            (&whole, Value::Num(2.0), false),
            (&number, Value::Num(0.5), true),
            (&number, Value::Int(2), true),
            (&number, Value::Num(2.1), false),
            (&number, Value::Num(f64::NAN), false),
        ] {
            assert_eq!(kind.takes(&value), taken, "{kind} and {value}");
        }
    }
}
