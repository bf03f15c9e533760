// A page in Chromium over time: tokens that expire, a slow processor, timers that come late, a freeze. The connection holds, or comes
// back; nothing is lost.
import assert from 'node:assert/strict';
import { after, afterEach, it } from 'node:test';
import { startStage } from './browser.mjs';
import { within } from './support.mjs';

const PAGE = `
  import { WebSocketClient, configure } from '@wardline/client';
  configure({ wasm: new URL('/wardline.wasm', location.href) });
  globalThis.make = async (url, token) => {
    globalThis.client = new WebSocketClient({ url, token, autoJoin: false });
    globalThis.told = { messages: [], statuses: [], ids: [], errors: [], gaps: [] };
    client.on('message', ({ data }) => told.messages.push(data));
    client.on('status:change', status => told.statuses.push(status));
    client.on('connection:established', ({ connectionId }) => told.ids.push(connectionId));
    client.on('error', ({ code }) => told.errors.push(code));
    client.on('gap', gap => told.gaps.push(gap));
    await client.connect();
    await client.subscribe('time');
  };
`;

// Pings each 2 s, and the end after 5 s of silence: what takes minutes elsewhere takes seconds here.
const { server, browser, pages, close } = await startStage(PAGE, { env: { HEARTBEAT_INTERVAL: '2000', HEARTBEAT_TIMEOUT: '5000' } });
after(close);
let context;
afterEach(() => context?.close());

async function open(token, before) {
  context = await browser.newContext();
  if (typeof token === 'function') await context.exposeFunction('provide', token);
  if (before) await context.addInitScript(before);
  const page = await context.newPage();
  await page.goto(pages.url);
  await page.waitForFunction(() => globalThis.make);
  await within(page.evaluate(([url, token]) => make(url, token ?? (() => provide())), [server.url, typeof token === 'function' ? null : token]), 'connected');
  return page;
}

const wait = ms => new Promise(done => setTimeout(done, ms));
let count = 0;
/** Publishes so many events, one at a time; gives their data. */
async function publish(size, every = 0) {
  const sent = [];
  for (let n = 0; n < size; n++) {
    sent.push(++count);
    await server.publish([{ room: 'default/time', event: 'n', data: count }]);
    if (every) await wait(every);
  }
  return sent;
}

async function heard(page, wanted, ms) {
  const last = wanted.at(-1);
  await within(page.waitForFunction(last => told.messages.at(-1) === last, last, { polling: 50 }), `event ${last}`, ms).catch(async error => {
    throw new Error(`${error.message}: ${JSON.stringify(await page.evaluate(() => told))}`);
  });
  const told = await page.evaluate(() => globalThis.told);
  assert.deepEqual(told.messages, wanted);
  assert.deepEqual([told.errors, told.gaps], [[], []]);
  return told;
}

it('a token that expires is refreshed in place, with no gap', { timeout: 60_000 }, async t => {
  let asked = 0;
  const page = await open(() => {
    asked += 1;
    return server.token('refreshed', { ttl: 5 });
  });
  // Three lives of a token.
  const sent = await publish(120, 100);
  const told = await heard(page, sent);
  t.diagnostic(`the provider was asked ${asked} times, on ${told.ids.length} connection`);
  assert.ok(asked >= 3, `asked ${asked} times`);
  assert.deepEqual(told.statuses, ['connecting', 'connected']);
  assert.equal(told.ids.length, 1);
});

it('a provider that has no token for a while: cut, unauthenticated, and on again with what was missed', { timeout: 60_000 }, async () => {
  let has = true;
  const page = await open(() => (has ? server.token('late', { ttl: 4 }) : null));
  const sent = await publish(3);
  has = false;
  await within(page.waitForFunction(() => told.statuses.at(-1) === 'unauthenticated', undefined, { polling: 50 }), 'unauthenticated', 20_000);
  sent.push(...(await publish(3)));
  await page.evaluate(token => client.setToken(token), server.token('late'));
  await heard(page, sent);
});

it('a processor that is ten times slower: the link holds, what is sent arrives in order', { timeout: 60_000 }, async () => {
  const page = await open(server.token('slow'));
  const session = await context.newCDPSession(page);
  await session.send('Emulation.setCPUThrottlingRate', { rate: 10 });
  const [sent] = await Promise.all([
    publish(100, 60),
    within(page.evaluate(() => Promise.all(Array.from({ length: 100 }, (_, n) => client.send('n', n, { room: 'slow' }))).then(() => {})), 'sent', 40_000),
  ]);
  const told = await heard(page, sent);
  assert.equal(told.ids.length, 1);
  const { messages } = await page.evaluate(() => client.history('slow', { from: 'first', limit: 200 }));
  assert.deepEqual(messages.map(({ data }) => data), Array.from({ length: 100 }, (_, n) => n));
});

it('a hidden page whose timers come every 4 s only: heartbeats hold, and a restart of the server is survived', { timeout: 90_000 }, async t => {
  // Headless pages are never hidden, so the page is told it is, and its timers wait as a browser makes them.
  const page = await open(server.token('hidden'), () => {
    const grain = 4000;
    const { setTimeout: real } = globalThis;
    let hidden = false;
    globalThis.setTimeout = (work, ms = 0, ...more) => real(work, hidden ? grain - (performance.now() % grain) + Math.floor(ms / grain) * grain : ms, ...more);
    globalThis.hide = () => {
      hidden = true;
      Object.defineProperty(document, 'visibilityState', { value: 'hidden', configurable: true });
      document.dispatchEvent(new Event('visibilitychange'));
    };
    globalThis.show = () => {
      hidden = false;
      Object.defineProperty(document, 'visibilityState', { value: 'visible', configurable: true });
      document.dispatchEvent(new Event('visibilitychange'));
    };
  });
  await page.evaluate(() => hide());
  // Four pings, nothing else.
  await wait(8000);
  const sent = await publish(3);
  assert.equal((await heard(page, sent)).ids.length, 1, 'one connection');
  await server.kill();
  await server.start();
  sent.push(...(await publish(3)));
  const at = Date.now();
  const told = await heard(page, sent, 40_000);
  t.diagnostic(`heard ${Date.now() - at} ms after the server was back, with timers every 4 s`);
  assert.equal(told.ids.length, 2);
  await page.evaluate(() => show());
  sent.push(...(await publish(1)));
  await heard(page, sent);
});

it('a page that was frozen hears what it missed', { timeout: 60_000 }, async t => {
  const page = await open(server.token('frozen'));
  const sent = await publish(3);
  await heard(page, sent);
  const session = await context.newCDPSession(page);
  await session.send('Page.setWebLifecycleState', { state: 'frozen' });
  sent.push(...(await publish(30, 100)));
  await wait(4000);
  sent.push(...(await publish(3)));
  await session.send('Page.setWebLifecycleState', { state: 'active' });
  const at = Date.now();
  await heard(page, sent, 20_000);
  t.diagnostic(`all ${sent.length} events ${Date.now() - at} ms after it went on`);
});
