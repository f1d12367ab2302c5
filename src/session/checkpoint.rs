//! Taking back what the client sent since a moment, when it could not be recorded: the session is as before, and takes the same
//! messages again.

use super::guard::Guarding;
use super::locks::Locks;
use super::pending::Believed;
use super::state::{Session, Skip};

/// Where a session stood before it took messages of the client's. Nothing of the server's may have come since.
#[derive(Debug)]
pub struct Checkpoint {
    in_flight: usize,
    to_server: usize,
    to_client: usize,
    believed: Believed,
    loose: bool,
    unheld: bool,
    skip: Skip,
    batch_open: bool,
    copy_in: bool,
    copies_ended: usize,
    guessed: bool,
    flushed: bool,
    epoch: u64,
    code_ran: Option<u64>,
    syncs_sent: u64,
    transaction: u64,
    end_sent: bool,
    guarding: Guarding,
    locks: Locks,
}

impl Session {
    /// Where it stands.
    pub fn checkpoint(&self) -> Checkpoint {
        Checkpoint {
            in_flight: self.queue.len(),
            to_server: self.out.to_server.len(),
            to_client: self.out.to_client.len(),
            believed: self.believed,
            loose: self.loose,
            unheld: self.unheld,
            skip: self.skip,
            batch_open: self.batch_open,
            copy_in: self.copy_in,
            copies_ended: self.copies_ended,
            guessed: self.guessed,
            flushed: self.flushed,
            epoch: self.epoch,
            code_ran: self.code_ran,
            syncs_sent: self.syncs_sent,
            transaction: self.transaction,
            end_sent: self.end_sent,
            guarding: self.guarding(),
            locks: self.locks,
        }
    }

    /// Goes back to where it stood: nothing of what was taken since goes to the server or to the client.
    pub fn go_back(&mut self, to: &Checkpoint) {
        self.guard_goes_back(&to.guarding);
        while self.queue.len() > to.in_flight {
            let Some(pending) = self.queue.pop_last() else { break };
            let unnamed = pending.unnamed.map(|end| end.undo);
            for undo in unnamed.into_iter().chain(pending.undo.into_iter().map(|(_, undo)| undo).rev()) {
                self.names.undo(undo);
            }
        }
        self.out.to_server.truncate(to.to_server);
        self.out.to_client.truncate(to.to_client);
        self.out.events.clear();
        self.bound = None;
        self.believed = to.believed;
        self.loose = to.loose;
        self.unheld = to.unheld;
        self.skip = to.skip;
        self.batch_open = to.batch_open;
        self.copy_in = to.copy_in;
        self.copies_ended = to.copies_ended;
        self.guessed = to.guessed;
        self.flushed = to.flushed;
        self.epoch = to.epoch;
        self.code_ran = to.code_ran;
        self.syncs_sent = to.syncs_sent;
        self.transaction = to.transaction;
        self.end_sent = to.end_sent;
        self.locks = to.locks;
    }
}
