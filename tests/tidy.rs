//! House rules: the walls between rooms, the header of every file, and nothing unfinished.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::path::{Path, PathBuf};

/// What a room's code must not name. The rooms' own `mod.rs` headers say the same in words.
const WALLS: &[(&str, &[&str])] = &[
    (
        "wire",
        &["tokio::", "crate::sql", "crate::policy", "crate::session", "crate::net", "crate::audit", "crate::config"],
    ),
    (
        "sql",
        &["tokio::", "crate::policy", "crate::session", "crate::net", "crate::audit", "crate::config", "crate::wire"],
    ),
    (
        "catalog",
        &[
            "tokio::",
            "crate::policy",
            "crate::session",
            "crate::net",
            "crate::audit",
            "crate::config",
            "crate::decision",
        ],
    ),
    ("policy", &["tokio::", "crate::session", "crate::net", "crate::audit", "crate::config", "std::time::Instant"]),
    (
        "session",
        &[
            "tokio::",
            "crate::net",
            "crate::audit",
            "crate::config",
            "crate::admin",
            "std::time::",
            "std::fs",
            "std::net",
        ],
    ),
    ("decision", &["tokio::", "crate::net", "crate::session", "crate::wire", "crate::admin", "std::fs"]),
    ("auth", &["tokio::", "crate::sql", "crate::policy", "crate::session", "crate::net", "crate::audit"]),
    ("audit", &["tokio::", "crate::session", "crate::net", "crate::policy", "crate::config", "crate::decision"]),
    ("config", &["tokio::", "crate::session", "crate::net", "crate::audit", "crate::decision"]),
    ("net", &["crate::admin", "crate::cli", "crate::sql::"]),
    ("admin", &["crate::session", "crate::wire", "crate::sql", "crate::cli"]),
];

/// Words that mark unfinished work.
const UNFINISHED: &[&str] = &["todo!(", "unimplemented!(", "FIXME", "not yet implemented", "XXX:"];

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The file's code: comment lines and the unit tests at its end are left out.
fn code(text: &str) -> String {
    let code = text.split("#[cfg(test)]").next().unwrap_or(text);
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

#[test]
fn no_room_reaches_through_its_walls() {
    let mut breaches = Vec::new();
    for (room, forbidden) in WALLS {
        for file in sources(&root().join(room)) {
            let code = code(&std::fs::read_to_string(&file).unwrap());
            for name in forbidden.iter().filter(|name| code.contains(*name)) {
                breaches.push(format!("{} names {name}", file.display()));
            }
        }
    }
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}

/// Only the doctype comes out of a template as it stands: everything else is escaped.
#[test]
fn no_page_holds_unescaped_text_or_inline_code() {
    for file in sources(&root().join("admin/console")) {
        let code = code(&std::fs::read_to_string(&file).unwrap());
        for word in ["PreEscaped", " style=", "onclick", "javascript:", "script {"] {
            assert!(!code.contains(word), "{}: {word}", file.display());
        }
    }
}

#[test]
fn every_file_says_whose_room_it_is() {
    let bare: Vec<String> = sources(&root())
        .iter()
        .filter(|file| !std::fs::read_to_string(file).unwrap().starts_with("//! "))
        .map(|file| file.display().to_string())
        .collect();
    assert!(bare.is_empty(), "no header: {}", bare.join(", "));
}

#[test]
fn every_room_is_walled() {
    for entry in std::fs::read_dir(root()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && !matches!(name.as_str(), "cli" | "demo") {
            assert!(WALLS.iter().any(|(room, _)| *room == name), "{name} has no walls");
        }
    }
}

#[test]
fn nothing_is_left_unfinished() {
    for file in sources(&root()) {
        let text = std::fs::read_to_string(&file).unwrap();
        for word in UNFINISHED {
            assert!(!text.contains(word), "{}: {word}", file.display());
        }
    }
}
