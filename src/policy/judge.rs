//! The decision itself. Part of the policy room: total, pure, and every refusal names its rule.
//!
//! For each effect, in this order: a class in `deny`; a relation or function that is denied; a relation that is not among
//! the allowed ones; a change of `search_path` that rules lean on; text that relation and function rules cannot be applied to; a
//! change of how the server reads text; a class that `allow` does not cover; an extension that is not listed. Of several refused
//! effects the gravest is told. Grants lift "not in `allow`" and, for relations that they name, "not among the allowed ones"; every
//! other rule beats them.

use super::{Denial, Policy, Rule, Verdict, Widening, glob, scope, severity};
use crate::sql::settings::keeps_bare_names;
use crate::sql::{Class, Effect, Object, ObjectKind};

/// Whether a pattern of an `allow` list covers `class`. The full name of a class covers that class alone, so `transaction`
/// does not bring `transaction.two_phase` with it; a prefix that is no class covers all below it.
pub fn covers(pattern: &str, class: Class) -> bool {
    match Class::from_name(pattern) {
        Some(named) => named == class,
        None => class.matches(pattern),
    }
}

impl Policy {
    /// Judges a set of effects. Deny beats allow; what no rule allows is denied; no effects at all are allowed.
    pub fn judge<'a>(&self, effects: impl Iterator<Item = &'a Effect>) -> Verdict {
        self.judge_widened(effects, &[]).0
    }

    /// The same under grants. Gives which of them it passes by: of each effect that the policy alone refuses, the first that allows it.
    /// Several do not add up on one effect.
    pub fn judge_widened<'a, 'w>(
        &self,
        effects: impl Iterator<Item = &'a Effect>,
        grants: &'w [Widening],
    ) -> (Verdict, Vec<&'w Widening>) {
        let mut used: Vec<&Widening> = Vec::new();
        let refused = effects.filter_map(|effect| {
            let rule = self.refuses(effect, None)?;
            let Some(grant) = grants.iter().find(|grant| self.refuses(effect, Some(grant)).is_none()) else {
                return Some((effect, rule));
            };
            if !used.contains(&grant) {
                used.push(grant);
            }
            None
        });
        let verdict = self.verdict(refused);
        (verdict, used)
    }

    fn verdict<'a>(&self, refused: impl Iterator<Item = (&'a Effect, String)>) -> Verdict {
        match refused.min_by(|(one, _), (other, _)| severity::key(one).cmp(&severity::key(other))) {
            None => Verdict::Allow,
            Some((effect, rule)) => Verdict::Deny(Denial {
                effect: effect.clone(),
                grantable: self.refuses(effect, Some(&everything(effect))).is_none(),
                rule,
                read_only_violation: self.read_only && severity::is_write(effect.class),
            }),
        }
    }

    /// The rule that refuses `effect`, under a grant or without one, in words, if one does.
    fn refuses(&self, effect: &Effect, grant: Option<&Widening>) -> Option<String> {
        let unless = |lifted: fn(&Widening, &Effect) -> bool| !grant.is_some_and(|grant| lifted(grant, effect));
        self.denied_class(effect)
            .or_else(|| self.denied_object(effect))
            .or_else(|| self.outside_allowed_relations(effect).filter(|_| unless(widens_to)))
            .or_else(|| self.moves_search_path(effect))
            .or_else(|| self.beyond_the_rules(effect))
            .or_else(|| self.misleads(effect))
            .or_else(|| self.not_allowed(effect).filter(|_| unless(Widening::allows)))
            .or_else(|| self.unlisted_extension(effect))
    }

    fn denied_class(&self, effect: &Effect) -> Option<String> {
        self.denied_by(effect.class).map(|rule| told("deny", rule))
    }

    fn denied_object(&self, effect: &Effect) -> Option<String> {
        let object = effect.object.as_ref()?;
        let rules = match object.kind {
            ObjectKind::Relation => {
                find(&self.deny_relations, object, scope::denies).map(|rule| ("relations.deny", rule))
            }
            ObjectKind::Function if is_call(effect.class) => {
                find(&self.deny_functions, object, scope::denies).map(|rule| ("functions.deny", rule))
            }
            ObjectKind::Other if names_schema(effect) => {
                let covered = |pattern: &str, object: &Object| scope::denies_schema(pattern, &object.name);
                find(&self.deny_relations, object, covered).map(|rule| ("relations.deny", rule))
            }
            ObjectKind::Function | ObjectKind::Setting | ObjectKind::Other => None,
        };
        rules.map(|(list, rule)| told(list, rule))
    }

    fn outside_allowed_relations(&self, effect: &Effect) -> Option<String> {
        // A view that is allowed is there to show what lies below it; what is denied stays denied through views too.
        let object = effect.object.as_ref().filter(|object| object.kind == ObjectKind::Relation && !effect.inside)?;
        let first = self.allow_relations.first()?;
        match find(&self.allow_relations, object, scope::allows) {
            Some(_) => None,
            None => Some(format!("not in relations.allow (policy {}, {})", self.name, first.place)),
        }
    }

    /// A bare name means something else once `search_path` has moved, so rules that lean on it pin it. Emptied, or with
    /// `public` alone, it gives them no new meaning.
    fn moves_search_path(&self, effect: &Effect) -> Option<String> {
        let object = effect.object.as_ref().filter(|object| object.kind == ObjectKind::Setting)?;
        if effect.class != Class::SessionSetting
            || object.name != "search_path"
            || keeps_bare_names(&effect.act)
            || self.names(Class::SessionPinned)
        {
            return None;
        }
        let rule = scope::leans_on_search_path(self)?;
        Some(format!("search_path is pinned by \"{}\" ({})", rule.pattern, rule.place))
    }

    /// Relation and function rules cannot be applied to what is not understood: `"*"` is not enough to pass it then.
    fn beyond_the_rules(&self, effect: &Effect) -> Option<String> {
        let opaque = matches!(effect.class, Class::Unknown | Class::Unparsed);
        if !opaque || self.names(effect.class) {
            return None;
        }
        let lists = [&self.deny_relations, &self.allow_relations, &self.deny_functions];
        let rule = lists.into_iter().find_map(|list| list.first())?;
        Some(format!("\"{}\" ({}) cannot be applied to it", rule.pattern, rule.place))
    }

    /// What comes in the same write would be read otherwise than it was judged: `"*"` is enough only where nothing is ruled or
    /// limited. A RESET gives what the login was believed with.
    fn misleads(&self, effect: &Effect) -> Option<String> {
        let setting = effect.object.as_ref().filter(|object| object.kind == ObjectKind::Setting)?;
        let reads = matches!(setting.name.as_str(), "standard_conforming_strings" | "client_encoding");
        if effect.class != Class::SessionPinned || !reads || effect.act.starts_with("RESET") || !self.restrains() {
            return None;
        }
        self.allowed_by(effect.class)?;
        Some(format!("statements are judged as read without it (policy {})", self.name))
    }

    /// Whether something relies on texts being read as they are judged.
    pub fn relies_on_reading(&self) -> bool {
        !self.observe && self.restrains()
    }

    /// Whether anything at all is refused or limited.
    fn restrains(&self) -> bool {
        let lists = [&self.deny, &self.deny_relations, &self.allow_relations, &self.deny_functions];
        let limited = self.limits.max_affected_rows.is_some() || self.limits.lock_timeout.is_some();
        self.read_only || limited || !self.allows_everything() || lists.into_iter().any(|list| !list.is_empty())
    }

    fn not_allowed(&self, effect: &Effect) -> Option<String> {
        if self.allowed_by(effect.class).is_some() || self.allowed_call(effect) || self.keeps_books(effect) {
            return None;
        }
        Some(match self.allow.first() {
            Some(first) => format!("not in allow (policy {}, {})", self.name, first.place),
            None => format!("not in allow (policy {})", self.name),
        })
    }

    fn unlisted_extension(&self, effect: &Effect) -> Option<String> {
        if !effect.act.starts_with("CREATE EXTENSION") || self.allows_everything() {
            return None;
        }
        let name = effect.object.as_ref().map_or("", |object| object.name.as_str());
        match self.extensions.iter().any(|pattern| glob::matches(pattern, name)) {
            true => None,
            false => Some(format!("not in extensions (policy {})", self.name)),
        }
    }

    fn allowed_call(&self, effect: &Effect) -> bool {
        let Some(object) = effect.object.as_ref().filter(|object| object.kind == ObjectKind::Function) else {
            return false;
        };
        let covered: fn(&str, &Object) -> bool = match effect.class {
            Class::FunctionDangerous | Class::FunctionAdvisoryLock => scope::allows_everywhere,
            _ => scope::allows,
        };
        is_function_class(effect.class) && find(&self.allow_functions, object, covered).is_some()
    }

    /// Whether it changes every row of a table that is listed for just that.
    fn keeps_books(&self, effect: &Effect) -> bool {
        let whole = matches!(effect.class, Class::DestroyDeleteAll | Class::DestroyUpdateAll | Class::DestroyTruncate);
        let table = effect.object.as_ref().filter(|object| object.kind == ObjectKind::Relation);
        whole && table.is_some_and(|table| self.bookkeeping.iter().any(|name| glob::matches(name, &table.name)))
    }

    /// Whether `allow` names exactly this class.
    fn names(&self, class: Class) -> bool {
        self.allow.iter().any(|rule| rule.pattern == class.name())
    }
}

/// Whether a grant reaches beyond `relations.allow`: it has to name the relation.
fn widens_to(grant: &Widening, effect: &Effect) -> bool {
    grant.allows(effect) && grant.names(effect)
}

/// A grant as wide as one for this effect can be.
fn everything(effect: &Effect) -> Widening {
    Widening { grant: "".into(), classes: vec![effect.class], relations: Vec::new() }
}

fn find<'r>(rules: &'r [Rule], object: &Object, covered: impl Fn(&str, &Object) -> bool) -> Option<&'r Rule> {
    rules.iter().find(|rule| covered(&rule.pattern, object))
}

fn told(list: &str, rule: &Rule) -> String {
    format!("{list} \"{}\" ({})", rule.pattern, rule.place)
}

/// Calls, as opposed to DDL on a function.
fn is_call(class: Class) -> bool {
    is_function_class(class) || matches!(class, Class::Procedure | Class::SessionPinned | Class::SessionSetting)
}

fn is_function_class(class: Class) -> bool {
    matches!(
        class,
        Class::FunctionSafe | Class::FunctionVolatile | Class::FunctionAdvisoryLock | Class::FunctionDangerous
    )
}

/// Whether the effect's object is a schema: `DROP SCHEMA`, `GRANT … ON SCHEMA`, `… IN SCHEMA` (but not `ALTER TYPE … SET SCHEMA`,
/// whose object is the type).
fn names_schema(effect: &Effect) -> bool {
    let unqualified = effect.object.as_ref().is_some_and(|object| object.schema.is_none());
    let act = effect.act.as_ref();
    unqualified && (act.split(' ').nth(1) == Some("SCHEMA") || act.contains("IN SCHEMA") || act.contains("ON SCHEMA"))
}
