//! A connection's beginning: packets before login, TLS, who the client is, where it goes; then its session.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use crate::audit::{Desk, Event, LoginFailure, Record, SessionFields, SessionIdentity};
use crate::auth::{certificate, scram};
use crate::config::{Config, EndpointKind};
use crate::decision::door::Admission;
use crate::decision::is_utf8;
use crate::session::{Limits, Session, Settings};
use crate::wire::report::Report;
use crate::wire::startup::{self as packets, Packet, Version};
use crate::wire::{HEADER_BYTES, Peek, frontend, peek, write};

use super::cancel::Target;
use super::control::{Control, Identity};
use super::driver::{Driver, End, MessageLimits, Parts};
use super::fitness::Wanted;
use super::gate::{Counted, Ticket};
use super::listener::Shared;
use super::records::{AuditIds, Recorder};
use super::startup;
use super::stream::Stream;
use super::timers::Timers;
use super::upstream::Upstream;

/// The first byte of a TLS handshake record: TLS without an SSLRequest.
const TLS_HANDSHAKE: u8 = 0x16;
/// Largest SASL message a client may send.
const SASL_BYTES: usize = 16 << 10;
/// Secret bytes of a cancel key in protocol 3.0 and 3.2.
const SECRET_BYTES: (usize, usize) = (4, 32);

/// A connection that has not logged in.
struct Hello<'a> {
    stream: Stream,
    buffer: BytesMut,
    peer: SocketAddr,
    shared: &'a Arc<Shared>,
    desk: Desk,
    config: Arc<Config>,
    user: String,
    database: String,
    login: &'static str,
    channel: scram::Channel,
}

/// Why a connection ends before it has a session.
enum Reject {
    /// Nothing to say: the client went away, or only asked to cancel.
    Silent,
    /// This error, and this class in the record.
    Told(LoginFailure, Box<Report>),
}

impl From<std::io::Error> for Reject {
    fn from(_: std::io::Error) -> Reject {
        Reject::Silent
    }
}

/// Why an endpoint cannot be used, and whether another one may do instead.
struct Unusable {
    reject: Reject,
    /// It did not answer, or not yet.
    unreachable: bool,
}

impl From<Reject> for Unusable {
    fn from(reject: Reject) -> Unusable {
        Unusable { reject, unreachable: false }
    }
}

fn told(class: LoginFailure, sqlstate: &'static str, message: impl Into<String>) -> Reject {
    Reject::Told(class, Box::new(Report::fatal(sqlstate, message)))
}

/// A session that is about to begin.
pub struct Admitted {
    driver: Driver,
    ticket: Ticket,
}

impl Admitted {
    /// Runs it to its end.
    pub async fn run(self) {
        let Admitted { driver, ticket } = self;
        let end = driver.run().await;
        drop(ticket);
        if let End::Ended(reason, _) = end {
            metrics::counter!("pgwarden_sessions_ended_total", "reason" => reason).increment(1);
        }
    }
}

/// Logs one connection in; `None` when there will be no session.
pub async fn connection(
    tcp: TcpStream,
    peer: SocketAddr,
    shared: &Arc<Shared>,
    desk: Desk,
    accepted: Instant,
) -> Option<Admitted> {
    let config = shared.door.config();
    let deadline = config.limits.startup_timeout;
    let mut hello = Hello {
        stream: Stream::Tcp(tcp),
        buffer: BytesMut::new(),
        peer,
        shared,
        desk,
        config,
        user: String::new(),
        database: String::new(),
        login: "",
        channel: scram::Channel { end_point: None },
    };
    let result = tokio::time::timeout(deadline, hello.begin()).await;
    let result =
        result.unwrap_or_else(|_| Err(told(LoginFailure::Timeout, "08P01", "pgwarden: the login took too long")));
    let (admission, version, parameters) = match result {
        Ok(proven) => proven,
        Err(reject) => {
            hello.reject(reject).await;
            return None;
        }
    };
    match hello.open(admission, version, parameters, accepted).await {
        Ok((driver, ticket)) => Some(Admitted { driver, ticket }),
        Err((hello, reject)) => {
            hello.reject(reject).await;
            None
        }
    }
}

/// Where a client leads that proved who it is, and what it asked for.
type Proven = (Admission, Version, Vec<(String, String)>);

impl<'a> Hello<'a> {
    /// From the first byte to a client that proved who it is and may be here.
    async fn begin(&mut self) -> Result<Proven, Reject> {
        if self.first_byte().await? == TLS_HANDSHAKE {
            self.direct_tls().await?;
        }
        let (version, parameters) = self.startup().await?;
        let given = |wanted: &str| parameters.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.clone());
        self.user = given("user").filter(|user| !user.is_empty()).ok_or_else(|| {
            told(LoginFailure::Protocol, "28000", "no PostgreSQL user name specified in startup packet")
        })?;
        self.database = given("database").filter(|name| !name.is_empty()).unwrap_or_else(|| self.user.clone());
        self.check_open()?;
        self.authenticate().await?;
        let admission = self.admit()?;
        let parameters = startup::judge(&parameters, &admission.scope)
            .map_err(|report| Reject::Told(LoginFailure::StartupParameter, Box::new(report)))?;
        Ok((admission, version, parameters))
    }

    fn tcp(&mut self) -> Result<&mut TcpStream, Reject> {
        match &mut self.stream {
            Stream::Tcp(tcp) => Ok(tcp),
            Stream::Unix(_) | Stream::Accepted(_) | Stream::Connected(_) => Err(Reject::Silent),
        }
    }

    async fn first_byte(&mut self) -> Result<u8, Reject> {
        let mut first = [0u8; 1];
        match self.tcp()?.peek(&mut first).await? {
            0 => Err(Reject::Silent),
            _ => Ok(first.first().copied().unwrap_or(0)),
        }
    }

    async fn direct_tls(&mut self) -> Result<(), Reject> {
        self.accept_tls().await?;
        let named = match &self.stream {
            Stream::Accepted(stream) => stream.get_ref().1.alpn_protocol() == Some(super::tls::ALPN),
            _ => false,
        };
        if named {
            return Ok(());
        }
        Err(told(
            LoginFailure::Protocol,
            "08P01",
            "received direct SSL connection request without ALPN protocol negotiation extension",
        ))
    }

    async fn accept_tls(&mut self) -> Result<(), Reject> {
        let Some(tls) = self.shared.tls.load_full() else { return Err(Reject::Silent) };
        let placeholder = Stream::Unix(tokio::net::UnixStream::pair().map_err(Reject::from)?.0);
        let Stream::Tcp(tcp) = std::mem::replace(&mut self.stream, placeholder) else { return Err(Reject::Silent) };
        let stream = TlsAcceptor::from(Arc::clone(&tls.config)).accept(tcp).await.map_err(|error| {
            tracing::info!(peer = %self.peer, %error, "a TLS handshake failed");
            Reject::Silent
        })?;
        self.channel.end_point.clone_from(&tls.end_point);
        self.stream = Stream::Accepted(Box::new(stream));
        Ok(())
    }

    /// Packets up to the startup packet.
    async fn startup(&mut self) -> Result<(Version, Vec<(String, String)>), Reject> {
        let mut encryption_asked = (false, false);
        loop {
            let packet = self.packet().await?;
            let read = packets::read(&packet).map_err(|bad| told(LoginFailure::Protocol, "08P01", bad.to_string()))?;
            match read {
                Packet::Ssl if !encryption_asked.0 => {
                    encryption_asked.0 = true;
                    self.answer_ssl().await?;
                }
                Packet::Gssenc if !encryption_asked.1 => {
                    encryption_asked.1 = true;
                    self.refuse_early_bytes()?;
                    self.send(b"N").await?;
                }
                Packet::Ssl | Packet::Gssenc => {
                    return Err(told(LoginFailure::Protocol, "08P01", "encryption was asked for twice"));
                }
                Packet::Cancel { pid, secret } => {
                    self.cancel(pid, secret).await;
                    return Err(Reject::Silent);
                }
                Packet::Startup { version, parameters } => {
                    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
                    let parameters: Vec<(String, String)> = parameters.iter().map(owned).collect();
                    self.require_tls()?;
                    return Ok((self.negotiate(version, &parameters).await?, parameters));
                }
            }
        }
    }

    async fn answer_ssl(&mut self) -> Result<(), Reject> {
        self.refuse_early_bytes()?;
        if self.shared.tls.load().is_none() || self.stream.is_tls() {
            return self.send(b"N").await;
        }
        self.send(b"S").await?;
        self.accept_tls().await
    }

    /// Bytes sent in clear before the answer to an encryption request may be somebody else's.
    fn refuse_early_bytes(&mut self) -> Result<(), Reject> {
        let mut early = [0u8; 1];
        let waiting = match &self.stream {
            Stream::Tcp(tcp) => tcp.try_read(&mut early).is_ok_and(|count| count > 0),
            Stream::Unix(_) | Stream::Accepted(_) | Stream::Connected(_) => false,
        };
        if waiting || !self.buffer.is_empty() {
            return Err(told(LoginFailure::Protocol, "08P01", "received unencrypted data after SSL request"));
        }
        Ok(())
    }

    fn require_tls(&self) -> Result<(), Reject> {
        let required = self.config.listen.tls.as_ref().is_some_and(|tls| tls.required);
        if required && !self.stream.is_tls() {
            return Err(told(LoginFailure::TlsRequired, "28000", "pgwarden: TLS is required (sslmode=require)"));
        }
        Ok(())
    }

    /// Answers a newer minor version, or options that are not known, with what we speak.
    async fn negotiate(&mut self, asked: Version, parameters: &[(String, String)]) -> Result<Version, Reject> {
        let version = if asked.minor() >= 2 { Version::V3_2 } else { Version::V3_0 };
        let unknown: Vec<&str> =
            parameters.iter().map(|(name, _)| name.as_str()).filter(|name| name.starts_with("_pq_.")).collect();
        if asked != version || !unknown.is_empty() {
            let mut out = BytesMut::new();
            packets::write_negotiate(&mut out, version, &unknown);
            self.send(&out).await?;
        }
        Ok(version)
    }

    fn check_open(&self) -> Result<(), Reject> {
        if self.shared.draining.load(Ordering::Relaxed) {
            return Err(told(LoginFailure::Unavailable, "57P03", "pgwarden is shutting down"));
        }
        let limits = &self.config.limits;
        if self.shared.connections.load(Ordering::Relaxed) > limits.connections {
            return Err(told(LoginFailure::TooManyConnections, "53300", "pgwarden: sorry, too many clients already"));
        }
        let now = Instant::now();
        if !self.shared.throttle.allows(self.peer.ip(), &self.user, limits.login_failures, now) {
            let text =
                format!("pgwarden: too many failed logins of user \"{}\" from this address; wait a minute", self.user);
            return Err(told(LoginFailure::Throttled, "28000", text));
        }
        Ok(())
    }

    // ----- who it is -----

    async fn authenticate(&mut self) -> Result<(), Reject> {
        let config = Arc::clone(&self.config);
        let user = config.users.get(&self.user);
        let shown = self.stream.peer_certificate().and_then(certificate::common_name);
        if user.is_some() && shown.as_deref() == Some(self.user.as_str()) {
            self.login = "certificate";
            return Ok(());
        }
        let known = user.and_then(|user| user.verifier.clone());
        let class = if known.is_some() { LoginFailure::WrongPassword } else { LoginFailure::UnknownUser };
        let verifier = known.clone().unwrap_or_else(|| scram::mock(&self.shared.mock_secret, &self.user));
        match self.scram(verifier, known.is_some()).await {
            Ok(()) => {
                self.shared.throttle.succeeded(self.peer.ip(), &self.user);
                Ok(())
            }
            Err(Ok(reject)) => Err(reject),
            Err(Err(failure)) => {
                self.shared.throttle.failed(self.peer.ip(), &self.user, Instant::now());
                Err(self.scram_failed(failure, class))
            }
        }
    }

    fn scram_failed(&self, failure: scram::Failure, class: LoginFailure) -> Reject {
        match failure {
            scram::Failure::Password => {
                let text = format!("password authentication failed for user \"{}\"", self.user);
                told(class, "28P01", text)
            }
            scram::Failure::Malformed | scram::Failure::ChannelBinding => {
                told(LoginFailure::Protocol, "08P01", failure.to_string())
            }
            scram::Failure::Random => told(LoginFailure::Unavailable, "XX000", failure.to_string()),
        }
    }

    async fn scram(
        &mut self,
        verifier: crate::config::Verifier,
        known: bool,
    ) -> Result<(), Result<Reject, scram::Failure>> {
        let mut offer = Vec::new();
        if self.channel.end_point.is_some() {
            offer.extend_from_slice(scram::SHA_256_PLUS.as_bytes());
            offer.push(0);
        }
        offer.extend_from_slice(scram::SHA_256.as_bytes());
        offer.extend_from_slice(b"\0\0");
        self.request(10, &offer).await.map_err(Ok)?;
        let first = self.password_message().await.map_err(Ok)?;
        let (mechanism, data) = scram::initial_response(&first).ok_or(Err(scram::Failure::Malformed))?;
        self.login = if mechanism == scram::SHA_256_PLUS { "scram-sha-256-plus" } else { "scram-sha-256" };
        let (challenge, next) = scram::first(data, mechanism, &self.channel, verifier, known).map_err(Err)?;
        self.request(11, challenge.as_bytes()).await.map_err(Ok)?;
        let proof = self.password_message().await.map_err(Ok)?;
        let last = next.finish(&proof).map_err(Err)?;
        self.request(12, last.as_bytes()).await.map_err(Ok)
    }

    async fn request(&mut self, code: i32, data: &[u8]) -> Result<(), Reject> {
        let mut out = BytesMut::new();
        write::authentication(&mut out, code, data);
        self.send(&out).await
    }

    async fn password_message(&mut self) -> Result<BytesMut, Reject> {
        loop {
            match peek(&self.buffer) {
                Peek::Header(header) if header.tag != frontend::tag::PASSWORD || header.body_bytes > SASL_BYTES => {
                    return Err(told(LoginFailure::Protocol, "08P01", "expected a SASL response"));
                }
                Peek::Header(header) if self.buffer.len() >= header.message_bytes() => {
                    let mut message = self.buffer.split_to(header.message_bytes());
                    message.advance(HEADER_BYTES);
                    return Ok(message);
                }
                Peek::Header(_) | Peek::Partial => self.read_some().await?,
                Peek::Bad => return Err(told(LoginFailure::Protocol, "08P01", "invalid message length")),
            }
        }
    }

    /// The user proved who it is; now it is told what it may not have.
    fn admit(&self) -> Result<Admission, Reject> {
        if let Some(admission) = self.shared.door.admit(&self.user, &self.database) {
            return Ok(admission);
        }
        if self.config.database(&self.database).is_none() {
            let text = format!("database \"{}\" does not exist", self.database);
            return Err(told(LoginFailure::UnknownDatabase, "3D000", text));
        }
        let text = format!(
            "pgwarden: user \"{}\" has no role in the environment of database \"{}\"",
            self.user, self.database
        );
        let report = Report::fatal("28000", text)
            .hint("Give the user a role there: `roles = { environment = \"role\" }` under `[[users]]`.");
        Err(Reject::Told(LoginFailure::NoRole, Box::new(report)))
    }

    // ----- where it goes -----

    /// Opens the endpoint, tells the client that it is in, and puts the session together.
    async fn open(
        mut self,
        admission: Admission,
        version: Version,
        parameters: Vec<(String, String)>,
        accepted: Instant,
    ) -> Result<(Driver, Ticket), (Hello<'a>, Reject)> {
        let doubtful = admission.access.endpoint_url.options.is_some() || parameters.iter().any(sets_lock_timeout);
        let (admission, control, ticket, upstream) = match self.reach(admission, parameters).await {
            Ok(reached) => reached,
            Err(reject) => return Err((self, reject)),
        };
        let fields = self.fields(&admission, &control);
        let mut records = vec![Record::new(
            self.shared.audit.next_id(),
            Some(fields.clone()),
            Event::Login {
                policy: Arc::clone(admission.scope.policy_name()),
                generation: admission.scope.generation(),
            },
        )];
        if let Err(unwritable) = self.shared.audit.accept(&mut records) {
            let reject = told(LoginFailure::Unavailable, unwritable.sqlstate(), format!("pgwarden: {unwritable}"));
            return Err((self, reject));
        }
        metrics::counter!("pgwarden_logins_total", "result" => "ok").increment(1);
        metrics::histogram!("pgwarden_login_seconds").record(accepted.elapsed().as_secs_f64());
        let mut driver = self.session(admission, version, control, fields, upstream);
        if doubtful {
            driver.session.doubt_lock_timeout();
        }
        Ok((driver, ticket))
    }

    /// Opens the role's endpoint or, where that cannot be reached, its fallback.
    async fn reach(
        &mut self,
        mut admission: Admission,
        parameters: Vec<(String, String)>,
    ) -> Result<(Admission, Arc<Control>, Ticket, Upstream), Reject> {
        loop {
            let control = Arc::new(Control::new(self.identity(&admission, &parameters)));
            let ticket = self.enter(&control, &admission)?;
            match self.connect(&admission, parameters.clone()).await {
                Ok(upstream) => return Ok((admission, control, ticket, upstream)),
                Err(Unusable { reject, unreachable }) => {
                    let Some((kind, endpoint)) = admission.access.fallback.take().filter(|_| unreachable) else {
                        return Err(reject);
                    };
                    let (from, to) = (admission.access.endpoint.name(), kind.name());
                    tracing::warn!(database = %admission.access.database, from, to, "the session falls back to another endpoint");
                    metrics::counter!("pgwarden_endpoint_fallbacks_total", "from" => from, "to" => to).increment(1);
                    admission.access.endpoint = kind;
                    admission.access.endpoint_url = endpoint;
                }
            }
        }
    }

    fn identity(&self, admission: &Admission, parameters: &[(String, String)]) -> Identity {
        let access = &admission.access;
        let application =
            parameters.iter().find(|(name, _)| name == "application_name").map(|(_, value)| value.clone());
        Identity {
            session: Arc::from(self.shared.audit.next_id().to_string()),
            user: access.user.clone(),
            role: access.role.clone(),
            environment: access.environment.clone(),
            database: access.database.clone(),
            endpoint: access.endpoint.name(),
            client: self.peer,
            application: application.unwrap_or_default(),
        }
    }

    fn fields(&self, admission: &Admission, control: &Control) -> SessionFields {
        let access = &admission.access;
        SessionFields::new(&SessionIdentity {
            session: &control.identity.session,
            user: &access.user,
            role: &access.role,
            environment: &access.environment,
            database: &access.database,
            endpoint: access.endpoint.name(),
            client: &self.peer.to_string(),
            tls: self.stream.tls_version().unwrap_or_default(),
            login: self.login,
            application: &control.identity.application,
        })
    }

    fn enter(&self, control: &Arc<Control>, admission: &Admission) -> Result<Ticket, Reject> {
        let limits = &self.config.limits;
        let access = &admission.access;
        let mut counted = vec![
            Counted { what: format!("user \"{}\"", access.user), limit: limits.connections_per_user },
            Counted { what: format!("database \"{}\"", access.database), limit: limits.connections_per_database },
        ];
        if let Some(limit) = access.endpoint_url.connection_limit {
            let what = format!("the {} endpoint of database \"{}\"", access.endpoint.name(), access.database);
            counted.push(Counted { what, limit: usize::try_from(limit).unwrap_or(usize::MAX) });
        }
        self.shared.gate.enter(Arc::clone(control), counted).map_err(|full| {
            let text = format!("pgwarden: too many connections for {}: the limit is {}", full.what, full.limit);
            told(LoginFailure::TooManyConnections, "53300", text)
        })
    }

    async fn connect(
        &mut self,
        admission: &Admission,
        parameters: Vec<(String, String)>,
    ) -> Result<Upstream, Unusable> {
        let access = &admission.access;
        let limits = &self.config.limits;
        let endpoint = &access.endpoint_url;
        let mut parameters = with_defaults(parameters, endpoint);
        if let Some(lock_timeout) = admission.scope.policy().limits.lock_timeout.filter(|_| !is_pooled(access)) {
            // Before the client's own, which may set it anew: it is the session's default, as RESET finds it.
            add_option(&mut parameters, &format!("-c lock_timeout={}", lock_timeout.as_millis()));
        }
        let timeout = endpoint.connect_timeout.unwrap_or(limits.connect_timeout);
        let began = Instant::now();
        let mut tries = 0;
        let connected = loop {
            match self.shared.connector.connect(endpoint, &parameters, timeout).await {
                Err(error) if error.is_passing() && tries < limits.connect_retries => {
                    tries += 1;
                    tokio::time::sleep(Duration::from_millis(100 << tries.min(5))).await;
                }
                done => break done,
            }
        };
        metrics::histogram!("pgwarden_upstream_connect_seconds", "endpoint" => access.endpoint.name())
            .record(began.elapsed().as_secs_f64());
        let mut upstream = connected.map_err(|error| {
            let what = format!("the {} endpoint of database \"{}\"", access.endpoint.name(), access.database);
            tracing::warn!(%error, "{what} cannot be used");
            let report = Report::fatal(error.sqlstate(), format!("pgwarden: {what} cannot be used: {error}"));
            let reject = Reject::Told(LoginFailure::Endpoint, Box::new(report));
            Unusable { reject, unreachable: error.is_passing() }
        })?;
        let wanted = self.wanted(admission, &upstream);
        let found = match wanted.check(&mut upstream, timeout).await {
            Ok(()) => believable(&upstream),
            wrong => wrong,
        };
        self.note(admission, &upstream, &wanted, found.as_ref().err());
        if let Err(reason) = found {
            let text = format!(
                "pgwarden: the {} endpoint of database \"{}\" {reason}",
                access.endpoint.name(),
                access.database
            );
            tracing::error!("{text}");
            return Err(told(LoginFailure::Endpoint, "08004", text).into());
        }
        Ok(upstream)
    }

    /// What is to be asked of an endpoint that answered, beside what is known of it. A hold that a grant lifts comes back.
    fn wanted(&self, admission: &Admission, upstream: &Upstream) -> Wanted {
        let access = &admission.access;
        let policy = admission.scope.policy();
        let limited = policy.limits.max_affected_rows.is_some() || policy.limits.lock_timeout.is_some();
        let held = policy.holds_read_only() || (limited && !policy.observe);
        let (what, host) = place(access, upstream);
        Wanted {
            expect: access.expect.clone(),
            standby: access.standby && access.endpoint == EndpointKind::Replica,
            hold: held && !self.shared.findings.is_fit(&what, &host, admission.scope.generation()),
        }
    }

    /// Keeps what was found, for the next session and for `/readyz`.
    fn note(&self, admission: &Admission, upstream: &Upstream, wanted: &Wanted, wrong: Option<&String>) {
        let access = &admission.access;
        if wanted.hold && wrong.is_none() {
            let (what, host) = place(access, upstream);
            self.shared.findings.fits(&what, &host, admission.scope.generation());
        }
        let name = self.config.database(&access.database).map(|found| found.database.name.as_str());
        let wrong = wrong.map(|reason| (wanted.clone(), reason.clone()));
        self.shared.findings.note(name.unwrap_or(&access.database), access.endpoint.name(), wrong);
    }

    fn session(
        self,
        admission: Admission,
        version: Version,
        control: Arc<Control>,
        fields: SessionFields,
        upstream: Upstream,
    ) -> Driver {
        let limits = &self.config.limits;
        let access = &admission.access;
        let policy = admission.scope.policy();
        let settings = Settings {
            ids: Arc::new(AuditIds(self.shared.audit.clone())),
            pooled: is_pooled(access),
            transaction_pooler: access.endpoint_url.pgbouncer,
            limits: Limits {
                statements: limits.prepared_statements,
                statement_bytes: limits.prepared_statement_bytes,
                portals: limits.portals,
                ..Limits::default()
            },
        };
        let mut session = Session::new(settings, admission.scope.holds_read_only());
        session.called(&control.identity.application);
        self.welcome(version, &control, &upstream, &mut session);
        let shared = self.shared;
        let watch = admission.scope.cell().map(|cell| shared.catalogs.watch(cell, &shared.door, &shared.connector));
        let timers = Timers::new(&policy.limits, Instant::now());
        Driver::new(Parts {
            client: (self.stream, self.buffer),
            server: (upstream.stream, upstream.rest),
            session,
            door: Arc::clone(&self.shared.door),
            user: access.user.clone(),
            database: access.database.clone(),
            scope: Arc::clone(&admission.scope),
            limits: MessageLimits { statement_bytes: limits.statement_bytes, message_bytes: limits.message_bytes },
            recorder: Recorder::new(self.desk, Arc::clone(&control), fields, access.person),
            control,
            timers,
            watch,
        })
    }

    /// What a server sends when a client is in.
    fn welcome(&self, version: Version, control: &Arc<Control>, upstream: &Upstream, session: &mut Session) {
        let out = &mut session.out.to_client;
        write::authentication(out, 0, &[]);
        out.extend_from_slice(&upstream.notices);
        for (name, value) in &upstream.parameters {
            write::parameter(out, name, value);
        }
        if let Some((pid, secret)) = &upstream.key {
            let target = Target {
                address: upstream.address.clone(),
                pid: *pid,
                secret: secret.clone(),
                session: Arc::clone(&control.identity.session),
            };
            let bytes = if version == Version::V3_2 { SECRET_BYTES.1 } else { SECRET_BYTES.0 };
            if let Some(entry) = self.shared.cancels.enter(target.clone(), bytes) {
                let (pid, secret) = entry.key();
                write::key_data(out, pid, secret);
                control.set_target(target, self.shared.connector.clone(), entry);
            }
        }
        write::ready(out, crate::wire::backend::Status::Idle);
    }

    // ----- odds and ends -----

    async fn cancel(&mut self, pid: i32, secret: &[u8]) {
        let found = self.shared.cancels.find(pid, secret);
        let (target, result) = match &found {
            None => (None, "no such session"),
            Some(target) => {
                let sent = target.cancel(&self.shared.connector).await;
                let result = if sent.is_ok() { "sent" } else { "the endpoint could not be asked" };
                (Some(target.session.to_string()), result)
            }
        };
        let fields = SessionFields::new(&SessionIdentity { client: &self.peer.to_string(), ..Default::default() });
        let event = Event::Cancel { target, result: result.into() };
        self.shared.audit.defer(Record::new(self.shared.audit.next_id(), Some(fields), event));
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), Reject> {
        self.stream.write_all(bytes).await?;
        Ok(self.stream.flush().await?)
    }

    async fn read_some(&mut self) -> Result<(), Reject> {
        self.buffer.reserve(1024);
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(Reject::Silent),
            _ => Ok(()),
        }
    }

    /// Reads one packet, and not a byte beyond it: what follows may be TLS.
    async fn packet(&mut self) -> Result<BytesMut, Reject> {
        let limit = self.config.limits.startup_bytes;
        let mut packet = BytesMut::zeroed(4);
        self.stream.read_exact(&mut packet).await?;
        let bad = |bad: packets::BadPacket| told(LoginFailure::Protocol, "08P01", bad.to_string());
        let bytes = packets::packet_bytes(&packet, limit).map_err(bad)?.unwrap_or(4);
        packet.resize(bytes, 0);
        self.stream.read_exact(packet.get_mut(4..).unwrap_or_default()).await?;
        Ok(packet)
    }

    /// Records why, tells the client, and closes.
    async fn reject(mut self, reject: Reject) {
        let Reject::Told(reason, report) = reject else { return };
        metrics::counter!("pgwarden_logins_total", "result" => reason.word()).increment(1);
        let fields = SessionFields::new(&SessionIdentity {
            user: &self.user,
            database: &self.database,
            client: &self.peer.to_string(),
            tls: self.stream.tls_version().unwrap_or_default(),
            login: self.login,
            ..Default::default()
        });
        let event = Event::LoginFailed { reason, message: Some(report.message.clone()) };
        let mut records = vec![Record::new(self.shared.audit.next_id(), Some(fields), event)];
        if self.shared.audit.accept(&mut records).is_err() {
            tracing::error!(peer = %self.peer, user = %self.user, reason = reason.word(), "a failed login could not be recorded");
        }
        let mut out = BytesMut::new();
        report.write(&mut out);
        let goodbye = async {
            let _ = self.send(&out).await;
            let _ = self.stream.shutdown().await;
        };
        let _ = tokio::time::timeout(Duration::from_secs(2), goodbye).await;
    }
}

/// The endpoint's own wishes, where the client has none.
fn with_defaults(mut parameters: Vec<(String, String)>, endpoint: &crate::config::Endpoint) -> Vec<(String, String)> {
    let has = |parameters: &[(String, String)], wanted: &str| parameters.iter().any(|(name, _)| name == wanted);
    if let Some(name) = endpoint.application_name.as_ref().filter(|_| !has(&parameters, "application_name")) {
        parameters.push(("application_name".to_owned(), name.clone()));
    }
    if let Some(own) = &endpoint.options {
        add_option(&mut parameters, own);
    }
    parameters
}

/// Whether a startup parameter may set `lock_timeout`.
fn sets_lock_timeout((name, _): &(String, String)) -> bool {
    name.eq_ignore_ascii_case("options") || name.eq_ignore_ascii_case("lock_timeout")
}

/// Puts startup options in front of those that are there.
fn add_option(parameters: &mut Vec<(String, String)>, option: &str) {
    match parameters.iter_mut().find(|(name, _)| name == "options") {
        Some((_, given)) => *given = format!("{option} {given}"),
        None => parameters.push(("options".to_owned(), option.to_owned())),
    }
}

/// Settings under which a text would be read otherwise than it was judged.
fn believable(upstream: &Upstream) -> Result<(), String> {
    for (name, value) in &upstream.parameters {
        let misleading = match name.as_str() {
            "standard_conforming_strings" => value != "on",
            "client_encoding" => !is_utf8(value),
            _ => false,
        };
        if misleading {
            return Err(format!("has {name} = {value}, under which statements would be read otherwise"));
        }
    }
    Ok(())
}

/// An endpoint and its host, as findings name them.
fn place(access: &crate::config::Access, upstream: &Upstream) -> (String, String) {
    (format!("{} {}", access.endpoint.name(), access.database), upstream.address.host.to_string())
}

/// Whether each transaction may run on another server connection.
fn is_pooled(access: &crate::config::Access) -> bool {
    access.endpoint == crate::config::EndpointKind::Pooled || access.endpoint_url.pgbouncer
}
