//! What this machine really does: CPU, memory, disk and network.

use std::time::Instant;
use sysinfo::{Disks, Networks, System};
use wardline::model::monitoring::{Measure, Metrics};

/// Reads the machine's gauges.
pub struct Gauges {
    system: System,
    disks: Disks,
    networks: Networks,
    read: Instant,
}

impl std::fmt::Debug for Gauges {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Gauges")
    }
}

impl Gauges {
    /// Opens the gauges.
    ///
    /// # Errors
    /// Where the platform has none, in its words.
    pub fn open() -> Result<Self, sysinfo::Error> {
        let mut system = System::new()?;
        system.refresh_cpu_usage();
        let (disks, networks) =
            (Disks::new_with_refreshed_list()?, Networks::new_with_refreshed_list()?);
        Ok(Self { system, disks, networks, read: Instant::now() })
    }

    /// Reads all gauges; rates since the last reading. Leave 200 ms or more between two readings.
    pub fn read(&mut self) -> Metrics {
        self.system.refresh_cpu_usage();
        self.system.refresh_memory();
        self.disks.refresh(true);
        self.networks.refresh(true);
        let seconds = self.read.elapsed().as_secs_f64().max(0.001);
        self.read = Instant::now();
        let (received, sent) = self
            .networks
            .values()
            .fold((0, 0), |(r, s), network| (r + network.received(), s + network.transmitted()));
        let disk = self.disks.iter().max_by_key(|disk| disk.total_space());
        let share =
            |part: u64, whole: u64| (whole > 0).then(|| tenths(part as f64 * 100.0 / whole as f64));
        Metrics {
            source: System::host_name().unwrap_or_else(|_| "this machine".to_owned()),
            cpu: Some(tenths(f64::from(self.system.global_cpu_usage()))),
            memory: share(self.system.used_memory(), self.system.total_memory()),
            disk: disk.and_then(|d| share(d.total_space() - d.available_space(), d.total_space())),
            network_in: Some((received as f64 / seconds).round()),
            network_out: Some((sent as f64 / seconds).round()),
            values: System::load_average()
                .map(|load| Measure {
                    name: "load.1m".to_owned(),
                    value: load.one,
                    unit: String::new(),
                })
                .into_iter()
                .collect(),
            timestamp: None,
        }
    }
}

fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}
