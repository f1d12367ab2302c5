//! Constants and what can be computed from them alone. Room of the postgres reader.

use pg_query::protobuf as pb;
use pg_query::protobuf::a_const::Val;
use pg_query::{Node, NodeEnum};

use super::names;

/// The value of a constant expression.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// NULL.
    Null,
    /// A boolean.
    Bool(bool),
    /// A number; as exact as a double.
    Number(f64),
    /// A string, also one of a type not looked at.
    Text(String),
}

impl Value {
    /// The value where a condition stands: `Some(None)` cannot be; `None` is NULL or not a boolean.
    pub(super) fn truth(self) -> Option<bool> {
        match self {
            Value::Bool(truth) => Some(truth),
            Value::Number(number) => Some(number != 0.0),
            Value::Text(text) => boolean(&text),
            Value::Null => None,
        }
    }
}

/// A boolean as the server's input function reads it: unique prefixes, any case, spaces around.
pub(super) fn boolean(text: &str) -> Option<bool> {
    let text = text.trim().to_ascii_lowercase();
    let prefix = |word: &str| !text.is_empty() && word.starts_with(&text);
    match text.as_str() {
        "1" | "on" => Some(true),
        "0" | "of" | "off" => Some(false),
        _ if prefix("true") || prefix("yes") => Some(true),
        _ if prefix("false") || prefix("no") => Some(false),
        _ => None,
    }
}

/// The text of a constant, through casts; numbers and booleans as SQL writes them.
pub(super) fn constant_text(node: &Node) -> Option<String> {
    match node.node.as_ref()? {
        NodeEnum::AConst(constant) => literal_text(constant),
        NodeEnum::TypeCast(cast) => constant_text(cast.arg.as_deref()?),
        NodeEnum::CollateClause(collate) => constant_text(collate.arg.as_deref()?),
        _ => None,
    }
}

/// The text of a constant that is handed to a function as it is written: through casts to types that leave a text alone, and no
/// others. `'rolex'::varchar(4)` and `'role '::bpchar` are another text than the one that is written.
pub(super) fn exact_text(node: &Node) -> Option<String> {
    match node.node.as_ref()? {
        NodeEnum::AConst(constant) => literal_text(constant),
        NodeEnum::TypeCast(cast) => {
            cast.type_name.as_ref().filter(|name| leaves_text_alone(name))?;
            exact_text(cast.arg.as_deref()?)
        }
        NodeEnum::CollateClause(collate) => exact_text(collate.arg.as_deref()?),
        _ => None,
    }
}

/// Whether it is NULL by the same standard.
pub(super) fn is_exact_null(node: &Node) -> bool {
    match &node.node {
        Some(NodeEnum::AConst(constant)) => constant.isnull,
        Some(NodeEnum::TypeCast(cast)) => {
            cast.type_name.as_ref().is_some_and(leaves_text_alone) && cast.arg.as_deref().is_some_and(is_exact_null)
        }
        _ => false,
    }
}

fn leaves_text_alone(name: &pb::TypeName) -> bool {
    let plain = name.typmods.is_empty() && name.array_bounds.is_empty() && !name.pct_type;
    plain && matches!(names::words(&name.names).as_slice(), ["text"] | ["pg_catalog", "text" | "varchar"])
}

/// The text of a literal; `None` for NULL.
pub(super) fn literal_text(constant: &pb::AConst) -> Option<String> {
    if constant.isnull {
        return None;
    }
    match constant.val.as_ref()? {
        Val::Ival(number) => Some(number.ival.to_string()),
        Val::Fval(number) => Some(number.fval.clone()),
        Val::Boolval(truth) => Some(truth.boolval.to_string()),
        Val::Sval(text) => Some(text.sval.clone()),
        Val::Bsval(_) => None,
    }
}

/// Whether an expression is the constant NULL.
pub(super) fn is_null(node: &Node) -> bool {
    value(node) == Some(Value::Null)
}

/// The value of an expression of constants, where it can be computed here.
pub(super) fn value(node: &Node) -> Option<Value> {
    match node.node.as_ref()? {
        NodeEnum::AConst(constant) => literal(constant),
        NodeEnum::TypeCast(cast) => cast_value(cast),
        NodeEnum::CollateClause(collate) => value(collate.arg.as_deref()?),
        NodeEnum::BoolExpr(expression) => logic(expression),
        NodeEnum::AExpr(expression) => operator(expression),
        NodeEnum::NullTest(test) => {
            let null = value(test.arg.as_deref()?)? == Value::Null;
            Some(Value::Bool(null == (test.nulltesttype() == pb::NullTestType::IsNull)))
        }
        NodeEnum::BooleanTest(test) => boolean_test(test),
        NodeEnum::CoalesceExpr(coalesce) => first_not_null(&coalesce.args),
        NodeEnum::SubLink(sublink) => lone_select(sublink),
        _ => None,
    }
}

fn literal(constant: &pb::AConst) -> Option<Value> {
    if constant.isnull {
        return Some(Value::Null);
    }
    match constant.val.as_ref() {
        // protobuf leaves out a zero.
        None => Some(Value::Number(0.0)),
        Some(Val::Ival(number)) => Some(Value::Number(f64::from(number.ival))),
        Some(Val::Fval(number)) => number.fval.parse().ok().map(Value::Number),
        Some(Val::Boolval(truth)) => Some(Value::Bool(truth.boolval)),
        Some(Val::Sval(text)) => Some(Value::Text(text.sval.clone())),
        Some(Val::Bsval(bits)) => Some(Value::Text(bits.bsval.clone())),
    }
}

fn cast_value(cast: &pb::TypeCast) -> Option<Value> {
    let inner = value(cast.arg.as_deref()?)?;
    let name = names::words(&cast.type_name.as_ref()?.names).pop()?;
    match (name, inner) {
        (_, Value::Null) => Some(Value::Null),
        ("bool", inner) => inner.truth().map(Value::Bool),
        ("text" | "varchar" | "bpchar" | "name", Value::Bool(truth)) => Some(Value::Text(truth.to_string())),
        ("text" | "varchar" | "bpchar" | "name", Value::Text(text)) => Some(Value::Text(text)),
        ("int2" | "int4" | "int8" | "numeric" | "float4" | "float8", inner) => number(&inner).map(Value::Number),
        _ => None,
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => Some(*number),
        Value::Text(text) => text.trim().parse().ok(),
        Value::Bool(truth) => Some(f64::from(u8::from(*truth))),
        Value::Null => None,
    }
}

fn logic(expression: &pb::BoolExpr) -> Option<Value> {
    let arguments: Vec<Option<Value>> = expression.args.iter().map(value).collect();
    let truths: Vec<Option<Option<bool>>> = arguments.into_iter().map(|value| value.map(Value::truth)).collect();
    let has = |wanted: bool| truths.contains(&Some(Some(wanted)));
    let known = truths.iter().all(Option::is_some);
    match expression.boolop() {
        pb::BoolExprType::OrExpr if has(true) => Some(Value::Bool(true)),
        pb::BoolExprType::AndExpr if has(false) => Some(Value::Bool(false)),
        pb::BoolExprType::OrExpr | pb::BoolExprType::AndExpr if known => {
            let null = truths.contains(&Some(None));
            Some(if null { Value::Null } else { Value::Bool(expression.boolop() == pb::BoolExprType::AndExpr) })
        }
        pb::BoolExprType::NotExpr => match truths.first()? {
            Some(Some(truth)) => Some(Value::Bool(!truth)),
            Some(None) => Some(Value::Null),
            None => None,
        },
        pb::BoolExprType::OrExpr | pb::BoolExprType::AndExpr | pb::BoolExprType::Undefined => None,
    }
}

fn boolean_test(test: &pb::BooleanTest) -> Option<Value> {
    let truth = value(test.arg.as_deref()?)?.truth();
    tested(test.booltesttype(), truth).map(Value::Bool)
}

/// What IS TRUE and its like say of a truth; `None` is NULL.
pub(super) fn tested(test: pb::BoolTestType, truth: Option<bool>) -> Option<bool> {
    use pb::BoolTestType as T;
    Some(match test {
        T::IsTrue => truth == Some(true),
        T::IsNotTrue => truth != Some(true),
        T::IsFalse => truth == Some(false),
        T::IsNotFalse => truth != Some(false),
        T::IsUnknown => truth.is_none(),
        T::IsNotUnknown => truth.is_some(),
        T::Undefined => return None,
    })
}

fn first_not_null(arguments: &[Node]) -> Option<Value> {
    for argument in arguments {
        match value(argument)? {
            Value::Null => {}
            found => return Some(found),
        }
    }
    Some(Value::Null)
}

/// `(SELECT constant)` and `EXISTS (SELECT …)` without FROM.
fn lone_select(sublink: &pb::SubLink) -> Option<Value> {
    let Some(NodeEnum::SelectStmt(select)) = sublink.subselect.as_deref()?.node.as_ref() else { return None };
    let kept = match select.where_clause.as_deref() {
        Some(condition) => value(condition)?.truth() == Some(true),
        None => true,
    };
    let lone = select.from_clause.is_empty()
        && select.limit_count.is_none()
        && select.limit_offset.is_none()
        && select.having_clause.is_none()
        && select.op() == pb::SetOperation::SetopNone;
    match (sublink.sub_link_type(), lone) {
        (pb::SubLinkType::ExistsSublink, true) => Some(Value::Bool(kept)),
        (pb::SubLinkType::ExprSublink, true) if kept => match select.target_list.first()?.node.as_ref()? {
            NodeEnum::ResTarget(target) => value(target.val.as_deref()?),
            _ => None,
        },
        _ => None,
    }
}

fn operator(expression: &pb::AExpr) -> Option<Value> {
    let name = names::words(&expression.name).pop()?;
    let right = expression.rexpr.as_deref()?;
    match expression.kind() {
        pb::AExprKind::AexprOp => match expression.lexpr.as_deref() {
            // The right one first: a long chain has its length on the left.
            Some(left) => {
                let right = value(right)?;
                binary(name, value(left)?, right)
            }
            None => unary(name, value(right)?),
        },
        pb::AExprKind::AexprIn => {
            let Some(NodeEnum::List(list)) = &right.node else { return None };
            let left = value(expression.lexpr.as_deref()?)?;
            let items: Option<Vec<Value>> = list.items.iter().map(value).collect();
            let found = items?.into_iter().any(|item| binary("=", left.clone(), item) == Some(Value::Bool(true)));
            Some(Value::Bool(found == (name == "=")))
        }
        pb::AExprKind::AexprBetween | pb::AExprKind::AexprNotBetween => {
            let Some(NodeEnum::List(list)) = &right.node else { return None };
            let [low, high] = list.items.as_slice() else { return None };
            let left = value(expression.lexpr.as_deref()?)?;
            let above = binary(">=", left.clone(), value(low)?)? == Value::Bool(true);
            let below = binary("<=", left, value(high)?)? == Value::Bool(true);
            Some(Value::Bool((above && below) == (expression.kind() == pb::AExprKind::AexprBetween)))
        }
        pb::AExprKind::AexprDistinct | pb::AExprKind::AexprNotDistinct => {
            let distinct = value(expression.lexpr.as_deref()?)? != value(right)?;
            Some(Value::Bool(distinct == (expression.kind() == pb::AExprKind::AexprDistinct)))
        }
        pb::AExprKind::AexprOpAny
        | pb::AExprKind::AexprOpAll
        | pb::AExprKind::AexprNullif
        | pb::AExprKind::AexprLike
        | pb::AExprKind::AexprIlike
        | pb::AExprKind::AexprSimilar
        | pb::AExprKind::AexprBetweenSym
        | pb::AExprKind::AexprNotBetweenSym
        | pb::AExprKind::Undefined => None,
    }
}

fn unary(name: &str, right: Value) -> Option<Value> {
    match (name, &right) {
        (_, Value::Null) => Some(Value::Null),
        ("-", Value::Number(number)) => Some(Value::Number(-number)),
        ("+", Value::Number(_)) => Some(right),
        _ => None,
    }
}

fn binary(name: &str, left: Value, right: Value) -> Option<Value> {
    if left == Value::Null || right == Value::Null {
        return Some(Value::Null);
    }
    if let (Value::Text(a), Value::Text(b)) = (&left, &right) {
        return match name {
            "=" => Some(Value::Bool(a == b)),
            "<>" => Some(Value::Bool(a != b)),
            "||" => Some(Value::Text(format!("{a}{b}"))),
            _ => None,
        };
    }
    if matches!(left, Value::Bool(_)) || matches!(right, Value::Bool(_)) {
        let (a, b) = (left.truth()?, right.truth()?);
        return match name {
            "=" => Some(Value::Bool(a == b)),
            "<>" => Some(Value::Bool(a != b)),
            "<" => Some(Value::Bool(!a & b)),
            ">" => Some(Value::Bool(a & !b)),
            "<=" => Some(Value::Bool(a <= b)),
            ">=" => Some(Value::Bool(a >= b)),
            _ => None,
        };
    }
    arithmetic(name, number(&left)?, number(&right)?)
}

fn arithmetic(name: &str, left: f64, right: f64) -> Option<Value> {
    Some(match name {
        "=" => Value::Bool(left == right),
        "<>" => Value::Bool(left != right),
        "<" => Value::Bool(left < right),
        ">" => Value::Bool(left > right),
        "<=" => Value::Bool(left <= right),
        ">=" => Value::Bool(left >= right),
        "+" => Value::Number(left + right),
        "-" => Value::Number(left - right),
        "*" => Value::Number(left * right),
        "/" if right != 0.0 && left.rem_euclid(right) == 0.0 => Value::Number(left / right),
        "%" if right != 0.0 => Value::Number(left % right),
        _ => return None,
    })
}
