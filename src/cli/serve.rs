//! `pgwarden serve`: runs the proxy.

use std::num::NonZeroUsize;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;

use super::{ConfigFile, EXIT_USAGE};
use crate::config::ConfigErrors;

/// Threads beside those of the sessions.
const SERVING_THREADS: usize = 2;

/// Arguments of `pgwarden serve`.
#[derive(Args, Debug)]
pub struct ServeArguments {
    /// Where the configuration is.
    #[command(flatten)]
    pub file: ConfigFile,
    /// Threads for sessions; one for every two cores if left out.
    #[arg(long, value_name = "COUNT")]
    pub threads: Option<NonZeroUsize>,
}

/// Runs the proxy by a configuration file until a signal ends it.
pub fn run(arguments: &ServeArguments) -> ExitCode {
    // Sessions have threads of their own (net::workers); this one accepts, and serves the admin address.
    let served = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(SERVING_THREADS)
        .enable_all()
        .build()
        .context("the runtime")
        .and_then(|runtime| runtime.block_on(crate::app::run(&arguments.file.config, arguments.threads)));
    let Err(error) = served else { return ExitCode::SUCCESS };
    eprintln!("pgwarden: {error:#}");
    if error.is::<ConfigErrors>() { ExitCode::from(EXIT_USAGE) } else { ExitCode::FAILURE }
}
