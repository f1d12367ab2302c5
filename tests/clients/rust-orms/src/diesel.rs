//! Diesel on libpq: query builder, transactions, and its migrations.

mod work;

use diesel::pg::PgConnection;
use diesel::prelude::*;
use diesel::result::Error;
use diesel_migrations::{FileBasedMigrations, MigrationHarness};
use work::{ADDITIVE, Arguments, DESTROYS, NEXT, folder, ok, refused};

diesel::table! {
    items (id) {
        id -> Integer,
        name -> Text,
        tags -> Array<Text>,
    }
}
diesel::table! {
    parts (id) {
        id -> Integer,
        item_id -> Integer,
        label -> Text,
    }
}
diesel::joinable!(parts -> items (item_id));
diesel::allow_tables_to_appear_in_same_query!(items, parts);

fn main() {
    let arguments = Arguments::read();
    println!("version diesel {}", work::locked("diesel"));
    let mut connection = PgConnection::establish(&arguments.url).expect("a connection");
    if arguments.keeps == "nothing" {
        connection.set_prepared_statement_cache_size(diesel::connection::CacheSize::Disabled);
    }
    reads(&mut connection);
    if arguments.may_write() {
        writes(&mut connection);
    }
    if arguments.may_create() {
        migrates(&mut connection, &arguments);
    }
    refusals(&mut connection, &arguments);
}

fn reads(connection: &mut PgConnection) {
    assert_eq!(items::table.count().get_result::<i64>(connection).expect("count"), 1000);
    for n in 1..=10 {
        let found: (String, Vec<String>) =
            items::table.find(n).select((items::name, items::tags)).first(connection).expect("row");
        assert_eq!((found.0, found.1[1].as_str()), (format!("item {n}"), "ü"));
    }
    ok("statement cache, parameters and types");
    let joined: Vec<(String, String)> = items::table
        .inner_join(parts::table)
        .filter(items::id.between(3, 7))
        .select((items::name, parts::label))
        .load(connection)
        .expect("join");
    assert_eq!(joined.len(), 5);
    let rows = items::table.select(items::id).load_iter::<i32, diesel::connection::DefaultLoadingMode>(connection);
    assert_eq!(rows.expect("rows").map(|id| id.expect("id")).sum::<i32>(), 500_500);
    ok("join, iterator");
    let outcome = connection.build_transaction().repeatable_read().read_only().run(|connection| {
        let nested = connection.transaction(|connection| diesel::sql_query("select 1 / 0").execute(connection));
        assert!(nested.is_err());
        items::table.count().get_result::<i64>(connection)
    });
    assert_eq!(outcome.expect("transaction"), 1000);
    ok("transaction options, savepoint");
}

fn writes(connection: &mut PgConnection) {
    let made: i32 = connection
        .transaction::<_, Error, _>(|connection| {
            let row = diesel::sql_query("insert into items (name) values ('new')");
            row.execute(connection)?;
            let made = items::table.select(items::id).order(items::id.desc()).first(connection)?;
            let rows: Vec<_> = (0..50).map(|n| (parts::item_id.eq(made), parts::label.eq(format!("p{n}")))).collect();
            diesel::insert_into(parts::table).values(&rows).execute(connection)?;
            diesel::update(items::table.find(made)).set(items::name.eq("kept")).execute(connection)?;
            Ok(made)
        })
        .expect("transaction");
    let gone = diesel::delete(parts::table.filter(parts::item_id.eq(made))).execute(connection);
    assert_eq!(gone.expect("delete"), 50);
    ok("transaction, batch insert, update, delete");
}

fn deploy(connection: &mut PgConnection, last: Option<(&str, &str)>) -> Result<(), String> {
    let all = ADDITIVE.iter().copied().chain(last).enumerate();
    let files: Vec<_> = all
        .flat_map(|(n, (name, up))| {
            let folder = format!("2025-01-01-00000{n}_{name}");
            [(format!("{folder}/up.sql"), up.to_owned()), (format!("{folder}/down.sql"), "select 1;\n".to_owned())]
        })
        .collect();
    let folder = folder(&files);
    let source = FileBasedMigrations::from_path(&folder).expect("a folder of migrations");
    let outcome = connection.run_pending_migrations(source).map(|_| ()).map_err(|error| error.to_string());
    std::fs::remove_dir_all(folder).expect("removed");
    outcome
}

fn number(connection: &mut PgConnection, what: &str) -> i64 {
    diesel::dsl::sql::<diesel::sql_types::BigInt>(what).get_result(connection).expect("a number")
}

fn migrates(connection: &mut PgConnection, arguments: &Arguments) {
    deploy(connection, None).expect("additive migrations");
    ok("migrations: additive ones");
    if arguments.role == "unrestricted" {
        deploy(connection, Some(DESTROYS)).expect("a destructive migration");
        return ok("migrations: a destructive one");
    }
    let error = deploy(connection, Some(DESTROYS)).expect_err("refused");
    assert!(error.contains("pgwarden: ALTER TABLE … DROP COLUMN"), "{error}");
    assert_eq!(number(connection, "select count(*) from notes"), 0);
    deploy(connection, Some(NEXT)).expect("the next deploy");
    assert_eq!(number(connection, "select count(*) from __diesel_schema_migrations"), 3);
    ok("migrations: a destructive one is refused whole, and the next deploy goes on");
}

fn refusals(connection: &mut PgConnection, arguments: &Arguments) {
    for (states, sql) in arguments.refusals() {
        match diesel::sql_query(&sql).execute(connection) {
            Err(Error::DatabaseError(_, told)) => {
                refused(told.message(), None, &states, &sql);
                assert!(told.details().is_some() && told.hint().is_some(), "DETAIL and HINT: {sql}");
            }
            other => panic!("not refused: {sql}: {other:?}"),
        }
        assert_eq!(number(connection, "select 1::bigint"), 1);
    }
    if arguments.role != "unrestricted" {
        ok("refusals, with DETAIL and HINT");
    }
}
