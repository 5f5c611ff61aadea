//! Values that must not be seen: kept from logs, journal, events and output.
//!
//! A secret reaches a program in its environment or a server in a header, and
//! what they give back is searched for it: `[redacted:NAME]` stands in its place,
//! also where it was escaped as JSON or as Rust shows texts.
//!
//! Invariant: only exact values are found. A program that prints its secret in
//! base64, or cut in two, has told it.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A shorter one could not be told from ordinary text.
pub const SECRET_BYTES_MIN: usize = 6;

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret {
    pub name: String,
    pub value: String,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({})", self.name)
    }
}

/// Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Redactor(Arc<[Pattern]>);

struct Pattern {
    value: Vec<u8>,
    mark: String,
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.mark)
    }
}

impl Redactor {
    pub fn new<'s>(secrets: impl IntoIterator<Item = &'s Secret>) -> Self {
        let mut patterns = Vec::new();
        for secret in secrets.into_iter().filter(|it| it.value.len() >= SECRET_BYTES_MIN) {
            let json = Value::from(secret.value.as_str()).to_string();
            let shown = format!("{:?}", secret.value);
            let bare = |quoted: &str| quoted[1..quoted.len() - 1].to_owned();
            for value in [secret.value.clone(), bare(&json), bare(&shown)] {
                let mark = format!("[redacted:{}]", secret.name);
                patterns.push(Pattern { value: value.into_bytes(), mark });
            }
        }
        // The longest first: a secret may begin with another one.
        patterns.sort_by(|a, b| b.value.len().cmp(&a.value.len()).then(a.value.cmp(&b.value)));
        patterns.dedup_by(|a, b| a.value == b.value);
        Self(patterns.into())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if self.is_empty() {
            return Cow::Borrowed(text);
        }
        let mut stream = Stream::new(self.clone());
        let mut out = Vec::with_capacity(text.len());
        stream.push(text.as_bytes(), &mut out);
        stream.finish(&mut out);
        if out == text.as_bytes() {
            return Cow::Borrowed(text);
        }
        Cow::Owned(String::from_utf8_lossy(&out).into_owned())
    }

    /// The same with every text in it redacted, names of fields excepted.
    pub fn value<T: Serialize + DeserializeOwned>(&self, value: T) -> T {
        if self.is_empty() {
            return value;
        }
        let Ok(mut json) = serde_json::to_value(&value) else { return value };
        if !self.walk(&mut json) {
            return value;
        }
        // A secret that is a word of our own, such as a kind of event, stays.
        serde_json::from_value(json).unwrap_or(value)
    }

    /// Whether anything was found.
    fn walk(&self, value: &mut Value) -> bool {
        match value {
            Value::String(text) => match self.text(text) {
                Cow::Borrowed(_) => false,
                Cow::Owned(redacted) => {
                    *text = redacted;
                    true
                }
            },
            Value::Array(items) => items.iter_mut().fold(false, |found, it| self.walk(it) | found),
            Value::Object(fields) => {
                fields.values_mut().fold(false, |found, it| self.walk(it) | found)
            }
            _ => false,
        }
    }
}

/// Redacts what comes in pieces, wherever they are cut.
pub struct Stream {
    redactor: Redactor,
    /// What could be the beginning of a secret.
    held: Vec<u8>,
}

impl Stream {
    pub fn new(redactor: Redactor) -> Self {
        Self { redactor, held: Vec::new() }
    }

    /// Adds to `out` what is known to be no secret.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        self.held.extend_from_slice(bytes);
        let mut at = 0;
        while let Some(first) = self.held.get(at) {
            let rest = &self.held[at..];
            let patterns = || self.redactor.0.iter().filter(|it| it.value.first() == Some(first));
            if patterns().any(|it| it.value.len() > rest.len() && it.value.starts_with(rest)) {
                break;
            }
            match patterns().find(|it| rest.starts_with(&it.value)) {
                Some(found) => {
                    out.extend_from_slice(found.mark.as_bytes());
                    at += found.value.len();
                }
                None => {
                    out.push(*first);
                    at += 1;
                }
            }
        }
        self.held.drain(..at);
    }

    /// Nothing more comes: what is held was no secret, or ends in one.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        let held = std::mem::take(&mut self.held);
        let mut rest = held.as_slice();
        while let Some((first, tail)) = rest.split_first() {
            match self.redactor.0.iter().find(|it| rest.starts_with(&it.value)) {
                Some(found) => {
                    out.extend_from_slice(found.mark.as_bytes());
                    rest = &rest[found.value.len()..];
                }
                None => {
                    out.push(*first);
                    rest = tail;
                }
            }
        }
    }
}

/// A log that is given one whole message at a time.
pub struct Redacting<W> {
    redactor: Redactor,
    inner: W,
}

impl<W> Redacting<W> {
    pub fn new(redactor: Redactor, inner: W) -> Self {
        Self { redactor, inner }
    }
}

impl<W: Write> Write for Redacting<W> {
    fn write(&mut self, message: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(message);
        self.inner.write_all(self.redactor.text(&text).as_bytes())?;
        Ok(message.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redactor(secrets: &[(&str, &str)]) -> Redactor {
        let secret = |(name, value): &(&str, &str)| Secret {
            name: (*name).to_owned(),
            value: (*value).to_owned(),
        };
        Redactor::new(&secrets.iter().map(secret).collect::<Vec<_>>())
    }

    #[test]
    fn a_value_is_replaced_by_its_name_wherever_it_stands() {
        let redactor = redactor(&[("TOKEN", "s3cr3t!"), ("LONG", "s3cr3t!-and-more")]);
        for (text, expected) in [
            ("s3cr3t!", "[redacted:TOKEN]"),
            ("a s3cr3t! b s3cr3t!s3cr3t!", "a [redacted:TOKEN] b [redacted:TOKEN][redacted:TOKEN]"),
            ("x=s3cr3t!-and-more.", "x=[redacted:LONG]."),
            ("x=s3cr3t!-and-mor", "x=[redacted:TOKEN]-and-mor"),
            ("s3cr3", "s3cr3"),
            ("s3s3cr3t!", "s3[redacted:TOKEN]"),
            ("nothing", "nothing"),
        ] {
            assert_eq!(redactor.text(text), expected, "{text}");
        }
        assert!(matches!(redactor.text("nothing"), Cow::Borrowed(_)));
    }

    #[test]
    fn an_escaped_value_is_found_as_well() {
        let value = "a\"b\\c\nd\u{7f}e";
        let redactor = redactor(&[("KEY", value)]);
        for text in [value.to_owned(), format!("{value:?}"), Value::from(value).to_string()] {
            let found = redactor.text(&text);
            assert!(found.contains("[redacted:KEY]") && !found.contains("b\\"), "{found}");
        }
    }

    #[test]
    fn a_value_that_is_too_short_is_no_reason_to_redact_everything() {
        assert!(redactor(&[("PIN", "12345"), ("NONE", "")]).is_empty());
    }

    #[test]
    fn a_value_that_comes_in_pieces_is_found_wherever_it_is_cut() {
        let redactor = redactor(&[("TOKEN", "s3cr3t!"), ("OTHER", "s3cret")]);
        let text = b"one s3cr3t! two s3cret s3cr\n";
        for cut in 0..text.len() {
            for width in 1..4 {
                let (first, rest) = text.split_at(cut);
                let mut stream = Stream::new(redactor.clone());
                let mut out = Vec::new();
                for piece in [first].into_iter().chain(rest.chunks(width)) {
                    stream.push(piece, &mut out);
                    assert!(!String::from_utf8_lossy(&out).contains("s3cr3t!"));
                }
                stream.finish(&mut out);
                let out = String::from_utf8_lossy(&out);
                assert_eq!(
                    out, "one [redacted:TOKEN] two [redacted:OTHER] s3cr\n",
                    "{cut} {width}"
                );
            }
        }
    }

    #[test]
    fn what_cannot_become_a_secret_is_not_held_back() {
        let mut stream = Stream::new(redactor(&[("TOKEN", "s3cr3t!")]));
        let mut out = Vec::new();
        stream.push(b"ready\n", &mut out);
        assert_eq!(out, b"ready\n");
    }

    #[test]
    fn every_text_of_a_value_is_redacted_and_its_shape_is_kept() {
        let redactor = redactor(&[("TOKEN", "s3cr3t!"), ("WORD", "running")]);
        let value = serde_json::json!({ "a": ["x", "is s3cr3t!"], "s3cr3t!": { "n": 1 } });
        let expected =
            serde_json::json!({ "a": ["x", "is [redacted:TOKEN]"], "s3cr3t!": { "n": 1 } });
        assert_eq!(redactor.value(value), expected);

        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        enum State {
            Running,
        }
        assert_eq!(redactor.value(State::Running), State::Running, "a word of our own stays");
    }

    #[test]
    fn a_log_message_is_redacted_whole() {
        let mut log = Vec::new();
        let mut redacting = Redacting::new(redactor(&[("TOKEN", "s3cr3t!")]), &mut log);
        redacting.write_all(b"INFO it says \"s3cr3t!\"\n").unwrap();
        assert_eq!(log, b"INFO it says \"[redacted:TOKEN]\"\n");
        let secret = Secret { name: "TOKEN".into(), value: "s3cr3t!".into() };
        assert_eq!(format!("{secret:?}"), "Secret(TOKEN)");
    }
}
