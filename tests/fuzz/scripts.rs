//! PostgreSQL's own regression scripts, which are not part of this repository: libpg_query carries them below
//! `test/sql/postgres_regress`.

use std::path::{Path, PathBuf};

/// The scripts of the folder that PGWARDEN_REGRESSION_FOLDER names, in order.
pub fn files() -> Vec<PathBuf> {
    let folder = std::env::var("PGWARDEN_REGRESSION_FOLDER").expect("the folder of PostgreSQL's regression scripts");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "sql"));
    files.sort();
    files
}

/// A psql script as SQL: without psql's own lines, and without the data behind COPY … FROM STDIN.
fn without_psql(script: &str) -> String {
    let mut sql = String::new();
    let mut data = false;
    let mut statement = String::new();
    for line in script.lines() {
        if data {
            data = line != "\\.";
            continue;
        }
        if line.starts_with('\\') {
            continue;
        }
        // What follows a statement in place of its semicolon: \gset, \gexec, \crosstabview, …
        let line = match line.find(" \\").filter(|at| line[at + 2..].starts_with(['g', 'c', 'b', 'p', 's', ';'])) {
            Some(at) if !line[..at].contains('\'') => format!("{};", &line[..at]),
            _ => line.to_owned(),
        };
        statement.push_str(&line);
        statement.push('\n');
        if line.trim_end().ends_with(';') {
            let folded = statement.to_ascii_lowercase();
            data = folded.trim_start().starts_with("copy") && folded.contains("from stdin");
            statement.clear();
        }
        sql.push_str(&line);
        sql.push('\n');
    }
    sql
}

/// The statements of a script, as PostgreSQL's scanner parts them; where it cannot, by semicolons at the ends of lines.
pub fn statements(file: &Path) -> Vec<String> {
    let sql = without_psql(&String::from_utf8_lossy(&std::fs::read(file).unwrap()));
    let whole = pg_query::split_with_scanner(&sql);
    let parts = whole.unwrap_or_else(|_| sql.split(";\n").collect());
    parts.into_iter().map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}
