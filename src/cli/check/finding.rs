//! What a policy says to the statements of files, each with its place.

use std::collections::HashSet;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::files::Found;
use super::psql::{self, Command, Meaning};
use crate::policy::{Policy, Verdict};
use crate::sql::script::{self, Step};
use crate::sql::{Class, Effect, Limits, Origin};

/// Deepest `\i` within `\i`.
const DEEPEST_INCLUDE: usize = 16;

/// Everything that was judged, and what was found.
#[derive(Debug)]
pub(super) struct Report {
    /// The role that it was judged for.
    pub role: String,
    /// The environment that it was judged for.
    pub environment: String,
    /// The policy that judged.
    pub policy: String,
    /// The files, in order.
    pub files: Vec<Checked>,
    /// Files that were not judged, and why.
    pub skipped: Vec<(PathBuf, &'static str)>,
    /// What was found, by file and place.
    pub findings: Vec<Finding>,
}

/// A file that was judged.
#[derive(Debug)]
pub(super) struct Checked {
    /// Its name.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
    /// How many statements it holds.
    pub statements: usize,
}

/// How grave a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// The proxy would refuse it.
    Error,
    /// The proxy would let it pass, with a notice.
    Warning,
}

/// One thing that was found.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    /// Which file: its index in the report.
    pub file: usize,
    /// Bytes of the file that are at fault.
    pub span: Range<usize>,
    /// How grave.
    pub level: Level,
    /// The effect's class, or `psql`.
    pub class: &'static str,
    /// What it touches.
    pub object: Option<String>,
    /// What and for whom.
    pub message: String,
    /// The rule that decided.
    pub rule: Option<String>,
    /// What to do about it.
    pub help: Option<String>,
    /// Which reader saw the effect.
    pub by: Option<Origin>,
}

impl Report {
    /// Whether anything is refused.
    pub fn refused(&self) -> bool {
        self.findings.iter().any(|finding| finding.level == Level::Error)
    }

    /// How many findings have this level.
    pub fn count(&self, level: Level) -> usize {
        self.findings.iter().filter(|finding| finding.level == level).count()
    }

    /// How many statements were judged.
    pub fn statements(&self) -> usize {
        self.files.iter().map(|file| file.statements).sum()
    }
}

/// Who judges, and for whom.
#[derive(Clone, Copy, Debug)]
pub(super) struct Judge<'a> {
    /// The policy.
    pub policy: &'a Policy,
    /// The environment's name.
    pub environment: &'a str,
    /// The role's name.
    pub role: &'a str,
    /// Limits on a text.
    pub limits: Limits,
}

/// A judgement in the making.
struct Desk<'a> {
    judge: Judge<'a>,
    report: Report,
    seen: HashSet<PathBuf>,
}

impl Judge<'_> {
    /// Judges files, one after the other; files that they include come behind them.
    pub fn report(self, found: Found) -> Report {
        let report = Report {
            role: self.role.to_owned(),
            environment: self.environment.to_owned(),
            policy: self.policy.name.clone(),
            files: Vec::new(),
            skipped: found.skipped,
            findings: Vec::new(),
        };
        let mut desk = Desk { judge: self, report, seen: HashSet::new() };
        for path in found.files {
            desk.file(path, 0);
        }
        let Report { mut findings, .. } = desk.report;
        findings.sort_by(|one, other| {
            (one.file, one.span.start, one.level, one.class).cmp(&(
                other.file,
                other.span.start,
                other.level,
                other.class,
            ))
        });
        findings.dedup_by(|one, other| {
            (one.file, &one.span, one.class, &one.message) == (other.file, &other.span, other.class, &other.message)
        });
        Report { findings, ..desk.report }
    }

    fn finding(&self, effect: &Effect, origin: Origin) -> Option<Finding> {
        let span = effect.span.map_or(0..0, |span| span.start..span.end);
        let object = effect.object.as_ref().map(ToString::to_string);
        let class = effect.class.name();
        let base = Finding {
            file: 0,
            span,
            level: Level::Error,
            class,
            object,
            message: String::new(),
            rule: None,
            help: None,
            by: Some(origin),
        };
        match self.policy.judge(std::iter::once(effect)) {
            Verdict::Allow if effect.class == Class::DdlLocking && !effect.accompanies && effect.hint.is_some() => {
                let message = format!("{} blocks others under load", effect.act);
                Some(Finding {
                    level: Level::Warning,
                    message,
                    help: effect.hint.as_deref().map(str::to_owned),
                    ..base
                })
            }
            Verdict::Allow => None,
            Verdict::Deny(denial) => {
                let words = self.policy.message(&denial, self.role, self.environment);
                let message = words.message.trim_start_matches("pgwarden: ").to_owned();
                let (level, message) = match self.policy.observe {
                    true => (Level::Warning, format!("{message} (the policy only observes)")),
                    false => (Level::Error, message),
                };
                Some(Finding { level, message, rule: Some(denial.rule), help: Some(words.hint), ..base })
            }
        }
    }
}

impl Desk<'_> {
    fn file(&mut self, path: PathBuf, depth: usize) {
        let identity = path.canonicalize().unwrap_or_else(|_| path.clone());
        if !self.seen.insert(identity) {
            return;
        }
        let (text, unreadable) = match fs::read(&path) {
            Ok(bytes) => match String::from_utf8(bytes) {
                Ok(text) => (text, None),
                Err(_) => (String::new(), Some("it is not UTF-8".to_owned())),
            },
            Err(error) => (String::new(), Some(error.to_string())),
        };
        let index = self.report.files.len();
        let script = psql::read(&text);
        self.report.files.push(Checked { path: path.clone(), text, statements: 0 });
        match unreadable {
            Some(why) => self.refuse(index, 0..0, "unparsed", format!("the file cannot be read: {why}")),
            None => self.statements(index, &script.sql),
        }
        for rows in &script.rows {
            self.rows(index, rows);
        }
        for command in &script.commands {
            self.command(index, &path, command, depth);
        }
    }

    fn statements(&mut self, index: usize, sql: &str) {
        match script::read(sql, &self.judge.limits) {
            Err(over) => self.refuse(index, 0..0, "unparsed", over.to_string()),
            Ok(steps) => {
                if let Some(file) = self.report.files.get_mut(index) {
                    file.statements = steps.len();
                }
                for step in &steps {
                    self.step(index, sql, step);
                }
            }
        }
    }

    fn step(&mut self, index: usize, sql: &str, step: &Step) {
        let mut told: Vec<Option<String>> = Vec::new();
        let (accompanying, main): (Vec<_>, Vec<_>) = step.effects.iter().partition(|(effect, _)| effect.accompanies);
        for (effect, origin) in main.into_iter().chain(accompanying) {
            let Some(mut finding) = self.judge.finding(effect, *origin) else { continue };
            if effect.accompanies && told.contains(&finding.rule) {
                continue;
            }
            told.push(finding.rule.clone());
            if let Some(error) = step.syntax_error.as_ref().filter(|_| effect.class == Class::Unparsed) {
                let at = error.offset.unwrap_or(step.range.start);
                finding.span = word_at(sql, at, &step.range);
                finding.message = format!("the statement cannot be parsed: {}", error.message);
                finding.help = placeholder(sql, at).map(str::to_owned).or(finding.help);
            }
            self.report.findings.push(Finding { file: index, ..finding });
        }
    }

    fn command(&mut self, index: usize, path: &Path, command: &Command, depth: usize) {
        match &command.meaning {
            Meaning::Opaque(why) => {
                let written = self.written(index, &command.range);
                let name = written.split_whitespace().next().unwrap_or_default().to_owned();
                self.refuse(index, command.range.clone(), "psql", format!("`{name}` {why}"));
            }
            Meaning::Copy(sql) => self.copy(index, sql, &command.range),
            Meaning::Include { name, beside } => {
                let folder = if *beside { path.parent().unwrap_or(Path::new("")) } else { Path::new("") };
                let included = folder.join(name);
                if depth >= DEEPEST_INCLUDE || !included.is_file() {
                    let message = format!("`{}` is included, and is no file that can be judged", included.display());
                    return self.refuse(index, command.range.clone(), "psql", message);
                }
                self.file(included, depth + 1);
            }
        }
    }

    /// A `\copy`: the COPY that psql sends, pointing at the whole line.
    fn copy(&mut self, index: usize, sql: &str, range: &Range<usize>) {
        let steps = match script::read(sql, &self.judge.limits) {
            Ok(steps) => steps,
            Err(over) => return self.refuse(index, range.clone(), "unparsed", over.to_string()),
        };
        for step in steps {
            for (effect, origin) in &step.effects {
                let finding = self.judge.finding(effect, *origin);
                self.report.findings.extend(finding.map(|finding| Finding {
                    file: index,
                    span: range.clone(),
                    ..finding
                }));
            }
        }
    }

    /// Rows of a COPY: if it fails, psql goes on with them as with SQL. What reads as a statement is judged as one.
    fn rows(&mut self, index: usize, rows: &Range<usize>) {
        let text = self.written(index, rows);
        let unlimited = Limits { statements: usize::MAX, ..self.judge.limits };
        let steps = match script::read(&text, &unlimited) {
            Ok(steps) => steps,
            Err(over) => return self.refuse(index, rows.clone(), "unparsed", format!("rows of a COPY: {over}")),
        };
        for step in steps {
            let effects = step.effects.iter().filter(|_| step.syntax_error.is_none());
            let refused = effects.filter_map(|(effect, origin)| self.judge.finding(effect, *origin));
            for finding in refused.filter(|finding| finding.level == Level::Error).collect::<Vec<_>>() {
                let span = finding.span.start + rows.start..finding.span.end + rows.start;
                let help = "psql runs rows as SQL when their COPY fails: keep statements out of the rows";
                self.report.findings.push(Finding { file: index, span, help: Some(help.to_owned()), ..finding });
            }
        }
    }

    fn written(&self, index: usize, range: &Range<usize>) -> String {
        let file = self.report.files.get(index);
        file.and_then(|file| file.text.get(range.clone())).unwrap_or_default().to_owned()
    }

    /// Something that is not judged, and so does not pass.
    fn refuse(&mut self, file: usize, span: Range<usize>, class: &'static str, message: String) {
        let help =
            "pgwarden refuses what it cannot judge: leave it out of this file, or judge the SQL that it stands for";
        self.report.findings.push(Finding {
            file,
            span,
            level: Level::Error,
            class,
            object: None,
            message,
            rule: None,
            help: Some(help.to_owned()),
            by: None,
        });
    }
}

/// The word at a place of a statement, or its last character where the statement ends too soon.
fn word_at(sql: &str, at: usize, statement: &Range<usize>) -> Range<usize> {
    let at = at.clamp(statement.start, statement.end);
    let rest = sql.get(at..statement.end).unwrap_or_default();
    let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
    match rest.chars().next() {
        None => statement.end.saturating_sub(1).max(statement.start)..statement.end,
        Some(first) => at..at + word.max(first.len_utf8()),
    }
}

/// What a syntax error at `at` may be due to, if it looks like a template.
fn placeholder(sql: &str, at: usize) -> Option<&'static str> {
    let from = at.saturating_sub(2);
    let around = sql.get(from..(at + 2).min(sql.len()))?;
    let template = ["${", "{{", "<%"].iter().any(|mark| around.contains(mark));
    let variable = sql.get(at..)?.starts_with(':');
    if template {
        Some("placeholders have to be filled in before the file is judged: judge what the migration tool would send")
    } else if variable {
        Some("psql variables (`:name`) are not known here: judge the file with their values in place")
    } else {
        None
    }
}
