//! What the server answers: headers are read, bodies pass through, and what the proxy asked for itself is swallowed.

use std::collections::HashMap;

use bytes::Bytes;

use crate::decision::Judgement;
use crate::wire::backend::{self, Status, tag};
use crate::wire::report::Report;
use crate::wire::{HEADER_BYTES, Header, Peek, peek, report, write};

use super::hold::{self, Slot};
use super::names::{Key, Undo};
use super::pending::{Ask, Believed, Pending, Sync};
use super::state::{Event, Outcome, Session, Skip};

/// Something in the server's messages that ends the session.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServerFault {
    /// A length that cannot be, or a body that does not fit its type.
    #[error("the server sent a malformed message of type {:?}", char::from(*.0))]
    Malformed(u8),
    /// A message that answers nothing that was asked.
    #[error("the server sent a message of type {:?} that was not asked for", char::from(*.0))]
    Unexpected(u8),
    /// The server reports a setting under which texts would be read otherwise than they were judged.
    #[error("the server changed {0}, which the session relies on")]
    Unsafe(String),
    /// A message that must be read whole is larger than anything of its kind.
    #[error("the server sent a message of type {:?} that is too large", char::from(*.0))]
    TooLarge(u8),
}

/// Largest message that is read whole: errors and notices may quote long texts.
const WHOLE_BYTES: usize = 16 << 20;

/// Outcomes kept until their transaction's fate is known; above it they are told as open.
const OUTCOMES_KEPT: usize = 1024;

impl Session {
    /// Takes bytes from the server, and gives how many it took; the rest is the beginning of a message to be completed.
    ///
    /// # Errors
    /// The server's messages make no sense; the session must end.
    pub fn server(&mut self, buffer: &[u8]) -> Result<usize, ServerFault> {
        let mut run = Run { buffer, start: 0, at: 0 };
        loop {
            if self.passing.left > 0 {
                let step = self.passing.left.min(buffer.len() - run.at);
                self.passing.left -= step;
                run.step(step, self.passing.shown, &mut self.out.to_client);
                if self.passing.left > 0 {
                    break;
                }
            }
            let rest = buffer.get(run.at..).unwrap_or_default();
            let header = match peek(rest) {
                Peek::Partial => break,
                Peek::Bad => return Err(ServerFault::Malformed(rest.first().copied().unwrap_or(0))),
                Peek::Header(header) => header,
            };
            if passes_in_pieces(header.tag) && !self.counts_rows(header.tag) && !self.learns_types(header.tag) {
                let shown = self.streamed(header)?;
                self.passing.left = header.message_bytes();
                self.passing.shown = shown;
                continue;
            }
            if header.body_bytes > WHOLE_BYTES {
                return Err(ServerFault::TooLarge(header.tag));
            }
            let Some(message) = rest.get(..header.message_bytes()) else { break };
            run.flush(&mut self.out.to_client);
            let cut_off = self.is_cut_off() && header.tag != tag::READY && !is_asynchronous(header.tag);
            let withheld = self.withholds(header.tag);
            let mut shown = self.whole(header.tag, message)? && !cut_off;
            if shown && withheld {
                self.guard.withheld.extend_from_slice(message);
                shown = false;
            }
            run.step(message.len(), shown, &mut self.out.to_client);
        }
        run.flush(&mut self.out.to_client);
        Ok(run.at)
    }

    /// A message whose body is never opened. Gives whether it is shown.
    fn streamed(&mut self, header: Header) -> Result<bool, ServerFault> {
        let front = self.queue.front().ok_or(ServerFault::Unexpected(header.tag))?;
        match (&front.ask, header.tag) {
            (Ask::Query(query), tag::FUNCTION_RESULT) if query.function_call => {
                Ok(self.function_result(header.message_bytes()))
            }
            (Ask::Query(query), _) if header.tag != tag::FUNCTION_RESULT && !query.function_call => {
                let own = query.injected.iter().any(|injected| injected.place == query.completed);
                let shown = front.shown && !own;
                if shown && matches!(header.tag, tag::DATA_ROW | tag::COPY_DATA) {
                    return Ok(self.row(header.message_bytes()));
                }
                Ok(shown && !self.is_hiding())
            }
            (Ask::Execute { .. }, tag::DATA_ROW | tag::COPY_DATA) => {
                let shown = front.shown;
                Ok(shown && self.row(header.message_bytes()))
            }
            (Ask::Execute { .. }, tag::COPY_DONE) => {
                let shown = front.shown;
                Ok(shown && !self.is_hiding())
            }
            (Ask::Describe, tag::PARAMETER_DESCRIPTION) => {
                let shown = front.shown;
                Ok(shown && !self.is_cut_off())
            }
            (Ask::Describe, tag::ROW_DESCRIPTION) => {
                let shown = front.shown;
                self.queue.pop();
                Ok(shown && !self.is_cut_off())
            }
            _ => Err(ServerFault::Unexpected(header.tag)),
        }
    }

    /// A message that moves the session. Gives whether it is shown as it came.
    fn whole(&mut self, tag: u8, message: &[u8]) -> Result<bool, ServerFault> {
        let body = message.get(HEADER_BYTES..).unwrap_or_default();
        match tag {
            tag::READY => self.ready(body),
            tag::COMMAND_COMPLETE => self.command_complete(body),
            tag::ERROR => self.error(message, body),
            tag::NOTICE => Ok(self.notice(body)),
            tag::PARAMETER_STATUS => self.parameter_status(body),
            tag::NOTIFICATION => Ok(true),
            tag::PARSE_COMPLETE => self.answered(tag, |ask| matches!(ask, Ask::Parse)),
            tag::BIND_COMPLETE => self.answered(tag, |ask| matches!(ask, Ask::Bind)),
            tag::CLOSE_COMPLETE => self.answered(tag, |ask| matches!(ask, Ask::Close)),
            tag::NO_DATA => self.answered(tag, |ask| matches!(ask, Ask::Describe)),
            tag::EMPTY_QUERY | tag::PORTAL_SUSPENDED => self.no_tag(tag),
            tag::DATA_ROW => {
                self.count_row(backend::first_column(body));
                Ok(false)
            }
            tag::PARAMETER_DESCRIPTION => self.described(body),
            tag::COPY_IN => self.copy_begins(tag, true),
            tag::COPY_OUT => self.copy_begins(tag, false),
            other => Err(ServerFault::Unexpected(other)),
        }
    }

    /// Whether a message tells types that records want to know.
    fn learns_types(&mut self, tag: u8) -> bool {
        tag == tag::PARAMETER_DESCRIPTION && self.queue.front().is_some_and(|front| front.types.is_some())
    }

    fn described(&mut self, body: &[u8]) -> Result<bool, ServerFault> {
        match self.queue.front() {
            Some(Pending { ask: Ask::Describe, types: Some(types), shown, .. }) => {
                types.describe(body);
                Ok(*shown)
            }
            _ => Err(ServerFault::Unexpected(tag::PARAMETER_DESCRIPTION)),
        }
    }

    fn answered(&mut self, tag: u8, fits: impl Fn(&Ask) -> bool) -> Result<bool, ServerFault> {
        match self.queue.front() {
            Some(front) if fits(&front.ask) => {
                let shown = front.shown;
                let record = front.record;
                self.queue.pop();
                if record.is_some() {
                    self.outcome(record);
                }
                Ok(shown)
            }
            _ => Err(ServerFault::Unexpected(tag)),
        }
    }

    fn no_tag(&mut self, tag: u8) -> Result<bool, ServerFault> {
        match self.queue.front().map(|front| (&front.ask, front.shown)) {
            Some((Ask::Query(_), shown)) if tag == tag::EMPTY_QUERY => Ok(shown),
            Some((Ask::Execute { portal, .. }, shown)) => {
                if let Some(portal) = portal.as_ref().filter(|_| tag == tag::PORTAL_SUSPENDED) {
                    portal.given.add(self.sent_rows, self.sent_bytes);
                    // No tag tells of them.
                    self.progress.rows = self.sent_rows;
                    (self.sent_rows, self.sent_bytes) = (0, 0);
                }
                // What is told instead of its end is this statement's outcome.
                let shown = shown && (tag == tag::PORTAL_SUSPENDED && !self.is_hiding() || self.ended_before_cut());
                self.finish_execute();
                Ok(shown)
            }
            _ => Err(ServerFault::Unexpected(tag)),
        }
    }

    fn copy_begins(&mut self, tag: u8, from_client: bool) -> Result<bool, ServerFault> {
        let front = self.queue.front().ok_or(ServerFault::Unexpected(tag))?;
        let shown = front.shown;
        let extended = match front.ask {
            Ask::Query(_) => false,
            Ask::Execute { .. } => true,
            _ => return Err(ServerFault::Unexpected(tag)),
        };
        if from_client && self.is_cut_off() {
            // The client does not learn of it, so it will send nothing.
            write::message(&mut self.out.to_server, crate::wire::frontend::tag::COPY_FAIL, |out| {
                out.extend_from_slice(b"\0")
            });
        } else if from_client && self.copies_ended > 0 {
            self.copies_ended -= 1;
        } else if from_client {
            self.copy_in = true;
        }
        if from_client {
            self.drop_syncs(extended);
        }
        Ok(shown)
    }

    /// COPY … FROM STDIN began: the Syncs that were sent behind it are dropped by the server.
    fn drop_syncs(&mut self, extended: bool) {
        let dropped = self.queue.drop_syncs_after_front();
        if dropped == 0 {
            return;
        }
        self.stop_deciding();
        self.readies_seen += dropped;
        if extended {
            // The Sync that was to end the batch did not.
            self.batch_open |= !self.queue.holds_sync();
        } else {
            // The Query's own ReadyForQuery is the last one.
            self.queue.show_front_ready();
        }
    }

    fn command_complete(&mut self, body: &[u8]) -> Result<bool, ServerFault> {
        let command = backend::command_tag(body).ok_or(ServerFault::Malformed(tag::COMMAND_COMPLETE))?;
        let front = self.queue.front().ok_or(ServerFault::Unexpected(tag::COMMAND_COMPLETE))?;
        let record = front.record;
        let (own, place, theirs) = match &mut front.ask {
            Ask::Query(query) => {
                let place = query.completed;
                let own = query.injected.iter().any(|injected| injected.place == place);
                let before = query.injected.iter().filter(|injected| injected.place < place).count();
                query.completed += 1;
                (own, place, place - before)
            }
            Ask::Execute { .. } => (false, 0, 0),
            _ => return Err(ServerFault::Unexpected(tag::COMMAND_COMPLETE)),
        };
        self.completed += 1;
        let statement = front.goes_back.as_ref().and_then(|(text, first)| text.statements.get(first + theirs));
        let goes_back = statement.is_some_and(|statement| hold::goes_back(&statement.movement));
        let shown = front.shown && !own;
        self.wrote |= shown && front.writes;
        let execute = matches!(front.ask, Ask::Execute { .. });
        let notices = if shown { front.notices.take() } else { None };
        if matches!(command, b"BEGIN" | b"START TRANSACTION") {
            self.ours = !shown;
        }
        let mut allowed = true;
        if shown {
            self.tagged(command, goes_back);
            allowed = self.count_tag(command, place, record);
        } else {
            self.own_completed(command);
        }
        let shown = shown && self.ended_before_cut() && allowed;
        self.copy_in = false;
        if execute {
            self.finish_execute();
        }
        if shown {
            self.tell_notices(notices.as_deref());
        }
        Ok(shown)
    }

    /// The safer ways that go with an allowed statement.
    fn tell_notices(&mut self, judgement: Option<&Judgement>) {
        for notice in judgement.iter().flat_map(|judgement| &judgement.notices) {
            Report::new(report::Severity::Notice, "00000", notice.clone()).write(&mut self.out.to_client);
        }
    }

    /// A statement of the client's completed; `goes_back` if it is ROLLBACK TO.
    fn tagged(&mut self, command: &[u8], goes_back: bool) {
        self.progress.rows += backend::tag_rows(command).unwrap_or(0);
        self.progress.tag.clear();
        self.progress.tag.push_str(&String::from_utf8_lossy(command));
        match command {
            b"COMMIT" => self.ended(true),
            b"ROLLBACK" if !goes_back && self.has_begun() => self.ended(false),
            _ => self.progress.fate.completed(command),
        }
    }

    /// Whether there is something that a ROLLBACK ends: otherwise the server only warns.
    fn has_begun(&self) -> bool {
        let before = self.outcomes.iter().any(|(outcome, _)| outcome.sqlstate.is_none());
        self.status != Status::Idle || self.explicit.is_some() || before || self.progress.fate.is_open()
    }

    /// The client's transaction ended: what was answered in it has its fate, and what follows is in another.
    fn ended(&mut self, committed: bool) {
        self.progress.fate.ended(committed);
        for (mut outcome, mut fate) in self.outcomes.drain(..) {
            fate.ended(committed);
            outcome.state = fate.state("open");
            self.out.events.push(Event::Outcome(outcome));
        }
        self.tell_end();
        self.closing = self.explicit.take().map(|transaction| (transaction, committed));
    }

    /// Tells the end of a transaction whose statements are told.
    fn tell_end(&mut self) {
        if let Some((transaction, committed)) = self.closing.take() {
            self.out.events.push(Event::TransactionEnd { transaction, committed });
        }
    }

    /// An Execute is answered to its end.
    fn finish_execute(&mut self) {
        if let Some(pending) = self.queue.pop() {
            self.outcome(pending.record);
        }
    }

    /// Notes the outcome of a statement; its transaction's fate is told with the next ReadyForQuery.
    pub(super) fn outcome(&mut self, record: Option<(u64, u64)>) {
        if record.is_none() && self.guard.script.is_some() {
            // Told when the whole text is over.
            return;
        }
        let progress = std::mem::take(&mut self.progress);
        let Some((record, transaction)) = record else { return };
        if self.outcomes.len() >= OUTCOMES_KEPT {
            self.tell_outcomes("open");
        }
        self.answered_in = transaction;
        let outcome = Outcome {
            record,
            transaction,
            rows: progress.rows,
            bytes: progress.bytes,
            tag: progress.tag,
            sqlstate: progress.sqlstate,
            state: "open",
        };
        self.outcomes.push((outcome, progress.fate));
        if progress.fate.is_over() {
            self.tell_outcomes("open");
            self.tell_end();
        }
    }

    /// Tells what is noted; `rest` is what becomes of the transaction that is open.
    fn tell_outcomes(&mut self, rest: &'static str) {
        for (mut outcome, fate) in self.outcomes.drain(..) {
            outcome.state = fate.state(rest);
            self.out.events.push(Event::Outcome(outcome));
        }
    }

    fn ready(&mut self, body: &[u8]) -> Result<bool, ServerFault> {
        let status = Status::of(body).ok_or(ServerFault::Malformed(tag::READY))?;
        let Some(pending) = self.queue.pop() else { return Err(ServerFault::Unexpected(tag::READY)) };
        self.copy_in = false;
        self.readies_seen += 1;
        let shown = match &pending.ask {
            Ask::Query(query) => {
                let shown = query.ready_shown;
                self.outcome(pending.record);
                shown
            }
            Ask::Refusal(refusal) if refusal.ready_follows => refusal.ready_shown,
            Ask::Sync(_) => pending.shown,
            Ask::Refusal(_) | Ask::Parse | Ask::Bind | Ask::Describe | Ask::Execute { .. } | Ask::Close => {
                return Err(ServerFault::Unexpected(tag::READY));
            }
        };
        self.status = status;
        self.ours &= status != Status::Idle;
        let decides = pending.watch.as_ref().is_some_and(|watch| watch.decides);
        if (shown || decides) && !self.ours {
            self.make_cut_true(status);
        }
        if decides && self.out.end.is_none() {
            return Ok(self.decide(status));
        }
        if shown && self.ours {
            return Ok(self.end_ours());
        }
        if shown && !self.ready_over(status) {
            return Ok(false);
        }
        self.settle(shown);
        Ok(shown && self.out.end.is_none())
    }

    /// The server is still in a transaction that the proxy began, because a cancel request met its COMMIT or because an
    /// error came before the statement that would have ended it. Gives whether this ReadyForQuery is shown as it came.
    fn end_ours(&mut self) -> bool {
        if self.queue.is_empty() && !self.batch_open {
            let early = self.believed == Believed::Idle;
            self.commit_hold(Slot::Named);
            if !early {
                self.boundary();
            }
            return false;
        }
        // Something of the client's is in flight already: it sees its own batch end here, and the next one fails as a part
        // of the proxy's transaction, which has failed. That one's COMMIT, or this one, ends it.
        if !self.batch_open && !self.queue.holds_commit() {
            self.commit_hold(Slot::Named);
            self.queue.hide_last();
        }
        self.status = Status::Idle;
        write::ready(&mut self.out.to_client, Status::Idle);
        self.settle(true);
        false
    }

    /// The server's own word on the transaction corrects what was believed.
    pub(super) fn settle(&mut self, shown: bool) {
        if self.queue.is_empty() && !self.batch_open {
            self.guessed = false;
            self.loose &= self.status != Status::Idle;
            if self.status == Status::Idle && self.believed != Believed::Idle {
                // A transaction that was believed open is not: the next one may be on another server connection.
                self.believed = Believed::Idle;
                self.boundary();
            }
            self.believed = match (self.status, self.believed) {
                (Status::Idle, _) => Believed::Idle,
                (Status::Failed, _) => Believed::Client { locked: false, failed: true },
                (Status::InTransaction, Believed::Client { locked, .. }) if !self.batch_failed => {
                    Believed::Client { locked, failed: false }
                }
                (Status::InTransaction, _) => Believed::Client { locked: false, failed: false },
            };
        }
        if !shown {
            return;
        }
        if self.status == Status::Idle {
            self.names.end_transaction(self.readies_seen);
            let committed = !self.batch_failed;
            self.tell_outcomes(if committed { "committed" } else { "rolled_back" });
            self.tell_end();
            self.closing = self.explicit.take().map(|transaction| (transaction, committed));
            self.tell_end();
        } else {
            if self.explicit.is_none() {
                self.explicit = Some(self.answered_in);
            }
            self.tell_outcomes("open");
            self.tell_end();
        }
        // What a transaction changed is committed by whatever ends it.
        self.wrote &= self.status != Status::Idle;
        self.batch_failed = false;
        self.cut = None;
        self.guard_settled();
    }

    /// A notice. Gives whether it is shown: what it says of the proxy's own transaction is not the client's business.
    fn notice(&mut self, body: &[u8]) -> bool {
        let Some(front) = self.queue.front() else { return true };
        let (own, in_ours) = match &front.ask {
            Ask::Execute { swallow_warning, .. } => (*swallow_warning, false),
            Ask::Query(query) => (query.injected.iter().any(|own| own.place == query.completed), self.ours),
            _ => (false, false),
        };
        // 25001: there is already a transaction in progress; 25P01: there is none.
        match report::sqlstate(body) {
            "25001" => !(own || in_ours),
            "25P01" => !own,
            _ => true,
        }
    }

    fn error(&mut self, message: &[u8], body: &[u8]) -> Result<bool, ServerFault> {
        if report::is_fatal(body) {
            self.server_said_why = true;
            return Ok(true);
        }
        self.copy_in = false;
        let uncut = self.error_after_cut(report::sqlstate(body));
        let shown = self.failed(message, body)?;
        Ok(shown && uncut)
    }

    /// What was asked for failed. Gives whether the error is shown as it came.
    fn failed(&mut self, message: &[u8], body: &[u8]) -> Result<bool, ServerFault> {
        self.guard.withheld.clear();
        let Some(front) = self.queue.front() else { return Ok(true) };
        let quiet = front.quiet;
        match &mut front.ask {
            Ask::Refusal(refusal) => {
                let ours = report::text(body, b'M').is_some_and(|text| contains(text, &refusal.token));
                if ours {
                    self.out.to_client.extend_from_slice(&refusal.response);
                }
                self.batch_failed = true;
                if !refusal.ready_follows {
                    // That the unnamed statement ended stays true.
                    front.unnamed = None;
                    self.skip_to_sync();
                }
                Ok(!ours)
            }
            Ask::Query(query) => {
                query.failed = true;
                let (completed, moved) = (query.completed, moved_by(query, body));
                let injected = query.injected.iter().filter(|injected| injected.place < completed).count();
                let undo = std::mem::take(&mut front.undo);
                front.unnamed = None;
                self.batch_failed = true;
                self.progress.sqlstate = Some(report::sqlstate(body).to_owned());
                let failed = completed.saturating_sub(injected);
                self.take_back(undo.into_iter().filter(|(place, _)| *place >= failed).map(|(_, undo)| undo), false);
                if moved != 0 {
                    report::write_shifted(
                        &mut self.out.to_client,
                        message.first().copied().unwrap_or(b'E'),
                        body,
                        moved,
                    );
                }
                Ok(moved == 0 || self.is_cut_off())
            }
            // An error while the transaction of an unfinished batch ends; its ReadyForQuery follows.
            Ask::Sync(sync) => {
                let quiet = *sync == Sync::AfterCommit;
                self.batch_failed |= !quiet;
                if let Some((last, _)) = self.outcomes.last_mut() {
                    last.sqlstate = Some(report::sqlstate(body).to_owned());
                }
                Ok(!quiet)
            }
            Ask::Parse | Ask::Bind | Ask::Describe | Ask::Execute { .. } | Ask::Close => {
                self.batch_failed |= !quiet;
                self.progress.sqlstate = Some(report::sqlstate(body).to_owned());
                let record = front.record;
                self.outcome(record);
                self.skip_to_sync();
                Ok(!quiet)
            }
        }
    }

    /// The server discards everything up to the next Sync: none of it happened.
    fn skip_to_sync(&mut self) {
        let mut undo: Vec<Undo> = Vec::new();
        let mut failed = true;
        let mut unnamed_gone = false;
        while self.queue.front().is_some_and(|front| failed || !matches!(front.ask, Ask::Sync(_))) {
            let Some(pending) = self.queue.pop() else { break };
            if failed {
                // A Parse that fails has ended the old unnamed statement first (postgres.c, exec_parse_message).
                unnamed_gone |= parses_unnamed(&pending);
            } else {
                self.skipped(pending.record);
                self.readies_seen += u64::from(ends_batch(&pending.ask));
            }
            failed = false;
            undo.extend(pending.undo.into_iter().map(|(_, undo)| undo));
            if let Some(end) = pending.unnamed {
                unnamed_gone |= end.replaced;
                undo.push(end.undo);
            }
        }
        self.take_back(undo.into_iter(), unnamed_gone);
        if self.queue.is_empty() {
            // What the client sends up to its Sync is skipped too, also after a Query.
            self.skip = Skip::Upstream;
            self.batch_open = true;
            self.stop_deciding();
        }
    }

    fn skipped(&mut self, record: Option<(u64, u64)>) {
        let Some((record, transaction)) = record else { return };
        self.out.events.push(Event::Outcome(Outcome::without_answer(record, transaction, "skipped")));
    }

    /// Takes changes of names back, given in the order in which they were made.
    fn take_back(&mut self, changes: impl Iterator<Item = Undo>, unnamed_gone: bool) {
        let mut back: HashMap<Key, Undo> = HashMap::new();
        for change in changes {
            // The first change of a name found what must be there again.
            back.entry(change.key()).or_insert(change);
        }
        if unnamed_gone {
            back.insert(Key::Statement(Bytes::new()), Undo::Statement(Bytes::new(), None));
        }
        self.queue.hand_on(&mut back);
        for (_, undo) in back {
            self.names.undo(undo);
        }
    }

    /// Writes what the driver says to the client outside of any answer: a notice, or an error that ends the session.
    pub fn tell_client(&mut self, report: &Report) {
        report.write(&mut self.out.to_client);
    }

    /// Says goodbye to the server.
    pub fn leave_server(&mut self) {
        write::terminate(&mut self.out.to_server);
    }
}

/// A stretch of the server's bytes that is passed on in one piece.
struct Run<'a> {
    buffer: &'a [u8],
    start: usize,
    at: usize,
}

impl Run<'_> {
    /// Goes `step` bytes on; what is not shown ends the stretch.
    fn step(&mut self, step: usize, shown: bool, out: &mut bytes::BytesMut) {
        if shown {
            self.at += step;
        } else {
            self.flush(out);
            self.at += step;
            self.start = self.at;
        }
    }

    fn flush(&mut self, out: &mut bytes::BytesMut) {
        out.extend_from_slice(self.buffer.get(self.start..self.at).unwrap_or_default());
        self.start = self.at;
    }
}

/// Messages that the server may send at any time.
fn is_asynchronous(tag: u8) -> bool {
    matches!(tag, tag::NOTICE | tag::NOTIFICATION | tag::PARAMETER_STATUS)
}

fn passes_in_pieces(tag: u8) -> bool {
    matches!(
        tag,
        tag::DATA_ROW
            | tag::COPY_DATA
            | tag::COPY_DONE
            | tag::ROW_DESCRIPTION
            | tag::PARAMETER_DESCRIPTION
            | tag::FUNCTION_RESULT
    )
}

/// Characters by which an error's position is to be moved: back over the proxy's own statements, forward over the client's that
/// were sent before.
fn moved_by(query: &super::pending::Query, body: &[u8]) -> isize {
    let Some(position) = report::text(body, b'P')
        .and_then(|text| std::str::from_utf8(text).ok())
        .and_then(|text| text.parse::<usize>().ok())
    else {
        return 0;
    };
    let own: usize = query.injected.iter().filter(|own| own.at < position).map(|own| own.characters).sum();
    isize::try_from(query.before).unwrap_or(0) - isize::try_from(own).unwrap_or(0)
}

/// Whether a ReadyForQuery would have answered it, had the server not skipped it.
fn ends_batch(ask: &Ask) -> bool {
    match ask {
        Ask::Query(_) | Ask::Sync(_) => true,
        Ask::Refusal(refusal) => refusal.ready_follows,
        Ask::Parse | Ask::Bind | Ask::Describe | Ask::Execute { .. } | Ask::Close => false,
    }
}

fn parses_unnamed(pending: &Pending) -> bool {
    matches!(pending.ask, Ask::Parse)
        && pending.undo.iter().any(|(_, undo)| matches!(undo, Undo::Statement(name, _) if name.is_empty()))
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    memchr::memmem::find(haystack, needle).is_some()
}
