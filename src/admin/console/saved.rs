//! Saved searches: a small file beside the audit directory, for everybody who logs in. Saving and removing are recorded.

use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use axum::extract::State as Extract;
use axum::response::{IntoResponse, Redirect, Response};
use jiff::Zoned;
use serde::{Deserialize, Serialize};

use super::door::Submitted;
use super::problem::Problem;
use super::search::href;
use crate::admin::State;
use crate::audit::filter::Filter;
use crate::config::ConsoleRole;

/// Most searches that are kept.
const MOST: usize = 50;
/// Longest name, in characters.
const NAME_CHARS: usize = 60;

/// A search with a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedSearch {
    /// Its name.
    pub name: String,
    /// The filter.
    pub filter: String,
    /// Who saved it.
    pub by: String,
}

/// All saved searches.
#[derive(Debug)]
pub struct Saved {
    file: PathBuf,
    searches: Mutex<Vec<SavedSearch>>,
}

impl Saved {
    /// Reads the file; one that is not there, or cannot be read, holds none.
    pub fn open(file: PathBuf) -> Saved {
        let text = std::fs::read(&file).unwrap_or_default();
        let searches: Vec<SavedSearch> = match serde_json::from_slice(&text) {
            Ok(searches) => searches,
            Err(_) if text.is_empty() => Vec::new(),
            Err(error) => {
                tracing::warn!(file = %file.display(), %error, "the saved searches cannot be read");
                Vec::new()
            }
        };
        Saved { file, searches: Mutex::new(searches) }
    }

    /// All of them, by name.
    pub fn all(&self) -> Vec<SavedSearch> {
        self.searches.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes the list and writes it; on an error nothing has changed.
    fn change<T>(&self, change: impl FnOnce(&mut Vec<SavedSearch>) -> T) -> io::Result<T> {
        let mut searches = self.searches.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed = searches.clone();
        let answer = change(&mut changed);
        changed.sort_by(|a, b| a.name.cmp(&b.name));
        let fresh = self.file.with_extension("json.new");
        std::fs::write(&fresh, serde_json::to_vec_pretty(&changed)?)?;
        std::fs::rename(&fresh, &self.file)?;
        *searches = changed;
        Ok(answer)
    }
}

/// A search to save.
#[derive(Debug, Deserialize)]
pub struct ToSave {
    name: String,
    #[serde(default)]
    filter: String,
}

/// Saves a search; one of the same name by the same person is replaced.
pub async fn add(Extract(state): Extract<State>, submitted: Submitted<ToSave>) -> Result<Response, Problem> {
    let (person, ToSave { name, filter }) = (submitted.person, submitted.form);
    let (name, filter) = (name.trim().to_owned(), filter.trim().to_owned());
    if name.is_empty() || name.chars().count() > NAME_CHARS || filter.is_empty() {
        return Err(Problem::Bad(format!(
            "a saved search needs a filter, and a name of up to {NAME_CHARS} characters"
        )));
    }
    Filter::parse(&filter, &Zoned::now()).map_err(|error| Problem::Bad(error.to_string()))?;
    let known = state.saved.all();
    if known.iter().any(|one| one.name == name && one.by != person.user) || known.len() >= MOST {
        return Err(Problem::Bad(format!("there is one of that name already, or there are {MOST}")));
    }
    state.acts(&person.actor(), "search.save", Some(format!("{name} = {filter}")))?;
    let one = SavedSearch { name, filter: filter.clone(), by: person.user };
    let saved = state.saved.change(|all| {
        all.retain(|other| other.name != one.name);
        all.push(one);
    });
    saved.map_err(|error| Problem::Unreadable(format!("the saved searches cannot be written: {error}")))?;
    Ok(Redirect::to(&href(&filter)).into_response())
}

/// A search to remove.
#[derive(Debug, Deserialize)]
pub struct ToRemove {
    name: String,
}

/// Removes a search: one's own, or any for an operator.
pub async fn remove(Extract(state): Extract<State>, submitted: Submitted<ToRemove>) -> Result<Response, Problem> {
    let (person, name) = (submitted.person, submitted.form.name);
    let known = state.saved.all();
    let one = known.iter().find(|one| one.name == name);
    let one = one.ok_or_else(|| Problem::NotFound("There is no such saved search.".to_owned()))?;
    if one.by != person.user && person.role < ConsoleRole::Operator {
        return Err(Problem::NotAllowed(ConsoleRole::Operator));
    }
    state.acts(&person.actor(), "search.remove", Some(name.clone()))?;
    let removed = state.saved.change(|all| all.retain(|other| other.name != name));
    removed.map_err(|error| Problem::Unreadable(format!("the saved searches cannot be written: {error}")))?;
    Ok(Redirect::to("/audit").into_response())
}
