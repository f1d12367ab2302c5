//! The oracle: what statements and functions really do, on Postgres 15 and 18, against what the readers say they do.
//!
//! Every row of `tests/data/effects` is run, in a world where its names mean something (`tests/data/oracle/schema.sql`), and
//! everything that it could change is compared before and after. A statement that changes something outside its session must have
//! an effect that says so; one that changes its session must have an effect or a movement that says so; one that cannot be parsed
//! must be refused by the server too. The same for calls of every built-in function that the table calls safe.
//!
//! Rows that no server here can run are listed in `tests/data/oracle/unexecuted.txt`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/raw.rs"]
mod raw;
#[path = "support/rows.rs"]
mod rows;
mod support;
#[path = "support/witness.rs"]
mod witness;

#[path = "oracle/functions.rs"]
mod functions;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pgwarden::sql::{self, Class, Limits, Movement, Reading, settings};

use self::raw::Raw;
use self::rows::Row;
use self::support::Version;
use self::witness::Witness;

const SCHEMA: &str = include_str!("data/oracle/schema.sql");
const UNEXECUTED: &str = "tests/data/oracle/unexecuted.txt";

/// Where a row is tried, in this order: search paths.
const STAGES: [&str; 26] = [
    "public",
    "stage_false, public",
    "stage_boolean, public",
    "stage_one, public",
    "stage_text, public",
    "stage_json, public",
    "stage_xml, public",
    "stage_array, public",
    "stage_composite, public",
    "stage_pair, public",
    "stage_narrow, public",
    "stage_index, public",
    "stage_view, public",
    "stage_matview, public",
    "stage_sequence, public",
    "stage_rich, public",
    "stage_keys, public",
    "stage_generated, public",
    "stage_partitioned, public",
    "stage_detached, public",
    "stage_inherited, public",
    "stage_flat, public",
    "stage_types",
    "stage_domain",
    "stage_composite_type",
    "empty",
];

/// What a session may have done before: nothing, or what EXECUTE, FETCH, RELEASE and their like need.
const PRELUDES: [&str; 2] = [
    "",
    "PREPARE p AS SELECT 1; PREPARE q (int) AS SELECT $1; DECLARE c CURSOR WITH HOLD FOR SELECT * FROM generate_series(1, 20); \
     DECLARE \"C\" CURSOR WITH HOLD FOR SELECT * FROM generate_series(1, 20)",
];

/// Where a statement is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// As a transaction of its own, in the common database: nothing is put back afterwards.
    Alone,
    /// In a transaction that is rolled back.
    Within,
    /// As a transaction of its own, in a database of its own.
    Apart,
}

/// What a row turned out to do.
#[derive(Debug, Default)]
struct Outcome {
    /// What was different outside the session, and in it.
    world: BTreeMap<&'static str, String>,
    session: BTreeMap<&'static str, String>,
}

fn classes(reading: &Reading) -> BTreeSet<Class> {
    reading.effects.iter().map(|(effect, _)| effect.class).collect()
}

/// Whether effects of this class leave everything outside the session as it is.
fn changes_nothing(class: &Class) -> bool {
    matches!(class, Class::Read | Class::FunctionSafe | Class::Transaction | Class::SessionSetting)
}

/// Whether a row is left alone: what it does lies beyond the server's own data, and its effects say so.
fn beyond(class: &Class) -> bool {
    matches!(class, Class::Server | Class::FunctionDangerous)
}

/// Whether another stage cannot help: a syntax error, a parameter where the server takes none, or a loop without an end.
fn hopeless(error: &str) -> bool {
    ["42601", "42P02", "57014"].iter().any(|code| error.starts_with(code))
}

/// Whether what is missing is a prepared statement or a cursor.
fn wants_prelude(error: &str) -> bool {
    ["26000", "34000"].iter().any(|code| error.starts_with(code))
}

struct Oracle {
    witness: Witness,
    session: Option<(Raw, String)>,
    /// How long to wait for what a statement sets off.
    patience: Duration,
    /// In a database of its own, where nothing has succeeded yet.
    apart: Option<(Raw, String)>,
}

impl Oracle {
    fn new(version: Version) -> Oracle {
        Oracle { witness: Witness::start(version, SCHEMA), session: None, patience: Duration::ZERO, apart: None }
    }

    /// Runs a row wherever it succeeds first. `Err` holds the first error.
    fn try_everywhere(&mut self, sql: &str, place: Place) -> Result<Outcome, String> {
        let mut first = String::new();
        self.apart = None;
        for prelude in PRELUDES {
            for stage in STAGES {
                let probed = if place == Place::Apart { Ok(()) } else { self.probe(sql, stage, prelude) };
                let tried = match probed {
                    // What cannot run in a transaction shows only in earnest.
                    Err(error) if !error.starts_with("25001") => Err(error),
                    Ok(()) | Err(_) => self.attempt(sql, place, stage, prelude),
                };
                match tried {
                    Ok(outcome) => return Ok(outcome),
                    Err(error) if hopeless(&error) => return Err(error),
                    Err(error) if first.is_empty() => first = error,
                    Err(_) => {}
                }
            }
            if !wants_prelude(&first) {
                break;
            }
        }
        Err(first)
    }

    /// Whether a row would succeed, as a cheap try that is rolled back.
    fn probe(&mut self, sql: &str, stage: &str, prelude: &str) -> Result<(), String> {
        let (mut raw, pid) = self.session.take().unwrap_or_else(|| self.witness.session());
        raw.query(&format!("BEGIN; SET LOCAL search_path = {stage}; SAVEPOINT s; {prelude}")).unwrap();
        let answer = witness::run(&mut raw, sql, has_parameters(sql)).unwrap_or_else(|lost| Err(lost.to_string()));
        let put_back = raw.query("ROLLBACK; DEALLOCATE ALL").and_then(|_| raw.query("CLOSE ALL"));
        if put_back.is_ok() {
            self.session = Some((raw, pid));
        }
        answer
    }

    fn attempt(&mut self, sql: &str, place: Place, stage: &str, prelude: &str) -> Result<Outcome, String> {
        let (mut raw, pid) = match place {
            Place::Apart => self.apart.take().unwrap_or_else(|| self.witness.session_apart()),
            Place::Alone | Place::Within => self.session.take().unwrap_or_else(|| self.witness.session()),
        };
        raw.query("DISCARD ALL").unwrap();
        raw.query(&format!("SET search_path = {stage}")).unwrap();
        raw.query(&format!("BEGIN; SAVEPOINT s; {prelude}")).unwrap();
        if place != Place::Within {
            raw.query("COMMIT").unwrap();
        }
        let before = (self.witness.world(&pid), witness::session(&mut raw));
        let answer = witness::run(&mut raw, sql, has_parameters(sql));
        let outcome = match answer {
            Ok(Ok(())) => {
                std::thread::sleep(self.patience);
                let after = (witness::session(&mut raw), self.witness.world(&pid));
                Ok(Outcome {
                    world: witness::differences(&before.0, &after.1),
                    session: witness::differences(&before.1, &after.0),
                })
            }
            Ok(Err(error)) => Err(error),
            Err(lost) => Err(format!("the connection was lost: {lost}")),
        };
        let reset = raw.query("ROLLBACK").and_then(|_| raw.query("DISCARD ALL"));
        self.witness.tidy();
        match place {
            Place::Alone | Place::Within if reset.is_ok() => self.session = Some((raw, pid)),
            Place::Apart if reset.is_ok() && outcome.is_err() => self.apart = Some((raw, pid)),
            Place::Alone | Place::Within | Place::Apart => {}
        }
        outcome
    }
}

/// Whether the text is one statement with parameters (`$1` outside of strings): then it goes by Parse.
fn has_parameters(sql: &str) -> bool {
    let dollar_quoted = sql.contains("$$") || sql.contains("$tag$");
    let digit = |at: usize| sql.as_bytes().get(at + 1).is_some_and(u8::is_ascii_digit);
    let prepares = ["PREPARE", "CREATE"].iter().any(|word| sql.starts_with(word));
    !dollar_quoted && !prepares && sql.match_indices('$').any(|(at, _)| digit(at))
}

/// Where a text is run first: what says that it changes nothing need not be put back.
fn places(reading: &Reading) -> Vec<Place> {
    let harmless = classes(reading).iter().all(changes_nothing);
    let own_transaction = reading.statements.iter().any(|statement| {
        matches!(statement.movement, Movement::OutsideTransaction | Movement::End { .. } | Movement::TwoPhase)
    });
    match (harmless, own_transaction) {
        (true, _) => vec![Place::Alone, Place::Within],
        (false, true) => vec![Place::Apart],
        (false, false) => vec![Place::Within],
    }
}

/// What a row did and does not say.
fn unsaid(outcome: &Outcome, reading: &Reading) -> Vec<String> {
    let classes = classes(reading);
    let mut unsaid = Vec::new();
    if classes.iter().all(changes_nothing) {
        let world = outcome.world.iter().filter(|(name, change)| !(**name == "locks" && only_planned(change, reading)));
        unsaid.extend(world.map(|(name, change)| format!("{name}: {change}")));
    }
    let session = outcome.session.iter().filter(|(name, change)| !is_said(name, change, &classes, reading));
    unsaid.extend(session.map(|(name, change)| format!("{name}: {change}")));
    unsaid
}

/// EXPLAIN takes the locks of what it plans, of those kinds that stop nobody from reading or writing.
fn only_planned(change: &str, reading: &Reading) -> bool {
    let explains = reading.effects.iter().any(|(effect, _)| effect.act == "EXPLAIN");
    let mut new = change.lines().filter_map(|line| line.strip_prefix('+')).flat_map(|line| line.split(", "));
    let mild = |lock: &str| lock.ends_with("RowExclusiveLock") || lock.ends_with("RowShareLock");
    explains && new.all(|lock| mild(lock) || lock.starts_with("advisory"))
}

/// Whether effects or movements tell of a change in the session.
fn is_said(name: &str, change: &str, classes: &BTreeSet<Class>, reading: &Reading) -> bool {
    let has = |wanted: &[Class]| wanted.iter().any(|class| classes.contains(class));
    let moves = |wanted: fn(&Movement) -> bool| reading.statements.iter().any(|statement| wanted(&statement.movement));
    match name {
        "settings" => change.lines().filter_map(|line| line.strip_prefix('+')).all(|line| {
            let (name, value) = line.split_once('=').unwrap();
            setting_is_said(name, value, &has)
        }),
        "prepared statements" => moves(|movement| {
            matches!(movement, Movement::Prepare { .. } | Movement::Deallocate { .. } | Movement::DiscardAll)
        }),
        // A cursor that a DO block opened goes with its transaction.
        "cursors" if change.lines().filter(|line| line.starts_with('+')).all(|line| line.ends_with(" f")) => true,
        "cursors" => moves(|movement| {
            matches!(
                movement,
                Movement::Declare { .. }
                    | Movement::ClosePortal { .. }
                    | Movement::DiscardAll
                    | Movement::End { .. }
                    | Movement::Savepoint { .. }
                    | Movement::TwoPhase
            )
        }),
        "channels" => has(&[Class::Notify, Class::SessionSetting]),
        "identity" => has(&[Class::SessionIdentity]) || sets_whatever(reading),
        "temporary schema" => has(&[Class::DdlAdditive, Class::Maintenance]),
        // A session that cannot be asked any more: a transaction that failed.
        _ => false,
    }
}

/// Whether a text sets a setting that an expression names: any, the identity among them.
fn sets_whatever(reading: &Reading) -> bool {
    reading.effects.iter().any(|(effect, _)| effect.class == Class::SessionPinned && effect.object.is_none())
}

fn setting_is_said(name: &str, value: &str, has: &dyn Fn(&[Class]) -> bool) -> bool {
    // A transaction's own settings go with it; the session watches over them.
    if name.starts_with("transaction_") && has(&[Class::Transaction, Class::TransactionTwoPhase]) {
        return true;
    }
    match settings::classify(name, settings::SettingValue::Constant(value)) {
        Class::SessionSetting => has(&[Class::SessionSetting, Class::SessionPinned, Class::SessionIdentity]),
        class => has(&[class]),
    }
}

/// What one version made of every row.
#[derive(Default)]
struct Report {
    executed: BTreeSet<usize>,
    changed: BTreeSet<usize>,
    failed: BTreeMap<usize, String>,
    wrong: Vec<String>,
}

fn judge_rows(version: Version, rows: &[(Row, Reading)]) -> Report {
    let mut oracle = Oracle::new(version);
    let mut report = Report::default();
    for (number, (row, reading)) in rows.iter().enumerate() {
        if classes(reading).iter().any(beyond) {
            continue;
        }
        if reading.syntax_error.is_some() {
            match oracle.attempt(&row.sql, Place::Within, "public", "") {
                Err(error) if error.starts_with("42601") => drop(report.executed.insert(number)),
                other => report.wrong.push(format!("{}: {} is not a syntax error: {other:?}", row.place, row.sql)),
            }
            continue;
        }
        for place in places(reading) {
            match oracle.try_everywhere(&row.sql, place) {
                Ok(outcome) => {
                    report.executed.insert(number);
                    if !outcome.world.is_empty() || !outcome.session.is_empty() {
                        report.changed.insert(number);
                    }
                    let unsaid = unsaid(&outcome, reading);
                    if !unsaid.is_empty() {
                        let told = unsaid.join("\n      ");
                        report.wrong.push(format!("{version:?} {place:?} {}: {}\n      {told}", row.place, row.sql));
                    }
                }
                Err(error) => drop(report.failed.insert(number, error)),
            }
        }
    }
    report
}

#[test]
fn what_a_statement_changes_its_effects_say() {
    let rows: Vec<(Row, Reading)> = rows::rows()
        .into_iter()
        .map(|row| {
            let reading = sql::read(&row.sql, &Limits::default()).unwrap();
            (row, reading)
        })
        .collect();
    let reports: Vec<Report> = std::thread::scope(|scope| {
        let runs = Version::ALL.map(|version| {
            scope.spawn({
                let rows = &rows;
                move || judge_rows(version, rows)
            })
        });
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    });
    let union =
        |of: fn(&Report) -> &BTreeSet<usize>| -> BTreeSet<usize> { reports.iter().flat_map(of).copied().collect() };
    let (executed, changed) = (union(|report| &report.executed), union(|report| &report.changed));
    let wrong: Vec<&str> = reports.iter().flat_map(|report| &report.wrong).map(String::as_str).collect();
    let beyond = rows.iter().filter(|(_, reading)| classes(reading).iter().any(beyond)).count();
    println!(
        "{} rows: {} executed, {} changed something, {beyond} left alone",
        rows.len(),
        executed.len(),
        changed.len()
    );
    assert!(wrong.is_empty(), "{} rows do what they do not say:\n{}", wrong.len(), wrong.join("\n"));

    let failed: BTreeMap<usize, &String> =
        reports.iter().flat_map(|report| &report.failed).map(|(at, why)| (*at, why)).collect();
    let failed = failed.into_iter().filter(|(at, _)| !executed.contains(at));
    let found = failed.map(|(at, why)| (rows[at].0.sql.replace('\n', "⏎"), why.clone())).collect();
    compare_unexecuted(&found);
}

/// Rows that did not run have to be listed, and nothing else. Those that only took too long may be listed or not: they are
/// loops without an end, or the machine was busy.
fn compare_unexecuted(found: &BTreeMap<String, String>) {
    let line = |(sql, why): (&String, &String)| format!("{} | {sql}", why.replace('\n', " "));
    if std::env::var_os("UPDATE_ORACLE").is_some() {
        let head = "# Rows of tests/data/effects that neither server could run, with what the server said. This list only shrinks.";
        let lines: Vec<String> = found.iter().map(line).collect();
        std::fs::write(UNEXECUTED, format!("{head}\n{}\n", lines.join("\n"))).unwrap();
    }
    let text = std::fs::read_to_string(UNEXECUTED).unwrap_or_default();
    let listed: BTreeSet<&str> = text.lines().filter_map(|line| Some(line.split_once(" | ")?.1)).collect();
    let refused = found.iter().filter(|(_, why)| !why.starts_with("57014"));
    let new: Vec<String> = refused.filter(|(sql, _)| !listed.contains(sql.as_str())).map(line).collect();
    let gone: Vec<&&str> = listed.iter().filter(|sql| !found.contains_key(**sql)).collect();
    assert!(
        new.is_empty(),
        "{} rows cannot be run, and {UNEXECUTED} does not list them:\n{}",
        new.len(),
        new.join("\n")
    );
    assert!(gone.is_empty(), "rows in {UNEXECUTED} that run, or are rows no longer: {gone:#?}");
}

#[test]
fn the_oracle_sees_what_it_should_see() {
    let mut oracle = Oracle::new(Version::V15);
    let cases: [(&str, &str); 14] = [
        ("INSERT INTO t (id) VALUES (99)", "transactions"),
        ("SELECT pg_current_xact_id()", "transactions"),
        ("SELECT lo_create(0)", "transactions"),
        ("SELECT pg_logical_emit_message(false, 'x', 'y')", "wal"),
        ("SELECT pg_reload_conf()", "configuration"),
        ("SELECT pg_advisory_lock(1)", "locks"),
        ("BEGIN; LOCK TABLE t IN ROW EXCLUSIVE MODE", "locks"),
        ("ALTER SYSTEM SET work_mem = '5MB'", "files"),
        ("BEGIN; SELECT pg_export_snapshot()", "files"),
        ("SELECT pg_log_backend_memory_contexts(pg_backend_pid())", "server log"),
        ("SELECT pg_stat_reset()", "statistics' ages"),
        (
            "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(86400)'",
            "other backends",
        ),
        ("LISTEN x", "channels"),
        ("SET work_mem = '5MB'", "settings"),
    ];
    for (sql, fact) in cases {
        // Signals take their time.
        let seen = (0..20).any(|round| {
            oracle.patience = Duration::from_millis(round * 50);
            let outcome =
                oracle.attempt(sql, Place::Apart, "public", "").unwrap_or_else(|error| panic!("{sql}: {error}"));
            outcome.world.contains_key(fact) || outcome.session.contains_key(fact)
        });
        assert!(seen, "{sql} does not show as {fact}");
    }
    for sql in ["SELECT count(*) FROM t, pg_class", "SELECT 1"] {
        let outcome = oracle.attempt(sql, Place::Apart, "public", "").unwrap();
        assert!(outcome.world.is_empty() && outcome.session.is_empty(), "{sql}: {outcome:?}");
    }
}
