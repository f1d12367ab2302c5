//! Buffers that a thread's sessions take turns with: a session holds one only while bytes lie in it.

use std::cell::RefCell;

use bytes::BytesMut;

/// Bytes of a fresh buffer: a query or an answer of ordinary size.
const FRESH_BYTES: usize = 16 << 10;
/// Larger ones are given back to the system.
const KEEP_BYTES: usize = 512 << 10;
/// Most spare buffers of a thread.
const SPARE: usize = 32;

thread_local! {
    static SPARES: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
}

/// Gives a buffer without room one of the spare ones.
pub fn take(buffer: &mut BytesMut) {
    if buffer.capacity() == 0 {
        let spare = SPARES.with_borrow_mut(Vec::pop);
        *buffer = spare.unwrap_or_else(|| BytesMut::with_capacity(FRESH_BYTES));
    }
}

/// Takes an empty buffer back, for whichever session needs one next.
pub fn give_back(buffer: &mut BytesMut) {
    if !buffer.is_empty() || buffer.capacity() == 0 {
        return;
    }
    let mut spare = std::mem::take(buffer);
    // What was taken from its front is room again.
    spare.clear();
    spare.reserve(FRESH_BYTES);
    SPARES.with_borrow_mut(|spares| {
        if spares.len() < SPARE && spare.capacity() <= KEEP_BYTES {
            spares.push(spare);
        }
    });
}
