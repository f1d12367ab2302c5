//! `pgwarden sessions`: the sessions of a running proxy, by its API.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::api::{self, Api, ApiArguments};

/// Arguments of `pgwarden sessions`.
#[derive(Args, Debug)]
pub struct SessionsArguments {
    /// Where the API is, and who asks.
    #[command(flatten)]
    api: ApiArguments,
    /// What to do.
    #[command(subcommand)]
    command: SessionsCommand,
}

/// What to do with sessions.
#[derive(Debug, Subcommand)]
enum SessionsCommand {
    /// List the sessions there are now.
    List {
        /// Answer in JSON.
        #[arg(long)]
        json: bool,
    },
    /// End a session, or cancel what it runs.
    Kill {
        /// The session's id, as the list shows it.
        session: String,
        /// Only cancel what it runs.
        #[arg(long)]
        cancel: bool,
    },
}

/// Runs the command.
pub(super) fn run(arguments: &SessionsArguments) -> ExitCode {
    api::run(&arguments.api, |api| match &arguments.command {
        SessionsCommand::List { json } => list(api, *json),
        SessionsCommand::Kill { session, cancel } => kill(api, session, *cancel),
    })
}

fn list(api: &Api<'_>, json: bool) -> anyhow::Result<()> {
    let answer = api.get("/api/v1/sessions")?;
    let mut out = io::stdout().lock();
    if json {
        return Ok(writeln!(out, "{answer}")?);
    }
    let sessions = answer.get("sessions").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    for session in sessions {
        writeln!(out, "{}", line(session))?;
    }
    let word = if sessions.len() == 1 { "session" } else { "sessions" };
    Ok(writeln!(io::stderr(), "{} {word}", sessions.len())?)
}

fn line(session: &Value) -> String {
    let text = |name: &str| super::audit::one_line(session.get(name).and_then(Value::as_str).unwrap_or_default());
    let age = session.get("statement_age_us").and_then(Value::as_u64).map_or(String::new(), super::audit::duration);
    format!(
        "{}  {}@{} ({}, {})  {}  {}  {}  {age}  {}",
        text("session"),
        text("user"),
        text("database"),
        text("role"),
        text("environment"),
        text("client"),
        text("application"),
        text("state"),
        text("statement")
    )
}

fn kill(api: &Api<'_>, session: &str, cancel: bool) -> anyhow::Result<()> {
    let act = if cancel { "cancel" } else { "end" };
    api.post(&format!("/api/v1/sessions/{}/{act}", api::id(session, "session")?), None)?;
    let word = if cancel { "asked to cancel what session" } else { "ended session" };
    Ok(writeln!(io::stdout(), "{word} {session}{}", if cancel { " runs" } else { "" })?)
}
