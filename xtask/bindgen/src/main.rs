//! `wardline-bindgen IN.wasm OUT`: JavaScript and types for the built WebAssembly.
//!
//! Its own crate, because the library behind it is large and no other task needs it.
#![allow(clippy::print_stderr)]

mod panics;

use std::{path::Path, process::ExitCode};
use wasm_bindgen_cli_support::Bindgen;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [input, output] = &arguments[..] else {
        eprintln!("usage: wardline-bindgen IN.wasm OUT");
        return ExitCode::FAILURE;
    };
    match generate(Path::new(input), output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wardline-bindgen: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn generate(input: &Path, output: &str) -> Result<(), Box<dyn std::error::Error>> {
    let mut module = walrus::ModuleConfig::new().parse_file(input)?;
    panics::cut(&mut module);
    let name = input.file_stem().and_then(|name| name.to_str()).unwrap_or("wardline_wasm");
    let mut bindgen = Bindgen::new();
    // Which file holds the WebAssembly is the application's or its bundler's affair.
    bindgen.input_module(name, module).typescript(true).omit_default_module_path(true);
    bindgen.web(true)?.generate(output)?;
    Ok(())
}
