// Hooks on one shared connection. What a hook shows is a store that begins with its first reader and ends with its last, so components
// may mount twice, as StrictMode makes them, and several may read the same.
import {
  AlertWebSocketClient, MonitoringWebSocketClient, DispatchWebSocketClient, VideoWebSocketClient, WebSocketClient,
  type Alert, type AlertEvents, type ClientOptions, type DefaultEvents, type DispatchEvents, type JoinOptions, type Listenable,
  type Message, type MessageOf, type MonitoringEvents, type NewAlert, type OutboxItem, type PictureStream, type PresenceInfo, type PresenceStatus, type Receipt,
  type SendOptions, type StatusDetail, type VideoEvents,
} from '@wardline/client';
import { createContext, useCallback, useContext, useEffect, useMemo, useRef, useState, useSyncExternalStore, type ReactNode } from 'react';

/** How long a store outlives its last reader: StrictMode and a change of route unmount for a moment. */
const LINGER = 100;

/** A value with readers; `begin` runs with the first and gives what ends it. */
class Live<Value> {
  #value: Value;
  readonly #readers = new Set<() => void>();
  readonly #begin: (set: (change: (value: Value) => Value) => void) => () => void;
  #end: (() => void) | undefined;
  #lingering: ReturnType<typeof setTimeout> | undefined;

  constructor(initial: Value, begin: (set: (change: (value: Value) => Value) => void) => () => void) {
    this.#value = initial;
    this.#begin = begin;
  }

  readonly get = (): Value => this.#value;

  readonly subscribe = (reader: () => void): (() => void) => {
    clearTimeout(this.#lingering);
    this.#readers.add(reader);
    this.#end ??= this.#begin(change => {
      const value = change(this.#value);
      if (Object.is(value, this.#value)) return;
      this.#value = value;
      for (const reader of [...this.#readers]) reader();
    });
    return () => {
      this.#readers.delete(reader);
      if (this.#readers.size > 0) return;
      this.#lingering = setTimeout(() => {
        this.#end?.();
        this.#end = undefined;
      }, LINGER);
    };
  };
}

type Ridden = Pick<WebSocketClient, 'connect' | 'disconnect'>;

/** What hooks share below one provider. */
class Hub {
  readonly client: WebSocketClient;
  readonly #lives = new Map<string, Live<unknown>>();
  readonly #clients = new Map<string, Ridden>();
  #users = 0;
  #ending: ReturnType<typeof setTimeout> | undefined;

  constructor(readonly options: ClientOptions) {
    this.client = new WebSocketClient({ ...options, autoJoin: false });
  }

  live<Value>(key: string, make: () => Live<Value>): Live<Value> {
    const found = (this.#lives.get(key) as Live<Value> | undefined) ?? make();
    this.#lives.set(key, found as Live<unknown>);
    return found;
  }

  /** A client of a namespace that lives as long as the provider. */
  of<Client extends Ridden>(namespace: string, make: (options: ClientOptions) => Client): Client {
    let client = this.#clients.get(namespace) as Client | undefined;
    if (!client) {
      client = make(this.options);
      this.#clients.set(namespace, client);
      if (this.#users > 0) void client.connect();
    }
    return client;
  }

  use(): () => void {
    clearTimeout(this.#ending);
    this.#users += 1;
    if (this.#users === 1) for (const client of this.#all()) void client.connect();
    return () => {
      this.#users -= 1;
      if (this.#users === 0) this.#ending = setTimeout(() => this.#all().forEach(client => void client.disconnect()), LINGER);
    };
  }

  #all(): Ridden[] {
    return [this.client, ...this.#clients.values()];
  }
}

const Context = createContext<Hub | null>(null);

/** Connects what is below it, for as long as it is mounted. Change `options` by a new `key`. */
export function WardlineProvider({ options, children }: { options: ClientOptions; children?: ReactNode }): ReactNode {
  const [hub] = useState(() => new Hub(options));
  useEffect(() => hub.use(), [hub]);
  return <Context.Provider value={hub}>{children}</Context.Provider>;
}

function useHub(): Hub {
  const hub = useContext(Context);
  if (!hub) throw new Error('a hook of @wardline/client/react is used outside of <WardlineProvider>');
  return hub;
}

function useLive<Value>(key: string, make: (hub: Hub) => Live<Value>): Value {
  const hub = useHub();
  const live = hub.live(key, () => make(hub));
  return useSyncExternalStore(live.subscribe, live.get, live.get);
}

/** The provider's client, for what no hook covers. */
export function useClient(): WebSocketClient {
  return useHub().client;
}

/** What a connection shows. */
export interface ConnectionState extends StatusDetail {
  connected: boolean;
  userId?: string;
  tenantId?: string;
  /** `volatile`: what is queued is lost with this page. */
  durability: 'durable' | 'volatile';
}

function connectionOf(client: WebSocketClient): ConnectionState {
  const { identity, statusDetail, durability } = client;
  const who = identity ? { userId: identity.userId, tenantId: identity.tenantId } : {};
  return { ...statusDetail, ...who, connected: statusDetail.status === 'connected', durability };
}

/** Where the connection stands, why, and when the next attempt is. */
export function useConnection(): ConnectionState {
  return useLive(
    'connection',
    ({ client }) =>
      new Live<ConnectionState>(connectionOf(client), set => {
        const look = () => set(() => connectionOf(client));
        const stops = [client.on('status:detail', look), client.on('connection:established', look), client.on('volatile', look)];
        look();
        return () => stops.forEach(stop => stop());
      }),
  );
}

/** Milliseconds to the next attempt, counted down; null where none is waited for. */
export function useCountdown(step = 100): number | null {
  const { status, retryIn, since } = useConnection();
  const [now, setNow] = useState(() => Date.now());
  const waits = status === 'reconnecting' && retryIn !== undefined;
  useEffect(() => {
    if (!waits) return;
    setNow(Date.now());
    const timer = setInterval(() => setNow(Date.now()), step);
    return () => clearInterval(timer);
  }, [waits, since, step]);
  return waits ? Math.max(0, since + retryIn - now) : null;
}

/** The events of each namespace, for `useEvent`. */
export interface EventsOf {
  default: DefaultEvents;
  video: VideoEvents;
  alerts: AlertEvents;
  monitoring: MonitoringEvents;
  dispatch: DispatchEvents;
}

const CLIENTS: { [Space in keyof EventsOf]: (options: ClientOptions) => WebSocketClient<EventsOf[Space]> } = {
  default: options => new WebSocketClient(options),
  video: options => new VideoWebSocketClient(options),
  alerts: options => new AlertWebSocketClient(options),
  monitoring: options => new MonitoringWebSocketClient(options),
  dispatch: options => new DispatchWebSocketClient(options),
};

/** Calls back for each event of a name in the tenant's room of a namespace. The callback may change between renders. */
export function useEvent<Space extends keyof EventsOf, Name extends keyof Listenable<EventsOf[Space]> & string>(
  namespace: Space,
  event: Name,
  callback: (data: Listenable<EventsOf[Space]>[Name], message: Message) => void,
): void {
  const hub = useHub();
  const latest = useRef(callback);
  useEffect(() => {
    latest.current = callback;
  });
  useEffect(() => {
    const client = hub.of(namespace, CLIENTS[namespace] as (options: ClientOptions) => WebSocketClient<EventsOf[Space]>);
    return client.on(event, (data, message) => latest.current(data, message));
  }, [hub, namespace, event]);
}

/** A room as `useRoom` shows it. */
export interface RoomState {
  joined: boolean;
  /** The newest, in order; as many as `keep` says. */
  messages: MessageOf<DefaultEvents>[];
  /** Events were lost to retention or a fail-over; what there is begins behind. */
  gap: boolean;
  error: Error | null;
}

/** Joins a room while mounted. `options` that change by value join it anew. */
export function useRoom(
  room: string,
  { keep = 100, namespace, ...options }: JoinOptions & { keep?: number; namespace?: string } = {},
): RoomState & { send: (event: string, data?: unknown, options?: SendOptions) => Promise<Receipt> } {
  const key = JSON.stringify(['room', room, namespace, keep, options]);
  const hub = useHub();
  const state = useLive(
    key,
    hub =>
      new Live<RoomState>({ joined: false, messages: [], gap: false, error: null }, set => {
        const client = new WebSocketClient({ ...hub.options, namespace, autoJoin: false });
        client.on('message', message => set(state => ({ ...state, messages: [...state.messages, message].slice(-keep) })));
        client.on('gap', () => set(state => ({ ...state, gap: true })));
        client.subscribe(room, options).then(
          () => set(state => ({ ...state, joined: true, error: null })),
          (error: Error) => set(state => ({ ...state, error })),
        );
        void client.connect();
        return () => void client.close();
      }),
  );
  const send = useCallback(
    (event: string, data?: unknown, more?: SendOptions) =>
      hub.client.send(event, data, { room: room.includes('/') ? room : `${namespace ?? 'default'}/${room}`, ...more }),
    [hub, room, namespace],
  );
  return { ...state, send };
}

/**
 * Who is in a room, this user included, while mounted. A `status` is told with its `metadata` whenever either changes; without one, `metadata`
 * is what the room is joined with.
 */
export function usePresence(room: string, own: { status?: PresenceStatus; metadata?: unknown; namespace?: string } = {}): PresenceInfo[] {
  const hub = useHub();
  const { status, namespace } = own;
  const metadata = JSON.stringify(own.metadata);
  const members = useLive(
    JSON.stringify(['presence', room, namespace]),
    hub =>
      new Live<PresenceInfo[]>([], set => {
        const client = new WebSocketClient({ ...hub.options, namespace, autoJoin: false });
        client.on('presence:update', ({ presence }) => set(() => presence));
        client.joinRoom(room, own.metadata).catch(() => {});
        void client.connect();
        return () => void client.close();
      }),
  );
  useEffect(() => {
    if (status) void hub.client.setPresenceStatus(status, metadata === undefined ? undefined : JSON.parse(metadata));
  }, [hub, status, metadata]);
  return members;
}

/** Alerts as `useAlerts` shows them. */
export interface AlertsState {
  /** By severity, then the newest first. */
  alerts: Alert[];
  /** Whether all that is kept was read. */
  live: boolean;
}

const GRAVITY = ['critical', 'high', 'medium', 'low', 'info'];

function place(alerts: Alert[], alert: Alert): Alert[] {
  const rank = ({ severity }: Alert) => GRAVITY.indexOf(severity ?? 'info');
  return [...alerts.filter(({ id }) => id !== alert.id), alert].sort(
    (a, b) => rank(a) - rank(b) || (b.createdAt ?? 0) - (a.createdAt ?? 0),
  );
}

/** The tenant's alerts, folded from the room's log, filtered on the server; and what to do with them. */
export function useAlerts(filter: { types?: string[]; severities?: string[] } = {}): AlertsState & {
  create: (alert: Partial<NewAlert> & Pick<NewAlert, 'type' | 'title'>) => Promise<Alert>;
  acknowledge: (id: string, note?: string) => Promise<Alert>;
  resolve: (id: string, note?: string) => Promise<Alert>;
} {
  const hub = useHub();
  const { types, severities } = filter;
  const state = useLive(
    JSON.stringify(['alerts', types, severities]),
    hub =>
      new Live<AlertsState>({ alerts: [], live: false }, set => {
        const client = new AlertWebSocketClient({ ...hub.options, autoJoin: false });
        client.on('message', message => {
          if (!message.event.startsWith('alert:')) return;
          set(state => ({ ...state, alerts: place(state.alerts, message.data as Alert) }));
        });
        client.on('live', () => set(state => ({ ...state, live: true })));
        client.subscribeToAlerts(types, severities, { from: 'first' }).catch(() => {});
        void client.connect();
        return () => void client.close();
      }),
  );
  const actions = useMemo(() => {
    const client = () => hub.of('alerts:commands', options => new AlertWebSocketClient({ ...options, autoJoin: false }));
    return {
      create: (alert: Partial<NewAlert> & Pick<NewAlert, 'type' | 'title'>) => client().create(alert),
      acknowledge: (id: string, note?: string) => client().acknowledge(id, note),
      resolve: (id: string, note?: string) => client().resolve(id, note),
    };
  }, [hub]);
  return { ...state, ...actions };
}

/** What the outbox holds, and what ended lately. */
export function useOutbox(): OutboxItem[] {
  return useLive(
    'outbox',
    ({ client }) =>
      new Live<OutboxItem[]>([], set => {
        const look = () => set(() => client.outbox);
        const stops = [client.on('outbox', look), client.on('status:change', look)];
        look();
        return () => stops.forEach(stop => stop());
      }),
  );
}

/** How a camera's pictures arrive, of the last second. */
export interface VideoState {
  live: boolean;
  /** Pictures drawn in the last second. */
  rate: number;
  width: number;
  height: number;
  /** Number of the newest picture. */
  seq: number;
}

/** Seconds without a picture after which a camera counts as dark: a busy machine may skip one. */
const DARK_AFTER = 2;
const DARK: VideoState = { live: false, rate: 0, width: 0, height: 0, seq: 0 };

/**
 * Watches a camera: give `ref` to a `<canvas>`. JPEG pictures are decoded off the main thread, and the next is asked for when one is drawn,
 * so a slow page sees fewer pictures, never older ones.
 */
export function useVideo(cameraId: string): VideoState & { ref: (canvas: HTMLCanvasElement | null) => void } {
  const hub = useHub();
  const [canvas, ref] = useState<HTMLCanvasElement | null>(null);
  const [state, setState] = useState(DARK);
  useEffect(() => {
    if (!canvas) return;
    const client = hub.of('video:pictures', options => new VideoWebSocketClient({ ...options, autoJoin: false }));
    const surface = canvas.getContext('bitmaprenderer');
    let ended = false;
    let drawn = 0;
    let last = DARK;
    let pictures: PictureStream | undefined;
    const show = async () => {
      pictures = await client.watch(cameraId);
      for (;;) {
        if (ended) return pictures.leave();
        const picture = await pictures.next();
        if (!picture) return;
        const bitmap = await createImageBitmap(new Blob([picture.data as BlobPart], { type: 'image/jpeg' })).catch(() => null);
        if (!bitmap) continue;
        if (ended) bitmap.close();
        else {
          if (canvas.width !== bitmap.width) canvas.width = bitmap.width;
          if (canvas.height !== bitmap.height) canvas.height = bitmap.height;
          last = { live: true, rate: 0, width: bitmap.width, height: bitmap.height, seq: picture.seq };
          surface?.transferFromImageBitmap(bitmap);
          drawn += 1;
        }
      }
    };
    show().catch(() => {});
    let silent = 0;
    const timer = setInterval(() => {
      silent = drawn > 0 ? 0 : silent + 1;
      if (drawn > 0) setState({ ...last, rate: drawn });
      else if (silent >= DARK_AFTER) setState(state => (state.live ? { ...state, live: false, rate: 0 } : state));
      drawn = 0;
    }, 1000);
    return () => {
      ended = true;
      clearInterval(timer);
      void pictures?.leave();
      setState(DARK);
    };
  }, [hub, canvas, cameraId]);
  return { ...state, ref };
}
