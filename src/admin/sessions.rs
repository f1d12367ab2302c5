//! The sessions there are now: who, what they run, and how to cancel a statement or end a session.

use std::time::UNIX_EPOCH;

use serde::Serialize;

use super::State;
use super::access::Actor;
use crate::audit::{Timestamp, Unwritable};
use crate::net::control::{Command, Control, Standing};

/// One session as it is now.
#[derive(Clone, Debug, Serialize)]
pub struct Session {
    /// Its id, as records have it.
    pub session: String,
    /// Who logged in.
    pub user: String,
    /// In which role.
    pub role: String,
    /// In which environment.
    pub environment: String,
    /// To which database.
    pub database: String,
    /// By which endpoint.
    pub endpoint: &'static str,
    /// From where.
    pub client: String,
    /// With which tool, as it says itself.
    pub application: String,
    /// Since when (RFC 3339).
    pub since: String,
    /// What it does: `idle`, `idle_in_transaction`, `failed` (in a transaction that failed) or `active`.
    pub state: Standing,
    /// The statement that runs, or ran last, as far as it is recorded.
    pub statement: Option<String>,
    /// Microseconds since that statement was sent.
    pub statement_age_us: Option<u64>,
    /// Statements that ran.
    pub statements: u64,
    /// Rows that they returned or affected.
    pub rows: u64,
    /// Bytes of results sent to the client.
    pub bytes: u64,
}

impl Session {
    fn of(control: &Control) -> Session {
        let identity = &control.identity;
        let statement = control.statement();
        let micros = |time: std::time::Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let since = control.since.duration_since(UNIX_EPOCH).unwrap_or_default();
        let (rows, bytes) = control.given();
        Session {
            session: identity.session.to_string(),
            user: identity.user.clone(),
            role: identity.role.clone(),
            environment: identity.environment.clone(),
            database: identity.database.clone(),
            endpoint: identity.endpoint,
            client: identity.client.to_string(),
            application: identity.application.clone(),
            since: Timestamp(micros(since)).to_string(),
            state: control.standing(),
            statement: statement.as_ref().and_then(|(statement, _)| statement.text_json.text()),
            statement_age_us: statement.map(|(_, age)| micros(age)),
            statements: control.statements(),
            rows,
            bytes,
        }
    }
}

/// Why nothing was done to a session.
#[derive(Debug, thiserror::Error)]
pub enum NotDone {
    /// There is none of this id.
    #[error("there is no session {0}; it may have ended")]
    NoSession(String),
    /// It could not be recorded.
    #[error(transparent)]
    Unrecorded(#[from] Unwritable),
    /// Its endpoint gave no key to cancel by, or could not be reached.
    #[error("the endpoint of session {0} could not be asked to cancel")]
    NotAsked(String),
}

impl State {
    /// Every session, the oldest first.
    pub fn sessions(&self) -> Vec<Session> {
        let mut sessions: Vec<Session> =
            self.shared.gate.sessions().iter().map(|control| Session::of(control)).collect();
        sessions.sort_by(|a, b| a.session.cmp(&b.session));
        sessions
    }

    /// Ends a session, after recording it.
    ///
    /// # Errors
    /// There is no such session, or it could not be recorded.
    pub fn end_session(&self, actor: &Actor, id: &str) -> Result<(), NotDone> {
        let control = self.shared.gate.session(id).ok_or_else(|| NotDone::NoSession(id.to_owned()))?;
        self.acts(actor, "session.end", Some(id.to_owned()))?;
        control.give(Command::Kill);
        Ok(())
    }

    /// Asks a session's server to cancel what it runs, after recording it.
    ///
    /// # Errors
    /// There is no such session, it could not be recorded, or the endpoint not be asked.
    pub async fn cancel_statement(&self, actor: &Actor, id: &str) -> Result<(), NotDone> {
        let control = self.shared.gate.session(id).ok_or_else(|| NotDone::NoSession(id.to_owned()))?;
        self.acts(actor, "session.cancel", Some(id.to_owned()))?;
        control.cancel().await.then_some(()).ok_or_else(|| NotDone::NotAsked(id.to_owned()))
    }
}
