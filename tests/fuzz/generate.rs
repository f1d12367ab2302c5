//! Statements out of a grammar (`grammar.txt`), by a seed: the same seed gives the same statements on every machine.

use std::collections::HashMap;

/// Deeper than this, the alternative that ends soonest is taken.
const DEEPEST: usize = 9;

/// Numbers by a seed (splitmix64).
#[derive(Clone)]
pub struct Dice(pub u64);

impl Dice {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

enum Piece {
    Text(String),
    Name { name: String, list: bool },
    Maybe(Vec<Piece>),
}

struct Alternative {
    weight: usize,
    pieces: Vec<Piece>,
    /// Levels below it, at least.
    height: usize,
}

/// What statements are made of.
pub struct Grammar(HashMap<String, Vec<Alternative>>);

impl Grammar {
    pub fn read(text: &str) -> Grammar {
        let mut rules: HashMap<String, Vec<Alternative>> = HashMap::new();
        let mut name = String::new();
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            match line.strip_prefix("  ") {
                None => name = line.to_owned(),
                Some(alternative) => rules.entry(name.clone()).or_default().push(self::alternative(alternative)),
            }
        }
        let mut grammar = Grammar(rules);
        grammar.measure();
        grammar
    }

    /// Puts other alternatives in the place of a name's.
    pub fn replace(&mut self, name: &str, alternatives: &[String]) {
        let made = alternatives.iter().map(|text| alternative(text)).collect();
        assert!(self.0.insert(name.to_owned(), made).is_some(), "no such name: {name}");
        self.measure();
    }

    /// One text of a name.
    pub fn text(&self, name: &str, dice: &mut Dice) -> String {
        let mut out = String::new();
        self.expand(name, dice, 0, &mut out);
        out
    }

    fn expand(&self, name: &str, dice: &mut Dice, depth: usize, out: &mut String) {
        let all = self.0.get(name).unwrap_or_else(|| panic!("no such name: {name}"));
        let lowest = all.iter().map(|one| one.height).min().unwrap_or(0);
        let fits = |one: &&Alternative| depth < DEEPEST || one.height == lowest;
        let total: usize = all.iter().filter(fits).map(|one| one.weight).sum();
        let mut at = dice.below(total);
        for one in all.iter().filter(fits) {
            if at < one.weight {
                return self.pieces(&one.pieces, dice, depth, out);
            }
            at -= one.weight;
        }
    }

    fn pieces(&self, pieces: &[Piece], dice: &mut Dice, depth: usize, out: &mut String) {
        for piece in pieces {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Maybe(inner) if depth < DEEPEST && dice.below(2) == 0 => self.pieces(inner, dice, depth, out),
                Piece::Maybe(_) => {}
                Piece::Name { name, list } => {
                    let count = if *list && depth < DEEPEST { 1 + dice.below(3) } else { 1 };
                    for number in 0..count {
                        out.push_str(if number > 0 { ", " } else { "" });
                        self.expand(name, dice, depth + 1, out);
                    }
                }
            }
        }
    }

    /// How many levels each alternative needs at least: repeated until nothing changes.
    fn measure(&mut self) {
        let lowest = |all: &[Alternative]| all.iter().map(|one| one.height).min().unwrap_or(usize::MAX);
        loop {
            let known: HashMap<String, usize> = self.0.iter().map(|(name, all)| (name.clone(), lowest(all))).collect();
            let mut changed = false;
            for one in self.0.values_mut().flatten() {
                let height = height(&one.pieces, &known);
                changed |= height != one.height;
                one.height = height;
            }
            if !changed {
                return;
            }
        }
    }
}

fn height(pieces: &[Piece], known: &HashMap<String, usize>) -> usize {
    let of = |piece: &Piece| match piece {
        Piece::Text(_) | Piece::Maybe(_) => 0,
        Piece::Name { name, .. } => known.get(name).unwrap_or_else(|| panic!("no such name: {name}")).saturating_add(1),
    };
    pieces.iter().map(of).max().unwrap_or(0)
}

fn alternative(text: &str) -> Alternative {
    let weighted = text.split_once("| ").and_then(|(weight, rest)| Some((weight.parse().ok()?, rest)));
    let (weight, text) = weighted.unwrap_or((1, text));
    let mut rest = text;
    let pieces = pieces(&mut rest, false);
    Alternative { weight, pieces, height: usize::MAX }
}

fn pieces(rest: &mut &str, inside: bool) -> Vec<Piece> {
    let mut found = Vec::new();
    let mut text = String::new();
    while let Some(letter) = rest.chars().next() {
        let tail = &rest[letter.len_utf8()..];
        let name = (letter == '<').then(|| tail.split_once('>')).flatten();
        let is_name = |name: &str| {
            let bare = name.strip_suffix(',').unwrap_or(name);
            !bare.is_empty() && bare.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        };
        match (letter, name) {
            ('«', _) => {
                *rest = tail;
                found.push(Piece::Text(std::mem::take(&mut text)));
                found.push(Piece::Maybe(pieces(rest, true)));
                continue;
            }
            ('»', _) if inside => {
                *rest = tail;
                break;
            }
            ('<', Some((name, tail))) if is_name(name) => {
                *rest = tail;
                found.push(Piece::Text(std::mem::take(&mut text)));
                let list = name.ends_with(',');
                found.push(Piece::Name { name: name.trim_end_matches(',').to_owned(), list });
                continue;
            }
            _ => {}
        }
        text.push(letter);
        *rest = tail;
    }
    found.push(Piece::Text(text));
    found
}
