//! The npm package and the dashboard built on it.

use crate::{
    shell::{Failure, Shell, newer},
    suites, wasm,
};

pub(crate) const PACKAGE: &str = "bindings/typescript";
const DASHBOARD: &str = "examples/dashboard";
const BENCH: &str = "bench/browser";
/// The Socket.IO server it is measured beside.
const PEERS: &str = "bench/peers";

/// Builds the WebAssembly and the package around it, from the committed lock file.
pub(crate) fn package(shell: &Shell) -> Result<(), Failure> {
    shell.once("package", || {
        wasm::build(shell)?;
        install(shell, PACKAGE)?;
        shell.run(&format!("npm run build --silent --prefix {PACKAGE}"))
    })
}

/// Builds the package and runs its tests beside the server.
pub(crate) fn test(shell: &Shell) -> Result<(), Failure> {
    suites::built(shell)?;
    package(shell)?;
    chromium(shell)?;
    let server = shell.program("wardline-server");
    shell.exec(
        &["npm", "test", "--silent", "--prefix", PACKAGE],
        &[("WARDLINE_SERVER", server.as_ref())],
    )
}

/// Builds the dashboard into static files.
pub(crate) fn dashboard(shell: &Shell) -> Result<std::path::PathBuf, Failure> {
    package(shell)?;
    install(shell, DASHBOARD)?;
    shell.run(&format!("npm run build --silent --prefix {DASHBOARD}"))?;
    Ok(shell.root().join(DASHBOARD).join("dist"))
}

/// Drives the built dashboard in Chromium beside the demo.
pub(crate) fn room(shell: &Shell) -> Result<(), Failure> {
    suites::built(shell)?;
    dashboard(shell)?;
    chromium(shell)?;
    let demo = shell.program("wardline-demo");
    shell.exec(
        &["npm", "test", "--silent", "--prefix", DASHBOARD],
        &[("WARDLINE_DEMO", demo.as_ref())],
    )
}

/// Measures what a received event costs a page, beside socket.io-client.
pub(crate) fn bench(shell: &Shell, rest: &[String]) -> Result<(), Failure> {
    suites::built(shell)?;
    package(shell)?;
    [BENCH, PEERS].iter().try_for_each(|folder| install(shell, folder))?;
    chromium(shell)?;
    shell.cargo("build --locked --profile bench-fast -p wardline-server -p wardline-bench")?;
    let server = shell.target().join("bench-fast/wardline-server");
    let script = format!("{BENCH}/run.mjs");
    let mut words = vec!["node", script.as_str()];
    words.extend(rest.iter().map(String::as_str));
    shell.exec_last(&words, &[("WARDLINE_SERVER", server.as_ref())]).map(drop)
}

/// Installs what a folder's lock file names; what is installed from this lock file stays.
pub(crate) fn install(shell: &Shell, folder: &str) -> Result<(), Failure> {
    let at = shell.root().join(folder);
    // npm writes this when it is done.
    let done = at.join("node_modules/.package-lock.json");
    if ["package.json", "package-lock.json"].iter().all(|name| newer(&done, &at.join(name))) {
        return Ok(());
    }
    shell.run(&format!("npm ci --prefix {folder} --no-audit --no-fund"))
}

/// Installs Debian's Chromium where there is none.
fn chromium(shell: &Shell) -> Result<(), Failure> {
    debian(shell, "chromium", &["chromium", "chromium-browser", "google-chrome"])
}

/// Installs what drives Debian's Chromium where there is none.
pub(crate) fn driver(shell: &Shell) -> Result<(), Failure> {
    debian(shell, "chromium-driver", &["chromedriver"])
}

/// Installs a package of Debian where none of its programs is there.
fn debian(shell: &Shell, package: &str, programs: &[&str]) -> Result<(), Failure> {
    if programs.iter().any(|name| shell.has(name)) {
        return Ok(());
    }
    shell.run("apt-get update --quiet=2")?;
    shell.run(&format!("apt-get install -y --no-install-recommends {package}")).map_err(|failure| {
        let programs = programs.join(", ");
        Failure(format!("{failure}; one of these on the path is needed, install it: {programs}"))
    })
}
