/// <reference lib="esnext.disposable" preserve="true" />

// Hosts older than explicit resource management have no such symbols; what compilers write for them looks for these.
export const dispose: typeof Symbol.dispose = Symbol.dispose ?? (Symbol.for('Symbol.dispose') as never);
export const asyncDispose: typeof Symbol.asyncDispose = Symbol.asyncDispose ?? (Symbol.for('Symbol.asyncDispose') as never);
