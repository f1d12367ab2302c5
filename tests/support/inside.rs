//! A pgwarden inside the test program, with policies that no configuration file can ask for: those named `held…` are read-only
//! whatever they allow, so that the server's hold can be tested alone.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use arc_swap::ArcSwapOption;
use pgwarden::audit::{Audit, AuditSettings};
use pgwarden::auth::throttle::Throttle;
use pgwarden::config::{self, Config};
use pgwarden::decision::Door;
use pgwarden::net::cancel::Registry;
use pgwarden::net::fitness::Findings;
use pgwarden::net::gate::Gate;
use pgwarden::net::listener::{self, Shared};
use pgwarden::net::upstream::Connector;
use pgwarden::net::workers::Workers;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// Parses a configuration, and makes its policies named `held…` read-only.
pub fn held(text: &str) -> Config {
    let mut config = config::parse(text, Path::new("test.toml"), &|_| None).unwrap();
    for binding in config.environments.iter_mut().flat_map(|environment| environment.roles.values_mut()) {
        if binding.policy.name.starts_with("held") {
            Arc::make_mut(&mut binding.policy).read_only = true;
        }
    }
    config
}

/// A running pgwarden.
pub struct Inside {
    runtime: Option<Runtime>,
    port: u16,
    _stop: watch::Sender<bool>,
}

impl Inside {
    /// Starts it; its audit log goes to `folder`.
    pub fn start(text: &str, folder: &Path) -> Inside {
        let text = format!("[listen]\npostgres = \"127.0.0.1:1\"\n[audit]\ndirectory = \"unused\"\n{text}");
        let audit = Audit::open(AuditSettings::new(folder)).unwrap();
        let shared = Arc::new(Shared {
            door: Arc::new(Door::new(Arc::new(held(&text)))),
            tls: ArcSwapOption::from(None),
            connector: Connector::default(),
            cancels: Registry::default(),
            findings: Findings::default(),
            throttle: Throttle::default(),
            gate: Arc::new(Gate::default()),
            connections: AtomicUsize::new(0),
            draining: AtomicBool::new(false),
            workers: Workers::start(None, &audit).unwrap(),
            audit,
            catalogs: Arc::default(),
            mock_secret: [7; 32],
        });
        let runtime = Runtime::new().unwrap();
        let (stop, stopped) = watch::channel(false);
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let port = listener.local_addr().unwrap().port();
        runtime.spawn(listener::listen(listener, shared, stopped));
        Inside { runtime: Some(runtime), port, _stop: stop }
    }

    /// The port for clients.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
