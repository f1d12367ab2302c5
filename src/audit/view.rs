//! A record as it is read: its fields, borrowed from the line.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// A record's fields. What a record has not is empty or `None`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "the fields are those of docs/audit.md, under the same names")]
pub struct RecordView<'a> {
    pub seq: u64,
    #[serde(borrow)]
    pub time: Cow<'a, str>,
    #[serde(borrow)]
    pub event: Cow<'a, str>,
    #[serde(borrow)]
    pub id: Cow<'a, str>,
    #[serde(borrow)]
    pub session: Cow<'a, str>,
    #[serde(borrow)]
    pub user: Cow<'a, str>,
    #[serde(borrow)]
    pub role: Cow<'a, str>,
    #[serde(borrow)]
    pub environment: Cow<'a, str>,
    #[serde(borrow)]
    pub database: Cow<'a, str>,
    #[serde(borrow)]
    pub endpoint: Cow<'a, str>,
    #[serde(borrow)]
    pub client: Cow<'a, str>,
    #[serde(borrow)]
    pub tls: Cow<'a, str>,
    #[serde(borrow)]
    pub login: Cow<'a, str>,
    #[serde(borrow)]
    pub application: Cow<'a, str>,
    #[serde(borrow)]
    pub verdict: Cow<'a, str>,
    #[serde(borrow)]
    pub rule: Cow<'a, str>,
    #[serde(borrow)]
    pub policy: Cow<'a, str>,
    pub generation: Option<u64>,
    #[serde(borrow)]
    pub effects: Vec<EffectView<'a>>,
    #[serde(borrow)]
    pub readers: Cow<'a, str>,
    #[serde(borrow)]
    pub text: Cow<'a, str>,
    #[serde(borrow)]
    pub fingerprint: Cow<'a, str>,
    #[serde(borrow)]
    pub protocol: Cow<'a, str>,
    #[serde(borrow)]
    pub name: Cow<'a, str>,
    #[serde(borrow)]
    pub parameters: Vec<ParameterView<'a>>,
    pub parameters_bound: Option<u64>,
    pub transaction: Option<u64>,
    #[serde(borrow)]
    pub grant: Cow<'a, str>,
    #[serde(borrow)]
    pub sqlstate: Cow<'a, str>,
    #[serde(borrow)]
    pub of: Cow<'a, str>,
    #[serde(borrow)]
    pub tag: Cow<'a, str>,
    pub rows: Option<u64>,
    pub bytes: Option<u64>,
    pub duration_us: Option<u64>,
    #[serde(borrow)]
    pub state: Cow<'a, str>,
    #[serde(borrow)]
    pub reason: Cow<'a, str>,
    #[serde(borrow)]
    pub message: Cow<'a, str>,
    #[serde(borrow)]
    pub by: Cow<'a, str>,
    #[serde(borrow)]
    pub action: Cow<'a, str>,
    pub count: Option<u64>,
    pub failed: Option<u64>,
    pub statements: Option<u64>,
    pub denied: Option<u64>,
    #[serde(borrow)]
    pub target: Cow<'a, str>,
    #[serde(borrow)]
    pub result: Cow<'a, str>,
    #[serde(borrow)]
    pub note: Cow<'a, str>,
    #[serde(borrow)]
    pub damage: Cow<'a, str>,
    #[serde(borrow)]
    pub error: Cow<'a, str>,
    #[serde(borrow)]
    pub cause: Cow<'a, str>,
    #[serde(borrow)]
    pub changes: Vec<Cow<'a, str>>,
    #[serde(borrow)]
    pub for_user: Cow<'a, str>,
    #[serde(borrow)]
    pub allows: Vec<Cow<'a, str>>,
    #[serde(borrow)]
    pub for_role: Cow<'a, str>,
    #[serde(borrow)]
    pub for_environment: Cow<'a, str>,
    #[serde(borrow)]
    pub for_database: Cow<'a, str>,
    #[serde(borrow)]
    pub relations: Vec<Cow<'a, str>>,
    pub seconds: Option<u64>,
    #[serde(borrow)]
    pub until: Cow<'a, str>,
    pub refused: Option<u64>,
    pub lost: Option<u64>,
}

/// A bind parameter as the record shows it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(untagged)]
pub enum ParameterView<'a> {
    /// NULL.
    Null,
    /// The value as text.
    #[serde(borrow)]
    Text(Cow<'a, str>),
    /// A value that is cut, is no text, is hidden, or is not recorded.
    Other(ParameterDetail<'a>),
}

/// What is shown of a parameter that is not shown as text alone.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct ParameterDetail<'a> {
    /// The beginning of a text.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub text: Option<Cow<'a, str>>,
    /// The beginning of a value that is no text, in hexadecimal digits.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub hex: Option<Cow<'a, str>>,
    /// It is a secret.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub hidden: bool,
    /// Its type.
    #[serde(borrow, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<Cow<'a, str>>,
    /// How long the value was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

impl ParameterView<'_> {
    /// What free text is looked for in.
    pub fn words(&self) -> &str {
        match self {
            ParameterView::Text(text) => text,
            ParameterView::Other(detail) => detail.text.as_deref().or(detail.hex.as_deref()).unwrap_or_default(),
            ParameterView::Null => "",
        }
    }
}

/// For people: as SQL would write it, and in words what is missing.
impl std::fmt::Display for ParameterView<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let detail = match self {
            ParameterView::Null => return f.write_str("NULL"),
            ParameterView::Text(text) => return write!(f, "'{}'", text.replace('\'', "''")),
            ParameterView::Other(detail) => detail,
        };
        let bytes = detail.bytes.unwrap_or_default();
        match (&detail.text, &detail.hex, &detail.kind) {
            _ if detail.hidden => f.write_str("hidden: a secret"),
            (Some(text), ..) => write!(f, "'{}…' (cut; {bytes} bytes)", text.replace('\'', "''")),
            (_, Some(hex), _) if hex.len() as u64 == 2 * bytes => write!(f, "\\x{hex} ({bytes} bytes)"),
            (_, Some(hex), _) => write!(f, "\\x{hex}… (cut; {bytes} bytes)"),
            (_, _, Some(kind)) => write!(f, "not recorded: {kind}, {bytes} bytes"),
            _ => write!(f, "not recorded: {bytes} bytes"),
        }
    }
}

/// One effect of a statement.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct EffectView<'a> {
    /// Its class.
    #[serde(borrow)]
    pub class: Cow<'a, str>,
    /// What it touches.
    #[serde(borrow)]
    pub object: Cow<'a, str>,
    /// The act.
    #[serde(borrow)]
    pub act: Cow<'a, str>,
    /// Which readers saw it.
    #[serde(borrow)]
    pub by: Cow<'a, str>,
}

impl<'a> RecordView<'a> {
    /// Reads a line's fields; nothing is verified.
    pub fn parse(line: &'a [u8]) -> Option<RecordView<'a>> {
        serde_json::from_slice(line).ok()
    }

    /// What free text is looked for in, beside a statement's effects and application: a statement's text and bind parameters, and of other events
    /// whatever a person wrote or is told, one to a line.
    pub fn words(&self, out: &mut String) {
        out.clear();
        if self.event == "statement" {
            return words_of_statement(&self.text, &self.parameters, out);
        }
        let single = [
            &self.user,
            &self.role,
            &self.environment,
            &self.database,
            &self.application,
            &self.policy,
            &self.rule,
            &self.reason,
            &self.message,
            &self.by,
            &self.action,
            &self.target,
            &self.result,
            &self.note,
            &self.damage,
            &self.error,
            &self.cause,
            &self.tag,
            &self.sqlstate,
            &self.grant,
            &self.for_user,
            &self.for_role,
            &self.for_environment,
            &self.for_database,
            &self.text,
        ];
        let words = single.into_iter().chain(&self.changes).chain(&self.allows).chain(&self.relations);
        for word in words.filter(|word| !word.is_empty()) {
            if !out.is_empty() {
                out.push('\n');
            }
            out.push_str(word);
        }
    }
}

/// Appends what free text is looked for in of a statement: its text and its bind parameters, one to a line.
pub fn words_of_statement(text: &str, parameters: &[ParameterView<'_>], out: &mut String) {
    out.push_str(text);
    for word in parameters.iter().map(ParameterView::words).filter(|word| !word.is_empty()) {
        out.push('\n');
        out.push_str(word);
    }
}

/// A record with what happened to it: for a statement, its outcome.
#[derive(Clone, Copy, Debug)]
pub struct Story<'a> {
    /// The record's line.
    pub line: &'a str,
    /// The record.
    pub record: &'a RecordView<'a>,
    /// The statement's outcome, where it is known.
    pub outcome: Option<&'a RecordView<'a>>,
}
