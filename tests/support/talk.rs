//! Protocol messages as short words, to and fro. The words are told in `tests/data/conversations/README.txt`.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use bytes::{BufMut, BytesMut};
use pgwarden::wire::frontend::Target;
use pgwarden::wire::{HEADER_BYTES, Peek, peek, report, write};

/// Who says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Client,
    Server,
    Neither,
}

const BEGIN: &str = "BEGIN READ ONLY";
const LOCK: &str = "SELECT pg_catalog.set_config('transaction_read_only','on',true)";
const OWN: &str = "pgwarden_hold";

/// The words of a line, the proxy's own sequences written out.
pub fn expanded(line: &str, side: Side) -> Vec<String> {
    let words = line.split(" | ").map(str::trim).filter(|word| !word.is_empty());
    words.flat_map(|word| if word.starts_with('{') { macro_of(word, side) } else { vec![word.to_owned()] }).collect()
}

fn macro_of(word: &str, side: Side) -> Vec<String> {
    let inner = word.trim_matches(['{', '}']);
    let (name, tag) = inner.split_once(':').unwrap_or((inner, ""));
    let own = |text: &str, named: bool, answers: &[&str]| -> Vec<String> {
        let slot = if named { OWN } else { "-" };
        let closes = if named { vec![format!("C S {OWN}"), format!("C P {OWN}")] } else { Vec::new() };
        let closed = vec!["3".to_owned(); closes.len()];
        let middle: Vec<String> = match side {
            Side::Client => vec![format!("P {slot} {text}"), format!("B {slot} {slot}"), format!("E {slot}")],
            _ => ["1", "2"].iter().chain(answers).map(|word| (*word).to_owned()).collect(),
        };
        let around = if side == Side::Client { closes } else { closed };
        around.iter().chain(&middle).chain(&around).cloned().collect()
    };
    let ends = if side == Side::Client && !tag.is_empty() { tag } else { "COMMIT" };
    let commit = format!("C {}", if tag.is_empty() { "COMMIT" } else { tag });
    let sync = |state: &str| if side == Side::Client { "S".to_owned() } else { format!("Z {state}") };
    let lock: &[&str] = &["D on", "C SELECT 1"];
    match name {
        "hold" => [own(BEGIN, true, &["C BEGIN"]), own(LOCK, true, lock)].concat(),
        "hold0" => [own(BEGIN, false, &["C BEGIN"]), own(LOCK, false, lock)].concat(),
        "begin" => own(BEGIN, true, &["C BEGIN"]),
        "lock" => own(LOCK, true, lock),
        "lock0" => own(LOCK, false, lock),
        "guard" => own("BEGIN", true, &["C BEGIN"]),
        "count" => own("SELECT pg_catalog.concat(…", true, &[&format!("D {tag}"), "C SELECT 1"]),
        "commit" => [own(ends, true, &[&commit]), vec![sync("I")]].concat(),
        "commit0" => {
            let close = if side == Side::Client { "C S -" } else { "3" };
            [own("COMMIT", false, &[&commit]), vec![close.to_owned(), sync("I")]].concat()
        }
        other => panic!("no such sequence: {other}"),
    }
}

/// The bytes of a line's words.
pub fn bytes_of(line: &str, side: Side) -> BytesMut {
    let mut out = BytesMut::new();
    for word in expanded(line, side) {
        match side {
            Side::Client => client(&word, &mut out),
            Side::Server => server(&word, &mut out),
            Side::Neither => panic!("nobody says {word}"),
        }
    }
    out
}

fn name(word: &str) -> &[u8] {
    if word == "-" { b"" } else { word.as_bytes() }
}

fn unescaped(text: &str) -> String {
    text.replace("\\n", "\n").replace("\\t", "\t").replace("\\0", "\0")
}

fn client(word: &str, out: &mut BytesMut) {
    let (kind, rest) = word.split_once(' ').unwrap_or((word, ""));
    let (first, second) = rest.split_once(' ').unwrap_or((rest, ""));
    match kind {
        "Q" => write::query(out, unescaped(rest).as_bytes()),
        "P" => write::parse(out, name(first), unescaped(second).as_bytes()),
        "B" => write::bind(out, name(first), name(second)),
        "E" => write::message(out, b'E', |out| {
            write::c_string(out, name(first));
            out.put_i32(if second.is_empty() { 0 } else { second.parse().unwrap() });
        }),
        "D" => write::message(out, b'D', |out| {
            out.put_slice(first.as_bytes());
            write::c_string(out, name(second));
        }),
        "C" if first == "S" => write::close(out, Target::Statement, name(second)),
        "C" => write::close(out, Target::Portal, name(second)),
        "S" => write::sync(out),
        "H" => write::flush(out),
        "X" => write::terminate(out),
        "F" => write::message(out, b'F', |out| {
            // The function's number, then its arguments, all of them in text, as its result.
            let mut words = rest.split_ascii_whitespace();
            out.put_u32(words.next().map_or(1, |number| number.parse().unwrap()));
            let arguments: Vec<&str> = words.collect();
            out.put_i16(0);
            out.put_i16(i16::try_from(arguments.len()).unwrap());
            for argument in arguments {
                out.put_i32(i32::try_from(argument.len()).unwrap());
                out.put_slice(argument.as_bytes());
            }
            out.put_i16(0);
        }),
        "d" | "f" => write::message(out, kind.as_bytes()[0], |out| out.put_slice(unescaped(rest).as_bytes())),
        "c" => write::message(out, b'c', |_| ()),
        "p" => write::password(out, rest.as_bytes()),
        // Any type byte with any body.
        "raw" => write::message(out, first.as_bytes()[0], |out| out.put_slice(unescaped(second).as_bytes())),
        other => panic!("a client says no {other}: {word}"),
    }
}

fn server(word: &str, out: &mut BytesMut) {
    let (kind, rest) = word.split_once(' ').unwrap_or((word, ""));
    let tag = if kind == "raw" { rest.as_bytes()[0] } else { kind.as_bytes()[0] };
    let (first, second) = rest.split_once(' ').unwrap_or((rest, ""));
    write::message(out, tag, |out| match kind {
        "1" | "2" | "3" | "n" | "s" | "I" | "c" => {}
        "C" => write::c_string(out, rest.as_bytes()),
        "Z" => out.put_slice(rest.as_bytes()),
        "D" => {
            out.put_i16(1);
            out.put_i32(i32::try_from(rest.len()).unwrap());
            out.put_slice(rest.as_bytes());
        }
        "d" => out.put_slice(rest.as_bytes()),
        "V" => {
            out.put_i32(i32::try_from(rest.len()).unwrap());
            out.put_slice(rest.as_bytes());
        }
        "T" => {
            out.put_i16(1);
            write::c_string(out, rest.as_bytes());
            out.put_slice(&[0; 18]);
        }
        "t" => out.put_i16(0),
        "G" | "H" | "W" => out.put_slice(&[0, 0, 0]),
        "S" => {
            write::c_string(out, first.as_bytes());
            write::c_string(out, second.as_bytes());
        }
        "E" | "N" => fields(out, kind, first, second),
        "A" => {
            out.put_i32(1);
            write::c_string(out, rest.as_bytes());
            write::c_string(out, b"");
        }
        "raw" => out.put_slice(unescaped(second).as_bytes()),
        other => panic!("a server says no {other}: {word}"),
    });
}

fn fields(out: &mut BytesMut, kind: &str, code: &str, message: &str) {
    let (message, position) = message.rsplit_once(" @").map_or((message, None), |(text, at)| (text, Some(at)));
    let severity = if kind == "N" { "NOTICE" } else { "ERROR" };
    let severity = if message.starts_with("FATAL") { "FATAL" } else { severity };
    for (field, text) in [(b'S', severity), (b'V', severity), (b'C', code), (b'M', message)] {
        out.put_u8(field);
        write::c_string(out, text.as_bytes());
    }
    if let Some(position) = position {
        out.put_u8(b'P');
        write::c_string(out, position.as_bytes());
    }
    out.put_u8(0);
}

/// Bytes as words.
pub fn said(bytes: &[u8], side: Side) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = bytes;
    while let Peek::Header(header) = peek(rest) {
        let Some(message) = rest.get(..header.message_bytes()) else { break };
        let body = &message[HEADER_BYTES..];
        let word = match side {
            Side::Client => client_word(header.tag, body),
            Side::Server | Side::Neither => server_word(header.tag, body),
        };
        words.push(word.trim_end().to_owned());
        rest = &rest[header.message_bytes()..];
    }
    if !rest.is_empty() {
        words.push(format!("({} bytes of a message)", rest.len()));
    }
    words
}

fn strings(body: &[u8]) -> Vec<String> {
    let parts = body.split(|byte| *byte == 0);
    parts.map(|part| String::from_utf8_lossy(part).replace('\n', "\\n")).collect()
}

fn shown(name: &str) -> &str {
    if name.is_empty() { "-" } else { name }
}

fn client_word(tag: u8, body: &[u8]) -> String {
    let kind = char::from(tag);
    let text = strings(body);
    match tag {
        b'Q' => format!("Q {}", text[0]),
        b'P' => format!("P {} {}", shown(&text[0]), text[1]),
        b'B' => format!("B {} {}", shown(&text[0]), shown(&text[1])),
        b'E' => {
            let rows = i32::from_be_bytes(body[body.len() - 4..].try_into().unwrap());
            if rows == 0 { format!("E {}", shown(&text[0])) } else { format!("E {} {rows}", shown(&text[0])) }
        }
        b'D' | b'C' => format!("{kind} {} {}", char::from(body[0]), shown(&text[0][1..])),
        b'd' | b'f' => format!("{kind} {}", String::from_utf8_lossy(body)),
        b'F' => format!("F {}", u32::from_be_bytes(body[..4].try_into().unwrap())),
        _ => kind.to_string(),
    }
}

fn server_word(tag: u8, body: &[u8]) -> String {
    let kind = char::from(tag);
    match tag {
        b'C' => format!("C {}", strings(body)[0]),
        b'Z' => format!("Z {}", String::from_utf8_lossy(body)),
        b'D' => format!("D {}", String::from_utf8_lossy(&body[6..])),
        b'V' => format!("V {}", String::from_utf8_lossy(&body[4..])),
        b'd' => format!("d {}", String::from_utf8_lossy(body)),
        b'T' => format!("T {}", strings(&body[2..])[0]),
        b'S' => format!("S {} {}", strings(body)[0], strings(body)[1]),
        b'A' => format!("A {}", strings(&body[4..])[0]),
        b'E' | b'N' => {
            let field = |code| report::text(body, code).map(|text| String::from_utf8_lossy(text).into_owned());
            let position = field(b'P').map_or(String::new(), |at| format!(" @{at}"));
            format!("{kind} {} {}{position}", report::sqlstate(body), field(b'M').unwrap_or_default())
        }
        _ => kind.to_string(),
    }
}

/// Whether a word is what was wanted: `…` at the wanted word's end stands for anything.
pub fn matches(wanted: &str, found: &str) -> bool {
    match wanted.strip_suffix('…') {
        Some(start) => found.starts_with(start.trim_end()),
        None => wanted == found,
    }
}
