//! The review inbox: which records a person is to look at, by the configuration's rules, and what was said of them.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::State;
use super::access::Actor;
use crate::audit::filter::{Filter, NotAFilter, Test};
use crate::audit::index::IndexError;
use crate::audit::query::{NewFingerprint, Page, PageRequest, ReviewState};
use crate::audit::{AuditId, Event, Record, Review, Timestamp, Unwritable};

/// Longest note, in bytes.
const NOTE_BYTES: usize = 10_000;

/// What somebody may say of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReviewAction {
    /// Somebody is to look at it; the note is their name.
    Assigned,
    /// It is in order.
    Acknowledged,
    /// It is not in order.
    Problem,
    /// It is to be looked at again.
    Reopened,
}

impl ReviewAction {
    /// The word in the record.
    pub const fn name(self) -> &'static str {
        match self {
            ReviewAction::Assigned => "assigned",
            ReviewAction::Acknowledged => "acknowledged",
            ReviewAction::Problem => "problem",
            ReviewAction::Reopened => "reopened",
        }
    }
}

/// A rule of the inbox with what it catches.
#[derive(Clone, Debug, Serialize)]
pub struct Inbox {
    /// The rule's name.
    pub rule: String,
    /// Its filter.
    pub filter: String,
    /// How soon somebody is to look, in seconds.
    pub within_s: u64,
    /// Records that nobody has acknowledged.
    pub open: u64,
    /// Of those, the ones that are older than `within`.
    pub overdue: u64,
    /// Records marked as a problem.
    pub problems: u64,
}

/// Why a review was not taken.
#[derive(Debug, thiserror::Error)]
pub enum NotReviewed {
    /// There is no such record.
    #[error("there is no record {0}")]
    NoRecord(AuditId),
    /// The note is too long, or missing where it is needed.
    #[error("{0}")]
    Note(&'static str),
    /// It could not be recorded.
    #[error(transparent)]
    Unrecorded(#[from] Unwritable),
    /// The log could not be read.
    #[error(transparent)]
    Index(#[from] IndexError),
}

/// A rule of the inbox, ready to be asked.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Its name.
    pub name: String,
    /// The filter as written.
    pub written: String,
    /// The filter.
    pub filter: Filter,
    /// Whether only statements count that were new in their environment.
    pub new: bool,
    /// How soon somebody is to look.
    pub within: Duration,
}

/// New fingerprints that a rule is held against.
const NEW: usize = 1_000;

impl State {
    /// The configuration's rules. One whose filter cannot be read has been told when the configuration was loaded.
    pub fn review_rules(&self) -> Vec<Rule> {
        let config = self.shared.door.config();
        let rule = |rule: &crate::config::ReviewRule| {
            Some(Rule {
                name: rule.name.clone(),
                written: rule.filter.clone(),
                filter: filter(&rule.filter).ok()?,
                new: rule.new,
                within: rule.within,
            })
        };
        config.reviews.iter().filter_map(rule).collect()
    }

    /// Every rule with what it catches. Reads files: not for an asynchronous task.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn inboxes(&self) -> Result<Vec<Inbox>, IndexError> {
        let states = self.index.reviews()?;
        let closed = closed(&states);
        let problems = states.iter().filter(|(_, state)| state.action == "problem").map(|(id, _)| *id).collect();
        self.review_rules().iter().map(|rule| self.inbox(rule, &closed, &problems)).collect()
    }

    fn inbox(&self, rule: &Rule, closed: &HashSet<AuditId>, problems: &HashSet<AuditId>) -> Result<Inbox, IndexError> {
        let due = Timestamp(Timestamp::now().0.saturating_sub(micros(rule.within)));
        if rule.new {
            return self.inbox_of_new(rule, closed, problems, due);
        }
        let overdue = rule.filter.clone().and(&Filter::within(None, Some(due)));
        let all = self.index.count(&rule.filter)?;
        Ok(Inbox {
            rule: rule.name.clone(),
            filter: rule.written.clone(),
            within_s: rule.within.as_secs(),
            open: self.index.count_except(&rule.filter, closed)?,
            overdue: self.index.count_except(&overdue, closed)?,
            problems: all.saturating_sub(self.index.count_except(&rule.filter, problems)?),
        })
    }

    fn inbox_of_new(
        &self,
        rule: &Rule,
        closed: &HashSet<AuditId>,
        problems: &HashSet<AuditId>,
        due: Timestamp,
    ) -> Result<Inbox, IndexError> {
        let found = self.new_items(rule)?;
        let open = found.iter().filter(|(id, _)| !closed.contains(id));
        Ok(Inbox {
            rule: rule.name.clone(),
            filter: rule.written.clone(),
            within_s: rule.within.as_secs(),
            open: open.clone().count() as u64,
            overdue: open.filter(|(_, new)| new.first < due).count() as u64,
            problems: found.iter().filter(|(id, _)| problems.contains(id)).count() as u64,
        })
    }

    /// The statements that a rule about new ones asks for, the newest first.
    fn new_items(&self, rule: &Rule) -> Result<Vec<(AuditId, NewFingerprint)>, IndexError> {
        let found = self.index.new_fingerprints(None, Timestamp::default(), NEW)?;
        let asked = |new: NewFingerprint| {
            let id = new.entry.with(|story| rule.filter.matches(story).then(|| story.record.id.parse().ok()).flatten());
            Some((id.flatten()?, new))
        };
        Ok(found.into_iter().filter_map(asked).collect())
    }

    /// A page of a rule's records that nobody has acknowledged. Reads files: not for an asynchronous task.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn open_items(&self, rule: &Rule, page: PageRequest) -> Result<Page, IndexError> {
        let states = self.index.reviews()?;
        if rule.new {
            let closed = closed(&states);
            let open = self.new_items(rule)?.into_iter().filter(|(id, _)| !closed.contains(id));
            return Ok(Page { entries: open.map(|(_, new)| new.entry).take(page.limit).collect(), next: None });
        }
        self.index.search_except(&rule.filter, &closed(&states), page)
    }

    /// Records what somebody says of several records at once: all of it or nothing.
    ///
    /// # Errors
    /// It could not be recorded.
    pub fn review_all(
        &self,
        actor: &Actor,
        of: &[AuditId],
        action: ReviewAction,
        note: &str,
    ) -> Result<(), Unwritable> {
        let audit = &self.shared.audit;
        let review = |of: &AuditId| {
            let review = Review { of: *of, by: actor.by(), action: action.name().into(), note: note.to_owned() };
            Record::new(audit.next_id(), None, Event::Review(review))
        };
        audit.accept(&mut of.iter().map(review).collect())
    }

    /// Records what somebody says of a record. Reads files: not for an asynchronous task.
    ///
    /// # Errors
    /// There is no such record, the note does not fit, or it could not be recorded.
    pub fn review(&self, actor: &Actor, of: AuditId, action: ReviewAction, note: &str) -> Result<(), NotReviewed> {
        if note.len() > NOTE_BYTES {
            return Err(NotReviewed::Note("the note is longer than 10000 bytes"));
        }
        if note.trim().is_empty() && matches!(action, ReviewAction::Assigned | ReviewAction::Problem) {
            return Err(NotReviewed::Note("a note is needed: whom it is assigned to, or what the problem is"));
        }
        self.index.record(of)?.ok_or(NotReviewed::NoRecord(of))?;
        let review = Review { of, by: actor.by(), action: action.name().into(), note: note.to_owned() };
        Ok(self.accept(Event::Review(review))?)
    }
}

/// A filter of the configuration: its hours and days are the machine's.
///
/// # Errors
/// It cannot be read.
pub fn filter(text: &str) -> Result<Filter, NotAFilter> {
    let filter = Filter::parse(text, &jiff::Zoned::now())?;
    let moving = filter.terms.iter().any(|term| matches!(term.test, Test::Time { .. }));
    if moving { Err(NotAFilter::of("a review rule has no times: `within` says how soon")) } else { Ok(filter) }
}

/// What nobody has to look at any more.
fn closed(states: &Arc<std::collections::HashMap<AuditId, ReviewState>>) -> HashSet<AuditId> {
    let settled = |state: &ReviewState| matches!(state.action.as_str(), "acknowledged" | "problem");
    states.iter().filter(|(_, state)| settled(state)).map(|(id, _)| *id).collect()
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
