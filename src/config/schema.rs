//! Every option of the configuration file: name, kind, default and documentation, defined once.
//!
//! The documentation comments below are the text of `docs/configuration.md`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::endpoint::Endpoint;
use super::kind::{
    Address, At, Choice, Digits, FilePath, Flag, Given, Hash, Limit, List, Named, NamedValues, OneOrMore, Placed,
    Scram, Time, Url, Words, count, keys, size, timeout,
};
use super::role::{RoleOptions, RoleValue};
use super::section::section;
use super::token::TokenHash;
use super::verifier::Verifier;
use super::{BindParameters, ConsoleRole, EndpointKind, LogFormat, StatementText, WhenUnwritable};

section! {
    /// The configuration file.
    pub(super) struct FileOptions {
        /// Where pgwarden listens.
        listen: Listen = keys::<Listen>(), table;
        /// The audit log.
        audit: AuditSettings = keys::<AuditSettings>(), table;
        /// Limits on what clients may take from pgwarden itself.
        limits: ConnectionLimits = keys::<ConnectionLimits>(), table;
        /// pgwarden's own log, on standard error.
        log: LogSettings = keys::<LogSettings>(), table;
        /// Databases, by the name that clients connect to.
        databases: NamedValues<Placed<DatabaseOptions>> = Named("<database>", At(keys::<DatabaseOptions>())), table;
        /// Environments, by name.
        environments: NamedValues<EnvironmentOptions> = Named("<environment>", keys::<EnvironmentOptions>()), table;
        /// Policies, by name.
        policies: NamedValues<Placed<PolicyOptions>> = Named("<policy>", At(keys::<PolicyOptions>())), table;
        /// Who may log in.
        users: Vec<Placed<UserOptions>> = List(At(keys::<UserOptions>())), empty;
        /// Tokens for the API.
        tokens: Vec<Placed<TokenOptions>> = List(At(keys::<TokenOptions>())), empty;
        /// Grants: time-limited widenings of a policy.
        grants: GrantOptions = keys::<GrantOptions>(), table;
        /// What a person is to look at: the review inbox.
        reviews: Vec<Placed<ReviewOptions>> = List(At(keys::<ReviewOptions>())), empty;
    }
}

section! {
    /// Where pgwarden listens.
    pub struct Listen {
        /// Where Postgres clients connect.
        postgres: Vec<SocketAddr> = OneOrMore(Address), default("127.0.0.1:6432");
        /// Where the console, the API, `/metrics`, `/healthz` and `/readyz` are. Nowhere if left out.
        admin: Option<SocketAddr> = Address, optional;
        /// TLS for Postgres clients. Without it, connections are in plaintext.
        tls: Option<TlsFiles> = keys::<TlsFiles>(), optional;
    }
}

section! {
    /// TLS for Postgres clients. The files are PEM; they are read again on SIGHUP.
    pub struct TlsFiles {
        /// The server's certificate, with its chain.
        certificate: PathBuf = FilePath, required;
        /// Its private key.
        key: PathBuf = FilePath, required;
        /// The authority of client certificates. A client that shows one of these logs in as the user that the certificate's
        /// common name names.
        client_ca: Option<PathBuf> = FilePath, optional;
        /// Whether plaintext connections are refused.
        required: bool = Flag, default(false);
    }
}

section! {
    /// The audit log.
    pub struct AuditSettings {
        /// The folder of the log's segments.
        directory: PathBuf = FilePath, default("var/audit");
        /// What happens to statements when the log cannot be written: they are refused with an error that says so, or they go on
        /// and metrics and standard error say so.
        when_unwritable: WhenUnwritable = Choice(WhenUnwritable::WORDS), default("refuse");
        /// A segment is closed when it has reached this size.
        segment_bytes: u64 = size::<u64>(64 << 10, 1 << 40), default("64MB");
        /// A segment is closed when it has reached this age.
        segment_age: Duration = Time { least: Duration::from_secs(1), most: Duration::from_secs(366 * 86_400) }, default("1d");
        /// How much of a statement's text is recorded, where its policy does not say: all of it, all but its literals and comments, or
        /// its fingerprint only. Passwords are always removed.
        statement_text: StatementText = Choice(STATEMENT_TEXTS), default("whole");
        /// How much of bind parameters is recorded, where a policy does not say: nothing, their types and lengths, or their values. Values are
        /// the data itself, and an application binds its users' passwords like anything else, so none are recorded unless asked for; those
        /// that the text says are secrets are hidden even then ([audit.md](audit.md)).
        bind_parameters: BindParameters = Choice(BIND_PARAMETERS), default("none");
        /// Closed segments whose newest record is older than this are removed. The log says what was removed.
        retention_age: Option<Duration> = Time { least: Duration::from_secs(1), most: Duration::from_secs(100 * 366 * 86_400) }, optional;
        /// The oldest closed segments are removed while all closed ones together are larger than this (compressed).
        retention_bytes: Option<u64> = size::<u64>(64 << 10, 1 << 50), optional;
    }
}

section! {
    /// Limits on what clients may take from pgwarden itself. What their statements may do is the policies' matter.
    pub struct ConnectionLimits {
        /// Most sessions at once.
        connections: usize = count::<usize>(1, 1_000_000), default(10_000);
        /// Most sessions at once of one user.
        connections_per_user: usize = count::<usize>(1, 1_000_000), default(5_000);
        /// Most sessions at once on one database.
        connections_per_database: usize = count::<usize>(1, 1_000_000), default(5_000);
        /// Longest time from connecting to being logged in.
        startup_timeout: Duration = timeout(), default("30s");
        /// Largest startup message. Postgres' own limit is 10000 bytes.
        startup_bytes: usize = size::<usize>(1_000, 10_000), default("10000B");
        /// Largest message from a client. Postgres' own limit is 1 GB.
        message_bytes: usize = size::<usize>(64 << 10, (1 << 30) - 1), default("1048575kB");
        /// Longest statement text.
        statement_bytes: usize = size::<usize>(1 << 10, (1 << 30) - 1), default("64MB");
        /// Deepest nesting of parentheses, brackets, CASE and comments in a statement.
        nesting: usize = count::<usize>(10, 1_000), default(500);
        /// Most statements in one Query.
        statements_per_query: usize = count::<usize>(1, 1_000_000), default(10_000);
        /// Most prepared statements of one session.
        prepared_statements: usize = count::<usize>(1, 1_000_000), default(10_000);
        /// Most bytes in the texts of one session's prepared statements.
        prepared_statement_bytes: usize = size::<usize>(64 << 10, 16 << 30), default("128MB");
        /// Most open portals of one session.
        portals: usize = count::<usize>(1, 1_000_000), default(1_000);
        /// Most failed logins a minute of one user from one address, after which further ones are refused unheard.
        login_failures: u32 = count::<u32>(1, 100_000), default(10);
        /// Longest wait for a connection to an endpoint, unless its URL says `connect_timeout`.
        connect_timeout: Duration = timeout(), default("10s");
        /// How often connecting to an endpoint is tried again.
        connect_retries: u32 = count::<u32>(0, 100), default(2);
        /// How often each database in use is asked what its functions and views do. Definitions that change through pgwarden are
        /// asked for at once.
        catalog_refresh: Duration = timeout(), default("60s");
        /// On SIGTERM: how long open transactions may take to finish.
        drain_timeout: Duration = Time { least: Duration::ZERO, most: super::kind::LONGEST }, default("30s");
    }
}

section! {
    /// pgwarden's own log, on standard error.
    pub struct LogSettings {
        /// Lines for people, or JSON.
        format: LogFormat = Choice(LogFormat::WORDS), default("text");
        /// `error`, `warn`, `info`, `debug` or `trace`; more finely as `RUST_LOG` has it (`info,pgwarden::net=debug`).
        level: String = Words("a log level"), default("info");
    }
}

section! {
    /// A database that clients connect to. Its name may be a pattern (`"preview-*"`, `"*"`): the one that spells out most
    /// characters wins, and a plain name before any pattern. In the URLs, `{name}` stands for the name that the client asked
    /// for (in the database, user, `schema` and host; as part of a host only if it is made of letters, digits, `-` and `_`).
    pub(super) struct DatabaseOptions {
        /// The environment it lies in.
        environment: Placed<String> = At(Words("an environment's name")), required;
        /// The endpoint of roles that name no other.
        pooled: Option<Option<Endpoint>> = Given(Url), optional;
        /// The endpoint without a pooler, for migrations.
        direct: Option<Option<Endpoint>> = Given(Url), optional;
        /// The endpoint for reads.
        replica: Option<Option<Endpoint>> = Given(Url), optional;
        /// What must be true of every endpoint of this database before a session may use it.
        expect: Option<Placed<Expect>> = At(keys::<Expect>()), optional;
    }
}

section! {
    /// What must be true of every endpoint of this database before a session may use it: that it is the environment that it
    /// claims to be.
    pub struct Expect {
        /// What `current_database()` says.
        database: Option<String> = Words("a database's name"), optional;
        /// What `system_identifier` of `pg_control_system()` says.
        system_identifier: Option<String> = Digits("a number, or a string of digits"), optional;
        /// A query that gives one value.
        query: Option<String> = Words("a query"), optional;
        /// The value it must give.
        value: Option<String> = Digits("a string"), optional;
    }
}

section! {
    /// An environment: where rules differ. Its name may be a pattern (`"preview-*"`) and covers databases and users as database
    /// names do.
    pub(super) struct EnvironmentOptions {
        /// The roles that exist here, each with its policy: `studio = "read-only"`. A role that is not listed cannot log in.
        roles: NamedValues<RoleOptions> = Named("<role>", RoleValue), table;
    }
}

section! {
    /// Who may log in.
    pub(super) struct UserOptions {
        /// The name to log in with.
        name: Placed<String> = At(Words("a name")), required;
        /// What proves the password: `SCRAM-SHA-256$4096:<salt>$<stored>:<server>`, as in `pg_authid`; `pgwarden user verifier`
        /// makes one. A user without one logs in by client certificate.
        verifier: Option<Option<Verifier>> = Given(Scram), optional;
        /// Whether it is a person: every statement of a person is recorded one by one, also where the policy counts reads.
        person: bool = Flag, default(true);
        /// The user's role in each environment: `{ production = "studio", "preview-*" = "developer" }`. Where several patterns
        /// cover an environment, the most specific one counts; where none does, the user cannot log in.
        roles: NamedValues<Placed<String>> = Named("<environment>", At(Words("a role's name"))), required;
        /// What the user may do in the console: `viewer` sees everything, `auditor` reviews as well, `operator` also cancels
        /// statements and ends sessions. A user without it cannot log in there.
        console: Option<ConsoleRole> = Choice(ConsoleRole::WORDS), optional;
    }
}

section! {
    /// A token for the API (`Authorization: Bearer <token>`). Only its hash stands here; `pgwarden user token` makes both.
    pub(super) struct TokenOptions {
        /// Its name: what records say of whoever uses it. Not a user's name.
        name: Placed<String> = At(Words("a name")), required;
        /// SHA-256 of the token: `sha256:` and 64 hexadecimal digits.
        hash: TokenHash = Hash, required;
        /// What it may do, as `console` of a user.
        role: ConsoleRole = Choice(ConsoleRole::WORDS), required;
    }
}

section! {
    /// A rule of the review inbox: records that a person is to look at.
    pub(super) struct ReviewOptions {
        /// Its name.
        name: Placed<String> = At(Words("a name")), required;
        /// Which records, in the words of `pgwarden audit search`: `env:production verdict:deny`.
        filter: String = Words("a filter as for `pgwarden audit search`"), required;
        /// Whether only statements count whose fingerprint had not been seen in their environment before.
        new: bool = Flag, default(false);
        /// How soon somebody is to look; after that it is overdue.
        within: Duration = Time { least: Duration::from_secs(60), most: Duration::from_secs(366 * 86_400) }, default("7d");
    }
}

section! {
    /// Grants: for one user in one environment, for a limited time, more than the policy allows ([grants.md](grants.md)). Somebody asks by
    /// the console, the API or `pgwarden grant request`, somebody else approves; every step and every use is in the audit log.
    pub(super) struct GrantOptions {
        /// Where grants can be asked for: names or patterns of environments. `[]`: nowhere.
        environments: Vec<Placed<String>> = List(At(Words("environments' names"))), list(["*"]);
        /// Longest time of one grant.
        longest: Duration = Time { least: Duration::from_secs(1), most: LONGEST_GRANT }, default("8h");
        /// How long a request waits for an answer; after that it is as good as denied.
        request_timeout: Duration = Time { least: Duration::from_secs(1), most: LONGEST_GRANT }, default("1d");
        /// Which console role may ask, for whichever user. Those above it may, too.
        requested_by: ConsoleRole = Choice(ConsoleRole::WORDS), default("viewer");
        /// Which console role may approve, deny and revoke. Those above it may, too.
        approved_by: ConsoleRole = Choice(ConsoleRole::WORDS), default("operator");
        /// Whether somebody may approve what they asked for, or what is for the user of their own name.
        self_approval: bool = Flag, default(false);
        /// Where whoever approves has to type the environment's name: names or patterns of environments.
        confirm: Vec<Placed<String>> = List(At(Words("environments' names"))), list(["prod*"]);
        /// Classes of effects that are never granted: a class, or a prefix of several. A grant of such a class that is in force when this
        /// changes loses it.
        never: Vec<Placed<String>> = List(At(Words("effect classes"))), list([
            "server", "function.dangerous", "session.identity", "session.pinned", "transaction.two_phase", "unknown", "unparsed",
        ]);
    }
}

section! {
    /// A set of rules. What no rule allows is refused, and deny beats allow.
    ///
    /// Four policies are built in (below). A table of the same name changes those of their options that it writes, and keeps the
    /// others; `"none"` lifts a limit.
    pub(super) struct PolicyOptions {
        /// Whether the server holds every transaction read-only. A policy that also allows `function.volatile` trusts the
        /// database's own functions: one of them can end the hold from within on Postgres 15, and write a server's file or
        /// another server anywhere.
        read_only: bool = Flag, default(false);
        /// Whether refusals are enforced, or only recorded while everything passes (the read-only hold is off then, too).
        mode: bool = Choice(&[("enforce", false), ("observe", true)]), default("enforce");
        /// Classes of effects that are allowed: a class, a prefix of several (`write`), or `"*"` for everything, unparsed text
        /// and unknown statements included. `transaction` does not include `transaction.two_phase`.
        allow: Vec<Placed<String>> = List(At(Words("effect classes"))), required;
        /// Classes of effects that are refused whatever `allow` says. Prefixes cover all below them.
        deny: Vec<Placed<String>> = List(At(Words("effect classes"))), empty;
        /// Rules about relations, whatever the effect.
        relations: RelationRules = keys::<RelationRules>(), table;
        /// Rules about calls of functions.
        functions: FunctionRules = keys::<FunctionRules>(), table;
        /// Extensions that CREATE EXTENSION may name (`*` within a name stands for any characters). Others are refused, unless
        /// `allow` is `"*"`.
        extensions: Vec<Placed<String>> = List(At(Words("extension names"))), empty;
        /// How much of a statement's text is recorded: `[audit] statement_text` if left out.
        statement_text: Option<StatementText> = Choice(STATEMENT_TEXTS), optional;
        /// How much of bind parameters is recorded: `[audit] bind_parameters` if left out, but no values where `statement_text` is not
        /// `whole`.
        bind_parameters: Option<BindParameters> = Choice(BIND_PARAMETERS), optional;
        /// How reads that succeed are recorded: each one, or, for users with `person = false`, the first of each fingerprint, session
        /// and minute, and the others as a count. Writes, DDL, refusals and whatever people do are always recorded one by one.
        record_reads: bool = Choice(&[("each", false), ("counted", true)]), default("each");
        /// Tables, in any schema, that UPDATE and DELETE without WHERE and TRUNCATE may name although `allow` does not cover
        /// that: where migration tools keep their own state (`*` within a name stands for any characters).
        bookkeeping: Vec<Placed<String>> = List(At(Words("table names"))), empty;
        /// Longest run of one statement: it is cancelled then, and the client told so, whatever it sets itself.
        statement_timeout: Option<Option<Duration>> = Limit(timeout()), optional;
        /// Longest wait for a lock. A client may set a shorter one, and not a longer one. Behind a pooled endpoint statements that
        /// cannot run inside a transaction are refused ([limits.md](limits.md)).
        lock_timeout: Option<Option<Duration>> = Limit(timeout()), optional;
        /// Longest idle time inside a transaction.
        idle_in_transaction_timeout: Option<Option<Duration>> = Limit(timeout()), optional;
        /// Longest transaction.
        transaction_timeout: Option<Option<Duration>> = Limit(timeout()), optional;
        /// Longest session.
        max_session_duration: Option<Option<Duration>> = Limit(timeout()), optional;
        /// Most rows that one statement may return: it is cancelled at the next one. The client keeps the rows up to there and is
        /// told that there were more.
        max_result_rows: Option<Option<u64>> = Limit(count::<u64>(1, i64::MAX)), optional;
        /// Most bytes that one statement may return.
        max_result_bytes: Option<Option<u64>> = Limit(size::<u64>(1, 1 << 50)), optional;
        /// Most rows that one transaction may insert, update, delete, merge or copy in, as the command tags count them. Above it
        /// nothing of the transaction commits, and the client is told the count ([limits.md](limits.md)).
        max_affected_rows: Option<Option<u64>> = Limit(count::<u64>(1, i64::MAX)), optional;
    }
}

section! {
    /// Rules about relations, whatever the effect. Patterns are `schema.name` with `*` for any characters.
    ///
    /// A name that a statement writes without schema is covered by a `deny` pattern if the name part covers it (so `auth.users`
    /// and `*.users` cover a bare `users`); where the name part is only `*`, the name is taken to be in `public`, or in
    /// `pg_catalog` if it begins with `pg_`. In `allow` it is always taken so. Rules that lean on this pin `search_path`: changing
    /// it, other than to nothing as pg_dump does or to `public` alone, is refused unless `allow` names `session.pinned`. What views and functions
    /// touch inside counts for `deny`, as far as the database's catalog says, and not for `allow`: who may read a view may see what it
    /// shows.
    pub(super) struct RelationRules {
        /// When not empty: the only relations that may be touched (catalogs are no exception). Without a dot, a pattern means
        /// `public` and `pg_catalog`.
        allow: Vec<Placed<String>> = List(At(Words("patterns"))), empty;
        /// Relations that may not be touched. Without a dot, a pattern means any schema.
        deny: Vec<Placed<String>> = List(At(Words("patterns"))), empty;
    }
}

section! {
    /// Rules about calls of functions. Patterns are as for relations; a call without schema is looked for in `pg_catalog` and
    /// `public`.
    pub(super) struct FunctionRules {
        /// Functions that may be called although their class is not allowed. Without a dot, a pattern means `public` and
        /// `pg_catalog`.
        allow: Vec<Placed<String>> = List(At(Words("patterns"))), empty;
        /// Functions that may not be called although their class is allowed. Without a dot, a pattern means any schema.
        deny: Vec<Placed<String>> = List(At(Words("patterns"))), empty;
    }
}

/// The longest that `[grants] longest` may be.
const LONGEST_GRANT: Duration = Duration::from_secs(31 * 86_400);

impl WhenUnwritable {
    const WORDS: &'static [(&'static str, WhenUnwritable)] =
        &[("refuse", WhenUnwritable::Refuse), ("continue", WhenUnwritable::Continue)];
}

const STATEMENT_TEXTS: &[(&str, StatementText)] = &[
    ("whole", StatementText::Whole),
    ("redacted", StatementText::Redacted),
    ("fingerprint", StatementText::Fingerprint),
];

const BIND_PARAMETERS: &[(&str, BindParameters)] =
    &[("none", BindParameters::None), ("redacted", BindParameters::Redacted), ("whole", BindParameters::Whole)];

impl ConsoleRole {
    const WORDS: &'static [(&'static str, ConsoleRole)] =
        &[("viewer", ConsoleRole::Viewer), ("auditor", ConsoleRole::Auditor), ("operator", ConsoleRole::Operator)];
}

impl LogFormat {
    const WORDS: &'static [(&'static str, LogFormat)] = &[("text", LogFormat::Text), ("json", LogFormat::Json)];
}

impl EndpointKind {
    pub(super) const WORDS: &'static [(&'static str, EndpointKind)] =
        &[("pooled", EndpointKind::Pooled), ("direct", EndpointKind::Direct), ("replica", EndpointKind::Replica)];
}
