//! `pgwarden demo`: the whole stack with sample data, to try things on.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};

use crate::demo::stack::{Stack, Wanted};
use crate::demo::{check, welcome};

/// How often the parts of the stack are looked at.
const WATCH_INTERVAL: Duration = Duration::from_millis(500);

/// Start a throw-away Postgres and PgBouncer with sample data, and pgwarden before them.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Arguments {
    /// Drive the stack through psql, take it down, and fail if anything is not as promised.
    #[arg(long)]
    pub check: bool,
    /// End by itself after so many seconds.
    #[arg(long, value_name = "N")]
    pub seconds: Option<u64>,
    /// The port for clients [default: 6432, or any free one].
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,
    /// The port for metrics and health [default: 9432, or any free one].
    #[arg(long, value_name = "PORT")]
    pub admin_port: Option<u16>,
}

/// Runs the demo until Ctrl-C, or the check to its end.
///
/// # Errors
/// When a part of the stack is missing, does not come up or ends on its own.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let program = std::env::current_exe().context("cannot find pgwarden's own program")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let interrupted = interruption()?;
        let wanted = Wanted { port: arguments.port, admin_port: arguments.admin_port };
        eprintln!("Starting Postgres, PgBouncer and pgwarden …");
        let work = Work { arguments: arguments.clone(), program, wanted };
        work.until(interrupted).await
    })
}

/// What is to be done, and with what.
struct Work {
    arguments: Arguments,
    program: std::path::PathBuf,
    wanted: Wanted,
}

impl Work {
    async fn until(self, interrupted: impl Future<Output = ()>) -> Result<ExitCode> {
        tokio::pin!(interrupted);
        let program = self.program;
        let wanted = self.wanted;
        // On a thread of its own, so that Ctrl-C is heard while the servers start.
        let starting = tokio::task::spawn_blocking(move || Stack::start(&program, wanted));
        let stack = tokio::select! {
            started = starting => started.context("starting the stack")??,
            () = &mut interrupted => return Ok(ExitCode::from(130)),
        };
        if self.arguments.check {
            let checking = tokio::task::spawn_blocking(move || checked(&stack));
            return tokio::select! {
                outcome = checking => outcome.context("checking the stack")?,
                () = &mut interrupted => Ok(ExitCode::from(130)),
            };
        }
        stay(stack, self.arguments.seconds, interrupted).await
    }
}

/// Prints what to try, and stays until `interrupted`, the time is over, or a part ends.
async fn stay(mut stack: Stack, seconds: Option<u64>, interrupted: impl Future<Output = ()>) -> Result<ExitCode> {
    println!("\n{}\n", welcome::text(&stack)?);
    match seconds {
        Some(seconds) => println!("Ends in {seconds} s, or with Ctrl-C."),
        None => println!("Ctrl-C ends it and removes everything."),
    }
    let over = async {
        match seconds {
            Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = interrupted => {}
        () = over => {}
        failed = part_ends(&mut stack) => return Err(failed),
    }
    eprintln!("\nTaking everything down …");
    drop(stack);
    Ok(ExitCode::SUCCESS)
}

async fn part_ends(stack: &mut Stack) -> anyhow::Error {
    loop {
        tokio::time::sleep(WATCH_INTERVAL).await;
        if let Err(error) = stack.still_runs() {
            return error;
        }
    }
}

fn checked(stack: &Stack) -> Result<ExitCode> {
    match check::run(stack, |holds| println!("ok    {holds}")) {
        Ok(()) => {
            println!("The demo does what it promises.");
            Ok(ExitCode::SUCCESS)
        }
        Err(failures) => {
            for failure in failures.to_string().lines() {
                println!("FAIL  {failure}");
            }
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Ends at the first Ctrl-C, SIGTERM or SIGHUP.
fn interruption() -> Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    })
}
