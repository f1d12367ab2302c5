//! Audit ids: what a refusal shows a person, and what finds the record again.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};

use super::time::Timestamp;

/// Crockford's base 32: no I, L, O, U, so that an id survives being read aloud.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// 55 bits of microseconds: enough until the year 3111.
const DIGITS: u32 = 11;

/// A unique id, sortable by time: the microsecond in which it was given out, or the next free one, in Crockford base 32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AuditId(pub u64);

impl AuditId {
    /// The eleven characters people see, as bytes.
    pub fn digits(self) -> [u8; DIGITS as usize] {
        let mut out = [b'0'; DIGITS as usize];
        for (place, slot) in (0..DIGITS).rev().zip(out.iter_mut()) {
            let digit = (self.0 >> (5 * place)) & 31;
            *slot = ALPHABET.get(digit as usize).copied().unwrap_or(b'0');
        }
        out
    }

    /// Reads the eleven characters, forgiving the letters that people mistake.
    pub fn read(text: &[u8]) -> Option<AuditId> {
        if text.len() != DIGITS as usize {
            return None;
        }
        text.iter().try_fold(0, |value, byte| Some(value << 5 | digit(*byte)?)).map(AuditId)
    }
}

impl fmt::Display for AuditId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.digits().into_iter().try_for_each(|digit| fmt::Write::write_char(f, char::from(digit)))
    }
}

/// The text is not an audit id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an audit id is eleven characters of 0-9 and A-Z without I, L, O and U")]
pub struct NotAnId;

impl FromStr for AuditId {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<AuditId, NotAnId> {
        AuditId::read(text.as_bytes()).ok_or(NotAnId)
    }
}

/// No digit.
const NONE: u8 = 0xff;
/// The value of each byte as a digit, forgiving the letters that people mistake.
const VALUES: [u8; 256] = values();

#[allow(clippy::indexing_slicing, reason = "evaluated at compile time")]
const fn values() -> [u8; 256] {
    let mut table = [NONE; 256];
    let mut value = 0;
    while value < 32 {
        let upper = ALPHABET[value];
        table[upper as usize] = value as u8;
        table[upper.to_ascii_lowercase() as usize] = value as u8;
        value += 1;
    }
    let mistaken = [(b'I', 1), (b'L', 1), (b'O', 0)];
    let mut at = 0;
    while at < mistaken.len() {
        let (upper, value) = mistaken[at];
        table[upper as usize] = value;
        table[upper.to_ascii_lowercase() as usize] = value;
        at += 1;
    }
    table
}

fn digit(byte: u8) -> Option<u64> {
    VALUES.get(usize::from(byte)).copied().filter(|value| *value != NONE).map(u64::from)
}

/// Gives out ids that never repeat, also when the clock stands still or goes back.
#[derive(Debug)]
pub(crate) struct Ids(AtomicU64);

impl Ids {
    /// Ids above `floor`, the highest one known from an earlier run.
    pub(crate) fn above(floor: u64) -> Ids {
        Ids(AtomicU64::new(floor))
    }

    pub(crate) fn next(&self) -> AuditId {
        let now = Timestamp::now().0;
        let advance = |last: u64| now.max(last.saturating_add(1));
        let last = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(advance(last)));
        AuditId(advance(last.unwrap_or_else(|last| last)))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_sortable_and_read_back() {
        let ids = Ids::above(0);
        let given: Vec<AuditId> = (0..10_000).map(|_| ids.next()).collect();
        let shown: Vec<String> = given.iter().map(ToString::to_string).collect();
        assert!(shown.is_sorted_by(|a, b| a < b));
        assert!(given.iter().zip(&shown).all(|(id, text)| text.to_lowercase().parse() == Ok(*id)));
    }

    #[test]
    fn a_clock_behind_the_last_run_does_not_repeat_ids() {
        let floor = Timestamp::now().0 + 1_000_000_000;
        assert_eq!(Ids::above(floor).next(), AuditId(floor + 1));
    }

    #[test]
    fn mistaken_letters_are_forgiven_and_others_refused() {
        assert_eq!("OOOOOOOOOIL".parse(), Ok(AuditId(33)));
        assert!("0000000000U".parse::<AuditId>().is_err());
        assert!("000".parse::<AuditId>().is_err());
        assert!("00000000äö".parse::<AuditId>().is_err());
    }
}
