//! What of an application's JSON the server relays: only what every receiver can read (P-F1).
//!
//! JSON's grammar allows half characters (`"\ud800"`) and numbers of any length. Strict receivers
//! fail on them, and with them on everything that stands in the same frame, so one sender could
//! silence a room.

use wardline::protocol::Json;

/// Characters of a number.
const NUMBER: usize = 128;

/// Checks a text that is known to be JSON syntax, and minifies it.
///
/// # Errors
/// Which rule of P-F1 it breaks.
pub(crate) fn taken(json: &Json) -> Result<Json, &'static str> {
    let json = json.checked().map_err(|_| "nested too deep, or a key twice")?;
    readable(json.get().as_bytes())?;
    Ok(json)
}

fn readable(text: &[u8]) -> Result<(), &'static str> {
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => at = string(text, at + 1)?,
            b'-' | b'0'..=b'9' => at = number(text, at)?,
            _ => at += 1,
        }
    }
    Ok(())
}

/// The end of the string that begins here.
fn string(text: &[u8], mut at: usize) -> Result<usize, &'static str> {
    const HALF: &str = "half a character: a surrogate without the other";
    loop {
        match text.get(at) {
            None => return Ok(at),
            Some(b'"') => return Ok(at + 1),
            Some(b'\\') => match escaped(text, at) {
                Some(0xd800..=0xdbff) => {
                    if !matches!(escaped(text, at + 6), Some(0xdc00..=0xdfff)) {
                        return Err(HALF);
                    }
                    at += 12;
                }
                Some(0xdc00..=0xdfff) => return Err(HALF),
                _ => at += 2,
            },
            Some(_) => at += 1,
        }
    }
}

/// The unit that an escape of four hex digits at this place stands for, if that is what stands there.
fn escaped(text: &[u8], at: usize) -> Option<u32> {
    let digits = text.get(at..at + 6)?.strip_prefix(b"\\u")?;
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// The end of the number that begins here.
fn number(text: &[u8], from: usize) -> Result<usize, &'static str> {
    let is_part = |byte: &&u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
    let len = text[from..].iter().take_while(is_part).count();
    if len > NUMBER {
        return Err("a number of more than 128 characters");
    }
    let digits = &text[from..from + len];
    // Without an exponent, so short a number is finite.
    if digits.iter().any(|byte| matches!(byte, b'e' | b'E')) {
        let value = std::str::from_utf8(digits).ok().and_then(|text| text.parse::<f64>().ok());
        if !value.is_some_and(f64::is_finite) {
            return Err("a number beyond what a double holds");
        }
    }
    Ok(from + len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn refused(text: &str) -> bool {
        taken(&Json::parse(text).unwrap()).is_err()
    }

    #[test]
    fn p_f1_halves_of_characters_are_not_relayed() {
        for text in [
            r#""\ud800""#,
            r#""\udc00""#,
            r#""\uD83D""#,
            r#"{"a":["x\ud83d\ud83d\ude00"]}"#,
            r#""\ud83d\\ude00""#,
            r#""\ud83dx""#,
            r#""\ude00\ud83d""#,
        ] {
            assert!(refused(text), "{text}");
        }
        for text in
            [r#""\ud83d\ude00""#, r#""\\ud800""#, r#""😀\u00e9\"\\""#, r#"{"\ud83d\ude00":1}"#]
        {
            assert!(!refused(text), "{text}");
        }
    }

    #[test]
    fn p_f1_numbers_nobody_reads_are_not_relayed() {
        let digits = |n: usize| "9".repeat(n);
        for text in
            ["1e400".to_owned(), "[-1E+999]".into(), digits(129), format!("0.{}", digits(127))]
        {
            assert!(refused(&text), "{text}");
        }
        for text in
            [digits(128), "1e308".into(), "-1e-999".into(), r#""1e999""#.into(), "[1,2]".into()]
        {
            assert!(!refused(&text), "{text}");
        }
    }

    proptest! {
        #[test]
        fn p_f1_what_is_taken_a_strict_reader_reads(text in r#"[\[\]{}",:0-9eE.+\\udD8cCfF -]{0,40}"#) {
            // A list, so that most texts are JSON at all.
            for text in [format!("[\"{text}\"]"), format!("[{text}]")] {
                let Ok(json) = Json::parse(&text) else { continue };
                if let Ok(taken) = taken(&json) {
                    prop_assert!(serde_json::from_str::<serde_json::Value>(taken.get()).is_ok(), "{}", text);
                }
            }
        }
    }
}
