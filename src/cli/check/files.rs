//! Which files `pgwarden check` judges, and in which order: that in which the migration tools run them.

use std::cmp::Ordering;
use std::fs;
use std::path::{Path, PathBuf};

/// The files to judge, in order, and those that are left out.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Files to judge.
    pub files: Vec<PathBuf>,
    /// Files that are not judged, and why.
    pub skipped: Vec<(PathBuf, &'static str)>,
}

const UNDO: &str = "it takes a migration back, which is not done by deploying; name the file to judge it";

/// Files as they are named, and all SQL files of the folders that are named.
pub(super) fn find(paths: &[PathBuf]) -> Result<Found, String> {
    let mut found = Found::default();
    for path in paths {
        let about = fs::metadata(path).map_err(|error| format!("{}: {error}", path.display()))?;
        if !about.is_dir() {
            found.files.push(path.clone());
            continue;
        }
        let before = found.files.len();
        walk(path, &mut found)?;
        if found.files.len() == before {
            return Err(format!("{}: no SQL files; {}", path.display(), advice(path)));
        }
    }
    Ok(found)
}

/// What to do about a folder without SQL files.
fn advice(folder: &Path) -> &'static str {
    let python =
        |path: &Path| fs::read_dir(path).into_iter().flatten().flatten().any(|entry| ends_with(&entry.path(), "py"));
    match python(folder) || python(&folder.join("versions")) {
        true => "Alembic writes its migrations as SQL with `alembic upgrade head --sql`",
        false => "pgwarden judges files that end in .sql",
    }
}

fn ends_with(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found.eq_ignore_ascii_case(extension))
}

/// The SQL files below a folder; those of inner folders stand where the folder's name puts them.
fn walk(folder: &Path, found: &mut Found) -> Result<(), String> {
    let said = |error: std::io::Error| format!("{}: {error}", folder.display());
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder).map_err(said)? {
        let entry = entry.map_err(said)?;
        // Folders that are links are not followed: they could lead in a circle.
        entries.push((entry.path(), entry.file_type().map_err(said)?.is_dir()));
    }
    entries.sort_by(|(one, _), (other, _)| order(&name(one), &name(other)));
    for (path, is_folder) in entries {
        let name = name(&path);
        match is_folder {
            true if name.starts_with('.') || name == "node_modules" => {}
            true => walk(&path, found)?,
            false if !ends_with(&path, "sql") || name.starts_with('.') => {}
            false if takes_back(&name) => found.skipped.push((path, UNDO)),
            false => found.files.push(path),
        }
    }
    Ok(())
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Undo migrations: Flyway's `U1__x.sql`, and `down.sql` of many others.
fn takes_back(name: &str) -> bool {
    let down = name
        .strip_suffix(".sql")
        .is_some_and(|stem| stem == "down" || [".down", "_down", "-down"].iter().any(|end| stem.ends_with(end)));
    down || version(name).is_some_and(|(kind, _)| kind == 'U')
}

/// The order in which migrations run: Flyway's repeatable ones last, versions by their numbers, all others by name with the
/// numbers in it as numbers.
fn order(one: &str, other: &str) -> Ordering {
    let repeatable = |name: &str| name.starts_with("R__");
    let versions = match (version(one), version(other)) {
        (Some((_, one)), Some((_, other))) => one.cmp(&other),
        _ => Ordering::Equal,
    };
    repeatable(one)
        .cmp(&repeatable(other))
        .then(versions)
        .then_with(|| pieces(one).cmp(&pieces(other)))
        .then(one.cmp(other))
}

/// The kind and version of a Flyway migration: `V1_2__x.sql` is `V` and 1, 2.
fn version(name: &str) -> Option<(char, Vec<u64>)> {
    let (prefix, _) = name.split_once("__")?;
    let kind = prefix.chars().next().filter(|kind| matches!(kind, 'V' | 'U' | 'B'))?;
    let numbers = prefix.get(1..)?.split(['.', '_']).map(|part| part.parse().ok());
    numbers.collect::<Option<Vec<u64>>>().map(|numbers| (kind, numbers))
}

/// A name cut into text and numbers.
fn pieces(name: &str) -> Vec<(String, u128)> {
    let mut pieces = Vec::new();
    let mut rest = name;
    while !rest.is_empty() {
        let text = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let (before, behind) = rest.split_at(text);
        let digits = behind.find(|c: char| !c.is_ascii_digit()).unwrap_or(behind.len());
        let (number, tail) = behind.split_at(digits);
        pieces.push((before.to_owned(), number.parse().unwrap_or(u128::MAX)));
        rest = tail;
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrations_stand_in_the_order_in_which_they_run() {
        let sorted: &[&[&str]] = &[
            &["V1__a.sql", "V1_1__b.sql", "V2__c.sql", "V10__a.sql", "R__views.sql"],
            &["V1.9__a.sql", "V1.10__a.sql"],
            &["0000_a.sql", "0001_b.sql", "0010_c.sql"],
            &["1_a.sql", "2_a.sql", "10_a.sql"],
            &["20230101120000_init", "20240101000000_more"],
            &["a.sql", "b.sql"],
        ];
        for names in sorted {
            let mut mixed: Vec<&str> = names.iter().rev().copied().collect();
            mixed.sort_by(|one, other| order(one, other));
            assert_eq!(mixed, *names);
        }
    }

    #[test]
    fn undo_migrations_are_known() {
        for name in ["U1__a.sql", "1_a.down.sql", "down.sql"] {
            assert!(takes_back(name), "{name}");
        }
        for name in ["V1__a.sql", "U__a.sql", "Undo__a.sql", "shutdown.sql", "R__a.sql", "countdown.sql"] {
            assert!(!takes_back(name), "{name}");
        }
    }
}
