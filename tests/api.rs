//! The API: who may do what, that the OpenAPI document is what it does, and that everything done by it is on record.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/raw.rs"]
mod raw;
mod support;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use pgwarden::admin::api::operation::{Method, Operation};
use pgwarden::config::TokenHash;
use raw::Raw;
use serde_json::{Value, json};
use support::proxy::{database, user};
use support::{Pgwarden, Postgres, Version};

const TOKENS: [(&str, &str); 3] = [("viewer", "see"), ("auditor", "review"), ("operator", "act")];

fn configuration(postgres: &Postgres) -> String {
    let name = postgres.database();
    let url = postgres.url(&name);
    let mut text = database("shop", &url, &url);
    text.push_str("\n[environments.production.roles]\nstudio = \"read-only\"\napp = \"application\"\n");
    text.push_str(&user("grace", "pencil", "production = \"studio\""));
    text.push_str(&user("app", "pencil", "production = \"app\""));
    for (role, token) in TOKENS {
        let hash = TokenHash::of(token);
        text.push_str(&format!("\n[[tokens]]\nname = \"{role}-token\"\nhash = \"{hash}\"\nrole = \"{role}\"\n"));
    }
    // One token approves what another one asked for, and its own as well.
    text.push_str("\n[grants]\nself_approval = true\n");
    text.push_str("\n[[reviews]]\nname = \"refusals\"\nfilter = \"verdict:deny\"\nwithin = \"1h\"\n");
    text
}

/// One call: status and answer.
fn call(proxy: &Pgwarden, token: Option<&str>, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
    let mut stream = TcpStream::connect(("127.0.0.1", proxy.admin_port())).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let body = body.map(ToString::to_string).unwrap_or_default();
    let token = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{token}Content-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or_else(|error| panic!("{method} {path}: {error}: {answer}")))
}

fn get(proxy: &Pgwarden, path: &str) -> Value {
    let (status, answer) = call(proxy, Some("see"), "GET", &format!("/api/v1{path}"), None);
    assert_eq!(status, 200, "{path}: {answer}");
    answer
}

/// Asks until the answer is as it should be: the index follows the log.
fn until(proxy: &Pgwarden, path: &str, good: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let answer = get(proxy, path);
        if good(&answer) {
            return answer;
        }
        assert!(Instant::now() < deadline, "{path}: {answer}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// What stands in braces in paths.
struct Ids {
    record: String,
    session: String,
    /// Grants that are asked for: one to be shown and approved, one denied and one revoked.
    grants: [String; 3],
}

/// The operation's path with what stands in braces filled in.
fn path(operation: Operation, ids: &Ids) -> String {
    let at = operation.path();
    let [approved, denied, revoked] = &ids.grants;
    let id = match operation {
        Operation::Cancel | Operation::End => &ids.session,
        Operation::Grant | Operation::ApproveGrant => approved,
        Operation::DenyGrant => denied,
        Operation::RevokeGrant => revoked,
        _ => &ids.record,
    };
    let query = match operation {
        Operation::Top => "?field=user",
        _ => "",
    };
    format!("/api/v1{}{query}", at.replace("{id}", id).replace("{rule}", "refusals"))
}

fn grant() -> Value {
    json!({"user": "app", "environment": "production", "allow": ["ddl.destructive"], "for": "30m", "reason": "as agreed"})
}

fn body(operation: Operation) -> Option<Value> {
    match operation {
        Operation::Review => Some(json!({"action": "acknowledged", "note": "as agreed"})),
        Operation::RequestGrant => Some(grant()),
        Operation::ApproveGrant => Some(json!({"confirm": "production", "note": "as agreed"})),
        Operation::DenyGrant | Operation::RevokeGrant => Some(json!({"note": "not today"})),
        Operation::Try => {
            Some(json!({"environment": "production", "role": "studio", "statement": "drop table orders"}))
        }
        _ => None,
    }
}

fn is_of_kind(value: &Value, kind: &str) -> bool {
    kind.split('|').any(|kind| match kind {
        "null" => value.is_null(),
        "integer" => value.is_u64() || value.is_i64(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("{other} is no JSON type"),
    })
}

#[test]
fn every_operation_is_as_the_document_says_and_needs_its_role() {
    let postgres = Postgres::shared(Version::V15);
    let mut proxy = Pgwarden::start(&configuration(postgres));
    let mut session = Raw::connect(proxy.port(), "grace", "pencil", "shop").unwrap();
    session.query("select 1").unwrap();
    session.query("drop table orders").unwrap();
    let denied = until(&proxy, "/audit/records?filter=verdict:deny", |page| page["entries"][0].is_object());
    let id = denied["entries"][0]["record"]["id"].as_str().unwrap().to_owned();
    let sessions = get(&proxy, "/sessions");
    let own = sessions["sessions"][0]["session"].as_str().unwrap().to_owned();
    until(&proxy, "/grants", |answer| answer["restored"] == true);
    let grants = [(); 3].map(|()| {
        let (status, answer) = call(&proxy, Some("see"), "POST", "/api/v1/grants", Some(&grant()));
        assert_eq!(status, 200, "{answer}");
        answer["grant"]["id"].as_str().unwrap().to_owned()
    });
    let ids = Ids { record: id.clone(), session: own.clone(), grants };

    let (status, document) = call(&proxy, None, "GET", "/api/v1/openapi.json", None);
    assert_eq!((status, &document["openapi"]), (200, &"3.1.0".into()));
    for operation in Operation::ALL {
        let described = &document["paths"][operation.path()][operation.method().name()];
        assert_eq!(described["operationId"], operation.name());
        let method = if operation.method() == Method::Get { "GET" } else { "POST" };
        let at = path(*operation, &ids);
        let Some(role) = operation.role() else { continue };
        assert_eq!(call(&proxy, None, method, &at, body(*operation).as_ref()).0, 401, "{at} without a token");
        let roles = ["viewer", "auditor", "operator"];
        let needed = roles.iter().position(|name| *name == role.name()).unwrap();
        for (_, token) in TOKENS.iter().take(needed) {
            assert_eq!(call(&proxy, Some(token), method, &at, body(*operation).as_ref()).0, 403, "{at} as {token}");
        }
    }
    // What ends the session comes last.
    let (last, first): (Vec<Operation>, Vec<Operation>) =
        Operation::ALL.iter().partition(|operation| matches!(operation, Operation::End));
    for operation in first.into_iter().chain(last) {
        let method = if operation.method() == Method::Get { "GET" } else { "POST" };
        let at = path(operation, &ids);
        let (status, answer) = call(&proxy, Some("act"), method, &at, body(operation).as_ref());
        assert_eq!(status, 200, "{method} {at}: {answer}");
        let members: Vec<&String> = answer.as_object().unwrap().keys().collect();
        for (name, kind) in operation.gives() {
            assert!(is_of_kind(&answer[name], kind), "{at}: {name} is not {kind}: {answer}");
        }
        let known = |name: &String| operation.gives().iter().any(|(given, _)| given == name);
        assert!(operation == Operation::OpenApi || members.iter().all(|name| known(name)), "{at}: {members:?}");
        // What is not in the document is refused, not ignored.
        if operation.role().is_some() && operation.method() == Method::Get && !operation.takes().is_empty() {
            let sign = if at.contains('?') { '&' } else { '?' };
            let (status, answer) = call(&proxy, Some("act"), method, &format!("{at}{sign}nonsense=1"), None);
            assert_eq!(status, 400, "{at}: {answer}");
        }
    }
    assert!(session.query("select 2").is_err(), "the session was ended");
    proxy.stop();
    let acts: Vec<String> = proxy
        .records()
        .iter()
        .filter(|record| record["event"] == "admin" || record["event"] == "review")
        .map(|record| format!("{} {} {}", record["by"], record["action"], record["target"]).replace('"', ""))
        .collect();
    for act in [
        format!("token:operator-token session.end {own}"),
        format!("token:operator-token session.cancel {own}"),
        "token:operator-token acknowledged null".to_owned(),
        format!("token:operator-token audit.show {id}"),
        "token:viewer-token audit.search verdict:deny".to_owned(),
        "token:operator-token policies.try studio in production".to_owned(),
    ] {
        assert_eq!(acts.iter().filter(|other| **other == act).count(), 1, "{act}: {acts:#?}");
    }
    let ended =
        proxy.records().into_iter().find(|record| record["event"] == "session_end" && record["session"] == *own);
    assert_eq!(ended.unwrap()["reason"], "ended by an operator");
}

#[test]
fn mistakes_are_answered_with_their_reason() {
    let postgres = Postgres::shared(Version::V15);
    let proxy = Pgwarden::start(&configuration(postgres));
    let table = [
        ("GET", "/audit/records?filter=usr:x", None, 400, "there is no field usr"),
        ("GET", "/audit/records?limit=0", None, 400, "1 to 1000"),
        ("GET", "/audit/records?limit=many", None, 400, "limit"),
        ("GET", "/audit/records?order=sideways", None, 400, "sideways"),
        ("GET", "/audit/records/nonsense", None, 400, "an audit id is"),
        ("GET", "/audit/records/00000000000", None, 404, "there is no record"),
        ("GET", "/audit/top?field=nothing", None, 400, "there is no field nothing"),
        ("GET", "/audit/top", None, 400, "field"),
        ("GET", "/audit/timeline?bucket=0", None, 400, "bucket"),
        ("GET", "/audit/new-fingerprints?since=whenever", None, 400, "whenever"),
        ("GET", "/reviews/nothing", None, 404, "there is no review rule nothing"),
        ("GET", "/nothing", None, 404, "openapi.json"),
        ("POST", "/sessions/nobody/end", None, 404, "there is no session nobody"),
        ("POST", "/sessions/nobody/cancel", None, 404, "there is no session nobody"),
        (
            "POST",
            "/audit/records/00000000000/reviews",
            Some(json!({"action": "acknowledged"})),
            404,
            "there is no record",
        ),
        ("POST", "/audit/records/00000000000/reviews", Some(json!({"action": "praised"})), 422, "praised"),
        ("POST", "/audit/records/00000000000/reviews", Some(json!({"action": "problem"})), 400, "a note is needed"),
        ("POST", "/policies/try", Some(json!({"environment": "production"})), 422, "role"),
        (
            "POST",
            "/policies/try",
            Some(json!({"environment": "x", "role": "y", "statement": ""})),
            404,
            "no role y in x",
        ),
    ];
    for (method, at, body, expected, words) in table {
        let (status, answer) = call(&proxy, Some("act"), method, &format!("/api/v1{at}"), body.as_ref());
        let told = answer["error"].as_str().unwrap_or_default();
        assert!(status == expected && told.contains(words), "{method} {at}: {status} {answer}");
    }
    // Wrong tokens: refused, recorded, and after too many of them unheard.
    for _ in 0..10 {
        assert_eq!(call(&proxy, Some("guess"), "GET", "/api/v1/sessions", None).0, 401);
    }
    assert_eq!(call(&proxy, Some("see"), "GET", "/api/v1/sessions", None).0, 429);
}

#[test]
fn a_running_statement_is_seen_and_cancelled() {
    let postgres = Postgres::shared(Version::V15);
    let proxy = Pgwarden::start(&configuration(postgres));
    let mut busy = Raw::connect(proxy.port(), "app", "pencil", "shop").unwrap();
    busy.query("begin").unwrap();
    let sleeping = std::thread::spawn(move || busy.query("select pg_sleep(300) -- 'napping'").unwrap());
    let seen = until(&proxy, "/sessions", |answer| {
        answer["sessions"][0]["statement"].as_str().is_some_and(|text| text.contains("pg_sleep"))
    });
    let session = &seen["sessions"][0];
    assert_eq!((&session["state"], &session["user"]), (&"active".into(), &"app".into()), "{session}");
    assert!(session["statement_age_us"].is_u64() && session["statements"] == 2, "{session}");
    let id = session["session"].as_str().unwrap();
    let (status, answer) = call(&proxy, Some("act"), "POST", &format!("/api/v1/sessions/{id}/cancel"), None);
    assert_eq!(status, 200, "{answer}");
    // A request that comes before the server has begun with the statement meets nothing: a person asks again.
    while !sleeping.is_finished() {
        std::thread::sleep(Duration::from_secs(1));
        call(&proxy, Some("act"), "POST", &format!("/api/v1/sessions/{id}/cancel"), None);
    }
    let answers = sleeping.join().unwrap();
    assert!(answers.iter().any(|message| raw::described(message).contains("57014")), "{answers:?}");
    until(&proxy, "/sessions", |answer| {
        answer["sessions"].as_array().unwrap().iter().all(|one| one["state"] != "active")
    });
}

#[test]
fn reviews_close_what_the_rules_open_and_a_reload_is_told() {
    let postgres = Postgres::shared(Version::V15);
    let text = configuration(postgres);
    let mut proxy = Pgwarden::start(&text);
    let mut session = Raw::connect(proxy.port(), "grace", "pencil", "shop").unwrap();
    session.query("drop table orders").unwrap();
    session.query("delete from orders").unwrap();
    let open = until(&proxy, "/reviews", |answer| answer["rules"][0]["open"] == 2);
    assert_eq!(open["rules"][0]["rule"], "refusals");
    let page = get(&proxy, "/reviews/refusals");
    let id = page["entries"][0]["record"]["id"].as_str().unwrap();
    let said = json!({"action": "problem", "note": "who was that?"});
    assert_eq!(
        call(&proxy, Some("review"), "POST", &format!("/api/v1/audit/records/{id}/reviews"), Some(&said)).0,
        200
    );
    let rules = until(&proxy, "/reviews", |answer| answer["rules"][0]["open"] == 1);
    assert_eq!((&rules["rules"][0]["problems"], &rules["rules"][0]["overdue"]), (&1.into(), &0.into()));
    let story = get(&proxy, &format!("/audit/records/{id}"));
    assert_eq!(
        (&story["review"]["action"], &story["review"]["by"]),
        (&"problem".into(), &"token:auditor-token".into())
    );

    proxy.reload(&text.replace("verdict:deny", "usr:nonsense"));
    let told = until(&proxy, "/configuration", |answer| answer["last_reload"].is_object());
    assert!(told["last_reload"]["error"].as_str().unwrap().contains("there is no field usr"), "{told}");
    assert_eq!(told["generation"], 1);
    proxy.reload(&text.replace("verdict:deny", "effect:ddl"));
    let told = until(&proxy, "/configuration", |answer| answer["generation"] == 2);
    assert_eq!(told["last_reload"]["changes"], json!(["review rule `refusals` changed: filter"]), "{told}");
}

#[test]
fn the_command_line_lists_and_ends_sessions() {
    let postgres = Postgres::shared(Version::V15);
    let proxy = Pgwarden::start(&configuration(postgres));
    let mut session = Raw::connect(proxy.port(), "app", "pencil", "shop").unwrap();
    session.query("select 'mine'").unwrap();
    let run = |arguments: &[&str], token: &str| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_pgwarden"));
        command.args(["sessions"]).args(arguments).env("PGWARDEN_TOKEN", token);
        command.args(["--url", &format!("http://127.0.0.1:{}", proxy.admin_port())]);
        let output = command.output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap(), told)
    };
    let (code, out, told) = run(&["list"], "see");
    assert!(code == 0 && out.contains("app") && out.contains("select 'mine'"), "{out}{told}");
    let (_, out, _) = run(&["list", "--json"], "see");
    let all: Value = serde_json::from_str(&out).unwrap();
    let id = all["sessions"][0]["session"].as_str().unwrap();
    let (code, _, told) = run(&["kill", id], "see");
    assert!(code == 1 && told.contains("operator"), "{code} {told}");
    let (code, _, told) = run(&["list"], "wrong");
    assert!(code == 1 && told.contains("the token is not known"), "{code} {told}");
    let (code, out, told) = run(&["kill", id], "act");
    assert!(code == 0, "{out}{told}");
    assert!(session.query("select 2").is_err());
    assert_eq!(run(&["kill", "nobody"], "act").0, 1);
}

/// The statements' texts as they are recorded, where they are.
fn recorded(proxy: &Pgwarden) -> Vec<Value> {
    proxy.records().into_iter().filter(|record| record["event"] == "statement").map(|one| one["text"].clone()).collect()
}

#[test]
fn texts_are_recorded_as_the_policy_says() {
    let postgres = Postgres::shared(Version::V15);
    let text = configuration(postgres);
    let statements = ["select 'card 4711' /* for Grace */", "select 12, 'x'", "select 13, 'x'", "selec 'secret'"];
    let table: [(&str, [Value; 4]); 3] = [
        ("whole", statements.map(Value::from)),
        ("redacted", ["select ?", "select ?, ?", "select ?, ?", "selec ?"].map(Value::from)),
        ("fingerprint", [Value::Null, Value::Null, Value::Null, Value::Null]),
    ];
    for (level, expected) in table {
        let own = format!("\n[policies.read-only]\nstatement_text = \"{level}\"\n");
        let mut proxy = Pgwarden::start(&format!("{text}{own}"));
        let mut session = Raw::connect(proxy.port(), "grace", "pencil", "shop").unwrap();
        for statement in statements {
            session.query(statement).unwrap();
        }
        drop(session);
        proxy.stop();
        assert_eq!(recorded(&proxy), expected, "{level}");
        let lines = format!("{:?}", proxy.records());
        assert_eq!(lines.contains("4711"), level == "whole", "{level}: {lines}");
        let records = proxy.records();
        let prints: Vec<&Value> =
            records.iter().filter(|one| one["event"] == "statement").map(|one| &one["fingerprint"]).collect();
        assert!(
            prints.iter().all(|print| print.as_str().is_some_and(|print| print.len() == 16)),
            "{level}: {prints:?}"
        );
        assert!(prints[1] == prints[2] && prints[0] != prints[3], "{level}: {prints:?}");
    }
}

#[test]
fn reads_of_programs_are_counted_where_the_policy_says_so_and_nothing_else_is() {
    let postgres = Postgres::shared(Version::V15);
    let mut text = configuration(postgres).replace("name = \"app\"\n", "name = \"app\"\nperson = false\n");
    text.push_str(
        "\n[policies.application]\nrecord_reads = \"counted\"\n[policies.read-only]\nrecord_reads = \"counted\"\n",
    );
    let mut proxy = Pgwarden::start(&text);
    let mut program = Raw::connect(proxy.port(), "app", "pencil", "shop").unwrap();
    program.query("create temp table mine (id int)").unwrap();
    for number in 0..30 {
        program.query(&format!("select {number}")).unwrap();
        program.query("drop table orders").unwrap();
    }
    program.query("select 1 / 0").unwrap();
    let mut person = Raw::connect(proxy.port(), "grace", "pencil", "shop").unwrap();
    for number in 0..10 {
        person.query(&format!("select {number}")).unwrap();
    }
    drop((program, person));
    std::thread::sleep(Duration::from_millis(300));
    proxy.stop();
    let records = proxy.records();
    let of = |user: &str, words: &str| {
        let own = records.iter().filter(|one| one["event"] == "statement" && one["user"] == user);
        own.filter(|one| one["text"].as_str().unwrap().starts_with(words)).count()
    };
    assert_eq!((of("grace", "select"), of("app", "drop")), (10, 30), "people and refusals one by one");
    assert_eq!(of("app", "select 1 / 0"), 1);
    let counted: Vec<&Value> = records.iter().filter(|one| one["event"] == "reads").collect();
    let sum = |name: &str| counted.iter().map(|one| one[name].as_u64().unwrap()).sum::<u64>();
    // The first of a minute has a record of its own; the test may run over the end of a minute.
    let first = of("app", "select") as u64 - 1;
    assert!((1..=2).contains(&first), "{first}");
    assert_eq!((sum("count"), sum("rows"), sum("failed")), (30 - first, 30 - first, 0), "{counted:?}");
    assert!(
        counted.iter().all(|one| one["user"] == "app" && one["fingerprint"].is_string() && one["since"].is_string())
    );
}
