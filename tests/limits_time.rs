//! Limits in time against real servers: `lock_timeout`, `statement_timeout`, `idle_in_transaction_timeout` and
//! `transaction_timeout` hold whatever the client sets, directly and behind PgBouncer in transaction mode.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/inside.rs"]
mod inside;
#[path = "support/raw.rs"]
mod raw;
mod support;
#[path = "support/talk.rs"]
mod talk;

use std::io;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::LazyLock;
use std::thread;
use std::time::Duration;

use bytes::BytesMut;
use inside::Inside;
use pgwarden::wire::backend::tag;
use pgwarden::wire::write;
use raw::{Message, Raw, described};
use support::{Mode, PASSWORD, PgBouncer, Postgres, SUPERUSER, Version};

const SECRET: &str = "waiter-of-the-tests";

struct Stack {
    postgres: Postgres,
    bouncer: PgBouncer,
}

struct World {
    stacks: Vec<Stack>,
    pgwarden: Inside,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let stacks: Vec<Stack> = Version::ALL
        .iter()
        .map(|&version| {
            let postgres = Postgres::start(version);
            postgres.rows(
                "postgres",
                "create table t (id int, v int); create table free (id int); create database other; create database quiet;
                 create function wait_for_ever() returns int language plpgsql as
                   'begin perform set_config(''lock_timeout'', ''0'', false); return 1; end'",
            );
            let bouncer = PgBouncer::start_with(&postgres, Mode::Transaction, &[], &["default_pool_size = 4"]);
            Stack { postgres, bouncer }
        })
        .collect();
    let folder = support::folder().join(format!("time-audit-{}", std::process::id()));
    let pgwarden = Inside::start(&configuration(&stacks), &folder);
    World { stacks, pgwarden }
});

/// Roles, each with one limit.
const ROLES: [(&str, &str); 6] = [
    ("locker", "lock_timeout = \"100ms\""),
    ("reader", "lock_timeout = \"100ms\"\nread_only = true"),
    ("hasty", "statement_timeout = \"200ms\""),
    ("idler", "idle_in_transaction_timeout = \"200ms\""),
    ("lingerer", "transaction_timeout = \"300ms\""),
    ("counted", "max_result_rows = 10"),
];

fn configuration(stacks: &[Stack]) -> String {
    let mut text = String::new();
    for (way, endpoint) in [("pooled", "pooled"), ("direct", "direct")] {
        text.push_str(&format!("\n[environments.{way}.roles]\n"));
        for (role, _) in ROLES {
            text.push_str(&format!("{role} = {{ policy = \"{role}\", endpoint = \"{endpoint}\" }}\n"));
        }
    }
    for (role, limit) in ROLES {
        let allow = if role == "reader" {
            r#"["read", "function.safe", "session.setting", "transaction"]"#
        } else {
            r#"["*"]"#
        };
        text.push_str(&format!("\n[policies.{role}]\nallow = {allow}\n{limit}\n"));
        text.push_str(&support::proxy::user(role, SECRET, &format!("pooled = \"{role}\", direct = \"{role}\"")));
    }
    for (place, stack) in stacks.iter().enumerate() {
        let ways = [
            ("direct", "direct", stack.postgres.url("postgres")),
            ("pooled", "pooled", stack.bouncer.url("postgres")),
            ("quiet", "pooled", stack.bouncer.url("quiet")),
        ];
        for (name, way, url) in ways {
            text.push_str(&format!("\n[databases.{name}_{place}]\nenvironment = \"{way}\"\n{way} = \"{url}\"\n"));
        }
    }
    let far = stacks[0].postgres.port();
    let url = stacks[0].postgres.url("postgres").replace(&format!(":{far}/"), &format!(":{}/", slow_road(far)));
    text.push_str(&format!("\n[databases.far]\nenvironment = \"direct\"\ndirect = \"{url}\"\n"));
    text
}

/// A way to a port on which each connection takes a while to begin.
fn slow_road(to: u16) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let carry = |mut from: TcpStream, mut to: TcpStream| {
        thread::spawn(move || {
            let _ = io::copy(&mut from, &mut to);
            let _ = to.shutdown(std::net::Shutdown::Write);
        });
    };
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || {
                thread::sleep(Duration::from_millis(400));
                let server = TcpStream::connect(("127.0.0.1", to)).unwrap();
                carry(client.try_clone().unwrap(), server.try_clone().unwrap());
                carry(server, client);
            });
        }
    });
    port
}

fn session(role: &str, database: &str) -> Raw {
    let raw = Raw::connect(WORLD.pgwarden.port(), role, SECRET, database).unwrap();
    raw.patience(Duration::from_secs(60));
    raw
}

fn lines(file: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/limits").join(file);
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
}

/// Statements as separate Queries, as separate batches, as one batch, and as one text.
fn ways(line: &str) -> [BytesMut; 4] {
    let statements: Vec<&str> = line.split(" ;; ").collect();
    let batch = |statement: &str, out: &mut BytesMut| {
        write::parse(out, b"", statement.as_bytes());
        write::bind(out, b"", b"");
        write::execute(out, b"");
    };
    let mut out: [BytesMut; 4] = Default::default();
    for statement in &statements {
        write::query(&mut out[0], statement.as_bytes());
        batch(statement, &mut out[1]);
        write::sync(&mut out[1]);
        batch(statement, &mut out[2]);
    }
    write::sync(&mut out[2]);
    write::query(&mut out[3], statements.join("; ").as_bytes());
    out
}

fn everywhere<T: Send>(run: impl Fn(&'static Stack, &str) -> Vec<T> + Sync) -> Vec<T> {
    thread::scope(|scope| {
        let mut runs = Vec::new();
        for (place, stack) in WORLD.stacks.iter().enumerate() {
            for way in ["direct", "pooled"] {
                let run = &run;
                runs.push(scope.spawn(move || run(stack, &format!("{way}_{place}"))));
            }
        }
        runs.into_iter().flat_map(|run| run.join().unwrap()).collect()
    })
}

fn errors(messages: &[Message]) -> Vec<String> {
    messages.iter().filter(|message| message.tag == tag::ERROR).map(described).collect()
}

/// Asks, and gives what came if every question was answered in time.
fn answered(raw: &mut Raw, messages: &[u8]) -> io::Result<Vec<Message>> {
    raw.ask(messages)
}

/// Whether a line is one that the read-only role may say.
fn reads(line: &str) -> bool {
    line.ends_with("select * from t")
        && line.split(" ;; ").all(|text| {
            ["select * ", "begin", "savepoint", "set ", "reset ", "commit"].iter().any(|word| text.starts_with(word))
        })
}

#[test]
fn nobody_waits_for_a_lock_longer_than_policy_allows() {
    let hold = |stack: &Stack| {
        let mut holder = Raw::connect(stack.postgres.port(), SUPERUSER, PASSWORD, "postgres").unwrap();
        holder.query("begin; lock table t").unwrap();
        holder
    };
    let mut holders: Vec<Raw> = WORLD.stacks.iter().map(hold).collect();
    let waited = everywhere(|_, database| {
        let mut failures = Vec::new();
        for role in ["locker", "reader"] {
            for line in lines("locks.txt") {
                if role == "reader" && !reads(&line) {
                    continue;
                }
                let line = match line.strip_prefix("@direct ") {
                    Some(_) if database.starts_with("pooled") => continue,
                    Some(line) => line,
                    None => line.as_str(),
                };
                for (place, messages) in ways(line).iter().enumerate() {
                    let mut raw = session(role, database);
                    let errors = answered(&mut raw, messages).map(|answer| errors(&answer));
                    let timed_out =
                        errors.as_ref().is_ok_and(|errors| errors.iter().any(|error| error.starts_with("55P03")));
                    if !timed_out {
                        failures.push(format!("{role} {database} way {place}: {line}: {errors:?}"));
                    }
                }
            }
        }
        failures
    });
    for holder in &mut holders {
        holder.query("rollback; alter role postgres reset lock_timeout").unwrap();
    }
    assert!(waited.is_empty(), "{} waited:\n{}", waited.len(), waited.join("\n"));
}

#[test]
fn a_shorter_wait_of_the_clients_own_stays() {
    let found = everywhere(|_, database| {
        let mut raw = session("locker", database);
        raw.query("begin; set local lock_timeout = '50ms'").unwrap();
        raw.query("select 1").unwrap();
        let shorter = raw.value("show lock_timeout").unwrap();
        raw.query("set local lock_timeout = '7s'").unwrap();
        let longer = raw.value("select current_setting('lock_timeout')").unwrap();
        raw.query("rollback").unwrap();
        vec![(shorter, longer)]
    });
    assert!(found.iter().all(|(shorter, longer)| shorter == "50ms" && longer == "100ms"), "{found:?}");
}

#[test]
fn what_the_proxy_sets_does_not_stay_behind_in_the_pool() {
    for (place, stack) in WORLD.stacks.iter().enumerate() {
        // A pool of its own: what the clients of other tests set themselves stays behind in theirs.
        let mut raw = session("locker", &format!("quiet_{place}"));
        for text in [
            "create table free (id int)",
            "insert into free values (1)",
            "select 1",
            "begin; select 1; commit",
            "delete from free",
        ] {
            raw.query(text).unwrap();
        }
        let mut other = Raw::connect(stack.bouncer.port(), SUPERUSER, PASSWORD, "quiet").unwrap();
        assert_eq!(other.value("show lock_timeout").unwrap(), "0");
    }
}

#[test]
fn what_cannot_run_in_a_transaction_is_refused_behind_a_pooler_and_runs_directly() {
    let found = everywhere(|_, database| {
        let mut raw = session("locker", database);
        let texts = ["vacuum free", "set lock_timeout = 0", "vacuum free"];
        vec![(database.to_owned(), texts.map(|text| errors(&raw.query(text).unwrap()).len()))]
    });
    for (database, errors) in found {
        assert_eq!(errors, if database.starts_with("pooled") { [1, 0, 1] } else { [0, 0, 0] }, "{database}");
    }
}

/// What a client may try to have more time.
const MORE_TIME: [&str; 5] = [
    "set statement_timeout = 0; set idle_in_transaction_session_timeout = 0",
    "reset all",
    "select set_config('statement_timeout', '0', false)",
    "set local statement_timeout = 0",
    "alter role current_user set statement_timeout = 0",
];

#[test]
fn no_setting_gives_a_statement_more_time() {
    let late = everywhere(|_, database| {
        let mut late = Vec::new();
        for more in MORE_TIME {
            let mut raw = session("hasty", database);
            raw.query(more).unwrap();
            for text in ["select pg_sleep(30)", "begin; set local statement_timeout = 0; select pg_sleep(30)"] {
                let errors = raw.query(text).map(|answer| errors(&answer));
                if !errors.as_ref().is_ok_and(|errors| errors.iter().any(|error| error.starts_with("57014"))) {
                    late.push(format!("{database} {more}: {text}: {errors:?}"));
                }
            }
        }
        late
    });
    assert!(late.is_empty(), "{}", late.join("\n"));
}

#[test]
fn no_setting_lets_a_transaction_linger() {
    let late = everywhere(|_, database| {
        let mut late = Vec::new();
        for (role, code) in [("idler", "25P03"), ("lingerer", "25P04")] {
            for more in MORE_TIME {
                let mut raw = session(role, database);
                raw.query(more).unwrap();
                raw.query("begin").unwrap();
                let said = raw.message().map(|message| described(&message));
                if !said.as_ref().is_ok_and(|said| said.starts_with(code)) {
                    late.push(format!("{database} {role} {more}: {said:?}"));
                }
            }
        }
        late
    });
    assert!(late.is_empty(), "{}", late.join("\n"));
}

/// What the client's own startup parameters set is its session's value, and not more than policy allows.
#[test]
fn nobody_starts_with_a_longer_wait() {
    let longer: [(&str, &str); 4] = [
        ("lock_timeout", "0"),
        ("Lock_Timeout", "1h"),
        ("options", "-c lock_timeout=0"),
        ("options", r"--lock\-timeout=0"),
    ];
    let found = everywhere(|_, database| {
        let mut found = Vec::new();
        for parameter in longer.iter().filter(|_| database.starts_with("direct")) {
            for role in ["locker", "reader"] {
                let port = WORLD.pgwarden.port();
                let mut raw = Raw::connect_with(port, role, SECRET, database, &[*parameter]).unwrap();
                for text in ["select current_setting('lock_timeout')", "begin; select 1"] {
                    found.push((raw.value(text).unwrap(), role, *parameter));
                }
                found.push((raw.value("select current_setting('lock_timeout')").unwrap(), role, *parameter));
            }
        }
        found
    });
    let wrong: Vec<_> =
        found.iter().filter(|(value, ..)| value != "100ms" && value != "1" && !value.is_empty()).collect();
    assert!(wrong.is_empty() && !found.is_empty(), "{wrong:?}");
}

/// Its clock is its own, whatever is asked for behind it.
#[test]
fn what_is_sent_meanwhile_gives_a_statement_no_more_time() {
    let late = everywhere(|_, database| {
        let mut raw = session("hasty", database);
        raw.send(&talk::bytes_of("Q select pg_sleep(3)", talk::Side::Client)).unwrap();
        for _ in 0..20 {
            thread::sleep(Duration::from_millis(100));
            raw.send(&talk::bytes_of("P - select 1 | B - - | E - | S", talk::Side::Client)).unwrap();
        }
        let errors = errors(&raw.answers(21).unwrap());
        if errors.iter().any(|error| error.starts_with("57014")) {
            Vec::new()
        } else {
            vec![format!("{database}: {errors:?}")]
        }
    });
    assert!(late.is_empty(), "{}", late.join("\n"));
}

/// A transaction that no BEGIN began ends with the Sync of its batch.
#[test]
fn a_batch_without_its_sync_lingers_no_longer_than_a_transaction() {
    let late = everywhere(|_, database| {
        let mut late = Vec::new();
        for (role, code) in [("idler", "25P03"), ("lingerer", "25P04")] {
            let mut raw = session(role, database);
            raw.send(&talk::bytes_of("P - lock table free | B - - | E - | H", talk::Side::Client)).unwrap();
            let said: Vec<String> = (0..4)
                .map(|_| raw.message().map_or_else(|error| error.to_string(), |message| described(&message)))
                .collect();
            if !said.iter().any(|said| said.starts_with(code)) {
                late.push(format!("{database} {role}: {said:?}"));
            }
        }
        late
    });
    assert!(late.is_empty(), "{}", late.join("\n"));
}

#[test]
fn a_cancel_request_that_comes_late_meets_nothing_else() {
    let mut raw = session("counted", "far");
    for _ in 0..3 {
        let answer = raw.query("select generate_series(1, 20)").unwrap();
        assert!(errors(&answer)[0].starts_with("54000"), "{answer:?}");
        let answer = raw.query("select pg_sleep(0.6)").unwrap();
        assert_eq!(errors(&answer), Vec::<String>::new());
    }
}
