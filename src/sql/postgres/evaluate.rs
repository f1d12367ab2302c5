//! An expression computed for one made-up row, with the server's operators and the functions that give the same for the same
//! arguments everywhere. Room of the postgres reader.
//!
//! A comparison is known where a column itself is compared with a constant or another column: some rows have the values that
//! it turns on. What is computed before it is compared may turn on values that no row has. There, equality is known where
//! it holds, so that only one that holds in every row leads to a claim; order only among numbers, and where it is the
//! same in every row. Texts have no known order, but for the empty one.

use std::cell::{Cell, RefCell};
use std::cmp::Ordering;

use pg_query::protobuf as pb;
use pg_query::protobuf::a_const::Val;
use pg_query::{Node, NodeEnum};

use super::constant::{boolean, tested};
use super::names;
use super::same::lone_column;
use super::target::Target;
use super::truth::matches_all;

/// Doubles hold whole numbers exactly up to here.
const EXACT: f64 = 9_007_199_254_740_992.0;
/// Greater ones are not computed.
const GREATEST: f64 = 1e100;
/// The longest text that is computed.
const LONGEST: usize = 2048;
/// The longest literal that is looked at.
const LONGEST_LITERAL: usize = 256;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Datum {
    Null,
    Bool(bool),
    /// Of one of the integer types.
    Whole(i64),
    /// Of another numeric type.
    Real(f64),
    Text(String),
    /// A literal in quotation marks, whose type is that of what it meets.
    Untyped(String),
}

/// Why there is no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nothing {
    /// The server would refuse the expression: its types do not go together.
    Refused,
    /// It is not computed here.
    Unknown,
    /// The server fails at it: a division by zero, a number out of range.
    Fails,
}

/// How comparisons of what is computed came out in the rows before.
#[derive(Debug, Default)]
pub(super) struct Tests {
    orders: RefCell<Vec<(usize, bool)>>,
    in_doubt: Cell<bool>,
}

impl Tests {
    /// Whether a comparison may turn on a value that no row has; what stands beside it cannot make up for that.
    pub(super) fn in_doubt(&self) -> bool {
        self.in_doubt.get()
    }

    fn doubt(&self) -> Nothing {
        self.in_doubt.set(true);
        Nothing::Unknown
    }

    /// Notes how the comparison at this address came out.
    fn note(&self, address: usize, holds: bool) {
        let mut seen = self.orders.borrow_mut();
        match seen.iter().find(|(known, _)| *known == address) {
            Some((_, before)) if *before != holds => self.in_doubt.set(true),
            Some(_) => {}
            None => seen.push((address, holds)),
        }
    }
}

type Computed = Result<Datum, Nothing>;

impl Datum {
    pub(super) fn of_whole(number: f64) -> Datum {
        Datum::Whole(number as i64)
    }

    fn truth(self) -> Result<Option<bool>, Nothing> {
        match self {
            Datum::Null => Ok(None),
            Datum::Bool(truth) => Ok(Some(truth)),
            Datum::Untyped(text) => boolean(&text).map(Some).ok_or(Nothing::Refused),
            Datum::Whole(_) | Datum::Real(_) | Datum::Text(_) => Err(Nothing::Refused),
        }
    }

    /// A text, where a function takes one.
    fn text(self) -> Result<String, Nothing> {
        match self {
            Datum::Text(text) | Datum::Untyped(text) => Ok(text),
            Datum::Null => Err(Nothing::Unknown),
            Datum::Bool(_) | Datum::Whole(_) | Datum::Real(_) => Err(Nothing::Refused),
        }
    }

    fn whole(self) -> Result<i64, Nothing> {
        match self {
            Datum::Whole(number) => Ok(number),
            Datum::Untyped(text) => text.trim().parse().map_err(|_| Nothing::Refused),
            Datum::Null => Err(Nothing::Unknown),
            Datum::Bool(_) | Datum::Real(_) | Datum::Text(_) => Err(Nothing::Refused),
        }
    }

    fn real(&self) -> Result<f64, Nothing> {
        match self {
            Datum::Whole(number) => Ok(*number as f64),
            Datum::Real(number) => Ok(*number),
            Datum::Untyped(text) => text.trim().parse().map_err(|_| Nothing::Refused),
            Datum::Null => Err(Nothing::Unknown),
            Datum::Bool(_) | Datum::Text(_) => Err(Nothing::Refused),
        }
    }
}

/// The value of a literal.
pub(super) fn literal(constant: &pb::AConst) -> Option<Datum> {
    if constant.isnull {
        return Some(Datum::Null);
    }
    match constant.val.as_ref() {
        // protobuf leaves out a zero.
        None => Some(Datum::Whole(0)),
        Some(Val::Ival(number)) => Some(Datum::Whole(number.ival.into())),
        Some(Val::Fval(number)) => match number.fval.parse::<i64>() {
            Ok(whole) => Some(Datum::Whole(whole)),
            Err(_) => number.fval.parse().ok().filter(|real: &f64| real.abs() < EXACT).map(Datum::Real),
        },
        Some(Val::Boolval(truth)) => Some(Datum::Bool(truth.boolval)),
        Some(Val::Sval(text)) if text.sval.len() > LONGEST_LITERAL => None,
        Some(Val::Sval(text)) => Some(Datum::Untyped(text.sval.clone())),
        Some(Val::Bsval(_)) => None,
    }
}

/// The expressions that an expression is made of.
pub(super) fn parts(node: &Node) -> Vec<&Node> {
    use NodeEnum as N;
    match node.node.as_ref() {
        Some(N::AExpr(e)) => e.lexpr.as_deref().into_iter().chain(e.rexpr.as_deref()).collect(),
        Some(N::BoolExpr(e)) => e.args.iter().collect(),
        Some(N::NullTest(e)) => e.arg.as_deref().into_iter().collect(),
        Some(N::BooleanTest(e)) => e.arg.as_deref().into_iter().collect(),
        Some(N::TypeCast(e)) => e.arg.as_deref().into_iter().collect(),
        Some(N::CollateClause(e)) => e.arg.as_deref().into_iter().collect(),
        Some(N::FuncCall(e)) => e.args.iter().collect(),
        Some(N::CoalesceExpr(e)) => e.args.iter().collect(),
        Some(N::MinMaxExpr(e)) => e.args.iter().collect(),
        Some(N::AArrayExpr(e)) => e.elements.iter().collect(),
        Some(N::List(e)) => e.items.iter().collect(),
        Some(N::CaseWhen(e)) => e.expr.as_deref().into_iter().chain(e.result.as_deref()).collect(),
        Some(N::CaseExpr(e)) => e.arg.as_deref().into_iter().chain(&e.args).chain(e.defresult.as_deref()).collect(),
        Some(N::SubLink(e)) => lone_column(e).into_iter().collect(),
        _ => Vec::new(),
    }
}

/// A made-up row.
pub(super) struct Row<'r, 'n> {
    /// The columns and parameters, as [`variable`] names them.
    pub(super) variables: &'r [String],
    /// What they hold.
    pub(super) data: &'r [Datum],
    pub(super) target: &'r Target<'n>,
    pub(super) tests: &'r Tests,
}

/// The name of a column or parameter; columns of the target are called by their own name, others by their table's too.
pub(super) fn variable(node: &Node, target: &Target<'_>) -> Option<String> {
    match node.node.as_ref()? {
        NodeEnum::ParamRef(parameter) => Some(format!("${}", parameter.number)),
        NodeEnum::ColumnRef(column) => match names::words(&column.fields).as_slice() {
            parts if parts.len() != column.fields.len() => None,
            [name] if target.alone => Some((*name).to_owned()),
            [.., qualifier, name] if target.is_row(qualifier) => Some((*name).to_owned()),
            parts => Some(format!(".{}", parts.join("."))),
        },
        _ => None,
    }
}

impl Row<'_, '_> {
    /// Whether a condition holds; `None` for NULL.
    pub(super) fn truth(&self, node: &Node) -> Result<Option<bool>, Nothing> {
        self.cell(node)?.truth()
    }

    fn cell(&self, node: &Node) -> Computed {
        let computed = self.computed(node)?;
        let length = match &computed {
            Datum::Text(text) | Datum::Untyped(text) => text.len(),
            _ => 0,
        };
        self.target.steps.take(1 + length / 32).ok_or(Nothing::Unknown)?;
        if length <= LONGEST { Ok(computed) } else { Err(Nothing::Unknown) }
    }

    fn computed(&self, node: &Node) -> Computed {
        use NodeEnum as N;
        if let Some(name) = variable(node, self.target) {
            let place = self.variables.iter().position(|known| *known == name);
            return place.and_then(|place| self.data.get(place)).cloned().ok_or(Nothing::Unknown);
        }
        let argument = |node: &Option<Box<Node>>| self.cell(node.as_deref().ok_or(Nothing::Unknown)?);
        match node.node.as_ref().ok_or(Nothing::Unknown)? {
            N::AConst(constant) => literal(constant).ok_or(Nothing::Unknown),
            N::TypeCast(cast) => as_type(argument(&cast.arg)?, cast.type_name.as_ref().ok_or(Nothing::Unknown)?),
            N::CollateClause(collate) => match argument(&collate.arg)? {
                Datum::Null => Ok(Datum::Null),
                text => Ok(Datum::Text(text.text()?)),
            },
            N::BoolExpr(expression) => self.logic(expression),
            N::NullTest(test) => {
                let null = argument(&test.arg)? == Datum::Null;
                Ok(Datum::Bool(null == (test.nulltesttype() == pb::NullTestType::IsNull)))
            }
            N::BooleanTest(test) => {
                let truth = argument(&test.arg)?.truth()?;
                tested(test.booltesttype(), truth).map(Datum::Bool).ok_or(Nothing::Unknown)
            }
            N::CoalesceExpr(coalesce) => {
                let mut cells = coalesce.args.iter().map(|argument| self.cell(argument));
                cells.find(|cell| *cell != Ok(Datum::Null)).unwrap_or(Ok(Datum::Null))
            }
            N::MinMaxExpr(of) => self.extreme(of),
            N::CaseExpr(case) => self.case(case),
            N::AExpr(expression) => self.operator(expression),
            N::FuncCall(call) => self.function(call),
            N::SubLink(sublink) => self.cell(lone_column(sublink).ok_or(Nothing::Unknown)?),
            _ => Err(Nothing::Unknown),
        }
    }

    fn logic(&self, expression: &pb::BoolExpr) -> Computed {
        let truths: Vec<_> = expression.args.iter().map(|argument| self.truth(argument)).collect();
        if truths.contains(&Err(Nothing::Refused)) {
            return Err(Nothing::Refused);
        }
        match expression.boolop() {
            pb::BoolExprType::AndExpr => of_truth(all(truths.into_iter())?),
            pb::BoolExprType::OrExpr => of_truth(any(truths.into_iter())?),
            pb::BoolExprType::NotExpr => {
                let truth = truths.into_iter().next().ok_or(Nothing::Unknown)??;
                of_truth(truth.map(|truth| !truth))
            }
            pb::BoolExprType::Undefined => Err(Nothing::Unknown),
        }
    }

    fn extreme(&self, of: &pb::MinMaxExpr) -> Computed {
        let wanted = if of.op() == pb::MinMaxOp::IsGreatest { Ordering::Greater } else { Ordering::Less };
        let mut found = Datum::Null;
        for argument in &of.args {
            let cell = self.cell(argument)?;
            if cell != Datum::Null && (found == Datum::Null || order_of_numbers(&cell, &found)? == wanted) {
                found = cell;
            }
        }
        Ok(found)
    }

    fn case(&self, case: &pb::CaseExpr) -> Computed {
        let of = case.arg.as_deref();
        for when in &case.args {
            let Some(NodeEnum::CaseWhen(when)) = &when.node else { return Err(Nothing::Unknown) };
            let (Some(condition), Some(result)) = (when.expr.as_deref(), when.result.as_deref()) else {
                return Err(Nothing::Unknown);
            };
            let holds = match &of {
                Some(of) => self.compare(Comparison::Equal(true), of, condition)?,
                None => self.truth(condition)?,
            };
            if holds == Some(true) {
                return self.cell(result);
            }
        }
        case.defresult.as_deref().map_or(Ok(Datum::Null), |result| self.cell(result))
    }

    fn operator(&self, expression: &pb::AExpr) -> Computed {
        use pb::AExprKind as K;
        let name = own_name(&expression.name)?;
        let right = expression.rexpr.as_deref().ok_or(Nothing::Unknown)?;
        let Some(left) = expression.lexpr.as_deref() else { return unary(name, self.cell(right)?) };
        match expression.kind() {
            K::AexprOp if matches!(name, "~" | "~*" | "!~" | "!~*") => match (self.cell(left)?, matches_all(right)) {
                (Datum::Null, _) => Ok(Datum::Null),
                (left, Some(true)) => left.text().map(|_| Datum::Bool(!name.starts_with('!'))),
                _ => Err(Nothing::Unknown),
            },
            K::AexprOp => match compared(name) {
                Some(comparison) => of_truth(self.compare(comparison, left, right)?),
                None => binary(name, self.cell(left)?, self.cell(right)?),
            },
            K::AexprDistinct | K::AexprNotDistinct => {
                let null = (self.cell(left)? == Datum::Null, self.cell(right)? == Datum::Null);
                let same = match null {
                    (false, false) => self.compare(Comparison::Equal(true), left, right)? == Some(true),
                    (one, other) => one == other,
                };
                Ok(Datum::Bool(same == (expression.kind() == K::AexprNotDistinct)))
            }
            K::AexprNullif => {
                let equal = self.compare(Comparison::Equal(true), left, right)? == Some(true);
                if equal { Ok(Datum::Null) } else { self.cell(left) }
            }
            K::AexprIn => {
                let found = self.found_in(left, items(right)?)?;
                of_truth(found.map(|found| found == (name == "=")))
            }
            K::AexprOpAny if name == "=" => of_truth(self.found_in(left, items(right)?)?),
            K::AexprOpAll if name == "<>" => {
                let found = self.found_in(left, items(right)?)?;
                of_truth(found.map(|found| !found))
            }
            K::AexprBetween | K::AexprNotBetween => {
                let [low, high] = items(right)? else { return Err(Nothing::Unknown) };
                let above = self.compare(Comparison::Order(Ordering::is_ge), left, low);
                let below = self.compare(Comparison::Order(Ordering::is_le), left, high);
                let within = all([above, below].into_iter())?;
                of_truth(within.map(|within| within == (expression.kind() == K::AexprBetween)))
            }
            K::AexprLike
            | K::AexprIlike
            | K::AexprOpAny
            | K::AexprOpAll
            | K::AexprSimilar
            | K::AexprBetweenSym
            | K::AexprNotBetweenSym
            | K::Undefined => Err(Nothing::Unknown),
        }
    }

    /// A comparison, where it is known: see the head of this file.
    fn compare(&self, comparison: Comparison, left: &Node, right: &Node) -> Result<Option<bool>, Nothing> {
        let data = (self.cell(left)?, self.cell(right)?);
        let plain = self.is_plain(left) && self.is_plain(right);
        let outcome = match &data {
            (Datum::Null, _) | (_, Datum::Null) => return Ok(None),
            data => order(&data.0, &data.1)?,
        };
        let of_bools = matches!(data, (Datum::Bool(_), _) | (_, Datum::Bool(_)));
        match comparison {
            Comparison::Equal(wanted) if plain || of_bools || outcome.is_eq() => Ok(Some(outcome.is_eq() == wanted)),
            Comparison::Equal(_) => Err(self.tests.doubt()),
            Comparison::Order(holds) if of_bools => Ok(Some(holds(outcome))),
            Comparison::Order(holds) => {
                let texts = [&data.0, &data.1].map(|datum| match datum {
                    Datum::Text(text) | Datum::Untyped(text) => Some(text.is_empty()),
                    _ => None,
                });
                match texts {
                    [Some(false), Some(false)] if outcome.is_ne() => return Err(self.tests.doubt()),
                    [Some(_), Some(_)] if !plain => return Err(self.tests.doubt()),
                    _ => {}
                }
                if !plain {
                    if measures_text(left) || measures_text(right) {
                        return Err(self.tests.doubt());
                    }
                    let address = std::ptr::from_ref(left).addr();
                    self.tests.note(address, holds(outcome));
                }
                Ok(Some(holds(outcome)))
            }
        }
    }

    fn found_in(&self, left: &Node, items: &[Node]) -> Result<Option<bool>, Nothing> {
        let plain = self.is_plain(left) && items.iter().all(|item| self.is_plain(item));
        let left = self.cell(left)?;
        let mut found = Some(false);
        for item in items {
            match (&left, &self.cell(item)?) {
                (Datum::Null, _) | (_, Datum::Null) => found = found.filter(|found| *found),
                (left, item) if order(left, item)?.is_eq() => found = Some(true),
                _ => {}
            }
        }
        let computed = !plain && found == Some(false) && !matches!(left, Datum::Bool(_));
        if computed { Err(self.tests.doubt()) } else { Ok(found) }
    }

    /// Whether it is a column, a parameter or a constant, and nothing is computed.
    fn is_plain(&self, node: &Node) -> bool {
        match &node.node {
            Some(NodeEnum::AConst(_)) => true,
            Some(NodeEnum::TypeCast(cast)) => {
                cast.arg.as_deref().is_some_and(|node| matches!(&node.node, Some(NodeEnum::AConst(_))))
            }
            Some(NodeEnum::AExpr(minus)) if minus.lexpr.is_none() => {
                minus.rexpr.as_deref().is_some_and(|node| matches!(&node.node, Some(NodeEnum::AConst(_))))
            }
            _ => variable(node, self.target).is_some(),
        }
    }

    fn function(&self, call: &pb::FuncCall) -> Computed {
        let plain = call.agg_order.is_empty()
            && call.agg_filter.is_none()
            && call.over.is_none()
            && !(call.agg_star || call.agg_distinct || call.func_variadic || call.agg_within_group);
        let name = own_name(&call.funcname).ok().filter(|_| plain).ok_or(Nothing::Unknown)?;
        let cells: Vec<Datum> = call.args.iter().map(|argument| self.cell(argument)).collect::<Result<_, _>>()?;
        if let (Some(comparison), [left, right]) = (compares(name).and_then(compared), call.args.as_slice()) {
            return of_truth(self.compare(comparison, left, right)?);
        }
        computed_by(name, cells)
    }
}

/// A name without schema, or with the system's.
fn own_name(name: &[Node]) -> Result<&str, Nothing> {
    match names::words(name).as_slice() {
        [name] | ["pg_catalog", name] => Ok(name),
        _ => Err(Nothing::Unknown),
    }
}

/// The items of `(a, b)` or `ARRAY[a, b]`.
fn items(node: &Node) -> Result<&[Node], Nothing> {
    match &node.node {
        Some(NodeEnum::List(list)) => Ok(&list.items),
        Some(NodeEnum::AArrayExpr(array)) => Ok(&array.elements),
        _ => Err(Nothing::Unknown),
    }
}

fn of_truth(truth: Option<bool>) -> Computed {
    Ok(truth.map_or(Datum::Null, Datum::Bool))
}

/// AND; what is not known does not count where one is false.
fn all(truths: impl Iterator<Item = Result<Option<bool>, Nothing>>) -> Result<Option<bool>, Nothing> {
    any(truths.map(|truth| truth.map(|truth| truth.map(|truth| !truth)))).map(|truth| truth.map(|truth| !truth))
}

/// OR; what is not known does not count where one is true.
fn any(truths: impl Iterator<Item = Result<Option<bool>, Nothing>>) -> Result<Option<bool>, Nothing> {
    let mut found = Ok(Some(false));
    for truth in truths {
        match truth {
            Ok(Some(true)) => return Ok(Some(true)),
            Ok(None) if found.is_ok() => found = Ok(None),
            Err(why) => found = Err(why),
            Ok(_) => {}
        }
    }
    found
}

fn as_type(cell: Datum, name: &pb::TypeName) -> Computed {
    if !name.typmods.is_empty() || !name.array_bounds.is_empty() || name.setof || name.pct_type {
        return Err(Nothing::Unknown);
    }
    match (own_name(&name.names)?, cell) {
        (_, Datum::Null) => Ok(Datum::Null),
        ("bool", Datum::Whole(number)) => Ok(Datum::Bool(number != 0)),
        ("bool", cell @ (Datum::Bool(_) | Datum::Untyped(_))) => of_truth(cell.truth()?),
        ("text" | "varchar", Datum::Bool(truth)) => Ok(Datum::Text(truth.to_string())),
        ("text" | "varchar", Datum::Whole(number)) => Ok(Datum::Text(number.to_string())),
        ("text" | "varchar", Datum::Real(number)) => Ok(Datum::Text(number.to_string())),
        ("text" | "varchar", Datum::Text(text) | Datum::Untyped(text)) => Ok(Datum::Text(text)),
        ("int2" | "int4" | "int8", cell @ (Datum::Whole(_) | Datum::Untyped(_))) => cell.whole().map(Datum::Whole),
        ("int2" | "int4" | "int8", Datum::Real(number)) => Ok(Datum::of_whole(number.round())),
        ("int4", Datum::Bool(truth)) => Ok(Datum::Whole(truth.into())),
        ("numeric" | "float4" | "float8", cell @ (Datum::Whole(_) | Datum::Real(_) | Datum::Untyped(_))) => {
            real(cell.real()?)
        }
        _ => Err(Nothing::Unknown),
    }
}

fn real(number: f64) -> Computed {
    if number.abs() < GREATEST { Ok(Datum::Real(number)) } else { Err(Nothing::Unknown) }
}

fn unary(name: &str, cell: Datum) -> Computed {
    match (name, cell) {
        (_, Datum::Null) => Ok(Datum::Null),
        ("+", cell @ (Datum::Whole(_) | Datum::Real(_))) => Ok(cell),
        ("-", Datum::Whole(number)) => number.checked_neg().map(Datum::Whole).ok_or(Nothing::Fails),
        ("-", Datum::Real(number)) => Ok(Datum::Real(-number)),
        ("@", cell) => computed_by("abs", vec![cell]),
        ("~", Datum::Whole(number)) => Ok(Datum::Whole(!number)),
        ("+" | "-" | "~", Datum::Bool(_) | Datum::Text(_)) | ("~", Datum::Real(_)) => Err(Nothing::Refused),
        _ => Err(Nothing::Unknown),
    }
}

fn binary(name: &str, left: Datum, right: Datum) -> Computed {
    if left == Datum::Null || right == Datum::Null {
        return Ok(Datum::Null);
    }
    match name {
        "+" | "-" | "*" | "/" | "%" => arithmetic(name, &left, &right),
        "&" | "|" | "#" | "<<" | ">>" => bits(name, left.whole()?, right.whole()?),
        "||" => joined(left, right),
        _ => Err(Nothing::Unknown),
    }
}

/// What is asked of two values.
#[derive(Clone, Copy)]
enum Comparison {
    /// Whether they are equal, or not.
    Equal(bool),
    Order(fn(Ordering) -> bool),
}

/// The comparison of an operator.
fn compared(operator: &str) -> Option<Comparison> {
    Some(match operator {
        "=" => Comparison::Equal(true),
        "<>" => Comparison::Equal(false),
        "<" => Comparison::Order(Ordering::is_lt),
        "<=" => Comparison::Order(Ordering::is_le),
        ">" => Comparison::Order(Ordering::is_gt),
        ">=" => Comparison::Order(Ordering::is_ge),
        _ => return None,
    })
}

/// Whether a text's length or a place in it is asked for.
fn measures_text(node: &Node) -> bool {
    let asks = match &node.node {
        Some(NodeEnum::FuncCall(call)) => !matches!(
            names::words(&call.funcname).pop(),
            Some(
                "abs"
                    | "ceil"
                    | "ceiling"
                    | "floor"
                    | "round"
                    | "trunc"
                    | "sign"
                    | "mod"
                    | "num_nulls"
                    | "num_nonnulls"
            )
        ),
        _ => false,
    };
    asks || parts(node).into_iter().any(measures_text)
}

/// How two values of one type stand to each other; texts by their bytes.
fn order(left: &Datum, right: &Datum) -> Result<Ordering, Nothing> {
    use Datum as C;
    match (left, right) {
        (C::Text(a) | C::Untyped(a), C::Text(b) | C::Untyped(b)) => Ok(a.cmp(b)),
        (C::Bool(a), C::Bool(b)) => Ok(a.cmp(b)),
        (C::Bool(a), C::Untyped(b)) => Ok(a.cmp(&boolean(b).ok_or(Nothing::Refused)?)),
        (C::Untyped(a), C::Bool(b)) => Ok(boolean(a).ok_or(Nothing::Refused)?.cmp(b)),
        (C::Whole(_), C::Whole(_) | C::Untyped(_)) | (C::Untyped(_), C::Whole(_)) => {
            Ok(left.clone().whole()?.cmp(&right.clone().whole()?))
        }
        _ => left.real()?.partial_cmp(&right.real()?).ok_or(Nothing::Unknown),
    }
}

/// Texts have no order that is known here.
fn order_of_numbers(left: &Datum, right: &Datum) -> Result<Ordering, Nothing> {
    match left {
        Datum::Text(_) | Datum::Untyped(_) if left != right => Err(Nothing::Unknown),
        _ => order(left, right),
    }
}

fn arithmetic(name: &str, left: &Datum, right: &Datum) -> Computed {
    use Datum as C;
    match (left, right) {
        (C::Untyped(_), C::Untyped(_)) => Err(Nothing::Unknown),
        (C::Whole(_), C::Whole(_) | C::Untyped(_)) | (C::Untyped(_), C::Whole(_)) => {
            let (a, b) = (left.clone().whole()?, right.clone().whole()?);
            let computed = match name {
                "+" => a.checked_add(b),
                "-" => a.checked_sub(b),
                "*" => a.checked_mul(b),
                "/" => a.checked_div(b),
                _ => a.checked_rem(b),
            };
            computed.map(C::Whole).ok_or(Nothing::Fails)
        }
        _ => {
            let (a, b) = (left.real()?, right.real()?);
            real(match name {
                "+" => a + b,
                "-" => a - b,
                "*" => a * b,
                "/" | "%" if b == 0.0 => return Err(Nothing::Fails),
                "/" => a / b,
                _ => a % b,
            })
        }
    }
}

fn bits(name: &str, left: i64, right: i64) -> Computed {
    let by = u32::try_from(right).ok().filter(|by| *by < 31);
    let computed = match name {
        "&" => Some(left & right),
        "|" => Some(left | right),
        "#" => Some(left ^ right),
        "<<" => by.and_then(|by| left.checked_shl(by)),
        _ => by.map(|by| left >> by),
    };
    computed.map(Datum::Whole).ok_or(Nothing::Unknown)
}

fn joined(left: Datum, right: Datum) -> Computed {
    let is_text = |cell: &Datum| matches!(cell, Datum::Text(_) | Datum::Untyped(_));
    if !is_text(&left) && !is_text(&right) {
        return Err(Nothing::Refused);
    }
    let text = |cell: Datum| match cell {
        Datum::Whole(number) => Ok(number.to_string()),
        Datum::Real(number) => Ok(number.to_string()),
        Datum::Bool(truth) => Ok(truth.to_string()),
        cell => cell.text(),
    };
    short(text(left)? + &text(right)?)
}

fn short(text: String) -> Computed {
    if text.len() <= LONGEST { Ok(Datum::Text(text)) } else { Err(Nothing::Unknown) }
}

/// A call of one of the functions that are known here.
fn computed_by(name: &str, cells: Vec<Datum>) -> Computed {
    let nulls = cells.iter().filter(|cell| **cell == Datum::Null).count();
    match name {
        "num_nulls" => return Ok(Datum::Whole(nulls as i64)),
        "num_nonnulls" => return Ok(Datum::Whole((cells.len() - nulls) as i64)),
        "concat" => {
            let texts = cells.into_iter().filter(|cell| *cell != Datum::Null).map(|cell| match cell {
                Datum::Whole(number) => Ok(number.to_string()),
                Datum::Real(number) => Ok(number.to_string()),
                Datum::Bool(truth) => Ok(if truth { "t" } else { "f" }.to_owned()),
                cell => cell.text(),
            });
            return short(texts.collect::<Result<String, _>>()?);
        }
        _ if nulls > 0 => return Ok(Datum::Null),
        _ => {}
    }
    let mut cells = cells.into_iter();
    let (first, second, third) = (cells.next().ok_or(Nothing::Unknown)?, cells.next(), cells.next());
    match (name, second, third, cells.next()) {
        ("abs" | "ceil" | "ceiling" | "floor" | "round" | "trunc" | "sign", None, None, None) => rounded(name, first),
        ("mod", Some(by), None, None) => arithmetic("%", &first, &by),
        ("strpos" | "position", Some(part), None, None) => {
            let (text, part) = (first.text()?, part.text()?);
            let before = text.find(&part).and_then(|at| text.get(..at));
            Ok(Datum::Whole(before.map_or(0, |before| before.chars().count() as i64 + 1)))
        }
        ("left" | "right" | "repeat" | "substr" | "substring", Some(number), None, None) => {
            cut(name, &first.text()?, number.whole()?)
        }
        ("substr" | "substring", Some(from), Some(length), None) => {
            let (text, from, length) = (first.text()?, from.whole()?, length.whole()?);
            let end = from.checked_add(length).filter(|_| length >= 0).ok_or(Nothing::Unknown)?;
            let chars = text.chars().zip(1i64..).filter(|(_, at)| (from..end).contains(at));
            Ok(Datum::Text(chars.map(|(c, _)| c).collect()))
        }
        ("replace", Some(from), Some(to), None) => {
            let (text, from, to) = (first.text()?, from.text()?, to.text()?);
            if from.is_empty() || to.len() > 64 { Err(Nothing::Unknown) } else { short(text.replace(&from, &to)) }
        }
        (name, None, None, None) => of_text(name, first),
        _ => Err(Nothing::Unknown),
    }
}

/// The operator that a function of two arguments stands for: `int4eq`, `textge`.
fn compares(name: &str) -> Option<&'static str> {
    let suffix =
        ["int2", "int4", "int8", "text", "bool", "float8", "numeric_"].iter().find_map(|of| name.strip_prefix(of))?;
    Some(match suffix {
        "eq" => "=",
        "ne" => "<>",
        "lt" => "<",
        "le" => "<=",
        "gt" => ">",
        "ge" => ">=",
        _ => return None,
    })
}

fn rounded(name: &str, cell: Datum) -> Computed {
    match (name, cell) {
        (_, Datum::Text(_) | Datum::Bool(_)) => Err(Nothing::Refused),
        ("abs", Datum::Whole(number)) => number.checked_abs().map(Datum::Whole).ok_or(Nothing::Fails),
        (_, Datum::Untyped(_) | Datum::Null) => Err(Nothing::Unknown),
        (_, cell) => {
            let number = cell.real()?;
            real(match name {
                "abs" => number.abs(),
                "ceil" | "ceiling" => number.ceil(),
                "floor" => number.floor(),
                "round" => number.round(),
                "trunc" => number.trunc(),
                _ if number == 0.0 => 0.0,
                _ => number.signum(),
            })
        }
    }
}

fn cut(name: &str, text: &str, number: i64) -> Computed {
    let count = usize::try_from(number).map_err(|_| Nothing::Unknown)?;
    let length = text.chars().count();
    match name {
        "left" => Ok(Datum::Text(text.chars().take(count).collect())),
        "right" => Ok(Datum::Text(text.chars().skip(length.saturating_sub(count)).collect())),
        // What is repeated is not among the rows.
        "repeat" if count < 2 => Ok(Datum::Text(text.repeat(count))),
        "substr" | "substring" => Ok(Datum::Text(text.chars().skip(count.saturating_sub(1)).collect())),
        _ => Err(Nothing::Unknown),
    }
}

fn of_text(name: &str, of: Datum) -> Computed {
    let whole = |number: usize| Datum::Whole(number as i64);
    let computed: fn(&str) -> String = match name {
        "length" | "char_length" | "character_length" => return Ok(whole(of.text()?.chars().count())),
        "octet_length" => return Ok(whole(of.text()?.len())),
        "bit_length" => return Ok(whole(of.text()?.len() * 8)),
        "lower" => str::to_lowercase,
        "upper" => str::to_uppercase,
        "reverse" => |text| text.chars().rev().collect(),
        "btrim" => |text| text.trim_matches(' ').to_owned(),
        "ltrim" => |text| text.trim_start_matches(' ').to_owned(),
        "rtrim" => |text| text.trim_end_matches(' ').to_owned(),
        _ => return Err(Nothing::Unknown),
    };
    Ok(Datum::Text(computed(&of.text()?)))
}
