//! Sockets: accepting clients, logging them in, opening endpoints, and driving each session's two connections.
//!
//! The only room that does I/O with clients and servers. What may happen is decided elsewhere: [`crate::session`] says which
//! bytes go where, [`crate::decision`] what a statement may do, [`crate::auth`] who a client is.
//!
//! May not name: `sql`, `admin`.

pub mod buffers;
pub mod cancel;
pub mod catalogs;
pub mod control;
pub mod driver;
pub mod expect;
pub mod fitness;
pub mod gate;
pub mod latency;
pub mod listener;
pub mod login;
pub mod records;
pub mod startup;
pub mod stream;
pub mod timers;
pub mod tls;
pub mod upstream;
pub mod workers;
