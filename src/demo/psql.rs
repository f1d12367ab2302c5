//! psql, as a person runs it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// The program psql.
#[derive(Clone, Debug)]
pub struct Psql {
    program: PathBuf,
}

/// What a run of psql gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Exit status 0.
    pub succeeded: bool,
    /// Standard output: rows.
    pub output: String,
    /// Standard error: notices and errors.
    pub errors: String,
}

impl Psql {
    /// psql of this folder when it has one, of the PATH otherwise.
    pub fn beside(folder: &Path) -> Psql {
        let own = folder.join("psql");
        Psql { program: if own.exists() { own } else { PathBuf::from("psql") } }
    }

    /// Runs `script` over `url`, unaligned and without headers, with `arguments` added.
    ///
    /// # Errors
    /// When psql cannot be run; what the server says is in the answer.
    pub fn run(&self, url: &str, script: &str, arguments: &[&str]) -> Result<Answer> {
        let mut child = self
            .command(url)
            .args(["-qAt"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {}", self.program.display()))?;
        let input = child.stdin.take();
        let script = script.to_owned();
        // psql may answer before it has read all: writing and reading must not wait for each other.
        let writer = std::thread::spawn(move || input.map(|mut input| input.write_all(script.as_bytes())));
        let output = child.wait_with_output().context("psql went away")?;
        let _ = writer.join();
        Ok(Answer {
            succeeded: output.status.success(),
            output: String::from_utf8_lossy(&output.stdout).into_owned(),
            errors: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Runs `script` and gives its rows.
    ///
    /// # Errors
    /// At the first error that the server reports.
    pub fn rows(&self, url: &str, script: &str, arguments: &[&str]) -> Result<String> {
        let mut all = vec!["-v", "ON_ERROR_STOP=1"];
        all.extend(arguments);
        let answer = self.run(url, script, &all)?;
        if !answer.succeeded {
            bail!("psql failed: {}", answer.errors.trim());
        }
        Ok(answer.output)
    }

    /// psql with this URL and nothing of the caller's settings.
    pub fn command(&self, url: &str) -> Command {
        let mut command = Command::new(&self.program);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PG")) {
            command.env_remove(name);
        }
        command.arg("-X").arg(url).env("PSQL_PAGER", "cat").env("PSQL_HISTORY", "/dev/null").env("LC_ALL", "C.UTF-8");
        command
    }
}
