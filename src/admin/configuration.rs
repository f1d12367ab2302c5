//! The configuration in force, and what came of the last reload.

use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use super::State;
use crate::audit::{Reload, Timestamp};

/// What came of a reload.
#[derive(Clone, Debug, Serialize)]
pub struct Reloaded {
    /// When (RFC 3339).
    pub time: String,
    /// By which signal, or whom.
    pub cause: String,
    /// Generation in force afterwards.
    pub generation: u64,
    /// What changed, one line each.
    pub changes: Vec<String>,
    /// Why it was refused, if it was.
    pub error: Option<String>,
}

/// The last reload.
#[derive(Debug, Default)]
pub struct LastReload(Mutex<Option<Reloaded>>);

impl LastReload {
    /// Notes a reload.
    pub fn note(&self, reload: &Reload) {
        let reloaded = Reloaded {
            time: Timestamp::now().to_string(),
            cause: reload.cause.to_string(),
            generation: reload.generation,
            changes: reload.changes.clone(),
            error: reload.refused.clone(),
        };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(reloaded);
    }

    /// The last one, if there was one.
    pub fn last(&self) -> Option<Reloaded> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The configuration in force.
#[derive(Clone, Debug, Serialize)]
pub struct Configuration {
    /// Its generation: 1 at the start, one more with each reload.
    pub generation: u64,
    /// pgwarden's version.
    pub version: &'static str,
    /// The last reload, if there was one.
    pub last_reload: Option<Reloaded>,
}

impl State {
    /// The configuration in force.
    pub fn configuration(&self) -> Configuration {
        Configuration {
            generation: self.shared.door.generation(),
            version: env!("CARGO_PKG_VERSION"),
            last_reload: self.reloads.last(),
        }
    }
}
