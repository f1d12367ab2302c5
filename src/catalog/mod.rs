//! What a database's own catalog says of its functions, views, operators and types, as a value. Pure: no I/O, no clock.
//!
//! A reading of SQL text knows built-in functions only. A [`Catalog`] says what the names mean that belong to the database:
//! [`Catalog::widen`] takes a reading and gives it the effects that the text does not show. `rows` is the question to the server
//! and its answer, `meaning` turns definitions into effects by the same readers that judge statements.
//!
//! Nothing is believed because a label says so. A user function is `function.safe` only where every function that the name can
//! mean is labelled IMMUTABLE or STABLE *and* its body, read like a statement, does no more than read and call what is safe, and
//! it runs with its caller's rights. What is written in another language counts as its label says only in C and as part of an
//! extension: nobody but a superuser can make such a function. Everything else is `function.volatile`, as is everything that is not
//! known.
//!
//! A bare name may be any of that name: which schema `search_path` puts first can change under a pooler without the proxy being
//! told. So a built-in whose name a user function shares is the worse of the two.
//!
//! May not name: `tokio`, `policy`, `session`, `net`, `audit`, `config`, `decision`.

mod meaning;
mod rows;

use std::borrow::Cow;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use foldhash::HashMap;

use crate::sql::{Class, Effect, Object, ObjectKind, Origin, Reading, functions};

pub use rows::{BadRows, QUESTION, Rows};

/// Schema and name.
type Name = (Arc<str>, Arc<str>);

/// What is known of one database. The default knows nothing: every function that is not built in is volatile.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Catalog {
    known: Arc<Known>,
    /// The definitions may have changed: no user function is believed to be safe.
    doubted: bool,
}

/// Everything by its last name.
#[derive(Debug, Default, PartialEq)]
struct Known {
    functions: HashMap<Arc<str>, Vec<Routine>>,
    views: HashMap<Arc<str>, Vec<View>>,
    operators: HashMap<Arc<str>, Vec<Named>>,
    types: HashMap<Arc<str>, Vec<Named>>,
    /// Types that a cast to calls nothing for.
    enums: BTreeSet<Name>,
}

/// What a call would do.
#[derive(Clone, Debug, PartialEq)]
struct Meaning {
    /// `function.safe`, or something worse.
    class: Class,
    /// Why it is not safe; empty if it is.
    why: Cow<'static, str>,
    /// What it reads, as far as its definition shows.
    reads: BTreeSet<Object>,
}

/// A function, aggregate or window function.
#[derive(Debug, PartialEq)]
struct Routine {
    schema: Arc<str>,
    /// Whether `(x).name` can be a call of it.
    field: bool,
    /// Whether `x.name` with a relation x can be.
    column: bool,
    meaning: Arc<Meaning>,
}

/// A view.
#[derive(Debug, PartialEq)]
struct View {
    schema: Arc<str>,
    /// What reading it does, beside reading it.
    effects: Vec<Effect>,
}

/// An operator or a type, with what using it calls.
#[derive(Debug, PartialEq)]
struct Named {
    schema: Arc<str>,
    name: Arc<str>,
    meaning: Arc<Meaning>,
}

/// How much is known: for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// User functions.
    pub functions: usize,
    /// Those of them that are safe.
    pub safe: usize,
    /// Views.
    pub views: usize,
}

/// Whether effects change what a catalog says: what this text itself does to names is not in it.
pub fn is_changed_by<'e>(mut effects: impl Iterator<Item = &'e Effect>) -> bool {
    effects.any(|effect| {
        matches!(
            effect.class,
            Class::DdlAdditive
                | Class::DdlLocking
                | Class::DdlDestructive
                | Class::Privilege
                | Class::Procedure
                | Class::Server
                | Class::Unknown
                | Class::Unparsed
        )
    })
}

impl Catalog {
    /// The same catalog where its definitions may have changed since: no user function is safe.
    #[must_use]
    pub fn doubted(&self) -> Catalog {
        Catalog { known: Arc::clone(&self.known), doubted: true }
    }

    /// Whether its definitions may have changed.
    pub fn is_doubted(&self) -> bool {
        self.doubted
    }

    /// How much is known.
    pub fn size(&self) -> Size {
        let routines = || self.known.functions.values().flatten();
        Size {
            functions: routines().count(),
            safe: routines().filter(|routine| routine.meaning.class == Class::FunctionSafe).count(),
            views: self.known.views.values().map(Vec::len).sum(),
        }
    }

    /// Adds to a reading what its names mean in this database.
    pub fn widen(&self, reading: &mut Reading) {
        let doubted = self.doubted || is_changed_by(reading.effects.iter().map(|(effect, _)| effect));
        let mut widening = Widening { catalog: self, doubted, effects: BTreeMap::new() };
        for (effect, origin) in std::mem::take(&mut reading.effects) {
            widening.effect(effect, origin);
        }
        widening.loose(&reading.loose);
        reading.effects = widening.effects.into_values().collect();
    }

    fn routines(&self, schema: Option<&str>, name: &str) -> impl Iterator<Item = &Routine> {
        let all = self.known.functions.get(name).map(Vec::as_slice).unwrap_or_default();
        all.iter().filter(move |routine| schema.is_none_or(|schema| *routine.schema == *schema))
    }

    fn is_enum(&self, object: &Object) -> bool {
        let schema = object.schema.as_deref().unwrap_or_default();
        self.known.enums.contains(&(schema.into(), object.name.as_str().into()))
    }

    fn views(&self, object: &Object) -> impl Iterator<Item = &View> {
        let all = self.known.views.get(object.name.as_str()).map(Vec::as_slice).unwrap_or_default();
        all.iter().filter(|view| object.schema.as_deref().is_none_or(|schema| *view.schema == *schema))
    }
}

/// The class of a name among its candidates: the worst of them, and of the built-in that a bare name can mean too.
fn worst(schema: Option<&str>, name: &str, candidates: &[&Meaning]) -> Option<Meaning> {
    let mut found = candidates.iter().copied().max_by_key(|meaning| meaning.class)?.clone();
    found.reads = candidates.iter().flat_map(|meaning| meaning.reads.iter().cloned()).collect();
    let written = functions::classify(schema, name);
    let is_own = functions::known(name).is_none_or(|function| !function.sources.split(',').any(|one| one == "core"));
    let counts = schema.is_none() && !is_own;
    if written > found.class && (counts || written > Class::FunctionVolatile) {
        found.class = written;
        found.why = Cow::Borrowed("");
    }
    Some(found)
}

/// A reading being widened.
struct Widening<'c> {
    catalog: &'c Catalog,
    doubted: bool,
    effects: BTreeMap<(Class, Option<Object>), (Effect, Origin)>,
}

impl Widening<'_> {
    /// What the statement itself does stands before what it does through something else.
    fn put(&mut self, effect: Effect, origin: Origin) {
        match self.effects.entry((effect.class, effect.object.clone())) {
            Entry::Occupied(mut found) if found.get().0.inside && !effect.inside => {
                drop(found.insert((effect, origin)))
            }
            Entry::Occupied(_) => {}
            Entry::Vacant(place) => drop(place.insert((effect, origin))),
        }
    }

    fn effect(&mut self, effect: Effect, origin: Origin) {
        match (&effect.object, effect.class) {
            (Some(object), Class::FunctionSafe | Class::FunctionVolatile) if object.kind == ObjectKind::Function => {
                self.call(effect, origin);
            }
            (Some(object), class) if object.kind == ObjectKind::Relation && is_access(class) => {
                self.access(&object.clone(), &effect, origin);
                self.put(effect, origin);
            }
            _ => self.put(effect, origin),
        }
    }

    /// A call of a function, or the use of an operator or type that is written with its schema.
    fn call(&mut self, mut effect: Effect, origin: Origin) {
        let Some(object) = effect.object.clone() else { return };
        if effect.act.starts_with("cast to ") && !self.doubted && self.catalog.is_enum(&object) {
            effect.class = Class::FunctionSafe;
            effect.hint = None;
        }
        let candidates: Vec<&Meaning> =
            self.catalog.routines(object.schema.as_deref(), &object.name).map(|routine| &*routine.meaning).collect();
        if effect.act.starts_with("call of ")
            && let Some(mut meaning) = worst(object.schema.as_deref(), &object.name, &candidates)
        {
            self.doubt(&mut meaning);
            self.reads(&meaning.reads, &object.to_string(), origin);
            effect.class = meaning.class;
            effect.hint = (!meaning.why.is_empty()).then_some(meaning.why).or(effect.hint);
        }
        self.put(effect, origin);
    }

    fn doubt(&self, meaning: &mut Meaning) {
        if self.doubted && meaning.class == Class::FunctionSafe {
            meaning.class = Class::FunctionVolatile;
            meaning.why = Cow::Borrowed("what it does may have just changed, and is not known yet");
        }
    }

    /// What a definition reads counts as read, so that a rule on a relation is not dodged by a function or a view over it.
    fn reads(&mut self, reads: &BTreeSet<Object>, through: &str, origin: Origin) {
        for object in reads {
            let mut effect = Effect::new(Class::Read, "SELECT").on(object.clone()).hint(format!("{through} reads it"));
            effect.inside = true;
            self.put(effect, origin);
        }
    }

    /// Reading or writing a relation that is a view is reading or writing what lies below it.
    fn access(&mut self, object: &Object, access: &Effect, origin: Origin) {
        let catalog = self.catalog;
        for below in catalog.views(object).flat_map(|view| &view.effects) {
            let mut effect = below.clone();
            if effect.class == Class::Read && access.class != Class::Read {
                effect.class = access.class;
                effect.act.clone_from(&access.act);
            }
            if self.doubted && effect.class == Class::FunctionSafe {
                effect.class = Class::FunctionVolatile;
            }
            effect.span = access.span;
            effect.inside = true;
            self.put(effect, origin);
        }
    }

    fn loose(&mut self, loose: &crate::sql::Loose) {
        let known = Arc::clone(&self.catalog.known);
        let columns =
            loose.columns.iter().map(|name| (name, true)).chain(loose.fields.iter().map(|name| (name, false)));
        for (name, column) in columns {
            let routines = known.functions.get(name.as_str()).map(Vec::as_slice).unwrap_or_default();
            for routine in routines.iter().filter(|routine| if column { routine.column } else { routine.field }) {
                let object = object(&routine.schema, name);
                self.use_of(format!("call of {object}"), object, &routine.meaning);
            }
        }
        let found = |index: &HashMap<Arc<str>, Vec<Named>>, names: &BTreeSet<String>| -> Vec<(Object, Arc<Meaning>)> {
            let named = names.iter().filter_map(|name| index.get(name.as_str())).flatten();
            named.map(|named| (object(&named.schema, &named.name), Arc::clone(&named.meaning))).collect()
        };
        for (object, meaning) in found(&known.operators, &loose.operators) {
            self.use_of(format!("operator {object}"), object, &meaning);
        }
        for (object, meaning) in found(&known.types, &loose.types) {
            self.use_of(format!("cast to {object}"), object, &meaning);
        }
    }

    /// Something that may be called without being written as a call. What is safe is not worth telling.
    fn use_of(&mut self, act: String, object: Object, meaning: &Meaning) {
        let mut meaning = meaning.clone();
        self.doubt(&mut meaning);
        self.reads(&meaning.reads, &object.to_string(), Origin::Postgres);
        if meaning.class != Class::FunctionSafe {
            let mut effect = Effect::new(meaning.class, act).on(object);
            effect.hint = (!meaning.why.is_empty()).then_some(meaning.why);
            self.put(effect, Origin::Postgres);
        }
    }
}

fn object(schema: &str, name: &str) -> Object {
    Object { kind: ObjectKind::Function, schema: Some(schema.to_owned()), name: name.to_owned() }
}

/// Whether a class reads or writes the rows of a relation.
fn is_access(class: Class) -> bool {
    matches!(
        class,
        Class::Read
            | Class::WriteInsert
            | Class::WriteUpdate
            | Class::WriteDelete
            | Class::WriteMerge
            | Class::WriteCopy
            | Class::WriteLock
            | Class::DestroyDeleteAll
            | Class::DestroyUpdateAll
            | Class::DestroyTruncate
    )
}
