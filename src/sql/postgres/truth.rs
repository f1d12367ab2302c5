//! Whether a WHERE restricts anything. Room of the postgres reader.
//!
//! A condition restricts nothing when it is true for every row whatever the row holds (`true`, `1 = 1`, `id = id`,
//! `x IS NULL OR x IS NOT NULL`, `name LIKE '%'`, `id IN (SELECT id FROM the_same_table)`), or when it does not look at
//! the row at all (`random() < 2`, `EXISTS (SELECT 1)`, a join partner's columns only): then it is all rows or none.
//! Where it cannot be known, nothing is claimed: the condition counts as restricting.

use pg_query::protobuf as pb;
use pg_query::{Node, NodeEnum};

use super::constant::{Value, value};
use super::names;
use super::query::from_relations;
use super::same::{same, strip};

pub(super) use super::constant::{constant_text, is_null};

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
        Target { relation, others, alone: beside.is_empty(), with }
    }

    /// Whether `qualifier` names the table, or a second reference to the same table.
    pub(super) fn is_called(&self, qualifier: &str) -> bool {
        let twin = |other: &&&pb::RangeVar| self.relation.is_some_and(|relation| same_table(relation, other));
        let mut all = self.relation.iter().chain(self.others.iter().filter(twin));
        all.any(|range| called(range) == qualifier)
    }
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
    condition.is_some_and(|node| chooses(node, true, target))
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
                !covers(expression, target)
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
            never_null(argument).then_some(not_null)
        }
        NodeEnum::SubLink(sublink) => always_sublink(sublink, target),
        NodeEnum::FuncCall(call) => match (names::words(&call.funcname).pop(), call.args.as_slice()) {
            (Some("starts_with"), [_, prefix]) if is_empty_text(prefix) => Some(true),
            _ => None,
        },
        NodeEnum::CoalesceExpr(coalesce) => all_alike(coalesce.args.iter(), target),
        NodeEnum::CaseExpr(case) => {
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
            "=" | "<=" | ">=" | "@>" | "<@" if alike() => Some(true),
            "<>" | "!=" | "<" | ">" if alike() => Some(false),
            "~" | "~*" => matches_all(right),
            "~~" | "~~*" => matches_any_text(right).then_some(true),
            "!~~" | "!~~*" => matches_any_text(right).then_some(false),
            "^@" => is_empty_text(right).then_some(true),
            "=" | "<=" | ">=" if always_zero(left, target) && always_zero(right, target) => Some(true),
            ">=" | ">" if never_below_zero(left, right, operator) || is_least(left, right) => Some(true),
            "<=" | "<" if is_greatest(right) => Some(true),
            _ => None,
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
        pb::AExprKind::AexprOpAny => (operator == "=" && among(list(right)?)).then_some(true),
        pb::AExprKind::AexprOpAll => match operator {
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
        Some("(0,0)") => column == Some("ctid"),
        Some(text) => text.eq_ignore_ascii_case("-infinity"),
        None => false,
    }
}

fn is_greatest(right: &Node) -> bool {
    constant_text(right).is_some_and(|text| text.eq_ignore_ascii_case("infinity"))
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
    let Some(NodeEnum::FuncCall(call)) = strip(left).node.as_ref() else { return false };
    let sized = ["length", "char_length", "character_length", "octet_length", "bit_length", "abs"];
    let name = names::words(&call.funcname).pop();
    let below = |number: f64| if operator == ">=" { number <= 0.0 } else { number < 0.0 };
    name.is_some_and(|name| sized.contains(&name)) && matches!(bound, Some(Value::Number(number)) if below(number))
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
        Some(NodeEnum::AArrayExpr(_)) => true,
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
        pb::SubLinkType::AllSublink
        | pb::SubLinkType::RowcompareSublink
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
        && select.where_clause.is_some()
        && never(select.where_clause.as_deref())
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
    let others = target.relation.into_iter().collect();
    let inner = Target { relation: Some(range), others, alone: true, with: target.with };
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
            _ => false,
        },
        _ => false,
    }
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
    let clauses = [select.with_clause.as_ref(), target.with];
    let mut tables = clauses.into_iter().flatten().flat_map(|with| &with.ctes);
    tables.find_map(|node| match &node.node {
        Some(NodeEnum::CommonTableExpr(table)) if range.schemaname.is_empty() && table.ctename == range.relname => {
            match table.ctequery.as_deref()?.node.as_ref()? {
                NodeEnum::SelectStmt(query) => Some(&**query),
                _ => None,
            }
        }
        _ => None,
    })
}

// --- OR branches that cover everything between them

fn covers(expression: &pb::BoolExpr, target: &Target<'_>) -> bool {
    let mut branches = Vec::new();
    flatten(expression, &mut branches);
    // Quadratic: beyond this many branches nothing is claimed.
    let branches = branches.get(..branches.len().min(64)).unwrap_or_default();
    branches.iter().enumerate().any(|(at, one)| {
        branches.iter().skip(at + 1).any(|other| complementary(one, other, target) || complementary(other, one, target))
    })
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
        (Some(NodeEnum::BoolExpr(not)), _) if not.boolop() == pb::BoolExprType::NotExpr => {
            not.args.first().is_some_and(|argument| same(argument, other, target))
        }
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
        [.., qualifier, _] => !hidden && target.is_called(qualifier),
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
    let plain_from = select.from_clause.iter().all(|item| matches!(item.node, Some(NodeEnum::RangeVar(_))));
    let sides = [&select.larg, &select.rarg].into_iter().flatten();
    !plain_from
        || select.with_clause.is_some()
        || (!exists && any(&select.target_list))
        || maybe(&select.where_clause)
        || maybe(&select.having_clause)
        || maybe(&select.limit_count)
        || maybe(&select.limit_offset)
        || any(&select.group_clause)
        || any(&select.values_lists)
        || sides.into_iter().any(|side| query_looks_at(side, exists, target, hidden))
}
