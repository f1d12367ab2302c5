//! Privileges, roles, owners, policies; databases, tablespaces, subscriptions and the server's own settings.
//! Room of the postgres reader.

use pg_query::NodeEnum;
use pg_query::protobuf as pb;

use super::names::{self, noun};
use super::walker::Walker;
use crate::sql::effect::{Class, Effect, ObjectKind};
use crate::sql::reading::Movement;

impl Walker<'_> {
    /// GRANT and REVOKE on objects.
    pub(super) fn grant(&mut self, statement: &pb::GrantStmt) {
        let in_schema = statement.targtype() == pb::GrantTargetType::AclTargetAllInSchema;
        let on_schema = statement.objtype() == pb::ObjectType::ObjectSchema;
        let act = match (statement.is_grant, in_schema, on_schema) {
            (true, true, _) => "GRANT on all IN SCHEMA",
            (false, true, _) => "REVOKE on all IN SCHEMA",
            (true, false, true) => "GRANT ON SCHEMA",
            (false, false, true) => "REVOKE ON SCHEMA",
            (true, false, false) => "GRANT",
            (false, false, false) => "REVOKE",
        };
        let mut named = false;
        for node in &statement.objects {
            let object = match statement.targtype() {
                pb::GrantTargetType::AclTargetAllInSchema => {
                    names::word(node).map(|name| names::plain(ObjectKind::Other, name))
                }
                _ => names::target(statement.objtype(), node),
            };
            named = true;
            self.touch(Class::Privilege, act, object);
        }
        if !named {
            self.add(Effect::new(Class::Privilege, act));
        }
    }

    /// ALTER DEFAULT PRIVILEGES, perhaps of some schemas.
    pub(super) fn default_privileges(&mut self, statement: &pb::AlterDefaultPrivilegesStmt) {
        self.add(Effect::new(Class::Privilege, "ALTER DEFAULT PRIVILEGES"));
        for option in &statement.options {
            let Some(NodeEnum::DefElem(option)) = &option.node else { continue };
            let Some(NodeEnum::List(schemas)) = option.arg.as_deref().and_then(|list| list.node.as_ref()) else {
                continue;
            };
            for name in names::words(&schemas.items) {
                let object = Some(names::plain(ObjectKind::Other, name));
                self.touch(Class::Privilege, "ALTER DEFAULT PRIVILEGES IN SCHEMA", object);
            }
        }
    }

    /// GRANT and REVOKE of roles.
    pub(super) fn grant_role(&mut self, statement: &pb::GrantRoleStmt) {
        let act = if statement.is_grant { "GRANT of a role" } else { "REVOKE of a role" };
        for node in &statement.granted_roles {
            if let Some(NodeEnum::AccessPriv(role)) = &node.node {
                self.role(act, &role.priv_name);
            }
        }
        self.nodes(&statement.opt);
    }

    /// Something done to a role.
    pub(super) fn role(&mut self, act: &'static str, name: &str) {
        let object = (!name.is_empty()).then(|| names::plain(ObjectKind::Other, name));
        self.touch(Class::Privilege, act, object);
    }

    /// ALTER ROLE.
    pub(super) fn alter_role(&mut self, statement: &pb::AlterRoleStmt) {
        self.role("ALTER ROLE", role_name(statement.role.as_ref()));
    }

    /// ALTER ROLE … SET: the role's, and a setting of every session it will open.
    pub(super) fn alter_role_set(&mut self, statement: &pb::AlterRoleSetStmt) {
        self.role("ALTER ROLE … SET", role_name(statement.role.as_ref()));
        if let Some(set) = &statement.setstmt {
            self.setting(set);
        }
    }

    /// DROP ROLE.
    pub(super) fn drop_role(&mut self, statement: &pb::DropRoleStmt) {
        for node in &statement.roles {
            let name = match &node.node {
                Some(NodeEnum::RoleSpec(role)) => role.rolename.as_str(),
                _ => "",
            };
            self.role("DROP ROLE", name);
        }
        self.add(Effect::new(Class::DdlDestructive, "DROP ROLE"));
    }

    /// ALTER … OWNER TO.
    pub(super) fn owner(&mut self, statement: &pb::AlterOwnerStmt) {
        let kind = statement.object_type();
        let object = match &statement.relation {
            Some(range) => Some(names::relation(range)),
            None => statement.object.as_deref().and_then(|node| names::target(kind, node)),
        };
        self.touch(Class::Privilege, format!("ALTER {} … OWNER TO", noun(kind)), object);
    }

    /// DROP OWNED: objects and privileges alike.
    pub(super) fn drop_owned(&mut self) {
        self.made.clear();
        self.add(Effect::new(Class::DdlDestructive, "DROP OWNED"));
        self.add(Effect::new(Class::Privilege, "DROP OWNED"));
    }

    /// CREATE POLICY.
    pub(super) fn create_policy(&mut self, statement: &pb::CreatePolicyStmt) {
        self.touch(Class::Privilege, "CREATE POLICY", statement.table.as_ref().map(names::relation));
        self.pair(&statement.qual, &statement.with_check);
    }

    /// ALTER POLICY.
    pub(super) fn alter_policy(&mut self, statement: &pb::AlterPolicyStmt) {
        self.touch(Class::Privilege, "ALTER POLICY", statement.table.as_ref().map(names::relation));
        self.pair(&statement.qual, &statement.with_check);
    }

    /// SECURITY LABEL.
    pub(super) fn security_label(&mut self, statement: &pb::SecLabelStmt) {
        let object = statement.object.as_deref().and_then(|node| names::target(statement.objtype(), node));
        self.touch(Class::Privilege, "SECURITY LABEL", object);
    }

    // --- the server

    /// ALTER SYSTEM.
    pub(super) fn alter_system(&mut self, statement: &pb::AlterSystemStmt) -> Movement {
        self.add(Effect::new(Class::Server, "ALTER SYSTEM"));
        if let Some(set) = &statement.setstmt {
            self.setting(set);
        }
        Movement::OutsideTransaction
    }

    /// ALTER DATABASE … SET: a setting of every session to come.
    pub(super) fn alter_database_set(&mut self, statement: &pb::AlterDatabaseSetStmt) {
        self.server("ALTER DATABASE … SET", &statement.dbname);
        if let Some(set) = &statement.setstmt {
            self.setting(set);
        }
    }

    /// CREATE DATABASE.
    pub(super) fn create_database(&mut self, statement: &pb::CreatedbStmt) -> Movement {
        self.server("CREATE DATABASE", &statement.dbname);
        Movement::OutsideTransaction
    }

    /// ALTER DATABASE; SET TABLESPACE moves its files.
    pub(super) fn alter_database(&mut self, statement: &pb::AlterDatabaseStmt) -> Movement {
        self.server("ALTER DATABASE", &statement.dbname);
        match statement.options.iter().any(|option| super::ddl::option_is(option, "tablespace")) {
            true => Movement::OutsideTransaction,
            false => Movement::None,
        }
    }

    /// DROP DATABASE.
    pub(super) fn drop_database(&mut self, statement: &pb::DropdbStmt) -> Movement {
        self.dropped("DROP DATABASE", &statement.dbname);
        Movement::OutsideTransaction
    }

    /// CREATE TABLESPACE.
    pub(super) fn create_tablespace(&mut self, statement: &pb::CreateTableSpaceStmt) -> Movement {
        self.server("CREATE TABLESPACE", &statement.tablespacename);
        Movement::OutsideTransaction
    }

    /// DROP TABLESPACE.
    pub(super) fn drop_tablespace(&mut self, statement: &pb::DropTableSpaceStmt) -> Movement {
        self.dropped("DROP TABLESPACE", &statement.tablespacename);
        Movement::OutsideTransaction
    }

    /// CREATE SUBSCRIPTION connects to another server and makes a slot there, unless told not to.
    pub(super) fn create_subscription(&mut self, statement: &pb::CreateSubscriptionStmt) -> Movement {
        self.server("CREATE SUBSCRIPTION", &statement.subname);
        Movement::OutsideTransaction
    }

    /// ALTER SUBSCRIPTION.
    pub(super) fn alter_subscription(&mut self, statement: &pb::AlterSubscriptionStmt) -> Movement {
        self.server("ALTER SUBSCRIPTION", &statement.subname);
        match statement.kind() {
            pb::AlterSubscriptionType::AlterSubscriptionRefresh
            | pb::AlterSubscriptionType::AlterSubscriptionSetPublication
            | pb::AlterSubscriptionType::AlterSubscriptionAddPublication
            | pb::AlterSubscriptionType::AlterSubscriptionDropPublication => Movement::OutsideTransaction,
            pb::AlterSubscriptionType::AlterSubscriptionOptions
            | pb::AlterSubscriptionType::AlterSubscriptionConnection
            | pb::AlterSubscriptionType::AlterSubscriptionEnabled
            | pb::AlterSubscriptionType::AlterSubscriptionSkip
            | pb::AlterSubscriptionType::Undefined => Movement::None,
        }
    }

    /// DROP SUBSCRIPTION.
    pub(super) fn drop_subscription(&mut self, statement: &pb::DropSubscriptionStmt) -> Movement {
        self.dropped("DROP SUBSCRIPTION", &statement.subname);
        Movement::OutsideTransaction
    }

    /// DROP USER MAPPING.
    pub(super) fn drop_user_mapping(&mut self, statement: &pb::DropUserMappingStmt) {
        self.dropped("DROP USER MAPPING", &statement.servername);
    }

    fn dropped(&mut self, act: &'static str, name: &str) {
        self.server(act, name);
        self.touch(Class::DdlDestructive, act, Some(names::plain(ObjectKind::Other, name)));
    }
}

fn role_name(role: Option<&pb::RoleSpec>) -> &str {
    role.map_or("", |role| role.rolename.as_str())
}
