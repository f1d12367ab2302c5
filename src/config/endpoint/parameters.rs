//! What the parameters of a URL mean. Part of the endpoint's room.
//!
//! Four groups, and nothing else is accepted: those that say how to connect; those that only a client library understands
//! (its own pool, its own caches, its own timeouts), which pgwarden ignores because it is not that library; those whose
//! meaning would be lost, which are errors that say where to put it; and the rest, which are errors too.

use std::path::PathBuf;
use std::time::Duration;

use super::super::secret::Secret;
use super::syntax::{Parts, UrlError, checked, port};
use super::{
    ChannelBinding, ClientCertificate, Endpoint, Host, HostAddress, NAME, RootCertificates, SslMode, SslNegotiation,
    TargetSessionAttrs,
};
use crate::suggest::suggestion;

/// Parameters that say how to connect.
const KNOWN: &[&str] = &[
    "ApplicationName",
    "application_name",
    "channel_binding",
    "channelBinding",
    "client_encoding",
    "connect_timeout",
    "connection_limit",
    "currentSchema",
    "dbname",
    "encoding",
    "fallback_application_name",
    "gssencmode",
    "host",
    "options",
    "password",
    "pgbouncer",
    "port",
    "schema",
    "search_path",
    "ssl",
    "sslaccept",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslnegotiation",
    "sslrootcert",
    "target_session_attrs",
    "user",
];

/// Parameters that only a client library understands, by whose they are.
const IGNORED: &[&str] = &[
    // libpq: about its own sockets, or about what pgwarden decides for itself
    "gssdelegation",
    "gsslib",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "krbsrvname",
    "load_balance_hosts",
    "max_protocol_version",
    "min_protocol_version",
    "sslcompression",
    "sslsni",
    "tcp_user_timeout",
    // Prisma
    "max_idle_connection_lifetime",
    "max_connection_lifetime",
    "pool_timeout",
    "single_use_connections",
    "socket_timeout",
    "sslidentity",
    "sslpassword",
    "statement_cache_size",
    // Supabase, Neon, Vercel
    "pool_mode",
    "supa",
    "workaround",
    // JDBC
    "autosave",
    "binaryTransfer",
    "defaultRowFetchSize",
    "loginTimeout",
    "preferQueryMode",
    "prepareThreshold",
    "preparedStatementCacheQueries",
    "preparedStatementCacheSizeMiB",
    "reWriteBatchedInserts",
    "socketTimeout",
    "sslfactory",
    "stringtype",
    "tcpKeepAlive",
    // node-postgres, postgres.js, knex
    "allowExitOnIdle",
    "connectionTimeoutMillis",
    "fetch_types",
    "idle_timeout",
    "idleTimeoutMillis",
    "keepAlive",
    "max",
    "max_lifetime",
    "max_pipeline",
    "min",
    "prepare",
    "uselibpqcompat",
    // pgx, lib/pq
    "binary_parameters",
    "default_query_exec_mode",
    "description_cache_capacity",
    "disable_prepared_binary_result",
    "pool_health_check_period",
    "pool_max_conn_idle_time",
    "pool_max_conn_lifetime",
    "pool_max_conn_lifetime_jitter",
    "pool_max_conns",
    "pool_min_conns",
    "pool_min_idle_conns",
    "statement_cache_capacity",
    "statement_cache_mode",
    // asyncpg, SQLAlchemy, psycopg
    "async_fallback",
    "command_timeout",
    "max_cached_statement_lifetime",
    "max_cacheable_statement_size",
    "max_overflow",
    "max_size",
    "min_size",
    "pool_pre_ping",
    "pool_recycle",
    "pool_size",
    "prepare_threshold",
    "prepared_statement_cache_queries",
    "prepared_statement_cache_size",
    "prepared_statement_name_func",
    // sqlx, Rails, Django
    "statement-cache-capacity",
    "checkout_timeout",
    "conn_max_age",
    "idle_pool_timeout",
    "pool",
    "prepared_statements",
    "reaping_frequency",
];

/// Parameters whose meaning would be lost, and where it belongs.
const UNSUPPORTED: &[(&str, &str)] = &[
    ("hostaddr", "write the address as the host"),
    ("passfile", "take the password from a variable"),
    ("service", "write the URL out"),
    ("servicefile", "write the URL out"),
    ("replication", "replication sessions do not pass through pgwarden"),
    ("require_auth", "pgwarden uses SCRAM where the server offers it; use `sslmode` and `channel_binding`"),
    ("requirepeer", "use a TLS endpoint with `sslmode=verify-full`"),
    ("requiressl", "write `sslmode=require`"),
    ("sslcertmode", "leave `sslcert` and `sslkey` out, or in"),
    ("sslcrl", "revocation lists are not read"),
    ("sslcrldir", "revocation lists are not read"),
    ("sslkeylogfile", "keys are not logged"),
    ("ssl_min_protocol_version", "TLS 1.2 and 1.3 are what is spoken"),
    ("ssl_max_protocol_version", "TLS 1.2 and 1.3 are what is spoken"),
    ("targetServerType", "write `target_session_attrs`"),
    ("readOnly", "set `read_only` in the policy"),
    ("default_transaction_read_only", "set `read_only` in the policy"),
    ("statement_timeout", "set it in the policy"),
    ("query_timeout", "set `statement_timeout` in the policy"),
    ("lock_timeout", "set it in the policy"),
    ("idle_in_transaction_session_timeout", "set `idle_in_transaction_timeout` in the policy"),
    ("transaction_timeout", "set it in the policy"),
];

const SSL_MODES: &[(&str, SslMode)] = &[
    ("disable", SslMode::Disable),
    ("allow", SslMode::Allow),
    ("prefer", SslMode::Prefer),
    ("require", SslMode::Require),
    // node-postgres' name for a connection whose certificate nobody looks at
    ("no-verify", SslMode::Require),
    ("verify-ca", SslMode::VerifyCa),
    ("verify-full", SslMode::VerifyFull),
];

const TARGETS: &[(&str, TargetSessionAttrs)] = &[
    ("any", TargetSessionAttrs::Any),
    ("read-write", TargetSessionAttrs::ReadWrite),
    ("read-only", TargetSessionAttrs::ReadOnly),
    ("primary", TargetSessionAttrs::Primary),
    ("standby", TargetSessionAttrs::Standby),
    ("prefer-standby", TargetSessionAttrs::PreferStandby),
];

const BINDINGS: &[(&str, ChannelBinding)] =
    &[("disable", ChannelBinding::Disable), ("prefer", ChannelBinding::Prefer), ("require", ChannelBinding::Require)];

const NEGOTIATIONS: &[(&str, SslNegotiation)] =
    &[("postgres", SslNegotiation::Postgres), ("direct", SslNegotiation::Direct)];

const SWITCH: &[(&str, bool)] = &[
    ("true", true),
    ("1", true),
    ("yes", true),
    ("on", true),
    ("false", false),
    ("0", false),
    ("no", false),
    ("off", false),
];

/// Makes the endpoint of a URL's parts, or tells everything that is wrong with them.
pub(super) fn endpoint(parts: Parts) -> Result<Endpoint, Vec<UrlError>> {
    let mut reader = Reader { parameters: parts.parameters, errors: Vec::new() };
    reader.check_names();
    let hosts = reader.hosts(&parts.hosts);
    let user = reader.text("user").or(parts.user);
    let password = reader.text("password").or(parts.password);
    let database = reader.text("dbname").or(parts.database);
    if user.is_none() {
        reader.errors.push(UrlError::NoUser);
    }
    let user = user.unwrap_or_default();
    let (sslmode, sslrootcert) = reader.trust();
    let endpoint = Endpoint {
        hosts,
        database: database.unwrap_or_else(|| user.clone()),
        user,
        password: password.map(Secret::new),
        sslmode,
        sslrootcert,
        sslnegotiation: reader.negotiation(sslmode),
        client_certificate: reader.client_certificate(),
        channel_binding: reader.channel_binding(sslmode),
        target_session_attrs: reader.chosen("target_session_attrs", TARGETS).unwrap_or(TargetSessionAttrs::Any),
        pgbouncer: reader.chosen("pgbouncer", SWITCH).unwrap_or(false),
        connection_limit: reader.number("connection_limit").filter(|limit| *limit > 0),
        options: reader.text("options"),
        schema: reader.schema(),
        search_path: reader.text("search_path"),
        application_name: reader.application_name(),
        connect_timeout: reader.connect_timeout(),
    };
    reader.check_values(&endpoint);
    if reader.errors.is_empty() { Ok(endpoint) } else { Err(reader.errors) }
}

struct Reader {
    parameters: Vec<(String, String)>,
    errors: Vec<UrlError>,
}

impl Reader {
    /// Every parameter must be of one of the groups, once.
    fn check_names(&mut self) {
        let mut seen: Vec<&str> = Vec::new();
        let mut errors = Vec::new();
        for (name, _) in &self.parameters {
            match KNOWN.contains(&name.as_str()) || IGNORED.contains(&name.as_str()) {
                true if seen.contains(&name.as_str()) => errors.push(UrlError::Twice(name.clone())),
                true => seen.push(name),
                false => errors.push(stranger(name)),
            }
        }
        self.errors.append(&mut errors);
    }

    fn text(&self, name: &str) -> Option<String> {
        let found = self.parameters.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.clone()).filter(|value| !value.is_empty())
    }

    fn chosen<T: Copy>(&mut self, name: &'static str, words: &'static [(&'static str, T)]) -> Option<T> {
        let text = self.text(name)?;
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            self.errors.push(UrlError::Value(name, expected(name)));
        }
        found
    }

    fn number(&mut self, name: &'static str) -> Option<u32> {
        let text = self.text(name)?;
        let number = text.parse().ok();
        if number.is_none() {
            self.errors.push(UrlError::Value(name, "a whole number"));
        }
        number
    }

    /// `host=` and `port=` win over what stands before the path, each with as many entries as hosts (or one port for all).
    fn hosts(&mut self, written: &[(String, Option<u16>)]) -> Vec<Host> {
        let names = match self.text("host") {
            Some(list) => list.split(',').map(str::to_owned).collect(),
            None => written.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>(),
        };
        if names.is_empty() || names.iter().any(String::is_empty) {
            self.errors.push(UrlError::NoHost);
        }
        if !names.iter().all(|name| checked(name)) {
            self.errors.push(UrlError::Host);
        }
        let ports = self.ports(written, names.len());
        names.into_iter().zip(ports).map(|(name, port)| host(name, port)).collect()
    }

    fn ports(&mut self, written: &[(String, Option<u16>)], hosts: usize) -> Vec<u16> {
        let read: Result<Vec<Option<u16>>, UrlError> = match self.text("port") {
            Some(list) => list.split(',').map(port).collect(),
            None => Ok(written.iter().map(|(_, port)| *port).collect()),
        };
        let ports = read.unwrap_or_else(|error| {
            self.errors.push(error);
            Vec::new()
        });
        let default = |port: &Option<u16>| port.unwrap_or(5432);
        match ports.as_slice() {
            [] => vec![5432; hosts],
            [one] => vec![default(one); hosts],
            many if many.len() == hosts => many.iter().map(default).collect(),
            _ => {
                self.errors.push(UrlError::PortCount);
                Vec::new()
            }
        }
    }

    /// `sslmode` and `sslrootcert` belong together: `system` asks for verify-full (libpq refuses anything weaker), and a file
    /// turns `require` into verify-ca.
    fn trust(&mut self) -> (SslMode, RootCertificates) {
        let written = self.chosen("sslmode", SSL_MODES).or_else(|| self.switched_ssl());
        let written = written.map(|mode| if self.strict() { at_least_verified(mode) } else { mode });
        match self.text("sslrootcert").as_deref() {
            Some("system") if written.is_some_and(|mode| mode < SslMode::VerifyFull) => {
                self.errors.push(UrlError::Contradiction(
                    "has `sslrootcert=system` with an `sslmode` weaker than verify-full",
                ));
                (SslMode::VerifyFull, RootCertificates::System)
            }
            Some("system") => (SslMode::VerifyFull, RootCertificates::System),
            Some(file) => {
                let mode = written.map_or(SslMode::Prefer, with_root_file);
                (mode, RootCertificates::File(PathBuf::from(file)))
            }
            None => (written.unwrap_or(SslMode::Prefer), RootCertificates::System),
        }
    }

    /// `ssl=true`, as JDBC and node-postgres write it, is `sslmode=require` (as in libpq's URLs).
    fn switched_ssl(&mut self) -> Option<SslMode> {
        let on = self.chosen("ssl", SWITCH)?;
        Some(if on { SslMode::Require } else { SslMode::Disable })
    }

    /// Prisma's `sslaccept=strict` asks for a look at the certificate wherever TLS is required.
    fn strict(&self) -> bool {
        self.text("sslaccept").as_deref() == Some("strict")
    }

    fn negotiation(&mut self, sslmode: SslMode) -> SslNegotiation {
        let chosen = self.chosen("sslnegotiation", NEGOTIATIONS).unwrap_or(SslNegotiation::Postgres);
        if chosen == SslNegotiation::Direct && sslmode < SslMode::Require {
            let problem = "has `sslnegotiation=direct` with an `sslmode` weaker than require";
            self.errors.push(UrlError::Contradiction(problem));
        }
        chosen
    }

    fn channel_binding(&mut self, sslmode: SslMode) -> ChannelBinding {
        let jdbc = self.chosen("channelBinding", BINDINGS);
        let chosen = self.chosen("channel_binding", BINDINGS).or(jdbc).unwrap_or(ChannelBinding::Prefer);
        if chosen == ChannelBinding::Require && sslmode == SslMode::Disable {
            let problem = "has `channel_binding=require` with `sslmode=disable`";
            self.errors.push(UrlError::Contradiction(problem));
        }
        chosen
    }

    /// Prisma's `sslcert` is the server's root certificate, libpq's is the client's own: without a key it cannot be the latter.
    fn client_certificate(&mut self) -> Option<ClientCertificate> {
        match (self.text("sslcert"), self.text("sslkey")) {
            (Some(certificate), Some(key)) => {
                Some(ClientCertificate { certificate: certificate.into(), key: key.into() })
            }
            (None, None) => None,
            (Some(_), None) => {
                let problem = "has `sslcert` without `sslkey`: the server's root certificate is `sslrootcert`";
                self.errors.push(UrlError::Contradiction(problem));
                None
            }
            (None, Some(_)) => {
                self.errors.push(UrlError::Contradiction("has `sslkey` without `sslcert`"));
                None
            }
        }
    }

    fn schema(&mut self) -> Option<String> {
        let given: Vec<String> =
            ["schema", "currentSchema", "search_path"].iter().filter_map(|name| self.text(name)).collect();
        if given.len() > 1 {
            let problem = "has more than one of `schema`, `currentSchema` and `search_path`";
            self.errors.push(UrlError::Contradiction(problem));
        }
        self.text("schema").or_else(|| self.text("currentSchema"))
    }

    fn application_name(&self) -> Option<String> {
        let names = ["application_name", "ApplicationName", "fallback_application_name"];
        names.iter().find_map(|name| self.text(name))
    }

    /// Seconds; zero or less means no limit in libpq, which pgwarden reads as its own.
    fn connect_timeout(&mut self) -> Option<Duration> {
        let text = self.text("connect_timeout")?;
        let Ok(seconds) = text.parse::<i32>() else {
            self.errors.push(UrlError::Value("connect_timeout", "a whole number of seconds"));
            return None;
        };
        u64::try_from(seconds).ok().filter(|seconds| *seconds > 0).map(Duration::from_secs)
    }

    /// What pgwarden speaks is fixed: UTF8 without GSSAPI. `{name}` may stand only where it cannot change anything else.
    fn check_values(&mut self, endpoint: &Endpoint) {
        for name in ["client_encoding", "encoding"] {
            let plain =
                |text: &str| matches!(text.to_ascii_lowercase().as_str(), "utf8" | "utf-8" | "unicode" | "auto");
            if self.text(name).is_some_and(|text| !plain(&text)) {
                self.errors.push(UrlError::Value("client_encoding", "UTF8"));
            }
        }
        if self.text("gssencmode").is_some_and(|mode| mode != "disable" && mode != "prefer") {
            self.errors.push(UrlError::Value("gssencmode", "disable or prefer: pgwarden does not speak GSSAPI"));
        }
        let allowed = ["user", "dbname", "schema", "currentSchema", "host"];
        let elsewhere = |(key, value): &(String, String)| value.contains(NAME) && !allowed.contains(&key.as_str());
        let in_password = endpoint.password.as_ref().is_some_and(|password| password.expose().contains(NAME));
        let in_socket =
            endpoint.hosts.iter().filter_map(Host::socket).any(|path| path.to_string_lossy().contains(NAME));
        if in_password || in_socket || self.parameters.iter().any(elsewhere) {
            self.errors.push(UrlError::Name);
        }
    }
}

fn host(name: String, port: u16) -> Host {
    let address = match name.starts_with('/') {
        true => HostAddress::SocketFolder(PathBuf::from(name)),
        false => HostAddress::Name(name),
    };
    Host { address, port }
}

fn at_least_verified(mode: SslMode) -> SslMode {
    match mode {
        SslMode::Require => SslMode::VerifyFull,
        SslMode::Disable | SslMode::Allow | SslMode::Prefer | SslMode::VerifyCa | SslMode::VerifyFull => mode,
    }
}

fn with_root_file(mode: SslMode) -> SslMode {
    match mode {
        SslMode::Require => SslMode::VerifyCa,
        SslMode::Disable | SslMode::Allow | SslMode::Prefer | SslMode::VerifyCa | SslMode::VerifyFull => mode,
    }
}

/// A parameter of none of the accepted groups. Its name is shown only if it looks like one.
fn stranger(name: &str) -> UrlError {
    if let Some((name, advice)) = UNSUPPORTED.iter().find(|(unsupported, _)| *unsupported == name) {
        return UrlError::Unsupported(name, advice);
    }
    let ordinary = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    match !name.is_empty() && name.len() <= 40 && name.chars().all(ordinary) {
        true => {
            let near = suggestion(name, KNOWN.iter().copied());
            UrlError::Unknown(name.to_owned(), if near.contains("did you mean") { near } else { String::new() })
        }
        false => UrlError::Unknown("…".to_owned(), String::new()),
    }
}

fn expected(name: &str) -> &'static str {
    match name {
        "sslmode" => "disable, allow, prefer, require, verify-ca or verify-full",
        "target_session_attrs" => "any, read-write, read-only, primary, standby or prefer-standby",
        "channel_binding" | "channelBinding" => "disable, prefer or require",
        "sslnegotiation" => "postgres or direct",
        _ => "true or false",
    }
}
