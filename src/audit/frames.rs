//! Closed segments: compressed in frames that can be read one at a time, and any line of a segment by its offset.
//!
//! The format is zstd's seekable one: ordinary frames, each of whole lines, and a table of them in a skippable frame at the end.
//! `zstd -d` reads it as it reads any file. A segment without the table (compressed before there was one) is read from its start.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;

use super::segment::Segment;

/// Bytes of lines in a frame, at least.
const FRAME_BYTES: usize = 256 << 10;
/// zstd level. On records, level 3 takes twice the time of level 1 and its result is larger.
const LEVEL: i32 = 1;
/// The table's frame begins with this (`ZSTD_MAGIC_SKIPPABLE_START` + 14) …
const TABLE_MAGIC: u32 = 0x184D_2A5E;
/// … and ends with this (`ZSTD_SEEKABLE_MAGICNUMBER`).
const SEEKABLE_MAGIC: u32 = 0x8F92_EAB1;
/// Number of frames, descriptor, magic.
const FOOTER_BYTES: u64 = 9;
/// Compressed and decompressed length.
const ENTRY_BYTES: u64 = 8;
/// The table's own frame header.
const HEADER_BYTES: u64 = 8;
/// A frame longer than this is not one of ours, unless a single line is.
const MOST_FRAME_BYTES: usize = 2 << 30;

/// Compresses `source` into `target`.
pub(crate) fn compress(source: File, mut target: File) -> io::Result<File> {
    let mut compressor = zstd::bulk::Compressor::new(LEVEL)?;
    compressor.include_checksum(true)?;
    let mut reader = BufReader::with_capacity(1 << 17, source);
    let (mut frame, mut table) = (Vec::new(), Vec::new());
    loop {
        let read = reader.read_until(b'\n', &mut frame)?;
        if frame.len() >= FRAME_BYTES || (read == 0 && !frame.is_empty()) {
            let packed = compressor.compress(&frame)?;
            target.write_all(&packed)?;
            table.push((length(packed.len())?, length(frame.len())?));
            frame.clear();
        }
        if read == 0 {
            break;
        }
    }
    write_table(&mut target, &table)?;
    Ok(target)
}

fn length(bytes: usize) -> io::Result<u32> {
    u32::try_from(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "a frame of more than 4 GB"))
}

fn write_table(target: &mut File, table: &[(u32, u32)]) -> io::Result<()> {
    let mut out = Vec::new();
    for (packed, plain) in table {
        out.extend_from_slice(&packed.to_le_bytes());
        out.extend_from_slice(&plain.to_le_bytes());
    }
    out.extend_from_slice(&length(table.len())?.to_le_bytes());
    out.push(0);
    out.extend_from_slice(&SEEKABLE_MAGIC.to_le_bytes());
    target.write_all(&TABLE_MAGIC.to_le_bytes())?;
    target.write_all(&length(out.len())?.to_le_bytes())?;
    target.write_all(&out)
}

/// One frame of a compressed segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Frame {
    /// Where it begins in the file.
    at: u64,
    /// Its bytes there.
    packed: usize,
    /// Where its content begins in the segment.
    from: u64,
    /// Its bytes there.
    plain: usize,
}

/// The frames of a compressed segment; `None` for one that has no table.
fn frames(file: &mut File) -> io::Result<Option<Vec<Frame>>> {
    let length = file.metadata()?.len();
    let Some(footer_at) = length.checked_sub(FOOTER_BYTES) else { return Ok(None) };
    let mut footer = [0; FOOTER_BYTES as usize];
    file.seek(SeekFrom::Start(footer_at))?;
    file.read_exact(&mut footer)?;
    let [a, b, c, d, descriptor, magic @ ..] = footer;
    let count = u64::from(u32::from_le_bytes([a, b, c, d]));
    let Some(table_at) = footer_at.checked_sub(count * ENTRY_BYTES) else { return Ok(None) };
    if u32::from_le_bytes(magic) != SEEKABLE_MAGIC || descriptor != 0 || table_at < HEADER_BYTES {
        return Ok(None);
    }
    let mut table = vec![0; usize::try_from(count * ENTRY_BYTES).unwrap_or(0)];
    file.seek(SeekFrom::Start(table_at))?;
    file.read_exact(&mut table)?;
    let (mut at, mut from) = (0u64, 0u64);
    let mut all = Vec::with_capacity(table.len() / 8);
    for [a, b, c, d, e, f, g, h] in table.as_chunks::<8>().0 {
        let (packed, plain) = (u32::from_le_bytes([*a, *b, *c, *d]), u32::from_le_bytes([*e, *f, *g, *h]));
        all.push(Frame { at, packed: packed as usize, from, plain: plain as usize });
        (at, from) = (at + u64::from(packed), from + u64::from(plain));
    }
    Ok((at + HEADER_BYTES == table_at).then_some(all))
}

/// Reads single lines of segments; keeps the last frame, so that lines that stand close together cost little.
#[derive(Default)]
pub(crate) struct Lines {
    /// First record of the segment, and the segment when it is compressed.
    open: Option<(u64, Open)>,
}

enum Open {
    Plain(File),
    Framed {
        file: File,
        frames: Vec<Frame>,
        current: Option<(u64, Vec<u8>)>,
    },
    /// A compressed segment without a table, whole.
    Whole(Vec<u8>),
}

impl Lines {
    /// The line that begins at an offset of the segment whose first record is `first`, without its newline.
    pub(crate) fn line(&mut self, directory: &Path, first: u64, offset: u64) -> io::Result<String> {
        if self.open.as_ref().is_none_or(|(open, _)| *open != first) {
            self.open = Some((first, Open::segment(directory, first)?));
        }
        let Some((_, open)) = &mut self.open else { return Err(io::ErrorKind::NotFound.into()) };
        let line = open.line(offset)?;
        String::from_utf8(line).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "not UTF-8"))
    }
}

impl Open {
    fn segment(directory: &Path, first: u64) -> io::Result<Open> {
        let plain = directory.join(super::segment::file_name(first));
        let packed = plain.with_extension("jsonl.zst");
        let mut file = match File::open(&plain) {
            Ok(file) => return Ok(Open::Plain(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => File::open(&packed)?,
            Err(error) => return Err(error),
        };
        if let Some(frames) = frames(&mut file)? {
            return Ok(Open::Framed { file, frames, current: None });
        }
        let mut whole = Vec::new();
        Segment { first, path: packed, compressed: true }.open()?.read_to_end(&mut whole)?;
        Ok(Open::Whole(whole))
    }

    fn line(&mut self, offset: u64) -> io::Result<Vec<u8>> {
        match self {
            Open::Plain(file) => {
                file.seek(SeekFrom::Start(offset))?;
                let mut line = Vec::new();
                BufReader::with_capacity(4096, file).read_until(b'\n', &mut line)?;
                without_newline(line)
            }
            Open::Framed { file, frames, current } => {
                let behind = frames.partition_point(|frame| frame.from <= offset);
                let frame = behind.checked_sub(1).and_then(|index| frames.get(index)).ok_or_else(gone)?;
                if current.as_ref().is_none_or(|(from, _)| *from != frame.from) {
                    *current = Some((frame.from, frame.read(file)?));
                }
                let bytes = current.as_ref().map(|(_, bytes)| bytes.as_slice()).unwrap_or_default();
                line_at(bytes, offset - frame.from)
            }
            Open::Whole(bytes) => line_at(bytes, offset),
        }
    }
}

impl Frame {
    fn read(&self, file: &mut File) -> io::Result<Vec<u8>> {
        if self.plain > MOST_FRAME_BYTES || self.packed > MOST_FRAME_BYTES {
            return Err(gone());
        }
        let mut packed = vec![0; self.packed];
        file.seek(SeekFrom::Start(self.at))?;
        file.read_exact(&mut packed)?;
        zstd::bulk::decompress(&packed, self.plain)
    }
}

fn line_at(bytes: &[u8], offset: u64) -> io::Result<Vec<u8>> {
    let rest = usize::try_from(offset).ok().and_then(|offset| bytes.get(offset..)).ok_or_else(gone)?;
    let end = memchr::memchr(b'\n', rest).ok_or_else(gone)?;
    Ok(rest.get(..end).unwrap_or_default().to_vec())
}

fn without_newline(mut line: Vec<u8>) -> io::Result<Vec<u8>> {
    if line.pop() == Some(b'\n') { Ok(line) } else { Err(gone()) }
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the segment is not as it was when it was indexed")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_compressed_segment_reads_as_before_and_line_by_line() {
        let folder = tempfile::tempdir().unwrap();
        let plain = folder.path().join(crate::audit::segment::file_name(1));
        let mut text = Vec::new();
        let mut offsets = Vec::new();
        for number in 0..20_000 {
            offsets.push((text.len() as u64, number));
            text.extend_from_slice(format!("{{\"seq\":{number},\"x\":\"{}\"}}\n", "y".repeat(number % 97)).as_bytes());
        }
        std::fs::write(&plain, &text).unwrap();
        let packed = plain.with_extension("jsonl.zst");
        let open = |path| File::options().write(true).create_new(true).open(path).unwrap();
        compress(File::open(&plain).unwrap(), open(&packed)).unwrap();
        let mut lines = Lines::default();
        let mut compressed = Lines::default();
        let expected = |number: usize| format!("{{\"seq\":{number},\"x\":\"{}\"}}", "y".repeat(number % 97));
        assert_eq!(lines.line(folder.path(), 1, 0).unwrap(), expected(0));
        std::fs::remove_file(&plain).unwrap();
        assert!(frames(&mut File::open(&packed).unwrap()).unwrap().unwrap().len() > 2);
        for (offset, number) in offsets.iter().step_by(777).rev() {
            assert_eq!(compressed.line(folder.path(), 1, *offset).unwrap(), expected(*number));
        }
        let segment = Segment::of_path(&packed).unwrap();
        let mut back = Vec::new();
        segment.open().unwrap().read_to_end(&mut back).unwrap();
        assert!(back == text);
        assert!(compressed.line(folder.path(), 1, text.len() as u64).is_err());
        assert!(compressed.line(folder.path(), 7, 0).is_err());
    }
}
