//! A temporary folder that goes when we go.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Child;

use anyhow::{Context, Result, bail};

use super::process::watchdog;

/// Waits for the pipe's end, lets the servers stop, then removes the folder.
const REMOVAL: &str = r#"read -r _; for _ in 1 2 3 4 5; do sleep 1; rm -rf -- "$1" && break; done"#;

/// How many names are tried.
const ATTEMPTS: u32 = 100;

/// A folder of our own, removed on drop, and by a watchdog when we are killed.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    watchdog: Child,
}

impl Scratch {
    /// Makes a new folder `prefix-<pid>-<n>` in `parent`. Others may pass through it, not list it.
    ///
    /// # Errors
    /// When no folder can be made there.
    pub fn create(parent: &Path, prefix: &str) -> Result<Scratch> {
        let path = fresh_folder(parent, prefix)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o711)).context("cannot set the folder's permissions")?;
        let watchdog = watchdog(REMOVAL, &[&path.to_string_lossy()])?;
        Ok(Scratch { path, watchdog })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of something in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = self.watchdog.kill();
        let _ = self.watchdog.wait();
        let _ = fs::remove_dir_all(&self.path);
    }
}

fn fresh_folder(parent: &Path, prefix: &str) -> Result<PathBuf> {
    let own = std::process::id();
    for attempt in 0..ATTEMPTS {
        let path = parent.join(format!("{prefix}-{own}-{attempt}"));
        match fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).with_context(|| format!("cannot make the folder {}", path.display())),
        }
    }
    bail!("{} is full of folders named {prefix}-*", parent.display())
}
