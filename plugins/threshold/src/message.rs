//! Messages with gaps: `{target}`, `{rule}`, `{count}`, `{within}`, `{value}`,
//! `{raise}`, `{unit}`, `{series}`, `{label:NAME}` and `{line}`. Two braces make one.
//!
//! Invariant: a gap that nobody could fill is refused when it is configured.

/// Longest line of text that is quoted in a message or as evidence.
const QUOTE_BYTES_MAX: usize = 256;

const GAPS: &[&str] =
    &["target", "rule", "count", "within", "value", "raise", "unit", "series", "line"];

#[derive(Debug)]
pub struct Message {
    parts: Vec<Part>,
}

#[derive(Debug)]
enum Part {
    Text(String),
    Gap(String),
}

impl Message {
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut letters = text.chars().peekable();
        while let Some(letter) = letters.next() {
            match letter {
                '{' | '}' if letters.peek() == Some(&letter) => {
                    letters.next();
                    plain.push(letter);
                }
                '{' => {
                    let gap: String = letters.by_ref().take_while(|it| *it != '}').collect();
                    if !GAPS.contains(&gap.as_str()) && !gap.starts_with("label:") {
                        return Err(format!(
                            "`message` knows {{{}}} and {{label:NAME}}, found {{{gap}}}",
                            GAPS.join("}, {")
                        ));
                    }
                    parts.push(Part::Text(std::mem::take(&mut plain)));
                    parts.push(Part::Gap(gap));
                }
                '}' => return Err("`message` has a `}` without its `{`; two make one".into()),
                letter => plain.push(letter),
            }
        }
        parts.push(Part::Text(plain));
        Ok(Self { parts })
    }

    pub fn fill(&self, fill: impl Fn(&str) -> Option<String>) -> String {
        let parts = self.parts.iter().map(|part| match part {
            Part::Text(text) => text.clone(),
            Part::Gap(gap) => fill(gap).unwrap_or_else(|| "?".into()),
        });
        parts.collect()
    }
}

/// A number as a person wants it: at most three decimals, no idle zeros.
pub fn number(value: f64) -> String {
    let text = format!("{value:.3}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text.is_empty() || text == "-0" { "0".into() } else { text.into() }
}

/// The beginning of a line, cut between letters, on one line of its own.
pub fn quote(line: &str) -> String {
    let start = &line[..line.floor_char_boundary(QUOTE_BYTES_MAX)];
    let cut = if start.len() < line.len() { "…" } else { "" };
    let plain = start.chars().map(|it| if it.is_control() { ' ' } else { it });
    plain.chain(cut.chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_filled_and_braces_doubled_are_braces() {
        let message =
            Message::parse("{target} is {{hot}}: {value}{unit} at {label:sensor}").unwrap();
        let filled = message.fill(|gap| (gap != "unit").then(|| gap.to_uppercase()));
        assert_eq!(filled, "TARGET is {hot}: VALUE? at LABEL:SENSOR");
    }

    #[test]
    fn a_gap_nobody_can_fill_is_refused() {
        for text in ["{name}", "{", "}", "{value"] {
            let expected = text == "{value";
            assert_eq!(Message::parse(text).is_ok(), expected, "{text}");
        }
    }

    #[test]
    fn numbers_and_quotes_are_short() {
        let numbers =
            [(0.9, "0.9"), (90.0, "90"), (1.0 / 3.0, "0.333"), (0.0, "0"), (-0.0001, "0")];
        for (value, expected) in numbers {
            assert_eq!(number(value), expected);
        }
        assert_eq!(quote(&"ü".repeat(200)).chars().count(), 129);
        assert_eq!(quote("a\u{1b}[31mb\n"), "a [31mb ");
    }
}
