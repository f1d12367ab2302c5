//! A judgement found by shape is exactly what reading the text gives.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::path::Path;
use std::sync::Arc;

use pgwarden::config;
use pgwarden::decision::{Door, Judgement, Scope};
use proptest::prelude::*;

fn scope(role: &str, statement_bytes: &str) -> Arc<Scope> {
    let text = format!(
        "[limits]\nstatement_bytes = \"{statement_bytes}\"\n\
         [databases.shop]\nenvironment = \"production\"\ndirect = \"postgres://u:p@127.0.0.1/shop\"\n\
         [environments.production.roles]\napp = {{ policy = \"application\", endpoint = \"direct\" }}\n\
         watched = {{ policy = \"watched\", endpoint = \"direct\" }}\n\
         [policies.watched]\nmode = \"observe\"\nallow = [\"read\"]\n"
    );
    let config = config::parse(&text, Path::new("pgwarden.toml"), &|_| None).unwrap();
    Door::new(Arc::new(config)).scope_of("production", role).unwrap()
}

/// Everything that a judgement says, save which metrics count it.
fn told(judgement: &Judgement) -> String {
    format!(
        "{:?}",
        (
            &judgement.text,
            &judgement.refusal,
            &judgement.observed,
            &judgement.rule,
            &judgement.notices,
            &judgement.statements,
            &judgement.effects_json,
            judgement.readers,
            &judgement.text_json,
            judgement.class,
        )
    )
}

/// The second text judged after the first, and alone.
fn both(role: &str, first: &str, second: &str) -> (String, String) {
    let warm = scope(role, "1MB");
    warm.judge(first);
    (told(&warm.judge(second)), told(&scope(role, "1MB").judge(second)))
}

const TEMPLATES: &[&str] = &[
    "SELECT a FROM t WHERE id = @",
    "  SELECT a, @ FROM t WHERE id = @ AND name = '#' LIMIT @ ; ",
    "INSERT INTO t (a, b) VALUES (@, '#'), (-@, NULL);",
    "UPDATE t SET a = a + @, b = '#' WHERE id = @",
    "DELETE FROM t WHERE id = @",
    "DELETE FROM t WHERE id >= @ AND id <> @",
    "DELETE FROM t WHERE @ = @",
    "DELETE FROM t WHERE id = @ OR id <> @",
    "DELETE FROM t WHERE name >= '#'",
    "SELECT * FROM t WHERE a = '#' FOR UPDATE",
    "SELECT set_config('#', '#', true), @",
    "SELECT nextval('#'), @",
    "WITH d AS (SELECT @) SELECT * FROM d WHERE a IN (@, @)",
    "SELECT '#' AS password, @",
    "EXPLAIN SELECT @",
    "SET x = @",
];

fn filled(template: &str, values: &[(u32, String)]) -> String {
    let mut values = values.iter().cycle();
    let mut text = String::new();
    for letter in template.chars() {
        match letter {
            '@' => text.push_str(&values.next().unwrap().0.to_string()),
            '#' => text.push_str(&values.next().unwrap().1),
            other => text.push(other),
        }
    }
    text
}

fn values() -> impl Strategy<Value = Vec<(u32, String)>> {
    prop::collection::vec((0u32..4, "[a-z%' ]{0,6}".prop_map(|text| text.replace('\'', "''"))), 6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn by_shape_is_what_reading_gives(
        template in prop::sample::select(TEMPLATES), one in values(), other in values(), observed in any::<bool>(),
    ) {
        let role = if observed { "watched" } else { "app" };
        let (after, alone) = both(role, &filled(template, &one), &filled(template, &other));
        prop_assert_eq!(after, alone);
    }
}

#[test]
fn a_text_over_the_limit_is_refused_though_its_shape_is_known() {
    let scope = scope("app", "1kB");
    assert!(scope.judge("SELECT 'x'").refusal.is_none());
    let long = format!("SELECT '{}'", "x".repeat(2000));
    assert_eq!(scope.judge(&long).refusal.as_ref().unwrap().sqlstate, "54000");
}

#[test]
fn texts_of_a_known_shape_do_not_fill_the_cache_of_texts() {
    let scope = scope("app", "1MB");
    scope.judge("SELECT a FROM t WHERE id = 1");
    scope.judge("SELECT a FROM t WHERE id = 2");
    assert!(scope.knows("SELECT a FROM t WHERE id = 1"));
    assert!(!scope.knows("SELECT a FROM t WHERE id = 2"));
}
