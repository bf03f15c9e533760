//! What a watcher has seen: the state behind the terminal and behind `--check`.

use std::collections::{BTreeMap, VecDeque};
use wardline::model::{
    alert::{Alert, AlertEvent, AlertStatus},
    dispatch::{AssetPosition, DispatchEvent},
    monitoring::{Metrics, MonitoringEvent},
};

/// Readings kept for the curves.
const HISTORY: usize = 120;
/// Alerts and lines kept.
const LINES: usize = 200;

/// Everything on the screen.
#[derive(Debug, Default)]
pub struct Board {
    /// The connection, in words.
    pub connection: String,
    /// CPU readings, percent.
    pub cpu: VecDeque<u64>,
    /// The newest reading.
    pub metrics: Option<Metrics>,
    /// Alerts, newest last.
    pub alerts: Vec<Alert>,
    /// Which alert a key acts on.
    pub selected: usize,
    /// Who is there: user and status.
    pub present: BTreeMap<String, String>,
    /// Where the assets are.
    pub assets: BTreeMap<String, AssetPosition>,
    /// The cameras' pictures.
    pub video: BTreeMap<String, Footage>,
    /// Events by namespace.
    pub counts: BTreeMap<&'static str, u64>,
    /// What happened, newest last.
    pub lines: VecDeque<String>,
    /// Gaps told by the SDK.
    pub gaps: u64,
}

/// Figures of one camera.
#[derive(Clone, Debug, Default)]
pub struct Footage {
    /// Whole pictures received.
    pub pictures: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// The newest picture's number.
    pub last: u32,
    /// Pictures that newer ones replaced on the way.
    pub skipped: u64,
    /// Pictures that came out of order: never, by the protocol.
    pub backward: u64,
}

impl Footage {
    /// Counts a picture.
    pub fn see(&mut self, number: u32, bytes: usize) {
        if self.pictures > 0 {
            if number <= self.last {
                self.backward += 1;
            } else {
                self.skipped += u64::from(number - self.last - 1);
            }
        }
        self.pictures += 1;
        self.bytes += bytes as u64;
        self.last = number;
    }
}

impl Board {
    /// Adds a line.
    pub fn say(&mut self, line: impl Into<String>) {
        if self.lines.len() == LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(line.into());
    }

    /// Counts an event of a namespace.
    pub fn count(&mut self, namespace: &'static str) {
        *self.counts.entry(namespace).or_default() += 1;
    }

    /// Takes in a monitoring event.
    pub fn monitoring(&mut self, event: &MonitoringEvent) {
        self.count("monitoring");
        match event {
            MonitoringEvent::Metrics(metrics) => {
                if self.cpu.len() == HISTORY {
                    self.cpu.pop_front();
                }
                self.cpu.push_back(metrics.cpu.unwrap_or(0.0).round() as u64);
                self.metrics = Some(metrics.clone());
            }
            MonitoringEvent::Threshold(breach) => self.say(format!(
                "threshold: {} is {:.1}, allowed {:.1}",
                breach.metric, breach.value, breach.threshold
            )),
            MonitoringEvent::Service(status) => {
                self.say(format!("service: {} is {:?}", status.service, status.status));
            }
            _ => {}
        }
    }

    /// Takes in an alert event.
    pub fn alert(&mut self, event: &AlertEvent) {
        self.count("alerts");
        let Some(alert) = event.alert() else { return };
        match self.alerts.iter_mut().find(|known| known.id == alert.id) {
            Some(known) => known.clone_from(alert),
            None => {
                if self.alerts.len() == LINES {
                    self.alerts.remove(0);
                    self.selected = self.selected.saturating_sub(1);
                }
                self.alerts.push(alert.clone());
            }
        }
        let by = match alert.status {
            AlertStatus::Acknowledged => &alert.acknowledged_by,
            AlertStatus::Resolved => &alert.resolved_by,
            _ => &alert.created_by,
        };
        let by = by.as_ref().map(|user| format!(" by {user}")).unwrap_or_default();
        let status = format!("{:?}", alert.status).to_lowercase();
        self.say(format!("alert {status}{by}: {}", alert.title));
    }

    /// Takes in a dispatch event.
    pub fn dispatch(&mut self, event: &DispatchEvent) {
        self.count("dispatch");
        if let DispatchEvent::AssetPositionUpdated(position) = event {
            self.assets.insert(position.asset_id.to_string(), position.clone());
        }
    }

    /// The alert a key acts on.
    #[must_use]
    pub fn chosen(&self) -> Option<&Alert> {
        self.alerts.get(self.selected)
    }

    /// Alerts that no one resolved.
    pub fn open_alerts(&self) -> impl Iterator<Item = &Alert> {
        self.alerts.iter().filter(|alert| alert.status != AlertStatus::Resolved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn footage_tells_skipped_from_backward() {
        let mut footage = Footage::default();
        for number in [5, 6, 9, 8] {
            footage.see(number, 10);
        }
        assert_eq!((footage.pictures, footage.skipped, footage.backward), (4, 2, 1));
    }
}
