//! What CI runs besides the tests.

use crate::{
    advisories,
    shell::{Failure, Shell},
    suites,
};
use std::{ffi::OsStr, time::Instant};

/// The native crates; the browser layer is checked for its own target.
const NATIVE: &str = "--workspace --exclude wardline-wasm";

/// Runs fmt, clippy, docs, the dependency check and every test.
pub(crate) fn ci(shell: &Shell) -> Result<(), Failure> {
    let start = Instant::now();
    shell.cargo("fmt --all --check")?;
    shell.cargo(&format!("clippy {NATIVE} --all-targets --locked -- -D warnings"))?;
    shell
        .cargo("clippy -p wardline-wasm --target wasm32-unknown-unknown --locked -- -D warnings")?;
    shell.exec(
        &[
            "cargo",
            "doc",
            "--workspace",
            "--exclude",
            "wardline-wasm",
            "--no-deps",
            "--locked",
            "--document-private-items",
        ],
        &[("RUSTDOCFLAGS", OsStr::new("-D warnings"))],
    )?;
    advisories::deny(shell)?;
    suites::test(shell)?;
    println!("xtask: ci: {} s", start.elapsed().as_secs());
    Ok(())
}
