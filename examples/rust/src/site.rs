//! A site: a `service` in its own process that measures this machine, raises alerts, moves assets
//! and runs cameras.

mod assets;
mod camera;
pub mod readings;

use camera::Cameras;
use std::{path::PathBuf, time::Duration};
use wardline::client::{Client, Error};

/// How the site behaves.
#[derive(Clone, Debug)]
pub struct Site {
    /// How many cameras.
    pub cameras: u8,
    /// Pictures a second of each.
    pub rate: u32,
    /// CPU percent past which an alert is raised.
    pub cpu_limit: f64,
    /// Where recordings go.
    pub recordings: PathBuf,
}

/// The room of a camera, as the site names its cameras.
#[must_use]
pub fn camera_name(number: u8) -> String {
    format!("cam-{number}")
}

impl Site {
    /// Runs until the client ends.
    ///
    /// # Errors
    /// What the server refuses for good: the token needs the role `service`.
    pub async fn run(self, client: Client) -> Result<(), Error> {
        client.connect().await?;
        let tenant = client.identified().await?.tenant;
        let room = format!("tenant:{tenant}");
        let cameras = Cameras::start(&client, &self, &room).await?;
        let mut presence = client.presence(&room).meta(&"site").enter().await?;
        tokio::spawn(async move { while presence.next().await.is_some() {} });
        tokio::try_join!(
            readings::run(&client, &room, self.cpu_limit, Duration::from_secs(1)),
            assets::run(&client, &room, Duration::from_secs(1)),
            cameras.serve(),
        )?;
        Ok(())
    }
}
