//! `pgwarden check` without files: the configuration, with everything that is wrong with it.

use std::io::{self, Write};
use std::process::ExitCode;

use serde_json::{Value, json};

use super::Format;
use super::diagnostic::count;
use super::formats::{github_data, github_property, sarif_log};
use crate::cli::{ConfigFile, EXIT_USAGE};
use crate::config::{Config, ConfigError, ConfigErrors};

/// Tells how loading the configuration went: 0 if it loads, 64 if not.
pub(super) fn run(
    loaded: &Result<Config, ConfigErrors>,
    file: &ConfigFile,
    format: Format,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> ExitCode {
    let code = if loaded.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_USAGE) };
    match report(loaded, file, format, out, err) {
        Ok(()) => code,
        Err(_) => ExitCode::FAILURE,
    }
}

fn report(
    loaded: &Result<Config, ConfigErrors>,
    file: &ConfigFile,
    format: Format,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<()> {
    let errors = loaded.as_ref().err().map_or(&[][..], |errors| &errors.0);
    match (format, loaded) {
        (Format::Text, Ok(config)) => writeln!(out, "{}: {}", file.config.display(), summary(config)),
        (Format::Text, Err(errors)) => writeln!(err, "{errors}"),
        (Format::Json, _) => writeln!(out, "{}", as_json(errors)),
        (Format::Github, _) => errors.iter().try_for_each(|error| writeln!(out, "{}", as_github(error))),
        (Format::Sarif, _) => writeln!(out, "{}", as_sarif(errors)),
    }
}

fn summary(config: &Config) -> String {
    format!(
        "in order: {}, {}, {} policies, {}",
        count(config.databases.len(), "database"),
        count(config.environments.len(), "environment"),
        config.policies.len(),
        count(config.users.len(), "user")
    )
}

fn as_json(errors: &[ConfigError]) -> Value {
    let errors: Vec<Value> = errors
        .iter()
        .map(|error| json!({ "file": error.file.to_string_lossy(), "line": error.line, "message": error.message }))
        .collect();
    json!({ "valid": errors.is_empty(), "errors": errors })
}

fn as_github(error: &ConfigError) -> String {
    let line = error.line.map(|line| format!(",line={line}")).unwrap_or_default();
    let file = github_property(&error.file.to_string_lossy());
    format!("::error file={file}{line}::{}", github_data(&error.message))
}

fn as_sarif(errors: &[ConfigError]) -> Value {
    let rule = json!({ "id": "configuration", "shortDescription": { "text": "The configuration cannot be loaded." } });
    sarif_log(&[rule], &errors.iter().map(sarif_result).collect::<Vec<_>>())
}

fn sarif_result(error: &ConfigError) -> Value {
    let file = json!({ "uri": error.file.to_string_lossy() });
    let place = match error.line {
        Some(line) => json!({ "artifactLocation": file, "region": { "startLine": line } }),
        None => json!({ "artifactLocation": file }),
    };
    json!({
        "ruleId": "configuration",
        "level": "error",
        "message": { "text": error.message },
        "locations": [{ "physicalLocation": place }],
    })
}
