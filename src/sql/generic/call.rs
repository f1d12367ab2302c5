//! Calls: functions by name, functions that the grammar calls behind its own forms, operators with a schema.

use std::borrow::Cow;

use sqlparser::ast::{
    BinaryOperator, DataType, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, ObjectName, Value,
};

use super::names;
use super::walk::Walker;
use crate::sql::effect::{Class, Effect, Object, ObjectKind};
use crate::sql::functions;
use crate::sql::settings::{self, SettingValue};

impl Walker {
    /// What an expression adds by itself; its children are walked apart.
    pub fn expression(&mut self, expr: &Expr) {
        match expr {
            Expr::Function(function) => self.function(function),
            Expr::BinaryOp { op, .. } => self.operator(op),
            Expr::AnyOp { compare_op, .. } | Expr::AllOp { compare_op, .. } => self.operator(compare_op),
            Expr::SimilarTo { .. } => self.plain_call("similar_to_escape"),
            Expr::Like { escape_char: Some(_), .. } | Expr::ILike { escape_char: Some(_), .. } => {
                self.plain_call("like_escape");
            }
            Expr::Ceil { .. } => self.plain_call("ceil"),
            Expr::Floor { .. } => self.plain_call("floor"),
            Expr::Substring { shorthand: true, .. } => self.plain_call("substr"),
            Expr::Substring { special: true, .. } => self.plain_call("substring"),
            Expr::Convert { .. } => self.plain_call("convert"),
            // The grammar's own forms: the functions behind them only look at their arguments.
            Expr::AtTimeZone { .. }
            | Expr::Extract { .. }
            | Expr::Position { .. }
            | Expr::Substring { .. }
            | Expr::Overlay { .. }
            | Expr::IsNormalized { .. }
            | Expr::Trim { .. } => {}
            Expr::Identifier(_)
            | Expr::CompoundIdentifier(_)
            | Expr::CompoundFieldAccess { .. }
            | Expr::IsFalse(_)
            | Expr::IsNotFalse(_)
            | Expr::IsTrue(_)
            | Expr::IsNotTrue(_)
            | Expr::IsNull(_)
            | Expr::IsNotNull(_)
            | Expr::IsUnknown(_)
            | Expr::IsNotUnknown(_)
            | Expr::IsDistinctFrom(..)
            | Expr::IsNotDistinctFrom(..)
            | Expr::IsJson { .. }
            | Expr::InList { .. }
            | Expr::InSubquery { .. }
            | Expr::Between { .. }
            | Expr::Like { escape_char: None, .. }
            | Expr::ILike { escape_char: None, .. }
            | Expr::UnaryOp { .. }
            | Expr::Cast { .. }
            | Expr::Collate { .. }
            | Expr::Nested(_)
            | Expr::Value(_)
            | Expr::TypedString(_)
            | Expr::Case { .. }
            | Expr::Exists { .. }
            | Expr::Subquery(_)
            | Expr::GroupingSets(_)
            | Expr::Cube(_)
            | Expr::Rollup(_)
            | Expr::Tuple(_)
            | Expr::Array(_)
            | Expr::Interval(_)
            | Expr::Named { .. }
            | Expr::Wildcard(_)
            | Expr::QualifiedWildcard(..)
            | Expr::Prefixed { .. } => {}
            Expr::JsonAccess { .. }
            | Expr::InUnnest { .. }
            | Expr::RLike { .. }
            | Expr::Struct { .. }
            | Expr::Dictionary(_)
            | Expr::Map(_)
            | Expr::MatchAgainst { .. }
            | Expr::OuterJoin(_)
            | Expr::Prior(_)
            | Expr::Lambda(_)
            | Expr::MemberOf(_) => self.unknown("expression"),
        }
    }

    fn operator(&mut self, operator: &BinaryOperator) {
        let BinaryOperator::PGCustomBinaryOperator(parts) = operator else { return };
        let mut parts = parts.iter().rev();
        let (name, schema) = (parts.next(), parts.next());
        let elsewhere = schema.is_some_and(|schema| !schema.eq_ignore_ascii_case("pg_catalog"));
        if let (Some(name), true) = (name, elsewhere) {
            let schema = schema.map(|schema| schema.to_ascii_lowercase());
            let object = Object { kind: ObjectKind::Function, schema, name: name.clone() };
            self.add(Effect::new(Class::FunctionVolatile, format!("use of operator {object}")).on(object));
        }
    }

    fn function(&mut self, function: &Function) {
        match &function.args {
            FunctionArguments::None | FunctionArguments::Subquery(_) => self.call(&function.name, None),
            FunctionArguments::List(list) => self.call(&function.name, Some(&list.args)),
        }
    }

    /// A call of a built-in that is known to be harmless.
    pub fn plain_call(&mut self, name: &'static str) {
        let object = Object { kind: ObjectKind::Function, schema: None, name: name.to_owned() };
        self.add(Effect::new(functions::classify(Some("pg_catalog"), name), format!("call of {name}")).on(object));
    }

    /// A call by name; `args` where they are a plain list.
    pub fn call(&mut self, name: &ObjectName, args: Option<&[FunctionArg]>) {
        let (schema, last) = names::qualified(name);
        let bare = name.0.len() == 1 && name.0.iter().all(|part| names::part(part).quote_style.is_none());
        if bare && functions::is_grammar_form(&last) && !is_real_call(&last, args) {
            return;
        }
        let built_in = matches!(schema.as_deref(), None | Some("pg_catalog"));
        if built_in && last == "set_config" { self.set_config(args) } else { self.called(schema, last) }
    }

    fn called(&mut self, schema: Option<String>, name: String) {
        let mut class = functions::classify(schema.as_deref(), &name);
        if self.defining && class == Class::FunctionVolatile && name == "nextval" {
            class = Class::FunctionSafe;
        }
        let why = functions::known(&name).map_or("", |function| function.why);
        let object = Object { kind: ObjectKind::Function, schema, name };
        let mut effect = Effect::new(class, format!("call of {object}")).on(object);
        if class != Class::FunctionSafe && !why.is_empty() {
            effect = effect.hint(why);
        }
        self.add(effect);
    }

    /// `set_config(name, value, is_local)` is SET in the shape of a call.
    fn set_config(&mut self, args: Option<&[FunctionArg]>) {
        let position = |at: usize| args.and_then(|args| args.get(at)).and_then(unnamed);
        let Some(name) = position(0).and_then(constant_text) else {
            return self.act(Class::SessionPinned, "set_config of a computed name");
        };
        let value = position(1).map_or(SettingValue::Computed, setting_value);
        let object = Object { kind: ObjectKind::Setting, schema: None, name: name.to_ascii_lowercase() };
        let class = settings::classify(&name, value);
        let act = settings::act(&object.name, value, format!("set_config of {object}"));
        self.add(Effect::new(class, act).on(object));
    }
}

/// Two forms are functions as well when they are written as plain calls.
fn is_real_call(form: &str, args: Option<&[FunctionArg]>) -> bool {
    match (form, args) {
        ("current_schema", Some(_)) => true,
        ("json_object", Some(args)) => {
            !args.is_empty() && args.iter().all(|arg| matches!(arg, FunctionArg::Unnamed(_)))
        }
        _ => false,
    }
}

fn unnamed(arg: &FunctionArg) -> Option<&Expr> {
    match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
        FunctionArg::Unnamed(_) | FunctionArg::Named { .. } | FunctionArg::ExprNamed { .. } => None,
    }
}

fn setting_value(expr: &Expr) -> SettingValue<'_> {
    match exact_literal(expr) {
        Some(Value::Null) => SettingValue::Default,
        Some(value) => text(value).map_or(SettingValue::Computed, SettingValue::Constant),
        None => SettingValue::Computed,
    }
}

fn constant_text(expr: &Expr) -> Option<Cow<'_, str>> {
    exact_literal(expr).and_then(text).map(Cow::Borrowed)
}

/// The literal that is handed to a function as it is written: through parentheses and casts to types that leave a text alone.
/// `'rolex'::varchar(4)` is another text than the one that is written.
fn exact_literal(expr: &Expr) -> Option<&Value> {
    match expr {
        Expr::Value(value) => Some(&value.value),
        Expr::TypedString(typed) if leaves_text_alone(&typed.data_type) => Some(&typed.value.value),
        Expr::Cast { expr: inner, data_type, .. } if leaves_text_alone(data_type) => exact_literal(inner),
        Expr::Nested(inner) => exact_literal(inner),
        _ => None,
    }
}

fn leaves_text_alone(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Text | DataType::Varchar(None) | DataType::CharacterVarying(None))
}

/// The literal that an expression is, through parentheses and casts.
pub fn literal(expr: &Expr) -> Option<&Value> {
    match expr {
        Expr::Value(value) => Some(&value.value),
        Expr::TypedString(typed) => Some(&typed.value.value),
        Expr::Nested(inner) | Expr::Cast { expr: inner, .. } => literal(inner),
        _ => None,
    }
}

/// The text of a string literal, however it is spelt.
pub fn text(value: &Value) -> Option<&str> {
    match value {
        Value::SingleQuotedString(text)
        | Value::EscapedStringLiteral(text)
        | Value::UnicodeStringLiteral(text)
        | Value::NationalStringLiteral(text) => Some(text),
        Value::DollarQuotedString(quoted) => Some(&quoted.value),
        _ => None,
    }
}
