//! Asking each database in use for its catalog: at the first login, whenever definitions changed through the proxy, and every
//! while. Over a connection of pgwarden's own, which lasts as long as the question; no session ever waits for it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::catalog::{Catalog, QUESTION, Rows};
use crate::decision::{CatalogCell, Door};

use super::upstream::Connector;

/// Longest answer.
const ANSWER_BYTES: usize = 64 << 20;
/// Longest wait for it, beside the time to connect.
const PATIENCE: Duration = Duration::from_secs(30);
/// Shortest time between two questions to one database.
const PAUSE: Duration = Duration::from_millis(200);
/// First wait after a failure whose question somebody waits for.
const RETRY: Duration = Duration::from_millis(500);
/// After so many intervals without an answer, what was known is doubted.
const INTERVALS: u32 = 5;

/// The tasks that ask, one for each database that has sessions.
#[derive(Debug, Default)]
pub struct Catalogs {
    asked: Mutex<HashMap<u64, Arc<Asked>>>,
}

/// One database that is asked.
#[derive(Debug)]
struct Asked {
    /// Sessions that it is asked for.
    sessions: AtomicUsize,
    /// Somebody wants to know more.
    wish: Notify,
    state: Mutex<State>,
}

/// How the last question went.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// When the last answer came.
    pub answered: Option<Instant>,
    /// Why the last question was not answered.
    pub error: Option<String>,
}

/// A session's part in it: as long as one is held, the database is asked.
#[derive(Debug)]
pub struct Watch {
    all: Arc<Catalogs>,
    cell: Arc<CatalogCell>,
    asked: Arc<Asked>,
}

impl Watch {
    /// Wants to know what is true of the database from now on, by each of its endpoints; given is the wish's number at the
    /// session's own, for [`CatalogCell::answered`].
    pub fn want(&self, door: &Door, database: &str) -> u64 {
        let wish = self.cell.want();
        self.asked.wish.notify_one();
        for cell in door.catalogs_of(database).iter().filter(|cell| cell.id() != self.cell.id()) {
            cell.want();
            self.all.wake(cell);
        }
        wish
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.asked.sessions.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Catalogs {
    /// Has a database asked as long as the watch is held.
    pub fn watch(self: &Arc<Self>, cell: &Arc<CatalogCell>, door: &Arc<Door>, connector: &Connector) -> Watch {
        let mut all = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = all.entry(cell.id()).or_insert_with(|| {
            let asked = Arc::new(Asked { sessions: AtomicUsize::new(0), wish: Notify::new(), state: Mutex::default() });
            let asking = Asking {
                all: Arc::clone(self),
                asked: Arc::clone(&asked),
                cell: Arc::clone(cell),
                door: Arc::clone(door),
                connector: connector.clone(),
                last: None,
            };
            tokio::spawn(asking.run());
            asked
        });
        asked.sessions.fetch_add(1, Ordering::AcqRel);
        Watch { all: Arc::clone(self), cell: Arc::clone(cell), asked: Arc::clone(asked) }
    }

    fn wake(&self, cell: &CatalogCell) {
        let all = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(asked) = all.get(&cell.id()) {
            asked.wish.notify_one();
        }
    }

    /// How it went with a database; `None` when nobody asks it.
    pub fn state(&self, cell: &CatalogCell) -> Option<State> {
        let all = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let state = all.get(&cell.id())?.state.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Some(state)
    }

    /// Forgets a database that has no sessions left.
    fn leave(&self, id: u64) -> bool {
        let mut all = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = all.get(&id).is_none_or(|asked| asked.sessions.load(Ordering::Acquire) == 0);
        if idle {
            all.remove(&id);
        }
        idle
    }
}

/// The task of one database.
struct Asking {
    all: Arc<Catalogs>,
    asked: Arc<Asked>,
    cell: Arc<CatalogCell>,
    door: Arc<Door>,
    connector: Connector,
    /// The last answer, and what it meant.
    last: Option<(String, Catalog)>,
}

impl Asking {
    async fn run(mut self) {
        let mut failures = 0u32;
        loop {
            let wanted = self.cell.wanted();
            let asked = self.ask().await;
            failures = if asked.is_ok() { 0 } else { failures.saturating_add(1) };
            self.took(asked, wanted);
            tokio::time::sleep(PAUSE).await;
            let waited_for = self.cell.wanted() > self.cell.answered();
            let interval = self.door.config().limits.catalog_refresh;
            let wait = if waited_for { (RETRY * failures.min(20)).min(interval) } else { interval };
            tokio::select! {
                () = self.asked.wish.notified() => {}
                () = tokio::time::sleep(wait) => {
                    if self.all.leave(self.cell.id()) {
                        return;
                    }
                }
            }
        }
    }

    /// Asks the server, and reads the answer unless it is the same as before.
    async fn ask(&mut self) -> Result<Catalog, String> {
        let answer = self.answer().await?;
        if let Some((before, catalog)) = &self.last
            && *before == answer
        {
            return Ok(catalog.clone());
        }
        let read = move || {
            let rows = Rows::read(&answer).map_err(|error| error.to_string())?;
            Ok::<_, String>((answer, Catalog::compile(&rows)))
        };
        let read = tokio::task::spawn_blocking(read).await;
        let (answer, catalog) = read.map_err(|_| "the answer could not be read".to_owned())??;
        self.last = Some((answer, catalog.clone()));
        Ok(catalog)
    }

    async fn answer(&self) -> Result<String, String> {
        let endpoint = self.cell.endpoint();
        let timeout = endpoint.connect_timeout.unwrap_or(self.door.config().limits.connect_timeout);
        let name = [("application_name".to_owned(), "pgwarden".to_owned())];
        let mut upstream = self.connector.connect(endpoint, &name, timeout).await.map_err(|error| error.to_string())?;
        let question = format!(
            "BEGIN READ ONLY; SET LOCAL search_path = ''; SET LOCAL statement_timeout = '30s'; SET LOCAL lock_timeout = '100ms'; {QUESTION}; COMMIT"
        );
        let answer = tokio::time::timeout(PATIENCE, upstream.ask_at_length(&question, ANSWER_BYTES)).await;
        upstream.leave().await;
        let late = |_| format!("no answer within {} s", PATIENCE.as_secs());
        answer.map_err(late)??.ok_or_else(|| "the answer is empty".to_owned())
    }

    /// Puts in what was learnt; after a failure, what was known is doubted where somebody waits for an answer or it is old.
    fn took(&self, asked: Result<Catalog, String>, wanted: u64) {
        let result = if asked.is_ok() { "ok" } else { "failed" };
        metrics::counter!("pgwarden_catalog_refreshes_total", "result" => result).increment(1);
        let mut state = self.asked.state.lock().unwrap_or_else(PoisonError::into_inner);
        match asked {
            Ok(catalog) => {
                *state = State { answered: Some(Instant::now()), error: None };
                self.cell.put(catalog, wanted);
            }
            Err(error) => {
                let endpoint = self.cell.endpoint();
                if state.error.as_ref() != Some(&error) {
                    tracing::warn!(database = endpoint.database, %error, "the catalog of a database cannot be had");
                }
                state.error = Some(error);
                let oldest = self.door.config().limits.catalog_refresh * INTERVALS;
                let old = state.answered.is_none_or(|answered| answered.elapsed() > oldest);
                if old || wanted > self.cell.answered() {
                    let known = self.cell.catalog().doubted();
                    self.cell.put(known, self.cell.answered());
                }
            }
        }
    }
}
