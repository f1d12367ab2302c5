//! The servers that the tests and the demo bring up: they start, do as told, and leave nothing behind.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::path::Path;

use support::{Mode, PgBouncer, Postgres, Version, psql};

#[test]
fn both_versions_of_postgres_run_and_databases_are_their_own() {
    for (version, prefix) in [(Version::V15, "15."), (Version::V18, "18.")] {
        let postgres = Postgres::shared(version);
        assert!(postgres.rows("postgres", "show server_version").starts_with(prefix));
        let (one, other) = (postgres.database(), postgres.database());
        postgres.rows(&one, "create table here (id int)");
        assert_eq!(postgres.rows(&other, "select to_regclass('here') is null"), "t\n");
    }
}

#[test]
fn each_pool_mode_of_pgbouncer_runs() {
    let postgres = Postgres::shared(Version::V15);
    let script = "begin; select 1; commit;";
    for (mode, expected) in [(Mode::Session, "1\n"), (Mode::Transaction, "1\n"), (Mode::Statement, "")] {
        let pgbouncer = PgBouncer::start(postgres, mode);
        let answer = psql(&pgbouncer.url("postgres"), script, &[]);
        assert_eq!(answer.output, expected, "{mode:?}: {}", answer.errors);
    }
}

#[test]
fn settings_reach_postgres_and_its_log_can_be_read() {
    let postgres = Postgres::start_with(Version::V18, &["log_statement=all"]);
    postgres.rows("postgres", "select 'find me'");
    assert!(postgres.log().contains("statement: select 'find me'"), "{}", postgres.log());
}

#[test]
fn a_dropped_postgres_leaves_neither_process_nor_files() {
    let mut postgres = Postgres::start(Version::V15);
    let process = format!("/proc/{}", postgres.id());
    assert!(Path::new(&process).exists());
    let folder = postgres.folder().to_owned();
    assert!(folder.exists());
    drop(postgres);
    assert!(!Path::new(&process).exists());
    assert!(!folder.exists());
}
