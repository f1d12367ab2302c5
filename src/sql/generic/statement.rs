//! Which room each statement goes to. No wildcard: a new kind of statement does not compile until it is placed here.

use std::borrow::Cow;

use sqlparser::ast::{DescribeAlias, Expr, ObjectName, Statement, UtilityOption, VacuumStatement, Value};

use super::names;
use super::walk::Walker;
use crate::sql::effect::{Class, Object, ObjectKind};
use crate::sql::settings::is_on;

impl Walker {
    /// What a statement does by itself; the queries, expressions and statements in it are walked apart.
    pub fn statement(&mut self, statement: &Statement) {
        match statement {
            Statement::Query(_) => {}
            Statement::Insert(insert) => self.insert(insert),
            Statement::Update(update) => self.update(update),
            Statement::Delete(delete) => self.delete(delete),
            Statement::Merge(merge) => self.merge(merge),
            Statement::Truncate(truncate) => self.truncate(truncate),
            Statement::Copy { source, to, target, .. } => self.copy(source, *to, target),
            Statement::Lock(lock) => self.lock(lock),
            Statement::Explain { describe_alias, .. } => self.explain(describe_alias),
            // PostgreSQL explains no tables; the word was not a table's name (`EXPLAIN SELECT`).
            Statement::ExplainTable { .. } => self.misread = true,
            Statement::Prepare { .. } => {}
            Statement::Execute {
                name: Some(_), immediate: false, into, using, output: false, default: false, ..
            // What it does is what the prepared statement does: the session knows it.
            } if into.is_empty() && using.is_empty() => {}
            Statement::Execute { .. } => self.unknown("EXECUTE"),
            Statement::Deallocate { .. } => self.act(Class::Read, "DEALLOCATE"),
            Statement::Declare { stmts } => self.declare(stmts),
            Statement::Fetch { into: None, .. } => self.act(Class::Read, "FETCH"),
            Statement::Fetch { into: Some(_), .. } => self.unknown("FETCH"),
            Statement::Close { .. } => self.act(Class::Read, "CLOSE"),
            Statement::Call(function) => {
                self.touch(Class::Procedure, "CALL", names::object(ObjectKind::Function, &function.name));
            }
            Statement::Analyze(analyze) => self.maintenance("ANALYZE", analyze.table_name.as_ref()),
            Statement::Vacuum(vacuum) => self.vacuum(vacuum),
            Statement::LISTEN { .. } => self.act(Class::Notify, "LISTEN"),
            Statement::UNLISTEN { .. } => self.act(Class::SessionSetting, "UNLISTEN"),
            Statement::NOTIFY { .. } => self.act(Class::Notify, "NOTIFY"),
            Statement::Load { .. } => self.act(Class::Server, "LOAD"),
            Statement::Set(_)
            | Statement::Reset(_)
            | Statement::Discard { .. }
            | Statement::ShowVariable { .. }
            | Statement::ShowVariables { .. }
            | Statement::StartTransaction { .. }
            | Statement::Commit { .. }
            | Statement::Rollback { .. }
            | Statement::Savepoint { .. }
            | Statement::ReleaseSavepoint { .. } => self.session(statement),
            Statement::CreateView(_)
            | Statement::CreateTable(_)
            | Statement::CreateIndex(_)
            | Statement::CreateRole(_)
            | Statement::CreateUser(_)
            | Statement::CreateServer(_)
            | Statement::CreatePolicy(_)
            | Statement::CreateOperator(_)
            | Statement::CreateOperatorFamily(_)
            | Statement::CreateOperatorClass(_)
            | Statement::CreateTextSearch(_)
            | Statement::CreateExtension(_)
            | Statement::CreateCollation(_)
            | Statement::CreateSchema { .. }
            | Statement::CreateDatabase { .. }
            | Statement::CreateFunction(_)
            | Statement::CreateProcedure { .. }
            | Statement::CreateTrigger(_)
            | Statement::CreateSequence { .. }
            | Statement::CreateDomain(_)
            | Statement::CreateType { .. }
            | Statement::Comment { .. } => self.definition(statement),
            Statement::AlterTable(_)
            | Statement::AlterSchema(_)
            | Statement::AlterIndex { .. }
            | Statement::AlterFunction(_)
            | Statement::AlterType(_)
            | Statement::AlterCollation(_)
            | Statement::AlterOperator(_)
            | Statement::AlterOperatorFamily(_)
            | Statement::AlterOperatorClass(_)
            | Statement::AlterTextSearch(_)
            | Statement::AlterRole { .. }
            | Statement::AlterUser(_)
            | Statement::AlterPolicy(_)
            | Statement::Grant(_)
            | Statement::Revoke(_) => self.alteration(statement),
            Statement::Drop { .. }
            | Statement::DropFunction(_)
            | Statement::DropProcedure { .. }
            | Statement::DropDomain(_)
            | Statement::DropPolicy(_)
            | Statement::DropExtension(_)
            | Statement::DropOperator(_)
            | Statement::DropOperatorFamily(_)
            | Statement::DropOperatorClass(_)
            | Statement::DropTrigger(_) => self.removal(statement),
            foreign @ (Statement::Msck(_)
            | Statement::Install { .. }
            | Statement::Directory { .. }
            | Statement::Case(_)
            | Statement::If(_)
            | Statement::While(_)
            | Statement::Raise(_)
            | Statement::CopyIntoSnowflake { .. }
            | Statement::Open(_)
            | Statement::CreateVirtualTable { .. }
            | Statement::CreateSecret { .. }
            | Statement::CreateConnector(_)
            | Statement::AlterView { .. }
            | Statement::AlterConnector { .. }
            | Statement::AlterSession { .. }
            | Statement::AttachDatabase { .. }
            | Statement::AttachDuckDBDatabase { .. }
            | Statement::DetachDuckDBDatabase { .. }
            | Statement::DropSecret { .. }
            | Statement::DropConnector { .. }
            | Statement::Flush { .. }
            | Statement::ShowFunctions { .. }
            | Statement::ShowStatus { .. }
            | Statement::ShowCreate { .. }
            | Statement::ShowColumns { .. }
            | Statement::ShowCatalogs { .. }
            | Statement::ShowDatabases { .. }
            | Statement::ShowProcessList { .. }
            | Statement::ShowSchemas { .. }
            | Statement::ShowCharset(_)
            | Statement::ShowObjects(_)
            | Statement::ShowTables { .. }
            | Statement::ShowViews { .. }
            | Statement::ShowCollation { .. }
            | Statement::Use(_)
            | Statement::CreateMacro { .. }
            | Statement::CreateStage { .. }
            | Statement::CreateFileFormat { .. }
            | Statement::CreateWarehouse(_)
            | Statement::Assert { .. }
            | Statement::Deny(_)
            | Statement::Kill { .. }
            | Statement::Cache { .. }
            | Statement::UNCache { .. }
            | Statement::Pragma { .. }
            | Statement::LockTables { .. }
            | Statement::UnlockTables
            | Statement::Unload { .. }
            | Statement::OptimizeTable { .. }
            | Statement::LoadData { .. }
            | Statement::RenameTable(_)
            | Statement::List(_)
            | Statement::Put { .. }
            | Statement::Remove(_)
            | Statement::RaisError { .. }
            | Statement::Throw(_)
            | Statement::Print(_)
            | Statement::WaitFor(_)
            | Statement::Return(_)
            | Statement::ExportData(_)) => self.foreign(foreign),
        }
    }

    /// A statement that PostgreSQL does not have. `SHOW word` is sqlparser's own reading of some of PostgreSQL's SHOW: those
    /// read nothing but settings.
    fn foreign(&mut self, statement: &Statement) {
        match statement {
            Statement::ShowFunctions { filter: None }
            | Statement::ShowStatus { filter: None, .. }
            | Statement::ShowCharset(_) => self.act(Class::Read, "SHOW"),
            _ => self.unknown("statement of another dialect"),
        }
    }

    /// VACUUM, ANALYZE.
    fn maintenance(&mut self, act: &'static str, table: Option<&ObjectName>) {
        match table {
            Some(table) => self.touch(Class::Maintenance, act, names::relation(table)),
            None => self.act(Class::Maintenance, act),
        }
    }

    fn vacuum(&mut self, vacuum: &VacuumStatement) {
        self.maintenance(if vacuum.full { "VACUUM FULL" } else { "VACUUM" }, vacuum.table_name.as_ref());
    }

    fn explain(&mut self, alias: &DescribeAlias) {
        match alias {
            DescribeAlias::Explain => {}
            DescribeAlias::Describe | DescribeAlias::Desc => self.unknown("DESCRIBE"),
        }
    }

    fn declare(&mut self, declarations: &[sqlparser::ast::Declare]) {
        for declare in declarations {
            let cursor = declare.for_query.is_some() && declare.assignment.is_none() && declare.data_type.is_none();
            if !cursor {
                self.unknown("DECLARE");
            }
        }
    }

    /// A setting, by SET, RESET or a SET clause.
    pub fn setting(&mut self, class: Class, act: impl Into<Cow<'static, str>>, name: &str) {
        let object = Object { kind: ObjectKind::Setting, schema: None, name: name.to_ascii_lowercase() };
        self.add(crate::sql::effect::Effect::new(class, act).on(object));
    }
}

/// Whether an EXPLAIN runs what it explains. An option that cannot be read counts as ANALYZE.
pub fn executes(statement: &Statement) -> bool {
    let Statement::Explain { analyze, options, .. } = statement else { return false };
    *analyze || options.iter().flatten().any(analyzes)
}

fn analyzes(option: &UtilityOption) -> bool {
    names::folded(&option.name) == "analyze"
        && match &option.arg {
            None => true,
            Some(Expr::Value(value)) => match &value.value {
                Value::Boolean(on) => *on,
                Value::Number(number, _) => number != "0",
                other => super::call::text(other).is_none_or(|text| !is_off(text)),
            },
            Some(Expr::Identifier(word)) => is_on(&word.value) || !is_off(&word.value),
            Some(_) => true,
        }
}

fn is_off(word: &str) -> bool {
    matches!(word.to_ascii_lowercase().as_str(), "off" | "false" | "0" | "no")
}
