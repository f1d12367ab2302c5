//! Name patterns with `*`, as policies, database names and environment names use them. Pure; part of the policy room.

/// Whether `pattern` covers the whole of `text`: `*` stands for any run of characters, everything else for itself.
pub fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut last = None;
    for part in parts {
        if let Some(middle) = last.replace(part) {
            match rest.find(middle) {
                Some(at) => rest = rest.get(at + middle.len()..).unwrap_or_default(),
                None => return false,
            }
        }
    }
    last.map_or(rest.is_empty(), |end| rest.ends_with(end))
}

/// Whether `text` is a pattern rather than a plain name.
pub fn is_pattern(text: &str) -> bool {
    text.contains('*')
}

/// How specific a pattern is: a plain name before every pattern, then the one that spells out more characters.
pub fn specificity(pattern: &str) -> (bool, usize) {
    (!is_pattern(pattern), pattern.chars().filter(|c| *c != '*').count())
}

/// Whether some name is covered by both patterns. Cell (i, j) says whether the first i characters of one pattern and the
/// first j of the other can stand for the same text.
pub fn overlap(one: &str, other: &str) -> bool {
    let one: Vec<char> = one.chars().collect();
    let other: Vec<char> = other.chars().collect();
    let mut reached = vec![false; other.len() + 1];
    for row in 0..=one.len() {
        let mut next = vec![false; other.len() + 1];
        for column in 0..=other.len() {
            let above = row > 0 && at(&reached, column);
            let left = column > 0 && at(&next, column - 1);
            let diagonal = row > 0 && column > 0 && at(&reached, column - 1);
            let a = row.checked_sub(1).and_then(|i| one.get(i)).copied();
            let b = column.checked_sub(1).and_then(|i| other.get(i)).copied();
            let here = (row == 0 && column == 0)
                || (above && (a == Some('*') || b == Some('*')))
                || (left && (a == Some('*') || b == Some('*')))
                || (diagonal && (a == b || a == Some('*') || b == Some('*')));
            if let Some(cell) = next.get_mut(column) {
                *cell = here;
            }
        }
        reached = next;
    }
    at(&reached, other.len())
}

fn at(row: &[bool], index: usize) -> bool {
    row.get(index).copied().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_cover_whole_names() {
        for (pattern, text, expected) in [
            ("orders", "orders", true),
            ("orders", "orders2", false),
            ("*", "", true),
            ("*", "anything", true),
            ("preview-*", "preview-", true),
            ("preview-*", "previews", false),
            ("*_secrets", "app_secrets", true),
            ("*_secrets", "app_secrets_2", false),
            ("a*b*c", "a--b--c", true),
            ("a*b*c", "a--c--b", false),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("**", "x", true),
            ("a*bc*bc", "abcbc", true),
            ("a*bc*bc", "abc", false),
            ("größe*", "größenordnung", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} against {text}");
        }
    }

    #[test]
    fn overlap_is_symmetric_and_exact() {
        for (one, other, expected) in [
            ("a*", "*a", true),
            ("a*", "b*", false),
            ("a*", "ab*", true),
            ("preview-*", "preview-7", true),
            ("preview-*", "prev*", true),
            ("*-x", "*-y", false),
            ("*", "", true),
            ("a", "a", true),
            ("a", "b", false),
            ("a*c", "ab", false),
            ("a*c", "*b*", true),
            ("", "a", false),
        ] {
            assert_eq!(overlap(one, other), expected, "{one} and {other}");
            assert_eq!(overlap(other, one), expected, "{other} and {one}");
        }
    }

    #[test]
    fn a_plain_name_is_more_specific_than_any_pattern() {
        assert!(specificity("a") > specificity("preview-*"));
        assert!(specificity("preview-1*") > specificity("preview-*"));
        assert!(specificity("preview-*") > specificity("*"));
    }
}
