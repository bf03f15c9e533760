//! Metrics, services, thresholds and security events.

/// Which events a kind of `subscribeToEvents(kinds)` stands for. A trailing `*` is any ending.
pub const KINDS: &[(&str, &[&str])] = &[
    ("metrics", &["metrics:update"]),
    ("services", &["service:status"]),
    ("thresholds", &["threshold:breached"]),
    ("security:events", &["security:event"]),
    ("incidents", &["incident_*"]),
    ("all", &["*"]),
];

/// Whether an event belongs to a kind. A kind that is no row of [`KINDS`] names one event.
#[must_use]
pub fn kind_has(kind: &str, event: &str) -> bool {
    let named = |pattern: &&str| match pattern.strip_suffix('*') {
        Some(start) => event.starts_with(start),
        None => *pattern == event,
    };
    match KINDS.iter().find(|(known, _)| *known == kind) {
        Some((_, patterns)) => patterns.iter().any(named),
        None => kind == event,
    }
}

#[cfg(test)]
mod tests {
    use super::kind_has;

    #[test]
    fn kinds_stand_for_events() {
        assert!(kind_has("incidents", "incident_updated"));
        assert!(!kind_has("incidents", "incident"));
        assert!(kind_has("security:events", "security:event"));
        assert!(kind_has("service:status", "service:status"));
        assert!(!kind_has("metrics", "service:status"));
    }
}
