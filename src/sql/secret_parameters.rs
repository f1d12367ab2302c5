//! Which bind parameters of a text are secrets: passwords, keys and tokens, as far as its words say what is put where.
//!
//! Lexical, as [`super::secrets`] is, and it rather hides too much than too little. A parameter is hidden where it meets a word that
//! says a secret (`password = $1`, `$1 = token`), stands in the place of a column that does (`INSERT INTO t (a, password) VALUES
//! ($1, $2)`), is an argument of a function that takes secrets (`crypt($1, …)`, `dblink_connect($1)`), follows a string that says
//! one (`set_config('x.password', $1, true)`), or goes to or comes from a table that does (`FROM api_tokens WHERE value = $1`).

use super::scan::{self, Kind, Token};

/// Parts of names that say a secret.
const SAYS: &[&str] = &[
    "passw",
    "passphrase",
    "passcode",
    "secret",
    "token",
    "credential",
    "cookie",
    "bearer",
    "jwt",
    "api_key",
    "apikey",
    "access_key",
    "accesskey",
    "private_key",
    "privatekey",
    "signing_key",
    "encryption_key",
];
/// Whole names that say one, also behind an underscore.
const SAYS_WHOLE: &[&str] = &["pwd", "pw", "pin", "otp", "cvc", "cvv"];
/// Parts of names of functions whose arguments are secrets.
const TAKES: &[&str] = &[
    "crypt", "dblink", "pgp_", "hmac", "digest", "login", "log_in", "signin", "sign_in", "authent", "verify", "md5",
    "sha1", "sha2", "sha3", "sha5", "scram",
];
/// Words after which what was said before no longer counts.
const ENDS: &[&str] = &[
    "and",
    "or",
    "where",
    "from",
    "set",
    "values",
    "returning",
    "order",
    "group",
    "limit",
    "offset",
    "on",
    "when",
    "then",
    "else",
    "end",
    "select",
    "join",
    "having",
    "union",
    "except",
    "intersect",
    "with",
    "using",
    "into",
    "update",
    "delete",
    "insert",
    "merge",
    "table",
];
/// Deepest parentheses that are told apart; with deeper ones everything is hidden.
const DEEPEST: usize = 64;

/// The parameters of a text that are secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Secrets {
    /// Every one.
    All,
    /// Those of these numbers, from 1.
    Some(Vec<u16>),
}

impl Secrets {
    /// Whether the parameter of this number, from 1, is one.
    pub fn hides(&self, number: u16) -> bool {
        match self {
            Secrets::All => true,
            Secrets::Some(numbers) => numbers.binary_search(&number).is_ok(),
        }
    }
}

/// Which parameters of a text are secrets. All of them where it does not read.
pub fn parameters(text: &str) -> Secrets {
    match scan::tokens(text) {
        Some(tokens) => Search::default().run(text, &tokens),
        None => Secrets::All,
    }
}

fn says_secret(word: &str) -> bool {
    let lower = word.to_ascii_lowercase();
    let bare = lower.trim_matches(['"', '\'']);
    let last = bare.rsplit('_').next().unwrap_or(bare);
    SAYS.iter().any(|part| lower.contains(part)) || SAYS_WHOLE.contains(&last)
}

/// What is inside one pair of parentheses.
#[derive(Default)]
struct Frame {
    shape: Shape,
    /// Every parameter in it is a secret.
    secret: bool,
    /// Which item of the list is being read, from 0.
    item: usize,
    /// A secret was named, and what stands next to it is compared with it, or put into it.
    named: bool,
    /// The parameter just before, and nothing since that ends an expression.
    before: Option<u16>,
    /// Items that name secrets.
    places: Vec<usize>,
    /// Parameters in it.
    parameters: Vec<u16>,
}

/// What a pair of parentheses is.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Shape {
    /// A row, a subquery, an expression.
    #[default]
    Plain,
    /// A function's arguments.
    Call,
    /// The arguments of set_config: which setting it is, the first of them says.
    Setting,
    /// The columns that INSERT INTO names.
    Columns,
    /// The columns that an alias names: those of what was closed just before.
    Alias,
}

/// What stands before the next token, as far as an alias' columns care.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Behind {
    #[default]
    Nothing,
    /// `)`, perhaps with AS.
    Close,
    /// `) name`.
    Name,
}

#[derive(Default)]
struct Search {
    frames: Vec<Frame>,
    frame: Frame,
    /// Items that name secrets in the list that was closed last.
    places: Vec<usize>,
    /// Parameters of what was closed last.
    closed: Vec<u16>,
    /// Every parameter from here to the statement's end is a secret.
    rest: bool,
    /// The word just before.
    word: String,
    behind: Behind,
    /// What follows is a table.
    table: bool,
    /// INSERT INTO: what follows the table are its columns.
    into: bool,
    /// The columns that INSERT INTO named have secrets among them, and VALUES did not come yet.
    columns: bool,
    found: Vec<u16>,
    too_deep: bool,
}

impl Search {
    fn run(mut self, text: &str, tokens: &[Token]) -> Secrets {
        let mut tokens = tokens.iter().filter(|token| token.kind != Kind::Comment).peekable();
        while let Some(token) = tokens.next() {
            let raw = text.get(token.start..token.end).unwrap_or_default();
            match token.kind {
                Kind::Symbol if raw == "$" => {
                    let digits = tokens.next_if(|next| next.start == token.end && next.kind == Kind::Symbol);
                    let digits = digits.and_then(|digits| text.get(digits.start..digits.end)?.parse().ok());
                    digits.into_iter().for_each(|number| self.parameter(number));
                }
                Kind::Symbol => self.symbol(raw),
                Kind::Word => self.word(&raw.to_ascii_lowercase()),
                Kind::QuotedName => self.name(&raw.to_ascii_lowercase()),
                Kind::Text | Kind::Dollar => self.string(raw),
                Kind::Comment => {}
            }
        }
        self.found.sort_unstable();
        self.found.dedup();
        if self.too_deep { Secrets::All } else { Secrets::Some(self.found) }
    }

    fn parameter(&mut self, number: u16) {
        self.unsure_setting();
        let frame = &mut self.frame;
        let in_place = !self.frames.is_empty() && self.places.contains(&frame.item);
        if self.rest || frame.secret || frame.named || in_place {
            self.found.push(number);
        }
        frame.before = Some(number);
        frame.parameters.push(number);
        self.pass(Behind::Nothing);
    }

    /// Which setting set_config sets is known only from a string.
    fn unsure_setting(&mut self) {
        self.frame.secret |= self.frame.shape == Shape::Setting && self.frame.item == 0;
    }

    fn pass(&mut self, behind: Behind) {
        self.word.clear();
        self.behind = behind;
    }

    fn word(&mut self, word: &str) {
        match word {
            "as" => {
                self.frame.named = false;
                self.word = word.to_owned();
            }
            word if ENDS.contains(&word) => self.end(word),
            word => self.name(word),
        }
    }

    fn end(&mut self, word: &str) {
        self.frame.named = false;
        self.frame.before = None;
        self.table = matches!(word, "into" | "update" | "from" | "join" | "using" | "table");
        self.into = word == "into";
        self.rest |= self.columns && matches!(word, "select" | "with" | "table");
        self.columns &= word != "values";
        self.pass(Behind::Nothing);
        self.word = word.to_owned();
    }

    fn name(&mut self, name: &str) {
        self.unsure_setting();
        if says_secret(name) {
            self.rest |= self.table;
            self.secret_named();
        }
        let behind = if self.behind == Behind::Close { Behind::Name } else { Behind::Nothing };
        self.pass(behind);
        self.word = name.to_owned();
    }

    fn secret_named(&mut self) {
        let frame = &mut self.frame;
        self.found.extend(frame.before.take());
        frame.named = true;
        if !frame.places.contains(&frame.item) {
            frame.places.push(frame.item);
        }
        if matches!(frame.shape, Shape::Call | Shape::Setting) {
            // `coalesce($1, password)`
            frame.secret = true;
            self.found.append(&mut frame.parameters);
        }
    }

    fn string(&mut self, string: &str) {
        let before = self.frame.before.take();
        if says_secret(string) {
            self.rest = true;
            self.found.extend(before);
        }
        self.pass(Behind::Nothing);
    }

    fn symbol(&mut self, symbol: &str) {
        match symbol {
            "(" => self.open(),
            ")" => return self.close(),
            "," => {
                self.frame.item += 1;
                self.frame.named = false;
                self.frame.before = None;
            }
            ";" => {
                let (found, too_deep) = (std::mem::take(&mut self.found), self.too_deep);
                *self = Search { found, too_deep, ..Search::default() };
            }
            // `schema.name`
            "." => return,
            _ => {}
        }
        self.pass(Behind::Nothing);
    }

    fn open(&mut self) {
        let shape = self.shape();
        let takes =
            shape == Shape::Call && (says_secret(&self.word) || TAKES.iter().any(|part| self.word.contains(part)));
        let in_place = !self.frames.is_empty() && self.places.contains(&self.frame.item);
        let frame =
            Frame { shape, secret: self.frame.secret || self.frame.named || in_place || takes, ..Frame::default() };
        self.table = false;
        if self.frames.len() < DEEPEST {
            self.frames.push(std::mem::replace(&mut self.frame, frame));
        } else {
            self.too_deep = true;
        }
    }

    fn shape(&mut self) -> Shape {
        let word = self.word.as_str();
        if word == "insert" || (std::mem::take(&mut self.into) && !ENDS.contains(&word)) {
            Shape::Columns
        } else if word.is_empty() || ENDS.contains(&word) || matches!(word, "in" | "as" | "row" | "not" | "exists") {
            Shape::Plain
        } else if self.behind == Behind::Name {
            Shape::Alias
        } else if word == "set_config" {
            Shape::Setting
        } else {
            Shape::Call
        }
    }

    fn close(&mut self) {
        self.pass(Behind::Close);
        let Some(outer) = self.frames.pop() else { return };
        let inner = std::mem::replace(&mut self.frame, outer);
        // `lower($1) = password`, `lower(password) = $1`
        self.frame.before = inner.before.or(inner.parameters.last().copied());
        self.frame.named |= !inner.places.is_empty() && inner.shape != Shape::Alias;
        self.frame.parameters.extend(&inner.parameters);
        match inner.shape {
            Shape::Call | Shape::Setting => {}
            Shape::Alias if !inner.places.is_empty() => self.found.append(&mut self.closed),
            Shape::Alias => {}
            Shape::Plain | Shape::Columns => {
                self.columns |= inner.shape == Shape::Columns && !inner.places.is_empty();
                if !inner.places.is_empty() {
                    self.places = inner.places;
                }
            }
        }
        self.closed = inner.parameters;
    }
}
