//! SQL text → the set of effects it would have. Pure: no I/O, no clock, no policy.
//!
//! Two readers look at every text: `postgres` (PostgreSQL's own grammar, by libpg_query) and `generic`
//! (the memory-safe `sqlparser` crate). The verdict is over the union of what both saw; nothing is decided from rendered or
//! searched text (one sentence of pg_dump's is known by heart). What a reader does not know is [`Class::Unknown`], never nothing.
//!
//! May not name: `tokio`, `policy`, `session`, `net`, `audit`, `config`.

pub mod effect;
pub mod functions;
pub mod generic;
pub mod limits;
pub mod migration;
pub mod postgres;
pub mod read;
pub mod reading;
pub mod reference;
pub mod scan;
pub mod script;
pub mod secret_parameters;
pub mod secrets;
pub mod settings;
pub mod shape;
mod stack;
mod system;

pub use effect::{Class, Effect, Object, ObjectKind, Origin, Span};
pub use limits::{Limits, OverLimit};
pub use migration::Ledger;
pub use read::read;
pub use reading::{
    Loose, Movement, PreparedBody, Reading, SavepointStep, Statement, SyntaxError, Tally, TransactionEnd,
};
