//! Proving who a client is: SCRAM as steps, client certificates, and the throttle on failures. No sockets.
//!
//! May not name: `tokio`, `sql`, `policy`, `session`, `net`, `audit`.

pub mod certificate;
pub mod scram;
pub mod throttle;
