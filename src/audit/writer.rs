//! The end of the log: the chain and the open segment, behind one lock. One write call appends many records, or none of them.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use super::chain::{self, Chain};
use super::event::{Event, Gap, Record};
use super::id::Ids;
use super::json::{self, Members};
use super::keys::Keys;
use super::segment;
use super::time::Timestamp;

/// Buffers above this are given back after use.
const KEEP_BYTES: usize = 4 << 20;

/// Rendered records one after the other, each without its place in the chain.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Batch {
    pub(crate) fn push(&mut self, record: &Record) {
        record.write(&mut self.bytes);
        self.ends.push(self.bytes.len());
    }

    pub(crate) fn append(&mut self, other: &Batch) {
        let base = self.bytes.len();
        self.bytes.extend_from_slice(&other.bytes);
        self.ends.extend(other.ends.iter().map(|end| base + end));
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.bytes.shrink_to(KEEP_BYTES);
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    pub(crate) fn byte_count(&self) -> usize {
        self.bytes.len()
    }

    fn bodies(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| self.bytes.get(start..end).unwrap_or_default())
    }
}

/// The open segment and the end of the chain.
pub(crate) struct Writer {
    file: Arc<File>,
    pub(crate) path: PathBuf,
    pub(crate) first: u64,
    /// Bytes of whole records. What lies behind is cut off before the next write.
    pub(crate) length: u64,
    torn: bool,
    pub(crate) chain: Chain,
    out: Vec<u8>,
    pub(crate) opened: Instant,
    pub(crate) unsigned: u64,
    pub(crate) gap: Option<Gap>,
    /// The newest checkpoint's line.
    pub(crate) checkpoint: Vec<u8>,
    keys: Arc<Keys>,
}

/// Opens a segment file for appending; `create` makes it, and it must not exist.
pub(crate) fn open_segment(path: &Path, create: bool) -> io::Result<File> {
    OpenOptions::new().append(true).read(true).create_new(create).mode(0o640).open(path)
}

impl Writer {
    /// Goes on with a segment that ends at `length`.
    pub(crate) fn resume(path: PathBuf, first: u64, length: u64, chain: Chain, keys: Arc<Keys>) -> io::Result<Writer> {
        let file = open_segment(&path, false)?;
        Ok(Writer::over(file, path, first, length, chain, keys))
    }

    /// Begins a new segment after `chain`.
    pub(crate) fn begin(directory: &Path, chain: Chain, keys: Arc<Keys>, ids: &Ids) -> io::Result<Writer> {
        let first = chain.seq + 1;
        let path = directory.join(segment::file_name(first));
        let file = open_segment(&path, true)?;
        let mut writer = Writer::over(file, path, first, 0, chain, keys);
        let mut batch = Batch::default();
        batch.push(&heading(ids, &chain));
        writer.append([&batch])?;
        Ok(writer)
    }

    fn over(file: File, path: PathBuf, first: u64, length: u64, chain: Chain, keys: Arc<Keys>) -> Writer {
        let (file, opened) = (Arc::new(file), Instant::now());
        let (out, checkpoint) = (Vec::new(), Vec::new());
        Writer { file, path, first, length, torn: false, chain, out, opened, unsigned: 0, gap: None, checkpoint, keys }
    }

    /// Appends the batches in order with one write. On an error nothing was appended and the chain stands where it stood.
    pub(crate) fn append<'a>(&mut self, batches: impl IntoIterator<Item = &'a Batch>) -> io::Result<()> {
        self.out.clear();
        let mut chain = self.chain;
        for body in batches.into_iter().flat_map(Batch::bodies) {
            chain.seal(self.keys.marks(), &mut self.out, body);
        }
        self.write_out()?;
        self.unsigned += chain.seq - self.chain.seq;
        self.chain = chain;
        self.out.shrink_to(KEEP_BYTES);
        Ok(())
    }

    /// Appends a checkpoint: a signature over the chain as it stands.
    pub(crate) fn sign(&mut self, reason: &str, ids: &Ids) -> io::Result<()> {
        let body = self.checkpoint_body(reason, ids);
        self.out.clear();
        let mut chain = self.chain;
        chain.seal(self.keys.marks(), &mut self.out, &body);
        self.write_out()?;
        self.chain = chain;
        self.unsigned = 0;
        self.checkpoint.clone_from(&self.out);
        Ok(())
    }

    fn checkpoint_body(&self, reason: &str, ids: &Ids) -> Vec<u8> {
        let mut line = b"{\"seq\":".to_vec();
        json::number(&mut line, self.chain.seq + 1);
        let body = line.len();
        let mut members = Members(&mut line);
        members.word("time", &Timestamp::now().to_string());
        members.word("event", "checkpoint");
        members.word("id", &ids.next().to_string());
        members.word("reason", reason);
        members.number("through", self.chain.seq);
        members.word("through_hash", &chain::hex(&self.chain.hash));
        members.word("key", &self.keys.public().name());
        let signature = self.keys.sign(&line);
        Members(&mut line).word("signature", &signature);
        line.split_off(body)
    }

    fn write_out(&mut self) -> io::Result<()> {
        if self.torn {
            self.file.set_len(self.length)?;
            self.torn = false;
        }
        let mut rest = self.out.as_slice();
        while !rest.is_empty() {
            match (&*self.file).write(rest) {
                Ok(0) => return self.cut_back(io::ErrorKind::WriteZero.into()),
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return self.cut_back(error),
            }
        }
        self.length += self.out.len() as u64;
        Ok(())
    }

    /// After a failed or short write: no part of a record stays behind.
    fn cut_back(&mut self, error: io::Error) -> io::Result<()> {
        self.torn = self.file.set_len(self.length).is_err();
        Err(error)
    }

    /// Goes over to `next`, an empty file at `staged`: signs the end of this segment and begins the next one.
    /// On an error this segment goes on.
    pub(crate) fn rotate(&mut self, next: File, staged: &Path, directory: &Path, ids: &Ids) -> io::Result<()> {
        self.sign("rotation", ids)?;
        let path = directory.join(segment::file_name(self.chain.seq + 1));
        let mut successor = Writer::over(next, path, self.chain.seq + 1, 0, self.chain, Arc::clone(&self.keys));
        let mut batch = Batch::default();
        batch.push(&heading(ids, &self.chain));
        successor.append([&batch])?;
        std::fs::rename(staged, &successor.path)?;
        successor.gap = self.gap.take();
        successor.checkpoint = std::mem::take(&mut self.checkpoint);
        successor.out = std::mem::take(&mut self.out);
        *self = successor;
        Ok(())
    }

    /// Whether the file at the segment's path is still the one written to, and not shorter.
    pub(crate) fn is_in_place(&self) -> bool {
        match (std::fs::metadata(&self.path), self.file.metadata()) {
            (Ok(there), Ok(ours)) => {
                there.ino() == ours.ino() && there.dev() == ours.dev() && there.len() >= self.length
            }
            (Err(error), _) => error.kind() != io::ErrorKind::NotFound,
            (Ok(_), Err(_)) => true,
        }
    }

    /// Writes the segment again where it stood, from the file that is still open, and goes on there.
    /// Records whose bytes somebody cut off are gone; the answer says how many bytes were saved.
    pub(crate) fn put_back(&mut self, directory: &Path) -> io::Result<u64> {
        std::fs::create_dir_all(directory)?;
        let staged = directory.join(".restored.jsonl");
        let _ = std::fs::remove_file(&staged);
        let copy = open_segment(&staged, true)?;
        let copied = copy_from_start(&self.file, &copy, self.length)?;
        let saved = if copied < self.length { whole_lines(&copy)? } else { copied };
        copy.set_len(saved)?;
        copy.sync_all()?;
        std::fs::rename(&staged, &self.path)?;
        (self.file, self.length, self.torn) = (Arc::new(copy), saved, false);
        Ok(saved)
    }

    /// The open file, to be synced outside the lock.
    pub(crate) fn file(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }
}

fn copy_from_start(from: &File, to: &File, length: u64) -> io::Result<u64> {
    use std::os::unix::fs::FileExt as _;
    let mut buffer = vec![0; 1 << 16];
    let mut at = 0;
    while at < length {
        let wanted = usize::try_from(length - at).unwrap_or(usize::MAX).min(buffer.len());
        let read = from.read_at(buffer.get_mut(..wanted).unwrap_or_default(), at)?;
        if read == 0 {
            break;
        }
        (&*to).write_all(buffer.get(..read).unwrap_or_default())?;
        at += read as u64;
    }
    Ok(at)
}

/// Bytes up to the end of the last whole line.
fn whole_lines(file: &File) -> io::Result<u64> {
    use std::os::unix::fs::FileExt as _;
    let mut bytes = vec![0; usize::try_from(file.metadata()?.len()).unwrap_or(0)];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at as u64 + 1))
}

fn heading(ids: &Ids, chain: &Chain) -> Record {
    Record::new(ids.next(), None, Event::Segment { previous: chain::hex(&chain.hash) })
}
