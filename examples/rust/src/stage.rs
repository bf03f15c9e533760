//! Server and site as processes of their own, for the demo. What is started is ended, by pid.

use std::{
    io,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

/// The tenant of the demo.
pub const TENANT: &str = "demo";

/// Everything that runs beside the terminal.
#[derive(Debug)]
pub struct Stage {
    folder: PathBuf,
    secret: String,
    port: u16,
    pages: Option<PathBuf>,
    server: Option<Child>,
    site: Option<Child>,
}

impl Stage {
    /// Prepares a stage whose files go to `folder`.
    ///
    /// # Errors
    /// The folder or a port cannot be had.
    pub fn new(folder: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        // A port that is free now; the server keeps it over its restarts.
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let mut random = [0; 32];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let secret = random.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { folder: folder.to_owned(), secret, port, pages: None, server: None, site: None })
    }

    /// Where clients connect.
    #[must_use]
    pub fn url(&self) -> String {
        format!("ws://127.0.0.1:{}", self.port)
    }

    /// Has the server serve a folder of built pages, from its next start on.
    pub fn serve_pages(&mut self, folder: &Path) {
        self.pages = Some(folder.to_owned());
    }

    /// Where the stage's files are.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Starts the server and waits until it listens.
    ///
    /// # Errors
    /// It is not built, or does not start.
    pub async fn start_server(&mut self) -> io::Result<()> {
        let port = self.port.to_string();
        let mut command = self.command("wardline-server")?;
        command.args(["serve", "--host", "127.0.0.1", "--port", &port, "--data"]);
        command.arg(self.folder.join("data"));
        if let Some(pages) = &self.pages {
            command.arg("--pages").arg(pages);
        }
        let mut server = command.stdout(Stdio::piped()).spawn()?;
        let stdout = server.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        self.server = Some(server);
        let mut lines = BufReader::new(stdout).lines();
        let listening = async {
            while let Some(line) = lines.next_line().await? {
                if line.contains("listening on") {
                    return Ok(());
                }
            }
            Err(io::Error::other("the server ended before it listened; its log is server.log"))
        };
        tokio::time::timeout(Duration::from_secs(30), listening)
            .await
            .map_err(|_| io::Error::other("the server did not listen within 30 s"))??;
        // What it goes on to print must not fill the pipe.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(())
    }

    /// Stops the server as a deployment does, by SIGTERM, and waits for its end.
    ///
    /// # Errors
    /// The signal cannot be sent.
    pub async fn stop_server(&mut self) -> io::Result<()> {
        stop(&mut self.server).await
    }

    /// Kills the server with -9, as a crash does, and waits for its end.
    ///
    /// # Errors
    /// The signal cannot be sent.
    pub async fn kill_server(&mut self) -> io::Result<()> {
        match self.server.take() {
            Some(mut server) => server.kill().await,
            None => Ok(()),
        }
    }

    /// Signs a token.
    ///
    /// # Errors
    /// The server's program fails.
    pub async fn token(&self, user: &str, roles: &[&str]) -> io::Result<String> {
        let mut command = self.command("wardline-server")?;
        command.args(["token", "--tenant", TENANT, "--user", user]);
        for role in roles {
            command.args(["--role", role]);
        }
        let output = command.stdout(Stdio::piped()).output().await?;
        if !output.status.success() {
            return Err(io::Error::other("wardline-server token failed; see server.log"));
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Starts the site.
    ///
    /// # Errors
    /// It is not built.
    pub async fn start_site(&mut self, arguments: &[&str]) -> io::Result<()> {
        let token = self.token("site", &["service"]).await?;
        let recordings = self.folder.join("recordings");
        std::fs::create_dir_all(&recordings)?;
        let url = self.url();
        let mut command = self.command("wardline-site")?;
        command.args(["--url", &url]).args(arguments);
        command.arg("--recordings").arg(recordings);
        command.arg("--outbox").arg(self.folder.join("site.db"));
        command.env("WARDLINE_TOKEN", token).stdout(Stdio::null());
        self.site = Some(command.spawn()?);
        Ok(())
    }

    /// Whether server and site still run.
    pub fn runs(&mut self) -> bool {
        let runs = |child: &mut Option<Child>| {
            child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
        };
        runs(&mut self.server) && runs(&mut self.site)
    }

    /// Ends everything.
    ///
    /// # Errors
    /// A signal cannot be sent.
    pub async fn end(mut self) -> io::Result<()> {
        stop(&mut self.site).await?;
        stop(&mut self.server).await
    }

    /// A program built beside this one, with the secret in its environment and its log in a file.
    fn command(&self, name: &str) -> io::Result<Command> {
        let program = std::env::current_exe()?.with_file_name(name);
        if !program.exists() {
            return Err(io::Error::other(format!("{} is not built", program.display())));
        }
        let log = self.folder.join(if name == "wardline-site" { "site.log" } else { "server.log" });
        let log = std::fs::File::options().create(true).append(true).open(log)?;
        let mut command = Command::new(program);
        command.env("JWT_SECRET", &self.secret);
        // What runs on a stage may send as fast as it can.
        command.env("RATE_LIMIT_POINTS", "0");
        command.stdin(Stdio::null()).stderr(log).kill_on_drop(true);
        Ok(command)
    }
}

/// Asks a process to end, and makes it after 10 s.
async fn stop(child: &mut Option<Child>) -> io::Result<()> {
    let Some(mut child) = child.take() else { return Ok(()) };
    if let Some(pid) = child.id() {
        let asked = Command::new("kill").args(["-TERM", &pid.to_string()]).status().await;
        if !asked.is_ok_and(|status| status.success()) {
            child.start_kill()?;
        }
    }
    if tokio::time::timeout(Duration::from_secs(10), child.wait()).await.is_err() {
        child.kill().await?;
    }
    Ok(())
}
