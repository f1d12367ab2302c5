//! Whether an endpoint is the environment it claims to be: `expect` of its database, asked before a session begins.

use std::time::Duration;

use crate::config::Expect;

use super::upstream::Upstream;

/// Asks the server what it is.
///
/// # Errors
/// What it is instead of what is expected, for people.
pub async fn check(expect: &Expect, upstream: &mut Upstream, timeout: Duration) -> Result<(), String> {
    let all = async {
        for (what, query, expected) in questions(expect) {
            let found = upstream.ask(query).await.map_err(|reason| format!("{what} cannot be asked: {reason}"))?;
            if found.as_deref() != Some(expected) {
                let found = found.unwrap_or_else(|| "nothing".to_owned());
                return Err(format!("{what} is {found}, not {expected}"));
            }
        }
        Ok(())
    };
    let late = || Err(format!("no answer within {} s", timeout.as_secs()));
    tokio::time::timeout(timeout, all).await.unwrap_or_else(|_| late())
}

fn questions(expect: &Expect) -> impl Iterator<Item = (&'static str, &str, &str)> {
    let database =
        expect.database.as_deref().map(|name| ("its database", "SELECT pg_catalog.current_database()", name));
    let system = expect.system_identifier.as_deref().map(|identifier| {
        ("its system_identifier", "SELECT system_identifier FROM pg_catalog.pg_control_system()", identifier)
    });
    let own = expect
        .query
        .as_deref()
        .zip(expect.value.as_deref())
        .map(|(query, value)| ("the value of `query`", query, value));
    [database, system, own].into_iter().flatten()
}
