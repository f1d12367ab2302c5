//! A statement's text with its effects marked on the words that cause them.

use maud::{Markup, Render, html};

use super::text::{inert, plain};
use crate::decision::marks::Mark as Seen;

/// Longest text shown on a page, in bytes; what is longer is cut, and offered whole as plain text.
pub const SHOWN_BYTES: usize = 20_000;

/// What a mark says of an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tone {
    /// It changes nothing that anybody stored.
    Quiet,
    /// It changes something.
    Change,
    /// It is what the verdict was about.
    Refused,
}

impl Tone {
    /// The tone of an effect's class.
    pub fn of(class: &str) -> Tone {
        let quiet = ["read", "function.safe", "transaction", "session.setting", "notify"];
        if quiet.contains(&class) { Tone::Quiet } else { Tone::Change }
    }

    /// The mark's class in the style sheet.
    pub const fn style(self) -> &'static str {
        match self {
            Tone::Quiet => "quiet",
            Tone::Change => "change",
            Tone::Refused => "refused",
        }
    }
}

/// Words of a text and what they do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
    /// Its number in the list of effects, from 1.
    pub number: usize,
    /// How grave.
    pub tone: Tone,
    /// What they do.
    pub says: String,
}

/// A text with its marks.
#[derive(Clone, Debug)]
pub struct Marked<'a> {
    text: &'a str,
    marks: Vec<Mark>,
}

/// The marks of effects; `refused` says which of them the verdict was about.
pub fn marks(effects: &[Seen], refused: impl Fn(&Seen) -> bool) -> Vec<Mark> {
    let mark = |(index, effect): (usize, &Seen)| {
        let (start, end) = effect.start.zip(effect.end)?;
        let tone = if refused(effect) { Tone::Refused } else { Tone::of(effect.class) };
        let says = [Some(effect.class), Some(effect.act.as_str()), effect.object.as_deref()];
        let says = plain(&says.into_iter().flatten().collect::<Vec<_>>().join(" · "));
        Some(Mark { start, end, number: index + 1, tone, says })
    };
    effects.iter().enumerate().filter_map(mark).collect()
}

impl<'a> Marked<'a> {
    /// Marks that overlap a graver one, or lie beyond what is shown, are left out.
    pub fn new(text: &'a str, mut marks: Vec<Mark>) -> Marked<'a> {
        let text = shown(text);
        marks.retain(|mark| mark.start < mark.end && text.get(mark.start..mark.end).is_some());
        marks.sort_by(|a, b| {
            b.tone.cmp(&a.tone).then((a.end - a.start).cmp(&(b.end - b.start))).then(a.start.cmp(&b.start))
        });
        let mut kept: Vec<Mark> = Vec::new();
        for mark in marks {
            if kept.iter().all(|other| mark.end <= other.start || other.end <= mark.start) {
                kept.push(mark);
            }
        }
        kept.sort_by_key(|mark| mark.start);
        Marked { text, marks: kept }
    }

    /// Whether an effect's words are marked.
    pub fn has(&self, number: usize) -> bool {
        self.marks.iter().any(|mark| mark.number == number)
    }
}

/// As much of a text as a page shows.
pub fn shown(text: &str) -> &str {
    text.get(..text.floor_char_boundary(SHOWN_BYTES)).unwrap_or(text)
}

impl Render for Marked<'_> {
    fn render_to(&self, out: &mut String) {
        let mut at = 0;
        for mark in &self.marks {
            inert(out, self.text.get(at..mark.start).unwrap_or_default());
            let words = self.text.get(mark.start..mark.end).unwrap_or_default();
            let marked: Markup = html! {
                mark class={ "m " (mark.tone.style()) } title=(mark.says) { (Words(words)) sup { (mark.number) } }
            };
            out.push_str(&marked.into_string());
            at = mark.end;
        }
        inert(out, self.text.get(at..).unwrap_or_default());
    }
}

struct Words<'a>(&'a str);

impl Render for Words<'_> {
    fn render_to(&self, out: &mut String) {
        inert(out, self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(start: usize, end: usize, number: usize, tone: Tone) -> Mark {
        Mark { start, end, number, tone, says: "says".to_owned() }
    }

    fn render(text: &str, marks: Vec<Mark>) -> String {
        Marked::new(text, marks).render().into_string()
    }

    #[test]
    fn words_are_marked_and_the_rest_is_left() {
        let found = render("DROP TABLE <b>;", vec![mark(0, 10, 1, Tone::Refused)]);
        assert_eq!(found, "<mark class=\"m refused\" title=\"says\">DROP TABLE<sup>1</sup></mark> &lt;b&gt;;");
    }

    #[test]
    fn of_overlapping_marks_the_graver_and_then_the_narrower_one_stays() {
        let found = render(
            "abcdef",
            vec![mark(0, 6, 1, Tone::Change), mark(2, 3, 2, Tone::Change), mark(3, 5, 3, Tone::Refused)],
        );
        assert!(!found.contains("<sup>1</sup>") && found.contains("c<sup>2</sup>") && found.contains("de<sup>3</sup>"));
    }

    #[test]
    fn spans_that_do_not_fit_the_text_are_left_out() {
        for (start, end) in [(0, 100), (5, 2), (1, 2), (3, 3), (usize::MAX - 1, usize::MAX)] {
            assert_eq!(render("äbc", vec![mark(start, end, 1, Tone::Refused)]), "äbc", "{start}..{end}");
        }
    }

    #[test]
    fn a_long_text_is_cut_at_a_character() {
        let text = "ä".repeat(SHOWN_BYTES);
        assert_eq!(shown(&text).len(), SHOWN_BYTES);
        assert_eq!(shown("abc"), "abc");
    }
}
