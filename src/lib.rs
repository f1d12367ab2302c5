//! pgwarden: a Postgres wire-protocol safety proxy.
//!
//! # The main path
//!
//! A client's bytes go through these rooms, in this order:
//!
//! 1. [`net::listener`] accepts the socket and spawns [`net::driver`], one task a session;
//! 2. [`wire`] cuts bytes into frames;
//! 3. [`auth`] proves who the client is; [`net::upstream`] opens the endpoint of the user's role;
//! 4. [`decision`] turns a statement's text into a verdict: [`sql`] says what it would do (two readers, one union),
//!    [`policy`] says whether that is allowed; both are pure, and the door caches what they said;
//! 5. [`audit`] accepts the record;
//! 6. [`session`] says which bytes go where: upstream, to the client, or nowhere;
//! 7. the server's bytes come back through [`session`], which reads headers and records the outcome.
//!
//! # Words
//!
//! *database* a name clients connect to · *endpoint* a Postgres URL of a database (`pooled`, `direct`, `replica`) ·
//! *environment* where rules differ · *role* the job somebody does through the proxy · *user* who logs in ·
//! *policy* a named set of rules · *effect* something a statement would do · *verdict* allow or deny, with the rule ·
//! *grant* a time-limited, audited widening of a policy · *session* one client connection with its upstream connection.

pub mod admin;
mod amounts;
pub mod app;
pub mod audit;
pub mod auth;
pub mod catalog;
pub mod cli;
pub mod config;
pub mod decision;
pub mod demo;
pub mod net;
pub mod policy;
pub mod session;
pub mod sql;
mod suggest;
pub mod wire;
