//! The system's own relations: what writing to them does beside writing rows.
//!
//! A superuser may write to the catalogs as to any table, without the checks of the DDL that usually does; and UPDATE of
//! `pg_settings` is `set_config()`, by a rule that every database has.

use super::effect::{Class, Effect, Object, ObjectKind};

/// The catalogs of PostgreSQL 13 to 18 (`relkind = 'r'` in `pg_catalog`), sorted.
const CATALOGS: &[&str] = &[
    "pg_aggregate",
    "pg_am",
    "pg_amop",
    "pg_amproc",
    "pg_attrdef",
    "pg_attribute",
    "pg_auth_members",
    "pg_authid",
    "pg_cast",
    "pg_class",
    "pg_collation",
    "pg_constraint",
    "pg_conversion",
    "pg_database",
    "pg_db_role_setting",
    "pg_default_acl",
    "pg_depend",
    "pg_description",
    "pg_enum",
    "pg_event_trigger",
    "pg_extension",
    "pg_foreign_data_wrapper",
    "pg_foreign_server",
    "pg_foreign_table",
    "pg_index",
    "pg_inherits",
    "pg_init_privs",
    "pg_language",
    "pg_largeobject",
    "pg_largeobject_metadata",
    "pg_namespace",
    "pg_opclass",
    "pg_operator",
    "pg_opfamily",
    "pg_parameter_acl",
    "pg_partitioned_table",
    "pg_policy",
    "pg_proc",
    "pg_publication",
    "pg_publication_namespace",
    "pg_publication_rel",
    "pg_range",
    "pg_replication_origin",
    "pg_rewrite",
    "pg_seclabel",
    "pg_sequence",
    "pg_shdepend",
    "pg_shdescription",
    "pg_shseclabel",
    "pg_statistic",
    "pg_statistic_ext",
    "pg_statistic_ext_data",
    "pg_subscription",
    "pg_subscription_rel",
    "pg_tablespace",
    "pg_transform",
    "pg_trigger",
    "pg_ts_config",
    "pg_ts_config_map",
    "pg_ts_dict",
    "pg_ts_parser",
    "pg_ts_template",
    "pg_type",
    "pg_user_mapping",
];

/// Views of `pg_catalog` that a write goes through to what lies below them (`pg_relation_is_updatable` says so on 15 and 18), sorted.
const VIEWS: &[&str] = &["pg_group", "pg_settings", "pg_stat_database_conflicts"];

/// What an effect is beside what it says, where it writes to the system's own relations.
pub(super) fn beside(effect: &Effect) -> Option<Effect> {
    let object = effect.object.as_ref().filter(|object| object.kind == ObjectKind::Relation)?;
    if !is_write(effect.class) || !is_system(object) {
        return None;
    }
    let (class, act, hint) = match object.name.as_str() {
        "pg_settings" => (
            Class::SessionPinned,
            "UPDATE of pg_settings",
            "it sets the settings that it finds: name the setting by SET",
        ),
        _ => (Class::Server, "writing to a system catalog", "it changes what the server knows of itself, unchecked"),
    };
    let span = effect.span;
    Some(Effect { span, ..Effect::new(class, act).on(object.clone()).hint(hint) })
}

fn is_write(class: Class) -> bool {
    matches!(
        class,
        Class::WriteInsert
            | Class::WriteUpdate
            | Class::WriteDelete
            | Class::WriteMerge
            | Class::WriteCopy
            | Class::DestroyDeleteAll
            | Class::DestroyUpdateAll
            | Class::DestroyTruncate
    )
}

/// Whether the name is one of `pg_catalog`, which the server looks through first, or of the tables behind others.
fn is_system(object: &Object) -> bool {
    match object.schema.as_deref() {
        Some("pg_catalog" | "pg_toast" | "information_schema") => true,
        Some(_) => false,
        None => [CATALOGS, VIEWS].iter().any(|names| names.binary_search(&object.name.as_str()).is_ok()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_sorted() {
        assert!(CATALOGS.is_sorted() && VIEWS.is_sorted());
    }
}
