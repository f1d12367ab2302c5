//! The API of a running proxy, for the commands that act through it.

use std::io::{self, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::Value;

use super::ConfigFile;

/// How long the proxy may take to answer.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Longest answer.
const ANSWER_BYTES: u64 = 256 << 20;

/// Where the API is, and who asks.
#[derive(Args, Debug)]
pub(super) struct ApiArguments {
    /// Where the configuration is, which says where the API is.
    #[command(flatten)]
    file: ConfigFile,
    /// Where the API is, instead of the configuration's `listen.admin`: `http://127.0.0.1:9432`.
    #[arg(long, global = true, value_name = "URL", env = "PGWARDEN_URL")]
    url: Option<String>,
    /// The token, as `pgwarden user token` made it.
    #[arg(
        long,
        global = true,
        value_name = "TOKEN",
        env = "PGWARDEN_TOKEN",
        hide_env_values = true,
        default_value = ""
    )]
    token: String,
}

/// The API, for one caller.
pub(super) struct Api<'a> {
    /// `host:port`.
    address: String,
    token: &'a str,
}

/// What was asked for cannot be asked for as it was typed: exit code 64.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Usage(pub(super) String);

/// Runs a command by the API: 0, 1 with the reason on standard error, 64 if it is not known where the API is or the command was
/// typed wrong.
pub(super) fn run(arguments: &ApiArguments, command: impl FnOnce(&Api<'_>) -> anyhow::Result<()>) -> ExitCode {
    let address = match address(arguments) {
        Ok(address) => address,
        Err(error) => {
            eprintln!("pgwarden: {error:#}");
            return ExitCode::from(super::EXIT_USAGE);
        }
    };
    match command(&Api { address, token: &arguments.token }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pgwarden: {}", super::audit::one_line(&format!("{error:#}")));
            match error.is::<Usage>() {
                true => ExitCode::from(super::EXIT_USAGE),
                false => ExitCode::FAILURE,
            }
        }
    }
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// `host:port` of the API.
fn address(arguments: &ApiArguments) -> anyhow::Result<String> {
    let Some(url) = &arguments.url else {
        let config = crate::config::load(&arguments.file.config)?;
        let admin = config.listen.admin.context("the configuration has no `listen.admin`, so there is no API")?;
        return Ok(admin.to_string());
    };
    let Some(rest) = url.strip_prefix("http://") else {
        bail!("`{url}` is not an address such as http://127.0.0.1:9432")
    };
    Ok(rest.trim_end_matches('/').to_owned())
}

impl Api<'_> {
    /// Asks for something.
    pub(super) fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.call("GET", path, None)
    }

    /// Has something done.
    pub(super) fn post(&self, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        self.call("POST", path, body)
    }

    /// One call: HTTP/1.1, a connection of its own.
    fn call(&self, method: &str, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let (address, token) = (&self.address, self.token);
        if token.is_empty() {
            bail!("a token is needed: `pgwarden user token` makes one; give it by PGWARDEN_TOKEN");
        }
        if token.bytes().any(|byte| !byte.is_ascii_graphic()) {
            bail!("the token has characters that a token cannot have");
        }
        let target = address.to_socket_addrs().with_context(|| format!("`{address}`"))?.next();
        let target = target.with_context(|| format!("`{address}` has no address"))?;
        let stream = TcpStream::connect_timeout(&target, TIMEOUT).with_context(|| format!("cannot reach {address}"))?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        let body = body.map(ToString::to_string).unwrap_or_default();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        answer(address, &exchange(stream, &head, &body)?)
    }
}

/// Sends a request and reads the answer. A server that answers before it has read all is heard, too.
fn exchange(mut stream: TcpStream, head: &str, body: &str) -> anyhow::Result<Vec<u8>> {
    let sent = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes()));
    let mut bytes = Vec::new();
    let read = stream.take(ANSWER_BYTES).read_to_end(&mut bytes);
    if bytes.is_empty() {
        sent.and(read.map(|_| ()))?;
    }
    Ok(bytes)
}

fn answer(address: &str, bytes: &[u8]) -> anyhow::Result<Value> {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text.split_once("\r\n\r\n").with_context(|| format!("{address} does not speak HTTP"))?;
    let status = head.split(' ').nth(1).unwrap_or_default();
    let answer = serde_json::from_str::<Value>(body).ok();
    let error = answer.as_ref().and_then(|answer| answer.get("error")).and_then(Value::as_str);
    match (status, error, answer.as_ref()) {
        ("200", _, Some(answer)) => Ok(answer.clone()),
        ("400", Some(error), _) => Err(Usage(error.to_owned()).into()),
        (_, Some(error), _) => bail!("{error}"),
        ("413", ..) => Err(Usage("that is longer than the API takes".to_owned()).into()),
        ("200", ..) => bail!("{address} is not pgwarden's API"),
        _ => bail!("{address} answers {status}"),
    }
}

/// An id in a path: anything else would lead elsewhere.
pub(super) fn id<'i>(id: &'i str, what: &str) -> anyhow::Result<&'i str> {
    let proper = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if proper { Ok(id) } else { Err(Usage(format!("`{id}` is not a {what}'s id")).into()) }
}
