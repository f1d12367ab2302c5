//! The drivers' own test suites, directly and through pgwarden: the same tests pass.
//!
//! `make driver-suites` runs it. The suites are not part of this project: psycopg2's and asyncpg's come in their packages' sources
//! (`scripts/install.sh suites`), the others from checkouts below a folder that `SOURCES=…` names. Three fresh servers a suite: two are
//! asked directly, so that what passes only now and then is known, and the third through pgwarden. A fourth run goes through a read-only
//! session, beside one on a server whose transactions are read-only by default.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "driver_suites/page.rs"]
mod page;
#[path = "driver_suites/suite.rs"]
mod suite;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use suite::{Outcome, Outcomes, SUITES, Suite, Target};
use support::proxy::{database, user};
use support::{PASSWORD, Pgwarden, Postgres, SUPERUSER, Version};

/// The database that the suites work in.
const DATABASE: &str = "postgres";
/// Those that pgwarden knows: some tests ask another one, or create it first.
const DATABASES: [&str; 4] = [DATABASE, "template1", "testdb", "asyncpg_intro_test"];

/// What a suite came to.
struct Found {
    suite: &'static Suite,
    version: String,
    unrestricted: Option<Comparison>,
    read_only: Option<Comparison>,
}

/// A suite without and with pgwarden.
struct Comparison {
    /// Tests that passed, failed or were skipped in the first direct run.
    tests: usize,
    /// Those that passed in both direct runs.
    direct: usize,
    /// How many of these passed through pgwarden.
    through: usize,
    /// The others, and what they said.
    different: BTreeMap<String, String>,
    /// Tests that pass in one direct run and not in the other.
    restless: BTreeSet<String>,
}

/// Without and with pgwarden; `direct` are two runs.
fn compare(direct: &[Outcomes; 2], through: &Outcomes) -> Comparison {
    let passed = |outcomes: &Outcomes| -> BTreeSet<String> {
        outcomes.iter().filter(|(_, outcome)| **outcome == Outcome::Passed).map(|(name, _)| name.clone()).collect()
    };
    let [one, other] = direct.each_ref().map(passed);
    let both: BTreeSet<&String> = one.intersection(&other).collect();
    let here = passed(through);
    let said = |name: &String| match through.get(name) {
        None => format!("was not run{}", ended(name, through)),
        Some(Outcome::Passed) => "passed".to_owned(),
        Some(Outcome::Skipped(why)) => format!("skipped: {why}"),
        Some(Outcome::Failed(why)) => why.clone(),
    };
    Comparison {
        tests: direct[0].len(),
        direct: both.len(),
        through: both.iter().filter(|name| here.contains(**name)).count(),
        different: both
            .iter()
            .filter(|name| !here.contains(**name))
            .map(|name| ((*name).clone(), said(name)))
            .collect(),
        restless: one.symmetric_difference(&other).cloned().collect(),
    }
}

/// Why the file of a test ended before it came to the test.
fn ended(test: &str, outcomes: &Outcomes) -> String {
    let file = test.split(": ").next().and_then(|file| outcomes.get(file));
    if let Some(Outcome::Failed(why)) = file { format!(", its file ended: {why}") } else { String::new() }
}

/// pgwarden before a server, with one role for everything.
fn pgwarden(server: &Postgres, policy: &str) -> Pgwarden {
    let databases = DATABASES.map(|name| database(name, &server.url(name), &server.url(name)));
    Pgwarden::start(&format!(
        "[environments.production.roles]\nall = {{ policy = \"{policy}\", endpoint = \"direct\" }}\n{}{}",
        databases.concat(),
        user(SUPERUSER, PASSWORD, "production = \"all\"")
    ))
}

/// Runs a suite three times.
fn run(suite: &Suite, source: &Path, policy: &str) {
    let read_only: &[&str] = if policy == "read-only" { &["default_transaction_read_only=on"] } else { &[] };
    let direct = [suite.settings, read_only].concat();
    let servers = [&direct[..], &direct, suite.settings].map(|settings| Postgres::start_with(Version::V15, settings));
    let pgwarden = pgwarden(&servers[2], policy);
    std::thread::scope(|scope| {
        let asked = |port: u16, path: &'static str| {
            scope.spawn(move || {
                let log = (suite.run)(source, &Target { port });
                std::fs::write(log_of(suite, policy, path), log).unwrap();
            });
        };
        asked(servers[0].port(), PATHS[0]);
        asked(servers[1].port(), PATHS[1]);
        asked(pgwarden.port(), PATHS[2]);
    });
}

/// Without pgwarden twice, and through it.
const PATHS: [&str; 3] = ["direct", "direct-again", "pgwarden"];

/// What the last run of a suite printed.
fn log_of(suite: &Suite, policy: &str, path: &str) -> PathBuf {
    support::folder().join(format!("driver-suite-{}-{policy}-{path}.log", suite.name))
}

/// What the last runs of a suite came to; `None` where one is missing or was not finished.
fn last(suite: &Suite, policy: &str) -> Option<Comparison> {
    let outcomes = |path| (suite.outcomes)(&String::from_utf8_lossy(&std::fs::read(log_of(suite, policy, path)).ok()?));
    let [one, other, through] = PATHS.map(outcomes);
    Some(compare(&[one?, other?], &through?))
}

fn last_found(suite: &'static Suite, sources: Option<&Path>) -> Option<Found> {
    let source = suite.source(sources)?;
    let [unrestricted, read_only] = ["unrestricted", "read-only"].map(|policy| last(suite, policy));
    Some(Found { suite, version: (suite.version)(&source), unrestricted, read_only })
}

/// Why tests differ, as `explained.tsv` has it: a name that ends in `*` stands for all that begin so.
struct Explained(Vec<[&'static str; 4]>);

impl Explained {
    /// The reason, if there is one.
    fn of(&self, suite: &str, policy: &str, test: &str) -> Option<&'static str> {
        let named = |pattern: &str| pattern.strip_suffix('*').map_or(pattern == test, |start| test.starts_with(start));
        self.0.iter().find(|row| row[0] == suite && row[1] == policy && named(row[2])).map(|row| row[3])
    }
}

fn explained() -> Explained {
    let text = include_str!("clients/driver-suites/explained.tsv");
    let row = |line: &'static str| -> [&'static str; 4] {
        let cells: Vec<&str> = line.split('\t').collect();
        cells.try_into().unwrap_or_else(|_| panic!("explained.tsv: {line}"))
    };
    Explained(text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(row).collect())
}

#[test]
fn drivers_own_suites_pass_the_same_through_pgwarden() {
    let Some(wanted) = std::env::var_os("PGWARDEN_DRIVER_SUITES") else { return };
    let wanted = wanted.to_string_lossy().into_owned();
    let sources = std::env::var_os("PGWARDEN_SUITE_SOURCES").map(PathBuf::from);
    let explained = explained();
    let names: Vec<&str> = wanted.split(',').collect();
    let run_now: Vec<&Suite> = SUITES.iter().filter(|suite| wanted == "all" || names.contains(&suite.name)).collect();
    std::thread::scope(|scope| {
        for suite in run_now {
            match suite.source(sources.as_deref()) {
                Some(source) => {
                    drop(scope.spawn(move || ["unrestricted", "read-only"].map(|policy| run(suite, &source, policy))))
                }
                None => println!("{}: no source here", suite.name),
            }
        }
    });
    let found: Vec<Found> = SUITES.iter().filter_map(|suite| last_found(suite, sources.as_deref())).collect();
    let page = page::page(&found, &explained, &support::versions());
    std::fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/suites.md"), page).unwrap();
    let unexplained: Vec<String> = found.iter().flat_map(|one| told(one, &explained)).collect();
    assert!(!found.is_empty(), "no suite was run");
    assert!(unexplained.is_empty(), "{} tests differ without an explanation: {unexplained:#?}", unexplained.len());
}

/// Prints what a suite came to; returns the tests whose difference nothing explains.
fn told(found: &Found, explained: &Explained) -> Vec<String> {
    let mut left = Vec::new();
    for (policy, comparison) in [("unrestricted", &found.unrestricted), ("read-only", &found.read_only)] {
        let name = found.suite.name;
        let Some(Comparison { tests, direct, through, different, restless }) = comparison else {
            left.push(format!("{name} {policy}: was not run to its end"));
            continue;
        };
        println!(
            "{} {policy}: {tests} tests, {direct} pass directly, {through} of them through pgwarden",
            found.version
        );
        restless.iter().for_each(|test| println!("  now and then directly: {test}"));
        assert!(*direct > 0, "{name}: nothing passed");
        for (test, said) in different {
            println!("  {test}: {said}");
            let known = explained.of(name, policy, test).is_some();
            if !(known || policy == "read-only" && page::refused(said)) {
                left.push(format!("{name} {policy} {test}: {said}"));
            }
        }
    }
    left
}
