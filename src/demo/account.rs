//! Who the servers run as: Postgres and PgBouncer refuse to run as root.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

/// Accounts that a machine has for such servers, the best first.
const CANDIDATES: [&str; 2] = ["postgres", "nobody"];

/// The account that servers run as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Account {
    /// The account we run as ourselves.
    Own,
    /// Another one, because we are root.
    Other {
        /// Its user id.
        uid: u32,
        /// Its group id.
        gid: u32,
        /// Whether it reaches the servers' files by their permissions alone.
        reaches_files: bool,
    },
}

impl Account {
    /// The account for servers whose files lie in `folder`, which we must have made ourselves: its owner tells who
    /// we are.
    ///
    /// # Errors
    /// When we are root and the machine has no unprivileged account.
    pub fn for_folder(folder: &Path) -> Result<Account> {
        let owner = fs::metadata(folder).with_context(|| format!("cannot look at {}", folder.display()))?.uid();
        if owner != 0 {
            return Ok(Account::Own);
        }
        let passwd = fs::read_to_string("/etc/passwd").context("cannot read /etc/passwd")?;
        let (uid, gid) = CANDIDATES
            .iter()
            .find_map(|name| ids(&passwd, name))
            .context("Postgres does not run as root, and there is neither an account `postgres` nor `nobody`")?;
        Ok(Account::Other { uid, gid, reaches_files: open_to_all(folder) })
    }

    /// A command that runs `program` as this account.
    pub fn command(&self, program: &Path) -> Command {
        match *self {
            Account::Own => Command::new(program),
            Account::Other { uid, gid, reaches_files: true } => {
                let mut command = Command::new(program);
                command.uid(uid).gid(gid).current_dir("/");
                command
            }
            Account::Other { uid, gid, reaches_files: false } => with_every_folder_open(program, uid, gid),
        }
    }

    /// Makes `path` this account's own.
    ///
    /// # Errors
    /// When the owner cannot be changed.
    pub fn own(&self, path: &Path) -> Result<()> {
        match *self {
            Account::Own => Ok(()),
            Account::Other { uid, gid, .. } => chown(path, Some(uid), Some(gid))
                .with_context(|| format!("cannot give {} to the servers' account", path.display())),
        }
    }
}

/// Runs `program` unprivileged, yet able to pass through folders that only root may enter (a checkout below /root).
fn with_every_folder_open(program: &Path, uid: u32, gid: u32) -> Command {
    let mut command = Command::new("setpriv");
    command
        .arg(format!("--reuid={uid}"))
        .arg(format!("--regid={gid}"))
        .args(["--clear-groups", "--inh-caps=+dac_override", "--ambient-caps=+dac_override", "--"])
        .arg(program)
        .current_dir("/");
    command
}

/// User and group id of `name` in the text of /etc/passwd.
fn ids(passwd: &str, name: &str) -> Option<(u32, u32)> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next() != Some(name) {
            return None;
        }
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some((uid, gid))
    })
}

/// Whether everybody may pass through `folder` and all that it lies in.
fn open_to_all(folder: &Path) -> bool {
    let passable = |path: &Path| fs::metadata(path).is_ok_and(|found| found.permissions().mode() & 0o001 != 0);
    folder.canonicalize().is_ok_and(|folder| folder.ancestors().all(passable))
}

#[cfg(test)]
mod tests {
    use super::ids;

    #[test]
    fn ids_are_read_from_passwd() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\npostgresql:x:7:7::/:\npostgres:x:101:103::/var/lib:/bin/sh\n";
        assert_eq!(ids(passwd, "postgres"), Some((101, 103)));
        assert_eq!(ids(passwd, "nobody"), None);
        assert_eq!(ids("postgres:x:one:2::/:", "postgres"), None);
    }
}
