//! What the client sends: each message is forwarded as it came, held, refused, or answered here.

use std::sync::Arc;

use bytes::Bytes;

use crate::decision::Judgement;
use crate::sql::{Class, Movement, Statement, TransactionEnd};
use crate::wire::frontend::{Frontend, Malformed, Target};
use crate::wire::report::Report;
use crate::wire::{HEADER_BYTES, write};

use super::guard::{Own, Watch};
use super::hold::{self, Slot, is_control};
use super::hold_text;
use super::names::{Given, Portal, Prepared, Undo};
use super::parameters::Parameters;
use super::pending::{Ask, Believed, Pending, Query, Sync, UnnamedEnd};
use super::state::{Bound, Event, Kind, Session, Skip};

/// How many times the stalling limit of answers in flight ends the session.
const CROWD: usize = 8;

/// A text to judge before a message can be taken.
#[derive(Clone, Debug)]
pub enum Need {
    /// Nothing.
    Nothing,
    /// The message's own text; of a FunctionCall [`super::text_of_call`], if it has one.
    Text,
    /// A statement made earlier was judged under another policy: its text, to be given to [`Session::rejudged`].
    Stale(Arc<str>),
}

/// Something in a message that ends the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A password message after login, or a type that no client sends.
    #[error("invalid frontend message type {0}")]
    Type(u8),
    /// A message that starts something, while the server waits for COPY data: it would be lost, and its answer with it.
    #[error("unexpected message during COPY from stdin")]
    DuringCopy,
    /// More answers in flight than allowed.
    #[error("more than {0} messages are waiting for an answer")]
    TooManyInFlight(usize),
}

/// What became of a message whose body may still be on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It went upstream; so must the rest of its body.
    Forwarded,
    /// It did not; the rest of its body is to be dropped.
    Dropped,
    /// The client is leaving.
    Leaving,
}

impl Session {
    /// Whether this message must wait until the answers in flight have come: what it means depends on them, or there are
    /// too many of them.
    pub fn stalls(&mut self, frame: &Frontend<'_>) -> bool {
        if self.is_deciding() {
            return !matches!(frame, Frontend::Flush);
        }
        if !frame.asks() || self.copy_in || self.skip != Skip::No {
            return false;
        }
        let follows = self.read_only || self.settings.pooled || self.guards();
        if self.heals_lock_timeout(frame) || follows && self.waits_for_batch(frame) {
            return true;
        }
        if self.is_crowded() {
            return true;
        }
        // A pooler gives the server connection away at the ReadyForQuery of one batch, though the beginning of the next is on it
        // already: its end would run elsewhere, without the hold and beside another client's names.
        let waits = self.guessed || self.believed != Believed::Idle || self.settings.pooled;
        waits && !self.queue.is_empty() && !self.batch_open && follows
    }

    /// Whether so many answers are in flight that no more is asked until half of them have come. A Flush makes them come.
    fn is_crowded(&mut self) -> bool {
        let limit = self.settings.limits.in_flight;
        if self.flushed {
            self.flushed = self.queue.len() > limit / 2;
        } else if self.queue.len() >= limit {
            write::flush(&mut self.out.to_server);
            self.flushed = true;
        }
        self.flushed
    }

    /// What must be judged before [`Session::client`] can take this message, under the scope of this stamp.
    pub fn need(&self, frame: &Frontend<'_>, stamp: u64) -> Need {
        if self.skip != Skip::No {
            return Need::Nothing;
        }
        match frame {
            Frontend::Query(_) | Frontend::Parse { .. } | Frontend::FunctionCall(_) => Need::Text,
            Frontend::Bind { statement, .. } => stale(self.names.statement(statement).map(|s| &s.judgement), stamp),
            Frontend::Execute { portal, .. } => match self.names.portal(portal) {
                Some(portal) if portal.judgement.stamp == stamp => self.need_within(&portal.judgement, stamp),
                portal => stale(portal.map(|portal| &portal.judgement), stamp),
            },
            Frontend::Describe(..)
            | Frontend::Close(..)
            | Frontend::Sync
            | Frontend::Flush
            | Frontend::CopyData
            | Frontend::CopyDone
            | Frontend::CopyFail
            | Frontend::Terminate
            | Frontend::Password => Need::Nothing,
        }
    }

    /// What else must be judged because this text names it: EXECUTE, FETCH.
    pub fn need_within(&self, judgement: &Judgement, stamp: u64) -> Need {
        for statement in &judgement.statements {
            let found = match &statement.movement {
                Movement::Execute { name } => self.names.statement(name.as_bytes()).map(|s| &s.judgement),
                Movement::Fetch { name } => self.names.portal(name.as_bytes()).map(|p| &p.judgement),
                _ => None,
            };
            if let Need::Stale(text) = stale(found, stamp) {
                return Need::Stale(text);
            }
        }
        Need::Nothing
    }

    /// Takes a newer judgement of a text for every statement and portal that was judged by an older one.
    pub fn rejudged(&mut self, fresh: &Arc<Judgement>) {
        self.names.rejudged(fresh);
    }

    /// Takes one message. `bytes` is the message, header included, or for Bind, FunctionCall and CopyData at least its
    /// beginning; `judged` is the judgement that [`Session::need`] asked for.
    ///
    /// # Errors
    /// The message ends the session.
    pub fn client(
        &mut self,
        frame: &Frontend<'_>,
        bytes: &[u8],
        judged: Option<Arc<Judgement>>,
    ) -> Result<Taken, Fault> {
        let most = self.settings.limits.in_flight.saturating_mul(CROWD);
        if self.queue.len() > most {
            return Err(Fault::TooManyInFlight(most));
        }
        match frame {
            Frontend::Terminate => {
                self.out.to_server.extend_from_slice(bytes);
                return Ok(Taken::Leaving);
            }
            Frontend::Password => return Err(Fault::Type(crate::wire::frontend::tag::PASSWORD)),
            Frontend::Sync => {
                self.record_bound();
                return Ok(self.sync(bytes));
            }
            _ if self.copy_in && frame.asks() => return Err(Fault::DuringCopy),
            _ if self.skip != Skip::No => return Ok(Taken::Dropped),
            _ => self.record_bound_before(frame),
        }
        Ok(match frame {
            Frontend::Query(_) => match judged {
                Some(judgement) => self.query(bytes, judgement),
                None => self.not_judged(Kind::Simple),
            },
            Frontend::Parse { name, .. } => match judged {
                Some(judgement) => self.parse(name, bytes, judgement),
                None => self.not_judged(Kind::Parse),
            },
            Frontend::Bind { portal, statement } => self.bind(portal, statement, bytes),
            Frontend::Describe(target, name) => self.describe(*target, name, bytes),
            Frontend::Close(target, name) => self.close(*target, name, bytes),
            Frontend::Execute { portal, max_rows } => self.execute(portal, *max_rows, bytes),
            Frontend::FunctionCall(_) => self.function_call(bytes, judged),
            Frontend::Flush => self.forward(bytes),
            Frontend::CopyData => self.forward(bytes),
            Frontend::CopyDone | Frontend::CopyFail => {
                if !std::mem::take(&mut self.copy_in) {
                    self.copies_ended += 1;
                }
                self.forward(bytes)
            }
            Frontend::Sync | Frontend::Terminate | Frontend::Password => Taken::Dropped,
        })
    }

    /// A message of this type does not read: Postgres answers 08P01 and goes on; so does the proxy.
    ///
    /// # Errors
    /// The type is one that no client sends.
    pub fn malformed(&mut self, tag: u8, why: Malformed) -> Result<(), Fault> {
        use crate::wire::frontend::tag;
        let kind = match tag {
            tag::QUERY => Kind::Simple,
            tag::FUNCTION_CALL => Kind::FunctionCall,
            tag::PARSE => Kind::Parse,
            tag::BIND | tag::DESCRIBE | tag::CLOSE | tag::FLUSH | tag::SYNC => Kind::Bind,
            tag::EXECUTE => Kind::Execute,
            _ => return Err(Fault::Type(tag)),
        };
        if self.copy_in {
            return Err(Fault::DuringCopy);
        }
        self.refuse_frame(kind, Report::error("08P01", why.to_string()));
        if tag == tag::SYNC {
            let mut whole = bytes::BytesMut::new();
            write::sync(&mut whole);
            self.sync(&whole);
        }
        Ok(())
    }

    /// Refuses a message that was never read as a whole.
    pub fn refuse_frame(&mut self, kind: Kind, report: Report) {
        if self.skip == Skip::No {
            self.refuse(kind, None, report, None);
        }
    }

    fn not_judged(&mut self, kind: Kind) -> Taken {
        self.refuse(kind, None, Report::error("XX000", "pgwarden: the statement was not judged"), None);
        Taken::Dropped
    }

    fn forward(&mut self, bytes: &[u8]) -> Taken {
        self.out.to_server.extend_from_slice(bytes);
        Taken::Forwarded
    }

    fn native_error(&mut self, kind: Kind, judgement: Option<Arc<Judgement>>, report: Report) -> Taken {
        self.refuse(kind, judgement, report, None);
        Taken::Dropped
    }

    // ----- simple protocol -----

    fn query(&mut self, bytes: &[u8], judgement: Arc<Judgement>) -> Taken {
        if let Some(denied) = &judgement.refusal {
            self.refuse_judged(Kind::Simple, Arc::clone(&judgement), denied);
            return Taken::Dropped;
        }
        let rewritten = match self.hold_within(&judgement) {
            Ok(rewritten) => rewritten,
            Err(report) => return self.native_error(Kind::Simple, Some(judgement), report),
        };
        match self.follow(&judgement) {
            Ok(followed) if !self.is_aborted(&judgement) && self.needs_script(&judgement) => {
                self.start_script(&judgement, followed);
                Taken::Forwarded
            }
            Ok(followed) => self.send_query(bytes, &judgement, followed, rewritten),
            // The server says first that the transaction is aborted.
            Err(_) if self.is_aborted(&judgement) => self.send_query(bytes, &judgement, Followed::default(), rewritten),
            Err(report) => self.native_error(Kind::Simple, Some(judgement), report),
        }
    }

    /// Whether the server runs nothing of a text because the client's transaction failed.
    fn is_aborted(&self, judgement: &Judgement) -> bool {
        // PREPARE TRANSACTION rolls it back (postgres.c, IsTransactionExitStmt).
        let exits = |movement: &Movement| {
            matches!(movement, Movement::End { .. } | Movement::Savepoint { .. } | Movement::TwoPhase)
        };
        matches!(self.believed, Believed::Client { failed: true, .. })
            && judgement.statements.first().is_some_and(|first| !exits(&first.movement))
    }

    /// The text with the hold in it, where no message before it can hold all of its statements.
    fn hold_within(&self, judgement: &Judgement) -> Result<Option<hold_text::Held>, Report> {
        if self.guards() {
            readable(judgement)?;
        }
        if let Some(report) = self.cannot_wait(judgement).or_else(|| self.leaves_lock(judgement)) {
            return Err(report);
        }
        if !self.read_only {
            return Ok(None);
        }
        readable(judgement)?;
        if let Some(report) = self.cannot_hold(judgement.statements.iter().map(|statement| &statement.movement)) {
            return Err(report);
        }
        if self.is_aborted(judgement) {
            return Ok(None);
        }
        let [first, _, ..] = judgement.statements.as_slice() else { return Ok(None) };
        let control = judgement.statements.iter().any(|statement| is_control(&statement.movement));
        if !control && hold::covers(self.believed, &first.movement) && !self.changes_within(judgement) {
            return Ok(None);
        }
        let locks = self.locks_within(judgement);
        hold_text::hold(&judgement.text, &judgement.statements, self.believed, locks).map(Some)
    }

    fn send_query(
        &mut self,
        bytes: &[u8],
        judgement: &Arc<Judgement>,
        followed: Followed,
        rewritten: Option<hold_text::Held>,
    ) -> Taken {
        let aborted = self.is_aborted(judgement);
        self.guessed |= !aborted && judgement.statements.iter().any(|statement| is_control(&statement.movement));
        let mut query = Query { ready_shown: true, ..Query::default() };
        self.number_transaction(&judgement.statements);
        let record = self.allowed(Kind::Simple, judgement);
        self.copies_ended = 0;
        let mut own = false;
        if rewritten.is_none() {
            own = judgement.statements.first().is_some_and(|first| self.hold(&first.movement, Slot::Unnamed));
        }
        for (name, prepared) in &followed.absent {
            self.prepare_here(name, prepared);
            own = true;
        }
        if let Some(rewritten) = rewritten {
            write::query(&mut self.out.to_server, rewritten.text.as_bytes());
            query.injected = rewritten.injected;
            // If it fails, only its answer tells where the transaction stands.
            self.guessed = true;
            self.believed = rewritten.believed;
            self.new_lock_timeout();
        } else {
            self.out.to_server.extend_from_slice(bytes);
            for statement in judgement.statements.iter().filter(|_| !aborted) {
                self.believe(&statement.movement);
            }
        }
        self.follow_lock_timeout(judgement);
        if own && !self.commits_ahead() {
            // The proxy's own went ahead without a Sync: one must end the skip if they fail.
            query.ready_shown = false;
        }
        if own {
            // The proxy's own took the unnamed portal.
            self.names.put_portal(Bytes::new(), None);
        }
        // A simple Query, failed or not, ends the unnamed statement (postgres.c, exec_simple_query).
        let unnamed = UnnamedEnd { undo: self.names.put_statement(Bytes::new(), None), replaced: own };
        self.queue.push(Pending {
            record: Some(record),
            undo: followed.undo,
            unnamed: Some(unnamed),
            notices: with_notices(judgement),
            goes_back: going_back(judgement, 0),
            writes: judgement.writes,
            watch: self.watch_query(judgement),
            ..Pending::shown(Ask::Query(query))
        });
        self.end_of_query();
        Taken::Forwarded
    }

    /// After a simple Query: its ReadyForQuery ends the batch, and with it the proxy's own transaction.
    pub(super) fn end_of_query(&mut self) {
        self.batch_open = false;
        self.skip = Skip::No;
        self.syncs_sent += 1;
        self.guard_ends_batch();
        if self.commits_ahead() {
            self.queue.hide_last_ready();
            self.commit_hold(Slot::Unnamed);
        } else if self.guard_is_open() {
            self.queue.hide_last_ready();
            self.queue.last_decides();
            self.begin_deciding();
        } else if self.queue.last_ready_is_hidden() {
            write::sync(&mut self.out.to_server);
            self.syncs_sent += 1;
            self.queue.push(Pending::shown(Ask::Sync(Sync::Plain)));
        }
        self.boundary();
    }

    /// Follows the names that a text's statements make, use and end, in order.
    fn follow(&mut self, judgement: &Arc<Judgement>) -> Result<Followed, Report> {
        let mut followed = Followed::default();
        if self.runs_code(judgement) {
            self.code_ran = Some(self.epoch);
        }
        for (place, statement) in judgement.statements.iter().enumerate() {
            match self.follow_one(&statement.movement, judgement, &mut followed.absent) {
                Ok(changes) => followed.undo.extend(changes.into_iter().map(|change| (place, change))),
                Err(report) => {
                    for (_, change) in followed.undo.into_iter().rev() {
                        self.names.undo(change);
                    }
                    return Err(report);
                }
            }
        }
        Ok(followed)
    }

    fn follow_one(
        &mut self,
        movement: &Movement,
        judgement: &Arc<Judgement>,
        absent: &mut Vec<(Bytes, Arc<Prepared>)>,
    ) -> Result<Vec<Undo>, Report> {
        match movement {
            Movement::Prepare { name, .. } => {
                unreserved(name.as_bytes())?;
                self.room_for_statement(0)?;
                let prepared =
                    Prepared { judgement: Arc::clone(judgement), parse: None, epoch: self.epoch, types: None };
                Ok(vec![self.names.put_statement(key(name), Some(Arc::new(prepared)))])
            }
            Movement::Execute { name } => {
                absent.extend(self.usable_statement(name.as_bytes())?);
                Ok(Vec::new())
            }
            Movement::Deallocate { name: Some(name) } => {
                absent.extend(self.usable_statement(name.as_bytes())?);
                Ok(vec![self.names.put_statement(key(name), None)])
            }
            Movement::Deallocate { name: None } => Ok(self.names.clear_statements()),
            Movement::Declare { name, hold } => {
                unreserved(name.as_bytes())?;
                self.room_for_portal()?;
                let portal = self.portal(judgement, *hold, None);
                Ok(vec![self.names.put_portal(key(name), Some(portal))])
            }
            Movement::Fetch { name } => self.usable_cursor(name.as_bytes()).map(|()| Vec::new()),
            Movement::ClosePortal { name: Some(name) } => {
                self.usable_cursor(name.as_bytes())?;
                Ok(vec![self.names.put_portal(key(name), None)])
            }
            Movement::ClosePortal { name: None } => Ok(self.names.clear_portals()),
            Movement::DiscardAll => {
                let mut undo = self.names.clear_statements();
                undo.extend(self.names.clear_portals());
                Ok(undo)
            }
            Movement::None
            | Movement::Begin
            | Movement::SetTransaction
            | Movement::SetLocal
            | Movement::End { .. }
            | Movement::Savepoint { .. }
            | Movement::TwoPhase
            | Movement::OutsideTransaction
            | Movement::Set { .. } => Ok(Vec::new()),
        }
    }

    fn portal(&self, judgement: &Arc<Judgement>, hold: bool, parameters: Option<Arc<Parameters>>) -> Arc<Portal> {
        Arc::new(Portal {
            judgement: Arc::clone(judgement),
            hold,
            epoch: self.epoch,
            made_at: self.syncs_sent,
            parameters,
            given: Given::default(),
        })
    }

    fn room_for_statement(&self, bytes: usize) -> Result<(), Report> {
        let limits = self.settings.limits;
        if self.names.statement_count() >= limits.statements {
            return Err(over("prepared statements", limits.statements, "prepared_statements"));
        }
        if self.names.statement_bytes() + bytes > limits.statement_bytes {
            return Err(over("bytes of prepared statements", limits.statement_bytes, "prepared_statement_bytes"));
        }
        Ok(())
    }

    fn room_for_portal(&self) -> Result<(), Report> {
        let limit = self.settings.limits.portals;
        if self.names.portal_count() >= limit { Err(over("portals", limit, "portals")) } else { Ok(()) }
    }

    /// A statement that SQL names: it must be this session's. Gives it where it has to be prepared again first.
    fn usable_statement(&self, name: &[u8]) -> Result<Option<(Bytes, Arc<Prepared>)>, Report> {
        let prepared = self.names.statement(name).ok_or_else(|| no_statement(name))?;
        if let Some(denied) = &prepared.judgement.refusal {
            return Err(denied_report(denied));
        }
        match (self.is_here(prepared.epoch), &prepared.parse) {
            (true, _) => Ok(None),
            (false, Some(_)) => Ok(Some((Bytes::copy_from_slice(name), Arc::clone(prepared)))),
            (false, None) => Err(no_statement(name).hint(
                "It was prepared in an earlier transaction, which the pooled endpoint may have given another server \
                 connection. Prepare and execute in one transaction, or use the direct endpoint.",
            )),
        }
    }

    /// A portal that a message names: this session's Bind or DECLARE made it on this server connection.
    fn usable_portal(&self, name: &[u8]) -> Result<Arc<Portal>, Report> {
        let found = self.names.portal(name).filter(|found| self.is_here(found.epoch));
        found.cloned().ok_or_else(|| no_portal("portal", name))
    }

    /// Whether code that is not known runs.
    fn runs_code(&self, judgement: &Judgement) -> bool {
        judgement.statements.iter().any(|statement| match &statement.movement {
            Movement::None => judgement.may_set,
            Movement::Execute { name } => {
                self.names.statement(name.as_bytes()).is_some_and(|prepared| prepared.judgement.may_set)
            }
            _ => false,
        })
    }

    /// A cursor that SQL names. On a server connection of its own, a session's functions may have opened it. Behind a
    /// pooler what has that name may be a cursor WITH HOLD that somebody else left, unless PL/pgSQL made the name up.
    fn usable_cursor(&self, name: &[u8]) -> Result<(), Report> {
        match self.names.portal(name).filter(|found| self.is_here(found.epoch)) {
            Some(portal) => match &portal.judgement.refusal {
                None => Ok(()),
                Some(denied) => Err(denied_report(denied)),
            },
            None if self.settings.pooled && !(is_made_up(name) && self.code_ran == Some(self.epoch)) => {
                Err(no_portal("cursor", name))
            }
            None => Ok(()),
        }
    }

    fn is_here(&self, epoch: u64) -> bool {
        !self.settings.pooled || epoch == self.epoch
    }

    // ----- extended protocol -----

    fn parse(&mut self, name: &[u8], bytes: &[u8], judgement: Arc<Judgement>) -> Taken {
        if let Some(denied) = &judgement.refusal {
            self.refuse_judged(Kind::Parse, Arc::clone(&judgement), denied);
            self.end_unnamed(name);
            return Taken::Dropped;
        }
        let body = bytes.get(HEADER_BYTES..).unwrap_or_default();
        if let Err(report) = self.parse_allowed(name, body.len(), &judgement) {
            let taken = self.native_error(Kind::Parse, Some(judgement), report);
            self.end_unnamed(name);
            return taken;
        }
        self.batch_open = true;
        if self.read_only && self.caps.lock_timeout.is_some() {
            self.hold(judgement.movement(), Slot::Named);
        }
        self.before_locking(&judgement);
        self.clear_name(name);
        let parse = self.settings.pooled.then(|| Bytes::copy_from_slice(body));
        let prepared = Arc::new(Prepared { judgement, parse, epoch: self.epoch, types: self.types(body) });
        let undo = self.names.put_statement(Bytes::copy_from_slice(name), Some(prepared));
        self.queue.push(Pending::shown(Ask::Parse).with_undo(undo));
        self.forward(bytes)
    }

    fn parse_allowed(&self, name: &[u8], bytes: usize, judgement: &Judgement) -> Result<(), Report> {
        unreserved(name)?;
        if self.read_only || self.guards() {
            readable(judgement)?;
        }
        if let Some(report) = self.cannot_wait(judgement).or_else(|| self.leaves_lock(judgement)) {
            return Err(report);
        }
        self.room_for_statement(bytes)?;
        // Behind a pooler the way is cleared for the name, so the server would not say it.
        if self.settings.pooled
            && !name.is_empty()
            && !self.is_aborted(judgement)
            && self.names.statement(name).is_some()
        {
            let text = format!("prepared statement \"{}\" already exists", String::from_utf8_lossy(name));
            return Err(Report::error("42P05", text));
        }
        Ok(())
    }

    /// A Parse of the unnamed statement that was refused has ended the old one, as a failing one does on the server.
    fn end_unnamed(&mut self, name: &[u8]) {
        if !name.is_empty() {
            return;
        }
        let undo = self.names.put_statement(Bytes::new(), None);
        self.queue.end_unnamed_at_last_refusal(undo);
    }

    fn bind(&mut self, portal: &[u8], statement: &[u8], bytes: &[u8]) -> Taken {
        let found = self.names.statement(statement);
        let Some(prepared) = found.filter(|found| found.parse.is_some() || self.is_here(found.epoch)).cloned() else {
            return self.native_error(Kind::Bind, None, no_statement(statement));
        };
        let judgement = Arc::clone(&prepared.judgement);
        let parameters = self.parameters(&judgement, prepared.types.as_deref(), bytes);
        if let Some(denied) = &judgement.refusal {
            self.refuse_judged(Kind::Bind, Arc::clone(&judgement), denied);
            self.tell_parameters(parameters);
            return Taken::Dropped;
        }
        let unfit = unreserved(portal).and_then(|()| self.room_for_portal()).err();
        if let Some(report) = unfit.or_else(|| self.cannot_hold(std::iter::once(judgement.movement()))) {
            self.native_error(Kind::Bind, Some(judgement), report);
            self.tell_parameters(parameters);
            return Taken::Dropped;
        }
        self.batch_open = true;
        self.bind_migration(&judgement, bytes.get(HEADER_BYTES..).unwrap_or_default());
        self.hold(judgement.movement(), Slot::Named);
        self.before_locking(&judgement);
        self.bring_here(statement);
        let bound = self.portal(&judgement, false, parameters);
        let portal = Bytes::copy_from_slice(portal);
        let undo = self.names.put_portal(portal.clone(), Some(bound));
        if judgement.may_set {
            let place = self.queue.answered() + self.queue.len() as u64;
            self.bound = Some(Bound { portal, judgement, place });
        }
        self.queue.push(Pending::shown(Ask::Bind).with_undo(undo));
        self.forward(bytes)
    }

    /// A Bind that may have run functions is recorded, unless this is the Execute that is.
    fn record_bound_before(&mut self, frame: &Frontend<'_>) {
        let Some(bound) = &self.bound else { return };
        match frame {
            Frontend::Execute { portal, .. } if *portal == bound.portal => self.bound = None,
            Frontend::Describe(Target::Portal, portal) if *portal == bound.portal => {}
            _ => self.record_bound(),
        }
    }

    /// No Execute came with the last Bind: what planning may have run is on record before it goes upstream.
    pub fn record_bound(&mut self) {
        let Some(bound) = self.bound.take() else { return };
        let record = self.allowed(Kind::Bind, &bound.judgement);
        self.queue.record(bound.place, record);
    }

    fn describe(&mut self, target: Target, name: &[u8], bytes: &[u8]) -> Taken {
        match target {
            Target::Statement => match self.names.statement(name) {
                Some(found) if found.parse.is_some() || self.is_here(found.epoch) => {}
                _ => return self.native_error(Kind::Bind, None, no_statement(name)),
            },
            Target::Portal => {
                if let Err(report) = self.usable_portal(name) {
                    return self.native_error(Kind::Bind, None, report);
                }
            }
        }
        self.batch_open = true;
        let mut types = None;
        if target == Target::Statement {
            self.bring_here(name);
            types = self.names.statement(name).and_then(|prepared| prepared.types.clone());
        }
        self.queue.push(Pending { types, ..Pending::shown(Ask::Describe) });
        self.forward(bytes)
    }

    fn close(&mut self, target: Target, name: &[u8], bytes: &[u8]) -> Taken {
        let key = Bytes::copy_from_slice(name);
        let (made, undo) = match target {
            Target::Statement => (self.names.statement(name).map(|s| s.epoch), self.names.put_statement(key, None)),
            Target::Portal => (self.names.portal(name).map(|p| p.epoch), self.names.put_portal(key, None)),
        };
        self.batch_open = true;
        self.queue.push(Pending::shown(Ask::Close).with_undo(undo));
        if !self.settings.pooled || name.is_empty() || made.is_some_and(|epoch| self.is_here(epoch)) {
            return self.forward(bytes);
        }
        // Whatever has that name on the server is not this session's; closing what nobody has answers the same.
        write::close(&mut self.out.to_server, target, b"pgwarden_none");
        Taken::Forwarded
    }

    fn execute(&mut self, portal: &[u8], max_rows: i32, bytes: &[u8]) -> Taken {
        let found = match self.usable_portal(portal) {
            Ok(found) => found,
            Err(report) => return self.native_error(Kind::Execute, None, report),
        };
        let parameters = found.parameters.clone();
        let taken = self.execute_found(portal, max_rows, found, bytes);
        self.tell_parameters(parameters);
        taken
    }

    fn execute_found(&mut self, portal: &[u8], max_rows: i32, found: Arc<Portal>, bytes: &[u8]) -> Taken {
        let judgement = Arc::clone(&found.judgement);
        if let Some(denied) = &judgement.refusal {
            self.refuse_judged(Kind::Execute, Arc::clone(&judgement), denied);
            return Taken::Dropped;
        }
        let movement = judgement.movement();
        if self.believed == Believed::Wrapped
            && let Movement::End { end, chain: true } = movement
        {
            let report = no_chain(*end);
            return self.native_error(Kind::Execute, Some(judgement), report);
        }
        let unheld = self.cannot_hold(std::iter::once(movement));
        if let Some(report) = unheld.or_else(|| self.not_in_guard(&judgement.statements)) {
            return self.native_error(Kind::Execute, Some(judgement), report);
        }
        match self.follow(&judgement) {
            Ok(followed) => {
                self.before_locking(&judgement);
                let watch = self.guard_execute(portal, &judgement, max_rows);
                self.send_execute(bytes, found, followed, watch)
            }
            Err(report) => self.native_error(Kind::Execute, Some(judgement), report),
        }
    }

    fn send_execute(&mut self, bytes: &[u8], portal: Arc<Portal>, followed: Followed, watch: Option<Watch>) -> Taken {
        let judgement = &Arc::clone(&portal.judgement);
        let movement = judgement.movement();
        self.batch_open = true;
        self.copies_ended = 0;
        self.hold(movement, Slot::Named);
        for (name, prepared) in &followed.absent {
            self.prepare_here(name, prepared);
        }
        let swallow_warning = self.believed == Believed::Wrapped && *movement == Movement::Begin;
        self.number_transaction(&judgement.statements);
        let record = self.allowed(Kind::Execute, judgement);
        self.guessed |= is_control(movement);
        let counts = watch.as_ref().is_some_and(|watch| watch.withhold);
        self.queue.push(Pending {
            record: Some(record),
            undo: followed.undo,
            notices: with_notices(judgement),
            goes_back: going_back(judgement, 0),
            writes: judgement.writes,
            watch: watch.map(Box::new),
            ..Pending::shown(Ask::Execute { swallow_warning, portal: Some(portal) })
        });
        self.believe(movement);
        self.follow_lock_timeout(judgement);
        self.out.to_server.extend_from_slice(bytes);
        if counts {
            self.ask_count(Slot::Named, Own::CountAfter);
        }
        Taken::Forwarded
    }

    fn sync(&mut self, bytes: &[u8]) -> Taken {
        if self.skip == Skip::Local {
            self.skip = Skip::No;
            write::ready(&mut self.out.to_client, self.status);
            return Taken::Dropped;
        }
        self.out.to_server.extend_from_slice(bytes);
        if self.copy_in {
            return Taken::Forwarded;
        }
        self.skip = Skip::No;
        self.batch_open = false;
        self.guard_ends_batch();
        self.syncs_sent += 1;
        let sync = if self.copies_ended > 0 { Sync::AfterCopy } else { Sync::Plain };
        if self.commits_ahead() {
            self.queue.push(Pending::hidden(Ask::Sync(sync)));
            self.commit_hold(Slot::Named);
        } else if self.guard_is_open() {
            self.queue.push(Pending::hidden(Ask::Sync(sync)));
            self.queue.last_decides();
            self.begin_deciding();
        } else {
            self.queue.push(Pending::shown(Ask::Sync(sync)));
        }
        self.boundary();
        Taken::Forwarded
    }

    /// A batch ended. Outside a transaction the next one may run on another server connection.
    pub(super) fn boundary(&mut self) {
        if self.believed == Believed::Idle {
            self.epoch += 1;
            self.transaction += 1;
            self.end_sent = false;
        }
    }

    /// Numbers the transaction that these statements, about to be sent, leave open: after an end in the same batch it is another.
    pub(super) fn number_transaction(&mut self, statements: &[Statement]) {
        let ends = statements.iter().any(|statement| matches!(statement.movement, Movement::End { .. }));
        if !ends && !self.end_sent {
            return;
        }
        let then =
            statements.iter().fold(self.believed, |believed, statement| hold::after(believed, &statement.movement));
        self.end_sent = !matches!(then, Believed::Client { .. });
        if !self.end_sent {
            self.transaction += 1;
        }
    }

    /// Records that a statement goes upstream; gives the record and the transaction that it belongs to.
    pub(super) fn allowed(&mut self, kind: Kind, judgement: &Arc<Judgement>) -> (u64, u64) {
        let record = self.record();
        self.follow_migration(judgement);
        self.out.events.push(Event::Statement {
            record,
            kind,
            judgement: Some(Arc::clone(judgement)),
            refused: None,
            transaction: self.transaction,
            parameters: None,
        });
        (record, self.transaction)
    }
}

/// What following a text's names came to.
#[derive(Debug, Default)]
pub(super) struct Followed {
    /// Changes to take back, each with the place of the statement that made it.
    pub(super) undo: Vec<(usize, Undo)>,
    /// Statements that it uses and that have to be prepared again first.
    pub(super) absent: Vec<(Bytes, Arc<Prepared>)>,
}

/// The text, if it goes back to savepoints; `first` is the place of the first statement that is sent.
pub(super) fn going_back(judgement: &Arc<Judgement>, first: usize) -> Option<(Arc<Judgement>, usize)> {
    let goes_back = judgement.statements.iter().any(|statement| hold::goes_back(&statement.movement));
    goes_back.then(|| (Arc::clone(judgement), first))
}

pub(super) fn with_notices(judgement: &Arc<Judgement>) -> Option<Arc<Judgement>> {
    (!judgement.notices.is_empty()).then(|| Arc::clone(judgement))
}

/// The hold and the limit on affected rows follow a text's statements, so they take none that they cannot read.
fn readable(judgement: &Judgement) -> Result<(), Report> {
    match judgement.class {
        Class::Unparsed => Err(Report::error("42601", "pgwarden: the statement cannot be parsed")
            .detail(
                "A session that is held read-only or limited in rows takes no text that cannot be read, whatever its policy allows.",
            )),
        _ => Ok(()),
    }
}

/// Names that the proxy itself uses on the server.
fn unreserved(name: &[u8]) -> Result<(), Report> {
    if name.starts_with(b"pgwarden_") {
        let text = format!("pgwarden: the name \"{}\" is reserved", String::from_utf8_lossy(name));
        return Err(Report::error("42939", text).hint("Names that begin with pgwarden_ are the proxy's own."));
    }
    Ok(())
}

/// What the server says to AND CHAIN outside of a transaction block.
pub(super) fn no_chain(end: TransactionEnd) -> Report {
    let word = match end {
        TransactionEnd::Commit => "COMMIT",
        TransactionEnd::Rollback => "ROLLBACK",
    };
    Report::error("25P01", format!("{word} AND CHAIN can only be used in transaction blocks"))
}

/// A name that the server gives to a cursor that is opened without one (`portalmem.c`, `CreateNewPortal`).
fn is_made_up(name: &[u8]) -> bool {
    let number = name.strip_prefix(b"<unnamed portal ").and_then(|rest| rest.strip_suffix(b">"));
    number.is_some_and(|number| !number.is_empty() && number.iter().all(u8::is_ascii_digit))
}

fn no_portal(word: &str, name: &[u8]) -> Report {
    Report::error("34000", format!("{word} \"{}\" does not exist", String::from_utf8_lossy(name)))
}

fn key(name: &str) -> Bytes {
    Bytes::copy_from_slice(name.as_bytes())
}

fn stale(judgement: Option<&Arc<Judgement>>, stamp: u64) -> Need {
    match judgement {
        Some(old) if old.stamp != stamp => Need::Stale(Arc::clone(&old.text)),
        _ => Need::Nothing,
    }
}

fn no_statement(name: &[u8]) -> Report {
    let text = if name.is_empty() {
        "unnamed prepared statement does not exist".to_owned()
    } else {
        format!("prepared statement \"{}\" does not exist", String::from_utf8_lossy(name))
    };
    Report::error("26000", text)
}

fn denied_report(denied: &crate::decision::Refusal) -> Report {
    let mut report = Report::error(denied.sqlstate, denied.message.clone()).detail(denied.detail.clone());
    report.hint.clone_from(&denied.hint);
    report
}

fn over(what: &str, limit: usize, option: &str) -> Report {
    Report::error("54000", format!("pgwarden: this session holds too many {what}: the limit is {limit}"))
        .hint(format!("Close some, or raise `limits.{option}`."))
}
