//! ALTER of everything, GRANT and REVOKE: what adds, what locks, what loses.

use sqlparser::ast::{
    AlterCollationOperation, AlterColumnOperation, AlterFunction, AlterFunctionAction, AlterFunctionOperation,
    AlterIndexOperation, AlterOperatorClassOperation, AlterOperatorFamilyOperation, AlterOperatorOperation,
    AlterPolicyOperation, AlterRoleOperation, AlterSchemaOperation, AlterTable, AlterTableOperation,
    AlterTextSearchOperation, AlterTypeOperation, ColumnDef, ColumnOption, DataType, Expr, FunctionDefinitionSetParam,
    FunctionSetValue, GeneratedExpressionMode, GrantObjects, ObjectName, RenameTableNameKind, ResetConfig,
    SetConfigValue, SqlOption, Statement, TableConstraint, Visit, Visitor,
};
use std::ops::ControlFlow;

use super::names;
use super::walk::Walker;
use crate::sql::effect::{Class, Effect, Object, ObjectKind};
use crate::sql::functions;
use crate::sql::settings::SettingValue;

/// What one operation of ALTER TABLE does: class, act, and the safer way.
type Operation = (Class, &'static str, &'static str);

const NOT_VALID: &str = "ADD CONSTRAINT … NOT VALID, then VALIDATE CONSTRAINT, does not block writers";
const USING_INDEX: &str = "CREATE UNIQUE INDEX CONCURRENTLY, then ADD CONSTRAINT … USING INDEX, does not block writers";
const IN_STEPS: &str = "add the column without it, fill it in batches, then set it";
const CHECK_FIRST: &str = "ADD CONSTRAINT … CHECK (column IS NOT NULL) NOT VALID, VALIDATE it, then SET NOT NULL";

const fn additive(act: &'static str) -> Operation {
    (Class::DdlAdditive, act, "")
}

const fn destructive(act: &'static str) -> Operation {
    (Class::DdlDestructive, act, "")
}

impl Walker {
    pub fn alteration(&mut self, statement: &Statement) {
        match statement {
            Statement::AlterTable(table) => self.alter_table(table),
            Statement::AlterIndex { name, operation: AlterIndexOperation::RenameIndex { .. } } => {
                self.touch(Class::DdlDestructive, "ALTER INDEX RENAME", names::relation(name));
            }
            Statement::AlterSchema(schema) => {
                for operation in &schema.operations {
                    self.alter(ObjectKind::Other, &schema.name, alter_schema(operation));
                }
            }
            Statement::AlterFunction(function) => self.alter_function(function),
            Statement::AlterType(alter) => {
                let operation = match &alter.operation {
                    AlterTypeOperation::Rename(_) => destructive("ALTER TYPE RENAME"),
                    AlterTypeOperation::RenameValue(_) => destructive("ALTER TYPE RENAME VALUE"),
                    AlterTypeOperation::AddValue(_) => additive("ALTER TYPE ADD VALUE"),
                };
                self.alter(ObjectKind::Other, &alter.name, operation);
            }
            Statement::AlterCollation(alter) => {
                let operation = match &alter.operation {
                    AlterCollationOperation::RenameTo { .. } => destructive("ALTER COLLATION RENAME"),
                    AlterCollationOperation::SetSchema { .. } => destructive("ALTER COLLATION SET SCHEMA"),
                    AlterCollationOperation::OwnerTo(_) => (Class::Privilege, "ALTER COLLATION OWNER", ""),
                    AlterCollationOperation::RefreshVersion => additive("ALTER COLLATION REFRESH VERSION"),
                };
                self.alter(ObjectKind::Other, &alter.name, operation);
            }
            Statement::AlterOperator(alter) => {
                let operation = match &alter.operation {
                    AlterOperatorOperation::OwnerTo(_) => (Class::Privilege, "ALTER OPERATOR OWNER", ""),
                    AlterOperatorOperation::SetSchema { .. } => destructive("ALTER OPERATOR SET SCHEMA"),
                    AlterOperatorOperation::Set { .. } => additive("ALTER OPERATOR"),
                };
                self.alter(ObjectKind::Other, &alter.name, operation);
            }
            Statement::AlterOperatorFamily(alter) => {
                self.alter(ObjectKind::Other, &alter.name, alter_family(&alter.operation));
            }
            Statement::AlterOperatorClass(alter) => {
                let operation = match &alter.operation {
                    AlterOperatorClassOperation::RenameTo { .. } => destructive("ALTER OPERATOR CLASS RENAME"),
                    AlterOperatorClassOperation::OwnerTo(_) => (Class::Privilege, "ALTER OPERATOR CLASS OWNER", ""),
                    AlterOperatorClassOperation::SetSchema { .. } => destructive("ALTER OPERATOR CLASS SET SCHEMA"),
                };
                self.alter(ObjectKind::Other, &alter.name, operation);
            }
            Statement::AlterTextSearch(alter) => {
                let operation = match &alter.operation {
                    AlterTextSearchOperation::RenameTo { .. } => destructive("ALTER TEXT SEARCH RENAME"),
                    AlterTextSearchOperation::OwnerTo(_) => (Class::Privilege, "ALTER TEXT SEARCH OWNER", ""),
                    AlterTextSearchOperation::SetSchema { .. } => destructive("ALTER TEXT SEARCH SET SCHEMA"),
                    AlterTextSearchOperation::SetOptions { .. } => additive("ALTER TEXT SEARCH"),
                };
                self.alter(ObjectKind::Other, &alter.name, operation);
            }
            Statement::AlterRole { name, operation } => {
                self.touch(Class::Privilege, "ALTER ROLE", names::simple(ObjectKind::Other, name));
                self.alter_role(operation);
            }
            Statement::AlterUser(user) => {
                self.touch(Class::Privilege, "ALTER ROLE", names::simple(ObjectKind::Other, &user.name));
            }
            Statement::AlterPolicy(policy) => {
                let table = names::relation(&policy.table_name);
                match &policy.operation {
                    AlterPolicyOperation::Rename { .. } => {
                        self.touch(Class::DdlDestructive, "ALTER POLICY RENAME", table)
                    }
                    AlterPolicyOperation::Apply { .. } => self.touch(Class::Privilege, "ALTER POLICY", table),
                }
            }
            Statement::Grant(grant) => self.privileges("GRANT", grant.objects.as_ref()),
            Statement::Revoke(revoke) => self.privileges("REVOKE", revoke.objects.as_ref()),
            _ => self.unknown("ALTER"),
        }
    }

    fn alter(&mut self, kind: ObjectKind, name: &ObjectName, operation: Operation) {
        self.operation(names::object(kind, name), operation);
    }

    fn operation(&mut self, object: Object, (class, act, safer): Operation) {
        let effect = Effect::new(class, act).on(object);
        self.add(if safer.is_empty() { effect } else { effect.hint(safer) });
    }

    fn alter_table(&mut self, alter: &AlterTable) {
        let table = names::relation(&alter.name);
        if alter.location.is_some() || alter.on_cluster.is_some() || alter.table_type.is_some() {
            self.unknown("ALTER TABLE");
        }
        let new = self.is_new(&table);
        self.defining = true;
        for operation in &alter.operations {
            let (class, act, safer) = alter_operation(operation);
            let harmless = new && matches!(class, Class::DdlLocking | Class::DdlDestructive);
            let judged = if harmless { additive(act) } else { (class, act, safer) };
            self.operation(table.clone(), judged);
        }
    }

    fn alter_function(&mut self, alter: &AlterFunction) {
        let object = names::object(ObjectKind::Function, &alter.function.name);
        let operation = match &alter.operation {
            AlterFunctionOperation::RenameTo { .. } => destructive("ALTER FUNCTION RENAME"),
            AlterFunctionOperation::SetSchema { .. } => destructive("ALTER FUNCTION SET SCHEMA"),
            AlterFunctionOperation::OwnerTo(_) => (Class::Privilege, "ALTER FUNCTION OWNER", ""),
            AlterFunctionOperation::DependsOnExtension { .. } => additive("ALTER FUNCTION DEPENDS ON EXTENSION"),
            AlterFunctionOperation::Actions { actions, .. } => {
                actions.iter().for_each(|action| self.function_action(action));
                additive("ALTER FUNCTION")
            }
        };
        self.operation(object, operation);
    }

    fn function_action(&mut self, action: &AlterFunctionAction) {
        match action {
            AlterFunctionAction::Set(FunctionDefinitionSetParam { name, value }) => match value {
                FunctionSetValue::Default => self.set_clause(name, SettingValue::Default),
                FunctionSetValue::FromCurrent => self.set_clause(name, SettingValue::Computed),
                FunctionSetValue::Values(values) => self.set_clause_values(name, values),
            },
            AlterFunctionAction::Reset(ResetConfig::ConfigName(name)) => self.set_clause(name, SettingValue::Default),
            AlterFunctionAction::Reset(ResetConfig::ALL) => self.act(Class::SessionSetting, "RESET ALL"),
            AlterFunctionAction::Security { .. } | AlterFunctionAction::Leakproof(_) => {
                self.act(Class::Privilege, "ALTER FUNCTION SECURITY");
            }
            AlterFunctionAction::CalledOnNull(_)
            | AlterFunctionAction::Behavior(_)
            | AlterFunctionAction::Parallel(_)
            | AlterFunctionAction::Cost(_)
            | AlterFunctionAction::Rows(_)
            | AlterFunctionAction::Support(_) => {}
        }
    }

    fn alter_role(&mut self, operation: &AlterRoleOperation) {
        match operation {
            AlterRoleOperation::Set { config_name, config_value, .. } => match config_value {
                SetConfigValue::Default => self.set_clause(config_name, SettingValue::Default),
                SetConfigValue::FromCurrent => self.set_clause(config_name, SettingValue::Computed),
                SetConfigValue::Value(value) => self.set_clause_values(config_name, std::slice::from_ref(value)),
            },
            AlterRoleOperation::Reset { config_name: ResetConfig::ConfigName(name), .. } => {
                self.set_clause(name, SettingValue::Default);
            }
            AlterRoleOperation::Reset { config_name: ResetConfig::ALL, .. } => {
                self.act(Class::SessionSetting, "RESET ALL")
            }
            AlterRoleOperation::RenameRole { .. } => self.act(Class::DdlDestructive, "ALTER ROLE RENAME"),
            AlterRoleOperation::AddMember { .. }
            | AlterRoleOperation::DropMember { .. }
            | AlterRoleOperation::WithOptions { .. } => {}
        }
    }

    /// GRANT and REVOKE: on relations where they name some.
    fn privileges(&mut self, act: &'static str, objects: Option<&GrantObjects>) {
        match objects {
            Some(GrantObjects::Tables(tables) | GrantObjects::Views(tables) | GrantObjects::Sequences(tables)) => {
                for table in tables {
                    self.touch(Class::Privilege, act, names::relation(table));
                }
            }
            Some(
                GrantObjects::Schemas(names)
                | GrantObjects::Databases(names)
                | GrantObjects::AllTablesInSchema { schemas: names }
                | GrantObjects::AllSequencesInSchema { schemas: names }
                | GrantObjects::AllFunctionsInSchema { schemas: names },
            ) => {
                for name in names {
                    self.touch(Class::Privilege, act, names::object(ObjectKind::Other, name));
                }
            }
            Some(GrantObjects::Function { name, .. } | GrantObjects::Procedure { name, .. }) => {
                self.touch(Class::Privilege, act, names::object(ObjectKind::Function, name));
            }
            Some(_) | None => self.act(Class::Privilege, act),
        }
    }
}

fn alter_schema(operation: &AlterSchemaOperation) -> Operation {
    match operation {
        AlterSchemaOperation::Rename { .. } => destructive("ALTER SCHEMA RENAME"),
        AlterSchemaOperation::OwnerTo { .. } => (Class::Privilege, "ALTER SCHEMA OWNER", ""),
        AlterSchemaOperation::SetDefaultCollate { .. }
        | AlterSchemaOperation::AddReplica { .. }
        | AlterSchemaOperation::DropReplica { .. }
        | AlterSchemaOperation::SetOptionsParens { .. } => (Class::Unknown, "ALTER SCHEMA", ""),
    }
}

fn alter_family(operation: &AlterOperatorFamilyOperation) -> Operation {
    match operation {
        AlterOperatorFamilyOperation::Add { .. } => additive("ALTER OPERATOR FAMILY ADD"),
        AlterOperatorFamilyOperation::Drop { .. } => destructive("ALTER OPERATOR FAMILY DROP"),
        AlterOperatorFamilyOperation::RenameTo { .. } => destructive("ALTER OPERATOR FAMILY RENAME"),
        AlterOperatorFamilyOperation::SetSchema { .. } => destructive("ALTER OPERATOR FAMILY SET SCHEMA"),
        AlterOperatorFamilyOperation::OwnerTo(_) => (Class::Privilege, "ALTER OPERATOR FAMILY OWNER", ""),
    }
}

fn alter_operation(operation: &AlterTableOperation) -> Operation {
    use AlterTableOperation as Op;
    match operation {
        Op::AddConstraint { constraint, not_valid } => add_constraint(constraint, *not_valid),
        Op::AddColumn { column_def, column_position: None, .. } => add_column(column_def),
        Op::AlterColumn { op, .. } => alter_column(op),
        Op::DropColumn { .. } => destructive("ALTER TABLE DROP COLUMN"),
        Op::DropConstraint { .. } => destructive("ALTER TABLE DROP CONSTRAINT"),
        Op::DisableRowLevelSecurity => destructive("ALTER TABLE DISABLE ROW LEVEL SECURITY"),
        Op::NoForceRowLevelSecurity => destructive("ALTER TABLE NO FORCE ROW LEVEL SECURITY"),
        Op::DisableRule { .. } => destructive("ALTER TABLE DISABLE RULE"),
        Op::DisableTrigger { .. } => destructive("ALTER TABLE DISABLE TRIGGER"),
        Op::EnableReplicaRule { .. } => destructive("ALTER TABLE ENABLE REPLICA RULE"),
        Op::EnableReplicaTrigger { .. } => destructive("ALTER TABLE ENABLE REPLICA TRIGGER"),
        Op::DetachPartition { .. } => destructive("ALTER TABLE DETACH PARTITION"),
        Op::RenameColumn { .. } => destructive("ALTER TABLE RENAME COLUMN"),
        Op::RenameConstraint { .. } => destructive("ALTER TABLE RENAME CONSTRAINT"),
        Op::RenameTable { table_name: RenameTableNameKind::To(_) } => destructive("ALTER TABLE RENAME"),
        Op::SetUnlogged => destructive("ALTER TABLE SET UNLOGGED"),
        Op::OwnerTo { .. } => (Class::Privilege, "ALTER TABLE OWNER", ""),
        Op::SetLogged => (Class::DdlLocking, "ALTER TABLE SET LOGGED", "it rewrites the table"),
        Op::AttachPartition { .. } => (
            Class::DdlLocking,
            "ALTER TABLE ATTACH PARTITION",
            "a matching CHECK constraint on the partition saves its scan",
        ),
        Op::EnableAlwaysRule { .. } | Op::EnableRule { .. } => additive("ALTER TABLE ENABLE RULE"),
        Op::EnableAlwaysTrigger { .. } | Op::EnableTrigger { .. } => additive("ALTER TABLE ENABLE TRIGGER"),
        Op::EnableRowLevelSecurity => additive("ALTER TABLE ENABLE ROW LEVEL SECURITY"),
        Op::ForceRowLevelSecurity => additive("ALTER TABLE FORCE ROW LEVEL SECURITY"),
        Op::ReplicaIdentity { .. } => additive("ALTER TABLE REPLICA IDENTITY"),
        Op::ValidateConstraint { .. } => additive("ALTER TABLE VALIDATE CONSTRAINT"),
        Op::SetOptionsParens { options } if options.iter().any(guards) => destructive("ALTER TABLE SET"),
        Op::SetOptionsParens { .. } => additive("ALTER TABLE SET"),
        Op::AddColumn { column_position: Some(_), .. }
        | Op::AddProjection { .. }
        | Op::DropProjection { .. }
        | Op::MaterializeProjection { .. }
        | Op::ClearProjection { .. }
        | Op::FreezePartition { .. }
        | Op::UnfreezePartition { .. }
        | Op::DropPrimaryKey { .. }
        | Op::DropForeignKey { .. }
        | Op::DropIndex { .. }
        | Op::RenamePartitions { .. }
        | Op::AddPartitions { .. }
        | Op::DropPartitions { .. }
        | Op::RenameTable { table_name: RenameTableNameKind::As(_) }
        | Op::ChangeColumn { .. }
        | Op::ModifyColumn { .. }
        | Op::SwapWith { .. }
        | Op::SetTblProperties { .. }
        | Op::ClusterBy { .. }
        | Op::DropClusteringKey
        | Op::AlterSortKey { .. }
        | Op::SuspendRecluster
        | Op::ResumeRecluster
        | Op::Refresh { .. }
        | Op::Suspend
        | Op::Resume
        | Op::Algorithm { .. }
        | Op::Lock { .. }
        | Op::AutoIncrement { .. } => (Class::Unknown, "ALTER TABLE of another dialect", ""),
    }
}

/// Whether an option is one that a view's protection stands on.
fn guards(option: &SqlOption) -> bool {
    match option {
        SqlOption::KeyValue { key, .. } | SqlOption::Ident(key) => {
            matches!(names::folded(key).as_str(), "security_barrier" | "security_invoker")
        }
        _ => false,
    }
}

fn add_constraint(constraint: &TableConstraint, not_valid: bool) -> Operation {
    let unenforced = match constraint {
        TableConstraint::Check(check) => check.enforced == Some(false),
        TableConstraint::ForeignKey(key) => key.characteristics.as_ref().is_some_and(|c| c.enforced == Some(false)),
        _ => false,
    };
    match constraint {
        TableConstraint::Check(_) | TableConstraint::ForeignKey(_) if not_valid || unenforced => {
            additive("ALTER TABLE ADD CONSTRAINT")
        }
        TableConstraint::Check(_) | TableConstraint::ForeignKey(_) => {
            (Class::DdlLocking, "ALTER TABLE ADD CONSTRAINT", NOT_VALID)
        }
        TableConstraint::Unique(_) | TableConstraint::PrimaryKey(_) => {
            (Class::DdlLocking, "ALTER TABLE ADD CONSTRAINT", USING_INDEX)
        }
        TableConstraint::Exclude(_) => (Class::DdlLocking, "ALTER TABLE ADD CONSTRAINT", "it builds an index"),
        TableConstraint::PrimaryKeyUsingIndex(_) | TableConstraint::UniqueUsingIndex(_) => {
            additive("ALTER TABLE ADD CONSTRAINT USING INDEX")
        }
        TableConstraint::Index(_) | TableConstraint::FulltextOrSpatial(_) => {
            (Class::Unknown, "ALTER TABLE ADD INDEX", "")
        }
    }
}

/// ADD COLUMN rewrites or scans the table when its values differ by row or something has to be checked.
fn add_column(column: &ColumnDef) -> Operation {
    let default = column.options.iter().any(|option| matches!(option.option, ColumnOption::Default(_)));
    let slow = is_serial(&column.data_type) || column.options.iter().any(|option| rewrites(&option.option, default));
    if slow { (Class::DdlLocking, "ALTER TABLE ADD COLUMN", IN_STEPS) } else { additive("ALTER TABLE ADD COLUMN") }
}

fn is_serial(data_type: &DataType) -> bool {
    const SERIAL: &[&str] = &["serial", "serial2", "serial4", "serial8", "bigserial", "smallserial"];
    match data_type {
        DataType::Custom(name, _) => SERIAL.contains(&names::qualified(name).1.as_str()),
        _ => false,
    }
}

fn rewrites(option: &ColumnOption, default: bool) -> bool {
    match option {
        ColumnOption::Default(value) => varies_by_row(value),
        ColumnOption::PrimaryKey(_) | ColumnOption::Unique(_) | ColumnOption::Check(_) | ColumnOption::Identity(_) => {
            true
        }
        // Without a default every value is NULL, and the server skips the check (transformAlterTableStmt).
        ColumnOption::ForeignKey(_) => default,
        ColumnOption::Generated { generation_expr_mode, .. } => {
            !matches!(generation_expr_mode, Some(GeneratedExpressionMode::Virtual))
        }
        ColumnOption::Null
        | ColumnOption::NotNull
        | ColumnOption::Collation(_)
        | ColumnOption::Comment(_)
        | ColumnOption::Options(_)
        | ColumnOption::Materialized(_)
        | ColumnOption::Ephemeral(_)
        | ColumnOption::Alias(_)
        | ColumnOption::DialectSpecific(_)
        | ColumnOption::CharacterSet(_)
        | ColumnOption::OnUpdate(_)
        | ColumnOption::OnConflict(_)
        | ColumnOption::Policy(_)
        | ColumnOption::Tags(_)
        | ColumnOption::Srid(_)
        | ColumnOption::Invisible => false,
    }
}

/// Whether an expression calls a volatile function.
fn varies_by_row(value: &Expr) -> bool {
    struct Volatile;
    impl Visitor for Volatile {
        type Break = ();
        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            let Expr::Function(function) = expr else { return ControlFlow::Continue(()) };
            let (schema, name) = names::qualified(&function.name);
            let form = schema.is_none() && functions::is_grammar_form(&name);
            if !form && functions::is_volatile(schema.as_deref(), &name) {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        }
    }
    value.visit(&mut Volatile).is_break()
}

fn alter_column(operation: &AlterColumnOperation) -> Operation {
    match operation {
        AlterColumnOperation::SetNotNull => (Class::DdlLocking, "ALTER TABLE SET NOT NULL", CHECK_FIRST),
        AlterColumnOperation::DropNotNull => destructive("ALTER TABLE DROP NOT NULL"),
        AlterColumnOperation::SetDefault { .. } => additive("ALTER TABLE SET DEFAULT"),
        AlterColumnOperation::DropDefault => additive("ALTER TABLE DROP DEFAULT"),
        AlterColumnOperation::SetDataType { .. } => destructive("ALTER TABLE ALTER COLUMN TYPE"),
        AlterColumnOperation::AddGenerated { .. } => additive("ALTER TABLE ADD GENERATED"),
    }
}
