//! Endpoints that cannot hold a policy, replicas and what stands in for them, several hosts; and sessions that outlive a log that
//! cannot be written.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/raw.rs"]
mod raw;
mod support;

use std::io::Write;
use std::process::Command;
use std::time::{Duration, Instant};

use pgwarden::wire::backend::tag;
use raw::{Raw, described};
use support::proxy::{Pgwarden, user};
use support::{Mode, PASSWORD, PgBouncer, Postgres, SUPERUSER, Version};

const SECRET: &str = "visitor-of-the-tests";

fn session(pgwarden: &Pgwarden, user: &str, database: &str) -> Result<Raw, String> {
    Raw::connect(pgwarden.port(), user, SECRET, database).map_err(|error| error.to_string())
}

fn ready(pgwarden: &Pgwarden) -> (u16, String) {
    pgwarden.page("/readyz")
}

/// Waits for what takes a moment.
fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{what} never came");
        std::thread::sleep(Duration::from_millis(50));
    }
}

// ----- a pooler that keeps no transactions -----

fn pooled(bouncer: &PgBouncer) -> String {
    let users: String = ["reader", "writer", "locker", "free"]
        .map(|name| user(name, SECRET, &format!("production = \"{name}\"")))
        .concat();
    format!(
        r#"
[databases.shop]
environment = "production"
pooled = "{}"
[environments.production.roles]
reader = "read-only"
writer = "limited"
locker = "locking"
free = "unrestricted"
[policies.limited]
allow = ["read", "write"]
max_affected_rows = 10
[policies.locking]
allow = ["read", "write"]
lock_timeout = "1s"
{users}"#,
        bouncer.url("postgres")
    )
}

#[test]
fn a_pooler_in_statement_mode_takes_no_session_that_it_cannot_hold() {
    for version in Version::ALL {
        let postgres = Postgres::start(version);
        let statement = PgBouncer::start(&postgres, Mode::Statement);
        let mut pgwarden = Pgwarden::start(&pooled(&statement));
        assert_eq!(ready(&pgwarden).0, 200);
        for role in ["reader", "writer", "locker"] {
            let refused = session(&pgwarden, role, "shop").err().unwrap();
            assert!(refused.contains("08004") && refused.contains("cannot hold this policy"), "{role}: {refused}");
            assert!(refused.contains("statement"), "{role}: {refused}");
        }
        let (code, page) = ready(&pgwarden);
        assert!(code == 503 && page.contains("cannot hold this policy"), "{code} {page}");
        // Who is held to nothing is not the worse for it.
        let mut free = session(&pgwarden, "free", "shop").unwrap();
        assert_eq!(free.value("select 1").unwrap(), "1");
        for mode in [Mode::Transaction, Mode::Session] {
            let better = PgBouncer::start(&postgres, mode);
            pgwarden.reload(&pooled(&better));
            for role in ["reader", "writer", "locker"] {
                eventually("the new endpoint", || session(&pgwarden, role, "shop").is_ok());
                let mut session = session(&pgwarden, role, "shop").unwrap();
                assert_eq!(session.value("select 1").unwrap(), "1");
            }
            assert_eq!(ready(&pgwarden).0, 200);
        }
    }
}

#[test]
fn the_endpoint_is_asked_once_and_readiness_recovers_by_itself() {
    let postgres = Postgres::start_with(Version::V15, &["log_statement=all"]);
    let pooler = PgBouncer::start(&postgres, Mode::Transaction);
    let pgwarden = Pgwarden::start(&pooled(&pooler));
    for _ in 0..5 {
        session(&pgwarden, "reader", "shop").unwrap().query("select 1").unwrap();
    }
    let asked = postgres.log().matches("pg_backend_pid()::text").count();
    assert_eq!(asked, 2, "two looks at one transaction");
    // What was wrong is asked again by /readyz, not only by the next session.
    postgres.rows("postgres", "create table claim as select 'other' as what");
    let expecting = pooled(&pooler)
        .replace("[environments", "expect = { query = \"select what from claim\", value = \"this\" }\n[environments");
    let expecting = Pgwarden::start(&expecting);
    assert!(session(&expecting, "reader", "shop").is_err());
    let (code, page) = ready(&expecting);
    assert!(code == 503 && page.contains("is other, not this"), "{page}");
    postgres.rows("postgres", "update claim set what = 'this'");
    assert_eq!(ready(&expecting).0, 200);
    session(&expecting, "reader", "shop").unwrap();
}

// ----- replicas and several hosts -----

fn url(hosts: &[u16], more: &str) -> String {
    let hosts: Vec<String> = hosts.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    format!("postgres://{SUPERUSER}:{PASSWORD}@{}/postgres?sslmode=disable{more}", hosts.join(","))
}

fn replicated(primary: u16, replica: u16) -> String {
    let users: String =
        ["falling", "strict", "loose"].map(|name| user(name, SECRET, &format!("production = \"{name}\""))).concat();
    format!(
        r#"
[limits]
connect_retries = 0
[databases.shop]
environment = "production"
pooled = "{}"
replica = "{}"
[environments.production.roles]
falling = {{ policy = "read-only", endpoint = "replica", fallback = "pooled", standby = true }}
strict = {{ policy = "read-only", endpoint = "replica", standby = true }}
loose = {{ policy = "read-only", endpoint = "replica" }}
{users}"#,
        url(&[primary], ""),
        url(&[replica], "")
    )
}

fn standby(raw: &mut Raw) -> bool {
    raw.value("select pg_is_in_recovery()").unwrap() == "t"
}

#[test]
fn readers_use_the_replica_and_fall_back_where_the_role_says_so() {
    let primary = Postgres::start(Version::V15);
    primary.rows("postgres", "create table t as select 7 as a");
    let mut replica = primary.standby();
    let pgwarden = Pgwarden::start(&replicated(primary.port(), replica.port()));
    for role in ["falling", "strict", "loose"] {
        let mut raw = session(&pgwarden, role, "shop").unwrap();
        assert!(standby(&mut raw), "{role}");
        assert_eq!(raw.value("select a from t").unwrap(), "7");
        assert!(raw.value("delete from t").unwrap().starts_with("25006"), "{role}");
        assert_eq!(raw.value("begin; select a from t; commit").unwrap(), "7");
    }
    replica.kill();
    eventually("the end of the replica", || session(&pgwarden, "strict", "shop").is_err());
    let mut raw = session(&pgwarden, "falling", "shop").unwrap();
    assert!(!standby(&mut raw));
    assert!(raw.value("delete from t").unwrap().starts_with("25006"));
    assert!(session(&pgwarden, "loose", "shop").is_err());
    let logins: Vec<String> = pgwarden
        .records()
        .iter()
        .filter(|record| record["event"] == "login" && record["user"] == "falling")
        .map(|record| record["endpoint"].to_string())
        .collect();
    assert_eq!(logins, ["\"replica\"", "\"pooled\""]);
}

#[test]
fn a_replica_that_can_be_written_to_is_refused_where_the_role_says_so() {
    let primary = Postgres::start(Version::V15);
    let pgwarden = Pgwarden::start(&replicated(primary.port(), primary.port()));
    for role in ["falling", "strict"] {
        let refused = session(&pgwarden, role, "shop").err().unwrap();
        assert!(refused.contains("it is no standby"), "{refused}");
    }
    let (code, page) = ready(&pgwarden);
    assert!(code == 503 && page.contains("it is no standby"), "{page}");
    assert!(!standby(&mut session(&pgwarden, "loose", "shop").unwrap()));
}

#[test]
fn of_several_hosts_the_first_that_is_what_is_asked_for_is_taken() {
    let primary = Postgres::start(Version::V15);
    let replica = primary.standby();
    let gone = pgwarden::demo::port::free().unwrap();
    let wanted = [
        ("any", None),
        ("primary", Some(false)),
        ("standby", Some(true)),
        ("read-write", Some(false)),
        ("read-only", Some(true)),
        ("prefer-standby", Some(true)),
    ];
    let mut text = String::from("[limits]\nconnect_retries = 0\n");
    let orders = [("one", [gone, primary.port(), replica.port()]), ("two", [gone, replica.port(), primary.port()])];
    for (order, hosts) in orders {
        for (attributes, _) in wanted {
            let url = url(&hosts, &format!("&target_session_attrs={attributes}"));
            text.push_str(&format!(
                "[databases.\"{order}-{attributes}\"]\nenvironment = \"production\"\npooled = \"{url}\"\n"
            ));
        }
    }
    let alone = url(&[replica.port()], "&target_session_attrs=primary");
    text.push_str(&format!("[databases.alone]\nenvironment = \"production\"\npooled = \"{alone}\"\n"));
    text.push_str("[environments.production.roles]\nreader = \"read-only\"\n");
    text.push_str(&user("reader", SECRET, "production = \"reader\""));
    let pgwarden = Pgwarden::start(&text);
    for (order, first) in [("one", false), ("two", true)] {
        for (attributes, expected) in wanted {
            let mut raw = session(&pgwarden, "reader", &format!("{order}-{attributes}")).unwrap();
            assert_eq!(standby(&mut raw), expected.unwrap_or(first), "{order} {attributes}");
        }
    }
    let refused = session(&pgwarden, "reader", "alone").err().unwrap();
    assert!(refused.contains("the server is a standby"), "{refused}");
}

// ----- a log that cannot be written -----

/// A folder with little room, where one can be made.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn mount(at: std::path::PathBuf) -> Option<SmallDisk> {
        std::fs::create_dir_all(&at).unwrap();
        let mut mount = Command::new("mount");
        let mounted = mount.args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"]).arg(&at).status();
        mounted.is_ok_and(|status| status.success()).then_some(SmallDisk(at))
    }

    fn fill(&self) {
        let mut file = std::fs::File::options().append(true).create(true).open(self.0.join("ballast")).unwrap();
        while file.write(&[0; 4096]).is_ok_and(|written| written > 0) {}
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_session_that_meets_a_full_disk_goes_on_when_there_is_room() {
    let place = support::folder().join(format!("small-disk-{}", std::process::id()));
    let Some(disk) = SmallDisk::mount(place.clone()) else {
        eprintln!("SKIPPED: a small file system cannot be mounted here (needs root)");
        return;
    };
    let postgres = Postgres::start(Version::V15);
    let pgwarden = Pgwarden::start(&format!(
        r#"
[audit]
directory = "{}"
[databases.shop]
environment = "production"
pooled = "{}"
direct = "{}"
[environments.production.roles]
free = {{ policy = "unrestricted", endpoint = "direct" }}
{}"#,
        place.join("log").display(),
        postgres.url("postgres"),
        postgres.url("postgres"),
        user("free", SECRET, "production = \"free\"")
    ));
    let mut raw = session(&pgwarden, "free", "shop").unwrap();
    raw.query("create table t (a text)").unwrap();
    disk.fill();
    let text = format!("insert into t values ('{}')", "x".repeat(2000));
    let mut passed = 0;
    let refusal = loop {
        let answer = raw.query(&text).unwrap();
        match answer.iter().find(|message| message.tag == tag::ERROR) {
            Some(error) => break described(error),
            None => passed += 1,
        }
        assert!(passed < 1000);
    };
    assert!(refusal.starts_with("53100"), "{refusal}");
    // The session is there, and refuses in either protocol, inside a transaction too.
    let mut out = bytes::BytesMut::new();
    pgwarden::wire::write::parse(&mut out, b"", text.as_bytes());
    pgwarden::wire::write::bind(&mut out, b"", b"");
    pgwarden::wire::write::execute(&mut out, b"");
    pgwarden::wire::write::sync(&mut out);
    // The index of the log shares the disk: what it gives back may have room for a record or two.
    let mut refused = [0, 0];
    while refused.iter().any(|&times| times < 3) {
        for (protocol, answer) in [raw.query(&text), raw.ask(&out)].into_iter().enumerate() {
            match answer.unwrap().iter().any(|message| message.tag == tag::ERROR) {
                true => refused[protocol] += 1,
                false => passed += 1,
            }
        }
        assert!(passed < 1000);
    }
    // The rest of a long Bind that is refused is dropped, and nothing in it is taken for a message.
    let mut smuggled = bytes::BytesMut::new();
    while smuggled.len() < 2_000_000 {
        pgwarden::wire::write::query(&mut smuggled, b"create table smuggled ()");
    }
    let mut long = bytes::BytesMut::new();
    pgwarden::wire::write::parse(&mut long, b"", b"select length($1::bytea)");
    pgwarden::wire::write::message(&mut long, b'B', |out| {
        out.extend_from_slice(&[0, 0, 0, 1, 0, 1, 0, 1]);
        out.extend_from_slice(&u32::try_from(smuggled.len()).unwrap().to_be_bytes());
        out.extend_from_slice(&smuggled);
        out.extend_from_slice(&[0, 0]);
    });
    pgwarden::wire::write::execute(&mut long, b"");
    pgwarden::wire::write::sync(&mut long);
    raw.ask(&long).unwrap();
    std::fs::remove_file(place.join("ballast")).unwrap();
    eventually("the log", || !raw.query("select 1").unwrap().iter().any(|message| message.tag == tag::ERROR));
    assert!(!raw.ask(&out).unwrap().iter().any(|message| message.tag == tag::ERROR));
    // What was refused was not run.
    assert_eq!(raw.value("select count(*) from t").unwrap(), (passed + 1).to_string());
    assert_eq!(raw.value("select count(*) from pg_class where relname = 'smuggled'").unwrap(), "0");
}

// ----- the end of a connection -----

/// What ends the server's connection, and the SQLSTATE that the client gets for it.
const ENDS: [(&str, &str); 2] =
    [("select pg_terminate_backend(pg_backend_pid())", "57P01"), ("set idle_session_timeout = '50ms'", "57P05")];

#[test]
fn a_session_that_the_server_ends_is_told_once() {
    let postgres = Postgres::shared(Version::V15);
    let url = postgres.url("postgres");
    let pgwarden = Pgwarden::start(&format!(
        "[environments.production.roles]\nfree = {{ policy = \"unrestricted\", endpoint = \"direct\" }}\n{}{}",
        support::proxy::database("postgres", &url, &url),
        user("free", SECRET, "production = \"free\"")
    ));
    for (statement, sqlstate) in ENDS {
        let mut raw = session(&pgwarden, "free", "postgres").unwrap();
        let mut out = bytes::BytesMut::new();
        pgwarden::wire::write::query(&mut out, statement.as_bytes());
        raw.send(&out).unwrap();
        let messages: Vec<_> = std::iter::from_fn(|| raw.message().ok()).collect();
        let errors: Vec<String> = messages.iter().filter(|message| message.tag == tag::ERROR).map(described).collect();
        assert_eq!(errors.len(), 1, "{statement}: {errors:?}");
        assert!(errors[0].starts_with(sqlstate), "{statement}: {errors:?}");
    }
}
