//! Numbers as people read them.

/// A number with its thousands apart.
pub(crate) fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A number and its noun: `1 record`, `2 records`.
pub(crate) fn counted(value: u64, noun: &str) -> String {
    format!("{} {noun}{}", count(value), if value == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        let table =
            [(0, "0 rows"), (1, "1 row"), (999, "999 rows"), (1_000, "1,000 rows"), (1_234_567, "1,234,567 rows")];
        for (value, text) in table {
            assert_eq!(counted(value, "row"), text);
        }
    }
}
