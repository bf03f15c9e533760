//! Servers as processes of their own, pinned to one core, ended by pid.

use std::{
    fmt,
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

/// Why a bench ended.
#[derive(Debug)]
pub(crate) struct Failure(pub(crate) String);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

/// A server; ended when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) port: u16,
}

impl Server {
    /// Starts a command pinned to core 0 and waits for its line `listening on ADDRESS`.
    pub(crate) fn start(mut words: Vec<String>, env: &[(&str, String)]) -> Result<Self, Failure> {
        if has_taskset() {
            words.splice(0..0, ["taskset", "-c", "0"].map(str::to_owned));
        }
        let mut child = Command::new(&words[0])
            .args(&words[1..])
            .envs(env.iter().map(|(key, value)| (key, value)))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| Failure(format!("{}: {error}", words.join(" "))))?;
        let (tell, told) = mpsc::channel();
        if let Some(stdout) = child.stdout.take() {
            std::thread::spawn(move || {
                for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                    if let Some(address) = line.split("listening on ").nth(1) {
                        let port = address
                            .trim()
                            .rsplit(':')
                            .next()
                            .and_then(|port| port.trim_end_matches('/').parse::<u16>().ok());
                        let _ = tell.send(port);
                    }
                }
            });
        }
        let port = told.recv_timeout(Duration::from_secs(30)).ok().flatten();
        let mut server = Self { child, port: 0 };
        match port {
            Some(port) => server.port = port,
            None => return Err(Failure(format!("{}: no line `listening on`", words.join(" ")))),
        }
        Ok(server)
    }

    /// Resident bytes of the process.
    pub(crate) fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        status
            .ok()
            .and_then(|text| {
                let line = text.lines().find(|line| line.starts_with("VmRSS:"))?.to_owned();
                line.split_whitespace().nth(1)?.parse::<u64>().ok()
            })
            .map_or(0, |kib| kib * 1024)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn has_taskset() -> bool {
    Command::new("taskset")
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Moves this process to core 1, away from the server.
pub(crate) fn pin_self_to_last_core() {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    if has_taskset() && cores > 1 {
        let pid = std::process::id().to_string();
        let _ = Command::new("taskset")
            .args(["-a", "-c", "-p", "1", &pid])
            .stdout(Stdio::null())
            .status();
    }
}

/// A program that was built beside this one.
pub(crate) fn beside(name: &str) -> Result<PathBuf, Failure> {
    let own = std::env::current_exe()?;
    let path = own.with_file_name(name);
    if path.exists() { Ok(path) } else { Err(Failure(format!("{} is not built", path.display()))) }
}
