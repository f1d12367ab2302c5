//! The question to the server and its answer. Part of the catalog room.

use serde::Deserialize;

/// Most functions, and most views, that are asked for. Where there are more, none is believed.
const MOST: usize = 20_000;

/// Asks for everything at once, as one JSON value: whatever was not made by initdb (`FirstNormalObjectId` is 16384), with its
/// definition where that is text that can be read. `search_path` must be empty, so that definitions write schemas out. Every
/// relation and type is written with its schema: a pooled connection may hold somebody's temporary ones.
pub const QUESTION: &str = include_str!("question.sql");

/// The server's answer.
#[derive(Debug, Deserialize)]
pub struct Rows {
    pub(super) functions: Vec<FunctionRow>,
    pub(super) views: Vec<ViewRow>,
    pub(super) operators: Vec<NamedRow>,
    pub(super) types: Vec<NamedRow>,
    pub(super) programs: Vec<ProgramRow>,
    /// Schema and name of enums that no cast of the database's own leads to: a cast to one calls nothing.
    pub(super) enums: Vec<(String, String)>,
}

/// Why an answer cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BadRows {
    /// It is not what was asked for.
    #[error("the answer cannot be read: {0}")]
    Malformed(#[from] serde_json::Error),
    /// There is too much of it.
    #[error("more than {MOST} functions or views")]
    TooMany,
}

/// One user function.
#[derive(Debug, Deserialize)]
pub(super) struct FunctionRow {
    pub schema: String,
    pub name: String,
    /// `f` function, `p` procedure, `a` aggregate, `w` window function.
    pub kind: String,
    /// `i` immutable, `s` stable, `v` volatile.
    pub volatility: String,
    pub language: String,
    pub owner: String,
    /// Runs with its owner's rights.
    pub definer: bool,
    /// The extension it belongs to.
    pub extension: Option<String>,
    /// `name=value` of its SET clauses.
    pub settings: Option<Vec<String>>,
    /// Whether it can be called with one argument.
    pub field: bool,
    /// Whether its first argument can be a row.
    pub of_row: bool,
    /// CREATE FUNCTION, for SQL and PL/pgSQL.
    pub definition: Option<String>,
    /// What an aggregate calls.
    pub calls: Option<Vec<(String, String)>>,
}

/// One view or materialized view.
#[derive(Debug, Deserialize)]
pub(super) struct ViewRow {
    pub schema: String,
    pub name: String,
    pub materialized: bool,
    pub definition: Option<String>,
}

/// One foreign table of file_fdw that reads what a program prints: a SELECT from it runs the program.
#[derive(Debug, Deserialize)]
pub(super) struct ProgramRow {
    pub schema: String,
    pub name: String,
}

/// One operator, domain or cast with what it calls.
#[derive(Debug, Deserialize)]
pub(super) struct NamedRow {
    pub schema: String,
    pub name: String,
    /// Functions it calls.
    pub calls: Vec<(String, String)>,
    /// Expressions it evaluates.
    pub expressions: Vec<String>,
}

impl Rows {
    /// Reads the server's answer.
    ///
    /// # Errors
    /// It is not what was asked for, or there is too much of it.
    pub fn read(text: &str) -> Result<Rows, BadRows> {
        let rows: Rows = serde_json::from_str(text)?;
        if rows.functions.len() > MOST || rows.views.len() > MOST {
            return Err(BadRows::TooMany);
        }
        Ok(rows)
    }
}
