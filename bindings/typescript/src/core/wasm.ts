// The WebAssembly, loaded once and never by an import.

import init, { Core } from '../generated/wardline_wasm.js';
import { WardlineError } from './errors.js';

export type WasmSource = BufferSource | WebAssembly.Module | Response | URL | string;

let loading: Promise<void> | undefined;
let loaded = false;

/** Loads the WebAssembly. Calling it again changes nothing, unless it failed before. */
export function load(
  source: WasmSource | (() => WasmSource | Promise<WasmSource>),
): Promise<void> {
  loading ??= (async () => {
    await init({ module_or_path: await (typeof source === 'function' ? source() : source) });
    loaded = true;
  })().catch((error: unknown) => {
    loading = undefined;
    throw error;
  });
  return loading;
}

/** Whether a client can be made. */
export const isLoaded = (): boolean => loaded;

/** Makes a machine. */
export function makeCore(config: object): Core {
  if (!loaded) throw new WardlineError('bad_config', 'await load() before making a client');
  try {
    return new Core(JSON.stringify(config));
  } catch (code) {
    const known = code === 'bad_room' || code === 'bad_config';
    throw new WardlineError(
      known ? code : 'bad_config',
      known ? 'url: ws:// or wss:// and a host; namespace: a-z, 0-9, -' : `option ${String(code)}`,
    );
  }
}

export type { Core };
