//! A filter put to a block: which of its records it lets pass. The same answers as [`crate::audit::filter`] gives one by one.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::build::{Late, correct_numbers, correct_texts, split_effects};
use super::column::{Columns, Home, NumberColumn, Numbers, TextColumn, Texts, home, shown};
use super::store::Store;
use super::{IndexError, Meta};
use crate::audit::filter::{
    Field, Filter, Range, Term, Test, contains, effects_contain, effects_hold, is_shown_event, value_holds,
};
use crate::audit::{AuditId, Timestamp};

/// Most trigrams that the full-text search is asked for at once.
const MOST_TRIGRAMS: usize = 48;

/// A set of a block's records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bits {
    words: Vec<u64>,
    rows: usize,
}

impl Bits {
    pub(super) fn all(rows: usize) -> Bits {
        let mut bits = Bits { words: vec![u64::MAX; rows.div_ceil(64)], rows };
        let behind = bits.words.len() * 64 - rows;
        bits.words.last_mut().into_iter().for_each(|last| *last >>= behind);
        bits
    }

    pub(super) fn none(rows: usize) -> Bits {
        Bits { words: vec![0; rows.div_ceil(64)], rows }
    }

    /// The records whose value holds. A column that is too short is that of a block which is being taken out.
    fn by<T: Copy>(rows: usize, values: &[T], holds: impl Fn(T) -> bool) -> Bits {
        let word = |part: &[T]| {
            let bit = |(at, value): (usize, &T)| u64::from(holds(*value)) << at;
            part.iter().enumerate().map(bit).fold(0, |word, bit| word | bit)
        };
        let mut bits = Bits { words: values.chunks(64).map(word).collect(), rows };
        bits.words.resize(rows.div_ceil(64), 0);
        bits
    }

    /// The records whose value is one of those that `hits` marks, by its place in the dictionary.
    fn by_code(rows: usize, codes: &[u16], hits: &[bool]) -> Bits {
        Bits::by(rows, codes, |code| hits.get(usize::from(code)).copied().unwrap_or(false))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    pub(super) fn count(&self) -> u64 {
        self.words.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    fn keep(&mut self, other: &Bits, negated: bool) {
        for (word, other) in self.words.iter_mut().zip(&other.words) {
            *word &= if negated { !other } else { *other };
        }
    }

    fn add(&mut self, other: &Bits) {
        self.words.iter_mut().zip(&other.words).for_each(|(word, other)| *word |= other);
    }

    /// Its records in order.
    pub(super) fn rows(&self) -> impl DoubleEndedIterator<Item = usize> {
        let bits = |(at, word): (usize, &u64)| {
            let word = *word;
            (0..64usize).filter(move |bit| word >> bit & 1 == 1).map(move |bit| at * 64 + bit)
        };
        self.words.iter().enumerate().filter(|(_, word)| **word != 0).flat_map(bits)
    }
}

/// Where a block's columns come from.
#[derive(Clone, Copy)]
pub(super) enum Source<'a> {
    Stored(&'a Store),
    Memory(&'a Columns),
}

/// A block, with the columns that were needed so far.
pub(super) struct View<'a> {
    pub(super) meta: &'a Meta,
    source: Source<'a>,
    late: Vec<Late>,
    texts: RefCell<HashMap<u8, Arc<Texts>>>,
    numbers: RefCell<HashMap<u8, Arc<Numbers>>>,
}

impl<'a> View<'a> {
    /// A view of a block; `late` is what came for it and is not stored yet.
    pub(super) fn new(meta: &'a Meta, source: Source<'a>, late: &[Late]) -> View<'a> {
        let late = late.iter().filter(|late| late.block == meta.block).cloned().collect();
        View { meta, source, late, texts: RefCell::default(), numbers: RefCell::default() }
    }

    /// A column of texts. That of words has no dictionary, unless the block is in memory.
    pub(super) fn texts(&self, column: TextColumn) -> Result<Arc<Texts>, IndexError> {
        if let Some(known) = self.texts.borrow().get(&(column as u8)) {
            return Ok(Arc::clone(known));
        }
        let mut texts = match self.source {
            Source::Stored(store) => Arc::new(store.texts(self.meta, column)?),
            Source::Memory(columns) => columns.text(column),
        };
        if !self.late.is_empty() && matches!(column, TextColumn::Error | TextColumn::Tag | TextColumn::State) {
            correct_texts(Arc::make_mut(&mut texts), column, &self.late);
        }
        self.texts.borrow_mut().insert(column as u8, Arc::clone(&texts));
        Ok(texts)
    }

    /// A column of numbers.
    pub(super) fn numbers(&self, column: NumberColumn) -> Result<Arc<Numbers>, IndexError> {
        if let Some(known) = self.numbers.borrow().get(&(column as u8)) {
            return Ok(Arc::clone(known));
        }
        let mut numbers = match self.source {
            Source::Stored(store) => Arc::new(store.numbers(self.meta, column)?),
            Source::Memory(columns) => columns.number(column),
        };
        if !self.late.is_empty() {
            let numbers: &mut Numbers = Arc::make_mut(&mut numbers);
            correct_numbers(numbers, column, &self.late);
        }
        self.numbers.borrow_mut().insert(column as u8, Arc::clone(&numbers));
        Ok(numbers)
    }

    /// The number of a record.
    pub(super) fn number(&self, column: NumberColumn, row: usize) -> Result<Option<u64>, IndexError> {
        Ok(self.numbers(column)?.get(row).copied().and_then(shown))
    }

    /// Which values of a column hold. `None` where none does; the column's numbers are not read then.
    fn hits(&self, column: TextColumn, holds: impl Fn(&str) -> bool) -> Result<Option<Bits>, IndexError> {
        let known = self.texts.borrow().contains_key(&(column as u8));
        let corrected = matches!(column, TextColumn::Error | TextColumn::Tag | TextColumn::State);
        if let Source::Stored(store) = self.source
            && !known
            && !corrected
        {
            let dictionary = store.dictionary(self.meta.block, column)?;
            if !dictionary.iter().any(|value| holds(value)) {
                return Ok(None);
            }
            let codes = store.codes(self.meta, column, dictionary.len())?;
            self.texts.borrow_mut().insert(column as u8, Arc::new(Texts { dictionary, codes }));
        }
        let texts = self.texts(column)?;
        let hits: Vec<bool> = texts.dictionary.iter().map(|value| holds(value)).collect();
        if !hits.contains(&true) {
            return Ok(None);
        }
        if !hits.contains(&false) && texts.codes.len() == self.meta.rows {
            return Ok(Some(Bits::all(self.meta.rows)));
        }
        Ok(Some(Bits::by_code(self.meta.rows, &texts.codes, &hits)))
    }
}

/// A question: a filter, the records that do not count, and where its words may stand.
pub(super) struct Question<'q> {
    terms: Vec<Asked<'q>>,
    every_event: bool,
    except: Option<&'q HashSet<AuditId>>,
    /// Outside it nothing passes.
    span: (Option<Timestamp>, Option<Timestamp>),
}

struct Asked<'q> {
    term: &'q Term,
    /// For free words: the chunks of stored blocks in which they may stand; `None` for all.
    chunks: Option<HashMap<i64, Vec<usize>>>,
}

impl<'q> Question<'q> {
    /// Makes ready to ask; the full-text search of the stored blocks is asked here.
    pub(super) fn new(
        filter: &'q Filter,
        except: Option<&'q HashSet<AuditId>>,
        store: Option<&Store>,
    ) -> Result<Question<'q>, IndexError> {
        let mut terms: Vec<&Term> = filter.terms.iter().collect();
        terms.sort_by_key(|term| cost(&term.test));
        let asked = |term: &'q Term| {
            let chunks = match (&term.test, store) {
                (Test::Free(words), Some(store)) => chunks(store, words)?,
                _ => None,
            };
            Ok::<_, IndexError>(Asked { term, chunks })
        };
        Ok(Question {
            terms: terms.into_iter().map(asked).collect::<Result<_, _>>()?,
            every_event: filter.names_events(),
            except: except.filter(|except| !except.is_empty()),
            span: filter.span(),
        })
    }

    /// Whether a block cannot hold an answer.
    pub(super) fn is_outside(&self, meta: &Meta) -> bool {
        let (from, to) = self.span;
        from.is_some_and(|from| meta.last_time < from.0) || to.is_some_and(|to| meta.first_time >= to.0)
    }

    /// The records of a block that pass.
    pub(super) fn select(&self, view: &View<'_>) -> Result<Bits, IndexError> {
        let rows = view.meta.rows;
        let mut passing = if self.every_event {
            Bits::all(rows)
        } else {
            view.hits(TextColumn::Event, is_shown_event)?.unwrap_or_else(|| Bits::none(rows))
        };
        for asked in &self.terms {
            if passing.is_empty() {
                return Ok(passing);
            }
            let holding = asked.holding(view)?.unwrap_or_else(|| Bits::none(rows));
            passing.keep(&holding, asked.term.negated);
        }
        if let Some(except) = self.except.filter(|_| !passing.is_empty()) {
            let ids = view.numbers(NumberColumn::Id)?;
            let excepted = |row| ids.get(row).copied().and_then(shown).is_some_and(|id| except.contains(&AuditId(id)));
            let gone: Vec<usize> = passing.rows().filter(|row| excepted(*row)).collect();
            let mut out = Bits::none(rows);
            for row in gone {
                if let Some(word) = out.words.get_mut(row / 64) {
                    *word |= 1 << (row % 64);
                }
            }
            passing.keep(&out, true);
        }
        Ok(passing)
    }
}

/// What is put to small dictionaries comes first, what reads texts last.
fn cost(test: &Test) -> u8 {
    match test {
        Test::Time { .. } => 0,
        Test::Text { field, .. } => match home(*field) {
            Home::Text(TextColumn::Session | TextColumn::Client | TextColumn::Fingerprint) => 2,
            Home::Text(_) => 1,
            Home::Effects => 2,
            Home::Id(_) | Home::Number(_) | Home::Time => 3,
        },
        Test::Number { .. } => 3,
        Test::Free(_) => 4,
    }
}

impl Asked<'_> {
    fn holding(&self, view: &View<'_>) -> Result<Option<Bits>, IndexError> {
        match &self.term.test {
            Test::Text { field, any } => text_holding(view, *field, any),
            Test::Number { field, any } => number_holding(view, *field, any).map(Some),
            Test::Time { from, to } => time_holding(view, *from, *to).map(Some),
            Test::Free(words) => self.free_holding(view, words),
        }
    }

    fn free_holding(&self, view: &View<'_>, words: &str) -> Result<Option<Bits>, IndexError> {
        let mut holding = self.words_holding(view, words)?;
        let effects = view.hits(TextColumn::Effects, |joined| effects_contain(words, &split_effects(joined)))?;
        let applications = view.hits(TextColumn::Application, |application| contains(application, words))?;
        for more in [effects, applications].into_iter().flatten() {
            match &mut holding {
                Some(holding) => holding.add(&more),
                None => holding = Some(more),
            }
        }
        Ok(holding)
    }

    fn words_holding(&self, view: &View<'_>, words: &str) -> Result<Option<Bits>, IndexError> {
        let Source::Stored(store) = view.source else {
            return view.hits(TextColumn::Words, |text| contains(text, words));
        };
        let mut hits = Vec::new();
        let mut look = |chunk: usize| -> Result<bool, IndexError> {
            let mut at = chunk * super::column::CHUNK_TEXTS;
            store.chunk(view.meta.block, chunk, |text| {
                if contains(text, words) {
                    hits.resize(hits.len().max(at + 1), false);
                    hits.get_mut(at).into_iter().for_each(|hit| *hit = true);
                }
                at += 1;
            })
        };
        match &self.chunks {
            Some(chunks) => {
                for chunk in chunks.get(&view.meta.block).into_iter().flatten() {
                    look(*chunk)?;
                }
            }
            None => {
                let mut chunk = 0;
                while look(chunk)? {
                    chunk += 1;
                }
            }
        }
        if hits.is_empty() {
            return Ok(None);
        }
        let codes = view.texts(TextColumn::Words)?;
        Ok(Some(Bits::by_code(view.meta.rows, &codes.codes, &hits)))
    }
}

/// The chunks in which words may stand: those that hold every three letters of them. `None` where that says nothing.
fn chunks(store: &Store, words: &str) -> Result<Option<HashMap<i64, Vec<usize>>>, IndexError> {
    let mut trigrams: Vec<String> = Vec::new();
    for piece in words.split('*') {
        let letters: Vec<char> = piece.chars().collect();
        trigrams.extend(letters.windows(3).map(|three| three.iter().collect()));
    }
    trigrams.sort();
    trigrams.dedup();
    // SQLite's text ends at a NUL.
    trigrams.retain(|three: &String| !three.contains('\0'));
    if trigrams.is_empty() {
        return Ok(None);
    }
    if trigrams.len() > MOST_TRIGRAMS {
        let step = trigrams.len().div_ceil(MOST_TRIGRAMS);
        trigrams = trigrams.into_iter().step_by(step).collect();
    }
    let mut chunks: HashMap<i64, Vec<usize>> = HashMap::new();
    for (block, chunk) in store.chunks_with(&trigrams)? {
        chunks.entry(block).or_default().push(chunk);
    }
    Ok(Some(chunks))
}

fn text_holding(view: &View<'_>, field: Field, any: &[String]) -> Result<Option<Bits>, IndexError> {
    match home(field) {
        Home::Text(column) => view.hits(column, |value| value_holds(field, any, value)),
        Home::Effects => view.hits(TextColumn::Effects, |joined| effects_hold(field, any, &split_effects(joined))),
        Home::Id(column) => id_holding(view, column, any),
        Home::Number(_) | Home::Time => Ok(None),
    }
}

fn id_holding(view: &View<'_>, column: NumberColumn, any: &[String]) -> Result<Option<Bits>, IndexError> {
    let exact: Option<Vec<u64>> = any.iter().map(|wanted| exact_id(wanted)).collect();
    let Some(exact) = exact else {
        let ids = view.numbers(column)?;
        let text = |stored: u64| shown(stored).map(|id| AuditId(id).to_string()).unwrap_or_default();
        return Ok(Some(Bits::by(view.meta.rows, &ids, |id| value_holds(Field::Id, any, &text(id)))));
    };
    let (first, last) = (view.meta.first_id, view.meta.last_id);
    if column == NumberColumn::Id && !exact.iter().any(|id| (first..=last).contains(id)) {
        return Ok(None);
    }
    let ids = view.numbers(column)?;
    let holds = |id: u64| shown(id).is_some_and(|id| exact.contains(&id));
    Ok(Some(Bits::by(view.meta.rows, &ids, holds)))
}

/// The id that these lower-case letters are the only spelling of; an id that nothing has where they are none's. `None` for a
/// pattern.
fn exact_id(wanted: &str) -> Option<u64> {
    if wanted.contains('*') || wanted.is_empty() {
        return None;
    }
    let id = wanted.parse::<AuditId>().ok().filter(|id| id.to_string().to_lowercase() == wanted);
    Some(id.map_or(u64::MAX, |id| id.0))
}

fn number_holding(view: &View<'_>, field: Field, any: &[Range]) -> Result<Bits, IndexError> {
    let Home::Number(column) = home(field) else { return Ok(Bits::none(view.meta.rows)) };
    let numbers = view.numbers(column)?;
    let holds = |number: u64| {
        let number = shown(number);
        number.is_some_and(|number| any.iter().any(|range| (range.least..=range.most).contains(&number)))
    };
    Ok(Bits::by(view.meta.rows, &numbers, holds))
}

fn time_holding(view: &View<'_>, from: Option<Timestamp>, to: Option<Timestamp>) -> Result<Bits, IndexError> {
    let meta = view.meta;
    let inside = from.is_none_or(|from| meta.first_time >= from.0) && to.is_none_or(|to| meta.last_time < to.0);
    if inside {
        return Ok(Bits::all(meta.rows));
    }
    let times = view.numbers(NumberColumn::Time)?;
    let holds = |time: u64| {
        let at = shown(time);
        from.is_none_or(|from| at.is_some_and(|at| at >= from.0)) && to.is_none_or(|to| at.is_none_or(|at| at < to.0))
    };
    Ok(Bits::by(meta.rows, &times, holds))
}
