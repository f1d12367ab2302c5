//! `pgwarden url`: what a person pastes to connect through the proxy. No secret is printed: pgwarden knows none.

use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;

use clap::Args;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value, json};

use super::{ConfigFile, EXIT_USAGE};
use crate::config::{Access, Config};

/// What stands as it is in each part of a URL (RFC 3986, "unreserved").
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// What stands for the password.
const PASSWORD: &str = "PASSWORD";

/// Arguments of `pgwarden url`.
#[derive(Args, Debug)]
pub struct UrlArguments {
    /// The database to connect to.
    #[arg(long, short)]
    pub database: String,
    /// The user to log in as.
    #[arg(long, short)]
    pub user: String,
    /// The host that clients reach pgwarden by; by default the address that it listens on.
    #[arg(long)]
    pub host: Option<String>,
    /// The port that clients reach pgwarden by; by default the one that it listens on.
    #[arg(long)]
    pub port: Option<u16>,
    /// Where the configuration is.
    #[command(flatten)]
    pub file: ConfigFile,
    /// JSON instead of text.
    #[arg(long)]
    pub json: bool,
}

/// Prints the connection strings: 0, or 64 when nobody can connect so.
pub(super) fn run(arguments: &UrlArguments) -> ExitCode {
    match target(arguments) {
        Ok(target) if arguments.json => {
            println!("{:#}", target.as_json());
            ExitCode::SUCCESS
        }
        Ok(target) => {
            print!("{}", target.as_text());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("pgwarden: {error}");
            ExitCode::from(EXIT_USAGE)
        }
    }
}

/// Where to connect, and as whom.
struct Target {
    host: String,
    port: u16,
    access: Access,
    sslmode: &'static str,
    /// Whether a client certificate proves the user instead of a password.
    certificate: bool,
    notes: Vec<&'static str>,
}

fn target(arguments: &UrlArguments) -> Result<Target, String> {
    let config = crate::config::load(&arguments.file.config).map_err(|errors| errors.to_string())?;
    let access = access(&config, arguments)?;
    let listens = config.listen.postgres.first().copied().ok_or("`listen.postgres` names no address")?;
    let encrypted = config.listen.tls.is_some();
    let mut notes = Vec::new();
    if arguments.host.is_none() && listens.ip().is_unspecified() {
        notes.push("pgwarden listens on every address: give --host the name that clients reach it by");
    }
    if encrypted {
        notes.push("sslmode=verify-full wants to know who signed pgwarden's certificate: add sslrootcert=FILE to it");
    }
    let certificate = config.users.get(&arguments.user).is_some_and(|user| user.verifier.is_none());
    Ok(Target {
        host: arguments.host.clone().unwrap_or_else(|| reachable(listens)),
        port: arguments.port.unwrap_or(listens.port()),
        access,
        sslmode: if encrypted { "verify-full" } else { "disable" },
        certificate,
        notes,
    })
}

fn access(config: &Config, arguments: &UrlArguments) -> Result<Access, String> {
    let UrlArguments { database, user, .. } = arguments;
    if !config.users.contains_key(user) {
        return Err(format!("there is no user `{user}`"));
    }
    let Some(found) = config.database(database) else { return Err(format!("there is no database `{database}`")) };
    let environment = &found.database.environment;
    config.access(user, database).ok_or_else(|| {
        format!("user `{user}` cannot log in to `{database}`: no role in `{environment}`, or no endpoint for that role")
    })
}

/// An address that a client on this machine reaches the listener by.
fn reachable(listens: SocketAddr) -> String {
    match listens.ip() {
        ip if ip.is_unspecified() => "localhost".to_owned(),
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => ip.to_string(),
    }
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

/// A value of `pg_service.conf` is taken as it stands to the end of its line; one of the shell is quoted.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

impl Target {
    fn url(&self, scheme: &str, password: bool) -> String {
        let secret = if password && !self.certificate { format!(":{PASSWORD}") } else { String::new() };
        let user = encoded(&self.access.user);
        format!("{scheme}://{user}{secret}@{}{}", self.place(), self.parameters("?"))
    }

    /// Host, port and database, as they stand in a URL.
    fn place(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        format!("{host}:{}/{}", self.port, encoded(&self.access.database))
    }

    fn parameters(&self, mark: &str) -> String {
        let certificate = if self.certificate { "&sslcert=client.crt&sslkey=client.key" } else { "" };
        format!("{mark}sslmode={}{certificate}", self.sslmode)
    }

    /// What libpq calls each part, in the order of its documentation.
    fn settings(&self) -> Vec<(&'static str, String)> {
        let mut settings = vec![
            ("host", self.host.clone()),
            ("port", self.port.to_string()),
            ("dbname", self.access.database.clone()),
            ("user", self.access.user.clone()),
            ("sslmode", self.sslmode.to_owned()),
        ];
        if self.certificate {
            settings.extend([("sslcert", "client.crt".to_owned()), ("sslkey", "client.key".to_owned())]);
        }
        settings
    }

    /// Every form: a key for JSON, a title for people, and the lines.
    fn forms(&self) -> Vec<(&'static str, &'static str, Vec<String>)> {
        let jdbc =
            format!("jdbc:postgresql://{}?user={}{}", self.place(), encoded(&self.access.user), self.parameters("&"));
        let variables = self.settings().into_iter().map(|(name, value)| {
            let name = if name == "dbname" { "database" } else { name };
            format!("export PG{}={}", name.to_ascii_uppercase(), quoted(&value))
        });
        let service = std::iter::once(format!("[{}]", self.access.database))
            .chain(self.settings().into_iter().map(|(name, value)| format!("{name}={value}")));
        vec![
            (
                "psql",
                "psql, which asks for the password",
                vec![format!("psql {}", quoted(&self.url("postgresql", false)))],
            ),
            ("prisma", "Prisma (.env)", vec![format!("DATABASE_URL=\"{}\"", self.url("postgresql", true))]),
            ("node", "Node.js (pg, postgres)", vec![self.url("postgres", true)]),
            ("jdbc", "JDBC, with the password as a property", vec![jdbc]),
            ("go", "Go (pgx, lib/pq)", vec![self.url("postgres", true)]),
            ("python", "Python (psycopg, asyncpg)", vec![self.url("postgresql", true)]),
            ("sqlalchemy", "SQLAlchemy", vec![self.url("postgresql+psycopg", true)]),
            ("environment", "environment variables, with PGPASSWORD or ~/.pgpass", variables.collect()),
            ("pg_service", "pg_service.conf, then `psql service=…`", service.collect()),
        ]
    }

    fn summary(&self) -> String {
        let Access { user, database, role, environment, policy, endpoint, .. } = &self.access;
        let held = if policy.read_only { ", read-only" } else { "" };
        format!(
            "{user} on {database}: role `{role}` in `{environment}`, policy `{}`{held}, {} endpoint",
            policy.name,
            endpoint.name()
        )
    }

    fn as_text(&self) -> String {
        let mut out = self.summary() + "\n";
        for (_, title, lines) in self.forms() {
            out.push_str(&format!("\n{title}\n"));
            lines.iter().for_each(|line| out.push_str(&format!("  {line}\n")));
        }
        for note in &self.notes {
            out.push_str(&format!("\nnote: {note}\n"));
        }
        out
    }

    fn as_json(&self) -> Value {
        let forms: Map<String, Value> =
            self.forms().into_iter().map(|(key, _, lines)| (key.to_owned(), lines.join("\n").into())).collect();
        let Access { user, database, role, environment, policy, endpoint, .. } = &self.access;
        json!({
            "user": user, "database": database, "role": role, "environment": environment, "policy": policy.name,
            "endpoint": endpoint.name(), "read_only": policy.read_only, "host": self.host, "port": self.port,
            "sslmode": self.sslmode, "connect": forms, "notes": self.notes,
        })
    }
}
