//! Grants after a start: what the log says of them, and nothing that it cannot prove.
//!
//! The index says which requests are open and which grants are in force; then the log itself is walked from the oldest of them to its end,
//! every hash and keyed mark computed anew. A record that was forged, changed or taken out gives nobody anything.

use std::path::Path;

use super::ledger::{Action, Grant, Ledger, told};
use crate::audit::filter::{Field, Filter};
use crate::audit::index::{Index, IndexError};
use crate::audit::keys::Keys;
use crate::audit::query::{Order, PageRequest, time_of};
use crate::audit::verify::{NoProof, Trust, walk};
use crate::audit::view::RecordView;
use crate::audit::{AuditId, Timestamp};

/// How far back grants are looked for: the lists show older ones no more, and none lasts as long.
const LOOKBACK_DAYS: u64 = 400;
/// Entries asked for at once.
const PAGE: usize = 500;

/// What the log says of grants.
#[derive(Debug, Default)]
pub struct Restored {
    /// All of them. Those that are open or in force stand in it as they were proved.
    pub ledger: Ledger,
    /// Those that the index knows as open or in force, and the log does not prove.
    pub doubted: Vec<(Grant, String)>,
    /// The latest time that the log states: it is no earlier now, whatever the clock says.
    pub latest: Timestamp,
}

/// Reads the log. Takes as long as it takes to walk it from the oldest open request or active grant.
///
/// # Errors
/// The index cannot be read.
pub fn restore(index: &Index, directory: &Path, key: &Path) -> Result<Restored, IndexError> {
    let mut restored = Restored { ledger: history(index)?, ..Restored::default() };
    let living: Vec<Grant> = restored.ledger.living().cloned().collect();
    let ids = living.iter().filter_map(|grant| grant.id.parse::<AuditId>().ok());
    let Some(oldest) = ids.min_by_key(|id| id.0) else { return Ok(restored) };
    let from = index.record(oldest)?.and_then(|found| found.entry.with(|story| story.record.seq)).unwrap_or(1);
    let proved = prove(directory, key, from);
    for grant in living {
        match proved.as_ref().map(|proved| proved.ledger.grant(&grant.id).filter(|known| known.state == grant.state)) {
            Ok(Some(known)) if proved.as_ref().is_ok_and(|proved| proved.damaged.contains(&known.id)) => {
                restored.doubted.push((known.clone(), "the audit log was not as it had been left".to_owned()));
            }
            Ok(Some(known)) => restored.ledger.put(known.clone()),
            Ok(None) => restored.doubted.push((grant, "the audit log does not prove it".to_owned())),
            Err(error) => restored.doubted.push((grant, format!("the audit log does not prove it: {error}"))),
        }
    }
    restored.latest = proved.map(|proved| proved.latest).unwrap_or_default();
    Ok(restored)
}

/// All that the index has.
fn history(index: &Index) -> Result<Ledger, IndexError> {
    let oldest = Timestamp(Timestamp::now().0.saturating_sub(LOOKBACK_DAYS * 86_400_000_000));
    let filter = Filter::of(Field::Event, "grant").and(&Filter::within(Some(oldest), None));
    let mut ledger = Ledger::default();
    let mut after = None;
    loop {
        let page = index.search(&filter, PageRequest { limit: PAGE, after, order: Order::Oldest })?;
        for entry in &page.entries {
            entry.with(|story| follow(&mut ledger, story.record));
        }
        after = page.next;
        if after.is_none() {
            return Ok(ledger);
        }
    }
}

fn follow(ledger: &mut Ledger, record: &RecordView<'_>) {
    if let Some((grant, at)) = told(record) {
        // A request names itself.
        if grant.action != Action::Requested.name() || record.id == record.grant {
            ledger.follow(&grant, at);
        }
    }
}

/// What a walk over the log gave.
#[derive(Debug, Default)]
struct Proved {
    ledger: Ledger,
    latest: Timestamp,
    /// Grants that were in force when the log was found changed, or cut off at its end: it may have said that they are over.
    damaged: Vec<String>,
}

fn prove(directory: &Path, key: &Path, from: u64) -> Result<Proved, String> {
    let keys = Keys::read(key).map_err(|error| error.to_string())?;
    let trust = Trust { public: vec![keys.public()], private: Some(keys), head: None };
    let mut proved = Proved::default();
    let walked = walk(directory, &trust, from, |line| proved.take(line));
    walked.map_err(|error: NoProof| error.to_string())?;
    Ok(proved)
}

impl Proved {
    fn take(&mut self, line: &[u8]) {
        let Some(record) = RecordView::parse(line) else { return };
        self.latest = self.latest.max(time_of(&record).unwrap_or_default());
        match record.event.as_ref() {
            "grant" => follow(&mut self.ledger, &record),
            "recovery" if !record.damage.is_empty() => {
                let active = self.ledger.living().filter(|grant| grant.is_active());
                self.damaged.extend(active.map(|grant| grant.id.clone()));
            }
            _ => {}
        }
    }
}
