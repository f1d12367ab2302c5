//! Durations and sizes as the configuration writes them.

use std::time::Duration;

/// Units of time, in milliseconds, the largest first. `min` is what Postgres' own settings say.
const TIME: &[(&str, u64)] =
    &[("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Units of size, in bytes, the largest first. As in Postgres, each step is 1024.
/// <https://www.postgresql.org/docs/current/config-setting.html#CONFIG-SETTING-NAMES-VALUES>
const SIZE: &[(&str, u64)] = &[("TB", 1 << 40), ("GB", 1 << 30), ("MB", 1 << 20), ("kB", 1 << 10), ("B", 1)];

/// Reads `250ms`, `30s`, `5m`, `1h`, `7d`.
pub fn duration(text: &str) -> Option<Duration> {
    scaled(text, |unit| TIME.iter().find(|(name, _)| *name == unit)).map(Duration::from_millis)
}

/// Reads `64kB`, `16MB`, `1GB`; `KB` is taken as `kB`.
pub(super) fn bytes(text: &str) -> Option<u64> {
    scaled(text, |unit| SIZE.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)))
}

fn scaled<'u>(text: &str, unit: impl Fn(&str) -> Option<&'u (&'static str, u64)>) -> Option<u64> {
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit())?;
    let (digits, name) = text.split_at_checked(split)?;
    let (_, scale) = unit(name.trim_start())?;
    digits.parse::<u64>().ok()?.checked_mul(*scale)
}

/// Writes a duration in the largest unit that divides it.
pub(super) fn show_duration(duration: Duration) -> String {
    show(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX), TIME)
}

/// Writes a size in the largest unit that divides it.
pub(super) fn show_bytes(bytes: u64) -> String {
    show(bytes, SIZE)
}

fn show(number: u64, units: &[(&str, u64)]) -> String {
    let fitting =
        units.iter().find(|(name, scale)| *name != "min" && number >= *scale && number.is_multiple_of(*scale));
    match fitting {
        Some((name, scale)) => format!("{}{name}", number / scale),
        None => units.last().map(|(name, _)| format!("{number}{name}")).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, expected) in [
            ("250ms", Some(250)),
            ("30s", Some(30_000)),
            ("5m", Some(300_000)),
            ("5min", Some(300_000)),
            ("1 h", Some(3_600_000)),
            ("7d", Some(604_800_000)),
            ("30", None),
            ("s", None),
            ("1.5s", None),
            ("-1s", None),
            ("1H", None),
            ("99999999999999999999s", None),
            ("9999999999999999999d", None),
            ("", None),
        ] {
            assert_eq!(duration(text).map(|d| d.as_millis()), expected, "{text}");
        }
        assert_eq!(show_duration(Duration::from_secs(90)), "90s");
        assert_eq!(show_duration(Duration::from_secs(120)), "2m");
        assert_eq!(show_duration(Duration::ZERO), "0ms");
    }

    #[test]
    fn sizes() {
        for (text, expected) in [
            ("16MB", Some(16 << 20)),
            ("64kB", Some(64 << 10)),
            ("64KB", Some(64 << 10)),
            ("1GB", Some(1 << 30)),
            ("12B", Some(12)),
            ("12", None),
            ("1MiB", None),
            ("0.5GB", None),
        ] {
            assert_eq!(bytes(text), expected, "{text}");
        }
        assert_eq!(show_bytes(16 << 20), "16MB");
        assert_eq!(show_bytes(10_000), "10000B");
    }
}
