//! `pgwarden audit verify`: proves a directory, or names the first record that is wrong.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::Place;
use super::print::{Ink, local_time, one_line};
use crate::amounts::counted;
use crate::audit::default_key;
use crate::audit::keys::{Keys, PublicKey};
use crate::audit::verify::{Fault, NoProof, Proof, Trust, verify};

#[derive(Clone, Debug, Args)]
pub(super) struct Verify {
    /// Public key file whose signatures count (default: `audit.pub` beside the directory). May be given several times.
    #[arg(long, value_name = "FILE")]
    public_key: Vec<PathBuf>,
    /// Private key file: also checks every record's mark, and so the records that no signature covers yet.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// A checkpoint that the log must contain (default: `audit.head` beside the directory, if it is there).
    #[arg(long, value_name = "FILE")]
    head: Option<PathBuf>,
}

impl Verify {
    pub(super) fn run(&self, place: &Place) -> anyhow::Result<ExitCode> {
        let trust = self.trust(place)?;
        let watched = io::stderr().is_terminal();
        let progress = |proof: &Proof| {
            if watched {
                eprint!("\r{} in {}", counted(proof.records, "record"), counted(proof.segments, "segment"));
            }
        };
        let outcome = verify(&place.directory, &trust, progress);
        if watched {
            eprint!("\r\x1b[K");
        }
        match outcome {
            Ok(proof) => {
                if place.json {
                    proved_json(&proof)?
                } else {
                    proved(place, &proof, trust.private.is_some())?
                }
                Ok(if proof.damaged { ExitCode::FAILURE } else { ExitCode::SUCCESS })
            }
            Err(NoProof::Fault(fault)) => {
                if place.json {
                    fault_json(&fault)?
                } else {
                    not_proved(place, &fault)?
                }
                Ok(ExitCode::FAILURE)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn trust(&self, place: &Place) -> anyhow::Result<Trust> {
        let beside = default_key(&place.directory);
        let private = self.key.as_ref().map(|path| Keys::read(path)).transpose()?;
        let mut public: Vec<PublicKey> =
            self.public_key.iter().map(|path| PublicKey::read(path)).collect::<Result<_, _>>()?;
        match &private {
            Some(private) => public.push(private.public()),
            None if public.is_empty() => public.push(PublicKey::read(&beside.with_extension("pub"))?),
            None => {}
        }
        let head = match &self.head {
            Some(path) => {
                Some(Trust::head_of(path).ok_or_else(|| anyhow::anyhow!("{} holds no checkpoint", path.display()))?)
            }
            None => beside_head(&beside.with_extension("head"))?,
        };
        Ok(Trust { public, private, head })
    }
}

/// The checkpoint that lies beside the directory. One that is there and does not read is no reason to go without.
fn beside_head(path: &std::path::Path) -> anyhow::Result<Option<crate::audit::chain::Chain>> {
    match Trust::head_of(path) {
        None if path.exists() => Err(anyhow::anyhow!(
            "{} holds no checkpoint: it was changed, or cut. Give one known from elsewhere with --head, or remove the file",
            path.display()
        )),
        head => Ok(head),
    }
}

fn proved(place: &Place, proof: &Proof, marks: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let (records, segments) = (counted(proof.records, "record"), counted(proof.segments, "segment"));
    let (first, last) = (proof.first, proof.last);
    let word =
        if proof.damaged { place.printer.ink(Ink::Red, "not proved") } else { place.printer.ink(Ink::Green, "proved") };
    writeln!(out, "{word}: {records}, {first} to {last}, in {segments}, in order and unchanged")?;
    if proof.unsigned > 0 {
        let how = if marks { "their marks are right" } else { "only the private key can check their marks" };
        let since =
            proof.unsigned_since.as_ref().map(|time| format!(" since {}", local_time(time))).unwrap_or_default();
        writeln!(out, "{}{since} not yet covered by a signature; {how}", counted(proof.unsigned, "record"))?;
    }
    if proof.head.is_none() {
        writeln!(
            out,
            "no checkpoint from elsewhere was given (--head FILE, as audit.head): a cut end would not be noticed"
        )?;
    }
    if proof.torn_bytes > 0 {
        writeln!(out, "an unfinished record of {} bytes stands at the end; it was never accepted", proof.torn_bytes)?;
    }
    if !proof.ended_in_order {
        writeln!(out, "the log is open, or did not end in order")?;
    }
    for note in &proof.notes {
        writeln!(out, "record {}: {}", note.seq, one_line(&note.text))?;
    }
    writeln!(out, "last record {last}, hash {}", proof.last_hash)
}

fn not_proved(place: &Place, fault: &Fault) -> io::Result<()> {
    writeln!(io::stdout(), "{}: {}", place.printer.ink(Ink::Red, "not proved"), one_line(&fault.to_string()))
}

fn proved_json(proof: &Proof) -> io::Result<()> {
    let notes: Vec<_> = proof.notes.iter().map(|note| json!({"seq": note.seq, "text": note.text})).collect();
    let answer = json!({
        "proved": !proof.damaged, "segments": proof.segments, "records": proof.records, "first": proof.first,
        "last": proof.last, "last_hash": proof.last_hash, "signed_through": proof.signed_through,
        "unsigned": proof.unsigned, "unsigned_since": proof.unsigned_since, "head": proof.head, "torn_bytes": proof.torn_bytes, "ended_in_order": proof.ended_in_order, "notes": notes,
    });
    writeln!(io::stdout(), "{answer}")
}

fn fault_json(fault: &Fault) -> io::Result<()> {
    let file = fault.file.display().to_string();
    let answer =
        json!({"proved": false, "file": file, "line": fault.line, "seq": fault.seq, "what": fault.what.to_string()});
    writeln!(io::stdout(), "{answer}")
}
