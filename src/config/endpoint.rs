//! Endpoints: Postgres URLs as Neon, Supabase, RDS, Prisma and libpq write them.
//!
//! The grammar is libpq's (<https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-URIS>,
//! `conninfo_uri_parse_options` in `src/interfaces/libpq/fe-connect.c`); `parameters` says which parameters mean something.
//! No message ever quotes a value: a misplaced delimiter makes a piece of the password look like anything else.

mod parameters;
mod syntax;

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::secret::Secret;

pub use syntax::UrlError;

/// What `{name}` in a URL is: the name of the database that the client asked for.
pub const NAME: &str = "{name}";

/// A Postgres server (or pooler) to connect to, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Where, in the order in which they are tried.
    pub hosts: Vec<Host>,
    /// The Postgres role to log in as.
    pub user: String,
    /// Its password, if it needs one.
    pub password: Option<Secret>,
    /// The database on that server; the user's name when the URL names none, as in libpq.
    pub database: String,
    /// Whether and how TLS is used. `require` with a root certificate file counts as `verify-ca`, as in libpq.
    pub sslmode: SslMode,
    /// Whether TLS begins at once (Postgres 17 and later) or after an SSLRequest.
    pub sslnegotiation: SslNegotiation,
    /// Which certificates are trusted.
    pub sslrootcert: RootCertificates,
    /// A client certificate, with its key.
    pub client_certificate: Option<ClientCertificate>,
    /// Whether SCRAM is bound to the TLS connection.
    pub channel_binding: ChannelBinding,
    /// Which of several hosts will do.
    pub target_session_attrs: TargetSessionAttrs,
    /// Whether the URL says that a pooler in transaction mode answers.
    pub pgbouncer: bool,
    /// Most connections to hold to this endpoint.
    pub connection_limit: Option<u32>,
    /// The startup parameter `options`, as it stands.
    pub options: Option<String>,
    /// The schema that Prisma's `schema` names.
    pub schema: Option<String>,
    /// A whole search path, as SET takes it.
    pub search_path: Option<String>,
    /// The application name to log in with when the client gives none.
    pub application_name: Option<String>,
    /// Longest wait for a connection; the configuration's own when `None`.
    pub connect_timeout: Option<Duration>,
}

/// A server's address and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Where it is.
    pub address: HostAddress,
    /// The port; for a socket, the number in its file name.
    pub port: u16,
}

impl Host {
    /// The socket's file, for a host that is one: `<folder>/.s.PGSQL.<port>`.
    pub fn socket(&self) -> Option<PathBuf> {
        match &self.address {
            HostAddress::Name(_) => None,
            HostAddress::SocketFolder(folder) => Some(folder.join(format!(".s.PGSQL.{}", self.port))),
        }
    }
}

impl std::fmt::Display for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.address {
            HostAddress::Name(name) if name.contains(':') => write!(f, "[{name}]:{}", self.port),
            HostAddress::Name(name) => write!(f, "{name}:{}", self.port),
            HostAddress::SocketFolder(folder) => write!(f, "{}:{}", folder.display(), self.port),
        }
    }
}

/// Where a host is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostAddress {
    /// A DNS name or IP address (IPv6 without brackets).
    Name(String),
    /// The folder of a Unix-domain socket.
    SocketFolder(PathBuf),
}

/// libpq's `sslmode`, the laxest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SslMode {
    /// Never TLS.
    Disable,
    /// TLS only if the server insists.
    Allow,
    /// TLS if the server offers it: the default.
    Prefer,
    /// TLS, whoever answers.
    Require,
    /// TLS with a certificate from a trusted authority.
    VerifyCa,
    /// TLS with a certificate from a trusted authority for this very host.
    VerifyFull,
}

/// libpq's `sslnegotiation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SslNegotiation {
    /// SSLRequest first: the default.
    Postgres,
    /// TLS at once, with ALPN `postgresql`.
    Direct,
}

/// Which authorities are trusted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RootCertificates {
    /// The operating system's.
    System,
    /// Those of a PEM file.
    File(PathBuf),
}

/// A client certificate and its key, both PEM files.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClientCertificate {
    /// `sslcert`.
    pub certificate: PathBuf,
    /// `sslkey`.
    pub key: PathBuf,
}

/// libpq's `channel_binding`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChannelBinding {
    /// Never.
    Disable,
    /// Where the server offers it: the default.
    Prefer,
    /// Or no login.
    Require,
}

/// libpq's `target_session_attrs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TargetSessionAttrs {
    /// Whichever answers: the default.
    Any,
    /// One whose transactions may write.
    ReadWrite,
    /// One whose transactions are read-only by default.
    ReadOnly,
    /// One that is not in recovery.
    Primary,
    /// One that is in recovery.
    Standby,
    /// One in recovery if there is one.
    PreferStandby,
}

impl Endpoint {
    /// Reads a URL. All that is wrong with it at once.
    pub fn parse(url: &str) -> Result<Endpoint, Vec<UrlError>> {
        let parts = syntax::split(url).map_err(|error| vec![error])?;
        parameters::endpoint(parts)
    }

    /// The same endpoint, relative file names starting at `folder`.
    #[must_use]
    pub fn beside(mut self, folder: &Path) -> Endpoint {
        if let RootCertificates::File(file) = &mut self.sslrootcert {
            *file = folder.join(&*file);
        }
        if let Some(pair) = &mut self.client_certificate {
            pair.certificate = folder.join(&pair.certificate);
            pair.key = folder.join(&pair.key);
        }
        self
    }

    /// Whether `{name}` stands in it.
    pub fn is_template(&self) -> bool {
        let named = |text: &str| text.contains(NAME);
        named(&self.database)
            || named(&self.user)
            || self.schema.as_deref().is_some_and(named)
            || self.hosts.iter().any(|host| matches!(&host.address, HostAddress::Name(name) if named(name)))
    }

    /// The endpoint of the database `name`: the parts are already decoded, so a name cannot reach beyond its part. `None`
    /// when the name would become part of a host's name and is not a plain label (letters, digits, `-` and `_`).
    pub fn for_database(&self, name: &str) -> Option<Endpoint> {
        let mut endpoint = self.clone();
        for host in &mut endpoint.hosts {
            if let HostAddress::Name(host) = &mut host.address
                && host.contains(NAME)
            {
                is_label(name).then_some(())?;
                *host = host.replace(NAME, name);
            }
        }
        endpoint.database = endpoint.database.replace(NAME, name);
        endpoint.user = endpoint.user.replace(NAME, name);
        endpoint.schema = endpoint.schema.map(|schema| schema.replace(NAME, name));
        Some(endpoint)
    }

    /// The value that `search_path` has to have, if the URL says anything about it.
    pub fn search_path_setting(&self) -> Option<String> {
        match &self.schema {
            Some(schema) => Some(format!("\"{}\"", schema.replace('"', "\"\""))),
            None => self.search_path.clone(),
        }
    }
}

fn is_label(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 63
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}
