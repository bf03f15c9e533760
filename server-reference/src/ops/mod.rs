//! Figures, logs and health: what an operator sees.

mod telemetry;

pub use telemetry::init as init_tracing;

use crate::hub::{AuthError, Hook};
use metrics::{Counter, Gauge, Histogram, Key, Label, Metadata, Recorder};
use metrics_exporter_prometheus::{
    Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};
use wardline::model::ids::TenantId;

/// Tenants with a label of their own; more are counted together.
const TENANT_LABELS: usize = 1000;
/// The label they share.
const OTHER: &str = "~other";
const LATENCY_MS: [f64; 12] =
    [0.5, 1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 5000.0];

static METADATA: Metadata<'static> =
    Metadata::new("wardline", metrics::Level::INFO, Some("wardline_server"));

/// The figures of one server, in a registry of its own.
pub(crate) struct Ops {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    connections: Counter,
    sent: Counter,
    received: Counter,
    latency: Histogram,
    rooms: Gauge,
    subscriptions: Gauge,
    lag: Gauge,
    tenants: Mutex<BTreeMap<String, Gauge>>,
}

impl Ops {
    pub(crate) fn new() -> Self {
        let builder = PrometheusBuilder::new();
        // The buckets are not empty, which is the one error there is.
        let recorder = builder
            .set_buckets_for_metric(
                Matcher::Full("websocket_message_latency_ms".to_owned()),
                &LATENCY_MS,
            )
            .unwrap_or_else(|_| PrometheusBuilder::new())
            .build_recorder();
        let handle = recorder.handle();
        for (name, words) in [
            ("websocket_active_connections", "Connections welcomed and not ended"),
            ("websocket_active_rooms", "Rooms with at least one member"),
            ("websocket_room_subscriptions", "Memberships of rooms"),
            ("websocket_redis_latency_ms", "Redis round trip; 0 without Redis"),
            ("websocket_event_loop_lag_ms", "How late a timer of the runtime fires"),
        ] {
            recorder.describe_gauge(name.into(), None, words.into());
        }
        for (name, words) in [
            ("websocket_connections_total", "Connections welcomed"),
            ("websocket_messages_sent_total", "Messages handed to sockets"),
            ("websocket_messages_received_total", "Messages read from sockets"),
            ("websocket_errors_total", "Refusals, failures and closes by the server"),
        ] {
            recorder.describe_counter(name.into(), None, words.into());
        }
        recorder.describe_histogram(
            "websocket_message_latency_ms".into(),
            None,
            "From acceptance to handing to the members' sockets".into(),
        );
        let counter =
            |name: &'static str| recorder.register_counter(&Key::from_static_name(name), &METADATA);
        let gauge =
            |name: &'static str| recorder.register_gauge(&Key::from_static_name(name), &METADATA);
        let ops = Self {
            connections: counter("websocket_connections_total"),
            sent: counter("websocket_messages_sent_total"),
            received: counter("websocket_messages_received_total"),
            latency: recorder.register_histogram(
                &Key::from_static_name("websocket_message_latency_ms"),
                &METADATA,
            ),
            rooms: gauge("websocket_active_rooms"),
            subscriptions: gauge("websocket_room_subscriptions"),
            lag: gauge("websocket_event_loop_lag_ms"),
            tenants: Mutex::default(),
            handle,
            recorder,
        };
        // Named from the start, so that a dashboard finds them.
        for counter in [&ops.connections, &ops.sent, &ops.received] {
            counter.increment(0);
        }
        let redis = Key::from_static_name("websocket_redis_latency_ms");
        ops.recorder.register_gauge(&redis, &METADATA).set(0.0);
        ops.lag.set(0.0);
        ops.error("none", 0);
        ops
    }

    pub(crate) fn error(&self, kind: &str, count: u64) {
        let key = labelled("websocket_errors_total", &[("type", kind)]);
        self.recorder.register_counter(&key, &METADATA).increment(count);
    }

    /// The server ended a connection with this code.
    pub(crate) fn closed(&self, code: u16) {
        self.error(&format!("close_{code}"), 1);
    }

    pub(crate) fn sent(&self, count: u64) {
        if count > 0 {
            self.sent.increment(count);
        }
    }

    pub(crate) fn received(&self, count: u64) {
        if count > 0 {
            self.received.increment(count);
        }
    }

    pub(crate) fn latency(&self, ms: u64) {
        // Milliseconds of a message's way are far below 2^52.
        #[allow(clippy::cast_precision_loss)]
        self.latency.record(ms as f64);
    }

    pub(crate) fn lag(&self, ms: f64) {
        self.lag.set(ms);
        // Histograms gather samples until someone reads them.
        self.handle.run_upkeep();
    }

    /// The Prometheus text; connections, rooms and memberships as the hubs count them.
    pub(crate) fn render(
        &self,
        tenants: &BTreeMap<TenantId, usize>,
        rooms: usize,
        subscriptions: usize,
    ) -> String {
        self.count(tenants);
        #[allow(clippy::cast_precision_loss)]
        {
            self.rooms.set(rooms as f64);
            self.subscriptions.set(subscriptions as f64);
        }
        self.handle.render()
    }

    /// Sets the gauge of every tenant there is or was.
    #[allow(clippy::cast_precision_loss)]
    fn count(&self, now: &BTreeMap<TenantId, usize>) {
        let mut gauges = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, gauge) in gauges.iter() {
            if !now.contains_key(&TenantId::from(name.as_str())) {
                gauge.set(0.0);
            }
        }
        let mut other = 0;
        for (tenant, count) in now {
            let name = tenant.as_str();
            if gauges.len() >= TENANT_LABELS && !gauges.contains_key(name) {
                other += count;
                continue;
            }
            let gauge = gauges.entry(name.to_owned()).or_insert_with(|| self.tenant(name));
            gauge.set(*count as f64);
        }
        if other > 0 {
            self.tenant(OTHER).set(other as f64);
        }
    }

    fn tenant(&self, name: &str) -> Gauge {
        let key =
            labelled("websocket_active_connections", &[("tenant", name), ("status", "connected")]);
        self.recorder.register_gauge(&key, &METADATA)
    }

    pub(crate) fn hook(&self, hook: &Hook) {
        match hook {
            Hook::Connected(id, principal) => {
                self.connections.increment(1);
                tracing::info!(
                    connection = id.0,
                    tenant = %principal.tenant,
                    user = %principal.user,
                    "connected"
                );
            }
            Hook::Disconnected(id, principal, code) => {
                let user = principal.as_ref().map(|principal| principal.user.as_str());
                let tenant = principal.as_ref().map(|principal| principal.tenant.as_str());
                tracing::info!(connection = id.0, tenant, user, code, "disconnected");
            }
            Hook::AuthFailed(id, error) => {
                self.error(auth_word(*error), 1);
                tracing::warn!(connection = id.0, reason = auth_word(*error), "not let in");
            }
            Hook::Joined(id, who, room) => {
                tracing::debug!(connection = id.0, tenant = %who.tenant, %room, "joined");
            }
            Hook::Left(id, who, room) => {
                tracing::debug!(connection = id.0, tenant = %who.tenant, %room, "left");
            }
            Hook::Sent(sent) => {
                let (room, event) = (&sent.room, &sent.event);
                tracing::trace!(connection = sent.connection.0, %room, %event, "accepted");
            }
            Hook::Command(tenant, room, entry) => {
                tracing::debug!(%tenant, %room, event = %entry.event, "command");
            }
            Hook::Refused(id, _, code) => {
                self.error(code.as_str(), 1);
                tracing::debug!(connection = id.0, %code, "refused");
            }
        }
    }
}

fn labelled(name: &'static str, labels: &[(&'static str, &str)]) -> Key {
    let labels: Vec<Label> =
        labels.iter().map(|(key, value)| Label::new(*key, (*value).to_owned())).collect();
    Key::from_parts(name, labels)
}

fn auth_word(error: AuthError) -> &'static str {
    match error {
        AuthError::Missing => "token_missing",
        AuthError::Invalid => "token_invalid",
        AuthError::Expired => "token_expired",
        AuthError::Revoked => "token_revoked",
        AuthError::TenantInactive => "tenant_inactive",
        AuthError::Unavailable => "keys_unavailable",
    }
}

/// ISO 8601 in UTC of ms since 1970, as `/health` and `/stats` give times.
#[must_use]
pub fn iso8601(ms: u64) -> String {
    let (days, rest) = (ms / 86_400_000, ms % 86_400_000);
    // Days since 0000-03-01, in eras of 400 years (H. Hinnant, "chrono-compatible date algorithms").
    let z = days + 719_468;
    let (era, day_of_era) = (z / 146_097, z % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (seconds, millis) = (rest / 1000, rest % 1000);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{millis:03}Z",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}

#[cfg(test)]
mod tests {
    use super::iso8601;

    #[test]
    fn times_are_iso_8601() {
        assert_eq!(iso8601(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(iso8601(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(iso8601(1_767_225_599_999), "2025-12-31T23:59:59.999Z");
    }
}
