//! Opening the connection to an endpoint: addresses, TLS, login, and what the server says of itself.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramSha256};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use crate::auth::certificate;
use crate::config::endpoint::{
    ChannelBinding as Binding, Endpoint, Host, HostAddress, RootCertificates, SslMode, SslNegotiation,
    TargetSessionAttrs,
};
use crate::wire::backend::{self, Authentication, Status, tag};
use crate::wire::{HEADER_BYTES, Peek, peek, report, startup, write};

use super::stream::Stream;
use super::tls::{self, Trust};

/// Largest message a server may send before it is ready.
const LOGIN_BYTES: usize = 1 << 20;
/// How long a goodbye may take.
const GOODBYE: Duration = Duration::from_secs(2);

/// Why an endpoint could not be used.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ConnectError {
    /// No connection.
    #[error("{host}: {reason}")]
    Unreachable {
        /// Host and port.
        host: String,
        /// What the system said.
        reason: String,
    },
    /// TLS was required and could not be had or believed.
    #[error("{host}: TLS: {reason}")]
    Tls {
        /// Host and port.
        host: String,
        /// Why.
        reason: String,
    },
    /// The server answered with an error.
    #[error("{host}: the server said: {message}")]
    Refused {
        /// Host and port.
        host: String,
        /// SQLSTATE.
        sqlstate: String,
        /// The server's message.
        message: String,
    },
    /// The server asks for something that the endpoint's URL does not allow.
    #[error("{host}: {reason}")]
    Login {
        /// Host and port.
        host: String,
        /// What it asks for.
        reason: String,
    },
    /// The server is not what `target_session_attrs` asks for.
    #[error("{host}: {reason}")]
    Unfit {
        /// Host and port.
        host: String,
        /// What it is.
        reason: String,
    },
    /// It took too long.
    #[error("no answer within {} s", .0.as_secs())]
    Timeout(Duration),
}

impl ConnectError {
    /// Whether another try may succeed.
    pub fn is_passing(&self) -> bool {
        match self {
            ConnectError::Unreachable { .. } | ConnectError::Timeout(_) => true,
            ConnectError::Refused { sqlstate, .. } => matches!(sqlstate.as_str(), "57P03" | "53300"),
            ConnectError::Tls { .. } | ConnectError::Login { .. } | ConnectError::Unfit { .. } => false,
        }
    }

    /// The SQLSTATE for the client.
    pub fn sqlstate(&self) -> String {
        match self {
            ConnectError::Refused { sqlstate, .. } if sqlstate.starts_with("53") || sqlstate.starts_with("57") => {
                sqlstate.clone()
            }
            ConnectError::Refused { .. } | ConnectError::Login { .. } | ConnectError::Unfit { .. } => "08004".into(),
            ConnectError::Unreachable { .. } | ConnectError::Tls { .. } | ConnectError::Timeout(_) => "08001".into(),
        }
    }
}

/// One host of an endpoint.
#[derive(Clone, Debug)]
pub struct Address {
    /// The endpoint it belongs to.
    pub endpoint: Arc<Endpoint>,
    /// Which of its hosts.
    pub host: Host,
}

/// A connection on which the server said that it is ready.
#[derive(Debug)]
pub struct Upstream {
    /// The connection.
    pub stream: Stream,
    /// Bytes that came after ReadyForQuery.
    pub rest: BytesMut,
    /// Settings the server reported.
    pub parameters: Vec<(String, String)>,
    /// Notices that came during login, as they came.
    pub notices: BytesMut,
    /// Process id and secret, if the server gave one.
    pub key: Option<(i32, Vec<u8>)>,
    /// Where it is.
    pub address: Address,
}

impl Upstream {
    /// Asks the server for one value: the first column of the first row, `None` where there is no row or it is NULL.
    ///
    /// # Errors
    /// The connection breaks, or the query fails; the reason is for people.
    pub async fn ask(&mut self, query: &str) -> Result<Option<String>, String> {
        self.ask_at_length(query, LOGIN_BYTES).await
    }

    /// The same for an answer of so many bytes at most. Of several statements, the first that gives a row counts.
    ///
    /// # Errors
    /// As [`Upstream::ask`].
    pub async fn ask_at_length(&mut self, query: &str, most: usize) -> Result<Option<String>, String> {
        let mut out = BytesMut::new();
        write::query(&mut out, query.as_bytes());
        let lost = |error: std::io::Error| error.to_string();
        self.stream.write_all(&out).await.map_err(lost)?;
        self.stream.flush().await.map_err(lost)?;
        let mut value = None;
        let mut failure = None;
        loop {
            let (kind, body) = match next_message(&mut self.rest, most)? {
                Some(message) => message,
                None => match self.stream.read_buf(&mut self.rest).await.map_err(lost)? {
                    0 => return Err(failure.unwrap_or_else(|| "the server closed the connection".to_owned())),
                    _ => continue,
                },
            };
            match kind {
                tag::DATA_ROW if value.is_none() => value = backend::first_column(&body).map(str::to_owned),
                tag::ERROR => {
                    let message = report::text(&body, b'M').unwrap_or_default();
                    failure = Some(String::from_utf8_lossy(message).into_owned());
                }
                tag::READY => return failure.map_or(Ok(value), Err),
                _ => {}
            }
        }
    }
}

impl Upstream {
    /// Says goodbye.
    pub async fn leave(mut self) {
        let mut out = BytesMut::new();
        write::terminate(&mut out);
        let goodbye = async {
            let _ = self.stream.write_all(&out).await;
            let _ = self.stream.shutdown().await;
        };
        let _ = tokio::time::timeout(GOODBYE, goodbye).await;
    }
}

/// Splits a whole message off the front of `buffer`, if one is there.
fn next_message(buffer: &mut BytesMut, most: usize) -> Result<Option<(u8, BytesMut)>, String> {
    match peek(buffer) {
        Peek::Header(header) if header.message_bytes() > most => Err("the server's answer is too large".to_owned()),
        Peek::Header(header) if buffer.len() >= header.message_bytes() => {
            let mut message = buffer.split_to(header.message_bytes());
            let body = message.split_off(HEADER_BYTES);
            Ok(Some((header.tag, body)))
        }
        Peek::Header(_) | Peek::Partial => Ok(None),
        Peek::Bad => Err("the server sent something that is not PostgreSQL's protocol".to_owned()),
    }
}

type TlsKey = (Trust, Option<PathBuf>, Option<(PathBuf, PathBuf)>);

/// Opens connections to endpoints; keeps what is slow to build.
#[derive(Clone, Debug, Default)]
pub struct Connector {
    configs: Arc<Mutex<HashMap<TlsKey, Arc<ClientConfig>>>>,
}

impl Connector {
    /// Forgets cached trust, so that changed root files are read again.
    pub fn forget(&self) {
        self.configs.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Opens, encrypts and logs in at the first of the endpoint's hosts that will have us.
    ///
    /// # Errors
    /// None will; the last reason is given.
    pub async fn connect(
        &self,
        endpoint: &Arc<Endpoint>,
        parameters: &[(String, String)],
        timeout: Duration,
    ) -> Result<Upstream, ConnectError> {
        let mut last = ConnectError::Timeout(timeout);
        let mut second = None;
        for host in &endpoint.hosts {
            let address = Address { endpoint: Arc::clone(endpoint), host: host.clone() };
            let tried = tokio::time::timeout(timeout, self.log_in(&address, parameters)).await;
            match tried {
                Ok(Ok(upstream)) => match fit(endpoint.target_session_attrs, &upstream) {
                    Fit::Yes => return Ok(upstream),
                    Fit::IfNoOther => second = second.or(Some(upstream)),
                    Fit::No(reason) => last = ConnectError::Unfit { host: host.to_string(), reason },
                },
                Ok(Err(error)) => last = error,
                Err(_) => last = ConnectError::Timeout(timeout),
            }
        }
        second.ok_or(last)
    }

    /// Opens and encrypts a connection, without logging in.
    ///
    /// # Errors
    /// The host cannot be reached, or TLS cannot be had as the URL demands.
    pub async fn open(&self, address: &Address) -> Result<Stream, ConnectError> {
        let endpoint = &address.endpoint;
        let unreachable = |reason: std::io::Error| ConnectError::Unreachable {
            host: address.host.to_string(),
            reason: reason.to_string(),
        };
        if let Some(path) = address.host.socket() {
            return UnixStream::connect(path).await.map(Stream::Unix).map_err(unreachable);
        }
        let HostAddress::Name(name) = &address.host.address else {
            return Err(unreachable(std::io::ErrorKind::InvalidInput.into()));
        };
        let tcp = TcpStream::connect((name.as_str(), address.host.port)).await.map_err(unreachable)?;
        let _ = tcp.set_nodelay(true);
        match endpoint.sslmode {
            SslMode::Disable | SslMode::Allow => Ok(Stream::Tcp(tcp)),
            mode => self.encrypt(tcp, name, address, mode).await,
        }
    }

    async fn encrypt(
        &self,
        mut tcp: TcpStream,
        name: &str,
        address: &Address,
        mode: SslMode,
    ) -> Result<Stream, ConnectError> {
        let failed = |reason: String| ConnectError::Tls { host: address.host.to_string(), reason };
        if address.endpoint.sslnegotiation == SslNegotiation::Postgres {
            let mut request = BytesMut::new();
            startup::write_ssl_request(&mut request);
            tcp.write_all(&request).await.map_err(|error| failed(error.to_string()))?;
            match tcp.read_u8().await.map_err(|error| failed(error.to_string()))? {
                b'S' => {}
                b'N' if mode == SslMode::Prefer => return Ok(Stream::Tcp(tcp)),
                b'N' => return Err(failed(format!("the server does not offer it, and sslmode is {mode:?}"))),
                _ => return Err(failed("the server answered the request with something else".to_owned())),
            }
        }
        let config = self.tls_config(&address.endpoint, mode).map_err(|error| failed(error.to_string()))?;
        let server = ServerName::try_from(name.to_owned()).map_err(|error| failed(error.to_string()))?;
        let stream =
            TlsConnector::from(config).connect(server, tcp).await.map_err(|error| failed(error.to_string()))?;
        Ok(Stream::Connected(Box::new(stream)))
    }

    fn tls_config(&self, endpoint: &Endpoint, mode: SslMode) -> Result<Arc<ClientConfig>, tls::TlsError> {
        let roots = match &endpoint.sslrootcert {
            RootCertificates::System => None,
            RootCertificates::File(file) => Some(file),
        };
        let trust = match mode {
            SslMode::VerifyFull => Trust::Full,
            SslMode::VerifyCa => Trust::Authority,
            // libpq: a root file turns `require` into `verify-ca`.
            SslMode::Require if roots.is_some() => Trust::Authority,
            SslMode::Require | SslMode::Prefer | SslMode::Allow | SslMode::Disable => Trust::Anyone,
        };
        let identity = endpoint.client_certificate.as_ref().map(|pair| (pair.certificate.clone(), pair.key.clone()));
        let key = (trust, roots.cloned(), identity);
        let mut configs = self.configs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = configs.get(&key) {
            return Ok(Arc::clone(found));
        }
        let identity = key.2.as_ref().map(|(certificate, private)| (certificate.as_path(), private.as_path()));
        let config = Arc::new(tls::client(trust, key.1.as_deref(), identity)?);
        configs.insert(key, Arc::clone(&config));
        Ok(config)
    }

    async fn log_in(&self, address: &Address, parameters: &[(String, String)]) -> Result<Upstream, ConnectError> {
        let stream = self.open(address).await?;
        let mut login = Login { stream, buffer: BytesMut::with_capacity(4096), address };
        login.start(parameters).await?;
        login.authenticate().await?;
        login.until_ready().await
    }
}

enum Fit {
    Yes,
    IfNoOther,
    No(String),
}

/// Whether a server is what `target_session_attrs` asks for, by the settings it reports (PostgreSQL 14 and later).
fn fit(wanted: TargetSessionAttrs, upstream: &Upstream) -> Fit {
    let reports =
        |name: &str| upstream.parameters.iter().find(|(found, _)| found == name).map(|(_, value)| value == "on");
    let standby = reports("in_hot_standby");
    let read_only = reports("default_transaction_read_only").map(|set| set || standby == Some(true));
    let need = |found: Option<bool>, wanted: bool, is_not: &str| match found {
        Some(found) if found == wanted => Fit::Yes,
        Some(_) => Fit::No(format!("the server is {is_not}")),
        None => Fit::No("the server does not report what it is, and target_session_attrs asks".to_owned()),
    };
    match wanted {
        TargetSessionAttrs::Any => Fit::Yes,
        TargetSessionAttrs::ReadWrite => need(read_only, false, "read-only"),
        TargetSessionAttrs::ReadOnly => need(read_only, true, "not read-only"),
        TargetSessionAttrs::Primary => need(standby, false, "a standby"),
        TargetSessionAttrs::Standby => need(standby, true, "not a standby"),
        TargetSessionAttrs::PreferStandby if standby == Some(true) => Fit::Yes,
        TargetSessionAttrs::PreferStandby => Fit::IfNoOther,
    }
}

/// A login at a server, in progress.
struct Login<'a> {
    stream: Stream,
    buffer: BytesMut,
    address: &'a Address,
}

impl Login<'_> {
    fn host(&self) -> String {
        self.address.host.to_string()
    }

    fn refused(&self, body: &[u8]) -> ConnectError {
        let message = report::text(body, b'M').map(|text| String::from_utf8_lossy(text).into_owned());
        ConnectError::Refused {
            host: self.host(),
            sqlstate: report::sqlstate(body).to_owned(),
            message: message.unwrap_or_default(),
        }
    }

    fn odd(&self, reason: impl Into<String>) -> ConnectError {
        ConnectError::Login { host: self.host(), reason: reason.into() }
    }

    async fn start(&mut self, parameters: &[(String, String)]) -> Result<(), ConnectError> {
        let endpoint = &self.address.endpoint;
        let own = [("user", endpoint.user.as_str()), ("database", endpoint.database.as_str())];
        let given = parameters.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let mut packet = BytesMut::new();
        startup::write_startup(&mut packet, startup::Version::V3_0, own.into_iter().chain(given));
        self.send(&packet).await
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), ConnectError> {
        let written = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        written.await.map_err(|reason| self.lost(&reason))
    }

    fn lost(&self, reason: &std::io::Error) -> ConnectError {
        ConnectError::Unreachable { host: self.host(), reason: reason.to_string() }
    }

    async fn answer(&mut self, data: &[u8]) -> Result<(), ConnectError> {
        let mut packet = BytesMut::new();
        write::password(&mut packet, data);
        self.send(&packet).await
    }

    /// Reads one whole message.
    async fn message(&mut self) -> Result<(u8, BytesMut), ConnectError> {
        loop {
            if let Some(message) = next_message(&mut self.buffer, LOGIN_BYTES).map_err(|reason| self.odd(reason))? {
                return Ok(message);
            }
            match self.stream.read_buf(&mut self.buffer).await {
                Ok(0) => return Err(self.lost(&std::io::Error::other("the server closed the connection"))),
                Ok(_) => {}
                Err(error) => return Err(self.lost(&error)),
            }
        }
    }

    async fn authenticate(&mut self) -> Result<(), ConnectError> {
        let mut bound = false;
        loop {
            let (kind, body) = self.message().await?;
            match kind {
                tag::ERROR => return Err(self.refused(&body)),
                tag::NOTICE | tag::NEGOTIATE => continue,
                tag::AUTHENTICATION => {}
                _ => return Err(self.odd("the server did not ask for a login")),
            }
            let asked = backend::authentication(&body).ok_or_else(|| self.odd("malformed authentication request"))?;
            // Whoever is in between would ask for less, or for nothing.
            let binds = bound || matches!(asked, Authentication::Sasl(_));
            if self.address.endpoint.channel_binding == Binding::Require && !binds {
                return Err(self.odd("channel_binding=require, and the server does not bind the login to the channel"));
            }
            match asked {
                Authentication::Ok => return Ok(()),
                Authentication::Cleartext => self.cleartext().await?,
                Authentication::Md5(salt) => {
                    let password = self.password()?;
                    let hash = md5_hash(self.address.endpoint.user.as_bytes(), password.as_bytes(), salt);
                    self.answer(&[hash.as_bytes(), b"\0"].concat()).await?;
                }
                Authentication::Sasl(mechanisms) => {
                    let mechanisms: Vec<String> = mechanisms.into_iter().map(str::to_owned).collect();
                    self.sasl(&mechanisms).await?;
                    bound = true;
                }
                Authentication::SaslContinue(_) | Authentication::SaslFinal(_) => {
                    return Err(self.odd("the server's SASL messages are out of order"));
                }
                Authentication::Other(code) => {
                    return Err(
                        self.odd(format!("the server asks for an authentication (code {code}) that is not supported"))
                    );
                }
            }
        }
    }

    fn password(&self) -> Result<String, ConnectError> {
        match &self.address.endpoint.password {
            Some(password) => Ok(password.expose().to_owned()),
            None => Err(self.odd("the server asks for a password, and the endpoint's URL has none")),
        }
    }

    async fn cleartext(&mut self) -> Result<(), ConnectError> {
        let password = self.password()?;
        let safe = self.stream.is_tls() || matches!(self.stream, Stream::Unix(_));
        if !safe {
            return Err(self.odd("the server asks for the password in clear over an unencrypted connection"));
        }
        self.answer(&[password.as_bytes(), b"\0"].concat()).await
    }

    async fn sasl(&mut self, mechanisms: &[String]) -> Result<(), ConnectError> {
        let password = self.password()?;
        let offers = |name: &str| mechanisms.iter().any(|offered| offered == name);
        let hash = self.stream.peer_certificate().and_then(certificate::end_point_hash);
        let wanted = self.address.endpoint.channel_binding;
        let (mechanism, binding) = match hash {
            Some(hash) if offers(SCRAM_SHA_256_PLUS) && wanted != Binding::Disable => {
                (SCRAM_SHA_256_PLUS, ChannelBinding::tls_server_end_point(hash))
            }
            Some(_) if offers(SCRAM_SHA_256) => (SCRAM_SHA_256, ChannelBinding::unrequested()),
            None if offers(SCRAM_SHA_256) => (SCRAM_SHA_256, ChannelBinding::unsupported()),
            _ => return Err(self.odd("the server offers no SASL mechanism that is supported")),
        };
        if wanted == Binding::Require && mechanism != SCRAM_SHA_256_PLUS {
            return Err(self.odd("channel_binding=require, and the server does not offer it"));
        }
        let mut scram = ScramSha256::new(password.as_bytes(), binding);
        let mut first = BytesMut::new();
        write::c_string(&mut first, mechanism.as_bytes());
        first.extend_from_slice(&i32::try_from(scram.message().len()).unwrap_or(i32::MAX).to_be_bytes());
        first.extend_from_slice(scram.message());
        self.answer(&first).await?;
        let challenge = self.sasl_answer().await?;
        scram.update(&challenge).map_err(|error| self.odd(error.to_string()))?;
        let proof = scram.message().to_vec();
        self.answer(&proof).await?;
        let last = self.sasl_answer().await?;
        scram.finish(&last).map_err(|error| self.odd(format!("the server could not prove itself: {error}")))
    }

    async fn sasl_answer(&mut self) -> Result<Vec<u8>, ConnectError> {
        let (kind, body) = self.message().await?;
        if kind == tag::ERROR {
            return Err(self.refused(&body));
        }
        match backend::authentication(&body).filter(|_| kind == tag::AUTHENTICATION) {
            Some(Authentication::SaslContinue(data) | Authentication::SaslFinal(data)) => Ok(data.to_vec()),
            _ => Err(self.odd("the server's SASL messages are out of order")),
        }
    }

    async fn until_ready(mut self) -> Result<Upstream, ConnectError> {
        let mut parameters = Vec::new();
        let mut notices = BytesMut::new();
        let mut key = None;
        loop {
            let (kind, body) = self.message().await?;
            match kind {
                tag::ERROR => return Err(self.refused(&body)),
                tag::NOTICE => write::message(&mut notices, tag::NOTICE, |out| out.extend_from_slice(&body)),
                tag::PARAMETER_STATUS => {
                    let (name, value) =
                        backend::parameter(&body).ok_or_else(|| self.odd("malformed ParameterStatus"))?;
                    parameters.push((name.to_owned(), value.to_owned()));
                }
                tag::BACKEND_KEY_DATA => {
                    key = backend::key_data(&body).map(|(pid, secret)| (pid, secret.to_vec()));
                }
                tag::READY if Status::of(&body) == Some(Status::Idle) => {
                    let address = self.address.clone();
                    return Ok(Upstream { stream: self.stream, rest: self.buffer, parameters, notices, key, address });
                }
                _ => return Err(self.odd("the server sent something unexpected before it was ready")),
            }
        }
    }
}
