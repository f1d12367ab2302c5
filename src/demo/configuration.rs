//! The demo's `pgwarden.toml`: two environments, four roles, four users.

use std::path::Path;

use super::shop::{DEVELOPMENT, OWNER, PRODUCTION};

/// A user of the demo and the roles that it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Person {
    /// The name to log in with.
    pub name: &'static str,
    /// Its role in production, if any.
    pub production: Option<&'static str>,
    /// Its role in development, if any.
    pub development: Option<&'static str>,
    /// Its role in the console, if any.
    pub console: Option<&'static str>,
    /// Who this is, for people.
    pub meaning: &'static str,
}

/// Who logs in to the console.
pub const REVIEWER: &str = "reviewer";

/// Everybody who may log in.
pub const PEOPLE: [Person; 5] = [
    Person {
        name: "studio_reader",
        production: Some("studio"),
        development: Some("developer"),
        console: None,
        meaning: "looks at production and changes nothing",
    },
    Person {
        name: "app",
        production: Some("app"),
        development: None,
        console: None,
        meaning: "the application: rows, never tables",
    },
    Person {
        name: "migrator",
        production: Some("migrator"),
        development: None,
        console: None,
        meaning: "migrations that lose nothing, on the direct endpoint",
    },
    Person {
        name: "developer",
        production: None,
        development: Some("developer"),
        console: None,
        meaning: "anything, in development only",
    },
    Person {
        name: REVIEWER,
        production: None,
        development: None,
        console: Some("operator"),
        meaning: "reviews what the others did, in the console",
    },
];

/// What the configuration is made of.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// pgwarden's port for clients.
    pub port: u16,
    /// pgwarden's port for metrics and health.
    pub admin_port: u16,
    /// The audit log's folder.
    pub audit: &'a Path,
    /// PgBouncer's port.
    pub pooled_port: u16,
    /// Postgres' port.
    pub direct_port: u16,
    /// The password of the databases' owner.
    pub owner_password: &'a str,
    /// Each user's SCRAM verifier, in the order of [`PEOPLE`].
    pub verifiers: &'a [String],
}

/// The rules, written out so that a reader sees all of them.
const RULES: &str = r#"
[environments.production.roles]
studio = "read-only"
app = "application"
migrator = { policy = "migrations", endpoint = "direct" }

[environments.development.roles]
developer = "unrestricted"

[policies.read-only]
read_only = true                      # enforced by the server for every transaction, not only by the parser
allow = ["read", "function.safe", "session.setting", "transaction"]
statement_timeout = "30s"
idle_in_transaction_timeout = "60s"
max_result_rows = 100000

[policies.application]
allow = ["read", "write", "function.safe", "function.volatile", "session.setting", "transaction", "notify"]
max_affected_rows = 10000

[policies.application.relations]
deny = ["auth.*", "*.secrets"]

[policies.migrations]
allow = ["read", "write", "ddl.additive", "ddl.locking", "function.safe", "function.advisory_lock", "session.setting", "transaction"]
lock_timeout = "5s"

[policies.unrestricted]
allow = ["*"]

[[reviews]]                           # the review inbox of the console
name = "refusals in production"
filter = "environment:production verdict:deny"
within = "3d"

[[reviews]]
name = "schema changes"
filter = "effect:ddl,privilege verdict:allow environment:production"
within = "7d"

[[reviews]]
name = "new in production"
filter = "environment:production verdict:allow -effect:read"
new = true
within = "7d"
"#;

/// The text of the demo's `pgwarden.toml`.
pub fn text(parts: &Parts<'_>) -> String {
    let mut text = format!(
        "# Written by `pgwarden demo` for this run; it goes when the demo ends.\n\
         [listen]\n\
         postgres = \"127.0.0.1:{}\"\n\
         admin = \"127.0.0.1:{}\"\n\n\
         [audit]\n\
         directory = \"{}\"\n",
        parts.port,
        parts.admin_port,
        parts.audit.display(),
    );
    text.push_str(&database(parts, PRODUCTION, "production"));
    text.push_str(&database(parts, DEVELOPMENT, "development"));
    text.push_str(RULES);
    for (person, verifier) in PEOPLE.iter().zip(parts.verifiers) {
        text.push_str(&user(person, verifier));
    }
    text
}

fn database(parts: &Parts<'_>, name: &str, environment: &str) -> String {
    let url = |port: u16, more: &str| {
        format!("postgres://{OWNER}:{}@127.0.0.1:{port}/{name}?sslmode=disable{more}", parts.owner_password)
    };
    format!(
        "\n[databases.{name}]\nenvironment = \"{environment}\"\npooled = \"{}\"\ndirect = \"{}\"\n",
        url(parts.pooled_port, "&pgbouncer=true"),
        url(parts.direct_port, ""),
    )
}

fn user(person: &Person, verifier: &str) -> String {
    let roles = [("production", person.production), ("development", person.development)];
    let roles: Vec<String> =
        roles.iter().filter_map(|(environment, role)| Some(format!("{environment} = \"{}\"", (*role)?))).collect();
    let console = person.console.map(|role| format!("console = \"{role}\"\n")).unwrap_or_default();
    format!(
        "\n[[users]]\nname = \"{}\"\nverifier = \"{verifier}\"\nroles = {{ {} }}\n{console}",
        person.name,
        roles.join(", ")
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_toml_with_every_user_and_database() {
        let verifiers: Vec<String> =
            PEOPLE.iter().map(|person| format!("SCRAM-SHA-256$4096:{}", person.name)).collect();
        let parts = Parts {
            port: 1,
            admin_port: 2,
            audit: Path::new("/tmp/audit"),
            pooled_port: 3,
            direct_port: 4,
            owner_password: "secret",
            verifiers: &verifiers,
        };
        let parsed: toml::Table = text(&parts).parse().unwrap();
        assert_eq!(parsed["listen"]["postgres"].as_str(), Some("127.0.0.1:1"));
        assert_eq!(
            parsed["databases"]["shop"]["pooled"].as_str(),
            Some("postgres://shop:secret@127.0.0.1:3/shop?sslmode=disable&pgbouncer=true")
        );
        let users = parsed["users"].as_array().unwrap();
        assert_eq!(users.len(), PEOPLE.len());
        assert_eq!(users[2]["roles"]["production"].as_str(), Some("migrator"));
        assert_eq!(users[3]["verifier"].as_str(), Some("SCRAM-SHA-256$4096:developer"));
    }
}
