//! cargo-deny: licenses, sources, bans and advisories.

use crate::shell::{Failure, Shell};
use std::{fs, path::Path};

/// The version CI uses; built into the checkout's own `tools` folder where it is missing.
const VERSION: &str = "0.20.2";
/// The folder name cargo-deny derives from the database's default address.
const DATABASE: &str = "advisory-db-3157b0e258782691";
/// A packed advisory database beside the checkout, for machines without the internet.
const PACKED: &str = "../shared/advisories.tar.xz";

/// Checks the dependencies.
pub(crate) fn deny(shell: &Shell) -> Result<(), Failure> {
    let tools = shell.root().join("tools");
    let mut program = "cargo-deny".to_owned();
    if !shell.has(&program) {
        program = tools.join("bin/cargo-deny").display().to_string();
        if !shell.has(&program) {
            shell.cargo(&format!(
                "install --locked --root {} --version {VERSION} cargo-deny",
                tools.display()
            ))?;
        }
    }
    let packed = shell.root().join(PACKED);
    if packed.exists() {
        unpack(shell, &packed)?;
        shell.cargo("fetch --locked")?;
        shell.run(&format!("{program} --offline --workspace check"))
    } else if shell.run(&format!("{program} fetch db")).is_ok() {
        shell.run(&format!("{program} --workspace check"))
    } else {
        println!("xtask: NOT CHECKED: advisories; neither the internet nor {PACKED} can be had");
        shell.run(&format!("{program} --workspace check bans licenses sources"))
    }
}

fn unpack(shell: &Shell, packed: &Path) -> Result<(), Failure> {
    let database = shell.root().join("target/advisories").join(DATABASE);
    if database.join(".git").exists() {
        return Ok(());
    }
    fs::create_dir_all(&database)?;
    let (at, from) = (database.display(), packed.display());
    shell.run(&format!("tar -xJf {from} -C {at}"))?;
    shell.run(&format!("git -C {at} init --quiet"))?;
    shell.run(&format!("git -C {at} add --all"))?;
    shell.run(&format!(
        "git -C {at} -c user.name=wardline -c user.email=ci@localhost commit --quiet --message advisories"
    ))
}
