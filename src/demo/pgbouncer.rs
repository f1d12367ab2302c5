//! A PgBouncer before a throw-away Postgres.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use super::account::Account;
use super::port;
use super::process::Process;

/// How long PgBouncer may take to start.
const START_DEADLINE: Duration = Duration::from_secs(20);

/// Where PgBouncer may lie although the PATH does not say so.
const SYSTEM_FOLDER: &str = "/usr/sbin/pgbouncer";

/// When PgBouncer gives a server connection back to its pool (`pool_mode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolMode {
    /// When the client goes.
    Session,
    /// At the end of each transaction.
    Transaction,
    /// After each statement; transactions are refused.
    Statement,
}

impl PoolMode {
    /// Its name in `pgbouncer.ini`.
    pub fn name(self) -> &'static str {
        match self {
            PoolMode::Session => "session",
            PoolMode::Transaction => "transaction",
            PoolMode::Statement => "statement",
        }
    }
}

/// Somebody who may log in to PgBouncer, and through it to Postgres.
#[derive(Clone, Debug)]
pub struct Login<'a> {
    /// The Postgres role.
    pub user: &'a str,
    /// Its password.
    pub password: &'a str,
}

/// A running PgBouncer on a loopback port.
#[derive(Debug)]
pub struct PgBouncer {
    process: Process,
    port: u16,
}

impl PgBouncer {
    /// Starts PgBouncer in `folder`, which must exist, before the Postgres on `postgres_port`.
    ///
    /// # Errors
    /// When it is not installed or does not come up: with what it logged.
    pub fn start(
        account: Account,
        folder: &Path,
        postgres_port: u16,
        mode: PoolMode,
        logins: &[Login<'_>],
        settings: &[&str],
    ) -> Result<PgBouncer> {
        let users = folder.join("pgbouncer.users");
        let ini = folder.join("pgbouncer.ini");
        let log = folder.join("pgbouncer.log");
        private(account, &users, &user_list(logins))?;
        port::retrying(|port| {
            let _ = fs::remove_file(&log);
            private(account, &ini, &configuration(port, postgres_port, mode, &users, settings))?;
            let mut command = account.command(&program());
            command.arg(&ini);
            let mut process = Process::spawn("PgBouncer", command, "TERM", &log)?;
            let listening = format!("listening on 127.0.0.1:{port}");
            process.wait_until(START_DEADLINE, |process| {
                let output = process.output();
                output.contains(&listening) && output.contains("process up")
            })?;
            Ok(PgBouncer { process, port })
        })
    }

    /// The port of 127.0.0.1 that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        self.process.output()
    }

    /// The process, to look at or to stop.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

fn program() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut candidates = std::env::split_paths(&path).map(|folder| folder.join("pgbouncer"));
    candidates.find(|candidate| candidate.exists()).unwrap_or_else(|| PathBuf::from(SYSTEM_FOLDER))
}

fn user_list(logins: &[Login<'_>]) -> String {
    let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
    logins.iter().map(|login| format!("{} {}\n", quoted(login.user), quoted(login.password))).collect()
}

fn configuration(port: u16, postgres_port: u16, mode: PoolMode, users: &Path, settings: &[&str]) -> String {
    let mut text = format!(
        "[databases]\n\
         * = host=127.0.0.1 port={postgres_port}\n\n\
         [pgbouncer]\n\
         listen_addr = 127.0.0.1\n\
         listen_port = {port}\n\
         unix_socket_dir =\n\
         auth_type = scram-sha-256\n\
         auth_file = {users}\n\
         pool_mode = {mode}\n\
         default_pool_size = 20\n\
         max_client_conn = 4000\n\
         ignore_startup_parameters = extra_float_digits\n",
        users = users.display(),
        mode = mode.name(),
    );
    for setting in settings {
        text.push_str(setting);
        text.push('\n');
    }
    text
}

/// Writes a file that only the servers' account can read.
fn private(account: Account, path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).context("cannot set permissions")?;
    account.own(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_in_the_user_list_are_doubled() {
        let logins = [Login { user: "shop", password: "a\"b" }];
        assert_eq!(user_list(&logins), "\"shop\" \"a\"\"b\"\n");
    }
}
