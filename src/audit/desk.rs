//! A desk: where the sessions of one thread hand in their records, so that one write serves all that are ready at once.
//!
//! A session hands in, lets the other ready sessions of its thread go first, and settles: whoever settles a round first
//! writes it for everybody in it. A round that could not be written failed for each of its sessions.

use std::sync::{Arc, Mutex, MutexGuard};

use super::counts::{Counted, Counts};
use super::event::{Record, SessionFields};
use super::writer::Batch;
use super::{Audit, AuditId, Core, Unwritable, hold};

/// Deferred bytes above this go to the common queue at once, where they are counted and bounded.
const DEFERRED_BYTES: usize = 256 << 10;

/// One thread's desk. Cheap to clone.
#[derive(Clone)]
pub struct Desk {
    audit: Audit,
    state: Arc<Mutex<State>>,
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Desk").field(&self.audit).finish()
    }
}

/// Records handed in together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Round(u64);

/// What lies on a desk.
#[derive(Default)]
pub(crate) struct State {
    deferred: Batch,
    own: Batch,
    counts: Counts,
    round: u64,
    /// Sessions in the round.
    sessions: usize,
    failed: Vec<Failed>,
}

/// A round that could not be written, until each of its sessions knows.
struct Failed {
    round: u64,
    sessions: usize,
    why: Unwritable,
}

impl Desk {
    pub(super) fn new(audit: &Audit) -> Desk {
        let state = Arc::new(Mutex::default());
        hold(&audit.core().desks).push(Arc::downgrade(&state));
        Desk { audit: audit.clone(), state }
    }

    /// The log that it belongs to.
    pub fn audit(&self) -> &Audit {
        &self.audit
    }

    /// Opens the desk for one session's records.
    pub fn tray(&self) -> Tray<'_> {
        Tray { core: self.audit.core(), state: hold(&self.state), handed: false }
    }

    /// Sees that a round is written. What was deferred before goes with it.
    ///
    /// # Errors
    /// It could not be written: nothing of it may go upstream.
    pub fn settle(&self, round: Round) -> Result<(), Unwritable> {
        let mut state = hold(&self.state);
        if state.round == round.0 {
            state.sessions = state.sessions.saturating_sub(1);
            return state.write(self.audit.core());
        }
        let Some(at) = state.failed.iter().position(|failed| failed.round == round.0) else { return Ok(()) };
        let Some(failed) = state.failed.get_mut(at) else { return Ok(()) };
        failed.sessions = failed.sessions.saturating_sub(1);
        let why = failed.why.clone();
        if failed.sessions == 0 {
            state.failed.swap_remove(at);
        }
        Err(why)
    }
}

impl State {
    /// Writes the round; the sessions still in it learn of a failure when they settle.
    fn write(&mut self, core: &Core) -> Result<(), Unwritable> {
        let written = core.accept(&self.deferred, &self.own);
        self.deferred.clear();
        self.own.clear();
        if let Err(why) = &written
            && self.sessions > 0
        {
            self.failed.push(Failed { round: self.round, sessions: self.sessions, why: why.clone() });
        }
        self.round += 1;
        self.sessions = 0;
        written
    }

    /// Writes what lies there, on behalf of nobody.
    pub(super) fn flush(&mut self, core: &Core, last: bool) {
        self.counts.close(core, &mut self.deferred, last);
        if !(self.deferred.is_empty() && self.own.is_empty()) {
            // Whoever waits learns of a failure; what was deferred waits on in the queue.
            let _ = self.write(core);
        }
    }

    /// Records and bytes that wait without a promise.
    pub(super) fn deferred(&self) -> (usize, usize) {
        (self.deferred.len(), self.deferred.byte_count())
    }
}

/// A desk opened for one session.
pub struct Tray<'a> {
    core: &'a Core,
    state: MutexGuard<'a, State>,
    handed: bool,
}

impl Tray<'_> {
    /// A new audit id.
    pub fn next_id(&self) -> AuditId {
        self.core.ids.next()
    }

    /// Hands in a record that must be written before its statement goes upstream.
    pub fn hand_in(&mut self, record: &Record) {
        self.state.own.push(record);
        self.handed = true;
    }

    /// Hands in a record that promises nothing until the next round or the flusher, at most 50 ms later.
    pub fn defer(&mut self, record: &Record) {
        self.state.deferred.push(record);
        if self.state.deferred.byte_count() > DEFERRED_BYTES {
            self.core.defer(&self.state.deferred);
            self.state.deferred.clear();
        }
    }

    /// Counts a read of a session. `false` if it is the first of its minute (or there are too many to count): it is to be recorded.
    pub fn count(&mut self, session: u64, fingerprint: u64, fields: &SessionFields) -> bool {
        let State { counts, deferred, .. } = &mut *self.state;
        counts.close(self.core, deferred, false);
        counts.take((session, fingerprint), fields)
    }

    /// Counts how a counted read went.
    pub fn counted(&mut self, session: u64, outcome: &Counted) {
        self.state.counts.settle((session, outcome.fingerprint), outcome);
    }

    /// The round to settle, if anything was handed in that must be written.
    pub fn close(mut self) -> Option<Round> {
        if !self.handed {
            return None;
        }
        self.state.sessions += 1;
        Some(Round(self.state.round))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::{AuditSettings, Event};
    use super::*;

    fn audit() -> (tempfile::TempDir, Audit) {
        let folder = tempfile::tempdir().unwrap();
        let audit = Audit::open(AuditSettings::new(folder.path().join("audit"))).unwrap();
        (folder, audit)
    }

    fn hand_in(desk: &Desk) -> Round {
        let mut tray = desk.tray();
        let event = Event::Cancel { target: None, result: "sent".into() };
        let record = Record::new(tray.next_id(), None, event);
        tray.hand_in(&record);
        tray.close().unwrap()
    }

    #[test]
    fn sessions_that_are_ready_together_share_one_write() {
        let (_folder, audit) = audit();
        let desk = audit.desk();
        let before = audit.health();
        let rounds: Vec<Round> = (0..8).map(|_| hand_in(&desk)).collect();
        rounds.iter().for_each(|round| desk.settle(*round).unwrap());
        let after = audit.health();
        // The flusher may come in between.
        assert!((1..=2).contains(&(after.writes - before.writes)));
        assert_eq!(after.records - before.records, 8);
    }

    #[test]
    fn a_round_that_cannot_be_written_fails_for_each_of_its_sessions_and_for_no_other() {
        let (_folder, audit) = audit();
        let desk = audit.desk();
        let written = hand_in(&desk);
        audit.close("end").unwrap();
        let failing = [hand_in(&desk), hand_in(&desk), hand_in(&desk)];
        assert_eq!(desk.settle(written), Ok(()));
        for round in failing {
            assert!(desk.settle(round).is_err());
        }
        assert!(hold(&desk.state).failed.is_empty());
    }

    #[test]
    fn what_is_deferred_is_written_with_the_next_round_and_before_it() {
        let (folder, audit) = audit();
        let desk = audit.desk();
        let mut tray = desk.tray();
        let event = |result: &'static str| Event::Cancel { target: None, result: result.into() };
        tray.hand_in(&Record::new(tray.next_id(), None, event("handed in")));
        tray.defer(&Record::new(tray.next_id(), None, event("deferred")));
        let round = tray.close().unwrap();
        desk.settle(round).unwrap();
        audit.close("end").unwrap();
        let segment = std::fs::read_dir(folder.path().join("audit")).unwrap().flatten().map(|entry| entry.path());
        let text: String = segment.filter_map(|path| std::fs::read_to_string(path).ok()).collect();
        assert!(text.find("deferred").unwrap() < text.find("handed in").unwrap());
    }
}
