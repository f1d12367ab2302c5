//! The packets before login: startup, SSLRequest, GSSENCRequest, CancelRequest and NegotiateProtocolVersion.
//!
//! Reference: <https://www.postgresql.org/docs/18/protocol-flow.html#PROTOCOL-FLOW-START-UP>.

use bytes::{BufMut, BytesMut};

use super::{backend, c_string, i32_at, write};

/// `SSLRequest`'s code, from `src/include/libpq/pqcomm.h`.
pub const SSL_REQUEST: i32 = (1234 << 16) | 5679;
/// `GSSENCRequest`'s code.
pub const GSSENC_REQUEST: i32 = (1234 << 16) | 5680;
/// `CancelRequest`'s code.
pub const CANCEL_REQUEST: i32 = (1234 << 16) | 5678;

/// A protocol version: major in the upper 16 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub i32);

impl Version {
    /// Protocol 3.0.
    pub const V3_0: Version = Version(3 << 16);
    /// Protocol 3.2: longer cancel keys.
    pub const V3_2: Version = Version((3 << 16) | 2);

    /// The major version.
    pub fn major(self) -> i32 {
        self.0 >> 16
    }

    /// The minor version.
    pub fn minor(self) -> i32 {
        self.0 & 0xffff
    }
}

/// A packet before login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// Asks for TLS.
    Ssl,
    /// Asks for GSS encryption.
    Gssenc,
    /// Asks to cancel what the session with this process id and secret is running.
    Cancel {
        /// Process id as told in BackendKeyData.
        pid: i32,
        /// Secret as told in BackendKeyData.
        secret: &'a [u8],
    },
    /// Starts a session.
    Startup {
        /// The version asked for.
        version: Version,
        /// Parameters in order.
        parameters: Vec<(&'a str, &'a str)>,
    },
}

/// Why a packet before login is no packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPacket {
    /// A length that cannot be.
    #[error("invalid length of startup packet")]
    Length,
    /// Parameters without their terminator, or not UTF-8.
    #[error("invalid startup packet layout: expected terminator as last byte")]
    Layout,
    /// A major version other than 3.
    #[error("unsupported frontend protocol {}.{}: server supports 3.0 to 3.2", .0.major(), .0.minor())]
    Version(Version),
}

/// Bytes of the packet at the start of `buffer`, length field included; `None` until the length is there.
///
/// # Errors
/// The length cannot be that of a packet, or is over `limit`.
pub fn packet_bytes(buffer: &[u8], limit: usize) -> Result<Option<usize>, BadPacket> {
    let Some((length, _)) = i32_at(buffer) else { return Ok(None) };
    match usize::try_from(length) {
        Ok(length) if (8..=limit).contains(&length) => Ok(Some(length)),
        _ => Err(BadPacket::Length),
    }
}

/// Reads a whole packet (its length field included).
///
/// # Errors
/// It is none of the known packets.
pub fn read(packet: &[u8]) -> Result<Packet<'_>, BadPacket> {
    let (_, rest) = i32_at(packet).ok_or(BadPacket::Length)?;
    let (code, body) = i32_at(rest).ok_or(BadPacket::Length)?;
    match code {
        SSL_REQUEST if body.is_empty() => Ok(Packet::Ssl),
        GSSENC_REQUEST if body.is_empty() => Ok(Packet::Gssenc),
        CANCEL_REQUEST => match i32_at(body) {
            Some((pid, secret)) if (4..=256).contains(&secret.len()) => Ok(Packet::Cancel { pid, secret }),
            _ => Err(BadPacket::Length),
        },
        version if Version(version).major() == 3 => {
            Ok(Packet::Startup { version: Version(version), parameters: parameters(body)? })
        }
        version => Err(BadPacket::Version(Version(version))),
    }
}

fn parameters(mut body: &[u8]) -> Result<Vec<(&str, &str)>, BadPacket> {
    let mut found = Vec::new();
    loop {
        let (name, rest) = c_string(body).ok_or(BadPacket::Layout)?;
        if name.is_empty() {
            return if rest.is_empty() { Ok(found) } else { Err(BadPacket::Layout) };
        }
        let (value, rest) = c_string(rest).ok_or(BadPacket::Layout)?;
        let name = std::str::from_utf8(name).map_err(|_| BadPacket::Layout)?;
        let value = std::str::from_utf8(value).map_err(|_| BadPacket::Layout)?;
        found.push((name, value));
        body = rest;
    }
}

/// Appends a startup packet.
pub fn write_startup<'a>(
    out: &mut BytesMut,
    version: Version,
    parameters: impl IntoIterator<Item = (&'a str, &'a str)>,
) {
    write::untagged(out, |out| {
        out.put_i32(version.0);
        for (name, value) in parameters {
            write::c_string(out, name.as_bytes());
            write::c_string(out, value.as_bytes());
        }
        out.put_u8(0);
    });
}

/// Appends an SSLRequest.
pub fn write_ssl_request(out: &mut BytesMut) {
    write::untagged(out, |out| out.put_i32(SSL_REQUEST));
}

/// Appends a CancelRequest.
pub fn write_cancel(out: &mut BytesMut, pid: i32, secret: &[u8]) {
    write::untagged(out, |out| {
        out.put_i32(CANCEL_REQUEST);
        out.put_i32(pid);
        out.put_slice(secret);
    });
}

/// Appends a NegotiateProtocolVersion: the newest minor we speak, and the options we do not know.
pub fn write_negotiate(out: &mut BytesMut, version: Version, unknown: &[&str]) {
    write::message(out, backend::tag::NEGOTIATE, |out| {
        out.put_i32(version.0);
        out.put_i32(i32::try_from(unknown.len()).unwrap_or(i32::MAX));
        for option in unknown {
            write::c_string(out, option.as_bytes());
        }
    });
}
