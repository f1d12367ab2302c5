//! A statement's effects with the words that cause them, for people. Part of the decision room.

use serde::Serialize;

use crate::sql::{self, Limits, Origin};

/// What both readers see in a text.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Seen {
    /// The effects, each with its place.
    pub effects: Vec<Mark>,
    /// Why PostgreSQL's grammar cannot read the text, if it cannot; or the limit that it is over.
    pub unreadable: Option<String>,
    /// Whether both readers read it and saw different classes.
    pub disagree: bool,
}

/// One effect and the words that cause it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mark {
    /// Its class.
    pub class: &'static str,
    /// The act: `DROP TABLE`.
    pub act: String,
    /// What it touches.
    pub object: Option<String>,
    /// Which readers saw it: `postgres`, `sqlparser` or `both`.
    pub by: &'static str,
    /// First byte of the words in the text, where it is known.
    pub start: Option<usize>,
    /// Byte after the words.
    pub end: Option<usize>,
}

/// Reads a text as the proxy does, for showing: nothing is cached, counted or judged.
pub fn seen(text: &str, limits: &Limits) -> Seen {
    let reading = match sql::read(text, limits) {
        Ok(reading) => reading,
        Err(over) => return Seen { unreadable: Some(over.to_string()), ..Seen::default() },
    };
    let mark = |(effect, origin): &(sql::Effect, Origin)| {
        // A place is good only if it can be cut out of the text.
        let span = effect.span.filter(|span| text.get(span.start..span.end).is_some());
        Mark {
            class: effect.class.name(),
            act: effect.act.to_string(),
            object: effect.object.as_ref().map(ToString::to_string),
            by: match origin {
                Origin::Postgres => "postgres",
                Origin::Sqlparser => "sqlparser",
                Origin::Both => "both",
            },
            start: span.map(|span| span.start),
            end: span.map(|span| span.end),
        }
    };
    Seen {
        effects: reading.effects.iter().map(mark).collect(),
        unreadable: reading.syntax_error.map(|error| error.message),
        disagree: reading.disagree,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn words_that_cause_an_effect_are_found() {
        let text = "select 'ä'; drop table orders";
        let seen = seen(text, &Limits::default());
        let drop = seen.effects.iter().find(|mark| mark.class == "ddl.destructive").unwrap();
        let words = drop.start.zip(drop.end).and_then(|(start, end)| text.get(start..end));
        assert!(words.is_none_or(|words| "drop table orders".contains(words)), "{words:?}");
        assert!(super::seen("selec 1", &Limits::default()).unreadable.is_some());
    }
}
