//! Decision tables: what each statement would do, as data (`tests/data/effects/*.txt`), against the postgres reader, the
//! sqlparser reader and their union.
//! `tests/support/rows.rs` says how they are written.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/rows.rs"]
mod rows;

use std::collections::BTreeSet;

use pgwarden::sql::{self, Effect, Limits};

use self::rows::rows;

fn classes<'e>(effects: impl Iterator<Item = &'e Effect>) -> BTreeSet<String> {
    effects.map(|effect| effect.class.name().to_owned()).collect()
}

fn names<'e>(effects: impl Iterator<Item = &'e Effect>) -> BTreeSet<(String, String)> {
    let object = |effect: &Effect| Some((effect.class.name().to_owned(), effect.object.as_ref()?.to_string()));
    effects.filter_map(object).collect()
}

#[test]
fn the_postgres_reader_sees_exactly_the_expected_classes() {
    let mut wrong = Vec::new();
    let rows = rows();
    for row in &rows {
        let reading = sql::postgres::read(&row.sql);
        let seen = classes(reading.effects.iter());
        let named = names(reading.effects.iter());
        let missing: Vec<_> = row.objects.iter().filter(|object| !named.contains(*object)).collect();
        if seen != row.classes || !missing.is_empty() {
            wrong.push(format!(
                "{}: {}\n   expected {:?}\n   saw      {seen:?}\n   objects missing {missing:?} of {named:?}",
                row.place, row.sql, row.classes
            ));
        }
    }
    assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}

#[test]
fn the_union_leaves_out_nothing_that_either_reader_saw() {
    let (mut read, mut disagree) = (0, 0);
    let rows = rows();
    for row in &rows {
        let union = sql::read(&row.sql, &Limits::default()).unwrap();
        let seen = classes(union.effects.iter().map(|(effect, _)| effect));
        let generic = sql::generic::read(&row.sql);
        assert!(row.classes.is_subset(&seen), "{}: {:?} not in {seen:?}", row.place, row.classes);
        if generic.read {
            assert!(classes(generic.effects.iter()).is_subset(&seen), "{}", row.place);
        }
        read += usize::from(union.sqlparser_read);
        disagree += usize::from(union.disagree);
    }
    println!("{} rows; sqlparser reads {read}; the readers disagree on {disagree}", rows.len());
}

#[test]
fn every_statement_lies_where_it_says() {
    for row in rows() {
        let reading = sql::postgres::read(&row.sql);
        for statement in &reading.statements {
            let text = row.sql.get(statement.range.clone()).unwrap_or_else(|| panic!("{}: {statement:?}", row.place));
            let again = sql::postgres::read(text);
            assert_eq!(again.statements.len(), 1, "{}: {text}", row.place);
            assert_eq!(again.statements[0].range, 0..text.len(), "{}: {text}", row.place);
        }
        for effect in &reading.effects {
            let span = effect.span.unwrap_or_else(|| panic!("{}: no span on {effect:?}", row.place));
            assert!(row.sql.get(span.start..span.end).is_some(), "{}: {effect:?}", row.place);
        }
    }
}

#[test]
fn the_reference_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/effects.md");
    let reference = sql::reference::reference();
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        std::fs::write(path, &reference).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(written == reference, "docs/effects.md is not current: UPDATE_REFERENCE=1 cargo test --test effects");
    for class in sql::Class::ALL {
        assert!(!class.meaning().is_empty(), "{} has no meaning", class.name());
    }
    assert!(!reference.contains("|  |\n"), "a statement that blocks has no safer way");
}
