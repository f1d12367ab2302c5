//! A limit on how many rows a transaction may change (`max_affected_rows`): it never commits above it.
//!
//! The command tags are the truth: they come with every statement at no cost and no client can bend them. In the client's own
//! transaction their counts add up; above the limit the answer is replaced by an error and the transaction is made to fail on
//! the server too. A statement that would be a transaction of its own gets one from the proxy, which commits when the
//! count is known: one round trip to the server more, unless its text shows that it stays below the limit.
//!
//! What a tag does not tell (WITH, EXPLAIN ANALYZE, COPY (…) TO, DO, CALL, a portal that is read in pieces) is asked of the
//! server's own counters of the transaction, before and after. [`super::script`] sends texts that the proxy must
//! interrupt.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::decision::Judgement;
use crate::sql::{Movement, SavepointStep, Statement, Tally};
use crate::wire::backend::{Status, tag_rows};
use crate::wire::frontend::{Frontend, Target};
use crate::wire::report::Report;
use crate::wire::write;

use super::hold::{COMMIT, Slot, runs_bare};
use super::pending::{Ask, Believed, Pending, Sync};
use super::script::{Script, copies_in};
use super::state::Session;

/// Opens a transaction of the proxy's that may write.
const BEGIN: &str = "BEGIN";
/// Ends one without effect.
const ROLLBACK: &str = "ROLLBACK";
/// Rows changed in each table so far, as `oid:rows`: `pg_stat_xact_all_tables` without the toast tables, its names out of reach
/// of any search path. The counters hold what earlier transactions of the server connection have not yet handed in, so only
/// the difference tells. Without `track_counts` nothing is counted: that is `0:-1`.
const COUNT: &str = "SELECT pg_catalog.concat(c.oid, ':', c.n) FROM (SELECT oid, \
    pg_catalog.pg_stat_get_xact_tuples_inserted(oid) OPERATOR(pg_catalog.+) \
    pg_catalog.pg_stat_get_xact_tuples_updated(oid) OPERATOR(pg_catalog.+) \
    pg_catalog.pg_stat_get_xact_tuples_deleted(oid) AS n \
    FROM pg_catalog.pg_class WHERE relkind OPERATOR(pg_catalog.=) 'r' \
    AND relnamespace OPERATOR(pg_catalog.<>) 'pg_catalog'::pg_catalog.regnamespace) c WHERE c.n OPERATOR(pg_catalog.>) 0 \
    UNION ALL SELECT '0:-1' WHERE pg_catalog.current_setting('track_counts') OPERATOR(pg_catalog.<>) 'on'";
/// Savepoints whose counts are remembered; in a transaction with more, ROLLBACK TO gives no count back.
const MARKS_KEPT: usize = 10_000;

/// Most rows that one transaction may change, and whose limit that is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AffectedCap {
    /// The limit.
    pub rows: u64,
    /// For the message: ``role `app` in `production` ``.
    pub whose: Arc<str>,
    /// The policy's name.
    pub policy: Arc<str>,
}

/// What the limit wants of one answer.
#[derive(Debug, Default)]
pub struct Watch {
    /// The text whose command tags are counted.
    pub text: Option<Arc<Judgement>>,
    /// The place in it of the first statement that was sent.
    pub first: usize,
    /// Most rows that it may change; `None` where only its tag or the server can tell.
    pub at_most: Option<u64>,
    /// The transaction can still be undone when the count is known.
    pub undoable: bool,
    /// Its end is shown when the server's count is known.
    pub withhold: bool,
    /// The server's count is taken instead of the tag.
    pub tag_is_late: bool,
    /// After its ReadyForQuery it is decided what becomes of the transaction.
    pub decides: bool,
    /// What the proxy itself asked.
    pub own: Own,
}

/// A statement of the proxy's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Own {
    /// None.
    #[default]
    No,
    /// The server's count before a statement.
    CountBefore,
    /// And after it.
    CountAfter,
    /// The end of the proxy's own transaction: what was withheld is true then.
    Commit,
    /// The session's `lock_timeout`.
    LockTimeout,
}

/// What is known of the transaction's rows.
#[derive(Debug, Default)]
pub(super) struct Guard {
    /// Rows counted.
    rows: u64,
    /// The transaction was begun by the proxy for the limit's sake.
    pub(super) open: bool,
    /// Most rows of statements that went without one, in this batch.
    bare: u64,
    /// The count at each savepoint.
    marks: Vec<(String, u64)>,
    /// There were more savepoints than are remembered.
    unmarked: bool,
    /// The count is above the limit.
    over: bool,
    /// No message of the client's is taken until the answer in progress is decided.
    deciding: bool,
    /// A Flush was sent so that counts come.
    flushed: bool,
    /// The end of a statement that the client is not told yet.
    pub(super) withheld: BytesMut,
    /// The text in progress.
    pub(super) script: Option<Script>,
    /// Portals that were read in pieces.
    pieces: Vec<Bytes>,
    /// The server's count that is coming in.
    counted: HashMap<u32, i64>,
    /// The one before the statement, and the rows known then.
    before: (HashMap<u32, i64>, u64),
    /// The statement whose end is withheld, and its record.
    counts_for: Option<(Arc<Judgement>, (u64, u64))>,
}

/// What messages of the client's change of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Guarding {
    open: bool,
    bare: u64,
    deciding: bool,
    flushed: bool,
    pieces: usize,
    script: bool,
}

impl Guard {
    /// The transaction ended.
    fn clear(&mut self) {
        self.rows = 0;
        self.marks.clear();
        self.unmarked = false;
        self.pieces.clear();
    }
}

impl Session {
    /// Whether transactions are watched: their rows are counted, or they set a timeout. A read-only session is held otherwise.
    pub(super) fn guards(&self) -> bool {
        (self.caps.affected.is_some() || self.caps.lock_timeout.is_some()) && !self.read_only
    }

    /// Whether the transaction that is open is one of the proxy's for the limit's sake.
    pub(super) fn guard_is_open(&self) -> bool {
        self.guard.open && self.believed == Believed::Wrapped
    }

    /// Where it stands.
    pub(super) fn guarding(&self) -> Guarding {
        let Guard { open, bare, deciding, flushed, pieces, script, .. } = &self.guard;
        Guarding {
            open: *open,
            bare: *bare,
            deciding: *deciding,
            flushed: *flushed,
            pieces: pieces.len(),
            script: script.is_some(),
        }
    }

    /// Goes back to where it stood.
    pub(super) fn guard_goes_back(&mut self, to: &Guarding) {
        if !to.script
            && let Some(script) = self.guard.script.take()
        {
            for undo in script.into_undo() {
                self.names.undo(undo);
            }
        }
        self.guard.open = to.open;
        self.guard.bare = to.bare;
        self.guard.deciding = to.deciding;
        self.guard.flushed = to.flushed;
        self.guard.pieces.truncate(to.pieces);
    }

    /// Whether no message is taken, whatever it is, until the server has answered.
    pub fn is_deciding(&self) -> bool {
        self.guard.deciding && !self.copy_in
    }

    /// Whether this message of an open batch waits for the answers in flight: a Query or FunctionCall, because after an error the
    /// server would skip it, with what goes around it; and what may commit what they will count. A Flush makes them come.
    pub(super) fn waits_for_batch(&mut self, frame: &Frontend<'_>) -> bool {
        let waits = self.batch_open
            && match frame {
                Frontend::Query(_) | Frontend::FunctionCall(_) => !self.queue.is_empty(),
                Frontend::Execute { portal, .. } => self.may_be_over() && self.commits(portal),
                _ => false,
            };
        if waits && !self.guard.flushed {
            write::flush(&mut self.out.to_server);
        }
        self.guard.flushed = waits;
        waits
    }

    fn commits(&self, portal: &[u8]) -> bool {
        let portal = self.names.portal(portal);
        portal.is_some_and(|portal| matches!(portal.judgement.movement(), Movement::End { .. } | Movement::TwoPhase))
    }

    /// Whether the answers in flight may bring the transaction above the limit.
    fn may_be_over(&self) -> bool {
        let Some(cap) = &self.caps.affected else { return false };
        let mut in_flight = self.queue.watched().filter(|watch| watch.text.is_some()).map(|watch| watch.at_most);
        let more = in_flight.try_fold(0_u64, |sum, at_most| Some(sum.saturating_add(at_most?)));
        // What is counted already needs no waiting for.
        more.is_none_or(|more| more > 0 && self.guard.rows.saturating_add(more) > cap.rows)
    }

    // ----- what a text changes -----

    /// How many rows a statement changes, those included that it names.
    pub(super) fn tally(&self, statement: &Statement) -> Tally {
        match (&statement.movement, statement.tally) {
            (Movement::Execute { name }, Tally::Nothing) => match self.names.statement(name.as_bytes()) {
                Some(prepared) => prepared_tally(&prepared.judgement, name),
                None => Tally::Untold,
            },
            (Movement::Fetch { name }, Tally::Nothing) => match self.names.portal(name.as_bytes()) {
                // Its tag counts the rows that were fetched.
                Some(portal) => told_by_nobody(worst(&portal.judgement)),
                None => Tally::Untold,
            },
            (Movement::Prepare { .. }, _) => Tally::Nothing,
            (_, tally) => tally,
        }
    }

    /// Most rows that statements may change together; `None` where that is not known.
    pub(super) fn at_most<'a>(&self, mut statements: impl Iterator<Item = &'a Statement>) -> Option<u64> {
        statements.try_fold(0_u64, |sum, statement| match self.tally(statement) {
            Tally::Nothing => Some(sum),
            Tally::AtMost(rows) => Some(sum.saturating_add(rows)),
            Tally::Told | Tally::Untold => None,
        })
    }

    /// Whether so many rows more, in a transaction that nobody can stop, stay below the limit.
    pub(super) fn stays_below(&self, at_most: Option<u64>) -> bool {
        let Some(cap) = &self.caps.affected else { return true };
        let Some(rows) = at_most else { return false };
        self.guard.bare.saturating_add(rows) <= cap.rows
    }

    // ----- what goes upstream -----

    /// Opens a transaction of the proxy's.
    pub(super) fn open_guard(&mut self, slot: Slot) {
        self.send_own(BEGIN, slot, false);
        self.believed = Believed::Wrapped;
        self.guard.open = true;
        self.new_lock_timeout();
        self.set_lock_timeout(&Movement::None, slot);
    }

    /// Asks the server how many rows its transaction has changed.
    pub(super) fn ask_count(&mut self, slot: Slot, own: Own) {
        let place = self.queue.len();
        self.send_own(COUNT, slot, false);
        self.queue.watch_execute_from(place, own);
    }

    /// Puts around an Execute what it needs. Gives what to watch of its answer, and whether the server is to be asked after it.
    pub(super) fn guard_execute(&mut self, portal: &[u8], judgement: &Arc<Judgement>, max_rows: i32) -> Option<Watch> {
        if !self.guards() {
            return None;
        }
        let mut tally = judgement.statements.iter().map(|statement| self.tally(statement)).fold(Tally::Nothing, graver);
        if judgement.statements.iter().any(|statement| matches!(statement.movement, Movement::Prepare { .. })) {
            // It may be bound to a statement that SQL PREPARE made.
            tally = graver(tally, worst(judgement));
        }
        self.fetches_from(&judgement.statements);
        // COPY runs in one piece whatever was asked for, and takes no message of the proxy's behind it.
        let whole = copies_in(judgement, &judgement.statements);
        let again = !whole && self.guard.pieces.iter().any(|name| name == portal);
        let in_pieces = again || (!whole && max_rows > 0 && tally == Tally::Told);
        if in_pieces && !again {
            self.guard.pieces.push(Bytes::copy_from_slice(portal));
        }
        let at_most = match tally {
            Tally::Nothing => Some(0),
            Tally::AtMost(rows) => Some(rows),
            Tally::Told | Tally::Untold => None,
        };
        if self.believed == Believed::Idle {
            if self.stays_below(at_most) {
                self.guard.bare = self.guard.bare.saturating_add(at_most.unwrap_or(0));
            } else if !runs_bare(judgement.movement()) {
                self.open_guard(Slot::Named);
            }
        }
        let withhold = self.caps.affected.is_some() && (in_pieces || tally == Tally::Untold);
        if withhold {
            self.ask_count(Slot::Named, Own::CountBefore);
        }
        Some(Watch {
            text: Some(Arc::clone(judgement)),
            at_most,
            undoable: self.believed != Believed::Idle,
            withhold,
            tag_is_late: in_pieces,
            ..Watch::default()
        })
    }

    /// What to watch of the answer to a Query that goes as it came.
    pub(super) fn watch_query(&self, judgement: &Arc<Judgement>) -> Option<Box<Watch>> {
        self.guards().then(|| {
            Box::new(Watch {
                text: Some(Arc::clone(judgement)),
                at_most: self.at_most(judgement.statements.iter()),
                undoable: self.believed != Believed::Idle,
                ..Watch::default()
            })
        })
    }

    /// A message of the server's is an answer's end that the client is not told yet.
    pub(super) fn withholds(&mut self, kind: u8) -> bool {
        use crate::wire::backend::tag;
        if !matches!(kind, tag::COMMAND_COMPLETE | tag::PORTAL_SUSPENDED | tag::EMPTY_QUERY) {
            return kind == tag::PARAMETER_STATUS && !self.guard.withheld.is_empty();
        }
        let Some(front) = self.queue.front() else { return false };
        let Some(watch) = front.watch.as_deref().filter(|watch| watch.withhold) else { return false };
        match (&front.ask, &watch.text, front.record) {
            (Ask::Query(query), Some(text), _) => watch.first + query.completed + 1 == text.statements.len(),
            (Ask::Execute { .. }, Some(text), Some(record)) => {
                self.guard.counts_for = Some((Arc::clone(text), record));
                true
            }
            _ => false,
        }
    }

    /// A portal that SQL fetches from is read in pieces.
    pub(super) fn fetches_from(&mut self, statements: &[Statement]) {
        for statement in statements {
            if let Movement::Fetch { name } = &statement.movement
                && self.names.portal(name.as_bytes()).is_some_and(|portal| worst(&portal.judgement) != Tally::Nothing)
            {
                self.guard.pieces.push(Bytes::copy_from_slice(name.as_bytes()));
            }
        }
    }

    /// A batch of the client's ends: what went without a transaction of the proxy's is its own again.
    pub(super) fn guard_ends_batch(&mut self) {
        self.guard.bare = 0;
    }

    /// Takes nothing more of the client's until the server's answer is decided on.
    pub(super) fn begin_deciding(&mut self) {
        self.guard.deciding = true;
    }

    // ----- what comes back -----

    /// Counts the rows of a command tag; `place` is the statement's in its text. Gives whether the client may see it.
    pub(super) fn count_tag(&mut self, command: &[u8], place: usize, record: Option<(u64, u64)>) -> bool {
        let Some(watch) = self.queue.front_watch() else { return true };
        let place = watch.first + place;
        let Some(text) = watch.text.clone() else { return true };
        let (undoable, late) = (watch.undoable, watch.tag_is_late);
        let statement = text.statements.get(place);
        if !late && counts(command, statement) {
            self.guard.rows = self.guard.rows.saturating_add(tag_rows(command).unwrap_or(0));
        }
        if let Some(statement) = statement {
            self.follow_count(command, &statement.movement);
        }
        let over = undoable && self.caps.affected.as_ref().is_some_and(|cap| self.guard.rows > cap.rows);
        if over && !self.guard.over {
            self.refuse_count(&text, record);
        }
        !over
    }

    /// Transaction control gives the count back, or remembers it.
    fn follow_count(&mut self, command: &[u8], movement: &Movement) {
        let Guard { rows, marks, unmarked, .. } = &mut self.guard;
        match movement {
            Movement::End { .. } => self.guard.clear(),
            Movement::TwoPhase if command == b"PREPARE TRANSACTION" => self.guard.clear(),
            Movement::Savepoint { .. } if *unmarked => {}
            Movement::Savepoint { step: SavepointStep::Set, name } if marks.len() < MARKS_KEPT => {
                marks.push((name.clone(), *rows));
            }
            Movement::Savepoint { step: SavepointStep::Set, .. } => {
                // A name that is not remembered may be an earlier one's too, whose count is lower.
                marks.clear();
                *unmarked = true;
            }
            Movement::Savepoint { step, name } => {
                let Some(place) = marks.iter().rposition(|(mark, _)| mark == name) else { return };
                match step {
                    SavepointStep::Set => {}
                    SavepointStep::Release => marks.truncate(place),
                    SavepointStep::RollbackTo => {
                        *rows = marks.get(place).map_or(*rows, |(_, at)| *at);
                        marks.truncate(place + 1);
                    }
                }
            }
            _ => {}
        }
    }

    /// A statement of the proxy's own is complete.
    pub(super) fn own_completed(&mut self, command: &[u8]) {
        let own = self.queue.front_watch().map_or(Own::No, |watch| watch.own);
        match own {
            Own::No => {}
            Own::CountBefore | Own::CountAfter => self.count_complete(own),
            Own::Commit => self.guard_committed(command),
            Own::LockTimeout => self.lock_timeout_healed(),
        }
    }

    /// Whether a row of the server's is one of its counts.
    pub(super) fn counts_rows(&self, kind: u8) -> bool {
        kind == crate::wire::backend::tag::DATA_ROW
            && self.queue.front_watch().is_some_and(|watch| matches!(watch.own, Own::CountBefore | Own::CountAfter))
    }

    /// The server drops the Sync that was to be decided on: another one will come.
    pub(super) fn stop_deciding(&mut self) {
        self.guard.deciding = false;
    }

    /// A row of the server's count.
    pub(super) fn count_row(&mut self, value: Option<&str>) {
        let pair = value.and_then(|value| value.split_once(':'));
        let read = pair.and_then(|(table, rows)| Some((table.parse().ok()?, rows.parse().ok()?)));
        // What cannot be read cannot be counted.
        let (table, rows) = read.unwrap_or((0, -1));
        self.guard.counted.insert(table, rows);
    }

    /// The server's count is complete.
    pub(super) fn count_complete(&mut self, own: Own) {
        let counted = std::mem::take(&mut self.guard.counted);
        match own {
            Own::CountBefore => self.guard.before = (counted, self.guard.rows),
            Own::CountAfter => self.compare_counts(&counted),
            Own::No | Own::Commit | Own::LockTimeout => {}
        }
    }

    fn compare_counts(&mut self, after: &HashMap<u32, i64>) {
        let (before, rows) = std::mem::take(&mut self.guard.before);
        let uncounted = after.contains_key(&0) || before.contains_key(&0);
        let more = |(table, now): (&u32, &i64)| {
            u64::try_from(now.saturating_sub(before.get(table).copied().unwrap_or(0))).unwrap_or(0)
        };
        let changed = after.iter().map(more).fold(0, u64::saturating_add);
        self.guard.rows = self.guard.rows.max(rows.saturating_add(changed));
        if self.guard.over {
            return;
        }
        if uncounted {
            let report = Report::error("55000", "pgwarden: the rows that this statement changed cannot be counted")
                .detail("The server's `track_counts` is off, and the statement's command tag does not tell them.")
                .hint("Write it so that its command tag does, or set track_counts on.");
            self.refuse_over(&report);
        } else if self.caps.affected.as_ref().is_some_and(|cap| self.guard.rows > cap.rows) {
            let script = self.guard.script.as_ref().map(|script| (script.text(), script.record()));
            if let Some((text, record)) = script.or_else(|| self.guard.counts_for.clone()) {
                self.refuse_count(&text, Some(record));
            }
        } else if self.guard.script.is_none() {
            self.release();
        }
    }

    /// The client may see what was withheld.
    pub(super) fn release(&mut self) {
        let withheld = self.guard.withheld.split();
        self.out.to_client.extend_from_slice(&withheld);
    }

    fn refuse_count(&mut self, text: &Judgement, record: Option<(u64, u64)>) {
        let Some(cap) = self.caps.affected.clone() else { return };
        let record = self.guard.script.as_ref().map(Script::record).or(record);
        let id = record.map_or(String::new(), |(record, _)| format!(" Audit id: {}.", self.settings.ids.text(record)));
        let message = format!(
            "pgwarden: changing {} rows in one transaction is not allowed for {}: at most {} are",
            self.guard.rows, cap.whose, cap.rows
        );
        let detail = format!(
            "Effect {}; rule max_affected_rows = {} (policy {}). The transaction cannot commit; the data stays as it was.{id}",
            text.class.name(),
            cap.rows,
            cap.policy
        );
        let report = Report::error("54000", message)
            .detail(detail)
            .hint("Change fewer rows at a time, or use a role with a higher limit.");
        self.refuse_over(&report);
    }

    /// Tells the client that its transaction cannot commit, in place of what the server answers from here on.
    fn refuse_over(&mut self, report: &Report) {
        self.guard.over = true;
        self.guard.withheld.clear();
        let ended = self.guard.counts_for.take().map(|(_, (record, _))| record);
        match self.outcomes.last_mut().filter(|(last, _)| Some(last.record) == ended) {
            Some((last, _)) => last.sqlstate = Some(report.sqlstate.to_string()),
            None => self.progress.sqlstate = Some(report.sqlstate.to_string()),
        }
        self.batch_failed = true;
        self.cut_off(report);
        if self.batch_open {
            self.skip = super::state::Skip::Upstream;
        }
    }

    /// A ReadyForQuery came that decides. Gives whether it is shown as it came.
    pub(super) fn decide(&mut self, status: Status) -> bool {
        if self.ends_healing() {
            self.guard.deciding = false;
            return false;
        }
        let failed = self.batch_failed || self.guard.over || self.is_cut_off() || status == Status::Failed;
        if !failed && self.guard.script.as_mut().is_some_and(Script::takes_count) {
            self.count_after_piece();
            return false;
        }
        if !failed && self.guard.script.as_ref().is_some_and(Script::has_more) {
            self.send_piece();
            return false;
        }
        let slot = if self.guard.script.is_some() { Slot::Unnamed } else { Slot::Named };
        self.end_script();
        if failed {
            self.batch_failed = true;
            self.guard.withheld.clear();
        }
        if self.ours && status != Status::Idle {
            self.end_guard(slot, failed);
            return false;
        }
        if self.guard.over && status == Status::InTransaction {
            self.make_fail();
            return false;
        }
        self.release();
        write::ready(&mut self.out.to_client, status);
        self.settle(true);
        false
    }

    /// A count after the last piece of a text: nothing of the client's is in flight.
    fn count_after_piece(&mut self) {
        self.ask_count(Slot::Unnamed, Own::CountAfter);
        // Nothing of the proxy's stays where the client's unnamed statement would be.
        self.send_close(Target::Statement, b"", true);
        self.send_deciding_sync();
    }

    pub(super) fn send_deciding_sync(&mut self) {
        write::sync(&mut self.out.to_server);
        self.syncs_sent += 1;
        self.queue.push(Pending::hidden(Ask::Sync(Sync::Plain)));
        self.queue.last_decides();
    }

    /// Ends the proxy's own transaction; the ReadyForQuery that follows is shown.
    fn end_guard(&mut self, slot: Slot, failed: bool) {
        let place = self.queue.len();
        self.end_own(if failed { ROLLBACK } else { COMMIT }, slot, failed);
        if !failed {
            self.queue.watch_execute_from(place, Own::Commit);
        }
        self.guard.open = false;
        self.guard.over = false;
        self.boundary();
    }

    /// The proxy's COMMIT was answered. A server that answers it by a rollback has said no error before.
    pub(super) fn guard_committed(&mut self, command: &[u8]) {
        self.guard.clear();
        if command == COMMIT.as_bytes() {
            self.release();
            return;
        }
        self.guard.withheld.clear();
        self.batch_failed = true;
        Report::error("40000", "pgwarden: the transaction was rolled back by the server")
            .write(&mut self.out.to_client);
    }

    /// The client's own transaction is over a limit.
    pub(super) fn goes_over(&mut self) {
        self.guard.over = true;
    }

    /// The client's own transaction is over the limit: it fails on the server too.
    fn make_fail(&mut self) {
        self.guard.over = false;
        self.guard.deciding = true;
        self.send_failing_quietly();
        write::sync(&mut self.out.to_server);
        self.syncs_sent += 1;
        self.queue.push(Pending::shown(Ask::Sync(Sync::Plain)));
    }

    /// The ReadyForQuery of a batch of the client's own transaction that went over the limit. Gives whether it is shown.
    pub(super) fn ready_over(&mut self, status: Status) -> bool {
        if self.guard.over && status == Status::InTransaction && !self.ours {
            self.make_fail();
            return false;
        }
        true
    }

    /// The client was told where its transaction stands.
    pub(super) fn guard_settled(&mut self) {
        if self.queue.is_empty() {
            self.guard.deciding = false;
            self.guard.over = false;
            self.guard.withheld.clear();
        }
        if self.status == Status::Idle {
            self.guard.clear();
        }
    }
}

/// Whether a command tag counts rows that were changed. COPY … TO has the same tag as COPY … FROM.
fn counts(command: &[u8], statement: Option<&Statement>) -> bool {
    let word = command.split(|byte| *byte == b' ').next().unwrap_or_default();
    match word {
        b"INSERT" | b"UPDATE" | b"DELETE" | b"MERGE" => true,
        b"COPY" => statement.is_none_or(|statement| statement.tally == Tally::Told),
        _ => false,
    }
}

fn prepared_tally(judgement: &Judgement, name: &str) -> Tally {
    let made =
        |statement: &&Statement| matches!(&statement.movement, Movement::Prepare { name: made, .. } if made == name);
    let tallies: Vec<Tally> = judgement.statements.iter().filter(made).map(|statement| statement.tally).collect();
    if tallies.is_empty() { worst(judgement) } else { tallies.into_iter().fold(Tally::Nothing, graver) }
}

fn worst(judgement: &Judgement) -> Tally {
    judgement.statements.iter().map(|statement| statement.tally).fold(Tally::Nothing, graver)
}

fn told_by_nobody(tally: Tally) -> Tally {
    if tally == Tally::Told { Tally::Untold } else { tally }
}

fn graver(one: Tally, other: Tally) -> Tally {
    match (one, other) {
        (Tally::Untold, _) | (_, Tally::Untold) => Tally::Untold,
        (Tally::Told, _) | (_, Tally::Told) => Tally::Told,
        (Tally::AtMost(one), Tally::AtMost(other)) => Tally::AtMost(one.saturating_add(other)),
        (Tally::AtMost(rows), Tally::Nothing) | (Tally::Nothing, Tally::AtMost(rows)) => Tally::AtMost(rows),
        (Tally::Nothing, Tally::Nothing) => Tally::Nothing,
    }
}
