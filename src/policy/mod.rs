//! (policy, effects) → verdict. Pure and total: no clock, no I/O, no `Result`; every verdict names its rule.
//!
//! `judge` decides, `widening` is what a grant adds, `scope` says what a relation or function pattern covers, `severity` which of several refusals is told,
//! `refusal` words it for the person who meets it, `matrix` shows the policy as a picture.
//!
//! May not name: `tokio`, `session`, `net`, `audit`, `config`.

pub mod glob;
mod judge;
pub mod matrix;
mod refusal;
mod scope;
mod severity;
mod widening;

use std::borrow::Cow;
use std::time::Duration;

use crate::sql::{Class, Effect};

pub use judge::covers;
pub use refusal::{Place, Refusal};
pub use severity::contradicts_read_only;
pub use widening::{Widening, classes_of, is_never};

/// A compiled policy: what one (environment, role) may do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Policy {
    /// Its name in the configuration.
    pub name: String,
    /// Every transaction is held read-only by the server.
    pub read_only: bool,
    /// Record what it would refuse, and let it pass.
    pub observe: bool,
    /// Class patterns allowed, each with where it stands.
    pub allow: Vec<Rule>,
    /// Class patterns denied; deny beats allow.
    pub deny: Vec<Rule>,
    /// Relations, as glob patterns `schema.name` or `name` (any schema), that no effect may touch.
    pub deny_relations: Vec<Rule>,
    /// When not empty: the only relations that effects may touch (a pattern without schema means `public` and `pg_catalog`).
    pub allow_relations: Vec<Rule>,
    /// Functions, as glob patterns (`name` alone: in any schema), that may not be called whatever their class.
    pub deny_functions: Vec<Rule>,
    /// Functions, as glob patterns, that may be called although their class is not allowed (a pattern without schema means
    /// `public` and `pg_catalog`).
    pub allow_functions: Vec<Rule>,
    /// Extensions, as glob patterns, that CREATE EXTENSION may name.
    pub extensions: Vec<String>,
    /// Tables, as glob patterns on their names, that may be emptied or updated as a whole.
    pub bookkeeping: Vec<String>,
    /// Limits on what is allowed.
    pub limits: PolicyLimits,
    /// What is recorded of statements.
    pub recording: Recording,
}

/// What is recorded of a policy's statements. Nothing of it changes what is judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recording {
    /// How much of the text.
    pub text: StatementText,
    /// Whether reads that are not a person's are counted, beyond the first of a fingerprint, session and minute.
    pub counts_reads: bool,
    /// How much of bind parameters.
    pub parameters: BindParameters,
}

/// How much of a statement's bind parameters is recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum BindParameters {
    /// Nothing.
    #[default]
    None,
    /// Their types and lengths.
    Redacted,
    /// Their values, save those that the text says are secrets.
    Whole,
}

/// How much of a statement's text is recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StatementText {
    /// All of it (passwords are always removed).
    #[default]
    Whole,
    /// All but its literals and comments.
    Redacted,
    /// Its fingerprint only.
    Fingerprint,
}

/// One pattern of a policy and where it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The pattern as written.
    pub pattern: String,
    /// Where it stands, for people: `pgwarden.toml:31` or `built in`.
    pub place: Cow<'static, str>,
}

/// Limits on what a policy allows. `None` means no limit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PolicyLimits {
    /// Longest run of one statement.
    pub statement_timeout: Option<Duration>,
    /// Longest wait for a lock.
    pub lock_timeout: Option<Duration>,
    /// Longest idle time inside a transaction.
    pub idle_in_transaction_timeout: Option<Duration>,
    /// Longest transaction.
    pub transaction_timeout: Option<Duration>,
    /// Longest session.
    pub max_session_duration: Option<Duration>,
    /// Most rows one statement may return.
    pub max_result_rows: Option<u64>,
    /// Most bytes one statement may return.
    pub max_result_bytes: Option<u64>,
    /// Most rows that one transaction may insert, update, delete, merge or copy in.
    pub max_affected_rows: Option<u64>,
}

/// Allow or deny, with the rule that decided.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Every effect is allowed.
    Allow,
    /// At least one is not: the first in the reference's order of severity.
    Deny(Denial),
}

/// Why a statement was denied.
#[derive(Clone, Debug, PartialEq)]
pub struct Denial {
    /// The effect that decided.
    pub effect: Effect,
    /// The rule, for people: ``deny "auth.*" (pgwarden.toml:52)`` or `not in allow (policy read-only)`.
    pub rule: String,
    /// Whether it is a write that a read-only policy refuses (SQLSTATE 25006).
    pub read_only_violation: bool,
    /// Whether a grant of the effect's class would let it pass.
    pub grantable: bool,
}

impl Policy {
    /// Whether the server has to hold every transaction of the session read-only. A policy that only observes refuses
    /// nothing, so it does not take the hold either.
    pub fn holds_read_only(&self) -> bool {
        self.read_only && !self.observe
    }

    /// Whether `allow` holds `"*"`: everything passes that no deny rule names.
    pub fn allows_everything(&self) -> bool {
        self.allow.iter().any(|rule| rule.pattern == "*")
    }

    /// The pattern of `allow` that covers `class`, if one does.
    pub fn allowed_by(&self, class: Class) -> Option<&Rule> {
        self.allow.iter().find(|rule| covers(&rule.pattern, class))
    }

    /// The pattern of `deny` that covers `class`, if one does.
    pub fn denied_by(&self, class: Class) -> Option<&Rule> {
        self.deny.iter().find(|rule| class.matches(&rule.pattern))
    }
}
