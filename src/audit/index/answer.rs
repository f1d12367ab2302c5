//! Answers out of a snapshot of the index: blocks newest or oldest first, each asked the same question.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashSet};
use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use super::build::{Late, split_effects};
use super::column::{Columns, Home, NumberColumn, TextColumn, home, shown};
use super::select::{Bits, Question, Source, View};
use super::store::Store;
use super::{IndexError, Meta};
use crate::audit::filter::{Field, Filter};
use crate::audit::frames::Lines;
use crate::audit::query::{
    Bucket, Facet, Found, Neighbourhood, NewFingerprint, Order, Page, PageRequest, Rank, Tally, bucket_of,
};
use crate::audit::search::Entry;
use crate::audit::segment;
use crate::audit::view::RecordView;
use crate::audit::{AuditId, Timestamp};

/// Stretches of time of one block that are counted in a row rather than a map.
const ROW_OF_BUCKETS: u64 = 4_096;

/// The index as it was at one moment.
pub(super) struct Snapshot<'a> {
    pub(super) directory: &'a Path,
    pub(super) store: Option<&'a Store>,
    pub(super) stored: Arc<Vec<Meta>>,
    pub(super) memory: Vec<Arc<(Meta, Columns)>>,
    pub(super) late: Arc<Vec<Late>>,
}

/// A record that was found: where its line is, and which record is its outcome.
#[derive(Clone, Copy, Debug)]
struct Hit {
    segment: u64,
    offset: u64,
    seq: u64,
    outcome: Option<u64>,
}

impl Snapshot<'_> {
    fn blocks(&self) -> usize {
        self.stored.len() + self.memory.len()
    }

    fn meta(&self, index: usize) -> Option<&Meta> {
        match index.checked_sub(self.stored.len()) {
            None => self.stored.get(index),
            Some(index) => self.memory.get(index).map(|block| &block.0),
        }
    }

    fn view(&self, index: usize) -> Option<View<'_>> {
        match index.checked_sub(self.stored.len()) {
            None => Some(View::new(self.stored.get(index)?, Source::Stored(self.store?), &self.late)),
            Some(index) => {
                let block = self.memory.get(index)?;
                Some(View::new(&block.0, Source::Memory(&block.1), &self.late))
            }
        }
    }

    /// Hands every block in which something passes to `look`, with what passes.
    fn each(
        &self,
        question: &Question<'_>,
        order: Order,
        mut look: impl FnMut(&View<'_>, &Bits) -> Result<ControlFlow<()>, IndexError>,
    ) -> Result<(), IndexError> {
        for at in 0..self.blocks() {
            let index = if order == Order::Newest { self.blocks() - 1 - at } else { at };
            let Some(view) = self.view(index).filter(|view| !question.is_outside(view.meta)) else { continue };
            let passing = question.select(&view)?;
            if !passing.is_empty() && look(&view, &passing)?.is_break() {
                break;
            }
        }
        Ok(())
    }

    pub(super) fn search(
        &self,
        filter: &Filter,
        except: Option<&HashSet<AuditId>>,
        page: PageRequest,
    ) -> Result<Page, IndexError> {
        let question = Question::new(filter, except, self.store)?;
        let mut hits = Vec::new();
        self.pick(&question, page, &mut hits)?;
        let more = hits.len() > page.limit;
        hits.truncate(page.limit);
        let next = hits.last().map(|hit| hit.seq).filter(|_| more);
        Ok(Page { entries: self.entries(&hits)?, next })
    }

    /// Up to one more than a page.
    fn pick(&self, question: &Question<'_>, page: PageRequest, hits: &mut Vec<Hit>) -> Result<(), IndexError> {
        let newest = page.order == Order::Newest;
        for at in 0..self.blocks() {
            let index = if newest { self.blocks() - 1 - at } else { at };
            let Some(view) = self.view(index).filter(|view| !question.is_outside(view.meta)) else { continue };
            let meta = view.meta;
            if page.after.is_some_and(|after| if newest { meta.first_seq >= after } else { meta.last_seq <= after }) {
                continue;
            }
            let passing = question.select(&view)?;
            let mut take = |row: usize| -> Result<bool, IndexError> {
                let hit = hit(&view, row)?;
                if page.after.is_none_or(|after| if newest { hit.seq < after } else { hit.seq > after }) {
                    hits.push(hit);
                }
                Ok(hits.len() > page.limit)
            };
            let rows: &mut dyn Iterator<Item = usize> =
                if newest { &mut passing.rows().rev() } else { &mut passing.rows() };
            for row in rows {
                if take(row)? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn entries(&self, hits: &[Hit]) -> Result<Vec<Entry>, IndexError> {
        let (mut records, mut outcomes) = (Lines::default(), Lines::default());
        let mut entries = Vec::with_capacity(hits.len());
        for hit in hits {
            let Some(line) = self.line(&mut records, hit.segment, hit.offset, hit.seq)? else { continue };
            let outcome = match hit.outcome {
                Some(seq) => self.line_of(&mut outcomes, seq)?,
                None => None,
            };
            entries.push(Entry { line, outcome });
        }
        Ok(entries)
    }

    /// A record's line; `None` if its segment was removed since.
    fn line(&self, lines: &mut Lines, segment: u64, offset: u64, seq: u64) -> Result<Option<String>, IndexError> {
        match lines.line(self.directory, segment, offset) {
            Ok(line) if line.starts_with(&format!("{{\"seq\":{seq},")) => Ok(Some(line)),
            Ok(_) => Err(IndexError::Stale),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) => {
                Err(IndexError::Stale)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn line_of(&self, lines: &mut Lines, seq: u64) -> Result<Option<String>, IndexError> {
        let Some((index, row)) = self.place_of(seq)? else { return Ok(None) };
        let Some(view) = self.view(index) else { return Ok(None) };
        let Some(offset) = view.number(NumberColumn::Offset, row)? else { return Ok(None) };
        self.line(lines, view.meta.segment, offset, seq)
    }

    /// The block and row of a sequence number.
    fn place_of(&self, seq: u64) -> Result<Option<(usize, usize)>, IndexError> {
        let holds =
            |index: &usize| self.meta(*index).is_some_and(|meta| (meta.first_seq..=meta.last_seq).contains(&seq));
        for index in (0..self.blocks()).rev().filter(holds) {
            let Some(view) = self.view(index) else { continue };
            // Sequence numbers have no gaps, so it stands as far from the first as its number says.
            let guess = usize::try_from(seq - view.meta.first_seq).unwrap_or(usize::MAX);
            if view.number(NumberColumn::Seq, guess)? == Some(seq) {
                return Ok(Some((index, guess)));
            }
            let found = view.numbers(NumberColumn::Seq)?.iter().position(|stored| shown(*stored) == Some(seq));
            if let Some(row) = found {
                return Ok(Some((index, row)));
            }
        }
        Ok(None)
    }

    /// The block and row of an audit id.
    pub(super) fn place_of_id(&self, id: AuditId) -> Result<Option<(usize, usize)>, IndexError> {
        let holds =
            |index: &usize| self.meta(*index).is_some_and(|meta| (meta.first_id..=meta.last_id).contains(&id.0));
        for index in (0..self.blocks()).rev().filter(holds) {
            let Some(view) = self.view(index) else { continue };
            let found = view.numbers(NumberColumn::Id)?.iter().position(|stored| shown(*stored) == Some(id.0));
            if let Some(row) = found {
                return Ok(Some((index, row)));
            }
        }
        Ok(None)
    }

    pub(super) fn count(&self, filter: &Filter, except: Option<&HashSet<AuditId>>) -> Result<u64, IndexError> {
        let question = Question::new(filter, except, self.store)?;
        let mut count = 0;
        self.each(&question, Order::Oldest, |_, passing| {
            count += passing.count();
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(count)
    }

    pub(super) fn facets(&self, filter: &Filter, fields: &[Field], most: usize) -> Result<Vec<Facet>, IndexError> {
        let question = Question::new(filter, None, self.store)?;
        let mut tallies = vec![Tally::default(); fields.len()];
        self.each(&question, Order::Oldest, |view, passing| {
            for (field, tally) in fields.iter().zip(&mut tallies) {
                count_values(view, passing, *field, tally)?;
            }
            Ok(ControlFlow::Continue(()))
        })?;
        let facet = |(field, tally): (&Field, &Tally)| Facet {
            field: *field,
            values: tally.top(most),
            distinct: tally.distinct(),
        };
        Ok(fields.iter().zip(&tallies).map(facet).collect())
    }

    pub(super) fn timeline(&self, filter: &Filter, bucket_us: u64) -> Result<Vec<Bucket>, IndexError> {
        let question = Question::new(filter, None, self.store)?;
        let mut buckets: BTreeMap<Timestamp, Bucket> = BTreeMap::new();
        self.each(&question, Order::Oldest, |view, passing| {
            for bucket in buckets_of(view, passing, bucket_us)? {
                let sum = buckets.entry(bucket.from).or_insert(Bucket { from: bucket.from, ..Bucket::default() });
                sum.statements.allow += bucket.statements.allow;
                sum.statements.deny += bucket.statements.deny;
                sum.statements.observe += bucket.statements.observe;
                sum.others += bucket.others;
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(buckets.into_values().collect())
    }

    pub(super) fn ranked(&self, filter: &Filter, rank: Rank, most: usize) -> Result<Vec<Entry>, IndexError> {
        let column = match rank {
            Rank::Duration => NumberColumn::Duration,
            Rank::Bytes => NumberColumn::Bytes,
            Rank::Rows => NumberColumn::Rows,
        };
        let statements = Filter::of(Field::Event, "statement").and(filter);
        let question = Question::new(&statements, None, self.store)?;
        let mut best: BinaryHeap<Reverse<(u64, u64)>> = BinaryHeap::new();
        self.each(&question, Order::Newest, |view, passing| {
            let (figures, outcomes) = (view.numbers(column)?, view.numbers(NumberColumn::Outcome)?);
            let seqs = view.numbers(NumberColumn::Seq)?;
            for row in passing.rows().filter(|row| outcomes.get(*row).is_some_and(|outcome| *outcome > 0)) {
                let (Some(figure), Some(seq)) =
                    (figures.get(row).copied().and_then(shown), seqs.get(row).copied().and_then(shown))
                else {
                    continue;
                };
                if best.len() < most || best.peek().is_some_and(|least| (figure, seq) > least.0) {
                    best.push(Reverse((figure, seq)));
                    if best.len() > most {
                        best.pop();
                    }
                }
            }
            Ok(ControlFlow::Continue(()))
        })?;
        let mut best: Vec<(u64, u64)> = best.into_iter().map(|Reverse(one)| one).collect();
        best.sort_by(|a, b| b.cmp(a));
        let seqs: Vec<u64> = best.into_iter().map(|(_, seq)| seq).collect();
        self.entries_of(&seqs)
    }

    fn entries_of(&self, seqs: &[u64]) -> Result<Vec<Entry>, IndexError> {
        let mut hits = Vec::with_capacity(seqs.len());
        for seq in seqs {
            if let Some((index, row)) = self.place_of(*seq)?
                && let Some(view) = self.view(index)
            {
                hits.push(hit(&view, row)?);
            }
        }
        self.entries(&hits)
    }

    pub(super) fn new_fingerprints(
        &self,
        environment: Option<&str>,
        since: Timestamp,
        most: usize,
    ) -> Result<Vec<NewFingerprint>, IndexError> {
        let mut new: Vec<(String, String, u64, u64)> = Vec::new();
        for block in &self.memory {
            for first in block.1.first_fingerprints() {
                let stored = self.store.map_or(Ok(false), |store| store.knows_fingerprint(&first.0, &first.1))?;
                let known = stored || new.iter().any(|(at, of, ..)| *at == first.0 && *of == first.1);
                if !known && environment.is_none_or(|wanted| first.0 == wanted) {
                    new.push(first);
                }
            }
        }
        new.retain(|(_, _, _, time)| *time >= since.0);
        new.reverse();
        if let Some(store) = self.store {
            new.extend(store.new_fingerprints(environment, since.0, most)?);
        }
        new.truncate(most);
        let mut answer = Vec::with_capacity(new.len());
        for (environment, fingerprint, seq, time) in new {
            if let Some(entry) = self.entries_of(&[seq])?.pop() {
                answer.push(NewFingerprint { fingerprint, environment, first: Timestamp(time), entry });
            }
        }
        Ok(answer)
    }

    pub(super) fn record(&self, id: AuditId) -> Result<Option<Found>, IndexError> {
        let Some((index, row)) = self.place_of_id(id)? else { return Ok(None) };
        let Some(view) = self.view(index) else { return Ok(None) };
        let Some(entry) = self.entries(&[hit(&view, row)?])?.pop() else { return Ok(None) };
        let name = segment::file_name(view.meta.segment);
        let plain = self.directory.join(&name).exists();
        let file = if plain { name } else { format!("{name}.zst") };
        Ok(Some(Found { entry, file, line: view.meta.first_line + row as u64 }))
    }

    pub(super) fn neighbourhood(&self, id: AuditId, around: usize) -> Result<Option<Neighbourhood>, IndexError> {
        let Some(found) = self.record(id)? else { return Ok(None) };
        let Some(record) = RecordView::parse(found.entry.line.as_bytes()) else { return Ok(None) };
        let mut near = Neighbourhood::default();
        self.gather_session(&record, around, &mut near)?;
        let mut related = self.all(&Filter::of(Field::Event, "review").and(&Filter::of(Field::Of, &record.id)))?;
        for grant in record.grant.split(' ').filter(|grant| !grant.is_empty()) {
            related.extend(self.all(&Filter::of(Field::Event, "grant").and(&Filter::of(Field::Grant, grant)))?);
        }
        if !record.session.is_empty() {
            let cancels = Filter::of(Field::Event, "cancel").and(&Filter::of(Field::Target, &record.session));
            related.extend(self.all(&cancels)?);
        }
        let seq = |line: &String| RecordView::parse(line.as_bytes()).map(|record| record.seq);
        let mut lines: Vec<String> = related.into_iter().map(|entry| entry.line).collect();
        lines.retain(|line| seq(line) != Some(record.seq));
        lines.sort_by_key(seq);
        near.related = lines;
        Ok(Some(near))
    }

    fn gather_session(
        &self,
        record: &RecordView<'_>,
        around: usize,
        near: &mut Neighbourhood,
    ) -> Result<(), IndexError> {
        if record.session.is_empty() {
            return Ok(());
        }
        // A session's id is the moment it began, so nothing of it is older.
        let began = record.session.parse::<AuditId>().ok().map(|id| Timestamp(id.0.saturating_sub(60_000_000)));
        let session = Filter::of(Field::Session, &record.session).and(&Filter::within(began, None));
        let of = |event: &str| Filter::of(Field::Event, event).and(&session);
        let page = |limit, after, order| PageRequest { limit, after, order };
        let statements = of("statement");
        near.before = self.search(&statements, None, page(around, Some(record.seq), Order::Newest))?.entries;
        near.before.reverse();
        near.after = self.search(&statements, None, page(around, Some(record.seq), Order::Oldest))?.entries;
        let other = |mut entries: Vec<Entry>| {
            entries.retain(|entry| !entry.line.starts_with(&format!("{{\"seq\":{},", record.seq)));
            entries.pop()
        };
        near.login = other(self.search(&of("login"), None, page(1, None, Order::Oldest))?.entries);
        near.session_end = other(self.search(&of("session_end"), None, page(1, None, Order::Newest))?.entries);
        if let Some(transaction) = record.transaction {
            let ends = of("transaction").and(&Filter::number(Field::Transaction, transaction));
            near.transaction =
                other(self.search(&ends, None, page(1, None, Order::Newest))?.entries).map(|end| end.line);
        }
        Ok(())
    }

    fn all(&self, filter: &Filter) -> Result<Vec<Entry>, IndexError> {
        Ok(self.search(filter, None, PageRequest { limit: 1_000, after: None, order: Order::Oldest })?.entries)
    }
}

fn hit(view: &View<'_>, row: usize) -> Result<Hit, IndexError> {
    Ok(Hit {
        segment: view.meta.segment,
        offset: view.number(NumberColumn::Offset, row)?.unwrap_or(u64::MAX),
        seq: view.number(NumberColumn::Seq, row)?.unwrap_or_default(),
        outcome: view.number(NumberColumn::Outcome, row)?,
    })
}

fn count_values(view: &View<'_>, passing: &Bits, field: Field, tally: &mut Tally) -> Result<(), IndexError> {
    match home(field) {
        Home::Text(column) => {
            for (value, count) in counts(view, passing, column)?.filter(|(value, _)| !value.is_empty()) {
                tally.add(&value, count);
            }
        }
        Home::Effects => {
            for (joined, count) in counts(view, passing, TextColumn::Effects)? {
                let mut values: Vec<String> = split_effects(&joined)
                    .into_iter()
                    .map(|effect| match field {
                        Field::Effect => effect.class.into_owned(),
                        Field::Act => effect.act.into_owned(),
                        _ => effect.object.into_owned(),
                    })
                    .filter(|value| !value.is_empty())
                    .collect();
                values.sort();
                values.dedup();
                values.iter().for_each(|value| tally.add(value, count));
            }
        }
        Home::Id(column) | Home::Number(column) => {
            let numbers = view.numbers(column)?;
            for number in passing.rows().filter_map(|row| numbers.get(row).copied().and_then(shown)) {
                let is_id = matches!(home(field), Home::Id(_));
                tally.add(&if is_id { AuditId(number).to_string() } else { number.to_string() }, 1);
            }
        }
        Home::Time => {}
    }
    Ok(())
}

/// How often each value of a column occurs among the records that pass.
fn counts(
    view: &View<'_>,
    passing: &Bits,
    column: TextColumn,
) -> Result<impl Iterator<Item = (String, u64)>, IndexError> {
    let texts = view.texts(column)?;
    let mut counts = vec![0u64; texts.dictionary.len()];
    for row in passing.rows() {
        let code = texts.codes.get(row).map_or(usize::MAX, |code| usize::from(*code));
        counts.get_mut(code).into_iter().for_each(|count| *count += 1);
    }
    let named = counts.into_iter().enumerate().filter(|(_, count)| *count > 0);
    let named: Vec<(String, u64)> =
        named.map(|(code, count)| (texts.dictionary.get(code).map_or("", |value| value).to_owned(), count)).collect();
    Ok(named.into_iter())
}

fn buckets_of(view: &View<'_>, passing: &Bits, bucket_us: u64) -> Result<Vec<Bucket>, IndexError> {
    let [events, verdicts] = [view.texts(TextColumn::Event)?, view.texts(TextColumn::Verdict)?];
    let times = view.numbers(NumberColumn::Time)?;
    let first = bucket_of(Timestamp(view.meta.first_time), bucket_us);
    let length = (view.meta.last_time - first.0.min(view.meta.last_time)) / bucket_us.max(1) + 1;
    let mut row_of: Vec<Bucket> = Vec::new();
    let mut map: BTreeMap<Timestamp, Bucket> = BTreeMap::new();
    if length <= ROW_OF_BUCKETS {
        let from = |at: u64| Timestamp(first.0 + at * bucket_us);
        row_of = (0..length).map(|at| Bucket { from: from(at), ..Bucket::default() }).collect();
    }
    let is_statement: Vec<bool> = events.dictionary.iter().map(|event| **event == *"statement").collect();
    for row in passing.rows() {
        let time = Timestamp(times.get(row).copied().and_then(shown).unwrap_or_default());
        let at = time.0.checked_sub(first.0).and_then(|after| usize::try_from(after / bucket_us.max(1)).ok());
        let bucket = match at.and_then(|at| row_of.get_mut(at)) {
            Some(bucket) => bucket,
            None => {
                let from = bucket_of(time, bucket_us);
                map.entry(from).or_insert(Bucket { from, ..Bucket::default() })
            }
        };
        let code = events.codes.get(row).map_or(usize::MAX, |code| usize::from(*code));
        match is_statement.get(code) {
            Some(true) => bucket.statements.add(verdicts.value(row), 1),
            _ => bucket.others += 1,
        }
    }
    row_of.retain(|bucket| bucket.statements.total() + bucket.others > 0);
    row_of.extend(map.into_values());
    Ok(row_of)
}
