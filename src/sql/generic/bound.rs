//! How deep the parsing and the tree of a text can get, from its tokens alone, so that the stack they need can be set aside.
//!
//! sqlparser grows the stack where it descends into expressions and queries, but not where statements hold statements; and
//! `1+1+1+…` becomes a tree as deep as it is long without any descent, which dropping and walking then recurse into. A tree is
//! at most as deep as there are tokens on the way to a leaf: those since the last comma or semicolon at each open level of
//! parentheses.

use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, TokenWithSpan};

/// Stack for one level of parentheses, brackets, CASE or nested statement: what the parser's own frames take in a debug build,
/// with room.
const NESTING_BYTES: usize = 96 << 10;
/// Stack for one more token on the way to a leaf: what dropping and walking take in a debug build, with room.
const TOKEN_BYTES: usize = 2 << 10;
/// Stack that every reading may take.
const BASE_BYTES: usize = 512 << 10;
/// More than this is not set aside: such a text is left to the other reader.
const MOST_BYTES: usize = 256 << 20;
/// Depths that the base covers.
const BASE_NESTING: usize = 4;
const BASE_PATH: usize = 100;

/// What is open at the current token.
#[derive(Default)]
struct Depth {
    /// Tokens since the last comma at each open level of parentheses.
    levels: Vec<usize>,
    /// Their sum.
    path: usize,
    /// CASE without its END.
    cases: usize,
    /// Statements that hold the rest of the text up to the next semicolon.
    prefixes: usize,
    /// Statements that hold statements, semicolons and all.
    blocks: usize,
}

/// Bytes of stack that parsing, walking and dropping the tree of these tokens can take; `None` if that is too much.
pub fn stack_bytes(tokens: &[TokenWithSpan]) -> Option<usize> {
    let mut depth = Depth { levels: vec![0], ..Depth::default() };
    let (mut path, mut nesting) = (0usize, 0usize);
    let mut significant = tokens.iter().map(|token| &token.token).filter(|token| !is_space(token)).peekable();
    while let Some(token) = significant.next() {
        depth.step(token, significant.peek().copied());
        path = path.max(depth.path);
        nesting = nesting.max(depth.nesting());
    }
    let bytes = BASE_BYTES
        + nesting.saturating_sub(BASE_NESTING) * NESTING_BYTES
        + path.saturating_sub(BASE_PATH) * TOKEN_BYTES;
    (bytes <= MOST_BYTES).then_some(bytes)
}

fn is_space(token: &Token) -> bool {
    matches!(token, Token::Whitespace(_))
}

impl Depth {
    fn nesting(&self) -> usize {
        self.levels.len() + self.cases + self.prefixes + self.blocks
    }

    fn step(&mut self, token: &Token, next: Option<&Token>) {
        match token {
            Token::LParen | Token::LBracket | Token::LBrace => self.levels.push(0),
            Token::RParen | Token::RBracket | Token::RBrace if self.levels.len() > 1 => {
                self.path -= self.levels.pop().unwrap_or(0);
                self.count();
            }
            Token::Comma => self.restart(),
            Token::SemiColon => {
                self.restart();
                self.prefixes = 0;
            }
            other => {
                self.count();
                self.keyword(other, next);
            }
        }
    }

    /// One more token, or a closed group, on the way to a leaf.
    fn count(&mut self) {
        self.path += 1;
        if let Some(level) = self.levels.last_mut() {
            *level += 1;
        }
    }

    fn restart(&mut self) {
        if let Some(level) = self.levels.last_mut() {
            self.path -= std::mem::take(level);
        }
    }

    fn keyword(&mut self, token: &Token, next: Option<&Token>) {
        match keyword(token) {
            Keyword::CASE => self.cases += 1,
            Keyword::END => self.cases = self.cases.saturating_sub(1),
            Keyword::EXPLAIN | Keyword::DESCRIBE | Keyword::DESC | Keyword::PREPARE => self.prefixes += 1,
            Keyword::WHILE => self.blocks += 1,
            Keyword::IF if !matches!(next.map(keyword), Some(Keyword::EXISTS | Keyword::NOT)) => self.blocks += 1,
            _ => {}
        }
    }
}

fn keyword(token: &Token) -> Keyword {
    match token {
        Token::Word(word) => word.keyword,
        _ => Keyword::NoKeyword,
    }
}
