//! One record: what was said, what it would do and on which words, why it was decided so, what stood around it, and its place in
//! the chain.

use axum::extract::{Path, State as Extract};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};

use super::door::LoggedIn;
use super::layout::{self, Tab};
use super::list;
use super::marks::{self, Marked, Tone, shown};
use super::problem::Problem;
use super::review;
use super::search::{href, term};
use super::text::{OneLine, Outside, bytes, moment, plain, time_of};
use crate::admin::State;
use crate::admin::proof::{self, Place};
use crate::amounts::count;
use crate::audit::index::IndexError;
use crate::audit::keys::PublicKey;
use crate::audit::query::{Found, Neighbourhood};
use crate::audit::search::Entry;
use crate::audit::view::{EffectView, ParameterView, RecordView, Story};
use crate::audit::{AuditId, Timestamp};
use crate::decision::marks::Mark as Seen;

/// Statements of the session shown before and after.
const AROUND: usize = 6;

struct Whole {
    /// What reading the text again sees, as far as the record agrees.
    seen: Vec<Seen>,
    found: Found,
    around: Neighbourhood,
    place: Place,
}

fn whole(state: &State, id: AuditId, key: Option<&PublicKey>) -> Result<Option<Whole>, IndexError> {
    let index = state.index();
    let Some(found) = index.record(id)? else { return Ok(None) };
    let seen = found.entry.with(|story| effects(state, story.record)).unwrap_or_default();
    let around = index.neighbourhood(id, AROUND)?.unwrap_or_default();
    let place = proof::place(index, &found.entry.line, key)?;
    Ok(Some(Whole { seen, found, around, place }))
}

fn id_of(text: &str) -> Result<AuditId, Problem> {
    text.parse().map_err(|_| Problem::NotFound("That is not an audit id: eleven letters and digits.".to_owned()))
}

/// The page.
pub async fn show(
    Extract(state): Extract<State>,
    LoggedIn(person): LoggedIn,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let id = id_of(&id)?;
    state.looks(&person.actor(), "audit.show", Some(id.to_string()));
    let key = PublicKey::read(&crate::audit::default_key(state.shared.audit.directory()).with_extension("pub")).ok();
    let found = state.ask(move |state| whole(state, id, key.as_ref())).await;
    let found = found.ok_or_else(|| Problem::Unreadable("the question could not be worked on".to_owned()))??;
    let Some(whole) = found else {
        return Err(Problem::NotFound(format!("There is no record {id} in this log (or not yet in its index).")));
    };
    let body = whole.found.entry.with(|story| page(&state, &person, story, &whole));
    let body = body.ok_or_else(|| Problem::Unreadable("the record has not the shape of one".to_owned()))?;
    Ok(layout::page(&state.frame(&person), Tab::Audit, &format!("Record {id}"), &body).into_response())
}

fn page(state: &State, person: &crate::admin::people::Person, story: &Story<'_>, whole: &Whole) -> Markup {
    let record = story.record;
    let now = Timestamp::now();
    html! {
        div.top {
            h1 { (heading(record)) }
            span { (list::badge(record)) }
            span.right {
                code.permalink { (OneLine(&record.id, 20)) } " "
                button type="button" data-copy={ "/audit/" (record.id) } hidden { "Copy link" }
            }
        }
        div.columns {
            div.stack {
                @if record.event == "statement" { (statement(&whole.seen, record)) } @else { (event(record)) }
                (session(record, &whole.around, &whole.found.entry, now))
            }
            div.stack {
                (review::of_record(state, person, story))
                (verdict(story))
                (who(record))
                (chain(&whole.place, &whole.found))
            }
        }
    }
}

fn heading(record: &RecordView<'_>) -> Markup {
    html! {
        @if record.event == "statement" {
            @if record.effects.is_empty() { "Statement" } @else { (list::acts(record)) }
        } @else { (OneLine(&record.event.replace('_', " "), 40)) }
    }
}

/// Effects that the record holds, beside those that reading its text again gives words for.
fn effects(state: &State, record: &RecordView<'_>) -> Vec<Seen> {
    let again = if record.text.is_empty() { Vec::new() } else { state.seen(&record.text).effects };
    again.into_iter().filter(|seen| record.effects.iter().any(|effect| is_same(seen, effect))).collect()
}

fn is_same(seen: &Seen, effect: &EffectView<'_>) -> bool {
    effect.class == seen.class && effect.object == seen.object.as_deref().unwrap_or_default()
}

fn statement(seen: &[Seen], record: &RecordView<'_>) -> Markup {
    let refused = record.verdict == "deny" || record.verdict == "observe";
    let gravest = seen.iter().map(|effect| Tone::of(effect.class)).max().unwrap_or(Tone::Quiet);
    let marks = marks::marks(seen, |effect| refused && Tone::of(effect.class) == gravest);
    let marked = Marked::new(&record.text, marks);
    html! {
        section.card {
            h2 { "Statement" }
            @if record.text.is_empty() {
                p.empty { "Its text is not recorded." @if !record.fingerprint.is_empty() { " Its fingerprint is " code { (OneLine(&record.fingerprint, 40)) } "." } }
            } @else {
                pre.sql tabindex="0" aria-label="The statement's text" { (marked) }
                @if shown(&record.text).len() < record.text.len() {
                    p.note { "These are the first " (bytes(shown(&record.text).len() as u64)) " of " (bytes(record.text.len() as u64)) ". "
                        a href={ "/audit/" (record.id) "/text" } { "All of it, as plain text" } }
                }
            }
            (parameters(record))
        }
        section.card {
            h2 { "What it does" }
            @if record.effects.is_empty() { p.empty { "Nothing that counts as an effect." } }
            ol.effects {
                @for effect in &record.effects {
                    @let known = seen.iter().position(|seen| is_same(seen, effect));
                    li {
                        span.n { @match known.filter(|at| marked.has(at + 1)) { Some(at) => (at + 1), None => "·" } }
                        span {
                            b { (OneLine(&effect.act, 80)) } " " @if !effect.object.is_empty() { code { (OneLine(&effect.object, 120)) } " " }
                            span.chip { (OneLine(&effect.class, 40)) }
                            @if effect.by != "both" { span.why { "seen by " (OneLine(&effect.by, 20)) " only" } }
                        }
                    }
                }
            }
        }
    }
}

/// What its parameters were bound to, as far as that is recorded.
fn parameters(record: &RecordView<'_>) -> Markup {
    html! {
        @if !record.parameters.is_empty() {
            h3 { "Bound parameters" }
            dl.facts.bound {
                @for (number, parameter) in (1..).zip(&record.parameters) {
                    dt { "$" (number) }
                    dd { @match parameter {
                        ParameterView::Null | ParameterView::Text(_) => code { (OneLine(&parameter.to_string(), 2_000)) },
                        ParameterView::Other(_) => span.soft { (OneLine(&parameter.to_string(), 2_000)) },
                    } }
                }
            }
            @if let Some(bound) = record.parameters_bound {
                p.note { "These are the first " (count(record.parameters.len() as u64)) " of " (count(bound)) "." }
            }
        }
    }
}

/// A record that is no statement: what it has to say.
fn event(record: &RecordView<'_>) -> Markup {
    html! {
        section.card {
            h2 { "What happened" }
            p { (OneLine(&list::details(record), 2_000)) }
            @if !record.changes.is_empty() {
                ul.effects { @for change in &record.changes { li { span.n { "·" } span { (OneLine(change, 400)) } } } }
            }
            @if record.event == "reads" && !record.fingerprint.is_empty() {
                p { a href=(href(&term("fingerprint", &record.fingerprint))) { "All statements of this fingerprint" } }
            }
            @if record.event == "grant" && !record.grant.is_empty() {
                p { a href={ "/grants/" (record.grant) } { "The grant" } }
            }
            @if record.event == "review" && !record.of.is_empty() {
                p { a href={ "/audit/" (record.of) } { "The record that was reviewed" } }
            }
        }
    }
}

fn verdict(story: &Story<'_>) -> Markup {
    let record = story.record;
    html! {
        section.card {
            h2 { "Why, and how it went" }
            dl.facts {
                dt { "Time" } dd { (time_of(&record.time).map(|at| moment(at, "%a %F %H:%M:%S%.3f %Z")).unwrap_or_default()) }
                @if !record.rule.is_empty() { dt { "Rule" } dd { (Outside(&record.rule)) } }
                @if !record.policy.is_empty() {
                    dt { "Policy" } dd { (Outside(&record.policy)) @if let Some(generation) = record.generation { ", generation " (generation) } }
                }
                @if !record.grant.is_empty() {
                    dt { "Grant" }
                    dd { @for grant in record.grant.split(' ') { a href={ "/grants/" (grant) } { (OneLine(grant, 60)) } " " } }
                }
                @if !record.sqlstate.is_empty() { dt { "SQLSTATE" } dd.mono { (OneLine(&record.sqlstate, 10)) } }
                @if !record.readers.is_empty() {
                    dt { "Read by" }
                    dd { @match record.readers.as_ref() {
                        "both" => "both readers",
                        "disagree" => "both readers, which saw different things: the stricter counts",
                        "postgres" => "PostgreSQL's grammar alone",
                        _ => "neither reader",
                    } }
                }
                @if let Some(outcome) = story.outcome { dt { "Outcome" } dd { (list::outcome(outcome)) } }
                @else if record.verdict == "deny" { dt { "Outcome" } dd { "It never reached the server." } }
            }
        }
    }
}

fn who(record: &RecordView<'_>) -> Markup {
    let rows: [(&str, &str, &str); 9] = [
        ("User", &record.user, "user"),
        ("Role", &record.role, "role"),
        ("Environment", &record.environment, "environment"),
        ("Database", &record.database, "database"),
        ("Endpoint", &record.endpoint, "endpoint"),
        ("Tool", &record.application, "application"),
        ("Client", &record.client, "client"),
        ("Login", &record.login, "login"),
        ("Session", &record.session, "session"),
    ];
    html! {
        section.card {
            h2 { "Who" }
            dl.facts {
                @if !record.by.is_empty() { dt { "By" } dd { a href=(href(&term("by", &record.by))) { (OneLine(&record.by, 80)) } } }
                @for (name, value, field) in rows.into_iter().filter(|(_, value, _)| !value.is_empty()) {
                    dt { (name) } dd { a href=(href(&term(field, value))) { (OneLine(value, 120)) } }
                }
                @if !record.session.is_empty() { dt { "TLS" } dd { @if record.tls.is_empty() { "none" } @else { (OneLine(&record.tls, 20)) } } }
            }
        }
    }
}

fn session(record: &RecordView<'_>, around: &Neighbourhood, own: &Entry, now: Timestamp) -> Markup {
    if record.session.is_empty() {
        return html! {};
    }
    let mut entries: Vec<Entry> = around.login.iter().chain(&around.before).cloned().collect();
    entries.push(own.clone());
    entries.extend(around.after.iter().chain(&around.session_end).cloned());
    let related: Vec<Entry> = around.related.iter().map(|line| Entry { line: line.clone(), outcome: None }).collect();
    html! {
        section aria-label="The session around it" {
            div.said-of {
                h2 { "The session around it" }
                a href=(href(&term("session", &record.session))) { "All of it" }
            }
            (list::plain(&entries, now, &record.id))
        }
        @if !related.is_empty() {
            section aria-label="What belongs to it" { div.said-of { h2 { "What belongs to it" } } (list::plain(&related, now, "")) }
        }
    }
}

fn chain(place: &Place, found: &Found) -> Markup {
    html! {
        section.card {
            h2 { "Place in the chain" }
            dl.facts {
                dt { "Record" } dd { (count(place.seq)) " of the chain" }
                dt { "File" } dd { code { (OneLine(&found.file, 80)) } ", line " (count(found.line)) }
                dt { "Before it" } dd.hash { @match &place.previous { Some(hash) => (hash), None => span.soft { "not kept any more" } } }
                dt { "Its hash" } dd.hash { (place.hash) }
                dt { "Chained" }
                dd { @if place.chained { span.state.good { "computed anew, and the same" } }
                    @else if place.previous.is_none() { span.state { "cannot be computed" } }
                    @else { span.state.bad { "NOT what follows from the record before" } } }
                dt { "Signed" }
                dd { @match &place.signature {
                    None => span.state.busy { "not yet: within a second" },
                    Some(signature) => {
                        @match signature.valid {
                            Some(true) => span.state.good { "by record " (count(signature.seq)) },
                            Some(false) => span.state.bad { "the signature of record " (count(signature.seq)) " is WRONG" },
                            None => span.state { "by record " (count(signature.seq)) ", another key" },
                        }
                        div.soft.small { "key " code { (OneLine(&signature.key, 40)) } }
                    }
                } }
            }
            p.soft.small { "The whole chain is proved by " code { "pgwarden audit verify" } ", also on a copy elsewhere." }
        }
    }
}

/// A statement's whole text as a plain file, hazards by their numbers.
pub async fn text(
    Extract(state): Extract<State>,
    LoggedIn(person): LoggedIn,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let id = id_of(&id)?;
    state.looks(&person.actor(), "audit.show", Some(id.to_string()));
    let found = state.query(move |index| index.record(id)).await?;
    let text = found.and_then(|found| found.entry.with(|story| plain(&story.record.text)));
    let text = text.ok_or_else(|| Problem::NotFound(format!("There is no record {id} in this log.")))?;
    let headers = [
        (CONTENT_TYPE, "text/plain; charset=utf-8".to_owned()),
        (CONTENT_DISPOSITION, format!("inline; filename=\"{id}.sql.txt\"")),
    ];
    Ok((headers, text).into_response())
}
