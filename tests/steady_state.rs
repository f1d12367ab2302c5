//! What causes the time of a query, counted: reads and writes on each side, writes to the audit log, allocations.
//!
//! A session runs between two sockets; its client and its server are threads that count what they get, without allocating.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use pgwarden::audit::{Audit, AuditSettings, SessionFields, SessionIdentity};
use pgwarden::config;
use pgwarden::decision::Door;
use pgwarden::net::control::{Control, Identity};
use pgwarden::net::driver::{Driver, MessageLimits, Parts};
use pgwarden::net::records::{AuditIds, Recorder};
use pgwarden::net::stream::Stream;
use pgwarden::net::timers::Timers;
use pgwarden::session::{Limits, Session, Settings};

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

/// Queries before counting, and counted ones.
const WARM: u64 = 200;
const COUNTED: u64 = 1000;

const CONFIG: &str = "
[databases.shop]
environment = \"production\"
direct = \"postgres://u:p@127.0.0.1/shop\"
[environments.production.roles]
app = { policy = \"application\", endpoint = \"direct\" }
reader = { policy = \"read-only\", endpoint = \"direct\" }
[[users]]
name = \"app\"
verifier = \"VERIFIER\"
roles = { production = \"app\" }
[[users]]
name = \"reader\"
verifier = \"VERIFIER\"
roles = { production = \"reader\" }
";

/// What one query cost, on average.
#[derive(Debug)]
struct Cost {
    server_reads: f64,
    client_reads: f64,
    audit_writes: f64,
    allocations: f64,
}

/// Bytes of a query. Their last digits change with every turn where `digits` says so.
struct Query {
    bytes: Vec<u8>,
    digits: Option<usize>,
}

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap();
    [&[tag], length.to_be_bytes().as_slice(), body].concat()
}

fn simple(text: &str) -> Vec<u8> {
    message(b'Q', &[text.as_bytes(), b"\0"].concat())
}

fn bind_execute(statement: &str) -> Vec<u8> {
    let bind = [b"\0", statement.as_bytes(), b"\0\0\0\0\x01\0\0\0\x017\0\0"].concat();
    [message(b'B', &bind), message(b'D', b"P\0"), message(b'E', b"\0\0\0\0\0"), message(b'S', b"")].concat()
}

fn parse(statement: &str) -> Vec<u8> {
    let text = "SELECT abalance FROM pgbench_accounts WHERE aid = $1";
    message(b'P', &[statement.as_bytes(), b"\0", text.as_bytes(), b"\0\0\0"].concat())
}

/// Answers each batch as Postgres does, without an allocation, and counts the reads it took.
fn serve(mut socket: UnixStream) -> u64 {
    let rows = [
        message(b'T', b"\0\x01abalance\0\0\0\0\0\0\0\0\0\0\x17\0\x04\xff\xff\xff\xff\0\0"),
        message(b'D', b"\0\x01\0\0\0\x010"),
    ]
    .concat();
    let complete = message(b'C', b"SELECT 1\0");
    let ready = message(b'Z', b"I");
    let (parsed, bound, closed) = (message(b'1', b""), message(b'2', b""), message(b'3', b""));
    let mut answer: Vec<u8> = Vec::with_capacity(4096);
    let mut buffer = [0u8; 4096];
    let (mut filled, mut reads) = (0, 0);
    loop {
        match socket.read(&mut buffer[filled..]) {
            Ok(0) | Err(_) => return reads,
            Ok(count) => filled += count,
        }
        reads += 1;
        let mut at = 0;
        while filled - at >= 5 {
            let length = u32::from_be_bytes(buffer[at + 1..at + 5].try_into().unwrap()) as usize + 1;
            if filled - at < length {
                break;
            }
            match buffer[at] {
                b'Q' => [&rows, &complete, &ready].iter().for_each(|part| answer.extend_from_slice(part)),
                b'P' => answer.extend_from_slice(&parsed),
                b'B' => answer.extend_from_slice(&bound),
                b'C' => answer.extend_from_slice(&closed),
                b'D' => answer.extend_from_slice(&rows[..rows.len() - 12]),
                b'E' => [&rows[rows.len() - 12..], &complete].iter().for_each(|part| answer.extend_from_slice(part)),
                b'S' => answer.extend_from_slice(&ready),
                b'X' => return reads,
                other => panic!("the session sent {}", char::from(other)),
            }
            at += length;
        }
        buffer.copy_within(at..filled, 0);
        filled -= at;
        socket.write_all(&answer).unwrap();
        answer.clear();
    }
}

/// Sends the query so many times, waiting for each answer; gives the reads that the answers took.
fn ask(socket: &mut UnixStream, query: &mut Query, times: u64, from: u64) -> u64 {
    let mut buffer = [0u8; 4096];
    let mut reads = 0;
    for turn in from..from + times {
        if let Some(digits) = query.digits {
            let mut rest = turn;
            for slot in query.bytes[digits..digits + 6].iter_mut().rev() {
                *slot = b'0' + u8::try_from(rest % 10).unwrap();
                rest /= 10;
            }
        }
        socket.write_all(&query.bytes).unwrap();
        loop {
            let count = socket.read(&mut buffer).unwrap();
            assert!(count > 0, "the session ended");
            reads += 1;
            if buffer[..count].ends_with(b"Z\0\0\0\x05I") {
                break;
            }
        }
    }
    reads
}

fn driver(audit: &Audit, user: &str, client: UnixStream, server: UnixStream) -> Driver {
    let verifier = postgres_protocol::password::scram_sha_256(b"p");
    let config = config::parse(&CONFIG.replace("VERIFIER", &verifier), Path::new("pgwarden.toml"), &|_| None).unwrap();
    let door = Arc::new(Door::new(Arc::new(config)));
    let scope = door.admit(user, "shop").unwrap().scope;
    let control = Arc::new(Control::new(Identity {
        session: Arc::from("S"),
        user: user.to_owned(),
        role: user.to_owned(),
        environment: "production".to_owned(),
        database: "shop".to_owned(),
        endpoint: "direct",
        client: "127.0.0.1:1".parse().unwrap(),
        application: String::new(),
    }));
    let settings = Settings {
        ids: Arc::new(AuditIds(audit.clone())),
        pooled: false,
        transaction_pooler: false,
        limits: Limits::default(),
    };
    let stream = |socket: UnixStream| {
        socket.set_nonblocking(true).unwrap();
        Stream::Unix(tokio::net::UnixStream::from_std(socket).unwrap())
    };
    Driver::new(Parts {
        client: (stream(client), BytesMut::new()),
        server: (stream(server), BytesMut::new()),
        session: Session::new(settings, scope.policy().read_only),
        door,
        user: user.to_owned(),
        database: "shop".to_owned(),
        limits: MessageLimits { statement_bytes: 1 << 20, message_bytes: 1 << 20 },
        recorder: Recorder::new(
            audit.desk(),
            Arc::clone(&control),
            SessionFields::new(&SessionIdentity { session: "S", user, ..Default::default() }),
            true,
        ),
        timers: Timers::new(&scope.policy().limits, Instant::now()),
        watch: None,
        control,
        scope,
    })
}

/// Runs a session with these queries; `first` is sent once before.
fn cost(user: &str, first: &[u8], mut query: Query) -> Cost {
    let folder = tempfile::tempdir().unwrap();
    let audit = Audit::open(AuditSettings::new(folder.path().join("audit"))).unwrap();
    let (mut client, ours) = UnixStream::pair().unwrap();
    let (theirs, server) = UnixStream::pair().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let driver = runtime.block_on(async { driver(&audit, user, ours, theirs) });
    let session = std::thread::spawn(move || runtime.block_on(driver.run()));
    let server = std::thread::spawn(move || serve(server));
    let mut once = Query { bytes: first.to_vec(), digits: None };
    if !first.is_empty() {
        ask(&mut client, &mut once, 1, 0);
    }
    ask(&mut client, &mut query, WARM, 0);
    let writes = audit.health().writes;
    let blocks = dhat::HeapStats::get().total_blocks;
    let client_reads = ask(&mut client, &mut query, COUNTED, WARM);
    let allocations = dhat::HeapStats::get().total_blocks - blocks;
    let writes = audit.health().writes - writes;
    client.write_all(&message(b'X', b"")).unwrap();
    session.join().unwrap();
    let server_reads = server.join().unwrap();
    // The last one is the goodbye.
    let before = WARM + u64::from(!first.is_empty()) + 1;
    let per_query = |count: u64| count as f64 / COUNTED as f64;
    Cost {
        server_reads: per_query(server_reads - before),
        client_reads: per_query(client_reads),
        audit_writes: per_query(writes),
        allocations: per_query(allocations),
    }
}

/// The counts of every way to ask, in one test: the allocator counts for the whole program.
#[test]
fn a_query_costs_no_more_than_it_must() {
    let _profiler = dhat::Profiler::builder().testing().build();
    let text = "SELECT abalance FROM pgbench_accounts WHERE aid = 123456;";
    let digits = 5 + text.find("123456").unwrap();
    let sync = message(b'S', b"");
    // Who asks, how, what is sent once, what is counted, most allocations.
    let rows = [
        ("app", "simple, the same text", Vec::new(), Query { bytes: simple(text), digits: None }, 2.0),
        ("app", "simple, ever-new literals", Vec::new(), Query { bytes: simple(text), digits: Some(digits) }, 7.0),
        ("app", "prepared", [parse("s"), sync].concat(), Query { bytes: bind_execute("s"), digits: None }, 4.0),
        ("app", "extended", Vec::new(), Query { bytes: [parse(""), bind_execute("")].concat(), digits: None }, 6.0),
        ("reader", "simple, read-only", Vec::new(), Query { bytes: simple(text), digits: None }, 3.0),
    ];
    let rows = rows.map(|(user, way, first, query, allocations)| (way, cost(user, &first, query), allocations));
    for (way, cost, allocations) in rows {
        println!("{way}: {cost:?}");
        // One write to the server and one to the client, save that the server may be quicker than its own second write.
        assert!(cost.server_reads <= 1.0, "{way}: {cost:?}");
        assert!(cost.client_reads <= 1.0, "{way}: {cost:?}");
        // The flusher writes every 50 ms on its own.
        assert!(cost.audit_writes <= 1.2, "{way}: {cost:?}");
        // The log's own threads allocate once in a while.
        assert!(cost.allocations <= allocations + 0.1, "{way}: {cost:?}");
    }
}
