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

/// What a suite came to.
struct Found {
    suite: &'static Suite,
    version: String,
    unrestricted: Comparison,
    read_only: Comparison,
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
        None => "was not run".to_owned(),
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

/// pgwarden before a server, with one role for everything.
fn pgwarden(server: &Postgres, policy: &str) -> Pgwarden {
    let behind = server.url(DATABASE);
    Pgwarden::start(&format!(
        "[environments.production.roles]\nall = {{ policy = \"{policy}\", endpoint = \"direct\" }}\n{}{}",
        database(DATABASE, &behind, &behind),
        user(SUPERUSER, PASSWORD, "production = \"all\"")
    ))
}

/// Runs a suite three times.
fn run(suite: &Suite, source: &Path, policy: &str) -> Comparison {
    let read_only = policy == "read-only";
    let servers = [(); 3].map(|()| Postgres::start_with(Version::V15, suite.settings));
    let pgwarden = pgwarden(&servers[2], policy);
    let options = if read_only { "-c default_transaction_read_only=on" } else { "" };
    let [one, other, through] = std::thread::scope(|scope| {
        let asked = |port: u16, options: &'static str, path: &str| {
            let log = format!("driver-suite-{}-{policy}-{path}.log", suite.name);
            scope.spawn(move || (suite.run)(source, &Target { port, options, log: &log }))
        };
        [
            asked(servers[0].port(), options, "direct"),
            asked(servers[1].port(), options, "direct-again"),
            asked(pgwarden.port(), "", "pgwarden"),
        ]
        .map(|run| run.join().unwrap())
    });
    compare(&[one, other], &through)
}

/// Why a test differs, as `explained.tsv` has it: suite, policy, test, reason.
fn explained() -> BTreeMap<(String, String, String), String> {
    let text = include_str!("clients/driver-suites/explained.tsv");
    let row = |line: &str| {
        let cells: Vec<&str> = line.split('\t').collect();
        let [suite, policy, test, reason] = cells[..] else { panic!("explained.tsv: {line}") };
        ((suite.to_owned(), policy.to_owned(), test.to_owned()), reason.to_owned())
    };
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(row).collect()
}

#[test]
fn drivers_own_suites_pass_the_same_through_pgwarden() {
    let Some(wanted) = std::env::var_os("PGWARDEN_DRIVER_SUITES") else { return };
    let wanted = wanted.to_string_lossy().into_owned();
    let sources = std::env::var_os("PGWARDEN_SUITE_SOURCES").map(PathBuf::from);
    let explained = explained();
    let mut found = Vec::new();
    let mut unexplained = Vec::new();
    for suite in SUITES.iter().filter(|suite| wanted == "all" || wanted.split(',').any(|name| name == suite.name)) {
        let Some(source) = suite.source(sources.as_deref()) else {
            println!("{}: no source here", suite.name);
            continue;
        };
        let [unrestricted, read_only] = ["unrestricted", "read-only"].map(|policy| run(suite, &source, policy));
        let one = Found { suite, version: (suite.version)(&source), unrestricted, read_only };
        unexplained.extend(told(&one, &explained));
        found.push(one);
    }
    if wanted == "all" {
        let page = page::page(&found, &explained, &support::versions());
        std::fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/suites.md"), page).unwrap();
    }
    assert!(!found.is_empty(), "no suite was run");
    assert!(unexplained.is_empty(), "{} tests differ without an explanation: {unexplained:#?}", unexplained.len());
}

/// Prints what a suite came to; returns the tests whose difference nothing explains.
fn told(found: &Found, explained: &BTreeMap<(String, String, String), String>) -> Vec<String> {
    let mut left = Vec::new();
    for (policy, comparison) in [("unrestricted", &found.unrestricted), ("read-only", &found.read_only)] {
        let Comparison { tests, direct, through, different, restless } = comparison;
        let name = found.suite.name;
        println!(
            "{} {policy}: {tests} tests, {direct} pass directly, {through} of them through pgwarden",
            found.version
        );
        restless.iter().for_each(|test| println!("  now and then directly: {test}"));
        assert!(*direct > 0, "{name}: nothing passed");
        for (test, said) in different {
            println!("  {test}: {said}");
            let known = explained.contains_key(&(name.to_owned(), policy.to_owned(), test.clone()));
            if !known && !(policy == "read-only" && page::refused(said)) {
                left.push(format!("{name} {policy} {test}: {said}"));
            }
        }
    }
    left
}
