//! What a relation or function pattern covers. Part of the policy room.
//!
//! A name written with its schema is compared whole. One written without is looked up by the server along `search_path`,
//! which the proxy does not know for certain; each list takes the reading that refuses more:
//!
//! - *deny*: `auth.users` and `*.users` cover a bare `users`, whatever the schema part says. A pattern whose name part is
//!   only `*` (`auth.*`) would cover every bare name, so it covers those whose schema can only be guessed as usual: `public`,
//!   and `pg_catalog` for names that begin with `pg_`.
//! - *allow*: a bare name is taken to be in `public`, or in `pg_catalog` if it begins with `pg_`.
//!
//! Where the outcome leans on that guess, `search_path` may not be changed ([`leans_on_search_path`]), only emptied.
//!
//! A pattern without a dot means any schema in a deny list, and `public` or `pg_catalog` in an allow list.

use super::{Policy, Rule, glob};
use crate::sql::{Object, ObjectKind};

/// The schema and name parts of a pattern; no schema when there is no dot.
fn parts(pattern: &str) -> (Option<&str>, &str) {
    match pattern.split_once('.') {
        Some((schema, name)) => (Some(schema), name),
        None => (None, pattern),
    }
}

fn only_stars(pattern: &str) -> bool {
    pattern.chars().all(|c| c == '*')
}

/// The schemas in which a bare name is assumed to be found.
fn home_schemas(object: &Object) -> &'static [&'static str] {
    match object.kind {
        ObjectKind::Relation if object.name.starts_with("pg_") => &["pg_catalog"],
        ObjectKind::Relation => &["public"],
        ObjectKind::Function | ObjectKind::Setting | ObjectKind::Other => &["pg_catalog", "public"],
    }
}

/// Whether a pattern of a deny list covers `object`.
pub(super) fn denies(pattern: &str, object: &Object) -> bool {
    let (schema, name) = parts(pattern);
    if !glob::matches(name, &object.name) {
        return false;
    }
    let Some(schema) = schema else { return true };
    match &object.schema {
        Some(written) => glob::matches(schema, written),
        None if only_stars(name) => home_schemas(object).iter().any(|home| glob::matches(schema, home)),
        None => true,
    }
}

/// Whether a pattern of an allow list covers `object`.
pub(super) fn allows(pattern: &str, object: &Object) -> bool {
    allowed_in(pattern, object, |homes, in_scope| homes.iter().any(|home| in_scope(home)))
}

/// The same, but a bare name has to be covered wherever it may be found: the server looks in `pg_catalog` first, so
/// allowing `public.lo_unlink` must not allow the built-in.
pub(super) fn allows_everywhere(pattern: &str, object: &Object) -> bool {
    allowed_in(pattern, object, |homes, in_scope| homes.iter().all(|home| in_scope(home)))
}

fn allowed_in(pattern: &str, object: &Object, bare: impl Fn(&[&str], &dyn Fn(&str) -> bool) -> bool) -> bool {
    let (schema, name) = parts(pattern);
    let in_scope = |written: &str| match schema {
        Some(schema) => glob::matches(schema, written),
        None => written == "public" || written == "pg_catalog",
    };
    glob::matches(name, &object.name)
        && match &object.schema {
            Some(written) => in_scope(written),
            None => bare(home_schemas(object), &in_scope),
        }
}

/// Whether a deny pattern covers everything in a schema, so that acts on the schema itself are acts on its relations.
pub(super) fn denies_schema(pattern: &str, schema_name: &str) -> bool {
    match parts(pattern) {
        (Some(schema), _) => !only_stars(schema) && glob::matches(schema, schema_name),
        (None, _) => false,
    }
}

/// The rule, if any, whose outcome depends on where the server finds a bare name.
pub(super) fn leans_on_search_path(policy: &Policy) -> Option<&Rule> {
    let guesses = |rule: &&Rule| {
        let (schema, name) = parts(&rule.pattern);
        schema.is_some_and(|schema| !only_stars(schema)) && only_stars(name)
    };
    let narrow = |rule: &&Rule| parts(&rule.pattern) != (Some("*"), "*");
    let denied = policy.deny_relations.iter().chain(&policy.deny_functions).find(guesses);
    denied.or_else(|| policy.allow_relations.iter().chain(&policy.allow_functions).find(narrow))
}

impl Policy {
    /// The rule, if any, that would misjudge bare names if the server found them first in `schema` (`None`: who knows where)
    /// instead of `public`.
    pub fn misled_by(&self, schema: Option<&str>) -> Option<&Rule> {
        let leaning = leans_on_search_path(self)?;
        let Some(schema) = schema else { return Some(leaning) };
        if schema == "public" {
            return None;
        }
        let guarded = |rule: &&Rule| denies_schema(&rule.pattern, schema) && only_stars(parts(&rule.pattern).1);
        let denied = self.deny_relations.iter().chain(&self.deny_functions).find(guarded);
        denied.or_else(|| self.allow_relations.first()).or_else(|| self.allow_functions.first())
    }
}
