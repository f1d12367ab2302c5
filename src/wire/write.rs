//! Building messages.

use bytes::{BufMut, BytesMut};

use super::backend::{self, Status};
use super::frontend;

/// Appends one message: type byte, length, and what `body` writes.
pub fn message(out: &mut BytesMut, tag: u8, body: impl FnOnce(&mut BytesMut)) {
    out.put_u8(tag);
    untagged(out, body);
}

/// Appends a length and what `body` writes: startup packets have no type byte.
pub fn untagged(out: &mut BytesMut, body: impl FnOnce(&mut BytesMut)) {
    let start = out.len();
    out.put_i32(0);
    body(out);
    let length = i32::try_from(out.len() - start).unwrap_or(i32::MAX);
    if let Some(slot) = out.get_mut(start..start + 4) {
        slot.copy_from_slice(&length.to_be_bytes());
    }
}

/// Appends a NUL-terminated string. Callers give no inner NULs; one would end the string early, so it is left out.
pub fn c_string(out: &mut BytesMut, text: &[u8]) {
    if memchr::memchr(0, text).is_none() {
        out.put_slice(text);
    } else {
        out.extend(text.iter().filter(|byte| **byte != 0));
    }
    out.put_u8(0);
}

/// Appends a ReadyForQuery.
pub fn ready(out: &mut BytesMut, status: Status) {
    message(out, backend::tag::READY, |out| out.put_u8(status.byte()));
}

/// Appends an authentication request of `code` with `data`.
pub fn authentication(out: &mut BytesMut, code: i32, data: &[u8]) {
    message(out, backend::tag::AUTHENTICATION, |out| {
        out.put_i32(code);
        out.put_slice(data);
    });
}

/// Appends a BackendKeyData.
pub fn key_data(out: &mut BytesMut, pid: i32, secret: &[u8]) {
    message(out, backend::tag::BACKEND_KEY_DATA, |out| {
        out.put_i32(pid);
        out.put_slice(secret);
    });
}

/// Appends a ParameterStatus.
pub fn parameter(out: &mut BytesMut, name: &str, value: &str) {
    message(out, backend::tag::PARAMETER_STATUS, |out| {
        c_string(out, name.as_bytes());
        c_string(out, value.as_bytes());
    });
}

/// Appends a simple Query.
pub fn query(out: &mut BytesMut, text: &[u8]) {
    message(out, frontend::tag::QUERY, |out| c_string(out, text));
}

/// Appends a Parse without parameter types.
pub fn parse(out: &mut BytesMut, name: &[u8], text: &[u8]) {
    message(out, frontend::tag::PARSE, |out| {
        c_string(out, name);
        c_string(out, text);
        out.put_u16(0);
    });
}

/// Appends a Bind without parameters, all results in text.
pub fn bind(out: &mut BytesMut, portal: &[u8], statement: &[u8]) {
    message(out, frontend::tag::BIND, |out| {
        c_string(out, portal);
        c_string(out, statement);
        out.put_slice(&[0, 0, 0, 0, 0, 0]);
    });
}

/// Appends an Execute of a portal to its end.
pub fn execute(out: &mut BytesMut, portal: &[u8]) {
    message(out, frontend::tag::EXECUTE, |out| {
        c_string(out, portal);
        out.put_i32(0);
    });
}

/// Appends a Close of a statement (`S`) or portal (`P`).
pub fn close(out: &mut BytesMut, target: frontend::Target, name: &[u8]) {
    message(out, frontend::tag::CLOSE, |out| {
        out.put_u8(match target {
            frontend::Target::Statement => b'S',
            frontend::Target::Portal => b'P',
        });
        c_string(out, name);
    });
}

/// Appends a Sync.
pub fn sync(out: &mut BytesMut) {
    message(out, frontend::tag::SYNC, |_| ());
}

/// Appends a Flush.
pub fn flush(out: &mut BytesMut) {
    message(out, frontend::tag::FLUSH, |_| ());
}

/// Appends a Terminate.
pub fn terminate(out: &mut BytesMut) {
    message(out, frontend::tag::TERMINATE, |_| ());
}

/// Appends a client's answer to an authentication request.
pub fn password(out: &mut BytesMut, data: &[u8]) {
    message(out, frontend::tag::PASSWORD, |out| out.put_slice(data));
}
