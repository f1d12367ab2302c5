//! Records as events of the Open Cybersecurity Schema Framework (OCSF) 1.3: <https://schema.ocsf.io/1.3.0/>.
//!
//! Statements are Datastore Activity (6005), logins and the ends of sessions Authentication (3002), everything else Base Event
//! (0). What OCSF has no place for is in `unmapped`, and the whole record in `raw_data`.

use serde_json::{Map, Value, json};

use crate::audit::query::time_of;
use crate::audit::view::{RecordView, Story};

/// The version of the schema.
const VERSION: &str = "1.3.0";

/// Class, category, activity.
struct Kind {
    class: u64,
    class_name: &'static str,
    category: u64,
    category_name: &'static str,
    activity: u64,
    activity_name: &'static str,
}

const DATASTORE: (u64, &str, u64, &str) = (6005, "Datastore Activity", 6, "Application Activity");
const AUTHENTICATION: (u64, &str, u64, &str) = (3002, "Authentication", 3, "Identity & Access Management");
const BASE: (u64, &str, u64, &str) = (0, "Base Event", 0, "Uncategorized");

fn kind(record: &RecordView<'_>) -> Kind {
    let (of, (activity, activity_name)) = match record.event.as_ref() {
        "statement" => (DATASTORE, activity(record)),
        "login" | "login_failed" => (AUTHENTICATION, (1, "Logon")),
        "session_end" => (AUTHENTICATION, (2, "Logoff")),
        _ => (BASE, (99, "Other")),
    };
    let (class, class_name, category, category_name) = of;
    Kind { class, class_name, category, category_name, activity, activity_name }
}

/// The activity of a statement: that of its gravest effect.
fn activity(record: &RecordView<'_>) -> (u64, &'static str) {
    let has = |prefix: &str| record.effects.iter().any(|effect| effect.class.starts_with(prefix));
    if has("destroy") || has("write.delete") || has("ddl.destructive") {
        (7, "Delete")
    } else if has("ddl") {
        (6, "Create")
    } else if has("write.update") || has("write.merge") {
        (2, "Update")
    } else if has("write") {
        (5, "Write")
    } else if has("read") {
        (4, "Query")
    } else if record.effects.is_empty() {
        (0, "Unknown")
    } else {
        (99, "Other")
    }
}

/// One event.
pub(super) fn event(story: &Story<'_>) -> Value {
    let record = story.record;
    let kind = kind(record);
    let (severity_id, severity) = severity(record);
    let (status_id, status) = status(story);
    let time = time_of(record).map_or(0, |time| time.0 / 1000);
    let mut event = json!({
        "class_uid": kind.class, "class_name": kind.class_name,
        "category_uid": kind.category, "category_name": kind.category_name,
        "activity_id": kind.activity, "activity_name": kind.activity_name,
        "type_uid": kind.class * 100 + kind.activity, "type_name": format!("{}: {}", kind.class_name, kind.activity_name),
        "time": time, "severity_id": severity_id, "severity": severity, "status_id": status_id, "status": status,
        "metadata": {
            "version": VERSION, "uid": record.id, "sequence": record.seq, "log_name": "audit", "event_code": record.event,
            "product": {"name": "pgwarden", "vendor_name": "pgwarden", "version": env!("CARGO_PKG_VERSION")},
        },
        "message": message(record), "raw_data": story.line, "unmapped": unmapped(story),
    });
    if let Value::Object(members) = &mut event {
        add_party(members, story);
    }
    event
}

fn add_party(members: &mut Map<String, Value>, story: &Story<'_>) {
    let record = story.record;
    let mut put = |name: &str, value: Value| members.insert(name.to_owned(), value);
    let user = json!({"name": record.user, "type_id": 1, "groups": [{"name": record.role}]});
    match record.event.as_ref() {
        "statement" => {
            let session = json!({"uid": record.session});
            put("actor", json!({"user": user, "session": session, "app_name": record.application}));
            put("src_endpoint", endpoint(record));
            put("database", json!({"name": record.database, "type": "Relational", "type_id": 1}));
            put("type_id", json!(1));
            put("type", json!("Database"));
            put("query_info", json!({"query_string": record.text, "uid": record.fingerprint}));
            if let Some(duration) = story.outcome.and_then(|outcome| outcome.duration_us) {
                put("duration", json!(duration / 1000));
            }
        }
        "login" | "login_failed" | "session_end" => {
            put("user", user);
            put("session", json!({"uid": record.session}));
            put("src_endpoint", endpoint(record));
            put("service", json!({"name": record.database}));
            put("auth_protocol", json!(record.login));
            put("auth_protocol_id", json!(99));
            put("status_detail", json!(record.reason));
        }
        _ => {
            put("actor", json!({"user": {"name": record.by}}));
        }
    }
}

fn endpoint(record: &RecordView<'_>) -> Value {
    let (ip, port) = record.client.rsplit_once(':').unwrap_or((&record.client, ""));
    json!({"ip": ip.trim_matches(['[', ']']), "port": port.parse::<u16>().unwrap_or(0)})
}

fn severity(record: &RecordView<'_>) -> (u64, &'static str) {
    match (record.event.as_ref(), record.verdict.as_ref()) {
        ("statement", "deny") | ("login_failed" | "gap" | "cancel", _) => (3, "Medium"),
        ("statement", "observe") => (2, "Low"),
        ("recovery", _) if !record.damage.is_empty() => (5, "Critical"),
        _ => (1, "Informational"),
    }
}

fn status(story: &Story<'_>) -> (u64, &'static str) {
    let failed = match story.record.event.as_ref() {
        "statement" => {
            story.record.verdict == "deny" || story.outcome.is_some_and(|outcome| !outcome.sqlstate.is_empty())
        }
        "login_failed" => true,
        _ => false,
    };
    match (failed, story.record.event.as_ref(), story.outcome) {
        (true, ..) => (2, "Failure"),
        (false, "statement", None) => (0, "Unknown"),
        (false, ..) => (1, "Success"),
    }
}

fn message(record: &RecordView<'_>) -> String {
    match record.event.as_ref() {
        "statement" => format!("{} by {}: {}", record.verdict, record.user, record.rule),
        "login_failed" => record.message.to_string(),
        event => event.to_owned(),
    }
}

/// What OCSF has no place for.
fn unmapped(story: &Story<'_>) -> Value {
    let record = story.record;
    let effects: Vec<Value> = record
        .effects
        .iter()
        .map(|effect| json!({"class": effect.class, "object": effect.object, "act": effect.act}))
        .collect();
    let later = story.outcome.unwrap_or(record);
    json!({
        "verdict": record.verdict, "rule": record.rule, "policy": record.policy, "environment": record.environment,
        "endpoint": record.endpoint, "effects": effects, "transaction": record.transaction, "sqlstate": later.sqlstate,
        "tag": later.tag, "rows": later.rows, "bytes": later.bytes, "state": later.state, "grant": record.grant,
        "parameters": record.parameters,
    })
}
