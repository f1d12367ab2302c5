//! Generated and differential tests of the readers: statements out of a grammar that reaches every node of PostgreSQL's, and the
//! rows of the decision tables written otherwise.
//!
//! `make test` runs thousands, always the same ones. `make fuzz SECONDS=600 SEED=7` runs as many others as fit, on real servers
//! too, and sqlsmith's beside its own. A hole found becomes a row of `tests/data/effects` or `tests/data/catalog`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "fuzz/generate.rs"]
mod generate;
#[path = "fuzz/mutate.rs"]
mod mutate;
#[path = "fuzz/scripts.rs"]
mod scripts;
#[path = "fuzz/server.rs"]
mod server;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use generate::{Dice, Grammar};
use mutate::Names;
use pgwarden::config::{self, Config};
use pgwarden::decision::{Door, Judgement, Scope};
use pgwarden::sql::{self, Class, Effect, Limits, Movement, Reading};

const GRAMMAR: &str = include_str!("fuzz/grammar.txt");
/// Statements of a run of `make test`.
const FEW: usize = 6_000;

/// The seconds and the seed that `make fuzz` gives.
fn asked() -> Option<(Duration, u64)> {
    let number = |name: &str| std::env::var(name).ok()?.parse().ok();
    Some((Duration::from_secs(number("PGWARDEN_FUZZ_SECONDS")?), number("PGWARDEN_FUZZ_SEED").unwrap_or(1)))
}

/// Runs a check for so many seeds as `make test` takes, or for as long as `make fuzz` says.
fn repeat(few: usize, mut check: impl FnMut(&mut Dice)) {
    let (time, seed) = asked().unwrap_or((Duration::ZERO, 0));
    let since = Instant::now();
    let mut count = 0;
    while count < few || since.elapsed() < time {
        check(&mut Dice((seed << 32) + count as u64));
        count += 1;
    }
    println!("{count} statements in {:.1} s", since.elapsed().as_secs_f64());
}

fn classes(effects: &[Effect]) -> BTreeSet<Class> {
    effects.iter().map(|effect| effect.class).collect()
}

fn union(reading: &Reading) -> BTreeSet<Class> {
    reading.effects.iter().map(|(effect, _)| effect.class).collect()
}

/// What an effect is, beside its words.
fn things(effects: &[Effect]) -> BTreeSet<(Class, Option<sql::Object>)> {
    effects.iter().map(|effect| (effect.class, effect.object.clone())).collect()
}

/// The kind of a statement: its first words, or the first alone where the second is not the grammar's.
fn kind(sql: &str) -> String {
    let mut words = sql.split(|c: char| !c.is_ascii_alphabetic()).filter(|word| !word.is_empty());
    let first = words.next().unwrap_or_default().to_ascii_uppercase();
    let alone =
        ["SELECT", "WITH", "VALUES", "SET", "RESET", "SHOW", "TABLE", "EXECUTE", "CALL", "LOAD", "DO", "CLUSTER"];
    match words.next() {
        Some(second) if !alone.contains(&first.as_str()) && second.len() > 1 => {
            format!("{first} {}", second.to_ascii_uppercase())
        }
        _ => first,
    }
}

const POLICIES: &str = "[databases.shop]\nenvironment = \"production\"\ndirect = \"postgres://u:p@127.0.0.1/shop\"\n\
        [environments.production.roles]\napp = { policy = \"application\", endpoint = \"direct\" }\n\
        studio = { policy = \"read-only\", endpoint = \"direct\" }\n";

/// A role's scope that has judged nothing.
fn scope(role: &str) -> Arc<Scope> {
    static CONFIG: LazyLock<Arc<Config>> =
        LazyLock::new(|| Arc::new(config::parse(POLICIES, Path::new("pgwarden.toml"), &|_| None).unwrap()));
    Door::new(Arc::clone(&CONFIG)).scope_of("production", role).unwrap()
}

/// What the session does by a judgement.
fn told(judgement: &Judgement) -> String {
    let Judgement { refusal, rule, notices, statements, effects_json, readers, class, .. } = judgement;
    format!("{refusal:?} {rule} {notices:?} {statements:?} {effects_json:?} {readers:?} {class:?}")
}

#[test]
fn every_reading_says_something() {
    let grammar = Grammar::read(GRAMMAR);
    let mut unread = 0;
    let mut unknown = BTreeMap::new();
    repeat(FEW, |dice| {
        let text = grammar.text("statement", dice);
        let postgres = sql::postgres::read(&text);
        let reading = sql::read(&text, &Limits::default()).unwrap();
        // What EXECUTE does is what the statement of that name does, which the session knows.
        let follows = |statement: &sql::Statement| matches!(statement.movement, Movement::Execute { .. });
        let silent = reading.effects.is_empty() && !reading.statements.iter().all(follows);
        assert!(!silent, "silence about {text}");
        let seen = union(&reading);
        assert!(classes(&postgres.effects).is_subset(&seen), "{text}");
        match &postgres.syntax_error {
            Some(_) => {
                unread += 1;
                assert!(seen.contains(&Class::Unparsed), "{text}");
            }
            None if seen.contains(&Class::Unknown) => drop(unknown.entry(kind(&text)).or_insert(text)),
            None => assert!(!seen.contains(&Class::Unparsed), "{text}"),
        }
    });
    println!("PostgreSQL's grammar refuses {unread}; kinds that are partly unknown: {unknown:#?}");
}

/// The nodes of the grammar's tree that the walker knows, out of its own source; those of the last arm are never made.
fn nodes_of_the_grammar() -> BTreeSet<&'static str> {
    let source = include_str!("../src/sql/postgres/walker.rs");
    let made = source.split("a node that the grammar does not make").next().unwrap();
    let (walked, unmade) = made.rsplit_once("\n\n").unwrap();
    let names = |text: &'static str| {
        text.split("N::").skip(1).map(|rest| rest.split(|c: char| !c.is_alphanumeric()).next().unwrap())
    };
    let unmade: BTreeSet<&str> = names(unmade).collect();
    names(walked).filter(|name| !unmade.contains(name)).collect()
}

/// Nodes that no text holds: PL/pgSQL's own parser makes the one, analysis in the server the other.
const NOT_WRITTEN: &[&str] = &["PlassignStmt", "PartitionRangeDatum"];

#[test]
fn the_grammar_reaches_every_node() {
    let grammar = Grammar::read(GRAMMAR);
    let mut left = nodes_of_the_grammar();
    assert!(left.len() > 180, "{}", left.len());
    left.retain(|name| !NOT_WRITTEN.contains(name));
    for seed in 0..40_000 {
        if left.is_empty() {
            return;
        }
        let text = grammar.text("statement", &mut Dice(seed));
        let Ok(tree) = pg_query::parse(&text, pg_query::ParserOptions::DEFAULT) else { continue };
        // As the node itself, or as the field of another one.
        let told = format!("{:?}", tree.protobuf).to_ascii_lowercase();
        let has = |name: &str| told.contains(&format!("{name}(")) || told.contains(&format!("{name} {{"));
        left.retain(|name| !has(&name.to_ascii_lowercase()));
    }
    panic!("not reached: {left:?}");
}

#[test]
fn by_shape_is_what_reading_gives() {
    let grammar = Grammar::read(GRAMMAR);
    let warm = ["app", "studio"].map(|role| (role, scope(role)));
    repeat(1_500, |dice| {
        let text = grammar.text(if dice.below(3) == 0 { "dml" } else { "query" }, dice);
        let Some(next) = mutate::refilled(&text, dice) else { return };
        for (role, warm) in &warm {
            warm.judge(&text);
            let found = told(&warm.judge(&next));
            let alone = told(&scope(role).judge(&next));
            assert_eq!(found, alone, "{text}\n{next}");
        }
    });
}

/// Rows of the decision tables: SQL.
fn rows() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/effects");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let texts = files.iter().map(|file| std::fs::read_to_string(file).unwrap());
    let row = |line: &&str| !line.is_empty() && !line.starts_with(['#', '=']);
    texts.flat_map(|text| text.lines().filter(row).map(|line| line.replace('⏎', "\n")).collect::<Vec<_>>()).collect()
}

#[test]
fn spelling_changes_nothing() {
    let rows = rows();
    let mut next = rows.iter().cycle();
    let mut read = 0;
    repeat(rows.len() * 3, |dice| {
        let row = next.next().unwrap();
        let plain = sql::postgres::read(row);
        if plain.syntax_error.is_some() {
            return;
        }
        let names = *dice.pick(&[Names::Case, Names::Quoted, Names::Escaped]);
        let Some(other) = mutate::respelt(row, names, dice) else { return };
        let reading = sql::postgres::read(&other);
        // A quoted word is not always what the word is: `PROGRAM`, `STDOUT` and the like are read as names then.
        if reading.syntax_error.is_some() && names != Names::Case {
            return;
        }
        read += 1;
        assert_eq!(things(&plain.effects), things(&reading.effects), "{row}\n{other}");
        let both = sql::read(&other, &Limits::default()).unwrap();
        assert!(classes(&plain.effects).is_subset(&union(&both)), "{other}");
    });
    assert!(read > rows.len(), "{read}");
}

/// Whether a reading says that a statement changes nothing.
fn is_harmless(reading: &Reading) -> bool {
    reading.effects.iter().all(|(effect, _)| matches!(effect.class, Class::Read | Class::FunctionSafe))
}

#[tokio::test]
async fn what_is_read_as_harmless_changes_nothing() {
    for version in support::Version::ALL {
        let mut arena = server::Arena::open(version).await;
        let mut grammar = Grammar::read(GRAMMAR);
        grammar.replace("builtin", &arena.functions().await);
        let (time, seed) = asked().unwrap_or((Duration::ZERO, 0));
        let (since, mut count) = (Instant::now(), 0);
        while count < 1_200 || since.elapsed() < time / 2 {
            let mut dice = Dice((seed << 32) + count);
            let name = *dice.pick(&["query", "query", "builtin_call", "harmless", "statement"]);
            let text = grammar.text(name, &mut dice);
            count += 1;
            arena.try_out(&text).await;
        }
        arena.report(count, since.elapsed());
    }
}

/// Statements of sqlsmith's, out of the catalog of the server that they are run on.
#[tokio::test]
#[ignore = "make fuzz runs it: it needs sqlsmith"]
async fn sqlsmiths_statements_are_read_for_what_they_do() {
    let (time, seed) = asked().unwrap_or((Duration::from_secs(20), 1));
    let mut arena = server::Arena::open(support::Version::V15).await;
    let (since, mut count) = (Instant::now(), 0);
    for round in 0.. {
        let target = format!("--target={}", arena.connection());
        let seed = format!("--seed={}", (seed << 20) + round);
        let made = Command::new("sqlsmith").args([&target, &seed, "--dry-run", "--max-queries=200"]).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let text = String::from_utf8(made.stdout).unwrap();
        for statement in text.split(";\n").map(str::trim).filter(|statement| !statement.is_empty()) {
            let reading = sql::read(statement, &Limits::default()).unwrap();
            assert!(!reading.effects.is_empty(), "silence about {statement}");
            assert!(!union(&reading).contains(&Class::Unknown), "{statement}");
            arena.try_out(statement).await;
            count += 1;
        }
        if since.elapsed() > time {
            break;
        }
    }
    arena.report(count, since.elapsed());
}

/// PostgreSQL's own scripts, statement by statement: what is read as harmless changes nothing, whatever the others made.
#[tokio::test]
#[ignore = "make regression-report runs it: it needs PostgreSQL's scripts"]
async fn postgres_own_scripts_do_what_is_read() {
    let mut files = scripts::files();
    files.sort_by_key(|file| !file.ends_with("test_setup.sql"));
    for version in support::Version::ALL {
        let mut arena = server::Arena::open(version).await;
        let (since, mut count) = (Instant::now(), 0);
        for file in &files {
            arena.reconnect().await;
            for statement in scripts::statements(file) {
                arena.play(&statement).await;
                count += 1;
            }
        }
        arena.report(count, since.elapsed());
    }
}

/// What one reader sees in a text and the other does not; nothing where one of them cannot read it.
fn differences(text: &str) -> Vec<String> {
    let (postgres, generic) = (sql::postgres::read(text), sql::generic::read(text));
    if postgres.syntax_error.is_some() || !generic.read {
        return Vec::new();
    }
    let (seen, also) = (classes(&postgres.effects), classes(&generic.effects));
    let alone = |reader: &str, class: &Class| format!("{reader} alone sees {}", class.name());
    let first = seen.difference(&also).map(|class| alone("postgres", class));
    first.chain(also.difference(&seen).map(|class| alone("sqlparser", class))).collect()
}

/// The list may only shrink: what is new is a mistake of a reader, and what is gone has to go. After a reader was changed for the
/// better, `UPDATE_DISAGREEMENTS=1 cargo test --test fuzz` writes the list anew.
#[test]
fn the_readers_disagree_where_it_is_listed() {
    let mut found = BTreeSet::new();
    for row in rows() {
        let row_of = |how: String| format!("row | {how} | {}", row.replace('\n', "⏎"));
        found.extend(differences(&row).into_iter().map(row_of));
    }
    let grammar = Grammar::read(GRAMMAR);
    // By kind: how often sqlparser reads what PostgreSQL's grammar reads, and the other way round.
    let mut reads: BTreeMap<String, [usize; 4]> = BTreeMap::new();
    for seed in 0..FEW as u64 {
        let text = grammar.text("statement", &mut Dice(seed));
        let kind = kind(&text);
        found.extend(differences(&text).into_iter().map(|how| format!("kind | {how} | {kind}")));
        let reader = (sql::postgres::read(&text).syntax_error.is_none(), sql::generic::read(&text).read);
        let counts = reads.entry(kind).or_default();
        counts[usize::from(reader.0) * 2 + usize::from(reader.1)] += 1;
    }
    for (kind, [_, sqlparser, postgres, both]) in &reads {
        if *postgres > 0 && *both == 0 {
            found.insert(format!("unread | sqlparser reads none that PostgreSQL's grammar reads | {kind}"));
        }
        if *sqlparser > 0 {
            found.insert(format!("unread | sqlparser reads some that PostgreSQL's grammar refuses | {kind}"));
        }
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/disagreements.txt");
    let head = "# Where the readers disagree: rows of tests/data/effects, and kinds of generated statements. May only shrink.\n";
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    if std::env::var_os("UPDATE_DISAGREEMENTS").is_some() {
        let lines: Vec<&str> = found.iter().map(String::as_str).collect();
        return std::fs::write(&path, format!("{head}{}\n", lines.join("\n"))).unwrap();
    }
    let listed: BTreeSet<String> =
        written.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect();
    let new: Vec<_> = found.difference(&listed).collect();
    let gone: Vec<_> = listed.difference(&found).collect();
    assert!(new.is_empty() && gone.is_empty(), "new: {new:#?}\ngone, to be taken off the list: {gone:#?}");
}
