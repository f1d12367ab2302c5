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

    /// Bytes that [`Timestamp::write`] appends.
    pub const BYTES: usize = 27;

    /// Reads what [`Timestamp::write`] writes; `None` for anything else.
    pub fn read(text: &[u8]) -> Option<Timestamp> {
        let separators = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':'), (19, b'.'), (26, b'Z')];
        if text.len() != Timestamp::BYTES || separators.iter().any(|(at, what)| text.get(*at) != Some(what)) {
            return None;
        }
        let number = |from: usize, to: usize| {
            text.get(from..to)?
                .iter()
                .try_fold(0u64, |value, byte| byte.is_ascii_digit().then(|| value * 10 + u64::from(byte - b'0')))
        };
        let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
        let (hours, minutes, seconds) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
        let days = days(year, month, day)?;
        let in_range = hours < 24 && minutes < 60 && seconds < 60 && civil(days) == (year, month, day);
        let seconds = days * 86_400 + hours * 3_600 + minutes * 60 + seconds;
        in_range.then_some(Timestamp(seconds * 1_000_000 + number(20, 26)?))
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

/// The days since 1970 of a date, by the same source; `None` before 1970.
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    let year = year.checked_sub(u64::from(month <= 2))?;
    let (era, year_of_era) = (year / 400, year % 400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day.checked_sub(1)?;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    (era * 146_097 + day_of_era).checked_sub(719_468)
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
            let written = Timestamp(micros).to_string();
            assert_eq!(written, format!("{expected:.6}"));
            assert_eq!(Timestamp::read(written.as_bytes()), Some(Timestamp(micros)));
        }
    }

    #[test]
    fn what_is_no_moment_is_not_read() {
        for text in [
            "",
            "2026-01-31T12:34:56.123456",
            "2026-02-29T12:34:56.123456Z",
            "2026-13-01T12:34:56.123456Z",
            "2026-00-01T12:34:56.123456Z",
            "2026-01-00T12:34:56.123456Z",
            "2026-01-31T24:34:56.123456Z",
            "2026-01-31T12:34:60.123456Z",
            "2026-01-31T12:34:56.12345xZ",
            "1969-12-31T12:34:56.123456Z",
            "0000-01-01T00:00:00.000000Z",
            "2026-01-31 12:34:56.123456Z",
        ] {
            assert_eq!(Timestamp::read(text.as_bytes()), None, "{text}");
        }
    }
}
