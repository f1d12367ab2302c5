//! The policies as one picture, what stands behind each cell, and a box to try a statement in.

use axum::extract::{Query, State as Extract};
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::door::{LoggedIn, Submitted};
use super::layout::{self, Tab};
use super::marks::{self, Marked};
use super::problem::Problem;
use super::text::{OneLine, Outside, ago, plain, time_of};
use crate::admin::State;
use crate::admin::people::Person;
use crate::admin::policies::{Matrix, Row, Trial};
use crate::amounts::count;
use crate::audit::Timestamp;
use crate::policy::matrix::{Cell, Named};

/// Longest statement that can be tried, in bytes.
const TRIED_BYTES: usize = 100_000;

/// What the page asks for.
#[derive(Debug, Default, Deserialize)]
pub struct Asked {
    environment: Option<String>,
    role: Option<String>,
    class: Option<String>,
}

/// A statement to try.
#[derive(Debug, Deserialize)]
pub struct Tried {
    /// Environment and role: `production/studio`.
    r#as: String,
    statement: String,
}

/// What a cell says, as people see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    Allowed,
    Bounded,
    Partly,
    Observed,
    Refused,
}

impl Word {
    const ALL: [Word; 5] = [Word::Allowed, Word::Bounded, Word::Partly, Word::Observed, Word::Refused];

    /// Class in the style sheet, sign, and words.
    const fn parts(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Word::Allowed => ("allowed", "✓", "allowed"),
            Word::Bounded => ("bounded", "✓*", "allowed, within rules about relations, functions or extensions"),
            Word::Partly => ("partly", "–*", "refused, but for named functions"),
            Word::Observed => ("observed", "○", "would be refused, the policy only observes"),
            Word::Refused => ("", "–", "refused"),
        }
    }

    fn of(row: &Row, cell: &Cell) -> Word {
        let bound = !bounds(row, cell).is_empty();
        match (cell.allowed, bound, row.observe) {
            (true, false, _) => Word::Allowed,
            (true, true, _) => Word::Bounded,
            (false, _, true) => Word::Observed,
            (false, true, false) => Word::Partly,
            (false, false, false) => Word::Refused,
        }
    }
}

/// The rules that bound what is allowed of a class, or widen what is refused.
fn bounds<'a>(row: &'a Row, cell: &Cell) -> Vec<&'a Named> {
    let below = |prefix: &str| {
        cell.class == prefix || cell.class.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('.'))
    };
    let relations = ["read", "write", "destroy", "ddl", "privilege", "maintenance"].into_iter().any(below);
    let everything = row.cells.iter().all(|cell| cell.allowed);
    let applies = |rule: &&Named| match rule.list {
        "relations.allow" | "relations.deny" => cell.allowed && relations,
        "functions.deny" => cell.allowed && below("function"),
        "functions.allow" => !cell.allowed && below("function"),
        "extensions" => cell.allowed && cell.class == "ddl.additive" && !everything,
        _ => false,
    };
    row.rules.iter().filter(applies).collect()
}

fn cell_href(row: &Row, class: &str) -> String {
    let part = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    format!("/policies?environment={}&role={}&class={}#cell", part(&row.environment), part(&row.role), part(class))
}

/// The page.
pub async fn show(
    Extract(state): Extract<State>,
    LoggedIn(person): LoggedIn,
    Query(asked): Query<Asked>,
) -> Result<Response, Problem> {
    state.looks(&person.actor(), "policies.show", None);
    Ok(page(&state, &person, &asked, None))
}

/// Tries a statement: judged as a role would have it judged, and not run.
pub async fn attempt(Extract(state): Extract<State>, submitted: Submitted<Tried>) -> Result<Response, Problem> {
    let Submitted { person, mut form } = submitted;
    // Browsers send a textarea's line ends as CRLF.
    form.statement = form.statement.replace("\r\n", "\n");
    if form.statement.len() > TRIED_BYTES {
        return Err(Problem::Bad(format!("that is longer than {} bytes", count(TRIED_BYTES as u64))));
    }
    let pair = form.r#as.split_once('/').map(|(environment, role)| (environment.to_owned(), role.to_owned()));
    let (environment, role) = pair.ok_or_else(|| Problem::Bad("which role in which environment?".to_owned()))?;
    state.looks(&person.actor(), "policies.try", Some(format!("{role} in {environment}")));
    let (statement, at, job) = (form.statement.clone(), environment.clone(), role.clone());
    let trial = state.ask(move |state| state.try_statement(&at, &job, &statement)).await.flatten();
    let trial = trial.ok_or_else(|| Problem::NotFound(format!("There is no role {role} in {environment}.")))?;
    Ok(page(&state, &person, &Asked::default(), Some((&form, &trial))))
}

fn page(state: &State, person: &Person, asked: &Asked, tried: Option<(&Tried, &Trial)>) -> Response {
    let matrix = state.matrix();
    let chosen = matrix
        .rows
        .iter()
        .find(|row| Some(&row.environment) == asked.environment.as_ref() && Some(&row.role) == asked.role.as_ref());
    let chosen =
        chosen.and_then(|row| Some((row, row.cells.iter().find(|cell| Some(cell.class) == asked.class.as_deref())?)));
    let body = html! {
        div.top { h1 { "Policies" } }
        div.stack {
            (attempt_box(&matrix, person, tried))
            @if matrix.rows.is_empty() {
                div.card.empty.big { b { "No role is configured." } span { "Nobody can log in until an environment gives roles their policies." } }
            } @else {
                div.columns {
                    div.card {
                        h2 id="picture" { "Who may do what, where" }
                        div.scroll tabindex="0" role="region" aria-labelledby="picture" { (picture(&matrix, chosen)) }
                        (legend())
                    }
                    div.stack {
                        section.card id="cell" { (explained(chosen)) }
                        (running(state))
                    }
                }
            }
        }
    };
    layout::page(&state.frame(person), Tab::Policies, "Policies", &body).into_response()
}

fn picture(matrix: &Matrix, chosen: Option<(&Row, &Cell)>) -> Markup {
    let mut environments: Vec<(&str, usize)> = Vec::new();
    for row in &matrix.rows {
        match environments.last_mut() {
            Some((name, roles)) if *name == row.environment => *roles += 1,
            _ => environments.push((&row.environment, 1)),
        }
    }
    let classes: Vec<&'static str> =
        matrix.rows.first().map(|row| row.cells.iter().map(|cell| cell.class).collect()).unwrap_or_default();
    html! {
        table.matrix {
            thead {
                tr { td {} @for (name, roles) in &environments { th scope="colgroup" colspan=(roles) { (OneLine(name, 24)) } } }
                tr { th scope="col" { "Effect" } @for row in &matrix.rows { th scope="col" title={ "policy " (plain(&row.policy)) } { (OneLine(&row.role, 16)) } } }
            }
            tbody {
                @for (index, class) in classes.iter().enumerate() {
                    @let first = index == 0 || classes.get(index - 1).map(|before| group(before)) != Some(group(class));
                    tr.group[first] {
                        th scope="row" { (class) }
                        @for row in &matrix.rows { td { @if let Some(cell) = row.cells.get(index) { (one(row, cell, chosen)) } } }
                    }
                }
            }
        }
    }
}

fn group(class: &str) -> &str {
    class.split('.').next().unwrap_or(class)
}

fn one(row: &Row, cell: &Cell, chosen: Option<(&Row, &Cell)>) -> Markup {
    let (style, sign, words) = Word::of(row, cell).parts();
    let here = chosen.is_some_and(|(other, at)| {
        (&other.environment, &other.role, at.class) == (&row.environment, &row.role, cell.class)
    });
    let says = plain(&format!("{} as {} in {}: {words}", cell.class, row.role, row.environment));
    html! {
        a class={ "cell " (style) } href=(cell_href(row, cell.class)) title=(says) aria-label=(says) aria-current=[here.then_some("true")] { (sign) }
    }
}

fn legend() -> Markup {
    html! {
        p.legend {
            @for word in Word::ALL {
                @let (style, sign, words) = word.parts();
                span { span class={ "cell " (style) } aria-hidden="true" { (sign) } (words) }
            }
        }
    }
}

fn explained(chosen: Option<(&Row, &Cell)>) -> Markup {
    let Some((row, cell)) = chosen else {
        return html! { h2 { "Why" } p.soft { "Choose a cell to see the rule that decides, and where it stands." } };
    };
    let bounds = bounds(row, cell);
    html! {
        h2 { (cell.class) " as " (OneLine(&row.role, 40)) " in " (OneLine(&row.environment, 40)) }
        dl.facts {
            dt { "Verdict" } dd { (Word::of(row, cell).parts().2) }
            dt { "Rule" } dd { (Outside(&cell.rule)) }
            @if !cell.place.is_empty() { dt { "Stands in" } dd.mono { (Outside(&cell.place)) } }
            @if !bounds.is_empty() {
                dt { "Within" }
                dd { @for rule in &bounds { div { (rule.list) " " code { (OneLine(&rule.pattern, 80)) } @if !rule.place.is_empty() { " " span.soft.mono { (OneLine(&rule.place, 60)) } } } } }
            }
            dt { "Policy" } dd { (OneLine(&row.policy, 60)) @if row.observe { ", which only observes" } }
            @if row.read_only { dt { "Held" } dd { "The server holds every transaction read-only." } }
            dt { "Endpoint" } dd { (row.endpoint) }
            @if !row.limits.is_empty() {
                dt { "Limits" } dd { @for (name, value) in &row.limits { div { (name) " " b { (OneLine(value, 40)) } } } }
            }
            @if !row.users.is_empty() { dt { "Users" } dd { (OneLine(&row.users.join(", "), 300)) } }
        }
    }
}

fn attempt_box(matrix: &Matrix, person: &Person, tried: Option<(&Tried, &Trial)>) -> Markup {
    html! {
        section.card {
            h2 { "Try a statement" }
            form.stack method="post" action="/policies" {
                input type="hidden" name="csrf" value=(person.csrf);
                label { "Statement (it is judged, not run)"
                    textarea name="statement" spellcheck="false" autocomplete="off" required placeholder="UPDATE orders SET status = 'paid'" {
                        (tried.map_or("", |(tried, _)| tried.statement.as_str()))
                    }
                }
                div.row {
                    label { "As"
                        select name="as" {
                            @for row in &matrix.rows {
                                @let value = format!("{}/{}", row.environment, row.role);
                                option value=(value) selected[tried.is_some_and(|(tried, _)| tried.r#as == value)] {
                                    (OneLine(&row.role, 40)) " in " (OneLine(&row.environment, 40))
                                }
                            }
                        }
                    }
                    button.main type="submit" { "What would happen?" }
                }
            }
            @if let Some((tried, trial)) = tried { (told(tried, trial, matrix)) }
        }
    }
}

fn told(tried: &Tried, trial: &Trial, matrix: &Matrix) -> Markup {
    let row = matrix.rows.iter().find(|row| format!("{}/{}", row.environment, row.role) == tried.r#as);
    let is_refused =
        |class: &str| row.is_some_and(|row| row.cells.iter().any(|cell| cell.class == class && !cell.allowed));
    let denied = trial.verdict != "allow";
    let marked = marks::marks(&trial.seen.effects, |effect| denied && is_refused(effect.class));
    let marked = Marked::new(&tried.statement, marked);
    let (style, word) = match trial.verdict {
        "allow" => ("note good", "Allowed"),
        "observe" => ("note", "Would be refused; the policy only observes"),
        _ => ("note bad", "Refused"),
    };
    html! {
        div.stack role="status" {
            p class=(style) { b { (word) } " by policy " (OneLine(&trial.policy, 60)) ": " (Outside(&trial.rule)) }
            pre.sql tabindex="0" aria-label="The statement with its effects" { (marked) }
            ol.effects {
                @for (index, effect) in trial.seen.effects.iter().enumerate() {
                    li {
                        span.n { @if marked.has(index + 1) { (index + 1) } @else { "·" } }
                        span { b { (OneLine(&effect.act, 80)) } " " @if let Some(object) = &effect.object { code { (OneLine(object, 120)) } " " }
                            span.chip { (effect.class) } }
                    }
                }
                @if trial.seen.effects.is_empty() { li.wide.soft { "Nothing that counts as an effect." } }
            }
            @if let Some(why) = &trial.seen.unreadable { p.note { "It cannot be read: " (Outside(why)) } }
            @if let Some(message) = &trial.message {
                pre.sql tabindex="0" aria-label="What the client would be told" {
                    "ERROR:  " (Outside(message))
                    @if let Some(detail) = &trial.detail { "\nDETAIL:  " (Outside(detail)) }
                    @if let Some(hint) = &trial.hint { "\nHINT:  " (Outside(hint)) }
                    @if let Some(sqlstate) = trial.sqlstate { "\nSQLSTATE:  " (sqlstate) }
                }
            }
            @for notice in &trial.notices { p.note { (Outside(notice)) } }
        }
    }
}

fn running(state: &State) -> Markup {
    let configuration = state.configuration();
    let now = Timestamp::now();
    html! {
        section.card {
            h2 { "Running configuration" }
            dl.facts {
                dt { "Generation" } dd { (configuration.generation) }
                dt { "pgwarden" } dd { (configuration.version) }
                dt { "Last reload" }
                dd { @match &configuration.last_reload {
                    None => span.soft { "none since the start" },
                    Some(reload) => {
                        @if reload.error.is_some() { span.state.bad { "refused" } } @else { span.state.good { "in force" } }
                        " " (ago(time_of(&reload.time).unwrap_or(now), now)) ", by " (OneLine(&reload.cause, 60))
                    }
                } }
            }
            @if let Some(reload) = &configuration.last_reload {
                @if let Some(error) = &reload.error { pre.sql tabindex="0" aria-label="Why it was refused" { (Outside(error)) } }
                @if !reload.changes.is_empty() { ul.effects { @for change in &reload.changes { li { span.n { "·" } span { (Outside(change)) } } } } }
            }
        }
    }
}
