//! Whether two expressions are the same, whatever stands around them. Room of the postgres reader.

use pg_query::protobuf as pb;
use pg_query::{Node, NodeEnum};

use super::constant::{Value, value};
use super::names;
use super::target::Target;

/// The expression without casts that keep values apart, collations and arithmetic that changes nothing (`+ 0`, `* 1`, `|| ''`).
pub(super) fn strip(node: &Node) -> &Node {
    let inner = match &node.node {
        Some(NodeEnum::TypeCast(cast)) if !rounds(cast) => cast.arg.as_deref(),
        Some(NodeEnum::CollateClause(collate)) => collate.arg.as_deref(),
        Some(NodeEnum::AExpr(expression)) => idle_operand(expression),
        Some(NodeEnum::SubLink(sublink)) => lone_column(sublink),
        Some(NodeEnum::CoalesceExpr(coalesce)) if coalesce.args.len() == 1 => coalesce.args.first(),
        _ => None,
    };
    inner.map_or(node, strip)
}

/// Whether a cast makes one value of several: `::date`, `::numeric(10, 2)`.
fn rounds(cast: &pb::TypeCast) -> bool {
    cast.type_name.as_ref().is_some_and(|name| {
        !name.typmods.is_empty() || matches!(names::words(&name.names).pop(), Some("date" | "time" | "timetz"))
    })
}

fn idle_operand(expression: &pb::AExpr) -> Option<&Node> {
    if expression.kind() != pb::AExprKind::AexprOp {
        return None;
    }
    let name = names::words(&expression.name).pop()?;
    let right = expression.rexpr.as_deref()?;
    let Some(left) = expression.lexpr.as_deref() else { return (name == "+").then_some(right) };
    let is = |node: &Node, number: f64| value(node) == Some(Value::Number(number));
    let empty = |node: &Node| value(node) == Some(Value::Text(String::new()));
    match name {
        "+" | "-" if is(right, 0.0) => Some(left),
        "+" if is(left, 0.0) => Some(right),
        "*" | "/" if is(right, 1.0) => Some(left),
        "*" if is(left, 1.0) => Some(right),
        "||" if empty(right) => Some(left),
        "||" if empty(left) => Some(right),
        _ => None,
    }
}

/// The expression of `(SELECT expression)`.
pub(super) fn lone_column(sublink: &pb::SubLink) -> Option<&Node> {
    let Some(NodeEnum::SelectStmt(select)) = sublink.subselect.as_deref()?.node.as_ref() else { return None };
    let plain = sublink.sub_link_type() == pb::SubLinkType::ExprSublink
        && select.from_clause.is_empty()
        && select.where_clause.is_none()
        && select.limit_count.is_none();
    match select.target_list.as_slice() {
        [only] if plain => match only.node.as_ref()? {
            NodeEnum::ResTarget(target) => target.val.as_deref(),
            _ => None,
        },
        _ => None,
    }
}

/// Whether two expressions always have the same value for one row of the target.
pub(super) fn same(one: &Node, other: &Node, target: &Target<'_>) -> bool {
    use NodeEnum as N;
    let (one, other) = (strip(one), strip(other));
    let lists = |a: &[Node], b: &[Node]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b, target));
    let maybe = |a: &Option<Box<Node>>, b: &Option<Box<Node>>| match (a, b) {
        (Some(a), Some(b)) => same(a, b, target),
        (None, None) => true,
        _ => false,
    };
    match (&one.node, &other.node) {
        (Some(N::ColumnRef(a)), Some(N::ColumnRef(b))) => same_column(a, b, target),
        (Some(N::ParamRef(a)), Some(N::ParamRef(b))) => a.number == b.number,
        (Some(N::AConst(a)), Some(N::AConst(b))) => a.val == b.val && a.isnull == b.isnull,
        (Some(N::SqlvalueFunction(a)), Some(N::SqlvalueFunction(b))) => a.op == b.op,
        (Some(N::FuncCall(a)), Some(N::FuncCall(b))) => {
            names::words(&a.funcname) == names::words(&b.funcname) && lists(&a.args, &b.args)
        }
        (Some(N::AExpr(a)), Some(N::AExpr(b))) => {
            a.kind == b.kind
                && names::words(&a.name) == names::words(&b.name)
                && maybe(&a.lexpr, &b.lexpr)
                && maybe(&a.rexpr, &b.rexpr)
        }
        (Some(N::TypeCast(a)), Some(N::TypeCast(b))) => {
            let named =
                |cast: &pb::TypeCast| cast.type_name.as_ref().map(|name| (name.names.clone(), name.typmods.clone()));
            named(a) == named(b) && maybe(&a.arg, &b.arg)
        }
        (Some(N::List(a)), Some(N::List(b))) => lists(&a.items, &b.items),
        (Some(N::RowExpr(a)), Some(N::RowExpr(b))) => lists(&a.args, &b.args),
        (Some(N::AArrayExpr(a)), Some(N::AArrayExpr(b))) => lists(&a.elements, &b.elements),
        (Some(N::CoalesceExpr(a)), Some(N::CoalesceExpr(b))) => lists(&a.args, &b.args),
        (Some(N::NullTest(a)), Some(N::NullTest(b))) => a.nulltesttype == b.nulltesttype && maybe(&a.arg, &b.arg),
        (Some(N::BoolExpr(a)), Some(N::BoolExpr(b))) => a.boolop == b.boolop && lists(&a.args, &b.args),
        _ => false,
    }
}

fn same_column(one: &pb::ColumnRef, other: &pb::ColumnRef, target: &Target<'_>) -> bool {
    let (one, other) = (names::words(&one.fields), names::words(&other.fields));
    let own = |parts: &[&str]| match parts {
        [.., qualifier, _] => target.is_called(qualifier),
        _ => target.alone,
    };
    !one.is_empty() && one.last() == other.last() && (one == other || (own(&one) && own(&other)))
}
