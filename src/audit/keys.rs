//! The audit's own keys: an Ed25519 pair that signs checkpoints, and the key of the records' marks that derives from it.
//!
//! Files: `audit.key` (PKCS #8 PEM, mode 0600), `audit.pub` (SubjectPublicKeyInfo PEM, as `openssl pkey -pubin` reads it).

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use ring::{digest, hmac, rand};

/// The DER that stands before the 32 bytes of an Ed25519 public key (RFC 8410 §4).
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// What a signature covers begins with this, so that no other use of the key can be mistaken for it.
const SIGNED_PREFIX: &[u8] = b"pgwarden-audit-1\n";

/// What can be wrong with a key file.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read or written.
    #[error("the audit key {path}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file holds no key of the right kind.
    #[error("{path} does not hold an Ed25519 {what} key in PEM", path = path.display())]
    NotAKey {
        /// The file.
        path: PathBuf,
        /// `private` or `public`.
        what: &'static str,
    },
    /// There are records, but the key that they were made with is gone.
    #[error(
        "{path} is missing, but the audit directory holds records made with it: put the key back, \
         or move the old directory away to begin a new log", path = path.display()
    )]
    Missing {
        /// The file.
        path: PathBuf,
    },
}

/// The private half: signs checkpoints and marks records.
pub struct Keys {
    pair: Ed25519KeyPair,
    marks: hmac::Key,
}

impl Keys {
    /// Reads the key file.
    pub fn read(path: &Path) -> Result<Keys, KeyError> {
        let text = std::fs::read_to_string(path).map_err(|source| io_error(path, source))?;
        let not_a_key = || KeyError::NotAKey { path: path.to_path_buf(), what: "private" };
        let der = pem_body(&text, "PRIVATE KEY").ok_or_else(not_a_key)?;
        Keys::from_pkcs8(&der).ok_or_else(not_a_key)
    }

    /// Reads the key file, or makes one with its public half when there is none and `may_create`.
    pub(crate) fn read_or_create(path: &Path, may_create: bool) -> Result<Keys, KeyError> {
        match Keys::read(path) {
            Err(KeyError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                may_create.then_some(()).ok_or_else(|| KeyError::Missing { path: path.to_path_buf() })?;
                Keys::create(path)
            }
            Err(error) => Err(error),
            Ok(keys) => {
                keys.write_public(path)?;
                Ok(keys)
            }
        }
    }

    fn create(path: &Path) -> Result<Keys, KeyError> {
        let failed = |_| io_error(path, io::Error::other("the system gave no random bytes"));
        let document = Ed25519KeyPair::generate_pkcs8(&rand::SystemRandom::new()).map_err(failed)?;
        let keys = Keys::from_pkcs8(document.as_ref())
            .ok_or_else(|| KeyError::NotAKey { path: path.to_path_buf(), what: "private" })?;
        write_new(path, &pem("PRIVATE KEY", document.as_ref()), 0o600)?;
        keys.write_public(path)?;
        tracing::info!(key = %path.display(), "made the audit log's signing key; keep a copy of audit.pub elsewhere");
        Ok(keys)
    }

    fn write_public(&self, key_path: &Path) -> Result<(), KeyError> {
        let path = key_path.with_extension("pub");
        if path.exists() {
            return Ok(());
        }
        write_new(&path, &self.public().pem(), 0o644)
    }

    fn from_pkcs8(der: &[u8]) -> Option<Keys> {
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).ok()?;
        let secret = digest::digest(&digest::SHA256, der);
        let derived = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_ref()), b"pgwarden audit record marks 1");
        Some(Keys { pair, marks: hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref()) })
    }

    /// The key of the records' marks.
    pub fn marks(&self) -> &hmac::Key {
        &self.marks
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        let mut bytes = [0; 32];
        bytes.iter_mut().zip(self.pair.public_key().as_ref()).for_each(|(to, from)| *to = *from);
        PublicKey(bytes)
    }

    /// Signs a checkpoint's bytes; the answer is base64.
    pub(crate) fn sign(&self, covered: &[u8]) -> String {
        STANDARD.encode(self.pair.sign(&signed_message(covered)))
    }
}

/// The public half: all that `verify` needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// Reads the public key file.
    pub fn read(path: &Path) -> Result<PublicKey, KeyError> {
        let text = std::fs::read_to_string(path).map_err(|source| io_error(path, source))?;
        let not_a_key = || KeyError::NotAKey { path: path.to_path_buf(), what: "public" };
        let der = pem_body(&text, "PUBLIC KEY").ok_or_else(not_a_key)?;
        let bytes = der.strip_prefix(&SPKI_PREFIX).and_then(|key| key.try_into().ok()).ok_or_else(not_a_key)?;
        Ok(PublicKey(bytes))
    }

    /// Its name in checkpoints: the first 8 bytes of its SHA-256, in hexadecimal digits.
    pub fn name(&self) -> String {
        let hash = digest::digest(&digest::SHA256, &self.0);
        super::chain::hex(hash.as_ref().get(..8).unwrap_or_default())
    }

    /// Whether `signature` (base64) is this key's over a checkpoint's bytes.
    pub fn has_signed(&self, covered: &[u8], signature: &str) -> bool {
        let Ok(signature) = STANDARD.decode(signature) else { return false };
        UnparsedPublicKey::new(&ED25519, self.0).verify(&signed_message(covered), &signature).is_ok()
    }

    fn pem(&self) -> String {
        pem("PUBLIC KEY", &[SPKI_PREFIX.as_slice(), &self.0].concat())
    }
}

fn signed_message(covered: &[u8]) -> Vec<u8> {
    [SIGNED_PREFIX, covered].concat()
}

fn io_error(path: &Path, source: io::Error) -> KeyError {
    KeyError::Io { path: path.to_path_buf(), source }
}

fn write_new(path: &Path, text: &str, mode: u32) -> Result<(), KeyError> {
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(|source| io_error(path, source))
}

fn pem(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in body.as_bytes().chunks(64) {
        text.push_str(&String::from_utf8_lossy(line));
        text.push('\n');
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

fn pem_body(text: &str, label: &str) -> Option<Vec<u8>> {
    let (_, rest) = text.split_once(&format!("-----BEGIN {label}-----"))?;
    let (body, _) = rest.split_once(&format!("-----END {label}-----"))?;
    let digits: String = body.chars().filter(|c| !c.is_whitespace()).collect();
    STANDARD.decode(digits).ok()
}
