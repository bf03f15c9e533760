// Tabs that share one connection, in Chromium against a real server: one socket, every tab as if it were alone, and an owner that is
// closed, crashed, frozen, hung or reloaded in mid-send.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { VideoWebSocketClient, WebSocketClient } from '@wardline/client';
import { within } from './support.mjs';
import { crash, send, sharing, startTabs, subscribe, told, until } from './tabs.mjs';

/** What a person is promised. */
const SURVIVED_WITHIN = 5000;

const { server, pages, context, tab, settle, held } = await startTabs();

describe('tabs that share', () => {
  it('have one socket, and each hears every event once and in order', async () => {
    const shared = await context();
    const tabs = [];
    for (let n = 0; n < 3; n++) {
      const page = await tab(shared, 'ann');
      await subscribe(page, 'news');
      tabs.push(page);
    }
    assert.deepEqual(await Promise.all(tabs.map(sharing)), ['owner', 'rider', 'rider']);
    await settle(1);
    // From the server, and from each tab.
    for (let from = 0; from < 600; from += 200) {
      await server.publish(Array.from({ length: 200 }, (_, n) => ({ room: 'default/news', event: 'n', data: from + n })));
    }
    for (const [n, page] of tabs.entries()) assert.equal(await send(page, `tab ${n}`, 'news'), 'accepted');
    const wanted = [...Array(600).keys(), 'tab 0', 'tab 1', 'tab 2'];
    for (const page of tabs) {
      await until(page, size => told.messages.length >= size, wanted.length, 'all events');
      const { messages, statuses, ids, errors, gaps } = await told(page);
      assert.deepEqual(messages, wanted);
      assert.deepEqual(statuses, ['connecting', 'connected']);
      assert.equal(ids.length, 1);
      assert.deepEqual([errors, gaps, page.faults], [[], [], []]);
    }
    assert.equal(new Set((await Promise.all(tabs.map(told))).map(({ ids }) => ids[0])).size, 1);
    await settle(1);
  });

  it('send from all of them at once: each item arrives once, in the order of its tab', async () => {
    const shared = await context();
    const tabs = await Promise.all(['a', 'b', 'c'].map(() => tab(shared, 'bea')));
    const sent = await Promise.all(
      tabs.map((page, index) =>
        page.evaluate(async index => {
          const receipts = await Promise.all(Array.from({ length: 200 }, (_, n) => client.send('n', `${index}:${n}`, { room: 'sent' })));
          return receipts.map(({ state }) => state);
        }, index),
      ),
    );
    assert.ok(sent.flat().every(state => state === 'accepted'));
    const found = await held('sent');
    assert.equal(found.length, 600);
    for (const index of [0, 1, 2]) {
      const own = found.filter(item => item.startsWith(`${index}:`));
      assert.deepEqual(own, Array.from({ length: 200 }, (_, n) => `${index}:${n}`));
    }
    await settle(1);
  });

  it('refuse, query, command and are present from a tab that does not own', async () => {
    const shared = await context();
    await tab(shared, 'cem');
    const rider = await tab(shared, 'cem', { kind: 'AlertWebSocketClient' });
    assert.equal(await sharing(rider), 'rider');
    const answers = await within(
      rider.evaluate(async () => {
        await client.joinRoom('default/desk', { seat: 4 });
        const code = ({ code }) => code;
        const twice = 'ab'.repeat(16);
        const [first] = await Promise.all([client.send('n', 1, { room: 'default/desk', id: twice }), client.send('n', 2, { room: 'default/desk' })]);
        const alert = await client.create({ type: 'intrusion', severity: 'high', title: 'Door' });
        const after = await client.acknowledge(alert.id, 'on it');
        return {
          rooms: await client.queryRooms(),
          presence: await client.queryPresence('default/desk'),
          history: (await client.history('default/desk')).messages.map(({ data }) => data),
          id: first.id === twice,
          alert: after.status,
          forbidden: await client.subscribe('alerts/tenant:other').catch(code),
          badRoom: await client.send('n', 1, { room: 'a/b/c' }).catch(code),
          unknown: await client.acknowledge('nope').catch(code),
          big: await client.send('n', 'x'.repeat(2_000_000), { room: 'default/desk' }).catch(code),
          cyclic: await client.send('n', globalThis, { room: 'default/desk' }).catch(code),
          cast: await client.cast('default/desk', 'wave').then(() => 'done', code),
        };
      }),
    );
    assert.deepEqual(answers, {
      rooms: ['default/desk'], presence: [{ userId: 'cem', status: 'online', metadata: { seat: 4 } }], history: [1, 2], id: true, alert: 'acknowledged',
      forbidden: 'forbidden', badRoom: 'bad_room', unknown: 'not_found', big: 'too_large', cyclic: 'bad_data', cast: 'done',
    });
    const other = new WebSocketClient({ url: server.url, token: server.token('dee'), autoJoin: false });
    await within(other.connect());
    await other.joinRoom('desk');
    await until(rider, () => told.presence.some(([kind, user]) => kind === 'join' && user === 'dee'));
    await other.close();
    await until(rider, () => told.presence.some(([kind, user]) => kind === 'leave' && user === 'dee'));
    await settle(1);
  });

  it('a late tab gets its own replay, and the others nothing twice', async () => {
    const shared = await context();
    const [first, second] = [await tab(shared, 'eve'), await tab(shared, 'eve')];
    for (const page of [first, second]) await subscribe(page, 'log');
    for (let n = 0; n < 50; n++) await send(first, n, 'log');
    const cursor = await second.evaluate(async () => (await client.history('log', { from: 'first', limit: 20 })).messages.at(-1).cursor);
    const late = await tab(shared, 'eve');
    const behind = await tab(shared, 'eve');
    const fresh = await tab(shared, 'eve');
    await subscribe(late, 'log', { from: 'first' });
    await subscribe(behind, 'log', { cursor });
    await subscribe(fresh, 'log');
    await send(second, 50, 'log');
    const wanted = Array.from({ length: 51 }, (_, n) => n);
    const skip = new Map([[late, 0], [behind, 20], [fresh, 50], [first, 0], [second, 0]]);
    for (const [page, from] of skip) {
      await until(page, () => told.messages.at(-1) === 50, undefined, 'the last event');
      await page.waitForTimeout(50);
      assert.deepEqual((await told(page)).messages, wanted.slice(from));
    }
    await settle(1);
  });

  it('one that disconnects hears nothing until it connects again, and then what it missed', async () => {
    const shared = await context();
    const [owner, rider] = [await tab(shared, 'fay'), await tab(shared, 'fay')];
    for (const page of [owner, rider]) await subscribe(page, 'gone');
    await send(owner, 1, 'gone');
    for (const page of [owner, rider]) await until(page, () => told.messages.includes(1));
    for (const [away, other] of [[rider, owner], [owner, rider]]) {
      const before = (await told(away)).messages.length;
      await within(away.evaluate(() => client.disconnect()));
      assert.equal(await away.evaluate(() => client.status), 'disconnected');
      await send(other, 'missed', 'gone');
      await until(other, size => told.messages.length > size, before);
      await away.waitForTimeout(100);
      assert.equal((await told(away)).messages.length, before);
      await settle(1);
      await within(away.evaluate(() => client.connect()));
      await until(away, size => told.messages.length > size, before);
    }
    for (const page of [owner, rider]) assert.deepEqual((await told(page)).messages, [1, 'missed', 'missed']);
    assert.deepEqual((await told(rider)).statuses, ['connecting', 'connected', 'disconnected', 'connecting', 'connected']);
    await Promise.all([owner, rider].map(page => within(page.evaluate(() => client.disconnect()))));
    await settle(0);
  });

  it('a room that is read goes on with the next owner, and with a later life of the tab, behind what is done', async () => {
    const shared = await context();
    const owner = await tab(shared, 'nat');
    const reader = await tab(shared, 'nat');
    await tab(shared, 'nat');
    for (let n = 0; n < 10; n++) await send(owner, n, 'read');
    const read = (page, size) =>
      within(
        page.evaluate(async size => {
          globalThis.room ??= await client.room('read', { durable: 'reader', from: 'first' });
          const found = [];
          while (found.length < size) found.push(...(await room.next(1)).map(({ data }) => data));
          return found;
        }, size),
        'the room',
      );
    assert.deepEqual(await read(reader, 5), [0, 1, 2, 3, 4]);
    await owner.close();
    await until(reader, () => client.status === 'connected' && told.ids.length === 2);
    assert.deepEqual(await read(reader, 5), [5, 6, 7, 8, 9]);
    await send(reader, 10, 'read');
    // Taken and not done: it comes again in the next life, nothing before it does.
    assert.deepEqual(await read(reader, 1), [10]);
    await reader.evaluate(async () => {
      room.next(1);
      await client.send('n', 11, { room: 'read' });
    });
    await reader.waitForTimeout(1000);
    await reader.open();
    await send(reader, 12, 'read');
    assert.deepEqual(await read(reader, 2), [11, 12]);
    assert.deepEqual(reader.faults, []);
  });

  it('show and send pictures, each tab its own', async () => {
    const shared = await context();
    const token = server.token('cams', { roles: ['service'] });
    const options = { token, kind: 'VideoWebSocketClient' };
    const tabs = [await tab(shared, 'cams', options), await tab(shared, 'cams', options)];
    const other = new VideoWebSocketClient({ url: server.url, token: server.token('other', { roles: ['service'] }), autoJoin: false });
    await within(other.connect());
    let pushing;
    try {
      for (const [index, page] of tabs.entries()) {
        // The same number in both: a stream's number is the tab's.
        await within(
          page.evaluate(async index => {
            globalThis.publisher = await client.publish(`tab-${index}`, { number: 1, width: 4, height: 2 });
            setInterval(() => publisher.push(new Uint8Array(20_000).fill(index + 1), 1000, true), 50);
          }, index),
        );
        const pictures = await within(other.watch(`tab-${index}`));
        for (let n = 0; n < 3; n++) assert.deepEqual([...new Set((await within(pictures.next(), 'a picture of a tab')).data)], [index + 1]);
        await until(page, () => publisher.viewers === 1);
        await within(pictures.leave());
      }
      const publisher = await within(other.publish('other', { number: 1, width: 4, height: 2 }));
      pushing = setInterval(() => publisher.push(new Uint8Array(20_000).fill(9), 1000, true), 50);
      // Two tabs watch one camera.
      const watch = page =>
        page.evaluate(async () => {
          const pictures = await client.watch('other');
          const found = [];
          for (let n = 0; n < 3; n++) {
            const { data, width } = await pictures.next();
            found.push([data.length, data[0], data.at(-1), width]);
          }
          return found;
        });
      for (const seen of await within(Promise.all(tabs.map(watch)), 'pictures')) assert.deepEqual(seen, Array(3).fill([20_000, 9, 9, 4]));
    } finally {
      clearInterval(pushing);
      await other.close();
    }
    await settle(1);
  });

  it('take commands, one tab at a time', async () => {
    const shared = await context();
    const options = { token: server.token('site', { roles: ['service'] }), kind: 'VideoWebSocketClient' };
    const tabs = [await tab(shared, 'site', options), await tab(shared, 'site', options)];
    for (const page of tabs) {
      await within(
        page.evaluate(async () => {
          globalThis.taken = [];
          const commands = await client.handleCommands();
          void (async () => {
            for await (const command of commands) {
              taken.push(command.data.cameraId);
              await command.answer({ cameraId: command.data.cameraId, quality: 'low' });
            }
          })();
        }),
      );
    }
    const asking = new VideoWebSocketClient({ url: server.url, token: server.token('ask'), autoJoin: false });
    await within(asking.connect());
    try {
      for (const camera of ['1', '2', '3']) await within(asking.startStream(camera));
      assert.deepEqual(await Promise.all(tabs.map(page => page.evaluate(() => taken))), [['1', '2', '3'], []]);
      await tabs[0].close();
      await within(asking.startStream('4'), 'the other tab takes it');
      assert.ok((await tabs[1].evaluate(() => taken)).includes('4'));
    } finally {
      await asking.close();
    }
  });

  it('an owner that has no token passes the connection on to one that has', async () => {
    const shared = await context();
    await shared.exposeFunction('fresh', () => server.token('gil'));
    const owner = await tab(shared, 'gil', { token: server.token('gil', { ttl: 6 }) });
    const rider = await shared.newPage();
    await rider.goto(pages.url);
    await rider.waitForFunction(() => globalThis.make);
    await within(
      rider.evaluate(url => {
        make(url, () => fresh());
        return client.connect();
      }, server.url),
    );
    for (const page of [owner, rider]) await subscribe(page, 'tokens');
    assert.deepEqual([await sharing(owner), await sharing(rider)], ['owner', 'rider']);
    await until(rider, () => client.sharing.state === 'owner', undefined, 'the other owns', 30_000);
    await until(rider, () => client.status === 'connected');
    await until(owner, () => client.status === 'connected' && client.sharing.state === 'rider');
    assert.equal(await send(owner, 'after', 'tokens'), 'accepted');
    for (const page of [owner, rider]) await until(page, () => told.messages.includes('after'));
    assert.ok(!(await told(owner)).statuses.includes('unauthenticated'));
    await settle(1);
  });
});

describe('an owner that is lost in mid-send', () => {
  const state = async (page, state) => (await page.context().newCDPSession(page)).send('Page.setWebLifecycleState', { state });
  const ways = {
    'is closed': { lose: page => page.close() },
    crashes: { lose: crash },
    'is frozen by the browser': { lose: page => state(page, 'frozen'), back: page => state(page, 'active') },
    'hangs in a script': {
      lose: page => page.evaluate(() => void setTimeout(() => { for (const end = performance.now() + 7000; performance.now() < end;); })),
      back: page => page.waitForTimeout(7500),
    },
    'is reloaded': { lose: page => page.open(), again: true },
  };
  for (const [way, { lose, back, again }] of Object.entries(ways)) {
    it(`where it ${way}, the others go on: nothing lost, nothing doubled, within 5 s`, { timeout: 120_000 }, async t => {
      const room = `lost-${Object.keys(ways).indexOf(way)}`;
      const user = `user-${room}`;
      const shared = await context();
      const tabs = [await tab(shared, user), await tab(shared, user), await tab(shared, user)];
      const [owner, ...others] = tabs;
      assert.equal(await sharing(owner), 'owner');
      for (const page of tabs) await subscribe(page, room);
      for (const [index, page] of tabs.entries()) await page.evaluate(([index, room]) => pump(index, room), [index, room]);
      for (const page of tabs) await until(page, () => acked.length > 30);
      const before = again || back ? await owner.evaluate(() => [...acked]) : [];
      const at = Date.now();
      await lose(owner);
      // Whoever owns now is another, or the one that came again.
      for (const page of others) await until(page, at => told.at.at(-1) > at + 1000 && client.status === 'connected' && acked.length > 120, at, 'going on', 20_000);
      if (back) {
        await back(owner);
        await until(owner, () => client.status === 'connected', undefined, 'the lost one is back', 20_000);
      }
      const alive = back ? tabs : others;
      await Promise.all(alive.map(page => page.evaluate(() => clearInterval(pumping))));
      for (const page of alive) {
        await until(page, () => client.outbox.every(({ state }) => state !== 'queued'), undefined, 'everything told', 40_000);
      }
      await others[0].waitForTimeout(300);
      if (!back) await settle(1);
      const found = await held(room);
      assert.equal(new Set(found).size, found.length, 'doubled');
      const gaps = [];
      for (const page of alive) {
        await until(page, last => told.messages.at(-1) === last, found.at(-1), 'the last event');
        const { messages, at: times, gaps: lost, errors } = await told(page);
        assert.deepEqual(messages, found, 'each event once and in order');
        assert.deepEqual([lost, errors, page.faults], [[], [], []]);
        const mine = await page.evaluate(() => ({ acked, failed }));
        assert.deepEqual(mine.failed, []);
        const own = found.filter(item => item.split(':')[0] === String(tabs.indexOf(page)));
        // As they were sent; and what was told is all that was sent.
        assert.deepEqual(own, own.map((_, n) => `${tabs.indexOf(page)}:${n + 1}`));
        assert.deepEqual([...mine.acked].sort(), [...own].sort());
        if (page !== owner) gaps.push(Math.max(...times.slice(1).map((time, n) => time - times[n])));
      }
      for (const item of before) assert.ok(found.includes(item), `told and lost: ${item}`);
      const longest = Math.max(...gaps);
      t.diagnostic(`${way}: the others heard nothing for ${longest} ms at most; ${found.length} items, 0 lost, 0 doubled`);
      assert.ok(longest < SURVIVED_WITHIN, `${longest} ms`);
    });
  }
});

it('tabs and the server are lost in turn, whoever owns: nothing lost, nothing doubled, all in order', { timeout: 600_000 }, async t => {
  const ROUNDS = Number(process.env.WARDLINE_ROUNDS ?? 12);
  let seed = Number(process.env.WARDLINE_SEED ?? Date.now() % 1_000_000);
  t.diagnostic(`seed ${seed}`);
  const draw = size => {
    seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31;
    return Math.floor((seed / 2 ** 31) * size);
  };
  const shared = await context();
  const acked = new Map();
  await shared.exposeFunction('acked', item => void acked.set(item, (acked.get(item) ?? 0) + 1));
  let life = 0;
  const begin = async page => {
    await page.evaluate(room => client.subscribe(room), 'turns');
    await page.evaluate(
      name => {
        let n = 0;
        globalThis.failed = [];
        globalThis.pumping = setInterval(() => {
          const item = `${name}:${++n}`;
          client.send('n', item, { room: 'turns' }).then(() => acked(item), ({ code }) => failed.push([item, code]));
        }, 100);
      },
      `life-${++life}`,
    );
    return page;
  };
  const tabs = [];
  for (let n = 0; n < 3; n++) tabs.push(await begin(await tab(shared, 'turns')));
  const faults = [];
  const lifecycle = async (page, state) => (await shared.newCDPSession(page)).send('Page.setWebLifecycleState', { state });
  for (let round = 0; round < ROUNDS; round++) {
    const at = draw(3);
    const page = tabs[at];
    const fault = ['close', 'crash', 'reload', 'freeze', 'server'][draw(5)];
    faults.push(`${fault}${fault === 'server' ? '' : ` ${await sharing(page)}`}`);
    if (fault === 'server') {
      await server.kill();
      await new Promise(done => setTimeout(done, draw(500)));
      await server.start();
    } else if (fault === 'freeze') {
      await lifecycle(page, 'frozen');
      await new Promise(done => setTimeout(done, draw(1500)));
      await lifecycle(page, 'active');
    } else if (fault === 'reload') {
      await page.open();
      await begin(page);
    } else {
      if (fault === 'crash') await crash(page);
      await within(page.close(), 'closed');
      tabs[at] = await begin(await tab(shared, 'turns'));
    }
    await new Promise(done => setTimeout(done, draw(700)));
  }
  t.diagnostic(faults.join(', '));
  for (const page of tabs) await page.evaluate(() => clearInterval(pumping));
  for (const page of tabs) {
    await until(page, () => client.status === 'connected' && client.outbox.every(({ state }) => state !== 'queued'), undefined, 'everything told', 60_000);
  }
  await settle(1);
  const found = await held('turns');
  assert.equal(new Set(found).size, found.length, 'doubled');
  const lost = [...acked.keys()].filter(item => !found.includes(item));
  assert.deepEqual(lost, [], 'told and lost');
  const last = new Map();
  for (const item of found) {
    const [name, n] = item.split(':');
    assert.ok(Number(n) > (last.get(name) ?? 0), `${item} after ${last.get(name)}`);
    last.set(name, Number(n));
  }
  for (const page of tabs) {
    await until(page, last => told.messages.at(-1) === last, found.at(-1), 'the last event');
    const { messages, gaps, errors } = await told(page);
    assert.deepEqual(messages, found.slice(found.indexOf(messages[0])), 'each event once and in order');
    assert.deepEqual([gaps, errors, await page.evaluate(() => failed), page.faults], [[], [], [], []]);
  }
  t.diagnostic(`${found.length} items of ${life} lives, ${acked.size} told, 0 lost, 0 doubled`);
});

describe('where tabs cannot share', () => {
  const without = {
    'Web Locks': () => Object.defineProperty(Navigator.prototype, 'locks', { get: () => undefined }),
    BroadcastChannel: () => delete globalThis.BroadcastChannel,
    IndexedDB: () => {
      IDBFactory.prototype.open = () => {
        throw new DOMException('denied', 'SecurityError');
      };
    },
  };
  for (const [what, take] of Object.entries(without)) {
    it(`without ${what} each has a connection of its own, and says why`, async () => {
      const shared = await context();
      await shared.addInitScript(take);
      const tabs = [await tab(shared, 'hal'), await tab(shared, 'hal')];
      await settle(2);
      for (const page of tabs) {
        const [[state, reason]] = (await told(page)).sharing;
        assert.equal(state, 'alone');
        assert.match(reason, what === 'IndexedDB' ? /cannot be opened/ : /Web Locks/);
        assert.equal(await sharing(page), 'alone');
      }
    });
  }

  it('different users and servers do not', async () => {
    const shared = await context();
    await tab(shared, 'ida');
    await tab(shared, 'jon');
    await tab(shared, 'kim', { share: 'same' });
    const other = await tab(shared, 'kim', { share: 'same' });
    assert.equal(await sharing(other), 'rider');
    await settle(3);
  });

  it('in Node neither', async () => {
    const client = new WebSocketClient({ url: server.url, token: server.token('lea'), share: true, autoJoin: false });
    const said = [];
    client.on('sharing', sharing => said.push(sharing));
    await within(client.connect());
    assert.deepEqual(said, [{ state: 'alone', reason: 'only browsers have tabs' }]);
    await client.close();
  });

  it('words of another version, or of none, are passed over', async () => {
    const shared = await context();
    const [owner, rider] = [await tab(shared, 'mia'), await tab(shared, 'mia')];
    const stranger = await shared.newPage();
    await stranger.goto(pages.url);
    await subscribe(rider, 'strange');
    await stranger.evaluate(async () => {
      const { held } = await navigator.locks.query();
      for (const { name } of held.filter(({ name }) => name.startsWith('wardline/tabs'))) {
        const channel = new BroadcastChannel(name);
        for (const odd of [null, 7, 'x', [], ['what'], ['owner'], ['hello'], [1], [1, 2], [1, [{}]], [99, [{ c: 'never' }]], [1, [{ c: 'never', sub: 1 }]], { a: new Map() }]) channel.postMessage(odd);
        channel.close();
      }
    });
    assert.equal(await send(rider, 'fine', 'strange'), 'accepted');
    await until(rider, () => told.messages.includes('fine'));
    assert.deepEqual([owner.faults, rider.faults], [[], []]);
    await settle(1);
  });
});
