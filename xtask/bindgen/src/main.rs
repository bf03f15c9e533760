//! `wardline-bindgen IN.wasm OUT [nodejs | web]`: JavaScript and types for the built WebAssembly.
//!
//! Its own crate, because the library behind it is large and no other task needs it.
#![allow(clippy::print_stderr)]

use std::process::ExitCode;
use wasm_bindgen_cli_support::Bindgen;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [input, output, host] = &arguments[..] else {
        eprintln!("usage: wardline-bindgen IN.wasm OUT nodejs|web");
        return ExitCode::FAILURE;
    };
    let mut bindgen = Bindgen::new();
    bindgen.input_path(input).typescript(true).omit_default_module_path(false);
    let host = match host.as_str() {
        "nodejs" => bindgen.nodejs(true),
        _ => bindgen.web(true),
    };
    match host.and_then(|bindgen| bindgen.generate(output)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wardline-bindgen: {error:#}");
            ExitCode::FAILURE
        }
    }
}
