//! What a grant adds to a policy: classes of effects, for all relations or for some. Part of the policy room; pure.
//!
//! A grant lifts "not in allow" and, where it names relations, "not in relations.allow"; nothing else. What a policy denies by name
//! stays denied, and so does what rules cannot be applied to.

use std::sync::Arc;

use super::{covers, glob, severity};
use crate::sql::{Class, Effect, ObjectKind};

/// What one grant adds to a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Widening {
    /// The grant's id.
    pub grant: Arc<str>,
    /// The classes that it allows.
    pub classes: Vec<Class>,
    /// When not empty: the only relations that effects may touch under it.
    pub relations: Vec<String>,
}

/// The classes that patterns of a grant allow, in the language of `allow`, without those of `never`.
pub fn classes_of(allow: &[String], never: &[String]) -> Vec<Class> {
    let covered = |patterns: &[String], class: Class| patterns.iter().any(|pattern| covers(pattern, class));
    Class::ALL.iter().copied().filter(|class| covered(allow, *class) && !is_never(never, *class)).collect()
}

/// Whether patterns of effects that are never granted cover a class; a prefix covers all below it, as in `deny`.
pub fn is_never(never: &[String], class: Class) -> bool {
    never.iter().any(|pattern| class.matches(pattern))
}

impl Widening {
    /// Whether it allows an effect.
    pub(super) fn allows(&self, effect: &Effect) -> bool {
        self.classes.contains(&effect.class) && (self.relations.is_empty() || self.names(effect))
    }

    /// Whether it names the relation that an effect touches. The session may have moved `search_path` before the grant was given, so a
    /// bare name may be found anywhere: only a pattern for any schema covers it.
    pub(super) fn names(&self, effect: &Effect) -> bool {
        let relation = effect.object.as_ref().filter(|object| object.kind == ObjectKind::Relation);
        let Some(object) = relation else { return false };
        let covered = |pattern: &String| {
            let Some((schema, name)) = pattern.split_once('.') else { return false };
            let in_schema = object.schema.as_ref().map_or(schema == "*", |written| glob::matches(schema, written));
            in_schema && glob::matches(name, &object.name)
        };
        self.relations.iter().any(covered)
    }

    /// Whether a session under it cannot be held read-only: it may do what the hold refuses, or what acts in spite of it.
    pub fn lifts_hold(&self) -> bool {
        self.classes.iter().any(|class| severity::contradicts_read_only(*class))
    }
}
