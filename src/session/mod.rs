//! The protocol session as a value: client frames and judgements in, server bytes in, outputs out in order.
//!
//! No socket, clock, file or lock: [`crate::net::driver`] owns those. What a session knows of its server it knows from
//! messages: the transaction status from ReadyForQuery, the order of answers from the order of requests.
//!
//! - [`client`] takes what the client sends; [`server`] what the server answers;
//! - [`checkpoint`] takes back what could not be recorded;
//! - [`pending`] is the queue between the two: one entry for each answer still to come;
//! - [`names`] are the statements and portals that this session made;
//! - [`parameters`] is what the record shows of bind parameters;
//! - [`hold`] keeps every transaction read-only where policy says so; [`hold_text`] does it inside a multi-statement text;
//! - [`guard`] keeps a transaction that changed too many rows from committing; [`script`] sends a text in pieces for it;
//! - [`locks`] keeps the server's `lock_timeout` where policy wants it;
//! - [`migration`] knows which migration a tool is at, and keeps its lock off a pooler;
//! - [`fast_path`] takes calls of functions by their number;
//! - [`fate`] knows which of the transactions in a text or batch committed;
//! - [`cut`] ends statements that meet a limit in rows, bytes or time;
//! - [`text_settings`] knows how the server reads texts, and ends a session that would be misjudged;
//! - [`refuse`] makes the server fail where a refusal must look like an error of its own.
//!
//! May not name: `tokio`, `net`, `audit`, `config`, `admin`, `std::time`.

mod checkpoint;
mod client;
mod cut;
mod fast_path;
mod fate;
mod guard;
mod hold;
mod hold_text;
mod locks;
mod migration;
mod names;
mod parameters;
mod pending;
mod refuse;
mod script;
mod server;
mod state;
mod text_settings;

pub use checkpoint::Checkpoint;
pub use client::{Fault, Need, Taken};
pub use cut::Caps;
pub use fast_path::text_of_call;
pub use guard::AffectedCap;
pub use locks::LockTimeout;
pub use parameters::{Parameter, Parameters};
pub use server::ServerFault;
pub use state::{Event, Kind, Limits, Outcome, Output, RecordIds, Refused, Session, Settings};
pub use text_settings::TextSettings;
