//! What became of the transactions that one record's statements ran in. A text or a batch may go through several: each
//! end is told for what stood before it, and not for what came after.

/// Fates that were met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Met {
    committed: bool,
    rolled_back: bool,
}

impl Met {
    fn add(&mut self, committed: bool) {
        self.committed |= committed;
        self.rolled_back |= !committed;
    }

    fn state(self) -> Option<&'static str> {
        match (self.committed, self.rolled_back) {
            (true, true) => Some("mixed"),
            (true, false) => Some("committed"),
            (false, true) => Some("rolled_back"),
            (false, false) => None,
        }
    }
}

/// What one record's statements did, by the transactions that they ran in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Fate {
    /// Of transactions in which something may have changed, and that have ended.
    changed: Met,
    /// Of the others.
    looked: Met,
    /// How the last one ended.
    last: Option<bool>,
    /// Something completed since.
    open: bool,
    /// Something that may have changed something.
    open_changes: bool,
}

impl Fate {
    /// A statement completed that ends no transaction.
    pub(super) fn completed(&mut self, tag: &[u8]) {
        self.open = true;
        self.open_changes |= changes(tag);
    }

    /// The transaction ended.
    pub(super) fn ended(&mut self, committed: bool) {
        if self.open_changes {
            self.changed.add(committed);
        } else if self.open {
            self.looked.add(committed);
        }
        (self.last, self.open, self.open_changes) = (Some(committed), false, false);
    }

    /// Whether a statement completed since the last end.
    pub(super) fn is_open(&self) -> bool {
        self.open
    }

    /// Whether it has ended, and nothing came after.
    pub(super) fn is_over(&self) -> bool {
        self.last.is_some() && !self.open
    }

    /// The record's word, where `rest` is what becomes of the transaction that it stands in now: what counts is what may
    /// have changed something.
    pub(super) fn state(mut self, rest: &'static str) -> &'static str {
        match rest {
            "committed" if self.open => self.ended(true),
            "rolled_back" if self.open => self.ended(false),
            _ if self.open_changes || self.open && self.changed.state().is_none() => return rest,
            _ => {}
        }
        let ended = || self.last.map(|committed| if committed { "committed" } else { "rolled_back" });
        self.changed.state().or(self.looked.state()).or_else(ended).unwrap_or(rest)
    }
}

/// Whether a statement with this tag may have changed something: all but those that are known to look, to set and to steer.
fn changes(tag: &[u8]) -> bool {
    let word = tag.split(|byte| *byte == b' ').next().unwrap_or_default();
    !matches!(
        word,
        b"SELECT"
            | b"FETCH"
            | b"MOVE"
            | b"SHOW"
            | b"EXPLAIN"
            | b"SET"
            | b"RESET"
            | b"BEGIN"
            | b"START"
            | b"SAVEPOINT"
            | b"RELEASE"
            | b"ROLLBACK"
            | b"DECLARE"
            | b"CLOSE"
            | b"PREPARE"
            | b"DEALLOCATE"
            | b"LISTEN"
            | b"UNLISTEN"
            | b"DISCARD"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tags, `+` and `-` for ends, and after `=` the rest.
    fn told(words: &str, rest: &'static str) -> &'static str {
        let mut fate = Fate::default();
        for word in words.split_whitespace() {
            match word {
                "+" => fate.ended(true),
                "-" => fate.ended(false),
                tag => fate.completed(tag.as_bytes()),
            }
        }
        fate.state(rest)
    }

    #[test]
    fn each_transaction_has_its_own_fate_and_changes_count_more_than_looks() {
        for (words, rest, state) in [
            ("", "committed", "committed"),
            ("", "rolled_back", "rolled_back"),
            ("INSERT", "committed", "committed"),
            ("INSERT", "open", "open"),
            ("INSERT", "rolled_back", "rolled_back"),
            ("+", "committed", "committed"),
            ("-", "committed", "rolled_back"),
            ("- INSERT", "committed", "committed"),
            ("+ INSERT", "rolled_back", "rolled_back"),
            ("INSERT -", "committed", "rolled_back"),
            ("INSERT +", "rolled_back", "committed"),
            ("BEGIN SELECT - INSERT", "committed", "committed"),
            ("BEGIN INSERT + SELECT", "rolled_back", "committed"),
            ("BEGIN INSERT + INSERT", "rolled_back", "mixed"),
            ("INSERT - INSERT", "committed", "mixed"),
            ("INSERT + BEGIN INSERT", "open", "open"),
            ("INSERT + BEGIN SELECT", "open", "committed"),
            ("SELECT + BEGIN", "open", "open"),
            ("SELECT + SELECT -", "committed", "mixed"),
        ] {
            assert_eq!(told(words, rest), state, "{words} = {rest}");
        }
    }
}
