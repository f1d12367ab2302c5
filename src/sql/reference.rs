//! `docs/effects.md`: what statements count as, out of the readers and tables themselves.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::effect::{Class, Effect};
use super::functions::{self, Function};
use super::limits::Limits;
use super::settings::{Ordinary, SETTINGS};
use super::{postgres, read};

const HEAD: &str = "\
# Effects

<!-- Generated out of src/sql. `cargo test --test effects` compares it; UPDATE_REFERENCE=1 writes it anew. -->

pgwarden reads every statement twice, by PostgreSQL's own grammar and by sqlparser, and judges what either of them sees. What a
statement would do is a set of *effects*; a policy allows classes of effects. `pgwarden explain \"SQL\"` shows the effects of a
statement, the words that cause them, and what a role's policy says; `pgwarden check FOLDER --environment E --role R` does the same for
migrations.

A statement that no class fits is `unknown`; one that PostgreSQL's grammar cannot read is `unparsed`. No built-in policy but
`unrestricted` lets either pass.
";

const WHERE: &str = "\
## A WHERE that restricts nothing

`DELETE` and `UPDATE` count as `destroy.…` without a WHERE, and with one that restricts nothing: one that is true for every row whatever
the row holds, NULLs aside, or one that does not look at the row at all, so that it takes all rows or none. Such conditions are recognized by rules;
one that no rule recognizes is tried on made-up rows. What cannot be known from the text is not claimed (`max_affected_rows` is the backstop).
These are judged by the reader as this page is written:

| `DELETE FROM t WHERE …` | counts as |
| --- | --- |
";

/// Conditions shown in the reference: those that restrict nothing, then those that do.
const CONDITIONS: &[&str] = &[
    "true",
    "1 = 1",
    "NOT false",
    "'a' <> 'b'",
    "current_user = 'bob'",
    "$1",
    "random() < 2",
    "id = id",
    "id + 0 = id",
    "id IN (id, 5)",
    "id IS NULL OR id IS NOT NULL",
    "id = 1 OR id <> 1",
    "a < b OR b <= a",
    "id < 10 OR id > 3",
    "id = 1 OR true",
    "name LIKE '%'",
    "name ~ '.*'",
    "length(name) >= 0",
    "strpos(name, '') = 1",
    "(id = 1) <> (id <> 1)",
    "EXISTS (SELECT 1)",
    "EXISTS (SELECT 1 FROM u)",
    "id IN (SELECT id FROM t)",
    "id IN (SELECT id FROM t OFFSET 0)",
    "id NOT IN (SELECT id FROM t WHERE false)",
    "CASE WHEN id = 1 THEN true ELSE true END",
    "id = 1",
    "id = $1",
    "id > 0",
    "id IS NOT NULL",
    "false",
    "$1 IS NULL OR id = $1",
    "id IN (SELECT id FROM t LIMIT 10)",
    "id IN (SELECT id FROM archive.t)",
    "name NOT LIKE 'tmp%'",
    "EXISTS (SELECT 1 FROM u WHERE u.id = t.id)",
];

const JOINS: &str = "
`USING` and `FROM` without a condition between the table and its partner count as well (`DELETE FROM t USING u WHERE u.a = 1`), and so do the
`ON` of a MERGE and the conditions of its actions.
";

const LOCKING: &str = "\
## Changes of the schema that block under load

`ddl.locking` is additive in meaning but holds a lock that others wait for while it scans, builds or rewrites. Where a policy allows it,
the client gets a NOTICE with the safer way; where it does not, the same stands in the HINT. What is done to a table that the
same text (a file, a transaction in one text) created is `ddl.additive`.

| statement | safer |
| --- | --- |
";

/// Statements shown in the reference, one for each way to block.
const BLOCKING: &[&str] = &[
    "CREATE INDEX i ON t (a)",
    "ALTER TABLE t ADD CONSTRAINT c CHECK (a > 0)",
    "ALTER TABLE t ADD CONSTRAINT c FOREIGN KEY (a) REFERENCES u (id)",
    "ALTER TABLE t ADD CONSTRAINT c UNIQUE (a)",
    "ALTER TABLE t ADD PRIMARY KEY (a)",
    "ALTER TABLE t ADD CONSTRAINT c EXCLUDE USING gist (a WITH &&)",
    "ALTER TABLE t ALTER COLUMN a SET NOT NULL",
    "ALTER TABLE t ADD COLUMN a uuid DEFAULT gen_random_uuid()",
    "ALTER TABLE t ADD COLUMN a serial",
    "ALTER TABLE t ADD COLUMN a int GENERATED ALWAYS AS (b + 1) STORED",
    "ALTER TABLE t ADD COLUMN a int UNIQUE",
    "ALTER TABLE t ADD COLUMN a int CHECK (a > 0)",
    "ALTER TABLE t ALTER CONSTRAINT c ENFORCED",
    "ALTER TABLE t ATTACH PARTITION u FOR VALUES FROM (1) TO (2)",
    "CREATE TABLE t PARTITION OF u DEFAULT",
    "ALTER TABLE t SET LOGGED",
    "ALTER TABLE t SET ACCESS METHOD heap",
    "ALTER TABLE t SET TABLESPACE x",
    "ALTER TABLE ALL IN TABLESPACE x SET TABLESPACE y",
    "ALTER DOMAIN d ADD CONSTRAINT c CHECK (VALUE > 0)",
    "ALTER DOMAIN d SET NOT NULL",
];

const FUNCTIONS: &str = "\
## Functions

What a call would do is looked up by name, in a table made from the catalogs of PostgreSQL 13 to 18, their contrib extensions and
pgvector: the strictest of a name's overloads in all versions decides. A name that is not in it is a function of the database's own
and counts as `function.volatile`; so does a built-in's name under another schema. Names that begin as dangerous ones do
(`pg_read_…`, `dblink…`) are dangerous under any schema. A test calls the safe ones on real servers and sees that nothing changes.

| class | why | functions |
| --- | --- | --- |
";

const SETTINGS_HEAD: &str = "\
## Settings that are pinned

SET, RESET, `set_config()`, `ALTER ROLE … SET`, SET clauses of functions and startup parameters are judged alike. Settings that are not
here are `session.setting`; so is going back to what the session began with (`RESET ALL`, `DISCARD ALL`, `RESET ROLE`,
`SET SESSION AUTHORIZATION DEFAULT`, `UNLISTEN *`), which drivers send when a pool takes a connection back.

| setting | class | unless | why |
| --- | --- | --- | --- |
";

/// Most names of one class and reason that are spelled out.
const SPELLED_OUT: usize = 40;

/// The reference, as Markdown.
pub fn reference() -> String {
    let mut out = HEAD.to_owned();
    classes(&mut out);
    conditions(&mut out);
    blocking(&mut out);
    function_table(&mut out);
    pinned(&mut out);
    limits(&mut out);
    out
}

fn classes(out: &mut String) {
    out.push_str("\n## Classes\n\n| class | what it stands for |\n| --- | --- |\n");
    for class in Class::ALL {
        let _ = writeln!(out, "| `{}` | {} |", class.name(), cell(class.meaning().trim()));
    }
    out.push_str("\nA policy may name a class or what it begins with: `write`, `destroy`, `ddl`, `function`, `session`. `*` is all of them.\n\n");
}

/// Text inside a table's cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn conditions(out: &mut String) {
    out.push_str(WHERE);
    for condition in CONDITIONS {
        let effects = postgres::read(&format!("DELETE FROM t WHERE {condition}")).effects;
        let all = effects.iter().any(|effect| effect.class == Class::DestroyDeleteAll);
        let class = if all { Class::DestroyDeleteAll } else { Class::WriteDelete };
        let _ = writeln!(out, "| `{}` | `{}` |", cell(condition), class.name());
    }
    out.push_str(JOINS);
    out.push('\n');
}

fn blocking(out: &mut String) {
    out.push_str(LOCKING);
    for statement in BLOCKING {
        let effects = read(statement, &Limits::default()).map(|reading| reading.effects).unwrap_or_default();
        let locking = |effect: &&Effect| effect.class == Class::DdlLocking;
        let hint = effects.iter().map(|(effect, _)| effect).find(locking).and_then(|effect| effect.hint.clone());
        let _ = writeln!(out, "| `{}` | {} |", cell(statement), cell(&hint.unwrap_or_default()));
    }
    out.push('\n');
}

fn function_table(out: &mut String) {
    out.push_str(FUNCTIONS);
    let mut groups: BTreeMap<(Class, &str), Vec<&Function>> = BTreeMap::new();
    for function in functions::all() {
        groups.entry((function.class, function.why)).or_default().push(function);
    }
    for ((class, why), members) in &groups {
        let _ = writeln!(out, "| `{}` | {} | {} |", class.name(), cell(why), cell(&names(members)));
    }
    let all = functions::all().len();
    let _ = writeln!(out, "\n{all} names in all.\n");
}

fn names(members: &[&Function]) -> String {
    let spelled = members.iter().take(SPELLED_OUT).map(|function| format!("`{}`", function.name)).collect::<Vec<_>>();
    match members.len() {
        count if count <= SPELLED_OUT => format!("{count}: {}", spelled.join(", ")),
        count => count.to_string(),
    }
}

fn pinned(out: &mut String) {
    out.push_str(SETTINGS_HEAD);
    for setting in SETTINGS {
        let unless = match setting.ordinary {
            Ordinary::Never => "",
            Ordinary::Default => "reset to what the session began with",
            Ordinary::On => "set to `on`",
            Ordinary::Utf8 => "set to `UTF8`",
        };
        let _ = writeln!(out, "| `{}` | `{}` | {unless} | {} |", setting.name, setting.class.name(), setting.why);
    }
    out.push('\n');
}

fn limits(out: &mut String) {
    let limits = Limits::default();
    let _ = write!(
        out,
        "## Limits\n\nChecked before any parser sees a text; what is over one is refused unread. `[limits]` changes them.\n\n\
         | limit | default | SQLSTATE |\n| --- | --- | --- |\n\
         | length of a text | {} MB | `54000` |\n\
         | nesting of brackets, CASE and comments | {} levels | `54001` |\n\
         | statements in one text | {} | `54000` |\n",
        limits.statement_bytes >> 20,
        limits.nesting,
        limits.statements,
    );
}
