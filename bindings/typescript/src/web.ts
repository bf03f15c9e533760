// Browsers and workers.
import { browserStore, indexedDbStore, memoryStore } from './core/index.js';
import { setHost } from './connection.js';

setHost({
  platform: 'web',
  wasm: () => new URL('./wardline.wasm', import.meta.url),
  store: outbox => (outbox === false ? memoryStore() : browserStore(outbox ?? 'wardline')),
  share: async kit => (await import('./share.js')).share({ ...kit, open: indexedDbStore }),
});

export * from './index.js';
export { default } from './index.js';
