//! The core in its other hosts: Python through UniFFI, Node through WebAssembly.

use crate::{
    server::Server,
    shell::{Failure, Shell},
    suites,
};

/// Builds the native library and generates the Python bindings beside the probe.
pub(crate) fn bindings(shell: &Shell) -> Result<(), Failure> {
    suites::built(shell)?;
    let library = shell.program("libwardline_ffi.so");
    shell.run(&format!(
        "{} generate --language python --out-dir bindings/python/generated {library}",
        shell.program("uniffi-bindgen")
    ))?;
    std::fs::copy(&library, shell.root().join("bindings/python/generated/libwardline_ffi.so"))?;
    Ok(())
}

/// Builds the WebAssembly package for Node into `sdk-wasm/dist`.
pub(crate) fn wasm(shell: &Shell) -> Result<(), Failure> {
    shell
        .cargo("build --locked --profile wasm -p wardline-wasm --target wasm32-unknown-unknown")?;
    let built = shell.target().join("wasm32-unknown-unknown/wasm/wardline_wasm.wasm");
    suites::built(shell)?;
    shell.run(&format!(
        "{} {} sdk-wasm/dist nodejs",
        shell.program("wardline-bindgen"),
        built.display()
    ))
}

/// Python joins, receives a typed alert and sends a queued message.
pub(crate) fn python(shell: &Shell) -> Result<(), Failure> {
    bindings(shell)?;
    probe(shell, &["python3", "sdk-ffi/probe/probe.py"])
}

/// Node does the same.
pub(crate) fn node(shell: &Shell) -> Result<(), Failure> {
    wasm(shell)?;
    shell.run("npm ci --prefix sdk-wasm/probe --no-audit --no-fund")?;
    probe(shell, &["node", "sdk-wasm/probe/probe.mjs"])
}

/// Runs a probe beside a server; it finds `WARDLINE_URL` and `WARDLINE_TOKEN` in its environment.
fn probe(shell: &Shell, words: &[&str]) -> Result<(), Failure> {
    let server = Server::start(shell)?;
    let env = [("WARDLINE_URL", server.url.as_ref()), ("WARDLINE_TOKEN", server.token.as_ref())];
    shell.exec(words, &env)
}
