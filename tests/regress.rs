//! PostgreSQL's own regression SQL, directly and through pgwarden: with the role `unrestricted` no difference, and in a read-only session
//! none but refusals ([`read_only`]).
//!
//! `make regress SOURCE=…` runs it, SOURCE being `src/test/regress` of PostgreSQL or a folder of its `.sql` files; without a
//! source there is nothing to run. Three fresh servers: two are asked
//! directly, so that what differs between any two runs is known and left out, and the third through pgwarden.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/raw.rs"]
mod raw;
#[path = "regress/read_only.rs"]
mod read_only;
#[path = "fuzz/scripts.rs"]
#[allow(dead_code, reason = "the folder of scripts is for others")]
mod scripts;
mod support;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::proxy::{database, user};
use support::{PASSWORD, Pgwarden, Postgres, Version};

/// Where the suite is, if there is one.
fn source() -> Option<PathBuf> {
    std::env::var_os("PGWARDEN_REGRESS").map(PathBuf::from)
}

/// A server with the suite's database, as pg_regress makes it.
fn server() -> Postgres {
    let server = Postgres::start(Version::V15);
    server.rows("postgres", "create database regression template template0 encoding 'UTF8'");
    let settings = ["lc_messages to 'C'", "timezone_abbreviations to 'Default'"];
    for setting in settings {
        server.rows("postgres", &format!("alter database regression set {setting}"));
    }
    server
}

/// How long one file may run: the longest takes some seconds.
const DEADLINE_SECONDS: &str = "300";

/// The files in the order of `parallel_schedule`, one after the other; without a schedule in the order of their names, those
/// that others build on first.
fn schedule(source: &Path) -> Vec<PathBuf> {
    if let Ok(text) = std::fs::read_to_string(source.join("parallel_schedule")) {
        let groups = text.lines().filter_map(|line| line.strip_prefix("test:"));
        let file = |name: &str| source.join("sql").join(format!("{name}.sql"));
        return groups.flat_map(str::split_whitespace).map(file).collect();
    }
    let mut files: Vec<PathBuf> = std::fs::read_dir(source).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "sql"));
    let first = |file: &Path| {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        (name != "test_setup", !name.starts_with("create_"), name)
    };
    files.sort_by_key(|file| first(file));
    files
}

/// What psql prints for a file: everything that pg_regress compares.
fn output(url: &str, source: &Path, file: &Path) -> String {
    let work = support::folder();
    let done = Command::new("timeout")
        .args([DEADLINE_SECONDS, "psql", "-X", "-a", "-q", "-d", url, "-f"])
        .arg(file)
        .env("PGTZ", "America/Los_Angeles")
        .env("PGDATESTYLE", "Postgres, MDY")
        .env("PG_ABS_SRCDIR", source)
        .env("PG_ABS_BUILDDIR", work)
        .env("PG_LIBDIR", "/usr/lib/postgresql/15/lib")
        .env("PG_DLSUFFIX", ".so")
        .current_dir(source)
        .output()
        .unwrap();
    format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr))
}

/// Without what any run has of its own: the server's port and longer numbers (process and object ids, times, sizes), and the line
/// that psql is at when a notice comes that was sent while it sends rows.
fn plain(text: &str) -> Vec<String> {
    let line = |line: &str| {
        let mut out = String::new();
        let mut digits = String::new();
        for c in line.chars().chain(['\n']) {
            if c.is_ascii_digit() {
                digits.push(c);
                continue;
            }
            out.push_str(if digits.len() > 4 { "N" } else { &digits });
            digits.clear();
            out.push(c);
        }
        if let Some((_, notice)) = out.split_once(": NOTICE: ").filter(|_| out.starts_with("psql:")) {
            out = format!("NOTICE: {notice}");
        }
        out.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    text.lines().filter(|line| !hints_at_locks(line)).map(line).collect()
}

/// pgwarden's own notice before what holds a lock that others wait for: it is meant, and no statement goes otherwise for it.
fn hints_at_locks(line: &str) -> bool {
    line.contains("NOTICE:  pgwarden: ") && line.contains(" blocks others under load: ")
}

/// The lines of `found` that are in neither of two direct runs, and those of both direct runs that are not in `found`.
fn differences(direct: [&[String]; 2], found: &[String]) -> Vec<String> {
    let [one, other]: [HashSet<&String>; 2] = direct.map(|lines| lines.iter().collect());
    let here: HashSet<&String> = found.iter().collect();
    let more = found.iter().filter(|line| !one.contains(line) && !other.contains(line)).map(|line| format!("+ {line}"));
    let both = direct[0].iter().filter(|line| other.contains(line));
    let less = both.filter(|line| !here.contains(line)).map(|line| format!("- {line}"));
    more.chain(less).collect()
}

#[test]
fn postgres_regression_sql_is_the_same_through_pgwarden() {
    let Some(source) = source() else { return };
    let servers = [server(), server(), server()];
    let behind = servers[2].url("regression");
    let pgwarden = Pgwarden::start(&format!(
        "[environments.production.roles]\nall = {{ policy = \"unrestricted\", endpoint = \"direct\" }}\n{}{}",
        database("regression", &behind, &behind),
        user(support::SUPERUSER, PASSWORD, "production = \"all\"")
    ));
    let urls = [
        servers[0].url("regression"),
        servers[1].url("regression"),
        pgwarden.url(support::SUPERUSER, PASSWORD, "regression") + "?sslmode=disable",
    ];
    let mut failed = Vec::new();
    let (mut files, mut lines) = (0, 0);
    for file in schedule(&source) {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        let [one, other, found] = std::thread::scope(|scope| {
            let runs = urls.each_ref().map(|url| scope.spawn(|| plain(&output(url, &source, &file))));
            runs.map(|run| run.join().unwrap())
        });
        let different = differences([&one, &other], &found);
        (files, lines) = (files + 1, lines + found.len());
        if !different.is_empty() || one.len() == other.len() && one.len() != found.len() {
            println!("{name}: {} lines directly, {} through pgwarden", one.len(), found.len());
            different.iter().take(20).for_each(|line| println!("  {line}"));
            failed.push(name);
        }
    }
    println!("{files} files, {lines} lines of output, {} differ", failed.len());
    assert_eq!(failed, Vec::<String>::new());
}
