//! What a reload changed, in lines for the log and the audit record. Secrets are compared, never shown.

use std::collections::BTreeMap;
use std::fmt::Debug;

use super::{Config, Database, EndpointKind, Environment, ReviewRule, RoleBinding, Token, User};
use crate::policy::{Policy, Rule};

/// One line for everything that differs; empty if nothing does. Where a rule stands in the file does not count.
pub fn summary_of_changes(old: &Config, new: &Config) -> Vec<String> {
    let mut lines = Vec::new();
    settings(old, new, &mut lines);
    compare("database", &databases(old), &databases(new), database_changes, &mut lines);
    compare("environment", &environments(old), &environments(new), environment_changes, &mut lines);
    compare("policy", &policies(old), &policies(new), policy_changes, &mut lines);
    compare("user", &users(old), &users(new), user_changes, &mut lines);
    compare("token", &tokens(old), &tokens(new), token_changes, &mut lines);
    compare("review rule", &reviews(old), &reviews(new), review_changes, &mut lines);
    lines
}

/// Sections without names of the user's own: their options hold no secrets.
fn settings(old: &Config, new: &Config, lines: &mut Vec<String>) {
    let mut differs = |section: &str, old: &dyn Debug, new: &dyn Debug, note: &str| {
        if format!("{old:?}") != format!("{new:?}") {
            lines.push(format!("[{section}] changed{note}"));
        }
    };
    let addresses = |config: &Config| (config.listen.postgres.clone(), config.listen.admin);
    differs("listen", &addresses(old), &addresses(new), ": addresses take effect at the next start");
    differs("listen.tls", &old.listen.tls, &new.listen.tls, "");
    differs("audit", &old.audit, &new.audit, ": takes effect at the next start");
    differs("limits", &old.limits, &new.limits, "");
    differs("grants", &old.grants, &new.grants, "");
    differs("log", &old.log, &new.log, ": takes effect at the next start");
}

type Keyed<'a, T> = BTreeMap<&'a str, &'a T>;

fn databases(config: &Config) -> Keyed<'_, Database> {
    config.databases.iter().map(|database| (database.name.as_str(), database)).collect()
}

fn environments(config: &Config) -> Keyed<'_, Environment> {
    config.environments.iter().map(|environment| (environment.name.as_str(), environment)).collect()
}

fn policies(config: &Config) -> Keyed<'_, Policy> {
    config.policies.iter().map(|(name, policy)| (name.as_str(), policy.as_ref())).collect()
}

fn users(config: &Config) -> Keyed<'_, User> {
    config.users.iter().map(|(name, user)| (name.as_str(), user)).collect()
}

fn tokens(config: &Config) -> Keyed<'_, Token> {
    config.tokens.iter().map(|token| (token.name.as_str(), token)).collect()
}

fn reviews(config: &Config) -> Keyed<'_, ReviewRule> {
    config.reviews.iter().map(|rule| (rule.name.as_str(), rule)).collect()
}

fn compare<T>(
    what: &str,
    old: &Keyed<'_, T>,
    new: &Keyed<'_, T>,
    changes: fn(&T, &T) -> Vec<&'static str>,
    lines: &mut Vec<String>,
) {
    let removed = old.keys().filter(|name| !new.contains_key(*name));
    lines.extend(removed.map(|name| format!("{what} `{name}` removed")));
    for (name, now) in new {
        match old.get(name).map(|before| changes(before, now)) {
            None => lines.push(format!("{what} `{name}` added")),
            Some(changed) if changed.is_empty() => {}
            Some(changed) => lines.push(format!("{what} `{name}` changed: {}", changed.join(", "))),
        }
    }
}

/// The names of the parts that differ.
fn parts(pairs: &[(&'static str, bool)]) -> Vec<&'static str> {
    pairs.iter().filter(|(_, differs)| *differs).map(|(part, _)| *part).collect()
}

fn database_changes(old: &Database, new: &Database) -> Vec<&'static str> {
    let endpoint = |kind: EndpointKind| (kind.name(), old.endpoint(kind) != new.endpoint(kind));
    parts(&[
        ("environment", old.environment != new.environment),
        endpoint(EndpointKind::Pooled),
        endpoint(EndpointKind::Direct),
        endpoint(EndpointKind::Replica),
        ("expect", format!("{:?}", old.expect) != format!("{:?}", new.expect)),
    ])
}

fn environment_changes(old: &Environment, new: &Environment) -> Vec<&'static str> {
    let same = old.roles.len() == new.roles.len() && old.roles.iter().zip(&new.roles).all(same_binding);
    parts(&[("roles", !same)])
}

/// Whether a role is bound as it was; what its policy holds is compared apart.
fn same_binding(((role, old), (other, new)): ((&String, &RoleBinding), (&String, &RoleBinding))) -> bool {
    role == other
        && old.policy.name == new.policy.name
        && (old.endpoint, old.fallback, old.standby) == (new.endpoint, new.fallback, new.standby)
}

fn policy_changes(old: &Policy, new: &Policy) -> Vec<&'static str> {
    let rules = |list: fn(&Policy) -> &Vec<Rule>| patterns(list(old)) != patterns(list(new));
    parts(&[
        ("read_only", old.read_only != new.read_only),
        ("mode", old.observe != new.observe),
        ("allow", rules(|policy| &policy.allow)),
        ("deny", rules(|policy| &policy.deny)),
        ("relations.allow", rules(|policy| &policy.allow_relations)),
        ("relations.deny", rules(|policy| &policy.deny_relations)),
        ("functions.allow", rules(|policy| &policy.allow_functions)),
        ("functions.deny", rules(|policy| &policy.deny_functions)),
        ("extensions", old.extensions != new.extensions),
        ("bookkeeping", old.bookkeeping != new.bookkeeping),
        ("limits", old.limits != new.limits),
        ("what is recorded", old.recording != new.recording),
    ])
}

fn patterns(rules: &[Rule]) -> Vec<&str> {
    rules.iter().map(|rule| rule.pattern.as_str()).collect()
}

fn user_changes(old: &User, new: &User) -> Vec<&'static str> {
    parts(&[
        ("verifier", old.verifier != new.verifier),
        ("roles", old.roles != new.roles),
        ("console", old.console != new.console),
        ("person", old.person != new.person),
    ])
}

fn token_changes(old: &Token, new: &Token) -> Vec<&'static str> {
    parts(&[("hash", old.hash != new.hash), ("role", old.role != new.role)])
}

fn review_changes(old: &ReviewRule, new: &ReviewRule) -> Vec<&'static str> {
    parts(&[("filter", old.filter != new.filter), ("new", old.new != new.new), ("within", old.within != new.within)])
}
