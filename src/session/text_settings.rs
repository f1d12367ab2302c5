//! The settings by which the server reads texts. Whatever is refused, held or limited relies on texts being read as
//! they were judged: a setting that changes that ends the session. Where nothing relies on it, the session goes on, and
//! texts are read for the record as the server reads them.

use std::borrow::Cow;

use crate::decision::is_utf8;
use crate::sql::scan;
use crate::wire::backend;
use crate::wire::backend::tag;

use super::server::ServerFault;
use super::state::Session;

/// The settings under which the server reads texts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TextSettings {
    /// `standard_conforming_strings` is off: a backslash begins an escape in plain quotes too
    /// (<https://www.postgresql.org/docs/18/runtime-config-compatible.html>).
    pub backslash_escapes: bool,
    /// `client_encoding` is not UTF8.
    pub other_encoding: bool,
}

impl TextSettings {
    /// A text as the readers understand it; `None` if it is not in UTF8 and should be.
    pub fn readable(self, text: &[u8]) -> Option<Cow<'_, str>> {
        let text = match std::str::from_utf8(text) {
            Ok(text) => Cow::Borrowed(text),
            Err(_) if self.other_encoding => String::from_utf8_lossy(text),
            Err(_) => return None,
        };
        Some(if self.backslash_escapes { scan::with_escapes_shown(&text).into() } else { text })
    }
}

impl Session {
    /// Whether something relies on texts being read as they are judged, from the next message on.
    pub fn rely_on_reading(&mut self, relies: bool) {
        self.relies_on_reading = relies;
    }

    /// The settings under which the server reads texts now.
    pub fn text_settings(&self) -> TextSettings {
        self.text_settings
    }

    /// Whether the server reads texts otherwise than they are judged, and something relies on it.
    pub fn is_misread(&self) -> bool {
        self.relies_on_reading && self.text_settings != TextSettings::default()
    }

    /// The server tells of a setting. Gives whether the client is told.
    pub(super) fn parameter_status(&mut self, body: &[u8]) -> Result<bool, ServerFault> {
        let (name, value) = backend::parameter(body).ok_or(ServerFault::Malformed(tag::PARAMETER_STATUS))?;
        match name {
            "standard_conforming_strings" => self.text_settings.backslash_escapes = value != "on",
            "client_encoding" => self.text_settings.other_encoding = !is_utf8(value),
            _ => return Ok(true),
        }
        if self.is_misread() { Err(ServerFault::Unsafe(format!("{name} to {value}"))) } else { Ok(true) }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_as_the_server_reads_them() {
        let escapes = TextSettings { backslash_escapes: true, other_encoding: false };
        assert_eq!(TextSettings::default().readable(b"select 'a\\'").unwrap(), "select 'a\\'");
        assert_eq!(
            escapes.readable(b"select 'a\\', '; drop table t --'").unwrap(),
            "select  E'a\\', '; drop table t --'"
        );
        assert_eq!(escapes.readable(b"\xff"), None);
        let other = TextSettings { backslash_escapes: false, other_encoding: true };
        assert_eq!(other.readable(b"select '\xff'").unwrap(), "select '\u{fffd}'");
    }
}
