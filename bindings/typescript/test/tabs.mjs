// Tabs that share one connection, in Chromium beside a real server: what their tests begin with.
import { WebSocketClient } from '@wardline/client';
import { after, afterEach } from 'node:test';
import { startStage } from './browser.mjs';
import { within } from './support.mjs';

const PAGE = `
  import * as wardline from '@wardline/client';
  wardline.configure({ wasm: new URL('/wardline.wasm', location.href) });
  globalThis.make = (url, token, options = {}) => {
    const client = new (wardline[options.kind ?? 'WebSocketClient'])({ url, token, share: true, autoJoin: false, ...options });
    const told = { messages: [], at: [], statuses: [], errors: [], gaps: [], live: 0, ids: [], sharing: [], presence: [] };
    client.on('message', ({ event, data }) => event === 'n' && (told.messages.push(data), told.at.push(Date.now())));
    client.on('status:change', status => told.statuses.push(status));
    client.on('error', ({ code }) => told.errors.push(code));
    client.on('gap', gap => told.gaps.push(gap));
    client.on('live', () => (told.live += 1));
    client.on('connection:established', ({ connectionId }) => told.ids.push(connectionId));
    client.on('sharing', ({ state, reason }) => told.sharing.push(reason ? [state, reason] : state));
    for (const event of ['presence:join', 'presence:leave']) client.on(event, ({ userId, user }) => told.presence.push([event.slice(9), userId ?? user.userId]));
    return Object.assign(globalThis, { client, told });
  };
  // Sends numbered items without end; notes what was told as stored or accepted.
  globalThis.pump = (tab, room, every = 15) => {
    globalThis.acked = [];
    globalThis.failed = [];
    let n = 0;
    globalThis.pumping = setInterval(() => {
      const item = tab + ':' + ++n;
      client.send('n', item, { room }).then(() => acked.push(item), ({ code }) => failed.push([item, code]));
    }, every);
  };
`;

export const told = page => page.evaluate(() => told);
export const sharing = page => page.evaluate(() => client.sharing.state);
export const send = (page, data, room, options) =>
  page.evaluate(async ([data, room, options]) => (await client.send('n', data, { room, ...options })).state, [data, room, options]);
export const subscribe = (page, room, options) => page.evaluate(([room, options]) => client.subscribe(room, options), [room, options]);

/** Waits until a page says so. */
export async function until(page, says, argument, what = 'what was waited for', ms) {
  await within(page.waitForFunction(says, argument, { polling: 20 }), what, ms);
}

/** Lets a page crash. */
export async function crash(page) {
  const session = await page.context().newCDPSession(page);
  const crashed = new Promise(done => page.once('crash', done));
  session.send('Page.crash').catch(() => {});
  await crashed;
}

/** A server and a browser for one file of tests; `more` goes to the server. */
export async function startTabs(more) {
  const { server, browser, pages, close } = await startStage(PAGE, more);
  after(close);
  let contexts = [];
  afterEach(async () => {
    await Promise.all(contexts.map(context => context.close().catch(() => {})));
    contexts = [];
    await settle(0);
  });

  async function context() {
    const made = await browser.newContext();
    contexts.push(made);
    return made;
  }

  /** A tab with a client that is connected, unless told otherwise. */
  async function tab(within_, user, options = {}, { connect = true } = {}) {
    const page = await within_.newPage();
    page.faults = [];
    page.on('pageerror', error => page.faults.push(error.message));
    page.open = async () => {
      await page.goto(pages.url);
      await page.waitForFunction(() => globalThis.make);
      const token = options.token ?? server.token(user);
      await page.evaluate(([url, token, options]) => void make(url, token, options), [server.url, token, options]);
      if (!connect) return;
      await within(page.evaluate(() => client.connect()), 'connected', 30_000).catch(async error => {
        throw new Error(`${error.message}: ${JSON.stringify(await page.evaluate(() => [client.sharing, client.statusDetail, told]))}`);
      });
    };
    await page.open();
    return page;
  }

  /** Waits until the server counts so many sockets. */
  async function settle(size) {
    const look = async () => {
      while ((await server.stats()).active_websocket_connections !== size) await new Promise(done => setTimeout(done, 20));
    };
    await within(look(), `${size} sockets`);
  }

  /** Everything a room holds, up to its end. */
  async function held(room) {
    const reader = new WebSocketClient({ url: server.url, token: server.token('reader'), autoJoin: false });
    try {
      await within(reader.connect());
      const log = await within(reader.room(room, { from: 'first' }));
      await reader.send('end', null, { room });
      const found = [];
      await within((async () => { for await (const { event, data } of log) { if (event === 'end') return; found.push(data); } })(), 'the end');
      return found;
    } finally {
      await reader.close();
    }
  }

  return { server, pages, context, tab, settle, held };
}
