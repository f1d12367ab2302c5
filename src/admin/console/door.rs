//! Who may come in, and which forms are believed: the extractors that every page and every action goes through.

use axum::Form;
use axum::extract::{ConnectInfo, FromRequest, FromRequestParts, Request};
use axum::http::header::{COOKIE, HOST, ORIGIN};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::problem::Problem;
use crate::admin::State;
use crate::admin::listener::Peer;
use crate::admin::people::{self, Person};
use crate::config::ConsoleRole;

/// The header with which a page's script asks for parts: `typed` for what a person asked for, `auto` for what keeps itself up to
/// date.
pub const PART: &str = "x-part";

/// Somebody who is logged in.
#[derive(Clone, Debug)]
pub struct LoggedIn(pub Person);

impl FromRequestParts<State> for LoggedIn {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<LoggedIn, Problem> {
        let peer = private_peer(parts)?;
        let part = parts.headers.get(PART).map(|value| value.as_bytes());
        let person = cookie(&parts.headers, &cookie_name(state, peer.tls, Purpose::Login)).and_then(|cookie| {
            let config = state.shared.door.config();
            state.people.who(&config, cookie, part != Some(b"auto"), std::time::Instant::now())
        });
        person.map(LoggedIn).ok_or_else(|| match part {
            Some(_) => Problem::LoggedOut,
            None if parts.method == Method::GET => {
                Problem::LogIn(parts.uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string))
            }
            None => Problem::LogIn("/".to_owned()),
        })
    }
}

/// The peer, if nobody can read along.
pub fn private_peer(parts: &Parts) -> Result<Peer, Problem> {
    let peer = parts.extensions.get::<ConnectInfo<Peer>>().map(|ConnectInfo(peer)| *peer);
    peer.filter(Peer::is_private).ok_or(Problem::NotPrivate)
}

/// What a cookie is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// It stands for a login.
    Login,
    /// It goes with the form to log in.
    Form,
}

/// A cookie's name. Cookies know no ports, so two pgwardens on one host differ by theirs; `__Host-` keeps a cookie to TLS and to
/// this host (RFC 6265bis, 4.1.3.2).
pub fn cookie_name(state: &State, tls: bool, purpose: Purpose) -> String {
    let port = state.shared.door.config().listen.admin.map_or(0, |address| address.port());
    let prefix = if tls { "__Host-" } else { "" };
    let word = match purpose {
        Purpose::Login => "login",
        Purpose::Form => "form",
    };
    format!("{prefix}pgwarden-{word}-{port}")
}

/// A Set-Cookie value; an empty `value` takes the cookie away.
pub fn set_cookie(name: &str, value: &str, tls: bool) -> String {
    let secure = if tls { "; Secure" } else { "" };
    let age = if value.is_empty() { 0 } else { people::LONGEST.as_secs() };
    format!("{name}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={age}{secure}")
}

/// A cookie's value.
pub fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let pairs =
        headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(';'));
    let mut values = pairs.filter_map(|pair| pair.trim().split_once('=')).filter(|(key, _)| *key == name);
    values.next().map(|(_, value)| value)
}

/// Whether a browser says that a form comes from a page of this console. Clients that are no browsers say nothing.
pub fn is_own_origin(headers: &HeaderMap) -> bool {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(site) = header("sec-fetch-site") {
        return site == "same-origin";
    }
    match (header(ORIGIN.as_str()), header(HOST.as_str())) {
        (None, _) => true,
        (Some(origin), Some(host)) => origin.split_once("://").is_some_and(|(_, from)| from == host),
        (Some(_), None) => false,
    }
}

/// A form that this console made for whoever sends it.
#[derive(Clone, Debug)]
pub struct Submitted<T> {
    /// Who sends it.
    pub person: Person,
    /// Its fields.
    pub form: T,
}

#[derive(Deserialize)]
struct WithToken<T> {
    csrf: String,
    #[serde(flatten)]
    form: T,
}

impl<T: DeserializeOwned> FromRequest<State> for Submitted<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &State) -> Result<Submitted<T>, Problem> {
        let (mut parts, body) = request.into_parts();
        let LoggedIn(person) = LoggedIn::from_request_parts(&mut parts, state).await?;
        let own = is_own_origin(&parts.headers);
        let form = Form::<WithToken<T>>::from_request(Request::from_parts(parts, body), state).await;
        let Form(WithToken { csrf, form }) = form.map_err(|error| Problem::Bad(error.body_text()))?;
        match own && people::same(&csrf, &person.csrf) {
            true => Ok(Submitted { person, form }),
            false => Err(Problem::Forged),
        }
    }
}

/// Whether a person's role is enough.
pub fn require(person: &Person, role: ConsoleRole) -> Result<(), Problem> {
    if person.role >= role { Ok(()) } else { Err(Problem::NotAllowed(role)) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn forms_of_other_sites_are_told_by_what_browsers_say() {
        let table: [(&[(&str, &str)], bool); 8] = [
            (&[], true),
            (&[("sec-fetch-site", "same-origin")], true),
            (&[("sec-fetch-site", "same-site")], false),
            (&[("sec-fetch-site", "cross-site"), ("origin", "http://a:1"), ("host", "a:1")], false),
            (&[("origin", "http://a:1"), ("host", "a:1")], true),
            (&[("origin", "http://b:1"), ("host", "a:1")], false),
            (&[("origin", "null"), ("host", "a:1")], false),
            (&[("origin", "http://a:1")], false),
        ];
        for (pairs, expected) in table {
            assert_eq!(is_own_origin(&headers(pairs)), expected, "{pairs:?}");
        }
    }

    #[test]
    fn a_cookie_is_found_among_others_by_its_whole_name() {
        let found = headers(&[("cookie", "a=1; pgwarden=2;xpgwarden=3; b")]);
        assert_eq!(cookie(&found, "pgwarden"), Some("2"));
        assert_eq!(cookie(&found, "warden"), None);
        assert_eq!(cookie(&HeaderMap::new(), "a"), None);
    }
}
