//! The week on a page that prints well: what happened, what was changed, what was reviewed, and what is left.

use axum::extract::{Query, State as Extract};
use axum::response::{IntoResponse, Response};
use jiff::civil::Weekday;
use jiff::{ToSpan, Zoned};
use maud::{Markup, html};
use serde::Deserialize;

use super::chart::{self, Axis};
use super::door::LoggedIn;
use super::layout::{self, Tab};
use super::list;
use super::problem::Problem;
use super::search::href;
use super::text::OneLine;
use crate::admin::State;
use crate::admin::inbox::Item;
use crate::amounts::{count, counted};
use crate::audit::Timestamp;
use crate::audit::filter::{Field, Filter};
use crate::audit::index::{Index, IndexError};
use crate::audit::query::{Bucket, Counted, Order, PageRequest, Verdicts};
use crate::audit::search::Entry;

/// Entries of each list.
const LISTED: usize = 10;
/// Weeks that can be gone back.
const MOST_WEEKS: i32 = 520;
/// Two hours.
const BUCKET_US: u64 = 7_200_000_000;

/// Which week: 0 for this one, 1 for the last.
#[derive(Debug, Default, Deserialize)]
pub struct Asked {
    #[serde(default)]
    back: i32,
}

/// A week by this machine's clock, Monday to Monday.
struct Week {
    from: Zoned,
    to: Zoned,
}

impl Week {
    fn back(weeks: i32, now: &Zoned) -> Option<Week> {
        let since_monday = i64::from(now.weekday().since(Weekday::Monday));
        let monday = now.start_of_day().ok()?.checked_sub(since_monday.days()).ok()?.checked_sub(weeks.weeks()).ok()?;
        let to = monday.checked_add(1.weeks()).ok()?;
        Some(Week { from: monday, to })
    }

    fn begins(&self) -> Timestamp {
        micros(&self.from)
    }
}

fn micros(at: &Zoned) -> Timestamp {
    Timestamp(u64::try_from(at.timestamp().as_microsecond()).unwrap_or(0))
}

struct Answers {
    buckets: Vec<Bucket>,
    refused: Vec<Counted>,
    by: Vec<Counted>,
    schema: (u64, Vec<Entry>),
    destroyed: (u64, Vec<Entry>),
    grants: (u64, Vec<Entry>),
    reloads: Vec<Entry>,
    failed_logins: u64,
    sessions: u64,
    reviews: (u64, Vec<Counted>),
    problems: Vec<Entry>,
}

fn answers(index: &Index, from: Timestamp, to: Timestamp) -> Result<Answers, IndexError> {
    let now = Zoned::now();
    let week = Filter::within(Some(from), Some(to));
    let filter = |words: &str| Filter::parse(words, &now).unwrap_or_default().and(&week);
    let some = |words: &str| -> Result<(u64, Vec<Entry>), IndexError> {
        let filter = filter(words);
        let page = index.search(&filter, PageRequest { limit: LISTED, after: None, order: Order::Newest })?;
        Ok((index.count(&filter)?, page.entries))
    };
    Ok(Answers {
        buckets: index.timeline(&filter("event:statement"), BUCKET_US)?,
        refused: index.top(&filter("event:statement verdict:deny"), Field::Act, 8)?,
        by: index.top(&filter("event:statement verdict:deny"), Field::User, 8)?,
        schema: some("event:statement verdict:allow effect:ddl,privilege")?,
        destroyed: some("event:statement verdict:allow effect:destroy")?,
        grants: some("event:grant")?,
        reloads: some("event:reload")?.1,
        failed_logins: index.count(&filter("event:login_failed"))?,
        sessions: index.count(&filter("event:login"))?,
        reviews: (index.count(&filter("event:review"))?, index.top(&filter("event:review"), Field::By, 8)?),
        problems: some("event:review problem")?.1,
    })
}

/// The page.
pub async fn show(
    Extract(state): Extract<State>,
    LoggedIn(person): LoggedIn,
    Query(asked): Query<Asked>,
) -> Result<Response, Problem> {
    let back = asked.back.clamp(0, MOST_WEEKS);
    let week = Week::back(back, &Zoned::now()).ok_or_else(|| Problem::Bad("there is no such week".to_owned()))?;
    state.looks(&person.actor(), "reviews.digest", Some(week.from.strftime("%F").to_string()));
    let (from, to) = (week.begins(), micros(&week.to));
    let answers = state.query(move |index| answers(index, from, to)).await?;
    let now = Timestamp::now();
    let items = state.inbox.items();
    let pieces = usize::try_from((to.0 - from.0).div_ceil(BUCKET_US)).unwrap_or(84);
    let axis = Axis {
        from: Timestamp(from.0 - from.0 % BUCKET_US),
        bucket_us: BUCKET_US,
        pieces,
        form: "%a %-d",
        piece: "2 hours",
        labels: 7,
        end: "",
    };
    let title = format!("Week {} of {}", week.from.strftime("%V"), week.from.strftime("%G"));
    let body = html! {
        div.top {
            h1 { (title) }
            span.soft { (week.from.strftime("%-d %B").to_string()) " to " (week.to.checked_sub(1.day()).unwrap_or_else(|_| week.to.clone()).strftime("%-d %B %Y").to_string()) }
            nav.right.row.no-print aria-label="Weeks" {
                a.button href={ "/review/digest?back=" (back + 1) } { "← Earlier" }
                @if back > 0 { a.button href={ "/review/digest?back=" (back - 1) } { "Later →" } }
                button type="button" data-print="" hidden { "Print" }
            }
        }
        div.stack.digest {
            (summary(&answers, &axis, &items, now))
            section.card aria-label="Statements over the week" { (chart::timeline(&axis, &answers.buckets)) }
            div.grid.two {
                section.card { h2 { "Refused most" } (counts(&answers.refused, "Nothing was refused.")) }
                section.card { h2 { "Refused to" } (counts(&answers.by, "Nothing was refused.")) }
            }
            (left(&items, now))
            (entries("Changes of schema and privileges", &answers.schema, "event:statement verdict:allow effect:ddl,privilege", now))
            (entries("Whole tables emptied or overwritten", &answers.destroyed, "event:statement verdict:allow effect:destroy", now))
            (entries("Grants", &answers.grants, "event:grant", now))
            @if !answers.reloads.is_empty() { section aria-label="Configuration" { div.said-of { h2 { "Configuration" } } (list::plain(&answers.reloads, now, "")) } }
            (said(&answers, now))
        }
    };
    Ok(layout::page(&state.frame(&person), Tab::Review, &title, &body).into_response())
}

fn summary(answers: &Answers, axis: &Axis, items: &[Item], now: Timestamp) -> Markup {
    let sum = axis.lay(&answers.buckets).iter().fold(Verdicts::default(), |sum, one| Verdicts {
        allow: sum.allow + one.allow,
        deny: sum.deny + one.deny,
        observe: sum.observe + one.observe,
    });
    let overdue = items.iter().filter(|item| item.is_overdue(now)).count();
    let figure = |label: &str, value: u64, more: String| {
        html! {
            div.card.figure { span.label { (label) } span.value { (count(value)) } span.more { (more) } }
        }
    };
    html! {
        section.grid.four aria-label="Figures" {
            (figure("Statements", sum.total(), format!("in {}", counted(answers.sessions, "session"))))
            (figure("Refused", sum.deny, counted(answers.failed_logins, "failed login")))
            (figure("Reviews", answers.reviews.0, format!("by {}", people(&answers.reviews.1))))
            (figure("Left to review", items.len() as u64, format!("{overdue} overdue now")))
        }
    }
}

fn people(reviewers: &[Counted]) -> String {
    match reviewers {
        [] => "nobody".to_owned(),
        some => super::text::one_line(&some.iter().map(|one| one.value.as_str()).collect::<Vec<_>>().join(", "), 60).0,
    }
}

fn counts(values: &[Counted], empty: &str) -> Markup {
    html! {
        @if values.is_empty() { p.empty { (empty) } }
        table { tbody { @for value in values { tr { td { (OneLine(&value.value, 60)) } td.right.num { (count(value.count)) } } } } }
    }
}

fn entries(title: &str, (total, entries): &(u64, Vec<Entry>), filter: &str, now: Timestamp) -> Markup {
    html! {
        section aria-label=(title) {
            div.said-of { h2 { (title) } span { (count(*total)) } @if *total > entries.len() as u64 { a.no-print href=(href(filter)) { "All of them" } } }
            @if entries.is_empty() { p.card.empty { "None this week." } } @else { (list::plain(entries, now, "")) }
        }
    }
}

fn left(items: &[Item], now: Timestamp) -> Markup {
    let open: Vec<&Item> = items.iter().filter(|item| item.problem || item.is_overdue(now)).take(LISTED).collect();
    html! {
        section.card {
            h2 { "Problems and what is overdue" }
            @if open.is_empty() { p.empty { "None." } }
            ul.effects {
                @for item in &open {
                    li.wide {
                        b { @if item.problem { "Problem" } @else { "Overdue" } } " "
                        @if let Some(shown) = item.newest.with(|story| html! {
                            a href={ "/audit/" (story.record.id) } { (list::acts(story.record)) } span.why { (list::by(story.record, false)) }
                        }) { (shown) }
                        @if let Some(said) = item.said.as_ref().filter(|said| !said.note.is_empty()) {
                            span.why { (OneLine(&said.by, 60)) ": " (OneLine(&said.note, 300)) }
                        }
                    }
                }
            }
        }
    }
}

fn said(answers: &Answers, now: Timestamp) -> Markup {
    html! {
        @if !answers.problems.is_empty() {
            section aria-label="Said of problems" { div.said-of { h2 { "Said of problems this week" } } (list::plain(&answers.problems, now, "")) }
        }
        p.soft.small { "Made from the audit log at " (super::text::moment(now, "%F %H:%M %Z")) "; " code { "pgwarden audit verify" } " proves it." }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_week_goes_from_monday_to_monday() {
        let table = [
            ("2026-11-21T01:00:00+00:00[UTC]", 0, "2026-11-16", "2026-11-23"),
            ("2026-11-16T00:00:00+00:00[UTC]", 0, "2026-11-16", "2026-11-23"),
            ("2026-11-22T23:59:59+00:00[UTC]", 1, "2026-11-09", "2026-11-16"),
            ("2026-10-28T12:00:00+01:00[Europe/Berlin]", 1, "2026-10-19", "2026-10-26"),
        ];
        for (now, back, from, to) in table {
            let week = Week::back(back, &now.parse().unwrap()).unwrap();
            let days = (week.from.strftime("%F").to_string(), week.to.strftime("%F").to_string());
            assert_eq!(days, (from.to_owned(), to.to_owned()), "{now}");
        }
    }
}
