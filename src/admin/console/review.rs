//! The review inbox: what waits for a person, and what people say of it.

use axum::extract::{Query, State as Extract};
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use serde::Deserialize;

use super::door::{LoggedIn, Submitted, require};
use super::layout::{self, Tab};
use super::list;
use super::problem::Problem;
use super::search::href;
use super::text::{BRIEF, OneLine, Outside, ago, moment, rough, time_of};
use crate::admin::State;
use crate::admin::inbox::{Item, MOST_ITEMS, MOST_RECORDS, key_of};
use crate::admin::people::Person;
use crate::admin::reviews::ReviewAction;
use crate::amounts::{count, counted};
use crate::audit::query::ReviewState;
use crate::audit::view::Story;
use crate::audit::{AuditId, Timestamp};
use crate::config::{Config, ConsoleRole};

/// Items on the page.
const SHOWN: usize = 60;
/// Longest note, in characters.
const NOTE_CHARS: usize = 2_000;

/// Which items.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum View {
    #[default]
    Open,
    Overdue,
    Mine,
    Problems,
}

impl View {
    const ALL: [(View, &'static str, &'static str); 4] = [
        (View::Open, "open", "Open"),
        (View::Overdue, "overdue", "Overdue"),
        (View::Mine, "mine", "Mine"),
        (View::Problems, "problems", "Problems"),
    ];

    fn holds(self, item: &Item, person: &Person, now: Timestamp) -> bool {
        match self {
            View::Open => !item.problem,
            View::Overdue => item.is_overdue(now),
            View::Mine => item.assigned.as_deref() == Some(&person.user),
            View::Problems => item.problem,
        }
    }
}

/// What the page asks for.
#[derive(Debug, Default, Deserialize)]
pub struct Asked {
    #[serde(default)]
    view: View,
}

/// The page.
pub async fn show(
    Extract(state): Extract<State>,
    LoggedIn(person): LoggedIn,
    Query(asked): Query<Asked>,
) -> Result<Response, Problem> {
    let now = Timestamp::now();
    state.looks(&person.actor(), "reviews.list", None);
    let config = state.shared.door.config();
    let items = state.inbox.items();
    let held: Vec<&Item> = items.iter().filter(|item| asked.view.holds(item, &person, now)).collect();
    let summary = state.inbox.summary(now);
    let body = html! {
        div.top {
            h1 { "Review" }
            nav.tabs aria-label="Which items" {
                @for (view, word, name) in View::ALL {
                    @let many = items.iter().filter(|item| view.holds(item, &person, now)).count();
                    a href={ "/review?view=" (word) } aria-current=[(view == asked.view).then_some("page")] { (name) " " (count(many as u64)) }
                }
            }
            a.button.right href="/review/digest" { "Weekly digest" }
        }
        @if summary.full {
            p.note { "More than " (count(MOST_ITEMS as u64)) " different things wait; the rest is left out here. Rules that ask for less "
                "are reviewed more." }
        }
        @if held.is_empty() { (nothing(&config, asked.view)) }
        @else {
            div.inbox id="inbox" {
                @for item in held.iter().take(SHOWN) { (card(item, &person, &config, now)) }
            }
            @if held.len() > SHOWN { p.empty { "And " (count((held.len() - SHOWN) as u64)) " more, due later." } }
        }
        (rules(&config))
    };
    Ok(layout::page(&state.frame(&person), Tab::Review, "Review", &body).into_response())
}

fn nothing(config: &Config, view: View) -> Markup {
    html! {
        div.card.empty.big {
            @if config.reviews.is_empty() {
                b { "No rule says what to review." }
                span { "Add " code { "[[reviews]]" } " to the configuration: a name, a filter, and within which time." }
                pre.sql { "[[reviews]]\nname = \"refusals in production\"\nfilter = \"environment:production verdict:deny\"\nwithin = \"7d\"" }
            } @else {
                @match view {
                    View::Open => { b { "Everything has been looked at." } span { "New records come here by themselves." } }
                    View::Overdue => b { "Nothing is overdue." },
                    View::Mine => b { "Nothing is assigned to you." },
                    View::Problems => b { "Nothing is marked as a problem." },
                }
            }
        }
    }
}

fn rules(config: &Config) -> Markup {
    html! {
        @if !config.reviews.is_empty() {
            details {
                summary { (counted(config.reviews.len() as u64, "rule")) " bring records here" }
                ul.effects.card {
                    @for rule in &config.reviews {
                        li.wide {
                            b { (OneLine(&rule.name, 80)) } " "
                            @if rule.new { "statements never seen before in their environment " }
                            @if !rule.filter.is_empty() { a.mono href=(href(&rule.filter)) { (OneLine(&rule.filter, 200)) } }
                            span.why { "within " (rough(rule.within.as_micros() as u64)) }
                        }
                    }
                }
            }
        }
    }
}

fn card(item: &Item, person: &Person, config: &Config, now: Timestamp) -> Markup {
    item.newest.with(|story| opened(item, story, person, config, now)).unwrap_or_default()
}

fn opened(item: &Item, story: &Story<'_>, person: &Person, config: &Config, now: Timestamp) -> Markup {
    let record = story.record;
    let text = if record.event == "statement" { record.text.to_string() } else { list::details(record) };
    let alike = similar(item, story);
    let many = item.waiting.len();
    html! {
        article.card.item.problem[item.problem] {
            div {
                (list::badge(record)) " "
                b { @if record.event == "statement" { (list::acts(record)) } @else { (OneLine(&record.event.replace('_', " "), 40)) } }
                @if many > 1 { " " a.badge href=(href(&alike)) title="The records of this item" { "× " (count(many as u64)) @if many >= MOST_RECORDS { "+" } } }
            }
            span.due.late[item.is_overdue(now)] {
                @if item.problem { "problem" } @else if item.is_overdue(now) { "overdue by " (rough(now.0 - item.due.0)) } @else { "due " (ago(item.due, now)) }
            }
            a.sql-line.stop href={ "/audit/" (record.id) } { (OneLine(if text.is_empty() { "(no text)" } else { &text }, BRIEF)) }
            div.by {
                (list::by(record, false)) " · "
                @if many > 1 { (moment(item.first, "%a %-d %b %H:%M")) " to " (moment(item.last, "%a %-d %b %H:%M")) } @else { (moment(item.last, "%a %-d %b %H:%M")) }
                " · " (OneLine(&item.rules.join(", "), 120))
            }
            @if let Some(said) = &item.said { (last_word(said, now)) }
            (form(item, person, config))
        }
    }
}

/// A filter that finds the records of an item, and hardly others.
fn similar(item: &Item, story: &Story<'_>) -> String {
    let record = story.record;
    let mut terms = vec![format!("event:{}", record.event)];
    let fields: [(&str, &str); 5] = [
        ("user", &record.user),
        ("role", &record.role),
        ("environment", &record.environment),
        ("verdict", &record.verdict),
        ("fingerprint", &record.fingerprint),
    ];
    terms.extend(
        fields.iter().filter(|(_, value)| !value.is_empty()).map(|(field, value)| super::search::term(field, value)),
    );
    if record.fingerprint.is_empty()
        && let Some(effect) = record.effects.iter().max_by_key(|effect| super::marks::Tone::of(&effect.class))
    {
        terms.push(super::search::term("act", &effect.act));
    }
    terms.push(format!("since:{}", item.first));
    terms.join(" ")
}

fn last_word(said: &ReviewState, now: Timestamp) -> Markup {
    html! {
        div.by {
            b { (OneLine(&said.by, 60)) } " "
            @match said.action.as_str() {
                "assigned" => { "assigned it to " b { (OneLine(&said.note, 60)) } },
                "problem" => { "marked it as a problem: " (Outside(&said.note)) },
                "reopened" => { "opened it again" @if !said.note.is_empty() { ": " (Outside(&said.note)) } },
                _ => { "acknowledged one" @if !said.note.is_empty() { ": " (Outside(&said.note)) } },
            }
            @if let Some(at) = time_of(&said.time) { ", " (ago(at, now)) }
            @if said.action != "assigned" && let Some(who) = &said.assigned { " · assigned to " b { (OneLine(who, 60)) } }
        }
    }
}

/// What an auditor can say of an item.
fn form(item: &Item, person: &Person, config: &Config) -> Markup {
    if person.role < ConsoleRole::Auditor {
        return html! {};
    }
    let Some(through) = item.waiting.last() else { return html! {} };
    let id = through.to_string();
    html! {
        form.do method="post" action="/review" {
            input type="hidden" name="csrf" value=(person.csrf);
            input type="hidden" name="item" value=(item.key);
            input type="hidden" name="through" value=(id);
            input name="note" maxlength=(NOTE_CHARS) placeholder="Note" aria-label={ "Note on " (id) } autocomplete="off";
            button.main type="submit" name="action" value="acknowledged" aria-label={ "Acknowledge " (id) } { "Acknowledge" }
            button type="submit" name="action" value="problem" aria-label={ "Problem: " (id) } { "Problem" }
            details.fold {
                summary { "Assign" }
                span.row {
                    select name="to" aria-label={ "Assign " (id) " to" } {
                        @for name in reviewers(config) { option value=(name) selected[name == person.user] { (OneLine(&name, 60)) } }
                    }
                    button type="submit" name="action" value="assigned" { "Assign" }
                }
            }
        }
    }
}

fn reviewers(config: &Config) -> Vec<String> {
    let may = |user: &&crate::config::User| user.console.is_some_and(|role| role >= ConsoleRole::Auditor);
    let mut names: Vec<String> = config.users.values().filter(may).map(|user| user.name.clone()).collect();
    names.sort();
    names
}

/// The inbox's word on a record, for the record's own page.
pub fn of_record(state: &State, person: &Person, story: &Story<'_>) -> Markup {
    let Some(item) = state.inbox.item(&key_of(story.record)) else { return html! {} };
    let now = Timestamp::now();
    html! {
        section.card.stack {
            h2 { "To review" }
            p.small { (counted(item.waiting.len() as u64, "record")) " like this " @if item.waiting.len() == 1 { "waits" } @else { "wait" } ", due " (ago(item.due, now))
                " by the rule " (OneLine(&item.rules.join(", "), 200)) "." }
            @if let Some(said) = &item.said { (last_word(said, now)) }
            (form(&item, person, &state.shared.door.config()))
        }
    }
}

/// What somebody says of an item: of its records up to and with the newest one that the page showed.
#[derive(Debug, Deserialize)]
pub struct Said {
    item: String,
    through: String,
    action: ReviewAction,
    #[serde(default)]
    note: String,
    #[serde(default)]
    to: String,
}

/// Takes a review. What is acknowledged is so record by record; a problem or whom to ask is said once, of the newest.
pub async fn submit(Extract(state): Extract<State>, submitted: Submitted<Said>) -> Result<Response, Problem> {
    let Submitted { person, form } = submitted;
    require(&person, ConsoleRole::Auditor)?;
    let through: AuditId = form.through.parse().map_err(|_| Problem::Bad("that is not an audit id".to_owned()))?;
    let note = match form.action {
        ReviewAction::Assigned => form.to.trim(),
        ReviewAction::Acknowledged | ReviewAction::Problem | ReviewAction::Reopened => form.note.trim(),
    };
    if note.chars().count() > NOTE_CHARS {
        return Err(Problem::Bad(format!("a note has up to {NOTE_CHARS} characters")));
    }
    if note.is_empty() && form.action == ReviewAction::Problem {
        return Err(Problem::Bad("a problem needs a note: what is wrong?".to_owned()));
    }
    if form.action == ReviewAction::Assigned && !reviewers(&state.shared.door.config()).iter().any(|name| name == note)
    {
        return Err(Problem::Bad("that user does not review".to_owned()));
    }
    let item = state.inbox.item(&form.item);
    let mut ids = item.map(|item| item.waiting).unwrap_or_default();
    match ids.iter().position(|id| *id == through) {
        Some(at) if form.action == ReviewAction::Acknowledged => ids.truncate(at + 1),
        Some(_) => ids = vec![through],
        None => return Err(Problem::NotFound("It does not wait any more: somebody else was faster.".to_owned())),
    }
    let actor = person.actor();
    let (action, said) = (form.action, note.to_owned());
    let written = {
        let (ids, said) = (ids.clone(), said.clone());
        state.ask(move |state| state.review_all(&actor, &ids, action, &said)).await
    };
    written.ok_or_else(|| Problem::Unwritable("the work could not be done".to_owned()))??;
    let state_now = ReviewState {
        action: action.name().to_owned(),
        by: person.user,
        assigned: (action == ReviewAction::Assigned).then(|| said.clone()),
        note: said,
        time: Timestamp::now().to_string(),
    };
    state.inbox.say(&ids, &state_now);
    Ok(Redirect::to("/review").into_response())
}
