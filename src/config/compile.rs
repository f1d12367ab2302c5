//! Options in, a [`Config`] out: names tied to what they name, and the errors that only the whole can show.
//!
//! Sections whose options were already wrong have been told; what is compiled here is complete, or errors were noted.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use super::endpoint::{self, Endpoint};
use super::error::Errors;
use super::kind::{NamedValues, Placed};
use super::names;
use super::role::RoleOptions;
use super::schema::{
    DatabaseOptions, EnvironmentOptions, FileOptions, GrantOptions, ReviewOptions, TokenOptions, UserOptions,
};
use super::{
    AuditSettings, Config, Database, EndpointKind, Environment, Expect, GrantSettings, Listen, ReviewRule, RoleBinding,
    TlsFiles, Token, User, policies,
};
use crate::policy::{Policy, glob};
use crate::suggest::suggestion;

/// Compiles the whole file. The result counts only if no error was noted.
pub(super) fn config(options: FileOptions, folder: &Path, errors: &mut Errors) -> Config {
    let policies = policies::compile(&options.policies, &options.audit, errors);
    names::check_ambiguity("database", options.databases.iter().map(|(name, _)| name), errors);
    names::check_ambiguity("environment", options.environments.iter().map(|(name, _)| name), errors);
    let environments = environments(&options.environments, &policies, errors);
    let databases = databases(&options.databases, &environments, folder, errors);
    let listen = listen(options.listen, folder);
    let users = users(&options.users, &environments, &listen, errors);
    let tokens = tokens(&options.tokens, &users, errors);
    let reviews = reviews(&options.reviews, errors);
    let grants = grants(&options.grants, &environments, errors);
    Config {
        grants,
        tokens,
        reviews,
        audit: AuditSettings { directory: folder.join(&options.audit.directory), ..options.audit },
        limits: options.limits,
        log: options.log,
        listen,
        databases,
        environments,
        policies,
        users,
    }
}

fn listen(listen: Listen, folder: &Path) -> Listen {
    let tls = listen.tls.map(|tls| TlsFiles {
        certificate: folder.join(tls.certificate),
        key: folder.join(tls.key),
        client_ca: tls.client_ca.map(|file| folder.join(file)),
        required: tls.required,
    });
    Listen { tls, ..listen }
}

fn environments(
    options: &NamedValues<EnvironmentOptions>,
    policies: &BTreeMap<String, Arc<Policy>>,
    errors: &mut Errors,
) -> Vec<Environment> {
    let mut environments = Vec::with_capacity(options.len());
    for (name, environment) in options {
        let mut roles = BTreeMap::new();
        for (role, options) in environment.iter().flat_map(|environment| &environment.roles) {
            let binding = options.as_ref().map(|options| role_binding(options, policies, errors));
            roles.insert(role.value.clone(), binding.unwrap_or_default());
        }
        environments.push(Environment { name: name.value.clone(), roles });
    }
    names::sort(&mut environments, |environment| &environment.name);
    environments
}

fn role_binding(role: &RoleOptions, policies: &BTreeMap<String, Arc<Policy>>, errors: &mut Errors) -> RoleBinding {
    let policy = policies.get(&role.policy.value).cloned();
    if policy.is_none() {
        let known = suggestion(&role.policy.value, policies.keys().map(String::as_str));
        errors.at(&role.policy.place, format!("there is no policy `{}`{known}", role.policy.shown));
    }
    if role.fallback == Some(role.endpoint) {
        errors
            .at(&role.policy.place, format!("a role's `fallback` is another endpoint than `{}`", role.endpoint.name()));
    }
    if role.standby && role.endpoint != EndpointKind::Replica {
        errors.at(
            &role.policy.place,
            "`standby = true` asks something of the `replica` endpoint: write `endpoint = \"replica\"`",
        );
    }
    RoleBinding {
        policy: policy.unwrap_or_default(),
        endpoint: role.endpoint,
        fallback: role.fallback,
        standby: role.standby,
    }
}

fn databases(
    options: &NamedValues<Placed<DatabaseOptions>>,
    environments: &[Environment],
    folder: &Path,
    errors: &mut Errors,
) -> Vec<Database> {
    let mut databases = Vec::with_capacity(options.len());
    for (name, placed) in options {
        let Some(Placed { value: options, .. }) = placed else { continue };
        check_environment(options, name, environments, errors);
        check_expect(options, errors);
        databases.push(database(&name.value, options, folder));
    }
    names::sort(&mut databases, |database| &database.name);
    databases
}

fn database(name: &str, options: &DatabaseOptions, folder: &Path) -> Database {
    let beside =
        |given: &Option<Option<Endpoint>>| given.clone().flatten().map(|endpoint| Arc::new(endpoint.beside(folder)));
    Database {
        name: name.to_owned(),
        environment: options.environment.value.clone(),
        pooled: beside(&options.pooled),
        direct: beside(&options.direct),
        replica: beside(&options.replica),
        expect: options.expect.as_ref().map(|expect| expect.value.clone()),
    }
}

/// The environment must exist, and every endpoint that its roles use must be given.
fn check_environment(
    options: &DatabaseOptions,
    name: &Placed<String>,
    environments: &[Environment],
    errors: &mut Errors,
) {
    let written = &options.environment;
    let Some(environment) = names::most_specific(environments, |environment| &environment.name, &written.value) else {
        let known = suggestion(&written.value, environments.iter().map(|environment| environment.name.as_str()));
        errors.at(&written.place, format!("there is no environment `{}`{known}", written.shown));
        return;
    };
    let uses = environment.roles.iter().flat_map(|(role, binding)| {
        std::iter::once(binding.endpoint).chain(binding.fallback).map(move |kind| (role, binding, kind))
    });
    for (role, binding, kind) in uses {
        let given = match kind {
            EndpointKind::Pooled => &options.pooled,
            EndpointKind::Direct => &options.direct,
            EndpointKind::Replica => &options.replica,
        };
        if let Some(Some(endpoint)) = given {
            check_search_path(endpoint, (role, binding), (name, kind), errors);
        }
        if given.is_none() {
            let (kind, database, environment) = (kind.name(), &name.shown, &environment.name);
            errors.at(
                &name.place,
                format!(
                    "role `{role}` in `{environment}` uses the `{kind}` endpoint, which database `{database}` does not give: \
                     add `{kind} = \"postgres://…\"`, or give the role another `endpoint`"
                ),
            );
        }
    }
}

/// Relation and function rules take bare names to be in `public`; a URL that sets another search path would mislead them.
fn check_search_path(
    endpoint: &Endpoint,
    (role, binding): (&str, &RoleBinding),
    (database, kind): (&Placed<String>, EndpointKind),
    errors: &mut Errors,
) {
    let in_options = endpoint.options.as_deref().is_some_and(|options| options.contains("search_path"));
    if endpoint.schema.is_none() && endpoint.search_path.is_none() && !in_options {
        return;
    }
    let schema = endpoint.schema.as_deref().filter(|schema| !in_options && !schema.contains(endpoint::NAME));
    let Some(rule) = binding.policy.misled_by(schema) else { return };
    let (kind, database_name) = (kind.name(), &database.shown);
    errors.at(
        &database.place,
        format!(
            "the `{kind}` URL of database `{database_name}` sets the search path, but the rule \"{}\" ({}) of role `{role}` takes names \
             without schema to be in `public`: leave the search path out, or write rules that name relations in full",
            rule.pattern, rule.place
        ),
    );
}

fn check_expect(options: &DatabaseOptions, errors: &mut Errors) {
    let Some(Placed { place, value, .. }) = &options.expect else { return };
    let Expect { database, system_identifier, query, value } = value;
    if query.is_some() != value.is_some() {
        errors.at(place, "`query` and `value` of `expect` belong together: give both or neither");
    }
    if database.is_none() && system_identifier.is_none() && query.is_none() && value.is_none() {
        errors.at(place, "`expect` expects nothing: give `database`, `system_identifier`, or `query` and `value`");
    }
}

fn users(
    options: &[Placed<UserOptions>],
    environments: &[Environment],
    listen: &Listen,
    errors: &mut Errors,
) -> HashMap<String, User> {
    let mut users = HashMap::with_capacity(options.len());
    for Placed { value: user, .. } in options {
        check_login(user, listen, errors);
        names::check_ambiguity("environment", user.roles.iter().map(|(environment, _)| environment), errors);
        check_roles(user, environments, errors);
        if users.insert(user.name.value.clone(), compiled_user(user)).is_some() {
            errors.at(&user.name.place, format!("user `{}` is there twice: names must differ", user.name.shown));
        }
    }
    users
}

fn compiled_user(user: &UserOptions) -> User {
    let named = user.roles.iter().filter_map(|(environment, role)| Some((environment, role.as_ref()?)));
    let mut roles: Vec<(String, String)> =
        named.map(|(environment, role)| (environment.value.clone(), role.value.clone())).collect();
    names::sort(&mut roles, |(environment, _)| environment);
    User {
        name: user.name.value.clone(),
        verifier: user.verifier.clone().flatten(),
        person: user.person,
        roles,
        console: user.console,
    }
}

/// Records name whoever acted, so a token must not pass for a user or for another token.
fn tokens(options: &[Placed<TokenOptions>], users: &HashMap<String, User>, errors: &mut Errors) -> Vec<Token> {
    let mut tokens: Vec<Token> = Vec::with_capacity(options.len());
    for Placed { value: token, .. } in options {
        let name = &token.name.value;
        if users.contains_key(name) || tokens.iter().any(|other| other.name == *name) {
            errors.at(&token.name.place, format!("`{}` is another token's or a user's name", token.name.shown));
        }
        tokens.push(Token { name: name.clone(), hash: token.hash, role: token.role });
    }
    tokens
}

fn reviews(options: &[Placed<ReviewOptions>], errors: &mut Errors) -> Vec<ReviewRule> {
    let mut rules: Vec<ReviewRule> = Vec::with_capacity(options.len());
    for Placed { value: rule, .. } in options {
        if rules.iter().any(|other| other.name == rule.name.value) {
            errors.at(&rule.name.place, format!("review rule `{}` is there twice: names must differ", rule.name.shown));
        }
        rules.push(ReviewRule {
            name: rule.name.value.clone(),
            filter: rule.filter.clone(),
            new: rule.new,
            within: rule.within,
        });
    }
    rules
}

/// Names must lead somewhere: one that is mistyped would leave an environment without its confirmation.
fn grants(options: &GrantOptions, environments: &[Environment], errors: &mut Errors) -> GrantSettings {
    for pattern in &options.never {
        policies::check_class(pattern, errors);
    }
    for name in options.environments.iter().chain(&options.confirm).filter(|name| !glob::is_pattern(&name.value)) {
        if names::most_specific(environments, |environment| &environment.name, &name.value).is_none() {
            let known = suggestion(&name.value, environments.iter().map(|environment| environment.name.as_str()));
            errors.at(&name.place, format!("there is no environment `{}`{known}", name.shown));
        }
    }
    let values = |list: &[Placed<String>]| list.iter().map(|item| item.value.clone()).collect();
    GrantSettings {
        environments: values(&options.environments),
        longest: options.longest,
        request_timeout: options.request_timeout,
        requested_by: options.requested_by,
        approved_by: options.approved_by,
        self_approval: options.self_approval,
        confirm: values(&options.confirm),
        never: values(&options.never),
    }
}

fn check_login(user: &UserOptions, listen: &Listen, errors: &mut Errors) {
    let certificates = listen.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
    let name = &user.name;
    if user.verifier.is_none() && !certificates {
        errors.at(
            &name.place,
            format!(
                "user `{}` has no `verifier`, and without `client_ca` in [listen] tls no other way to log in",
                name.shown
            ),
        );
    }
    if user.roles.is_empty() && user.console.is_none() {
        errors.at(
            &name.place,
            format!(
                "user `{}` has no role anywhere: write `roles = {{ … }}`, or `console` for the console alone",
                name.shown
            ),
        );
    }
}

/// Every role of a user must exist in an environment that the line covers.
fn check_roles(user: &UserOptions, environments: &[Environment], errors: &mut Errors) {
    for (name, role) in user.roles.iter().filter_map(|(name, role)| Some((name, role.as_ref()?))) {
        let covered = covered_environments(environments, &name.value);
        if covered.is_empty() {
            let known = suggestion(&name.value, environments.iter().map(|environment| environment.name.as_str()));
            errors.at(&name.place, format!("there is no environment `{}`{known}", name.shown));
        } else if !covered.iter().any(|environment| environment.roles.contains_key(&role.value)) {
            let roles = covered.iter().flat_map(|environment| environment.roles.keys().map(String::as_str));
            let known = suggestion(&role.value, roles);
            errors.at(&role.place, format!("there is no role `{}` in `{}`{known}", role.shown, name.shown));
        }
    }
}

/// A plain name means one environment; a pattern every one that it may meet.
fn covered_environments<'a>(environments: &'a [Environment], name: &str) -> Vec<&'a Environment> {
    match glob::is_pattern(name) {
        false => names::most_specific(environments, |environment| &environment.name, name).into_iter().collect(),
        true => environments.iter().filter(|environment| glob::overlap(&environment.name, name)).collect(),
    }
}
