//! Pieces of SQL text shown to people: line and column, the words in question underlined, and colour where a terminal shows it.

use std::ops::Range;

use crate::audit::json::is_hazard;

/// Most characters of a line that are shown.
const WIDTH: usize = 160;

/// Characters shown before the words in question when the line is cut.
const LEAD: usize = 40;

/// What a piece of output is; its colour follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ink {
    /// Refused.
    Error,
    /// Allowed, with a caution.
    Warning,
    /// In order.
    Good,
    /// Said beside the matter.
    Note,
    /// Line numbers, bars and arrows.
    Frame,
    /// The message itself.
    Strong,
}

/// The text in its colour, if colour is wanted.
pub(super) fn ink(colour: bool, ink: Ink, text: &str) -> String {
    let code = match ink {
        Ink::Error => "1;31",
        Ink::Warning => "1;33",
        Ink::Good => "1;32",
        Ink::Note => "1;36",
        Ink::Frame => "1;34",
        Ink::Strong => "1",
    };
    if colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}

/// The text with what could move a terminal's cursor or turn the text around made visible.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(shown).collect()
}

fn shown(c: char) -> String {
    match c {
        '\t' => "    ".to_owned(),
        c if is_hazard(c) => c.escape_unicode().to_string(),
        c => c.to_string(),
    }
}

/// Where the lines of a text begin.
#[derive(Clone, Debug)]
pub(super) struct Lines<'t> {
    text: &'t str,
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    /// The lines of a text.
    pub fn of(text: &'t str) -> Lines<'t> {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Lines { text, starts }
    }

    /// Line and column of a byte, both counted from 1, the column in characters.
    pub fn place(&self, at: usize) -> (usize, usize) {
        let line = self.starts.partition_point(|start| *start <= at).max(1);
        let start = self.starts.get(line - 1).copied().unwrap_or(0);
        let column = self.text.get(start..at).map_or(0, |before| before.chars().count());
        (line, column + 1)
    }
}

/// The line on which a span begins, and the marks under the words of the span that stand on it.
pub(super) fn underlined(text: &str, span: &Range<usize>) -> (String, String) {
    let start = text.get(..span.start).and_then(|before| before.rfind('\n')).map_or(0, |at| at + 1);
    let end = text.get(span.start..).and_then(|rest| rest.find('\n')).map_or(text.len(), |at| span.start + at);
    let stop = span.end.min(end);
    let part = |range: Range<usize>| text.get(range).unwrap_or_default().trim_end_matches('\r');
    let (before, within, behind) = (part(start..span.start), part(span.start..stop), part(stop..end));
    let before = cut_front(before);
    let (before, within) = (printable(&before), printable(within));
    let room = WIDTH.saturating_sub(before.chars().count());
    let within = cut_back(&within, room);
    let behind = cut_back(&printable(behind), room.saturating_sub(within.chars().count()));
    let marks = format!("{}{}", " ".repeat(before.chars().count()), "^".repeat(within.chars().count().max(1)));
    (format!("{before}{within}{behind}").trim_end().to_owned(), marks)
}

/// The end of a text that is too long to stand before the words in question.
fn cut_front(text: &str) -> String {
    let length = text.chars().count();
    match length > WIDTH - LEAD {
        true => format!("…{}", text.chars().skip(length - LEAD).collect::<String>()),
        false => text.to_owned(),
    }
}

/// The beginning of a text, `room` characters of it.
fn cut_back(text: &str, room: usize) -> String {
    match text.chars().count() > room {
        true => text.chars().take(room.saturating_sub(1)).chain(std::iter::once('…')).collect(),
        false => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_underlined_where_they_stand() {
        let text = "SELECT 1;\n\tDELETE FROM ö;\r\nSELECT 2";
        assert_eq!(Lines::of(text).place(11), (2, 2));
        assert_eq!(Lines::of(text).place(0), (1, 1));
        let (line, marks) = underlined(text, &(11..25));
        assert_eq!((line.as_str(), marks.as_str()), ("    DELETE FROM ö;", "    ^^^^^^^^^^^^^"));
        // More lines than one: what stands on the first.
        let (line, marks) = underlined(text, &(0..text.len()));
        assert_eq!((line.as_str(), marks.as_str()), ("SELECT 1;", "^^^^^^^^^"));
        let (line, _) = underlined("SELECT '\u{1b}[2J'", &(0..6));
        assert_eq!(line, "SELECT '\\u{1b}[2J'");
    }

    #[test]
    fn long_lines_are_cut_around_the_words() {
        let text = format!("SELECT {}, f()", "x".repeat(500));
        let (line, marks) = underlined(&text, &(509..512));
        assert!(line.starts_with('…') && line.ends_with("f()") && line.chars().count() < 60, "{line}");
        assert_eq!(marks.trim_start(), "^^^");
        let (line, marks) = underlined(&text, &(0..text.len()));
        assert_eq!((line.chars().count(), marks.len()), (WIDTH, WIDTH));
    }
}
