//! The configuration as a tree in which everything knows its line, with `${NAME}` replaced.

use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{Errors, Place, Source};
use super::variables::expand;

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub place: Place,
    pub value: Value,
}

/// What a TOML value is.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Text(Text),
    Integer(i64),
    Boolean(bool),
    List(Vec<Node>),
    Table(Table),
    /// A float or a date: no option takes one.
    Other,
    /// A string whose variables are missing, which has been told already.
    Unresolved,
}

/// A string: what the file says and what it stands for.
#[derive(Clone, Debug)]
pub(super) struct Text {
    pub written: String,
    pub value: String,
}

/// A table's entries, sorted by key.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    pub entries: Vec<Entry>,
}

/// A key of a table and its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub key: String,
    pub place: Place,
    pub node: Node,
}

impl Table {
    /// The entry of `key`.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// Takes over the entries of `base` whose keys this table does not have itself, at every depth down to `depth` tables.
    pub fn overlay(&mut self, base: &Table, depth: usize) {
        for entry in &base.entries {
            match self.entries.iter_mut().find(|own| own.key == entry.key) {
                None => self.entries.push(entry.clone()),
                Some(own) => {
                    if let (Value::Table(own), Value::Table(base), true) =
                        (&mut own.node.value, &entry.node.value, depth > 0)
                    {
                        own.overlay(base, depth - 1);
                    }
                }
            }
        }
    }
}

impl Node {
    /// What kind of value it is, for messages.
    pub fn kind(&self) -> &'static str {
        match self.value {
            Value::Text(_) | Value::Unresolved => "a string",
            Value::Integer(_) => "a number",
            Value::Boolean(_) => "true or false",
            Value::List(_) => "a list",
            Value::Table(_) => "a table",
            Value::Other => "a fraction or a date",
        }
    }
}

impl Text {
    /// The text as the file writes it, for messages: nothing that came from the environment, and nothing that looks like a
    /// URL or a verifier.
    pub fn shown(&self) -> String {
        let secret = self.written.contains("://") || self.written.contains("SCRAM-SHA-256$");
        let printable: String = self.written.chars().filter(|c| !c.is_control()).take(80).collect();
        if secret { "…".to_owned() } else { printable }
    }
}

/// Parses TOML into a tree. Syntax errors and missing variables go into `errors`; `None` after a syntax error, because what a
/// broken file seems to say is not worth reporting on.
pub(super) fn parse(
    text: &str,
    source: Arc<Source>,
    variable: &dyn Fn(&str) -> Option<String>,
    errors: &mut Errors,
) -> Option<Table> {
    let (root, syntax_errors) = DeTable::parse_recoverable(text);
    let mut reader = Reader { lines: line_starts(text), source, variable, errors };
    if syntax_errors.is_empty() {
        return Some(reader.table(root.get_ref()));
    }
    for error in &syntax_errors {
        let place = reader.place(error.span().map_or(0, |span| span.start));
        reader.errors.at(&place, format!("not valid TOML: {}", error.message()));
    }
    None
}

fn line_starts(text: &str) -> Vec<usize> {
    std::iter::once(0).chain(memchr::memchr_iter(b'\n', text.as_bytes()).map(|at| at + 1)).collect()
}

struct Reader<'a> {
    lines: Vec<usize>,
    source: Arc<Source>,
    variable: &'a dyn Fn(&str) -> Option<String>,
    errors: &'a mut Errors,
}

impl Reader<'_> {
    fn place(&self, offset: usize) -> Place {
        Place { source: Arc::clone(&self.source), line: self.lines.partition_point(|start| *start <= offset) }
    }

    fn table(&mut self, table: &DeTable<'_>) -> Table {
        let entries = table.iter().map(|(key, value)| Entry {
            key: key.get_ref().to_string(),
            place: self.place(key.span().start),
            node: self.node(value),
        });
        Table { entries: entries.collect() }
    }

    fn node(&mut self, value: &Spanned<DeValue<'_>>) -> Node {
        let place = self.place(value.span().start);
        let value = match value.get_ref() {
            DeValue::String(text) => self.text(text, &place),
            DeValue::Integer(digits) => self.integer(digits, &place),
            DeValue::Boolean(value) => Value::Boolean(*value),
            DeValue::Array(items) => Value::List(items.iter().map(|item| self.node(item)).collect()),
            DeValue::Table(table) => Value::Table(self.table(table)),
            DeValue::Float(_) | DeValue::Datetime(_) => Value::Other,
        };
        Node { place, value }
    }

    fn integer(&mut self, digits: &toml::de::DeInteger<'_>, place: &Place) -> Value {
        match i64::from_str_radix(digits.as_str(), digits.radix()) {
            Ok(value) => Value::Integer(value),
            Err(_) => {
                self.errors.at(place, "the number is too large");
                Value::Unresolved
            }
        }
    }

    fn text(&mut self, written: &str, place: &Place) -> Value {
        match expand(written, self.variable) {
            Ok(value) => Value::Text(Text { written: written.to_owned(), value }),
            Err(errors) => {
                errors.iter().for_each(|error| self.errors.at(place, error.to_string()));
                Value::Unresolved
            }
        }
    }
}
