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
                "create table t (id int, v int); create table free (id int); create database other;
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
const ROLES: [(&str, &str); 5] = [
    ("locker", "lock_timeout = \"100ms\""),
    ("reader", "lock_timeout = \"100ms\"\nread_only = true"),
    ("hasty", "statement_timeout = \"200ms\""),
    ("idler", "idle_in_transaction_timeout = \"200ms\""),
    ("lingerer", "transaction_timeout = \"300ms\""),
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
        for (way, url) in [("direct", stack.postgres.url("postgres")), ("pooled", stack.bouncer.url("postgres"))] {
            text.push_str(&format!("\n[databases.{way}_{place}]\nenvironment = \"{way}\"\n{way} = \"{url}\"\n"));
        }
    }
    text
}

fn session(role: &str, database: &str) -> Raw {
    let raw = Raw::connect(WORLD.pgwarden.port(), role, SECRET, database).unwrap();
    raw.patience(Duration::from_secs(10));
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
                if role == "reader"
                    && !matches!(line.as_str(), "select * from t" | "set lock_timeout = 0 ;; select * from t")
                {
                    continue;
                }
                let line = match line.strip_prefix("@direct ") {
                    Some(_) if database.starts_with("pooled") => continue,
                    Some(line) => line,
                    None => line.as_str(),
                };
                for (place, messages) in ways(line).iter().enumerate() {
                    // The hold of a read-only session does not set it anew within one text or batch.
                    if role == "reader" && place > 1 {
                        continue;
                    }
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
        let mut raw = session("locker", &format!("pooled_{place}"));
        for text in ["insert into free values (1)", "select 1", "begin; select 1; commit", "delete from free"] {
            raw.query(text).unwrap();
        }
        let mut other = Raw::connect(stack.bouncer.port(), SUPERUSER, PASSWORD, "postgres").unwrap();
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
