//! The queue of answers still to come from the server, in the order in which they were asked for.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use crate::decision::Judgement;

use super::guard::{Own, Watch};
use super::names::{Key, Portal, Undo};
use super::parameters::Types;

/// One answer to come.
#[derive(Debug)]
pub struct Pending {
    /// What was asked.
    pub ask: Ask,
    /// Whether the client asked (its answer is shown) or the proxy did.
    pub shown: bool,
    /// Record whose outcome this answer tells, and the session's transaction that it belongs to.
    pub record: Option<(u64, u64)>,
    /// The proxy's own, and its failure is not the client's business.
    pub quiet: bool,
    /// Changes of names to take back if it fails, each with the statement of a multi-statement text that made it.
    pub undo: Vec<(usize, Undo)>,
    /// The end of the unnamed statement, which its failure does not take back; only when the server never sees it.
    pub unnamed: Option<UnnamedEnd>,
    /// Notices that the client is told when the statement completes.
    pub notices: Option<Arc<Judgement>>,
    /// The text, where statements of it are ROLLBACK TO, which has the tag of ROLLBACK; and the place of its first
    /// statement that was sent.
    pub goes_back: Option<(Arc<Judgement>, usize)>,
    /// It may change something that lasts.
    pub writes: bool,
    /// What a limit on affected rows wants of the answer; only where there is one.
    pub watch: Option<Box<Watch>>,
    /// The types that a ParameterDescription is to fill in.
    pub types: Option<Arc<Types>>,
}

/// The unnamed statement ends with a message, whether or not that message fails.
#[derive(Debug)]
pub struct UnnamedEnd {
    /// Puts it back.
    pub undo: Undo,
    /// The proxy's own statements may have taken its place, so nothing may put it back.
    pub replaced: bool,
}

impl Pending {
    /// An answer the client waits for.
    pub fn shown(ask: Ask) -> Pending {
        Pending {
            ask,
            shown: true,
            record: None,
            quiet: false,
            undo: Vec::new(),
            unnamed: None,
            notices: None,
            goes_back: None,
            writes: false,
            watch: None,
            types: None,
        }
    }

    /// An answer only the proxy waits for.
    pub fn hidden(ask: Ask) -> Pending {
        Pending { shown: false, ..Pending::shown(ask) }
    }

    /// The same with one change to take back.
    #[must_use]
    pub fn with_undo(mut self, undo: Undo) -> Pending {
        self.undo.push((0, undo));
        self
    }
}

/// What was asked of the server.
#[derive(Debug)]
pub enum Ask {
    /// A simple query: answers until ReadyForQuery.
    Query(Query),
    /// ParseComplete.
    Parse,
    /// BindComplete.
    Bind,
    /// RowDescription or NoData, before it ParameterDescription for a statement.
    Describe,
    /// Rows, then CommandComplete, EmptyQueryResponse or PortalSuspended.
    Execute {
        /// Swallow the warning that there is already a transaction (or none).
        swallow_warning: bool,
        /// The client's portal.
        portal: Option<Arc<Portal>>,
    },
    /// CloseComplete.
    Close,
    /// ReadyForQuery.
    Sync(Sync),
    /// A statement the server is certain to refuse, whose error is replaced.
    Refusal(Box<Refusal>),
}

/// A simple query's progress.
#[derive(Debug, Default)]
pub struct Query {
    /// Statements completed so far, the proxy's own included.
    pub completed: usize,
    /// The proxy's own statements inside the text, by their place among all; empty when there are none.
    pub injected: Vec<Injected>,
    /// Whether an error was answered.
    pub failed: bool,
    /// Whether the ReadyForQuery is shown; a hold hides it when its own follows.
    pub ready_shown: bool,
    /// It is a FunctionCall: its answer is a result without a tag.
    pub function_call: bool,
    /// Characters of the client's text before what was sent.
    pub before: usize,
}

/// A statement that the proxy put into a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Injected {
    /// Its place among all statements of the text, from 0.
    pub place: usize,
    /// Characters before it in the text that was sent.
    pub at: usize,
    /// Characters it takes in the text.
    pub characters: usize,
}

/// What follows a ReadyForQuery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// The client's own.
    Plain,
    /// The client's own, sent after CopyDone or CopyFail: the server does not take it for a part of the COPY.
    AfterCopy,
    /// After the proxy's COMMIT of a held transaction: must say idle.
    AfterCommit,
}

/// A refusal that the server's certain error stands in for.
#[derive(Debug)]
pub struct Refusal {
    /// Appears in the server's error message.
    pub token: Bytes,
    /// The ErrorResponse that replaces it.
    pub response: Bytes,
    /// In the simple protocol a ReadyForQuery follows.
    pub ready_follows: bool,
    /// Whether that ReadyForQuery is shown.
    pub ready_shown: bool,
}

/// The queue.
#[derive(Debug, Default)]
pub struct Queue {
    entries: VecDeque<Pending>,
    answered: u64,
}

impl Queue {
    /// Nothing is in flight.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many answers are to come.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// How many were taken off.
    pub fn answered(&self) -> u64 {
        self.answered
    }

    /// Adds an answer to come.
    pub fn push(&mut self, pending: Pending) {
        self.entries.push_back(pending);
    }

    /// The next answer to come.
    pub fn front(&mut self) -> Option<&mut Pending> {
        self.entries.front_mut()
    }

    /// Takes the next answer off.
    pub fn pop(&mut self) -> Option<Pending> {
        let pending = self.entries.pop_front();
        self.answered += u64::from(pending.is_some());
        if self.entries.is_empty() && self.entries.capacity() > 64 {
            self.entries = VecDeque::new();
        }
        pending
    }

    /// Takes off what was asked last.
    pub fn pop_last(&mut self) -> Option<Pending> {
        self.entries.pop_back()
    }

    /// The refusal sent last, if it is in flight, ends the unnamed statement.
    pub fn end_unnamed_at_last_refusal(&mut self, undo: Undo) {
        if let Some(last) = self.entries.back_mut().filter(|last| matches!(last.ask, Ask::Refusal(_))) {
            last.unnamed = Some(UnnamedEnd { undo, replaced: false });
        }
    }

    /// The ReadyForQuery of the simple Query sent last is not the client's to see.
    pub fn hide_last_ready(&mut self) {
        match self.entries.back_mut().map(|last| &mut last.ask) {
            Some(Ask::Query(query)) => query.ready_shown = false,
            Some(Ask::Refusal(refusal)) => refusal.ready_shown = false,
            _ => {}
        }
    }

    /// The ReadyForQuery of the simple Query that is being answered is the client's to see.
    pub fn show_front_ready(&mut self) {
        if let Some(Ask::Query(query)) = self.entries.front_mut().map(|front| &mut front.ask) {
            query.ready_shown = true;
        }
    }

    /// Whether the ReadyForQuery of the simple Query sent last is hidden, so that one of the proxy's must follow.
    pub fn last_ready_is_hidden(&self) -> bool {
        match self.entries.back().map(|last| &last.ask) {
            Some(Ask::Query(query)) => !query.ready_shown,
            Some(Ask::Refusal(refusal)) => !refusal.ready_shown,
            _ => false,
        }
    }

    /// COPY … FROM STDIN began at the front entry: the server ignores each Sync already sent after it, up to the next
    /// other message (`src/backend/commands/copyfromparse.c`, `CopyGetData`). Gives how many.
    pub fn drop_syncs_after_front(&mut self) -> u64 {
        let mut dropped = 0;
        while matches!(self.entries.get(1), Some(Pending { ask: Ask::Sync(Sync::Plain), .. })) {
            self.entries.remove(1);
            dropped += 1;
        }
        dropped
    }

    /// What a limit on affected rows watches of the answers in flight.
    pub fn watched(&self) -> impl Iterator<Item = &Watch> {
        self.entries.iter().filter_map(|entry| entry.watch.as_deref())
    }

    /// What a limit on affected rows watches of the answer to come next.
    pub fn front_watch(&self) -> Option<&Watch> {
        self.entries.front().and_then(|front| front.watch.as_deref())
    }

    /// The answer that ends with the ReadyForQuery asked for last decides on a transaction of the proxy's.
    pub fn last_decides(&mut self) {
        if let Some(last) = self.entries.back_mut() {
            last.watch.get_or_insert_default().decides = true;
        }
    }

    /// Watches the answer to the first Execute that was asked for from `place` on.
    pub fn watch_execute_from(&mut self, place: usize, own: Own) {
        let asked = self.entries.iter_mut().skip(place);
        if let Some(entry) = asked.into_iter().find(|entry| matches!(entry.ask, Ask::Execute { .. })) {
            entry.watch.get_or_insert_default().own = own;
        }
    }

    /// Gives a record to what was asked for as the `place`-th of all.
    pub fn record(&mut self, place: u64, record: (u64, u64)) {
        let at = place.checked_sub(self.answered).and_then(|at| usize::try_from(at).ok());
        if let Some(pending) = at.and_then(|at| self.entries.get_mut(at)) {
            pending.record = Some(record);
        }
    }

    /// Whether a Sync is in flight.
    pub fn holds_sync(&self) -> bool {
        self.entries.iter().any(|entry| matches!(entry.ask, Ask::Sync(_)))
    }

    /// Whether a COMMIT of the proxy's is in flight.
    pub fn holds_commit(&self) -> bool {
        self.entries.iter().any(|entry| matches!(entry.ask, Ask::Sync(Sync::AfterCommit)))
    }

    /// The answer to what was asked last is not the client's to see.
    pub fn hide_last(&mut self) {
        if let Some(last) = self.entries.back_mut() {
            last.shown = false;
        }
    }

    /// Hands names that are to be put back on to the changes in flight that came after: what those would put back is no
    /// longer what they found. Leaves those names that nothing in flight changes.
    pub fn hand_on(&mut self, back: &mut HashMap<Key, Undo>) {
        for pending in &mut self.entries {
            let changes = pending.undo.iter_mut().map(|(_, undo)| undo);
            for undo in changes.chain(pending.unnamed.iter_mut().map(|end| &mut end.undo)) {
                if back.is_empty() {
                    return;
                }
                if let Some(earlier) = back.remove(&undo.key()) {
                    *undo = earlier;
                }
            }
        }
    }
}

/// Where a transaction is believed to stand, ahead of the server's answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Believed {
    /// None is open.
    Idle,
    /// The proxy's own, around what would be an implicit one.
    Wrapped,
    /// The client's.
    Client {
        /// Locked read-only with a snapshot.
        locked: bool,
        /// Failed: the server takes nothing but its end or ROLLBACK TO.
        failed: bool,
    },
}
