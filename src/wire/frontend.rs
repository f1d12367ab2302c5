//! Messages a client sends after login: type bytes and typed views.

use super::{c_string, i32_at, u16_at};

/// Type bytes of client messages.
pub mod tag {
    /// Bind.
    pub const BIND: u8 = b'B';
    /// Close a statement or portal.
    pub const CLOSE: u8 = b'C';
    /// Describe a statement or portal.
    pub const DESCRIBE: u8 = b'D';
    /// Execute a portal.
    pub const EXECUTE: u8 = b'E';
    /// Call a function by oid.
    pub const FUNCTION_CALL: u8 = b'F';
    /// Flush.
    pub const FLUSH: u8 = b'H';
    /// Parse.
    pub const PARSE: u8 = b'P';
    /// A simple query.
    pub const QUERY: u8 = b'Q';
    /// Sync.
    pub const SYNC: u8 = b'S';
    /// Terminate.
    pub const TERMINATE: u8 = b'X';
    /// Data of COPY … FROM STDIN.
    pub const COPY_DATA: u8 = b'd';
    /// COPY is complete.
    pub const COPY_DONE: u8 = b'c';
    /// COPY failed on the client's side.
    pub const COPY_FAIL: u8 = b'f';
    /// Password, SASL and GSS responses.
    pub const PASSWORD: u8 = b'p';
}

/// Whether `tag` is a message a client may send after login.
pub fn is_known(tag: u8) -> bool {
    use tag::*;
    matches!(
        tag,
        BIND | CLOSE
            | DESCRIBE
            | EXECUTE
            | FUNCTION_CALL
            | FLUSH
            | PARSE
            | QUERY
            | SYNC
            | TERMINATE
            | COPY_DATA
            | COPY_DONE
            | COPY_FAIL
            | PASSWORD
    )
}

/// A statement or a portal, as Describe and Close name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// `S`.
    Statement,
    /// `P`.
    Portal,
}

/// A typed view of a client message's body. Names are bytes without their NUL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frontend<'a> {
    /// A simple query's text.
    Query(&'a [u8]),
    /// Parse: statement name, text, and the parameter types given (as they stand in the message).
    Parse {
        /// The statement's name; empty for the unnamed one.
        name: &'a [u8],
        /// Its text.
        text: &'a [u8],
    },
    /// Bind, as far as it names things; the parameters stay in the bytes.
    Bind {
        /// The portal's name.
        portal: &'a [u8],
        /// The statement's name.
        statement: &'a [u8],
    },
    /// Describe.
    Describe(Target, &'a [u8]),
    /// Close.
    Close(Target, &'a [u8]),
    /// Execute: the portal and the most rows to return (0: all).
    Execute {
        /// The portal's name.
        portal: &'a [u8],
        /// Row limit; 0 means none.
        max_rows: i32,
    },
    /// Sync.
    Sync,
    /// Flush.
    Flush,
    /// CopyData, its body not looked at.
    CopyData,
    /// CopyDone.
    CopyDone,
    /// CopyFail.
    CopyFail,
    /// FunctionCall: the function's number, its OID; the arguments stay in the bytes.
    FunctionCall(u32),
    /// Terminate.
    Terminate,
    /// A password message, which has no place after login.
    Password,
}

impl Frontend<'_> {
    /// Whether it asks the server for something of its own, that may move the session.
    pub fn asks(&self) -> bool {
        match self {
            Frontend::Query(_)
            | Frontend::Parse { .. }
            | Frontend::Bind { .. }
            | Frontend::Describe(..)
            | Frontend::Close(..)
            | Frontend::FunctionCall(_)
            | Frontend::Execute { .. } => true,
            Frontend::Sync
            | Frontend::Flush
            | Frontend::CopyData
            | Frontend::CopyDone
            | Frontend::CopyFail
            | Frontend::Terminate
            | Frontend::Password => false,
        }
    }
}

/// Why a body is not what its type byte says. Postgres answers these with 08P01 and goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A string without its NUL, or a number cut short.
    #[error("insufficient data left in message")]
    Short,
    /// Bytes after the message's end.
    #[error("invalid message format")]
    Trailing,
    /// Describe or Close of neither `S` nor `P`.
    #[error("invalid message subtype {0}")]
    Subtype(u8),
    /// A type byte that no client message has.
    #[error("invalid frontend message type {0}")]
    Type(u8),
}

fn string_only(body: &[u8]) -> Result<&[u8], Malformed> {
    match c_string(body) {
        Some((text, [])) => Ok(text),
        Some(_) => Err(Malformed::Trailing),
        None => Err(Malformed::Short),
    }
}

fn target(body: &[u8]) -> Result<(Target, &[u8]), Malformed> {
    let (&kind, rest) = body.split_first().ok_or(Malformed::Short)?;
    let name = string_only(rest)?;
    match kind {
        b'S' => Ok((Target::Statement, name)),
        b'P' => Ok((Target::Portal, name)),
        other => Err(Malformed::Subtype(other)),
    }
}

fn parse(body: &[u8]) -> Result<Frontend<'_>, Malformed> {
    let (name, rest) = c_string(body).ok_or(Malformed::Short)?;
    let (text, rest) = c_string(rest).ok_or(Malformed::Short)?;
    let (count, rest) = u16_at(rest).ok_or(Malformed::Short)?;
    match rest.len().cmp(&(usize::from(count) * 4)) {
        std::cmp::Ordering::Less => Err(Malformed::Short),
        std::cmp::Ordering::Greater => Err(Malformed::Trailing),
        std::cmp::Ordering::Equal => Ok(Frontend::Parse { name, text }),
    }
}

fn execute(body: &[u8]) -> Result<Frontend<'_>, Malformed> {
    let (portal, rest) = c_string(body).ok_or(Malformed::Short)?;
    match i32_at(rest) {
        Some((max_rows, [])) => Ok(Frontend::Execute { portal, max_rows }),
        Some(_) => Err(Malformed::Trailing),
        None => Err(Malformed::Short),
    }
}

fn bare<'a>(body: &[u8], view: Frontend<'a>) -> Result<Frontend<'a>, Malformed> {
    if body.is_empty() { Ok(view) } else { Err(Malformed::Trailing) }
}

/// Views a whole message's body. For Bind, `body` may be only a beginning that holds both
/// names, for FunctionCall one that holds the function's number.
///
/// # Errors
/// The body does not fit its type byte.
pub fn view(tag: u8, body: &[u8]) -> Result<Frontend<'_>, Malformed> {
    match tag {
        tag::QUERY => string_only(body).map(Frontend::Query),
        tag::PARSE => parse(body),
        tag::BIND => bind(body).ok_or(Malformed::Short),
        tag::DESCRIBE => target(body).map(|(target, name)| Frontend::Describe(target, name)),
        tag::CLOSE => target(body).map(|(target, name)| Frontend::Close(target, name)),
        tag::EXECUTE => execute(body),
        tag::SYNC => bare(body, Frontend::Sync),
        tag::FLUSH => bare(body, Frontend::Flush),
        tag::COPY_DATA => Ok(Frontend::CopyData),
        tag::COPY_DONE => bare(body, Frontend::CopyDone),
        tag::COPY_FAIL => Ok(Frontend::CopyFail),
        tag::FUNCTION_CALL => function_call(body).ok_or(Malformed::Short),
        tag::TERMINATE => Ok(Frontend::Terminate),
        tag::PASSWORD => Ok(Frontend::Password),
        other => Err(Malformed::Type(other)),
    }
}

/// The number at the start of a FunctionCall, or `None` when it is not complete.
pub fn function_call(body: &[u8]) -> Option<Frontend<'_>> {
    i32_at(body).map(|(function, _)| Frontend::FunctionCall(function.cast_unsigned()))
}

/// The names at the start of a Bind, or `None` when they are not complete.
pub fn bind(body: &[u8]) -> Option<Frontend<'_>> {
    let (portal, rest) = c_string(body)?;
    let (statement, _) = c_string(rest)?;
    Some(Frontend::Bind { portal, statement })
}
