//! Proof of a directory: the chain from its first record to its last, the signatures over it, and what was removed by rule.

use std::io::{self, BufRead as _};
use std::path::{Path, PathBuf};

use memchr::memmem;
use ring::hmac;
use serde::Deserialize;

use super::chain::{self, Chain, Hash, Line};
use super::keys::{Keys, PublicKey};
use super::segment::{self, Segment};

/// What a verifier trusts.
#[derive(Default)]
pub struct Trust {
    /// Keys whose signatures count.
    pub public: Vec<PublicKey>,
    /// The private key, where it is at hand: the marks of all records are checked too, also after the last signature.
    pub private: Option<Keys>,
    /// A checkpoint known from elsewhere (the `.head` file beside the key): the log must contain it.
    pub head: Option<Chain>,
}

impl Trust {
    /// Reads a `.head` file. `None` if it holds no record.
    pub fn head_of(path: &Path) -> Option<Chain> {
        super::recovery::read_head(path)
    }
}

/// What was proved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proof {
    /// Segments read.
    pub segments: u64,
    /// Records read.
    pub records: u64,
    /// Sequence number of the first record that is there.
    pub first: u64,
    /// Sequence number of the last record.
    pub last: u64,
    /// Its hash.
    pub last_hash: String,
    /// Sequence number of the last valid checkpoint.
    pub signed_through: u64,
    /// Records after it, whose order and content no signature covers yet.
    pub unsigned: u64,
    /// When the first of those happened.
    pub unsigned_since: Option<String>,
    /// The checkpoint known from elsewhere that the log contains; without one, a cut end would not be noticed.
    pub head: Option<u64>,
    /// Bytes of an unfinished record at the very end.
    pub torn_bytes: u64,
    /// Whether the log ends with a signed stop.
    pub ended_in_order: bool,
    /// What the log itself says about gaps, recoveries and removals.
    pub notes: Vec<Note>,
    /// Whether a note says that the log had been tampered with or damaged before a start.
    pub damaged: bool,
}

/// A record that whoever verifies should know of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Its sequence number.
    pub seq: u64,
    /// What it says.
    pub text: String,
}

/// The first thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}, line {line}, record {seq}: {what}", file = file.display())]
pub struct Fault {
    /// The segment.
    pub file: PathBuf,
    /// The line in it (decompressed), from 1.
    pub line: u64,
    /// The sequence number that should stand there.
    pub seq: u64,
    /// What is wrong.
    pub what: Wrong,
}

/// What is wrong with a record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// The line is not one.
    #[error("the line is not a record; it was changed")]
    NotARecord,
    /// The hash does not follow.
    #[error("its hash does not follow from its content and the record before; one of the two was changed")]
    Changed,
    /// Records are missing.
    #[error("missing; the log goes on with record {found}")]
    Removed {
        /// The sequence number that stands there instead.
        found: u64,
    },
    /// A record stands elsewhere.
    #[error("not in its place: record {found} stands here")]
    Reordered {
        /// The sequence number that stands there instead.
        found: u64,
    },
    /// The mark is not of the key.
    #[error("its mark was not made with the key; it was forged, and the records after it may be")]
    Forged,
    /// A checkpoint's signature is not valid.
    #[error(
        "the checkpoint's signature is not valid for the chain up to here; something after record {after} was replaced"
    )]
    Signature {
        /// The last valid checkpoint.
        after: u64,
    },
    /// A checkpoint was signed by a key that is not trusted.
    #[error("the checkpoint is signed by key {key}, which is not one of those given")]
    UnknownKey {
        /// The key's name.
        key: String,
    },
    /// A segment begins although nothing signs what comes before.
    #[error(
        "a new segment, but the one before does not end with its signature; checkpoints after record {after} were taken out"
    )]
    Unsigned {
        /// The last valid checkpoint.
        after: u64,
    },
    /// A segment does not begin as one.
    #[error("the segment does not begin with its heading, or its file name is not that of its first record")]
    Heading,
    /// The beginning is missing.
    #[error("records 1 to {last} are missing, and no signed retention record says that they were removed")]
    Beginning {
        /// The last one missing.
        last: u64,
    },
    /// The end is missing.
    #[error("missing: a checkpoint at record {head} was signed, but the log ends before it; the end was cut off")]
    End {
        /// The known checkpoint.
        head: u64,
    },
    /// The record at the known checkpoint is another one.
    #[error("not the checkpoint that was signed there; the log was replaced")]
    Replaced,
    /// Nothing is there.
    #[error("the directory holds no segment")]
    Empty,
}

/// Why there is no proof.
#[derive(Debug, thiserror::Error)]
pub enum NoProof {
    /// Something is wrong with the log.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// It cannot be read.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Proves a directory, or names the first thing that is wrong. `progress` is told the number of records after each segment.
pub fn verify(directory: &Path, trust: &Trust, mut progress: impl FnMut(&Proof)) -> Result<Proof, NoProof> {
    let io = |path: &Path, source| NoProof::Io { path: path.to_path_buf(), source };
    let segments = segment::list(directory).map_err(|source| io(directory, source))?;
    let mut check = Check::new(trust);
    let last = segments.len().saturating_sub(1);
    for (index, segment) in segments.iter().enumerate() {
        check.begin(segment);
        check.segment(segment, index == last)?;
        progress(&check.proof);
    }
    check.end(directory)?;
    Ok(check.proof)
}

/// Proves the log from a record on, up to where it ends now, and hands out each line from that record on. Where the log was cut off at its
/// end shows only in the recovery that the next start records.
pub fn walk(directory: &Path, trust: &Trust, from: u64, mut each: impl FnMut(&[u8])) -> Result<(), NoProof> {
    let io = |source| NoProof::Io { path: directory.to_path_buf(), source };
    let segments = segment::list(directory).map_err(io)?;
    let first = segments.iter().rposition(|segment| segment.first <= from).unwrap_or(0);
    let mut check = Check::new(trust);
    let last = segments.len().saturating_sub(1);
    for (index, segment) in segments.iter().enumerate().skip(first) {
        check.begin(segment);
        check.lines(segment, index == last, &mut |line, text| {
            if line.seq >= from {
                each(text);
            }
        })?;
    }
    Ok(())
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Sketch {
    event: String,
    previous: String,
    reason: String,
    key: String,
    signature: String,
    through: u64,
    through_hash: String,
    rule: String,
    first: u64,
    last: u64,
    last_hash: String,
    torn_bytes: u64,
    damage: Option<String>,
    error: String,
    refused: u64,
    lost: u64,
}

struct Check<'a> {
    trust: &'a Trust,
    marks: Option<&'a hmac::Key>,
    names: Vec<(String, &'a PublicKey)>,
    proof: Proof,
    chain: Option<Chain>,
    file: PathBuf,
    line: u64,
    /// What the first heading says came before, where something did.
    removed: Option<(Fault, Chain)>,
    /// Signed later: (sequence number of the record, last removed, its hash).
    retentions: Vec<(u64, u64, String)>,
    /// The latest time of any record since the clock was set back.
    latest: Vec<u8>,
}

/// Signatures come every second. A longer time without one means that there were some.
const UNSIGNED_SECONDS: u64 = 300;
/// Records of several threads stand in the log a little out of their order; more than this is a clock that was set back.
const SET_BACK_SECONDS: u64 = 60;

impl<'a> Check<'a> {
    fn new(trust: &'a Trust) -> Check<'a> {
        Check {
            trust,
            marks: trust.private.as_ref().map(Keys::marks),
            names: trust.public.iter().map(|key| (key.name(), key)).collect(),
            proof: Proof::default(),
            chain: None,
            file: PathBuf::new(),
            line: 0,
            removed: None,
            retentions: Vec::new(),
            latest: Vec::new(),
        }
    }

    fn begin(&mut self, segment: &Segment) {
        self.file.clone_from(&segment.path);
        self.line = 0;
        self.proof.segments += 1;
    }

    fn segment(&mut self, segment: &Segment, newest: bool) -> Result<(), NoProof> {
        self.lines(segment, newest, &mut |_, _| {})
    }

    fn lines(
        &mut self,
        segment: &Segment,
        newest: bool,
        each: &mut dyn FnMut(&Line<'_>, &[u8]),
    ) -> Result<(), NoProof> {
        let io = |source| NoProof::Io { path: segment.path.clone(), source };
        let mut reader = segment.open().map_err(io)?;
        let mut buffer = Vec::new();
        loop {
            buffer.clear();
            match reader.read_until(b'\n', &mut buffer) {
                Ok(0) => return Ok(()),
                // A changed byte in a compressed segment breaks its checksum, or its frame.
                Err(_) if segment.compressed => return Err(self.fault(Wrong::NotARecord).into()),
                Err(error) => return Err(io(error)),
                Ok(_) => {}
            }
            self.line += 1;
            let Some(text) = buffer.strip_suffix(b"\n") else {
                if newest && !segment.compressed {
                    self.proof.torn_bytes = buffer.len() as u64;
                    return Ok(());
                }
                return Err(self.fault(Wrong::NotARecord).into());
            };
            let line = Line::parse(text).ok_or_else(|| self.fault(Wrong::NotARecord))?;
            self.record(segment, text, &line).map_err(|fault| self.name_order(segment, fault))?;
            each(&line, text);
        }
    }

    fn expected(&self) -> u64 {
        self.chain.map_or(1, |chain| chain.seq.saturating_add(1))
    }

    fn fault(&self, what: Wrong) -> Fault {
        Fault { file: self.file.clone(), line: self.line, seq: self.expected(), what }
    }

    /// A record that is missing here but stands further down in the segment is out of order, not removed.
    fn name_order(&self, segment: &Segment, mut fault: Fault) -> Fault {
        if let Wrong::Removed { found } = fault.what {
            let lines = segment.open().map(|reader| reader.split(b'\n').map_while(Result::ok));
            let later = lines
                .is_ok_and(|mut lines| lines.any(|line| Line::parse(&line).is_some_and(|line| line.seq == fault.seq)));
            if later {
                fault.what = Wrong::Reordered { found };
            }
        }
        fault
    }

    fn record(&mut self, segment: &Segment, text: &[u8], line: &Line<'_>) -> Result<(), Fault> {
        let event = event_of(text);
        if self.line == 1 {
            self.heading(segment, text, line, event)?;
        }
        let before = self.chain.unwrap_or(Chain::START);
        let expected = before.seq.saturating_add(1);
        match line.seq.cmp(&expected) {
            std::cmp::Ordering::Greater => return Err(self.fault(Wrong::Removed { found: line.seq })),
            std::cmp::Ordering::Less => return Err(self.fault(Wrong::Reordered { found: line.seq })),
            std::cmp::Ordering::Equal => {}
        }
        if chain::link(&before.hash, line.covered) != line.hash {
            return Err(self.fault(Wrong::Changed));
        }
        if self.marks.is_some_and(|key| chain::mark(key, &line.hash) != line.mac) {
            return Err(self.fault(Wrong::Forged));
        }
        self.special(event, text, line, &before)?;
        self.follow_clock(line, text);
        self.count(line);
        Ok(())
    }

    /// Times have one form, so their order is that of their bytes.
    fn follow_clock(&mut self, line: &Line<'_>, text: &[u8]) {
        let time = time_of(text);
        if self.proof.signed_through == line.seq {
            self.proof.unsigned_since = None;
        } else if self.proof.unsigned_since.is_none() {
            self.proof.unsigned_since = Some(String::from_utf8_lossy(time).into_owned());
        }
        if time >= self.latest.as_slice() {
            self.latest.clear();
            self.latest.extend_from_slice(time);
            return;
        }
        let back = seconds_between(time, &self.latest);
        if back > SET_BACK_SECONDS {
            let (from, to) = (String::from_utf8_lossy(&self.latest), String::from_utf8_lossy(time));
            let text = format!("the clock was set back by {back} s, from {from} to {to}");
            self.proof.notes.push(Note { seq: line.seq, text });
            self.latest = time.to_vec();
        }
    }

    fn count(&mut self, line: &Line<'_>) {
        self.chain = Some(Chain { seq: line.seq, hash: line.hash });
        self.proof.records += 1;
        self.proof.last = line.seq;
        if self.proof.first == 0 {
            self.proof.first = line.seq;
        }
    }

    /// The first line of a segment; of the first segment, it says where the chain begins.
    fn heading(&mut self, segment: &Segment, text: &[u8], line: &Line<'_>, event: &[u8]) -> Result<(), Fault> {
        let sketch: Sketch = serde_json::from_slice(text).unwrap_or_default();
        if self.chain.is_none() {
            let previous = chain::unhex::<32>(sketch.previous.as_bytes());
            let Some(previous) = previous.filter(|_| event == b"segment") else {
                return Err(self.fault(Wrong::Heading));
            };
            if line.seq > 1 {
                let before = Chain { seq: line.seq - 1, hash: previous };
                self.removed = Some((self.fault(Wrong::Beginning { last: before.seq }), before));
                self.chain = Some(before);
            }
        }
        let after = self.proof.signed_through;
        let signed = self.chain.is_none_or(|chain| chain.seq == after || self.proof.records == 0);
        if line.seq == self.expected() && !signed {
            return Err(self.fault(Wrong::Unsigned { after }));
        }
        let named_so = line.seq == segment.first || line.seq != self.expected();
        if event == b"segment" && named_so { Ok(()) } else { Err(self.fault(Wrong::Heading)) }
    }

    fn special(&mut self, event: &[u8], text: &[u8], line: &Line<'_>, before: &Chain) -> Result<(), Fault> {
        self.proof.ended_in_order = false;
        if self.trust.head.is_some_and(|head| head.seq == line.seq && head.hash != line.hash) {
            return Err(self.fault(Wrong::Replaced));
        }
        if !matches!(event, b"checkpoint" | b"retention" | b"recovery" | b"gap") {
            return Ok(());
        }
        let sketch: Sketch = serde_json::from_slice(text).map_err(|_| self.fault(Wrong::NotARecord))?;
        match sketch.event.as_str() {
            "checkpoint" => self.checkpoint(&sketch, line, before),
            "retention" => {
                let text =
                    format!("records {} to {} were removed by the rule: {}", sketch.first, sketch.last, sketch.rule);
                self.retentions.push((line.seq, sketch.last, sketch.last_hash));
                self.note(line.seq, text)
            }
            "recovery" => {
                let damage = sketch.damage.as_ref().map(|damage| format!("; {damage}")).unwrap_or_default();
                self.proof.damaged |= sketch.damage.is_some();
                let text = format!(
                    "the log had not ended in order at record {}, {} bytes torn{damage}",
                    sketch.last, sketch.torn_bytes
                );
                self.note(line.seq, text)
            }
            _ => {
                let text = format!("{} records refused, {} lost: {}", sketch.refused, sketch.lost, sketch.error);
                self.note(line.seq, text)
            }
        }
    }

    fn note(&mut self, seq: u64, text: String) -> Result<(), Fault> {
        self.proof.notes.push(Note { seq, text });
        Ok(())
    }

    fn checkpoint(&mut self, sketch: &Sketch, line: &Line<'_>, before: &Chain) -> Result<(), Fault> {
        let after = self.proof.signed_through;
        let Some((_, key)) = self.names.iter().find(|(name, _)| *name == sketch.key) else {
            return Err(self.fault(Wrong::UnknownKey { key: sketch.key.clone() }));
        };
        let covers = sketch.through == before.seq && unhex(&sketch.through_hash) == Some(before.hash);
        let signed = memmem::rfind(line.covered, b",\"signature\":\"").and_then(|end| line.covered.get(..end));
        if !covers || !signed.is_some_and(|signed| key.has_signed(signed, &sketch.signature)) {
            return Err(self.fault(Wrong::Signature { after }));
        }
        self.proof.signed_through = line.seq;
        self.proof.ended_in_order = sketch.reason == "stop";
        Ok(())
    }

    fn end(&mut self, directory: &Path) -> Result<(), Fault> {
        if self.file.as_os_str().is_empty() {
            self.file = directory.to_path_buf();
            return Err(self.fault(Wrong::Empty));
        }
        let chain = self.chain.unwrap_or(Chain::START);
        if let Some(head) = self.trust.head.filter(|head| head.seq > chain.seq) {
            self.line += 1;
            return Err(self.fault(Wrong::End { head: head.seq }));
        }
        if let Some((fault, before)) = &self.removed {
            let told = |(seq, last, hash): &(u64, u64, String)| {
                *seq <= self.proof.signed_through
                    && (*last > before.seq || (*last == before.seq && unhex(hash) == Some(before.hash)))
            };
            if !self.retentions.iter().any(told) {
                return Err(fault.clone());
            }
        }
        self.proof.last_hash = chain::hex(&chain.hash);
        self.proof.head = self.trust.head.map(|head| head.seq);
        self.doubt_unsigned();
        self.proof.unsigned =
            chain.seq.saturating_sub(self.proof.signed_through.max(self.proof.first.saturating_sub(1)));
        Ok(())
    }
}

impl Check<'_> {
    /// The end of a log has no signature yet, but only the last moments of it.
    fn doubt_unsigned(&mut self) {
        let Some(since) = &self.proof.unsigned_since else { return };
        let seconds = seconds_between(since.as_bytes(), &self.latest);
        if seconds > UNSIGNED_SECONDS {
            let text = format!(
                "no signature covers the last {seconds} s, but one is made every second: they were taken out, or the clock was set forward"
            );
            self.proof.damaged = true;
            self.proof.notes.push(Note { seq: self.proof.signed_through.saturating_add(1), text });
        }
    }
}

/// A record's time, which stands second.
fn time_of(text: &[u8]) -> &[u8] {
    const NAME: &[u8] = b",\"time\":\"";
    let start = text.get(..60.min(text.len())).and_then(|head| memmem::find(head, NAME));
    start.and_then(|start| text.get(start + NAME.len()..start + NAME.len() + 27)).unwrap_or_default()
}

fn seconds_between(first: &[u8], last: &[u8]) -> u64 {
    let read = |text: &[u8]| std::str::from_utf8(text).ok()?.parse::<jiff::Timestamp>().ok();
    let seconds = read(first).zip(read(last)).map(|(first, last)| last.duration_since(first).as_secs());
    seconds.and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or(0)
}

fn unhex(digits: &str) -> Option<Hash> {
    chain::unhex(digits.as_bytes())
}

/// The event's word, read where every record has it: third, within the first hundred bytes.
fn event_of(text: &[u8]) -> &[u8] {
    const NAME: &[u8] = b",\"event\":\"";
    let start = text.get(..120.min(text.len())).and_then(|head| memmem::find(head, NAME));
    let rest = start.and_then(|start| text.get(start + NAME.len()..)).unwrap_or_default();
    rest.split(|&byte| byte == b'"').next().unwrap_or_default()
}
