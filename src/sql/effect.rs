//! What a statement would do: effect classes and what they touch.

use std::borrow::Cow;
use std::ops::Range;

use serde::Serialize;

macro_rules! classes {
    ($($(#[doc = $doc:literal])* $variant:ident = $name:literal,)*) => {
        /// A class of effect (DESIGN.md §3). Its name is dotted, and a policy may name a prefix.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Class { $($(#[doc = $doc])* $variant,)* }

        impl Class {
            /// Every class, in the order of the reference.
            pub const ALL: &'static [Class] = &[$(Class::$variant,)*];

            /// The dotted name that policies, records and metrics use.
            pub const fn name(self) -> &'static str {
                match self { $(Class::$variant => $name,)* }
            }

            /// What it stands for, in words: its documentation.
            pub const fn meaning(self) -> &'static str {
                match self { $(Class::$variant => concat!($($doc),*),)* }
            }
        }
    };
}

classes! {
    /// Reads rows, settings or catalogs: SELECT, VALUES, COPY … TO STDOUT, EXPLAIN, SHOW, cursors over reads.
    Read = "read",
    /// INSERT, also by ON CONFLICT DO UPDATE (which adds `write.update`).
    WriteInsert = "write.insert",
    /// UPDATE with a restricting WHERE.
    WriteUpdate = "write.update",
    /// DELETE with a restricting WHERE.
    WriteDelete = "write.delete",
    /// MERGE (its actions count as themselves too).
    WriteMerge = "write.merge",
    /// COPY … FROM STDIN.
    WriteCopy = "write.copy",
    /// SELECT … FOR UPDATE/SHARE, LOCK TABLE.
    WriteLock = "write.lock",
    /// DELETE without a WHERE that restricts.
    DestroyDeleteAll = "destroy.delete_all",
    /// UPDATE without a WHERE that restricts.
    DestroyUpdateAll = "destroy.update_all",
    /// TRUNCATE.
    DestroyTruncate = "destroy.truncate",
    /// Adds something without rewriting, validating or blocking what exists.
    DdlAdditive = "ddl.additive",
    /// Additive in meaning, blocking under load.
    DdlLocking = "ddl.locking",
    /// Loses data, protection, or a name that others use.
    DdlDestructive = "ddl.destructive",
    /// GRANT, REVOKE, roles, owners, policies, security labels.
    Privilege = "privilege",
    /// A call of a built-in function known to be harmless.
    FunctionSafe = "function.safe",
    /// A call of a volatile or unknown function.
    FunctionVolatile = "function.volatile",
    /// Advisory locks (migration tools need them, poolers leak the session-level ones).
    FunctionAdvisoryLock = "function.advisory_lock",
    /// Server files, programs, other backends, other servers, WAL, slots, large objects.
    FunctionDangerous = "function.dangerous",
    /// SET and RESET of ordinary settings, DISCARD, UNLISTEN, going back to the identity of the login.
    SessionSetting = "session.setting",
    /// SET ROLE, SET SESSION AUTHORIZATION.
    SessionIdentity = "session.identity",
    /// Whatever would loosen the proxy's own hold or change how the server reads text.
    SessionPinned = "session.pinned",
    /// BEGIN, COMMIT, ROLLBACK, SAVEPOINT, SET TRANSACTION, …
    Transaction = "transaction",
    /// PREPARE TRANSACTION, COMMIT PREPARED, ROLLBACK PREPARED.
    TransactionTwoPhase = "transaction.two_phase",
    /// VACUUM, ANALYZE, REINDEX, CLUSTER, CHECKPOINT, REFRESH MATERIALIZED VIEW.
    Maintenance = "maintenance",
    /// CALL, and what a DO block's text does not show.
    Procedure = "procedure",
    /// COPY TO/FROM file or PROGRAM, ALTER SYSTEM, LOAD, CREATE LANGUAGE/SUBSCRIPTION/SERVER/TABLESPACE/DATABASE, writes to system catalogs.
    Server = "server",
    /// LISTEN, NOTIFY.
    Notify = "notify",
    /// Parsed, but not classified.
    Unknown = "unknown",
    /// PostgreSQL's grammar does not read it.
    Unparsed = "unparsed",
}

impl Class {
    /// The class of a dotted name, if there is one.
    pub fn from_name(name: &str) -> Option<Class> {
        Class::ALL.iter().copied().find(|class| class.name() == name)
    }

    /// Whether `pattern` (`*`, a class name, or a dotted prefix such as `write` or `ddl`) covers this class.
    pub fn matches(self, pattern: &str) -> bool {
        let name = self.name();
        pattern == "*"
            || name == pattern
            || (name.starts_with(pattern) && name.as_bytes().get(pattern.len()) == Some(&b'.'))
    }
}

impl Serialize for Class {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// What kind of thing an effect touches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ObjectKind {
    /// Table, view, materialized view, sequence, foreign table, index.
    Relation,
    /// Function, procedure, aggregate.
    Function,
    /// Configuration parameter.
    Setting,
    /// Anything else with a name (type, schema, role, extension, …).
    Other,
}

/// A thing an effect touches: names as the server folds and truncates them, schema only when written.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Object {
    /// What kind of thing it is.
    pub kind: ObjectKind,
    /// Schema, when the statement names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// The object's own name.
    pub name: String,
}

impl std::fmt::Display for Object {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.schema {
            Some(schema) => write!(f, "{schema}.{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// Which reader saw an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// PostgreSQL's grammar.
    Postgres,
    /// The `sqlparser` crate.
    Sqlparser,
    /// Both readers.
    Both,
}

/// Bytes of a statement text, from `start` up to but not including `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

/// One thing a statement would do.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Effect {
    /// Its class.
    pub class: Class,
    /// What it touches, if it has a name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object: Option<Object>,
    /// The act in the user's words, upper-case as SQL writes it: `DROP TABLE`, `DELETE without WHERE`, `call of pg_read_file`.
    pub act: Cow<'static, str>,
    /// Why it counts as this class, or the safer way, where that is worth saying.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<Cow<'static, str>>,
    /// Bytes of the statement text that cause it, where known.
    #[serde(skip)]
    pub span: Option<Span>,
    /// Whether the statement has it only by what a view or function that it names does inside.
    #[serde(skip)]
    pub inside: bool,
    /// Whether it only says what else the statement names, as it does for rules on relations: another effect of the same class says
    /// what the statement does. Of the two, that one is told.
    #[serde(skip)]
    pub accompanies: bool,
}

impl Effect {
    /// An effect without an object.
    pub fn new(class: Class, act: impl Into<Cow<'static, str>>) -> Effect {
        Effect { class, object: None, act: act.into(), hint: None, span: None, inside: false, accompanies: false }
    }

    /// The same effect, touching `object`.
    #[must_use]
    pub fn on(mut self, object: Object) -> Effect {
        self.object = Some(object);
        self
    }

    /// The same effect, with a hint for the person who meets it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<Cow<'static, str>>) -> Effect {
        self.hint = Some(hint.into());
        self
    }

    /// The same effect, as one that only says what else the statement names.
    #[must_use]
    pub fn accompanying(mut self) -> Effect {
        self.accompanies = true;
        self
    }

    /// The same effect, pointing at the words that cause it.
    #[must_use]
    pub fn at(mut self, span: Range<usize>) -> Effect {
        self.span = Some(Span { start: span.start, end: span.end });
        self
    }
}
