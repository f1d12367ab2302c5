//! Whether a WHERE restricts the rows it stands for.
//!
//! A WHERE restricts nothing when it is the same for every row: a constant truth, a condition that names no column of the
//! table, `col = col`, `x OR true`, `x IS NULL OR x IS NOT NULL`, `LIKE '%'`, membership in the table's own unfiltered rows.
//! Where that cannot be known from the text it is not claimed.

use std::ops::ControlFlow;

use sqlparser::ast::{
    BinaryOperator, Distinct, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, LimitClause, Query,
    SelectItem, SetExpr, TableFactor, UnaryOperator, Value, Visit, Visitor,
};

use super::{call, names};
use crate::sql::effect::Object;
use crate::sql::settings::is_on;

/// The table a WHERE is about.
#[derive(Debug)]
pub struct Target {
    /// The table.
    pub object: Object,
    /// What the statement calls it, if not by its name.
    pub alias: Option<String>,
    /// Other names of the very same table in FROM or USING: a join with it by equal columns finds every row again.
    pub twins: Vec<String>,
    /// Those of them that the statement joins to it row by row: what they are is what the row is.
    pub joined: Vec<String>,
    /// Whether a WITH has given the table's name to a query.
    pub shadowed: bool,
}

impl Target {
    /// Takes note of the twins that a condition joins to the table.
    pub fn join(&mut self, condition: Option<&Expr>) {
        let mut open: Vec<&Expr> = condition.into_iter().collect();
        while let Some(next) = open.pop() {
            match next {
                Expr::Nested(inner) => open.push(inner),
                Expr::BinaryOp { left, op: BinaryOperator::And, right } => open.extend([left.as_ref(), right.as_ref()]),
                Expr::BinaryOp { left, op: BinaryOperator::Eq, right } if rejoins(left, right, self) => {
                    let names = [column(left), column(right)].into_iter().flatten().filter_map(|(of, _)| of);
                    self.joined.extend(names.filter(|name| self.twins.contains(name)));
                }
                _ => {}
            }
        }
    }
}

/// What a condition is over the rows of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    /// True for every row (but perhaps those where a column is NULL).
    Always,
    /// True for no row.
    Never,
    /// The same for every row; which, only the server knows.
    Constant,
    /// It looks at the row.
    Varies,
}

/// Disjuncts that are compared with each other; longer lists are not searched for complements.
const COMPARED: usize = 24;

/// Whether a WHERE restricts. None restricts nothing; one that no row passes restricts everything.
pub fn restricts(selection: Option<&Expr>, target: &Target) -> bool {
    selection.is_some_and(|condition| matches!(truth(condition, target), Truth::Varies | Truth::Never))
}

/// What a condition is over the rows of the target.
pub fn truth(condition: &Expr, target: &Target) -> Truth {
    match condition {
        Expr::Nested(inner) | Expr::Collate { expr: inner, .. } => truth(inner, target),
        Expr::IsTrue(inner) | Expr::IsNotFalse(inner) => truth(inner, target),
        Expr::IsFalse(inner) | Expr::IsNotTrue(inner) => not(truth(inner, target)),
        Expr::UnaryOp { op: UnaryOperator::Not, expr } => not(truth(expr, target)),
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => and(truth(left, target), truth(right, target)),
        Expr::BinaryOp { op: BinaryOperator::Or, .. } => any_of(condition, target),
        Expr::BinaryOp { left, op, right } => {
            compared(left, op, right, target).unwrap_or_else(|| leaf(condition, target))
        }
        Expr::IsNull(inner) | Expr::IsNotNull(inner) => null_test(condition, inner, target),
        Expr::IsDistinctFrom(left, right) if same(left, right, target) => Truth::Never,
        Expr::IsNotDistinctFrom(left, right) if same(left, right, target) => Truth::Always,
        Expr::Between { expr, negated, low, high } if same(expr, low, target) && same(expr, high, target) => {
            turned(Truth::Always, *negated)
        }
        Expr::InList { expr, list, negated } if list.iter().any(|item| same(expr, item, target)) => {
            turned(Truth::Always, *negated)
        }
        Expr::InSubquery { expr, subquery, negated } if own_rows(expr, subquery, target) => {
            turned(Truth::Always, *negated)
        }
        Expr::AnyOp { left, compare_op: BinaryOperator::Eq, right, .. } if own_rows_of(left, right, target) => {
            Truth::Always
        }
        Expr::Like { negated, pattern, .. }
        | Expr::ILike { negated, pattern, .. }
        | Expr::SimilarTo { negated, pattern, .. }
            if is_any_text(pattern) =>
        {
            turned(Truth::Always, *negated)
        }
        Expr::Exists { subquery, negated } => turned(exists(subquery, target), *negated),
        Expr::Case { conditions, else_result: Some(otherwise), .. } => {
            let mut results = conditions.iter().map(|when| &when.result).chain([otherwise.as_ref()]);
            let all = results.all(|result| truth(result, target) == Truth::Always);
            if all { Truth::Always } else { leaf(condition, target) }
        }
        _ => call::literal(condition).and_then(constant).unwrap_or_else(|| leaf(condition, target)),
    }
}

fn not(truth: Truth) -> Truth {
    turned(truth, true)
}

fn turned(truth: Truth, negated: bool) -> Truth {
    match (truth, negated) {
        (Truth::Always, true) => Truth::Never,
        (Truth::Never, true) => Truth::Always,
        (truth, _) => truth,
    }
}

fn and(left: Truth, right: Truth) -> Truth {
    match (left, right) {
        (Truth::Never, _) | (_, Truth::Never) => Truth::Never,
        (Truth::Varies, _) | (_, Truth::Varies) => Truth::Varies,
        (Truth::Constant, _) | (_, Truth::Constant) => Truth::Constant,
        (Truth::Always, Truth::Always) => Truth::Always,
    }
}

fn or(left: Truth, right: Truth) -> Truth {
    match (left, right) {
        (Truth::Always, _) | (_, Truth::Always) => Truth::Always,
        (Truth::Varies, _) | (_, Truth::Varies) => Truth::Varies,
        (Truth::Constant, _) | (_, Truth::Constant) => Truth::Constant,
        (Truth::Never, Truth::Never) => Truth::Never,
    }
}

/// A chain of OR: true when a member is, or when two members complement each other.
fn any_of(condition: &Expr, target: &Target) -> Truth {
    let members = disjuncts(condition);
    let each = members.iter().fold(Truth::Never, |sofar, member| or(sofar, truth(member, target)));
    let complements = members.len() <= COMPARED
        && members
            .iter()
            .enumerate()
            .any(|(at, one)| members.iter().skip(at + 1).any(|other| complementary(one, other, target)));
    if each == Truth::Varies && complements { Truth::Always } else { each }
}

fn disjuncts(condition: &Expr) -> Vec<&Expr> {
    let (mut open, mut found) = (vec![condition], Vec::new());
    while let Some(next) = open.pop() {
        match next {
            Expr::Nested(inner) => open.push(inner),
            Expr::BinaryOp { left, op: BinaryOperator::Or, right } => open.extend([right.as_ref(), left.as_ref()]),
            other => found.push(other),
        }
    }
    found
}

/// Whether one is true wherever the other is false (NULL aside).
fn complementary(one: &Expr, other: &Expr, target: &Target) -> bool {
    match (one, other) {
        (Expr::Nested(one), _) => complementary(one, other, target),
        (_, Expr::Nested(other)) => complementary(one, other, target),
        (Expr::UnaryOp { op: UnaryOperator::Not, expr }, positive)
        | (positive, Expr::UnaryOp { op: UnaryOperator::Not, expr }) => same(expr, positive, target),
        (Expr::IsNull(a), Expr::IsNotNull(b)) | (Expr::IsNotNull(a), Expr::IsNull(b)) => same(a, b, target),
        (Expr::IsTrue(a), Expr::IsNotTrue(b)) | (Expr::IsNotTrue(a), Expr::IsTrue(b)) => same(a, b, target),
        (Expr::IsFalse(a), Expr::IsNotFalse(b)) | (Expr::IsNotFalse(a), Expr::IsFalse(b)) => same(a, b, target),
        (Expr::BinaryOp { left, op, right }, Expr::BinaryOp { left: l, op: o, right: r }) => {
            cover_everything(op, o) && same(left, l, target) && same(right, r, target)
        }
        (Expr::InList { expr, list, negated }, Expr::InList { expr: e, list: l, negated: n }) => {
            negated != n && list == l && same(expr, e, target)
        }
        _ => false,
    }
}

/// `a < b OR a >= b` and the like.
fn cover_everything(one: &BinaryOperator, other: &BinaryOperator) -> bool {
    use BinaryOperator::{Eq, Gt, GtEq, Lt, LtEq, NotEq};
    let pair = |a: &BinaryOperator, b: &BinaryOperator| {
        matches!((a, b), (Eq, NotEq) | (Lt, GtEq) | (Gt, LtEq) | (LtEq, GtEq) | (NotEq, GtEq) | (NotEq, LtEq))
    };
    pair(one, other) || pair(other, one)
}

/// Comparisons whose outcome the text gives away.
fn compared(left: &Expr, op: &BinaryOperator, right: &Expr, target: &Target) -> Option<Truth> {
    use BinaryOperator as Op;
    let matches_text = match op {
        Op::PGLikeMatch | Op::PGILikeMatch => is_any_text(right),
        Op::PGRegexMatch | Op::PGRegexIMatch => is_any_pattern(right),
        _ => false,
    };
    if matches_text {
        return Some(Truth::Always);
    }
    if let (Some(left), Some(right)) = (call::literal(left), call::literal(right)) {
        return literals(left, op, right);
    }
    if matches!(op, Op::Eq) && rejoins(left, right, target) {
        return Some(Truth::Always);
    }
    if !same(left, right, target) || !looks_at(left, target) {
        return None;
    }
    match op {
        Op::Eq | Op::GtEq | Op::LtEq => Some(Truth::Always),
        Op::NotEq | Op::Gt | Op::Lt => Some(Truth::Never),
        _ => None,
    }
}

/// `t.x = twin.x`, either way round.
fn rejoins(left: &Expr, right: &Expr, target: &Target) -> bool {
    let (Some((left_of, left)), Some((right_of, right))) = (column(left), column(right)) else { return false };
    let (Some(left_of), Some(right_of)) = (left_of, right_of) else { return false };
    let twin = |name: &String| target.twins.contains(name);
    left == right
        && ((is_called(target, &left_of) && twin(&right_of)) || (twin(&left_of) && is_called(target, &right_of)))
}

fn literals(left: &Value, op: &BinaryOperator, right: &Value) -> Option<Truth> {
    use BinaryOperator as Op;
    let order = match (left, right) {
        (Value::Null, _) | (_, Value::Null) => return Some(Truth::Never),
        (Value::Number(left, _), Value::Number(right, _)) => {
            left.parse::<f64>().ok()?.partial_cmp(&right.parse::<f64>().ok()?)?
        }
        (Value::Boolean(left), Value::Boolean(right)) => left.cmp(right),
        (left, right) => {
            let (left, right) = (call::text(left)?, call::text(right)?);
            if left != right && !matches!(op, Op::Eq | Op::NotEq) {
                return Some(Truth::Constant);
            }
            left.cmp(right)
        }
    };
    let holds = match op {
        Op::Eq => order.is_eq(),
        Op::NotEq => order.is_ne(),
        Op::Lt => order.is_lt(),
        Op::LtEq => order.is_le(),
        Op::Gt => order.is_gt(),
        Op::GtEq => order.is_ge(),
        _ => return None,
    };
    Some(if holds { Truth::Always } else { Truth::Never })
}

fn constant(value: &Value) -> Option<Truth> {
    match value {
        Value::Boolean(true) => Some(Truth::Always),
        Value::Boolean(false) | Value::Null => Some(Truth::Never),
        Value::Number(number, _) => Some(if number == "0" { Truth::Never } else { Truth::Always }),
        other => call::text(other).map(|text| if is_on(text) { Truth::Always } else { Truth::Constant }),
    }
}

fn null_test(condition: &Expr, inner: &Expr, target: &Target) -> Truth {
    let negated = matches!(condition, Expr::IsNotNull(_));
    match call::literal(inner) {
        Some(Value::Placeholder(_)) => Truth::Constant,
        Some(Value::Null) => turned(Truth::Always, negated),
        Some(_) => turned(Truth::Never, negated),
        None => leaf(condition, target),
    }
}

fn is_any_text(pattern: &Expr) -> bool {
    call::literal(pattern)
        .and_then(call::text)
        .is_some_and(|pattern| !pattern.is_empty() && pattern.bytes().all(|byte| byte == b'%'))
}

fn is_any_pattern(pattern: &Expr) -> bool {
    call::literal(pattern)
        .and_then(call::text)
        .is_some_and(|pattern| matches!(pattern, "" | ".*" | "^" | "$" | "^.*" | ".*$" | "^.*$" | "()"))
}

/// What cannot be evaluated: it looks at the row or it does not.
fn leaf(condition: &Expr, target: &Target) -> Truth {
    if looks_at(condition, target) { Truth::Varies } else { Truth::Constant }
}

fn exists(subquery: &Query, target: &Target) -> Truth {
    struct Columns<'a>(&'a Target);
    impl Visitor for Columns<'_> {
        type Break = ();
        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            if is_column_of(expr, self.0) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }
    }
    let SetExpr::Select(select) = subquery.body.as_ref() else {
        return if subquery.visit(&mut Columns(target)).is_break() { Truth::Varies } else { Truth::Constant };
    };
    if subquery.visit(&mut Columns(target)).is_break() {
        Truth::Varies
    } else if select.from.is_empty() && select.selection.is_none() && subquery.limit_clause.is_none() {
        Truth::Always
    } else {
        Truth::Constant
    }
}

/// Whether an expression names a column that can be the target's. An unqualified name can.
fn looks_at(expr: &Expr, target: &Target) -> bool {
    struct Columns<'a>(&'a Target);
    impl Visitor for Columns<'_> {
        type Break = ();
        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            if is_column_of(expr, self.0) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }
    }
    expr.visit(&mut Columns(target)).is_break()
}

fn is_column_of(expr: &Expr, target: &Target) -> bool {
    match expr {
        Expr::Identifier(_) | Expr::QualifiedWildcard(..) => true,
        Expr::Function(function) => passes_row(&function.args),
        Expr::CompoundIdentifier(parts) => {
            parts.iter().rev().nth(1).is_none_or(|qualifier| is_own(target, &names::folded(qualifier)))
        }
        _ => false,
    }
}

/// Whether a qualifier means the row that is chosen: the table's own, or a twin's that is joined to it.
fn is_own(target: &Target, name: &str) -> bool {
    is_called(target, name) || target.joined.iter().any(|twin| twin == name)
}

/// Whether a call is given a whole row, as `f(t.*)`.
fn passes_row(args: &FunctionArguments) -> bool {
    let FunctionArguments::List(list) = args else { return false };
    list.args.iter().any(|arg| {
        let (FunctionArg::Named { arg, .. } | FunctionArg::ExprNamed { arg, .. } | FunctionArg::Unnamed(arg)) = arg;
        matches!(arg, FunctionArgExpr::QualifiedWildcard(_))
    })
}

fn is_called(target: &Target, name: &str) -> bool {
    name == target.alias.as_deref().unwrap_or(&target.object.name)
}

/// Whether two expressions are the same, whether or not their columns are written with the table's name.
fn same(left: &Expr, right: &Expr, target: &Target) -> bool {
    match (left, right) {
        (Expr::Nested(left), right) => same(left, right, target),
        (left, Expr::Nested(right)) => same(left, right, target),
        _ => match (column(left), column(right)) {
            (Some((left_of, left)), Some((right_of, right))) => {
                let own = |qualifier: Option<String>| qualifier.filter(|name| !is_called(target, name));
                left == right && own(left_of) == own(right_of)
            }
            _ => left == right,
        },
    }
}

fn column(expr: &Expr) -> Option<(Option<String>, String)> {
    match expr {
        Expr::Identifier(name) => Some((None, names::folded(name))),
        Expr::CompoundIdentifier(parts) => {
            let mut parts = parts.iter().rev();
            let name = parts.next().map(names::folded)?;
            Some((parts.next().map(|ident: &Ident| names::folded(ident)), name))
        }
        _ => None,
    }
}

/// `= ANY (SELECT …)`, where the right side is a subquery.
fn own_rows_of(expr: &Expr, right: &Expr, target: &Target) -> bool {
    match right {
        Expr::Subquery(subquery) => own_rows(expr, subquery, target),
        Expr::Nested(inner) => own_rows_of(expr, inner, target),
        _ => false,
    }
}

/// `col IN (SELECT col FROM the same table)` without a filter.
fn own_rows(expr: &Expr, subquery: &Query, target: &Target) -> bool {
    let SetExpr::Select(select) = subquery.body.as_ref() else { return false };
    let limited = match &subquery.limit_clause {
        None => false,
        Some(LimitClause::LimitOffset { limit: None, offset: None, .. }) => false,
        Some(_) => true,
    };
    let [from] = select.from.as_slice() else { return false };
    let plain = subquery.with.is_none()
        && !limited
        && subquery.fetch.is_none()
        && from.joins.is_empty()
        && select.having.is_none()
        && !matches!(select.distinct, Some(Distinct::On(_)))
        && !matches!(&from.relation, TableFactor::Table { sample: Some(_), .. });
    let Some((object, alias)) = names::named_relation(&from.relation) else { return false };
    // A name without a schema is taken to be in `public`.
    let same_table = object.name == target.object.name
        && object.schema.as_deref().unwrap_or("public") == target.object.schema.as_deref().unwrap_or("public")
        && !(target.shadowed && object.schema.is_none());
    let inner = Target { object, alias, twins: Vec::new(), joined: Vec::new(), shadowed: target.shadowed };
    let unfiltered = select.selection.is_none() || !restricts(select.selection.as_ref(), &inner);
    plain && same_table && unfiltered && selects(expr, &select.projection, &inner, target)
}

/// Whether the select list is the very columns of the expression.
fn selects(expr: &Expr, list: &[SelectItem], inner: &Target, target: &Target) -> bool {
    let wanted: &[Expr] = match expr {
        Expr::Tuple(members) => members,
        other => std::slice::from_ref(other),
    };
    wanted.len() == list.len()
        && wanted.iter().zip(list).all(|(wanted, item)| {
            let selected = match item {
                SelectItem::UnnamedExpr(selected) | SelectItem::ExprWithAlias { expr: selected, .. } => selected,
                SelectItem::ExprWithAliases { .. } | SelectItem::QualifiedWildcard(..) | SelectItem::Wildcard(_) => {
                    return false;
                }
            };
            match (column(wanted), column(selected)) {
                (Some((outer_of, outer)), Some((inner_of, selected))) => {
                    outer == selected
                        && outer_of.is_none_or(|name| is_called(target, &name))
                        && inner_of.is_none_or(|name| is_called(inner, &name))
                }
                _ => false,
            }
        })
}
