//! A session with its judge and no sockets, fed as the driver feeds it.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pgwarden::config::{self, Config};
use pgwarden::decision::{Door, Judgement, Scope};
use pgwarden::session::{AffectedCap, Caps, Limits, Need, RecordIds, Session, Settings, Taken, text_of_call};
use pgwarden::wire::frontend::{self, Frontend};
use pgwarden::wire::{HEADER_BYTES, Peek, peek};

const CONFIGURATION: &str = r#"
[listen]
postgres = "127.0.0.1:1"
[audit]
directory = "audit"
[databases.shop]
environment = "production"
pooled = "postgres://u:p@127.0.0.1:1/shop"
direct = "postgres://u:p@127.0.0.1:1/shop"
[environments.production.roles]
reader = "read-only"
app = "application"
migrator = "migrations"
all = "unrestricted"
held = "held"
nothing = "nothing"
[policies.held]
allow = ["*"]
[policies.nothing]
allow = ["transaction"]
"#;

/// The configuration, with `held` made read-only: no file can ask for that together with `"*"`.
fn configured() -> Config {
    let mut config = config::parse(CONFIGURATION, Path::new("test.toml"), &|_| None).unwrap();
    let roles = config.environments.iter_mut().flat_map(|environment| environment.roles.values_mut());
    for binding in roles.filter(|binding| binding.policy.name == "held") {
        Arc::make_mut(&mut binding.policy).read_only = true;
    }
    config
}

#[derive(Debug, Default)]
struct Ids(AtomicU64);

impl RecordIds for Ids {
    fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn text(&self, id: u64) -> String {
        format!("r{id}")
    }
}

/// A session in conversation.
pub struct Stage {
    door: Door,
    scope: Arc<Scope>,
    pub session: Session,
    /// What the client sent and the session has not taken.
    pub waiting: VecDeque<Vec<u8>>,
    from_server: Vec<u8>,
    pub fault: Option<String>,
    pub left: bool,
}

impl Stage {
    /// A session by the words of a `session:` line.
    pub fn new(words: &str) -> Stage {
        let config = configured();
        let door = Door::new(Arc::new(config));
        let mut limits = Limits::default();
        let mut caps = Caps::default();
        let mut role = "app";
        let mut pooled = false;
        let mut transaction_pooler = false;
        for word in words.split_whitespace() {
            match word.split_once('=') {
                None if word == "pooled" => pooled = true,
                None if word == "direct" => pooled = false,
                None if word == "pgbouncer" => (pooled, transaction_pooler) = (true, true),
                None => role = word,
                Some(("statements", count)) => limits.statements = count.parse().unwrap(),
                Some(("statement_bytes", count)) => limits.statement_bytes = count.parse().unwrap(),
                Some(("portals", count)) => limits.portals = count.parse().unwrap(),
                Some(("in_flight", count)) => limits.in_flight = count.parse().unwrap(),
                Some(("affected", count)) => {
                    let rows = count.parse().unwrap();
                    caps.affected = Some(AffectedCap { rows, whose: "role `x` in `y`".into(), policy: "z".into() });
                }
                Some(("rows", count)) => caps.result_rows = Some(count.parse().unwrap()),
                Some((other, _)) => panic!("no such option: {other}"),
            }
        }
        let scope = door.scope_of("production", role).unwrap_or_else(|| panic!("no role {role}"));
        let settings = Settings { ids: Arc::new(Ids::default()), pooled, transaction_pooler, limits };
        let mut session = Session::new(settings, scope.policy().read_only);
        session.cap(caps);
        session.rely_on_reading(scope.policy().relies_on_reading());
        Stage { door, scope, session, waiting: VecDeque::new(), from_server: Vec::new(), fault: None, left: false }
    }

    /// A new configuration in which the user has this role.
    pub fn reload(&mut self, role: &str) {
        let config = configured();
        self.door.replace(Arc::new(config));
        self.scope = self.door.scope_of("production", role).unwrap();
        self.session.hold_read_only(self.scope.policy().read_only);
        self.session.rely_on_reading(self.scope.policy().relies_on_reading());
    }

    pub fn client(&mut self, messages: &[u8]) {
        let mut rest = messages;
        while let Peek::Header(header) = peek(rest) {
            let (message, tail) = rest.split_at(header.message_bytes());
            self.waiting.push_back(message.to_vec());
            rest = tail;
        }
        assert!(rest.is_empty(), "a message of the client is cut short");
        self.pump();
    }

    pub fn server(&mut self, messages: &[u8]) {
        self.from_server.extend_from_slice(messages);
        match self.session.server(&self.from_server) {
            Ok(taken) => drop(self.from_server.drain(..taken)),
            Err(fault) => self.fault = Some(fault.to_string()),
        }
        self.pump();
    }

    /// Takes what the client sent, as the driver does.
    fn pump(&mut self) {
        while let Some(message) = self.waiting.front().cloned() {
            let body = &message[HEADER_BYTES..];
            if self.session.is_deciding() && message[0] != frontend::tag::FLUSH {
                return;
            }
            match frontend::view(message[0], body) {
                Ok(frame) => {
                    if self.session.stalls(&frame) {
                        return;
                    }
                    let judged = self.judge(&frame);
                    match self.session.client(&frame, &message, judged) {
                        Ok(Taken::Leaving) => self.left = true,
                        Ok(Taken::Forwarded | Taken::Dropped) => {}
                        Err(fault) => self.fault = Some(fault.to_string()),
                    }
                }
                Err(why) => {
                    if let Err(fault) = self.session.malformed(message[0], why) {
                        self.fault = Some(fault.to_string());
                    }
                }
            }
            self.waiting.pop_front();
        }
    }

    fn judge(&mut self, frame: &Frontend<'_>) -> Option<Arc<Judgement>> {
        let generation = self.scope.stamp();
        let mut judged = None;
        let mut need = self.session.need(frame, generation);
        loop {
            match need {
                Need::Nothing => return judged,
                Need::Text => {
                    let text = match frame {
                        Frontend::Query(text) | Frontend::Parse { text, .. } => std::str::from_utf8(text).unwrap(),
                        Frontend::FunctionCall(function) => text_of_call(*function)?,
                        _ => return None,
                    };
                    let judgement = self.scope.judge(text);
                    need = match frame {
                        Frontend::Query(_) => self.session.need_within(&judgement, generation),
                        _ => Need::Nothing,
                    };
                    judged = Some(judgement);
                }
                Need::Stale(text) => {
                    self.session.rejudged(&self.scope.judge(&text));
                    need = match &judged {
                        Some(judgement) => self.session.need_within(judgement, generation),
                        None => self.session.need(frame, generation),
                    };
                }
            }
        }
    }
}
