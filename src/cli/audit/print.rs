//! Records for people at a terminal: one line each, nothing in them able to move the cursor or turn the text around.

use std::fmt::Write as _;

use crate::audit::json::is_hazard;
use crate::audit::view::{RecordView, Story};

/// Longest text on a line that shows one record.
const TEXT_CHARS: usize = 160;

/// Text with every hazardous character made visible; line breaks and tabs too.
pub(in crate::cli) fn one_line(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c => visible(&mut out, c),
        }
    }
    out
}

/// As [`one_line`], but line breaks and tabs stand.
pub(super) fn lines(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '\n' | '\t') { out.push(c) } else { visible(&mut out, c) }
    }
    out
}

fn visible(out: &mut String, c: char) {
    if is_hazard(c) {
        let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
    } else {
        out.push(c);
    }
}

/// Text on one line, white space run together, cut to `chars`.
pub(super) fn brief(text: &str, chars: usize) -> String {
    let mut words = text.split([' ', '\n', '\r', '\t']).filter(|word| !word.is_empty());
    let mut out = words.next().map(one_line).unwrap_or_default();
    for word in words {
        if out.len() > chars {
            break;
        }
        out.push(' ');
        out.push_str(&one_line(word));
    }
    match out.char_indices().nth(chars) {
        Some((at, _)) => format!("{}…", out.get(..at).unwrap_or_default()),
        None => out,
    }
}

/// A time in the reader's own time zone.
pub(super) fn local_time(time: &str) -> String {
    match time.parse::<jiff::Timestamp>() {
        Ok(at) => at.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S%.3f").to_string(),
        Err(_) => one_line(time),
    }
}

/// A length of time for people.
pub(in crate::cli) fn duration(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..1_000_000 => format!("{:.1} ms", us as f64 / 1e3),
        1_000_000..120_000_000 => format!("{:.1} s", us as f64 / 1e6),
        _ => format!("{} min", us / 60_000_000),
    }
}

#[derive(Clone, Copy)]
pub(super) enum Ink {
    Red,
    Green,
    Yellow,
    Blue,
    Dim,
    Bold,
}

/// Writes records, in colour or not.
#[derive(Clone, Copy)]
pub(super) struct Printer {
    colour: bool,
}

impl Printer {
    pub(super) fn new(colour: bool) -> Printer {
        Printer { colour }
    }

    pub(super) fn ink(self, ink: Ink, text: &str) -> String {
        let code = match ink {
            Ink::Red => "31",
            Ink::Green => "32",
            Ink::Yellow => "33",
            Ink::Blue => "36",
            Ink::Dim => "2",
            Ink::Bold => "1",
        };
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// One record on one line.
    pub(super) fn record(self, story: &Story<'_>) -> String {
        let record = story.record;
        let time = self.ink(Ink::Dim, &local_time(&record.time));
        let id = self.ink(Ink::Dim, &one_line(&record.id));
        let kind = self.kind(record);
        let who = self.ink(Ink::Blue, &who(record));
        let said = self.said(record);
        let outcome = story.outcome.map(|outcome| format!("  {}", self.outcome(outcome))).unwrap_or_default();
        format!("{time} {id} {kind} {who} {said}{outcome}")
    }

    fn kind(self, record: &RecordView<'_>) -> String {
        let word = if record.verdict.is_empty() { &record.event } else { &record.verdict };
        let ink = match word.as_ref() {
            "deny" | "login_failed" | "gap" | "recovery" => Ink::Red,
            "observe" | "grant" | "reload" | "cancel" => Ink::Yellow,
            "allow" => Ink::Green,
            _ => Ink::Dim,
        };
        self.ink(ink, &format!("{:<7}", one_line(word)))
    }

    fn said(self, record: &RecordView<'_>) -> String {
        match record.event.as_ref() {
            "statement" => {
                let shown = if record.text.is_empty() { &record.fingerprint } else { &record.text };
                let text = brief(shown, TEXT_CHARS);
                if record.verdict == "allow" {
                    text
                } else {
                    format!("{text}  {}", self.ink(Ink::Yellow, &brief(&record.rule, 80)))
                }
            }
            "outcome" => self.outcome(record),
            _ => brief(&details(record), TEXT_CHARS),
        }
    }

    /// How a statement went.
    pub(super) fn outcome(self, outcome: &RecordView<'_>) -> String {
        let went = match outcome.sqlstate.as_ref() {
            "" if outcome.tag.is_empty() => one_line(&outcome.state),
            "" => one_line(&outcome.tag),
            error => return self.ink(Ink::Red, &format!("⇒ error {}, {}", one_line(error), took(outcome))),
        };
        self.ink(Ink::Dim, &format!("⇒ {went}, {}", took(outcome)))
    }
}

fn took(outcome: &RecordView<'_>) -> String {
    duration(outcome.duration_us.unwrap_or_default())
}

fn who(record: &RecordView<'_>) -> String {
    let user = one_line(if record.user.is_empty() { &record.by } else { &record.user });
    match (record.environment.as_ref(), record.database.as_ref()) {
        ("", "") => user,
        (environment, database) => format!("{user}@{}/{}", one_line(environment), one_line(database)),
    }
}

/// What the kinds of events other than statements have to say.
fn details(record: &RecordView<'_>) -> String {
    let mut parts: Vec<String> = Vec::new();
    let texts = [
        &record.action,
        &record.reason,
        &record.message,
        &record.cause,
        &record.target,
        &record.result,
        &record.note,
        &record.error,
        &record.damage,
        &record.state,
        &record.of,
        &record.grant,
    ];
    parts.extend(texts.iter().filter(|text| !text.is_empty()).map(|text| text.to_string()));
    if record.event == "grant" {
        parts.push(format!("{} in {}: {}", record.for_user, record.for_environment, record.allows.join(", ")));
    }
    let numbers = [
        ("statements", record.statements),
        ("denied", record.denied),
        ("rows", record.rows),
        ("refused", record.refused),
        ("lost", record.lost),
        ("transaction", record.transaction),
    ];
    parts.extend(numbers.iter().filter_map(|(name, value)| Some(format!("{name} {}", (*value)?))));
    if record.event == "login" {
        parts.push(format!("{} {} {}", record.client, record.login, record.application));
    }
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_hazardous_reaches_the_terminal() {
        let hostile: String =
            ('\0'..='\u{fff}').chain('\u{2000}'..='\u{206f}').chain('\u{e0000}'..='\u{e007f}').collect();
        assert!(!one_line(&hostile).chars().any(is_hazard));
        assert!(!brief(&hostile, 100_000).chars().any(is_hazard));
        assert!(!lines(&hostile).chars().any(|c| is_hazard(c) && c != '\n' && c != '\t'));
        assert_eq!(one_line("a\x1b[31m\u{202e}b"), "a\\u{1b}[31m\\u{202e}b");
    }

    #[test]
    fn lengths_of_time_read_well() {
        assert_eq!(
            (duration(12), duration(1_500), duration(2_500_000)),
            ("12 µs".into(), "1.5 ms".into(), "2.5 s".into())
        );
        assert_eq!(brief("select\n   1,\t2", 9), "select 1,…");
    }
}
