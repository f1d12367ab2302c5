//! TLS on both sides, channel binding, client certificates, and what must not pass in clear.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::num::NonZeroU32;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use pgwarden::config::{Secret, Verifier};
use pgwarden::wire::startup::{self, Version as Protocol};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use support::proxy::Pgwarden;
use support::{Postgres, Version, psql};

/// An authority and what it signed, as files.
struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    fn new() -> Files {
        let folder = tempfile::tempdir().unwrap();
        // Postgres, which runs as another user, must reach its files.
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.distinguished_name.push(DnType::CommonName, "authority");
        std::fs::write(folder.path().join("ca.crt"), authority.self_signed(&key).unwrap().pem()).unwrap();
        let issuer = Issuer::new(authority, key);
        for (file, name, names) in [
            ("server", "localhost", vec!["localhost".to_owned()]),
            ("reader", "reader", Vec::new()),
            ("stranger", "stranger", Vec::new()),
        ] {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::new(names).unwrap();
            params.distinguished_name.push(DnType::CommonName, name);
            let certificate = params.signed_by(&key, &issuer).unwrap();
            std::fs::write(folder.path().join(format!("{file}.crt")), certificate.pem()).unwrap();
            std::fs::write(folder.path().join(format!("{file}.key")), key.serialize_pem()).unwrap();
            let mode = std::fs::Permissions::from_mode(0o600);
            std::fs::set_permissions(folder.path().join(format!("{file}.key")), mode).unwrap();
        }
        Files { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn shown(&self, name: &str) -> String {
        self.path(name).to_string_lossy().into_owned()
    }
}

fn configuration(upstream: &str, tls: &str) -> String {
    let verifier =
        Verifier::of_password(&Secret::new("p"), b"0123456789abcdef", NonZeroU32::new(4096).unwrap()).to_text();
    format!(
        r#"
[listen]
postgres = "127.0.0.1:@PORT@"
admin = "127.0.0.1:@ADMIN_PORT@"
tls = {{ {tls} }}
[audit]
directory = "@FOLDER@/audit"
[databases.shop]
environment = "production"
direct = "{upstream}"
[environments.production.roles]
reader = {{ policy = "read-only", endpoint = "direct" }}
[[users]]
name = "reader"
verifier = "{verifier}"
roles = {{ production = "reader" }}
"#
    )
}

fn answer(pgwarden: &Pgwarden, user: &str, password: &str, parameters: &str) -> String {
    let url = format!("postgres://{user}:{password}@localhost:{}/shop?{parameters}", pgwarden.port());
    let answer = psql(&url, "SELECT 'in'", &[]);
    if answer.output.trim() == "in" { "in".to_owned() } else { answer.errors }
}

#[test]
fn clients_log_in_over_tls_with_the_password_or_a_certificate() {
    let files = Files::new();
    let postgres = Postgres::shared(Version::V15);
    let tls = format!(
        r#"certificate = "{}", key = "{}", client_ca = "{}", required = true"#,
        files.shown("server.crt"),
        files.shown("server.key"),
        files.shown("ca.crt")
    );
    let pgwarden = Pgwarden::start(&configuration(&postgres.url("postgres"), &tls));
    let ca = files.shown("ca.crt");
    let certificate = |name: &str| {
        format!("sslcert={}&sslkey={}", files.shown(&format!("{name}.crt")), files.shown(&format!("{name}.key")))
    };
    let rows = [
        ("reader", "p", "sslmode=require".to_owned(), "in"),
        ("reader", "p", format!("sslmode=verify-full&sslrootcert={ca}"), "in"),
        ("reader", "p", format!("sslmode=verify-full&sslrootcert={ca}&channel_binding=require"), "in"),
        ("reader", "wrong", "sslmode=require".to_owned(), "password authentication failed for user \"reader\""),
        ("nobody", "p", "sslmode=require".to_owned(), "password authentication failed for user \"nobody\""),
        ("reader", "p", "sslmode=disable".to_owned(), "TLS is required"),
        ("reader", "wrong", format!("sslmode=require&{}", certificate("reader")), "in"),
        ("reader", "wrong", format!("sslmode=require&{}", certificate("stranger")), "password authentication failed"),
    ];
    for (user, password, parameters, expected) in rows {
        let found = answer(&pgwarden, user, password, &parameters);
        let fits = if expected == "in" { found == "in" } else { found.contains(expected) };
        assert!(fits, "{user} {parameters}: {found}");
    }
    let records = pgwarden.records();
    let logins: Vec<&str> = records
        .iter()
        .filter(|record| record["event"] == "login")
        .map(|record| record["login"].as_str().unwrap())
        .collect();
    assert_eq!(logins, ["scram-sha-256-plus", "scram-sha-256-plus", "scram-sha-256-plus", "certificate"]);
    let failed: Vec<&str> = records
        .iter()
        .filter(|record| record["event"] == "login_failed")
        .map(|record| record["reason"].as_str().unwrap())
        .collect();
    assert_eq!(failed, ["wrong_password", "unknown_user", "tls_required", "wrong_password"]);
}

fn started() -> (Files, Pgwarden) {
    let files = Files::new();
    let tls = format!(r#"certificate = "{}", key = "{}""#, files.shown("server.crt"), files.shown("server.key"));
    let pgwarden = Pgwarden::start(&configuration(&Postgres::shared(Version::V15).url("postgres"), &tls));
    (files, pgwarden)
}

fn startup_packet() -> BytesMut {
    let mut packet = BytesMut::new();
    startup::write_startup(&mut packet, Protocol::V3_0, [("user", "reader"), ("database", "shop")]);
    packet
}

fn read_all(mut stream: impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    bytes
}

#[test]
fn bytes_in_clear_before_tls_are_refused() {
    let (_files, pgwarden) = started();
    let mut request = BytesMut::new();
    startup::write_ssl_request(&mut request);
    request.extend_from_slice(&startup_packet());
    let mut socket = TcpStream::connect(("127.0.0.1", pgwarden.port())).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    socket.write_all(&request).unwrap();
    let answer = read_all(&socket);
    assert!(!answer.starts_with(b"S"), "TLS went on");
    assert!(String::from_utf8_lossy(&answer).contains("received unencrypted data after SSL request"));
}

#[test]
fn direct_tls_needs_its_alpn_and_gss_is_declined() {
    let (files, pgwarden) = started();
    let mut roots = rustls::RootCertStore::empty();
    let pem = std::fs::read(files.path("ca.crt")).unwrap();
    roots.add(rustls::pki_types::pem::PemObject::from_pem_slice(&pem).unwrap()).unwrap();
    for (alpn, expected) in [(Some(b"postgresql".to_vec()), b'R'), (None, b'E')] {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots.clone())
            .with_no_client_auth();
        config.alpn_protocols = alpn.clone().into_iter().collect();
        let name = "localhost".try_into().unwrap();
        let session = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
        let socket = TcpStream::connect(("127.0.0.1", pgwarden.port())).unwrap();
        let mut stream = rustls::StreamOwned::new(session, socket);
        stream.write_all(&startup_packet()).unwrap();
        let mut first = [0u8; 1];
        stream.read_exact(&mut first).unwrap();
        assert_eq!(first[0], expected, "{alpn:?}");
    }

    let mut socket = TcpStream::connect(("127.0.0.1", pgwarden.port())).unwrap();
    socket.write_all(&[0, 0, 0, 8, 4, 210, 22, 48]).unwrap();
    let mut first = [0u8; 1];
    socket.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"N");
    socket.write_all(&startup_packet()).unwrap();
    socket.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"R", "the client goes on in clear");
}

#[test]
fn newer_minors_and_unknown_options_are_negotiated() {
    let (_files, pgwarden) = started();
    for (version, options, answer) in [
        (Protocol((3 << 16) | 9), vec![], Some((Protocol::V3_2, 0))),
        (Protocol((3 << 16) | 1), vec![], Some((Protocol::V3_0, 0))),
        (Protocol::V3_2, vec![], None),
        (Protocol::V3_0, vec![("_pq_.fancy", "1")], Some((Protocol::V3_0, 1))),
    ] {
        let mut packet = BytesMut::new();
        let given = [("user", "reader"), ("database", "shop")].into_iter().chain(options);
        startup::write_startup(&mut packet, version, given);
        let mut socket = TcpStream::connect(("127.0.0.1", pgwarden.port())).unwrap();
        socket.write_all(&packet).unwrap();
        let mut head = [0u8; 13];
        socket.read_exact(&mut head).unwrap();
        match answer {
            None => assert_eq!(head[0], b'R', "{version:?}"),
            Some((newest, unknown)) => {
                assert_eq!(head[0], b'v', "{version:?}");
                assert_eq!(i32::from_be_bytes(head[5..9].try_into().unwrap()), newest.0);
                assert_eq!(i32::from_be_bytes(head[9..13].try_into().unwrap()), unknown);
            }
        }
    }
}

/// Who may come in: `trusted` without a password.
const ACCESS: &str = "hostssl all trusted all trust\nhost all all all scram-sha-256\n";

/// A Postgres with TLS, its files owned by the user that it runs as.
fn tls_postgres(files: &Files) -> Postgres {
    let folder = Postgres::shared(Version::V15).folder();
    let data = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path().join("PG_VERSION"));
    let owner = data.filter_map(|file| std::fs::metadata(file).ok()).next().expect("a data folder");
    for file in ["server.crt", "server.key"] {
        let copy = files.path(&format!("postgres-{file}"));
        std::fs::copy(files.path(file), &copy).unwrap();
        std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o600)).unwrap();
        chown(&copy, Some(owner.uid()), Some(owner.gid())).unwrap();
    }
    std::fs::write(files.path("access"), ACCESS).unwrap();
    let setting = |name: &str, file: &str| format!("{name}={}", files.shown(file));
    let settings = [
        "ssl=on".to_owned(),
        setting("ssl_cert_file", "postgres-server.crt"),
        setting("ssl_key_file", "postgres-server.key"),
        setting("hba_file", "access"),
    ];
    let postgres = Postgres::start_with(Version::V15, &settings.each_ref().map(String::as_str));
    postgres.rows("postgres", "create role trusted superuser login");
    postgres
}

#[test]
fn endpoints_are_believed_as_their_sslmode_says() {
    let files = Files::new();
    let other = Files::new();
    let postgres = tls_postgres(&files);
    let tls = format!(r#"certificate = "{}", key = "{}""#, files.shown("server.crt"), files.shown("server.key"));
    let url = |host: &str, parameters: &str| {
        let url = postgres.url("postgres").replace("127.0.0.1", host).replace("localhost", host);
        let (plain, _) = url.split_once('?').unwrap_or((&url, ""));
        format!("{plain}?{parameters}")
    };
    let trusted = |parameters: &str| url("localhost", parameters).replace("://postgres:", "://trusted:");
    let (ca, wrong) = (files.shown("ca.crt"), other.shown("ca.crt"));
    let rows = [
        (url("localhost", "sslmode=disable"), "in", false),
        (url("localhost", "sslmode=prefer"), "in", true),
        (url("localhost", "sslmode=require"), "in", true),
        (url("localhost", &format!("sslmode=verify-full&sslrootcert={ca}")), "in", true),
        (url("localhost", &format!("sslmode=verify-full&sslrootcert={ca}&channel_binding=require")), "in", true),
        (trusted("sslmode=require"), "in", true),
        (trusted("sslmode=require&channel_binding=require"), "channel_binding=require", true),
        (url("127.0.0.1", &format!("sslmode=verify-ca&sslrootcert={ca}")), "in", true),
        (url("127.0.0.1", &format!("sslmode=verify-full&sslrootcert={ca}")), "TLS:", true),
        (url("localhost", &format!("sslmode=verify-ca&sslrootcert={wrong}")), "TLS:", true),
        (url("localhost", &format!("sslmode=require&sslrootcert={wrong}")), "TLS:", true),
        (url("localhost", "sslmode=verify-full"), "TLS:", true),
    ];
    for (url, expected, encrypted) in rows {
        let pgwarden = Pgwarden::start(&configuration(&url, &tls));
        let found = answer(&pgwarden, "reader", "p", "sslmode=require");
        let fits = if expected == "in" { found == "in" } else { found.contains(expected) };
        assert!(fits, "{url}: {found}");
        if expected == "in" {
            let script = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
            let asked = psql(&format!("postgres://reader:p@localhost:{}/shop", pgwarden.port()), script, &[]);
            assert_eq!(asked.output.trim(), if encrypted { "t" } else { "f" }, "{url}: {}", asked.errors);
        }
    }
}
