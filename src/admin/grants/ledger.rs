//! Which grants there are, as their records tell: a value that follows them one by one. No clock, no file.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::audit::view::RecordView;
use crate::audit::{self, AuditId, Timestamp};

/// Grants that have ended and are still shown; the log has all of them.
const MOST_ENDED: usize = 500;

/// What becomes of a grant. The word stands in records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Somebody asks for it.
    Requested,
    /// Somebody gives it: it is in force from now on.
    Approved,
    /// Somebody refuses it.
    Denied,
    /// It is taken back, or the request withdrawn.
    Revoked,
    /// Its time is over, or nobody answered the request in time.
    Expired,
}

impl Action {
    const ALL: [Action; 5] = [Action::Requested, Action::Approved, Action::Denied, Action::Revoked, Action::Expired];

    /// The word in the record.
    pub const fn name(self) -> &'static str {
        match self {
            Action::Requested => "requested",
            Action::Approved => "approved",
            Action::Denied => "denied",
            Action::Revoked => "revoked",
            Action::Expired => "expired",
        }
    }

    /// The action of a word.
    pub fn from_name(name: &str) -> Option<Action> {
        Action::ALL.into_iter().find(|action| action.name() == name)
    }
}

/// One step of a grant: who took it, when, and what they said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// What was done.
    pub action: Action,
    /// By whom.
    pub by: String,
    /// When (RFC 3339).
    pub time: String,
    /// What they said.
    pub note: String,
}

/// A grant, from the request on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Grant {
    /// Its id: the audit id of the record that asked for it.
    pub id: String,
    /// Where it stands: the last step.
    pub state: Action,
    /// For which user.
    pub user: String,
    /// In which role of the user.
    pub role: String,
    /// In which environment.
    pub environment: String,
    /// On which database, unless on all.
    pub database: Option<String>,
    /// What it allows.
    pub allow: Vec<String>,
    /// The only relations that it is for, unless for all.
    pub relations: Vec<String>,
    /// How long it lasts, in seconds.
    pub seconds: u64,
    /// Until when it is in force (RFC 3339); `None` unless it was approved.
    pub until: Option<String>,
    /// The reason given.
    pub reason: String,
    /// Who asked for it.
    pub by: String,
    /// What was done, the oldest first.
    pub steps: Vec<Step>,
    /// When it was asked for.
    #[serde(skip)]
    pub asked: Timestamp,
    /// When it ends, in the time of day.
    #[serde(skip)]
    pub ends: Option<Timestamp>,
}

impl Grant {
    /// Whether it waits for an answer.
    pub fn is_open(&self) -> bool {
        self.state == Action::Requested
    }

    /// Whether it is in force, as far as its records say.
    pub fn is_active(&self) -> bool {
        self.state == Action::Approved
    }

    /// How long it lasts.
    pub fn lasts(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    /// The record of its next step.
    pub fn record(&self, action: Action, by: &str, until: Option<Timestamp>, note: &str) -> audit::Grant {
        audit::Grant {
            grant: self.id.clone(),
            action: action.name().into(),
            by: by.to_owned(),
            user: self.user.clone(),
            role: self.role.clone(),
            environment: self.environment.clone(),
            database: self.database.clone(),
            allows: self.allow.clone(),
            relations: self.relations.clone(),
            seconds: self.seconds,
            until,
            reason: self.reason.clone(),
            note: note.to_owned(),
        }
    }
}

/// A record of a grant, as it was read.
pub fn told(record: &RecordView<'_>) -> Option<(audit::Grant, Timestamp)> {
    let texts = |list: &[std::borrow::Cow<'_, str>]| list.iter().map(|item| item.to_string()).collect();
    let until = audit::query::time_of(&RecordView { time: record.until.clone(), ..RecordView::default() });
    let grant = audit::Grant {
        grant: record.grant.to_string(),
        action: record.action.to_string().into(),
        by: record.by.to_string(),
        user: record.for_user.to_string(),
        role: record.for_role.to_string(),
        environment: record.for_environment.to_string(),
        database: (!record.for_database.is_empty()).then(|| record.for_database.to_string()),
        allows: texts(&record.allows),
        relations: texts(&record.relations),
        seconds: record.seconds?,
        until,
        reason: record.reason.to_string(),
        note: record.note.to_string(),
    };
    Some((grant, audit::query::time_of(record)?))
}

/// All grants that are known.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    grants: BTreeMap<u64, Grant>,
}

impl Ledger {
    /// Follows one more record. What does not follow from the records before changes nothing: an ended grant stays ended, and what
    /// nobody asked for cannot be approved.
    pub fn follow(&mut self, told: &audit::Grant, at: Timestamp) {
        let (Ok(id), Some(action)) = (told.grant.parse::<AuditId>(), Action::from_name(&told.action)) else { return };
        let step = Step { action, by: told.by.clone(), time: at.to_string(), note: told.note.clone() };
        let state = self.grants.get(&id.0).map(|grant| grant.state);
        match (action, state) {
            (Action::Requested, None) => {
                self.grants.insert(id.0, requested(told, step, at));
            }
            (Action::Approved | Action::Denied, Some(Action::Requested))
            | (Action::Revoked | Action::Expired, Some(Action::Requested | Action::Approved)) => {
                if let Some(grant) = self.grants.get_mut(&id.0) {
                    grant.state = action;
                    grant.steps.push(step);
                    if action == Action::Approved {
                        grant.ends = told.until;
                        grant.until = told.until.map(|until| until.to_string());
                    }
                }
                self.forget();
            }
            _ => {}
        }
    }

    fn forget(&mut self) {
        let over = |grant: &Grant| !grant.is_open() && !grant.is_active();
        let ended: Vec<u64> = self.grants.iter().filter(|(_, grant)| over(grant)).map(|(id, _)| *id).collect();
        for id in ended.iter().take(ended.len().saturating_sub(MOST_ENDED)) {
            self.grants.remove(id);
        }
    }

    /// One grant.
    pub fn grant(&self, id: &str) -> Option<&Grant> {
        self.grants.get(&id.parse::<AuditId>().ok()?.0)
    }

    /// All of them, the newest first.
    pub fn all(&self) -> impl Iterator<Item = &Grant> {
        self.grants.values().rev()
    }

    /// Those that wait for an answer or are in force.
    pub fn living(&self) -> impl Iterator<Item = &Grant> {
        self.all().filter(|grant| grant.is_open() || grant.is_active())
    }

    /// Puts a grant in the place of what is known of it.
    pub fn put(&mut self, grant: Grant) {
        if let Ok(id) = grant.id.parse::<AuditId>() {
            self.grants.insert(id.0, grant);
        }
    }
}

fn requested(told: &audit::Grant, step: Step, at: Timestamp) -> Grant {
    Grant {
        id: told.grant.clone(),
        state: Action::Requested,
        user: told.user.clone(),
        role: told.role.clone(),
        environment: told.environment.clone(),
        database: told.database.clone(),
        allow: told.allows.clone(),
        relations: told.relations.clone(),
        seconds: told.seconds,
        until: None,
        reason: told.reason.clone(),
        by: told.by.clone(),
        steps: vec![step],
        asked: at,
        ends: None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn told(id: u64, action: Action) -> audit::Grant {
        audit::Grant {
            grant: AuditId(id).to_string(),
            action: action.name().into(),
            by: "grace".to_owned(),
            user: "dana".to_owned(),
            seconds: 60,
            until: (action == Action::Approved).then_some(Timestamp(90)),
            ..audit::Grant::default()
        }
    }

    #[test]
    fn only_what_follows_from_the_steps_before_counts() {
        use Action::{Approved, Denied, Expired, Requested, Revoked};
        let table: [(&[Action], Option<Action>); 10] = [
            (&[], None),
            (&[Approved], None),
            (&[Revoked], None),
            (&[Requested], Some(Requested)),
            (&[Requested, Approved], Some(Approved)),
            (&[Requested, Denied, Approved], Some(Denied)),
            (&[Requested, Revoked, Approved], Some(Revoked)),
            (&[Requested, Approved, Denied], Some(Approved)),
            (&[Requested, Approved, Expired, Approved], Some(Expired)),
            (&[Requested, Approved, Revoked, Requested, Approved], Some(Revoked)),
        ];
        for (steps, expected) in table {
            let mut ledger = Ledger::default();
            for (at, step) in steps.iter().enumerate() {
                ledger.follow(&told(7, *step), Timestamp(at as u64));
            }
            let grant = ledger.grant(&AuditId(7).to_string());
            assert_eq!(grant.map(|grant| grant.state), expected, "{steps:?}");
        }
    }

    #[test]
    fn a_record_read_again_is_the_one_that_was_written() {
        let mut ledger = Ledger::default();
        let asked = audit::Grant { relations: vec!["public.orders".to_owned()], ..told(7, Action::Requested) };
        ledger.follow(&asked, Timestamp(5));
        let grant = ledger.grant(&asked.grant).unwrap().clone();
        let approved = grant.record(Action::Approved, "ada", Some(Timestamp(90)), "as agreed");
        let record = audit::Record::new(AuditId(9), None, audit::Event::Grant(approved.clone()));
        let mut line = b"{\"seq\":1".to_vec();
        record.write(&mut line);
        line.push(b'}');
        let view = RecordView::parse(&line).unwrap();
        let (again, _) = super::told(&view).unwrap();
        assert_eq!(format!("{again:?}"), format!("{approved:?}"));
    }

    #[test]
    fn ended_ones_are_forgotten_and_living_ones_are_not() {
        let mut ledger = Ledger::default();
        ledger.follow(&told(1, Action::Requested), Timestamp(1));
        for id in 2..3 + MOST_ENDED as u64 {
            ledger.follow(&told(id, Action::Requested), Timestamp(id));
            ledger.follow(&told(id, Action::Denied), Timestamp(id));
        }
        assert_eq!(ledger.all().count(), MOST_ENDED + 1);
        assert_eq!(ledger.living().count(), 1);
    }
}
