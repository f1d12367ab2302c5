//! Lines told by their form: what a statement's or an outcome's line shares with the others like it is read once a
//! block, and of each line after that only what is its own.
//!
//! A line is cut at names of members as [`crate::audit::event`] writes them. `,"name":` stands in a line as a member's
//! name only: within a text, a quotation mark has a backslash before it. What cannot be cut, or has no known form, is
//! read whole.

use std::borrow::Cow;
use std::sync::LazyLock;

use memchr::{memchr, memmem};

use crate::audit::AuditId;
use crate::audit::chain;
use crate::audit::time::Timestamp;
use crate::audit::view::ParameterView;

/// What a line is searched for.
struct Member(LazyLock<memmem::Finder<'static>>);

macro_rules! member {
    ($name:literal) => {
        Member(LazyLock::new(|| memmem::Finder::new(concat!(",\"", $name, "\":"))))
    };
}

static TEXT: Member = member!("text");
static PARAMETERS: Member = member!("parameters");
static PARAMETERS_BOUND: Member = member!("parameters_bound");
static TRANSACTION: Member = member!("transaction");
static OF: Member = member!("of");
static ROWS: Member = member!("rows");

/// A line, cut.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Cut<'a> {
    /// What it shares, one piece after the other.
    shared: [&'a [u8]; 4],
    pub(super) seq: u64,
    pub(super) time: Timestamp,
    pub(super) id: AuditId,
    pub(super) own: Own<'a>,
}

/// What else is a line's own.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Own<'a> {
    /// A statement's.
    Statement {
        /// A JSON string.
        text: Option<&'a [u8]>,
        /// A JSON array.
        parameters: Option<&'a [u8]>,
        transaction: u64,
    },
    /// An outcome's.
    Outcome { of: AuditId, rows: u64, bytes: u64, duration: u64 },
}

impl<'a> Cut<'a> {
    /// Cuts a line without its newline; `None` if it is of another kind, or not as pgwarden writes it.
    pub(super) fn of(line: &'a [u8]) -> Option<Cut<'a>> {
        let mut rest = Rest(chain::unsealed(line)?.0.strip_prefix(b"{\"seq\":")?);
        let seq = rest.number()?;
        rest.expect(b",\"time\":\"")?;
        let time = Timestamp::read(rest.take(Timestamp::BYTES)?)?;
        rest.expect(b"\",\"event\":\"")?;
        let event = rest.until(b'"')?;
        rest.expect(b"\",\"id\":")?;
        let id = rest.id()?;
        let (shared, own) = match event {
            b"statement" => rest.statement()?,
            b"outcome" => rest.outcome()?,
            _ => return None,
        };
        let [first, second, last] = shared;
        Some(Cut { shared: [event, first, second, last], seq, time, id, own })
    }

    /// Writes what it shares.
    pub(super) fn form(&self, out: &mut Vec<u8>) {
        out.clear();
        for piece in self.shared {
            out.extend_from_slice(piece);
            // No line has a raw NUL.
            out.push(0);
        }
    }
}

/// What is left of a line.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(taken)
    }

    fn expect(&mut self, what: &[u8]) -> Option<()> {
        self.0 = self.0.strip_prefix(what)?;
        Some(())
    }

    fn until(&mut self, end: u8) -> Option<&'a [u8]> {
        self.take(memchr(end, self.0)?)
    }

    /// What stands before a member, which is taken off; `None` if there is no such member.
    fn before(&mut self, member: &Member) -> Option<&'a [u8]> {
        let before = self.take(member.0.find(self.0)?)?;
        self.expect(member.0.needle())?;
        Some(before)
    }

    fn number(&mut self) -> Option<u64> {
        let digits = self.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let digits = self.take(digits).filter(|digits| !digits.is_empty())?;
        digits.iter().try_fold(0u64, |value, digit| value.checked_mul(10)?.checked_add(u64::from(digit - b'0')))
    }

    /// An audit id in its quotation marks.
    fn id(&mut self) -> Option<AuditId> {
        self.expect(b"\"")?;
        let id = AuditId::read(self.until(b'"')?)?;
        self.expect(b"\"")?;
        Some(id)
    }

    /// A JSON string, with its quotation marks.
    fn string(&mut self) -> Option<&'a [u8]> {
        let mut end = self.0.first().filter(|byte| **byte == b'"').map(|_| 1)?;
        loop {
            end += memchr(b'"', self.0.get(end..)?)?;
            let escapes = self.0.get(1..end)?.iter().rev().take_while(|byte| **byte == b'\\').count();
            end += 1;
            if escapes % 2 == 0 {
                return self.take(end);
            }
        }
    }

    fn statement(mut self) -> Option<([&'a [u8]; 3], Own<'a>)> {
        let mut middle = Rest(self.before(&TRANSACTION)?);
        let transaction = self.number()?;
        let (head, text) = match middle.before(&TEXT) {
            Some(head) => (head, Some(middle.string()?)),
            None => (Default::default(), None),
        };
        let mut parameters = None;
        if let Some(before) = middle.before(&PARAMETERS) {
            // How many there were is in no column.
            let array = Rest(middle.0).before(&PARAMETERS_BOUND).unwrap_or(middle.0);
            (parameters, middle) = (Some(array), Rest(before));
        }
        let shared = [head, middle.0, self.0];
        Some((shared, Own::Statement { text, parameters, transaction }))
    }

    fn outcome(mut self) -> Option<([&'a [u8]; 3], Own<'a>)> {
        let session = self.before(&OF)?;
        let of = self.id()?;
        let tag = self.before(&ROWS)?;
        let rows = self.number()?;
        self.expect(b",\"bytes\":")?;
        let bytes = self.number()?;
        self.expect(b",\"duration_us\":")?;
        let duration = self.number()?;
        Some(([session, tag, self.0], Own::Outcome { of, rows, bytes, duration }))
    }
}

/// A JSON string's text.
pub(super) fn text_of(string: &[u8]) -> Option<Cow<'_, str>> {
    let plain = string.get(1..string.len().checked_sub(1)?)?;
    match memchr(b'\\', plain) {
        None => std::str::from_utf8(plain).ok().map(Cow::Borrowed),
        Some(_) => serde_json::from_slice::<String>(string).ok().map(Cow::Owned),
    }
}

/// The values of a JSON array of bind parameters.
pub(super) fn parameters_of(array: &[u8]) -> Option<Vec<ParameterView<'_>>> {
    serde_json::from_slice(array).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::audit::view::RecordView;
    use crate::audit::{
        EffectsJson, Event, Outcome, ParameterShown, ParametersJson, Protocol, Readers, Record, SessionFields,
        SessionIdentity, SqlState, Statement, StatementJson, Tag, TransactionState, Verdict,
    };

    fn line(event: Event) -> Vec<u8> {
        let application = "a,\"text\":\"x\",\"transaction\":9";
        let session =
            SessionFields::new(&SessionIdentity { session: "0DQ5X7K2M9A", application, ..Default::default() });
        let record = Record::new(AuditId(1 << 40), Some(session), event);
        let mut body = Vec::new();
        record.write(&mut body);
        let mut out = Vec::new();
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"k");
        chain::Chain { seq: 41, hash: [0; 32] }.seal(&key, &mut out, &body);
        assert_eq!(out.pop(), Some(b'\n'));
        out
    }

    fn statement(text: &str, parameters: Option<ParametersJson>) -> Vec<u8> {
        line(Event::Statement(Statement {
            verdict: Verdict::Deny,
            rule: "deny \"write\",\"parameters\":[".into(),
            policy: "p".into(),
            generation: 3,
            effects: EffectsJson::new(&[]),
            readers: Readers::Both,
            text: StatementJson::whole(text.as_bytes(), Some("0123456789abcdef")),
            protocol: Protocol::Extended,
            name: Some("s,\"transaction\":7".into()),
            parameters,
            transaction: Some(17),
            grant: Some("G-7".into()),
            sqlstate: Some(SqlState(*b"42501")),
        }))
    }

    #[test]
    fn a_cut_line_says_what_a_read_one_says() {
        let texts = [
            "",
            "SELECT 1",
            "a\"b\\",
            "\\",
            "\\\"",
            ",\"transaction\":5,\"parameters\":[1]",
            "ä\u{202e}\n\"",
            "\"\"\"\\\\",
        ];
        for text in texts {
            let shown = [ParameterShown::Text(text, None), ParameterShown::Text(text, Some(99)), ParameterShown::Null];
            for parameters in [None, Some(ParametersJson::new(3, shown)), Some(ParametersJson::new(500, shown))] {
                let line = statement(text, parameters);
                let (cut, record) = (Cut::of(&line).unwrap(), RecordView::parse(&line).unwrap());
                assert_eq!((cut.seq, Some(cut.time)), (record.seq, crate::audit::query::time_of(&record)));
                assert_eq!(Ok(cut.id), record.id.parse());
                let Own::Statement { text, parameters, transaction } = cut.own else { panic!("no statement") };
                assert_eq!(text_of(text.unwrap()).unwrap(), record.text);
                let words = |of: &[ParameterView<'_>]| of.iter().map(|one| one.words().to_owned()).collect::<Vec<_>>();
                assert_eq!(
                    parameters.map(|array| words(&parameters_of(array).unwrap())).unwrap_or_default(),
                    words(&record.parameters)
                );
                assert_eq!(Some(transaction), record.transaction);
            }
        }
        let line = line(Event::Outcome(Outcome {
            of: AuditId(77),
            tag: Tag::new(b"SELECT 1"),
            rows: 1,
            bytes: 120,
            duration_us: 812,
            sqlstate: Some(SqlState(*b"23505")),
            state: TransactionState::Committed,
        }));
        assert_eq!(Cut::of(&line).unwrap().own, Own::Outcome { of: AuditId(77), rows: 1, bytes: 120, duration: 812 });
    }

    #[test]
    fn only_lines_that_differ_in_what_is_their_own_have_one_form() {
        let form = |line: &[u8]| {
            let mut form = Vec::new();
            Cut::of(line).unwrap().form(&mut form);
            form
        };
        let bound = |text| Some(ParametersJson::new(1, [ParameterShown::Text(text, None)]));
        let one = form(&statement("SELECT 1", bound("a")));
        assert_eq!(one, form(&statement("SELECT '\"'", bound("b\"],"))));
        let other = String::from_utf8(statement("SELECT 1", None)).unwrap().replace("deny", "allow");
        assert_ne!(one, form(other.as_bytes()));
    }

    #[test]
    fn what_is_not_as_it_was_written_is_not_cut() {
        let line = statement("SELECT 1", None);
        for end in 0..line.len() {
            assert_eq!(Cut::of(line.get(..end).unwrap()), None);
        }
        let other = |from: &str, to: &str| String::from_utf8(line.clone()).unwrap().replace(from, to);
        for (from, to) in [
            ("seq\":42", "seq\":x"),
            ("\"time\":\"2", "\"time\":\"x"),
            ("\"transaction\":17", "\"transaction\":\"17\""),
            ("\"text\":\"", "\"text\":["),
            ("statement", "login"),
        ] {
            assert_eq!(Cut::of(other(from, to).as_bytes()), None, "{from}");
        }
    }
}
