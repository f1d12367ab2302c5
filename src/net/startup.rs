//! The client's startup parameters: what a pooler takes passes, the rest is judged like the SET that it is.

use crate::decision::{Scope, is_utf8};
use crate::wire::report::Report;

/// Parameters that are no settings.
const NOT_SETTINGS: &[&str] = &["user", "database", "replication", "options"];

/// Checks what the client asks for at startup and gives what is sent on.
///
/// # Errors
/// A parameter starts replication, changes the encoding, or is not allowed as a SET.
pub fn judge(parameters: &[(String, String)], scope: &Scope) -> Result<Vec<(String, String)>, Report> {
    let mut passed = Vec::new();
    for (name, value) in parameters {
        let folded = name.to_ascii_lowercase();
        match folded.as_str() {
            "user" | "database" => continue,
            "replication" => {
                if !matches!(value.to_ascii_lowercase().as_str(), "false" | "off" | "no" | "0" | "") {
                    return Err(Report::fatal("0A000", "pgwarden: replication connections are not supported"));
                }
                continue;
            }
            _ if folded.starts_with("_pq_.") => continue,
            "client_encoding" => {
                require_utf8(value)?;
                // Sent on below in one spelling: a pooler repeats what it is given.
                continue;
            }
            "application_name" => {}
            "options" => {
                for (name, value) in options(value)? {
                    if name.eq_ignore_ascii_case("client_encoding") {
                        require_utf8(&value)?;
                    } else {
                        judge_setting(&name, &value, scope)?;
                    }
                }
            }
            _ => judge_setting(name, value, scope)?,
        }
        passed.push((name.clone(), value.clone()));
    }
    passed.push(("client_encoding".to_owned(), "UTF8".to_owned()));
    Ok(passed)
}

fn require_utf8(value: &str) -> Result<(), Report> {
    // asyncpg sends `'utf-8'`, quotes and all.
    if is_utf8(value) {
        return Ok(());
    }
    Err(Report::fatal(
        "22023",
        format!("pgwarden: client_encoding \"{value}\" is not supported; statements are read in UTF8"),
    )
    .hint("Set client_encoding to UTF8 (PGCLIENTENCODING=UTF8)."))
}

fn judge_setting(name: &str, value: &str, scope: &Scope) -> Result<(), Report> {
    debug_assert!(!NOT_SETTINGS.contains(&name));
    let parts: Vec<String> = name.split('.').map(|part| format!("\"{}\"", part.replace('"', "\"\""))).collect();
    let text = format!("SET {} = '{}'", parts.join("."), value.replace('\'', "''"));
    match &scope.judge(&text).refusal {
        None => Ok(()),
        Some(refusal) => {
            let mut report = Report::fatal(refusal.sqlstate, refusal.message.clone())
                .detail(format!("Startup parameter \"{name}\". {}", refusal.detail));
            report.hint.clone_from(&refusal.hint);
            Err(report)
        }
    }
}

/// The settings in `options`, split as the server splits them (`pg_split_opts` in `src/backend/utils/init/postinit.c`).
fn options(text: &str) -> Result<Vec<(String, String)>, Report> {
    let mut settings = Vec::new();
    let mut words = split(text).into_iter();
    while let Some(word) = words.next() {
        let setting = if word == "-c" {
            words.next()
        } else {
            word.strip_prefix("-c").or_else(|| word.strip_prefix("--")).map(str::to_owned)
        };
        let pair = setting.as_deref().and_then(|setting| setting.split_once('='));
        let Some((name, value)) = pair else {
            let text = format!("pgwarden: startup option \"{word}\" is not supported");
            return Err(Report::fatal("42501", text).hint("Only settings are: -c name=value or --name=value."));
        };
        settings.push((name.replace('-', "_"), value.to_owned()));
    }
    Ok(settings)
}

fn split(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c' => words.extend(word.take()),
            '\\' => word.get_or_insert_default().extend(characters.next()),
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn options_are_split_as_the_server_splits_them() {
        let rows: [(&str, &[(&str, &str)]); 5] = [
            ("", &[]),
            ("-c a=1", &[("a", "1")]),
            ("-ca=1 --b-c=2", &[("a", "1"), ("b_c", "2")]),
            (r"-c a=x\ y\\z", &[("a", r"x y\z")]),
            ("  -c\ta=1  ", &[("a", "1")]),
        ];
        for (text, expected) in rows {
            let found = options(text).unwrap();
            let found: Vec<(&str, &str)> = found.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            assert_eq!(found, expected, "{text}");
        }
        for bad in ["-E", "-c", "-c a", "a=1", "-W 5"] {
            assert!(options(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn utf8_is_known_however_it_is_written() {
        for good in ["UTF8", "utf-8", "'utf-8'", "\"UTF8\"", "unicode", "UTF_8"] {
            assert!(require_utf8(good).is_ok(), "{good}");
        }
        for bad in ["SJIS", "LATIN1", "utf16", "SQL_ASCII", ""] {
            assert!(require_utf8(bad).is_err(), "{bad}");
        }
    }
}
