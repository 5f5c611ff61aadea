//! Messages with gaps: `{target}`, `{rule}`, `{count}`, `{within}`, `{value}`,
//! `{raise}`, `{unit}`, `{series}`, `{label:NAME}` and `{line}`. Two braces make one.
//!
//! Invariant: a gap that nobody could fill is refused when it is configured.

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
}
