//! The stack: Postgres, PgBouncer in transaction mode, and pgwarden before them.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use postgres_protocol::password::scram_sha_256;

use super::account::Account;
use super::configuration::{self, PEOPLE, Parts};
use super::pgbouncer::{Login, PgBouncer, PoolMode};
use super::port;
use super::postgres::{Binaries, Postgres};
use super::process::Process;
use super::scratch::Scratch;
use super::shop;

/// How long pgwarden may take to start.
const START_DEADLINE: Duration = Duration::from_secs(20);

/// What pgwarden logs once it has all its ports.
const LISTENS: &str = "listening for the console";

/// How long an answer over HTTP may take.
const HTTP_DEADLINE: Duration = Duration::from_secs(5);

/// pgwarden's usual ports for clients and for metrics and health.
const USUAL_PORTS: (u16, u16) = (6432, 9432);

/// Which ports were asked for; otherwise the usual ones, or any free one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted {
    /// For clients.
    pub port: Option<u16>,
    /// For metrics and health.
    pub admin_port: Option<u16>,
}

/// The running stack. Dropping it takes everything down, clients' side first.
#[derive(Debug)]
pub struct Stack {
    pgwarden: Process,
    pgbouncer: PgBouncer,
    postgres: Postgres,
    passwords: Vec<String>,
    port: u16,
    admin_port: u16,
    folder: Scratch,
}

/// The servers behind pgwarden, and what it needs to know of them.
struct Servers {
    postgres: Postgres,
    pgbouncer: PgBouncer,
    owner_password: String,
}

impl Stack {
    /// Brings everything up; `program` is pgwarden itself.
    ///
    /// # Errors
    /// When a part is missing or does not come up: with what it logged.
    pub fn start(program: &Path, wanted: Wanted) -> Result<Stack> {
        let folder = Scratch::create(&std::env::temp_dir(), "pgwarden-demo")?;
        let servers = Servers::start(&folder)?;
        let passwords = PEOPLE.iter().map(|_| shop::password()).collect::<Result<Vec<_>>>()?;
        let verifiers: Vec<String> = passwords.iter().map(|password| scram_sha_256(password.as_bytes())).collect();
        let (pgwarden, port, admin_port) = serve(program, &folder, &servers, &verifiers, wanted)?;
        let Servers { postgres, pgbouncer, .. } = servers;
        Ok(Stack { pgwarden, pgbouncer, postgres, passwords, port, admin_port, folder })
    }

    /// The password of one of [`PEOPLE`].
    pub fn password(&self, user: &str) -> &str {
        let found = PEOPLE.iter().zip(&self.passwords).find(|(person, _)| person.name == user);
        found.map_or("", |(_, password)| password)
    }

    /// The URL to log in with as one of [`PEOPLE`].
    pub fn url(&self, user: &str, database: &str) -> String {
        let password = self.password(user);
        format!("postgres://{user}:{password}@127.0.0.1:{}/{database}", self.port)
    }

    /// Where the console, metrics and health are.
    pub fn admin_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.admin_port)
    }

    /// The audit log's folder.
    pub fn audit(&self) -> PathBuf {
        audit(&self.folder)
    }

    /// The configuration's file.
    pub fn configuration(&self) -> PathBuf {
        self.folder.join("pgwarden.toml")
    }

    /// pgwarden's own log.
    pub fn log(&self) -> PathBuf {
        self.folder.join("pgwarden.log")
    }

    /// The Postgres behind it all.
    pub fn postgres(&self) -> &Postgres {
        &self.postgres
    }

    /// The status code and body of a page of the admin address.
    ///
    /// # Errors
    /// When nobody answers there.
    pub fn page(&self, path: &str) -> Result<(u16, String)> {
        page(self.admin_port, path)
    }

    /// Fails when a part of it ended on its own.
    ///
    /// # Errors
    /// Which part it was, with what it wrote.
    pub fn still_runs(&mut self) -> Result<()> {
        let parts = [&mut self.pgwarden, self.pgbouncer.process(), self.postgres.process()];
        for (name, process) in ["pgwarden", "PgBouncer", "Postgres"].into_iter().zip(parts) {
            if let Some(status) = process.ended() {
                bail!("{name} ended ({status}):\n{}", process.output());
            }
        }
        Ok(())
    }
}

impl Servers {
    fn start(folder: &Scratch) -> Result<Servers> {
        let account = Account::for_folder(folder.path())?;
        let inside = folder.join("servers");
        fs::create_dir(&inside).context("cannot make the servers' folder")?;
        account.own(&inside)?;
        let data = inside.join("postgres");
        let password = shop::password()?;
        let binaries = Binaries::find()?;
        binaries.initialise(account, &data, &password)?;
        let postgres = Postgres::start(&binaries, account, &data, &password, &[])?;
        let owner_password = shop::password()?;
        shop::create(&postgres, &owner_password)?;
        let logins = [Login { user: shop::OWNER, password: &owner_password }];
        let pgbouncer = PgBouncer::start(account, &inside, postgres.port(), PoolMode::Transaction, &logins, &[])?;
        Ok(Servers { postgres, pgbouncer, owner_password })
    }
}

/// Runs `pgwarden serve` before the servers.
fn serve(
    program: &Path,
    folder: &Scratch,
    servers: &Servers,
    verifiers: &[String],
    wanted: Wanted,
) -> Result<(Process, u16, u16)> {
    let file = folder.join("pgwarden.toml");
    let log = folder.join("pgwarden.log");
    let mut usual = Some(USUAL_PORTS);
    port::retrying(|free| {
        // The usual ports get one chance; then any free one will do.
        let (usual_port, usual_admin_port) = usual.take().unwrap_or((free, 0));
        let port = wanted.port.map_or_else(|| port::free_or(usual_port), Ok)?;
        let admin_port = wanted.admin_port.map_or_else(|| port::free_or(usual_admin_port), Ok)?;
        let parts = Parts {
            port,
            admin_port,
            audit: &audit(folder),
            pooled_port: servers.pgbouncer.port(),
            direct_port: servers.postgres.port(),
            owner_password: &servers.owner_password,
            verifiers,
        };
        private(&file, &configuration::text(&parts))?;
        let _ = fs::remove_file(&log);
        let mut command = Command::new(program);
        command.arg("serve").arg("--config").arg(&file).env_remove("RUST_LOG");
        let mut process = Process::spawn("pgwarden", command, "TERM", &log)?;
        // Its own word that it listens: on the usual ports somebody else's pgwarden may answer.
        let ready = |process: &Process| {
            process.output().contains(LISTENS) && page(admin_port, "/readyz").is_ok_and(|(status, _)| status == 200)
        };
        process.wait_until(START_DEADLINE, ready)?;
        Ok((process, port, admin_port))
    })
}

fn audit(folder: &Scratch) -> PathBuf {
    folder.join("audit")
}

fn private(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).context("cannot set permissions")
}

/// One GET request on the loopback: the status code and the body.
fn page(port: u16, path: &str) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(HTTP_DEADLINE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| anyhow!("not an HTTP answer"))?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok((status.ok_or_else(|| anyhow!("an HTTP answer without a status"))?, body.to_owned()))
}
