//! `docs/configuration.md`, out of the definitions in `schema`.

use std::fmt::Write as _;

use super::builtin;
use super::kind::Nested;
use super::schema::FileOptions;
use super::section::{Definition, Section};
use crate::sql::Class;

const HEAD: &str = "\
# Configuration

<!-- Generated out of src/config/schema.rs. `cargo test --test config` compares it; UPDATE_REFERENCE=1 writes it anew. -->

pgwarden reads one TOML file, `pgwarden.toml` unless `--config` says otherwise. `pgwarden check` says everything that is wrong
with it, each error with its line. SIGHUP loads it again: all of it, or none if anything is wrong.

- `${NAME}` in a string is replaced by the environment variable `NAME`, or by the line `NAME=value` of a `.env` file in the same
  folder (the environment wins). `$${` stands for the characters `${`. Values are not looked into again.
- Relative paths, those in URLs too, begin at the file's folder.
- Durations are written with their unit: `ms`, `s`, `m`, `h`, `d`. So are sizes: `B`, `kB`, `MB`, `GB`, in steps of 1024.
- `*` in the name of a database or environment, in rules and in a user's `roles` stands for any characters. Of several names that
  fit, the one that spells out most characters counts.
";

const URLS: &str = "\
## Endpoint URLs

`postgres://user:password@host:port/database?parameter=value`, as libpq reads them: percent-encoding (`/ @ : ? # %` in a password
must be encoded), IPv6 addresses in brackets, several hosts separated by commas, `?host=/socket/folder` for a Unix-domain socket.

These parameters count: `sslmode` (`disable`, `allow`, `prefer`, `require`, `verify-ca`, `verify-full`; `prefer` if left out),
`sslrootcert` (a file, or `system`; the system's authorities if left out; with a file, `require` is as strict as `verify-ca`),
`sslcert` and `sslkey`, `sslnegotiation`, `channel_binding`, `target_session_attrs`, `connect_timeout` (seconds),
`application_name`, `options`, `pgbouncer`, `connection_limit`, `schema` (or `currentSchema`), `search_path`, and `host`, `port`,
`user`, `password` and `dbname`, which win over the rest of the URL.

Parameters that only a client library understands (its pool, its caches, its socket options) are ignored. Any other is an error,
because what it asks for would be lost.
";

/// The reference, as Markdown.
pub fn reference() -> String {
    let mut out = HEAD.to_owned();
    let definitions = FileOptions::definitions();
    let mut sections = Vec::new();
    collect(&definitions, "", &mut sections);
    for (title, nested) in &sections {
        section(&mut out, title, nested);
    }
    out.push_str("\n## Built-in policies\n\n```toml\n");
    out.push_str(builtin::TEXT);
    out.push_str("```\n\n## Effect classes\n\n");
    out.push_str(&classes());
    out.push('\n');
    out.push_str(URLS);
    out
}

/// Every section with its title, outer ones before inner ones.
fn collect<'a>(definitions: &'a [Definition], prefix: &str, sections: &mut Vec<(String, &'a Nested)>) {
    for definition in definitions {
        let Some(nested) = &definition.nested else { continue };
        let path = format!("{prefix}{}{}", definition.name, nested.suffix);
        let title = if nested.array { format!("[[{path}]]") } else { format!("[{path}]") };
        sections.push((title, nested));
        collect(&nested.definitions, &format!("{path}."), sections);
    }
}

fn section(out: &mut String, title: &str, nested: &Nested) {
    let _ = write!(
        out,
        "\n## `{title}`\n\n{}\n\n| option | holds | | |\n| --- | --- | --- | --- |\n",
        paragraphs(&nested.doc)
    );
    for definition in &nested.definitions {
        let doc = definition.doc.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
        let row = [&format!("`{}`", definition.name), &definition.kind, &definition.presence, &doc];
        let cells: Vec<String> = row.iter().map(|cell| cell.replace('|', "\\|")).collect();
        let _ = writeln!(out, "| {} |", cells.join(" | "));
    }
}

/// Documentation lines as paragraphs: an empty line separates them.
fn paragraphs(doc: &str) -> String {
    doc.lines().map(str::trim).collect::<Vec<_>>().join("\n")
}

fn classes() -> String {
    let names: Vec<String> = Class::ALL.iter().map(|class| format!("`{}`", class.name())).collect();
    format!(
        "{}.\n\nA prefix covers all below it (`write`, `destroy`, `ddl`, `function`, `session`), and `*` covers everything.\n",
        names.join(", ")
    )
}
