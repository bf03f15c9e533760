//! The core in its other hosts: Python through UniFFI, Node through WebAssembly.

use crate::{
    npm,
    server::Server,
    shell::{Failure, Shell},
    suites,
};

/// Builds the native library and generates the Python bindings beside the probe.
pub(crate) fn bindings(shell: &Shell) -> Result<(), Failure> {
    suites::built(shell)?;
    let library = shell.program("libwardline_ffi.so");
    let generate = ["generate", "--language", "python", "--out-dir", "bindings/python/generated"];
    let mut words = vec![shell.program("uniffi-bindgen")];
    words.extend(generate.map(str::to_owned));
    words.push(library.clone());
    shell.exec(&words, &[])?;
    std::fs::copy(&library, shell.root().join("bindings/python/generated/libwardline_ffi.so"))?;
    Ok(())
}

/// Python joins, receives a typed alert and sends a queued message.
pub(crate) fn python(shell: &Shell) -> Result<(), Failure> {
    bindings(shell)?;
    probe(shell, &["python3", "sdk-ffi/probe/probe.py"])
}

/// Node does the same.
pub(crate) fn node(shell: &Shell) -> Result<(), Failure> {
    suites::built(shell)?;
    npm::package(shell)?;
    probe(shell, &["node", "sdk-wasm/probe/probe.mjs"])
}

/// Runs a probe beside a server; it finds `WARDLINE_URL` and `WARDLINE_TOKEN` in its environment.
fn probe(shell: &Shell, words: &[&str]) -> Result<(), Failure> {
    let server = Server::start(shell)?;
    let env = [("WARDLINE_URL", server.url.as_ref()), ("WARDLINE_TOKEN", server.token.as_ref())];
    shell.exec(words, &env)
}
