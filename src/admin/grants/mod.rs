//! Grants: asking for one, giving it, refusing it, taking it back, and what happens by itself.
//!
//! The log is the truth: each step is recorded before it takes effect, and [`restore`] reads them again after a start. [`ledger`] follows the
//! records as a value, [`wanted`] says what may be asked for. What is in force is handed to the door ([`crate::decision::Grants`]), which
//! looks at the clock itself.

pub mod ledger;
mod restore;
pub mod wanted;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::State;
use super::access::Actor;
use crate::audit::index::IndexError;
use crate::audit::{self, Event, Record, Timestamp, Unwritable};
use crate::config::{Config, ConsoleRole};
use crate::decision::{self, End};
use ledger::Ledger;
pub use ledger::{Action, Grant, Step};
pub use wanted::{Covered, Preview, Wanted};

/// Who does what nobody does.
const ITSELF: &str = "pgwarden";
/// Requests that may wait for an answer.
const MOST_OPEN: usize = 200;
/// Grants in force at once.
const MOST_ACTIVE: usize = 1_000;
/// Longest reason or note, in characters.
pub const REASON_CHARS: usize = 2_000;

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
pub enum NotGranted {
    /// What was asked for cannot be asked for.
    #[error("{0}")]
    Wrong(String),
    /// Whoever acts may not.
    #[error("{0}")]
    NotAllowed(String),
    /// There is no such grant.
    #[error("there is no grant {0}")]
    NoGrant(String),
    /// It stands otherwise than that needs.
    #[error("{0}")]
    Otherwise(String),
    /// The log is still being read.
    #[error("the grants of the time before the start are still being read from the audit log; try again in a moment")]
    NotYet,
    /// It could not be recorded.
    #[error(transparent)]
    Unrecorded(#[from] Unwritable),
}

/// All grants, and whether those of the time before the start are among them.
#[derive(Debug, Default)]
pub struct Book(Mutex<Pages>);

#[derive(Debug, Default)]
struct Pages {
    ledger: Ledger,
    restored: bool,
    /// When each grant in force ends, by both clocks.
    ends: Vec<(String, End)>,
}

impl Book {
    fn lock(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many wait for an answer, and how many are in force.
    pub fn counts(&self) -> (usize, usize) {
        let pages = self.lock();
        let open = pages.ledger.living().filter(|grant| grant.is_open()).count();
        (open, pages.ledger.living().count() - open)
    }

    /// Whether those of the time before the start are known.
    pub fn is_restored(&self) -> bool {
        self.lock().restored
    }
}

impl State {
    /// Every grant that is known, the newest first.
    pub fn grants(&self) -> Vec<Grant> {
        self.book.lock().ledger.all().cloned().collect()
    }

    /// One grant.
    pub fn grant(&self, id: &str) -> Option<Grant> {
        self.book.lock().ledger.grant(id).cloned()
    }

    /// Asks for a grant.
    ///
    /// # Errors
    /// It cannot be asked for, or could not be recorded.
    pub fn request_grant(&self, actor: &Actor, wanted: &Wanted) -> Result<Grant, NotGranted> {
        let config = self.shared.door.config();
        may(actor, config.grants.requested_by, "asking for a grant")?;
        let mut pages = self.pages()?;
        if pages.ledger.living().filter(|grant| grant.is_open()).count() >= MOST_OPEN {
            return Err(NotGranted::Otherwise(format!("{MOST_OPEN} requests wait for an answer already")));
        }
        let id = self.shared.audit.next_id();
        let asked = wanted.checked(&config).map_err(NotGranted::Wrong)?;
        let told =
            audit::Grant { grant: id.to_string(), action: Action::Requested.name().into(), by: actor.by(), ..asked };
        let record = Record::new(id, None, Event::Grant(told.clone()));
        let at = record.at;
        self.shared.audit.accept(&mut vec![record])?;
        pages.ledger.follow(&told, at);
        tracing::info!(grant = told.grant, user = told.user, environment = told.environment, "a grant is asked for");
        pages.ledger.grant(&told.grant).cloned().ok_or_else(|| NotGranted::NoGrant(told.grant.clone()))
    }

    /// Gives a grant: it is in force from now on. `confirm` is the environment's name, typed, where the configuration wants that.
    ///
    /// # Errors
    /// Whoever acts may not give it, it is not to be given any more, or could not be recorded.
    pub fn approve_grant(&self, actor: &Actor, id: &str, confirm: &str, note: &str) -> Result<Grant, NotGranted> {
        let config = self.shared.door.config();
        may(actor, config.grants.approved_by, "approving a grant")?;
        let note = bounded(note)?;
        let mut pages = self.pages()?;
        let grant = open(&pages, id)?;
        if !config.grants.self_approval && (is_called(&grant.by, &actor.name) || is_called(&grant.user, &actor.name)) {
            let text = format!("grant {} is your own: somebody else has to approve it", grant.id);
            return Err(NotGranted::NotAllowed(text));
        }
        if pages.ends.len() >= MOST_ACTIVE {
            return Err(NotGranted::Otherwise(format!("{MOST_ACTIVE} grants are in force already")));
        }
        Wanted::of(&grant).checked(&config).map_err(NotGranted::Otherwise)?;
        if config.role_of(&grant.user, &grant.environment).is_none_or(|(role, _)| role != grant.role) {
            let text = format!("`{}` is not `{}` in `{}` any more", grant.user, grant.role, grant.environment);
            return Err(NotGranted::Otherwise(text));
        }
        if config.grants.is_confirmed_in(&grant.environment) && confirm != grant.environment {
            let text = format!("type the environment's name to approve: `{}`", grant.environment);
            return Err(NotGranted::Wrong(text));
        }
        // The end is counted from before the record is written: nobody gets more time than was approved.
        let end = End::after(grant.lasts());
        let until = later(Timestamp::now(), grant.lasts());
        let grant = self.step(&mut pages, &grant, (Action::Approved, &actor.by()), Some(until), &note)?;
        self.put_in_force(&mut pages, &grant, end);
        Ok(grant)
    }

    /// Refuses a request.
    ///
    /// # Errors
    /// Whoever acts may not, nobody waits for an answer, or it could not be recorded.
    pub fn deny_grant(&self, actor: &Actor, id: &str, note: &str) -> Result<Grant, NotGranted> {
        may(actor, self.shared.door.config().grants.approved_by, "denying a grant")?;
        let note = bounded(note)?;
        let mut pages = self.pages()?;
        let grant = open(&pages, id)?;
        self.end(&mut pages, &grant, (Action::Denied, &actor.by()), &note)
    }

    /// Takes a grant back, or withdraws the request. Whoever asked for it, or has it, may do that too.
    ///
    /// # Errors
    /// Whoever acts may not, it is over already, or it could not be recorded.
    pub fn revoke_grant(&self, actor: &Actor, id: &str, note: &str) -> Result<Grant, NotGranted> {
        let note = bounded(note)?;
        let mut pages = self.pages()?;
        let grant = find(&pages, id)?;
        if grant.by != actor.by() && grant.user != actor.name {
            may(actor, self.shared.door.config().grants.approved_by, "revoking somebody else's grant")?;
        }
        if !grant.is_open() && !grant.is_active() {
            return Err(over(&grant));
        }
        self.end(&mut pages, &grant, (Action::Revoked, &actor.by()), &note)
    }

    /// What giving a grant would mean by the configuration in force.
    pub fn preview(&self, grant: &Grant) -> Preview {
        Preview::of(grant, &self.shared.door.config())
    }

    fn pages(&self) -> Result<MutexGuard<'_, Pages>, NotGranted> {
        let pages = self.book.lock();
        if pages.restored { Ok(pages) } else { Err(NotGranted::NotYet) }
    }

    /// Records a step and follows it.
    fn step(
        &self,
        pages: &mut Pages,
        grant: &Grant,
        (action, by): (Action, &str),
        until: Option<Timestamp>,
        note: &str,
    ) -> Result<Grant, NotGranted> {
        let told = grant.record(action, by, until, note);
        let record = Record::new(self.shared.audit.next_id(), None, Event::Grant(told.clone()));
        let at = record.at;
        self.shared.audit.accept(&mut vec![record])?;
        pages.ledger.follow(&told, at);
        tracing::info!(
            grant = grant.id,
            user = grant.user,
            environment = grant.environment,
            by,
            "grant {}",
            action.name()
        );
        find(pages, &grant.id)
    }

    /// Records that a grant is over, and takes it out of force.
    fn end(
        &self,
        pages: &mut Pages,
        grant: &Grant,
        (action, by): (Action, &str),
        note: &str,
    ) -> Result<Grant, NotGranted> {
        let ended = self.step(pages, grant, (action, by), grant.ends, note)?;
        self.shared.door.grants().take(&grant.id);
        pages.ends.retain(|(id, _)| *id != grant.id);
        // Signed and on the disk, so that it stays over whatever becomes of the machine.
        self.shared.audit.flush();
        Ok(ended)
    }

    fn put_in_force(&self, pages: &mut Pages, grant: &Grant, end: End) {
        pages.ends.retain(|(id, _)| *id != grant.id);
        pages.ends.push((grant.id.clone(), end));
        self.shared.door.grants().put(decision::Grant {
            id: grant.id.as_str().into(),
            user: grant.user.clone(),
            environment: grant.environment.clone(),
            role: grant.role.clone(),
            database: grant.database.clone(),
            allow: grant.allow.clone(),
            relations: grant.relations.clone(),
            end,
        });
    }

    // ----- what happens by itself -----

    /// Records the ends of what is over, and takes back what was given to users who are not what they were.
    pub fn keep_grants(&self) {
        let config = self.shared.door.config();
        let mut pages = self.book.lock();
        let living: Vec<Grant> = pages.ledger.living().cloned().collect();
        for grant in living.into_iter().filter(|_| pages_are_kept(&self.shared.audit)) {
            let Some((action, note)) = ends_now(&pages, &grant, &config) else { continue };
            if let Err(error) = self.end(&mut pages, &grant, (action, ITSELF), note) {
                // It is out of force by the clock, or by its role; the record is tried again.
                tracing::warn!(grant = grant.id, %error, "the end of a grant is not recorded yet");
                return;
            }
        }
    }

    /// Reads the grants of the time before the start, once the index has come so far. Gives whether that is done. Reads files: not
    /// for an asynchronous task.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn restore_grants(&self, through: u64) -> Result<bool, IndexError> {
        let progress = self.index.progress();
        if progress.building || progress.through < through {
            return Ok(false);
        }
        let audit = &self.shared.audit;
        let restored = restore::restore(&self.index, audit.directory(), &audit.key_path())?;
        let mut pages = self.book.lock();
        pages.ledger = restored.ledger;
        let now = Timestamp::now().max(restored.latest);
        let active: Vec<Grant> = pages.ledger.living().filter(|grant| grant.is_active()).cloned().collect();
        for (grant, why) in &restored.doubted {
            tracing::error!(grant = grant.id, "the grant is not put in force again: {why}");
            if let Err(error) = self.end(&mut pages, grant, (Action::Revoked, ITSELF), why) {
                // What cannot be recorded is not read as done: everything again in the next round.
                tracing::warn!(grant = grant.id, %error, "that a grant is over is not recorded yet");
                return Ok(false);
            }
        }
        for grant in active {
            if restored.doubted.iter().all(|(doubted, _)| doubted.id != grant.id) {
                self.put_in_force(&mut pages, &grant, End::after(left(&grant, now)));
            }
        }
        pages.restored = true;
        Ok(true)
    }
}

/// Whether ends can be recorded now: nothing is gained by asking for each of them.
fn pages_are_kept(audit: &audit::Audit) -> bool {
    audit.refuses().is_none()
}

/// Why a grant ends now, if it does.
fn ends_now(pages: &Pages, grant: &Grant, config: &Config) -> Option<(Action, &'static str)> {
    if grant.is_open() {
        let due = later(grant.asked, config.grants.request_timeout);
        return (due <= Timestamp::now()).then_some((Action::Expired, "nobody answered in time"));
    }
    let ends = pages.ends.iter().find(|(id, _)| *id == grant.id);
    if ends.is_some_and(|(_, end)| end.has_come()) {
        return Some((Action::Expired, ""));
    }
    let same = config.role_of(&grant.user, &grant.environment).is_some_and(|(role, _)| role == grant.role);
    (!same).then_some((Action::Revoked, "the user does not have that role there any more"))
}

/// How much of a grant's time is left; never more than it was given for.
fn left(grant: &Grant, now: Timestamp) -> Duration {
    let left = grant.ends.map_or(0, |ends| ends.0.saturating_sub(now.0));
    Duration::from_micros(left).min(grant.lasts())
}

fn later(at: Timestamp, by: Duration) -> Timestamp {
    Timestamp(at.0.saturating_add(u64::try_from(by.as_micros()).unwrap_or(u64::MAX)))
}

/// Whether somebody in a record (`grace`, `token:grace`) goes by this name: a login and a token of one name are one person, and so are
/// two spellings of it.
pub fn is_called(by: &str, name: &str) -> bool {
    by.strip_prefix("token:").unwrap_or(by).to_lowercase() == name.to_lowercase()
}

fn may(actor: &Actor, role: ConsoleRole, what: &str) -> Result<(), NotGranted> {
    if actor.may(role) {
        return Ok(());
    }
    Err(NotGranted::NotAllowed(format!(
        "{what} needs the role {}; `{}` is {}",
        role.name(),
        actor.name,
        actor.role.name()
    )))
}

fn find(pages: &Pages, id: &str) -> Result<Grant, NotGranted> {
    pages.ledger.grant(id).cloned().ok_or_else(|| NotGranted::NoGrant(id.to_owned()))
}

fn open(pages: &Pages, id: &str) -> Result<Grant, NotGranted> {
    let grant = find(pages, id)?;
    if grant.is_open() { Ok(grant) } else { Err(over(&grant)) }
}

fn over(grant: &Grant) -> NotGranted {
    let by = grant.steps.last().map_or("", |step| step.by.as_str());
    NotGranted::Otherwise(format!("grant {} is {} by {by} already", grant.id, grant.state.name()))
}

fn bounded(note: &str) -> Result<String, NotGranted> {
    let note = note.trim();
    if note.chars().count() > REASON_CHARS {
        return Err(NotGranted::Wrong(format!("a note has up to {REASON_CHARS} characters")));
    }
    Ok(note.to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_on_while_nobody_looks_and_a_clock_put_back_gives_none() {
        let second = 1_000_000;
        let told = audit::Grant {
            grant: crate::audit::AuditId(1).to_string(),
            action: "requested".into(),
            seconds: 60,
            ..audit::Grant::default()
        };
        let mut ledger = Ledger::default();
        ledger.follow(&told, Timestamp(900 * second));
        let until = Some(Timestamp(1_060 * second));
        ledger.follow(&audit::Grant { action: "approved".into(), until, ..told.clone() }, Timestamp(1_000 * second));
        let grant = ledger.grant(&told.grant).unwrap();
        for (now, expected) in [(1_000, 60), (1_010, 50), (1_059, 1), (1_060, 0), (5_000, 0), (10, 60), (0, 60)] {
            assert_eq!(left(grant, Timestamp(now * second)).as_secs(), expected, "at {now}");
        }
    }

    #[test]
    fn one_person_has_one_name_in_every_spelling() {
        let table = [
            ("grace", "grace", true),
            ("token:grace", "grace", true),
            ("Grace", "grace", true),
            ("token:GRACE", "grace", true),
            ("grace2", "grace", false),
            ("token:grace", "token", false),
        ];
        for (by, name, expected) in table {
            assert_eq!(is_called(by, name), expected, "{by} {name}");
        }
    }
}
