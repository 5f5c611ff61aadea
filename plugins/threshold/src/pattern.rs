//! Text in a line: pieces in their order, with anything between them.
//!
//! No regular expressions: a rule that a person reads at night needs none, and
//! this one takes time linear in the line whatever the pattern is.

/// `CUDA error*out of memory`: both pieces, in this order, anywhere in the line.
#[derive(Debug)]
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
}
