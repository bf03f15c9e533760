// One physical connection, shared by every client of the same server, token and settings (C1).
import {
  Client, Driver, load, WardlineError, type ClientEvent, type Helm, type Options as CoreOptions, type Outcome, type Sending, type Sharing, type Store,
} from './core/index.js';
import { typed } from './errors.js';
import type { OutboxItem, StatusDetail } from './events.js';
import { claims, type Claims } from './names.js';
import type { ClientOptions, TokenProvider } from './options.js';
import type { Kit } from './share.js';

/** What differs between browsers and Node. */
export interface Host {
  platform: string;
  /** Where the WebAssembly is, unless `configure` said otherwise. */
  wasm: () => Parameters<typeof load>[0];
  webSocket?: CoreOptions['webSocket'];
  /** The durable outbox of a name, or a volatile one where that was asked for. */
  store: (outbox: string | false | undefined) => Store | Promise<Store>;
  /** A seat at the connection that the tabs share, or why there is none. */
  share?: (kit: Omit<Kit, 'open'>) => Promise<Helm | string>;
}

let host: Host | undefined;
let source: Parameters<typeof load>[0] | undefined;

export function setHost(of: Host): void {
  host = of;
}

/** Says where the WebAssembly is: an URL, a `Response`, bytes or a compiled module. Before the first client is used. */
export function configure(options: { wasm: Parameters<typeof load>[0] }): void {
  source = options.wasm;
}

/** Loads and compiles the WebAssembly now, instead of when the first client is used. */
export function ready(): Promise<void> {
  return load(source ?? host!.wasm());
}

/** A client that rides on a connection. */
export interface Rider {
  /** Whether it asked to be connected. */
  readonly wanted: boolean;
  handleStatus(detail: StatusDetail): void;
  handleEvent(event: ClientEvent): void;
  handleItem(item: OutboxItem): void;
  /** Leaves its rooms for as long as it is not connected. */
  suspend(): Promise<void>;
}

/** A token that was asked for to learn whose it is serves the first connection too, if that comes so soon. */
const FRESH = 30_000;
/** Ended items a panel can still see. */
const ENDED = 200;

const pool = new Map<string, Connection>();
const providers = new WeakMap<TokenProvider, number>();
let provider = 0;

function keyOf(options: ClientOptions): string {
  const { token } = options;
  let who: unknown = token;
  if (typeof token === 'function') {
    if (!providers.has(token)) providers.set(token, ++provider);
    who = providers.get(token);
  }
  const { autoReconnect, maxAttempts, limits, heartbeat, outbox, stopLanes, share } = options;
  return JSON.stringify([options.url, who, autoReconnect, maxAttempts, limits, heartbeat, outbox, stopLanes, share]);
}

export class Connection {
  /** The connection of these options, made or shared. */
  static of(options: ClientOptions, rider: Rider): Connection {
    const key = keyOf(options);
    const found = pool.get(key) ?? new Connection(key, options);
    pool.set(key, found);
    found.#riders.add(rider);
    return found;
  }

  readonly #options: ClientOptions;
  readonly #riders = new Set<Rider>();
  readonly #items = new Map<string, OutboxItem>();
  /** Who waits only as long as there is a connection. */
  readonly #away = new Set<() => void>();
  #key: string;
  #core: Promise<Client> | undefined;
  #client: Client | undefined;
  #token: string | undefined;
  #beat: ReturnType<typeof setInterval> | undefined;
  sharing: Sharing = { state: 'off' };
  detail: StatusDetail = { status: 'disconnected', code: 0, reason: '', attempt: 0, since: Date.now() };

  private constructor(key: string, options: ClientOptions) {
    this.#key = key;
    this.#options = options;
    if (typeof options.token === 'string') this.#token = options.token;
  }

  /** The core, made when it is first needed. */
  core(): Promise<Client> {
    return (this.#core ??= this.#make());
  }

  async #make(): Promise<Client> {
    const { url, token, autoReconnect, maxAttempts, limits, heartbeat, outbox, stopLanes, share } = this.#options;
    let asked = -Infinity;
    const ask = async (): Promise<string | null> => {
      if (performance.now() - asked < FRESH) {
        asked = -Infinity;
        return this.#token ?? null;
      }
      const given = typeof token === 'function' ? await token() : token;
      if (given) this.#token = given;
      return given ?? null;
    };
    const options: CoreOptions = { url, sdk: 'wardline-js', version: VERSION, platform: host!.platform, onEvent: event => this.#handle(event) };
    if (typeof token === 'function') options.tokenProvider = ask;
    else if (token) options.token = token;
    if (autoReconnect !== undefined) options.autoReconnect = autoReconnect;
    if (maxAttempts !== undefined) options.maxAttempts = maxAttempts;
    if (limits?.items !== undefined) options.maxItems = limits.items;
    if (limits?.bytes !== undefined) options.maxBytes = limits.bytes;
    if (stopLanes) options.stopLanes = stopLanes;
    if (host!.webSocket) options.webSocket = host!.webSocket;
    const loading = ready();
    loading.catch(() => {});
    if (share) {
      await loading;
      if (share === true && !this.#token && host!.share && (await ask().catch(() => null))) asked = performance.now();
      const helm = await this.#share(share, options);
      if (helm) options.helm = helm;
    }
    if (!options.helm) options.store = await host!.store(outbox);
    await loading;
    const client = new Client(options);
    this.#client = client;
    if (heartbeat?.interval) {
      this.#beat = setInterval(() => client.status === 'connected' && client.signal('network'), heartbeat.interval);
      (this.#beat as { unref?: () => void }).unref?.();
    }
    return client;
  }

  async #share(share: true | string, options: CoreOptions): Promise<Helm | undefined> {
    const { url, outbox } = this.#options;
    const { tenant = '', user } = claims(this.#token);
    const who = share === true ? user && [tenant, user] : [share];
    let reason: string;
    if (!host!.share) reason = 'only browsers have tabs';
    else if (outbox === false) reason = 'the outbox is in memory';
    else if (!who) reason = 'the token names no user';
    else {
      const name = JSON.stringify([outbox ?? 'wardline', url, ...who]);
      const drive = (options: CoreOptions) => new Driver(options);
      const fail: Kit['fail'] = (code, words, kind) => new WardlineError(code, words, kind);
      const helm = await host!.share({ name, options, drive, fail }).catch((error: Error) => error.message);
      if (typeof helm !== 'string') {
        this.sharing = { state: 'rider' };
        return helm;
      }
      reason = helm;
    }
    this.#handle({ type: 'sharing', state: 'alone', reason });
    return undefined;
  }

  /** Names to build rooms from: the server's word where it was heard, else the token's. */
  claims(): Claims {
    const own = claims(this.#token);
    const identity = this.#client?.identity;
    return identity ? { ...own, tenant: identity.tenantId, user: identity.userId } : own;
  }

  get identity(): Client['identity'] {
    return this.#client?.identity ?? null;
  }

  get volatile(): boolean {
    return this.#client?.volatile ?? false;
  }

  #handle(event: ClientEvent): void {
    if (event.type === 'status') {
      const { type: _, ...detail } = event;
      this.detail = { ...detail, since: Date.now() };
      if (event.status !== 'connected') for (const away of [...this.#away]) away();
      for (const rider of [...this.#riders]) rider.handleStatus(this.detail);
      return;
    }
    if (event.type === 'sharing') {
      const { type: _, ...sharing } = event;
      this.sharing = sharing;
    }
    if (event.type === 'established') this.#remember();
    if (event.type === 'settled') this.#ended(event.id, event.outcome);
    for (const rider of [...this.#riders]) rider.handleEvent(event);
  }

  /** What the outbox holds, and what ended lately. */
  items(): OutboxItem[] {
    this.#remember();
    return [...this.#items.values()];
  }

  /** Learns what an earlier process left in the outbox. */
  #remember(): void {
    for (const { id, room, event } of this.#client?.outbox() ?? []) {
      if (!this.#items.has(id)) this.#items.set(id, { id, room, event, state: 'queued' });
    }
  }

  /** Follows an item to its end, for panels. */
  follow(sending: Sending, room: string, event: string): void {
    this.#note({ id: sending.id, room, event, state: 'queued', queuedAt: Date.now() });
    sending.outcome().then(
      outcome => this.#ended(sending.id, outcome),
      () => {},
    );
  }

  #ended(id: string, { outcome, ...rest }: Outcome): void {
    const item = this.#items.get(id) ?? { id, room: '', event: '' };
    this.#note({ ...item, ...rest, state: outcome, endedAt: Date.now() });
    let over = [...this.#items.values()].filter(item => item.state !== 'queued').length - ENDED;
    for (const [id, item] of this.#items) {
      if (over <= 0) break;
      if (item.state !== 'queued' && over--) this.#items.delete(id);
    }
  }

  #note(item: OutboxItem): void {
    this.#items.set(item.id, item);
    for (const rider of [...this.#riders]) rider.handleItem(item);
  }

  /** What became of an item; nothing, where there is no connection to wait on. */
  endOrOffline(outcome: Promise<Outcome>): Promise<Outcome | undefined> {
    if (this.detail.status !== 'connected') return Promise.resolve(undefined);
    return new Promise((resolve, reject) => {
      const away = () => {
        this.#away.delete(away);
        resolve(undefined);
      };
      this.#away.add(away);
      outcome.finally(() => this.#away.delete(away)).then(resolve, reject);
    });
  }

  async connect(): Promise<void> {
    await Promise.all([...this.#riders].filter(rider => !rider.wanted).map(rider => rider.suspend()));
    await (await this.core()).connect();
  }

  /** Whether a client wants to be connected. */
  get isWanted(): boolean {
    return [...this.#riders].some(rider => rider.wanted);
  }

  /** Closes the socket, unless another client still wants it. */
  async disconnect(): Promise<void> {
    if (this.#core && !this.isWanted) await (await this.#core).disconnect();
  }

  async setToken(token: string): Promise<void> {
    this.#token = token;
    // Whoever comes with this token later rides along; with the old one, no more.
    if (pool.get(this.#key) === this) pool.delete(this.#key);
    this.#key = keyOf({ ...this.#options, token });
    if (!pool.has(this.#key)) pool.set(this.#key, this);
    (await this.core()).setToken(token);
  }

  /** A client is gone; with the last one goes everything. */
  async release(rider: Rider): Promise<void> {
    this.#riders.delete(rider);
    if (this.#riders.size > 0) return this.disconnect();
    if (pool.get(this.#key) === this) pool.delete(this.#key);
    clearInterval(this.#beat);
    const core = await this.#core?.catch(error => void typed(error));
    await core?.close();
  }
}

/** The version of this package. */
export const VERSION = '0.1.0';
