//! The sqlparser reader against tables of statements: `tests/generic_reader/*.txt`, one row a line, `classes => SQL`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use pgwarden::sql::generic::read;
use proptest::prelude::*;

fn classes(sql: &str) -> BTreeSet<&'static str> {
    read(sql).effects.iter().map(|effect| effect.class.name()).collect()
}

#[test]
fn tables() {
    let (mut rows, mut wrong) = (0, Vec::new());
    let mut files: Vec<_> = fs::read_dir("tests/generic_reader").unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for file in files {
        for line in fs::read_to_string(&file).unwrap().lines() {
            let Some((wanted, sql)) = line.split_once("=> ") else {
                assert!(line.is_empty() || line.starts_with('#'), "{line}");
                continue;
            };
            rows += 1;
            let wanted: BTreeSet<&str> = wanted.split(' ').filter(|word| !word.is_empty()).collect();
            let reading = read(sql);
            let seen: BTreeSet<&str> = reading.effects.iter().map(|effect| effect.class.name()).collect();
            let expected_unread = wanted.contains("(unread)");
            let wanted: BTreeSet<&str> = wanted.into_iter().filter(|word| *word != "(unread)").collect();
            if seen != wanted || reading.read == expected_unread {
                wrong.push(format!("{sql}\n    wanted {wanted:?}, saw {seen:?}, read {}", reading.read));
            }
        }
    }
    assert!(rows > 250, "only {rows} rows");
    assert!(wrong.is_empty(), "{} of {rows} rows:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn objects() {
    let rows: &[(&str, &[&str])] = &[
        ("SELECT * FROM Auth.Users", &["auth.users"]),
        (r#"SELECT * FROM "Auth"."Users""#, &["Auth.Users"]),
        ("SELECT * FROM shop.auth.users", &["auth.users"]),
        ("WITH users AS (SELECT * FROM users) SELECT * FROM users", &["users"]),
        ("WITH a AS (SELECT 1), b AS (SELECT * FROM a) SELECT * FROM b", &[]),
        ("WITH RECURSIVE a AS (SELECT 1 UNION ALL SELECT * FROM a) SELECT * FROM a", &[]),
        ("WITH a AS (SELECT * FROM b), b AS (SELECT 1) SELECT * FROM b", &["b"]),
        ("WITH users AS (SELECT 1) SELECT * FROM public.users", &["public.users"]),
        ("SELECT (SELECT max(id) FROM a) FROM b JOIN c USING (id) WHERE x IN (SELECT y FROM d)", &["a", "b", "c", "d"]),
        ("WITH x AS (SELECT 1) DELETE FROM x WHERE id = 1", &["x"]),
        ("INSERT INTO a SELECT * FROM b ON CONFLICT (id) DO UPDATE SET n = (SELECT n FROM c)", &["a", "b", "c"]),
        ("UPDATE a SET x = b.x FROM b WHERE a.id = b.id", &["a", "b"]),
        ("DELETE FROM a USING b WHERE a.id = b.id", &["a", "b"]),
        ("EXPLAIN DELETE FROM a", &["a"]),
        ("SELECT * FROM ONLY a, b", &["a", "b"]),
        ("UPDATE ONLY a SET x = 1 WHERE id = 1", &["a"]),
        (r#"SELECT * FROM "only" a"#, &["only"]),
        ("CREATE VIEW v AS SELECT * FROM secrets", &["secrets", "v"]),
        (
            "SELECT * FROM aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            &["aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"],
        ),
        ("MERGE INTO a USING b ON a.id = b.id WHEN MATCHED THEN DELETE", &["a", "b"]),
        ("COPY s.t (a, b) TO STDOUT", &["s.t"]),
        ("SELECT * FROM a, b FOR UPDATE OF b", &["a", "b"]),
        ("SELECT * FROM generate_series(1, 2) g, LATERAL (SELECT * FROM t) x", &["t"]),
    ];
    for (sql, wanted) in rows {
        let seen: BTreeSet<String> = read(sql)
            .effects
            .iter()
            .filter_map(|effect| effect.object.as_ref())
            .filter(|object| object.kind == pgwarden::sql::ObjectKind::Relation)
            .map(ToString::to_string)
            .collect();
        assert_eq!(seen, wanted.iter().map(ToString::to_string).collect(), "{sql}");
    }
}

#[test]
fn only_the_locked_relation_is_locked() {
    let reading = read("SELECT * FROM a, b x FOR UPDATE OF x");
    let locked: Vec<_> = reading
        .effects
        .iter()
        .filter(|e| e.class.name() == "write.lock")
        .map(|e| e.object.as_ref().unwrap().to_string())
        .collect();
    assert_eq!(locked, ["b"]);
}

/// Shapes that nest or chain: none may overflow the stack or take long, whether or not sqlparser reads them.
#[test]
fn deep_texts_end() {
    for count in [10, 100, 400, 1_000, 5_000, 20_000, 100_000] {
        let shapes: Vec<String> = vec![
            format!("SELECT {}1{}", "(".repeat(count), ")".repeat(count)),
            format!("SELECT {}1", "- ".repeat(count)),
            format!("SELECT {}true", "NOT ".repeat(count)),
            format!("SELECT 1{}", "+1".repeat(count)),
            format!("SELECT * FROM t WHERE a = 1{}", " OR a = 1".repeat(count)),
            format!("DELETE FROM t WHERE a = 1{}", " AND a = 1".repeat(count)),
            format!("SELECT 1{}", " UNION SELECT 1".repeat(count)),
            format!("SELECT {}1{}", "(SELECT ".repeat(count), ")".repeat(count)),
            format!("SELECT * FROM {}t{}", "(".repeat(count), ")".repeat(count)),
            format!("SELECT * FROM {}SELECT 1{}", "(".repeat(count), ") x".repeat(count)),
            format!("SELECT {}1{}", "f(".repeat(count), ")".repeat(count)),
            format!("SELECT {}1{}", "ARRAY[".repeat(count), "]".repeat(count)),
            format!("SELECT {}1{}", "CASE WHEN true THEN ".repeat(count), " END".repeat(count)),
            format!("SELECT a{}", "[1]".repeat(count)),
            format!("SELECT 1{}", "::int".repeat(count)),
            format!("SELECT x::{}", format!("int{}", "[]".repeat(count))),
            format!("SELECT a{}", " -> 'k'".repeat(count)),
            format!("{}SELECT 1", "EXPLAIN ".repeat(count)),
            format!("{}SELECT 1", "PREPARE p AS ".repeat(count)),
            format!("SELECT * FROM t{}", " JOIN t ON true".repeat(count)),
            format!("{}SELECT 1{}", "WITH a AS (".repeat(count), ") SELECT 1".repeat(count)),
            format!("{}SELECT 1{}", "/* ".repeat(count), " */".repeat(count)),
            format!("SELECT a{}", " COLLATE \"C\"".repeat(count)),
            format!("SELECT a{}", " IS NULL".repeat(count)),
            format!("SELECT a{}", " BETWEEN 1 AND 2".repeat(count)),
            format!("SELECT a{}", " AT TIME ZONE 'UTC'".repeat(count)),
            format!("SELECT a{}", " LIKE 'x'".repeat(count)),
            format!("SELECT {}1{}", "EXISTS (SELECT ".repeat(count), ")".repeat(count)),
            format!("SELECT {}1{}", "ROW(".repeat(count), ")".repeat(count)),
            format!("SELECT {}'1 day'", "INTERVAL ".repeat(count)),
            format!("SELECT {}", "a.".repeat(count) + "b"),
        ];
        for sql in &shapes {
            let started = Instant::now();
            let _ = read(sql);
            let took = started.elapsed();
            assert!(took < Duration::from_secs(10), "{took:?} for {count} of {}", &sql[..sql.len().min(60)]);
        }
    }
}

#[test]
fn a_small_stack_is_enough() {
    let run = || {
        for count in [7, 30, 300] {
            let _ = read(&format!("SELECT * FROM {}t{}", "(".repeat(count), ")".repeat(count)));
            let _ = read(&format!("SELECT {}1{}", "(SELECT ".repeat(count), ")".repeat(count)));
            let _ = read(&format!("SELECT 1{}", "+1".repeat(count)));
        }
    };
    std::thread::Builder::new().stack_size(256 << 10).spawn(run).unwrap().join().unwrap();
}

#[test]
fn unreadable_texts_say_so() {
    for sql in ["DO $$ BEGIN END $$", "SELEC 1", "'", "REINDEX TABLE t", "\0", "SELECT * FROM U&\"a\""] {
        assert!(!read(sql).read, "{sql}");
    }
    for sql in ["", ";", " -- nothing", "SELECT 1;;SELECT 2"] {
        assert!(read(sql).read, "{sql}");
    }
    assert!(classes("").is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    /// Whatever the words, the reader ends, and sees the same twice.
    #[test]
    fn any_words_are_taken(
        text in "((select|from|where|t|a|1|'x'|\\(|\\)|,|;|=|and|or|not|in|case|when|then|end|with|as|insert|into|values|update|set|\
                 delete|create|table|alter|drop|explain|::|\\[|\\]|\"q\"|\\$1|\\$\\$|--|/\\*|\\*/|E'\\\\n'|é|begin|declare|copy|stdin|merge|using|on) ){0,24}"
    ) {
        prop_assert_eq!(read(&text), read(&text));
    }
}
