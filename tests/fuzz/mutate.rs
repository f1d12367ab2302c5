//! The same statement written otherwise: white space and comments between tokens, letters in the other case, names in quotes
//! and in Unicode escapes. What it does must stay the same.

use pg_query::protobuf::{KeywordKind, Token};

use crate::generate::Dice;

const GAPS: &[&str] = &[
    " ",
    "\n",
    "\t",
    " /* ; */ ",
    "/**/",
    " -- '\n",
    "\r\n",
    "\u{c}",
    " /* /* */ \" */ ",
    "  ",
    "/*! DROP */",
    " --\n",
];

/// How names may be written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// As they are, in other cases.
    Case,
    /// In double quotes.
    Quoted,
    /// In double quotes, with Unicode escapes.
    Escaped,
}

/// Another spelling of a text that PostgreSQL's scanner can read; `None` for others.
pub fn respelt(text: &str, names: Names, dice: &mut Dice) -> Option<String> {
    let tokens = pg_query::scan(text).ok()?.tokens;
    let mut out = String::new();
    for token in tokens {
        let (start, end) = (token.start as usize, token.end as usize);
        let word = text.get(start..end)?;
        match token.token() {
            Token::SqlComment | Token::CComment => continue,
            Token::Ident if is_plain(word) => out.push_str(&identifier(word, names, dice)),
            _ if token.keyword_kind() != KeywordKind::NoKeyword && is_plain(word) => out.push_str(&cased(word, dice)),
            _ => out.push_str(word),
        }
        out.push_str(dice.pick::<&str>(GAPS));
    }
    // A psql variable or the like could come together out of two tokens; what the gaps are for is the opposite.
    Some(out)
}

fn is_plain(word: &str) -> bool {
    word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn cased(word: &str, dice: &mut Dice) -> String {
    word.chars().map(|c| if dice.below(2) == 0 { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() }).collect()
}

fn identifier(word: &str, names: Names, dice: &mut Dice) -> String {
    let folded = word.to_ascii_lowercase();
    match names {
        Names::Case => cased(word, dice),
        Names::Quoted => format!("\"{folded}\""),
        Names::Escaped => {
            let letters = folded.chars().map(|c| match dice.below(3) {
                0 => format!("\\{:04x}", c as u32),
                1 => format!("\\+{:06X}", c as u32),
                _ => c.to_string(),
            });
            format!("U&\"{}\"", letters.collect::<String>())
        }
    }
}

/// The same text with other numbers and other plain strings: what a client sends next.
pub fn refilled(text: &str, dice: &mut Dice) -> Option<String> {
    let tokens = pg_query::scan(text).ok()?.tokens;
    let mut out = String::new();
    let mut at = 0;
    for token in tokens {
        let (start, end) = (token.start as usize, token.end as usize);
        let word = text.get(start..end)?;
        let fresh = match token.token() {
            Token::Iconst if word.bytes().all(|byte| byte.is_ascii_digit()) => dice.below(4).to_string(),
            Token::Sconst if word.starts_with('\'') && !word.contains('\\') => {
                (*dice.pick(&["''", "'x'", "'%'", "'it''s'", "'0'", "'off'"])).to_owned()
            }
            _ => continue,
        };
        out.push_str(text.get(at..start)?);
        out.push_str(&fresh);
        at = end;
    }
    out.push_str(text.get(at..)?);
    Some(out)
}
