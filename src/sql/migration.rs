//! Which migration a text belongs to, where whoever sends it says so: in a comment, in the name of its application, or in the row
//! that it writes into its bookkeeping before the migration runs.
//!
//! Only a refusal's words depend on it, never a verdict.

use std::ops::Range;

use super::scan::{self, Kind, Token};

/// What a text says of the migration that the session is about to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ledger {
    /// The tool has noted that this one begins.
    Begins(Name),
    /// The one that was noted is over.
    Ends,
}

/// A migration's name, as the tool writes it down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    /// In the text.
    Written(String),
    /// As this parameter, counted from 1.
    Parameter(usize),
}

/// Tables that a tool writes a migration's name into before it runs it, and the column. Most tools write it afterwards, which
/// says nothing of the one that comes.
const LEDGERS: [(&str, &str); 1] = [("_prisma_migrations", "migration_name")];

/// A row with this column is of a migration that is over, or was never run: `prisma migrate resolve --applied`.
const FINISHED: &str = "finished_at";

/// What a migration's file ends in.
const SCRIPTS: [&str; 2] = [".sql", ".psql"];

/// What a migration's file that is a program ends in; such a name counts with a folder or a number in it only.
const PROGRAMS: [&str; 11] = [".py", ".rb", ".js", ".cjs", ".mjs", ".ts", ".php", ".java", ".kt", ".go", ".xml"];

/// What stands before the two revisions in the comments of Alembic's offline SQL.
const ALEMBIC: &str = "Running upgrade ";

/// The longest name that is told.
const LONGEST: usize = 200;

/// Whether a relation of this name is a tool's bookkeeping that tells what comes next.
pub fn is_ledger(relation: &str) -> bool {
    LEDGERS.iter().any(|(table, _)| *table == relation)
}

/// What a statement that writes such a table says.
pub fn ledger(text: &str) -> Ledger {
    begins(text).map_or(Ledger::Ends, Ledger::Begins)
}

/// `INSERT INTO [schema.]table (columns) VALUES (values)`: the value in the column that holds the name.
fn begins(text: &str) -> Option<Name> {
    let mut tokens = scan::tokens(text)?;
    tokens.retain(|token| token.kind != Kind::Comment);
    let word = |token: &Token| text.get(token.start..token.end).unwrap_or_default();
    let is = |token: &Token, wanted: &str| word(token).eq_ignore_ascii_case(wanted);
    let open = tokens.iter().position(|token| is(token, "("))?;
    let table = tokens.get(open.checked_sub(1)?).map(word)?.trim_matches('"');
    let (_, column) = LEDGERS.iter().find(|(name, _)| *name == table)?;
    let values = tokens.iter().position(|token| is(token, "values"))?;
    let columns = listed(text, tokens.get(open..values)?);
    let stands = |column: &str| columns.iter().position(|name| name.trim_matches('"') == column);
    let place = stands(column).filter(|_| stands(FINISHED).is_none())?;
    let value = listed(text, tokens.get(values + 1..)?).get(place).copied()?;
    match (value.strip_prefix('$'), value.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''))) {
        (Some(number), _) => number.parse().ok().map(Name::Parameter),
        (None, Some(name)) => Some(Name::Written(name.to_owned())),
        (None, None) => None,
    }
}

/// What stands between the commas of a list in brackets, as written.
fn listed<'a>(text: &'a str, tokens: &[Token]) -> Vec<&'a str> {
    let mut found = Vec::new();
    let (mut depth, mut begun): (usize, Option<Range<usize>>) = (0, None);
    for token in tokens {
        let word = text.get(token.start..token.end).unwrap_or_default();
        let closes = word == ")" && depth == 1;
        if closes || word == "," && depth == 1 {
            found.push(begun.take().and_then(|range| text.get(range)).unwrap_or_default());
            if closes {
                break;
            }
            continue;
        }
        depth = match word {
            "(" => depth + 1,
            ")" => depth.saturating_sub(1),
            _ => depth,
        };
        if depth > 1 || word != "(" {
            begun = Some(begun.map_or(token.start, |range| range.start)..token.end);
        }
    }
    found
}

/// The migration that a comment names: the last one before byte `at`, else the first one behind it.
pub fn told_by_comment(text: &str, at: usize) -> Option<String> {
    // Most texts have none, and need not be cut for that.
    if !text.contains("--") && !text.contains("/*") {
        return None;
    }
    let tokens = scan::tokens(text)?;
    let comments = tokens.iter().filter(|token| token.kind == Kind::Comment);
    let named = |token: &Token| file_in(text.get(token.start..token.end).unwrap_or_default());
    let (before, behind): (Vec<&Token>, Vec<&Token>) = comments.partition(|token| token.start < at);
    before.into_iter().rev().chain(behind).find_map(named)
}

/// The migration's file, or for Alembic its revisions, in a comment or an application's name.
pub fn file_in(words: &str) -> Option<String> {
    if let Some((_, revisions)) = words.split_once(ALEMBIC).filter(|(_, rest)| rest.contains("->")) {
        return Some(short(revisions.lines().next().unwrap_or_default()));
    }
    let parts = words.split(|c: char| c.is_whitespace() || "'\"`,;:()*=".contains(c));
    let mut files = parts.map(|part| part.trim_start_matches('-').trim_end_matches('.'));
    files.find(|part| is_file(part)).map(short)
}

fn is_file(part: &str) -> bool {
    let ends = |extension: &&str| -> bool {
        let stem = part.len().checked_sub(extension.len()).filter(|stem| *stem > 0);
        stem.and_then(|stem| part.get(stem..)).is_some_and(|end| end.eq_ignore_ascii_case(extension))
    };
    let placed = part.contains('/') || part.contains(|c: char| c.is_ascii_digit());
    SCRIPTS.iter().any(ends) || placed && PROGRAMS.iter().any(ends) || part.contains("migrations/")
}

fn short(name: &str) -> String {
    name.trim().chars().take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(name: &str) -> Ledger {
        Ledger::Begins(Name::Written(name.to_owned()))
    }

    #[test]
    fn a_tool_s_bookkeeping_says_what_comes() {
        let columns = "(\"id\",\"checksum\",\"started_at\",\"migration_name\")";
        for (text, said) in [
            (
                format!("INSERT INTO \"_prisma_migrations\" {columns} VALUES ($1,$2,$3,$4)"),
                Ledger::Begins(Name::Parameter(4)),
            ),
            (
                format!("insert into \"public\".\"_prisma_migrations\" {columns} values ('a', 'b', now(), '0003_it')"),
                written("0003_it"),
            ),
            (
                format!(
                    "/* 1 */ INSERT INTO _prisma_migrations {columns} VALUES (f(1, (2)), $1, $2, $12) RETURNING id"
                ),
                Ledger::Begins(Name::Parameter(12)),
            ),
            ("INSERT INTO _prisma_migrations (finished_at, migration_name) VALUES ($1, $2)".to_owned(), Ledger::Ends),
            ("INSERT INTO _prisma_migrations VALUES ('a', 'b')".to_owned(), Ledger::Ends),
            (format!("INSERT INTO _prisma_migrations {columns} VALUES ($1, $2)"), Ledger::Ends),
            (format!("INSERT INTO _prisma_migrations {columns} SELECT 1, 2, 3, 4"), Ledger::Ends),
            ("UPDATE \"_prisma_migrations\" SET \"finished_at\" = $1 WHERE \"id\" = $2".to_owned(), Ledger::Ends),
        ] {
            assert_eq!(ledger(&text), said, "{text}");
        }
    }

    #[test]
    fn comments_name_files() {
        for (text, file) in [
            ("-- prisma/migrations/3_it/migration.sql\nDROP TABLE t", Some("prisma/migrations/3_it/migration.sql")),
            ("/* file: V3__it.sql */ DROP TABLE t", Some("V3__it.sql")),
            ("DROP TABLE t /*migration='shop/migrations/0003_it'*/", Some("shop/migrations/0003_it")),
            ("-- Running upgrade 1a2b -> 3c4d, drop it\n\nDROP TABLE t", Some("1a2b -> 3c4d, drop it")),
            ("-- a.sql\n-- b.sql\nDROP TABLE t; -- c.sql", Some("b.sql")),
            ("-- DropTable\nDROP TABLE t", None),
            ("-- see the node.js docs. It is .sql\nDROP TABLE t", None),
            ("-- 20260102-drop.js\nDROP TABLE t", Some("20260102-drop.js")),
            ("SELECT '-- a.sql'; DROP TABLE t", None),
        ] {
            let at = text.find("DROP").unwrap_or_default();
            assert_eq!(told_by_comment(text, at).as_deref(), file, "{text}");
        }
    }
}
