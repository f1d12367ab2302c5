//! A client of the bare protocol: it logs in, writes the bytes that it is given, and reads messages.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bytes::BytesMut;
use pgwarden::wire::backend::{self, Authentication, tag};
use pgwarden::wire::startup::{self, Version};
use pgwarden::wire::{HEADER_BYTES, Peek, peek, report, write};
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// A message of the server: its type and its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub tag: u8,
    pub body: Vec<u8>,
}

/// A connection that has logged in.
pub struct Raw {
    stream: TcpStream,
    address: SocketAddr,
    buffer: Vec<u8>,
    pid: i32,
    secret: Vec<u8>,
    /// What the login told, in order.
    pub parameters: Vec<(String, String)>,
}

impl Raw {
    /// Logs in.
    pub fn connect(port: u16, user: &str, password: &str, database: &str) -> io::Result<Raw> {
        Raw::connect_with(port, user, password, database, &[])
    }

    /// Logs in with startup parameters.
    pub fn connect_with(
        port: u16,
        user: &str,
        password: &str,
        database: &str,
        parameters: &[(&str, &str)],
    ) -> io::Result<Raw> {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut raw = Raw { stream, address, buffer: Vec::new(), pid: 0, secret: Vec::new(), parameters: Vec::new() };
        let mut out = BytesMut::new();
        let own = [("user", user), ("database", database)];
        startup::write_startup(&mut out, Version::V3_0, own.iter().chain(parameters).copied());
        raw.send(&out)?;
        raw.log_in(password)?;
        Ok(raw)
    }

    fn log_in(&mut self, password: &str) -> io::Result<()> {
        let mut scram = ScramSha256::new(password.as_bytes(), ChannelBinding::unsupported());
        loop {
            let message = self.message()?;
            match message.tag {
                tag::AUTHENTICATION => match backend::authentication(&message.body) {
                    Some(Authentication::Ok) => {}
                    Some(Authentication::Sasl(_)) => {
                        let first = scram.message().to_vec();
                        let mut data = BytesMut::new();
                        write::c_string(&mut data, SCRAM_SHA_256.as_bytes());
                        data.extend_from_slice(&i32::try_from(first.len()).unwrap().to_be_bytes());
                        data.extend_from_slice(&first);
                        self.password(&data)?;
                    }
                    Some(Authentication::SaslContinue(data)) => {
                        scram.update(data)?;
                        let next = scram.message().to_vec();
                        self.password(&next)?;
                    }
                    Some(Authentication::SaslFinal(data)) => scram.finish(data)?,
                    Some(Authentication::Cleartext) => {
                        self.password(format!("{password}\0").as_bytes())?;
                    }
                    other => return Err(io::Error::other(format!("authentication {other:?}"))),
                },
                tag::BACKEND_KEY_DATA => {
                    let (pid, secret) = backend::key_data(&message.body).unwrap();
                    (self.pid, self.secret) = (pid, secret.to_vec());
                }
                tag::PARAMETER_STATUS => {
                    let (name, value) = backend::parameter(&message.body).unwrap();
                    self.parameters.push((name.to_owned(), value.to_owned()));
                }
                tag::ERROR => return Err(io::Error::other(described(&message))),
                tag::READY => return Ok(()),
                _ => {}
            }
        }
    }

    fn password(&mut self, data: &[u8]) -> io::Result<()> {
        let mut out = BytesMut::new();
        write::password(&mut out, data);
        self.send(&out)
    }

    /// Writes bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// The next message.
    pub fn message(&mut self) -> io::Result<Message> {
        loop {
            match peek(&self.buffer) {
                Peek::Header(header) if self.buffer.len() >= header.message_bytes() => {
                    let body = self.buffer[HEADER_BYTES..header.message_bytes()].to_vec();
                    self.buffer.drain(..header.message_bytes());
                    return Ok(Message { tag: header.tag, body });
                }
                Peek::Bad => return Err(io::Error::other("a message of an impossible length")),
                Peek::Header(_) | Peek::Partial => {}
            }
            let mut piece = [0; 16 << 10];
            match self.stream.read(&mut piece)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => self.buffer.extend_from_slice(&piece[..count]),
            }
        }
    }

    /// Messages up to the `count`-th ReadyForQuery.
    pub fn answers(&mut self, count: usize) -> io::Result<Vec<Message>> {
        let mut messages = Vec::new();
        let mut left = count;
        while left > 0 {
            let message = self.message()?;
            left -= usize::from(message.tag == tag::READY);
            messages.push(message);
        }
        Ok(messages)
    }

    /// Writes, and reads as many ReadyForQuery as Syncs and Queries were written.
    pub fn ask(&mut self, bytes: &[u8]) -> io::Result<Vec<Message>> {
        self.send(bytes)?;
        self.answers(questions(bytes))
    }

    /// A simple query's answers.
    pub fn query(&mut self, sql: &str) -> io::Result<Vec<Message>> {
        let mut out = BytesMut::new();
        write::query(&mut out, sql.as_bytes());
        self.ask(&out)
    }

    /// The first column of a simple query's rows, one line each; an error is told as such.
    pub fn value(&mut self, sql: &str) -> io::Result<String> {
        let messages = self.query(sql)?;
        let lines: Vec<String> = messages
            .iter()
            .filter_map(|message| match message.tag {
                tag::DATA_ROW => Some(first_column(&message.body)),
                tag::ERROR => Some(described(message)),
                _ => None,
            })
            .collect();
        Ok(lines.join("\n"))
    }

    /// How long an answer may take from now on.
    pub fn patience(&self, time: Duration) {
        self.stream.set_read_timeout(Some(time)).unwrap();
    }

    /// Asks to cancel what runs here, on a connection of its own.
    pub fn cancel(&self) -> io::Result<()> {
        let mut out = BytesMut::new();
        startup::write_cancel(&mut out, self.pid, &self.secret);
        let mut stream = TcpStream::connect(self.address)?;
        stream.write_all(&out)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let _ = stream.read(&mut [0; 1]);
        Ok(())
    }
}

fn first_column(body: &[u8]) -> String {
    let length = i32::from_be_bytes(body[2..6].try_into().unwrap());
    match usize::try_from(length) {
        Ok(length) => String::from_utf8_lossy(&body[6..6 + length]).into_owned(),
        Err(_) => "NULL".to_owned(),
    }
}

/// How many ReadyForQuery these messages bring.
pub fn questions(bytes: &[u8]) -> usize {
    let mut rest = bytes;
    let mut count = 0;
    while let Peek::Header(header) = peek(rest) {
        count += usize::from(matches!(header.tag, b'Q' | b'S' | b'F'));
        rest = rest.get(header.message_bytes()..).unwrap_or_default();
    }
    count
}

/// An error or notice in words.
pub fn described(message: &Message) -> String {
    let text = report::text(&message.body, b'M').map(|text| String::from_utf8_lossy(text).into_owned());
    format!("{} {}", report::sqlstate(&message.body), text.unwrap_or_default())
}
