//! Bad input: into the pure rooms by the hundred thousand, and over sockets into a running pgwarden at every point of the
//! protocol. An error or a close; never a panic, a hang, a leak, or another session's data.
//!
//! `PGWARDEN_GARBAGE` is how many byte streams the pure tests take (a million before a release).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/dice.rs"]
mod dice;
#[path = "support/raw.rs"]
mod raw;
mod support;
#[path = "support/talk.rs"]
mod talk;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::{BufMut, BytesMut};
use dice::Dice;
use pgwarden::config;
use pgwarden::decision::{Door, Scope};
use pgwarden::session::{Need, RecordIds, Session, Settings, Taken};
use pgwarden::wire::frontend::{self, Frontend};
use pgwarden::wire::startup::{self, Version as Protocol};
use pgwarden::wire::{HEADER_BYTES, Peek, backend, peek, report, write};
use raw::Raw;
use support::{Pgwarden, Postgres, Version};
use talk::{Side, bytes_of};

const STREAMS: u64 = 100_000;

fn streams() -> u64 {
    std::env::var("PGWARDEN_GARBAGE").ok().and_then(|count| count.parse().ok()).unwrap_or(STREAMS)
}

const CLIENT: &[&str] = &[
    "Q select 1",
    "Q select 1; select 2",
    "Q begin",
    "Q commit",
    "Q rollback",
    "Q drop table t",
    "Q select 1; commit; select 2",
    "Q",
    "Q prepare p as select 1",
    "Q execute p",
    "Q deallocate all",
    "Q copy t from stdin",
    "Q copy t to stdout",
    "Q declare c cursor for select 1",
    "Q fetch c",
    "Q savepoint a",
    "Q rollback to a",
    "Q commit and chain",
    "Q discard all",
    "P - select 1",
    "P s select 1",
    "P b begin",
    "P c commit",
    "P - drop table t",
    "P w delete from t",
    "B - -",
    "B - s",
    "B p s",
    "B - b",
    "B - c",
    "B - w",
    "D S -",
    "D S s",
    "D P -",
    "D P p",
    "C S s",
    "C P p",
    "E -",
    "E p",
    "E - 1",
    "S",
    "S",
    "S",
    "H",
    "d x",
    "c",
    "f x",
    "F",
    "raw S x",
    "raw P x",
    "raw B x",
    "raw E x",
    "raw D x",
    "raw C x",
    "raw Q x",
];

const SERVER: &[&str] = &[
    "1",
    "2",
    "3",
    "n",
    "s",
    "I",
    "c",
    "t",
    "T a",
    "D 1",
    "C SELECT 1",
    "C BEGIN",
    "C COMMIT",
    "C ROLLBACK",
    "C X",
    "Z I",
    "Z I",
    "Z T",
    "Z E",
    "Z x",
    "E 42601 no",
    "E 57014 cancelled",
    "E 42601 pgwarden_refused_r1",
    "N 00000 x",
    "N 25P01 x",
    "G",
    "H",
    "d x",
    "S application_name x",
    "S client_encoding UTF8",
    "A x",
    "raw C",
    "raw S x",
    "raw E",
    "raw Z",
    "raw N x",
    "raw W",
    "raw ?",
];

#[derive(Debug, Default)]
struct Ids(AtomicU64);

impl RecordIds for Ids {
    fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn text(&self, id: u64) -> String {
        format!("r{id}")
    }
}

const CONFIGURATION: &str = "
[listen]
postgres = \"127.0.0.1:1\"
[audit]
directory = \"audit\"
[environments.production.roles]
reader = \"read-only\"
app = \"application\"
all = \"unrestricted\"
";

fn scopes() -> Vec<Arc<Scope>> {
    let config = config::parse(CONFIGURATION, Path::new("test.toml"), &|_| None).unwrap();
    let door = Door::new(Arc::new(config));
    ["reader", "app", "all"].iter().map(|role| door.scope_of("production", role).unwrap()).collect()
}

/// One message of the client into a session, as the driver gives it. Whether the session goes on.
fn give(session: &mut Session, scope: &Scope, message: &[u8]) -> bool {
    let frame = match frontend::view(message[0], &message[HEADER_BYTES..]) {
        Ok(frame) => frame,
        Err(why) => return session.malformed(message[0], why).is_ok(),
    };
    if session.stalls(&frame) {
        return true;
    }
    let mut judged = None;
    let mut need = session.need(&frame, scope.stamp());
    while !matches!(need, Need::Nothing) {
        let (Frontend::Query(text) | Frontend::Parse { text, .. }) = frame else { break };
        let judgement = match std::str::from_utf8(text) {
            Ok(text) => scope.judge(text),
            Err(_) => scope.not_utf8(text),
        };
        need = session.need_within(&judgement, scope.stamp());
        judged = Some(judgement);
    }
    matches!(session.client(&frame, message, judged), Ok(Taken::Forwarded | Taken::Dropped))
}

/// Whether all that is written is whole messages.
fn whole(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while let Peek::Header(header) = peek(rest) {
        match rest.get(header.message_bytes()..) {
            Some(tail) => rest = tail,
            None => return false,
        }
    }
    rest.is_empty()
}

#[test]
fn the_wire_reads_any_bytes() {
    let mut dice = Dice(1);
    for _ in 0..streams() {
        let bytes = dice.bytes(64);
        let _ = peek(&bytes);
        for tag in [
            b'Q',
            b'P',
            b'B',
            b'E',
            b'D',
            b'C',
            b'S',
            b'H',
            b'd',
            b'c',
            b'f',
            b'F',
            b'X',
            b'p',
            dice.bytes(1).first().copied().unwrap_or(0),
        ] {
            let _ = frontend::view(tag, &bytes);
        }
        let _ = (backend::command_tag(&bytes), backend::parameter(&bytes), backend::key_data(&bytes));
        let _ = (backend::authentication(&bytes), backend::tag_rows(&bytes), backend::Status::of(&bytes));
        let _ = (report::sqlstate(&bytes), report::is_fatal(&bytes), report::fields(&bytes).count());
        let mut out = BytesMut::new();
        report::write_shifted(&mut out, b'E', &bytes, dice.below(1 << 20) as isize - (1 << 19));
        assert!(whole(&out));
        let _ = startup::read(&bytes);
        let _ = startup::packet_bytes(&bytes, 10_000);
    }
}

#[test]
fn a_session_takes_any_messages_from_either_side() {
    let scopes = scopes();
    for seed in 0..streams() {
        let mut dice = Dice(seed);
        let scope = &scopes[dice.below(scopes.len())];
        let settings = Settings {
            ids: Arc::new(Ids::default()),
            pooled: dice.below(2) == 0,
            transaction_pooler: false,
            limits: Default::default(),
        };
        let mut session = Session::new(settings, scope.policy().read_only);
        for _ in 0..dice.below(40) {
            let goes_on = if dice.below(2) == 0 {
                give(&mut session, scope, &bytes_of(dice.pick(CLIENT), Side::Client))
            } else {
                let bytes = bytes_of(dice.pick(SERVER), Side::Server);
                session.server(&bytes).is_ok_and(|taken| taken == bytes.len())
            };
            assert!(whole(&session.out.to_server), "seed {seed}: half a message for the server");
            if !goes_on {
                break;
            }
        }
        assert!(session.in_flight() < 2_000, "seed {seed}: {} answers in flight", session.in_flight());
        session.abandon();
        assert_eq!(session.in_flight(), 0);
    }
}

#[test]
fn a_session_takes_any_bytes_from_the_server() {
    let scopes = scopes();
    for seed in 0..streams() / 2 {
        let mut dice = Dice(seed);
        let settings = Settings {
            ids: Arc::new(Ids::default()),
            pooled: false,
            transaction_pooler: false,
            limits: Default::default(),
        };
        let mut session = Session::new(settings, true);
        give(&mut session, &scopes[0], &bytes_of("Q select 1; commit; select 2", Side::Client));
        let mut bytes =
            bytes_of("1 | 2 | C BEGIN | T a | D 1 | C SELECT 1 | Z I | E 42601 x | Z E", Side::Server).to_vec();
        for _ in 0..1 + dice.below(4) {
            let at = dice.below(bytes.len());
            bytes[at] = dice.roll().to_le_bytes()[0];
        }
        let mut rest: &[u8] = &bytes;
        // In pieces, as sockets give them.
        let mut held = Vec::new();
        while !rest.is_empty() {
            let (piece, tail) = rest.split_at(1 + dice.below(rest.len()));
            held.extend_from_slice(piece);
            rest = tail;
            match session.server(&held) {
                Ok(taken) => drop(held.drain(..taken)),
                Err(_) => break,
            }
        }
    }
}

// ----- over sockets -----

const SECRET: &str = "garbage-of-the-tests";
/// How long pgwarden may take to answer or to close.
const PATIENCE: Duration = Duration::from_secs(60);

struct Running {
    pgwarden: Pgwarden,
    database: String,
}

fn running() -> Running {
    let postgres = Postgres::shared(Version::V15);
    let database = postgres.database();
    postgres.rows(&database, "create table t (a text); insert into t values ('mine')");
    let mut text = String::from(
        "[limits]\nlogin_failures = 100000\nstartup_timeout = \"2s\"\nstatement_bytes = \"64kB\"\nmessage_bytes = \"1MB\"\n\
         [environments.production.roles]\nall = \"unrestricted\"\nreader = \"read-only\"\n",
    );
    text.push_str(&support::proxy::database("garbage", &postgres.url(&database), &postgres.url(&database)));
    for role in ["all", "reader"] {
        text.push_str(&support::proxy::user(role, SECRET, &format!("production = \"{role}\"")));
    }
    Running { pgwarden: Pgwarden::start(&text), database }
}

impl Running {
    fn session(&self, role: &str) -> Raw {
        Raw::connect(self.pgwarden.port(), role, SECRET, "garbage").unwrap()
    }

    /// Sends bytes to a fresh connection and reads to its end.
    fn throw(&self, pieces: &[&[u8]]) -> Vec<u8> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.pgwarden.port())).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        for piece in pieces {
            if stream.write_all(piece).is_err() {
                break;
            }
        }
        // Half-closed: whoever waits for more sees that there is none.
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let begun = Instant::now();
        match stream.read_to_end(&mut answer) {
            Ok(_) => {}
            Err(error) => {
                assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock, "no answer and no close to {pieces:02x?}")
            }
        }
        assert!(begun.elapsed() < PATIENCE);
        answer
    }

    fn is_well(&self) {
        let mut canary = self.session("reader");
        assert_eq!(canary.value("select a from t").unwrap(), "mine");
        assert!(!self.pgwarden.log().contains("panicked"), "{}", self.pgwarden.log());
    }
}

fn startup_packet(parameters: &[(&str, &str)]) -> BytesMut {
    let mut out = BytesMut::new();
    startup::write_startup(&mut out, Protocol::V3_0, parameters.iter().copied());
    out
}

#[test]
fn garbage_over_sockets() {
    let running = running();
    before_login(&running);
    running.is_well();
    after_login(&running);
    running.is_well();
    gone_in_the_middle(&running);
    running.is_well();
    settles(&running);
    drop(running.database);
}

fn before_login(running: &Running) {
    let good = startup_packet(&[("user", "all"), ("database", "garbage")]);
    let mut packets: Vec<Vec<u8>> = vec![
        vec![],
        vec![0],
        vec![0; 4],
        vec![0; 8],
        vec![0xff; 8],
        vec![0, 0, 0, 4],
        vec![0, 0, 0, 7, 0, 3, 0],
        vec![0x7f, 0xff, 0xff, 0xff, 0, 3, 0, 0],
        vec![0x80, 0, 0, 0, 0, 3, 0, 0],
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        b"\x16\x03\x01\x02\x00\x01\x00".to_vec(),
        b"SSH-2.0-x\r\n".to_vec(),
        startup_packet(&[]).to_vec(),
        startup_packet(&[("user", "")]).to_vec(),
        startup_packet(&[("user", "all"), ("user", "reader")]).to_vec(),
        startup_packet(&[("user", "all"), ("database", &"x".repeat(20_000))]).to_vec(),
    ];
    for cut in 0..good.len() {
        packets.push(good[..cut].to_vec());
    }
    for version in [0, 1 << 16, 2 << 16, 4 << 16, (3 << 16) | 99, -1, i32::MAX] {
        let mut packet = good.to_vec();
        packet[4..8].copy_from_slice(&version.to_be_bytes());
        packets.push(packet);
    }
    let mut dice = Dice(7);
    for _ in 0..150 {
        packets.push(dice.bytes(200));
        let mut packet = good.to_vec();
        let at = dice.below(packet.len());
        packet[at] = dice.roll().to_le_bytes()[0];
        packets.push(packet);
        let body = dice.bytes(100);
        let mut framed = BytesMut::new();
        write::untagged(&mut framed, |out| out.put_slice(&body));
        packets.push(framed.to_vec());
    }
    for packet in &packets {
        running.throw(&[packet]);
    }
    // Behind requests for encryption, and in place of the password.
    let mut ssl = BytesMut::new();
    startup::write_ssl_request(&mut ssl);
    for tail in [&good[..], b"x", &[0; 8], b"\x16\x03\x01"] {
        running.throw(&[&ssl, tail]);
    }
    let mut sasl: Vec<BytesMut> = ["Q select 1", "S", "X", "p x", "p", "P - x", "c", "raw ? x"]
        .iter()
        .map(|word| bytes_of(word, Side::Client))
        .collect();
    for _ in 0..50 {
        let mut out = BytesMut::new();
        let mut data = BytesMut::from(&b"SCRAM-SHA-256\0"[..]);
        data.extend_from_slice(&dice.bytes(60));
        write::password(&mut out, &data);
        sasl.push(out);
    }
    for length in [0_i32, 3, -1, i32::MAX, 1 << 20] {
        let mut out = BytesMut::from(&b"p"[..]);
        out.put_i32(length);
        sasl.push(out);
    }
    for message in &sasl {
        let answer = running.throw(&[&good, message]);
        assert!(!answer.windows(6).any(|window| window == b"Z\0\0\0\x05I"), "logged in by {message:02x?}");
    }
}

/// Where a session stands when garbage comes.
const POINTS: &[(&str, usize)] = &[
    ("S", 1),
    ("Q begin", 1),
    ("Q begin | Q select 1/0", 2),
    ("P - select 1 | B - - | H", 0),
    ("P - select missing | H", 0),
    ("P - drop table t", 0),
    ("Q copy t from stdin", 0),
    ("P - copy t from stdin | B - - | E - | S", 0),
    ("Q copy t to stdout", 1),
];

fn bad_messages() -> Vec<Vec<u8>> {
    let mut bad: Vec<Vec<u8>> = Vec::new();
    for tag in 0..=255_u8 {
        bad.push(vec![tag, 0, 0, 0, 4]);
        bad.push(vec![tag, 0, 0, 0, 9, 0, 1, 2, 3, 4]);
    }
    for tag in *b"QPBEDCSHdcfFXp" {
        for length in [0_i32, 3, -1, i32::MIN, i32::MAX, 64 << 20] {
            let mut message = vec![tag];
            message.extend_from_slice(&length.to_be_bytes());
            message.extend_from_slice(b"rest");
            bad.push(message);
        }
    }
    let mut dice = Dice(11);
    for _ in 0..60 {
        bad.push(dice.bytes(300));
        let mut message = bytes_of(dice.pick(CLIENT), Side::Client).to_vec();
        let at = dice.below(message.len());
        message[at] = dice.roll().to_le_bytes()[0];
        bad.push(message);
    }
    bad
}

fn after_login(running: &Running) {
    let bad = bad_messages();
    for (number, (words, answers)) in POINTS.iter().enumerate() {
        // Every point gets its share, and all of them the first point.
        for message in bad.iter().skip(number).step_by(if number == 0 { 4 } else { 12 }) {
            for role in ["all", "reader"] {
                let mut session = running.session(role);
                session.patience(PATIENCE);
                session.send(&bytes_of(words, Side::Client)).unwrap();
                session.answers(*answers).unwrap();
                survive(&mut session, message);
            }
        }
    }
}

/// Either the session ends, or it answers once a CopyFail, a Sync and, for what is still missing of a message, enough bytes came.
fn survive(session: &mut Raw, message: &[u8]) {
    let mut out = BytesMut::from(message);
    if let Peek::Header(header) = peek(message)
        && header.message_bytes() > message.len()
        && header.message_bytes() < 1 << 20
    {
        out.extend_from_slice(&vec![b'x'; header.message_bytes() - message.len()]);
    }
    let complete = whole(&out);
    out.extend_from_slice(&bytes_of("f over | S | Q rollback | Q select 'survived'", Side::Client));
    if session.send(&out).is_err() {
        return;
    }
    if !complete {
        // It may wait for the rest of a message for as long as the client stays.
        session.patience(Duration::from_millis(5));
    }
    loop {
        match session.message() {
            Ok(answer) if answer.body.ends_with(b"survived") => return,
            Ok(_) => {}
            Err(error) => {
                let waits = matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut);
                assert!(!waits || !complete, "neither an answer nor a close to {message:02x?}");
                return;
            }
        }
    }
}

/// Clients that go away at any byte.
fn gone_in_the_middle(running: &Running) {
    let whole = bytes_of(
        "P - select repeat('x', 100000) from generate_series(1, 50) | B - - | E - | S | Q begin | Q copy t from stdin | d more",
        Side::Client,
    );
    for cut in (0..whole.len()).step_by(3) {
        let mut session = running.session("all");
        session.send(&whole[..cut]).unwrap();
    }
}

/// Every session ends, and memory stays where it was.
fn settles(running: &Running) {
    let open = || {
        let (_, text) = running.pgwarden.page("/metrics");
        let line = text
            .lines()
            .find(|line| line.starts_with("pgwarden_sessions ") || line.starts_with("pgwarden_sessions{"))
            .map(str::to_owned);
        line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
    };
    let begun = Instant::now();
    while open().is_some_and(|open| open > 0.0) {
        assert!(begun.elapsed() < Duration::from_secs(120), "{:?} sessions are still open", open());
        std::thread::sleep(Duration::from_millis(100));
    }
    let before = running.pgwarden.memory_kb();
    for _ in 0..200 {
        running.throw(&[&Dice(3).bytes(500)]);
        let mut session = running.session("all");
        session.send(&bytes_of("P - select 1 | B - - | raw P x", Side::Client)).unwrap();
    }
    std::thread::sleep(Duration::from_millis(300));
    let after = running.pgwarden.memory_kb();
    assert!(after < before + 32 * 1024, "memory went from {before} kB to {after} kB");
}
