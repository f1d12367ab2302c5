//! `pgwarden check` on SQL files and migration folders as the tools leave them (`tests/data/check`): what it says in every format,
//! its exit codes, and its limits. UPDATE_GOLDEN=1 writes the expected output anew.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// Name, role, paths.
const CASES: [(&str, &str, &[&str]); 9] = [
    ("prisma", "migrator", &["prisma/migrations"]),
    ("drizzle", "migrator", &["drizzle"]),
    ("alembic", "migrator", &["alembic/upgrade.sql"]),
    ("flyway", "migrator", &["flyway/sql"]),
    ("psql", "migrator", &["psql/load.sql"]),
    ("attack", "careful", &["plain/attack.sql", "plain/windows.sql"]),
    ("reader", "studio", &["plain/schema.sql"]),
    ("watched", "watched", &["plain/windows.sql"]),
    ("clean", "migrator", &["plain/schema.sql"]),
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/check")
}

fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pgwarden"));
    command.current_dir(folder()).env_remove("PGWARDEN_CONFIG").arg("check").args(arguments).output().unwrap()
}

fn checked(role: &str, paths: &[&str], format: &str) -> Output {
    run(&[&["-e", "production", "-r", role, "--format", format], paths].concat())
}

fn text(output: &Output) -> String {
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn every_format_says_what_it_said_before() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    for (name, role, paths) in CASES {
        for (format, ending) in [("text", "txt"), ("json", "json"), ("github", "github"), ("sarif", "sarif")] {
            let said = text(&checked(role, paths, format)).replace(env!("CARGO_PKG_VERSION"), "VERSION");
            let said = match ending {
                "json" | "sarif" => {
                    format!(
                        "{}\n",
                        serde_json::to_string_pretty(&serde_json::from_str::<Value>(&said).unwrap()).unwrap()
                    )
                }
                _ => said,
            };
            let golden = folder().join("expected").join(format!("{name}.{ending}"));
            if update {
                std::fs::create_dir_all(golden.parent().unwrap()).unwrap();
                std::fs::write(&golden, &said).unwrap();
            }
            let expected = std::fs::read_to_string(&golden).unwrap_or_default();
            assert!(
                said == expected,
                "{} differs (UPDATE_GOLDEN=1 cargo test --test check):\n{said}",
                golden.display()
            );
        }
    }
}

#[test]
fn the_exit_code_is_what_ci_needs() {
    let code = |arguments: &[&str]| run(arguments).status.code().unwrap();
    let migrator = ["-e", "production", "-r", "migrator"];
    let with = |paths: &[&str]| code(&[&migrator[..], paths].concat());
    assert_eq!(with(&["plain/schema.sql"]), 0);
    assert_eq!(with(&["plain/schema.sql", "plain/windows.sql"]), 1);
    assert_eq!(
        code(&["-e", "production", "-r", "watched", "plain/windows.sql"]),
        0,
        "a policy that only observes refuses nothing"
    );
    assert_eq!(code(&["-e", "production", "-r", "owner", "drizzle"]), 0);
    assert_eq!(code(&[]), 0, "the configuration");
    // Bad usage.
    assert_eq!(with(&["nowhere.sql"]), 64);
    assert_eq!(with(&["drizzle/meta"]), 64, "no SQL in it");
    assert_eq!(with(&[]), 64, "a role and no files");
    assert_eq!(code(&["plain/schema.sql"]), 64, "files and no role");
    assert_eq!(code(&["plain/schema.sql", "-e", "production"]), 64);
    assert_eq!(code(&["plain/schema.sql", "-e", "production", "-r", "nobody"]), 64);
    assert_eq!(code(&["plain/schema.sql", "-e", "moon", "-r", "migrator"]), 64);
    assert_eq!(code(&["--config", "nowhere.toml", "plain/schema.sql", "-e", "production", "-r", "migrator"]), 64);
}

#[test]
fn a_role_that_is_not_there_is_told_what_is() {
    let said = |output: Output| String::from_utf8(output.stderr).unwrap();
    let role = said(run(&["plain/schema.sql", "-e", "production", "-r", "nobody"]));
    assert!(role.contains("its roles are `careful`, `migrator`"), "{role}");
    let environment = said(run(&["plain/schema.sql", "-e", "moon", "-r", "migrator"]));
    assert!(environment.contains("environments are `production`"), "{environment}");
}

/// The fields that SARIF 2.1.0 requires, and those that code scanning needs (§3.13 to §3.30 of the standard).
#[test]
fn sarif_has_what_the_standard_requires() {
    for (name, role, paths) in CASES {
        let log: Value = serde_json::from_str(&text(&checked(role, paths, "sarif"))).unwrap();
        assert_eq!(log["version"], "2.1.0");
        assert_eq!(log["$schema"], "https://json.schemastore.org/sarif-2.1.0.json");
        let run = &log["runs"][0];
        assert_eq!(run["tool"]["driver"]["name"], "pgwarden");
        let rules: Vec<&str> = run["tool"]["driver"]["rules"]
            .as_array()
            .unwrap()
            .iter()
            .map(|rule| rule["id"].as_str().unwrap())
            .collect();
        for result in run["results"].as_array().unwrap() {
            assert!(rules.contains(&result["ruleId"].as_str().unwrap()), "{name}: {result}");
            assert!(["error", "warning"].contains(&result["level"].as_str().unwrap()), "{name}: {result}");
            assert!(!result["message"]["text"].as_str().unwrap().is_empty());
            let place = &result["locations"][0]["physicalLocation"];
            let uri = place["artifactLocation"]["uri"].as_str().unwrap();
            assert!(!uri.contains(['\\', ' ', '#', '?', '%']) && folder().join(uri).is_file(), "{uri}");
            let number = |field: &str| place["region"][field].as_u64().unwrap();
            let (start, end) = ((number("startLine"), number("startColumn")), (number("endLine"), number("endColumn")));
            assert!(start >= (1, 1) && end >= start, "{name}: {result}");
        }
    }
}

#[test]
fn findings_point_at_the_words_that_cause_them() {
    let report: Value = serde_json::from_str(&text(&checked("careful", &["plain/attack.sql"], "json"))).unwrap();
    let file = std::fs::read_to_string(folder().join("plain/attack.sql")).unwrap();
    let lines: Vec<Vec<char>> = file.lines().map(|line| line.chars().collect()).collect();
    let words: Vec<String> = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| {
            let number = |field: &str| usize::try_from(finding[field].as_u64().unwrap()).unwrap();
            assert_eq!(number("line"), number("end_line"), "{finding}");
            lines[number("line") - 1][number("column") - 1..number("end_column") - 1].iter().collect()
        })
        .collect();
    for expected in ["orders", "auth.users", "pg_read_file"] {
        assert!(words.iter().any(|word| word == expected), "{expected}: {words:?}");
    }
}

#[test]
fn what_cannot_be_read_or_judged_does_not_pass() {
    let scratch = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = scratch.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_string_lossy().into_owned()
    };
    let deep = format!("SELECT {}1{}", "(".repeat(5_000), ")".repeat(5_000));
    let many = "SELECT 1;".repeat(20_000);
    let files = [
        write("latin1.sql", b"SELECT '\xe9'"),
        write("open.sql", b"SELECT 'never closed"),
        write("deep.sql", deep.as_bytes()),
        write("many.sql", many.as_bytes()),
        write("include.sql", b"\\i missing.sql"),
        write("nul.sql", b"SELECT 1\0; DROP TABLE t"),
        write("tail.sql", b"SELECT 1; SELEC 2;\n"),
        write("rows.sql", b"COPY t FROM stdin;\nDROP TABLE t;\n"),
        write("row.sql", b"COPY gone FROM stdin;\n1\tx;\nDROP TABLE t;\n\\.\n"),
        write("loop.sql", b"\\ir loop.sql\nDROP TABLE t"),
        write("template.sql", b"DROP TABLE {{ name }}"),
        write("variable.sql", b"\\set x t; DROP TABLE u\nSELECT :x"),
    ];
    for file in &files {
        for role in ["migrator", "careful"] {
            let output = checked(role, &[file], "json");
            assert_eq!(output.status.code(), Some(1), "{file}: {}", String::from_utf8_lossy(&output.stdout));
        }
    }
    // A terminal is not steered by what stands in a file or its name.
    let hostile = write("es\u{1b}[2Jcape.sql", b"DROP TABLE \"\x1b[2J\"");
    let said = text(&checked("migrator", &[&hostile], "text"));
    assert!(!said.contains('\u{1b}'), "{said:?}");
}

#[test]
fn an_empty_file_and_one_of_comments_are_in_order() {
    let scratch = tempfile::tempdir().unwrap();
    for text in ["", "-- nothing", "\u{feff}SELECT 1;", ";;\n"] {
        let path = scratch.path().join("empty.sql");
        std::fs::write(&path, text).unwrap();
        assert_eq!(checked("migrator", &[&path.to_string_lossy()], "text").status.code(), Some(0), "{text:?}");
    }
}

/// Name, role (none: effects only) and text of what `pgwarden explain` is asked.
const EXPLAINED: [(&str, &str, &str); 7] = [
    (
        "explain-hidden",
        "migrator",
        "WITH gone AS (DELETE FROM orders WHERE id = id RETURNING *)\nSELECT f(id), pg_read_file('x') FROM gone",
    ),
    (
        "explain-several",
        "migrator",
        "CREATE TABLE t (a int);\nCREATE INDEX ON t (a);\nCREATE INDEX ON u (a);\nSET session_replication_role = replica;",
    ),
    ("explain-body", "migrator", "DO $$ BEGIN\n  ALTER TABLE t ADD CONSTRAINT c UNIQUE (a);\n  EXECUTE 'x';\nEND $$"),
    ("explain-observed", "watched", "drop table a"),
    ("explain-denied", "careful", "DELETE FROM auth.users WHERE id = 1"),
    ("explain-unread", "owner", "SELEC 1"),
    (
        "explain-effects",
        "",
        "SELECT U&\"\\0061uth\".\"users\".id, 'ö', set_config('role', 'x', true) FROM U&\"\\0061uth\".\"users\"",
    ),
];

#[test]
fn explain_points_at_the_words_and_names_the_rule() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    for (name, role, sql) in EXPLAINED {
        for json in [false, true] {
            let mut arguments = vec!["explain", sql];
            if !role.is_empty() {
                arguments.extend(["-e", "production", "-r", role]);
            }
            arguments.extend(json.then_some("--json"));
            let mut command = Command::new(env!("CARGO_BIN_EXE_pgwarden"));
            let output = command.current_dir(folder()).env_remove("PGWARDEN_CONFIG").args(arguments).output().unwrap();
            let said = text(&output);
            let said = match json {
                true => format!(
                    "{}\n",
                    serde_json::to_string_pretty(&serde_json::from_str::<Value>(&said).unwrap()).unwrap()
                ),
                false => said,
            };
            let golden = folder().join("expected").join(format!("{name}.{}", if json { "json" } else { "txt" }));
            if update {
                std::fs::write(&golden, &said).unwrap();
            }
            let expected = std::fs::read_to_string(&golden).unwrap_or_default();
            assert!(
                said == expected,
                "{} differs (UPDATE_GOLDEN=1 cargo test --test check):\n{said}",
                golden.display()
            );
            let refused = ["explain-hidden", "explain-several", "explain-body", "explain-denied"].contains(&name);
            assert_eq!(output.status.code(), Some(i32::from(refused)), "{name}");
        }
    }
}
