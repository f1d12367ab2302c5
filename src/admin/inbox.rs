//! The review inbox: what a person is to look at, by the rules of the configuration, less what people have looked at.
//!
//! A value: records and reviews in, items out; the log is its only memory, so a restart finds what was there. Records that are
//! alike (same user, role, environment, verdict, rule and fingerprint) are shown as one item; each is reviewed by a record of its own.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ring::digest;

use super::reviews::ReviewAction;
use crate::audit::chain::hex;
use crate::audit::query::{ReviewState, time_of};
use crate::audit::search::Entry;
use crate::audit::view::{RecordView, Story};
use crate::audit::{AuditId, Timestamp};
use crate::config::ReviewRule;
use crate::decision::fingerprint;

/// How far back the inbox looks.
pub const LOOKBACK: Duration = Duration::from_secs(400 * 86_400);
/// Items that may wait; records of more are counted, and said to be left out.
pub const MOST_ITEMS: usize = 2_000;
/// Records of one item that are kept at once. What is more comes up when these are done.
pub const MOST_RECORDS: usize = 1_000;
/// Bytes of a statement kept with an item.
const TEXT_BYTES: usize = 600;

/// Records that are alike and wait for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Names it.
    pub key: String,
    /// The rules that brought it here.
    pub rules: Vec<String>,
    /// The newest record, its text cut.
    pub newest: Entry,
    /// The records that wait, the oldest first.
    pub waiting: Vec<AuditId>,
    /// When the oldest was recorded.
    pub first: Timestamp,
    /// When the newest was recorded.
    pub last: Timestamp,
    /// When it is overdue.
    pub due: Timestamp,
    /// Whom it is assigned to.
    pub assigned: Option<String>,
    /// The last word on it, if there was one.
    pub said: Option<ReviewState>,
    /// Whether somebody said that it is a problem.
    pub problem: bool,
}

impl Item {
    /// Whether nobody looked at it in time. A problem is known.
    pub fn is_overdue(&self, now: Timestamp) -> bool {
        !self.problem && self.due < now
    }
}

/// How many items there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Items that wait, problems not among them.
    pub open: usize,
    /// Those of them that are overdue.
    pub overdue: usize,
    /// Items with a problem.
    pub problems: usize,
    /// Whether there was no room for more.
    pub full: bool,
}

#[derive(Debug, Default)]
struct Group {
    /// Records that wait, by sequence number.
    waiting: BTreeMap<u64, (Timestamp, AuditId)>,
    rules: Vec<(String, Duration)>,
    newest: Entry,
    newest_seq: u64,
    said: Option<ReviewState>,
}

#[derive(Debug, Default)]
struct Inner {
    groups: HashMap<String, Group>,
    /// Where a record waits.
    places: HashMap<AuditId, (String, u64)>,
    /// What was said here and may not have reached the index yet.
    said: HashMap<AuditId, ReviewState>,
    full: bool,
}

/// The inbox.
#[derive(Debug, Default)]
pub struct Inbox(Mutex<Inner>);

/// Which item a record belongs to.
pub fn key_of(record: &RecordView<'_>) -> String {
    let alike = match record.event.as_ref() {
        "statement" if !record.fingerprint.is_empty() => record.fingerprint.to_string(),
        "statement" => fingerprint(&record.text),
        "login_failed" => record.reason.to_string(),
        _ => record.id.to_string(),
    };
    let parts: [&str; 7] =
        [&record.event, &record.user, &record.role, &record.environment, &record.verdict, &record.rule, &alike];
    let mut text = String::new();
    for part in parts {
        text.push_str(part);
        text.push('\0');
    }
    hex(digest::digest(&digest::SHA256, text.as_bytes()).as_ref().get(..12).unwrap_or_default())
}

/// Whether nobody has to look at a record any more.
fn is_settled(state: &ReviewState) -> bool {
    state.action == ReviewAction::Acknowledged.name()
}

/// The entry with no more of its text than a list shows: the log has the rest.
fn short(story: &Story<'_>) -> Entry {
    if story.line.len() <= 4 * TEXT_BYTES {
        return Entry { line: story.line.to_owned(), outcome: None };
    }
    let Ok(serde_json::Value::Object(mut fields)) = serde_json::from_str(story.line) else { return Entry::default() };
    for value in fields.values_mut() {
        match value {
            serde_json::Value::String(text) => text.truncate(text.floor_char_boundary(TEXT_BYTES)),
            serde_json::Value::Array(items) => items.truncate(20),
            _ => {}
        }
    }
    fields.remove("parameters");
    Entry { line: serde_json::Value::Object(fields).to_string(), outcome: None }
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets everything, because the rules have changed.
    pub fn clear(&self) {
        *self.lock() = Inner::default();
    }

    /// Takes a record that a rule asks for; the same one may come any number of times. `reviewed` is the last word on it that
    /// the log has.
    pub fn take(&self, rule: &ReviewRule, story: &Story<'_>, reviewed: Option<&ReviewState>) {
        let record = story.record;
        let (Some(at), Ok(id)) = (time_of(record), record.id.parse::<AuditId>()) else { return };
        let mut inner = self.lock();
        let said = inner.said.get(&id).or(reviewed).cloned();
        if said.as_ref().is_some_and(is_settled) {
            return;
        }
        let key = key_of(record);
        if !inner.groups.contains_key(&key) && inner.groups.len() >= MOST_ITEMS {
            inner.full = true;
            return;
        }
        let group = inner.groups.entry(key.clone()).or_default();
        if !group.waiting.contains_key(&record.seq) && group.waiting.len() >= MOST_RECORDS {
            return;
        }
        if !group.rules.iter().any(|(name, _)| *name == rule.name) {
            group.rules.push((rule.name.clone(), rule.within));
        }
        if record.seq > group.newest_seq {
            (group.newest_seq, group.newest) = (record.seq, short(story));
        }
        group.waiting.insert(record.seq, (at, id));
        group.said = said.or(group.said.take());
        inner.places.insert(id, (key, record.seq));
    }

    /// Takes what the log says of records.
    pub fn settle(&self, reviews: &HashMap<AuditId, ReviewState>) {
        let mut inner = self.lock();
        for (id, state) in reviews {
            inner.say(*id, state);
        }
        inner.said.retain(|id, said| reviews.get(id).is_none_or(|state| state.time < said.time));
    }

    /// Takes what was just said of records, before the index knows of it.
    pub fn say(&self, ids: &[AuditId], state: &ReviewState) {
        let mut inner = self.lock();
        for id in ids {
            inner.said.insert(*id, state.clone());
            inner.say(*id, state);
        }
    }

    /// Everything that waits, what is due first at the front and problems at the end.
    pub fn items(&self) -> Vec<Item> {
        let inner = self.lock();
        let mut items: Vec<Item> = inner.groups.iter().filter_map(|(key, group)| group.item(key)).collect();
        items.sort_by(|a, b| (a.problem, a.due, &a.key).cmp(&(b.problem, b.due, &b.key)));
        items
    }

    /// One item, if it waits.
    pub fn item(&self, key: &str) -> Option<Item> {
        self.lock().groups.get(key).and_then(|group| group.item(key))
    }

    /// How many items there are.
    pub fn summary(&self, now: Timestamp) -> Summary {
        let inner = self.lock();
        let mut summary = Summary { full: inner.full, ..Summary::default() };
        for group in inner.groups.values() {
            let Some(due) = group.due() else { continue };
            let problem = group.is_problem();
            summary.problems += usize::from(problem);
            summary.open += usize::from(!problem);
            summary.overdue += usize::from(!problem && due < now);
        }
        summary
    }
}

impl Inner {
    fn say(&mut self, id: AuditId, state: &ReviewState) {
        let Some((key, seq)) = self.places.get(&id).cloned() else { return };
        let Some(group) = self.groups.get_mut(&key) else { return };
        if group.said.as_ref().is_none_or(|said| said.time < state.time) {
            group.said = Some(state.clone());
        }
        if is_settled(state) {
            group.waiting.remove(&seq);
            self.places.remove(&id);
        }
        if group.waiting.is_empty() {
            self.groups.remove(&key);
        }
    }
}

impl Group {
    fn due(&self) -> Option<Timestamp> {
        let (_, (first, _)) = self.waiting.first_key_value()?;
        let within = self.rules.iter().map(|(_, within)| *within).min().unwrap_or_default();
        Some(Timestamp(first.0.saturating_add(u64::try_from(within.as_micros()).unwrap_or(u64::MAX))))
    }

    fn is_problem(&self) -> bool {
        self.said.as_ref().is_some_and(|said| said.action == ReviewAction::Problem.name())
    }

    fn item(&self, key: &str) -> Option<Item> {
        let (_, (first, _)) = self.waiting.first_key_value()?;
        let (_, (last, _)) = self.waiting.last_key_value()?;
        Some(Item {
            key: key.to_owned(),
            rules: self.rules.iter().map(|(name, _)| name.clone()).collect(),
            newest: self.newest.clone(),
            waiting: self.waiting.values().map(|(_, id)| *id).collect(),
            first: *first,
            last: *last,
            due: self.due()?,
            assigned: self.said.as_ref().and_then(|said| said.assigned.clone()),
            said: self.said.clone(),
            problem: self.is_problem(),
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn rule(name: &str, days: u64) -> ReviewRule {
        let within = Duration::from_secs(days * 86_400);
        ReviewRule { name: name.to_owned(), filter: String::new(), within, new: false }
    }

    fn id(seq: u64) -> AuditId {
        AuditId(seq)
    }

    fn line(seq: u64, user: &str, text: &str) -> String {
        format!(
            "{{\"seq\":{seq},\"time\":\"2026-01-{seq:02}T12:00:00.000000Z\",\"event\":\"statement\",\"id\":\"{}\",\"user\":\"{user}\",\
             \"verdict\":\"deny\",\"text\":\"{text}\"}}",
            id(seq)
        )
    }

    fn take(inbox: &Inbox, rule: &ReviewRule, line: &str) -> String {
        let record = RecordView::parse(line.as_bytes()).unwrap();
        inbox.take(rule, &Story { line, record: &record, outcome: None }, None);
        key_of(&record)
    }

    fn said(action: ReviewAction, at: &str) -> ReviewState {
        ReviewState {
            action: action.name().to_owned(),
            by: "ann".to_owned(),
            time: at.to_owned(),
            ..ReviewState::default()
        }
    }

    #[test]
    fn alike_records_are_one_item_and_others_are_not() {
        let inbox = Inbox::default();
        let rule = rule("r", 7);
        for (seq, user, text) in [
            (1, "app", "delete from orders where id = 1"),
            (2, "app", "delete from orders where id = 2"),
            (3, "eve", "delete from orders where id = 3"),
            (4, "app", "delete from customers where id = 1"),
        ] {
            take(&inbox, &rule, &line(seq, user, text));
        }
        let items = inbox.items();
        assert_eq!(items.len(), 3);
        assert_eq!(items[0].waiting, [id(1), id(2)], "due first: {items:?}");
    }

    #[test]
    fn what_was_acknowledged_goes_and_later_ones_come() {
        let inbox = Inbox::default();
        let rule = rule("r", 7);
        let key = take(&inbox, &rule, &line(1, "app", "drop table a"));
        take(&inbox, &rule, &line(3, "app", "drop table a"));
        inbox.say(&[id(1)], &said(ReviewAction::Acknowledged, "1"));
        assert_eq!(inbox.item(&key).unwrap().waiting, [id(3)]);
        take(&inbox, &rule, &line(1, "app", "drop table a"));
        assert_eq!(inbox.item(&key).unwrap().waiting, [id(3)], "it does not come back before the index knows");
        inbox.settle(&HashMap::from([(id(3), said(ReviewAction::Acknowledged, "2"))]));
        assert_eq!((inbox.item(&key), inbox.summary(Timestamp(0)).open), (None, 0));
        take(&inbox, &rule, &line(5, "app", "drop table a"));
        assert_eq!(inbox.item(&key).unwrap().waiting, [id(5)]);
        inbox.say(&[id(99)], &said(ReviewAction::Acknowledged, "3"));
        assert_eq!(inbox.summary(Timestamp(0)).open, 1);
    }

    #[test]
    fn overdue_is_what_nobody_looked_at_in_time() {
        let inbox = Inbox::default();
        let key = take(&inbox, &rule("slow", 7), &line(1, "app", "drop table a"));
        take(&inbox, &rule("fast", 1), &line(1, "app", "drop table a"));
        let first = inbox.item(&key).unwrap().first;
        let after = |hours: u64| Timestamp(first.0 + hours * 3_600_000_000);
        assert_eq!(inbox.summary(after(23)).overdue, 0);
        assert_eq!(inbox.summary(after(25)).overdue, 1, "the strictest rule counts");
        assert_eq!(inbox.item(&key).unwrap().rules, ["slow", "fast"]);
        let assigned = ReviewState { assigned: Some("bob".to_owned()), ..said(ReviewAction::Assigned, "1") };
        inbox.say(&[id(1)], &assigned);
        assert_eq!(inbox.summary(after(25)).overdue, 1, "assigning is not looking");
        assert_eq!(inbox.item(&key).unwrap().assigned.as_deref(), Some("bob"));
        inbox.say(&[id(1)], &said(ReviewAction::Problem, "2"));
        let summary = inbox.summary(after(25));
        assert_eq!((summary.open, summary.overdue, summary.problems), (0, 0, 1));
    }

    #[test]
    fn a_huge_record_takes_little_room() {
        let inbox = Inbox::default();
        let key = take(&inbox, &rule("r", 7), &line(1, "app", &"x".repeat(1 << 20)));
        let item = inbox.item(&key).unwrap();
        assert!(item.newest.line.len() < 2_000);
        assert_eq!(item.newest.with(|story| story.record.text.len()), Some(TEXT_BYTES));
    }
}
