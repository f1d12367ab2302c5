//! Grants before real servers: who profits and who does not, every way in which one ends, and that a restart neither loses one nor
//! brings one back.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/raw.rs"]
mod raw;
mod support;
#[path = "support/talk.rs"]
mod talk;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use pgwarden::config::TokenHash;
use pgwarden::demo::scratch::Scratch;
use raw::{Message, Raw, described};
use serde_json::{Value, json};
use support::proxy::user;
use support::{Mode, PgBouncer, Pgwarden, Postgres, Version};
use talk::{Side, bytes_of};

const TABLES: &str = "create table a (id int primary key); insert into a select generate_series(1, 100);
    create table b (id int primary key); insert into b select generate_series(1, 100);
    create table c (id int primary key);
    create function writes() returns int language plpgsql volatile as $$ begin insert into c values (1); return 1; end $$";

/// pgwarden before two databases in production and one in staging, and everybody who plays a part.
struct Stage {
    proxy: Pgwarden,
    postgres: &'static Postgres,
    shop: String,
    configuration: String,
    folder: Scratch,
    _bouncer: PgBouncer,
}

/// Which endpoint the roles use.
const ENDPOINTS: [&str; 2] = ["direct", "pooled"];

impl Stage {
    fn new(endpoint: &str) -> Stage {
        let postgres = Postgres::shared(Version::V15);
        let bouncer = PgBouncer::start(postgres, Mode::Transaction);
        let (shop, other, staging) = (postgres.database(), postgres.database(), postgres.database());
        for database in [&shop, &other, &staging] {
            postgres.rows(database, TABLES);
        }
        let folder = Scratch::create(support::folder(), "grants").unwrap();
        let mut text = format!("[audit]\ndirectory = \"{}/audit\"\n", folder.path().display());
        for (name, environment, own) in
            [("shop", "production", &shop), ("other", "production", &other), ("shop_next", "staging", &staging)]
        {
            let (pooled, direct) = (bouncer.url(own), postgres.url(own));
            text.push_str(&format!(
                "[databases.{name}]\nenvironment = \"{environment}\"\npooled = \"{pooled}\"\ndirect = \"{direct}\"\n"
            ));
        }
        let role =
            |name: &str, policy: &str| format!("{name} = {{ policy = \"{policy}\", endpoint = \"{endpoint}\" }}\n");
        let roles = [role("app", "application"), role("studio", "read-only"), role("watched", "watched")].concat();
        text.push_str(&format!("[environments.production.roles]\n{roles}[environments.staging.roles]\n{roles}"));
        text.push_str(
            "[policies.watched]\nmode = \"observe\"\nallow = [\"read\", \"transaction\", \"function.safe\"]\n",
        );
        text.push_str("[policies.application.relations]\ndeny = [\"public.c\"]\n");
        for (name, role) in [("dana", "app"), ("eve", "app"), ("rita", "studio"), ("olga", "watched")] {
            text.push_str(&user(name, "pencil", &format!("production = \"{role}\", staging = \"{role}\"")));
        }
        for (name, token, role) in [
            ("asker", "ask", "viewer"),
            ("chief", "act", "operator"),
            ("Chief", "also", "operator"),
            ("deputy", "too", "operator"),
        ] {
            let hash = TokenHash::of(token);
            text.push_str(&format!("\n[[tokens]]\nname = \"{name}\"\nhash = \"{hash}\"\nrole = \"{role}\"\n"));
        }
        let stage =
            Stage { proxy: Pgwarden::start(&text), postgres, shop, configuration: text, folder, _bouncer: bouncer };
        stage.restored();
        stage
    }

    /// The same log and configuration again, in another process.
    fn start_again(&mut self) {
        self.proxy = Pgwarden::start(&self.configuration);
        self.restored();
    }

    fn restored(&self) {
        until(|| self.get("/grants")["restored"] == true, || format!("{}", self.get("/grants")));
    }

    fn connect(&self, user: &str, database: &str) -> Raw {
        Raw::connect(self.proxy.port(), user, "pencil", database).unwrap()
    }

    fn call(&self, token: &str, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.proxy.admin_port())).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let body = body.map(ToString::to_string).unwrap_or_default();
        let head = format!(
            "{method} /api/v1{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        // A body that is too long is answered before it is read.
        let _ = stream.write_all(body.as_bytes());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap_or_else(|_| body.into()))
    }

    fn get(&self, path: &str) -> Value {
        let (status, answer) = self.call("ask", "GET", path, None);
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }

    fn request(&self, wanted: &Value) -> String {
        let (status, answer) = self.call("ask", "POST", "/grants", Some(wanted));
        assert_eq!(status, 200, "{wanted}: {answer}");
        answer["grant"]["id"].as_str().unwrap().to_owned()
    }

    fn decide(&self, token: &str, id: &str, act: &str) -> (u16, Value) {
        let confirm = self.get(&format!("/grants/{id}"))["preview"]["confirm"].clone();
        let body = match confirm.as_str().filter(|_| act == "approve") {
            Some(name) => json!({"confirm": name}),
            None => json!({}),
        };
        self.call(token, "POST", &format!("/grants/{id}/{act}"), Some(&body))
    }

    /// A grant in force.
    fn grant(&self, wanted: &Value) -> String {
        let id = self.request(wanted);
        let (status, answer) = self.decide("act", &id, "approve");
        assert_eq!(status, 200, "{answer}");
        id
    }

    fn revoke(&self, id: &str) {
        let (status, answer) = self.decide("act", id, "revoke");
        assert_eq!(status, 200, "{answer}");
    }

    fn state(&self, id: &str) -> String {
        self.get(&format!("/grants/{id}"))["grant"]["state"].as_str().unwrap().to_owned()
    }

    fn becomes(&self, id: &str, state: &str) {
        until(|| self.state(id) == state, || format!("{id} is {}, not {state}", self.state(id)));
    }

    fn count(&self, table: &str) -> String {
        self.postgres.rows(&self.shop, &format!("select count(*) from {table}")).trim().to_owned()
    }

    fn exists(&self, table: &str) -> bool {
        self.postgres.rows(&self.shop, &format!("select to_regclass('{table}') is not null")).trim() == "t"
    }

    fn records(&self) -> Vec<Value> {
        let mut all = Vec::new();
        for entry in fs::read_dir(self.folder.join("audit")).unwrap() {
            let text = fs::read_to_string(entry.unwrap().path()).unwrap_or_default();
            all.extend(text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()));
        }
        all.sort_by_key(|record| record["seq"].as_u64());
        all
    }

    /// What is recorded of a statement's text: verdict, rule and grant, the newest last.
    fn recorded(&self, text: &str) -> Vec<String> {
        let own = |record: &&Value| record["event"] == "statement" && record["text"] == text;
        let told = |record: &Value| {
            format!("{} {} {}", record["verdict"], record["rule"], record["grant"].as_str().unwrap_or("-"))
                .replace('"', "")
        };
        self.records().iter().filter(own).map(told).collect()
    }
}

fn until(holds: impl Fn() -> bool, told: impl Fn() -> String) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "{}", told());
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn wanted(user: &str, allow: &str) -> Value {
    json!({"user": user, "environment": "production", "allow": [allow], "for": "30m", "reason": "as agreed in incident 7"})
}

/// The errors among the answers, in words.
fn errors(answers: &[Message]) -> Vec<String> {
    answers.iter().filter(|message| message.tag == b'E').map(described).collect()
}

fn passes(session: &mut Raw, sql: &str) {
    let answers = session.query(sql).unwrap();
    assert!(errors(&answers).is_empty(), "{sql}: {:?}", errors(&answers));
}

#[track_caller]
fn refused(session: &mut Raw, sql: &str, sqlstate: &str) -> String {
    let answers = session.query(sql).unwrap();
    let told = errors(&answers);
    assert!(told.len() == 1 && told[0].starts_with(sqlstate), "{sql}: {told:?}");
    let error = answers.iter().find(|message| message.tag == b'E').unwrap();
    String::from_utf8_lossy(&error.body).into_owned()
}

fn ask(session: &mut Raw, words: &str) -> Vec<String> {
    errors(&session.ask(&bytes_of(words, Side::Client)).unwrap())
}

#[test]
fn a_grant_widens_one_users_policy_where_it_says_so() {
    for endpoint in ENDPOINTS {
        let stage = Stage::new(endpoint);
        let (mut dana, mut eve) = (stage.connect("dana", "shop"), stage.connect("eve", "shop"));
        let (mut elsewhere, mut staging) = (stage.connect("dana", "other"), stage.connect("dana", "shop_next"));
        let told = refused(&mut dana, "truncate a", "42501");
        assert!(told.contains("pgwarden grant request --environment production --allow destroy.truncate"), "{told}");
        refused(&mut eve, "truncate a", "42501");
        let mut asked = wanted("dana", "destroy");
        asked["database"] = "shop".into();
        let id = stage.request(&asked);
        // Asking changes nothing.
        refused(&mut dana, "truncate a", "42501");
        assert_eq!(stage.decide("act", &id, "approve").0, 200);
        passes(&mut dana, "truncate a");
        passes(&mut stage.connect("dana", "shop"), "truncate a");
        assert_eq!(stage.count("a"), "0");
        refused(&mut eve, "truncate a", "42501");
        refused(&mut stage.connect("eve", "shop"), "truncate a", "42501");
        refused(&mut elsewhere, "truncate a", "42501");
        refused(&mut staging, "truncate a", "42501");
        // What the policy denies by name stays denied, and so do other classes.
        refused(&mut dana, "truncate c", "42501");
        refused(&mut dana, "drop table b", "42501");
        let deny = "deny not in allow (policy application, built in) -";
        let records = stage.recorded("truncate a");
        let allow = format!("allow grant {id}");
        assert_eq!(records.iter().filter(|told| **told == allow).count(), 2, "{records:?}");
        assert_eq!(records.iter().filter(|told| **told == deny).count(), 7, "{records:?}");
        stage.revoke(&id);
        refused(&mut dana, "truncate a", "42501");
        let steps: Vec<String> = stage
            .records()
            .iter()
            .filter(|record| record["event"] == "grant")
            .map(|record| format!("{} {} {}", record["action"], record["by"], record["reason"]).replace('"', ""))
            .collect();
        let reason = "as agreed in incident 7";
        assert_eq!(
            steps,
            [
                format!("requested token:asker {reason}"),
                format!("approved token:chief {reason}"),
                format!("revoked token:chief {reason}")
            ]
        );
    }
}

/// What was prepared, bound or opened under a grant is judged again when it has ended, and the hold comes back.
#[test]
fn what_was_begun_under_a_grant_does_not_outlive_it() {
    for (endpoint, revoked) in ENDPOINTS.into_iter().flat_map(|endpoint| [(endpoint, true), (endpoint, false)]) {
        let stage = Stage::new(endpoint);
        let mut sessions: Vec<Raw> = (0..5).map(|_| stage.connect("dana", "shop")).collect();
        let [open, parsed, bound, suspended, cursor] = sessions.as_mut_slice() else { panic!() };
        let mut asked = wanted("dana", "destroy");
        if !revoked {
            asked["for"] = "15s".into();
        }
        let id = stage.grant(&asked);
        passes(open, "begin; delete from a");
        assert_eq!(ask(parsed, "P s delete from b | S"), [""; 0]);
        passes(bound, "begin");
        assert_eq!(ask(bound, "P s delete from b | B p s | S"), [""; 0]);
        passes(cursor, "begin; prepare q as delete from b; execute q; rollback; begin");
        passes(suspended, "begin");
        assert_eq!(ask(suspended, "P - delete from b returning id | B p - | E p 1 | S"), [""; 0]);
        assert_eq!(stage.state(&id), "approved", "the machine is too slow for this test");
        if revoked {
            stage.revoke(&id);
        }
        stage.becomes(&id, if revoked { "revoked" } else { "expired" });
        // The open transaction: nothing more under the grant, and the transaction is as after any error.
        refused(open, "delete from b", "42501");
        refused(open, "select 1", "25P02");
        passes(open, "rollback");
        assert!(ask(parsed, "B - s | E - | S")[0].starts_with("42501"));
        assert!(ask(bound, "E p | S")[0].starts_with("42501"));
        assert!(ask(suspended, "E p 1 | S")[0].starts_with("42501"));
        refused(cursor, "execute q", "42501");
        for session in [parsed, bound, suspended, cursor] {
            passes(session, "rollback");
        }
        assert_eq!((stage.count("a"), stage.count("b")), ("100".into(), "100".into()));
    }
}

#[test]
fn a_grant_of_writes_lifts_the_read_only_hold_and_its_end_puts_it_back() {
    for endpoint in ENDPOINTS {
        let stage = Stage::new(endpoint);
        let read_only = "show transaction_read_only";
        let (mut rita, mut plain, mut savepoints) =
            (stage.connect("rita", "shop"), stage.connect("rita", "shop"), stage.connect("rita", "shop"));
        assert_eq!(rita.value(read_only).unwrap(), "on");
        // A transaction that is held stays held.
        passes(&mut plain, "begin; select 1");
        let id = stage.grant(&wanted("rita", "write"));
        assert_eq!(plain.value(read_only).unwrap(), "on");
        refused(&mut plain, "insert into a values (1000)", "25006");
        passes(&mut plain, "rollback");
        assert_eq!(rita.value(read_only).unwrap(), "off");
        passes(&mut rita, "insert into a values (1000)");
        passes(&mut stage.connect("rita", "shop"), "insert into a values (1001)");
        refused(&mut rita, "truncate a", "25006");
        refused(&mut rita, "select writes()", "42501");
        passes(&mut plain, "begin; insert into a values (1002)");
        passes(&mut savepoints, "begin; savepoint s; insert into a values (1003)");
        stage.revoke(&id);
        // What was written under the grant may be committed; from now on the transaction is held.
        assert_eq!(plain.value(read_only).unwrap(), "on");
        // The hold took a snapshot: the server refuses the way back.
        refused(&mut plain, "set transaction read write", "25001");
        passes(&mut plain, "rollback");
        passes(&mut plain, "begin; select 1");
        refused(&mut plain, "insert into a values (1004)", "25006");
        passes(&mut plain, "rollback");
        // Going back to a savepoint would undo the hold.
        let told = refused(&mut savepoints, "select 1", "25006");
        assert!(told.contains("COMMIT or ROLLBACK"), "{told}");
        passes(&mut savepoints, "rollback to s");
        refused(&mut savepoints, "select 1", "25006");
        passes(&mut savepoints, "rollback");
        assert_eq!(savepoints.value(read_only).unwrap(), "on");
        assert_eq!(rita.value(read_only).unwrap(), "on");
        refused(&mut rita, "insert into a values (1005)", "25006");
        assert_eq!(stage.count("a"), "102");
        // A grant of anything but writes leaves the hold where it is: the function is called, and the server refuses what it does.
        let id = stage.grant(&wanted("rita", "function.volatile"));
        refused(&mut rita, "select writes()", "25006");
        stage.revoke(&id);
        assert_eq!(stage.count("c"), "0");
    }
}

#[test]
fn nobody_approves_their_own_and_production_is_typed() {
    let stage = Stage::new("direct");
    let id = stage.request(&wanted("dana", "destroy"));
    let approve = |token: &str, body: Value| stage.call(token, "POST", &format!("/grants/{id}/approve"), Some(&body));
    let table = [
        ("ask", json!({"confirm": "production"}), 403, "needs the role operator"),
        ("act", json!({}), 400, "type the environment's name to approve: `production`"),
        ("act", json!({"confirm": "Production"}), 400, "type the environment's name"),
        ("act", json!({"confirm": "production", "note": "x".repeat(2001)}), 400, "up to 2000"),
        ("act", json!({"confirmed": "production"}), 422, "confirmed"),
    ];
    for (token, body, status, words) in table {
        let answer = approve(token, body.clone());
        assert!(
            answer.0 == status && answer.1["error"].as_str().unwrap().contains(words),
            "{token} {body}: {answer:?}"
        );
    }
    let (status, own) = stage.call("act", "POST", "/grants", Some(&wanted("dana", "destroy")));
    assert_eq!(status, 200, "{own}");
    let own = own["grant"]["id"].as_str().unwrap();
    let (status, answer) = stage.decide("act", own, "approve");
    assert!(status == 403 && answer["error"].as_str().unwrap().contains("your own"), "{answer}");
    assert_eq!(stage.decide("also", own, "approve").0, 403, "the same name, spelt otherwise");
    assert_eq!(stage.decide("too", own, "approve").0, 200);
    assert_eq!(stage.decide("too", own, "approve").0, 409, "once");
    assert_eq!(stage.decide("act", &id, "deny").0, 200);
    assert_eq!(stage.decide("too", &id, "approve").0, 409, "denied is denied");
    assert_eq!(stage.decide("ask", own, "revoke").0, 403, "not theirs");
    let withdrawn = stage.request(&wanted("dana", "destroy"));
    assert_eq!(stage.decide("ask", &withdrawn, "revoke").0, 200, "their own");
    assert_eq!(stage.state(&withdrawn), "revoked");
    refused(&mut stage.connect("eve", "shop"), "truncate a", "42501");
    // Staging needs no typing.
    let mut asked = wanted("dana", "destroy");
    asked["environment"] = "staging".into();
    let id = stage.request(&asked);
    assert_eq!(stage.call("act", "POST", &format!("/grants/{id}/approve"), Some(&json!({}))).0, 200);
}

#[test]
fn what_cannot_be_granted_is_said_at_once() {
    let stage = Stage::new("direct");
    let with = |name: &str, value: Value| {
        let mut asked = wanted("dana", "write");
        asked[name] = value;
        asked
    };
    let table = [
        (with("user", "nobody".into()), 400, "there is no user `nobody`"),
        (with("environment", "nowhere".into()), 400, "no database lies in environment `nowhere`"),
        (with("environment", "*".into()), 400, "no database lies"),
        (with("database", "shop_next".into()), 400, "there is no database `shop_next` in `production`"),
        (with("allow", json!([])), 400, "name 1 to 40 effect classes"),
        (with("allow", json!(["drop"])), 400, "there is no effect class `drop`"),
        (with("allow", json!(["*"])), 400, "never granted"),
        (with("allow", json!(["function"])), 400, "`function` covers `function.dangerous`, which is never granted"),
        (with("allow", json!(["session.pinned"])), 400, "never granted"),
        (with("relations", json!(["orders"])), 400, "with its schema"),
        (with("relations", json!(["public.\"x\""])), 400, "with its schema"),
        (with("for", "9h".into()), 400, "a grant lasts from 1 s to 28800 s"),
        (with("for", "0s".into()), 400, "a grant lasts"),
        (with("for", "a while".into()), 400, "is not a time"),
        (with("reason", "  ".into()), 400, "a reason is needed"),
        (with("reason", "x".repeat(2001).into()), 400, "up to 2000 characters"),
        (with("reason", "x".repeat(1 << 20).into()), 400, "up to 2000 characters"),
        (with("because", "x".into()), 422, "because"),
    ];
    for (asked, status, words) in table {
        let answer = stage.call("ask", "POST", "/grants", Some(&asked));
        let told = answer.1["error"].as_str().unwrap_or_default();
        assert!(answer.0 == status && told.contains(words), "{asked:.200}: {} {told}", answer.0);
    }
    let (status, _) = stage.call("ask", "POST", "/grants", Some(&with("reason", "x".repeat(5 << 20).into())));
    assert_eq!(status, 413);
    assert_eq!(stage.get("/grants")["grants"], json!([]));
    assert!(stage.records().iter().all(|record| record["event"] != "grant"));
}

#[test]
fn grants_add_up_and_relations_bound_them() {
    let stage = Stage::new("direct");
    let mut dana = stage.connect("dana", "shop");
    let destroy = stage.grant(&wanted("dana", "destroy"));
    let drop = stage.grant(&wanted("dana", "ddl.destructive"));
    let both = "truncate a; alter table b rename to b2; alter table b2 rename to b";
    passes(&mut dana, both);
    assert_eq!(stage.recorded(both), [format!("allow grant {destroy} {drop}")]);
    for id in [&destroy, &drop] {
        let at = format!("/audit/count?filter=event:statement%20grant:{id}");
        until(|| stage.get(&at)["count"] == 1, || format!("{}", stage.get(&at)));
    }
    // One more of the same: when one ends, the other holds.
    let again = stage.grant(&wanted("dana", "destroy.truncate"));
    stage.revoke(&destroy);
    passes(&mut dana, "truncate a");
    stage.revoke(&again);
    refused(&mut dana, "truncate a", "42501");
    stage.revoke(&drop);
    let mut asked = wanted("dana", "destroy");
    asked["relations"] = json!(["public.a"]);
    let bounded = stage.grant(&asked);
    passes(&mut dana, "truncate public.a");
    for sql in ["truncate a", "truncate public.b", "truncate public.a, public.b", "set search_path = x; truncate a"] {
        refused(&mut dana, sql, "42501");
    }
    stage.revoke(&bounded);
    refused(&mut dana, "truncate public.a", "42501");
    // A rename touches both names, and the grant must cover both.
    let mut asked = wanted("dana", "ddl.destructive");
    asked["relations"] = json!(["public.a", "public.a_old"]);
    let bounded = stage.grant(&asked);
    passes(&mut dana, "alter table public.a rename to a_old");
    for sql in
        ["alter table public.a_old rename to a2", "alter table public.b rename to a", "alter table a_old rename to a"]
    {
        refused(&mut dana, sql, "42501");
    }
    passes(&mut dana, "alter table public.a_old rename to a");
    stage.revoke(&bounded);
}

/// What a session set up under a grant, to write when it has ended.
#[test]
fn nothing_set_up_under_a_grant_writes_after_it() {
    let table = [
        ("set session characteristics as transaction read write", "insert into a values (1000)"),
        ("set default_transaction_read_only = off", "insert into a values (1000)"),
        ("prepare p as insert into a values (1000)", "execute p"),
        ("prepare explained as insert into a values (1000)", "explain analyze execute explained"),
        ("begin", "insert into a values (1000)"),
        ("begin; insert into b values (1000)", "insert into a values (1000)"),
        ("begin; insert into b values (1000)", "set transaction read write; insert into a values (1000)"),
        ("begin; insert into b values (1000)", "commit and chain; insert into a values (1000)"),
        ("begin; insert into b values (1000)", "commit; begin read write; insert into a values (1000)"),
        ("begin; savepoint s", "rollback to s; insert into a values (1000)"),
        ("begin; savepoint s; select 1 / 0", "rollback to s; insert into a values (1000)"),
        ("begin; declare c cursor for select writes()", "fetch c"),
        ("begin; declare c cursor for select writes()", "move all in c"),
        ("begin; declare c cursor for select * from a for update", "fetch c"),
        ("begin; declare c cursor for select * from a for update; fetch c", "delete from a where current of c"),
    ];
    for endpoint in ENDPOINTS {
        let stage = Stage::new(endpoint);
        for (under, after) in table {
            let mut rita = stage.connect("rita", "shop");
            let mut asked = wanted("rita", "write");
            asked["allow"] = json!(["write", "function.volatile"]);
            let id = stage.grant(&asked);
            let set_up = rita.query(under).unwrap();
            stage.revoke(&id);
            let told = errors(&rita.query(after).unwrap());
            let refusal =
                |told: &String| ["25006", "25001", "42501", "25P02"].iter().any(|code| told.starts_with(code));
            assert!(told.first().is_some_and(refusal), "{endpoint}: {under} {:?} / {after}: {told:?}", errors(&set_up));
            let _ = rita.query("commit").unwrap();
            drop(rita);
            assert_eq!(
                (stage.count("a"), stage.count("c")),
                ("100".into(), "0".into()),
                "{endpoint}: {under} / {after}"
            );
            stage.postgres.rows(&stage.shop, "delete from b where id = 1000");
        }
    }
}

#[test]
fn an_observing_policy_says_what_a_grant_allowed() {
    let stage = Stage::new("direct");
    let mut olga = stage.connect("olga", "shop");
    passes(&mut olga, "truncate a");
    let id = stage.grant(&wanted("olga", "destroy"));
    passes(&mut olga, "truncate a");
    passes(&mut olga, "insert into a values (1)");
    stage.revoke(&id);
    passes(&mut olga, "truncate a");
    let told = stage.recorded("truncate a");
    assert_eq!(told[1], format!("allow grant {id}"), "{told:?}");
    assert!(told[0].starts_with("observe ") && told[2].starts_with("observe "), "{told:?}");
    assert!(stage.recorded("insert into a values (1)")[0].starts_with("observe "));
}

#[test]
fn a_reload_bounds_what_is_in_force() {
    let mut stage = Stage::new("direct");
    let mut dana = stage.connect("dana", "shop");
    let id = stage.grant(&wanted("dana", "destroy"));
    let text = stage.configuration.clone();
    let generation = |stage: &Stage, number: u64| {
        until(|| stage.get("/configuration")["generation"] == number, || stage.proxy.log());
    };
    // The same again: the grant is as good as before.
    stage.proxy.reload(&text);
    generation(&stage, 2);
    passes(&mut dana, "truncate a");
    // What is never granted is taken from grants in force, and given back.
    stage.proxy.reload(&format!("{text}\n[grants]\nnever = [\"destroy\"]\n"));
    generation(&stage, 3);
    let told = refused(&mut dana, "truncate a", "42501");
    assert!(!told.contains("grant request"), "{told}");
    stage.proxy.reload(&text);
    generation(&stage, 4);
    passes(&mut dana, "truncate a");
    // Somebody who is something else does not keep it, also not when they are again what they were.
    let moved =
        text.replacen("production = \"app\", staging = \"app\"", "production = \"studio\", staging = \"app\"", 1);
    assert_ne!(moved, text);
    stage.proxy.reload(&moved);
    generation(&stage, 5);
    refused(&mut dana, "truncate a", "25006");
    stage.becomes(&id, "revoked");
    stage.proxy.reload(&text);
    generation(&stage, 6);
    refused(&mut dana, "truncate a", "42501");
    // Nor does somebody who is removed.
    let id = stage.grant(&wanted("dana", "destroy"));
    let own = text.find("\n[[users]]\nname = \"dana\"").unwrap();
    let next = text.find("\n[[users]]\nname = \"eve\"").unwrap();
    stage.proxy.reload(&format!("{}{}", &text[..own], &text[next..]));
    generation(&stage, 7);
    stage.becomes(&id, "revoked");
    assert!(dana.query("truncate a").is_err() || Raw::connect(stage.proxy.port(), "dana", "pencil", "shop").is_err());
    stage.proxy.reload(&text);
    generation(&stage, 8);
    refused(&mut stage.connect("dana", "shop"), "truncate a", "42501");
}

#[test]
fn a_restart_loses_no_grant_and_brings_none_back() {
    let mut stage = Stage::new("direct");
    let lasting = stage.grant(&wanted("dana", "destroy"));
    let revoked = stage.grant(&wanted("eve", "destroy"));
    stage.revoke(&revoked);
    let asked = stage.request(&wanted("rita", "write"));
    let mut short = wanted("eve", "ddl.destructive");
    short["for"] = "2s".into();
    let short = stage.grant(&short);
    for deleted in [false, true] {
        stage.proxy.signal("KILL");
        until(|| TcpStream::connect(("127.0.0.1", stage.proxy.port())).is_err(), || "it lives".to_owned());
        std::thread::sleep(Duration::from_secs(3));
        if deleted {
            for entry in fs::read_dir(stage.folder.path()).unwrap() {
                let path = entry.unwrap().path();
                if path.file_name().unwrap().to_string_lossy().starts_with("audit.index") {
                    fs::remove_file(path).unwrap();
                }
            }
        }
        stage.start_again();
        stage.becomes(&short, "expired");
        let states = [&lasting, &revoked, &asked].map(|id| stage.state(id));
        assert_eq!(states, ["approved", "revoked", "requested"], "index deleted: {deleted}");
        passes(&mut stage.connect("dana", "shop"), "truncate a");
        refused(&mut stage.connect("eve", "shop"), "truncate a", "42501");
        refused(&mut stage.connect("eve", "shop"), "drop table b", "42501");
    }
    assert_eq!(stage.decide("act", &asked, "approve").0, 200, "a request of the time before");
    passes(&mut stage.connect("rita", "shop"), "insert into a values (2000)");
    stage.revoke(&lasting);
    stage.proxy.stop();
    stage.start_again();
    refused(&mut stage.connect("dana", "shop"), "truncate a", "42501");
    assert!(stage.exists("b"));
}

/// The log with one of its lines changed, while nobody writes it.
fn tamper(stage: &Stage, change: impl Fn(Vec<String>) -> Vec<String>) {
    let directory = stage.folder.join("audit");
    let mut segments: Vec<_> = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    segments.retain(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
    segments.sort();
    let last = segments.last().unwrap();
    let lines = fs::read_to_string(last).unwrap().lines().map(str::to_owned).collect();
    fs::write(last, change(lines).join("\n") + "\n").unwrap();
}

#[test]
fn a_log_that_was_changed_gives_nobody_anything() {
    type Change = fn(Vec<String>) -> Vec<String>;
    let changes: [(&str, Change); 4] = [
        ("a revocation taken out", |lines| {
            lines.into_iter().filter(|line| !line.contains("\"action\":\"revoked\"")).collect()
        }),
        ("the end cut off before the revocation", |lines| {
            lines.into_iter().take_while(|line| !line.contains("\"action\":\"revoked\"")).collect()
        }),
        ("a revocation turned into something else", |lines| {
            lines.into_iter().map(|line| line.replace("\"action\":\"revoked\"", "\"action\":\"praised\"")).collect()
        }),
        ("an approval of another user's forged behind the end", |mut lines| {
            let forged: Vec<String> = lines
                .iter()
                .filter(|line| line.contains("\"action\":\"requested\"") || line.contains("\"action\":\"approved\""))
                .map(|line| line.replace("\"dana\"", "\"eve\""))
                .collect();
            lines.extend(forged);
            lines
        }),
    ];
    for (what, change) in changes {
        let mut stage = Stage::new("direct");
        let id = stage.grant(&wanted("dana", "destroy"));
        passes(&mut stage.connect("dana", "shop"), "truncate b");
        stage.revoke(&id);
        stage.proxy.stop();
        tamper(&stage, change);
        for entry in fs::read_dir(stage.folder.path()).unwrap() {
            let path = entry.unwrap().path();
            if path.file_name().unwrap().to_string_lossy().starts_with("audit.index") {
                fs::remove_file(path).unwrap();
            }
        }
        stage.start_again();
        for user in ["dana", "eve"] {
            refused(&mut stage.connect(user, "shop"), "truncate a", "42501");
        }
        assert_eq!(stage.count("a"), "100", "{what}");
        assert!(stage.get("/grants?state=approved")["grants"].as_array().unwrap().is_empty(), "{what}");
        assert_ne!(stage.get(&format!("/grants/{id}"))["grant"]["state"], "approved", "{what}");
    }
}

#[test]
fn the_command_line_asks_approves_and_ends() {
    let stage = Stage::new("direct");
    let run = |token: &str, arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pgwarden"));
        command.arg("grant").args(arguments).env("PGWARDEN_TOKEN", token).stdin(Stdio::null());
        command.args(["--url", &format!("http://127.0.0.1:{}", stage.proxy.admin_port())]);
        let output = command.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
    };
    let hostile = "\x1b[31mred\x1b[0m <script>hacked = 1</script> \u{202e}txt";
    let asked = [
        "request",
        "-e",
        "production",
        "--user",
        "dana",
        "--allow",
        "destroy,write",
        "--for",
        "30m",
        "--reason",
        hostile,
    ];
    let (code, out, told) = run("ask", &asked);
    assert!(code == 0 && told.contains("pgwarden grant approve"), "{code} {out}{told}");
    let id = out.trim();
    let (code, out, told) = run("ask", &["list"]);
    assert!(code == 0 && out.contains("requested  dana@production  destroy, write  30 min"), "{out}{told}");
    assert!(!out.contains('\x1b') && !out.contains('\u{202e}'), "{out:?}");
    let table: [(&str, &[&str], i32, &str); 9] = [
        ("act", &["approve", id], 64, "give `--confirm production`"),
        ("act", &["approve", id, "--yes"], 64, "give `--confirm production`"),
        ("act", &["approve", id, "--confirm", "staging"], 64, "which is `production`"),
        ("ask", &["approve", id, "--confirm", "production"], 1, "needs the role operator"),
        ("act", &["approve", "00000000000", "--yes"], 1, "there is no grant 00000000000"),
        ("act", &["approve", "../x", "--yes"], 64, "is not a grant's id"),
        ("act", &["request", "--user", "dana"], 64, "--environment"),
        (
            "ask",
            &["request", "-e", "production", "-u", "dana", "-a", "nonsense", "--for", "1h", "-r", "x"],
            64,
            "no effect class",
        ),
        ("none", &["list"], 1, "the token is not known"),
    ];
    for (token, arguments, expected, words) in table {
        let (code, out, told) = run(token, arguments);
        assert!(code == expected && told.contains(words), "{arguments:?}: {code} {out}{told}");
    }
    let (code, out, told) = run("act", &["approve", id, "--confirm", "production", "--note", "go"]);
    assert!(code == 0 && out.contains("is in force until"), "{code} {out}{told}");
    for words in ["dana as app, asked by token:asker", "destroy.truncate: TRUNCATE.", "(has)      write.insert"] {
        assert!(told.contains(words), "{words}: {told}");
    }
    assert!(!told.contains('\x1b') && !told.contains('\u{202e}'), "{told:?}");
    passes(&mut stage.connect("dana", "shop"), "truncate a");
    let (code, out, _) = run("act", &["revoke", id, "--json"]);
    let answer: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &answer["grant"]["state"]), (0, &"revoked".into()));
    let (_, out, _) = run("ask", &["list", "--json", "--all"]);
    let all: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(all["grants"][0]["reason"], hostile);
    let (_, out, _) = run("ask", &["list"]);
    assert_eq!(out, "");
    shown(&stage, id);
}

/// `audit show` of what passed by a grant tells the grant.
fn shown(stage: &Stage, grant: &str) {
    let used = stage.records().into_iter().find(|record| record["event"] == "statement" && record["grant"] == *grant);
    let used = used.unwrap()["id"].as_str().unwrap().to_owned();
    let file = stage.folder.join("pgwarden.toml");
    fs::write(&file, format!("[listen]\npostgres = \"127.0.0.1:1\"\n{}", stage.configuration)).unwrap();
    for (id, expected) in [
        (used.as_str(), ["grant        ", "requested", "approved", "revoked", "dana in production: destroy, write"]),
        (grant, ["for user     dana", "lasts        30 min", "approved", "revoked", "allows       destroy, write"]),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pgwarden"));
        let output = command.arg("audit").arg("--config").arg(&file as &Path).args(["show", id]).output().unwrap();
        let out = String::from_utf8_lossy(&output.stdout).into_owned();
        for words in expected {
            assert!(out.contains(words), "{words}: {out}");
        }
        assert!(!out.contains('\x1b') && !out.contains('\u{202e}'), "{out:?}");
    }
}

#[test]
fn metrics_count_grants_and_their_uses() {
    let stage = Stage::new("direct");
    let metric = |name: &str| {
        let (_, page) = stage.proxy.page("/metrics");
        let line = page.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
        line.rsplit(' ').next().unwrap_or_default().to_owned()
    };
    stage.request(&wanted("eve", "destroy"));
    let id = stage.grant(&wanted("dana", "destroy"));
    assert_eq!((metric("pgwarden_grants_requested"), metric("pgwarden_grants_active")), ("1".into(), "1".into()));
    let mut dana = stage.connect("dana", "shop");
    passes(&mut dana, "truncate a");
    passes(&mut dana, "truncate a");
    passes(&mut dana, "select 1");
    assert_eq!(metric("pgwarden_grant_uses_total"), "2");
    stage.revoke(&id);
    assert_eq!(metric("pgwarden_grants_active"), "0");
}
