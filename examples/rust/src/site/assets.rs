//! Vehicles on their rounds.

use std::time::Duration;
use tokio::time::MissedTickBehavior;
use wardline::{
    client::{Client, Error},
    model::{
        dispatch::{AssetPosition, AssetStatus, DispatchEvent},
        ids::DispatchId,
    },
};

/// A round: latitude and longitude of its corners.
const ROUND: [(f64, f64); 5] = [
    (52.5163, 13.3777),
    (52.5186, 13.3762),
    (52.5208, 13.4094),
    (52.5096, 13.4019),
    (52.5074, 13.3904),
];
/// Steps from one corner to the next.
const STEPS: u64 = 20;

/// Moves three vehicles, for ever.
pub(super) async fn run(client: &Client, room: &str, interval: Duration) -> Result<(), Error> {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for step in 0_u64.. {
        ticks.tick().await;
        for (number, name) in ["unit-1", "unit-2", "unit-3"].into_iter().enumerate() {
            let at = step + number as u64 * STEPS;
            let position = DispatchEvent::AssetPositionUpdated(place(name, at));
            client.dispatch().publish(room, &position).await?;
            if at.is_multiple_of(STEPS) {
                let status = if (at / STEPS).is_multiple_of(2) { "patrol" } else { "checking" };
                let status = DispatchEvent::AssetStatusChanged(AssetStatus {
                    asset_id: DispatchId::from(name),
                    status: status.into(),
                    incident_id: None,
                    timestamp: None,
                });
                client.dispatch().publish(room, &status).await?;
            }
        }
    }
    Ok(())
}

fn place(asset: &str, step: u64) -> AssetPosition {
    let corner = (step / STEPS) as usize % ROUND.len();
    let (from, to) = (ROUND[corner], ROUND[(corner + 1) % ROUND.len()]);
    let share = (step % STEPS) as f64 / STEPS as f64;
    let between = |a: f64, b: f64| ((a + (b - a) * share) * 1e6).round() / 1e6;
    let heading = (to.1 - from.1).atan2(to.0 - from.0).to_degrees().rem_euclid(360.0).round();
    AssetPosition {
        asset_id: DispatchId::from(asset),
        latitude: between(from.0, to.0),
        longitude: between(from.1, to.1),
        heading: Some(heading),
        speed: Some(12.5),
        incident_id: None,
        timestamp: None,
    }
}
