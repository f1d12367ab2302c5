//! Whether a WHERE restricts anything. Room of the postgres reader.
//!
//! A condition restricts nothing when it is true for every row whatever the row holds (`true`, `1 = 1`, `id = id`,
//! `x IS NULL OR x IS NOT NULL`, `name LIKE '%'`, `id IN (SELECT id FROM the_same_table)`), or when it does not look at
//! the row at all (`random() < 2`, `EXISTS (SELECT 1)`, a join partner's columns only): then it is all rows or none.
//! Where it cannot be known, nothing is claimed: the condition counts as restricting.

use pg_query::protobuf as pb;
use pg_query::{Node, NodeEnum};

use super::constant::{Value, constant_text, is_null, value};
use super::names;
use super::query::from_relations;
use super::same::{same, strip};
use super::session::range_var;

/// The greatest value of `bigint`.
const LONGEST: f64 = i64::MAX as f64;

/// The table whose rows a condition chooses, and what stands beside it.
pub(super) struct Target<'n> {
    /// The table itself.
    pub(super) relation: Option<&'n pb::RangeVar>,
    /// The relations of USING or FROM.
    pub(super) others: Vec<&'n pb::RangeVar>,
    /// Whether nothing stands beside the table, so that a bare column is the table's.
    pub(super) alone: bool,
    /// The statement's common table expressions.
    with: Option<&'n pb::WithClause>,
    /// The queries beside the table, by the names that their rows go by.
    queries: Vec<(&'n str, &'n pb::SelectStmt)>,
    /// Second references to the table that are joined to it row by row: what they are is what the row is.
    joined: Vec<&'n str>,
}

impl<'n> Target<'n> {
    /// The target of an UPDATE, DELETE or MERGE.
    pub(super) fn new(
        relation: Option<&'n pb::RangeVar>,
        beside: &'n [Node],
        with: Option<&'n pb::WithClause>,
    ) -> Target<'n> {
        let mut others = Vec::new();
        from_relations(beside, &mut others);
        let queries = queries(beside, with);
        Target { relation, others, alone: beside.is_empty(), with, queries, joined: Vec::new() }
    }

    /// The same, where this condition joins the table to further references to it.
    pub(super) fn joined_by(&self, condition: Option<&Node>) -> Target<'n> {
        let mut joined = self.joined.clone();
        let mut open: Vec<&Node> = condition.into_iter().collect();
        while let Some(node) = open.pop().filter(|_| !self.alone) {
            match &node.node {
                Some(NodeEnum::BoolExpr(and)) if and.boolop() == pb::BoolExprType::AndExpr => open.extend(&and.args),
                Some(NodeEnum::AExpr(equal)) => joined.extend(self.twin_of(equal).or_else(|| self.query_of(equal))),
                _ => {}
            }
        }
        let others = self.others.clone();
        let queries = self.queries.clone();
        Target { relation: self.relation, others, alone: self.alone, with: self.with, queries, joined }
    }

    /// The second reference to the table that `t.x = twin.x` names.
    fn twin_of(&self, equal: &pb::AExpr) -> Option<&'n str> {
        let column = |side: &Option<Box<Node>>| match strip(side.as_deref()?).node.as_ref()? {
            NodeEnum::ColumnRef(column) => match names::words(&column.fields).as_slice() {
                [.., qualifier, name] => Some(((*qualifier).to_owned(), (*name).to_owned())),
                _ => None,
            },
            _ => None,
        };
        let (left, right) = (column(&equal.lexpr)?, column(&equal.rexpr)?);
        let own = called(self.relation?);
        let other = if left.0 == own { &right.0 } else { &left.0 };
        let twin = self
            .others
            .iter()
            .find(|range| same_table(self.relation.unwrap_or(range), range) && called(range) == other)?;
        let equals = names::words(&equal.name).pop() == Some("=") && left.1 == right.1;
        (equals && (left.0 == own || right.0 == own)).then(|| called(twin))
    }

    /// The query beside the table that `t.x = query.x` names, if it gives every row of the table.
    fn query_of(&self, equal: &pb::AExpr) -> Option<&'n str> {
        let (left, right) = (equal.lexpr.as_deref()?, equal.rexpr.as_deref()?);
        let equals = names::words(&equal.name).pop() == Some("=");
        equals.then(|| rejoined(left, right, self).or_else(|| rejoined(right, left, self)))?
    }

    /// Whether `qualifier` names the row that is chosen: the table itself, or what is joined to it row by row.
    fn is_row(&self, qualifier: &str) -> bool {
        self.relation.is_some_and(|range| called(range) == qualifier) || self.joined.contains(&qualifier)
    }

    /// Whether `qualifier` names the table, or a second reference to the same table.
    pub(super) fn is_called(&self, qualifier: &str) -> bool {
        let twin = |other: &&&pb::RangeVar| self.relation.is_some_and(|relation| same_table(relation, other));
        let mut all = self.relation.iter().chain(self.others.iter().filter(twin));
        all.any(|range| called(range) == qualifier)
    }
}

/// The queries of a FROM list by their names: subqueries, and what WITH names.
fn queries<'n>(beside: &'n [Node], with: Option<&'n pb::WithClause>) -> Vec<(&'n str, &'n pb::SelectStmt)> {
    let named = |node: &'n Node| match &node.node {
        Some(NodeEnum::RangeSubselect(inner)) => {
            let query = inner.subquery.as_deref().and_then(|query| query.node.as_ref());
            match (inner.alias.as_ref(), query) {
                (Some(alias), Some(NodeEnum::SelectStmt(query))) if alias.colnames.is_empty() => {
                    Some((alias.aliasname.as_str(), &**query))
                }
                _ => None,
            }
        }
        Some(NodeEnum::RangeVar(range)) => Some((called(range), with_query(range, with)?)),
        _ => None,
    };
    beside.iter().filter_map(named).collect()
}

/// The name by which a relation's columns are qualified.
fn called(range: &pb::RangeVar) -> &str {
    range.alias.as_ref().map_or(range.relname.as_str(), |alias| alias.aliasname.as_str())
}

/// Whether two references are to the same table; a missing schema matches any.
fn same_table(one: &pb::RangeVar, other: &pb::RangeVar) -> bool {
    let schemas = [&one.schemaname, &other.schemaname];
    one.relname == other.relname
        && (one.schemaname == other.schemaname || schemas.iter().any(|schema| schema.is_empty()))
}

/// Whether a WHERE restricts which rows of the target it chooses.
pub(super) fn restricts(condition: Option<&Node>, target: &Target<'_>) -> bool {
    condition.is_some_and(|node| chooses(node, true, &target.joined_by(condition)))
}

/// Whether a condition is constant and never true.
pub(super) fn never(condition: Option<&Node>) -> bool {
    matches!(condition.and_then(value).map(Value::truth), Some(Some(false) | None))
}

/// Whether a condition (negated unless `positive`) chooses among rows.
fn chooses(node: &Node, positive: bool, target: &Target<'_>) -> bool {
    let Some(inner) = &node.node else { return true };
    if let NodeEnum::BoolExpr(expression) = inner {
        return match (expression.boolop(), positive) {
            (pb::BoolExprType::AndExpr, true) | (pb::BoolExprType::OrExpr, false) => {
                expression.args.iter().any(|argument| chooses(argument, positive, target))
            }
            (pb::BoolExprType::OrExpr, true) | (pb::BoolExprType::AndExpr, false) => {
                !covers(expression, positive, target)
                    && expression.args.iter().all(|argument| chooses(argument, positive, target))
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
fn boolean_test(test: &pb::BooleanTest) -> Option<bool> {
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
    match (names::words(&expression.name).pop(), number(left), number(right)) {
        (Some("+"), None, Some(by)) => (moved(left).0, moved(left).1 + by),
        (Some("+"), Some(by), None) => (moved(right).0, moved(right).1 + by),
        (Some("-"), None, Some(by)) => (moved(left).0, moved(left).1 - by),
        _ => (node, 0.0),
    }
}

/// The query of `t.x = query.x`, where it stands beside the table and gives every row of it.
fn rejoined<'n>(own: &Node, other: &Node, target: &Target<'n>) -> Option<&'n str> {
    let column = |node: &Node| match strip(node).node.as_ref() {
        Some(NodeEnum::ColumnRef(column)) => {
            let parts: Vec<String> = names::words(&column.fields).into_iter().map(str::to_owned).collect();
            parts.split_last().map(|(name, before)| (before.last().cloned(), name.clone()))
        }
        _ => None,
    };
    let (Some((own_of, own)), Some((Some(other_of), name))) = (column(own), column(other)) else { return None };
    let is_own = own_of.as_deref().is_none_or(|qualifier| target.is_row(qualifier));
    let (called, query) = target.queries.iter().find(|(called, _)| *called == other_of)?;
    (is_own && own == name && gives_every(query, &[&name], target)).then_some(*called)
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
fn matches_all(pattern: &Node) -> Option<bool> {
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
    constant_text(node).is_some_and(|text| texts.contains(&text.trim()))
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

/// The least value of a type: `ctid > '(0,0)'`, `created_at > '-infinity'`.
fn is_least(left: &Node, right: &Node) -> bool {
    let column = match strip(left).node.as_ref() {
        Some(NodeEnum::ColumnRef(column)) => names::words(&column.fields).pop(),
        _ => None,
    };
    match constant_text(right).as_deref() {
        _ if matches!(value(right), Some(Value::Number(bound)) if bound <= -LONGEST) => true,
        Some("(0,0)") => column == Some("ctid"),
        Some(text) => text.eq_ignore_ascii_case("-infinity"),
        None => false,
    }
}

fn is_greatest(right: &Node) -> bool {
    matches!(value(right), Some(Value::Number(bound)) if bound >= LONGEST)
        || constant_text(right).is_some_and(|text| text.eq_ignore_ascii_case("infinity"))
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
fn list(node: &Node) -> Option<&[Node]> {
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

// --- subqueries

fn always_sublink(sublink: &pb::SubLink, target: &Target<'_>) -> Option<bool> {
    let Some(NodeEnum::SelectStmt(select)) = sublink.subselect.as_deref()?.node.as_ref() else { return None };
    if never_gives(select) {
        return match sublink.sub_link_type() {
            pb::SubLinkType::ExistsSublink | pb::SubLinkType::AnySublink => Some(false),
            pb::SubLinkType::AllSublink => Some(true),
            _ => None,
        };
    }
    match sublink.sub_link_type() {
        pb::SubLinkType::ExistsSublink => always_some(select, target).then_some(true),
        pb::SubLinkType::AnySublink => {
            let operator = names::words(&sublink.oper_name).pop();
            let test = sublink.testexpr.as_deref()?;
            let equal = matches!(operator, None | Some("="));
            let all = || own_columns(test).is_some_and(|columns| gives_every(select, &columns, target));
            (equal && (gives_itself(select, test, target) || all())).then_some(true)
        }
        pb::SubLinkType::AllSublink => {
            let differs = names::words(&sublink.oper_name).pop() == Some("<>");
            let columns = sublink.testexpr.as_deref().and_then(own_columns).filter(|_| differs)?;
            gives_every(select, &columns, target).then_some(false)
        }
        pb::SubLinkType::RowcompareSublink
        | pb::SubLinkType::ExprSublink
        | pb::SubLinkType::MultiexprSublink
        | pb::SubLinkType::ArraySublink
        | pb::SubLinkType::CteSublink
        | pb::SubLinkType::Undefined => None,
    }
}

/// Whether a query's own WHERE lets nothing through, and nothing makes a row of nothing.
fn never_gives(select: &pb::SelectStmt) -> bool {
    let aggregate = select.group_clause.is_empty() && select.target_list.iter().any(is_aggregate);
    select.op() == pb::SetOperation::SetopNone
        && select.having_clause.is_none()
        && !aggregate
        && (never(select.where_clause.as_deref())
            || matches!(select.limit_count.as_deref().and_then(value), Some(Value::Number(0.0))))
}

/// `id IN (SELECT t.id)`, `id IN (VALUES (id))`: what is looked for is all that there is.
fn gives_itself(select: &pb::SelectStmt, test: &Node, target: &Target<'_>) -> bool {
    let given = match (select.from_clause.as_slice(), select.target_list.as_slice(), select.values_lists.as_slice()) {
        ([], [only], []) => match &only.node {
            Some(NodeEnum::ResTarget(item)) => item.val.as_deref(),
            _ => None,
        },
        ([], [], rows) => {
            return rows.iter().any(|row| matches!(list(row), Some([only]) if same(test, only, target)));
        }
        _ => None,
    };
    given.is_some_and(|given| same(test, given, target)) && !restricts_at_all(select, target) && !limited(select)
}

/// The column names that stand left of IN.
fn own_columns(node: &Node) -> Option<Vec<&str>> {
    match strip(node).node.as_ref()? {
        NodeEnum::ColumnRef(column) => Some(vec![names::words(&column.fields).pop()?]),
        NodeEnum::RowExpr(row) => row.args.iter().map(|item| own_columns(item)?.pop()).collect(),
        _ => None,
    }
}

/// Whether a query leaves out rows of what it reads, by anything but its WHERE.
fn cuts(select: &pb::SelectStmt) -> bool {
    select.op() != pb::SetOperation::SetopNone
        || limited(select)
        || select.having_clause.is_some()
        || !select.values_lists.is_empty()
        || select.distinct_clause.iter().any(|on| on.node.is_some())
}

/// Whether LIMIT or OFFSET leave out rows: `LIMIT ALL`, `LIMIT NULL` and `OFFSET 0` do not.
fn limited(select: &pb::SelectStmt) -> bool {
    let all = |count: &Node| is_null(count);
    let none = |offset: &Node| matches!(value(offset), Some(Value::Null | Value::Number(0.0)));
    select.limit_count.as_deref().is_some_and(|count| !all(count))
        || select.limit_offset.as_deref().is_some_and(|offset| !none(offset))
}

/// Whether EXISTS of this query is true whenever the target has a row.
fn always_some(select: &pb::SelectStmt, target: &Target<'_>) -> bool {
    if cuts(select) {
        return false;
    }
    let aggregate = select.group_clause.is_empty() && select.target_list.iter().any(is_aggregate);
    match select.from_clause.as_slice() {
        _ if aggregate => true,
        [] => !restricts_at_all(select, target),
        [only] => {
            let mut relations = Vec::new();
            from_relations(std::slice::from_ref(only), &mut relations);
            match relations.as_slice() {
                [range] => is_target(range, target) && !filtered(select, range, target),
                _ => false,
            }
        }
        _ => false,
    }
}

fn is_aggregate(node: &Node) -> bool {
    let Some(NodeEnum::ResTarget(item)) = &node.node else { return false };
    let Some(NodeEnum::FuncCall(call)) = item.val.as_deref().and_then(|value| value.node.as_ref()) else {
        return false;
    };
    let name = names::words(&call.funcname).pop();
    call.over.is_none() && matches!(name, Some("count" | "sum" | "min" | "max" | "avg" | "bool_or" | "bool_and"))
}

fn restricts_at_all(select: &pb::SelectStmt, target: &Target<'_>) -> bool {
    select.where_clause.is_some() && restricts(select.where_clause.as_deref(), target)
}

/// Whether the query's own WHERE leaves out rows of `range`, its only relation, which is the target once more.
fn filtered(select: &pb::SelectStmt, range: &pb::RangeVar, target: &Target<'_>) -> bool {
    let others: Vec<_> = target.relation.into_iter().collect();
    let joined = others.iter().map(|range| called(range)).collect();
    let queries = Vec::new();
    let inner = Target { relation: Some(range), others, alone: true, with: target.with, queries, joined };
    select.where_clause.is_some() && restricts(select.where_clause.as_deref(), &inner)
}

fn is_target(range: &pb::RangeVar, target: &Target<'_>) -> bool {
    target.relation.is_some_and(|relation| same_table(relation, range))
}

/// Whether a query gives every value of the target's columns of these names.
fn gives_every(select: &pb::SelectStmt, columns: &[&str], target: &Target<'_>) -> bool {
    if select.op() == pb::SetOperation::SetopUnion && !limited(select) {
        return [&select.larg, &select.rarg].into_iter().flatten().any(|side| gives_every(side, columns, target));
    }
    if select.op() == pb::SetOperation::SetopIntersect && !limited(select) {
        return [&select.larg, &select.rarg].into_iter().flatten().all(|side| gives_every(side, columns, target));
    }
    if cuts(select) || !gives_columns(&select.target_list, columns) {
        return false;
    }
    match select.from_clause.as_slice() {
        [only] => match &only.node {
            Some(NodeEnum::RangeVar(range)) => match common_table(range, select, target) {
                Some(query) => lets_all_through(select) && gives_every(query, columns, target),
                None => is_target(range, target) && !filtered(select, range, target),
            },
            Some(NodeEnum::RangeSubselect(inner)) => {
                let query = inner.subquery.as_deref().and_then(|query| query.node.as_ref());
                let Some(NodeEnum::SelectStmt(query)) = query else { return false };
                lets_all_through(select) && gives_every(query, columns, target)
            }
            // An outer join keeps every row of its outer side.
            Some(NodeEnum::JoinExpr(join)) if select.where_clause.is_none() => {
                let kept = match join.jointype() {
                    pb::JoinType::JoinLeft | pb::JoinType::JoinFull => join.larg.as_deref(),
                    pb::JoinType::JoinRight => join.rarg.as_deref(),
                    _ => None,
                };
                kept.and_then(range_var).is_some_and(|range| {
                    common_table(range, select, target).is_none() && gives_of(&select.target_list, range, target)
                })
            }
            _ => false,
        },
        _ => false,
    }
}

/// Whether what a query of several relations gives are columns of `range`, which is the target once more.
fn gives_of(list: &[Node], range: &pb::RangeVar, target: &Target<'_>) -> bool {
    let of_range = |node: &Node| match &node.node {
        Some(NodeEnum::ResTarget(item)) => match item.val.as_deref().map(strip).and_then(|node| node.node.as_ref()) {
            Some(NodeEnum::ColumnRef(column)) => {
                matches!(names::words(&column.fields).as_slice(), [.., qualifier, _] if *qualifier == called(range))
            }
            _ => false,
        },
        _ => false,
    };
    is_target(range, target) && list.iter().all(of_range)
}

fn lets_all_through(select: &pb::SelectStmt) -> bool {
    select.where_clause.as_deref().is_none_or(|condition| value(condition).map(Value::truth) == Some(Some(true)))
}

/// `*` alone.
fn is_star(list: &[Node]) -> bool {
    let [only] = list else { return false };
    let Some(NodeEnum::ResTarget(item)) = &only.node else { return false };
    match item.val.as_deref().and_then(|value| value.node.as_ref()) {
        Some(NodeEnum::ColumnRef(column)) => {
            matches!(column.fields.last().and_then(|field| field.node.as_ref()), Some(NodeEnum::AStar(_)))
        }
        _ => false,
    }
}

fn gives_columns(list: &[Node], columns: &[&str]) -> bool {
    if is_star(list) {
        return true;
    }
    let given = |node: &Node| match &node.node {
        Some(NodeEnum::ResTarget(item)) => match strip(item.val.as_deref()?).node.as_ref()? {
            NodeEnum::ColumnRef(column) => names::words(&column.fields).pop().map(str::to_owned),
            _ => None,
        },
        _ => None,
    };
    list.len() == columns.len() && list.iter().zip(columns).all(|(item, column)| given(item).as_deref() == Some(column))
}

/// The query behind a name of a WITH clause.
fn common_table<'n>(
    range: &pb::RangeVar,
    select: &'n pb::SelectStmt,
    target: &Target<'n>,
) -> Option<&'n pb::SelectStmt> {
    with_query(range, select.with_clause.as_ref()).or_else(|| with_query(range, target.with))
}

fn with_query<'n>(range: &pb::RangeVar, with: Option<&'n pb::WithClause>) -> Option<&'n pb::SelectStmt> {
    let mut tables = with.into_iter().flat_map(|with| &with.ctes);
    tables.find_map(|node| match &node.node {
        Some(NodeEnum::CommonTableExpr(table)) if range.schemaname.is_empty() && table.ctename == range.relname => {
            match table.ctequery.as_deref()?.node.as_ref()? {
                NodeEnum::SelectStmt(query) if table.aliascolnames.is_empty() => Some(&**query),
                _ => None,
            }
        }
        _ => None,
    })
}

// --- OR branches that cover everything between them

/// Whether two branches of an OR cover everything between them or, negated, two branches of an AND exclude each other.
fn covers(expression: &pb::BoolExpr, positive: bool, target: &Target<'_>) -> bool {
    let mut branches = Vec::new();
    flatten(expression, &mut branches);
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
fn compared_with_truth(expression: &pb::AExpr) -> Option<(&Node, bool)> {
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

fn both(one: &Option<Box<Node>>, other: &Option<Box<Node>>, target: &Target<'_>) -> bool {
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

// --- does it look at the row?

/// Whether an expression looks at a row of the target: names one of its columns, or might. `tableoid` is the same for every
/// row of a table. `hidden` inside a subquery whose own FROM takes the target's name.
fn looks_at(node: &Node, target: &Target<'_>, hidden: bool) -> bool {
    use NodeEnum as N;
    let any = |nodes: &[Node]| nodes.iter().any(|node| looks_at(node, target, hidden));
    let maybe = |node: &Option<Box<Node>>| node.as_deref().is_some_and(|node| looks_at(node, target, hidden));
    let Some(inner) = &node.node else { return false };
    match inner {
        N::ColumnRef(column) => is_own_column(column, target, hidden),
        N::AConst(_) | N::ParamRef(_) | N::SqlvalueFunction(_) | N::SetToDefault(_) => false,
        N::AExpr(e) => maybe(&e.lexpr) || maybe(&e.rexpr),
        N::BoolExpr(e) => any(&e.args),
        N::NullTest(e) => maybe(&e.arg),
        N::BooleanTest(e) => maybe(&e.arg),
        N::TypeCast(e) => maybe(&e.arg),
        N::CollateClause(e) => maybe(&e.arg),
        N::NamedArgExpr(e) => maybe(&e.arg),
        N::FuncCall(e) => any(&e.args) || any(&e.agg_order) || maybe(&e.agg_filter),
        N::CoalesceExpr(e) => any(&e.args),
        N::MinMaxExpr(e) => any(&e.args),
        N::RowExpr(e) => any(&e.args),
        N::AArrayExpr(e) => any(&e.elements),
        N::List(e) => any(&e.items),
        N::ResTarget(e) => maybe(&e.val),
        N::CaseExpr(e) => maybe(&e.arg) || any(&e.args) || maybe(&e.defresult),
        N::CaseWhen(e) => maybe(&e.expr) || maybe(&e.result),
        N::SubLink(e) => maybe(&e.testexpr) || sublink_looks_at(e, target, hidden),
        _ => true,
    }
}

fn is_own_column(column: &pb::ColumnRef, target: &Target<'_>, hidden: bool) -> bool {
    match names::words(&column.fields).as_slice() {
        [.., "tableoid"] => false,
        [.., qualifier, _] => !hidden && target.is_row(qualifier),
        _ => true,
    }
}

fn sublink_looks_at(sublink: &pb::SubLink, target: &Target<'_>, hidden: bool) -> bool {
    let Some(NodeEnum::SelectStmt(select)) = sublink.subselect.as_deref().and_then(|query| query.node.as_ref()) else {
        return true;
    };
    let exists = sublink.sub_link_type() == pb::SubLinkType::ExistsSublink;
    query_looks_at(select, exists, target, hidden)
}

fn query_looks_at(select: &pb::SelectStmt, exists: bool, target: &Target<'_>, hidden: bool) -> bool {
    let mut relations = Vec::new();
    from_relations(&select.from_clause, &mut relations);
    let hides = |range: &&pb::RangeVar| target.relation.is_some_and(|relation| called(relation) == called(range));
    let hidden = hidden || relations.iter().any(hides);
    let any = |nodes: &[Node]| nodes.iter().any(|node| looks_at(node, target, hidden));
    let maybe = |node: &Option<Box<Node>>| node.as_deref().is_some_and(|node| looks_at(node, target, hidden));
    let sides = [&select.larg, &select.rarg].into_iter().flatten();
    select.from_clause.iter().any(|item| source_looks_at(item, target, hidden))
        || select.with_clause.iter().flat_map(|with| &with.ctes).any(|table| source_looks_at(table, target, hidden))
        || (!exists && any(&select.target_list))
        || maybe(&select.where_clause)
        || maybe(&select.having_clause)
        || maybe(&select.limit_count)
        || maybe(&select.limit_offset)
        || any(&select.group_clause)
        || any(&select.values_lists)
        || sides.into_iter().any(|side| query_looks_at(side, exists, target, hidden))
}

/// Whether a part of a subquery's FROM looks at a row of the target, as it may by LATERAL or as a function's argument.
fn source_looks_at(item: &Node, target: &Target<'_>, hidden: bool) -> bool {
    let query = |node: &Option<Box<Node>>| match node.as_deref().and_then(|node| node.node.as_ref()) {
        Some(NodeEnum::SelectStmt(select)) => query_looks_at(select, false, target, hidden),
        _ => true,
    };
    let side = |node: &Option<Box<Node>>| node.as_deref().is_none_or(|node| source_looks_at(node, target, hidden));
    match &item.node {
        Some(NodeEnum::RangeVar(_)) => false,
        Some(NodeEnum::RangeSubselect(inner)) => query(&inner.subquery),
        Some(NodeEnum::CommonTableExpr(table)) => query(&table.ctequery),
        Some(NodeEnum::JoinExpr(join)) => {
            let quals = join.quals.as_deref().is_some_and(|quals| looks_at(quals, target, hidden));
            quals || side(&join.larg) || side(&join.rarg)
        }
        Some(NodeEnum::RangeFunction(range)) => {
            range.functions.iter().any(|function| looks_at(function, target, hidden))
        }
        _ => true,
    }
}
