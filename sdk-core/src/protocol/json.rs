//! One JSON text, checked and minified where it enters, then stored and spliced as it is (P-F1).

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned};
use serde_json::value::RawValue;
use std::{collections::BTreeSet, fmt, sync::Arc};

/// The deepest nesting of arrays and objects that is accepted (P-F1).
pub const MAX_DEPTH: usize = 32;

/// A shared JSON text without a raw line feed. Cheap to clone.
#[derive(Clone)]
pub struct Json(Arc<RawValue>);

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

impl Json {
    /// Checks a text (syntax, depth ≤ 32, no duplicate keys) and removes white space.
    ///
    /// # Errors
    /// [`JsonError`] says which rule of P-F1 the text breaks.
    pub fn parse(text: &str) -> Result<Self, JsonError> {
        let raw: &RawValue =
            serde_json::from_str(text).map_err(|error| JsonError::Syntax(error.to_string()))?;
        Self::check(raw.get())
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
        Self::parse(&text)
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
        Self(RawValue::NULL.to_owned().into())
    }

    /// Takes a text that was already parsed as JSON.
    #[must_use]
    pub fn from_raw(raw: Box<RawValue>) -> Self {
        Self(raw.into())
    }

    /// Borrows the text.
    #[must_use]
    pub fn get(&self) -> &str {
        self.0.get()
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
        let raw = RawValue::from_string(minified)
            .map_err(|error| JsonError::Syntax(error.to_string()))?;
        Ok(Self(raw.into()))
    }
}

/// Copies JSON text of valid syntax without its white space, keeping depth and keys in view.
#[derive(Default)]
struct Scanner {
    /// One set of keys for each open object; `None` for an open array.
    open: Vec<Option<BTreeSet<String>>>,
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
                    self.open.push((opener == b'{').then(BTreeSet::new));
                    key_next = opener == b'{';
                    at += 1;
                }
                b'}' | b']' => {
                    self.open.pop();
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
        let key: String =
            serde_json::from_str(quoted).map_err(|error| JsonError::Syntax(error.to_string()))?;
        match self.open.last_mut() {
            Some(Some(keys)) if keys.contains(&key) => Err(JsonError::DuplicateKey(key)),
            Some(Some(keys)) => {
                keys.insert(key);
                Ok(())
            }
            _ => Ok(()),
        }
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

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(deserializer).map(|raw| Self(raw.into()))
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
