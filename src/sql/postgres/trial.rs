//! A condition tried on made-up rows: one that lets every row of them through restricts nothing, however it is spelled
//! (`id - id = 0`, `strpos(name, '') = 1`). Room of the postgres reader.
//!
//! The rows are made from the condition's own constants and their neighbours, so that whatever compares with a constant lets
//! some rows through and others not. What a column holds is not known here: each is tried as whole numbers, as others, as
//! texts and as booleans, and only the kinds count that the server would not refuse. Nothing is claimed of a condition
//! that has a part which is not computed here, unless the outcome does not depend on it.

use std::cell::LazyCell;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use pg_query::{Node, NodeEnum};

use super::evaluate::{Datum, Nothing, Row, literal, parts, variable};
use super::target::Target;

/// More columns and parameters than this are not tried.
const MOST_VARIABLES: usize = 3;
/// Constants that rows are made from.
const MOST_CONSTANTS: usize = 8;
/// Rows for one choice of kinds.
const MOST_ROWS: usize = 1024;
/// Parts of expressions that are computed for one text.
const MOST_STEPS: u32 = 1_000_000;
/// The longest text that is made up.
const LONGEST_TEXT: i64 = 1024;

/// What a column or parameter is tried as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Whole,
    Real,
    Text,
    Bool,
}

/// How much of expressions may still be computed to try the conditions of a text.
#[derive(Clone, Debug)]
pub(super) struct Steps(Arc<AtomicU32>);

impl Steps {
    pub(super) fn new() -> Steps {
        Steps(Arc::new(AtomicU32::new(MOST_STEPS)))
    }

    /// Takes some; `None` when there are not so many.
    pub(super) fn take(&self, steps: u32) -> Option<()> {
        let left = self.0.load(Ordering::Relaxed).checked_sub(steps)?;
        self.0.store(left, Ordering::Relaxed);
        Some(())
    }
}

const KINDS: [Kind; 4] = [Kind::Whole, Kind::Real, Kind::Text, Kind::Bool];

/// What came of the rows of one choice of kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// Every row is let through, but for what NULL lets nothing be known of.
    All,
    /// Not every row is.
    Some,
    /// The server would refuse the condition.
    Refused,
}

/// Whether a condition lets every row through.
pub(super) fn passes_all(condition: &Node, target: &Target<'_>) -> bool {
    let mut variables = Vec::new();
    collect(condition, target, &mut variables);
    if variables.is_empty() || variables.len() > MOST_VARIABLES {
        return false;
    }
    let constants = &Constants::of(condition);
    let pools = KINDS.map(|kind| LazyCell::new(move || constants.pool(kind)));
    let mut found_all = false;
    for choice in 0..KINDS.len().pow(u32::try_from(variables.len()).unwrap_or(0)) {
        let mut rest = choice;
        let pool_of = |_: &String| {
            let pool = pools.get(rest % KINDS.len());
            rest /= KINDS.len();
            pool.map(|pool| pool.as_slice())
        };
        let chosen: Vec<&[Datum]> = variables.iter().filter_map(pool_of).collect();
        match try_rows(condition, target, &variables, &chosen) {
            // A text so long that it would matter is not among the rows.
            Found::All if constants.has_length() && chosen.iter().any(|pool| has_texts(pool)) => return false,
            Found::All => found_all = true,
            Found::Some => return false,
            Found::Refused => {}
        }
    }
    found_all
}

fn has_texts(pool: &[Datum]) -> bool {
    matches!(pool.first(), Some(Datum::Text(_)))
}

fn try_rows(condition: &Node, target: &Target<'_>, variables: &[String], pools: &[&[Datum]]) -> Found {
    let mut let_through = false;
    for places in Places::of(pools) {
        let cells: Vec<&Datum> = pools.iter().zip(&places).filter_map(|(pool, place)| pool.get(*place)).collect();
        let with_null = cells.iter().any(|cell| **cell == Datum::Null);
        let row = Row { variables, cells: &cells, target };
        match row.truth(condition) {
            Ok(Some(true)) => let_through = true,
            Ok(None) if with_null => {}
            Err(Nothing::Refused) => return Found::Refused,
            Ok(Some(false) | None) | Err(Nothing::Unknown) => return Found::Some,
        }
    }
    if let_through { Found::All } else { Found::Some }
}

/// Which cell of each pool makes a row: all combinations where those are few, otherwise those of like places and some of the
/// others.
struct Places {
    lengths: Vec<usize>,
    all: usize,
    next: usize,
    state: usize,
}

impl Places {
    fn of(pools: &[&[Datum]]) -> Places {
        let lengths: Vec<usize> = pools.iter().map(|pool| pool.len()).collect();
        Places { all: lengths.iter().product(), lengths, next: 0, state: 1 }
    }
}

impl Iterator for Places {
    type Item = Vec<usize>;

    fn next(&mut self) -> Option<Vec<usize>> {
        let at = self.next;
        self.next += 1;
        let alike = self.lengths.iter().copied().max().unwrap_or_default();
        if at >= self.all.min(MOST_ROWS) {
            return None;
        }
        let mut number = at;
        if self.all > MOST_ROWS {
            if at < alike {
                return Some(self.lengths.iter().map(|length| at % length).collect());
            }
            // Knuth's MMIX; the high bits are the better ones.
            self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            number = self.state >> 20;
        }
        let place = |length: &usize| {
            let place = number % length;
            number /= length;
            place
        };
        Some(self.lengths.iter().map(place).collect())
    }
}

/// The columns and parameters of an expression.
fn collect(node: &Node, target: &Target<'_>, found: &mut Vec<String>) {
    if let Some(name) = variable(node, target)
        && !found.contains(&name)
    {
        found.push(name);
    }
    if found.len() <= MOST_VARIABLES {
        parts(node).into_iter().for_each(|part| collect(part, target, found));
    }
}

/// A condition's constants.
#[derive(Default)]
struct Constants {
    numbers: Vec<f64>,
    texts: Vec<String>,
}

impl Constants {
    fn of(condition: &Node) -> Constants {
        let mut constants = Constants::default();
        let mut open = vec![condition];
        while let Some(node) = open.pop() {
            if let Some(NodeEnum::AConst(constant)) = &node.node {
                match literal(constant) {
                    Some(Datum::Whole(number)) => constants.numbers.push(number as f64),
                    Some(Datum::Real(number)) => constants.numbers.push(number),
                    Some(Datum::Untyped(text)) => {
                        constants.numbers.extend(text.trim().parse::<f64>().ok().filter(|number| number.is_finite()));
                        constants.texts.push(text);
                    }
                    _ => {}
                }
            }
            open.extend(parts(node));
        }
        constants.numbers.truncate(MOST_CONSTANTS);
        constants.texts.truncate(MOST_CONSTANTS);
        constants
    }

    /// Whether a number among them may be the length of a text that is too long to be made up.
    fn has_length(&self) -> bool {
        self.numbers.iter().any(|number| *number > LONGEST_TEXT as f64)
    }

    /// The cells that a column of this kind is tried with.
    fn pool(&self, kind: Kind) -> Vec<Datum> {
        let mut cells = match kind {
            Kind::Whole => {
                self.numbers().into_iter().filter(|number| number.fract() == 0.0).map(Datum::of_whole).collect()
            }
            Kind::Real => {
                let halves = self.numbers.iter().map(|number| number + 0.5);
                self.numbers().into_iter().chain(halves).chain([0.5, -2.25]).map(Datum::Real).collect()
            }
            Kind::Text => self.texts().into_iter().map(Datum::Text).collect(),
            Kind::Bool => vec![Datum::Bool(true), Datum::Bool(false)],
        };
        cells.push(Datum::Null);
        cells
    }

    /// Few at first, so that most conditions are decided by the first rows.
    fn numbers(&self) -> Vec<f64> {
        let mut numbers = vec![0.0, 1.0, -1.0, 2.0, 7.0, 10.0, 101.0, -1000.0, 1_000_003.0, 3e9, -3e9];
        for number in &self.numbers {
            numbers.extend([*number, number - 1.0, number + 1.0, -number]);
            for other in &self.numbers {
                numbers.extend([number + other, number - other, number * other]);
                numbers.extend((*other != 0.0).then(|| number / other));
            }
        }
        let mut seen = BTreeSet::new();
        numbers.retain(|number| number.abs() < 1e15 && seen.insert(number.to_bits()));
        numbers
    }

    fn texts(&self) -> Vec<String> {
        let mut texts: Vec<String> = ["", "a", "Zz b", "0", "17", " ", "ä"].map(str::to_owned).into();
        let lengths =
            self.numbers.iter().map(|number| *number as i64).filter(|length| (1..=LONGEST_TEXT).contains(length));
        for length in lengths.clone() {
            texts.extend([length, length + 1].map(|length| "x".repeat(usize::try_from(length).unwrap_or(0))));
        }
        for text in self.texts.iter().filter(|text| text.len() <= 256) {
            let plain: String = text.chars().filter(|c| *c != '%').map(|c| if c == '_' { 'a' } else { c }).collect();
            let before = lengths.clone().filter(|length| *length <= 64);
            texts
                .extend(before.map(|length| format!("{}{text}", "x".repeat(usize::try_from(length - 1).unwrap_or(0)))));
            texts.extend([text.to_lowercase(), text.to_uppercase(), text.trim().to_owned(), format!("{text}a")]);
            texts.extend([text.chars().rev().collect(), plain, text.clone()]);
            // What two columns with something between them would hold.
            texts.extend(text.split(|c: char| !c.is_alphanumeric()).take(4).map(str::to_owned));
        }
        let mut seen = BTreeSet::new();
        texts.retain(|text| seen.insert(text.clone()));
        texts
    }
}
