//! Limits on one statement's result and time: its server is asked to cancel it, and the client is told which limit it met.

use bytes::BytesMut;

use crate::wire::backend::Status;
use crate::wire::report::Report;

use super::guard::AffectedCap;
use super::locks::LockTimeout;
use super::pending::Ask;
use super::state::Session;

/// Limits on what one statement may return.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caps {
    /// Most rows of one statement's result.
    pub result_rows: Option<u64>,
    /// Most bytes of one statement's result.
    pub result_bytes: Option<u64>,
    /// Most rows that one transaction may change.
    pub affected: Option<AffectedCap>,
    /// Longest wait for a lock.
    pub lock_timeout: Option<LockTimeout>,
}

/// A statement that is being cancelled.
#[derive(Debug)]
pub(super) struct Cut {
    /// What the client is told in place of the server's error.
    response: BytesMut,
    /// Its rows are no longer shown, and if it ends before the cancel request arrives it still ends in an error.
    hides: bool,
    /// The client was told; nothing more is shown up to the next ReadyForQuery.
    told: bool,
    /// The statement was over before it could be cancelled: the server knows of no error.
    unknown_to_server: bool,
}

/// The SQLSTATE of a result over the limit: program_limit_exceeded.
const OVER_LIMIT: &str = "54000";

impl Session {
    /// A new policy's limits apply from the next message on.
    pub fn cap(&mut self, caps: Caps) {
        self.caps = caps;
    }

    /// The statement that runs is about to be cancelled by the caller; its client is told `report`.
    pub fn interrupt(&mut self, report: &Report) {
        self.begin_cut(report, false);
    }

    /// The client is told `report` now, and nothing more of its batch.
    pub(super) fn cut_off(&mut self, report: &Report) {
        if !self.is_cut_off() {
            report.write(&mut self.out.to_client);
        }
        self.cut = Some(Cut { response: BytesMut::new(), hides: true, told: true, unknown_to_server: false });
    }

    fn begin_cut(&mut self, report: &Report, hides: bool) {
        if self.cut.is_none() {
            let mut response = BytesMut::new();
            report.write(&mut response);
            self.cut = Some(Cut { response, hides, told: false, unknown_to_server: false });
        }
    }

    /// Counts a row of a result that is shown. Gives whether it is still to be shown.
    pub(super) fn row(&mut self, bytes: usize) -> bool {
        self.progress.bytes += bytes as u64;
        self.sent_rows += 1;
        self.sent_bytes += bytes as u64;
        let over = |sent: u64, cap: Option<u64>| cap.is_some_and(|cap| sent > cap);
        let limited = self.caps.result_rows.is_some() || self.caps.result_bytes.is_some();
        if self.cut.is_none() && limited {
            let (rows, bytes) = self.given_before();
            let text = if over(self.sent_rows + rows, self.caps.result_rows) {
                format!("pgwarden: the result has more than {} rows", self.caps.result_rows.unwrap_or(0))
            } else if over(self.sent_bytes + bytes, self.caps.result_bytes) {
                format!("pgwarden: the result has more than {} bytes", self.caps.result_bytes.unwrap_or(0))
            } else {
                return true;
            };
            let report = Report::error(OVER_LIMIT, text)
                .detail("The policy limits what one statement may return; the rows up to there were sent, the rest was not.")
                .hint("Ask for less: add WHERE or LIMIT.");
            self.begin_cut(&report, true);
            self.out.cancel = true;
        }
        !self.is_hiding()
    }

    /// What the portal that is being read gave before.
    fn given_before(&mut self) -> (u64, u64) {
        match self.queue.front().map(|front| &front.ask) {
            Some(Ask::Execute { portal: Some(portal), .. }) => portal.given.so_far(),
            _ => (0, 0),
        }
    }

    /// Whether rows are withheld because a limit was met.
    pub(super) fn is_hiding(&self) -> bool {
        self.cut.as_ref().is_some_and(|cut| cut.hides || cut.told)
    }

    /// Whether the client was told of a limit and sees nothing more of its batch.
    pub(super) fn is_cut_off(&self) -> bool {
        self.cut.as_ref().is_some_and(|cut| cut.told)
    }

    /// The statement ended by itself before it could be cancelled: where its rows were withheld, that is an error all the same.
    /// Gives whether its own end is still to be shown.
    pub(super) fn ended_before_cut(&mut self) -> bool {
        self.sent_rows = 0;
        self.sent_bytes = 0;
        match &mut self.cut {
            Some(cut) if cut.hides && !cut.told => {
                (cut.told, cut.unknown_to_server) = (true, true);
                self.out.to_client.extend_from_slice(&cut.response);
                self.progress.sqlstate = Some(OVER_LIMIT.to_owned());
                // It would meet whatever runs next.
                self.out.cancel = false;
                false
            }
            Some(cut) => !cut.told,
            None => true,
        }
    }

    /// A ReadyForQuery comes after the client was told of an error that the server knows nothing of: an open transaction
    /// is made to fail, and where something was committed that the error seems to have undone, the session ends.
    pub(super) fn make_cut_true(&mut self, status: Status) {
        if !self.cut.as_ref().is_some_and(|cut| cut.unknown_to_server) {
            return;
        }
        let untrue = match status {
            Status::Failed => false,
            Status::Idle => self.wrote && !self.batch_failed,
            Status::InTransaction if self.queue.is_empty() && !self.batch_open => {
                self.goes_over();
                false
            }
            // What came behind runs in a transaction that should have failed.
            Status::InTransaction => true,
        };
        if untrue && !self.read_only {
            let text = "pgwarden: what came together with the result that was cut may be committed";
            let report = Report::fatal("08007", text)
                .detail("The statement was over before it could be cancelled, and its text, batch or transaction changes something.")
                .hint("Ask for less: add WHERE or LIMIT, or send what changes something by itself.");
            self.out.end = Some(report);
        }
    }

    /// An error came: if it is the cancel request's doing, it is replaced. Gives whether the server's own is still to be shown.
    pub(super) fn error_after_cut(&mut self, sqlstate: &str) -> bool {
        self.sent_rows = 0;
        self.sent_bytes = 0;
        match &mut self.cut {
            Some(cut) if !cut.told && (cut.hides || sqlstate == "57014") => {
                cut.told = true;
                self.out.to_client.extend_from_slice(&cut.response);
                false
            }
            Some(cut) => !cut.told,
            None => true,
        }
    }
}
