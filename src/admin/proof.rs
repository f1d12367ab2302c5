//! A record's place in the chain: its hash computed anew over the record before, and the signature that covers it.

use jiff::Zoned;
use memchr::memmem;
use serde::Deserialize;

use crate::audit::chain::{Line, hex, link};
use crate::audit::filter::Filter;
use crate::audit::index::{Index, IndexError};
use crate::audit::keys::PublicKey;
use crate::audit::query::{Order, PageRequest};

/// What was found about a record's place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Its sequence number.
    pub seq: u64,
    /// The hash that it states.
    pub hash: String,
    /// The hash of the record before; `None` if that one is not there (any more).
    pub previous: Option<String>,
    /// Whether the stated hash is the one that follows from the record before and the record itself.
    pub chained: bool,
    /// The first signature after it.
    pub signature: Option<Signature>,
}

/// A checkpoint that covers a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// The checkpoint's sequence number.
    pub seq: u64,
    /// The name of the key that signed it.
    pub key: String,
    /// Whether it is a signature of the public key at hand; `None` if that is another key, or cannot be read.
    pub valid: Option<bool>,
}

#[derive(Deserialize)]
struct Checkpoint {
    seq: u64,
    key: String,
    signature: String,
}

/// Finds a record's place. What lies between it and the signature is not walked: that is `pgwarden audit verify`'s work.
///
/// # Errors
/// The log cannot be read.
pub fn place(index: &Index, line: &str, key: Option<&PublicKey>) -> Result<Place, IndexError> {
    let Some(own) = Line::parse(line.as_bytes()) else { return Ok(Place::default()) };
    let before = match own.seq.checked_sub(1).filter(|before| *before > 0) {
        Some(before) => one(index, &format!("event:* seq:{before}"), Order::Newest)?,
        None => None,
    };
    let previous = before.as_deref().and_then(|line| Line::parse(line.as_bytes())).map(|line| line.hash);
    let previous = if own.seq == 1 { Some([0; 32]) } else { previous };
    Ok(Place {
        seq: own.seq,
        hash: hex(&own.hash),
        chained: previous.is_some_and(|previous| link(&previous, own.covered) == own.hash),
        previous: previous.map(|hash| hex(&hash)),
        signature: one(index, &format!("event:checkpoint seq>{}", own.seq), Order::Oldest)?
            .and_then(|line| signature(&line, key)),
    })
}

fn one(index: &Index, filter: &str, order: Order) -> Result<Option<String>, IndexError> {
    let filter = Filter::parse(filter, &Zoned::now()).unwrap_or_default();
    let page = index.search(&filter, PageRequest { limit: 1, after: None, order })?;
    Ok(page.entries.into_iter().next().map(|entry| entry.line))
}

fn signature(line: &str, key: Option<&PublicKey>) -> Option<Signature> {
    let own = Line::parse(line.as_bytes())?;
    let checkpoint: Checkpoint = serde_json::from_str(line).ok()?;
    let covered = memmem::rfind(own.covered, b",\"signature\":\"").and_then(|end| own.covered.get(..end));
    let key = key.filter(|key| key.name() == checkpoint.key);
    let valid = key.zip(covered).map(|(key, covered)| key.has_signed(covered, &checkpoint.signature));
    Some(Signature { seq: checkpoint.seq, key: checkpoint.key, valid })
}
