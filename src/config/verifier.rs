//! SCRAM-SHA-256 verifiers as Postgres stores them: `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`.
//!
//! <https://www.postgresql.org/docs/current/catalog-pg-authid.html>; RFC 5802 for the keys, RFC 7677 for SHA-256.

use std::fmt;
use std::num::NonZeroU32;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::{digest, hmac, pbkdf2};

use super::secret::Secret;

/// Iterations of a verifier that pgwarden makes: Postgres' `scram_iterations` default.
pub const DEFAULT_ITERATIONS: NonZeroU32 = NonZeroU32::MIN.saturating_add(4095);

/// Length of a salt that pgwarden makes, in bytes: Postgres' `SCRAM_DEFAULT_SALT_LEN`.
pub const SALT_BYTES: usize = 16;

/// What proves that a client knows a password, without holding the password.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    /// Iterations of PBKDF2.
    pub iterations: NonZeroU32,
    /// The salt, decoded.
    pub salt: Vec<u8>,
    /// H(ClientKey).
    pub stored_key: [u8; 32],
    /// HMAC(SaltedPassword, "Server Key").
    pub server_key: [u8; 32],
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Verifier({} iterations, ***)", self.iterations)
    }
}

/// What is wrong with a verifier's text. Never says any of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifierError {
    /// Another scheme, or a plain password.
    #[error("does not begin with `SCRAM-SHA-256$`")]
    Scheme,
    /// The parts are not where they belong.
    #[error("is not of the form `SCRAM-SHA-256$<iterations>:<salt>$<stored key>:<server key>`")]
    Form,
    /// Not a positive number.
    #[error("has an iteration count that is not a positive number")]
    Iterations,
    /// Not base64, or empty.
    #[error("has a salt that is not base64")]
    Salt,
    /// Not base64 of 32 bytes.
    #[error("has a key that is not 32 bytes in base64")]
    Key,
}

impl Verifier {
    /// Reads a verifier.
    pub fn parse(text: &str) -> Result<Verifier, VerifierError> {
        let rest = text.trim().strip_prefix("SCRAM-SHA-256$").ok_or(VerifierError::Scheme)?;
        let (first, second) = rest.split_once('$').ok_or(VerifierError::Form)?;
        let (iterations, salt) = first.split_once(':').ok_or(VerifierError::Form)?;
        let (stored, server) = second.split_once(':').ok_or(VerifierError::Form)?;
        let salt = STANDARD.decode(salt).ok().filter(|salt| !salt.is_empty());
        Ok(Verifier {
            iterations: iterations.parse().ok().filter(plausible).ok_or(VerifierError::Iterations)?,
            salt: salt.ok_or(VerifierError::Salt)?,
            stored_key: key(stored)?,
            server_key: key(server)?,
        })
    }

    /// Makes the verifier of a password, which is prepared by SASLprep first, as Postgres does.
    pub fn of_password(password: &Secret, salt: &[u8], iterations: NonZeroU32) -> Verifier {
        let mut salted = [0; 32];
        let prepared = prepared(password.expose());
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, salt, prepared.as_bytes(), &mut salted);
        let client_key = keyed(&salted, b"Client Key");
        Verifier {
            iterations,
            salt: salt.to_vec(),
            stored_key: sized(digest::digest(&digest::SHA256, &client_key).as_ref()),
            server_key: keyed(&salted, b"Server Key"),
        }
    }

    /// The text that Postgres would store.
    pub fn to_text(&self) -> String {
        let encode = |bytes: &[u8]| STANDARD.encode(bytes);
        format!(
            "SCRAM-SHA-256${}:{}${}:{}",
            self.iterations,
            encode(&self.salt),
            encode(&self.stored_key),
            encode(&self.server_key)
        )
    }
}

/// `scram_iterations` is an `int` in Postgres.
fn plausible(iterations: &NonZeroU32) -> bool {
    i32::try_from(iterations.get()).is_ok()
}

fn key(text: &str) -> Result<[u8; 32], VerifierError> {
    STANDARD.decode(text).ok().and_then(|bytes| bytes.try_into().ok()).ok_or(VerifierError::Key)
}

fn keyed(salted: &[u8], message: &[u8]) -> [u8; 32] {
    sized(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, salted), message).as_ref())
}

/// SHA-256 gives 32 bytes; zip copies what there is without a length to get wrong.
fn sized(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    out
}

/// The password as SCRAM hashes it: SASLprep where that is defined for it, its bytes as they stand otherwise
/// (`pg_saslprep` and its callers in `src/common/saslprep.c`, `src/backend/libpq/auth-scram.c`).
fn prepared(password: &str) -> std::borrow::Cow<'_, str> {
    match password.is_ascii() {
        true => password.into(),
        false => stringprep::saslprep(password).unwrap_or(password.into()),
    }
}

#[cfg(test)]
#[allow(clippy::expect_used)]
mod tests {
    use super::*;

    /// The password, salt and iterations of RFC 7677's example; keys computed from them by another implementation.
    const PENCIL: &str = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";

    #[test]
    fn the_example_of_rfc_7677() {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").expect("base64");
        let made = Verifier::of_password(&Secret::new("pencil"), &salt, DEFAULT_ITERATIONS);
        assert_eq!(made.to_text(), PENCIL);
        assert_eq!(Verifier::parse(PENCIL), Ok(made));
    }

    #[test]
    fn malformed_ones() {
        for (text, expected) in [
            ("", VerifierError::Scheme),
            ("md5d41d8cd98f00b204e9800998ecf8427e", VerifierError::Scheme),
            ("SCRAM-SHA-256$4096", VerifierError::Form),
            ("SCRAM-SHA-256$4096:AAAA", VerifierError::Form),
            ("SCRAM-SHA-256$0:AAAA$AAAA:AAAA", VerifierError::Iterations),
            ("SCRAM-SHA-256$-5:AAAA$AAAA:AAAA", VerifierError::Iterations),
            ("SCRAM-SHA-256$4096:$AAAA:AAAA", VerifierError::Salt),
            ("SCRAM-SHA-256$4096:!$AAAA:AAAA", VerifierError::Salt),
            ("SCRAM-SHA-256$4096:AAAA$AAAA:AAAA", VerifierError::Key),
        ] {
            assert_eq!(Verifier::parse(text), Err(expected), "{text}");
        }
    }

    #[test]
    fn passwords_are_prepared_as_postgres_does() {
        for (password, expected) in [
            ("pencil", "pencil"),
            ("I\u{ad}X", "IX"),
            ("\u{aa}", "a"),
            ("a\u{a0}b", "a b"),
            ("tab\tbed", "tab\tbed"),
            ("\u{627}1", "\u{627}1"),
        ] {
            assert_eq!(prepared(password), expected, "{password:?}");
        }
    }

    #[test]
    fn debug_shows_no_key() {
        let verifier = Verifier::parse(PENCIL).expect("parses");
        assert_eq!(format!("{verifier:?}"), "Verifier(4096 iterations, ***)");
    }
}
