//! Subqueries in a condition: which are true for every row, or for none. Room of the postgres reader.

use pg_query::protobuf as pb;
use pg_query::{Node, NodeEnum};

use super::constant::{Value, is_null, value};
use super::names;
use super::query::from_relations;
use super::same::{same, strip};
use super::session::range_var;
use super::target::{Target, called, common_table, same_table};
use super::truth::{list, never, restricts};

pub(super) fn always_sublink(sublink: &pb::SubLink, target: &Target<'_>) -> Option<bool> {
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
pub(super) fn own_columns(node: &Node) -> Option<Vec<&str>> {
    match strip(node).node.as_ref()? {
        NodeEnum::ColumnRef(column) => Some(vec![names::words(&column.fields).pop()?]),
        NodeEnum::RowExpr(row) => row.args.iter().map(|item| own_columns(item)?.pop()).collect(),
        _ => None,
    }
}

/// Whether a query leaves out rows of what it reads, by anything but its WHERE.
pub(super) fn cuts(select: &pb::SelectStmt) -> bool {
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
    let inner = target.within(range, target.relation.map(called).into_iter().collect());
    select.where_clause.is_some() && restricts(select.where_clause.as_deref(), &inner)
}

fn is_target(range: &pb::RangeVar, target: &Target<'_>) -> bool {
    target.relation.is_some_and(|relation| same_table(relation, range))
}

/// Whether a query gives every value of the target's columns of these names.
pub(super) fn gives_every<'n>(select: &'n pb::SelectStmt, columns: &[&str], target: &Target<'n>) -> bool {
    if target.follow().is_none() {
        // What nobody can look through may be every row.
        return true;
    }
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
                Some((query, seen)) => lets_all_through(select) && gives_every(query, columns, &seen),
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

/// `(SELECT max(x) FROM the_same_table)`, where `x` is what is compared with it.
pub(super) fn gives_extreme(query: &Node, function: &str, compared: &Node, target: &Target<'_>) -> bool {
    let Some(NodeEnum::SubLink(sublink)) = &query.node else { return false };
    let query = sublink.subselect.as_deref().and_then(|query| query.node.as_ref());
    let (Some(NodeEnum::SelectStmt(select)), pb::SubLinkType::ExprSublink) = (query, sublink.sub_link_type()) else {
        return false;
    };
    let ([item], [from]) = (select.target_list.as_slice(), select.from_clause.as_slice()) else { return false };
    let Some(NodeEnum::ResTarget(item)) = &item.node else { return false };
    let Some(NodeEnum::FuncCall(call)) = item.val.as_deref().and_then(|value| value.node.as_ref()) else {
        return false;
    };
    let column = |node: &Node| match &node.node {
        Some(NodeEnum::ColumnRef(column)) => names::words(&column.fields).pop().map(str::to_owned),
        _ => None,
    };
    let of_compared = matches!(call.args.as_slice(), [of] if column(of).is_some() && column(of) == column(compared));
    let whole = range_var(from).is_some_and(|range| {
        is_target(range, target) && common_table(range, select, target).is_none() && !filtered(select, range, target)
    });
    names::words(&call.funcname).pop() == Some(function)
        && of_compared
        && whole
        && call.agg_filter.is_none()
        && call.over.is_none()
        && select.group_clause.is_empty()
        && !cuts(select)
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
    match columns {
        // The only one that is asked for may stand among others.
        [only] => list.iter().any(|item| given(item).as_deref() == Some(only)),
        _ => {
            list.len() == columns.len()
                && list.iter().zip(columns).all(|(item, column)| given(item).as_deref() == Some(column))
        }
    }
}
