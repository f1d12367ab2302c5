//! The table whose rows a condition chooses, and what is joined to it row by row. Room of the postgres reader.

use pg_query::protobuf as pb;
use pg_query::{Node, NodeEnum};

use super::names;
use super::query::from_relations;
use super::same::strip;
use super::subquery::gives_every;
use super::trial::Steps;

/// The table whose rows a condition chooses, and what stands beside it.
pub(super) struct Target<'n> {
    /// The table itself.
    pub(super) relation: Option<&'n pb::RangeVar>,
    /// The relations of USING or FROM.
    pub(super) others: Vec<&'n pb::RangeVar>,
    /// Whether nothing stands beside the table, so that a bare column is the table's.
    pub(super) alone: bool,
    /// The statement's common table expressions that can be seen from where a condition stands.
    with: &'n [Node],
    /// How many common table expressions that stands inside of.
    depth: usize,
    /// The queries beside the table, by the names that their rows go by.
    queries: Vec<Beside<'n>>,
    /// Second references to the table that are joined to it row by row: what they are is what the row is.
    pub(super) joined: Vec<&'n str>,
    /// What may be computed to try conditions.
    pub(super) steps: &'n Steps,
}

/// A query beside the table.
#[derive(Clone, Copy)]
struct Beside<'n> {
    called: &'n str,
    query: &'n pb::SelectStmt,
    /// How many of the statement's common table expressions it can see.
    sees: usize,
}

/// Common table expressions within each other are followed so deep.
const DEEPEST: usize = 100;

impl<'n> Target<'n> {
    /// The target of an UPDATE, DELETE or MERGE.
    pub(super) fn new(
        relation: Option<&'n pb::RangeVar>,
        beside: &'n [Node],
        with: Option<&'n pb::WithClause>,
        steps: &'n Steps,
    ) -> Target<'n> {
        let mut others = Vec::new();
        from_relations(beside, &mut others);
        let with = with.map(|with| with.ctes.as_slice()).unwrap_or_default();
        let queries = queries(beside, with);
        Target { relation, others, alone: beside.is_empty(), with, depth: 0, queries, joined: Vec::new(), steps }
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
        Target { joined, ..self.seeing(self.with.len()) }
    }

    /// The same from inside of a query that can see this many of the statement's common table expressions.
    fn seeing(&self, tables: usize) -> Target<'n> {
        Target {
            relation: self.relation,
            others: self.others.clone(),
            alone: self.alone,
            with: self.with.get(..tables).unwrap_or_default(),
            depth: self.depth,
            queries: self.queries.clone(),
            joined: self.joined.clone(),
            steps: self.steps,
        }
    }

    /// The target of a subquery's condition: the same table as `range`, and rows that the target is joined to.
    pub(super) fn within(&self, range: &'n pb::RangeVar, joined: Vec<&'n str>) -> Target<'n> {
        let others = self.relation.into_iter().collect();
        let seen = self.seeing(self.with.len());
        Target { relation: Some(range), others, alone: true, queries: Vec::new(), joined, ..seen }
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

    /// Takes leave to look into one query more; `None` where common table expressions lie too deep within each other, or too many
    /// queries were looked into.
    pub(super) fn follow(&self) -> Option<()> {
        if self.depth > DEEPEST { None } else { self.steps.follow() }
    }

    /// Whether `qualifier` names the row that is chosen: the table itself, or what is joined to it row by row.
    pub(super) fn is_row(&self, qualifier: &str) -> bool {
        self.relation.is_some_and(|range| called(range) == qualifier) || self.joined.contains(&qualifier)
    }

    /// Whether `qualifier` names the table, or a second reference to the same table.
    pub(super) fn is_called(&self, qualifier: &str) -> bool {
        let twin = |other: &&&pb::RangeVar| self.relation.is_some_and(|relation| same_table(relation, other));
        let mut all = self.relation.iter().chain(self.others.iter().filter(twin));
        all.any(|range| called(range) == qualifier)
    }
}

/// The queries of a FROM list: subqueries, and what WITH names.
fn queries<'n>(beside: &'n [Node], with: &'n [Node]) -> Vec<Beside<'n>> {
    let named = |node: &'n Node| match &node.node {
        Some(NodeEnum::RangeSubselect(inner)) => {
            let query = inner.subquery.as_deref().and_then(|query| query.node.as_ref());
            match (inner.alias.as_ref(), query) {
                (Some(alias), Some(NodeEnum::SelectStmt(query))) if alias.colnames.is_empty() => {
                    Some(Beside { called: alias.aliasname.as_str(), query, sees: with.len() })
                }
                _ => None,
            }
        }
        Some(NodeEnum::RangeVar(range)) => {
            let (sees, query) = with_query(range, with)?;
            Some(Beside { called: called(range), query, sees })
        }
        _ => None,
    };
    beside.iter().filter_map(named).collect()
}

/// The name by which a relation's columns are qualified.
pub(super) fn called(range: &pb::RangeVar) -> &str {
    range.alias.as_ref().map_or(range.relname.as_str(), |alias| alias.aliasname.as_str())
}

fn schema_of(range: &pb::RangeVar) -> &str {
    if range.schemaname.is_empty() { "public" } else { &range.schemaname }
}

/// Whether two references are to the same table; one without a schema is taken to be in `public`.
pub(super) fn same_table(one: &pb::RangeVar, other: &pb::RangeVar) -> bool {
    one.relname == other.relname && schema_of(one) == schema_of(other)
}

/// The query behind a name of a WITH clause, and the target as that sees it. A query sees what stands before it, also where
/// RECURSIVE lets it see itself: what it says of itself says nothing of the table.
pub(super) fn common_table<'n>(
    range: &pb::RangeVar,
    select: &'n pb::SelectStmt,
    target: &Target<'n>,
) -> Option<(&'n pb::SelectStmt, Target<'n>)> {
    let own = select.with_clause.as_ref().map(|with| with.ctes.as_slice()).unwrap_or_default();
    let (query, seen) = match with_query(range, own) {
        Some((_, query)) => (query, target.seeing(target.with.len())),
        None => with_query(range, target.with).map(|(sees, query)| (query, target.seeing(sees)))?,
    };
    Some((query, Target { depth: target.depth + 1, ..seen }))
}

/// The query that a WITH clause gives this name, and how many stand before it.
fn with_query<'n>(range: &pb::RangeVar, with: &'n [Node]) -> Option<(usize, &'n pb::SelectStmt)> {
    with.iter().enumerate().find_map(|(place, node)| match &node.node {
        Some(NodeEnum::CommonTableExpr(table)) if range.schemaname.is_empty() && table.ctename == range.relname => {
            match table.ctequery.as_deref()?.node.as_ref()? {
                NodeEnum::SelectStmt(query) if table.aliascolnames.is_empty() => Some((place, &**query)),
                _ => None,
            }
        }
        _ => None,
    })
}

/// The query of `t.x = query.x`, where it stands beside the table and gives every row of it.
pub(super) fn rejoined<'n>(own: &Node, other: &Node, target: &Target<'n>) -> Option<&'n str> {
    let column = |node: &Node| match strip(node).node.as_ref() {
        Some(NodeEnum::ColumnRef(column)) => {
            let parts: Vec<String> = names::words(&column.fields).into_iter().map(str::to_owned).collect();
            parts.split_last().map(|(name, before)| (before.last().cloned(), name.clone()))
        }
        _ => None,
    };
    let (Some((own_of, own)), Some((Some(other_of), name))) = (column(own), column(other)) else { return None };
    let is_own = own_of.as_deref().is_none_or(|qualifier| target.is_row(qualifier));
    let beside = target.queries.iter().find(|beside| beside.called == other_of)?;
    (is_own && own == name && gives_every(beside.query, &[&name], &target.seeing(beside.sees))).then_some(beside.called)
}
