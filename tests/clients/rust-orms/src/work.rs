//! What the programs of this crate share: arguments, the report, and what a role must be refused.

/// What a program was told.
pub struct Arguments {
    /// Where to connect.
    pub url: String,
    /// As whom.
    pub role: String,
    /// What the path keeps of a session.
    pub keeps: String,
}

impl Arguments {
    /// Those of the command line.
    pub fn read() -> Arguments {
        let mut words = std::env::args().skip(1);
        let mut next = || words.next().expect("URL ROLE KEEPS");
        Arguments { url: next(), role: next(), keeps: next() }
    }

    /// Whether the role may write.
    pub fn may_write(&self) -> bool {
        self.role != "read-only"
    }

    /// Whether the role may create tables.
    pub fn may_create(&self) -> bool {
        matches!(self.role.as_str(), "unrestricted" | "migrations")
    }

    /// SQLSTATEs and statement of what must be refused.
    pub fn refusals(&self) -> Vec<(String, String)> {
        let rows = include_str!("../../refusals.tsv").lines().map(|line| line.split('\t').collect::<Vec<_>>());
        rows.filter(|row| row[0] == self.role).map(|row| (row[1].to_owned(), row[2].to_owned())).collect()
    }
}

/// Says that a feature works.
pub fn ok(feature: &str) {
    println!("ok {feature}");
}

/// Checks that an error is pgwarden's refusal.
pub fn refused(message: &str, state: Option<&str>, states: &str, sql: &str) {
    let known = state.is_none_or(|state| states.split(',').any(|wanted| wanted == state));
    assert!(known && message.starts_with("pgwarden: "), "{sql}: {state:?} {message}");
}

/// A folder of migrations, `(name, up)`, each as files that `write` names.
pub fn folder(files: &[(String, String)]) -> std::path::PathBuf {
    let folder = std::env::temp_dir().join(format!("migrations-{}-{}", std::process::id(), files.len()));
    let _ = std::fs::remove_dir_all(&folder);
    for (name, text) in files {
        let place = folder.join(name);
        std::fs::create_dir_all(place.parent().expect("a folder")).expect("a folder");
        std::fs::write(place, text).expect("a file");
    }
    folder
}

/// Two migrations that every role of migrations may run.
pub const ADDITIVE: [(&str, &str); 2] = [
    ("notes", "CREATE TABLE notes (id serial PRIMARY KEY, body text);\nCREATE INDEX notes_body ON notes (body);\n"),
    ("done", "ALTER TABLE notes ADD COLUMN done boolean;\n"),
];
/// One that writes, and then destroys.
pub const DESTROYS: (&str, &str) =
    ("body", "INSERT INTO notes (body) VALUES ('half');\nALTER TABLE notes DROP COLUMN body;\n");
/// What is deployed next.
pub const NEXT: (&str, &str) = ("more", "ALTER TABLE notes ADD COLUMN more integer;\n");

/// The version of a crate that `Cargo.lock` pins.
pub fn locked(name: &str) -> &'static str {
    let mut lines = include_str!("../Cargo.lock").lines();
    lines.find(|line| *line == format!("name = \"{name}\""));
    lines.next().and_then(|line| line.split('"').nth(1)).unwrap_or_default()
}
