//! A connection's bytes, whatever carries them.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// A connection to a client or to a server.
#[derive(Debug)]
pub enum Stream {
    /// TCP in clear.
    Tcp(TcpStream),
    /// A Unix socket.
    Unix(UnixStream),
    /// TLS, we are the server.
    Accepted(Box<tokio_rustls::server::TlsStream<TcpStream>>),
    /// TLS, we are the client.
    Connected(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

macro_rules! each {
    ($self:expr, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Stream::Tcp($stream) => $call,
            Stream::Unix($stream) => $call,
            Stream::Accepted($stream) => $call,
            Stream::Connected($stream) => $call,
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_read(context, buffer))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        each!(self, stream => Pin::new(stream).poll_write(context, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_shutdown(context))
    }
}

impl Stream {
    /// Whether bytes written may wait in TLS' own buffer until flushed.
    pub fn is_tls(&self) -> bool {
        matches!(self, Stream::Accepted(_) | Stream::Connected(_))
    }

    /// The TLS version in force, as records name it.
    pub fn tls_version(&self) -> Option<&'static str> {
        let version = match self {
            Stream::Tcp(_) | Stream::Unix(_) => None,
            Stream::Accepted(stream) => stream.get_ref().1.protocol_version(),
            Stream::Connected(stream) => stream.get_ref().1.protocol_version(),
        };
        version.map(|version| match version {
            rustls::ProtocolVersion::TLSv1_3 => "TLSv1.3",
            rustls::ProtocolVersion::TLSv1_2 => "TLSv1.2",
            _ => "TLS",
        })
    }

    /// The other side's certificate, if it showed one.
    pub fn peer_certificate(&self) -> Option<&[u8]> {
        let certificates = match self {
            Stream::Tcp(_) | Stream::Unix(_) => None,
            Stream::Accepted(stream) => stream.get_ref().1.peer_certificates(),
            Stream::Connected(stream) => stream.get_ref().1.peer_certificates(),
        };
        certificates.and_then(|chain| chain.first()).map(|leaf| leaf.as_ref())
    }
}
