//! A file of statements, read one by one: what each would do, what came before it in the file being known.
//!
//! The proxy judges a text as a whole; a person who reviews a migration wants every statement's effects at their place.

use std::ops::Range;

use super::effect::{Effect, Origin, Span};
use super::limits::{self, Limits, OverLimit};
use super::read::union;
use super::reading::SyntaxError;
use super::{generic, postgres, stack};

/// One statement of a script.
#[derive(Clone, Debug)]
pub struct Step {
    /// Its bytes in the script.
    pub range: Range<usize>,
    /// What both readers saw in it, each effect pointing into the script.
    pub effects: Vec<(Effect, Origin)>,
    /// PostgreSQL's syntax error, its offset counted from the script's beginning, if its grammar cannot read the statement.
    pub syntax_error: Option<SyntaxError>,
    /// Whether sqlparser could read it.
    pub sqlparser_read: bool,
}

/// Reads a script. Where its grammar breaks somewhere, the statements that can be read are read, each by itself.
///
/// # Errors
///
/// When the script is over a limit: no parser has seen it then.
pub fn read(text: &str, limits: &Limits) -> Result<Vec<Step>, OverLimit> {
    let depth = limits::measure(text, limits)?;
    let steps = stack::deep_enough(depth, || match postgres::read_each(text) {
        Some(statements) => whole(text, statements),
        None => postgres::cut(text).into_iter().map(|range| alone(text, range)).collect(),
    });
    Ok(steps.unwrap_or_else(|| vec![alone(text, 0..text.len())]))
}

fn whole(text: &str, statements: Vec<(Range<usize>, Vec<Effect>)>) -> Vec<Step> {
    let mut script = generic::Script::default();
    let step = |(range, effects): (Range<usize>, Vec<Effect>)| {
        let statement = text.get(range.clone()).unwrap_or_default();
        // The last one of a text goes on to the end.
        let range = range.start..range.start + statement.trim_end().len();
        joined(range, effects, script.read(statement))
    };
    statements.into_iter().map(step).collect()
}

fn joined(range: Range<usize>, effects: Vec<Effect>, generic: generic::GenericReading) -> Step {
    let sqlparser_read = generic.read;
    let mut effects = union(effects, if sqlparser_read { generic.effects } else { Vec::new() });
    for (effect, _) in &mut effects {
        let span = effect.span.get_or_insert(Span { start: range.start, end: range.end });
        span.end = span.end.min(range.end).max(span.start);
    }
    Step { range, effects, syntax_error: None, sqlparser_read }
}

/// A statement of a script that cannot be read as a whole.
fn alone(text: &str, range: Range<usize>) -> Step {
    let statement = text.get(range.clone()).unwrap_or_default();
    let mut postgres = postgres::read(statement);
    for span in postgres.effects.iter_mut().filter_map(|effect| effect.span.as_mut()) {
        *span = Span { start: span.start + range.start, end: span.end + range.start };
    }
    let error = postgres.syntax_error.take();
    let step = joined(range.clone(), postgres.effects, generic::read(statement));
    let moved = |error: SyntaxError| SyntaxError { offset: error.offset.map(|at| at + range.start), ..error };
    Step { syntax_error: error.map(moved), ..step }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(text: &str) -> Vec<(&str, Vec<&'static str>)> {
        let steps = read(text, &Limits::default()).unwrap_or_default();
        let names = |step: &Step| step.effects.iter().map(|(effect, _)| effect.class.name()).collect();
        steps.iter().map(|step| (text.get(step.range.clone()).unwrap_or_default(), names(step))).collect()
    }

    #[test]
    fn every_statement_has_its_own_effects_and_knows_what_was_made_before() {
        let text =
            "CREATE TABLE t (a int);\nCREATE INDEX ON t (a);\nCREATE INDEX ON u (a);\nDELETE FROM u; DELETE FROM u";
        let found = steps(text);
        let classes: Vec<_> = found.iter().map(|(_, classes)| classes.as_slice()).collect();
        assert_eq!(
            classes,
            [
                &["ddl.additive"][..],
                &["ddl.additive"],
                &["ddl.locking"],
                &["destroy.delete_all"],
                &["destroy.delete_all"]
            ]
        );
        assert_eq!(found.last().map(|(text, _)| *text), Some("DELETE FROM u"));
    }

    #[test]
    fn a_broken_statement_does_not_hide_the_others() {
        let found = steps("SELECT 1; SELEC 2; DROP TABLE t");
        let classes: Vec<_> = found.iter().flat_map(|(_, classes)| classes.clone()).collect();
        assert_eq!(classes, ["read", "unparsed", "ddl.destructive"]);
    }
}
