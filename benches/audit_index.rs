//! What the index of a large audit log costs and how fast it answers: writes a log, indexes it, asks. Run: `make bench-audit`.
//!
//! `--records N` (ten million if left out), `--directory PATH` (below the system's temporary folder if left out; it is removed at
//! the end), `--keep` leaves it, `--repeat N` (5) asks each question so often and tells the median.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Zoned;
use pgwarden::audit::filter::{Field, Filter};
use pgwarden::audit::index::Index;
use pgwarden::audit::query::{PageRequest, Rank};
use pgwarden::audit::*;
use pgwarden::sql::{Class, Effect, Object, ObjectKind, Origin};

struct Wishes {
    records: u64,
    directory: PathBuf,
    keep: bool,
    repeat: usize,
}

fn wishes() -> Wishes {
    let mut wishes = Wishes {
        records: 10_000_000,
        directory: std::env::temp_dir().join(format!("pgwarden-bench-index-{}", std::process::id())),
        keep: false,
        repeat: 5,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--records" => wishes.records = arguments.next().unwrap().parse().unwrap(),
            "--directory" => wishes.directory = arguments.next().unwrap().into(),
            "--repeat" => wishes.repeat = arguments.next().unwrap().parse().unwrap(),
            "--keep" => wishes.keep = true,
            // Cargo's own.
            _ => {}
        }
    }
    wishes
}

/// Numbers that look like chance and are the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }
}

const TABLES: [&str; 12] = [
    "orders",
    "customers",
    "invoices",
    "payments",
    "sessions",
    "carts",
    "items",
    "prices",
    "stock",
    "events",
    "reviews",
    "refunds",
];

/// A statement as an application, a studio or a migration sends it: three in ten have literals of their own.
fn statement(dice: &mut Dice, micros: u64) -> Statement {
    let table = TABLES[dice.below(12) as usize];
    let shape = dice.below(40);
    let (class, act) = match dice.below(1000) {
        0 => (Class::DdlDestructive, "DROP TABLE"),
        1..=3 => (Class::DestroyDeleteAll, "DELETE without WHERE"),
        4..=250 => (Class::WriteUpdate, "UPDATE"),
        _ => (Class::Read, "SELECT"),
    };
    let text = match dice.below(10) {
        0..=2 => format!(
            "{act} {table} c{shape} WHERE id = {} AND note = 'n{}'",
            dice.below(100_000_000),
            micros % 1_000_003
        ),
        _ => format!("{act} {table} c{shape}, c{} FROM {table} JOIN customers USING (id) WHERE id = $1", shape + 1),
    };
    let denied = matches!(class, Class::DdlDestructive | Class::DestroyDeleteAll);
    let object = Object { kind: ObjectKind::Relation, schema: Some("public".into()), name: table.into() };
    Statement {
        verdict: if denied { Verdict::Deny } else { Verdict::Allow },
        rule: if denied { "not in allow (policy application)".into() } else { "allow".into() },
        policy: "application".into(),
        generation: 1,
        effects: EffectsJson::new(&[(Effect::new(class, act).on(object), Origin::Both)]),
        readers: Readers::Both,
        text: StatementJson::whole(text.as_bytes(), Some(&format!("{:016x}", dice.below(12) * 1000 + shape))),
        protocol: Protocol::Extended,
        name: None,
        parameters: None,
        transaction: Some(1 + dice.below(9)),
        grant: None,
        sqlstate: denied.then_some(SqlState(*b"42501")),
    }
}

fn session(dice: &mut Dice, audit: &Audit) -> SessionFields {
    let user = dice.below(40);
    SessionFields::new(&SessionIdentity {
        session: &audit.next_id().to_string(),
        user: &format!("user{user}"),
        role: if user < 30 { "app" } else { "studio" },
        environment: ["production", "production", "staging", "development"][dice.below(4) as usize],
        database: "shop",
        endpoint: "pooled",
        client: &format!("10.0.{}.{}:{}", dice.below(4), dice.below(200), 30_000 + dice.below(30_000)),
        tls: "TLSv1.3",
        login: "scram-sha-256",
        application: ["api", "worker", "Prisma Studio", "psql", "pgAdmin 4"][dice.below(5) as usize],
    })
}

/// Writes the log; the records' times span thirty days.
fn generate(audit: &Audit, records: u64) {
    let mut dice = Dice(1);
    let (mut sessions, mut batch) = (Vec::new(), Vec::new());
    let now = Timestamp::now().0;
    let step = 30 * 86_400_000_000 / records.max(1);
    let (mut written, mut pending) = (0, Vec::<(AuditId, SessionFields)>::new());
    while written < records {
        let at = Timestamp(now - (records - written) * step);
        let mut put = |event, session: &SessionFields, id| {
            batch.push(Record { id, at, session: Some(session.clone()), event });
            written += 1;
        };
        if sessions.len() < 100 || dice.below(2_000) == 0 {
            let session = session(&mut dice, audit);
            put(Event::Login { policy: "application".into(), generation: 1 }, &session, audit.next_id());
            sessions.push(session);
            if sessions.len() > 200 {
                sessions.remove(0);
            }
        }
        let session = sessions[dice.below(sessions.len() as u64) as usize].clone();
        let statement = statement(&mut dice, at.0);
        let (id, denied) = (audit.next_id(), statement.verdict == Verdict::Deny);
        put(Event::Statement(statement), &session, id);
        if !denied {
            pending.push((id, session));
        }
        if pending.len() > 20 {
            let (of, session) = pending.swap_remove(dice.below(20) as usize);
            let slow = if dice.below(1000) == 0 { 2_000_000 } else { 3_000 };
            let outcome = Outcome {
                of,
                tag: Tag::new(b"SELECT 1"),
                rows: dice.below(50),
                bytes: dice.below(20_000),
                duration_us: dice.below(slow),
                sqlstate: (dice.below(500) == 0).then_some(SqlState(*b"23505")),
                state: TransactionState::Committed,
            };
            put(Event::Outcome(outcome), &session, audit.next_id());
        }
        if batch.len() >= 512 {
            audit.accept(&mut batch).unwrap();
        }
    }
    audit.accept(&mut batch).unwrap();
}

const FILTERS: &[&str] = &[
    "",
    "verdict:deny",
    "user:user7 verdict:deny effect:ddl.destructive table:orders",
    "user:user31 app:studio env:staging",
    "user:nobody",
    "user:*9 -env:production duration>1s",
    "table:invoices effect:write error:23505",
    "duration>1900ms",
    "rows>1000",
    "bytes:19kB..20kB user:user3",
    "since:2d user:user3",
    "since:25d before:24d verdict:deny",
    "error:*",
    "fingerprint:0000000000000bb8",
    "ip:10.0.3.77",
    "event:login user:user12",
    "event:outcome error:23505",
    "tx:9 user:user1 table:stock",
    "refunds",
    "\"note = 'n777'\"",
    "\"id = 4711\"",
    "4711",
    "drop table -user:user1",
    "nowhere-to-be-found",
    "\"where id = where\"",
    "\"c39, c40 from refunds\"",
    "c1 verdict:deny",
    "x",
];

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// This thread's processor time so far: what a question takes on a machine that has nothing else to do.
fn processor() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(stat.split(' ').next().unwrap().parse().unwrap())
}

/// The medians of the time that passes and of the processor's.
fn timed(repeat: usize, mut ask: impl FnMut()) -> (Duration, Duration) {
    let times: Vec<(Duration, Duration)> = (0..repeat)
        .map(|_| {
            let (began, used) = (Instant::now(), processor());
            ask();
            (began.elapsed(), processor() - used)
        })
        .collect();
    (median(times.iter().map(|time| time.0).collect()), median(times.iter().map(|time| time.1).collect()))
}

fn memory_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Processor time of this process's thread of that name, in seconds.
fn thread_seconds(name: &str) -> f64 {
    let mut ticks = 0u64;
    for task in std::fs::read_dir("/proc/self/task").unwrap().flatten() {
        let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        let Some((head, rest)) = stat.rsplit_once(") ") else { continue };
        if head.ends_with(&format!("({name}")) {
            let fields: Vec<&str> = rest.split(' ').collect();
            ticks += fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        }
    }
    ticks as f64 / 100.0
}

fn bytes_of(path: &Path) -> u64 {
    std::fs::read_dir(path).map_or(0, |entries| {
        entries.flatten().filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).sum()
    })
}

fn ask(index: &Index, repeat: usize) -> (Duration, Duration) {
    println!("| question | a page: passed | processor | the count: passed | processor | found |");
    println!("| --- | --- | --- | --- | --- | --- |");
    let mut slowest = (Duration::ZERO, Duration::ZERO);
    for text in FILTERS {
        let filter = Filter::parse(text, &Zoned::now()).unwrap();
        let page = timed(repeat, || drop(index.search(&filter, PageRequest::newest(50)).unwrap()));
        let mut found = 0;
        let count = timed(repeat, || found = index.count(&filter).unwrap());
        println!("| `{text}` | {:.1?} | {:.1?} | {:.1?} | {:.1?} | {found} |", page.0, page.1, count.0, count.1);
        slowest = (slowest.0.max(page.0), slowest.1.max(page.1));
    }
    let week = Filter::parse("since:7d", &Zoned::now()).unwrap();
    let month = Filter::default();
    let fields = [Field::User, Field::Application, Field::Environment, Field::Effect, Field::Verdict, Field::Object];
    let others: [(&str, &dyn Fn()); 8] = [
        ("facets of six fields, all", &|| drop(index.facets(&month, &fields, 10).unwrap())),
        ("facets of six fields, a week", &|| drop(index.facets(&week, &fields, 10).unwrap())),
        ("timeline by the hour, all", &|| drop(index.timeline(&month, 3_600_000_000).unwrap())),
        ("timeline by the hour, a week", &|| drop(index.timeline(&week, 3_600_000_000).unwrap())),
        ("slowest, a week", &|| drop(index.ranked(&week, Rank::Duration, 10).unwrap())),
        ("largest, all", &|| drop(index.ranked(&month, Rank::Bytes, 10).unwrap())),
        ("new fingerprints", &|| drop(index.new_fingerprints(None, Timestamp(0), 20).unwrap())),
        ("top tables refused", &|| {
            let denied = Filter::parse("verdict:deny", &Zoned::now()).unwrap();
            drop(index.top(&denied, Field::Object, 10).unwrap());
        }),
    ];
    for (name, question) in others {
        let (passed, used) = timed(repeat, question);
        println!("| {name} | {passed:.1?} | {used:.1?} | | | |");
    }
    slowest
}

fn main() {
    let wishes = wishes();
    let directory = wishes.directory.join("audit");
    let fresh = !directory.exists();
    if fresh {
        std::fs::create_dir_all(&wishes.directory).unwrap();
        let audit = Audit::open(AuditSettings::new(&directory)).unwrap();
        let began = Instant::now();
        generate(&audit, wishes.records);
        audit.close("bench").unwrap();
        println!("{} records written in {:.1?}", wishes.records, began.elapsed());
    }
    let began = Instant::now();
    let index = Index::open(&directory).unwrap();
    let mut most = 0;
    let through = loop {
        std::thread::sleep(Duration::from_millis(100));
        most = most.max(memory_kb());
        let progress = index.progress();
        if !progress.building {
            break progress.through;
        }
    };
    println!(
        "{through} records indexed in {:.1?} ({:.1} s of processor time), memory {most} kB at most; segments {} MB, index {} MB",
        began.elapsed(),
        thread_seconds("audit-index"),
        bytes_of(&directory) >> 20,
        (bytes_of(&wishes.directory)) >> 20,
    );
    let slowest = ask(&index, wishes.repeat);
    println!("slowest page: {:.1?}, {:.1?} of processor time; memory {} kB", slowest.0, slowest.1, memory_kb());
    drop(index);
    if !wishes.keep && fresh {
        std::fs::remove_dir_all(&wishes.directory).unwrap();
    }
}
