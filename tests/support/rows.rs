//! The decision tables `tests/data/effects/*.txt`.
//!
//! A line `= classes` says the exact set of classes that the postgres reader sees in every row below it; a row is SQL. A class
//! may name objects in braces (`read{auth.users,t}`): all of them must be there. `⏎` stands for a newline in the SQL. `-` stands
//! for no effect at all.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::path::Path;

use pgwarden::sql;

/// A statement and what it is expected to do.
pub struct Row {
    /// File and line.
    pub place: String,
    /// The classes of its effects.
    pub classes: BTreeSet<String>,
    /// Objects that have to be among them: class and name.
    pub objects: Vec<(String, String)>,
    /// The text.
    pub sql: String,
}

/// Every row of every table, in the order of files and lines.
pub fn rows() -> Vec<Row> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/effects");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut rows = Vec::new();
    for file in files {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&file).unwrap();
        let mut expected = None;
        for (number, line) in text.lines().enumerate() {
            let place = format!("{name}:{}", number + 1);
            match line.strip_prefix("= ") {
                Some(classes) => expected = Some(classes),
                None if line.is_empty() || line.starts_with('#') => {}
                None => rows.push(row(&place, expected.unwrap_or_else(|| panic!("{place}: no classes yet")), line)),
            }
        }
    }
    rows
}

fn row(place: &str, expected: &str, sql: &str) -> Row {
    let mut classes = BTreeSet::new();
    let mut objects = Vec::new();
    for word in expected.split_whitespace().filter(|word| *word != "-") {
        let (class, named) = word.split_once('{').unwrap_or((word, ""));
        assert!(sql::Class::from_name(class).is_some(), "{place}: no class {class}");
        classes.insert(class.to_owned());
        for object in named.trim_end_matches('}').split(',').filter(|object| !object.is_empty()) {
            objects.push((class.to_owned(), object.to_owned()));
        }
    }
    Row { place: place.to_owned(), classes, objects, sql: sql.replace('⏎', "\n") }
}
