//! Whether an expression looks at the row that a condition chooses. Room of the postgres reader.

use pg_query::protobuf as pb;
use pg_query::{Node, NodeEnum};

use super::names;
use super::query::from_relations;
use super::target::{Target, called};

/// Whether an expression looks at a row of the target: names one of its columns, or might. `tableoid` is the same for every
/// row of a table. `hidden` inside a subquery whose own FROM takes the target's name.
pub(super) fn looks_at(node: &Node, target: &Target<'_>, hidden: bool) -> bool {
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
