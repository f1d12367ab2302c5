//! ALTER TABLE and its kin, command by command. Room of the postgres reader.

use pg_query::protobuf as pb;
use pg_query::{Node, NodeEnum};

use super::names::{self, noun};
use super::session::option_text;
use super::tokens;
use super::walker::Walker;
use crate::sql::effect::{Class, Effect, Object};
use crate::sql::functions;
use crate::sql::reading::Movement;

/// A command's class, what to call it, and the safer way.
type Judged = (Class, &'static str, Option<&'static str>);

const VALIDATE: &str = "it scans the table under a lock: add it NOT VALID, then VALIDATE CONSTRAINT";
const BUILD: &str =
    "it builds an index under a lock: CREATE UNIQUE INDEX CONCURRENTLY, then ADD CONSTRAINT … USING INDEX";
const REWRITE: &str =
    "it rewrites the table under a lock: SET lock_timeout first, and run it when nobody needs the table";

impl Walker<'_> {
    /// ALTER TABLE, INDEX, VIEW, SEQUENCE, MATERIALIZED VIEW, FOREIGN TABLE and TYPE (attributes).
    pub(super) fn alter_table(&mut self, statement: &pb::AlterTableStmt) -> Movement {
        let Some(relation) = &statement.relation else {
            self.unknown("ALTER TABLE without a name");
            return Movement::None;
        };
        let kind = statement.objtype();
        let mut object = names::relation(relation);
        object.kind = names::kind_of(kind);
        let new = self.made.has(&object);
        let mut movement = Movement::None;
        let places = self.actions(relation.location, statement.cmds.len());
        for (index, node) in statement.cmds.iter().enumerate() {
            let Some(NodeEnum::AlterTableCmd(command)) = &node.node else {
                self.unknown("ALTER TABLE with a part pgwarden does not know");
                continue;
            };
            let (class, act, hint) = match (kind, command.subtype()) {
                // An index is attached without a scan, and without stopping anybody.
                (pb::ObjectType::ObjectIndex, pb::AlterTableType::AtAttachPartition) => {
                    (Class::DdlAdditive, "ATTACH PARTITION", None)
                }
                _ => self.command(command),
            };
            let attaches = command.subtype() == pb::AlterTableType::AtAttachPartition;
            let class = if new && !attaches { softened(class) } else { class };
            let mut effect = Effect::new(class, format!("ALTER {} … {act}", noun(kind))).on(object.clone());
            if let Some(hint) = hint.filter(|_| !new) {
                effect = effect.hint(hint);
            }
            match places.get(index) {
                Some(place) => self.add_over(effect, place.clone()),
                None => self.add_at(effect, relation.location),
            }
            self.other_tables(class, command);
            self.command_parts(command);
            if let Some(parent) = self.takes_in(command, &object) {
                self.made.forget(&parent);
            }
            if leaves_transaction(command) {
                movement = Movement::OutsideTransaction;
            }
        }
        movement
    }

    /// The other tables that a command names: a partition, a parent, those that foreign keys refer to.
    fn other_tables(&mut self, class: Class, command: &pb::AlterTableCmd) {
        let Some(definition) = command.def.as_deref() else { return };
        let (act, range) = match &definition.node {
            Some(NodeEnum::PartitionCmd(partition)) => ("ALTER TABLE … PARTITION", partition.name.as_ref()),
            Some(NodeEnum::RangeVar(parent)) => ("ALTER TABLE … INHERIT", Some(parent)),
            _ => return self.referred(class, definition),
        };
        if let Some(range) = range {
            self.add_at(Effect::new(class, act).on(names::relation(range)).accompanying(), range.location);
        }
    }

    /// Where the actions behind the name at `location` stand, if they can be told apart.
    fn actions(&self, location: i32, count: usize) -> Vec<std::ops::Range<usize>> {
        let start = usize::try_from(location).ok();
        let text = start.and_then(|start| self.text.get(start..self.statement.end.max(start)));
        let (Some(start), Some(text)) = (start, text) else { return Vec::new() };
        let places = tokens::actions_behind_name(text).unwrap_or_default();
        match places.len() == count {
            true => places.into_iter().map(|place| place.start + start..place.end + start).collect(),
            false => Vec::new(),
        }
    }

    /// The expressions of a command.
    fn command_parts(&mut self, command: &pb::AlterTableCmd) {
        match command.subtype() {
            pb::AlterTableType::AtColumnDefault => self.stored_default(command.def.as_deref()),
            _ => match command.def.as_deref().and_then(|def| def.node.as_ref()) {
                Some(NodeEnum::PartitionCmd(partition)) => {
                    if let Some(bound) = &partition.bound {
                        self.partition_bound(bound);
                    }
                }
                Some(NodeEnum::ReplicaIdentityStmt(_) | NodeEnum::AtalterConstraint(_) | NodeEnum::RangeVar(_)) => {}
                Some(_) | None => self.boxed(&command.def),
            },
        }
    }

    /// The table that takes an older one in: what is done to it from now on is done to old rows too.
    fn takes_in(&self, command: &pb::AlterTableCmd, object: &Object) -> Option<Object> {
        use pb::AlterTableType as T;
        match (command.subtype(), command.def.as_deref().and_then(|def| def.node.as_ref())) {
            (T::AtAttachPartition, Some(NodeEnum::PartitionCmd(partition)))
                if self.made.has_relation(partition.name.as_ref()) =>
            {
                None
            }
            (T::AtAttachPartition, _) => Some(object.clone()),
            (T::AtAddInherit, Some(NodeEnum::RangeVar(parent))) => Some(names::relation(parent)),
            _ => None,
        }
    }

    fn command(&mut self, command: &pb::AlterTableCmd) -> Judged {
        use Class::{DdlAdditive as Additive, DdlDestructive as Destructive, DdlLocking as Locking};
        use pb::AlterTableType as T;
        let definition = command.def.as_deref().and_then(|def| def.node.as_ref());
        match command.subtype() {
            T::AtAddColumn | T::AtAddColumnToView => add_column(definition),
            T::AtColumnDefault if definition.is_none() => (Additive, "ALTER COLUMN DROP DEFAULT", None),
            T::AtColumnDefault | T::AtCookedColumnDefault => (Additive, "ALTER COLUMN SET DEFAULT", None),
            T::AtDropNotNull => (Destructive, "ALTER COLUMN DROP NOT NULL", None),
            T::AtSetNotNull => {
                let hint = "it scans the table under a lock: first add CHECK (… IS NOT NULL) NOT VALID and VALIDATE it";
                (Locking, "ALTER COLUMN SET NOT NULL", Some(hint))
            }
            T::AtSetExpression => (Destructive, "ALTER COLUMN SET EXPRESSION", Some(REWRITE)),
            T::AtDropExpression => (Destructive, "ALTER COLUMN DROP EXPRESSION", None),
            T::AtSetStatistics => (Additive, "ALTER COLUMN SET STATISTICS", None),
            T::AtSetOptions | T::AtResetOptions => (Additive, "ALTER COLUMN SET (…)", None),
            T::AtSetStorage => (Additive, "ALTER COLUMN SET STORAGE", None),
            T::AtSetCompression => (Additive, "ALTER COLUMN SET COMPRESSION", None),
            T::AtDropColumn => {
                let hint = "two steps are safer: stop using the column and release, then drop it";
                (Destructive, "DROP COLUMN", Some(hint))
            }
            T::AtAddConstraint => add_constraint(definition),
            T::AtAlterConstraint => alter_constraint(definition),
            T::AtValidateConstraint => (Additive, "VALIDATE CONSTRAINT", None),
            T::AtDropConstraint => (Destructive, "DROP CONSTRAINT", None),
            T::AtAlterColumnType => {
                (Destructive, "ALTER COLUMN TYPE", Some("add a column of the new type, copy, and switch over"))
            }
            T::AtChangeOwner => (Class::Privilege, "OWNER TO", None),
            T::AtClusterOn | T::AtDropCluster => (Additive, "CLUSTER ON", None),
            T::AtSetLogged => (Locking, "SET LOGGED", Some(REWRITE)),
            T::AtSetUnLogged => (Destructive, "SET UNLOGGED", Some("an unlogged table is emptied by a crash")),
            T::AtDropOids => (Additive, "SET WITHOUT OIDS", None),
            T::AtSetAccessMethod => (Locking, "SET ACCESS METHOD", Some(REWRITE)),
            T::AtSetTableSpace => (Locking, "SET TABLESPACE", Some(REWRITE)),
            T::AtSetRelOptions | T::AtReplaceRelOptions | T::AtResetRelOptions => {
                relation_options(command.subtype(), definition)
            }
            T::AtEnableTrig | T::AtEnableAlwaysTrig | T::AtEnableTrigAll | T::AtEnableTrigUser => {
                (Additive, "ENABLE TRIGGER", None)
            }
            T::AtEnableReplicaTrig => {
                (Destructive, "ENABLE REPLICA TRIGGER", Some("it no longer fires for ordinary sessions"))
            }
            T::AtDisableTrig | T::AtDisableTrigAll | T::AtDisableTrigUser => (Destructive, "DISABLE TRIGGER", None),
            T::AtEnableRule | T::AtEnableAlwaysRule => (Additive, "ENABLE RULE", None),
            T::AtEnableReplicaRule | T::AtDisableRule => (Destructive, "DISABLE RULE", None),
            T::AtAddInherit => (Additive, "INHERIT", None),
            T::AtDropInherit => (Destructive, "NO INHERIT", None),
            T::AtAddOf | T::AtDropOf => (Additive, "OF", None),
            T::AtReplicaIdentity => (Additive, "REPLICA IDENTITY", None),
            T::AtEnableRowSecurity => (Additive, "ENABLE ROW LEVEL SECURITY", None),
            T::AtForceRowSecurity => (Additive, "FORCE ROW LEVEL SECURITY", None),
            T::AtDisableRowSecurity => (Destructive, "DISABLE ROW LEVEL SECURITY", None),
            T::AtNoForceRowSecurity => (Destructive, "NO FORCE ROW LEVEL SECURITY", None),
            T::AtGenericOptions | T::AtAlterColumnGenericOptions => (Class::Server, "OPTIONS", None),
            T::AtAttachPartition => self.attach(definition),
            T::AtDetachPartition | T::AtDetachPartitionFinalize => (Destructive, "DETACH PARTITION", None),
            T::AtAddIdentity => (Additive, "ALTER COLUMN ADD IDENTITY", None),
            T::AtSetIdentity => set_identity(definition),
            T::AtDropIdentity => (Destructive, "ALTER COLUMN DROP IDENTITY", None),
            T::AtAddIndex
            | T::AtReAddIndex
            | T::AtReAddConstraint
            | T::AtReAddDomainConstraint
            | T::AtAddIndexConstraint
            | T::AtReAddComment
            | T::AtReAddStatistics
            | T::Undefined => (Class::Unknown, "a command pgwarden does not know", None),
        }
    }

    fn attach(&self, definition: Option<&NodeEnum>) -> Judged {
        let partition = match definition {
            Some(NodeEnum::PartitionCmd(partition)) => partition.name.as_ref(),
            _ => None,
        };
        match self.made.has_relation(partition) {
            true => (Class::DdlAdditive, "ATTACH PARTITION", None),
            false => {
                let hint =
                    "it scans the partition under a lock: first add a CHECK of its bounds NOT VALID and VALIDATE it";
                (Class::DdlLocking, "ATTACH PARTITION", Some(hint))
            }
        }
    }
}

/// A table that the same text made has no rows and no users yet.
fn softened(class: Class) -> Class {
    match class {
        Class::DdlLocking | Class::DdlDestructive => Class::DdlAdditive,
        class => class,
    }
}

fn leaves_transaction(command: &pb::AlterTableCmd) -> bool {
    match command.def.as_deref().and_then(|def| def.node.as_ref()) {
        Some(NodeEnum::PartitionCmd(partition)) => partition.concurrent,
        _ => false,
    }
}

fn add_column(definition: Option<&NodeEnum>) -> Judged {
    const ACT: &str = "ADD COLUMN";
    let Some(NodeEnum::ColumnDef(column)) = definition else { return (Class::Unknown, ACT, None) };
    let constraints = || column.constraints.iter().filter_map(constraint);
    let fills =
        column.raw_default.is_some() || constraints().any(|part| part.contype() == pb::ConstrType::ConstrDefault);
    if is_serial(column) || constraints().any(rewrites) {
        let hint = "it writes a value into every row under a lock: add the column bare, then fill it in batches";
        return (Class::DdlLocking, ACT, Some(hint));
    }
    match constraints().find_map(|part| scans(part, fills)) {
        Some(hint) => (Class::DdlLocking, ACT, Some(hint)),
        None => (Class::DdlAdditive, ACT, None),
    }
}

fn constraint(node: &Node) -> Option<&pb::Constraint> {
    match &node.node {
        Some(NodeEnum::Constraint(constraint)) => Some(constraint),
        _ => None,
    }
}

/// `serial` and its kin are a column with `DEFAULT nextval(…)`.
fn is_serial(column: &pb::ColumnDef) -> bool {
    let name = column.type_name.as_ref().and_then(|name| names::words(&name.names).pop().map(str::to_owned));
    matches!(name.as_deref(), Some("serial" | "serial2" | "serial4" | "serial8" | "bigserial" | "smallserial"))
}

/// Whether a column constraint gives every existing row a value of its own.
fn rewrites(constraint: &pb::Constraint) -> bool {
    match constraint.contype() {
        pb::ConstrType::ConstrIdentity => true,
        pb::ConstrType::ConstrGenerated => constraint.generated_kind != "v",
        pb::ConstrType::ConstrDefault => constraint.raw_expr.as_deref().is_some_and(|expression| !steady(expression)),
        _ => false,
    }
}

/// Whether a default is one value for all rows: constants, casts and functions known not to be volatile.
fn steady(node: &Node) -> bool {
    let maybe = |node: &Option<Box<Node>>| node.as_deref().is_none_or(steady);
    match &node.node {
        Some(NodeEnum::AConst(_) | NodeEnum::SqlvalueFunction(_)) | None => true,
        Some(NodeEnum::TypeCast(cast)) => maybe(&cast.arg),
        Some(NodeEnum::CollateClause(collate)) => maybe(&collate.arg),
        Some(NodeEnum::AExpr(expression)) => maybe(&expression.lexpr) && maybe(&expression.rexpr),
        Some(NodeEnum::BoolExpr(expression)) => expression.args.iter().all(steady),
        Some(NodeEnum::AArrayExpr(array)) => array.elements.iter().all(steady),
        Some(NodeEnum::CoalesceExpr(coalesce)) => coalesce.args.iter().all(steady),
        Some(NodeEnum::FuncCall(call)) => {
            let parts = names::words(&call.funcname);
            let known = match parts.as_slice() {
                [name] => !functions::is_volatile(None, name),
                [.., schema, name] => !functions::is_volatile(Some(schema), name),
                [] => false,
            };
            known && call.args.iter().all(steady)
        }
        Some(_) => false,
    }
}

/// Why a column constraint looks at every row or builds an index.
fn scans(constraint: &pb::Constraint, fills: bool) -> Option<&'static str> {
    match constraint.contype() {
        pb::ConstrType::ConstrPrimary | pb::ConstrType::ConstrUnique | pb::ConstrType::ConstrExclusion => Some(BUILD),
        pb::ConstrType::ConstrCheck if !constraint.skip_validation && constraint.is_enforced => Some(VALIDATE),
        pb::ConstrType::ConstrForeign if fills && !constraint.skip_validation => Some(VALIDATE),
        _ => None,
    }
}

fn add_constraint(definition: Option<&NodeEnum>) -> Judged {
    const ACT: &str = "ADD CONSTRAINT";
    let Some(NodeEnum::Constraint(constraint)) = definition else { return (Class::Unknown, ACT, None) };
    if constraint.skip_validation || !constraint.indexname.is_empty() {
        return (Class::DdlAdditive, ACT, None);
    }
    let hint = match constraint.contype() {
        pb::ConstrType::ConstrPrimary | pb::ConstrType::ConstrUnique => BUILD,
        pb::ConstrType::ConstrExclusion => {
            "it builds an index under a lock, and cannot do it otherwise: SET lock_timeout first"
        }
        _ => VALIDATE,
    };
    (Class::DdlLocking, ACT, Some(hint))
}

fn alter_constraint(definition: Option<&NodeEnum>) -> Judged {
    const ACT: &str = "ALTER CONSTRAINT";
    match definition {
        Some(NodeEnum::AtalterConstraint(alter)) if alter.alter_enforceability && alter.is_enforced => {
            (Class::DdlLocking, ACT, Some("it checks every row under a lock: SET lock_timeout first"))
        }
        Some(NodeEnum::AtalterConstraint(alter)) if alter.alter_enforceability => (Class::DdlDestructive, ACT, None),
        Some(NodeEnum::AtalterConstraint(_)) => (Class::DdlAdditive, ACT, None),
        Some(_) | None => (Class::Unknown, ACT, None),
    }
}

/// Storage options are harmless; a view's `security_barrier` and `security_invoker` protect, and may be switched off.
fn relation_options(subtype: pb::AlterTableType, definition: Option<&NodeEnum>) -> Judged {
    let options = match definition {
        Some(NodeEnum::List(list)) => list.items.as_slice(),
        _ => &[],
    };
    let loosens = |node: &Node| {
        let Some(NodeEnum::DefElem(option)) = &node.node else { return false };
        let name = option.defname.to_ascii_lowercase();
        let value = option.arg.as_deref().map(|argument| option_text(argument).to_ascii_lowercase());
        let on = subtype != pb::AlterTableType::AtResetRelOptions
            && matches!(value.as_deref(), None | Some("true" | "on" | "1" | "yes"));
        matches!(name.as_str(), "security_barrier" | "security_invoker" | "check_option")
            && !on
            && name != "check_option"
            || name == "check_option" && subtype == pb::AlterTableType::AtResetRelOptions
    };
    match options.iter().any(loosens) {
        true => (Class::DdlDestructive, "SET (…)", Some("it takes a protection of the view away")),
        false => (Class::DdlAdditive, "SET (…)", None),
    }
}

fn set_identity(definition: Option<&NodeEnum>) -> Judged {
    let options = match definition {
        Some(NodeEnum::List(list)) => list.items.as_slice(),
        _ => &[],
    };
    match options.iter().any(|option| super::ddl::option_is(option, "restart")) {
        true => (Class::DdlDestructive, "ALTER COLUMN RESTART", None),
        false => (Class::DdlAdditive, "ALTER COLUMN SET GENERATED", None),
    }
}
