//! Judging under one policy for one role in one environment, at one generation of the configuration.

use std::sync::{Arc, OnceLock};

use crate::audit::{EffectsJson, Readers, StatementJson};
use crate::catalog::{self, Catalog};
use crate::config::Config;
use crate::policy::{Denial, Place, Policy, StatementText, Verdict, Widening, is_never};
use crate::sql::{self, Class, Limits, Reading};

use super::catalogs::CatalogCell;
use super::door::{Key, KeyRef, Verdicts};
use super::grants::Held;
use super::judgement::{Counters, Judgement, Refusal};
use super::shapes::Shapes;

/// Texts above this are not kept in the verdict cache.
const CACHED_BYTES: usize = 64 << 10;
/// The rule of what passes by a grant; the record names the grant beside it.
const GRANTED: &str = "grant";

/// A policy as it meets one role in one environment.
#[derive(Debug)]
pub struct Scope {
    id: u64,
    generation: u64,
    environment: Arc<str>,
    role: Arc<str>,
    policy: Arc<Policy>,
    policy_name: Arc<str>,
    limits: Limits,
    verdicts: Arc<Verdicts>,
    shapes: Arc<Shapes>,
    untold: OnceLock<Arc<Judgement>>,
    lookups: Lookups,
    seen: Seen,
    held: Held,
    /// How a grant is asked for here, where it can be.
    asked: Option<Box<str>>,
    never: Vec<String>,
}

/// What a scope knows of the database that it judges for.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    cell: Option<Arc<CatalogCell>>,
    number: u64,
    catalog: Arc<Catalog>,
    pub doubted: bool,
}

impl Seen {
    /// What the cell holds now. The number is read first: a catalog put in meanwhile only makes the scope stale too early.
    pub(super) fn of(cell: Arc<CatalogCell>, doubted: bool) -> Seen {
        let number = cell.number();
        let known = cell.catalog();
        let catalog = if doubted { Arc::new(known.doubted()) } else { known };
        Seen { number, catalog, doubted, cell: Some(cell) }
    }

    pub(super) fn cell_id(&self) -> u64 {
        self.cell.as_ref().map_or(0, |cell| cell.id())
    }
}

/// Counters of the verdict cache, registered once.
struct Lookups {
    hits: metrics::Counter,
    by_shape: metrics::Counter,
    misses: metrics::Counter,
}

impl std::fmt::Debug for Lookups {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Lookups")
    }
}

impl Scope {
    pub(super) fn new(
        id: u64,
        generation: u64,
        (environment, role): (&str, &str),
        policy: Arc<Policy>,
        config: &Config,
        (verdicts, shapes): (Arc<Verdicts>, Arc<Shapes>),
        (seen, held): (Seen, Held),
    ) -> Scope {
        let asked = seen.cell.is_some() && config.grants_can_be_given_in(environment);
        Scope {
            asked: asked.then(|| format!("pgwarden grant request --environment {environment}").into_boxed_str()),
            never: config.grants.never.clone(),
            held,
            id,
            generation,
            environment: Arc::from(environment),
            role: Arc::from(role),
            policy_name: Arc::from(policy.name.as_str()),
            policy,
            limits: config.limits.sql(),
            verdicts,
            shapes,
            untold: OnceLock::new(),
            lookups: Lookups {
                hits: metrics::counter!("pgwarden_verdict_cache_hits_total"),
                by_shape: metrics::counter!("pgwarden_verdict_cache_shape_hits_total"),
                misses: metrics::counter!("pgwarden_verdict_cache_misses_total"),
            },
            seen,
        }
    }

    /// The generation of the configuration that it belongs to.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// What its judgements carry: one that carries another stamp is stale. No two scopes have the same.
    pub fn stamp(&self) -> u64 {
        self.id
    }

    /// What is known of its database; `None` when it judges for none.
    pub fn cell(&self) -> Option<&Arc<CatalogCell>> {
        self.seen.cell.as_ref()
    }

    /// Whether it doubts what was known of its database.
    pub fn doubts(&self) -> bool {
        self.seen.doubted
    }

    /// Whether nothing newer is known of its database.
    pub(super) fn knows_the_newest(&self) -> bool {
        self.seen.cell.as_ref().is_none_or(|cell| cell.number() == self.seen.number)
    }

    /// Whether it knows just this.
    pub(super) fn saw(&self, seen: &Seen) -> bool {
        self.seen.number == seen.number
    }

    /// Whether a grant that it judges under has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.held.end.is_some_and(|end| end.has_come())
    }

    /// Whether the server has to hold every transaction of the session read-only: policy says so, and no grant lifts it.
    pub fn holds_read_only(&self) -> bool {
        self.policy.holds_read_only() && !self.held.widenings.iter().any(Widening::lifts_hold)
    }

    /// Its policy.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The role that it judges.
    pub fn role(&self) -> &str {
        &self.role
    }

    /// The environment that it judges in.
    pub fn environment(&self) -> &str {
        &self.environment
    }

    /// Its policy's name.
    pub fn policy_name(&self) -> &Arc<str> {
        &self.policy_name
    }

    /// Whether this text's judgement is in the cache.
    pub fn knows(&self, text: &str) -> bool {
        self.verdicts.peek(&KeyRef { scope: self.id, text }).is_some()
    }

    /// Judges a text: as one seen before, as one of a known shape, or by both readers and the policy.
    pub fn judge(&self, text: &str) -> Arc<Judgement> {
        if let Some(found) = self.verdicts.get(&KeyRef { scope: self.id, text }) {
            self.lookups.hits.increment(1);
            return found;
        }
        if let Some(alike) = self.shapes.find(self.id, text).filter(|_| text.len() <= self.limits.statement_bytes) {
            self.lookups.by_shape.increment(1);
            return Arc::new(alike.of_text(text, self.text_of_shape(text, &alike)));
        }
        self.lookups.misses.increment(1);
        let text: Arc<str> = Arc::from(text);
        let judgement = Arc::new(self.judge_new(&text));
        // The first text of a shape is kept as itself too: many clients send one and the same text over and over.
        self.shapes.keep(self.id, &judgement);
        if text.len() <= CACHED_BYTES {
            self.verdicts.insert(Key { scope: self.id, text }, Arc::clone(&judgement));
        }
        judgement
    }

    fn judge_new(&self, text: &Arc<str>) -> Judgement {
        match sql::read(text, &self.limits) {
            Ok(mut reading) => {
                self.seen.catalog.widen(&mut reading);
                self.judge_reading(text, reading)
            }
            Err(over) => {
                let sqlstate = if matches!(over, sql::OverLimit::TooDeep { .. }) { "54001" } else { "54000" };
                let refusal = Refusal {
                    sqlstate,
                    message: format!("pgwarden: {over}"),
                    detail: "It was not read.".to_owned(),
                    hint: Some("Split the statement, or raise the limit in `[limits]`.".to_owned()),
                    rule: "limits".to_owned(),
                    position: None,
                    place: None,
                };
                self.finish(text, Reading::default(), Some(refusal), Class::Unparsed, Readers::Neither)
            }
        }
    }

    fn judge_reading(&self, text: &Arc<str>, reading: Reading) -> Judgement {
        if reading.disagree {
            metrics::counter!("pgwarden_reader_disagreements_total").increment(1);
        }
        let readers = match (&reading.syntax_error, reading.sqlparser_read, reading.disagree) {
            (Some(_), _, _) => Readers::Neither,
            (None, true, true) => Readers::Disagree,
            (None, true, false) => Readers::Both,
            (None, false, _) => Readers::Postgres,
        };
        let effects = reading.effects.iter().map(|(effect, _)| effect);
        match self.policy.judge_widened(effects, &self.held.widenings) {
            (Verdict::Allow, grants) => {
                let class = reading.effects.iter().map(|(effect, _)| effect.class).max().unwrap_or(Class::Read);
                let granted = granted(&grants);
                let judgement = self.finish(text, reading, None, class, readers);
                self.by_grant(judgement, granted)
            }
            (Verdict::Deny(denial), _) => {
                let mut words = self.policy.message(&denial, &self.role, &self.environment);
                if let Some(asking) = self.asking(&denial) {
                    if !words.hint.ends_with('.') {
                        words.hint.push('.');
                    }
                    words.hint.push_str(&asking);
                }
                let mut refusal = Refusal {
                    sqlstate: words.sqlstate,
                    message: words.message,
                    detail: words.detail,
                    hint: Some(words.hint),
                    rule: denial.rule,
                    position: None,
                    place: None,
                };
                let mut offset = place_of(&denial.effect, &reading.statements);
                if let Some(error) = &reading.syntax_error {
                    refusal.message = format!("pgwarden: the statement cannot be parsed: {}", error.message);
                    offset = error.offset;
                }
                let before = offset.and_then(|offset| text.get(..offset));
                refusal.position = before.map(|before| before.chars().count() + 1);
                refusal.place = before.map(|before| place(text, before, &reading.statements));
                self.finish(text, reading, Some(refusal), denial.effect.class, readers)
            }
        }
    }

    /// How the grant is asked for that would let it pass, if one may.
    fn asking(&self, denial: &Denial) -> Option<String> {
        let class = denial.effect.class;
        let command = self.asked.as_ref().filter(|_| denial.grantable && !is_never(&self.never, class))?;
        Some(format!(" Or ask for a grant: `{command} --allow {}`.", class.name()))
    }

    /// A judgement that allows only because of grants says so.
    fn by_grant(&self, judgement: Judgement, grants: Option<Arc<str>>) -> Judgement {
        if grants.is_none() {
            return judgement;
        }
        let counters = self.counters(judgement.class, GRANTED, false, false);
        Judgement { rule: Arc::from(GRANTED), counters, grants, ..judgement }
    }

    fn finish(
        &self,
        text: &Arc<str>,
        reading: Reading,
        refusal: Option<Refusal>,
        class: Class,
        readers: Readers,
    ) -> Judgement {
        let over_limit = reading.statements.is_empty() && reading.syntax_error.is_none() && refusal.is_some();
        let (refusal, observed) = match refusal {
            Some(refusal) if self.policy.observe && !over_limit => (None, Some(refusal)),
            refusal => (refusal, None),
        };
        let fingerprint = (!over_limit).then(|| sql::shape::fingerprint(text));
        let mut classes = reading.effects.iter().map(|(effect, _)| effect.class);
        let is_read = readers != Readers::Neither
            && !reading.effects.is_empty()
            && classes.all(|class| matches!(class, Class::Read | Class::FunctionSafe))
            && reading.statements.iter().all(|statement| statement.movement == sql::Movement::None);
        let harmless = [Class::Read, Class::FunctionSafe, Class::Transaction, Class::SessionSetting];
        let runs =
            |one: &sql::Statement| matches!(one.movement, sql::Movement::Execute { .. } | sql::Movement::Fetch { .. });
        let writes = readers == Readers::Neither
            || reading.effects.iter().any(|(effect, _)| !harmless.contains(&effect.class))
            || reading.statements.iter().any(runs);
        let rule = refusal.as_ref().or(observed.as_ref()).map_or("allow", |refusal| refusal.rule.as_str());
        let notices = reading
            .effects
            .iter()
            .filter(|(effect, _)| effect.class == Class::DdlLocking && refusal.is_none())
            .filter_map(|(effect, _)| {
                effect.hint.as_ref().map(|hint| format!("pgwarden: {} blocks others under load: {hint}", effect.act))
            })
            .collect();
        let may_set = reading.effects.iter().any(|(effect, _)| may_set(effect.class)) || reading.syntax_error.is_some();
        let mut relations = reading.effects.iter().filter_map(|(effect, _)| written(effect));
        let ledger = relations.any(sql::migration::is_ledger).then(|| sql::migration::ledger(text));
        let guards = !self.policy.allows_everything() && !self.policy.observe;
        let leaves_lock = guards && reading.effects.iter().any(|(effect, _)| takes_session_lock(effect));
        Judgement {
            text: Arc::clone(text),
            generation: self.generation,
            stamp: self.id,
            redefines: catalog::is_changed_by(reading.effects.iter().map(|(effect, _)| effect)),
            rule: Arc::from(rule),
            counters: self.counters(class, rule, refusal.is_some(), observed.is_some()),
            refusal,
            observed,
            grants: None,
            notices,
            statements: reading.statements,
            effects_json: EffectsJson::new(&reading.effects),
            readers,
            text_json: self.text_json(text, fingerprint),
            fingerprint,
            is_read,
            writes,
            class,
            may_set,
            secret_parameters: OnceLock::new(),
            ledger,
            leaves_lock,
        }
    }

    /// The text as policy wants it recorded. One over the limits, or without a reading, is not read for it either.
    fn text_json(&self, text: &str, fingerprint: Option<u64>) -> StatementJson {
        let digits = fingerprint.map(hex_digits);
        let name = digits.as_ref().and_then(|digits| std::str::from_utf8(digits).ok());
        match (self.policy.recording.text, name) {
            (StatementText::Whole, name) => StatementJson::whole(sql::secrets::redact(text).as_bytes(), name),
            (StatementText::Redacted, Some(name)) => match sql::postgres::without_literals(&sql::secrets::redact(text))
            {
                Some(text) => StatementJson::redacted(&text, Some(name)),
                None => StatementJson::fingerprint(name),
            },
            (StatementText::Fingerprint, Some(name)) => StatementJson::fingerprint(name),
            (StatementText::Redacted | StatementText::Fingerprint, None) => {
                StatementJson::fingerprint(&format!("{:016x}", sql::shape::hash(text)))
            }
        }
    }

    /// The same for a text of the shape of one that was judged: only the whole text is another.
    fn text_of_shape(&self, text: &str, alike: &Judgement) -> StatementJson {
        match self.policy.recording.text {
            StatementText::Whole => self.text_json(text, alike.fingerprint),
            StatementText::Redacted | StatementText::Fingerprint => alike.text_json.clone(),
        }
    }

    fn counters(&self, class: Class, rule: &str, denied: bool, observed: bool) -> Counters {
        let verdict = match (denied, observed) {
            (true, _) => "deny",
            (false, true) => "observe",
            (false, false) => "allow",
        };
        let counter = |verdict: &'static str, rule: &str| {
            metrics::counter!(
                "pgwarden_statements_total",
                "environment" => self.environment.to_string(),
                "role" => self.role.to_string(),
                "effect" => class.name(),
                "rule" => rule.to_owned(),
                "verdict" => verdict,
            )
        };
        Counters { judged: counter(verdict, rule), refused: counter("deny", "protocol") }
    }

    /// Counts a statement that was judged and recorded.
    pub fn count(&self, judgement: &Judgement, refused: bool) {
        if refused && judgement.refusal.is_none() {
            judgement.counters.refused.increment(1);
        } else {
            judgement.counters.judged.increment(1);
        }
        if !refused && judgement.grants.is_some() {
            let labels = [("environment", self.environment.to_string()), ("role", self.role.to_string())];
            metrics::counter!("pgwarden_grant_uses_total", &labels).increment(1);
        }
    }

    /// A text that is not UTF-8: no reader can read it, and the server's encoding is UTF8.
    pub fn not_utf8(&self, bytes: &[u8]) -> Arc<Judgement> {
        let text: Arc<str> = Arc::from(String::from_utf8_lossy(bytes));
        let refusal = Refusal {
            sqlstate: "22021",
            message: "invalid byte sequence for encoding \"UTF8\"".to_owned(),
            detail: "pgwarden reads statements in UTF8 only.".to_owned(),
            hint: None,
            rule: "encoding".to_owned(),
            position: None,
            place: None,
        };
        Arc::new(self.finish(&text, Reading::default(), Some(refusal), Class::Unparsed, Readers::Neither))
    }

    /// What stands in a record for a message that carried no text.
    pub fn untold(&self) -> Arc<Judgement> {
        let made = self.untold.get_or_init(|| {
            Arc::new(self.finish(&Arc::from(""), Reading::default(), None, Class::Unknown, Readers::Neither))
        });
        Arc::clone(made)
    }
}

/// The ids of grants as records have them: several parted by a blank.
fn granted(grants: &[&Widening]) -> Option<Arc<str>> {
    let ids: Vec<&str> = grants.iter().map(|widening| &*widening.grant).collect();
    (!ids.is_empty()).then(|| Arc::from(ids.join(" ")))
}

/// Where what is refused begins: its own words, else the only statement.
fn place_of(effect: &sql::Effect, statements: &[sql::Statement]) -> Option<usize> {
    match (effect.span, statements) {
        (Some(span), _) => Some(span.start),
        (None, [only]) => Some(only.range.start),
        (None, _) => None,
    }
}

fn place(text: &str, before: &str, statements: &[sql::Statement]) -> Place {
    let at = before.len();
    Place {
        line: before.matches('\n').count() + 1,
        statement: statements.iter().filter(|statement| statement.range.start <= at).count(),
        statements: statements.len(),
        migration: sql::migration::told_by_comment(text, at),
    }
}

/// The relation that an effect writes rows of.
fn written(effect: &sql::Effect) -> Option<&str> {
    let writes = matches!(effect.class, Class::WriteInsert | Class::WriteUpdate | Class::WriteDelete);
    effect.object.as_ref().filter(|_| writes).map(|object| object.name.as_str())
}

/// Whether an effect takes an advisory lock that the end of its transaction does not give back.
fn takes_session_lock(effect: &sql::Effect) -> bool {
    let takes = ["pg_advisory_lock", "pg_advisory_lock_shared", "pg_try_advisory_lock", "pg_try_advisory_lock_shared"];
    let calls = effect.object.as_ref().filter(|_| effect.class == Class::FunctionAdvisoryLock);
    calls.is_some_and(|function| takes.contains(&function.name.as_str()))
}

/// Whether what is done may change a setting of the session.
fn may_set(class: Class) -> bool {
    match class {
        Class::FunctionVolatile
        | Class::FunctionDangerous
        | Class::SessionSetting
        | Class::SessionIdentity
        | Class::SessionPinned
        | Class::Procedure
        | Class::Server
        | Class::Unknown
        | Class::Unparsed => true,
        Class::Read
        | Class::WriteInsert
        | Class::WriteUpdate
        | Class::WriteDelete
        | Class::WriteMerge
        | Class::WriteCopy
        | Class::WriteLock
        | Class::DestroyDeleteAll
        | Class::DestroyUpdateAll
        | Class::DestroyTruncate
        | Class::DdlAdditive
        | Class::DdlLocking
        | Class::DdlDestructive
        | Class::Privilege
        | Class::FunctionSafe
        | Class::FunctionAdvisoryLock
        | Class::Transaction
        | Class::TransactionTwoPhase
        | Class::Maintenance
        | Class::Notify => false,
    }
}

/// Sixteen digits, without an allocation: every text that is not in the cache needs them.
fn hex_digits(fingerprint: u64) -> [u8; 16] {
    let mut digits = [b'0'; 16];
    for (place, slot) in digits.iter_mut().rev().enumerate() {
        let nibble = (fingerprint >> (4 * place)) as u8 & 15;
        *slot = if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
    }
    digits
}
