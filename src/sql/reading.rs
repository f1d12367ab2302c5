//! What reading a text gives: its statements in order, what each does to the session, and their effects.

use std::collections::BTreeSet;
use std::ops::Range;

use super::effect::{Effect, Origin};

/// The whole of what both readers saw in one text (a simple Query may hold many statements).
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// The statements in order, as PostgreSQL's grammar cuts them. Empty for an empty text or one that it cannot read.
    pub statements: Vec<Statement>,
    /// Union of what both readers saw, sorted, each with the readers that saw it.
    pub effects: Vec<(Effect, Origin)>,
    /// Whether the `sqlparser` reader could read the text at all.
    pub sqlparser_read: bool,
    /// Whether both readers read the text and saw different classes.
    pub disagree: bool,
    /// PostgreSQL's syntax error (message and byte offset) if its grammar cannot read the text.
    pub syntax_error: Option<SyntaxError>,
    /// Names that mean nothing by themselves, and may call something where the database's catalog says so.
    pub loose: Loose,
}

/// Names whose meaning only the catalog of the database knows. Folded; schemas are left out: where a name is found, the server
/// decides by `search_path`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loose {
    /// Columns written with their relation: `t.f` is the call `f(t)` where t has no such column (`ParseFuncOrColumn`).
    pub columns: BTreeSet<String>,
    /// Fields of expressions: so is `(x).f`, whatever the type of x.
    pub fields: BTreeSet<String>,
    /// Operators.
    pub operators: BTreeSet<String>,
    /// Types that are cast to: a cast runs the cast's function, or a domain's constraints.
    pub types: BTreeSet<String>,
}

impl Loose {
    /// Takes over the names of another.
    pub fn absorb(&mut self, other: Loose) {
        self.columns.extend(other.columns);
        self.fields.extend(other.fields);
        self.operators.extend(other.operators);
        self.types.extend(other.types);
    }
}

/// A syntax error as PostgreSQL's own grammar reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    /// The message, as the server would word it.
    pub message: String,
    /// Byte offset in the text, where known.
    pub offset: Option<usize>,
}

/// One statement of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Its bytes in the text, without the separating semicolon and without leading whitespace and comments.
    pub range: Range<usize>,
    /// What it does to the session beside its effects.
    pub movement: Movement,
    /// How many rows it changes.
    pub tally: Tally,
}

/// How many rows a statement inserts, updates, deletes, merges or copies in, as far as its text and its command tag tell. What
/// its triggers, rules, cascades and functions change is not in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tally {
    /// None: nothing in the text writes rows. EXECUTE and FETCH change what the statement that they name does.
    #[default]
    Nothing,
    /// Not more than this: a list of VALUES.
    AtMost(u64),
    /// As many as its command tag says.
    Told,
    /// Some, and its command tag does not say how many: WITH, EXPLAIN ANALYZE, COPY (…) TO, DO, CALL.
    Untold,
}

/// How a statement moves the protocol session: transactions, named statements and cursors. The session follows these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Movement {
    /// Nothing that the session has to follow.
    None,
    /// BEGIN or START TRANSACTION.
    Begin,
    /// SET TRANSACTION or SET LOCAL TRANSACTION …: may stand between BEGIN and the first statement that takes a snapshot.
    SetTransaction,
    /// SET LOCAL of an ordinary setting.
    SetLocal,
    /// COMMIT, END, ROLLBACK, ABORT (not `ROLLBACK TO`).
    End {
        /// Whether it commits or rolls back.
        end: TransactionEnd,
        /// AND CHAIN: a new transaction begins at once.
        chain: bool,
    },
    /// SAVEPOINT, RELEASE, ROLLBACK TO.
    Savepoint {
        /// Which of them.
        step: SavepointStep,
        /// The savepoint's folded name.
        name: String,
    },
    /// PREPARE TRANSACTION (ends the transaction); COMMIT/ROLLBACK PREPARED.
    TwoPhase,
    /// PREPARE name AS …
    Prepare {
        /// The statement's folded name.
        name: String,
        /// The statement within.
        body: PreparedBody,
    },
    /// EXECUTE name (also inside EXPLAIN and CREATE TABLE AS).
    Execute {
        /// The folded name.
        name: String,
    },
    /// DEALLOCATE name, or ALL when `None`.
    Deallocate {
        /// The folded name.
        name: Option<String>,
    },
    /// DECLARE name CURSOR.
    Declare {
        /// The cursor's folded name.
        name: String,
        /// WITH HOLD: outlives the transaction.
        hold: bool,
    },
    /// FETCH or MOVE, also WHERE CURRENT OF.
    Fetch {
        /// The cursor's folded name.
        name: String,
    },
    /// CLOSE name, or ALL when `None`.
    ClosePortal {
        /// The cursor's folded name.
        name: Option<String>,
    },
    /// DISCARD ALL (other DISCARDs are `None`, except DISCARD TEMP and PLANS which move nothing the session follows).
    DiscardAll,
    /// A statement that PostgreSQL refuses inside a transaction block (VACUUM, CREATE DATABASE, … CONCURRENTLY, ALTER SYSTEM).
    OutsideTransaction,
    /// SET of a session setting (not LOCAL): name folded, value when it is constant. RESET has no value.
    Set {
        /// The setting's folded name.
        name: String,
        /// The constant value written, if any.
        value: Option<String>,
    },
}

/// Where the body of a PREPARE stands in the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreparedBody {
    /// Bytes of the statement after AS, in the same text.
    pub range: Range<usize>,
}

/// What is done to a savepoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SavepointStep {
    /// SAVEPOINT.
    Set,
    /// RELEASE.
    Release,
    /// ROLLBACK TO.
    RollbackTo,
}

/// How a transaction ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionEnd {
    /// COMMIT, END.
    Commit,
    /// ROLLBACK, ABORT.
    Rollback,
}
