//! The admin listener: the console, the API, metrics and health. What somebody does through it is recorded before it is done.
//!
//! [`State`] is what the API and the console's pages share: [`access`] (who acts), [`sessions`], [`policies`], [`reviews`],
//! [`grants`], [`endpoints`], [`configuration`], and the log's index. [`api`] answers in JSON; `console` makes pages, for those whom
//! [`people`] knows; [`inbox`] is what waits for review, and [`reviewer`] keeps it in step with the log. [`listener`] takes
//! connections, and [`chores`] is what nobody asks for.
//!
//! May not name: `session`, `wire`, `sql`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Router;
use axum::extract;
use axum::http::StatusCode;
use axum::http::header::HOST;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

use crate::audit::Timestamp;
use crate::audit::index::Index;
use crate::auth::throttle::Throttle;
use crate::net::listener::Shared;
use configuration::LastReload;
use console::Saved;
use endpoints::Known;
use inbox::Inbox;
use listener::Peer;
use people::People;

pub mod access;
pub mod api;
mod chores;
pub mod configuration;
mod console;
pub mod endpoints;
pub mod grants;
pub mod inbox;
pub mod listener;
pub mod people;
pub mod policies;
pub mod proof;
mod ready;
pub mod reviewer;
pub mod reviews;
pub mod sessions;

/// Questions to the log that are worked on at once: the proxy's own work comes first.
const QUESTIONS: usize = 2;

/// What the API and the console share. Cheap to clone.
#[derive(Clone)]
pub struct State {
    shared: Arc<Shared>,
    metrics: PrometheusHandle,
    index: Index,
    reloads: Arc<LastReload>,
    throttle: Arc<Throttle>,
    looks: Arc<access::Looks>,
    questions: Arc<Semaphore>,
    people: Arc<People>,
    inbox: Arc<Inbox>,
    book: Arc<grants::Book>,
    saved: Arc<Saved>,
    known: Arc<Known>,
}

impl State {
    /// A view of the running proxy.
    pub fn new(shared: Arc<Shared>, metrics: PrometheusHandle, index: Index, reloads: Arc<LastReload>) -> State {
        let saved = Saved::open(shared.audit.directory().with_file_name("console-searches.json"));
        State {
            shared,
            metrics,
            index,
            reloads,
            throttle: Arc::default(),
            looks: Arc::default(),
            questions: Arc::new(Semaphore::new(QUESTIONS)),
            people: Arc::default(),
            inbox: Arc::default(),
            book: Arc::default(),
            saved: Arc::new(saved),
            known: Arc::default(),
        }
    }

    /// The log's index. Its methods read files: see [`State::ask`].
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// What the rest of the process shows.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Does what reads files, or takes long, on a thread of its own; a few at a time. `None` if it could not be done.
    pub async fn ask<T: Send + 'static>(&self, question: impl FnOnce(&State) -> T + Send + 'static) -> Option<T> {
        let permit = Arc::clone(&self.questions).acquire_owned().await.ok()?;
        let state = self.clone();
        let answer = tokio::task::spawn_blocking(move || {
            let answer = question(&state);
            drop(permit);
            answer
        });
        answer.await.ok()
    }
}

/// Serves until `stop` says so.
pub async fn serve(listener: TcpListener, state: State, mut stop: watch::Receiver<bool>) {
    let listener = match listener::Admin::new(listener, Arc::clone(&state.shared)) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "the admin listener cannot begin"),
    };
    let chores = [tokio::spawn(chores::run(state.clone())), tokio::spawn(chores::keep_grants(state.clone()))];
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(ready::readyz))
        .nest("/api/v1", api::router(&state))
        .merge(console::routes())
        .layer(axum::middleware::from_fn(addressed))
        .with_state(state)
        .into_make_service_with_connect_info::<Peer>();
    let stopped = async move {
        let _ = stop.wait_for(|stop| *stop).await;
    };
    if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(stopped).await {
        tracing::error!(%error, "the admin listener ended");
    }
    chores.iter().for_each(tokio::task::JoinHandle::abort);
}

/// Refuses what a browser was led here to ask, by a name that is not this machine's ([`Peer::believes`]).
async fn addressed(request: extract::Request, next: Next) -> Response {
    let host = request.headers().get(HOST).map(|host| host.to_str().unwrap_or("?."));
    let host = host.or_else(|| request.uri().host());
    let peer = request.extensions().get::<extract::ConnectInfo<Peer>>().map(|info| info.0);
    if peer.is_some_and(|peer| peer.believes(host)) {
        return next.run(request).await;
    }
    let text = "In plaintext this address answers to localhost and to addresses alone, not to a name that could be anybody's. \
                Behind a proxy on this machine, let the proxy send `Host: localhost`.\n";
    (StatusCode::MISDIRECTED_REQUEST, text).into_response()
}

async fn healthz() -> &'static str {
    "ok\n"
}

async fn metrics(extract::State(state): extract::State<State>) -> Response {
    gauges(&state);
    ([("content-type", "text/plain; version=0.0.4")], state.metrics.render()).into_response()
}

/// Sets what is read rather than counted.
fn gauges(state: &State) {
    let shared = &state.shared;
    let health = shared.audit.health();
    let reviews = state.inbox.summary(Timestamp::now());
    let gauge = |name: &'static str, value: f64| metrics::gauge!(name).set(value);
    gauge("pgwarden_sessions", shared.gate.count() as f64);
    gauge("pgwarden_client_connections", shared.connections.load(Ordering::Relaxed) as f64);
    gauge("pgwarden_policy_generation", shared.door.generation() as f64);
    gauge("pgwarden_audit_writable", f64::from(u8::from(health.writable)));
    let behind = health.sequence.saturating_sub(state.index.progress().through);
    gauge("pgwarden_audit_index_behind_records", behind as f64);
    gauge("pgwarden_audit_stalled_seconds", health.stalled_us as f64 / 1e6);
    gauge("pgwarden_audit_queue_records", health.queue_records as f64);
    gauge("pgwarden_audit_queue_bytes", health.queue_bytes as f64);
    for cell in shared.door.catalogs() {
        let size = cell.catalog().size();
        let of = |name: &'static str, value: usize| {
            metrics::gauge!(name, "endpoint" => ready::name(&cell)).set(value as f64);
        };
        of("pgwarden_catalog_functions", size.functions);
        of("pgwarden_catalog_safe_functions", size.safe);
        of("pgwarden_catalog_views", size.views);
    }
    gauge("pgwarden_reviews_open", reviews.open as f64);
    gauge("pgwarden_reviews_overdue", reviews.overdue as f64);
    gauge("pgwarden_reviews_problems", reviews.problems as f64);
    let (asked, granted) = state.book.counts();
    gauge("pgwarden_grants_requested", asked as f64);
    gauge("pgwarden_grants_active", granted as f64);
    gauge("pgwarden_console_logins", state.people.count() as f64);
    let counter = |name: &'static str, value: u64| metrics::counter!(name).absolute(value);
    counter("pgwarden_audit_records_total", health.records);
    counter("pgwarden_audit_failures_total", health.failures);
    counter("pgwarden_audit_refused_total", health.refused);
    counter("pgwarden_audit_lost_total", health.lost);
}

/// A status and a body in JSON.
fn json(status: StatusCode, body: &serde_json::Value) -> Response {
    (status, [("content-type", "application/json")], format!("{body}\n")).into_response()
}
