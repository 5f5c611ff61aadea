//! What is left of a file whose syntax is broken, so that its other mistakes can
//! be told with it.
//!
//! Invariant: only what the parser takes is read. A statement that it does not
//! take is blanked out and never guessed at, and every byte stays in its place.

use std::collections::BTreeSet;
use std::ops::{Range, RangeInclusive};

use toml::de::DeTable;

/// Broken statements that are told of; whoever has more sees the rest next time.
const BROKEN_MAX: usize = 16;
/// Lines that one statement may be thought to have.
const STATEMENT_LINES_MAX: usize = 64;

/// The sound part of a file.
#[derive(Debug, Default)]
pub(super) struct Sound {
    pub text: String,
    /// Whether there is enough of it to be read.
    pub is_file: bool,
    pub broken: Vec<Broken>,
    pub lost: Lost,
}

/// What may have stood in what was blanked out: that it is missing is no mistake
/// of its own.
#[derive(Debug, Default)]
pub(super) struct Lost {
    /// Tables, and the keys in them.
    names: BTreeSet<String>,
    /// Where something was blanked out.
    parts: Vec<Range<usize>>,
}

impl Lost {
    /// Whether something was blanked out of the entry that this byte is in.
    pub fn is_of(&self, offset: usize) -> bool {
        self.parts.iter().any(|part| part.contains(&offset))
    }

    /// Whether a key that is not in the table of this path may have been.
    pub fn may_have(&self, key: &str, table: &str) -> bool {
        self.names.contains(key) || table.split('.').any(|table| self.names.contains(table))
    }
}

#[derive(Debug)]
pub(super) struct Broken {
    pub offset: usize,
    pub found: String,
    pub hint: Option<String>,
}

pub(super) fn sound(text: &str) -> Sound {
    let mut sound = Sound { text: text.to_owned(), is_file: true, ..Sound::default() };
    for _ in 0..BROKEN_MAX {
        let Some((offset, found)) = first_error(&sound.text) else { return sound };
        let lines = lines(&sound.text);
        let at = line_at(&lines, offset);
        let statement = statement(&sound.text, &lines, at);
        let begin = *statement.start();
        let hint = (begin < at).then(|| format!("it belongs to what begins in line {}", begin + 1));
        sound.broken.push(Broken { offset, found, hint });
        if text[lines[begin].clone()].trim_start().starts_with('[') {
            let names =
                lines[statement.clone()].iter().filter_map(|line| name(&text[line.clone()]));
            sound.lost.names.extend(names);
        }
        sound.lost.parts.push(part(text, &lines, begin));
        sound.text = without(&sound.text, &lines, statement);
    }
    // So many that what is between them is no file any more.
    Sound { is_file: false, ..sound }
}

/// By where it stands: the parser tells some of them later than others.
fn first_error(text: &str) -> Option<(usize, String)> {
    let (_, errors) = DeTable::parse_recoverable(text);
    let place = |error: &toml::de::Error| error.span().map_or(text.len(), |span| span.start);
    let first = errors.iter().min_by_key(|error| place(error))?;
    Some((place(first), first.message().to_owned()))
}

fn lines(text: &str) -> Vec<Range<usize>> {
    let mut start = 0;
    let one = |line: &str| {
        let begun = start;
        start += line.len();
        begun..start
    };
    text.split_inclusive('\n').map(one).collect()
}

/// The lines of the statement that is broken in line `at`.
fn statement(text: &str, lines: &[Range<usize>], at: usize) -> RangeInclusive<usize> {
    // Whatever comes before it is whole without it.
    let whole = |line: &usize| first_error(&text[..lines[*line].start]).is_none();
    let begin = (0..=at).rev().find(whole).unwrap_or(0);
    let line = |index: usize| text[lines[index].clone()].trim();
    let last = lines.len().saturating_sub(1);
    if line(begin).starts_with('[') {
        // Without its header nobody knows whose the lines below it are, and tables
        // below it would be taken for another's, whatever is left of its name.
        let name = header(line(begin));
        let is_below =
            |line: &str| header(line).strip_prefix(name).is_some_and(|rest| rest.contains('.'));
        let next =
            (begin + 1..=last).find(|index| is_header(line(*index)) && !is_below(line(*index)));
        return begin..=next.map_or(last, |next| next - 1);
    }
    // It ends where nothing is broken without it, or another statement is.
    let end = (begin + 1..=last).find(|index| is_header(line(*index))).map_or(last, |it| it - 1);
    let end = end.min(begin + STATEMENT_LINES_MAX);
    let is_all = |end: &usize| {
        let rest = without(text, lines, begin..=*end);
        first_error(&rest).is_none_or(|(offset, _)| {
            let next = line_at(lines, offset);
            next > at && is_statement(line(next))
        })
    };
    begin..=(begin..=end).find(is_all).unwrap_or(end)
}

fn line_at(lines: &[Range<usize>], offset: usize) -> usize {
    lines.iter().rposition(|line| line.start <= offset).unwrap_or(0)
}

/// And not the rest of one.
fn is_statement(line: &str) -> bool {
    let key = line.starts_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    is_header(line) || (key && line.contains('='))
}

fn is_header(line: &str) -> bool {
    line.starts_with('[') && line.split('#').next().is_some_and(|it| it.trim_end().ends_with(']'))
}

fn header(line: &str) -> &str {
    let line = line.split('#').next().unwrap_or_default();
    line.trim_matches(|c: char| c.is_whitespace() || matches!(c, '[' | ']'))
}

/// What a line may belong to: from the header of the entry that its table may be
/// a part of to the header behind it.
fn part(text: &str, lines: &[Range<usize>], line: usize) -> Range<usize> {
    let text_of = |line: &Range<usize>| text[line.clone()].trim();
    let is_one = |line: &&Range<usize>| is_header(text_of(line));
    let is_top = |line: &&Range<usize>| is_one(line) && !header(text_of(line)).contains('.');
    let start = lines[..line].iter().rfind(is_top).map_or(0, |header| header.start);
    let end = lines[line + 1..].iter().find(is_one).map_or(text.len(), |header| header.start);
    start..end
}

/// The table that the line would have begun, or the key that it would have set.
fn name(line: &str) -> Option<String> {
    let line = line.trim();
    let key = match line.starts_with('[') {
        true => header(line).rsplit('.').next(),
        false => line.split(['=', '.']).next(),
    };
    key.map(|key| key.trim_matches([' ', '\t', '"', '\'']).to_owned()).filter(|it| !it.is_empty())
}

/// Blanks these lines out.
fn without(text: &str, lines: &[Range<usize>], blank: RangeInclusive<usize>) -> String {
    let blank = |index: usize, line: &Range<usize>| {
        let line = &text[line.clone()];
        if !blank.contains(&index) {
            return line.to_owned();
        }
        line.bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }).collect()
    };
    lines.iter().enumerate().map(|(index, line)| blank(index, line)).collect()
}
