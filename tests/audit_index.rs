//! The index of the audit log: the same answers as the segments give, whatever happens to it, and only from the log.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Zoned;
use pgwarden::audit::filter::{Field, Filter};
use pgwarden::audit::index::{Index, file_of};
use pgwarden::audit::query::{Order, Page, PageRequest, Rank};
use pgwarden::audit::scan::Scan;
use pgwarden::audit::view::RecordView;
use pgwarden::audit::*;
use pgwarden::sql::{Class, Effect, Object, ObjectKind, Origin};

/// Numbers that look like chance and are the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }
}

const USERS: [&str; 4] = ["studio_reader", "app", "Grace", "migrator"];
const ENVIRONMENTS: [&str; 3] = ["production", "staging", "preview-7"];
const TABLES: [&str; 5] = ["orders", "customers", "Größe", "auth.users", "a_b"];

fn session(dice: &mut Dice, audit: &Audit) -> SessionFields {
    let user = dice.one(&USERS);
    SessionFields::new(&SessionIdentity {
        session: &audit.next_id().to_string(),
        user,
        role: if user == "app" { "app" } else { "studio" },
        environment: dice.one(&ENVIRONMENTS),
        database: "shop",
        endpoint: dice.one(&["pooled", "direct"]),
        client: &format!("127.0.0.1:{}", 40_000 + dice.below(1_000)),
        tls: "TLSv1.3",
        login: "scram-sha-256",
        application: dice.one(&["psql", "Prisma Studio", "pgAdmin 4 - DB:shop", "", "ÄPFEL \u{1b}[31m<b>"]),
    })
}

fn statement(dice: &mut Dice) -> Statement {
    let table = dice.one(&TABLES);
    let (class, act) = dice.one(&[
        (Class::Read, "SELECT"),
        (Class::WriteUpdate, "UPDATE"),
        (Class::DdlDestructive, "DROP TABLE"),
        (Class::DestroyDeleteAll, "DELETE without WHERE"),
    ]);
    let verdict = if class == Class::Read { Verdict::Allow } else { dice.one(Verdict::ALL) };
    let (schema, name) = table.split_once('.').map_or((None, table), |(schema, name)| (Some(schema.to_owned()), name));
    let object = Object { kind: ObjectKind::Relation, schema, name: name.to_owned() };
    let effects = EffectsJson::new(&[(Effect::new(class, act).on(object), Origin::Both)]);
    let number = dice.below(40);
    let text = match dice.below(3) {
        0 => format!("{act} from {table} where id = $1"),
        1 => format!("{act} FROM \"{table}\" WHERE note = '\"ä{number}\u{202e}\n' -- {number}"),
        _ => format!("{act} {table} /* {number} */"),
    };
    Statement {
        verdict,
        rule: if verdict == Verdict::Allow { "allow".into() } else { format!("deny \"{}\"", class.name()).into() },
        policy: dice.one(&["read-only", "application"]).into(),
        generation: 1 + dice.below(2),
        effects,
        readers: dice.one(Readers::ALL),
        text: StatementJson::whole(text.as_bytes(), Some(&format!("{:016x}", dice.below(60)))),
        protocol: dice.one(Protocol::ALL),
        name: (dice.below(9) == 0).then(|| "s1".into()),
        parameters: (dice.below(5) == 0).then(|| {
            let value = format!("\"bound\"],{number}");
            let shown =
                [ParameterShown::Text(&value, None), ParameterShown::Null, ParameterShown::Text("ä\\", Some(70_000))];
            ParametersJson::new(dice.below(2) as usize * 97 + 3, shown)
        }),
        transaction: (dice.below(30) > 0).then(|| 1 + dice.below(5)),
        grant: (dice.below(20) == 0).then(|| "G-7".into()),
        sqlstate: (verdict == Verdict::Deny).then_some(SqlState(*b"42501")),
    }
}

/// Writes so many statements with what goes with them; some outcomes come much later, some never.
fn fill(audit: &Audit, dice: &mut Dice, statements: u64) {
    let put = |id: AuditId, session: Option<&SessionFields>, event: Event| {
        audit.accept(&mut vec![Record::new(id, session.cloned(), event)]).unwrap();
    };
    let mut sessions: Vec<SessionFields> = Vec::new();
    let mut open: Vec<(AuditId, SessionFields)> = Vec::new();
    let mut denied = Vec::new();
    for number in 0..statements {
        if number % 50 == 0 {
            let session = session(dice, audit);
            put(audit.next_id(), Some(&session), Event::Login { policy: "read-only".into(), generation: 1 });
            sessions.push(session);
        }
        let session = sessions[dice.below(sessions.len() as u64) as usize].clone();
        let statement = statement(dice);
        let id = audit.next_id();
        match statement.verdict {
            Verdict::Deny => denied.push(id),
            _ => open.push((id, session.clone())),
        }
        put(id, Some(&session), Event::Statement(statement));
        while open.len() > if number % 100 < 80 { 3 } else { 40 } {
            let (of, session) = open.swap_remove(dice.below(open.len() as u64) as usize);
            let outcome = Outcome {
                of,
                tag: Tag::new(dice.one(&[&b"SELECT 3"[..], b"UPDATE 1", b""])),
                rows: dice.below(100),
                bytes: dice.below(100_000),
                duration_us: dice.below(3_000_000),
                sqlstate: (dice.below(9) == 0).then_some(SqlState(*b"23505")),
                state: dice.one(TransactionState::ALL),
            };
            put(audit.next_id(), Some(&session), Event::Outcome(outcome));
        }
        if number % 97 == 0 {
            let (number, state) = (1 + dice.below(5), TransactionState::Committed);
            put(audit.next_id(), Some(&session), Event::Transaction { number, state });
            put(audit.next_id(), None, Event::Cancel { target: None, result: "no such session".into() });
            let changes = vec!["policy `x` changed: allow".to_owned()];
            put(
                audit.next_id(),
                None,
                Event::Reload(Reload { cause: "SIGHUP".into(), generation: 2, changes, refused: None }),
            );
            let admin = Event::Admin { by: "grace".into(), action: "session.end".into(), target: Some("S".into()) };
            put(audit.next_id(), None, admin);
            let message = Some("password authentication failed for user \"app\"".to_owned());
            put(audit.next_id(), Some(&session), Event::LoginFailed { reason: LoginFailure::WrongPassword, message });
            let end =
                SessionEnd { reason: "client left".into(), statements: 3, duration_us: 77, ..SessionEnd::default() };
            put(audit.next_id(), Some(&session), Event::SessionEnd(end));
        }
        if number % 61 == 0 && !denied.is_empty() {
            let of = denied[dice.below(denied.len() as u64) as usize];
            let action = dice.one(&["assigned", "acknowledged", "problem", "reopened"]).into();
            put(
                audit.next_id(),
                None,
                Event::Review(Review { of, by: "grace".into(), action, note: "seen it".into() }),
            );
        }
    }
}

fn settings(root: &Path) -> AuditSettings {
    AuditSettings { segment_bytes: 70_000, ..AuditSettings::new(root.join("audit")) }
}

fn directory(root: &Path) -> PathBuf {
    root.join("audit")
}

/// Waits until the index has read the whole log.
fn caught_up(index: &Index, through: u64) {
    let until = Instant::now() + Duration::from_secs(120);
    while index.progress().through < through || index.progress().building {
        assert!(Instant::now() < until, "the index does not catch up: {:?}", index.progress());
        std::thread::sleep(Duration::from_millis(20));
    }
}

const FILTERS: &[&str] = &[
    "",
    "user:studio_reader",
    "user:GRACE",
    "user:*r",
    "user:nobody",
    "-user:app",
    "user:app,grace verdict:deny",
    "verdict:deny env:production",
    "verdict:allow -env:prod*",
    "effect:ddl",
    "effect:ddl.destructive table:orders",
    "table:auth.users",
    "table:users",
    "table:größe",
    "act:\"without where\"",
    "app:studio",
    "app:äpfel",
    "ip:127.0.0.1",
    "-app:*",
    "rule:destroy",
    "policy:read-only protocol:simple",
    "readers:disagree",
    "fingerprint:000000000000001*",
    "tx:2..3",
    "tx>4",
    "generation:2",
    "rows>=90",
    "rows<1",
    "duration>2s",
    "duration<=1ms",
    "bytes:10kB..20kB",
    "-duration>1us",
    "error:23505",
    "error:*",
    "-error:*",
    "error:42501 user:app",
    "tag:update*",
    "tag:*",
    "state:committed",
    "state:unknown",
    "grant:*",
    "grant:g-7",
    "event:outcome",
    "event:outcome tag:select* rows>50",
    "event:*",
    "event:login",
    "event:login_failed wrong",
    "event:statement,review",
    "event:transaction",
    "-event:statement",
    "event:segment",
    "by:grace",
    "reason:client",
    "target:s",
    "since:1h",
    "since:1h user:app",
    "before:1h",
    "until:now",
    "orders",
    "ORDERS",
    "\"drop table\"",
    "\"größe\"",
    "GRÖSSE",
    "where",
    "note",
    "\"'\\\"\"",
    "or",
    "a_",
    "x",
    "ä1",
    "-orders",
    "orders -where",
    "\"delete * where id\"",
    "dele*from",
    "password",
    "sighup",
    "\"policy `x`\"",
    "seen",
    "bound",
    "nowhere-at-all",
    "\u{1b}[31m",
    "seq<100",
    "seq:500..510",
    "seq>1000000",
    "of:*",
];

fn plain(filter: &str) -> Filter {
    Filter::parse(&filter.replace("\\\"", ""), &Zoned::now()).unwrap_or_else(|error| panic!("{filter}: {error}"))
}

/// Every page there is.
fn pages(order: Order, limit: usize, mut ask: impl FnMut(PageRequest) -> Page) -> Vec<search::Entry> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = ask(PageRequest { limit, after, order });
        assert!(page.entries.len() <= limit && (page.next.is_none() || page.entries.len() == limit));
        all.extend(page.entries);
        after = page.next;
        if after.is_none() {
            return all;
        }
    }
}

fn agree(index: &Index, scan: &Scan, filter: &str) {
    let parsed = plain(filter);
    let newest = scan.search(&parsed, PageRequest::newest(usize::MAX - 1)).unwrap().entries;
    let paged = pages(Order::Newest, 170, |page| index.search(&parsed, page).unwrap());
    assert_eq!(paged, newest, "{filter}");
    let page = PageRequest { limit: 33, after: None, order: Order::Oldest };
    assert_eq!(index.search(&parsed, page).unwrap(), scan.search(&parsed, page).unwrap(), "oldest: {filter}");
    assert_eq!(index.count(&parsed).unwrap(), newest.len() as u64, "count: {filter}");
    // What the segments say takes long, and these follow from the same records.
    if FILTERS.iter().position(|one| *one == filter).unwrap() % 9 != 0 {
        return;
    }
    for bucket in [1_000, 60_000_000] {
        assert_eq!(index.timeline(&parsed, bucket).unwrap(), scan.timeline(&parsed, bucket).unwrap(), "{filter}");
    }
    for rank in [Rank::Duration, Rank::Bytes, Rank::Rows] {
        assert_eq!(index.ranked(&parsed, rank, 7).unwrap(), scan.ranked(&parsed, rank, 7).unwrap(), "{filter}");
    }
}

fn agree_on_all(index: &Index, scan: &Scan) {
    for filter in FILTERS {
        agree(index, scan, filter);
    }
    let fields: Vec<Field> = Field::ALL.iter().copied().filter(|field| field.kind() != filter::Kind::Time).collect();
    for filter in ["", "verdict:deny", "event:*"] {
        let parsed = plain(filter);
        assert_eq!(index.facets(&parsed, &fields, 5).unwrap(), scan.facets(&parsed, &fields, 5).unwrap(), "{filter}");
    }
    assert_eq!(*index.reviews().unwrap(), scan.reviews().unwrap());
    for environment in [None, Some("production"), Some("nowhere")] {
        let new = |most| {
            let from_index = index.new_fingerprints(environment, Timestamp(0), most).unwrap();
            assert_eq!(from_index, scan.new_fingerprints(environment, Timestamp(0), most).unwrap(), "{environment:?}");
            from_index.len()
        };
        assert!(new(1000) >= new(10));
        assert_eq!(index.new_fingerprints(environment, Timestamp::now(), 10).unwrap(), []);
    }
}

fn agree_on_records(index: &Index, scan: &Scan, dice: &mut Dice) {
    let all = scan.search(&Filter::every_event(), PageRequest::newest(usize::MAX - 1)).unwrap().entries;
    for _ in 0..40 {
        let entry = &all[dice.below(all.len() as u64) as usize];
        let id: AuditId = RecordView::parse(entry.line.as_bytes()).unwrap().id.parse().unwrap();
        let (found, expected) = (index.record(id).unwrap().unwrap(), scan.record(id).unwrap().unwrap());
        assert_eq!((&found.entry, found.line), (&expected.entry, expected.line));
        assert_eq!(index.neighbourhood(id, 3).unwrap(), scan.neighbourhood(id, 3).unwrap(), "{}", entry.line);
    }
    assert_eq!(index.record(AuditId(5)).unwrap(), None);
    assert_eq!(index.neighbourhood(AuditId(5), 3).unwrap(), None);
}

/// A log of some thousand records in many segments, closed.
fn log(root: &Path, seed: u64, statements: u64) -> u64 {
    let audit = Audit::open(settings(root)).unwrap();
    fill(&audit, &mut Dice(seed), statements);
    audit.close("test").unwrap();
    // Closing signs once more.
    audit.health().sequence + 1
}

#[test]
fn the_index_answers_as_the_segments_do() {
    let root = tempfile::tempdir().unwrap();
    let through = log(root.path(), 1, 600);
    let index = Index::with_blocks(&directory(root.path()), 100).unwrap();
    caught_up(&index, through);
    let scan = Scan::new(&directory(root.path()));
    agree_on_all(&index, &scan);
    agree_on_records(&index, &scan, &mut Dice(2));
}

/// The filters that are put to an index that something was done to.
const SOME: &[&str] =
    &["", "verdict:deny user:app", "orders -where", "duration>2s", "event:*", "error:*", "effect:ddl table:orders"];

/// Asks until the index has been made anew, if it has to be.
fn agree_in_the_end(index: &Index, scan: &Scan, through: u64) {
    let until = Instant::now() + Duration::from_secs(120);
    for filter in SOME {
        let parsed = plain(filter);
        loop {
            caught_up(index, through);
            // A log that is open signs a checkpoint now and then, also in between.
            let newest = scan.search(&parsed, PageRequest::newest(50)).unwrap();
            let count = scan.count(&parsed).unwrap();
            let answers =
                index.search(&parsed, PageRequest::newest(50)).and_then(|page| Ok((page, index.count(&parsed)?)));
            match answers {
                Ok((page, total)) if page == newest && total == count => break,
                other => assert!(Instant::now() < until, "{filter}: {other:?}"),
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

#[test]
fn the_index_follows_a_log_that_is_being_written_and_goes_on_where_it_ended() {
    let root = tempfile::tempdir().unwrap();
    let audit = Audit::open(settings(root.path())).unwrap();
    let scan = Scan::new(&directory(root.path()));
    let mut dice = Dice(5);
    for _ in 0..3 {
        let index = Index::with_blocks(&directory(root.path()), 64).unwrap();
        for _ in 0..3 {
            fill(&audit, &mut dice, 60);
            audit.flush();
            agree_in_the_end(&index, &scan, audit.health().sequence);
        }
        // The last block in memory is lost with the process, and read again.
        drop(index);
    }
    // Outcomes of statements of an earlier life of the index are found as well.
    let open = scan.search(&plain("event:statement -verdict:deny -state:*"), PageRequest::newest(1)).unwrap();
    let record = RecordView::parse(open.entries[0].line.as_bytes()).unwrap().id.parse::<AuditId>().unwrap();
    let outcome = Outcome {
        of: record,
        tag: Tag::new(b"LATE 1"),
        rows: 7,
        bytes: 7,
        duration_us: 7,
        sqlstate: None,
        state: TransactionState::Committed,
    };
    let index = Index::with_blocks(&directory(root.path()), 64).unwrap();
    caught_up(&index, audit.health().sequence);
    audit.accept(&mut vec![Record::new(audit.next_id(), None, Event::Outcome(outcome))]).unwrap();
    audit.close("test").unwrap();
    caught_up(&index, audit.health().sequence + 1);
    let late = index.search(&plain("event:statement tag:late*"), PageRequest::newest(5)).unwrap();
    assert_eq!(late.entries.len(), 1);
    assert_eq!(late, scan.search(&plain("event:statement tag:late*"), PageRequest::newest(5)).unwrap());
}

#[test]
fn a_damaged_index_or_one_of_another_log_is_made_anew() {
    let root = tempfile::tempdir().unwrap();
    let through = log(root.path(), 7, 250);
    let scan = Scan::new(&directory(root.path()));
    let file = file_of(&directory(root.path()));
    let build = || {
        let index = Index::with_blocks(&directory(root.path()), 100).unwrap();
        caught_up(&index, through);
        index
    };
    drop(build());
    let whole = std::fs::read(&file).unwrap();
    let overwrite = |from: usize, bytes: usize| {
        let mut damaged = whole.clone();
        let end = (from + bytes).min(damaged.len());
        damaged[from..end].iter_mut().for_each(|byte| *byte = byte.wrapping_add(0x5b));
        std::fs::write(&file, damaged).unwrap();
    };
    let half = whole.len() / 2;
    let damages: [&dyn Fn(); 8] = [
        &|| std::fs::remove_file(&file).unwrap(),
        &|| std::fs::write(&file, b"").unwrap(),
        &|| std::fs::write(&file, b"this is no index at all").unwrap(),
        &|| std::fs::write(&file, &whole[..half]).unwrap(),
        &|| overwrite(0, 100),
        &|| overwrite(half, 4_000),
        &|| overwrite(whole.len() - 30_000, 20_000),
        &|| (0..20).for_each(|part| overwrite(16_384 + part * whole.len() / 25, 700)),
    ];
    for (number, damage) in damages.iter().enumerate() {
        damage();
        let index = Index::with_blocks(&directory(root.path()), 100).unwrap();
        println!("damage {number}");
        agree_in_the_end(&index, &scan, through);
        drop(index);
        std::fs::write(&file, &whole).unwrap();
    }
    // Another log in the same place.
    std::fs::remove_dir_all(directory(root.path())).unwrap();
    for name in ["audit.key", "audit.pub", "audit.head"] {
        std::fs::remove_file(root.path().join(name)).unwrap();
    }
    let through = log(root.path(), 8, 120);
    assert!(Index::read(&directory(root.path())).is_none(), "an index of another log must not be read");
    let index = Index::with_blocks(&directory(root.path()), 100).unwrap();
    agree_in_the_end(&index, &scan, through);
}

#[test]
fn a_log_that_is_changed_under_the_index_is_read_again() {
    let root = tempfile::tempdir().unwrap();
    let through = log(root.path(), 9, 200);
    let scan = Scan::new(&directory(root.path()));
    let index = Index::with_blocks(&directory(root.path()), 100).unwrap();
    caught_up(&index, through);
    let first = segment::list(&directory(root.path())).unwrap().remove(0);
    let mut text = String::new();
    std::io::Read::read_to_string(&mut first.open().unwrap(), &mut text).unwrap();
    // A line that is longer by a byte: every later one stands elsewhere.
    let changed = text.replacen("studio_reader", "studio_readerx", 1);
    assert_ne!(changed, text);
    std::fs::remove_file(&first.path).unwrap();
    std::fs::write(directory(root.path()).join(segment::file_name(first.first)), changed).unwrap();
    agree_in_the_end(&index, &scan, through);
    assert_eq!(index.count(&plain("user:studio_readerx")).unwrap(), 1);
}

#[test]
fn removed_segments_leave_the_index() {
    let root = tempfile::tempdir().unwrap();
    let kept = AuditSettings { segment_bytes: 66_000, retention_bytes: Some(40_000), ..settings(root.path()) };
    let audit = Audit::open(kept).unwrap();
    let index = Index::with_blocks(&directory(root.path()), 64).unwrap();
    let mut dice = Dice(11);
    let until = Instant::now() + Duration::from_secs(120);
    while segment::list(&directory(root.path())).unwrap()[0].first == 1 {
        assert!(Instant::now() < until, "nothing is removed");
        fill(&audit, &mut dice, 40);
        std::thread::sleep(Duration::from_millis(50));
    }
    audit.close("test").unwrap();
    let scan = Scan::new(&directory(root.path()));
    agree_in_the_end(&index, &scan, audit.health().sequence + 1);
}

#[test]
fn the_command_line_answers_the_same_with_and_without_an_index() {
    let root = tempfile::tempdir().unwrap();
    let audit = Audit::open(settings(root.path())).unwrap();
    let mut dice = Dice(13);
    fill(&audit, &mut dice, 200);
    let index = Index::with_blocks(&directory(root.path()), 100).unwrap();
    caught_up(&index, audit.health().sequence);
    drop(index);
    // What stands behind the index is read from the segments.
    fill(&audit, &mut dice, 100);
    audit.close("test").unwrap();
    assert!(Index::read(&directory(root.path())).is_some());
    let scan = Scan::new(&directory(root.path()));
    let denied = scan.search(&plain("verdict:deny"), PageRequest::newest(1)).unwrap().entries.remove(0);
    let id = RecordView::parse(denied.line.as_bytes()).unwrap().id.to_string();
    let commands: [&[&str]; 9] = [
        &["search", "verdict:deny", "--json", "--limit", "20", "--page", "2"],
        &["search", "orders", "-user:app"],
        &["search", "--count", "duration>1s"],
        &["search", "event:statement", "--limit", "7"],
        &["show", &id],
        &["show", &id, "--json", "--around", "3"],
        &["stats"],
        &["stats", "--json", "user:app"],
        &["stats", "--json", "verdict:deny"],
    ];
    let run = |arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_pgwarden"));
        command.arg("audit").args(arguments).arg("--directory").arg(directory(root.path())).current_dir(root.path());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let indexed: Vec<String> = commands.iter().map(|arguments| run(arguments)).collect();
    std::fs::remove_file(file_of(&directory(root.path()))).unwrap();
    for (arguments, with_index) in commands.iter().zip(indexed) {
        assert!(!with_index.is_empty());
        assert_eq!(run(arguments), with_index, "{arguments:?}");
    }
}
