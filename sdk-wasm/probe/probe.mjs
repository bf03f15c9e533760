// The core in Node, through WebAssembly, against a real server.
//
// Joins, receives a typed alert, sends one queued message; then what hosts get wrong: an error with
// a code, a pull that ends when the room is left, a close that is called twice.
//
//     cargo xtask node
//
// Needs the built package, and a server started with `serve --dev` (WARDLINE_URL, WARDLINE_TOKEN).

import assert from 'node:assert/strict';
import { AlertWebSocketClient, WebSocketClient } from '../../bindings/typescript/dist/node.js';

const { WARDLINE_URL: url, WARDLINE_TOKEN: token } = process.env;

function within(promise, ms = 10_000) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`nothing within ${ms} ms`)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

const client = new WebSocketClient({ url, token });
// Called before there is a connection: queued, and sent once there is one.
const queued = client.sendMessage('notes', { text: 'seen at the gate' }, true);
await within(client.connect());
assert.equal(client.status, 'connected');
assert.deepEqual([client.identity.tenantId, client.identity.userId], ['demo', 'you']);
assert.match(await within(queued), /^[0-9a-f]{32}$/);

const alerts = new AlertWebSocketClient({ url, token });
await within(alerts.connect());
await within(alerts.subscribeToAlerts(['intrusion'], []));
const created = new Promise(done => alerts.on('alert:created', done));
const raised = await within(alerts.create({ type: 'intrusion', severity: 'high', title: 'Door forced' }));
const alert = await within(created);
assert.deepEqual([alert.id, alert.severity, alert.title], [raised.id, 'high', 'Door forced']);
await assert.rejects(
  within(alerts.acknowledge('no such alert')),
  error => error instanceof Error && error.code === 'not_found' && error.retryable === false,
);

const room = await within(client.room('notes', { from: 'first' }));
const note = await within(room[Symbol.asyncIterator]().next());
assert.deepEqual([note.value.data.text ?? note.value.data.payload?.text, note.value.from], ['seen at the gate', 'you']);

await within(alerts.resolve(raised.id));
await within(Promise.all([alerts.close(), client.close(), client.close()]));
await assert.rejects(within(client.connect()), error => error.code === 'closed');
console.log('node: joined, a typed alert came, one queued message was accepted');
