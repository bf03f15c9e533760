//! `wardline-demo --check`: the demo without a terminal, with a restart in the middle.

use crate::{
    board::Footage,
    site::{camera_name, readings},
    stage::Stage,
    watch::{Update, watch},
};
use std::{collections::BTreeMap, fmt, path::Path, time::Duration};
use tokio::time::{Instant, timeout_at};
use wardline::{
    client::Client,
    model::{
        alert::{AlertEvent, NewAlert, Severity},
        monitoring::MonitoringEvent,
        video::{Quality, VideoEvent},
    },
    protocol::Cursor,
};

/// What a check found.
#[derive(Debug, Default)]
pub struct Findings {
    events: BTreeMap<&'static str, Seen>,
    readings: Seen,
    footage: BTreeMap<String, Footage>,
    /// Pictures seen after the restart.
    pictures_after: u64,
    steps: BTreeMap<&'static str, u64>,
    restarts: u32,
    gaps: u64,
    recording: u64,
    failures: Vec<String>,
}

/// Numbers that must follow each other.
#[derive(Debug, Default)]
struct Seen {
    count: u64,
    last: Option<u64>,
    missing: u64,
    repeated: u64,
}

impl Seen {
    fn see(&mut self, number: u64) {
        self.count += 1;
        if let Some(last) = self.last {
            if number <= last {
                self.repeated += 1;
                return;
            }
            self.missing += number - last - 1;
        }
        self.last = Some(number);
    }
}

impl Findings {
    fn take(&mut self, update: Update) {
        match update {
            Update::Monitoring(cursor, event) => {
                if let MonitoringEvent::Metrics(metrics) = &event
                    && let Some(number) = readings::number(metrics)
                {
                    self.readings.see(number);
                }
                self.event("monitoring", cursor);
            }
            Update::Alert(cursor, event) => {
                let step = match event {
                    AlertEvent::Created(_) => "created",
                    AlertEvent::Acknowledged(_) => "acknowledged",
                    AlertEvent::Resolved(_) => "resolved",
                    _ => "updated",
                };
                *self.steps.entry(step).or_default() += 1;
                self.event("alerts", cursor);
            }
            Update::Dispatch(cursor, _) => self.event("dispatch", cursor),
            Update::Video(cursor, event) => {
                if let VideoEvent::RecordingStopped(recording) = event {
                    self.recording = recording.size.unwrap_or(0);
                }
                self.event("video", cursor);
            }
            Update::Picture(camera, picture) => {
                self.footage.entry(camera).or_default().see(picture.seq, picture.data.len());
                self.pictures_after += u64::from(self.restarts > 0);
            }
            Update::Gap(_) => self.gaps += 1,
            Update::Client(_) | Update::Presence(_) => {}
        }
    }

    fn event(&mut self, namespace: &'static str, cursor: Option<Cursor>) {
        let seen = self.events.entry(namespace).or_default();
        if let Some(cursor) = cursor {
            seen.see(cursor.seq);
        }
    }

    fn pictures(&self) -> u64 {
        self.footage.values().map(|footage| footage.pictures).sum()
    }

    /// What is wrong, in words.
    fn judge(&mut self) {
        let mut wrong = |bad: bool, words: String| {
            if bad {
                self.failures.push(words);
            }
        };
        for namespace in ["monitoring", "alerts", "dispatch", "video"] {
            let seen = self.events.get(namespace);
            wrong(seen.is_none_or(|seen| seen.count == 0), format!("no event of {namespace}"));
            if let Some(seen) = seen {
                wrong(seen.missing > 0, format!("{} events of {namespace} missing", seen.missing));
                wrong(
                    seen.repeated > 0,
                    format!("{} events of {namespace} doubled", seen.repeated),
                );
            }
        }
        wrong(self.readings.missing > 0, format!("{} readings missing", self.readings.missing));
        wrong(self.readings.repeated > 0, format!("{} readings doubled", self.readings.repeated));
        wrong(self.gaps > 0, format!("{} gaps", self.gaps));
        wrong(self.pictures_after == 0, "no picture after the restart".into());
        wrong(self.recording == 0, "no recording was finished".into());
        for step in ["created", "acknowledged", "resolved"] {
            wrong(!self.steps.contains_key(step), format!("no alert was {step}"));
        }
        for (camera, footage) in &self.footage {
            wrong(
                footage.backward > 0,
                format!("{camera}: {} pictures out of order", footage.backward),
            );
        }
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.failures.is_empty() { "ok" } else { "FAILED" };
        write!(f, "demo: {verdict}:")?;
        for (namespace, seen) in &self.events {
            write!(f, " {namespace} {},", seen.count)?;
        }
        let missing: u64 = self.events.values().map(|seen| seen.missing).sum();
        let doubled: u64 = self.events.values().map(|seen| seen.repeated).sum();
        write!(
            f,
            " pictures {}, readings {}, recording {} bytes, restarts {}, gaps {}, missing {missing}, doubled {doubled}",
            self.pictures(),
            self.readings.count,
            self.recording,
            self.restarts,
            self.gaps
        )?;
        for failure in &self.failures {
            write!(f, "; {failure}")?;
        }
        Ok(())
    }
}

/// Runs for `span` with a restart in the middle; true where nothing was lost.
///
/// # Errors
/// A part does not start.
pub async fn run(folder: &Path, span: Duration) -> Result<(Findings, bool), String> {
    let words = |error: &dyn fmt::Display| error.to_string();
    let mut stage = Stage::new(folder).map_err(|e| words(&e))?;
    stage.start_server().await.map_err(|e| words(&e))?;
    // A limit that any machine passes, so that a threshold is breached.
    stage.start_site(&["--cpu-limit", "0.1"]).await.map_err(|e| words(&e))?;
    let token = stage.token("operator", &[]).await.map_err(|e| words(&e))?;
    let client = Client::builder(stage.url())
        .token(token.as_str())
        .storage(folder.join("operator.db"))
        .build()
        .map_err(|e| words(&e))?;
    let mut updates = watch(&client, 2).await.map_err(|e| words(&e))?;
    let operator = tokio::spawn(operate(client.clone()));

    let mut findings = Findings::default();
    let begin = Instant::now();
    for end in [begin + span / 2, begin + span] {
        while let Ok(Some(update)) = timeout_at(end, updates.recv()).await {
            findings.take(update);
        }
        if findings.restarts == 0 {
            stage.stop_server().await.map_err(|e| words(&e))?;
            // Long enough that readings are queued meanwhile.
            let away = Instant::now() + Duration::from_millis(1500);
            while let Ok(Some(update)) = timeout_at(away, updates.recv()).await {
                findings.take(update);
            }
            stage.start_server().await.map_err(|e| words(&e))?;
            findings.restarts += 1;
        }
    }
    match operator.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => findings.failures.push(format!("operator: {error}")),
        Err(error) => findings.failures.push(format!("operator: {error}")),
    }
    // What the operator did last is still under way.
    let end = Instant::now() + Duration::from_secs(2);
    while let Ok(Some(update)) = timeout_at(end, updates.recv()).await {
        findings.take(update);
    }
    if !stage.runs() {
        findings.failures.push("server or site ended by itself".into());
    }
    client.disconnect().await.map_err(|e| words(&e))?;
    stage.end().await.map_err(|e| words(&e))?;
    findings.judge();
    let good = findings.failures.is_empty();
    Ok((findings, good))
}

/// What a person would do: a stream, a recording, an alert from its raising to its end.
async fn operate(client: Client) -> Result<(), wardline::client::Error> {
    let camera = camera_name(1);
    client.video().start_stream(camera.as_str(), Quality::High).await?;
    client.video().start_recording(camera.as_str(), Some(Duration::from_secs(4))).await?;
    let alert = NewAlert {
        kind: "intrusion".into(),
        severity: Severity::Critical,
        title: "Gate 3 was opened".into(),
        description: None,
        source: Some("operator".into()),
        metadata: None,
        room: None,
    };
    let alert = client.alerts().create(alert).await?;
    client.alerts().acknowledge(alert.id.clone(), Some("looking".into())).await?;
    client.alerts().resolve(alert.id, None).await?;
    Ok(())
}
