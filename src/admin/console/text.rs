//! Text from outside on a page: shown as it is, unable to act. Times, counts and lengths for people.
//!
//! The templates escape what HTML gives a meaning to. What is left are characters that show nothing or turn around what stands
//! beside them (controls, bidirectional marks, zero-width characters): each is shown by its number.

use std::fmt::Write as _;

use jiff::tz::TimeZone;
use maud::{Escaper, Markup, Render, html};

use crate::audit::Timestamp;
use crate::audit::json::is_hazard;

/// Longest text in a list, in characters.
pub const BRIEF: usize = 220;

/// A text from outside, whole, line breaks kept.
#[derive(Clone, Copy, Debug)]
pub struct Outside<'a>(pub &'a str);

/// A text from outside on one line, white space run together, cut to a number of characters.
#[derive(Clone, Copy, Debug)]
pub struct OneLine<'a>(pub &'a str, pub usize);

impl Render for Outside<'_> {
    fn render_to(&self, out: &mut String) {
        out.push_str("<bdi class=\"raw\">");
        inert(out, self.0);
        out.push_str("</bdi>");
    }
}

impl Render for OneLine<'_> {
    fn render_to(&self, out: &mut String) {
        let (line, cut) = one_line(self.0, self.1);
        out.push_str("<bdi class=\"raw\">");
        inert(out, &line);
        if cut {
            out.push('…');
        }
        out.push_str("</bdi>");
    }
}

/// Writes text so that nothing in it acts: escaped for HTML, hazards by their numbers.
pub fn inert(out: &mut String, text: &str) {
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| is_hazard(c) && !matches!(c, '\n' | '\t')) {
        let (plain, hazard) = rest.split_at(at);
        let _ = Escaper::new(out).write_str(plain);
        let Some(c) = hazard.chars().next() else { break };
        let code = u32::from(c);
        let _ = write!(out, "<span class=\"hz\" title=\"character U+{code:04X}\">\\u{{{code:x}}}</span>");
        rest = hazard.get(c.len_utf8()..).unwrap_or_default();
    }
    let _ = Escaper::new(out).write_str(rest);
}

/// Text on one line, cut to `chars` characters; whether something was cut off.
pub fn one_line(text: &str, chars: usize) -> (String, bool) {
    let mut out = String::new();
    let mut left = chars;
    let mut blank = false;
    for c in text.trim_start().chars() {
        if matches!(c, ' ' | '\n' | '\r' | '\t') {
            blank = true;
            continue;
        }
        let needed = usize::from(blank) + 1;
        if left < needed {
            return (out, true);
        }
        if std::mem::take(&mut blank) {
            out.push(' ');
        }
        out.push(c);
        left -= needed;
    }
    (out, false)
}

/// Plain text with hazards by their numbers, for `title` attributes and text files.
pub fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_hazard(c) && !matches!(c, '\n' | '\t') {
            let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    out
}

/// A length of time.
pub fn duration(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..10_000 => format!("{:.1} ms", us as f64 / 1e3),
        10_000..1_000_000 => format!("{} ms", us / 1_000),
        1_000_000..60_000_000 => format!("{:.1} s", us as f64 / 1e6),
        60_000_000..7_200_000_000 => format!("{} min", us / 60_000_000),
        7_200_000_000..172_800_000_000 => format!("{} h", us / 3_600_000_000),
        _ => format!("{} days", us / 86_400_000_000),
    }
}

/// A number of bytes.
pub fn bytes(value: u64) -> String {
    match value {
        0..1_000 => format!("{value} B"),
        1_000..1_000_000 => format!("{:.1} kB", value as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", value as f64 / 1e6),
        _ => format!("{:.1} GB", value as f64 / 1e9),
    }
}

fn local(at: Timestamp) -> Option<jiff::Zoned> {
    let at = jiff::Timestamp::from_microsecond(i64::try_from(at.0).ok()?).ok()?;
    Some(at.to_zoned(TimeZone::system()))
}

/// A moment by this machine's clock, in a form of `strftime`.
pub fn moment(at: Timestamp, form: &str) -> String {
    local(at).map(|at| at.strftime(form).to_string()).unwrap_or_default()
}

/// A record's time.
pub fn time_of(text: &str) -> Option<Timestamp> {
    let at: jiff::Timestamp = text.parse().ok()?;
    u64::try_from(at.as_microsecond()).ok().map(Timestamp)
}

/// A moment as an element: short to read, whole for whoever asks.
pub fn time(at: Timestamp, now: Timestamp) -> Markup {
    let same_day = moment(at, "%F") == moment(now, "%F");
    let shown = moment(at, if same_day { "%H:%M:%S" } else { "%b %-d, %H:%M" });
    html! { time datetime=(at.to_string()) title=(moment(at, "%A, %F %H:%M:%S%.3f %Z")) { (shown) } }
}

/// How long ago, or how long until.
pub fn ago(at: Timestamp, now: Timestamp) -> String {
    match now.0.checked_sub(at.0) {
        Some(past) if past < 2_000_000 => "now".to_owned(),
        Some(past) => format!("{} ago", rough(past)),
        None => format!("in {}", rough(at.0 - now.0)),
    }
}

/// A length of time without small change.
pub fn rough(us: u64) -> String {
    match us / 1_000_000 {
        seconds @ 0..90 => format!("{seconds} s"),
        seconds @ 90..5_400 => format!("{} min", (seconds + 30) / 60),
        seconds @ 5_400..129_600 => format!("{} h", (seconds + 1_800) / 3_600),
        seconds => format!("{} days", (seconds + 43_200) / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_becomes_harmless() {
        let table = [
            ("a<b>&\"c", "a&lt;b&gt;&amp;&quot;c"),
            ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
            ("x\u{202e}y", "x<span class=\"hz\" title=\"character U+202E\">\\u{202e}</span>y"),
            ("\x1b[31m", "<span class=\"hz\" title=\"character U+001B\">\\u{1b}</span>[31m"),
            ("\0", "<span class=\"hz\" title=\"character U+0000\">\\u{0}</span>"),
            ("a\n\tb", "a\n\tb"),
            ("\r", "<span class=\"hz\" title=\"character U+000D\">\\u{d}</span>"),
            ("grüße 日本 🎉", "grüße 日本 🎉"),
        ];
        for (text, expected) in table {
            let mut out = String::new();
            inert(&mut out, text);
            assert_eq!(out, expected, "{text:?}");
        }
    }

    #[test]
    fn every_hazard_is_shown_by_its_number() {
        let hostile: String =
            ('\0'..='\u{2fff}').chain('\u{fe00}'..='\u{ffff}').chain('\u{e0000}'..='\u{e007f}').collect();
        let mut out = String::new();
        inert(&mut out, &hostile);
        assert!(!out.chars().any(|c| is_hazard(c) && !matches!(c, '\n' | '\t')));
        assert!(!plain(&hostile).chars().any(|c| is_hazard(c) && !matches!(c, '\n' | '\t')));
    }

    #[test]
    fn lines_are_cut_by_characters_and_say_so() {
        let table = [
            ("select\n   1,\t2", 20, "select 1, 2", false),
            ("  select 1", 6, "select", true),
            ("日本語です", 3, "日本語", true),
            ("abc  ", 3, "abc", false),
            ("", 3, "", false),
        ];
        for (text, chars, expected, cut) in table {
            assert_eq!(one_line(text, chars), (expected.to_owned(), cut), "{text:?}");
        }
        let long = "x ".repeat(600_000);
        assert_eq!(one_line(&long, 10), ("x x x x x".to_owned(), true));
    }

    #[test]
    fn figures_read_well() {
        assert_eq!(
            (duration(12), duration(1_500), duration(2_500_000)),
            ("12 µs".into(), "1.5 ms".into(), "2.5 s".into())
        );
        assert_eq!((bytes(12), bytes(1_500), bytes(2_500_000)), ("12 B".into(), "1.5 kB".into(), "2.5 MB".into()));
        let now = Timestamp(1_000_000_000_000);
        let before = |seconds: u64| ago(Timestamp(now.0 - seconds * 1_000_000), now);
        assert_eq!((before(0), before(40), before(600)), ("now".into(), "40 s ago".into(), "10 min ago".into()));
        assert_eq!((before(7_200), before(200_000)), ("2 h ago".into(), "2 days ago".into()));
        assert_eq!(ago(Timestamp(now.0 + 86_400_000_000 * 3), now), "in 3 days");
    }
}
