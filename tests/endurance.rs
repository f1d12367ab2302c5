//! Many sessions, many connects, servers that die: nothing is left behind, and the audit log agrees with Postgres' own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::Path;
use std::time::{Duration, Instant};

use pgwarden::config::{Secret, Verifier};
use support::proxy::Pgwarden;
use support::{Mode, PgBouncer, Postgres, Version};
use tokio_postgres::{Client, NoTls};

const PASSWORD: &str = "endurance";

/// Sessions at once. `PGWARDEN_SESSIONS` asks for another number.
fn sessions() -> usize {
    std::env::var("PGWARDEN_SESSIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(2_000)
}

/// Connects and disconnects. `PGWARDEN_CONNECTS` asks for another number.
fn connects() -> usize {
    std::env::var("PGWARDEN_CONNECTS").ok().and_then(|text| text.parse().ok()).unwrap_or(10_000)
}

fn configuration(url: &str, policy: &str) -> String {
    let verifier =
        Verifier::of_password(&Secret::new(PASSWORD), b"0123456789abcdef", NonZeroU32::new(4096).unwrap()).to_text();
    format!(
        r#"
[databases.shop]
environment = "production"
pooled = "{url}"

[environments.production.roles]
worker = "{policy}"

[[users]]
name = "worker"
verifier = "{verifier}"
roles = {{ production = "worker" }}
"#
    )
}

async fn connect(pgwarden: &Pgwarden) -> Client {
    let url = pgwarden.url("worker", PASSWORD, "shop");
    let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Resident memory of a process, in kilobytes.
fn resident(id: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn open_files(id: u32) -> usize {
    std::fs::read_dir(format!("/proc/{id}/fd")).unwrap().count()
}

fn metric(pgwarden: &Pgwarden, name: &str) -> f64 {
    let (_, page) = pgwarden.page("/metrics");
    let line = page.lines().find(|line| line.split([' ', '{']).next() == Some(name));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or_else(|| panic!("{name} is not in\n{page}"))
}

async fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < until, "{what} did not come");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_sessions_leave_nothing_behind() {
    let postgres = Postgres::shared(Version::V15);
    let database = postgres.database();
    let bouncer = PgBouncer::start_with(postgres, Mode::Transaction, &[], &["max_client_conn = 5000"]);
    let pgwarden = Pgwarden::start(&configuration(&bouncer.url(&database), "application"));

    for _ in 0..50 {
        connect(&pgwarden).await.simple_query("SELECT 1").await.unwrap();
    }
    wait_for("the end of the first sessions", || metric(&pgwarden, "pgwarden_sessions") == 0.0).await;
    let (memory, files) = (resident(pgwarden.id()), open_files(pgwarden.id()));

    let mut clients = Vec::new();
    while clients.len() < sessions() {
        let batch = (0..50).map(|_| connect(&pgwarden));
        clients.extend(futures_util::future::join_all(batch).await);
    }
    assert_eq!(metric(&pgwarden, "pgwarden_sessions"), clients.len() as f64);
    for chunk in clients.chunks(100) {
        let answers =
            futures_util::future::join_all(chunk.iter().map(|client| client.query_one("SELECT 1 + $1::int", &[&1])));
        for answer in answers.await {
            assert_eq!(answer.unwrap().get::<_, i32>(0), 2);
        }
    }
    drop(clients);
    wait_for("the end of all sessions", || metric(&pgwarden, "pgwarden_sessions") == 0.0).await;

    for _ in 0..connects() / 50 {
        let batch = (0..50).map(|_| async { connect(&pgwarden).await.simple_query("SELECT 1").await.unwrap() });
        futures_util::future::join_all(batch).await;
    }
    wait_for("the end of all connects", || metric(&pgwarden, "pgwarden_client_connections") == 0.0).await;
    assert!(open_files(pgwarden.id()) <= files + 2, "{} files are open, {files} before", open_files(pgwarden.id()));
    let after = resident(pgwarden.id());
    assert!(after < memory + 40_000, "{after} kB after {} sessions, {memory} kB before", sessions() + connects());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_dies_ends_its_sessions_and_their_records() {
    let mut postgres = Postgres::start(Version::V15);
    let database = postgres.database();
    let pgwarden = Pgwarden::start(&configuration(&postgres.url(&database), "unrestricted"));
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(connect(&pgwarden).await);
    }
    let running: Vec<_> = clients.iter().map(|client| client.simple_query("SELECT pg_sleep(60)")).collect();
    let killed = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        postgres.kill();
    };
    let (answers, ()) = tokio::join!(futures_util::future::join_all(running), killed);
    assert!(answers.iter().all(Result::is_err));
    wait_for("the end of all sessions", || metric(&pgwarden, "pgwarden_sessions") == 0.0).await;
    wait_for("every record", || {
        let records = pgwarden.records();
        let count = |event: &str| records.iter().filter(|record| record["event"] == event).count();
        count("session_end") == 20 && count("outcome") == 20
    })
    .await;
    let refused = tokio_postgres::connect(&pgwarden.url("worker", PASSWORD, "shop"), NoTls).await.err().unwrap();
    let refused = refused.as_db_error().expect("a Postgres error").clone();
    assert_eq!(refused.code().code(), "08001");
    assert!(refused.message().contains("pooled endpoint of database \"shop\""), "{}", refused.message());
}

/// What a session sends, and whether it reaches the server.
const WORK: &[&str] = &[
    "CREATE TABLE agreed (id int)",
    "INSERT INTO agreed VALUES (1)",
    "SELECT 'it''s' AS x",
    "BEGIN",
    "UPDATE agreed SET id = 2 WHERE id = 1",
    "SELECT 1/0",
    "ROLLBACK",
    "SELECT 1; SELECT 2",
    "DELETE FROM agreed WHERE id = 1",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_audit_log_agrees_with_the_servers_own_statement_by_statement() {
    let postgres = Postgres::start_with(
        Version::V15,
        &["log_statement=all", "log_line_prefix=%a|", "log_min_error_statement=panic"],
    );
    let database = postgres.database();
    let pgwarden = Pgwarden::start(&configuration(&postgres.url(&database), "unrestricted"));
    let before = postgres.log().len();
    let client = connect(&pgwarden).await;
    for sql in WORK {
        let _ = client.simple_query(sql).await;
    }
    for value in 0..5 {
        client.query_one("SELECT $1::int + 100", &[&value]).await.unwrap();
    }
    drop(client);
    wait_for("the session's end", || pgwarden.records().iter().any(|record| record["event"] == "session_end")).await;
    let mut logged: BTreeMap<String, usize> = BTreeMap::new();
    // pgwarden's own questions about the database are not the session's.
    fn sessions(line: &str) -> Option<(&str, &str)> {
        line.split_once('|').filter(|(application, _)| *application != "pgwarden")
    }
    let log = postgres.log();
    for (_, line) in log[before..].lines().filter_map(sessions) {
        let statement = line
            .strip_prefix("LOG:  statement: ")
            .or_else(|| line.strip_prefix("LOG:  execute ").and_then(|rest| Some(rest.split_once(": ")?.1)));
        if let Some(statement) = statement {
            *logged.entry(statement.to_owned()).or_default() += 1;
        }
    }
    let mut recorded: BTreeMap<String, usize> = BTreeMap::new();
    for record in
        pgwarden.records().iter().filter(|record| record["event"] == "statement" && record["verdict"] == "allow")
    {
        *recorded.entry(record["text"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    assert_eq!(recorded, logged);
    assert_eq!(recorded.values().sum::<usize>(), WORK.len() + 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_forwarded_is_on_record_after_kill_9() {
    let postgres = Postgres::shared(Version::V15);
    let database = postgres.database();
    postgres.rows(&database, "CREATE TABLE counted (id int)");
    let pgwarden = Pgwarden::start(&configuration(&postgres.url(&database), "application"));
    let client = connect(&pgwarden).await;
    let work = async {
        for value in 0.. {
            if client.execute("INSERT INTO counted VALUES ($1)", &[&value]).await.is_err() {
                return;
            }
        }
    };
    let kill = async {
        tokio::time::sleep(Duration::from_millis(400)).await;
        pgwarden.signal("KILL");
    };
    tokio::join!(work, kill);
    let arrived: usize = postgres.rows(&database, "SELECT count(*) FROM counted").trim().parse().unwrap();
    let recorded = pgwarden
        .records()
        .iter()
        .filter(|record| record["event"] == "statement" && record["text"] == "INSERT INTO counted VALUES ($1)")
        .count();
    assert!(arrived > 10, "only {arrived} rows arrived");
    assert!((arrived..=arrived + 1).contains(&recorded), "{arrived} rows arrived, {recorded} are on record");
    assert!(Path::new(&pgwarden.audit()).exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_lets_transactions_finish_and_sighup_reaches_open_sessions() {
    let postgres = Postgres::shared(Version::V15);
    let database = postgres.database();
    postgres.rows(&database, "CREATE TABLE kept (id int)");
    let url = postgres.url(&database);
    let mut pgwarden = Pgwarden::start(&configuration(&url, "application"));
    let client = connect(&pgwarden).await;
    client.simple_query("INSERT INTO kept VALUES (1)").await.unwrap();
    pgwarden.reload(&configuration(&url, "read-only"));
    wait_for("the reload", || metric(&pgwarden, "pgwarden_policy_generation") == 2.0).await;
    let refused = client.simple_query("INSERT INTO kept VALUES (2)").await.unwrap_err();
    assert_eq!(refused.as_db_error().unwrap().code().code(), "25006");
    pgwarden.reload("[databases]\nnonsense = 1\n");
    wait_for("the refused reload", || pgwarden.log().contains("not reloaded")).await;
    assert_eq!(metric(&pgwarden, "pgwarden_policy_generation"), 2.0);
    pgwarden.reload(&configuration(&url, "application"));
    wait_for("the reload", || metric(&pgwarden, "pgwarden_policy_generation") == 3.0).await;

    let idle = connect(&pgwarden).await;
    client.simple_query("BEGIN; INSERT INTO kept VALUES (3)").await.unwrap();
    pgwarden.signal("TERM");
    wait_for("the end of the idle session", || idle.is_closed()).await;
    client.simple_query("COMMIT").await.unwrap();
    wait_for("the end", || pgwarden.ended().is_some()).await;
    assert!(pgwarden.ended().unwrap().success());
    assert_eq!(postgres.rows(&database, "SELECT string_agg(id::text, ',' ORDER BY id) FROM kept").trim(), "1,3");
    let records = pgwarden.records();
    assert_eq!(records.iter().filter(|record| record["event"] == "reload").count(), 3);
    assert!(records.iter().any(|record| record["event"] == "stop"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_cut_off_what_is_over_them_and_the_session_goes_on() {
    let postgres = Postgres::shared(Version::V15);
    let database = postgres.database();
    let policy = r#"
[policies.tight]
allow = ["read", "write", "function.safe", "function.volatile", "session.setting", "transaction"]
statement_timeout = "2s"
idle_in_transaction_timeout = "700ms"
lock_timeout = "1234ms"
max_result_rows = 100
"#;
    let text = configuration(&postgres.url(&database), "tight").replace("pooled =", "direct =");
    let text = text.replace(r#""tight""#, r#"{ policy = "tight", endpoint = "direct" }"#);
    let pgwarden = Pgwarden::start(&(text + policy));
    let client = connect(&pgwarden).await;
    let code = |error: tokio_postgres::Error| error.as_db_error().unwrap().code().code().to_owned();
    assert_eq!(client.query_one("SHOW lock_timeout", &[]).await.unwrap().get::<_, String>(0), "1234ms");
    for _ in 0..2 {
        assert_eq!(client.query("SELECT * FROM generate_series(1, 100)", &[]).await.unwrap().len(), 100);
        assert_eq!(code(client.query("SELECT generate_series(1, 1000000)", &[]).await.unwrap_err()), "54000");
        assert_eq!(code(client.simple_query("SELECT * FROM generate_series(1, 101)").await.unwrap_err()), "54000");
        assert_eq!(code(client.simple_query("SELECT pg_sleep(60)").await.unwrap_err()), "57014");
        assert_eq!(code(client.query("SELECT pg_sleep(60)", &[]).await.unwrap_err()), "57014");
    }
    // A timer that was set for a statement must not meet an idle session.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    client.simple_query("SELECT 1").await.unwrap();
    client.simple_query("BEGIN").await.unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(client.simple_query("SELECT 1").await.is_err(), "idle in transaction for too long");
    wait_for("the end of the session", || metric(&pgwarden, "pgwarden_sessions") == 0.0).await;
}
