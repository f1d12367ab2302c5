//! Who acts through the console or the API, what they may do, and the records of it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::State;
use crate::audit::{Event, Record, Unwritable};
use crate::config::{ConsoleRole, Token};

/// Looking at the same thing again within this time is not recorded again.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// Looks that are remembered; above it the old ones are forgotten.
const MOST_LOOKS: usize = 10_000;
/// Longest target of a record, in characters: what somebody searched for may be long.
const TARGET_CHARS: usize = 2_000;
/// Under this name failed tokens of an address are counted.
const TOKEN: &str = "api token";

/// How somebody came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Way {
    /// By logging in to the console.
    Console,
    /// By a token of the configuration.
    Token,
}

/// Somebody who acts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// The user's or the token's name.
    pub name: String,
    /// What they may do.
    pub role: ConsoleRole,
    /// How they came in.
    pub way: Way,
}

impl Actor {
    /// The name in records: `grace`, `token:ci`.
    pub fn by(&self) -> String {
        match self.way {
            Way::Console => self.name.clone(),
            Way::Token => format!("token:{}", self.name),
        }
    }

    /// Whether they may do what needs this role.
    pub fn may(&self, role: ConsoleRole) -> bool {
        self.role >= role
    }
}

/// Why a token lets nobody in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoEntry {
    /// It is not one of the configuration's.
    Unknown,
    /// This address has shown too many wrong ones.
    Throttled,
}

/// What was looked at, and when that was recorded.
#[derive(Debug, Default)]
pub(super) struct Looks(Mutex<HashMap<(String, &'static str, String), Instant>>);

impl Looks {
    /// Whether this look is to be recorded.
    fn is_new(&self, by: &str, action: &'static str, target: &str, now: Instant) -> bool {
        let mut looks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if looks.len() >= MOST_LOOKS {
            looks.retain(|_, at| now.duration_since(*at) < LOOK_EVERY);
            if looks.len() >= MOST_LOOKS {
                looks.clear();
            }
        }
        let key = (by.to_owned(), action, target.to_owned());
        let known = looks.get(&key).is_some_and(|at| now.duration_since(*at) < LOOK_EVERY);
        if !known {
            looks.insert(key, now);
        }
        !known
    }
}

impl State {
    /// Who a token lets in. Wrong ones are recorded, and counted against their address.
    ///
    /// # Errors
    /// It lets nobody in.
    pub fn token(&self, token: &str, address: IpAddr) -> Result<Actor, NoEntry> {
        let config = self.shared.door.config();
        let now = Instant::now();
        if !self.throttle.allows(address, TOKEN, config.limits.login_failures, now) {
            return Err(NoEntry::Throttled);
        }
        // Each is compared, so that the time it takes does not say which one it was.
        let compare = |found, known: &Token| if known.hash.is_of(token) { Some(known.clone()) } else { found };
        let found = config.tokens.iter().fold(None, compare);
        let Some(found) = found else {
            self.throttle.failed(address, TOKEN, now);
            self.record("nobody", "api.login_failed", Some(address.to_string()));
            return Err(NoEntry::Unknown);
        };
        self.throttle.succeeded(address, TOKEN);
        Ok(Actor { name: found.name.clone(), role: found.role, way: Way::Token })
    }

    /// Records that somebody is about to act. Nothing may be done if that fails.
    ///
    /// # Errors
    /// The log cannot be written.
    pub fn acts(&self, actor: &Actor, action: &'static str, target: Option<String>) -> Result<(), Unwritable> {
        self.accept(Event::Admin { by: actor.by(), action: action.into(), target: target.map(bounded) })
    }

    /// Records an event of the console's or the API's before it takes effect.
    pub(super) fn accept(&self, event: Event) -> Result<(), Unwritable> {
        let audit = &self.shared.audit;
        audit.accept(&mut vec![Record::new(audit.next_id(), None, event)])
    }

    /// Records that somebody looked at something; the same look again within a minute is not recorded again.
    pub fn looks(&self, actor: &Actor, action: &'static str, target: Option<String>) {
        let by = actor.by();
        let target = target.map(bounded);
        if self.looks.is_new(&by, action, target.as_deref().unwrap_or_default(), Instant::now()) {
            self.record(&by, action, target);
        }
    }

    fn record(&self, by: &str, action: &'static str, target: Option<String>) {
        let audit = &self.shared.audit;
        let event = Event::Admin { by: by.to_owned(), action: action.into(), target };
        audit.defer(Record::new(audit.next_id(), None, event));
    }
}

fn bounded(target: String) -> String {
    match target.char_indices().nth(TARGET_CHARS) {
        Some((at, _)) => format!("{}…", target.get(..at).unwrap_or_default()),
        None => target,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_is_recorded_once_a_minute() {
        let looks = Looks::default();
        let start = Instant::now();
        assert!(looks.is_new("a", "audit.search", "x", start));
        assert!(!looks.is_new("a", "audit.search", "x", start));
        assert!(looks.is_new("b", "audit.search", "x", start) && looks.is_new("a", "audit.search", "y", start));
        assert!(looks.is_new("a", "audit.search", "x", start + LOOK_EVERY));
    }

    #[test]
    fn targets_are_bounded_and_names_say_how_somebody_came_in() {
        assert_eq!(bounded("ä".repeat(3000)).chars().count(), TARGET_CHARS + 1);
        let actor = Actor { name: "ci".into(), role: ConsoleRole::Auditor, way: Way::Token };
        assert_eq!(actor.by(), "token:ci");
        assert!(actor.may(ConsoleRole::Viewer) && actor.may(ConsoleRole::Auditor) && !actor.may(ConsoleRole::Operator));
    }
}
