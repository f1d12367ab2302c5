//! Secrets in SQL text: what a log may show of it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::borrow::Cow;

use pgwarden::sql::secret_parameters::Secrets;
use pgwarden::sql::secrets::redact;
use proptest::prelude::*;

#[test]
fn table() {
    let rows: &[(&str, &str)] = &[
        ("CREATE ROLE a PASSWORD 'hunter2'", "CREATE ROLE a PASSWORD '***'"),
        (
            "CREATE USER a WITH LOGIN ENCRYPTED PASSWORD 'hunter2' VALID UNTIL 'infinity'",
            "CREATE USER a WITH LOGIN ENCRYPTED PASSWORD '***' VALID UNTIL 'infinity'",
        ),
        ("alter group a password/* c */ -- d\n 'hunter2'", "alter group a password/* c */ -- d\n '***'"),
        ("ALTER ROLE a PASSWORD E'hunt\\'er2' LOGIN", "ALTER ROLE a PASSWORD '***' LOGIN"),
        ("ALTER ROLE a PASSWORD U&'hunter2'", "ALTER ROLE a PASSWORD '***'"),
        ("ALTER ROLE a PASSWORD $$hunter2$$", "ALTER ROLE a PASSWORD '***'"),
        ("ALTER ROLE a PASSWORD $x$hunter2$$ $x$", "ALTER ROLE a PASSWORD '***'"),
        ("ALTER ROLE a PASSWORD 'hunt''er2'", "ALTER ROLE a PASSWORD '***'"),
        ("ALTER ROLE a PASSWORD 'hun'\n'ter2'", "ALTER ROLE a PASSWORD '***'"),
        ("ALTER ROLE a PASSWORD E'hun'\n -- c\n'te\\'r2' LOGIN", "ALTER ROLE a PASSWORD '***' LOGIN"),
        ("ALTER ROLE a PASSWORD NULL", "ALTER ROLE a PASSWORD NULL"),
        ("ALTER ROLE a PASSWORD hunter2", "ALTER ROLE a PASSWORD '***'"),
        ("ALTER ROLE a PASSWORD \"hunter2\"", "ALTER ROLE a PASSWORD '***'"),
        (
            "CREATE USER MAPPING FOR a SERVER s OPTIONS (user 'u', password 'hunter2')",
            "CREATE USER MAPPING FOR a SERVER s OPTIONS (user 'u', password '***')",
        ),
        (
            "ALTER USER MAPPING FOR a SERVER s OPTIONS (SET password 'hunter2')",
            "ALTER USER MAPPING FOR a SERVER s OPTIONS (SET password '***')",
        ),
        (
            "CREATE SERVER s FOREIGN DATA WRAPPER f OPTIONS (\"password\" 'hunter2')",
            "CREATE SERVER s FOREIGN DATA WRAPPER f OPTIONS (\"password\" '***')",
        ),
        (
            "CREATE SUBSCRIPTION s CONNECTION 'host=h password=hunter2' PUBLICATION p",
            "CREATE SUBSCRIPTION s CONNECTION '***' PUBLICATION p",
        ),
        ("ALTER SUBSCRIPTION s CONNECTION E'host=h passw\\x6frd=hunter2'", "ALTER SUBSCRIPTION s CONNECTION '***'"),
        (
            "SELECT * FROM dblink('host=h password=hunter2', 'select 1') t(a int)",
            "SELECT * FROM dblink('***', 'select 1') t(a int)",
        ),
        ("SELECT dblink_connect('c', 'postgres://u:hunter2@h/d')", "SELECT dblink_connect('c', '***')"),
        ("SELECT 'postgres://u:hunter2@h/d'", "SELECT 'postgres://u:***@h/d'"),
        ("SELECT 'postgresql://u:hunt@er2@h:5432/d?x=1'", "SELECT 'postgresql://u:***@h:5432/d?x=1'"),
        ("-- postgres://u:hunter2@h/d\nSELECT 1", "-- postgres://u:***@h/d\nSELECT 1"),
        ("SELECT 'https://example.com/a?b=c'", "SELECT 'https://example.com/a?b=c'"),
        ("SELECT 'host=h password=hunter2 user=u'", "SELECT 'host=h password=*** user=u'"),
        ("SELECT 'host=h password = ''hunt er2'' user=u'", "SELECT 'host=h password = ***'"),
        ("SELECT set_config('app.password', 'hunter2', true)", "SELECT set_config('app.password', '***', true)"),
        ("SET app.password = 'hunter2'", "SET app.password = '***'"),
        ("SET \"app.password\" TO 'x'", "SET \"app.password\" TO '***'"),
        (
            "UPDATE users SET password = 'hunter2' WHERE name = 'a'",
            "UPDATE users SET password = '***' WHERE name = 'a'",
        ),
        ("CALL p(password => 'hunter2', a := 'b')", "CALL p(password => '***', a := 'b')"),
        ("DO $$ BEGIN CREATE ROLE a PASSWORD 'hunter2'; END $$", "DO $$ BEGIN CREATE ROLE a PASSWORD '***'; END $$"),
        (
            "DO $$ BEGIN EXECUTE $x$ALTER ROLE a PASSWORD 'hunter2'$x$; END $$",
            "DO $$ BEGIN EXECUTE $x$ALTER ROLE a PASSWORD '***'$x$; END $$",
        ),
        ("DO 'BEGIN CREATE ROLE a PASSWORD ''hunter2''; END'", "DO 'BEGIN CREATE ROLE a PASSWORD ***'"),
        ("SELECT format('ALTER ROLE a PASSWORD %L', 'hunter2')", "SELECT format('ALTER ROLE a PASSWORD %L', '***')"),
        (
            "SELECT 'ALTER ROLE a PASSWORD ' || quote_literal('hunter2'); SELECT 'b'",
            "SELECT 'ALTER ROLE a PASSWORD ' || quote_literal('***'); SELECT 'b'",
        ),
        ("ALTER ROLE a PASSWORD 'hunter2", "ALTER ROLE a PASSW… ***"),
        ("SELECT 'postgres://u:hunter2@h", "SELECT 'postgres://… ***"),
        ("SELECT 'unterminated", "SELECT 'unterminated"),
        ("SELECT password FROM users WHERE id = 1", "SELECT password FROM users WHERE id = 1"),
        ("SELECT 1", "SELECT 1"),
        ("SELECT a$$b$$ 'x' AS passwords", "SELECT a$$b$$ 'x' AS passwords"),
        ("INSERT INTO t VALUES ('über')", "INSERT INTO t VALUES ('über')"),
    ];
    for (sql, wanted) in rows {
        assert_eq!(redact(sql), *wanted, "{sql}");
    }
}

#[test]
fn nothing_to_hide_is_borrowed() {
    for sql in ["SELECT 1", "SELECT * FROM wards WHERE k = 'v'", "SELECT 'a://b'", "SELECT password FROM t"] {
        assert!(matches!(redact(sql), Cow::Borrowed(_)), "{sql}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_text_is_taken(text in "(password|PASSWORD|dblink|CONNECTION|://|'|\"|\\$\\$|\\$a\\$|--|/\\*|\\*/|=|\\(|\\)|;|@|:|\\\\|E'|[a-zé ]|\n){0,40}") {
        let _ = redact(&text);
    }

    #[test]
    fn a_role_password_never_shows(
        verb in "(create|ALTER)", noun in "(role|USER|Group)", gap in "( |\n|/\\* x \\*/|-- y\n){1,3}",
        secret in "[a-zA-Z0-9!@#%^&* ]{8,20}", spelling in 0..4, tail in "( LOGIN|;SELECT 'a'|)",
    ) {
        let secret = format!("q{secret}q");
        let literal = match spelling {
            0 => format!("'{secret}'"),
            1 => format!("E'{secret}'"),
            2 => format!("$x${secret}$x$"),
            _ => format!("U&'{secret}'"),
        };
        let text = format!("{verb} {noun} a PASSWORD{gap}{literal}{tail}");
        prop_assert!(!redact(&text).contains(&secret), "{}", redact(&text));
    }
}

/// Which of a text's parameters are hidden: their numbers, or `all`.
#[test]
fn parameters() {
    let rows: &[(&str, &str)] = &[
        ("SELECT id, password FROM users WHERE email = $1", ""),
        ("SELECT * FROM users WHERE email = $1 AND password = $2", "2"),
        ("SELECT * FROM users WHERE $1 = password AND email = $2", "1"),
        ("SELECT * FROM users WHERE password = crypt($1, password) AND id = $2", "1"),
        ("SELECT crypt($1, gen_salt($2)), $3", "1 2"),
        ("SELECT * FROM users WHERE lower(api_token) = lower($1) AND id = $2", "1"),
        ("SELECT * FROM users WHERE token IN ($1, $2) OR id IN ($3)", "1 2"),
        ("SELECT * FROM users WHERE token = ANY($1) LIMIT $2", "1"),
        ("SELECT * FROM users WHERE (email, password) = ($1, $2)", "1 2"),
        ("SELECT * FROM users WHERE meta ->> 'api_key' = $1", "1"),
        ("SELECT * FROM users WHERE $1 = meta ->> 'api_key'", "1"),
        ("INSERT INTO users (name, password) VALUES ($1, $2), (lower($3), md5($4)) RETURNING id", "2 4"),
        ("INSERT INTO \"public\".\"User\" (\"email\",\"passwordHash\",\"name\") VALUES ($1,$2,$3)", "2"),
        ("INSERT INTO users (name, password) SELECT $1, $2", "1 2"),
        ("INSERT INTO users (id, name) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET password = $3, name = $4", "3"),
        ("INSERT INTO api_tokens (id, value) VALUES ($1, $2)", "1 2"),
        ("INSERT INTO auth.secrets VALUES ($1)", "1"),
        ("SELECT * FROM api_tokens WHERE value = $1", "1"),
        ("UPDATE users SET password = $1, name = $2 WHERE id = $3", "1"),
        ("UPDATE users SET password = coalesce($1, password), n = $2", "1"),
        ("UPDATE users SET (name, password) = ($1, $2)", "1 2"),
        ("UPDATE users SET name = $1 WHERE id = $2", ""),
        ("WITH x AS (INSERT INTO users (name, password) VALUES ($1, $2) RETURNING id) SELECT $3", "2"),
        ("MERGE INTO users u USING (VALUES ($1, $2)) s(name, password) ON true WHEN MATCHED THEN DO NOTHING", "1 2"),
        ("MERGE INTO users u USING s ON u.id = $1 WHEN NOT MATCHED THEN INSERT (id, password) VALUES ($2, $3)", "3"),
        ("SELECT * FROM unnest($1::text[], $2::text[]) AS t(name, password)", "1 2"),
        ("SELECT $1::text AS password, $2 AS name", "1"),
        ("SELECT set_config('app.password', $1, true)", "1"),
        ("SELECT set_config('request.jwt.claims', $1, true)", "1"),
        ("SELECT set_config('app.name', $1, true)", ""),
        ("SELECT set_config($1, $2, $3)", "1 2 3"),
        ("SELECT set_config('app.' || $1, $2, true)", "1 2"),
        ("SELECT dblink_connect($1)", "1"),
        ("SELECT * FROM dblink($1, $2) AS t(a int) WHERE a = $3", "1 2"),
        ("SELECT pgp_sym_decrypt(data, $1) FROM t WHERE id = $2", "1"),
        ("SELECT login($1, $2)", "1 2"),
        ("CALL reset(user_id => $1, password => $2)", "1 2"),
        ("SELECT jsonb_build_object('name', $1, 'password', $2, 'x', $3)", "2 3"),
        ("SELECT count(*) FILTER (WHERE token = $1) FROM t WHERE id = $2", "1"),
        ("SELECT '$1 password', $1", "1"),
        ("SELECT $1 -- password\n, $2", ""),
        ("SELECT 'unterminated, $1", "all"),
        ("SELECT * FROM orders WHERE id = $1 AND note LIKE '%x' || $2 ORDER BY $3", ""),
    ];
    for (sql, wanted) in rows {
        let found = match pgwarden::sql::secret_parameters::parameters(sql) {
            Secrets::All => "all".to_owned(),
            Secrets::Some(numbers) => numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
        };
        assert_eq!(found, *wanted, "{sql}");
    }
    let deep = format!("SELECT {}$1{}", "(".repeat(100), ")".repeat(100));
    assert_eq!(pgwarden::sql::secret_parameters::parameters(&deep), Secrets::All);
}
