//! Running commands from the root of the checkout, with a line on each that says how long it took.

use std::{
    cell::RefCell,
    collections::BTreeSet,
    ffi::OsStr,
    fmt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

/// The native crates, always chosen in the same way: what cargo builds depends on what it is asked for together, so
/// another choice would compile half of the dependencies a second time. The browser layer is built for its own target.
pub(crate) const NATIVE: &str =
    "--workspace --exclude wardline-wasm --features wardline-ffi/cli --locked";

/// Why a task ended.
#[derive(Debug)]
pub(crate) struct Failure(pub(crate) String);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self(error.to_string())
    }
}

/// The root of the checkout and the way to run things in it.
pub(crate) struct Shell {
    root: PathBuf,
    done: RefCell<BTreeSet<&'static str>>,
}

impl Shell {
    pub(crate) fn new() -> Self {
        // The manifest's folder is `<root>/xtask`.
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        Self { root: here.parent().unwrap_or(here).to_owned(), done: RefCell::default() }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Where cargo puts what it builds.
    pub(crate) fn target(&self) -> PathBuf {
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| self.root.join("target"), PathBuf::from)
    }

    /// A program this workspace built for development.
    pub(crate) fn program(&self, name: &str) -> String {
        self.target().join("debug").join(name).to_string_lossy().into_owned()
    }

    /// Does what several steps need, the first time one of them asks.
    pub(crate) fn once(
        &self,
        what: &'static str,
        work: impl FnOnce() -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        if self.done.borrow().contains(what) {
            return Ok(());
        }
        work()?;
        self.done.borrow_mut().insert(what);
        Ok(())
    }

    /// Whether a program can be started.
    pub(crate) fn has(&self, program: &str) -> bool {
        Command::new(program)
            .arg("--version")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    }

    /// Runs a command whose arguments are separated by blanks.
    pub(crate) fn run(&self, line: &str) -> Result<(), Failure> {
        let words: Vec<_> = line.split_whitespace().collect();
        self.exec(&words, &[])
    }

    /// Runs `cargo` with arguments.
    pub(crate) fn cargo(&self, line: &str) -> Result<(), Failure> {
        self.run(&format!("cargo {line}"))
    }

    /// Runs a command with extra environment.
    pub(crate) fn exec<S: AsRef<OsStr>>(
        &self,
        words: &[S],
        env: &[(&str, &OsStr)],
    ) -> Result<(), Failure> {
        let start = Instant::now();
        let shown = self.exec_last(words, env)?;
        println!("xtask: {shown}: {:.1} s", start.elapsed().as_secs_f32());
        Ok(())
    }

    /// Runs a command whose last line is the task's: nothing is said behind it. Gives the command as shown.
    pub(crate) fn exec_last<S: AsRef<OsStr>>(
        &self,
        words: &[S],
        env: &[(&str, &OsStr)],
    ) -> Result<String, Failure> {
        let shown =
            words.iter().map(|word| word.as_ref().to_string_lossy()).collect::<Vec<_>>().join(" ");
        let (program, arguments) =
            words.split_first().ok_or_else(|| Failure("no command".to_owned()))?;
        println!("xtask: {shown}");
        let start = Instant::now();
        let status = Command::new(program)
            .args(arguments)
            .envs(env.iter().copied())
            .current_dir(&self.root)
            .status()
            .map_err(|error| Failure(format!("{shown}: {error}")))?;
        let seconds = start.elapsed().as_secs_f32();
        if status.success() {
            Ok(shown)
        } else {
            Err(Failure(format!("{shown}: {status} after {seconds:.1} s")))
        }
    }
}

/// Whether a file is there and newer than another.
pub(crate) fn newer(path: &Path, than: &Path) -> bool {
    let time = |path: &Path| path.metadata().and_then(|metadata| metadata.modified());
    matches!((time(path), time(than)), (Ok(path), Ok(than)) if path > than)
}
