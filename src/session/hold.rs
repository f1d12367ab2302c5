//! The server's hold: every transaction of a read-only session is read-only from its first statement on, and nothing the
//! client sends can undo it.
//!
//! `BEGIN READ ONLY` and a lock — `set_config('transaction_read_only', 'on', true)` run as a SELECT, which sets it *and takes a
//! snapshot*, after which the server refuses every way back (`check_transaction_read_only` in `src/backend/commands/variable.c`)
//! — go in front of the client's messages in the same write, and COMMIT after its Sync. All of the proxy's own messages are
//! of the extended protocol: if one fails, the server skips what follows up to a Sync, so the client's statement never
//! runs without them.

use std::sync::Arc;

use bytes::Bytes;

use crate::sql::{Movement, SavepointStep, TransactionEnd};
use crate::wire::frontend::{Target, tag};
use crate::wire::report::Report;
use crate::wire::write;

use super::names::Prepared;
use super::pending::{Ask, Believed, Pending, Sync};
use super::state::Session;

/// Opens a transaction that cannot write.
pub(super) const BEGIN: &str = "BEGIN READ ONLY";
/// Makes a transaction read-only and takes its snapshot.
pub(super) const LOCK: &str = "SELECT pg_catalog.set_config('transaction_read_only','on',true)";
/// Ends a transaction that the proxy began.
pub(super) const COMMIT: &str = "COMMIT";
/// Named, so that the client's unnamed statement survives.
const NAME: &[u8] = b"pgwarden_hold";

/// Whether the proxy's own statement may use the unnamed statement and portal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    /// A simple Query is about to end the client's unnamed statement anyway.
    Unnamed,
    /// The client may still use its unnamed statement.
    Named,
}

impl Session {
    /// Puts the hold in front of a statement with this movement, if it needs one. Gives whether anything was sent.
    pub(super) fn hold(&mut self, movement: &Movement, slot: Slot) -> bool {
        if !self.read_only {
            return false;
        }
        match self.believed {
            Believed::Idle if runs_bare(movement) => false,
            Believed::Idle => {
                self.send_own(BEGIN, slot, false);
                self.send_own(LOCK, slot, false);
                self.believed = Believed::Wrapped;
                self.unheld = false;
                self.new_lock_timeout();
                self.set_lock_timeout(movement, slot);
                self.guard.open = false;
                true
            }
            Believed::Client { locked: false, failed: false } if !stays_unlocked(movement) => {
                self.send_own(LOCK, slot, false);
                self.believed = Believed::Client { locked: true, failed: false };
                self.new_lock_timeout();
                self.set_lock_timeout(movement, slot);
                true
            }
            Believed::Wrapped if self.unheld => {
                self.send_own(LOCK, slot, false);
                self.unheld = false;
                true
            }
            // The client may have raised it since.
            Believed::Wrapped | Believed::Client { .. } => self.set_lock_timeout(movement, slot),
        }
    }

    /// Whether the COMMIT of the proxy's own transaction goes in the same write. After transaction control of the client's in
    /// the same batch it does not: were that skipped after an error, the COMMIT would end the client's transaction.
    pub(super) fn commits_ahead(&self) -> bool {
        self.believed == Believed::Wrapped && !self.guessed && !self.guard.open
    }

    /// Ends the proxy's own transaction after the client's Sync or Query. The ReadyForQuery that follows is shown.
    pub(super) fn commit_hold(&mut self, slot: Slot) {
        self.end_own(COMMIT, slot, true);
    }

    /// Ends the proxy's own transaction by this statement. `quiet`: its failure is not the client's business.
    pub(super) fn end_own(&mut self, text: &str, slot: Slot, quiet: bool) {
        self.send_own(text, slot, quiet);
        if slot == Slot::Unnamed {
            // Nothing of the proxy's stays where the client's unnamed statement would be.
            self.send_close(Target::Statement, b"", true);
        }
        write::sync(&mut self.out.to_server);
        self.syncs_sent += 1;
        self.queue.push(Pending::shown(Ask::Sync(Sync::AfterCommit)));
        self.believed = Believed::Idle;
    }

    /// Sends one statement of the proxy's own. `quiet`: its failure is not the client's business.
    pub(super) fn send_own(&mut self, text: &str, slot: Slot, quiet: bool) {
        let name = match slot {
            Slot::Unnamed => b"".as_slice(),
            Slot::Named => NAME,
        };
        let named = slot == Slot::Named;
        if named {
            self.send_close(Target::Statement, name, quiet);
            self.send_close(Target::Portal, name, quiet);
        }
        let out = &mut self.out.to_server;
        write::parse(out, name, text.as_bytes());
        write::bind(out, name, name);
        write::execute(out, name);
        for ask in [Ask::Parse, Ask::Bind, Ask::Execute { swallow_warning: true, portal: None }] {
            self.queue.push(Pending { quiet, ..Pending::hidden(ask) });
        }
        if named {
            self.send_close(Target::Statement, name, quiet);
            self.send_close(Target::Portal, name, quiet);
        }
    }

    pub(super) fn send_close(&mut self, target: Target, name: &[u8], quiet: bool) {
        write::close(&mut self.out.to_server, target, name);
        self.queue.push(Pending { quiet, ..Pending::hidden(Ask::Close) });
    }

    /// Follows transaction control that was just sent.
    pub(super) fn believe(&mut self, movement: &Movement) {
        // A held session's savepoints come after its lock.
        self.loose |= !self.read_only && matches!(movement, Movement::Savepoint { .. });
        self.believed = after(self.believed, movement);
    }

    /// Why the hold cannot be put on the open transaction: it made savepoints while it was not held (a grant has ended within it, or
    /// another policy was loaded), and the server forgets a lock when it goes back to one. Only its end passes then, and out of a failed
    /// one the way back to a savepoint.
    pub(super) fn cannot_hold<'m>(&self, movements: impl Iterator<Item = &'m Movement>) -> Option<Report> {
        if !self.read_only || !self.loose {
            return None;
        }
        let savepoint = |movement: &&Movement| matches!(movement, Movement::Savepoint { .. });
        let mut within = movements.take_while(|movement| !matches!(movement, Movement::End { .. }));
        let unheld = match self.believed {
            Believed::Idle => false,
            Believed::Wrapped => self.unheld && within.next().is_some(),
            Believed::Client { failed: true, .. } => {
                within.next().is_some_and(|first| savepoint(&first)) && !within.all(|movement| savepoint(&movement))
            }
            Believed::Client { locked, .. } => !locked && within.next().is_some(),
        };
        unheld.then(|| {
            let text = "pgwarden: this transaction was begun under a grant or policy that has ended, and cannot be held read-only";
            Report::error("25006", text).hint("End it with COMMIT or ROLLBACK, and begin another one.")
        })
    }

    /// Makes sure that a statement this session made exists on the server connection that will run it.
    pub(super) fn bring_here(&mut self, name: &[u8]) {
        let Some(prepared) = self.names.statement(name).cloned() else { return };
        if self.settings.pooled && prepared.epoch != self.epoch {
            self.prepare_here(name, &prepared);
        }
    }

    /// Prepares a statement of this session again, whatever the server connection has under that name.
    pub(super) fn prepare_here(&mut self, name: &[u8], prepared: &Arc<Prepared>) {
        let Some(parse) = &prepared.parse else { return };
        if !name.is_empty() {
            self.send_close(Target::Statement, name, false);
        }
        write::message(&mut self.out.to_server, tag::PARSE, |out| out.extend_from_slice(parse));
        let mut pending = Pending::hidden(Ask::Parse);
        // A statement that is deallocated right after is no longer among the names.
        if self.names.statement(name).is_some_and(|known| Arc::ptr_eq(known, prepared)) {
            let here = Prepared { epoch: self.epoch, ..prepared.as_ref().clone() };
            let undo = self.names.put_statement(Bytes::copy_from_slice(name), Some(Arc::new(here)));
            pending = pending.with_undo(undo);
        }
        self.queue.push(pending);
    }

    /// Clears the way for a named statement: another client of the pooler may have left one of that name.
    pub(super) fn clear_name(&mut self, name: &[u8]) {
        if self.settings.pooled && !name.is_empty() {
            self.send_close(Target::Statement, name, false);
        }
    }
}

/// Whether the hold in front of a text's first statement holds the whole text, no transaction control being among it.
pub(super) fn covers(believed: Believed, first: &Movement) -> bool {
    match believed {
        Believed::Idle => !runs_bare(first),
        Believed::Wrapped | Believed::Client { locked: true, failed: false } => true,
        Believed::Client { locked: false, failed: false } => !stays_unlocked(first),
        Believed::Client { failed: true, .. } => false,
    }
}

/// Statements that run outside a transaction of the proxy's: transaction control itself, what the server refuses within one,
/// and what it refuses or warns of outside of one.
pub(super) fn runs_bare(movement: &Movement) -> bool {
    bare_in_text(movement) || matches!(movement, Movement::DiscardAll | Movement::Declare { hold: false, .. })
}

/// The same inside a text of several statements, which the server runs as one transaction block.
pub(super) fn bare_in_text(movement: &Movement) -> bool {
    matches!(
        movement,
        Movement::Begin
            | Movement::End { .. }
            | Movement::Savepoint { .. }
            | Movement::SetTransaction
            | Movement::SetLocal
    )
}

/// Statements that may stand between BEGIN and the lock: they cannot write, and some make what follows fail after a
/// snapshot.
pub(super) fn stays_unlocked(movement: &Movement) -> bool {
    matches!(
        movement,
        Movement::Begin | Movement::SetTransaction | Movement::SetLocal | Movement::Set { .. } | Movement::End { .. }
    )
}

/// Whether a statement moves the transaction.
pub(super) fn is_control(movement: &Movement) -> bool {
    matches!(movement, Movement::Begin | Movement::End { .. } | Movement::TwoPhase)
}

/// ROLLBACK TO.
pub(super) fn goes_back(movement: &Movement) -> bool {
    matches!(movement, Movement::Savepoint { step: SavepointStep::RollbackTo, .. })
}

/// Where the transaction stands after a statement that succeeded.
pub(super) fn after(believed: Believed, movement: &Movement) -> Believed {
    match (movement, believed) {
        (Movement::Begin, Believed::Idle) => Believed::Client { locked: false, failed: false },
        (Movement::Begin, Believed::Wrapped) => Believed::Client { locked: true, failed: false },
        (Movement::End { chain: false, .. } | Movement::TwoPhase, Believed::Client { .. } | Believed::Wrapped) => {
            Believed::Idle
        }
        (Movement::End { chain: true, end: TransactionEnd::Commit | TransactionEnd::Rollback }, state) => match state {
            Believed::Idle => Believed::Idle,
            Believed::Wrapped | Believed::Client { .. } => Believed::Client { locked: false, failed: false },
        },
        (Movement::Savepoint { .. }, Believed::Client { locked, .. }) => Believed::Client { locked, failed: false },
        (_, unchanged) => unchanged,
    }
}
