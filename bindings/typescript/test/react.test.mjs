// The hooks in a document, under StrictMode, beside a real server.
import assert from 'node:assert/strict';
import { after, afterEach, before, it } from 'node:test';
import { Window } from 'happy-dom';
import { startServer, within } from './support.mjs';

const window = new Window();
globalThis.window = window;
globalThis.document = window.document;
globalThis.navigator ??= window.navigator;
globalThis.HTMLIFrameElement ??= window.HTMLIFrameElement;
globalThis.IS_REACT_ACT_ENVIRONMENT = false;

const { createElement: h, StrictMode, useState } = await import('react');
const { createRoot } = await import('react-dom/client');
const { AlertWebSocketClient, WebSocketClient } = await import('@wardline/client');
const { WardlineProvider, useAlerts, useConnection, useEvent, useOutbox, usePresence, useRoom } = await import('@wardline/client/react');

let server;
let mounted = [];
before(async () => {
  server = await startServer();
});
after(async () => {
  await server.close();
  window.close();
});
afterEach(async () => {
  for (const root of mounted) root.unmount();
  mounted = [];
});

function show(element, user) {
  const box = document.createElement('div');
  const root = createRoot(box);
  mounted.push(root);
  const options = { url: server.url, token: server.token(user) };
  root.render(h(StrictMode, null, h(WardlineProvider, { options }, element)));
  return {
    box,
    root,
    until: wanted =>
      within(
        (async () => {
          while (!wanted(box.textContent)) await new Promise(done => setTimeout(done, 10));
        })(),
        `${wanted}`,
      ).catch(error => {
        throw new Error(`${error.message}; shown: ${box.textContent}`);
      }),
  };
}

it('the connection is shown, made once under StrictMode, and ends with the provider', async () => {
  const Line = () => {
    const { status, userId, tenantId } = useConnection();
    return `${status} ${userId} ${tenantId}`;
  };
  const before = (await server.stats()).total;
  const { until, root } = show(h(Line), 'ann');
  await until(text => text === 'connected ann acme');
  assert.equal((await server.stats()).total - before, 1);
  root.unmount();
  await within(
    (async () => {
      while ((await server.stats()).total !== before) await new Promise(done => setTimeout(done, 20));
    })(),
    'the end of the connection',
  );
});

it('alerts are folded from the log, and acknowledged', async () => {
  const other = new AlertWebSocketClient({ url: server.url, token: server.token('bob') });
  await within(other.connect());
  const { id } = await within(other.create({ type: 'fire', severity: 'high', title: 'Smoke' }));
  let act;
  const List = () => {
    const { alerts, acknowledge, live } = useAlerts();
    act = acknowledge;
    return `${live} ${alerts.map(alert => `${alert.title}:${alert.status}`).join()}`;
  };
  const { until } = show(h(List), 'ann');
  await until(text => text.includes('Smoke:active'));
  await within(act(id));
  await until(text => text.includes('Smoke:acknowledged'));
  await other.close();
});

it('a room shows what is sent, the outbox what became of it', async () => {
  let sendIt;
  const Log = () => {
    const { messages, send, joined } = useRoom('log');
    sendIt = send;
    const items = useOutbox();
    return `${joined} ${messages.map(({ data }) => data.n).join()} | ${items.map(({ state }) => state).join()}`;
  };
  const { until } = show(h(Log), 'ann');
  await until(text => text.startsWith('true'));
  for (const n of [1, 2, 3]) await within(sendIt('note', { n }));
  await until(text => text === 'true 1,2,3 | accepted,accepted,accepted');
});

it('a room may be of another namespace, by its whole address or by the option', async () => {
  const sends = [];
  const Log = ({ room, namespace }) => {
    const { messages, send, joined, error } = useRoom(room, { namespace });
    sends.push(send);
    return `${joined} ${error?.code} ${messages.map(({ data }) => data.n).join()}`;
  };
  for (const props of [{ room: 'monitoring/log' }, { room: 'log', namespace: 'monitoring' }]) {
    const { until } = show(h(Log, props), 'ann');
    await until(text => text.startsWith('true'));
    await within(sends.at(-1)('note', { n: 7 }));
    await until(text => text === 'true undefined 7');
  }
});

it('presence and events; a callback that changes is not heard twice', async () => {
  const People = () => {
    const people = usePresence('desk', { status: 'busy' });
    const [seen, setSeen] = useState(0);
    useEvent('monitoring', 'metrics:update', () => setSeen(seen + 1));
    return `${people.map(({ userId, status }) => `${userId}:${status}`).join()} ${seen}`;
  };
  const { until } = show(h(People), 'ann');
  await until(text => text.startsWith('ann:'));
  const bob = new WebSocketClient({ url: server.url, token: server.token('bob'), autoJoin: false });
  await within(bob.connect());
  await within(bob.joinRoom('desk', {}));
  await until(text => text.includes('bob:online'));
  for (let n = 1; n <= 3; n++) {
    await server.publish([{ room: 'monitoring/tenant:acme', event: 'metrics:update', data: { source: 'a' } }]);
    await until(text => text.endsWith(` ${n}`));
  }
  await bob.close();
});
