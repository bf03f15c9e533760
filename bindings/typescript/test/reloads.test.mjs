// A page in Chromium that sends without end, is reloaded in mid-send and whose server is killed: what it was told is stored arrives
// once and in order.
import assert from 'node:assert/strict';
import { after, it } from 'node:test';
import { WebSocketClient } from '@wardline/client';
import { startStage } from './browser.mjs';
import { within } from './support.mjs';

const RELOADS = 20;
const KILLS = 10;
const MESSAGES = 1000;

const PAGE = `
  import { WebSocketClient, configure } from '@wardline/client';
  configure({ wasm: new URL('/wardline.wasm', location.href) });
  const { url, token } = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
  const client = new WebSocketClient({ url, token, outbox: 'reloads', autoJoin: false });
  globalThis.client = client;
  client.on('volatile', ({ reason }) => localStorage.setItem('volatile', reason));
  void client.connect();
  // A number is used once: what a reload cut is unknown to this page, and not sent again by it.
  const next = () => {
    const n = Number(localStorage.getItem('n') ?? 0) + 1;
    localStorage.setItem('n', n);
    return n;
  };
  const told = n => localStorage.setItem('told', (localStorage.getItem('told') ?? '') + n + ',');
  const send = async n => {
    await client.send('n', n, { room: 'reloads' });
    told(n);
  };
  globalThis.pump = setInterval(() => send(next()), 4);
`;

const { server, browser, pages, close } = await startStage(PAGE);
after(close);

it(`${MESSAGES} messages across ${RELOADS} reloads and ${KILLS} kills: none lost, none doubled, in order`, { timeout: 300_000 }, async t => {
  const page = await (await browser.newContext()).newPage();
  const faults = [];
  page.on('pageerror', error => faults.push(error.message));
  const hash = new URLSearchParams({ url: server.url, token: server.token('page') });
  await page.goto(`${pages.url}#${hash}`);
  const told = async () => {
    const text = await page.evaluate(() => localStorage.getItem('told') ?? '');
    return text.split(',').filter(Boolean).map(Number);
  };
  let kills = 0;
  for (let reload = 1; reload <= RELOADS; reload++) {
    if (reload % 2 === 0) {
      await server.kill();
      kills += 1;
      await page.waitForTimeout(100);
    } else {
      await page.waitForTimeout(300);
    }
    // In mid-send: the page has not stopped.
    await page.reload();
    if (reload % 2 === 0) await server.start();
    const wanted = Math.ceil((MESSAGES * reload) / RELOADS);
    await within((async () => { while ((await told()).length < wanted) await page.waitForTimeout(20); })(), 'sent messages', 60_000).catch(async error => {
      const state = await page.evaluate(() => ({ status: client.statusDetail, durability: client.durability, waiting: client.outbox.filter(({ state }) => state === 'queued').length }));
      throw new Error(`${error.message}: reload ${reload}, told ${(await told()).length}, ${JSON.stringify(state)} ${faults}`);
    });
  }
  await page.evaluate(() => clearInterval(globalThis.pump));
  await page.waitForTimeout(500);
  const end = await page.evaluate(async () => (await globalThis.client.send('end', null, { room: 'reloads' })).outcome());
  assert.equal(end.outcome, 'accepted');
  const sent = await told();

  const reader = new WebSocketClient({ url: server.url, token: server.token('reader'), autoJoin: false });
  try {
    await within(reader.connect());
    const seen = [];
    const room = await within(reader.room('reloads', { from: 'first' }));
    await within(
      (async () => {
        for await (const { event, data } of room) {
          if (event === 'end') return;
          seen.push(data);
        }
      })(),
      'all messages',
      60_000,
    );
    const once = new Set(seen);
    const lost = sent.filter(n => !once.has(n));
    t.diagnostic(`told ${sent.length}, delivered ${seen.length}, lost ${lost.length}, doubled ${seen.length - once.size}, reloads ${RELOADS}, kills ${kills}`);
    assert.ok(sent.length >= MESSAGES);
    assert.equal(await page.evaluate(() => localStorage.getItem('volatile')), null, 'each life had the durable outbox');
    assert.deepEqual(lost, []);
    assert.equal(seen.length, once.size, 'doubled');
    assert.deepEqual(seen, [...seen].sort((a, b) => a - b), 'out of order');
    assert.deepEqual(faults, []);
  } finally {
    await reader.close();
  }
});
