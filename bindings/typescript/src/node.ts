// Node: sockets of `ws`, the outbox in a file.
import { readFile } from 'node:fs/promises';
import { WebSocket } from 'ws';
import { memoryStore } from './core/index.js';
import { setHost } from './connection.js';
import { fileStore } from './node/file-store.js';

/** Errors come as closes; where no one listens to them, they must not end the process. */
class NodeWebSocket extends WebSocket {
  constructor(url: string | URL, protocols?: string | string[]) {
    super(url, protocols);
    this.on('error', () => {});
  }
}

setHost({
  platform: `node ${process.version}`,
  wasm: () => async () => new Uint8Array(await readFile(new URL('./wardline.wasm', import.meta.url))),
  webSocket: NodeWebSocket as never,
  store: outbox => (outbox ? fileStore(outbox) : memoryStore()),
});

export * from './index.js';
export { default } from './index.js';
export { fileStore };
