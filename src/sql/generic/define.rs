//! CREATE of everything, and COMMENT.

use sqlparser::ast::{
    CommentObject, CreateFunction, CreateFunctionBody, CreateIndex, CreateTable, CreateTableLikeKind, CreateTrigger,
    CreateView, Expr, FunctionDefinitionSetParam, FunctionSetValue, ObjectName, SchemaName, Statement,
};

use super::walk::Walker;
use super::{call, names, read_body};
use crate::sql::effect::{Class, Effect, ObjectKind};
use crate::sql::settings::SettingValue;

const ATTACH_LATER: &str =
    "it locks the partitioned table: create the table by itself, then ALTER TABLE … ATTACH PARTITION";

/// Function bodies inside function bodies that are read.
const DEEPEST_BODY: usize = 3;

impl Walker {
    pub fn definition(&mut self, statement: &Statement) {
        match statement {
            Statement::CreateTable(table) => self.create_table(table),
            Statement::CreateView(view) => self.create_view(view),
            Statement::CreateIndex(index) => self.create_index(index),
            Statement::CreateFunction(function) => self.create_function(function),
            Statement::CreateProcedure { name, .. } => {
                self.touch(Class::DdlAdditive, "CREATE PROCEDURE", names::object(ObjectKind::Function, name));
                self.unknown("CREATE PROCEDURE");
            }
            Statement::CreateTrigger(trigger) => self.create_trigger(trigger),
            Statement::CreateSequence { name, .. } => {
                self.created.push(names::relation(name));
                self.touch(Class::DdlAdditive, "CREATE SEQUENCE", names::relation(name));
            }
            Statement::CreateRole(role) => {
                for name in &role.names {
                    self.touch(Class::Privilege, "CREATE ROLE", names::object(ObjectKind::Other, name));
                }
            }
            Statement::CreateUser(user) => {
                self.touch(Class::Privilege, "CREATE ROLE", names::simple(ObjectKind::Other, &user.name));
            }
            Statement::CreatePolicy(policy) => {
                self.touch(Class::Privilege, "CREATE POLICY", names::relation(&policy.table_name));
            }
            Statement::CreateServer(server) => self.other(Class::Server, "CREATE SERVER", &server.name),
            Statement::CreateDatabase { db_name, .. } => self.other(Class::Server, "CREATE DATABASE", db_name),
            Statement::CreateExtension(extension) => {
                let name = names::simple(ObjectKind::Other, &extension.name);
                self.touch(Class::DdlAdditive, "CREATE EXTENSION", name);
            }
            Statement::CreateSchema { schema_name, .. } => self.create_schema(schema_name),
            Statement::CreateOperator(operator) => self.other(Class::DdlAdditive, "CREATE OPERATOR", &operator.name),
            Statement::CreateOperatorFamily(family) => {
                self.other(Class::DdlAdditive, "CREATE OPERATOR FAMILY", &family.name);
            }
            Statement::CreateOperatorClass(class) => {
                self.other(Class::DdlAdditive, "CREATE OPERATOR CLASS", &class.name)
            }
            Statement::CreateTextSearch(search) => self.other(Class::DdlAdditive, "CREATE TEXT SEARCH", &search.name),
            Statement::CreateCollation(collation) => {
                self.other(Class::DdlAdditive, "CREATE COLLATION", &collation.name)
            }
            Statement::CreateDomain(domain) => {
                self.defining = true;
                self.other(Class::DdlAdditive, "CREATE DOMAIN", &domain.name);
            }
            Statement::CreateType { name, .. } => self.other(Class::DdlAdditive, "CREATE TYPE", name),
            Statement::Comment { object_type, object_name, .. } => self.comment(object_type, object_name),
            _ => self.unknown("CREATE"),
        }
    }

    fn other(&mut self, class: Class, act: &'static str, name: &ObjectName) {
        self.touch(class, act, names::object(ObjectKind::Other, name));
    }

    fn create_table(&mut self, table: &CreateTable) {
        let object = names::relation(&table.name);
        if table.or_replace || table.clone.is_some() || table.external || table.location.is_some() {
            self.unknown("CREATE TABLE");
        }
        let locks_parent = table.partition_of.as_ref().is_some_and(|parent| !self.is_new(&names::relation(parent)));
        if !table.if_not_exists {
            self.created.push(object.clone());
        }
        if let Some(CreateTableLikeKind::Parenthesized(like) | CreateTableLikeKind::Plain(like)) = &table.like {
            self.touch(Class::Read, "CREATE TABLE LIKE", names::relation(&like.name));
        }
        self.defining = true;
        // PARTITION BY RANGE (…) reads as a call of `range`.
        if let Some(partition_by) = &table.partition_by {
            self.not_a_call(partition_by);
        }
        if locks_parent {
            self.add(Effect::new(Class::DdlLocking, "CREATE TABLE … PARTITION OF").on(object).hint(ATTACH_LATER));
        } else {
            self.touch(Class::DdlAdditive, "CREATE TABLE", object);
        }
    }

    fn create_view(&mut self, view: &CreateView) {
        let object = names::relation(&view.name);
        if view.to.is_some() || view.or_alter || view.secure || (view.materialized && view.or_replace) {
            self.unknown("CREATE VIEW");
        }
        if !view.if_not_exists && !view.or_replace {
            self.created.push(object.clone());
        }
        let act = if view.materialized { "CREATE MATERIALIZED VIEW" } else { "CREATE VIEW" };
        self.touch(Class::DdlAdditive, act, object);
    }

    fn create_index(&mut self, index: &CreateIndex) {
        let table = names::relation(&index.table_name);
        if !index.alter_options.is_empty() || index.r#async {
            self.unknown("CREATE INDEX");
        }
        if index.concurrently {
            self.touch(Class::DdlAdditive, "CREATE INDEX CONCURRENTLY", table);
        } else if self.is_new(&table) {
            self.touch(Class::DdlAdditive, "CREATE INDEX", table);
        } else {
            let effect = Effect::new(Class::DdlLocking, "CREATE INDEX").on(table);
            self.add(effect.hint("CREATE INDEX CONCURRENTLY does not block writers"));
        }
    }

    fn create_schema(&mut self, name: &SchemaName) {
        let owner = match name {
            SchemaName::Simple(_) => None,
            SchemaName::UnnamedAuthorization(role) | SchemaName::NamedAuthorization(_, role) => {
                Some(names::folded(role))
            }
        };
        if owner.is_some_and(|role| !matches!(role.as_str(), "current_user" | "current_role" | "session_user")) {
            self.act(Class::Privilege, "CREATE SCHEMA AUTHORIZATION");
        }
        let object = match name {
            SchemaName::Simple(name) | SchemaName::NamedAuthorization(name, _) => {
                names::object(ObjectKind::Other, name)
            }
            SchemaName::UnnamedAuthorization(role) => names::simple(ObjectKind::Other, role),
        };
        self.touch(Class::DdlAdditive, "CREATE SCHEMA", object);
    }

    fn create_trigger(&mut self, trigger: &CreateTrigger) {
        if trigger.or_alter || trigger.statements.is_some() || trigger.temporary {
            self.unknown("CREATE TRIGGER");
        }
        self.touch(Class::DdlAdditive, "CREATE TRIGGER", names::relation(&trigger.table_name));
    }

    fn create_function(&mut self, function: &CreateFunction) {
        let foreign = function.or_alter
            || function.temporary
            || function.using.is_some()
            || function.remote_connection.is_some()
            || function.options.is_some();
        if foreign {
            self.unknown("CREATE FUNCTION");
        }
        self.touch(Class::DdlAdditive, "CREATE FUNCTION", names::object(ObjectKind::Function, &function.name));
        for FunctionDefinitionSetParam { name, value } in &function.set_params {
            match value {
                FunctionSetValue::Default => self.set_clause(name, SettingValue::Default),
                FunctionSetValue::FromCurrent => self.set_clause(name, SettingValue::Computed),
                FunctionSetValue::Values(values) => self.set_clause_values(name, values),
            }
        }
        let language = function.language.as_ref().map(names::folded);
        self.function_body(language.as_deref(), function.function_body.as_ref());
    }

    /// What a body would do when somebody calls it. A body of plpgsql is left to the other reader.
    fn function_body(&mut self, language: Option<&str>, body: Option<&CreateFunctionBody>) {
        match language {
            None | Some("sql") => {}
            Some("plpgsql") => return,
            Some("c" | "internal") => return self.act(Class::Server, "CREATE FUNCTION of compiled code"),
            Some(_) => return self.act(Class::Procedure, "CREATE FUNCTION in a language that is not read"),
        }
        let string = match body {
            Some(CreateFunctionBody::AsBeforeOptions { body, .. } | CreateFunctionBody::AsAfterOptions(body)) => {
                Some(body)
            }
            Some(
                CreateFunctionBody::AsBeginEnd(_)
                | CreateFunctionBody::Return(_)
                | CreateFunctionBody::AsReturnExpr(_)
                | CreateFunctionBody::AsReturnSelect(_),
            )
            | None => None,
        };
        if let (Some(text), true) = (string.and_then(body_text), self.depth < DEEPEST_BODY) {
            self.effects.extend(read_body(text, self.depth + 1).effects);
        }
    }

    fn comment(&mut self, kind: &CommentObject, name: &ObjectName) {
        let object = match kind {
            CommentObject::Table
            | CommentObject::View
            | CommentObject::MaterializedView
            | CommentObject::Sequence
            | CommentObject::Index => names::relation(name),
            CommentObject::Column => {
                let table: Vec<_> =
                    name.0.iter().take(name.0.len().saturating_sub(1)).map(names::part).cloned().collect();
                names::relation(&ObjectName::from(table))
            }
            CommentObject::Function | CommentObject::Procedure => names::object(ObjectKind::Function, name),
            CommentObject::Collation
            | CommentObject::Database
            | CommentObject::Domain
            | CommentObject::Extension
            | CommentObject::Role
            | CommentObject::Schema
            | CommentObject::Type
            | CommentObject::User => names::object(ObjectKind::Other, name),
        };
        self.touch(Class::DdlAdditive, "COMMENT", object);
    }
}

fn body_text(body: &Expr) -> Option<&str> {
    call::literal(body).and_then(call::text)
}
