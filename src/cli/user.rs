//! `pgwarden user`: makes the verifiers and hashes that the configuration holds in place of passwords and tokens.

use std::io::{self, BufRead, IsTerminal, Write};
use std::num::NonZeroU32;
use std::process::ExitCode;

use anyhow::{Context, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::{Args, Subcommand};
use ring::rand::{SecureRandom, SystemRandom};

use crate::config::{DEFAULT_ITERATIONS, SALT_BYTES, Secret, TokenHash, Verifier};

/// Longest password, in bytes.
const PASSWORD_BYTES: u64 = 1024;
/// Random bytes in a token.
const TOKEN_BYTES: usize = 32;

/// Arguments of `pgwarden user`.
#[derive(Args, Debug)]
pub struct UserArguments {
    /// What to do.
    #[command(subcommand)]
    pub command: UserCommand,
}

/// What to do with users.
#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Read a password (from the terminal without showing it, or a line of standard input) and print its SCRAM-SHA-256 verifier.
    Verifier {
        /// Iterations of PBKDF2.
        #[arg(long, default_value_t = DEFAULT_ITERATIONS)]
        iterations: NonZeroU32,
    },
    /// Make a token for the API: prints the token, and the hash of it for `[[tokens]]` of the configuration.
    Token,
}

/// Runs the command: 0, or 1 with the reason on standard error.
pub(super) fn run(arguments: &UserArguments) -> ExitCode {
    let done = match arguments.command {
        UserCommand::Verifier { iterations } => password().and_then(|password| print_verifier(&password, iterations)),
        UserCommand::Token => print_token(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody left to tell if standard error is closed.
            let _ = writeln!(io::stderr(), "pgwarden: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn print_verifier(password: &Secret, iterations: NonZeroU32) -> anyhow::Result<()> {
    ensure!(i32::try_from(iterations.get()).is_ok(), "the number of iterations is larger than Postgres can store");
    let mut salt = [0; SALT_BYTES];
    SystemRandom::new().fill(&mut salt).map_err(|_| anyhow::anyhow!("the system gives no random bytes"))?;
    let verifier = Verifier::of_password(password, &salt, iterations);
    writeln!(io::stdout(), "{}", verifier.to_text()).context("cannot write to standard output")
}

fn print_token() -> anyhow::Result<()> {
    let mut random = [0; TOKEN_BYTES];
    SystemRandom::new().fill(&mut random).map_err(|_| anyhow::anyhow!("the system gives no random bytes"))?;
    let token = format!("pgw_{}", URL_SAFE_NO_PAD.encode(random));
    writeln!(io::stdout(), "token = {token}\nhash = {}", TokenHash::of(&token))
        .context("cannot write to standard output")
}

fn password() -> anyhow::Result<Secret> {
    let password = if io::stdin().is_terminal() { from_terminal()? } else { from_line(&mut io::stdin().lock())? };
    ensure!(!password.expose().is_empty(), "the password is empty; Postgres refuses empty passwords");
    Ok(password)
}

fn from_terminal() -> anyhow::Result<Secret> {
    let first = rpassword::prompt_password("Password: ").context("cannot read the password")?;
    let second = rpassword::prompt_password("Again: ").context("cannot read the password")?;
    ensure!(first == second, "the passwords differ");
    Ok(Secret::new(first))
}

/// One line, without its end.
fn from_line(input: &mut dyn BufRead) -> anyhow::Result<Secret> {
    let mut line = String::new();
    io::Read::take(input, PASSWORD_BYTES + 2).read_line(&mut line).context("cannot read the password")?;
    let password = line.strip_suffix('\n').map_or(line.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
    ensure!(password.len() as u64 <= PASSWORD_BYTES, "the password is longer than {PASSWORD_BYTES} bytes");
    Ok(Secret::new(password))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_password() {
        for (input, expected) in [
            ("a b\n", Some("a b")),
            ("x\r\n", Some("x")),
            (" x ", Some(" x ")),
            ("a\nb\n", Some("a")),
            ("\n", Some("")),
        ] {
            let read = from_line(&mut input.as_bytes()).ok();
            assert_eq!(read.as_ref().map(Secret::expose), expected, "{input:?}");
        }
        assert!(from_line(&mut "x".repeat(1025).as_bytes()).is_err());
        assert!(from_line(&mut &[0xff, b'\n'][..]).is_err());
    }
}
