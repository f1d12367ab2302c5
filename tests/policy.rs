//! The decision: effects and policies as data, and what a refusal says.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::path::Path;
use std::sync::Arc;

use pgwarden::config;
use pgwarden::policy::{Denial, Policy, PolicyLimits, Verdict, Widening, classes_of};
use pgwarden::sql::{Class, Effect, Object, ObjectKind};
use proptest::prelude::*;

/// A policy by a built-in name, or `p` with the options given.
fn policy(name: &str, options: &str) -> Arc<Policy> {
    let built_in = matches!(name, "read-only" | "application" | "migrations" | "unrestricted");
    let text = if built_in { String::new() } else { format!("[policies.p]\n{options}") };
    let config =
        config::parse(&text, Path::new("pgwarden.toml"), &|_| None).unwrap_or_else(|errors| panic!("{name}: {errors}"));
    Arc::clone(&config.policies[if built_in { name } else { "p" }])
}

fn effect(text: &str) -> Effect {
    let (class, rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
    let class = Class::from_name(class).unwrap_or_else(|| panic!("no class {class}"));
    let Some((act, object)) = rest.strip_prefix('"').and_then(|rest| rest.split_once('"')) else {
        return Effect::new(class, "SELECT");
    };
    let effect = Effect::new(class, act.to_owned());
    match object.trim().split_once(' ') {
        Some((kind, name)) => effect.on(object_of(kind, name)),
        None => effect,
    }
}

fn object_of(kind: &str, name: &str) -> Object {
    let kind = match kind {
        "relation" => ObjectKind::Relation,
        "function" => ObjectKind::Function,
        "setting" => ObjectKind::Setting,
        "other" => ObjectKind::Other,
        other => panic!("no kind {other}"),
    };
    let (schema, name) = name.split_once('.').map_or((None, name), |(schema, name)| (Some(schema.to_owned()), name));
    Object { kind, schema, name: name.to_owned() }
}

fn told(policy: &Policy, effects: &[Effect]) -> String {
    words(policy.judge(effects.iter()))
}

fn words(verdict: Verdict) -> String {
    match verdict {
        Verdict::Allow => "allow".to_owned(),
        Verdict::Deny(Denial { effect, rule, read_only_violation, .. }) => {
            let sqlstate = if read_only_violation { "25006" } else { "42501" };
            format!("{sqlstate} {} {rule}", effect.class.name())
        }
    }
}

#[test]
fn verdicts() {
    let text = std::fs::read_to_string("tests/data/policy/judging.txt").unwrap();
    let mut rows = 0;
    let mut wrong = Vec::new();
    for case in text.split("\n=== ").skip(1) {
        let (name, body) = case.split_once('\n').unwrap();
        let (judged, options): (Vec<&str>, Vec<&str>) = body.lines().partition(|line| line.starts_with("> "));
        let policy = policy(name, &options.join("\n"));
        for row in judged {
            let (effects, expected) = row[2..].split_once(" : ").unwrap();
            let effects: Vec<Effect> = effects.split("; ").map(effect).collect();
            let reversed: Vec<Effect> = effects.iter().rev().cloned().collect();
            rows += 1;
            for effects in [effects, reversed] {
                let found = told(&policy, &effects);
                if found != expected {
                    wrong.push(format!("{name}: {row}\n  gives {found}"));
                }
            }
        }
    }
    assert!(rows >= 100, "{rows} rows");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A grant: `id classes [on relations]`, without what is never granted by default.
fn widening(line: &str) -> Widening {
    let never = config::parse("", Path::new("pgwarden.toml"), &|_| None).unwrap().grants.never;
    // Only where every class is named does it matter.
    let never = if line.ends_with('*') { never } else { Vec::new() };
    let (grant, rest) = line.split_once(' ').unwrap();
    let (classes, relations) = rest.split_once(" on ").unwrap_or((rest, ""));
    let list = |text: &str| text.split(',').filter(|part| !part.is_empty()).map(str::to_owned).collect::<Vec<_>>();
    Widening { grant: grant.into(), classes: classes_of(&list(classes), &never), relations: list(relations) }
}

#[test]
fn grants_widen_what_is_not_allowed_and_nothing_that_is_denied() {
    let text = std::fs::read_to_string("tests/data/policy/widening.txt").unwrap();
    let mut rows = 0;
    let mut wrong = Vec::new();
    for case in text.split("\n=== ").skip(1) {
        let (name, body) = case.split_once('\n').unwrap();
        let rest = body.lines().filter(|line| !line.starts_with('#'));
        let (judged, options): (Vec<&str>, Vec<&str>) = rest.partition(|line| line.starts_with("> "));
        let (grants, options): (Vec<&str>, Vec<&str>) = options.into_iter().partition(|line| line.starts_with("+ "));
        let policy = policy(name, &options.join("\n"));
        let grants: Vec<Widening> = grants.iter().map(|line| widening(&line[2..])).collect();
        for row in judged {
            let (effects, expected) = row[2..].split_once(" : ").unwrap();
            let effects: Vec<Effect> = effects.split("; ").map(effect).collect();
            let found = match policy.judge_widened(effects.iter(), &grants) {
                (Verdict::Allow, used) if used.is_empty() => "allow".to_owned(),
                (Verdict::Allow, used) => {
                    format!("allow by {}", used.iter().map(|one| &*one.grant).collect::<Vec<_>>().join(" "))
                }
                (denied, _) => words(denied),
            };
            rows += 1;
            if found != expected {
                wrong.push(format!("{name}: {row}\n  gives {found}"));
            }
        }
    }
    assert!(rows >= 40, "{rows} rows");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn refusals_say_what_why_and_what_to_do() {
    let text = std::fs::read_to_string("tests/data/policy/refusals.txt").unwrap();
    let mut count = 0;
    for case in text.split("\n\n").filter(|case| !case.starts_with('#')) {
        let (head, expected) = case.trim_end().split_once('\n').unwrap();
        let (name, written) = head.split_once(" : ").unwrap();
        let policy = policy(name, "");
        let Verdict::Deny(denial) = policy.judge([effect(written)].iter()) else { panic!("{head} is allowed") };
        let refusal = policy.message(&denial, "studio", "production");
        let lines = [refusal.message, refusal.detail, refusal.hint, refusal.sqlstate.to_owned()];
        let expected: Vec<&str> = expected.lines().map(str::trim).collect();
        assert_eq!(lines.to_vec(), expected, "{head}");
        count += 1;
    }
    assert!(count >= 7, "{count}");
}

#[test]
fn an_effect_s_own_hint_is_the_better_one() {
    let policy = policy("application", "");
    let effect = Effect::new(Class::DdlDestructive, "DROP TABLE").hint("rename it first");
    let Verdict::Deny(denial) = policy.judge([effect].iter()) else { panic!("allowed") };
    assert_eq!(policy.message(&denial, "app", "production").hint, "rename it first");
}

#[test]
fn hostile_names_are_shown_harmlessly() {
    let policy = policy("read-only", "");
    let name = "a\u{1b}[2J\u{202e}b\n".to_owned();
    let object = Object { kind: ObjectKind::Relation, schema: None, name };
    let Verdict::Deny(denial) = policy.judge([Effect::new(Class::WriteInsert, "INSERT").on(object)].iter()) else {
        panic!("allowed")
    };
    let message = policy.message(&denial, "app", "production").message;
    assert!(message.contains("`a\\u{1b}[2J\\u{202e}b\\u{a}`"), "{message}");
}

#[test]
fn a_policy_that_observes_takes_no_hold() {
    let options = "read_only = true\nmode = \"observe\"\nallow = [\"read\"]";
    let policy = policy("p", options);
    assert!(policy.observe && !policy.holds_read_only());
    assert!(matches!(policy.judge([Effect::new(Class::WriteInsert, "INSERT")].iter()), Verdict::Deny(_)));
}

#[test]
fn no_effects_are_allowed_and_an_empty_policy_allows_nothing_else() {
    let policy = Policy::default();
    assert_eq!(policy.limits, PolicyLimits::default());
    assert_eq!(policy.judge([].iter()), Verdict::Allow);
    for class in Class::ALL {
        assert!(matches!(policy.judge([Effect::new(*class, "X")].iter()), Verdict::Deny(_)), "{}", class.name());
    }
}

fn any_effect() -> impl Strategy<Value = Effect> {
    let kinds =
        prop::sample::select(vec![ObjectKind::Relation, ObjectKind::Function, ObjectKind::Setting, ObjectKind::Other]);
    let names =
        prop::sample::select(vec!["orders", "secrets", "users", "pg_class", "search_path", "vector", "lo_get", "auth"]);
    let schemas = prop::option::of(prop::sample::select(vec!["public", "auth", "pg_catalog"]));
    let acts = prop::sample::select(vec!["SELECT", "CREATE EXTENSION", "DROP SCHEMA", "SET"]);
    let object = prop::option::of((kinds, schemas, names));
    (prop::sample::select(Class::ALL.to_vec()), acts, object).prop_map(|(class, act, object)| {
        let effect = Effect::new(class, act);
        match object {
            Some((kind, schema, name)) => {
                effect.on(Object { kind, schema: schema.map(str::to_owned), name: name.to_owned() })
            }
            None => effect,
        }
    })
}

fn sample_policies() -> Vec<Arc<Policy>> {
    let rules = "allow = [\"*\"]\ndeny = [\"destroy\"]\nrelations = { allow = [\"public.*\", \"auth.*\"], deny = [\"*.secrets\"] }\nfunctions.deny = [\"lo_*\"]";
    let named = ["read-only", "application", "migrations", "unrestricted"].map(|name| policy(name, ""));
    named.into_iter().chain([policy("p", rules)]).collect()
}

proptest! {
    /// A set is allowed exactly if each of its effects is, and the verdict does not depend on their order.
    #[test]
    fn more_effects_never_allow_more(effects in prop::collection::vec(any_effect(), 0..6)) {
        for policy in sample_policies() {
            let alone = effects.iter().all(|effect| policy.judge([effect].into_iter()) == Verdict::Allow);
            let together = policy.judge(effects.iter());
            prop_assert_eq!(together == Verdict::Allow, alone);
            prop_assert_eq!(together, policy.judge(effects.iter().rev()));
        }
    }
}
