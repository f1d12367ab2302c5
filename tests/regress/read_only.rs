//! PostgreSQL's regression SQL in a read-only session through pgwarden, on the database that the suite itself made: each statement answers as
//! it does directly, message by message, or is refused by pgwarden.
//!
//! What pgwarden refuses is not run directly either, so that the sessions stay alike; in a transaction block the direct ones get another
//! error in its place. What asks for the transaction's mode, or about it, is answered by the hold: it is counted apart. Two direct sessions tell what differs between any two runs. Refusals are counted by what they say the statement does: a
//! reader of the list sees whether each is one that the policy means.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use pgwarden::wire::report;

use crate::raw::{Message, Raw, described};
use crate::support::proxy::{database, user};
use crate::support::{PASSWORD, Pgwarden, SUPERUSER};
use crate::{output, schedule, scripts, server, source};

/// How long one statement may run.
const PATIENCE: Duration = Duration::from_secs(120);
const ERROR: u8 = b'E';
const READY: u8 = b'Z';

/// pgwarden's refusal in the answers, if it is one: what it says the statement does.
fn refusal(answers: &[Message]) -> Option<String> {
    let error = answers.iter().find(|message| message.tag == ERROR)?;
    let told = described(error);
    if !told.contains("pgwarden: ") {
        return None;
    }
    let detail = report::text(&error.body, b'D').map(|text| String::from_utf8_lossy(text).into_owned());
    let effects = detail.as_deref().unwrap_or_default().split(" Audit id").next().unwrap_or_default().to_owned();
    Some(if effects.is_empty() { told } else { effects })
}

/// A message as it is compared: an error without what tells where in the server's source it was raised, and notices too.
fn shown(message: &Message) -> String {
    match message.tag {
        ERROR | b'N' => {
            let field =
                |code: u8| report::text(&message.body, code).map(|text| String::from_utf8_lossy(text).into_owned());
            format!("{} {:?}", char::from(message.tag), b"SCMDHPpqWstcdn".map(field))
        }
        tag => format!("{} {}", char::from(tag), String::from_utf8_lossy(&message.body)),
    }
}

fn shown_all(answers: &[Message]) -> Vec<String> {
    answers.iter().map(shown).collect()
}

/// Whether a statement asks for the transaction's mode or about it: the hold answers, and not as without it.
fn is_about_the_mode(statement: &str) -> bool {
    let lower = statement.to_lowercase();
    ["transaction_read_only", "read write", "read only"].iter().any(|words| lower.contains(words))
}

fn fails(answers: &[Message]) -> bool {
    answers.iter().any(|message| message.tag == ERROR)
}

fn in_block(answers: &[Message]) -> bool {
    answers.iter().rfind(|message| message.tag == READY).is_some_and(|ready| ready.body != b"I")
}

/// What a whole run came to.
#[derive(Default)]
struct Found {
    statements: usize,
    same: usize,
    /// Statements that answer differently each time.
    restless: usize,
    /// Statements that the hold answers.
    mode: usize,
    refused: BTreeMap<String, usize>,
    different: Vec<String>,
}

/// The three sessions of a file.
struct Sessions {
    direct: [Raw; 2],
    held: Raw,
    /// Whether the sessions are in a transaction block.
    in_block: bool,
}

impl Sessions {
    /// The direct sessions' transaction fails, as the held one's did.
    fn fail_direct(&mut self) {
        for session in &mut self.direct {
            session.query("SELECT 1/0").unwrap();
        }
    }

    fn run(&mut self, statement: &str, found: &mut Found) {
        found.statements += 1;
        let held = self.held.query(statement).unwrap_or_else(|error| panic!("through pgwarden: {error}\n{statement}"));
        if let Some(why) = refusal(&held) {
            *found.refused.entry(why).or_default() += 1;
            if self.in_block {
                self.fail_direct();
            }
            return;
        }
        let direct = self
            .direct
            .each_mut()
            .map(|session| session.query(statement).unwrap_or_else(|error| panic!("directly: {error}\n{statement}")));
        self.in_block = in_block(&held);
        if self.in_block && fails(&held) && !direct.iter().any(|answers| fails(answers)) {
            self.fail_direct();
        }
        let [one, other] = direct.each_ref().map(|answers| shown_all(answers));
        let held = shown_all(&held);
        if one != other {
            found.restless += 1;
        } else if one == held {
            found.same += 1;
        } else if is_about_the_mode(statement) {
            found.mode += 1;
        } else {
            let at = one.iter().zip(&held).position(|(a, b)| a != b).unwrap_or(one.len().min(held.len()));
            let cut = |message: Option<&String>| {
                message.map_or("nothing".to_owned(), |text| text.chars().take(200).collect())
            };
            found.different.push(format!(
                "{statement}\n    directly: {}\n    held:     {}",
                cut(one.get(at)),
                cut(held.get(at))
            ));
        }
    }
}

fn run_file(file: &Path, connect: &dyn Fn() -> Sessions, found: &mut Found) {
    let mut sessions = connect();
    for statement in scripts::statements(file) {
        // Rows that a client sends, and what belongs to psql.
        let lower = statement.to_lowercase();
        if lower.contains("copy") && lower.contains("from stdin") {
            continue;
        }
        sessions.run(&statement, found);
    }
}

#[test]
fn postgres_regression_sql_reads_the_same_in_a_read_only_session() {
    let Some(source) = source() else { return };
    let server = server();
    for file in schedule(&source) {
        output(&server.url("regression"), &source, &file);
    }
    let behind = server.url("regression");
    let pgwarden = Pgwarden::start(&format!(
        "[environments.production.roles]\nreader = {{ policy = \"read-only\", endpoint = \"direct\" }}\n{}{}",
        database("regression", &behind, &behind),
        user(SUPERUSER, PASSWORD, "production = \"reader\"")
    ));
    let connect = || {
        let settings = [("options", "-c default_transaction_read_only=on")];
        let direct = || Raw::connect_with(server.port(), SUPERUSER, PASSWORD, "regression", &settings).unwrap();
        let held = Raw::connect(pgwarden.port(), SUPERUSER, PASSWORD, "regression").unwrap();
        let sessions = Sessions { direct: [direct(), direct()], held, in_block: false };
        sessions.direct.iter().chain([&sessions.held]).for_each(|session| session.patience(PATIENCE));
        sessions
    };
    let mut found = Found::default();
    for file in schedule(&source) {
        let before = found.different.len();
        run_file(&file, &connect, &mut found);
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        for different in &found.different[before..] {
            println!("{name}: {different}");
        }
    }
    let refused: usize = found.refused.values().sum();
    println!(
        "{} statements: {} answered the same, {refused} refused, {} answered by the hold, {} different each time, {} differ",
        found.statements,
        found.same,
        found.mode,
        found.restless,
        found.different.len()
    );
    for (why, count) in &found.refused {
        println!("{count:6} {why}");
    }
    assert!(found.different.is_empty(), "{} statements differ", found.different.len());
}
