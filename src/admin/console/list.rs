//! Records in a list: one line each, and where it leads.

use maud::{Markup, html};

use super::marks::Tone;
use super::text::{BRIEF, OneLine, bytes, duration, one_line, time, time_of};
use crate::amounts::{count, counted};
use crate::audit::Timestamp;
use crate::audit::search::Entry;
use crate::audit::view::{RecordView, Story};

/// Records as a list; `here` is the id of the one that the page is about.
pub fn records(entries: &[Entry], now: Timestamp, here: &str) -> Markup {
    let newest = entries.iter().filter_map(|entry| entry.with(|story| story.record.seq)).max().unwrap_or(0);
    html! {
        ol.records id="records" data-newest=(newest) { @for entry in entries { (item(entry, now, here)) } }
    }
}

/// A list without the marks that the live tail looks for.
pub fn plain(entries: &[Entry], now: Timestamp, here: &str) -> Markup {
    html! { ol.records { @for entry in entries { (item(entry, now, here)) } } }
}

fn item(entry: &Entry, now: Timestamp, here: &str) -> Markup {
    entry.with(|story| line(story, now, here)).unwrap_or_default()
}

fn line(story: &Story<'_>, now: Timestamp, here: &str) -> Markup {
    let record = story.record;
    html! {
        li {
            a.record.here[record.id == here] href={ "/audit/" (record.id) } aria-current=[(record.id == here).then_some("true")] {
                (time(time_of(&record.time).unwrap_or_default(), now))
                span { (badge(record)) }
                @if record.event == "statement" { span.said { (said(record)) } } @else { span.said.words { (said(record)) } }
                span.went { (went(story)) }
                span.by { (by(record, !starts_with_act(record))) }
            }
        }
    }
}

/// The verdict, or what kind of event it is.
pub fn badge(record: &RecordView<'_>) -> Markup {
    let (word, class) = match (record.verdict.as_ref(), record.event.as_ref()) {
        ("allow", _) => ("allowed", "allow"),
        ("deny", _) => ("refused", "deny"),
        ("observe", _) => ("observed", "observe"),
        (_, "login_failed") => ("no login", "deny"),
        (_, "gap") => ("gap", "deny"),
        (_, "recovery") => ("recovery", "observe"),
        (_, "session_end") => ("session end", ""),
        (_, other) => (other, ""),
    };
    html! { span class={ "verdict " (class) } { (OneLine(word, 20)) } }
}

fn said(record: &RecordView<'_>) -> Markup {
    let first = [&record.text, &record.fingerprint].into_iter().find(|text| !text.is_empty());
    match record.event.as_ref() {
        "statement" => html! { (OneLine(first.map_or("(no text)", |text| text.as_ref()), BRIEF)) },
        _ => html! { (OneLine(&details(record), BRIEF)) },
    }
}

/// What the kinds of events other than statements have to say.
pub fn details(record: &RecordView<'_>) -> String {
    let texts = [
        &record.action,
        &record.target,
        &record.reason,
        &record.message,
        &record.cause,
        &record.result,
        &record.of,
        &record.note,
        &record.error,
        &record.damage,
        &record.state,
        &record.grant,
    ];
    let login = Some(&record.login).filter(|_| record.event != "session_end");
    let texts = texts.into_iter().chain(login).filter(|text| !text.is_empty());
    let mut parts: Vec<String> = texts.map(|text| text.to_string()).collect();
    if record.event == "grant" {
        parts.push(format!("{} in {}: {}", record.for_user, record.for_environment, record.allows.join(", ")));
    }
    if record.event == "reads" {
        parts.push(format!("{} more like {}", counted(record.count.unwrap_or(0), "read"), record.fingerprint));
        parts.extend(record.failed.filter(|failed| *failed > 0).map(|failed| format!("{failed} failed")));
    }
    let numbers = [("statement", record.statements), ("row", record.rows)];
    parts.extend(numbers.iter().filter_map(|(name, value)| Some(counted((*value)?, name))));
    parts.extend(record.denied.filter(|denied| *denied > 0).map(|denied| format!("{denied} refused")));
    parts.extend(record.refused.map(|refused| format!("{refused} refused")));
    parts.extend(record.lost.map(|lost| format!("{lost} lost")));
    if parts.is_empty() { record.event.to_string() } else { parts.join(" · ") }
}

fn went(story: &Story<'_>) -> String {
    match story.outcome {
        Some(outcome) if !outcome.sqlstate.is_empty() => {
            format!("error {} · {}", one_line(&super::text::plain(&outcome.sqlstate), 10).0, took(outcome))
        }
        Some(outcome) => format!("{} · {}", counted(outcome.rows.unwrap_or(0), "row"), took(outcome)),
        None => String::new(),
    }
}

fn took(outcome: &RecordView<'_>) -> String {
    duration(outcome.duration_us.unwrap_or_default())
}

/// Whether a statement's first words say already what it does.
fn starts_with_act(record: &RecordView<'_>) -> bool {
    let first = |text: &str| text.split_whitespace().next().map(str::to_lowercase);
    let grave = record.effects.iter().find(|effect| Tone::of(&effect.class) != Tone::Quiet);
    record.effects.len() == 1 && grave.is_some_and(|effect| first(&effect.act) == first(&record.text))
}

/// Who, where and with what; and what the statement does, where that was refused and is asked for.
pub fn by(record: &RecordView<'_>, with_acts: bool) -> Markup {
    let user = if record.user.is_empty() { &record.by } else { &record.user };
    let place = [&record.environment, &record.database].into_iter().filter(|part| !part.is_empty());
    let place = place.map(|part| part.to_string()).collect::<Vec<_>>().join("/");
    html! {
        @if !user.is_empty() { (OneLine(user, 60)) }
        @if !place.is_empty() { " on " (OneLine(&place, 80)) }
        @if !record.application.is_empty() { " · " (OneLine(&record.application, 60)) }
        @if with_acts && (record.verdict == "deny" || record.verdict == "observe") { " · " (acts(record)) }
    }
}

/// What the gravest effects of a statement are, in a few words.
pub fn acts(record: &RecordView<'_>) -> Markup {
    let grave = record.effects.iter().filter(|effect| Tone::of(&effect.class) != Tone::Quiet);
    let mut told: Vec<String> =
        grave.map(|effect| format!("{} {}", effect.act, effect.object).trim().to_owned()).collect();
    if told.is_empty() {
        told =
            record.effects.iter().map(|effect| format!("{} {}", effect.act, effect.object).trim().to_owned()).collect();
    }
    told.dedup();
    html! { (OneLine(&told.join(", "), 120)) }
}

/// A statement's figure beside its first words.
pub fn ranked(
    entries: &[Entry],
    figure: impl Fn(&RecordView<'_>) -> u64,
    shown: impl Fn(u64) -> String,
) -> Vec<super::chart::Bar> {
    let bar = |entry: &Entry| {
        entry.with(|story| {
            let value = story.outcome.map_or(0, &figure);
            let text = if story.record.text.is_empty() { &story.record.fingerprint } else { &story.record.text };
            super::chart::Bar {
                name: one_line(text, 90).0,
                value,
                shown: shown(value),
                href: format!("/audit/{}", story.record.id),
                tone: "plain",
            }
        })
    };
    entries.iter().filter_map(bar).collect()
}

/// How a statement went, in words.
pub fn outcome(outcome: &RecordView<'_>) -> Markup {
    html! {
        @if outcome.sqlstate.is_empty() {
            @if !outcome.tag.is_empty() { (OneLine(&outcome.tag, 40)) " · " }
        } @else {
            span.deny-text { "error " (OneLine(&outcome.sqlstate, 10)) } " · "
        }
        (counted(outcome.rows.unwrap_or(0), "row")) " · " (bytes(outcome.bytes.unwrap_or(0))) " · " (took(outcome))
        @if !outcome.state.is_empty() { " · " (OneLine(&outcome.state.replace('_', " "), 20)) }
    }
}

/// How many records, in words.
pub fn total(records: u64) -> String {
    match records {
        0 => "No record".to_owned(),
        1 => "1 record".to_owned(),
        more => format!("{} records", count(more)),
    }
}
