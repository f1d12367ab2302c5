//! The command line: every command and its arguments, one file per command.
//!
//! Exit codes: 0 fine · 1 a refusal, or a command that could not do its work · 64 bad usage or configuration.

mod api;
pub mod audit;
mod check;
pub mod demo;
mod excerpt;
mod explain;
mod grant;
mod serve;
mod sessions;
mod url;
mod user;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

pub use check::CheckArguments;
pub use explain::ExplainArguments;
pub use grant::GrantArguments;
pub use serve::ServeArguments;
pub use sessions::SessionsArguments;
pub use url::UrlArguments;
pub use user::{UserArguments, UserCommand};

/// Exit code for bad usage or configuration (`EX_USAGE` of sysexits.h).
pub const EXIT_USAGE: u8 = 64;

/// A Postgres wire-protocol safety proxy: judges every statement by what it would do, and records it.
#[derive(Debug, Parser)]
#[command(name = "pgwarden", version, propagate_version = true)]
pub struct CommandLine {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the proxy.
    Serve(ServeArguments),
    /// Run the proxy before a throw-away Postgres and PgBouncer with sample data.
    Demo(demo::Arguments),
    /// Check the configuration.
    Check(CheckArguments),
    /// Show what a statement would do, and what a role's policy says to it.
    Explain(ExplainArguments),
    /// Show what to paste to connect through pgwarden.
    Url(UrlArguments),
    /// Work with users.
    User(UserArguments),
    /// List and end the sessions of a running proxy.
    Sessions(SessionsArguments),
    /// Ask for more than a policy allows, for a limited time; approve, deny and revoke that.
    Grant(GrantArguments),
    /// Read and prove the audit log.
    Audit(AuditArguments),
}

/// Arguments of `pgwarden audit`.
#[derive(Args, Debug)]
pub struct AuditArguments {
    /// Where the configuration is, which says where the log is.
    #[command(flatten)]
    pub file: ConfigFile,
    /// What to do with the log.
    #[command(flatten)]
    pub command: audit::AuditCommand,
}

/// Where the configuration is.
#[derive(Args, Clone, Debug)]
pub struct ConfigFile {
    /// The configuration file.
    #[arg(long, short, value_name = "FILE", default_value = "pgwarden.toml", env = "PGWARDEN_CONFIG")]
    pub config: PathBuf,
}

impl CommandLine {
    /// Reads the process's arguments. Help and version are printed to standard output, bad usage is told on standard error; both
    /// give the exit code.
    pub fn from_arguments() -> Result<CommandLine, ExitCode> {
        CommandLine::try_parse().map_err(|error| {
            // A closed pipe is no reason for another exit code.
            let _ = error.print();
            if error.use_stderr() { ExitCode::from(EXIT_USAGE) } else { ExitCode::SUCCESS }
        })
    }
}

/// Runs `pgwarden check`.
pub fn check(arguments: &CheckArguments) -> ExitCode {
    check::run(arguments, &mut std::io::stdout().lock(), &mut std::io::stderr().lock())
}

/// Runs `pgwarden user …`.
pub fn user(arguments: &UserArguments) -> ExitCode {
    user::run(arguments)
}

/// Runs `pgwarden url`.
pub fn url(arguments: &UrlArguments) -> ExitCode {
    url::run(arguments)
}

/// Runs `pgwarden explain`.
pub fn explain(arguments: &ExplainArguments) -> ExitCode {
    explain::run(arguments)
}

/// Runs `pgwarden serve`.
pub fn serve(arguments: &ServeArguments) -> ExitCode {
    serve::run(arguments)
}

/// Runs `pgwarden sessions …`.
pub fn sessions(arguments: &SessionsArguments) -> ExitCode {
    sessions::run(arguments)
}

/// Runs `pgwarden grant …`.
pub fn grant(arguments: &GrantArguments) -> ExitCode {
    grant::run(arguments)
}

/// Runs `pgwarden demo`.
pub fn demo(arguments: &demo::Arguments) -> ExitCode {
    demo::run(arguments).unwrap_or_else(|error| {
        eprintln!("pgwarden: {error:#}");
        ExitCode::FAILURE
    })
}

/// Runs `pgwarden audit …`. Without a configuration the log is looked for where the default one has it.
pub fn audit(arguments: AuditArguments) -> ExitCode {
    let file = &arguments.file.config;
    let directory = match crate::config::load(file) {
        Ok(config) => config.audit.directory,
        Err(_) if !file.exists() => PathBuf::from("var/audit"),
        Err(errors) => {
            eprintln!("{errors}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    audit::run(arguments.command, &directory).unwrap_or_else(|error| {
        eprintln!("pgwarden: {error:#}");
        ExitCode::FAILURE
    })
}
