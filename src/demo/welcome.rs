//! What `pgwarden demo` prints once everything runs: lines to paste, and a refusal as psql shows it.

use anyhow::Result;

use super::configuration::{PEOPLE, Person, REVIEWER};
use super::shop::{DEVELOPMENT, PRODUCTION};
use super::stack::Stack;

/// What the reader is invited to try as `studio_reader`.
const PASSES: &str = "SELECT name, city FROM customers ORDER BY id LIMIT 3;";
const REFUSED: [&str; 3] =
    ["UPDATE customers SET city = 'Rome' WHERE id = 1;", "DELETE FROM orders;", "DROP TABLE customers;"];

/// The text, with a refusal that has really just happened.
///
/// # Errors
/// When psql cannot be run.
pub fn text(stack: &Stack) -> Result<String> {
    let reader = stack.url("studio_reader", PRODUCTION);
    let mut lines = vec![
        "pgwarden is running: clients → pgwarden → PgBouncer (transaction mode) → Postgres.".to_owned(),
        String::new(),
        "Log in as one of these (the passwords are this run's own):".to_owned(),
        String::new(),
    ];
    let with_databases = PEOPLE.iter().filter(|person| person.production.or(person.development).is_some());
    lines.extend(with_databases.flat_map(|person| logins(stack, person)));
    lines.push("As studio_reader on production, this passes:".to_owned());
    lines.push(String::new());
    lines.push(format!("  {PASSES}"));
    lines.push(String::new());
    lines.push("and these are refused:".to_owned());
    lines.push(String::new());
    lines.extend(REFUSED.iter().map(|sql| format!("  {sql}")));
    lines.push(String::new());
    lines.push(format!("A refusal, as psql has just shown it for {}", REFUSED[1]));
    lines.push(String::new());
    let answer = stack.postgres().psql().run(&reader, REFUSED[1], &[])?;
    lines.extend(answer.errors.lines().map(|line| format!("  {line}")));
    lines.push(String::new());
    lines.extend(places(stack));
    Ok(lines.join("\n"))
}

fn logins(stack: &Stack, person: &Person) -> Vec<String> {
    let mut lines = vec![format!("  {}: {}", person.name, person.meaning)];
    for (database, role) in [(PRODUCTION, person.production), (DEVELOPMENT, person.development)] {
        if role.is_some() {
            lines.push(format!("    psql '{}'", stack.url(person.name, database)));
        }
    }
    lines.push(String::new());
    lines
}

fn places(stack: &Stack) -> [String; 6] {
    [
        format!("Console        {}/ (log in as {REVIEWER}, password {})", stack.admin_url(), stack.password(REVIEWER)),
        format!("Metrics        {}/metrics", stack.admin_url()),
        format!("Health         {}/readyz", stack.admin_url()),
        format!("Audit log      {}", stack.audit().display()),
        format!("Configuration  {}", stack.configuration().display()),
        format!("pgwarden's log {}", stack.log().display()),
    ]
}
