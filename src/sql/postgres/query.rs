//! SELECT, INSERT, UPDATE, DELETE, MERGE and what stands in their clauses. Room of the postgres reader.

use pg_query::protobuf as pb;
use pg_query::{Node, NodeEnum};

use super::names;
use super::target::Target;
use super::trial::Steps;
use super::truth;
use super::walker::Walker;
use crate::sql::effect::{Class, Effect, ObjectKind};

/// The safer way to a statement that touches every row.
const RESTRICT: &str = "it touches every row of the table: no WHERE restricts it";

impl Walker<'_> {
    /// SELECT, VALUES, TABLE and set operations of them.
    pub(super) fn select(&mut self, select: &pb::SelectStmt) {
        self.add(Effect::new(Class::Read, "SELECT"));
        self.select_parts(select);
    }

    /// The source of an INSERT: what it reads are its relations.
    pub(super) fn source(&mut self, node: &Option<Box<Node>>) {
        match node.as_deref().and_then(|node| node.node.as_ref()) {
            Some(NodeEnum::SelectStmt(select)) => self.select_parts(select),
            Some(_) | None => self.boxed(node),
        }
    }

    fn select_parts(&mut self, select: &pb::SelectStmt) {
        let scope = self.enter(select.with_clause.as_ref());
        self.nodes(&select.distinct_clause);
        if let Some(into) = &select.into_clause {
            self.into(into);
        }
        self.nodes(&select.target_list);
        self.nodes(&select.from_clause);
        self.boxed(&select.where_clause);
        self.nodes(&select.group_clause);
        self.boxed(&select.having_clause);
        self.nodes(&select.window_clause);
        self.nodes(&select.values_lists);
        self.nodes(&select.sort_clause);
        self.boxed(&select.limit_offset);
        self.boxed(&select.limit_count);
        for side in [&select.larg, &select.rarg].into_iter().flatten() {
            self.select_parts(side);
        }
        self.row_locks(select);
        self.leave(scope);
    }

    /// SELECT … INTO, and the target of CREATE TABLE AS.
    pub(super) fn into(&mut self, into: &pb::IntoClause) {
        if let Some(range) = &into.rel {
            let object = names::relation(range);
            self.add_at(Effect::new(Class::DdlAdditive, "CREATE TABLE AS").on(object), range.location);
        }
        self.nodes(&into.options);
    }

    /// FOR UPDATE, FOR SHARE and their kin lock rows of the relations they name, or of all in FROM.
    fn row_locks(&mut self, select: &pb::SelectStmt) {
        if select.locking_clause.is_empty() {
            return;
        }
        let mut relations = Vec::new();
        from_relations(&select.from_clause, &mut relations);
        relations.retain(|range| !self.is_cte(range));
        if relations.is_empty() {
            self.add(Effect::new(Class::WriteLock, "SELECT FOR UPDATE"));
        }
        for range in relations {
            let effect = Effect::new(Class::WriteLock, "SELECT FOR UPDATE").on(names::relation(range));
            self.add_at(effect, range.location);
        }
    }

    /// Reads a WITH clause and brings its names into scope; answers what `leave` needs.
    pub(super) fn enter(&mut self, with: Option<&pb::WithClause>) -> usize {
        let scope = self.ctes.len();
        let Some(with) = with else { return scope };
        let tables = || with.ctes.iter().filter_map(common_table);
        if with.recursive {
            self.ctes.extend(tables().map(|table| table.ctename.clone()));
        }
        for table in tables() {
            self.common_table(table);
            if !with.recursive {
                self.ctes.push(table.ctename.clone());
            }
        }
        scope
    }

    /// Takes the names of a WITH clause out of scope.
    pub(super) fn leave(&mut self, scope: usize) {
        self.ctes.truncate(scope);
    }

    /// One query of a WITH clause.
    pub(super) fn common_table(&mut self, table: &pb::CommonTableExpr) {
        self.boxed(&table.ctequery);
        if let Some(cycle) = &table.cycle_clause {
            self.pair(&cycle.cycle_mark_value, &cycle.cycle_mark_default);
        }
    }

    fn is_cte(&self, range: &pb::RangeVar) -> bool {
        range.schemaname.is_empty() && self.ctes.contains(&range.relname)
    }

    /// A relation in FROM: read, unless the name is one of the statement's own.
    pub(super) fn source_relation(&mut self, range: &pb::RangeVar) {
        if !self.is_cte(range) {
            self.reads(range);
        }
    }

    /// A relation that is read whatever names are in scope.
    pub(super) fn reads(&mut self, range: &pb::RangeVar) {
        self.add_at(Effect::new(Class::Read, "SELECT").on(names::relation(range)), range.location);
    }

    fn writes(&mut self, class: Class, act: &'static str, range: Option<&pb::RangeVar>, hint: Option<&'static str>) {
        let mut effect = Effect::new(class, act);
        if let Some(range) = range {
            effect = effect.on(names::relation(range));
        }
        if let Some(hint) = hint {
            effect = effect.hint(hint);
        }
        self.add_at(effect, range.map_or(-1, |range| range.location));
    }

    /// INSERT.
    pub(super) fn insert(&mut self, insert: &pb::InsertStmt) {
        let scope = self.enter(insert.with_clause.as_ref());
        self.writes(Class::WriteInsert, "INSERT", insert.relation.as_ref(), None);
        self.nodes(&insert.cols);
        self.source(&insert.select_stmt);
        if let Some(conflict) = &insert.on_conflict_clause {
            if conflict.action() == pb::OnConflictAction::OnconflictUpdate {
                self.writes(Class::WriteUpdate, "INSERT ON CONFLICT DO UPDATE", insert.relation.as_ref(), None);
            }
            self.on_conflict(conflict);
        }
        self.returning(insert.returning_clause.as_ref());
        self.leave(scope);
    }

    /// ON CONFLICT: its expressions.
    pub(super) fn on_conflict(&mut self, conflict: &pb::OnConflictClause) {
        if let Some(infer) = &conflict.infer {
            self.infer(infer);
        }
        self.nodes(&conflict.target_list);
        self.boxed(&conflict.where_clause);
    }

    /// The index that ON CONFLICT infers.
    pub(super) fn infer(&mut self, infer: &pb::InferClause) {
        self.nodes(&infer.index_elems);
        self.boxed(&infer.where_clause);
    }

    fn returning(&mut self, clause: Option<&pb::ReturningClause>) {
        if let Some(clause) = clause {
            self.nodes(&clause.exprs);
        }
    }

    /// UPDATE.
    pub(super) fn update(&mut self, update: &pb::UpdateStmt) {
        let scope = self.enter(update.with_clause.as_ref());
        let (beside, with) = (&update.from_clause, update.with_clause.as_ref());
        let target = Target::new(update.relation.as_ref(), beside, with, &self.steps);
        match truth::restricts(update.where_clause.as_deref(), &target) {
            true => self.writes(Class::WriteUpdate, "UPDATE", update.relation.as_ref(), None),
            false => {
                let act = all_rows_act(&update.where_clause, "UPDATE without WHERE", "UPDATE of every row");
                self.writes(Class::DestroyUpdateAll, act, update.relation.as_ref(), Some(RESTRICT));
            }
        }
        self.nodes(&update.target_list);
        self.nodes(&update.from_clause);
        self.boxed(&update.where_clause);
        self.returning(update.returning_clause.as_ref());
        self.leave(scope);
    }

    /// DELETE.
    pub(super) fn delete(&mut self, delete: &pb::DeleteStmt) {
        let scope = self.enter(delete.with_clause.as_ref());
        let (beside, with) = (&delete.using_clause, delete.with_clause.as_ref());
        let target = Target::new(delete.relation.as_ref(), beside, with, &self.steps);
        match truth::restricts(delete.where_clause.as_deref(), &target) {
            true => self.writes(Class::WriteDelete, "DELETE", delete.relation.as_ref(), None),
            false => {
                let act = all_rows_act(&delete.where_clause, "DELETE without WHERE", "DELETE of every row");
                self.writes(Class::DestroyDeleteAll, act, delete.relation.as_ref(), Some(RESTRICT));
            }
        }
        self.nodes(&delete.using_clause);
        self.boxed(&delete.where_clause);
        self.returning(delete.returning_clause.as_ref());
        self.leave(scope);
    }

    /// MERGE: itself, and each of its actions.
    pub(super) fn merge(&mut self, merge: &pb::MergeStmt) {
        let scope = self.enter(merge.with_clause.as_ref());
        self.writes(Class::WriteMerge, "MERGE", merge.relation.as_ref(), None);
        for clause in merge.merge_when_clauses.iter().filter_map(when_clause) {
            self.merge_action(merge, clause);
            self.merge_when(clause);
        }
        self.boxed(&merge.source_relation);
        self.boxed(&merge.join_condition);
        self.returning(merge.returning_clause.as_ref());
        self.leave(scope);
    }

    fn merge_action(&mut self, merge: &pb::MergeStmt, clause: &pb::MergeWhenClause) {
        let relation = merge.relation.as_ref();
        let restricted = merge_restricts(merge, clause, &self.steps);
        match (clause.command_type(), restricted) {
            (pb::CmdType::CmdInsert, _) => self.writes(Class::WriteInsert, "MERGE … INSERT", relation, None),
            (pb::CmdType::CmdUpdate, true) => self.writes(Class::WriteUpdate, "MERGE … UPDATE", relation, None),
            (pb::CmdType::CmdDelete, true) => self.writes(Class::WriteDelete, "MERGE … DELETE", relation, None),
            (pb::CmdType::CmdUpdate, false) => {
                self.writes(Class::DestroyUpdateAll, "MERGE … UPDATE of every row", relation, Some(RESTRICT));
            }
            (pb::CmdType::CmdDelete, false) => {
                self.writes(Class::DestroyDeleteAll, "MERGE … DELETE of every row", relation, Some(RESTRICT));
            }
            (pb::CmdType::CmdNothing, _) => {}
            (
                pb::CmdType::Undefined
                | pb::CmdType::CmdUnknown
                | pb::CmdType::CmdSelect
                | pb::CmdType::CmdMerge
                | pb::CmdType::CmdUtility,
                _,
            ) => self.unknown("MERGE with an action pgwarden does not know"),
        }
    }

    /// The expressions of one WHEN clause.
    pub(super) fn merge_when(&mut self, clause: &pb::MergeWhenClause) {
        self.boxed(&clause.condition);
        self.nodes(&clause.target_list);
        self.nodes(&clause.values);
    }

    /// A join in FROM.
    pub(super) fn join(&mut self, join: &pb::JoinExpr) {
        self.boxed(&join.larg);
        self.boxed(&join.rarg);
        self.boxed(&join.quals);
        if join.is_natural || !join.using_clause.is_empty() {
            self.loose.operators.insert("=".to_owned());
        }
    }

    /// A function in FROM: each item is the call and its column definitions.
    pub(super) fn range_function(&mut self, range: &pb::RangeFunction) {
        self.nodes(&range.functions);
        self.nodes(&range.coldeflist);
    }

    /// TABLESAMPLE: the method is a function; the two built in are harmless.
    pub(super) fn table_sample(&mut self, sample: &pb::RangeTableSample) {
        self.boxed(&sample.relation);
        let method = names::words(&sample.method);
        if !matches!(method.as_slice(), ["bernoulli" | "system"] | ["pg_catalog", "bernoulli" | "system"]) {
            let object = names::qualified(ObjectKind::Function, &method);
            self.touch(Class::FunctionVolatile, "TABLESAMPLE by a method that is not built in", object);
        }
        self.nodes(&sample.args);
        self.boxed(&sample.repeatable);
    }

    /// XMLTABLE.
    pub(super) fn xml_table(&mut self, table: &pb::RangeTableFunc) {
        self.boxed(&table.docexpr);
        self.boxed(&table.rowexpr);
        self.nodes(&table.namespaces);
        self.nodes(&table.columns);
    }

    /// A column of XMLTABLE.
    pub(super) fn xml_table_column(&mut self, column: &pb::RangeTableFuncCol) {
        self.maybe_type(column.type_name.as_ref());
        self.pair(&column.colexpr, &column.coldefexpr);
    }
}

fn all_rows_act(where_clause: &Option<Box<Node>>, without: &'static str, vacuous: &'static str) -> &'static str {
    if where_clause.is_none() { without } else { vacuous }
}

fn common_table(node: &Node) -> Option<&pb::CommonTableExpr> {
    match &node.node {
        Some(NodeEnum::CommonTableExpr(table)) => Some(table),
        _ => None,
    }
}

fn when_clause(node: &Node) -> Option<&pb::MergeWhenClause> {
    match &node.node {
        Some(NodeEnum::MergeWhenClause(clause)) => Some(clause),
        _ => None,
    }
}

/// Whether the rows that a WHEN clause acts on are restricted by the join condition or the clause's own condition.
fn merge_restricts(merge: &pb::MergeStmt, clause: &pb::MergeWhenClause, steps: &Steps) -> bool {
    let source = merge.source_relation.as_deref().map(std::slice::from_ref).unwrap_or_default();
    let target = Target::new(merge.relation.as_ref(), source, merge.with_clause.as_ref(), steps);
    let join = merge.join_condition.as_deref();
    let own = clause.condition.is_some() && truth::restricts(clause.condition.as_deref(), &target.joined_by(join));
    own || match clause.match_kind() {
        pb::MergeMatchKind::MergeWhenNotMatchedBySource => !truth::never(join),
        pb::MergeMatchKind::Undefined
        | pb::MergeMatchKind::MergeWhenMatched
        | pb::MergeMatchKind::MergeWhenNotMatchedByTarget => truth::restricts(join, &target),
    }
}

/// The relations named in a FROM list, through joins and samples, not into subqueries.
pub(super) fn from_relations<'n>(from: &'n [Node], found: &mut Vec<&'n pb::RangeVar>) {
    for node in from {
        match &node.node {
            Some(NodeEnum::RangeVar(range)) => found.push(range),
            Some(NodeEnum::JoinExpr(join)) => {
                for side in [&join.larg, &join.rarg].into_iter().flatten() {
                    from_relations(std::slice::from_ref(side), found);
                }
            }
            Some(NodeEnum::RangeTableSample(sample)) => {
                if let Some(relation) = sample.relation.as_deref() {
                    from_relations(std::slice::from_ref(relation), found);
                }
            }
            _ => {}
        }
    }
}
