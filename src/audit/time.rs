//! When something happened: microseconds since 1970, UTC, written as RFC 3339.

use std::time::{SystemTime, UNIX_EPOCH};

const MICROS_A_DAY: u64 = 86_400_000_000;

/// Microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The wall clock's now.
    pub fn now() -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
    }

    /// Appends `2026-01-31T12:34:56.123456Z` (27 bytes; years after 9999 lose their first digit).
    pub fn write(self, out: &mut Vec<u8>) {
        let (year, month, day) = civil(self.0 / MICROS_A_DAY);
        let micros = self.0 % MICROS_A_DAY;
        let seconds = micros / 1_000_000;
        let [century, year] = pairs(year);
        let [month, day] = [two(month), two(day)];
        let [hours, minutes] = [two(seconds / 3600), two(seconds / 60 % 60)];
        let (seconds, fraction) = (two(seconds % 60), micros % 1_000_000);
        let (high, [low, rest]) = (two(fraction / 10_000), pairs(fraction % 10_000));
        out.extend_from_slice(&[
            century[0], century[1], year[0], year[1], b'-', month[0], month[1], b'-', day[0], day[1], b'T', hours[0],
            hours[1], b':', minutes[0], minutes[1], b':', seconds[0], seconds[1], b'.', high[0], high[1], low[0],
            low[1], rest[0], rest[1], b'Z',
        ]);
    }
}

impl std::fmt::Display for Timestamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut out = Vec::with_capacity(27);
        self.write(&mut out);
        f.write_str(&String::from_utf8_lossy(&out))
    }
}

/// Two decimal digits.
const fn two(value: u64) -> [u8; 2] {
    [b'0' + (value / 10 % 10) as u8, b'0' + (value % 10) as u8]
}

/// Four decimal digits.
const fn pairs(value: u64) -> [[u8; 2]; 2] {
    [two(value / 100), two(value)]
}

/// Year, month and day of a count of days since 1970 (Howard Hinnant, "chrono-compatible low-level date algorithms").
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_jiff_over_four_centuries() {
        for step in 0..150_000u64 {
            let micros = step * MICROS_A_DAY + step * 577_777_777 % MICROS_A_DAY;
            let expected = jiff::Timestamp::from_microsecond(micros as i64).unwrap();
            assert_eq!(Timestamp(micros).to_string(), format!("{expected:.6}"));
        }
    }
}
