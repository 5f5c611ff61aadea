//! Text for a terminal: lines, aligned columns, a little colour.
//!
//! Invariant: colour never carries meaning that the words do not, and control
//! characters of foreign text (a plugin's message, a workload's line) never
//! reach the terminal.

use std::io::IsTerminal;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Colour {
    On,
    Off,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Good,
    Bad,
    Warn,
    Faint,
    Strong,
}

#[derive(Clone, Debug)]
pub(super) struct Cell {
    text: String,
    tone: Tone,
}

pub(super) struct Page {
    colour: Colour,
    text: String,
}

/// On a terminal, unless `NO_COLOR` is set (no-color.org).
pub(super) fn colour() -> Colour {
    let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    if wanted && std::io::stdout().is_terminal() { Colour::On } else { Colour::Off }
}

pub(super) fn cell(text: impl Into<String>) -> Cell {
    Cell { text: text.into(), tone: Tone::Plain }
}

impl Cell {
    pub fn tone(self, tone: Tone) -> Self {
        Self { tone, ..self }
    }
}

impl Page {
    pub fn new(colour: Colour) -> Self {
        Self { colour, text: String::new() }
    }

    pub fn text(self) -> String {
        self.text
    }

    pub fn line(&mut self, text: &str) {
        self.toned(text, Tone::Plain);
    }

    pub fn toned(&mut self, text: &str, tone: Tone) {
        self.put(&clean(text), tone);
        self.end_line();
    }

    /// A blank line and a heading.
    pub fn heading(&mut self, text: &str) {
        self.end_line();
        self.toned(text, Tone::Strong);
    }

    /// Rows with their cells below each other, indented by two. The last cell
    /// of a row may be as long as it likes.
    pub fn columns(&mut self, rows: &[Vec<Cell>]) {
        let mut widths: Vec<usize> = Vec::new();
        for row in rows {
            for (column, cell) in row.iter().enumerate().take(row.len().saturating_sub(1)) {
                let width = clean(&cell.text).chars().count();
                match widths.get_mut(column) {
                    Some(widest) => *widest = width.max(*widest),
                    None => widths.push(width),
                }
            }
        }
        for row in rows {
            self.text.push_str("  ");
            for (column, cell) in row.iter().enumerate() {
                let text = clean(&cell.text);
                self.put(&text, cell.tone);
                if column + 1 < row.len() {
                    let width = widths.get(column).copied().unwrap_or(0);
                    // A column that is empty in every row takes no room.
                    let gap = if width == 0 { 0 } else { 2 };
                    let pad = width.saturating_sub(text.chars().count()) + gap;
                    self.text.extend(std::iter::repeat_n(' ', pad));
                }
            }
            self.end_line();
        }
    }

    fn end_line(&mut self) {
        self.text.truncate(self.text.trim_end_matches(' ').len());
        self.text.push('\n');
    }

    fn put(&mut self, text: &str, tone: Tone) {
        let code = match tone {
            Tone::Plain => None,
            Tone::Good => Some("32"),
            Tone::Bad => Some("1;31"),
            Tone::Warn => Some("33"),
            Tone::Faint => Some("2"),
            Tone::Strong => Some("1"),
        };
        match code.filter(|_| self.colour == Colour::On && !text.is_empty()) {
            Some(code) => {
                self.text.push_str(&format!("\x1b[{code}m{text}\x1b[0m"));
            }
            None => self.text.push_str(text),
        }
    }
}

fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
