//! The index of the log: answers what is asked of it without reading every segment. Never the only copy of anything.
//!
//! Records are kept in blocks of up to 32,768, column by column ([`column`]), in a SQLite file beside the audit directory
//! ([`store`]); the texts of a block are in SQLite's full-text search, by groups of three letters. A block belongs to one segment and
//! does not change. The newest records are in a block in memory ([`build`]) and are not stored until it is full: after a stop or a
//! crash they are read again. Of lines that are like an earlier one, only what differs is read ([`form`]). [`follow`] reads
//! the segments in a thread of low priority; what is stored says where to go on, and a file that is damaged, or not of
//! this log, is made anew. [`select`] puts a filter to a block, [`answer`] a question to all of them. The lines
//! themselves stay in the segments.
//!
//! Questions are [`super::filter::Filter`]s, answers the values of [`super::query`]. Every method reads files: in an
//! asynchronous task, call it on a blocking thread.

mod answer;
mod build;
mod column;
mod follow;
mod form;
mod select;
mod store;

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::AuditId;
use super::filter::{Field, Filter};
use super::query::{
    Bucket, Counted, Facet, Found, Neighbourhood, NewFingerprint, Page, PageRequest, Rank, ReviewState,
};
use super::search::Entry;
use super::time::Timestamp;
use super::view::RecordView;
use answer::Snapshot;
use build::{Builder, Late};
use column::Columns;
use follow::{Feed, Turn};
use store::Store;

/// How soon a record is found after it was written, when the log is quiet.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How often removed segments are looked for.
const FORGET_EVERY: Duration = Duration::from_secs(10);
/// How long an index that cannot be written rests.
const RETRY_EVERY: Duration = Duration::from_secs(5);
/// Connections to the file that are kept for the next question.
const MOST_READERS: usize = 4;
/// Whoever only reads the index reads so many records behind it; where there are more, reading the segments is as good.
const MOST_BEHIND: u64 = 300_000;
/// The thread's nice value.
const NICE: i32 = 15;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// A segment cannot be read.
    #[error("the audit log cannot be read: {0}")]
    Io(#[from] io::Error),
    /// The index cannot be read or written.
    #[error("the index of the audit log: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// There is no index, and none could be made so far.
    #[error("the index of the audit log cannot be made: {0}")]
    Unavailable(String),
    /// The log is not as it was when it was indexed; the index is being made anew.
    #[error("the audit log is not as it was when it was indexed; the index is being made anew")]
    Stale,
}

impl IndexError {
    /// Whether the index itself is at fault, so that making it anew helps.
    fn is_of_the_file(&self) -> bool {
        use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
        match self {
            IndexError::Io(error) => error.kind() == io::ErrorKind::InvalidData,
            IndexError::Sqlite(rusqlite::Error::SqliteFailure(error, _)) => {
                matches!(error.code, DatabaseCorrupt | NotADatabase)
            }
            // A table that is not there, a value of another type: whatever does not fit the form.
            IndexError::Sqlite(
                rusqlite::Error::InvalidColumnType(..)
                | rusqlite::Error::FromSqlConversionFailure(..)
                | rusqlite::Error::IntegralValueOutOfRange(..)
                | rusqlite::Error::SqlInputError { .. },
            ) => true,
            IndexError::Sqlite(_) | IndexError::Unavailable(_) => false,
            IndexError::Stale => true,
        }
    }
}

/// How far the index has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Sequence number of the last record that answers take into account.
    pub through: u64,
    /// Whether records that were there at the start are still being read.
    pub building: bool,
    /// What went wrong last, if the index does not follow the log.
    pub error: Option<String>,
}

/// What is known of a block without its columns.
#[derive(Clone, Debug, Default)]
struct Meta {
    /// Its number.
    block: i64,
    /// First record of the segment that it belongs to.
    segment: u64,
    rows: usize,
    /// Number of its first line in the segment.
    first_line: u64,
    first_seq: u64,
    last_seq: u64,
    /// The earliest and the latest moment.
    first_time: u64,
    last_time: u64,
    /// The least and the greatest audit id.
    first_id: u64,
    last_id: u64,
    /// Where the line after its last one begins.
    next_offset: u64,
    /// Hash of its last record.
    last_hash: String,
}

impl Meta {
    /// Takes one more record in: its sequence number, moment and id.
    fn reach(&mut self, seq: Option<u64>, time: Option<u64>, id: Option<u64>, next_offset: u64) {
        let widen = |(first, last): (&mut u64, &mut u64), value: Option<u64>| {
            let Some(value) = value else { return };
            *first = if *last == 0 { value } else { value.min(*first) };
            *last = value.max(*last);
        };
        widen((&mut self.first_seq, &mut self.last_seq), seq);
        widen((&mut self.first_time, &mut self.last_time), time);
        widen((&mut self.first_id, &mut self.last_id), id);
        self.next_offset = next_offset;
        self.rows += 1;
    }
}

/// What questions are put to, beside the file.
#[derive(Debug)]
struct State {
    stored: Arc<Vec<Meta>>,
    /// Finished blocks that are not stored, where there is nothing to store them in.
    memory: Vec<Arc<(Meta, Columns)>>,
    tail: Builder,
    tail_meta: Meta,
    /// What came late and is not stored yet.
    late: Arc<Vec<Late>>,
    reviews: Arc<HashMap<AuditId, ReviewState>>,
    through: u64,
}

impl State {
    fn empty() -> State {
        State {
            stored: Arc::default(),
            memory: Vec::new(),
            tail: Builder::new(),
            tail_meta: Meta::default(),
            late: Arc::default(),
            reviews: Arc::default(),
            through: 0,
        }
    }

    /// The state that a file's content leads to.
    fn of(store: &Store) -> Result<State, IndexError> {
        let mut state = State::empty();
        state.stored = Arc::new(store.blocks()?);
        state.through = state.stored.last().map_or(0, |last| last.last_seq);
        for line in store.reviews()? {
            if let Some(review) = RecordView::parse(line.as_bytes()) {
                state.follow_review(&review);
            }
        }
        Ok(state)
    }

    fn next_block(&self) -> i64 {
        let stored = self.stored.last().map_or(0, |last| last.block);
        self.memory.last().map_or(stored, |last| last.0.block) + 1
    }

    fn follow_review(&mut self, review: &RecordView<'_>) {
        if let Ok(id) = review.of.parse() {
            Arc::make_mut(&mut self.reviews).entry(id).or_default().follow(review);
        }
    }
}

fn read(state: &RwLock<State>) -> RwLockReadGuard<'_, State> {
    state.read().unwrap_or_else(PoisonError::into_inner)
}

fn write(state: &RwLock<State>) -> RwLockWriteGuard<'_, State> {
    state.write().unwrap_or_else(PoisonError::into_inner)
}

struct Inner {
    directory: PathBuf,
    file: PathBuf,
    /// Most records in a block.
    block_rows: usize,
    state: RwLock<State>,
    /// How often the file was made anew: connections to an older one are of no use.
    edition: AtomicU64,
    readers: Mutex<Vec<(u64, Store)>>,
    building: AtomicBool,
    stale: AtomicBool,
    error: Mutex<Option<String>>,
}

/// Stops the thread when the last handle is dropped.
struct Follower(Option<(Sender<()>, JoinHandle<()>)>);

impl Drop for Follower {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.0.take() {
            drop(stop);
            let _ = thread.join();
        }
    }
}

/// The index. Cheap to clone; dropping the last clone stops following.
#[derive(Clone)]
pub struct Index {
    inner: Arc<Inner>,
    _follower: Arc<Follower>,
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Index").field(&self.inner.file).finish()
    }
}

/// Where the index of an audit directory is: `audit.index` beside it.
pub fn file_of(directory: &Path) -> PathBuf {
    store::path(directory)
}

impl Index {
    /// Opens or makes the index of an audit directory, and follows the log in a thread of its own. Comes back at once; until the
    /// index has caught up, answers are about what it has read ([`Index::progress`]).
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn open(directory: &Path) -> io::Result<Index> {
        Index::with_blocks(directory, column::BLOCK_ROWS)
    }

    /// The same, with at most so many records in a block (32,768 otherwise, and at most).
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn with_blocks(directory: &Path, rows: usize) -> io::Result<Index> {
        let inner = Arc::new(Inner { block_rows: rows.clamp(1, column::BLOCK_ROWS), ..Inner::new(directory) });
        let (stop, stopped) = mpsc::channel();
        let working = Arc::clone(&inner);
        let thread = std::thread::Builder::new().name("audit-index".to_owned());
        let thread = thread.spawn(move || working.follow(&stopped))?;
        Ok(Index { inner, _follower: Arc::new(Follower(Some((stop, thread)))) })
    }

    /// Reads the index as it is, and what stands in the log behind it, without writing or following. `None` where there is none, or
    /// none that is of use: then the segments themselves are to be read.
    pub fn read(directory: &Path) -> Option<Index> {
        let inner = Inner::new(directory);
        match inner.catch_up() {
            Ok(true) => Some(Index { inner: Arc::new(inner), _follower: Arc::new(Follower(None)) }),
            Ok(false) => None,
            Err(error) => {
                tracing::debug!(%error, "the index of the audit log is not used");
                None
            }
        }
    }

    /// How far it has come.
    pub fn progress(&self) -> Progress {
        Progress {
            through: read(&self.inner.state).through,
            building: self.inner.building.load(Ordering::Relaxed),
            error: self.inner.error.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// A page of what the filter lets pass.
    pub fn search(&self, filter: &Filter, page: PageRequest) -> Result<Page, IndexError> {
        self.inner.ask(|snapshot| snapshot.search(filter, None, page))
    }

    /// A page of what the filter lets pass, without these records.
    pub fn search_except(
        &self,
        filter: &Filter,
        except: &HashSet<AuditId>,
        page: PageRequest,
    ) -> Result<Page, IndexError> {
        self.inner.ask(|snapshot| snapshot.search(filter, Some(except), page))
    }

    /// How many records the filter lets pass.
    pub fn count(&self, filter: &Filter) -> Result<u64, IndexError> {
        self.inner.ask(|snapshot| snapshot.count(filter, None))
    }

    /// How many records the filter lets pass, without these.
    pub fn count_except(&self, filter: &Filter, except: &HashSet<AuditId>) -> Result<u64, IndexError> {
        self.inner.ask(|snapshot| snapshot.count(filter, Some(except)))
    }

    /// The last word on every record that was reviewed.
    pub fn reviews(&self) -> Result<Arc<HashMap<AuditId, ReviewState>>, IndexError> {
        Ok(Arc::clone(&read(&self.inner.state).reviews))
    }

    /// The `most` frequent values of each of several fields.
    pub fn facets(&self, filter: &Filter, fields: &[Field], most: usize) -> Result<Vec<Facet>, IndexError> {
        self.inner.ask(|snapshot| snapshot.facets(filter, fields, most))
    }

    /// The `most` frequent values of one field.
    pub fn top(&self, filter: &Filter, field: Field, most: usize) -> Result<Vec<Counted>, IndexError> {
        Ok(self.facets(filter, &[field], most)?.pop().map(|facet| facet.values).unwrap_or_default())
    }

    /// What happened when, in stretches of `bucket_us` microseconds (since 1970, UTC); those in which nothing did are left out.
    pub fn timeline(&self, filter: &Filter, bucket_us: u64) -> Result<Vec<Bucket>, IndexError> {
        self.inner.ask(|snapshot| snapshot.timeline(filter, bucket_us))
    }

    /// The statements that took longest, or sent most; of equal ones, the newest first.
    pub fn ranked(&self, filter: &Filter, rank: Rank, most: usize) -> Result<Vec<Entry>, IndexError> {
        self.inner.ask(|snapshot| snapshot.ranked(filter, rank, most))
    }

    /// Fingerprints whose first statement in an environment (in any, if `None`) is not older than `since`, the newest first.
    pub fn new_fingerprints(
        &self,
        environment: Option<&str>,
        since: Timestamp,
        most: usize,
    ) -> Result<Vec<NewFingerprint>, IndexError> {
        self.inner.ask(|snapshot| snapshot.new_fingerprints(environment, since, most))
    }

    /// A record by its audit id.
    pub fn record(&self, id: AuditId) -> Result<Option<Found>, IndexError> {
        self.inner.ask(|snapshot| snapshot.record(id))
    }

    /// What stands around a record, with up to `around` statements before and after; `None` if there is no such record.
    pub fn neighbourhood(&self, id: AuditId, around: usize) -> Result<Option<Neighbourhood>, IndexError> {
        self.inner.ask(|snapshot| snapshot.neighbourhood(id, around))
    }
}

impl Inner {
    fn new(directory: &Path) -> Inner {
        Inner {
            directory: directory.to_path_buf(),
            file: store::path(directory),
            block_rows: column::BLOCK_ROWS,
            state: RwLock::new(State::empty()),
            edition: AtomicU64::new(0),
            readers: Mutex::default(),
            building: AtomicBool::new(true),
            stale: AtomicBool::new(false),
            error: Mutex::default(),
        }
    }

    // ----- questions -----

    fn ask<T>(&self, question: impl FnOnce(&Snapshot<'_>) -> Result<T, IndexError>) -> Result<T, IndexError> {
        if read(&self.state).through == 0
            && let Some(error) = self.error.lock().unwrap_or_else(PoisonError::into_inner).clone()
        {
            return Err(IndexError::Unavailable(error));
        }
        let edition = self.edition.load(Ordering::Acquire);
        let store = self.reader(edition)?;
        let answer = question(&self.snapshot(store.as_ref()));
        if let Err(error) = &answer
            && error.is_of_the_file()
        {
            self.stale.store(true, Ordering::Release);
            return answer.map_err(|_| IndexError::Stale);
        }
        if let Some(store) = store {
            let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
            if readers.len() < MOST_READERS {
                readers.push((edition, store));
            }
        }
        answer
    }

    fn reader(&self, edition: u64) -> Result<Option<Store>, IndexError> {
        {
            let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
            readers.retain(|(of, _)| *of == edition);
            if let Some((_, store)) = readers.pop() {
                return Ok(Some(store));
            }
        }
        if read(&self.state).stored.is_empty() { Ok(None) } else { Store::read(&self.file) }
    }

    fn snapshot<'a>(&'a self, store: Option<&'a Store>) -> Snapshot<'a> {
        let state = read(&self.state);
        let mut memory = state.memory.clone();
        if state.tail.rows > 0 {
            memory.push(Arc::new((state.tail_meta.clone(), state.tail.columns.clone())));
        }
        Snapshot {
            directory: &self.directory,
            store,
            stored: if store.is_some() { Arc::clone(&state.stored) } else { Arc::default() },
            memory,
            late: Arc::clone(&state.late),
        }
    }

    // ----- following -----

    fn follow(&self, stop: &Receiver<()>) {
        lower_priority();
        let mut feed = None;
        let mut forgot = Instant::now();
        let mut pause = Duration::ZERO;
        while stop.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
            let turned = self.turn(&mut feed, &mut forgot);
            pause = match turned {
                Ok(Turn::More) => Duration::ZERO,
                Ok(Turn::AtEnd) => {
                    self.building.store(false, Ordering::Relaxed);
                    LOOK_EVERY
                }
                Err(error) => self.recover(&error, &mut feed),
            };
        }
    }

    fn turn(&self, feed: &mut Option<Feed>, forgot: &mut Instant) -> Result<Turn, IndexError> {
        if self.stale.swap(false, Ordering::AcqRel) {
            return Err(IndexError::Stale);
        }
        let feed = match feed {
            Some(feed) => feed,
            None => feed.insert(self.begin()?),
        };
        if forgot.elapsed() >= FORGET_EVERY {
            *forgot = Instant::now();
            feed.forget(&self.state)?;
        }
        let turn = feed.turn(&self.state)?;
        if self.error.lock().unwrap_or_else(PoisonError::into_inner).take().is_some() {
            tracing::info!(index = %self.file.display(), "the index follows the audit log again");
        }
        Ok(turn)
    }

    /// Opens the file, or makes it anew, and goes on where it ends.
    fn begin(&self) -> Result<Feed, IndexError> {
        let store = Store::open(&self.file)?.ok_or(IndexError::Stale)?;
        let state = State::of(&store)?;
        let last = state.stored.last().cloned();
        if let Some(last) = &last
            && !follow::is_in_place(&self.directory, &store, last)?
        {
            return Err(IndexError::Stale);
        }
        *write(&self.state) = state;
        Ok(Feed::new(&self.directory, Some(store), last.as_ref(), self.block_rows))
    }

    /// After an error: begins again from the file, or, if the file is at fault, without it. Gives how long to rest.
    fn recover(&self, error: &IndexError, feed: &mut Option<Feed>) -> Duration {
        *feed = None;
        let text = error.to_string();
        let fresh = {
            let mut last = self.error.lock().unwrap_or_else(PoisonError::into_inner);
            last.replace(text.clone()) != Some(text)
        };
        if fresh {
            tracing::warn!(index = %self.file.display(), %error, "the index of the audit log is behind");
        }
        self.building.store(true, Ordering::Relaxed);
        if !error.is_of_the_file() {
            return RETRY_EVERY;
        }
        *write(&self.state) = State::empty();
        self.edition.fetch_add(1, Ordering::AcqRel);
        match store::remove(&self.file) {
            Ok(()) => Duration::ZERO,
            Err(error) => {
                tracing::warn!(index = %self.file.display(), %error, "a damaged index cannot be removed");
                RETRY_EVERY
            }
        }
    }

    // ----- reading only -----

    /// Reads what stands behind the stored blocks into memory. `false` where there is no index, or it is too far behind.
    fn catch_up(&self) -> Result<bool, IndexError> {
        let Some(store) = Store::read(&self.file)? else { return Ok(false) };
        let state = State::of(&store)?;
        let Some(last) = state.stored.last().cloned() else { return Ok(false) };
        if !follow::is_in_place(&self.directory, &store, &last)? {
            return Ok(false);
        }
        *write(&self.state) = state;
        let mut feed = Feed::new(&self.directory, None, Some(&last), self.block_rows);
        feed.waiting_from(&store, &last)?;
        while feed.turn(&self.state)? == Turn::More {
            if read(&self.state).through > last.last_seq + MOST_BEHIND {
                return Ok(false);
            }
        }
        self.building.store(false, Ordering::Relaxed);
        Ok(true)
    }
}

/// The proxy's own work comes first.
fn lower_priority() {
    let thread = rustix::thread::gettid();
    if let Err(error) = rustix::process::setpriority_process(Some(thread), NICE) {
        tracing::debug!(%error, "the index's thread keeps its priority");
    }
}
