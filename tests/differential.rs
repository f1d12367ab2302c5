//! Random conversations with real servers, each held twice: straight with the server, and through pgwarden. What the client sees and
//! what is in the tables afterwards must be the same.
//!
//! A statement that the policy refuses is, to the client, a statement that the server cannot parse: straight to the server goes a
//! text that no grammar reads in its place. Roles differ in what stands between: nothing (`free`), limits that are not met
//! (`capped`, `patient`), refusals (`refusing`), the hold (`reader`, `held`; the server's own default is read-only then). Under
//! `tight` the limit is met, and what counts is that no transaction commits more rows than it allows.
//!
//! `PGWARDEN_CONVERSATIONS` is how many there are of each kind, `PGWARDEN_SEED` where they begin, `PGWARDEN_KIND` a part of the
//! name of those to hold.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/dice.rs"]
mod dice;
#[path = "support/inside.rs"]
mod inside;
#[path = "support/raw.rs"]
mod raw;
mod support;
#[path = "support/talk.rs"]
mod talk;

use std::io;
use std::sync::LazyLock;
use std::thread;
use std::time::Duration;

use bytes::BytesMut;
use dice::Dice;
use inside::Inside;
use pgwarden::wire::backend::tag;
use raw::{Message, Raw, described};
use support::{Mode, PASSWORD, PgBouncer, Postgres, SUPERUSER, Version};
use talk::{Side, bytes_of};

const SECRET: &str = "talker-of-the-tests";
const CONVERSATIONS: u64 = 15;
/// The limit of the role `tight`.
const CAP: u64 = 2;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

fn from_environment(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|count| count.parse().ok()).unwrap_or(otherwise)
}

// ----- the servers -----

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Direct,
    /// Through PgBouncer in transaction mode.
    Pooled,
    /// Through PgBouncer in session mode.
    Session,
}

impl Way {
    const ALL: [Way; 3] = [Way::Direct, Way::Pooled, Way::Session];

    fn name(self) -> &'static str {
        match self {
            Way::Direct => "direct",
            Way::Pooled => "pooled",
            Way::Session => "session",
        }
    }
}

struct Stack {
    version: Version,
    postgres: Postgres,
    transactions: PgBouncer,
    sessions: PgBouncer,
}

struct World {
    stacks: Vec<Stack>,
    pgwarden: Inside,
}

const ROLES: [&str; 7] = ["free", "capped", "patient", "refusing", "reader", "held", "tight"];

const POLICIES: &str = r#"
[policies.free]
allow = ["*"]
[policies.capped]
allow = ["*"]
max_affected_rows = 1000
[policies.patient]
allow = ["*"]
lock_timeout = "5s"
[policies.refusing]
allow = ["*"]
deny = ["destroy.delete_all"]
[policies.reader]
read_only = true
allow = ["read", "function.safe", "session.setting", "transaction"]
[policies.held]
allow = ["*"]
[policies.tight]
allow = ["*"]
max_affected_rows = 2
"#;

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let stacks: Vec<Stack> = Version::ALL.iter().map(|&version| Stack::start(version)).collect();
    let mut text = String::from(POLICIES);
    for way in Way::ALL {
        text.push_str(&format!("[environments.{}.roles]\n", way.name()));
        let endpoint = if way == Way::Direct { "direct" } else { "pooled" };
        for role in ROLES {
            text.push_str(&format!("{role} = {{ policy = \"{role}\", endpoint = \"{endpoint}\" }}\n"));
        }
    }
    for stack in &stacks {
        let version = stack.version as u8;
        let ways = [
            (Way::Direct, "direct", stack.postgres.url("{name}")),
            (Way::Pooled, "pooled", stack.transactions.url("{name}")),
            (Way::Session, "pooled", stack.sessions.url("{name}")),
        ];
        for (way, endpoint, url) in ways {
            let way = way.name();
            text.push_str(&format!(
                "\n[databases.\"v{version}_{way}_*\"]\nenvironment = \"{way}\"\n{endpoint} = \"{url}\"\n"
            ));
        }
    }
    for role in ROLES {
        let roles: Vec<String> = Way::ALL.iter().map(|way| format!("{} = \"{role}\"", way.name())).collect();
        text.push_str(&support::proxy::user(role, SECRET, &roles.join(", ")));
    }
    let folder = support::folder().join(format!("differential-audit-{}", std::process::id()));
    World { stacks, pgwarden: Inside::start(&text, &folder) }
});

const SETUP: &str = "
create table t (id int, v int);
create table e (id int, v int);
create table d (id int unique deferrable initially deferred, v int);
create table changes (xid text, n serial);
create function note() returns trigger language plpgsql as $$ begin
  insert into changes values (pg_current_xact_id()::text); return null; end $$;
create trigger note after insert or update or delete on t for each row execute function note();
create trigger note after insert or update or delete on e for each row execute function note();
create trigger note after insert or update or delete on d for each row execute function note();
create procedure halves() language plpgsql as $$ begin delete from t where id = 1; commit; delete from t where id = 2; end $$;
";

impl Stack {
    fn start(version: Version) -> Stack {
        let postgres = Postgres::start_with(version, &["autovacuum=off", "max_prepared_transactions=100"]);
        let transactions = PgBouncer::start_with(&postgres, Mode::Transaction, &[], &["default_pool_size = 3"]);
        let sessions = PgBouncer::start_with(&postgres, Mode::Session, &[], &["default_pool_size = 5"]);
        postgres.rows("postgres", "create database pattern");
        postgres.rows("pattern", SETUP);
        Stack { version, postgres, transactions, sessions }
    }
}

/// One kind of conversation: where, and under which policy.
struct Kind<'a> {
    stack: &'a Stack,
    role: &'static str,
    direct: bool,
    database: String,
    inspector: Raw,
}

impl<'a> Kind<'a> {
    fn new(stack: &'a Stack, way: Way, role: &'static str) -> Kind<'a> {
        let database = format!("v{}_{}_{role}", stack.version as u8, way.name());
        stack.postgres.rows("postgres", &format!("create database {database} template pattern"));
        let inspector = Raw::connect(stack.postgres.port(), SUPERUSER, PASSWORD, &database).unwrap();
        Kind { stack, role, direct: way == Way::Direct, database, inspector }
    }

    fn straight(&self) -> Raw {
        let read_only = matches!(self.role, "held");
        let parameters: &[(&str, &str)] =
            if read_only { &[("options", "-c default_transaction_read_only=on")] } else { &[] };
        Raw::connect_with(self.stack.postgres.port(), SUPERUSER, PASSWORD, &self.database, parameters).unwrap()
    }

    fn through(&self) -> Raw {
        Raw::connect(WORLD.pgwarden.port(), self.role, SECRET, &self.database).unwrap()
    }

    fn reset(&mut self) {
        let left = self.inspector.value(
            "select string_agg('rollback prepared ' || quote_literal(gid), '; ') from pg_prepared_xacts where database = current_database()",
        );
        let left = left.unwrap();
        if left != "NULL" {
            self.inspector.query(&left).unwrap();
        }
        let again = "set client_min_messages = error; truncate t, e, d, changes restart identity; alter table t disable trigger note; \
            insert into t select n, n from generate_series(1, 9) n; alter table t enable trigger note; drop table if exists made";
        let answer = self.inspector.query(again).unwrap();
        assert!(answer.iter().all(|message| message.tag != tag::ERROR), "{answer:?}");
    }

    fn state(&mut self) -> String {
        let rows = "select concat_ws(' / ', (select string_agg(t::text, ',' order by id, v) from t),
            (select string_agg(e::text, ',' order by id, v) from e), (select string_agg(d::text, ',' order by id, v) from d),
            (select string_agg(gid, ',') from pg_prepared_xacts where database = current_database()),
            to_regclass('made'))";
        self.inspector.value(rows).unwrap()
    }

    /// Most rows that one transaction changed.
    fn most(&mut self) -> u64 {
        let most = "select coalesce(max(n), 0) from (select count(*) n from changes group by xid) c";
        self.inspector.value(most).unwrap().parse().unwrap()
    }
}

// ----- what is said -----

const STATEMENTS: &[&str] = &[
    "select 1",
    "select 1",
    "select id from t order by id limit 3",
    "values (1), (2), (3)",
    "select 1/0",
    "select missing",
    "select 'é', missing",
    "selec",
    "",
    "/* c */",
    "begin",
    "begin",
    "BEGIN WORK",
    "start transaction isolation level repeatable read",
    "begin read only",
    "commit",
    "commit",
    "end",
    "rollback",
    "abort",
    "commit and chain",
    "rollback and chain",
    "savepoint a",
    "savepoint b",
    "savepoint \"A\"",
    "rollback to a",
    "rollback to savepoint b",
    "rollback to \"A\"",
    "release a",
    "release savepoint b",
    "set local work_mem = '1MB'",
    "set transaction isolation level serializable",
    "show work_mem",
    "set constraints all immediate",
    "insert into e values (1, 1)",
    "insert into e values (1, 1), (2, 2)",
    "insert into e select id, v from t where id < 3",
    "insert into d values (1, 1)",
    "insert into d values (2, 2) returning id",
    "update t set v = v + 1 where id < 3 returning id",
    "delete from t where id = 3",
    "delete from t where id < 6",
    "delete from t",
    "with x as (delete from t where id = 4 returning id) select * from x",
    "explain (costs off) select 1",
    "explain (analyze, costs off, timing off, summary off, buffers off) delete from t where id = 7",
    "copy (select 1) to stdout",
    "copy e from stdin",
    "copy nothing from stdin",
    "do $$ begin raise notice 'n'; end $$",
    "do $$ begin delete from t where id = 8; end $$",
    "do $$ begin delete from t where id = 8; commit; end $$",
    "call halves()",
    "notify x, 'y'",
    "vacuum e",
    "lock table t",
    "truncate e",
    "prepare transaction 'g'",
    "commit prepared 'g'",
    "rollback prepared 'g'",
    "select pg_sleep(0)",
    "select * from nothing",
    "create table made (a int)",
    "drop table made",
];

/// What leaves something with the session: not behind a pooler in transaction mode, which gives it to somebody else.
const LASTING: &[&str] = &[
    "set work_mem = '2MB'",
    "set application_name = 'x1'",
    "reset application_name",
    "set datestyle = 'SQL, DMY'",
    "prepare a as select 7",
    "prepare b as delete from t where id = 5",
    "prepare \"C\" as select 8",
    "prepare c as insert into e select 5, $1::int",
    "execute a",
    "execute b",
    "execute c(1)",
    "execute \"C\"",
    "execute C(2)",
    "deallocate a",
    "deallocate b",
    "deallocate prepare all",
    "declare p cursor for select id from t order by id",
    "declare c cursor with hold for select id from t order by id",
    "declare c no scroll cursor for select id from t order by id",
    "fetch p",
    "fetch 2 from c",
    "fetch all in q",
    "move p",
    "move 2 in c",
    "close p",
    "close c",
    "close all",
    "update t set v = 7 where current of c",
    "discard all",
    "discard plans",
    "discard temp",
    "discard sequences",
    "listen x",
    "unlisten *",
    "create temp table tt (a int)",
    "insert into tt values (1)",
    "drop table tt",
];

fn statement(dice: &mut Dice, way: Way) -> &'static str {
    if way != Way::Pooled && dice.below(3) == 0 { dice.pick(LASTING) } else { dice.pick(STATEMENTS) }
}

fn text(dice: &mut Dice, way: Way) -> String {
    let count = [1, 1, 1, 2, 2, 3, 4, 6][dice.below(8)];
    let statements: Vec<&str> = (0..count).map(|_| statement(dice, way)).collect();
    let text = statements.join(dice.pick(&["; ", ";", " ; /* é */ ", ";-- x\\n"]));
    if dice.below(6) == 0 { format!("{text};") } else { text }
}

fn message(dice: &mut Dice, way: Way) -> Vec<String> {
    let named = ["-", "-", "a", "b", "C"];
    let portals = ["-", "-", "p", "c", "q"];
    let rows = ["", "", "", " 1", " 2"];
    match dice.below(40) {
        0..=9 => vec![format!("Q {}", text(dice, way))],
        10..=12 => vec![format!("P {} {}", dice.pick(&named), statement(dice, way))],
        13..=14 => vec![format!("B {} {}", dice.pick(&portals), dice.pick(&named))],
        15..=16 => vec![format!("E {}{}", dice.pick(&portals), dice.pick(&rows))],
        17 => vec![format!("D S {}", dice.pick(&named))],
        18 => vec![format!("D P {}", dice.pick(&portals))],
        19 => vec![format!("C S {}", dice.pick(&named))],
        20 => vec![format!("C P {}", dice.pick(&portals))],
        21 => vec!["H".to_owned()],
        22..=25 => vec!["S".to_owned()],
        26 => vec![dice.pick(&["d 1\\t1\\n", "d 2\\t2\\n", "d x\\n", "c", "f no"]).to_owned()],
        27 => vec!["d 4\\t4\\n".to_owned(), "c".to_owned()],
        28 => vec!["raw P x".to_owned(), "S".to_owned()],
        kind => {
            // A statement by the extended protocol, as drivers send it.
            let name = dice.pick(&named);
            let portal = dice.pick(&portals);
            let mut words = vec![format!("P {name} {}", statement(dice, way)), format!("B {portal} {name}")];
            if kind > 33 {
                words.push(format!("D P {portal}"));
            }
            words.push(format!("E {portal}{}", dice.pick(&rows)));
            if kind % 3 == 0 {
                words.push("S".to_owned());
            }
            words
        }
    }
}

fn conversation(dice: &mut Dice, way: Way) -> Vec<String> {
    let count = 1 + dice.below(10);
    (0..count).flat_map(|_| message(dice, way)).collect()
}

/// The same with what the policy refuses made unreadable.
fn refused(word: &str, role: &str, direct: bool) -> bool {
    let (kind, rest) = word.split_once(' ').unwrap_or((word, ""));
    let text = match kind {
        "Q" => rest,
        "P" => rest.split_once(' ').map_or("", |(_, text)| text),
        _ => return false,
    };
    let parts =
        || text.split(';').map(|part| part.trim_start_matches("-- x\\n").trim_start_matches(" /* é */ ").trim());
    match role {
        "free" => false,
        // What no grammar reads, the server is to refuse.
        "refusing" => parts().any(|part| part == "delete from t") && parts().all(|part| part != "selec"),
        "reader" => parts().any(writes),
        // Behind a pooler it cannot have the limit.
        "patient" if !direct && parts().any(|part| part == "vacuum e") => true,
        // What is counted or held has to be readable.
        _ => parts().any(|part| part == "selec"),
    }
}

/// What the reader's policy refuses.
fn writes(statement: &str) -> bool {
    let reads = [
        "select",
        "values",
        "begin",
        "BEGIN",
        "start",
        "commit",
        "end",
        "rollback",
        "abort",
        "savepoint",
        "release",
        "set",
        "show",
        "/*",
        "-- x",
        "execute",
        "deallocate",
        "declare",
        "fetch",
        "move",
        "close",
        "discard",
        "reset",
        "unlisten",
        "copy (select",
        "prepare a ",
        "prepare \"C\"",
        "explain (costs",
        "do $$ begin raise",
    ];
    let unreadable = statement == "selec";
    let two_phase = statement.starts_with("commit prepared") || statement.starts_with("rollback prepared");
    let sleeps = statement.contains("pg_sleep");
    !statement.is_empty()
        && (unreadable || two_phase || sleeps || !reads.iter().any(|read| statement.starts_with(read)))
}

fn straightened(words: &[String], role: &str, direct: bool) -> Vec<String> {
    words
        .iter()
        .map(|word| match (refused(word, role, direct), word.split(' ').next().unwrap()) {
            (true, "Q") => "Q refused".to_owned(),
            (true, _) => format!("P {} refused", word.split(' ').nth(1).unwrap()),
            (false, _) => word.clone(),
        })
        .collect()
}

// ----- what comes of it -----

const EPILOGUE: &str = "f over | S | Q rollback | Q rollback | Q select 'the end'";

/// What the client saw: its messages, and how it ended.
fn said(raw: &mut Raw, words: &[String], mut pauses: Option<&mut Dice>) -> Vec<String> {
    let mut seen = Vec::new();
    let mut out = BytesMut::new();
    for word in words {
        out.extend_from_slice(&bytes_of(word, Side::Client));
        if let Some(dice) = &mut pauses
            && dice.below(3) == 0
        {
            if raw.send(&out).is_err() {
                break;
            }
            out.clear();
            if dice.below(2) == 0 {
                raw.patience(Duration::from_millis(3));
                while let Ok(message) = raw.message() {
                    seen.push(message);
                }
            }
        }
    }
    raw.patience(PATIENCE);
    out.extend_from_slice(&bytes_of(EPILOGUE, Side::Client));
    let _ = raw.send(&out);
    let mut end = loop {
        match raw.message() {
            Ok(message) => {
                let over = message.tag == tag::DATA_ROW && message.body.ends_with(b"the end");
                seen.push(message);
                if over {
                    break Vec::new();
                }
            }
            Err(error) => break vec![ended(&error)],
        }
    };
    if end.is_empty() {
        seen.extend(raw.answers(1).unwrap());
    }
    let mut words: Vec<String> = seen.iter().map(word).collect();
    words.append(&mut end);
    words
}

fn ended(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "no answer".to_owned(),
        _ => "closed".to_owned(),
    }
}

fn word(message: &Message) -> String {
    let mut bytes = BytesMut::new();
    pgwarden::wire::write::message(&mut bytes, message.tag, |out| out.extend_from_slice(&message.body));
    let word = talk::said(&bytes, Side::Server).remove(0);
    match message.tag {
        tag::ERROR if described(message).contains("pgwarden: ") || word.contains("\"refused\"") => {
            "E refused".to_owned()
        }
        // What is wrong with a message that does not read.
        tag::ERROR if described(message).starts_with("08P01") => "E 08P01".to_owned(),
        tag::ROW_DESCRIPTION | tag::PARAMETER_DESCRIPTION => format!("{word} {:?}", &message.body),
        _ => word,
    }
}

/// Roles whose statements run in transactions of the proxy's: there is one where the server would warn that there is none.
fn runs_within(role: &str) -> bool {
    !matches!(role, "free" | "refusing")
}

/// What differs by design: what can only be in a transaction block, or only outside of one, in a transaction of the proxy's; and
/// a text that names what does not exist, of which nothing runs.
fn differs_by_design(role: &str, words: &[String], wanted: &[String], seen: &[String]) -> bool {
    let says = |answer: &[String], code: &str| answer.iter().any(|word| word.starts_with(code));
    // Postgres's own confusion over a Query in an open batch.
    let confused = says(wanted, "E XX000");
    let within = runs_within(role)
        && ["E 25P01", "E 25001", "E 2D000", "N 25001"].iter().any(|code| says(wanted, code) || says(seen, code));
    let several = words.iter().any(|word| word.starts_with("Q ") && word.contains(';'));
    // What waits for COMMIT PREPARED is not the transaction that the client has.
    let two_phase = runs_within(role) && words.iter().any(|word| word.contains("prepare transaction"));
    confused || within || two_phase || several && (says(seen, "E 26000") || says(seen, "E 34000"))
}

/// The tables of a state: a prepared transaction is read-only as well.
fn tables(state: &str) -> Vec<&str> {
    state.split(" / ").filter(|part| !part.starts_with('v')).collect()
}

/// What may differ.
fn leveled(words: &[String], role: &str) -> Vec<String> {
    let warning = |word: &&String| !(runs_within(role) && word.starts_with("N 25P01"));
    let mut out: Vec<String> = words.iter().filter(warning).cloned().collect();
    if out.last().is_some_and(|last| last == "closed") {
        // Which words a connection ends with.
        while out.last().is_some_and(|last| last == "closed" || last.starts_with("E ")) {
            out.pop();
        }
        out.push("closed".to_owned());
    }
    out
}

fn compare(kind: &mut Kind<'_>, words: &[String], seed: u64) -> Result<(), String> {
    // Names of prepared transactions are the whole server's.
    let words: &[String] =
        &words.iter().map(|word| word.replace("'g'", &format!("'{}'", kind.database))).collect::<Vec<_>>();
    kind.reset();
    let before = kind.state();
    let wanted = said(&mut kind.straight(), &straightened(words, kind.role, kind.direct), None);
    let wanted_state = kind.state();
    kind.reset();
    let seen = said(&mut kind.through(), words, Some(&mut Dice(!seed)));
    let seen_state = kind.state();
    if kind.role == "tight" {
        let most = kind.most();
        let ends = seen.last().is_some_and(|last| last == "Z I" || last == "closed");
        return if most > CAP || !ends { Err(format!("{most} rows; {}", seen.join(" | "))) } else { Ok(()) };
    }
    let answered = seen.last().is_none_or(|last| last != "no answer");
    if matches!(kind.role, "reader" | "held") && tables(&seen_state) != tables(&before) {
        return Err(format!("written: {seen_state}; {}", seen.join(" | ")));
    }
    if answered && differs_by_design(kind.role, words, &wanted, &seen) {
        return Ok(());
    }
    let (left, right) = (leveled(&wanted, kind.role), leveled(&seen, kind.role));
    if left != right || wanted_state != seen_state {
        return Err(format!(
            "  wanted {}\n  seen   {}\n  wanted {wanted_state}\n  seen   {seen_state}",
            wanted.join(" | "),
            seen.join(" | ")
        ));
    }
    Ok(())
}

/// The shortest part of a failing conversation that still fails.
fn shortest(kind: &mut Kind<'_>, words: &[String], seed: u64) -> Vec<String> {
    let mut words = words.to_vec();
    let mut at = 0;
    while at < words.len() {
        let mut fewer = words.clone();
        fewer.remove(at);
        if (0..2).any(|_| compare(kind, &fewer, seed).is_err()) {
            words = fewer;
            at = 0;
        } else {
            at += 1;
        }
    }
    words
}

fn hold(stack: &Stack, way: Way, role: &'static str) -> Vec<String> {
    let mut kind = Kind::new(stack, way, role);
    let mut failures = Vec::new();
    let first = from_environment("PGWARDEN_SEED", 0);
    for seed in first..first + from_environment("PGWARDEN_CONVERSATIONS", CONVERSATIONS) {
        let words = conversation(&mut Dice(seed), way);
        if compare(&mut kind, &words, seed).is_err() {
            let short = shortest(&mut kind, &words, seed);
            let why = (0..3).find_map(|_| compare(&mut kind, &short, seed).err()).unwrap_or_default();
            failures.push(format!("{} seed {seed}: {}\n{why}", kind.database, short.join(" | ")));
            if failures.len() >= 5 {
                break;
            }
        }
    }
    failures
}

#[test]
fn conversations_go_as_without_pgwarden() {
    let only = std::env::var("PGWARDEN_KIND").unwrap_or_default();
    let mut failures = Vec::new();
    thread::scope(|scope| {
        let mut running = Vec::new();
        for stack in &WORLD.stacks {
            for way in Way::ALL {
                for role in ROLES {
                    let name = format!("v{}_{}_{role}", stack.version as u8, way.name());
                    if only.split(',').any(|only| name.contains(only)) {
                        running.push(scope.spawn(move || hold(stack, way, role)));
                    }
                }
            }
        }
        for one in running {
            failures.extend(one.join().unwrap());
        }
    });
    assert!(failures.is_empty(), "{} differ:\n{}", failures.len(), failures.join("\n\n"));
}
