//! `docs/suites.md`, out of what the drivers' suites came to.

use std::fmt::Write;

use crate::{Comparison, Explained, Found};

/// Whether a failed test says that pgwarden refused it something.
pub fn refused(said: &str) -> bool {
    said.contains("pgwarden: ") && said.contains("is not allowed for role")
}

/// The whole page.
pub fn page(found: &[Found], explained: &Explained, servers: &str) -> String {
    let mut text = format!(
        "<!-- Written by `make driver-suites`: do not edit. -->\n\n# The drivers' own suites\n\npgwarden {}, with {servers}.\n\n\
         Each driver's own tests, on Postgres 15 without pgwarden twice and through it once. A test counts when it passes in both direct \
         runs; what passes only now and then is left out. For the role `read-only` the direct server has \
         `default_transaction_read_only = on`.\n\n\
         | driver | role | tests | pass directly | of these through pgwarden | differ |\n| --- | --- | ---: | ---: | ---: | ---: |\n",
        env!("CARGO_PKG_VERSION")
    );
    for one in found {
        for (role, comparison) in roles(one) {
            let Some(Comparison { tests, direct, through, different, .. }) = comparison else {
                let _ = writeln!(text, "| {} | `{role}` | not run to its end | – | – | – |", one.version);
                continue;
            };
            let _ =
                writeln!(text, "| {} | `{role}` | {tests} | {direct} | {through} | {} |", one.version, different.len());
        }
    }
    for one in found {
        for (role, comparison) in roles(one) {
            let _ = write!(text, "{}", section(one, role, comparison, explained));
        }
    }
    text
}

fn roles(found: &Found) -> [(&'static str, Option<&Comparison>); 2] {
    [("unrestricted", found.unrestricted.as_ref()), ("read-only", found.read_only.as_ref())]
}

/// The tests that differ, and why each does.
fn section(found: &Found, role: &str, comparison: Option<&Comparison>, explained: &Explained) -> String {
    let Some(comparison) = comparison.filter(|comparison| !comparison.different.is_empty()) else {
        return String::new();
    };
    let mut text = format!("\n## {}, `{role}`\n\n| test | why |\n| --- | --- |\n", found.version);
    for (test, said) in &comparison.different {
        let why = explained.of(found.suite.name, role, test).unwrap_or(said);
        let _ = writeln!(text, "| `{}` | {} |", test.replace('|', "\\|"), why.replace('|', "\\|"));
    }
    text
}
