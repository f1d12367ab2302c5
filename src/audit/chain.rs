//! The chain: each record's hash covers the record and the hash before it; each has a keyed mark; checkpoints are signed.
//!
//! A line is `{"seq":N` + body + `,"hash":"…","mac":"…"}` + newline, where
//! hash = SHA-256(hash before, 32 bytes ‖ the line up to `,"hash"`), and
//! mac = the first 16 bytes of HMAC-SHA-256(key, hash). The hash before the first record is 32 zero bytes.
//! `docs/audit.md` says what that proves and against whom.

use ring::{digest, hmac};

use super::json;

/// A link of the chain.
pub type Hash = [u8; 32];

/// `,"hash":"` 64 digits `","mac":"` 32 digits `"}`
const SEAL_BYTES: usize = 9 + 64 + 9 + 32 + 2;
const HASH_NAME: &[u8] = b",\"hash\":\"";
const MAC_NAME: &[u8] = b"\",\"mac\":\"";
const END: &[u8] = b"\"}";

/// Where the chain stands: the last record's sequence number and hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Sequence number of the last record; 0 before the first.
    pub seq: u64,
    /// Hash of the last record; zero bytes before the first.
    pub hash: Hash,
}

impl Chain {
    /// Before the first record.
    pub const START: Chain = Chain { seq: 0, hash: [0; 32] };

    /// Appends the next record's line to `out`: `body` is its members from the second on, each with its leading comma.
    pub(crate) fn seal(&mut self, key: &hmac::Key, out: &mut Vec<u8>, body: &[u8]) {
        let start = out.len();
        self.seq += 1;
        out.extend_from_slice(b"{\"seq\":");
        json::number(out, self.seq);
        out.extend_from_slice(body);
        self.hash = link(&self.hash, out.get(start..).unwrap_or_default());
        out.extend_from_slice(HASH_NAME);
        json::hex(out, &self.hash);
        out.extend_from_slice(MAC_NAME);
        json::hex(out, &mark(key, &self.hash));
        out.extend_from_slice(b"\"}\n");
    }
}

/// The hash of a record after `previous`.
pub fn link(previous: &Hash, covered: &[u8]) -> Hash {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(previous);
    context.update(covered);
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

/// The keyed mark of a hash.
pub fn mark(key: &hmac::Key, hash: &Hash) -> [u8; 16] {
    let tag = hmac::sign(key, hash);
    let mut mark = [0; 16];
    mark.iter_mut().zip(tag.as_ref()).for_each(|(to, from)| *to = *from);
    mark
}

/// A line taken apart, nothing checked but its shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// The sequence number it states.
    pub seq: u64,
    /// The bytes that its hash covers.
    pub covered: &'a [u8],
    /// The hash it states.
    pub hash: Hash,
    /// The keyed mark it states.
    pub mac: [u8; 16],
}

impl<'a> Line<'a> {
    /// Takes apart a line without its newline. `None` if it has not the shape of a record.
    pub fn parse(line: &'a [u8]) -> Option<Line<'a>> {
        let (covered, seal) = line.split_at_checked(line.len().checked_sub(SEAL_BYTES)?)?;
        let hash_digits = seal.strip_prefix(HASH_NAME)?;
        let (hash_digits, rest) = hash_digits.split_at_checked(64)?;
        let (mac_digits, end) = rest.strip_prefix(MAC_NAME)?.split_at_checked(32)?;
        let seq = sequence(covered)?;
        (end == END).then_some(())?;
        Some(Line { seq, covered, hash: unhex(hash_digits)?, mac: unhex(mac_digits)? })
    }
}

/// The bytes that the hash of a line without its newline covers, and the digits of the hash that it states, unread.
pub fn unsealed(line: &[u8]) -> Option<(&[u8], &str)> {
    let (covered, seal) = line.split_at_checked(line.len().checked_sub(SEAL_BYTES)?)?;
    let digits = seal.strip_prefix(HASH_NAME)?.get(..64)?;
    Some((covered, std::str::from_utf8(digits).ok()?))
}

fn sequence(covered: &[u8]) -> Option<u64> {
    let digits = covered.strip_prefix(b"{\"seq\":")?;
    let end = digits.iter().position(|byte| !byte.is_ascii_digit())?;
    (digits.get(end) == Some(&b',')).then_some(())?;
    std::str::from_utf8(digits.get(..end)?).ok()?.parse().ok()
}

/// Reads lower-case hexadecimal digits. Upper case is refused: a record has one spelling.
pub fn unhex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let mut out = [0; N];
    if digits.len() != 2 * N {
        return None;
    }
    for (slot, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *slot = nibble(*high)? << 4 | nibble(*low)?;
    }
    Some(out)
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

/// Hexadecimal digits as text.
pub fn hex(bytes: &[u8]) -> String {
    let mut out = Vec::with_capacity(bytes.len() * 2);
    json::hex(&mut out, bytes);
    String::from_utf8(out).unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_is_taken_apart_again() {
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"k");
        let mut chain = Chain::START;
        let mut out = Vec::new();
        chain.seal(&key, &mut out, b",\"event\":\"x\"");
        let line = Line::parse(out.strip_suffix(b"\n").unwrap()).unwrap();
        assert_eq!((line.seq, line.hash), (1, chain.hash));
        assert_eq!(link(&Chain::START.hash, line.covered), chain.hash);
        assert_eq!(mark(&key, &line.hash), line.mac);
        assert!(serde_json::from_slice::<serde_json::Value>(&out).is_ok());
        let digits = hex(&chain.hash);
        assert_eq!(unsealed(out.strip_suffix(b"\n").unwrap()), Some((line.covered, digits.as_str())));
        for cut in 0..out.len() - 1 {
            assert_eq!(Line::parse(out.get(..cut).unwrap()), None);
        }
    }
}
