//! What a call of a function would do, by its name: PostgreSQL 13 to 18's own functions, contrib's and pgvector's.
//!
//! The table is `functions/builtin.txt`, written by `scripts/functions.py` from the catalogs of real servers. A name that is
//! not in it belongs to the database (or to an extension nobody listed) and counts as volatile until its catalog says more.
//! An unqualified name may also be one of the database's own functions that overloads a built-in; only the catalog can tell,
//! so what knows the catalog must ask it before it believes this table.

use std::sync::LazyLock;

use foldhash::{HashMap, HashMapExt};

use super::effect::Class;

/// One function (all its overloads, in all versions; the strictest of them decides).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name as `pg_proc` has it.
    pub name: &'static str,
    /// What a call of it would do.
    pub class: Class,
    /// Where it comes from, comma-separated: `core`, `information_schema`, `type` (a type's name called as a cast), or extensions.
    pub sources: &'static str,
    /// PostgreSQL versions that have it, first and last, as `13-18`.
    pub versions: &'static str,
    /// Its volatility as the catalog has it (the strictest of its overloads): what ADD COLUMN … DEFAULT depends on.
    pub volatile: bool,
    /// Why it is not safe; empty if it is.
    pub why: &'static str,
}

/// Starts of names that are dangerous whatever follows, for functions of later versions than the table knows.
const DANGEROUS_PREFIXES: &[&str] = &[
    "binary_upgrade_",
    "dblink",
    "pg_background_",
    "pg_backup_",
    "pg_buffercache_evict",
    "pg_clear_",
    "pg_create_",
    "pg_drop_",
    "pg_file_",
    "pg_log_",
    "pg_logical_",
    "pg_ls_",
    "pg_read_",
    "pg_replication_",
    "pg_restore_",
    "pg_stat_reset",
    "pg_wal_replay_",
];

/// Schemas and starts of names of extensions that reach other servers, or run statements later and elsewhere.
const REACHING: &[(&str, &str)] = &[
    ("aws_lambda", ""),
    ("aws_s3", ""),
    ("azure_storage", "blob_"),
    ("cron", "alter_job"),
    ("cron", "schedule"),
    ("cron", "unschedule"),
    ("net", "http_"),
    ("pgtle", ""),
];

/// Forms that SQL's grammar writes like calls although no function of that name exists. Only unquoted and unqualified.
const GRAMMAR_FORMS: &[&str] = &[
    "all",
    "any",
    "array",
    "cast",
    "coalesce",
    "collation",
    "current_catalog",
    "current_date",
    "current_role",
    "current_schema",
    "current_time",
    "current_timestamp",
    "current_user",
    "exists",
    "extract",
    "greatest",
    "grouping",
    "json",
    "json_array",
    "json_arrayagg",
    "json_exists",
    "json_object",
    "json_objectagg",
    "json_query",
    "json_scalar",
    "json_serialize",
    "json_value",
    "least",
    "localtime",
    "localtimestamp",
    "merge_action",
    "normalize",
    "nullif",
    "overlay",
    "position",
    "row",
    "session_user",
    "some",
    "substring",
    "system_user",
    "treat",
    "trim",
    "user",
    "values",
    "xmlconcat",
    "xmlelement",
    "xmlexists",
    "xmlforest",
    "xmlparse",
    "xmlpi",
    "xmlroot",
    "xmlserialize",
];

static TABLE: LazyLock<HashMap<&'static str, Function>> = LazyLock::new(load);

fn load() -> HashMap<&'static str, Function> {
    let text = include_str!("functions/builtin.txt");
    let mut table = HashMap::with_capacity(4096);
    table.extend(text.lines().filter_map(entry).map(|function| (function.name, function)));
    table
}

/// One line of the table; `None` for comments. A class that no longer exists reads as [`Class::Unknown`], which a test refuses.
fn entry(line: &'static str) -> Option<Function> {
    if line.starts_with('#') {
        return None;
    }
    let mut fields = line.split('\t');
    let mut field = || fields.next().unwrap_or("");
    let (name, class, sources, versions, volatility, why) = (field(), field(), field(), field(), field(), field());
    let class = Class::from_name(class).unwrap_or(Class::Unknown);
    Some(Function { name, class, sources, versions, volatile: volatility == "v", why })
}

/// What a call of a function would do. `schema` and `name` are as the server folds them; `schema` is `None` when not written.
///
/// Unknown names are [`Class::FunctionVolatile`]. A name counts as a built-in when it is unqualified or qualified by the
/// schema the built-in lives in; dangerous names stay dangerous under any schema, since extensions can be put anywhere.
/// `set_config` is [`Class::SessionPinned`]: who knows its arguments asks [`super::settings`] instead.
pub fn classify(schema: Option<&str>, name: &str) -> Class {
    let reaches = |(of, start): &(&str, &str)| schema == Some(*of) && name.starts_with(start);
    match TABLE.get(name) {
        _ if REACHING.iter().any(reaches) => Class::FunctionDangerous,
        Some(function) if function.class == Class::FunctionDangerous || function.lives_in(schema) => function.class,
        Some(_) => Class::FunctionVolatile,
        None if DANGEROUS_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) => Class::FunctionDangerous,
        None => Class::FunctionVolatile,
    }
}

/// Whether a call may give another value for each row, as `provolatile` says (unknown names may). A volatile default makes
/// ADD COLUMN rewrite the table.
pub fn is_volatile(schema: Option<&str>, name: &str) -> bool {
    TABLE.get(name).is_none_or(|function| function.volatile || !function.lives_in(schema))
}

/// The table's entry of a name, if it has one.
pub fn known(name: &str) -> Option<&'static Function> {
    TABLE.get(name)
}

/// Whether an unquoted, unqualified call of this (folded) name is a form of the grammar that calls nothing.
pub fn is_grammar_form(name: &str) -> bool {
    GRAMMAR_FORMS.binary_search(&name).is_ok()
}

/// Every function of the table, by name: what the generated reference prints.
pub fn all() -> Vec<&'static Function> {
    let mut functions: Vec<_> = TABLE.values().collect();
    functions.sort_unstable_by_key(|function| function.name);
    functions
}

impl Function {
    /// Whether a name written with this schema (or without one) can mean this function.
    fn lives_in(&self, schema: Option<&str>) -> bool {
        self.sources.split(',').any(|source| match (source, schema) {
            ("core" | "type", schema) => matches!(schema, None | Some("pg_catalog")),
            ("information_schema", schema) => schema == Some("information_schema"),
            (_, None | Some("public" | "extensions")) => true,
            (extension, Some(schema)) => extension == schema,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_whole() {
        assert!(all().len() > 3700, "{}", all().len());
        for function in all() {
            assert_ne!(function.class, Class::Unknown, "{}", function.name);
            let explained = function.class == Class::FunctionSafe || !function.why.is_empty();
            assert!(explained, "{} needs a why", function.name);
            assert!(!function.sources.is_empty() && !function.versions.is_empty(), "{}", function.name);
        }
        assert!(GRAMMAR_FORMS.is_sorted());
    }

    #[test]
    fn volatility() {
        for name in ["random", "gen_random_uuid", "clock_timestamp", "nextval", "my_function", "uuid_generate_v4"] {
            assert!(is_volatile(None, name), "{name}");
        }
        for name in ["now", "lower", "statement_timestamp", "uuid"] {
            assert!(!is_volatile(None, name), "{name}");
        }
    }

    #[test]
    fn names_and_schemas() {
        use Class::*;
        let rows: &[(Option<&str>, &str, Class)] = &[
            (None, "lower", FunctionSafe),
            (Some("pg_catalog"), "lower", FunctionSafe),
            (Some("public"), "lower", FunctionVolatile),
            (None, "LOWER", FunctionVolatile),
            (None, "uuid", FunctionSafe),
            (None, "nextval", FunctionVolatile),
            (None, "currval", FunctionSafe),
            (None, "pg_read_file", FunctionDangerous),
            (Some("mine"), "pg_read_file", FunctionDangerous),
            (None, "pg_read_something_new", FunctionDangerous),
            (Some("anything"), "dblink_exec", FunctionDangerous),
            (None, "pg_advisory_lock", FunctionAdvisoryLock),
            (None, "pg_try_advisory_xact_lock_shared", FunctionAdvisoryLock),
            (Some("mine"), "pg_advisory_lock", FunctionVolatile),
            (None, "pg_notify", Notify),
            (None, "set_config", SessionPinned),
            (Some("extensions"), "gen_random_bytes", FunctionSafe),
            (Some("pgcrypto"), "gen_random_bytes", FunctionSafe),
            (Some("elsewhere"), "gen_random_bytes", FunctionVolatile),
            (None, "gen_random_uuid", FunctionSafe),
            (None, "cosine_distance", FunctionSafe),
            (Some("information_schema"), "_pg_expandarray", FunctionSafe),
            (None, "_pg_expandarray", FunctionVolatile),
            (None, "query_to_xml", FunctionDangerous),
            (None, "ts_rewrite", FunctionDangerous),
            (None, "lo_get", FunctionDangerous),
            (None, "txid_current", FunctionVolatile),
            (None, "txid_current_if_assigned", FunctionSafe),
            (None, "brin_summarize_range", Maintenance),
            (None, "my_function", FunctionVolatile),
            (Some("cron"), "schedule_in_database", FunctionDangerous),
            (Some("cron"), "my_function", FunctionVolatile),
            (Some("net"), "http_post", FunctionDangerous),
            (Some("elsewhere"), "http_post", FunctionVolatile),
            (Some("public"), "pg_background_launch", FunctionDangerous),
        ];
        for (schema, name, class) in rows {
            assert_eq!(classify(*schema, name), *class, "{schema:?}.{name}");
        }
    }
}
