//! What a database's own catalog adds to a reading, on real servers: effects as data (`tests/data/catalog`), verdicts that follow
//! definitions changed through pgwarden and behind its back, and nobody waiting for any of it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use pgwarden::catalog::{Catalog, QUESTION, Rows};
use pgwarden::sql::{self, Limits};
use support::proxy::{database, user};
use support::{Mode, PgBouncer, Pgwarden, Postgres, Version};
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

const SCHEMA: &str = include_str!("data/catalog/schema.sql");
const EFFECTS: &str = include_str!("data/catalog/effects.txt");

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn catalog_of(url: &str) -> Catalog {
    let question = format!("BEGIN READ ONLY; SET LOCAL search_path = ''; {QUESTION}; COMMIT");
    let messages = connect(url).await.simple_query(&question).await.unwrap();
    let answer = messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    Catalog::compile(&Rows::read(answer.unwrap()).unwrap())
}

/// The effects' classes and named objects.
fn seen(catalog: &Catalog, sql: &str) -> (BTreeSet<String>, BTreeSet<(String, String)>) {
    let mut reading = sql::read(sql, &Limits::default()).unwrap();
    catalog.widen(&mut reading);
    let class = |(effect, _): &(sql::Effect, sql::Origin)| effect.class.name().to_owned();
    let object = |(effect, _): &(sql::Effect, sql::Origin)| {
        Some((effect.class.name().to_owned(), effect.object.as_ref()?.to_string()))
    };
    (reading.effects.iter().map(class).collect(), reading.effects.iter().filter_map(object).collect())
}

#[tokio::test]
async fn statements_do_what_the_catalog_says() {
    for version in Version::ALL {
        let postgres = Postgres::shared(version);
        let name = postgres.database();
        postgres.rows(&name, SCHEMA);
        let catalog = catalog_of(&postgres.url(&name)).await;
        let mut wrong = Vec::new();
        let (mut expected, mut rows) = ("", 0);
        for line in EFFECTS.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            if let Some(classes) = line.strip_prefix("= ") {
                expected = classes;
                continue;
            }
            rows += 1;
            let (classes, objects) = seen(&catalog, line);
            let mut wanted = BTreeSet::new();
            for word in expected.split(' ') {
                let (class, named) = word.split_once('{').unwrap_or((word, ""));
                wanted.insert(class.to_owned());
                for object in named.trim_end_matches('}').split(',').filter(|name| !name.is_empty()) {
                    if !objects.contains(&(class.to_owned(), object.to_owned())) {
                        wrong.push(format!("{line}: no {class} of {object} in {objects:?}"));
                    }
                }
            }
            if classes != wanted {
                wrong.push(format!("{line}\n   expected {wanted:?}\n   saw      {classes:?}"));
            }
            let (doubted, _) = seen(&catalog.doubted(), line);
            let shared = doubted.contains("function.volatile") || doubted == classes;
            assert!(shared, "{line}: in doubt {doubted:?}, known {classes:?}");
        }
        assert!(wrong.is_empty(), "{version:?}, {} of {rows}:\n{}\n{catalog}", wrong.len(), wrong.join("\n"));
    }
}

const POLICIES: &str = r#"
[environments.production.roles]
studio = "read-only"
admin = { policy = "unrestricted", endpoint = "direct" }
guarded = "guarded"
narrow = "narrow"
[policies.narrow]
allow = ["read", "function"]
[policies.narrow.relations]
allow = ["public.*"]
[policies.guarded]
allow = ["read", "write", "function", "session.setting", "transaction"]
[policies.guarded.relations]
deny = ["auth.*"]
"#;

fn configuration(pooled: &str, direct: &str, refresh: &str) -> String {
    format!(
        "[limits]\ncatalog_refresh = \"{refresh}\"\n{POLICIES}{}{}{}{}{}",
        database("shop", pooled, direct),
        user("reader", "reader", "production = \"studio\""),
        user("admin", "admin", "production = \"admin\""),
        user("narrow", "narrow", "production = \"narrow\""),
        user("guarded", "guarded", "production = \"guarded\""),
    )
}

/// Whether a statement passes pgwarden; any other error is a mistake of the test.
async fn passes(client: &Client, sql: &str) -> bool {
    match client.simple_query(sql).await {
        Ok(_) => true,
        Err(error) => {
            let text = error.as_db_error().map(|error| error.message().to_owned()).unwrap_or_default();
            assert!(text.starts_with("pgwarden:"), "{sql}: {error} {text}");
            false
        }
    }
}

/// Waits until a statement passes, or does not.
async fn comes_to(client: &Client, sql: &str, wanted: bool) {
    let since = Instant::now();
    while passes(client, sql).await != wanted {
        assert!(since.elapsed() < Duration::from_secs(120), "{sql} never came to {wanted}");
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
}

const SAFE: &str = "CREATE OR REPLACE FUNCTION public.f() RETURNS int LANGUAGE sql STABLE AS 'SELECT 1'";
const LIAR: &str =
    "CREATE OR REPLACE FUNCTION public.f() RETURNS int LANGUAGE sql STABLE AS 'SELECT pg_sleep(0); SELECT 1'";
const CALL: &str = "SELECT public.f()";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn verdicts_follow_definitions_that_pass() {
    for (version, pooled) in [(Version::V15, true), (Version::V18, false)] {
        let postgres = Postgres::shared(version);
        let name = postgres.database();
        let bouncer = pooled.then(|| PgBouncer::start(postgres, Mode::Transaction));
        let url = bouncer.as_ref().map_or_else(|| postgres.url(&name), |bouncer| bouncer.url(&name));
        // So seldom that only what passes through pgwarden makes it ask.
        let pgwarden = Pgwarden::start(&configuration(&url, &postgres.url(&name), "1h"));
        let reader = connect(&pgwarden.url("reader", "reader", "shop")).await;
        let admin = connect(&pgwarden.url("admin", "admin", "shop")).await;
        assert!(!passes(&reader, CALL).await, "a function nobody knows");
        admin.simple_query(SAFE).await.unwrap();
        comes_to(&reader, CALL, true).await;
        let prepared = reader.prepare("SELECT f() FROM generate_series(1, $1)").await.unwrap();
        assert_eq!(reader.query(&prepared, &[&3]).await.unwrap().len(), 3);

        // What was prepared while it was safe is judged again.
        admin.batch_execute("BEGIN").await.unwrap();
        admin.simple_query(LIAR).await.unwrap();
        assert!(passes(&reader, CALL).await, "not committed");
        admin.batch_execute("COMMIT").await.unwrap();
        comes_to(&reader, CALL, false).await;
        assert!(reader.query(&prepared, &[&3]).await.is_err());
        assert!(passes(&reader, "SELECT lower('x'), count(*) FROM pg_catalog.pg_class").await);

        admin.simple_query("DROP FUNCTION public.f()").await.unwrap();
        admin.simple_query("CREATE FUNCTION public.lower(int) RETURNS int LANGUAGE sql AS 'SELECT 1'").await.unwrap();
        comes_to(&reader, "SELECT lower('x')", false).await;
        assert!(passes(&reader, "SELECT pg_catalog.lower('x')").await);

        let (_, ready) = pgwarden.page("/readyz");
        assert!(ready.contains("\"known\":true"), "{ready}");
        assert!(pgwarden.page("/metrics").1.contains("pgwarden_catalog_functions"), "no metric");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn verdicts_follow_definitions_that_change_elsewhere() {
    let postgres = Postgres::shared(Version::V18);
    let name = postgres.database();
    postgres.rows(&name, SAFE);
    postgres.rows(&name, "CREATE SCHEMA auth; CREATE TABLE auth.users (id int); CREATE TABLE people (id int)");
    let url = postgres.url(&name);
    let pgwarden = Pgwarden::start(&configuration(&url, &url, "1s"));
    let reader = connect(&pgwarden.url("reader", "reader", "shop")).await;
    let guarded = connect(&pgwarden.url("guarded", "guarded", "shop")).await;
    comes_to(&reader, CALL, true).await;
    assert!(passes(&guarded, "SELECT * FROM people").await);
    assert!(!passes(&guarded, "SELECT * FROM auth.users").await);
    postgres.rows(&name, LIAR);
    postgres.rows(&name, "ALTER TABLE people RENAME TO ordinary; CREATE VIEW people AS SELECT * FROM auth.users");
    comes_to(&reader, CALL, false).await;
    comes_to(&guarded, "SELECT * FROM people", false).await;
    assert!(!passes(&guarded, "DELETE FROM public.people WHERE id = 1").await);
    assert!(!passes(&guarded, "PREPARE p AS SELECT 1 FROM people").await);
    assert!(passes(&guarded, "SELECT * FROM ordinary").await);
    // Who may read a view may see what it shows.
    let narrow = connect(&pgwarden.url("narrow", "narrow", "shop")).await;
    assert!(passes(&narrow, "SELECT * FROM people").await);
    assert!(!passes(&narrow, "SELECT * FROM people, auth.users").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_does_not_believe_what_it_changed() {
    let postgres = Postgres::shared(Version::V18);
    let name = postgres.database();
    postgres.rows(&name, SAFE);
    let url = postgres.url(&name);
    let migrations = "[environments.production.roles]\nmigrator = \"migrations\"\n";
    let users = user("migrator", "migrator", "production = \"migrator\"");
    let pgwarden = Pgwarden::start(&format!("{migrations}{}{users}", database("shop", &url, &url)));
    let client = connect(&pgwarden.url("migrator", "migrator", "shop")).await;
    comes_to(&client, CALL, true).await;
    // In one text, in one transaction, and right after it.
    assert!(!passes(&client, &format!("{SAFE}; {CALL}")).await);
    client.batch_execute(&format!("BEGIN; {SAFE}")).await.unwrap();
    assert!(!passes(&client, CALL).await);
    client.batch_execute("ROLLBACK").await.unwrap();
    comes_to(&client, CALL, true).await;
    let by_parse = client.prepare(SAFE).await.unwrap();
    client.execute(&by_parse, &[]).await.unwrap();
    comes_to(&client, CALL, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_does_not_say_keeps_nobody_waiting() {
    let postgres = Postgres::shared(Version::V15);
    let name = postgres.database();
    postgres.rows(&name, SAFE);
    // Whoever asks would wait for this lock; the sessions' own statements do not.
    let blocker = connect(&postgres.url(&name)).await;
    blocker.batch_execute("BEGIN; LOCK pg_catalog.pg_aggregate IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let url = postgres.url(&name);
    let pgwarden = Pgwarden::start(&configuration(&url, &url, "1s"));
    let reader = connect(&pgwarden.url("reader", "reader", "shop")).await;
    assert!(passes(&reader, "SELECT lower('x')").await);
    assert!(!passes(&reader, CALL).await);
    assert!(pgwarden.page("/readyz").1.contains("\"known\":false"));
    // Nor does pgwarden for long, holding other locks meanwhile: a migration that takes them in another order would deadlock.
    let since = Instant::now();
    while !pgwarden.page("/readyz").1.contains("lock timeout") {
        assert!(since.elapsed() < Duration::from_secs(120), "{}", pgwarden.page("/readyz").1);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    blocker.batch_execute("ROLLBACK").await.unwrap();
    comes_to(&reader, CALL, true).await;
}
