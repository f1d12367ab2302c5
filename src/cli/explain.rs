//! `pgwarden explain`: what both readers see in a statement, and what a role's policy says to it.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Read as _};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use serde_json::{Value, json};

use super::excerpt::{self, Ink, Lines};
use super::{ConfigFile, EXIT_USAGE};
use crate::decision::{Judgement, Scope};
use crate::policy::{Policy, Verdict};
use crate::sql::script::{self, Step};
use crate::sql::{self, Class, Effect, Limits, ObjectKind, Origin, Reading, functions, settings};

/// Arguments of `pgwarden explain`.
#[derive(Args, Debug)]
pub struct ExplainArguments {
    /// The statement, or several; `-` reads them from standard input.
    pub sql: String,
    /// Where the configuration is.
    #[command(flatten)]
    pub file: ConfigFile,
    /// The environment whose policy judges; without one, only the effects are shown.
    #[arg(long, short, requires = "role")]
    pub environment: Option<String>,
    /// The role whose policy judges.
    #[arg(long, short, requires = "environment")]
    pub role: Option<String>,
    /// JSON instead of text.
    #[arg(long)]
    pub json: bool,
}

/// Explains a statement: 0 if it is allowed or not judged, 1 if it is refused, 64 on bad usage.
pub(super) fn run(arguments: &ExplainArguments) -> ExitCode {
    match explain(arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("pgwarden: {error}");
            ExitCode::from(EXIT_USAGE)
        }
    }
}

/// A text and all that is known of it.
struct Explained {
    text: String,
    /// As the proxy reads it: whole.
    reading: Reading,
    /// Statement by statement.
    steps: Vec<Step>,
    judged: Option<Judged>,
}

/// What a role's policy says.
struct Judged {
    environment: String,
    role: String,
    scope: Arc<Scope>,
    judgement: Arc<Judgement>,
}

fn explain(arguments: &ExplainArguments) -> Result<ExitCode, String> {
    let text = statement(&arguments.sql)?;
    let (limits, judged) = judged(arguments, &text)?;
    let reading = sql::read(&text, &limits).map_err(|over| over.to_string())?;
    let steps = script::read(&text, &limits).map_err(|over| over.to_string())?;
    let explained = Explained { text, reading, steps, judged };
    let refused = explained.judged.as_ref().is_some_and(|judged| judged.judgement.refusal.is_some());
    if arguments.json {
        println!("{}", as_json(&explained));
    } else {
        let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        print!("{}", as_text(&explained, colour));
    }
    Ok(if refused { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn judged(arguments: &ExplainArguments, text: &str) -> Result<(Limits, Option<Judged>), String> {
    let (Some(environment), Some(role)) = (&arguments.environment, &arguments.role) else {
        return Ok((Limits::default(), None));
    };
    let config = crate::config::load(&arguments.file.config).map_err(|errors| errors.to_string())?;
    let limits = config.limits.sql();
    let scope = super::check::scope(&config, environment, role)?;
    let judgement = scope.judge(text);
    Ok((limits, Some(Judged { environment: environment.clone(), role: role.clone(), scope, judgement })))
}

fn statement(argument: &str) -> Result<String, String> {
    if argument != "-" {
        return Ok(argument.to_owned());
    }
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).map_err(|error| format!("standard input: {error}"))?;
    Ok(text)
}

const fn seen_by(origin: Origin) -> &'static str {
    match origin {
        Origin::Postgres => "seen by PostgreSQL's grammar only",
        Origin::Sqlparser => "seen by sqlparser only",
        Origin::Both => "seen by both readers",
    }
}

/// Why an effect counts as what it does, where that is worth saying.
fn why(effect: &Effect) -> Option<String> {
    let named = effect.object.as_ref().and_then(|object| match object.kind {
        ObjectKind::Function => {
            functions::known(&object.name).map(|function| function.why).filter(|why| !why.is_empty())
        }
        ObjectKind::Setting if effect.class != Class::SessionSetting => {
            settings::special(&object.name).map(|setting| setting.why)
        }
        ObjectKind::Setting | ObjectKind::Relation | ObjectKind::Other => None,
    });
    effect.hint.as_deref().or(named).map(str::to_owned)
}

/// What the policy says to one effect, with the rule and where it stands.
fn ruling(policy: &Policy, effect: &Effect) -> (bool, String) {
    match policy.judge(std::iter::once(effect)) {
        Verdict::Deny(denial) => (false, denial.rule),
        Verdict::Allow => {
            let rule = policy.allowed_by(effect.class);
            (
                true,
                rule.map_or("functions.allow".to_owned(), |rule| {
                    format!("allow \"{}\" ({})", rule.pattern, rule.place)
                }),
            )
        }
    }
}

fn as_text(explained: &Explained, colour: bool) -> String {
    let mut out = String::new();
    let several = explained.steps.len() > 1;
    for (index, step) in explained.steps.iter().enumerate() {
        if several {
            let head = format!("statement {} of {}", index + 1, explained.steps.len());
            let _ = writeln!(out, "{}\n", excerpt::ink(colour, Ink::Strong, &head));
        }
        step_text(&mut out, explained, step, colour);
    }
    if explained.steps.iter().all(|step| step.effects.is_empty()) {
        out.push_str("no effects\n\n");
    }
    if let Some(judged) = &explained.judged {
        verdict_text(&mut out, judged, colour);
    }
    out
}

fn step_text(out: &mut String, explained: &Explained, step: &Step, colour: bool) {
    for (effect, origin) in &step.effects {
        effect_text(out, explained, effect, *origin, colour);
    }
    let note = excerpt::ink(colour, Ink::Note, "note");
    if let Some(error) = &step.syntax_error {
        let _ = writeln!(out, "{note}: PostgreSQL's grammar cannot read it: {}\n", excerpt::printable(&error.message));
    } else if !step.sqlparser_read {
        let _ = writeln!(out, "{note}: sqlparser cannot read it; it is judged on PostgreSQL's grammar alone\n");
    }
}

fn effect_text(out: &mut String, explained: &Explained, effect: &Effect, origin: Origin, colour: bool) {
    let ruling = explained.judged.as_ref().map(|judged| ruling(judged.scope.policy(), effect));
    let ink = match &ruling {
        Some((false, _)) => Ink::Error,
        Some((true, _)) => Ink::Good,
        None => Ink::Note,
    };
    let class = excerpt::ink(colour, ink, effect.class.name());
    let act = excerpt::ink(colour, Ink::Strong, &excerpt::printable(&described(effect)));
    let _ = writeln!(out, "{class}: {act}");
    let span = effect.span.map_or(0..0, |span| span.start..span.end);
    let (line, _) = Lines::of(&explained.text).place(span.start);
    let gutter = " ".repeat(line.to_string().len());
    let bar = excerpt::ink(colour, Ink::Frame, "|");
    if !span.is_empty() {
        let (shown, marks) = excerpt::underlined(&explained.text, &span);
        let number = excerpt::ink(colour, Ink::Frame, &line.to_string());
        let marks = excerpt::ink(colour, ink, &marks);
        let _ = writeln!(out, "{gutter} {bar}\n{number} {bar} {shown}\n{gutter} {bar} {marks}");
    }
    let equals = excerpt::ink(colour, Ink::Frame, "=");
    let mut say = |label: &str, text: &str| {
        let label = excerpt::ink(colour, Ink::Strong, label);
        let _ = writeln!(out, "{gutter} {equals} {label}: {}", excerpt::printable(text));
    };
    if let Some(why) = why(effect) {
        say("why", &why);
    }
    if let Some((allowed, rule)) = &ruling {
        say(if *allowed { "allowed" } else { "refused" }, rule);
    }
    say("readers", seen_by(origin));
    out.push('\n');
}

fn described(effect: &Effect) -> String {
    match &effect.object {
        Some(object) if !effect.act.contains(object.name.as_str()) => format!("{} `{object}`", effect.act),
        Some(_) | None => effect.act.to_string(),
    }
}

fn verdict_text(out: &mut String, judged: &Judged, colour: bool) {
    let Judged { environment, role, judgement, scope } = judged;
    let whom = format!("for role `{role}` in `{environment}` (policy {})", scope.policy_name());
    let said = judgement.refusal.as_ref().or(judgement.observed.as_ref());
    let (ink, verdict) = match (&judgement.refusal, &judgement.observed) {
        (Some(refusal), _) => (Ink::Error, format!("refused ({})", refusal.sqlstate)),
        (None, Some(_)) => (Ink::Warning, "allowed, only observed,".to_owned()),
        (None, None) => (Ink::Good, "allowed".to_owned()),
    };
    let _ = writeln!(out, "{} {whom}", excerpt::ink(colour, ink, &verdict));
    if let Some(refusal) = said {
        let _ =
            writeln!(out, "  {}\n  {}", excerpt::printable(&refusal.told(None)), excerpt::printable(&refusal.detail));
        if let Some(hint) = &refusal.hint {
            let _ = writeln!(out, "  Hint: {}", excerpt::printable(hint));
        }
    }
    for notice in &judgement.notices {
        let _ = writeln!(out, "  Notice: {}", excerpt::printable(notice));
    }
}

fn as_json(explained: &Explained) -> Value {
    let lines = Lines::of(&explained.text);
    let effects = explained
        .steps
        .iter()
        .enumerate()
        .flat_map(|(index, step)| step.effects.iter().map(move |(effect, origin)| (index, effect, *origin)));
    let effects: Vec<Value> =
        effects.map(|(index, effect, origin)| effect_json(explained, &lines, index, effect, origin)).collect();
    let statements: Vec<Value> = explained
        .steps
        .iter()
        .map(|step| {
            json!({
                "start": step.range.start,
                "end": step.range.end,
                "sqlparser_read": step.sqlparser_read,
                "syntax_error": step.syntax_error.as_ref().map(|error| error.message.clone()),
            })
        })
        .collect();
    let reading = &explained.reading;
    json!({
        "text": explained.text,
        "statements": statements,
        "effects": effects,
        "sqlparser_read": reading.sqlparser_read,
        "readers_disagree": reading.disagree,
        "syntax_error": reading.syntax_error.as_ref().map(|error| error.message.clone()),
        "judgement": explained.judged.as_ref().map(judgement_json),
    })
}

fn effect_json(explained: &Explained, lines: &Lines<'_>, statement: usize, effect: &Effect, origin: Origin) -> Value {
    let (line, column) = lines.place(effect.span.map_or(0, |span| span.start));
    let ruling = explained.judged.as_ref().map(|judged| ruling(judged.scope.policy(), effect));
    json!({
        "class": effect.class,
        "act": effect.act,
        "object": effect.object.as_ref().map(ToString::to_string),
        "hint": effect.hint,
        "why": why(effect),
        "by": origin,
        "statement": statement,
        "span": effect.span,
        "line": line,
        "column": column,
        "allowed": ruling.as_ref().map(|(allowed, _)| *allowed),
        "rule": ruling.map(|(_, rule)| rule),
    })
}

fn judgement_json(judged: &Judged) -> Value {
    let judgement = &judged.judgement;
    let refusal = judgement.refusal.as_ref().or(judgement.observed.as_ref());
    json!({
        "environment": judged.environment,
        "role": judged.role,
        "policy": &**judged.scope.policy_name(),
        "verdict": match (&judgement.refusal, &judgement.observed) {
            (Some(_), _) => "deny",
            (None, Some(_)) => "observe",
            (None, None) => "allow",
        },
        "rule": &*judgement.rule,
        "sqlstate": refusal.map(|refusal| refusal.sqlstate),
        "message": refusal.map(|refusal| refusal.told(None)),
        "detail": refusal.map(|refusal| refusal.detail.clone()),
        "hint": refusal.and_then(|refusal| refusal.hint.clone()),
        "notices": judgement.notices,
    })
}
