//! The reader over `sqlparser`'s typed tree: the memory-safe second opinion on what a text would do.
//!
//! The tree is walked by sqlparser's own derived visitor, so no field can be forgotten; every statement, expression and table
//! factor is matched without a wildcard, so a new kind in a later version does not compile until somebody says what it does.
//! Where PostgreSQL has no such statement the effect is [`Class::Unknown`](crate::sql::Class::Unknown).

mod alter;
mod bound;
mod call;
mod define;
mod names;
mod remove;
mod restrict;
mod session;
mod statement;
mod walk;
mod write;

use std::panic::{AssertUnwindSafe, catch_unwind};

use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

use super::effect::Effect;

/// Levels that sqlparser may descend. One level of parentheses takes two or three.
const RECURSION: usize = 3_000;

/// What this reader saw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GenericReading {
    /// The effects, sorted, each once.
    pub effects: Vec<Effect>,
    /// Whether sqlparser read the text, and read all of it. Where it is false the effects may be too few.
    pub read: bool,
}

/// Reads a text of any number of statements. Never panics, and never needs more stack than it sets aside.
pub fn read(text: &str) -> GenericReading {
    let Some(tokens) = tokens(text) else { return GenericReading::default() };
    let Some(stack) = bound::stack_bytes(&tokens) else { return GenericReading::default() };
    stacker::maybe_grow(stack, stack, || walked(tokens, 0)).unwrap_or_default()
}

/// Reads the statements of one script one after another; what the earlier ones created is known to the later ones.
#[derive(Debug, Default)]
pub struct Script {
    created: Vec<super::effect::Object>,
}

impl Script {
    /// Reads the next statement.
    pub fn read(&mut self, statement: &str) -> GenericReading {
        let Some(tokens) = tokens(statement) else { return GenericReading::default() };
        let Some(stack) = bound::stack_bytes(&tokens) else { return GenericReading::default() };
        let created = self.created.clone();
        let walked = stacker::maybe_grow(stack, stack, || {
            guarded(|| Some(walk::effects_after(&parsed(tokens)?, 0, false, created)))
        });
        let Some((reading, created)) = walked else { return GenericReading::default() };
        self.created = created;
        reading
    }
}

fn parsed(tokens: Vec<TokenWithSpan>) -> Option<Vec<sqlparser::ast::Statement>> {
    let dialect = PostgreSqlDialect {};
    let parser = Parser::new(&dialect).with_recursion_limit(RECURSION).with_tokens_with_locations(tokens);
    { parser }.parse_statements().ok()
}

/// The reading of a function's body, `depth` bodies deep.
fn read_body(text: &str, depth: usize) -> GenericReading {
    tokens(text)
        .filter(|tokens| {
            bound::stack_bytes(tokens).is_some_and(|bytes| bytes < bound::stack_bytes(&[]).unwrap_or(0) * 4)
        })
        .and_then(|tokens| walked(tokens, depth))
        .unwrap_or_default()
}

fn tokens(text: &str) -> Option<Vec<TokenWithSpan>> {
    let dialect = PostgreSqlDialect {};
    guarded(|| Tokenizer::new(&dialect, text).tokenize_with_location().ok())
}

fn walked(tokens: Vec<TokenWithSpan>, depth: usize) -> Option<GenericReading> {
    guarded(|| {
        let several = holds_several(&tokens);
        Some(walk::effects_after(&parsed(tokens)?, depth, several, Vec::new()).0)
    })
}

/// Whether anything stands behind a semicolon.
fn holds_several(tokens: &[TokenWithSpan]) -> bool {
    let mut significant = tokens.iter().map(|token| &token.token).skip_while(|token| **token != Token::SemiColon);
    significant.any(|token| !matches!(token, Token::SemiColon | Token::Whitespace(_) | Token::EOF))
}

/// Runs a step of the parser; a panic inside it counts as "could not read".
fn guarded<T>(step: impl FnOnce() -> Option<T>) -> Option<T> {
    catch_unwind(AssertUnwindSafe(step)).ok().flatten()
}
