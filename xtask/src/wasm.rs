//! The WebAssembly of the npm package, and what it weighs.

use crate::{
    npm,
    shell::{Failure, Shell, newer},
    suites,
};
use std::{
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

/// Where the package's sources find what is generated.
const GENERATED: &str = "bindings/typescript/src/generated";
const TOOLS: &str = "sdk-wasm/tools";
pub(crate) const TARGET: &str = "wasm32-unknown-unknown";
/// What a page may download, compressed by gzip: 2 % above what it was when this was set. Less is better; ADR 0009 says what each
/// part costs.
const TOTAL_GZIP: usize = 106_900;
/// What the compiler uses by default; more would lock browsers out.
const FEATURES: &[&str] = &[
    "--enable-bulk-memory",
    "--enable-multivalue",
    "--enable-mutable-globals",
    "--enable-nontrapping-float-to-int",
    "--enable-reference-types",
    "--enable-sign-ext",
];

/// Builds the WebAssembly, its JavaScript and its types into the npm package's sources: cargo, then
/// wasm-bindgen, then wasm-opt from a locked npm package. What is newer than its sources stays. `wardline-bindgen` has to
/// be built.
pub(crate) fn build(shell: &Shell) -> Result<(), Failure> {
    target(shell)?;
    // By the linker's relocations `wardline-bindgen` knows what is not used any more.
    let cargo = format!(
        "rustc --locked --profile wasm -p wardline-wasm --target {TARGET} -- -Clink-arg=--emit-relocs"
    );
    shell.cargo(&cargo)?;
    let built = shell.target().join(TARGET).join("wasm/wardline_wasm.wasm");
    let bindgen = shell.program("wardline-bindgen");
    let generated = shell.root().join(GENERATED);
    let out = generated.join("wardline_wasm_bg.wasm");
    if newer(&out, &built) && newer(&out, Path::new(&bindgen)) {
        println!("xtask: the WebAssembly is up to date");
        return Ok(());
    }
    let folder = shell.target().join("wasm-package");
    let at = |name: &str| folder.join(name);
    let text = |path: &Path| path.to_string_lossy().into_owned();
    shell.exec(&[&bindgen, &text(&built), &text(&folder)], &[])?;
    shell.run(&format!("npm ci --prefix {TOOLS} --no-audit --no-fund"))?;
    let wasm_opt = text(&shell.root().join(TOOLS).join("node_modules/binaryen/bin/wasm-opt"));
    let small = at("small.wasm");
    let mut words = vec![wasm_opt.as_str()];
    words.extend(FEATURES);
    // Left apart, functions are more, but compress better: 8 KB. Nothing lies in the first kilobyte of
    // the memory, the stack's end.
    let apart = "--one-caller-inline-max-function-size=0";
    words.extend([
        "--strip-debug",
        "--strip-producers",
        "-Oz",
        "--converge",
        "--low-memory-unused",
    ]);
    let (input, output) = (text(&at("wardline_wasm_bg.wasm")), text(&small));
    words.extend([apart, input.as_str(), "-o", output.as_str()]);
    shell.exec(&words, &[])?;
    // What is alike side by side compresses better: 1.5 KB.
    shell.exec(&[&bindgen, &output, &input], &[])?;
    let mut words = vec![wasm_opt.as_str()];
    words.extend(FEATURES);
    words.extend(["--reorder-functions-by-name", "--strip-debug", &input, "-o", &output]);
    shell.exec(&words, &[])?;
    std::fs::create_dir_all(&generated)?;
    for name in ["wardline_wasm.js", "wardline_wasm.d.ts"] {
        std::fs::copy(at(name), generated.join(name))?;
    }
    // The types of the model come with those of the WebAssembly.
    let types = "export type * from './wardline_wasm.js';\n";
    std::fs::write(generated.join("types.d.ts"), types)?;
    std::fs::copy(small, out)?;
    Ok(())
}

/// The compiler's target: `rust-toolchain.toml` brings it where rustup reads that.
fn target(shell: &Shell) -> Result<(), Failure> {
    if shell.has("rustup") { shell.run(&format!("rustup target add {TARGET}")) } else { Ok(()) }
}

/// What a browser downloads, in bytes.
struct Weight {
    js_gzip: usize,
    wasm_gzip: usize,
    total_brotli: usize,
}

impl Weight {
    const fn total_gzip(&self) -> usize {
        self.js_gzip + self.wasm_gzip
    }

    /// Weighs the built package's web entry, minified, and the WebAssembly.
    fn of_package(shell: &Shell) -> Result<Self, Failure> {
        let dist = shell.root().join("bindings/typescript/dist");
        let weigh = |name: &str| -> Result<(usize, usize), Failure> {
            let bytes = std::fs::read(dist.join(name))?;
            let script = "const z=require('node:zlib');const c=[];process.stdin.on('data',d=>c.push(d)).on('end',()=>{const b=Buffer.concat(c);\
                          console.log(z.gzipSync(b,{level:9}).length,z.brotliCompressSync(b).length)})";
            let mut node = Command::new("node")
                .args(["-e", script])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()?;
            if let Some(mut input) = node.stdin.take() {
                input.write_all(&bytes)?;
            }
            let said = String::from_utf8_lossy(&node.wait_with_output()?.stdout).into_owned();
            let mut figures = said.split_whitespace().filter_map(|figure| figure.parse().ok());
            figures.next().zip(figures.next()).ok_or_else(|| Failure(format!("{name}: {said}")))
        };
        let (js, wasm) = (weigh("web.js")?, weigh("wardline.wasm")?);
        Ok(Self { js_gzip: js.0, wasm_gzip: wasm.0, total_brotli: js.1 + wasm.1 })
    }
}

/// Tells what a browser downloads. The last line is one JSON object, in bytes.
pub(crate) fn size(shell: &Shell) -> Result<(), Failure> {
    suites::built(shell)?;
    npm::package(shell)?;
    let weight = Weight::of_package(shell)?;
    println!(
        "{}",
        serde_json::json!({
            "js_gzip": weight.js_gzip,
            "wasm_gzip": weight.wasm_gzip,
            "total_gzip": weight.total_gzip(),
            "total_brotli": weight.total_brotli,
        })
    );
    Ok(())
}

/// Fails where the built package is heavier than it may be.
pub(crate) fn hold(shell: &Shell) -> Result<(), Failure> {
    let weight = Weight::of_package(shell)?;
    let total = weight.total_gzip();
    println!("xtask: a page downloads {total} bytes (gzip) of at most {TOTAL_GZIP}");
    if total > TOTAL_GZIP {
        let (js, wasm) = (weight.js_gzip, weight.wasm_gzip);
        return Err(Failure(format!(
            "a page downloads {total} bytes (JavaScript {js}, WebAssembly {wasm}): the limit in xtask/src/wasm.rs is {TOTAL_GZIP}"
        )));
    }
    Ok(())
}
