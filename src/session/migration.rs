//! Which migration a session is at, for the words of a refusal: what its tool noted before it began (`sql::migration`), else what
//! its application's name says.
//!
//! Migrations belong on a connection of their own: a session-level advisory lock taken behind a pooler stays on whichever
//! server connection it was taken on, and nobody can give it back.

use crate::decision::Judgement;
use crate::sql::migration::{Name, file_in};
use crate::sql::{Ledger, Movement};
use crate::wire::bind;
use crate::wire::report::Report;

use super::state::Session;

/// What is known of the migration that a session is at.
#[derive(Debug, Default)]
pub(super) struct Migration {
    /// Noted by the tool.
    noted: Option<String>,
    /// Noted in a parameter of a portal that is not executed yet.
    bound: Option<String>,
    /// Told by the application's name.
    application: Option<String>,
}

impl Session {
    /// The application's name, as the startup message or a SET gives it.
    pub fn called(&mut self, application: &str) {
        self.migration.application = file_in(application);
    }

    /// The migration that it is at, if it is known.
    pub(super) fn at_migration(&self) -> Option<&str> {
        self.migration.noted.as_deref().or(self.migration.application.as_deref())
    }

    /// What to do about a migration that the tool has noted as begun, beside what the refusal itself says.
    pub(super) fn hint_of_migration(&self) -> Option<String> {
        self.migration.noted.as_ref().map(|name| {
            format!(
                "Prisma keeps it as failed: before the next deploy run `prisma migrate resolve --rolled-back {name}`."
            )
        })
    }

    /// Reads a noted name out of a Bind's body.
    pub(super) fn bind_migration(&mut self, judgement: &Judgement, body: &[u8]) {
        if let Some(Ledger::Begins(Name::Parameter(number))) = &judgement.ledger {
            let value = number.checked_sub(1).and_then(|place| bind::parameter(body, place));
            self.migration.bound = value.and_then(|value| String::from_utf8(value.to_vec()).ok());
        }
    }

    /// Follows a statement that goes upstream.
    pub(super) fn follow_migration(&mut self, judgement: &Judgement) {
        match &judgement.ledger {
            Some(Ledger::Begins(Name::Written(name))) => self.migration.noted = Some(name.clone()),
            Some(Ledger::Begins(Name::Parameter(_))) => self.migration.noted = self.migration.bound.take(),
            Some(Ledger::Ends) => self.migration.noted = None,
            None => {}
        }
        for statement in &judgement.statements {
            if let Movement::Set { name, value } = &statement.movement
                && name == "application_name"
            {
                self.called(value.as_deref().unwrap_or_default());
            }
        }
    }

    /// A lock that would be left behind on a server connection of the pooler's. Only where the operator says that there is such a
    /// pooler (`pgbouncer=true`): behind one in session mode, or none, the lock is harmless, and no client can ask which it is.
    pub(super) fn leaves_lock(&self, judgement: &Judgement) -> Option<Report> {
        (judgement.leaves_lock && self.settings.transaction_pooler).then(|| {
            Report::error("0A000", "pgwarden: a session-level advisory lock would be left behind on the pooled endpoint")
                .detail("Each transaction may run on another server connection: the lock stays on one that others use, and this session cannot give it back.")
                .hint("Migrations belong on the direct endpoint: give the role `endpoint = \"direct\"`. For one transaction there is pg_advisory_xact_lock.")
        })
    }
}
