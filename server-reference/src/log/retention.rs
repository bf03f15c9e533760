//! How long a log keeps what.

use super::RoomKey;

/// Milliseconds a head outlives its entries, and a producer's record its last use (P-R3, P-S6a).
pub const HEAD_LIFE: u64 = 30 * 24 * 3600 * 1000;
/// Milliseconds an id alone is remembered (P-K5).
pub const ONCE_LIFE: u64 = 10 * 60 * 1000;
/// Keys a `latest` room keeps; beyond, the one changed longest ago goes.
pub const KEYS: usize = 100_000;

/// How long entries are kept, by room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Milliseconds, for rooms without a rule. By default 3600 s.
    pub entries: u64,
    /// The first rule that fits a room decides.
    pub rules: Vec<Rule>,
}

/// One exception.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The namespace; none: any.
    pub namespace: Option<String>,
    /// The room's name behind the slash; none: any.
    pub room: Option<String>,
    /// Milliseconds.
    pub entries: u64,
}

impl Default for Retention {
    /// An hour; a day for commands and their answers (P-S8); revocations as long as a token may
    /// live (P-C6a).
    fn default() -> Self {
        let day = 24 * 3600 * 1000;
        let rule = |room: &str, entries| Rule { namespace: None, room: Some(room.into()), entries };
        Self {
            entries: 3600 * 1000,
            rules: vec![rule("commands", day), rule("~answers", day), rule("~control", HEAD_LIFE)],
        }
    }
}

impl Retention {
    /// The same time for every room.
    #[must_use]
    pub fn uniform(entries: u64) -> Self {
        Self { entries, rules: Vec::new() }
    }

    /// The milliseconds an entry of this room is kept.
    #[must_use]
    pub fn of(&self, room: &RoomKey) -> u64 {
        let fits = |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|w| w == is);
        let rule = self.rules.iter().find(|rule| {
            fits(&rule.namespace, room.room.namespace()) && fits(&rule.room, room.room.room())
        });
        rule.map_or(self.entries, |rule| rule.entries)
    }

    /// The milliseconds a producer's record outlives its last use: never less than the log (P-S6a).
    #[must_use]
    pub fn records(&self) -> u64 {
        self.rules
            .iter()
            .map(|rule| rule.entries)
            .chain([self.entries, HEAD_LIFE])
            .max()
            .unwrap_or(HEAD_LIFE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rule_that_fits_decides() {
        let room = |text: &str| RoomKey { tenant: "t".into(), room: text.parse().unwrap() };
        let mut retention = Retention::default();
        retention.rules.push(Rule { namespace: Some("alerts".into()), room: None, entries: 5 });
        assert_eq!(retention.of(&room("alerts/commands")), 24 * 3600 * 1000);
        assert_eq!(retention.of(&room("alerts/tenant:1")), 5);
        assert_eq!(retention.of(&room("video/camera:1")), 3600 * 1000);
        assert_eq!(retention.records(), HEAD_LIFE);
    }
}
