//! What a text made itself, so that what it then does to it is additive. Room of the postgres reader.
//!
//! A name is only in here while it is certain that it means the new object: anything that changes how names resolve, or
//! that could make a later DROP take old data along, forgets it.

use pg_query::protobuf::RangeVar;

use super::names;
use crate::sql::effect::Object;

/// Relations, types and schemas that the text has made for certain.
#[derive(Clone, Debug, Default)]
pub(super) struct Made {
    objects: Vec<Object>,
    schemas: Vec<String>,
    /// Objects of a new schema that are new no longer: gone, or grown together with older ones.
    forgotten: Vec<Object>,
    frozen: bool,
}

impl Made {
    /// For a body: what was made may be looked up and forgotten, but nothing is made for certain.
    pub(super) fn frozen(mut self) -> Made {
        self.frozen = true;
        self
    }

    /// Back from a body to the text that holds it.
    pub(super) fn thawed(mut self, outermost: bool) -> Made {
        self.frozen = !outermost;
        self
    }

    /// Remembers an object that did not exist before.
    pub(super) fn add(&mut self, object: Object) {
        if !self.frozen && !self.objects.contains(&object) {
            self.forgotten.retain(|other| *other != object);
            self.objects.push(object);
        }
    }

    /// Remembers a schema that did not exist before.
    pub(super) fn add_schema(&mut self, schema: &str) {
        if !self.frozen {
            self.schemas.push(schema.to_owned());
        }
    }

    /// Whether the object is new for certain.
    pub(super) fn has(&self, object: &Object) -> bool {
        let in_new_schema = object.schema.as_ref().is_some_and(|schema| self.schemas.contains(schema));
        self.objects.contains(object) || (in_new_schema && !self.forgotten.contains(object))
    }

    /// Whether the relation is new for certain.
    pub(super) fn has_relation(&self, relation: Option<&RangeVar>) -> bool {
        relation.is_some_and(|range| self.has(&names::relation(range)))
    }

    /// Whether the schema is new for certain.
    pub(super) fn has_schema(&self, schema: &str) -> bool {
        self.schemas.iter().any(|made| made == schema)
    }

    /// Forgets one object, whatever its schema.
    pub(super) fn forget(&mut self, object: &Object) {
        self.objects.retain(|made| made.name != object.name);
        self.forgotten.push(object.clone());
    }

    /// Forgets a schema and all in it.
    pub(super) fn forget_schema(&mut self, schema: &str) {
        self.schemas.retain(|made| made != schema);
        self.objects.retain(|made| made.schema.as_deref() != Some(schema));
    }

    /// Forgets everything: names may now mean something else.
    pub(super) fn clear(&mut self) {
        self.objects.clear();
        self.schemas.clear();
    }
}
