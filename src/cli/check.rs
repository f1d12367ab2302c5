//! `pgwarden check`: the configuration, or SQL files and migration folders against one role's policy.

mod configuration;
mod diagnostic;
mod files;
mod finding;
mod formats;
mod psql;

use std::io::{self, IsTerminal as _, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, ValueEnum};

use super::{ConfigFile, EXIT_USAGE};
use crate::config::{self, Config};
use crate::decision::{Door, Scope};
use finding::{Judge, Report};

/// Arguments of `pgwarden check`.
#[derive(Args, Debug)]
pub struct CheckArguments {
    /// SQL files, or folders of migrations, to judge; without any, the configuration is checked.
    #[arg(value_name = "FILE|FOLDER", requires = "environment", requires = "role")]
    pub paths: Vec<PathBuf>,
    /// Where the configuration is.
    #[command(flatten)]
    pub file: ConfigFile,
    /// The environment whose policy judges the files.
    #[arg(long, short, requires = "paths")]
    pub environment: Option<String>,
    /// The role whose policy judges the files.
    #[arg(long, short, requires = "paths")]
    pub role: Option<String>,
    /// How findings are written.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
    /// JSON: short for `--format json`.
    #[arg(long, conflicts_with = "format")]
    pub json: bool,
}

/// How findings are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people: the words that are at fault, and why.
    Text,
    /// One JSON object on standard output.
    Json,
    /// GitHub's workflow commands, which mark the lines of a pull request.
    Github,
    /// SARIF 2.1.0, which code scanning services read.
    Sarif,
}

/// Checks: 0 if all is in order, 1 if a statement is refused, 64 on bad usage or configuration.
pub(super) fn run(arguments: &CheckArguments, out: &mut dyn Write, err: &mut dyn Write) -> ExitCode {
    let format = if arguments.json { Format::Json } else { arguments.format };
    let loaded = config::load(&arguments.file.config);
    let (Some(environment), Some(role), Ok(config)) = (&arguments.environment, &arguments.role, &loaded) else {
        return configuration::run(&loaded, &arguments.file, format, out, err);
    };
    match judge(arguments, config, environment, role) {
        Ok(report) => {
            let written = write(&report, format, out);
            let code = if report.refused() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
            if written.is_ok() { code } else { ExitCode::FAILURE }
        }
        Err(message) => {
            // A closed standard error is no reason for another exit code.
            let _ = writeln!(err, "pgwarden: {message}");
            ExitCode::from(EXIT_USAGE)
        }
    }
}

fn judge(arguments: &CheckArguments, config: &Config, environment: &str, role: &str) -> Result<Report, String> {
    let scope = scope(config, environment, role)?;
    let found = files::find(&arguments.paths)?;
    let limits = config.limits.sql();
    let judge = Judge { policy: scope.policy(), environment, role, limits };
    Ok(judge.report(found))
}

pub(super) fn scope(config: &Config, environment: &str, role: &str) -> Result<Arc<Scope>, String> {
    let door = Door::new(Arc::new(config.clone()));
    door.scope_of(environment, role).ok_or_else(|| {
        format!("there is no role `{role}` in environment `{environment}`: {}", known(config, environment))
    })
}

/// What there is instead of a role that is not there.
fn known(config: &Config, environment: &str) -> String {
    let names = |names: Vec<&str>| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    match config.environments.iter().find(|known| known.name == environment) {
        Some(known) => format!("its roles are {}", names(known.roles.keys().map(AsRef::as_ref).collect())),
        None => {
            format!("environments are {}", names(config.environments.iter().map(|known| known.name.as_ref()).collect()))
        }
    }
}

fn write(report: &Report, format: Format, out: &mut dyn Write) -> io::Result<()> {
    match format {
        Format::Text => {
            let colour = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            out.write_all(diagnostic::text(report, colour).as_bytes())
        }
        Format::Json => writeln!(out, "{}", formats::json(report)),
        Format::Github => out.write_all(formats::github(report).as_bytes()),
        Format::Sarif => writeln!(out, "{}", formats::sarif(report)),
    }
}
