//! A simple Query that the proxy must interrupt: its statements go upstream in pieces, and between them it is decided whether
//! the transaction may go on. Part of the limit on affected rows ([`super::guard`]).
//!
//! A piece ends before and after every COMMIT, ROLLBACK and PREPARE TRANSACTION, so none of them reaches the server before the
//! rows are counted. Pieces are stretches of the client's own text; positions of errors are moved by what stood before.

use std::sync::Arc;

use bytes::Bytes;

use crate::decision::Judgement;
use crate::sql::{Movement, SavepointStep, Statement, Tally};
use crate::wire::report::Report;
use crate::wire::write;

use super::client::{Followed, no_chain};
use super::guard::{Own, Watch};
use super::hold::{Slot, is_control, runs_bare};
use super::names::{Prepared, Undo};
use super::pending::{Ask, Believed, Pending, Query, UnnamedEnd};
use super::state::{Kind, Session};

/// A text in progress.
#[derive(Debug)]
pub(super) struct Script {
    text: Arc<Judgement>,
    record: (u64, u64),
    /// The statement that the next piece begins with.
    next: usize,
    /// Bytes and characters before it that were counted.
    counted: (usize, usize),
    /// Changes of names by statements not sent yet, each with its place.
    undo: Vec<(usize, Undo)>,
    /// Statements to be prepared again before the first piece.
    absent: Vec<(Bytes, Arc<Prepared>)>,
    /// What the first piece ends beside.
    unnamed: Option<Undo>,
    /// The proxy's own statements before the next piece were sent already.
    prepared: bool,
    /// After the piece in progress the server's count is to be asked.
    counts: bool,
    /// Each statement is a piece: what goes before one has to go before the next too.
    one_by_one: bool,
}

impl Script {
    /// The text.
    pub(super) fn text(&self) -> Arc<Judgement> {
        Arc::clone(&self.text)
    }

    /// Its record.
    pub(super) fn record(&self) -> (u64, u64) {
        self.record
    }

    /// Changes of names that were not sent, the last one first.
    pub(super) fn into_undo(self) -> impl Iterator<Item = Undo> {
        self.undo.into_iter().rev().map(|(_, undo)| undo).chain(self.unnamed)
    }

    /// Whether pieces are left.
    pub(super) fn has_more(&self) -> bool {
        self.next < self.text.statements.len()
    }

    /// Whether the server's count is to be asked now; once for each piece.
    pub(super) fn takes_count(&mut self) -> bool {
        !self.prepared && std::mem::take(&mut self.counts)
    }

    /// The next piece's statements.
    fn piece(&self) -> std::ops::Range<usize> {
        let rest = self.text.statements.get(self.next..).unwrap_or_default();
        let length = match rest.iter().position(ends) {
            Some(0) => 1,
            _ if self.one_by_one => 1,
            _ if counts_after_begin(rest) => 1,
            Some(before) => before,
            None => rest.len(),
        };
        self.next..self.next + length
    }

    /// The text of a piece, and how many characters stand before it.
    fn cut(&mut self, piece: &std::ops::Range<usize>) -> (std::ops::Range<usize>, usize) {
        let statements = self.text.statements.get(piece.clone()).unwrap_or_default();
        if piece.len() == self.text.statements.len() {
            return (0..self.text.text.len(), 0);
        }
        let start = statements.first().map_or(0, |first| first.range.start);
        let end = statements.last().map_or(start, |last| last.range.end);
        let (bytes, characters) = self.counted;
        let between = self.text.text.get(bytes..start).map_or(0, |text| text.chars().count());
        self.counted = (start, characters + between);
        (start..end, characters + between)
    }

    /// Changes of names that the statements before `end` make, each with its place in the piece.
    fn undo_before(&mut self, first: usize, end: usize) -> Vec<(usize, Undo)> {
        let (now, later) = std::mem::take(&mut self.undo).into_iter().partition(|(place, _)| *place < end);
        self.undo = later;
        let now: Vec<(usize, Undo)> = now;
        now.into_iter().map(|(place, undo)| (place.saturating_sub(first), undo)).collect()
    }
}

impl Session {
    /// Whether a text has to be sent in pieces, or in a transaction of the proxy's.
    pub(super) fn needs_script(&self, judgement: &Judgement) -> bool {
        if !self.guards() || judgement.statements.is_empty() {
            return false;
        }
        let statements = &judgement.statements;
        let tally = |statement: &Statement| self.tally(statement);
        let writes = statements.iter().any(|statement| tally(statement) != Tally::Nothing);
        let untold = statements.iter().any(|statement| tally(statement) == Tally::Untold);
        let control = statements.iter().any(|statement| is_control(&statement.movement));
        let capped = self.caps.affected.is_some();
        let several = statements.len() > 1;
        match self.believed {
            Believed::Wrapped => true,
            Believed::Client { failed: true, .. } => control && several && writes && capped,
            _ if self.changes_within(judgement) || (several && control && self.sets_lock_timeout()) => true,
            _ if control && several => writes && capped,
            Believed::Client { .. } => (untold && capped) || self.sets_lock_timeout(),
            Believed::Idle => self.needs_transaction_of_its_own(judgement),
        }
    }

    /// Whether a text outside of a transaction gets one of the proxy's.
    fn needs_transaction_of_its_own(&self, judgement: &Judgement) -> bool {
        let statements = &judgement.statements;
        let bare = matches!(statements.as_slice(), [only] if runs_bare(&only.movement));
        let outside = statements.iter().any(|statement| statement.movement == Movement::OutsideTransaction);
        let sets = self.sets_lock_timeout() && !bare && !outside;
        sets || !self.stays_below(self.at_most(statements.iter()))
    }

    /// Begins to send a text in pieces.
    pub(super) fn start_script(&mut self, judgement: &Arc<Judgement>, followed: Followed) {
        self.number_transaction(&judgement.statements);
        let record = self.allowed(Kind::Simple, judgement);
        self.copies_ended = 0;
        self.batch_open = false;
        self.skip = super::state::Skip::No;
        let unnamed = self.names.put_statement(Bytes::new(), None);
        let several = judgement.statements.iter().any(|statement| is_control(&statement.movement));
        self.guard.script = Some(Script {
            text: Arc::clone(judgement),
            record,
            next: 0,
            counted: (0, 0),
            undo: followed.undo,
            absent: followed.absent,
            unnamed: Some(unnamed),
            prepared: false,
            counts: false,
            one_by_one: self.changes_within(judgement) || (several && self.sets_lock_timeout()),
        });
        self.fetches_from(&judgement.statements);
        self.begin_deciding();
        self.send_piece();
    }

    /// Sends the next piece of the text in progress.
    pub(super) fn send_piece(&mut self) {
        let Some(mut script) = self.guard.script.take() else { return };
        let piece = script.piece();
        let text = script.text();
        let statements = text.statements.get(piece.clone()).unwrap_or_default();
        if let Some(report) = self.not_in_guard(statements) {
            self.send_failing(&report, script.record.0, false);
            self.guard.script = Some(script);
            self.send_deciding_sync();
            return;
        }
        let own = !std::mem::take(&mut script.prepared) && self.send_before_piece(&mut script, statements);
        if own && copies_in(&text, statements) {
            // The server drops a Sync that comes with COPY: what goes before must end first.
            script.prepared = true;
            self.guard.script = Some(script);
            self.send_deciding_sync();
            return;
        }
        let untold = script.counts;
        let (range, before) = script.cut(&piece);
        let undo = script.undo_before(piece.start, piece.end);
        let unnamed = script.unnamed.take().map(|undo| UnnamedEnd { undo, replaced: own });
        script.next = piece.end;
        let last = !script.has_more();
        self.guard.script = Some(script);
        write::query(&mut self.out.to_server, text.text.get(range).unwrap_or_default().as_bytes());
        self.guessed |= statements.iter().any(|statement| is_control(&statement.movement));
        let watch = Watch {
            text: Some(Arc::clone(&text)),
            first: piece.start,
            undoable: self.believed != Believed::Idle || begins(statements),
            withhold: last && (untold || self.guard_is_open()),
            decides: !own,
            ..Watch::default()
        };
        self.queue.push(Pending {
            undo,
            unnamed,
            notices: super::client::with_notices(&text).filter(|_| last),
            goes_back: super::client::going_back(&text, piece.start),
            writes: text.writes,
            watch: Some(Box::new(watch)),
            ..Pending::shown(Ask::Query(Query { before, ..Query::default() }))
        });
        for statement in statements {
            self.believe(&statement.movement);
        }
        self.follow_lock_timeout(&text);
        if own {
            self.send_deciding_sync();
        } else {
            self.syncs_sent += 1;
        }
    }

    /// The proxy's own statements before a piece. Gives whether there were any.
    fn send_before_piece(&mut self, script: &mut Script, statements: &[Statement]) -> bool {
        let mut own = false;
        if self.believed == Believed::Idle && needs_transaction(statements) {
            self.open_guard(Slot::Unnamed);
            own = true;
        }
        let movement = statements.first().map_or(&Movement::None, |first| &first.movement);
        own |= self.set_lock_timeout(movement, Slot::Unnamed);
        let open = self.caps.affected.is_some()
            && !matches!(self.believed, Believed::Idle | Believed::Client { failed: true, .. });
        if open && statements.iter().any(|statement| self.tally(statement) == Tally::Untold) {
            self.ask_count(Slot::Unnamed, Own::CountBefore);
            script.counts = true;
            own = true;
        }
        for (name, prepared) in std::mem::take(&mut script.absent) {
            self.prepare_here(&name, &prepared);
            own = true;
        }
        if own {
            self.names.put_portal(Bytes::new(), None);
        }
        own
    }

    /// What the server would refuse outside of a transaction block, but takes within the proxy's own.
    pub(super) fn not_in_guard(&self, statements: &[Statement]) -> Option<Report> {
        if !self.guard_is_open() {
            return None;
        }
        let first = statements.iter().find(|statement| {
            matches!(
                statement.movement,
                Movement::Begin | Movement::Savepoint { .. } | Movement::End { chain: true, .. }
            )
        })?;
        match &first.movement {
            Movement::End { end, .. } => Some(no_chain(*end)),
            Movement::Savepoint { step, .. } => Some(no_savepoint(*step)),
            _ => None,
        }
    }

    /// The text in progress is over; what was not sent did not happen.
    pub(super) fn end_script(&mut self) {
        let Some(script) = self.guard.script.take() else { return };
        for (_, undo) in script.undo.into_iter().rev() {
            self.names.undo(undo);
        }
        self.outcome(Some(script.record));
    }
}

/// Whether a statement ends a transaction.
fn ends(statement: &Statement) -> bool {
    matches!(statement.movement, Movement::End { .. } | Movement::TwoPhase)
}

/// Whether statements outside of a transaction get one of the proxy's. Not where the client begins its own, and not where a
/// savepoint makes the server refuse all of them.
fn needs_transaction(statements: &[Statement]) -> bool {
    let begun = statements.iter().position(|statement| statement.movement == Movement::Begin);
    let before = statements.get(..begun.unwrap_or(statements.len())).unwrap_or_default();
    let alone =
        before.iter().any(|statement| ends(statement) || matches!(statement.movement, Movement::Savepoint { .. }));
    !before.is_empty() && !alone
}

/// Whether statements begin a transaction in which the server may have to be asked for its count.
fn counts_after_begin(statements: &[Statement]) -> bool {
    let asks = |statement: &Statement| {
        let names = matches!(statement.movement, Movement::Execute { .. } | Movement::Fetch { .. });
        names || statement.tally == Tally::Untold
    };
    statements.first().is_some_and(|first| first.movement == Movement::Begin) && statements.iter().any(asks)
}

fn begins(statements: &[Statement]) -> bool {
    statements.iter().any(|statement| statement.movement == Movement::Begin)
}

pub(super) fn copies_in(text: &Judgement, statements: &[Statement]) -> bool {
    let word = |statement: &Statement| text.text.get(statement.range.clone()).and_then(|text| text.get(..4));
    statements.iter().filter_map(word).any(|word| word.eq_ignore_ascii_case("copy"))
}

/// What the server says to savepoints outside of a transaction block.
pub(super) fn no_savepoint(step: SavepointStep) -> Report {
    let word = match step {
        SavepointStep::Set => "SAVEPOINT",
        SavepointStep::Release => "RELEASE SAVEPOINT",
        SavepointStep::RollbackTo => "ROLLBACK TO SAVEPOINT",
    };
    Report::error("25P01", format!("{word} can only be used in transaction blocks"))
}
