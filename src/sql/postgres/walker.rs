//! The walk over PostgreSQL's syntax tree: one arm for every node of the grammar. Room of the postgres reader.
//!
//! Nodes that only the server's analysis makes cannot come from the grammar; if one does, it is `unknown`.

use std::ops::Range;

use pg_query::{Node, NodeEnum};

use super::made::Made;
use super::trial::Steps;
use crate::sql::effect::{Class, Effect, Object, Span};
use crate::sql::reading::{Loose, Movement};
use crate::sql::scan::{Kind, token_at};
use crate::sql::system;

/// Bodies within bodies (a function that creates a function …) are read this deep; what lies deeper is opaque.
const DEEPEST_BODY: usize = 5;

/// Longest statement in which the place of its body is looked for, in bytes.
const LONGEST_SEARCHED: usize = 16 << 10;

/// The walk's state over one text.
pub(super) struct Walker<'t> {
    /// The text that node locations point into.
    pub(super) text: &'t str,
    /// The statement being walked, in `text`.
    pub(super) statement: Range<usize>,
    /// Where `text` begins in the outermost text; `None` in a body that does not stand there letter by letter.
    pub(super) base: Option<usize>,
    /// Where every effect points while there is no base.
    outer: Span,
    /// What was seen so far.
    pub(super) effects: Vec<Effect>,
    /// Names of the common table expressions in scope, innermost last.
    pub(super) ctes: Vec<String>,
    /// What this text made before the statement being walked.
    pub(super) made: Made,
    /// Cursors named by WHERE CURRENT OF.
    pub(super) current_of: Vec<String>,
    /// INSERT, UPDATE, DELETE and MERGE in the statement being walked, however deep in it.
    pub(super) writes: usize,
    /// How many bodies deep this text lies.
    pub(super) depth: usize,
    /// Names that only the database's catalog can tell the meaning of.
    pub(super) loose: Loose,
    /// What may be computed to try conditions.
    pub(super) steps: Steps,
}

impl<'t> Walker<'t> {
    /// A walk over a whole text.
    pub(super) fn new(text: &'t str) -> Walker<'t> {
        Walker {
            text,
            statement: 0..text.len(),
            base: Some(0),
            outer: Span { start: 0, end: text.len() },
            effects: Vec::new(),
            ctes: Vec::new(),
            made: Made::default(),
            current_of: Vec::new(),
            writes: 0,
            depth: 0,
            loose: Loose::default(),
            steps: Steps::new(),
        }
    }

    /// A walk over a body found in the statement being walked. `None` when bodies nest too deep.
    pub(super) fn inside<'b>(&mut self, text: &'b str) -> Option<Walker<'b>> {
        (self.depth < DEEPEST_BODY).then(|| Walker {
            text,
            statement: 0..text.len(),
            base: self.place_of(text),
            outer: self.statement_span(),
            effects: Vec::new(),
            ctes: Vec::new(),
            made: std::mem::take(&mut self.made).frozen(),
            current_of: Vec::new(),
            writes: 0,
            depth: self.depth + 1,
            loose: Loose::default(),
            steps: self.steps.clone(),
        })
    }

    /// Takes over what a walk over a body saw.
    pub(super) fn absorb(&mut self, body: Walker<'_>) {
        self.made = body.made.thawed(self.depth == 0);
        self.effects.extend(body.effects);
        self.loose.absorb(body.loose);
    }

    /// Records an effect of the statement as a whole.
    pub(super) fn add(&mut self, effect: Effect) {
        self.add_at(effect, -1);
    }

    /// Records an effect that the words at `location` cause; -1 means the statement as a whole.
    pub(super) fn add_at(&mut self, mut effect: Effect, location: i32) {
        effect.span = Some(self.span_at(location));
        let beside = system::beside(&effect);
        self.effects.push(effect);
        self.effects.extend(beside);
    }

    /// Records an effect that these bytes of the text cause.
    pub(super) fn add_over(&mut self, effect: Effect, bytes: Range<usize>) {
        let span = match self.base {
            Some(base) => base + bytes.start..base + bytes.end,
            None => self.outer.start..self.outer.end,
        };
        self.effects.push(effect.at(span));
    }

    /// Where a body of the statement being walked stands in the outermost text, if it stands there letter by letter: as it does
    /// between dollar quotes. Only what is shown to people depends on it.
    fn place_of(&self, body: &str) -> Option<usize> {
        let base = self.base?;
        let body = Some(body).filter(|body| !body.trim().is_empty())?;
        let statement = self.text.get(self.statement.clone()).filter(|text| text.len() <= LONGEST_SEARCHED)?;
        let continues = |c: char| c.is_alphanumeric() || c == '_';
        let starts_word = body.starts_with(continues);
        let found = statement.match_indices(body).map(|(at, _)| at).find(|at| {
            let before = statement.get(..*at).and_then(|text| text.chars().next_back());
            !starts_word || !before.is_some_and(continues)
        })?;
        Some(base + self.statement.start + found)
    }

    /// Records an effect on an object, if it has a name.
    pub(super) fn touch(
        &mut self,
        class: Class,
        act: impl Into<std::borrow::Cow<'static, str>>,
        object: Option<Object>,
    ) {
        let effect = Effect::new(class, act);
        match object {
            Some(object) => self.add(effect.on(object)),
            None => self.add(effect),
        }
    }

    fn statement_span(&self) -> Span {
        match self.base {
            Some(base) => Span { start: base + self.statement.start, end: base + self.statement.end },
            None => self.outer,
        }
    }

    fn span_at(&self, location: i32) -> Span {
        let word = usize::try_from(location).ok().filter(|start| *start < self.text.len());
        match (word, self.base) {
            (Some(start), Some(base)) => Span { start: base + start, end: base + name_end(self.text, start) },
            _ => self.statement_span(),
        }
    }

    /// Walks a list.
    pub(super) fn nodes(&mut self, nodes: &[Node]) {
        for node in nodes {
            self.node(node);
        }
    }

    /// Walks an optional node.
    pub(super) fn maybe(&mut self, node: Option<&Node>) {
        if let Some(node) = node {
            self.node(node);
        }
    }

    /// Walks an optional boxed node.
    pub(super) fn boxed(&mut self, node: &Option<Box<Node>>) {
        self.maybe(node.as_deref());
    }

    /// Walks a node; what it does to the session is told, where the grammar lets it stand as a statement.
    pub(super) fn node(&mut self, node: &Node) -> Movement {
        match &node.node {
            Some(inner) => self.walk(inner),
            None => Movement::None,
        }
    }

    pub(super) fn unknown(&mut self, what: &'static str) {
        self.add(Effect::new(Class::Unknown, what).hint("pgwarden does not know this part of the grammar"));
    }

    /// Every node of the grammar, each once.
    fn walk(&mut self, node: &NodeEnum) -> Movement {
        use NodeEnum as N;
        match node {
            // Statements that move the session.
            N::TransactionStmt(s) => return self.transaction(s),
            N::VariableSetStmt(s) => return self.set(s),
            N::PrepareStmt(s) => return self.prepare(s),
            N::ExecuteStmt(s) => return self.execute(s),
            N::DeallocateStmt(s) => return self.deallocate(s),
            N::DeclareCursorStmt(s) => return self.declare(s),
            N::FetchStmt(s) => return self.fetch(s),
            N::ClosePortalStmt(s) => return self.close(s),
            N::DiscardStmt(s) => return self.discard(s),
            N::ExplainStmt(s) => return self.explain(s),
            N::CreateTableAsStmt(s) => return self.create_table_as(s),
            N::VacuumStmt(s) => return self.vacuum(s),
            N::ReindexStmt(s) => return self.reindex(s),
            N::ClusterStmt(s) => return self.cluster(s),
            N::IndexStmt(s) => return self.create_index(s),
            N::DropStmt(s) => return self.drop(s),
            N::AlterTableStmt(s) => return self.alter_table(s),
            N::AlterSystemStmt(s) => return self.alter_system(s),
            N::CreatedbStmt(s) => return self.create_database(s),
            N::DropdbStmt(s) => return self.drop_database(s),
            N::AlterDatabaseStmt(s) => return self.alter_database(s),
            N::CreateTableSpaceStmt(s) => return self.create_tablespace(s),
            N::DropTableSpaceStmt(s) => return self.drop_tablespace(s),
            N::CreateSubscriptionStmt(s) => return self.create_subscription(s),
            N::DropSubscriptionStmt(s) => return self.drop_subscription(s),
            N::AlterSubscriptionStmt(s) => return self.alter_subscription(s),
            N::RawStmt(s) => return s.stmt.as_deref().map_or(Movement::None, |stmt| self.node(stmt)),

            // Queries and data.
            N::SelectStmt(s) => self.select(s),
            N::InsertStmt(s) => self.write(|walker| walker.insert(s)),
            N::UpdateStmt(s) => self.write(|walker| walker.update(s)),
            N::DeleteStmt(s) => self.write(|walker| walker.delete(s)),
            N::MergeStmt(s) => self.write(|walker| walker.merge(s)),
            N::CopyStmt(s) => self.copy(s),
            N::TruncateStmt(s) => self.truncate(s),
            N::LockStmt(s) => self.lock(s),
            N::ReturnStmt(s) => self.boxed(&s.returnval),
            N::PlassignStmt(s) => self.assign(s),
            N::CallStmt(s) => self.call(s),
            N::DoStmt(s) => self.do_block(s),

            // The session and the server.
            N::VariableShowStmt(s) => self.show(s),
            N::ConstraintsSetStmt(_) => self.add(Effect::new(Class::Transaction, "SET CONSTRAINTS")),
            N::NotifyStmt(_) => self.add(Effect::new(Class::Notify, "NOTIFY")),
            N::ListenStmt(_) => self.add(Effect::new(Class::Notify, "LISTEN")),
            N::UnlistenStmt(_) => self.add(Effect::new(Class::SessionSetting, "UNLISTEN")),
            N::CheckPointStmt(_) => self.add(Effect::new(Class::Maintenance, "CHECKPOINT")),
            N::LoadStmt(_) => self.add(Effect::new(Class::Server, "LOAD")),
            N::RefreshMatViewStmt(s) => self.refresh(s),

            // Definitions.
            N::CreateStmt(s) => self.create_table(s),
            N::CreateForeignTableStmt(s) => self.create_foreign_table(s),
            N::CreateSchemaStmt(s) => self.create_schema(s),
            N::CreateSeqStmt(s) => self.create_sequence(s),
            N::AlterSeqStmt(s) => self.alter_sequence(s),
            N::ViewStmt(s) => self.create_view(s),
            N::RuleStmt(s) => self.create_rule(s),
            N::CreateTrigStmt(s) => self.create_trigger(s),
            N::CreateEventTrigStmt(s) => self.create_event_trigger(s),
            N::AlterEventTrigStmt(s) => self.alter_event_trigger(s),
            N::CreateFunctionStmt(s) => self.create_function(s),
            N::AlterFunctionStmt(s) => self.alter_function(s),
            N::CreateDomainStmt(s) => self.create_domain(s),
            N::AlterDomainStmt(s) => self.alter_domain(s),
            N::CompositeTypeStmt(s) => self.create_composite(s),
            N::CreateEnumStmt(s) => self.create_type(&s.type_name, &[]),
            N::CreateRangeStmt(s) => self.create_type(&s.type_name, &s.params),
            N::AlterEnumStmt(s) => self.alter_enum(s),
            N::AlterTypeStmt(s) => self.alter_type(s),
            N::DefineStmt(s) => self.define(s),
            N::CreateCastStmt(s) => self.create_cast(s),
            N::CreateTransformStmt(s) => self.create_transform(s),
            N::CreateConversionStmt(s) => self.create_conversion(s),
            N::CreateOpClassStmt(s) => self.create_operator_class(s),
            N::CreateOpFamilyStmt(s) => self.additive_named("CREATE OPERATOR FAMILY", &s.opfamilyname),
            N::AlterOpFamilyStmt(s) => self.alter_operator_family(s),
            N::AlterOperatorStmt(s) => self.alter_operator(s),
            N::AlterCollationStmt(s) => self.additive_named("ALTER COLLATION", &s.collname),
            N::CreateStatsStmt(s) => self.create_statistics(s),
            N::AlterStatsStmt(s) => self.additive_named("ALTER STATISTICS", &s.defnames),
            N::CreateExtensionStmt(s) => self.extension("CREATE EXTENSION", &s.extname),
            N::AlterExtensionStmt(s) => self.extension("ALTER EXTENSION", &s.extname),
            N::AlterExtensionContentsStmt(s) => self.alter_extension_contents(s),
            N::CommentStmt(s) => self.comment(s),
            N::AlterTsdictionaryStmt(s) => self.additive_named("ALTER TEXT SEARCH DICTIONARY", &s.dictname),
            N::AlterTsconfigurationStmt(s) => self.alter_text_search(s),
            N::CreatePublicationStmt(s) => self.create_publication(s),
            N::AlterPublicationStmt(s) => self.alter_publication(s),
            N::RenameStmt(s) => self.rename(s),
            N::AlterObjectSchemaStmt(s) => self.set_schema(s),
            N::AlterObjectDependsStmt(s) => self.depends(s),
            N::AlterTableMoveAllStmt(s) => self.move_all(s),
            N::CreateAmStmt(s) => self.create_access_method(s),

            // Privileges.
            N::GrantStmt(s) => self.grant(s),
            N::GrantRoleStmt(s) => self.grant_role(s),
            N::AlterDefaultPrivilegesStmt(s) => self.default_privileges(s),
            N::CreateRoleStmt(s) => self.role("CREATE ROLE", &s.role),
            N::AlterRoleStmt(s) => self.alter_role(s),
            N::AlterRoleSetStmt(s) => self.alter_role_set(s),
            N::DropRoleStmt(s) => self.drop_role(s),
            N::AlterOwnerStmt(s) => self.owner(s),
            N::ReassignOwnedStmt(_) => self.add(Effect::new(Class::Privilege, "REASSIGN OWNED")),
            N::DropOwnedStmt(_) => self.drop_owned(),
            N::CreatePolicyStmt(s) => self.create_policy(s),
            N::AlterPolicyStmt(s) => self.alter_policy(s),
            N::SecLabelStmt(s) => self.security_label(s),

            // The server and other servers.
            N::CreatePlangStmt(s) => self.create_language(s),
            N::AlterTableSpaceOptionsStmt(s) => self.server("ALTER TABLESPACE", &s.tablespacename),
            N::AlterDatabaseRefreshCollStmt(s) => self.server("ALTER DATABASE REFRESH COLLATION VERSION", &s.dbname),
            N::AlterDatabaseSetStmt(s) => self.alter_database_set(s),
            N::CreateFdwStmt(s) => self.server("CREATE FOREIGN DATA WRAPPER", &s.fdwname),
            N::AlterFdwStmt(s) => self.server("ALTER FOREIGN DATA WRAPPER", &s.fdwname),
            N::CreateForeignServerStmt(s) => self.server("CREATE SERVER", &s.servername),
            N::AlterForeignServerStmt(s) => self.server("ALTER SERVER", &s.servername),
            N::CreateUserMappingStmt(s) => self.server("CREATE USER MAPPING", &s.servername),
            N::AlterUserMappingStmt(s) => self.server("ALTER USER MAPPING", &s.servername),
            N::DropUserMappingStmt(s) => self.drop_user_mapping(s),
            N::ImportForeignSchemaStmt(s) => self.server("IMPORT FOREIGN SCHEMA", &s.server_name),

            // Expressions that call something.
            N::FuncCall(e) => self.function_call(e),
            N::AExpr(e) => self.operator_expression(e),
            N::SubLink(e) => self.sublink(e),
            N::TypeCast(e) => self.type_cast(e),
            N::TypeName(e) => self.type_name(e),
            N::AIndirection(e) => self.indirection(e),
            N::ColumnRef(e) => self.column(e),
            N::SortBy(e) => self.sort_by(e),
            N::CurrentOfExpr(e) => self.current_of.push(e.cursor_name.clone()),

            // Expressions that only hold others.
            N::BoolExpr(e) => self.nodes(&e.args),
            N::NullTest(e) => self.boxed(&e.arg),
            N::BooleanTest(e) => self.boxed(&e.arg),
            N::CaseExpr(e) => self.case(e),
            N::CaseWhen(e) => self.pair(&e.expr, &e.result),
            N::RowExpr(e) => self.nodes(&e.args),
            N::CoalesceExpr(e) => self.nodes(&e.args),
            N::MinMaxExpr(e) => self.nodes(&e.args),
            N::AArrayExpr(e) => self.nodes(&e.elements),
            N::AIndices(e) => self.pair(&e.lidx, &e.uidx),
            N::NamedArgExpr(e) => self.boxed(&e.arg),
            N::GroupingFunc(e) => self.nodes(&e.args),
            N::GroupingSet(e) => self.nodes(&e.content),
            N::CollateClause(e) => self.boxed(&e.arg),
            N::MultiAssignRef(e) => self.boxed(&e.source),
            N::ResTarget(e) => self.result_target(e),
            N::WindowDef(e) => self.window(e),
            N::List(e) => self.nodes(&e.items),
            N::XmlExpr(e) => self.xml(e),
            N::XmlSerialize(e) => self.xml_serialize(e),
            N::DefElem(e) => self.boxed(&e.arg),

            // SQL/JSON.
            N::JsonValueExpr(e) => self.json_value(e),
            N::JsonIsPredicate(e) => self.boxed(&e.expr),
            N::JsonBehavior(e) => self.boxed(&e.expr),
            N::JsonOutput(e) => self.json_output(Some(e)),
            N::JsonArgument(e) => self.json_value_maybe(e.val.as_deref()),
            N::JsonFuncExpr(e) => self.json_function(e),
            N::JsonTablePathSpec(e) => self.boxed(&e.string),
            N::JsonTable(e) => self.json_table(e),
            N::JsonTableColumn(e) => self.json_table_column(e),
            N::JsonKeyValue(e) => self.json_key_value(e),
            N::JsonParseExpr(e) => self.json_typed(e.expr.as_deref(), e.output.as_ref()),
            N::JsonSerializeExpr(e) => self.json_typed(e.expr.as_deref(), e.output.as_ref()),
            N::JsonScalarExpr(e) => self.json_scalar(e),
            N::JsonObjectConstructor(e) => self.json_list(&e.exprs, e.output.as_ref()),
            N::JsonArrayConstructor(e) => self.json_list(&e.exprs, e.output.as_ref()),
            N::JsonArrayQueryConstructor(e) => self.json_query(e),
            N::JsonAggConstructor(e) => self.json_aggregate(e),
            N::JsonObjectAgg(e) => self.json_object_aggregate(e),
            N::JsonArrayAgg(e) => self.json_array_aggregate(e),

            // Parts of FROM and of statements.
            N::RangeVar(e) => self.source_relation(e),
            N::RangeSubselect(e) => self.boxed(&e.subquery),
            N::RangeFunction(e) => self.range_function(e),
            N::RangeTableFunc(e) => self.xml_table(e),
            N::RangeTableFuncCol(e) => self.xml_table_column(e),
            N::RangeTableSample(e) => self.table_sample(e),
            N::JoinExpr(e) => self.join(e),
            N::WithClause(e) => self.nodes(&e.ctes),
            N::CommonTableExpr(e) => self.common_table(e),
            N::CtecycleClause(e) => self.pair(&e.cycle_mark_value, &e.cycle_mark_default),
            N::OnConflictClause(e) => self.on_conflict(e),
            N::InferClause(e) => self.infer(e),
            N::MergeWhenClause(e) => self.merge_when(e),
            N::ReturningClause(e) => self.nodes(&e.exprs),
            N::IntoClause(e) => self.into(e),
            N::ColumnDef(e) => self.column_definition(e),
            N::Constraint(e) => self.constraint(e),
            N::TableLikeClause(e) => self.like(e),
            N::IndexElem(e) => self.index_element(e),
            N::StatsElem(e) => self.boxed(&e.expr),
            N::PartitionSpec(e) => self.nodes(&e.part_params),
            N::PartitionElem(e) => self.boxed(&e.expr),
            N::PartitionBoundSpec(e) => self.partition_bound(e),
            N::PartitionRangeDatum(e) => self.boxed(&e.value),
            N::FunctionParameter(e) => self.parameter(e),
            N::PublicationObjSpec(e) => self.publication_object(e),
            N::PublicationTable(e) => self.publication_table(e),

            // Harmless by themselves: names, constants, and parts read by the statement that holds them.
            N::Alias(_)
            | N::AConst(_)
            | N::AStar(_)
            | N::AccessPriv(_)
            | N::BitString(_)
            | N::Boolean(_)
            | N::CreateOpClassItem(_)
            | N::CtesearchClause(_)
            | N::Float(_)
            | N::Integer(_)
            | N::JsonFormat(_)
            | N::LockingClause(_)
            | N::MergeSupportFunc(_)
            | N::ObjectWithArgs(_)
            | N::ParamRef(_)
            | N::ReturningOption(_)
            | N::RoleSpec(_)
            | N::SetToDefault(_)
            | N::SqlvalueFunction(_)
            | N::String(_)
            | N::TriggerTransition(_)
            | N::VacuumRelation(_) => {}

            // Only the server's analysis makes these, or a statement read elsewhere holds them.
            N::TableFunc(_)
            | N::Var(_)
            | N::Param(_)
            | N::Aggref(_)
            | N::WindowFunc(_)
            | N::WindowFuncRunCondition(_)
            | N::SubscriptingRef(_)
            | N::FuncExpr(_)
            | N::OpExpr(_)
            | N::DistinctExpr(_)
            | N::NullIfExpr(_)
            | N::ScalarArrayOpExpr(_)
            | N::SubPlan(_)
            | N::AlternativeSubPlan(_)
            | N::FieldSelect(_)
            | N::FieldStore(_)
            | N::RelabelType(_)
            | N::CoerceViaIo(_)
            | N::ArrayCoerceExpr(_)
            | N::ConvertRowtypeExpr(_)
            | N::CollateExpr(_)
            | N::CaseTestExpr(_)
            | N::ArrayExpr(_)
            | N::RowCompareExpr(_)
            | N::JsonReturning(_)
            | N::JsonConstructorExpr(_)
            | N::JsonExpr(_)
            | N::JsonTablePath(_)
            | N::JsonTablePathScan(_)
            | N::JsonTableSiblingJoin(_)
            | N::MergeAction(_)
            | N::CoerceToDomain(_)
            | N::CoerceToDomainValue(_)
            | N::NextValueExpr(_)
            | N::InferenceElem(_)
            | N::ReturningExpr(_)
            | N::TargetEntry(_)
            | N::RangeTblRef(_)
            | N::FromExpr(_)
            | N::OnConflictExpr(_)
            | N::Query(_)
            | N::RangeTblEntry(_)
            | N::RtepermissionInfo(_)
            | N::RangeTblFunction(_)
            | N::TableSampleClause(_)
            | N::WithCheckOption(_)
            | N::SortGroupClause(_)
            | N::WindowClause(_)
            | N::RowMarkClause(_)
            | N::SetOperationStmt(_)
            | N::AlterTableCmd(_)
            | N::AtalterConstraint(_)
            | N::ReplicaIdentityStmt(_)
            | N::PartitionCmd(_)
            | N::InlineCodeBlock(_)
            | N::CallContext(_)
            | N::IntList(_)
            | N::OidList(_) => self.unknown("a node that the grammar does not make"),
        }
        self.where_current_of()
    }

    /// Walks a statement that writes rows, and counts it.
    fn write(&mut self, walk: impl FnOnce(&mut Self)) {
        self.writes += 1;
        walk(self);
    }

    /// `UPDATE`/`DELETE … WHERE CURRENT OF c` moves the cursor's session as FETCH does.
    fn where_current_of(&mut self) -> Movement {
        match self.current_of.first() {
            Some(name) => Movement::Fetch { name: name.clone() },
            None => Movement::None,
        }
    }
}

/// The end of the name, with its schema, or of the one other token that begins at `start`.
fn name_end(text: &str, start: usize) -> usize {
    let Some(first) = token_at(text, start) else { return text.len() };
    let mut end = first.end;
    if matches!(first.kind, Kind::Word | Kind::QuotedName) {
        while text.get(end..).is_some_and(|rest| rest.starts_with('.')) {
            match token_at(text, end + 1) {
                Some(part) if matches!(part.kind, Kind::Word | Kind::QuotedName) => end = part.end,
                Some(_) | None => break,
            }
        }
    }
    // A token that is one character may be more than one byte.
    (end..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len())
}
