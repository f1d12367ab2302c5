//! The door: which configuration is in force, and the verdict cache that outlives none of its policies.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use quick_cache::sync::Cache;
use quick_cache::{Equivalent, Weighter};

use crate::config::{Access, Config, EndpointKind};

use super::catalogs::{CatalogCell, Catalogs};
use super::grants::{Grants, Held};
use super::judgement::Judgement;
use super::scope::{Scope, Seen};
use super::shapes::Shapes;

/// Bytes that the verdict cache may take.
const CACHE_BYTES: u64 = 64 << 20;
/// Judgements expected in it.
const CACHE_ENTRIES: usize = 20_000;
/// Bytes a judgement takes beside its texts.
const JUDGEMENT_BYTES: u64 = 512;

/// Everything a verdict depends on: the scope (policy, role, environment, generation) and the text itself. A hash alone
/// would make a collision a bypass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub scope: u64,
    pub text: Arc<str>,
}

#[derive(Clone, Copy)]
pub(super) struct KeyRef<'a> {
    pub scope: u64,
    pub text: &'a str,
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        KeyRef { scope: self.scope, text: &self.text }.hash(state);
    }
}

impl Hash for KeyRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.scope);
        state.write(self.text.as_bytes());
    }
}

impl Equivalent<Key> for KeyRef<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.scope == key.scope && *self.text == *key.text
    }
}

/// A judgement weighs what it keeps in memory.
#[derive(Clone, Debug)]
pub(super) struct Weight;

impl Weighter<Key, Arc<Judgement>> for Weight {
    fn weight(&self, key: &Key, judgement: &Arc<Judgement>) -> u64 {
        // The text, its JSON, and the effects.
        key.text.len() as u64 * 2 + judgement.effects_json.bytes() as u64 + JUDGEMENT_BYTES
    }
}

pub(super) type Verdicts = Cache<Key, Arc<Judgement>, Weight, foldhash::fast::RandomState>;

/// One configuration, with its number and the scopes made of it.
#[derive(Debug)]
struct Generation {
    number: u64,
    config: Arc<Config>,
    scopes: Mutex<HashMap<ScopeKey, Arc<Scope>>>,
}

/// What tells the scopes of one configuration apart. A catalog that is replaced replaces its scopes.
#[derive(Debug, PartialEq, Eq, Hash)]
struct ScopeKey {
    environment: String,
    role: String,
    /// The cell of the endpoint's catalog; 0 for judging without a database.
    cell: u64,
    doubted: bool,
    /// The grants that hold: a judgement under one is nobody else's.
    grants: Vec<Arc<str>>,
}

/// Scopes of one configuration that are kept although no session uses them.
const IDLE_SCOPES: usize = 256;

/// The door. Shared by every session.
#[derive(Debug)]
pub struct Door {
    current: ArcSwap<Generation>,
    number: AtomicU64,
    next_scope: AtomicU64,
    verdicts: Arc<Verdicts>,
    shapes: Arc<Shapes>,
    catalogs: Catalogs,
    grants: Grants,
}

/// What a login needs to know: where it leads and how it is judged.
#[derive(Clone, Debug)]
pub struct Admission {
    /// The configuration's word on this user and database.
    pub access: Access,
    /// How its statements are judged.
    pub scope: Arc<Scope>,
}

impl Door {
    /// A door under a first configuration.
    pub fn new(config: Arc<Config>) -> Door {
        let hasher = foldhash::fast::RandomState::default();
        let verdicts = Cache::with(CACHE_ENTRIES, CACHE_BYTES, Weight, hasher, Default::default());
        Door {
            current: ArcSwap::from_pointee(generation(1, config)),
            number: AtomicU64::new(1),
            next_scope: AtomicU64::new(1),
            verdicts: Arc::new(verdicts),
            shapes: Arc::new(Shapes::new()),
            catalogs: Catalogs::default(),
            grants: Grants::default(),
        }
    }

    /// Puts another configuration in force; every judgement made before is stale. Gives its number.
    pub fn replace(&self, config: Arc<Config>) -> u64 {
        let number = self.number.load(Ordering::Acquire) + 1;
        self.current.store(Arc::new(generation(number, config)));
        self.number.store(number, Ordering::Release);
        self.verdicts.clear();
        self.shapes.clear();
        number
    }

    /// The number of the configuration in force.
    pub fn generation(&self) -> u64 {
        self.number.load(Ordering::Acquire)
    }

    /// The configuration in force.
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.current.load().config)
    }

    /// The grants in force.
    pub fn grants(&self) -> &Grants {
        &self.grants
    }

    /// What a user may do in a database; `None` where there is no such database or no role for this user in it.
    pub fn admit(&self, user: &str, database: &str) -> Option<Admission> {
        let current = self.current.load();
        let access = current.config.access(user, database)?;
        let cell = self.catalogs.of(&access.endpoint_url);
        Some(self.admission(&current, access, cell, false))
    }

    /// The same for a session that is in: it stays where it is, and what is known of that counts. `doubted` where it changed
    /// definitions itself and must not believe what was known of them before.
    pub fn readmit(&self, user: &str, database: &str, scope: &Scope, doubted: bool) -> Option<Admission> {
        let current = self.current.load();
        let access = current.config.access(user, database)?;
        let cell = scope.cell().map_or_else(|| self.catalogs.of(&access.endpoint_url), Arc::clone);
        Some(self.admission(&current, access, cell, doubted))
    }

    fn admission(&self, current: &Generation, access: Access, cell: Arc<CatalogCell>, doubted: bool) -> Admission {
        let policy = Arc::clone(&access.policy);
        let held = self.grants.of(&access, &current.config);
        let role = (access.environment.as_str(), access.role.as_str());
        let scope = self.scope_for(current, role, policy, Some((cell, doubted)), held);
        Admission { access, scope }
    }

    /// How statements of a role in an environment are judged, for whoever asks without logging in: no database is known.
    pub fn scope_of(&self, environment: &str, role: &str) -> Option<Arc<Scope>> {
        let current = self.current.load();
        let policy = Arc::clone(&current.config.role(environment, role)?.policy);
        Some(self.scope_for(&current, (environment, role), policy, None, Held::default()))
    }

    /// Whether a scope belongs to the configuration in force and to what is known of its database now, and its grants have not ended.
    pub fn is_current(&self, scope: &Scope) -> bool {
        self.generation() == scope.generation() && scope.knows_the_newest() && !scope.has_ended()
    }

    /// What is known of a database by each of its endpoints that is in use.
    pub fn catalogs_of(&self, database: &str) -> Vec<Arc<CatalogCell>> {
        let config = self.config();
        let Some(found) = config.database(database) else { return Vec::new() };
        let kinds = [EndpointKind::Pooled, EndpointKind::Direct, EndpointKind::Replica];
        let endpoints: Vec<_> = kinds.into_iter().filter_map(|kind| found.endpoint(kind)).collect();
        let mut cells = self.catalogs.all();
        cells.retain(|cell| endpoints.contains(cell.endpoint()));
        cells
    }

    /// What is known of the databases in use.
    pub fn catalogs(&self) -> Vec<Arc<CatalogCell>> {
        self.catalogs.all()
    }

    fn scope_for(
        &self,
        current: &Generation,
        (environment, role): (&str, &str),
        policy: Arc<crate::policy::Policy>,
        database: Option<(Arc<CatalogCell>, bool)>,
        held: Held,
    ) -> Arc<Scope> {
        let seen = database.map_or_else(Seen::default, |(cell, doubted)| Seen::of(cell, doubted));
        let key = ScopeKey {
            environment: environment.to_owned(),
            role: role.to_owned(),
            cell: seen.cell_id(),
            doubted: seen.doubted,
            grants: held.ids(),
        };
        let mut scopes = current.scopes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = scopes.get(&key).filter(|found| found.saw(&seen)) {
            return Arc::clone(found);
        }
        if scopes.len() >= IDLE_SCOPES {
            scopes.retain(|_, scope| Arc::strong_count(scope) > 1);
        }
        let scope = Arc::new(Scope::new(
            self.next_scope.fetch_add(1, Ordering::Relaxed),
            current.number,
            (environment, role),
            policy,
            &current.config,
            (Arc::clone(&self.verdicts), Arc::clone(&self.shapes)),
            (seen, held),
        ));
        scopes.insert(key, Arc::clone(&scope));
        scope
    }
}

fn generation(number: u64, config: Arc<Config>) -> Generation {
    Generation { number, config, scopes: Mutex::default() }
}
