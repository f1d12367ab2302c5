//! The hash of an API token, as the configuration writes it.

use std::fmt;

use ring::digest;

/// SHA-256 of a token. Tokens are random and long, so a plain hash is enough.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// The hash of a token.
    pub fn of(token: &str) -> TokenHash {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
        TokenHash(hash)
    }

    /// Reads `sha256:` and 64 hexadecimal digits.
    pub fn parse(text: &str) -> Option<TokenHash> {
        let digits = text.strip_prefix("sha256:").filter(|digits| digits.len() == 64)?;
        let mut hash = [0; 32];
        for (slot, pair) in hash.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).ok()?;
            *slot = u8::from_str_radix(pair, 16).ok().filter(|_| !pair.starts_with('+'))?;
        }
        Some(TokenHash(hash))
    }

    /// Whether it is this token's; the time it takes says nothing.
    pub fn is_of(&self, token: &str) -> bool {
        let other = TokenHash::of(token);
        self.0.iter().zip(other.0).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
    }
}

impl fmt::Display for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_read_back_and_is_of_its_own_token_only() {
        let hash = TokenHash::of("secret");
        assert_eq!(TokenHash::parse(&hash.to_string()), Some(hash));
        assert!(hash.is_of("secret") && !hash.is_of("Secret") && !hash.is_of(""));
        let long = format!("sha256:{}", "+1".repeat(32));
        for bad in ["", "sha256:", "secret", "sha256:00", &long] {
            assert_eq!(TokenHash::parse(bad), None, "{bad}");
        }
    }
}
