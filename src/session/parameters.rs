//! Bind parameters as the record shows them: only where policy asks for it, and never more than a few kilobytes.

use std::sync::{Arc, OnceLock};

use crate::decision::Judgement;
use crate::policy::BindParameters;
use crate::sql::secrets;
use crate::wire::HEADER_BYTES;
use crate::wire::bind::{self, Bound};
use crate::wire::value;

use super::state::{Event, Session};

/// How much of a Bind is looked at; what lies behind it is not recorded, and never held in memory for it.
pub const LOOKED_AT_BYTES: usize = 64 << 10;
/// Most parameters of one Bind that are shown; the others are counted.
pub const MOST_SHOWN: usize = 100;
/// Longest text shown of one value.
pub const VALUE_BYTES: usize = 1 << 10;
/// Most bytes shown of one value that is not text.
pub const HEX_BYTES: usize = 64;
/// Most bytes shown of all values of one Bind together; of those behind only lengths are.
pub const ALL_VALUES_BYTES: usize = 8 << 10;

/// The parameters of one Bind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// Those that are shown, in order.
    pub shown: Vec<Parameter>,
    /// How many there are.
    pub count: usize,
}

/// One parameter, as far as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parameter {
    /// NULL.
    Null,
    /// A value as text; where it is cut, how long it was.
    Text(String, Option<usize>),
    /// The beginning of a value that is no text known here, and how long it was.
    Hex(Vec<u8>, usize),
    /// A secret.
    Hidden,
    /// A value's type, where it is known, and its length.
    Outline(Option<&'static str>, usize),
}

/// The types of a statement's parameters: as its Parse gave them, and as the server described them.
#[derive(Debug)]
pub struct Types {
    given: Vec<u32>,
    described: OnceLock<Vec<u32>>,
}

impl Types {
    /// As a Parse's body gives them.
    pub(super) fn given(parse: &[u8]) -> Types {
        Types { given: bind::parse_types(parse), described: OnceLock::new() }
    }

    /// As the server describes them.
    pub(super) fn describe(&self, body: &[u8]) {
        let _ = self.described.set(bind::described_types(body));
    }

    fn of(&self, place: usize) -> u32 {
        let described = self.described.get().and_then(|types| types.get(place));
        described.or_else(|| self.given.get(place)).copied().unwrap_or(0)
    }
}

impl Session {
    /// From the next message on, so much of bind parameters is recorded.
    pub fn record_parameters(&mut self, recorded: BindParameters) {
        self.recorded = recorded;
    }

    /// How much of a Bind's body must be there before it is taken.
    pub fn wants_of_bind(&self) -> usize {
        if self.recorded == BindParameters::None { 0 } else { LOOKED_AT_BYTES }
    }

    /// A statement's types, where its parameters will be recorded.
    pub(super) fn types(&self, parse: &[u8]) -> Option<Arc<Types>> {
        (self.recorded != BindParameters::None).then(|| Arc::new(Types::given(parse)))
    }

    /// What is recorded of a Bind's parameters.
    pub(super) fn parameters(
        &self,
        judgement: &Judgement,
        types: Option<&Types>,
        bytes: &[u8],
    ) -> Option<Arc<Parameters>> {
        if self.recorded == BindParameters::None {
            return None;
        }
        let body = bytes.get(HEADER_BYTES..)?;
        let bound = bind::parameters(body.get(..LOOKED_AT_BYTES).unwrap_or(body))?;
        if bound.count == 0 {
            return None;
        }
        let count = usize::from(bound.count);
        let mut left = ALL_VALUES_BYTES;
        let mut shown = Vec::with_capacity(count.min(MOST_SHOWN));
        for (place, bound) in bound.take(MOST_SHOWN).enumerate() {
            let oid = types.map_or(0, |types| types.of(place));
            let number = u16::try_from(place + 1).unwrap_or(u16::MAX);
            let parameter = match self.recorded {
                BindParameters::Whole if judgement.secret_parameters().hides(number) => Parameter::Hidden,
                BindParameters::Whole if left > 0 => whole(oid, &bound, left),
                _ => outline(oid, &bound),
            };
            left = left.saturating_sub(parameter.bytes());
            shown.push(parameter);
        }
        Some(Arc::new(Parameters { shown, count }))
    }

    /// Puts parameters into the event of the statement that was just told of.
    pub(super) fn tell_parameters(&mut self, bound: Option<Arc<Parameters>>) {
        let last = self.out.events.iter_mut().rev().find_map(|event| match event {
            Event::Statement { parameters, .. } => Some(parameters),
            Event::Outcome(_) | Event::TransactionEnd { .. } => None,
        });
        if let (Some(last), Some(bound)) = (last, bound) {
            *last = Some(bound);
        }
    }
}

impl Parameter {
    fn bytes(&self) -> usize {
        match self {
            Parameter::Text(text, _) => text.len(),
            Parameter::Hex(bytes, _) => bytes.len() * 2,
            Parameter::Null | Parameter::Hidden | Parameter::Outline(..) => 0,
        }
    }
}

fn outline(oid: u32, bound: &Bound<'_>) -> Parameter {
    bound.length.map_or(Parameter::Null, |length| Parameter::Outline(value::type_name(oid), length))
}

fn whole(oid: u32, bound: &Bound<'_>, left: usize) -> Parameter {
    let Some(length) = bound.length else { return Parameter::Null };
    match text_of(oid, bound, length) {
        // A secret inside a value must be whole to be found, so it is looked for before the value is cut.
        Some(text) => {
            let clean = secrets::redact_value(&text);
            let end = clean.floor_char_boundary(VALUE_BYTES.min(left));
            let cut = end < clean.len() || bound.bytes.len() < length;
            Parameter::Text(clean.get(..end).unwrap_or_default().to_owned(), cut.then_some(length))
        }
        None => {
            let bytes = bound.bytes.get(..HEX_BYTES.min(left)).unwrap_or(bound.bytes);
            Parameter::Hex(bytes.to_vec(), length)
        }
    }
}

/// The value as text, where it is one: as it came, or out of its type's binary form.
fn text_of(oid: u32, bound: &Bound<'_>, length: usize) -> Option<String> {
    if !bound.binary || value::is_text(oid) {
        return beginning(bound.bytes, bound.bytes.len() < length);
    }
    if bound.bytes.len() < length {
        return None;
    }
    value::text_of(oid, bound.bytes)
}

/// The text; one that is cut may end inside a character.
fn beginning(bytes: &[u8], cut: bool) -> Option<String> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Some(text.to_owned()),
        Err(error) if cut && error.error_len().is_none() => {
            std::str::from_utf8(bytes.get(..error.valid_up_to())?).ok().map(str::to_owned)
        }
        Err(_) => None,
    }
}
