//! A session's limits in time. One timer, set to what is due first; none where policy sets none.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::time::Sleep;

use crate::policy::PolicyLimits;
use crate::session::Session;
use crate::wire::backend::Status;

/// A limit that was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// A statement runs too long: its server is asked to cancel it.
    Statement,
    /// A transaction is idle too long.
    IdleInTransaction,
    /// A transaction is open too long.
    Transaction,
    /// The session lasts too long.
    Session,
}

/// The limits and when each began to count.
#[derive(Debug)]
pub struct Timers {
    limits: PolicyLimits,
    session: Instant,
    /// How many answers had come when the one that is awaited was begun, and when that was.
    statement: Option<(u64, Instant)>,
    cancelled: Option<u64>,
    transaction: Option<Instant>,
    idle: Option<Instant>,
    next: Option<(Instant, Due)>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Timers {
    /// Starts the session's clock.
    pub fn new(limits: &PolicyLimits, now: Instant) -> Timers {
        Timers {
            limits: limits.clone(),
            session: now,
            statement: None,
            cancelled: None,
            transaction: None,
            idle: None,
            next: None,
            sleep: None,
        }
    }

    /// A new policy's limits apply from now on.
    pub fn limits(&mut self, limits: &PolicyLimits) {
        self.limits = limits.clone();
    }

    /// Whether policy limits anything in time.
    pub fn are_set(&self) -> bool {
        let limits = &self.limits;
        limits.statement_timeout.is_some()
            || limits.idle_in_transaction_timeout.is_some()
            || limits.transaction_timeout.is_some()
            || limits.max_session_duration.is_some()
    }

    /// Looks at where the session stands and sets the timer.
    pub fn watch(&mut self, session: &Session, busy: bool) {
        if !self.are_set() {
            self.next = None;
            return;
        }
        let now = Instant::now();
        let in_transaction = session.status() != Status::Idle || session.is_in_batch();
        self.statement = match (busy, self.statement) {
            (false, _) => None,
            (true, Some((answers, since))) if answers == session.answers() => Some((answers, since)),
            (true, _) => Some((session.answers(), now)),
        };
        self.transaction = in_transaction.then(|| self.transaction.unwrap_or(now));
        self.idle = (in_transaction && !busy).then(|| self.idle.unwrap_or(now));
        self.next = self.first();
    }

    fn first(&self) -> Option<(Instant, Due)> {
        let limits = &self.limits;
        let running = self.statement.filter(|(answers, _)| self.cancelled != Some(*answers)).map(|(_, since)| since);
        [
            (running, limits.statement_timeout, Due::Statement),
            (self.idle, limits.idle_in_transaction_timeout, Due::IdleInTransaction),
            (self.transaction, limits.transaction_timeout, Due::Transaction),
            (Some(self.session), limits.max_session_duration, Due::Session),
        ]
        .into_iter()
        .filter_map(|(since, limit, due)| Some((since?.checked_add(limit?)?, due)))
        .min_by_key(|(at, _)| *at)
    }

    /// Ready when a limit is reached.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<Due> {
        let Some((at, due)) = self.next else { return Poll::Pending };
        let deadline = tokio::time::Instant::from_std(at);
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        // A timer that fires early is set again: moving it back with every statement would cost more.
        loop {
            if sleep.deadline() > deadline {
                sleep.as_mut().reset(deadline);
            }
            match sleep.as_mut().poll(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(()) if tokio::time::Instant::now() < deadline => sleep.as_mut().reset(deadline),
                Poll::Ready(()) => break,
            }
        }
        self.sleep = None;
        if due == Due::Statement {
            self.cancelled = self.statement.map(|(answers, _)| answers);
        }
        self.next = None;
        Poll::Ready(due)
    }
}
