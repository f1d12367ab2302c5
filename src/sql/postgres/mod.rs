//! The postgres reader: a text as PostgreSQL's own grammar (libpg_query) reads it.
//!
//! [`read`] parses, walks every node (`walker`), and says what each statement does to the session. Names are the ones the
//! server would look up: folded, unescaped, truncated.

mod alter_table;
mod branches;
mod constant;
mod ddl;
mod evaluate;
mod expression;
mod looks;
mod made;
mod names;
mod plpgsql;
mod privilege;
mod query;
mod routine;
mod same;
mod session;
mod subquery;
mod tally;
mod target;
mod tokens;
mod trial;
mod truth;
mod walker;

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use pg_query::{ParserOptions, protobuf as pb};

pub use self::tokens::without_literals;
use self::walker::Walker;
use super::effect::{Class, Effect};
use super::limits::{self, Limits};
use super::reading::{Loose, Statement, SyntaxError};
use super::stack;

/// What the postgres reader saw in one text.
#[derive(Clone, Debug, Default)]
pub struct PostgresReading {
    /// The statements in order; empty for an empty text or one that cannot be read.
    pub statements: Vec<Statement>,
    /// Their effects, each once.
    pub effects: Vec<Effect>,
    /// Why the text cannot be read, if it cannot.
    pub syntax_error: Option<SyntaxError>,
    /// Names that only the database's catalog can tell the meaning of.
    pub loose: Loose,
}

/// Reads a text. Never panics; a text that the grammar cannot read has the one effect `unparsed`.
pub fn read(text: &str) -> PostgresReading {
    let unlimited = Limits { statement_bytes: usize::MAX, nesting: usize::MAX, statements: usize::MAX };
    let depth = limits::measure(text, &unlimited).unwrap_or_default();
    stack::deep_enough(depth, || read_here(text)).unwrap_or_else(|| unreadable(text))
}

/// A text that could not be read for want of a stack.
pub(crate) fn unreadable(text: &str) -> PostgresReading {
    unparsed(text, "the text could not be read: no thread for it".to_owned())
}

/// Reads a text on the calling thread's stack, which must be deep enough.
pub(crate) fn read_here(text: &str) -> PostgresReading {
    match parse(text, ParserOptions::DEFAULT) {
        Ok(tree) => walk(text, &tree),
        Err(message) => unparsed(text, message),
    }
}

fn walk(text: &str, tree: &pb::ParseResult) -> PostgresReading {
    let mut walker = Walker::new(text);
    let mut statements = Vec::with_capacity(tree.stmts.len());
    for raw in &tree.stmts {
        let movement = walker.raw_statement(raw);
        let tally = tally::tally(raw, walker.writes);
        statements.push(Statement { range: walker.statement.clone(), movement, tally });
    }
    PostgresReading { statements, effects: distinct(walker.effects), syntax_error: None, loose: walker.loose }
}

/// The statements of a text, each with its own effects, what the ones before it made being known. `None` when the grammar cannot
/// read the text. Runs on the calling thread's stack, which must be deep enough.
pub(crate) fn read_each(text: &str) -> Option<Vec<(Range<usize>, Vec<Effect>)>> {
    let tree = parse(text, ParserOptions::DEFAULT).ok()?;
    let mut walker = Walker::new(text);
    let each = tree.stmts.iter().map(|raw| {
        walker.raw_statement(raw);
        (walker.statement.clone(), distinct(std::mem::take(&mut walker.effects)))
    });
    Some(each.collect())
}

/// Where the statements of a text stand by its semicolons alone; all of it when even its tokens cannot be read.
pub(crate) fn cut(text: &str) -> Vec<Range<usize>> {
    tokens::between_semicolons(text).unwrap_or_else(|| std::iter::once(0..text.len()).collect())
}

fn unparsed(text: &str, message: String) -> PostgresReading {
    let offset = tokens::error_offset(text, &message);
    let effect = Effect::new(Class::Unparsed, "a text that PostgreSQL's grammar cannot read");
    let effects = vec![effect.at(offset.unwrap_or(0)..text.len())];
    let syntax_error = Some(SyntaxError { message, offset });
    PostgresReading { effects, syntax_error, ..PostgresReading::default() }
}

/// The tree of a text, or the grammar's message. A panic in the binding is a text that cannot be read.
fn parse(text: &str, options: ParserOptions) -> Result<pb::ParseResult, String> {
    match catch_unwind(AssertUnwindSafe(|| pg_query::parse(text, options))) {
        Ok(Ok(result)) => Ok(result.protobuf),
        Ok(Err(pg_query::Error::Parse(message))) => Err(message),
        Ok(Err(pg_query::Error::Conversion(_))) => Err("invalid byte sequence for encoding \"UTF8\": 0x00".to_owned()),
        Ok(Err(other)) => Err(other.to_string()),
        Err(_) => Err("the grammar's reader failed on this text".to_owned()),
    }
}

/// A statement's bytes; a length of zero means to the end.
fn raw_range(raw: &pb::RawStmt, text: &str) -> Range<usize> {
    let start = usize::try_from(raw.stmt_location).unwrap_or(0).min(text.len());
    let end = match usize::try_from(raw.stmt_len) {
        Ok(length) if length > 0 => (start + length).min(text.len()),
        _ => text.len(),
    };
    start..end
}

/// The effects in order of first sight, each once; a read of nothing in particular only when nothing else is read.
fn distinct(effects: Vec<Effect>) -> Vec<Effect> {
    let reads_something = effects.iter().any(|effect| effect.class == Class::Read && effect.object.is_some());
    let mut seen = std::collections::HashSet::new();
    let mut kept = Vec::with_capacity(effects.len());
    for effect in effects {
        let empty_read = effect.class == Class::Read && effect.object.is_none() && effect.act == "SELECT";
        let new = seen.insert((effect.class, effect.object.clone(), effect.act.clone()));
        if new && !(empty_read && reads_something) {
            kept.push(effect);
        }
    }
    kept
}
