//! The parameters of a Bind, and the types that Parse and ParameterDescription give them.

use super::{c_string, i32_at, u16_at};

/// One parameter as Bind carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound<'a> {
    /// Whether it is in its type's binary form.
    pub binary: bool,
    /// How long the value is; `None` is NULL.
    pub length: Option<usize>,
    /// Its bytes, as far as they are here.
    pub bytes: &'a [u8],
}

/// A Bind's parameters, read from a body of which only the beginning may be here.
#[derive(Clone, Copy, Debug)]
pub struct Parameters<'a> {
    formats: &'a [u8],
    values: &'a [u8],
    /// How many there are.
    pub count: u16,
    next: u16,
}

/// The parameters of a Bind's body; `None` where not even their number is here.
pub fn parameters(body: &[u8]) -> Option<Parameters<'_>> {
    let (_, rest) = c_string(body)?;
    let (_, rest) = c_string(rest)?;
    let (formats, rest) = u16_at(rest)?;
    let (formats, rest) = rest.split_at_checked(usize::from(formats) * 2)?;
    let (count, values) = u16_at(rest)?;
    Some(Parameters { formats, values, count, next: 0 })
}

/// The value of one parameter, counted from 0; `None` for NULL, and where it is not all in `body`, which may be a beginning.
pub fn parameter(body: &[u8], place: usize) -> Option<&[u8]> {
    let bound = parameters(body)?.nth(place)?;
    (bound.length == Some(bound.bytes.len())).then_some(bound.bytes)
}

impl Parameters<'_> {
    /// One code stands for all parameters, none for text.
    fn is_binary(&self, place: u16) -> bool {
        let at = if self.formats.len() == 2 { 0 } else { usize::from(place) * 2 };
        self.formats.get(at..at + 2) == Some(&[0, 1])
    }
}

impl<'a> Iterator for Parameters<'a> {
    type Item = Bound<'a>;

    /// Ends before a value whose length is not here, or is none that Bind can have.
    fn next(&mut self) -> Option<Bound<'a>> {
        if self.next >= self.count {
            return None;
        }
        let binary = self.is_binary(self.next);
        let (length, rest) = i32_at(self.values)?;
        let length = if length == -1 { None } else { Some(usize::try_from(length).ok()?) };
        let (bytes, rest) = rest.split_at(length.unwrap_or(0).min(rest.len()));
        self.values = rest;
        self.next += 1;
        Some(Bound { binary, length, bytes })
    }
}

/// The types that a Parse's body gives its parameters; 0 leaves one to the server.
pub fn parse_types(body: &[u8]) -> Vec<u32> {
    let types = || {
        let (_, rest) = c_string(body)?;
        let (_, rest) = c_string(rest)?;
        Some(type_list(rest))
    };
    types().unwrap_or_default()
}

/// The types of a ParameterDescription's body.
pub fn described_types(body: &[u8]) -> Vec<u32> {
    type_list(body)
}

fn type_list(body: &[u8]) -> Vec<u32> {
    let Some((count, rest)) = u16_at(body) else { return Vec::new() };
    rest.as_chunks::<4>().0.iter().take(usize::from(count)).map(|oid| u32::from_be_bytes(*oid)).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const BODY: &[u8] = b"p\0s\0\0\x02\0\0\0\x01\0\x03\0\0\0\x01a\xff\xff\xff\xff\0\0\0\x02xy\0\0";

    #[test]
    fn values_and_formats_are_read() {
        let found: Vec<Bound<'_>> = parameters(BODY).unwrap().collect();
        assert_eq!(
            found,
            [
                Bound { binary: false, length: Some(1), bytes: b"a" },
                Bound { binary: true, length: None, bytes: b"" },
                Bound { binary: false, length: Some(2), bytes: b"xy" },
            ]
        );
        let all_binary = b"\0\0\0\x01\0\x01\0\x02\0\0\0\x01a\0\0\0\x01b";
        assert!(parameters(all_binary).unwrap().all(|bound| bound.binary));
    }

    #[test]
    fn a_beginning_gives_what_is_in_it_and_nothing_panics() {
        for end in 0..BODY.len() {
            let found = parameters(BODY.get(..end).unwrap()).map(|all| (all.count, all.count()));
            assert!(found.is_none_or(|(said, found)| found <= usize::from(said)));
        }
        let cut = parameters(BODY.get(..BODY.len() - 3).unwrap()).unwrap().last().unwrap();
        assert_eq!(cut, Bound { binary: false, length: Some(2), bytes: b"x" });
        let negative = b"\0\0\0\0\0\x01\xff\xff\xff\xfe";
        assert_eq!(parameters(negative).unwrap().count(), 0);
    }

    #[test]
    fn one_value_is_found_behind_null_and_formats() {
        let body = b"\0s\0\0\x01\0\0\0\x03\xff\xff\xff\xff\0\0\0\x02ab\0\0\0\0\0\0";
        let found: Vec<_> = (0..4).map(|place| parameter(body, place)).collect();
        assert_eq!(found, [None, Some(&b"ab"[..]), Some(&b""[..]), None]);
        assert_eq!(parameter(body.get(..16).unwrap(), 1), None);
        // A beginning that ends within the value is not the value.
        assert_eq!(parameter(body.get(..18).unwrap(), 1), None);
    }

    #[test]
    fn types_are_read() {
        assert_eq!(parse_types(b"s\0SELECT $1\0\0\x02\0\0\0\x17\0\0\0\0"), [23, 0]);
        assert_eq!(parse_types(b"s\0SELECT"), [0u32; 0]);
        assert_eq!(described_types(b"\0\x01\0\0\0\x19"), [25]);
    }
}
