// Tabs that share one connection: rooms whose lost events a hook makes good, and rooms that keep the latest value of each key, for a tab
// that does not own and across the loss of the one that does.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { within } from './support.mjs';
import { crash, send, sharing, startTabs, subscribe, told, until } from './tabs.mjs';

const NAMESPACES = JSON.stringify({ fleet: { latest: ['asset'] } });
const { server, context, tab, settle } = await startTabs({ env: { NAMESPACES } });

/** A position the log does not prove: what follows it is lost. */
const UNPROVED = { seq: 3, mark: '00000000000000aa' };
const numbers = (from, to) => Array.from({ length: to - from + 1 }, (_, n) => from + n);

/** A tab that owns and so many that ride on it. */
async function tabs(user, riders) {
  const shared = await context();
  const made = [];
  for (let n = 0; n <= riders; n++) made.push(await tab(shared, user));
  assert.deepEqual(await Promise.all(made.map(sharing)), ['owner', ...Array(riders).fill('rider')]);
  return made;
}

/** Lets a tab read a room from a lost position; its hook answers `cursor`, or what `answer` gives it. */
async function hook(page, room, cursor, held = false) {
  await within(
    page.evaluate(
      async ([room, from, cursor, held]) => {
        globalThis.hooked = { heads: [], found: [] };
        let answer;
        globalThis.answer = new Promise(done => (answer = done));
        globalThis.letGo = () => answer();
        if (!held) answer();
        // Joined it is only once the hook has answered.
        const joining = client.room(room, {
          cursor: from,
          snapshot: async head => {
            hooked.heads.push(head);
            await globalThis.answer;
            return cursor;
          },
        });
        void (async () => {
          for await (const { data } of await joining) hooked.found.push(data);
        })();
      },
      [room, UNPROVED, cursor, held],
    ),
    'the room',
  );
}
const found = page => page.evaluate(() => hooked);
const lost = async page => (await told(page)).gaps.map(({ from }) => from);

describe('a snapshot hook', () => {
  it('of a tab that does not own is asked once, and the room goes on behind its answer with whoever owns', { timeout: 60_000 }, async () => {
    const [owner, rider, other] = await tabs('ann', 2);
    for (const n of numbers(1, 10)) await send(owner, n, 'hooked');
    const cursor = await owner.evaluate(async () => (await client.history('hooked', { from: 'first', limit: 5 })).messages.at(-1).cursor);
    await hook(rider, 'hooked', cursor);
    // One that answers nothing goes on at the head.
    await hook(other, 'hooked', null);
    await until(rider, () => hooked.found.at(-1) === 10, undefined, 'the rest', 20_000);
    await until(other, () => hooked.heads.length === 1, undefined, 'the other hook', 20_000);
    await other.waitForTimeout(200);
    await send(owner, 11, 'hooked');
    for (const page of [rider, other]) await until(page, () => hooked.found.at(-1) === 11);
    for (const n of [12, 13]) {
      if (n === 12) await owner.close();
      await send(other, n, 'hooked');
      for (const page of [rider, other]) await until(page, n => hooked.found.at(-1) === n, n);
    }
    const heads = [];
    for (const [page, from] of [[rider, 6], [other, 11]]) {
      const hooked = await found(page);
      assert.deepEqual(hooked.found, numbers(from, 13));
      assert.equal(hooked.heads.length, 1);
      heads.push(hooked.heads[0].seq - cursor.seq);
      assert.deepEqual([await lost(page), (await told(page)).errors, page.faults], [[UNPROVED], [], []]);
    }
    assert.deepEqual(heads, [5, 5]);
    await settle(1);
  });

  for (const [answers, from] of [['a position', 6], ['nothing', 11]]) {
    it(`that is at work when the owner is lost, and then answers ${answers}, is not asked again; nothing is lost or doubled`, { timeout: 60_000 }, async () => {
      const room = `at-work-${from}`;
      const [owner, rider, other] = await tabs('bob', 2);
      for (const n of numbers(1, 10)) await send(owner, n, room);
      const cursor = await owner.evaluate(async room => (await client.history(room, { from: 'first', limit: 5 })).messages.at(-1).cursor, room);
      await hook(rider, room, from === 6 ? cursor : null, true);
      await until(rider, () => hooked.heads.length === 1, undefined, 'the hook', 20_000);
      await crash(owner);
      await until(rider, () => client.status === 'connected' && told.ids.length === 2, undefined, 'the next owner', 20_000);
      // Between the head the hook was told and its answer.
      await send(other, 11, room);
      // The next owner's own loss of the same events has been told by then, up to 5 s later.
      await rider.waitForTimeout(6000);
      await rider.evaluate(() => letGo());
      await send(other, 12, room);
      await until(rider, () => hooked.found.at(-1) === 12, undefined, 'the rest', 20_000);
      const hooked = await found(rider);
      assert.deepEqual(hooked.found, numbers(from, 12));
      assert.equal(hooked.heads.length, 1, 'asked once');
      assert.deepEqual([await lost(rider), (await told(rider)).errors, rider.faults], [[UNPROVED], [], []]);
      await settle(1);
    });
  }
});

describe('a room that keeps the latest of each key', () => {
  const ROOM = 'fleet/asset:cars';
  const put = (key, v) => server.publish([{ room: ROOM, event: 'n', key, data: v === null ? null : { key, v } }]);
  const watch = page =>
    page.evaluate(() => {
      globalThis.values = [];
      client.on('message', ({ event, data, key, gone, cursor }) => event === 'n' && values.push([key, gone ? null : data.v, cursor.seq]));
    });
  /** What a tab knows now, after each key only ever went forward. */
  const known = async page => {
    const last = new Map();
    for (const [key, v, seq] of await page.evaluate(() => values)) {
      assert.ok(seq > (last.get(key)?.[1] ?? -1), `${key} at ${seq} after ${last.get(key)}`);
      last.set(key, [v, seq]);
    }
    return Object.fromEntries([...last].map(([key, [v]]) => [key, v]));
  };

  for (const [way, lose] of Object.entries({ 'is closed': page => page.close(), crashes: crash })) {
    it(`goes on where its owner ${way}: each key only forward, each newest value there`, { timeout: 60_000 }, async () => {
      await Promise.all(['a', 'b', 'c', 'd'].map(key => put(key, null)));
      const [owner, first, second] = await tabs('cem', 2);
      for (const page of [owner, first, second]) await watch(page);
      for (const key of ['a', 'b', 'c']) await put(key, 1);
      for (const page of [owner, first, second]) await subscribe(page, ROOM, { from: 'first' });
      for (const page of [first, second]) await until(page, () => values.filter(([, v]) => v === 1).length === 3, undefined, 'all keys');
      let v = 1;
      const moving = (async () => {
        while (v < 200) await put('a', ++v);
      })();
      await until(second, () => values.some(([key, v]) => key === 'a' && v > 20), undefined, 'the key that moves', 20_000);
      await lose(owner);
      // While nobody owns.
      await put('b', 2);
      await put('c', null);
      await put('d', 1);
      await within(moving, 'all values', 30_000);
      await put('b', 3);
      for (const page of [first, second]) {
        const all = () => ['a200', 'b3', 'cnull', 'd1'].every(wanted => values.some(([key, v]) => key + v === wanted));
        await until(page, all, undefined, 'the newest', 20_000).catch(async error => {
          throw new Error(`${error.message}: ${JSON.stringify([await known(page), await told(page)])}`);
        });
        await page.waitForTimeout(200);
        assert.deepEqual(await known(page), { a: 200, b: 3, c: null, d: 1 });
        const { gaps, errors } = await told(page);
        assert.deepEqual([gaps, errors, page.faults], [[], [], []]);
      }
      // One that comes late has each newest value, and the others none again.
      const before = await first.evaluate(() => values.length);
      const late = await tab(first.context(), 'cem');
      await watch(late);
      await subscribe(late, ROOM, { from: 'first' });
      await until(late, () => ['a200', 'b3', 'd1'].every(wanted => values.some(([key, v]) => key + v === wanted)), undefined, 'the newest, late');
      await late.waitForTimeout(200);
      const { a, b, d } = await known(late);
      assert.deepEqual([a, b, d], [200, 3, 1]);
      assert.equal(await first.evaluate(() => values.length), before);
      await settle(1);
    });
  }
});
