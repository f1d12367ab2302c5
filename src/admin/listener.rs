//! Accepting admin connections: HTTP in plaintext and over TLS on one port, told apart by their first byte.
//!
//! Metrics and health answer either way. Whatever needs a login asks [`Peer::is_private`] first: passwords and records cross a
//! network only over TLS.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep, sleep};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::net::listener::Shared;

/// Longest time from connecting to the end of the TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Connections that may wait to be served, or be shaking hands, at once.
const WAITING: usize = 256;
/// Connections at once: more than people, scrapers and scripts need, and few enough that nobody takes the proxy's descriptors.
const MOST: usize = 512;
/// Of one address that is not this machine's.
const MOST_OF_ADDRESS: usize = 128;
/// Longest time from a request's first byte to the first of its answer, however slowly it is sent.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// Longest time between an answer, or the pieces of one, and what comes then.
const IDLE: Duration = Duration::from_secs(120);
/// First byte of a TLS record that begins a handshake (RFC 8446, 5.1).
const TLS_HANDSHAKE: u8 = 0x16;

/// Where an admin request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The client's address.
    pub address: SocketAddr,
    /// Whether it came over TLS.
    pub tls: bool,
}

impl Peer {
    /// Whether nobody on a network can read along.
    pub fn is_private(&self) -> bool {
        self.tls || self.is_local()
    }

    fn is_local(&self) -> bool {
        self.address.ip().to_canonical().is_loopback()
    }

    /// Whether a request may be meant for this machine. In plaintext a browser can be made to come here from any page, by a name
    /// that its owner lets stand for this address; so a name with a dot in it does not count, unless it ends in `.localhost`.
    pub fn believes(&self, host: Option<&str>) -> bool {
        let Some(host) = host.filter(|_| !self.tls && self.is_local()) else { return true };
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !host.ends_with(']') => name,
            _ => host,
        };
        let name = name.trim_matches(['[', ']']).trim_end_matches('.');
        !name.contains('.') || name.to_ascii_lowercase().ends_with(".localhost") || name.parse::<IpAddr>().is_ok()
    }
}

/// The admin listener.
pub struct Admin {
    local: SocketAddr,
    ready: mpsc::Receiver<(Connection, Peer)>,
}

impl Admin {
    /// Serves connections of `listener`; the task that accepts them ends when this is dropped.
    ///
    /// # Errors
    /// The listener has no address.
    pub fn new(listener: TcpListener, shared: Arc<Shared>) -> io::Result<Admin> {
        let local = listener.local_addr()?;
        let (sender, ready) = mpsc::channel(WAITING);
        tokio::spawn(accept(listener, shared, sender));
        Ok(Admin { local, ready })
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, ready: mpsc::Sender<(Connection, Peer)>) {
    let seats = Seats::default();
    loop {
        let Ok(place) = ready.clone().reserve_owned().await else { return };
        let accepted = tokio::select! {
            () = ready.closed() => return,
            accepted = listener.accept() => accepted,
        };
        let (tcp, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "an admin connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let Some(seat) = seats.take(address.ip().to_canonical()) else {
            metrics::counter!("pgwarden_admin_connections_refused_total").increment(1);
            continue;
        };
        let _ = tcp.set_nodelay(true);
        let tls = shared.tls.load_full().map(|tls| TlsAcceptor::from(tls.http()));
        tokio::spawn(async move {
            if let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, open(tcp, tls)).await {
                let tls = matches!(stream, Stream::Tls(_));
                let patience = Patience { answer: ANSWER_WITHIN, idle: IDLE };
                place.send((Connection::new(stream, seat, patience), Peer { address, tls }));
            }
        });
    }
}

async fn open(tcp: TcpStream, tls: Option<TlsAcceptor>) -> io::Result<Stream> {
    let mut first = [0u8; 1];
    if tcp.peek(&mut first).await? == 1 && first == [TLS_HANDSHAKE] {
        let tls = tls.ok_or(io::ErrorKind::Unsupported)?;
        return Ok(Stream::Tls(Box::new(tls.accept(tcp).await?)));
    }
    Ok(Stream::Plain(tcp))
}

impl axum::serve::Listener for Admin {
    type Io = Connection;
    type Addr = Peer;

    async fn accept(&mut self) -> (Connection, Peer) {
        match self.ready.recv().await {
            Some(accepted) => accepted,
            // The accepting task is gone: nobody comes any more.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Peer> {
        Ok(Peer { address: self.local, tls: false })
    }
}

impl Connected<IncomingStream<'_, Admin>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Admin>) -> Peer {
        *stream.remote_addr()
    }
}

/// How many connections there are, by address.
#[derive(Clone, Debug, Default)]
struct Seats(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// One connection's place; given back when it is dropped.
#[derive(Debug)]
struct Seat {
    seats: Seats,
    address: IpAddr,
}

impl Seats {
    fn take(&self, address: IpAddr) -> Option<Seat> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_address = taken.get(&address).copied().unwrap_or(0);
        let crowded = of_address >= MOST_OF_ADDRESS && !address.is_loopback();
        if crowded || taken.values().sum::<usize>() >= MOST {
            return None;
        }
        taken.insert(address, of_address + 1);
        Some(Seat { seats: self.clone(), address })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.0.lock().unwrap_or_else(PoisonError::into_inner);
        match taken.get_mut(&self.address) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(taken.remove(&self.address)),
        }
    }
}

/// A connection that ends when its client lets it wait: nobody keeps a place by sending a request byte by byte.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    until: Pin<Box<Sleep>>,
    /// A request has begun and nothing was answered yet.
    asked: bool,
    patience: Patience,
    _seat: Seat,
}

/// How long a connection waits for its client.
#[derive(Clone, Copy, Debug)]
struct Patience {
    answer: Duration,
    idle: Duration,
}

impl Connection {
    fn new(stream: Stream, seat: Seat, patience: Patience) -> Connection {
        Connection { stream, until: Box::pin(sleep(patience.answer)), asked: true, patience, _seat: seat }
    }

    fn heard(&mut self) {
        if !std::mem::replace(&mut self.asked, true) {
            let until = Instant::now() + self.patience.answer;
            self.until.as_mut().reset(until);
        }
    }

    fn said(&mut self) {
        self.asked = false;
        let until = Instant::now() + self.patience.idle;
        self.until.as_mut().reset(until);
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.until.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let had = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > had {
            self.heard();
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.until.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        if matches!(written, Poll::Ready(Ok(count)) if count > 0) {
            self.said();
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// A connection, in plaintext or over TLS.
#[derive(Debug)]
pub enum Stream {
    /// In plaintext.
    Plain(TcpStream),
    /// Over TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Stream::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(context),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn peer(address: &str, tls: bool) -> Peer {
        Peer { address: address.parse().unwrap(), tls }
    }

    #[test]
    fn names_that_anybody_can_let_stand_for_this_machine_are_not_believed() {
        let local = peer("127.0.0.1:1", false);
        for host in
            ["localhost", "LOCALHOST:9432", "127.0.0.1:9432", "[::1]:9432", "::1", "console.localhost:1", "laptop:9432"]
        {
            assert!(local.believes(Some(host)), "{host}");
        }
        for host in ["evil.example", "evil.example:9432", "127.0.0.1.evil.example", "localhost.evil.example.", "a.b:x"]
        {
            assert!(!local.believes(Some(host)), "{host}");
        }
        assert!(local.believes(None));
        assert!(peer("127.0.0.1:1", true).believes(Some("console.example")));
        assert!(peer("192.0.2.1:1", false).believes(Some("metrics.example")));
    }

    #[test]
    fn nobody_takes_every_place() {
        let seats = Seats::default();
        let (one, other): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let taken: Vec<Seat> = (0..MOST_OF_ADDRESS).map(|_| seats.take(one).unwrap()).collect();
        assert!(seats.take(one).is_none());
        assert!(seats.take(other).is_some());
        drop(taken);
        assert!(seats.0.lock().unwrap().is_empty());
        let local: Vec<Seat> = std::iter::from_fn(|| seats.take("::1".parse().unwrap())).collect();
        assert_eq!(local.len(), MOST);
        assert!(seats.take(other).is_none());
    }

    async fn connection(patience: Patience) -> (TcpStream, Connection) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (server, address) = listener.accept().await.unwrap();
        let seat = Seats::default().take(address.ip()).unwrap();
        (client, Connection::new(Stream::Plain(server), seat, patience))
    }

    #[tokio::test]
    async fn a_request_sent_byte_by_byte_ends_the_connection() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let patience = Patience { answer: Duration::from_millis(100), idle: Duration::from_secs(600) };
        let (mut client, mut connection) = connection(patience).await;
        let ended = loop {
            let _ = client.write_all(b"G").await;
            tokio::time::sleep(Duration::from_millis(10)).await;
            if let Err(error) = connection.read_u8().await {
                break error;
            }
        };
        assert_eq!(ended.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn an_answered_connection_may_rest_and_then_ends() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let patience = Patience { answer: Duration::from_secs(600), idle: Duration::from_millis(100) };
        let (mut client, mut connection) = connection(patience).await;
        client.write_all(b"G").await.unwrap();
        assert_eq!(connection.read_u8().await.unwrap(), b'G');
        connection.write_all(b"x").await.unwrap();
        assert_eq!(connection.read_u8().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
