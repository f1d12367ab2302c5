//! Verdicts by shape: a text that differs from a known one only in literals that no effect depends on is not read again.
//!
//! What is found by shape is exactly what reading the text would give ([`crate::sql::shape`] says when that is certain), so only
//! what depends on nothing but the shape is kept: one allowed statement that moves nothing. The text and what the record
//! shows of it are always the text's own.

use std::cell::RefCell;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, OnceLock};

use quick_cache::sync::Cache;
use quick_cache::{Equivalent, Weighter};

use crate::audit::StatementJson;
use crate::sql::{self, Movement, Statement};

use super::judgement::Judgement;

/// Texts longer than this are not looked at for their shape.
pub(super) const SHAPED_BYTES: usize = 16 << 10;
/// Bytes that verdicts by shape may take.
const CACHE_BYTES: u64 = 16 << 20;
/// Shapes expected.
const CACHE_ENTRIES: usize = 5_000;
/// Bytes an entry takes beside its shape.
const ENTRY_BYTES: u64 = 512;

/// Everything a verdict by shape depends on: the scope and the whole shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    scope: u64,
    shape: Box<[u8]>,
}

struct KeyRef<'a> {
    scope: u64,
    shape: &'a [u8],
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        KeyRef { scope: self.scope, shape: &self.shape }.hash(state);
    }
}

impl Hash for KeyRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.scope);
        state.write(self.shape);
    }
}

impl Equivalent<Key> for KeyRef<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.scope == key.scope && *self.shape == *key.shape
    }
}

#[derive(Clone, Debug)]
pub(super) struct Weight;

impl Weighter<Key, Arc<Judgement>> for Weight {
    fn weight(&self, key: &Key, judgement: &Arc<Judgement>) -> u64 {
        (key.shape.len() + judgement.text.len() * 2 + judgement.effects_json.bytes()) as u64 + ENTRY_BYTES
    }
}

/// Judgements of one text of each shape.
#[derive(Debug)]
pub(super) struct Shapes(Cache<Key, Arc<Judgement>, Weight, foldhash::fast::RandomState>);

thread_local! {
    /// Where a thread writes the shape that it looks for.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::default();
}

impl Shapes {
    pub(super) fn new() -> Shapes {
        let hasher = foldhash::fast::RandomState::default();
        Shapes(Cache::with(CACHE_ENTRIES, CACHE_BYTES, Weight, hasher, Default::default()))
    }

    pub(super) fn clear(&self) {
        self.0.clear();
    }

    /// The judgement of a text of the same shape.
    pub(super) fn find(&self, scope: u64, text: &str) -> Option<Arc<Judgement>> {
        SCRATCH.with_borrow_mut(|shape| {
            (text.len() <= SHAPED_BYTES && sql::shape::shape(text, shape)).then_some(())?;
            self.0.get(&KeyRef { scope, shape })
        })
    }

    /// Keeps a judgement for the texts of its shape, unless it is good for its own text only.
    pub(super) fn keep(&self, scope: u64, judgement: &Arc<Judgement>) {
        let text = &*judgement.text;
        if text.len() > SHAPED_BYTES || !depends_on_shape_only(judgement) {
            return;
        }
        let mut shape = Vec::new();
        // Without a literal that is left out, it is the text itself, which the other cache knows by a cheaper look-up.
        if sql::shape::shape(text, &mut shape) && shape != text.as_bytes() {
            self.0.insert(Key { scope, shape: shape.into_boxed_slice() }, Arc::clone(judgement));
        }
    }
}

fn depends_on_shape_only(judgement: &Judgement) -> bool {
    let moves_nothing = matches!(judgement.statements.as_slice(), [only] if only.movement == Movement::None);
    moves_nothing
        && judgement.refusal.is_none()
        && judgement.observed.is_none()
        && judgement.notices.is_empty()
        && judgement.ledger.is_none()
}

impl Judgement {
    /// The judgement of another text of the same shape.
    pub(super) fn of_text(&self, text: &str, text_json: StatementJson) -> Judgement {
        // Before the statement stands no literal, and behind it neither: both ends are as far from the text's ends as here.
        let moved = |statement: &Statement| {
            let behind = self.text.len().saturating_sub(statement.range.end);
            let range = statement.range.start..text.len().saturating_sub(behind);
            Statement { range, movement: statement.movement.clone(), tally: statement.tally }
        };
        Judgement {
            text: Arc::from(text),
            generation: self.generation,
            stamp: self.stamp,
            redefines: self.redefines,
            refusal: None,
            observed: None,
            grants: self.grants.clone(),
            rule: Arc::clone(&self.rule),
            notices: Vec::new(),
            statements: self.statements.iter().map(moved).collect(),
            effects_json: self.effects_json.clone(),
            readers: self.readers,
            text_json,
            fingerprint: self.fingerprint,
            is_read: self.is_read,
            writes: self.writes,
            class: self.class,
            may_set: self.may_set,
            ledger: None,
            leaves_lock: self.leaves_lock,
            counters: self.counters.clone(),
            secret_parameters: OnceLock::new(),
        }
    }
}
