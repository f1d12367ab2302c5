//! What a certificate says: the name of a client, and the hash that SCRAM binds a channel to.

use x509_parser::prelude::{FromDer, X509Certificate};

/// The common name of a certificate's subject.
pub fn common_name(der: &[u8]) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let name = certificate.subject().iter_common_name().next()?.as_str().ok()?.to_owned();
    Some(name)
}

/// The `tls-server-end-point` hash of RFC 5929: by the signature's own hash, SHA-256 where that is MD5 or SHA-1.
/// `None` for signatures without one (Ed25519), to which clients cannot bind.
pub fn end_point_hash(der: &[u8]) -> Option<Vec<u8>> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let algorithm = match certificate.signature_algorithm.algorithm.to_id_string().as_str() {
        // md5/sha1/sha256 with RSA, ecdsa with SHA-1 and SHA-256
        "1.2.840.113549.1.1.4"
        | "1.2.840.113549.1.1.5"
        | "1.2.840.113549.1.1.11"
        | "1.2.840.10045.4.1"
        | "1.2.840.10045.4.3.2" => &ring::digest::SHA256,
        "1.2.840.113549.1.1.12" | "1.2.840.10045.4.3.3" => &ring::digest::SHA384,
        "1.2.840.113549.1.1.13" | "1.2.840.10045.4.3.4" => &ring::digest::SHA512,
        _ => return None,
    };
    Some(ring::digest::digest(algorithm, der).as_ref().to_vec())
}
