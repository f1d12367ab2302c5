//! The literal-free shape of a text: texts of one shape differ only in literals that no effect depends on.
//!
//! Every simple-protocol client makes ever-new texts of few shapes; a verdict found for one holds for all of them. So a shape
//! is given only where this scanner is certain: one statement that starts with SELECT, INSERT, UPDATE, DELETE or WITH, plain
//! ASCII without comments, escapes or prefixed strings. A literal is left out of the shape only where neither its value nor its
//! being equal to another one can matter; all others stay in it as they are written, which is always right.
//!
//! Where values matter: in calls (`set_config`, `nextval`), casts (`::regclass`), patterns (`LIKE '%'`), comparisons of literals
//! (`1 = 1`), and in the WHERE of UPDATE and DELETE wherever it is more than `column = literal AND …`, since `a = 1 OR a <> 1`
//! restricts nothing and `a = 1 OR a <> 2` neither, but `a = 1 OR a = 2` does. Such a WHERE has no shape.

use std::sync::LazyLock;

/// What stands for a number. Control characters cannot stand in a text that has a shape.
const NUMBER: u8 = 1;
/// What stands for a string.
const STRING: u8 = 2;
/// Parentheses deeper than this have no shape: one bit each.
const DEEPEST: u32 = 60;
/// Digits of a number that may lie beyond what an integer type holds.
const LONG_NUMBER: usize = 10;

/// Writes the shape of a text to `out` (cleared first). False if it has none; `out` is then of no use.
pub fn shape(text: &str, out: &mut Vec<u8>) -> bool {
    out.clear();
    out.reserve(text.len());
    Scanner::new(text.as_bytes(), out).run().is_some()
}

/// A fingerprint that stays the same between runs and versions, for the audit: equal for texts that differ only in literals
/// wherever PostgreSQL's grammar or [`shape`] can tell. Texts are expected to be within [`super::Limits`].
pub fn fingerprint(text: &str) -> u64 {
    const PARSED_UP_TO: usize = 16 << 10;
    if text.len() <= PARSED_UP_TO
        && let Ok(fingerprint) = pg_query::fingerprint(text, 0, pg_query::FingerprintOptions::FULL_RELNAME)
    {
        return fingerprint.value;
    }
    let mut out = Vec::new();
    fnv(if shape(text, &mut out) { &out } else { text.as_bytes() })
}

/// A fingerprint of a text that no parser should see: equal for equal texts only.
pub fn hash(text: &str) -> u64 {
    fnv(text.as_bytes())
}

/// FNV-1a, 64 bits.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// What a token is, as far as the next literal cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    /// Nothing yet, or something a literal must not follow to be left out.
    Other,
    /// A name (or a keyword that is not known here): a literal behind it is a typed one.
    Name,
    /// `IN` behind a name.
    In,
    /// A keyword that expressions follow.
    Lead,
    /// A literal or parameter.
    Value,
    /// `=`.
    Equal,
    /// `<`, `>`, `<=`, `>=`, `<>`, `!=`.
    Order,
    /// `+`, `-`, `*`, `/`, `%`.
    Arithmetic,
    /// `,`.
    Comma,
    /// `(` or `[`.
    Open,
    /// `)` or `]`.
    Close,
}

/// What the words mean here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    Name,
    /// Expressions follow, and a parenthesis behind it is no call.
    Lead,
    /// A parenthesis behind it is no call; a literal behind it stays.
    Plain,
    In,
    Set,
    Where,
    Update,
    Delete,
    /// What makes a WHERE more than a conjunction of simple comparisons, and is harmless elsewhere.
    Complex,
    Select,
    For,
    Do,
    /// What has no shape at all.
    Never,
}

/// Which part of the statement is being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// Nothing in it restricts what is written: values do not matter.
    Free,
    /// UPDATE or DELETE before its WHERE.
    Target,
    /// The WHERE of UPDATE or DELETE, and what follows.
    Condition,
}

struct Scanner<'a> {
    text: &'a [u8],
    out: &'a mut Vec<u8>,
    at: usize,
    part: Part,
    last: Last,
    before: Last,
    previous_word: Word,
    /// Open parentheses: set bits are calls, in which every literal stays.
    calls: u64,
    /// Set bits are the lists of `name IN (…)`.
    lists: u64,
    depth: u32,
}

impl<'a> Scanner<'a> {
    fn new(text: &'a [u8], out: &'a mut Vec<u8>) -> Self {
        Scanner {
            text,
            out,
            at: 0,
            part: Part::Free,
            last: Last::Other,
            before: Last::Other,
            previous_word: Word::Name,
            calls: 0,
            lists: 0,
            depth: 0,
        }
    }

    fn peek(&self, ahead: usize) -> u8 {
        self.text.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn run(mut self) -> Option<()> {
        self.spaces();
        let first = self.word_at();
        self.part = match keyword(first) {
            Word::Select => Part::Free,
            Word::Update | Word::Delete => Part::Target,
            _ if first.eq_ignore_ascii_case(b"insert") || first.eq_ignore_ascii_case(b"with") => Part::Free,
            _ => return None,
        };
        self.copy(first.len());
        self.last = Last::Lead;
        while self.at < self.text.len() {
            self.token()?;
        }
        (self.depth == 0).then_some(())
    }

    /// One token: copied, or replaced if it is a literal that does not matter. `None` where there is no certainty.
    fn token(&mut self) -> Option<()> {
        match self.peek(0) {
            b' ' | b'\n' | b'\t' | b'\r' => self.spaces(),
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => self.word()?,
            b'0'..=b'9' => self.number()?,
            b'\'' => self.string()?,
            b'"' => self.quoted_name()?,
            b'(' => self.open(matches!(self.last, Last::Name | Last::Close))?,
            b'[' => self.open(false)?,
            b')' | b']' => self.close()?,
            b',' => self.symbol(Last::Comma, 1),
            b'.' => self.symbol(Last::Other, 1),
            b';' => return self.end(),
            b'$' => self.parameter()?,
            b':' => self.symbol(Last::Other, 1),
            b'+' | b'-' | b'*' | b'/' | b'<' | b'>' | b'=' | b'~' | b'!' | b'@' | b'#' | b'%' | b'^' | b'&' | b'|'
            | b'?' => {
                self.operator()?;
            }
            _ => return None,
        }
        Some(())
    }

    fn copy(&mut self, length: usize) {
        let end = self.at + length;
        self.out.extend_from_slice(self.text.get(self.at..end).unwrap_or_default());
        self.at = end;
    }

    fn follow(&mut self, last: Last) {
        self.before = self.last;
        self.last = last;
    }

    fn symbol(&mut self, last: Last, length: usize) {
        self.copy(length);
        self.follow(last);
    }

    fn spaces(&mut self) {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let length = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\n' | b'\t' | b'\r')).count();
        self.copy(length);
    }

    fn word_at(&self) -> &'a [u8] {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let length = rest.iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count();
        rest.get(..length).unwrap_or_default()
    }

    fn word(&mut self) -> Option<()> {
        let word = self.word_at();
        self.copy(word.len());
        if matches!(self.peek(0), b'\'' | b'"' | b'$') {
            return None;
        }
        let after_dot = self.out.len() > word.len() && self.out.get(self.out.len() - word.len() - 1) == Some(&b'.');
        let meaning = if after_dot { Word::Name } else { keyword(word) };
        let previous = std::mem::replace(&mut self.previous_word, meaning);
        let last = match meaning {
            Word::Never => return None,
            Word::Update if !matches!(previous, Word::For | Word::Do) => return None,
            Word::Delete => return None,
            Word::Select | Word::Complex if self.part != Part::Free => return None,
            Word::Where if self.part == Part::Condition => return None,
            Word::Where if self.part == Part::Target && self.depth > 0 => return None,
            Word::Where => {
                if self.part == Part::Target {
                    self.part = Part::Condition;
                }
                Last::Lead
            }
            Word::In if self.last == Last::Name => Last::In,
            Word::In => Last::Other,
            Word::Lead | Word::Set | Word::Select => Last::Lead,
            Word::Plain | Word::Complex | Word::Update | Word::For | Word::Do => Last::Other,
            Word::Name => Last::Name,
        };
        self.follow(last);
        Some(())
    }

    fn quoted_name(&mut self) -> Option<()> {
        let rest = self.text.get(self.at + 1..)?;
        let length = memchr::memchr(b'"', rest)?;
        if rest.get(length + 1) == Some(&b'"') || !rest.get(..length)?.iter().all(|byte| (b' '..0x7f).contains(byte)) {
            return None;
        }
        self.copy(length + 2);
        self.previous_word = Word::Name;
        self.follow(Last::Name);
        Some(())
    }

    fn parameter(&mut self) -> Option<()> {
        let rest = self.text.get(self.at + 1..)?;
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let next = rest.get(digits).copied().unwrap_or(b' ');
        if digits == 0 || next.is_ascii_alphabetic() || matches!(next, b'_' | b'$') {
            return None;
        }
        self.symbol(Last::Value, digits + 1);
        Some(())
    }

    fn operator(&mut self) -> Option<()> {
        let rest = self.text.get(self.at..)?;
        let length = rest.iter().take_while(|byte| is_operator(**byte)).count();
        let run = rest.get(..length)?;
        if run.windows(2).any(|pair| pair == b"--" || pair == b"/*")
            || (run.ends_with(b"&") && matches!(rest.get(length), Some(b'"' | b'\'')))
        {
            return None;
        }
        let sign = run == b"-" && matches!(self.last, Last::Equal | Last::Order | Last::Comma | Last::Open);
        if sign && self.peek(1).is_ascii_digit() {
            // The sign stays; what follows it stands where the sign stood.
            self.copy(length);
            return Some(());
        }
        let last = match run {
            b"=" => Last::Equal,
            b"<" | b">" | b"<=" | b">=" | b"<>" | b"!=" => Last::Order,
            b"+" | b"-" | b"*" | b"/" | b"%" => Last::Arithmetic,
            _ => Last::Other,
        };
        if self.part == Part::Condition && !matches!(last, Last::Equal | Last::Order) {
            return None;
        }
        self.symbol(last, length);
        Some(())
    }

    fn open(&mut self, call: bool) -> Option<()> {
        if self.depth >= DEEPEST {
            return None;
        }
        let inside_call = self.calls & 1 == 1;
        let list = self.last == Last::In;
        self.calls = self.calls << 1 | u64::from(call || inside_call);
        self.lists = self.lists << 1 | u64::from(list);
        self.depth += 1;
        self.symbol(Last::Open, 1);
        Some(())
    }

    fn close(&mut self) -> Option<()> {
        if self.depth == 0 {
            return None;
        }
        self.calls >>= 1;
        self.lists >>= 1;
        self.depth -= 1;
        self.symbol(Last::Close, 1);
        Some(())
    }

    /// Nothing but white space may follow the semicolon.
    fn end(&mut self) -> Option<()> {
        self.copy(1);
        self.spaces();
        (self.at == self.text.len()).then_some(())
    }

    fn number(&mut self) -> Option<()> {
        let rest = self.text.get(self.at..)?;
        let digits =
            |from: usize| rest.get(from..).unwrap_or_default().iter().take_while(|byte| byte.is_ascii_digit()).count();
        let whole = digits(0);
        let length = if rest.get(whole) == Some(&b'.') { whole + 1 + digits(whole + 1) } else { whole };
        let next = rest.get(length).copied().unwrap_or(b' ');
        if next.is_ascii_alphanumeric() || matches!(next, b'_' | b'.' | b'\'' | b'"' | b'$') {
            return None;
        }
        let zero = rest.get(..length)?.iter().all(|byte| matches!(byte, b'0' | b'.'));
        self.literal(length, NUMBER, zero || whole >= LONG_NUMBER);
        Some(())
    }

    fn string(&mut self) -> Option<()> {
        let rest = self.text.get(self.at..)?;
        let mut length = 1;
        loop {
            let quote = length + memchr::memchr2(b'\'', b'\\', rest.get(length..)?)?;
            match (rest.get(quote), rest.get(quote + 1)) {
                (Some(b'\\'), _) => return None,
                (_, Some(b'\'')) => length = quote + 2,
                _ => {
                    length = quote + 1;
                    break;
                }
            }
        }
        let body = rest.get(..length)?;
        if !body.iter().all(|byte| (b' '..0x7f).contains(byte) || matches!(byte, b'\n' | b'\t' | b'\r')) {
            return None;
        }
        if rest.get(length).is_some_and(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'"' | b'$' | b'_')) {
            return None;
        }
        self.literal(length, STRING, is_extreme(body));
        Some(())
    }

    /// A literal, left out of the shape where it does not matter. The `extreme` ones (zero, the empty string, infinity) only behind
    /// `=`: `name >= ''` holds for every name.
    fn literal(&mut self, length: usize, mark: u8, extreme: bool) {
        if self.matters(extreme) || self.is_cast(length) {
            self.copy(length);
        } else {
            self.out.push(mark);
            self.at += length;
        }
        self.follow(Last::Value);
    }

    fn is_cast(&self, length: usize) -> bool {
        let rest = self.text.get(self.at + length..).unwrap_or_default();
        rest.iter().find(|byte| !matches!(byte, b' ' | b'\n' | b'\t' | b'\r')) == Some(&b':')
    }

    fn matters(&self, extreme: bool) -> bool {
        if self.calls & 1 == 1 || (extreme && self.last == Last::Order) {
            return true;
        }
        match (self.part, self.last) {
            (Part::Condition, Last::Equal | Last::Order) => self.before != Last::Name,
            (Part::Condition, Last::Comma | Last::Open) => self.lists & 1 == 0,
            (Part::Condition, _) => true,
            (_, Last::Equal | Last::Order) => !matches!(self.before, Last::Name | Last::Close),
            (_, Last::Comma | Last::Open | Last::Arithmetic) => false,
            (Part::Free, Last::Lead) => false,
            (_, Last::Lead | Last::Other | Last::Name | Last::In | Last::Value | Last::Close) => true,
        }
    }
}

/// Whether a quoted string may be the least or greatest value of some type: `created_at > '-infinity'` holds for every row.
fn is_extreme(quoted: &[u8]) -> bool {
    let body = quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default();
    let infinite = body.get(..3).is_some_and(|start| start.eq_ignore_ascii_case(b"inf"));
    infinite || !body.first().is_some_and(u8::is_ascii_alphanumeric)
}

fn is_operator(byte: u8) -> bool {
    matches!(
        byte,
        b'+' | b'-' | b'*' | b'/' | b'<' | b'>' | b'=' | b'~' | b'!' | b'@' | b'#' | b'%' | b'^' | b'&' | b'|' | b'?'
    )
}

/// What a word means here. Whatever is not listed is a name, and a parenthesis behind it a call.
fn keyword(word: &[u8]) -> Word {
    match word.len() {
        2..=8 => short_keyword(packed(word)),
        9..=12 => {
            LONG_KEYWORDS.iter().find(|(long, _)| word.eq_ignore_ascii_case(long)).map_or(Word::Name, |(_, word)| *word)
        }
        _ => Word::Name,
    }
}

const LONG_KEYWORDS: &[(&[u8], Word)] = &[
    (b"returning", Word::Lead),
    (b"intersect", Word::Plain),
    (b"recursive", Word::Plain),
    (b"partition", Word::Plain),
    (b"constraint", Word::Plain),
    (b"materialized", Word::Plain),
    (b"set_config", Word::Never),
];

/// Up to eight letters in one number, lower-case.
fn packed(word: &[u8]) -> u64 {
    word.iter().fold(0, |number, byte| number << 8 | u64::from(byte | 0x20))
}

fn short_keyword(word: u64) -> Word {
    KEYWORDS
        .binary_search_by_key(&word, |(packed, _)| *packed)
        .ok()
        .and_then(|at| KEYWORDS.get(at))
        .map_or(Word::Name, |(_, word)| *word)
}

/// The words of up to eight letters by what they mean.
const MEANINGS: &[(Word, &str)] = &[
    (Word::Lead, "and limit offset then else when having by on distinct"),
    (
        Word::Plain,
        "values as using from join union except over into lateral asc desc null true false is default with only fetch to inner \
         left right full outer cross natural window filter first next rows row conflict order group nothing collate",
    ),
    (Word::Complex, "or not case end exists any some all between current like ilike similar escape"),
    (Word::In, "in"),
    (Word::Set, "set"),
    (Word::Where, "where"),
    (Word::Update, "update"),
    (Word::Delete, "delete"),
    (Word::Select, "select"),
    (Word::For, "for"),
    (Word::Do, "do"),
    (Word::Never, "merge operator cast"),
];

/// The same, packed and sorted.
static KEYWORDS: LazyLock<Vec<(u64, Word)>> = LazyLock::new(|| {
    let words = |(meaning, words): &(Word, &'static str)| {
        let meaning = *meaning;
        words.split_ascii_whitespace().map(move |word| (packed(word.as_bytes()), meaning))
    };
    let mut all: Vec<_> = MEANINGS.iter().flat_map(words).collect();
    all.sort_unstable_by_key(|(packed, _)| *packed);
    all
});
