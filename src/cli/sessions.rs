//! `pgwarden sessions`: the sessions of a running proxy, by its API.

use std::io::{self, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use serde_json::Value;

use super::ConfigFile;

/// How long the proxy may take to answer.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Longest answer.
const ANSWER_BYTES: u64 = 256 << 20;

/// Arguments of `pgwarden sessions`.
#[derive(Args, Debug)]
pub struct SessionsArguments {
    /// Where the configuration is, which says where the API is.
    #[command(flatten)]
    file: ConfigFile,
    /// Where the API is, instead of the configuration's `listen.admin`: `http://127.0.0.1:9432`.
    #[arg(long, global = true, value_name = "URL", env = "PGWARDEN_URL")]
    url: Option<String>,
    /// The token, as `pgwarden user token` made it.
    #[arg(
        long,
        global = true,
        value_name = "TOKEN",
        env = "PGWARDEN_TOKEN",
        hide_env_values = true,
        default_value = ""
    )]
    token: String,
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

/// Runs the command: 0, 1 with the reason on standard error, 64 if it is not known where the API is.
pub(super) fn run(arguments: &SessionsArguments) -> ExitCode {
    let address = match address(arguments) {
        Ok(address) => address,
        Err(error) => {
            eprintln!("pgwarden: {error:#}");
            return ExitCode::from(super::EXIT_USAGE);
        }
    };
    let done = match &arguments.command {
        SessionsCommand::List { json } => list(&address, &arguments.token, *json),
        SessionsCommand::Kill { session, cancel } => kill(&address, &arguments.token, session, *cancel),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pgwarden: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// `host:port` of the API.
fn address(arguments: &SessionsArguments) -> anyhow::Result<String> {
    let Some(url) = &arguments.url else {
        let config = crate::config::load(&arguments.file.config)?;
        let admin = config.listen.admin.context("the configuration has no `listen.admin`, so there is no API")?;
        return Ok(admin.to_string());
    };
    let Some(rest) = url.strip_prefix("http://") else {
        bail!("`{url}` is not an address such as http://127.0.0.1:9432")
    };
    Ok(rest.trim_end_matches('/').to_owned())
}

fn list(address: &str, token: &str, json: bool) -> anyhow::Result<()> {
    let answer = call(address, token, "GET", "/api/v1/sessions")?;
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

fn kill(address: &str, token: &str, session: &str, cancel: bool) -> anyhow::Result<()> {
    let proper = !session.is_empty() && session.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if !proper {
        bail!("`{session}` is not a session's id");
    }
    let act = if cancel { "cancel" } else { "end" };
    call(address, token, "POST", &format!("/api/v1/sessions/{session}/{act}"))?;
    let word = if cancel { "asked to cancel what session" } else { "ended session" };
    Ok(writeln!(io::stdout(), "{word} {session}{}", if cancel { " runs" } else { "" })?)
}

/// One call of the API: HTTP/1.1, a connection of its own.
fn call(address: &str, token: &str, method: &str, path: &str) -> anyhow::Result<Value> {
    if token.is_empty() {
        bail!("a token is needed: `pgwarden user token` makes one; give it by PGWARDEN_TOKEN");
    }
    if token.bytes().any(|byte| !byte.is_ascii_graphic()) {
        bail!("the token has characters that a token cannot have");
    }
    let target = address.to_socket_addrs().with_context(|| format!("`{address}`"))?.next();
    let target = target.with_context(|| format!("`{address}` has no address"))?;
    let mut stream = TcpStream::connect_timeout(&target, TIMEOUT).with_context(|| format!("cannot reach {address}"))?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\nContent-Length: 0\r\n\
         Connection: close\r\n\r\n"
    )?;
    let mut bytes = Vec::new();
    stream.take(ANSWER_BYTES).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let (head, body) = text.split_once("\r\n\r\n").with_context(|| format!("{address} does not speak HTTP"))?;
    let status = head.split(' ').nth(1).unwrap_or_default();
    let answer: Value = serde_json::from_str(body).with_context(|| format!("{address} is not pgwarden's API"))?;
    match answer.get("error").and_then(Value::as_str) {
        Some(error) if status != "200" => bail!("{error}"),
        _ if status != "200" => bail!("{address} answers {status}"),
        _ => Ok(answer),
    }
}
