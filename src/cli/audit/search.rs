//! `pgwarden audit search`: the records that a filter lets pass, a page at a time.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Args;

use super::source::Source;
use super::{FilterWords, Place};
use crate::audit::query::PageRequest;
use crate::audit::search::Entry;

#[derive(Clone, Debug, Args)]
pub(super) struct Search {
    #[command(flatten)]
    filter: FilterWords,
    /// Records on a page.
    #[arg(long, default_value_t = 50, value_name = "N")]
    limit: usize,
    /// Which page, the newest first.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    page: u32,
    /// Only count.
    #[arg(long)]
    count: bool,
}

impl Search {
    pub(super) fn run(&self, place: &Place) -> anyhow::Result<ExitCode> {
        let filter = self.filter.parse()?;
        let source = Source::of(&place.directory);
        let total = source.count(&filter)?;
        let mut entries = Vec::new();
        if !self.count {
            // Pages are counted from the newest record; on a page, the oldest comes first.
            let before = self.limit.saturating_mul(self.page as usize - 1);
            entries = source.search(&filter, PageRequest::newest(before.saturating_add(self.limit)))?.entries;
            entries.drain(..before.min(entries.len()));
            entries.reverse();
        }
        self.answer(place, &entries, total)?;
        Ok(ExitCode::SUCCESS)
    }

    fn answer(&self, place: &Place, entries: &[Entry], total: u64) -> io::Result<()> {
        let mut out = io::BufWriter::new(io::stdout().lock());
        if self.count {
            return if place.json { writeln!(out, "{{\"count\":{total}}}") } else { writeln!(out, "{total}") };
        }
        for entry in entries {
            writeln!(out, "{}", if place.json { json(entry) } else { line(place, entry) })?;
        }
        out.flush()?;
        if !place.json {
            let pages = total.div_ceil(self.limit.max(1) as u64);
            eprintln!("{} of {total} records, page {} of {pages}", entries.len(), self.page);
        }
        Ok(())
    }
}

fn line(place: &Place, entry: &Entry) -> String {
    entry.with(|story| place.printer.record(story)).unwrap_or_default()
}

/// The record as it stands, with its outcome's record as one more member.
pub(super) fn json(entry: &Entry) -> String {
    match (&entry.outcome, entry.line.strip_suffix('}')) {
        (Some(outcome), Some(open)) => format!("{open},\"outcome\":{outcome}}}"),
        _ => entry.line.clone(),
    }
}
