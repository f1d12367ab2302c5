//! What the demo promises, driven through psql and looked at from behind: `pgwarden demo --check`.

use std::fs;

use anyhow::{Context, Result, bail};

use super::psql::Answer;
use super::shop::{DEVELOPMENT, PRODUCTION};
use super::stack::Stack;

/// What a script must end in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// It succeeds, and these are its rows.
    Rows(&'static str),
    /// It succeeds.
    Success,
    /// A refusal by pgwarden, with one of these SQLSTATEs, about this.
    Refusal(&'static [&'static str], &'static str),
    /// The login fails.
    NoLogin,
}

/// One thing somebody tries.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    /// Who tries.
    pub user: &'static str,
    /// Where.
    pub database: &'static str,
    /// What.
    pub sql: &'static str,
    /// What must come of it.
    pub expected: Expected,
}

const fn attempt(user: &'static str, database: &'static str, sql: &'static str, expected: Expected) -> Attempt {
    Attempt { user, database, sql, expected }
}

/// SQLSTATE of a write in a read-only policy.
const READ_ONLY: &[&str] = &["25006"];
/// SQLSTATE of anything else that is not allowed.
const NOT_ALLOWED: &[&str] = &["42501"];
/// Either: a write, and more than a write.
const EITHER: &[&str] = &["25006", "42501"];

/// What the demo shows, in this order.
pub const ATTEMPTS: &[Attempt] = &[
    attempt("studio_reader", PRODUCTION, "select count(*) from customers", Expected::Rows("2000")),
    attempt(
        "studio_reader",
        PRODUCTION,
        "select email from auth.users where id = 1",
        Expected::Rows("bo.adler1@shop.example"),
    ),
    attempt(
        "studio_reader",
        PRODUCTION,
        "update customers set city = 'Rome' where id = 1",
        Expected::Refusal(READ_ONLY, "customers"),
    ),
    attempt("studio_reader", PRODUCTION, "delete from orders", Expected::Refusal(READ_ONLY, "orders")),
    attempt("studio_reader", PRODUCTION, "drop table orders", Expected::Refusal(EITHER, "orders")),
    attempt(
        "studio_reader",
        PRODUCTION,
        "begin; set transaction read write; truncate orders; commit",
        Expected::Refusal(EITHER, ""),
    ),
    attempt(
        "studio_reader",
        PRODUCTION,
        "select pg_read_file('/etc/hostname')",
        Expected::Refusal(EITHER, "pg_read_file"),
    ),
    attempt(
        "studio_reader",
        PRODUCTION,
        "with gone as (delete from orders where id = 1 returning id) select * from gone",
        Expected::Refusal(READ_ONLY, "orders"),
    ),
    attempt(
        "app",
        PRODUCTION,
        "update orders set note = 'call first' where id = 1 returning note",
        Expected::Rows("call first"),
    ),
    attempt("app", PRODUCTION, "delete from orders", Expected::Refusal(NOT_ALLOWED, "orders")),
    attempt("app", PRODUCTION, "select * from auth.users", Expected::Refusal(NOT_ALLOWED, "auth.users")),
    attempt("app", PRODUCTION, "select value from secrets", Expected::Refusal(NOT_ALLOWED, "secrets")),
    attempt("app", PRODUCTION, "alter table orders add column gift boolean", Expected::Refusal(NOT_ALLOWED, "orders")),
    attempt("migrator", PRODUCTION, "alter table orders add column gift boolean", Expected::Success),
    attempt("migrator", PRODUCTION, "select count(gift) from orders", Expected::Rows("0")),
    attempt("migrator", PRODUCTION, "drop table order_items", Expected::Refusal(NOT_ALLOWED, "order_items")),
    attempt("developer", DEVELOPMENT, "drop table order_items", Expected::Success),
    attempt("developer", PRODUCTION, "select 1", Expected::NoLogin),
    attempt("nobody", PRODUCTION, "select 1", Expected::NoLogin),
];

/// What production's tables must hold after all of [`ATTEMPTS`], asked behind pgwarden's back.
const AFTERWARDS: (&str, &str) = (
    "select (select count(*) from orders), (select count(*) from order_items), (select city from customers where id = 1)",
    "5000|15000|Lisbon",
);

/// Pages of the admin address that must answer 200, and what they must hold.
const PAGES: [(&str, &str); 3] = [("/healthz", ""), ("/readyz", ""), ("/metrics", "pgwarden_")];

/// Tries everything and tells `report` of each thing that holds.
///
/// # Errors
/// All that does not hold, one a line.
pub fn run(stack: &Stack, mut report: impl FnMut(&str)) -> Result<()> {
    let mut failures = Vec::new();
    let mut note = |what: String, outcome: Result<()>| match outcome {
        Ok(()) => report(&what),
        Err(error) => failures.push(format!("{what}: {error:#}")),
    };
    for attempt in ATTEMPTS {
        note(describe(attempt), try_one(stack, attempt));
    }
    note("a refused statement leaves the session usable".into(), session_goes_on(stack));
    note("a wrong password does not log in".into(), wrong_password(stack));
    note("production holds what it held before".into(), unchanged(stack));
    for (path, content) in PAGES {
        note(format!("{path} answers"), page_answers(stack, path, content));
    }
    note("the audit log has every refusal".into(), audited(stack));
    if failures.is_empty() { Ok(()) } else { bail!("{}", failures.join("\n")) }
}

fn describe(attempt: &Attempt) -> String {
    let outcome = match attempt.expected {
        Expected::Rows(_) | Expected::Success => "passes",
        Expected::Refusal(..) => "is refused",
        Expected::NoLogin => "cannot log in",
    };
    format!("{} on {}: {} {outcome}", attempt.user, attempt.database, attempt.sql)
}

fn try_one(stack: &Stack, attempt: &Attempt) -> Result<()> {
    let answer = psql(stack, &stack.url(attempt.user, attempt.database), attempt.sql)?;
    judge(&answer, attempt.expected)
}

fn judge(answer: &Answer, expected: Expected) -> Result<()> {
    let holds = match expected {
        Expected::Rows(rows) => answer.succeeded && answer.output.trim_end() == rows,
        Expected::Success => answer.succeeded,
        Expected::Refusal(states, about) => {
            states.iter().any(|state| answer.errors.contains(&format!("{state}: pgwarden: ")))
                && answer.errors.contains(about)
        }
        Expected::NoLogin => !answer.succeeded && answer.errors.contains("FATAL"),
    };
    if holds { Ok(()) } else { bail!("expected {expected:?}, psql showed {:?} {:?}", answer.output, answer.errors) }
}

fn session_goes_on(stack: &Stack) -> Result<()> {
    let script = "delete from orders;\nselect 'first';\nbegin;\ndelete from orders;\nselect 'never';\nrollback;\nselect 'last';\n";
    let answer = psql(stack, &stack.url("studio_reader", PRODUCTION), script)?;
    if answer.output == "first\nlast\n" { Ok(()) } else { bail!("psql showed {:?} {:?}", answer.output, answer.errors) }
}

fn wrong_password(stack: &Stack) -> Result<()> {
    let url = stack.url("studio_reader", PRODUCTION).replacen('@', "x@", 1);
    judge(&psql(stack, &url, "select 1")?, Expected::NoLogin)
}

fn unchanged(stack: &Stack) -> Result<()> {
    let (question, expected) = AFTERWARDS;
    let rows = stack.postgres().rows(PRODUCTION, question)?;
    if rows.trim_end() == expected { Ok(()) } else { bail!("expected {expected}, found {rows}") }
}

fn page_answers(stack: &Stack, path: &str, content: &str) -> Result<()> {
    let (status, body) = stack.page(path)?;
    if status == 200 && body.contains(content) { Ok(()) } else { bail!("status {status}: {body}") }
}

fn audited(stack: &Stack) -> Result<()> {
    let record = audit_text(stack)?;
    let refused = ATTEMPTS.iter().filter(|attempt| matches!(attempt.expected, Expected::Refusal(..)));
    for attempt in refused {
        // Of several statements in one line, the last word is enough to find it; quotes are escaped in JSON.
        let found = record.lines().any(|line| line.contains(attempt.sql) || line.contains(last_statement(attempt.sql)));
        if !found {
            bail!("nothing about: {}", attempt.sql);
        }
    }
    Ok(())
}

fn last_statement(sql: &str) -> &str {
    sql.split("; ").find(|part| part.contains("orders")).unwrap_or(sql)
}

/// Everything in the audit log's folder.
fn audit_text(stack: &Stack) -> Result<String> {
    let mut text = String::new();
    for entry in fs::read_dir(stack.audit()).context("no audit folder")? {
        let path = entry?.path();
        if path.is_file() {
            text.push_str(&String::from_utf8_lossy(&fs::read(&path)?));
        }
    }
    Ok(text)
}

fn psql(stack: &Stack, url: &str, script: &str) -> Result<Answer> {
    stack.postgres().psql().run(url, script, &["-v", "VERBOSITY=verbose", "-v", "ON_ERROR_STOP=0"])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(succeeded: bool, output: &str, errors: &str) -> Answer {
        Answer { succeeded, output: output.into(), errors: errors.into() }
    }

    #[test]
    fn only_a_refusal_of_ours_with_the_right_state_counts() {
        let expected = Expected::Refusal(READ_ONLY, "orders");
        let ours = answer(true, "", "ERROR:  25006: pgwarden: DELETE on `public.orders` is not allowed");
        let servers = answer(true, "", "ERROR:  25006: cannot execute DELETE in a read-only transaction: orders");
        let other_state = answer(true, "", "ERROR:  42501: pgwarden: DELETE on `public.orders` is not allowed");
        assert!(judge(&ours, expected).is_ok());
        assert!(judge(&servers, expected).is_err());
        assert!(judge(&other_state, expected).is_err());
    }

    #[test]
    fn rows_are_compared_whole() {
        assert!(judge(&answer(true, "2000\n", ""), Expected::Rows("2000")).is_ok());
        assert!(judge(&answer(true, "20001\n", ""), Expected::Rows("2000")).is_err());
        assert!(judge(&answer(false, "", "FATAL:  no"), Expected::NoLogin).is_ok());
    }
}
