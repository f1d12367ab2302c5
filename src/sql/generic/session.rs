//! What moves the session: SET, RESET, DISCARD, SHOW, transactions.

use sqlparser::ast::{
    ContextModifier, Expr, ObjectName, Reset, Set, SetSessionAuthorizationParamKind, SetSessionParamKind, Statement,
    TransactionAccessMode, TransactionMode, UnaryOperator, Value,
};

use super::walk::Walker;
use super::{call, names};
use crate::sql::effect::Class;
use crate::sql::settings::{self, SettingValue};

impl Walker {
    pub fn session(&mut self, statement: &Statement) {
        match statement {
            Statement::Set(set) => {
                self.created.clear();
                self.set(set);
            }
            Statement::Reset(reset) => {
                self.created.clear();
                self.reset(&reset.reset);
            }
            Statement::Discard { object_type } => {
                self.created.clear();
                self.add(crate::sql::effect::Effect::new(Class::SessionSetting, format!("DISCARD {object_type}")));
            }
            Statement::StartTransaction { statements, exception, modifier, has_end_keyword, .. } => {
                if !statements.is_empty() || exception.is_some() || modifier.is_some() || *has_end_keyword {
                    self.unknown("BEGIN");
                }
                self.act(Class::Transaction, "BEGIN");
            }
            Statement::Commit { modifier: None, .. } => self.act(Class::Transaction, "COMMIT"),
            Statement::Commit { .. } => self.unknown("END"),
            Statement::Rollback { savepoint, .. } => {
                self.created.clear();
                self.act(Class::Transaction, if savepoint.is_some() { "ROLLBACK TO SAVEPOINT" } else { "ROLLBACK" });
            }
            Statement::Savepoint { .. } => self.act(Class::Transaction, "SAVEPOINT"),
            Statement::ReleaseSavepoint { .. } => self.act(Class::Transaction, "RELEASE SAVEPOINT"),
            // SHOW and what is sent with it.
            _ => self.act(Class::Read, "SHOW"),
        }
    }

    fn set(&mut self, set: &Set) {
        match set {
            Set::SingleAssignment { hivevar: false, variable, values, scope }
                if *scope != Some(ContextModifier::Global) =>
            {
                self.assign(variable, values);
            }
            Set::SingleAssignment { .. } | Set::ParenthesizedAssignments { .. } | Set::MultipleAssignments { .. } => {
                self.unknown("SET");
            }
            Set::SetSessionAuthorization(to) => {
                let value = match to.kind {
                    SetSessionAuthorizationParamKind::Default => SettingValue::Default,
                    SetSessionAuthorizationParamKind::User(_) => SettingValue::Computed,
                };
                let class = settings::classify("session_authorization", value);
                self.setting(class, "SET SESSION AUTHORIZATION".to_owned(), "session_authorization");
            }
            Set::SetRole { .. } => self.setting(Class::SessionIdentity, "SET ROLE".to_owned(), "role"),
            Set::SetTimeZone { .. } => self.setting(Class::SessionSetting, "SET timezone".to_owned(), "timezone"),
            Set::SetNames { charset_name, collation_name: None } => {
                let class = settings::classify("client_encoding", SettingValue::Constant(&charset_name.value));
                self.setting(class, "SET client_encoding".to_owned(), "client_encoding");
            }
            Set::SetNames { collation_name: Some(_), .. } => self.unknown("SET NAMES"),
            Set::SetNamesDefault {} => {
                let class = settings::classify("client_encoding", SettingValue::Default);
                self.setting(class, "SET client_encoding".to_owned(), "client_encoding");
            }
            Set::SetTransaction { modes, session, .. } => self.set_transaction(modes, *session),
            Set::SetSessionParam(
                SetSessionParamKind::Generic(_)
                | SetSessionParamKind::IdentityInsert(_)
                | SetSessionParamKind::Offsets(_)
                | SetSessionParamKind::Statistics(_),
            ) => self.unknown("SET"),
        }
    }

    fn set_transaction(&mut self, modes: &[TransactionMode], session: bool) {
        let writes = modes.contains(&TransactionMode::AccessMode(TransactionAccessMode::ReadWrite));
        match (session, writes) {
            // READ WRITE is for the session to hold back: it comes before the statement that takes the snapshot.
            (false, _) => self.act(Class::Transaction, "SET TRANSACTION"),
            (true, true) => self.setting(
                Class::SessionPinned,
                "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE".to_owned(),
                "default_transaction_read_only",
            ),
            (true, false) => self.act(Class::SessionSetting, "SET SESSION CHARACTERISTICS"),
        }
    }

    fn assign(&mut self, variable: &ObjectName, values: &[Expr]) {
        let name = setting_name(variable);
        let held = values.iter().map(constant).collect::<Vec<_>>();
        let value = match held.as_slice() {
            [Some(Constant::Default)] => SettingValue::Default,
            [Some(Constant::Text(text))] => SettingValue::Constant(text),
            _ => SettingValue::Computed,
        };
        let act = settings::act(&name, value, format!("SET {name}"));
        self.setting(settings::classify(&name, value), act, &name);
    }

    fn reset(&mut self, reset: &Reset) {
        match reset {
            Reset::ALL => self.act(Class::SessionSetting, "RESET ALL"),
            Reset::SessionAuthorization => {
                let class = settings::classify("session_authorization", SettingValue::Default);
                self.setting(class, "RESET SESSION AUTHORIZATION".to_owned(), "session_authorization");
            }
            Reset::ConfigurationParameter(name) => {
                let name = setting_name(name);
                self.setting(settings::classify(&name, SettingValue::Default), format!("RESET {name}"), &name);
            }
        }
    }

    /// A SET clause of a role or a function: it sets the setting for whoever comes.
    pub fn set_clause(&mut self, name: &ObjectName, value: SettingValue<'_>) {
        let name = setting_name(name);
        let act = settings::act(&name, value, format!("SET {name}"));
        self.setting(settings::classify(&name, value), act, &name);
    }

    /// A SET clause with the values as written.
    pub fn set_clause_values(&mut self, name: &ObjectName, values: &[Expr]) {
        match values {
            [value] => match constant(value) {
                Some(Constant::Default) => self.set_clause(name, SettingValue::Default),
                Some(Constant::Text(text)) => self.set_clause(name, SettingValue::Constant(&text)),
                None => self.set_clause(name, SettingValue::Computed),
            },
            _ => self.set_clause(name, SettingValue::Computed),
        }
    }
}

/// The name of a setting, in the case the server compares it in.
fn setting_name(name: &ObjectName) -> String {
    names::dotted(name).to_ascii_lowercase()
}

enum Constant {
    Default,
    Text(String),
}

/// What the server makes of a value in SET: words and strings alike are text, numbers keep their spelling.
fn constant(expr: &Expr) -> Option<Constant> {
    match expr {
        Expr::Identifier(word) if word.quote_style.is_none() && word.value.eq_ignore_ascii_case("default") => {
            Some(Constant::Default)
        }
        Expr::Identifier(word) => Some(Constant::Text(names::folded(word))),
        Expr::Value(value) => match &value.value {
            Value::Boolean(on) => Some(Constant::Text(on.to_string())),
            Value::Number(number, _) => Some(Constant::Text(number.clone())),
            other => call::text(other).map(|text| Constant::Text(text.to_owned())),
        },
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => match constant(expr) {
            Some(Constant::Text(text)) => Some(Constant::Text(format!("-{text}"))),
            _ => None,
        },
        _ => None,
    }
}
