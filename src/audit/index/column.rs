//! A block's columns: for each field, what every record of the block has in it. In memory, and as bytes.
//!
//! A block is a stretch of records of one segment. Texts are numbers into a dictionary of the block's own, so a question is put to
//! each different value once, and then to small numbers.

use std::io;
use std::sync::Arc;

use crate::audit::filter::Field;

/// Most records in a block.
pub(super) const BLOCK_ROWS: usize = 32_768;
/// A block whose texts are longer than this together is closed early.
pub(super) const BLOCK_TEXT_BYTES: usize = 16 << 20;
/// So many texts are compressed together, and are one document of the full-text search.
pub(super) const CHUNK_TEXTS: usize = 64;
/// What decompression may give at most: a block's texts, the one that crossed the limit included.
const MOST_BYTES: usize = 2 << 30;

macro_rules! columns {
    ($(#[doc = $doc:literal])* $name:ident { $($column:ident),* $(,)? }) => {
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[allow(missing_docs, reason = "each is the field of the same name")]
        pub(super) enum $name { $($column,)* }

        impl $name {
            pub(super) const ALL: &'static [$name] = &[$($name::$column,)*];
        }
    };
}

columns! {
    /// Columns of texts. `Effects` holds whole lists of effects, `Words` what free text is looked for in.
    TextColumn {
        Event, User, Role, Environment, Database, Endpoint, Client, Application, Login, Verdict, Rule, Policy, Readers,
        Fingerprint, Protocol, Session, Grant, Error, Tag, State, Reason, By, Target, Effects, Words,
    }
}

columns! {
    /// Columns of numbers. `Outcome` is the sequence number of a statement's outcome, `Offset` where the line begins in its
    /// (decompressed) segment.
    NumberColumn { Seq, Time, Offset, Id, Of, Outcome, Transaction, Generation, Rows, Bytes, Duration }
}

impl NumberColumn {
    /// Whether its values go up with the records, so that differences are smaller.
    fn rises(self) -> bool {
        match self {
            NumberColumn::Seq | NumberColumn::Time | NumberColumn::Offset | NumberColumn::Id => true,
            NumberColumn::Of | NumberColumn::Outcome | NumberColumn::Transaction | NumberColumn::Generation => false,
            NumberColumn::Rows | NumberColumn::Bytes | NumberColumn::Duration => false,
        }
    }
}

/// Where a field's values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Home {
    /// In a column of texts.
    Text(TextColumn),
    /// In a column of numbers.
    Number(NumberColumn),
    /// In a column of audit ids.
    Id(NumberColumn),
    /// In the lists of effects.
    Effects,
    /// A point in time.
    Time,
}

/// Where a field's values are.
pub(super) fn home(field: Field) -> Home {
    use Home::{Effects, Id, Number, Text, Time};
    match field {
        Field::User => Text(TextColumn::User),
        Field::Role => Text(TextColumn::Role),
        Field::Environment => Text(TextColumn::Environment),
        Field::Database => Text(TextColumn::Database),
        Field::Endpoint => Text(TextColumn::Endpoint),
        Field::Client => Text(TextColumn::Client),
        Field::Application => Text(TextColumn::Application),
        Field::Login => Text(TextColumn::Login),
        Field::Event => Text(TextColumn::Event),
        Field::Verdict => Text(TextColumn::Verdict),
        Field::Rule => Text(TextColumn::Rule),
        Field::Policy => Text(TextColumn::Policy),
        Field::Readers => Text(TextColumn::Readers),
        Field::Fingerprint => Text(TextColumn::Fingerprint),
        Field::Protocol => Text(TextColumn::Protocol),
        Field::Session => Text(TextColumn::Session),
        Field::Grant => Text(TextColumn::Grant),
        Field::Error => Text(TextColumn::Error),
        Field::Tag => Text(TextColumn::Tag),
        Field::State => Text(TextColumn::State),
        Field::Reason => Text(TextColumn::Reason),
        Field::By => Text(TextColumn::By),
        Field::Target => Text(TextColumn::Target),
        Field::Effect | Field::Act | Field::Object => Effects,
        Field::Id => Id(NumberColumn::Id),
        Field::Of => Id(NumberColumn::Of),
        Field::Transaction => Number(NumberColumn::Transaction),
        Field::Sequence => Number(NumberColumn::Seq),
        Field::Generation => Number(NumberColumn::Generation),
        Field::Rows => Number(NumberColumn::Rows),
        Field::Bytes => Number(NumberColumn::Bytes),
        Field::Duration => Number(NumberColumn::Duration),
        Field::Since | Field::Until | Field::Before | Field::On => Time,
    }
}

/// A column of texts.
#[derive(Clone, Debug, Default)]
pub(super) struct Texts {
    /// The different values.
    pub(super) dictionary: Vec<Box<str>>,
    /// For each record, its value's place in the dictionary.
    pub(super) codes: Vec<u16>,
}

impl Texts {
    /// A record's value.
    pub(super) fn value(&self, row: usize) -> &str {
        self.codes.get(row).and_then(|code| self.dictionary.get(usize::from(*code))).map_or("", |value| value)
    }

    /// Gives a record another value.
    pub(super) fn put(&mut self, row: usize, value: &str) {
        let known = self.dictionary.iter().position(|known| **known == *value);
        let place = known.unwrap_or_else(|| {
            self.dictionary.push(value.into());
            self.dictionary.len() - 1
        });
        if let (Some(slot), Ok(code)) = (self.codes.get_mut(row), u16::try_from(place)) {
            *slot = code;
        }
    }
}

/// A column of numbers: 0 where a record has none, otherwise its number and one.
pub(super) type Numbers = Vec<u64>;

/// A number as it stands in a column.
pub(super) fn stored(number: Option<u64>) -> u64 {
    number.map_or(0, |number| number.saturating_add(1))
}

/// The number that stands in a column.
pub(super) fn shown(stored: u64) -> Option<u64> {
    stored.checked_sub(1)
}

/// All columns of a block in memory. Cheap to clone; what was cloned does not change.
#[derive(Clone, Debug)]
pub(super) struct Columns {
    pub(super) texts: Vec<Arc<Texts>>,
    pub(super) numbers: Vec<Arc<Numbers>>,
}

impl Default for Columns {
    fn default() -> Columns {
        Columns {
            texts: TextColumn::ALL.iter().map(|_| Arc::default()).collect(),
            numbers: NumberColumn::ALL.iter().map(|_| Arc::default()).collect(),
        }
    }
}

impl Columns {
    pub(super) fn text(&self, column: TextColumn) -> Arc<Texts> {
        self.texts.get(column as usize).map(Arc::clone).unwrap_or_default()
    }

    pub(super) fn number(&self, column: NumberColumn) -> Arc<Numbers> {
        self.numbers.get(column as usize).map(Arc::clone).unwrap_or_default()
    }
}

fn damaged(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Compresses with a checksum, so that damage is found when it is read.
pub(super) fn pack(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut compressor = zstd::bulk::Compressor::new(1)?;
    compressor.include_checksum(true)?;
    compressor.compress(bytes)
}

pub(super) fn unpack(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let length = zstd::zstd_safe::get_frame_content_size(bytes).ok().flatten().ok_or_else(|| damaged("no length"))?;
    let length = usize::try_from(length).ok().filter(|length| *length <= MOST_BYTES);
    zstd::bulk::decompress(bytes, length.ok_or_else(|| damaged("too long"))?)
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Takes a number off the front.
fn take_varint(bytes: &mut &[u8]) -> io::Result<u64> {
    if let [only @ 0..0x80, rest @ ..] = *bytes {
        *bytes = rest;
        return Ok(u64::from(*only));
    }
    let mut value = 0u64;
    for (index, byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            *bytes = bytes.get(index + 1..).unwrap_or_default();
            return Ok(value);
        }
    }
    Err(damaged("a number does not end"))
}

/// Texts one after the other, each with its length before it.
pub(super) fn encode_dictionary<'a>(values: impl IntoIterator<Item = &'a str>) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    for value in values {
        varint(&mut out, value.len() as u64);
        out.extend_from_slice(value.as_bytes());
    }
    pack(&out)
}

pub(super) fn decode_dictionary(packed: &[u8]) -> io::Result<Vec<Box<str>>> {
    let mut values = Vec::new();
    each_text(packed, |value| values.push(value.into()))?;
    Ok(values)
}

/// Hands each text of a dictionary to `look`, in order.
pub(super) fn each_text(packed: &[u8], mut look: impl FnMut(&str)) -> io::Result<()> {
    let bytes = unpack(packed)?;
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        let length = usize::try_from(take_varint(&mut rest)?).unwrap_or(usize::MAX);
        let (value, after) = rest.split_at_checked(length).ok_or_else(|| damaged("a text is cut"))?;
        look(std::str::from_utf8(value).map_err(|_| damaged("not UTF-8"))?);
        rest = after;
    }
    Ok(())
}

/// One byte a record where the dictionary is small, otherwise two; nothing where all have the same value.
pub(super) fn encode_codes(texts: &Texts) -> io::Result<Vec<u8>> {
    let mut out = Vec::with_capacity(texts.codes.len() * 2);
    match texts.dictionary.len() {
        0 | 1 => {}
        2..=256 => out.extend(texts.codes.iter().map(|code| *code as u8)),
        _ => texts.codes.iter().for_each(|code| out.extend_from_slice(&code.to_le_bytes())),
    }
    pack(&out)
}

pub(super) fn decode_codes(packed: &[u8], values: usize, rows: usize) -> io::Result<Vec<u16>> {
    let bytes = unpack(packed)?;
    let codes: Vec<u16> = match values {
        0 | 1 => vec![0; rows],
        2..=256 => bytes.iter().map(|byte| u16::from(*byte)).collect(),
        _ => bytes.as_chunks::<2>().0.iter().map(|pair| u16::from_le_bytes(*pair)).collect(),
    };
    if codes.len() == rows { Ok(codes) } else { Err(damaged("a column is cut")) }
}

pub(super) fn encode_numbers(column: NumberColumn, numbers: &[u64]) -> io::Result<Vec<u8>> {
    let mut out = Vec::with_capacity(numbers.len() * 3);
    let mut before = 0u64;
    for number in numbers {
        if column.rises() {
            let difference = number.wrapping_sub(before) as i64;
            varint(&mut out, ((difference << 1) ^ (difference >> 63)) as u64);
            before = *number;
        } else {
            varint(&mut out, *number);
        }
    }
    pack(&out)
}

pub(super) fn decode_numbers(column: NumberColumn, packed: &[u8], rows: usize) -> io::Result<Numbers> {
    let bytes = unpack(packed)?;
    let mut rest = bytes.as_slice();
    let mut numbers = Vec::with_capacity(rows);
    let mut before = 0u64;
    for _ in 0..rows {
        let value = take_varint(&mut rest)?;
        if column.rises() {
            let difference = (value >> 1) as i64 ^ -((value & 1) as i64);
            before = before.wrapping_add(difference as u64);
            numbers.push(before);
        } else {
            numbers.push(value);
        }
    }
    if rest.is_empty() { Ok(numbers) } else { Err(damaged("a column is too long")) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn columns_come_back_as_they_were_stored() {
        let numbers = vec![0, 5, 4, u64::MAX, 0, 1 << 40, 1];
        for column in NumberColumn::ALL {
            let packed = encode_numbers(*column, &numbers).unwrap();
            assert_eq!(decode_numbers(*column, &packed, numbers.len()).unwrap(), numbers);
            assert!(decode_numbers(*column, &packed, numbers.len() + 1).is_err());
            assert!(decode_numbers(*column, &packed, numbers.len() - 1).is_err());
        }
        for values in [1usize, 2, 256, 257, 1000] {
            let texts = Texts {
                dictionary: (0..values).map(|value| format!("ä{value}").into()).collect(),
                codes: (0..3000).map(|row| (row % values) as u16).collect(),
            };
            let dictionary = encode_dictionary(texts.dictionary.iter().map(|value| &**value)).unwrap();
            assert_eq!(decode_dictionary(&dictionary).unwrap(), texts.dictionary);
            assert_eq!(decode_codes(&encode_codes(&texts).unwrap(), values, 3000).unwrap(), texts.codes);
        }
    }

    #[test]
    fn damage_is_found() {
        let packed = encode_dictionary(["one", "two", "three"]).unwrap();
        for at in 0..packed.len() {
            let mut damaged = packed.clone();
            damaged.get_mut(at).map(|byte| *byte ^= 0x40).unwrap();
            assert_ne!(decode_dictionary(&damaged).ok(), Some(decode_dictionary(&packed).unwrap()), "byte {at}");
        }
    }
}
