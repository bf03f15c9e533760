// Tabs that begin to share: what was queued before, in the outbox of a tab that did not, is sent once and in order; its reader goes on.
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { within } from './support.mjs';
import { send, sharing, startTabs, told, until } from './tabs.mjs';

const { context, tab, settle } = await startTabs();
const ALONE = { share: false };

/** Queues items while there is no connection. */
const queue = (page, room, items) => page.evaluate(([room, items]) => items.forEach(item => void client.send('n', item, { room })), [room, items]);
const waiting = page => page.evaluate(() => client.outbox.filter(({ state }) => state === 'queued').length);
/** Reads on from where a reader of this name was. */
const read = (page, room, size) =>
  within(
    page.evaluate(
      async ([room, size]) => {
        const log = (globalThis.log ??= await client.room(room, { durable: 'reader', from: 'first' }));
        const found = [];
        while (found.length < size) found.push(...(await log.next(1)).map(({ data }) => data));
        return found;
      },
      [room, size],
    ),
    'the room',
  );
/** What a room holds, once it holds so much. */
const held = (page, room, size) =>
  within(
    (async () => {
      for (;;) {
        const { messages } = await page.evaluate(room => client.history(room, { from: 'first', limit: 200 }), room);
        const found = messages.map(({ data }) => data);
        if (found.length >= size) return found;
        await page.waitForTimeout(50);
      }
    })(),
    `${size} items`,
  );
const numbers = (from, to) => Array.from({ length: to - from + 1 }, (_, n) => from + n);

it('the items and the positions of the outbox before are taken over, once', { timeout: 90_000 }, async () => {
  const shared = await context();
  const before = await tab(shared, 'ann', ALONE);
  for (const n of numbers(1, 10)) await send(before, n, 'left');
  assert.deepEqual(await read(before, 'left', 5), numbers(1, 5));
  // Done up to the fifth, and stored as such.
  await before.evaluate(() => void globalThis.log.next(1));
  await before.waitForTimeout(1000);
  await within(before.evaluate(() => client.disconnect()));
  await queue(before, 'left', numbers(11, 40));
  await until(before, () => client.outbox.filter(({ state }) => state === 'queued').length === 30);
  await before.waitForTimeout(500);
  await before.close();

  const [owner, rider] = [await tab(shared, 'ann'), await tab(shared, 'ann')];
  assert.deepEqual([await sharing(owner), await sharing(rider)], ['owner', 'rider']);
  await until(owner, () => client.outbox.every(({ state }) => state !== 'queued'), undefined, 'an empty outbox');
  // The other connection has ended, and so has the hold on the other outbox.
  await settle(1);
  await send(rider, 41, 'left');
  assert.deepEqual(await held(rider, 'left', 41), numbers(1, 41));
  assert.deepEqual(await read(owner, 'left', 36), numbers(6, 41));
  const alone = await tab(shared, 'ann', ALONE);
  assert.deepEqual([await waiting(alone), (await told(alone)).errors, await alone.evaluate(() => client.durability)], [0, [], 'durable']);
  await alone.close();

  // The next owner finds nothing to do.
  await owner.close();
  await until(rider, () => client.sharing.state === 'owner' && client.status === 'connected');
  await send(rider, 42, 'left');
  assert.deepEqual(await held(rider, 'left', 42), numbers(1, 42));
  await settle(1);
  assert.deepEqual([owner.faults, rider.faults, (await told(rider)).errors], [[], [], []]);
});

it('a tab that does not share keeps its outbox while it lives; what it leaves is sent when it is gone', { timeout: 90_000 }, async () => {
  const shared = await context();
  const alone = await tab(shared, 'bob', ALONE);
  const owner = await tab(shared, 'bob');
  await settle(2);
  await within(alone.evaluate(() => client.disconnect()));
  await queue(alone, 'kept', numbers(1, 20));
  await until(alone, () => client.outbox.filter(({ state }) => state === 'queued').length === 20);
  await alone.waitForTimeout(500);
  await send(owner, 0, 'kept');
  assert.deepEqual(await held(owner, 'kept', 1), [0]);
  await alone.close();
  assert.deepEqual(await held(owner, 'kept', 21), numbers(0, 20));
  await settle(1);
});

it('what another user left stays his', { timeout: 90_000 }, async () => {
  const shared = await context();
  const cem = await tab(shared, 'cem', ALONE);
  await send(cem, 0, 'his');
  await within(cem.evaluate(() => client.disconnect()));
  await queue(cem, 'his', [1, 2, 3]);
  await until(cem, () => client.outbox.filter(({ state }) => state === 'queued').length === 3);
  await cem.waitForTimeout(500);
  await cem.close();
  const dee = await tab(shared, 'dee');
  await send(dee, 'dee', 'hers');
  await settle(1);
  assert.deepEqual(await held(dee, 'his', 1), [0]);
  const again = await tab(shared, 'cem', ALONE);
  await until(again, () => client.outbox.every(({ state }) => state !== 'queued'), undefined, 'an empty outbox');
  assert.deepEqual(await held(again, 'his', 4), [0, 1, 2, 3]);
});
