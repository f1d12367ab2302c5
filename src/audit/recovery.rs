//! Where an earlier run left the log: the last whole record, what is torn behind it, and whether it is as it was left.

use std::fs::OpenOptions;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use ring::{digest, hmac};
use serde::Deserialize;

use super::chain::{self, Chain, Line};
use super::event::Recovery;
use super::id::AuditId;
use super::segment::{self, Segment};

/// What an earlier run left.
#[derive(Debug)]
pub(crate) struct Found {
    /// The segment to go on with: where, its first record and its length up to the last whole record.
    pub(crate) segment: Option<(PathBuf, u64, u64)>,
    pub(crate) chain: Chain,
    /// Above every id given out before.
    pub(crate) id_floor: u64,
    /// What to record, unless the log ended in order.
    pub(crate) recovery: Option<Recovery>,
}

#[derive(Deserialize)]
struct Sketch<'a> {
    event: &'a str,
    id: &'a str,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    previous: Option<&'a str>,
}

/// Looks at the newest segments of a directory and at the head kept beside the key; cuts off a torn tail.
pub(crate) fn recover(directory: &Path, head: &Path, marks: &hmac::Key) -> io::Result<Found> {
    let head = read_head(head);
    let mut damage = Vec::new();
    for segment in segment::list(directory)?.into_iter().rev() {
        let tail = Tail::read(&segment, marks)?;
        if tail.last.is_none() {
            damage.push(format!("{} holds no whole record and was set aside", segment.path.display()));
            set_aside(&segment.path)?;
            continue;
        }
        return found(segment, tail, head, damage);
    }
    let recovery = head.map(|head| {
        damage.push(format!("every segment is gone; the log had come to record {}", head.seq));
        Recovery { last: head.seq, damage: Some(damage.join("; ")), ..Recovery::default() }
    });
    Ok(Found { segment: None, chain: head.unwrap_or(Chain::START), id_floor: 0, recovery })
}

fn found(segment: Segment, mut tail: Tail, head: Option<Chain>, mut damage: Vec<String>) -> io::Result<Found> {
    let chain = tail.last.unwrap_or(Chain::START);
    damage.extend(tail.damage.take());
    match head {
        Some(head) if head.seq > chain.seq => damage.push(format!(
            "the log ends at record {}, but a signed checkpoint at record {} had been written: records were cut off",
            chain.seq, head.seq
        )),
        Some(head) if tail.head_differs(head) => {
            damage.push(format!("record {} is not the checkpoint that was written there", head.seq));
        }
        _ => {}
    }
    if tail.torn_bytes > 0 && !segment.compressed {
        cut(&segment.path, tail.length)?;
    }
    let in_order = tail.stopped && tail.torn_bytes == 0 && damage.is_empty();
    let recovery = (!in_order).then(|| Recovery {
        last: chain.seq,
        torn_bytes: tail.torn_bytes,
        torn_hash: tail.torn_hash,
        unsigned: tail.unsigned,
        damage: (!damage.is_empty()).then(|| damage.join("; ")),
    });
    let go_on = (!segment.compressed).then_some((segment.path, segment.first, tail.length));
    Ok(Found { segment: go_on, chain, id_floor: tail.id_floor, recovery })
}

fn cut(path: &Path, length: u64) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    file.set_len(length)?;
    file.sync_all()
}

fn set_aside(path: &Path) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".damaged");
    std::fs::rename(path, name)
}

/// The newest checkpoint's place, from the file beside the key.
pub(crate) fn read_head(path: &Path) -> Option<Chain> {
    let bytes = std::fs::read(path).ok()?;
    let line = Line::parse(bytes.strip_suffix(b"\n").unwrap_or(&bytes))?;
    Some(Chain { seq: line.seq, hash: line.hash })
}

/// What the newest segment holds.
#[derive(Debug, Default)]
struct Tail {
    last: Option<Chain>,
    /// Bytes up to the end of the last whole record.
    length: u64,
    torn_bytes: u64,
    torn_hash: Option<String>,
    unsigned: u64,
    stopped: bool,
    id_floor: u64,
    damage: Option<String>,
    hashes: Vec<(u64, chain::Hash)>,
}

impl Tail {
    fn read(segment: &Segment, marks: &hmac::Key) -> io::Result<Tail> {
        let mut bytes = Vec::new();
        segment.open()?.read_to_end(&mut bytes)?;
        let mut tail = Tail::default();
        let mut at = 0u64;
        let mut broken = false;
        for line in bytes.split_inclusive(|&byte| byte == b'\n') {
            at += line.len() as u64;
            let whole = line.strip_suffix(b"\n").and_then(|line| Some((line, Line::parse(line)?)));
            let Some((text, line)) = whole else {
                broken = true;
                continue;
            };
            if std::mem::take(&mut broken) {
                tail.note(line.seq, "stands after a line that is no record");
            }
            tail.take(text, &line, marks);
            tail.length = at;
        }
        let torn = usize::try_from(tail.length).ok().and_then(|length| bytes.get(length..)).unwrap_or_default();
        tail.torn_bytes = torn.len() as u64;
        tail.torn_hash = (!torn.is_empty()).then(|| chain::hex(digest::digest(&digest::SHA256, torn).as_ref()));
        Ok(tail)
    }

    /// Follows the chain over one more whole record.
    fn take(&mut self, text: &[u8], line: &Line<'_>, marks: &hmac::Key) {
        let sketch = serde_json::from_slice::<Sketch<'_>>(text).ok();
        let previous = match self.last {
            Some(last) => Some(last.hash),
            None => sketch.as_ref().and_then(|sketch| chain::unhex(sketch.previous?.as_bytes())),
        };
        let follows = self.last.is_none_or(|last| last.seq.checked_add(1) == Some(line.seq));
        let chained = previous.is_none_or(|previous| chain::link(&previous, line.covered) == line.hash);
        if !follows || !chained {
            self.note(line.seq, "does not follow from the one before");
        } else if chain::mark(marks, &line.hash) != line.mac {
            self.note(line.seq, "was not made with this key");
        }
        self.last = Some(Chain { seq: line.seq, hash: line.hash });
        self.hashes.push((line.seq, line.hash));
        self.count(sketch);
    }

    fn count(&mut self, sketch: Option<Sketch<'_>>) {
        let Some(sketch) = sketch else { return };
        let id = sketch.id.parse::<AuditId>().map_or(0, |id| id.0);
        self.id_floor = self.id_floor.max(id);
        let checkpoint = sketch.event == "checkpoint";
        self.unsigned = if checkpoint { 0 } else { self.unsigned + 1 };
        self.stopped = checkpoint && sketch.reason.as_deref() == Some("stop");
    }

    fn note(&mut self, seq: u64, what: &str) {
        self.damage.get_or_insert_with(|| format!("record {seq} {what}"));
    }

    fn head_differs(&self, head: Chain) -> bool {
        self.hashes.iter().any(|(seq, hash)| *seq == head.seq && *hash != head.hash)
    }
}
