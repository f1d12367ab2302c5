//! Names that may be patterns: databases, environments, and the environments in users' roles.

use super::error::Errors;
use super::kind::Placed;
use crate::policy::glob;

/// The first of `items` (sorted by [`sort`]) whose name covers `name`. A pattern that is itself asked for by name (a database may
/// lie in the environment `preview-*`) covers itself.
pub(super) fn most_specific<'a, T>(items: &'a [T], name_of: impl Fn(&T) -> &String, name: &str) -> Option<&'a T> {
    let itself = items.iter().find(|item| name_of(item) == name);
    itself.or_else(|| items.iter().find(|item| glob::matches(name_of(item), name)))
}

/// Sorts by name, the most specific first.
pub(super) fn sort<T>(items: &mut [T], name_of: impl Fn(&T) -> &String) {
    items.sort_by(|one, other| {
        let key = |item: &T| (std::cmp::Reverse(glob::specificity(name_of(item))), name_of(item).clone());
        key(one).cmp(&key(other))
    });
}

/// Tells of patterns that cover the same name and are equally specific, so that neither could win.
pub(super) fn check_ambiguity<'a>(what: &str, names: impl Iterator<Item = &'a Placed<String>>, errors: &mut Errors) {
    let mut patterns: Vec<&Placed<String>> = names.filter(|name| glob::is_pattern(&name.value)).collect();
    patterns.sort_by_key(|name| name.place.line);
    for (index, later) in patterns.iter().enumerate() {
        let rivals = patterns.iter().take(index).filter(|earlier| {
            glob::specificity(&earlier.value) == glob::specificity(&later.value)
                && glob::overlap(&earlier.value, &later.value)
        });
        for earlier in rivals {
            let (a, b) = (&later.value, &earlier.value);
            errors.at(
                &later.place,
                format!(
                    "{what} patterns `{a}` and `{b}` cover the same names and are equally specific: make one longer"
                ),
            );
        }
    }
}
