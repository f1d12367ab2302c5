//! Accepting admin connections: HTTP in plaintext and over TLS on one port, told apart by their first byte.
//!
//! Metrics and health answer either way. Whatever needs a login asks [`Peer::is_private`] first: passwords and records cross a
//! network only over TLS.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::net::listener::Shared;

/// Longest time from connecting to the end of the TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Connections that may wait to be served, or be shaking hands, at once.
const WAITING: usize = 256;
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
        self.tls || self.address.ip().to_canonical().is_loopback()
    }
}

/// The admin listener.
pub struct Admin {
    local: SocketAddr,
    ready: mpsc::Receiver<(Stream, Peer)>,
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

async fn accept(listener: TcpListener, shared: Arc<Shared>, ready: mpsc::Sender<(Stream, Peer)>) {
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
        let _ = tcp.set_nodelay(true);
        let tls = shared.tls.load_full().map(|tls| TlsAcceptor::from(tls.http()));
        tokio::spawn(async move {
            if let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, open(tcp, tls)).await {
                let tls = matches!(stream, Stream::Tls(_));
                place.send((stream, Peer { address, tls }));
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
    type Io = Stream;
    type Addr = Peer;

    async fn accept(&mut self) -> (Stream, Peer) {
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
