//! The shop: sample data in two databases, one called production and one development.

use anyhow::{Context, Result};
use ring::rand::{SecureRandom, SystemRandom};

use super::postgres::Postgres;

/// The Postgres role that owns both databases; pgwarden and PgBouncer log in as it.
pub const OWNER: &str = "shop";

/// The database that stands for production.
pub const PRODUCTION: &str = "shop";

/// The database that stands for development.
pub const DEVELOPMENT: &str = "shop_dev";

/// What is in both databases.
const DATA: &str = include_str!("shop.sql");

/// Letters of a password: none needs escaping in a URL, in TOML or in SQL.
const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// A random password of 20 letters, 120 bits.
///
/// # Errors
/// When the system has no randomness.
pub fn password() -> Result<String> {
    let mut bytes = [0_u8; 20];
    SystemRandom::new().fill(&mut bytes).ok().context("the system gives no random bytes")?;
    Ok(bytes.iter().filter_map(|byte| LETTERS.get(usize::from(byte & 63))).map(|&letter| char::from(letter)).collect())
}

/// Makes the owner and both databases with their data.
///
/// # Errors
/// At the first error that Postgres reports.
pub fn create(postgres: &Postgres, owner_password: &str) -> Result<()> {
    let databases = format!(
        "create role {OWNER} login password '{owner_password}';\n\
         create database {PRODUCTION} owner {OWNER};\n\
         create database {DEVELOPMENT} owner {OWNER};\n"
    );
    postgres.rows("postgres", &databases).context("cannot make the demo's databases")?;
    for database in [PRODUCTION, DEVELOPMENT] {
        // As the owner, so that everything belongs to it.
        let url = format!("postgres://{OWNER}:{owner_password}@127.0.0.1:{}/{database}", postgres.port());
        postgres.psql().rows(&url, DATA, &["-1"]).context("cannot load the demo's data")?;
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    #[test]
    fn passwords_differ_and_fit_into_urls() {
        let (one, other) = (super::password().unwrap(), super::password().unwrap());
        assert_ne!(one, other);
        assert_eq!(one.len(), 20);
        assert!(one.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_".contains(letter)));
    }
}
