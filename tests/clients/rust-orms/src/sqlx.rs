//! sqlx: pool, statement cache, streams, transactions, COPY, and its migrator (what `sqlx migrate run` runs).

mod work;

use futures_util::TryStreamExt;
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, PgConnection, PgPool, Row};
use work::{ADDITIVE, Arguments, DESTROYS, NEXT, folder, ok, refused};

/// The advisory locks in this database.
const LOCKS: &str = "select count(*) from pg_locks where locktype = 'advisory' \
                     and database = (select oid from pg_database where datname = current_database())";

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments = Arguments::read();
    println!("version sqlx {}", work::locked("sqlx"));
    let options: PgConnectOptions = arguments.url.parse().expect("a URL");
    let pool = PgPoolOptions::new().max_connections(3).connect_with(options).await.expect("a connection");
    if arguments.keeps == "nothing" {
        let simple = sqlx::raw_sql("select name from items where id = 7").fetch_one(&pool).await.expect("a row");
        assert_eq!(simple.get::<String, _>(0), "item 7");
        ok("simple queries");
        // Parse and Bind come in batches of their own, named or not.
        return println!(
            "skip all but simple queries: sqlx prepares, and PgBouncer 1.18 keeps nothing in transaction mode"
        );
    }
    reads(&pool).await;
    if arguments.may_write() {
        writes(&pool).await;
    }
    if arguments.may_create() {
        migrates(&pool, &arguments).await;
    }
    refusals(&pool, &arguments).await;
    pool.close().await;
}

async fn reads(pool: &PgPool) {
    let count = sqlx::query("select count(*) from items").fetch_one(pool).await.expect("count");
    assert_eq!(count.get::<i64, _>(0), 1000);
    for n in 1..=10 {
        let row = sqlx::query("select name, tags from items where id = $1").bind(n).fetch_one(pool).await.expect("row");
        assert_eq!((row.get::<String, _>(0), row.get::<Vec<String>, _>(1)[1].as_str()), (format!("item {n}"), "ü"));
    }
    ok("statement cache, parameters and types");
    let mut rows = sqlx::query("select id from items").fetch(pool);
    let mut total = 0;
    while let Some(row) = rows.try_next().await.expect("a row") {
        total += row.get::<i32, _>(0);
    }
    drop(rows);
    assert_eq!(total, 500_500);
    ok("stream");
    let mut transaction = pool.begin().await.expect("begin");
    let nested = Connection::begin(&mut *transaction).await.expect("savepoint");
    nested.rollback().await.expect("rollback to");
    assert!(sqlx::query("select 1 / 0").execute(&mut *transaction).await.is_err());
    transaction.rollback().await.expect("rollback");
    let mut connection = pool.acquire().await.expect("a connection");
    let copied = connection.copy_out_raw("copy items to stdout").await.expect("copy");
    let bytes: usize = copied.try_fold(0, |sum, chunk| async move { Ok(sum + chunk.len()) }).await.expect("copy");
    assert!(bytes > 50_000);
    ok("transaction, savepoint, COPY TO STDOUT");
}

async fn writes(pool: &PgPool) {
    let mut transaction = pool.begin().await.expect("begin");
    let made = sqlx::query("insert into items (name, details) values ($1, $2) returning id")
        .bind("new")
        .bind(sqlx::types::Json([1, 2]))
        .fetch_one(&mut *transaction)
        .await
        .expect("insert")
        .get::<i32, _>(0);
    let mut copy = transaction.copy_in_raw("copy parts (item_id, label) from stdin").await.expect("copy");
    copy.send(format!("{made}\ta\n{made}\tb\n").as_bytes()).await.expect("copy");
    assert_eq!(copy.finish().await.expect("copy"), 2);
    transaction.commit().await.expect("commit");
    let gone = sqlx::query("delete from parts where item_id = $1").bind(made).execute(pool).await.expect("delete");
    assert_eq!(gone.rows_affected(), 2);
    ok("transaction, insert, COPY FROM STDIN, delete");
}

/// One run of `sqlx migrate run`, which ends its connection: the lock that it does not give back after a failure goes with it.
async fn deploy(url: &str, last: Option<(&str, &str)>) -> Result<(), sqlx::migrate::MigrateError> {
    let all = ADDITIVE.iter().copied().chain(last);
    let files: Vec<_> =
        all.enumerate().map(|(n, (name, up))| (format!("{}_{name}.sql", n + 1), up.to_owned())).collect();
    let folder = folder(&files);
    let migrator = Migrator::new(folder.as_path()).await.expect("a folder of migrations");
    let mut connection = <PgConnection as Connection>::connect(url).await.expect("a connection");
    let outcome = migrator.run(&mut connection).await;
    connection.close().await.expect("closed");
    std::fs::remove_dir_all(folder).expect("removed");
    outcome
}

async fn migrates(pool: &PgPool, arguments: &Arguments) {
    let number = async |sql: &'static str| sqlx::query_scalar::<_, i64>(sql).fetch_one(pool).await.expect("a number");
    deploy(&arguments.url, None).await.expect("additive migrations");
    ok("migrate: additive migrations");
    if arguments.role == "unrestricted" {
        deploy(&arguments.url, Some(DESTROYS)).await.expect("a destructive migration");
        return ok("migrate: a destructive migration");
    }
    let error = deploy(&arguments.url, Some(DESTROYS)).await.expect_err("refused");
    assert!(error.to_string().contains("pgwarden: ALTER TABLE … DROP COLUMN"), "{error}");
    assert_eq!(number("select count(*) from notes").await, 0);
    // The server may still be ending the connection of the failed deploy.
    for _ in 0..100 {
        if number(LOCKS).await == 0 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(number(LOCKS).await, 0);
    deploy(&arguments.url, Some(NEXT)).await.expect("the next deploy");
    assert_eq!(number("select count(*) from _sqlx_migrations where success").await, 3);
    ok("migrate: a destructive migration is refused whole, no lock is left, and the next deploy goes on");
}

async fn refusals(pool: &PgPool, arguments: &Arguments) {
    for (states, sql) in arguments.refusals() {
        for prepared in [true, false] {
            let outcome = match prepared {
                true => sqlx::query(&sql).execute(pool).await,
                false => sqlx::raw_sql(&sql).execute(pool).await,
            };
            let error = outcome.expect_err("refused").into_database_error().expect("a server error");
            refused(error.message(), error.code().as_deref(), &states, &sql);
        }
        let one: i32 = sqlx::query_scalar("select 1").fetch_one(pool).await.expect("after a refusal");
        assert_eq!(one, 1);
    }
    if arguments.role != "unrestricted" {
        ok("refusals, prepared and simple");
    }
}
