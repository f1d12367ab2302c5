//! Limits hold before any parser sees a text, and whatever is within them is read without running out of stack.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Instant;

use pgwarden::sql::limits::check;
use pgwarden::sql::{self, Class, Limits, OverLimit};

const NESTING: usize = 500;

fn limits() -> Limits {
    Limits { nesting: NESTING, ..Limits::default() }
}

fn nested(open: &str, inside: &str, close: &str, depth: usize) -> String {
    format!("{}{inside}{}", open.repeat(depth), close.repeat(depth))
}

#[test]
fn nesting_is_counted_exactly_at_the_limit() {
    for (open, inside, close) in [
        ("(", "1", ")"),
        ("ARRAY[", "1", "]"),
        ("/*", "", "*/"),
        ("CASE WHEN true THEN ", "1", " END"),
        ("(SELECT ", "1", ")"),
        ("f(", "1", ")"),
    ] {
        let within = format!("SELECT {}", nested(open, inside, close, NESTING));
        let over = format!("SELECT {}", nested(open, inside, close, NESTING + 1));
        assert_eq!(check(&within, &limits()), Ok(()), "{open}");
        assert_eq!(check(&over, &limits()), Err(OverLimit::TooDeep { limit: NESTING }), "{open}");
    }
}

#[test]
fn what_hides_nesting_from_a_careless_scan_is_counted() {
    let deep = nested("(", "1", ")", NESTING + 1);
    for before in [
        "SELECT 'a''b', ",
        "SELECT 'it\\', ",
        "SELECT E'it\\'s', ",
        "SELECT E'a'\n'\\'', ",
        "SELECT E'a' -- comment\n '\\'', ",
        "SELECT e'\\\\', ",
        "SELECT 'a'\n'\\', ",
        "SELECT \"a\"\"b\", \"c'\", ",
        "SELECT U&'\\0027', ",
        "SELECT U&\"\\0022\", ",
        "SELECT B'1', X'f', N'n', ",
        "SELECT $$'$$, $a$ $b$ ' $a$, ",
        "SELECT a$$ + ",
        "SELECT a$b$ + ",
        "SELECT $1$$'$$ + ",
        "SELECT 1 -- '\n + ",
        "SELECT 1 -- '\r + ",
        "SELECT 1 /* ' /* $$ */ */ + ",
        "SELECT 1 /*/ ' */ + ",
        "SELECT é$$ + ",
        "SELECT $é$ ' $é$ || ",
        "SELECT fooe'\\', ",
        "SELECT x.end, x.end, ",
    ] {
        let text = format!("{before}{deep}");
        assert_eq!(check(&text, &limits()), Err(OverLimit::TooDeep { limit: NESTING }), "{before}");
    }
}

#[test]
fn what_is_not_nesting_is_not_counted() {
    let brackets = "(".repeat(NESTING * 2);
    for text in [
        format!("SELECT '{brackets}'"),
        format!("SELECT E'\\'{brackets}'"),
        format!("SELECT E'a'\n'\\'{brackets}'"),
        format!("SELECT $${brackets}$$"),
        format!("SELECT $tag${brackets}$$ $tag$"),
        format!("SELECT \"{brackets}\""),
        format!("SELECT 1 -- {brackets}"),
        format!("SELECT 1 /* {brackets} */"),
        format!("SELECT {}1", "(1), ".repeat(NESTING * 2)),
        format!("INSERT INTO t VALUES {}(1)", "(1, 2, 3), ".repeat(20_000)),
        format!("SELECT {}1", "CASE WHEN a THEN b END, ".repeat(NESTING * 2)),
    ] {
        assert_eq!(check(&text, &limits()), Ok(()), "{}", &text[..60]);
    }
}

#[test]
fn length_and_number_of_statements() {
    let limits = Limits { statement_bytes: 100, statements: 3, ..Limits::default() };
    assert_eq!(check("SELECT 1; SELECT 2; SELECT 3", &limits), Ok(()));
    assert_eq!(check("SELECT 1; SELECT 2; SELECT 3; ", &limits), Ok(()));
    assert_eq!(check("SELECT 1; SELECT 2; SELECT 3; SELECT 4", &limits), Err(OverLimit::TooMany { limit: 3 }));
    assert_eq!(check("SELECT ';;;;;;;;'", &limits), Ok(()));
    assert_eq!(check(&"x".repeat(101), &limits), Err(OverLimit::TooLong { bytes: 101, limit: 100 }));
}

#[test]
fn deep_texts_are_read_on_a_small_stack() {
    let chain = |link: &str, count: usize| format!("SELECT 1{}", link.repeat(count));
    let texts = [
        format!("SELECT {}", nested("(", "1", ")", NESTING)),
        format!("SELECT {}", nested("(SELECT ", "1", ")", NESTING)),
        format!("SELECT {}", nested("ARRAY[", "1", "]", NESTING)),
        format!("SELECT {}", nested("f(", "1", ")", NESTING)),
        format!("SELECT {}", nested("CASE WHEN true THEN ", "1", " END", NESTING)),
        format!("SELECT * FROM {}", nested("(SELECT * FROM ", "t", ") x", NESTING)),
        format!("SELECT {}", nested("EXISTS (SELECT 1 WHERE ", "true", ")", NESTING)),
        format!("DELETE FROM t WHERE {}", nested("NOT (a = 1 AND ", "b = 2", ")", NESTING)),
        format!("WITH a AS {} SELECT 1", nested("(WITH a AS ", "(SELECT 1)", " SELECT 1)", NESTING - 1)),
        chain(" + 1", 4_000),
        chain(" || 'a'", 4_000),
        chain(" UNION SELECT 1", 1_500),
        chain("::int", 4_000),
        format!("SELECT {}true", "NOT ".repeat(4_000)),
        format!("SELECT {}1", "- ".repeat(4_000)),
        format!("SELECT * FROM t{}", " JOIN t ON true".repeat(2_000)),
        format!("SELECT * FROM t WHERE {}true", "a = 1 OR ".repeat(20_000)),
        format!("DELETE FROM t WHERE {}true", "a = 1 AND ".repeat(20_000)),
        chain(" + 1", 1_000_000),
        format!("SELECT {}true", "NOT ".repeat(1_000_000)),
        chain(" UNION SELECT 1", 200_000),
        format!("SELECT x{}", "[1]".repeat(1_000_000)),
        format!("SELECT x{}", ".y".repeat(1_000_000)),
        format!("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $${}$$", chain(" + 1", 4_000)),
        format!("DO $$ DECLARE x int; BEGIN x := {}; END $$", nested("(", "1", ")", 400)),
        format!("DO $$ BEGIN {} END $$", nested("BEGIN ", "NULL;", "END; ", 400)),
    ];
    let small = std::thread::Builder::new().stack_size(2 << 20).spawn(move || {
        for text in texts {
            let begun = Instant::now();
            let reading = sql::read(&text, &limits()).unwrap();
            let classes: Vec<_> = reading.effects.iter().map(|(effect, _)| effect.class.name()).collect();
            println!("{:?} {classes:?} {:?} {}", begun.elapsed(), reading.syntax_error, &text[..text.len().min(60)]);
            assert!(!classes.is_empty());
            assert!(!classes.contains(&Class::Unknown.name()));
        }
    });
    small.unwrap().join().unwrap();
}

#[test]
fn odd_texts_are_read_or_refused_but_never_panic() {
    let mut texts: Vec<String> =
        ["", " ", ";", "\0", "SELECT '\0'", "\u{feff}SELECT 1", "SELECT\u{a0}1", "'", "\"", "$", "$$", "/*", "--"]
            .iter()
            .map(|text| (*text).to_owned())
            .collect();
    texts.extend(
        ["E'", "E'\\", "U&'", "$a$", "SELECT $", "(", ")", "]]]]", "\u{10ffff}", "SELECT '\u{10ffff}'"]
            .map(str::to_owned),
    );
    texts.push("(".repeat(1_000_000));
    texts.push("/*".repeat(1_000_000));
    texts.push("$a$ ".repeat(100_001));
    texts.push("'".repeat(100_001));
    texts.push("\"".repeat(100_001));
    for text in &texts {
        let _ = sql::read(text, &limits());
    }
    let reading = sql::read("SELECT 1\0; DROP TABLE t", &limits()).unwrap();
    assert!(reading.syntax_error.is_some() && reading.statements.is_empty());
}

#[test]
fn the_scan_is_linear() {
    let short = "SELECT (a), 'b', $$c$$, E'd\\'', \"e\" -- f\n /* g */ + 1; ".repeat(2_000);
    let long = short.repeat(10);
    let time = |text: &str| {
        let begun = Instant::now();
        let _ = check(text, &Limits { statements: usize::MAX, ..limits() });
        begun.elapsed()
    };
    time(&long);
    let (short, long) = (time(&short), time(&long));
    assert!(long < short * 60 + std::time::Duration::from_millis(50), "{short:?} {long:?}");
}

#[test]
fn syntax_errors_point_where_the_server_points() {
    for (text, message, offset) in [
        ("SELEC 1", "syntax error at or near \"SELEC\"", Some(0)),
        ("DELETE FORM x", "syntax error at or near \"FORM\"", Some(7)),
        ("select a, b from t where ) ", "syntax error at or near \")\"", Some(25)),
        ("select (1), (2), (3)) from t", "syntax error at or near \")\"", Some(20)),
        ("SELECT 1 FROM FROM t", "syntax error at or near \"FROM\"", Some(14)),
        ("SELECT 'é', é FROM FROM", "syntax error at or near \"FROM\"", Some(21)),
        ("SELECT", "", None),
        ("SELECT * FROM", "syntax error at end of input", Some(13)),
    ] {
        let reading = sql::postgres::read(text);
        let error = reading.syntax_error;
        assert_eq!(error.as_ref().map(|error| error.message.as_str()).unwrap_or(""), message, "{text}");
        assert_eq!(error.and_then(|error| error.offset), offset, "{text}");
    }
}
