//! From a session's events to audit records: each with who the session is and when it happened.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use crate::audit::counts::Counted;
use crate::audit::{
    self, Audit, AuditId, Desk, ParameterShown, ParametersJson, Protocol, Record, Round, SessionEnd, SessionFields,
    SqlState, Tag, TransactionState, Tray, Verdict,
};
use crate::decision::{Judgement, Scope};
use crate::session::{Event, Kind, Outcome, Parameter, Parameters, RecordIds, Refused};
use crate::wire::report::Report;

use super::control::Control;

/// Audit ids for a session's records.
#[derive(Clone)]
pub struct AuditIds(pub Audit);

impl std::fmt::Debug for AuditIds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AuditIds")
    }
}

impl RecordIds for AuditIds {
    fn next(&self) -> u64 {
        self.0.next_id().0
    }

    fn text(&self, id: u64) -> String {
        AuditId(id).to_string()
    }
}

/// Writes one session's records.
pub struct Recorder {
    desk: Desk,
    control: Arc<Control>,
    fields: SessionFields,
    since: Instant,
    end: SessionEnd,
    /// The statement that the control was told of last.
    told: Option<Arc<Judgement>>,
    /// The session's id as a number.
    session: u64,
    /// Whether the user is a person: all that people do is recorded one by one.
    person: bool,
    /// Reads that were counted and whose outcome is to come: id and fingerprint.
    counted: VecDeque<(u64, u64)>,
}

impl Recorder {
    /// A recorder for the session that `fields` tell of, on a thread's desk.
    pub fn new(desk: Desk, control: Arc<Control>, fields: SessionFields, person: bool) -> Recorder {
        let session = control.identity.session.parse::<AuditId>().map_or(0, |id| id.0);
        Recorder {
            desk,
            control,
            fields,
            since: Instant::now(),
            end: SessionEnd::default(),
            told: None,
            session,
            person,
            counted: VecDeque::new(),
        }
    }

    /// The session's id.
    pub fn session(&self) -> &str {
        &self.control.identity.session
    }

    /// Whether a statement could be recorded now.
    ///
    /// # Errors
    /// The log cannot be written and the configuration says that statements stop then.
    pub fn check(&self) -> Result<(), Report> {
        match self.desk.audit().refuses() {
            None => Ok(()),
            Some(unwritable) => Err(unrecordable(&unwritable)),
        }
    }

    /// Hands in what the events tell; outcomes follow within moments. Statements are on record when the round that this gives
    /// is settled, and nothing of them may go upstream before.
    pub fn record(
        &mut self,
        events: &mut Vec<Event>,
        scope: &Scope,
        forwarded: &mut VecDeque<(u64, Instant)>,
    ) -> Option<Round> {
        let now = Instant::now();
        let counts = scope.policy().recording.counts_reads && !self.person;
        let Recorder { desk, control, fields, end, told: last, session, counted, .. } = self;
        let mut tray = desk.tray();
        for event in events.drain(..) {
            match event {
                Event::Statement { record, kind, judgement, refused, transaction, parameters } => {
                    end.statements += 1;
                    end.denied += u64::from(refused.is_some());
                    let told = judgement.unwrap_or_else(|| scope.untold());
                    scope.count(&told, refused.is_some());
                    if refused.is_none() {
                        let known = last.as_ref().is_some_and(|last| Arc::ptr_eq(last, &told));
                        control.runs(now, (!known).then_some(&told));
                        if !known {
                            *last = Some(Arc::clone(&told));
                        }
                    }
                    let counting = told.fingerprint.filter(|_| counts && is_counted(&told, refused.is_some()));
                    if let Some(fingerprint) = counting
                        && tray.count(*session, fingerprint, fields)
                    {
                        counted.push_back((record, fingerprint));
                        forwarded.push_back((record, now));
                        continue;
                    }
                    let mut statement = statement(scope, kind, &told, refused, transaction);
                    statement.parameters = parameters.as_deref().map(self::parameters);
                    let event = audit::Event::Statement(statement);
                    tray.hand_in(&Record::new(AuditId(record), Some(fields.clone()), event));
                    forwarded.push_back((record, now));
                }
                Event::Outcome(outcome) => {
                    control.gave(outcome.rows, outcome.bytes);
                    let went = self::outcome(&outcome, end, forwarded, now);
                    match fingerprint_of(outcome.record, counted) {
                        Some(fingerprint) => tray.counted(*session, &Counted::of(fingerprint, &went)),
                        None => defer(&mut tray, fields, audit::Event::Outcome(went)),
                    }
                }
                Event::TransactionEnd { transaction, committed } => {
                    let state = if committed { TransactionState::Committed } else { TransactionState::RolledBack };
                    defer(&mut tray, fields, audit::Event::Transaction { number: transaction, state });
                }
            }
        }
        tray.close()
    }

    /// Sees that a round is in the log.
    ///
    /// # Errors
    /// The log cannot be written: nothing of the round may go upstream.
    pub fn settle(&self, round: Round) -> Result<(), Report> {
        self.desk.settle(round).map_err(|unwritable| unrecordable(&unwritable))
    }

    /// Records the last events and the session's end.
    pub fn finish(&mut self, events: Vec<Event>, reason: &'static str, forwarded: &mut VecDeque<(u64, Instant)>) {
        let now = Instant::now();
        let Recorder { desk, fields, end, session, counted, .. } = self;
        let mut tray = desk.tray();
        for event in events {
            match event {
                Event::Outcome(outcome) => {
                    let went = self::outcome(&outcome, end, forwarded, now);
                    match fingerprint_of(outcome.record, counted) {
                        Some(fingerprint) => tray.counted(*session, &Counted::of(fingerprint, &went)),
                        None => defer(&mut tray, fields, audit::Event::Outcome(went)),
                    }
                }
                Event::TransactionEnd { transaction, committed } => {
                    let state = if committed { TransactionState::Committed } else { TransactionState::RolledBack };
                    defer(&mut tray, fields, audit::Event::Transaction { number: transaction, state });
                }
                // Never forwarded: the log could not be written.
                Event::Statement { .. } => {}
            }
        }
        let mut end = std::mem::take(end);
        end.reason = reason.into();
        end.duration_us = u64::try_from(self.since.elapsed().as_micros()).unwrap_or(u64::MAX);
        defer(&mut tray, fields, audit::Event::SessionEnd(end));
    }
}

fn defer(tray: &mut Tray<'_>, fields: &SessionFields, event: audit::Event) {
    let id = tray.next_id();
    tray.defer(&Record::new(id, Some(fields.clone()), event));
}

fn statement(
    scope: &Scope,
    kind: Kind,
    told: &Judgement,
    refused: Option<Refused>,
    transaction: u64,
) -> audit::Statement {
    let verdict = match (&refused, &told.observed) {
        (Some(_), _) => Verdict::Deny,
        (None, Some(_)) => Verdict::Observe,
        (None, None) => Verdict::Allow,
    };
    let rule = match refused.as_ref().map(|refused| &refused.rule) {
        Some(Some(rule)) => Arc::from(rule.as_str()),
        Some(None) => Arc::from("protocol"),
        None => Arc::clone(&told.rule),
    };
    let grant = told.grants.clone().filter(|_| refused.is_none());
    audit::Statement {
        verdict,
        rule,
        policy: Arc::clone(scope.policy_name()),
        generation: told.generation,
        effects: told.effects_json.clone(),
        readers: told.readers,
        text: told.text_json.clone(),
        protocol: match kind {
            Kind::Simple | Kind::FunctionCall => Protocol::Simple,
            Kind::Parse | Kind::Bind | Kind::Execute => Protocol::Extended,
        },
        name: None,
        parameters: None,
        transaction: Some(transaction),
        grant,
        sqlstate: refused.map(|refused| sqlstate(&refused.sqlstate)),
    }
}

fn parameters(bound: &Parameters) -> ParametersJson {
    ParametersJson::new(
        bound.count,
        bound.shown.iter().map(|parameter| match parameter {
            Parameter::Null => ParameterShown::Null,
            Parameter::Text(text, length) => ParameterShown::Text(text, *length),
            Parameter::Hex(bytes, length) => ParameterShown::Hex(bytes, *length),
            Parameter::Hidden => ParameterShown::Hidden,
            Parameter::Outline(kind, length) => ParameterShown::Outline(*kind, *length),
        }),
    )
}

fn outcome(
    outcome: &Outcome,
    end: &mut SessionEnd,
    forwarded: &mut VecDeque<(u64, Instant)>,
    now: Instant,
) -> audit::Outcome {
    end.rows += outcome.rows;
    end.bytes += outcome.bytes;
    let mut since = now;
    while let Some((record, at)) = forwarded.front().copied() {
        if record > outcome.record {
            break;
        }
        forwarded.pop_front();
        since = at;
    }
    audit::Outcome {
        of: AuditId(outcome.record),
        tag: Tag::new(outcome.tag.as_bytes()),
        rows: outcome.rows,
        bytes: outcome.bytes,
        duration_us: u64::try_from(now.duration_since(since).as_micros()).unwrap_or(u64::MAX),
        sqlstate: outcome.sqlstate.as_deref().map(sqlstate),
        state: match outcome.state {
            "committed" => TransactionState::Committed,
            "rolled_back" => TransactionState::RolledBack,
            "mixed" => TransactionState::Mixed,
            "skipped" => TransactionState::Skipped,
            "open" => TransactionState::Open,
            _ => TransactionState::Unknown,
        },
    }
}

/// Whether a statement may be counted instead of recorded: one that only reads, was allowed, and has nothing else to tell.
fn is_counted(told: &Judgement, refused: bool) -> bool {
    let plain = told.refusal.is_none() && told.observed.is_none() && told.grants.is_none() && told.notices.is_empty();
    told.is_read && !refused && plain
}

/// The fingerprint of a counted read, whose outcome has come.
fn fingerprint_of(record: u64, counted: &mut VecDeque<(u64, u64)>) -> Option<u64> {
    let at = counted.iter().position(|(id, _)| *id == record)?;
    counted.remove(at).map(|(_, fingerprint)| fingerprint)
}

fn unrecordable(unwritable: &audit::Unwritable) -> Report {
    Report::error(unwritable.sqlstate(), format!("pgwarden: {unwritable}"))
        .detail("Statements are refused while they cannot be recorded (audit.when_unwritable = \"refuse\").")
        .hint("Make the directory writable and give it room; pgwarden goes on by itself.")
}

fn sqlstate(text: &str) -> SqlState {
    let mut state = [b'0'; 5];
    for (slot, byte) in state.iter_mut().zip(text.bytes()) {
        *slot = byte;
    }
    SqlState(state)
}
