//! The tests in Rust that run as WebAssembly, by wasm-bindgen's own runner: in Node, then in Chromium.

use crate::{
    npm,
    shell::{Failure, Shell},
    suites,
    wasm::TARGET,
};
use std::ffi::OsStr;

/// A crate of its own, outside of the workspace.
const RUNNER: &str = "xtask/runner/Cargo.toml";
/// Where the tests find the package's stores.
const STORES: &str = "sdk-wasm/tests/generated";

/// Builds the runner, the tests and what they need, then runs them in both hosts.
pub(crate) fn run(shell: &Shell) -> Result<(), Failure> {
    suites::built(shell)?;
    npm::package(shell)?;
    npm::driver(shell)?;
    let tools = shell.target().join("tools");
    let folder = tools.display();
    shell.cargo(&format!("build --locked --manifest-path {RUNNER} --target-dir {folder}"))?;
    for (source, rest) in
        [("core/stores.ts", "web.js"), ("node/file-store.ts", "node.mjs --platform=node")]
    {
        let (package, format) = (npm::PACKAGE, "--bundle --format=esm --log-level=warning");
        let esbuild = format!("{package}/node_modules/.bin/esbuild");
        shell
            .run(&format!("{esbuild} {package}/src/{source} {format} --outfile={STORES}/{rest}"))?;
    }
    let runner = tools.join("debug/wardline-wasm-tests");
    // As modules, so that Node reads the same scripts as a browser.
    for host in ["WASM_BINDGEN_USE_NODE_EXPERIMENTAL", "WASM_BINDGEN_USE_BROWSER"] {
        let test = format!("cargo test --locked -p wardline-wasm --target {TARGET} --test core");
        let env = [
            ("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUNNER", runner.as_os_str()),
            ("WASM_BINDGEN_TEST_DRIVER_TIMEOUT", OsStr::new("60")),
            ("WASM_BINDGEN_TEST_TIMEOUT", OsStr::new("300")),
            (host, OsStr::new("1")),
        ];
        shell.exec(&test.split(' ').collect::<Vec<_>>(), &env)?;
    }
    Ok(())
}
