//! A role's line in an environment: a policy's name, or a table that names the endpoint too.

use super::EndpointKind;
use super::error::Errors;
use super::kind::{At, Choice, Flag, Keys, Kind, Nested, Placed, Words, keys};
use super::section::section;
use super::tree::{Node, Value};

section! {
    /// A role in an environment, where its endpoint is not the pooled one: `migrator = { policy = "migrations", endpoint = "direct" }`.
    pub(super) struct RoleOptions {
        /// The policy that holds for it.
        policy: Placed<String> = At(Words("a policy's name")), required;
        /// The endpoint that its sessions use.
        endpoint: EndpointKind = Choice(EndpointKind::WORDS), default("pooled");
        /// The endpoint for sessions that begin while the first one cannot be reached. Without it they are refused.
        fallback: Option<EndpointKind> = Choice(EndpointKind::WORDS), optional;
        /// Whether sessions on the `replica` endpoint are refused where the server is no standby (`pg_is_in_recovery()`).
        standby: bool = Flag, default(false);
    }
}

/// A policy's name, or a table.
pub(super) struct RoleValue;

const TABLE: Keys<RoleOptions> = keys();

impl Kind for RoleValue {
    type Out = RoleOptions;

    fn describe(&self) -> String {
        "a policy's name, or `{ policy = …, endpoint = … }`".to_owned()
    }

    fn read(&self, node: &Node, errors: &mut Errors) -> Option<RoleOptions> {
        match &node.value {
            Value::Text(_) => {
                let policy = At(Words("a policy's name")).read(node, errors)?;
                Some(RoleOptions { policy, endpoint: EndpointKind::Pooled, fallback: None, standby: false })
            }
            Value::Table(_) => TABLE.read(node, errors),
            Value::Unresolved => None,
            Value::Integer(_) | Value::Boolean(_) | Value::List(_) | Value::Other => {
                errors.at(&node.place, format!("expected {}, not {}", self.describe(), node.kind()));
                None
            }
        }
    }

    fn nested(&self) -> Option<Nested> {
        TABLE.nested()
    }
}
