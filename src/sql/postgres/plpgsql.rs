//! PL/pgSQL bodies, by the grammar's own PL/pgSQL parser. Room of the postgres reader.
//!
//! The parser gives JSON. Every statement kind is named here; one that is not makes the body opaque.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use pg_query::ParserOptions;
use pg_query::protobuf::{ScanToken, Token};
use serde_json::Value;

use super::tokens;

/// What a body holds.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    /// Statements and expressions that show in the text.
    pub(super) fragments: Vec<Fragment>,
    /// What does not show, in words.
    pub(super) opaque: Vec<&'static str>,
}

/// One statement or expression.
#[derive(Debug)]
pub(super) struct Fragment {
    /// Its text.
    pub(super) text: String,
    /// How PL/pgSQL has it parsed.
    pub(super) mode: ParserOptions,
    /// An expression or assignment, not a statement.
    pub(super) expression: bool,
}

/// The pieces of a PL/pgSQL body. `definition` is the whole CREATE FUNCTION or DO statement; `signature` says what its body
/// may name and return. `None` when the body cannot be read.
///
/// libpg_query's PL/pgSQL parser has no catalog: it fails on types of schemas it does not know and on arrays of row types,
/// and its JSON of a trigger function is broken. Then the body is read again in a function of the same shape whose
/// types are plain: types have no effects of their own.
pub(super) fn read(definition: &str, source: &str, signature: &Signature) -> Option<Pieces> {
    let declarations = declarations(source)?;
    let function = if signature.trigger { None } else { compile(definition) };
    let plain = |unknown| compile(&signature.around(&masked(source, &declarations, unknown), unknown)?);
    let function = function.or_else(|| plain("record")).or_else(|| plain("text"))?;
    let mut pieces = Pieces::default();
    collect(&function, &mut pieces);
    defaults(source, &declarations, &mut pieces);
    Some(pieces)
}

/// The one function of a definition. Anything else means that the text was not what it seemed.
fn compile(definition: &str) -> Option<Value> {
    let parsed = catch_unwind(AssertUnwindSafe(|| pg_query::parse_plpgsql(definition).ok())).ok().flatten()?;
    let [function] = parsed.as_array()?.as_slice() else { return None };
    let function = function.get("PLpgSQL_function")?;
    function.get("action")?;
    Some(function.clone())
}

/// Walks the JSON: an object of one key that begins with `PLpgSQL_` is a node.
fn collect(value: &Value, pieces: &mut Pieces) {
    match value {
        Value::Object(fields) => {
            for (name, inner) in fields {
                if name.starts_with("PLpgSQL_") {
                    node(name, inner, pieces);
                }
                collect(inner, pieces);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, pieces)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// What a node is by itself; what it holds is walked by `collect`.
fn node(name: &str, node: &Value, pieces: &mut Pieces) {
    match name {
        "PLpgSQL_expr" => expression(node, pieces),
        "PLpgSQL_stmt_dynexecute" | "PLpgSQL_stmt_dynfors" => pieces.opaque.push("EXECUTE of a computed statement"),
        "PLpgSQL_stmt_return_query" | "PLpgSQL_stmt_open" if node.get("dynquery").is_some() => {
            pieces.opaque.push("EXECUTE of a computed statement");
        }
        "PLpgSQL_stmt_commit" | "PLpgSQL_stmt_rollback" => pieces.opaque.push("transaction control in a body"),
        "PLpgSQL_stmt_call" => {}
        "PLpgSQL_stmt_assert"
        | "PLpgSQL_stmt_assign"
        | "PLpgSQL_stmt_block"
        | "PLpgSQL_stmt_case"
        | "PLpgSQL_stmt_close"
        | "PLpgSQL_stmt_execsql"
        | "PLpgSQL_stmt_exit"
        | "PLpgSQL_stmt_fetch"
        | "PLpgSQL_stmt_forc"
        | "PLpgSQL_stmt_foreach_a"
        | "PLpgSQL_stmt_fori"
        | "PLpgSQL_stmt_fors"
        | "PLpgSQL_stmt_getdiag"
        | "PLpgSQL_stmt_if"
        | "PLpgSQL_stmt_loop"
        | "PLpgSQL_stmt_open"
        | "PLpgSQL_stmt_perform"
        | "PLpgSQL_stmt_raise"
        | "PLpgSQL_stmt_return"
        | "PLpgSQL_stmt_return_next"
        | "PLpgSQL_stmt_return_query"
        | "PLpgSQL_stmt_while" => {}
        "PLpgSQL_case_when"
        | "PLpgSQL_condition"
        | "PLpgSQL_diag_item"
        | "PLpgSQL_exception"
        | "PLpgSQL_exception_block"
        | "PLpgSQL_function"
        | "PLpgSQL_if_elsif"
        | "PLpgSQL_raise_option"
        | "PLpgSQL_rec"
        | "PLpgSQL_recfield"
        | "PLpgSQL_row"
        | "PLpgSQL_type"
        | "PLpgSQL_var" => {}
        _ => pieces.opaque.push("a PL/pgSQL statement pgwarden does not know"),
    }
}

/// The parse modes are `RawParseMode` of `parser/parser.h`.
fn expression(node: &Value, pieces: &mut Pieces) {
    let text = node.get("query").and_then(Value::as_str);
    let mode = node.get("parseMode").and_then(Value::as_i64);
    let (mode, expression) = match mode {
        Some(0) => (ParserOptions::DEFAULT, false),
        Some(2) => (ParserOptions::PLPGSQL_EXPR, true),
        Some(3) => (ParserOptions::PLPGSQL_ASSIGN1, true),
        Some(4) => (ParserOptions::PLPGSQL_ASSIGN2, true),
        Some(5) => (ParserOptions::PLPGSQL_ASSIGN3, true),
        _ => return pieces.opaque.push("a PL/pgSQL expression that cannot be read"),
    };
    match text {
        Some(text) => pieces.fragments.push(Fragment { text: text.to_owned(), mode, expression }),
        None => pieces.opaque.push("a PL/pgSQL expression that cannot be read"),
    }
}

// --- the shape of the function around a body

/// What a body may name and return.
#[derive(Debug, Default)]
pub(super) struct Signature {
    /// Parameters: mode (`OUT `, `INOUT ` or nothing), name, whether the type is one of the server's own.
    pub(super) parameters: Vec<(&'static str, String, bool)>,
    /// Columns of RETURNS TABLE.
    pub(super) columns: Vec<String>,
    /// Whether it returns a set.
    pub(super) set: bool,
    /// Whether it returns nothing (DO, procedures, `void`, event triggers).
    pub(super) void: bool,
    /// Whether it is a trigger's or event trigger's.
    pub(super) trigger: bool,
}

/// What a trigger function may name.
const TRIGGER_NAMES: &[(&str, &str)] = &[
    ("new", "record"),
    ("old", "record"),
    ("tg_name", "text"),
    ("tg_when", "text"),
    ("tg_level", "text"),
    ("tg_op", "text"),
    ("tg_relid", "oid"),
    ("tg_relname", "text"),
    ("tg_table_name", "text"),
    ("tg_table_schema", "text"),
    ("tg_nargs", "int"),
    ("tg_argv", "text[]"),
    ("tg_event", "text"),
    ("tg_tag", "text"),
];

impl Signature {
    /// A definition of this shape around a body, quoted by a tag that the body does not hold.
    fn around(&self, body: &str, unknown: &str) -> Option<String> {
        let tag = (0..64).map(|number| format!("$body{number}$")).find(|tag| !body.contains(tag.as_str()))?;
        Some(format!(
            "CREATE FUNCTION f({}){} LANGUAGE plpgsql AS {tag}{body}{tag}",
            self.list(unknown),
            self.returns()
        ))
    }

    fn list(&self, unknown: &str) -> String {
        let parameter = |(mode, name, known): &(&str, String, bool)| {
            let type_name = if *known || !mode.is_empty() { "text" } else { unknown };
            format!("{mode}{} {type_name}", quoted(name))
        };
        let mut list: Vec<String> = self.parameters.iter().map(parameter).collect();
        if self.trigger {
            list.extend(TRIGGER_NAMES.iter().map(|(name, type_name)| format!("{name} {type_name}")));
        }
        list.join(", ")
    }

    fn returns(&self) -> String {
        let given = self.parameters.iter().filter(|(mode, ..)| !mode.is_empty()).count();
        let columns: Vec<String> = self.columns.iter().map(|name| format!("{} text", quoted(name))).collect();
        match (self.set, given) {
            _ if !columns.is_empty() => format!(" RETURNS TABLE({})", columns.join(", ")),
            (true, 1) => " RETURNS SETOF text".to_owned(),
            (true, _) => " RETURNS SETOF record".to_owned(),
            (false, 0) if self.void => " RETURNS void".to_owned(),
            (false, 0) => " RETURNS record".to_owned(),
            (false, _) => String::new(),
        }
    }
}

fn quoted(name: &str) -> String {
    if name.is_empty() { String::new() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

// --- DECLARE sections, by their tokens

/// One variable of a DECLARE section.
#[derive(Debug)]
struct Declaration {
    /// The bytes of its type.
    type_name: Range<usize>,
    /// The bytes of its default, if it has one.
    default: Option<Range<usize>>,
}

/// Every declaration of a body; `None` when its tokens cannot be read. More than there are do no harm: types are masked only
/// where the body cannot be read otherwise, and a default that is none is read as an expression.
fn declarations(source: &str) -> Option<Vec<Declaration>> {
    let tokens = tokens::scan(source)?;
    let mut found = Vec::new();
    let mut rest = tokens.as_slice();
    while let Some(at) = rest.iter().position(|token| token.token() == Token::Declare) {
        rest = rest.get(at + 1..).unwrap_or_default();
        // A section ends at a BEGIN where a declaration would start; elsewhere it is a name.
        while rest.first().is_some_and(|token| token.token() != Token::BeginP) {
            let (one, after) = until_semicolon(rest);
            found.extend(declaration(one));
            rest = after;
        }
    }
    Some(found)
}

/// The tokens up to the next semicolon outside brackets, as PL/pgSQL's parser looks for it, and those after it.
fn until_semicolon(tokens: &[ScanToken]) -> (&[ScanToken], &[ScanToken]) {
    let mut depth = 0i32;
    for (at, token) in tokens.iter().enumerate() {
        match token.token() {
            Token::Ascii40 | Token::Ascii91 => depth += 1,
            Token::Ascii41 | Token::Ascii93 => depth -= 1,
            Token::Ascii59 if depth <= 0 => {
                return (tokens.get(..at).unwrap_or_default(), tokens.get(at + 1..).unwrap_or_default());
            }
            _ => {}
        }
    }
    (tokens, &[])
}

/// `name [CONSTANT] type [COLLATE …] [NOT NULL] [:= | = | DEFAULT expression]`; `None` for cursors and aliases.
fn declaration(tokens: &[ScanToken]) -> Option<Declaration> {
    let extra = tokens.iter().take_while(|token| token.token() == Token::Declare).count();
    let tokens = tokens.get(extra..)?;
    let is = |token: &ScanToken, kinds: &[Token]| kinds.contains(&token.token());
    let constant = tokens.get(1).is_some_and(|token| token.token() == Token::Ident && token.end - token.start == 8);
    let after_name = tokens.get(1..)?;
    let cursor = after_name.iter().take(3).any(|token| is(token, &[Token::Cursor]));
    if cursor || after_name.is_empty() {
        return None;
    }
    let ends = [Token::Collate, Token::Not, Token::ColonEquals, Token::Ascii61, Token::Default];
    let type_end = after_name.iter().position(|token| is(token, &ends)).unwrap_or(after_name.len());
    // `constant` is no keyword of SQL's scanner: a type of that length before another word is taken for it.
    let skipped = usize::from(constant && type_end > 1);
    let type_tokens = after_name.get(skipped..type_end).filter(|tokens| !tokens.is_empty())?;
    let sets = [Token::ColonEquals, Token::Ascii61, Token::Default];
    let default = after_name.iter().skip(type_end).position(|token| is(token, &sets)).map(|at| type_end + at + 1);
    let bytes = |from: usize, to: usize| {
        Some(tokens::bytes(after_name.get(from)?).start..tokens::bytes(after_name.get(to)?).end)
    };
    Some(Declaration {
        type_name: tokens::bytes(type_tokens.first()?).start..tokens::bytes(type_tokens.last()?).end,
        default: default.and_then(|from| bytes(from, after_name.len() - 1)),
    })
}

/// Types that libpg_query's PL/pgSQL parser knows, or that must stay as they are.
const KNOWN_TYPES: &[&str] = &[
    "bigint",
    "bigserial",
    "bit",
    "bool",
    "boolean",
    "bytea",
    "char",
    "character",
    "cidr",
    "date",
    "decimal",
    "double",
    "float",
    "float4",
    "float8",
    "inet",
    "int",
    "int2",
    "int4",
    "int8",
    "integer",
    "interval",
    "json",
    "jsonb",
    "money",
    "name",
    "numeric",
    "oid",
    "real",
    "record",
    "refcursor",
    "regclass",
    "smallint",
    "text",
    "time",
    "timestamp",
    "timestamptz",
    "timetz",
    "uuid",
    "varchar",
    "xid",
    "xml",
];

/// Whether a type is one of the server's own, by its first word.
pub(super) fn is_known_type(type_name: &str) -> bool {
    let first = type_name.split(|byte: char| !byte.is_ascii_alphanumeric() && byte != '_').next().unwrap_or("");
    let plain = !type_name.contains(['.', '%']);
    plain && KNOWN_TYPES.binary_search(&first.to_ascii_lowercase().as_str()).is_ok()
}

/// The body with `unknown` or `text` for every type that the parser may not know.
fn masked(source: &str, declarations: &[Declaration], unknown: &str) -> String {
    let mut masked = String::with_capacity(source.len());
    let mut from = 0;
    for declaration in declarations {
        let name = source.get(declaration.type_name.clone()).unwrap_or_default();
        if is_known_type(name) {
            continue;
        }
        let lower = name.to_ascii_lowercase();
        let scalar = name.ends_with(']') || lower.ends_with("%type") || lower.ends_with("array");
        masked.push_str(source.get(from..declaration.type_name.start).unwrap_or_default());
        masked.push_str(match scalar {
            true => "text",
            false if lower.ends_with("rowtype") => "record",
            false => unknown,
        });
        from = declaration.type_name.end;
    }
    masked.push_str(source.get(from..).unwrap_or_default());
    masked
}

/// libpg_query's JSON leaves out the default of a record variable (`r record := (SELECT …)`), so all are read here.
fn defaults(source: &str, declarations: &[Declaration], pieces: &mut Pieces) {
    for default in declarations.iter().filter_map(|declaration| declaration.default.clone()) {
        match source.get(default) {
            Some(text) => pieces.fragments.push(Fragment {
                text: text.to_owned(),
                mode: ParserOptions::PLPGSQL_EXPR,
                expression: true,
            }),
            None => pieces.opaque.push("a default that cannot be read"),
        }
    }
}
