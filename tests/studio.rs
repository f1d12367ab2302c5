//! Prisma Studio in a real browser: it works on development, and on production it reads and changes nothing.
//!
//! `UPDATE_PICTURES=1` puts the pictures it takes into `docs/images`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::Command;

use pgwarden::config::{Secret, Verifier};
use support::proxy::Pgwarden;
use support::{Mode, PgBouncer, Postgres, Version};

const SHOP: &str = "CREATE TABLE customers (id int PRIMARY KEY, name text NOT NULL);
    INSERT INTO customers SELECT g, 'customer ' || g FROM generate_series(1, 50) g;
    CREATE TABLE orders (id int PRIMARY KEY, customer_id int NOT NULL REFERENCES customers, status text NOT NULL);
    INSERT INTO orders SELECT g, 1 + g % 50, 'paid' FROM generate_series(1, 100) g";

fn pictures() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = if std::env::var_os("UPDATE_PICTURES").is_some() {
        root.join("docs/images")
    } else {
        root.join("target/tmp/pictures")
    };
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

fn studio(url: &str, expected: &str) {
    let node = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/clients/bin/node");
    let node = if node.exists() { node } else { PathBuf::from("node") };
    let output = Command::new(node)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .arg("tests/clients/prisma-studio/work.mjs")
        .args([url, &pictures().to_string_lossy(), expected])
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    assert_eq!(out.lines().count(), 2, "{out}{err}");
}

#[test]
fn prisma_studio_reads_production_and_changes_only_development() {
    let postgres = Postgres::shared(Version::V15);
    let bouncer = PgBouncer::start(postgres, Mode::Transaction);
    let (production, development) = (postgres.database(), postgres.database());
    for database in [&production, &development] {
        postgres.rows(database, SHOP);
    }
    let verifier =
        Verifier::of_password(&Secret::new("p"), b"0123456789abcdef", NonZeroU32::new(4096).unwrap()).to_text();
    let pgwarden = Pgwarden::start(&format!(
        r#"
[databases.shop]
environment = "production"
pooled = "{}"
[databases.shop_dev]
environment = "development"
pooled = "{}"
[environments.production.roles]
studio = "read-only"
[environments.development.roles]
developer = "unrestricted"
[[users]]
name = "reader"
verifier = "{verifier}"
roles = {{ production = "studio", development = "developer" }}
"#,
        bouncer.url(&production),
        bouncer.url(&development)
    ));
    let shipped = |database: &str| postgres.rows(database, "SELECT count(*) FROM orders WHERE status = 'shipped'");

    studio(&pgwarden.url("reader", "p", "shop_dev"), "allowed");
    assert_eq!(shipped(&development).trim(), "1");

    studio(&pgwarden.url("reader", "p", "shop"), "refused");
    assert_eq!(shipped(&production).trim(), "0");
    let refused: Vec<serde_json::Value> =
        pgwarden.records().into_iter().filter(|record| record["verdict"] == "deny").collect();
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert_eq!((&refused[0]["environment"], &refused[0]["application"]), (&"production".into(), &"postgres.js".into()));
}
