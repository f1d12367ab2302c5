//! The audit room's JSON writer: known fields straight into a reused buffer.
//!
//! Beside what JSON demands, it escapes whatever could deceive someone who reads the file in a terminal: control characters
//! (C0, DEL, C1), bidirectional marks, zero-width characters and line separators. A record is always one line.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Bytes that cannot be copied blindly: escapes of JSON, controls, and the lead bytes under which hazards lie in UTF-8.
const SUSPECT: [bool; 256] = suspects();

#[allow(clippy::indexing_slicing, reason = "evaluated at compile time")]
const fn suspects() -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = byte < 0x20 || matches!(byte, 0x22 | 0x5c | 0x7f | 0xc2 | 0xd8 | 0xe1 | 0xe2 | 0xef | 0xf3);
        byte += 1;
    }
    table
}

/// Whether a character shows nothing, or changes how a terminal or a person reads what stands around it.
pub fn is_hazard(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Writes `text` as a JSON string, quotes included.
pub fn string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut rest = text;
    while let Some(at) = rest.bytes().position(|byte| SUSPECT.get(usize::from(byte)).copied().unwrap_or(true)) {
        let (clean, suspect) = rest.split_at(at);
        out.extend_from_slice(clean.as_bytes());
        let Some(c) = suspect.chars().next() else { break };
        character(out, c);
        rest = suspect.get(c.len_utf8()..).unwrap_or_default();
    }
    out.extend_from_slice(rest.as_bytes());
    out.push(b'"');
}

fn character(out: &mut Vec<u8>, c: char) {
    match c {
        '"' => out.extend_from_slice(b"\\\""),
        '\\' => out.extend_from_slice(b"\\\\"),
        '\n' => out.extend_from_slice(b"\\n"),
        '\r' => out.extend_from_slice(b"\\r"),
        '\t' => out.extend_from_slice(b"\\t"),
        c if is_hazard(c) => {
            for unit in c.encode_utf16(&mut [0; 2]) {
                out.extend_from_slice(b"\\u");
                hex(out, &unit.to_be_bytes());
            }
        }
        c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

/// Writes lower-case hexadecimal digits.
pub fn hex(out: &mut Vec<u8>, bytes: &[u8]) {
    let mut digits = [0; 64];
    for part in bytes.chunks(32) {
        for (pair, byte) in digits.chunks_exact_mut(2).zip(part) {
            pair.copy_from_slice(&[hex_digit(byte >> 4), hex_digit(byte & 15)]);
        }
        out.extend_from_slice(digits.get(..2 * part.len()).unwrap_or_default());
    }
}

const fn hex_digit(nibble: u8) -> u8 {
    if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 }
}

/// Writes a decimal number.
pub fn number(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0u8; 20];
    let mut used = 0;
    for slot in digits.iter_mut().rev() {
        *slot = b'0' + (value % 10) as u8;
        value /= 10;
        used += 1;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(20 - used..).unwrap_or_default());
}

/// Writes the members of an object, each as `,"name":value`, after something that already stands in the buffer.
pub struct Members<'a>(pub &'a mut Vec<u8>);

impl Members<'_> {
    /// `,"name":` with the value to follow.
    pub fn name(&mut self, name: &str) -> &mut Vec<u8> {
        self.0.extend_from_slice(b",\"");
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b"\":");
        self.0
    }

    /// A text member.
    pub fn text(&mut self, name: &str, value: &str) {
        string(self.name(name), value);
    }

    /// A text member that is known to need no escaping.
    pub fn word(&mut self, name: &str, value: &str) {
        let out = self.name(name);
        out.push(b'"');
        out.extend_from_slice(value.as_bytes());
        out.push(b'"');
    }

    /// A text member, left out when absent.
    pub fn maybe(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(name, value);
        }
    }

    /// A number.
    pub fn number(&mut self, name: &str, value: u64) {
        number(self.name(name), value);
    }

    /// A truth value.
    pub fn flag(&mut self, name: &str, value: bool) {
        self.name(name).extend_from_slice(if value { b"true" } else { b"false" });
    }

    /// A value that is JSON already.
    pub fn raw(&mut self, name: &str, value: &str) {
        self.name(name).extend_from_slice(value.as_bytes());
    }

    /// A text member of bytes from outside: not UTF-8, it is written with U+FFFD, and whole as `<name>_base64`.
    pub fn bytes(&mut self, name: &str, value: &[u8]) {
        match std::str::from_utf8(value) {
            Ok(text) => self.text(name, text),
            Err(_) => {
                self.text(name, &String::from_utf8_lossy(value));
                self.word(&format!("{name}_base64"), &STANDARD.encode(value));
            }
        }
    }

    /// An array of texts.
    pub fn texts(&mut self, name: &str, values: &[String]) {
        let out = self.name(name);
        out.push(b'[');
        for (index, value) in values.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            string(out, value);
        }
        out.push(b']');
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_character_survives_and_hazards_are_escaped() {
        let mut out = Vec::new();
        for c in '\0'..=char::MAX {
            out.clear();
            let text = format!("a{c}b");
            string(&mut out, &text);
            let back: String = serde_json::from_slice(&out).unwrap();
            assert_eq!(back, text);
            let shown = std::str::from_utf8(&out).unwrap();
            assert!(!shown.chars().any(is_hazard), "U+{:04X} written raw", u32::from(c));
        }
    }

    #[test]
    fn bytes_that_are_not_utf8_are_kept_whole_beside_the_text() {
        let mut out = Vec::new();
        Members(&mut out).bytes("text", b"a\xff\x80b");
        assert_eq!(String::from_utf8(out).unwrap(), ",\"text\":\"a\u{fffd}\u{fffd}b\",\"text_base64\":\"Yf+AYg==\"");
    }

    #[test]
    fn numbers_are_what_the_standard_library_writes() {
        for value in [0, 1, 9, 10, 99, 100, 12_345, u64::MAX] {
            let mut out = Vec::new();
            number(&mut out, value);
            assert_eq!(String::from_utf8(out).unwrap(), value.to_string());
        }
    }
}
