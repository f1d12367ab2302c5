//! What is wrong with a configuration: every error with its file, its line and what would be right.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The file it stands in, as it was named when it was opened.
    pub file: PathBuf,
    /// Its line, counted from 1; `None` where the whole file is meant (it cannot be read, say).
    pub line: Option<usize>,
    /// What is wrong and what would be right. Never holds a secret: values that came from the environment are shown as the
    /// file writes them (`${NAME}`), URLs and verifiers not at all.
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.file.display(), self.message),
            None => write!(f, "{}: {}", self.file.display(), self.message),
        }
    }
}

/// Everything that is wrong with a configuration, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// A file that settings come from.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Source {
    /// Its path, as it was named when it was opened.
    pub path: PathBuf,
    /// Whether it is the text of the built-in policies.
    pub built_in: bool,
}

/// Where a key or value stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The file.
    pub source: Arc<Source>,
    /// The line, counted from 1.
    pub line: usize,
}

impl Place {
    /// For people and for the records: the file's own name (not its folder, which clients need not know) and the line.
    pub fn short(&self) -> String {
        let name = self.source.path.file_name().unwrap_or(self.source.path.as_os_str());
        match self.source.built_in {
            true => "built in".to_owned(),
            false => format!("{}:{}", name.to_string_lossy(), self.line),
        }
    }
}

/// Collects errors while a configuration is read, so that all of them are told at once.
#[derive(Debug, Default)]
pub(super) struct Errors(Vec<ConfigError>);

impl Errors {
    /// Notes an error at `place`.
    pub fn at(&mut self, place: &Place, message: impl Into<String>) {
        self.0.push(ConfigError { file: place.source.path.clone(), line: Some(place.line), message: message.into() });
    }

    /// Whether nothing is wrong so far.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, in the order of the file, each once.
    pub fn into_sorted(mut self) -> ConfigErrors {
        self.0.sort_by(|a, b| (a.line, &a.message).cmp(&(b.line, &b.message)));
        self.0.dedup();
        ConfigErrors(self.0)
    }
}
