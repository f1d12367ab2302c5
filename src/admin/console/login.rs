//! Logging in and out.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use axum::Form;
use axum::extract::{FromRequest, Query, Request, State as Extract};
use axum::http::StatusCode;
use axum::http::header::SET_COOKIE;
use axum::response::{AppendHeaders, IntoResponse, Redirect, Response};
use maud::html;
use serde::Deserialize;

use super::door::{self, Purpose, Submitted};
use super::layout;
use super::problem::Problem;
use crate::admin::State;
use crate::admin::access::{Actor, Way};
use crate::admin::listener::Peer;
use crate::admin::people;
use crate::audit::{Event, LoginFailure, Record, SessionFields, SessionIdentity};
use crate::config::Secret;

/// Longest name and password that are looked at, in bytes.
const LONGEST_FIELD: usize = 1024;

/// Where to go after logging in.
#[derive(Debug, Default, Deserialize)]
pub struct Next {
    #[serde(default)]
    next: String,
}

#[derive(Deserialize)]
struct Credentials {
    csrf: String,
    user: String,
    password: String,
    #[serde(default)]
    next: String,
}

/// A path of this console, whatever was asked for.
fn own_path(next: &str) -> &str {
    let own = next.starts_with('/') && !next.starts_with("//") && !next.contains(['\\', '\r', '\n', '\t']);
    if own { next } else { "/" }
}

/// The form.
pub async fn form(
    Extract(state): Extract<State>,
    Query(next): Query<Next>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, _) = request.into_parts();
    let peer = door::private_peer(&parts)?;
    show(&state, peer, &next.next, None)
}

fn show(state: &State, peer: Peer, next: &str, problem: Option<(StatusCode, &str)>) -> Result<Response, Problem> {
    let token = people::token().ok_or_else(|| Problem::Bad("the system has no randomness".to_owned()))?;
    let nobody = state.shared.door.config().users.values().all(|user| user.console.is_none());
    let body = html! {
        h1 { "Log in" }
        @if let Some((_, words)) = problem { p.note.bad role="alert" { (words) } }
        @if nobody {
            p.note { "No user may log in yet. Give one of " code { "[[users]]" } " a " code { "console = \"viewer\"" } ", "
                code { "\"auditor\"" } " or " code { "\"operator\"" } " and reload." }
        }
        form method="post" action="/login" {
            input type="hidden" name="csrf" value=(token);
            input type="hidden" name="next" value=(own_path(next));
            label { "User" input name="user" autocomplete="username" autocapitalize="off" spellcheck="false" required autofocus; }
            label { "Password" input name="password" type="password" autocomplete="current-password" required; }
            div { button.main type="submit" { "Log in" } }
        }
    };
    let cookie = door::set_cookie(&door::cookie_name(state, peer.tls, Purpose::Form), &token, peer.tls);
    let status = problem.map_or(StatusCode::OK, |(status, _)| status);
    Ok((status, AppendHeaders([(SET_COOKIE, cookie)]), layout::alone("Log in", &body)).into_response())
}

/// Takes the form.
pub async fn submit(Extract(state): Extract<State>, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let peer = door::private_peer(&parts)?;
    let token = door::cookie(&parts.headers, &door::cookie_name(&state, peer.tls, Purpose::Form)).map(str::to_owned);
    let own = door::is_own_origin(&parts.headers);
    let form = Form::<Credentials>::from_request(Request::from_parts(parts, body), &state).await;
    let Form(form) = form.map_err(|error| Problem::Bad(error.body_text()))?;
    if !own || !token.is_some_and(|token| people::same(&token, &form.csrf)) {
        let words = "The form was too old, or not this console's. Please try again.";
        return show(&state, peer, &form.next, Some((StatusCode::FORBIDDEN, words)));
    }
    match try_login(&state, peer, &form).await? {
        Ok(cookie) => {
            let cookies = [
                (SET_COOKIE, door::set_cookie(&door::cookie_name(&state, peer.tls, Purpose::Login), &cookie, peer.tls)),
                (SET_COOKIE, door::set_cookie(&door::cookie_name(&state, peer.tls, Purpose::Form), "", peer.tls)),
            ];
            Ok((AppendHeaders(cookies), Redirect::to(own_path(&form.next))).into_response())
        }
        Err(LoginFailure::Throttled) => {
            let words = "Too many failed logins. Please wait a minute.";
            show(&state, peer, &form.next, Some((StatusCode::TOO_MANY_REQUESTS, words)))
        }
        Err(_) => {
            let words = "The name or the password is wrong, or the user has no role in the console.";
            show(&state, peer, &form.next, Some((StatusCode::UNAUTHORIZED, words)))
        }
    }
}

/// The cookie's value, or why there is none; a failure is recorded before it is told.
async fn try_login(state: &State, peer: Peer, form: &Credentials) -> Result<Result<String, LoginFailure>, Problem> {
    let (config, address) = (state.shared.door.config(), peer.address.ip());
    if form.user.len() > LONGEST_FIELD || form.password.len() > LONGEST_FIELD {
        return Err(Problem::Bad("the name or the password is too long".to_owned()));
    }
    let throttle = &state.shared.throttle;
    if !people::may_try(throttle, address, &form.user, config.limits.login_failures) {
        return fail(state, peer, form, LoginFailure::Throttled).await;
    }
    // Counted before the password is looked at, so that attempts at once are no way around it.
    note_failure(state, address, &form.user);
    let (user, password, secret) = (form.user.clone(), Secret::new(&form.password), state.shared.mock_secret);
    let checked = {
        let config = std::sync::Arc::clone(&config);
        tokio::task::spawn_blocking(move || people::password_fits(&config, &secret, &user, &password)).await
    };
    let Some(role) = checked.ok().flatten() else {
        let reason = match config.users.get(&form.user) {
            None => LoginFailure::UnknownUser,
            Some(user) if user.console.is_none() => LoginFailure::NoRole,
            Some(_) => LoginFailure::WrongPassword,
        };
        return fail(state, peer, form, reason).await;
    };
    let actor = Actor { name: form.user.clone(), role, way: Way::Console };
    state.acts(&actor, "console.login", Some(format!("{} as {}", peer.address, role.name())))?;
    throttle.succeeded(address, &form.user);
    let cookie = state.people.enter(&config, &form.user, Instant::now());
    Ok(cookie.ok_or(LoginFailure::Unavailable))
}

fn note_failure(state: &State, address: IpAddr, user: &str) {
    let now = Instant::now();
    state.shared.throttle.failed(address, user, now);
    state.shared.throttle.failed(address, people::ANY_USER, now);
}

async fn fail(
    state: &State,
    peer: Peer,
    form: &Credentials,
    reason: LoginFailure,
) -> Result<Result<String, LoginFailure>, Problem> {
    let client = peer.address.to_string();
    let fields = SessionFields::new(&SessionIdentity {
        user: &form.user,
        client: &client,
        login: "console",
        tls: if peer.tls { "TLS" } else { "" },
        ..SessionIdentity::default()
    });
    let event = Event::LoginFailed { reason, message: None };
    state.shared.audit.accept(&mut vec![Record::new(state.shared.audit.next_id(), Some(fields), event)])?;
    if reason == LoginFailure::Throttled {
        // Whoever hammers waits for each answer.
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    Ok(Err(reason))
}

/// No fields but the token.
#[derive(Debug, Deserialize)]
pub struct Nothing {}

/// Logs out.
pub async fn leave(Extract(state): Extract<State>, submitted: Submitted<Nothing>) -> Result<Response, Problem> {
    if let Some(search) = state.people.typed(&submitted.person) {
        state.looks(&submitted.person.actor(), "audit.search", Some(search));
    }
    state.people.leave(&submitted.person);
    state.acts(&submitted.person.actor(), "console.logout", None)?;
    let cookies = [false, true]
        .map(|tls| (SET_COOKIE, door::set_cookie(&door::cookie_name(&state, tls, Purpose::Login), "", tls)));
    Ok((AppendHeaders(cookies), Redirect::to("/login")).into_response())
}

#[cfg(test)]
mod tests {
    use super::own_path;

    #[test]
    fn after_logging_in_nobody_is_sent_elsewhere() {
        let table = [
            ("/audit?q=user:a", "/audit?q=user:a"),
            ("", "/"),
            ("//evil.example", "/"),
            ("https://evil.example", "/"),
            ("/\\evil.example", "/"),
            ("javascript:alert(1)", "/"),
            ("/a\r\nSet-Cookie: x=y", "/"),
        ];
        for (next, expected) in table {
            assert_eq!(own_path(next), expected, "{next}");
        }
    }
}
