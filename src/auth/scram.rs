//! SCRAM-SHA-256 and SCRAM-SHA-256-PLUS, the server's side, as steps.
//!
//! RFC 5802, RFC 7677, and PostgreSQL's reading of them (`src/backend/libpq/auth-scram.c`). The password itself is never
//! known here: a [`Verifier`] as in `pg_authid` is enough.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::{digest, hmac, rand::SecureRandom, rand::SystemRandom};

use crate::config::{DEFAULT_ITERATIONS, SALT_BYTES, Verifier};

/// The mechanism without channel binding.
pub const SHA_256: &str = "SCRAM-SHA-256";
/// The mechanism bound to the TLS channel.
pub const SHA_256_PLUS: &str = "SCRAM-SHA-256-PLUS";

const NONCE_BYTES: usize = 18;

/// A verifier that no password fits, the same each time for the same name: what unknown users are measured against.
pub fn mock(secret: &[u8], user: &str) -> Verifier {
    let seed = sign(secret, user.as_bytes());
    Verifier {
        iterations: DEFAULT_ITERATIONS,
        salt: seed.get(..SALT_BYTES).unwrap_or(&seed).to_vec(),
        stored_key: sign(secret, &seed),
        server_key: sign(&seed, secret),
    }
}

/// Mechanism and data of a SASLInitialResponse's body.
pub fn initial_response(body: &[u8]) -> Option<(&str, &[u8])> {
    let end = body.iter().position(|byte| *byte == 0)?;
    let mechanism = std::str::from_utf8(body.get(..end)?).ok()?;
    let (length, data) = body.get(end + 1..)?.split_first_chunk::<4>()?;
    (usize::try_from(i32::from_be_bytes(*length)).ok()? == data.len()).then_some((mechanism, data))
}

fn sign(key: &[u8], data: &[u8]) -> [u8; 32] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), data);
    let mut out = [0u8; 32];
    out.copy_from_slice(tag.as_ref());
    out
}

fn sha256(data: &[u8]) -> [u8; 32] {
    let mut out = [0u8; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, data).as_ref());
    out
}

/// Why an exchange failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The messages are not SCRAM.
    #[error("malformed SCRAM message")]
    Malformed,
    /// Channel binding was asked for and does not hold, or the client was told that there is none.
    #[error("SCRAM channel binding check failed")]
    ChannelBinding,
    /// The proof is wrong, or there is no such user.
    #[error("password authentication failed")]
    Password,
    /// No randomness.
    #[error("no randomness")]
    Random,
}

/// The channel that a client may bind to.
#[derive(Clone, Debug)]
pub struct Channel {
    /// The `tls-server-end-point` hash of our certificate, if the connection is TLS.
    pub end_point: Option<Vec<u8>>,
}

/// An exchange that waits for the client's final message.
#[derive(Debug)]
pub struct ExpectFinal {
    verifier: Verifier,
    known: bool,
    client_first_bare: String,
    server_first: String,
    nonce: String,
    binding: Vec<u8>,
}

/// Takes the client's first message. `known` is false for users that do not exist: the exchange goes on as if they did.
///
/// # Errors
/// The message is malformed or its channel binding does not hold.
pub fn first(
    message: &[u8],
    mechanism: &str,
    channel: &Channel,
    verifier: Verifier,
    known: bool,
) -> Result<(String, ExpectFinal), Failure> {
    let mut nonce = [0u8; NONCE_BYTES];
    SystemRandom::new().fill(&mut nonce).map_err(|_| Failure::Random)?;
    first_with_nonce(message, mechanism, channel, verifier, known, &BASE64.encode(nonce))
}

fn first_with_nonce(
    message: &[u8],
    mechanism: &str,
    channel: &Channel,
    verifier: Verifier,
    known: bool,
    server_nonce: &str,
) -> Result<(String, ExpectFinal), Failure> {
    let text = std::str::from_utf8(message).map_err(|_| Failure::Malformed)?;
    let mut parts = text.splitn(3, ',');
    let (Some(flag), Some(authzid), Some(bare)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(Failure::Malformed);
    };
    if !authzid.is_empty() {
        return Err(Failure::Malformed);
    }
    let mut binding = format!("{flag},,").into_bytes();
    match (flag, mechanism, &channel.end_point) {
        ("p=tls-server-end-point", SHA_256_PLUS, Some(hash)) => binding.extend_from_slice(hash),
        ("n", SHA_256, _) | ("y", SHA_256, None) => {}
        // `y`: the client could bind but believes that we cannot, although we offered it: somebody is in between.
        _ => return Err(Failure::ChannelBinding),
    }
    let client_nonce = bare
        .split(',')
        .find_map(|attribute| attribute.strip_prefix("r="))
        .filter(|nonce| !nonce.is_empty() && nonce.bytes().all(|byte| (0x21..=0x7e).contains(&byte)))
        .ok_or(Failure::Malformed)?;
    if !bare.starts_with("n=") {
        return Err(Failure::Malformed);
    }
    let nonce = format!("{client_nonce}{server_nonce}");
    let server_first = format!("r={nonce},s={},i={}", BASE64.encode(&verifier.salt), verifier.iterations);
    let next = ExpectFinal {
        verifier,
        known,
        client_first_bare: bare.to_owned(),
        server_first: server_first.clone(),
        nonce,
        binding,
    };
    Ok((server_first, next))
}

impl ExpectFinal {
    /// Takes the client's final message; gives the server's.
    ///
    /// # Errors
    /// The proof is wrong, the user does not exist, the binding does not hold, or the message is malformed.
    pub fn finish(self, message: &[u8]) -> Result<String, Failure> {
        let text = std::str::from_utf8(message).map_err(|_| Failure::Malformed)?;
        let (without_proof, proof) = text.rsplit_once(",p=").ok_or(Failure::Malformed)?;
        let mut attributes = without_proof.split(',');
        let binding = attributes.next().and_then(|part| part.strip_prefix("c=")).ok_or(Failure::Malformed)?;
        let nonce = attributes.next().and_then(|part| part.strip_prefix("r=")).ok_or(Failure::Malformed)?;
        let proof: [u8; 32] =
            BASE64.decode(proof).ok().and_then(|proof| proof.try_into().ok()).ok_or(Failure::Malformed)?;
        let authentic = format!("{},{},{without_proof}", self.client_first_bare, self.server_first);
        let signature = sign(&self.verifier.stored_key, authentic.as_bytes());
        let mut client_key = proof;
        for (byte, mask) in client_key.iter_mut().zip(signature) {
            *byte ^= mask;
        }
        let fits = same(&sha256(&client_key), &self.verifier.stored_key);
        if nonce != self.nonce || BASE64.decode(binding).ok().as_deref() != Some(self.binding.as_slice()) {
            return Err(Failure::ChannelBinding);
        }
        if !(fits && self.known) {
            return Err(Failure::Password);
        }
        Ok(format!("v={}", BASE64.encode(sign(&self.verifier.server_key, authentic.as_bytes()))))
    }
}

/// Compares without telling by time where the difference is.
fn same(left: &[u8; 32], right: &[u8; 32]) -> bool {
    left.iter().zip(right).fold(0u8, |difference, (a, b)| difference | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use ring::pbkdf2;

    use super::*;
    use crate::config::Secret;

    fn exchange(
        password: &str,
        known: bool,
        flag: &str,
        mechanism: &str,
        channel: &Channel,
    ) -> Result<String, Failure> {
        let verifier = Verifier::of_password(&Secret::new("correct horse"), b"0123456789abcdef", DEFAULT_ITERATIONS);
        let bare = "n=,r=clientnonce";
        let (server_first, next) = first(format!("{flag},,{bare}").as_bytes(), mechanism, channel, verifier, known)?;
        let nonce = server_first.split(',').next().unwrap().strip_prefix("r=").unwrap();
        let mut binding = format!("{flag},,").into_bytes();
        if flag.starts_with('p') {
            binding.extend_from_slice(channel.end_point.as_deref().unwrap());
        }
        let without_proof = format!("c={},r={nonce}", BASE64.encode(binding));
        let mut salted = [0u8; 32];
        pbkdf2::derive(
            pbkdf2::PBKDF2_HMAC_SHA256,
            DEFAULT_ITERATIONS,
            b"0123456789abcdef",
            password.as_bytes(),
            &mut salted,
        );
        let client_key = sign(&salted, b"Client Key");
        let signature = sign(&sha256(&client_key), format!("{bare},{server_first},{without_proof}").as_bytes());
        let proof: Vec<u8> = client_key.iter().zip(signature).map(|(a, b)| a ^ b).collect();
        next.finish(format!("{without_proof},p={}", BASE64.encode(proof)).as_bytes())
    }

    #[test]
    fn exchanges_end_as_they_should() {
        let plain = Channel { end_point: None };
        let tls = Channel { end_point: Some(vec![7; 32]) };
        type Row<'a> = (&'a str, bool, &'a str, &'a str, &'a Channel, Result<(), Failure>);
        let rows: [Row<'_>; 8] = [
            ("correct horse", true, "n", SHA_256, &plain, Ok(())),
            ("correct horse", true, "y", SHA_256, &plain, Ok(())),
            ("correct horse", true, "n", SHA_256, &tls, Ok(())),
            ("correct horse", true, "p=tls-server-end-point", SHA_256_PLUS, &tls, Ok(())),
            ("correct horse", true, "y", SHA_256, &tls, Err(Failure::ChannelBinding)),
            ("correct horse", true, "p=tls-unique", SHA_256_PLUS, &tls, Err(Failure::ChannelBinding)),
            ("wrong", true, "n", SHA_256, &plain, Err(Failure::Password)),
            ("correct horse", false, "n", SHA_256, &plain, Err(Failure::Password)),
        ];
        for (password, known, flag, mechanism, channel, expected) in rows {
            let found = exchange(password, known, flag, mechanism, channel).map(|_| ());
            assert_eq!(found, expected, "{password} {flag} {mechanism}");
        }
    }

    #[test]
    fn garbage_is_malformed_and_never_a_panic() {
        let plain = Channel { end_point: None };
        let verifier = mock(b"secret", "nobody");
        for message in ["", "n", "n,,", "n,,r=", "n,a=b,n=,r=x", "n,,n=,r=\u{e9}"] {
            assert!(first(message.as_bytes(), SHA_256, &plain, verifier.clone(), true).is_err(), "{message}");
        }
        let (_, next) = first(b"n,,n=,r=abc", SHA_256, &plain, verifier, true).unwrap();
        assert_eq!(next.finish(b"c=biws,r=abc").unwrap_err(), Failure::Malformed);
    }
}
