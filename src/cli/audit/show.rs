//! `pgwarden audit show ID`: one record, and what belongs to it.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use super::print::{Ink, duration, lines as safe_lines, local_time, one_line};
use super::source::Source;
use super::{Place, Usage};
use crate::audit::AuditId;
use crate::audit::query::Neighbourhood;
use crate::audit::search::Entry;
use crate::audit::view::{self, RecordView};

#[derive(Clone, Debug, Args)]
pub(super) struct Show {
    /// The audit id, as the refusal shows it.
    id: String,
    /// Statements of the session to show before and after.
    #[arg(long, default_value_t = 5, value_name = "N")]
    around: usize,
}

/// A record and what belongs to it.
struct Story {
    entry: Entry,
    /// The segment's file, and the line in it.
    place: String,
    number: u64,
    near: Neighbourhood,
}

impl Show {
    pub(super) fn run(&self, place: &Place) -> anyhow::Result<ExitCode> {
        let id = self.id.parse::<AuditId>().map_err(|error| Usage(format!("{}: {error}", self.id)))?;
        let source = Source::of(&place.directory);
        let Some(record) = source.record(id)? else {
            eprintln!("pgwarden audit: there is no record {id} in {}", place.directory.display());
            return Ok(ExitCode::FAILURE);
        };
        let found = Story {
            place: record.file,
            number: record.line,
            entry: record.entry,
            near: source.neighbourhood(id, self.around)?,
        };
        if place.json {
            found.print_json()?
        } else {
            found.print(place)?
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Story {
    fn print_json(&self) -> io::Result<()> {
        let value = |line: &String| serde_json::from_str::<Value>(line).unwrap_or(Value::Null);
        let maybe = |line: &Option<String>| line.as_ref().map(value);
        let all = |entries: &[Entry]| entries.iter().map(|entry| value(&entry.line)).collect::<Vec<_>>();
        let one = |entry: &Option<Entry>| entry.as_ref().map(|entry| value(&entry.line));
        let near = &self.near;
        let story = json!({
            "record": value(&self.entry.line), "outcome": maybe(&self.entry.outcome), "transaction": maybe(&near.transaction),
            "login": one(&near.login), "session_end": one(&near.session_end), "before": all(&near.before),
            "after": all(&near.after), "related": near.related.iter().map(value).collect::<Vec<_>>(),
            "place": {"file": self.place, "line": self.number},
        });
        writeln!(io::stdout(), "{story}")
    }

    fn print(&self, place: &Place) -> io::Result<()> {
        let mut out = io::stdout().lock();
        let Some(record) = RecordView::parse(self.entry.line.as_bytes()) else { return Ok(()) };
        let heading = format!("{} {}", one_line(&record.event), one_line(&record.id));
        writeln!(out, "{}", place.printer.ink(Ink::Bold, &heading))?;
        for (name, value) in members(&record) {
            if !value.is_empty() {
                writeln!(out, "  {name:<12} {}", one_line(&value))?;
            }
        }
        for effect in &record.effects {
            let shown = format!("{} {} {} (seen by: {})", effect.class, effect.act, effect.object, effect.by);
            writeln!(out, "  {:<12} {}", "effect", one_line(&shown))?;
        }
        if !record.text.is_empty() {
            writeln!(out, "\n{}\n", indented(&safe_lines(&record.text)))?;
        }
        for (number, parameter) in (1..).zip(&record.parameters) {
            writeln!(out, "  {:<12} {}", format!("${number}"), one_line(&parameter.to_string()))?;
        }
        if let Some(bound) = record.parameters_bound {
            writeln!(out, "  {:<12} {} of {bound} parameters are shown", "", record.parameters.len())?;
        }
        self.print_rest(place, &mut out)?;
        writeln!(out, "  {:<12} record {} of the chain: {}, line {}", "place", record.seq, self.place, self.number)
    }

    fn print_rest(&self, place: &Place, out: &mut impl io::Write) -> io::Result<()> {
        let line = |line: &String| {
            let record = RecordView::parse(line.as_bytes())?;
            Some(place.printer.record(&view::Story { line, record: &record, outcome: None }))
        };
        if let Some(outcome) = self.entry.outcome.as_ref().and_then(|line| RecordView::parse(line.as_bytes())) {
            let (rows, bytes) = (outcome.rows.unwrap_or_default(), outcome.bytes.unwrap_or_default());
            let took = duration(outcome.duration_us.unwrap_or_default());
            let went = if outcome.sqlstate.is_empty() {
                one_line(&outcome.tag)
            } else {
                format!("error {}", one_line(&outcome.sqlstate))
            };
            writeln!(
                out,
                "  {:<12} {went}; {rows} rows, {bytes} bytes, {took}, {}",
                "outcome",
                one_line(&outcome.state)
            )?;
        }
        let groups: [(&str, Vec<&String>); 5] = [
            ("transaction", self.near.transaction.iter().collect()),
            ("related", self.near.related.iter().collect()),
            ("before", self.near.login.iter().chain(&self.near.before).map(|entry| &entry.line).collect()),
            ("after", self.near.after.iter().map(|entry| &entry.line).collect()),
            ("end", self.near.session_end.iter().map(|entry| &entry.line).collect()),
        ];
        for (name, group) in groups {
            for shown in group.into_iter().filter_map(line) {
                writeln!(out, "  {name:<12} {shown}")?;
            }
        }
        Ok(())
    }
}

/// The record's own fields, in the order in which a person asks.
fn members(record: &RecordView<'_>) -> Vec<(&'static str, String)> {
    let number = |value: Option<u64>| value.map(|value| value.to_string()).unwrap_or_default();
    let text = |value: &str| value.to_owned();
    vec![
        ("time", local_time(&record.time)),
        ("verdict", text(&record.verdict)),
        ("rule", text(&record.rule)),
        ("policy", text(&record.policy)),
        ("generation", number(record.generation)),
        ("sqlstate", text(&record.sqlstate)),
        ("user", text(&record.user)),
        ("role", text(&record.role)),
        ("environment", text(&record.environment)),
        ("database", text(&record.database)),
        ("endpoint", text(&record.endpoint)),
        ("client", text(&record.client)),
        ("login", format!("{} {}", record.login, record.tls).trim().to_owned()),
        ("application", text(&record.application)),
        ("session", text(&record.session)),
        ("transaction", number(record.transaction)),
        ("protocol", text(&record.protocol)),
        ("name", text(&record.name)),
        ("readers", text(&record.readers)),
        ("fingerprint", text(&record.fingerprint)),
        ("grant", text(&record.grant)),
        ("for user", text(&record.for_user)),
        ("for role", text(&record.for_role)),
        ("where", format!("{} {}", record.for_environment, record.for_database).trim().to_owned()),
        ("allows", record.allows.join(", ")),
        ("relations", record.relations.join(", ")),
        ("lasts", record.seconds.map(|seconds| duration(seconds.saturating_mul(1_000_000))).unwrap_or_default()),
        ("until", if record.until.is_empty() { String::new() } else { local_time(&record.until) }),
        ("by", text(&record.by)),
        ("action", text(&record.action)),
        ("target", text(&record.target)),
        ("result", text(&record.result)),
        ("reason", text(&record.reason)),
        ("message", text(&record.message)),
        ("cause", text(&record.cause)),
        ("note", text(&record.note)),
        ("error", text(&record.error)),
        ("damage", text(&record.damage)),
    ]
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}
