//! What a policy says to each class of effects, for people: the cells of a picture. Part of the policy room.

use serde::Serialize;

use super::{Policy, Rule};
use crate::sql::Class;

/// What a policy says to one class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cell {
    /// The class: `ddl.destructive`.
    pub class: &'static str,
    /// Whether the class is allowed. Relation and function rules may still refuse single statements.
    pub allowed: bool,
    /// The rule that decides: `allow "write"`, `deny "destroy"`, or that none allows it.
    pub rule: String,
    /// Where the rule stands: `pgwarden.toml:31`, `built in`; where no rule decides, where `allow` begins.
    pub place: String,
}

/// A rule about relations, functions or extensions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Named {
    /// The list: `relations.deny`.
    pub list: &'static str,
    /// The pattern as written.
    pub pattern: String,
    /// Where it stands; empty where that is not known.
    pub place: String,
}

impl Policy {
    /// What it says to each class, in the order of the reference.
    pub fn cells(&self) -> Vec<Cell> {
        Class::ALL.iter().map(|class| self.cell(*class)).collect()
    }

    fn cell(&self, class: Class) -> Cell {
        let cell = |allowed, rule: Option<(&str, &Rule)>| Cell {
            class: class.name(),
            allowed,
            rule: rule.map_or_else(
                || format!("not in allow (policy {})", self.name),
                |(list, rule)| format!("{list} \"{}\"", rule.pattern),
            ),
            place: rule
                .map(|(_, rule)| rule)
                .or(self.allow.first())
                .map(|rule| rule.place.to_string())
                .unwrap_or_default(),
        };
        match (self.denied_by(class), self.allowed_by(class)) {
            (Some(rule), _) => cell(false, Some(("deny", rule))),
            (None, Some(rule)) => cell(true, Some(("allow", rule))),
            (None, None) => cell(false, None),
        }
    }

    /// The rules about relations, functions and extensions.
    pub fn named_rules(&self) -> Vec<Named> {
        let lists = [
            ("relations.allow", &self.allow_relations),
            ("relations.deny", &self.deny_relations),
            ("functions.allow", &self.allow_functions),
            ("functions.deny", &self.deny_functions),
        ];
        let named = |list, rule: &Rule| Named { list, pattern: rule.pattern.clone(), place: rule.place.to_string() };
        let rules = lists.into_iter().flat_map(|(list, rules)| rules.iter().map(move |rule| named(list, rule)));
        let extension = |pattern: &String| Named { list: "extensions", pattern: pattern.clone(), place: String::new() };
        rules.chain(self.extensions.iter().map(extension)).collect()
    }

    /// Its limits, as the configuration names and writes them.
    pub fn limits_shown(&self) -> Vec<(&'static str, String)> {
        let limits = &self.limits;
        let times = [
            ("statement_timeout", limits.statement_timeout),
            ("lock_timeout", limits.lock_timeout),
            ("idle_in_transaction_timeout", limits.idle_in_transaction_timeout),
            ("transaction_timeout", limits.transaction_timeout),
            ("max_session_duration", limits.max_session_duration),
        ];
        let counts = [
            ("max_result_rows", limits.max_result_rows),
            ("max_result_bytes", limits.max_result_bytes),
            ("max_affected_rows", limits.max_affected_rows),
        ];
        let times = times.into_iter().filter_map(|(name, time)| Some((name, format!("{:?}", time?))));
        times.chain(counts.into_iter().filter_map(|(name, count)| Some((name, count?.to_string())))).collect()
    }
}
