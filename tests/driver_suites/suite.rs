//! The suites: where each comes from, how it is run, and what it says of each of its tests.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::support::{self, PASSWORD, SUPERUSER};

/// How long a whole suite may run.
const DEADLINE_SECONDS: &str = "900";

/// What came of one test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Passed,
    /// With the reason.
    Skipped(String),
    /// With what it said last.
    Failed(String),
}

/// By the test's name.
pub type Outcomes = BTreeMap<String, Outcome>;

/// The server that a suite is pointed at.
pub struct Target {
    pub port: u16,
}

/// A driver's suite.
pub struct Suite {
    /// Its name here and the folder that it is looked for in.
    pub name: &'static str,
    /// Settings of its servers.
    pub settings: &'static [&'static str],
    /// The version of the driver that is tested.
    pub version: fn(&Path) -> String,
    /// Runs it and gives what it printed.
    pub run: fn(&Path, &Target) -> String,
    /// What that says of each test; `None` where not every test was found.
    pub outcomes: fn(&str) -> Option<Outcomes>,
}

pub const SUITES: [Suite; 5] = [
    Suite {
        name: "psycopg2",
        settings: &["wal_level=logical"],
        version: |_| python_version("psycopg2-binary"),
        run: psycopg2,
        outcomes: outcomes_of_pytest,
    },
    Suite {
        name: "asyncpg",
        settings: &[],
        version: |_| python_version("asyncpg"),
        run: asyncpg,
        outcomes: outcomes_of_pytest,
    },
    Suite {
        name: "psycopg3",
        settings: &[],
        version: |_| python_version("psycopg"),
        run: psycopg3,
        outcomes: outcomes_of_pytest,
    },
    Suite {
        name: "node-postgres",
        settings: &[],
        version: |_| node_version(),
        run: node_postgres,
        outcomes: outcomes_of_node,
    },
    Suite { name: "pgjdbc", settings: &[], version: |_| pgjdbc_version(), run: pgjdbc, outcomes: outcomes_of_junit },
];

impl Suite {
    /// Where its files are: below `sources`, or where `scripts/install.sh suites` unpacked the package.
    pub fn source(&self, sources: Option<&Path>) -> Option<PathBuf> {
        let given = sources.map(|folder| folder.join(self.name)).filter(|folder| folder.is_dir());
        given.or_else(|| Some(installed().join(self.name)).filter(|folder| folder.is_dir()))
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn installed() -> PathBuf {
    root().join("target/clients/driver-suites/sources")
}

fn python() -> PathBuf {
    root().join("target/clients/driver-suites/bin/python")
}

fn python_version(package: &str) -> String {
    let program = format!("import importlib.metadata as m; print({package:?}, m.version({package:?}))");
    said(Command::new(python()).args(["-c", &program]))
}

fn said(command: &mut Command) -> String {
    String::from_utf8_lossy(&command.output().unwrap().stdout).trim().to_owned()
}

/// A folder of its own for one run.
fn work(name: &str) -> PathBuf {
    static RUNS: AtomicU32 = AtomicU32::new(0);
    let run = RUNS.fetch_add(1, Ordering::Relaxed);
    let folder = support::folder().join(format!("driver-suite-{}-{run}-{name}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// A copy of a suite's tests without the driver's source beside them: the installed driver is what is tested.
fn copy(from: &Path, to: &Path) {
    let done = Command::new("cp").arg("-aL").arg(from).arg(to).status().unwrap();
    assert!(done.success(), "cannot copy {}", from.display());
}

fn environment(command: &mut Command, target: &Target) {
    command
        .env("PGHOST", "127.0.0.1")
        .env("PGPORT", target.port.to_string())
        .env("PGUSER", SUPERUSER)
        .env("PGPASSWORD", PASSWORD)
        .env("PGDATABASE", crate::DATABASE)
        .env("PGSSLMODE", "disable")
        .env("PGTZ", "UTC");
}

/// pytest over the folder `tests` of a source, and what it says of each test.
fn pytest(name: &str, source: &Path, target: &Target, set: &[(&str, String)], arguments: &[&str]) -> String {
    let folder = work(name);
    copy(&source.join("tests"), &folder.join("tests"));
    let mut command = Command::new("timeout");
    command.arg(DEADLINE_SECONDS).arg(python());
    command.args(["-m", "pytest", "-o", "addopts=", "-v", "-rA", "--tb=native", "--color=no"]);
    command.args(arguments).arg("tests").current_dir(&folder).env("COLUMNS", "2000");
    environment(&mut command, target);
    for (name, value) in set {
        command.env(name, value);
    }
    let output = command.output().unwrap();
    fs::remove_dir_all(&folder).unwrap();
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Out of pytest's progress (`tests/a.py::Case::test PASSED [ 1%]`) and its summary (`FAILED tests/a.py::Case::test - why`).
fn outcomes_of_pytest(text: &str) -> Option<Outcomes> {
    let ended = text.contains(" passed") && !text.contains("during collection");
    ended.then(|| outcomes_of_pytest_lines(text))
}

fn outcomes_of_pytest_lines(text: &str) -> Outcomes {
    let mut outcomes = Outcomes::new();
    for line in text.lines() {
        let Some((name, rest)) = line.split_once(' ').filter(|(name, _)| name.contains("::")) else { continue };
        let outcome = match rest.split_whitespace().next() {
            Some("PASSED" | "XPASS") => Outcome::Passed,
            Some("SKIPPED" | "XFAIL") => Outcome::Skipped(rest.split_once('(').map_or("", |(_, why)| why).to_owned()),
            Some("FAILED" | "ERROR") => Outcome::Failed(String::new()),
            _ => continue,
        };
        // A test that passed and whose end failed has two lines.
        let known = outcomes.entry(name.to_owned()).or_insert(Outcome::Passed);
        if *known == Outcome::Passed {
            *known = outcome;
        }
    }
    for line in text.lines() {
        let Some(rest) = ["FAILED ", "ERROR "].iter().find_map(|word| line.strip_prefix(word)) else { continue };
        let (name, why) = rest.split_once(" - ").unwrap_or((rest, ""));
        outcomes.insert(name.to_owned(), Outcome::Failed(why.trim().to_owned()));
    }
    outcomes
}

fn psycopg2(source: &Path, target: &Target) -> String {
    let set = [("PSYCOPG2_TESTDB", crate::DATABASE.to_owned()), ("PSYCOPG2_TEST_REPL_DSN", String::new())];
    pytest("psycopg2", source, target, &set, &[])
}

fn asyncpg(source: &Path, target: &Target) -> String {
    pytest("asyncpg", source, target, &[], &[])
}

fn psycopg3(source: &Path, target: &Target) -> String {
    let dsn =
        format!("host=127.0.0.1 port={} user={SUPERUSER} password={PASSWORD} dbname={}", target.port, crate::DATABASE);
    // Left out: what measures time, needs a network or another server or checks types, the pool (a package of its own), and the
    // asynchronous twin that most tests have.
    let without = "not slow and not timing and not dns and not mypy and not flakey and not subprocess";
    let only = ["-m", without, "-k", "not async and not gevent", "--ignore=tests/pool", "--ignore=tests/crdb"];
    pytest("psycopg3", source, target, &[("PSYCOPG_TEST_DSN", dsn)], &only)
}

fn node_modules() -> PathBuf {
    root().join("target/clients/node/node_modules")
}

fn node_version() -> String {
    said(
        Command::new("node")
            .arg("-p")
            .arg("'pg ' + require('pg/package.json').version")
            .env("NODE_PATH", node_modules()),
    )
}

/// node-postgres' integration tests: each file is a program, and each of its tests a line.
fn node_postgres(source: &Path, target: &Target) -> String {
    let folder = work("node-postgres");
    let package = folder.join("pg");
    copy(&node_modules().join("pg"), &package);
    copy(&source.join("packages/pg/test"), &package.join("test"));
    let mut files = Vec::new();
    programs(&package.join("test/integration"), &mut files);
    files.sort();
    let paths = [node_modules(), root().join("target/clients/node-suites/node_modules")];
    let mut log = String::new();
    for file in files {
        let mut command = Command::new("timeout");
        command.args(["60", "node"]).arg(&file).current_dir(&package);
        command.env("NODE_PATH", std::env::join_paths(&paths).unwrap());
        environment(&mut command, target);
        let output = command.output().unwrap();
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let name = file.strip_prefix(package.join("test")).unwrap().display().to_string();
        log.push_str(&format!("== {name}: {}\n{text}\n", output.status));
    }
    fs::remove_dir_all(&folder).unwrap();
    log
}

fn programs(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            programs(&path, files);
        } else if path.to_string_lossy().ends_with("-tests.js") {
            files.push(path);
        }
    }
}

/// Out of what every file printed, under a line `== file: status`.
fn outcomes_of_node(text: &str) -> Option<Outcomes> {
    let mut outcomes = Outcomes::new();
    for part in text.split("\n== ") {
        let (head, rest) = part.split_once('\n')?;
        let (file, status) = head.trim_start_matches("== ").rsplit_once(": exit status: ")?;
        outcomes.extend(outcomes_of_file(file, rest, status == "0"));
    }
    Some(outcomes)
}

/// The file itself, and every line `  name ✔`.
fn outcomes_of_file(file: &str, text: &str, success: bool) -> Outcomes {
    let passed = text.lines().filter_map(|line| line.trim().strip_suffix('✔'));
    let mut outcomes: Outcomes = passed.map(|name| (format!("{file}: {}", name.trim()), Outcome::Passed)).collect();
    let told = || {
        let lines = || text.lines().map(str::trim);
        let refused = lines().find(|line| crate::page::refused(line));
        let error = || lines().find(|line| line.contains("rror:") || line.contains("FAILED"));
        refused.or_else(error).unwrap_or_default().to_owned()
    };
    let whole = if success { Outcome::Passed } else { Outcome::Failed(told()) };
    outcomes.insert(file.to_owned(), whole);
    outcomes
}

/// Debian's folder of Java libraries.
const JARS: &str = "/usr/share/java";
/// What pgjdbc's tests are compiled and run with.
const LIBRARIES: [&str; 16] = [
    "postgresql",
    "junit-jupiter-api",
    "junit-jupiter-params",
    "junit-jupiter-engine",
    "junit-vintage-engine",
    "junit4",
    "hamcrest",
    "apiguardian-api",
    "opentest4j",
    "junit-platform-commons",
    "junit-platform-engine",
    "junit-platform-launcher",
    "junit-platform-console",
    "junit-platform-reporting",
    "picocli",
    "checker-qual",
];
/// Libraries that Debian has not: what is written with them does not run, nor do the lists of tests that name it.
const MISSING: &str = "systemstubs|jiderhamn|org.postgresql.osgi|StubEnvironmentAndProperties|Suite.SuiteClasses";

fn pgjdbc_version() -> String {
    let version = said(Command::new("dpkg-query").args(["-W", "-f", "${Version}", "libpostgresql-jdbc-java"]));
    format!("pgjdbc {}", version.split('-').next().unwrap_or_default())
}

fn libraries() -> String {
    let reporting = "opentest4j-reporting-events";
    LIBRARIES.iter().chain([&reporting]).map(|name| format!(":{JARS}/{name}.jar")).collect()
}

/// pgjdbc's tests, compiled once against Debian's driver.
fn pgjdbc_classes(source: &Path) -> &'static Path {
    static CLASSES: OnceLock<PathBuf> = OnceLock::new();
    CLASSES.get_or_init(|| {
        let folder = work("pgjdbc-classes");
        let tests = source.join("pgjdbc/src/test");
        let files = said(Command::new("grep").args(["-rLE", MISSING, "--include=*.java"]).arg(tests.join("java")));
        let mut command = Command::new("javac");
        command.args(["-nowarn", "-proc:none", "-encoding", "UTF-8", "-cp", &libraries(), "-d"]).arg(&folder);
        let done = command.args(files.lines()).output().unwrap();
        assert!(done.status.success(), "pgjdbc's tests do not compile: {}", String::from_utf8_lossy(&done.stderr));
        copy(&tests.join("resources/."), &folder);
        folder
    })
}

fn pgjdbc(source: &Path, target: &Target) -> String {
    let folder = work("pgjdbc");
    let classes = pgjdbc_classes(source);
    let mut command = Command::new("timeout");
    command.args([DEADLINE_SECONDS, "java", "-Duser.timezone=UTC"]);
    command.arg(format!("-Dbuild.properties.relative.path={}/", source.display()));
    let settings = [
        ("server", "127.0.0.1"),
        ("port", &target.port.to_string()),
        ("database", crate::DATABASE),
        ("username", SUPERUSER),
        ("password", PASSWORD),
        ("privilegedUser", SUPERUSER),
        ("privilegedPassword", PASSWORD),
    ];
    command.args(settings.map(|(name, value)| format!("-D{name}={value}")));
    command.args(["-cp", &format!("{}{}", classes.display(), libraries())]);
    command.args([
        "org.junit.platform.console.ConsoleLauncher",
        "--disable-banner",
        "--details=none",
        "--scan-classpath",
    ]);
    let output = command.arg(classes).arg("--reports-dir").arg(&folder).current_dir(&folder).output().unwrap();
    let reports = ["TEST-junit-vintage.xml", "TEST-junit-jupiter.xml"];
    let text: String = reports.iter().map(|name| fs::read_to_string(folder.join(name)).unwrap_or_default()).collect();
    fs::remove_dir_all(&folder).unwrap();
    format!("{text}{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Out of JUnit's reports: `<testcase name="a" classname="b" …>`, and what stands in it.
fn outcomes_of_junit(text: &str) -> Option<Outcomes> {
    let mut outcomes = Outcomes::new();
    for case in text.split("<testcase ").skip(1) {
        let head = case.split('>').next().unwrap_or_default();
        let name = format!("{}.{}", attribute(head, "classname"), attribute(head, "name"));
        let inside = case.split("</testcase>").next().unwrap_or_default();
        let failed = ["<failure", "<error"].iter().find_map(|tag| inside.split(tag).nth(1));
        let outcome = match failed {
            Some(failure) => Outcome::Failed(attribute(failure, "message").replace("&#10;", " ").replace('\n', " ")),
            None if inside.contains("<skipped") => Outcome::Skipped(String::new()),
            None => Outcome::Passed,
        };
        outcomes.insert(name, outcome);
    }
    (!outcomes.is_empty()).then_some(outcomes)
}

fn attribute(text: &str, name: &str) -> String {
    let value = text.split(&format!("{name}=\"")).nth(1).and_then(|rest| rest.split('"').next());
    value.unwrap_or_default().to_owned()
}
