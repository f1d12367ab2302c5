//! What may be asked of the log, and the answers: the same values whether an index gave them or the segments themselves.

use std::collections::HashMap;

use serde::Serialize;

use super::filter::Field;
use super::search::Entry;
use super::time::Timestamp;
use super::view::{RecordView, Story};

/// In which order a page is filled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// The newest record first.
    #[default]
    Newest,
    /// The oldest record first.
    Oldest,
}

/// Which page of the answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageRequest {
    /// Most entries on it.
    pub limit: usize,
    /// Goes on behind the record with this sequence number: the `next` of the page before. `None` for the first page.
    pub after: Option<u64>,
    /// The order.
    pub order: Order,
}

impl PageRequest {
    /// The newest entries.
    pub fn newest(limit: usize) -> PageRequest {
        PageRequest { limit, after: None, order: Order::Newest }
    }
}

/// A page of records, each with its outcome.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The entries, in the order that was asked for.
    pub entries: Vec<Entry>,
    /// Where the next page begins; `None` when there is none.
    pub next: Option<u64>,
}

/// A value and how often it occurs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Counted {
    /// The value.
    pub value: String,
    /// How many entries have it.
    pub count: u64,
}

/// The values of one field among the entries that a filter lets pass, the most frequent first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facet {
    /// The field.
    pub field: Field,
    /// Its values.
    pub values: Vec<Counted>,
    /// How many different values there are.
    pub distinct: u64,
}

/// Statements by verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Verdicts {
    /// Forwarded.
    pub allow: u64,
    /// Refused.
    pub deny: u64,
    /// Forwarded although the policy would refuse it.
    pub observe: u64,
}

impl Verdicts {
    /// Counts one more, by the record's word.
    pub fn add(&mut self, verdict: &str, times: u64) {
        match verdict {
            "deny" => self.deny += times,
            "observe" => self.observe += times,
            "allow" => self.allow += times,
            _ => {}
        }
    }

    /// All of them.
    pub fn total(self) -> u64 {
        self.allow + self.deny + self.observe
    }
}

/// What happened in one stretch of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// Its first moment.
    pub from: Timestamp,
    /// Statements by verdict.
    pub statements: Verdicts,
    /// Other entries.
    pub others: u64,
}

/// By what entries are ranked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rank {
    /// How long the statement took.
    Duration,
    /// Bytes sent to the client.
    Bytes,
    /// Rows returned or affected.
    Rows,
}

impl Rank {
    /// The entry's figure; `None` for an entry that has none.
    pub fn of(self, story: &Story<'_>) -> Option<u64> {
        let outcome = story.outcome.filter(|_| story.record.event == "statement")?;
        match self {
            Rank::Duration => outcome.duration_us,
            Rank::Bytes => outcome.bytes,
            Rank::Rows => outcome.rows,
        }
    }
}

/// A fingerprint that an environment had not seen before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewFingerprint {
    /// The fingerprint.
    pub fingerprint: String,
    /// Where it is new.
    pub environment: String,
    /// When it was seen first.
    pub first: Timestamp,
    /// The statement with which it was seen first.
    pub entry: Entry,
}

/// A record with where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The record and its outcome.
    pub entry: Entry,
    /// The segment's file name, as it is now.
    pub file: String,
    /// The record's line in it (decompressed), from 1.
    pub line: u64,
}

/// What stands around a record: its session from login to end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Neighbourhood {
    /// The session's login.
    pub login: Option<Entry>,
    /// Statements of the session before it, oldest first.
    pub before: Vec<Entry>,
    /// Statements of the session after it, oldest first.
    pub after: Vec<Entry>,
    /// How its transaction ended.
    pub transaction: Option<String>,
    /// The session's end.
    pub session_end: Option<Entry>,
    /// Reviews of it, cancel requests for its session, records of the grant that it used.
    pub related: Vec<String>,
}

/// The last word on a record that was reviewed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ReviewState {
    /// `assigned`, `acknowledged`, `problem` or `reopened`.
    pub action: String,
    /// Who said so.
    pub by: String,
    /// Their note.
    pub note: String,
    /// When (RFC 3339).
    pub time: String,
    /// Whom it was assigned to last, if to anybody.
    pub assigned: Option<String>,
}

impl ReviewState {
    /// Follows one more review.
    pub fn follow(&mut self, review: &RecordView<'_>) {
        self.action = review.action.to_string();
        self.by = review.by.to_string();
        self.note = review.note.to_string();
        self.time = review.time.to_string();
        if review.action == "assigned" {
            self.assigned = Some(review.note.to_string());
        }
    }
}

/// The values of a field that an entry has: several for effects, none where the field is absent.
pub fn values(field: Field, story: &Story<'_>) -> Vec<String> {
    let record = story.record;
    let mut all: Vec<String> = match field {
        Field::Effect => record.effects.iter().map(|effect| effect.class.to_string()).collect(),
        Field::Act => record.effects.iter().map(|effect| effect.act.to_string()).collect(),
        Field::Object => record.effects.iter().map(|effect| effect.object.to_string()).collect(),
        _ => vec![super::filter::value_of(field, story)],
    };
    all.retain(|value| !value.is_empty());
    all.sort();
    all.dedup();
    all
}

/// Counts values, however many entries there are.
#[derive(Clone, Debug, Default)]
pub struct Tally(HashMap<String, u64>);

impl Tally {
    /// Counts a value.
    pub fn add(&mut self, value: &str, times: u64) {
        match self.0.get_mut(value) {
            Some(count) => *count += times,
            None => {
                self.0.insert(value.to_owned(), times);
            }
        }
    }

    /// How many different values were counted.
    pub fn distinct(&self) -> u64 {
        self.0.len() as u64
    }

    /// The most frequent values; equally frequent ones in the order of the alphabet.
    pub fn top(&self, most: usize) -> Vec<Counted> {
        let mut all: Vec<(&String, &u64)> = self.0.iter().collect();
        all.sort_unstable_by(|a, b| b.1.cmp(a.1).then_with(|| a.0.cmp(b.0)));
        all.into_iter().take(most).map(|(value, count)| Counted { value: value.clone(), count: *count }).collect()
    }
}

/// The first moment of the bucket that a moment lies in.
pub fn bucket_of(at: Timestamp, bucket_us: u64) -> Timestamp {
    Timestamp(at.0 - at.0 % bucket_us.max(1))
}

/// The record's moment; `None` if it states none.
pub fn time_of(record: &RecordView<'_>) -> Option<Timestamp> {
    record.time.parse::<jiff::Timestamp>().ok().and_then(|at| u64::try_from(at.as_microsecond()).ok()).map(Timestamp)
}
