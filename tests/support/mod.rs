//! Real servers for integration tests: Postgres 15 and 18, PgBouncer, and the pgwarden under test.
//!
//! Everything listens on free ports of 127.0.0.1, keeps its files below `target/tmp`, and goes when its value is
//! dropped, when the test panics, and when the test program is killed.

#![allow(dead_code, unused_imports, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

pub mod proxy;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use pgwarden::demo::account::Account;
use pgwarden::demo::pgbouncer::{self, Login};
use pgwarden::demo::postgres::{self, Binaries};
use pgwarden::demo::psql::{Answer, Psql};
use pgwarden::demo::scratch::Scratch;

pub use self::proxy::Pgwarden;
pub use pgwarden::demo::pgbouncer::PoolMode as Mode;

/// The superuser of every Postgres here.
pub const SUPERUSER: &str = "postgres";
/// Its password.
pub const PASSWORD: &str = "postgres-of-the-tests";

/// Settings of every Postgres here, beside those that make it fast and forgetful.
const SETTINGS: [&str; 4] =
    ["max_connections=500", "shared_buffers=64MB", "max_prepared_transactions=10", "log_min_messages=warning"];

/// Where everything's files lie.
pub fn folder() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

/// A major version of Postgres that the tests have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// Debian's.
    V15,
    /// From npm, see `scripts/install.sh`.
    V18,
}

impl Version {
    /// Both.
    pub const ALL: [Version; 2] = [Version::V15, Version::V18];

    fn name(self) -> &'static str {
        match self {
            Version::V15 => "15",
            Version::V18 => "18",
        }
    }

    fn binaries(self) -> Binaries {
        let folder = match self {
            Version::V15 => PathBuf::from("/usr/lib/postgresql/15/bin"),
            Version::V18 => Path::new(env!("CARGO_MANIFEST_DIR")).join("target/postgres18/bin"),
        };
        Binaries::at(&folder).expect("Postgres is missing: run `scripts/install.sh test`")
    }
}

/// A Postgres of its own.
pub struct Postgres {
    server: postgres::Postgres,
    folder: Scratch,
}

impl Postgres {
    /// A Postgres of this version that nobody else uses.
    pub fn start(version: Version) -> Postgres {
        Postgres::start_with(version, &[])
    }

    /// The same with settings added, `log_statement=all` for one.
    pub fn start_with(version: Version, settings: &[&str]) -> Postgres {
        let folder = Scratch::create(folder(), "postgres").unwrap();
        let account = Account::for_folder(folder.path()).unwrap();
        let data = folder.join("data");
        let copied = Command::new("cp").arg("-a").arg(template(version, account)).arg(&data).status().unwrap();
        assert!(copied.success(), "cannot copy the template of Postgres {}", version.name());
        let settings: Vec<&str> = SETTINGS.iter().chain(settings).copied().collect();
        let server = postgres::Postgres::start(&version.binaries(), account, &data, PASSWORD, &settings).unwrap();
        Postgres { server, folder }
    }

    /// A hot standby of this one, by streaming replication. Postgres 15 only: the other has no `pg_basebackup` here.
    pub fn standby(&self) -> Postgres {
        let folder = Scratch::create(folder(), "standby").unwrap();
        let account = Account::for_folder(folder.path()).unwrap();
        account.own(folder.path()).unwrap();
        let binaries = Version::V15.binaries();
        let data = folder.join("data");
        let copied = account
            .command(&binaries.folder().join("pg_basebackup"))
            .args(["-h", "127.0.0.1", "-U", SUPERUSER, "-R", "-X", "stream", "-c", "fast", "--no-sync"])
            .args(["-p", &self.port().to_string()])
            .arg("-D")
            .arg(&data)
            .env("PGPASSWORD", PASSWORD)
            .status()
            .unwrap();
        assert!(copied.success(), "pg_basebackup failed");
        let server = postgres::Postgres::start(&binaries, account, &data, PASSWORD, &SETTINGS).unwrap();
        Postgres { server, folder }
    }

    /// The Postgres of this version that all tests of this program share. Use [`Postgres::database`].
    pub fn shared(version: Version) -> &'static Postgres {
        static V15: LazyLock<Postgres> = LazyLock::new(|| Postgres::start(Version::V15));
        static V18: LazyLock<Postgres> = LazyLock::new(|| Postgres::start(Version::V18));
        match version {
            Version::V15 => &V15,
            Version::V18 => &V18,
        }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.server.port()
    }

    /// The superuser's URL of a database.
    pub fn url(&self, database: &str) -> String {
        self.server.url(database)
    }

    /// Makes a new, empty database and gives its name.
    pub fn database(&self) -> String {
        self.database_from("template1")
    }

    /// Makes a new database as a copy of another one, which nobody may be using.
    pub fn database_from(&self, template: &str) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        self.rows("postgres", &format!("create database {name} template {template}"));
        name
    }

    /// Runs SQL as superuser and gives its rows, columns parted by `|`.
    pub fn rows(&self, database: &str, sql: &str) -> String {
        self.server.rows(database, sql).unwrap()
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        self.server.log()
    }

    /// Its process id.
    pub fn id(&mut self) -> u32 {
        self.server.process().id()
    }

    /// Where its files lie.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Kills it, as a crash would.
    pub fn kill(&mut self) {
        signal(self.id(), "KILL");
    }
}

/// A cluster as initdb leaves it, made once for each version and account.
fn template(version: Version, account: Account) -> PathBuf {
    let owner = match account {
        Account::Own => fs::metadata(folder()).unwrap().uid(),
        Account::Other { uid, .. } => uid,
    };
    let place = folder().join(format!("template-{}-{owner}", version.name()));
    if !place.exists() {
        let making = Scratch::create(folder(), "initdb").unwrap();
        account.own(making.path()).unwrap();
        version.binaries().initialise(account, &making.join("data"), PASSWORD).unwrap();
        // Somebody else may have been faster, and theirs is as good.
        let _ = fs::rename(making.join("data"), &place);
    }
    place
}

/// A PgBouncer before a Postgres.
pub struct PgBouncer {
    server: pgbouncer::PgBouncer,
    folder: Scratch,
}

impl PgBouncer {
    /// A PgBouncer that lets the superuser in.
    pub fn start(postgres: &Postgres, mode: Mode) -> PgBouncer {
        PgBouncer::start_with(postgres, mode, &[], &[])
    }

    /// The same with logins `(user, password)` and lines of `pgbouncer.ini` added.
    pub fn start_with(postgres: &Postgres, mode: Mode, logins: &[(&str, &str)], settings: &[&str]) -> PgBouncer {
        let folder = Scratch::create(folder(), "pgbouncer").unwrap();
        let account = Account::for_folder(folder.path()).unwrap();
        account.own(folder.path()).unwrap();
        let logins: Vec<Login<'_>> =
            [(SUPERUSER, PASSWORD)].iter().chain(logins).map(|&(user, password)| Login { user, password }).collect();
        let server =
            pgbouncer::PgBouncer::start(account, folder.path(), postgres.port(), mode, &logins, settings).unwrap();
        PgBouncer { server, folder }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.server.port()
    }

    /// The superuser's URL of a database through it.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{SUPERUSER}:{PASSWORD}@127.0.0.1:{}/{database}?sslmode=disable", self.port())
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        self.server.log()
    }

    /// Kills it, as a crash would.
    pub fn kill(&mut self) {
        signal(self.server.process().id(), "KILL");
    }
}

/// Runs psql with a script; what the server says is in the answer.
pub fn psql(url: &str, script: &str, arguments: &[&str]) -> Answer {
    Psql::beside(Path::new("/usr/lib/postgresql/15/bin")).run(url, script, arguments).unwrap()
}

/// Sends a signal to a process of ours.
pub fn signal(id: u32, signal: &str) {
    let status = Command::new("sh").args(["-c", r#"kill -"$1" "$2""#, "kill", signal, &id.to_string()]).status();
    assert!(status.unwrap().success(), "cannot send SIG{signal} to {id}");
}

/// What the servers here call themselves, for people.
pub fn versions() -> String {
    let postgres: Vec<String> = Version::ALL
        .map(|version| {
            let said = Postgres::shared(version).rows("postgres", "show server_version");
            format!("Postgres {}", said.split_whitespace().next().unwrap_or_default())
        })
        .into();
    let said = Command::new("/usr/sbin/pgbouncer").arg("--version").output().unwrap().stdout;
    let pgbouncer = String::from_utf8_lossy(&said).lines().next().unwrap_or_default().to_owned();
    format!("{} and {pgbouncer}", postgres.join(", "))
}
