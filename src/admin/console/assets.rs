//! The console's own files: in the crate, served under names that change with their contents, so that browsers may keep them.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use ring::digest;

/// A file and the name it is served under.
#[derive(Debug)]
pub struct Asset {
    /// Its path: `/assets/console.<hash>.css`.
    pub path: String,
    kind: &'static str,
    text: &'static str,
}

/// The style sheet.
pub static STYLE: LazyLock<Asset> =
    LazyLock::new(|| asset("console", "css", "text/css; charset=utf-8", include_str!("assets/console.css")));
/// The script.
pub static SCRIPT: LazyLock<Asset> =
    LazyLock::new(|| asset("console", "js", "text/javascript; charset=utf-8", include_str!("assets/console.js")));
/// The mark.
pub static MARK: LazyLock<Asset> =
    LazyLock::new(|| asset("mark", "svg", "image/svg+xml", include_str!("assets/mark.svg")));

fn asset(name: &str, extension: &str, kind: &'static str, text: &'static str) -> Asset {
    let hash = digest::digest(&digest::SHA256, text.as_bytes());
    let hash = crate::audit::chain::hex(hash.as_ref().get(..8).unwrap_or_default());
    Asset { path: format!("/assets/{name}.{hash}.{extension}"), kind, text }
}

/// Serves a file by the name that a page gave; a name of another version is not there.
pub async fn serve(Path(name): Path<String>) -> Response {
    let all: [&Asset; 3] = [&STYLE, &SCRIPT, &MARK];
    match all.into_iter().find(|asset| asset.path.strip_prefix("/assets/") == Some(name.as_str())) {
        Some(asset) => {
            let headers = [(CONTENT_TYPE, asset.kind), (CACHE_CONTROL, "public, max-age=31536000, immutable")];
            (headers, asset.text).into_response()
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
