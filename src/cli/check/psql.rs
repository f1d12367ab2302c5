//! What stands in SQL files beside SQL: psql's commands, the rows of COPY, Drizzle's breakpoints.
//!
//! [`read`] gives the SQL alone, each byte at its place, and says what every psql command is: nothing to judge, a COPY, another
//! file, or something that cannot be judged (<https://www.postgresql.org/docs/18/app-psql.html>).

use std::ops::Range;

use crate::sql::scan::{Kind, token_at};

/// What separates statements in files of drizzle-kit, which cuts at it wherever it stands.
const BREAKPOINT: &str = "--> statement-breakpoint";

/// A file's SQL and its psql commands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Script {
    /// The text with blanks in place of all that is not SQL.
    pub sql: String,
    /// The psql commands that are not nothing.
    pub commands: Vec<Command>,
    /// The rows of COPY … FROM STDIN. If the COPY fails, psql takes them for SQL.
    pub rows: Vec<Range<usize>>,
}

/// A psql command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Command {
    /// Its bytes in the file.
    pub range: Range<usize>,
    /// What it comes to.
    pub meaning: Meaning,
}

/// What a psql command comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// `\copy`: this SQL.
    Copy(String),
    /// `\i` or `\ir`: this file, beginning at the including file's folder if `beside`.
    Include {
        /// The file's name as written.
        name: String,
        /// `\ir`: relative to the including file.
        beside: bool,
    },
    /// Something that no reader of SQL can judge, and why.
    Opaque(&'static str),
}

/// psql and most migration tools leave it out.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// Commands that do nothing to the server: they show, format, or steer psql itself. Those that end in `*` stand for all that
/// begin so.
const QUIET: &[&str] = &[
    "?",
    "C",
    "H",
    "T",
    "a",
    "conninfo",
    "copyright",
    "d*",
    "echo",
    "elif",
    "else",
    "endif",
    "errverbose",
    "f",
    "getenv",
    "h",
    "help",
    "html",
    "if",
    "l",
    "l+",
    "list",
    "list+",
    "p",
    "prompt",
    "pset",
    "q",
    "qecho",
    "r",
    "restrict",
    "s",
    "set",
    "sf*",
    "sv*",
    "t",
    "timing",
    "unrestrict",
    "unset",
    "warn",
    "x",
    "z*",
];

/// Commands that send what stands before them, as a semicolon does.
const SENDING: &[&str] = &[";", "bind", "crosstabview", "g", "gdesc", "gset", "gx", "watch"];

/// Commands that fill variables, so that `:name` no longer is what it looks like.
const VARIABLES: &[&str] = &["getenv", "gset", "prompt", "set"];

const OPAQUE: &[(&str, &str)] = &[
    ("!", "runs a program on the machine that psql runs on"),
    ("cd", "changes where files are looked for"),
    ("c", "goes on in another database or as another user"),
    ("connect", "goes on in another database or as another user"),
    ("e", "runs what somebody types into an editor"),
    ("edit", "runs what somebody types into an editor"),
    ("ef", "runs what somebody types into an editor"),
    ("ev", "runs what somebody types into an editor"),
    ("g|", "pipes rows into a program"),
    ("gexec", "runs the text that a query gives"),
    ("lo_export", "reads or writes large objects"),
    ("lo_import", "reads or writes large objects"),
    ("lo_unlink", "reads or writes large objects"),
    ("o", "writes what follows into a file or program"),
    ("out", "writes what follows into a file or program"),
    ("password", "changes a password"),
    ("setenv", "changes the environment of programs"),
    ("w", "writes the statement into a file or program"),
    ("write", "writes the statement into a file or program"),
];

const UNKNOWN: &str = "is not known to pgwarden";
const VARIABLE: &str = "is replaced by a psql variable, whose text is not known here";
const BACKQUOTED: &str = "runs a program on the machine that psql runs on";
const SINGLE_LINE: &str = "makes every line a statement of its own";
const ENCODING: &str = "changes which bytes are quotes and backslashes";

/// Reads a file.
pub(super) fn read(text: &str) -> Script {
    let mut reader = Reader {
        text,
        at: 0,
        sql: text.as_bytes().to_vec(),
        commands: Vec::new(),
        rows: Vec::new(),
        words: Vec::new(),
        brackets: 0,
        variables: false,
    };
    if text.starts_with(BYTE_ORDER_MARK) {
        reader.blank(0..BYTE_ORDER_MARK.len_utf8());
        reader.at = BYTE_ORDER_MARK.len_utf8();
    }
    reader.run();
    // Blanks replaced whole characters, so this is still UTF-8.
    let sql = String::from_utf8(reader.sql).unwrap_or_default();
    Script { sql, commands: reader.commands, rows: reader.rows }
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
    sql: Vec<u8>,
    commands: Vec<Command>,
    rows: Vec<Range<usize>>,
    /// The words of the statement so far that stand outside of brackets, in upper case.
    words: Vec<String>,
    brackets: usize,
    /// Whether `:name` may stand for something.
    variables: bool,
}

impl Reader<'_> {
    fn run(&mut self) {
        while let Some(byte) = self.text.as_bytes().get(self.at).copied() {
            match byte {
                b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c => self.at += 1,
                b'\\' => self.command(),
                _ => match token_at(self.text, self.at) {
                    Some(token) => self.token(token.kind, token.start..token.end),
                    // A string or comment without an end: the grammar says so.
                    None => return,
                },
            }
        }
    }

    fn token(&mut self, kind: Kind, range: Range<usize>) {
        self.at = range.end;
        let text = self.text.get(range.clone()).unwrap_or_default();
        match kind {
            Kind::Comment if text.starts_with(BREAKPOINT) => {
                self.blank(range.start..range.start + BREAKPOINT.len());
                self.put(range.start, b';');
                self.end_statement();
            }
            Kind::Word if self.brackets == 0 => self.words.push(text.to_ascii_uppercase()),
            Kind::Symbol => self.symbol(text, range.start),
            Kind::Comment | Kind::Word | Kind::QuotedName | Kind::Text | Kind::Dollar => {}
        }
    }

    fn symbol(&mut self, symbol: &str, start: usize) {
        match symbol {
            "(" | "[" => self.brackets += 1,
            ")" | "]" => self.brackets = self.brackets.saturating_sub(1),
            ";" if self.brackets == 0 => self.end_statement(),
            ":" if self.variables && self.is_variable(start) => {
                let length =
                    self.text.get(start + 1..).unwrap_or_default().find(|c: char| !is_word(c) && c != '\'' && c != '"');
                let end = length.map_or(self.text.len(), |length| start + 1 + length);
                self.opaque(start..end.max(start + 1), VARIABLE);
            }
            _ => {}
        }
    }

    /// Whether the colon at `start` is followed by a name and is not half of `::`.
    fn is_variable(&self, start: usize) -> bool {
        let before = start.checked_sub(1).and_then(|before| self.text.as_bytes().get(before));
        let next = self.text.get(start + 1..).and_then(|rest| rest.chars().next());
        before != Some(&b':') && next.is_some_and(|c| is_word(c) || matches!(c, '\'' | '"' | '{'))
    }

    /// A statement ends here; if it was COPY … FROM STDIN, its rows follow on the next line.
    fn end_statement(&mut self) {
        let words = std::mem::take(&mut self.words);
        self.brackets = 0;
        let copies = words.first().is_some_and(|word| word == "COPY");
        let from_stdin =
            words.windows(2).any(|pair| matches!(pair, [from, stdin] if from == "FROM" && stdin == "STDIN"));
        if copies && from_stdin {
            self.rows();
        }
    }

    /// The rows of a COPY, up to and with the line `\.`. Without that line nothing is taken for rows.
    fn rows(&mut self) {
        let start = self.line_end(self.at) + 1;
        let mut line = start;
        while let Some(rest) = self.text.get(line..).filter(|rest| !rest.is_empty()) {
            let end = line + rest.find('\n').unwrap_or(rest.len());
            if self.text.get(line..end).is_some_and(|line| line.trim_end_matches('\r') == "\\.") {
                self.blank(start..end);
                self.rows.push(start..line);
                // What stands behind the semicolon on the COPY's own line is SQL still, and its rows are ours already.
                self.between(self.at, start);
                self.at = end;
                return;
            }
            line = end + 1;
        }
    }

    /// SQL between a COPY's semicolon and its rows is left for the readers; a psql command there is not looked for.
    fn between(&mut self, from: usize, to: usize) {
        if let Some(backslash) = self.text.get(from..to).and_then(|rest| rest.find('\\')) {
            let at = from + backslash;
            self.opaque(at..to.saturating_sub(1).max(at + 1), UNKNOWN);
        }
    }

    /// A backslash outside of strings and comments: a command of psql's, to the end of the line.
    fn command(&mut self) {
        let start = self.at;
        let end = self.line_end(start);
        let line = self.text.get(start + 1..end).unwrap_or_default();
        if let Some(rest) = line.strip_prefix(';') {
            self.put(start, b' ');
            self.put(start + 1, b';');
            self.at = end - rest.len();
            return self.end_statement();
        }
        let name_length = line.find(|c: char| c.is_whitespace() || c == '\\').unwrap_or(line.len());
        let (name, rest) = line.split_at(name_length);
        // Another command may begin on the same line; `\\` ends this one and SQL goes on. `\copy` has the line for itself.
        let rest_length = if name == "copy" { rest.len() } else { arguments_end(rest) };
        let rest = rest.get(..rest_length).unwrap_or_default();
        let range = start..start + 1 + name_length + rest.trim_end().len();
        self.at = (start + 1 + name_length + rest_length).max(start + 1);
        if self.text.get(self.at..).is_some_and(|text| text.starts_with("\\\\")) {
            self.blank(self.at..self.at + 2);
            self.at += 2;
        }
        self.blank(range.clone());
        self.meaning(name, rest.trim(), range);
    }

    fn meaning(&mut self, name: &str, arguments: &str, range: Range<usize>) {
        self.variables |= VARIABLES.contains(&name);
        if arguments.contains('`') {
            return self.opaque(range, BACKQUOTED);
        }
        match name {
            "copy" => self.push(range, Meaning::Copy(as_copy(arguments))),
            "i" | "include" => self.include(range, arguments, false),
            "ir" | "include_relative" => self.include(range, arguments, true),
            "encoding" if !arguments.is_empty() && !crate::sql::settings::is_utf8(arguments) => {
                self.opaque(range, ENCODING)
            }
            "encoding" => {}
            "g" | "gx" if arguments.contains('|') => self.opaque(range, "pipes rows into a program"),
            _ if SENDING.contains(&name) => {
                self.put(range.start, b';');
                self.end_statement();
            }
            "set" if arguments.split_whitespace().next() == Some("SINGLELINE") => self.opaque(range, SINGLE_LINE),
            _ if is_quiet(name) => {}
            _ => {
                if name == "gexec" {
                    self.put(range.start, b';');
                    self.end_statement();
                }
                let known = OPAQUE.iter().find(|(other, _)| *other == name);
                self.opaque(range, known.map_or(UNKNOWN, |(_, why)| *why));
            }
        }
    }

    fn include(&mut self, range: Range<usize>, name: &str, beside: bool) {
        let plain = name.trim_matches('\'');
        match plain.is_empty() || plain.contains([':', '\'', '"']) {
            true => self.opaque(range, "includes a file whose name is not known here"),
            false => self.push(range, Meaning::Include { name: plain.to_owned(), beside }),
        }
    }

    fn opaque(&mut self, range: Range<usize>, why: &'static str) {
        self.push(range, Meaning::Opaque(why));
    }

    fn push(&mut self, range: Range<usize>, meaning: Meaning) {
        self.commands.push(Command { range, meaning });
    }

    fn line_end(&self, from: usize) -> usize {
        self.text.get(from..).and_then(|rest| rest.find('\n')).map_or(self.text.len(), |length| from + length)
    }

    fn blank(&mut self, range: Range<usize>) {
        for byte in self.sql.get_mut(range).into_iter().flatten() {
            if !matches!(*byte, b'\n' | b'\r') {
                *byte = b' ';
            }
        }
    }

    fn put(&mut self, at: usize, byte: u8) {
        if let Some(place) = self.sql.get_mut(at) {
            *place = byte;
        }
    }
}

/// Where a command's arguments end: at a backslash outside of quotes, which begins the next command.
fn arguments_end(text: &str) -> usize {
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match (c, quote) {
            _ if escaped => escaped = false,
            ('\\', Some('\'')) => escaped = true,
            ('\\', None) => return at,
            ('\'' | '"', None) => quote = Some(c),
            (c, Some(open)) if c == open => quote = None,
            _ => {}
        }
    }
    text.len()
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn is_quiet(name: &str) -> bool {
    QUIET.iter().any(|known| match known.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => *known == name,
    })
}

/// The COPY that a `\copy` sends: the file of psql's machine becomes STDIN or STDOUT, as psql does it (`do_copy` in
/// `src/bin/psql/copy.c`).
fn as_copy(arguments: &str) -> String {
    let mut at = 0;
    let mut brackets = 0usize;
    while let Some(rest) = arguments.get(at..).filter(|rest| !rest.is_empty()) {
        if rest.starts_with(char::is_whitespace) {
            at += 1;
            continue;
        }
        let Some(token) = token_at(arguments, at) else { break };
        let word = arguments.get(at..token.end).unwrap_or_default();
        match word {
            "(" => brackets += 1,
            ")" => brackets = brackets.saturating_sub(1),
            _ if brackets == 0 && (word.eq_ignore_ascii_case("from") || word.eq_ignore_ascii_case("to")) => {
                let stream = if word.eq_ignore_ascii_case("from") { "STDIN" } else { "STDOUT" };
                let before = arguments.get(..token.end).unwrap_or_default();
                return format!(
                    "COPY {before} {stream} {}",
                    behind_file(arguments.get(token.end..).unwrap_or_default())
                );
            }
            _ => {}
        }
        at = token.end;
    }
    format!("COPY {arguments}")
}

/// What follows the file's name, or `program 'command'`, in a `\copy`.
fn behind_file(text: &str) -> &str {
    let text = text.trim_start();
    let program = text.get(..8).filter(|word| word.eq_ignore_ascii_case("program ")).map_or(0, str::len);
    let text = text.get(program..).unwrap_or_default().trim_start();
    let quoted = text.starts_with('\'');
    let end = match quoted {
        true => text.get(1..).and_then(|rest| rest.find('\'')).map_or(text.len(), |length| length + 2),
        false => text.find(char::is_whitespace).unwrap_or(text.len()),
    };
    text.get(end..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meanings(text: &str) -> Vec<Meaning> {
        read(text).commands.into_iter().map(|command| command.meaning).collect()
    }

    #[test]
    fn what_is_not_sql_is_blanked_and_everything_keeps_its_place() {
        let rows: &[(&str, &str)] = &[
            ("\\set x 1\nSELECT 1;", "        \nSELECT 1;"),
            ("SELECT '\\x'; -- \\c\n/* \\i y */", "SELECT '\\x'; -- \\c\n/* \\i y */"),
            ("SELECT $$\\c$$, \"\\c\", E'\\'\\c'", "SELECT $$\\c$$, \"\\c\", E'\\'\\c'"),
            ("COPY t FROM stdin;\n1\tx'\n\\.\nSELECT 1", "COPY t FROM stdin;\n    \n  \nSELECT 1"),
            (
                "COPY t (a) FROM STDIN WITH (FORMAT csv);\r\nö\r\n\\.\r\n",
                "COPY t (a) FROM STDIN WITH (FORMAT csv);\r\n  \r\n  \r\n",
            ),
            ("COPY t FROM stdin;\nDROP TABLE x;\n", "COPY t FROM stdin;\nDROP TABLE x;\n"),
            ("COPY t TO stdout;\nDROP TABLE x;\n\\.\n", "COPY t TO stdout;\nDROP TABLE x;\n  \n"),
            ("SELECT 1 \\g\nSELECT 2 \\gset\nSELECT 3", "SELECT 1 ; \nSELECT 2 ;    \nSELECT 3"),
            ("SELECT 1\\; SELECT 2;", "SELECT 1 ; SELECT 2;"),
            ("\\echo x \\\\ SELECT 1;", "           SELECT 1;"),
            ("SELECT 1\n--> statement-breakpoint\nSELECT 2", "SELECT 1\n;                       \nSELECT 2"),
        ];
        for (text, sql) in rows {
            assert_eq!(read(text).sql, *sql, "{text}");
        }
    }

    #[test]
    fn psql_commands_are_known_by_what_they_do() {
        assert_eq!(
            meanings("\\set ON_ERROR_STOP on\n\\echo hi\n\\d t\n\\encoding UTF8\n\\timing\n\\if :x\n\\endif"),
            []
        );
        assert_eq!(
            meanings("\\i a.sql\n\\ir 'b c.sql'"),
            [
                Meaning::Include { name: "a.sql".to_owned(), beside: false },
                Meaning::Include { name: "b c.sql".to_owned(), beside: true }
            ]
        );
        let copies =
            ["\\copy t from 'x y.csv' csv", "\\copy (select a from t) to out.csv", "\\copy t (a) from program 'cat x'"];
        let sent = ["COPY t from STDIN  csv", "COPY (select a from t) to STDOUT ", "COPY t (a) from STDIN "];
        for (text, sql) in copies.iter().zip(sent) {
            assert_eq!(meanings(text), [Meaning::Copy(sql.to_owned())]);
        }
        let opaque = [
            "\\c other",
            "\\connect - x",
            "\\! rm x",
            "SELECT 1 \\gexec",
            "\\nonsense",
            "\\encoding SJIS",
            "\\set x `id`",
            "\\set a x\nSELECT :a",
            "\\set a x\nSELECT :'a'",
            "SELECT 1 \\g | cat",
            "\\i :file",
            "\\password",
            "\\",
            "\\.",
            "COPY t FROM stdin; \\c x\n1\n\\.\n",
            "\\lo_unlink 1",
            "\\set a 1\nSELECT x[1:a]",
        ];
        for text in opaque {
            assert!(matches!(meanings(text).as_slice(), [Meaning::Opaque(_)]), "{text}: {:?}", meanings(text));
        }
        assert_eq!(meanings("\\set a x\nSELECT 'x'::text, y[1 : 2]"), []);
    }
}
