//! `${NAME}` in strings, and the `.env` file beside the configuration.

use std::collections::HashMap;

/// What is wrong with a `${…}`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VariableError {
    /// The variable is neither in the environment nor in `.env`.
    #[error("environment variable `{0}` is not set: set it, or write it into `.env` beside this file")]
    Missing(String),
    /// No closing brace, or no proper name between the braces.
    #[error("`${{` must be followed by a variable's name and `}}`; write `$${{` for the characters themselves")]
    Malformed,
}

/// Replaces every `${NAME}` of `written` by the variable's value (which is not looked into again) and `$${` by `${`. All
/// errors of the string at once.
pub fn expand(written: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<String, Vec<VariableError>> {
    let mut out = String::with_capacity(written.len());
    let mut errors = Vec::new();
    let mut rest = written;
    while let Some((before, after)) = rest.split_once("${") {
        if let Some(escaped) = before.strip_suffix('$') {
            out.push_str(escaped);
            out.push_str("${");
            rest = after;
            continue;
        }
        out.push_str(before);
        rest = match value_of(after, variable) {
            Ok((value, following)) => {
                out.push_str(&value);
                following
            }
            Err(error) => {
                errors.push(error);
                after
            }
        };
    }
    out.push_str(rest);
    if errors.is_empty() { Ok(out) } else { Err(errors) }
}

fn value_of<'a>(after: &'a str, variable: &dyn Fn(&str) -> Option<String>) -> Result<(String, &'a str), VariableError> {
    let (name, following) = after.split_once('}').ok_or(VariableError::Malformed)?;
    if !is_variable_name(name) {
        return Err(VariableError::Malformed);
    }
    variable(name).map(|value| (value, following)).ok_or_else(|| VariableError::Missing(name.to_owned()))
}

fn is_variable_name(name: &str) -> bool {
    let ordinary = |c: char| c.is_ascii_alphanumeric() || c == '_';
    name.starts_with(|c: char| ordinary(c) && !c.is_ascii_digit()) && name.chars().all(ordinary)
}

/// Reads a `.env` file: `NAME=value`, `export NAME=value`, comments by `#`, values bare, in single quotes (as they stand) or
/// in double quotes (with `\n`, `\"`, `\\`, `\$`). A line that is none of these is an error, told by its number alone.
pub fn parse_dotenv(text: &str) -> Result<HashMap<String, String>, Vec<usize>> {
    let mut variables = HashMap::new();
    let mut wrong = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match assignment(line) {
            Some((name, value)) => drop(variables.insert(name.to_owned(), value)),
            None => wrong.push(index + 1),
        }
    }
    if wrong.is_empty() { Ok(variables) } else { Err(wrong) }
}

fn assignment(line: &str) -> Option<(&str, String)> {
    let line = line.strip_prefix("export ").unwrap_or(line);
    let (name, value) = line.split_once('=')?;
    let name = name.trim();
    is_variable_name(name).then_some(())?;
    Some((name, unquoted(value.trim())?))
}

fn unquoted(value: &str) -> Option<String> {
    if let Some(rest) = value.strip_prefix('\'') {
        let (inside, after) = rest.split_once('\'')?;
        return only_comment(after).then(|| inside.to_owned());
    }
    if let Some(rest) = value.strip_prefix('"') {
        return double_quoted(rest);
    }
    let end = value.find(" #").unwrap_or(value.len());
    value.get(..end).map(|bare| bare.trim_end().to_owned())
}

fn double_quoted(rest: &str) -> Option<String> {
    let mut out = String::new();
    let mut chars = rest.chars();
    loop {
        match chars.next()? {
            '"' => return only_comment(chars.as_str()).then_some(out),
            '\\' => match chars.next()? {
                'n' => out.push('\n'),
                other => out.push(other),
            },
            other => out.push(other),
        }
    }
}

fn only_comment(after: &str) -> bool {
    let after = after.trim_start();
    after.is_empty() || after.starts_with('#')
}

#[cfg(test)]
#[allow(clippy::expect_used)]
mod tests {
    use super::*;

    fn sample(name: &str) -> Option<String> {
        match name {
            "HOST" => Some("db".to_owned()),
            "TRICKY" => Some("${HOST}".to_owned()),
            _ => None,
        }
    }

    #[test]
    fn variables_expand_once() {
        for (written, expected) in [
            ("plain", Ok("plain")),
            ("a ${HOST} b", Ok("a db b")),
            ("${TRICKY}", Ok("${HOST}")),
            ("$${HOST}", Ok("${HOST}")),
            ("$4096:a$b", Ok("$4096:a$b")),
            ("${HOST", Err(vec![VariableError::Malformed])),
            ("${}", Err(vec![VariableError::Malformed])),
            ("${1A}", Err(vec![VariableError::Malformed])),
            ("${NO}${NOT}", Err(vec![VariableError::Missing("NO".into()), VariableError::Missing("NOT".into())])),
        ] {
            assert_eq!(expand(written, &sample), expected.map(str::to_owned), "{written}");
        }
    }

    #[test]
    fn dotenv_lines() {
        let text = "# comment\nexport A=1\nB = two words # not this\nC='a # b'\nD=\"x\\\"y\\n\" # c\n\nE=a#b\nF=\n";
        let variables = parse_dotenv(text).expect("parses");
        for (name, value) in [("A", "1"), ("B", "two words"), ("C", "a # b"), ("D", "x\"y\n"), ("E", "a#b"), ("F", "")]
        {
            assert_eq!(variables.get(name).map(String::as_str), Some(value), "{name}");
        }
        assert_eq!(parse_dotenv("A=1\nnonsense\nB='open\n1X=3"), Err(vec![2, 3, 4]));
    }
}
