//! FunctionCall, by which libpq and drivers built like it (JDBC, psycopg2, psql's `\lo_import`, `pg_dump`) work on large
//! objects: a function by its number and its arguments, without a text.
//!
//! The functions that they call are judged and recorded as the SELECT that says the same. No other function is called:
//! what a number of the database's own stands for is not known here.

use std::sync::Arc;

use crate::decision::Judgement;
use crate::wire::report::Report;

use super::client::Taken;
use super::hold::Slot;
use super::pending::{Ask, Believed, Pending, Query};
use super::state::{Kind, Session};

/// The SELECT that says what a call of this function does, for the large-object functions of
/// `src/include/catalog/pg_proc.dat`: their numbers are the same in every version of Postgres.
pub fn text_of_call(function: u32) -> Option<&'static str> {
    Some(match function {
        715 => "SELECT pg_catalog.lo_create($1)",
        952 => "SELECT pg_catalog.lo_open($1, $2)",
        953 => "SELECT pg_catalog.lo_close($1)",
        954 => "SELECT pg_catalog.loread($1, $2)",
        955 => "SELECT pg_catalog.lowrite($1, $2)",
        956 => "SELECT pg_catalog.lo_lseek($1, $2, $3)",
        957 => "SELECT pg_catalog.lo_creat($1)",
        958 => "SELECT pg_catalog.lo_tell($1)",
        964 => "SELECT pg_catalog.lo_unlink($1)",
        1004 => "SELECT pg_catalog.lo_truncate($1, $2)",
        3170 => "SELECT pg_catalog.lo_lseek64($1, $2, $3)",
        3171 => "SELECT pg_catalog.lo_tell64($1)",
        3172 => "SELECT pg_catalog.lo_truncate64($1, $2)",
        _ => return None,
    })
}

impl Session {
    /// Takes a FunctionCall; `judged` is the judgement of [`text_of_call`], where there is one.
    pub(super) fn function_call(&mut self, bytes: &[u8], judged: Option<Arc<Judgement>>) -> Taken {
        let unsupported =
            |what: &str| Report::error("0A000", format!("pgwarden: {what}")).hint("Call the function with SELECT.");
        let Some(judgement) = judged else {
            let report = unsupported("function calls by the fast-path protocol are for large objects only");
            self.refuse(Kind::FunctionCall, None, report, None);
            return Taken::Dropped;
        };
        if let Some(denied) = &judgement.refusal {
            self.refuse_judged(Kind::FunctionCall, Arc::clone(&judgement), denied);
            return Taken::Dropped;
        }
        if let Some(what) = self.takes_no_calls() {
            self.refuse(Kind::FunctionCall, Some(judgement), unsupported(what), None);
            return Taken::Dropped;
        }
        if let Some(report) = self.cannot_hold(judgement.statements.iter().map(|statement| &statement.movement)) {
            self.refuse(Kind::FunctionCall, Some(judgement), report, None);
            return Taken::Dropped;
        }
        self.number_transaction(&judgement.statements);
        let record = self.allowed(Kind::FunctionCall, &judgement);
        self.copies_ended = 0;
        // After the hold, a Sync ends the skip if that fails; the server skips the call too then.
        let held = judgement.statements.first().is_some_and(|first| self.hold(&first.movement, Slot::Named));
        self.out.to_server.extend_from_slice(bytes);
        self.queue.push(Pending {
            record: Some(record),
            writes: judgement.writes,
            ..Pending::shown(Ask::Query(Query { ready_shown: !held, function_call: true, ..Query::default() }))
        });
        self.end_of_query();
        Taken::Forwarded
    }

    /// Why no call is taken here, however it was judged.
    fn takes_no_calls(&self) -> Option<&'static str> {
        if self.guards() {
            return Some(
                "function calls by the fast-path protocol are not taken in a session limited in rows or by a lock timeout",
            );
        }
        // A transaction of the proxy's own around the call would end the client's unnamed statement, and a large object's
        // descriptor with it: nothing could be done with what was opened.
        let within = matches!(self.believed, Believed::Client { .. });
        (self.read_only && !within).then_some(
            "in a session that is held read-only, function calls by the fast-path protocol are taken within a transaction only",
        )
    }

    /// Its result came. Gives whether it is shown.
    pub(super) fn function_result(&mut self, bytes: usize) -> bool {
        self.completed += 1;
        self.wrote |= self.queue.front().is_some_and(|front| front.writes);
        self.progress.fate.completed(b"");
        let shown = self.row(bytes);
        self.ended_before_cut() && shown
    }
}

#[cfg(test)]
mod tests {
    use super::text_of_call;

    #[test]
    fn every_call_names_a_function_that_is_known() {
        let texts: Vec<&str> = (0..10_000).filter_map(text_of_call).collect();
        assert_eq!(texts.len(), 13);
        assert!(texts.iter().all(|text| text.starts_with("SELECT pg_catalog.lo") && text.ends_with(')')));
    }
}
