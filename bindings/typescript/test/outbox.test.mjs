import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, it } from 'node:test';
import { WebSocketClient } from '@wardline/client';
import { folder, root, startServer, within } from './support.mjs';

let server;
let place;
before(async () => {
  server = await startServer();
  place = folder();
});
after(async () => {
  await server.close();
  place.remove();
});

/** A process that queues and prints the ids it was told are stored. */
function service(token, outbox, script) {
  const text = `import { WebSocketClient } from '@wardline/client';
    const client = new WebSocketClient({ url: ${JSON.stringify(server.url)}, token: ${JSON.stringify(token)}, outbox: ${JSON.stringify(outbox)}, autoJoin: false });
    ${script}`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', text], { cwd: root, stdio: ['ignore', 'pipe', 'inherit'] });
  const ids = [];
  createInterface({ input: child.stdout }).on('line', line => ids.push(line));
  return {
    ids,
    async until(size) {
      while (ids.length < size) await within(new Promise(done => setTimeout(done, 20)), 'stored items');
    },
    kill() {
      const gone = new Promise(done => child.once('exit', done));
      child.kill('SIGKILL');
      return gone;
    },
  };
}

it('C4: what a killed process had queued is delivered by the next one, once and in order', async () => {
  const outbox = join(place.path, 'service.outbox');
  const token = server.token('service');
  const reader = new WebSocketClient({ url: server.url, token: server.token('reader'), autoJoin: false });
  await within(reader.connect());
  await within(reader.subscribe('jobs'));
  const seen = [];
  reader.on('job', (n, { id }) => seen.push([n, id]));
  const told = [];
  // Offline: the first two never connect, and die with what they queued.
  for (const from of [0, 200]) {
    const queueing = service(token, outbox, `for (let n = ${from}; n < ${from + 200}; n++) console.log((await client.send('job', n, { room: 'jobs' })).id); setInterval(() => {}, 1000);`);
    await queueing.until(200);
    told.push(...queueing.ids);
    await queueing.kill();
  }
  assert.equal(seen.length, 0);
  const last = within(new Promise(done => reader.on('job', n => n === 400 && done())), 'the last job', 30_000);
  const client = new WebSocketClient({ url: server.url, token, outbox, autoJoin: false });
  try {
    assert.equal(client.durability, 'durable');
    await within(client.connect());
    told.push((await within(client.send('job', 400, { room: 'jobs' }))).id);
    await last;
    assert.deepEqual(seen, told.map((id, n) => [n, id]));
  } finally {
    await Promise.all([client.close(), reader.close()]);
  }
});

it('C4: a process killed while it sends loses nothing it was told is stored, and doubles nothing', async () => {
  const outbox = join(place.path, 'busy.outbox');
  const token = server.token('busy');
  const reader = new WebSocketClient({ url: server.url, token: server.token('reader'), autoJoin: false });
  await within(reader.connect());
  await within(reader.subscribe('busy'));
  const seen = [];
  reader.on('job', (_, { id }) => seen.push(id));
  const told = [];
  for (let round = 0; round < 5; round++) {
    const sending = service(token, outbox, `void client.connect(); for (let n = 0; ; n++) console.log((await client.send('job', n, { room: 'busy' })).id);`);
    await sending.until(30 + round * 17);
    await sending.kill();
    told.push(...sending.ids);
  }
  const client = new WebSocketClient({ url: server.url, token, outbox, autoJoin: false });
  try {
    await within(client.connect());
    const end = within(new Promise(done => reader.on('end', done)), 'the end', 30_000);
    await within(client.send('end', null, { room: 'busy' }));
    await end;
    assert.equal(new Set(seen).size, seen.length, 'doubled');
    const lost = told.filter(id => !seen.includes(id));
    assert.deepEqual(lost, []);
    const order = seen.filter(id => told.includes(id));
    assert.deepEqual(order, told);
  } finally {
    await Promise.all([client.close(), reader.close()]);
  }
});
