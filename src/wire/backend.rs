//! Messages a server sends: type bytes and the few views that the session opens.

use super::{c_string, i32_at};

/// Type bytes of server messages.
pub mod tag {
    /// Authentication request.
    pub const AUTHENTICATION: u8 = b'R';
    /// Process id and secret for cancel requests.
    pub const BACKEND_KEY_DATA: u8 = b'K';
    /// Bind succeeded.
    pub const BIND_COMPLETE: u8 = b'2';
    /// Close succeeded.
    pub const CLOSE_COMPLETE: u8 = b'3';
    /// A command finished; the body is its tag.
    pub const COMMAND_COMPLETE: u8 = b'C';
    /// COPY … FROM STDIN begins.
    pub const COPY_IN: u8 = b'G';
    /// COPY … TO STDOUT begins.
    pub const COPY_OUT: u8 = b'H';
    /// Replication only.
    pub const COPY_BOTH: u8 = b'W';
    /// A row of COPY.
    pub const COPY_DATA: u8 = b'd';
    /// COPY out is complete.
    pub const COPY_DONE: u8 = b'c';
    /// A row.
    pub const DATA_ROW: u8 = b'D';
    /// The text held no statement.
    pub const EMPTY_QUERY: u8 = b'I';
    /// An error.
    pub const ERROR: u8 = b'E';
    /// Result of a FunctionCall.
    pub const FUNCTION_RESULT: u8 = b'V';
    /// The server speaks an older minor version or does not know an option.
    pub const NEGOTIATE: u8 = b'v';
    /// A statement or portal that returns no rows.
    pub const NO_DATA: u8 = b'n';
    /// A notice.
    pub const NOTICE: u8 = b'N';
    /// A NOTIFY of another session.
    pub const NOTIFICATION: u8 = b'A';
    /// Types of a statement's parameters.
    pub const PARAMETER_DESCRIPTION: u8 = b't';
    /// A setting's value that the server reports.
    pub const PARAMETER_STATUS: u8 = b'S';
    /// Parse succeeded.
    pub const PARSE_COMPLETE: u8 = b'1';
    /// A portal reached its row limit.
    pub const PORTAL_SUSPENDED: u8 = b's';
    /// Ready for the next query; the body is the transaction status.
    pub const READY: u8 = b'Z';
    /// Columns of a result.
    pub const ROW_DESCRIPTION: u8 = b'T';
}

/// Whether `tag` is a message a server may send after login.
pub fn is_known(tag: u8) -> bool {
    use tag::*;
    matches!(
        tag,
        AUTHENTICATION
            | BACKEND_KEY_DATA
            | BIND_COMPLETE
            | CLOSE_COMPLETE
            | COMMAND_COMPLETE
            | COPY_IN
            | COPY_OUT
            | COPY_BOTH
            | COPY_DATA
            | COPY_DONE
            | DATA_ROW
            | EMPTY_QUERY
            | ERROR
            | FUNCTION_RESULT
            | NEGOTIATE
            | NO_DATA
            | NOTICE
            | NOTIFICATION
            | PARAMETER_DESCRIPTION
            | PARAMETER_STATUS
            | PARSE_COMPLETE
            | PORTAL_SUSPENDED
            | READY
            | ROW_DESCRIPTION
    )
}

/// The transaction status that ReadyForQuery carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// `I`: not in a transaction block.
    Idle,
    /// `T`: in a transaction block.
    InTransaction,
    /// `E`: in a failed transaction block.
    Failed,
}

impl Status {
    /// The byte on the wire.
    pub fn byte(self) -> u8 {
        match self {
            Status::Idle => b'I',
            Status::InTransaction => b'T',
            Status::Failed => b'E',
        }
    }

    /// Reads the body of ReadyForQuery.
    pub fn of(body: &[u8]) -> Option<Status> {
        match body {
            b"I" => Some(Status::Idle),
            b"T" => Some(Status::InTransaction),
            b"E" => Some(Status::Failed),
            _ => None,
        }
    }
}

/// The tag of a CommandComplete without its NUL.
pub fn command_tag(body: &[u8]) -> Option<&[u8]> {
    c_string(body).map(|(tag, _)| tag)
}

/// Rows that a command tag counts: the last number of `INSERT 0 5`, `UPDATE 3`, `SELECT 7`, `COPY 9`; `None` without one.
pub fn tag_rows(tag: &[u8]) -> Option<u64> {
    let digits = tag.rsplit(|byte| *byte == b' ').next()?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// The first column of a DataRow as text; `None` where it is NULL, missing or not UTF-8.
pub fn first_column(body: &[u8]) -> Option<&str> {
    let (_, rest) = super::u16_at(body)?;
    let (length, rest) = i32_at(rest)?;
    std::str::from_utf8(rest.get(..usize::try_from(length).ok()?)?).ok()
}

/// Name and value of a ParameterStatus.
pub fn parameter(body: &[u8]) -> Option<(&str, &str)> {
    let (name, rest) = c_string(body)?;
    let (value, _) = c_string(rest)?;
    Some((std::str::from_utf8(name).ok()?, std::str::from_utf8(value).ok()?))
}

/// Process id and secret of a BackendKeyData (4 bytes of secret in protocol 3.0, 4 to 256 in 3.2).
pub fn key_data(body: &[u8]) -> Option<(i32, &[u8])> {
    let (pid, secret) = i32_at(body)?;
    (4..=256).contains(&secret.len()).then_some((pid, secret))
}

/// An authentication request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authentication<'a> {
    /// Login is complete.
    Ok,
    /// The password in clear.
    Cleartext,
    /// MD5 with this salt.
    Md5([u8; 4]),
    /// The SASL mechanisms offered.
    Sasl(Vec<&'a str>),
    /// A SASL challenge.
    SaslContinue(&'a [u8]),
    /// The server's SASL proof.
    SaslFinal(&'a [u8]),
    /// Anything else, by its code.
    Other(i32),
}

/// Reads an authentication request's body.
pub fn authentication(body: &[u8]) -> Option<Authentication<'_>> {
    let (code, rest) = i32_at(body)?;
    Some(match code {
        0 => Authentication::Ok,
        3 => Authentication::Cleartext,
        5 => Authentication::Md5(*rest.first_chunk::<4>()?),
        10 => Authentication::Sasl(mechanisms(rest)?),
        11 => Authentication::SaslContinue(rest),
        12 => Authentication::SaslFinal(rest),
        other => Authentication::Other(other),
    })
}

fn mechanisms(mut rest: &[u8]) -> Option<Vec<&str>> {
    let mut names = Vec::new();
    loop {
        let (name, tail) = c_string(rest)?;
        if name.is_empty() {
            return Some(names);
        }
        names.push(std::str::from_utf8(name).ok()?);
        rest = tail;
    }
}
