//! Findings for people: the words at fault under the message, as compilers show them.

use std::fmt::Write as _;
use std::path::Path;

use super::finding::{Checked, Finding, Level, Report};
use crate::amounts::counted;
use crate::cli::excerpt::{self, Ink, Lines};

/// The whole report as text.
pub(super) fn text(report: &Report, colour: bool) -> String {
    let mut out = String::new();
    for finding in &report.findings {
        if let Some(file) = report.files.get(finding.file) {
            diagnostic(&mut out, finding, file, colour);
        }
    }
    for (path, why) in &report.skipped {
        let note = excerpt::ink(colour, Ink::Note, "note");
        let _ = writeln!(out, "{note}: {} is not judged: {why}", self::path(path));
    }
    out.push_str(&summary(report, colour));
    out
}

fn diagnostic(out: &mut String, finding: &Finding, file: &Checked, colour: bool) {
    let (word, ink) = match finding.level {
        Level::Error => ("error", Ink::Error),
        Level::Warning => ("warning", Ink::Warning),
    };
    let head = excerpt::ink(colour, ink, &format!("{word}[{}]", finding.class));
    let message = excerpt::ink(colour, Ink::Strong, &excerpt::printable(&finding.message));
    let _ = writeln!(out, "{head}: {message}");
    let lines = Lines::of(&file.text);
    let (line, column) = lines.place(finding.span.start);
    let gutter = " ".repeat(line.to_string().len());
    let arrow = excerpt::ink(colour, Ink::Frame, "-->");
    let _ = writeln!(out, "{gutter}{arrow} {}:{line}:{column}", path(&file.path));
    let bar = excerpt::ink(colour, Ink::Frame, "|");
    if !finding.span.is_empty() {
        let (shown, marks) = excerpt::underlined(&file.text, &finding.span);
        let number = excerpt::ink(colour, Ink::Frame, &line.to_string());
        let marks = excerpt::ink(colour, ink, &marks);
        let _ = writeln!(out, "{gutter} {bar}\n{number} {bar} {shown}\n{gutter} {bar} {marks}");
    }
    let equals = excerpt::ink(colour, Ink::Frame, "=");
    if let Some(rule) = &finding.rule {
        let _ = writeln!(
            out,
            "{gutter} {equals} {}: {}",
            excerpt::ink(colour, Ink::Strong, "rule"),
            excerpt::printable(rule)
        );
    }
    if let Some(help) = &finding.help {
        let _ = writeln!(
            out,
            "{gutter} {equals} {}: {}",
            excerpt::ink(colour, Ink::Strong, "help"),
            excerpt::printable(help)
        );
    }
    out.push('\n');
}

fn path(path: &Path) -> String {
    excerpt::printable(&path.to_string_lossy())
}

fn summary(report: &Report, colour: bool) -> String {
    let (errors, warnings) = (report.count(Level::Error), report.count(Level::Warning));
    let judged = format!(
        "{}, {}, judged for role `{}` in `{}` (policy {})",
        count(report.files.len(), "file"),
        count(report.statements(), "statement"),
        report.role,
        report.environment,
        report.policy
    );
    let (ink, verdict) = match (errors, warnings) {
        (0, 0) => (Ink::Good, "nothing to refuse".to_owned()),
        (0, _) => (Ink::Warning, format!("nothing to refuse, {}", count(warnings, "warning"))),
        (_, 0) => (Ink::Error, count(errors, "refusal")),
        (_, _) => (Ink::Error, format!("{}, {}", count(errors, "refusal"), count(warnings, "warning"))),
    };
    format!("{}: {judged}\n", excerpt::ink(colour, ink, &verdict))
}

/// A number and its noun: `1 refusal`, `2 refusals`.
pub(super) fn count(number: usize, what: &str) -> String {
    counted(number as u64, what)
}
