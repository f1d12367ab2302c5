//! What the API says of and does to grants.

use axum::Json;
use axum::extract::{self, Path};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::State;
use super::super::grants::{Action, Grant, NotGranted, Wanted};
use super::{Answer, Body, Caller, Failure, Query};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    state: Option<String>,
}

pub(super) async fn list(
    extract::State(state): extract::State<State>,
    caller: Caller,
    Query(asked): Query<Asked>,
) -> Answer<Value> {
    let wanted = match asked.state.as_deref() {
        None => None,
        Some(word) => Some(Action::from_name(word).ok_or_else(|| Failure::bad(format!("no grant is {word}")))?),
    };
    state.looks(&caller, "grants.list", None);
    let mut grants = state.grants();
    grants.retain(|grant| wanted.is_none_or(|wanted| grant.state == wanted));
    Ok(Json(json!({"restored": state.book.is_restored(), "grants": grants})))
}

fn told(state: &State, grant: &Grant) -> Json<Value> {
    Json(json!({"grant": grant, "preview": state.preview(grant)}))
}

/// Does what waits for the disk on a thread that may.
async fn done(state: &State, act: impl FnOnce(&State) -> Result<Grant, NotGranted> + Send + 'static) -> Answer<Value> {
    let grant = state.ask(act).await.ok_or_else(Failure::unfinished)?.map_err(not_granted)?;
    Ok(told(state, &grant))
}

pub(super) async fn one(
    extract::State(state): extract::State<State>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<Value> {
    let grant = state.grant(&id).ok_or_else(|| not_granted(NotGranted::NoGrant(id.clone())))?;
    state.looks(&caller, "grants.show", Some(grant.id.clone()));
    Ok(told(&state, &grant))
}

pub(super) async fn request(
    extract::State(state): extract::State<State>,
    caller: Caller,
    Body(wanted): Body<Wanted>,
) -> Answer<Value> {
    done(&state, move |state| state.request_grant(&caller, &wanted)).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Said {
    #[serde(default)]
    note: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Approved {
    #[serde(default)]
    confirm: String,
    #[serde(default)]
    note: String,
}

pub(super) async fn approve(
    extract::State(state): extract::State<State>,
    caller: Caller,
    Path(id): Path<String>,
    Body(said): Body<Approved>,
) -> Answer<Value> {
    done(&state, move |state| state.approve_grant(&caller, &id, &said.confirm, &said.note)).await
}

pub(super) async fn deny(
    extract::State(state): extract::State<State>,
    caller: Caller,
    Path(id): Path<String>,
    Body(said): Body<Said>,
) -> Answer<Value> {
    done(&state, move |state| state.deny_grant(&caller, &id, &said.note)).await
}

pub(super) async fn revoke(
    extract::State(state): extract::State<State>,
    caller: Caller,
    Path(id): Path<String>,
    Body(said): Body<Said>,
) -> Answer<Value> {
    done(&state, move |state| state.revoke_grant(&caller, &id, &said.note)).await
}

fn not_granted(error: NotGranted) -> Failure {
    let status = match error {
        NotGranted::Wrong(_) => StatusCode::BAD_REQUEST,
        NotGranted::NotAllowed(_) => StatusCode::FORBIDDEN,
        NotGranted::NoGrant(_) => StatusCode::NOT_FOUND,
        NotGranted::Otherwise(_) => StatusCode::CONFLICT,
        NotGranted::NotYet | NotGranted::Unrecorded(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    Failure::of(status, error.to_string())
}
