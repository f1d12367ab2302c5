//! Taking secrets out of a text before it is logged: passwords of roles, mappings, connections and URLs.
//!
//! Lexical, with PostgreSQL's own rules for strings and comments, since what is logged need not parse. It rather takes too much
//! out than too little: what follows a word that says `password` goes, and so does every string behind a string that says it.

use std::borrow::Cow;

use super::scan::{self, Kind, Token};

/// What stands for a secret.
const MARK: &str = "'***'";
/// Dollar-quoted bodies within bodies that are looked into; deeper ones are taken out whole.
const DEEPEST: usize = 4;

/// The text without its secrets. Borrowed when it had none.
pub fn redact(text: &str) -> Cow<'_, str> {
    redact_within(text, DEEPEST)
}

/// A value that was bound as a parameter, without the secrets in it: behind `password`, in connection strings and URLs.
pub fn redact_value(value: &str) -> Cow<'_, str> {
    if !may_hold_secrets(value) {
        return Cow::Borrowed(value);
    }
    let cleaned = without_conninfo(value).map_or(Cow::Borrowed(value), Cow::Owned);
    match without_urls(&cleaned) {
        Cow::Owned(cleaned) => Cow::Owned(cleaned),
        Cow::Borrowed(_) => cleaned,
    }
}

fn redact_within(text: &str, depth: usize) -> Cow<'_, str> {
    if !may_hold_secrets(text) {
        return Cow::Borrowed(text);
    }
    let cleaned = match scan::tokens(text) {
        Some(tokens) => Redaction::new(text, depth).run(&tokens),
        None => cut(text),
    };
    match without_urls(&cleaned) {
        Cow::Owned(cleaned) => Cow::Owned(cleaned),
        Cow::Borrowed(_) if cleaned == text => Cow::Borrowed(text),
        Cow::Borrowed(_) => Cow::Owned(cleaned),
    }
}

/// A quick look: whether a word that announces a secret stands anywhere.
fn may_hold_secrets(text: &str) -> bool {
    let bytes = text.as_bytes();
    let at = |start: Option<usize>, word: &[u8]| {
        start
            .and_then(|start| bytes.get(start..start.checked_add(word.len())?))
            .is_some_and(|slice| slice.eq_ignore_ascii_case(word))
    };
    bytes.iter().enumerate().any(|(i, byte)| match byte {
        b'w' | b'W' => at(i.checked_sub(4), b"passw") || at(i.checked_sub(1), b"pwd"),
        b'k' | b'K' => at(i.checked_sub(5), b"dblink"),
        b'b' | b'B' => at(i.checked_sub(2), b"subscription"),
        b':' => at(Some(i), b"://"),
        _ => false,
    })
}

/// A text that ends inside a string or comment is cut behind the first word that announces a secret.
fn cut(text: &str) -> String {
    const ANNOUNCE: &[&str] = &["passw", "pwd", "dblink", "connection", "://"];
    let lower = text.to_ascii_lowercase();
    let first = ANNOUNCE.iter().filter_map(|word| lower.find(word).map(|at| at + word.len())).min();
    match first.and_then(|end| text.get(..end)) {
        Some(kept) => format!("{kept}… ***"),
        None => text.to_owned(),
    }
}

/// Whether a word or a string says that a secret follows.
fn says_password(word: &str) -> bool {
    let lower = word.to_ascii_lowercase();
    lower.contains("passw") || lower == "pwd" || lower.ends_with("_pwd")
}

/// One pass over the tokens.
struct Redaction<'a> {
    text: &'a str,
    depth: usize,
    out: String,
    /// Bytes of the text already written.
    written: usize,
    /// The first words of the statement, which tell whether it is about roles.
    words: Vec<String>,
    /// A string has said `password`: every later string of the statement goes.
    announced: bool,
    /// The word, string or operator that stands before the next token.
    before: Before,
    /// Inside the arguments of `dblink…(`, this many parentheses deep.
    dblink: usize,
}

/// What stands before a token, as far as secrets care.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    Nothing,
    /// A word such as `password`, perhaps with `=`, `:=`, `=>` or TO behind it.
    Password,
    /// A secret that was taken out: a string right behind it belongs to it.
    Secret,
    /// `CONNECTION`.
    Connection,
    /// A word that starts with `dblink`.
    Dblink,
}

impl<'a> Redaction<'a> {
    fn new(text: &'a str, depth: usize) -> Self {
        let before = Before::Nothing;
        Redaction {
            text,
            depth,
            out: String::new(),
            written: 0,
            words: Vec::new(),
            announced: false,
            before,
            dblink: 0,
        }
    }

    fn run(mut self, tokens: &[Token]) -> String {
        for token in tokens {
            self.token(token);
        }
        self.out.push_str(self.text.get(self.written..).unwrap_or(""));
        self.out
    }

    fn replace(&mut self, token: &Token, by: &str) {
        self.out.push_str(self.text.get(self.written..token.start).unwrap_or(""));
        self.out.push_str(by);
        self.written = token.end;
    }

    fn token(&mut self, token: &Token) {
        let raw = self.text.get(token.start..token.end).unwrap_or("");
        match token.kind {
            Kind::Comment => self.string_inside(token, raw),
            Kind::Word => self.word(token, raw),
            Kind::QuotedName if self.before == Before::Password => self.secret(token),
            Kind::QuotedName => self.before = if says_password(raw) { Before::Password } else { Before::Nothing },
            Kind::Text => self.string(token, raw),
            Kind::Dollar => self.dollar(token, raw),
            Kind::Symbol => self.symbol(raw),
        }
    }

    fn secret(&mut self, token: &Token) {
        self.replace(token, MARK);
        self.before = Before::Secret;
    }

    fn word(&mut self, token: &Token, raw: &str) {
        let lower = raw.to_ascii_lowercase();
        let bare_secret = self.before == Before::Password && self.is_about_roles() && lower != "null";
        if bare_secret {
            return self.secret(token);
        }
        self.before = match lower.as_str() {
            "to" if self.before == Before::Password => Before::Password,
            "connection" => Before::Connection,
            word if word.starts_with("dblink") => Before::Dblink,
            word if says_password(word) => Before::Password,
            _ => Before::Nothing,
        };
        if self.words.len() < 2 {
            self.words.push(lower);
        }
    }

    fn is_about_roles(&self) -> bool {
        match self.words.as_slice() {
            [verb, noun] => {
                matches!(verb.as_str(), "create" | "alter") && matches!(noun.as_str(), "role" | "user" | "group")
            }
            _ => false,
        }
    }

    fn string(&mut self, token: &Token, raw: &str) {
        let connection = self.before == Before::Connection || (self.dblink > 0 && looks_like_connection(raw));
        if connection || self.announced || matches!(self.before, Before::Password | Before::Secret) {
            return self.secret(token);
        }
        self.before = Before::Nothing;
        self.string_inside(token, raw);
        self.announced |= says_password(raw);
    }

    /// A conninfo string, or SQL in a string: what stands behind `password` in it goes, up to its end.
    fn string_inside(&mut self, token: &Token, raw: &str) {
        if let Some(cleaned) = without_conninfo(raw) {
            self.replace(token, &cleaned);
        }
    }

    fn dollar(&mut self, token: &Token, raw: &str) {
        let connection = self.before == Before::Connection || (self.dblink > 0 && looks_like_connection(raw));
        if connection || self.announced || matches!(self.before, Before::Password | Before::Secret) {
            return self.secret(token);
        }
        self.before = Before::Nothing;
        let tag = raw.get(1..).and_then(|rest| rest.find('$')).map_or(0, |at| at + 2);
        let body = raw.get(tag..raw.len().saturating_sub(tag)).unwrap_or("");
        if self.depth == 0 {
            if may_hold_secrets(body) {
                self.replace(token, MARK);
            }
        } else if let Cow::Owned(cleaned) = redact_within(body, self.depth - 1) {
            let delimiter = raw.get(..tag).unwrap_or("$$");
            self.replace(token, &format!("{delimiter}{cleaned}{delimiter}"));
        } else if let Some(cleaned) = without_conninfo(raw) {
            self.replace(token, &cleaned);
        }
    }

    fn symbol(&mut self, raw: &str) {
        match raw {
            ";" => {
                self.announced = false;
                self.words.clear();
                self.dblink = 0;
                self.before = Before::Nothing;
            }
            "(" => {
                if self.dblink > 0 || self.before == Before::Dblink {
                    self.dblink += 1;
                }
                self.before = Before::Nothing;
            }
            ")" => {
                self.dblink = self.dblink.saturating_sub(1);
                self.before = Before::Nothing;
            }
            "=" | ":" | ">" if self.before == Before::Password => {}
            _ => self.before = Before::Nothing,
        }
    }
}

fn looks_like_connection(raw: &str) -> bool {
    raw.contains(['=', '\\']) || raw.contains("://")
}

/// `password=…` inside a string or comment, and `PASSWORD ''…''` of SQL in a string. `None` where there is none.
fn without_conninfo(raw: &str) -> Option<String> {
    let lower = raw.to_ascii_lowercase();
    let bytes = raw.as_bytes();
    let mut out = String::new();
    let mut written = 0;
    let mut from = 0;
    while let Some(at) = lower.get(from..).and_then(|rest| rest.find("passw")).map(|at| at + from) {
        let word_end = run(bytes, at, |byte| byte.is_ascii_alphanumeric() || *byte == b'_');
        from = word_end;
        let value = run(bytes, word_end, |byte| byte.is_ascii_whitespace() || matches!(byte, b'=' | b':' | b'>'));
        let assigned = bytes.get(word_end..value).is_some_and(|between| between.contains(&b'='));
        let quoted = matches!(bytes.get(value), Some(b'\'' | b'\\' | b'$' | b'"')) && value + 1 < bytes.len();
        if !assigned && !quoted {
            continue;
        }
        let last = raw.len().saturating_sub(usize::from(raw.ends_with('\'')));
        let end = if quoted {
            last
        } else {
            run(bytes, value, |byte| !byte.is_ascii_whitespace() && !matches!(byte, b'&' | b'\'')).min(last)
        };
        if end <= value {
            continue;
        }
        out.push_str(raw.get(written..value)?);
        out.push_str("***");
        written = end;
        from = end;
    }
    (written > 0).then(|| {
        out.push_str(raw.get(written..).unwrap_or(""));
        out
    })
}

/// The end of the run of bytes from `at` that satisfy `test`.
fn run(bytes: &[u8], at: usize, test: impl Fn(&u8) -> bool) -> usize {
    at + bytes.get(at..).unwrap_or_default().iter().take_while(|byte| test(byte)).count()
}

/// `scheme://user:password@host` anywhere.
fn without_urls(text: &str) -> Cow<'_, str> {
    let mut out = String::new();
    let (mut written, mut from) = (0, 0);
    while let Some(at) = text.get(from..).and_then(|rest| rest.find("://")).map(|at| at + from + 3) {
        let end = run(text.as_bytes(), at, |byte| {
            !byte.is_ascii_whitespace() && !matches!(byte, b'\'' | b'"' | b'`' | b'<' | b'>')
        });
        from = at;
        let authority = text.get(at..end).unwrap_or("");
        let (Some(host), Some(colon)) = (authority.rfind('@'), authority.find(':')) else { continue };
        if colon < host {
            out.push_str(text.get(written..at + colon + 1).unwrap_or(""));
            out.push_str("***");
            written = at + host;
            from = written;
        }
    }
    if written == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(text.get(written..).unwrap_or(""));
    Cow::Owned(out)
}
