// Browsers and workers.
import { browserStore, memoryStore } from './core/index.js';
import { setHost } from './connection.js';

setHost({
  platform: 'web',
  wasm: () => new URL('./wardline.wasm', import.meta.url),
  store: outbox => (outbox === false ? memoryStore() : browserStore(outbox ?? 'wardline')),
});

export * from './index.js';
export { default } from './index.js';
