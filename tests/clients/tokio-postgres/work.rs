//! tokio-postgres: pipelined queries on one connection, prepared statements, portals, COPY, LISTEN, cancel.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::{SinkExt, TryStreamExt};
use tokio_postgres::error::SqlState;
use tokio_postgres::{AsyncMessage, Client, Error, IsolationLevel, NoTls, SimpleQueryMessage};

/// Some seconds of work, when nobody cancels it.
const HEAVY: &str = "select count(*) from generate_series(1, 5000) a, generate_series(1, 10000) b";

/// How long one step may take.
const DEADLINE: Duration = Duration::from_secs(60);

/// What must be refused: role, SQLSTATEs, statement.
const REFUSALS: &str = include_str!("../refusals.tsv");

/// Does everything that the role may do, and gives the lines of the report.
pub fn work(url: &str, role: &str, keeps: &str) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut report = vec![
            format!("version tokio-postgres {}", locked("tokio-postgres")),
            step("reads", reads(url, keeps)).await,
            step("transactions", transactions(url)).await,
            step("copies out", copies_out(url)).await,
            step("cancels", cancels(url, keeps)).await,
        ];
        if role != "read-only" {
            report.push(step("copies in", copies_in(url)).await);
            report.push(step("gives up a copy", gives_up_a_copy(url, keeps)).await);
        }
        if matches!(role, "unrestricted" | "application") {
            report.push(step("notifies", notifies(url, keeps)).await);
        }
        report.push(step("refusals", refusals(url, role)).await);
        report.join("\n")
    })
}

/// The version of a crate that `Cargo.lock` pins.
fn locked(name: &str) -> &'static str {
    let mut lines = include_str!("../../../Cargo.lock").lines();
    lines.find(|line| *line == format!("name = \"{name}\""));
    lines.next().and_then(|line| line.split('"').nth(1)).unwrap_or_default()
}

/// One step of the work, in time.
async fn step(name: &str, work: impl Future<Output = String>) -> String {
    match tokio::time::timeout(DEADLINE, work).await {
        Ok(report) => report,
        Err(_) => panic!("`{name}` has not ended after {} s", DEADLINE.as_secs()),
    }
}

/// A connection, and the notifications that came over it.
async fn connect(url: &str) -> (Client, Arc<Mutex<Vec<String>>>) {
    let (client, mut connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&heard);
    tokio::spawn(async move {
        while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
            if let AsyncMessage::Notification(note) = message {
                notes.lock().unwrap().push(note.payload().to_owned());
            }
        }
    });
    (client, heard)
}

async fn number(client: &Client, sql: &str) -> i64 {
    match client.simple_query(sql).await.unwrap().iter().find_map(first_value) {
        Some(value) => value.parse().unwrap(),
        None => panic!("no row: {sql}"),
    }
}

fn first_value(message: &SimpleQueryMessage) -> Option<&str> {
    match message {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    }
}

async fn reads(url: &str, keeps: &str) -> String {
    let (client, _) = connect(url).await;
    assert_eq!(number(&client, "select count(*) from items").await, 1000);
    // Typed queries are prepared without a name: they live behind a transaction pooler too.
    let id = tokio_postgres::types::Type::INT4;
    let typed = "select name from items where id = $1";
    let row = client.query_typed(typed, &[(&7_i32, id.clone())]).await.unwrap();
    assert_eq!(row[0].get::<_, String>(0), "item 7");
    let pipelined = join_all((1..=50_i32).map(|n| {
        let (client, id) = (&client, id.clone());
        async move { client.query_typed(typed, &[(&n, id)]).await.unwrap()[0].get::<_, String>(0) }
    }));
    assert_eq!(pipelined.await[49], "item 50");
    let error = client.simple_query("select nope from items").await.unwrap_err();
    assert!(matches!(error.as_db_error().unwrap().position(), Some(tokio_postgres::error::ErrorPosition::Original(8))));
    assert_eq!(number(&client, "select 1").await, 1);
    if keeps == "nothing" {
        return "ok typed and pipelined queries, error position\nskip named statements: PgBouncer 1.18 keeps none in transaction mode".into();
    }
    let statement = client.prepare(typed).await.unwrap();
    for n in 1..=20_i32 {
        let row = client.query_one(&statement, &[&n]).await.unwrap();
        assert_eq!(row.get::<_, String>(0), format!("item {n}"));
    }
    "ok typed, pipelined and named queries, error position".into()
}

async fn transactions(url: &str) -> String {
    let (mut client, _) = connect(url).await;
    let mut transaction = client
        .build_transaction()
        .isolation_level(IsolationLevel::RepeatableRead)
        .read_only(true)
        .start()
        .await
        .unwrap();
    let savepoint = transaction.savepoint("here").await.unwrap();
    assert_eq!(code(&savepoint.simple_query("select 1 / 0").await.unwrap_err()), "22012");
    savepoint.rollback().await.unwrap();
    let portal = transaction.bind("select id from items order by id", &[]).await.unwrap();
    let first = transaction.query_portal(&portal, 10).await.unwrap();
    let second = transaction.query_portal(&portal, 10).await.unwrap();
    assert_eq!((first.len(), second[0].get::<_, i32>(0)), (10, 11));
    drop(portal);
    transaction.commit().await.unwrap();
    "ok transaction options, savepoints, portals with row limits".into()
}

async fn copies_out(url: &str) -> String {
    let (mut client, _) = connect(url).await;
    let transaction = client.transaction().await.unwrap();
    let stream = transaction.copy_out("copy (select id from items) to stdout").await.unwrap();
    let chunks: Vec<Bytes> = stream.try_collect().await.unwrap();
    let lines = chunks.concat().iter().filter(|&&byte| byte == b'\n').count();
    assert_eq!(lines, 1000);
    transaction.commit().await.unwrap();
    "ok COPY TO STDOUT".into()
}

async fn cancels(url: &str, keeps: &str) -> String {
    // tokio-postgres closes its side right behind the request.
    if keeps == "nothing" {
        return "skip cancel: PgBouncer 1.18 itself forgets a cancel request whose sender does not wait".into();
    }
    let (client, _) = connect(url).await;
    let token = client.cancel_token();
    let canceller = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        token.cancel_query(NoTls).await.unwrap();
    };
    let (outcome, ()) = tokio::join!(client.simple_query(HEAVY), canceller);
    let error = outcome.unwrap_err();
    assert_eq!(code(&error), "57014", "{error:?}");
    assert_eq!(number(&client, "select 1").await, 1);
    "ok cancel".into()
}

async fn copies_in(url: &str) -> String {
    let (mut client, _) = connect(url).await;
    let transaction = client.transaction().await.unwrap();
    let sink = transaction.copy_in("copy parts (item_id, label) from stdin").await.unwrap();
    let mut sink = pin!(sink);
    for n in 0..300 {
        sink.send(Bytes::from(format!("1\trust {n}\n"))).await.unwrap();
    }
    assert_eq!(sink.finish().await.unwrap(), 300);
    let updated = transaction.execute("update parts set label = label || $1 where label like 'rust%'", &[&"!"]).await;
    assert_eq!(updated.unwrap(), 300);
    transaction.commit().await.unwrap();
    assert_eq!(number(&client, "select count(*) from parts where label like 'rust%!'").await, 300);
    "ok COPY FROM STDIN, update".into()
}

async fn gives_up_a_copy(url: &str, keeps: &str) -> String {
    let (mut client, _) = connect(url).await;
    // Neither finished nor failed by the server: the client gives up, which is a CopyFail.
    let transaction = client.transaction().await.unwrap();
    let sink = transaction.copy_in::<_, Bytes>("copy parts (item_id, label) from stdin").await.unwrap();
    drop(sink);
    // PgBouncer 1.18 starts counting answers afresh where a COPY ends. What is sent right behind the rollback may then
    // reach a server that it takes for idle, and its answer is thrown away ("got packet when not linked").
    if keeps == "all" {
        drop(transaction)
    } else {
        transaction.rollback().await.unwrap()
    }
    assert_eq!(number(&client, "select 1").await, 1);
    "ok COPY FROM STDIN that the client gives up".into()
}

async fn notifies(url: &str, keeps: &str) -> String {
    if keeps != "all" {
        return "skip listen and notify: a transaction pooler keeps no LISTEN".into();
    }
    let (client, heard) = connect(url).await;
    client.batch_execute("listen news; notify news, 'hello'").await.unwrap();
    for _ in 0..100 {
        if !heard.lock().unwrap().is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(*heard.lock().unwrap(), ["hello"]);
    "ok listen and notify".into()
}

async fn refusals(url: &str, role: &str) -> String {
    let (client, _) = connect(url).await;
    let rows = REFUSALS.lines().filter(|line| !line.starts_with('#')).map(|line| line.split('\t').collect::<Vec<_>>());
    for row in rows.filter(|row| row[0] == role) {
        let (states, sql) = (row[1], row[2]);
        check_refusal(&client.simple_query(sql).await.unwrap_err(), states, sql);
        check_refusal(&client.query_typed(sql, &[]).await.unwrap_err(), states, sql);
        let both = tokio::join!(client.query_typed(sql, &[]), client.query_typed("select 1", &[]));
        check_refusal(&both.0.unwrap_err(), states, sql);
        assert_eq!(both.1.unwrap()[0].get::<_, i32>(0), 1, "what was pipelined behind: {sql}");
    }
    assert_eq!(number(&client, "select count(*) from items where name = 'never'").await, 0);
    if role == "unrestricted" { String::new() } else { "ok refusals, simple, extended and pipelined".into() }
}

fn check_refusal(error: &Error, states: &str, sql: &str) {
    let found = error.as_db_error().unwrap_or_else(|| panic!("{sql}: {error}"));
    let state = found.code().code();
    assert!(
        states.split(',').any(|wanted| wanted == state) && found.message().starts_with("pgwarden: "),
        "{sql}: expected a refusal {states}, found {state}: {}",
        found.message()
    );
}

fn code(error: &Error) -> &str {
    error.code().map_or("", SqlState::code)
}
