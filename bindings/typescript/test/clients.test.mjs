import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import Default, {
  AlertWebSocketClient, DispatchWebSocketClient, MonitoringWebSocketClient, VideoWebSocketClient, WardlineError, WebSocketClient,
} from '@wardline/client';
import { next, startServer, within } from './support.mjs';

let server;
let open = [];
before(async () => {
  server = await startServer();
});
after(() => server.close());
afterEach(async () => {
  await Promise.all(open.map(client => client.close()));
  open = [];
});

function make(Client, user = 'ann', options = {}) {
  const { tenant, roles, organizationId, ...rest } = options;
  // One token a user: clients of one url and token share a socket.
  const key = JSON.stringify([user, tenant, roles, organizationId]);
  const token = (tokens[key] ??= server.token(user, { tenant, roles, organizationId }));
  const client = new Client({ url: server.url, token, ...rest });
  open.push(client);
  return client;
}
const tokens = {};

describe('connecting', () => {
  it('tells its status as a string, and who it is', async () => {
    const client = make(WebSocketClient);
    assert.equal(client.status, 'disconnected');
    const seen = [];
    client.on('status:change', status => seen.push(status));
    const established = next(client, 'connection:established');
    await within(client.connect());
    assert.deepEqual(seen, ['connecting', 'connected']);
    const { connectionId, tenantId } = await established;
    assert.equal(typeof connectionId, 'string');
    assert.equal(tenantId, 'acme');
    await within(client.disconnect());
    assert.equal(seen.at(-1), 'disconnected');
    assert.equal(client.status, 'disconnected');
  });

  it('is idempotent, and the default export is the class', async () => {
    assert.equal(Default, WebSocketClient);
    const client = make(Default);
    let established = 0;
    client.on('connection:established', () => established++);
    await within(Promise.all([client.connect(), client.connect()]));
    await within(client.connect());
    assert.equal(established, 1);
  });

  it('autoConnect connects without a call, and fires nothing inside the constructor', async () => {
    const client = make(WebSocketClient, 'auto', { autoConnect: true });
    const seen = [];
    client.on('status:change', status => seen.push(status));
    await next(client, 'connection:established');
    assert.deepEqual(seen, ['connecting', 'connected']);
  });

  it('typed clients of one url and token share one socket', async () => {
    const clients = [WebSocketClient, VideoWebSocketClient, AlertWebSocketClient, MonitoringWebSocketClient].map(Client => make(Client, 'sharing'));
    const ids = [];
    for (const client of clients) client.on('connection:established', ({ connectionId }) => ids.push(connectionId));
    await within(Promise.all(clients.map(client => client.connect())));
    assert.equal(ids.length, 4);
    assert.equal(new Set(ids).size, 1);
    // One leaves; the others stay.
    await within(clients[1].disconnect());
    assert.equal(clients[1].status, 'disconnected');
    assert.equal(clients[0].status, 'connected');
    assert.deepEqual(await within(clients[0].queryRooms()), []);
  });

  it('a wrong token is a typed error and a status', async () => {
    const client = new WebSocketClient({ url: server.url, token: 'wrong' });
    open.push(client);
    const told = next(client, 'error');
    await assert.rejects(within(client.connect()), error => error instanceof WardlineError && /token|unauthenticated/.test(error.code));
    assert.ok((await told) instanceof WardlineError);
    assert.equal(client.status, 'unauthenticated');
  });

  it('asks a token provider, and refuses a token of another tenant than it means', async () => {
    let asked = 0;
    const token = async () => {
      asked++;
      return server.token('provided');
    };
    const client = new WebSocketClient({ url: server.url, token });
    open.push(client);
    await within(client.connect());
    assert.equal(asked, 1);
    const other = new WebSocketClient({ url: server.url, token, tenantId: 'other' });
    open.push(other);
    await assert.rejects(within(other.connect()), { code: 'forbidden' });
  });

  it('a bad url is a typed error', async () => {
    const client = new WebSocketClient({ url: 'http://x', token: 't' });
    open.push(client);
    await assert.rejects(within(client.connect()), { code: 'bad_config' });
  });

  it('close is idempotent, ends iteration, and calls after it are rejected as closed', async () => {
    const client = make(WebSocketClient, 'closing');
    await within(client.connect());
    const loop = (async () => {
      for await (const _ of client) assert.fail('no message was sent');
    })();
    await within(Promise.all([client.close(), client.close()]));
    client[Symbol.dispose]();
    await within(loop);
    await assert.rejects(client.send('x', {}, { room: 'a' }), { code: 'closed' });
  });
});

describe('rooms', () => {
  it('C10: joins, sends a persistent message, gives its id; names come back as they were joined', async () => {
    const [ann, bob] = [make(WebSocketClient, 'ann'), make(WebSocketClient, 'bob')];
    await within(Promise.all([ann.connect(), bob.connect()]));
    assert.deepEqual(await within(bob.joinRoom('investigation:123', { desk: 4 })), { success: true, room: 'investigation:123' });
    await within(ann.joinRoom('investigation:123', {}));
    const told = next(bob, 'room:message');
    const message = next(bob, 'message', ({ event }) => event === 'room:message');
    const id = await within(ann.sendMessage('investigation:123', { text: 'seen at the gate' }, true));
    const got = await told;
    assert.equal(got.id, id);
    assert.deepEqual([got.room, got.from, got.payload], ['investigation:123', 'ann', { text: 'seen at the gate' }]);
    assert.ok(Math.abs(got.timestamp - Date.now()) < 60_000);
    const { event, data } = await message;
    assert.deepEqual([event, data], ['room:message', got]);
    assert.deepEqual(await within(ann.queryRooms()), ['investigation:123']);
    await within(ann.leaveRoom('investigation:123'));
    assert.deepEqual(await within(ann.queryRooms()), []);
  });

  it('C11: presence, nobody twice, and its changes', async () => {
    const [ann, bob] = [make(WebSocketClient, 'ann'), make(WebSocketClient, 'bob')];
    await within(Promise.all([ann.connect(), bob.connect()]));
    await within(ann.joinRoom('desk', { role: 'lead' }));
    const joined = next(ann, 'presence:join', ({ user }) => user.userId === 'bob');
    await within(bob.joinRoom('desk', {}));
    assert.equal((await joined).room, 'desk');
    const busy = next(ann, 'presence:update', ({ presence }) => presence.some(({ userId, status }) => userId === 'bob' && status === 'busy'));
    await within(bob.setPresenceStatus('busy', { until: 5 }));
    await busy;
    const members = await within(ann.queryPresence('desk'));
    assert.deepEqual(members.map(({ userId }) => userId).sort(), ['ann', 'bob']);
    const left = next(ann, 'presence:leave');
    await within(bob.leaveRoom('desk'));
    assert.deepEqual(await left, { room: 'desk', userId: 'bob' });
  });

  it('a room of another tenant is refused with a code, also to who does not await', async () => {
    const client = make(WebSocketClient);
    await within(client.connect());
    const told = next(client, 'error');
    void client.subscribe('alerts/tenant:other');
    assert.equal((await told).code, 'forbidden');
    await assert.rejects(within(client.subscribe(['alerts/tenant:other'])), { code: 'forbidden' });
    await assert.rejects(within(client.send('x', {}, { room: 'tenant:other' })), { code: 'forbidden' });
    await assert.rejects(within(client.subscribe('not a room!')), { code: 'bad_room' });
  });

  it('calls before connect wait; disconnect flushes what was called before it', async () => {
    const [ann, bob] = [make(WebSocketClient, 'ann'), make(WebSocketClient, 'bob', { autoJoin: false })];
    await within(bob.connect());
    await within(bob.subscribe('flush'));
    const seen = [];
    bob.on('n', n => seen.push(n));
    const last = next(bob, 'n', n => n === 49);
    const joined = ann.subscribe('flush');
    void ann.connect();
    await within(joined);
    for (let n = 0; n < 50; n++) void ann.send('n', n, { room: 'flush' });
    await within(ann.disconnect());
    await last;
    assert.deepEqual(seen, Array.from({ length: 50 }, (_, n) => n));
  });

  it('a room is read by for await, and a durable position is gone on from', async () => {
    const client = make(WebSocketClient, 'reader', { autoJoin: false });
    await within(client.connect());
    for (let n = 1; n <= 5; n++) await within(client.send('n', { n }, { room: 'log' }));
    const room = await within(client.room('log', { from: 'first' }));
    const seen = [];
    for await (const message of room) {
      seen.push(message.data.n);
      if (seen.length === 5) break;
    }
    assert.deepEqual(seen, [1, 2, 3, 4, 5]);
    const { messages } = await within(client.history('log', { from: 'first', limit: 3 }));
    assert.deepEqual(messages.map(({ data }) => data.n), [1, 2, 3]);
  });

  it('an event that is published to several rooms of a client keeps its own room, and listeners end', async () => {
    const client = make(WebSocketClient, 'lists', { autoJoin: false });
    await within(client.connect());
    await within(client.subscribe(['a:1', 'a:2']));
    const rooms = [];
    const stop = client.on('ping!', (_, { room }) => rooms.push(room));
    const both = next(client, 'ping!', () => rooms.length === 2);
    await server.publish([{ room: 'default/a:1', event: 'ping!' }, { room: 'default/a:2', event: 'ping!' }]);
    await both;
    stop();
    await within(client.unsubscribe(['a:1', 'a:2']));
    assert.deepEqual(rooms.sort(), ['a:1', 'a:2']);
  });

  it('events that come on each other\'s heels come in order, each once', async () => {
    const client = make(WebSocketClient, 'heels', { autoJoin: false });
    await within(client.connect());
    await within(client.subscribe('heels'));
    const seen = [];
    client.on('step', n => seen.push(n));
    const numbers = Array.from({ length: 750 }, (_, n) => n);
    for (let from = 0; from < numbers.length; from += 250) {
      await server.publish(numbers.slice(from, from + 250).map(data => ({ room: 'default/heels', event: 'step', data })));
    }
    const behind = next(client, 'behind');
    await within(client.send('behind', null, { room: 'heels' }));
    await behind;
    assert.deepEqual(seen, numbers);
  });
});

describe('alerts', () => {
  it('C7: created, acknowledged, resolved; filtered on the server', async () => {
    const [alerts, all] = [make(AlertWebSocketClient, 'ann'), make(AlertWebSocketClient, 'bob')];
    await within(Promise.all([alerts.connect(), all.connect()]));
    await within(alerts.subscribeToAlerts(['intrusion'], ['high', 'critical']));
    const seen = [];
    alerts.on('message', ({ event, data }) => seen.push([event, data.title]));
    const created = next(alerts, 'alert:created');
    await within(all.create({ type: 'fire', severity: 'high', title: 'Smoke' }));
    const raised = await within(all.createAlert({ type: 'intrusion', severity: 'high', title: 'Door forced' }));
    assert.equal(raised.status, 'active');
    assert.equal((await created).id, raised.id);
    const acknowledged = next(alerts, 'alert:acknowledged');
    assert.equal((await within(alerts.acknowledge(raised.id, 'on it'))).status, 'acknowledged');
    assert.equal((await acknowledged).acknowledgedBy, 'ann');
    const resolved = next(alerts, 'alert:resolved');
    await within(alerts.resolve(raised.id));
    assert.equal((await resolved).id, raised.id);
    assert.deepEqual(seen.map(([event]) => event), ['alert:created', 'alert:acknowledged', 'alert:resolved']);
    assert.ok(seen.every(([, title]) => title === 'Door forced'));
    await assert.rejects(within(alerts.acknowledge('no such alert')), { code: 'not_found', retryable: false });
  });

  it('8.2: a client without a namespace hears alerts and dispatch events of its tenant', async () => {
    const client = make(WebSocketClient, 'plain', { organizationId: 'o1' });
    await within(client.connect());
    const alert = next(client, 'alert:created');
    const incident = next(client, 'incident_created');
    await server.publish([
      { room: 'alerts/tenant:acme', event: 'alert_created', data: { alertId: 'x1', type: 'fire', severity: 'warning', message: 'Smoke' } },
      { room: 'dispatch/org:o1', event: 'incident.created', data: { incident_id: 'i9' } },
    ]);
    const { id, severity, title, status } = await alert;
    assert.deepEqual([id, severity, title, status], ['x1', 'medium', 'Smoke', 'active']);
    assert.equal((await incident).id, 'i9');
  });
});

describe('video, monitoring, dispatch, notifications', () => {
  it('C6: commands go to a service and their results come back; both spellings are heard', async () => {
    const [service, video] = [make(VideoWebSocketClient, 'cams', { roles: ['service'] }), make(VideoWebSocketClient, 'ann')];
    await within(Promise.all([service.connect(), video.connect()]));
    const commands = await within(service.handleCommands());
    const serving = (async () => {
      for (let n = 0; n < 2; n++) {
        const command = await commands.next();
        if (command.event === 'stream:start') await command.answer({ cameraId: command.data.cameraId, quality: command.data.quality });
        else await command.refuse('not_found', 'no such camera');
      }
    })();
    const stream = await within(video.startStream('7', 'low'));
    assert.deepEqual([stream.cameraId, stream.quality], ['7', 'low']);
    await assert.rejects(within(video.startRecording('8', 5)), { code: 'not_found' });
    await within(serving);
    const [old, canonical] = [next(video, 'video:stream:started'), next(video, 'stream:started')];
    await service.send('video:stream:started', { cameraId: '7', streamUrl: 'http://x/7' }, { room: 'tenant:acme' });
    assert.equal((await old).url, 'http://x/7');
    assert.equal(await old, await canonical);
  });

  it('C6: pictures that are pushed are seen', async () => {
    const [camera, viewer] = [make(VideoWebSocketClient, 'cams', { roles: ['service'] }), make(VideoWebSocketClient, 'viewer')];
    await within(Promise.all([camera.connect(), viewer.connect()]));
    const publisher = await within(camera.publish('9', { number: 1, width: 4, height: 2 }));
    const pictures = await within(viewer.watch('9'));
    const bytes = Uint8Array.from({ length: 40_000 }, (_, at) => at % 251);
    const pushing = setInterval(() => publisher.push(bytes, 1000, true), 50);
    try {
      const picture = await within(pictures.next());
      assert.deepEqual([picture.width, picture.height, picture.codec], [4, 2, 'jpeg']);
      assert.deepEqual(Buffer.from(picture.data), Buffer.from(bytes));
    } finally {
      clearInterval(pushing);
      await within(pictures.leave());
      publisher.end();
    }
  });

  it('C8: events by kind', async () => {
    const client = make(MonitoringWebSocketClient);
    await within(client.connect());
    await within(client.subscribeToEvents(['metrics', 'security:events']));
    const seen = [];
    client.on('message', ({ event }) => seen.push(event));
    const security = next(client, 'security:event');
    await server.publish([
      { room: 'monitoring/tenant:acme', event: 'service:status', data: { name: 'db', status: 'up' } },
      { room: 'monitoring/tenant:acme', event: 'metrics:update', data: { host: 'a', cpu: 5 } },
      { room: 'monitoring/tenant:acme', event: 'security:event', data: { event: { id: 1 }, analysis: { risk: 0.9 } } },
    ]);
    assert.deepEqual(await security, { event: { id: 1 }, analysis: { risk: 0.9 } });
    assert.deepEqual(seen, ['metrics:update', 'security:event']);
  });

  it('C13: dispatch events in the spelling of Kafka', async () => {
    const client = make(DispatchWebSocketClient);
    await within(client.connect());
    const moved = next(client, 'asset_position_updated');
    await server.publish([{ room: 'dispatch/tenant:acme', event: 'asset.position_updated', data: { asset_id: 'e7', lat: 1.5, lon: 2.25 } }]);
    assert.deepEqual(await moved, { assetId: 'e7', latitude: 1.5, longitude: 2.25 });
  });

  it('C12: notifications of this user, by type once subscribed', async () => {
    const client = make(WebSocketClient, 'nina');
    await within(client.connect());
    await within(client.subscribeToNotifications(['shift']));
    const shift = next(client, 'notification');
    await server.publish([
      { room: 'default/user:nina', event: 'notification', data: { type: 'news', title: 'no' } },
      { room: 'default/user:nina', event: 'notification', data: { type: 'shift', title: 'yes' } },
    ]);
    assert.equal((await shift).title, 'yes');
  });

  it('C9: an event this version does not know arrives as it came', async () => {
    const client = make(AlertWebSocketClient);
    await within(client.connect());
    const told = next(client, 'alert:escalated');
    await server.publish([{ room: 'alerts/tenant:acme', event: 'alert:escalated', data: { alertId: 1 } }]);
    assert.deepEqual(await told, { alertId: 1 });
  });
});

describe('a server that restarts', () => {
  it('loses nothing that was sent or missed, in order', async () => {
    const own = await startServer();
    const [ann, bob] = ['ann', 'bob'].map(user => new WebSocketClient({ url: own.url, token: own.token(user), autoJoin: false }));
    try {
      await within(Promise.all([ann.connect(), bob.connect()]));
      await within(bob.subscribe('shift'));
      const seen = [];
      bob.on('n', n => seen.push(n));
      const done = within(
        new Promise(resolve => bob.on('n', n => n === 299 && resolve())),
        'the last event',
        60_000,
      );
      const away = next(ann, 'status:change', status => status === 'reconnecting');
      const sends = [];
      for (let n = 0; n < 100; n++) sends.push(ann.send('n', n, { room: 'shift' }));
      const killed = own.kill();
      for (let n = 100; n < 200; n++) sends.push(ann.send('n', n, { room: 'shift' }));
      await killed;
      await away;
      for (let n = 200; n < 300; n++) sends.push(ann.send('n', n, { room: 'shift' }));
      await own.start();
      const receipts = await within(Promise.all(sends), 'receipts', 60_000);
      assert.equal(new Set(receipts.map(({ id }) => id)).size, 300);
      await done;
      assert.deepEqual(seen, Array.from({ length: 300 }, (_, n) => n));
    } finally {
      await Promise.all([ann.close(), bob.close()]);
      await own.close();
    }
  });
});
