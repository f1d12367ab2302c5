//! What options can hold: each kind reads a value, says what would be right, and describes itself for the reference.

use std::marker::PhantomData;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::endpoint::Endpoint;
use super::error::{Errors, Place};
use super::section::{Definition, Section};
use super::token::TokenHash;
use super::tree::{Node, Table, Text, Value};
use super::units;
use super::verifier::Verifier;

/// A kind of value.
pub(super) trait Kind {
    /// What it reads to.
    type Out;

    /// What it is, for the reference and for messages: `a duration such as "30s"`.
    fn describe(&self) -> String;

    /// Reads a value, or says what would be right and gives `None`.
    fn read(&self, node: &Node, errors: &mut Errors) -> Option<Self::Out>;

    /// The options within, if it is a table or several.
    fn nested(&self) -> Option<Nested> {
        None
    }
}

/// The tables that a kind leads to.
pub(super) struct Nested {
    /// What follows the key in a table's name: nothing, or `.<name>`.
    pub suffix: String,
    /// Whether the key is written as `[[key]]`.
    pub array: bool,
    /// What the section is for.
    pub doc: String,
    /// The options within.
    pub definitions: Vec<Definition>,
}

/// Tells that a value is of the wrong kind, unless what is wrong with it has been told already.
fn wrong_kind<T>(node: &Node, expected: &str, errors: &mut Errors) -> Option<T> {
    if !matches!(node.value, Value::Unresolved) {
        errors.at(&node.place, format!("expected {expected}, not {}", node.kind()));
    }
    None
}

/// `true` or `false`.
pub(super) struct Flag;

impl Kind for Flag {
    type Out = bool;

    fn describe(&self) -> String {
        "`true` or `false`".to_owned()
    }

    fn read(&self, node: &Node, errors: &mut Errors) -> Option<bool> {
        match node.value {
            Value::Boolean(value) => Some(value),
            _ => wrong_kind(node, &self.describe(), errors),
        }
    }
}

/// A string that is not empty.
pub(super) struct Words(pub &'static str);

impl Kind for Words {
    type Out = String;

    fn describe(&self) -> String {
        self.0.to_owned()
    }

    fn read(&self, node: &Node, errors: &mut Errors) -> Option<String> {
        match &node.value {
            Value::Text(text) if text.value.is_empty() => {
                errors.at(&node.place, format!("expected {}, not an empty string", self.0));
                None
            }
            Value::Text(text) => Some(text.value.clone()),
            _ => wrong_kind(node, self.0, errors),
        }
    }
}

/// A string or a whole number, taken as a string.
pub(super) struct Digits(pub &'static str);

impl Kind for Digits {
    type Out = String;

    fn describe(&self) -> String {
        self.0.to_owned()
    }

    fn read(&self, node: &Node, errors: &mut Errors) -> Option<String> {
        match &node.value {
            Value::Integer(number) => Some(number.to_string()),
            _ => Words(self.0).read(node, errors),
        }
    }
}

/// A file or folder; a relative one starts at the configuration file's folder.
pub(super) struct FilePath;

impl Kind for FilePath {
    type Out = PathBuf;

    fn describe(&self) -> String {
        "a path, relative ones from this file's folder".to_owned()
    }

    fn read(&self, node: &Node, errors: &mut Errors) -> Option<PathBuf> {
        Words("a path").read(node, errors).map(PathBuf::from)
    }
}

/// An IP address and port.
pub(super) struct Address;

impl Kind for Address {
    type Out = SocketAddr;

    fn describe(&self) -> String {
        "an address such as `\"127.0.0.1:6432\"` or `\"[::1]:6432\"`".to_owned()
    }

    fn read(&self, node: &Node, errors: &mut Errors) -> Option<SocketAddr> {
        let Value::Text(text) = &node.value else { return wrong_kind(node, &self.describe(), errors) };
        let address = text.value.parse();
        if address.is_err() {
            errors.at(&node.place, format!("`{}` is not {}", text.shown(), self.describe()));
        }
        address.ok()
    }
}

/// A whole number within bounds.
pub(super) struct Count<T> {
    /// Smallest and largest.
    pub range: (i64, i64),
    /// The type it is read to.
    pub of: PhantomData<T>,
}

/// A whole number from `least` to `most`.
pub(super) const fn count<T>(least: i64, most: i64) -> Count<T> {
    Count { range: (least, most), of: PhantomData }
}

impl<T: TryFrom<i64>> Kind for Count<T> {
    type Out = T;

    fn describe(&self) -> String {
        format!("a number from {} to {}", self.range.0, self.range.1)
    }

    fn read(&self, node: &Node, errors: &mut Errors) -> Option<T> {
        let Value::Integer(number) = node.value else { return wrong_kind(node, &self.describe(), errors) };
        let (least, most) = self.range;
        let value = (least..=most).contains(&number).then(|| T::try_from(number).ok()).flatten();
        if value.is_none() {
            errors.at(&node.place, format!("expected {}, not {number}", self.describe()));
        }
        value
    }
}

/// A duration within bounds.
pub(super) struct Time {
    /// Shortest.
    pub least: Duration,
    /// Longest.
    pub most: Duration,
}

/// The longest timeout that Postgres' own settings hold: 2147483647 ms.
pub(super) const LONGEST: Duration = Duration::from_millis(i32::MAX as u64);

/// Any timeout that Postgres could hold.
pub(super) const fn timeout() -> Time {
    Time { least: Duration::from_millis(1), most: LONGEST }
}

impl Kind for Time {
    type Out = Duration;

    fn describe(&self) -> String {
        "a duration such as `\"250ms\"`, `\"30s\"`, `\"5m\"`, `\"1h\"` or `\"7d\"`".to_owned()
    }

    fn read(&self, node: &Node, errors: &mut Errors) -> Option<Duration> {
        let Value::Text(text) = &node.value else { return wrong_kind(node, &self.describe(), errors) };
        match units::duration(&text.value) {
            Some(value) if (self.least..=self.most).contains(&value) => Some(value),
            Some(_) => {
                let (least, most) = (units::show_duration(self.least), units::show_duration(self.most));
                errors.at(&node.place, format!("`{}` is out of range: from {least} to {most}", text.shown()));
                None
            }
            None => {
                errors.at(&node.place, format!("`{}` is not {}", text.shown(), self.describe()));
                None
            }
        }
    }
}

/// A number of bytes within bounds.
pub(super) struct Size<T> {
    /// Smallest and largest.
    pub range: (u64, u64),
    /// The type it is read to.
    pub of: PhantomData<T>,
}

/// A size from `least` to `most` bytes.
pub(super) const fn size<T>(least: u64, most: u64) -> Size<T> {
    Size { range: (least, most), of: PhantomData }
}

impl<T: TryFrom<u64>> Kind for Size<T> {
    type Out = T;

    fn describe(&self) -> String {
        "a size such as `\"64kB\"`, `\"16MB\"` or `\"1GB\"` (steps of 1024, as in Postgres)".to_owned()
    }

    fn read(&self, node: &Node, errors: &mut Errors) -> Option<T> {
        let Value::Text(text) = &node.value else { return wrong_kind(node, &self.describe(), errors) };
        let Some(bytes) = units::bytes(&text.value) else {
            errors.at(&node.place, format!("`{}` is not {}", text.shown(), self.describe()));
            return None;
        };
        let (least, most) = self.range;
        let value = (least..=most).contains(&bytes).then(|| T::try_from(bytes).ok()).flatten();
        if value.is_none() {
            let (least, most) = (units::show_bytes(least), units::show_bytes(most));
            errors.at(&node.place, format!("`{}` is out of range: from {least} to {most}", text.shown()));
        }
        value
    }
}

/// One of a few words.
pub(super) struct Choice<T: 'static>(pub &'static [(&'static str, T)]);

impl<T: Copy> Kind for Choice<T> {
    type Out = T;

    fn describe(&self) -> String {
        let words: Vec<String> = self.0.iter().map(|(word, _)| format!("`\"{word}\"`")).collect();
        words.join(" or ")
    }

    fn read(&self, node: &Node, errors: &mut Errors) -> Option<T> {
        let Value::Text(text) = &node.value else { return wrong_kind(node, &self.describe(), errors) };
        let chosen = self.0.iter().find(|(word, _)| *word == text.value).map(|(_, value)| *value);
        if chosen.is_none() {
            errors.at(&node.place, format!("`{}` is not {}", text.shown(), self.describe()));
        }
        chosen
    }
}

/// A limit: a value, or `"none"`, which lifts one that a built-in policy sets.
pub(super) struct Limit<K>(pub K);

impl<K: Kind> Kind for Limit<K> {
    type Out = Option<K::Out>;

    fn describe(&self) -> String {
        format!("{}, or `\"none\"`", self.0.describe())
    }

    fn read(&self, node: &Node, errors: &mut Errors) -> Option<Option<K::Out>> {
        match &node.value {
            Value::Text(text) if text.value == "none" => Some(None),
            _ => self.0.read(node, errors).map(Some),
        }
    }
}

/// A list; wrong items are told and left out.
pub(super) struct List<K>(pub K);

impl<K: Kind> Kind for List<K> {
    type Out = Vec<K::Out>;

    fn describe(&self) -> String {
        format!("a list of {}", self.0.describe().trim_start_matches("a ").trim_start_matches("an "))
    }

    fn read(&self, node: &Node, errors: &mut Errors) -> Option<Vec<K::Out>> {
        let Value::List(items) = &node.value else { return wrong_kind(node, "a list", errors) };
        Some(items.iter().filter_map(|item| self.0.read(item, errors)).collect())
    }

    fn nested(&self) -> Option<Nested> {
        self.0.nested().map(|nested| Nested { array: true, ..nested })
    }
}

/// One, or a list.
pub(super) struct OneOrMore<K>(pub K);

impl<K: Kind> Kind for OneOrMore<K> {
    type Out = Vec<K::Out>;

    fn describe(&self) -> String {
        format!("{}, or a list of them", self.0.describe())
    }

    fn read(&self, node: &Node, errors: &mut Errors) -> Option<Vec<K::Out>> {
        match &node.value {
            Value::List(items) if items.is_empty() => {
                errors.at(&node.place, format!("the list is empty: give {}", self.0.describe()));
                None
            }
            Value::List(items) => {
                let read: Vec<Option<K::Out>> = items.iter().map(|item| self.0.read(item, errors)).collect();
                read.into_iter().collect()
            }
            _ => self.0.read(node, errors).map(|one| vec![one]),
        }
    }
}

/// A value together with its place.
#[derive(Clone, Debug)]
pub(super) struct Placed<T> {
    /// Where it stands.
    pub place: Place,
    /// What it is.
    pub value: T,
    /// How the file writes it, for messages (a variable stays `${NAME}`).
    pub shown: String,
}

/// A kind whose place is kept, for rules and for errors found later.
pub(super) struct At<K>(pub K);

impl<K: Kind> Kind for At<K> {
    type Out = Placed<K::Out>;

    fn describe(&self) -> String {
        self.0.describe()
    }

    fn read(&self, node: &Node, errors: &mut Errors) -> Option<Placed<K::Out>> {
        let shown = match &node.value {
            Value::Text(text) => text.shown(),
            _ => String::new(),
        };
        self.0.read(node, errors).map(|value| Placed { place: node.place.clone(), value, shown })
    }

    fn nested(&self) -> Option<Nested> {
        self.0.nested()
    }
}

/// A value that counts as given even when it is wrong (then `None`), so that nobody is told to give it.
pub(super) struct Given<K>(pub K);

impl<K: Kind> Kind for Given<K> {
    type Out = Option<K::Out>;

    fn describe(&self) -> String {
        self.0.describe()
    }

    fn read(&self, node: &Node, errors: &mut Errors) -> Option<Option<K::Out>> {
        Some(self.0.read(node, errors))
    }
}

/// A table with fixed keys.
pub(super) struct Keys<T>(pub PhantomData<T>);

/// A table that reads to `T`.
pub(super) const fn keys<T>() -> Keys<T> {
    Keys(PhantomData)
}

impl<T: Section> Kind for Keys<T> {
    type Out = T;

    fn describe(&self) -> String {
        "a table".to_owned()
    }

    fn read(&self, node: &Node, errors: &mut Errors) -> Option<T> {
        match &node.value {
            Value::Table(table) => T::read(table, &node.place, errors),
            _ => wrong_kind(node, "a table", errors),
        }
    }

    fn nested(&self) -> Option<Nested> {
        Some(Nested { suffix: String::new(), array: false, doc: T::DOC.join("\n"), definitions: T::definitions() })
    }
}

/// A table whose keys are names of the user's own; each value is of one kind. A wrong value is `None`: its name exists.
pub(super) struct Named<K>(pub &'static str, pub K);

/// What a [`Named`] table reads to.
pub(super) type NamedValues<T> = Vec<(Placed<String>, Option<T>)>;

impl<K: Kind> Kind for Named<K> {
    type Out = NamedValues<K::Out>;

    fn describe(&self) -> String {
        format!("a table: {} = {}", self.0, self.1.describe())
    }

    fn read(&self, node: &Node, errors: &mut Errors) -> Option<Self::Out> {
        let Value::Table(Table { entries }) = &node.value else { return wrong_kind(node, "a table", errors) };
        let named = entries.iter().map(|entry| {
            let key = Placed { place: entry.place.clone(), value: entry.key.clone(), shown: shown_name(&entry.key) };
            (key, self.1.read(&entry.node, errors))
        });
        Some(named.collect())
    }

    fn nested(&self) -> Option<Nested> {
        self.1.nested().map(|nested| Nested { suffix: format!(".{}{}", self.0, nested.suffix), ..nested })
    }
}

fn shown_name(key: &str) -> String {
    Text { written: key.to_owned(), value: String::new() }.shown()
}

/// A Postgres URL.
pub(super) struct Url;

impl Kind for Url {
    type Out = Endpoint;

    fn describe(&self) -> String {
        "a Postgres URL".to_owned()
    }

    fn read(&self, node: &Node, errors: &mut Errors) -> Option<Endpoint> {
        let Value::Text(text) = &node.value else { return wrong_kind(node, &self.describe(), errors) };
        match Endpoint::parse(&text.value) {
            Ok(endpoint) => Some(endpoint),
            Err(problems) => {
                problems.iter().for_each(|problem| errors.at(&node.place, format!("the URL {problem}")));
                None
            }
        }
    }
}

/// A SCRAM verifier.
pub(super) struct Scram;

impl Kind for Scram {
    type Out = Verifier;

    fn describe(&self) -> String {
        "a SCRAM verifier as in `pg_authid`".to_owned()
    }

    fn read(&self, node: &Node, errors: &mut Errors) -> Option<Verifier> {
        let Value::Text(text) = &node.value else { return wrong_kind(node, &self.describe(), errors) };
        match Verifier::parse(&text.value) {
            Ok(verifier) => Some(verifier),
            Err(problem) => {
                errors.at(&node.place, format!("the verifier {problem}; `pgwarden user verifier` makes one"));
                None
            }
        }
    }
}

/// The hash of an API token.
pub(super) struct Hash;

impl Kind for Hash {
    type Out = TokenHash;

    fn describe(&self) -> String {
        "`sha256:` and 64 hexadecimal digits".to_owned()
    }

    fn read(&self, node: &Node, errors: &mut Errors) -> Option<TokenHash> {
        let Value::Text(text) = &node.value else { return wrong_kind(node, &self.describe(), errors) };
        let hash = TokenHash::parse(&text.value);
        if hash.is_none() {
            errors.at(&node.place, format!("the hash is not {}; `pgwarden user token` makes one", self.describe()));
        }
        hash
    }
}
