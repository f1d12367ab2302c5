//! Whether an endpoint is what it should be, and whether what the policy wants of transactions holds there: asked of the server
//! itself when a session begins, the latter once for each host, endpoint and configuration.
//!
//! A pooler in statement mode refuses transactions, and one that gave a transaction's statements to several server connections
//! would split the hold. Both show in a transaction that is begun, locked, looked at from a second round trip, and ended.

use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;

use crate::config::{Endpoint, Expect};

use super::upstream::{Connector, Upstream};

/// What an endpoint must be.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// The environment that it claims to be.
    pub expect: Option<Expect>,
    /// A standby.
    pub standby: bool,
    /// A place where transactions hold.
    pub hold: bool,
}

impl Wanted {
    /// Asks the server.
    ///
    /// # Errors
    /// What it is not, for people, to follow the endpoint's name.
    pub async fn check(&self, upstream: &mut Upstream, timeout: Duration) -> Result<(), String> {
        if let Some(expect) = &self.expect {
            let checked = super::expect::check(expect, upstream, timeout).await;
            checked.map_err(|difference| format!("is not what it is expected to be: {difference}"))?;
        }
        if self.standby {
            let checked = check_standby(upstream, timeout).await;
            checked.map_err(|reason| format!("cannot be used as a replica: {reason}"))?;
        }
        if self.hold {
            let checked = check_hold(upstream, timeout).await;
            checked.map_err(|reason| format!("cannot hold this policy: {reason}"))?;
        }
        Ok(())
    }
}

/// What was found out about endpoints.
#[derive(Debug, Default)]
pub struct Findings {
    /// Endpoints that hold, by their host and the configuration's generation.
    fit: DashMap<(String, String), u64>,
    /// What is wrong with an endpoint: by the database's name and the endpoint's kind.
    wrong: DashMap<(String, &'static str), (Wanted, String)>,
}

impl Findings {
    /// Whether the endpoint `what` at `host` was found to hold under this generation of the configuration.
    pub fn is_fit(&self, what: &str, host: &str, generation: u64) -> bool {
        self.fit.get(&(what.to_owned(), host.to_owned())).is_some_and(|found| *found == generation)
    }

    /// It holds.
    pub fn fits(&self, what: &str, host: &str, generation: u64) {
        self.fit.insert((what.to_owned(), host.to_owned()), generation);
    }

    /// Sessions on this endpoint are refused, for want of what and why; `None` when one was not.
    pub fn note(&self, database: &str, endpoint: &'static str, wrong: Option<(Wanted, String)>) {
        let key = (database.to_owned(), endpoint);
        match wrong {
            Some(found) => drop(self.wrong.insert(key, found)),
            None if self.wrong.is_empty() => {}
            None => drop(self.wrong.remove(&key)),
        }
    }

    /// Why the last session on this endpoint was refused, if it was and still would be.
    pub async fn still_wrong(
        &self,
        (database, kind): (&str, &'static str),
        endpoint: &Arc<Endpoint>,
        connector: &Connector,
        timeout: Duration,
    ) -> Option<String> {
        let found = self.wrong.get(&(database.to_owned(), kind)).map(|found| found.clone());
        let (wanted, _) = found?;
        let checked = match connector.connect(endpoint, &[], timeout).await {
            Ok(mut upstream) => wanted.check(&mut upstream, timeout).await,
            Err(error) => Err(format!("cannot be used: {error}")),
        };
        self.note(database, kind, checked.as_ref().err().map(|reason| (wanted, reason.clone())));
        checked.err().map(|reason| format!("the endpoint {reason}"))
    }
}

/// Sees that a transaction holds: that one can be begun, that what is set in it is there in the next round trip, on the same
/// server connection.
///
/// # Errors
/// It does not; the reason is for people.
async fn check_hold(upstream: &mut Upstream, timeout: Duration) -> Result<(), String> {
    let late = || Err(format!("no answer within {} s", timeout.as_secs()));
    tokio::time::timeout(timeout, hold(upstream)).await.unwrap_or_else(|_| late())
}

const LOCK: &str =
    "SELECT pg_catalog.set_config('transaction_read_only', 'on', true) || pg_catalog.pg_backend_pid()::text";
const LOOK: &str = "SELECT pg_catalog.current_setting('transaction_read_only') || pg_catalog.pg_backend_pid()::text";

async fn hold(upstream: &mut Upstream) -> Result<(), String> {
    let refused = |reason: String| {
        format!(
            "it does not keep transactions (a pooler in statement mode does not; use transaction or session mode): {reason}"
        )
    };
    upstream.ask("BEGIN READ ONLY").await.map_err(refused)?;
    let locked = upstream.ask(LOCK).await.map_err(refused)?;
    let seen = upstream.ask(LOOK).await.map_err(refused)?;
    if locked.is_none() || locked != seen {
        return Err(
            "it splits transactions over server connections, so a read-only one would not stay read-only".to_owned()
        );
    }
    upstream.ask("ROLLBACK").await.map_err(refused)?;
    Ok(())
}

/// Sees that the server only replays another one's changes.
///
/// # Errors
/// It does not; the reason is for people.
async fn check_standby(upstream: &mut Upstream, timeout: Duration) -> Result<(), String> {
    let asked = tokio::time::timeout(timeout, upstream.ask("SELECT pg_catalog.pg_is_in_recovery()")).await;
    match asked {
        Ok(Ok(Some(answer))) if answer == "t" => Ok(()),
        Ok(Ok(_)) => Err("it is no standby: it can be written to".to_owned()),
        Ok(Err(reason)) => Err(format!("whether it is a standby cannot be asked: {reason}")),
        Err(_) => Err(format!("no answer within {} s", timeout.as_secs())),
    }
}
