//! A statement that takes long to judge keeps nobody else waiting.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use support::proxy::{database, user};
use support::{Pgwarden, Postgres, Version};
use tokio_postgres::{Client, NoTls};

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Answers to `SELECT 1` that come while a text is judged and run.
async fn answers_meanwhile(busy: Client, other: &Client, text: String) -> (usize, String) {
    let done = Arc::new(AtomicBool::new(false));
    let finished = Arc::clone(&done);
    let work = tokio::spawn(async move {
        let error = busy.simple_query(&text).await.unwrap_err();
        finished.store(true, Ordering::SeqCst);
        error.code().unwrap().code().to_owned()
    });
    let mut answers = 0;
    while !done.load(Ordering::SeqCst) {
        other.simple_query("SELECT 1").await.unwrap();
        answers += 1;
    }
    (answers, work.await.unwrap())
}

/// All sessions on one thread: whoever holds it holds everybody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_megabytes_being_judged_keep_nobody_waiting() {
    let postgres = Postgres::shared(Version::V15);
    let name = postgres.database();
    postgres.rows(&name, "CREATE TABLE t (a int, b text)");
    let url = postgres.url(&name);
    let roles = "[environments.production.roles]\napp = \"application\"\n";
    let users = user("app", "app", "production = \"app\"");
    let pgwarden =
        Pgwarden::start_with(&format!("{roles}{}{users}", database("shop", &url, &url)), &["--threads", "1"]);
    let other = connect(&pgwarden.url("app", "app", "shop")).await;
    let row = "(1, 'a row of some length, so that the text grows'), ";
    let rows = row.repeat((10 << 20) / row.len());
    for (last, sqlstate) in [("(2, pg_read_file('x'))", "42501"), ("(2, ", "42601")] {
        let busy = connect(&pgwarden.url("app", "app", "shop")).await;
        let text = format!("INSERT INTO t VALUES {rows}{last}");
        let (answers, refused) = answers_meanwhile(busy, &other, text).await;
        assert_eq!(refused, sqlstate, "{last}");
        assert!(answers > 3, "{answers} answers while it was judged: {last}");
    }
}
