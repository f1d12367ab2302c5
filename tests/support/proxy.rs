//! The pgwarden under test, as a process of its own.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use pgwarden::demo::port;
use pgwarden::demo::process::Process;
use pgwarden::demo::scratch::Scratch;

/// How long pgwarden may take to start.
const START_DEADLINE: Duration = Duration::from_secs(120);

/// A running `pgwarden serve`.
pub struct Pgwarden {
    process: Process,
    port: u16,
    admin_port: u16,
    configuration: String,
    folder: Scratch,
}

impl Pgwarden {
    /// Starts it with this configuration. Sections `[listen]` and `[audit]` are added when there are none; elsewhere
    /// `@PORT@`, `@ADMIN_PORT@` and `@FOLDER@` (a folder of its own) are filled in.
    pub fn start(configuration: &str) -> Pgwarden {
        Pgwarden::start_with(configuration, &[])
    }

    /// The same with arguments added to the command.
    pub fn start_with(configuration: &str, arguments: &[&str]) -> Pgwarden {
        let folder = Scratch::create(super::folder(), "pgwarden").unwrap();
        let log = folder.join("pgwarden.log");
        let (process, port, admin_port) = port::retrying(|port| {
            let admin_port = port::free()?;
            let text = filled(configuration, port, admin_port, &folder.path().to_string_lossy());
            fs::write(folder.join("pgwarden.toml"), text)?;
            let _ = fs::remove_file(&log);
            let mut command = Command::new(env!("CARGO_BIN_EXE_pgwarden"));
            command.arg("serve").arg("--config").arg(folder.join("pgwarden.toml")).args(arguments);
            let mut process = Process::spawn("pgwarden", command, "TERM", &log)?;
            process
                .wait_until(START_DEADLINE, |_| page(admin_port, "/healthz").is_some_and(|(code, _)| code == 200))?;
            Ok((process, port, admin_port))
        })
        .unwrap();
        Pgwarden { process, port, admin_port, configuration: configuration.to_owned(), folder }
    }

    /// The port for clients.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The port for metrics and health.
    pub fn admin_port(&self) -> u16 {
        self.admin_port
    }

    /// The URL for a client.
    pub fn url(&self, user: &str, password: &str, database: &str) -> String {
        format!("postgres://{user}:{password}@127.0.0.1:{}/{database}", self.port)
    }

    /// The audit log's folder.
    pub fn audit(&self) -> PathBuf {
        self.folder.join("audit")
    }

    /// Every audit record so far, oldest first.
    pub fn records(&self) -> Vec<serde_json::Value> {
        let mut segments: Vec<PathBuf> = fs::read_dir(self.audit())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.is_file())
            .collect();
        segments.sort();
        let text: String = segments.iter().map(|path| fs::read_to_string(path).unwrap_or_default()).collect();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Puts another configuration in place of its own and tells it to reload.
    pub fn reload(&mut self, configuration: &str) {
        let text = filled(configuration, self.port, self.admin_port, &self.folder.path().to_string_lossy());
        fs::write(self.folder.join("pgwarden.toml"), text).unwrap();
        self.signal("HUP");
    }

    /// The configuration it was started with, before anything was filled in.
    pub fn configuration(&self) -> &str {
        &self.configuration
    }

    /// A page of the admin address: status code and body.
    pub fn page(&self, path: &str) -> (u16, String) {
        page(self.admin_port, path).expect("no answer from the admin address")
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        self.process.output()
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Sends it a signal: `HUP`, `TERM`, `KILL`.
    pub fn signal(&self, signal: &str) {
        super::signal(self.id(), signal);
    }

    /// Sends SIGTERM and waits for its end.
    pub fn stop(&mut self) -> Option<ExitStatus> {
        self.process.stop()
    }

    /// How it ended, or `None` while it runs.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.process.ended()
    }

    /// Its resident memory in kilobytes.
    pub fn memory_kb(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

/// A `[[users]]` section; `roles` is the inside of a TOML table: `production = "studio"`.
pub fn user(name: &str, password: &str, roles: &str) -> String {
    let verifier = postgres_protocol::password::scram_sha_256(password.as_bytes());
    format!("\n[[users]]\nname = \"{name}\"\nverifier = \"{verifier}\"\nroles = {{ {roles} }}\n")
}

/// A `[databases.…]` section in production.
pub fn database(name: &str, pooled: &str, direct: &str) -> String {
    format!("\n[databases.{name}]\nenvironment = \"production\"\npooled = \"{pooled}\"\ndirect = \"{direct}\"\n")
}

fn filled(configuration: &str, port: u16, admin_port: u16, folder: &str) -> String {
    let mut text = String::new();
    if !configuration.contains("[listen]") {
        text.push_str("[listen]\npostgres = \"127.0.0.1:@PORT@\"\nadmin = \"127.0.0.1:@ADMIN_PORT@\"\n\n");
    }
    if !configuration.contains("[audit]") {
        text.push_str("[audit]\ndirectory = \"@FOLDER@/audit\"\n\n");
    }
    text.push_str(configuration);
    text.replace("@PORT@", &port.to_string())
        .replace("@ADMIN_PORT@", &admin_port.to_string())
        .replace("@FOLDER@", folder)
}

/// One GET request: status code and body.
fn page(port: u16, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}
