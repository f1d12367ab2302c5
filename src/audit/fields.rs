//! The record format, field by field: what `docs/audit.md` prints and a test holds to the writer.

/// One field of a record.
#[derive(Clone, Copy, Debug)]
pub struct FieldNote {
    /// Its name.
    pub name: &'static str,
    /// The events that have it; empty for all of them, `session` for all that belong to a session.
    pub events: &'static str,
    /// What it means.
    pub meaning: &'static str,
}

const fn note(name: &'static str, events: &'static str, meaning: &'static str) -> FieldNote {
    FieldNote { name, events, meaning }
}

/// Every event and what it records.
pub const EVENTS: &[(&str, &str)] = &[
    ("start", "pgwarden opened the log"),
    ("stop", "pgwarden closed the log in order"),
    ("recovery", "the log had not ended in order, or was not as it was left"),
    ("gap", "records could not be written for a while"),
    ("segment", "first record of each file"),
    ("checkpoint", "a signature over the chain up to the record before"),
    ("retention", "the oldest segments are removed under a rule"),
    ("reload", "the configuration was loaded again, or refused"),
    ("login", "a session begins"),
    ("login_failed", "a login failed"),
    ("session_end", "a session ended"),
    ("statement", "a statement and its verdict, written before the statement is forwarded"),
    ("outcome", "how a forwarded statement went"),
    (
        "reads",
        "reads of one session and fingerprint within a minute, beyond the first, which is a `statement` (`record_reads = \"counted\"`)",
    ),
    ("transaction", "how a transaction ended"),
    ("cancel", "a cancel request"),
    ("grant", "a grant was asked for, given, refused, taken back, or ran out"),
    ("review", "a person reviewed a record"),
    ("admin", "somebody acted on pgwarden itself"),
];

/// Every field.
pub const FIELDS: &[FieldNote] = &[
    note("seq", "", "sequence number: from 1, without a gap, across segments and restarts; always the first field"),
    note("time", "", "when it happened, RFC 3339 in UTC with microseconds; the order is that of `seq`, not of `time`"),
    note("event", "", "what happened"),
    note("id", "", "audit id: eleven characters, unique, sortable by time; what a refusal shows"),
    note("session", "session", "the session's id"),
    note("user", "session", "who logged in (not in `outcome` and `transaction`, which carry `session` alone)"),
    note("role", "session", "the user's role in the environment"),
    note("environment", "session", "the database's environment"),
    note("database", "session", "the name the client connected to"),
    note("endpoint", "session", "`pooled`, `direct` or `replica`"),
    note("client", "session", "the client's address and port"),
    note("tls", "session", "TLS version; absent without TLS"),
    note("login", "session", "how the user logged in"),
    note("application", "session", "the client's `application_name`"),
    note("verdict", "statement", "`allow`, `deny`, or `observe` (the policy would refuse it, but only observes)"),
    note("rule", "statement, retention", "the rule that decided"),
    note("policy", "statement, login", "the policy's name"),
    note("generation", "statement, login, reload", "generation of the policies"),
    note("effects", "statement", "array of `{class, object, act, by}`; `by` is `postgres`, `sqlparser` or `both`"),
    note("readers", "statement", "`both`, `disagree`, `postgres` (only PostgreSQL's grammar read it) or `neither`"),
    note("text", "statement", "the statement's text, passwords removed"),
    note("text_base64", "statement", "the text's bytes, when they are not UTF-8"),
    note("redacted", "statement", "true when the literals are removed from `text`"),
    note("fingerprint", "statement, reads", "what statements that differ only in literals share"),
    note("protocol", "statement", "`simple` or `extended`"),
    note("name", "statement", "the prepared statement's name"),
    note(
        "parameters",
        "statement",
        "bind parameters in order, where they are recorded: text, null, `{text, bytes}` (cut), `{hex, bytes}` (no text), `{hidden}` (a secret), `{type, bytes}`",
    ),
    note("parameters_bound", "statement", "how many there were, when `parameters` has not all of them"),
    note("transaction", "statement, transaction", "number of the transaction within the session"),
    note(
        "grant",
        "statement, grant",
        "the grant without which it would be refused (several are parted by a blank), or that is spoken of",
    ),
    note("sqlstate", "statement, outcome", "SQLSTATE of the refusal, or of the server's error"),
    note("of", "outcome, review", "audit id of the statement or record"),
    note("tag", "outcome", "the command tag"),
    note("count", "reads", "how many were forwarded"),
    note("failed", "reads", "how many of those that ended within the minute failed"),
    note("rows", "outcome, reads, session_end", "rows returned or affected"),
    note("bytes", "outcome, reads, session_end", "bytes sent to the client"),
    note("duration_us", "outcome, reads, session_end", "microseconds; of `reads`, all together"),
    note(
        "state",
        "outcome, transaction",
        "`committed`, `rolled_back`, `open`, `mixed` (its transactions ended differently), or `unknown` (the connection was lost first)",
    ),
    note(
        "reason",
        "stop, checkpoint, login_failed, session_end, grant",
        "why; of a failed login a class, never what was typed",
    ),
    note("message", "login_failed", "what the client was told"),
    note("statements", "session_end", "statements judged"),
    note("denied", "session_end", "statements denied"),
    note("target", "cancel, admin", "the session, or the thing acted on"),
    note("result", "cancel", "what came of it"),
    note("by", "grant, review, admin", "who"),
    note("action", "grant, review, admin", "what was done"),
    note("for_user", "grant", "for whom"),
    note("for_role", "grant", "in which role of the user: in another one it does not hold"),
    note("for_environment", "grant", "where"),
    note("for_database", "grant", "on which database; absent for all of the environment"),
    note("allows", "grant", "what it allows"),
    note("relations", "grant", "the only relations that it is for; absent for all"),
    note("seconds", "grant", "how long it was asked for"),
    note("until", "grant", "until when"),
    note("note", "review, grant", "what the reviewer, or whoever decided, said"),
    note("cause", "reload", "by which signal, or whom"),
    note("changes", "reload", "what changed"),
    note("error", "reload, gap", "why the configuration was refused, or the first write failed"),
    note("version", "start", "pgwarden's version"),
    note("process", "start", "its process id"),
    note("key", "start, checkpoint", "the signing key's name: the first 8 bytes of the public key's SHA-256"),
    note("last", "recovery, retention", "last record found, or removed"),
    note("torn_bytes", "recovery", "bytes of an unfinished record that were cut off"),
    note("torn_hash", "recovery", "their SHA-256"),
    note("unsigned", "recovery", "records after the last signature, whose marks were checked before they are signed"),
    note("damage", "recovery", "what was not as it was left"),
    note("since", "gap, reads", "when the first write failed; the minute"),
    note("failures", "gap", "failed writes"),
    note("refused", "gap", "records refused to their caller: their statements were not forwarded"),
    note(
        "lost",
        "gap",
        "records lost because the queue was full (`when_unwritable = \"continue\"` only, for statements)",
    ),
    note("previous", "segment", "hash of the record before, in the segment before"),
    note("first", "retention", "first record removed"),
    note("last_hash", "retention", "hash of the last record removed"),
    note("segments", "retention", "how many segments were removed"),
    note("through", "checkpoint", "the last record it covers"),
    note("through_hash", "checkpoint", "that record's hash"),
    note(
        "signature",
        "checkpoint",
        "Ed25519, base64, over `pgwarden-audit-1`, a newline, and the line up to `,\"signature\"`",
    ),
    note("hash", "", "SHA-256 over the hash before (32 bytes) and the line up to `,\"hash\"`"),
    note("mac", "", "first 16 bytes of HMAC-SHA-256 of `hash` under a key derived from the signing key"),
];

/// The tables of events and fields, in Markdown.
pub fn reference() -> String {
    let mut out = String::from("| event | what it records |\n| --- | --- |\n");
    for (event, meaning) in EVENTS {
        out.push_str(&format!("| `{event}` | {meaning} |\n"));
    }
    out.push_str("\n| field | events | meaning |\n| --- | --- | --- |\n");
    for FieldNote { name, events, meaning } in FIELDS {
        let events = if events.is_empty() { "all" } else { events };
        out.push_str(&format!("| `{name}` | {events} | {meaning} |\n"));
    }
    out
}
