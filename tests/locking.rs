//! Changes of the schema that block under load, through pgwarden with psql: who may make them is told the safer way in a NOTICE,
//! who may not in the HINT of the refusal. And what drivers send when a pool takes a connection back passes for everybody.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use support::proxy::{database, user};
use support::{Mode, PgBouncer, Pgwarden, Postgres, Version, psql};

const ROLES: &str = r#"
[environments.production.roles]
migrator = { policy = "migrations", endpoint = "direct" }
careful = { policy = "careful", endpoint = "direct" }
reader = "read-only"
app = "application"
all = "unrestricted"

[policies.careful]
allow = ["read", "write", "ddl.additive", "function.safe", "session.setting", "transaction"]
"#;

const TABLES: &str = "\
CREATE TABLE u (id int PRIMARY KEY);
CREATE TABLE t (a int);
CREATE UNLOGGED TABLE unlogged (a int);
CREATE TABLE parent (a int) PARTITION BY RANGE (a);
CREATE TABLE child (a int);
CREATE DOMAIN d AS int;";

/// Every user's name is the role's, and so is the password.
fn start(pooled: &str, direct: &str) -> Pgwarden {
    let users: String = ["migrator", "careful", "reader", "app", "all"]
        .iter()
        .map(|role| user(role, role, &format!("production = \"{role}\"")))
        .collect();
    Pgwarden::start(&format!("{}{ROLES}{users}", database("shop", pooled, direct)))
}

/// The words and statements of the table.
fn rows() -> Vec<(&'static str, &'static str)> {
    let lines = include_str!("data/locking.txt").lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split_once(" | ").unwrap()).collect()
}

/// What psql says to each statement on standard error.
fn said(pgwarden: &Pgwarden, role: &str) -> Vec<String> {
    let script: String = rows().iter().map(|(_, sql)| format!("\\warn ==\nBEGIN;\n{sql};\nROLLBACK;\n")).collect();
    let answer = psql(&pgwarden.url(role, role, "shop"), &script, &[]);
    answer.errors.split("==\n").skip(1).map(str::to_owned).collect()
}

#[test]
fn the_safer_way_is_a_notice_where_it_is_allowed_and_a_hint_where_not() {
    let postgres = Postgres::shared(Version::V18);
    let name = postgres.database();
    postgres.rows(&name, TABLES);
    let pgwarden = start(&postgres.url(&name), &postgres.url(&name));
    let rows = rows();
    let (allowed, refused) = (said(&pgwarden, "migrator"), said(&pgwarden, "careful"));
    assert_eq!((allowed.len(), refused.len()), (rows.len(), rows.len()));
    let mut wrong = Vec::new();
    for ((words, sql), (allowed, refused)) in rows.iter().zip(allowed.iter().zip(&refused)) {
        let notice = allowed.lines().any(|line| line.starts_with("NOTICE:  pgwarden: ") && line.contains(words));
        if !notice || allowed.contains("ERROR") {
            wrong.push(format!("{sql}\n   allowed: {allowed}"));
        }
        let hint = refused.lines().any(|line| line.starts_with("HINT:") && line.contains(words));
        if !hint
            || !refused.contains("ERROR:  pgwarden: ")
            || !refused.contains("Effect ddl.locking; rule: not in allow")
        {
            wrong.push(format!("{sql}\n   refused: {refused}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_does_not_block_brings_no_notice() {
    let postgres = Postgres::shared(Version::V15);
    let name = postgres.database();
    postgres.rows(&name, TABLES);
    let pgwarden = start(&postgres.url(&name), &postgres.url(&name));
    let script = "\
CREATE INDEX CONCURRENTLY i ON t (a);
ALTER TABLE t ADD CONSTRAINT c CHECK (a > 0) NOT VALID;
ALTER TABLE t VALIDATE CONSTRAINT c;
ALTER TABLE t ADD COLUMN b int NOT NULL DEFAULT 0;
ALTER TABLE t ADD COLUMN at timestamptz DEFAULT now();
BEGIN; CREATE TABLE fresh (a int); COMMIT;
DO $$ BEGIN CREATE TYPE mood AS ENUM ('fine'); EXCEPTION WHEN duplicate_object THEN NULL; END $$;";
    let answer = psql(&pgwarden.url("migrator", "migrator", "shop"), script, &["-v", "ON_ERROR_STOP=1"]);
    assert!(answer.succeeded && answer.errors.is_empty(), "{}", answer.errors);
}

/// What asyncpg, psycopg2, Npgsql, JDBC's and Go's pools send when they take a connection back.
const RESETS: [&str; 8] = [
    "SELECT pg_advisory_unlock_all(); CLOSE ALL; UNLISTEN *; RESET ALL;",
    "ABORT; RESET ALL; SET SESSION AUTHORIZATION DEFAULT;",
    "SET SESSION AUTHORIZATION DEFAULT;RESET ALL;CLOSE ALL;UNLISTEN *;SELECT pg_advisory_unlock_all();DISCARD SEQUENCES;DISCARD TEMP",
    "DISCARD ALL",
    "CLOSE ALL",
    "RESET ALL",
    "DEALLOCATE ALL",
    "RESET ROLE",
];

#[test]
fn resets_of_pools_pass_for_every_role_and_loosen_nothing() {
    use support::SUPERUSER;
    let postgres = Postgres::shared(Version::V15);
    let pgbouncer = PgBouncer::start(postgres, Mode::Transaction);
    let name = postgres.database();
    postgres.rows(&name, "CREATE TABLE t (a int)");
    let paths = [postgres.url(&name), pgbouncer.url(&name)];
    for path in &paths {
        let pgwarden = start(path, &postgres.url(&name));
        for role in ["reader", "app", "migrator", "all"] {
            for reset in RESETS {
                let script = ["SELECT 1;", reset, ";\nSELECT current_user;\n"].join("\n");
                // As one text, the way drivers send it.
                let answer =
                    psql(&pgwarden.url(role, role, "shop"), &format!("{}\\;\n", reset.trim_end_matches(';')), &[]);
                assert!(!answer.errors.contains("ERROR"), "{role} {path}: {reset}: {}", answer.errors);
                let answer = psql(&pgwarden.url(role, role, "shop"), &script, &[]);
                let users = answer.output.lines().last();
                assert_eq!(
                    (answer.errors.contains("ERROR"), users),
                    (false, Some(SUPERUSER)),
                    "{role}: {reset}: {answer:?}"
                );
                if role == "reader" {
                    let write = format!(
                        "{reset};\nINSERT INTO t VALUES (1);\nSELECT set_config('transaction_read_only','off',false);\nSELECT count(*) FROM t;"
                    );
                    let answer = psql(&pgwarden.url(role, role, "shop"), &write, &[]);
                    assert_eq!(answer.output.lines().last(), Some("0"), "{reset}: {answer:?}");
                }
            }
        }
    }
}
