//! The token, and when to ask for another (P-C6).

use super::backoff::uniform;
use crate::protocol::Token;
use fastrand::Rng;
use std::time::Duration;

/// What a new token is needed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The next attempt.
    Attempt,
    /// The connection that stands.
    Refresh,
}

/// Whether the provider is being asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asking {
    No,
    Yes(Purpose),
    /// The application set a token meanwhile: the answer is not wanted any more.
    Overtaken,
}

/// What the provider's answer came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Nobody waits for it any more.
    Unwanted,
    /// The provider has none, for this purpose.
    Nothing(Purpose),
    /// The token that is there already.
    Same(Purpose),
    /// A new token is there.
    New(Purpose),
}

/// The token and its provider.
#[derive(Clone, Debug)]
pub(super) struct Tokens {
    current: Option<Token>,
    has_provider: bool,
    asking: Asking,
    /// The token the server refused last, and how often in a row it refused one.
    refused: Option<Token>,
    refusals: u32,
}

impl Tokens {
    /// The token to begin with, and whether there is a provider.
    pub(super) fn new(current: Option<Token>, has_provider: bool) -> Self {
        Self { current, has_provider, asking: Asking::No, refused: None, refusals: 0 }
    }

    /// The token for `hello` or `auth`.
    pub(super) fn current(&self) -> Option<&Token> {
        self.current.as_ref()
    }

    /// Whether the provider can be asked.
    pub(super) fn has_provider(&self) -> bool {
        self.has_provider
    }

    /// Whether the token is the one the server refused, or there is none.
    pub(super) fn is_spent(&self) -> bool {
        self.current.is_none() || self.current == self.refused
    }

    /// How often in a row the server refused a token.
    pub(super) fn refusals(&self) -> u32 {
        self.refusals
    }

    /// Asks the provider. True: the host is to be told; false: it is being asked already.
    pub(super) fn ask(&mut self, purpose: Purpose) -> bool {
        match self.asking {
            Asking::No => {
                self.asking = Asking::Yes(purpose);
                true
            }
            Asking::Yes(_) | Asking::Overtaken => {
                self.asking = Asking::Yes(purpose);
                false
            }
        }
    }

    /// The application sets a token. True: it differs.
    pub(super) fn handle_set(&mut self, token: Token) -> bool {
        if self.asking != Asking::No {
            self.asking = Asking::Overtaken;
        }
        let differs = self.current.as_ref() != Some(&token);
        self.current = Some(token);
        // The application may know better than the last refusal.
        self.refused = None;
        differs
    }

    /// The provider answers.
    pub(super) fn handle_answer(&mut self, token: Option<Token>) -> Answer {
        let asking = std::mem::replace(&mut self.asking, Asking::No);
        let Asking::Yes(purpose) = asking else { return Answer::Unwanted };
        match token {
            None => Answer::Nothing(purpose),
            Some(token) if self.current.as_ref() == Some(&token) => Answer::Same(purpose),
            Some(token) => {
                self.current = Some(token);
                Answer::New(purpose)
            }
        }
    }

    /// The provider did not answer in time; what for, if anybody still waits. An answer that comes yet is unwanted.
    pub(super) fn handle_silence(&mut self) -> Option<Purpose> {
        match std::mem::replace(&mut self.asking, Asking::No) {
            Asking::Yes(purpose) => Some(purpose),
            Asking::No | Asking::Overtaken => None,
        }
    }

    /// The server refused the token `hello` or `auth` carried.
    pub(super) fn handle_refused(&mut self, carried: Option<Token>) {
        self.refused = carried;
        self.refusals = self.refusals.saturating_add(1);
    }

    /// The server took the token.
    pub(super) fn handle_taken(&mut self) {
        self.refused = None;
        self.refusals = 0;
    }

    /// A text that came from outside, without any token in it, and of bounded length.
    pub(super) fn scrub(&self, text: &str) -> String {
        const WORDS: usize = 200;
        let mut clean = text.to_owned();
        for token in [&self.current, &self.refused].into_iter().flatten() {
            if !token.expose().is_empty() {
                clean = without(&clean, token.expose());
            }
        }
        clean.chars().filter(|c| !c.is_control()).take(WORDS).collect()
    }
}

/// A text with an ellipsis for each occurrence of a secret.
fn without(text: &str, secret: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        match rest.strip_prefix(secret) {
            Some(behind) => {
                clean.push('…');
                rest = behind;
            }
            None => {
                clean.push(next);
                rest = &rest[next.len_utf8()..];
            }
        }
    }
    clean
}

/// When to refresh a token that lives this long: at 80 % ± 10 % of it.
pub(super) fn refresh_after(life: Duration, rng: &mut Rng) -> Duration {
    uniform(rng, life / 100 * 72, life / 100 * 88)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(text: &str) -> Token {
        text.into()
    }

    #[test]
    fn p_c6_one_question_at_a_time() {
        let mut tokens = Tokens::new(None, true);
        assert!(tokens.ask(Purpose::Refresh));
        assert!(!tokens.ask(Purpose::Attempt));
        assert_eq!(tokens.handle_answer(Some(token("a"))), Answer::New(Purpose::Attempt));
        assert_eq!(tokens.handle_answer(Some(token("b"))), Answer::Unwanted);
        assert_eq!(tokens.current(), Some(&token("a")));
    }

    #[test]
    fn p_c6_an_answer_is_dropped_if_the_application_set_a_token_meanwhile() {
        let mut tokens = Tokens::new(Some(token("old")), true);
        assert!(tokens.ask(Purpose::Refresh));
        assert!(tokens.handle_set(token("set")));
        assert_eq!(tokens.handle_answer(Some(token("asked"))), Answer::Unwanted);
        assert_eq!(tokens.current(), Some(&token("set")));
        assert!(tokens.ask(Purpose::Refresh));
        assert_eq!(tokens.handle_answer(Some(token("set"))), Answer::Same(Purpose::Refresh));
    }

    #[test]
    fn p_c6_a_refused_token_is_spent_until_another_comes() {
        let mut tokens = Tokens::new(Some(token("a")), true);
        assert!(!tokens.is_spent());
        tokens.handle_refused(Some(token("a")));
        tokens.handle_refused(Some(token("a")));
        assert!(tokens.is_spent() && tokens.refusals() == 2);
        assert!(tokens.ask(Purpose::Attempt));
        assert_eq!(tokens.handle_answer(None), Answer::Nothing(Purpose::Attempt));
        tokens.handle_set(token("a"));
        assert!(!tokens.is_spent());
        tokens.handle_taken();
        assert_eq!(tokens.refusals(), 0);
    }

    #[test]
    fn p_c6_refresh_is_at_80_percent() {
        for seed in 0..100 {
            let after = refresh_after(Duration::from_secs(1000), &mut Rng::with_seed(seed));
            assert!((720..=880).contains(&after.as_secs()), "{after:?}");
        }
    }

    #[test]
    fn no_token_in_texts() {
        let tokens = Tokens::new(Some(token("s3cret")), false);
        assert_eq!(tokens.scrub("GET /?token=s3cret\r\n failed"), "GET /?token=… failed");
        assert!(!format!("{tokens:?}").contains("s3cret"));
        assert_eq!(tokens.scrub(&"x".repeat(5000)).len(), 200);
    }
}
