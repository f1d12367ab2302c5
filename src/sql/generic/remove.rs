//! DROP of everything.

use sqlparser::ast::{FunctionDesc, Ident, ObjectName, ObjectType, Statement};

use super::names;
use super::walk::Walker;
use crate::sql::effect::{Class, ObjectKind};

impl Walker {
    pub fn removal(&mut self, statement: &Statement) {
        match statement {
            Statement::Drop { object_type, names: dropped, .. } => {
                dropped.iter().for_each(|name| self.drop_object(object_type, name));
            }
            Statement::DropFunction(drop) => self.drop_functions("DROP FUNCTION", &drop.func_desc),
            Statement::DropProcedure { proc_desc, .. } => self.drop_functions("DROP PROCEDURE", proc_desc),
            Statement::DropDomain(drop) => self.dropped("DROP DOMAIN", ObjectKind::Other, &drop.name),
            Statement::DropPolicy(drop) => {
                self.touch(Class::Privilege, "DROP POLICY", names::relation(&drop.table_name));
                self.dropped("DROP POLICY", ObjectKind::Relation, &drop.table_name);
            }
            Statement::DropExtension(drop) => {
                drop.names.iter().for_each(|name| self.dropped_simple("DROP EXTENSION", name));
            }
            Statement::DropOperator(drop) => {
                drop.operators
                    .iter()
                    .for_each(|operator| self.dropped("DROP OPERATOR", ObjectKind::Other, &operator.name));
            }
            Statement::DropOperatorFamily(drop) => {
                drop.names.iter().for_each(|name| self.dropped("DROP OPERATOR FAMILY", ObjectKind::Other, name));
            }
            Statement::DropOperatorClass(drop) => {
                drop.names.iter().for_each(|name| self.dropped("DROP OPERATOR CLASS", ObjectKind::Other, name));
            }
            Statement::DropTrigger(drop) => {
                let table = drop.table_name.as_ref().unwrap_or(&drop.trigger_name);
                self.dropped("DROP TRIGGER", ObjectKind::Relation, table);
            }
            _ => self.unknown("DROP"),
        }
    }

    fn drop_object(&mut self, kind: &ObjectType, name: &ObjectName) {
        use ObjectKind::{Other, Relation};
        match kind {
            ObjectType::Table => self.dropped("DROP TABLE", Relation, name),
            ObjectType::View => self.dropped("DROP VIEW", Relation, name),
            ObjectType::MaterializedView => self.dropped("DROP MATERIALIZED VIEW", Relation, name),
            ObjectType::Index => self.dropped("DROP INDEX", Relation, name),
            ObjectType::Sequence => self.dropped("DROP SEQUENCE", Relation, name),
            ObjectType::Schema => self.dropped("DROP SCHEMA", Other, name),
            ObjectType::Database => self.dropped("DROP DATABASE", Other, name),
            ObjectType::Type => self.dropped("DROP TYPE", Other, name),
            ObjectType::Collation => self.dropped("DROP COLLATION", Other, name),
            ObjectType::Role | ObjectType::User => {
                self.touch(Class::Privilege, "DROP ROLE", names::object(Other, name));
                self.act(Class::DdlDestructive, "DROP ROLE");
            }
            ObjectType::Stage | ObjectType::Stream | ObjectType::Warehouse => self.unknown("DROP"),
        }
    }

    fn dropped(&mut self, act: &'static str, kind: ObjectKind, name: &ObjectName) {
        self.touch(Class::DdlDestructive, act, names::object(kind, name));
    }

    fn dropped_simple(&mut self, act: &'static str, name: &Ident) {
        self.touch(Class::DdlDestructive, act, names::simple(ObjectKind::Other, name));
    }

    fn drop_functions(&mut self, act: &'static str, functions: &[FunctionDesc]) {
        functions.iter().for_each(|function| self.dropped(act, ObjectKind::Function, &function.name));
    }
}
