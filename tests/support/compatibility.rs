//! `docs/compatibility.md`, out of what a whole run of the client suite found.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// What came of one client in one role on one path.
pub struct Found {
    /// The client, as in `CLIENTS`.
    pub client: &'static str,
    /// The role; a plain server is `unrestricted`.
    pub role: &'static str,
    /// Which test ran it: a heading of the table.
    pub path: &'static str,
    /// Whether pgwarden was on the path.
    pub warden: bool,
    /// What the client says it is.
    pub version: String,
    /// What it did.
    pub features: Vec<String>,
    /// What it left out, as `feature: reason`.
    pub skipped: Vec<String>,
    /// Whether it failed.
    pub failed: bool,
}

/// The columns: heading, and the tests whose results stand there.
pub struct Column {
    /// Its heading.
    pub heading: &'static str,
    /// The path as the results name it.
    pub path: &'static str,
}

/// The whole page. `refused` is how many statements pgwarden refused; `versions` names the servers; `refusals` is
/// `refusals.tsv`.
pub fn page(
    clients: &[&'static str],
    columns: &[Column],
    found: &[Found],
    refused: u64,
    versions: &str,
    refusals: &str,
) -> String {
    let mut text = format!(
        "<!-- Written by `make test-clients`: do not edit. -->\n\n# Compatibility\n\npgwarden {}, with {versions}.\n\n",
        env!("CARGO_PKG_VERSION")
    );
    text.push_str(INTRODUCTION);
    let left = left_out(found);
    let (pooler, here): (Vec<_>, Vec<_>) = left.iter().partition(|(_, cells)| !cells[0].warden);
    totals(&mut text, found, refused, &pooler, &here);
    table(&mut text, clients, columns, found);
    text.push_str("\n## What a pooler, or the server's age, takes away\n\nLeft out without pgwarden too:\n\n");
    reasons(&mut text, &pooler);
    text.push_str("\n## What is left out through pgwarden only\n\n");
    reasons(&mut text, &here);
    text.push_str(BY_DESIGN);
    by_design(&mut text, refusals);
    text
}

const INTRODUCTION: &str = "Every cell is a run: each client does its work (parameters, prepared statements, transactions, \
errors, batches, COPY, cancel, migrations: whatever it has) in a database of its own, and what it does is counted. Without \
pgwarden there is one number; through it there are four, for the roles `unrestricted` · `application` · `read-only` · \
`migrations`, whose work differs: only some may write, create or be refused. A client fails when one thing goes otherwise \
than its role says, and the cell then says **fails**. Migrations take the direct endpoint on every path. `–` means that a client \
was not run there.\n\n";

const BY_DESIGN: &str = "\n## What is refused by design\n\nEvery client runs the statements of its role below, in each way it \
has of sending a statement, and must find pgwarden's MESSAGE (most check DETAIL and HINT too) in its own error, the session \
usable, and nothing changed.\n\n";

/// What was left out, and the cells that did.
type Reason<'a> = (&'a &'a str, &'a Vec<&'a Found>);

/// How many cells there were, and what came of them.
fn totals(text: &mut String, found: &[Found], refused: u64, pooler: &[Reason], here: &[Reason]) {
    let clients: BTreeSet<&str> = found.iter().map(|cell| cell.client).collect();
    let cells = |reasons: &[Reason]| {
        let cells = reasons.iter().flat_map(|(_, cells)| cells.iter());
        cells.map(|cell| (cell.client, cell.role, cell.path)).collect::<BTreeSet<_>>().len()
    };
    let _ = writeln!(
        text,
        "{} clients in {} runs: {} failed; {} left something out that cannot be had without pgwarden either, and {} something \
        that only pgwarden takes away. On the way pgwarden refused {refused} statements, as the roles say.\n",
        clients.len(),
        found.len(),
        found.iter().filter(|cell| cell.failed).count(),
        cells(pooler),
        cells(here),
    );
}

/// What a client is called in the table: its name, and what it says it is.
fn title(client: &str, version: &str) -> String {
    let same = version.get(..client.len()).is_some_and(|start| start.eq_ignore_ascii_case(client));
    if same { version.to_owned() } else { format!("{client}: {version}") }
}

fn table(text: &mut String, clients: &[&'static str], columns: &[Column], found: &[Found]) {
    let headings: Vec<&str> = columns.iter().map(|column| column.heading).collect();
    let _ = writeln!(text, "| client | {} |\n|{}", headings.join(" | "), " --- |".repeat(columns.len() + 1));
    for client in clients {
        let of_client = |path: &str| found.iter().filter(|cell| cell.client == *client && cell.path == path).collect();
        let version = found.iter().find(|cell| cell.client == *client && !cell.version.is_empty());
        let name = version.map_or((*client).to_owned(), |cell| title(client, &cell.version));
        let cells: Vec<String> = columns.iter().map(|column| tally(of_client(column.path))).collect();
        let _ = writeln!(text, "| {name} | {} |", cells.join(" | "));
    }
}

/// The numbers of a cell.
fn tally(cells: Vec<&Found>) -> String {
    let number = |cell: &&Found| if cell.failed { "**fails**".to_owned() } else { cell.features.len().to_string() };
    if cells.is_empty() { "–".to_owned() } else { cells.iter().map(number).collect::<Vec<_>>().join(" · ") }
}

/// What was left out, each with the cells that did; those without pgwarden first.
fn left_out(found: &[Found]) -> BTreeMap<&str, Vec<&Found>> {
    let mut out: BTreeMap<&str, Vec<&Found>> = BTreeMap::new();
    for cell in found {
        for skipped in &cell.skipped {
            out.entry(skipped).or_default().push(cell);
        }
    }
    out.values_mut().for_each(|cells| cells.sort_by_key(|cell| cell.warden));
    out
}

fn reasons(text: &mut String, list: &[Reason]) {
    if list.is_empty() {
        text.push_str("Nothing.\n");
        return;
    }
    text.push_str("| what, and why | clients | roles | paths |\n| --- | --- | --- | --- |\n");
    for (what, cells) in list {
        let clients: BTreeSet<&str> = cells.iter().map(|cell| cell.client).collect();
        let roles: BTreeSet<&str> = cells.iter().map(|cell| cell.role).collect();
        let paths: BTreeSet<&str> = cells.iter().map(|cell| cell.path).collect();
        let words = |set: BTreeSet<&str>| set.into_iter().collect::<Vec<_>>().join(", ");
        let _ = writeln!(text, "| {what} | {} | {} | {} |", words(clients), words(roles), words(paths));
    }
}

fn by_design(text: &mut String, refusals: &str) {
    text.push_str("| role | statement | SQLSTATE |\n| --- | --- | --- |\n");
    for line in refusals.lines().filter(|line| !line.starts_with('#')) {
        if let [role, states, sql] = line.split('\t').collect::<Vec<_>>()[..] {
            let _ = writeln!(text, "| {role} | `{sql}` | {} |", states.replace(',', " or "));
        }
    }
}
