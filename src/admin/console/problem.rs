//! What keeps a page from being shown, as a page of its own.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use maud::html;

use super::layout;
use super::text::Outside;
use crate::audit::Unwritable;
use crate::audit::index::IndexError;
use crate::config::ConsoleRole;

/// Why there is no page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// Nobody is logged in; the page to come back to.
    LogIn(String),
    /// The same for a part of a page, which cannot be sent elsewhere.
    LoggedOut,
    /// The connection can be read along.
    NotPrivate,
    /// The role is not enough; the one that is.
    NotAllowed(ConsoleRole),
    /// The person may not, whatever the role.
    NotYours(String),
    /// A form that this console did not make for this person.
    Forged,
    /// There is no such thing.
    NotFound(String),
    /// What was sent makes no sense.
    Bad(String),
    /// The audit log cannot be read.
    Unreadable(String),
    /// What was done cannot be recorded, so it was not done.
    Unwritable(String),
}

impl From<IndexError> for Problem {
    fn from(error: IndexError) -> Problem {
        Problem::Unreadable(error.to_string())
    }
}

impl From<Unwritable> for Problem {
    fn from(error: Unwritable) -> Problem {
        Problem::Unwritable(error.to_string())
    }
}

impl Problem {
    fn told(&self) -> (StatusCode, &'static str, String) {
        match self {
            Problem::LogIn(_) | Problem::LoggedOut => (StatusCode::UNAUTHORIZED, "Logged out", String::new()),
            Problem::NotPrivate => (
                StatusCode::FORBIDDEN,
                "Only over TLS",
                "Beyond this machine the console is served over TLS only. Open it with https:// (it uses the certificate of [listen] tls), \
                 or through a tunnel to the loopback address."
                    .to_owned(),
            ),
            Problem::NotAllowed(role) => {
                (StatusCode::FORBIDDEN, "Not yours to do", format!("This needs the console role `{}`.", role.name()))
            }
            Problem::NotYours(why) => (StatusCode::FORBIDDEN, "Not yours to do", why.clone()),
            Problem::Forged => (
                StatusCode::FORBIDDEN,
                "That form is not valid any more",
                "It was made for another login, or by another site. Nothing was done. Open the page again and repeat it.".to_owned(),
            ),
            Problem::NotFound(what) => (StatusCode::NOT_FOUND, "Not here", what.clone()),
            Problem::Bad(what) => (StatusCode::BAD_REQUEST, "That cannot be understood", what.clone()),
            Problem::Unreadable(why) => (StatusCode::INTERNAL_SERVER_ERROR, "The audit log cannot be read", why.clone()),
            Problem::Unwritable(why) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "Not done",
                format!("What people do here is recorded first, and the record could not be written: {why}"),
            ),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        if let Problem::LogIn(next) = &self {
            let next = percent_encoding::utf8_percent_encode(next, percent_encoding::NON_ALPHANUMERIC);
            return Redirect::to(&format!("/login?next={next}")).into_response();
        }
        let (status, title, words) = self.told();
        let body = html! {
            h1 { (title) }
            p.lede { (Outside(&words)) }
            p { a href="/" { "To the overview" } }
        };
        (status, layout::alone(title, &body)).into_response()
    }
}
