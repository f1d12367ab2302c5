//! Definitions: CREATE, DROP, RENAME, COMMENT and their kin. Room of the postgres reader.

use pg_query::protobuf as pb;
use pg_query::{Node, NodeEnum};

use super::names::{self, noun};
use super::session::range_var;
use super::walker::Walker;
use crate::sql::effect::{Class, Effect, Object, ObjectKind};
use crate::sql::reading::Movement;

impl Walker<'_> {
    /// Something new or changed without harm, named by identifiers.
    pub(super) fn additive_named(&mut self, act: &'static str, name: &[Node]) {
        self.touch(Class::DdlAdditive, act, names::qualified(ObjectKind::Other, &names::words(name)));
    }

    /// Something of the server, named by one identifier.
    pub(super) fn server(&mut self, act: &'static str, name: &str) {
        self.touch(Class::Server, act, Some(names::plain(ObjectKind::Other, name)));
    }

    /// Something lost.
    fn destroys(&mut self, act: impl Into<std::borrow::Cow<'static, str>>, object: Option<Object>) {
        self.touch(Class::DdlDestructive, act, object);
    }

    // --- tables and what hangs on them

    /// CREATE TABLE. A partition of an existing table locks that table out.
    pub(super) fn create_table(&mut self, statement: &pb::CreateStmt) {
        let Some(relation) = &statement.relation else { return self.unknown("CREATE TABLE without a name") };
        let object = names::relation(relation);
        let new = !statement.if_not_exists;
        let parents: Vec<&pb::RangeVar> = statement.inh_relations.iter().filter_map(range_var).collect();
        let partition_of_old =
            statement.partbound.is_some() && !parents.iter().all(|range| self.made.has_relation(Some(range)));
        let class = if partition_of_old { Class::DdlLocking } else { Class::DdlAdditive };
        match partition_of_old {
            true => {
                let effect = Effect::new(class, "CREATE TABLE … PARTITION OF").on(object.clone());
                let hint =
                    "it locks the partitioned table: create the table by itself, then ALTER TABLE … ATTACH PARTITION";
                self.add_at(effect.hint(hint), relation.location);
            }
            false => self.add_at(Effect::new(class, "CREATE TABLE").on(object.clone()), relation.location),
        }
        // Rows of a child are rows of its parent.
        for parent in parents {
            let act = if statement.partbound.is_some() {
                "CREATE TABLE … PARTITION OF"
            } else {
                "CREATE TABLE … INHERITS"
            };
            self.add_at(Effect::new(class, act).on(names::relation(parent)).accompanying(), parent.location);
        }
        for part in statement.table_elts.iter().chain(&statement.constraints) {
            self.referred(class, part);
        }
        self.table_parts(statement);
        if new && statement.oncommit() != pb::OnCommitAction::OncommitDrop {
            self.made.add(object);
        }
    }

    /// The tables that the foreign keys of a column or constraint refer to.
    pub(super) fn referred(&mut self, class: Class, part: &Node) {
        match &part.node {
            Some(NodeEnum::ColumnDef(column)) => column.constraints.iter().for_each(|part| self.referred(class, part)),
            Some(NodeEnum::Constraint(constraint)) => {
                if let Some(range) = &constraint.pktable {
                    let effect = Effect::new(class, "REFERENCES").on(names::relation(range));
                    self.add_at(effect.accompanying(), range.location);
                }
            }
            _ => {}
        }
    }

    fn table_parts(&mut self, statement: &pb::CreateStmt) {
        self.nodes(&statement.table_elts);
        self.maybe_type(statement.of_typename.as_ref());
        if let Some(bound) = &statement.partbound {
            self.partition_bound(bound);
        }
        if let Some(partition) = &statement.partspec {
            self.nodes(&partition.part_params);
        }
        self.nodes(&statement.constraints);
        self.nodes(&statement.nnconstraints);
        self.nodes(&statement.options);
    }

    /// A foreign table reaches another server.
    pub(super) fn create_foreign_table(&mut self, statement: &pb::CreateForeignTableStmt) {
        self.server("CREATE FOREIGN TABLE", &statement.servername);
        if let Some(base) = &statement.base_stmt {
            self.create_table(base);
        }
    }

    /// A column: its type, default and constraints.
    pub(super) fn column_definition(&mut self, column: &pb::ColumnDef) {
        self.maybe_type(column.type_name.as_ref());
        self.stored_default(column.raw_default.as_deref());
        self.boxed(&column.cooked_default);
        self.nodes(&column.constraints);
        self.nodes(&column.fdwoptions);
    }

    /// A DEFAULT runs later, for those who insert. `nextval` is what a default is for; any other call counts.
    pub(super) fn stored_default(&mut self, expression: Option<&Node>) {
        let before = self.effects.len();
        self.maybe(expression);
        let is_nextval = |effect: &Effect| {
            if effect.act == "call of nextval" {
                return true;
            }
            let name = effect.object.as_ref().map(|object| (object.schema.as_deref(), object.name.as_str()));
            matches!(name, Some((None | Some("pg_catalog"), "nextval")))
        };
        for effect in self.effects.iter_mut().skip(before) {
            if effect.class == Class::FunctionVolatile && is_nextval(effect) {
                effect.class = Class::FunctionSafe;
            }
        }
    }

    /// A constraint's expressions.
    pub(super) fn constraint(&mut self, constraint: &pb::Constraint) {
        match constraint.contype() {
            pb::ConstrType::ConstrDefault => self.stored_default(constraint.raw_expr.as_deref()),
            _ => self.boxed(&constraint.raw_expr),
        }
        self.boxed(&constraint.where_clause);
        for exclusion in &constraint.exclusions {
            self.exclusion(exclusion);
        }
        self.nodes(&constraint.options);
    }

    /// `EXCLUDE (element WITH operator)`.
    fn exclusion(&mut self, node: &Node) {
        let Some(NodeEnum::List(pair)) = &node.node else { return };
        for part in &pair.items {
            match &part.node {
                Some(NodeEnum::List(operator)) => self.operator(&operator.items, -1),
                _ => {
                    self.node(part);
                }
            }
        }
    }

    /// `LIKE table` copies what the table is made of.
    pub(super) fn like(&mut self, like: &pb::TableLikeClause) {
        if let Some(range) = &like.relation {
            self.reads(range);
        }
    }

    /// FOR VALUES.
    pub(super) fn partition_bound(&mut self, bound: &pb::PartitionBoundSpec) {
        self.nodes(&bound.listdatums);
        self.nodes(&bound.lowerdatums);
        self.nodes(&bound.upperdatums);
    }

    /// A column or expression of an index.
    pub(super) fn index_element(&mut self, element: &pb::IndexElem) {
        self.boxed(&element.expr);
        self.nodes(&element.opclassopts);
    }

    /// CREATE INDEX.
    pub(super) fn create_index(&mut self, statement: &pb::IndexStmt) -> Movement {
        let relation = statement.relation.as_ref();
        let new_table = self.made.has_relation(relation);
        let object = relation.map(names::relation);
        match statement.concurrent || new_table {
            true => self.touch(Class::DdlAdditive, "CREATE INDEX", object),
            false => {
                let mut effect = Effect::new(Class::DdlLocking, "CREATE INDEX");
                effect.object = object;
                self.add(effect.hint("it stops writes to the table while it runs: CREATE INDEX CONCURRENTLY does not"));
            }
        }
        self.nodes(&statement.index_params);
        self.nodes(&statement.index_including_params);
        self.boxed(&statement.where_clause);
        self.nodes(&statement.options);
        if new_table && !statement.if_not_exists && !statement.idxname.is_empty() {
            let schema = relation.filter(|range| !range.schemaname.is_empty()).map(|range| range.schemaname.clone());
            self.made.add(Object { kind: ObjectKind::Relation, schema, name: statement.idxname.clone() });
        }
        if statement.concurrent { Movement::OutsideTransaction } else { Movement::None }
    }

    /// CREATE STATISTICS.
    pub(super) fn create_statistics(&mut self, statement: &pb::CreateStatsStmt) {
        self.additive_named("CREATE STATISTICS", &statement.defnames);
        self.nodes(&statement.exprs);
        self.nodes(&statement.relations);
    }

    /// CREATE SEQUENCE.
    pub(super) fn create_sequence(&mut self, statement: &pb::CreateSeqStmt) {
        let Some(range) = &statement.sequence else { return self.unknown("CREATE SEQUENCE without a name") };
        let object = names::relation(range);
        self.add_at(Effect::new(Class::DdlAdditive, "CREATE SEQUENCE").on(object.clone()), range.location);
        if !statement.if_not_exists {
            self.made.add(object);
        }
    }

    /// ALTER SEQUENCE: RESTART loses where it was.
    pub(super) fn alter_sequence(&mut self, statement: &pb::AlterSeqStmt) {
        let relation = statement.sequence.as_ref();
        let restarts = statement.options.iter().any(|option| option_is(option, "restart"));
        let class = match restarts && !self.made.has_relation(relation) {
            true => Class::DdlDestructive,
            false => Class::DdlAdditive,
        };
        let act = if restarts { "ALTER SEQUENCE … RESTART" } else { "ALTER SEQUENCE" };
        self.touch(class, act, relation.map(names::relation));
        if statement.options.iter().any(|option| option_is(option, "owned_by")) {
            // From now on the sequence goes where its table goes.
            self.made.clear();
        }
    }

    /// CREATE VIEW: its query's effects count.
    pub(super) fn create_view(&mut self, statement: &pb::ViewStmt) {
        let Some(range) = &statement.view else { return self.unknown("CREATE VIEW without a name") };
        let object = names::relation(range);
        self.add_at(Effect::new(Class::DdlAdditive, "CREATE VIEW").on(object.clone()), range.location);
        self.boxed(&statement.query);
        self.nodes(&statement.options);
        if !statement.replace {
            self.made.add(object);
        }
    }

    /// CREATE RULE: its actions' effects count.
    pub(super) fn create_rule(&mut self, statement: &pb::RuleStmt) {
        self.touch(Class::DdlAdditive, "CREATE RULE", statement.relation.as_ref().map(names::relation));
        self.boxed(&statement.where_clause);
        self.nodes(&statement.actions);
    }

    /// CREATE TRIGGER.
    pub(super) fn create_trigger(&mut self, statement: &pb::CreateTrigStmt) {
        for range in statement.relation.iter().chain(&statement.constrrel) {
            self.touch(Class::DdlAdditive, "CREATE TRIGGER", Some(names::relation(range)));
        }
        self.mentioned(&names::words(&statement.funcname));
        self.boxed(&statement.when_clause);
    }

    /// CREATE EVENT TRIGGER.
    pub(super) fn create_event_trigger(&mut self, statement: &pb::CreateEventTrigStmt) {
        self.touch(
            Class::DdlAdditive,
            "CREATE EVENT TRIGGER",
            Some(names::plain(ObjectKind::Other, &statement.trigname)),
        );
        self.mentioned(&names::words(&statement.funcname));
    }

    /// ALTER EVENT TRIGGER: switched off, or to replicas only, it protects no more.
    pub(super) fn alter_event_trigger(&mut self, statement: &pb::AlterEventTrigStmt) {
        let class =
            if matches!(statement.tgenabled.as_str(), "D" | "R") { Class::DdlDestructive } else { Class::DdlAdditive };
        self.touch(class, "ALTER EVENT TRIGGER", Some(names::plain(ObjectKind::Other, &statement.trigname)));
    }

    // --- schemas, types and the rest

    /// CREATE SCHEMA and what is created in it.
    pub(super) fn create_schema(&mut self, statement: &pb::CreateSchemaStmt) {
        let role = statement.authrole.as_ref();
        let named_role = role.filter(|role| role.roletype() == pb::RoleSpecType::RolespecCstring);
        let name = match (statement.schemaname.as_str(), named_role) {
            ("", Some(role)) => role.rolename.as_str(),
            (name, _) => name,
        };
        let object = (!name.is_empty()).then(|| names::plain(ObjectKind::Other, name));
        self.touch(Class::DdlAdditive, "CREATE SCHEMA", object);
        if named_role.is_some() {
            self.add(Effect::new(Class::Privilege, "CREATE SCHEMA AUTHORIZATION"));
        }
        if !statement.if_not_exists && !name.is_empty() {
            self.made.add_schema(name);
        }
        let made = self.made.clone();
        self.nodes(&statement.schema_elts);
        self.made = made;
    }

    /// CREATE TYPE of any kind.
    pub(super) fn create_type(&mut self, name: &[Node], parameters: &[Node]) {
        let object = names::qualified(ObjectKind::Other, &names::words(name));
        self.touch(Class::DdlAdditive, "CREATE TYPE", object.clone());
        self.definition(parameters);
        if let Some(object) = object {
            self.made.add(object);
        }
    }

    /// CREATE TYPE … AS (columns).
    pub(super) fn create_composite(&mut self, statement: &pb::CompositeTypeStmt) {
        let object =
            statement.typevar.as_ref().map(|range| Object { kind: ObjectKind::Other, ..names::relation(range) });
        self.touch(Class::DdlAdditive, "CREATE TYPE", object.clone());
        self.nodes(&statement.coldeflist);
        if let Some(object) = object {
            self.made.add(object);
        }
    }

    /// CREATE DOMAIN.
    pub(super) fn create_domain(&mut self, statement: &pb::CreateDomainStmt) {
        let object = names::qualified(ObjectKind::Other, &names::words(&statement.domainname));
        self.touch(Class::DdlAdditive, "CREATE DOMAIN", object.clone());
        self.maybe_type(statement.type_name.as_ref());
        self.nodes(&statement.constraints);
        if let Some(object) = object {
            self.made.add(object);
        }
    }

    /// ALTER DOMAIN: the letters are `AlterDomainStmt.subtype` of `nodes/parsenodes.h`.
    pub(super) fn alter_domain(&mut self, statement: &pb::AlterDomainStmt) {
        let object = names::qualified(ObjectKind::Other, &names::words(&statement.type_name));
        let new = object.as_ref().is_some_and(|object| self.made.has(object));
        let unchecked = matches!(statement.def.as_deref().and_then(|def| def.node.as_ref()),
            Some(NodeEnum::Constraint(constraint)) if constraint.skip_validation);
        let class = match statement.subtype.as_str() {
            "T" | "V" => Class::DdlAdditive,
            "C" if unchecked => Class::DdlAdditive,
            "O" | "C" if !new => Class::DdlLocking,
            "N" | "X" if !new => Class::DdlDestructive,
            "O" | "C" | "N" | "X" => Class::DdlAdditive,
            _ => Class::Unknown,
        };
        let mut effect = Effect::new(class, "ALTER DOMAIN");
        effect.object = object;
        if class == Class::DdlLocking {
            effect = effect.hint(
                "it checks every column of the domain under a lock: ADD CONSTRAINT … CHECK NOT VALID, then VALIDATE CONSTRAINT",
            );
        }
        self.add(effect);
        self.stored_default(statement.def.as_deref());
    }

    /// ALTER TYPE … ADD VALUE and RENAME VALUE.
    pub(super) fn alter_enum(&mut self, statement: &pb::AlterEnumStmt) {
        let object = names::qualified(ObjectKind::Other, &names::words(&statement.type_name));
        let new = object.as_ref().is_some_and(|object| self.made.has(object));
        match statement.old_val.is_empty() || new {
            true => self.touch(Class::DdlAdditive, "ALTER TYPE … ADD VALUE", object),
            false => self.destroys("ALTER TYPE … RENAME VALUE", object),
        }
    }

    /// ALTER TYPE … SET (properties).
    pub(super) fn alter_type(&mut self, statement: &pb::AlterTypeStmt) {
        self.additive_named("ALTER TYPE", &statement.type_name);
        self.definition(&statement.options);
    }

    /// CREATE AGGREGATE, OPERATOR, TYPE, COLLATION, TEXT SEARCH ….
    pub(super) fn define(&mut self, statement: &pb::DefineStmt) {
        let object = names::qualified(names::kind_of(statement.kind()), &names::words(&statement.defnames));
        self.touch(Class::DdlAdditive, format!("CREATE {}", noun(statement.kind())), object);
        self.nodes(&statement.args);
        self.definition(&statement.definition);
    }

    /// The `name = value` pairs of a definition: functions named there will be called by whoever uses it.
    pub(super) fn definition(&mut self, pairs: &[Node]) {
        for pair in pairs {
            let Some(NodeEnum::DefElem(pair)) = &pair.node else { continue };
            match pair.arg.as_deref().and_then(|argument| argument.node.as_ref()) {
                Some(NodeEnum::TypeName(name)) => self.mentioned(&names::words(&name.names)),
                Some(NodeEnum::List(list)) => self.mentioned(&names::words(&list.items)),
                _ => self.boxed(&pair.arg),
            }
        }
    }

    /// CREATE CAST.
    pub(super) fn create_cast(&mut self, statement: &pb::CreateCastStmt) {
        self.add(Effect::new(Class::DdlAdditive, "CREATE CAST"));
        self.mentioned_in([statement.func.as_ref(), None]);
    }

    /// CREATE TRANSFORM.
    pub(super) fn create_transform(&mut self, statement: &pb::CreateTransformStmt) {
        self.add(Effect::new(Class::DdlAdditive, "CREATE TRANSFORM"));
        self.mentioned_in([statement.fromsql.as_ref(), statement.tosql.as_ref()]);
    }

    fn mentioned_in(&mut self, functions: [Option<&pb::ObjectWithArgs>; 2]) {
        for function in functions.into_iter().flatten() {
            self.mentioned(&names::words(&function.objname));
        }
    }

    /// CREATE CONVERSION.
    pub(super) fn create_conversion(&mut self, statement: &pb::CreateConversionStmt) {
        self.additive_named("CREATE CONVERSION", &statement.conversion_name);
        self.mentioned(&names::words(&statement.func_name));
    }

    /// CREATE OPERATOR CLASS.
    pub(super) fn create_operator_class(&mut self, statement: &pb::CreateOpClassStmt) {
        self.additive_named("CREATE OPERATOR CLASS", &statement.opclassname);
        self.class_items(&statement.items);
    }

    fn class_items(&mut self, items: &[Node]) {
        for item in items {
            if let Some(NodeEnum::CreateOpClassItem(item)) = &item.node {
                self.mentioned_in([item.name.as_ref(), None]);
            }
        }
    }

    /// ALTER OPERATOR FAMILY.
    pub(super) fn alter_operator_family(&mut self, statement: &pb::AlterOpFamilyStmt) {
        let object = names::qualified(ObjectKind::Other, &names::words(&statement.opfamilyname));
        match statement.is_drop {
            true => self.destroys("ALTER OPERATOR FAMILY … DROP", object),
            false => self.touch(Class::DdlAdditive, "ALTER OPERATOR FAMILY", object),
        }
        self.class_items(&statement.items);
    }

    /// ALTER OPERATOR … SET.
    pub(super) fn alter_operator(&mut self, statement: &pb::AlterOperatorStmt) {
        let name = statement.opername.as_ref().map(|object| object.objname.as_slice()).unwrap_or_default();
        self.additive_named("ALTER OPERATOR", name);
        self.definition(&statement.options);
    }

    /// CREATE ACCESS METHOD runs code of the server's.
    pub(super) fn create_access_method(&mut self, statement: &pb::CreateAmStmt) {
        self.server("CREATE ACCESS METHOD", &statement.amname);
        self.mentioned(&names::words(&statement.handler_name));
    }

    /// CREATE LANGUAGE.
    pub(super) fn create_language(&mut self, statement: &pb::CreatePLangStmt) {
        self.server("CREATE LANGUAGE", &statement.plname);
        for function in [&statement.plhandler, &statement.plinline, &statement.plvalidator] {
            self.mentioned(&names::words(function));
        }
    }

    /// CREATE and ALTER EXTENSION: policies list the extensions they allow.
    pub(super) fn extension(&mut self, act: &'static str, name: &str) {
        self.touch(Class::DdlAdditive, act, Some(names::plain(ObjectKind::Other, name)));
    }

    /// ALTER EXTENSION … ADD and DROP.
    pub(super) fn alter_extension_contents(&mut self, statement: &pb::AlterExtensionContentsStmt) {
        let object = Some(names::plain(ObjectKind::Other, &statement.extname));
        match statement.action {
            1 => self.touch(Class::DdlAdditive, "ALTER EXTENSION … ADD", object),
            _ => self.destroys("ALTER EXTENSION … DROP", object),
        }
    }

    /// COMMENT.
    pub(super) fn comment(&mut self, statement: &pb::CommentStmt) {
        let object = statement.object.as_deref().and_then(|node| names::target(statement.objtype(), node));
        let act = if statement.objtype() == pb::ObjectType::ObjectSchema { "COMMENT ON SCHEMA" } else { "COMMENT" };
        self.touch(Class::DdlAdditive, act, object);
    }

    /// ALTER TEXT SEARCH CONFIGURATION.
    pub(super) fn alter_text_search(&mut self, statement: &pb::AlterTsConfigurationStmt) {
        use pb::AlterTsConfigType as K;
        let object = names::qualified(ObjectKind::Other, &names::words(&statement.cfgname));
        let class = match statement.kind() {
            K::AlterTsconfigAddMapping => Class::DdlAdditive,
            K::AlterTsconfigAlterMappingForToken
            | K::AlterTsconfigReplaceDict
            | K::AlterTsconfigReplaceDictForToken
            | K::AlterTsconfigDropMapping => Class::DdlDestructive,
            K::AlterTsconfigTypeUndefined => Class::Unknown,
        };
        self.touch(class, "ALTER TEXT SEARCH CONFIGURATION", object);
    }

    /// CREATE PUBLICATION.
    pub(super) fn create_publication(&mut self, statement: &pb::CreatePublicationStmt) {
        self.touch(Class::DdlAdditive, "CREATE PUBLICATION", Some(names::plain(ObjectKind::Other, &statement.pubname)));
        self.published_schemas(Class::DdlAdditive, &statement.pubobjects);
        self.nodes(&statement.pubobjects);
    }

    /// ALTER PUBLICATION: SET and DROP take tables away from subscribers.
    pub(super) fn alter_publication(&mut self, statement: &pb::AlterPublicationStmt) {
        use pb::AlterPublicationAction as A;
        let object = Some(names::plain(ObjectKind::Other, &statement.pubname));
        let takes_away = match statement.action() {
            A::ApDropObjects => true,
            A::ApSetObjects => !statement.pubobjects.is_empty(),
            A::ApAddObjects | A::Undefined => false,
        };
        let class = if takes_away { Class::DdlDestructive } else { Class::DdlAdditive };
        self.published_schemas(class, &statement.pubobjects);
        match statement.action() {
            A::ApDropObjects => self.destroys("ALTER PUBLICATION … DROP", object),
            A::ApSetObjects if !statement.pubobjects.is_empty() => self.destroys("ALTER PUBLICATION … SET", object),
            A::ApAddObjects | A::ApSetObjects | A::Undefined => {
                self.touch(Class::DdlAdditive, "ALTER PUBLICATION", object);
            }
        }
        self.nodes(&statement.pubobjects);
    }

    /// The schemas whose tables a publication has.
    fn published_schemas(&mut self, class: Class, objects: &[Node]) {
        for object in objects {
            if let Some(NodeEnum::PublicationObjSpec(spec)) = &object.node
                && !spec.name.is_empty()
            {
                self.touch(class, "PUBLICATION of tables IN SCHEMA", Some(names::plain(ObjectKind::Other, &spec.name)));
            }
        }
    }

    /// A table of a publication.
    pub(super) fn publication_object(&mut self, object: &pb::PublicationObjSpec) {
        if let Some(table) = &object.pubtable {
            self.publication_table(table);
        }
    }

    /// A table of a publication and which of its rows.
    pub(super) fn publication_table(&mut self, table: &pb::PublicationTable) {
        if let Some(range) = &table.relation {
            self.reads(range);
        }
        self.boxed(&table.where_clause);
    }

    // --- going and moving

    /// DROP. What the same text made may go again, unless CASCADE could take older things along.
    pub(super) fn drop(&mut self, statement: &pb::DropStmt) -> Movement {
        let kind = statement.remove_type();
        let cascade = statement.behavior() == pb::DropBehavior::DropCascade;
        for node in &statement.objects {
            let object = names::target(kind, node);
            let new = !cascade && object.as_ref().is_some_and(|object| self.is_new(kind, object));
            let class = if new { Class::DdlAdditive } else { Class::DdlDestructive };
            self.touch(class, format!("DROP {}", noun(kind)), object.clone());
            self.also(kind);
            match (kind, object) {
                (pb::ObjectType::ObjectSchema, Some(object)) => self.made.forget_schema(&object.name),
                (kind, Some(object)) if !names::part_of_relation(kind) => self.made.forget(&object),
                _ => {}
            }
        }
        if statement.concurrent { Movement::OutsideTransaction } else { Movement::None }
    }

    fn is_new(&self, kind: pb::ObjectType, object: &Object) -> bool {
        match kind {
            pb::ObjectType::ObjectSchema => self.made.has_schema(&object.name),
            pb::ObjectType::ObjectFunction
            | pb::ObjectType::ObjectProcedure
            | pb::ObjectType::ObjectRoutine
            | pb::ObjectType::ObjectAggregate => {
                object.schema.as_deref().is_some_and(|schema| self.made.has_schema(schema))
            }
            _ => self.made.has(object),
        }
    }

    /// What dropping such a thing is beside destructive.
    fn also(&mut self, kind: pb::ObjectType) {
        match kind {
            pb::ObjectType::ObjectPolicy => self.add(Effect::new(Class::Privilege, "DROP POLICY")),
            pb::ObjectType::ObjectFdw | pb::ObjectType::ObjectForeignServer | pb::ObjectType::ObjectLanguage => {
                self.add(Effect::new(Class::Server, format!("DROP {}", noun(kind))));
            }
            _ => {}
        }
    }

    /// RENAME: a name that others use.
    pub(super) fn rename(&mut self, statement: &pb::RenameStmt) {
        let kind = statement.rename_type();
        let object = match &statement.relation {
            Some(range) => Some(names::relation(range)),
            None => match statement.object.as_deref() {
                Some(node) => names::target(kind, node),
                None => Some(names::plain(names::kind_of(kind), &statement.subname)),
            },
        };
        let new = object.as_ref().is_some_and(|object| self.made.has(object));
        let class = if new { Class::DdlAdditive } else { Class::DdlDestructive };
        self.touch(class, format!("RENAME {}", noun(kind)), object.clone());
        if kind == pb::ObjectType::ObjectSchema || (statement.relation.is_some() && moves_relation(kind)) {
            let renamed = object.clone().map(|object| Object { name: statement.newname.clone(), ..object });
            self.takes_name(class, format!("RENAME {} to a name", noun(kind)), renamed);
        }
        match kind {
            pb::ObjectType::ObjectSchema => self.made.clear(),
            pb::ObjectType::ObjectRole => self.add(Effect::new(Class::Privilege, "ALTER ROLE … RENAME")),
            pb::ObjectType::ObjectDatabase | pb::ObjectType::ObjectTablespace => {
                self.add(Effect::new(Class::Server, format!("ALTER {} … RENAME", noun(kind))));
            }
            _ => {}
        }
        if let (Some(object), true) = (object, statement.relation.is_none() || moves_relation(kind)) {
            self.made.forget(&object);
            if new {
                self.made.add(Object { name: statement.newname.clone(), ..object });
            }
        }
    }

    /// ALTER … SET SCHEMA.
    pub(super) fn set_schema(&mut self, statement: &pb::AlterObjectSchemaStmt) {
        let kind = statement.object_type();
        let object = match &statement.relation {
            Some(range) => Some(names::relation(range)),
            None => statement.object.as_deref().and_then(|node| names::target(kind, node)),
        };
        let new = object.as_ref().is_some_and(|object| self.made.has(object));
        let class = if new { Class::DdlAdditive } else { Class::DdlDestructive };
        let moved = object.clone().map(|object| Object { schema: Some(statement.newschema.clone()), ..object });
        self.touch(class, format!("ALTER {} … SET SCHEMA", noun(kind)), object);
        self.takes_name(class, format!("ALTER {} … SET SCHEMA to a name", noun(kind)), moved);
        self.made.clear();
    }

    /// A rule on a name is one on who takes it.
    fn takes_name(&mut self, class: Class, act: String, name: Option<Object>) {
        if let Some(name) = name {
            self.add(Effect::new(class, act).on(name).accompanying());
        }
    }

    /// ALTER … DEPENDS ON EXTENSION.
    pub(super) fn depends(&mut self, statement: &pb::AlterObjectDependsStmt) {
        let act = format!("ALTER {} … DEPENDS ON EXTENSION", noun(statement.object_type()));
        self.touch(Class::DdlAdditive, act, statement.relation.as_ref().map(names::relation));
        // Dropping the extension now drops this too.
        self.made.clear();
    }

    /// ALTER … ALL IN TABLESPACE … SET TABLESPACE rewrites every one of them.
    pub(super) fn move_all(&mut self, statement: &pb::AlterTableMoveAllStmt) {
        let object = names::plain(ObjectKind::Other, &statement.orig_tablespacename);
        let effect = Effect::new(Class::DdlLocking, "ALTER TABLE ALL IN TABLESPACE").on(object);
        self.add(
            effect.hint("it rewrites every one of them under a lock: SET lock_timeout first, and move them one by one"),
        );
    }
}

/// Whether a rename with a relation renames the relation itself (and not a column or constraint of it).
fn moves_relation(kind: pb::ObjectType) -> bool {
    names::kind_of(kind) == ObjectKind::Relation
}

/// Whether an option has this name.
pub(super) fn option_is(option: &Node, name: &str) -> bool {
    matches!(&option.node, Some(NodeEnum::DefElem(option)) if option.defname == name)
}
