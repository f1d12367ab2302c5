//! The configuration: a TOML file in, a [`Config`] out that cannot be wrong, or every error at once.
//!
//! `tree` parses and replaces variables, `schema` defines every option once, `compile` ties names together and checks what only
//! the whole can show, `reference` writes `docs/configuration.md` out of the same definitions, `diff` says what a reload changed.
//!
//! May not name: `tokio`, `session`, `net`, `audit`.

mod builtin;
mod compile;
mod diff;
pub mod endpoint;
mod error;
mod kind;
mod load;
mod names;
mod policies;
mod reference;
mod role;
mod schema;
mod secret;
mod section;
mod token;
mod tree;
mod units;
mod variables;
mod verifier;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use crate::policy::{Policy, glob};
use crate::sql;

pub use crate::policy::{BindParameters, StatementText};
pub use diff::summary_of_changes;
pub use endpoint::Endpoint;
pub use error::{ConfigError, ConfigErrors};
pub use load::{load, parse};
pub use reference::reference;
pub use schema::{AuditSettings, ConnectionLimits, Expect, Listen, LogSettings, TlsFiles};
pub use secret::Secret;
pub use token::TokenHash;
pub use units::duration as parse_duration;
pub use verifier::{DEFAULT_ITERATIONS, SALT_BYTES, Verifier, VerifierError};

/// A compiled configuration: every name in it leads somewhere. Made by [`load`]; shared in an `Arc`.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen.
    pub listen: Listen,
    /// The audit log.
    pub audit: AuditSettings,
    /// Limits on what clients may take from pgwarden itself.
    pub limits: ConnectionLimits,
    /// pgwarden's own log.
    pub log: LogSettings,
    /// Databases, the most specific name first.
    pub databases: Vec<Database>,
    /// Environments, the most specific name first.
    pub environments: Vec<Environment>,
    /// Policies by name, the built-in ones among them.
    pub policies: BTreeMap<String, Arc<Policy>>,
    /// Users by name.
    pub users: HashMap<String, User>,
    /// Tokens for the API.
    pub tokens: Vec<Token>,
    /// Rules of the review inbox.
    pub reviews: Vec<ReviewRule>,
    /// What may be granted, by whom and for how long.
    pub grants: GrantSettings,
}

/// A name that clients connect to, or a pattern of names.
#[derive(Clone, Debug)]
pub struct Database {
    /// The name or pattern.
    pub name: String,
    /// The environment it lies in, as the file names it.
    pub environment: String,
    /// The endpoint of roles that name no other.
    pub pooled: Option<Arc<Endpoint>>,
    /// The endpoint without a pooler.
    pub direct: Option<Arc<Endpoint>>,
    /// The endpoint for reads.
    pub replica: Option<Arc<Endpoint>>,
    /// What must be true of its endpoints.
    pub expect: Option<Expect>,
}

/// An environment, or a pattern of environments.
#[derive(Clone, Debug)]
pub struct Environment {
    /// The name or pattern.
    pub name: String,
    /// What each role is allowed here, and where it connects.
    pub roles: BTreeMap<String, RoleBinding>,
}

/// What a role is in one environment.
#[derive(Clone, Debug, Default)]
pub struct RoleBinding {
    /// The policy that holds for it.
    pub policy: Arc<Policy>,
    /// The endpoint that its sessions use.
    pub endpoint: EndpointKind,
    /// The endpoint while that one cannot be reached.
    pub fallback: Option<EndpointKind>,
    /// Its replica must be a standby.
    pub standby: bool,
}

/// Somebody who may log in.
#[derive(Clone, Debug)]
pub struct User {
    /// The name to log in with.
    pub name: String,
    /// What proves the password; `None` for a user who logs in by client certificate only.
    pub verifier: Option<Verifier>,
    /// Whether it is a person, whose statements are all recorded one by one.
    pub person: bool,
    /// The user's role by environment name or pattern, the most specific first.
    pub roles: Vec<(String, String)>,
    /// What the user may do in the console; `None` for a user who cannot log in there.
    pub console: Option<ConsoleRole>,
}

/// A token for the API.
#[derive(Clone, Debug)]
pub struct Token {
    /// What records say of whoever uses it.
    pub name: String,
    /// The token's hash.
    pub hash: TokenHash,
    /// What it may do.
    pub role: ConsoleRole,
}

/// What may be granted, by whom and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantSettings {
    /// Environments, or patterns of them, in which grants can be asked for.
    pub environments: Vec<String>,
    /// Longest time of one grant.
    pub longest: Duration,
    /// How long a request waits for an answer.
    pub request_timeout: Duration,
    /// Which console role may ask.
    pub requested_by: ConsoleRole,
    /// Which console role may approve, deny and revoke.
    pub approved_by: ConsoleRole,
    /// Whether somebody may approve what they asked for themselves.
    pub self_approval: bool,
    /// Environments, or patterns of them, whose name has to be typed to approve.
    pub confirm: Vec<String>,
    /// Class patterns that are never granted.
    pub never: Vec<String>,
}

impl GrantSettings {
    /// Whether grants can be asked for in an environment.
    pub fn can_be_requested_in(&self, environment: &str) -> bool {
        self.environments.iter().any(|pattern| glob::matches(pattern, environment))
    }

    /// Whether whoever approves has to type the environment's name.
    pub fn is_confirmed_in(&self, environment: &str) -> bool {
        self.confirm.iter().any(|pattern| glob::matches(pattern, environment))
    }
}

/// Records that a person is to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReviewRule {
    /// The rule's name.
    pub name: String,
    /// Which records, in the audit log's filter language.
    pub filter: String,
    /// Whether only statements count whose fingerprint had not been seen in their environment before.
    pub new: bool,
    /// How soon somebody is to look.
    pub within: std::time::Duration,
}

/// What somebody may do in the console and by the API. Each may do what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ConsoleRole {
    /// Sees everything.
    Viewer,
    /// Reviews.
    Auditor,
    /// Cancels statements and ends sessions.
    Operator,
}

impl ConsoleRole {
    /// The word that the configuration and the records use.
    pub const fn name(self) -> &'static str {
        match self {
            ConsoleRole::Viewer => "viewer",
            ConsoleRole::Auditor => "auditor",
            ConsoleRole::Operator => "operator",
        }
    }
}

/// Which of a database's endpoints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EndpointKind {
    /// Behind the pooler: the default.
    #[default]
    Pooled,
    /// Straight to the server.
    Direct,
    /// For reads.
    Replica,
}

impl EndpointKind {
    /// The word that the configuration and the records use.
    pub const fn name(self) -> &'static str {
        match self {
            EndpointKind::Pooled => "pooled",
            EndpointKind::Direct => "direct",
            EndpointKind::Replica => "replica",
        }
    }
}

/// What happens to statements when the audit log cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenUnwritable {
    /// They are refused.
    Refuse,
    /// They pass; metrics and standard error say so.
    Continue,
}

/// How pgwarden's own log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// A database that was asked for, and the one in the configuration that answers to the name.
#[derive(Clone, Copy, Debug)]
pub struct DatabaseMatch<'a> {
    /// The database in the configuration.
    pub database: &'a Database,
    /// The name that was asked for.
    pub name: &'a str,
}

impl DatabaseMatch<'_> {
    /// The endpoint of a kind, `{name}` replaced by the name that was asked for. `None` if the database has none of that kind, or
    /// the name cannot be part of a host's name.
    pub fn endpoint(&self, kind: EndpointKind) -> Option<Arc<Endpoint>> {
        let endpoint = self.database.endpoint(kind)?;
        match endpoint.is_template() {
            true => endpoint.for_database(self.name).map(Arc::new),
            false => Some(Arc::clone(endpoint)),
        }
    }
}

impl Database {
    /// The endpoint of a kind, as the file writes it.
    pub fn endpoint(&self, kind: EndpointKind) -> Option<&Arc<Endpoint>> {
        match kind {
            EndpointKind::Pooled => self.pooled.as_ref(),
            EndpointKind::Direct => self.direct.as_ref(),
            EndpointKind::Replica => self.replica.as_ref(),
        }
    }
}

/// All that a login leads to.
#[derive(Clone, Debug)]
pub struct Access {
    /// The user.
    pub user: String,
    /// Whether the user is a person.
    pub person: bool,
    /// The user's role in the environment.
    pub role: String,
    /// The environment, as the database names it.
    pub environment: String,
    /// The database's name, as the client asked for it.
    pub database: String,
    /// The policy that holds.
    pub policy: Arc<Policy>,
    /// Which endpoint is used.
    pub endpoint: EndpointKind,
    /// That endpoint.
    pub endpoint_url: Arc<Endpoint>,
    /// The endpoint to use while that one cannot be reached.
    pub fallback: Option<(EndpointKind, Arc<Endpoint>)>,
    /// The replica must be a standby.
    pub standby: bool,
    /// What must be true of the endpoint before the session may use it.
    pub expect: Option<Expect>,
}

impl Config {
    /// The database that answers to `name`: the most specific one.
    pub fn database<'a>(&'a self, name: &'a str) -> Option<DatabaseMatch<'a>> {
        let database = names::most_specific(&self.databases, |database| &database.name, name)?;
        Some(DatabaseMatch { database, name })
    }

    /// The environment that answers to `name`: the most specific one.
    pub fn environment(&self, name: &str) -> Option<&Environment> {
        names::most_specific(&self.environments, |environment| &environment.name, name)
    }

    /// What `role` is in `environment`, if it exists there.
    pub fn role(&self, environment: &str, role: &str) -> Option<&RoleBinding> {
        self.environment(environment)?.roles.get(role)
    }

    /// Whether a grant in an environment would find somebody to approve it.
    pub fn grants_can_be_given_in(&self, environment: &str) -> bool {
        let roles =
            self.users.values().filter_map(|user| user.console).chain(self.tokens.iter().map(|token| token.role));
        self.listen.admin.is_some()
            && self.grants.can_be_requested_in(environment)
            && roles.into_iter().any(|role| role >= self.grants.approved_by)
    }

    /// The user's role in an environment, if there is one and the environment knows it.
    pub fn role_of(&self, user: &str, environment: &str) -> Option<(&str, &RoleBinding)> {
        let user = self.users.get(user)?;
        let (_, role) = names::most_specific(&user.roles, |(environment, _)| environment, environment)?;
        Some((role, self.role(environment, role)?))
    }

    /// Everything a login needs: `None` if the user or the database does not exist, or the user has no role there.
    pub fn access(&self, user: &str, database: &str) -> Option<Access> {
        let user = self.users.get(user)?;
        let found = self.database(database)?;
        let environment = &found.database.environment;
        let (_, role) = names::most_specific(&user.roles, |(environment, _)| environment, environment)?;
        let binding = self.role(environment, role)?;
        Some(Access {
            user: user.name.clone(),
            person: user.person,
            role: role.clone(),
            environment: environment.clone(),
            database: database.to_owned(),
            policy: Arc::clone(&binding.policy),
            endpoint: binding.endpoint,
            endpoint_url: found.endpoint(binding.endpoint)?,
            fallback: binding.fallback.and_then(|kind| Some((kind, found.endpoint(kind)?))),
            standby: binding.standby,
            expect: found.database.expect.clone(),
        })
    }
}

impl ConnectionLimits {
    /// The limits that a statement's text is held to before any parser sees it.
    pub fn sql(&self) -> sql::Limits {
        sql::Limits {
            statement_bytes: self.statement_bytes,
            nesting: self.nesting,
            statements: self.statements_per_query,
        }
    }
}
