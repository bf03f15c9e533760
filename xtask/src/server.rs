//! A server of its own for a task, ended when dropped.

use crate::shell::{Failure, Shell};
use std::{
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

/// A running development server.
pub(crate) struct Server {
    child: Child,
    folder: PathBuf,
    /// Where clients connect.
    pub(crate) url: String,
    /// A token to enter with.
    pub(crate) token: String,
}

impl Server {
    /// Starts the built server on a free port, with data of its own.
    pub(crate) fn start(shell: &Shell) -> Result<Self, Failure> {
        let folder = std::env::temp_dir().join(format!("wardline-xtask-{}", std::process::id()));
        let mut child = Command::new(shell.program("wardline-server"))
            .args(["serve", "--dev", "--port", "0", "--data"])
            .arg(&folder)
            .env("LOG_LEVEL", "error")
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take();
        let mut server = Self { child, folder, url: String::new(), token: String::new() };
        for line in stdout.into_iter().flat_map(|out| BufReader::new(out).lines()) {
            let line = line?;
            match line.split_once(' ').map(|(name, value)| (name, value.trim())) {
                Some(("url", url)) => server.url = url.to_owned(),
                Some(("token", token)) => server.token = token.to_owned(),
                Some(("listening", _)) => return Ok(server),
                _ => {}
            }
        }
        Err(Failure("the server ended before it listened".to_owned()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
