//! Real clients doing real work: each client of `tests/clients/` on each path, in each role.
//!
//! A fast subset by default; with `PGWARDEN_CLIENTS=all` all of it, which also writes `docs/compatibility.md`, and
//! `PGWARDEN_CLIENTS=psql,jdbc` names clients, on every path. `UPDATE_PICTURES=1` puts the pictures of pgAdmin into
//! `docs/images`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/compatibility.rs"]
mod compatibility;
mod support;
#[path = "clients/tokio-postgres/work.rs"]
mod tokio_postgres_work;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use compatibility::{Column, Found};
use support::proxy::{database, user};
use support::{Mode, PASSWORD, PgBouncer, Pgwarden, Postgres, Version};

/// How long one client may work.
const DEADLINE: Duration = Duration::from_secs(900);

/// How many clients work at the same time.
const WORKERS: usize = 3;

/// A client of the suite.
#[derive(Clone, Copy)]
struct Client {
    name: &'static str,
    /// What runs its program, and where that lies below `tests/clients`; `rust` is in this program, `program` is what
    /// `scripts/install.sh clients` built.
    command: &'static str,
    /// Whether a run that asks for nothing in particular includes it.
    fast: bool,
}

const fn fast(name: &'static str, command: &'static str) -> Client {
    Client { name, command, fast: true }
}

const fn thorough(name: &'static str, command: &'static str) -> Client {
    Client { name, command, fast: false }
}

/// Every client.
const CLIENTS: &[Client] = &[
    fast("psql", "python psql/work.py"),
    fast("psql files", "python psql-files/work.py"),
    thorough("pgcli", "python-more pgcli/work.py"),
    fast("pg_dump", "python pg-dump/work.py"),
    fast("pgbench", "sh pgbench/work.sh"),
    thorough("libpq pipeline", "program libpq-pipeline"),
    fast("psycopg2", "python psycopg2/work.py"),
    fast("psycopg3", "python psycopg3/work.py"),
    fast("asyncpg", "python asyncpg/work.py"),
    fast("pg8000", "python pg8000/work.py"),
    thorough("SQLAlchemy", "python-more sqlalchemy/work.py"),
    thorough("Django", "python-more django/work.py"),
    thorough("psqlODBC", "python-more odbc/work.py"),
    fast("node-postgres", "node node-postgres/work.cjs"),
    fast("postgres-js", "node postgres-js/work.cjs"),
    fast("prisma", "node prisma/work.cjs"),
    thorough("Prisma Migrate", "node prisma-migrate/work.cjs"),
    thorough("Drizzle", "node-more drizzle/work.cjs"),
    thorough("drizzle-kit", "node-more drizzle-kit/work.cjs"),
    thorough("Knex", "node-more knex/work.cjs"),
    thorough("Sequelize", "node-more sequelize/work.cjs"),
    thorough("TypeORM", "node-more typeorm/work.cjs"),
    fast("jdbc", "java jdbc/Work.java"),
    thorough("lib/pq", "program lib-pq"),
    thorough("pgx", "program pgx"),
    fast("tokio-postgres", "rust"),
    thorough("sqlx", "program sqlx"),
    thorough("diesel", "program diesel"),
    thorough("Ruby pg", "ruby ruby-pg/work.rb"),
    thorough("PHP PDO", "php php-pdo/work.php"),
    thorough("DBD::Pg", "perl perl-dbd/work.pl"),
    thorough("pgAdmin 4", "node pgadmin/work.mjs"),
    thorough("Adminer", "node adminer/work.mjs"),
];

/// The roles that clients have in production, named for their policies, and the endpoint of each before a pooler in
/// transaction mode.
const ROLES: [(&str, &str); 4] =
    [("unrestricted", "pooled"), ("application", "pooled"), ("read-only", "pooled"), ("migrations", "direct")];

const WITHOUT: &str = "without pgwarden";
const THROUGH_15: &str = "pgwarden → Postgres 15";
const THROUGH_18: &str = "pgwarden → Postgres 18";
const THROUGH_TRANSACTION: &str = "pgwarden → PgBouncer, transaction mode → Postgres 15";
const THROUGH_SESSION: &str = "pgwarden → PgBouncer, session mode → Postgres 18";

/// The columns of the page.
const COLUMNS: &[Column] = &[
    Column { heading: "Postgres 15", path: "Postgres 15" },
    Column { heading: "Postgres 18", path: "Postgres 18" },
    Column { heading: "PgBouncer, transaction", path: "PgBouncer, transaction mode" },
    Column { heading: "**pgwarden** → Postgres 15", path: THROUGH_15 },
    Column { heading: "**pgwarden** → Postgres 18", path: THROUGH_18 },
    Column { heading: "**pgwarden** → PgBouncer, transaction", path: THROUGH_TRANSACTION },
    Column { heading: "**pgwarden** → PgBouncer, session", path: THROUGH_SESSION },
];

/// Rules beside the built-in policies.
const RULES: &str = r#"
[policies.application.relations]
deny = ["private.*"]

[policies.read-only.functions]
allow = ["public.twice"]

[policies.migrations.functions]
allow = ["public.twice"]
"#;

/// One client in one role on one path.
struct Cell {
    client: &'static str,
    command: &'static str,
    role: &'static str,
    path: &'static str,
    /// What of a session the path keeps between transactions: `all`, `statements` or `nothing`.
    keeps: &'static str,
    url: String,
}

/// What came of it.
struct Outcome {
    cell: usize,
    failure: Option<String>,
    version: String,
    passed: Vec<String>,
    skipped: Vec<String>,
    took: Duration,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn wanted() -> String {
    std::env::var("PGWARDEN_CLIENTS").unwrap_or_default()
}

/// The clients that were asked for.
fn clients() -> impl Iterator<Item = Client> {
    let wanted = wanted();
    let named: Vec<String> = wanted.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    CLIENTS.iter().copied().filter(move |client| match named.as_slice() {
        [] => client.fast,
        [all] if all == "all" => true,
        named => named.iter().any(|name| name == client.name),
    })
}

/// Whether anything in particular was asked for: it runs on every path then.
fn thoroughly() -> bool {
    !wanted().is_empty()
}

/// The command that runs a client's program.
fn command(cell: &Cell) -> Command {
    let (kind, program) = cell.command.split_once(' ').unwrap();
    let here = root().join("tests/clients");
    let installed = root().join("target/clients");
    let mut command = match kind {
        "python" | "python-more" => Command::new(installed.join(kind).join("bin/python")),
        "node" | "node-more" => Command::new("node"),
        "java" => java(),
        "program" => Command::new(installed.join("programs").join(program)),
        _ => Command::new(kind),
    };
    if kind != "program" {
        command.arg(here.join(program));
    }
    command.args([&cell.url, cell.role, cell.keeps]);
    let modules = if kind == "node-more" { "node-more/node_modules" } else { "node/node_modules" };
    command.env("NODE_PATH", installed.join(modules)).env("PYTHONDONTWRITEBYTECODE", "1");
    command.env("REFUSALS", here.join("refusals.tsv")).env("LC_ALL", "C.UTF-8");
    let mut path = vec![installed.join("bin")];
    path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    command.env("PATH", std::env::join_paths(path).unwrap());
    if thoroughly() {
        command.env("CLIENTS", "200").env("TRANSACTIONS", "20");
    }
    command
}

fn java() -> Command {
    let mut command = Command::new("java");
    command.args(["-cp", "/usr/share/java/postgresql.jar", "-XX:TieredStopAtLevel=1"]);
    command.arg(format!("-Drefusals={}", root().join("tests/clients/refusals.tsv").display()));
    command
}

/// Runs one cell to its end or the deadline.
fn run(index: usize, cell: &Cell) -> Outcome {
    let started = Instant::now();
    let (output, problem) = if cell.command == "rust" { run_here(cell) } else { run_program(index, cell) };
    let said = |word: &str| -> Vec<String> {
        output.lines().filter_map(|line| line.strip_prefix(word)).map(str::to_owned).collect()
    };
    Outcome {
        cell: index,
        version: said("version ").into_iter().next().unwrap_or_default(),
        passed: said("ok "),
        skipped: said("skip "),
        failure: problem.map(|problem| format!("{output}\n{problem}")),
        took: started.elapsed(),
    }
}

/// Runs a client of this program: its report, and what went wrong.
fn run_here(cell: &Cell) -> (String, Option<String>) {
    match std::panic::catch_unwind(|| tokio_postgres_work::work(&cell.url, cell.role, cell.keeps)) {
        Ok(report) => (report, None),
        Err(panic) => (String::new(), Some(panic.downcast_ref::<String>().cloned().unwrap_or("panicked".into()))),
    }
}

/// Runs a client's program: what it wrote, and what went wrong.
fn run_program(index: usize, cell: &Cell) -> (String, Option<String>) {
    let started = Instant::now();
    // The tests of this program run side by side: the cells' numbers alone do not tell their files apart.
    static FILES: AtomicUsize = AtomicUsize::new(0);
    let file = FILES.fetch_add(1, Ordering::Relaxed);
    let place = support::folder().join(format!("client-{}-{index}-{}-{file}", std::process::id(), cell.role));
    let log = std::fs::File::create(&place).unwrap();
    let mut child = command(cell)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap_or_else(|error| panic!("{} does not run ({error}): run `scripts/install.sh test`", cell.client));
    loop {
        match child.try_wait().unwrap() {
            Some(status) if status.success() => return (read_and_remove(place), None),
            Some(status) => return (read_and_remove(place), Some(status.to_string())),
            None if started.elapsed() > DEADLINE => {
                child.kill().unwrap();
                child.wait().unwrap();
                return (read_and_remove(place), Some(format!("still running after {} s", DEADLINE.as_secs())));
            }
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

fn read_and_remove(place: PathBuf) -> String {
    let text = std::fs::read(&place).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap();
    std::fs::remove_file(place).unwrap();
    text
}

/// Runs all cells, prints the table, and fails when one of them did. pgbench brings many clients of its own, and is
/// alone at its work.
fn run_all(title: &'static str, cells: &[Cell], pgwarden: Option<&Pgwarden>) {
    let (many, few): (Vec<usize>, Vec<usize>) = (0..cells.len()).partition(|&index| cells[index].client == "pgbench");
    let mut outcomes = run_some(cells, &few, WORKERS);
    outcomes.extend(run_some(cells, &many, 1));
    outcomes.sort_by_key(|outcome| outcome.cell);
    println!("{title}");
    for outcome in &outcomes {
        print_row(&cells[outcome.cell], outcome);
    }
    report(title, cells, &outcomes, pgwarden.map_or(0, refused));
    let failures: Vec<String> = outcomes.iter().filter_map(|outcome| failure(&cells[outcome.cell], outcome)).collect();
    assert!(failures.is_empty(), "{} of {} failed\n{}", failures.len(), cells.len(), failures.join("\n"));
}

/// How many statements it refused so far, by its own metrics.
fn refused(pgwarden: &Pgwarden) -> u64 {
    let (_, page) = pgwarden.page("/metrics");
    let of_refusals = |line: &&str| line.starts_with("pgwarden_statements_total{") && line.contains("verdict=\"deny\"");
    page.lines().filter(of_refusals).map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

/// What all tests of a whole run found: how many there were, their cells, and how many statements were refused.
static FOUND: Mutex<(usize, Vec<Found>, u64)> = Mutex::new((0, Vec::new(), 0));

/// The tests of a whole run.
const TESTS: usize = 5;

/// Keeps what a test found; the last one of a whole run writes the page.
fn report(title: &'static str, cells: &[Cell], outcomes: &[Outcome], refused: u64) {
    if wanted() != "all" {
        return;
    }
    let mut found = FOUND.lock().unwrap();
    for outcome in outcomes {
        let Cell { client, role, path, .. } = cells[outcome.cell];
        let plain = title == WITHOUT;
        found.1.push(Found {
            client,
            role,
            path: if plain { path } else { title },
            warden: !plain,
            version: outcome.version.clone(),
            features: outcome.passed.clone(),
            skipped: outcome.skipped.clone(),
            failed: outcome.failure.is_some(),
        });
    }
    found.0 += 1;
    found.2 += refused;
    if found.0 == TESTS {
        let names: Vec<&str> = CLIENTS.iter().map(|client| client.name).collect();
        let refusals = include_str!("clients/refusals.tsv");
        let text = compatibility::page(&names, COLUMNS, &found.1, found.2, &support::versions(), refusals);
        std::fs::write(root().join("docs/compatibility.md"), text).unwrap();
    }
}

/// Runs the cells with these numbers, some at a time.
fn run_some(cells: &[Cell], numbers: &[usize], workers: usize) -> Vec<Outcome> {
    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(&number) = numbers.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let outcome = run(number, &cells[number]);
                    outcomes.lock().unwrap().push(outcome);
                }
            });
        }
    });
    outcomes.into_inner().unwrap()
}

fn print_row(cell: &Cell, outcome: &Outcome) {
    let verdict = if outcome.failure.is_some() { "FAILED" } else { "works" };
    let skipped =
        if outcome.skipped.is_empty() { String::new() } else { format!("  not: {}", outcome.skipped.join("; ")) };
    println!(
        "  {:<14} {:<13} {:<27} {verdict:<7} {:>3} features {:>5.1} s{skipped}",
        cell.client,
        cell.role,
        cell.path,
        outcome.passed.len(),
        outcome.took.as_secs_f32()
    );
}

fn failure(cell: &Cell, outcome: &Outcome) -> Option<String> {
    let text = outcome.failure.as_ref()?;
    Some(format!("--- {} as {} ({}):\n{text}", cell.client, cell.role, cell.path))
}

/// A Postgres with the fixture in a database of its own to copy from.
fn with_fixture(version: Version) -> (&'static Postgres, String) {
    let postgres = Postgres::shared(version);
    let template = postgres.database();
    postgres.rows(&template, include_str!("clients/fixture.sql"));
    (postgres, template)
}

/// The reference: the same work without pgwarden.
#[test]
fn clients_work_on_plain_postgres_and_pgbouncer() {
    let (postgres, template) = with_fixture(Version::V15);
    let pgbouncer = PgBouncer::start(postgres, Mode::Transaction);
    let newer = thoroughly().then(|| with_fixture(Version::V18));
    let mut cells = Vec::new();
    for Client { name: client, command, .. } in clients() {
        let mut cell = |path, keeps, url| {
            cells.push(Cell { client, command, role: "unrestricted", path, keeps, url });
        };
        cell("Postgres 15", "all", postgres.url(&postgres.database_from(&template)));
        let pooled = pgbouncer.url(&postgres.database_from(&template));
        cell("PgBouncer, transaction mode", "nothing", pooled);
        if let Some((newer, template)) = &newer {
            cell("Postgres 18", "all", newer.url(&newer.database_from(template)));
        }
    }
    run_all(WITHOUT, &cells, None);
}

/// What pgwarden needs to know: one database a cell, one user a role.
fn configuration(databases: &[(String, String, String)], pooled: bool) -> String {
    let mut text = String::from("[environments.production.roles]\n");
    for (role, endpoint) in ROLES {
        let endpoint = if pooled { endpoint } else { "direct" };
        text.push_str(&format!("{role} = {{ policy = \"{role}\", endpoint = \"{endpoint}\" }}\n"));
    }
    text.push_str(RULES);
    for (name, pooled, direct) in databases {
        text.push_str(&database(name, pooled, direct));
    }
    if let Some((name, _, direct)) = databases.first() {
        // Where `prisma migrate dev` tries migrations out.
        let shadows = direct.replace(name, "{name}");
        text.push_str(&database("\"prisma_migrate_shadow_db_*\"", &shadows, &shadows));
    }
    for (role, _) in ROLES {
        text.push_str(&user(role, PASSWORD, &format!("production = \"{role}\"")));
    }
    text
}

/// All clients in all roles through pgwarden, before `pgbouncer` or Postgres itself.
fn through_pgwarden(title: &'static str, version: Version, pgbouncer: Option<Mode>) {
    let (postgres, template) = with_fixture(version);
    // In session mode each client holds a server connection, pgbench's 200 too.
    let pool: &[&str] =
        if pgbouncer == Some(Mode::Session) { &["default_pool_size = 250", "server_idle_timeout = 1"] } else { &[] };
    let pgbouncer = pgbouncer.map(|mode| (PgBouncer::start_with(postgres, mode, &[], pool), mode));
    let mut cells = Vec::new();
    let mut databases = Vec::new();
    for Client { name: client, command, .. } in clients() {
        for (role, _) in ROLES {
            let name = postgres.database_from(&template);
            let pooled = pgbouncer.as_ref().map_or_else(|| postgres.url(&name), |(server, _)| server.url(&name));
            // Migrations go past the pooler. For the others one in session mode is a direct endpoint.
            let (path, keeps) = match &pgbouncer {
                Some((_, Mode::Transaction)) if role != "migrations" => ("transaction", "statements"),
                Some((_, Mode::Session)) if role != "migrations" => ("session", "all"),
                _ => ("direct", "all"),
            };
            let direct = if path == "session" { pooled.clone() } else { postgres.url(&name) };
            databases.push((name.clone(), pooled, direct));
            cells.push(Cell { client, command, role, path, keeps, url: name });
        }
    }
    let pgwarden = Pgwarden::start(&configuration(
        &databases,
        pgbouncer.as_ref().is_some_and(|(_, mode)| *mode == Mode::Transaction),
    ));
    for cell in &mut cells {
        cell.url = pgwarden.url(cell.role, PASSWORD, &cell.url);
    }
    run_all(title, &cells, Some(&pgwarden));
}

#[test]
fn clients_work_through_pgwarden_and_pgbouncer_in_transaction_mode() {
    through_pgwarden(THROUGH_TRANSACTION, Version::V15, Some(Mode::Transaction));
}

#[test]
fn clients_work_through_pgwarden_and_postgres_18() {
    through_pgwarden(THROUGH_18, Version::V18, None);
}

#[test]
fn clients_work_through_pgwarden_and_pgbouncer_in_session_mode() {
    if thoroughly() {
        through_pgwarden(THROUGH_SESSION, Version::V18, Some(Mode::Session));
    }
}

#[test]
fn clients_work_through_pgwarden_and_postgres_15() {
    if thoroughly() {
        through_pgwarden(THROUGH_15, Version::V15, None);
    }
}

/// Large objects are outside of what a read-only role reads by itself; the policy of one that backs up names what reads them.
#[test]
fn a_backup_takes_large_objects_along_where_the_policy_says_so() {
    let postgres = Postgres::shared(Version::V15);
    let name = postgres.database();
    postgres.rows(&name, "select lo_from_bytea(4242, 'kept')");
    let mut configuration = String::from(
        r#"
[environments.production.roles]
backup = { policy = "backup", endpoint = "direct" }
reader = { policy = "read-only", endpoint = "direct" }
[policies.backup]
read_only = true
allow = ["read", "function.safe", "session.setting", "transaction"]
functions.allow = ["lo_open", "loread", "lo_close"]
"#,
    );
    configuration.push_str(&database(&name, &postgres.url(&name), &postgres.url(&name)));
    for role in ["backup", "reader"] {
        configuration.push_str(&user(role, PASSWORD, &format!("production = \"{role}\"")));
    }
    let pgwarden = Pgwarden::start(&configuration);
    let dump = |role: &str, file: &Path| {
        let url = pgwarden.url(role, PASSWORD, &name);
        let output = Command::new("pg_dump").arg("-d").arg(url).arg("-f").arg(file).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let file = support::folder().join(format!("backup-{}.sql", std::process::id()));

    let (succeeded, said) = dump("reader", &file);
    assert!(!succeeded && said.contains("pgwarden: call of pg_catalog.lo_open is not allowed"), "{said}");
    let (succeeded, said) = dump("backup", &file);
    assert!(succeeded, "{said}");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    assert!(text.contains(r"lowrite(0, '\x6b657074')"), "{text}");

    let url = pgwarden.url("backup", PASSWORD, &name);
    let psql = |command: &str| {
        let output = Command::new("psql").args(["-X", "-q", "-d", &url, "-c", command]).output().unwrap();
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert_eq!(psql(&format!("\\lo_export 4242 {}", file.display())), "");
    assert_eq!(std::fs::read(&file).unwrap(), b"kept");
    std::fs::remove_file(&file).unwrap();
    assert!(psql("\\lo_unlink 4242").contains("pgwarden: call of pg_catalog.lo_unlink is not allowed"));
    assert_eq!(postgres.rows(&name, "select convert_from(lo_get(4242), 'UTF8')").trim(), "kept");
}

/// pgAdmin as whoever reads production has it, behind a pooler, and pictures of that.
#[test]
fn pgadmin_shows_production_and_what_is_refused_there() {
    let Some(Client { name: client, command: program, .. }) = clients().find(|client| client.name == "pgAdmin 4")
    else {
        return;
    };
    let postgres = Postgres::start(Version::V15);
    postgres.rows("postgres", "create database shop");
    postgres.rows("shop", include_str!("clients/fixture.sql"));
    let pgbouncer = PgBouncer::start(&postgres, Mode::Transaction);
    let mut configuration = String::from("[environments.production.roles]\nstudio = \"read-only\"\n");
    configuration.push_str(RULES);
    configuration.push_str(&database("shop", &pgbouncer.url("shop"), &postgres.url("shop")));
    configuration.push_str(&user("studio_reader", PASSWORD, "production = \"studio\""));
    let pgwarden = Pgwarden::start(&configuration);
    let url = pgwarden.url("studio_reader", PASSWORD, "shop");
    let folder = if std::env::var_os("UPDATE_PICTURES").is_some() { "docs/images" } else { "target/tmp/pictures" };
    let pictures = ["pgadmin-reads.png", "pgadmin-query-refused.png", "pgadmin-refused.png"]
        .map(|name| root().join(folder).join(name));
    let began = std::time::SystemTime::now();

    let cell = Cell { client, command: program, role: "read-only", path: "transaction", keeps: "statements", url };
    let mut command = command(&cell);
    let output =
        command.env("SERVER", "production").env("PICTURES", root().join(folder)).current_dir(root()).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");

    for picture in pictures {
        assert!(std::fs::metadata(&picture).unwrap().modified().unwrap() >= began, "{}", picture.display());
    }
    assert_eq!(postgres.rows("shop", "select name from items where id = 3").trim(), "item 3");
    let refused: Vec<serde_json::Value> =
        pgwarden.records().into_iter().filter(|record| record["verdict"] == "deny").collect();
    let row = refused.last().unwrap();
    assert_eq!(
        (&row["user"], &row["role"], &row["environment"]),
        (&"studio_reader".into(), &"studio".into(), &"production".into())
    );
    assert!(row["application"].as_str().unwrap().starts_with("pgAdmin 4"), "{row}");
}
