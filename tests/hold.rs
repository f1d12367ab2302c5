//! The read-only hold against real servers: attacks that must change nothing, and statements that must not notice it.
//!
//! The attacks of `tests/data/hold/` run as superuser, directly and through PgBouncer in transaction mode, on Postgres 15 and
//! 18, under three policies: `reader` (classifier and hold), `held` (the hold alone: everything is allowed) and `judged` (the
//! classifier alone: not read-only). What counts is the server afterwards, not the answer. Lines below `@classifier reason`
//! are what the hold alone cannot stop, those below `@hold18 reason` what it cannot stop on 15, those below `@catalog reason`
//! what the classifier alone cannot.

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
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{LazyLock, PoisonError, RwLock};
use std::thread;
use std::time::Duration;

use bytes::BytesMut;
use inside::Inside;
use pgwarden::wire::backend::tag;
use pgwarden::wire::write;
use raw::{Message, Raw, described};
use support::{Mode, PASSWORD, PgBouncer, Postgres, SUPERUSER, Version};
use talk::{Side, bytes_of};

const SECRET: &str = "attacker-of-the-tests";

/// The ways to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Direct,
    Pooled,
}

/// Nothing happens by itself, and every database has a prepared transaction.
const SETTINGS: &[&str] = &["max_prepared_transactions=300", "autovacuum=off", "wal_level=logical"];

/// One Postgres, one PgBouncer before it.
struct Stack {
    version: Version,
    postgres: Postgres,
    bouncer: PgBouncer,
}

struct World {
    stacks: Vec<Stack>,
    pgwarden: Inside,
}

/// Databases of one version: what attacks of one way and role aim at.
fn database_name(way: Way, role: &str) -> String {
    format!("{}_{role}", if way == Way::Direct { "direct" } else { "pooled" })
}

const ROLES: [&str; 3] = ["reader", "held", "judged"];

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let stacks: Vec<Stack> = Version::ALL
        .iter()
        .map(|&version| {
            let postgres = Postgres::start_with(version, SETTINGS);
            let bouncer = PgBouncer::start_with(
                &postgres,
                Mode::Transaction,
                &[],
                &[
                    "default_pool_size = 4",
                    "max_client_conn = 500",
                    "ignore_startup_parameters = extra_float_digits,options",
                ],
            );
            Stack { version, postgres, bouncer }
        })
        .collect();
    let pgwarden = start(&configuration(&stacks));
    World { stacks, pgwarden }
});

/// Starts a pgwarden that lasts as long as the test program.
fn start(configuration: &str) -> Inside {
    static NEXT: AtomicUsize = AtomicUsize::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let folder = support::folder().join(format!("hold-audit-{}-{number}", std::process::id()));
    Inside::start(configuration, &folder)
}

/// Each database of each server is a database of pgwarden's: `v15_direct_reader` and so on, and any other as `v15_direct/x`.
fn configuration(stacks: &[Stack]) -> String {
    let mut text = String::from(
        r#"
[environments.pooled.roles]
reader = "read-only"
held = "held"
judged = "judged"
free = "free"
[environments.direct.roles]
reader = { policy = "read-only", endpoint = "direct" }
held = { policy = "held", endpoint = "direct" }
judged = { policy = "judged", endpoint = "direct" }
free = { policy = "free", endpoint = "direct" }
[policies.held]
allow = ["*"]
[policies.free]
allow = ["*"]
[policies.judged]
allow = ["read", "function.safe", "session.setting", "transaction"]
[policies.read-only]
read_only = true
allow = ["read", "function.safe", "session.setting", "transaction"]
"#,
    );
    for stack in stacks {
        let version = stack.version as u8;
        for (way, url) in [("direct", stack.postgres.url("{name}")), ("pooled", stack.bouncer.url("{name}"))] {
            // The name says where it is; the server's own database is the same name.
            text.push_str(&format!(
                "\n[databases.\"v{version}_{way}_*\"]\nenvironment = \"{way}\"\n{way} = \"{url}\"\n"
            ));
        }
    }
    for role in ROLES.iter().chain(&["free"]) {
        text.push_str(&support::proxy::user(role, SECRET, &format!("pooled = \"{role}\", direct = \"{role}\"")));
    }
    text
}

impl Stack {
    fn name(&self, way: Way, role: &str) -> String {
        format!("v{}_{}", self.version as u8, database_name(way, role))
    }

    /// A database of this name as `setup.sql` makes it.
    fn make(&self, name: &str) {
        let left = "select 'rollback prepared ' || quote_literal(gid) from pg_prepared_xacts where database = current_database()";
        if self.postgres.rows("postgres", &format!("select 1 from pg_database where datname = '{name}'")) == "1\n" {
            let script = self.postgres.rows(name, left);
            self.postgres.rows(name, &script);
            self.postgres.rows("postgres", &format!("drop database {name} with (force)"));
        }
        self.postgres.rows("postgres", &format!("create database {name}"));
        self.postgres.rows("postgres", &format!("alter database {name} set lock_timeout = '1s'"));
        let setup = data("setup.sql").replace("create role someone;", "");
        let role =
            "do $$ begin create role someone; exception when duplicate_object or unique_violation then null; end $$;";
        self.postgres.rows(name, &format!("{role}\n{}", setup.replace("left_behind", &format!("left_behind_{name}"))));
        let _ = self.postgres.rows(name, "create extension if not exists dblink");
    }

    fn inspector(&self, database: &str) -> Raw {
        Raw::connect(self.postgres.port(), SUPERUSER, PASSWORD, database).unwrap()
    }
}

impl World {
    fn session(&self, role: &str, database: &str) -> io::Result<Raw> {
        Raw::connect(self.pgwarden.port(), role, SECRET, database)
    }
}

fn data(file: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/hold").join(file)).unwrap()
}

// ----- what the server looks like -----

/// Everything that an attack could have changed, in one value.
const STATE: &str = "
select md5(concat_ws(e'\\n',
  (select string_agg(v::text, ',' order by v::text) from victim v),
  (select string_agg(o.id::text, ',' order by id) from other o),
  (select count(*)::text from elsewhere.victim), (select count(*)::text from kept),
  (select string_agg(s::text, ',') from shadow s),
  (select last_value::text || is_called::text from counter),
  (select string_agg(concat_ws(' ', oid, relname, relowner, relfilenode, relacl, reloptions, relrowsecurity, relpersistence,
     relnamespace, relreplident, reltriggers_), ',' order by oid)
     from (select c.*, c.relhastriggers::text || c.relhasrules::text as reltriggers_ from pg_class c where oid >= 16384) c),
  (select string_agg(concat_ws(' ', attrelid, attnum, attname, atttypid, attnotnull, attisdropped, attstattarget,
     atthasdef), ',' order by attrelid, attnum) from pg_attribute where attrelid >= 16384),
  (select string_agg(concat_ws(' ', oid, proname, prosrc, proowner, prosecdef, provolatile, proacl), ',' order by oid)
     from pg_proc where oid >= 16384),
  (select string_agg(concat_ws(' ', oid, typname, typnamespace), ',' order by oid) from pg_type where oid >= 16384),
  (select string_agg(concat_ws(' ', enumlabel, enumsortorder), ',' order by oid) from pg_enum),
  (select string_agg(concat_ws(' ', oid, conname), ',' order by oid) from pg_constraint where oid >= 16384),
  (select string_agg(concat_ws(' ', oid, tgname, tgenabled), ',' order by oid) from pg_trigger),
  (select string_agg(concat_ws(' ', oid, nspname, nspowner, nspacl), ',' order by oid) from pg_namespace
     where nspname !~ '^pg_(toast_)?temp'),
  (select string_agg(concat_ws(' ', oid, indexrelid_, indisvalid, indisclustered), ',' order by oid)
     from (select indexrelid as oid, indexrelid as indexrelid_, * from pg_index where indexrelid >= 16384) i),
  (select string_agg(a::text, ',' order by oid) from pg_authid a where rolname !~ '^pg_'),
  (select string_agg(a::text, ',' order by roleid, member) from pg_auth_members a where roleid >= 16384),
  (select string_agg(concat_ws(' ', oid, datname, datdba, datconnlimit, datacl), ',' order by oid)
     from pg_database where datname in (current_database(), 'postgres', 'made')),
  (select string_agg(s::text, ',' order by s::text) from pg_db_role_setting s
     where setdatabase in (0, (select oid from pg_database where datname = current_database()))),
  (select string_agg(concat_ws(' ', oid, lomowner, lomacl), ',' order by oid) from pg_largeobject_metadata),
  (select string_agg(md5(data), ',' order by loid, pageno) from pg_largeobject),
  (select string_agg(gid, ',' order by gid) from pg_prepared_xacts where database = current_database()),
  (select string_agg(e::text, ',' order by e::text) from pg_extension e),
  (select count(*)::text from pg_description where objoid >= 16384),
  (select count(*)::text from pg_seclabel), (select count(*)::text from pg_statistic where starelid >= 16384),
  (select count(*)::text from pg_policy), (select count(*)::text from pg_rewrite where oid >= 16384),
  (select count(*)::text from pg_publication), (select count(*)::text from pg_subscription),
  (select count(*)::text from pg_statistic_ext), (select count(*)::text from pg_collation where oid >= 16384),
  (select count(*)::text from pg_ts_config where oid >= 16384), (select count(*)::text from pg_event_trigger),
  (select count(*)::text from pg_foreign_data_wrapper), (select count(*)::text from pg_foreign_server),
  (select count(*)::text from pg_am where oid >= 16384), (select count(*)::text from pg_transform),
  (select count(*)::text from pg_conversion where oid >= 16384), (select count(*)::text from pg_cast where oid >= 16384),
  (select count(*)::text from pg_operator where oid >= 16384), (select count(*)::text from pg_tablespace),
  (select count(*)::text from pg_default_acl), (select count(*)::text from pg_replication_slots),
  (select count(*)::text from pg_replication_origin),
  (select count(*)::text from pg_locks where locktype = 'advisory' and database =
     (select oid from pg_database where datname = current_database())),
  pg_read_file('postgresql.auto.conf')))";

/// What compares whole servers over a long stretch has them to itself: some attacks of the others change roles and settings.
static TURNS: RwLock<()> = RwLock::new(());

fn state(inspector: &mut Raw) -> String {
    let value = inspector.value(STATE).unwrap();
    assert_eq!(value.len(), 32, "the server's state cannot be read: {value}");
    value
}

// ----- attacks -----

/// What stops an attack, if one of the defences is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stopped {
    /// The hold alone stops it, and so does the classifier alone.
    ByEither,
    /// The hold alone stops it on 18.
    ByHoldOn18,
    /// The hold alone does not.
    ByClassifier,
    /// The classifier alone does not: it would have to know the server's catalogs.
    ByHold,
}

#[derive(Clone, Debug)]
struct Attack {
    line: String,
    stopped: Stopped,
    /// Each a write of messages of its own.
    variants: Vec<BytesMut>,
}

fn attacks(file: &str, folder: &str, dblink: &str, database: &str) -> Vec<Attack> {
    let text = data(file)
        .replace("{folder}", folder)
        .replace("{dblink}", dblink)
        .replace("left_behind", &format!("left_behind_{database}"));
    let mut stopped = Stopped::ByEither;
    let mut found = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with("# ")) {
        match line.split(' ').next() {
            Some("@hold") => stopped = Stopped::ByEither,
            Some("@hold18") => stopped = Stopped::ByHoldOn18,
            Some("@classifier") => stopped = Stopped::ByClassifier,
            Some("@catalog") => stopped = Stopped::ByHold,
            _ if file == "protocol.txt" => {
                found.push(Attack { line: line.into(), stopped, variants: vec![bytes_of(line, Side::Client)] });
            }
            _ => found.push(Attack { line: line.into(), stopped, variants: variants(line) }),
        }
    }
    found
}

/// The prefixes before the writes.
fn crossed(database: &str) -> Vec<Attack> {
    let prefixes = data("prefixes.txt").replace("left_behind", &format!("left_behind_{database}"));
    let lines = |text: &str| -> Vec<String> {
        text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
    };
    let writes = lines(&data("writes.txt"));
    let mut found = Vec::new();
    for prefix in lines(&prefixes) {
        for write in &writes {
            let line = format!("{prefix} ;; {write}");
            found.push(Attack { stopped: Stopped::ByEither, variants: variants(&line), line });
        }
    }
    found
}

fn unescaped(text: &str) -> String {
    let pairs = [("\\n", "\n"), ("\\r", "\r"), ("\\t", "\t"), ("\\f", "\u{c}"), ("\\v", "\u{b}")];
    pairs.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

/// Statements as separate Queries, as one text, as separate batches, and as one batch; where there are several, COMMIT ends
/// them.
fn variants(line: &str) -> Vec<BytesMut> {
    let line = unescaped(line);
    let mut statements: Vec<&str> = line.split(" ;; ").collect();
    if statements.len() > 1 {
        statements.push("commit");
    }
    let batch = |statement: &str, out: &mut BytesMut| {
        write::parse(out, b"", statement.as_bytes());
        write::bind(out, b"", b"");
        write::execute(out, b"");
    };
    let (mut queries, mut text, mut batches, mut one) = Default::default();
    let out: [&mut BytesMut; 4] = [&mut queries, &mut text, &mut batches, &mut one];
    for statement in &statements {
        write::query(out[0], statement.as_bytes());
        batch(statement, out[2]);
        write::sync(out[2]);
        batch(statement, out[3]);
    }
    write::query(out[1], statements.join("; ").as_bytes());
    write::sync(out[3]);
    if statements.len() == 1 { vec![queries, batches] } else { vec![queries, text, batches, one] }
}

/// One client that attacks.
struct Attacker<'a> {
    world: &'a World,
    role: &'a str,
    database: &'a str,
    raw: Option<Raw>,
    count: usize,
    /// How often it was thrown out.
    thrown_out: usize,
}

impl Attacker<'_> {
    /// Sends an attack, and whatever comes of it, leaves nothing open.
    fn attack(&mut self, messages: &[u8]) {
        self.count += 1;
        let sentinel = format!("over_{}", self.count);
        let mut out = BytesMut::from(messages);
        write::sync(&mut out);
        write::query(&mut out, b"rollback");
        write::query(&mut out, b"discard all");
        write::query(&mut out, format!("select '{sentinel}'").as_bytes());
        if self.exchange(&out, &sentinel).is_err() {
            self.raw = None;
            self.thrown_out += 1;
        }
    }

    fn exchange(&mut self, bytes: &[u8], sentinel: &str) -> io::Result<()> {
        if self.raw.is_none() {
            self.raw = Some(self.world.session(self.role, self.database)?);
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

/// How many attacks are made before the server is looked at.
const BUNCH: usize = 25;

/// Runs attacks under one policy; gives those that changed something.
fn run(world: &World, stack: &Stack, way: Way, role: &str, database: &str, attacks: &[Attack]) -> Vec<String> {
    stack.make(database);
    let mut inspector = stack.inspector(database);
    let mut attacker = Attacker { world, role, database, raw: None, count: 0, thrown_out: 0 };
    let mut before = state(&mut inspector);
    let mut escaped = Vec::new();
    for bunch in attacks.chunks(BUNCH) {
        bunch.iter().flat_map(|attack| &attack.variants).for_each(|variant| attacker.attack(variant));
        if state(&mut inspector) == before {
            continue;
        }
        // One of them did it: each again, on a server as new after every one that did something.
        for attack in bunch {
            for (place, variant) in attack.variants.iter().enumerate() {
                drop(inspector);
                attacker.raw = None;
                stack.make(database);
                inspector = stack.inspector(database);
                before = state(&mut inspector);
                attacker.attack(variant);
                if state(&mut inspector) != before {
                    escaped.push(format!("{role} {way:?} {:?} variant {place}: {}", stack.version, attack.line));
                }
            }
        }
        drop(inspector);
        attacker.raw = None;
        stack.make(database);
        inspector = stack.inspector(database);
        before = state(&mut inspector);
    }
    assert!(attacker.thrown_out * 5 < attacker.count, "{role}: {} of {}", attacker.thrown_out, attacker.count);
    escaped
}

/// Runs a set of attacks on every stack, way and role that it applies to.
fn everywhere(about: &str, roles: &[&str], made: impl Fn(&Stack, &str, &str) -> Vec<Attack> + Sync) -> usize {
    let world = &*WORLD;
    let mut count = 0;
    let mut escaped = Vec::new();
    thread::scope(|scope| {
        let mut runs = Vec::new();
        for stack in &world.stacks {
            for way in [Way::Direct, Way::Pooled] {
                for role in roles {
                    let made = &made;
                    runs.push(scope.spawn(move || {
                        let database = format!("{}_{about}", stack.name(way, role));
                        let attacks: Vec<Attack> = made(stack, &database, role)
                            .into_iter()
                            .filter(|attack| applies(attack.stopped, role, stack.version))
                            .collect();
                        (attacks.len(), run(world, stack, way, role, &database, &attacks))
                    }));
                }
            }
        }
        for run in runs {
            let (attacks, changed) = run.join().unwrap();
            count += attacks;
            escaped.extend(changed);
        }
    });
    assert!(escaped.is_empty(), "{} attacks changed something:\n{}", escaped.len(), escaped.join("\n"));
    count
}

fn applies(stopped: Stopped, role: &str, version: Version) -> bool {
    match (role, stopped) {
        ("held", Stopped::ByClassifier) => false,
        ("judged", Stopped::ByHold) => false,
        ("held", Stopped::ByHoldOn18) => version == Version::V18,
        _ => true,
    }
}

fn files_of(stack: &Stack, database: &str, files: &[&str]) -> Vec<Attack> {
    let folder = support::folder().join("untouched");
    let dblink =
        format!("host=127.0.0.1 port={} user={SUPERUSER} password={PASSWORD} dbname={database}", stack.postgres.port());
    files.iter().flat_map(|file| attacks(file, &folder.to_string_lossy(), &dblink, database)).collect()
}

#[test]
fn statements_change_nothing() {
    let _turn = TURNS.read().unwrap_or_else(PoisonError::into_inner);
    let count = everywhere("statements", &ROLES, |stack, database, _| {
        files_of(stack, database, &["statements.txt", "spellings.txt"])
    });
    assert!(count > 1500, "only {count} attacks ran");
}

#[test]
fn functions_change_nothing() {
    let _turn = TURNS.read().unwrap_or_else(PoisonError::into_inner);
    let count = everywhere("functions", &ROLES, |stack, database, _| files_of(stack, database, &["functions.txt"]));
    assert!(count > 500, "only {count} attacks ran");
}

#[test]
fn transaction_control_does_not_get_out() {
    let _turn = TURNS.read().unwrap_or_else(PoisonError::into_inner);
    let count = everywhere("control", &ROLES, |_, database, _| crossed(database));
    assert!(count > 3000, "only {count} attacks ran");
}

#[test]
fn settings_lexical_tricks_and_protocol_tricks_change_nothing() {
    let _turn = TURNS.read().unwrap_or_else(PoisonError::into_inner);
    let files = ["settings.txt", "lexical.txt", "protocol.txt"];
    let count = everywhere("tricks", &ROLES, |stack, database, _| files_of(stack, database, &files));
    assert!(count > 1500, "only {count} attacks ran");
}

/// What the tests above would look like if they could not fail.
#[test]
fn without_both_defences_the_attacks_do_change_something() {
    let _turn = TURNS.read().unwrap_or_else(PoisonError::into_inner);
    let stack = &WORLD.stacks[0];
    let database = format!("{}_free", stack.name(Way::Direct, "free"));
    let mut attacks = files_of(stack, &database, &["statements.txt"]);
    attacks.extend(files_of(stack, &database, &["protocol.txt"]));
    let attacks: Vec<Attack> = attacks.into_iter().step_by(24).collect();
    let changed = run(&WORLD, stack, Way::Direct, "free", &database, &attacks);
    assert!(changed.len() * 2 > attacks.len(), "{} of {}: {changed:?}", changed.len(), attacks.len());
}

#[test]
fn the_table_is_as_long_as_it_says() {
    let _turn = TURNS.read().unwrap_or_else(PoisonError::into_inner);
    let stack = &WORLD.stacks[0];
    let files = ["statements.txt", "spellings.txt", "functions.txt", "settings.txt", "lexical.txt", "protocol.txt"];
    let rows = files_of(stack, "x", &files).len() + crossed("x").len();
    assert!(rows > 900, "{rows} rows");
}

// ----- startup parameters -----

const STARTUP: &[(&str, &str)] = &[
    ("options", "-c transaction_read_only=off"),
    ("options", "-c default_transaction_read_only=off"),
    ("options", "--default-transaction-read-only=off"),
    ("options", "-cdefault_transaction_read_only=off"),
    ("options", "-c default_transaction_isolation=serializable"),
    ("options", "-c session_replication_role=replica"),
    ("options", "-c standard_conforming_strings=off"),
    ("options", "-c\\ search_path=elsewhere"),
    ("options", "-c search_path=elsewhere -c default_transaction_read_only=off"),
    ("options", "-c role=postgres"),
    ("options", "-c local_preload_libraries=x"),
    ("options", "-d 5"),
    ("options", "-O -P"),
    ("options", "-F"),
    ("options", "-r /tmp/made"),
    ("transaction_read_only", "off"),
    ("default_transaction_read_only", "off"),
    ("DEFAULT_TRANSACTION_READ_ONLY", "off"),
    ("session_replication_role", "replica"),
    ("standard_conforming_strings", "off"),
    ("client_encoding", "SJIS"),
    ("client_encoding", "sql_ascii"),
    ("search_path", "elsewhere"),
    ("role", "postgres"),
    ("session_authorization", "postgres"),
    ("replication", "true"),
    ("replication", "database"),
    ("replication", "1"),
    ("_pq_.made", "1"),
    ("application_name", "'; delete from victim; --"),
];

#[test]
fn startup_parameters_do_not_loosen_the_hold() {
    let _turn = TURNS.read().unwrap_or_else(PoisonError::into_inner);
    let world = &*WORLD;
    for stack in &world.stacks {
        for way in [Way::Direct, Way::Pooled] {
            let database = format!("{}_startup", stack.name(way, "held"));
            stack.make(&database);
            let mut inspector = stack.inspector(&database);
            let before = state(&mut inspector);
            for (name, value) in STARTUP {
                for role in ["reader", "held"] {
                    let port = world.pgwarden.port();
                    let Ok(mut raw) = Raw::connect_with(port, role, SECRET, &database, &[(name, value)]) else {
                        continue;
                    };
                    for sql in ["begin; set transaction read write; delete from victim; commit", "delete from victim"] {
                        let _ = raw.query(sql);
                    }
                    let _ = raw.query("IDENTIFY_SYSTEM");
                    let _ = raw.query("CREATE_REPLICATION_SLOT made PHYSICAL");
                    assert_eq!(state(&mut inspector), before, "{role} {way:?} {name}={value}");
                }
            }
        }
    }
}

// ----- other clients of the same pooler -----

/// A PgBouncer with one server connection, and pgwarden before it.
fn narrow(stack: &Stack) -> (PgBouncer, Inside) {
    let bouncer = PgBouncer::start_with(
        &stack.postgres,
        Mode::Transaction,
        &[],
        &["default_pool_size = 1", "max_db_connections = 1"],
    );
    let mut text = configuration(&[]);
    text.push_str(&format!("\n[databases.\"*\"]\nenvironment = \"pooled\"\npooled = \"{}\"\n", bouncer.url("{name}")));
    let pgwarden = start(&text);
    (bouncer, pgwarden)
}

/// What another client leaves on the server connection, and what a session would make of it.
const LEFT: &[(&str, &str)] = &[
    ("Q prepare p as delete from victim", "Q execute p"),
    ("Q prepare p as delete from victim", "P - execute p | B - - | E - | S"),
    ("Q prepare p as delete from victim", "B - p | E - | S"),
    ("Q prepare p as delete from victim", "Q begin | Q execute p | Q commit"),
    ("Q prepare p as delete from victim", "Q commit; execute p"),
    ("Q prepare p as delete from victim", "P p select 1 | B - p | E - | S"),
    ("P s delete from victim | S", "B - s | E - | S"),
    ("P s delete from victim | S", "D S s | S | B p s | E p | S"),
    ("P s delete from victim | S", "P s select 1 | S | B - s | E - | S"),
    ("P s delete from victim | S", "C S s | P s select 1 | B - s | E - | S"),
    ("P s delete from victim | S", "Q execute s"),
    ("P s delete from victim | S", "Q explain analyze execute s"),
    ("P - delete from victim | S", "B - - | E - | S"),
    ("P - delete from victim | S", "P - select missing | S | B - - | E - | S"),
    ("P - delete from victim | S", "P - drop table victim | S | B - - | E - | S"),
    ("P pgwarden_hold delete from victim | S", "Q select 1"),
    ("P pgwarden_hold delete from victim | S", "P - select 1 | B - - | E - | S"),
    ("Q begin; declare pgwarden_hold cursor with hold for select 1; commit", "P - select 1 | B - - | E - | S"),
    ("Q begin; declare c cursor with hold for select * from victim; commit", "Q fetch all from c"),
    ("Q begin; declare c cursor with hold for select * from victim; commit", "E c | S"),
    ("Q begin; declare c cursor with hold for select * from victim; commit", "Q close c"),
    ("Q begin; declare c cursor with hold for select * from victim; commit", "Q begin | Q move c | Q commit"),
    ("Q set default_transaction_read_only = off", "Q delete from victim"),
    ("Q set session characteristics as transaction read write", "Q begin | Q delete from victim | Q commit"),
    ("Q set session_replication_role = replica", "Q delete from victim"),
    ("Q set default_transaction_isolation = serializable", "Q delete from victim"),
    ("Q set search_path = pg_temp, elsewhere", "Q insert into victim values (1)"),
    (
        "Q create function pg_temp.set_config(text, text, boolean) returns text language sql as 'select null::text'",
        "Q delete from victim",
    ),
    (
        "Q set search_path = elsewhere, pg_catalog | Q create function elsewhere.set_config(text, text, boolean) returns text language sql as 'select null::text'",
        "Q begin | Q delete from victim | Q commit",
    ),
    ("Q set standard_conforming_strings = off", "Q select 'a\\', '; commit; delete from victim; --'"),
    ("Q set statement_timeout = 1", "Q begin | Q delete from victim | Q commit"),
    ("Q set role someone", "Q reset role; delete from victim"),
];

#[test]
fn what_others_leave_in_the_pool_is_not_there() {
    let _turn = TURNS.write().unwrap_or_else(PoisonError::into_inner);
    thread::scope(|scope| {
        for stack in &WORLD.stacks {
            scope.spawn(move || nothing_left_is_there(stack));
        }
    });
}

/// The state once it is as it was, or after two seconds: what other tests do to the whole server at the same time passes, a
/// change does not.
fn settled(inspector: &mut Raw, expected: &str) -> String {
    for _ in 0..20 {
        if state(inspector) == expected {
            break;
        }
        thread::sleep(Duration::from_millis(100));
    }
    state(inspector)
}

fn nothing_left_is_there(stack: &Stack) {
    let database = format!("v{}_left", stack.version as u8);
    stack.make(&database);
    let mut inspector = stack.inspector(&database);
    let before = state(&mut inspector);
    let (bouncer, pgwarden) = narrow(stack);
    for (left, tried) in LEFT {
        let mut other = Raw::connect(bouncer.port(), SUPERUSER, PASSWORD, &database).unwrap();
        other.ask(&bytes_of(left, Side::Client)).unwrap();
        let made = state(&mut inspector);
        for role in ["held", "reader"] {
            let mut session = Raw::connect(pgwarden.port(), role, SECRET, &database).unwrap();
            let answer = session.ask(&bytes_of(tried, Side::Client));
            assert_eq!(settled(&mut inspector, &made), made, "{role} after {left}: {tried}: {answer:?}");
            // A cursor or statement of another client gives no rows either.
            let rows = answer.iter().flatten().filter(|message| message.tag == tag::DATA_ROW).count();
            assert!(tried.contains("select ") || rows == 0, "{role} saw rows of {left}");
        }
        // The server connection goes, and with it what was left on it.
        inspector.query(LEAVE_NOTHING).unwrap();
        assert_eq!(state(&mut inspector), before, "{left} cannot be taken back");
    }
}

const LEAVE_NOTHING: &str = "
select pg_terminate_backend(pid, 5000) from pg_stat_activity
  where datname = current_database() and pid <> pg_backend_pid();
drop function if exists elsewhere.set_config(text, text, boolean)";

#[test]
fn two_sessions_on_one_server_connection_do_not_meet() {
    let _turn = TURNS.read().unwrap_or_else(PoisonError::into_inner);
    for stack in &WORLD.stacks {
        let database = format!("v{}_two", stack.version as u8);
        stack.make(&database);
        let (_bouncer, pgwarden) = narrow(stack);
        let mut inspector = stack.inspector(&database);
        let before = state(&mut inspector);
        let mut one = Raw::connect(pgwarden.port(), "held", SECRET, &database).unwrap();
        let mut two = Raw::connect(pgwarden.port(), "held", SECRET, &database).unwrap();
        let value = |answer: &[Message]| -> Vec<String> { talk_of(answer) };
        for _ in 0..20 {
            one.ask(&bytes_of("P s select 'one' | P - select 'unnamed one' | S", Side::Client)).unwrap();
            two.ask(&bytes_of("P s select 'two' | P - select 'unnamed two' | S", Side::Client)).unwrap();
            let answer = one.ask(&bytes_of("B - s | E - | S | B - - | E - | S | C S s | S", Side::Client)).unwrap();
            assert_eq!(
                value(&answer),
                ["2", "D one", "C SELECT 1", "Z I", "2", "D unnamed one", "C SELECT 1", "Z I", "3", "Z I"]
            );
            let answer = two.ask(&bytes_of("B - s | E - | S | B - - | E - | S | C S s | S", Side::Client)).unwrap();
            assert_eq!(
                value(&answer),
                ["2", "D two", "C SELECT 1", "Z I", "2", "D unnamed two", "C SELECT 1", "Z I", "3", "Z I"]
            );
        }
        // While one holds the connection in a transaction, the other's statements wait, and neither can write.
        one.query("begin").unwrap();
        one.query("select 1").unwrap();
        let writes = "Q delete from victim | P - delete from victim | B - - | E - | S | Q commit and chain | Q delete from victim";
        two.send(&bytes_of(writes, Side::Client)).unwrap();
        one.query("commit and chain").unwrap();
        one.query("delete from victim").unwrap();
        one.query("rollback").unwrap();
        two.answers(4).unwrap();
        assert_eq!(state(&mut inspector), before);
    }
}

#[test]
fn attacks_from_two_sessions_on_one_server_connection_change_nothing() {
    let _turn = TURNS.read().unwrap_or_else(PoisonError::into_inner);
    for stack in &WORLD.stacks {
        let database = format!("v{}_both", stack.version as u8);
        stack.make(&database);
        let (_bouncer, pgwarden) = narrow(stack);
        let mut inspector = stack.inspector(&database);
        let before = state(&mut inspector);
        let attacks: Vec<Attack> = crossed(&database).into_iter().step_by(3).collect();
        thread::scope(|scope| {
            for half in 0..2 {
                let (attacks, database, port) = (&attacks, &database, pgwarden.port());
                scope.spawn(move || {
                    let mut raw = None;
                    for variant in attacks.iter().skip(half).step_by(2).flat_map(|attack| &attack.variants) {
                        let mut session = match raw.take() {
                            Some(session) => session,
                            None => Raw::connect(port, "held", SECRET, database).unwrap(),
                        };
                        let mut out = variant.clone();
                        write::query(&mut out, b"rollback");
                        if session.ask(&out).is_ok() {
                            raw = Some(session);
                        }
                    }
                });
            }
        });
        assert_eq!(state(&mut inspector), before);
    }
}

/// The same bytes; only where the session itself knows that a name is not there, the error lacks the server's source lines.
fn alike(wanted: &[Message], found: &[Message]) -> bool {
    let known = |message: &Message| {
        let text = described(message);
        message.tag == tag::ERROR && ["26000 ", "34000 ", "42P05 "].iter().any(|code| text.starts_with(code))
    };
    let same = |(one, other): (&Message, &Message)| {
        one == other || (known(one) && known(other) && described(one) == described(other))
    };
    wanted.len() == found.len() && wanted.iter().zip(found).all(same)
}

fn short(messages: &[Message]) -> String {
    let words = talk_of(messages);
    words.iter().take(30).map(|word| word.chars().take(70).collect::<String>()).collect::<Vec<_>>().join(" | ")
}

fn talk_of(messages: &[Message]) -> Vec<String> {
    let mut bytes = BytesMut::new();
    for message in messages {
        write::message(&mut bytes, message.tag, |out| out.extend_from_slice(&message.body));
    }
    talk::said(&bytes, Side::Server)
}

// ----- cancel requests at every moment -----

#[test]
fn a_storm_of_cancel_requests_opens_no_gap() {
    let _turn = TURNS.read().unwrap_or_else(PoisonError::into_inner);
    let writes = "Q delete from victim | P - delete from victim | B - - | E - | S | Q select 1; commit; delete from victim | P - select 1 | B - - | E - | P - commit | B - - | E - | P - delete from victim | B - - | E - | S | Q begin | Q delete from victim | Q commit and chain | Q delete from victim | Q commit";
    let world = &*WORLD;
    thread::scope(|scope| {
        for stack in &world.stacks {
            for way in [Way::Direct, Way::Pooled] {
                scope.spawn(move || {
                    let database = format!("{}_storm", stack.name(way, "held"));
                    stack.make(&database);
                    let mut inspector = stack.inspector(&database);
                    let before = state(&mut inspector);
                    let mut session = world.session("held", &database).unwrap();
                    for round in 0..150 {
                        session.send(&bytes_of(writes, Side::Client)).unwrap();
                        for _ in 0..round % 4 {
                            session.cancel().unwrap();
                        }
                        session.answers(9).unwrap();
                        session.query("rollback").unwrap();
                    }
                    // A late cancel request may still meet something; after it the session is as good as new.
                    thread::sleep(Duration::from_millis(100));
                    let _ = session.query("select 1");
                    assert_eq!(talk_of(&session.query("select 1").unwrap()).last().unwrap(), "Z I");
                    assert_eq!(state(&mut inspector), before, "{way:?} {:?}", stack.version);
                });
            }
        }
    });
}

// ----- comfort: what a read-only session must not notice -----

#[test]
fn ordinary_statements_are_answered_byte_for_byte_as_without_pgwarden() {
    let _turn = TURNS.read().unwrap_or_else(PoisonError::into_inner);
    let world = &*WORLD;
    let mut differences = Vec::new();
    let mut count = 0;
    for stack in &world.stacks {
        for way in [Way::Direct, Way::Pooled] {
            let database = format!("{}_comfort", stack.name(way, "reader"));
            stack.make(&database);
            let mut plain = stack.inspector(&database);
            let mut through = world.session("reader", &database).unwrap();
            for (line, messages) in comfort(way) {
                count += 1;
                let wanted = plain.ask(&messages).unwrap();
                let found = through.ask(&messages).unwrap();
                if !alike(&wanted, &found) {
                    differences.push(format!(
                        "{way:?} {:?}: {line}\n  wanted {}\n  found  {}",
                        stack.version,
                        short(&wanted),
                        short(&found)
                    ));
                }
                for raw in [&mut plain, &mut through] {
                    raw.query("rollback").unwrap();
                    raw.query("discard all").unwrap();
                }
            }
        }
    }
    assert!(differences.is_empty(), "{} of {count} differ:\n{}", differences.len(), differences.join("\n"));
    assert!(count > 1000, "only {count} comparisons");
}

/// The lines of `comfort.txt`, and of `tools.txt` (captured from tools), as messages: `Q`, `P` … lines as they stand, others as statements in every way. Lines below
/// `@direct` are for a server connection of the session's own, those below `@queries` differ in pipelines (and why is there).
fn comfort(way: Way) -> Vec<(String, BytesMut)> {
    let mut found = Vec::new();
    let mut mode = "@all".to_owned();
    let (own, tools) = (data("comfort.txt"), data("tools.txt"));
    for line in own.lines().chain(tools.lines()).filter(|line| !line.is_empty() && !line.starts_with("# ")) {
        if line.starts_with('@') {
            mode = line.split(' ').next().unwrap().to_owned();
        } else if mode == "@direct" && way == Way::Pooled {
        } else if mode == "@messages" {
            found.push((line.to_owned(), bytes_of(line, Side::Client)));
        } else {
            let kinds = ["queries", "text", "batches", "one batch"];
            let variants = comfort_variants(line);
            for (kind, messages) in kinds.iter().zip(variants) {
                let wanted = match mode.as_str() {
                    "@queries" => *kind == "queries",
                    // What tools send comes by either protocol.
                    "@tools" => matches!(*kind, "queries" | "batches"),
                    "@texts" => matches!(*kind, "queries" | "text"),
                    _ => true,
                };
                if wanted {
                    found.push((format!("{kind}: {line}"), messages));
                }
            }
        }
    }
    found
}

fn comfort_variants(line: &str) -> [BytesMut; 4] {
    let line = unescaped(line);
    let statements: Vec<&str> = line.split(" ;; ").collect();
    let mut out: [BytesMut; 4] = Default::default();
    for statement in &statements {
        write::query(&mut out[0], statement.as_bytes());
        for place in [2, 3] {
            write::parse(&mut out[place], b"", statement.as_bytes());
            write::message(&mut out[place], b'D', |out| out.extend_from_slice(b"S\0"));
            write::bind(&mut out[place], b"", b"");
            write::message(&mut out[place], b'D', |out| out.extend_from_slice(b"P\0"));
            write::execute(&mut out[place], b"");
        }
        write::sync(&mut out[2]);
    }
    write::query(&mut out[1], statements.join(" ; ").as_bytes());
    write::sync(&mut out[3]);
    out
}

/// An answer that took an error for a row would hide it.
#[test]
fn errors_are_described() {
    let _turn = TURNS.read().unwrap_or_else(PoisonError::into_inner);
    let message = Message { tag: tag::ERROR, body: b"C42601\0Mno\0\0".to_vec() };
    assert_eq!(described(&message), "42601 no");
}
