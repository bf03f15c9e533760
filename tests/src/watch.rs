//! Listens to everything the process logs: an ERROR that no test expects fails the tests, and so does
//! a secret in any line, whatever its level.
//!
//! A test that starts a server calls [`begin`], names what must stay hidden with [`secret`], hands
//! any other text that leaves the server to [`scan`], and asks [`findings`] at its end. Servers of
//! several tests share a process, so a finding may fail another test than the one that caused it;
//! its words tell.

use std::{
    collections::BTreeSet,
    fmt::{Debug, Write},
    sync::{Mutex, MutexGuard, Once, PoisonError},
};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{
    Layer,
    layer::{Context, SubscriberExt},
};

/// How secrets are known that nobody named: the beginning of every JWT.
const JWT: &str = "eyJ";

#[derive(Debug)]
struct Watch {
    secrets: BTreeSet<String>,
    expected: BTreeSet<String>,
    found: Vec<String>,
}

static WATCH: Mutex<Watch> =
    Mutex::new(Watch { secrets: BTreeSet::new(), expected: BTreeSet::new(), found: Vec::new() });

fn watch() -> MutexGuard<'static, Watch> {
    WATCH.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Begins to listen; once per process is enough.
pub fn begin() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // Who set another subscriber before hears for himself.
        let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry().with(Ear));
    });
}

/// From now on this text must not be seen, nor the last part of it where it is a token.
pub fn secret(text: &str) {
    let mut watch = watch();
    watch.secrets.insert(text.to_owned());
    if let Some((_, signature)) = text.rsplit_once('.') {
        watch.secrets.insert(signature.to_owned());
    }
}

/// An ERROR whose line contains these words is expected.
pub fn expect(words: &str) {
    watch().expected.insert(words.to_owned());
}

/// Looks for secrets in a text that left the server: an answer, an error, a frame, a file.
pub fn scan(what: &str, text: &str) {
    let mut watch = watch();
    if let Some(secret) = leak(&watch.secrets, text) {
        let words = format!("{what} holds {secret:?}: {text:.400}");
        watch.found.push(words);
    }
}

/// What was found since the last time this was asked.
#[must_use]
pub fn findings() -> Vec<String> {
    std::mem::take(&mut watch().found)
}

fn leak<'a>(secrets: &'a BTreeSet<String>, text: &str) -> Option<&'a str> {
    let named = secrets.iter().map(String::as_str).filter(|secret| secret.len() >= 8);
    named.chain([JWT]).find(|secret| text.contains(secret))
}

struct Ear;

impl Ear {
    fn hear(metadata: &Metadata<'_>, words: &Words) {
        let line = format!("{} {}{}", metadata.level(), metadata.target(), words.0);
        let mut watch = watch();
        if let Some(secret) = leak(&watch.secrets, &line) {
            let words = format!("a log line holds {secret:?}: {line}");
            watch.found.push(words);
        }
        let foreseen = watch.expected.iter().any(|words| line.contains(words.as_str()));
        if *metadata.level() == Level::ERROR && !foreseen {
            watch.found.push(format!("an error was logged: {line}"));
        }
    }
}

impl<S: Subscriber> Layer<S> for Ear {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        // What libraries say at their finest level is their own affair, and much.
        metadata.target().starts_with("wardline") || *metadata.level() <= Level::DEBUG
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut words = Words::default();
        event.record(&mut words);
        Self::hear(event.metadata(), &words);
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, _: &Id, _: Context<'_, S>) {
        let mut words = Words::default();
        attributes.record(&mut words);
        scan("a span", &words.0);
    }

    fn on_record(&self, _: &Id, record: &Record<'_>, _: Context<'_, S>) {
        let mut words = Words::default();
        record.record(&mut words);
        scan("a span", &words.0);
    }
}

#[derive(Default)]
struct Words(String);

impl Visit for Words {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // Writing to memory does not fail.
        let _ = write!(self.0, " {}={value:?}", field.name());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let _ = write!(self.0, " {}={value}", field.name());
    }
}
