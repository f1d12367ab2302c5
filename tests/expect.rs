//! An endpoint that is not the environment it claims to be takes no session.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::num::NonZeroU32;

use pgwarden::config::{Secret, Verifier};
use support::proxy::Pgwarden;
use support::{Postgres, Version, psql};

#[test]
fn expectations_hold_or_the_session_is_refused_with_what_differs() {
    let postgres = Postgres::shared(Version::V15);
    let database = postgres.database();
    let system = postgres.rows("postgres", "SELECT system_identifier FROM pg_control_system()");
    let system = system.trim();
    let rows = [
        (format!(r#"database = "{database}""#), None),
        (format!(r#"system_identifier = "{system}""#), None),
        (r#"query = "SELECT 6 * 7", value = "42""#.to_owned(), None),
        (r#"database = "other""#.to_owned(), Some(format!("its database is {database}, not other"))),
        (r#"system_identifier = "1""#.to_owned(), Some(format!("its system_identifier is {system}, not 1"))),
        (
            r#"query = "SELECT 1 WHERE false", value = "1""#.to_owned(),
            Some("the value of `query` is nothing, not 1".to_owned()),
        ),
        (
            r#"query = "SELECT nonsense", value = "1""#.to_owned(),
            Some("cannot be asked: column \"nonsense\" does not exist".to_owned()),
        ),
    ];
    let verifier =
        Verifier::of_password(&Secret::new("p"), b"0123456789abcdef", NonZeroU32::new(4096).unwrap()).to_text();
    for (expect, refusal) in rows {
        let pgwarden = Pgwarden::start(&format!(
            r#"
[databases.shop]
environment = "production"
pooled = "{}"
expect = {{ {expect} }}
[environments.production.roles]
reader = "read-only"
[[users]]
name = "reader"
verifier = "{verifier}"
roles = {{ production = "reader" }}
"#,
            postgres.url(&database)
        ));
        let answer = psql(&pgwarden.url("reader", "p", "shop"), "SELECT 'in'", &[]);
        match refusal {
            None => assert!(answer.output.contains("in"), "{expect}: {}", answer.errors),
            Some(difference) => assert!(answer.errors.contains(&difference), "{expect}: {}", answer.errors),
        }
    }
}
