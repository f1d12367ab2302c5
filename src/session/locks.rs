//! A limit on how long a statement waits for a lock (`lock_timeout`). Only the server knows of such waits, so it is the
//! server's own setting, set again by the proxy wherever the client may have raised it.
//!
//! On a server connection of the session's own it is set at startup; only what may change it has to be answered: before the
//! next statement the proxy sets it again. Behind a pooler each transaction sets its own, so every statement outside of a
//! transaction gets one from the proxy, as for a limit on affected rows ([`super::guard`]). Values below the limit are left
//! as the client set them.

use crate::decision::Judgement;
use crate::sql::{Movement, Statement};
use crate::wire::frontend::Frontend;
use crate::wire::report::Report;

use super::guard::Own;
use super::hold::{Slot, runs_bare, stays_unlocked};
use super::pending::Believed;
use super::state::Session;

/// How often setting the session's value is tried before each transaction sets its own instead.
const HEALED_AT_MOST: u8 = 3;

/// A limit on waiting for locks, and the proxy's statement that sets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockTimeout {
    local: String,
    session: String,
}

impl LockTimeout {
    /// The limit in milliseconds.
    pub fn new(milliseconds: u128) -> LockTimeout {
        LockTimeout { local: set(milliseconds, true), session: set(milliseconds, false) }
    }
}

/// Every name is out of reach of any search path. The setting's own spelling (`5s`, `1min`) is an interval's.
fn set(milliseconds: u128, local: bool) -> String {
    let now = "pg_catalog.current_setting('lock_timeout')";
    let interval = format!("{now}::pg_catalog.interval");
    format!(
        "SELECT pg_catalog.set_config('lock_timeout', CASE \
         WHEN {interval} OPERATOR(pg_catalog.>) '0'::pg_catalog.interval \
         AND {interval} OPERATOR(pg_catalog.<=) '{milliseconds} ms'::pg_catalog.interval \
         THEN {now} ELSE '{milliseconds}' END, {local})"
    )
}

/// Where the setting stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Locks {
    /// The client may have changed the session's own value.
    changed: bool,
    /// The open transaction's value is the proxy's.
    set: bool,
    /// The session's value is being set.
    healing: bool,
    /// How often that failed in a row.
    failures: u8,
}

/// The limit inside a text that the hold is put into.
#[derive(Debug)]
pub(super) struct Within<'a> {
    text: &'a str,
    /// The open transaction's value is the proxy's.
    set: bool,
    /// The text's own statements may change it.
    changes: bool,
}

impl Within<'_> {
    /// What sets it before a statement, where that needs it.
    pub(super) fn before(&mut self, believed: Believed, movement: &Movement) -> Option<&str> {
        let needs = (self.changes || !self.set) && is_settable(believed, movement);
        self.set = (self.set || needs) && !begins_anew(movement);
        needs.then_some(self.text)
    }
}

/// Whether a transaction is open in which it can be set before a statement.
fn is_settable(believed: Believed, movement: &Movement) -> bool {
    match believed {
        Believed::Idle => false,
        Believed::Client { failed, .. } => !failed && !stays_unlocked(movement),
        Believed::Wrapped => true,
    }
}

impl Session {
    /// What a text needs that the hold is put into.
    pub(super) fn locks_within(&self, judgement: &Judgement) -> Option<Within<'_>> {
        let changes = self.changes_within(judgement);
        let limit = self.caps.lock_timeout.as_ref().filter(|_| changes || self.sets_lock_timeout())?;
        Some(Within { text: &limit.local, set: self.locks.set && self.believed != Believed::Idle, changes })
    }

    /// Whether a transaction has to set its own.
    pub(super) fn sets_lock_timeout(&self) -> bool {
        self.caps.lock_timeout.is_some() && (self.settings.pooled || self.locks.changed)
    }

    /// Whether a text of several statements may change it between them.
    pub(super) fn changes_within(&self, judgement: &Judgement) -> bool {
        self.caps.lock_timeout.is_some() && judgement.statements.len() > 1 && may_change(judgement)
    }

    /// Whether the next statement waits until the session's value is set again.
    pub(super) fn heals_lock_timeout(&mut self, frame: &Frontend<'_>) -> bool {
        let free = self.believed == Believed::Idle && self.queue.is_empty() && !self.batch_open;
        let asks = matches!(frame, Frontend::Query(_) | Frontend::Parse { .. } | Frontend::Bind { .. });
        if !free || !asks || !self.locks.changed || self.settings.pooled || self.read_only {
            return false;
        }
        let Some(limit) = self.caps.lock_timeout.as_ref().filter(|_| self.locks.failures < HEALED_AT_MOST) else {
            return false;
        };
        let text = limit.session.clone();
        self.locks.healing = true;
        self.locks.failures += 1;
        let place = self.queue.len();
        self.send_own(&text, Slot::Named, true);
        self.queue.watch_execute_from(place, Own::LockTimeout);
        self.send_deciding_sync();
        self.begin_deciding();
        true
    }

    /// The session's value is the proxy's again.
    pub(super) fn lock_timeout_healed(&mut self) {
        self.locks.changed = false;
        self.locks.failures = 0;
    }

    /// Whether the answer that ends here was only about setting the session's value.
    pub(super) fn ends_healing(&mut self) -> bool {
        std::mem::take(&mut self.locks.healing)
    }

    /// Sets it in the transaction that is open or about to be opened by the proxy, if this statement needs it.
    pub(super) fn set_lock_timeout(&mut self, movement: &Movement, slot: Slot) -> bool {
        let Some(limit) = self.caps.lock_timeout.as_ref().filter(|_| self.sets_lock_timeout() || self.is_within())
        else {
            return false;
        };
        if !is_settable(self.believed, movement) || self.locks.set {
            return false;
        }
        let text = limit.local.clone();
        self.send_own(&text, slot, false);
        self.locks.set = true;
        true
    }

    fn is_within(&self) -> bool {
        self.guard.script.is_some()
    }

    /// Opens a transaction of the proxy's for a message of the extended protocol, and sets the value in it: a Parse or a Bind
    /// may wait for a lock already.
    pub(super) fn before_locking(&mut self, judgement: &Judgement) {
        if self.read_only || !self.sets_lock_timeout() {
            return;
        }
        let movement = judgement.movement();
        if self.believed == Believed::Idle && !runs_bare(movement) && !judgement.statements.is_empty() {
            self.open_guard(Slot::Named);
        }
        self.set_lock_timeout(movement, Slot::Named);
    }

    /// The client's startup parameters may have changed the session's own value.
    pub fn doubt_lock_timeout(&mut self) {
        self.locks.changed = true;
    }

    /// Follows a text that was sent.
    pub(super) fn follow_lock_timeout(&mut self, judgement: &Judgement) {
        if self.caps.lock_timeout.is_none() {
            return;
        }
        if may_change(judgement) {
            self.locks.changed = true;
            self.locks.set = false;
        }
        if judgement.statements.iter().any(|statement| begins_anew(&statement.movement)) {
            self.locks.set = false;
        }
    }

    /// A transaction of the proxy's begins: nothing is set in it.
    pub(super) fn new_lock_timeout(&mut self) {
        self.locks.set = false;
    }

    /// Behind a pooler, what cannot run in a transaction cannot have the limit.
    pub(super) fn cannot_wait(&self, judgement: &Judgement) -> Option<Report> {
        let outside = judgement.statements.iter().any(|statement| statement.movement == Movement::OutsideTransaction);
        (outside && self.settings.pooled && self.caps.lock_timeout.is_some() && !self.read_only).then(|| {
            Report::error("0A000", "pgwarden: this statement cannot run inside a transaction, and behind a pooled endpoint only there its lock_timeout holds")
                .detail("The policy limits how long a statement may wait for a lock.")
                .hint("Give the role the direct endpoint: `endpoint = \"direct\"`.")
        })
    }
}

fn begins_anew(movement: &Movement) -> bool {
    matches!(movement, Movement::Begin | Movement::End { .. } | Movement::TwoPhase)
}

/// Whether a text may change the setting.
fn may_change(judgement: &Judgement) -> bool {
    let moves = |statement: &Statement| {
        matches!(
            statement.movement,
            Movement::Set { .. } | Movement::SetLocal | Movement::DiscardAll | Movement::Execute { .. }
        )
    };
    judgement.may_set || judgement.statements.iter().any(moves)
}
