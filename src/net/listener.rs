//! Accepting clients: one task a connection, from its first byte to its last, on a thread that it does not leave.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::audit::Audit;
use crate::auth::throttle::Throttle;
use crate::decision::Door;

use super::cancel::Registry;
use super::catalogs::Catalogs;
use super::fitness::Findings;
use super::gate::Gate;
use super::login;
use super::tls::ServerTls;
use super::upstream::Connector;
use super::workers::Workers;

/// After this long without a byte, the kernel asks whether the other side still lives.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// What every connection needs.
#[derive(Debug)]
pub struct Shared {
    /// Where statements are judged, and the configuration in force.
    pub door: Arc<Door>,
    /// The audit log.
    pub audit: Audit,
    /// What clients see of TLS.
    pub tls: ArcSwapOption<ServerTls>,
    /// Connections to endpoints.
    pub connector: Connector,
    /// Who can be cancelled.
    pub cancels: Registry,
    /// What was found out about endpoints.
    pub findings: Findings,
    /// Who failed to log in.
    pub throttle: Throttle,
    /// Who is in.
    pub gate: Arc<Gate>,
    /// Connections, logged in or not.
    pub connections: AtomicUsize,
    /// Nobody is let in any more.
    pub draining: AtomicBool,
    /// The threads that sessions run on.
    pub workers: Workers,
    /// What is asked of databases about themselves.
    pub catalogs: Arc<Catalogs>,
    /// Makes unknown users' salts the same each time.
    pub mock_secret: [u8; 32],
}

/// Accepts connections until `stop` says so.
pub async fn listen(listener: TcpListener, shared: Arc<Shared>, mut stop: watch::Receiver<bool>) {
    loop {
        let accepted = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((tcp, peer)) => take(tcp, peer, &shared),
            Err(error) => {
                // Out of file descriptors or memory: others must end first.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

fn take(tcp: TcpStream, peer: SocketAddr, shared: &Arc<Shared>) {
    let _ = tcp.set_nodelay(true);
    let _ = SockRef::from(&tcp).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE));
    // It leaves the event loop of the listener for that of its own thread.
    let Ok(tcp) = tcp.into_std() else { return };
    let place = Place::taken(shared);
    metrics::counter!("pgwarden_connections_total").increment(1);
    let accepted = Instant::now();
    shared.workers.give(|seat| async move {
        let Ok(tcp) = TcpStream::from_std(tcp) else { return };
        let Some(session) = login::connection(tcp, peer, &place.shared, seat.desk.clone(), accepted).await else {
            return;
        };
        // A task of its own, so that an idle session does not hold on to what its login needed.
        tokio::spawn(async move {
            session.run().await;
            drop((place, seat));
        });
    });
}

/// A connection's place among all.
struct Place {
    shared: Arc<Shared>,
}

impl Place {
    fn taken(shared: &Arc<Shared>) -> Place {
        shared.connections.fetch_add(1, Ordering::Relaxed);
        Place { shared: Arc::clone(shared) }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.connections.fetch_sub(1, Ordering::Relaxed);
    }
}
