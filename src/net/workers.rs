//! The threads that sessions run on, each with an event loop of its own. A session stays on the thread it was given to: nothing that it does
//! for a query wakes another thread, and the sessions of a thread that are ready at once share one write to the audit log.
//!
//! Why not work stealing: `docs/performance.md`.

use std::future::Future;
use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use crate::audit::{Audit, Desk};

/// Events taken from the system at once.
const EVENTS: usize = 256;

/// The threads.
#[derive(Debug)]
pub struct Workers {
    workers: Vec<Worker>,
}

/// One thread.
#[derive(Debug)]
struct Worker {
    handle: Handle,
    desk: Desk,
    sessions: Arc<AtomicUsize>,
    /// Dropped with it, which ends the thread.
    _stop: oneshot::Sender<()>,
}

impl Workers {
    /// Starts so many threads; if not told, one for every two cores that this process may use.
    ///
    /// # Errors
    /// The system gives no thread, or no event queue.
    pub fn start(count: Option<NonZeroUsize>, audit: &Audit) -> io::Result<Workers> {
        let count = count.map_or_else(for_this_machine, NonZeroUsize::get);
        let workers: io::Result<Vec<Worker>> = (0..count).map(|number| Worker::start(number, audit)).collect();
        Ok(Workers { workers: workers? })
    }

    /// Gives a connection to the thread that has fewest; it stays there to its end.
    pub fn give<F: Future<Output = ()> + Send + 'static>(&self, connection: impl FnOnce(Seat) -> F) {
        if let Some(worker) = self.workers.iter().min_by_key(|worker| worker.sessions.load(Ordering::Relaxed)) {
            worker.handle.spawn(connection(Seat::taken(&worker.desk, &worker.sessions)));
        }
    }
}

impl Worker {
    fn start(number: usize, audit: &Audit) -> io::Result<Worker> {
        let runtime = Builder::new_current_thread().enable_all().max_io_events_per_tick(EVENTS).build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        std::thread::Builder::new()
            .name(format!("sessions-{number}"))
            .spawn(move || runtime.block_on(async { drop(stopped.await) }))?;
        Ok(Worker { handle, desk: audit.desk(), sessions: Arc::default(), _stop: stop })
    }
}

/// Half of the cores: the fewer threads, the more sessions are ready at once on each, and the less a query costs; the network's
/// own work, and often Postgres', wants the others.
fn for_this_machine() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get).div_ceil(2)
}

/// A connection's seat on its thread.
#[derive(Debug)]
pub struct Seat {
    /// Where its records go.
    pub desk: Desk,
    sessions: Arc<AtomicUsize>,
}

impl Seat {
    fn taken(desk: &Desk, sessions: &Arc<AtomicUsize>) -> Seat {
        sessions.fetch_add(1, Ordering::Relaxed);
        Seat { desk: desk.clone(), sessions: Arc::clone(sessions) }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.sessions.fetch_sub(1, Ordering::Relaxed);
    }
}
