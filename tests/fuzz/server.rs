//! A real server on which statements that were read as harmless are run, and looked at for what they changed.

use std::collections::BTreeMap;
use std::time::Duration;

use pgwarden::catalog::{Catalog, QUESTION, Rows};
use pgwarden::sql::{self, Class, Limits, Movement, functions};
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use crate::support::{PASSWORD, Postgres, SUPERUSER, Version};

const SCHEMA: &str = include_str!("schema.sql");

/// Nothing but the statement under test may write anything.
const QUIET: [&str; 7] = [
    "autovacuum=off",
    "wal_level=minimal",
    "max_wal_senders=0",
    "checkpoint_timeout=1d",
    "max_wal_size=4GB",
    "track_counts=off",
    "max_parallel_workers_per_gather=0",
];

/// Everything that a statement could leave behind, cheaply (a library that is loaded brings settings at their defaults): transactions, WAL, settings, names, locks, sequences, identity, backends.
const FINGERPRINT: &str = "SELECT pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::text,
    (SELECT pg_catalog.md5(pg_catalog.string_agg(name || '=' || setting, ',' ORDER BY name)) FROM pg_catalog.pg_settings WHERE source <> 'default'),
    (SELECT pg_catalog.string_agg(name, ',') FROM pg_catalog.pg_prepared_statements),
    (SELECT pg_catalog.string_agg(name, ',') FROM pg_catalog.pg_cursors),
    (SELECT pg_catalog.count(*) FROM pg_catalog.pg_locks WHERE locktype = 'advisory'),
    (SELECT pg_catalog.count(*) FROM pg_catalog.pg_listening_channels()),
    (SELECT pg_catalog.sum(last_value) FROM pg_catalog.pg_sequences),
    current_user, session_user,
    (SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_activity WHERE application_name = 'arena'),
    pg_catalog.pg_current_wal_insert_lsn()";

/// Columns of [`FINGERPRINT`] that a statement may change that the session follows: prepared statements, cursors.
const FOLLOWED: [usize; 2] = [2, 3];
/// The column of sessions.
const BACKENDS: usize = 9;
/// The column that something else in the server may change too: a change counts when it comes again.
const WAL: usize = 10;

type Print = Vec<Option<String>>;

/// A server with the schema of the generated statements.
pub struct Arena {
    postgres: Postgres,
    client: Client,
    /// Somebody else's session, which nothing may end.
    witness: Client,
    catalog: Catalog,
    before: Print,
    /// What turned out to be wrong, where a run goes on.
    wrong: Vec<String>,
    tried: usize,
    done: usize,
    errors: BTreeMap<String, usize>,
}

async fn connect(postgres: &Postgres) -> Client {
    let (client, connection) = tokio_postgres::connect(&postgres.url("arena"), NoTls).await.unwrap();
    tokio::spawn(connection);
    client
        .batch_execute("SET application_name = 'arena'; SET statement_timeout = '300ms'; SET work_mem = '1MB'")
        .await
        .unwrap();
    client
}

async fn ask(client: &Client) -> Catalog {
    let question =
        format!("BEGIN READ ONLY; SET LOCAL search_path = ''; SET LOCAL statement_timeout = 0; {QUESTION}; COMMIT");
    let answer = first_row(&client.simple_query(&question).await.unwrap());
    Catalog::compile(&Rows::read(answer[0].as_deref().unwrap()).unwrap())
}

fn first_row(messages: &[SimpleQueryMessage]) -> Print {
    let row = messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let row = row.unwrap();
    (0..row.len()).map(|column| row.get(column).map(str::to_owned)).collect()
}

impl Arena {
    pub async fn open(version: Version) -> Arena {
        let postgres = Postgres::start_with(version, &QUIET);
        postgres.rows("postgres", "CREATE DATABASE arena");
        postgres.rows("arena", SCHEMA);
        postgres.rows("arena", "VACUUM FREEZE; CHECKPOINT");
        let (client, witness) = (connect(&postgres).await, connect(&postgres).await);
        let catalog = ask(&witness).await;
        let before = first_row(&client.simple_query(FINGERPRINT).await.unwrap());
        Arena {
            postgres,
            client,
            witness,
            catalog,

            before,
            wrong: Vec::new(),
            tried: 0,
            done: 0,
            errors: BTreeMap::new(),
        }
    }

    /// A call of every function that counts as safe, with arguments that make it run.
    pub async fn functions(&self) -> Vec<String> {
        let question = "SELECT proname, ARRAY(SELECT format_type(t, NULL) FROM unnest(proargtypes) WITH ORDINALITY u (t, n) ORDER BY n),
              proargtypes[0] FROM pg_proc
            WHERE pronamespace = 'pg_catalog'::regnamespace AND prokind <> 'p'
              AND prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype, 'internal'::regtype)
            ORDER BY 1, 2";
        let rows = self.client.query(question, &[]).await.unwrap();
        let mut calls = Vec::new();
        for row in rows {
            let (name, types): (String, Vec<String>) = (row.get(0), row.get(1));
            let safe = functions::classify(Some("pg_catalog"), &name) == Class::FunctionSafe;
            let values: Option<Vec<String>> = types.iter().map(|of| value(of)).collect();
            if let (true, Some(values)) = (safe, values) {
                calls.push(format!("pg_catalog.\"{name}\"({})", values.join(", ")));
            }
        }
        assert!(calls.len() > 1_500, "{}", calls.len());
        calls
    }

    /// Where another program finds it, as libpq's keywords.
    pub fn connection(&self) -> String {
        format!("host=127.0.0.1 port={} user={SUPERUSER} password={PASSWORD} dbname=arena", self.postgres.port())
    }

    async fn print(&mut self, text: &str) -> Print {
        // On a busy machine the session's own timeout may cut the question short.
        for _ in 0..20 {
            if let Ok(messages) = self.client.simple_query(FINGERPRINT).await {
                return first_row(&messages);
            }
            assert!(!self.client.is_closed(), "{text}\nended the session, and was read as harmless");
        }
        panic!("{text}\nand then nothing can be asked");
    }

    /// Runs a text if it was read as harmless.
    pub async fn try_out(&mut self, text: &str) {
        let Ok(mut reading) = sql::read(text, &Limits::default()) else { return };
        self.catalog.widen(&mut reading);
        if !crate::is_harmless(&reading) {
            return;
        }
        let moves = reading.statements.iter().any(|statement| statement.movement != Movement::None);
        self.tried += 1;
        let mut differs = Vec::new();
        for _ in 0..2 {
            match self.client.simple_query(text).await {
                Ok(_) => self.done += 1,
                Err(error) => {
                    let code = error.code().map_or_else(|| error.to_string(), |code| code.code().to_owned());
                    *self.errors.entry(code).or_default() += 1;
                }
            }
            let after = self.print(text).await;
            differs = (0..after.len()).filter(|column| after[*column] != self.before[*column]).collect();
            differs.retain(|column| !moves || !FOLLOWED.contains(column));
            let only_wal = differs == [WAL];
            if moves {
                self.client.batch_execute("CLOSE ALL; DEALLOCATE ALL").await.unwrap();
            }
            let seen = (differs.clone(), self.before.clone(), after.clone());
            self.before = if moves { self.print(text).await } else { after };
            match seen {
                (differs, _, _) if differs.is_empty() => return,
                _ if only_wal => {}
                (differs, before, after) => {
                    let told = |column: &usize| format!("{:?} → {:?}", before[*column], after[*column]);
                    let told: Vec<String> = differs.iter().map(told).collect();
                    panic!("{text}\nwas read as harmless, and changed {}", told.join(", "));
                }
            }
        }
        assert!(differs.is_empty(), "{text}\nwas read as harmless, and wrote to the log twice");
    }

    /// A session of its own for what follows.
    pub async fn reconnect(&mut self) {
        self.client = connect(&self.postgres).await;
        // The old one takes its temporary tables away before it goes, which is a transaction.
        loop {
            self.before = self.print("connecting").await;
            if self.before[BACKENDS].as_deref() == Some("2") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Runs a statement of a script, whatever it does, short of leaving the database.
    pub async fn play(&mut self, text: &str) {
        let Ok(mut reading) = sql::read(text, &Limits::default()) else { return };
        let kept = |(effect, _): &(sql::Effect, sql::Origin)| {
            !matches!(effect.class, Class::Server | Class::FunctionDangerous | Class::Unparsed)
        };
        if !reading.effects.iter().all(kept) {
            return;
        }
        let moves = reading.statements.iter().any(|statement| statement.movement != Movement::None);
        let mut harmless = crate::is_harmless(&reading) && !reading.effects.is_empty();
        let ran = self.client.simple_query(text).await.is_ok();
        if self.client.is_closed() {
            return self.reconnect().await;
        }
        // In a failed transaction nothing can be asked, and nothing happens.
        let Ok(messages) = self.client.simple_query(FINGERPRINT).await else { return };
        let after = first_row(&messages);
        let mut differs: Vec<usize> =
            (0..after.len()).filter(|column| after[*column] != self.before[*column]).collect();
        differs.retain(|column| *column != WAL && !(moves && FOLLOWED.contains(column)));
        if harmless {
            self.tried += 1;
            self.done += usize::from(ran);
            if !differs.is_empty() {
                // Only now is it worth asking what the database's own names mean: it did not change that.
                ask(&self.witness).await.widen(&mut reading);
                harmless = crate::is_harmless(&reading);
            }
            if harmless && !differs.is_empty() {
                return self.again(text, &differs).await;
            }
        }
        self.before = after;
    }

    /// Whether a statement changes something in a session of its own too, where nothing else is under way.
    async fn again(&mut self, text: &str, suspected: &[usize]) {
        self.reconnect().await;
        let _ = self.client.simple_query(text).await;
        let after = self.print(text).await;
        let told = |column: &usize| format!("{:?} → {:?}", self.before[*column], after[*column]);
        let told: Vec<String> =
            suspected.iter().filter(|column| self.before[**column] != after[**column]).map(told).collect();
        if !told.is_empty() {
            self.wrong.push(format!("{text}\nwas read as harmless, and changed {}", told.join(", ")));
        }
        self.before = after;
    }

    /// How it went.
    pub fn report(&self, count: u64, took: Duration) {
        let (tried, done, took) = (self.tried, self.done, took.as_secs_f64());
        println!("{count} statements, {tried} harmless, {done} ran without an error, {took:.1} s; {:?}", self.errors);
        assert!(self.wrong.is_empty(), "{}:\n{}", self.wrong.len(), self.wrong.join("\n\n"));
        assert!(tried > 300 && done > 100, "too few to say anything: {tried} tried, {done} ran");
        assert!(!self.postgres.log().contains("PANIC"), "the server failed");
    }
}

/// A value of a type that is not NULL, so that a strict function runs.
fn value(of: &str) -> Option<String> {
    let plain = of.trim_end_matches("[]");
    if of.ends_with("[]") && !matches!(plain, "internal") {
        return Some(format!("'{{}}'::{of}"));
    }
    let literal = match plain {
        "smallint" | "integer" | "bigint" | "numeric" | "real" | "double precision" | "oid" | "xid" | "cid"
        | "xid8" | "money" => "1",
        "text" | "name" | "character varying" | "character" | "cstring" | "\"char\"" | "bytea" | "unknown" => "x",
        "json" | "jsonb" => "{\"a\": [1]}",
        "jsonpath" => "$.a",
        "boolean" => "t",
        "date" | "timestamp without time zone" | "timestamp with time zone" => "2024-01-01",
        "time without time zone" | "time with time zone" => "10:00",
        "interval" => "1 day",
        "inet" | "cidr" => "10.0.0.0/8",
        "macaddr" => "08:00:2b:01:02:03",
        "macaddr8" => "08:00:2b:01:02:03:04:05",
        "point" => "(1,1)",
        "box" | "lseg" => "(1,1),(0,0)",
        "path" | "polygon" => "((0,0),(1,1))",
        "line" => "{1,2,3}",
        "circle" => "<(0,0),1>",
        "bit" | "bit varying" => "101",
        "uuid" => "00000000-0000-0000-0000-000000000001",
        "xml" => "<a/>",
        "tsvector" | "tsquery" => "a",
        "pg_lsn" => "0/1",
        "tid" => "(0,1)",
        "txid_snapshot" | "pg_snapshot" => "1:2:",
        "regclass" => "t1",
        "regtype" => "int4",
        "regproc" | "regprocedure" => "plain(int)",
        "regnamespace" => "public",
        "regrole" => "postgres",
        "regconfig" | "regdictionary" => "simple",
        "int4range" | "int8range" | "numrange" | "daterange" | "tsrange" | "tstzrange" => "empty",
        "int4multirange" | "int8multirange" | "nummultirange" => "{}",
        "anyelement" | "anynonarray" | "anycompatible" | "anycompatiblenonarray" => return Some("1".to_owned()),
        "anyarray" | "anycompatiblearray" => return Some("ARRAY[1]".to_owned()),
        "\"any\"" => return Some("'x'::text".to_owned()),
        "anyenum" => return Some("'ok'::mood".to_owned()),
        "anyrange" | "anycompatiblerange" => return Some("int4range(1, 2)".to_owned()),
        "record" => return Some("ROW(1)".to_owned()),
        _ => return None,
    };
    Some(format!("'{literal}'::{of}"))
}
