//! Policies: from options to rules, and the combinations that cannot be meant.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::error::{Errors, Place};
use super::kind::{NamedValues, Placed};
use super::schema::{AuditSettings, PolicyOptions};
use crate::policy::{
    BindParameters, Policy, PolicyLimits, Recording, Rule, StatementText, contradicts_read_only, covers,
};
use crate::sql::Class;
use crate::suggest::suggestion;

/// Compiles every policy. One whose options were wrong exists by name, so that roles that name it are not told off.
pub(super) fn compile(
    options: &NamedValues<Placed<PolicyOptions>>,
    audit: &AuditSettings,
    errors: &mut Errors,
) -> BTreeMap<String, Arc<Policy>> {
    let compiled = options.iter().map(|(name, options)| {
        let policy = options.as_ref().map(|options| {
            check(&name.value, options, errors);
            policy(&name.value, &options.value, audit)
        });
        (name.value.clone(), Arc::new(policy.unwrap_or_default()))
    });
    compiled.collect()
}

fn policy(name: &str, options: &PolicyOptions, audit: &AuditSettings) -> Policy {
    Policy {
        name: name.to_owned(),
        read_only: options.read_only,
        observe: options.mode,
        allow: rules(&options.allow),
        deny: rules(&options.deny),
        deny_relations: rules(&options.relations.deny),
        allow_relations: rules(&options.relations.allow),
        deny_functions: rules(&options.functions.deny),
        allow_functions: rules(&options.functions.allow),
        extensions: options.extensions.iter().map(|extension| extension.value.clone()).collect(),
        recording: recording(options, audit),
        bookkeeping: options.bookkeeping.iter().map(|table| table.value.clone()).collect(),
        limits: PolicyLimits {
            statement_timeout: options.statement_timeout.flatten(),
            lock_timeout: options.lock_timeout.flatten(),
            idle_in_transaction_timeout: options.idle_in_transaction_timeout.flatten(),
            transaction_timeout: options.transaction_timeout.flatten(),
            max_session_duration: options.max_session_duration.flatten(),
            max_result_rows: options.max_result_rows.flatten(),
            max_result_bytes: options.max_result_bytes.flatten(),
            max_affected_rows: options.max_affected_rows.flatten(),
        },
    }
}

/// What `[audit]` says of parameters is no leave to record values of statements whose literals are left out.
fn recording(options: &PolicyOptions, audit: &AuditSettings) -> Recording {
    let text = options.statement_text.unwrap_or(audit.statement_text);
    let inherited = match text {
        StatementText::Whole => audit.bind_parameters,
        StatementText::Redacted | StatementText::Fingerprint => audit.bind_parameters.min(BindParameters::Redacted),
    };
    Recording { text, counts_reads: options.record_reads, parameters: options.bind_parameters.unwrap_or(inherited) }
}

fn rules(patterns: &[Placed<String>]) -> Vec<Rule> {
    let rule = |pattern: &Placed<String>| Rule { pattern: pattern.value.clone(), place: pattern.place.short().into() };
    patterns.iter().map(rule).collect()
}

fn check(name: &str, options: &Placed<PolicyOptions>, errors: &mut Errors) {
    let policy = &options.value;
    for pattern in policy.allow.iter().chain(&policy.deny) {
        check_class(pattern, errors);
    }
    let lists = [&policy.relations.allow, &policy.relations.deny, &policy.functions.allow, &policy.functions.deny];
    for pattern in lists.into_iter().flatten() {
        check_object(pattern, errors);
    }
    if policy.read_only {
        policy.allow.iter().for_each(|pattern| check_read_only(name, pattern, &options.place, errors));
    }
    check_extensions(&options.place, policy, errors);
}

/// A pattern must cover some class.
pub(super) fn check_class(pattern: &Placed<String>, errors: &mut Errors) {
    if !Class::ALL.iter().any(|class| class.matches(&pattern.value)) {
        let prefixes = ["write", "destroy", "ddl", "function", "session", "*"];
        let known = Class::ALL.iter().map(|class| class.name()).chain(prefixes);
        let hint = suggestion(&pattern.value, known);
        errors.at(&pattern.place, format!("there is no effect class `{}`{hint}", pattern.shown));
    }
}

/// `schema.name` or `name`: at most one dot, nothing empty, no quotes (names are compared as the server folds them).
fn check_object(pattern: &Placed<String>, errors: &mut Errors) {
    let parts: Vec<&str> = pattern.value.split('.').collect();
    let odd = |c: char| c == '"' || c.is_whitespace() || c.is_control() || c == '(';
    let proper = parts.len() <= 2 && parts.iter().all(|part| !part.is_empty() && !part.contains(odd));
    if !proper {
        errors.at(
            &pattern.place,
            format!("`{}` is not a pattern such as `auth.*`, `*.secrets` or `orders`", pattern.shown),
        );
    }
}

/// `policy` is the place of the policy's own table, for patterns that are built in.
fn check_read_only(name: &str, pattern: &Placed<String>, policy: &Place, errors: &mut Errors) {
    let offending = Class::ALL.iter().find(|class| covers(&pattern.value, **class) && contradicts_read_only(**class));
    if let Some(class) = offending {
        let which = match class.name() == pattern.value {
            true => String::new(),
            false => format!(" (it covers `{}`)", class.name()),
        };
        errors.at(
            if pattern.place.source.built_in { policy } else { &pattern.place },
            format!(
                "policy `{name}` is `read_only`, which cannot go with allow `{}`{which}: leave that out, or write `read_only = false`",
                pattern.shown
            ),
        );
    }
}

fn check_extensions(place: &Place, policy: &PolicyOptions, errors: &mut Errors) {
    let creates = policy.allow.iter().any(|pattern| covers(&pattern.value, Class::DdlAdditive));
    let everything = policy.allow.iter().any(|pattern| pattern.value == "*");
    let Some(first) = policy.extensions.first() else { return };
    let place = if first.place.source.built_in { place } else { &first.place };
    if everything {
        errors
            .at(place, "`extensions` has no meaning where allow `*` lets every extension pass: leave one of them out");
    } else if !creates {
        errors.at(
            place,
            "`extensions` has no meaning without `ddl.additive` in allow: add it, or write `extensions = []`",
        );
    }
}
