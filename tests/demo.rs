//! `pgwarden demo`: does what it promises, and leaves nothing behind however it ends.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long servers may take to go.
const DEADLINE: Duration = Duration::from_secs(120);

fn demo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pgwarden"));
    command.arg("demo").args(arguments).env("TMPDIR", env!("CARGO_TARGET_TMPDIR")).stdin(Stdio::null());
    command
}

#[test]
fn everything_it_promises_holds() {
    let output = demo(&["--check"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.ends_with("The demo does what it promises.\n"), "{text}");
}

/// Starts the demo and waits for its text: the process, the text, and its folder.
fn started() -> (Child, String, String) {
    let mut child = demo(&[]).stdout(Stdio::piped()).spawn().unwrap();
    let mut text = String::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        text.push_str(&line);
        text.push('\n');
        if line.contains("Ctrl-C") {
            break;
        }
    }
    let folder = text.lines().find_map(|line| line.strip_prefix("Audit log")).expect("the audit log's folder");
    let folder = Path::new(folder.trim()).parent().unwrap().to_string_lossy().into_owned();
    (child, text, folder)
}

/// Command lines of running processes that name `folder`.
fn processes_of(folder: &str) -> usize {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    // The watchdog that removes the folder names it too, until it has done so.
    lines.filter(|line| String::from_utf8_lossy(line).contains(folder)).count()
}

fn wait_until_gone(folder: &str) {
    let until = Instant::now() + DEADLINE;
    while processes_of(folder) > 0 || Path::new(folder).exists() {
        assert!(Instant::now() < until, "{} processes of {folder} are left", processes_of(folder));
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn signal(child: &Child, signal: &str) {
    let id = child.id().to_string();
    assert!(Command::new("sh").args(["-c", r#"kill -"$1" "$2""#, "kill", signal, &id]).status().unwrap().success());
}

#[test]
fn ctrl_c_takes_everything_down() {
    let (mut child, text, folder) = started();
    assert!(text.contains("psql 'postgres://studio_reader:"), "{text}");
    assert!(text.contains("ERROR:  pgwarden: "), "{text}");
    assert!(processes_of(&folder) >= 3);
    signal(&child, "INT");
    assert!(child.wait().unwrap().success());
    wait_until_gone(&folder);
}

#[test]
fn killing_it_leaves_neither_servers_nor_files() {
    let (mut child, _, folder) = started();
    signal(&child, "KILL");
    child.wait().unwrap();
    wait_until_gone(&folder);
}
