//! `/readyz`: whether clients can be served, endpoint by endpoint.

use std::sync::atomic::Ordering;

use axum::extract;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use super::State;
use crate::decision::CatalogCell;
use crate::net::listener::Shared;

/// Ready when nothing stops statements and every endpoint with a fixed address can be reached.
pub async fn readyz(extract::State(state): extract::State<State>) -> Response {
    let shared = &state.shared;
    let draining = shared.draining.load(Ordering::Relaxed);
    let mut ready = !draining && shared.audit.refuses().is_none();
    let mut endpoints = Vec::new();
    for health in state.endpoints().await {
        let Some(reachable) = health.reachable else { continue };
        ready &= reachable;
        endpoints.push(json!({
            "database": health.database,
            "endpoint": health.endpoint,
            "reachable": reachable,
            "error": health.error.map_or(Value::Null, Value::String),
        }));
    }
    let body = json!({
        "catalogs": catalogs(shared),
        "ready": ready,
        "draining": draining,
        "audit": shared.audit.refuses().map_or_else(|| "ok".to_owned(), |unwritable| unwritable.to_string()),
        "endpoints": endpoints,
    });
    super::json(if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, &body)
}

/// What is known of the databases in use. What is not known makes nothing unready: their functions count as volatile meanwhile.
fn catalogs(shared: &Shared) -> Vec<Value> {
    let told = |cell: &std::sync::Arc<CatalogCell>| {
        let state = shared.catalogs.state(cell).unwrap_or_default();
        let size = cell.catalog().size();
        json!({
            "endpoint": name(cell),
            "known": cell.number() > 0 && !cell.catalog().is_doubted(),
            "functions": size.functions,
            "safe_functions": size.safe,
            "views": size.views,
            "age_seconds": state.answered.map(|answered| answered.elapsed().as_secs()),
            "error": state.error,
        })
    };
    shared.door.catalogs().iter().map(told).collect()
}

/// Where a catalog is: the endpoint's first host and its database.
pub(super) fn name(cell: &CatalogCell) -> String {
    let endpoint = cell.endpoint();
    let host = endpoint.hosts.first().map(ToString::to_string).unwrap_or_default();
    format!("{host}/{}", endpoint.database)
}
