//! Lets options stand behind the filter: `search verdict:deny -user:app --json`.
//!
//! The filter's words may begin with a hyphen, and clap takes whatever follows such a word for another one. The words that
//! are options after all are found here, and the line is read again with them in front.

use std::ffi::{OsStr, OsString};

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command, Error, FromArgMatches};

use super::{AuditCommand, Parsed};

impl Args for AuditCommand {
    fn augment_args(command: Command) -> Command {
        Parsed::augment_args(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Parsed::augment_args_for_update(command)
    }
}

impl FromArgMatches for AuditCommand {
    fn from_arg_matches(matches: &ArgMatches) -> Result<AuditCommand, Error> {
        let Some(line) = line_with_options_first(matches) else {
            return Parsed::from_arg_matches(matches).map(AuditCommand);
        };
        let again = Parsed::augment_args(Command::new("audit")).try_get_matches_from(line)?;
        Parsed::from_arg_matches(&again).map(AuditCommand)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = AuditCommand::from_arg_matches(matches)?;
        Ok(())
    }
}

/// The line written anew, if options stand among the filter's words.
fn line_with_options_first(matches: &ArgMatches) -> Option<Vec<OsString>> {
    let (name, chosen) = matches.subcommand()?;
    let words: Vec<&OsStr> = chosen.try_get_raw("words").ok()??.collect();
    words.iter().any(|word| is_option(word)).then_some(())?;
    let mut known = Parsed::augment_args(Command::new("audit"));
    known.build();
    let known = known.find_subcommand(name)?;
    let mut line: Vec<OsString> = vec!["audit".into(), name.into()];
    line.extend(options_read(known, chosen));
    let mut filter = Vec::new();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        if !is_option(word) {
            filter.push(word.to_owned());
            continue;
        }
        line.push(word.to_owned());
        if wants_value(known, word) {
            line.extend(words.next().map(OsStr::to_owned));
        }
    }
    line.push("--".into());
    line.extend(filter);
    Some(line)
}

fn is_option(word: &OsStr) -> bool {
    let bytes = word.as_encoded_bytes();
    bytes.starts_with(b"--") && bytes.len() > 2
}

/// Whether the option's value is the next word.
fn wants_value(known: &Command, word: &OsStr) -> bool {
    let long = word.to_str().and_then(|word| word.strip_prefix("--"));
    known.get_arguments().any(|argument| argument.get_long() == long && argument.get_action().takes_values())
}

/// The options that were read before the filter began.
fn options_read(known: &Command, chosen: &ArgMatches) -> Vec<OsString> {
    let mut options = Vec::new();
    for argument in known.get_arguments() {
        let id = argument.get_id().as_str();
        let Some(long) = argument.get_long() else { continue };
        if !matches!(chosen.try_contains_id(id), Ok(true)) || chosen.value_source(id) != Some(ValueSource::CommandLine)
        {
            continue;
        }
        if !argument.get_action().takes_values() {
            options.push(format!("--{long}").into());
            continue;
        }
        for value in chosen.get_raw(id).into_iter().flatten() {
            let mut option = OsString::from(format!("--{long}="));
            option.push(value);
            options.push(option);
        }
    }
    options
}
