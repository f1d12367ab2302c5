//! Searching the audit log while typing, with facets, pages and a live tail.

use std::time::Instant;

use axum::extract::{Query, State as Extract};
use axum::http::HeaderMap;
use axum::response::{Html, IntoResponse, Response};
use jiff::Zoned;
use maud::{Markup, html};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::door::{LoggedIn, PART};
use super::layout::{self, Tab};
use super::list;
use super::problem::Problem;
use super::text::{OneLine, plain};
use crate::admin::State;
use crate::admin::people::Person;
use crate::amounts::count;
use crate::audit::Timestamp;
use crate::audit::filter::{Field, Filter, Kind};
use crate::audit::index::{Index, IndexError};
use crate::audit::query::{Facet, Order, Page, PageRequest};

/// Entries on a page.
const PAGE: usize = 50;
/// Entries that the live tail brings at once.
const TAIL: usize = 100;
/// Values of each facet.
const FACET_VALUES: usize = 6;
/// Longest filter, in bytes.
const FILTER_BYTES: usize = 4 << 10;
/// What is counted beside the results.
const FACETS: [(Field, &str); 6] = [
    (Field::Verdict, "Verdict"),
    (Field::Environment, "Environment"),
    (Field::User, "User"),
    (Field::Application, "Tool"),
    (Field::Effect, "Effect"),
    (Field::Object, "Touches"),
];
/// Searches that everybody has.
const QUICK: [(&str, &str); 5] = [
    ("Refusals", "verdict:deny"),
    ("Schema changes", "effect:ddl verdict:allow"),
    ("Writes", "effect:write,destroy verdict:allow"),
    ("Failed logins", "event:login_failed"),
    ("By people here", "event:admin,review"),
];

/// What stays out of the way when nobody asks for events: what people do here, and what only belongs to another record.
const ASIDE: &str = "-event:admin,review,outcome,transaction,checkpoint,segment";

/// What the page asks for.
#[derive(Debug, Default, Deserialize)]
pub struct Asked {
    #[serde(default)]
    q: String,
    after: Option<u64>,
}

/// The search page with a filter.
pub fn href(filter: &str) -> String {
    format!("/audit?q={}", utf8_percent_encode(filter, NON_ALPHANUMERIC))
}

/// A term of a filter. What the filter language cannot write in a value is left to `*`.
pub fn term(field: &str, value: &str) -> String {
    let value: String = value.chars().map(|c| if c == '"' || c == ',' || c.is_control() { '*' } else { c }).collect();
    let quoted = value.is_empty() || value.starts_with(['<', '>', '=']) || value.contains(char::is_whitespace);
    if quoted { format!("{field}:\"{value}\"") } else { format!("{field}:{value}") }
}

/// A filter as the page takes it: without a word about events, what people do in the console itself stays out of the way.
fn parse(text: &str) -> Result<Filter, String> {
    if text.len() > FILTER_BYTES {
        return Err("the filter is too long".to_owned());
    }
    let filter = Filter::parse(text, &Zoned::now()).map_err(|error| error.to_string())?;
    let about_people = filter.names_events() || names(&filter, Field::By) || names(&filter, Field::Target);
    if about_people || names(&filter, Field::Id) || names(&filter, Field::Sequence) {
        return Ok(filter);
    }
    let others = Filter::parse(ASIDE, &Zoned::now()).map_err(|error| error.to_string())?;
    Ok(filter.and(&others))
}

fn names(filter: &Filter, wanted: Field) -> bool {
    use crate::audit::filter::Test;
    filter.terms.iter().any(|term| match &term.test {
        Test::Text { field, .. } | Test::Number { field, .. } => *field == wanted,
        Test::Time { .. } | Test::Free(_) => false,
    })
}

/// What the index says.
struct Answers {
    page: Page,
    total: u64,
    facets: Vec<Facet>,
}

fn answers(index: &Index, filter: &Filter, after: Option<u64>) -> Result<Answers, IndexError> {
    let fields: Vec<Field> = FACETS.iter().map(|(field, _)| *field).collect();
    Ok(Answers {
        page: index.search(filter, PageRequest { after, ..PageRequest::newest(PAGE) })?,
        total: index.count(filter)?,
        facets: index.facets(filter, &fields, FACET_VALUES)?,
    })
}

/// The page, or its results alone for the page's own script.
pub async fn show(
    Extract(state): Extract<State>,
    LoggedIn(person): LoggedIn,
    headers: HeaderMap,
    Query(asked): Query<Asked>,
) -> Result<Response, Problem> {
    let text = asked.q.trim().to_owned();
    let (results, facets) = match parse(&text) {
        Ok(filter) => {
            note_search(&state, &person, &text, headers.contains_key(PART));
            let answers = state.query(move |index| answers(index, &filter, asked.after)).await?;
            (results(&text, &answers, asked.after), side(&text, &answers.facets))
        }
        Err(problem) => (html! { p.note role="status" { (OneLine(&problem, 400)) } }, html! {}),
    };
    let inner = html! { div { (results) } (facets) };
    if headers.contains_key(PART) {
        return Ok(Html(inner.into_string()).into_response());
    }
    let body = html! {
        div.top { h1 { "Audit log" } button.right id="live" type="button" aria-pressed="false" hidden { "Follow live" } }
        form.search method="get" action="/audit" role="search" {
            input name="q" type="search" value=(plain(&text)) aria-label="Filter" autocomplete="off" autocapitalize="off" spellcheck="false"
                placeholder="user:studio_reader verdict:deny table:orders since:friday \"free text\"";
            button type="submit" { "Search" }
        }
        (quick(&state, &person, &text))
        (help())
        div.searching id="results" aria-live="polite" { (inner) }
    };
    Ok(layout::page(&state.frame(&person), Tab::Audit, "Audit log", &body).into_response())
}

/// Records what was looked for: a page that was asked for at once, what is still being typed once it was typed to its end.
fn note_search(state: &State, person: &Person, text: &str, is_part: bool) {
    let actor = person.actor();
    let before = match is_part {
        true => state.people.types(person, text, Instant::now()),
        false => state.people.typed(person),
    };
    let now = Some(text.to_owned()).filter(|_| !is_part);
    for search in before.into_iter().chain(now) {
        state.looks(&actor, "audit.search", Some(search));
    }
}

fn quick(state: &State, person: &Person, text: &str) -> Markup {
    let saved = state.saved.all();
    html! {
        nav.quick aria-label="Searches" {
            a href="/audit" aria-current=[text.is_empty().then_some("true")] { "Everything" }
            @for (name, filter) in QUICK { a href=(href(filter)) aria-current=[(text == filter).then_some("true")] { (name) } }
            @for one in &saved {
                a href=(href(&one.filter)) aria-current=[(text == one.filter).then_some("true")] title={ "saved by " (plain(&one.by)) } {
                    "★ " (OneLine(&one.name, 40))
                }
            }
            details.fold {
                summary { "Save this search" }
                form.row.actions method="post" action="/audit/saved" {
                    input type="hidden" name="csrf" value=(person.csrf);
                    input type="hidden" name="filter" id="saved-filter" value=(text);
                    label { "Name" input name="name" required maxlength="60" autocomplete="off"; }
                    button type="submit" { "Save" }
                }
                @if !saved.is_empty() {
                    ul.actions {
                        @for one in saved.iter().filter(|one| one.by == person.user) {
                            li { form method="post" action="/audit/saved/remove" {
                                input type="hidden" name="csrf" value=(person.csrf);
                                input type="hidden" name="name" value=(one.name);
                                button type="submit" { "Remove “" (OneLine(&one.name, 40)) "”" }
                            } }
                        }
                    }
                }
            }
        }
    }
}

fn help() -> Markup {
    html! {
        details.no-print {
            summary { "What a filter can say" }
            div.card.small {
                p { "Terms must all hold. " code { "field:a,b" } " holds for either, " code { "-term" } " where the term does not, " code { "*" }
                    " stands for anything; words without a field are searched for in the text." }
                dl.facts {
                    @for field in Field::ALL {
                        dt.mono { (field.names().first().copied().unwrap_or_default()) }
                        dd { (field.doc()) @if field.kind() == Kind::Duration { " (" code { "duration>100ms" } ")" } }
                    }
                }
            }
        }
    }
}

fn results(text: &str, answers: &Answers, after: Option<u64>) -> Markup {
    let now = Timestamp::now();
    html! {
        div.said-of {
            span { b { (list::total(answers.total)) } @if after.is_some() { ", older ones" } }
            @if !text.is_empty() { a href="/audit" { "Clear" } }
        }
        @if answers.page.entries.is_empty() {
            div.card.empty.big {
                @if text.is_empty() { b { "Nothing is recorded yet." } span { "Every statement, login and decision will stand here." } }
                @else { b { "No record holds all of that." } span { "Leave a term out, or look further back." } }
            }
        } @else { (list::records(&answers.page.entries, now, "")) }
        nav.pager aria-label="More records" {
            @if after.is_some() { a href=(href(text)) { "← Newest" } } @else { span {} }
            @if let Some(next) = answers.page.next { a href={ (href(text)) "&after=" (next) } { "Older →" } }
        }
    }
}

fn side(text: &str, facets: &[Facet]) -> Markup {
    html! {
        details.facets-fold open {
            summary { "Narrow down" }
            div.facets {
                @for (facet, title) in facets.iter().zip(FACETS.iter().map(|(_, title)| title)) {
                    @if !facet.values.is_empty() {
                        section {
                            h2 { (title) @if facet.distinct > facet.values.len() as u64 { " (" (count(facet.distinct)) ")" } }
                            ul { @for value in &facet.values {
                                li { a href=(href(&narrowed(text, facet.field, &value.value))) {
                                    span { (OneLine(&value.value, 34)) } span.n { (count(value.count)) }
                                } }
                            } }
                        }
                    }
                }
            }
        }
    }
}

/// The filter with one more term, if it has not got it already.
fn narrowed(text: &str, field: Field, value: &str) -> String {
    let term = term(field.names().first().copied().unwrap_or_default(), value);
    match text.split_whitespace().any(|word| word == term) {
        true => text.to_owned(),
        false => format!("{text} {term}").trim_start().to_owned(),
    }
}

/// What came since a record, for the live tail: the newest first.
pub async fn tail(
    Extract(state): Extract<State>,
    LoggedIn(_): LoggedIn,
    Query(asked): Query<Asked>,
) -> Result<Response, Problem> {
    let filter = parse(asked.q.trim()).map_err(Problem::Bad)?;
    let after = asked.after.unwrap_or(0);
    let page = state
        .query(move |index| {
            index.search(&filter, PageRequest { limit: TAIL, after: Some(after), order: Order::Oldest })
        })
        .await?;
    let mut entries = page.entries;
    entries.reverse();
    let markup = match entries.is_empty() {
        true => html! {},
        false => list::records(&entries, Timestamp::now(), ""),
    };
    Ok(Html(markup.into_string()).into_response())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_term_is_read_back_as_the_value_it_was_made_of() {
        for value in ["app", "Prisma Studio", "a\"b", "a,b", "*.secrets", "<b>", "x:y", "-x", "a\tb"] {
            let filter = Filter::parse(&term("application", value), &Zoned::now()).unwrap();
            assert_eq!(filter.terms.len(), 1, "{value}");
        }
        assert_eq!(term("user", "app"), "user:app");
        assert_eq!(term("act", "DROP TABLE"), "act:\"DROP TABLE\"");
        assert_eq!(href("user:a b"), "/audit?q=user%3Aa%20b");
    }

    #[test]
    fn a_filter_is_narrowed_once() {
        let once = narrowed("drop", Field::User, "app");
        assert_eq!(once, "drop user:app");
        assert_eq!(narrowed(&once, Field::User, "app"), once);
        assert_eq!(narrowed("", Field::User, "app"), "user:app");
    }
}
