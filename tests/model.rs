//! Random conversations against a model of the server (`tests/support/model.rs`).
//!
//! Safety: whatever the client sends in whatever order, no write happens in a held session, also when statements are
//! cancelled at any moment. Comfort: the client sees exactly what it would see without the session in between. Pooled: each
//! transaction on any of several server connections, on which others left statements, looks like one of the client's own.
//!
//! `PGWARDEN_GARBAGE` is how many conversations of each kind there are.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/dice.rs"]
mod dice;
#[path = "support/model.rs"]
mod model;
#[path = "support/stage.rs"]
mod stage;
#[path = "support/talk.rs"]
mod talk;

use dice::Dice;
use model::Model;
use stage::Stage;
use talk::{Side, bytes_of, said};

const CONVERSATIONS: u64 = 1_500;

fn conversations() -> u64 {
    std::env::var("PGWARDEN_GARBAGE").ok().and_then(|count| count.parse().ok()).unwrap_or(CONVERSATIONS)
}

/// What every client says.
const ORDINARY: &[&str] = &[
    "Q select 1",
    "Q select 1; select 1",
    "Q begin",
    "Q commit",
    "Q rollback",
    "Q begin; select 1",
    "Q begin; select 1; commit",
    "Q select 1; begin; select 1; commit",
    "Q commit; select 1",
    "Q begin; commit; begin",
    "Q select missing",
    "Q select 1/0",
    "Q select 1; select 1/0",
    "Q begin; select 1/0; commit; select 1",
    "Q delete from t",
    "Q begin; delete from t; commit",
    "Q commit and chain",
    "Q rollback and chain",
    "Q select 1; commit; delete from t",
    "Q",
    "Q ;",
    "P - select 1",
    "P - select two",
    "P a select 1",
    "P a select two",
    "P b delete from t",
    "P - delete from t",
    "P - select missing",
    "P a select missing",
    "P - select 1/0",
    "P - begin",
    "P c commit",
    "P - commit",
    "P - rollback",
    "P -",
    "B - -",
    "B - -",
    "B - a",
    "B p a",
    "B p -",
    "B - b",
    "B q b",
    "B - c",
    "E -",
    "E -",
    "E p",
    "E q",
    "E - 1",
    "E p 1",
    "D S -",
    "D S a",
    "D P -",
    "D P p",
    "C S a",
    "C S b",
    "C P p",
    "H",
    "S",
    "S",
    "S",
    "S",
];

/// What only an attacker says, or what a held session shows otherwise than a plain one.
const NASTY: &[&str] = &[
    "Q set transaction read write",
    "Q set transaction read write; delete from t",
    "Q set local x = 1; delete from t",
    "Q begin read write",
    "Q begin; set transaction read write; delete from t; commit",
    "Q savepoint s",
    "Q rollback to s",
    "Q savepoint s; delete from t",
    "Q rollback to s; delete from t; commit",
    "Q begin; savepoint s; select 1/0",
    "Q commit and chain; delete from t",
    "Q begin; commit and chain; delete from t; commit",
    "Q select 1; commit and chain; delete from t",
    "Q rollback; set transaction read write; delete from t",
    "Q prepare x as delete from t",
    "Q execute x",
    "Q deallocate x",
    "Q execute b",
    "Q commit; execute b",
    "Q deallocate all",
    "P - set transaction read write",
    "P w set transaction read write",
    "P - set local x = 1",
    "P - savepoint s",
    "P - rollback to s",
    "P - commit and chain",
    "P - rollback and chain",
    "P r rollback",
    "P - execute b",
    "P - execute x",
    "B w w",
    "E w",
    "B - w",
    "B - r",
    "P pgwarden_hold delete from t",
    "B pgwarden_hold b",
    "E pgwarden_hold",
    "B - pgwarden_hold",
    "C S pgwarden_hold",
    "C P pgwarden_hold",
    "Q prepare pgwarden_hold as delete from t",
];

/// Several server connections behind a pooler, or one.
struct Servers {
    models: Vec<Model>,
    at: usize,
    pending: Vec<u8>,
}

impl Servers {
    fn new(count: usize) -> Servers {
        let mut models = vec![Model::default(); count];
        if count > 1 {
            // What others left.
            for (place, name) in ["a", "b", "c", "-", "x", "pgwarden_hold"].iter().enumerate() {
                models[place % count].statements.insert((*name).to_owned(), "delete from t".to_owned());
            }
        }
        Servers { models, at: 0, pending: Vec::new() }
    }

    /// Lets the server answer what the session wrote, one message at a time.
    fn answer(&mut self, stage: &mut Stage, dice: &mut Dice, whole: bool) {
        loop {
            self.pending.extend_from_slice(&stage.session.out.to_server.split());
            let words = said(&self.pending, Side::Client);
            let Some(word) = words.first() else { return };
            let length = bytes_of_first(&self.pending);
            self.pending.drain(..length);
            let model = &mut self.models[self.at];
            let answers = model.take(word);
            if model.status() == 'I' && answers.last().is_some_and(|last| last == "Z I") && self.models.len() > 1 {
                self.at = dice.below(self.models.len());
            }
            stage.server(&bytes_of(&answers.join(" | "), Side::Server));
            if !whole && dice.below(3) == 0 {
                return;
            }
        }
    }

    fn written(&self) -> usize {
        self.models.iter().map(|model| model.written).sum()
    }
}

fn bytes_of_first(bytes: &[u8]) -> usize {
    match pgwarden::wire::peek(bytes) {
        pgwarden::wire::Peek::Header(header) => header.message_bytes(),
        _ => panic!("half a message upstream"),
    }
}

/// Messages of one client, ending outside of everything.
fn script(dice: &mut Dice, nasty: bool) -> Vec<&'static str> {
    let mut script = Vec::new();
    for _ in 0..2 + dice.below(30) {
        script.push(if nasty && dice.below(3) == 0 { dice.pick(NASTY) } else { dice.pick(ORDINARY) });
    }
    script
}

/// The script with a Sync before each Query in an open batch (the server would skip the Query after an error, and nobody
/// could tell how many answers there are to be), ending outside of everything.
fn synced<'a>(words: &[&'a str]) -> Vec<&'a str> {
    let mut found = Vec::new();
    let mut open = false;
    for word in words.iter().chain(&["Q rollback", "Q rollback", "Q select 1"]) {
        if word.starts_with('Q') && open {
            found.push("S");
        }
        open = !word.starts_with(['Q', 'S']);
        found.push(*word);
    }
    found
}

/// Plays a script through a session; gives what the client saw.
fn through(words: &[&str], options: &str, servers: &mut Servers, dice: &mut Dice) -> Result<Vec<String>, String> {
    let mut stage = Stage::new(options);
    let mut seen = Vec::new();
    for word in words {
        stage.client(&bytes_of(word, Side::Client));
        if dice.below(2) == 0 {
            servers.answer(&mut stage, dice, false);
        }
        seen.extend(said(&stage.session.out.to_client.split(), Side::Server));
    }
    servers.answer(&mut stage, dice, true);
    seen.extend(said(&stage.session.out.to_client.split(), Side::Server));
    match stage.fault {
        Some(fault) => Err(fault),
        None if !stage.waiting.is_empty() => Err(format!("{} messages wait for ever", stage.waiting.len())),
        None if stage.session.in_flight() > 0 => Err(format!("{} answers never came", stage.session.in_flight())),
        None => Ok(seen),
    }
}

/// The shortest part of a failing script that still fails.
fn shortest<'a>(words: &[&'a str], fails: impl Fn(&[&str]) -> bool) -> Vec<&'a str> {
    let mut words = words.to_vec();
    let mut at = 0;
    while at < words.len() {
        let mut fewer = words.clone();
        fewer.remove(at);
        if fails(&fewer) {
            words = fewer;
            at = 0;
        } else {
            at += 1;
        }
    }
    words
}

/// Plays a script straight to a model.
fn straight(words: &[&str], mut model: Model) -> Vec<String> {
    words.iter().flat_map(|word| model.take(word)).collect()
}

/// Tries many scripts; a failing one is told as short as it gets.
fn all_pass(nasty: bool, check: impl Fn(&[&str], u64) -> Result<(), String>) {
    for seed in 0..conversations() {
        let words = script(&mut Dice(seed), nasty);
        let check = |words: &[&str]| check(&synced(words), seed);
        if check(&words).is_err() {
            let words = shortest(&words, |words| check(words).is_err());
            panic!("seed {seed}: {}\n{}", synced(&words).join(" | "), check(&words).unwrap_err());
        }
    }
}

#[test]
fn nothing_is_written_through_a_held_session() {
    for (options, count) in [("held direct", 1), ("held pooled", 3)] {
        all_pass(true, |words, seed| {
            let mut dice = Dice(!seed);
            let mut servers = Servers::new(count);
            if dice.below(3) > 0 {
                let cancelled = dice.below(20);
                servers.models.iter_mut().for_each(|model| model.cancel_in = Some(cancelled));
            }
            let seen = through(words, options, &mut servers, &mut dice).map_err(|why| format!("{options}: {why}"))?;
            if servers.written() > 0 {
                return Err(format!("{options}: {} writes: {}", servers.written(), seen.join(" | ")));
            }
            if seen.last().is_none_or(|last| last != "Z I") {
                Err(format!("{options}: ends with {:?}", seen.last()))
            } else {
                Ok(())
            }
        });
    }
}

/// A held session's client sees what it would see on a server on which it may not write.
#[test]
fn a_held_session_looks_like_none() {
    for (options, count) in [("held direct", 1), ("held pooled", 3)] {
        all_pass(false, |words, seed| {
            let mut model = Model::default();
            model.deny_writes = true;
            compare(words, seed, options, count, model)
        });
    }
}

/// So does one that is not held, also behind a pooler that gives it another connection each time.
#[test]
fn a_plain_session_looks_like_none() {
    for (options, count) in [("all direct", 1), ("all pooled", 3)] {
        all_pass(false, |words, seed| compare(words, seed, options, count, Model::default()));
    }
}

fn compare(words: &[&str], seed: u64, options: &str, count: usize, model: Model) -> Result<(), String> {
    let unsure = words.iter().any(|word| word.starts_with('P') && word.ends_with("missing"));
    if unsure && count > 1 {
        // Behind a pooler the session takes it that a Parse in flight succeeds: it says itself that a name is taken, and
        // prepares again what another batch uses.
        return Ok(());
    }
    let wanted = straight(words, model);
    let seen = through(words, options, &mut Servers::new(count), &mut Dice(!seed));
    let seen = seen.map_err(|why| format!("{options}: {why}"))?;
    let kept = |words: &[String]| -> String {
        let words = words.iter().map(String::as_str);
        // A COMMIT inside a pipeline that the session holds in a transaction of its own meets no warning.
        let words = words.filter(|word| !word.starts_with("N 25P01"));
        // In a failed transaction a portal may be gone rather than unusable.
        let words =
            words.map(|word| if word.starts_with("E 34000") || word.starts_with("E 25P02") { "E gone" } else { word });
        words.collect::<Vec<_>>().join(" | ")
    };
    let (wanted, seen) = (kept(&wanted), kept(&seen));
    if wanted == seen { Ok(()) } else { Err(format!("{options}\n  wanted {wanted}\n  seen   {seen}")) }
}

/// Whatever the client sends in whatever order, no transaction commits more rows than its limit, also when statements are cancelled
/// at any moment; and what stays below a limit looks as without one.
#[test]
fn nothing_over_its_limit_commits() {
    for (options, count) in [("all affected=1 direct", 1), ("all affected=1 pooled", 3)] {
        all_pass(true, |words, seed| {
            let mut dice = Dice(!seed);
            let mut servers = Servers::new(count);
            if dice.below(3) == 0 {
                let cancelled = dice.below(20);
                servers.models.iter_mut().for_each(|model| model.cancel_in = Some(cancelled));
            }
            let seen = through(words, options, &mut servers, &mut dice).map_err(|why| format!("{options}: {why}"))?;
            let most = servers.models.iter().map(|model| model.most_committed).max().unwrap();
            if most > 1 {
                return Err(format!("{options}: {most} rows in one transaction: {}", seen.join(" | ")));
            }
            match seen.last() {
                Some(last) if last == "Z I" => Ok(()),
                last => Err(format!("{options}: ends with {last:?}")),
            }
        });
    }
}

#[test]
fn a_session_below_its_limit_looks_like_none() {
    for (options, count) in [("all affected=1000 direct", 1), ("all affected=1000 pooled", 3)] {
        all_pass(false, |words, seed| compare(words, seed, options, count, Model::default()));
    }
}
