//! Bytes ↔ frames ↔ typed views of PostgreSQL's protocol 3.0 and 3.2. Pure: no sockets, no clock.
//!
//! This is the only room that knows a message's type byte or layout; every other room uses the names from here.
//! Reference: <https://www.postgresql.org/docs/18/protocol-message-formats.html>.
//!
//! May not name: `tokio`, `sql`, `policy`, `session`, `net`, `audit`, `config`.

pub mod backend;
pub mod bind;
pub mod frontend;
pub mod report;
pub mod startup;
pub mod value;
pub mod write;

/// Bytes of a message's header: the type byte and the four-byte length, which counts itself but not the type byte.
pub const HEADER_BYTES: usize = 5;

/// A message's type and length, read from its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The type byte.
    pub tag: u8,
    /// Bytes of the body that follows the header.
    pub body_bytes: usize,
}

impl Header {
    /// Bytes of the whole message.
    pub fn message_bytes(self) -> usize {
        HEADER_BYTES + self.body_bytes
    }
}

/// What the first bytes of a buffer hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peek {
    /// Fewer bytes than a header.
    Partial,
    /// A header; its body may or may not be there yet.
    Header(Header),
    /// A length that no message can have (`pqformat` refuses it; the server closes the connection).
    Bad,
}

/// Reads the header at the start of `buffer`.
pub fn peek(buffer: &[u8]) -> Peek {
    let Some((&[tag, a, b, c, d], _)) = buffer.split_first_chunk::<HEADER_BYTES>() else {
        return Peek::Partial;
    };
    let length = i32::from_be_bytes([a, b, c, d]);
    match usize::try_from(length) {
        Ok(length) if length >= 4 => Peek::Header(Header { tag, body_bytes: length - 4 }),
        _ => Peek::Bad,
    }
}

/// Splits a NUL-terminated string off the front of `bytes`: the string without its NUL, and the rest.
pub(crate) fn c_string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr::memchr(0, bytes)?;
    Some((bytes.get(..end)?, bytes.get(end + 1..)?))
}

/// Splits a big-endian `u16` off the front.
pub(crate) fn u16_at(bytes: &[u8]) -> Option<(u16, &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<2>()?;
    Some((u16::from_be_bytes(*head), rest))
}

/// Splits a big-endian `i32` off the front.
pub(crate) fn i32_at(bytes: &[u8]) -> Option<(i32, &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<4>()?;
    Some((i32::from_be_bytes(*head), rest))
}
