//! The overview: how the last hour, day or week went, and whether all is well now.

use axum::extract::{Query, State as Extract};
use axum::response::{IntoResponse, Response};
use jiff::Zoned;
use maud::{Markup, html};
use serde::Deserialize;

use super::chart::{self, Axis, Bar};
use super::door::LoggedIn;
use super::layout::{self, Tab};
use super::list;
use super::problem::Problem;
use super::search::{href, term};
use super::text::{OneLine, ago, bytes, duration, one_line};
use crate::admin::State;
use crate::admin::endpoints::EndpointHealth;
use crate::amounts::{count, counted};
use crate::audit::Timestamp;
use crate::audit::filter::{Field, Filter};
use crate::audit::index::{Index, IndexError, Progress};
use crate::audit::query::{Bucket, Counted, NewFingerprint, Rank, Verdicts};
use crate::audit::search::Entry;

const MINUTE_US: u64 = 60_000_000;
/// Entries in each of the lists.
const LISTED: usize = 6;

/// Which stretch of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Stretch {
    Hour,
    #[default]
    Day,
    Week,
}

impl Stretch {
    const ALL: [Stretch; 3] = [Stretch::Hour, Stretch::Day, Stretch::Week];

    const fn name(self) -> &'static str {
        match self {
            Stretch::Hour => "hour",
            Stretch::Day => "day",
            Stretch::Week => "week",
        }
    }

    fn axis(self, now: Timestamp) -> Axis {
        match self {
            Stretch::Hour => Axis::ending(now, MINUTE_US, 60, ("%H:%M", "a minute", 4)),
            Stretch::Day => Axis::ending(now, 15 * MINUTE_US, 96, ("%H:%M", "15 minutes", 4)),
            Stretch::Week => Axis::ending(now, 120 * MINUTE_US, 84, ("%a %-d", "2 hours", 7)),
        }
    }
}

/// What the page asks for.
#[derive(Debug, Default, Deserialize)]
pub struct Asked {
    #[serde(default)]
    last: Stretch,
}

/// What the index says.
struct Answers {
    buckets: Vec<Bucket>,
    refused: Vec<Counted>,
    by: Vec<Counted>,
    tools: Vec<Counted>,
    failed_logins: u64,
    new: Vec<NewFingerprint>,
    slowest: Vec<Entry>,
    largest: Vec<Entry>,
    progress: Progress,
}

fn answers(index: &Index, axis: Axis) -> Result<Answers, IndexError> {
    let now = Zoned::now();
    let since = format!("since:{}", axis.from);
    let filter = |words: &str| Filter::parse(&format!("{words} {since}"), &now).unwrap_or_default();
    let (statements, refusals) = (filter("event:statement"), filter("event:statement verdict:deny"));
    Ok(Answers {
        buckets: index.timeline(&statements, axis.bucket_us)?,
        refused: index.top(&refusals, Field::Act, LISTED)?,
        by: index.top(&refusals, Field::User, LISTED)?,
        tools: index.top(&refusals, Field::Application, LISTED)?,
        failed_logins: index.count(&filter("event:login_failed"))?,
        new: index.new_fingerprints(None, axis.from, LISTED)?,
        slowest: index.ranked(&statements, Rank::Duration, LISTED)?,
        largest: index.ranked(&statements, Rank::Bytes, LISTED)?,
        progress: index.progress(),
    })
}

/// The page.
pub async fn show(
    Extract(state): Extract<State>,
    LoggedIn(person): LoggedIn,
    Query(asked): Query<Asked>,
) -> Result<Response, Problem> {
    let now = Timestamp::now();
    let axis = asked.last.axis(now);
    let answers = state.query(move |index| answers(index, axis)).await?;
    let frame = state.frame(&person);
    let endpoints = state.known.latest();
    state.looks(&person.actor(), "overview.show", None);
    let sum = axis.lay(&answers.buckets).iter().fold(Verdicts::default(), |sum, one| Verdicts {
        allow: sum.allow + one.allow,
        deny: sum.deny + one.deny,
        observe: sum.observe + one.observe,
    });
    let body = html! {
        div.top {
            h1 { "Overview" }
            nav.tabs.right aria-label="Stretch of time" {
                @for one in Stretch::ALL {
                    a href={ "/?last=" (one.name()) } aria-current=[(one == asked.last).then_some("page")] { "Last " (one.name()) }
                }
            }
        }
        (warnings(&state, &answers.progress))
        div.stack {
            section.grid.four aria-label="Figures" { (figures(&state, &frame, &answers, &axis, sum)) }
            section.card aria-label="Statements over time" { (chart::timeline(&axis, &answers.buckets)) }
            div.grid.three { (refusals(&answers, &axis)) }
            div.grid.two {
                section.card { h2 { "Slowest statements" } (slow(&answers.slowest)) }
                section.card { h2 { "Largest answers" } (large(&answers.largest)) }
            }
            div.grid.two {
                section.card { h2 { "Never seen before" } (new(&answers.new, now)) }
                section.card { h2 { "Endpoints" } (health(&state, endpoints.as_ref(), now)) }
            }
        }
    };
    Ok(layout::page(&frame, Tab::Overview, "Overview", &body).into_response())
}

fn warnings(state: &State, progress: &Progress) -> Markup {
    let health = state.shared.audit.health();
    html! {
        @if !health.writable {
            p.note.bad role="status" {
                b { "The audit log cannot be written." } " "
                (OneLine(health.last_error.as_deref().unwrap_or(""), 300)) " "
                @if state.shared.audit.refuses().is_some() { "Statements are refused until it can be." }
                @else { "Statements pass; " (counted(health.queue_records, "record")) " wait in memory, " (count(health.lost)) " are lost." }
            }
        }
        @if progress.building {
            p.note role="status" { "The index is being built: figures below do not hold everything yet." }
        }
        @if let Some(error) = &progress.error {
            p.note.bad role="status" { b { "The index does not follow the log." } " " (OneLine(error, 300)) }
        }
    }
}

fn figures(state: &State, frame: &layout::Frame, answers: &Answers, axis: &Axis, sum: Verdicts) -> Markup {
    let since = format!("since:{}", axis.from);
    html! {
        a.card.figure href=(href(&format!("event:statement {since}"))) {
            span.label { "Statements" } span.value { (count(sum.total())) }
            span.more { @if sum.observe > 0 { (count(sum.observe)) " would be refused" } @else { "each judged and recorded" } }
        }
        a.card.figure href=(href(&format!("event:statement verdict:deny {since}"))) {
            span.label { "Refused" } span.value.deny[sum.deny > 0] { (count(sum.deny)) }
            span.more { (counted(answers.failed_logins, "failed login")) }
        }
        a.card.figure href="/sessions" {
            span.label { "Sessions now" } span.value { (count(state.shared.gate.count() as u64)) }
            span.more { "policy generation " (state.shared.door.generation()) }
        }
        a.card.figure href="/review" {
            span.label { "To review" } span.value.deny[frame.overdue > 0] { (count(frame.open as u64)) }
            span.more { @if frame.overdue > 0 { span.deny { (count(frame.overdue as u64)) " overdue" } } @else { "nothing overdue" } }
        }
    }
}

fn refusals(answers: &Answers, axis: &Axis) -> Markup {
    let since = format!("verdict:deny since:{}", axis.from);
    let lists: [(&str, &[Counted], &str); 3] = [
        ("Refused most", &answers.refused, "act"),
        ("Refused to", &answers.by, "user"),
        ("With which tool", &answers.tools, "application"),
    ];
    html! {
        @for (title, values, field) in lists {
            section.card {
                h2 { (title) }
                @if values.is_empty() { p.empty { "Nothing was refused." } }
                @else {
                    (chart::bars(&values.iter().map(|value| Bar {
                        name: one_line(&value.value, 60).0,
                        value: value.count,
                        shown: count(value.count),
                        href: href(&format!("{} {since}", term(field, &value.value))),
                        tone: "deny",
                    }).collect::<Vec<_>>()))
                }
            }
        }
    }
}

fn slow(entries: &[Entry]) -> Markup {
    match entries.is_empty() {
        true => html! { p.empty { "No statement was forwarded." } },
        false => chart::bars(&list::ranked(entries, |outcome| outcome.duration_us.unwrap_or(0), duration)),
    }
}

fn large(entries: &[Entry]) -> Markup {
    match entries.is_empty() {
        true => html! { p.empty { "No statement was forwarded." } },
        false => chart::bars(&list::ranked(entries, |outcome| outcome.bytes.unwrap_or(0), bytes)),
    }
}

fn new(found: &[NewFingerprint], now: Timestamp) -> Markup {
    html! {
        @if found.is_empty() { p.empty { "Every statement had been seen before in its environment." } }
        @else { ol.effects.lines {
            @for new in found {
                li.wide {
                    @let text = new.entry.with(|story| (story.record.id.to_string(), one_line(&story.record.text, 100).0));
                    @if let Some((id, text)) = text {
                        a.mono href={ "/audit/" (id) } {
                            @if text.is_empty() { (OneLine(&new.fingerprint, 20)) } @else { (OneLine(&text, 100)) }
                        }
                    }
                    span.why { "in " (OneLine(&new.environment, 40)) ", " (ago(new.first, now)) }
                }
            }
        } }
    }
}

fn health(state: &State, probed: Option<&(Timestamp, Vec<EndpointHealth>)>, now: Timestamp) -> Markup {
    let audit = state.shared.audit.health();
    html! {
        dl.facts.wide-terms {
            @match probed {
                None => { dt { "Endpoints" } dd.soft { "are being asked" } }
                Some((at, endpoints)) => {
                    @for endpoint in endpoints {
                        dt { (OneLine(&endpoint.database, 40)) " " span.soft { (endpoint.endpoint) } }
                        dd {
                            @match (endpoint.reachable, &endpoint.error) {
                                (Some(true), _) => { span.state.good { "reachable" } @if let Some(took) = endpoint.took_us { span.soft.small { " in " (duration(took)) } } }
                                (_, Some(error)) => { span.state.bad { "not reachable" } div.soft.small { (OneLine(error, 200)) } }
                                (_, None) => span.state { "depends on the database's name" },
                            }
                        }
                    }
                    dt.soft { "Asked" } dd.soft { (ago(*at, now)) }
                }
            }
            dt { "Audit log" }
            dd {
                @if audit.writable { span.state.good { "written" } } @else { span.state.bad { "cannot be written" } }
                div.soft.small { "record " (count(audit.sequence)) ", " (counted(audit.checkpoints, "signature")) " since the start" }
            }
        }
    }
}
