//! The console in a real browser (tests/clients/console/work.mjs), and over plain HTTP what a browser would never send.
//!
//! `UPDATE_PICTURES=1` puts the pictures it takes into `docs/images`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use pgwarden::audit::event::{Outcome, Protocol, SessionFields, SessionIdentity, Tag, TransactionState, Verdict};
use pgwarden::audit::{Audit, AuditSettings, Event, Record, Statement, Timestamp};
use pgwarden::config;
use pgwarden::decision::Door;
use pgwarden::demo::psql::Psql;
use pgwarden::demo::scratch::Scratch;
use support::{Mode, PgBouncer, Pgwarden, Postgres, Version};

const SHOP: &str = "CREATE TABLE customers (id int PRIMARY KEY, name text NOT NULL, city text);
    INSERT INTO customers SELECT g, 'customer ' || g, 'Lyon' FROM generate_series(1, 50) g;
    CREATE TABLE orders (id int PRIMARY KEY, customer_id int NOT NULL, status text NOT NULL, total int NOT NULL DEFAULT 0);
    INSERT INTO orders SELECT g, 1 + g % 50, 'paid', g FROM generate_series(1, 400) g";

/// Passwords of everybody here.
const PASSWORD: &str = "correct horse battery";

const RULES: &str = r#"
[environments.production.roles]
studio = "read-only"
app = "application"
migrator = { policy = "migrations", endpoint = "direct" }
[environments.development.roles]
developer = "unrestricted"
[policies.application.relations]
deny = ["auth.*", "*.secrets"]
[[reviews]]
name = "refusals in production"
filter = "environment:production verdict:deny"
within = "3d"
[[reviews]]
name = "schema changes"
filter = "environment:production verdict:allow effect:ddl,privilege"
within = "7d"
[[reviews]]
name = "new writes"
filter = "environment:production verdict:allow effect:write,destroy"
new = true
within = "7d"
"#;

/// Statements that try to be more than text. `1 MB` is told by its length.
fn hostile() -> Vec<String> {
    vec![
        "select '<script>hacked = 1</script>', '\u{202e}evil\u{202c}' -- \x1b[31m red".to_owned(),
        "select '\"><img src=x onerror=\"hacked = 1\">' as \"<b onmouseover=hacked=1>\"".to_owned(),
        format!("select '{}</pre><script>hacked = 1</script>'", "x".repeat(1 << 20)),
        "delete from \"</title><script>hacked=1</script>\"".to_owned(),
    ]
}

/// An application_name that tries to be more than a name.
const HOSTILE_TOOL: &str = "<img src=x onerror=hacked=1>\u{202e}";

struct Stage {
    pgwarden: Pgwarden,
    folder: Scratch,
    _bouncer: PgBouncer,
}

/// pgwarden with a week's log behind it, and servers before which it stands.
fn stage() -> Stage {
    let postgres = Postgres::shared(Version::V15);
    let bouncer = PgBouncer::start(postgres, Mode::Transaction);
    let (production, development) = (postgres.database(), postgres.database());
    for database in [&production, &development] {
        postgres.rows(database, SHOP);
    }
    let folder = Scratch::create(support::folder(), "console").unwrap();
    let mut configuration = format!(
        "[audit]\ndirectory = \"{}/audit\"\n[databases.shop]\nenvironment = \"production\"\npooled = \"{}\"\ndirect = \"{}\"\n\
         [databases.shop_dev]\nenvironment = \"development\"\npooled = \"{}\"\n{RULES}",
        folder.path().display(),
        bouncer.url(&production),
        postgres.url(&production),
        bouncer.url(&development),
    );
    for (name, roles) in [
        ("studio_reader", "production = \"studio\", development = \"developer\""),
        ("app", "production = \"app\""),
        ("migrator", "production = \"migrator\""),
        ("dana", "development = \"developer\""),
    ] {
        configuration.push_str(&support::proxy::user(name, PASSWORD, roles));
    }
    for (name, role) in [("grace", "operator"), ("otto", "operator"), ("ada", "auditor"), ("vera", "viewer")] {
        configuration.push_str(&support::proxy::user(name, PASSWORD, ""));
        let _ = writeln!(configuration, "console = \"{role}\"");
    }
    let text = format!("[listen]\npostgres = \"127.0.0.1:1\"\n{configuration}");
    remember(&config::parse(&text, Path::new("pgwarden.toml"), &|_| None).unwrap());
    Stage { pgwarden: Pgwarden::start(&configuration), folder, _bouncer: bouncer }
}

/// What happened in the week before: written by the audit room itself, each record at its own time.
fn remember(config: &config::Config) {
    let audit = Audit::open(AuditSettings::new(&config.audit.directory)).unwrap();
    let door = Door::new(Arc::new(config.clone()));
    let now = Timestamp::now().0;
    let mut random = 42u64;
    let mut next = |most: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % most
    };
    let mut records = Vec::new();
    for quarter in (0..7 * 96).rev() {
        let at = now - quarter * 900_000_000;
        let hour = (at / 3_600_000_000) % 24;
        let busy = if (7..20).contains(&hour) { 6 } else { 1 };
        for _ in 0..1 + next(busy) {
            let (user, role, environment, tool, texts) = PAST[usize::try_from(next(PAST.len() as u64)).unwrap()];
            let text = texts[usize::try_from(next(texts.len() as u64)).unwrap()];
            let text = text.replace('$', &next(400).to_string());
            let at = Timestamp(at.saturating_sub(next(900_000_000)));
            past(
                &audit,
                &door,
                at,
                (user, role, environment, tool),
                &text,
                300 + next(1_000).pow(3) / 500,
                &mut records,
            );
        }
        audit.accept(&mut records).unwrap();
    }
    audit.close("end").unwrap();
}

type Past<'a> = (&'a str, &'a str, &'a str, &'a str, &'a [&'a str]);

/// Who did what; the more often, the more lines.
const PAST: &[Past<'_>] = &[
    (
        "app",
        "app",
        "production",
        "shop-api 4.2",
        &["SELECT id, status FROM orders WHERE customer_id = $", "UPDATE orders SET status = 'paid' WHERE id = $"],
    ),
    (
        "app",
        "app",
        "production",
        "shop-api 4.2",
        &[
            "INSERT INTO orders (id, customer_id, status) VALUES ($, 7, 'new')",
            "SELECT name, city FROM customers WHERE id = $",
        ],
    ),
    (
        "app",
        "app",
        "production",
        "shop-worker 4.2",
        &["SELECT count(*) FROM orders WHERE status = 'new'", "DELETE FROM orders WHERE id = $ AND status = 'void'"],
    ),
    (
        "app",
        "app",
        "production",
        "shop-worker 4.2",
        &["SELECT total FROM orders WHERE id = $", "SELECT sum(total) FROM orders"],
    ),
    (
        "studio_reader",
        "studio",
        "production",
        "Prisma Studio",
        &[
            "SELECT * FROM customers LIMIT 100 OFFSET $",
            "SELECT * FROM orders ORDER BY id LIMIT 100",
            "UPDATE orders SET status = 'shipped' WHERE id = $",
        ],
    ),
    (
        "studio_reader",
        "studio",
        "production",
        "pgAdmin 4",
        &["SELECT relname FROM pg_catalog.pg_class", "SELECT * FROM orders WHERE total > $", "DELETE FROM orders"],
    ),
    (
        "dana",
        "developer",
        "development",
        "psql",
        &["SELECT * FROM orders", "ALTER TABLE orders ADD COLUMN note text", "TRUNCATE orders"],
    ),
    (
        "migrator",
        "migrator",
        "production",
        "prisma migrate",
        &[
            "SELECT pg_advisory_lock(72707369)",
            "CREATE TABLE IF NOT EXISTS invoices (id int)",
            "DROP TABLE customers_old",
        ],
    ),
];

fn past(
    audit: &Audit,
    door: &Door,
    at: Timestamp,
    (user, role, environment, application): (&str, &str, &str, &str),
    text: &str,
    duration_us: u64,
    records: &mut Vec<Record>,
) {
    let judgement = door.scope_of(environment, role).unwrap().judge(text);
    let session = format!("s-{user}-{}", at.0 / 3_600_000_000);
    let fields = SessionFields::new(&SessionIdentity {
        session: &session,
        user,
        role,
        environment,
        database: if environment == "production" { "shop" } else { "shop_dev" },
        endpoint: "pooled",
        client: "10.1.4.17:40112",
        tls: "TLSv1.3",
        login: "scram-sha-256",
        application,
    });
    let refused = judgement.refusal.is_some();
    let id = audit.next_id();
    let statement = Statement {
        verdict: if refused { Verdict::Deny } else { Verdict::Allow },
        rule: Arc::clone(&judgement.rule),
        policy: Arc::from(door.scope_of(environment, role).unwrap().policy_name().as_ref()),
        generation: 1,
        effects: judgement.effects_json.clone(),
        readers: judgement.readers,
        text: judgement.text_json.clone(),
        protocol: Protocol::Extended,
        name: None,
        parameters: None,
        transaction: Some(1),
        grant: None,
        sqlstate: None,
    };
    records.push(Record { at, ..Record::new(id, Some(fields.clone()), Event::Statement(statement)) });
    if !refused {
        // Reads give rows, a few of them many; the rest changes one.
        let reads = text.starts_with("SELECT");
        let rows = if reads { (duration_us % 100).pow(2) / 16 } else { 1 };
        let command = text.split(' ').next().unwrap();
        let outcome = Outcome {
            of: id,
            tag: Tag::new(format!("{command} {rows}").as_bytes()),
            rows,
            bytes: if reads { rows * 113 } else { 0 },
            duration_us,
            sqlstate: None,
            state: TransactionState::Committed,
        };
        records.push(Record { at, ..Record::new(audit.next_id(), Some(fields), Event::Outcome(outcome)) });
    }
}

/// A psql that runs in the background until it is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Stage {
    fn psql(&self, user: &str, database: &str, tool: &str, script: &str) {
        let url = format!("{}?application_name={tool}", self.pgwarden.url(user, PASSWORD, database));
        support::psql(&url, script, &[]);
    }

    fn background(&self, user: &str, database: &str, tool: &str, statement: &str) -> Running {
        let url = format!("{}?application_name={tool}", self.pgwarden.url(user, PASSWORD, database));
        let mut command = Psql::beside(Path::new("/usr/lib/postgresql/15/bin")).command(&url);
        let mut child =
            command.arg("-qAt").stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        writeln!(child.stdin.as_mut().unwrap(), "{statement};").unwrap();
        Running(child)
    }

    fn act(&self) {
        self.psql(
            "app",
            "shop",
            "shop-api%204.2",
            "select count(*) from orders; update orders set status = 'sent' where id = 3;",
        );
        self.psql(
            "migrator",
            "shop",
            "prisma%20migrate",
            "create table invoices (id int primary key); drop table orders;",
        );
        self.psql(
            "studio_reader",
            "shop",
            "Prisma%20Studio",
            "select * from customers; delete from orders; update customers set city = 'Rome' where id = 1;",
        );
        support::psql(&self.pgwarden.url("eve</td>", "x", "shop"), "select 1", &[]);
    }

    /// The arguments with which psql sends the hostile statements.
    fn hostile(&self) -> Vec<String> {
        let script = self.folder.join("hostile.sql");
        std::fs::write(&script, hostile().join("\n;\n") + "\n;\n").unwrap();
        let tool = percent_encoding::utf8_percent_encode(HOSTILE_TOOL, percent_encoding::NON_ALPHANUMERIC);
        let url = format!("{}?application_name={tool}", self.pgwarden.url("studio_reader", PASSWORD, "shop"));
        vec!["-X".to_owned(), url, "-qAt".to_owned(), "-f".to_owned(), script.display().to_string()]
    }

    /// Audit ids of the hostile statements.
    fn hostile_ids(&self) -> Vec<String> {
        let directory = self.folder.join("audit");
        let text: String = std::fs::read_dir(directory)
            .unwrap()
            .map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap_or_default())
            .collect();
        let records = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let ids = records.filter(|record| record["application"] == HOSTILE_TOOL && record["event"] == "statement");
        ids.map(|record| record["id"].as_str().unwrap().to_owned()).collect()
    }
}

/// Debian's psql, or the one on the PATH.
fn psql_program() -> &'static str {
    let own = "/usr/lib/postgresql/15/bin/psql";
    if Path::new(own).exists() { own } else { "psql" }
}

/// Where pictures go, and whether they are for the documentation.
fn pictures() -> (PathBuf, Option<PathBuf>) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    (root.join("target/tmp/pictures"), std::env::var_os("UPDATE_PICTURES").map(|_| root.join("docs/images")))
}

#[test]
fn every_page_and_action_in_a_browser() {
    let stage = stage();
    stage.act();
    let _idle = stage.background("app", "shop", "shop-worker%204.2", "begin; update orders set total = 1 where id = 9");
    let _sleeping = stage.background("dana", "shop_dev", "psql", "select pg_sleep(600)");
    let (shots, docs) = pictures();
    let given = serde_json::json!({
        "url": format!("http://127.0.0.1:{}", stage.pgwarden.admin_port()),
        "user": "grace", "password": PASSWORD, "viewer": "vera", "viewer_password": PASSWORD,
        "second": "otto",
        "shots": shots, "docs": docs, "all": std::env::var_os("ALL_PICTURES").is_some(),
        "docs_pages": ["console-overview", "console-overview-dark", "console-overview-phone", "console-audit", "console-record",
            "console-review", "console-digest", "console-sessions", "console-session", "console-policies", "console-try", "console-grant"],
        "hostile": {"program": psql_program(), "arguments": stage.hostile(), "count": hostile().len()},
    });
    let node = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/clients/bin/node");
    let node = if node.exists() { node } else { PathBuf::from("node") };
    let output = Command::new(node)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .arg("tests/clients/console/work.mjs")
        .arg(given.to_string())
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}\n{}", stage.pgwarden.log());
    recorded(&stage);
}

/// Everything that was done in the browser is in the log, and the log is whole.
fn recorded(stage: &Stage) {
    let text: String = std::fs::read_dir(stage.folder.join("audit"))
        .unwrap()
        .map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap_or_default())
        .collect();
    let records: Vec<serde_json::Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let acts = |event: &str, action: &str| {
        records
            .iter()
            .filter(|record| record["event"] == event && record["action"] == action && record["by"] == "grace")
            .count()
    };
    for action in [
        "console.login",
        "overview.show",
        "audit.search",
        "audit.show",
        "search.save",
        "search.remove",
        "reviews.list",
        "reviews.digest",
        "sessions.list",
        "sessions.show",
        "session.cancel",
        "session.end",
        "policies.show",
        "policies.try",
        "grants.list",
        "grants.show",
    ] {
        assert!(acts("admin", action) > 0, "{action} is not recorded");
    }
    for action in ["acknowledged", "assigned", "problem"] {
        assert!(acts("review", action) > 0, "{action} is not recorded");
    }
    for action in ["requested", "revoked"] {
        assert!(acts("grant", action) > 0, "{action} is not recorded");
    }
    let failed = |user: &str| {
        records
            .iter()
            .any(|record| record["event"] == "login_failed" && record["user"] == user && record["login"] == "console")
    };
    assert!(failed("grace") && failed("nobody <i>"));
    let searched = records
        .iter()
        .any(|record| record["action"] == "audit.search" && record["target"] == "verdict:deny act:\"drop table\"");
    assert!(searched, "what was searched for is recorded as it was typed to its end");
}

/// An answer over HTTP: status, headers as they came, body.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Vec<String> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned()).collect()
    }

    /// `name=value` of a cookie that is set.
    fn cookie(&self, word: &str) -> String {
        let all = self.header("set-cookie");
        let found = all.iter().find(|cookie| cookie.contains(word) && !cookie.contains("Max-Age=0"));
        found.unwrap_or_else(|| panic!("no cookie {word}: {all:?}")).split(';').next().unwrap().to_owned()
    }

    /// The hidden field of the page's first form.
    fn csrf(&self) -> String {
        let at = self.body.find("name=\"csrf\" value=\"").expect("no form") + 19;
        self.body[at..].split('"').next().unwrap().to_owned()
    }
}

/// A request as no browser would send it: `headers` are lines, a `form` makes it a POST.
fn ask(port: u16, path: &str, headers: &[String], form: Option<&str>) -> Answer {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    send(&mut stream, path, headers, form)
}

fn send(stream: &mut (impl Read + Write), path: &str, headers: &[String], form: Option<&str>) -> Answer {
    let mut request = format!(
        "{} {path} HTTP/1.1\r\nHost: console.localhost\r\nConnection: close\r\n",
        if form.is_some() { "POST" } else { "GET" }
    );
    for header in headers {
        let _ = write!(request, "{header}\r\n");
    }
    if let Some(form) = form {
        let _ =
            write!(request, "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n", form.len());
    }
    let _ = write!(request, "\r\n{}", form.unwrap_or(""));
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer to {path}: {answer}"));
    Answer { status: head.split(' ').nth(1).unwrap().parse().unwrap(), head: head.to_owned(), body: body.to_owned() }
}

/// Logs in: the cookie header and the token for forms.
fn log_in(port: u16, user: &str) -> (String, String) {
    let form = ask(port, "/login", &[], None);
    let sent = format!("csrf={}&user={user}&password={}&next=/sessions", form.csrf(), PASSWORD.replace(' ', "+"));
    let answer = ask(port, "/login", &[format!("Cookie: {}", form.cookie("form"))], Some(&sent));
    assert_eq!((answer.status, answer.header("location")), (303, vec!["/sessions".to_owned()]), "{}", answer.body);
    let set = answer.header("set-cookie").into_iter().find(|cookie| cookie.contains("login")).unwrap();
    assert!(set.contains("HttpOnly") && set.contains("SameSite=Strict") && set.contains("Path=/"), "{set}");
    let cookie = format!("Cookie: {}", answer.cookie("login"));
    let token = ask(port, "/review", std::slice::from_ref(&cookie), None).csrf();
    (cookie, token)
}

/// A console without databases that anybody reaches.
fn bare(tls: &str) -> Pgwarden {
    let mut configuration = format!(
        "[listen]\npostgres = \"127.0.0.1:@PORT@\"\nadmin = \"127.0.0.1:@ADMIN_PORT@\"\n{tls}\n\
         [limits]\nlogin_failures = 3\n[databases.shop]\nenvironment = \"production\"\npooled = \"postgres://u:p@127.0.0.1:1/shop\"\n\
         [environments.production.roles]\nstudio = \"read-only\"\n"
    );
    for (name, role) in [("grace", "operator"), ("otto", "operator"), ("ada", "auditor"), ("vera", "viewer")] {
        configuration.push_str(&support::proxy::user(name, PASSWORD, ""));
        let _ = writeln!(configuration, "console = \"{role}\"");
    }
    configuration.push_str(&support::proxy::user("studio_reader", PASSWORD, "production = \"studio\""));
    Pgwarden::start(&configuration)
}

#[test]
fn nobody_comes_in_unasked_and_no_form_is_believed_unseen() {
    let pgwarden = bare("");
    let port = pgwarden.admin_port();
    let pages = [
        "/",
        "/audit",
        "/audit/tail?after=0",
        "/audit/00000000000",
        "/audit/00000000000/text",
        "/review",
        "/review/digest",
        "/sessions",
        "/sessions/x",
        "/policies",
    ];
    for page in pages {
        let answer = ask(port, page, &[], None);
        assert_eq!(answer.status, 303, "{page}");
        assert!(answer.header("location")[0].starts_with("/login?next="), "{page}");
        assert_eq!(ask(port, page, &["X-Part: auto".to_owned()], None).status, 401, "{page} as a part");
        let forged = format!("Cookie: pgwarden-login-{port}=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
        assert_eq!(ask(port, page, &[forged], None).status, 303, "{page} with a made-up cookie");
    }
    for page in pages.iter().chain(&["/login", "/nowhere", "/assets/none"]) {
        let answer = ask(port, page, &[], None);
        let policy = &answer.header("content-security-policy")[0];
        for part in [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "frame-ancestors 'none'",
            "form-action 'self'",
            "base-uri 'none'",
        ] {
            assert!(policy.contains(part), "{page}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{page}: {policy}");
        assert_eq!(answer.header("x-content-type-options"), ["nosniff"], "{page}");
    }

    let (cookie, token) = log_in(port, "grace");
    let actions = [
        ("/logout", "x=y"),
        ("/audit/saved", "name=n&filter=user:a"),
        ("/audit/saved/remove", "name=n"),
        ("/review", "item=x&through=00000000000&action=acknowledged"),
        ("/sessions/x", "action=end&sure=yes"),
        ("/policies", "as=production/studio&statement=select+1"),
    ];
    for (path, form) in actions {
        let with = |token: &str| format!("csrf={token}&{form}");
        let of = |headers: &[&str], form: &str| {
            let headers: Vec<String> = headers.iter().map(|header| (*header).to_owned()).collect();
            ask(port, path, &headers, Some(form)).status
        };
        assert_eq!(of(&[], &with(&token)), 303, "{path} without a login leads to it");
        assert_eq!(of(&[&cookie], &with("wrong")), 403, "{path} with a wrong token");
        assert_eq!(of(&[&cookie], form), 400, "{path} without a token");
        assert_eq!(of(&[&cookie, "Sec-Fetch-Site: cross-site"], &with(&token)), 403, "{path} from another site");
        assert_eq!(of(&[&cookie, "Origin: http://evil.test"], &with(&token)), 403, "{path} from another origin");
        assert_eq!(of(&[&cookie], &format!("csrf={token}&x={}", "y".repeat(300_000))), 400, "{path} with too much");
    }
    let (viewer, viewers) = log_in(port, "vera");
    assert_eq!(
        ask(port, "/sessions/x", std::slice::from_ref(&viewer), Some(&format!("csrf={viewers}&action=end&sure=yes")))
            .status,
        403
    );
    let said = format!("csrf={viewers}&item=x&through=00000000000&action=acknowledged");
    assert_eq!(ask(port, "/review", std::slice::from_ref(&viewer), Some(&said)).status, 403);
    assert_eq!(
        ask(port, "/review", std::slice::from_ref(&viewer), Some(&said.replace(&viewers, &token))).status,
        403,
        "another's token"
    );
    let (auditor, auditors) = log_in(port, "ada");
    assert_eq!(
        ask(
            port,
            "/sessions/x",
            std::slice::from_ref(&auditor),
            Some(&format!("csrf={auditors}&action=cancel&sure=yes"))
        )
        .status,
        403
    );
    assert_eq!(ask(port, "/logout", std::slice::from_ref(&cookie), Some(&format!("csrf={token}"))).status, 303);
    assert_eq!(ask(port, "/", &[cookie], None).status, 303, "a login that was left is none");
}

#[test]
fn guessing_is_slow_and_recorded() {
    let pgwarden = bare("");
    let port = pgwarden.admin_port();
    let attempt = |user: &str, password: &str| {
        let form = ask(port, "/login", &[], None);
        let sent = format!("csrf={}&user={user}&password={}", form.csrf(), password.replace(' ', "+"));
        ask(port, "/login", &[format!("Cookie: {}", form.cookie("form"))], Some(&sent))
    };
    let wrong: Vec<Answer> = ["nobody", "studio_reader", "grace"].iter().map(|user| attempt(user, "wrong")).collect();
    for answer in &wrong {
        assert_eq!(answer.status, 401);
        assert!(answer.body.contains("The name or the password is wrong"));
    }
    assert_eq!(attempt("studio_reader", PASSWORD).status, 401, "a user without a role in the console");
    assert_eq!((attempt("grace", "wrong").status, attempt("grace", "wrong").status), (401, 401));
    assert_eq!(attempt("grace", PASSWORD).status, 429, "not even the right one, for a minute");
    let form = ask(port, "/login", &[], None);
    let sent = format!("csrf={}&user=vera&password={}", form.csrf(), PASSWORD.replace(' ', "+"));
    assert_eq!(ask(port, "/login", &[], Some(&sent)).status, 403, "a form without its cookie");
    assert_eq!(attempt("vera", PASSWORD).status, 303, "others are not held up");
    let failed = |reason: &str| {
        let of = |record: &&serde_json::Value| {
            record["event"] == "login_failed" && record["login"] == "console" && record["reason"] == reason
        };
        pgwarden.records().iter().filter(of).count()
    };
    assert_eq!(
        (failed("unknown_user"), failed("no_role"), failed("wrong_password"), failed("throttled")),
        (1, 2, 3, 1)
    );
    assert!(!pgwarden.records().iter().any(|record| record.to_string().contains(PASSWORD)));
}

#[test]
fn a_reload_takes_roles_away_at_once_and_its_result_is_shown() {
    let mut pgwarden = bare("");
    let port = pgwarden.admin_port();
    let (grace, _) = log_in(port, "grace");
    let (vera, _) = log_in(port, "vera");
    let policies = |cookie: &String| ask(port, "/policies", std::slice::from_ref(cookie), None);
    assert!(policies(&grace).body.contains("none since the start"));

    let good = pgwarden.configuration().to_owned();
    pgwarden.reload(&format!("{good}\nnonsense = \"<b>\"\n"));
    until(|| policies(&grace).body.contains("unknown key"));
    assert!(policies(&grace).body.contains("refused") && policies(&grace).status == 200);

    pgwarden.reload(
        &good
            .replace("console = \"viewer\"", "roles = { production = \"studio\" }")
            .replace("roles = {  }\nroles", "roles"),
    );
    until(|| policies(&grace).body.contains("in force"));
    assert_eq!(policies(&vera).status, 303, "vera has no role any more");
    assert_eq!(policies(&grace).status, 200);
}

/// Waits until something holds.
fn until(holds: impl Fn() -> bool) {
    for _ in 0..600 {
        if holds() {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("it did not come");
}

#[test]
fn over_tls_cookies_are_kept_to_it() {
    let folder = Scratch::create(support::folder(), "console-tls").unwrap();
    let key = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(folder.join("server.crt"), key.cert.pem()).unwrap();
    std::fs::write(folder.join("server.key"), key.signing_key.serialize_pem()).unwrap();
    let path = folder.path().display();
    let pgwarden = bare(&format!("tls = {{ certificate = \"{path}/server.crt\", key = \"{path}/server.key\" }}"));
    let mut config = pgwarden::net::tls::client(pgwarden::net::tls::Trust::Anyone, None, None).unwrap();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let config = Arc::new(config);
    let over_tls = |path: &str, headers: &[String], form: Option<&str>| {
        let client = rustls::ClientConnection::new(Arc::clone(&config), "localhost".try_into().unwrap()).unwrap();
        let tcp = TcpStream::connect(("127.0.0.1", pgwarden.admin_port())).unwrap();
        send(&mut rustls::StreamOwned::new(client, tcp), path, headers, form)
    };
    assert_eq!(over_tls("/healthz", &[], None).body, "ok\n");
    assert_eq!(pgwarden.page("/healthz").0, 200, "in plaintext, too");
    let form = over_tls("/login", &[], None);
    let sent = format!("csrf={}&user=vera&password={}", form.csrf(), PASSWORD.replace(' ', "+"));
    let answer = over_tls("/login", &[format!("Cookie: {}", form.cookie("form"))], Some(&sent));
    let set = answer.header("set-cookie").into_iter().find(|cookie| cookie.contains("login")).unwrap();
    assert!(set.starts_with("__Host-") && set.contains("; Secure"), "{set}");
    let cookie = format!("Cookie: {}", answer.cookie("login"));
    assert_eq!(over_tls("/sessions", std::slice::from_ref(&cookie), None).status, 200);
    assert_eq!(ask(pgwarden.admin_port(), "/sessions", &[cookie], None).status, 303, "the cookie is not for plaintext");
}

#[test]
fn hostile_text_is_harmless_at_the_terminal_too() {
    let stage = stage();
    stage.act();
    assert!(
        Command::new(psql_program()).args(stage.hostile()).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
    );
    let directory = stage.folder.join("audit");
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pgwarden"));
        let output = command.arg("audit").args(arguments).arg("--directory").arg(&directory).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let tool = "application:\"<img\"";
    let mut shown = vec![run(&["search", tool]), run(&["tail", "--lines", "40", "--no-follow"]), run(&["stats"])];
    let ids = stage.hostile_ids();
    assert_eq!(ids.len(), hostile().len());
    shown.extend(ids.iter().map(|id| run(&["show", id])));
    for text in &shown {
        assert!(text.len() > 200);
        let bad = text.chars().find(|c| pgwarden::audit::json::is_hazard(*c) && !matches!(c, '\n' | '\t'));
        assert_eq!(bad, None);
    }
    assert!(shown[0].contains("\\u{202e}") && shown[0].contains("\\u{1b}"));
}
