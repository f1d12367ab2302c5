//! Limits on a text, checked before any parser sees it.

/// Upper bounds on what is read at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest text, in bytes.
    pub statement_bytes: usize,
    /// Deepest nesting of parentheses, brackets, CASE and comments.
    pub nesting: usize,
    /// Most statements in one text.
    pub statements: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { statement_bytes: 64 << 20, nesting: 500, statements: 10_000 }
    }
}

/// Which limit a text is over. SQLSTATE class 54 (program limit exceeded).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OverLimit {
    /// The text is too long.
    #[error("the statement text is {bytes} bytes long; the limit is {limit}")]
    TooLong {
        /// Length of the text.
        bytes: usize,
        /// The limit in force.
        limit: usize,
    },
    /// Nested too deeply (SQLSTATE 54001, as Postgres' own stack depth error).
    #[error("the statement nests deeper than {limit} levels")]
    TooDeep {
        /// The limit in force.
        limit: usize,
    },
    /// Too many statements in one text.
    #[error("the text holds more than {limit} statements")]
    TooMany {
        /// The limit in force.
        limit: usize,
    },
}

/// Checks a text before any parser sees it.
///
/// # Errors
///
/// The limit that it is over.
pub fn check(text: &str, limits: &Limits) -> Result<(), OverLimit> {
    measure(text, limits).map(|_| ())
}

/// How deep a text that is within the limits may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Depth {
    /// Deepest nesting of brackets, comments and CASE.
    pub(crate) nesting: usize,
    /// Most operators and words in one statement that can make a syntax tree deeper without a bracket.
    pub(crate) links: usize,
}

/// Measures a text in one pass without allocating, by PostgreSQL's own lexical rules (`src/backend/parser/scan.l`).
///
/// # Errors
///
/// The limit that it is over.
pub(crate) fn measure(text: &str, limits: &Limits) -> Result<Depth, OverLimit> {
    if text.len() > limits.statement_bytes {
        return Err(OverLimit::TooLong { bytes: text.len(), limit: limits.statement_bytes });
    }
    let mut scan = Scan { bytes: text.as_bytes(), at: 0, limits, count: Count::default(), deepest: Depth::default() };
    scan.run()?;
    Ok(scan.deepest)
}

/// Words that can make a tree deeper without a bracket.
const LINKS: &[&str] = &[
    "not",
    "collate",
    "at",
    "operator",
    "like",
    "ilike",
    "similar",
    "is",
    "isnull",
    "notnull",
    "overlaps",
    "between",
    "in",
    "join",
    "union",
    "intersect",
    "except",
    "case",
    "begin",
    "then",
    "else",
    "escape",
];

/// What is open at one point of the text.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    brackets: usize,
    cases: usize,
    links: usize,
    statements: usize,
    /// Whether the word before was a dot or AS: then END is a name.
    named: bool,
}

struct Scan<'t> {
    bytes: &'t [u8],
    at: usize,
    limits: &'t Limits,
    count: Count,
    deepest: Depth,
}

impl Scan<'_> {
    fn run(&mut self) -> Result<(), OverLimit> {
        while let Some(byte) = self.byte(0) {
            let named = std::mem::take(&mut self.count.named);
            match (byte, self.byte(1)) {
                (b'-', Some(b'-')) => self.line_comment(),
                (b'/', Some(b'*')) => self.block_comment()?,
                (b'\'', _) => self.quoted(b'\''),
                (b'"', _) => self.quoted(b'"'),
                (b'$', _) => self.dollar(),
                (b'(' | b'[', _) => self.open()?,
                (b')' | b']', _) => self.close(),
                (b';', _) => self.semicolon()?,
                (b'.', _) => self.dot(),
                (b'_' | b'a'..=b'z' | b'A'..=b'Z' | 0x80.., _) => self.word(named)?,
                (b'0'..=b'9', _) => self.digits(),
                (b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c, _) => {
                    self.count.named = named;
                    self.at += 1;
                }
                (b',', _) => self.at += 1,
                _ => self.operator(),
            }
        }
        self.note(0);
        match self.count.statements >= self.limits.statements && self.unfinished() {
            true => Err(OverLimit::TooMany { limit: self.limits.statements }),
            false => Ok(()),
        }
    }

    fn byte(&self, ahead: usize) -> Option<u8> {
        self.bytes.get(self.at + ahead).copied()
    }

    fn rest(&self) -> &[u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// Whether something but blanks follows the last semicolon.
    fn unfinished(&self) -> bool {
        let tail = self.bytes.rsplit(|byte| *byte == b';').next().unwrap_or_default();
        tail.iter().any(|byte| !byte.is_ascii_whitespace())
    }

    /// Takes note of how deep it is here; `comments` are open too.
    fn note(&mut self, comments: usize) {
        self.deepest.nesting = self.deepest.nesting.max(self.count.brackets + self.count.cases + comments);
        self.deepest.links = self.deepest.links.max(self.count.links);
    }

    fn within(&self) -> Result<(), OverLimit> {
        match self.deepest.nesting > self.limits.nesting {
            true => Err(OverLimit::TooDeep { limit: self.limits.nesting }),
            false => Ok(()),
        }
    }

    fn open(&mut self) -> Result<(), OverLimit> {
        self.count.brackets += 1;
        self.at += 1;
        self.note(0);
        self.within()
    }

    fn close(&mut self) {
        self.count.brackets = self.count.brackets.saturating_sub(1);
        self.at += 1;
    }

    fn dot(&mut self) {
        self.count.named = true;
        self.at += 1;
    }

    /// A semicolon inside brackets or BEGIN ATOMIC ends no statement, but is counted: the limit is generous.
    fn semicolon(&mut self) -> Result<(), OverLimit> {
        self.note(0);
        self.count = Count { statements: self.count.statements + 1, brackets: self.count.brackets, ..Count::default() };
        self.at += 1;
        match self.count.statements > self.limits.statements {
            true => Err(OverLimit::TooMany { limit: self.limits.statements }),
            false => Ok(()),
        }
    }

    fn operator(&mut self) {
        self.count.links += 1;
        self.at += 1;
        while let Some(byte) = self.byte(0) {
            let comment = matches!((byte, self.byte(1)), (b'-', Some(b'-')) | (b'/', Some(b'*')));
            if comment || !b"~!@#^&|`?+-*/%<>=:".contains(&byte) {
                return;
            }
            // `a = - - 1`: every sign may be an operator of its own.
            self.count.links += 1;
            self.at += 1;
        }
    }

    fn digits(&mut self) {
        let length = self.rest().iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count();
        self.at += length;
    }

    fn word(&mut self, named: bool) -> Result<(), OverLimit> {
        let is_word = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | 0x80..);
        let length = self.rest().iter().take_while(is_word).count();
        let word = self.rest().get(..length).unwrap_or_default();
        let is = |other: &str| word.eq_ignore_ascii_case(other.as_bytes());
        let (escapes, case, end, label) = (is("e"), is("case"), is("end"), is("as"));
        let link = (2..=9).contains(&length) && LINKS.iter().any(|link| is(link));
        self.at += length;
        if escapes && self.byte(0) == Some(b'\'') {
            self.escape_string();
            return Ok(());
        }
        self.count.links += usize::from(link);
        self.count.named = label;
        if case && !named {
            self.count.cases += 1;
            self.note(0);
        } else if end && !named {
            self.count.cases = self.count.cases.saturating_sub(1);
        }
        self.within()
    }

    /// `'…'` or `"…"`; a doubled quote ends one and begins the next, which comes to the same.
    fn quoted(&mut self, quote: u8) {
        let inside = self.bytes.get(self.at + 1..).unwrap_or_default();
        self.at += 1 + memchr::memchr(quote, inside).map_or(inside.len(), |length| length + 1);
    }

    /// `E'…'`, with backslashes; goes on after a newline and another quote.
    fn escape_string(&mut self) {
        loop {
            self.at += 1;
            while let Some(byte) = self.byte(0) {
                match byte {
                    b'\\' => self.at += 2,
                    b'\'' if self.byte(1) == Some(b'\'') => self.at += 2,
                    b'\'' => break,
                    _ => self.at += 1,
                }
            }
            self.at = (self.at + 1).min(self.bytes.len());
            match self.continuation() {
                Some(quote) => self.at = quote,
                None => return,
            }
        }
    }

    /// Where a string goes on: blanks and `--` comments with a newline among them, then a quote.
    fn continuation(&self) -> Option<usize> {
        let mut at = self.at;
        let mut newline = false;
        loop {
            match (self.bytes.get(at)?, self.bytes.get(at + 1)) {
                (b'\n' | b'\r', _) => {
                    newline = true;
                    at += 1;
                }
                (b' ' | b'\t' | 0x0b | 0x0c, _) => at += 1,
                (b'-', Some(b'-')) => {
                    let rest = self.bytes.get(at..).unwrap_or_default();
                    at += memchr::memchr2(b'\n', b'\r', rest)?;
                }
                (b'\'', _) if newline => return Some(at),
                _ => return None,
            }
        }
    }

    /// `$tag$ … $tag$`, or a parameter.
    fn dollar(&mut self) {
        let rest = self.rest();
        let is_tag = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | 0x80..);
        let tag = rest.iter().skip(1).take_while(is_tag).count();
        let opens = rest.get(tag + 1) == Some(&b'$') && !rest.get(1).is_some_and(u8::is_ascii_digit);
        if !opens {
            let digits = rest.iter().skip(1).take_while(|byte| byte.is_ascii_digit()).count();
            self.at += 1 + digits;
            return;
        }
        let delimiter = rest.get(..tag + 2).unwrap_or_default();
        let body = rest.get(tag + 2..).unwrap_or_default();
        let length = memchr::memmem::find(body, delimiter).map_or(body.len(), |found| found + delimiter.len());
        self.at += tag + 2 + length;
    }

    fn line_comment(&mut self) {
        let rest = self.rest();
        let length = memchr::memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
        self.at += length;
    }

    fn block_comment(&mut self) -> Result<(), OverLimit> {
        let mut depth = 0;
        while let Some(byte) = self.byte(0) {
            match (byte, self.byte(1)) {
                (b'/', Some(b'*')) => {
                    depth += 1;
                    self.at += 2;
                    self.note(depth);
                    self.within()?;
                }
                (b'*', Some(b'/')) => {
                    depth -= 1;
                    self.at += 2;
                    if depth == 0 {
                        return Ok(());
                    }
                }
                _ => self.at += 1,
            }
        }
        Ok(())
    }
}
