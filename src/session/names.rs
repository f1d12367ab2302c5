//! The statements and portals that this session made. Nothing else exists for it, whatever the server still holds.
//!
//! SQL PREPARE and protocol Parse share one name space on the server, and so do SQL cursors and protocol portals
//! (`src/backend/commands/prepare.c`, `src/backend/utils/mmgr/portalmem.c`); so they do here.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use crate::decision::Judgement;

use super::parameters::{Parameters, Types};

/// Bytes of a name that the server looks at (`NAMEDATALEN - 1`): longer ones that begin alike are one.
const NAME_BYTES: usize = 63;

/// A prepared statement.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// How its text was judged.
    pub judgement: Arc<Judgement>,
    /// The Parse message's body, for preparing it again behind a pooler; `None` when SQL PREPARE made it.
    pub parse: Option<Bytes>,
    /// The stretch of one server connection in which it is known to exist there.
    pub epoch: u64,
    /// The types of its parameters, where they will be recorded.
    pub types: Option<Arc<Types>>,
}

impl Prepared {
    fn bytes(&self) -> usize {
        self.parse.as_ref().map_or(0, Bytes::len)
    }
}

/// A portal or cursor.
#[derive(Clone, Debug)]
pub struct Portal {
    /// How the text behind it was judged.
    pub judgement: Arc<Judgement>,
    /// WITH HOLD: outlives its transaction.
    pub hold: bool,
    /// The stretch of one server connection in which it is known to exist there.
    pub epoch: u64,
    /// How many batches had been sent when it was made; it dies with the transaction of the next.
    pub made_at: u64,
    /// What is recorded of the parameters it was bound with.
    pub parameters: Option<Arc<Parameters>>,
    /// What it gave before it was suspended.
    pub given: Given,
}

/// Rows and bytes of a portal that is read in pieces.
#[derive(Debug, Default)]
pub struct Given(AtomicU64, AtomicU64);

impl Given {
    /// Rows and bytes so far.
    pub fn so_far(&self) -> (u64, u64) {
        (self.0.load(Ordering::Relaxed), self.1.load(Ordering::Relaxed))
    }

    /// So many more.
    pub fn add(&self, rows: u64, bytes: u64) {
        self.0.fetch_add(rows, Ordering::Relaxed);
        self.1.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Clone for Given {
    fn clone(&self) -> Given {
        let (rows, bytes) = self.so_far();
        Given(rows.into(), bytes.into())
    }
}

/// A change to be taken back when the server did not do what was asked.
#[derive(Debug)]
pub enum Undo {
    /// Put this back as the statement of that name (or none).
    Statement(Bytes, Option<Arc<Prepared>>),
    /// Put this back as the portal of that name (or none).
    Portal(Bytes, Option<Arc<Portal>>),
}

/// Which name a change is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// A statement's.
    Statement(Bytes),
    /// A portal's.
    Portal(Bytes),
}

impl Undo {
    /// The name that it puts back.
    pub fn key(&self) -> Key {
        match self {
            Undo::Statement(name, _) => Key::Statement(name.clone()),
            Undo::Portal(name, _) => Key::Portal(name.clone()),
        }
    }
}

/// Both name spaces.
#[derive(Debug, Default)]
pub struct Names {
    statements: HashMap<Bytes, Arc<Prepared>, foldhash::fast::RandomState>,
    portals: HashMap<Bytes, Arc<Portal>, foldhash::fast::RandomState>,
    statement_bytes: usize,
}

impl Names {
    /// The statement of that name, if this session made it.
    pub fn statement(&self, name: &[u8]) -> Option<&Arc<Prepared>> {
        self.statements.get(known(name))
    }

    /// The portal of that name, if this session made it.
    pub fn portal(&self, name: &[u8]) -> Option<&Arc<Portal>> {
        self.portals.get(known(name))
    }

    /// How many statements there are.
    pub fn statement_count(&self) -> usize {
        self.statements.len()
    }

    /// Bytes that prepared statements hold on to.
    pub fn statement_bytes(&self) -> usize {
        self.statement_bytes
    }

    /// How many portals there are.
    pub fn portal_count(&self) -> usize {
        self.portals.len()
    }

    /// Sets or removes a statement; gives what takes it back.
    pub fn put_statement(&mut self, mut name: Bytes, statement: Option<Arc<Prepared>>) -> Undo {
        name.truncate(NAME_BYTES);
        self.statement_bytes += statement.as_ref().map_or(0, |new| new.bytes());
        let old = match statement {
            Some(new) => self.statements.insert(name.clone(), new),
            None => self.statements.remove(&name),
        };
        self.statement_bytes -= old.as_ref().map_or(0, |old| old.bytes());
        Undo::Statement(name, old)
    }

    /// Sets or removes a portal; gives what takes it back.
    pub fn put_portal(&mut self, mut name: Bytes, portal: Option<Arc<Portal>>) -> Undo {
        name.truncate(NAME_BYTES);
        let old = match portal {
            Some(new) => self.portals.insert(name.clone(), new),
            None => self.portals.remove(&name),
        };
        Undo::Portal(name, old)
    }

    /// Takes one change back.
    pub fn undo(&mut self, undo: Undo) {
        match undo {
            Undo::Statement(name, old) => drop(self.put_statement(name, old)),
            Undo::Portal(name, old) => drop(self.put_portal(name, old)),
        }
    }

    /// Removes every statement that has a name (`DropAllPreparedStatements` knows no other), giving what takes it back.
    pub fn clear_statements(&mut self) -> Vec<Undo> {
        let names: Vec<Bytes> = self.statements.keys().filter(|name| !name.is_empty()).cloned().collect();
        names.into_iter().map(|name| self.put_statement(name, None)).collect()
    }

    /// Removes every portal, giving what takes it back.
    pub fn clear_portals(&mut self) -> Vec<Undo> {
        let names: Vec<Bytes> = self.portals.keys().cloned().collect();
        names.into_iter().map(|name| self.put_portal(name, None)).collect()
    }

    /// The transaction of the `batches`-th batch ended: the portals made up to it are gone, save those WITH HOLD.
    pub fn end_transaction(&mut self, batches: u64) {
        if !self.portals.is_empty() {
            self.portals.retain(|_, portal| portal.hold || portal.made_at >= batches);
        }
    }

    /// Replaces the judgement of everything that was judged by the same text under another scope.
    pub fn rejudged(&mut self, fresh: &Arc<Judgement>) {
        let same = |old: &Arc<Judgement>| old.stamp != fresh.stamp && old.text == fresh.text;
        for prepared in self.statements.values_mut().filter(|prepared| same(&prepared.judgement)) {
            Arc::make_mut(prepared).judgement = Arc::clone(fresh);
        }
        for portal in self.portals.values_mut().filter(|portal| same(&portal.judgement)) {
            Arc::make_mut(portal).judgement = Arc::clone(fresh);
        }
    }
}

fn known(name: &[u8]) -> &[u8] {
    name.get(..NAME_BYTES).unwrap_or(name)
}
