//! Filters of a membership: one form, one function for live and replay (P-R10).

use super::{json::unquoted, wire};
use crate::{model::monitoring::kind_has, table::sort_short};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// Clauses of a filter.
pub const MAX_CLAUSES: usize = 16;
/// Words in one field of a clause.
pub const MAX_WORDS: usize = 64;
/// Bytes of one word.
pub const MAX_WORD: usize = 128;

/// A list of clauses joined by OR; the empty list passes everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Filter(pub Vec<Clause>);

/// Fields joined by AND; an empty or absent field passes everything. An event whose data lacks
/// the field passes only an absent one.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Clause {
    /// Event names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<String>,
    /// Values of `data.type`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub types: Vec<String>,
    /// Values of `data.severity`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub severities: Vec<String>,
    /// Kinds of the monitoring namespace, each a set of events.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kinds: Vec<String>,
}

/// A filter with too many clauses or words, or words too long: error code `bad_filter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a filter has at most {MAX_CLAUSES} clauses of {MAX_WORDS} words of {MAX_WORD} bytes")]
pub struct BadFilter;

/// The two fields of `data` that filters look at.
#[derive(Default)]
struct Fields<'a> {
    kind: Option<Cow<'a, str>>,
    severity: Option<Cow<'a, str>>,
}

impl<'a> Fields<'a> {
    fn read(data: &'a str) -> Self {
        let Ok(fields) = wire::Fields::read(data) else { return Self::default() };
        let word = |name| fields.text(name).and_then(unquoted);
        Self { kind: word("type"), severity: word("severity") }
    }
}

impl Filter {
    /// Sorts, removes repeats and what another clause covers, so that equal filters are equal values.
    ///
    /// # Errors
    /// [`BadFilter`] past the bounds.
    pub fn canonical(mut self) -> Result<Self, BadFilter> {
        if self.0.len() > MAX_CLAUSES {
            return Err(BadFilter);
        }
        for clause in &mut self.0 {
            for words in
                [&mut clause.events, &mut clause.types, &mut clause.severities, &mut clause.kinds]
            {
                if words.iter().any(|word| word.len() > MAX_WORD) {
                    return Err(BadFilter);
                }
                // A list that is too long is not sorted; a repeat counts as well.
                if words.len() > MAX_WORDS {
                    return Err(BadFilter);
                }
                sort_short(words);
            }
        }
        if self.0.contains(&Clause::default()) {
            self.0.clear();
        }
        sort_short(&mut self.0);
        Ok(self)
    }

    /// Whether everything passes.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether an event passes. `data` is the event's JSON text.
    #[must_use]
    pub fn passes(&self, event: &str, data: &str) -> bool {
        if self.is_everything() {
            return true;
        }
        let looks_inside =
            self.0.iter().any(|clause| !clause.types.is_empty() || !clause.severities.is_empty());
        let fields = if looks_inside { Fields::read(data) } else { Fields::default() };
        self.0.iter().any(|clause| clause.passes(event, &fields))
    }

    /// The filter that passes what either passes.
    ///
    /// # Errors
    /// [`BadFilter`] when the union is past the bounds.
    pub fn union(&self, other: &Self) -> Result<Self, BadFilter> {
        if self.is_everything() || other.is_everything() {
            return Ok(Self::default());
        }
        Self(self.0.iter().chain(&other.0).cloned().collect()).canonical()
    }
}

impl Clause {
    fn passes(&self, event: &str, fields: &Fields<'_>) -> bool {
        let holds = |words: &[String], value: Option<&str>| {
            words.is_empty() || value.is_some_and(|value| words.iter().any(|word| word == value))
        };
        holds(&self.events, Some(event))
            && holds(&self.types, fields.kind.as_deref())
            && holds(&self.severities, fields.severity.as_deref())
            && (self.kinds.is_empty() || self.kinds.iter().any(|kind| kind_has(kind, event)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(text: &str) -> Filter {
        serde_json::from_str::<Filter>(text).unwrap().canonical().unwrap()
    }

    #[test]
    fn clauses_are_or_fields_are_and() {
        let f = filter(r#"[{"types":["fire"],"severities":["high"]},{"events":["x"]}]"#);
        assert!(f.passes("alert:created", r#"{"type":"fire","severity":"high"}"#));
        assert!(!f.passes("alert:created", r#"{"type":"fire","severity":"low"}"#));
        assert!(!f.passes("alert:created", r#"{"severity":"high"}"#));
        assert!(!f.passes("alert:created", r#"[]"#));
        assert!(f.passes("x", "null"));
        assert!(filter("[]").passes("any", "1"));
        assert!(filter(r#"[{},{"events":["x"]}]"#).is_everything());
    }
}
