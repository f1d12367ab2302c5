//! What may be asked for, and what giving it would mean: held against the configuration in force.

use serde::{Deserialize, Serialize};

use super::REASON_CHARS;
use super::ledger::Grant;
use crate::audit;
use crate::config::{self, Config};
use crate::policy::{self, Policy};

/// Most class patterns of one grant.
const MOST_CLASSES: usize = 40;
/// Most relations of one grant.
const MOST_RELATIONS: usize = 100;
/// Longest pattern, in bytes: as long as Postgres' longest `schema.name`.
const PATTERN_BYTES: usize = 127;

/// What somebody asks for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// For which user.
    pub user: String,
    /// In which environment.
    pub environment: String,
    /// On which database; on all of the environment if left out.
    pub database: Option<String>,
    /// Effect classes or prefixes.
    pub allow: Vec<String>,
    /// The only relations that it is to be for; all if left out.
    #[serde(default)]
    pub relations: Vec<String>,
    /// For how long: `30m`, `2h`.
    #[serde(rename = "for")]
    pub time: String,
    /// Why.
    pub reason: String,
}

/// One class that a grant covers, and what the user's policy says to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Covered {
    /// The class: `ddl.destructive`.
    pub class: &'static str,
    /// What it stands for.
    pub meaning: &'static str,
    /// What the grant changes: `adds`, `allowed` (the policy allows it already) or `denied` (the policy denies it, and a grant does not
    /// lift that).
    pub change: &'static str,
    /// The policy's rule.
    pub rule: String,
}

/// What giving a grant would mean.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Preview {
    /// The policy that it widens; `None` if the user has no role there any more.
    pub policy: Option<String>,
    /// The classes it covers.
    pub covers: Vec<Covered>,
    /// Whether the server's read-only hold is off while it lasts.
    pub lifts_read_only: bool,
    /// What has to be typed to approve it; `None` where nothing has to.
    pub confirm: Option<String>,
}

impl Preview {
    /// By a configuration.
    pub fn of(grant: &Grant, config: &Config) -> Preview {
        let policy = config.role_of(&grant.user, &grant.environment).map(|(_, binding)| &binding.policy);
        let classes = policy::classes_of(&grant.allow, &config.grants.never);
        let cells = policy.map(|policy| policy.cells()).unwrap_or_default();
        let covered = |class: &str| classes.iter().any(|one| one.name() == class);
        let covers = cells.into_iter().filter(|cell| covered(cell.class)).map(|cell| Covered {
            change: match (cell.allowed, cell.rule.starts_with("deny ")) {
                (true, _) => "allowed",
                (false, true) => "denied",
                (false, false) => "adds",
            },
            meaning: classes.iter().find(|one| one.name() == cell.class).map_or("", |class| class.meaning().trim()),
            class: cell.class,
            rule: cell.rule,
        });
        let widening =
            policy::Widening { grant: grant.id.as_str().into(), classes: classes.clone(), relations: Vec::new() };
        Preview {
            covers: covers.collect(),
            lifts_read_only: policy.is_some_and(|policy| policy.holds_read_only()) && widening.lifts_hold(),
            policy: policy.map(|policy| policy.name.clone()),
            confirm: config.grants.is_confirmed_in(&grant.environment).then(|| grant.environment.clone()),
        }
    }
}

impl Wanted {
    /// What a request asked for.
    pub fn of(grant: &Grant) -> Wanted {
        Wanted {
            user: grant.user.clone(),
            environment: grant.environment.clone(),
            database: grant.database.clone(),
            allow: grant.allow.clone(),
            relations: grant.relations.clone(),
            time: format!("{}s", grant.seconds),
            reason: grant.reason.clone(),
        }
    }

    /// The record's fields, if it may be asked for; otherwise what is wrong.
    pub(super) fn checked(&self, config: &Config) -> Result<audit::Grant, String> {
        let (role, policy) = self.whose(config)?;
        self.check_classes(config, policy)?;
        self.check_relations()?;
        let reason = self.reason.trim();
        if reason.is_empty() {
            return Err("a reason is needed: whoever approves and whoever reviews has to know why".to_owned());
        }
        if reason.chars().count() > REASON_CHARS {
            return Err(format!("a reason has up to {REASON_CHARS} characters"));
        }
        Ok(audit::Grant {
            user: self.user.clone(),
            role: role.to_owned(),
            environment: self.environment.clone(),
            database: self.database.clone(),
            allows: self.allow.clone(),
            relations: self.relations.clone(),
            seconds: self.seconds(config)?,
            reason: reason.to_owned(),
            ..audit::Grant::default()
        })
    }

    /// The user's role and policy there.
    fn whose<'c>(&self, config: &'c Config) -> Result<(&'c str, &'c Policy), String> {
        let environment = &self.environment;
        if !config.databases.iter().any(|database| database.environment == *environment) {
            return Err(format!("no database lies in environment `{}`", shown(environment)));
        }
        if !config.grants.can_be_requested_in(environment) {
            return Err(format!("grants cannot be asked for in `{environment}` (`[grants] environments`)"));
        }
        if !config.users.contains_key(&self.user) {
            return Err(format!("there is no user `{}`", shown(&self.user)));
        }
        let Some((role, binding)) = config.role_of(&self.user, environment) else {
            return Err(format!("user `{}` has no role in `{environment}`", self.user));
        };
        if let Some(name) = &self.database {
            let found = config.database(name).filter(|found| found.database.environment == *environment);
            found.ok_or_else(|| format!("there is no database `{}` in `{environment}`", shown(name)))?;
            if name.len() > PATTERN_BYTES {
                return Err("the database's name is too long".to_owned());
            }
        }
        Ok((role, &binding.policy))
    }

    fn check_classes(&self, config: &Config, policy: &Policy) -> Result<(), String> {
        if self.allow.is_empty() || self.allow.len() > MOST_CLASSES {
            return Err(format!(
                "name 1 to {MOST_CLASSES} effect classes to allow, such as `ddl.destructive` or `write`"
            ));
        }
        for pattern in &self.allow {
            let covered = policy::classes_of(std::slice::from_ref(pattern), &[]);
            if covered.is_empty() {
                return Err(format!("there is no effect class `{}`; docs/effects.md has them all", shown(pattern)));
            }
            let never = covered.iter().find(|class| policy::is_never(&config.grants.never, **class));
            if let Some(class) = never {
                let which = if class.name() == pattern { String::new() } else { format!("`{pattern}` covers ") };
                return Err(format!("{which}`{}`, which is never granted (`[grants] never`)", class.name()));
            }
            if let Some(rule) = covered.first().and_then(|first| policy.denied_by(*first))
                && covered.iter().all(|class| policy.denied_by(*class).is_some())
            {
                return Err(format!(
                    "policy `{}` denies `{pattern}` (deny \"{}\", {}), which a grant does not lift",
                    policy.name, rule.pattern, rule.place
                ));
            }
        }
        Ok(())
    }

    /// `schema.name`: a grant names relations by their schema, since `search_path` may lead a bare name anywhere.
    fn check_relations(&self) -> Result<(), String> {
        if self.relations.len() > MOST_RELATIONS {
            return Err(format!("a grant names up to {MOST_RELATIONS} relations"));
        }
        let odd = |c: char| c == '"' || c.is_whitespace() || c.is_control() || c == '(' || c == ',';
        for pattern in &self.relations {
            let parts: Vec<&str> = pattern.split('.').collect();
            let proper = parts.len() == 2 && parts.iter().all(|part| !part.is_empty() && !part.contains(odd));
            if !proper || pattern.len() > PATTERN_BYTES {
                return Err(format!(
                    "`{}` is not a relation with its schema, such as `public.orders` or `*.orders`",
                    shown(pattern)
                ));
            }
        }
        Ok(())
    }

    fn seconds(&self, config: &Config) -> Result<u64, String> {
        let longest = config.grants.longest;
        let Some(time) = config::parse_duration(&self.time) else {
            return Err(format!("`{}` is not a time such as `30m` or `2h`", shown(&self.time)));
        };
        if time.as_secs() == 0 || time > longest {
            return Err(format!("a grant lasts from 1 s to {} s (`[grants] longest`)", longest.as_secs()));
        }
        Ok(time.as_secs())
    }
}

/// What somebody typed, short enough to be said back.
fn shown(text: &str) -> &str {
    text.get(..text.floor_char_boundary(PATTERN_BYTES)).unwrap_or_default()
}
