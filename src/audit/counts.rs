//! Reads that are counted: for each session and fingerprint, the first of a minute has a record, the others become one.

use std::collections::HashMap;

use super::Core;
use super::event::{Event, Reads, Record, SessionFields};
use super::time::Timestamp;
use super::writer::Batch;

const MINUTE_US: u64 = 60_000_000;
/// Most counts of one thread; beyond it reads are recorded one by one.
const MOST: usize = 50_000;

/// How a counted read went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Its fingerprint.
    pub fingerprint: u64,
    /// Rows returned.
    pub rows: u64,
    /// Bytes sent to the client.
    pub bytes: u64,
    /// From forwarding to the end of the answer, in microseconds.
    pub duration_us: u64,
    /// Whether the server gave an error.
    pub failed: bool,
}

impl Counted {
    /// What an outcome says.
    pub fn of(fingerprint: u64, outcome: &super::Outcome) -> Counted {
        Counted {
            fingerprint,
            rows: outcome.rows,
            bytes: outcome.bytes,
            duration_us: outcome.duration_us,
            failed: outcome.sqlstate.is_some(),
        }
    }
}

/// The counts of one thread and minute.
#[derive(Default)]
pub(crate) struct Counts {
    minute: u64,
    reads: HashMap<(u64, u64), (SessionFields, Reads), foldhash::fast::RandomState>,
}

impl Counts {
    pub(crate) fn take(&mut self, key: (u64, u64), fields: &SessionFields) -> bool {
        if let Some((_, reads)) = self.reads.get_mut(&key) {
            reads.count += 1;
            return true;
        }
        if self.reads.len() < MOST {
            let reads = Reads { fingerprint: key.1, since: Timestamp(self.minute * MINUTE_US), ..Reads::default() };
            self.reads.insert(key, (fields.clone(), reads));
        }
        false
    }

    /// What ends after its minute's record was written is not counted: its rows would stand in another minute.
    pub(crate) fn settle(&mut self, key: (u64, u64), outcome: &Counted) {
        let Some((_, reads)) = self.reads.get_mut(&key) else { return };
        reads.failed += u64::from(outcome.failed);
        reads.rows += outcome.rows;
        reads.bytes += outcome.bytes;
        reads.duration_us += outcome.duration_us;
    }

    /// Turns the counts into records once their minute is over, or if they are the last.
    pub(crate) fn close(&mut self, core: &Core, out: &mut Batch, last: bool) {
        let minute = Timestamp::now().0 / MINUTE_US;
        if minute == self.minute && !last {
            return;
        }
        self.minute = minute;
        for (_, (fields, reads)) in self.reads.drain().filter(|(_, (_, reads))| reads.count > 0) {
            out.push(&Record::new(core.ids.next(), Some(fields), Event::Reads(reads)));
        }
        self.reads.shrink_to(64);
    }
}
