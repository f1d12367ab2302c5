//! A denial in the words of the person who meets it (DESIGN.md §6). Part of the policy room.

use super::{Denial, Policy};
use crate::sql::{Class, Effect, Object, ObjectKind};

/// What the client is told: the fields of a Postgres ErrorResponse that pgwarden fills.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What was refused, for which role and where.
    pub message: String,
    /// The effect and the rule that decided.
    pub detail: String,
    /// What the person can do.
    pub hint: String,
    /// `25006` for a write under a read-only policy, `42601` for text that cannot be parsed, `42501` otherwise.
    pub sqlstate: &'static str,
}

/// Where the refused statement stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The line of the text, from 1.
    pub line: usize,
    /// The statement's number in the text, from 1.
    pub statement: usize,
    /// How many statements the text has.
    pub statements: usize,
    /// The migration that the text itself names.
    pub migration: Option<String>,
}

impl Place {
    /// What is said after a refusal's message: where in a text of several statements, and in which migration. `noted` is the
    /// one that the session is known to be at, where the text names none.
    pub fn words(&self, noted: Option<&str>) -> String {
        let migration = self.migration.as_deref().or(noted);
        let statement = (self.statements > 1).then(|| format!("statement {} of {}", self.statement, self.statements));
        if migration.is_none() && statement.is_none() {
            return String::new();
        }
        let named = migration.map(|name| format!("migration `{}`", printable(name)));
        let line = Some(format!("line {} of the text", self.line));
        format!(" ({})", [named, statement, line].into_iter().flatten().collect::<Vec<_>>().join(", "))
    }
}

impl Policy {
    /// Words a denial for a session of `role` in `environment`; whoever answers adds the audit id to the detail.
    pub fn message(&self, denial: &Denial, role: &str, environment: &str) -> Refusal {
        let act = printable(&act(&denial.effect));
        Refusal {
            message: format!("pgwarden: {act} is not allowed for role `{role}` in `{environment}`"),
            detail: format!("Effect {}; rule: {}.", denial.effect.class.name(), denial.rule),
            hint: self.hint_for(denial),
            sqlstate: sqlstate(denial),
        }
    }

    fn hint_for(&self, denial: &Denial) -> String {
        match &denial.effect.hint {
            Some(hint) => printable(hint),
            None if denial.read_only_violation => READ_ONLY_HINT.to_owned(),
            None if denial.rule.starts_with("not in extensions") => EXTENSION_HINT.to_owned(),
            None => class_hint(denial.effect.class).to_owned(),
        }
    }
}

const READ_ONLY_HINT: &str =
    "This role only reads here. Use a role that may write, or bring the change in through the migration pipeline.";

const EXTENSION_HINT: &str = "Extensions that may be created are listed in the policy's `extensions`.";

fn sqlstate(denial: &Denial) -> &'static str {
    match (denial.effect.class, denial.read_only_violation) {
        (Class::Unparsed, _) => "42601",
        (_, true) => "25006",
        (_, false) => "42501",
    }
}

/// The act and what it touches: ``DROP TABLE on `public.orders` ``. An act that already says the name stays as it is.
fn act(effect: &Effect) -> String {
    match &effect.object {
        Some(object) if !says_name(&effect.act, object) => {
            format!("{} {} `{object}`", effect.act, preposition(object.kind))
        }
        Some(_) | None => effect.act.to_string(),
    }
}

fn preposition(kind: ObjectKind) -> &'static str {
    match kind {
        ObjectKind::Relation | ObjectKind::Other => "on",
        ObjectKind::Function | ObjectKind::Setting => "of",
    }
}

fn says_name(act: &str, object: &Object) -> bool {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
    act.match_indices(object.name.as_str()).any(|(at, name)| {
        let before = act.get(..at).and_then(|text| text.chars().next_back());
        let after = act.get(at + name.len()..).and_then(|text| text.chars().next());
        !before.is_some_and(part_of_word) && !after.is_some_and(part_of_word)
    })
}

/// Names come from the client: control characters and direction marks are shown as escapes, not sent to a terminal.
fn printable(text: &str) -> String {
    let hostile = |c: char| {
        c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        match hostile(c) {
            true => out.extend(c.escape_unicode()),
            false => out.push(c),
        }
        out
    })
}

/// What a person can do about a class of effect when the effect itself brings no better advice.
const fn class_hint(class: Class) -> &'static str {
    match class {
        Class::Read => "This role may not read that here. Ask for a role that may.",
        Class::WriteInsert | Class::WriteUpdate | Class::WriteDelete | Class::WriteMerge | Class::WriteCopy => {
            "Use a role that may write here, or bring the change in through the migration pipeline."
        }
        Class::WriteLock => "Leave out FOR UPDATE, FOR SHARE or LOCK, or use a role that may write here.",
        Class::DestroyDeleteAll => "Add a WHERE clause that restricts the DELETE to the rows that are meant.",
        Class::DestroyUpdateAll => "Add a WHERE clause that restricts the UPDATE to the rows that are meant.",
        Class::DestroyTruncate => "Use DELETE with a WHERE clause, or a role that may empty tables here.",
        Class::DdlAdditive | Class::DdlLocking | Class::Privilege => {
            "Bring the change in through the migration pipeline, or use a role that may change the schema here."
        }
        Class::DdlDestructive => {
            "Changes that lose data or names need a role that may make them here, and a second look."
        }
        Class::FunctionSafe | Class::FunctionVolatile => {
            "Functions that may be called are listed in the policy: add this one to functions.allow if it is harmless."
        }
        Class::FunctionAdvisoryLock => {
            "Advisory locks leak through a pooler. Use a role for migrations on the direct endpoint."
        }
        Class::FunctionDangerous | Class::Server => {
            "It reaches beyond the database's own data: files, programs, other sessions or other servers."
        }
        Class::SessionSetting => "This role may not change settings here.",
        Class::SessionIdentity => "Log in as a user that has the role that is needed.",
        Class::SessionPinned => "pgwarden relies on this setting and keeps it as it is.",
        Class::Transaction => "This role may not control transactions here.",
        Class::TransactionTwoPhase => "Use an ordinary transaction.",
        Class::Maintenance => "Maintenance needs a role that may do it here, on the direct endpoint.",
        Class::Procedure => "Write the statements out so that they can be judged one by one.",
        Class::Notify => "LISTEN and NOTIFY need a role that may use them here.",
        Class::Unknown => "pgwarden does not know this statement, so it does not pass it on.",
        Class::Unparsed => "pgwarden could not read this text, so it does not pass it on. Check the syntax.",
    }
}
