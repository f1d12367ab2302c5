//! The audit room: events, the chain, and the writer that accepts a record before its statement goes upstream.
//!
//! The truth is a directory of segments, one JSON object a line ([`event`], [`segment`]), each line chained to the one before
//! and marked ([`chain`]), the chain signed at least once a second while there are records ([`keys`]). [`Audit::accept`] is on
//! the path of every statement: records are rendered outside the lock ([`json`]); inside it they take their place in the chain
//! and go out in one write ([`writer`]); the sessions of one thread that are ready at once share it ([`desk`]). Everything slow (fsync, rotation, compression, retention) is done by two
//! threads ([`upkeep`]). [`recovery`] finds the end of the log after a crash.
//!
//! May not name: `tokio`, `session`, `net`, `policy`, `config`.

pub mod chain;
pub mod counts;
pub mod desk;
pub mod event;
pub mod fields;
pub mod filter;
mod frames;
pub mod id;
pub mod index;
pub mod json;
pub mod keys;
pub mod query;
mod recovery;
pub mod scan;
pub mod search;
pub mod segment;
pub mod time;
mod upkeep;
pub mod verify;
pub mod view;
mod writer;

use std::cell::RefCell;
use std::fs::{DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

pub use desk::{Desk, Round, Tray};
pub use event::{
    EffectsJson, Event, Grant, LoginFailure, Outcome, ParameterShown, ParametersJson, Protocol, Readers, Reads, Record,
    Reload, Review, SessionEnd, SessionFields, SessionIdentity, SqlState, Statement, StatementJson, Tag,
    TransactionState, Verdict,
};
pub use id::AuditId;
pub use time::Timestamp;

use event::{Gap, Recovery, Start};
use id::Ids;
use keys::{KeyError, Keys};
use writer::{Batch, Writer};

/// What happens to statements while the directory cannot be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenUnwritable {
    /// They are refused.
    #[default]
    Refuse,
    /// They pass. Records wait in memory as long as there is room; what does not fit is lost, counted and told.
    Continue,
}

/// How the log is kept.
#[derive(Clone, Debug)]
pub struct AuditSettings {
    /// Where the segments are.
    pub directory: PathBuf,
    /// What happens to statements while it cannot be written.
    pub when_unwritable: WhenUnwritable,
    /// A segment is closed when it is this long.
    pub segment_bytes: u64,
    /// A segment is closed when it is this old.
    pub segment_age: Duration,
    /// The signing key's file. Default: `audit.key` beside the directory. Made on the first start; the public half lies beside
    /// it as `.pub`, the newest checkpoint as `.head`.
    pub key: Option<PathBuf>,
    /// Segments whose newest record is older than this are removed.
    pub retention_age: Option<Duration>,
    /// The oldest segments are removed while all closed ones together are longer than this.
    pub retention_bytes: Option<u64>,
    /// How many bytes of records may wait in memory while the directory cannot be written.
    pub queue_bytes: usize,
}

impl AuditSettings {
    /// The defaults for a directory.
    pub fn new(directory: impl Into<PathBuf>) -> AuditSettings {
        AuditSettings {
            directory: directory.into(),
            when_unwritable: WhenUnwritable::Refuse,
            segment_bytes: 64 << 20,
            segment_age: Duration::from_secs(24 * 3600),
            key: None,
            retention_age: None,
            retention_bytes: None,
            queue_bytes: 64 << 20,
        }
    }

    /// The signing key's file.
    pub fn key_path(&self) -> PathBuf {
        self.key.clone().unwrap_or_else(|| default_key(&self.directory))
    }
}

/// `audit.key` beside an audit directory.
pub fn default_key(directory: &Path) -> PathBuf {
    directory.with_file_name("audit.key")
}

/// Why the log cannot be opened or closed.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// A file or the directory cannot be read or written.
    #[error("the audit directory {directory}: {source}", directory = directory.display())]
    Io {
        /// The directory.
        directory: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process writes there.
    #[error("the audit directory {directory} is in use by another process", directory = directory.display())]
    Locked {
        /// The directory.
        directory: PathBuf,
    },
    /// The key is wrong.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// The records were not written: the statement must not go upstream.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the audit directory {directory} cannot be written: {reason}", directory = directory.display())]
pub struct Unwritable {
    /// The directory.
    pub directory: PathBuf,
    /// What the system said.
    pub reason: String,
    /// Whether there is no room (SQLSTATE 53100 disk_full; otherwise 58030 io_error).
    pub full: bool,
}

impl Unwritable {
    /// The SQLSTATE for the client.
    pub fn sqlstate(&self) -> &'static str {
        if self.full { "53100" } else { "58030" }
    }
}

/// How the log is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Whether the last write succeeded.
    pub writable: bool,
    /// What the system said when a write, rotation, compression or retention failed last.
    pub last_error: Option<String>,
    /// Records waiting in memory.
    pub queue_records: u64,
    /// Their bytes.
    pub queue_bytes: u64,
    /// Records written since the start.
    pub records: u64,
    /// Writes that took them.
    pub writes: u64,
    /// Sequence number of the last record.
    pub sequence: u64,
    /// Failed writes since the start.
    pub failures: u64,
    /// Records refused to their caller since the start.
    pub refused: u64,
    /// Records lost since the start.
    pub lost: u64,
    /// Checkpoints signed since the start.
    pub checkpoints: u64,
    /// How long the write that is going on has been taking, in microseconds; 0 while there is none.
    pub stalled_us: u64,
}

/// The audit log, open for writing. Cheap to clone; dropping the last clone closes it.
#[derive(Clone)]
pub struct Audit(Arc<upkeep::Running>);

impl std::fmt::Debug for Audit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Audit").field(&self.core().settings.directory).finish()
    }
}

thread_local! {
    /// Where a thread renders its records, before the lock.
    static SCRATCH: RefCell<Batch> = RefCell::default();
}

impl Audit {
    /// Opens or begins the log: locks the directory, cuts off a torn tail, goes on with the chain, records the start (and the
    /// recovery, if the log did not end in order) and signs it.
    pub fn open(settings: AuditSettings) -> Result<Audit, AuditError> {
        let core = Arc::new(Core::open(settings)?);
        upkeep::Running::start(core).map(|running| Audit(Arc::new(running)))
    }

    /// Writes these records, and everything deferred before them, to the segment before it returns: they survive the death of
    /// the process, though not of the machine. On success `records` is empty; on an error they stay in it, nothing of them was
    /// written, and the statement must not be forwarded. With [`WhenUnwritable::Continue`] it never fails.
    pub fn accept(&self, records: &mut Vec<Record>) -> Result<(), Unwritable> {
        SCRATCH.with_borrow_mut(|batch| {
            batch.clear();
            records.iter().for_each(|record| batch.push(record));
            self.core().accept(&Batch::default(), batch)
        })?;
        records.clear();
        Ok(())
    }

    /// Queues a record that promises nothing until the next accept or the flusher, at most 50 ms later.
    pub fn defer(&self, record: Record) {
        SCRATCH.with_borrow_mut(|batch| {
            batch.clear();
            batch.push(&record);
            self.core().defer(batch);
        });
    }

    /// A desk for the sessions of one thread.
    pub fn desk(&self) -> Desk {
        Desk::new(self)
    }

    /// A new audit id: unique, sortable by time.
    pub fn next_id(&self) -> AuditId {
        self.core().ids.next()
    }

    /// Writes what is deferred, signs, and syncs to the disk.
    pub fn flush(&self) {
        self.core().flush();
    }

    /// Records the stop with its reason, signs, syncs and releases the directory. Later records are refused.
    pub fn close(&self, reason: &str) -> Result<(), AuditError> {
        self.0.close(reason)
    }

    /// Why statements must be refused now; `None` while they can be recorded. Cheap while all is well.
    pub fn refuses(&self) -> Option<Unwritable> {
        let core = self.core();
        let stops = core.settings.when_unwritable == WhenUnwritable::Refuse || core.is_closed();
        if !stops || !(core.counters.unwritable.load(Ordering::Relaxed) || core.is_closed()) {
            return None;
        }
        let reason = hold(&core.last_error).clone().unwrap_or_else(|| "it is closed".to_owned());
        Some(Unwritable { directory: core.settings.directory.clone(), full: reason.contains("No space"), reason })
    }

    /// How the log is; never waits for the disk.
    pub fn health(&self) -> Health {
        self.core().health()
    }

    /// Where the segments are.
    pub fn directory(&self) -> &Path {
        &self.core().settings.directory
    }

    /// The signing key's file.
    pub fn key_path(&self) -> PathBuf {
        self.core().settings.key_path()
    }

    fn core(&self) -> &Core {
        self.0.core()
    }
}

#[derive(Default)]
struct Counters {
    unwritable: AtomicBool,
    records: AtomicU64,
    writes: AtomicU64,
    sequence: AtomicU64,
    failures: AtomicU64,
    refused: AtomicU64,
    lost: AtomicU64,
    checkpoints: AtomicU64,
    /// When the write that is going on began, in microseconds since 1970; 0 while there is none.
    writing: AtomicU64,
}

/// What [`Audit`] and its threads share.
pub(crate) struct Core {
    settings: AuditSettings,
    ids: Ids,
    writer: Mutex<Writer>,
    /// Never held while anything touches the disk.
    queue: Mutex<Batch>,
    /// Used by whoever holds the writer, to take the queue without an allocation.
    taken: Mutex<Batch>,
    /// Every thread's desk.
    desks: Mutex<Vec<Weak<Mutex<desk::State>>>>,
    /// Closed segments whose last bytes may not be on the disk yet.
    unsynced: Mutex<Vec<Arc<File>>>,
    counters: Counters,
    last_error: Mutex<Option<String>>,
    told: Mutex<Option<Instant>>,
    closed: AtomicBool,
    /// Holds the lock on the directory.
    lock: File,
}

/// When this much waits, whoever defers writes it.
const WRITE_AT_BYTES: usize = 1 << 20;
/// Failures are told on stderr this often.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// A lock that a panicking thread left behind is taken as it is: the data behind it is whole between calls.
fn hold<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Core {
    fn open(settings: AuditSettings) -> Result<Core, AuditError> {
        let failed = |source| AuditError::Io { directory: settings.directory.clone(), source };
        DirBuilder::new().recursive(true).mode(0o750).create(&settings.directory).map_err(failed)?;
        let lock = lock(&settings.directory)?;
        let fresh = segment::list(&settings.directory).map_err(failed)?.is_empty();
        let keys = Arc::new(Keys::read_or_create(&settings.key_path(), fresh)?);
        let head = settings.key_path().with_extension("head");
        let found = recovery::recover(&settings.directory, &head, keys.marks()).map_err(failed)?;
        let ids = Ids::above(found.id_floor);
        let writer = match found.segment {
            Some((path, first, length)) => Writer::resume(path, first, length, found.chain, Arc::clone(&keys)),
            None => Writer::begin(&settings.directory, found.chain, Arc::clone(&keys), &ids),
        };
        let core = Core {
            writer: Mutex::new(writer.map_err(failed)?),
            ids,
            queue: Mutex::default(),
            taken: Mutex::default(),
            desks: Mutex::default(),
            unsynced: Mutex::default(),
            counters: Counters::default(),
            last_error: Mutex::default(),
            told: Mutex::default(),
            closed: AtomicBool::new(false),
            lock,
            settings,
        };
        core.record_start(found.recovery, &keys)?;
        Ok(core)
    }

    fn record_start(&self, recovery: Option<Recovery>, keys: &Keys) -> Result<(), AuditError> {
        let mut batch = Batch::default();
        if let Some(recovery) = recovery {
            if let Some(damage) = &recovery.damage {
                tracing::error!(directory = %self.settings.directory.display(), damage, "the audit log is not as it was left");
            }
            batch.push(&self.record(Event::Recovery(recovery)));
        }
        let process = u64::from(std::process::id());
        let start = Start { version: env!("CARGO_PKG_VERSION").into(), process, key: keys.public().name() };
        batch.push(&self.record(Event::Start(start)));
        let mut writer = hold(&self.writer);
        let written = writer.append([&batch]).and_then(|()| writer.sign("start", &self.ids));
        written.map_err(|source| self.io_error(source))?;
        self.counters.checkpoints.fetch_add(1, Ordering::Relaxed);
        self.counters.sequence.store(writer.chain.seq, Ordering::Relaxed);
        Ok(())
    }

    fn record(&self, event: Event) -> Record {
        Record::new(self.ids.next(), None, event)
    }

    fn io_error(&self, source: io::Error) -> AuditError {
        AuditError::Io { directory: self.settings.directory.clone(), source }
    }

    /// Writes what is deferred, here and on the desk that asks, and then `own`.
    fn accept(&self, deferred: &Batch, own: &Batch) -> Result<(), Unwritable> {
        let mut writer = hold(&self.writer);
        let written = self.write(&mut writer, &[deferred, own]);
        if written.is_err() {
            self.keep(&mut writer, deferred);
        }
        match written {
            Ok(()) => Ok(()),
            Err(_) if self.settings.when_unwritable == WhenUnwritable::Continue && !self.is_closed() => {
                self.keep(&mut writer, own);
                Ok(())
            }
            Err(error) => {
                self.counters.refused.fetch_add(own.len() as u64, Ordering::Relaxed);
                if let Some(gap) = &mut writer.gap {
                    gap.refused += own.len() as u64;
                }
                Err(self.unwritable(&error))
            }
        }
    }

    fn defer(&self, batch: &Batch) {
        let waiting = {
            let mut queue = hold(&self.queue);
            if queue.byte_count() + batch.byte_count() <= self.settings.queue_bytes {
                queue.append(batch);
                queue.byte_count()
            } else {
                drop(queue);
                return self.overflow(batch);
            }
        };
        if waiting >= WRITE_AT_BYTES && !self.counters.unwritable.load(Ordering::Relaxed) {
            let _ = self.write(&mut hold(&self.writer), &[]);
        }
    }

    /// The queue is full: one try to write, then the record is lost.
    fn overflow(&self, batch: &Batch) {
        let mut writer = hold(&self.writer);
        if self.write(&mut writer, &[batch]).is_err() {
            self.keep(&mut writer, batch);
        }
    }

    /// Queues records that could not be written, or counts them as lost when there is no room.
    fn keep(&self, writer: &mut Writer, batch: &Batch) {
        let mut queue = hold(&self.queue);
        if queue.byte_count() + batch.byte_count() <= self.settings.queue_bytes {
            return queue.append(batch);
        }
        self.counters.lost.fetch_add(batch.len() as u64, Ordering::Relaxed);
        if let Some(gap) = &mut writer.gap {
            gap.lost += batch.len() as u64;
        }
    }

    /// Writes what is deferred and then `own`; all of it or nothing. What was deferred waits on after a failure.
    fn write(&self, writer: &mut Writer, own: &[&Batch]) -> io::Result<()> {
        if self.is_closed() {
            return Err(io::Error::other("the log is closed"));
        }
        let mut taken = hold(&self.taken);
        std::mem::swap(&mut *taken, &mut *hold(&self.queue));
        let mut gap = Batch::default();
        if let Some(event) = &writer.gap {
            gap.push(&self.record(Event::Gap(event.clone())));
        }
        let count = gap.len() + taken.len() + own.iter().map(|batch| batch.len()).sum::<usize>();
        if count == 0 {
            return Ok(());
        }
        self.counters.writing.store(Timestamp::now().0, Ordering::Relaxed);
        let appended = writer.append([&gap, &*taken].into_iter().chain(own.iter().copied()));
        self.counters.writing.store(0, Ordering::Relaxed);
        match appended {
            Ok(()) => self.written(writer, count as u64),
            Err(error) => {
                let mut queue = hold(&self.queue);
                taken.append(&queue);
                std::mem::swap(&mut *taken, &mut *queue);
                drop(queue);
                taken.clear();
                self.failed(writer, &error);
                return Err(error);
            }
        }
        taken.clear();
        Ok(())
    }

    fn written(&self, writer: &mut Writer, count: u64) {
        self.counters.records.fetch_add(count, Ordering::Relaxed);
        self.counters.writes.fetch_add(1, Ordering::Relaxed);
        self.counters.sequence.store(writer.chain.seq, Ordering::Relaxed);
        if writer.gap.take().is_some() || self.counters.unwritable.load(Ordering::Relaxed) {
            self.counters.unwritable.store(false, Ordering::Relaxed);
            *hold(&self.told) = None;
            tracing::info!(directory = %self.settings.directory.display(), "the audit directory can be written again");
        }
    }

    fn failed(&self, writer: &mut Writer, error: &io::Error) {
        let since = Timestamp::now();
        let gap = writer.gap.get_or_insert_with(|| Gap { since, error: error.to_string(), ..Gap::default() });
        gap.failures += 1;
        self.counters.failures.fetch_add(1, Ordering::Relaxed);
        self.counters.unwritable.store(true, Ordering::Relaxed);
        self.tell(&format!("cannot write: {error}"));
    }

    /// Keeps an error for [`Health`] and tells it, once a minute at most.
    fn tell(&self, error: &str) {
        *hold(&self.last_error) = Some(error.to_owned());
        let mut told = hold(&self.told);
        if told.is_none_or(|at| at.elapsed() >= TELL_EVERY) {
            *told = Some(Instant::now());
            let lost = self.counters.lost.load(Ordering::Relaxed);
            let refused = self.counters.refused.load(Ordering::Relaxed);
            tracing::error!(directory = %self.settings.directory.display(), error, lost, refused, "audit");
        }
    }

    fn unwritable(&self, error: &io::Error) -> Unwritable {
        Unwritable {
            directory: self.settings.directory.clone(),
            reason: error.to_string(),
            full: matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded),
        }
    }

    /// Signs the chain as it stands, if there are records since the last checkpoint.
    fn checkpoint(&self, reason: &str) -> io::Result<()> {
        let mut writer = hold(&self.writer);
        if writer.unsigned == 0 {
            return Ok(());
        }
        self.counters.writing.store(Timestamp::now().0, Ordering::Relaxed);
        let signed = writer.sign(reason, &self.ids);
        self.counters.writing.store(0, Ordering::Relaxed);
        match &signed {
            Ok(()) => {
                self.counters.checkpoints.fetch_add(1, Ordering::Relaxed);
                self.counters.sequence.store(writer.chain.seq, Ordering::Relaxed);
            }
            Err(error) => self.failed(&mut writer, error),
        }
        signed
    }

    /// Writes what is deferred; counts too, once their minute is over or if they are `last`.
    fn drain(&self, last: bool) {
        for desk in self.open_desks() {
            hold(&desk).flush(self, last);
        }
        let waiting = !hold(&self.queue).is_empty() || self.counters.unwritable.load(Ordering::Relaxed);
        if waiting {
            let _ = self.write(&mut hold(&self.writer), &[]);
        }
    }

    /// The desks that are still in use.
    fn open_desks(&self) -> Vec<Arc<Mutex<desk::State>>> {
        let mut desks = hold(&self.desks);
        desks.retain(|desk| desk.strong_count() > 0);
        desks.iter().filter_map(Weak::upgrade).collect()
    }

    fn flush(&self) {
        self.drain(false);
        let _ = self.checkpoint("flush");
        self.sync();
    }

    /// Syncs the segment to the disk, then keeps the newest checkpoint beside the key.
    fn sync(&self) {
        let (mut files, head) = {
            let writer = hold(&self.writer);
            (vec![writer.file()], writer.checkpoint.clone())
        };
        files.append(&mut hold(&self.unsynced));
        let path = self.settings.key_path().with_extension("head");
        let synced = files.iter().try_for_each(|file| file.sync_data());
        let synced = synced.and_then(|()| upkeep::sync_directory(&self.settings.directory));
        let synced = synced.and_then(|()| upkeep::replace(&path, &head));
        if let Err(error) = synced {
            self.tell(&format!("cannot sync: {error}"));
        }
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    fn stop(&self, reason: &str) -> Result<(), AuditError> {
        if !self.is_closed() {
            self.drain(true);
        }
        let mut batch = Batch::default();
        batch.push(&self.record(Event::Stop { reason: reason.to_owned().into() }));
        let mut writer = hold(&self.writer);
        if self.is_closed() {
            return Ok(());
        }
        let stopped = self.write(&mut writer, &[&batch]).and_then(|()| writer.sign("stop", &self.ids));
        self.closed.store(true, Ordering::Release);
        drop(writer);
        self.sync();
        let _ = self.lock.unlock();
        stopped.map_err(|source| self.io_error(source))
    }

    /// Records and bytes that wait, in the queue and on the desks.
    fn waiting(&self) -> (usize, usize) {
        let own = {
            let queue = hold(&self.queue);
            (queue.len(), queue.byte_count())
        };
        let desks = self.open_desks();
        // A desk in use is being written.
        let deferred = desks.iter().filter_map(|desk| Some(desk.try_lock().ok()?.deferred()));
        deferred.fold(own, |sum, desk| (sum.0 + desk.0, sum.1 + desk.1))
    }

    fn health(&self) -> Health {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (records, bytes) = self.waiting();
        Health {
            writable: !self.counters.unwritable.load(Ordering::Relaxed) && !self.is_closed(),
            last_error: hold(&self.last_error).clone(),
            queue_records: records as u64,
            queue_bytes: bytes as u64,
            records: read(&self.counters.records),
            writes: read(&self.counters.writes),
            sequence: read(&self.counters.sequence),
            failures: read(&self.counters.failures),
            refused: read(&self.counters.refused),
            lost: read(&self.counters.lost),
            checkpoints: read(&self.counters.checkpoints),
            stalled_us: match read(&self.counters.writing) {
                0 => 0,
                since => Timestamp::now().0.saturating_sub(since),
            },
        }
    }
}

fn lock(directory: &Path) -> Result<File, AuditError> {
    let failed = |source| AuditError::Io { directory: directory.to_path_buf(), source };
    let path = directory.join(".lock");
    let file = File::options().write(true).create(true).truncate(false).open(path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(AuditError::Locked { directory: directory.to_path_buf() }),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}
