//! Words, names, strings and comments of a text, by PostgreSQL's lexical rules (`src/backend/parser/scan.l`).

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A comment of either kind.
    Comment,
    /// A keyword or an unquoted name.
    Word,
    /// A name in double quotes.
    QuotedName,
    /// A string in single quotes with its prefix and all its continuations.
    Text,
    /// A dollar-quoted string.
    Dollar,
    /// Any other character.
    Symbol,
}

/// A token and where it stands.
#[derive(Clone, Copy, Debug)]
pub struct Token {
    /// What it is.
    pub kind: Kind,
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

/// The token that begins at byte `at`, which is no white space; `None` where it does not end, or where nothing stands.
pub fn token_at(text: &str, at: usize) -> Option<Token> {
    let mut scan = Scan { bytes: text.as_bytes(), at, escapes: false };
    let kind = scan.token(scan.peek(0)?)?;
    Some(Token { kind, start: at, end: scan.at })
}

/// The tokens of a text without its white space; `None` if it ends inside a string, a name or a comment.
pub fn tokens(text: &str) -> Option<Vec<Token>> {
    all_tokens(text, false)
}

/// A text that the server reads with `standard_conforming_strings` off, as it would be written with it on: each string in which a
/// backslash begins an escape says so by its `E`. A text that ends inside a string, a name or a comment stays as it is.
pub fn with_escapes_shown(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    let mut done = 0;
    let tokens = all_tokens(text, true).unwrap_or_default();
    for token in tokens.iter().filter(|token| token.kind == Kind::Text) {
        let prefix = match text.as_bytes().get(token.start) {
            Some(b'\'') => 0,
            Some(b'n' | b'N') => 1,
            _ => continue,
        };
        out.push_str(text.get(done..token.start).unwrap_or_default());
        out.push_str(" E");
        done = token.start + prefix;
    }
    out.push_str(text.get(done..).unwrap_or_default());
    out
}

/// `escapes`: whether a backslash begins an escape in plain quotes too.
fn all_tokens(text: &str, escapes: bool) -> Option<Vec<Token>> {
    let mut scan = Scan { bytes: text.as_bytes(), at: 0, escapes };
    let mut found = Vec::new();
    while let Some(byte) = scan.peek(0) {
        let start = scan.at;
        if is_space(byte) {
            scan.at += 1;
            continue;
        }
        let kind = scan.token(byte)?;
        found.push(Token { kind, start, end: scan.at });
    }
    Some(found)
}

struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
    /// A backslash begins an escape in plain quotes too.
    escapes: bool,
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

fn starts_word(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}

fn continues_word(byte: u8) -> bool {
    starts_word(byte) || byte.is_ascii_digit() || byte == b'$'
}

impl Scan<'_> {
    fn peek(&self, ahead: usize) -> Option<u8> {
        self.bytes.get(self.at + ahead).copied()
    }

    /// Moves over one token; `None` where it does not end.
    fn token(&mut self, byte: u8) -> Option<Kind> {
        match (byte, self.peek(1), self.peek(2)) {
            (b'-', Some(b'-'), _) => {
                self.line_comment();
                Some(Kind::Comment)
            }
            (b'/', Some(b'*'), _) => self.block_comment().map(|()| Kind::Comment),
            (b'\'', ..) => self.string(0, self.escapes),
            (b'e' | b'E', Some(b'\''), _) => self.string(1, true),
            (b'n' | b'N', Some(b'\''), _) => self.string(1, self.escapes),
            (b'b' | b'B' | b'x' | b'X', Some(b'\''), _) => self.string(1, false),
            (b'u' | b'U', Some(b'&'), Some(b'\'')) => self.string(2, false),
            (b'u' | b'U', Some(b'&'), Some(b'"')) => self.quoted_name(2),
            (b'"', ..) => self.quoted_name(0),
            (b'$', ..) => self.dollar(),
            (byte, ..) if starts_word(byte) => {
                while self.peek(0).is_some_and(continues_word) {
                    self.at += 1;
                }
                Some(Kind::Word)
            }
            (byte, ..) if byte.is_ascii_digit() => {
                while self.peek(0).is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.') {
                    self.at += 1;
                }
                Some(Kind::Symbol)
            }
            _ => {
                self.at += 1;
                Some(Kind::Symbol)
            }
        }
    }

    fn line_comment(&mut self) {
        while self.peek(0).is_some_and(|byte| byte != b'\n' && byte != b'\r') {
            self.at += 1;
        }
    }

    fn block_comment(&mut self) -> Option<()> {
        let mut depth = 0usize;
        loop {
            match (self.peek(0)?, self.peek(1)) {
                (b'/', Some(b'*')) => {
                    depth += 1;
                    self.at += 2;
                }
                (b'*', Some(b'/')) => {
                    depth -= 1;
                    self.at += 2;
                    if depth == 0 {
                        return Some(());
                    }
                }
                _ => self.at += 1,
            }
        }
    }

    /// A string whose quote stands `prefix` bytes ahead. White space with a newline, then a quote, goes on with it.
    fn string(&mut self, prefix: usize, escapes: bool) -> Option<Kind> {
        self.at += prefix + 1;
        loop {
            match self.peek(0)? {
                b'\\' if escapes => {
                    self.at += 1;
                    self.peek(0)?;
                    self.at += 1;
                }
                b'\'' if self.peek(1) == Some(b'\'') => self.at += 2,
                b'\'' => {
                    self.at += 1;
                    match self.continuation() {
                        Some(next) => self.at = next + 1,
                        None => return Some(Kind::Text),
                    }
                }
                _ => self.at += 1,
            }
        }
    }

    /// Where the quote of a continuation stands, if there is one.
    fn continuation(&self) -> Option<usize> {
        let mut ahead = Scan { bytes: self.bytes, at: self.at, escapes: self.escapes };
        let mut newline = false;
        loop {
            match (ahead.peek(0)?, ahead.peek(1)) {
                (b'\'', _) if newline => return Some(ahead.at),
                (byte, _) if is_space(byte) => {
                    newline |= matches!(byte, b'\n' | b'\r');
                    ahead.at += 1;
                }
                (b'-', Some(b'-')) => ahead.line_comment(),
                _ => return None,
            }
        }
    }

    fn quoted_name(&mut self, prefix: usize) -> Option<Kind> {
        self.at += prefix + 1;
        loop {
            match (self.peek(0)?, self.peek(1)) {
                (b'"', Some(b'"')) => self.at += 2,
                (b'"', _) => {
                    self.at += 1;
                    return Some(Kind::QuotedName);
                }
                _ => self.at += 1,
            }
        }
    }

    /// `$tag$ … $tag$`, or a lone `$` (of a parameter).
    fn dollar(&mut self) -> Option<Kind> {
        let mut end = self.at + 1;
        while self.bytes.get(end).is_some_and(|&byte| continues_word(byte) && byte != b'$') {
            end += 1;
        }
        let digit_first = self.peek(1).is_some_and(|byte| byte.is_ascii_digit());
        if self.bytes.get(end) != Some(&b'$') || digit_first {
            self.at += 1;
            return Some(Kind::Symbol);
        }
        let tag = self.bytes.get(self.at..=end)?;
        let body = end + 1;
        let close = memchr::memmem::find(self.bytes.get(body..)?, tag)?;
        self.at = body + close + tag.len();
        Some(Kind::Dollar)
    }
}
