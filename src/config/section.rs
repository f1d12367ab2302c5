//! One definition per option: its name, kind, default and documentation make the field, the reader and the reference.

use super::error::{Errors, Place};
use super::kind::{Kind, Nested};
use super::tree::{Node, Table, Text, Value};
use crate::suggest::suggestion;

/// An option as the reference shows it.
pub(super) struct Definition {
    /// Its key.
    pub name: &'static str,
    /// What it holds.
    pub kind: String,
    /// What happens when it is left out.
    pub presence: String,
    /// Its documentation, line by line.
    pub doc: &'static [&'static str],
    /// The tables that it leads to.
    pub nested: Option<Nested>,
}

/// A table with fixed keys.
pub(super) trait Section: Sized {
    /// What it is for, line by line.
    const DOC: &'static [&'static str];

    /// Its options, in the order of the reference.
    fn definitions() -> Vec<Definition>;

    /// Reads it; `place` is where it stands. Every error is told; `None` if a required option is missing or wrong.
    fn read(table: &Table, place: &Place, errors: &mut Errors) -> Option<Self>;
}

/// Tells of keys that no option has.
pub(super) fn unknown_keys(table: &Table, known: &[&'static str], errors: &mut Errors) {
    for entry in table.entries.iter().filter(|entry| !known.contains(&entry.key.as_str())) {
        let key = Text { written: entry.key.clone(), value: String::new() }.shown();
        errors.at(&entry.place, format!("unknown key `{key}`{}", suggestion(&entry.key, known.iter().copied())));
    }
}

/// An option that must be there.
pub(super) fn required<K: Kind>(
    kind: &K,
    name: &str,
    (table, place): (&Table, &Place),
    errors: &mut Errors,
) -> Option<K::Out> {
    match table.entry(name) {
        Some(entry) => kind.read(&entry.node, errors),
        None => {
            errors.at(place, format!("`{name}` is missing: {}", kind.describe()));
            None
        }
    }
}

/// An option that may be left out; a wrong one counts as left out, so that reading goes on.
pub(super) fn optional<K: Kind>(
    kind: &K,
    name: &str,
    (table, _): (&Table, &Place),
    errors: &mut Errors,
) -> Option<Option<K::Out>> {
    Some(table.entry(name).and_then(|entry| kind.read(&entry.node, errors)))
}

/// An option with a default, which also stands in for a wrong one, so that reading goes on.
pub(super) fn or_default<K: Kind>(
    kind: &K,
    name: &str,
    (table, place): (&Table, &Place),
    default: Value,
    errors: &mut Errors,
) -> Option<K::Out> {
    let written = table.entry(name).and_then(|entry| kind.read(&entry.node, errors));
    written.or_else(|| kind.read(&Node { place: place.clone(), value: default }, errors))
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::Text(Text { written: text.to_owned(), value: text.to_owned() })
    }
}

/// A list of texts, as a default.
pub(super) fn texts(place: &Place, items: &[&str]) -> Value {
    Value::List(items.iter().map(|item| Node { place: place.clone(), value: Value::from(*item) }).collect())
}

impl From<i64> for Value {
    fn from(number: i64) -> Value {
        Value::Integer(number)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Value {
        Value::Boolean(value)
    }
}

/// A default as TOML writes it.
pub(super) fn shown(default: &Value) -> String {
    match default {
        Value::Text(text) => format!("default `\"{}\"`", text.value),
        Value::Integer(number) => format!("default `{number}`"),
        Value::Boolean(value) => format!("default `{value}`"),
        Value::List(_) | Value::Table(_) => "may be left out".to_owned(),
        Value::Other | Value::Unresolved => String::new(),
    }
}

/// Defines a section: a struct whose fields are options. Each field is written `name: type = kind, presence;`, where presence is
/// `required`, `optional` (the type is an `Option`), `empty` (an empty list), `list([texts])`, `table` (an empty table) or
/// `default(literal)`.
macro_rules! section {
    (
        $(#[doc = $doc:literal])+
        $vis:vis struct $section:ident {
            $(
                $(#[doc = $field_doc:literal])+
                $field:ident: $type:ty = $kind:expr, $presence:ident $(($default:expr))?;
            )+
        }
    ) => {
        $(#[doc = $doc])+
        #[derive(Clone, Debug)]
        $vis struct $section {
            $($(#[doc = $field_doc])+ $vis $field: $type,)+
        }

        impl $crate::config::section::Section for $section {
            const DOC: &'static [&'static str] = &[$($doc),+];

            fn definitions() -> Vec<$crate::config::section::Definition> {
                vec![$($crate::config::section::Definition {
                    name: stringify!($field),
                    kind: $crate::config::kind::Kind::describe(&$kind),
                    presence: $crate::config::section::section!(@presence $presence $(($default))?),
                    doc: &[$($field_doc),+],
                    nested: $crate::config::kind::Kind::nested(&$kind),
                },)+]
            }

            fn read(
                table: &$crate::config::tree::Table,
                place: &$crate::config::error::Place,
                errors: &mut $crate::config::error::Errors,
            ) -> Option<Self> {
                $crate::config::section::unknown_keys(table, &[$(stringify!($field)),+], errors);
                let here = (table, place);
                $(let $field = $crate::config::section::section!(
                    @read $presence $(($default))?, &$kind, stringify!($field), here, errors
                );)+
                Some($section { $($field: $field?,)+ })
            }
        }
    };
    (@presence required) => { "required".to_owned() };
    (@presence optional) => { "may be left out".to_owned() };
    (@presence empty) => { "default `[]`".to_owned() };
    (@presence table) => { "may be left out".to_owned() };
    (@presence list($default:expr)) => { format!("default `{:?}`", $default) };
    (@presence default($default:expr)) => {
        $crate::config::section::shown(&$crate::config::tree::Value::from($default))
    };
    (@read required, $kind:expr, $name:expr, $here:expr, $errors:expr) => {
        $crate::config::section::required($kind, $name, $here, $errors)
    };
    (@read optional, $kind:expr, $name:expr, $here:expr, $errors:expr) => {
        $crate::config::section::optional($kind, $name, $here, $errors)
    };
    (@read empty, $kind:expr, $name:expr, $here:expr, $errors:expr) => {
        $crate::config::section::or_default(
            $kind, $name, $here, $crate::config::tree::Value::List(Vec::new()), $errors,
        )
    };
    (@read list($default:expr), $kind:expr, $name:expr, $here:expr, $errors:expr) => {
        $crate::config::section::or_default(
            $kind, $name, $here, $crate::config::section::texts($here.1, &$default), $errors,
        )
    };
    (@read table, $kind:expr, $name:expr, $here:expr, $errors:expr) => {
        $crate::config::section::or_default(
            $kind, $name, $here, $crate::config::tree::Value::Table(Default::default()), $errors,
        )
    };
    (@read default($default:expr), $kind:expr, $name:expr, $here:expr, $errors:expr) => {
        $crate::config::section::or_default(
            $kind, $name, $here, $crate::config::tree::Value::from($default), $errors,
        )
    };
}

pub(super) use section;
