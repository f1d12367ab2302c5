//! Runs a reader where the stack is deep enough for the text.
//!
//! The grammar's tree is decoded, walked and dropped by recursion. libpg_query cuts trees off at 10,000 levels
//! (`PG_QUERY_PROTOBUF_MAX_DEPTH`), so the deepest possible text needs a stack that is bounded and known; only texts that could be
//! deep pay for a thread that has it.

use super::limits::Depth;

/// Deepest brackets that the calling thread's stack is trusted with.
const SHALLOW_NESTING: usize = 20;

/// Most links (operators and the like) that the calling thread's stack is trusted with.
const SHALLOW_LINKS: usize = 120;

/// Stack of the thread for deep texts, in bytes. Reserved, not used, until a text needs it.
const DEEP_STACK: usize = 512 << 20;

/// Runs `task` here when the text is shallow, else on a thread of its own. `None` when that thread cannot be had or fails.
pub(crate) fn deep_enough<R: Send>(depth: Depth, task: impl FnOnce() -> R + Send) -> Option<R> {
    if depth.nesting <= SHALLOW_NESTING && depth.links <= SHALLOW_LINKS {
        return Some(task());
    }
    let named = std::thread::Builder::new().name("sql-reader".to_owned()).stack_size(DEEP_STACK);
    std::thread::scope(|scope| named.spawn_scoped(scope, task).ok()?.join().ok())
}
