//! The audit log as evidence of the whole proxy: killed in the middle of load, every statement that reached Postgres has exactly
//! one record, and the outcome that the record tells is what became of it; and a disk that does not answer for a while.
//!
//! `PGWARDEN_KILLS` says how often it is killed (`make test-kill`: a hundred times).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/raw.rs"]
mod raw;
mod support;

use std::collections::{HashMap, HashSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use pgwarden::audit::keys::PublicKey;
use pgwarden::audit::verify::{Proof, Trust, verify};
use pgwarden::audit::*;
use pgwarden::demo::port;
use pgwarden::demo::process::Process;
use pgwarden::demo::scratch::Scratch;
use raw::Raw;
use support::proxy::{database, user};
use support::{Postgres, Version};

/// Sessions that work when the proxy is killed.
const SESSIONS: usize = 4;

/// A proxy whose folder outlives it.
struct Mortal {
    folder: Scratch,
    configuration: String,
}

/// One of its lives.
struct Life {
    process: Process,
    port: u16,
}

impl Mortal {
    fn start(&self) -> Life {
        let log = self.folder.join("pgwarden.log");
        let (process, port) = port::retrying(|port| {
            let admin = port::free()?;
            let listen = format!("[listen]\npostgres = \"127.0.0.1:{port}\"\nadmin = \"127.0.0.1:{admin}\"\n");
            // Small segments, so that kills fall into rotations and compressions too.
            let audit = format!("[audit]\ndirectory = \"{}\"\nsegment_bytes = \"64kB\"\n", self.audit().display());
            std::fs::write(self.folder.join("pgwarden.toml"), format!("{listen}{audit}{}", self.configuration))?;
            let mut command = Command::new(env!("CARGO_BIN_EXE_pgwarden"));
            command.arg("serve").arg("--config").arg(self.folder.join("pgwarden.toml"));
            let mut process = Process::spawn("pgwarden", command, "TERM", &log)?;
            process
                .wait_until(Duration::from_secs(120), |_| std::net::TcpStream::connect(("127.0.0.1", admin)).is_ok())?;
            Ok((process, port))
        })
        .unwrap();
        Life { process, port }
    }

    fn audit(&self) -> PathBuf {
        self.folder.join("audit")
    }

    /// What the public key alone proves.
    fn proof(&self) -> Proof {
        let public = vec![PublicKey::read(&self.folder.join("audit.pub")).unwrap()];
        let trust = Trust { public, private: None, head: Trust::head_of(&self.folder.join("audit.head")) };
        verify(&self.audit(), &trust, |_| {}).unwrap_or_else(|error| panic!("{error}"))
    }
}

/// Writes until the connection breaks: in turns a statement of its own, one in a transaction, and one that fails.
fn work(port: u16, mark: &str, stop: &AtomicBool, done: &AtomicU64) -> Vec<String> {
    let mut told = Vec::new();
    let Ok(mut session) = Raw::connect(port, "app", "pencil", "shop") else { return told };
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let own = format!("m-{mark}-{number}-x");
        let insert = format!("insert into marks values ('{own}')");
        let statements = match number % 4 {
            0 | 1 => vec![insert],
            2 => vec!["begin".to_owned(), insert, if number % 8 == 2 { "commit" } else { "rollback" }.to_owned()],
            _ => vec![format!("select 1 / 0, '{own}'")],
        };
        for statement in &statements {
            if session.query(statement).is_err() {
                return told;
            }
        }
        told.push(own);
        done.fetch_add(1, Ordering::Relaxed);
    }
    told
}

/// The marks in a text, each once.
fn marks(text: &str) -> Vec<String> {
    let found = text.match_indices("m-").filter_map(|(at, _)| {
        let mark = &text[at..at + text[at..].find("-x")? + 2];
        mark.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-').then(|| mark.to_owned())
    });
    found.collect()
}

fn records(directory: &Path) -> Vec<serde_json::Value> {
    let mut all = Vec::new();
    for segment in segment::list(directory).unwrap() {
        let mut text = String::new();
        segment.open().unwrap().read_to_string(&mut text).unwrap();
        all.extend(text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()));
    }
    all
}

#[test]
fn killed_under_load_every_statement_that_reached_postgres_has_one_record_with_its_outcome() {
    let kills: u64 = std::env::var("PGWARDEN_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(4);
    let postgres = Postgres::start_with(Version::V15, &["log_statement=all", "log_min_messages=info"]);
    let name = postgres.database();
    postgres.rows(&name, "create table marks (mark text primary key)");
    let url = postgres.url(&name);
    let mut configuration = database("shop", &url, &url);
    configuration
        .push_str("\n[environments.production.roles]\napp = { policy = \"application\", endpoint = \"direct\" }\n");
    configuration.push_str(&user("app", "pencil", "production = \"app\""));
    let mortal = Mortal { folder: Scratch::create(support::folder(), "mortal").unwrap(), configuration };
    let mut told: Vec<String> = Vec::new();
    for round in 0..kills {
        let mut life = mortal.start();
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let sessions: Vec<_> = (0..SESSIONS)
            .map(|session| {
                let (port, stop, done) = (life.port, Arc::clone(&stop), Arc::clone(&done));
                std::thread::spawn(move || work(port, &format!("{round}-{session}"), &stop, &done))
            })
            .collect();
        // In the middle of the work, wherever that is by then.
        let until = Instant::now() + Duration::from_secs(60);
        while done.load(Ordering::Relaxed) < 100 && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(10));
        }
        std::thread::sleep(Duration::from_millis(37 * (round % 11)));
        support::signal(life.process.id(), "KILL");
        stop.store(true, Ordering::Relaxed);
        sessions.into_iter().for_each(|session| told.extend(session.join().unwrap()));
        while life.process.ended().is_none() {
            std::thread::sleep(Duration::from_millis(5));
        }
        drop(life);
        // The next life recovers the log before it takes anybody in; what it leaves is proved.
        let mut next = mortal.start();
        let proof = mortal.proof();
        assert!(!proof.damaged, "round {round}: {proof:?}");
        next.process.stop();
    }
    let proof = mortal.proof();
    assert!(proof.ended_in_order && !proof.damaged && proof.unsigned == 0, "{proof:?}");

    let records = records(&mortal.audit());
    let mut recorded: HashMap<String, Vec<&serde_json::Value>> = HashMap::new();
    for record in records.iter().filter(|record| record["event"] == "statement") {
        for mark in marks(record["text"].as_str().unwrap()) {
            recorded.entry(mark).or_default().push(record);
        }
    }
    let outcomes: HashMap<&str, &serde_json::Value> = records
        .iter()
        .filter(|record| record["event"] == "outcome")
        .map(|outcome| (outcome["of"].as_str().unwrap(), outcome))
        .collect();
    let log = postgres.log();
    let reached: Vec<String> =
        log.lines().filter(|line| line.contains("statement: ") && line.contains("LOG:")).flat_map(marks).collect();
    let reached: HashSet<String> = reached.into_iter().collect();
    assert!(reached.len() as u64 > 20 * kills, "only {} statements reached Postgres", reached.len());
    for mark in reached.iter().chain(&told) {
        let own = recorded.get(mark).map_or(0, Vec::len);
        assert_eq!(own, 1, "{mark} has {own} records");
    }
    // What the client was told of is recorded; what is recorded as committed is there, as rolled back is not.
    let there: HashSet<String> = marks(&postgres.rows(&name, "select mark from marks")).into_iter().collect();
    let ends: HashMap<(&str, u64), &str> = records
        .iter()
        .filter(|record| record["event"] == "transaction")
        .map(|end| {
            let key = (end["session"].as_str().unwrap(), end["transaction"].as_u64().unwrap());
            (key, end["state"].as_str().unwrap())
        })
        .collect();
    let mut checked = [0u64; 3];
    for (mark, statements) in &recorded {
        let statement = statements[0];
        let Some(outcome) = outcomes.get(statement["id"].as_str().unwrap()) else { continue };
        let key = (statement["session"].as_str().unwrap(), statement["transaction"].as_u64().unwrap());
        let state = match outcome["state"].as_str().unwrap() {
            "open" => ends.get(&key).copied().unwrap_or("unknown"),
            state => state,
        };
        let fails = statement["text"].as_str().unwrap().starts_with("select 1 / 0");
        assert_eq!(outcome["sqlstate"] == "22012", fails, "{mark}: {outcome}");
        match (state, fails) {
            ("committed", false) => assert!(there.contains(mark), "{mark} is recorded as committed and is not there"),
            ("rolled_back", _) => assert!(!there.contains(mark), "{mark} is recorded as rolled back and is there"),
            ("unknown", _) => {}
            (other, _) => panic!("{mark}: {other}"),
        }
        checked[["committed", "rolled_back", "unknown"].iter().position(|known| *known == state).unwrap()] += 1;
    }
    println!(
        "{kills} kills: {} statements reached Postgres; outcomes (committed, rolled back, unknown): {checked:?}",
        reached.len()
    );
    assert!(checked[0] > 0 && checked[1] > 0);
}

/// An ext4 file system in a file, which can be made to answer nothing. `None` (said loudly) where this machine does not let us.
struct FrozenDisk(tempfile::TempDir);

impl FrozenDisk {
    fn mount() -> Option<FrozenDisk> {
        let root = tempfile::tempdir().unwrap();
        let disk = FrozenDisk(root);
        let (image, at) = (disk.0.path().join("image"), disk.0.path().join("disk"));
        std::fs::create_dir(&at).unwrap();
        std::fs::File::create(&image).unwrap().set_len(24 << 20).unwrap();
        let run = |program: &str, arguments: &[&std::ffi::OsStr]| {
            let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
            Command::new(program).args(arguments).env("PATH", path).output().is_ok_and(|output| output.status.success())
        };
        let made = run("mkfs.ext4", &["-q".as_ref(), image.as_os_str()])
            && run("mount", &["-o".as_ref(), "loop".as_ref(), image.as_os_str(), at.as_os_str()]);
        if !made {
            eprintln!("SKIPPED: a file system in a file cannot be mounted here (needs root and loop devices)");
        }
        made.then_some(disk)
    }

    fn at(&self) -> PathBuf {
        self.0.path().join("disk")
    }

    fn freeze(&self, option: &str) {
        let done = Command::new("/usr/sbin/fsfreeze").arg(option).arg(self.at()).status().unwrap();
        assert!(done.success(), "fsfreeze {option}");
    }
}

impl Drop for FrozenDisk {
    fn drop(&mut self) {
        let quiet = |program: &str, arguments: &[&str]| {
            let _ = Command::new(program).args(arguments).arg(self.at()).stderr(std::process::Stdio::null()).status();
        };
        quiet("/usr/sbin/fsfreeze", &["-u"]);
        quiet("umount", &["-l"]);
    }
}

fn cancel(audit: &Audit) -> Record {
    Record::new(audit.next_id(), None, Event::Cancel { target: None, result: "sent".into() })
}

#[test]
fn a_disk_that_does_not_answer_holds_statements_up_and_loses_nothing() {
    let Some(disk) = FrozenDisk::mount() else { return };
    let audit = Audit::open(AuditSettings::new(disk.at().join("audit"))).unwrap();
    audit.accept(&mut vec![cancel(&audit)]).unwrap();
    disk.freeze("-f");
    let writers: Vec<_> = (0..4)
        .map(|_| {
            let audit = audit.clone();
            std::thread::spawn(move || {
                let record = cancel(&audit);
                let id = record.id;
                audit.accept(&mut vec![record]).unwrap();
                id
            })
        })
        .collect();
    std::thread::sleep(Duration::from_millis(1_500));
    // Looked at now and judged later: a test that ends here would wait for the disk for ever.
    let waiting = writers.iter().filter(|writer| !writer.is_finished()).count();
    let health = audit.health();
    audit.defer(cancel(&audit));
    disk.freeze("-u");
    // Nothing is forwarded that is not recorded; and whoever asks how the log is gets an answer.
    assert_eq!(waiting, 4, "accepted although the disk takes nothing");
    assert!(health.stalled_us > 0, "{health:?}");
    let ids: Vec<AuditId> = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
    audit.close("test").unwrap();
    // Only now: until then what was deferred may still be being written.
    assert_eq!(audit.health().stalled_us, 0);
    let trust = Trust { public: vec![PublicKey::read(&disk.at().join("audit.pub")).unwrap()], ..Trust::default() };
    let proof = verify(&disk.at().join("audit"), &trust, |_| {}).unwrap();
    assert!(proof.ended_in_order && !proof.damaged, "{proof:?}");
    let records = records(&disk.at().join("audit"));
    for id in ids {
        assert_eq!(records.iter().filter(|record| record["id"] == id.to_string()).count(), 1);
    }
    assert_eq!(records.iter().filter(|record| record["event"] == "cancel").count(), 6);
}
