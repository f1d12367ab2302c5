//! The answers of [`super::query`] out of the segments themselves: slow, and what the index is held to.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::AuditId;
use super::filter::{Field, Filter};
use super::query::{
    Bucket, Counted, Facet, Found, Neighbourhood, NewFingerprint, Order, Page, PageRequest, Rank, ReviewState, Tally,
    bucket_of, time_of, values,
};
use super::search::{Entry, lines, search};
use super::time::Timestamp;
use super::view::{RecordView, Story};

/// A directory of segments, read anew for every question.
#[derive(Clone, Debug)]
pub struct Scan {
    directory: PathBuf,
}

impl Scan {
    /// Reads this directory.
    pub fn new(directory: &Path) -> Scan {
        Scan { directory: directory.to_path_buf() }
    }

    /// A page of what the filter lets pass.
    pub fn search(&self, filter: &Filter, page: PageRequest) -> io::Result<Page> {
        self.search_except(filter, &HashSet::new(), page)
    }

    /// A page of what the filter lets pass, without these records.
    pub fn search_except(&self, filter: &Filter, except: &HashSet<AuditId>, page: PageRequest) -> io::Result<Page> {
        let mut entries: VecDeque<(u64, Entry)> = VecDeque::new();
        let oldest = page.order == Order::Oldest;
        self.each(filter, |story, entry| {
            let seq = story.record.seq;
            if is_among(except, story.record) {
                return ControlFlow::Continue(());
            }
            let behind = page.after.is_none_or(|after| if oldest { seq > after } else { seq < after });
            if behind {
                entries.push_back((seq, entry.clone()));
            }
            if entries.len() > page.limit + 1 && !oldest {
                entries.pop_front();
            }
            if oldest && entries.len() > page.limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        if !oldest {
            entries.make_contiguous().reverse();
        }
        let more = entries.len() > page.limit;
        entries.truncate(page.limit);
        let next = entries.back().map(|(seq, _)| *seq).filter(|_| more);
        Ok(Page { entries: entries.into_iter().map(|(_, entry)| entry).collect(), next })
    }

    /// How many records the filter lets pass.
    pub fn count(&self, filter: &Filter) -> io::Result<u64> {
        self.count_except(filter, &HashSet::new())
    }

    /// How many records the filter lets pass, without these.
    pub fn count_except(&self, filter: &Filter, except: &HashSet<AuditId>) -> io::Result<u64> {
        let mut count = 0;
        self.each(filter, |story, _| {
            count += u64::from(!is_among(except, story.record));
            ControlFlow::Continue(())
        })?;
        Ok(count)
    }

    /// The most frequent values of several fields.
    pub fn facets(&self, filter: &Filter, fields: &[Field], most: usize) -> io::Result<Vec<Facet>> {
        let mut tallies = vec![Tally::default(); fields.len()];
        self.each(filter, |story, _| {
            for (field, tally) in fields.iter().zip(&mut tallies) {
                values(*field, story).iter().for_each(|value| tally.add(value, 1));
            }
            ControlFlow::Continue(())
        })?;
        let facet = |(field, tally): (&Field, &Tally)| Facet {
            field: *field,
            values: tally.top(most),
            distinct: tally.distinct(),
        };
        Ok(fields.iter().zip(&tallies).map(facet).collect())
    }

    /// The most frequent values of one field.
    pub fn top(&self, filter: &Filter, field: Field, most: usize) -> io::Result<Vec<Counted>> {
        Ok(self.facets(filter, &[field], most)?.pop().map(|facet| facet.values).unwrap_or_default())
    }

    /// What happened when; stretches of time in which nothing did are left out.
    pub fn timeline(&self, filter: &Filter, bucket_us: u64) -> io::Result<Vec<Bucket>> {
        let mut buckets: BTreeMap<Timestamp, Bucket> = BTreeMap::new();
        self.each(filter, |story, _| {
            let from = bucket_of(time_of(story.record).unwrap_or_default(), bucket_us);
            let bucket = buckets.entry(from).or_insert(Bucket { from, ..Bucket::default() });
            match story.record.event.as_ref() {
                "statement" => bucket.statements.add(&story.record.verdict, 1),
                _ => bucket.others += 1,
            }
            ControlFlow::Continue(())
        })?;
        Ok(buckets.into_values().collect())
    }

    /// The statements that took longest, or sent most; of equal ones, the newest first.
    pub fn ranked(&self, filter: &Filter, rank: Rank, most: usize) -> io::Result<Vec<Entry>> {
        let mut best: Vec<(u64, u64, Entry)> = Vec::new();
        self.each(filter, |story, entry| {
            if let Some(figure) = rank.of(story) {
                best.push((figure, story.record.seq, entry.clone()));
                best.sort_by_key(|(figure, seq, _)| std::cmp::Reverse((*figure, *seq)));
                best.truncate(most);
            }
            ControlFlow::Continue(())
        })?;
        Ok(best.into_iter().map(|(_, _, entry)| entry).collect())
    }

    /// Fingerprints whose first statement in an environment is not older than `since`, the newest first.
    pub fn new_fingerprints(
        &self,
        environment: Option<&str>,
        since: Timestamp,
        most: usize,
    ) -> io::Result<Vec<NewFingerprint>> {
        let mut seen = HashSet::new();
        let mut new = Vec::new();
        self.each(&Filter::default(), |story, entry| {
            let record = story.record;
            let wanted = environment.is_none_or(|wanted| record.environment == wanted);
            let key = (record.environment.to_string(), record.fingerprint.to_string());
            let first = time_of(record).unwrap_or_default();
            if wanted && !record.fingerprint.is_empty() && seen.insert(key) && first >= since {
                new.push(NewFingerprint {
                    fingerprint: record.fingerprint.to_string(),
                    environment: record.environment.to_string(),
                    first,
                    entry: entry.clone(),
                });
            }
            ControlFlow::Continue(())
        })?;
        new.reverse();
        new.truncate(most);
        Ok(new)
    }

    /// The last word on every record that was reviewed.
    pub fn reviews(&self) -> io::Result<HashMap<AuditId, ReviewState>> {
        let mut states: HashMap<AuditId, ReviewState> = HashMap::new();
        self.each(&Filter::of(Field::Event, "review"), |story, _| {
            if let Ok(id) = story.record.of.parse() {
                states.entry(id).or_default().follow(story.record);
            }
            ControlFlow::Continue(())
        })?;
        Ok(states)
    }

    /// A record by its audit id.
    pub fn record(&self, id: AuditId) -> io::Result<Option<Found>> {
        let (id, mut found) = (id.to_string(), None::<Found>);
        let (mut number, mut file) = (0, PathBuf::new());
        lines(&self.directory, (None, None), |segment, line| {
            number = if file == segment.path { number + 1 } else { 1 };
            file.clone_from(&segment.path);
            let Some(record) = line.contains(&id).then(|| RecordView::parse(line.as_bytes())).flatten() else {
                return ControlFlow::Continue(());
            };
            if record.id == id {
                let file = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
                found = Some(Found { entry: Entry { line: line.to_owned(), outcome: None }, file, line: number });
            } else if record.event == "outcome" && record.of == id {
                found.iter_mut().for_each(|found| found.entry.outcome = Some(line.to_owned()));
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })?;
        Ok(found)
    }

    /// What stands around a record, with up to `around` statements before and after; `None` if there is no such record.
    pub fn neighbourhood(&self, id: AuditId, around: usize) -> io::Result<Option<Neighbourhood>> {
        let Some(found) = self.record(id)? else { return Ok(None) };
        let Some(record) = RecordView::parse(found.entry.line.as_bytes()) else { return Ok(None) };
        let mut near = Neighbourhood::default();
        let every = Filter::every_event();
        self.each(&every, |story, entry| {
            place(&mut near, &record, story, entry, around);
            ControlFlow::Continue(())
        })?;
        Ok(Some(near))
    }

    fn each(&self, filter: &Filter, mut look: impl FnMut(&Story<'_>, &Entry) -> ControlFlow<()>) -> io::Result<()> {
        search(&self.directory, filter, |entry| {
            entry.with(|story| look(story, &entry)).unwrap_or(ControlFlow::Continue(()))
        })
    }
}

fn is_among(ids: &HashSet<AuditId>, record: &RecordView<'_>) -> bool {
    !ids.is_empty() && record.id.parse().is_ok_and(|id| ids.contains(&id))
}

/// Puts an entry where it belongs around `record`, if it does. Entries come oldest first.
fn place(near: &mut Neighbourhood, record: &RecordView<'_>, story: &Story<'_>, entry: &Entry, around: usize) {
    let other = story.record;
    let same_session = !record.session.is_empty() && other.session == record.session;
    match other.event.as_ref() {
        _ if other.seq == record.seq => {}
        "review" if other.of == record.id => near.related.push(entry.line.clone()),
        "grant" if !other.grant.is_empty() && record.grant.split(' ').any(|grant| grant == other.grant) => {
            near.related.push(entry.line.clone())
        }
        "cancel" if !record.session.is_empty() && other.target == record.session => {
            near.related.push(entry.line.clone());
        }
        "login" if same_session => near.login = Some(entry.clone()),
        "session_end" if same_session => near.session_end = Some(entry.clone()),
        "transaction" if same_session && other.transaction == record.transaction => {
            near.transaction = Some(entry.line.clone());
        }
        "statement" if same_session && other.seq < record.seq => {
            near.before.push(entry.clone());
            near.before.drain(..near.before.len().saturating_sub(around));
        }
        "statement" if same_session && near.after.len() < around => near.after.push(entry.clone()),
        _ => {}
    }
}
