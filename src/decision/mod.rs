//! The one synchronous door between a statement's text and its verdict.
//!
//! Owns the policy generation, the grants in force, what is known of each database, and the verdict cache. May not name: `tokio`, `net`, `session`, `wire`, `admin`.

pub mod catalogs;
pub mod door;
pub mod grants;
pub mod judgement;
pub mod marks;
pub mod scope;
mod shapes;

pub use catalogs::CatalogCell;
pub use door::Door;
pub use grants::{End, Grant, Grants};
pub use judgement::{Judgement, Refusal};
pub use scope::Scope;

/// Whether an encoding's name is a spelling of UTF8, the one in which statements are read.
pub use crate::sql::settings::is_utf8;

/// What texts that differ only in their literals share, in hexadecimal digits as records have it.
pub fn fingerprint(text: &str) -> String {
    format!("{:016x}", crate::sql::shape::fingerprint(text))
}
