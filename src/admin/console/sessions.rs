//! Who is connected now, what they run, and ending it.

use axum::extract::{Path, State as Extract};
use axum::http::HeaderMap;
use axum::response::{Html, IntoResponse, Redirect, Response};
use maud::{Markup, html};
use serde::Deserialize;

use super::door::{LoggedIn, PART, Submitted, require};
use super::layout::{self, Tab};
use super::problem::Problem;
use super::search::{href, term};
use super::text::{BRIEF, OneLine, Outside, ago, bytes, rough, time_of};
use crate::admin::State;
use crate::admin::people::Person;
use crate::admin::sessions::{NotDone, Session};
use crate::amounts::{count, counted};
use crate::audit::Timestamp;
use crate::config::ConsoleRole;
use crate::net::control::Standing;

/// Sessions on the page; with more, the rest is counted.
const SHOWN: usize = 200;

/// The page, or its table alone for the page's own script.
pub async fn list(
    Extract(state): Extract<State>,
    LoggedIn(person): LoggedIn,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let sessions = state.sessions();
    let table = table(&sessions, Timestamp::now());
    if headers.contains_key(PART) {
        return Ok(Html(table.into_string()).into_response());
    }
    state.looks(&person.actor(), "sessions.list", None);
    let body = html! {
        div.top { h1 { "Sessions" } span.right.soft.small { "kept up to date by itself" } }
        div data-refresh="/sessions" { (table) }
    };
    Ok(layout::page(&state.frame(&person), Tab::Sessions, "Sessions", &body).into_response())
}

fn table(sessions: &[Session], now: Timestamp) -> Markup {
    if sessions.is_empty() {
        return html! { div.card.empty.big { b { "Nobody is connected." } span { "Sessions stand here from login to goodbye." } } };
    }
    let mut sorted: Vec<&Session> = sessions.iter().collect();
    sorted.sort_by_key(|session| (rank(session.state), std::cmp::Reverse(session.statement_age_us.unwrap_or(0))));
    html! {
        div.card.scroll {
            table.stacks {
                thead { tr {
                    th scope="col" { "Who" } th scope="col" { "State" } th scope="col" { "Statement" }
                    th.right scope="col" { "Rows" } th.right scope="col" { "Statements" } th scope="col" { "Since" }
                } }
                tbody { @for session in sorted.iter().take(SHOWN) { (row(session, now)) } }
            }
        }
        @if sessions.len() > SHOWN { p.empty { "And " (counted((sessions.len() - SHOWN) as u64, "more session")) "." } }
    }
}

/// What runs comes first, then what holds a transaction open.
const fn rank(state: Standing) -> u8 {
    match state {
        Standing::Active => 0,
        Standing::Failed => 1,
        Standing::IdleInTransaction => 2,
        Standing::Idle => 3,
    }
}

fn standing(session: &Session) -> Markup {
    let age = session.statement_age_us.map(rough).unwrap_or_default();
    html! {
        @match session.state {
            Standing::Active => span.state.good { "running" @if !age.is_empty() { " for " (age) } },
            Standing::IdleInTransaction => span.state.busy { "idle in transaction" @if !age.is_empty() { ", " (age) } },
            Standing::Failed => span.state.bad { "in a failed transaction" },
            Standing::Idle => span.state { "idle" },
        }
    }
}

fn row(session: &Session, now: Timestamp) -> Markup {
    html! {
        tr {
            td {
                a.stop href={ "/sessions/" (session.session) } { b { (OneLine(&session.user, 40)) } }
                div.soft.small { (OneLine(&session.role, 30)) " on " (OneLine(&session.environment, 30)) "/" (OneLine(&session.database, 40)) }
                @if !session.application.is_empty() { div.soft.small { (OneLine(&session.application, 50)) } }
            }
            td { (standing(session)) }
            td.mono { @match &session.statement { Some(text) => (OneLine(text, 120)), None => span.soft { "–" } } }
            td.right.num data-name="rows" { (count(session.rows)) }
            td.right.num data-name="statements" { (count(session.statements)) }
            td.nowrap data-name="since" { (ago(time_of(&session.since).unwrap_or(now), now)) }
        }
    }
}

fn find(state: &State, id: &str) -> Result<Session, Problem> {
    let found = state.sessions().into_iter().find(|session| session.session == id);
    found.ok_or_else(|| Problem::NotFound("There is no such session; it may have ended.".to_owned()))
}

/// One session, with what can be done to it.
pub async fn one(
    Extract(state): Extract<State>,
    LoggedIn(person): LoggedIn,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let session = find(&state, &id)?;
    state.looks(&person.actor(), "sessions.show", Some(id));
    let now = Timestamp::now();
    let body = html! {
        div.top {
            h1 { "Session of " (OneLine(&session.user, 60)) }
            span { (standing(&session)) }
            a.right href=(href(&term("session", &session.session))) { "Its records" }
        }
        div.columns {
            section.card {
                h2 { @if session.state == Standing::Active { "Runs now" } @else { "Ran last" } }
                @match &session.statement {
                    Some(text) => pre.sql tabindex="0" aria-label="The statement's text" { (Outside(super::marks::shown(text))) },
                    None => p.empty { "No statement yet, or its text is not recorded." },
                }
                @if let Some(age) = session.statement_age_us { p.soft.small { "Sent " (rough(age)) " ago." } }
            }
            div.stack {
                section.card {
                    h2 { "Who" }
                    dl.facts {
                        dt { "Role" } dd { (OneLine(&session.role, 60)) }
                        dt { "Database" } dd { (OneLine(&session.environment, 60)) "/" (OneLine(&session.database, 80)) " by " (session.endpoint) }
                        dt { "Tool" } dd { (OneLine(&session.application, BRIEF)) }
                        dt { "Client" } dd.mono { (OneLine(&session.client, 60)) }
                        dt { "Since" } dd { (ago(time_of(&session.since).unwrap_or(now), now)) }
                        dt { "So far" } dd { (counted(session.statements, "statement")) ", " (counted(session.rows, "row")) ", " (bytes(session.bytes)) }
                        dt { "Session" } dd.mono { (OneLine(&session.session, 60)) }
                    }
                }
                (end(&session, &person))
            }
        }
    };
    Ok(layout::page(&state.frame(&person), Tab::Sessions, "Session", &body).into_response())
}

fn end(session: &Session, person: &Person) -> Markup {
    html! {
        section.card {
            h2 { "End it" }
            @if person.role < ConsoleRole::Operator { p.soft { "Operators can cancel its statement or end it." } }
            @else {
                p.small.soft { "Cancelling asks the server to stop the statement; the session goes on. Ending closes the connection, and an open "
                    "transaction is rolled back. Both are recorded under your name." }
                form.stack method="post" action={ "/sessions/" (session.session) } {
                    input type="hidden" name="csrf" value=(person.csrf);
                    label.check { input type="checkbox" name="sure" value="yes" required; " I mean this session" }
                    div.actions {
                        button type="submit" name="action" value="cancel" { "Cancel statement" }
                        button.grave type="submit" name="action" value="end" { "End session" }
                    }
                }
            }
        }
    }
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Act {
    Cancel,
    End,
}

/// What somebody wants done to a session.
#[derive(Debug, Deserialize)]
pub struct Wanted {
    action: Act,
    #[serde(default)]
    sure: String,
}

/// Cancels or ends: recorded first.
pub async fn submit(
    Extract(state): Extract<State>,
    Path(id): Path<String>,
    submitted: Submitted<Wanted>,
) -> Result<Response, Problem> {
    let Submitted { person, form } = submitted;
    require(&person, ConsoleRole::Operator)?;
    if form.sure != "yes" {
        return Err(Problem::Bad("Please confirm that you mean this session.".to_owned()));
    }
    let actor = person.actor();
    let done = match form.action {
        Act::Cancel => state.cancel_statement(&actor, &id).await.map(|()| format!("/sessions/{id}")),
        Act::End => state.end_session(&actor, &id).map(|()| "/sessions".to_owned()),
    };
    match done {
        Ok(next) => Ok(Redirect::to(&next).into_response()),
        Err(error @ NotDone::NoSession(_)) => Err(Problem::NotFound(error.to_string())),
        Err(error @ (NotDone::Unrecorded(_) | NotDone::NotAsked(_))) => Err(Problem::Unwritable(error.to_string())),
    }
}
