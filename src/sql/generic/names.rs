//! Names as the server sees them: folded, truncated, qualified.

use sqlparser::ast::{Ident, ObjectName, ObjectNamePart, TableFactor};

use crate::sql::effect::{Object, ObjectKind};

/// Longest name the server keeps, in bytes (NAMEDATALEN - 1).
const LONGEST: usize = 63;

/// An identifier as the server stores it: lower-case unless quoted (ASCII letters only, as `downcase_identifier` does in
/// multi-byte encodings), cut to 63 bytes without splitting a character (`truncate_identifier`).
pub fn folded(ident: &Ident) -> String {
    let mut name = match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_ascii_lowercase(),
    };
    if name.len() > LONGEST {
        let end = (0..=LONGEST).rev().find(|&end| name.is_char_boundary(end)).unwrap_or(0);
        name.truncate(end);
    }
    name
}

/// The identifier of one part of a name.
pub fn part(part: &ObjectNamePart) -> &Ident {
    match part {
        ObjectNamePart::Identifier(ident) => ident,
        ObjectNamePart::Function(function) => &function.name,
    }
}

/// The schema (when written) and the name. What stands before the schema can only be the current database.
pub fn qualified(name: &ObjectName) -> (Option<String>, String) {
    let mut parts = name.0.iter().rev().map(part);
    let last = parts.next().map(folded).unwrap_or_default();
    (parts.next().map(folded), last)
}

/// An object of `kind` by a possibly qualified name.
pub fn object(kind: ObjectKind, name: &ObjectName) -> Object {
    let (schema, name) = qualified(name);
    Object { kind, schema, name }
}

/// A relation.
pub fn relation(name: &ObjectName) -> Object {
    object(ObjectKind::Relation, name)
}

/// An object of `kind` by a simple name.
pub fn simple(kind: ObjectKind, name: &Ident) -> Object {
    Object { kind, schema: None, name: folded(name) }
}

/// A name as people write it, for messages and for settings (`app.user_id`).
pub fn dotted(name: &ObjectName) -> String {
    let parts: Vec<String> = name.0.iter().map(|p| folded(part(p))).collect();
    parts.join(".")
}

/// `ONLY t`, which sqlparser takes for a table `only` that is called `t`. ONLY is reserved: no table is called so unquoted.
fn is_only(name: &ObjectName) -> bool {
    match name.0.as_slice() {
        [ObjectNamePart::Identifier(ident)] => ident.quote_style.is_none() && ident.value.eq_ignore_ascii_case("only"),
        _ => false,
    }
}

/// The relation a table factor names, with its alias: `None` for anything that is not a plain relation.
pub fn named_relation(factor: &TableFactor) -> Option<(Object, Option<String>)> {
    match factor {
        TableFactor::Table { name, alias: Some(alias), args: None, .. } if is_only(name) && !alias.explicit => {
            Some((simple(ObjectKind::Relation, &alias.name), None))
        }
        TableFactor::Table { name, alias, args: None, .. } => {
            Some((relation(name), alias.as_ref().map(|alias| folded(&alias.name))))
        }
        _ => None,
    }
}
