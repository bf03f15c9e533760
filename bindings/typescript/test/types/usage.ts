// Compiled, not run: what the types promise to who writes an application.
import WebSocketClientDefault, {
  AlertWebSocketClient, MonitoringWebSocketClient, VideoWebSocketClient, WardlineError, WebSocketClient,
  type Alert, type AlertEvents, type Message, type MonitoringEvents, type PresenceInfo, type Status, type StreamInfo, type VideoEvents,
} from '@wardline/client';
import { useAlerts, useConnection, useEvent, usePresence, useVideo } from '@wardline/client/react';

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
const is = <_ extends true>(): void => {};

const options = { url: 'wss://events.example.com', token: async () => 'token', autoReconnect: true } as const;
export const client = new WebSocketClient(options);
const sameClass: typeof WebSocketClientDefault = WebSocketClient;
void sameClass;

client.on('status:change', status => is<Equal<typeof status, Status>>());
client.on('connection:established', ({ connectionId, tenantId }) => is<Equal<typeof connectionId | typeof tenantId, string>>());
client.on('error', error => is<Equal<typeof error, WardlineError>>());
client.on('room:message', ({ from, timestamp }) => is<Equal<[typeof from, typeof timestamp], [string, number]>>());
client.on('presence:update', ({ presence }) => is<Equal<typeof presence, PresenceInfo[]>>());
client.on('alert:created', alert => is<Equal<typeof alert, Alert>>());
// An event of the application's own, untyped.
client.on('my:event', (data, message) => is<Equal<typeof message, Message>>());

const alerts = new AlertWebSocketClient(options);
alerts.on('message', message => {
  // Comparing the name narrows the data.
  if (message.event === 'alert:created') is<Equal<typeof message.data, Alert>>();
  // @ts-expect-error no event of this namespace is called so
  if (message.event === 'alert:craeted') return;
});
// Whoever wants to read any event may.
alerts.on('message', ({ event, data }: Message) => is<Equal<[typeof event, typeof data], [string, unknown]>>());
// An application's own events, by its own map.
const own = new WebSocketClient<{ note: { text: string } }>(options);
own.on('note', ({ text }) => is<Equal<typeof text, string>>());
void alerts.subscribeToAlerts(['intrusion'], ['high']);
void alerts.create({ type: 'fire', title: 'Smoke' });
// @ts-expect-error a severity is one of five words
void alerts.create({ type: 'fire', title: 'Smoke', severity: 'very' });

const video = new VideoWebSocketClient(options);
video.on('stream:ready', stream => is<Equal<typeof stream, StreamInfo>>());
video.on('video:stream:ready', stream => is<Equal<typeof stream, StreamInfo>>());
void video.startStream('7', 'high').then(stream => is<Equal<typeof stream, StreamInfo>>());
// @ts-expect-error plain arguments, the camera first
void video.startStream({ cameraId: '7' });

const monitoring = new MonitoringWebSocketClient(options);
monitoring.on('metrics:update', ({ cpu }) => is<Equal<typeof cpu, number | undefined>>());
export type Names = [VideoEvents.StreamReady, AlertEvents.Created, MonitoringEvents.MetricsUpdate];

const shared = new WebSocketClient({ ...options, share: true });
shared.on('sharing', ({ state, reason }) => is<Equal<[typeof state, typeof reason], ['off' | 'alone' | 'owner' | 'rider', string | undefined]>>());
shared.on('volatile', ({ reason }) => is<Equal<typeof reason, 'asked' | 'held' | 'blocked'>>());

export async function read(): Promise<void> {
  await using room = await alerts.room('tenant:acme', { durable: 'screen' });
  for await (const message of room) if (message.event === 'alert:resolved') is<Equal<typeof message.data, Alert>>();
  const receipt = await client.send('note', { text: 'seen' }, { room: 'log' });
  is<Equal<typeof receipt.state, 'queued' | 'accepted'>>();
  const id = await client.sendMessage('log', {}, true);
  is<Equal<typeof id, string>>();
  const rooms = await client.queryRooms();
  is<Equal<typeof rooms, string[]>>();
}

export function Component(): null {
  const { status, retryIn } = useConnection();
  is<Equal<typeof status, Status>>();
  is<Equal<typeof retryIn, number | undefined>>();
  useEvent('monitoring', 'metrics:update', ({ cpu }) => is<Equal<typeof cpu, number | undefined>>());
  // @ts-expect-error no event of that namespace
  useEvent('video', 'alert:created', () => {});
  const { alerts, acknowledge } = useAlerts({ severities: ['high'] });
  is<Equal<typeof alerts, Alert[]>>();
  void acknowledge(alerts[0]?.id ?? '');
  const { ref } = useVideo('cam-1');
  ref(null);
  is<Equal<ReturnType<typeof usePresence>, PresenceInfo[]>>();
  return null;
}
