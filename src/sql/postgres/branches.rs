//! Branches of an OR that cover everything between them, and of an AND that exclude each other. Room of the postgres reader.

use pg_query::protobuf as pb;
use pg_query::{Node, NodeEnum};

use super::constant::{Value, value};
use super::names;
use super::same::same;
use super::target::Target;
use super::truth::{boolean_test, list};

/// Whether two branches of an OR cover everything between them or, negated, two branches of an AND exclude each other.
pub(super) fn covers(expression: &pb::BoolExpr, positive: bool, target: &Target<'_>) -> bool {
    let branches = branches_of(expression);
    // Quadratic: beyond this many branches nothing is claimed.
    let branches = branches.get(..branches.len().min(64)).unwrap_or_default();
    let complement = |one: &Node, other: &Node| match positive {
        true => complementary(one, other, target),
        false => exclusive(one, other, target),
    };
    branches
        .iter()
        .enumerate()
        .any(|(at, one)| branches.iter().skip(at + 1).any(|other| complement(one, other) || complement(other, one)))
        || (positive && ranges_join(branches, target))
}

/// Whether ranges of one expression leave no number out: `x < 1 OR x = 1 OR x > 1`.
fn ranges_join(branches: &[&Node], target: &Target<'_>) -> bool {
    let ranges: Vec<(&Node, Range)> = branches.iter().filter_map(|branch| range(branch)).collect();
    ranges.iter().any(|(of, _)| {
        let mut own: Vec<Range> =
            ranges.iter().filter(|(other, _)| same(of, other, target)).map(|(_, range)| *range).collect();
        own.sort_by(|a, b| a.from.total_cmp(&b.from).then(b.with_from.cmp(&a.with_from)));
        let mut reached = (f64::NEG_INFINITY, true);
        for next in own {
            let gap = next.from > reached.0 || (next.from == reached.0 && !next.with_from && !reached.1);
            if gap {
                return false;
            }
            if next.to > reached.0 || (next.to == reached.0 && next.with_to) {
                reached = (next.to, next.with_to);
            }
        }
        reached.0 == f64::INFINITY
    })
}

/// Numbers between two bounds, and whether the bounds are among them.
#[derive(Clone, Copy)]
struct Range {
    from: f64,
    with_from: bool,
    to: f64,
    with_to: bool,
}

/// The range that a comparison with a constant lets through, and what is compared.
fn range(branch: &Node) -> Option<(&Node, Range)> {
    let Some(NodeEnum::AExpr(expression)) = &branch.node else { return None };
    let (of, right) = (expression.lexpr.as_deref()?, expression.rexpr.as_deref()?);
    let number = |node: &Node| match value(node) {
        Some(Value::Number(number)) => Some(number),
        _ => None,
    };
    let (from, with_from, to, with_to) = match expression.kind() {
        pb::AExprKind::AexprBetween => {
            let [low, high] = list(right)? else { return None };
            (number(low)?, true, number(high)?, true)
        }
        pb::AExprKind::AexprOp => {
            let bound = number(right)?;
            match names::words(&expression.name).pop()? {
                "<" => (f64::NEG_INFINITY, true, bound, false),
                "<=" => (f64::NEG_INFINITY, true, bound, true),
                "=" => (bound, true, bound, true),
                ">" => (bound, false, f64::INFINITY, true),
                ">=" => (bound, true, f64::INFINITY, true),
                _ => return None,
            }
        }
        _ => return None,
    };
    Some((of, Range { from, with_from, to, with_to }))
}

/// Whether two conditions are never both true.
fn exclusive(one: &Node, other: &Node, target: &Target<'_>) -> bool {
    let (Some(NodeEnum::AExpr(a)), Some(NodeEnum::AExpr(b))) = (&one.node, &other.node) else {
        return complementary(one, other, target);
    };
    let names = (names::words(&a.name).pop().unwrap_or(""), names::words(&b.name).pop().unwrap_or(""));
    let plain = (a.kind(), b.kind()) == (pb::AExprKind::AexprOp, pb::AExprKind::AexprOp);
    if !plain {
        return complementary_operators(a, b, target);
    }
    let apart = matches!(names, ("<", ">") | ("=", "<" | ">")) || (opposite_names(names) && names != ("<=", ">="));
    both(&a.lexpr, &b.lexpr, target) && (ranges_exclude(a, b, names) || (apart && both(&a.rexpr, &b.rexpr, target)))
}

/// `x < 3` and `x > 5`, `x = 1` and `x = 2`.
fn ranges_exclude(one: &pb::AExpr, other: &pb::AExpr, names: (&str, &str)) -> bool {
    let bound = |expression: &pb::AExpr| expression.rexpr.as_deref().and_then(value);
    match (names, bound(one), bound(other)) {
        (("=", "="), Some(a), Some(b)) => a != b,
        (("<" | "<=", ">" | ">="), Some(Value::Number(upper)), Some(Value::Number(lower))) => {
            upper < lower || (upper == lower && names != ("<=", ">="))
        }
        _ => false,
    }
}

/// The branches of an OR, those of its ORs among them; of an AND likewise.
pub(super) fn branches_of(expression: &pb::BoolExpr) -> Vec<&Node> {
    let mut branches = Vec::new();
    flatten(expression, &mut branches);
    branches
}

fn flatten<'n>(expression: &'n pb::BoolExpr, branches: &mut Vec<&'n Node>) {
    for argument in &expression.args {
        match &argument.node {
            Some(NodeEnum::BoolExpr(inner)) if inner.boolop == expression.boolop => flatten(inner, branches),
            _ => branches.push(argument),
        }
    }
}

/// Whether one of the two is true for every row, NULLs aside.
fn complementary(one: &Node, other: &Node, target: &Target<'_>) -> bool {
    match (&one.node, &other.node) {
        _ if denied(one).is_some_and(|argument| same(argument, other, target)) => true,
        (Some(NodeEnum::NullTest(a)), Some(NodeEnum::NullTest(b))) => {
            a.nulltesttype != b.nulltesttype && both(&a.arg, &b.arg, target)
        }
        (Some(NodeEnum::BooleanTest(a)), Some(NodeEnum::BooleanTest(b))) => {
            opposite_tests(a.booltesttype(), b.booltesttype()) && both(&a.arg, &b.arg, target)
        }
        (Some(NodeEnum::AExpr(a)), Some(NodeEnum::AExpr(b))) => complementary_operators(a, b, target),
        _ => false,
    }
}

/// The condition that another one says does not hold: `NOT x`, `x IS NOT TRUE`, `x = false`, `x IS DISTINCT FROM true`.
fn denied(node: &Node) -> Option<&Node> {
    match node.node.as_ref()? {
        NodeEnum::BoolExpr(not) if not.boolop() == pb::BoolExprType::NotExpr => not.args.first(),
        NodeEnum::BooleanTest(test) if boolean_test(test) == Some(false) => test.arg.as_deref(),
        NodeEnum::AExpr(equal) => compared_with_truth(equal).filter(|(_, same_way)| !same_way).map(|(node, _)| node),
        _ => None,
    }
}

/// What is compared with a constant truth, and whether the comparison holds where it does: `x = true`, `x <> true`.
pub(super) fn compared_with_truth(expression: &pb::AExpr) -> Option<(&Node, bool)> {
    let (left, right) = (expression.lexpr.as_deref()?, expression.rexpr.as_deref()?);
    let equal = match (expression.kind(), names::words(&expression.name).pop()?) {
        (pb::AExprKind::AexprOp, "=") | (pb::AExprKind::AexprNotDistinct, _) => true,
        (pb::AExprKind::AexprOp, "<>") | (pb::AExprKind::AexprDistinct, _) => false,
        _ => return None,
    };
    match (value(left), value(right)) {
        (None, Some(Value::Bool(truth))) => Some((left, truth == equal)),
        (Some(Value::Bool(truth)), None) => Some((right, truth == equal)),
        _ => None,
    }
}

pub(super) fn both(one: &Option<Box<Node>>, other: &Option<Box<Node>>, target: &Target<'_>) -> bool {
    matches!((one, other), (Some(one), Some(other)) if same(one, other, target))
}

fn opposite_tests(one: pb::BoolTestType, other: pb::BoolTestType) -> bool {
    use pb::BoolTestType as T;
    matches!(
        (one, other),
        (T::IsTrue, T::IsNotTrue | T::IsFalse) | (T::IsFalse, T::IsNotFalse) | (T::IsUnknown, T::IsNotUnknown)
    )
}

fn complementary_operators(one: &pb::AExpr, other: &pb::AExpr, target: &Target<'_>) -> bool {
    use pb::AExprKind as K;
    let names = (names::words(&one.name).pop().unwrap_or(""), names::words(&other.name).pop().unwrap_or(""));
    if !both(&one.lexpr, &other.lexpr, target) {
        return (one.kind(), other.kind()) == (K::AexprOp, K::AexprOp)
            && opposite_names((names.0, mirrored(names.1)))
            && both(&one.lexpr, &other.rexpr, target)
            && both(&one.rexpr, &other.lexpr, target);
    }
    let opposite = match (one.kind(), other.kind()) {
        (K::AexprOp, K::AexprOp) => {
            return ranges_cover(one, other, names)
                || (opposite_names(names) && both(&one.rexpr, &other.rexpr, target));
        }
        (K::AexprBetween, K::AexprNotBetween)
        | (K::AexprBetweenSym, K::AexprNotBetweenSym)
        | (K::AexprDistinct, K::AexprNotDistinct) => true,
        (a, b) => a == b && opposite_names(names),
    };
    opposite && same_lists(one.rexpr.as_deref(), other.rexpr.as_deref(), target)
}

fn same_lists(one: Option<&Node>, other: Option<&Node>, target: &Target<'_>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => match (list(one), list(other)) {
            (Some(a), Some(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b, target)),
            _ => same(one, other, target),
        },
        _ => false,
    }
}

fn opposite_names(names: (&str, &str)) -> bool {
    matches!(
        names,
        ("=", "<>")
            | ("<", ">=")
            | (">", "<=")
            | ("<=", ">=")
            | ("~~", "!~~")
            | ("~~*", "!~~*")
            | ("~", "!~")
            | ("~*", "!~*")
    )
}

/// The operator with its sides exchanged.
fn mirrored(operator: &str) -> &str {
    match operator {
        "<" => ">",
        ">" => "<",
        "<=" => ">=",
        ">=" => "<=",
        "=" | "<>" => operator,
        _ => "",
    }
}

/// `x < 5 OR x > 3`, `x <> 1 OR x <> 2`.
fn ranges_cover(one: &pb::AExpr, other: &pb::AExpr, names: (&str, &str)) -> bool {
    let bound = |expression: &pb::AExpr| expression.rexpr.as_deref().and_then(value);
    match (names, bound(one), bound(other)) {
        (("<>", "<>"), Some(a), Some(b)) => a != b,
        (("=", "="), Some(Value::Bool(a)), Some(Value::Bool(b))) => a != b,
        (("<" | "<=", ">" | ">="), Some(Value::Number(upper)), Some(Value::Number(lower))) => {
            lower < upper || (lower == upper && names != ("<", ">"))
        }
        _ => false,
    }
}
