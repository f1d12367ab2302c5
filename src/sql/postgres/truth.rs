//! Whether a WHERE restricts anything. Room of the postgres reader.
//!
//! A condition restricts nothing when it is true for every row whatever the row holds (`true`, `1 = 1`, `id = id`,
//! `x IS NULL OR x IS NOT NULL`, `name LIKE '%'`, `id IN (SELECT id FROM the_same_table)`), or when it does not look at
//! the row at all (`random() < 2`, `EXISTS (SELECT 1)`, a join partner's columns only): then it is all rows or none.
//! What no rule here recognizes is tried on made-up rows ([`super::trial`]). Where it cannot be known, nothing is claimed:
//! the condition counts as restricting.

use pg_query::protobuf as pb;
use pg_query::{Node, NodeEnum};

use super::branches::{both, branches_of, compared_with_truth, covers};
use super::constant::{Value, constant_text, is_null, value};
use super::looks::looks_at;
use super::names;
use super::same::{same, strip};
use super::subquery::{always_sublink, cuts, gives_every, gives_extreme, own_columns};
use super::target::{Target, rejoined};
use super::trial::passes_all;

/// The greatest value of `bigint`.
const LONGEST: f64 = i64::MAX as f64;

/// Whether a WHERE restricts which rows of the target it chooses.
pub(super) fn restricts(condition: Option<&Node>, target: &Target<'_>) -> bool {
    let target = &target.joined_by(condition);
    let mut open: Vec<&Node> = condition.into_iter().collect();
    while let Some(node) = open.pop() {
        match &node.node {
            Some(NodeEnum::BoolExpr(and)) if and.boolop() == pb::BoolExprType::AndExpr => open.extend(&and.args),
            _ if chooses(node, true, target) && !passes_all(node, target) => return true,
            _ => {}
        }
    }
    false
}

/// Whether a condition is constant and never true.
pub(super) fn never(condition: Option<&Node>) -> bool {
    matches!(condition.and_then(value).map(Value::truth), Some(Some(false) | None))
}

/// Whether a condition (negated unless `positive`) chooses among rows, by how it is written.
fn chooses(node: &Node, positive: bool, target: &Target<'_>) -> bool {
    let Some(inner) = &node.node else { return true };
    if let NodeEnum::BoolExpr(expression) = inner {
        return match (expression.boolop(), positive) {
            (pb::BoolExprType::AndExpr, true) | (pb::BoolExprType::OrExpr, false) => {
                expression.args.iter().any(|argument| chooses(argument, positive, target))
            }
            (pb::BoolExprType::OrExpr, true) | (pb::BoolExprType::AndExpr, false) => {
                !covers(expression, positive, target)
                    && branches_of(expression).into_iter().all(|branch| chooses(branch, positive, target))
            }
            (pb::BoolExprType::NotExpr, _) => {
                expression.args.iter().all(|argument| chooses(argument, !positive, target))
            }
            (pb::BoolExprType::Undefined, _) => true,
        };
    }
    if let NodeEnum::BooleanTest(test) = inner
        && let (Some(argument), Some(same_way)) = (test.arg.as_deref(), boolean_test(test))
    {
        return chooses(argument, positive == same_way, target);
    }
    if let NodeEnum::AExpr(expression) = inner
        && let Some((compared, same_way)) = compared_with_truth(expression)
    {
        return chooses(compared, positive == same_way, target);
    }
    match (always(node, target), positive) {
        (Some(outcome), _) => outcome != positive,
        (None, _) => looks_at(node, target, false),
    }
}

/// `x IS TRUE` and `x IS NOT FALSE` hold where x does; the others where it does not. `None` for UNKNOWN.
pub(super) fn boolean_test(test: &pb::BooleanTest) -> Option<bool> {
    match test.booltesttype() {
        pb::BoolTestType::IsTrue | pb::BoolTestType::IsNotFalse => Some(true),
        pb::BoolTestType::IsFalse | pb::BoolTestType::IsNotTrue => Some(false),
        pb::BoolTestType::IsUnknown | pb::BoolTestType::IsNotUnknown | pb::BoolTestType::Undefined => None,
    }
}

/// Whether a condition without AND, OR, NOT is always true or always false, NULLs aside.
fn always(node: &Node, target: &Target<'_>) -> Option<bool> {
    if let Some(constant) = value(node) {
        return Some(constant.truth().unwrap_or(false));
    }
    match node.node.as_ref()? {
        NodeEnum::AExpr(expression) => always_operator(expression, target),
        NodeEnum::NullTest(test) => {
            let argument = test.arg.as_deref()?;
            let not_null = test.nulltesttype() == pb::NullTestType::IsNotNull;
            match nulled(argument, target) {
                true => Some(!not_null),
                false => never_null(argument).then_some(not_null),
            }
        }
        NodeEnum::SubLink(sublink) => always_sublink(sublink, target),
        NodeEnum::FuncCall(call) => match (names::words(&call.funcname).pop(), call.args.as_slice()) {
            (Some("starts_with"), [_, prefix]) if is_empty_text(prefix) => Some(true),
            _ => None,
        },
        NodeEnum::CoalesceExpr(coalesce) => all_alike(coalesce.args.iter(), target),
        NodeEnum::CaseExpr(case) => {
            if let Some(result) = certain_branch(case, target) {
                return always(result, target);
            }
            let results = case.args.iter().filter_map(|when| match &when.node {
                Some(NodeEnum::CaseWhen(when)) => when.result.as_deref(),
                _ => None,
            });
            all_alike(results.chain([case.defresult.as_deref()?]), target)
        }
        NodeEnum::TypeCast(cast) => always(cast.arg.as_deref()?, target),
        _ => None,
    }
}

/// The result of a CASE whose conditions are certain up to the one that holds.
fn certain_branch<'n>(case: &'n pb::CaseExpr, target: &Target<'_>) -> Option<&'n Node> {
    if case.arg.is_some() {
        return None;
    }
    for when in &case.args {
        let Some(NodeEnum::CaseWhen(when)) = &when.node else { return None };
        if always(when.expr.as_deref()?, target)? {
            return when.result.as_deref();
        }
    }
    case.defresult.as_deref()
}

/// `nullif(x, x)`.
fn nulled(node: &Node, target: &Target<'_>) -> bool {
    match &node.node {
        Some(NodeEnum::AExpr(nullif)) if nullif.kind() == pb::AExprKind::AexprNullif => {
            both(&nullif.lexpr, &nullif.rexpr, target)
        }
        _ => false,
    }
}

fn all_alike<'n>(mut nodes: impl Iterator<Item = &'n Node>, target: &Target<'_>) -> Option<bool> {
    let first = always(nodes.next()?, target)?;
    nodes.all(|node| always(node, target) == Some(first)).then_some(first)
}

fn always_operator(expression: &pb::AExpr, target: &Target<'_>) -> Option<bool> {
    let (left, right) = (expression.lexpr.as_deref()?, expression.rexpr.as_deref()?);
    let operator = names::words(&expression.name).pop()?;
    let alike = || same(left, right, target);
    let among = |list: &[Node]| list.iter().any(|item| same(left, item, target));
    match expression.kind() {
        pb::AExprKind::AexprOp => match operator {
            "=" | "<=" | ">=" | "@>" | "<@" | "&&" if alike() => Some(true),
            "<>" | "!=" | "<" | ">" if alike() => Some(false),
            "~" | "~*" => matches_all(right),
            "~~" | "~~*" => matches_any_text(right).then_some(true),
            "!~~" | "!~~*" => matches_any_text(right).then_some(false),
            "^@" => is_empty_text(right).then_some(true),
            "=" | "<=" | ">=" if always_zero(left, target) && always_zero(right, target) => Some(true),
            ">=" | ">" if never_below_zero(left, right, operator) || is_least(left, right) => Some(true),
            "<=" | "<" if is_greatest(right) => Some(true),
            // What is valid until infinity is what counts now, and no more: `<` leaves it out.
            ">=" if is_text_of(right, &["-infinity"]) => Some(true),
            "<=" if is_text_of(right, &["infinity"]) => Some(true),
            ">=" if gives_extreme(right, "min", left, target) => Some(true),
            "<=" if gives_extreme(right, "max", left, target) => Some(true),
            ">=" if gives_extreme(left, "max", right, target) => Some(true),
            "<=" if gives_extreme(left, "min", right, target) => Some(true),
            "@>" if is_text_of(right, &["{}", "[]"]) || is_endless(left) => Some(true),
            "<@" if is_text_of(left, &["{}", "[]"]) || is_endless(right) => Some(true),
            "=" if rejoined(left, right, target).or_else(|| rejoined(right, left, target)).is_some() => Some(true),
            _ => shifted(left, operator, right, target),
        },
        pb::AExprKind::AexprNotDistinct => alike().then_some(true),
        pb::AExprKind::AexprDistinct => alike().then_some(false),
        pb::AExprKind::AexprLike | pb::AExprKind::AexprIlike => {
            (matches_any_text(right) || alike()).then_some(!operator.starts_with('!'))
        }
        pb::AExprKind::AexprSimilar => {
            let pattern = similar_pattern(right)?;
            (!pattern.is_empty() && pattern.bytes().all(|byte| byte == b'%')).then_some(!operator.starts_with('!'))
        }
        pb::AExprKind::AexprIn if among(list(right)?) || holds_both_truths(list(right)?) => Some(operator == "="),
        pb::AExprKind::AexprIn => None,
        pb::AExprKind::AexprOpAny | pb::AExprKind::AexprOpAll if is_empty_list(right) => {
            Some(expression.kind() == pb::AExprKind::AexprOpAll)
        }
        pb::AExprKind::AexprOpAny => match (operator, list(right)) {
            ("=", Some(items)) => among(items).then_some(true),
            ("=", None) => holds_every(left, right, target).then_some(true),
            ("~~" | "~~*", Some(items)) => items.iter().any(matches_any_text).then_some(true),
            ("~~" | "~~*", None) => is_text_of(right, &["{%}", "{%%}"]).then_some(true),
            _ => None,
        },
        pb::AExprKind::AexprOpAll => match operator {
            "~~" | "~~*" if list(right)?.iter().all(matches_any_text) => Some(true),
            "<>" if among(list(right)?) => Some(false),
            "=" | "<=" | ">=" if list(right)?.iter().all(|item| same(left, item, target)) => Some(true),
            _ => None,
        },
        pb::AExprKind::AexprBetween | pb::AExprKind::AexprBetweenSym => {
            list(right)?.iter().all(|bound| same(left, bound, target)).then_some(true)
        }
        pb::AExprKind::AexprNotBetween | pb::AExprKind::AexprNotBetweenSym => {
            list(right)?.iter().all(|bound| same(left, bound, target)).then_some(false)
        }
        pb::AExprKind::AexprNullif | pb::AExprKind::Undefined => None,
    }
}

/// `id + 1 > id`, `id < id + 1`: the same expression, moved by constants.
fn shifted(left: &Node, operator: &str, right: &Node, target: &Target<'_>) -> Option<bool> {
    let ((left, by), (right, other_by)) = (moved(left), moved(right));
    if !same(left, right, target) || !looks_at(left, target, false) {
        return None;
    }
    match operator {
        "=" => Some(by == other_by),
        "<>" => Some(by != other_by),
        "<" => Some(by < other_by),
        "<=" => Some(by <= other_by),
        ">" => Some(by > other_by),
        ">=" => Some(by >= other_by),
        _ => None,
    }
}

/// An expression without the numbers that are added to it, and their sum.
fn moved(node: &Node) -> (&Node, f64) {
    let node = strip(node);
    let Some(NodeEnum::AExpr(expression)) = &node.node else { return (node, 0.0) };
    let (Some(left), Some(right)) = (expression.lexpr.as_deref(), expression.rexpr.as_deref()) else {
        return (node, 0.0);
    };
    let number = |node: &Node| match value(node) {
        Some(Value::Number(number)) => Some(number),
        _ => None,
    };
    // A number on the right is looked for first: a long chain has its length on the left.
    match (names::words(&expression.name).pop(), number(right)) {
        (Some("+"), Some(by)) => further(left, by),
        (Some("-"), Some(by)) => further(left, -by),
        (Some("+"), None) => number(left).map_or((node, 0.0), |by| further(right, by)),
        _ => (node, 0.0),
    }
}

fn further(node: &Node, by: f64) -> (&Node, f64) {
    let (of, before) = moved(node);
    (of, before + by)
}

/// `ARRAY(SELECT id FROM t)`.
fn holds_every(test: &Node, array: &Node, target: &Target<'_>) -> bool {
    let Some(NodeEnum::SubLink(sublink)) = &strip(array).node else { return false };
    let query = match sublink.subselect.as_deref().and_then(|query| query.node.as_ref()) {
        Some(NodeEnum::SelectStmt(query)) if sublink.sub_link_type() == pb::SubLinkType::ArraySublink => query,
        _ => return false,
    };
    own_columns(test).is_some_and(|columns| gives_every(query, &columns, target))
}

/// Whether a regular expression finds something in every text: it finds the empty text, at the beginning or the end or anywhere.
pub(super) fn matches_all(pattern: &Node) -> Option<bool> {
    let Some(Value::Text(pattern)) = value(pattern) else { return None };
    let behind = pattern.strip_prefix('^').unwrap_or(&pattern);
    let core = behind.strip_suffix('$').unwrap_or(behind);
    let bound = pattern.starts_with('^') && behind.ends_with('$');
    let matches = match bound {
        true => matches!(core, ".*" | "(.*)" | "[\\s\\S]*"),
        false => matches!(core, "|" | "()" | "(.*)" | "(.*?)" | "(.?)" | "(|.*)") || all_optional(core),
    };
    matches.then_some(true)
}

/// Whether every character of a simple pattern may be left out: `.*`, `a?`, `x{0,}`.
fn all_optional(pattern: &str) -> bool {
    let mut rest = pattern;
    while let Some(first) = rest.chars().next() {
        if "()[]|\\^$*+?{".contains(first) {
            return false;
        }
        rest = rest.get(first.len_utf8()..).unwrap_or_default();
        let quantifiers = ["*?", "??", "*", "?", "{0,}"];
        let Some(quantifier) = quantifiers.iter().find(|quantifier| rest.starts_with(**quantifier)) else {
            return false;
        };
        rest = rest.get(quantifier.len()..).unwrap_or_default();
    }
    true
}

/// Whether a pattern of LIKE lets every text through: `%`, `%%`, `'%' || '%'`, whatever the escape.
fn matches_any_text(node: &Node) -> bool {
    let pattern = match node.node.as_ref() {
        Some(NodeEnum::FuncCall(call)) if names::words(&call.funcname).pop() == Some("like_escape") => {
            call.args.first()
        }
        _ => Some(node),
    };
    let escape = pattern.is_some_and(|pattern| !std::ptr::eq(pattern, node));
    match pattern.and_then(value) {
        // With ESCAPE '%' it would be another matter: two signs may be one that is meant literally.
        Some(Value::Text(text)) if escape => text == "%" && !escapes_percent(node),
        Some(Value::Text(text)) => !text.is_empty() && text.bytes().all(|byte| byte == b'%'),
        _ => false,
    }
}

fn escapes_percent(node: &Node) -> bool {
    match node.node.as_ref() {
        Some(NodeEnum::FuncCall(call)) => call.args.get(1).and_then(constant_text).is_none_or(|text| text == "%"),
        _ => true,
    }
}

fn is_text_of(node: &Node, texts: &[&str]) -> bool {
    constant_text(node).is_some_and(|text| texts.contains(&text.trim().to_ascii_lowercase().as_str()))
}

/// A range without bounds: `'(,)'`, `int4range(NULL, NULL)`.
fn is_endless(node: &Node) -> bool {
    match strip(node).node.as_ref() {
        Some(NodeEnum::FuncCall(call)) => {
            let ranges = names::words(&call.funcname).pop().is_some_and(|name| name.ends_with("range"));
            ranges && call.args.len() >= 2 && call.args.iter().take(2).all(is_null)
        }
        _ => is_text_of(node, &["(,)", "[,]", "(,]", "[,)", "{(,)}"]),
    }
}

fn is_empty_text(node: &Node) -> bool {
    matches!(value(node), Some(Value::Text(text)) if text.is_empty())
}

/// `x IN (true, false)`.
fn holds_both_truths(items: &[Node]) -> bool {
    let holds = |truth: bool| items.iter().any(|item| value(item) == Some(Value::Bool(truth)));
    holds(true) && holds(false)
}

/// `ARRAY[]` or `'{}'`.
fn is_empty_list(node: &Node) -> bool {
    list(node).is_some_and(<[Node]>::is_empty) || constant_text(node).is_some_and(|text| text.trim() == "{}")
}

/// `0`, `x * 0`, `x - x`, `x & 0`.
fn always_zero(node: &Node, target: &Target<'_>) -> bool {
    if let Some(constant) = value(node) {
        return constant == Value::Number(0.0);
    }
    let Some(NodeEnum::AExpr(expression)) = strip(node).node.as_ref() else { return false };
    let (Some(left), Some(right)) = (expression.lexpr.as_deref(), expression.rexpr.as_deref()) else { return false };
    match names::words(&expression.name).pop() {
        Some("*" | "&") => always_zero(left, target) || always_zero(right, target),
        Some("-") => same(left, right, target),
        _ => false,
    }
}

/// The least value of a type: `ctid > '(0,0)'`, `id >= -9223372036854775808`.
fn is_least(left: &Node, right: &Node) -> bool {
    let column = match strip(left).node.as_ref() {
        Some(NodeEnum::ColumnRef(column)) => names::words(&column.fields).pop(),
        _ => None,
    };
    match constant_text(right).as_deref() {
        _ if matches!(value(right), Some(Value::Number(bound)) if bound <= -LONGEST) => true,
        Some("(0,0)") => column == Some("ctid"),
        _ => false,
    }
}

fn is_greatest(right: &Node) -> bool {
    matches!(value(right), Some(Value::Number(bound)) if bound >= LONGEST)
}

/// The pattern of SIMILAR TO, which the grammar wraps in a call of `similar_to_escape`.
fn similar_pattern(node: &Node) -> Option<String> {
    match node.node.as_ref()? {
        NodeEnum::FuncCall(call) => constant_text(call.args.first()?),
        _ => constant_text(node),
    }
}

/// `length(x) >= 0`, `abs(x) > -1`, `name >= ''`.
fn never_below_zero(left: &Node, right: &Node, operator: &str) -> bool {
    let bound = value(right);
    if operator == ">=" && matches!(&bound, Some(Value::Text(text)) if text.is_empty()) {
        return true;
    }
    let left = strip(left);
    let Some(NodeEnum::FuncCall(call)) = counted(left).unwrap_or(left).node.as_ref() else { return false };
    let sized = [
        "length",
        "char_length",
        "character_length",
        "octet_length",
        "bit_length",
        "abs",
        "cardinality",
        "count",
        "num_nonnulls",
        "num_nulls",
        "strpos",
    ];
    let name = names::words(&call.funcname).pop();
    let below = |number: f64| if operator == ">=" { number <= 0.0 } else { number < 0.0 };
    name.is_some_and(|name| sized.contains(&name)) && matches!(bound, Some(Value::Number(number)) if below(number))
}

/// The count of `(SELECT count(…) …)`, which gives a row whatever it finds.
fn counted(node: &Node) -> Option<&Node> {
    let NodeEnum::SubLink(sublink) = node.node.as_ref()? else { return None };
    let NodeEnum::SelectStmt(select) = sublink.subselect.as_deref()?.node.as_ref()? else { return None };
    let ([only], true) = (select.target_list.as_slice(), select.group_clause.is_empty() && !cuts(select)) else {
        return None;
    };
    let NodeEnum::ResTarget(item) = only.node.as_ref()? else { return None };
    let node = item.val.as_deref().filter(|_| sublink.sub_link_type() == pb::SubLinkType::ExprSublink)?;
    match node.node.as_ref()? {
        NodeEnum::FuncCall(call) => (names::words(&call.funcname).pop() == Some("count")).then_some(node),
        _ => None,
    }
}

/// The items of an IN list or an ARRAY[…].
pub(super) fn list(node: &Node) -> Option<&[Node]> {
    match strip(node).node.as_ref()? {
        NodeEnum::List(list) => Some(&list.items),
        NodeEnum::AArrayExpr(array) => Some(&array.elements),
        NodeEnum::RowExpr(row) => Some(&row.args),
        _ => None,
    }
}

/// Whether an expression is never NULL: system columns, arrays, COALESCE with a constant.
fn never_null(node: &Node) -> bool {
    match strip(node).node.as_ref() {
        Some(NodeEnum::ColumnRef(column)) => {
            let name = names::words(&column.fields).pop();
            matches!(name, Some("ctid" | "tableoid" | "xmin" | "cmin" | "xmax" | "cmax"))
        }
        Some(NodeEnum::AArrayExpr(_) | NodeEnum::NullTest(_) | NodeEnum::BooleanTest(_)) => true,
        Some(NodeEnum::FuncCall(call)) => {
            let name = names::words(&call.funcname).pop();
            matches!(
                name,
                Some(
                    "concat"
                        | "json_build_array"
                        | "json_build_object"
                        | "jsonb_build_array"
                        | "jsonb_build_object"
                        | "num_nonnulls"
                        | "num_nulls"
                        | "row_to_json"
                )
            )
        }
        Some(NodeEnum::CoalesceExpr(coalesce)) => {
            coalesce.args.iter().any(|argument| value(argument).is_some_and(|value| value != Value::Null))
        }
        _ => false,
    }
}
