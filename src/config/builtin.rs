//! The four built-in policies, and how a file's own policies lie over them.

use std::path::PathBuf;
use std::sync::Arc;

use super::error::{Errors, Place, Source};
use super::tree::{self, Entry, Node, Table, Value};

/// The built-in policies, as a file would write them.
pub(super) const TEXT: &str = include_str!("builtin.toml");

/// Adds the built-in policies to a configuration's tree. Options that the file writes for a policy of the same name stay.
pub(super) fn lay_under(root: &mut Table, errors: &mut Errors) {
    let source = Arc::new(Source { path: PathBuf::from("built in"), built_in: true });
    let Some(built_in) = tree::parse(TEXT, Arc::clone(&source), &|_| None, errors) else { return };
    if root.entry("policies").is_none() {
        let place = Place { source, line: 1 };
        let node = Node { place: place.clone(), value: Value::Table(Table::default()) };
        root.entries.push(Entry { key: "policies".to_owned(), place, node });
    }
    // root → policies → one policy: the options of a policy are taken over one by one, what is inside them is not mixed.
    root.overlay(&built_in, 2);
}
