//! `max_affected_rows` against real servers: what would change more rows than the limit changes none, and what stays within
//! it is answered byte for byte as without pgwarden.
//!
//! The lines of `tests/data/limits/` run directly and through PgBouncer in transaction mode, on Postgres 15 and 18. What counts
//! is the data afterwards, not the answer.

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
use talk::{Side, bytes_of, said};

const SECRET: &str = "writer-of-the-tests";
/// The limit of the role `capped`.
const CAP: u64 = 10;

struct Stack {
    version: Version,
    postgres: Postgres,
    bouncer: PgBouncer,
}

struct World {
    stacks: Vec<Stack>,
    pgwarden: Inside,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let stacks: Vec<Stack> = Version::ALL.iter().map(|&version| Stack::start(version)).collect();
    let folder = support::folder().join(format!("affected-audit-{}", std::process::id()));
    let pgwarden = Inside::start(&configuration(&stacks), &folder);
    World { stacks, pgwarden }
});

impl Stack {
    fn start(version: Version) -> Stack {
        let postgres = Postgres::start_with(version, &["autovacuum=off"]);
        let bouncer = PgBouncer::start_with(&postgres, Mode::Transaction, &[], &["default_pool_size = 4"]);
        postgres.rows("postgres", "create database pattern");
        postgres.rows("pattern", &data("setup.sql"));
        Stack { version, postgres, bouncer }
    }

    /// Makes a database as `setup.sql` does.
    fn make(&self, database: &str) {
        self.postgres.rows("postgres", &format!("create database {database} template pattern"));
    }

    fn inspector(&self, database: &str) -> Raw {
        Raw::connect(self.postgres.port(), SUPERUSER, PASSWORD, database).unwrap()
    }
}

fn configuration(stacks: &[Stack]) -> String {
    let mut text = format!(
        r#"
[environments.pooled.roles]
capped = "capped"
free = "free"
[environments.direct.roles]
capped = {{ policy = "capped", endpoint = "direct" }}
free = {{ policy = "free", endpoint = "direct" }}
[policies.capped]
allow = ["*"]
max_affected_rows = {CAP}
[policies.free]
allow = ["*"]
"#
    );
    for stack in stacks {
        let version = stack.version as u8;
        for (way, url) in [("direct", stack.postgres.url("{name}")), ("pooled", stack.bouncer.url("{name}"))] {
            text.push_str(&format!(
                "\n[databases.\"v{version}_{way}_*\"]\nenvironment = \"{way}\"\n{way} = \"{url}\"\n"
            ));
        }
    }
    for role in ["capped", "free"] {
        text.push_str(&support::proxy::user(role, SECRET, &format!("pooled = \"{role}\", direct = \"{role}\"")));
    }
    text
}

fn data(file: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/limits").join(file)).unwrap()
}

/// Every row of every table, in one value.
const STATE: &str = "select md5(concat_ws('|',
  (select string_agg(t::text, ',' order by id, v) from t), (select string_agg(u::text, ',' order by id, v) from u),
  (select string_agg(e::text, ',' order by id, v) from empty e), (select string_agg(p::text, ',' order by id, v) from parts p),
  (select string_agg(c::text, ',' order by id, v) from checked c),
  (select string_agg(gid, ',') from pg_prepared_xacts where database = current_database())))";

fn state(inspector: &mut Raw) -> String {
    let value = inspector.value(STATE).unwrap();
    assert_eq!(value.len(), 32, "the state cannot be read: {value}");
    value
}

/// Puts every row back.
fn reset(inspector: &mut Raw, clean: &str) {
    for gid in inspector.value("select gid from pg_prepared_xacts where database = current_database()").unwrap().lines()
    {
        inspector.query(&format!("rollback prepared '{gid}'")).unwrap();
    }
    inspector.query(RESET).unwrap();
    assert_eq!(state(inspector), clean);
}

const ALONE: &str = "select pg_terminate_backend(pid, 5000) from pg_stat_activity
  where datname = current_database() and pid <> pg_backend_pid()";

const RESET: &str = "truncate t, u, empty, parts, checked; drop table if exists made;
  insert into t select n, n from generate_series(1, 100) n; insert into u table t; insert into parts table t;
  insert into checked values (1, 1), (2, 2)";

/// A line and the ways to send it, each a write of messages.
struct Line {
    text: String,
    ways: Vec<BytesMut>,
}

fn lines(file: &str, commits: bool) -> Vec<Line> {
    let mut messages = false;
    let mut found = Vec::new();
    for line in data(file).lines().filter(|line| !line.is_empty() && !line.starts_with("# ")) {
        if line == "@messages" {
            messages = true;
            continue;
        }
        let ways = if messages { vec![bytes_of(line, Side::Client)] } else { ways(line, commits) };
        found.push(Line { text: line.to_owned(), ways });
    }
    found
}

/// Statements as separate Queries, as one text, as separate batches, and as one batch.
fn ways(line: &str, commits: bool) -> Vec<BytesMut> {
    let mut statements: Vec<&str> = line.split(" ;; ").collect();
    let several = statements.len() > 1;
    // Apart, what has no BEGIN is a transaction each.
    let apart =
        !several || line.starts_with("begin") || line.starts_with("start ") || !commits || line.starts_with("prepare");
    if several && commits {
        statements.push("commit");
    }
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
    let [queries, batches, one, text] = out;
    match (several, apart) {
        (false, _) => vec![queries, batches],
        (true, true) => vec![queries, batches, one, text],
        (true, false) => vec![one, text],
    }
}

/// A client, and whatever it does it leaves nothing open.
struct Client<'a> {
    role: &'a str,
    database: String,
    raw: Option<Raw>,
    count: usize,
}

impl Client<'_> {
    fn run(&mut self, messages: &[u8]) {
        self.count += 1;
        let sentinel = format!("over_{}", self.count);
        let mut out = BytesMut::from(messages);
        write::sync(&mut out);
        for text in ["rollback", "discard all", &format!("select '{sentinel}'")] {
            write::query(&mut out, text.as_bytes());
        }
        if self.exchange(&out, &sentinel).is_err() {
            self.raw = None;
        }
    }

    fn exchange(&mut self, bytes: &[u8], sentinel: &str) -> io::Result<()> {
        if self.raw.is_none() {
            self.raw = Some(Raw::connect(WORLD.pgwarden.port(), self.role, SECRET, &self.database)?);
        }
        let raw = self.raw.as_mut().unwrap();
        raw.patience(Duration::from_secs(60));
        raw.send(bytes)?;
        loop {
            let message = raw.message()?;
            if message.tag == tag::DATA_ROW && message.body.ends_with(sentinel.as_bytes()) {
                raw.answers(1)?;
                return Ok(());
            }
        }
    }
}

/// Runs every line of the attacks on one way to one server; gives those that changed something.
fn attack(stack: &Stack, way: &str, role: &'static str) -> Vec<String> {
    let database = format!("v{}_{way}_{role}", stack.version as u8);
    stack.make(&database);
    let mut inspector = stack.inspector(&database);
    let before = state(&mut inspector);
    let mut client = Client { role, database: database.clone(), raw: None, count: 0 };
    let mut changed = Vec::new();
    for line in lines("attacks.txt", true) {
        for (place, messages) in line.ways.iter().enumerate() {
            client.run(messages);
            if state(&mut inspector) != before {
                changed.push(format!("{role} {database} way {place}: {}", line.text));
                client.raw = None;
                // What it left behind may still be at work.
                inspector.query(ALONE).unwrap();
                reset(&mut inspector, &before);
            }
        }
    }
    assert!(client.count > 300, "only {} ran", client.count);
    changed
}

fn everywhere<T: Send>(run: impl Fn(&'static Stack, &'static str) -> Vec<T> + Sync) -> Vec<T> {
    thread::scope(|scope| {
        let runs: Vec<_> = WORLD
            .stacks
            .iter()
            .flat_map(|stack| ["direct", "pooled"].map(|way| (stack, way)))
            .map(|(stack, way)| {
                scope.spawn({
                    let run = &run;
                    move || run(stack, way)
                })
            })
            .collect();
        runs.into_iter().flat_map(|run| run.join().unwrap()).collect()
    })
}

#[test]
fn what_is_over_the_limit_changes_nothing() {
    let changed = everywhere(|stack, way| attack(stack, way, "capped"));
    assert!(changed.is_empty(), "{} changed something:\n{}", changed.len(), changed.join("\n"));
}

/// What the test above would look like if it could not fail.
#[test]
fn without_a_limit_most_of_it_changes_something() {
    let changed = attack(&WORLD.stacks[0], "direct", "free");
    assert!(changed.len() > 250, "only {}", changed.len());
}

fn talk_of(messages: &[Message]) -> String {
    let mut bytes = BytesMut::new();
    for message in messages {
        write::message(&mut bytes, message.tag, |out| out.extend_from_slice(&message.body));
    }
    let words = said(&bytes, Side::Server);
    words.iter().take(30).map(|word| word.chars().take(70).collect::<String>()).collect::<Vec<_>>().join(" | ")
}

/// The same bytes; only what the proxy itself knows to be an error lacks the server's source lines.
fn alike(wanted: &[Message], found: &[Message]) -> bool {
    let known = |message: &Message| message.tag == tag::ERROR && described(message).starts_with("25P01 ");
    let same = |(one, other): (&Message, &Message)| {
        one == other || (known(one) && known(other) && described(one) == described(other))
    };
    wanted.len() == found.len() && wanted.iter().zip(found).all(same)
}

/// What comes of messages and of a ROLLBACK behind them.
fn answers(raw: &mut Raw, messages: &[u8]) -> io::Result<Vec<Message>> {
    let mut out = BytesMut::from(messages);
    write::query(&mut out, b"rollback");
    write::query(&mut out, b"select 'the end'");
    raw.patience(Duration::from_secs(60));
    raw.send(&out)?;
    let mut found = Vec::new();
    loop {
        let message = raw.message()?;
        if message.tag == tag::DATA_ROW && message.body.ends_with(b"the end") {
            raw.answers(1)?;
            return Ok(found);
        }
        found.push(message);
    }
}

/// The same lines directly and through pgwarden, on two databases that are alike; gives the differences.
fn compare(stack: &Stack, way: &str) -> Vec<String> {
    let version = stack.version as u8;
    let (plain_name, name) = (format!("v{version}_{way}_plain"), format!("v{version}_{way}_within"));
    let mut differences = Vec::new();
    stack.make(&plain_name);
    stack.make(&name);
    let (mut plain, mut inspector) = (stack.inspector(&plain_name), stack.inspector(&name));
    let mut through = Raw::connect(WORLD.pgwarden.port(), "capped", SECRET, &name).unwrap();
    let clean = state(&mut plain);
    for line in lines("within.txt", false) {
        for (place, messages) in line.ways.iter().enumerate() {
            let wanted = answers(&mut plain, messages).unwrap();
            let Ok(found) = answers(&mut through, messages) else {
                differences.push(format!("{way} {version} way {place}: {}: no answer", line.text));
                through = Raw::connect(WORLD.pgwarden.port(), "capped", SECRET, &name).unwrap();
                continue;
            };
            if !alike(&wanted, &found) {
                let (wanted, found) = (talk_of(&wanted), talk_of(&found));
                differences
                    .push(format!("{way} {version} way {place}: {}\n  wanted {wanted}\n  found  {found}", line.text));
            }
            for raw in [&mut plain, &mut through] {
                raw.query("rollback").unwrap();
                raw.query("discard all").unwrap();
            }
            let (wanted, found) = (state(&mut plain), state(&mut inspector));
            if wanted != found {
                differences.push(format!("{way} {version} way {place}: {}: the data differs", line.text));
            }
            reset(&mut plain, &clean);
            reset(&mut inspector, &clean);
        }
    }
    differences
}

#[test]
fn what_is_within_the_limit_is_answered_as_without_it() {
    let differences = everywhere(compare);
    assert!(differences.is_empty(), "{} differ:\n{}", differences.len(), differences.join("\n"));
}

/// A cancel request may meet any message, the proxy's own among them.
#[test]
fn cancel_requests_at_any_moment_let_nothing_pass() {
    let writes = "Q delete from t | P - delete from t | B - - | E - | S | Q begin | Q delete from t | Q commit | Q begin; delete from t; commit | Q with d as (delete from t returning 1) select 1";
    let changed = everywhere(|stack, way| {
        let database = format!("v{}_{way}_storm", stack.version as u8);
        stack.make(&database);
        let mut inspector = stack.inspector(&database);
        let before = state(&mut inspector);
        let mut raw = Raw::connect(WORLD.pgwarden.port(), "capped", SECRET, &database).unwrap();
        for round in 0..60 {
            raw.send(&bytes_of(writes, Side::Client)).unwrap();
            for _ in 0..round % 4 {
                raw.cancel().unwrap();
            }
            raw.answers(7).unwrap();
            raw.query("rollback").unwrap();
        }
        if state(&mut inspector) == before { Vec::new() } else { vec![database] }
    });
    assert!(changed.is_empty(), "{changed:?}");
}

#[test]
fn the_error_says_how_many_rows_and_whose_limit() {
    let stack = &WORLD.stacks[1];
    stack.make("v1_direct_told");
    let mut raw = Raw::connect(WORLD.pgwarden.port(), "capped", SECRET, "v1_direct_told").unwrap();
    let answer = raw.query("delete from t where id > 50").unwrap();
    let error = answer.iter().find(|message| message.tag == tag::ERROR).unwrap();
    let text = String::from_utf8_lossy(&error.body).replace('\0', " ");
    let expected = "M pgwarden: changing 50 rows in one transaction is not allowed for role `capped` in `direct`: at most 10 are \
        D Effect write.delete; rule max_affected_rows = 10 (policy capped). The transaction cannot commit; the data stays as it was. \
        Audit id: ";
    let expected = expected.replace("M ", "M").replace(" D Effect", " DEffect");
    assert!(text.contains(&expected), "{text}");
    assert_eq!(talk_of(&raw.query("select 1").unwrap()), "T ?column? | D 1 | C SELECT 1 | Z I");
}
