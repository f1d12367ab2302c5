//! The walk over the tree: scopes of WITH, relations read, and what each kind of node adds.

use std::ops::ControlFlow;
use std::ptr;

use sqlparser::ast::{
    Cte, Expr, LockClause, LockType, ObjectName, Query, Select, SetExpr, Statement, TableFactor, TableWithJoins, Visit,
    Visitor,
};

use super::{GenericReading, names};
use crate::sql::effect::{Class, Effect, Object, ObjectKind};
use crate::sql::system;

/// Everything the walk remembers.
#[derive(Default)]
pub struct Walker {
    /// What was found so far.
    pub effects: Vec<Effect>,
    /// Relations that this very text created: nothing else can be using them yet.
    pub created: Vec<Object>,
    /// How many function bodies deep this walk is.
    pub depth: usize,
    /// Whether the text holds more than one statement.
    pub several: bool,
    /// Whether sqlparser is known to have skipped words of the text.
    pub misread: bool,
    /// Inside a table's definition: `nextval` is what a default is for, and runs for those who insert.
    pub defining: bool,
    /// Table factors that are written to, not read. Only compared, never followed.
    targets: Vec<*const TableFactor>,
    /// Expressions that only look like calls. Only compared, never followed.
    not_calls: Vec<*const Expr>,
    scopes: Vec<Scope>,
    /// What each open statement began with.
    marks: Vec<Mark>,
    /// SELECTs and VALUES seen so far, but for the sources of INSERTs.
    queries: usize,
    /// The sources of INSERTs. Only compared, never followed.
    rows: Vec<*const Query>,
}

/// Where a statement began.
#[derive(Clone, Copy, Default)]
struct Mark {
    effects: usize,
    queries: usize,
}

/// The names that a query's WITH brings.
#[derive(Default)]
struct Scope {
    visible: Vec<String>,
    /// Without RECURSIVE a name is visible only behind its own query.
    pending: Vec<(*const Query, String)>,
    /// What [`Walker::defining`] was outside.
    defining: bool,
}

/// The effects of parsed statements, what was created before them being known; and what is known to be created after them.
pub fn effects_after(
    statements: &[Statement],
    depth: usize,
    several: bool,
    created: Vec<Object>,
) -> (GenericReading, Vec<Object>) {
    let mut walker = Walker { depth, several, created, ..Walker::default() };
    for statement in statements {
        let _ = statement.visit(&mut walker);
    }
    walker.effects.sort_unstable();
    walker.effects.dedup();
    (GenericReading { effects: walker.effects, read: !walker.misread }, walker.created)
}

impl Walker {
    /// Adds an effect.
    pub fn add(&mut self, effect: Effect) {
        let beside = system::beside(&effect);
        self.effects.push(effect);
        self.effects.extend(beside);
    }

    /// Adds an effect that touches `object`.
    pub fn touch(&mut self, class: Class, act: &'static str, object: Object) {
        self.add(Effect::new(class, act).on(object));
    }

    /// Adds an effect without an object.
    pub fn act(&mut self, class: Class, act: &'static str) {
        self.effects.push(Effect::new(class, act));
    }

    /// Something PostgreSQL does not have, or that nobody classified.
    pub fn unknown(&mut self, act: &'static str) {
        self.effects.push(Effect::new(Class::Unknown, act));
    }

    /// Marks a table factor as written to, so that it does not also count as read.
    pub fn write_to(&mut self, factor: &TableFactor) {
        self.targets.push(ptr::from_ref(factor));
    }

    /// Marks the source of an INSERT: what it reads are its relations.
    pub fn inserts(&mut self, source: &Query) {
        self.rows.push(ptr::from_ref(source));
        if let SetExpr::Query(inner) = source.body.as_ref() {
            self.inserts(inner);
        }
    }

    /// Marks an expression as no call, although sqlparser reads it as one.
    pub fn not_a_call(&mut self, expr: &Expr) {
        self.not_calls.push(ptr::from_ref(expr));
    }

    /// Whether the relation was created by this text.
    pub fn is_new(&self, object: &Object) -> bool {
        self.created.contains(object)
    }

    /// Whether a WITH gives this name to a query.
    pub fn is_cte(&self, object: &Object) -> bool {
        object.schema.is_none() && self.scopes.iter().any(|scope| scope.visible.contains(&object.name))
    }

    fn reads(&mut self, object: Object) {
        if !self.is_cte(&object) {
            self.touch(Class::Read, "SELECT", object);
        }
    }

    fn open(&mut self, query: &Query) {
        let mut scope = Scope { defining: self.defining, ..Scope::default() };
        self.defining = false;
        if reads_by_itself(&query.body) && !self.rows.iter().any(|rows| ptr::eq(*rows, query)) {
            self.queries += 1;
        }
        if let Some(with) = &query.with {
            let named = |cte: &Cte| (ptr::from_ref(&*cte.query), names::folded(&cte.alias.name));
            if with.recursive {
                scope.visible.extend(with.cte_tables.iter().map(|cte| named(cte).1));
            } else {
                scope.pending.extend(with.cte_tables.iter().map(named));
            }
        }
        self.scopes.push(scope);
    }

    fn close(&mut self, query: &Query) {
        if let Some(scope) = self.scopes.pop() {
            self.defining = scope.defining;
        }
        if let Some(outer) = self.scopes.last_mut()
            && let Some(at) = outer.pending.iter().position(|(pending, _)| ptr::eq(*pending, query))
        {
            let (_, name) = outer.pending.swap_remove(at);
            outer.visible.push(name);
        }
    }

    /// `TABLE name` anywhere in the set operations of a query. sqlparser keeps neither the quotes of the name nor the words
    /// that follow it.
    fn table_commands(&mut self, body: &SetExpr) {
        let mut open = vec![body];
        while let Some(body) = open.pop() {
            match body {
                SetExpr::SetOperation { left, right, .. } => open.extend([left.as_ref(), right.as_ref()]),
                SetExpr::Table(table) => {
                    self.misread = true;
                    let folded = |name: &Option<String>| name.as_ref().map(|name| name.to_ascii_lowercase());
                    let name = folded(&table.table_name).unwrap_or_default();
                    let object = Object { kind: ObjectKind::Relation, schema: folded(&table.schema_name), name };
                    self.queries += 1;
                    if !self.is_cte(&object) {
                        self.touch(Class::Read, "SELECT", object);
                    }
                }
                SetExpr::Select(_)
                | SetExpr::Query(_)
                | SetExpr::Values(_)
                | SetExpr::Insert(_)
                | SetExpr::Update(_)
                | SetExpr::Delete(_)
                | SetExpr::Merge(_) => {}
            }
        }
    }

    fn locks(&mut self, query: &Query) {
        for lock in &query.locks {
            let act = match lock.lock_type {
                LockType::Share => "SELECT FOR SHARE",
                LockType::Update => "SELECT FOR UPDATE",
            };
            let mut locked = Vec::new();
            lockable(&query.body, lock, &mut locked);
            locked.retain(|object| !self.is_cte(object));
            if locked.is_empty() {
                self.act(Class::WriteLock, act);
            }
            for object in locked {
                self.touch(Class::WriteLock, act, object);
            }
        }
    }

    fn select(&mut self, select: &Select) {
        if let Some(into) = &select.into {
            for target in &into.targets {
                let name = match target {
                    Expr::Identifier(ident) => ObjectName::from(vec![ident.clone()]),
                    Expr::CompoundIdentifier(idents) => ObjectName::from(idents.clone()),
                    _ => {
                        self.unknown("SELECT INTO");
                        continue;
                    }
                };
                let object = names::relation(&name);
                self.created.push(object.clone());
                self.touch(Class::DdlAdditive, "SELECT INTO", object);
            }
        }
        let foreign = !select.lateral_views.is_empty()
            || select.prewhere.is_some()
            || !select.connect_by.is_empty()
            || !select.cluster_by.is_empty()
            || !select.distribute_by.is_empty()
            || !select.sort_by.is_empty()
            || select.qualify.is_some()
            || select.top.is_some()
            || select.value_table_mode.is_some();
        if foreign {
            self.unknown("SELECT");
        }
    }

    fn table_factor(&mut self, factor: &TableFactor) {
        match factor {
            TableFactor::Table { args: None, .. } => {
                let target = self.targets.iter().any(|target| ptr::eq(*target, factor));
                if let (Some((object, _)), false) = (names::named_relation(factor), target) {
                    self.reads(object);
                }
            }
            TableFactor::Table { name, args: Some(args), .. } => self.call(name, Some(&args.args)),
            TableFactor::Function { name, args, .. } => self.call(name, Some(args)),
            TableFactor::UNNEST { .. } => self.plain_call("unnest"),
            TableFactor::Derived { .. }
            | TableFactor::NestedJoin { .. }
            | TableFactor::JsonTable { .. }
            | TableFactor::XmlTable { .. } => {}
            TableFactor::TableFunction { .. }
            | TableFactor::OpenJsonTable { .. }
            | TableFactor::Pivot { .. }
            | TableFactor::Unpivot { .. }
            | TableFactor::UnpivotExpr { .. }
            | TableFactor::MatchRecognize { .. }
            | TableFactor::SemanticView { .. } => self.unknown("FROM"),
        }
    }

    /// EXPLAIN without ANALYZE plans the statement only: it reads what it names, and planning can run functions.
    fn explained(&mut self, mark: usize) {
        let inner = self.effects.split_off(mark);
        self.act(Class::Read, "EXPLAIN");
        for effect in inner {
            match effect.class {
                Class::FunctionSafe
                | Class::FunctionVolatile
                | Class::FunctionAdvisoryLock
                | Class::FunctionDangerous
                | Class::SessionSetting
                | Class::SessionIdentity
                | Class::SessionPinned
                | Class::Notify
                | Class::Unknown => self.add(effect),
                _ => {
                    let relation = effect.object.filter(|object| object.kind == ObjectKind::Relation);
                    if let Some(relation) = relation {
                        self.touch(Class::Read, "EXPLAIN", relation);
                    }
                }
            }
        }
    }

    /// A statement that reads says so even where it names no relation; EXPLAIN turns what is not run into reads.
    fn finish(&mut self, statement: &Statement, mark: Mark) {
        let own = self.effects.get(mark.effects..).unwrap_or_default();
        let quiet = own.iter().all(|effect| effect.class != Class::Read);
        match statement {
            Statement::Explain { .. } if !super::statement::executes(statement) => self.explained(mark.effects),
            Statement::Explain { .. } => self.act(Class::Read, "EXPLAIN"),
            _ if quiet && self.marks.is_empty() && self.queries > mark.queries => self.act(Class::Read, "SELECT"),
            _ => {}
        }
    }
}

/// Whether a query is a SELECT, VALUES or TABLE rather than `WITH … INSERT/UPDATE/DELETE/MERGE`.
fn reads_by_itself(body: &SetExpr) -> bool {
    match body {
        SetExpr::Select(_)
        | SetExpr::Query(_)
        | SetExpr::SetOperation { .. }
        | SetExpr::Values(_)
        | SetExpr::Table(_) => true,
        SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) => false,
    }
}

/// The relations of a query that a row lock takes: those of FROM, or the one that OF names.
fn lockable(body: &SetExpr, lock: &LockClause, locked: &mut Vec<Object>) {
    let SetExpr::Select(select) = body else { return };
    let wanted = lock.of.as_ref().map(|of| names::qualified(of).1);
    for TableWithJoins { relation, joins } in &select.from {
        for factor in std::iter::once(relation).chain(joins.iter().map(|join| &join.relation)) {
            if let Some((object, alias)) = names::named_relation(factor) {
                let known_as = alias.as_ref().unwrap_or(&object.name);
                if wanted.as_ref().is_none_or(|wanted| wanted == known_as) {
                    locked.push(object);
                }
            }
            if let TableFactor::Derived { subquery, .. } = factor {
                lockable(&subquery.body, lock, locked);
            }
        }
    }
}

impl Visitor for Walker {
    type Break = ();

    fn pre_visit_statement(&mut self, statement: &Statement) -> ControlFlow<()> {
        self.marks.push(Mark { effects: self.effects.len(), queries: self.queries });
        self.statement(statement);
        ControlFlow::Continue(())
    }

    fn post_visit_statement(&mut self, statement: &Statement) -> ControlFlow<()> {
        let mark = self.marks.pop().unwrap_or_default();
        self.finish(statement, mark);
        self.defining = false;
        ControlFlow::Continue(())
    }

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        self.open(query);
        self.table_commands(&query.body);
        let foreign = query.for_clause.is_some()
            || query.settings.is_some()
            || query.format_clause.is_some()
            || !query.pipe_operators.is_empty();
        if foreign {
            self.unknown("SELECT");
        }
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        self.locks(query);
        self.close(query);
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        self.select(select);
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        self.table_factor(factor);
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if !self.not_calls.iter().any(|other| ptr::eq(*other, expr)) {
            self.expression(expr);
        }
        ControlFlow::Continue(())
    }
}
