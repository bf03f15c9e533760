//! One JSON text, checked and minified where it enters, then stored and spliced as it is (P-F1).

use super::wire;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned};
use serde_json::value::RawValue;
use std::{borrow::Cow, collections::BinaryHeap, fmt, sync::Arc};

/// The deepest nesting of arrays and objects that is accepted (P-F1).
pub const MAX_DEPTH: usize = 32;

/// A shared JSON text without a raw line feed. Cheap to clone.
#[derive(Clone)]
pub struct Json(Arc<str>);

/// Why a text is no acceptable JSON.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// The text does not parse.
    #[error("not JSON: {0}")]
    Syntax(String),
    /// Arrays and objects nest deeper than [`MAX_DEPTH`].
    #[error("nested deeper than {MAX_DEPTH}")]
    Depth,
    /// An object names a key twice.
    #[error("an object has the key {0:?} twice")]
    DuplicateKey(String),
}

impl JsonError {
    /// Words for a developer, as [`fmt::Display`] gives them.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Syntax(text) => ["not JSON: ", text].concat(),
            Self::Depth => wire::words("nested deeper than ", MAX_DEPTH as u64, ""),
            Self::DuplicateKey(key) => ["an object has the key \"", key, "\" twice"].concat(),
        }
    }
}

impl Json {
    /// Checks a text (syntax, depth ≤ 32, no duplicate keys) and removes white space.
    ///
    /// # Errors
    /// [`JsonError`] says which rule of P-F1 the text breaks.
    pub fn parse(text: &str) -> Result<Self, JsonError> {
        if wire::is_json(text) {
            Self::check(text)
        } else {
            Err(JsonError::Syntax("no value of valid syntax".into()))
        }
    }

    /// Applies the checks of [`Json::parse`] to a text that is known to be JSON syntax.
    ///
    /// # Errors
    /// [`JsonError::Depth`] or [`JsonError::DuplicateKey`].
    pub fn checked(&self) -> Result<Self, JsonError> {
        Self::check(self.get())
    }

    /// Serialises a value.
    ///
    /// # Errors
    /// [`JsonError::Syntax`] when the value has no JSON form (a map with keys that are no text).
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Result<Self, JsonError> {
        let text =
            serde_json::to_string(value).map_err(|error| JsonError::Syntax(error.to_string()))?;
        Self::check(&text)
    }

    /// Serialises an envelope around texts that were checked where they entered: it may nest them
    /// deeper than [`MAX_DEPTH`]. Not for what an application gives.
    ///
    /// # Errors
    /// [`JsonError::Syntax`] when the value has no JSON form.
    pub fn envelope<T: Serialize + ?Sized>(value: &T) -> Result<Self, JsonError> {
        serde_json::value::to_raw_value(value)
            .map(Self::from_raw)
            .map_err(|error| JsonError::Syntax(error.to_string()))
    }

    /// The JSON text `null`.
    #[must_use]
    pub fn null() -> Self {
        Self("null".into())
    }

    /// Takes a text that was already parsed as JSON.
    #[must_use]
    pub fn from_raw(raw: Box<RawValue>) -> Self {
        Self(Box::<str>::from(raw).into())
    }

    /// Takes a text that was found within JSON.
    pub(crate) fn known(text: &str) -> Self {
        Self(text.into())
    }

    /// Takes what a host's own serialiser wrote, which names no key twice: syntax and depth are
    /// checked.
    ///
    /// # Errors
    /// [`JsonError::Syntax`] or [`JsonError::Depth`].
    pub fn written(text: &str) -> Result<Self, JsonError> {
        if wire::is_nested_within(text, MAX_DEPTH as u8) {
            Ok(Self(text.into()))
        } else if wire::is_json(text) {
            Err(JsonError::Depth)
        } else {
            Err(JsonError::Syntax("no value of valid syntax".into()))
        }
    }

    /// Borrows the text.
    #[must_use]
    pub fn get(&self) -> &str {
        &self.0
    }

    /// Reads the text as a value.
    ///
    /// # Errors
    /// The mismatch, as serde_json words it.
    pub fn to<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.get())
    }

    fn check(text: &str) -> Result<Self, JsonError> {
        let minified = Scanner::default().minify(text)?;
        Ok(Self(minified.into()))
    }
}

/// Copies JSON text of valid syntax without its white space, keeping depth and keys in view.
#[derive(Default)]
struct Scanner {
    /// The keys of each open object; `None` for an open array.
    open: Vec<Option<BinaryHeap<String>>>,
}

impl Scanner {
    fn minify(mut self, text: &str) -> Result<String, JsonError> {
        let bytes = text.as_bytes();
        let mut out = String::with_capacity(text.len());
        let mut at = 0;
        // In an object, a string is a key when it follows `{` or `,`.
        let mut key_next = false;
        while at < bytes.len() {
            let start = at;
            match bytes[at] {
                b' ' | b'\t' | b'\n' | b'\r' => {
                    at += 1;
                    continue;
                }
                b'"' => {
                    at = end_of_string(bytes, at);
                    if key_next {
                        self.see_key(&text[start..at])?;
                        key_next = false;
                    }
                }
                opener @ (b'{' | b'[') => {
                    if self.open.len() == MAX_DEPTH {
                        return Err(JsonError::Depth);
                    }
                    self.open.push((opener == b'{').then(BinaryHeap::new));
                    key_next = opener == b'{';
                    at += 1;
                }
                b'}' | b']' => {
                    self.close()?;
                    key_next = false;
                    at += 1;
                }
                b',' => {
                    key_next = matches!(self.open.last(), Some(Some(_)));
                    at += 1;
                }
                _ => at += 1,
            }
            out.push_str(&text[start..at]);
        }
        Ok(out)
    }

    fn see_key(&mut self, quoted: &str) -> Result<(), JsonError> {
        let Some(key) = unquoted(quoted) else {
            return Err(JsonError::Syntax("half a character".into()));
        };
        if let Some(Some(keys)) = self.open.last_mut() {
            keys.push(key.into_owned());
        }
        Ok(())
    }

    /// Ends an array or object; the keys of an object come in order, repeats behind each other.
    fn close(&mut self) -> Result<(), JsonError> {
        let mut keys = self.open.pop().flatten().unwrap_or_default();
        let mut last = keys.pop();
        while let Some(key) = keys.pop() {
            if last.as_ref() == Some(&key) {
                return Err(JsonError::DuplicateKey(key));
            }
            last = Some(key);
        }
        Ok(())
    }
}

/// The index behind the closing quote of the string that opens at `at`.
fn end_of_string(bytes: &[u8], mut at: usize) -> usize {
    at += 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// What a quoted text of valid syntax says; none for half a character (a lone surrogate).
pub(crate) fn unquoted(quoted: &str) -> Option<Cow<'_, str>> {
    let inner = quoted.strip_prefix('"')?.strip_suffix('"')?;
    if !inner.contains('\\') {
        return Some(Cow::Borrowed(inner));
    }
    let mut out = String::with_capacity(inner.len());
    let mut rest = inner;
    while let Some((before, behind)) = rest.split_once('\\') {
        out.push_str(before);
        let mut used = 1;
        out.push(match behind.as_bytes().first()? {
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let mut code = unit(behind.get(1..5)?)?;
                used = 5;
                if (0xd800..0xdc00).contains(&code) {
                    let low = unit(behind.get(5..)?.strip_prefix("\\u")?.get(..4)?)?;
                    if !(0xdc00..0xe000).contains(&low) {
                        return None;
                    }
                    code = 0x1_0000 + ((code - 0xd800) << 10) + (low - 0xdc00);
                    used = 11;
                }
                char::from_u32(code)?
            }
            other => char::from(*other),
        });
        rest = behind.get(used..)?;
    }
    out.push_str(rest);
    Some(Cow::Owned(out))
}

/// Reads hex digits of either case.
pub(crate) fn unhex(text: &str) -> Option<u128> {
    text.bytes().try_fold(0, |sum: u128, digit| {
        let digit = char::from(digit).to_digit(16)?;
        Some(sum << 4 | u128::from(digit))
    })
}

fn unit(text: &str) -> Option<u32> {
    unhex(text).map(|code| code as u32)
}

/// Writes the last `digits` hex digits of a number.
pub(crate) fn hex(out: &mut String, number: u128, digits: u32) {
    for digit in (0..digits).rev() {
        let digit = (number >> (4 * digit)) as u8 & 15;
        out.push(char::from(if digit < 10 { b'0' + digit } else { b'a' - 10 + digit }));
    }
}

/// Writes a text as JSON, as serde_json writes it.
pub(crate) fn push_quoted(out: &mut String, text: &str) {
    out.push('"');
    let mut rest = text;
    while let Some(at) = rest.bytes().position(|b| b < 0x20 || b == b'"' || b == b'\\') {
        out.push_str(&rest[..at]);
        let byte = rest.as_bytes()[at];
        out.push('\\');
        match byte {
            8 => out.push('b'),
            12 => out.push('f'),
            b'\n' => out.push('n'),
            b'\r' => out.push('r'),
            b'\t' => out.push('t'),
            b'"' | b'\\' => out.push(char::from(byte)),
            _ => {
                out.push('u');
                hex(out, byte.into(), 4);
            }
        }
        rest = &rest[at + 1..];
    }
    out.push_str(rest);
    out.push('"');
}

/// The name by which serde_json knows a value that is JSON text already; a test holds it to that.
const RAW: &str = "$serde_json::private::RawValue";

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct as _;
        let mut raw = serializer.serialize_struct(RAW, 1)?;
        raw.serialize_field(RAW, self.get())?;
        raw.end()
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(deserializer).map(Self::from_raw)
    }
}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.get())
    }
}

impl PartialEq for Json {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl Eq for Json {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_written_as_the_text_it_is() {
        let json = Json::parse(r#"{"a":[1,"x"]}"#).unwrap();
        assert_eq!(
            serde_json::to_string(&[&json, &json]).unwrap(),
            r#"[{"a":[1,"x"]},{"a":[1,"x"]}]"#
        );
        assert_eq!(serde_json::to_value(&json).unwrap(), serde_json::json!({"a": [1, "x"]}));
    }

    #[test]
    fn white_space_goes_and_strings_stay() {
        let json = Json::parse("{ \"a b\" : [ 1 , 2.50 ] ,\n\"c\": \"x \\\" y\" }").unwrap();
        assert_eq!(json.get(), r#"{"a b":[1,2.50],"c":"x \" y"}"#);
    }

    #[test]
    fn a_duplicate_key_is_refused_however_it_is_spelt() {
        let twice = Json::parse(r#"{"a":1,"\u0061":2}"#);
        assert_eq!(twice, Err(JsonError::DuplicateKey("a".into())));
        assert!(Json::parse(r#"{"a":{"a":1},"b":["a","a"]}"#).is_ok());
    }

    #[test]
    fn depth_has_a_bound() {
        let deep = |n| "[".repeat(n) + &"]".repeat(n);
        assert!(Json::parse(&deep(MAX_DEPTH)).is_ok());
        assert_eq!(Json::parse(&deep(MAX_DEPTH + 1)), Err(JsonError::Depth));
        assert!(matches!(Json::parse(&deep(5000)), Err(JsonError::Syntax(_) | JsonError::Depth)));
    }

    #[test]
    fn an_envelope_may_nest_what_is_as_deep_as_may_be() {
        let deep = Json::parse(&("[".repeat(MAX_DEPTH) + &"]".repeat(MAX_DEPTH))).unwrap();
        assert_eq!(Json::of(&[&deep]), Err(JsonError::Depth));
        assert_eq!(Json::envelope(&[&deep]).unwrap().get(), format!("[{}]", deep.get()));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused_and_minifying_keeps_the_meaning(text in ".{0,200}") {
            if let Ok(json) = Json::parse(&text) {
                let (a, b): (serde_json::Value, serde_json::Value) =
                    (json.to().unwrap(), serde_json::from_str(&text).unwrap());
                proptest::prop_assert_eq!(a, b);
            }
        }
    }
}
