//! What the API can do: each operation with its route, the role it needs, what it takes and what it gives.

use crate::config::ConsoleRole;

/// How it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// It only looks.
    Get,
    /// It does something.
    Post,
}

/// A value that a call takes.
#[derive(Clone, Copy, Debug)]
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// Its JSON type.
    pub kind: &'static str,
    /// Whether it must be there.
    pub required: bool,
    /// What it means.
    pub meaning: &'static str,
}

const fn optional(name: &'static str, kind: &'static str, meaning: &'static str) -> Parameter {
    Parameter { name, kind, required: false, meaning }
}

const fn required(name: &'static str, kind: &'static str, meaning: &'static str) -> Parameter {
    Parameter { name, kind, required: true, meaning }
}

const FILTER: Parameter = optional(
    "filter",
    "string",
    "which records, in the language of `pgwarden audit search`; all that people look for if left out",
);
const LIMIT: Parameter = optional("limit", "integer", "most entries; 50 if left out, 1000 at most");
const AFTER: Parameter = optional("after", "integer", "`next` of the page before");
const MOST: Parameter = optional("most", "integer", "most values; 10 if left out, 1000 at most");

macro_rules! operations {
    ($($(#[doc = $doc:literal])+ $name:ident = $method:ident $path:literal, $role:expr,
       takes [$($parameter:expr),*], body [$($field:expr),*], gives [$($given:literal: $kind:literal),*];)*) => {
        /// One thing that the API can do.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Operation { $($(#[doc = $doc])+ $name,)* }

        impl Operation {
            /// All of them.
            pub const ALL: &'static [Operation] = &[$(Operation::$name,)*];

            /// Its name in the OpenAPI document.
            pub const fn name(self) -> &'static str {
                match self { $(Operation::$name => stringify!($name),)* }
            }

            /// What it does, in a line.
            pub const fn summary(self) -> &'static str {
                match self { $(Operation::$name => concat!($($doc),+).trim_ascii(),)* }
            }

            /// How it is called.
            pub const fn method(self) -> Method {
                match self { $(Operation::$name => Method::$method,)* }
            }

            /// Its path below `/api/v1`.
            pub const fn path(self) -> &'static str {
                match self { $(Operation::$name => $path,)* }
            }

            /// The role it needs; `None` where no token is needed.
            pub const fn role(self) -> Option<ConsoleRole> {
                match self { $(Operation::$name => $role,)* }
            }

            /// What stands in the query string.
            pub const fn takes(self) -> &'static [Parameter] {
                match self { $(Operation::$name => const { &[$($parameter),*] },)* }
            }

            /// What stands in the body.
            pub const fn body(self) -> &'static [Parameter] {
                match self { $(Operation::$name => const { &[$($field),*] },)* }
            }

            /// The members of the answer, each with its JSON type.
            pub const fn gives(self) -> &'static [(&'static str, &'static str)] {
                match self { $(Operation::$name => &[$(($given, $kind)),*],)* }
            }
        }
    };
}

const VIEWER: Option<ConsoleRole> = Some(ConsoleRole::Viewer);
const AUDITOR: Option<ConsoleRole> = Some(ConsoleRole::Auditor);
const OPERATOR: Option<ConsoleRole> = Some(ConsoleRole::Operator);
const NOTE: Parameter = optional("note", "string", "why");

operations! {
    /// A page of audit records, each with its outcome.
    Records = Get "/audit/records", VIEWER,
        takes [FILTER, LIMIT, AFTER, optional("order", "string", "`newest` (first; the default) or `oldest`")], body [],
        gives ["entries": "array", "next": "integer|null"];
    /// One record with its outcome, its place in the chain, its review, and what stands around it in its session.
    Record = Get "/audit/records/{id}", VIEWER,
        takes [optional("around", "integer", "statements before and after; 5 if left out, 100 at most")], body [],
        gives ["record": "object", "outcome": "object|null", "place": "object", "review": "object|null", "login": "object|null",
               "before": "array", "after": "array", "transaction": "object|null", "session_end": "object|null",
               "related": "array"];
    /// How many records a filter lets pass.
    Count = Get "/audit/count", VIEWER, takes [FILTER], body [], gives ["count": "integer"];
    /// The most frequent values of several fields.
    Facets = Get "/audit/facets", VIEWER,
        takes [FILTER, MOST, optional("fields", "string", "fields of the filter language, separated by commas; the usual ones if left out")],
        body [], gives ["facets": "array"];
    /// Statements by verdict over time.
    Timeline = Get "/audit/timeline", VIEWER,
        takes [FILTER, optional("bucket", "integer", "seconds of each stretch of time; 3600 if left out")], body [],
        gives ["buckets": "array", "bucket_s": "integer"];
    /// The most frequent values of one field.
    Top = Get "/audit/top", VIEWER,
        takes [FILTER, MOST, required("field", "string", "a field of the filter language")], body [],
        gives ["field": "string", "values": "array"];
    /// The statements that took longest, or gave most.
    Slowest = Get "/audit/slowest", VIEWER,
        takes [FILTER, MOST, optional("by", "string", "`duration` (the default), `bytes` or `rows`")], body [],
        gives ["entries": "array"];
    /// Fingerprints that an environment had not seen before.
    NewFingerprints = Get "/audit/new-fingerprints", VIEWER,
        takes [MOST, optional("environment", "string", "every environment if left out"),
               optional("since", "string", "a time of the filter language; `1d` if left out")], body [],
        gives ["fingerprints": "array"];
    /// How the log and its index are.
    Status = Get "/audit/status", VIEWER, takes [], body [],
        gives ["writable": "boolean", "error": "string|null", "sequence": "integer", "records": "integer", "waiting": "integer", "stalled_us": "integer",
               "refused": "integer", "lost": "integer", "indexed_through": "integer", "index_building": "boolean",
               "index_error": "string|null"];
    /// The rules of the review inbox, with what each catches.
    Reviews = Get "/reviews", VIEWER, takes [], body [], gives ["rules": "array"];
    /// A page of a rule's records that nobody has closed.
    OpenReviews = Get "/reviews/{rule}", VIEWER, takes [LIMIT, AFTER], body [],
        gives ["entries": "array", "next": "integer|null"];
    /// Say something of a record: it becomes a record of its own.
    Review = Post "/audit/records/{id}/reviews", AUDITOR, takes [],
        body [required("action", "string", "`assigned`, `acknowledged`, `problem` or `reopened`"),
              optional("note", "string", "why; of `assigned`, to whom")],
        gives ["done": "boolean"];
    /// The sessions there are now.
    Sessions = Get "/sessions", VIEWER, takes [], body [], gives ["sessions": "array"];
    /// Ask the server to cancel what a session runs.
    Cancel = Post "/sessions/{id}/cancel", OPERATOR, takes [], body [], gives ["done": "boolean"];
    /// End a session.
    End = Post "/sessions/{id}/end", OPERATOR, takes [], body [], gives ["done": "boolean"];
    /// Every grant that is asked for or in force, and those that ended last. `restored` is false while those of the time before the start are
    /// still being read from the log.
    Grants = Get "/grants", VIEWER,
        takes [optional("state", "string", "`requested`, `approved`, `denied`, `revoked` or `expired`; all if left out")], body [],
        gives ["restored": "boolean", "grants": "array"];
    /// One grant, with what it would change by the configuration in force.
    Grant = Get "/grants/{id}", VIEWER, takes [], body [], gives ["grant": "object", "preview": "object"];
    /// Ask for a grant. Which role may is configured: `[grants] requested_by`.
    RequestGrant = Post "/grants", VIEWER, takes [],
        body [required("user", "string", "for which user"), required("environment", "string", "where"),
              optional("database", "string", "on which database; on all of the environment if left out"),
              required("allow", "array", "effect classes or prefixes, as in a policy's `allow`"),
              optional("relations", "array", "the only relations that it is for, with their schema: `public.orders`"),
              required("for", "string", "how long: `30m`, `2h`"), required("reason", "string", "why")],
        gives ["grant": "object", "preview": "object"];
    /// Give a grant. Which role may is configured (`[grants] approved_by`), and nobody may for themselves.
    ApproveGrant = Post "/grants/{id}/approve", VIEWER, takes [],
        body [optional("confirm", "string", "the environment's name, where `[grants] confirm` wants it"), NOTE],
        gives ["grant": "object", "preview": "object"];
    /// Refuse a request.
    DenyGrant = Post "/grants/{id}/deny", VIEWER, takes [], body [NOTE], gives ["grant": "object", "preview": "object"];
    /// Take a grant back, or withdraw a request.
    RevokeGrant = Post "/grants/{id}/revoke", VIEWER, takes [], body [NOTE], gives ["grant": "object", "preview": "object"];
    /// What each role may do in each environment.
    Policies = Get "/policies", VIEWER, takes [], body [], gives ["generation": "integer", "rows": "array"];
    /// Judge a statement as a role would have it judged, without running it.
    Try = Post "/policies/try", VIEWER, takes [],
        body [required("environment", "string", "the environment"), required("role", "string", "the role"),
              required("statement", "string", "the statement")],
        gives ["verdict": "string", "rule": "string", "policy": "string", "sqlstate": "string|null", "message": "string|null",
               "detail": "string|null", "hint": "string|null", "notices": "array", "seen": "object"];
    /// Whether the endpoints can be reached.
    Endpoints = Get "/endpoints", VIEWER, takes [], body [], gives ["endpoints": "array"];
    /// The configuration's generation, and what came of the last reload.
    Configuration = Get "/configuration", VIEWER, takes [], body [],
        gives ["generation": "integer", "version": "string", "last_reload": "object|null"];
    /// This document.
    OpenApi = Get "/openapi.json", None, takes [], body [], gives ["openapi": "string", "info": "object", "paths": "object"];
}
