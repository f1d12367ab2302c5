//! Searching the segments themselves: records in order, each statement with its outcome.

use std::collections::{HashMap, VecDeque};
use std::io::{self, BufRead as _};
use std::ops::ControlFlow;
use std::path::Path;

use super::filter::{Filter, is_shown};
use super::segment::{self, Segment};
use super::time::Timestamp;
use super::view::{RecordView, Story};

/// Statements that may wait for their outcome before they are shown without.
const WAITING: usize = 100_000;
/// Records' times and their order differ by less than this: a record is timed before it takes its place.
const SLACK_US: u64 = 60_000_000;

/// A record's line, with its outcome's where there is one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// The record's line.
    pub line: String,
    /// The outcome's line.
    pub outcome: Option<String>,
}

impl Entry {
    /// Reads the entry's fields and hands them to `look`.
    pub fn with<T>(&self, look: impl FnOnce(&Story<'_>) -> T) -> Option<T> {
        let record = RecordView::parse(self.line.as_bytes())?;
        let outcome = self.outcome.as_ref().and_then(|line| RecordView::parse(line.as_bytes()));
        Some(look(&Story { line: &self.line, record: &record, outcome: outcome.as_ref() }))
    }
}

/// Hands every whole line of a directory, oldest first, to `visit`, which may stop the reading.
/// Segments that lie outside the span are not opened further than their first record.
pub fn lines(
    directory: &Path,
    (from, to): (Option<Timestamp>, Option<Timestamp>),
    mut visit: impl FnMut(&Segment, &str) -> ControlFlow<()>,
) -> io::Result<()> {
    let segments = segment::list(directory)?;
    let from = from.map(|from| Timestamp(from.0.saturating_sub(SLACK_US)).to_string());
    let to = to.map(|to| Timestamp(to.0.saturating_add(SLACK_US)).to_string());
    for (index, segment) in segments.iter().enumerate() {
        if let (Some(from), Some(next)) = (&from, segments.get(index + 1))
            && first_time(next)? < *from
        {
            continue;
        }
        if to.as_ref().is_some_and(|to| first_time(segment).is_ok_and(|first| first > *to)) {
            return Ok(());
        }
        if read(segment, &mut visit)?.is_break() {
            return Ok(());
        }
    }
    Ok(())
}

fn read(segment: &Segment, visit: &mut impl FnMut(&Segment, &str) -> ControlFlow<()>) -> io::Result<ControlFlow<()>> {
    let mut reader = segment.open()?;
    let mut buffer = Vec::new();
    while reader.read_until(b'\n', &mut buffer)? > 0 {
        if let Some(line) = buffer.strip_suffix(b"\n").and_then(|line| std::str::from_utf8(line).ok())
            && visit(segment, line).is_break()
        {
            return Ok(ControlFlow::Break(()));
        }
        buffer.clear();
    }
    Ok(ControlFlow::Continue(()))
}

fn first_time(segment: &Segment) -> io::Result<String> {
    let mut line = Vec::new();
    segment.open()?.read_until(b'\n', &mut line)?;
    Ok(RecordView::parse(&line).map(|record| record.time.into_owned()).unwrap_or_default())
}

/// Hands every entry that passes, oldest first, to `visit`, which may stop the search.
pub fn search(directory: &Path, filter: &Filter, visit: impl FnMut(Entry) -> ControlFlow<()>) -> io::Result<()> {
    let mut pending = Pending { filter, visit, queue: VecDeque::new(), first: 0, waiting: HashMap::new() };
    let mut stopped = false;
    // Outcomes may come later than the span's end, so only its beginning narrows the reading.
    lines(directory, (filter.span().0, None), |_, line| {
        let flow = pending.take(line);
        stopped = flow.is_break();
        flow
    })?;
    if !stopped {
        let _ = pending.emit(0);
    }
    Ok(())
}

/// Entries in order, of which some wait for their outcome.
struct Pending<'a, V> {
    filter: &'a Filter,
    visit: V,
    queue: VecDeque<(Entry, bool)>,
    /// Number of the entry at the queue's front.
    first: usize,
    /// Audit id of a statement → number of its entry.
    waiting: HashMap<String, usize>,
}

impl<V: FnMut(Entry) -> ControlFlow<()>> Pending<'_, V> {
    fn take(&mut self, line: &str) -> ControlFlow<()> {
        let Some(record) = RecordView::parse(line.as_bytes()) else { return ControlFlow::Continue(()) };
        if record.event == "outcome" {
            self.settle(line, &record);
        }
        let candidate = self.filter.names_events() || is_shown(&record);
        let story = Story { line, record: &record, outcome: None };
        let forwarded = record.event == "statement" && record.verdict != "deny";
        let passes = if forwarded { self.filter.may_match(&story) } else { self.filter.matches(&story) };
        if candidate && passes {
            if forwarded {
                self.waiting.insert(record.id.to_string(), self.first + self.queue.len());
            }
            self.queue.push_back((Entry { line: line.to_owned(), outcome: None }, !forwarded));
        }
        self.emit(WAITING)
    }

    fn settle(&mut self, line: &str, record: &RecordView<'_>) {
        let number = self.waiting.remove(record.of.as_ref());
        let place = number.and_then(|number| number.checked_sub(self.first));
        if let Some((entry, settled)) = place.and_then(|place| self.queue.get_mut(place)) {
            entry.outcome = Some(line.to_owned());
            *settled = true;
        }
    }

    /// Shows what is settled at the front, and whatever is more than `keep` entries back.
    fn emit(&mut self, keep: usize) -> ControlFlow<()> {
        while self.queue.front().is_some_and(|(_, settled)| *settled || self.queue.len() > keep) {
            let Some((entry, _)) = self.queue.pop_front() else { break };
            self.first += 1;
            if entry.with(|story| self.filter.matches(story)).unwrap_or(false) {
                (self.visit)(entry)?;
            }
        }
        ControlFlow::Continue(())
    }
}
