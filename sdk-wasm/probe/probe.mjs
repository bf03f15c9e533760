// The core in Node, through WebAssembly, against a real server.
//
// Joins, receives a typed alert, sends one queued message; then what hosts get wrong: an error with
// a code, a pull that ends when the room is left, an object that is freed while a call is pending.
//
//     cargo xtask probe node
//
// Needs sdk-wasm/dist (WARDLINE_WASM), and a server started with `serve --dev` (WARDLINE_URL,
// WARDLINE_TOKEN); where none is named, one of its own (WARDLINE_SERVER).

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import WebSocket from 'ws';

const root = resolve(fileURLToPath(import.meta.url), '../../..');
const dist = process.env.WARDLINE_WASM ?? join(root, 'sdk-wasm/dist');
const target = process.env.CARGO_TARGET_DIR ?? join(root, 'target');
const binary = process.env.WARDLINE_SERVER ?? join(target, 'debug/wardline-server');

// Node before 22 has none of its own.
globalThis.WebSocket ??= WebSocket;
const { Client } = createRequire(import.meta.url)(join(dist, 'wardline_wasm.js'));

/** The server that is named, or one of its own, on a port of its own. */
async function serve(folder) {
  const { WARDLINE_URL: url, WARDLINE_TOKEN: token } = process.env;
  if (url) return { url, token, stop() {} };
  const child = spawn(binary, ['serve', '--dev', '--port', '0'], {
    cwd: folder,
    env: { ...process.env, LOG_LEVEL: 'error' },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const said = {};
  for await (const line of createInterface({ input: child.stdout })) {
    const [word, ...rest] = line.trim().split(/\s+/);
    said[word] = rest.join(' ');
    if (word === 'listening') break;
  }
  child.stdout.resume();
  const stop = () => {
    child.kill('SIGTERM');
    return new Promise(done => child.once('exit', done));
  };
  return { url: said.url, token: said.token, stop };
}

/** The next events of a room that are messages, one by one. */
function messages(room) {
  const waiting = [];
  return async () => {
    while (waiting.length === 0) {
      const batch = JSON.parse(await within(room.nextBatch(100)));
      assert.ok(batch.length > 0, 'the room ended');
      waiting.push(...batch.filter(next => next.type === 'message').map(next => next.message));
    }
    return waiting.shift();
  };
}

function within(promise, ms = 10_000) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`nothing within ${ms} ms`)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

async function probe({ url, token }) {
  const client = new Client(JSON.stringify({ url }), async () => token);
  const queued = await client.send('notes', 'note', '{"text":"seen at the gate"}');
  await within(client.connect());
  assert.equal(client.status, 'connected');
  let event;
  do event = JSON.parse(await within(client.nextEvent()));
  while (event.type !== 'established');
  assert.deepEqual([event.tenantId, event.userId], ['demo', 'you']);

  const end = JSON.parse(await within(queued.outcome()));
  assert.equal(end.outcome, 'accepted');
  const notes = await within(client.join('notes', '{"fromFirst":true}'));
  const note = await messages(notes)();
  assert.deepEqual([note.event, note.id, note.from], ['note', queued.id, 'you']);
  assert.deepEqual(note.data, { text: 'seen at the gate' });

  const alerts = await within(client.joinTenant('alerts', '{"types":["intrusion"]}'));
  const next = messages(alerts);
  const data = { type: 'intrusion', severity: 'high', title: 'Door forced' };
  const raised = JSON.parse(await within(client.command('alerts', 'alert:create', JSON.stringify(data))));
  const created = await next();
  assert.equal(created.event, 'alert:created');
  assert.deepEqual([created.data.id, created.data.severity], [raised.id, 'high']);

  await assert.rejects(
    within(client.command('alerts', 'alert:acknowledge', '{"alertId":"no such alert"}')),
    error => error instanceof Error && error.code === 'not_found' && error.retryable === false,
  );

  // Leaving ends a pull that waits, and freeing takes nothing from under a call.
  const pull = notes.nextBatch(10);
  await notes.leave();
  assert.ok(Array.isArray(JSON.parse(await within(pull))));
  const pending = alerts.nextBatch(10);
  alerts.free();
  await within(client.command('alerts', 'alert:resolve', JSON.stringify({ alertId: raised.id })));
  assert.ok(JSON.parse(await within(pending)).length > 0);
  await within(client.disconnect());
  assert.equal(client.status, 'disconnected');
  client.free();
}

const folder = mkdtempSync(join(tmpdir(), 'wardline-probe-'));
const server = await serve(folder);
try {
  await probe(server);
  console.log('node: joined, a typed alert came, one queued message was accepted');
} finally {
  await server.stop();
  rmSync(folder, { recursive: true });
}
