//! A panic ends in a trap, without the words.
//!
//! The standard library brings its formatting along for the words of a panic nobody in a browser
//! reads; it comes compiled, so no profile leaves it out. Here its entry points become a trap, and
//! what only they use falls away.

use walrus::{FunctionBuilder, FunctionId, FunctionKind, Module};

/// Parts of the names of its functions; nothing else has them in its name.
const ENTRIES: &[&str] = &[
    "core::panicking::",
    "std::panicking::",
    "std::alloc::rust_oom",
    "alloc::handle_alloc_error",
    "raw_vec::handle_error",
    "raw_vec::capacity_overflow",
    "::expect_failed",
    "::unwrap_failed",
    "::assert_failed",
    "::slice_error_fail",
    "::slice_index_fail",
    "::len_mismatch_fail",
    "::rust_begin_unwind",
    "::panic_on_ord_violation",
    "bytes::panic_",
];

fn is_entry(name: &str) -> bool {
    // Without the hashes of crates.
    let name = format!("{:#}", rustc_demangle::demangle(name));
    ENTRIES.iter().any(|entry| name.contains(entry))
}

/// Makes every entry of the panic machinery a trap.
pub(crate) fn cut(module: &mut Module) {
    let entries: Vec<FunctionId> = module
        .funcs
        .iter_local()
        .filter(|(id, _)| module.funcs.get(*id).name.as_deref().is_some_and(is_entry))
        .map(|(id, _)| id)
        .collect();
    for id in entries {
        let ty = module.types.get(module.funcs.get(id).ty());
        let (params, results) = (ty.params().to_vec(), ty.results().to_vec());
        let mut builder = FunctionBuilder::new(&mut module.types, &params, &results);
        builder.func_body().unreachable();
        let locals = params.iter().map(|param| module.locals.add(*param)).collect();
        module.funcs.get_mut(id).kind = FunctionKind::Local(builder.local_func(locals));
    }
    walrus::passes::gc::run(module);
}
