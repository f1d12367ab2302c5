//! Conversations as data: what a client and a server say, and what the session between them makes of it. No sockets.
//!
//! Each file of `tests/data/conversations/` is one theme; `README.txt` there tells the format. Verdicts are the real
//! door's, over the small configuration of `tests/support/stage.rs`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/stage.rs"]
mod stage;
#[path = "support/talk.rs"]
mod talk;

use std::path::Path;

use pgwarden::session::Event;

use stage::Stage;
use talk::{Side, bytes_of, matches, said};

/// Fewest conversations that there must be: a file that is not read would go unnoticed.
const FEWEST: usize = 100;

/// What nobody has asked about yet.
fn unasked(stage: &Stage) -> Option<String> {
    let out = &stage.session.out;
    if !out.to_server.is_empty() {
        return Some(format!("U: {}", said(&out.to_server, Side::Client).join(" | ")));
    }
    if !out.to_client.is_empty() {
        return Some(format!("V: {}", said(&out.to_client, Side::Server).join(" | ")));
    }
    let ends = stage.session.out.end.as_ref().map(|report| format!("F: {}", report.message));
    stage.fault.as_ref().map(|fault| format!("X: {fault}")).or(ends)
}

fn events(stage: &mut Stage) -> Vec<String> {
    stage.session.out.events.drain(..).map(|event| told(&event)).collect()
}

fn told(event: &Event) -> String {
    match event {
        Event::Statement { record, kind, refused, transaction, .. } => match refused {
            None => format!("allow {} r{record} t{transaction}", kind.name()),
            Some(refused) => format!("deny {} r{record} t{transaction} {}", kind.name(), refused.sqlstate),
        },
        Event::Outcome(outcome) => {
            let end = outcome.sqlstate.as_ref().unwrap_or(&outcome.tag);
            format!(
                "outcome r{} t{} {end:?} rows={} {}",
                outcome.record, outcome.transaction, outcome.rows, outcome.state
            )
        }
        Event::TransactionEnd { transaction, committed } => {
            format!("end t{transaction} {}", if *committed { "committed" } else { "rolled_back" })
        }
    }
}

/// Runs one conversation; tells what went otherwise than written.
fn play(lines: &[(usize, &str)]) -> Result<(), String> {
    let mut stage = Stage::new("");
    let mut started = false;
    for &(number, line) in lines {
        let (kind, rest) = line.split_once(':').ok_or_else(|| format!("line {number}: no colon: {line}"))?;
        let rest = rest.trim();
        let wrong = |what: String| format!("line {number}: {line}\n    {what}");
        if matches!(kind, "C" | "S" | "R")
            && let Some(unasked) = unasked(&stage)
        {
            return Err(wrong(format!("before this nobody expected\n      {unasked}")));
        }
        match kind {
            "session" if !started => stage = Stage::new(rest),
            "C" => stage.client(&bytes_of(rest, Side::Client)),
            "S" => stage.server(&bytes_of(rest, Side::Server)),
            "R" => stage.reload(rest),
            "U" => {
                check(rest, said(&stage.session.out.to_server.split(), Side::Client), Side::Client).map_err(wrong)?
            }
            "V" => {
                check(rest, said(&stage.session.out.to_client.split(), Side::Server), Side::Server).map_err(wrong)?
            }
            "A" => check(rest, events(&mut stage), Side::Neither).map_err(wrong)?,
            "X" => check(rest, stage.fault.take().into_iter().collect(), Side::Neither).map_err(wrong)?,
            "F" => {
                let end = stage.session.out.end.take().map(|report| format!("{} {}", report.sqlstate, report.message));
                check(rest, end.into_iter().collect(), Side::Neither).map_err(wrong)?
            }
            "waiting" => check(rest, vec![stage.waiting.len().to_string()], Side::Neither).map_err(wrong)?,
            "cancel" => check(rest, vec![std::mem::take(&mut stage.session.out.cancel).to_string()], Side::Neither)
                .map_err(wrong)?,
            "left" => check(rest, vec![stage.left.to_string()], Side::Neither).map_err(wrong)?,
            other => return Err(wrong(format!("no such line: {other}"))),
        }
        started = true;
    }
    match unasked(&stage) {
        Some(unasked) => Err(format!("at the end nobody expected\n      {unasked}")),
        None if stage.waiting.is_empty() => Ok(()),
        None => Err(format!("at the end {} messages still wait", stage.waiting.len())),
    }
}

fn check(expected: &str, found: Vec<String>, side: Side) -> Result<(), String> {
    let wanted = talk::expanded(expected, side);
    let fits = wanted.len() == found.len() && wanted.iter().zip(&found).all(|(wanted, found)| matches(wanted, found));
    if fits { Ok(()) } else { Err(format!("wanted {}\n    found  {}", wanted.join(" | "), found.join(" | "))) }
}

#[test]
fn every_conversation_goes_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/conversations");
    let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut count = 0;
    let mut failures = String::new();
    for file in files.iter().filter(|file| !file.ends_with("README.txt")) {
        let text = std::fs::read_to_string(file).unwrap();
        let name = file.file_name().unwrap().to_string_lossy();
        for (title, lines) in conversations(&text) {
            count += 1;
            if let Err(why) = play(&lines) {
                failures.push_str(&format!("\n{name}: {title}\n  {why}\n"));
            }
        }
    }
    assert!(failures.is_empty(), "{failures}");
    assert!(count >= FEWEST, "only {count} conversations were found");
}

/// Cuts a file at its `== title` lines.
fn conversations(text: &str) -> Vec<(&str, Vec<(usize, &str)>)> {
    let mut found: Vec<(&str, Vec<(usize, &str)>)> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if let Some(title) = line.strip_prefix("==") {
            found.push((title.trim(), Vec::new()));
        } else if !line.is_empty() && !line.starts_with('#') {
            found.last_mut().expect("a line before the first title").1.push((number, line));
        }
    }
    found
}
