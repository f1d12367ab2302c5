//! What the API says of and does to the running proxy: sessions, policies, endpoints, configuration.

use axum::Json;
use axum::extract::{self, Path};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::State;
use super::super::configuration::Configuration;
use super::super::policies::{Matrix, Trial};
use super::super::sessions::NotDone;
use super::{Answer, Body, Caller, DONE, Done, Failure};

pub(super) async fn sessions(extract::State(state): extract::State<State>, caller: Caller) -> Json<Value> {
    state.looks(&caller, "sessions.list", None);
    Json(json!({"sessions": state.sessions()}))
}

pub(super) async fn cancel(
    extract::State(state): extract::State<State>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<Done> {
    state.cancel_statement(&caller, &id).await.map(|()| DONE).map_err(not_done)
}

pub(super) async fn end(
    extract::State(state): extract::State<State>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<Done> {
    state.end_session(&caller, &id).map(|()| DONE).map_err(not_done)
}

fn not_done(error: NotDone) -> Failure {
    let status = match error {
        NotDone::NoSession(_) => StatusCode::NOT_FOUND,
        NotDone::Unrecorded(_) => StatusCode::SERVICE_UNAVAILABLE,
        NotDone::NotAsked(_) => StatusCode::BAD_GATEWAY,
    };
    Failure::of(status, error.to_string())
}

pub(super) async fn policies(extract::State(state): extract::State<State>, caller: Caller) -> Json<Matrix> {
    state.looks(&caller, "policies.show", None);
    Json(state.matrix())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tried {
    environment: String,
    role: String,
    statement: String,
}

pub(super) async fn try_statement(
    extract::State(state): extract::State<State>,
    caller: Caller,
    Body(tried): Body<Tried>,
) -> Answer<Trial> {
    let target = format!("{} in {}", tried.role, tried.environment);
    state.looks(&caller, "policies.try", Some(target.clone()));
    let judge = move |state: &State| state.try_statement(&tried.environment, &tried.role, &tried.statement);
    let trial = state.ask(judge).await.ok_or_else(Failure::unfinished)?;
    trial.map(Json).ok_or_else(|| Failure::of(StatusCode::NOT_FOUND, format!("there is no role {target}")))
}

pub(super) async fn endpoints(extract::State(state): extract::State<State>, caller: Caller) -> Json<Value> {
    state.looks(&caller, "endpoints.show", None);
    Json(json!({"endpoints": state.endpoints().await}))
}

pub(super) async fn configuration(extract::State(state): extract::State<State>, caller: Caller) -> Json<Configuration> {
    state.looks(&caller, "configuration.show", None);
    Json(state.configuration())
}
