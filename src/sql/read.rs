//! Both readers over one text, and the union of what they saw. Room of the union.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use super::effect::{Class, Effect, Object, Origin};
use super::limits::{self, Limits, OverLimit};
use super::reading::Reading;
use super::settings::keeps_bare_names;
use super::{generic, postgres, stack};

/// Reads a text both ways.
///
/// # Errors
///
/// When the text is over a limit: no parser has seen it then.
pub fn read(text: &str, limits: &Limits) -> Result<Reading, OverLimit> {
    let depth = limits::measure(text, limits)?;
    Ok(stack::deep_enough(depth, || both(text)).unwrap_or_else(|| unread(text)))
}

/// What pg_dump sends first (`set_restrict_relation_kind` in its source), and the same with the setting named by a constant:
/// a setting that is named by a column is otherwise not known from the text. Known word for word only.
const PG_DUMP_SETS: [(&str, &str); 2] = [
    (
        "SELECT set_config(name, 'view, foreign-table', false) FROM pg_settings WHERE name = 'restrict_nonsystem_relation_kind'",
        "SELECT set_config('restrict_nonsystem_relation_kind', 'view, foreign-table', false) FROM pg_settings",
    ),
    (
        "SELECT set_config(name, 'view', false) FROM pg_settings WHERE name = 'restrict_nonsystem_relation_kind'",
        "SELECT set_config('restrict_nonsystem_relation_kind', 'view', false) FROM pg_settings",
    ),
];

fn both(text: &str) -> Reading {
    match PG_DUMP_SETS.iter().find(|(sent, _)| *sent == text) {
        None => as_written(text),
        Some((sent, same)) => {
            let mut reading = as_written(same);
            reading.statements.iter_mut().for_each(|statement| statement.range = 0..sent.len());
            reading
        }
    }
}

fn as_written(text: &str) -> Reading {
    let postgres = postgres::read_here(text);
    let generic = generic::read(text);
    let both_read = generic.read && postgres.syntax_error.is_none();
    let disagree = both_read && classes(&postgres.effects) != classes(&generic.effects);
    let effects = union(postgres.effects, if generic.read { generic.effects } else { Vec::new() });
    Reading {
        statements: postgres.statements,
        effects,
        sqlparser_read: generic.read,
        disagree,
        syntax_error: postgres.syntax_error,
        loose: postgres.loose,
    }
}

/// A text that no reader could be run on.
fn unread(text: &str) -> Reading {
    let postgres = postgres::unreadable(text);
    let effects = union(postgres.effects, Vec::new());
    Reading { effects, syntax_error: postgres.syntax_error, ..Reading::default() }
}

fn classes(effects: &[Effect]) -> BTreeSet<Class> {
    effects.iter().map(|effect| effect.class).collect()
}

/// What makes two effects the same: class and object, and whether `search_path` leaves bare names alone or moves them, which policy tells apart.
type Sameness = (Class, Option<Object>, bool);

fn sameness(effect: &Effect) -> Sameness {
    (effect.class, effect.object.clone(), keeps_bare_names(&effect.act))
}

/// Effects of both readers, sorted, each once; the postgres reader's words are kept.
pub(super) fn union(postgres: Vec<Effect>, generic: Vec<Effect>) -> Vec<(Effect, Origin)> {
    let mut seen: BTreeMap<Sameness, (Effect, Origin)> = BTreeMap::new();
    for effect in postgres {
        let same = sameness(&effect);
        match seen.get(&same) {
            // What a statement does is told before what another one names beside.
            Some((known, _)) if effect.accompanies || !known.accompanies => {}
            Some(_) | None => {
                seen.insert(same, (effect, Origin::Postgres));
            }
        }
    }
    for effect in generic {
        seen.entry(sameness(&effect))
            .and_modify(|(_, origin)| {
                if *origin == Origin::Postgres {
                    *origin = Origin::Both;
                }
            })
            .or_insert((effect, Origin::Sqlparser));
    }
    seen.into_values().collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn settings(text: &str) -> Vec<(Class, String)> {
        let reading = read(text, &Limits::default()).unwrap();
        let set = |class| matches!(class, Class::SessionSetting | Class::SessionPinned);
        reading.effects.into_iter().filter(|(e, _)| set(e.class)).map(|(e, _)| (e.class, e.act.into_owned())).collect()
    }

    #[test]
    fn emptying_search_path_does_not_hide_moving_it() {
        let emptied = (Class::SessionSetting, "SET search_path TO ''".to_owned());
        let public = (Class::SessionSetting, "SET search_path TO public".to_owned());
        let moved = (Class::SessionSetting, "SET search_path".to_owned());
        for alone in ["SET search_path = ''", "SELECT pg_catalog.set_config('search_path', '', false)"] {
            assert_eq!(settings(alone), std::slice::from_ref(&emptied), "{alone}");
        }
        for alone in [
            "SET search_path = public",
            "SET search_path TO \"public\"",
            "SET LOCAL search_path TO 'public'",
            "SELECT set_config('search_path', 'public', false)",
        ] {
            assert_eq!(settings(alone), std::slice::from_ref(&public), "{alone}");
        }
        for moves in [
            "SET search_path = public, auth",
            "SET search_path = \"$user\", public",
            "SET search_path = 'public, auth'",
            "SET search_path = \"PUBLIC\"",
            "SELECT set_config('search_path', 'public, auth', false)",
            "SELECT set_config('search_path', 'public'::char(3), false)",
        ] {
            assert!(!settings(moves).contains(&public), "{moves}");
        }
        for both in [
            "SET search_path = ''; SET search_path = auth",
            "SELECT set_config('search_path', '', false), set_config('search_path', 'auth', false)",
        ] {
            let found = settings(both);
            assert!(found.contains(&emptied) && found.contains(&moved), "{both}: {found:?}");
        }
        for moves in
            ["SET search_path = '', auth", "SET search_path = ' '", "SELECT set_config('search_path', $1, false)"]
        {
            assert!(!settings(moves).contains(&emptied), "{moves}");
        }
    }

    #[test]
    fn what_a_statement_does_is_kept_over_what_another_names() {
        let text = "ALTER TABLE a ADD FOREIGN KEY (x) REFERENCES b; ALTER TABLE b ADD FOREIGN KEY (y) REFERENCES a";
        let reading = read(text, &Limits::default()).unwrap();
        let mut locking: Vec<_> = reading.effects.iter().map(|(effect, _)| effect).collect();
        locking.retain(|effect| effect.class == Class::DdlLocking);
        assert_eq!(locking.len(), 2);
        assert!(locking.iter().all(|effect| !effect.accompanies && effect.hint.is_some()), "{locking:?}");
    }

    #[test]
    fn only_pg_dump_s_own_words_name_a_setting_by_a_column() {
        for (sent, _) in PG_DUMP_SETS {
            let ordinary = (Class::SessionSetting, "SET restrict_nonsystem_relation_kind".to_owned());
            assert_eq!(settings(sent), [ordinary], "{sent}");
            let reading = read(sent, &Limits::default()).unwrap();
            assert_eq!(reading.statements.first().map(|statement| statement.range.clone()), Some(0..sent.len()));
            for other in [sent.replace("view", "off"), format!("{sent} OR true"), sent.replace("restrict_", "")] {
                assert!(settings(&other).iter().any(|(class, _)| *class == Class::SessionPinned), "{other}");
            }
        }
    }
}
