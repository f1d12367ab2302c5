//! What is recorded: events, the session they belong to, and their JSON.

use std::borrow::Cow;
use std::sync::Arc;

use super::id::AuditId;
use super::json::{self, Members};
use super::time::Timestamp;
use crate::sql::{Effect, Origin};

/// One record, before it takes its place in the chain.
#[derive(Clone, Debug)]
pub struct Record {
    /// Its audit id.
    pub id: AuditId,
    /// When it happened.
    pub at: Timestamp,
    /// The session it belongs to, if any.
    pub session: Option<SessionFields>,
    /// What happened.
    pub event: Event,
}

impl Record {
    /// A record of something that happens now.
    pub fn new(id: AuditId, session: Option<SessionFields>, event: Event) -> Record {
        Record { id, at: Timestamp::now(), session, event }
    }

    /// Appends the record's members, each with its leading comma, from `time` on.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b",\"time\":\"");
        self.at.write(out);
        out.extend_from_slice(b"\",\"event\":\"");
        out.extend_from_slice(self.event.kind().as_bytes());
        out.extend_from_slice(b"\",\"id\":\"");
        out.extend_from_slice(&self.id.digits());
        out.push(b'"');
        if let Some(session) = &self.session {
            out.extend_from_slice(if self.event.is_brief() { &session.0.brief } else { &session.0.full });
        }
        self.event.write(&mut Members(out));
    }
}

/// Who a session is, as far as it is known. Empty texts are left out of the record.
#[derive(Clone, Copy, Debug, Default)]
pub struct SessionIdentity<'a> {
    /// The session's own id.
    pub session: &'a str,
    /// Who logs in (or tried to).
    pub user: &'a str,
    /// The user's role in the environment.
    pub role: &'a str,
    /// The database's environment.
    pub environment: &'a str,
    /// The name the client connected to.
    pub database: &'a str,
    /// `pooled`, `direct` or `replica`.
    pub endpoint: &'a str,
    /// The client's address and port.
    pub client: &'a str,
    /// TLS version, as `TLSv1.3`.
    pub tls: &'a str,
    /// `scram-sha-256`, `scram-sha-256-plus`, `certificate`, …
    pub login: &'a str,
    /// The client's `application_name`.
    pub application: &'a str,
}

/// The fields that every record of a session has, rendered once. Cheap to clone; made anew when `application_name` changes.
#[derive(Clone, Debug)]
pub struct SessionFields(Arc<Rendered>);

#[derive(Debug)]
struct Rendered {
    full: Vec<u8>,
    brief: Vec<u8>,
}

impl SessionFields {
    /// Renders the fields.
    pub fn new(identity: &SessionIdentity<'_>) -> SessionFields {
        let mut brief = Vec::new();
        Members(&mut brief).text("session", identity.session);
        let mut full = brief.clone();
        let mut members = Members(&mut full);
        let fields = [
            ("user", identity.user),
            ("role", identity.role),
            ("environment", identity.environment),
            ("database", identity.database),
            ("endpoint", identity.endpoint),
            ("client", identity.client),
            ("tls", identity.tls),
            ("login", identity.login),
            ("application", identity.application),
        ];
        for (name, value) in fields {
            if !value.is_empty() {
                members.text(name, value);
            }
        }
        SessionFields(Arc::new(Rendered { full, brief }))
    }
}

/// A judgement's effects as JSON, rendered once for all records of a cached statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EffectsJson(Arc<str>);

impl EffectsJson {
    /// Renders effects as an array of `{class, object, act, by}`.
    pub fn new(effects: &[(Effect, Origin)]) -> EffectsJson {
        let mut out = vec![b'['];
        for (index, (effect, origin)) in effects.iter().enumerate() {
            out.extend_from_slice(if index > 0 { b",{\"class\":\"" } else { b"{\"class\":\"" });
            out.extend_from_slice(effect.class.name().as_bytes());
            out.push(b'"');
            let mut members = Members(&mut out);
            if let Some(object) = &effect.object {
                members.text("object", &object.to_string());
            }
            members.text("act", &effect.act);
            members.word("by", reader(*origin));
            out.push(b'}');
        }
        out.push(b']');
        EffectsJson(text_of(out))
    }
}

impl EffectsJson {
    /// Bytes of the rendered array.
    pub fn bytes(&self) -> usize {
        self.0.len()
    }

    /// The array as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn reader(origin: Origin) -> &'static str {
    match origin {
        Origin::Postgres => "postgres",
        Origin::Sqlparser => "sqlparser",
        Origin::Both => "both",
    }
}

fn text_of(out: Vec<u8>) -> Arc<str> {
    Arc::from(String::from_utf8(out).unwrap_or_default())
}

/// A statement's text as the record shows it, escaped once for all records of a cached statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatementJson(Arc<str>);

impl StatementJson {
    /// The whole text (`text`) and, when known, its fingerprint. Bytes that are not UTF-8 are kept in `text_base64`.
    pub fn whole(text: &[u8], fingerprint: Option<&str>) -> StatementJson {
        StatementJson::render(text.len(), |members| members.bytes("text", text), fingerprint)
    }

    /// The text without its literals (`text`, with `redacted` true) and, when known, its fingerprint.
    pub fn redacted(text: &str, fingerprint: Option<&str>) -> StatementJson {
        let write = |members: &mut Members<'_>| {
            members.text("text", text);
            members.flag("redacted", true);
        };
        StatementJson::render(text.len(), write, fingerprint)
    }

    /// The fingerprint alone.
    pub fn fingerprint(fingerprint: &str) -> StatementJson {
        StatementJson::render(0, |_| {}, Some(fingerprint))
    }

    /// The text as it is recorded, where it is.
    pub fn text(&self) -> Option<String> {
        #[derive(serde::Deserialize)]
        struct Text {
            text: Option<String>,
        }
        let members = format!("{{{}}}", self.0.strip_prefix(',').unwrap_or_default());
        serde_json::from_str::<Text>(&members).ok()?.text
    }

    fn render(text_bytes: usize, write: impl FnOnce(&mut Members<'_>), fingerprint: Option<&str>) -> StatementJson {
        // Room for names, quotes and a few escapes.
        let mut out = Vec::with_capacity(text_bytes + 64);
        let mut members = Members(&mut out);
        write(&mut members);
        members.maybe("fingerprint", fingerprint);
        StatementJson(text_of(out))
    }
}

/// A bind parameter, as far as the record shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParameterShown<'a> {
    /// NULL.
    Null,
    /// Text; where it is cut, how many bytes the value had.
    Text(&'a str, Option<usize>),
    /// The beginning of a value that is no text, and how many bytes it had.
    Hex(&'a [u8], usize),
    /// A secret.
    Hidden,
    /// The type, where it is known, and how many bytes the value had.
    Outline(Option<&'static str>, usize),
}

/// Bind parameters as a JSON array, redacted by whoever makes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParametersJson {
    array: Arc<str>,
    /// How many there were, if not all are shown.
    of: Option<u64>,
}

impl ParametersJson {
    /// Renders parameters in order, out of `count` that there were.
    pub fn new<'a>(count: usize, shown: impl IntoIterator<Item = ParameterShown<'a>>) -> ParametersJson {
        let mut out = vec![b'['];
        let mut number = 0;
        for parameter in shown {
            if number > 0 {
                out.push(b',');
            }
            number += 1;
            parameter.write(&mut out);
        }
        out.push(b']');
        ParametersJson { array: text_of(out), of: (number < count).then_some(count as u64) }
    }

    fn write(&self, members: &mut Members<'_>) {
        members.raw("parameters", &self.array);
        if let Some(of) = self.of {
            members.number("parameters_bound", of);
        }
    }
}

impl ParameterShown<'_> {
    fn write(self, out: &mut Vec<u8>) {
        match self {
            ParameterShown::Null => out.extend_from_slice(b"null"),
            ParameterShown::Text(text, None) => json::string(out, text),
            ParameterShown::Text(text, Some(length)) => {
                out.extend_from_slice(b"{\"text\":");
                json::string(out, text);
                length_of(out, length);
            }
            ParameterShown::Hex(bytes, length) => {
                out.extend_from_slice(b"{\"hex\":\"");
                json::hex(out, bytes);
                out.push(b'"');
                length_of(out, length);
            }
            ParameterShown::Hidden => out.extend_from_slice(b"{\"hidden\":true}"),
            ParameterShown::Outline(None, length) => {
                out.extend_from_slice(b"{\"bytes\":");
                json::number(out, length as u64);
                out.push(b'}');
            }
            ParameterShown::Outline(Some(kind), length) => {
                out.extend_from_slice(b"{\"type\":\"");
                out.extend_from_slice(kind.as_bytes());
                out.push(b'"');
                length_of(out, length);
            }
        }
    }
}

fn length_of(out: &mut Vec<u8>, length: usize) {
    out.extend_from_slice(b",\"bytes\":");
    json::number(out, length as u64);
    out.push(b'}');
}

/// A command tag kept without an allocation; longer than 39 bytes, it is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    length: u8,
    bytes: [u8; 39],
}

impl Tag {
    /// The tag as CommandComplete gives it.
    pub fn new(tag: &[u8]) -> Tag {
        let mut kept = Tag { length: 0, bytes: [0; 39] };
        for (slot, byte) in kept.bytes.iter_mut().zip(tag) {
            *slot = if byte.is_ascii_graphic() || *byte == b' ' { *byte } else { b'?' };
            kept.length += 1;
        }
        kept
    }

    /// The tag's text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.bytes.get(..usize::from(self.length)).unwrap_or_default()).unwrap_or_default()
    }
}

/// A five-character SQLSTATE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SqlState(pub [u8; 5]);

impl Default for Tag {
    fn default() -> Tag {
        Tag::new(b"")
    }
}

impl SqlState {
    /// The code as text; what is not a letter or digit is shown as `?`.
    fn write(self, members: &mut Members<'_>) {
        let clean = self.0.map(|byte| if byte.is_ascii_alphanumeric() { byte } else { b'?' });
        members.word("sqlstate", std::str::from_utf8(&clean).unwrap_or("?????"));
    }
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl $name {
            /// Every value, in order.
            pub const ALL: &'static [$name] = &[$($name::$variant,)*];

            /// The word in the record.
            pub const fn word(self) -> &'static str {
                match self { $($name::$variant => $word,)* }
            }
        }
    };
}

words! {
    /// What was decided about a statement.
    Verdict {
        /// It was forwarded.
        Allow = "allow",
        /// It was refused.
        Deny = "deny",
        /// The policy would refuse it, but only observes: it was forwarded.
        Observe = "observe",
    }
}

words! {
    /// How the statement came.
    Protocol {
        /// A Query message.
        Simple = "simple",
        /// Parse, Bind, Execute.
        Extended = "extended",
    }
}

words! {
    /// Which readers read the statement's text.
    Readers {
        /// Both, and they saw the same classes.
        Both = "both",
        /// Both, and they saw different classes: the verdict is over the union.
        Disagree = "disagree",
        /// PostgreSQL's grammar only.
        Postgres = "postgres",
        /// Neither: the text is not readable.
        Neither = "neither",
    }
}

words! {
    /// Where the transaction stands after the statement.
    TransactionState {
        /// The statement's work is committed.
        Committed = "committed",
        /// The statement's work is rolled back.
        RolledBack = "rolled_back",
        /// Its text ran in several transactions, of which some committed and some were rolled back.
        Mixed = "mixed",
        /// The transaction goes on; a `transaction` record says how it ended.
        Open = "open",
        /// An earlier statement of the same batch failed: the server never ran it.
        Skipped = "skipped",
        /// The connection was lost before the server said: the work may be committed or not.
        Unknown = "unknown",
    }
}

words! {
    /// Why a login failed: a class, never what was typed.
    LoginFailure {
        /// No such user.
        UnknownUser = "unknown_user",
        /// The password, or the proof of it, was wrong.
        WrongPassword = "wrong_password",
        /// The client certificate was missing or refused.
        Certificate = "certificate",
        /// No such database.
        UnknownDatabase = "unknown_database",
        /// The user has no role in the database's environment.
        NoRole = "no_role",
        /// TLS is required and the client did not use it.
        TlsRequired = "tls_required",
        /// Too many failures from this address or for this user.
        Throttled = "throttled",
        /// A limit on connections is reached.
        TooManyConnections = "too_many_connections",
        /// A startup parameter is not allowed.
        StartupParameter = "startup_parameter",
        /// The startup took too long.
        Timeout = "timeout",
        /// The client broke the protocol, or went away.
        Protocol = "protocol",
        /// The login succeeded, but the endpoint could not be reached or refused.
        Endpoint = "endpoint",
        /// pgwarden is shutting down or cannot write its audit log.
        Unavailable = "unavailable",
    }
}

/// What happened. Every kind is in the same chain.
#[derive(Clone, Debug)]
pub enum Event {
    /// pgwarden opened the log.
    Start(Start),
    /// pgwarden closes the log in order.
    Stop {
        /// Why: `SIGTERM`, `end`, …
        reason: Cow<'static, str>,
    },
    /// The log did not end in order, or not as it was left.
    Recovery(Recovery),
    /// Records could not be written for a while.
    Gap(Gap),
    /// A segment begins.
    Segment {
        /// Hash of the record before, in the segment before.
        previous: String,
    },
    /// Oldest segments are removed under a rule.
    Retention(Retention),
    /// The configuration was loaded again, or refused.
    Reload(Reload),
    /// A session begins.
    Login {
        /// Name of the policy that holds for it.
        policy: Arc<str>,
        /// Generation of the policies.
        generation: u64,
    },
    /// A login failed.
    LoginFailed {
        /// The class of the reason.
        reason: LoginFailure,
        /// What the client was told, without secrets.
        message: Option<String>,
    },
    /// A session ended.
    SessionEnd(SessionEnd),
    /// A statement and its verdict.
    Statement(Statement),
    /// How a statement went.
    Outcome(Outcome),
    /// Reads that were counted.
    Reads(Reads),
    /// A transaction ended.
    Transaction {
        /// Its number within the session.
        number: u64,
        /// How it ended.
        state: TransactionState,
    },
    /// A cancel request.
    Cancel {
        /// The session it was for, when there is one.
        target: Option<String>,
        /// What came of it: `sent`, `no such session`, …
        result: Cow<'static, str>,
    },
    /// A grant was asked for, given, refused, taken back, or ran out.
    Grant(Grant),
    /// A person reviewed a record.
    Review(Review),
    /// Somebody acted on pgwarden itself: console, API or command line.
    Admin {
        /// Who.
        by: String,
        /// What: `session.kill`, `console.login`, …
        action: Cow<'static, str>,
        /// On what.
        target: Option<String>,
    },
}

/// pgwarden opened the log.
#[derive(Clone, Debug, Default)]
pub struct Start {
    /// pgwarden's version.
    pub version: Cow<'static, str>,
    /// Its process id.
    pub process: u64,
    /// Name of the key that signs checkpoints.
    pub key: String,
}

/// The log did not end in order, or not as it was left.
#[derive(Clone, Debug, Default)]
pub struct Recovery {
    /// Sequence number of the last whole record found.
    pub last: u64,
    /// Bytes of an unfinished record that were cut off.
    pub torn_bytes: u64,
    /// Their SHA-256, when there were any.
    pub torn_hash: Option<String>,
    /// Records found after the last signed checkpoint; their marks were checked before this start signs them.
    pub unsigned: u64,
    /// What is not as it was left, when something is not.
    pub damage: Option<String>,
}

/// Records could not be written for a while.
#[derive(Clone, Debug, Default)]
pub struct Gap {
    /// When the first write failed.
    pub since: Timestamp,
    /// What the system said first.
    pub error: String,
    /// Failed attempts.
    pub failures: u64,
    /// Records refused to their caller: their statements were not forwarded.
    pub refused: u64,
    /// Records lost for ever because the queue was full.
    pub lost: u64,
}

/// Oldest segments are removed under a rule.
#[derive(Clone, Debug, Default)]
pub struct Retention {
    /// The rule: `age 90d`, `bytes 10737418240`.
    pub rule: String,
    /// First sequence number removed.
    pub first: u64,
    /// Last sequence number removed.
    pub last: u64,
    /// Hash of the last record removed.
    pub last_hash: String,
    /// How many segments.
    pub segments: u64,
}

/// The configuration was loaded again, or refused.
#[derive(Clone, Debug, Default)]
pub struct Reload {
    /// By which signal or whom: `SIGHUP`, `console:alice`.
    pub cause: Cow<'static, str>,
    /// Generation in force afterwards.
    pub generation: u64,
    /// What changed, one line each, without secrets.
    pub changes: Vec<String>,
    /// Why it was refused; `None` when it was applied.
    pub refused: Option<String>,
}

/// A session ended.
#[derive(Clone, Debug, Default)]
pub struct SessionEnd {
    /// Why: `client closed`, `server closed`, `idle timeout`, `shutdown`, …
    pub reason: Cow<'static, str>,
    /// Statements judged.
    pub statements: u64,
    /// Statements denied.
    pub denied: u64,
    /// Rows returned or affected.
    pub rows: u64,
    /// Bytes sent to the client.
    pub bytes: u64,
    /// How long it lasted, in microseconds.
    pub duration_us: u64,
}

/// A statement and its verdict.
#[derive(Clone, Debug)]
pub struct Statement {
    /// What was decided.
    pub verdict: Verdict,
    /// The rule that decided.
    pub rule: Arc<str>,
    /// The policy's name.
    pub policy: Arc<str>,
    /// Generation of the policies.
    pub generation: u64,
    /// Effects by reader.
    pub effects: EffectsJson,
    /// Which readers read it.
    pub readers: Readers,
    /// Its text, as far as it is recorded.
    pub text: StatementJson,
    /// How it came.
    pub protocol: Protocol,
    /// Name of the prepared statement, when it has one.
    pub name: Option<Arc<str>>,
    /// Bind parameters, as far as they are recorded.
    pub parameters: Option<ParametersJson>,
    /// Number of the transaction within the session.
    pub transaction: Option<u64>,
    /// The grant that widened the policy; several are parted by a blank.
    pub grant: Option<Arc<str>>,
    /// SQLSTATE of the refusal.
    pub sqlstate: Option<SqlState>,
}

/// How a statement went.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// Audit id of the statement.
    pub of: AuditId,
    /// Command tag, empty when there is none.
    pub tag: Tag,
    /// Rows returned or affected.
    pub rows: u64,
    /// Bytes sent to the client.
    pub bytes: u64,
    /// From forwarding to the end of the answer, in microseconds.
    pub duration_us: u64,
    /// The server's error, if it gave one.
    pub sqlstate: Option<SqlState>,
    /// Where the transaction stands.
    pub state: TransactionState,
}

/// Reads of one session and fingerprint within one minute, beyond the first, which has a record of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    /// The fingerprint.
    pub fingerprint: u64,
    /// The minute.
    pub since: Timestamp,
    /// How many were forwarded.
    pub count: u64,
    /// How many of those that ended within the minute failed.
    pub failed: u64,
    /// Rows returned by those that ended within the minute.
    pub rows: u64,
    /// Bytes sent to the client by those.
    pub bytes: u64,
    /// How long those took together, in microseconds.
    pub duration_us: u64,
}

/// A grant was asked for, given, refused, taken back, or ran out. Each of its records says all of it, so that it is whole without the
/// others.
#[derive(Clone, Debug, Default)]
pub struct Grant {
    /// The grant's id: the audit id of the record that asked for it.
    pub grant: String,
    /// `requested`, `approved`, `denied`, `revoked`, `expired`.
    pub action: Cow<'static, str>,
    /// Who did it.
    pub by: String,
    /// For which user.
    pub user: String,
    /// In which role of the user.
    pub role: String,
    /// In which environment.
    pub environment: String,
    /// On which database, unless on all.
    pub database: Option<String>,
    /// What it allows, in the policy's words.
    pub allows: Vec<String>,
    /// The only relations that it is for, unless for all.
    pub relations: Vec<String>,
    /// For how many seconds it was asked for.
    pub seconds: u64,
    /// Until when.
    pub until: Option<Timestamp>,
    /// The reason given.
    pub reason: String,
    /// What whoever decided said.
    pub note: String,
}

/// A person reviewed a record.
#[derive(Clone, Debug)]
pub struct Review {
    /// Audit id of the record.
    pub of: AuditId,
    /// Who.
    pub by: String,
    /// `assigned`, `acknowledged`, `problem`, `reopened`.
    pub action: Cow<'static, str>,
    /// The note.
    pub note: String,
}

impl Event {
    /// The word in the field `event`. (`checkpoint` is the chain's own and has no value here.)
    pub fn kind(&self) -> &'static str {
        match self {
            Event::Start(_) => "start",
            Event::Stop { .. } => "stop",
            Event::Recovery(_) => "recovery",
            Event::Gap(_) => "gap",
            Event::Segment { .. } => "segment",
            Event::Retention(_) => "retention",
            Event::Reload(_) => "reload",
            Event::Login { .. } => "login",
            Event::LoginFailed { .. } => "login_failed",
            Event::SessionEnd(_) => "session_end",
            Event::Statement(_) => "statement",
            Event::Outcome(_) => "outcome",
            Event::Reads(_) => "reads",
            Event::Transaction { .. } => "transaction",
            Event::Cancel { .. } => "cancel",
            Event::Grant(_) => "grant",
            Event::Review(_) => "review",
            Event::Admin { .. } => "admin",
        }
    }

    /// Whether the session's id is enough: the statement or the login holds the rest.
    fn is_brief(&self) -> bool {
        matches!(self, Event::Outcome(_) | Event::Transaction { .. })
    }

    fn write(&self, members: &mut Members<'_>) {
        match self {
            Event::Start(start) => start.write(members),
            Event::Stop { reason } => members.text("reason", reason),
            Event::Recovery(recovery) => recovery.write(members),
            Event::Gap(gap) => gap.write(members),
            Event::Segment { previous } => members.word("previous", previous),
            Event::Retention(retention) => retention.write(members),
            Event::Reload(reload) => reload.write(members),
            Event::Login { policy, generation } => {
                members.text("policy", policy);
                members.number("generation", *generation);
            }
            Event::LoginFailed { reason, message } => {
                members.word("reason", reason.word());
                members.maybe("message", message.as_deref());
            }
            Event::SessionEnd(end) => end.write(members),
            Event::Statement(statement) => statement.write(members),
            Event::Outcome(outcome) => outcome.write(members),
            Event::Reads(reads) => reads.write(members),
            Event::Transaction { number, state } => {
                members.number("transaction", *number);
                members.word("state", state.word());
            }
            Event::Cancel { target, result } => {
                members.maybe("target", target.as_deref());
                members.text("result", result);
            }
            Event::Grant(grant) => grant.write(members),
            Event::Review(review) => review.write(members),
            Event::Admin { by, action, target } => {
                members.text("by", by);
                members.text("action", action);
                members.maybe("target", target.as_deref());
            }
        }
    }
}

impl Start {
    fn write(&self, members: &mut Members<'_>) {
        members.text("version", &self.version);
        members.number("process", self.process);
        members.word("key", &self.key);
    }
}

impl Recovery {
    fn write(&self, members: &mut Members<'_>) {
        members.number("last", self.last);
        members.number("torn_bytes", self.torn_bytes);
        members.maybe("torn_hash", self.torn_hash.as_deref());
        members.number("unsigned", self.unsigned);
        members.maybe("damage", self.damage.as_deref());
    }
}

impl Gap {
    fn write(&self, members: &mut Members<'_>) {
        members.word("since", &self.since.to_string());
        members.text("error", &self.error);
        members.number("failures", self.failures);
        members.number("refused", self.refused);
        members.number("lost", self.lost);
    }
}

impl Retention {
    fn write(&self, members: &mut Members<'_>) {
        members.text("rule", &self.rule);
        members.number("first", self.first);
        members.number("last", self.last);
        members.word("last_hash", &self.last_hash);
        members.number("segments", self.segments);
    }
}

impl Reload {
    fn write(&self, members: &mut Members<'_>) {
        members.text("cause", &self.cause);
        members.number("generation", self.generation);
        members.texts("changes", &self.changes);
        members.maybe("error", self.refused.as_deref());
    }
}

impl SessionEnd {
    fn write(&self, members: &mut Members<'_>) {
        members.text("reason", &self.reason);
        members.number("statements", self.statements);
        members.number("denied", self.denied);
        members.number("rows", self.rows);
        members.number("bytes", self.bytes);
        members.number("duration_us", self.duration_us);
    }
}

impl Statement {
    fn write(&self, members: &mut Members<'_>) {
        members.word("verdict", self.verdict.word());
        members.text("rule", &self.rule);
        members.text("policy", &self.policy);
        members.number("generation", self.generation);
        members.raw("effects", &self.effects.0);
        members.word("readers", self.readers.word());
        members.0.extend_from_slice(self.text.0.as_bytes());
        members.word("protocol", self.protocol.word());
        members.maybe("name", self.name.as_deref());
        if let Some(parameters) = &self.parameters {
            parameters.write(members);
        }
        if let Some(transaction) = self.transaction {
            members.number("transaction", transaction);
        }
        members.maybe("grant", self.grant.as_deref());
        if let Some(sqlstate) = self.sqlstate {
            sqlstate.write(members);
        }
    }
}

impl Outcome {
    fn write(&self, members: &mut Members<'_>) {
        members.word("of", std::str::from_utf8(&self.of.digits()).unwrap_or_default());
        members.text("tag", self.tag.as_str());
        members.number("rows", self.rows);
        members.number("bytes", self.bytes);
        members.number("duration_us", self.duration_us);
        if let Some(sqlstate) = self.sqlstate {
            sqlstate.write(members);
        }
        members.word("state", self.state.word());
    }
}

impl Reads {
    fn write(&self, members: &mut Members<'_>) {
        members.word("fingerprint", &format!("{:016x}", self.fingerprint));
        members.word("since", &self.since.to_string());
        members.number("count", self.count);
        members.number("failed", self.failed);
        members.number("rows", self.rows);
        members.number("bytes", self.bytes);
        members.number("duration_us", self.duration_us);
    }
}

impl Grant {
    fn write(&self, members: &mut Members<'_>) {
        members.text("grant", &self.grant);
        members.text("action", &self.action);
        members.text("by", &self.by);
        members.text("for_user", &self.user);
        members.text("for_role", &self.role);
        members.text("for_environment", &self.environment);
        members.maybe("for_database", self.database.as_deref());
        members.texts("allows", &self.allows);
        if !self.relations.is_empty() {
            members.texts("relations", &self.relations);
        }
        members.number("seconds", self.seconds);
        if let Some(until) = self.until {
            members.word("until", &until.to_string());
        }
        members.text("reason", &self.reason);
        if !self.note.is_empty() {
            members.text("note", &self.note);
        }
    }
}

impl Review {
    fn write(&self, members: &mut Members<'_>) {
        members.word("of", &self.of.to_string());
        members.text("by", &self.by);
        members.text("action", &self.action);
        members.text("note", &self.note);
    }
}
