//! Which commands there are, and what they may take.

use super::*;

/// The commands of one namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// Names of events that are commands; a trailing `*` is any ending.
    pub events: Vec<String>,
    /// The server's own code handles them, not `service` connections.
    pub in_process: bool,
    /// Unanswered commands a handler has at most. Default: 32.
    pub window: usize,
}

impl Namespace {
    /// Commands that `service` connections handle.
    #[must_use]
    pub fn of_services(events: &[&str]) -> Self {
        let events = events.iter().map(|event| (*event).to_owned()).collect();
        Self { events, in_process: false, window: WINDOW as usize }
    }

    /// Commands that the server's own code handles.
    #[must_use]
    pub fn in_process(events: &[&str]) -> Self {
        Self { in_process: true, ..Self::of_services(events) }
    }

    pub(super) fn declares(&self, event: &str) -> bool {
        self.events.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(start) => event.starts_with(start),
            None => pattern == event,
        })
    }
}

/// Which commands there are, and what they may take.
#[derive(Clone, Debug)]
pub struct Config {
    /// By namespace. Default: those of `video` and `alerts`, and whatever comes in `default`,
    /// `monitoring` and `dispatch`.
    pub namespaces: BTreeMap<String, Arc<Namespace>>,
    /// Time to live of a command that names none. Default: 30 s.
    pub ttl: Duration,
    /// Time a handler has. Default: 60 s.
    pub timeout: Duration,
    /// How long results are kept. Default: 24 h.
    pub result_life: Duration,
    /// Results kept per group. Default: 10,000.
    pub results: usize,
    /// Bytes of results kept per group. Default: 16 MiB.
    pub result_bytes: usize,
    /// Unanswered commands per group; past it sends are held. Default: 1,000.
    pub pending: usize,
    /// Bytes of unanswered commands per group. Default: 16 MiB.
    pub pending_bytes: usize,
}

impl Default for Config {
    fn default() -> Self {
        let video = ["start", "stop"]
            .iter()
            .flat_map(|verb| [format!("stream:{verb}"), format!("recording:{verb}")])
            // Older clients name the namespace too.
            .flat_map(|name| [format!("video:{name}"), name])
            .collect();
        let video = Namespace { events: video, ..Namespace::of_services(&[]) };
        let alerts = ["alert:create", "alert:acknowledge", "alert:resolve"];
        // One at a time: each is decided on the state that the one before it left.
        let alerts = Namespace { window: 1, ..Namespace::in_process(&alerts) };
        let any = Namespace::of_services(&["*"]);
        let namespaces = [
            ("video", video),
            ("alerts", alerts),
            ("default", any.clone()),
            ("monitoring", any.clone()),
            ("dispatch", any),
        ];
        Self {
            namespaces: namespaces.map(|(name, spec)| (name.into(), Arc::new(spec))).into(),
            ttl: COMMAND_TTL,
            timeout: COMMAND_TIMEOUT,
            result_life: Duration::from_secs(24 * 3600),
            results: 10_000,
            result_bytes: 16 * 1024 * 1024,
            pending: 1000,
            pending_bytes: 16 * 1024 * 1024,
        }
    }
}
