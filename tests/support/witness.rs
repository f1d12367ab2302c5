//! A Postgres that is watched: everything that a statement could change, told as named facts, so that two moments can be
//! compared.
//!
//! What is transactional shows by the next transaction id, and what is logged shows by the end of the WAL: the server is set so
//! that neither moves by itself (no autovacuum, no checkpoints, `wal_level = minimal`), and everything is frozen first. The rest
//! (locks, files, sequences, other backends, statistics' ages, two-phase transactions, slots) is looked at as such.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use pgwarden::wire::backend::tag;

use super::raw::{Message, Raw, described};
use super::support::{PASSWORD, Postgres, SUPERUSER, Version};

/// What is so, by name.
pub type Facts = BTreeMap<&'static str, String>;

/// Where statements run; copied from [`TEMPLATE`].
pub const DATABASE: &str = "oracle";
/// What every database of the oracle is a copy of.
const TEMPLATE: &str = "oracle_template";

const SETTINGS: [&str; 8] = [
    "wal_level=minimal",
    "max_wal_senders=0",
    "autovacuum=off",
    "checkpoint_timeout=1d",
    "log_min_messages=log",
    "log_checkpoints=off",
    "statement_timeout=2s",
    "max_locks_per_transaction=256",
];

/// The columns are [`WORLD_FACTS`]. `$own` is the process id of the session that is watched. Sessions of earlier rows end with DISCARD
/// ALL, and their processes whenever they come to it.
const WORLD: &str = "\
SELECT pg_snapshot_xmax(pg_current_snapshot()), pg_current_wal_insert_lsn(), pg_conf_load_time(),
  (SELECT string_agg(DISTINCT concat_ws(' ', locktype, database, relation, classid, objid, mode), ', ')
     FROM pg_locks WHERE pid <> pg_backend_pid() AND locktype <> 'virtualxid' AND mode NOT IN ('AccessShareLock', 'SIReadLock')),
  (SELECT string_agg(gid, ', ') FROM pg_prepared_xacts),
  (SELECT string_agg(slot_name, ', ') FROM pg_replication_slots),
  (SELECT string_agg(concat_ws(' ', pid, usename, state, query_start, query), ', ') FROM pg_stat_activity
     WHERE backend_type = 'client backend' AND pid NOT IN (pg_backend_pid(), $own) AND query <> 'DISCARD ALL'),
  (SELECT string_agg(concat_ws(' ', datname, stats_reset), ', ' ORDER BY datid) FROM pg_stat_database)
    || (SELECT string_agg(concat_ws(' ', name, stats_reset), ', ' ORDER BY name) FROM pg_stat_slru)
    || concat_ws(' ', (SELECT stats_reset FROM pg_stat_archiver), (SELECT stats_reset FROM pg_stat_bgwriter),
         (SELECT stats_reset FROM pg_stat_wal)),
  (SELECT concat_ws(' ', last_value, is_called) FROM public.seq)
    || (SELECT concat_ws(' ', last_value, is_called) FROM stage_sequence.t),
  (SELECT count(*) FROM pg_largeobject_metadata)";
const WORLD_FACTS: [&str; 10] = [
    "transactions",
    "wal",
    "configuration",
    "locks",
    "prepared transactions",
    "slots",
    "other backends",
    "statistics' ages",
    "sequences",
    "large objects",
];

const SESSION: &str = "\
SELECT (SELECT pg_catalog.string_agg(pg_catalog.concat(name, '=', setting), E'\\n' ORDER BY name) FROM pg_catalog.pg_settings),
  (SELECT pg_catalog.string_agg(pg_catalog.concat_ws(' ', name, statement), E'\\n') FROM pg_catalog.pg_prepared_statements
     WHERE from_sql),
  (SELECT pg_catalog.string_agg(pg_catalog.concat_ws(' ', name, is_holdable), E'\\n') FROM pg_catalog.pg_cursors),
  (SELECT pg_catalog.string_agg(channel, ', ') FROM pg_catalog.pg_listening_channels() AS channel),
  pg_catalog.concat_ws(' ', session_user, current_user),
  pg_catalog.pg_my_temp_schema()";
const SESSION_FACTS: [&str; 6] =
    ["settings", "prepared statements", "cursors", "channels", "identity", "temporary schema"];

/// The server, who looks at it, and who is only there.
pub struct Witness {
    postgres: Postgres,
    observer: Raw,
    _bystander: Raw,
}

impl Witness {
    /// Starts a server whose databases are made by `schema`.
    pub fn start(version: Version, schema: &str) -> Witness {
        let postgres = Postgres::start_with(version, &SETTINGS);
        postgres.rows("postgres", &format!("CREATE DATABASE {TEMPLATE}"));
        postgres.rows(TEMPLATE, schema);
        postgres.rows("postgres", &format!("CREATE DATABASE {DATABASE} TEMPLATE {TEMPLATE}"));
        postgres.rows(DATABASE, "VACUUM (FREEZE, ANALYZE)");
        let connect = || Raw::connect(postgres.port(), SUPERUSER, PASSWORD, DATABASE).unwrap();
        let (mut observer, mut bystander) = (connect(), connect());
        // With checksums the first reader of a page may log its hint bits: be the first.
        observer
            .query("SET stats_fetch_consistency = none; SET statement_timeout = 0; SET lock_timeout = '50ms'")
            .unwrap();
        bystander.query("SET statement_timeout = 0; LISTEN bystander; SELECT pg_advisory_lock(4711)").unwrap();
        let mut sleep = bytes::BytesMut::new();
        pgwarden::wire::write::query(&mut sleep, b"SELECT pg_sleep(86400)");
        bystander.send(&sleep).unwrap();
        Witness { postgres, observer, _bystander: bystander }
    }

    /// A session in the oracle's database, and its process id.
    pub fn session(&self) -> (Raw, String) {
        self.session_in(DATABASE)
    }

    fn session_in(&self, database: &str) -> (Raw, String) {
        let mut raw = Raw::connect(self.postgres.port(), SUPERUSER, PASSWORD, database).unwrap();
        let pid = raw.value("SELECT pg_backend_pid()").unwrap();
        (raw, pid)
    }

    /// A session in a new database that nobody else uses.
    pub fn session_apart(&self) -> (Raw, String) {
        self.session_in(&self.postgres.database_from(TEMPLATE))
    }

    /// Everything outside a session that it could change.
    pub fn world(&mut self, own: &str) -> Facts {
        let mut facts = facts(&mut self.observer, &WORLD.replace("$own", own), &WORLD_FACTS);
        let data = self.postgres.folder().join("data");
        facts.insert("files", files(&data));
        facts.insert("server log", self.postgres.log().len().to_string());
        facts
    }

    /// Undoes what outlives databases.
    pub fn tidy(&mut self) {
        let left =
            self.observer.value("SELECT gid FROM pg_prepared_xacts WHERE database = current_database()").unwrap();
        for name in left.lines() {
            self.observer.query(&format!("ROLLBACK PREPARED '{name}'")).unwrap();
        }
    }
}

/// What a session has: settings, statements, cursors, channels, identity.
pub fn session(raw: &mut Raw) -> Facts {
    facts(raw, SESSION, &SESSION_FACTS)
}

fn facts(raw: &mut Raw, query: &str, names: &[&'static str]) -> Facts {
    let messages = raw.query(query).unwrap();
    let row = messages.iter().find(|message| message.tag == tag::DATA_ROW);
    match row {
        Some(row) => names.iter().copied().zip(columns(row)).collect(),
        None => BTreeMap::from([("readable", error(&messages).unwrap_or_default())]),
    }
}

/// The columns of a row, as text.
pub fn columns(row: &Message) -> Vec<String> {
    let mut rest = &row.body[2..];
    let mut columns = Vec::new();
    while let Some((length, tail)) = rest.split_first_chunk::<4>() {
        let length = usize::try_from(i32::from_be_bytes(*length)).ok();
        let (value, tail) = tail.split_at(length.unwrap_or(0));
        columns.push(length.map_or("NULL".to_owned(), |_| String::from_utf8_lossy(value).into_owned()));
        rest = tail;
    }
    columns
}

/// The first error among some messages.
pub fn error(messages: &[Message]) -> Option<String> {
    messages.iter().find(|message| message.tag == tag::ERROR).map(described)
}

/// The names of facts that differ, each with both values where they are short.
pub fn differences(before: &Facts, after: &Facts) -> BTreeMap<&'static str, String> {
    let names = before.keys().chain(after.keys());
    let differ = names.filter(|name| before.get(*name) != after.get(*name));
    differ.map(|name| (*name, line_differences(before.get(name), after.get(name)))).collect()
}

/// The lines that only one of two texts has.
fn line_differences(before: Option<&String>, after: Option<&String>) -> String {
    let (before, after) = (before.map_or("", String::as_str), after.map_or("", String::as_str));
    let gone = before.lines().filter(|line| !after.lines().any(|other| other == *line)).map(|line| format!("-{line}"));
    let come = after.lines().filter(|line| !before.lines().any(|other| other == *line)).map(|line| format!("+{line}"));
    gone.chain(come).collect::<Vec<_>>().join("\n")
}

/// Names and sizes of the server's files that are not relations, WAL, or kept by the server for itself.
fn files(data: &Path) -> String {
    const OWN: [&str; 12] = [
        "base",
        "global",
        "pg_wal",
        "pg_xact",
        "pg_subtrans",
        "pg_stat",
        "pg_stat_tmp",
        "pg_multixact",
        "pg_serial",
        "pg_commit_ts",
        "pg_notify",
        "postmaster.pid",
    ];
    let mut found = Vec::new();
    let mut folders = vec![data.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let name = entry.file_name().to_string_lossy().into_owned();
            let Ok(about) = entry.metadata() else { continue };
            match about.is_dir() {
                true if !OWN.contains(&name.as_str()) => folders.push(entry.path()),
                false if !OWN.contains(&name.as_str()) => {
                    found.push(format!("{} {} {:?}", entry.path().display(), about.len(), about.modified().ok()));
                }
                true | false => {}
            }
        }
    }
    found.sort();
    found.join("\n")
}

/// Runs a text as simple Query, or by the extended protocol if it has parameters; COPY is answered with no rows. What the
/// server says, or why it said no.
pub fn run(raw: &mut Raw, sql: &str, parameters: bool) -> io::Result<Result<(), String>> {
    let messages = if parameters { with_parameters(raw, sql)? } else { simple(raw, sql)? };
    Ok(error(&messages).map_or(Ok(()), Err))
}

fn simple(raw: &mut Raw, sql: &str) -> io::Result<Vec<Message>> {
    let mut out = bytes::BytesMut::new();
    pgwarden::wire::write::query(&mut out, sql.as_bytes());
    raw.send(&out)?;
    to_ready(raw)
}

fn to_ready(raw: &mut Raw) -> io::Result<Vec<Message>> {
    let mut messages = Vec::new();
    loop {
        let message = raw.message()?;
        if message.tag == b'G' {
            raw.send(&[b'c', 0, 0, 0, 4])?;
        }
        let ready = message.tag == tag::READY;
        messages.push(message);
        if ready {
            return Ok(messages);
        }
    }
}

fn with_parameters(raw: &mut Raw, sql: &str) -> io::Result<Vec<Message>> {
    use pgwarden::wire::write;
    let mut out = bytes::BytesMut::new();
    write::parse(&mut out, b"", sql.as_bytes());
    write::message(&mut out, b'D', |out| out.extend_from_slice(b"S\0"));
    write::sync(&mut out);
    raw.send(&out)?;
    let mut messages = to_ready(raw)?;
    let Some(types) = messages.iter().find(|message| message.tag == b't') else { return Ok(messages) };
    let oids: Vec<u32> = types.body[2..].chunks(4).map(|oid| u32::from_be_bytes(oid.try_into().unwrap())).collect();
    let mut out = bytes::BytesMut::new();
    write::message(&mut out, b'B', |out| {
        out.extend_from_slice(&[0, 0, 0, 0]);
        out.extend_from_slice(&u16::try_from(oids.len()).unwrap().to_be_bytes());
        for oid in &oids {
            match plausible(*oid) {
                Some(value) => {
                    out.extend_from_slice(&i32::try_from(value.len()).unwrap().to_be_bytes());
                    out.extend_from_slice(value.as_bytes());
                }
                None => out.extend_from_slice(&(-1i32).to_be_bytes()),
            }
        }
        out.extend_from_slice(&[0, 0]);
    });
    write::execute(&mut out, b"");
    write::sync(&mut out);
    raw.send(&out)?;
    messages.extend(to_ready(raw)?);
    Ok(messages)
}

/// A value of a built-in type, by its oid (`pg_type.dat`); `None` is NULL.
fn plausible(oid: u32) -> Option<&'static str> {
    match oid {
        16 => Some("t"),
        20 | 21 | 23 | 26 | 700 | 701 | 1700 => Some("1"),
        25 | 1042 | 1043 => Some("x"),
        114 | 3802 => Some("{}"),
        1007 | 1009 => Some("{1}"),
        _ => None,
    }
}
