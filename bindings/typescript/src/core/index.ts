// The core: everything the machine offers, without idiom. Importing it runs nothing.

export { Client, CommandStream, PictureStream, Publisher, Room, Sending } from './client.js';
export { Driver } from './driver.js';
export type { Helm } from './helm.js';
export { WardlineError, type ErrorKind } from './errors.js';
export { browserStore, indexedDbStore, memoryStore } from './stores.js';
export { isLoaded, load, type WasmSource } from './wasm.js';
export type * from './types.js';
