//! What definitions do, read by the readers that judge statements. Part of the catalog room.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use foldhash::{HashMap, HashMapExt};

use super::rows::{FunctionRow, NamedRow, ProgramRow, Rows, ViewRow};
use super::{Catalog, Known, Meaning, Name, Named, Routine, View, worst};
use crate::sql::settings::{self, SettingValue};
use crate::sql::{self, Class, Effect, Limits, Loose, Object, ObjectKind, Reading, functions};

/// Definitions are followed this deep through one another; what lies deeper is not known.
const DEEPEST: usize = 50;
/// Extensions whose volatile functions reach other servers, or run statements later and elsewhere.
const REACHING: &[&str] =
    &["aws_lambda", "aws_s3", "azure_storage", "http", "pg_background", "pg_cron", "pg_net", "pg_tle"];
/// Most relations that one definition is known to read; above it, what it does is not known.
const MOST_READS: usize = 2_000;

impl Catalog {
    /// A catalog of the server's answer. Takes as long as reading every definition takes.
    pub fn compile(rows: &Rows) -> Catalog {
        let mut compiler = Compiler::new(rows);
        let mut known = Known::default();
        for (index, row) in rows.functions.iter().enumerate().filter(|(_, row)| row.kind != "p") {
            let meaning = compiler.function(index, 0);
            let routine =
                Routine { schema: schema(&row.schema), field: row.field, column: row.field && row.of_row, meaning };
            known.functions.entry(row.name.as_str().into()).or_default().push(routine);
        }
        for (index, row) in rows.views.iter().enumerate() {
            let effects = compiler.view(index, 0).to_vec();
            known
                .views
                .entry(row.name.as_str().into())
                .or_default()
                .push(View { schema: schema(&row.schema), effects });
        }
        for row in &rows.programs {
            let effect = Effect::new(Class::FunctionDangerous, format!("reading {}.{}", row.schema, row.name));
            let effects = vec![effect.hint("it is a foreign table that runs a program on the server")];
            known
                .views
                .entry(row.name.as_str().into())
                .or_default()
                .push(View { schema: schema(&row.schema), effects });
        }
        compiler.named(&rows.operators, &mut known.operators);
        compiler.named(&rows.types, &mut known.types);
        known.enums = rows.enums.iter().map(|(of, name)| (schema(of), name.as_str().into())).collect();
        Catalog { known: Arc::new(known), doubted: false }
    }
}

/// A schema's name as SQL writes it: every session's own temporary one is `pg_temp`.
fn schema(name: &str) -> Arc<str> {
    match name.strip_prefix("pg_temp_") {
        Some(number) if !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) => "pg_temp".into(),
        _ => name.into(),
    }
}

/// What has been found out so far of one definition.
#[derive(Clone)]
enum Found<T> {
    Nothing,
    /// It is being read: whoever meets it now lies on a circle.
    InProgress,
    Done(T),
}

struct Compiler<'r> {
    rows: &'r Rows,
    functions: HashMap<&'r str, Vec<usize>>,
    views: HashMap<&'r str, Vec<usize>>,
    function_states: Vec<Found<Arc<Meaning>>>,
    view_states: Vec<Found<Arc<[Effect]>>>,
}

/// What a definition does, beside what it defines.
struct Body {
    meaning: Meaning,
    /// Calls and whatever else is not a read of a relation.
    others: Vec<Effect>,
}

fn volatile(why: impl Into<Cow<'static, str>>) -> Meaning {
    Meaning { class: Class::FunctionVolatile, why: why.into(), reads: BTreeSet::new() }
}

fn safe() -> Meaning {
    Meaning { class: Class::FunctionSafe, why: Cow::Borrowed(""), reads: BTreeSet::new() }
}

fn index<'r>(names: impl Iterator<Item = &'r str>) -> HashMap<&'r str, Vec<usize>> {
    let mut index: HashMap<&str, Vec<usize>> = HashMap::new();
    for (place, name) in names.enumerate() {
        index.entry(name).or_default().push(place);
    }
    index
}

impl<'r> Compiler<'r> {
    fn new(rows: &'r Rows) -> Compiler<'r> {
        Compiler {
            rows,
            functions: index(rows.functions.iter().map(|row| row.name.as_str())),
            views: index(rows.views.iter().map(|row| row.name.as_str())),
            function_states: vec![Found::Nothing; rows.functions.len()],
            view_states: vec![Found::Nothing; rows.views.len()],
        }
    }

    fn function(&mut self, index: usize, depth: usize) -> Arc<Meaning> {
        let rows = self.rows;
        let (Some(row), Some(state)) = (rows.functions.get(index), self.function_states.get_mut(index)) else {
            return Arc::new(volatile("it is not known"));
        };
        match state {
            Found::Done(meaning) => return Arc::clone(meaning),
            Found::InProgress => return Arc::new(volatile("it calls itself")),
            Found::Nothing if depth > DEEPEST => return Arc::new(volatile("its calls go too deep to follow")),
            Found::Nothing => *state = Found::InProgress,
        }
        let meaning = Arc::new(self.function_of(row, depth));
        if let Some(state) = self.function_states.get_mut(index) {
            *state = Found::Done(Arc::clone(&meaning));
        }
        meaning
    }

    fn function_of(&mut self, row: &FunctionRow, depth: usize) -> Meaning {
        // An aggregate's language is always `internal`, whoever made it, and whoever owns an extension may add it there.
        if row.kind == "a" {
            let calls = row.calls.as_deref().unwrap_or_default();
            return self.calls(calls, &row.owner, depth);
        }
        let from_extension = row.extension.as_deref().filter(|_| matches!(row.language.as_str(), "c" | "internal"));
        if let Some(extension) = from_extension {
            return extension_function(row, extension);
        }
        let body = row.definition.as_deref().map(|definition| self.body(definition, Some(row), depth));
        let mut meaning = body.map_or_else(|| volatile("its body cannot be read"), |body| body.meaning);
        if let Some(why) = label(row) {
            meaning.class = meaning.class.max(Class::FunctionVolatile);
            meaning.why = Cow::Owned(why);
        }
        meaning
    }

    /// Calls by schema and name, as an aggregate, an operator or a cast makes them.
    fn calls(&mut self, calls: &[(String, String)], owner: &str, depth: usize) -> Meaning {
        let mut all = safe();
        for (schema, name) in calls {
            let found = self.call(Some(schema), name, depth + 1);
            if found.class > all.class {
                all.class = found.class;
                let of = if owner.is_empty() { String::new() } else { format!(" (owner {owner})") };
                all.why = Cow::Owned(format!("it calls {schema}.{name}{of}"));
            }
            all.reads.extend(found.reads);
        }
        all
    }

    /// A call by name: the worst of whatever the name can mean.
    fn call(&mut self, written: Option<&str>, name: &str, depth: usize) -> Meaning {
        let rows = self.rows;
        let places = self.functions.get(name).cloned().unwrap_or_default();
        let fits = |place: &usize| {
            let row = rows.functions.get(*place).filter(|row| row.kind != "p");
            row.is_some_and(|row| written.is_none_or(|written| *schema(&row.schema) == *written))
        };
        let candidates: Vec<Arc<Meaning>> =
            places.into_iter().filter(fits).map(|place| self.function(place, depth)).collect();
        let candidates: Vec<&Meaning> = candidates.iter().map(|meaning| &**meaning).collect();
        let unknown = || Meaning { class: functions::classify(written, name), ..safe() };
        worst(written, name, &candidates).unwrap_or_else(unknown)
    }

    fn is_enum(&self, object: &Object) -> bool {
        let named = |(of, name): &(String, String)| object.name == *name && object.schema.as_deref() == Some(of);
        self.rows.enums.iter().any(named)
    }

    fn view(&mut self, index: usize, depth: usize) -> Arc<[Effect]> {
        let rows = self.rows;
        let opaque = |why: &'static str| -> Arc<[Effect]> {
            Arc::from([Effect::new(Class::Unknown, "reading a view whose definition is not known").hint(why)])
        };
        let (Some(row), Some(state)) = (rows.views.get(index), self.view_states.get_mut(index)) else {
            return opaque("it is not there");
        };
        match state {
            Found::Done(effects) => return Arc::clone(effects),
            Found::InProgress => return opaque("it reads itself"),
            Found::Nothing if depth > DEEPEST => return opaque("views on views go too deep to follow"),
            Found::Nothing => *state = Found::InProgress,
        }
        let effects = self.view_of(row, depth).map_or_else(|| opaque("it is too long to read"), Arc::from);
        if let Some(state) = self.view_states.get_mut(index) {
            *state = Found::Done(Arc::clone(&effects));
        }
        effects
    }

    fn view_of(&mut self, row: &ViewRow, depth: usize) -> Option<Vec<Effect>> {
        let body = self.body(row.definition.as_deref()?, None, depth);
        let through = format!("the view {}.{} reads it", schema(&row.schema), row.name);
        let read = |object: Object| Effect::new(Class::Read, "SELECT").on(object).hint(through.clone());
        let mut effects: Vec<Effect> = body.meaning.reads.into_iter().map(read).collect();
        // Reading a materialized view reads what was stored: nothing is called.
        effects.extend(body.others.into_iter().filter(|effect| !row.materialized || !is_call(effect.class)));
        (effects.len() <= MOST_READS).then_some(effects)
    }

    /// Reads a definition. `defined` is the function that it defines, whose CREATE is no effect of calling it.
    fn body(&mut self, definition: &str, defined: Option<&FunctionRow>, depth: usize) -> Body {
        let mut body = Body { meaning: safe(), others: Vec::new() };
        match sql::read(definition, &Limits::default()) {
            Ok(Reading { syntax_error: None, effects, loose, .. }) => {
                for (effect, _) in effects {
                    if !defined.is_some_and(|row| defines(&effect, row)) {
                        self.effect(&mut body, effect, depth);
                    }
                }
                self.loose(&mut body, &loose, depth);
            }
            Ok(_) | Err(_) => {
                body.meaning = volatile("its definition cannot be read");
                body.others.push(Effect::new(Class::Unknown, "a definition that cannot be read"));
            }
        }
        if body.meaning.reads.len() > MOST_READS {
            body.meaning = volatile("it reads too many relations to follow");
            body.others.push(Effect::new(Class::Unknown, "a definition that reads too many relations"));
        }
        body
    }

    fn effect(&mut self, body: &mut Body, effect: Effect, depth: usize) {
        match (&effect.object, effect.class) {
            (Some(object), Class::FunctionSafe | Class::FunctionVolatile) if object.kind == ObjectKind::Function => {
                if effect.act.starts_with("cast to ") && self.is_enum(object) {
                    return;
                }
                if !effect.act.starts_with("call of ") {
                    return body.does(effect);
                }
                let meaning = self.call(object.schema.as_deref(), &object.name, depth + 1);
                body.meaning.reads.extend(meaning.reads);
                body.does(Effect { class: meaning.class, ..effect });
            }
            (Some(object), class) if object.kind == ObjectKind::Relation => {
                self.relation(body, object, depth);
                if class != Class::Read {
                    body.does(effect);
                }
            }
            (_, Class::Read) => {}
            _ => body.does(effect),
        }
    }

    /// A relation that a definition touches, with what lies below it.
    fn relation(&mut self, body: &mut Body, object: &Object, depth: usize) {
        body.meaning.reads.insert(object.clone());
        let rows = self.rows;
        let same = |row: &ProgramRow| {
            row.name == object.name && object.schema.as_deref().is_none_or(|written| row.schema == written)
        };
        if rows.programs.iter().any(same) {
            body.does(Effect::new(Class::FunctionDangerous, format!("reading {object}, which runs a program")));
        }
        for place in self.views.get(object.name.as_str()).cloned().unwrap_or_default() {
            let fits = rows
                .views
                .get(place)
                .is_some_and(|row| object.schema.as_deref().is_none_or(|written| *schema(&row.schema) == *written));
            if !fits {
                continue;
            }
            for effect in self.view(place, depth + 1).iter() {
                match (&effect.object, effect.class) {
                    (Some(read), Class::Read) => drop(body.meaning.reads.insert(read.clone())),
                    _ => body.does(effect.clone()),
                }
            }
        }
    }

    /// Names that may call something.
    fn loose(&mut self, body: &mut Body, loose: &Loose, depth: usize) {
        let rows = self.rows;
        let mut calls: Vec<Name> = Vec::new();
        let columns =
            loose.columns.iter().map(|name| (name, true)).chain(loose.fields.iter().map(|name| (name, false)));
        for (name, column) in columns {
            let places = self.functions.get(name.as_str()).map(Vec::as_slice).unwrap_or_default();
            let called = places.iter().filter_map(|place| rows.functions.get(*place));
            let called = called.filter(|row| row.field && (row.of_row || !column));
            calls.extend(called.map(|row| (schema(&row.schema), row.name.as_str().into())));
        }
        let used = |rows: &'r [NamedRow], names: &BTreeSet<String>| {
            rows.iter().filter(|row| names.contains(&row.name)).collect::<Vec<&'r NamedRow>>()
        };
        let named = [used(&rows.operators, &loose.operators), used(&rows.types, &loose.types)].concat();
        for row in named {
            calls.extend(row.calls.iter().map(|(of, name)| (schema(of), name.as_str().into())));
            if !row.expressions.is_empty() {
                let meaning = self.named_of(row, depth + 1);
                body.merge(&row.schema, &row.name, meaning);
            }
        }
        for (schema, name) in calls {
            let meaning = self.call(Some(&schema), &name, depth + 1);
            body.merge(&schema, &name, meaning);
        }
    }

    fn named(&mut self, rows: &'r [NamedRow], known: &mut HashMap<Arc<str>, Vec<Named>>) {
        for row in rows {
            let (name, meaning): (Arc<str>, _) = (row.name.as_str().into(), Arc::new(self.named_of(row, 0)));
            let named = Named { schema: schema(&row.schema), name: Arc::clone(&name), meaning };
            known.entry(name).or_default().push(named);
        }
    }

    fn named_of(&mut self, row: &NamedRow, depth: usize) -> Meaning {
        if depth > DEEPEST {
            return volatile("its definition goes too deep to follow");
        }
        let mut all = self.calls(&row.calls, "", depth);
        for expression in &row.expressions {
            // A constraint as `pg_get_constraintdef` writes it stands in the definition of a domain.
            let definition = format!("CREATE DOMAIN d AS pg_catalog.text {expression}");
            let body = self.body_of_domain(&definition, depth);
            if body.class > all.class {
                all.class = body.class;
                all.why = body.why;
            }
            all.reads.extend(body.reads);
        }
        all
    }

    fn body_of_domain(&mut self, definition: &str, depth: usize) -> Meaning {
        let Ok(Reading { syntax_error: None, effects, loose, .. }) = sql::read(definition, &Limits::default()) else {
            return volatile("its constraint cannot be read");
        };
        let mut body = Body { meaning: safe(), others: Vec::new() };
        for (effect, _) in effects.into_iter().filter(|(effect, _)| effect.class != Class::DdlAdditive) {
            self.effect(&mut body, effect, depth + 1);
        }
        self.loose(&mut body, &loose, depth + 1);
        body.meaning
    }
}

impl Body {
    /// Something other than reading a relation.
    fn does(&mut self, effect: Effect) {
        if effect.class != Class::FunctionSafe && self.meaning.class == Class::FunctionSafe {
            let worse = if is_call(effect.class) { effect.class } else { Class::FunctionVolatile };
            self.meaning.class = self.meaning.class.max(worse);
            self.meaning.why = Cow::Owned(format!("its definition does more than read: {}", effect.act));
        } else if is_call(effect.class) {
            self.meaning.class = self.meaning.class.max(effect.class);
        }
        self.others.push(effect);
    }

    fn merge(&mut self, schema: &str, name: &str, meaning: Meaning) {
        self.meaning.reads.extend(meaning.reads);
        let object = Object { kind: ObjectKind::Function, schema: Some(schema.to_owned()), name: name.to_owned() };
        let act = format!("call of {object}");
        self.does(Effect::new(meaning.class, act).on(object));
    }
}

fn is_call(class: Class) -> bool {
    matches!(
        class,
        Class::FunctionSafe | Class::FunctionVolatile | Class::FunctionAdvisoryLock | Class::FunctionDangerous
    )
}

/// Whether an effect is the definition itself.
fn defines(effect: &Effect, row: &FunctionRow) -> bool {
    let own = effect.object.as_ref().is_some_and(|object| {
        object.kind == ObjectKind::Function
            && object.name == row.name
            && object.schema.as_deref().is_none_or(|written| written == row.schema)
    });
    own && effect.class == Class::DdlAdditive
}

/// A function of an extension in C: what the table of functions says of that extension's, else what its label says.
fn extension_function(row: &FunctionRow, extension: &str) -> Meaning {
    let listed = functions::known(&row.name).filter(|one| one.sources.split(',').any(|source| source == extension));
    let by_name = functions::classify(None, &row.name);
    match listed {
        Some(function) => Meaning { class: function.class, why: Cow::Borrowed(function.why), ..safe() },
        None if by_name > Class::FunctionVolatile => Meaning { class: by_name, ..safe() },
        None if row.volatility == "v" && REACHING.contains(&extension) => Meaning {
            class: Class::FunctionDangerous,
            why: Cow::Owned(format!("the extension {extension} reaches other servers, or runs statements later")),
            ..safe()
        },
        None if row.volatility == "v" => volatile(format!("the extension {extension} labels it VOLATILE")),
        None => safe(),
    }
}

/// Why a function is not safe whatever its body does.
fn label(row: &FunctionRow) -> Option<String> {
    let FunctionRow { owner, language, .. } = row;
    if row.kind != "f" {
        return Some("it is a window function of the database's own".to_owned());
    }
    if !matches!(language.as_str(), "sql" | "plpgsql") {
        return Some(format!("it is written in {language}, which cannot be read (owner {owner})"));
    }
    if schema(&row.schema).as_ref() == "pg_temp" {
        return Some("it is a temporary one: another session's may be there the next time".to_owned());
    }
    if row.definer {
        return Some(format!("it runs with the rights of its owner, {owner}"));
    }
    if row.volatility == "v" {
        return Some(format!("it is labelled VOLATILE (owner {owner})"));
    }
    let changes = |setting: &&String| {
        let (name, value) = setting.split_once('=').unwrap_or((setting, ""));
        settings::classify(name, SettingValue::Constant(value)) != Class::SessionSetting
    };
    row.settings.iter().flatten().find(changes).map(|setting| format!("it sets {setting} (owner {owner})"))
}

/// Effects by class and object, for tests and people.
impl std::fmt::Display for Catalog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut lines: BTreeMap<String, String> = BTreeMap::new();
        for (name, routines) in &self.known.functions {
            for routine in routines {
                lines.insert(
                    format!("{}.{name}", routine.schema),
                    format!("{} {}", routine.meaning.class.name(), routine.meaning.why),
                );
            }
        }
        lines.iter().try_for_each(|(name, line)| writeln!(f, "{name}: {line}"))
    }
}
