//! `pgwarden audit`: follow, search, show, count, prove and export the audit log.

mod arguments;
mod export;
mod print;
mod search;
mod show;
mod source;
mod stats;
mod tail;
mod verify;

use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};

use crate::audit::filter::{Field, Filter};
use print::Printer;
pub(super) use print::{duration, one_line};

/// Bad usage, as `sysexits.h` numbers it.
const USAGE: u8 = 64;

/// Follow, search, show, count, prove and export the audit log.
#[derive(Clone, Debug)]
pub struct AuditCommand(Parsed);

#[derive(Clone, Debug, Args)]
struct Parsed {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    common: Common,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// Show the newest records and follow the log.
    Tail(tail::Tail),
    /// Find records: `user:studio_reader verdict:deny effect:ddl table:orders since:friday "free text"`.
    #[command(after_long_help = filter_help())]
    Search(search::Search),
    /// Tell the whole story of one record.
    Show(show::Show),
    /// Draw what happened, by default in the last seven days.
    Stats(stats::Stats),
    /// Prove the log, or name the first record that was changed, removed, reordered or cut.
    Verify(verify::Verify),
    /// Write records as JSON lines or CSV.
    Export(export::Export),
}

#[derive(Clone, Debug, Args)]
struct Common {
    /// The audit directory, instead of the configuration's.
    #[arg(long, global = true, value_name = "PATH")]
    directory: Option<PathBuf>,
    /// Answer in JSON.
    #[arg(long, global = true)]
    json: bool,
    /// When to colour.
    #[arg(long, global = true, value_enum, default_value_t = Colour::Auto, value_name = "WHEN")]
    color: Colour,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Colour {
    Auto,
    Always,
    Never,
}

impl Colour {
    fn is_on(self) -> bool {
        match self {
            Colour::Always => true,
            Colour::Never => false,
            Colour::Auto => io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
        }
    }
}

/// Where the log is and how to answer.
struct Place {
    directory: PathBuf,
    json: bool,
    printer: Printer,
}

/// Words of the filter language, as the shell left them.
#[derive(Clone, Debug, Default, Args)]
struct FilterWords {
    /// Terms that must all hold (`pgwarden audit search --help` lists the fields).
    #[arg(value_name = "FILTER", allow_hyphen_values = true)]
    words: Vec<String>,
}

impl FilterWords {
    /// One word is a filter as it stands; of several, the shell has taken the quotes off those with spaces.
    fn text(&self) -> String {
        match self.words.as_slice() {
            [one] => one.clone(),
            many => many.iter().map(|word| requoted(word)).collect::<Vec<_>>().join(" "),
        }
    }

    fn parse(&self) -> Result<Filter, Usage> {
        Filter::parse(&self.text(), &jiff::Zoned::now()).map_err(|error| Usage(error.to_string()))
    }
}

fn requoted(word: &str) -> String {
    if !word.contains(char::is_whitespace) || word.contains('"') {
        return word.to_owned();
    }
    let name_ends = word.find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '-').unwrap_or(0);
    let value_begins = word.get(name_ends..).and_then(|rest| {
        let signs = rest.len() - rest.trim_start_matches([':', '=', '<', '>']).len();
        (signs > 0).then_some(name_ends + signs)
    });
    let (name, value) = word.split_at(value_begins.unwrap_or(0));
    format!("{name}\"{value}\"")
}

/// What the person wrote cannot be done.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(String);

/// Runs the command; `audit_directory_default` is the configuration's. Exit code 1: not proved, or not found; 64: bad usage.
pub fn run(command: AuditCommand, audit_directory_default: &Path) -> anyhow::Result<ExitCode> {
    let AuditCommand(Parsed { command, common }) = command;
    let place = Place {
        directory: common.directory.unwrap_or_else(|| audit_directory_default.to_path_buf()),
        json: common.json,
        printer: Printer::new(common.color.is_on()),
    };
    let done = match command {
        Command::Tail(tail) => tail.run(&place),
        Command::Search(search) => search.run(&place),
        Command::Show(show) => show.run(&place),
        Command::Stats(stats) => stats.run(&place),
        Command::Verify(verify) => verify.run(&place),
        Command::Export(export) => export.run(&place),
    };
    done.or_else(|error| answer(error, &place.directory))
}

/// A closed pipe is no error (`| head`); a mistake in the filter is the user's to see.
fn answer(error: anyhow::Error, directory: &Path) -> anyhow::Result<ExitCode> {
    if let Some(usage) = error.downcast_ref::<Usage>() {
        eprintln!("pgwarden audit: {usage}");
        return Ok(ExitCode::from(USAGE));
    }
    match error.downcast_ref::<io::Error>().map(io::Error::kind) {
        Some(io::ErrorKind::BrokenPipe) => Ok(ExitCode::SUCCESS),
        _ => Err(error.context(format!("the audit directory {}", directory.display()))),
    }
}

fn filter_help() -> String {
    let mut help = String::from(
        "Filter terms must all hold. field:a,b holds for either; -term where the term does not; * stands for anything;\n\
         numbers take >, >=, <, <= and a..b; words without a field are searched for in the text.\n\nFields:\n",
    );
    for field in Field::ALL {
        help.push_str(&format!("  {:<28} {}\n", field.names().join(", "), field.doc()));
    }
    help
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn words_that_the_shell_unquoted_are_quoted_again() {
        let table: [(&[&str], &str); 5] = [
            (&["user:x verdict:deny"], "user:x verdict:deny"),
            (&["user:x", "free text"], "user:x \"free text\""),
            (&["app:Prisma Studio", "-x"], "app:\"Prisma Studio\" -x"),
            (&["-app:Prisma Studio", "duration>1s"], "-app:\"Prisma Studio\" duration>1s"),
            (&[], ""),
        ];
        for (words, expected) in table {
            let words = FilterWords { words: words.iter().map(ToString::to_string).collect() };
            assert_eq!(words.text(), expected);
        }
    }
}
