//! Composition root: a configuration file in, running tasks out; reload, drain and shutdown.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwapOption;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;

use crate::admin::{self, configuration::LastReload};
use crate::audit::index::Index;
use crate::audit::{self, Audit, Event, Record, Reload};
use crate::auth::throttle::Throttle;
use crate::config::{self, Config, Listen, LogFormat, LogSettings, WhenUnwritable};
use crate::decision::Door;
use crate::net::cancel::Registry;
use crate::net::control::Command;
use crate::net::fitness::Findings;
use crate::net::gate::Gate;
use crate::net::listener::{self, Shared};
use crate::net::tls::ServerTls;
use crate::net::upstream::Connector;
use crate::net::workers::Workers;

/// Clients that wait to be accepted.
const BACKLOG: u32 = 4096;
/// How long sessions have after the drain's deadline to say goodbye.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// How often the metrics' histograms are folded.
const UPKEEP: Duration = Duration::from_secs(5);
/// Buckets of times in seconds: a microsecond to ten seconds.
const SECONDS: &[f64] = &[
    1e-6, 2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1, 0.2, 0.5, 1.0, 2.0,
    5.0, 10.0,
];

/// The running proxy, as its parts see it.
pub struct App {
    file: PathBuf,
    shared: Arc<Shared>,
    metrics: PrometheusHandle,
    index: Index,
    reloads: Arc<LastReload>,
}

/// Runs pgwarden by a configuration file until SIGTERM or SIGINT, and returns when everything has ended in order.
///
/// # Errors
/// It cannot start: the configuration, a port, a certificate or the audit log is at fault.
pub async fn run(file: &Path, threads: Option<NonZeroUsize>) -> anyhow::Result<()> {
    let config = Arc::new(config::load(file)?);
    start_log(&config.log);
    let app = App::open(file, Arc::clone(&config), threads)?;
    app.serve(&config).await
}

fn start_log(settings: &LogSettings) {
    let filter = EnvFilter::try_from_default_env()
        .or_else(|_| EnvFilter::try_new(&settings.level))
        .unwrap_or_else(|_| EnvFilter::new("info"));
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr);
    // Tests start several in one process; the first one's log serves them all.
    let _ = match settings.format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
}

fn audit_settings(config: &Config) -> audit::AuditSettings {
    let settings = &config.audit;
    audit::AuditSettings {
        when_unwritable: match settings.when_unwritable {
            WhenUnwritable::Refuse => audit::WhenUnwritable::Refuse,
            WhenUnwritable::Continue => audit::WhenUnwritable::Continue,
        },
        segment_bytes: settings.segment_bytes,
        segment_age: settings.segment_age,
        retention_age: settings.retention_age,
        retention_bytes: settings.retention_bytes,
        ..audit::AuditSettings::new(&settings.directory)
    }
}

fn server_tls(listen: &Listen) -> anyhow::Result<Option<Arc<ServerTls>>> {
    let Some(files) = &listen.tls else { return Ok(None) };
    let tls = ServerTls::load(&files.certificate, &files.key, files.client_ca.as_deref()).context("listen.tls")?;
    Ok(Some(Arc::new(tls)))
}

impl App {
    fn open(file: &Path, config: Arc<Config>, threads: Option<NonZeroUsize>) -> anyhow::Result<App> {
        let metrics = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS)?
            .install_recorder()
            .context("metrics")?;
        let mut mock_secret = [0u8; 32];
        SystemRandom::new().fill(&mut mock_secret).map_err(|_| anyhow::anyhow!("the system has no randomness"))?;
        let tls = server_tls(&config.listen)?;
        check_reviews(&config)?;
        let audit = Audit::open(audit_settings(&config))?;
        let index = Index::open(audit.directory()).context("the audit log's index")?;
        let workers = Workers::start(threads, &audit).context("the threads for sessions")?;
        let shared = Shared {
            door: Arc::new(Door::new(config)),
            audit,
            workers,
            tls: ArcSwapOption::from(tls),
            connector: Connector::default(),
            cancels: Registry::default(),
            findings: Findings::default(),
            throttle: Throttle::default(),
            gate: Arc::new(Gate::default()),
            connections: AtomicUsize::new(0),
            draining: AtomicBool::new(false),
            catalogs: Arc::default(),
            mock_secret,
        };
        Ok(App { file: file.to_path_buf(), shared: Arc::new(shared), metrics, index, reloads: Arc::default() })
    }

    async fn serve(self, config: &Config) -> anyhow::Result<()> {
        let (stop, stopped) = watch::channel(false);
        let mut tasks = Vec::new();
        for address in &config.listen.postgres {
            let listener = bind(*address).with_context(|| format!("listen.postgres = \"{address}\""))?;
            tracing::info!(address = %listener.local_addr()?, "listening for Postgres clients");
            tasks.push(tokio::spawn(listener::listen(listener, Arc::clone(&self.shared), stopped.clone())));
        }
        if let Some(address) = config.listen.admin {
            let listener = bind(address).with_context(|| format!("listen.admin = \"{address}\""))?;
            tracing::info!(address = %listener.local_addr()?, "listening for the console, metrics and health");
            let state = admin::State::new(
                Arc::clone(&self.shared),
                self.metrics.clone(),
                self.index.clone(),
                Arc::clone(&self.reloads),
            );
            tasks.push(tokio::spawn(admin::serve(listener, state, stopped.clone())));
        }
        let upkeep = tokio::spawn(upkeep(self.metrics.clone()));
        let reason = self.until_told().await?;
        self.drain(&stop, reason).await;
        upkeep.abort();
        for task in tasks {
            let _ = tokio::time::timeout(LAST_WORDS, task).await;
        }
        self.shared.audit.close(reason)?;
        tracing::info!("stopped");
        Ok(())
    }

    /// Serves until a signal says to stop; reloads when one says to reload.
    async fn until_told(&self) -> anyhow::Result<&'static str> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut hangup = signal(SignalKind::hangup())?;
        loop {
            tokio::select! {
                _ = terminate.recv() => return Ok("SIGTERM"),
                _ = interrupt.recv() => return Ok("SIGINT"),
                _ = hangup.recv() => self.reload(),
            }
        }
    }

    /// Puts the file's configuration in force: all of it or none.
    fn reload(&self) {
        let old = self.shared.door.config();
        let loaded = config::load(&self.file).map_err(|errors| anyhow::anyhow!("{errors}"));
        let result = loaded.and_then(|new| {
            let changes = config::summary_of_changes(&old, &new);
            let tls = server_tls(&new.listen)?;
            check_reviews(&new)?;
            Ok((new, changes, tls))
        });
        let event = match result {
            Ok((new, changes, tls)) => {
                let generation = self.shared.door.replace(Arc::new(new));
                self.shared.tls.store(tls);
                self.shared.connector.forget();
                tracing::info!(generation, "configuration reloaded: {}", changes.join("; "));
                Reload { cause: "SIGHUP".into(), generation, changes, refused: None }
            }
            Err(error) => {
                let refused = format!("{error:#}");
                tracing::error!("configuration not reloaded, the old one stays in force:\n{refused}");
                let generation = self.shared.door.generation();
                Reload { cause: "SIGHUP".into(), generation, changes: Vec::new(), refused: Some(refused) }
            }
        };
        self.reloads.note(&event);
        self.shared.audit.defer(Record::new(self.shared.audit.next_id(), None, Event::Reload(event)));
    }

    /// Lets nobody in, lets transactions finish until the deadline, and ends the rest.
    async fn drain(&self, stop: &watch::Sender<bool>, reason: &str) {
        let deadline = self.shared.door.config().limits.drain_timeout;
        tracing::info!(
            reason,
            sessions = self.shared.gate.count(),
            "stopping: no new sessions, open transactions may finish"
        );
        self.shared.draining.store(true, Ordering::Relaxed);
        let _ = stop.send(true);
        self.shared.gate.give_all(Command::Drain);
        if tokio::time::timeout(deadline, self.shared.gate.empty()).await.is_err() {
            self.shared.gate.give_all(Command::Stop);
            let _ = tokio::time::timeout(LAST_WORDS, self.shared.gate.empty()).await;
        }
    }
}

/// Filters are the audit room's words, so the configuration's own checks do not know them.
fn check_reviews(config: &Config) -> anyhow::Result<()> {
    for rule in &config.reviews {
        admin::reviews::filter(&rule.filter).with_context(|| format!("the filter of review rule `{}`", rule.name))?;
    }
    Ok(())
}

fn bind(address: std::net::SocketAddr) -> anyhow::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket.listen(BACKLOG)?)
}

async fn upkeep(metrics: PrometheusHandle) {
    loop {
        tokio::time::sleep(UPKEEP).await;
        metrics.run_upkeep();
    }
}
