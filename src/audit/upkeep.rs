//! The two threads that keep the log: one writes what is deferred, signs and rotates; the other does what may be slow
//! (fsync, compression, retention).

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::event::{Event, Recovery, Retention};
use super::segment::{self, Segment};
use super::writer::{Batch, open_segment};
use super::{AuditError, Core, chain, frames, hold};

/// How long a deferred record waits at most.
const FLUSH_EVERY: Duration = Duration::from_millis(50);
/// How long a record stays unsigned at most, unless there are very many.
const SIGN_EVERY: Duration = Duration::from_secs(1);
/// So many records are signed at once.
const SIGN_RECORDS: u64 = 10_000;
/// How long a failed rotation rests.
const RETRY_EVERY: Duration = Duration::from_secs(10);
/// How often closed segments are looked at.
const KEEP_EVERY: Duration = Duration::from_secs(1);

/// The log and its threads.
pub(crate) struct Running {
    core: Arc<Core>,
    threads: std::sync::Mutex<Vec<(Sender<()>, JoinHandle<()>)>>,
}

impl Running {
    pub(crate) fn start(core: Arc<Core>) -> Result<Running, AuditError> {
        let running = Running { core: Arc::clone(&core), threads: std::sync::Mutex::default() };
        let mut flusher = Flusher { core: Arc::clone(&core), signed: Instant::now(), failed: None };
        running.spawn("audit-flush", FLUSH_EVERY, move || flusher.turn())?;
        let mut keeper = Keeper { synced: 0, core };
        running.spawn("audit-keep", KEEP_EVERY, move || keeper.turn())?;
        Ok(running)
    }

    fn spawn(&self, name: &str, every: Duration, mut turn: impl FnMut() + Send + 'static) -> Result<(), AuditError> {
        let (stop, stopped) = mpsc::channel();
        let work = move || {
            while stopped.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                turn();
            }
        };
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(work);
        hold(&self.threads).push((stop, thread.map_err(|source| self.core.io_error(source))?));
        Ok(())
    }

    pub(crate) fn core(&self) -> &Core {
        &self.core
    }

    pub(crate) fn close(&self, reason: &str) -> Result<(), AuditError> {
        for (stop, thread) in std::mem::take(&mut *hold(&self.threads)) {
            drop(stop);
            let _ = thread.join();
        }
        self.core.stop(reason)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Err(error) = self.close("end") {
            tracing::error!(%error, "the audit log was not closed in order");
        }
    }
}

/// Writes what is deferred, signs, rotates, and sees that the segment is still there.
struct Flusher {
    core: Arc<Core>,
    signed: Instant,
    /// When a rotation failed last.
    failed: Option<Instant>,
}

impl Flusher {
    fn turn(&mut self) {
        self.core.put_back_if_gone();
        self.core.drain(false);
        self.rotate();
        let unsigned = hold(&self.core.writer).unsigned;
        if unsigned >= SIGN_RECORDS || (unsigned > 0 && self.signed.elapsed() >= SIGN_EVERY) {
            self.signed = Instant::now();
            let _ = self.core.checkpoint("interval");
        }
    }

    fn rotate(&mut self) {
        if self.failed.is_some_and(|at| at.elapsed() < RETRY_EVERY) {
            return;
        }
        self.failed = None;
        if let Err(error) = self.core.rotate_if_due() {
            self.failed = Some(Instant::now());
            self.core.tell(&format!("cannot begin a new segment: {error}"));
        }
    }
}

impl Core {
    /// Rotation by size or age. The next file is made before the lock is taken.
    fn rotate_if_due(&self) -> io::Result<()> {
        {
            let writer = hold(&self.writer);
            let due =
                writer.length >= self.settings.segment_bytes || writer.opened.elapsed() >= self.settings.segment_age;
            // A segment that holds nothing but its heading and a start is not worth a rotation.
            if !due || writer.chain.seq < writer.first + 3 {
                return Ok(());
            }
        }
        let staged = self.settings.directory.join(".next.jsonl");
        let _ = std::fs::remove_file(&staged);
        let next = open_segment(&staged, true)?;
        let mut writer = hold(&self.writer);
        let old = writer.file();
        writer.rotate(next, &staged, &self.settings.directory, &self.ids)?;
        self.counters.checkpoints.fetch_add(1, Ordering::Relaxed);
        hold(&self.unsynced).push(old);
        Ok(())
    }

    /// If somebody removed or cut the segment while it is written: writes it again from the file that is still open, and
    /// records that. Statements are refused, or queued, until that succeeds.
    fn put_back_if_gone(&self) {
        let mut writer = hold(&self.writer);
        if writer.is_in_place() {
            return;
        }
        let (path, length) = (writer.path.display().to_string(), writer.length);
        match writer.put_back(&self.settings.directory) {
            Ok(saved) => {
                let damage =
                    format!("{path} was removed or cut while it was written; {saved} of {length} bytes were put back");
                tracing::error!(damage, "audit");
                *hold(&self.last_error) = Some(damage.clone());
                let recovery = Recovery { last: writer.chain.seq, damage: Some(damage), ..Recovery::default() };
                let mut batch = Batch::default();
                batch.push(&self.record(Event::Recovery(recovery)));
                let _ = self.write(&mut writer, &[&batch]);
            }
            Err(error) => self.failed(&mut writer, &error),
        }
    }
}

/// Syncs, compresses and removes.
struct Keeper {
    core: Arc<Core>,
    synced: u64,
}

impl Keeper {
    fn turn(&mut self) {
        let sequence = self.core.counters.sequence.load(Ordering::Relaxed);
        if sequence != self.synced {
            self.synced = sequence;
            self.core.sync();
        }
        let kept = self.compress().and_then(|()| self.retain());
        if let Err(error) = kept {
            self.core.tell(&format!("cannot keep closed segments: {error}"));
        }
    }

    fn closed(&self) -> io::Result<(Vec<Segment>, u64)> {
        let current = hold(&self.core.writer).first;
        let segments = segment::list(&self.core.settings.directory)?;
        Ok((segments.into_iter().filter(|segment| segment.first < current).collect(), current))
    }

    fn compress(&self) -> io::Result<()> {
        let (closed, _) = self.closed()?;
        closed.iter().filter(|segment| !segment.compressed).try_for_each(|segment| compress(&segment.path))
    }

    /// Removes the oldest segments that the rules give up, after a signed record that says which and why.
    fn retain(&self) -> io::Result<()> {
        let settings = &self.core.settings;
        if settings.retention_age.is_none() && settings.retention_bytes.is_none() {
            return Ok(());
        }
        let (closed, current) = self.closed()?;
        let ends: Vec<u64> = closed.iter().skip(1).map(|next| next.first).chain([current]).collect();
        let Some((count, rule)) = self.given_up(&closed)? else { return Ok(()) };
        let (Some(first), Some(end)) = (closed.first(), count.checked_sub(1).and_then(|last| ends.get(last))) else {
            return Ok(());
        };
        let next = settings.directory.join(segment::file_name(*end));
        let retention = Retention {
            rule,
            first: first.first,
            last: end - 1,
            last_hash: previous_hash(&next)?,
            segments: count as u64,
        };
        self.record(retention)?;
        for segment in closed.iter().take(count) {
            std::fs::remove_file(&segment.path)?;
        }
        sync_directory(&settings.directory)
    }

    fn record(&self, retention: Retention) -> io::Result<()> {
        let mut batch = Batch::default();
        batch.push(&self.core.record(Event::Retention(retention)));
        self.core.write(&mut hold(&self.core.writer), &[&batch])?;
        self.core.checkpoint("retention")?;
        self.core.sync();
        Ok(())
    }

    /// How many of the oldest segments go, and by which rule.
    fn given_up(&self, closed: &[Segment]) -> io::Result<Option<(usize, String)>> {
        let settings = &self.core.settings;
        let mut sizes = Vec::new();
        let mut old = 0;
        for segment in closed {
            let metadata = std::fs::metadata(&segment.path)?;
            sizes.push(metadata.len());
            let age = metadata.modified()?.elapsed().unwrap_or_default();
            if settings.retention_age.is_some_and(|limit| age > limit) && old + 1 == sizes.len() {
                old += 1;
            }
        }
        let mut total: u64 = sizes.iter().sum();
        let mut many = 0;
        for size in sizes {
            if settings.retention_bytes.is_none_or(|limit| total <= limit) {
                break;
            }
            total -= size;
            many += 1;
        }
        let age_rule = format!("age {}s", settings.retention_age.unwrap_or_default().as_secs());
        let bytes_rule = format!("bytes {}", settings.retention_bytes.unwrap_or_default());
        let rule = if old >= many { age_rule } else { bytes_rule };
        Ok((old.max(many) > 0).then_some((old.max(many), rule)))
    }
}

/// The hash before a segment's first record, as its heading states it.
fn previous_hash(plain: &Path) -> io::Result<String> {
    let compressed = plain.with_extension("jsonl.zst");
    let path = if plain.exists() { plain } else { &compressed };
    let segment = Segment::of_path(path).ok_or(io::ErrorKind::NotFound)?;
    let mut line = Vec::new();
    io::BufRead::read_until(&mut segment.open()?, b'\n', &mut line)?;
    let heading: serde_json::Value = serde_json::from_slice(&line)?;
    let previous = heading.get("previous").and_then(|value| value.as_str()).unwrap_or_default();
    chain::unhex::<32>(previous.as_bytes()).ok_or(io::ErrorKind::InvalidData)?;
    Ok(previous.to_owned())
}

/// Compresses a closed segment: a crash at any point leaves it readable, plain or compressed. The file's time stays.
fn compress(plain: &Path) -> io::Result<()> {
    let target = plain.with_extension("jsonl.zst");
    let staged = staged_beside(&target);
    let source = File::open(plain)?;
    let modified = source.metadata()?.modified()?;
    let file = frames::compress(source, File::create(&staged)?)?;
    file.set_modified(modified)?;
    file.sync_all()?;
    std::fs::rename(&staged, &target)?;
    sync_directory(plain.parent().unwrap_or(Path::new(".")))?;
    std::fs::remove_file(plain)
}

/// Replaces a small file in one step.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let staged = staged_beside(path);
    let mut file = File::create(&staged)?;
    file.write_all(bytes)?;
    file.sync_data()?;
    std::fs::rename(&staged, path)
}

fn staged_beside(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".tmp");
    path.with_file_name(name)
}

pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}
