//! What the API says of the audit log, and reviews.

use axum::Json;
use axum::extract::{self, Path};
use axum::http::StatusCode;
use jiff::Zoned;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::State;
use super::super::reviews::{NotReviewed, ReviewAction};
use super::{Answer, Body, Caller, DONE, Done, Failure, Query};
use crate::audit::AuditId;
use crate::audit::filter::{Field, Filter, Test};
use crate::audit::query::{Order, Page, PageRequest, Rank};
use crate::audit::search::Entry;

/// Most entries or values that one call gives.
const MOST: usize = 1_000;
/// Most statements before and after a record.
const MOST_AROUND: usize = 100;
/// The fields that are counted when none are named.
const USUAL: &[Field] = &[
    Field::Verdict,
    Field::Event,
    Field::Environment,
    Field::User,
    Field::Role,
    Field::Application,
    Field::Database,
    Field::Effect,
    Field::Object,
    Field::Error,
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Records {
    #[serde(default)]
    filter: String,
    limit: Option<usize>,
    after: Option<u64>,
    #[serde(default)]
    order: Direction,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Direction {
    #[default]
    Newest,
    Oldest,
}

fn parsed(filter: &str) -> Result<Filter, Failure> {
    Filter::parse(filter, &Zoned::now()).map_err(|error| Failure::bad(error.to_string()))
}

fn field(name: &str) -> Result<Field, Failure> {
    Field::ALL
        .iter()
        .copied()
        .find(|field| field.names().contains(&name))
        .ok_or_else(|| Failure::bad(format!("there is no field {name}")))
}

fn bounded(asked: Option<usize>, usual: usize, most: usize) -> Result<usize, Failure> {
    match asked {
        None => Ok(usual),
        Some(asked) if (1..=most).contains(&asked) => Ok(asked),
        Some(asked) => Err(Failure::bad(format!("{asked} is not a number from 1 to {most}"))),
    }
}

/// A line as JSON. Every line that the index gives was written by the audit room.
fn value(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or(Value::Null)
}

fn maybe(line: Option<&String>) -> Value {
    line.map_or(Value::Null, |line| value(line))
}

fn entry(entry: &Entry) -> Value {
    json!({"record": value(&entry.line), "outcome": maybe(entry.outcome.as_ref())})
}

fn entries(all: &[Entry]) -> Vec<Value> {
    all.iter().map(entry).collect()
}

fn page(page: &Page) -> Json<Value> {
    Json(json!({"entries": entries(&page.entries), "next": page.next}))
}

pub(super) async fn records(
    extract::State(state): extract::State<State>,
    caller: Caller,
    Query(asked): Query<Records>,
) -> Answer<Value> {
    let filter = parsed(&asked.filter)?;
    let order = match asked.order {
        Direction::Newest => Order::Newest,
        Direction::Oldest => Order::Oldest,
    };
    let request = PageRequest { limit: bounded(asked.limit, 50, MOST)?, after: asked.after, order };
    state.looks(&caller, "audit.search", Some(asked.filter));
    let found = state.ask(move |state| state.index().search(&filter, request)).await;
    Ok(page(&found.ok_or_else(Failure::unfinished)??))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Around {
    around: Option<usize>,
}

pub(super) async fn record(
    extract::State(state): extract::State<State>,
    caller: Caller,
    Path(id): Path<String>,
    Query(asked): Query<Around>,
) -> Answer<Value> {
    let id: AuditId = id.parse().map_err(|error| Failure::bad(format!("{id}: {error}")))?;
    let around = asked.around.unwrap_or(5).min(MOST_AROUND);
    state.looks(&caller, "audit.show", Some(id.to_string()));
    let found = state.ask(move |state| {
        let index = state.index();
        let review = index.reviews()?.get(&id).cloned();
        Ok::<_, Failure>((index.record(id)?, index.neighbourhood(id, around)?.unwrap_or_default(), review))
    });
    let (found, near, review) = found.await.ok_or_else(Failure::unfinished)??;
    let found = found.ok_or_else(|| Failure::of(StatusCode::NOT_FOUND, format!("there is no record {id}")))?;
    let related: Vec<Value> = near.related.iter().map(|line| value(line)).collect();
    Ok(Json(json!({
        "record": value(&found.entry.line),
        "outcome": maybe(found.entry.outcome.as_ref()),
        "place": {"file": found.file, "line": found.line},
        "review": review,
        "login": near.login.as_ref().map(entry),
        "before": entries(&near.before),
        "after": entries(&near.after),
        "transaction": maybe(near.transaction.as_ref()),
        "session_end": near.session_end.as_ref().map(entry),
        "related": related,
    })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Only {
    #[serde(default)]
    filter: String,
}

pub(super) async fn count(
    extract::State(state): extract::State<State>,
    caller: Caller,
    Query(asked): Query<Only>,
) -> Answer<Value> {
    let filter = parsed(&asked.filter)?;
    state.looks(&caller, "audit.search", Some(asked.filter));
    let count = state.ask(move |state| state.index().count(&filter)).await.ok_or_else(Failure::unfinished)??;
    Ok(Json(json!({"count": count})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Facets {
    #[serde(default)]
    filter: String,
    #[serde(default)]
    fields: String,
    most: Option<usize>,
}

pub(super) async fn facets(
    extract::State(state): extract::State<State>,
    caller: Caller,
    Query(asked): Query<Facets>,
) -> Answer<Value> {
    let filter = parsed(&asked.filter)?;
    let most = bounded(asked.most, 10, MOST)?;
    let named: Vec<Field> =
        asked.fields.split(',').filter(|name| !name.is_empty()).map(field).collect::<Result<_, _>>()?;
    let fields = if named.is_empty() { USUAL.to_vec() } else { named };
    state.looks(&caller, "audit.search", Some(asked.filter));
    let found = state.ask(move |state| state.index().facets(&filter, &fields, most)).await;
    let found = found.ok_or_else(Failure::unfinished)??;
    let facet = |facet: &crate::audit::query::Facet| {
        let name = facet.field.names().first().copied().unwrap_or_default();
        json!({"field": name, "distinct": facet.distinct, "values": facet.values})
    };
    Ok(Json(json!({"facets": found.iter().map(facet).collect::<Vec<_>>()})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Timeline {
    #[serde(default)]
    filter: String,
    bucket: Option<u64>,
}

pub(super) async fn timeline(
    extract::State(state): extract::State<State>,
    caller: Caller,
    Query(asked): Query<Timeline>,
) -> Answer<Value> {
    let filter = parsed(&asked.filter)?;
    let seconds = asked.bucket.unwrap_or(3600);
    if !(1..=366 * 86_400).contains(&seconds) {
        return Err(Failure::bad("`bucket` is a number of seconds from 1 to 31622400"));
    }
    state.looks(&caller, "audit.search", Some(asked.filter));
    let found = state.ask(move |state| state.index().timeline(&filter, seconds * 1_000_000)).await;
    let found = found.ok_or_else(Failure::unfinished)??;
    let bucket = |bucket: &crate::audit::query::Bucket| {
        let statements = bucket.statements;
        json!({"from": bucket.from.to_string(), "statements": statements, "others": bucket.others})
    };
    Ok(Json(json!({"bucket_s": seconds, "buckets": found.iter().map(bucket).collect::<Vec<_>>()})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Top {
    #[serde(default)]
    filter: String,
    field: String,
    most: Option<usize>,
}

pub(super) async fn top(
    extract::State(state): extract::State<State>,
    caller: Caller,
    Query(asked): Query<Top>,
) -> Answer<Value> {
    let filter = parsed(&asked.filter)?;
    let (wanted, most) = (field(&asked.field)?, bounded(asked.most, 10, MOST)?);
    state.looks(&caller, "audit.search", Some(asked.filter));
    let found = state.ask(move |state| state.index().top(&filter, wanted, most)).await;
    let found = found.ok_or_else(Failure::unfinished)??;
    Ok(Json(json!({"field": asked.field, "values": found})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Slowest {
    #[serde(default)]
    filter: String,
    #[serde(default)]
    by: By,
    most: Option<usize>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum By {
    #[default]
    Duration,
    Bytes,
    Rows,
}

pub(super) async fn slowest(
    extract::State(state): extract::State<State>,
    caller: Caller,
    Query(asked): Query<Slowest>,
) -> Answer<Value> {
    let filter = parsed(&asked.filter)?;
    let most = bounded(asked.most, 10, MOST)?;
    let rank = match asked.by {
        By::Duration => Rank::Duration,
        By::Bytes => Rank::Bytes,
        By::Rows => Rank::Rows,
    };
    state.looks(&caller, "audit.search", Some(asked.filter));
    let found = state.ask(move |state| state.index().ranked(&filter, rank, most)).await;
    Ok(Json(json!({"entries": entries(&found.ok_or_else(Failure::unfinished)??)})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewFingerprints {
    environment: Option<String>,
    since: Option<String>,
    most: Option<usize>,
}

pub(super) async fn new_fingerprints(
    extract::State(state): extract::State<State>,
    caller: Caller,
    Query(asked): Query<NewFingerprints>,
) -> Answer<Value> {
    let most = bounded(asked.most, 10, MOST)?;
    let since = parsed(&format!("since:\"{}\"", asked.since.as_deref().unwrap_or("1d")))?;
    let since = since.terms.iter().find_map(|term| match term.test {
        Test::Time { from, .. } => from,
        _ => None,
    });
    let environment = asked.environment;
    state.looks(&caller, "audit.new_fingerprints", environment.clone());
    let ask =
        move |state: &State| state.index().new_fingerprints(environment.as_deref(), since.unwrap_or_default(), most);
    let found = state.ask(ask).await.ok_or_else(Failure::unfinished)??;
    let one = |new: &crate::audit::query::NewFingerprint| {
        json!({
            "fingerprint": new.fingerprint, "environment": new.environment, "first": new.first.to_string(),
            "entry": entry(&new.entry),
        })
    };
    Ok(Json(json!({"fingerprints": found.iter().map(one).collect::<Vec<_>>()})))
}

pub(super) async fn status(extract::State(state): extract::State<State>) -> Json<Value> {
    let health = state.shared.audit.health();
    let progress = state.index().progress();
    Json(json!({
        "writable": health.writable,
        "error": health.last_error,
        "sequence": health.sequence,
        "records": health.records,
        "waiting": health.queue_records,
        "stalled_us": health.stalled_us,
        "refused": health.refused,
        "lost": health.lost,
        "indexed_through": progress.through,
        "index_building": progress.building,
        "index_error": progress.error,
    }))
}

pub(super) async fn reviews(extract::State(state): extract::State<State>, caller: Caller) -> Answer<Value> {
    state.looks(&caller, "reviews.list", None);
    let rules = state.ask(State::inboxes).await.ok_or_else(Failure::unfinished)??;
    Ok(Json(json!({"rules": rules})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Paging {
    limit: Option<usize>,
    after: Option<u64>,
}

pub(super) async fn open_reviews(
    extract::State(state): extract::State<State>,
    caller: Caller,
    Path(name): Path<String>,
    Query(asked): Query<Paging>,
) -> Answer<Value> {
    let rule = state.review_rules().into_iter().find(|rule| rule.name == name);
    let rule = rule.ok_or_else(|| Failure::of(StatusCode::NOT_FOUND, format!("there is no review rule {name}")))?;
    let request = PageRequest { limit: bounded(asked.limit, 50, MOST)?, after: asked.after, order: Order::Newest };
    state.looks(&caller, "reviews.open", Some(name));
    let found = state.ask(move |state| state.open_items(&rule, request)).await;
    Ok(page(&found.ok_or_else(Failure::unfinished)??))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Said {
    action: ReviewAction,
    #[serde(default)]
    note: String,
}

pub(super) async fn review(
    extract::State(state): extract::State<State>,
    caller: Caller,
    Path(id): Path<String>,
    Body(said): Body<Said>,
) -> Answer<Done> {
    let id: AuditId = id.parse().map_err(|error| Failure::bad(format!("{id}: {error}")))?;
    let actor = caller.0;
    let done = state.ask(move |state| state.review(&actor, id, said.action, &said.note)).await;
    match done.ok_or_else(Failure::unfinished)? {
        Ok(()) => Ok(DONE),
        Err(error @ NotReviewed::NoRecord(_)) => Err(Failure::of(StatusCode::NOT_FOUND, error.to_string())),
        Err(error @ NotReviewed::Note(_)) => Err(Failure::bad(error.to_string())),
        Err(error @ (NotReviewed::Unrecorded(_) | NotReviewed::Index(_))) => {
            Err(Failure::of(StatusCode::SERVICE_UNAVAILABLE, error.to_string()))
        }
    }
}
