//! PostgreSQL's own regression scripts, read and counted: `make regression-report FOLDER=…` writes `docs/regression.md`. The scripts
//! are not part of this repository; libpg_query carries them below `test/sql/postgres_regress`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "fuzz/scripts.rs"]
mod scripts;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use pgwarden::sql::{self, Class, Limits};

/// What the report says of one kind of statement.
#[derive(Clone, Copy, Default)]
struct Counts {
    accepted: usize,
    both: usize,
    disagree: usize,
    unknown: usize,
}

impl Counts {
    fn add(&mut self, other: Counts) {
        self.accepted += other.accepted;
        self.both += other.both;
        self.disagree += other.disagree;
        self.unknown += other.unknown;
    }

    fn row(&self, name: &str) -> String {
        let share = if self.accepted == 0 { 0.0 } else { 100.0 * self.both as f64 / self.accepted as f64 };
        let Counts { accepted, both, disagree, unknown } = self;
        format!("| {name} | {accepted} | {both} ({share:.1} %) | {} | {disagree} | {unknown} |\n", accepted - both)
    }
}

/// A statement's node in PostgreSQL's tree: `SelectStmt`.
fn kind(statement: &str) -> Option<String> {
    let tree = pg_query::parse(statement, pg_query::ParserOptions::DEFAULT).ok()?.protobuf;
    let node = tree.stmts.first()?.stmt.as_ref()?.node.as_ref()?;
    let told = format!("{node:?}");
    told.split(['(', ' ']).next().map(str::to_owned)
}

struct Report {
    kinds: BTreeMap<String, Counts>,
    files: usize,
    statements: usize,
    refused: usize,
    alone: usize,
    silent: Vec<String>,
    unknown: Vec<String>,
}

fn read(report: &mut Report, statement: &str) {
    report.statements += 1;
    let reading = sql::read(statement, &Limits::default());
    let Some(kind) = kind(statement) else {
        report.refused += 1;
        report.alone += usize::from(reading.is_ok_and(|reading| reading.sqlparser_read));
        return;
    };
    let Ok(reading) = reading else {
        return report.unknown.push(format!("over a limit: {}", &statement[..statement.len().min(80)]));
    };
    let unknown = reading.effects.iter().any(|(effect, _)| matches!(effect.class, Class::Unknown | Class::Unparsed));
    if unknown {
        report.unknown.push(statement.to_owned());
    }
    let follows = |one: &sql::Statement| matches!(one.movement, sql::Movement::Execute { .. });
    if reading.effects.is_empty() && !reading.statements.iter().all(follows) {
        report.silent.push(statement.to_owned());
    }
    let one = Counts {
        accepted: 1,
        both: usize::from(reading.sqlparser_read),
        disagree: usize::from(reading.disagree),
        unknown: usize::from(unknown),
    };
    report.kinds.entry(kind).or_default().add(one);
}

#[test]
#[ignore = "make regression-report runs it: it needs PostgreSQL's scripts"]
fn postgres_own_scripts_are_read() {
    let files = scripts::files();
    let mut report = Report {
        kinds: BTreeMap::new(),
        files: files.len(),
        statements: 0,
        refused: 0,
        alone: 0,
        silent: Vec::new(),
        unknown: Vec::new(),
    };
    for file in &files {
        scripts::statements(file).iter().for_each(|statement| read(&mut report, statement));
    }
    let text = told(&report);
    println!("{text}");
    println!("{:#?}", report.unknown);
    std::fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/regression.md"), text).unwrap();
    assert!(report.silent.is_empty(), "silence about {:#?}", report.silent);
    assert!(report.statements > 30_000, "{} statements in {} files", report.statements, report.files);
}

fn told(report: &Report) -> String {
    let mut all = Counts::default();
    report.kinds.values().for_each(|counts| all.add(*counts));
    let mut text = String::from(
        "# PostgreSQL's regression scripts, read\n\n\
         <!-- Written by `make regression-report FOLDER=…`. -->\n\n\
         Every statement of PostgreSQL 18's own regression scripts, as libpg_query carries them (`test/sql/postgres_regress`), read \
         by both readers.\npsql's own lines and the data behind COPY are left out; what holds a psql variable is among the refused.\n\n",
    );
    let Report { files, statements, refused, alone, .. } = report;
    let _ = writeln!(
        text,
        "{statements} statements in {files} files; PostgreSQL's grammar accepts {}, and refuses {refused}, of which sqlparser \
         reads {alone} (these are refused too: `unparsed`).\nOf those accepted, sqlparser reads {}; {} are judged by \
         PostgreSQL's grammar alone. {} are not classified in whole (`unknown`). None is read without an effect, save EXECUTE, \
         which does what the statement of its name does.\n",
        all.accepted,
        all.both,
        all.accepted - all.both,
        all.unknown
    );
    text.push_str(
        "| statement | accepted | read by both | by PostgreSQL's grammar alone | readers disagree | unknown |\n",
    );
    text.push_str("| --- | ---: | ---: | ---: | ---: | ---: |\n");
    text.push_str(&all.row("all"));
    for (kind, counts) in &report.kinds {
        text.push_str(&counts.row(kind.trim_end_matches("Stmt")));
    }
    text
}
