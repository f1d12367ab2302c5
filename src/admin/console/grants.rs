//! Grants: asking for one, looking at what it would allow, giving, refusing and revoking it; and those of the time before.

use axum::extract::{Path, State as Extract};
use axum::http::HeaderMap;
use axum::response::{Html, IntoResponse, Redirect, Response};
use maud::{Markup, html};
use serde::Deserialize;

use super::door::{LoggedIn, PART, Submitted};
use super::layout::{self, Tab};
use super::problem::Problem;
use super::search::{href, term};
use super::text::{BRIEF, OneLine, Outside, ago, moment, rough, time_of};
use crate::admin::State;
use crate::admin::grants::{self, Action, Covered, Grant, NotGranted, Preview, REASON_CHARS, Wanted};
use crate::admin::people::Person;
use crate::amounts::counted;
use crate::audit::Timestamp;
use crate::config::Config;

/// Ended grants on the page.
const SHOWN: usize = 50;

/// The page, or its lists alone for the page's own script.
pub async fn list(
    Extract(state): Extract<State>,
    LoggedIn(person): LoggedIn,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let now = Timestamp::now();
    let grants = state.grants();
    let (living, ended): (Vec<&Grant>, Vec<&Grant>) =
        grants.iter().partition(|grant| grant.is_open() || grant.is_active());
    let living = self::living(&state, &living, now);
    if headers.contains_key(PART) {
        return Ok(Html(living.into_string()).into_response());
    }
    state.looks(&person.actor(), "grants.list", None);
    let config = state.shared.door.config();
    let body = html! {
        div.top { h1 { "Grants" } span.right.soft.small { "kept up to date by itself" } }
        div.stack {
            div data-refresh="/grants" { (living) }
            (asking(&person, &config))
            @if !ended.is_empty() {
                details.card {
                    summary { (counted(ended.len() as u64, "grant")) " of the time before" }
                    div.scroll { (table(ended.get(..SHOWN.min(ended.len())).unwrap_or_default(), now)) }
                    p.small { a href=(href("event:grant")) { "All of their records" } }
                }
            }
        }
    };
    Ok(layout::page(&state.frame(&person), Tab::Grants, "Grants", &body).into_response())
}

fn living(state: &State, grants: &[&Grant], now: Timestamp) -> Markup {
    html! {
        @if !state.book.is_restored() { p.note { "Those of the time before the start are still being read from the audit log." } }
        @if grants.is_empty() {
            div.card.empty.big {
                b { "Nobody has more than their policy allows." }
                span { "A grant widens a policy for one user and a limited time. Who asks and who approves are two people." }
            }
        } @else {
            div.card.scroll { h2 { "Asked for, and in force" } (table(grants, now)) }
        }
    }
}

fn table(grants: &[&Grant], now: Timestamp) -> Markup {
    html! {
        table.stacks {
            thead { tr {
                th scope="col" { "Who" } th scope="col" { "State" } th scope="col" { "May" } th scope="col" { "Why" } th scope="col" { "Asked" }
            } }
            tbody { @for grant in grants { (row(grant, now)) } }
        }
    }
}

fn row(grant: &Grant, now: Timestamp) -> Markup {
    html! {
        tr {
            td {
                a.stop href={ "/grants/" (grant.id) } { b { (OneLine(&grant.user, 40)) } }
                div.soft.small { (OneLine(&grant.role, 30)) " on " (place(grant)) }
            }
            td { (standing(grant, now)) }
            td { (allowed(grant)) }
            td { (OneLine(&grant.reason, 160)) }
            td.nowrap data-name="asked" { (ago(grant.asked, now)) " by " (OneLine(&grant.by, 40)) }
        }
    }
}

fn place(grant: &Grant) -> Markup {
    html! { (OneLine(&grant.environment, 40)) @if let Some(database) = &grant.database { "/" (OneLine(database, 60)) } }
}

fn allowed(grant: &Grant) -> Markup {
    html! {
        @for class in &grant.allow { span.chip { (OneLine(class, 60)) } " " }
        @if !grant.relations.is_empty() { div.soft.small { "only on " (OneLine(&grant.relations.join(", "), 120)) } }
    }
}

fn standing(grant: &Grant, now: Timestamp) -> Markup {
    html! {
        @match (grant.state, grant.ends) {
            (Action::Requested, _) => span.state.busy { "waits for an answer, " (lasts(grant)) },
            (Action::Approved, Some(ends)) if ends > now => span.state.good { "in force, ends " (ago(ends, now)) },
            (Action::Approved, _) => span.state { "over" },
            (Action::Denied, _) => span.state.bad { "denied" },
            (Action::Revoked, _) => span.state { "revoked" },
            (Action::Expired, Some(_)) => span.state { "over" },
            (Action::Expired, None) => span.state { "not answered" },
        }
    }
}

fn lasts(grant: &Grant) -> String {
    rough(grant.seconds.saturating_mul(1_000_000))
}

// ----- asking -----

fn asking(person: &Person, config: &Config) -> Markup {
    let environments = environments(config);
    html! {
        section.card {
            h2 { "Ask for a grant" }
            @if person.role < config.grants.requested_by { p.soft { "This needs the console role " (config.grants.requested_by.name()) "." } }
            @else if environments.is_empty() { p.soft { "Grants cannot be asked for in any environment." } }
            @else {
                form.stack method="post" action="/grants" {
                    input type="hidden" name="csrf" value=(person.csrf);
                    div.row {
                        label { "For"
                            select name="user" { @for name in users(config) { option value=(name) selected[*name == person.user] { (OneLine(name, 60)) } } }
                        }
                        label { "In" select name="environment" { @for name in environments { option value=(name) { (OneLine(name, 60)) } } } }
                        label { "Database" input name="database" placeholder="all of them" autocomplete="off"; }
                        label { "For how long" input name="for" value="30m" required autocomplete="off"; }
                    }
                    div.row {
                        label { "Effects, parted by commas" input name="allow" list="classes" placeholder="write, ddl.destructive" required autocomplete="off"; }
                        label { "Only on these relations" input name="relations" placeholder="all; or public.orders, *.items" autocomplete="off"; }
                    }
                    datalist id="classes" { @for class in classes(config) { option value=(class) {} } }
                    label { "Why" textarea name="reason" maxlength=(REASON_CHARS) required placeholder="What has to be done, and where that was agreed" {} }
                    div.actions { button.main type="submit" { "Ask" } }
                }
            }
        }
    }
}

/// Environments with a database, in which grants can be asked for.
fn environments(config: &Config) -> Vec<&String> {
    let mut names: Vec<&String> = config.databases.iter().map(|database| &database.environment).collect();
    names.retain(|name| config.grants.can_be_requested_in(name));
    names.sort();
    names.dedup();
    names
}

fn users(config: &Config) -> Vec<&String> {
    let mut names: Vec<&String> =
        config.users.values().filter(|user| !user.roles.is_empty()).map(|user| &user.name).collect();
    names.sort();
    names
}

/// What can be granted at all, for the field's suggestions.
fn classes(config: &Config) -> Vec<&'static str> {
    let all = crate::policy::classes_of(&["*".to_owned()], &config.grants.never);
    all.into_iter().map(|class| class.name()).collect()
}

/// What the form holds.
#[derive(Debug, Deserialize)]
pub struct Asked {
    user: String,
    environment: String,
    #[serde(default)]
    database: String,
    allow: String,
    #[serde(default)]
    relations: String,
    r#for: String,
    reason: String,
}

fn parted(text: &str) -> Vec<String> {
    text.split([',', ' ']).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

/// Asks for a grant.
pub async fn ask(Extract(state): Extract<State>, submitted: Submitted<Asked>) -> Result<Response, Problem> {
    let Submitted { person, form } = submitted;
    let wanted = Wanted {
        user: form.user,
        environment: form.environment,
        database: Some(form.database.trim().to_owned()).filter(|name| !name.is_empty()),
        allow: parted(&form.allow),
        relations: parted(&form.relations),
        time: form.r#for.trim().to_owned(),
        reason: form.reason.replace("\r\n", "\n"),
    };
    let actor = person.actor();
    let asked = state.ask(move |state| state.request_grant(&actor, &wanted)).await;
    let grant = asked.ok_or_else(|| Problem::Unwritable("the work could not be done".to_owned()))??;
    Ok(Redirect::to(&format!("/grants/{}", grant.id)).into_response())
}

// ----- one grant -----

/// One grant, with what can be done to it.
pub async fn one(
    Extract(state): Extract<State>,
    LoggedIn(person): LoggedIn,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let grant = state
        .grant(&id)
        .ok_or_else(|| Problem::NotFound("There is no such grant; the audit log may know it.".to_owned()))?;
    state.looks(&person.actor(), "grants.show", Some(grant.id.clone()));
    let (now, preview, config) = (Timestamp::now(), state.preview(&grant), state.shared.door.config());
    let body = html! {
        div.top {
            h1 { "Grant for " (OneLine(&grant.user, 60)) }
            span { (standing(&grant, now)) }
            a.right href=(href(&term("grant", &grant.id))) { "Its records" }
        }
        div.columns {
            div.stack {
                section.card { h2 { "What it allows" } (covers(&grant, &preview)) }
                section.card { h2 { "Why" } p { (Outside(&grant.reason)) } }
                section.card { h2 { "What happened" } (steps(&grant)) }
            }
            div.stack { (whose(&grant, &preview)) (deciding(&grant, &preview, &person, &config)) }
        }
    };
    Ok(layout::page(&state.frame(&person), Tab::Grants, "Grant", &body).into_response())
}

fn covers(grant: &Grant, preview: &Preview) -> Markup {
    html! {
        @if preview.lifts_read_only {
            p.note { "While it lasts, the server does not hold this user's transactions read-only: what is refused is refused by reading alone." }
        }
        @if !grant.relations.is_empty() { p { "Only on " (Outside(&grant.relations.join(", "))) ", written with their schema." } }
        ul.effects { @for covered in &preview.covers { (class(covered)) } }
        @if preview.covers.is_empty() { p.soft { "Nothing, by the configuration in force." } }
    }
}

fn class(covered: &Covered) -> Markup {
    let (style, word) = match covered.change {
        "adds" => ("verdict observe", "adds"),
        "denied" => ("verdict deny", "stays denied"),
        _ => ("verdict allow", "has already"),
    };
    html! {
        li.wide {
            span class=(style) { (word) } " " b.mono { (covered.class) }
            span.why { (covered.meaning) }
            @if covered.change != "adds" { span.why { (OneLine(&covered.rule, BRIEF)) } }
        }
    }
}

fn steps(grant: &Grant) -> Markup {
    html! {
        ul.effects {
            @for step in &grant.steps {
                li.wide {
                    b { (step.action.name()) } " by " (OneLine(&step.by, 60))
                    @if let Some(at) = time_of(&step.time) { ", " (moment(at, "%a %-d %b %H:%M:%S")) }
                    @if !step.note.is_empty() { span.why { (Outside(&step.note)) } }
                }
            }
        }
    }
}

fn whose(grant: &Grant, preview: &Preview) -> Markup {
    html! {
        section.card {
            h2 { "Whose" }
            dl.facts {
                dt { "User" } dd { (OneLine(&grant.user, 80)) }
                dt { "Role" } dd { (OneLine(&grant.role, 60)) @if let Some(policy) = &preview.policy { ", policy " (OneLine(policy, 60)) } }
                dt { "Where" } dd { (place(grant)) }
                dt { "Lasts" } dd { (lasts(grant)) }
                @if let Some(ends) = grant.ends { dt { "Until" } dd { (moment(ends, "%a %-d %b %H:%M:%S")) } }
                dt { "Asked by" } dd { (OneLine(&grant.by, 80)) }
                dt { "Grant" } dd.mono { (OneLine(&grant.id, 20)) }
            }
        }
    }
}

/// The forms for whoever may decide.
fn deciding(grant: &Grant, preview: &Preview, person: &Person, config: &Config) -> Markup {
    let actor = person.actor();
    let decides = actor.may(config.grants.approved_by);
    let own = grant.by == actor.by() || grant.user == actor.name;
    let approves_own = grants::is_called(&grant.by, &actor.name) || grants::is_called(&grant.user, &actor.name);
    html! {
        @if grant.is_open() && decides {
            section.card {
                h2 { "Give it" }
                @if approves_own && !config.grants.self_approval { p.soft { "It is your own: somebody else has to approve it." } }
                @else { (approving(grant, preview, person)) }
            }
        }
        @if grant.is_open() && decides { (ending(grant, person, "deny", "Refuse it", "Deny")) }
        @if grant.is_active() && (decides || own) { (ending(grant, person, "revoke", "Take it back", "Revoke")) }
        @if grant.is_open() && own { (ending(grant, person, "revoke", "Withdraw it", "Withdraw")) }
        @if !decides && !own { section.card { p.soft { "Whoever has the console role " (config.grants.approved_by.name()) " decides." } } }
    }
}

fn approving(grant: &Grant, preview: &Preview, person: &Person) -> Markup {
    html! {
        form.stack method="post" action={ "/grants/" (grant.id) } {
            input type="hidden" name="csrf" value=(person.csrf);
            @match &preview.confirm {
                Some(name) => label { "Type " (OneLine(name, 60)) " to approve" input name="confirm" required autocomplete="off"; },
                None => label.check { input type="checkbox" name="sure" value="yes" required; " I have read what it allows" },
            }
            label { "Note" input name="note" maxlength=(REASON_CHARS) autocomplete="off"; }
            div.actions { button.grave type="submit" name="action" value="approve" { "Approve" } }
        }
    }
}

fn ending(grant: &Grant, person: &Person, action: &str, title: &str, word: &str) -> Markup {
    html! {
        section.card {
            h2 { (title) }
            form.stack method="post" action={ "/grants/" (grant.id) } {
                input type="hidden" name="csrf" value=(person.csrf);
                label { "Note" input name="note" maxlength=(REASON_CHARS) autocomplete="off"; }
                div.actions { button type="submit" name="action" value=(action) { (word) } }
            }
        }
    }
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Act {
    Approve,
    Deny,
    Revoke,
}

/// What somebody decides.
#[derive(Debug, Deserialize)]
pub struct Decided {
    action: Act,
    #[serde(default)]
    confirm: String,
    #[serde(default)]
    sure: String,
    #[serde(default)]
    note: String,
}

/// Gives, refuses or takes back: recorded first.
pub async fn decide(
    Extract(state): Extract<State>,
    Path(id): Path<String>,
    submitted: Submitted<Decided>,
) -> Result<Response, Problem> {
    let Submitted { person, form } = submitted;
    let grant = state.grant(&id).ok_or_else(|| Problem::NotFound("There is no such grant.".to_owned()))?;
    if form.action == Act::Approve && state.preview(&grant).confirm.is_none() && form.sure != "yes" {
        return Err(Problem::Bad("Please confirm that you have read what it allows.".to_owned()));
    }
    let actor = person.actor();
    let act = move |state: &State| match form.action {
        Act::Approve => state.approve_grant(&actor, &id, form.confirm.trim(), &form.note),
        Act::Deny => state.deny_grant(&actor, &id, &form.note),
        Act::Revoke => state.revoke_grant(&actor, &id, &form.note),
    };
    let done = state.ask(act).await;
    let grant = done.ok_or_else(|| Problem::Unwritable("the work could not be done".to_owned()))??;
    Ok(Redirect::to(&format!("/grants/{}", grant.id)).into_response())
}

impl From<NotGranted> for Problem {
    fn from(error: NotGranted) -> Problem {
        let text = error.to_string();
        match error {
            NotGranted::Wrong(_) | NotGranted::Otherwise(_) => Problem::Bad(text),
            NotGranted::NotAllowed(_) => Problem::NotYours(text),
            NotGranted::NoGrant(_) => Problem::NotFound(text),
            NotGranted::NotYet => Problem::Unreadable(text),
            NotGranted::Unrecorded(error) => error.into(),
        }
    }
}
