//! Findings for programs: JSON, GitHub's workflow commands, SARIF.

use std::collections::BTreeSet;
use std::path::Path;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::finding::{Checked, Finding, Level, Report};
use crate::cli::excerpt::Lines;

/// What stands for itself in a URI's path.
const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// First and last line and column of a finding, counted from 1; the last column is one past the end.
struct Place {
    line: usize,
    column: usize,
    end_line: usize,
    end_column: usize,
}

fn place(finding: &Finding, file: &Checked) -> Place {
    let lines = Lines::of(&file.text);
    let (line, column) = lines.place(finding.span.start);
    let (end_line, end_column) = lines.place(finding.span.end);
    Place { line, column, end_line, end_column }
}

fn placed(report: &Report) -> impl Iterator<Item = (&Finding, &Checked, Place)> {
    report.findings.iter().filter_map(|finding| {
        let file = report.files.get(finding.file)?;
        Some((finding, file, place(finding, file)))
    })
}

const fn level(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warning => "warning",
    }
}

/// One object.
pub(super) fn json(report: &Report) -> Value {
    let findings: Vec<Value> = placed(report)
        .map(|(finding, file, place)| {
            json!({
                "file": file.path.to_string_lossy(),
                "line": place.line,
                "column": place.column,
                "end_line": place.end_line,
                "end_column": place.end_column,
                "level": level(finding.level),
                "effect": finding.class,
                "object": finding.object,
                "message": finding.message,
                "rule": finding.rule,
                "help": finding.help,
                "by": finding.by,
            })
        })
        .collect();
    let skipped: Vec<Value> =
        report.skipped.iter().map(|(path, why)| json!({ "file": path.to_string_lossy(), "why": why })).collect();
    json!({
        "role": report.role,
        "environment": report.environment,
        "policy": report.policy,
        "refused": report.refused(),
        "statements": report.statements(),
        "files": report.files.iter().map(|file| file.path.to_string_lossy()).collect::<Vec<_>>(),
        "skipped": skipped,
        "findings": findings,
    })
}

/// Data of a workflow command
/// (<https://docs.github.com/actions/reference/workflow-commands-for-github-actions#setting-an-error-message>).
pub(super) fn github_data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// A property of a workflow command.
pub(super) fn github_property(text: &str) -> String {
    github_data(text).replace(':', "%3A").replace(',', "%2C")
}

/// One line a finding.
pub(super) fn github(report: &Report) -> String {
    let line = |(finding, file, place): (&Finding, &Checked, Place)| {
        // GitHub marks columns only within one line.
        let columns = match place.line == place.end_line {
            true => format!(",col={},endColumn={}", place.column, place.end_column),
            false => String::new(),
        };
        format!(
            "::{} file={},line={},endLine={}{columns},title={}::{}\n",
            level(finding.level),
            github_property(&file.path.to_string_lossy()),
            place.line,
            place.end_line,
            github_property(&format!("pgwarden {}", finding.class)),
            github_data(&explained(finding)),
        )
    };
    placed(report).map(line).collect()
}

/// Message, rule and help in one text.
fn explained(finding: &Finding) -> String {
    let rule = finding.rule.as_ref().map(|rule| format!("\nrule: {rule}")).unwrap_or_default();
    let help = finding.help.as_ref().map(|help| format!("\nhelp: {help}")).unwrap_or_default();
    format!("{}{rule}{help}", finding.message)
}

/// A SARIF 2.1.0 log (<https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html>).
pub(super) fn sarif(report: &Report) -> Value {
    let classes: BTreeSet<&str> = report.findings.iter().map(|finding| finding.class).collect();
    let rules: Vec<Value> = classes.iter().map(|class| sarif_rule(class)).collect();
    let results: Vec<Value> =
        placed(report).map(|(finding, file, place)| sarif_result(finding, file, &place)).collect();
    sarif_log(&rules, &results)
}

/// A log of one run.
pub(super) fn sarif_log(rules: &[Value], results: &[Value]) -> Value {
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": { "name": "pgwarden", "version": env!("CARGO_PKG_VERSION"), "rules": rules } },
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

fn sarif_rule(class: &str) -> Value {
    let said = match class {
        "psql" => "A psql command that cannot be judged as SQL.".to_owned(),
        class => format!("A statement with the effect {class}."),
    };
    json!({ "id": class, "shortDescription": { "text": said } })
}

fn sarif_result(finding: &Finding, file: &Checked, place: &Place) -> Value {
    json!({
        "ruleId": finding.class,
        "level": level(finding.level),
        "message": { "text": explained(finding) },
        "locations": [{ "physicalLocation": {
            "artifactLocation": { "uri": uri(&file.path) },
            "region": {
                "startLine": place.line,
                "startColumn": place.column,
                "endLine": place.end_line,
                "endColumn": place.end_column,
            },
        } }],
    })
}

/// A path as a URI reference: relative ones stay relative, without their leading `./`.
fn uri(path: &Path) -> String {
    let path = path.to_string_lossy().replace('\\', "/");
    let path = path.strip_prefix("./").unwrap_or(&path);
    let encoded = utf8_percent_encode(path, PATH).to_string();
    if path.starts_with('/') { format!("file://{encoded}") } else { encoded }
}
