//! The grants in force: whose policy is widened, by what, and until when. Whoever puts one in has recorded it first.
//!
//! A grant ends by itself: whatever judges under it looks at the clock ([`End`]). Taking it out only tidies up.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crate::config::{Access, Config};
use crate::policy::{Widening, classes_of};

/// A grant in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Its id.
    pub id: Arc<str>,
    /// For which user.
    pub user: String,
    /// In which environment.
    pub environment: String,
    /// In which role of the user: in another one it is not in force.
    pub role: String,
    /// On which database; `None` for all of the environment.
    pub database: Option<String>,
    /// Class patterns, in the language of `allow`.
    pub allow: Vec<String>,
    /// When not empty: the only relations that may be touched under it.
    pub relations: Vec<String>,
    /// When it ends.
    pub end: End,
}

/// When a grant ends: by the time of day or by time gone by, whichever comes first. A clock that is put back gives nobody more time,
/// and neither does a machine that slept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    time: SystemTime,
    moment: Option<Instant>,
}

impl End {
    /// The end of something that lasts `left` from now on.
    pub fn after(left: Duration) -> End {
        End::at(left, Instant::now(), SystemTime::now())
    }

    fn at(left: Duration, now: Instant, today: SystemTime) -> End {
        End { time: today.checked_add(left).unwrap_or(today), moment: now.checked_add(left) }
    }

    /// Whether it has come.
    pub fn has_come(&self) -> bool {
        self.has_come_at(Instant::now(), SystemTime::now())
    }

    fn has_come_at(&self, now: Instant, today: SystemTime) -> bool {
        today >= self.time || self.moment.is_none_or(|moment| now >= moment)
    }

    /// The earlier of two, as far as both clocks agree; otherwise whatever comes first by either.
    fn and(self, other: End) -> End {
        let moment = self.moment.zip(other.moment).map(|(one, other)| one.min(other));
        End { time: self.time.min(other.time), moment }
    }
}

/// The grants that hold for one session now.
#[derive(Clone, Debug, Default)]
pub(super) struct Held {
    /// What they add to the policy.
    pub widenings: Vec<Widening>,
    /// When the first of them ends.
    pub end: Option<End>,
}

impl Held {
    /// What tells it from others of the same configuration.
    pub(super) fn ids(&self) -> Vec<Arc<str>> {
        self.widenings.iter().map(|widening| Arc::clone(&widening.grant)).collect()
    }
}

/// All grants in force.
#[derive(Debug, Default)]
pub struct Grants {
    all: Mutex<Vec<Grant>>,
    /// Counts the changes.
    number: AtomicU64,
}

impl Grants {
    /// The number of what is in force: a session that saw another one asks again.
    pub fn number(&self) -> u64 {
        self.number.load(Ordering::Acquire)
    }

    /// Puts a grant in force.
    pub fn put(&self, grant: Grant) {
        self.change(|all| {
            all.retain(|other| other.id != grant.id);
            all.push(grant);
        });
    }

    /// Takes a grant out of force.
    pub fn take(&self, id: &str) {
        self.change(|all| all.retain(|grant| *grant.id != *id));
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Grant>)) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut all);
        self.number.fetch_add(1, Ordering::AcqRel);
    }

    /// What holds for a session that has this access. What may never be granted is left out, whatever was approved.
    pub(super) fn of(&self, access: &Access, config: &Config) -> Held {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let mut held = Held::default();
        for grant in all.iter().filter(|grant| grant.is_for(access) && !grant.end.has_come()) {
            held.end = Some(held.end.map_or(grant.end, |end| end.and(grant.end)));
            held.widenings.push(Widening {
                grant: Arc::clone(&grant.id),
                classes: classes_of(&grant.allow, &config.grants.never),
                relations: grant.relations.clone(),
            });
        }
        held
    }
}

impl Grant {
    fn is_for(&self, access: &Access) -> bool {
        self.user == access.user
            && self.environment == access.environment
            && self.role == access.role
            && self.database.as_ref().is_none_or(|database| *database == access.database)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn the_first_clock_to_come_there_ends_it() {
        let (now, today) = (Instant::now(), SystemTime::now());
        let end = End::at(30 * MINUTE, now, today);
        let table = [
            ("neither", 29, 29, false),
            ("both", 30, 30, true),
            ("the clock was put back", 30, 0, true),
            ("the clock was put forward", 1, 30, true),
            ("the machine slept", 2, 31, true),
        ];
        for (what, gone, by_the_clock, expected) in table {
            assert_eq!(end.has_come_at(now + gone * MINUTE, today + by_the_clock * MINUTE), expected, "{what}");
        }
        assert!(end.has_come_at(now + 30 * MINUTE, today - 600 * MINUTE));
    }

    #[test]
    fn of_several_the_first_end_counts() {
        let (now, today) = (Instant::now(), SystemTime::now());
        let (short, long) = (End::at(MINUTE, now, today), End::at(30 * MINUTE, now, today));
        for end in [short.and(long), long.and(short)] {
            assert!(!end.has_come_at(now, today));
            assert!(end.has_come_at(now + MINUTE, today));
        }
    }
}
