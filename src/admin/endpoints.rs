//! Whether endpoints can be reached.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;

use super::State;
use crate::audit::Timestamp;
use crate::config::{Endpoint, EndpointKind};
use crate::net::upstream::Address;

/// How long an endpoint may take to answer.
const TIMEOUT: Duration = Duration::from_secs(3);

/// One endpoint of a database.
#[derive(Clone, Debug, Serialize)]
pub struct EndpointHealth {
    /// The database's name or pattern.
    pub database: String,
    /// The environment it lies in.
    pub environment: String,
    /// `pooled`, `direct` or `replica`.
    pub endpoint: &'static str,
    /// Whether one of its hosts can be reached; `None` where the address depends on the database's name.
    pub reachable: Option<bool>,
    /// How long that took, in microseconds.
    pub took_us: Option<u64>,
    /// Why it cannot be reached.
    pub error: Option<String>,
}

/// What was found when the endpoints were asked last, and when that was.
#[derive(Debug, Default)]
pub struct Known(Mutex<Option<(Timestamp, Vec<EndpointHealth>)>>);

impl Known {
    /// What was found last; `None` before the first time.
    pub fn latest(&self) -> Option<(Timestamp, Vec<EndpointHealth>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keeps what was found now.
    pub fn keep(&self, found: Vec<EndpointHealth>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((Timestamp::now(), found));
    }
}

impl State {
    /// Opens a connection to every endpoint with a fixed address, all at once, and says which could be opened.
    pub async fn endpoints(&self) -> Vec<EndpointHealth> {
        let config = self.shared.door.config();
        let mut checks = Vec::new();
        for database in &config.databases {
            for kind in [EndpointKind::Pooled, EndpointKind::Direct, EndpointKind::Replica] {
                let Some(endpoint) = database.endpoint(kind).cloned() else { continue };
                let health = EndpointHealth {
                    database: database.name.clone(),
                    environment: database.environment.clone(),
                    endpoint: kind.name(),
                    reachable: None,
                    took_us: None,
                    error: None,
                };
                let state = self.clone();
                checks.push(tokio::spawn(async move { state.check(endpoint, health).await }));
            }
        }
        let mut all = Vec::with_capacity(checks.len());
        for check in checks {
            all.extend(check.await.ok());
        }
        all
    }

    async fn check(&self, endpoint: std::sync::Arc<Endpoint>, mut health: EndpointHealth) -> EndpointHealth {
        if endpoint.is_template() {
            return health;
        }
        let began = std::time::Instant::now();
        for host in &endpoint.hosts {
            let address = Address { endpoint: endpoint.clone(), host: host.clone() };
            health.error = match tokio::time::timeout(TIMEOUT, self.shared.connector.open(&address)).await {
                Ok(Ok(_)) => None,
                Ok(Err(refused)) => Some(refused.to_string()),
                Err(_) => Some(format!("{host}: no answer within {} s", TIMEOUT.as_secs())),
            };
            if health.error.is_none() {
                break;
            }
        }
        if health.error.is_none() {
            // Reached, but the last session was refused there: is that still so?
            let name = (health.database.as_str(), health.endpoint);
            health.error = self.shared.findings.still_wrong(name, &endpoint, &self.shared.connector, TIMEOUT).await;
        }
        health.reachable = Some(health.error.is_none());
        health.took_us = Some(u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX));
        health
    }
}
