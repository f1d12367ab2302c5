//! ErrorResponse and NoticeResponse: reading their fields, and building our own.
//!
//! Fields: <https://www.postgresql.org/docs/18/protocol-error-fields.html>.

use std::borrow::Cow;

use bytes::{BufMut, BytesMut};

use super::{backend::tag, c_string};

/// How bad a report is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The statement failed; the session goes on.
    Error,
    /// The session ends.
    Fatal,
    /// Information only.
    Notice,
}

impl Severity {
    fn text(self) -> &'static str {
        match self {
            Severity::Error => "ERROR",
            Severity::Fatal => "FATAL",
            Severity::Notice => "NOTICE",
        }
    }
}

/// An error or notice of our own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// How bad it is.
    pub severity: Severity,
    /// SQLSTATE, five characters.
    pub sqlstate: Cow<'static, str>,
    /// The message proper.
    pub message: String,
    /// What else there is to know.
    pub detail: Option<String>,
    /// What the person can do.
    pub hint: Option<String>,
    /// 1-based position in the text, in characters.
    pub position: Option<usize>,
}

impl Report {
    /// A report with only a message.
    pub fn new(severity: Severity, sqlstate: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Report {
        Report {
            severity,
            sqlstate: sqlstate.into(),
            message: message.into(),
            detail: None,
            hint: None,
            position: None,
        }
    }

    /// An error that leaves the session usable.
    pub fn error(sqlstate: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Report {
        Report::new(Severity::Error, sqlstate, message)
    }

    /// An error that ends the session.
    pub fn fatal(sqlstate: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Report {
        Report::new(Severity::Fatal, sqlstate, message)
    }

    /// The same with a detail.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Report {
        self.detail = Some(detail.into());
        self
    }

    /// The same with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Report {
        self.hint = Some(hint.into());
        self
    }

    /// Appends the report as an ErrorResponse or NoticeResponse.
    pub fn write(&self, out: &mut BytesMut) {
        let kind = if self.severity == Severity::Notice { tag::NOTICE } else { tag::ERROR };
        super::write::message(out, kind, |out| {
            field(out, b'S', self.severity.text());
            field(out, b'V', self.severity.text());
            field(out, b'C', &self.sqlstate);
            field(out, b'M', &self.message);
            if let Some(detail) = &self.detail {
                field(out, b'D', detail);
            }
            if let Some(hint) = &self.hint {
                field(out, b'H', hint);
            }
            if let Some(position) = self.position {
                field(out, b'P', &position.to_string());
            }
            out.put_u8(0);
        });
    }
}

fn field(out: &mut BytesMut, code: u8, text: &str) {
    out.put_u8(code);
    // A NUL would end the field early and shift the rest.
    out.extend(text.bytes().filter(|byte| *byte != 0));
    out.put_u8(0);
}

/// The fields of an ErrorResponse or NoticeResponse body, in order.
pub fn fields(mut body: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let (&code, rest) = body.split_first()?;
        if code == 0 {
            return None;
        }
        let (text, rest) = c_string(rest)?;
        body = rest;
        Some((code, text))
    })
}

/// One field's text, if the report has it.
pub fn text(body: &[u8], code: u8) -> Option<&[u8]> {
    fields(body).find(|(found, _)| *found == code).map(|(_, text)| text)
}

/// The SQLSTATE of a report, or `XX000`.
pub fn sqlstate(body: &[u8]) -> &str {
    text(body, b'C').and_then(|code| std::str::from_utf8(code).ok()).unwrap_or("XX000")
}

/// Whether the report ends the connection.
pub fn is_fatal(body: &[u8]) -> bool {
    matches!(text(body, b'V').or_else(|| text(body, b'S')), Some(b"FATAL" | b"PANIC"))
}

/// Appends `body` as a report of type `kind` with its position (field `P`) moved by so many characters, towards the start where
/// negative.
pub fn write_shifted(out: &mut BytesMut, kind: u8, body: &[u8], by: isize) {
    super::write::message(out, kind, |out| {
        for (code, text) in fields(body) {
            let position = (code == b'P').then(|| std::str::from_utf8(text).ok()?.parse::<usize>().ok()).flatten();
            match position {
                Some(position) => field(out, code, &position.saturating_add_signed(by).max(1).to_string()),
                None => {
                    out.put_u8(code);
                    out.put_slice(text);
                    out.put_u8(0);
                }
            }
        }
        out.put_u8(0);
    });
}
