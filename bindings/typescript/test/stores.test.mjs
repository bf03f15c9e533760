// The storage suite on memory and the file in Node, on IndexedDB in Chromium; and a browser that is killed, or keeps no data.
import assert from 'node:assert/strict';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileStore } from '@wardline/client';
import { build } from 'esbuild';
import { servePage, startBrowser, startStage } from './browser.mjs';
import { folder, root, within } from './support.mjs';
import { suite } from './store-suite.mjs';

let place;
before(() => {
  place = folder('wardline-stores-');
});
after(() => place.remove());

describe('the storage suite on a file', () => {
  for (const [index, [name, test]] of Object.entries(suite).entries()) {
    it(name, async () => {
      const path = join(place.path, `suite-${index}`);
      const stores = [];
      const shelf = {
        durable: true,
        async open() {
          const store = await fileStore(path);
          stores.push(store);
          return store;
        },
        close: store => store.close(),
        async failing(work) {
          // The disk does not take it.
          const probe = await open(path, 'a+');
          const file = Object.getPrototypeOf(probe);
          await probe.close();
          const real = file.datasync;
          file.datasync = async () => {
            file.datasync = real;
            throw new Error('planted');
          };
          try {
            return await work();
          } finally {
            file.datasync = real;
          }
        },
      };
      try {
        await test(shelf);
      } finally {
        await Promise.all(stores.map(store => store.close()));
      }
    });
  }
});

describe('the storage suite in memory', () => {
  let memoryStore;
  before(async () => {
    const outfile = join(place.path, 'memory.mjs');
    const contents = `export { memoryStore } from '../src/core/stores.js';`;
    await build({ stdin: { contents, resolveDir: join(root, 'test') }, bundle: true, outfile, format: 'esm', platform: 'node', tsconfigRaw: '{}' });
    ({ memoryStore } = await import(outfile));
  });
  for (const [name, test] of Object.entries(suite)) {
    // Memory does not fail.
    if (name.startsWith('a failed batch')) continue;
    it(name, async () => {
      const store = memoryStore();
      await test({ durable: false, open: async () => store, close: async () => {} });
    });
  }
});

const PAGE = `
  import { browserStore, indexedDbStore } from '../src/core/stores.js';
  import { suite } from './store-suite.mjs';
  let count = 0;
  globalThis.run = async name => {
    const place = 'suite-' + ++count;
    const shelf = {
      durable: true,
      open: () => indexedDbStore(place),
      close: async store => store.close(),
      async failing(work) {
        const { put } = IDBObjectStore.prototype;
        // What the browser itself refuses: a key of no valid type.
        IDBObjectStore.prototype.put = function (value) { return put.call(this, value, {}); };
        try { return await work(); } finally { IDBObjectStore.prototype.put = put; }
      },
    };
    try { await suite[name](shelf); return 'passed'; } catch (error) { return error.stack; }
  };
  globalThis.store = indexedDbStore;
  globalThis.locked = browserStore;
`;

describe('the storage suite on IndexedDB', () => {
  let browser;
  let pages;
  let page;
  before(async () => {
    pages = await servePage(PAGE);
    browser = await startBrowser();
    page = await browser.newPage();
    await page.goto(pages.url);
    await page.waitForFunction(() => globalThis.run);
  });
  after(async () => {
    await browser?.close();
    pages?.close();
  });
  for (const name of Object.keys(suite)) {
    it(name, async () => assert.equal(await within(page.evaluate(name => run(name), name), name), 'passed'));
  }

  it('a page that is held up while it asks for its lock takes it all the same; one that another tab holds is given up', async () => {
    const context = await browser.newContext();
    const [one, other] = [await context.newPage(), await context.newPage()];
    for (const tab of [one, other]) {
      await tab.goto(pages.url);
      await tab.waitForFunction(() => globalThis.locked);
    }
    const [durable, why] = await one.evaluate(async () => {
      const { request } = LockManager.prototype;
      // The wait is over before the browser has heard of the request.
      LockManager.prototype.request = function (...words) {
        for (const end = performance.now() + 1500; performance.now() < end;);
        return new Promise((done, fail) => setTimeout(() => request.apply(this, words).then(done, fail), 10));
      };
      const store = await globalThis.locked('held-up');
      LockManager.prototype.request = request;
      return [store.durable, store.why];
    });
    assert.deepEqual([durable, why], [true, undefined]);
    assert.deepEqual(await other.evaluate(async () => (await globalThis.locked('held-up')).why[0]), 'held');
    // What was given up is not asked for any more.
    assert.equal(await other.evaluate(async () => (await navigator.locks.query()).pending.length), 0);
    await context.close();
  });

  it('a page that is stopped in mid-commit holds nobody up', async () => {
    const context = await browser.newContext();
    const [one, other] = [await context.newPage(), await context.newPage()];
    for (const tab of [one, other]) {
      await tab.goto(pages.url);
      await tab.waitForFunction(() => globalThis.store);
    }
    // Commits without end, so that one is under way whenever the page stops; its script then never runs again.
    await one.evaluate(async () => {
      const store = await globalThis.store('stopped');
      const { lock } = await store.load();
      for (let n = 0; n < 20; n++) await store.commit([{ lock, add: [[`${n}`, 'x']], put: [], remove: [] }]);
      setTimeout(() => {
        for (let n = 20; n < 40; n++) void store.commit([{ lock, add: [[`${n}`, 'x']], put: [], remove: [] }]);
        const end = performance.now() + 20_000;
        while (performance.now() < end);
      }, 50);
    });
    await other.waitForTimeout(200);
    const [took, size] = await other.evaluate(async () => {
      const begin = performance.now();
      const store = await globalThis.store('stopped');
      const { entries } = await store.load();
      return [performance.now() - begin, entries.length];
    });
    assert.ok(took < 2000, `${took} ms`);
    assert.ok(size >= 20, `${size}`);
    await context.close();
  });
});

it('what a commit told is there after the browser was killed', async () => {
  const profile = join(place.path, 'profile');
  const pages = await servePage(PAGE);
  try {
    const first = await startBrowser({ profile, more: ['--remote-debugging-port=0'] });
    const page = await first.newPage();
    await page.goto(pages.url);
    await page.waitForFunction(() => globalThis.store);
    const session = await first.newCDPSession(page);
    await page.evaluate(async () => {
      const store = await globalThis.store('killed');
      const { lock } = await store.load();
      for (let n = 0; n < 50; n++) await store.commit([{ lock, add: [[String(n).padStart(2, '0'), 'x']], put: [], remove: [] }]);
    });
    const gone = new Promise(done => first.once('close', done));
    // Crashes the browser itself, without an end in order.
    await session.send('Browser.crash').catch(() => {});
    await within(gone, 'the crash');
    const second = await startBrowser({ profile });
    const again = await second.newPage();
    await again.goto(pages.url);
    await again.waitForFunction(() => globalThis.store);
    const keys = await again.evaluate(async () => (await (await globalThis.store('killed')).load()).entries.map(([key]) => key));
    assert.equal(keys.length, 50);
    await second.close();
  } finally {
    pages.close();
  }
});

describe('IndexedDB that cannot be used', () => {
  const CLIENT = `
    import { WebSocketClient, configure } from '@wardline/client';
    configure({ wasm: new URL('/wardline.wasm', location.href) });
    globalThis.make = (url, token) => {
      const client = new WebSocketClient({ url, token, outbox: 'blocked', autoJoin: false });
      const told = { errors: [], volatile: [] };
      client.on('error', ({ code, retryable }) => told.errors.push([code, retryable]));
      client.on('volatile', ({ reason }) => told.volatile.push(reason));
      return Object.assign(globalThis, { client, told });
    };
  `;
  const ways = {
    throws: () => {
      IDBFactory.prototype.open = () => {
        throw new DOMException('denied', 'SecurityError');
      };
    },
    'is missing': () => Object.defineProperty(globalThis, 'indexedDB', { value: undefined }),
    fails: () => {
      // As a private window does.
      IDBFactory.prototype.open = () => {
        const request = { error: new DOMException('no storage here', 'InvalidStateError') };
        setTimeout(() => request.onerror());
        return request;
      };
    },
    'never answers': () => {
      IDBFactory.prototype.open = () => ({});
    },
  };
  let stage;
  before(async () => {
    stage = await startStage(CLIENT);
  });
  after(() => stage?.close());
  for (const [way, block] of Object.entries(ways)) {
    it(`where it ${way}, the client says so and goes on in memory`, async () => {
      const page = await (await stage.browser.newContext()).newPage();
      await page.addInitScript(block);
      await page.goto(stage.pages.url);
      await page.waitForFunction(() => globalThis.make);
      const told = await within(
        page.evaluate(
          async ([url, token]) => {
            const { client, told } = make(url, token);
            await client.connect();
            const { state } = await client.send('n', 1, { room: 'blocked' });
            return { ...told, state, durability: client.durability };
          },
          [stage.server.url, stage.server.token('blocked')],
        ),
        'an answer',
      );
      assert.deepEqual(told, { errors: [['storage', true]], volatile: ['blocked'], state: 'accepted', durability: 'volatile' });
      await page.context().close();
    });
  }

  it('a second tab without the outbox says who has it', async () => {
    const context = await stage.browser.newContext();
    const reasons = [];
    for (const _ of [1, 2]) {
      const page = await context.newPage();
      await page.goto(stage.pages.url);
      await page.waitForFunction(() => globalThis.make);
      reasons.push(
        await within(
          page.evaluate(
            async ([url, token]) => {
              const { client, told } = make(url, token);
              await client.connect();
              return [told.volatile, told.errors];
            },
            [stage.server.url, stage.server.token('held')],
          ),
          'an answer',
        ),
      );
    }
    assert.deepEqual(reasons, [[[], []], [['held'], []]]);
    await context.close();
  });
});
