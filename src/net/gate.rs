//! How many sessions there are, in all, of each user, on each database and each endpoint; and a handle on each of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use super::control::{Command, Control};

/// What a session counts towards, with the limit of each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// What is counted: `user "app"`.
    pub what: String,
    /// The most there may be.
    pub limit: usize,
}

/// Counts sessions and holds their handles.
#[derive(Debug, Default)]
pub struct Gate {
    inner: Mutex<Inner>,
    emptied: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    counts: HashMap<String, usize>,
    sessions: HashMap<Arc<str>, Arc<Control>>,
}

/// A session's place; given back when it is dropped.
#[derive(Debug)]
pub struct Ticket {
    gate: Arc<Gate>,
    counted: Vec<String>,
    session: Arc<str>,
}

impl Gate {
    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a session in if every limit allows it.
    ///
    /// # Errors
    /// What there are too many of.
    pub fn enter(self: &Arc<Gate>, control: Arc<Control>, counted: Vec<Counted>) -> Result<Ticket, Counted> {
        let mut inner = self.lock();
        let full = |counted: &&Counted| inner.counts.get(&counted.what).copied().unwrap_or(0) >= counted.limit;
        if let Some(full) = counted.iter().find(full) {
            return Err(full.clone());
        }
        for one in &counted {
            *inner.counts.entry(one.what.clone()).or_insert(0) += 1;
        }
        let session = Arc::clone(&control.identity.session);
        inner.sessions.insert(Arc::clone(&session), control);
        let counted = counted.into_iter().map(|one| one.what).collect();
        Ok(Ticket { gate: Arc::clone(self), counted, session })
    }

    /// The handles of all sessions.
    pub fn sessions(&self) -> Vec<Arc<Control>> {
        self.lock().sessions.values().cloned().collect()
    }

    /// The handle of one session.
    pub fn session(&self, id: &str) -> Option<Arc<Control>> {
        self.lock().sessions.get(id).cloned()
    }

    /// How many sessions there are.
    pub fn count(&self) -> usize {
        self.lock().sessions.len()
    }

    /// Gives every session a command.
    pub fn give_all(&self, command: Command) {
        for control in self.sessions() {
            control.give(command);
        }
    }

    /// Waits until there is no session left.
    pub async fn empty(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.count() == 0 {
                return;
            }
            emptied.await;
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut inner = self.gate.lock();
        for what in &self.counted {
            if let Some(count) = inner.counts.get_mut(what) {
                *count -= 1;
                if *count == 0 {
                    inner.counts.remove(what);
                }
            }
        }
        inner.sessions.remove(&self.session);
        if inner.sessions.is_empty() {
            inner.sessions.shrink_to(64);
            self.gate.emptied.notify_waiters();
        }
    }
}
