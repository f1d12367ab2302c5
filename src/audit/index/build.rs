//! Records in, a block's columns out.

use std::collections::HashMap;
use std::sync::Arc;

use super::column::{BLOCK_TEXT_BYTES, Columns, NumberColumn, TextColumn, Texts, shown, stored};
use super::form::{Cut, Own, parameters_of, text_of};
use crate::audit::AuditId;
use crate::audit::query::time_of;
use crate::audit::view::{EffectView, RecordView, words_of_statement};

/// Between the parts of an effect, and between effects, in the `Effects` column.
const PART: char = '\u{1f}';
const EFFECT: char = '\u{1e}';
/// Forms that are known at once take at most so many bytes.
const FORM_BYTES: usize = 512 << 10;

/// What lines of one form have in common, as numbers into the block's dictionaries.
#[derive(Clone, Copy, Debug)]
pub(super) struct Form {
    codes: [u16; TextColumn::ALL.len()],
    /// As it stands in the column.
    generation: u64,
    /// Whether it is a statement that was forwarded.
    forwarded: bool,
}

/// What an outcome says of its statement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Late {
    /// The statement's block.
    pub(super) block: i64,
    /// Its place there.
    pub(super) row: usize,
    /// Sequence number of the outcome's record.
    pub(super) outcome: u64,
    pub(super) error: String,
    pub(super) tag: String,
    pub(super) state: String,
    pub(super) rows: Option<u64>,
    pub(super) bytes: Option<u64>,
    pub(super) duration: Option<u64>,
}

impl Late {
    /// What an outcome's record says; of which statement is to be filled in.
    pub(super) fn of(record: &RecordView<'_>) -> Late {
        Late {
            outcome: record.seq,
            error: record.sqlstate.to_string(),
            tag: record.tag.to_string(),
            state: record.state.to_string(),
            rows: record.rows,
            bytes: record.bytes,
            duration: record.duration_us,
            ..Late::default()
        }
    }

    /// What stands in the statement's row instead of what stood there.
    pub(super) fn texts(&self) -> [(TextColumn, &str); 3] {
        [(TextColumn::Error, &self.error), (TextColumn::Tag, &self.tag), (TextColumn::State, &self.state)]
    }

    /// See [`Late::texts`].
    pub(super) fn numbers(&self) -> [(NumberColumn, Option<u64>); 4] {
        [
            (NumberColumn::Outcome, Some(self.outcome)),
            (NumberColumn::Rows, self.rows),
            (NumberColumn::Bytes, self.bytes),
            (NumberColumn::Duration, self.duration),
        ]
    }
}

/// A record's numbers.
#[derive(Default)]
struct RowNumbers {
    seq: u64,
    time: Option<u64>,
    offset: u64,
    id: Option<u64>,
    of: Option<u64>,
    transaction: Option<u64>,
    generation: Option<u64>,
    rows: Option<u64>,
    bytes: Option<u64>,
    duration: Option<u64>,
}

/// The block that records are being added to.
#[derive(Debug, Default)]
pub(super) struct Builder {
    pub(super) columns: Columns,
    /// For each column of texts, where a value stands in the dictionary.
    known: Vec<HashMap<Box<str>, u16, foldhash::fast::RandomState>>,
    /// Audit id of a forwarded statement without outcome → its row.
    waiting: HashMap<u64, usize, foldhash::fast::RandomState>,
    text_bytes: usize,
    pub(super) rows: usize,
    scratch: String,
    /// What lines share → the form that they have.
    forms: HashMap<Box<[u8]>, Form, foldhash::fast::RandomState>,
    form_bytes: usize,
    key: Vec<u8>,
}

impl Builder {
    pub(super) fn new() -> Builder {
        Builder { known: TextColumn::ALL.iter().map(|_| HashMap::default()).collect(), ..Builder::default() }
    }

    /// Whether the next record belongs into another block.
    pub(super) fn is_full(&self, rows: usize) -> bool {
        self.rows >= rows || self.text_bytes >= BLOCK_TEXT_BYTES
    }

    /// The forwarded statements that have no outcome yet, by audit id.
    pub(super) fn waiting(&self) -> impl Iterator<Item = (u64, usize)> {
        self.waiting.iter().map(|(id, row)| (*id, *row))
    }

    /// Adds a record whose line begins at `offset`.
    pub(super) fn push(&mut self, record: &RecordView<'_>, offset: u64) {
        let id = record.id.parse::<AuditId>().ok().map(|id| id.0);
        if record.event == "statement" && record.verdict != "deny" {
            self.waiting.extend(id.map(|id| (id, self.rows)));
        }
        self.push_texts(record);
        self.push_numbers(&RowNumbers {
            seq: record.seq,
            time: time_of(record).map(|time| time.0),
            offset,
            id,
            of: record.of.parse::<AuditId>().ok().map(|id| id.0),
            transaction: record.transaction,
            generation: record.generation,
            rows: record.rows,
            bytes: record.bytes,
            duration: record.duration_us,
        });
        self.rows += 1;
    }

    /// The form of a line, if one like it was taken into this block before.
    pub(super) fn form_of(&mut self, cut: &Cut<'_>) -> Option<Form> {
        cut.form(&mut self.key);
        self.forms.get(self.key.as_slice()).copied()
    }

    /// What an outcome of a known form says; of which statement is to be filled in.
    pub(super) fn outcome(&self, seq: u64, numbers: [u64; 3], form: &Form) -> Late {
        let text = |column: TextColumn| {
            let code = form.codes.get(column as usize).copied().unwrap_or_default();
            let texts = self.columns.texts.get(column as usize);
            texts
                .and_then(|texts| texts.dictionary.get(usize::from(code)))
                .map_or_else(String::new, ToString::to_string)
        };
        let [rows, bytes, duration] = numbers.map(Some);
        let (error, tag, state) = (text(TextColumn::Error), text(TextColumn::Tag), text(TextColumn::State));
        Late { outcome: seq, error, tag, state, rows, bytes, duration, ..Late::default() }
    }

    /// Knows the form of the record that was added last.
    pub(super) fn learn(&mut self, cut: &Cut<'_>) {
        let row = self.rows.saturating_sub(1);
        let mut codes = [0; TextColumn::ALL.len()];
        for (slot, texts) in codes.iter_mut().zip(&self.columns.texts) {
            let Some(code) = texts.codes.get(row) else { return };
            *slot = *code;
        }
        let Some(generation) = self.columns.number(NumberColumn::Generation).get(row).copied() else { return };
        let forwarded = self.waiting.get(&cut.id.0) == Some(&row);
        cut.form(&mut self.key);
        self.form_bytes += self.key.len();
        if self.key.len() > FORM_BYTES {
            // One that long is not kept, nor its room.
            self.form_bytes -= self.key.len();
            self.key = Vec::new();
            return;
        }
        if self.form_bytes > FORM_BYTES {
            self.forms.clear();
            self.form_bytes = self.key.len();
        }
        self.forms.insert(self.key.as_slice().into(), Form { codes, generation, forwarded });
    }

    /// Adds a line of a known form that begins at `offset`. `None`, and nothing is added, if its own part cannot be read.
    pub(super) fn push_known(&mut self, cut: &Cut<'_>, form: &Form, offset: u64) -> Option<()> {
        let mut codes = form.codes;
        let mut own = RowNumbers { offset, ..RowNumbers::default() };
        match &cut.own {
            Own::Statement { text, parameters, transaction } => {
                let text = text.map_or(Some("".into()), text_of)?;
                let parameters = parameters.map_or(Some(Vec::new()), parameters_of)?;
                own.transaction = Some(*transaction);
                let mut words = std::mem::take(&mut self.scratch);
                words.clear();
                words_of_statement(&text, &parameters, &mut words);
                if let Some(slot) = codes.get_mut(TextColumn::Words as usize) {
                    *slot = self.code(TextColumn::Words, &words);
                }
                self.scratch = words;
                self.scratch.shrink_to(1 << 20);
            }
            Own::Outcome { of, rows, bytes, duration } => {
                own.of = Some(of.0);
                (own.rows, own.bytes, own.duration) = (Some(*rows), Some(*bytes), Some(*duration));
            }
        }
        (own.seq, own.time, own.id, own.generation) =
            (cut.seq, Some(cut.time.0), Some(cut.id.0), shown(form.generation));
        for (texts, code) in self.columns.texts.iter_mut().zip(codes) {
            Arc::make_mut(texts).codes.push(code);
        }
        self.push_numbers(&own);
        if form.forwarded {
            self.waiting.insert(cut.id.0, self.rows);
        }
        self.rows += 1;
        Some(())
    }

    fn push_texts(&mut self, record: &RecordView<'_>) {
        let plain: [(TextColumn, &str); 23] = [
            (TextColumn::Event, &record.event),
            (TextColumn::User, &record.user),
            (TextColumn::Role, &record.role),
            (TextColumn::Environment, &record.environment),
            (TextColumn::Database, &record.database),
            (TextColumn::Endpoint, &record.endpoint),
            (TextColumn::Client, &record.client),
            (TextColumn::Application, &record.application),
            (TextColumn::Login, &record.login),
            (TextColumn::Verdict, &record.verdict),
            (TextColumn::Rule, &record.rule),
            (TextColumn::Policy, &record.policy),
            (TextColumn::Readers, &record.readers),
            (TextColumn::Fingerprint, &record.fingerprint),
            (TextColumn::Protocol, &record.protocol),
            (TextColumn::Session, &record.session),
            (TextColumn::Grant, &record.grant),
            (TextColumn::Error, &record.sqlstate),
            (TextColumn::Tag, &record.tag),
            (TextColumn::State, &record.state),
            (TextColumn::Reason, &record.reason),
            (TextColumn::By, &record.by),
            (TextColumn::Target, &record.target),
        ];
        for (column, value) in plain {
            self.push_text(column, value);
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        join_effects(&record.effects, &mut scratch);
        self.push_text(TextColumn::Effects, &scratch);
        record.words(&mut scratch);
        self.push_text(TextColumn::Words, &scratch);
        self.scratch = scratch;
        self.scratch.shrink_to(1 << 20);
    }

    fn push_text(&mut self, column: TextColumn, value: &str) {
        let code = self.code(column, value);
        if let Some(texts) = self.columns.texts.get_mut(column as usize) {
            Arc::make_mut(texts).codes.push(code);
        }
    }

    /// A value's place in a column's dictionary, into which it is put if it is not there.
    fn code(&mut self, column: TextColumn, value: &str) -> u16 {
        let (Some(texts), Some(known)) =
            (self.columns.texts.get_mut(column as usize), self.known.get_mut(column as usize))
        else {
            return 0;
        };
        if let Some(code) = known.get(value) {
            return *code;
        }
        let texts = Arc::make_mut(texts);
        let code = u16::try_from(texts.dictionary.len()).unwrap_or(u16::MAX);
        texts.dictionary.push(value.into());
        known.insert(value.into(), code);
        self.text_bytes += value.len();
        code
    }

    fn push_numbers(&mut self, of: &RowNumbers) {
        let values: [(NumberColumn, Option<u64>); 11] = [
            (NumberColumn::Seq, Some(of.seq)),
            (NumberColumn::Time, of.time),
            (NumberColumn::Offset, Some(of.offset)),
            (NumberColumn::Id, of.id),
            (NumberColumn::Of, of.of),
            (NumberColumn::Outcome, None),
            (NumberColumn::Transaction, of.transaction),
            (NumberColumn::Generation, of.generation),
            (NumberColumn::Rows, of.rows),
            (NumberColumn::Bytes, of.bytes),
            (NumberColumn::Duration, of.duration),
        ];
        for (column, value) in values {
            if let Some(numbers) = self.columns.numbers.get_mut(column as usize) {
                Arc::make_mut(numbers).push(stored(value));
            }
        }
    }

    /// Takes an outcome's word of a statement of this block. `false` if the statement is not here, or has its outcome.
    pub(super) fn settle(&mut self, statement: u64, late: &Late) -> bool {
        let Some(row) = self.waiting.remove(&statement) else { return false };
        for (column, value) in late.texts() {
            let code = self.code(column, value);
            let texts = self.columns.texts.get_mut(column as usize).map(Arc::make_mut);
            if let Some(slot) = texts.and_then(|texts| texts.codes.get_mut(row)) {
                *slot = code;
            }
        }
        for (column, value) in late.numbers() {
            let numbers = self.columns.numbers.get_mut(column as usize).map(Arc::make_mut);
            if let Some(slot) = numbers.and_then(|numbers| numbers.get_mut(row)) {
                *slot = stored(value);
            }
        }
        true
    }
}

impl Columns {
    /// The first statement of each fingerprint in each environment: (environment, fingerprint, sequence number, time).
    pub(super) fn first_fingerprints(&self) -> Vec<(String, String, u64, u64)> {
        let [event, environment, fingerprint] =
            [TextColumn::Event, TextColumn::Environment, TextColumn::Fingerprint].map(|column| self.text(column));
        let [seqs, times] = [NumberColumn::Seq, NumberColumn::Time].map(|column| self.number(column));
        let mut seen = std::collections::HashSet::new();
        let mut first = Vec::new();
        for (row, (at, of)) in environment.codes.iter().zip(&fingerprint.codes).enumerate() {
            if event.value(row) != "statement" || fingerprint.value(row).is_empty() || !seen.insert((*at, *of)) {
                continue;
            }
            let number = |numbers: &[u64]| numbers.get(row).copied().and_then(shown).unwrap_or_default();
            first.push((
                environment.value(row).to_owned(),
                fingerprint.value(row).to_owned(),
                number(&seqs),
                number(&times),
            ));
        }
        first
    }
}

/// Applies what came late to a column of texts.
pub(super) fn correct_texts(texts: &mut Texts, column: TextColumn, late: &[Late]) {
    for one in late {
        for (_, value) in one.texts().into_iter().filter(|(changed, _)| *changed == column) {
            texts.put(one.row, value);
        }
    }
}

/// Applies what came late to a column of numbers.
pub(super) fn correct_numbers(numbers: &mut [u64], column: NumberColumn, late: &[Late]) {
    for one in late {
        for (_, value) in one.numbers().into_iter().filter(|(changed, _)| *changed == column) {
            if let Some(slot) = numbers.get_mut(one.row) {
                *slot = stored(value);
            }
        }
    }
}

fn join_effects(effects: &[EffectView<'_>], out: &mut String) {
    out.clear();
    for effect in effects {
        for part in [&effect.class, &effect.object, &effect.act] {
            out.push_str(part);
            out.push(PART);
        }
        out.push(EFFECT);
    }
}

/// The effects of a value of the `Effects` column.
pub(super) fn split_effects(joined: &str) -> Vec<EffectView<'_>> {
    let effect = |text: &'_ str| {
        let mut parts = text.split(PART).map(str::to_owned);
        let mut part = || parts.next().unwrap_or_default().into();
        EffectView { class: part(), object: part(), act: part(), by: "".into() }
    };
    joined.split_terminator(EFFECT).map(effect).collect()
}
