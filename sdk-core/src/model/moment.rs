//! Moments in payloads: ms since 1970 where written; read from a number or ISO 8601 text, since
//! the systems Wardline replaces wrote both.

use serde::{Deserialize, Deserializer};
use std::borrow::Cow;

#[derive(Deserialize)]
#[serde(untagged)]
enum Written<'a> {
    Whole(u64),
    Fraction(f64),
    #[serde(borrow)]
    Text(Cow<'a, str>),
}

/// Reads a moment in ms since 1970; none where it is absent, null or no moment.
pub(crate) fn millis<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    Ok(Option::<Written<'_>>::deserialize(deserializer)?.and_then(|written| match written {
        Written::Whole(ms) => Some(ms),
        // A float is ms with a fraction (JavaScript) unless it can only be seconds (Python).
        Written::Fraction(value) if value >= 1e11 => Some(value as u64),
        Written::Fraction(value) if value >= 0.0 => Some((value * 1000.0) as u64),
        Written::Fraction(_) => None,
        Written::Text(text) => iso_8601(&text),
    }))
}

/// Reads `YYYY-MM-DDTHH:MM:SS[.fff][Z|±HH:MM]`; without a zone it is UTC. None before 1970.
pub(crate) fn iso_8601(text: &str) -> Option<u64> {
    let number = |range: std::ops::Range<usize>| -> Option<i64> {
        let digits = text.get(range)?;
        digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())?
    };
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    let in_range = (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    if !in_range {
        return None;
    }
    let mut rest = &text[19..];
    let mut ms = 0;
    if let Some(fraction) = rest.strip_prefix('.') {
        let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
        ms = format!("{:0<3}", &fraction[..digits]).get(..3)?.parse::<i64>().ok()?;
        rest = &fraction[digits..];
    }
    let offset_minutes = match rest.as_bytes() {
        [] | [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), ..] => {
            let digits = rest[1..].replace(':', "");
            let hours = digits.get(..2)?.parse::<i64>().ok()?;
            let minutes = digits.get(2..4).unwrap_or("0").parse::<i64>().ok()?;
            (hours * 60 + minutes) * if *sign == b'+' { 1 } else { -1 }
        }
        _ => return None,
    };
    // Days since 1970 in the proleptic Gregorian calendar, years counted from March.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days =
        y * 365 + y.div_euclid(4) - y.div_euclid(100) + y.div_euclid(400) + (m * 153 + 2) / 5 + day
            - 1
            - 719_468;
    let seconds = ((days * 24 + hour) * 60 + minute - offset_minutes) * 60 + second;
    u64::try_from(seconds * 1000 + ms).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_read_from_text_and_number() {
        assert_eq!(iso_8601("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(iso_8601("2024-02-29T12:00:00.250Z"), Some(1_709_208_000_250));
        assert_eq!(iso_8601("2024-02-29T14:00:00.25+02:00"), Some(1_709_208_000_250));
        assert_eq!(iso_8601("2024-02-29T12:00:00"), Some(1_709_208_000_000));
        for bad in ["", "2024", "2024-13-01T00:00:00Z", "2024-01-01T00:00:00X", "2024-01-01 é:00"]
        {
            assert_eq!(iso_8601(bad), None, "{bad}");
        }
        #[derive(Deserialize)]
        struct At {
            #[serde(default, deserialize_with = "millis")]
            at: Option<u64>,
        }
        let at = |text: &str| serde_json::from_str::<At>(text).unwrap().at;
        assert_eq!(at(r#"{"at":1709208000250}"#), Some(1_709_208_000_250));
        assert_eq!(at(r#"{"at":1709208000.25}"#), Some(1_709_208_000_250));
        assert_eq!(at(r#"{"at":null}"#), None);
        assert_eq!(at("{}"), None);
    }
}
