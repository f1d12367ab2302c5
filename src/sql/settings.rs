//! What changing a setting would do: an ordinary one, an identity, or one that the proxy's hold stands on.
//!
//! Pinned are the settings that undo read-only transactions, that change how the server reads text (so that what was judged
//! would not be what runs), that switch off triggers and constraints, that load code, and that hide what was done. How long a
//! statement may run or wait, and where names are looked up (`search_path`), are ordinary here: policy decides about them.

use std::borrow::Cow;

use super::effect::Class;

/// What a statement would set a setting to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettingValue<'a> {
    /// A constant, as the server would read it (a number or word as written, a string without its quotes).
    Constant(&'a str),
    /// RESET, TO DEFAULT, or NULL in `set_config`: whatever the session started with.
    Default,
    /// An expression, a parameter, or FROM CURRENT: not known from the text.
    Computed,
}

/// A setting that is not ordinary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its name, lower-case; with a trailing `*` every name that starts so.
    pub name: &'static str,
    /// What setting it does.
    pub class: Class,
    /// The constant values that are ordinary nevertheless.
    pub ordinary: Ordinary,
    /// Why, for people.
    pub why: &'static str,
}

/// Values that make a pinned setting ordinary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ordinary {
    /// None.
    Never,
    /// What the session logged in with: going back to it is part of DISCARD ALL, which pools send between two users.
    Default,
    /// A constant truth: `on`, `true`, `yes`, `1` and their beginnings, as `parse_bool` in the server reads them.
    On,
    /// `UTF8`, `UTF-8` or `UNICODE`, however punctuated.
    Utf8,
}

const fn pinned(name: &'static str, why: &'static str) -> Setting {
    Setting { name, class: Class::SessionPinned, ordinary: Ordinary::Never, why }
}

const fn pinned_unless(name: &'static str, ordinary: Ordinary, why: &'static str) -> Setting {
    Setting { name, class: Class::SessionPinned, ordinary, why }
}

const fn identity(name: &'static str, why: &'static str) -> Setting {
    Setting { name, class: Class::SessionIdentity, ordinary: Ordinary::Default, why }
}

const HIDES: &str = "keeps statements out of the server's log or statistics";
const LOADS: &str = "loads code into the server";
const WRITES: &str = "writes files on the server";
const DAMAGE: &str = "lets damaged or system data be read or changed as if it were sound";

/// Every setting that is not ordinary, in the order of the reference.
pub const SETTINGS: &[Setting] = &[
    identity("role", "whose privileges statements run with"),
    identity("session_authorization", "whose privileges statements run with"),
    pinned_unless("transaction_read_only", Ordinary::On, "ends the hold of a read-only transaction"),
    pinned_unless("default_transaction_read_only", Ordinary::On, "ends the hold on read-only transactions to come"),
    pinned_unless("standard_conforming_strings", Ordinary::On, "changes what a backslash in a string means"),
    pinned_unless("client_encoding", Ordinary::Utf8, "changes which bytes are quotes and backslashes"),
    pinned("backslash_quote", "changes where a string ends"),
    pinned("transform_null_equals", "changes what `= NULL` means"),
    pinned("session_replication_role", "switches off triggers, rules and foreign keys"),
    pinned("event_triggers", "switches off event triggers"),
    pinned("local_preload_libraries", LOADS),
    pinned("session_preload_libraries", LOADS),
    pinned("shared_preload_libraries", LOADS),
    pinned("dynamic_library_path", LOADS),
    pinned("extension_control_path", LOADS),
    pinned("jit_provider", LOADS),
    pinned("plperl.on_init", LOADS),
    pinned("plperl.on_plperl_init", LOADS),
    pinned("plperl.on_plperlu_init", LOADS),
    pinned("pltcl.start_proc", LOADS),
    pinned("pltclu.start_proc", LOADS),
    pinned("plv8.start_proc", LOADS),
    pinned("pljava.*", LOADS),
    pinned("pllua.*", LOADS),
    pinned("jit_debugging_support", WRITES),
    pinned("jit_dump_bitcode", WRITES),
    pinned("jit_profiling_support", WRITES),
    pinned("allow_system_table_mods", DAMAGE),
    pinned("allow_in_place_tablespaces", DAMAGE),
    pinned("ignore_checksum_failure", DAMAGE),
    pinned("ignore_system_indexes", DAMAGE),
    pinned("zero_damaged_pages", DAMAGE),
    pinned("lo_compat_privileges", "switches off privileges on large objects"),
    pinned("max_stack_depth", "too high a value crashes the server"),
    pinned("log_connections", HIDES),
    pinned("log_disconnections", HIDES),
    pinned("log_duration", HIDES),
    pinned("log_error_verbosity", HIDES),
    pinned("log_min_duration_sample", HIDES),
    pinned("log_min_duration_statement", HIDES),
    pinned("log_min_error_statement", HIDES),
    pinned("log_min_messages", HIDES),
    pinned("log_parameter_max_length", HIDES),
    pinned("log_replication_commands", HIDES),
    pinned("log_statement", HIDES),
    pinned("log_statement_sample_rate", HIDES),
    pinned("log_transaction_sample_rate", HIDES),
    pinned("compute_query_id", HIDES),
    pinned("track_activities", HIDES),
    pinned("track_counts", "keeps the server from counting the rows that statements change"),
    pinned("pg_stat_statements.track", HIDES),
    pinned("pg_stat_statements.track_utility", HIDES),
    pinned("pgaudit.*", HIDES),
    pinned("safeupdate.*", "lets UPDATE and DELETE without WHERE pass"),
    pinned("sepgsql.*", "loosens security labels"),
];

/// How an effect names the act of emptying `search_path`, as pg_dump does. Bare names are then found in `pg_catalog` and
/// `pg_temp` only, where the server looks first anyway: nothing that a rule guessed about them becomes more.
const EMPTIES_SEARCH_PATH: &str = "SET search_path TO ''";
/// How an effect names the act of setting `search_path` to `public` and nothing else, as Adminer does. That is where rules take bare
/// names to be found.
const PUBLIC_SEARCH_PATH: &str = "SET search_path TO public";

/// Whether bare names mean after an act what rules take them for.
pub fn keeps_bare_names(act: &str) -> bool {
    act == EMPTIES_SEARCH_PATH || act == PUBLIC_SEARCH_PATH
}

/// The act of giving a setting a value: `written`, unless it gives `search_path` one that leaves bare names as rules take them.
pub fn act(name: &str, value: SettingValue<'_>, written: String) -> Cow<'static, str> {
    match value {
        SettingValue::Constant("") if name.eq_ignore_ascii_case("search_path") => Cow::Borrowed(EMPTIES_SEARCH_PATH),
        SettingValue::Constant("public") if name.eq_ignore_ascii_case("search_path") => {
            Cow::Borrowed(PUBLIC_SEARCH_PATH)
        }
        _ => Cow::Owned(written),
    }
}

/// What setting `name` to `value` would do. The name may be in any case: the server compares settings' names that way.
pub fn classify(name: &str, value: SettingValue<'_>) -> Class {
    match special(name) {
        Some(setting) if !setting.ordinary.covers(value) => setting.class,
        Some(_) | None => Class::SessionSetting,
    }
}

/// The entry of a setting that is not ordinary.
pub fn special(name: &str) -> Option<&'static Setting> {
    let name = folded(name);
    SETTINGS.iter().find(|setting| match setting.name.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => setting.name == name,
    })
}

/// The name in lower case (ASCII only, as `guc_name_compare` does).
fn folded(name: &str) -> Cow<'_, str> {
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}

impl Ordinary {
    fn covers(self, value: SettingValue<'_>) -> bool {
        match (self, value) {
            (Ordinary::Default, value) => value == SettingValue::Default,
            (Ordinary::Never, _) | (_, SettingValue::Default | SettingValue::Computed) => false,
            (Ordinary::On, SettingValue::Constant(value)) => is_on(value),
            (Ordinary::Utf8, SettingValue::Constant(value)) => is_utf8(value),
        }
    }
}

/// Whether the server's `parse_bool` reads it as true: any beginning of `true` or `yes`, `on`, or `1`.
pub fn is_on(value: &str) -> bool {
    let value = folded(value);
    let starts = |word: &str| !value.is_empty() && word.starts_with(value.as_ref());
    starts("true") || starts("yes") || value == "on" || value == "1"
}

/// Whether it names UTF-8: `pg_char_to_encoding` looks at letters and digits only, in any case.
pub fn is_utf8(value: &str) -> bool {
    let name: String = value.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    value.is_ascii() && matches!(name.as_str(), "utf8" | "unicode")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_leaves_bare_names_alone_is_called_that() {
        let act = |name, value| act(name, value, "written".to_owned());
        assert_eq!(act("Search_Path", SettingValue::Constant("")), EMPTIES_SEARCH_PATH);
        assert_eq!(act("Search_Path", SettingValue::Constant("public")), PUBLIC_SEARCH_PATH);
        let others = ["public, auth", "Public", "public ", "\"$user\", public", " "].map(SettingValue::Constant);
        for value in others.into_iter().chain([SettingValue::Default]) {
            assert_eq!(act("search_path", value), "written");
        }
        assert_eq!(act("search_path", SettingValue::Computed), "written");
        assert_eq!(act("role", SettingValue::Constant("")), "written");
    }

    #[test]
    fn what_settings_do() {
        use Class::{SessionIdentity, SessionPinned, SessionSetting};
        use SettingValue::{Computed, Constant, Default};
        let rows: &[(&str, SettingValue<'_>, Class)] = &[
            ("search_path", Constant("auth"), SessionSetting),
            ("statement_timeout", Constant("0"), SessionSetting),
            ("app.user_id", Computed, SessionSetting),
            ("row_security", Constant("off"), SessionSetting),
            ("transaction_isolation", Constant("serializable"), SessionSetting),
            ("role", Constant("none"), SessionIdentity),
            ("ROLE", Default, SessionSetting),
            ("session_authorization", Default, SessionSetting),
            ("session_authorization", Computed, SessionIdentity),
            ("transaction_read_only", Constant("on"), SessionSetting),
            ("transaction_read_only", Constant("TRUE"), SessionSetting),
            ("transaction_read_only", Constant("t"), SessionSetting),
            ("transaction_read_only", Constant("y"), SessionSetting),
            ("transaction_read_only", Constant("1"), SessionSetting),
            ("transaction_read_only", Constant("o"), SessionPinned),
            ("transaction_read_only", Constant("of"), SessionPinned),
            ("transaction_read_only", Constant(""), SessionPinned),
            ("transaction_read_only", Constant("truest"), SessionPinned),
            ("Transaction_Read_Only", Constant("off"), SessionPinned),
            ("transaction_read_only", Default, SessionPinned),
            ("transaction_read_only", Computed, SessionPinned),
            ("default_transaction_read_only", Constant("on"), SessionSetting),
            ("default_transaction_read_only", Constant("off"), SessionPinned),
            ("standard_conforming_strings", Constant("on"), SessionSetting),
            ("standard_conforming_strings", Constant("off"), SessionPinned),
            ("client_encoding", Constant("UTF8"), SessionSetting),
            ("client_encoding", Constant("utf-8"), SessionSetting),
            ("client_encoding", Constant("Unicode"), SessionSetting),
            ("client_encoding", Constant("SJIS"), SessionPinned),
            ("client_encoding", Constant("LATIN1"), SessionPinned),
            ("client_encoding", Default, SessionPinned),
            ("session_replication_role", Constant("origin"), SessionPinned),
            ("log_statement", Constant("none"), SessionPinned),
            ("pgaudit.log", Constant("none"), SessionPinned),
            ("PLPERL.on_init", Constant("x"), SessionPinned),
            ("plpgsql.extra_errors", Constant("all"), SessionSetting),
            ("log_temp_files", Constant("0"), SessionSetting),
        ];
        for (name, value, class) in rows {
            assert_eq!(classify(name, *value), *class, "{name} = {value:?}");
        }
    }

    #[test]
    fn names_are_folded_and_once() {
        for (at, setting) in SETTINGS.iter().enumerate() {
            assert_eq!(setting.name, setting.name.to_ascii_lowercase());
            assert!(!SETTINGS.iter().skip(at + 1).any(|other| other.name == setting.name), "{}", setting.name);
        }
    }
}
