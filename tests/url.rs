//! `pgwarden url`: what it prints, and that what it prints connects.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::process::{Command, Output};

use serde_json::Value;
use support::{PASSWORD, Pgwarden, Postgres, Version};

const PEOPLE: &str = r#"
[environments.production.roles]
studio = "read-only"
[[users]]
name = "studio reader"
verifier = "SCRAM-SHA-256$4096:MDEyMzQ1Njc4OWFiY2RlZg==$tXk6Tjpjvt5GXTvM2JqLq1Q43zX7mSz8lYQJj5TPbCA=:9wQ9PrBUZJZkGdYrvZ5oLxyvNBwmEAIiSLGhX8yiGts="
roles = { production = "studio" }
[[users]]
name = "robot"
verifier = "SCRAM-SHA-256$4096:MDEyMzQ1Njc4OWFiY2RlZg==$tXk6Tjpjvt5GXTvM2JqLq1Q43zX7mSz8lYQJj5TPbCA=:9wQ9PrBUZJZkGdYrvZ5oLxyvNBwmEAIiSLGhX8yiGts="
roles = { production = "studio" }
[[users]]
name = "nobody"
verifier = "SCRAM-SHA-256$4096:MDEyMzQ1Njc4OWFiY2RlZg==$tXk6Tjpjvt5GXTvM2JqLq1Q43zX7mSz8lYQJj5TPbCA=:9wQ9PrBUZJZkGdYrvZ5oLxyvNBwmEAIiSLGhX8yiGts="
roles = { staging = "studio" }
"#;

fn configured(listen: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "[listen]\n{listen}\n[audit]\ndirectory = \"audit\"\n[databases.\"preview-*\"]\nenvironment = \"production\"\n\
         pooled = \"postgres://u:secret@db.example:6543/{{name}}\"\n[environments.staging.roles]\nstudio = \"read-only\"\n{PEOPLE}"
    );
    std::fs::write(folder.path().join("pgwarden.toml"), text).unwrap();
    folder
}

fn url(folder: &std::path::Path, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pgwarden"));
    command.arg("url").arg("--config").arg(folder.join("pgwarden.toml")).args(words).output().unwrap()
}

fn printed(listen: &str, words: &[&str]) -> String {
    let output = url(configured(listen).path(), words);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_form_in_the_words_of_its_tool() {
    let text = printed("postgres = \"10.0.0.7:6432\"", &["--database", "preview-7", "--user", "studio reader"]);
    for line in [
        "studio reader on preview-7: role `studio` in `production`, policy `read-only`, read-only, pooled endpoint",
        "  psql 'postgresql://studio%20reader@10.0.0.7:6432/preview-7?sslmode=disable'",
        "  DATABASE_URL=\"postgresql://studio%20reader:PASSWORD@10.0.0.7:6432/preview-7?sslmode=disable\"",
        "  jdbc:postgresql://10.0.0.7:6432/preview-7?user=studio%20reader&sslmode=disable",
        "  postgresql+psycopg://studio%20reader:PASSWORD@10.0.0.7:6432/preview-7?sslmode=disable",
        "  export PGUSER='studio reader'",
        "  export PGDATABASE=preview-7",
        "  [preview-7]",
        "  user=studio reader",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    assert!(!text.contains("secret") && !text.contains("SCRAM") && !text.contains("db.example"), "{text}");
}

#[test]
fn json_has_the_same() {
    let words = ["--database", "preview-7", "--user", "robot", "--host", "warden.example", "--port", "5432", "--json"];
    let found: Value = serde_json::from_str(&printed("postgres = \"0.0.0.0:6432\"", &words)).unwrap();
    assert_eq!(
        (&found["role"], &found["endpoint"], &found["read_only"]),
        (&"studio".into(), &"pooled".into(), &true.into())
    );
    assert_eq!(found["connect"]["go"], "postgres://robot:PASSWORD@warden.example:5432/preview-7?sslmode=disable");
    assert_eq!(found["notes"], serde_json::json!([]));
}

#[test]
fn certificates_are_named_where_they_prove_the_user() {
    let folder = configured(
        "postgres = \"127.0.0.1:6432\"\ntls = { certificate = \"a.crt\", key = \"a.key\", client_ca = \"ca.crt\" }",
    );
    let place = folder.path().join("pgwarden.toml");
    let text = std::fs::read_to_string(&place).unwrap()
        + "[[users]]\nname = \"machine\"\nroles = { production = \"studio\" }\n";
    std::fs::write(place, text).unwrap();
    let output = url(folder.path(), &["-d", "preview-7", "-u", "machine"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let go = "  postgres://machine@127.0.0.1:6432/preview-7?sslmode=verify-full&sslcert=client.crt&sslkey=client.key";
    assert!(text.lines().any(|line| line == go) && text.contains("add sslrootcert=FILE"), "{text}{:?}", output.stderr);
}

#[test]
fn what_cannot_be_known_is_said() {
    let text = printed("postgres = \"[::]:6432\"", &["-d", "preview-7", "-u", "robot"]);
    assert!(text.contains("localhost:6432") && text.contains("note: pgwarden listens on every address"), "{text}");
    let text = printed("postgres = \"[::1]:6432\"", &["-d", "preview-7", "-u", "robot"]);
    assert!(text.contains("@[::1]:6432/") && text.contains("export PGHOST=::1") && !text.contains("note:"), "{text}");
}

#[test]
fn who_cannot_log_in_is_told_why() {
    let folder = configured("postgres = \"127.0.0.1:6432\"");
    for (words, why) in [
        (["-d", "preview-7", "-u", "somebody"], "there is no user `somebody`"),
        (["-d", "shop", "-u", "robot"], "there is no database `shop`"),
        (["-d", "preview-7", "-u", "nobody"], "no role in `production`"),
    ] {
        let output = url(folder.path(), &words);
        assert_eq!(output.status.code(), Some(64));
        assert!(String::from_utf8_lossy(&output.stderr).contains(why), "{output:?}");
    }
}

#[test]
fn what_it_prints_connects() {
    let postgres = Postgres::shared(Version::V15);
    let name = postgres.database();
    let text = format!(
        "[environments.production.roles]\nstudio = \"read-only\"\n{}{}",
        support::proxy::database(&name, &postgres.url(&name), &postgres.url(&name)),
        support::proxy::user("o'reader", PASSWORD, "production = \"studio\"")
    );
    let pgwarden = Pgwarden::start(&text);
    let folder = pgwarden.audit().parent().unwrap().to_owned();
    let output = url(&folder, &["--database", &name, "--user", "o'reader", "--json"]);
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let connect = |form: &str| found["connect"][form].as_str().unwrap().to_owned();
    let service = folder.join("pg_service.conf");
    std::fs::write(&service, connect("pg_service")).unwrap();
    for script in [
        format!("{} -XAtc 'select current_database()'", connect("psql")),
        format!("{}\npsql -XAtc 'select current_database()'", connect("environment")),
        format!("psql service={name} -XAtc 'select current_database()'"),
        format!("psql '{}' -XAtc 'select current_database()'", connect("python").replace("PASSWORD", PASSWORD)),
    ] {
        let mut command = Command::new("sh");
        let output =
            command.args(["-c", &script]).env("PGPASSWORD", PASSWORD).env("PGSERVICEFILE", &service).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), name, "{script}: {output:?}");
    }
}
