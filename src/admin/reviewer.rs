//! Keeps the inbox in step with the log: asks the index for what the rules name, and for what people said of it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::inbox::{Inbox, LOOKBACK};
use super::reviews;
use crate::audit::filter::Filter;
use crate::audit::index::{Index, IndexError};
use crate::audit::query::{Order, PageRequest, ReviewState};
use crate::audit::view::Story;
use crate::audit::{AuditId, Timestamp};
use crate::config::ReviewRule;

/// Entries asked for at once.
const PAGE: usize = 500;
/// Pages of one rule in one round; what is left comes in the next.
const PAGES: usize = 10;
/// A statement's outcome may come this much later, and rules may ask for it: after it, records are asked for again.
const SETTLES: Duration = Duration::from_secs(120);
/// How often new fingerprints are asked for.
const NEW_EVERY: Duration = Duration::from_secs(10);
/// New fingerprints asked for.
const NEW: usize = 1_000;

/// What people said of records.
type Reviews = HashMap<AuditId, ReviewState>;

/// The inbox's side of the log. Its work is done on a blocking thread, a round at a time.
#[derive(Debug, Default)]
pub struct Reviewer {
    rules: Vec<Rule>,
    generation: Option<u64>,
}

#[derive(Debug)]
struct Rule {
    rule: ReviewRule,
    filter: Filter,
    /// When it was asked for new fingerprints.
    new_asked: Option<Instant>,
    /// How far it has come.
    seq: u64,
    /// Where rounds began that are to be read again, with when.
    marks: VecDeque<(Instant, u64)>,
}

impl Reviewer {
    /// One round: what came since the last one, or everything if the rules have changed.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn round(
        &mut self,
        inbox: &Inbox,
        index: &Index,
        rules: &[ReviewRule],
        generation: u64,
    ) -> Result<(), IndexError> {
        let lookback = u64::try_from(LOOKBACK.as_micros()).unwrap_or(u64::MAX);
        let oldest = Timestamp(Timestamp::now().0.saturating_sub(lookback));
        if self.generation != Some(generation) {
            self.begin(inbox, rules, generation);
        }
        if self.rules.is_empty() {
            return Ok(());
        }
        let said: Arc<Reviews> = index.reviews()?;
        for rule in &mut self.rules {
            match rule.rule.new {
                true if rule.new_asked.is_some_and(|at| at.elapsed() < NEW_EVERY) => {}
                true => {
                    rule.take_new(inbox, index, &said, oldest)?;
                    rule.new_asked = Some(Instant::now());
                }
                false => rule.take_since(inbox, index, &said, oldest)?,
            }
        }
        inbox.settle(&said);
        Ok(())
    }

    fn begin(&mut self, inbox: &Inbox, rules: &[ReviewRule], generation: u64) {
        let same = self.rules.len() == rules.len() && self.rules.iter().zip(rules).all(|(old, new)| old.rule == *new);
        if self.generation.replace(generation).is_some() && same {
            return;
        }
        inbox.clear();
        let ready = |rule: &ReviewRule| {
            let filter = reviews::filter(&rule.filter).ok()?;
            Some(Rule { rule: rule.clone(), filter, new_asked: None, seq: 0, marks: VecDeque::new() })
        };
        self.rules = rules.iter().filter_map(ready).collect();
    }
}

impl Rule {
    fn take_since(
        &mut self,
        inbox: &Inbox,
        index: &Index,
        said: &Reviews,
        oldest: Timestamp,
    ) -> Result<(), IndexError> {
        let now = Instant::now();
        let filter = self.filter.clone().and(&Filter::within(Some(oldest), None));
        if self.marks.front().is_some_and(|(at, _)| now.duration_since(*at) >= SETTLES)
            && let Some((_, from)) = self.marks.pop_front()
        {
            self.read(inbox, index, said, &filter, from)?;
        }
        let from = self.seq;
        self.seq = self.read(inbox, index, said, &filter, from)?.max(from);
        if self.seq > from {
            self.marks.push_back((now, from));
        }
        Ok(())
    }

    /// Reads some pages behind a record; gives the last one's sequence number.
    fn read(
        &self,
        inbox: &Inbox,
        index: &Index,
        said: &Reviews,
        filter: &Filter,
        from: u64,
    ) -> Result<u64, IndexError> {
        let mut after = from;
        for _ in 0..PAGES {
            let page = index.search(filter, PageRequest { limit: PAGE, after: Some(after), order: Order::Oldest })?;
            for entry in &page.entries {
                let seq = entry.with(|story| {
                    self.take(inbox, story, said);
                    story.record.seq
                });
                after = after.max(seq.unwrap_or(0));
            }
            if page.next.is_none() {
                break;
            }
        }
        Ok(after)
    }

    fn take_new(&self, inbox: &Inbox, index: &Index, said: &Reviews, oldest: Timestamp) -> Result<(), IndexError> {
        for new in index.new_fingerprints(None, oldest, NEW)? {
            new.entry.with(|story| {
                if self.filter.matches(story) {
                    self.take(inbox, story, said);
                }
            });
        }
        Ok(())
    }

    fn take(&self, inbox: &Inbox, story: &Story<'_>, said: &Reviews) {
        let reviewed = story.record.id.parse::<AuditId>().ok().and_then(|id| said.get(&id));
        inbox.take(&self.rule, story, reviewed);
    }
}
