//! A statement's text, judged: what every room after the door needs to know of it.

use std::sync::{Arc, OnceLock};

use crate::audit::{EffectsJson, Readers, StatementJson};
use crate::policy::Place;
use crate::sql::secret_parameters::{self, Secrets};
use crate::sql::{Class, Ledger, Movement, Statement};

/// A text judged under one policy at one generation. Shared between sessions by the verdict cache.
#[derive(Debug)]
pub struct Judgement {
    /// The text that was judged.
    pub text: Arc<str>,
    /// The configuration's generation that it was judged under.
    pub generation: u64,
    /// The scope's stamp: a judgement of another scope is stale.
    pub stamp: u64,
    /// Whether it may change what the database's own names mean.
    pub redefines: bool,
    /// Why it is refused, if it is.
    pub refusal: Option<Refusal>,
    /// Under `mode = "observe"`: what would have refused it.
    pub observed: Option<Refusal>,
    /// The ids of the grants without which it would be refused, parted by blanks; `None` where the policy alone allows it.
    pub grants: Option<Arc<str>>,
    /// The rule that decided, for the record.
    pub rule: Arc<str>,
    /// Notices that go with an allowed statement: safer ways.
    pub notices: Vec<String>,
    /// The text's statements in order, with their movements.
    pub statements: Vec<Statement>,
    /// The effects as the record tells them, rendered once.
    pub effects_json: EffectsJson,
    /// Which readers read it.
    pub readers: Readers,
    /// The text as policy wants it recorded, rendered once.
    pub text_json: StatementJson,
    /// The text's fingerprint; `None` for a text over the limits.
    pub fingerprint: Option<u64>,
    /// Whether it only reads and moves nothing.
    pub is_read: bool,
    /// Whether it may change something that lasts beyond the session.
    pub writes: bool,
    /// The class that decided or, where it is allowed, the gravest one.
    pub class: Class,
    /// Whether it may change a setting of the session: by SET, or by code that is not known.
    pub may_set: bool,
    /// What it says of the migration that the session is about to run, if anything.
    pub ledger: Option<Ledger>,
    /// Whether it takes an advisory lock that outlives its transaction, under a policy that does not allow everything.
    pub leaves_lock: bool,
    /// Counts it in the metrics, by what was decided.
    pub counters: Counters,
    /// Which of its parameters are secrets; looked for when parameters are first recorded.
    pub(super) secret_parameters: OnceLock<Secrets>,
}

/// Counters of a judgement, registered once.
#[derive(Clone)]
pub struct Counters {
    /// It went as judged.
    pub judged: metrics::Counter,
    /// It was refused for another reason than policy.
    pub refused: metrics::Counter,
}

impl std::fmt::Debug for Counters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Counters")
    }
}

/// A refusal's words, short of the audit id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Five characters.
    pub sqlstate: &'static str,
    /// What and why, in the user's terms.
    pub message: String,
    /// The effect and the rule.
    pub detail: String,
    /// What the person can do.
    pub hint: Option<String>,
    /// The rule that decided, for the record.
    pub rule: String,
    /// 1-based character position in the text of what is at fault, where it is known.
    pub position: Option<usize>,
    /// Where in the text that is, where it is known.
    pub place: Option<Place>,
}

impl Refusal {
    /// The message with the place: `noted` is the migration that the session is known to be at.
    pub fn told(&self, noted: Option<&str>) -> String {
        let place = self.place.as_ref().map(|place| place.words(noted)).unwrap_or_default();
        format!("{}{place}", self.message)
    }
}

impl Judgement {
    /// Which of its parameters are secrets.
    pub fn secret_parameters(&self) -> &Secrets {
        self.secret_parameters.get_or_init(|| secret_parameters::parameters(&self.text))
    }

    /// The movement of a text of exactly one statement, as Parse accepts them.
    pub fn movement(&self) -> &Movement {
        match self.statements.as_slice() {
            [only] => &only.movement,
            _ => &Movement::None,
        }
    }
}
