//! Files in: the configuration, and the `.env` beside it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::{Errors, Place, Source};
use super::section::Section;
use super::variables::parse_dotenv;
use super::{Config, ConfigError, ConfigErrors, builtin, compile, schema, tree};

/// Largest configuration file that is read, in bytes.
const FILE_BYTES: u64 = 16 << 20;

/// Loads a configuration file. Variables come from the environment, then from `.env` in the file's folder.
///
/// # Errors
///
/// Everything that is wrong with it, each error with its file and line.
pub fn load(path: &Path) -> Result<Config, ConfigErrors> {
    let text = read(path).map_err(|error| ConfigErrors(vec![error]))?;
    let dotenv = dotenv(&folder(path).join(".env")).map_err(ConfigErrors)?;
    parse(&text, path, &|name| std::env::var(name).ok().or_else(|| dotenv.get(name).cloned()))
}

/// Compiles the text of a configuration. `file` is what errors and rules name, and its folder is where relative paths begin;
/// `variable` gives the values of `${NAME}`.
///
/// # Errors
///
/// Everything that is wrong with it, in the order of the file.
pub fn parse(text: &str, file: &Path, variable: &dyn Fn(&str) -> Option<String>) -> Result<Config, ConfigErrors> {
    let source = Arc::new(Source { path: file.to_owned(), built_in: false });
    let mut errors = Errors::default();
    let Some(mut root) = tree::parse(text, Arc::clone(&source), variable, &mut errors) else {
        return Err(errors.into_sorted());
    };
    builtin::lay_under(&mut root, &mut errors);
    let whole = Place { source, line: 1 };
    let options = schema::FileOptions::read(&root, &whole, &mut errors);
    let config = options.map(|options| compile::config(options, folder(file), &mut errors));
    match config {
        Some(config) if errors.is_empty() => Ok(config),
        Some(_) | None => Err(errors.into_sorted()),
    }
}

fn folder(file: &Path) -> &Path {
    file.parent().unwrap_or(Path::new(""))
}

fn read(path: &Path) -> Result<String, ConfigError> {
    let wrong = |message: String| ConfigError { file: path.to_owned(), line: None, message };
    let size = std::fs::metadata(path).map_err(|error| wrong(format!("cannot be read: {error}")))?.len();
    if size > FILE_BYTES {
        return Err(wrong(format!("is larger than {FILE_BYTES} bytes")));
    }
    let bytes = std::fs::read(path).map_err(|error| wrong(format!("cannot be read: {error}")))?;
    String::from_utf8(bytes).map_err(|_| wrong("is not UTF-8".to_owned()))
}

/// The variables of a `.env` file; none if there is no such file.
fn dotenv(path: &Path) -> Result<HashMap<String, String>, Vec<ConfigError>> {
    if !path.exists() {
        return Ok(HashMap::new());
    }
    let text = read(path).map_err(|error| vec![error])?;
    let wrong = |line: usize| ConfigError {
        file: PathBuf::from(path),
        line: Some(line),
        message: "not a line such as `NAME=value`".to_owned(),
    };
    parse_dotenv(&text).map_err(|lines| lines.into_iter().map(wrong).collect())
}
