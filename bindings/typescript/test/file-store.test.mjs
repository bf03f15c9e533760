import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { appendFileSync, readFileSync, readdirSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, beforeEach, describe, it } from 'node:test';
import { fileStore } from '@wardline/client';
import { folder, root, within } from './support.mjs';

let place;
let path;
let count = 0;
before(() => {
  place = folder('wardline-store-');
});
after(() => place.remove());
beforeEach(() => {
  path = join(place.path, `outbox-${++count}`);
});

const batch = (fields = {}) => ({ add: [], put: [], remove: [], ...fields });

describe('the file store', () => {
  it('keeps everything written over a reopen, and its lock rises', async () => {
    const first = await fileStore(path);
    assert.equal(first.durable, true);
    const { lock, entries } = await first.load();
    assert.deepEqual(entries, []);
    assert.deepEqual(await first.commit([batch({ lock, add: [['a', '1'], ['ü', '\n"ö']] }), batch({ put: [['b', '2']] }), batch({ remove: ['a'] })]), [null, null, null]);
    await first.close();
    const second = await fileStore(path);
    const again = await second.load();
    assert.deepEqual(again.entries, [['ü', '\n"ö'], ['b', '2']]);
    assert.ok(again.lock > lock);
    await second.close();
  });

  it('a batch under an older lock is lost, one without a lock is written', async () => {
    const [first, second] = [await fileStore(path), await fileStore(path)];
    const { lock } = await first.load();
    await second.load();
    assert.deepEqual(await first.commit([batch({ lock, put: [['a', '1']] }), batch({ add: [['b', '1']] })]), ['lost', null]);
    assert.deepEqual((await second.load()).entries, [['b', '1']]);
    await Promise.all([first.close(), second.close()]);
  });

  it('nothing is added over another, and such a batch leaves nothing', async () => {
    const store = await fileStore(path);
    await store.load();
    const answers = await store.commit([batch({ add: [['a', '1']] }), batch({ put: [['b', '1']], add: [['a', '2']] }), batch({ add: [['c', '1'], ['c', '2']] })]);
    assert.equal(answers[0], null);
    assert.match(answers[1], /there already/);
    assert.match(answers[2], /there already/);
    assert.deepEqual((await store.load()).entries, [['a', '1']]);
    await store.close();
  });

  it('a write that a crash cut at any byte is dropped, and what was told stays', async () => {
    const store = await fileStore(path);
    await store.load();
    await store.commit([batch({ put: [['told', '1']] })]);
    const told = statSync(path).size;
    await store.commit([batch({ put: [['cut', 'x'.repeat(50)]] })]);
    await store.close();
    const whole = readFileSync(path);
    for (let size = told; size < whole.length; size += 7) {
      writeFileSync(path, whole.subarray(0, size));
      const again = await fileStore(path);
      assert.deepEqual((await again.load()).entries, [['told', '1']], `cut at ${size}`);
      await again.commit([batch({ put: [['after', '1']] })]);
      await again.close();
      const last = await fileStore(path);
      assert.deepEqual((await last.load()).entries, [['told', '1'], ['after', '1']]);
      await last.close();
    }
  });

  it('damage in the middle is an error, never a loss', async () => {
    const store = await fileStore(path);
    await store.load();
    await store.commit([batch({ put: [['a', '1']] })]);
    await store.commit([batch({ put: [['b', '1']] })]);
    await store.close();
    const bytes = readFileSync(path);
    bytes[12] ^= 1;
    writeFileSync(path, bytes);
    await assert.rejects(fileStore(path), { code: 'storage' });
  });

  it('grows no further than what lives asks for', async () => {
    const store = await fileStore(path);
    await store.load();
    await store.commit([batch({ put: [['keep', 'me']] })]);
    for (let n = 0; n < 60; n++) await store.commit([batch({ put: [['big', `${n}`.padEnd(100_000, 'x')] ] })]);
    assert.ok(statSync(path).size < 1_400_000, `${statSync(path).size} bytes`);
    await store.close();
    const again = await fileStore(path);
    assert.deepEqual((await again.load()).entries.map(([key, value]) => [key, value.slice(0, 3)]), [['keep', 'me'], ['big', '59x']]);
    await again.close();
  });

  it('another process may not hold it at the same time, and may when the first died', async () => {
    const script = `import { fileStore } from '@wardline/client';
      const store = await fileStore(process.argv[1]); await store.load();
      await store.commit([{ add: [['from', 'child']], put: [], remove: [] }]);
      console.log('held'); setInterval(() => {}, 1000);`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', script, path], { cwd: root, stdio: ['ignore', 'pipe', 'inherit'] });
    await within(new Promise(done => child.stdout.once('data', done)), 'the child');
    await assert.rejects(fileStore(path), error => error.code === 'storage' && error.message.includes(String(child.pid)));
    const gone = new Promise(done => child.once('exit', done));
    child.kill('SIGKILL');
    await gone;
    const store = await fileStore(path);
    assert.deepEqual((await store.load()).entries, [['from', 'child']]);
    await store.close();
    assert.equal(readdirSync(place.path).filter(name => name.startsWith(`outbox-${count}.lock.`)).length, 1);
  });
});
