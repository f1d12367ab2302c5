//! Judging alone: `make bench-decide`. Cold by each reader and by both, for texts as tools send them and of growing length, cached, by shape, by the number of rules, on one
//! thread and on two.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pgwarden::config;
use pgwarden::decision::{Door, Scope};
use pgwarden::sql::{self, Limits, generic, postgres};

/// A SELECT of 100 bytes, as an application sends it.
const SELECT: &str =
    "SELECT id, name, price FROM shop.products WHERE category_id = $1 AND price < $2 ORDER BY name LIMIT 20";

/// A scope of the application policy with so many rules about relations beside it.
fn scope(rules: usize) -> Arc<Scope> {
    let relations: Vec<String> = (0..rules).map(|number| format!("\"private_{number}.*\"")).collect();
    let text = format!(
        "[databases.shop]\nenvironment = \"production\"\ndirect = \"postgres://u:p@127.0.0.1/shop\"\n\
         [environments.production.roles]\napp = {{ policy = \"application\", endpoint = \"direct\" }}\n\
         [policies.application.relations]\ndeny = [{}]\n",
        relations.join(", ")
    );
    let config = config::parse(&text, Path::new("pgwarden.toml"), &|_| None).unwrap();
    let door = Door::new(Arc::new(config));
    door.scope_of("production", "app").unwrap()
}

/// A text never seen before, with literals.
fn fresh(number: u64) -> String {
    format!("SELECT abalance FROM pgbench_accounts WHERE aid = {number}")
}

fn cold(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("cold");
    group.bench_function("postgres reader", |bench| bench.iter(|| postgres::read(black_box(SELECT))));
    group.bench_function("generic reader", |bench| bench.iter(|| generic::read(black_box(SELECT))));
    group.bench_function("both readers", |bench| bench.iter(|| sql::read(black_box(SELECT), &Limits::default())));
    group.finish();
}

/// What psql asks for `\d table`.
const BACKSLASH_D: &str = "SELECT c.relname, a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), \
    (SELECT pg_catalog.pg_get_expr(d.adbin, d.adrelid, true) FROM pg_catalog.pg_attrdef d \
     WHERE d.adrelid = a.attrelid AND d.adnum = a.attnum AND a.atthasdef), a.attnotnull, \
    (SELECT c.collname FROM pg_catalog.pg_collation c, pg_catalog.pg_type t WHERE c.oid = a.attcollation AND t.oid = a.atttypid \
     AND a.attcollation <> t.typcollation) AS attcollation, a.attidentity, a.attgenerated \
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid \
    LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
    WHERE c.relname OPERATOR(pg_catalog.~) '^(orders)$' COLLATE pg_catalog.default AND pg_catalog.pg_table_is_visible(c.oid) \
    AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum";

/// A query as object-relational mappers write it.
fn orm_select() -> String {
    let columns = |table: &str, count: usize| -> String {
        (0..count)
            .map(|n| format!("\"{table}\".\"column_{n}\" AS \"{table}_column_{n}\""))
            .collect::<Vec<_>>()
            .join(", ")
    };
    format!(
        "SELECT {}, {} FROM \"public\".\"orders\" LEFT OUTER JOIN \"public\".\"customers\" ON \"orders\".\"customer_id\" = \
         \"customers\".\"id\" WHERE (\"orders\".\"status\" = $1 AND \"orders\".\"total\" >= $2 AND \"customers\".\"id\" IN ($3, $4, $5)) \
         ORDER BY \"orders\".\"created_at\" DESC LIMIT $6 OFFSET $7",
        columns("orders", 20),
        columns("customers", 12)
    )
}

/// An INSERT of so many rows of so many columns.
fn insert(columns: usize, rows: usize) -> String {
    let names: Vec<String> = (0..columns).map(|n| format!("column_{n}")).collect();
    let row = |row: usize| (0..columns).map(|n| format!("'{row} {n}'")).collect::<Vec<_>>().join(", ");
    let rows: Vec<String> = (0..rows).map(|number| format!("({})", row(number))).collect();
    format!("INSERT INTO wide ({}) VALUES {}", names.join(", "), rows.join(", "))
}

/// An INSERT of about so many bytes.
fn insert_of(bytes: usize) -> String {
    let one = insert(10, 1).len();
    let two = insert(10, 2).len();
    insert(10, (bytes.saturating_sub(one) / (two - one)).max(1))
}

/// A migration file of so many steps.
fn migration(steps: usize) -> String {
    let step = |n: usize| match n % 4 {
        0 => format!(
            "CREATE TABLE table_{n} (id serial PRIMARY KEY, name text NOT NULL DEFAULT '', at timestamptz DEFAULT now());"
        ),
        1 => format!("ALTER TABLE table_{} ADD COLUMN note_{n} varchar(200);", n - 1),
        2 => format!("CREATE INDEX CONCURRENTLY IF NOT EXISTS index_{n} ON table_{} (name, at DESC);", n - 2),
        _ => format!("UPDATE table_{} SET name = lower(name) WHERE id > {n};", n - 3),
    };
    (0..steps).map(step).collect::<Vec<_>>().join("\n")
}

/// Texts as tools send them, read for the first time.
fn typical(criterion: &mut Criterion) {
    let texts = [
        ("SELECT 1", "SELECT 1".to_owned()),
        ("psql backslash d", BACKSLASH_D.to_owned()),
        ("ORM select", orm_select()),
        ("insert of 200 columns", insert(200, 1)),
        ("insert of 1 MB", insert_of(1 << 20)),
        ("migration of 100 steps", migration(100)),
    ];
    for (name, text) in &texts {
        read_by_each(criterion, "typical", name, text);
    }
}

/// The same statement at growing length: bytes a second should stay the same.
fn growing(criterion: &mut Criterion) {
    for kilobytes in [1, 16, 256, 1024, 4096] {
        read_by_each(criterion, "growing", &format!("{kilobytes} kB"), &insert_of(kilobytes << 10));
    }
}

fn read_by_each(criterion: &mut Criterion, group: &str, name: &str, text: &str) {
    let limits = Limits::default();
    let mut group = criterion.benchmark_group(group);
    group.throughput(Throughput::Bytes(text.len() as u64));
    if text.len() > 100_000 {
        group.sample_size(10);
    }
    group.bench_function(BenchmarkId::new("postgres", name), |bench| bench.iter(|| postgres::read(black_box(text))));
    group.bench_function(BenchmarkId::new("sqlparser", name), |bench| bench.iter(|| generic::read(black_box(text))));
    group.bench_function(BenchmarkId::new("both", name), |bench| bench.iter(|| sql::read(black_box(text), &limits)));
    group.finish();
}

fn known(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("known");
    for rules in [10, 100, 1000] {
        let scope = scope(rules);
        group.bench_with_input(BenchmarkId::new("cached, rules", rules), &scope, |bench, scope| {
            bench.iter(|| scope.judge(black_box(SELECT)));
        });
        group.bench_with_input(BenchmarkId::new("by shape, rules", rules), &scope, |bench, scope| {
            let texts: Vec<String> = (0..100_000).map(fresh).collect();
            let mut next = texts.iter().cycle();
            bench.iter(|| scope.judge(black_box(next.next().unwrap())));
        });
        group.bench_with_input(BenchmarkId::new("new shape, rules", rules), &scope, |bench, scope| {
            let mut number = 0u64;
            bench.iter(|| {
                number += 1;
                scope.judge(black_box(&format!("SELECT a{number} FROM shop.products WHERE id = 1")))
            });
        });
    }
    group.finish();
}

/// The same work on so many threads at once: the time of one judgement as each thread sees it.
fn threads(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("threads");
    let scope = scope(10);
    let texts: Arc<Vec<String>> = Arc::new((0..10_000).map(fresh).collect());
    for count in [1, 2] {
        group.bench_function(BenchmarkId::new("cached", count), |bench| {
            bench.iter_custom(|rounds| together(count, |_| repeat(rounds, || drop(scope.judge(black_box(SELECT))))));
        });
        group.bench_function(BenchmarkId::new("by shape", count), |bench| {
            bench.iter_custom(|rounds| {
                together(count, |thread| {
                    let mut next = texts.iter().cycle().skip(thread * 5_000);
                    repeat(rounds, || drop(scope.judge(black_box(next.next().unwrap()))))
                })
            });
        });
    }
    group.finish();
}

fn repeat(rounds: u64, mut work: impl FnMut()) -> Duration {
    let began = Instant::now();
    (0..rounds).for_each(|_| work());
    began.elapsed()
}

fn together(count: usize, work: impl Fn(usize) -> Duration + Sync) -> Duration {
    let work = &work;
    let longest = std::thread::scope(|threads| {
        let running: Vec<_> = (0..count).map(|thread| threads.spawn(move || work(thread))).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).max()
    });
    longest.unwrap_or_default()
}

criterion_group!(benches, cold, typical, growing, known, threads);
criterion_main!(benches);
