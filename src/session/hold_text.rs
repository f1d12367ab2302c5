//! The hold inside a text of several statements, where no message in front of it can hold them all.
//!
//! The proxy's statements are put into the text at the boundaries that PostgreSQL's own grammar gave; their results are
//! swallowed by count, and error positions are moved back.

use crate::sql::{Movement, Statement};
use crate::wire::report::Report;

use super::client::no_chain;
use super::hold::{BEGIN, COMMIT, LOCK, after, bare_in_text, stays_unlocked};
use super::locks::Within;
use super::pending::{Believed, Injected};

/// A text with the proxy's statements in it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Held {
    /// What goes to the server.
    pub text: String,
    /// The proxy's statements in it, in order.
    pub injected: Vec<Injected>,
    /// Where the transaction stands after it; never in one of the proxy's.
    pub believed: Believed,
}

impl Held {
    /// Adds one statement of the proxy's before statement `place` of the client's, `characters` into the text.
    fn put(&mut self, own: &str, place: usize, characters: &mut usize) {
        let place = place + self.injected.len();
        self.injected.push(Injected { place, at: *characters, characters: own.len() });
        self.text.push_str(own);
        *characters += own.len();
    }
}

/// Puts the hold into `text` wherever a statement would run without it, from where the transaction stands.
///
/// Each transaction sets the limit on waiting for locks too, and where the text may change that, every statement does.
///
/// # Errors
/// AND CHAIN where the client has no transaction, or a statement that is not where it should be.
pub(super) fn hold(
    text: &str,
    statements: &[Statement],
    mut believed: Believed,
    mut locks: Option<Within<'_>>,
) -> Result<Held, Report> {
    let mut held = Held { text: String::with_capacity(text.len() + 256), injected: Vec::new(), believed };
    let mut copied = 0;
    let mut characters = 0;
    for (place, statement) in statements.iter().enumerate() {
        let before = text.get(copied..statement.range.start).ok_or_else(misplaced)?;
        held.text.push_str(before);
        characters += before.chars().count();
        copied = statement.range.start;
        if let (Believed::Wrapped, Movement::End { end, chain: true }) = (believed, &statement.movement) {
            return Err(no_chain(*end));
        }
        let (needed, then) = needed(believed, &statement.movement);
        for own in needed {
            held.put(&format!("{own};"), place, &mut characters);
        }
        if let Some(own) = locks.as_mut().and_then(|locks| locks.before(then, &statement.movement)) {
            held.put(&format!("{own};"), place, &mut characters);
        }
        believed = after(then, &statement.movement);
    }
    let rest = text.get(copied..).ok_or_else(misplaced)?;
    held.text.push_str(rest);
    characters += rest.chars().count();
    if believed == Believed::Wrapped {
        // On a line of its own: the text may end in a comment.
        held.put(&format!("\n;{COMMIT}"), statements.len(), &mut characters);
        believed = Believed::Idle;
    }
    held.believed = believed;
    Ok(held)
}

/// What must stand before a statement, and where the transaction stands then.
fn needed(believed: Believed, movement: &Movement) -> (&'static [&'static str], Believed) {
    match believed {
        Believed::Idle if !bare_in_text(movement) => (&[BEGIN, LOCK], Believed::Wrapped),
        Believed::Client { locked: false, failed: false } if !stays_unlocked(movement) => {
            (&[LOCK], Believed::Client { locked: true, failed: false })
        }
        Believed::Idle | Believed::Wrapped | Believed::Client { .. } => (&[], believed),
    }
}

fn misplaced() -> Report {
    Report::error("XX000", "pgwarden: the statements of this text could not be told apart")
}
