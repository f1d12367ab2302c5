//! What only the tokens tell: where the body of a PREPARE stands, where a syntax error is. Room of the postgres reader.

use std::ops::Range;

use pg_query::protobuf::{ScanToken, Token};

/// The tokens of a text without comments; `None` when the scanner cannot read it.
pub(super) fn scan(text: &str) -> Option<Vec<ScanToken>> {
    let mut tokens = pg_query::scan_tokens(text).ok()?;
    tokens.retain(|token| !matches!(token.token(), Token::SqlComment | Token::CComment));
    Some(tokens)
}

/// A token's bytes.
pub(super) fn bytes(token: &ScanToken) -> Range<usize> {
    usize::try_from(token.start).unwrap_or(0)..usize::try_from(token.end).unwrap_or(0)
}

/// What stands between semicolons outside of brackets; `None` when the scanner cannot read the text.
pub(super) fn between_semicolons(text: &str) -> Option<Vec<Range<usize>>> {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    let mut open = false;
    let mut depth = 0usize;
    for token in scan(text)? {
        let token_bytes = bytes(&token);
        match token.token() {
            Token::Ascii59 if depth == 0 => {
                open = false;
                continue;
            }
            Token::Ascii40 => depth += 1,
            Token::Ascii41 => depth = depth.saturating_sub(1),
            _ => {}
        }
        match ranges.last_mut().filter(|_| open) {
            Some(last) => last.end = token_bytes.end,
            None => ranges.push(token_bytes),
        }
        open = true;
    }
    Some(ranges)
}

/// In `name [*] action, action …`: the bytes of each action. `None` when the scanner cannot read the text.
pub(super) fn actions_behind_name(text: &str) -> Option<Vec<Range<usize>>> {
    let tokens = scan(text)?;
    // A name is words parted by dots.
    let parts = tokens.iter().skip(1).take_while({
        let mut after_dot = false;
        move |token| {
            let dot = token.token() == Token::Ascii46;
            let part = dot || after_dot;
            after_dot = dot;
            part
        }
    });
    let behind = 1 + parts.count();
    let star = usize::from(tokens.get(behind).is_some_and(|token| token.token() == Token::Ascii42));
    let mut actions: Vec<Range<usize>> = Vec::new();
    let mut depth = 0usize;
    let mut open = false;
    for token in tokens.iter().skip(behind + star) {
        match token.token() {
            Token::Ascii40 | Token::Ascii91 => depth += 1,
            Token::Ascii41 | Token::Ascii93 => depth = depth.saturating_sub(1),
            Token::Ascii44 if depth == 0 => {
                open = false;
                continue;
            }
            _ => {}
        }
        match actions.last_mut().filter(|_| open) {
            Some(last) => last.end = bytes(token).end,
            None => actions.push(bytes(token)),
        }
        open = true;
    }
    Some(actions)
}

/// In `PREPARE name [(types)] AS statement`: the bytes of the statement.
pub(super) fn after_as(text: &str, statement: Range<usize>) -> Range<usize> {
    let source = text.get(statement.clone()).unwrap_or_default();
    let mut depth = 0usize;
    let mut tokens = scan(source).unwrap_or_default().into_iter().skip(1);
    while let Some(token) = tokens.next() {
        match token.token() {
            Token::Ascii40 => depth += 1,
            Token::Ascii41 => depth = depth.saturating_sub(1),
            Token::As if depth == 0 => {
                let start = tokens.next().map_or(source.len(), |token| bytes(&token).start);
                return statement.start + start..statement.end;
            }
            _ => {}
        }
    }
    statement
}

/// Where PostgreSQL would point for a message that names what it stumbled on: `… at or near "word"`, `… at end of input`.
///
/// libpg_query's binding keeps the message only. The place is the first token of that text after which the grammar no longer
/// accepts the text so far, found by bisection over the candidates.
pub(super) fn error_offset(text: &str, message: &str) -> Option<usize> {
    if message.ends_with("at end of input") {
        return Some(text.len());
    }
    let word = message.split_once("at or near \"")?.1.strip_suffix('"')?;
    let candidates: Vec<Range<usize>> =
        scan(text)?.iter().map(bytes).filter(|range| text.get(range.clone()) == Some(word)).collect();
    let stumbles = |range: &Range<usize>| {
        let so_far = text.get(..range.end).unwrap_or_default();
        super::parse(so_far, pg_query::ParserOptions::DEFAULT).is_err_and(|error| error == message)
    };
    let at = candidates.partition_point(|range| !stumbles(range));
    candidates.get(at).map(|range| range.start)
}

/// The text with `?` for every literal, and without comments. `None` when the scanner cannot read it: nothing of such a text can be
/// shown to be free of literals.
pub fn without_literals(text: &str) -> Option<String> {
    // The binding makes a slice of nothing from a null pointer.
    if text.trim().is_empty() {
        return Some(String::new());
    }
    let tokens = pg_query::scan_tokens(text).ok()?;
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    for token in &tokens {
        let range = bytes(token);
        out.push_str(text.get(at..range.start)?);
        match token.token() {
            Token::SqlComment | Token::CComment => {}
            Token::Sconst | Token::Iconst | Token::Fconst | Token::Bconst | Token::Xconst | Token::Usconst => {
                out.push('?')
            }
            _ => out.push_str(text.get(range.clone())?),
        }
        at = range.end;
    }
    out.push_str(text.get(at..)?);
    Some(out.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::without_literals;

    #[test]
    fn literals_and_comments_are_taken_out() {
        let table = [
            ("select 1, 'a''b', 1.5e3 from t where x = $1", Some("select ?, ?, ? from t where x = $1")),
            ("select E'a\\'b', B'01', x'ff', U&'\\0061', $q$se'cret$q$", Some("select ?, ?, ?, ?, ?")),
            ("/* card 4711 */ select 2 -- for Grace", Some("select ?")),
            ("comment on table t is 'private'", Some("comment on table t is ?")),
            ("notify c, 'payload'; set x = 'y'", Some("notify c, ?; set x = ?")),
            ("do $$ begin perform 'x'; end $$", Some("do ?")),
            ("selec 'x' fro \"Tä\" where ä = 'ö'", Some("selec ? fro \"Tä\" where ä = ?")),
            ("select 'ä', \"ü\"", Some("select ?, \"ü\"")),
            ("", Some("")),
            ("select 'open", None),
            ("select /* open", None),
        ];
        for (text, expected) in table {
            assert_eq!(without_literals(text).as_deref(), expected, "{text}");
        }
    }
}
