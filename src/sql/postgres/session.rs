//! Statements that move the session: transactions, settings, prepared statements, cursors, EXPLAIN, COPY, locks.
//! Room of the postgres reader.

use pg_query::protobuf as pb;
use pg_query::{Node, NodeEnum};

use super::constant::{constant_text, is_null};
use super::names;
use super::tokens;
use super::walker::Walker;
use crate::sql::effect::{Class, Effect, ObjectKind};
use crate::sql::reading::{Movement, PreparedBody, SavepointStep, TransactionEnd};
use crate::sql::settings::{self, SettingValue};

/// CURSOR_OPT_HOLD of `nodes/parsenodes.h`.
const CURSOR_HOLD: i32 = 0x0020;
/// AccessShareLock of `storage/lockdefs.h`.
const ACCESS_SHARE_LOCK: i32 = 1;

impl Walker<'_> {
    /// BEGIN, COMMIT, ROLLBACK, savepoints, two-phase commit.
    pub(super) fn transaction(&mut self, statement: &pb::TransactionStmt) -> Movement {
        use pb::TransactionStmtKind as K;
        let chain = statement.chain;
        let savepoint = |step| Movement::Savepoint { step, name: statement.savepoint_name.clone() };
        let (class, act, movement) = match statement.kind() {
            K::TransStmtBegin | K::TransStmtStart => (Class::Transaction, "BEGIN", Movement::Begin),
            K::TransStmtCommit => (Class::Transaction, "COMMIT", Movement::End { end: TransactionEnd::Commit, chain }),
            K::TransStmtRollback => {
                self.made.clear();
                (Class::Transaction, "ROLLBACK", Movement::End { end: TransactionEnd::Rollback, chain })
            }
            K::TransStmtSavepoint => (Class::Transaction, "SAVEPOINT", savepoint(SavepointStep::Set)),
            K::TransStmtRelease => (Class::Transaction, "RELEASE SAVEPOINT", savepoint(SavepointStep::Release)),
            K::TransStmtRollbackTo => {
                self.made.clear();
                (Class::Transaction, "ROLLBACK TO SAVEPOINT", savepoint(SavepointStep::RollbackTo))
            }
            K::TransStmtPrepare => (Class::TransactionTwoPhase, "PREPARE TRANSACTION", Movement::TwoPhase),
            K::TransStmtCommitPrepared => (Class::TransactionTwoPhase, "COMMIT PREPARED", Movement::TwoPhase),
            K::TransStmtRollbackPrepared => (Class::TransactionTwoPhase, "ROLLBACK PREPARED", Movement::TwoPhase),
            K::Undefined => {
                self.unknown("a transaction statement");
                return Movement::None;
            }
        };
        self.add(Effect::new(class, act));
        movement
    }

    /// SET and RESET in all their forms.
    pub(super) fn set(&mut self, statement: &pb::VariableSetStmt) -> Movement {
        use pb::VariableSetKind as K;
        // A change of search_path, role or anything else may change what a name means.
        self.made.clear();
        match statement.kind() {
            K::VarSetMulti => return self.set_transaction(statement),
            K::VarResetAll => {
                self.add(Effect::new(Class::SessionSetting, "RESET ALL"));
                return Movement::Set { name: "all".to_owned(), value: None };
            }
            K::VarSetValue | K::VarSetDefault | K::VarSetCurrent | K::VarReset | K::Undefined => {}
        }
        let value = self.setting(statement);
        match statement.is_local {
            true => Movement::SetLocal,
            false => Movement::Set { name: statement.name.to_ascii_lowercase(), value },
        }
    }

    /// The effect of setting one parameter; answers its constant value. Also for ALTER ROLE … SET and function SET clauses.
    pub(super) fn setting(&mut self, statement: &pb::VariableSetStmt) -> Option<String> {
        use pb::VariableSetKind as K;
        let name = statement.name.to_ascii_lowercase();
        let constant = setting_text(&statement.args);
        let value = match (statement.kind(), &constant) {
            (K::VarSetDefault | K::VarReset | K::VarResetAll, _) => SettingValue::Default,
            (K::VarSetValue, Some(text)) => SettingValue::Constant(text),
            (K::VarSetValue, None) if statement.args.iter().all(is_null) => SettingValue::Default,
            (K::VarSetValue | K::VarSetCurrent | K::VarSetMulti | K::Undefined, _) => SettingValue::Computed,
        };
        let act = match statement.kind() {
            K::VarReset | K::VarResetAll => format!("RESET {name}"),
            K::VarSetValue | K::VarSetDefault | K::VarSetCurrent | K::VarSetMulti | K::Undefined => {
                format!("SET {name}")
            }
        };
        let effect = Effect::new(settings::classify(&name, value), settings::act(&name, value, act));
        self.add(effect.on(names::plain(ObjectKind::Setting, &name)));
        constant
    }

    /// SET TRANSACTION …, SET SESSION CHARACTERISTICS AS TRANSACTION …, SET TRANSACTION SNAPSHOT.
    fn set_transaction(&mut self, statement: &pb::VariableSetStmt) -> Movement {
        if statement.name != "SESSION CHARACTERISTICS" {
            self.add(Effect::new(Class::Transaction, "SET TRANSACTION"));
            return Movement::SetTransaction;
        }
        let loosens = statement.args.iter().any(makes_writable);
        let class = if loosens { Class::SessionPinned } else { Class::SessionSetting };
        self.add(Effect::new(class, "SET SESSION CHARACTERISTICS"));
        Movement::None
    }

    /// SHOW.
    pub(super) fn show(&mut self, statement: &pb::VariableShowStmt) {
        let name = statement.name.to_ascii_lowercase();
        self.touch(Class::Read, "SHOW", Some(names::plain(ObjectKind::Setting, &name)));
    }

    /// DISCARD.
    pub(super) fn discard(&mut self, statement: &pb::DiscardStmt) -> Movement {
        self.made.clear();
        self.add(Effect::new(Class::SessionSetting, "DISCARD"));
        match statement.target() {
            pb::DiscardMode::DiscardAll => Movement::DiscardAll,
            pb::DiscardMode::DiscardPlans | pb::DiscardMode::DiscardSequences | pb::DiscardMode::DiscardTemp => {
                Movement::None
            }
            pb::DiscardMode::Undefined => Movement::DiscardAll,
        }
    }

    /// PREPARE: the body's effects count here, whoever executes it.
    pub(super) fn prepare(&mut self, statement: &pb::PrepareStmt) -> Movement {
        for argument in &statement.argtypes {
            self.node(argument);
        }
        self.boxed(&statement.query);
        let range = tokens::after_as(self.text, self.statement.clone());
        Movement::Prepare { name: statement.name.clone(), body: PreparedBody { range } }
    }

    /// EXECUTE: what was prepared is judged where it was; here only the arguments' expressions.
    pub(super) fn execute(&mut self, statement: &pb::ExecuteStmt) -> Movement {
        self.nodes(&statement.params);
        Movement::Execute { name: statement.name.clone() }
    }

    /// DEALLOCATE.
    pub(super) fn deallocate(&mut self, statement: &pb::DeallocateStmt) -> Movement {
        self.add(Effect::new(Class::Read, "DEALLOCATE"));
        Movement::Deallocate { name: (!statement.isall).then(|| statement.name.clone()) }
    }

    /// DECLARE CURSOR.
    pub(super) fn declare(&mut self, statement: &pb::DeclareCursorStmt) -> Movement {
        self.boxed(&statement.query);
        Movement::Declare { name: statement.portalname.clone(), hold: statement.options & CURSOR_HOLD != 0 }
    }

    /// FETCH and MOVE.
    pub(super) fn fetch(&mut self, statement: &pb::FetchStmt) -> Movement {
        self.add(Effect::new(Class::Read, if statement.ismove { "MOVE" } else { "FETCH" }));
        Movement::Fetch { name: statement.portalname.clone() }
    }

    /// CLOSE.
    pub(super) fn close(&mut self, statement: &pb::ClosePortalStmt) -> Movement {
        self.add(Effect::new(Class::Read, "CLOSE"));
        Movement::ClosePortal { name: (!statement.portalname.is_empty()).then(|| statement.portalname.clone()) }
    }

    /// EXPLAIN: with ANALYZE the statement runs; without, it is planned, and planning runs functions that are labelled
    /// IMMUTABLE, so its calls count either way.
    pub(super) fn explain(&mut self, statement: &pb::ExplainStmt) -> Movement {
        let before = self.effects.len();
        let movement = statement.query.as_deref().map_or(Movement::None, |query| self.node(query));
        if !statement.options.iter().any(runs) {
            let temporary = statement.query.as_deref().is_some_and(makes_temporary);
            for effect in self.effects.iter_mut().skip(before) {
                // Looking for the name makes the session's schema for temporary tables (`RangeVarGetCreationNamespace`).
                if !(temporary && effect.class == Class::DdlAdditive) {
                    plan_only(effect);
                }
            }
        }
        self.add(Effect::new(Class::Read, "EXPLAIN"));
        match movement {
            Movement::Execute { .. } | Movement::Fetch { .. } => movement,
            _ => Movement::None,
        }
    }

    /// CREATE TABLE AS, SELECT INTO, CREATE MATERIALIZED VIEW.
    pub(super) fn create_table_as(&mut self, statement: &pb::CreateTableAsStmt) -> Movement {
        let movement = statement.query.as_deref().map_or(Movement::None, |query| self.node(query));
        let Some(relation) = statement.into.as_ref().and_then(|into| into.rel.as_ref()) else { return movement };
        let object = names::relation(relation);
        let act = match statement.objtype() {
            pb::ObjectType::ObjectMatview => "CREATE MATERIALIZED VIEW",
            _ => "CREATE TABLE AS",
        };
        self.add_at(Effect::new(Class::DdlAdditive, act).on(object.clone()), relation.location);
        let kept = statement.into.as_ref().is_some_and(|into| into.on_commit() != pb::OnCommitAction::OncommitDrop);
        if !statement.if_not_exists && kept {
            self.made.add(object);
        }
        movement
    }

    /// COPY in its four directions.
    pub(super) fn copy(&mut self, statement: &pb::CopyStmt) {
        let stream = statement.filename.is_empty() && !statement.is_program;
        if !stream {
            let act = match (statement.is_from, statement.is_program) {
                (true, true) => "COPY FROM PROGRAM",
                (false, true) => "COPY TO PROGRAM",
                (true, false) => "COPY FROM a file of the server",
                (false, false) => "COPY TO a file of the server",
            };
            self.add(Effect::new(Class::Server, act));
        }
        match (&statement.relation, statement.is_from) {
            (Some(range), true) => {
                let effect = Effect::new(Class::WriteCopy, "COPY FROM").on(names::relation(range));
                self.add_at(effect, range.location);
            }
            (Some(range), false) => self.reads(range),
            (None, _) => self.add(Effect::new(Class::Read, "COPY TO")),
        }
        self.boxed(&statement.query);
        self.boxed(&statement.where_clause);
        self.nodes(&statement.options);
    }

    /// TRUNCATE.
    pub(super) fn truncate(&mut self, statement: &pb::TruncateStmt) {
        for range in statement.relations.iter().filter_map(range_var) {
            let mut effect = Effect::new(Class::DestroyTruncate, "TRUNCATE").on(names::relation(range));
            if statement.behavior() == pb::DropBehavior::DropCascade {
                effect = effect.hint("CASCADE empties every table that refers to it too");
            }
            self.add_at(effect, range.location);
        }
    }

    /// LOCK TABLE. The weakest lock is what a SELECT takes; pg_dump takes it on every table.
    pub(super) fn lock(&mut self, statement: &pb::LockStmt) {
        let class = if statement.mode == ACCESS_SHARE_LOCK { Class::Read } else { Class::WriteLock };
        for range in statement.relations.iter().filter_map(range_var) {
            self.add_at(Effect::new(class, "LOCK TABLE").on(names::relation(range)), range.location);
        }
    }

    /// VACUUM and ANALYZE.
    pub(super) fn vacuum(&mut self, statement: &pb::VacuumStmt) -> Movement {
        let act = if statement.is_vacuumcmd { "VACUUM" } else { "ANALYZE" };
        let mut named = false;
        for node in &statement.rels {
            if let Some(NodeEnum::VacuumRelation(target)) = &node.node
                && let Some(range) = &target.relation
            {
                named = true;
                self.add_at(Effect::new(Class::Maintenance, act).on(names::relation(range)), range.location);
            }
        }
        if !named {
            self.add(Effect::new(Class::Maintenance, act));
        }
        self.nodes(&statement.options);
        if statement.is_vacuumcmd { Movement::OutsideTransaction } else { Movement::None }
    }

    /// REINDEX.
    pub(super) fn reindex(&mut self, statement: &pb::ReindexStmt) -> Movement {
        use pb::ReindexObjectType as K;
        let object = statement.relation.as_ref().map(names::relation);
        match statement.kind() {
            K::ReindexObjectSchema => {
                let schema = Some(names::plain(ObjectKind::Other, &statement.name));
                self.touch(Class::Maintenance, "REINDEX SCHEMA", schema);
            }
            _ => self.touch(Class::Maintenance, "REINDEX", object),
        }
        let whole = match statement.kind() {
            K::ReindexObjectIndex | K::ReindexObjectTable => false,
            K::ReindexObjectSchema | K::ReindexObjectSystem | K::ReindexObjectDatabase | K::Undefined => true,
        };
        if whole || statement.params.iter().any(is_concurrently) {
            Movement::OutsideTransaction
        } else {
            Movement::None
        }
    }

    /// CLUSTER.
    pub(super) fn cluster(&mut self, statement: &pb::ClusterStmt) -> Movement {
        self.touch(Class::Maintenance, "CLUSTER", statement.relation.as_ref().map(names::relation));
        if statement.relation.is_none() { Movement::OutsideTransaction } else { Movement::None }
    }

    /// REFRESH MATERIALIZED VIEW.
    pub(super) fn refresh(&mut self, statement: &pb::RefreshMatViewStmt) {
        self.touch(Class::Maintenance, "REFRESH MATERIALIZED VIEW", statement.relation.as_ref().map(names::relation));
    }

    /// CALL: the procedure, and its arguments' expressions.
    pub(super) fn call(&mut self, statement: &pb::CallStmt) {
        let Some(call) = &statement.funccall else { return self.unknown("CALL without a procedure") };
        let parts = names::words(&call.funcname);
        let object = names::qualified(ObjectKind::Function, &parts);
        self.touch(Class::Procedure, "CALL", object);
        self.mentioned(&parts);
        self.call_arguments(call);
    }
}

/// Whether a statement is a CREATE TABLE AS or SELECT INTO of a temporary table.
fn makes_temporary(query: &Node) -> bool {
    let into = match &query.node {
        Some(NodeEnum::CreateTableAsStmt(statement)) => statement.into.as_deref(),
        Some(NodeEnum::SelectStmt(select)) => leftmost(select).into_clause.as_deref(),
        _ => None,
    };
    let relation = into.and_then(|into| into.rel.as_ref());
    relation.is_some_and(|range| range.relpersistence == "t" || range.schemaname.starts_with("pg_temp"))
}

/// The first SELECT of a set operation, which is where INTO stands.
fn leftmost(select: &pb::SelectStmt) -> &pb::SelectStmt {
    select.larg.as_deref().map_or(select, leftmost)
}

/// What an effect becomes when its statement is only planned: calls stay, all else is read.
fn plan_only(effect: &mut Effect) {
    match effect.class {
        Class::FunctionSafe
        | Class::FunctionVolatile
        | Class::FunctionAdvisoryLock
        | Class::FunctionDangerous
        | Class::Notify
        | Class::SessionSetting
        | Class::SessionIdentity
        | Class::SessionPinned
        | Class::Unknown
        | Class::Unparsed => {}
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
        | Class::DdlAdditive
        | Class::DdlLocking
        | Class::DdlDestructive
        | Class::Privilege
        | Class::Transaction
        | Class::TransactionTwoPhase
        | Class::Maintenance
        | Class::Procedure
        | Class::Server => {
            effect.class = Class::Read;
            effect.act = "EXPLAIN".into();
            effect.hint = None;
        }
    }
}

/// Whether an option of EXPLAIN is ANALYZE, and not switched off. What is not certainly off is on.
pub(super) fn runs(option: &Node) -> bool {
    let Some(NodeEnum::DefElem(option)) = &option.node else { return false };
    let off = match option.arg.as_deref() {
        Some(argument) => matches!(option_text(argument).to_ascii_lowercase().as_str(), "0" | "off" | "false"),
        None => false,
    };
    option.defname == "analyze" && !off
}

/// The text of an option's value.
pub(super) fn option_text(node: &Node) -> String {
    match &node.node {
        Some(NodeEnum::String(text)) => text.sval.clone(),
        Some(NodeEnum::Integer(number)) => number.ival.to_string(),
        Some(NodeEnum::Float(number)) => number.fval.clone(),
        Some(NodeEnum::Boolean(truth)) => truth.boolval.to_string(),
        _ => constant_text(node).unwrap_or_default(),
    }
}

fn is_concurrently(option: &Node) -> bool {
    matches!(&option.node, Some(NodeEnum::DefElem(option)) if option.defname == "concurrently")
}

/// Whether a transaction mode is READ WRITE, or not certainly something else.
fn makes_writable(mode: &Node) -> bool {
    let Some(NodeEnum::DefElem(mode)) = &mode.node else { return true };
    mode.defname == "transaction_read_only" && mode.arg.as_deref().is_none_or(|argument| option_text(argument) != "1")
}

/// The constant value of a SET: items of a list joined as the server does.
fn setting_text(arguments: &[Node]) -> Option<String> {
    let items: Option<Vec<String>> = arguments.iter().map(constant_text).collect();
    items.filter(|items| !items.is_empty()).map(|items| items.join(", "))
}

/// A table reference.
pub(super) fn range_var(node: &Node) -> Option<&pb::RangeVar> {
    match &node.node {
        Some(NodeEnum::RangeVar(range)) => Some(range),
        _ => None,
    }
}
