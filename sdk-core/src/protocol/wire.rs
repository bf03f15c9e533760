//! JSON read and written by hand: what a client needs of it, in a few kilobytes of WebAssembly.
//!
//! An object is read as its fields, each still text; a field is read as what it is asked for. Written
//! is what serde_json would write. The server's direction goes through serde.

use super::{
    Address, Code, Cursor, Json, Mark,
    json::{hex, push_quoted, unquoted},
};
use crate::model::{
    ids::{ItemId, ProducerId, UserId},
    presence::Status,
};
use std::{borrow::Cow, cell::Cell};

/// Nesting of what is read; deeper text is malformed.
const MAX_NESTING: u8 = 128;
/// The largest integer that travels.
const MAX_DIGITS: usize = 20;

/// A text that is not what was asked for; names the field, or says what is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

/// The fields of one object, each still JSON text.
///
/// Read them one after the other, then ask [`Fields::check`] whether all were what was asked for: a
/// way out behind each field would be most of the code.
#[derive(Debug)]
pub struct Fields<'a> {
    /// Names as they stand, in quotes, and values.
    list: Vec<(&'a str, &'a str)>,
    /// The first that was absent or something else.
    bad: Cell<Option<&'static str>>,
}

/// What can be read from JSON text of valid syntax.
pub trait FromJson: Sized {
    /// Reads it; none where it is something else.
    fn from_json(text: &str) -> Option<Self>;

    /// Stands in for what could not be read, until [`Fields::check`] says so.
    fn blank() -> Self;
}

impl<'a> Fields<'a> {
    /// Reads an object.
    ///
    /// # Errors
    /// The text is no JSON object.
    pub fn read(text: &'a str) -> Result<Self, Malformed> {
        let mut fields = Vec::new();
        let mut see = |key: Option<&'a str>, value: &'a str| {
            if let Some(key) = key {
                fields.push((key, value));
            }
            Some(())
        };
        let whole = text.trim_matches(BLANK);
        match container(whole, 0, MAX_NESTING, &mut see) {
            Some(end) if end == whole.len() && whole.starts_with('{') => {
                Ok(Self { list: fields, bad: Cell::new(None) })
            }
            _ => Err(Malformed("not a JSON object")),
        }
    }

    /// The text of a field; none where it is absent or null.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&'a str> {
        let (_, text) = self.list.iter().find(|(key, _)| is_name(key, name))?;
        (*text != "null").then_some(*text)
    }

    /// Every field in order: its name as it stands, in quotes, and its text.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.list.iter().copied()
    }

    /// A field that must be there; blank, and noted for [`Fields::check`], where it is absent or
    /// something else.
    pub fn need<T: FromJson>(&self, name: &'static str) -> T {
        self.maybe(name).unwrap_or_else(|| {
            self.note(name);
            T::blank()
        })
    }

    /// A field that may be absent or null; noted for [`Fields::check`] where it is something else.
    pub fn maybe<T: FromJson>(&self, name: &'static str) -> Option<T> {
        let read = T::from_json(self.text(name)?);
        if read.is_none() {
            self.note(name);
        }
        read
    }

    /// A field that has a default; noted for [`Fields::check`] where it is something else.
    pub fn or_default<T: FromJson + Default>(&self, name: &'static str) -> T {
        self.maybe(name).unwrap_or_default()
    }

    /// The JSON text of a field; null where it is absent.
    pub fn data(&self, name: &'static str) -> Json {
        Json::known(self.text(name).unwrap_or("null"))
    }

    fn note(&self, name: &'static str) {
        self.bad.set(self.bad.get().or(Some(name)));
    }

    /// Whether all that was read was what was asked for.
    ///
    /// # Errors
    /// Names the first field that was not.
    pub fn check(&self) -> Result<(), Malformed> {
        self.bad.get().map_or(Ok(()), |name| Err(Malformed(name)))
    }
}

/// A name as it stands, without its quotes.
pub(super) fn bare(quoted: &str) -> &str {
    quoted.get(1..quoted.len() - 1).unwrap_or_default()
}

/// Whether a name as it stands, in quotes, is this one, which has nothing to escape.
fn is_name(quoted: &str, name: &str) -> bool {
    let inner = bare(quoted);
    inner == name || inner.contains('\\') && unquoted(quoted).is_some_and(|key| key == name)
}

/// Reads an object whose fields are all what they have to be; none where one is something else.
pub fn whole<T>(text: &str, read: impl Fn(&Fields<'_>) -> T) -> Option<T> {
    let fields = Fields::read(text).ok()?;
    let object = read(&fields);
    fields.check().is_ok().then_some(object)
}

/// The elements of an array, each still JSON text.
///
/// # Errors
/// The text is no JSON array.
pub fn elements(text: &str) -> Result<Vec<&str>, Malformed> {
    let mut found = Vec::new();
    each_element(text, &mut |element| {
        found.push(element);
        Some(())
    })
    .ok_or(Malformed("not a JSON array"))?;
    Ok(found)
}

/// Shows the elements of an array until one is not wanted; none where that happens, or the text is
/// no array.
fn each_element<'a>(text: &'a str, see: &mut dyn FnMut(&'a str) -> Option<()>) -> Option<()> {
    let whole = text.trim_matches(BLANK);
    let end = container(whole, 0, MAX_NESTING, &mut |_, element| see(element))?;
    (end == whole.len() && whole.starts_with('[')).then_some(())
}

/// Whether a text is one JSON value.
#[must_use]
pub fn is_json(text: &str) -> bool {
    is_nested_within(text, MAX_NESTING)
}

/// Whether a text is one JSON value of at most so many levels.
#[must_use]
pub fn is_nested_within(text: &str, levels: u8) -> bool {
    let whole = text.trim_matches(BLANK);
    value(whole, 0, levels) == Some(whole.len())
}

/// What JSON calls white space.
const BLANK: [char; 4] = [' ', '\t', '\n', '\r'];

type See<'s, 'a> = &'s mut dyn FnMut(Option<&'a str>, &'a str) -> Option<()>;

/// Walks an array or object that opens at `at`; shows its own elements; gives the index behind it.
fn container<'a>(text: &'a str, at: usize, levels: u8, see: See<'_, 'a>) -> Option<usize> {
    let bytes = text.as_bytes();
    let close = match bytes.get(at)? {
        b'{' => b'}',
        b'[' => b']',
        _ => return None,
    };
    let inner = levels.checked_sub(1)?;
    let mut at = blank(bytes, at + 1);
    if *bytes.get(at)? == close {
        return Some(at + 1);
    }
    loop {
        let mut key = None;
        if close == b'}' {
            let end = string(bytes, at)?;
            key = text.get(at..end);
            at = blank(bytes, end);
            if *bytes.get(at)? != b':' {
                return None;
            }
            at = blank(bytes, at + 1);
        }
        let end = value(text, at, inner)?;
        see(key, text.get(at..end)?)?;
        at = blank(bytes, end);
        match bytes.get(at)? {
            b',' => at = blank(bytes, at + 1),
            other if *other == close => return Some(at + 1),
            _ => return None,
        }
    }
}

/// The index behind the value that begins at `at`.
fn value(text: &str, at: usize, levels: u8) -> Option<usize> {
    let bytes = text.as_bytes();
    match bytes.get(at)? {
        b'"' => string(bytes, at),
        b'{' | b'[' => container(text, at, levels, &mut |_, _| Some(())),
        b't' => literal(bytes, at, b"true"),
        b'f' => literal(bytes, at, b"false"),
        b'n' => literal(bytes, at, b"null"),
        _ => number(bytes, at),
    }
}

fn blank(bytes: &[u8], mut at: usize) -> usize {
    while matches!(bytes.get(at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
        at += 1;
    }
    at
}

fn literal(bytes: &[u8], at: usize, word: &[u8]) -> Option<usize> {
    bytes.get(at..)?.starts_with(word).then_some(at + word.len())
}

fn string(bytes: &[u8], mut at: usize) -> Option<usize> {
    if *bytes.get(at)? != b'"' {
        return None;
    }
    at += 1;
    loop {
        match bytes.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => match bytes.get(at + 1)? {
                b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => at += 2,
                b'u' => {
                    let digits = bytes.get(at + 2..at + 6)?;
                    if !digits.iter().all(u8::is_ascii_hexdigit) {
                        return None;
                    }
                    at += 6;
                }
                _ => return None,
            },
            0..0x20 => return None,
            _ => at += 1,
        }
    }
}

fn digits(bytes: &[u8], mut at: usize) -> usize {
    while matches!(bytes.get(at), Some(b'0'..=b'9')) {
        at += 1;
    }
    at
}

fn number(bytes: &[u8], at: usize) -> Option<usize> {
    let first = at + usize::from(bytes.get(at) == Some(&b'-'));
    let mut end = digits(bytes, first);
    if end == first || (bytes[first] == b'0' && end > first + 1) {
        return None;
    }
    if bytes.get(end) == Some(&b'.') {
        let fraction = end + 1;
        end = digits(bytes, fraction);
        if end == fraction {
            return None;
        }
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        let exponent = end + 1 + sign;
        end = digits(bytes, exponent);
        if end == exponent {
            return None;
        }
    }
    Some(end)
}

fn unsigned(text: &str) -> Option<u64> {
    if text.is_empty() || text.len() > MAX_DIGITS {
        return None;
    }
    text.bytes().try_fold(0_u64, |sum, digit| {
        let digit = digit.wrapping_sub(b'0');
        (digit < 10).then_some(())?;
        sum.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

macro_rules! unsigned_from_json {
    ($($name:ident),+) => {$(
        impl FromJson for $name {
            fn from_json(text: &str) -> Option<Self> {
                unsigned(text)?.try_into().ok()
            }

            fn blank() -> Self {
                0
            }
        }
    )+};
}

unsigned_from_json!(u8, u16, u32, u64);

/// A size above what this host can count is its largest: what bounds less than that bounds nothing here.
impl FromJson for usize {
    fn from_json(text: &str) -> Option<Self> {
        unsigned(text).map(|size| size.try_into().unwrap_or(Self::MAX))
    }

    fn blank() -> Self {
        0
    }
}

impl FromJson for bool {
    fn from_json(text: &str) -> Option<Self> {
        match text {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    fn blank() -> Self {
        false
    }
}

impl FromJson for String {
    fn from_json(text: &str) -> Option<Self> {
        unquoted(text).map(Cow::into_owned)
    }

    fn blank() -> Self {
        Self::new()
    }
}

macro_rules! words_from_json {
    ($($name:ty),+) => {$(
        impl FromJson for $name {
            fn from_json(text: &str) -> Option<Self> {
                unquoted(text).map(|word| Self::from(word.into_owned()))
            }

            fn blank() -> Self {
                Self::from(String::new())
            }
        }
    )+};
}

words_from_json!(
    Code,
    UserId,
    crate::model::ids::TenantId,
    crate::model::ids::ConnectionId,
    super::Token
);

macro_rules! parsed_from_json {
    ($($name:ident = $blank:expr,)+) => {$(
        impl FromJson for $name {
            fn from_json(text: &str) -> Option<Self> {
                unquoted(text)?.parse().ok()
            }

            fn blank() -> Self {
                $blank
            }
        }
    )+};
}

parsed_from_json! {
    ItemId = Self(0),
    ProducerId = Self(0),
    Mark = Self(0),
    Address = Self::nowhere(),
}

impl FromJson for Json {
    fn from_json(text: &str) -> Option<Self> {
        Some(Self::known(text))
    }

    fn blank() -> Self {
        Self::null()
    }
}

impl FromJson for Cursor {
    fn from_json(text: &str) -> Option<Self> {
        whole(text, |fields| Self { seq: fields.need("seq"), mark: fields.need("mark") })
    }

    fn blank() -> Self {
        Self { seq: 0, mark: Mark(0) }
    }
}

impl FromJson for Status {
    fn from_json(text: &str) -> Option<Self> {
        Some(match text {
            "\"online\"" => Self::Online,
            "\"away\"" => Self::Away,
            "\"busy\"" => Self::Busy,
            "\"offline\"" => Self::Offline,
            _ => return None,
        })
    }

    fn blank() -> Self {
        Self::Online
    }
}

impl<T: FromJson> FromJson for Vec<T> {
    fn from_json(text: &str) -> Option<Self> {
        let mut all = Self::new();
        each_element(text, &mut |element| {
            all.push(T::from_json(element)?);
            Some(())
        })?;
        Some(all)
    }

    fn blank() -> Self {
        Self::new()
    }
}

/// The word of a presence status.
#[must_use]
pub const fn status_word(status: Status) -> &'static str {
    match status {
        Status::Online => "online",
        Status::Away => "away",
        Status::Busy => "busy",
        Status::Offline => "offline",
    }
}

/// An object being written, or several behind each other.
#[derive(Debug, Default)]
pub struct Writer {
    out: String,
}

impl Writer {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What was written.
    #[must_use]
    pub fn finish(self) -> String {
        self.out
    }

    /// The text so far.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.out
    }

    /// Appends text as it is.
    pub fn push(&mut self, text: &str) {
        self.out.push_str(text);
    }

    /// Begins an element or field: a comma, unless it is the first of what is open.
    pub fn next(&mut self) {
        if !matches!(self.out.as_bytes().last(), None | Some(b'{' | b'[' | b':' | b'\n')) {
            self.out.push(',');
        }
    }

    fn name(&mut self, name: &str) {
        self.next();
        self.out.push('"');
        self.out.push_str(name);
        self.out.push_str("\":");
    }

    /// Begins a field whose value is an object or array: write `open`, its content, then close it.
    pub fn open(&mut self, name: &str, open: char) {
        self.name(name);
        self.out.push(open);
    }

    /// Begins an object or array that has no name.
    pub fn element(&mut self, open: char) {
        self.next();
        self.out.push(open);
    }

    /// Ends an object or array.
    pub fn close(&mut self, close: char) {
        self.out.push(close);
    }

    /// A field that is JSON text.
    pub fn raw(&mut self, name: &str, json: &str) {
        self.name(name);
        self.out.push_str(json);
    }

    /// A field that is a text.
    pub fn text(&mut self, name: &str, text: &str) {
        self.name(name);
        push_quoted(&mut self.out, text);
    }

    /// A field that is a number.
    pub fn number(&mut self, name: &str, number: u64) {
        self.name(name);
        push_number(&mut self.out, number);
    }

    /// A field that is a flag; left out where it is not set.
    pub fn flag(&mut self, name: &str, flag: bool) {
        if flag {
            self.raw(name, "true");
        }
    }

    /// A field of hex digits.
    pub fn hex(&mut self, name: &str, number: u128, digits: u32) {
        self.name(name);
        self.out.push('"');
        hex(&mut self.out, number, digits);
        self.out.push('"');
    }

    /// An id.
    pub fn id(&mut self, name: &str, id: ItemId) {
        self.hex(name, id.0, 32);
    }

    /// A cursor.
    pub fn cursor(&mut self, name: &str, cursor: Cursor) {
        self.open(name, '{');
        self.number("seq", cursor.seq);
        self.hex("mark", cursor.mark.0.into(), 16);
        self.close('}');
    }

    /// An element that is JSON text.
    pub fn raw_element(&mut self, json: &str) {
        self.next();
        self.out.push_str(json);
    }

    /// An element that is a text.
    pub fn text_element(&mut self, text: &str) {
        self.next();
        push_quoted(&mut self.out, text);
    }

    /// An element of hex digits.
    pub fn hex_element(&mut self, number: u128, digits: u32) {
        self.next();
        self.out.push('"');
        hex(&mut self.out, number, digits);
        self.out.push('"');
    }

    /// An element that is a number.
    pub fn number_element(&mut self, number: u64) {
        self.next();
        push_number(&mut self.out, number);
    }
}

/// Writes a number in decimal.
pub fn push_number(out: &mut String, mut number: u64) {
    let mut digits = [0; MAX_DIGITS];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    for digit in &digits[at..] {
        out.push(char::from(*digit));
    }
}

/// Puts texts and numbers together, without the machinery of `format!`.
#[must_use]
pub fn words(before: &str, number: u64, behind: &str) -> String {
    let mut out = String::from(before);
    push_number(&mut out, number);
    out.push_str(behind);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_whatever_is_between() {
        let text = " { \"a\" : 1 , \"b\":{\"a\":[2,{}]},\"c\\u0064\":null,\"e\":\"x\\n\\u00e9\\ud83d\\ude00\" } ";
        let fields = Fields::read(text).unwrap();
        assert_eq!(fields.need::<u64>("a"), 1);
        assert_eq!(fields.text("b"), Some("{\"a\":[2,{}]}"));
        assert_eq!(fields.maybe::<u64>("cd"), None);
        assert_eq!(fields.need::<String>("e"), "x\né😀");
        assert_eq!(fields.check(), Ok(()));
        assert_eq!(fields.need::<u8>("b"), 0);
        assert_eq!(fields.need::<u8>("f"), 0);
        assert_eq!(fields.check(), Err(Malformed("b")));
        assert_eq!(elements("[1, [2], \"]\" ]"), Ok(vec!["1", "[2]", "\"]\""]));
    }

    #[test]
    fn nesting_has_a_bound() {
        let deep = |n: usize| "[".repeat(n) + &"]".repeat(n);
        assert!(is_json(&deep(128)));
        assert!(!is_json(&deep(129)));
        assert!(!is_json(&deep(100_000)));
    }

    proptest::proptest! {
        #[test]
        fn it_accepts_what_serde_json_accepts(text in "[\\[\\]{}:,\"a\\\\u0-9eE.+ tn\\-]{0,24}") {
            let theirs = serde_json::from_str::<&serde_json::value::RawValue>(&text).is_ok();
            proptest::prop_assert_eq!(is_json(&text), theirs);
        }

        #[test]
        fn words_survive(text in ".{0,40}") {
            let mut writer = Writer::new();
            writer.element('{');
            writer.text("x", &text);
            writer.close('}');
            let written = writer.finish();
            let wanted = serde_json::to_string(&std::collections::BTreeMap::from([("x", &text)])).unwrap();
            proptest::prop_assert_eq!(&written, &wanted);
            let read: String = whole(&written, |fields| fields.need("x")).unwrap();
            proptest::prop_assert_eq!(read, text);
        }

        #[test]
        fn numbers_survive(number: u64) {
            let mut out = String::new();
            push_number(&mut out, number);
            proptest::prop_assert_eq!(u64::from_json(&out), Some(number));
            proptest::prop_assert_eq!(out, number.to_string());
        }
    }
}
