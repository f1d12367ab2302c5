//! Shapes: what may be left out of the key of a verdict, and the proof that it may.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeSet;

use pgwarden::sql::shape::{fingerprint, shape};
use pgwarden::sql::{Class, Limits, Movement, Object};
use proptest::prelude::*;

fn shape_of(text: &str) -> Option<String> {
    let mut out = Vec::new();
    shape(text, &mut out).then(|| String::from_utf8(out).unwrap().replace('\u{1}', "?n").replace('\u{2}', "?s"))
}

#[test]
fn table() {
    let rows: &[(&str, Option<&str>)] = &[
        (
            "SELECT abalance FROM pgbench_accounts WHERE aid = 123;",
            Some("SELECT abalance FROM pgbench_accounts WHERE aid = ?n;"),
        ),
        ("UPDATE a SET b = b + -42 WHERE aid = 7;", Some("UPDATE a SET b = b + -?n WHERE aid = ?n;")),
        ("UPDATE a SET b = b + 42, c = 'x' WHERE aid = 7", Some("UPDATE a SET b = b + ?n, c = ?s WHERE aid = ?n")),
        (
            "INSERT INTO t (a, b) VALUES (1, 'x''y'), (-2.5, NULL)",
            Some("INSERT INTO t (a, b) VALUES (?n, ?s), (-?n, NULL)"),
        ),
        ("DELETE FROM t WHERE id IN (1, 2) AND b = 'x'", Some("DELETE FROM t WHERE id IN (?n, ?n) AND b = ?s")),
        ("DELETE FROM \"t\" WHERE \"id\" = 1", Some("DELETE FROM \"t\" WHERE \"id\" = ?n")),
        (
            "SELECT * FROM t WHERE a > 5 OR b BETWEEN 1 AND 2 ORDER BY 1 LIMIT 10 OFFSET 20",
            Some("SELECT * FROM t WHERE a > ?n OR b BETWEEN 1 AND ?n ORDER BY ?n LIMIT ?n OFFSET ?n"),
        ),
        ("SELECT set_config('a', 'b', true)", None),
        ("SELECT nextval('s')", Some("SELECT nextval('s')")),
        ("SELECT f(a, (1 + 2)), 3", Some("SELECT f(a, (1 + 2)), ?n")),
        ("SELECT 'x'::regclass, 'y' :: text, 'z'", Some("SELECT 'x'::regclass, 'y' :: text, ?s")),
        ("SELECT interval '1 day', date '2020-01-01'", Some("SELECT interval '1 day', date '2020-01-01'")),
        (
            "SELECT a FROM t WHERE b LIKE 'x%' AND c ~ 'y' AND d = 'z'",
            Some("SELECT a FROM t WHERE b LIKE 'x%' AND c ~ 'y' AND d = ?s"),
        ),
        ("SELECT 1 WHERE 1 = 1", Some("SELECT ?n WHERE ?n = 1")),
        ("DELETE FROM t WHERE 1 = 1", Some("DELETE FROM t WHERE 1 = 1")),
        ("DELETE FROM t WHERE a = 1 AND 2 = 2", Some("DELETE FROM t WHERE a = ?n AND 2 = 2")),
        ("DELETE FROM t WHERE a >= ''", Some("DELETE FROM t WHERE a >= ''")),
        ("DELETE FROM t WHERE a >= 'm'", Some("DELETE FROM t WHERE a >= ?s")),
        ("DELETE FROM t WHERE 1 IN (1, 2)", Some("DELETE FROM t WHERE 1 IN (1, 2)")),
        ("DELETE FROM t WHERE (1) = 1", Some("DELETE FROM t WHERE (1) = 1")),
        ("DELETE FROM t WHERE a = 1 OR a <> 1", None),
        ("DELETE FROM t WHERE NOT a = 1", None),
        ("DELETE FROM t WHERE a LIKE '%'", None),
        ("DELETE FROM t WHERE a + 1 = a + 1", None),
        ("DELETE FROM t WHERE a IN (SELECT 1)", None),
        ("DELETE FROM t WHERE lower(a) = 'x'", Some("DELETE FROM t WHERE lower(a) = 'x'")),
        ("WITH d AS (DELETE FROM t WHERE a = 1) SELECT 1", None),
        (
            "WITH d AS (SELECT 1) SELECT * FROM d WHERE a = 2",
            Some("WITH d AS (SELECT ?n) SELECT * FROM d WHERE a = ?n"),
        ),
        (
            "INSERT INTO t VALUES (1) ON CONFLICT (id) DO UPDATE SET a = 2",
            Some("INSERT INTO t VALUES (?n) ON CONFLICT (id) DO UPDATE SET a = ?n"),
        ),
        ("SELECT * FROM t WHERE a = 1 FOR UPDATE", Some("SELECT * FROM t WHERE a = ?n FOR UPDATE")),
        ("SELECT $1, 2", Some("SELECT $1, ?n")),
        ("SELECT 1; SELECT 2", None),
        ("SELECT 1 -- x", None),
        ("SELECT 1 /* x */", None),
        ("SELECT E'x'", None),
        ("SELECT U&'x'", None),
        ("SELECT U&\"x\"", None),
        ("SELECT $$x$$", None),
        ("SELECT 'x\\y'", None),
        ("SELECT 'é'", None),
        ("SELECT 0x1F", None),
        ("SELECT 1_000", None),
        ("SELECT (1", None),
        ("SELECT 'x", None),
        ("SELECT a->>'k', b @> '{}' FROM t", Some("SELECT a->>'k', b @> '{}' FROM t")),
        ("EXPLAIN SELECT 1", None),
        ("SET x = 1", None),
        ("BEGIN", None),
        ("", None),
    ];
    for (text, wanted) in rows {
        assert_eq!(shape_of(text).as_deref(), *wanted, "{text}");
    }
}

#[test]
fn fingerprints() {
    assert_eq!(fingerprint("SELECT * FROM t WHERE a = 1"), fingerprint("select * from t where a = 2"));
    assert_ne!(fingerprint("SELECT * FROM t"), fingerprint("SELECT * FROM u"));
    assert_eq!(fingerprint("not sql 1"), fingerprint("not sql 1"));
    assert_eq!(fingerprint("SELECT a FROM t WHERE b = 1"), fingerprint("SELECT a FROM t WHERE b = 1"));
    let rows = |value: u32| format!("INSERT INTO t VALUES {}", vec![format!("({value})"); 10_000].join(", "));
    assert_eq!(fingerprint(&rows(1)), fingerprint(&rows(2)));
}

/// Statements with holes: `#` is a number, `@` a string, `!` any literal.
const TEMPLATES: &[&str] = &[
    "SELECT # FROM t WHERE a = # AND b = @",
    "SELECT f(!), g(a, !) FROM t WHERE ! = !",
    "SELECT set_config(@, @, true)",
    "SELECT nextval(@), !::regclass, CAST(! AS regclass), regclass @",
    "SELECT * FROM t WHERE a IN (!, !) OR ! IN (!, !) LIMIT #",
    "SELECT CASE WHEN a = ! THEN ! ELSE ! END FROM t ORDER BY # OFFSET #",
    "INSERT INTO t VALUES (!, f(!), -#), (DEFAULT, !, !)",
    "INSERT INTO t SELECT ! FROM s WHERE ! < ! ON CONFLICT (a) DO UPDATE SET a = ! WHERE t.a = !",
    "UPDATE t SET a = !, b = b + # WHERE c = !",
    "UPDATE t SET a = (!), b = f(!) WHERE !",
    "UPDATE t SET a = ! WHERE ! = ! AND a = !",
    "UPDATE t SET a = ! FROM o WHERE o.id = ! AND ! < #",
    "UPDATE t SET (a, b) = (!, !) WHERE (a, b) = (!, !)",
    "DELETE FROM t WHERE a = !",
    "DELETE FROM t WHERE a = ! OR a <> !",
    "DELETE FROM t WHERE a >= ! OR a < !",
    "DELETE FROM t WHERE a >= !",
    "DELETE FROM t WHERE a > -#",
    "DELETE FROM t WHERE length(a) >= #",
    "DELETE FROM t WHERE a IN (!, !) AND ! IN (!, !)",
    "DELETE FROM t WHERE a IN (!, !) OR a NOT IN (!, !)",
    "DELETE FROM t WHERE ! = ! AND ! <> !",
    "DELETE FROM t WHERE (!) = (!)",
    "DELETE FROM t WHERE a LIKE @",
    "DELETE FROM t WHERE a ~ @",
    "DELETE FROM t WHERE a BETWEEN ! AND !",
    "DELETE FROM t WHERE ! BETWEEN ! AND !",
    "DELETE FROM t WHERE a + # = a + #",
    "DELETE FROM t WHERE f(a, !) = f(a, !)",
    "DELETE FROM t WHERE random() < #",
    "DELETE FROM t WHERE CASE WHEN a = ! THEN ! ELSE ! END",
    "DELETE FROM t WHERE COALESCE(a, !) = !",
    "DELETE FROM t WHERE a = ANY (ARRAY[!, !])",
    "DELETE FROM t WHERE ! IS NULL",
    "DELETE FROM t WHERE a = ! IS NOT NULL",
    "DELETE FROM t USING o WHERE o.a = ! AND t.b = !",
    "DELETE FROM t WHERE NOT (a = !) AND b = !",
    "DELETE FROM t WHERE @ = @ AND a = @::text",
    "DELETE FROM t WHERE a = $1 AND # = #",
    "WITH x AS (SELECT !) SELECT * FROM x WHERE y = !",
    "WITH x AS (DELETE FROM t WHERE a = ! OR ! = !) SELECT !",
    "SELECT * FROM t WHERE a @> @ AND b ->> @ = @ FOR UPDATE",
    "SELECT pg_advisory_lock(#), pg_notify(@, @)",
];

fn number() -> impl Strategy<Value = String> {
    prop_oneof![Just("0".to_owned()), Just("1".to_owned()), Just("2".to_owned()), Just("1.0".to_owned()), "[0-9]{1,4}"]
}

/// Strings whose value a reader might look at.
const TELLING: &[&str] =
    &["", "%", "%%", ".*", "t", "true", "off", "on", "1", "role", "transaction_read_only", "a", "x''y"];

fn string() -> impl Strategy<Value = String> {
    prop_oneof![proptest::sample::select(TELLING).prop_map(|text| format!("'{text}'")), "'[a-z%]{0,3}'"]
}

fn filled() -> impl Strategy<Value = (String, String)> {
    proptest::sample::select(TEMPLATES).prop_flat_map(|template| {
        let holes = template.bytes().filter(|byte| matches!(byte, b'#' | b'@' | b'!')).count();
        let one = || (number(), string(), any::<bool>());
        proptest::collection::vec((one(), one()), holes).prop_map(move |values| fill(template, &values))
    })
}

type Choice = (String, String, bool);

/// Two texts of one template. The second repeats about half of the first's literals, so that shapes meet.
fn fill(template: &str, values: &[(Choice, Choice)]) -> (String, String) {
    let (mut one, mut two) = (String::new(), String::new());
    let mut values = values.iter();
    for character in template.chars() {
        if !matches!(character, '#' | '@' | '!') || (character == '@' && template.contains("@>") && one.ends_with("a "))
        {
            one.push(character);
            two.push(character);
            continue;
        }
        let (first, second) = values.next().unwrap();
        let pick = |choice: &Choice| match character {
            '#' => choice.0.clone(),
            '@' => choice.1.clone(),
            _ if first.2 => choice.0.clone(),
            _ => choice.1.clone(),
        };
        one.push_str(&pick(first));
        two.push_str(&pick(if second.2 { second } else { first }));
    }
    (one, two)
}

/// What a text does, without the places in it.
type Seen = (BTreeSet<(Class, Option<Object>, String)>, Vec<Movement>, bool);

/// What both readers see of a text, without the places in it: what a verdict depends on, and how the session moves.
fn read(text: &str) -> Seen {
    let reading = pgwarden::sql::read(text, &Limits::default()).unwrap();
    let effects =
        reading.effects.into_iter().map(|(effect, _)| (effect.class, effect.object, effect.act.into_owned())).collect();
    let movements = reading.statements.into_iter().map(|statement| statement.movement).collect();
    (effects, movements, reading.syntax_error.is_some())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn equal_shapes_have_equal_effects((one, two) in filled()) {
        if let (Some(a), Some(b)) = (shape_of(&one), shape_of(&two))
            && a == b
        {
            prop_assert_eq!(read(&one), read(&two), "{}\n{}", one, two);
        }
    }

    #[test]
    fn any_text_is_taken(text in "(select|delete|where|'|\"|\\(|\\)|=|1|,|-|;|\\$|\\\\|[ -~]|é|\n){0,30}") {
        let _ = shape_of(&text);
    }
}

/// Templates that must have a shape in which something is left out, or the property above would hold of nothing.
#[test]
fn common_statements_have_shapes() {
    let with_marks = TEMPLATES
        .iter()
        .filter(|template| {
            let text = template.replace('#', "7").replace('@', "'x'").replace('!', "5");
            shape_of(&text).is_some_and(|shape| shape.contains('?'))
        })
        .collect::<BTreeSet<_>>();
    assert!(with_marks.len() >= 15, "{with_marks:#?}");
}
