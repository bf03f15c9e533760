//! A server killed again and again under load, and a checker that hears everyone.

use super::{Failure, tally::Tally};
use std::{process::Stdio, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStdin, Command},
    sync::mpsc::{Receiver, Sender, channel},
    time::{Instant, timeout_at},
};
use wardline_examples::stage::Stage;

const CLIENTS: u32 = 10;
/// Messages accepted between a start and the next kill, at least.
const PROGRESS: usize = 50;
/// Longest wait for progress, and for the end.
const PATIENCE: Duration = Duration::from_secs(120);

/// A client process; ended when dropped.
pub(crate) struct Process {
    pub(crate) child: Child,
    stdin: Option<ChildStdin>,
}

/// Starts this program as a client of the stage, and tells its lines.
pub(crate) async fn spawn(
    stage: &Stage,
    task: &str,
    index: u32,
    arguments: &[&str],
    tell: Sender<(u32, String)>,
) -> Result<Process, Failure> {
    let token = stage.token(&format!("user-{index}"), &[]).await?;
    let mut child = Command::new(std::env::current_exe()?)
        .args([task, "--url", &stage.url(), "--index", &index.to_string(), "--store"])
        .arg(stage.folder().join(format!("client-{index}.db")))
        .args(arguments)
        .env("WARDLINE_TOKEN", token)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let stdin = child.stdin.take();
    let stdout = child.stdout.take().ok_or("no standard output")?;
    tokio::spawn(async move {
        let mut lines = BufReader::new(stdout).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            if tell.send((index, line)).await.is_err() {
                return;
            }
        }
        let _ = tell.send((index, "E".into())).await;
    });
    Ok(Process { child, stdin })
}

/// What the clients say, taken in as it comes.
struct Checker {
    told: Receiver<(u32, String)>,
    tally: Tally,
    ready: u32,
    settled: u32,
}

impl Checker {
    /// Listens until `enough`, or the deadline; true for enough.
    async fn until(
        &mut self,
        deadline: Instant,
        mut enough: impl FnMut(&Self) -> bool,
    ) -> Result<bool, Failure> {
        while !enough(self) {
            let Ok(line) = timeout_at(deadline, self.told.recv()).await else { return Ok(false) };
            let Some((index, line)) = line else { return Ok(false) };
            let mut words = line.split(' ');
            match (words.next(), words.next(), words.next()) {
                (Some("A"), Some(n), None) => self.tally.accept((index, n.parse()?)),
                (Some("D"), Some(sender), Some(n)) => {
                    self.tally.deliver(index, (sender.parse()?, n.parse()?));
                }
                (Some("G"), None, None) => self.tally.gap(),
                (Some("R"), None, None) => self.ready += 1,
                (Some("S"), Some(_), None) => self.settled += 1,
                _ => return Err(format!("client {index} said {line:?}").into()),
            }
        }
        Ok(true)
    }
}

/// True where nothing was lost, doubled or reordered.
pub(crate) async fn run(kills: u32, seed: u64) -> Result<bool, Failure> {
    let folder = tempfile::tempdir()?;
    let mut stage = Stage::new(folder.path())?;
    stage.start_server().await?;
    let (tell, told) = channel(4096);
    let mut clients = Vec::new();
    for index in 1..=CLIENTS {
        clients.push(spawn(&stage, "load", index, &[], tell.clone()).await?);
    }
    drop(tell);
    let mut checker = Checker { told, tally: Tally::new(1..=CLIENTS), ready: 0, settled: 0 };
    let patience = || Instant::now() + PATIENCE;
    if !checker.until(patience(), |checker| checker.ready == CLIENTS).await? {
        return Err("not every client joined".into());
    }
    let mut rng = fastrand::Rng::with_seed(seed);
    for kill in 1..=kills {
        let goal = checker.tally.accepted() + PROGRESS;
        if !checker.until(patience(), |checker| checker.tally.accepted() >= goal).await? {
            return Err(format!("no progress before kill {kill}").into());
        }
        let moment = Instant::now() + Duration::from_millis(rng.u64(0..400));
        checker.until(moment, |_| false).await?;
        stage.kill_server().await?;
        stage.start_server().await?;
        eprintln!("kill {kill} of {kills}: accepted {}", checker.tally.accepted());
    }
    for client in &mut clients {
        if let Some(stdin) = &mut client.stdin {
            stdin.write_all(b"stop\n").await?;
        }
    }
    let settled = checker.until(patience(), |checker| checker.settled == CLIENTS).await?;
    checker.until(patience(), |checker| checker.tally.verdict().lost == 0).await?;
    // What would be doubled now comes with the readers' next messages; listen a little longer.
    checker.until(Instant::now() + Duration::from_secs(1), |_| false).await?;
    for mut client in clients {
        client.child.kill().await?;
    }
    stage.end().await?;
    let verdict = checker.tally.verdict();
    if !settled {
        eprintln!("only {} of {CLIENTS} clients settled everything", checker.settled);
    }
    println!("kills {kills}");
    println!("{verdict}");
    Ok(settled && verdict.is_good())
}
