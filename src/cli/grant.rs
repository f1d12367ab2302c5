//! `pgwarden grant`: asking for grants, giving, refusing and revoking them, by the API of a running proxy.

use std::io::{self, BufRead as _, IsTerminal as _, Write};
use std::process::ExitCode;

use anyhow::bail;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::api::{self, Api, ApiArguments, Usage};
use super::audit::one_line;

/// Arguments of `pgwarden grant`.
#[derive(Args, Debug)]
pub struct GrantArguments {
    /// Where the API is, and who asks.
    #[command(flatten)]
    api: ApiArguments,
    /// What to do.
    #[command(subcommand)]
    command: GrantCommand,
}

/// What to do with grants.
#[derive(Debug, Subcommand)]
enum GrantCommand {
    /// Ask for a grant. Somebody else has to approve it.
    Request(Request),
    /// Give a grant, after a look at what it allows.
    Approve(Approve),
    /// Refuse a request.
    Deny(Decide),
    /// Take a grant back, or withdraw a request.
    Revoke(Decide),
    /// List grants: those that are asked for or in force, unless told otherwise.
    List(List),
}

/// What is asked for.
#[derive(Args, Debug)]
struct Request {
    /// In which environment.
    #[arg(long, short, value_name = "NAME")]
    environment: String,
    /// For which user.
    #[arg(long, short, value_name = "NAME")]
    user: String,
    /// On which database only.
    #[arg(long, short, value_name = "NAME")]
    database: Option<String>,
    /// What to allow: effect classes or prefixes, as in a policy's `allow`.
    #[arg(long, short, value_name = "CLASS", required = true, value_delimiter = ',')]
    allow: Vec<String>,
    /// On which relations only, with their schema: `public.orders`.
    #[arg(long, value_name = "RELATION", value_delimiter = ',')]
    relation: Vec<String>,
    /// For how long: `30m`, `2h`.
    #[arg(long = "for", value_name = "TIME")]
    time: String,
    /// Why.
    #[arg(long, short, value_name = "TEXT")]
    reason: String,
    /// Answer in JSON.
    #[arg(long)]
    json: bool,
}

/// What is approved, and how sure whoever approves is.
#[derive(Args, Debug)]
struct Approve {
    /// The grant's id.
    grant: String,
    /// Do not ask. Where the environment's name has to be typed, it still has to be given by `--confirm`.
    #[arg(long)]
    yes: bool,
    /// The environment's name, instead of typing it.
    #[arg(long, value_name = "ENVIRONMENT")]
    confirm: Option<String>,
    /// Why.
    #[arg(long, default_value = "", value_name = "TEXT")]
    note: String,
    /// Answer in JSON.
    #[arg(long)]
    json: bool,
}

/// What is refused or revoked.
#[derive(Args, Debug)]
struct Decide {
    /// The grant's id.
    grant: String,
    /// Why.
    #[arg(long, default_value = "", value_name = "TEXT")]
    note: String,
    /// Answer in JSON.
    #[arg(long)]
    json: bool,
}

/// What is listed.
#[derive(Args, Debug)]
struct List {
    /// Also those that are over.
    #[arg(long)]
    all: bool,
    /// Only those in this state.
    #[arg(long, value_name = "STATE", conflicts_with = "all")]
    state: Option<State>,
    /// Answer in JSON.
    #[arg(long)]
    json: bool,
}

/// Where a grant stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum State {
    Requested,
    Approved,
    Denied,
    Revoked,
    Expired,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            State::Requested => "requested",
            State::Approved => "approved",
            State::Denied => "denied",
            State::Revoked => "revoked",
            State::Expired => "expired",
        }
    }
}

/// Runs the command.
pub(super) fn run(arguments: &GrantArguments) -> ExitCode {
    api::run(&arguments.api, |api| match &arguments.command {
        GrantCommand::Request(request) => self::request(api, request),
        GrantCommand::Approve(approve) => self::approve(api, approve),
        GrantCommand::Deny(decide) => self::decide(api, decide, "deny", "denied"),
        GrantCommand::Revoke(decide) => self::decide(api, decide, "revoke", "revoked"),
        GrantCommand::List(list) => self::list(api, list),
    })
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn items<'v>(value: &'v Value, name: &str) -> &'v [Value] {
    value.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn joined(value: &Value, name: &str) -> String {
    items(value, name).iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
}

fn grant_of(answer: &Value) -> &Value {
    answer.get("grant").unwrap_or(&Value::Null)
}

fn request(api: &Api<'_>, request: &Request) -> anyhow::Result<()> {
    let mut body = json!({
        "user": request.user, "environment": request.environment, "allow": request.allow, "relations": request.relation,
        "for": request.time, "reason": request.reason,
    });
    if let (Some(database), Value::Object(members)) = (&request.database, &mut body) {
        members.insert("database".to_owned(), json!(database));
    }
    let answer = api.post("/api/v1/grants", Some(&body))?;
    let mut out = io::stdout().lock();
    if request.json {
        return Ok(writeln!(out, "{answer}")?);
    }
    let id = one_line(text(grant_of(&answer), "id"));
    writeln!(out, "{id}")?;
    Ok(writeln!(io::stderr(), "asked for; somebody else approves it: pgwarden grant approve {id}")?)
}

fn approve(api: &Api<'_>, approve: &Approve) -> anyhow::Result<()> {
    let id = api::id(&approve.grant, "grant")?;
    let answer = api.get(&format!("/api/v1/grants/{id}"))?;
    let grant = grant_of(&answer);
    if text(grant, "state") != "requested" {
        bail!("grant {} is {}", text(grant, "id"), text(grant, "state"));
    }
    show(&answer, &mut io::stderr().lock())?;
    let confirm = confirmed(approve, answer.get("preview").map_or("", |preview| text(preview, "confirm")))?;
    let body = json!({"confirm": confirm, "note": approve.note});
    let given = api.post(&format!("/api/v1/grants/{id}/approve"), Some(&body))?;
    let mut out = io::stdout().lock();
    if approve.json {
        return Ok(writeln!(out, "{given}")?);
    }
    let grant = grant_of(&given);
    Ok(writeln!(out, "{} is in force until {}", one_line(text(grant, "id")), one_line(text(grant, "until")))?)
}

/// What has to be typed, typed or given by an argument.
fn confirmed(approve: &Approve, needed: &str) -> anyhow::Result<String> {
    if let Some(confirm) = &approve.confirm {
        if !needed.is_empty() && confirm != needed {
            return Err(
                Usage(format!("`--confirm {confirm}` is not the grant's environment, which is `{needed}`")).into()
            );
        }
        return Ok(confirm.clone());
    }
    if needed.is_empty() && approve.yes {
        return Ok(String::new());
    }
    if !io::stdin().is_terminal() {
        let how = if needed.is_empty() { "--yes".to_owned() } else { format!("--confirm {needed}") };
        return Err(Usage(format!("nobody can be asked here: give `{how}`")).into());
    }
    let wanted = if needed.is_empty() { "yes" } else { needed };
    write!(io::stderr(), "Type `{}` to approve: ", one_line(wanted))?;
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    if line.trim() != wanted {
        bail!("not approved");
    }
    Ok(needed.to_owned())
}

/// What a grant allows, for whoever is about to give it.
fn show(answer: &Value, out: &mut impl Write) -> io::Result<()> {
    let grant = grant_of(answer);
    let preview = answer.get("preview").unwrap_or(&Value::Null);
    let database = text(grant, "database");
    let place = if database.is_empty() { "every database" } else { database };
    let line = |out: &mut dyn Write, name: &str, value: &str| writeln!(out, "  {name:<10} {}", one_line(value));
    writeln!(out, "Grant {}", one_line(text(grant, "id")))?;
    line(out, "for", &format!("{} as {}, asked by {}", text(grant, "user"), text(grant, "role"), text(grant, "by")))?;
    line(out, "in", &format!("{}, {place}", text(grant, "environment")))?;
    line(out, "lasts", &lasts(grant))?;
    line(out, "reason", text(grant, "reason"))?;
    if !items(grant, "relations").is_empty() {
        line(out, "only on", &joined(grant, "relations"))?;
    }
    for covered in items(preview, "covers") {
        let change = match text(covered, "change") {
            "adds" => "adds",
            "denied" => "denied",
            _ => "(has)",
        };
        let why = if change == "denied" { text(covered, "rule") } else { text(covered, "meaning") };
        line(out, change, &format!("{}: {why}", text(covered, "class")))?;
    }
    if preview.get("lifts_read_only") == Some(&Value::Bool(true)) {
        line(out, "read-only", "the server's read-only hold is off for this user's sessions while it lasts")?;
    }
    Ok(())
}

fn lasts(grant: &Value) -> String {
    match grant.get("seconds").and_then(Value::as_u64).unwrap_or_default() {
        seconds if seconds % 3600 == 0 => format!("{} h", seconds / 3600),
        seconds if seconds % 60 == 0 => format!("{} min", seconds / 60),
        seconds => format!("{seconds} s"),
    }
}

fn decide(api: &Api<'_>, decide: &Decide, act: &str, done: &str) -> anyhow::Result<()> {
    let id = api::id(&decide.grant, "grant")?;
    let answer = api.post(&format!("/api/v1/grants/{id}/{act}"), Some(&json!({"note": decide.note})))?;
    let mut out = io::stdout().lock();
    if decide.json {
        return Ok(writeln!(out, "{answer}")?);
    }
    Ok(writeln!(out, "{} is {done}", one_line(text(grant_of(&answer), "id")))?)
}

fn list(api: &Api<'_>, list: &List) -> anyhow::Result<()> {
    let query = list.state.map(|state| format!("?state={}", state.name())).unwrap_or_default();
    let mut answer = api.get(&format!("/api/v1/grants{query}"))?;
    if !list.all
        && list.state.is_none()
        && let Some(grants) = answer.get_mut("grants").and_then(Value::as_array_mut)
    {
        grants.retain(|grant| matches!(text(grant, "state"), "requested" | "approved"));
    }
    let mut out = io::stdout().lock();
    if list.json {
        return Ok(writeln!(out, "{answer}")?);
    }
    let grants = items(&answer, "grants");
    for grant in grants {
        writeln!(out, "{}", line(grant))?;
    }
    if answer.get("restored") == Some(&Value::Bool(false)) {
        writeln!(io::stderr(), "those of the time before the start are still being read from the audit log")?;
    }
    let word = if grants.len() == 1 { "grant" } else { "grants" };
    Ok(writeln!(io::stderr(), "{} {word}", grants.len())?)
}

fn line(grant: &Value) -> String {
    let part = |name: &str| one_line(text(grant, name));
    let until = if text(grant, "until").is_empty() { lasts(grant) } else { format!("until {}", part("until")) };
    let relations = joined(grant, "relations");
    let only = if relations.is_empty() { String::new() } else { format!(" on {}", one_line(&relations)) };
    let database = text(grant, "database");
    let place = if database.is_empty() { String::new() } else { format!("/{}", one_line(database)) };
    format!(
        "{}  {:<9}  {}@{}{place}  {}{only}  {until}  asked by {}: {}",
        part("id"),
        part("state"),
        part("user"),
        part("environment"),
        one_line(&joined(grant, "allow")),
        part("by"),
        part("reason")
    )
}
