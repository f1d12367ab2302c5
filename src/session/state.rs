//! What a session knows, and what it gives out.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::decision::Judgement;
use crate::policy::BindParameters;
use crate::wire::backend::Status;
use crate::wire::report::Report;

use super::fate::Fate;
use super::names::Names;
use super::parameters::Parameters;
use super::pending::{Believed, Queue};

/// Upper bounds on what one session may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most prepared statements.
    pub statements: usize,
    /// Most bytes of Parse messages kept for preparing again.
    pub statement_bytes: usize,
    /// Most portals.
    pub portals: usize,
    /// Most answers in flight; above it the client's next messages wait.
    pub in_flight: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { statements: 10_000, statement_bytes: 64 << 20, portals: 10_000, in_flight: 10_000 }
    }
}

/// Gives out ids of records, and shows them to people.
pub trait RecordIds: std::fmt::Debug + Send + Sync {
    /// The next id; never the same twice.
    fn next(&self) -> u64;
    /// The id as people see it: letters and digits.
    fn text(&self, id: u64) -> String;
}

/// What stays the same for a session's life.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the ids of records come from.
    pub ids: Arc<dyn RecordIds>,
    /// The endpoint may give each transaction another server connection.
    pub pooled: bool,
    /// The endpoint does: its URL says `pgbouncer=true`.
    pub transaction_pooler: bool,
    /// Upper bounds.
    pub limits: Limits,
}

/// Which protocol a statement came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A simple Query.
    Simple,
    /// Parse, where it was refused.
    Parse,
    /// Bind, where it was refused, or where no Execute followed and planning may have run functions.
    Bind,
    /// Execute.
    Execute,
    /// FunctionCall.
    FunctionCall,
}

impl Kind {
    /// The word for records.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Simple => "simple",
            Kind::Parse => "parse",
            Kind::Bind => "bind",
            Kind::Execute => "execute",
            Kind::FunctionCall => "function_call",
        }
    }
}

/// Something to record.
#[derive(Clone, Debug)]
pub enum Event {
    /// A statement was judged; allowed ones go upstream only after this is accepted.
    Statement {
        /// Its audit id.
        record: u64,
        /// The protocol's way.
        kind: Kind,
        /// How it was judged; `None` where there was no text to judge.
        judgement: Option<Arc<Judgement>>,
        /// The error answered instead of running it.
        refused: Option<Refused>,
        /// The session's transaction that it belongs to.
        transaction: u64,
        /// Its bind parameters, as far as policy wants them recorded.
        parameters: Option<Arc<Parameters>>,
    },
    /// A statement's outcome.
    Outcome(Outcome),
    /// An explicit transaction ended.
    TransactionEnd {
        /// Its number within the session.
        transaction: u64,
        /// Whether it committed.
        committed: bool,
    },
}

/// Why a statement was not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// SQLSTATE answered.
    pub sqlstate: String,
    /// MESSAGE answered.
    pub message: String,
    /// The rule that decided, if a policy did.
    pub rule: Option<String>,
}

/// How a statement ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The statement's record.
    pub record: u64,
    /// The session's transaction that it belongs to.
    pub transaction: u64,
    /// Rows that its command tags count.
    pub rows: u64,
    /// Bytes of result rows.
    pub bytes: u64,
    /// The last command tag.
    pub tag: String,
    /// The error's SQLSTATE, if it failed.
    pub sqlstate: Option<String>,
    /// `committed`, `rolled_back`, `mixed` where a text's transactions ended differently, or `open` while its transaction goes on.
    pub state: &'static str,
}

impl Outcome {
    /// Of a statement that the server did not answer.
    pub(super) fn without_answer(record: u64, transaction: u64, state: &'static str) -> Outcome {
        Outcome { record, transaction, rows: 0, bytes: 0, tag: String::new(), sqlstate: None, state }
    }
}

/// What a session gives out, in order for each destination.
#[derive(Debug, Default)]
pub struct Output {
    /// For the server; to be written only after the events are accepted.
    pub to_server: BytesMut,
    /// For the client.
    pub to_client: BytesMut,
    /// For the audit log.
    pub events: Vec<Event>,
    /// The server is to be asked to cancel what it runs.
    pub cancel: bool,
    /// The session is to end with this.
    pub end: Option<Report>,
}

/// What becomes of the client's messages up to the next Sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Skip {
    /// They are taken.
    No,
    /// A refusal was answered here and the server knows nothing of the batch.
    Local,
    /// The server was made to fail and would skip them itself.
    Upstream,
}

/// Progress of the statement whose answer is coming in.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub rows: u64,
    pub bytes: u64,
    pub tag: String,
    pub sqlstate: Option<String>,
    pub fate: Fate,
}

/// The server's message that is passing through in pieces.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Passing {
    pub left: usize,
    pub shown: bool,
}

/// A Bind that is recorded if no Execute follows at once: planning alone runs functions that are labelled IMMUTABLE.
#[derive(Debug)]
pub(super) struct Bound {
    pub portal: Bytes,
    pub judgement: Arc<Judgement>,
    /// Its place among all answers asked for.
    pub place: u64,
}

/// One client's protocol session after login.
#[derive(Debug)]
pub struct Session {
    pub(super) settings: Settings,
    pub(super) read_only: bool,
    /// Something relies on texts being read as they are judged.
    pub(super) relies_on_reading: bool,
    pub(super) text_settings: super::text_settings::TextSettings,
    /// The server told the client why it ends the connection.
    pub(super) server_said_why: bool,
    /// How much of bind parameters is recorded.
    pub(super) recorded: BindParameters,
    pub(super) names: Names,
    pub(super) queue: Queue,
    pub(super) believed: Believed,
    /// The client's open transaction may have savepoints from before it was held: going back to one would undo a lock.
    pub(super) loose: bool,
    /// The proxy's own open transaction was begun before the session was held.
    pub(super) unheld: bool,
    pub(super) status: Status,
    pub(super) skip: Skip,
    /// Extended messages went upstream since the last Sync.
    pub(super) batch_open: bool,
    /// The server waits for COPY data.
    pub(super) copy_in: bool,
    /// How many CopyDone and CopyFail were sent since the last Execute or Query, ahead of the COPY that they end.
    pub(super) copies_ended: usize,
    pub(super) epoch: u64,
    /// The epoch in which code that is not known ran last: it may have opened cursors.
    pub(super) code_ran: Option<u64>,
    pub(super) syncs_sent: u64,
    pub(super) readies_seen: u64,
    pub(super) records: u64,
    /// Statements that the server completed.
    pub(super) completed: u64,
    pub(super) transaction: u64,
    pub(super) explicit: Option<u64>,
    /// A transaction that ended while its last statement is not told yet, and whether it committed.
    pub(super) closing: Option<(u64, bool)>,
    /// The transaction of the statement that was answered last.
    pub(super) answered_in: u64,
    /// A statement that ends the transaction was sent in this batch, and none behind it that begins one.
    pub(super) end_sent: bool,
    /// What is being answered, or the open transaction before it, may have changed something.
    pub(super) wrote: bool,
    /// The server's open transaction was begun by the proxy: the client must not find itself in it.
    pub(super) ours: bool,
    /// Where the transaction stands is a guess until everything in flight is answered.
    pub(super) guessed: bool,
    /// A Flush was sent so that the answers in flight come before more is asked.
    pub(super) flushed: bool,
    pub(super) batch_failed: bool,
    pub(super) outcomes: Vec<(Outcome, Fate)>,
    pub(super) progress: Progress,
    pub(super) passing: Passing,
    pub(super) caps: super::cut::Caps,
    pub(super) guard: super::guard::Guard,
    pub(super) locks: super::locks::Locks,
    pub(super) migration: super::migration::Migration,
    pub(super) cut: Option<super::cut::Cut>,
    pub(super) bound: Option<Bound>,
    pub(super) sent_rows: u64,
    pub(super) sent_bytes: u64,
    /// What is to be written.
    pub out: Output,
}

impl Session {
    /// A session whose server just said that it is ready and idle.
    pub fn new(settings: Settings, read_only: bool) -> Session {
        Session {
            settings,
            read_only,
            relies_on_reading: true,
            text_settings: super::text_settings::TextSettings::default(),
            server_said_why: false,
            recorded: BindParameters::None,
            names: Names::default(),
            queue: Queue::default(),
            believed: Believed::Idle,
            loose: false,
            unheld: false,
            status: Status::Idle,
            skip: Skip::No,
            batch_open: false,
            copy_in: false,
            copies_ended: 0,
            epoch: 0,
            code_ran: None,
            syncs_sent: 0,
            readies_seen: 0,
            records: 0,
            completed: 0,
            transaction: 1,
            explicit: None,
            closing: None,
            answered_in: 1,
            end_sent: false,
            wrote: false,
            ours: false,
            guessed: false,
            flushed: false,
            batch_failed: false,
            outcomes: Vec::new(),
            progress: Progress::default(),
            passing: Passing::default(),
            caps: super::cut::Caps::default(),
            guard: super::guard::Guard::default(),
            locks: super::locks::Locks::default(),
            migration: super::migration::Migration::default(),
            cut: None,
            bound: None,
            sent_rows: 0,
            sent_bytes: 0,
            out: Output::default(),
        }
    }

    /// Whether the server told the client why it ends the connection.
    pub fn server_said_why(&self) -> bool {
        self.server_said_why
    }

    /// A new policy applies from the next statement on, and so does a grant or its end.
    pub fn hold_read_only(&mut self, read_only: bool) {
        self.unheld |= read_only && !self.read_only && self.believed == Believed::Wrapped;
        self.read_only = read_only;
    }

    /// The status of the last ReadyForQuery.
    pub fn status(&self) -> Status {
        self.status
    }

    /// Nothing is in flight and no batch is open: the session can end without cutting anything short.
    pub fn is_quiet(&self) -> bool {
        self.queue.is_empty() && !self.batch_open && !self.copy_in
    }

    /// Extended messages went upstream, and the Sync that ends their transaction did not.
    pub fn is_in_batch(&self) -> bool {
        self.batch_open
    }

    /// How many answers and ends of statements have come: what the server works at is another thing when it has changed.
    pub fn answers(&self) -> u64 {
        self.queue.answered() + self.completed
    }

    /// How many answers are still to come.
    pub fn in_flight(&self) -> usize {
        self.queue.len()
    }

    /// The number of statements recorded so far.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Gives the next record's id.
    pub(super) fn record(&mut self) -> u64 {
        self.records += 1;
        self.settings.ids.next()
    }

    /// The connection ended: what is still in flight has no known outcome. Gives the events that finish the record.
    pub fn abandon(&mut self) -> Vec<Event> {
        while let Some(pending) = self.queue.pop() {
            if let Some((record, transaction)) = pending.record {
                self.outcomes.push((Outcome::without_answer(record, transaction, "unknown"), Fate::default()));
            }
        }
        if let Some(script) = self.guard.script.take() {
            let (record, transaction) = script.record();
            self.outcomes.push((Outcome::without_answer(record, transaction, "unknown"), Fate::default()));
        }
        for (outcome, _) in std::mem::take(&mut self.outcomes) {
            self.out.events.push(Event::Outcome(outcome));
        }
        let lost = self.explicit.take().map(|transaction| (transaction, false));
        for (transaction, committed) in self.closing.take().into_iter().chain(lost) {
            self.out.events.push(Event::TransactionEnd { transaction, committed });
        }
        std::mem::take(&mut self.out.events)
    }
}
