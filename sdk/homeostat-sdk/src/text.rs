//! Words in and words out: patterns over lines, selectors of names, and numbers
//! and spans as a person wants them.
//!
//! Invariant: all of it takes time linear in its text, whatever the pattern is.

/// Longest line of text that is quoted in a message or as evidence.
const QUOTE_BYTES_MAX: usize = 256;

/// Text in a line: `CUDA error*out of memory` is both pieces, in this order,
/// anywhere in the line; `\*` is an asterisk, `\\` a backslash.
///
/// No regular expressions: a rule that a person reads at night needs none.
#[derive(Clone, Debug)]
pub struct Pattern {
    pieces: Vec<String>,
}

impl Pattern {
    pub fn new(text: &str) -> Result<Self, String> {
        let mut pieces = vec![String::new()];
        let mut letters = text.chars();
        while let Some(letter) = letters.next() {
            match letter {
                '*' => pieces.push(String::new()),
                '\\' => match letters.next() {
                    Some(escaped @ ('*' | '\\')) => {
                        pieces.last_mut().expect("never empty").push(escaped)
                    }
                    other => {
                        return Err(format!(
                            "`line` wants `\\*` or `\\\\` after a backslash, found {other:?}"
                        ));
                    }
                },
                letter => pieces.last_mut().expect("never empty").push(letter),
            }
        }
        pieces.retain(|piece| !piece.is_empty());
        if pieces.is_empty() {
            return Err("`line` wants some text, or every line would match".into());
        }
        Ok(Self { pieces })
    }

    pub fn is_in(&self, line: &str) -> bool {
        let mut rest = line;
        self.pieces.iter().all(|piece| match rest.find(piece.as_str()) {
            Some(at) => {
                rest = &rest[at + piece.len()..];
                true
            }
            None => false,
        })
    }
}

/// Whether a selector (a name, or the beginning of one and `*`) names `text`.
pub fn selects(selector: &str, text: &str) -> bool {
    match selector.strip_suffix('*') {
        Some(prefix) => text.starts_with(prefix),
        None => selector == text,
    }
}

/// A target's name without its kind: `digits` of `workload:digits`.
pub fn short(target: &str) -> &str {
    target.split_once(':').map_or(target, |(_, name)| name)
}

/// A number as a person wants it: at most three decimals, no idle zeros.
pub fn number(value: f64) -> String {
    let text = format!("{value:.3}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text.is_empty() || text == "-0" { "0".into() } else { text.into() }
}

/// A reading and its unit, as a person wants them: a share (`1`) in per cent,
/// bytes (`By`) in the unit that suits them.
pub fn amount(value: f64, unit: &str) -> String {
    match unit {
        "1" => format!("{} %", number((value * 1_000.0).round() / 10.0)),
        "By" => {
            let steps = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
            let fits = |(_, bits): &&(&str, u32)| value.abs() >= f64::from(1_u32 << bits);
            match steps.iter().find(fits) {
                Some((name, bits)) => {
                    format!(
                        "{} {name}",
                        number((value / f64::from(1_u32 << bits) * 10.0).round() / 10.0)
                    )
                }
                None => format!("{} B", number(value)),
            }
        }
        "Cel" => format!("{} °C", number(value)),
        // `{process}` and the like are UCUM's annotations: a count of those.
        unit => {
            format!("{} {}", number(value), unit.trim_matches(['{', '}'])).trim_end().to_owned()
        }
    }
}

/// A length of time, for a person: `45 s`, `12 min`, `5 h`, `3 days`.
pub fn span(seconds: f64) -> String {
    match seconds {
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7_200.0 => format!("{:.0} min", s / 60.0),
        s if s < 172_800.0 => format!("{:.0} h", s / 3_600.0),
        s => format!("{:.0} days", s / 86_400.0),
    }
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
    fn pieces_are_found_in_their_order_anywhere_in_the_line() {
        for (pattern, line, expected) in [
            ("out of memory", "CUDA error: out of memory (2)", true),
            ("out of memory", "Out of memory", false),
            ("NVRM: Xid*: 79,", "[1.2] NVRM: Xid (PCI:0000:01:00): 79, pid=1", true),
            ("NVRM: Xid*: 79,", ": 79, NVRM: Xid", false),
            ("*tail", "a tail here", true),
            (r"50\*", "50* off", true),
            (r"50\*", "500 off", false),
            ("ab*b", "ab", false),
            ("ß*ü", "größe für", true),
        ] {
            assert_eq!(Pattern::new(pattern).unwrap().is_in(line), expected, "{pattern} in {line}");
        }
    }

    #[test]
    fn a_pattern_that_says_nothing_or_escapes_nothing_is_refused() {
        for pattern in ["", "**", "a\\n", "a\\"] {
            assert!(Pattern::new(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn numbers_amounts_spans_and_quotes_are_short() {
        let numbers =
            [(0.9, "0.9"), (90.0, "90"), (1.0 / 3.0, "0.333"), (0.0, "0"), (-0.0001, "0")];
        for (value, expected) in numbers {
            assert_eq!(number(value), expected);
        }
        for (value, unit, expected) in [
            (0.9123, "1", "91.2 %"),
            (1_610_612_736.0, "By", "1.5 GiB"),
            (512.0, "By", "512 B"),
            (81.5, "Cel", "81.5 °C"),
            (2000.0, "{process}", "2000 process"),
            (0.25, "s", "0.25 s"),
            (7.0, "", "7"),
        ] {
            assert_eq!(amount(value, unit), expected);
        }
        for (seconds, expected) in
            [(0.0, "0 s"), (119.0, "119 s"), (900.0, "15 min"), (86_400.0, "24 h"), (2e5, "2 days")]
        {
            assert_eq!(span(seconds), expected);
        }
        assert_eq!(quote(&"ü".repeat(200)).chars().count(), 129);
        assert_eq!(quote("a\u{1b}[31mb\n"), "a [31mb ");
    }

    #[test]
    fn a_selector_is_a_name_or_the_beginning_of_one() {
        for (selector, text, expected) in
            [("*", "x", true), ("link:*", "link:eth0", true), ("link:e", "link:eth0", false)]
        {
            assert_eq!(selects(selector, text), expected, "{selector}");
        }
        assert_eq!((short("workload:digits"), short("box")), ("digits", "box"));
    }
}
