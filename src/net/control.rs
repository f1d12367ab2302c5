//! What the rest of the process may ask of one session's task, and what it may know of it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Context;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use atomic_waker::AtomicWaker;

use crate::decision::Judgement;

use super::cancel::{Entry, Target};
use super::upstream::Connector;

/// A command to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Command {
    /// Go on.
    None = 0,
    /// End as soon as no transaction is open.
    Drain = 1,
    /// End now: the drain's deadline has passed.
    Stop = 2,
    /// End now: an operator says so.
    Kill = 3,
}

/// Who a session is, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its id.
    pub session: Arc<str>,
    /// Who logged in.
    pub user: String,
    /// In which role.
    pub role: String,
    /// In which environment.
    pub environment: String,
    /// To which database.
    pub database: String,
    /// By which endpoint.
    pub endpoint: &'static str,
    /// From where.
    pub client: SocketAddr,
    /// With which tool, as it says itself.
    pub application: String,
}

/// One session's handle.
#[derive(Debug)]
pub struct Control {
    /// Who it is.
    pub identity: Identity,
    /// When it began.
    pub since: std::time::SystemTime,
    command: AtomicU8,
    seen: AtomicU8,
    waker: AtomicWaker,
    target: OnceLock<(Target, Connector, Entry)>,
    begun: Instant,
    statements: AtomicU64,
    rows: AtomicU64,
    bytes: AtomicU64,
    /// When the statement that ran last was sent, in microseconds since the session began.
    sent_us: AtomicU64,
    standing: AtomicU8,
    statement: ArcSwapOption<Judgement>,
}

/// What a session does now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Nothing, outside a transaction.
    Idle,
    /// Nothing, inside a transaction.
    IdleInTransaction,
    /// Nothing, inside a transaction that failed.
    Failed,
    /// A statement is running.
    Active,
}

impl Control {
    /// A handle for a session that begins.
    pub fn new(identity: Identity) -> Control {
        Control {
            identity,
            since: std::time::SystemTime::now(),
            command: AtomicU8::new(0),
            seen: AtomicU8::new(0),
            waker: AtomicWaker::new(),
            target: OnceLock::new(),
            begun: Instant::now(),
            statements: AtomicU64::new(0),
            rows: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            sent_us: AtomicU64::new(0),
            standing: AtomicU8::new(0),
            statement: ArcSwapOption::empty(),
        }
    }

    /// Where its server can be asked to cancel, and the entry that lets its client ask.
    pub fn set_target(&self, target: Target, connector: Connector, entry: Entry) {
        let _ = self.target.set((target, connector, entry));
    }

    /// Gives a command; a harder one is never taken back by a softer one.
    pub fn give(&self, command: Command) {
        self.command.fetch_max(command as u8, Ordering::AcqRel);
        self.waker.wake();
    }

    /// The command in force, taken note of.
    pub fn command(&self) -> Command {
        let command = self.command.load(Ordering::Acquire);
        self.seen.store(command, Ordering::Relaxed);
        match command {
            0 => Command::None,
            1 => Command::Drain,
            2 => Command::Stop,
            _ => Command::Kill,
        }
    }

    /// Whether a command was given, noticed or not.
    pub fn is_commanded(&self) -> bool {
        self.command.load(Ordering::Acquire) != Command::None as u8
    }

    /// Whether a command waits to be noticed; registers the task to be woken by the next.
    pub fn is_pending(&self, context: &Context<'_>) -> bool {
        self.waker.register(context.waker());
        self.command.load(Ordering::Acquire) != self.seen.load(Ordering::Relaxed)
    }

    /// Asks the session's server to cancel what it runs. Whether it could be asked.
    pub async fn cancel(&self) -> bool {
        let Some((target, connector, _)) = self.target.get() else { return false };
        let asked = target.cancel(connector).await;
        if let Err(error) = &asked {
            tracing::warn!(session = %self.identity.session, %error, "the endpoint could not be asked to cancel");
        }
        asked.is_ok()
    }

    /// Notes that a statement was sent at `now`; `fresh` is its judgement where it is not the one noted before.
    pub fn runs(&self, now: Instant, fresh: Option<&Arc<Judgement>>) {
        self.statements.fetch_add(1, Ordering::Relaxed);
        let sent = now.saturating_duration_since(self.begun).as_micros();
        self.sent_us.store(u64::try_from(sent).unwrap_or(u64::MAX), Ordering::Relaxed);
        if let Some(statement) = fresh {
            self.statement.store(Some(Arc::clone(statement)));
        }
    }

    /// Notes what a statement gave.
    pub fn gave(&self, rows: u64, bytes: u64) {
        self.rows.fetch_add(rows, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Notes what the session does.
    pub fn stands(&self, standing: Standing) {
        self.standing.store(standing as u8, Ordering::Relaxed);
    }

    /// What the session does.
    pub fn standing(&self) -> Standing {
        match self.standing.load(Ordering::Relaxed) {
            0 => Standing::Idle,
            1 => Standing::IdleInTransaction,
            2 => Standing::Failed,
            _ => Standing::Active,
        }
    }

    /// How many statements it ran.
    pub fn statements(&self) -> u64 {
        self.statements.load(Ordering::Relaxed)
    }

    /// Rows that its statements returned or affected, and bytes sent to the client.
    pub fn given(&self) -> (u64, u64) {
        (self.rows.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }

    /// The statement it ran last, and how long ago it was sent.
    pub fn statement(&self) -> Option<(Arc<Judgement>, Duration)> {
        let sent = Duration::from_micros(self.sent_us.load(Ordering::Relaxed));
        self.statement.load_full().map(|statement| (statement, self.begun.elapsed().saturating_sub(sent)))
    }
}
