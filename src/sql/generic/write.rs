//! What writes rows: INSERT, UPDATE, DELETE, MERGE, COPY, TRUNCATE, LOCK.

use sqlparser::ast::{
    CopySource, CopyTarget, Delete, FromTable, Insert, Lock, LockTableMode, Merge, MergeAction, MergeClause,
    MergeClauseKind, OnConflictAction, OnInsert, TableFactor, TableObject, TableWithJoins, Truncate, Update,
    UpdateTableFromKind,
};

use super::names;
use super::restrict::{self, Target, Truth};
use super::walk::Walker;
use crate::sql::effect::{Class, Effect, Object};

const NO_WHERE: &str = "add a WHERE that restricts the rows";

impl Walker {
    pub fn insert(&mut self, insert: &Insert) {
        let foreign = insert.overwrite
            || insert.replace_into
            || insert.or.is_some()
            || insert.ignore
            || insert.multi_table_insert_type.is_some()
            || !insert.assignments.is_empty();
        let TableObject::TableName(name) = &insert.table else { return self.unknown("INSERT") };
        if foreign {
            self.unknown("INSERT");
        }
        if let Some(source) = &insert.source {
            self.inserts(source);
        }
        let table = names::relation(name);
        self.touch(Class::WriteInsert, "INSERT", table.clone());
        match &insert.on {
            None => {}
            Some(OnInsert::OnConflict(conflict)) => match &conflict.action {
                OnConflictAction::DoNothing => {}
                OnConflictAction::DoUpdate(_) => self.touch(Class::WriteUpdate, "INSERT ON CONFLICT DO UPDATE", table),
            },
            // ON DUPLICATE KEY of another dialect, and what is still to come (the enum is non-exhaustive).
            Some(_) => self.unknown("INSERT"),
        }
    }

    pub fn update(&mut self, update: &Update) {
        let from = match &update.from {
            Some(UpdateTableFromKind::BeforeSet(from) | UpdateTableFromKind::AfterSet(from)) => from.as_slice(),
            None => &[],
        };
        let Some(mut target) = self.target(&update.table, from) else { return self.unknown("UPDATE") };
        if update.or.is_some() || update.limit.is_some() {
            self.unknown("UPDATE");
        }
        target.join(update.selection.as_ref());
        let class = if restrict::restricts(update.selection.as_ref(), &target) {
            (Class::WriteUpdate, "UPDATE")
        } else if update.selection.is_some() {
            (Class::DestroyUpdateAll, "UPDATE with a WHERE that restricts nothing")
        } else {
            (Class::DestroyUpdateAll, "UPDATE without WHERE")
        };
        self.writes(class, target.object);
    }

    pub fn delete(&mut self, delete: &Delete) {
        if !delete.tables.is_empty() || delete.limit.is_some() || !delete.order_by.is_empty() {
            self.unknown("DELETE");
        }
        let (FromTable::WithFromKeyword(tables) | FromTable::WithoutKeyword(tables)) = &delete.from;
        for table in tables {
            let Some(mut target) = self.target(table, delete.using.as_deref().unwrap_or(&[])) else {
                self.unknown("DELETE");
                continue;
            };
            target.join(delete.selection.as_ref());
            let class = if restrict::restricts(delete.selection.as_ref(), &target) {
                (Class::WriteDelete, "DELETE")
            } else if delete.selection.is_some() {
                (Class::DestroyDeleteAll, "DELETE with a WHERE that restricts nothing")
            } else {
                (Class::DestroyDeleteAll, "DELETE without WHERE")
            };
            self.writes(class, target.object);
        }
    }

    fn writes(&mut self, (class, act): (Class, &'static str), table: Object) {
        let effect = Effect::new(class, act).on(table);
        let whole = matches!(class, Class::DestroyDeleteAll | Class::DestroyUpdateAll);
        self.add(if whole { effect.hint(NO_WHERE) } else { effect });
    }

    /// The table that UPDATE or DELETE writes to; `None` where it is not a plain one.
    fn target(&mut self, table: &TableWithJoins, from: &[TableWithJoins]) -> Option<Target> {
        if !table.joins.is_empty() {
            return None;
        }
        self.target_factor(&table.relation, from.iter().filter(|from| from.joins.is_empty()).map(|from| &from.relation))
    }

    fn target_factor<'a>(
        &mut self,
        factor: &TableFactor,
        from: impl Iterator<Item = &'a TableFactor>,
    ) -> Option<Target> {
        let (object, alias) = names::named_relation(factor)?;
        self.write_to(factor);
        let twins = from
            .filter_map(names::named_relation)
            .filter(|(other, _)| *other == object)
            .map(|(other, alias)| alias.unwrap_or(other.name))
            .collect();
        let shadowed = self.is_cte(&Object { schema: None, ..object.clone() });
        Some(Target { object, alias, twins, joined: Vec::new(), shadowed })
    }

    pub fn merge(&mut self, merge: &Merge) {
        let Some(mut target) = self.target_factor(&merge.table, std::iter::once(&merge.source)) else {
            return self.unknown("MERGE");
        };
        self.touch(Class::WriteMerge, "MERGE", target.object.clone());
        target.join(Some(&merge.on));
        let joined = restrict::truth(&merge.on, &target);
        for clause in &merge.clauses {
            let restricted = restrict_clause(clause, joined, &target);
            match &clause.action {
                MergeAction::Insert(_) => self.touch(Class::WriteInsert, "MERGE INSERT", target.object.clone()),
                MergeAction::Update(_) if restricted => {
                    self.touch(Class::WriteUpdate, "MERGE UPDATE", target.object.clone());
                }
                MergeAction::Update(_) => {
                    self.touch(Class::DestroyUpdateAll, "MERGE UPDATE of every row", target.object.clone());
                }
                MergeAction::Delete { .. } if restricted => {
                    self.touch(Class::WriteDelete, "MERGE DELETE", target.object.clone());
                }
                MergeAction::Delete { .. } => {
                    self.touch(Class::DestroyDeleteAll, "MERGE DELETE of every row", target.object.clone());
                }
                MergeAction::DoNothing { .. } => {}
            }
        }
    }

    pub fn truncate(&mut self, truncate: &Truncate) {
        if truncate.partitions.is_some() || truncate.if_exists || truncate.on_cluster.is_some() {
            self.unknown("TRUNCATE");
        }
        for table in &truncate.table_names {
            self.touch(Class::DestroyTruncate, "TRUNCATE", names::relation(&table.name));
        }
    }

    pub fn copy(&mut self, source: &CopySource, to: bool, target: &CopyTarget) {
        // sqlparser takes whatever follows `COPY … FROM STDIN;` as the data, other statements included.
        let from_stdin = !to && matches!(target, CopyTarget::Stdin);
        self.misread |= from_stdin && self.several;
        let table = match source {
            CopySource::Table { table_name, .. } => Some(names::relation(table_name)),
            CopySource::Query(_) => None,
        };
        let (class, act) = match (to, target) {
            (true, CopyTarget::Stdout | CopyTarget::Stdin) => (Class::Read, "COPY TO STDOUT"),
            (false, CopyTarget::Stdin | CopyTarget::Stdout) => (Class::WriteCopy, "COPY FROM STDIN"),
            (true, CopyTarget::File { .. }) => (Class::Server, "COPY TO a file of the server"),
            (false, CopyTarget::File { .. }) => (Class::Server, "COPY FROM a file of the server"),
            (true, CopyTarget::Program { .. }) => (Class::Server, "COPY TO PROGRAM"),
            (false, CopyTarget::Program { .. }) => (Class::Server, "COPY FROM PROGRAM"),
        };
        let Some(table) = table else { return self.copy_query(class, act) };
        if class == Class::Server {
            let moved = if to { Class::Read } else { Class::WriteCopy };
            self.touch(moved, act, table.clone());
        }
        self.touch(class, act, table);
    }

    /// `COPY (query) TO …` gives out what its query gives, and does what its query does.
    fn copy_query(&mut self, class: Class, act: &'static str) {
        self.act(Class::Read, "COPY TO STDOUT");
        if class == Class::Server {
            self.act(class, act);
        }
    }

    pub fn lock(&mut self, lock: &Lock) {
        let class = if lock.lock_mode == Some(LockTableMode::AccessShare) { Class::Read } else { Class::WriteLock };
        for table in &lock.tables {
            self.touch(class, "LOCK TABLE", names::relation(&table.name));
        }
    }
}

/// Whether a WHEN clause of MERGE leaves rows of the target alone: by its own condition, or by the join where that depends on
/// the rows at all.
fn restrict_clause(clause: &MergeClause, joined: Truth, target: &Target) -> bool {
    let by_condition = clause.predicate.as_ref().is_some_and(|condition| restrict::restricts(Some(condition), target));
    let by_join = match clause.clause_kind {
        MergeClauseKind::Matched => matches!(joined, Truth::Varies | Truth::Never),
        MergeClauseKind::NotMatchedBySource => matches!(joined, Truth::Varies | Truth::Always),
        MergeClauseKind::NotMatched | MergeClauseKind::NotMatchedByTarget => true,
    };
    by_condition || by_join
}
