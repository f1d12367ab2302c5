//! Following the log: from where the index ends, line by line, segment by segment.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

use super::build::{Builder, Form, Late};
use super::column::{NumberColumn, TextColumn, shown};
use super::form::{Cut, Own};
use super::store::Store;
use super::{IndexError, Meta, State, write};
use crate::audit::AuditId;
use crate::audit::chain::{self, hex};
use crate::audit::query::time_of;
use crate::audit::segment::{self, Segment};
use crate::audit::view::RecordView;

/// Lines that are taken at once, between which questions may be answered.
const BATCH_LINES: usize = 512;
/// A batch ends early when its lines are longer than this.
const BATCH_BYTES: usize = 4 << 20;
/// Statements without outcome that are remembered beyond their block.
const MOST_WAITING: usize = 100_000;

/// Where in the log the next line stands.
#[derive(Clone, Debug, Default)]
struct Position {
    /// First record of the segment; 0 before any.
    segment: u64,
    /// Bytes before the line (decompressed).
    offset: u64,
    /// Its number in the segment, from 1.
    line: u64,
}

/// Follows the log and builds blocks.
pub(super) struct Feed {
    directory: PathBuf,
    /// Where finished blocks go; in memory without it.
    store: Option<Store>,
    /// Most records in a block.
    block_rows: usize,
    position: Position,
    reader: Option<Box<dyn BufRead + Send>>,
    /// Lines that are being taken, and behind them the one that is not finished yet.
    lines: Vec<u8>,
    /// Where each whole line ends.
    ends: Vec<usize>,
    /// Audit id → block and row of forwarded statements of earlier blocks.
    waiting: HashMap<u64, (i64, usize), foldhash::fast::RandomState>,
    /// Reviews in the block that is being built.
    reviews: Vec<(u64, String)>,
    last_hash: String,
}

/// What one turn came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// There may be more at once.
    More,
    /// Everything that is there was taken.
    AtEnd,
}

impl Feed {
    /// Goes on where the stored blocks end.
    pub(super) fn new(directory: &Path, store: Option<Store>, last: Option<&Meta>, block_rows: usize) -> Feed {
        let position = last.map_or_else(Position::default, |last| Position {
            segment: last.segment,
            offset: last.next_offset,
            line: last.first_line + last.rows as u64,
        });
        Feed {
            directory: directory.to_path_buf(),
            store,
            block_rows,
            position,
            reader: None,
            lines: Vec::new(),
            ends: Vec::new(),
            waiting: HashMap::default(),
            reviews: Vec::new(),
            last_hash: String::new(),
        }
    }

    /// Takes the next lines.
    ///
    /// # Errors
    /// The log cannot be read, the index not be written, or the log is not as it was when it was indexed.
    pub(super) fn turn(&mut self, state: &RwLock<State>) -> Result<Turn, IndexError> {
        // Listed before reading: if there is a later segment, this one has all its lines.
        let segments = segment::list(&self.directory)?;
        if self.reader.is_none() && !self.open(&segments)? {
            return Ok(Turn::AtEnd);
        }
        self.read()?;
        if !self.ends.is_empty() {
            self.take(state)?;
            return Ok(Turn::More);
        }
        let next = segments.iter().find(|segment| segment.first > self.position.segment);
        if let Some(next) = next {
            self.seal(state)?;
            self.position = Position { segment: next.first, offset: 0, line: 1 };
            self.reader = None;
            self.lines.clear();
            self.forget(state)?;
            return Ok(Turn::More);
        }
        self.check_in_place()?;
        Ok(Turn::AtEnd)
    }

    /// Opens the segment that the position is in; `false` if there is none.
    fn open(&mut self, segments: &[Segment]) -> Result<bool, IndexError> {
        if self.position.segment == 0 {
            let Some(first) = segments.first() else { return Ok(false) };
            self.position = Position { segment: first.first, offset: 0, line: 1 };
        }
        let found = segments.iter().find(|segment| segment.first == self.position.segment);
        let Some(segment) = found else {
            // Retention took it, or nothing is there any more.
            let Some(next) = segments.iter().find(|segment| segment.first > self.position.segment) else {
                return if segments.is_empty() { Ok(false) } else { Err(IndexError::Stale) };
            };
            self.position = Position { segment: next.first, offset: 0, line: 1 };
            return self.open(segments);
        };
        self.reader = Some(open_at(segment, self.position.offset)?);
        Ok(true)
    }

    /// Reads the next whole lines.
    fn read(&mut self) -> Result<(), IndexError> {
        let Some(reader) = &mut self.reader else { return Ok(()) };
        while self.ends.len() < BATCH_LINES && self.ends.last().is_none_or(|end| *end < BATCH_BYTES) {
            let read = reader.read_until(b'\n', &mut self.lines)?;
            if read == 0 || !self.lines.ends_with(b"\n") {
                break;
            }
            self.ends.push(self.lines.len());
        }
        Ok(())
    }

    /// Takes the lines that were read, and leaves the one that is not finished.
    fn take(&mut self, state: &RwLock<State>) -> Result<(), IndexError> {
        let (mut lines, ends) = (std::mem::take(&mut self.lines), std::mem::take(&mut self.ends));
        let starts = std::iter::once(0).chain(ends.iter().copied());
        let whole = starts.zip(&ends).map(|(start, end)| Line::of(lines.get(start..*end).unwrap_or_default()));
        let whole: Vec<Line<'_>> = whole.collect();
        let mut rest = whole.as_slice();
        while !rest.is_empty() {
            let mut taken = 0;
            let full = {
                let mut state = write(state);
                for line in rest {
                    if state.tail.is_full(self.block_rows) {
                        break;
                    }
                    self.take_line(&mut state, line);
                    taken += 1;
                }
                state.tail.is_full(self.block_rows)
            };
            if full {
                self.seal(state)?;
            }
            rest = rest.get(taken..).unwrap_or_default();
        }
        drop(whole);
        lines.drain(..ends.last().copied().unwrap_or_default());
        lines.shrink_to(BATCH_BYTES);
        (self.lines, self.ends) = (lines, ends);
        self.ends.clear();
        Ok(())
    }

    fn take_line(&mut self, state: &mut State, line: &Line<'_>) {
        let offset = self.position.offset;
        self.position.offset += line.bytes.len() as u64;
        self.position.line += 1;
        if let Some((_, digits)) = chain::unsealed(line.bytes.strip_suffix(b"\n").unwrap_or(line.bytes)) {
            self.last_hash.clear();
            self.last_hash.push_str(digits);
        }
        if state.tail.rows == 0 {
            state.tail_meta = Meta {
                block: state.next_block(),
                segment: self.position.segment,
                first_line: self.position.line - 1,
                ..Meta::default()
            };
        }
        let form = line.cut.as_ref().and_then(|cut| Some((cut, state.tail.form_of(cut)?)));
        if form.is_none_or(|(cut, form)| self.take_known(state, cut, &form, offset).is_none()) {
            self.take_read(state, line, offset);
        }
    }

    /// Takes a line of a known form. `None`, and nothing is taken, if it is to be read.
    fn take_known(&mut self, state: &mut State, cut: &Cut<'_>, form: &Form, offset: u64) -> Option<()> {
        state.tail.push_known(cut, form, offset)?;
        if let Own::Outcome { of, rows, bytes, duration } = cut.own {
            let late = state.tail.outcome(cut.seq, [rows, bytes, duration], form);
            self.settle(state, of.0, late);
        }
        state.tail_meta.reach(Some(cut.seq), Some(cut.time.0), Some(cut.id.0), self.position.offset);
        state.through = state.through.max(cut.seq);
        Some(())
    }

    fn take_read(&mut self, state: &mut State, line: &Line<'_>, offset: u64) {
        // What is no record keeps its place, so that lines are counted right, and has no event, so that nothing finds it.
        let record = RecordView::parse(line.bytes).unwrap_or_default();
        if record.event == "outcome"
            && let Ok(AuditId(statement)) = record.of.parse()
        {
            self.settle(state, statement, Late::of(&record));
        }
        if record.event == "review" {
            state.follow_review(&record);
            self.reviews.push((record.seq, String::from_utf8_lossy(line.bytes).trim_end().to_owned()));
        }
        state.tail.push(&record, offset);
        if let Some(cut) = line.cut.as_ref().filter(|cut| cut.seq == record.seq) {
            state.tail.learn(cut);
        }
        let time = time_of(&record).map(|time| time.0);
        let id = record.id.parse::<AuditId>().ok().map(|id| id.0);
        state.tail_meta.reach(Some(record.seq).filter(|seq| *seq > 0), time, id, self.position.offset);
        state.through = state.through.max(record.seq);
    }

    /// Gives a statement its outcome, wherever it is.
    fn settle(&mut self, state: &mut State, statement: u64, late: Late) {
        if state.tail.settle(statement, &late) {
            return;
        }
        let place = self.waiting.remove(&statement).or_else(|| self.look_up(state, statement));
        if let Some((block, row)) = place {
            Arc::make_mut(&mut state.late).push(Late { block, row, ..late });
        }
    }

    /// Knows the statements of a stored block that have no outcome, for whoever does not write.
    pub(super) fn waiting_from(&mut self, store: &Store, meta: &Meta) -> Result<(), IndexError> {
        let (ids, outcomes) = (store.numbers(meta, NumberColumn::Id)?, store.numbers(meta, NumberColumn::Outcome)?);
        let (events, verdicts) = (store.texts(meta, TextColumn::Event)?, store.texts(meta, TextColumn::Verdict)?);
        for (row, (id, outcome)) in ids.iter().zip(&outcomes).enumerate() {
            let forwarded = events.value(row) == "statement" && verdicts.value(row) != "deny";
            if let Some(id) = shown(*id).filter(|_| forwarded && *outcome == 0) {
                self.waiting.insert(id, (meta.block, row));
            }
        }
        Ok(())
    }

    /// A statement of a block that was stored before this process began.
    fn look_up(&self, state: &State, id: u64) -> Option<(i64, usize)> {
        let store = self.store.as_ref()?;
        let holds = |meta: &&Meta| (meta.first_id..=meta.last_id).contains(&id);
        state.stored.iter().rev().filter(holds).find_map(|meta| {
            let ids = store.numbers(meta, NumberColumn::Id).ok()?;
            let row = ids.iter().position(|stored| shown(*stored) == Some(id))?;
            let settled = store.numbers(meta, NumberColumn::Outcome).ok()?.get(row).is_some_and(|outcome| *outcome > 0);
            (!settled).then_some((meta.block, row))
        })
    }

    /// Finishes the block that is being built.
    fn seal(&mut self, state: &RwLock<State>) -> Result<(), IndexError> {
        let (mut meta, columns, late) = {
            let state = super::read(state);
            (state.tail_meta.clone(), state.tail.columns.clone(), Arc::clone(&state.late))
        };
        if meta.rows == 0 {
            return Ok(());
        }
        meta.last_hash.clone_from(&self.last_hash);
        if let Some(store) = &mut self.store {
            store.write(&meta, &columns, &late, &self.reviews)?;
            self.reviews.clear();
        }
        let mut state = write(state);
        let tail = std::mem::replace(&mut state.tail, Builder::new());
        if self.waiting.len() > MOST_WAITING {
            self.waiting.clear();
        }
        self.waiting.extend(tail.waiting().map(|(id, row)| (id, (meta.block, row))));
        if self.store.is_some() {
            state.late = Arc::default();
            Arc::make_mut(&mut state.stored).push(meta);
        } else {
            state.memory.push(Arc::new((meta, columns)));
        }
        state.tail_meta = Meta::default();
        Ok(())
    }

    /// Whether the segment is shorter than what was read of it.
    fn check_in_place(&self) -> Result<(), IndexError> {
        let path = self.directory.join(segment::file_name(self.position.segment));
        match std::fs::metadata(path) {
            Ok(metadata) if metadata.len() < self.position.offset => Err(IndexError::Stale),
            _ => Ok(()),
        }
    }

    /// Takes out the blocks of segments that retention removed.
    pub(super) fn forget(&mut self, state: &RwLock<State>) -> Result<(), IndexError> {
        let Some(oldest) = segment::list(&self.directory)?.first().map(|segment| segment.first) else { return Ok(()) };
        if super::read(state).stored.first().is_none_or(|first| first.segment >= oldest) {
            return Ok(());
        }
        if let Some(store) = &mut self.store {
            store.remove_before(oldest)?;
        }
        let mut state = write(state);
        Arc::make_mut(&mut state.stored).retain(|meta| meta.segment >= oldest);
        Ok(())
    }
}

/// A whole line.
struct Line<'a> {
    bytes: &'a [u8],
    cut: Option<Cut<'a>>,
}

impl<'a> Line<'a> {
    fn of(bytes: &'a [u8]) -> Line<'a> {
        Line { bytes, cut: Cut::of(bytes.strip_suffix(b"\n").unwrap_or(bytes)) }
    }
}

/// Opens a segment and goes to a place in it.
fn open_at(segment: &Segment, offset: u64) -> Result<Box<dyn BufRead + Send>, IndexError> {
    if !segment.compressed {
        match File::open(&segment.path) {
            Ok(mut file) => {
                if file.metadata()?.len() < offset {
                    return Err(IndexError::Stale);
                }
                file.seek(SeekFrom::Start(offset))?;
                return Ok(Box::new(BufReader::with_capacity(1 << 17, file)));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
    }
    let mut reader = segment.open()?;
    let skipped = io::copy(&mut (&mut reader).take(offset), &mut io::sink())?;
    if skipped < offset { Err(IndexError::Stale) } else { Ok(reader) }
}

/// Whether the last stored record is still what stands at its place in the log.
pub(super) fn is_in_place(directory: &Path, store: &Store, last: &Meta) -> Result<bool, IndexError> {
    let Some(row) = last.rows.checked_sub(1) else { return Ok(false) };
    let offset = store.numbers(last, NumberColumn::Offset)?.get(row).copied().and_then(shown);
    let Some(offset) = offset else { return Ok(false) };
    match crate::audit::frames::Lines::default().line(directory, last.segment, offset) {
        Ok(line) => Ok(chain::Line::parse(line.as_bytes()).is_some_and(|line| hex(&line.hash) == last.last_hash)),
        // Removed by retention: the next segment says whether the chain goes on, and so does `verify`.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Ok(segment::list(directory)?.first().is_some_and(|first| first.first > last.segment))
        }
        Err(error) if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
