//! Which catalog is known of each endpoint: put in by whoever asks the server, taken out by the scopes that judge for it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use arc_swap::ArcSwap;

use crate::catalog::Catalog;
use crate::config::Endpoint;

/// What is known of the database behind one endpoint. Shared by every scope that judges for it.
#[derive(Debug)]
pub struct CatalogCell {
    id: u64,
    endpoint: Arc<Endpoint>,
    current: ArcSwap<Catalog>,
    /// Counts the catalogs put in; 0 while none was.
    number: AtomicU64,
    /// Counts the wishes for a newer catalog.
    wanted: AtomicU64,
    /// The last wish that the current catalog answers.
    answered: AtomicU64,
}

impl CatalogCell {
    fn new(id: u64, endpoint: Arc<Endpoint>) -> CatalogCell {
        let current = ArcSwap::from_pointee(Catalog::default().doubted());
        let (number, wanted, answered) = Default::default();
        CatalogCell { id, endpoint, current, number, wanted, answered }
    }

    /// A number of its own.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Where it is.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// What is known.
    pub fn catalog(&self) -> Arc<Catalog> {
        self.current.load_full()
    }

    /// The number of what is known: another one makes every judgement stale that leant on it.
    pub fn number(&self) -> u64 {
        self.number.load(Ordering::Acquire)
    }

    /// Wishes for a catalog that is asked for from now on; answered when [`CatalogCell::answered`] reaches what is given.
    pub fn want(&self) -> u64 {
        self.wanted.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// The last wish so far: to be read before the server is asked, and handed to [`CatalogCell::put`].
    pub fn wanted(&self) -> u64 {
        self.wanted.load(Ordering::Acquire)
    }

    /// The last wish that is answered.
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Acquire)
    }

    /// Puts in what the server said, in answer to the wishes up to `answers`. What says the same as before makes nothing stale.
    pub fn put(&self, catalog: Catalog, answers: u64) {
        if *self.current.load_full() != catalog {
            self.current.store(Arc::new(catalog));
            self.number.fetch_add(1, Ordering::AcqRel);
        }
        self.answered.fetch_max(answers, Ordering::AcqRel);
    }
}

/// The cells in use, by endpoint.
#[derive(Debug, Default)]
pub(super) struct Catalogs {
    cells: Mutex<Vec<Weak<CatalogCell>>>,
    next: AtomicU64,
}

impl Catalogs {
    /// The cell of an endpoint. It lives as long as anybody holds it.
    pub(super) fn of(&self, endpoint: &Arc<Endpoint>) -> Arc<CatalogCell> {
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |cell: &Arc<CatalogCell>| Arc::ptr_eq(&cell.endpoint, endpoint) || cell.endpoint == *endpoint;
        if let Some(found) = cells.iter().filter_map(Weak::upgrade).find(same) {
            return found;
        }
        cells.retain(|cell| cell.strong_count() > 0);
        let cell = CatalogCell::new(self.next.fetch_add(1, Ordering::Relaxed) + 1, Arc::clone(endpoint));
        let cell = Arc::new(cell);
        cells.push(Arc::downgrade(&cell));
        cell
    }

    /// Every cell in use.
    pub(super) fn all(&self) -> Vec<Arc<CatalogCell>> {
        let cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        cells.iter().filter_map(Weak::upgrade).collect()
    }
}
