//! "Did you mean": the known name nearest to a mistyped one.

/// ` (did you mean `x`?)` when a known name is near, otherwise `: known are a, b, c`.
pub(crate) fn suggestion<'a>(written: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    match nearest(written, known.clone()) {
        Some(name) => format!("; did you mean `{name}`?"),
        None => listed(known),
    }
}

fn listed<'a>(known: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<String> = known.map(|name| format!("`{name}`")).collect();
    match names.is_empty() {
        true => "; there is none".to_owned(),
        false => format!("; known: {}", names.join(", ")),
    }
}

/// The known name nearest to what was written, if one is near.
pub(crate) fn nearest<'a>(written: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let limit = written.chars().count().div_ceil(3).clamp(1, 4);
    let scored = known.map(|name| (distance(&plain(written), &plain(name)), name));
    scored.filter(|(distance, _)| *distance <= limit).min().map(|(_, name)| name)
}

fn plain(name: &str) -> Vec<char> {
    name.chars().filter(|c| !matches!(c, '_' | '-')).flat_map(char::to_lowercase).collect()
}

/// Levenshtein distance. Names longer than 64 characters are not worth a guess.
fn distance(one: &[char], other: &[char]) -> usize {
    if one.len() > 64 || other.len() > 64 {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.iter().enumerate() {
        let mut next = vec![i + 1];
        for (pair, b) in row.windows(2).zip(other) {
            let [diagonal, above] = pair else { continue };
            let left = next.last().copied().unwrap_or_default();
            next.push((diagonal + usize::from(a != b)).min(above + 1).min(left + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_suggested_and_far_ones_listed() {
        let known = ["statement_timeout", "lock_timeout", "allow"];
        assert_eq!(nearest("statement-timeout", known.into_iter()), Some("statement_timeout"));
        assert_eq!(nearest("alow", known.into_iter()), Some("allow"));
        assert_eq!(nearest("colour", known.into_iter()), None);
        assert_eq!(suggestion("colour", ["a", "b"].into_iter()), "; known: `a`, `b`");
        assert_eq!(distance(&plain("kitten"), &plain("sitting")), 3);
    }
}
