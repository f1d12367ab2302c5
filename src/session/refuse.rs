//! Refusals that look like the server's own errors.
//!
//! Outside a transaction with nothing in flight the answer is given here. Otherwise the server is made to fail in place of
//! the refused statement, by a text that no grammar reads and that carries a token; its error is replaced on the way
//! back. So the transaction status, the skip to Sync and the order of answers are the server's own.

use bytes::{Bytes, BytesMut};

use crate::decision::Refusal as Denied;
use crate::wire::backend::Status;
use crate::wire::report::Report;
use crate::wire::write;

use super::pending::{Ask, Pending, Refusal};
use super::state::{Event, Kind, Refused, Session, Skip};
use crate::decision::Judgement;
use std::sync::Arc;

/// The name that failing Parse messages carry; a text that does not parse never makes a statement.
const NAME: &[u8] = b"pgwarden_refusal";

impl Session {
    /// Refuses a judged text.
    pub(super) fn refuse_judged(&mut self, kind: Kind, judgement: Arc<Judgement>, denied: &Denied) {
        let message = denied.told(self.at_migration());
        // A function call has no text for a position to point into.
        let position = denied.position.filter(|_| kind != Kind::FunctionCall);
        let report = Report { position, ..Report::error(denied.sqlstate, message) };
        let hints = [denied.hint.clone(), self.hint_of_migration()];
        let hint = hints.into_iter().flatten().reduce(|hint, more| format!("{hint} {more}"));
        let report = Report { detail: Some(denied.detail.clone()), hint, ..report };
        self.refuse(kind, Some(judgement), report, Some(denied.rule.clone()));
    }

    /// Answers with `report` in place of running what came by `kind`, and records it.
    pub(super) fn refuse(
        &mut self,
        kind: Kind,
        judgement: Option<Arc<Judgement>>,
        mut report: Report,
        rule: Option<String>,
    ) {
        let record = self.record();
        let id = self.settings.ids.text(record);
        report.detail = match report.detail.take() {
            Some(detail) => Some(format!("{detail} Audit id: {id}.")),
            // What the server itself would have said stays as it would have said it.
            None if report.message.starts_with("pgwarden") => Some(format!("Audit id: {id}.")),
            None => None,
        };
        self.out.events.push(Event::Statement {
            record,
            kind,
            judgement,
            refused: Some(Refused { sqlstate: report.sqlstate.to_string(), message: report.message.clone(), rule }),
            transaction: self.transaction,
            parameters: None,
        });
        match kind {
            Kind::Simple | Kind::FunctionCall => self.refuse_simple(kind, &report, record),
            Kind::Parse | Kind::Bind | Kind::Execute => self.refuse_extended(&report, record),
        }
    }

    /// Whether a refusal can be answered without the server's knowledge: its transaction would not notice.
    fn answers_here(&self) -> bool {
        self.queue.is_empty() && !self.batch_open && self.status != Status::InTransaction
    }

    fn refuse_simple(&mut self, kind: Kind, report: &Report, record: u64) {
        if self.answers_here() {
            // A simple Query, failed or not, ends the unnamed statement (postgres.c, exec_simple_query).
            if kind == Kind::Simple {
                self.names.put_statement(Bytes::new(), None);
            }
            report.write(&mut self.out.to_client);
            write::ready(&mut self.out.to_client, self.status);
            return;
        }
        // So does the one that fails here.
        let undo = self.names.put_statement(Bytes::new(), None);
        self.send_failing(report, record, true);
        self.queue.end_unnamed_at_last_refusal(undo);
        self.end_of_query();
    }

    fn refuse_extended(&mut self, report: &Report, record: u64) {
        if self.answers_here() {
            report.write(&mut self.out.to_client);
            self.skip = Skip::Local;
            return;
        }
        self.batch_open = true;
        self.skip = Skip::Upstream;
        self.send_failing(report, record, false);
    }

    /// Makes the server's transaction fail, of which the client was told already.
    pub(super) fn send_failing_quietly(&mut self) {
        let record = self.records();
        self.send_failing_as(Bytes::new(), record, false);
    }

    /// Makes the server fail, and answers `report` in its place.
    pub(super) fn send_failing(&mut self, report: &Report, record: u64, simple: bool) {
        let mut response = BytesMut::new();
        report.write(&mut response);
        self.send_failing_as(response.freeze(), record, simple);
    }

    fn send_failing_as(&mut self, response: Bytes, record: u64, simple: bool) {
        let token = format!("pgwarden_refused_{}", self.settings.ids.text(record));
        // Where the server waits for COPY data, this ends it.
        self.copy_in = false;
        if simple {
            write::query(&mut self.out.to_server, token.as_bytes());
        } else {
            write::parse(&mut self.out.to_server, NAME, token.as_bytes());
        }
        self.queue.push(Pending::shown(Ask::Refusal(Box::new(Refusal {
            token: Bytes::from(token),
            response,
            ready_follows: simple,
            ready_shown: true,
        }))));
    }
}
