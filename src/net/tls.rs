//! TLS by rustls, both ways: what clients see of us, and how endpoints are believed.

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};

use crate::auth::certificate;

/// The ALPN protocol of PostgreSQL, required for TLS without an SSLRequest.
pub const ALPN: &[u8] = b"postgresql";
/// The ALPN protocol of the admin listener.
const HTTP_ALPN: &[u8] = b"http/1.1";

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read as PEM.
    #[error("{file}: {reason}")]
    File {
        /// The file.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// rustls does not take what it was given.
    #[error("{0}")]
    Rustls(#[from] rustls::Error),
    /// The client certificate authority cannot be used.
    #[error("client_ca: {0}")]
    ClientAuthority(String),
    /// The system has no usable root certificates.
    #[error("the system's root certificates cannot be loaded: {0}")]
    SystemRoots(String),
}

fn unreadable(file: &Path, reason: impl ToString) -> TlsError {
    TlsError::File { file: file.display().to_string(), reason: reason.to_string() }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(file).map_err(|reason| unreadable(file, reason))?.collect();
    let chain = chain.map_err(|reason| unreadable(file, reason))?;
    if chain.is_empty() { Err(unreadable(file, "no certificate in it")) } else { Ok(chain) }
}

fn roots(file: &Path) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(file)? {
        store.add(certificate).map_err(|reason| unreadable(file, reason))?;
    }
    Ok(store)
}

fn system_roots() -> Result<RootCertStore, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(found.certs);
    if store.is_empty() {
        let reasons: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
        return Err(TlsError::SystemRoots(reasons.join("; ")));
    }
    Ok(store)
}

/// What clients see of us.
#[derive(Clone, Debug)]
pub struct ServerTls {
    /// rustls' own configuration.
    pub config: Arc<ServerConfig>,
    /// The hash that SCRAM binds to, where our certificate has one.
    pub end_point: Option<Vec<u8>>,
}

impl ServerTls {
    /// Loads the certificate chain, its key, and the authority for client certificates.
    ///
    /// # Errors
    /// A file cannot be read or does not fit.
    pub fn load(certificate: &Path, key: &Path, client_ca: Option<&Path>) -> Result<ServerTls, TlsError> {
        let chain = certificates(certificate)?;
        let end_point = chain.first().and_then(|leaf| certificate::end_point_hash(leaf));
        let private = PrivateKeyDer::from_pem_file(key).map_err(|reason| unreadable(key, reason))?;
        let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
        let builder = match client_ca {
            Some(file) => {
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(file)?), provider())
                    .allow_unauthenticated()
                    .build()
                    .map_err(|reason| TlsError::ClientAuthority(reason.to_string()))?;
                builder.with_client_cert_verifier(verifier)
            }
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_single_cert(chain, private)?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(ServerTls { config: Arc::new(config), end_point })
    }

    /// The same certificate for HTTP clients.
    pub fn http(&self) -> Arc<ServerConfig> {
        let mut config = ServerConfig::clone(&self.config);
        config.alpn_protocols = vec![HTTP_ALPN.to_vec()];
        Arc::new(config)
    }
}

/// How much of a server's certificate is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Trust {
    /// `require`: encrypted, whoever it is.
    Anyone,
    /// `verify-ca`: signed by a root, whatever its name.
    Authority,
    /// `verify-full`: signed by a root, and for this name.
    Full,
}

/// Builds how an endpoint is believed.
///
/// # Errors
/// The roots cannot be loaded.
pub fn client(
    trust: Trust,
    root_file: Option<&Path>,
    identity: Option<(&Path, &Path)>,
) -> Result<ClientConfig, TlsError> {
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let store = || match root_file {
        Some(file) => roots(file),
        None => system_roots(),
    };
    let builder = match trust {
        Trust::Anyone => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Lenient { roots: None, provider: provider() })),
        Trust::Authority => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Lenient { roots: Some(store()?), provider: provider() })),
        Trust::Full => {
            let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(store()?), provider())
                .build()
                .map_err(|reason| TlsError::SystemRoots(reason.to_string()))?;
            builder.with_webpki_verifier(verifier)
        }
    };
    let mut config = match identity {
        Some((certificate, key)) => {
            let private = PrivateKeyDer::from_pem_file(key).map_err(|reason| unreadable(key, reason))?;
            builder.with_client_auth_cert(certificates(certificate)?, private)?
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(config)
}

/// `require` and `verify-ca` as libpq means them: the name is not looked at, and for `require` nor is the signer.
#[derive(Debug)]
struct Lenient {
    roots: Option<RootCertStore>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if let Some(roots) = &self.roots {
            let parsed = ParsedCertificate::try_from(end_entity)?;
            let algorithms = self.provider.signature_verification_algorithms.all;
            verify_server_cert_signed_by_trust_anchor(&parsed, roots, intermediates, now, algorithms)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
