//! The machine's gauges as metrics, and alerts raised and resolved from them.

use crate::gauges::Gauges;
use std::time::Duration;
use tokio::time::MissedTickBehavior;
use wardline::{
    client::{Client, Error},
    model::{
        alert::{NewAlert, Severity},
        ids::AlertId,
        monitoring::{Measure, Metrics, MonitoringEvent, Threshold},
    },
};

/// The name of the value that counts readings, so that a reader can tell whether one is missing.
pub const COUNTER: &str = "reading";

/// Publishes a reading each `interval`, for ever.
pub(super) async fn run(
    client: &Client,
    room: &str,
    cpu_limit: f64,
    interval: Duration,
) -> Result<(), Error> {
    let mut gauges = match Gauges::open() {
        Ok(gauges) => gauges,
        Err(error) => {
            tracing::warn!(%error, "this platform has no gauges");
            return std::future::pending().await;
        }
    };
    let mut watches =
        [Watch::new("cpu", cpu_limit), Watch::new("memory", 90.0), Watch::new("disk", 95.0)];
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for number in 1_u64.. {
        ticks.tick().await;
        let mut metrics = gauges.read();
        metrics.values.push(Measure {
            name: COUNTER.into(),
            value: number as f64,
            unit: String::new(),
        });
        let values = [metrics.cpu, metrics.memory, metrics.disk];
        let source = metrics.source.clone();
        publish(client, room, MonitoringEvent::Metrics(metrics)).await?;
        for (watch, value) in watches.iter_mut().zip(values) {
            if let Some(value) = value {
                watch.look(client, room, &source, value).await?;
            }
        }
    }
    Ok(())
}

async fn publish(client: &Client, room: &str, event: MonitoringEvent) -> Result<(), Error> {
    client.monitoring().publish(room, &event).await?;
    Ok(())
}

/// One gauge and the alert it raised.
struct Watch {
    metric: &'static str,
    limit: f64,
    breached: bool,
    alert: Option<tokio::task::JoinHandle<Option<AlertId>>>,
}

impl Watch {
    fn new(metric: &'static str, limit: f64) -> Self {
        Self { metric, limit, breached: false, alert: None }
    }

    /// Raises an alert past the limit, resolves it a tenth below.
    async fn look(
        &mut self,
        client: &Client,
        room: &str,
        source: &str,
        value: f64,
    ) -> Result<(), Error> {
        if !self.breached && value > self.limit {
            self.breached = true;
            let threshold = Threshold {
                metric: self.metric.into(),
                source: Some(source.into()),
                value,
                threshold: self.limit,
                severity: Some(Severity::High),
                timestamp: None,
            };
            publish(client, room, MonitoringEvent::Threshold(threshold)).await?;
            let alert = NewAlert {
                kind: "threshold".into(),
                severity: Severity::High,
                title: format!(
                    "{} of {source} at {value:.1} %, above {:.0} %",
                    self.metric, self.limit
                ),
                description: None,
                source: Some(source.into()),
                metadata: None,
                room: None,
            };
            // Not awaited here: while the server is away the readings go on being queued.
            let alerts = client.alerts();
            self.alert = Some(tokio::spawn(async move {
                match alerts.create(alert).await {
                    Ok(alert) => Some(alert.id),
                    Err(error) => {
                        tracing::warn!(%error, "the alert was not raised");
                        None
                    }
                }
            }));
        } else if self.breached && value < self.limit * 0.9 {
            self.breached = false;
            if let Some(raised) = self.alert.take() {
                let (alerts, note) = (client.alerts(), format!("back at {value:.1} %"));
                tokio::spawn(async move {
                    if let Ok(Some(id)) = raised.await
                        && let Err(error) = alerts.resolve(id, Some(note)).await
                    {
                        tracing::warn!(%error, "the alert was not resolved");
                    }
                });
            }
        }
        Ok(())
    }
}

/// The number of a reading.
#[must_use]
pub fn number(metrics: &Metrics) -> Option<u64> {
    metrics.values.iter().find(|value| value.name == COUNTER).map(|value| value.value as u64)
}
