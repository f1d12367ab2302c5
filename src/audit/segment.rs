//! Segments: their names, the list of a directory, and reading one, compressed or not.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

/// One segment file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Segment {
    /// Sequence number of its first record, as its name says.
    pub first: u64,
    /// Where it is.
    pub path: PathBuf,
    /// Whether it is compressed (zstd).
    pub compressed: bool,
}

/// The name of the segment that begins with record `first`.
pub fn file_name(first: u64) -> String {
    format!("audit-{first:016}.jsonl")
}

impl Segment {
    /// The segment whose file this is, if its name is a segment's.
    pub fn of_path(path: &Path) -> Option<Segment> {
        let name = path.file_name()?.to_str()?;
        let plain = name.strip_suffix(".zst").unwrap_or(name);
        let digits = plain.strip_prefix("audit-")?.strip_suffix(".jsonl")?;
        let first = digits.parse().ok().filter(|_| digits.len() == 16)?;
        Some(Segment { first, path: path.to_path_buf(), compressed: plain.len() != name.len() })
    }

    /// Opens it for reading from its first record.
    pub fn open(&self) -> io::Result<Box<dyn BufRead + Send>> {
        let file = match File::open(&self.path) {
            // It was compressed since the directory was listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !self.compressed => {
                return decompressed(File::open(self.path.with_extension("jsonl.zst"))?);
            }
            other => other?,
        };
        if self.compressed { decompressed(file) } else { Ok(Box::new(BufReader::with_capacity(1 << 17, file))) }
    }
}

fn decompressed(file: File) -> io::Result<Box<dyn BufRead + Send>> {
    Ok(Box::new(BufReader::with_capacity(1 << 17, zstd::Decoder::new(file)?)))
}

/// The segments of a directory, oldest first. Where a segment lies there both plain and compressed (the instant between the
/// two in which a crash may come), the plain one counts.
pub fn list(directory: &Path) -> io::Result<Vec<Segment>> {
    let mut segments = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        segments.extend(Segment::of_path(&entry?.path()));
    }
    segments.sort_by_key(|segment| (segment.first, segment.compressed));
    segments.dedup_by_key(|segment| segment.first);
    Ok(segments)
}
