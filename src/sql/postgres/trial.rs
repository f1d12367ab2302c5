//! A condition tried on made-up rows: one that lets every row of them through restricts nothing, however it is spelled
//! (`id - id = 0`, `strpos(name, '') = 1`). Room of the postgres reader.
//!
//! The rows are made from the condition's own constants and their neighbours. What a column holds is not known here: each is
//! tried as whole numbers, as others, as texts and as booleans, and only the kinds count that the server would not refuse.
//! Rows prove nothing where a value may be met that none of them has, so nothing is claimed unless a column itself is
//! compared with a constant or another column, or what is computed compares alike for all of them ([`super::evaluate`]).

use std::cell::LazyCell;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use pg_query::{Node, NodeEnum};

use super::evaluate::{Datum, Nothing, Row, Tests, literal, parts, variable};
use super::target::Target;

/// Columns and parameters of a condition that is tried.
const MOST_VARIABLES: usize = 2;
/// Different constants of a condition that is tried.
const MOST_CONSTANTS: usize = 8;
/// Rows for one choice of kinds.
const MOST_ROWS: usize = 4096;
/// Parts of expressions that are computed for one text.
const MOST_STEPS: u32 = 100_000;
/// Queries that are looked into for one text.
const MOST_FOLLOWED: u32 = 20_000;
/// Numbers that are tried are less than this: as doubles they are exact, and so is what is near them.
const GREATEST: f64 = 1e15;

/// What a column or parameter is tried as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Whole,
    Real,
    Text,
    Bool,
}

const KINDS: [Kind; 4] = [Kind::Whole, Kind::Real, Kind::Text, Kind::Bool];

/// How much may still be looked at for the conditions of a text.
#[derive(Clone, Debug)]
pub(super) struct Steps {
    computed: Arc<AtomicU32>,
    followed: Arc<AtomicU32>,
}

impl Steps {
    pub(super) fn new() -> Steps {
        let of = |most: u32| Arc::new(AtomicU32::new(most));
        Steps { computed: of(MOST_STEPS), followed: of(MOST_FOLLOWED) }
    }

    /// One query more that is looked into. `None` when there were too many. What is computed does not count here: a costly
    /// condition must not keep another one from being looked at.
    pub(super) fn follow(&self) -> Option<()> {
        take(&self.followed, 1)
    }

    /// Takes some; `None` when there are not so many, and then none are left.
    pub(super) fn take(&self, steps: usize) -> Option<()> {
        take(&self.computed, u32::try_from(steps).unwrap_or(u32::MAX))
    }
}

fn take(of: &AtomicU32, steps: u32) -> Option<()> {
    let left = of.load(Ordering::Relaxed).checked_sub(steps);
    of.store(left.unwrap_or(0), Ordering::Relaxed);
    left.map(|_| ())
}

/// What came of the rows of one choice of kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// Every row is let through, but for what NULL lets nothing be known of and what the server fails at.
    All,
    /// Not every row is, or it cannot be known.
    Some,
    /// The server would refuse the condition.
    Refused,
}

/// Whether a condition lets every row through.
pub(super) fn passes_all(condition: &Node, target: &Target<'_>) -> bool {
    let mut found = Parts::default();
    if found.collect(condition, target).is_none() || found.variables.is_empty() {
        return false;
    }
    let found = &found;
    let pools = KINDS.map(|kind| LazyCell::new(move || found.pool(kind)));
    let mut found_all = false;
    for choice in 0..KINDS.len().pow(u32::try_from(found.variables.len()).unwrap_or(0)) {
        let mut rest = choice;
        let pool_of = |_: &String| {
            let pool = pools.get(rest % KINDS.len());
            rest /= KINDS.len();
            pool.map(|pool| pool.as_slice())
        };
        let chosen: Vec<&[Datum]> = found.variables.iter().filter_map(pool_of).collect();
        match try_rows(condition, target, &found.variables, &chosen) {
            Found::All => found_all = true,
            Found::Some => return false,
            Found::Refused => {}
        }
    }
    found_all
}

fn try_rows(condition: &Node, target: &Target<'_>, variables: &[String], pools: &[&[Datum]]) -> Found {
    let rows: usize = pools.iter().map(|pool| pool.len()).product();
    if rows > MOST_ROWS {
        return Found::Some;
    }
    let tests = Tests::default();
    let mut let_through = false;
    for row in 0..rows {
        let mut number = row;
        let datum_of = |pool: &&[Datum]| {
            let place = number % pool.len().max(1);
            number /= pool.len().max(1);
            pool.get(place).cloned()
        };
        let data: Vec<Datum> = pools.iter().filter_map(datum_of).collect();
        let row = Row { variables, data: &data, target, tests: &tests };
        match row.truth(condition) {
            Ok(Some(true)) => let_through = true,
            Ok(None) if data.contains(&Datum::Null) => {}
            Err(Nothing::Fails) => {}
            Err(Nothing::Refused) => return Found::Refused,
            Ok(Some(false) | None) | Err(Nothing::Unknown) => return Found::Some,
        }
    }
    if let_through && !tests.in_doubt() { Found::All } else { Found::Some }
}

/// What a condition is made of.
#[derive(Default)]
struct Parts {
    /// Columns and parameters.
    variables: Vec<String>,
    numbers: Vec<f64>,
    texts: Vec<String>,
}

impl Parts {
    /// `None` if there is too much of it to try it.
    fn collect(&mut self, condition: &Node, target: &Target<'_>) -> Option<()> {
        let mut open = vec![condition];
        while let Some(node) = open.pop() {
            target.steps.take(1)?;
            if let Some(name) = variable(node, target)
                && !self.variables.contains(&name)
            {
                self.variables.push(name);
            }
            if let Some(NodeEnum::AConst(constant)) = &node.node {
                self.constant(literal(constant)?)?;
            }
            if self.variables.len() > MOST_VARIABLES || self.numbers.len() + self.texts.len() > MOST_CONSTANTS {
                return None;
            }
            open.extend(parts(node));
        }
        Some(())
    }

    fn constant(&mut self, constant: Datum) -> Option<()> {
        let number = match constant {
            Datum::Whole(number) => Some(number as f64),
            Datum::Real(number) => Some(number),
            Datum::Untyped(text) => {
                let number = text.trim().parse::<f64>().ok().filter(|number| number.is_finite());
                if !self.texts.contains(&text) {
                    self.texts.push(text);
                }
                number
            }
            Datum::Null | Datum::Bool(_) | Datum::Text(_) => None,
        };
        let Some(number) = number else { return Some(()) };
        if !self.numbers.contains(&number) {
            self.numbers.push(number);
        }
        (number.abs() < GREATEST).then_some(())
    }

    /// What a column of this kind is tried with.
    fn pool(&self, kind: Kind) -> Vec<Datum> {
        let whole = |number: f64| Datum::Whole(number as i64);
        let mut data: Vec<Datum> = match kind {
            Kind::Whole => {
                let numbers = self.numbers().into_iter().filter(|number| number.fract() == 0.0);
                numbers.chain([4e18, -4e18]).map(whole).collect()
            }
            Kind::Real => {
                let halves = self.numbers.iter().map(|number| number + 0.5);
                self.numbers().into_iter().chain(halves).chain([0.5, -2.25]).map(Datum::Real).collect()
            }
            Kind::Text => {
                let texts = ["", "a", "Zz b", "0", " ", "ä"].into_iter().map(str::to_owned);
                texts.chain(self.texts.iter().cloned()).map(Datum::Text).collect()
            }
            Kind::Bool => vec![Datum::Bool(true), Datum::Bool(false)],
        };
        data.push(Datum::Null);
        data
    }

    /// Those first that decide most conditions.
    fn numbers(&self) -> Vec<f64> {
        let mut numbers = vec![0.0, 1.0, -1.0, 2.0, 7.0, 10.0, -1000.0, 1_000_003.0, 3e9, -3e9];
        for number in &self.numbers {
            numbers.extend([*number, number - 1.0, number + 1.0, -number]);
            for other in &self.numbers {
                numbers.extend([number + other, number - other, number * other, f64::midpoint(*number, *other)]);
                numbers.extend((*other != 0.0).then(|| number / other));
            }
        }
        let mut seen = BTreeSet::new();
        numbers.retain(|number| number.abs() < GREATEST && seen.insert(number.to_bits()));
        numbers
    }
}
