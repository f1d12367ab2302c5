//! Names out of the grammar's nodes, as the server folded and truncated them. Room of the postgres reader.

use pg_query::protobuf::{ObjectType, RangeVar};
use pg_query::{Node, NodeEnum};

use crate::sql::effect::{Object, ObjectKind};
use crate::sql::scan;

/// The text of a `String` node.
pub(super) fn word(node: &Node) -> Option<&str> {
    match &node.node {
        Some(NodeEnum::String(string)) => Some(&string.sval),
        _ => None,
    }
}

/// The texts of a list of `String` nodes, in order.
pub(super) fn words(nodes: &[Node]) -> Vec<&str> {
    nodes.iter().filter_map(word).collect()
}

/// An object named by one identifier.
pub(super) fn plain(kind: ObjectKind, name: &str) -> Object {
    Object { kind, schema: None, name: name.to_owned() }
}

/// An object named by `[[catalog.]schema.]name`. `None` for an empty list.
pub(super) fn qualified(kind: ObjectKind, parts: &[&str]) -> Option<Object> {
    let (name, before) = parts.split_last()?;
    let schema = before.last().map(|schema| (*schema).to_owned());
    Some(Object { kind, schema, name: (*name).to_owned() })
}

/// The object of a table reference.
pub(super) fn relation(range: &RangeVar) -> Object {
    let schema = (!range.schemaname.is_empty()).then(|| range.schemaname.clone());
    Object { kind: ObjectKind::Relation, schema, name: range.relname.clone() }
}

/// The relation that a string names, as `textToQualifiedNameList` in the server reads it.
pub(super) fn written(text: &str) -> Option<Object> {
    let tokens = scan::tokens(text)?;
    let mut parts = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let written = text.get(token.start..token.end)?;
        match (at % 2, token.kind) {
            (0, scan::Kind::Word) => parts.push(written.to_ascii_lowercase()),
            (0, scan::Kind::QuotedName) => {
                parts.push(written.strip_prefix('"')?.strip_suffix('"')?.replace("\"\"", "\""));
            }
            (1, scan::Kind::Symbol) if written == "." => {}
            _ => return None,
        }
    }
    qualified(ObjectKind::Relation, &parts.iter().map(String::as_str).collect::<Vec<_>>())
}

/// The object that a DROP, COMMENT, RENAME or the like names. Rules, triggers and policies give their relation,
/// as do columns and table constraints.
pub(super) fn target(object_type: ObjectType, node: &Node) -> Option<Object> {
    let kind = kind_of(object_type);
    match &node.node {
        Some(NodeEnum::String(string)) => Some(plain(kind, &string.sval)),
        Some(NodeEnum::TypeName(name)) => qualified(kind, &words(&name.names)),
        Some(NodeEnum::ObjectWithArgs(object)) => qualified(kind, &words(&object.objname)),
        Some(NodeEnum::RangeVar(range)) => Some(Object { kind, ..relation(range) }),
        Some(NodeEnum::List(list)) => listed(object_type, &list.items),
        _ => None,
    }
}

fn listed(object_type: ObjectType, items: &[Node]) -> Option<Object> {
    let parts = words(items);
    let kind = kind_of(object_type);
    match part_of_relation(object_type) {
        true => {
            let (_, relation) = parts.split_last()?;
            qualified(ObjectKind::Relation, relation)
        }
        false => match items.first().and_then(|first| first.node.as_ref()) {
            Some(NodeEnum::TypeName(name)) => qualified(kind, &words(&name.names)),
            _ => qualified(kind, &parts),
        },
    }
}

/// Whether such an object is named as `relation.name`.
pub(super) fn part_of_relation(object_type: ObjectType) -> bool {
    matches!(
        object_type,
        ObjectType::ObjectColumn
            | ObjectType::ObjectPolicy
            | ObjectType::ObjectRule
            | ObjectType::ObjectTabconstraint
            | ObjectType::ObjectTrigger
    )
}

/// The kind of object that rules see.
pub(super) fn kind_of(object_type: ObjectType) -> ObjectKind {
    match object_type {
        ObjectType::ObjectTable
        | ObjectType::ObjectView
        | ObjectType::ObjectMatview
        | ObjectType::ObjectIndex
        | ObjectType::ObjectSequence
        | ObjectType::ObjectForeignTable => ObjectKind::Relation,
        ObjectType::ObjectFunction
        | ObjectType::ObjectProcedure
        | ObjectType::ObjectRoutine
        | ObjectType::ObjectAggregate => ObjectKind::Function,
        _ => ObjectKind::Other,
    }
}

/// What SQL calls such an object, upper-case.
pub(super) fn noun(object_type: ObjectType) -> &'static str {
    match object_type {
        ObjectType::Undefined => "OBJECT",
        ObjectType::ObjectAccessMethod => "ACCESS METHOD",
        ObjectType::ObjectAggregate => "AGGREGATE",
        ObjectType::ObjectAmop | ObjectType::ObjectAmproc | ObjectType::ObjectOpfamily => "OPERATOR FAMILY",
        ObjectType::ObjectAttribute => "ATTRIBUTE",
        ObjectType::ObjectCast => "CAST",
        ObjectType::ObjectColumn => "COLUMN",
        ObjectType::ObjectCollation => "COLLATION",
        ObjectType::ObjectConversion => "CONVERSION",
        ObjectType::ObjectDatabase => "DATABASE",
        ObjectType::ObjectDefault => "DEFAULT",
        ObjectType::ObjectDefacl => "DEFAULT PRIVILEGES",
        ObjectType::ObjectDomain => "DOMAIN",
        ObjectType::ObjectDomconstraint | ObjectType::ObjectTabconstraint => "CONSTRAINT",
        ObjectType::ObjectEventTrigger => "EVENT TRIGGER",
        ObjectType::ObjectExtension => "EXTENSION",
        ObjectType::ObjectFdw => "FOREIGN DATA WRAPPER",
        ObjectType::ObjectForeignServer => "SERVER",
        ObjectType::ObjectForeignTable => "FOREIGN TABLE",
        ObjectType::ObjectFunction => "FUNCTION",
        ObjectType::ObjectIndex => "INDEX",
        ObjectType::ObjectLanguage => "LANGUAGE",
        ObjectType::ObjectLargeobject => "LARGE OBJECT",
        ObjectType::ObjectMatview => "MATERIALIZED VIEW",
        ObjectType::ObjectOpclass => "OPERATOR CLASS",
        ObjectType::ObjectOperator => "OPERATOR",
        ObjectType::ObjectParameterAcl => "PARAMETER",
        ObjectType::ObjectPolicy => "POLICY",
        ObjectType::ObjectProcedure => "PROCEDURE",
        ObjectType::ObjectPublication | ObjectType::ObjectPublicationNamespace | ObjectType::ObjectPublicationRel => {
            "PUBLICATION"
        }
        ObjectType::ObjectRole => "ROLE",
        ObjectType::ObjectRoutine => "ROUTINE",
        ObjectType::ObjectRule => "RULE",
        ObjectType::ObjectSchema => "SCHEMA",
        ObjectType::ObjectSequence => "SEQUENCE",
        ObjectType::ObjectSubscription => "SUBSCRIPTION",
        ObjectType::ObjectStatisticExt => "STATISTICS",
        ObjectType::ObjectTable => "TABLE",
        ObjectType::ObjectTablespace => "TABLESPACE",
        ObjectType::ObjectTransform => "TRANSFORM",
        ObjectType::ObjectTrigger => "TRIGGER",
        ObjectType::ObjectTsconfiguration => "TEXT SEARCH CONFIGURATION",
        ObjectType::ObjectTsdictionary => "TEXT SEARCH DICTIONARY",
        ObjectType::ObjectTsparser => "TEXT SEARCH PARSER",
        ObjectType::ObjectTstemplate => "TEXT SEARCH TEMPLATE",
        ObjectType::ObjectType => "TYPE",
        ObjectType::ObjectUserMapping => "USER MAPPING",
        ObjectType::ObjectView => "VIEW",
    }
}
