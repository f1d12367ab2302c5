//! The filter language of `pgwarden audit search`, the API and the console: parsed once into a value that a scan or an index uses.
//!
//! `user:studio_reader verdict:deny effect:ddl.destructive table:orders since:friday "free text"`. Terms are all to hold;
//! `field:a,b` holds for either; `-term` holds where the term does not; `*` stands for anything; numbers take `>`, `>=`, `<`,
//! `<=` and `a..b`; words without a field are searched for in the text.

use jiff::civil::{Date, DateTime, Time, Weekday};
use jiff::{SignedDuration, Span, Zoned};

use super::event::{Protocol, Readers, TransactionState, Verdict};
use super::time::Timestamp;
use super::view::{EffectView, RecordView, Story};
use crate::sql::Class;
use crate::suggest::nearest;

/// How a field's values compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The whole value, `*` for anything.
    Word,
    /// Anywhere in the value.
    Phrase,
    /// A dotted class or its prefix.
    Class,
    /// A name, with or without its schema.
    Object,
    /// An address, with or without the port.
    Address,
    /// A count.
    Number,
    /// A length of time: `100ms`, `2s`, `5m`, `1h`.
    Duration,
    /// A size: `10kB`, `5MB`.
    Size,
    /// A point in time.
    Time,
}

macro_rules! fields {
    ($($(#[doc = $doc:literal])* $field:ident = [$($name:literal),+], $kind:ident;)*) => {
        /// What a term looks at.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[allow(missing_docs, reason = "each carries its documentation line for people")]
        pub enum Field { $($(#[doc = $doc])* $field,)* }

        impl Field {
            /// Every field.
            pub const ALL: &'static [Field] = &[$(Field::$field,)*];

            /// Its names; the first is the one that documentation uses.
            pub const fn names(self) -> &'static [&'static str] {
                match self { $(Field::$field => &[$($name),+],)* }
            }

            /// How its values compare.
            pub const fn kind(self) -> Kind {
                match self { $(Field::$field => Kind::$kind,)* }
            }

            /// One line for people.
            pub const fn doc(self) -> &'static str {
                match self { $(Field::$field => concat!($($doc),*).trim_ascii(),)* }
            }
        }
    };
}

fields! {
    /// who was logged in
    User = ["user"], Word;
    /// the user's role
    Role = ["role"], Word;
    /// where: production, staging, …
    Environment = ["environment", "env"], Word;
    /// the name the client connected to
    Database = ["database", "db"], Word;
    /// pooled, direct or replica
    Endpoint = ["endpoint"], Word;
    /// the client's address, with or without the port
    Client = ["client", "address", "ip"], Address;
    /// any part of the client's application_name
    Application = ["application", "app", "tool"], Phrase;
    /// how the user logged in
    Login = ["login"], Word;
    /// what happened: statement, login, login_failed, reload, …
    Event = ["event", "kind"], Word;
    /// allow, deny or observe
    Verdict = ["verdict"], Word;
    /// any part of the rule that decided
    Rule = ["rule"], Phrase;
    /// the policy's name
    Policy = ["policy"], Word;
    /// an effect's class or its prefix: ddl, ddl.destructive
    Effect = ["effect", "class"], Class;
    /// any part of an effect's act: drop table
    Act = ["act"], Phrase;
    /// a table, function or other thing touched, with or without its schema
    Object = ["table", "relation", "object", "function"], Object;
    /// both, disagree, postgres or neither
    Readers = ["readers"], Word;
    /// the statement's fingerprint
    Fingerprint = ["fingerprint"], Word;
    /// simple or extended
    Protocol = ["protocol"], Word;
    /// the session's id
    Session = ["session"], Word;
    /// the audit id
    Id = ["id"], Word;
    /// number of the transaction within the session
    Transaction = ["transaction", "tx"], Number;
    /// the grant that was used
    Grant = ["grant"], Word;
    /// SQLSTATE of the server's error, or of the refusal; `*` for any
    Error = ["error", "sqlstate"], Word;
    /// the command tag: INSERT*
    Tag = ["tag"], Word;
    /// committed, rolled_back, mixed, open or unknown
    State = ["state"], Word;
    /// any part of the reason of a failed login or a session's end
    Reason = ["reason"], Phrase;
    /// who acted, in grants, reviews and administration
    By = ["by"], Word;
    /// what was acted on; of a cancel request, the session
    Target = ["target"], Word;
    /// the record that an outcome or a review is of
    Of = ["of"], Word;
    /// the sequence number
    Sequence = ["seq"], Number;
    /// generation of the policies
    Generation = ["generation"], Number;
    /// rows returned or affected
    Rows = ["rows"], Number;
    /// bytes sent to the client
    Bytes = ["bytes", "size"], Size;
    /// from forwarding to the end of the answer
    Duration = ["duration", "took"], Duration;
    /// from then on: 2026-01-31, friday, yesterday, 2h, 13:30
    Since = ["since", "after", "from"], Time;
    /// up to and with that day or moment
    Until = ["until", "to"], Time;
    /// up to, but without, that day or moment
    Before = ["before"], Time;
    /// on that day
    On = ["on", "day"], Time;
}

/// A range of numbers, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The least.
    pub least: u64,
    /// The greatest.
    pub most: u64,
}

/// What a term asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Test {
    /// The field has one of these values (lower-case; `*` for anything).
    Text {
        /// The field.
        field: Field,
        /// The values.
        any: Vec<String>,
    },
    /// The number lies in one of these ranges. Durations are in microseconds.
    Number {
        /// The field.
        field: Field,
        /// The ranges.
        any: Vec<Range>,
    },
    /// From the first moment up to, but without, the second.
    Time {
        /// First moment.
        from: Option<Timestamp>,
        /// First moment after.
        to: Option<Timestamp>,
    },
    /// The text holds this (lower-case).
    Free(String),
}

/// One term.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    /// Written with `-`.
    pub negated: bool,
    /// What it asks.
    pub test: Test,
}

/// A parsed filter. The empty one lets everything pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// All must hold.
    pub terms: Vec<Term>,
}

/// What cannot be understood, in words for whoever wrote it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotAFilter(String);

impl NotAFilter {
    /// A filter that cannot stand where it stands.
    pub fn of(why: &str) -> NotAFilter {
        NotAFilter(why.to_owned())
    }
}

impl Filter {
    /// Reads a filter; days and hours are those of `now`'s time zone.
    pub fn parse(text: &str, now: &Zoned) -> Result<Filter, NotAFilter> {
        let terms = tokens(text)?.into_iter().map(|token| term(token, now)).collect::<Result<_, _>>()?;
        Ok(Filter { terms })
    }

    /// Lets every record pass, those too that belong to others.
    pub fn every_event() -> Filter {
        let test = Test::Text { field: Field::Event, any: vec!["*".to_owned()] };
        Filter { terms: vec![Term { negated: false, test }] }
    }

    /// Lets pass what has this value in a field.
    pub fn of(field: Field, value: &str) -> Filter {
        Filter::any_of(field, &[value])
    }

    /// Lets pass what has one of these values in a field.
    pub fn any_of(field: Field, values: &[&str]) -> Filter {
        let any = values.iter().map(|value| value.to_lowercase()).collect();
        Filter { terms: vec![Term { negated: false, test: Test::Text { field, any } }] }
    }

    /// Lets pass what happened in a stretch of time: from the first moment up to, but without, the second.
    pub fn within(from: Option<Timestamp>, to: Option<Timestamp>) -> Filter {
        Filter { terms: vec![Term { negated: false, test: Test::Time { from, to } }] }
    }

    /// Lets pass what has this number in a field.
    pub fn number(field: Field, number: u64) -> Filter {
        let any = vec![Range { least: number, most: number }];
        Filter { terms: vec![Term { negated: false, test: Test::Number { field, any } }] }
    }

    /// Lets pass what both let pass.
    #[must_use]
    pub fn and(mut self, other: &Filter) -> Filter {
        self.terms.extend(other.terms.iter().cloned());
        self
    }

    /// Whether a record passes.
    pub fn matches(&self, story: &Story<'_>) -> bool {
        self.terms.iter().all(|term| term.test.holds(story) != term.negated)
    }

    /// Whether a statement may still pass once its outcome is known.
    pub fn may_match(&self, story: &Story<'_>) -> bool {
        let open = |term: &Term| story.outcome.is_none() && term.test.needs_outcome();
        self.terms.iter().all(|term| open(term) || term.test.holds(story) != term.negated)
    }

    /// Whether it asks for kinds of events; without, search shows those that people look for.
    pub fn names_events(&self) -> bool {
        self.terms.iter().any(|term| matches!(term.test, Test::Text { field: Field::Event, .. }))
    }

    /// The time span outside which nothing passes.
    pub fn span(&self) -> (Option<Timestamp>, Option<Timestamp>) {
        let (mut first, mut end) = (None, None);
        for term in self.terms.iter().filter(|term| !term.negated) {
            if let Test::Time { from, to } = term.test {
                first = first.max(from);
                end = [end, to].into_iter().flatten().min();
            }
        }
        (first, end)
    }
}

impl Test {
    fn needs_outcome(&self) -> bool {
        use Field::{Bytes, Duration, Error, Rows, State, Tag};
        match self {
            Test::Text { field, .. } | Test::Number { field, .. } => {
                matches!(field, Bytes | Duration | Error | Rows | State | Tag)
            }
            Test::Time { .. } | Test::Free(_) => false,
        }
    }

    fn holds(&self, story: &Story<'_>) -> bool {
        match self {
            Test::Text { field, any } => text_holds(*field, any, story),
            Test::Number { field, any } => number_of(*field, story)
                .is_some_and(|value| any.iter().any(|range| (range.least..=range.most).contains(&value))),
            Test::Time { from, to } => time_holds(&story.record.time, *from, *to),
            Test::Free(words) => free_holds(words, story),
        }
    }
}

/// Times in records have one fixed form, so their order is that of their text.
fn time_holds(time: &str, from: Option<Timestamp>, to: Option<Timestamp>) -> bool {
    from.is_none_or(|from| time >= from.to_string().as_str()) && to.is_none_or(|to| time < to.to_string().as_str())
}

fn text_holds(field: Field, any: &[String], story: &Story<'_>) -> bool {
    match field {
        Field::Effect | Field::Act | Field::Object => effects_hold(field, any, &story.record.effects),
        _ => value_holds(field, any, text_of(field, story)),
    }
}

/// Whether a list of effects has one of the values.
pub(super) fn effects_hold(field: Field, any: &[String], effects: &[EffectView<'_>]) -> bool {
    let holds: fn(&str, &EffectView<'_>) -> bool = match field {
        Field::Effect => |wanted, effect| class_holds(wanted, &effect.class),
        Field::Object => |wanted, effect| object_holds(wanted, &effect.object),
        _ => |wanted, effect| contains(&effect.act, wanted),
    };
    effects.iter().any(|effect| any.iter().any(|wanted| holds(wanted, effect)))
}

/// Whether a field's value is one of those wanted.
pub(super) fn value_holds(field: Field, any: &[String], value: &str) -> bool {
    let holds: fn(&str, &str) -> bool = match field.kind() {
        Kind::Phrase => |wanted, value| contains(value, wanted),
        Kind::Address => address_holds,
        // A statement may have needed several.
        _ if field == Field::Grant => |wanted, value| value.split(' ').any(|grant| glob(wanted, grant)),
        _ => glob,
    };
    any.iter().any(|wanted| holds(wanted, value))
}

fn text_of<'a>(field: Field, story: &Story<'a>) -> &'a str {
    let record = story.record;
    let later = story.outcome.unwrap_or(record);
    match field {
        Field::User => &record.user,
        Field::Role => &record.role,
        Field::Environment => &record.environment,
        Field::Database => &record.database,
        Field::Endpoint => &record.endpoint,
        Field::Client => &record.client,
        Field::Application => &record.application,
        Field::Login => &record.login,
        Field::Event => &record.event,
        Field::Verdict => &record.verdict,
        Field::Rule => &record.rule,
        Field::Policy => &record.policy,
        Field::Readers => &record.readers,
        Field::Fingerprint => &record.fingerprint,
        Field::Protocol => &record.protocol,
        Field::Session => &record.session,
        Field::Id => &record.id,
        Field::Grant => &record.grant,
        Field::Error => &later.sqlstate,
        Field::Tag => &later.tag,
        Field::State => &later.state,
        Field::Reason => &record.reason,
        Field::By => &record.by,
        Field::Target => &record.target,
        Field::Of => &record.of,
        Field::Effect | Field::Act | Field::Object | Field::Transaction | Field::Sequence | Field::Generation => "",
        Field::Rows | Field::Bytes | Field::Duration => "",
        Field::Since | Field::Until | Field::Before | Field::On => "",
    }
}

/// An entry's value of a field as text, empty where it has none or several.
pub fn value_of(field: Field, story: &Story<'_>) -> String {
    match field.kind() {
        Kind::Number | Kind::Duration | Kind::Size => {
            number_of(field, story).map(|number| number.to_string()).unwrap_or_default()
        }
        _ => text_of(field, story).to_owned(),
    }
}

fn number_of(field: Field, story: &Story<'_>) -> Option<u64> {
    let record = story.record;
    let later = story.outcome.unwrap_or(record);
    match field {
        Field::Sequence => Some(record.seq),
        Field::Transaction => record.transaction,
        Field::Generation => record.generation,
        Field::Rows => later.rows,
        Field::Bytes => later.bytes,
        Field::Duration => later.duration_us,
        _ => None,
    }
}

fn free_holds(words: &str, story: &Story<'_>) -> bool {
    let record = story.record;
    let mut own = String::new();
    record.words(&mut own);
    contains(&own, words) || contains(&record.application, words) || effects_contain(words, &record.effects)
}

/// Whether an effect's object or act holds these words.
pub(super) fn effects_contain(words: &str, effects: &[EffectView<'_>]) -> bool {
    effects.iter().any(|effect| contains(&effect.object, words) || contains(&effect.act, words))
}

/// Whether a text holds these words (lower-case; `*` stands for anything).
pub(super) fn contains(text: &str, wanted: &str) -> bool {
    if wanted.contains('*') {
        return glob(&format!("*{wanted}*"), text);
    }
    if text.is_ascii() && wanted.is_ascii() {
        return contains_ascii(text.as_bytes(), wanted.as_bytes());
    }
    text.to_lowercase().contains(wanted)
}

fn contains_ascii(text: &[u8], wanted: &[u8]) -> bool {
    let Some(first) = wanted.first() else { return true };
    let (lower, upper) = (first.to_ascii_lowercase(), first.to_ascii_uppercase());
    memchr::memchr2_iter(lower, upper, text)
        .any(|at| text.get(at..at + wanted.len()).is_some_and(|part| part.eq_ignore_ascii_case(wanted)))
}

fn class_holds(wanted: &str, class: &str) -> bool {
    glob(wanted, class) || class.strip_prefix(wanted).is_some_and(|rest| rest.starts_with('.'))
}

fn object_holds(wanted: &str, object: &str) -> bool {
    !object.is_empty()
        && (glob(wanted, object)
            || (!wanted.contains('.') && object.rsplit_once('.').is_some_and(|(_, name)| glob(wanted, name))))
}

fn address_holds(wanted: &str, address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    glob(wanted, address) || glob(wanted, host) || glob(wanted, host.trim_matches(['[', ']']))
}

/// Whether `text` is `pattern` (lower-case), where `*` stands for anything; a lone `*` asks for something to be there.
fn glob(pattern: &str, text: &str) -> bool {
    if pattern == "*" {
        return !text.is_empty();
    }
    let text = text.to_lowercase();
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut left) = text.strip_prefix(first) else { return false };
    let mut pieces: Vec<&str> = rest.split('*').collect();
    let last = pieces.pop().unwrap_or_default();
    for piece in pieces {
        let Some(at) = left.find(piece) else { return false };
        left = left.get(at + piece.len()..).unwrap_or_default();
    }
    left.ends_with(last)
}

/// A word as written: with its sign, its field and operator if it has them, and its value.
#[derive(Debug, Default)]
struct Token {
    negated: bool,
    field: Option<(String, Operator)>,
    value: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Is,
    Above,
    AtLeast,
    Below,
    AtMost,
}

fn tokens(text: &str) -> Result<Vec<Token>, NotAFilter> {
    let mut rest = text.trim_start();
    let mut found = Vec::new();
    while !rest.is_empty() {
        let mut token = Token::default();
        if let Some(after) = rest.strip_prefix('-').filter(|after| !after.starts_with(char::is_whitespace)) {
            (token.negated, rest) = (true, after);
        }
        let bare = rest;
        rest = split_field(rest, &mut token);
        (token.value, rest) = split_value(rest)?;
        rest = rest.trim_start();
        if token.field.is_none() && is_joining(bare, &token.value)? {
            continue;
        }
        rest = token.take_words_of_time(rest);
        found.push(token);
    }
    Ok(found)
}

/// AND, OR and NOT as other searches have them: here all terms are to hold anyway.
fn is_joining(rest: &str, value: &str) -> Result<bool, NotAFilter> {
    let why = match value {
        _ if rest.starts_with('"') => return Ok(false),
        "AND" | "&&" => return Ok(true),
        "OR" | "||" => {
            "all terms are to hold: for either of two values write user:a,b (or quote \"OR\" to search for it)"
        }
        "NOT" => "write -term for what must not hold: -verdict:allow (or quote \"NOT\" to search for it)",
        _ => return Ok(false),
    };
    Err(NotAFilter::of(why))
}

impl Token {
    /// `since:last week` without quotes, and `since:2 hours ago`.
    fn take_words_of_time<'a>(&mut self, rest: &'a str) -> &'a str {
        let is_time =
            self.field.as_ref().is_some_and(|(name, _)| field_of(name).is_some_and(|field| field.kind() == Kind::Time));
        let more = |value: &str| {
            let goes_on = matches!(value, "last" | "this") || value.bytes().all(|byte| byte.is_ascii_digit());
            is_time && !value.is_empty() && goes_on
        };
        let mut rest = rest;
        let mut take = |value: &mut String, wanted: &dyn Fn(&str) -> bool| {
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            if wanted(&word.to_lowercase()) {
                *value = format!("{value} {word}");
                rest = after.trim_start();
            }
        };
        if more(&self.value.to_lowercase()) {
            take(&mut self.value, &|word| {
                matches!(word, "week" | "month" | "year") || weekday(word).is_some() || seconds_of(word).is_some()
            });
        }
        if is_time && ago(&self.value.to_lowercase()).is_some() {
            take(&mut self.value, &|word| word == "ago");
        }
        rest
    }
}

/// Takes `name:`, `name>=` and so on off the front, if a field's name stands there.
fn split_field<'a>(rest: &'a str, token: &mut Token) -> &'a str {
    let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
    let (name, after) = rest.split_at(end);
    let after_colon = after.strip_prefix(':');
    if let Some(value) = after.strip_prefix("!=").filter(|_| field_of(&name.to_ascii_lowercase()).is_some()) {
        token.negated = !token.negated;
        token.field = Some((name.to_ascii_lowercase(), Operator::Is));
        return value;
    }
    let operators =
        [(">=", Operator::AtLeast), ("<=", Operator::AtMost), (">", Operator::Above), ("<", Operator::Below)];
    let signed = after_colon.unwrap_or(after);
    let found = operators.iter().find_map(|(sign, operator)| Some((*operator, signed.strip_prefix(sign)?)));
    let found = found.or_else(|| Some((Operator::Is, after_colon.or_else(|| after.strip_prefix('='))?)));
    match found {
        Some((operator, value)) if !name.is_empty() => {
            token.field = Some((name.to_ascii_lowercase(), operator));
            value
        }
        _ => rest,
    }
}

/// Takes a value off the front: up to a space outside quotes.
fn split_value(rest: &str) -> Result<(String, &str), NotAFilter> {
    let mut value = String::new();
    let mut quoted = false;
    for (at, c) in rest.char_indices() {
        match c {
            '"' | '“' | '”' | '„' => quoted = !quoted,
            c if c.is_whitespace() && !quoted => return Ok((value, rest.get(at..).unwrap_or_default())),
            c => value.push(c),
        }
    }
    if quoted { Err(NotAFilter(format!("a quote is not closed: {rest}"))) } else { Ok((value, "")) }
}

fn term(token: Token, now: &Zoned) -> Result<Term, NotAFilter> {
    let negated = token.negated;
    let Some((name, operator)) = token.field else {
        return Ok(Term { negated, test: Test::Free(token.value.to_lowercase()) });
    };
    let field = field_of(&name).ok_or_else(|| unknown_field(&name))?;
    if token.value.is_empty() {
        return Err(NotAFilter(format!("{name}: wants a value")));
    }
    let test = match field.kind() {
        Kind::Number | Kind::Duration | Kind::Size => numbers(field, operator, &token.value)?,
        Kind::Time => moment(field, &token.value, now)?,
        _ if operator != Operator::Is => {
            return Err(NotAFilter(format!("{name} is not a number: write {name}:{}", token.value)));
        }
        _ => {
            let any: Vec<String> = token.value.to_lowercase().split(',').map(str::to_owned).collect();
            any.iter().try_for_each(|value| check_word(field, &name, value))?;
            Test::Text { field, any }
        }
    };
    Ok(Term { negated, test })
}

fn field_of(name: &str) -> Option<Field> {
    Field::ALL.iter().copied().find(|field| field.names().contains(&name))
}

fn unknown_field(name: &str) -> NotAFilter {
    let every = Field::ALL.iter().flat_map(|field| field.names().iter().copied());
    if let Some(near) = nearest(name, every) {
        return NotAFilter(format!(
            "there is no field {name}; did you mean {near}: ? (quote the word to search for it)"
        ));
    }
    let known: Vec<&str> = Field::ALL.iter().filter_map(|field| field.names().first().copied()).collect();
    NotAFilter(format!("there is no field {name}; there are {} (quote the word to search for it)", known.join(", ")))
}

/// The only words that a field can have, where there are such.
fn words_of(field: Field) -> Vec<&'static str> {
    match field {
        Field::Verdict => Verdict::ALL.iter().map(|word| word.word()).collect(),
        Field::Readers => Readers::ALL.iter().map(|word| word.word()).collect(),
        Field::Protocol => Protocol::ALL.iter().map(|word| word.word()).collect(),
        Field::State => TransactionState::ALL.iter().map(|word| word.word()).collect(),
        Field::Endpoint => vec!["pooled", "direct", "replica"],
        Field::Event => super::fields::EVENTS.iter().map(|(event, _)| *event).collect(),
        Field::Effect => {
            let names = Class::ALL.iter().map(|class| class.name());
            let mut all: Vec<&str> = names.flat_map(|name| [name, name.split('.').next().unwrap_or(name)]).collect();
            all.sort_unstable();
            all.dedup();
            all
        }
        _ => Vec::new(),
    }
}

/// A word that no record can have finds nothing and says nothing: better to say so. The beginning of one may still be being typed.
fn check_word(field: Field, name: &str, value: &str) -> Result<(), NotAFilter> {
    let words = words_of(field);
    if words.is_empty() || value.is_empty() || value.contains('*') || words.iter().any(|word| word.starts_with(value)) {
        return Ok(());
    }
    let like = match (field, value) {
        (Field::Verdict, "denied" | "refused" | "rejected" | "blocked" | "refuse" | "no") => Some("deny"),
        (Field::Verdict, "allowed" | "passed" | "ok" | "yes") => Some("allow"),
        _ => nearest(value, words.iter().copied()),
    };
    let meant = like.map(|like| format!("; did you mean {name}:{like}?")).unwrap_or_default();
    Err(NotAFilter(format!("no record has {name}:{value}{meant} There are {}", words.join(", "))))
}

fn numbers(field: Field, operator: Operator, value: &str) -> Result<Test, NotAFilter> {
    let one = |text: &str| quantity(field.kind(), text);
    let range = |text: &str| -> Result<Range, NotAFilter> {
        if let Some((least, most)) = text.split_once("..").filter(|_| operator == Operator::Is) {
            let least = if least.is_empty() { 0 } else { one(least)? };
            let most = if most.is_empty() { u64::MAX } else { one(most)? };
            return Ok(Range { least, most });
        }
        let value = one(text)?;
        Ok(match operator {
            Operator::Is => Range { least: value, most: value },
            Operator::Above => Range { least: value.saturating_add(1), most: u64::MAX },
            Operator::AtLeast => Range { least: value, most: u64::MAX },
            Operator::Below => {
                value.checked_sub(1).map_or(Range { least: 1, most: 0 }, |most| Range { least: 0, most })
            }
            Operator::AtMost => Range { least: 0, most: value },
        })
    };
    Ok(Test::Number { field, any: value.split(',').map(range).collect::<Result<_, _>>()? })
}

/// A number with its unit, in the field's smallest one.
fn quantity(kind: Kind, text: &str) -> Result<u64, NotAFilter> {
    let units: &[(&str, f64)] = match kind {
        Kind::Duration => &[("us", 1.0), ("µs", 1.0), ("ms", 1e3), ("s", 1e6), ("m", 6e7), ("min", 6e7), ("h", 3.6e9)],
        Kind::Size => {
            &[("", 1.0), ("b", 1.0), ("kb", 1e3), ("mb", 1e6), ("gb", 1e9), ("kib", 1024.0), ("mib", 1048576.0)]
        }
        _ => &[("", 1.0), ("k", 1e3), ("m", 1e6)],
    };
    let lower = text.to_lowercase();
    let at = lower.find(|c: char| !c.is_ascii_digit() && c != '.' && c != '_').unwrap_or(lower.len());
    let (digits, unit) = lower.split_at(at);
    let factor = units.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor);
    let number = digits.replace('_', "").parse::<f64>().ok();
    match (number, factor) {
        (Some(number), Some(factor)) => Ok((number * factor).round() as u64),
        _ => Err(NotAFilter(format!("{text} is not {}", quantity_words(kind)))),
    }
}

fn quantity_words(kind: Kind) -> &'static str {
    match kind {
        Kind::Duration => "a length of time: write 100ms, 2s, 5m or 1h",
        Kind::Size => "a size: write 500, 10kB or 5MB",
        _ => "a number",
    }
}

fn moment(field: Field, value: &str, now: &Zoned) -> Result<Test, NotAFilter> {
    let (from, to) = span_of(value, now).ok_or_else(|| {
        NotAFilter(format!(
            "{value} is not a time: write 2026-01-31, 2026-01, \"2026-01-31 13:30\", 13:30, today, yesterday, friday, last week, this month, 2h or 3d"
        ))
    })?;
    Ok(match field {
        Field::Until => Test::Time { from: None, to: Some(to) },
        Field::Before => Test::Time { from: None, to: Some(from) },
        Field::On => Test::Time { from: Some(from), to: Some(to) },
        _ => Test::Time { from: Some(from), to: None },
    })
}

/// The span that a time word means: a day has a beginning and an end, a moment begins and ends at once.
fn span_of(value: &str, now: &Zoned) -> Option<(Timestamp, Timestamp)> {
    let value = value.to_lowercase().replace('_', " ");
    if let Some((first, behind)) = days_of(&value, now.date()) {
        let at = |day: Date| micros(&day.to_zoned(now.time_zone().clone()).ok()?);
        return Some((at(first)?, at(behind)?));
    }
    if let Some(day) = day_of(&value, now.date()) {
        let from = day.to_zoned(now.time_zone().clone()).ok()?;
        let to = day.tomorrow().ok()?.to_zoned(now.time_zone().clone()).ok()?;
        return Some((micros(&from)?, micros(&to)?));
    }
    let at = micros(&moment_of(&value, now)?)?;
    Some((at, Timestamp(at.0 + 1)))
}

fn micros(at: &Zoned) -> Option<Timestamp> {
    u64::try_from(at.timestamp().as_microsecond()).ok().map(Timestamp)
}

/// Stretches of several days: the first one, and the first one behind.
fn days_of(value: &str, today: Date) -> Option<(Date, Date)> {
    let first_of = |date: Date| date.first_of_month();
    let monday = last(Weekday::Monday, today)?;
    let add = |date: Date, span: Span| date.checked_add(span).ok();
    match value {
        "week" | "this week" => Some((monday, add(monday, Span::new().weeks(1))?)),
        "last week" | "lastweek" => Some((add(monday, Span::new().weeks(-1))?, monday)),
        "month" | "this month" => Some((first_of(today), add(first_of(today), Span::new().months(1))?)),
        "last month" | "lastmonth" => Some((add(first_of(today), Span::new().months(-1))?, first_of(today))),
        "year" | "this year" => Some((today.first_of_year(), add(today.first_of_year(), Span::new().years(1))?)),
        "last year" => Some((add(today.first_of_year(), Span::new().years(-1))?, today.first_of_year())),
        _ => {
            let month = format!("{value}-01").parse::<Date>().ok().filter(|_| value.len() == 7)?;
            Some((month, add(month, Span::new().months(1))?))
        }
    }
}

fn day_of(value: &str, today: Date) -> Option<Date> {
    match value {
        "today" => Some(today),
        "yesterday" => today.yesterday().ok(),
        // The one before today, where a bare name may mean today.
        _ if value.starts_with("last ") => last(weekday(value.strip_prefix("last ")?)?, today.yesterday().ok()?),
        _ => weekday(value.strip_prefix("this ").unwrap_or(value))
            .and_then(|weekday| last(weekday, today))
            .or_else(|| value.parse::<Date>().ok().filter(|_| value.len() == 10)),
    }
}

fn weekday(value: &str) -> Option<Weekday> {
    const NAMES: [(&str, Weekday); 7] = [
        ("monday", Weekday::Monday),
        ("tuesday", Weekday::Tuesday),
        ("wednesday", Weekday::Wednesday),
        ("thursday", Weekday::Thursday),
        ("friday", Weekday::Friday),
        ("saturday", Weekday::Saturday),
        ("sunday", Weekday::Sunday),
    ];
    NAMES.iter().find(|(name, _)| *name == value || (value.len() == 3 && name.starts_with(value))).map(|(_, day)| *day)
}

/// The latest such day that has begun.
fn last(weekday: Weekday, today: Date) -> Option<Date> {
    today.checked_sub(Span::new().days(i64::from(weekday.until(today.weekday())))).ok()
}

fn moment_of(value: &str, now: &Zoned) -> Option<Zoned> {
    if value == "now" {
        return Some(now.clone());
    }
    if let Some(ago) = ago(value) {
        return now.checked_sub(ago).ok();
    }
    if let Ok(at) = value.to_uppercase().parse::<jiff::Timestamp>() {
        return Some(at.to_zoned(now.time_zone().clone()));
    }
    let at = match value.parse::<Time>().ok().filter(|_| value.contains(':') && value.len() <= 8) {
        Some(time) => now.date().to_datetime(time),
        None => value.parse::<DateTime>().ok()?,
    };
    at.to_zoned(now.time_zone().clone()).ok()
}

/// `90s`, `30m`, `2h`, `3d`, `1w`, `2 hours ago`.
fn ago(value: &str) -> Option<SignedDuration> {
    let value = value.strip_suffix(" ago").unwrap_or(value);
    let (count, unit) = value.split_at(value.find(|c: char| !c.is_ascii_digit())?);
    let (count, seconds) = (count.parse::<i64>().ok()?, seconds_of(unit.trim_start())?);
    (0..1_000_000).contains(&count).then(|| SignedDuration::from_secs(count * seconds))
}

fn seconds_of(unit: &str) -> Option<i64> {
    Some(match unit {
        "s" | "sec" | "second" | "seconds" => 1,
        "m" | "min" | "mins" | "minute" | "minutes" => 60,
        "h" | "hour" | "hours" => 3_600,
        "d" | "day" | "days" => 86_400,
        "w" | "week" | "weeks" => 604_800,
        _ => return None,
    })
}

/// Whether search shows an event when nobody asks for kinds of events: not what only belongs to another record.
pub fn is_shown(record: &RecordView<'_>) -> bool {
    is_shown_event(&record.event)
}

pub(super) fn is_shown_event(event: &str) -> bool {
    !matches!(event, "outcome" | "transaction" | "checkpoint" | "segment")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    /// Saturday.
    fn now() -> Zoned {
        "2026-01-31T12:00:00+01:00[Europe/Berlin]".parse().unwrap()
    }

    const STATEMENT: &str = r#"{"seq":7,"time":"2026-01-30T23:30:00.000000Z","event":"statement","id":"0DQ5X7K2M9A","session":"s1",
        "user":"Studio_Reader","role":"studio","environment":"production","client":"[::1]:5000","application":"Prisma Studio",
        "verdict":"deny","rule":"not in allow (policy read-only)","effects":[{"class":"ddl.destructive","object":"public.orders",
        "act":"DROP TABLE","by":"both"}],"text":"drop table Orders -- bye","transaction":3,"sqlstate":"25006"}"#;
    const OUTCOME: &str =
        r#"{"seq":8,"event":"outcome","of":"0DQ5X7K2M9A","rows":50,"duration_us":150000,"tag":"SELECT 50"}"#;

    fn holds(filter: &str, with_outcome: bool) -> bool {
        let record = RecordView::parse(STATEMENT.as_bytes()).unwrap();
        let outcome = RecordView::parse(OUTCOME.as_bytes()).unwrap();
        let story = Story { line: STATEMENT, record: &record, outcome: with_outcome.then_some(&outcome) };
        Filter::parse(filter, &now()).unwrap_or_else(|error| panic!("{filter}: {error}")).matches(&story)
    }

    #[test]
    fn filters_hold() {
        let table = [
            "",
            "user:studio_reader",
            "user:studio*",
            "user:*reader",
            "user:x,studio_reader",
            "-user:app",
            "verdict:deny",
            "effect:ddl.destructive",
            "effect:ddl",
            "effect:ddl.*",
            "table:orders",
            "table:public.orders",
            "table:ord*",
            "table:public.*",
            "client:::1",
            "ip:[::1]:5000",
            "app:studio",
            "act:\"drop table\"",
            "rule:\"not in\"",
            "drop",
            "\"table orders\"",
            "ORDERS",
            "-nothing",
            "tx:3",
            "tx:1..3",
            "tx>2",
            "seq<=7",
            "error:25006",
            "error:*",
            "since:friday",
            "since:2026-01-31",
            "since:12h",
            "since:yesterday until:today",
            "on:today",
            "on:sat",
            "before:01:00",
            "since:00:30",
            "since:2026-01-30T23:00:00Z",
            "-before:today",
            "until:\"2026-01-31 00:31\"",
            "user:studio_reader verdict:deny effect:ddl.destructive table:orders since:friday \"bye\"",
            "-grant:*",
            "user!=app",
            "effect:DDL",
            "user:studio_reader AND verdict:deny",
            "“table orders”",
            "since:\"last week\"",
            "since:last week drop",
            "since:lastweek",
            "since:this week",
            "on:\"this month\"",
            "since:this year",
            "since:last friday",
            "on:2026-01",
            "since:2 days ago drop",
            "since:20hours",
        ];
        for filter in table {
            assert!(holds(filter, false), "{filter}");
        }
        for filter in [
            "rows:50",
            "rows>=50",
            "duration>100ms",
            "duration:>0.1s",
            "duration<1m",
            "took:100ms..200ms",
            "tag:select*",
        ] {
            assert!(holds(filter, true), "{filter}");
            assert!(!holds(filter, false), "{filter} without an outcome");
        }
    }

    #[test]
    fn filters_do_not_hold() {
        let table = [
            "user:studio",
            "-user:studio_reader",
            "user!=studio_reader",
            "verdict:allow",
            "verdict:den",
            "effect:dd",
            "effect:ddl.destructiv",
            "on:last week",
            "on:last saturday",
            "on:last month",
            "since:3 hours ago",
            "table:order",
            "table:orders.public",
            "grant:*",
            "tx:4",
            "tx>3",
            "seq<7",
            "nothing",
            "since:today since:10:00",
            "on:friday",
            "before:today",
            "until:yesterday",
            "drop -table:orders",
            "ip:127.0.0.1",
            "rows<0",
        ];
        for filter in table {
            assert!(!holds(filter, true), "{filter}");
        }
    }

    #[test]
    fn mistakes_are_explained() {
        let table = [
            ("usr:x", "there is no field usr; did you mean user: ?"),
            ("quux:x", "there is no field quux; there are user, role"),
            ("verdict:denied", "did you mean verdict:deny? There are allow, deny, observe"),
            ("verdict:refused", "did you mean verdict:deny?"),
            ("effect:ddl.destuctive", "did you mean effect:ddl.destructive?"),
            ("event:statment", "did you mean event:statement?"),
            ("state:commited", "did you mean state:committed?"),
            ("user:a OR user:b", "write user:a,b"),
            ("NOT user:a", "write -term"),
            ("user:", "wants a value"),
            ("user>5", "user is not a number"),
            ("rows:many", "many is not a number"),
            ("duration>5", "write 100ms"),
            ("since:whenever", "write 2026-01-31"),
            ("\"open", "a quote is not closed"),
        ];
        for (filter, words) in table {
            let error = Filter::parse(filter, &now()).unwrap_err().to_string();
            assert!(error.contains(words), "{filter}: {error}");
        }
    }

    #[test]
    fn the_span_is_the_narrowest() {
        let filter = Filter::parse("since:friday since:today until:now", &now()).unwrap();
        let (from, to) = filter.span();
        assert_eq!(from.unwrap().to_string(), "2026-01-30T23:00:00.000000Z");
        assert_eq!(to.unwrap().to_string(), "2026-01-31T11:00:00.000001Z");
    }
}
