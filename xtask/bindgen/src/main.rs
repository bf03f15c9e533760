//! `wardline-bindgen IN.wasm OUT`: JavaScript and types for the built WebAssembly.
//! `wardline-bindgen IN.wasm OUT.wasm`: the same WebAssembly, each function named by its place in an order that compresses well.
//!
//! Its own crate, because the library behind it is large and no other task needs it.
#![allow(clippy::print_stderr)]

mod alike;
mod panics;
mod reader;
mod unused;

use std::{path::Path, process::ExitCode};
use wasm_bindgen_cli_support::Bindgen;

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [input, output] = &arguments[..] else {
        eprintln!("usage: wardline-bindgen IN.wasm OUT|OUT.wasm");
        return ExitCode::FAILURE;
    };
    let made = if output.ends_with(".wasm") {
        name(Path::new(input), output)
    } else {
        generate(Path::new(input), output)
    };
    match made {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wardline-bindgen: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn name(input: &Path, output: &str) -> Result<(), Failure> {
    Ok(std::fs::write(output, alike::name(&std::fs::read(input)?)?)?)
}

fn generate(input: &Path, output: &str) -> Result<(), Failure> {
    let wasm = std::fs::read(input)?;
    let mut module = walrus::ModuleConfig::new().parse(&wasm)?;
    let linked = unused::Linked::read(&wasm, &module)?;
    panics::cut(&mut module);
    let name = input.file_stem().and_then(|name| name.to_str()).unwrap_or("wardline_wasm");
    let mut bindgen = Bindgen::new();
    // Which file holds the WebAssembly is the application's or its bundler's affair.
    bindgen.input_module(name, module).typescript(true).omit_default_module_path(true);
    let mut made = bindgen.web(true)?.generate_output()?;
    linked.clear(made.wasm_mut());
    made.emit(output)?;
    Ok(())
}
