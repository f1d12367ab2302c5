//! `pgwarden audit export`: records as JSON lines, CSV, Parquet or OCSF.

mod ocsf;
mod parquet;

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::search::json;
use super::source::Source;
use super::{FilterWords, Place, Usage};
use crate::amounts::count;
use crate::audit::filter::Filter;
use crate::audit::search::{Entry, search};
use crate::audit::view::Story;

/// Records between two looks at the progress bar.
const SHOW_EVERY: u64 = 5_000;
/// Widest progress bar.
const BAR: u64 = 40;

#[derive(Clone, Debug, Args)]
pub(super) struct Export {
    #[command(flatten)]
    filter: FilterWords,
    /// The form.
    #[arg(long, value_enum, default_value_t = Format::Jsonl)]
    format: Format,
    /// The file to write, instead of standard output. It must not exist.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Each record as it stands, its outcome as one more member.
    Jsonl,
    /// A heading and one line a record; a cell that a spreadsheet would take for a formula begins with an apostrophe.
    Csv,
    /// A Parquet file with the columns of the CSV form; needs `--output`.
    Parquet,
    /// One event of the Open Cybersecurity Schema Framework a line: statements are Datastore Activity, logins Authentication.
    Ocsf,
}

/// The columns of the CSV and Parquet forms.
const COLUMNS: &[&str] = &[
    "seq",
    "time",
    "event",
    "id",
    "session",
    "user",
    "role",
    "environment",
    "database",
    "endpoint",
    "client",
    "login",
    "application",
    "verdict",
    "rule",
    "policy",
    "effects",
    "objects",
    "text",
    "parameters",
    "fingerprint",
    "transaction",
    "sqlstate",
    "tag",
    "rows",
    "bytes",
    "duration_us",
    "state",
    "reason",
];

/// What takes the records.
enum Sink {
    Lines(Box<dyn Write>, fn(&Entry) -> Option<String>),
    Parquet(parquet::Writer),
}

impl Sink {
    fn write(&mut self, entry: &Entry) -> anyhow::Result<()> {
        match self {
            Sink::Lines(out, line) => {
                if let Some(line) = line(entry) {
                    writeln!(out, "{line}")?;
                }
            }
            Sink::Parquet(writer) => writer.push(entry)?,
        }
        Ok(())
    }

    fn finish(self) -> anyhow::Result<()> {
        match self {
            Sink::Lines(mut out, _) => Ok(out.flush()?),
            Sink::Parquet(writer) => writer.finish(),
        }
    }
}

impl Export {
    pub(super) fn run(&self, place: &Place) -> anyhow::Result<ExitCode> {
        let filter = self.filter.parse()?;
        let mut sink = self.sink()?;
        let mut progress = self.progress(place, &filter);
        let mut failed = None;
        search(&place.directory, &filter, |entry| {
            progress.step();
            match sink.write(&entry) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    failed = Some(error);
                    ControlFlow::Break(())
                }
            }
        })?;
        failed.map_or(Ok(()), Err)?;
        sink.finish()?;
        progress.finish();
        Ok(ExitCode::SUCCESS)
    }

    fn sink(&self) -> anyhow::Result<Sink> {
        let file = match &self.output {
            Some(path) => Some(File::create_new(path).map_err(|error| Usage(format!("{}: {error}", path.display())))?),
            None if self.format == Format::Parquet => {
                return Err(Usage("a Parquet file is not for the terminal: write --output FILE".to_owned()).into());
            }
            None => None,
        };
        if let (Format::Parquet, Some(file)) = (self.format, &file) {
            return Ok(Sink::Parquet(parquet::Writer::new(file.try_clone()?)?));
        }
        let mut out: Box<dyn Write> = match file {
            Some(file) => Box::new(BufWriter::new(file)),
            None => Box::new(BufWriter::new(io::stdout().lock())),
        };
        let line: fn(&Entry) -> Option<String> = match self.format {
            Format::Jsonl | Format::Parquet => |entry| Some(json(entry)),
            Format::Csv => |entry| entry.with(row),
            Format::Ocsf => |entry| entry.with(|story| ocsf::event(story).to_string()),
        };
        if self.format == Format::Csv {
            writeln!(out, "{}", COLUMNS.join(","))?;
        }
        Ok(Sink::Lines(out, line))
    }

    /// How far it is, where somebody watches and it does not stand between the records.
    fn progress(&self, place: &Place, filter: &Filter) -> Progress {
        let watched = io::stderr().is_terminal() && self.output.is_some();
        let total = watched.then(|| match Source::of(&place.directory) {
            Source::Index(index) => index.count(filter).ok(),
            // Counting would take as long as the work itself.
            Source::Scan(_) => None,
        });
        Progress { watched, total: total.flatten(), done: 0 }
    }
}

/// A progress bar on standard error.
struct Progress {
    watched: bool,
    total: Option<u64>,
    done: u64,
}

impl Progress {
    fn step(&mut self) {
        self.done += 1;
        if self.watched && self.done.is_multiple_of(SHOW_EVERY) {
            eprint!("\r{}", self.line());
        }
    }

    fn line(&self) -> String {
        let Some(total) = self.total.filter(|total| *total > 0) else { return format!("{} records", count(self.done)) };
        let full = (self.done.min(total) * BAR / total) as usize;
        let bar = format!("{}{}", "█".repeat(full), "░".repeat(BAR as usize - full));
        format!("{bar} {} of {} records", count(self.done), count(total))
    }

    fn finish(mut self) {
        if self.watched {
            self.total = self.total.map(|_| self.done);
            eprintln!("\r{}", self.line());
        }
    }
}

fn row(story: &Story<'_>) -> String {
    COLUMNS.iter().map(|column| cell(&value(story, column))).collect::<Vec<_>>().join(",")
}

fn value(story: &Story<'_>, column: &str) -> String {
    let record = story.record;
    let later = story.outcome.unwrap_or(record);
    let number = |value: Option<u64>| value.map(|value| value.to_string()).unwrap_or_default();
    let list = |pick: fn(&crate::audit::view::EffectView<'_>) -> String| {
        let all: Vec<String> = record.effects.iter().map(pick).filter(|text| !text.is_empty()).collect();
        all.join(" ")
    };
    match column {
        "seq" => record.seq.to_string(),
        "time" => record.time.to_string(),
        "event" => record.event.to_string(),
        "id" => record.id.to_string(),
        "session" => record.session.to_string(),
        "user" => record.user.to_string(),
        "role" => record.role.to_string(),
        "environment" => record.environment.to_string(),
        "database" => record.database.to_string(),
        "endpoint" => record.endpoint.to_string(),
        "client" => record.client.to_string(),
        "login" => record.login.to_string(),
        "application" => record.application.to_string(),
        "verdict" => record.verdict.to_string(),
        "rule" => record.rule.to_string(),
        "policy" => record.policy.to_string(),
        "effects" => list(|effect| effect.class.to_string()),
        "objects" => list(|effect| effect.object.to_string()),
        "text" => record.text.to_string(),
        "parameters" if record.parameters.is_empty() => String::new(),
        "parameters" => serde_json::to_string(&record.parameters).unwrap_or_default(),
        "fingerprint" => record.fingerprint.to_string(),
        "transaction" => number(record.transaction),
        "sqlstate" => later.sqlstate.to_string(),
        "tag" => later.tag.to_string(),
        "rows" => number(later.rows),
        "bytes" => number(later.bytes),
        "duration_us" => number(later.duration_us),
        "state" => later.state.to_string(),
        "reason" => record.reason.to_string(),
        _ => String::new(),
    }
}

/// A CSV cell (RFC 4180).
fn cell(text: &str) -> String {
    let guarded = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}") } else { text.to_owned() };
    if guarded.contains([',', '"', '\n', '\r']) { format!("\"{}\"", guarded.replace('"', "\"\"")) } else { guarded }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_and_no_formulas() {
        assert_eq!(cell("plain"), "plain");
        assert_eq!(cell("a,\"b\"\nc"), "\"a,\"\"b\"\"\nc\"");
        assert_eq!(cell("=cmd|x"), "'=cmd|x");
    }
}
