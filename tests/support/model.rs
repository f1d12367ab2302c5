//! A small model of a Postgres server connection: transactions, statements, portals, and whether writes meet a read-only
//! transaction. It knows a few dozen statements and answers in the protocol's words (`talk`).
//!
//! After `src/backend/tcop/postgres.c` and `src/backend/access/transam/xact.c`.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::HashMap;

/// A transaction block.
#[derive(Clone, Debug)]
struct Block {
    failed: bool,
    savepoints: Vec<(String, bool, usize)>,
}

/// One server connection.
#[derive(Clone, Debug, Default)]
pub struct Model {
    block: Option<Block>,
    /// Inside a transaction that no BEGIN began.
    implicit: bool,
    read_only: bool,
    snapshot: bool,
    skip: bool,
    pub statements: HashMap<String, String>,
    portals: HashMap<String, (String, usize)>,
    /// Writes are refused outside of read-only transactions too: what a client of a held session is to see.
    pub deny_writes: bool,
    /// Writes that happened.
    pub written: usize,
    /// Rows changed in the transaction.
    changed: usize,
    /// Most rows that one transaction changed and committed.
    pub most_committed: usize,
    /// The statement (counted from here) that is cancelled when it runs.
    pub cancel_in: Option<usize>,
}

type Failure = String;
type Answer = Result<(), Failure>;

impl Model {
    /// ReadyForQuery's status.
    pub fn status(&self) -> char {
        match &self.block {
            None => 'I',
            Some(block) if block.failed => 'E',
            Some(_) => 'T',
        }
    }

    /// Takes one message of the client and gives the answers.
    pub fn take(&mut self, word: &str) -> Vec<String> {
        let mut out = Vec::new();
        let (kind, rest) = word.split_once(' ').unwrap_or((word, ""));
        if self.skip && kind != "S" {
            return out;
        }
        let (first, second) = rest.split_once(' ').unwrap_or((rest, ""));
        let result = match kind {
            "Q" => {
                self.simple(rest, &mut out);
                return out;
            }
            "S" => {
                self.skip = false;
                self.end_implicit();
                out.push(format!("Z {}", self.status()));
                return out;
            }
            "H" => return out,
            "P" => self.parse(first, second, &mut out),
            "B" => self.bind(first, second, &mut out),
            "D" => self.describe(first, second, &mut out),
            "C" => {
                if first == "S" {
                    self.statements.remove(second);
                } else {
                    self.portals.remove(second);
                }
                out.push("3".to_owned());
                Ok(())
            }
            "E" => self.execute(first, second.parse().unwrap_or(0), &mut out),
            other => panic!("the model knows no {other}"),
        };
        if let Err(failure) = result {
            self.abort();
            self.skip = true;
            out.push(format!("E {failure}"));
        }
        out
    }

    fn failed(&self) -> bool {
        self.block.as_ref().is_some_and(|block| block.failed)
    }

    fn abort(&mut self) {
        match &mut self.block {
            Some(block) => block.failed = true,
            None => {
                self.changed = 0;
                self.end_implicit();
            }
        }
    }

    fn end_implicit(&mut self) {
        if self.block.is_none() {
            self.implicit = false;
            self.finish(true);
        }
    }

    fn finish(&mut self, commits: bool) {
        if commits {
            self.most_committed = self.most_committed.max(self.changed);
        }
        self.changed = 0;
        self.read_only = false;
        self.snapshot = false;
        self.portals.clear();
    }

    fn simple(&mut self, text: &str, out: &mut Vec<String>) {
        self.statements.remove("-");
        let statements: Vec<&str> = text.split(';').map(cleaned).filter(|part| !part.is_empty()).collect();
        if statements.is_empty() {
            out.push("I".to_owned());
        }
        let many = statements.len() > 1;
        for statement in statements {
            let result = self.analyse(statement).and_then(|()| {
                // Each statement of the text runs in the unnamed portal.
                self.portals.remove("-");
                if returns_rows(statement) {
                    out.push("T a".to_owned());
                }
                self.run(statement, many, out)
            });
            if let Err(failure) = result {
                self.abort();
                out.push(format!("E {failure}"));
                break;
            }
        }
        self.end_implicit();
        out.push(format!("Z {}", self.status()));
    }

    /// What parsing and analysing finds wrong.
    fn analyse(&self, text: &str) -> Answer {
        if text.starts_with("pgwarden_refused") {
            return Err(format!("42601 syntax error at or near \"{text}\""));
        }
        if self.failed() && !is_exit(text) {
            return Err("25P02 current transaction is aborted".to_owned());
        }
        if text.contains("missing") {
            return Err("42703 column \"missing\" does not exist".to_owned());
        }
        Ok(())
    }

    fn parse(&mut self, name: &str, text: &str, out: &mut Vec<String>) -> Answer {
        if name == "-" {
            self.statements.remove("-");
        }
        self.implicit = true;
        self.analyse(cleaned(text))?;
        if name != "-" && self.statements.contains_key(name) {
            return Err(format!("42P05 prepared statement \"{name}\" already exists"));
        }
        self.statements.insert(name.to_owned(), cleaned(text).to_owned());
        out.push("1".to_owned());
        Ok(())
    }

    fn bind(&mut self, portal: &str, statement: &str, out: &mut Vec<String>) -> Answer {
        let text = self.statements.get(statement).cloned().ok_or_else(|| no_statement(statement))?;
        self.implicit = true;
        self.analyse(&text)?;
        if portal != "-" && self.portals.contains_key(portal) {
            return Err(format!("42P03 cursor \"{portal}\" already exists"));
        }
        self.portals.insert(portal.to_owned(), (text, 0));
        out.push("2".to_owned());
        Ok(())
    }

    fn describe(&mut self, kind: &str, name: &str, out: &mut Vec<String>) -> Answer {
        let text = if kind == "S" {
            let text = self.statements.get(name).cloned().ok_or_else(|| no_statement(name))?;
            out.push("t".to_owned());
            text
        } else {
            self.portals.get(name).cloned().ok_or_else(|| no_portal("portal", name))?.0
        };
        self.implicit = true;
        if self.failed() && returns_rows(&text) {
            out.retain(|word| word != "t");
            return Err("25P02 current transaction is aborted".to_owned());
        }
        out.push(if returns_rows(&text) { "T a" } else { "n" }.to_owned());
        Ok(())
    }

    fn execute(&mut self, portal: &str, limit: usize, out: &mut Vec<String>) -> Answer {
        let (text, at) = self.portals.get(portal).cloned().ok_or_else(|| no_portal("portal", portal))?;
        self.implicit = true;
        self.analyse(&text)?;
        if text.starts_with("select two") {
            self.snapshot = true;
            let count = if limit == 0 { 2 } else { limit };
            let rows = (at..2).take(count).collect::<Vec<_>>();
            rows.iter().for_each(|row| out.push(format!("D {row}")));
            let done = at + rows.len();
            if let Some(state) = self.portals.get_mut(portal) {
                state.1 = done;
            }
            let full = limit > 0 && rows.len() == limit;
            out.push(if full { "s".to_owned() } else { format!("C SELECT {}", rows.len()) });
            return Ok(());
        }
        if text.is_empty() {
            out.push("I".to_owned());
            return Ok(());
        }
        self.run(&text, false, out)
    }

    /// Runs one statement. `many`: it stands in a text of several, which is a block of its own.
    fn run(&mut self, text: &str, many: bool, out: &mut Vec<String>) -> Answer {
        if let Some(left) = &mut self.cancel_in {
            if *left == 0 {
                self.cancel_in = None;
                return Err("57014 canceling statement due to user request".to_owned());
            }
            *left -= 1;
        }
        self.implicit = true;
        let words: Vec<&str> = text.split_whitespace().collect();
        let done = |out: &mut Vec<String>, tag: &str| out.push(format!("C {tag}"));
        match words.as_slice() {
            ["begin" | "BEGIN", mode @ ..] => {
                match &self.block {
                    Some(_) => out.push("N 25001 there is already a transaction in progress".to_owned()),
                    None => self.block = Some(Block { failed: false, savepoints: Vec::new() }),
                }
                match mode {
                    ["READ", "ONLY"] | ["read", "only"] => self.read_only = true,
                    ["read", "write"] => self.make_writable()?,
                    _ => {}
                }
                done(out, "BEGIN");
            }
            ["commit" | "COMMIT" | "rollback", "and", "chain"] => {
                let commit = words[0] != "rollback";
                let word = if commit { "COMMIT" } else { "ROLLBACK" };
                let Some(block) = self.block.take() else {
                    return Err(format!("25P01 {word} AND CHAIN can only be used in transaction blocks"));
                };
                let read_only = self.read_only && !block.failed;
                self.finish(commit && !block.failed);
                self.read_only = read_only;
                self.block = Some(Block { failed: false, savepoints: Vec::new() });
                done(out, if commit && !block.failed { "COMMIT" } else { "ROLLBACK" });
            }
            ["commit" | "COMMIT" | "rollback"] => {
                let commit = words[0] != "rollback";
                let block = self.block.take();
                if block.is_none() {
                    out.push("N 25P01 there is no transaction in progress".to_owned());
                }
                let failed = block.is_some_and(|block| block.failed);
                self.finish(commit && !failed);
                done(out, if commit && !failed { "COMMIT" } else { "ROLLBACK" });
            }
            ["savepoint", name] => {
                let (read_only, changed) = (self.read_only, self.changed);
                self.snapshot = true;
                let block = self.block.as_mut().ok_or("25P01 SAVEPOINT can only be used in transaction blocks")?;
                block.savepoints.push(((*name).to_owned(), read_only, changed));
                done(out, "SAVEPOINT");
            }
            ["rollback", "to", name] => {
                let block =
                    self.block.as_mut().ok_or("25P01 ROLLBACK TO SAVEPOINT can only be used in transaction blocks")?;
                let place = block.savepoints.iter().rposition(|(known, ..)| known == name);
                let place = place.ok_or_else(|| format!("3B001 savepoint \"{name}\" does not exist"))?;
                block.failed = false;
                block.savepoints.truncate(place + 1);
                (_, self.read_only, self.changed) = block.savepoints[place].clone();
                done(out, "ROLLBACK");
            }
            ["set", "transaction", "read", "write"] => {
                self.make_writable()?;
                if self.block.is_none() && !many {
                    out.push("N 25P01 SET TRANSACTION can only be used in transaction blocks".to_owned());
                }
                done(out, "SET");
            }
            ["set", "local", ..] => {
                if self.block.is_none() && !many {
                    out.push("N 25P01 SET LOCAL can only be used in transaction blocks".to_owned());
                }
                done(out, "SET");
            }
            ["set", ..] => done(out, "SET"),
            ["SELECT", lock] if lock.starts_with("pg_catalog.set_config('transaction_read_only','on',true)") => {
                self.read_only = true;
                self.snapshot = true;
                out.push("D on".to_owned());
                done(out, "SELECT 1");
            }
            ["SELECT", count, ..] if count.starts_with("pg_catalog.concat(") => {
                out.push(format!("D 16384:{}", self.written));
                done(out, "SELECT 1");
            }
            ["select", "1/0"] => return Err("22012 division by zero".to_owned()),
            ["select", ..] => {
                self.snapshot = true;
                out.push("D 1".to_owned());
                done(out, "SELECT 1");
            }
            ["delete", ..] => {
                self.snapshot = true;
                if self.read_only || self.deny_writes {
                    return Err("25006 cannot execute DELETE in a read-only transaction".to_owned());
                }
                self.written += 1;
                self.changed += 1;
                done(out, "DELETE 1");
            }
            ["prepare", name, "as", ..] => {
                self.snapshot = true;
                if self.statements.contains_key(*name) {
                    return Err(format!("42P05 prepared statement \"{name}\" already exists"));
                }
                self.statements.insert((*name).to_owned(), words[3..].join(" "));
                done(out, "PREPARE");
            }
            ["execute", name] => {
                let body = self.statements.get(*name).cloned().ok_or_else(|| no_statement(name))?;
                return self.run(&body, many, out);
            }
            ["deallocate", "all"] => {
                self.statements.retain(|name, _| name == "-");
                done(out, "DEALLOCATE ALL");
            }
            ["deallocate", name] => {
                self.statements.remove(*name).ok_or_else(|| no_statement(name))?;
                done(out, "DEALLOCATE");
            }
            other => panic!("the model does not run {other:?}"),
        }
        Ok(())
    }

    fn make_writable(&mut self) -> Answer {
        if self.read_only && self.snapshot {
            return Err("25001 transaction read-write mode must be set before any query".to_owned());
        }
        self.read_only = false;
        Ok(())
    }
}

fn cleaned(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace())
}

fn returns_rows(text: &str) -> bool {
    text.starts_with("select") || text.starts_with("SELECT") || text.starts_with("execute")
}

fn is_exit(text: &str) -> bool {
    let first = text.split_whitespace().next().unwrap_or_default();
    matches!(first, "commit" | "COMMIT" | "rollback")
}

fn no_statement(name: &str) -> String {
    match name {
        "-" => "26000 unnamed prepared statement does not exist".to_owned(),
        _ => format!("26000 prepared statement \"{name}\" does not exist"),
    }
}

fn no_portal(word: &str, name: &str) -> String {
    let name = if name == "-" { "" } else { name };
    format!("34000 {word} \"{name}\" does not exist")
}
