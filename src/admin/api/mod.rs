//! The API under `/api/v1`: what the console can do, by token and in JSON.
//!
//! [`operation`] is the list of what there is: routes, roles and the OpenAPI document all come from it. Whoever calls is known
//! by a token ([`crate::config::Token`]); what they do is recorded before it is done.

mod control;
mod grants;
mod log;
mod openapi;
pub mod operation;

use axum::extract::{ConnectInfo, FromRequestParts, Request};
use axum::http::{HeaderMap, StatusCode, header, request};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use axum::{Extension, Json, Router};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::State;
use super::access::{Actor, NoEntry};
use super::listener::Peer;
use crate::audit::Unwritable;
use crate::audit::index::IndexError;
use operation::{Method, Operation};

/// The API's routes.
pub fn router(state: &State) -> Router<State> {
    let mut router = Router::new();
    for operation in Operation::ALL {
        let Some(role) = operation.role() else {
            router = router.route(operation.path(), handler(*operation));
            continue;
        };
        let state = state.clone();
        let entry = move |request: Request, next: Next| enter(state.clone(), role, request, next);
        router = router.route(operation.path(), handler(*operation).route_layer(middleware::from_fn(entry)));
    }
    router.fallback(|| async { Failure::of(StatusCode::NOT_FOUND, "there is nothing here; see /api/v1/openapi.json") })
}

fn handler(operation: Operation) -> MethodRouter<State> {
    match operation {
        Operation::Records => get(log::records),
        Operation::Record => get(log::record),
        Operation::Count => get(log::count),
        Operation::Facets => get(log::facets),
        Operation::Timeline => get(log::timeline),
        Operation::Top => get(log::top),
        Operation::Slowest => get(log::slowest),
        Operation::NewFingerprints => get(log::new_fingerprints),
        Operation::Status => get(log::status),
        Operation::Reviews => get(log::reviews),
        Operation::OpenReviews => get(log::open_reviews),
        Operation::Review => post(log::review),
        Operation::Sessions => get(control::sessions),
        Operation::Cancel => post(control::cancel),
        Operation::End => post(control::end),
        Operation::Grants => get(grants::list),
        Operation::Grant => get(grants::one),
        Operation::RequestGrant => post(grants::request),
        Operation::ApproveGrant => post(grants::approve),
        Operation::DenyGrant => post(grants::deny),
        Operation::RevokeGrant => post(grants::revoke),
        Operation::Policies => get(control::policies),
        Operation::Try => post(control::try_statement),
        Operation::Endpoints => get(control::endpoints),
        Operation::Configuration => get(control::configuration),
        Operation::OpenApi => get(openapi::document),
    }
}

/// Lets a caller in whose token has the role, and records everything but looking at what changes by the second.
async fn enter(state: State, role: crate::config::ConsoleRole, mut request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<ConnectInfo<Peer>>().map(|info| info.0);
    let Some(peer) = peer.filter(Peer::is_private) else {
        let text = "beyond this machine tokens are taken over TLS only";
        return Failure::of(StatusCode::FORBIDDEN, text).into_response();
    };
    let address = peer.address.ip();
    let actor = match bearer(request.headers()) {
        None => return Failure::unauthorized("a token is needed: `Authorization: Bearer <token>`").into_response(),
        Some(token) => match state.token(token, address) {
            Ok(actor) => actor,
            Err(NoEntry::Unknown) => return Failure::unauthorized("the token is not known").into_response(),
            Err(NoEntry::Throttled) => {
                let text = "too many wrong tokens from this address; wait a minute";
                return Failure::of(StatusCode::TOO_MANY_REQUESTS, text).into_response();
            }
        },
    };
    if !actor.may(role) {
        let text = format!("this needs the role {}; the token `{}` is {}", role.name(), actor.name, actor.role.name());
        return Failure::of(StatusCode::FORBIDDEN, text).into_response();
    }
    request.extensions_mut().insert(actor);
    next.run(request).await
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// Who calls.
type Caller = Extension<Actor>;

/// An answer in JSON, or why there is none.
type Answer<T> = Result<Json<T>, Failure>;

/// Why there is no answer: a status, and words for whoever asked.
#[derive(Debug)]
struct Failure {
    status: StatusCode,
    text: String,
}

impl Failure {
    fn of(status: StatusCode, text: impl Into<String>) -> Failure {
        Failure { status, text: text.into() }
    }

    fn unauthorized(text: &str) -> Failure {
        Failure::of(StatusCode::UNAUTHORIZED, text)
    }

    fn bad(text: impl Into<String>) -> Failure {
        Failure::of(StatusCode::BAD_REQUEST, text)
    }

    fn unfinished() -> Failure {
        Failure::of(StatusCode::INTERNAL_SERVER_ERROR, "the question could not be worked on")
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.status, Json(json!({ "error": self.text }))).into_response()
    }
}

impl From<IndexError> for Failure {
    fn from(error: IndexError) -> Failure {
        Failure::of(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
    }
}

impl From<Unwritable> for Failure {
    fn from(error: Unwritable) -> Failure {
        Failure::of(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
    }
}

/// The query string, where every name and value must be understood.
struct Query<T>(T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut request::Parts, _: &S) -> Result<Query<T>, Failure> {
        axum::extract::Query::<T>::try_from_uri(&parts.uri)
            .map(|query| Query(query.0))
            .map_err(|error| Failure::bad(error.body_text()))
    }
}

/// The body, where every name and value must be understood.
struct Body<T>(T);

impl<T: DeserializeOwned, S: Send + Sync> axum::extract::FromRequest<S> for Body<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Body<T>, Failure> {
        match Json::<T>::from_request(request, state).await {
            Ok(body) => Ok(Body(body.0)),
            Err(error) => Err(Failure::of(error.status(), error.body_text())),
        }
    }
}

/// What was done, where there is nothing else to say.
#[derive(Debug, Serialize)]
struct Done {
    done: bool,
}

const DONE: Json<Done> = Json(Done { done: true });

/// The method as axum has it.
impl Method {
    /// The word in the OpenAPI document.
    pub const fn name(self) -> &'static str {
        match self {
            Method::Get => "get",
            Method::Post => "post",
        }
    }
}
