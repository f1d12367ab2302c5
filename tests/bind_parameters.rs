//! Bind parameters in records: through a real server, in text and in binary, of known and unknown types, secret, huge and many.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/raw.rs"]
mod raw;
mod support;

use std::process::Command;
use std::time::{Duration, Instant};

use raw::Raw;
use serde_json::{Value, json};
use support::proxy::{Pgwarden, database, user};
use support::{Postgres, Version};

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    [&[tag], u32::try_from(body.len() + 4).unwrap().to_be_bytes().as_slice(), body].concat()
}

fn parse(name: &str, text: &str, types: &[u32]) -> Vec<u8> {
    let mut body = format!("{name}\0{text}\0").into_bytes();
    body.extend(u16::try_from(types.len()).unwrap().to_be_bytes());
    types.iter().for_each(|oid| body.extend(oid.to_be_bytes()));
    message(b'P', &body)
}

/// A value, and whether it is in binary.
type Given<'a> = (bool, Option<&'a [u8]>);

fn bind(statement: &str, values: &[Given<'_>]) -> Vec<u8> {
    let count = u16::try_from(values.len()).unwrap().to_be_bytes();
    let mut body = format!("\0{statement}\0").into_bytes();
    body.extend(count);
    values.iter().for_each(|(binary, _)| body.extend(u16::from(*binary).to_be_bytes()));
    body.extend(count);
    for (_, value) in values {
        match value {
            None => body.extend((-1i32).to_be_bytes()),
            Some(value) => {
                body.extend(u32::try_from(value.len()).unwrap().to_be_bytes());
                body.extend(*value);
            }
        }
    }
    body.extend([0, 0]);
    message(b'B', &body)
}

fn execute() -> Vec<u8> {
    message(b'E', b"\0\0\0\0\0")
}

fn sync() -> Vec<u8> {
    message(b'S', b"")
}

struct Scene {
    proxy: Pgwarden,
    _postgres: Postgres,
}

impl Scene {
    fn start(recorded: &str) -> Scene {
        let postgres = Postgres::start(Version::V15);
        let name = postgres.database();
        postgres.rows(&name, "create table people (id int, name text, password text, born date)");
        let url = postgres.url(&name);
        let configuration = format!(
            "{}\n[environments.production.roles]\napp = {{ policy = \"application\", endpoint = \"direct\" }}\n{}\n\
             [policies.application]\n{recorded}\nallow = [\"*\"]\n",
            database("shop", &url, &url),
            user("app", "pencil", "production = \"app\""),
        );
        Scene { proxy: Pgwarden::start(&configuration), _postgres: postgres }
    }

    fn session(&self) -> Raw {
        Raw::connect(self.proxy.port(), "app", "pencil", "shop").unwrap()
    }

    /// The records of statements with this in their text, once there are so many.
    fn statements(&self, text: &str, count: usize) -> Vec<Value> {
        let start = Instant::now();
        loop {
            let mut records = self.proxy.records();
            records.retain(|record| record["event"] == "statement" && record["text"].as_str().unwrap().contains(text));
            if records.len() >= count {
                return records;
            }
            assert!(start.elapsed() < Duration::from_secs(120), "{text}: {records:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Parses, binds and executes; gives what the record says of the parameters.
    fn recorded(&self, text: &str, types: &[u32], values: &[Given<'_>]) -> Value {
        let mut session = self.session();
        session.ask(&[parse("", text, types), bind("", values), execute(), sync()].concat()).unwrap();
        self.statements(text, 1).pop().unwrap()["parameters"].clone()
    }
}

const TEXT: bool = false;
const BINARY: bool = true;

#[test]
fn nothing_is_recorded_unless_asked_for() {
    let scene = Scene::start("");
    assert_eq!(scene.recorded("select $1::text", &[], &[(TEXT, Some(b"hunter2"))]), Value::Null);
    let lines: Vec<String> = scene.proxy.records().iter().map(Value::to_string).collect();
    assert!(!lines.iter().any(|line| line.contains("hunter2")));
}

#[test]
fn types_and_lengths_are_recorded_without_values() {
    let scene = Scene::start("bind_parameters = \"redacted\"");
    let values: &[Given<'_>] = &[(TEXT, Some(b"hunter2")), (BINARY, Some(&[0, 0, 0, 7])), (TEXT, None)];
    let found = scene.recorded("select $1::text, $2::int4, $3::text", &[0, 23, 0], values);
    assert_eq!(found, json!([{"bytes": 7}, {"type": "int4", "bytes": 4}, null]));
}

#[test]
fn values_are_recorded_in_their_types_words() {
    let scene = Scene::start("bind_parameters = \"whole\"");
    let uuid = [0x11; 16];
    let values: &[Given<'_>] = &[
        (TEXT, Some(b"it's \x1b[31m\xe2\x80\xae<script>")),
        (BINARY, Some(&42i32.to_be_bytes())),
        (TEXT, None),
        (BINARY, Some(&uuid)),
        (BINARY, Some(b"\x00\xff")),
        (BINARY, Some(&0i32.to_be_bytes())),
    ];
    let text = "select $1::text, $2::int4, $3::text, $4::uuid, $5::bytea, $6::date";
    let found = scene.recorded(text, &[25, 23, 25, 2950, 17, 1082], values);
    let wanted = json!([
        "it's \u{1b}[31m\u{202e}<script>", "42", null, "11111111-1111-1111-1111-111111111111", {"hex": "00ff", "bytes": 2},
        "2000-01-01"
    ]);
    assert_eq!(found, wanted);
    // What deceives a reader is escaped in the file, in the terminal and found by free text.
    let raw: String = std::fs::read_dir(scene.proxy.audit())
        .unwrap()
        .filter_map(|entry| std::fs::read_to_string(entry.unwrap().path()).ok())
        .collect();
    assert!(raw.contains("it's \\u001b[31m\\u202e<script>"));
    let cli = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pgwarden"));
        command.args(["audit"]).args(arguments).arg("--directory").arg(scene.proxy.audit());
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    let id = scene.statements(text, 1)[0]["id"].as_str().unwrap().to_owned();
    let shown = cli(&["show", &id]);
    assert!(shown.contains("$1           'it''s \\u{1b}[31m\\u{202e}<script>'"), "{shown}");
    assert!(shown.contains("$3           NULL") && shown.contains("$5           \\x00ff (2 bytes)"), "{shown}");
    assert!(cli(&["search", "11111111-1111"]).contains("$4::uuid"));
    assert!(
        cli(&["export", "--format", "csv", "11111111-1111"]).contains("{\"\"hex\"\":\"\"00ff\"\",\"\"bytes\"\":2}")
    );
}

/// Prisma, pgx and asyncpg give no types: they ask the server for them.
#[test]
fn types_are_learnt_from_the_servers_description() {
    let scene = Scene::start("bind_parameters = \"whole\"");
    let mut session = scene.session();
    let text = "select id from people where id = $1 and born = $2";
    session.ask(&[parse("s", text, &[]), message(b'D', b"Ss\0"), sync()].concat()).unwrap();
    let values: &[Given<'_>] = &[(BINARY, Some(&7i32.to_be_bytes())), (BINARY, Some(&(-1i32).to_be_bytes()))];
    session.ask(&[bind("s", values), execute(), sync()].concat()).unwrap();
    assert_eq!(scene.statements(text, 1)[0]["parameters"], json!(["7", "1999-12-31"]));
    // Never described: what it is, only the server knows.
    let blind = "select id from people where id = $1 and name is null";
    session.ask(&[parse("", blind, &[]), bind("", &values[..1]), execute(), sync()].concat()).unwrap();
    assert_eq!(scene.statements(blind, 1)[0]["parameters"], json!([{"hex": "00000007", "bytes": 4}]));
}

#[test]
fn secrets_are_hidden() {
    let scene = Scene::start("bind_parameters = \"whole\"");
    let text = "insert into people (name, password) values ($1, $2)";
    let values: &[Given<'_>] = &[(TEXT, Some(b"ann")), (TEXT, Some(b"hunter2"))];
    assert_eq!(scene.recorded(text, &[], values), json!(["ann", {"hidden": true}]));
    let text = "select set_config('app.password', $1, true)";
    assert_eq!(scene.recorded(text, &[], &values[1..]), json!([{"hidden": true}]));
    let text = "select $1::text as address";
    let values: &[Given<'_>] = &[(TEXT, Some(b"postgres://u:hunter2@h/d"))];
    assert_eq!(scene.recorded(text, &[], values), json!(["postgres://u:***@h/d"]));
    let lines: Vec<String> = scene.proxy.records().iter().map(Value::to_string).collect();
    assert!(!lines.iter().any(|line| line.contains("hunter2")));
}

#[test]
fn many_and_huge_ones_are_bounded() {
    let scene = Scene::start("bind_parameters = \"whole\"");
    let long = vec![b'x'; 5_000];
    let text = "select length($1::text), length($2::text)";
    let found = scene.recorded(text, &[], &[(TEXT, Some(&long)), (TEXT, Some(b"short"))]);
    assert_eq!(found[0], json!({"text": "x".repeat(1024), "bytes": 5_000}));
    assert_eq!(found[1], "short");

    let marks: Vec<String> = (1..=300).map(|number| format!("${number}::text")).collect();
    let text = format!("select concat({})", marks.join(","));
    let values: Vec<Given<'_>> = (0..300).map(|_| (TEXT, Some(b"v".as_slice()))).collect();
    let mut session = scene.session();
    session.ask(&[parse("", &text, &[]), bind("", &values), execute(), sync()].concat()).unwrap();
    let record = scene.statements("select concat($1", 1).pop().unwrap();
    assert_eq!(record["parameters"].as_array().unwrap().len(), 100);
    assert_eq!(record["parameters_bound"], 300);

    // Eight mebibytes pass in pieces; the record has the beginning, and the value behind it only as a number.
    let huge = vec![b'y'; 8 << 20];
    let text = "select octet_length($1), $2::text";
    let answers = {
        let values: &[Given<'_>] = &[(TEXT, Some(&huge)), (TEXT, Some(b"behind"))];
        session.ask(&[parse("", text, &[25, 25]), bind("", values), execute(), sync()].concat()).unwrap()
    };
    assert!(answers.iter().any(|answer| answer.tag == b'D' && answer.body.windows(7).any(|part| part == b"8388608")));
    let record = scene.statements(text, 1).pop().unwrap();
    assert_eq!(record["parameters"], json!([{"text": "y".repeat(1024), "bytes": 8 << 20}]));
    assert_eq!(record["parameters_bound"], 2);
}
