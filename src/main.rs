//! The `pgwarden` command.

use std::process::ExitCode;

use pgwarden::cli::{self, Command, CommandLine};

fn main() -> ExitCode {
    match CommandLine::from_arguments() {
        Ok(line) => run(line.command),
        Err(code) => code,
    }
}

fn run(command: Command) -> ExitCode {
    match command {
        Command::Serve(arguments) => cli::serve(&arguments),
        Command::Demo(arguments) => cli::demo(&arguments),
        Command::Check(arguments) => cli::check(&arguments),
        Command::Explain(arguments) => cli::explain(&arguments),
        Command::Url(arguments) => cli::url(&arguments),
        Command::User(arguments) => cli::user(&arguments),
        Command::Sessions(arguments) => cli::sessions(&arguments),
        Command::Grant(arguments) => cli::grant(&arguments),
        Command::Audit(arguments) => cli::audit(arguments),
    }
}
