//! Free loopback ports.

use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Context, Result};

/// How often a server is started anew when somebody else took its port in between.
pub const ATTEMPTS: u32 = 10;

/// A port of 127.0.0.1 that nobody listens on at this moment.
///
/// # Errors
/// When the system has none.
pub fn free() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port on 127.0.0.1")?;
    Ok(listener.local_addr().context("no free port on 127.0.0.1")?.port())
}

/// `wanted` when nobody listens on it, any free port otherwise; 0 wants any.
///
/// # Errors
/// When the system has none.
pub fn free_or(wanted: u16) -> Result<u16> {
    match TcpListener::bind((Ipv4Addr::LOCALHOST, wanted)) {
        Ok(listener) => Ok(listener.local_addr().context("no free port on 127.0.0.1")?.port()),
        Err(_) => free(),
    }
}

/// Runs `start` with one free port after the other until it succeeds; only a port that was taken in between is a
/// reason to go on.
///
/// # Errors
/// What `start` said, when it was something else, or the last time.
pub fn retrying<T>(mut start: impl FnMut(u16) -> Result<T>) -> Result<T> {
    let mut attempt = 1;
    loop {
        match start(free()?) {
            Err(error) if attempt < ATTEMPTS && was_taken(&error) => attempt += 1,
            outcome => return outcome,
        }
    }
}

/// Whether an error is about a port that somebody else has.
fn was_taken(error: &anyhow::Error) -> bool {
    let text = format!("{error:#}").to_lowercase();
    text.contains("address already in use") || text.contains("address in use")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_tried_again_and_another_error_is_not() {
        let mut calls = 0;
        let outcome = retrying(|port| {
            calls += 1;
            if calls < 3 { Err(anyhow::anyhow!("cannot listen: Address already in use")) } else { Ok(port) }
        });
        assert!(outcome.unwrap() > 0);
        assert_eq!(calls, 3);
        let failed: Result<()> = retrying(|_| Err(anyhow::anyhow!("no such program")));
        assert_eq!(failed.unwrap_err().to_string(), "no such program");
    }

    #[test]
    fn a_wanted_port_that_is_taken_becomes_another() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        assert_ne!(free_or(port).unwrap(), port);
    }
}
