//! The thin driver of one session: two sockets, the pure session between them, and nothing else.
//!
//! One task, one loop: take what the client sent, record, write; take what the server sent, write; wait for either.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::task::JoinHandle;

use crate::audit::Round;
use crate::decision::{Door, Judgement, Scope};
use crate::session::{
    AffectedCap, Caps, Checkpoint, Event, Fault, Kind, LockTimeout, Need, Session, Taken, text_of_call,
};
use crate::wire::backend::Status;
use crate::wire::frontend::{self, Frontend, tag};
use crate::wire::report::Report;
use crate::wire::{HEADER_BYTES, Header, Peek, peek};

use super::buffers;
use super::catalogs::Watch;
use super::control::{Command, Control, Standing};
use super::latency::Latency;
use super::records::Recorder;
use super::stream::Stream;
use super::timers::{Due, Timers};

/// Bytes read at once.
const READ_BYTES: usize = 128 << 10;
/// Above this much unwritten, the other side is not read.
const HIGH_WATER: usize = 256 << 10;
/// Texts above this are read on a thread of their own, so that no other session waits.
const ELSEWHERE_BYTES: usize = 16 << 10;
/// Binds above this are passed on in pieces.
const PIECES_BYTES: usize = 64 << 10;
/// Largest body of a message that only names things.
const NAMES_BYTES: usize = 64 << 10;
/// How long a goodbye may take.
const GOODBYE: Duration = Duration::from_secs(2);

/// Why a session ended.
#[derive(Debug)]
pub enum End {
    /// The client said goodbye.
    ClientLeft,
    /// The client's connection closed or broke.
    ClientGone,
    /// The server's connection closed or broke.
    ServerGone,
    /// pgwarden ended it, with this error.
    Ended(&'static str, Box<Report>),
}

impl End {
    /// The reason as records tell it.
    pub fn reason(&self) -> &'static str {
        match self {
            End::ClientLeft => "client left",
            End::ClientGone => "client connection lost",
            End::ServerGone => "server connection lost",
            End::Ended(reason, _) => reason,
        }
    }
}

/// Limits on single messages.
#[derive(Clone, Copy, Debug)]
pub struct MessageLimits {
    /// Longest statement text.
    pub statement_bytes: usize,
    /// Longest message of any kind.
    pub message_bytes: usize,
}

/// A session with its sockets.
pub struct Driver {
    /// The client.
    pub client: Stream,
    /// The endpoint.
    pub server: Stream,
    /// The protocol session.
    pub session: Session,
    /// Where statements are judged.
    pub door: Arc<Door>,
    /// Who logged in.
    pub user: String,
    /// To which database.
    pub database: String,
    /// Under which policy.
    pub scope: Arc<Scope>,
    /// Limits on single messages.
    pub limits: MessageLimits,
    /// Commands from outside.
    pub control: Arc<Control>,
    /// Where records go.
    pub recorder: Recorder,
    /// Limits in time.
    pub timers: Timers,
    /// Keeps what is known of the database up to date.
    pub watch: Option<Watch>,
    /// The number of the grants that its scope was asked for under.
    grants: u64,
    /// Whether this session changed definitions that it must not judge by any more.
    doubt: Doubt,
    client_in: BytesMut,
    server_in: BytesMut,
    client_closed: bool,
    leaving: bool,
    stalled: bool,
    flush_client: bool,
    flush_server: bool,
    /// Bytes of a forwarded message's body still to come.
    body_left: usize,
    /// Bytes of a dropped message's body still to come.
    drop_left: usize,
    forwarded_at: VecDeque<(u64, Instant)>,
    latency: Latency,
    /// A cancel request that is on its way.
    cancelling: Option<JoinHandle<()>>,
}

/// Where a session stood before it took what its client sent.
struct Before {
    session: Checkpoint,
    body_left: usize,
    drop_left: usize,
}

/// What a session may believe of the database's definitions, after what it did to them itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doubt {
    /// All that is known.
    None,
    /// Nothing: its transaction may not have ended.
    Open,
    /// Nothing until this wish is answered.
    Until(u64),
}

enum Step {
    /// So many bytes were taken.
    Took(usize),
    /// More bytes are needed, or answers.
    Wait,
    /// This text is to be judged on another thread first.
    Elsewhere(Arc<str>),
}

/// What a session is made of, beside what it starts with.
pub struct Parts {
    /// The client, and what it sent already.
    pub client: (Stream, BytesMut),
    /// The endpoint, and what it sent already.
    pub server: (Stream, BytesMut),
    /// The protocol session.
    pub session: Session,
    /// Where statements are judged.
    pub door: Arc<Door>,
    /// Who logged in.
    pub user: String,
    /// To which database.
    pub database: String,
    /// Under which policy.
    pub scope: Arc<Scope>,
    /// Limits on single messages.
    pub limits: MessageLimits,
    /// Commands from outside.
    pub control: Arc<Control>,
    /// Where records go.
    pub recorder: Recorder,
    /// Limits in time.
    pub timers: Timers,
    /// Keeps what is known of the database up to date.
    pub watch: Option<Watch>,
}

thread_local! {
    /// What a thread reads into: idle sessions hold no buffers.
    static SCRATCH: std::cell::RefCell<Vec<u8>> = std::cell::RefCell::new(vec![0; READ_BYTES]);
}

impl Driver {
    /// Puts a session between its sockets.
    pub fn new(parts: Parts) -> Driver {
        let mut session = parts.session;
        session.cap(caps(&parts.scope));
        session.record_parameters(parts.scope.policy().recording.parameters);
        session.rely_on_reading(parts.scope.policy().relies_on_reading());
        Driver {
            client: parts.client.0,
            server: parts.server.0,
            session,
            door: parts.door,
            user: parts.user,
            database: parts.database,
            scope: parts.scope,
            limits: parts.limits,
            control: parts.control,
            recorder: parts.recorder,
            timers: parts.timers,
            watch: parts.watch,
            // Grants may have changed since the login: the first statement asks.
            grants: 0,
            doubt: Doubt::None,
            client_in: left_over(parts.client.1),
            server_in: left_over(parts.server.1),
            client_closed: false,
            leaving: false,
            stalled: false,
            flush_client: true,
            flush_server: false,
            body_left: 0,
            drop_left: 0,
            forwarded_at: VecDeque::new(),
            latency: Latency::new(),
            cancelling: None,
        }
    }

    /// Runs the session to its end.
    pub async fn run(mut self) -> End {
        let end = loop {
            if let Err(end) = self.turn().await {
                break end;
            }
        };
        self.goodbye(&end).await;
        let last = self.session.abandon();
        self.recorder.finish(last, end.reason(), &mut self.forwarded_at);
        end
    }

    /// One round: take what came, record it, wait for more.
    async fn turn(&mut self) -> Result<(), End> {
        self.obey()?;
        let before =
            Before { session: self.session.checkpoint(), body_left: self.body_left, drop_left: self.drop_left };
        let taken = self.take_client().await?;
        let sends = self.session.out.events.iter().any(is_allowed);
        if let Some(round) = self.record() {
            others_first().await;
            if self.recorder.settle(round).is_err() && sends {
                // Nothing of it has gone upstream. The same messages again: now each is refused.
                self.go_back(&before);
                return Ok(());
            }
        }
        self.client_in.advance(taken);
        buffers::give_back(&mut self.client_in);
        if self.leaving {
            return Err(End::ClientLeft);
        }
        self.settle_doubt();
        self.timers.watch(&self.session, self.session.in_flight() > 0);
        self.control.stands(standing(&self.session));
        self.wait().await
    }

    // ----- the client's bytes -----

    /// Takes what is there; gives how many bytes that were. They stay until what they do is on record.
    async fn take_client(&mut self) -> Result<usize, End> {
        if self.client_in.is_empty() {
            return Ok(0);
        }
        buffers::take(&mut self.session.out.to_server);
        let input = std::mem::take(&mut self.client_in);
        let mut at = 0;
        let mut ready = None;
        let result = loop {
            if self.leaving {
                break Ok(at);
            }
            let rest = input.get(at..).unwrap_or_default();
            match self.step(rest, ready.take()) {
                Ok(Step::Took(taken)) => at += taken,
                Ok(Step::Wait) => break Ok(at),
                Ok(Step::Elsewhere(text)) => match self.judge_elsewhere(text).await {
                    Ok(judgement) => ready = Some(judgement),
                    Err(end) => break Err(end),
                },
                Err(end) => break Err(end),
            }
        };
        self.client_in = input;
        self.session.record_bound();
        result
    }

    /// Takes one message, or a piece of one.
    fn step(&mut self, rest: &[u8], ready: Option<Arc<Judgement>>) -> Result<Step, End> {
        self.stalled = false;
        if rest.is_empty()
            || self.session.out.to_server.len() > HIGH_WATER
            || self.session.out.to_client.len() > HIGH_WATER
        {
            return Ok(Step::Wait);
        }
        if self.body_left > 0 {
            let piece = rest.get(..self.body_left.min(rest.len())).unwrap_or_default();
            self.session.out.to_server.extend_from_slice(piece);
            self.body_left -= piece.len();
            return Ok(Step::Took(piece.len()));
        }
        if self.drop_left > 0 {
            let piece = self.drop_left.min(rest.len());
            self.drop_left -= piece;
            return Ok(Step::Took(piece));
        }
        let header = match peek(rest) {
            Peek::Partial => return Ok(Step::Wait),
            Peek::Bad => return Err(protocol_violation("invalid message length")),
            Peek::Header(header) => header,
        };
        if !frontend::is_known(header.tag) {
            return Err(protocol_violation(format!("invalid frontend message type {}", header.tag)));
        }
        if self.session.is_deciding() && header.tag != tag::FLUSH {
            self.stalled = true;
            return Ok(Step::Wait);
        }
        if let Some(step) = self.oversized(header)? {
            return Ok(step);
        }
        let available = rest.len().min(header.message_bytes());
        let bytes = rest.get(..available).unwrap_or_default();
        let body = bytes.get(HEADER_BYTES..).unwrap_or_default();
        if available < header.message_bytes() && !in_pieces(header, body, self.session.wants_of_bind()) {
            return Ok(Step::Wait);
        }
        self.take(header, bytes, body, ready)
    }

    /// A message longer than its kind may be: refused where the session can go on, otherwise the end.
    fn oversized(&mut self, header: Header) -> Result<Option<Step>, End> {
        let (limit, kind) = match header.tag {
            tag::QUERY => (self.limits.statement_bytes, Some(Kind::Simple)),
            tag::PARSE => (self.limits.statement_bytes, Some(Kind::Parse)),
            tag::BIND | tag::COPY_DATA | tag::FUNCTION_CALL => (self.limits.message_bytes, None),
            _ => (NAMES_BYTES, None),
        };
        if header.body_bytes <= limit.saturating_add(1024) {
            return Ok(None);
        }
        let Some(kind) = kind else {
            return Err(protocol_violation(format!("a message of {} bytes is over the limit", header.body_bytes)));
        };
        let text = format!("pgwarden: a statement of {} bytes is over the limit of {limit}", header.body_bytes);
        self.session.refuse_frame(kind, Report::error("54000", text).hint("Raise `limits.statement_bytes`."));
        self.drop_left = header.body_bytes;
        Ok(Some(Step::Took(HEADER_BYTES)))
    }

    fn take(&mut self, header: Header, bytes: &[u8], body: &[u8], ready: Option<Arc<Judgement>>) -> Result<Step, End> {
        let frame = match frontend::view(header.tag, body) {
            Ok(frame) => frame,
            Err(why) => {
                self.session.malformed(header.tag, why).map_err(fault)?;
                return Ok(Step::Took(bytes.len()));
            }
        };
        // Before it is asked what has to wait: a hold that comes back must not build on a guess.
        self.follow_policy()?;
        // What is asked for while a cancel request is on its way, the request may meet in place of what it is for.
        if self.session.stalls(&frame) || (self.cancelling.is_some() && frame.asks()) {
            self.stalled = true;
            return Ok(Step::Wait);
        }
        if let Some(kind) = needs_record(&frame)
            && let Err(report) = self.recorder.check()
        {
            self.session.refuse_frame(kind, report);
            // Of a message that came in pieces, what is still to come is none of its own.
            self.drop_left = header.message_bytes() - bytes.len();
            return Ok(Step::Took(bytes.len()));
        }
        let judged = match self.judge(&frame, ready) {
            Ok(judged) => judged,
            Err(step) => return Ok(step),
        };
        let taken = self.session.client(&frame, bytes, judged).map_err(fault)?;
        let missing = header.message_bytes() - bytes.len();
        match taken {
            Taken::Forwarded => self.body_left = missing,
            Taken::Dropped => self.drop_left = missing,
            Taken::Leaving => self.leaving = true,
        }
        Ok(Step::Took(bytes.len()))
    }

    /// Judges what the session asks for; `Err` when that is to be done on another thread first.
    fn judge(&mut self, frame: &Frontend<'_>, ready: Option<Arc<Judgement>>) -> Result<Option<Arc<Judgement>>, Step> {
        let mut ready = ready;
        let mut judged = None;
        let mut need = self.session.need(frame, self.scope.stamp());
        loop {
            match need {
                Need::Nothing => return Ok(judged),
                Need::Text => {
                    let text = match frame {
                        Frontend::Query(text) | Frontend::Parse { text, .. } => *text,
                        Frontend::FunctionCall(function) => match text_of_call(*function) {
                            Some(text) => text.as_bytes(),
                            None => return Ok(None),
                        },
                        _ => return Ok(None),
                    };
                    let judgement = self.judge_text(text, &mut ready)?;
                    need = match frame {
                        Frontend::Query(_) => self.session.need_within(&judgement, self.scope.stamp()),
                        _ => Need::Nothing,
                    };
                    judged = Some(judgement);
                }
                Need::Stale(text) => {
                    let fresh = self.judge_text(text.as_bytes(), &mut ready)?;
                    self.session.rejudged(&fresh);
                    need = match &judged {
                        Some(judgement) => self.session.need_within(judgement, self.scope.stamp()),
                        None => self.session.need(frame, self.scope.stamp()),
                    };
                }
            }
        }
    }

    fn judge_text(&self, text: &[u8], ready: &mut Option<Arc<Judgement>>) -> Result<Arc<Judgement>, Step> {
        let Some(text) = self.session.text_settings().readable(text) else { return Ok(self.scope.not_utf8(text)) };
        // What was judged elsewhere counts unless the policy or a grant has changed meanwhile.
        let stamp = self.scope.stamp();
        if let Some(judgement) = ready.take_if(|judgement| *judgement.text == *text && judgement.stamp == stamp) {
            return Ok(judgement);
        }
        if text.len() > ELSEWHERE_BYTES && !self.scope.knows(&text) {
            return Err(Step::Elsewhere(Arc::from(&*text)));
        }
        Ok(self.scope.judge(&text))
    }

    async fn judge_elsewhere(&self, text: Arc<str>) -> Result<Arc<Judgement>, End> {
        let scope = Arc::clone(&self.scope);
        let judged = tokio::task::spawn_blocking(move || scope.judge(&text)).await;
        judged.map_err(|_| {
            let report = Report::fatal("XX000", "pgwarden: the statement could not be judged");
            End::Ended("judging failed", Box::new(report))
        })
    }

    /// When the transaction has ended in which definitions changed, the database is asked what they are now.
    fn settle_doubt(&mut self) {
        let ended = self.session.is_quiet() && self.session.status() == Status::Idle;
        if self.doubt == Doubt::Open && ended {
            self.doubt =
                self.watch.as_ref().map_or(Doubt::None, |watch| Doubt::Until(watch.want(&self.door, &self.database)));
        }
    }

    /// Whether what was known of the database's definitions is still doubted.
    fn doubts(&mut self) -> bool {
        self.settle_doubt();
        if let Doubt::Until(wish) = self.doubt
            && self.scope.cell().is_none_or(|cell| cell.answered() >= wish)
        {
            self.doubt = Doubt::None;
        }
        self.doubt != Doubt::None
    }

    /// A configuration loaded since the last statement applies from this one on, and so do grants and their ends, and what was
    /// learnt of the database.
    fn follow_policy(&mut self) -> Result<(), End> {
        let doubts = self.doubt != Doubt::None && self.doubts();
        // Read first: what changes meanwhile is asked for at the next message.
        let grants = self.door.grants().number();
        if self.scope.doubts() == doubts && self.grants == grants && self.door.is_current(&self.scope) {
            return Ok(());
        }
        self.grants = grants;
        match self.door.readmit(&self.user, &self.database, &self.scope, doubts) {
            Some(admission) => {
                let scope = admission.scope;
                self.session.hold_read_only(scope.holds_read_only());
                self.session.cap(caps(&scope));
                self.session.record_parameters(scope.policy().recording.parameters);
                self.session.rely_on_reading(scope.policy().relies_on_reading());
                if self.session.is_misread() {
                    let text = "pgwarden: statements would be read otherwise than they are judged";
                    let report = Report::fatal("08P01", text)
                        .detail("This session set standard_conforming_strings or client_encoding while its policy restrained nothing.");
                    return Err(End::Ended("policy relies on reading", Box::new(report)));
                }
                self.timers.limits(&scope.policy().limits);
                self.scope = scope;
                Ok(())
            }
            None => {
                let text = "pgwarden: this user no longer has a role in this environment";
                Err(End::Ended("role withdrawn", Box::new(Report::fatal("28000", text))))
            }
        }
    }

    /// Hands in the record of what happened since the last time. Statements go upstream only after the round is settled.
    fn record(&mut self) -> Option<Round> {
        if self.session.out.events.is_empty() {
            return None;
        }
        if self.session.out.events.iter().any(redefines) {
            self.doubt = Doubt::Open;
        }
        self.recorder.record(&mut self.session.out.events, &self.scope, &mut self.forwarded_at)
    }

    fn go_back(&mut self, before: &Before) {
        self.session.go_back(&before.session);
        self.body_left = before.body_left;
        self.drop_left = before.drop_left;
        self.leaving = false;
        metrics::counter!("pgwarden_audit_rounds_taken_back_total").increment(1);
    }

    // ----- waiting -----

    async fn wait(&mut self) -> Result<(), End> {
        let due = poll_fn(|context| self.poll(context)).await?;
        if let Some(due) = due {
            self.overdue(due)?;
        }
        Ok(())
    }

    fn poll(&mut self, context: &mut TaskContext<'_>) -> Poll<Result<Option<Due>, End>> {
        let mut progress = false;
        progress |= self.poll_write_server(context)?;
        let answered = self.poll_read_server(context)?;
        // An answer moves what the client's next message waits for, what is timed, whether a drain ends the session, and whether
        // changed definitions can be asked for.
        let moves = self.stalled || self.timers.are_set() || self.control.is_commanded() || self.doubt == Doubt::Open;
        if answered && moves {
            progress = true;
        }
        progress |= self.poll_write_client(context)?;
        progress |= self.poll_cancelling(context);
        progress |= self.poll_read_client(context)?;
        if progress || self.control.is_pending(context) {
            return Poll::Ready(Ok(None));
        }
        match self.timers.poll(context) {
            Poll::Ready(due) => Poll::Ready(Ok(Some(due))),
            Poll::Pending => Poll::Pending,
        }
    }

    fn poll_write_server(&mut self, context: &mut TaskContext<'_>) -> Result<bool, End> {
        let had = self.session.out.to_server.len();
        if write_out(&mut self.server, &mut self.session.out.to_server, &mut self.flush_server, context).is_err() {
            // What the server said before it closed is still to be read.
            self.session.out.to_server.clear();
        }
        if had > 0 && self.session.out.to_server.is_empty() {
            self.latency.sent();
        }
        Ok(had > HIGH_WATER && self.session.out.to_server.len() <= HIGH_WATER)
    }

    fn poll_write_client(&mut self, context: &mut TaskContext<'_>) -> Result<bool, End> {
        let had = self.session.out.to_client.len();
        write_out(&mut self.client, &mut self.session.out.to_client, &mut self.flush_client, context)
            .map_err(|_| End::ClientGone)?;
        Ok(had > HIGH_WATER && self.session.out.to_client.len() <= HIGH_WATER)
    }

    fn poll_read_client(&mut self, context: &mut TaskContext<'_>) -> Result<bool, End> {
        if self.stalled || self.client_closed || self.session.out.to_server.len() > HIGH_WATER {
            return Ok(false);
        }
        SCRATCH.with_borrow_mut(|scratch| match read_in(&mut self.client, scratch, context) {
            Poll::Pending => Ok(false),
            Poll::Ready(Ok(0)) | Poll::Ready(Err(_)) => Err(End::ClientGone),
            Poll::Ready(Ok(count)) => {
                self.latency.heard();
                buffers::take(&mut self.client_in);
                self.client_in.extend_from_slice(scratch.get(..count).unwrap_or_default());
                Ok(true)
            }
        })
    }

    /// Reads as long as the server has something and the client takes it.
    fn poll_read_server(&mut self, context: &mut TaskContext<'_>) -> Result<bool, End> {
        let mut answered = false;
        SCRATCH.with_borrow_mut(|scratch| {
            while self.session.out.to_client.len() <= HIGH_WATER {
                match read_in(&mut self.server, scratch, context) {
                    Poll::Pending => break,
                    Poll::Ready(Ok(0)) | Poll::Ready(Err(_)) => return Err(End::ServerGone),
                    Poll::Ready(Ok(count)) => {
                        answered = true;
                        self.take_server(scratch.get(..count).unwrap_or_default())?;
                        self.poll_write_client(context)?;
                    }
                }
            }
            Ok(())
        })?;
        if answered {
            // What an answer brings to be recorded promises nothing.
            if let Some(round) = self.record() {
                let _ = self.recorder.settle(round);
            }
            if std::mem::take(&mut self.session.out.cancel) {
                self.cancel();
            }
            self.control.stands(standing(&self.session));
            // An answer may have asked for more of the server.
            self.poll_write_server(context)?;
        }
        Ok(answered)
    }

    fn take_server(&mut self, fresh: &[u8]) -> Result<(), End> {
        buffers::take(&mut self.session.out.to_client);
        let taken = if self.server_in.is_empty() {
            let taken = self.session.server(fresh);
            if let Ok(taken) = taken {
                self.server_in.extend_from_slice(fresh.get(taken..).unwrap_or_default());
            }
            taken.map(|_| 0)
        } else {
            self.server_in.extend_from_slice(fresh);
            self.session.server(&self.server_in)
        };
        match taken {
            Ok(taken) => {
                self.server_in.advance(taken);
                buffers::give_back(&mut self.server_in);
                match self.session.out.end.take() {
                    Some(report) => Err(End::Ended("a result was cut", Box::new(report))),
                    None => Ok(()),
                }
            }
            Err(fault) => {
                tracing::error!(session = %self.recorder.session(), %fault, "the endpoint broke the protocol");
                let report = Report::fatal("08P01", format!("pgwarden: {fault}"));
                Err(End::Ended("endpoint broke the protocol", Box::new(report)))
            }
        }
    }

    // ----- commands and time -----

    /// Asks the server to cancel what it runs, without waiting for it.
    fn cancel(&mut self) {
        let control = Arc::clone(&self.control);
        let earlier = self.cancelling.take();
        self.cancelling = Some(tokio::spawn(async move {
            if let Some(earlier) = earlier {
                let _ = earlier.await;
            }
            control.cancel().await;
        }));
    }

    /// Whether a cancel request has just reached its end.
    fn poll_cancelling(&mut self, context: &mut TaskContext<'_>) -> bool {
        let over = self.cancelling.as_mut().is_some_and(|request| Pin::new(request).poll(context).is_ready());
        if over {
            self.cancelling = None;
        }
        over
    }

    fn obey(&mut self) -> Result<(), End> {
        match self.control.command() {
            Command::None => Ok(()),
            Command::Drain if self.session.is_quiet() && self.session.status() == Status::Idle => {
                let report = Report::fatal("57P01", "terminating connection due to administrator command");
                Err(End::Ended("shutdown", Box::new(report.detail("pgwarden is shutting down."))))
            }
            Command::Drain => Ok(()),
            Command::Stop => {
                let report = Report::fatal("57P01", "terminating connection due to administrator command");
                Err(End::Ended("shutdown", Box::new(report.detail("pgwarden is shutting down."))))
            }
            Command::Kill => {
                let report = Report::fatal("57P01", "terminating connection due to administrator command");
                Err(End::Ended("ended by an operator", Box::new(report)))
            }
        }
    }

    fn overdue(&mut self, due: Due) -> Result<(), End> {
        match due {
            Due::Statement => {
                let report = Report::error("57014", "canceling statement due to statement timeout")
                    .detail(format!("The policy `{}` limits how long a statement may run.", self.scope.policy_name()));
                self.session.interrupt(&report);
                self.cancel();
                Ok(())
            }
            Due::IdleInTransaction => {
                let report = Report::fatal("25P03", "terminating connection due to idle-in-transaction timeout");
                Err(End::Ended("idle in transaction", Box::new(report)))
            }
            Due::Transaction => {
                let report = Report::fatal("25P04", "terminating connection due to transaction timeout");
                Err(End::Ended("transaction timeout", Box::new(report)))
            }
            Due::Session => {
                let text = "pgwarden: this session has reached its longest duration";
                Err(End::Ended("session timeout", Box::new(Report::fatal("57P05", text))))
            }
        }
    }

    /// Tells the client why, and the server that we leave. Whoever does not take it in time is left.
    async fn goodbye(&mut self, end: &End) {
        match end {
            End::Ended(_, report) => self.session.tell_client(report),
            // A client takes one reason for the end: the server's own, where it gave one.
            End::ServerGone if self.session.server_said_why() => {}
            End::ServerGone => {
                let report = Report::fatal("08006", "pgwarden: the endpoint closed the connection");
                self.session.tell_client(&report);
            }
            End::ClientLeft | End::ClientGone => {}
        }
        if matches!(end, End::Ended(..) | End::ClientGone) {
            self.session.leave_server();
        }
        let both = async {
            let client = async {
                let _ = self.client.write_all(&self.session.out.to_client).await;
                let _ = self.client.shutdown().await;
            };
            let server = async {
                let _ = self.server.write_all(&self.session.out.to_server).await;
                let _ = self.server.shutdown().await;
            };
            tokio::join!(client, server)
        };
        let _ = tokio::time::timeout(GOODBYE, both).await;
    }
}

/// Whether an event is of a statement that is about to go upstream.
fn is_allowed(event: &Event) -> bool {
    matches!(event, Event::Statement { refused: None, .. })
}

/// Whether an event is a statement that goes upstream and may change what the database's own names mean.
fn redefines(event: &Event) -> bool {
    match event {
        Event::Statement { judgement: Some(judgement), refused: None, .. } => judgement.redefines,
        Event::Statement { .. } | Event::Outcome(_) | Event::TransactionEnd { .. } => false,
    }
}

/// Lets the other sessions of this thread that are ready hand in their records, so that one write serves them all.
async fn others_first() {
    let mut gone = false;
    poll_fn(|context| {
        if std::mem::replace(&mut gone, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// What came with the login and is not taken yet; an empty buffer is let go of.
fn left_over(buffer: BytesMut) -> BytesMut {
    if buffer.is_empty() { BytesMut::new() } else { buffer }
}

/// What the session does, for people.
fn standing(session: &Session) -> Standing {
    match (session.in_flight() > 0, session.status()) {
        (true, _) => Standing::Active,
        (false, Status::Idle) => Standing::Idle,
        (false, Status::InTransaction) => Standing::IdleInTransaction,
        (false, Status::Failed) => Standing::Failed,
    }
}

fn caps(scope: &Scope) -> Caps {
    let policy = scope.policy();
    let affected = policy.limits.max_affected_rows.filter(|_| !policy.observe).map(|rows| AffectedCap {
        rows,
        whose: Arc::from(format!("role `{}` in `{}`", scope.role(), scope.environment())),
        policy: Arc::clone(scope.policy_name()),
    });
    let lock_timeout = policy.limits.lock_timeout.filter(|_| !policy.observe);
    Caps {
        result_rows: policy.limits.max_result_rows,
        result_bytes: policy.limits.max_result_bytes,
        affected,
        lock_timeout: lock_timeout.map(|limit| LockTimeout::new(limit.as_millis())),
    }
}

fn protocol_violation(text: impl Into<String>) -> End {
    End::Ended("protocol violation", Box::new(Report::fatal("08P01", text)))
}

fn fault(fault: Fault) -> End {
    protocol_violation(fault.to_string())
}

/// Whether a message may be taken before all of it is there; of a Bind, so much is wanted.
fn in_pieces(header: Header, body: &[u8], of_bind: usize) -> bool {
    match header.tag {
        tag::COPY_DATA => true,
        tag::FUNCTION_CALL => header.body_bytes > PIECES_BYTES && frontend::function_call(body).is_some(),
        tag::BIND => body.len() >= of_bind && header.body_bytes > PIECES_BYTES && frontend::bind(body).is_some(),
        _ => false,
    }
}

/// Whether a message makes the server do something that must be on record first.
fn needs_record(frame: &Frontend<'_>) -> Option<Kind> {
    match frame {
        Frontend::Query(_) => Some(Kind::Simple),
        Frontend::Bind { .. } => Some(Kind::Bind),
        Frontend::Execute { .. } => Some(Kind::Execute),
        Frontend::FunctionCall(_) => Some(Kind::FunctionCall),
        _ => None,
    }
}

fn read_in(stream: &mut Stream, scratch: &mut [u8], context: &mut TaskContext<'_>) -> Poll<io::Result<usize>> {
    let mut buffer = ReadBuf::new(scratch);
    match Pin::new(stream).poll_read(context, &mut buffer) {
        Poll::Pending => Poll::Pending,
        Poll::Ready(Ok(())) => Poll::Ready(Ok(buffer.filled().len())),
        Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
    }
}

/// Writes as much as the socket takes.
fn write_out(
    stream: &mut Stream,
    bytes: &mut BytesMut,
    flush: &mut bool,
    context: &mut TaskContext<'_>,
) -> io::Result<()> {
    while !bytes.is_empty() {
        match Pin::new(&mut *stream).poll_write(context, bytes) {
            Poll::Pending => return Ok(()),
            Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
            Poll::Ready(Ok(count)) => {
                bytes.advance(count);
                *flush = true;
            }
            Poll::Ready(Err(error)) => return Err(error),
        }
    }
    buffers::give_back(bytes);
    if *flush
        && stream.is_tls()
        && let Poll::Ready(flushed) = Pin::new(stream).poll_flush(context)
    {
        *flush = false;
        flushed?;
    }
    Ok(())
}
