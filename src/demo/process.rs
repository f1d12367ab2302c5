//! Child processes that die with us, whatever ends us.
//!
//! Each has a watchdog: a shell that waits for the end of a pipe which only we hold. When we close it, or the kernel
//! does because we were killed, the watchdog sends the child its stop signal.

use std::fs::{File, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How long a process may take to stop before it is killed.
const STOP_DEADLINE: Duration = Duration::from_secs(10);

/// How often a process that is starting or stopping is looked at.
pub const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Waits for the pipe's end, then signals the process.
const WATCHDOG: &str = r#"read -r _; kill -"$2" "$1" 2>/dev/null"#;

/// A running child process with its watchdog.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    watchdog: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with its output appended to the file `log`; `stop_signal` (`INT`, `TERM`, `QUIT`) ends it.
    ///
    /// # Errors
    /// When the log cannot be opened or the program cannot be run.
    pub fn spawn(name: &str, mut command: Command, stop_signal: &str, log: &Path) -> Result<Process> {
        let output = appending(log)?;
        let errors = output.try_clone().context("cannot share the log file")?;
        // Its own process group: Ctrl-C at the terminal is for us, and we take the servers down in order.
        command.stdin(Stdio::null()).stdout(output).stderr(errors).process_group(0);
        let mut child = command.spawn().with_context(|| format!("cannot start {name}: {:?}", command.get_program()))?;
        match watchdog(WATCHDOG, &[&child.id().to_string(), stop_signal]) {
            Ok(watchdog) => Ok(Process { name: name.to_owned(), child, watchdog, log: log.to_owned() }),
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote so far.
    pub fn output(&self) -> String {
        std::fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// How it ended, or `None` while it runs.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits until `ready` says so.
    ///
    /// # Errors
    /// When the process ends first, or the deadline passes: with what the process wrote.
    pub fn wait_until(&mut self, deadline: Duration, mut ready: impl FnMut(&Process) -> bool) -> Result<()> {
        let until = Instant::now() + deadline;
        while !ready(self) {
            if let Some(status) = self.ended() {
                bail!("{} ended at once ({status}):\n{}", self.name, self.output());
            }
            if Instant::now() > until {
                bail!("{} was not ready within {} s:\n{}", self.name, deadline.as_secs(), self.output());
            }
            std::thread::sleep(POLL_INTERVAL);
        }
        Ok(())
    }

    /// Stops it by its signal, and kills it when it does not follow in time.
    pub fn stop(&mut self) -> Option<ExitStatus> {
        drop(self.watchdog.stdin.take());
        let until = Instant::now() + STOP_DEADLINE;
        while self.ended().is_none() && Instant::now() < until {
            std::thread::sleep(POLL_INTERVAL);
        }
        if self.ended().is_none() {
            let _ = self.child.kill();
        }
        let _ = self.watchdog.wait();
        self.child.wait().ok()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Runs a shell script whose standard input ends when we do.
pub(super) fn watchdog(script: &str, arguments: &[&str]) -> Result<Child> {
    Command::new("sh")
        .args(["-c", script, "watchdog"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .current_dir("/")
        .process_group(0)
        .spawn()
        .context("cannot start the watchdog of a server")
}

fn appending(log: &Path) -> Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
        .with_context(|| format!("cannot write the log {}", log.display()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn shell(script: &str, signal: &str) -> (tempfile::TempDir, Process) {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let process = Process::spawn("a shell", command, signal, &folder.path().join("log")).unwrap();
        (folder, process)
    }

    #[test]
    fn stopping_sends_the_signal() {
        // Not INT: a shell that was started in the background cannot trap what it was told to ignore.
        let (_folder, mut process) = shell("trap 'exit 7' TERM; echo up; while :; do sleep 0.05; done", "TERM");
        process.wait_until(Duration::from_secs(10), |process| process.output().contains("up")).unwrap();
        assert_eq!(process.stop().and_then(|status| status.code()), Some(7));
    }

    #[test]
    fn an_early_end_is_told_with_the_output() {
        let (_folder, mut process) = shell("echo no room; exit 3", "TERM");
        let error = process.wait_until(Duration::from_secs(10), |_| false).unwrap_err().to_string();
        assert!(error.contains("a shell ended at once") && error.contains("no room"), "{error}");
    }
}
