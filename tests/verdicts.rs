//! What becomes of a statement, by role and environment: the tables in `tests/data/verdicts`, judged by the real door under the
//! example configuration's policies.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::path::Path;
use std::sync::Arc;

use pgwarden::config;
use pgwarden::decision::{Door, Scope};

const CONFIGURATION: &str = r#"
[databases.shop]
environment = "production"
pooled = "postgres://u:p@localhost/shop"
direct = "postgres://u:p@localhost/shop"

[databases.shop_dev]
environment = "development"
pooled = "postgres://u:p@localhost/shop"

[environments.production.roles]
studio = "read-only"
app = "application"
migrator = { policy = "migrations", endpoint = "direct" }

[environments.development.roles]
developer = "unrestricted"
"#;

const WHO: [(&str, &str); 4] =
    [("production", "studio"), ("production", "app"), ("production", "migrator"), ("development", "developer")];

fn scopes() -> Vec<Arc<Scope>> {
    let config = config::parse(CONFIGURATION, Path::new("pgwarden.toml"), &|_| None).unwrap();
    let door = Door::new(Arc::new(config));
    WHO.iter().map(|(environment, role)| door.scope_of(environment, role).unwrap()).collect()
}

#[test]
fn every_statement_meets_the_verdict_that_its_row_says() {
    let scopes = scopes();
    let mut wrong = Vec::new();
    let mut verdicts = 0;
    for file in ["everyday", "danger", "migrations"] {
        let path = format!("{}/tests/data/verdicts/{file}.txt", env!("CARGO_MANIFEST_DIR"));
        for (number, line) in std::fs::read_to_string(path).unwrap().lines().enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (head, sql) = line.split_once(" | ").unwrap();
            let (letters, class) = head.split_once(' ').unwrap();
            for ((scope, (_, role)), letter) in scopes.iter().zip(WHO).zip(letters.chars()) {
                let judgement = scope.judge(sql);
                verdicts += 1;
                match (&judgement.refusal, letter) {
                    (None, '+') => {}
                    (Some(_), '-') if class == "*" || judgement.class.name() == class => {}
                    (found, _) => {
                        let found = found.as_ref().map(|refusal| refusal.detail.as_str());
                        wrong.push(format!("{file}:{} {role}: {sql}\n    {found:?}", number + 1));
                    }
                }
            }
        }
    }
    assert!(verdicts >= 700, "only {verdicts} verdicts");
    assert!(wrong.is_empty(), "{} of {verdicts}:\n{}", wrong.len(), wrong.join("\n"));
}
