//! The console: pages for people, rendered here, with hardly any script. Every page needs a login, every action a form that this
//! console made, and everything that a person does is recorded before it is done.
//!
//! Text from outside (statements, names, notes) reaches a page only through the templates, which escape it, and through
//! [`text`], which shows what could hide or turn text around. Nothing here judges, forwards or keeps anything: pages ask the
//! index of the audit log, the door and the gate.

mod assets;
mod chart;
mod digest;
mod door;
mod grants;
mod layout;
mod list;
mod login;
mod marks;
mod overview;
mod policies;
mod problem;
mod record;
mod review;
mod saved;
mod search;
mod sessions;
mod text;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName};
use axum::response::Response;
use axum::routing::{get, post};

use super::State;
use super::people::Person;
use crate::audit::Timestamp;
use crate::audit::index::{Index, IndexError};
use layout::Frame;
pub use problem::Problem;
pub use saved::Saved;

/// Largest form, in bytes.
const FORM_BYTES: usize = 256 << 10;

/// What a page may load and do: its own files, its own addresses, nothing inline, in nobody's frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// The console's pages.
pub fn routes() -> Router<State> {
    Router::new()
        .route("/", get(overview::show))
        .route("/login", get(login::form).post(login::submit))
        .route("/logout", post(login::leave))
        .route("/audit", get(search::show))
        .route("/audit/tail", get(search::tail))
        .route("/audit/saved", post(saved::add))
        .route("/audit/saved/remove", post(saved::remove))
        .route("/audit/{id}", get(record::show))
        .route("/audit/{id}/text", get(record::text))
        .route("/review", get(review::show).post(review::submit))
        .route("/review/digest", get(digest::show))
        .route("/sessions", get(sessions::list))
        .route("/sessions/{id}", get(sessions::one).post(sessions::submit))
        .route("/grants", get(grants::list).post(grants::ask))
        .route("/grants/{id}", get(grants::one).post(grants::decide))
        .route("/policies", get(policies::show).post(policies::attempt))
        .route("/assets/{name}", get(assets::serve))
        .fallback(nowhere)
        .layer(DefaultBodyLimit::max(FORM_BYTES))
        .layer(axum::middleware::map_response(guarded))
}

async fn nowhere() -> Problem {
    Problem::NotFound("There is no such page.".to_owned())
}

/// Adds what browsers are told about every answer.
async fn guarded(mut response: Response) -> Response {
    let headers = response.headers_mut();
    let fixed: [(HeaderName, &'static str); 6] = [
        (CONTENT_SECURITY_POLICY, POLICY),
        (HeaderName::from_static("x-content-type-options"), "nosniff"),
        (HeaderName::from_static("x-frame-options"), "DENY"),
        (HeaderName::from_static("referrer-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

impl State {
    /// Asks the index, on a thread that may wait for the disk.
    async fn query<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Index) -> Result<T, IndexError> + Send + 'static,
    ) -> Result<T, Problem> {
        match self.ask(move |state| question(state.index())).await {
            Some(answer) => Ok(answer?),
            None => Err(Problem::Unreadable("the question could not be worked on".to_owned())),
        }
    }

    /// The frame of a person's page.
    fn frame(&self, person: &Person) -> Frame {
        let summary = self.inbox.summary(Timestamp::now());
        let (asked, _) = self.book.counts();
        Frame { person: person.clone(), open: summary.open, overdue: summary.overdue, asked }
    }
}
