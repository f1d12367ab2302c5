//! Values in their types' binary forms, as text: what a type's `_send` function writes (`src/backend/utils/adt`).
//!
//! Types are known by their object identifiers, which are the same on every server (`src/include/catalog/pg_type.dat`).

use std::fmt::Write as _;

use super::i32_at;

/// Most elements of an array that are shown.
const MOST_ELEMENTS: usize = 100;
/// Seconds from 1970 to 2000, where PostgreSQL's own time begins.
const EPOCH_SECONDS: i64 = 946_684_800;
/// Most groups of four digits of a number that are shown.
const MOST_GROUPS: usize = 256;

/// A type's name, where it is one of those known here.
pub fn type_name(oid: u32) -> Option<&'static str> {
    Some(match oid {
        16 => "bool",
        17 => "bytea",
        18 => "char",
        19 => "name",
        20 => "int8",
        21 => "int2",
        23 => "int4",
        25 => "text",
        26 => "oid",
        114 => "json",
        142 => "xml",
        700 => "float4",
        701 => "float8",
        650 => "cidr",
        869 => "inet",
        1042 => "bpchar",
        1043 => "varchar",
        1082 => "date",
        1083 => "time",
        1114 => "timestamp",
        1184 => "timestamptz",
        1186 => "interval",
        1700 => "numeric",
        2950 => "uuid",
        3802 => "jsonb",
        other => return element_of(other).and_then(array_name),
    })
}

fn array_name(element: u32) -> Option<&'static str> {
    Some(match element {
        16 => "bool[]",
        17 => "bytea[]",
        20 => "int8[]",
        21 => "int2[]",
        23 => "int4[]",
        25 => "text[]",
        114 => "json[]",
        700 => "float4[]",
        701 => "float8[]",
        1042 => "bpchar[]",
        1043 => "varchar[]",
        1082 => "date[]",
        1114 => "timestamp[]",
        1184 => "timestamptz[]",
        1700 => "numeric[]",
        2950 => "uuid[]",
        3802 => "jsonb[]",
        _ => return None,
    })
}

/// The type of an array's elements.
fn element_of(array: u32) -> Option<u32> {
    Some(match array {
        1000 => 16,
        1001 => 17,
        1016 => 20,
        1005 => 21,
        1007 => 23,
        1009 => 25,
        199 => 114,
        1021 => 700,
        1022 => 701,
        1014 => 1042,
        1015 => 1043,
        1182 => 1082,
        1115 => 1114,
        1185 => 1184,
        1231 => 1700,
        2951 => 2950,
        3807 => 3802,
        _ => return None,
    })
}

/// Whether a type's binary form is its text.
pub fn is_text(oid: u32) -> bool {
    matches!(oid, 18 | 19 | 25 | 114 | 142 | 1042 | 1043)
}

/// A value in its binary form as text; `None` where the type is not known here, or the bytes are not of it.
pub fn text_of(oid: u32, bytes: &[u8]) -> Option<String> {
    match oid {
        16 => <[u8; 1]>::try_from(bytes).ok().map(|[value]| (value != 0).to_string()),
        _ if is_text(oid) => std::str::from_utf8(bytes).ok().map(str::to_owned),
        20 => number(bytes, i64::from_be_bytes),
        21 => number(bytes, i16::from_be_bytes),
        23 => number(bytes, i32::from_be_bytes),
        26 => number(bytes, u32::from_be_bytes),
        700 => number(bytes, f32::from_be_bytes),
        701 => number(bytes, f64::from_be_bytes),
        650 | 869 => address(bytes, oid == 650),
        1082 => date(i32::from_be_bytes(bytes.try_into().ok()?)),
        1083 => time(i64::from_be_bytes(bytes.try_into().ok()?)),
        1114 => moment(i64::from_be_bytes(bytes.try_into().ok()?)),
        1184 => moment(i64::from_be_bytes(bytes.try_into().ok()?))
            .map(|text| if is_endless(&text) { text } else { text + "Z" }),
        1186 => interval(bytes),
        1700 => numeric(bytes),
        2950 => uuid(bytes),
        3802 => match bytes.split_first()? {
            (1, text) => std::str::from_utf8(text).ok().map(str::to_owned),
            _ => None,
        },
        other => element_of(other).and_then(|element| array(element, bytes)),
    }
}

fn is_endless(text: &str) -> bool {
    text.ends_with("infinity")
}

fn number<T: ToString, const N: usize>(bytes: &[u8], read: fn([u8; N]) -> T) -> Option<String> {
    bytes.try_into().ok().map(|bytes| read(bytes).to_string())
}

fn uuid(bytes: &[u8]) -> Option<String> {
    let bytes: [u8; 16] = bytes.try_into().ok()?;
    let mut out = String::with_capacity(36);
    for (place, byte) in bytes.iter().enumerate() {
        if matches!(place, 4 | 6 | 8 | 10) {
            out.push('-');
        }
        write!(out, "{byte:02x}").ok()?;
    }
    Some(out)
}

/// Family (2 or 3), bits of the mask, whether it is a network, bytes of the address, the address.
fn address(bytes: &[u8], network: bool) -> Option<String> {
    let (head, address) = bytes.split_first_chunk::<4>()?;
    let [_, bits, _, length] = *head;
    if usize::from(length) != address.len() {
        return None;
    }
    let (text, whole) = match <[u8; 4]>::try_from(address) {
        Ok(four) => (std::net::Ipv4Addr::from(four).to_string(), 32),
        Err(_) => (std::net::Ipv6Addr::from(<[u8; 16]>::try_from(address).ok()?).to_string(), 128),
    };
    Some(if bits == whole && !network { text } else { format!("{text}/{bits}") })
}

/// Days since 2000-01-01; the ends of the range stand for infinity.
fn date(days: i32) -> Option<String> {
    match days {
        i32::MAX => return Some("infinity".to_owned()),
        i32::MIN => return Some("-infinity".to_owned()),
        _ => {}
    }
    let days = i64::from(days) + EPOCH_SECONDS / 86_400;
    jiff::civil::Date::constant(1970, 1, 1)
        .checked_add(jiff::Span::new().try_days(days).ok()?)
        .ok()
        .map(|date| date.to_string())
}

/// Microseconds since midnight.
fn time(us: i64) -> Option<String> {
    let (seconds, us) = (us.checked_div(1_000_000)?, us % 1_000_000);
    if !(0..=86_400).contains(&seconds) || us < 0 {
        return None;
    }
    let clock = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    Some(if us == 0 { clock } else { format!("{clock}.{us:06}") })
}

/// Microseconds since 2000-01-01.
fn moment(us: i64) -> Option<String> {
    match us {
        i64::MAX => return Some("infinity".to_owned()),
        i64::MIN => return Some("-infinity".to_owned()),
        _ => {}
    }
    let days = i32::try_from(us.div_euclid(86_400_000_000)).ok()?;
    Some(format!("{} {}", date(days)?, time(us.rem_euclid(86_400_000_000))?))
}

/// Microseconds, days, months.
fn interval(bytes: &[u8]) -> Option<String> {
    let (us, rest) = bytes.split_first_chunk::<8>()?;
    let (us, (days, rest)) = (i64::from_be_bytes(*us), i32_at(rest)?);
    let (months, []) = i32_at(rest)? else { return None };
    let seconds = us.unsigned_abs() / 1_000_000;
    let sign = if us < 0 { "-" } else { "" };
    let fraction = match us.unsigned_abs() % 1_000_000 {
        0 => String::new(),
        us => format!(".{us:06}"),
    };
    let clock = format!("{sign}{:02}:{:02}:{:02}{fraction}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    let mut parts = Vec::new();
    if months != 0 {
        parts.push(format!("{months} mons"));
    }
    if days != 0 {
        parts.push(format!("{days} days"));
    }
    if us != 0 || parts.is_empty() {
        parts.push(clock);
    }
    Some(parts.join(" "))
}

/// Groups of four decimal digits: how many, the first one's weight, the sign, the digits behind the point
/// (`numeric_send` in `numeric.c`).
fn numeric(bytes: &[u8]) -> Option<String> {
    let (head, groups) = bytes.split_first_chunk::<8>()?;
    let [a, b, c, d, e, f, g, h] = *head;
    let (count, weight) = (usize::from(u16::from_be_bytes([a, b])), i32::from(i16::from_be_bytes([c, d])));
    let (sign, scale) = (u16::from_be_bytes([e, f]), usize::from(u16::from_be_bytes([g, h])));
    let sign = match sign {
        0x0000 => "",
        0x4000 => "-",
        0xC000 => return Some("NaN".to_owned()),
        0xD000 => return Some("Infinity".to_owned()),
        0xF000 => return Some("-Infinity".to_owned()),
        _ => return None,
    };
    let most = i32::try_from(MOST_GROUPS).unwrap_or(i32::MAX);
    let (groups, []) = groups.as_chunks::<2>() else { return None };
    if groups.len() != count || count > MOST_GROUPS || weight.abs() > most || scale > 4 * MOST_GROUPS {
        return None;
    }
    let group = |power: i32| {
        let place = usize::try_from(weight - power).ok();
        place.and_then(|place| groups.get(place)).map_or(0, |group| u16::from_be_bytes(*group))
    };
    let mut out = String::from(sign);
    write!(out, "{}", if weight < 0 { 0 } else { group(weight) }).ok()?;
    for power in (0..weight).rev() {
        write!(out, "{:04}", group(power)).ok()?;
    }
    if scale > 0 {
        let mut behind = String::new();
        for power in 1..=i32::try_from(scale.div_ceil(4)).ok()? {
            write!(behind, "{:04}", group(-power)).ok()?;
        }
        write!(out, ".{}", behind.get(..scale)?).ok()?;
    }
    Some(out)
}

/// Dimensions, whether there are NULLs, the elements' type, each dimension's length and lower bound, the elements. Only arrays of
/// one dimension, or empty ones, are shown.
fn array(element: u32, bytes: &[u8]) -> Option<String> {
    let (dimensions, rest) = i32_at(bytes)?;
    let (_, rest) = i32_at(rest)?;
    let (oid, rest) = i32_at(rest)?;
    if u32::try_from(oid).ok()? != element {
        return None;
    }
    if dimensions == 0 {
        return rest.is_empty().then(|| "{}".to_owned());
    }
    if dimensions != 1 {
        return None;
    }
    let (count, rest) = i32_at(rest)?;
    let (_, mut rest) = i32_at(rest)?;
    let count = usize::try_from(count).ok()?;
    let mut shown = Vec::new();
    for _ in 0..count.min(MOST_ELEMENTS) {
        let (length, behind) = i32_at(rest)?;
        if length == -1 {
            shown.push("NULL".to_owned());
            rest = behind;
            continue;
        }
        let (bytes, behind) = behind.split_at_checked(usize::try_from(length).ok()?)?;
        shown.push(quoted(&text_of(element, bytes)?));
        rest = behind;
    }
    if count > MOST_ELEMENTS {
        shown.push(format!("… {} more", count - MOST_ELEMENTS));
    }
    Some(format!("{{{}}}", shown.join(",")))
}

/// An element as array literals have it (`array_out`).
fn quoted(text: &str) -> String {
    let special = |c: char| matches!(c, '{' | '}' | ',' | '"' | '\\') || c.is_whitespace();
    if text.is_empty() || text.eq_ignore_ascii_case("null") || text.contains(special) {
        format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_read_as_the_server_writes_them() {
        let rows: &[(u32, &[u8], &str)] = &[
            (16, b"\x01", "true"),
            (23, b"\xff\xff\xff\xd6", "-42"),
            (20, b"\0\0\0\0\0\0\0\x07", "7"),
            (701, &1.5f64.to_be_bytes(), "1.5"),
            (1082, &0i32.to_be_bytes(), "2000-01-01"),
            (1082, &(-1i32).to_be_bytes(), "1999-12-31"),
            (1114, &(-1i64).to_be_bytes(), "1999-12-31 23:59:59.999999"),
            (1184, &0i64.to_be_bytes(), "2000-01-01 00:00:00Z"),
            (1184, &i64::MAX.to_be_bytes(), "infinity"),
            (1083, &3_600_000_001i64.to_be_bytes(), "01:00:00.000001"),
            (1186, b"\0\0\0\0\0\x0f\x42\x40\0\0\0\x02\0\0\0\x01", "1 mons 2 days 00:00:01"),
            (1700, b"\0\x02\0\0\0\0\0\x02\0\x01\x13\x88", "1.50"),
            (1700, b"\0\x01\0\x01\x40\0\0\0\0\x02", "-20000"),
            (1700, b"\0\x01\xff\xff\0\0\0\x04\0\x07", "0.0007"),
            (1700, b"\0\0\0\0\xC0\0\0\0", "NaN"),
            (2950, &[0x11; 16], "11111111-1111-1111-1111-111111111111"),
            (3802, b"\x01{\"a\": 1}", "{\"a\": 1}"),
            (869, b"\x02\x20\0\x04\x7f\0\0\x01", "127.0.0.1"),
            (650, b"\x02\x08\x01\x04\x0a\0\0\0", "10.0.0.0/8"),
            (
                1007,
                b"\0\0\0\x01\0\0\0\x01\0\0\0\x17\0\0\0\x02\0\0\0\x01\0\0\0\x04\0\0\0\x05\xff\xff\xff\xff",
                "{5,NULL}",
            ),
            (1009, b"\0\0\0\x01\0\0\0\0\0\0\0\x19\0\0\0\x01\0\0\0\x01\0\0\0\x03a,b", "{\"a,b\"}"),
        ];
        for (oid, bytes, wanted) in rows {
            assert_eq!(text_of(*oid, bytes).as_deref(), Some(*wanted), "type {oid}");
        }
    }

    #[test]
    fn bytes_of_another_type_are_none_and_nothing_panics() {
        let oids = [
            16, 18, 20, 21, 23, 25, 26, 650, 700, 701, 869, 1007, 1009, 1082, 1083, 1114, 1184, 1186, 1700, 2950, 3802,
        ];
        for oid in oids {
            for length in 0..40 {
                for byte in [0u8, 1, 0x7f, 0x80, 0xff] {
                    let _ = text_of(oid, &vec![byte; length]);
                }
            }
        }
        assert_eq!(text_of(23, b"12"), None);
        assert_eq!(text_of(25, b"\xff"), None);
        assert_eq!(text_of(99_999, b"x"), None);
    }
}
