//! `pgwarden audit tail`: the newest records, and then each as it comes.

use std::collections::VecDeque;
use std::io::{self, BufRead, Write as _};
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::{FilterWords, Place};
use crate::audit::filter::{Filter, is_shown};
use crate::audit::search::lines;
use crate::audit::segment::{self, Segment};
use crate::audit::view::{RecordView, Story};

const LOOK_EVERY: Duration = Duration::from_millis(150);

#[derive(Clone, Debug, Args)]
pub(super) struct Tail {
    #[command(flatten)]
    filter: FilterWords,
    /// Records to show from before.
    #[arg(long, default_value_t = 10, value_name = "N")]
    lines: usize,
    /// Show what is there and stop.
    #[arg(long)]
    no_follow: bool,
}

impl Tail {
    pub(super) fn run(&self, place: &Place) -> anyhow::Result<ExitCode> {
        let filter = self.filter.parse()?;
        let mut newest: VecDeque<String> = VecDeque::new();
        let mut at = 0;
        lines(&place.directory, filter.span(), |_, line| {
            at = sequence(line).unwrap_or(at);
            if let Some(shown) = shown(place, &filter, line) {
                newest.push_back(shown);
            }
            if newest.len() > self.lines {
                newest.pop_front();
            }
            ControlFlow::Continue(())
        })?;
        for line in newest {
            writeln!(io::stdout(), "{line}")?;
        }
        if !self.no_follow {
            follow(place, &filter, at)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn sequence(line: &str) -> Option<u64> {
    RecordView::parse(line.as_bytes()).map(|record| record.seq)
}

/// The line as it is to be shown, if it is.
fn shown(place: &Place, filter: &Filter, line: &str) -> Option<String> {
    let record = RecordView::parse(line.as_bytes())?;
    let story = Story { line, record: &record, outcome: None };
    let wanted = filter.names_events() || is_shown(&record) || (filter.terms.is_empty() && record.event == "outcome");
    (wanted && filter.matches(&story)).then(|| if place.json { line.to_owned() } else { place.printer.record(&story) })
}

/// Shows what comes after record `at`, from segment to segment.
fn follow(place: &Place, filter: &Filter, mut at: u64) -> io::Result<()> {
    let mut open: Option<Following> = None;
    loop {
        let segments = segment::list(&place.directory)?;
        let newest = segments.iter().rev().find(|segment| segment.first <= at + 1).or(segments.first());
        if let Some(segment) = newest.filter(|segment| open.as_ref().is_none_or(|open| open.first < segment.first)) {
            // The last lines of the segment before were written before this one began.
            if let Some(open) = &mut open {
                open.read(place, filter, &mut at)?;
            }
            open = Some(Following::new(segment)?);
        }
        if let Some(open) = &mut open {
            open.read(place, filter, &mut at)?;
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

struct Following {
    first: u64,
    reader: Box<dyn BufRead + Send>,
    partial: Vec<u8>,
}

impl Following {
    fn new(segment: &Segment) -> io::Result<Following> {
        Ok(Following { first: segment.first, reader: segment.open()?, partial: Vec::new() })
    }

    /// Shows every whole line after record `at` that is there by now.
    fn read(&mut self, place: &Place, filter: &Filter, at: &mut u64) -> io::Result<()> {
        while self.reader.read_until(b'\n', &mut self.partial)? > 0 {
            let Some(line) = self.partial.strip_suffix(b"\n") else { break };
            let line = String::from_utf8_lossy(line);
            if let Some(seq) = sequence(&line).filter(|seq| *seq > *at) {
                *at = seq;
                if let Some(shown) = shown(place, filter, &line) {
                    writeln!(io::stdout(), "{shown}")?;
                }
            }
            self.partial.clear();
        }
        Ok(())
    }
}
