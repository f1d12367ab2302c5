//! The throw-away stack behind `pgwarden demo` and the tests: Postgres, PgBouncer, sample data and pgwarden, each a
//! child process that never outlives its parent.
//!
//! Nothing here is on the path of a client's bytes.

pub mod account;
pub mod check;
pub mod configuration;
pub mod pgbouncer;
pub mod port;
pub mod postgres;
pub mod process;
pub mod psql;
pub mod scratch;
pub mod shop;
pub mod stack;
pub mod welcome;
