//! A throw-away Postgres.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::account::Account;
use super::port;
use super::process::Process;
use super::psql::Psql;

/// How long Postgres may take to start.
const START_DEADLINE: Duration = Duration::from_secs(60);

/// Where Debian keeps Postgres' programs, one folder a version.
const DEBIAN: &str = "/usr/lib/postgresql";

/// Where `scripts/install.sh test` puts Postgres 18.
const POSTGRES_18: &str = "target/postgres18/bin";

/// What a server without precious data can do without.
const THROW_AWAY: [&str; 4] =
    ["fsync=off", "synchronous_commit=off", "full_page_writes=off", "unix_socket_directories="];

/// Postgres' programs of one version.
#[derive(Clone, Debug)]
pub struct Binaries {
    folder: PathBuf,
}

/// A running Postgres on a loopback port.
#[derive(Debug)]
pub struct Postgres {
    process: Process,
    port: u16,
    password: String,
    psql: Psql,
}

impl Binaries {
    /// The programs on the PATH, else Debian's newest, else what the tests installed.
    ///
    /// # Errors
    /// When there are none.
    pub fn find() -> Result<Binaries> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
        folders.extend(debian());
        folders.push(PathBuf::from(POSTGRES_18));
        match folders.iter().find_map(|folder| Binaries::at(folder).ok()) {
            Some(binaries) => Ok(binaries),
            None => bail!("no Postgres found: on Debian, `scripts/install.sh demo` installs one"),
        }
    }

    /// The programs in `folder`, or where its `postgres` is a link to.
    ///
    /// # Errors
    /// When `postgres` or `initdb` is missing.
    pub fn at(folder: &Path) -> Result<Binaries> {
        let postgres = folder.join("postgres").canonicalize();
        let postgres = postgres.with_context(|| format!("no Postgres in {}", folder.display()))?;
        match postgres.parent() {
            Some(folder) if folder.join("initdb").exists() => Ok(Binaries { folder: folder.to_owned() }),
            _ => bail!("no initdb beside {}", postgres.display()),
        }
    }

    /// Where they are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Makes a database cluster in `data`, whose superuser is `postgres`.
    ///
    /// # Errors
    /// When initdb fails: with what it said.
    pub fn initialise(&self, account: Account, data: &Path, password: &str) -> Result<()> {
        let password_file = data.with_extension("password");
        fs::write(&password_file, password).context("cannot write a password file")?;
        account.own(&password_file)?;
        let output = account
            .command(&self.folder.join("initdb"))
            .args(["--username=postgres", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync"])
            .arg("--pwfile")
            .arg(&password_file)
            .arg("--pgdata")
            .arg(data)
            .output()
            .context("cannot run initdb")?;
        fs::remove_file(&password_file).context("cannot remove a password file")?;
        if !output.status.success() {
            bail!("initdb failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }
}

impl Postgres {
    /// Starts Postgres on the cluster in `data` with `settings` (`name=value`) added.
    ///
    /// # Errors
    /// When it does not come up: with what it logged.
    pub fn start(
        binaries: &Binaries,
        account: Account,
        data: &Path,
        password: &str,
        settings: &[&str],
    ) -> Result<Postgres> {
        let log = data.with_extension("log");
        let (process, port) = port::retrying(|port| {
            let _ = fs::remove_file(&log);
            let mut command = account.command(&binaries.folder.join("postgres"));
            command.arg("-D").arg(data).args(["-h", "127.0.0.1", "-p", &port.to_string()]);
            for setting in THROW_AWAY.iter().chain(settings) {
                command.args(["-c", setting]);
            }
            let mut process = Process::spawn("Postgres", command, "QUIT", &log)?;
            process.wait_until(START_DEADLINE, |process| is_ready(data, process.id()))?;
            Ok((process, port))
        })?;
        Ok(Postgres { process, port, password: password.to_owned(), psql: Psql::beside(&binaries.folder) })
    }

    /// The port of 127.0.0.1 that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The superuser's URL of a database.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres:{}@127.0.0.1:{}/{database}?sslmode=disable", self.password, self.port)
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        self.process.output()
    }

    /// The process, to look at or to stop.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// The psql that goes with it.
    pub fn psql(&self) -> &Psql {
        &self.psql
    }

    /// Runs SQL as superuser and gives its rows, unaligned.
    ///
    /// # Errors
    /// At the first error that the server reports.
    pub fn rows(&self, database: &str, script: &str) -> Result<String> {
        self.psql.rows(&self.url(database), script, &[])
    }
}

/// Debian's folders of Postgres programs, the newest version first.
fn debian() -> Vec<PathBuf> {
    let entries = fs::read_dir(DEBIAN).into_iter().flatten().flatten();
    let mut versions: Vec<u32> = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    versions.sort_unstable_by(|one, other| other.cmp(one));
    versions.iter().map(|version| Path::new(DEBIAN).join(version.to_string()).join("bin")).collect()
}

/// Whether `postmaster.pid` says that this very process accepts connections: its first line is the process id, its
/// eighth the state (`src/include/utils/pidfile.h`).
fn is_ready(data: &Path, id: u32) -> bool {
    let Ok(text) = fs::read_to_string(data.join("postmaster.pid")) else { return false };
    let mut lines = text.lines();
    lines.next().is_some_and(|line| line.trim() == id.to_string())
        && lines.nth(6).is_some_and(|line| line.trim() == "ready")
}
