//! What CI runs besides the tests.

use crate::{
    advisories,
    shell::{Failure, NATIVE, Shell},
    suites,
};
use std::{ffi::OsStr, time::Instant};

/// Runs fmt, clippy, docs, the dependency check and every test.
pub(crate) fn ci(shell: &Shell) -> Result<(), Failure> {
    let start = Instant::now();
    shell.cargo("fmt --all --check")?;
    shell.cargo(&format!("clippy {NATIVE} --all-targets -- -D warnings"))?;
    shell.cargo("clippy -p wardline-wasm --target wasm32-unknown-unknown --all-targets --locked -- -D warnings")?;
    let doc = format!("cargo doc {NATIVE} --no-deps --document-private-items");
    let doc: Vec<_> = doc.split_whitespace().collect();
    shell.exec(&doc, &[("RUSTDOCFLAGS", OsStr::new("-D warnings"))])?;
    advisories::deny(shell)?;
    suites::test(shell)?;
    println!("xtask: ci: {} s", start.elapsed().as_secs());
    Ok(())
}
