//! The policies as a picture, and what they say to a statement that somebody tries.

use serde::Serialize;

use super::State;
use crate::decision::marks::{Seen, seen};
use crate::policy::Policy;
use crate::policy::matrix::{Cell, Named};

/// Environment × role × class.
#[derive(Clone, Debug, Serialize)]
pub struct Matrix {
    /// Generation of the configuration.
    pub generation: u64,
    /// One row for each role of each environment.
    pub rows: Vec<Row>,
}

/// What one role may do in one environment.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The environment, or pattern of environments.
    pub environment: String,
    /// The role.
    pub role: String,
    /// The policy's name.
    pub policy: String,
    /// Which endpoint its sessions use.
    pub endpoint: &'static str,
    /// Whether the server holds every transaction read-only.
    pub read_only: bool,
    /// Whether refusals are only recorded.
    pub observe: bool,
    /// What the policy says to each class.
    pub cells: Vec<Cell>,
    /// Its rules about relations, functions and extensions.
    pub rules: Vec<Named>,
    /// Its limits, by the option's name.
    pub limits: Vec<(&'static str, String)>,
    /// Users who have this role here.
    pub users: Vec<String>,
}

/// What became of a statement that was tried; it was not run.
#[derive(Clone, Debug, Serialize)]
pub struct Trial {
    /// `allow`, `deny` or `observe`.
    pub verdict: &'static str,
    /// The rule that decided.
    pub rule: String,
    /// The policy's name.
    pub policy: String,
    /// SQLSTATE of the refusal.
    pub sqlstate: Option<&'static str>,
    /// What the client would be told.
    pub message: Option<String>,
    /// The refusal's detail.
    pub detail: Option<String>,
    /// What the person could do.
    pub hint: Option<String>,
    /// Notices that would go with it.
    pub notices: Vec<String>,
    /// What both readers see.
    pub seen: Seen,
}

impl State {
    /// The policies in force.
    pub fn matrix(&self) -> Matrix {
        let config = self.shared.door.config();
        let mut rows = Vec::new();
        for environment in &config.environments {
            for (role, binding) in &environment.roles {
                let mut users: Vec<String> = config
                    .users
                    .values()
                    .filter(|user| user.roles.iter().any(|(at, has)| *at == environment.name && has == role))
                    .map(|user| user.name.clone())
                    .collect();
                users.sort();
                rows.push(row(&environment.name, role, binding.endpoint.name(), &binding.policy, users));
            }
        }
        Matrix { generation: self.shared.door.generation(), rows }
    }

    /// Judges a statement as a role in an environment would have it judged. `None` if there is no such role there. Reads the
    /// text at length: not for an asynchronous task.
    pub fn try_statement(&self, environment: &str, role: &str, text: &str) -> Option<Trial> {
        let scope = self.shared.door.scope_of(environment, role)?;
        let judgement = scope.judge(text);
        let told = judgement.refusal.as_ref().or(judgement.observed.as_ref());
        let verdict = match (&judgement.refusal, &judgement.observed) {
            (Some(_), _) => "deny",
            (None, Some(_)) => "observe",
            (None, None) => "allow",
        };
        Some(Trial {
            verdict,
            rule: judgement.rule.to_string(),
            policy: scope.policy_name().to_string(),
            sqlstate: told.map(|refusal| refusal.sqlstate),
            message: told.map(|refusal| refusal.told(None)),
            detail: told.map(|refusal| refusal.detail.clone()),
            hint: told.and_then(|refusal| refusal.hint.clone()),
            notices: judgement.notices.clone(),
            seen: self.seen(text),
        })
    }

    /// What both readers see in a text, with the words that cause each effect. Not for an asynchronous task.
    pub fn seen(&self, text: &str) -> Seen {
        seen(text, &self.shared.door.config().limits.sql())
    }
}

fn row(environment: &str, role: &str, endpoint: &'static str, policy: &Policy, users: Vec<String>) -> Row {
    Row {
        environment: environment.to_owned(),
        role: role.to_owned(),
        policy: policy.name.clone(),
        endpoint,
        read_only: policy.read_only,
        observe: policy.observe,
        cells: policy.cells(),
        rules: policy.named_rules(),
        limits: policy.limits_shown(),
        users,
    }
}
