import { WardlineError, type ClientEvent, type CommandStream, type Incoming, type JoinOptions as CoreJoin, type Outcome, type Room as CoreRoom } from './core/index.js';
import { Connection, type Rider } from './connection.js';
import { canonical } from './data.js';
import { failure, typed } from './errors.js';
import type {
  Cursor, DefaultEvents, Listenable, Message, MessageOf, OutboxItem, PresenceInfo, PresenceStatus, RoomMessage, Sharing, Status, StatusDetail,
} from './events.js';
import { address, command, eventName, listenerKey } from './names.js';
import type { ClientOptions, JoinOptions, SendOptions } from './options.js';
import { Room, type RoomHost } from './room.js';
import { asyncDispose, dispose } from './symbols.js';

type Listener = (data: never, message: never) => void;
/** Takes a listener away. */
export type Unsubscribe = () => void;

/** What became of a send when its promise was fulfilled. */
export interface Receipt {
  /** The item's id, which becomes the event's. */
  readonly id: string;
  /** `queued`: stored, and on its way as soon as there is a connection. */
  readonly state: 'queued' | 'accepted';
  /** Its number in the room's log, where it is kept. */
  readonly seq?: number | undefined;
  /** Waits for its end. */
  outcome(): Promise<Outcome>;
  /** Takes it back, if it can still be; what became of it. */
  cancel(): Promise<Outcome>;
}

interface Subscription {
  readonly address: string;
  name: string;
  /** Asked for by the application, not joined by itself. */
  explicit: boolean;
  options: CoreJoin;
  room: CoreRoom | undefined;
  /** Left, or replaced by another of the same room. */
  gone: boolean;
  members: Map<string, PresenceInfo>;
}

/** Ids an event is known again by, where it comes through several rooms. */
const REMEMBERED = 1024;
/** Messages that wait for an iterator over a whole client. */
const WAITING = 4096;

/** A client. Clients of one url and token share one socket; rooms, filters and `disconnect` are each client's own. */
export class WebSocketClient<Events = DefaultEvents> {
  readonly #connection: Connection;
  readonly #rider: Rider;
  readonly #options: ClientOptions;
  readonly #namespace: string;
  readonly #listeners = new Map<string, Set<Listener>>();
  readonly #subscriptions = new Map<string, Subscription>();
  readonly #pending = new Set<Promise<unknown>>();
  readonly #seen = new Set<string>();
  readonly #onEnd = new Set<() => void>();
  #notifications: Set<string> | undefined;
  #wanted = false;
  #connecting: Promise<void> | undefined;
  #disconnecting: Promise<void> | undefined;
  #told: Status = 'disconnected';
  #established = '';
  #closing: Promise<void> | undefined;

  constructor(options: ClientOptions) {
    this.#options = options;
    this.#namespace = options.namespace ?? 'default';
    const self = this;
    this.#rider = {
      get wanted() {
        return self.#wanted;
      },
      handleStatus: detail => this.#handleStatus(detail),
      handleEvent: event => this.#handleEvent(event),
      handleItem: item => this.#emit('outbox', item),
      suspend: () => this.#suspendAll(),
    };
    this.#connection = Connection.of(options, this.#rider);
    // Not here: no event fires inside a constructor.
    if (options.autoConnect) queueMicrotask(() => this.#closing || void this.connect());
  }

  /** Where this client stands; a client that did not connect is `disconnected` although another of its socket is not. */
  get status(): Status {
    return this.#wanted ? this.#connection.detail.status : 'disconnected';
  }

  /** The same with the reason, and the time to the next attempt. */
  get statusDetail(): StatusDetail {
    const { detail } = this.#connection;
    return this.#wanted ? detail : { status: 'disconnected', code: 0, reason: '', attempt: 0, since: detail.since };
  }

  get connected(): boolean {
    return this.status === 'connected';
  }

  get namespace(): string {
    return this.#namespace;
  }

  /** Who the client is to the server; none before the first welcome. */
  get identity(): { connectionId: string; tenantId: string; userId: string } | null {
    return this.#connection.identity;
  }

  /** `volatile`: what is queued is lost with this process. */
  get durability(): 'durable' | 'volatile' {
    return this.#connection.volatile ? 'volatile' : 'durable';
  }

  /** Whether the tabs share one connection: not asked for, or it cannot be, or this tab owns it, or rides on another's. */
  get sharing(): Sharing {
    return this.#connection.sharing;
  }

  /** What waits in the outbox, of earlier processes too, and what ended lately. */
  get outbox(): OutboxItem[] {
    return this.#connection.items();
  }

  // Connecting ------------------------------------------------------------------------------------------------------------------

  /** Connects, and stays so; resolves at the first welcome, once the rooms joined by themselves are. Idempotent. */
  connect(): Promise<void> {
    if (!this.#connecting) {
      this.#wanted = true;
      const work = this.#guard(this.#connect());
      this.#connecting = work;
      work.catch(() => this.#connecting === work && (this.#connecting = undefined));
    }
    return this.#connecting;
  }

  async #connect(): Promise<void> {
    this.#assertOpen();
    await this.#disconnecting;
    const connection = this.#connection;
    await connection.connect();
    const { tenantId } = this.#options;
    const identity = await (await connection.core()).identified();
    if (tenantId && identity.tenantId !== tenantId) {
      void this.disconnect();
      throw failure('forbidden', `the token is of tenant ${identity.tenantId}, not ${tenantId}`);
    }
    if (!this.#wanted) return;
    this.#handleStatus(connection.detail);
    this.#establish(identity);
    const resumed = [...this.#subscriptions.values()].filter(subscription => !subscription.room).map(old => this.#guard(this.#open(old)));
    // Where the server refuses a room nobody asked for, nobody misses it.
    await Promise.allSettled([...this.roomsOfItsOwn().map(room => this.#join(room, room, {}, false)), ...resumed]);
  }

  /** The rooms a client is in by itself. */
  protected roomsOfItsOwn(): string[] {
    if (this.#options.autoJoin === false) return [];
    const { tenant, user, organization } = this.#connection.claims();
    const own = (namespace: string) => [
      ...(tenant ? [`${namespace}/tenant:${tenant}`] : []),
      ...(organization ? [`${namespace}/org:${organization}`] : []),
    ];
    if (this.#options.namespace) return own(this.#namespace).slice(0, 1);
    return [...own('default'), ...(user ? [`default/user:${user}`] : []), ...own('alerts'), ...own('dispatch')];
  }

  /** Sends what was called before, then leaves; the socket closes with the last client that wants it. A later `connect` goes on. */
  disconnect(): Promise<void> {
    if (!this.#wanted) return this.#disconnecting ?? Promise.resolve();
    this.#wanted = false;
    this.#connecting = undefined;
    const work = this.#guard(this.#disconnect());
    this.#disconnecting = work;
    return work;
  }

  async #disconnect(): Promise<void> {
    await Promise.allSettled([...this.#pending]);
    // With the last client the socket goes, and its rooms go on where they stood; else this client's are left.
    if (this.#connection.isWanted) await this.#suspendAll();
    await this.#connection.disconnect();
    this.#tellStatus('disconnected');
  }

  async #suspendAll(): Promise<void> {
    await Promise.allSettled([...this.#subscriptions.values()].map(subscription => this.#suspend(subscription)));
  }

  /** Leaves for now: joined again behind the last event taken. */
  async #suspend(subscription: Subscription): Promise<void> {
    const { room } = subscription;
    if (!room) return;
    if (room.cursor) subscription.options = { ...subscription.options, cursor: room.cursor };
    subscription.room = undefined;
    await room.leave();
  }

  /** Ends this client for good; everything it has pending is rejected with `closed`. Idempotent. */
  close(): Promise<void> {
    return (this.#closing ??= (async () => {
      await this.disconnect().catch(() => {});
      await this.#suspendAll();
      await this.#connection.release(this.#rider).catch(() => {});
      this.#listeners.clear();
      for (const end of [...this.#onEnd]) end();
    })());
  }

  [dispose](): void {
    void this.close();
  }

  [asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Sets another token, for every client of this socket; shown in place. */
  setToken(token: string): Promise<void> {
    return this.#guard(this.#connection.setToken(token));
  }

  // Rooms -----------------------------------------------------------------------------------------------------------------------

  /** Joins rooms; their events come to listeners. A name is of this client's namespace, or a whole address `alerts/tenant:1`. */
  subscribe(rooms: string | readonly string[], options: JoinOptions = {}): Promise<void> {
    const names = typeof rooms === 'string' ? [rooms] : rooms;
    const joins = names.map(name => this.#join(address(this.#namespace, name), name, options, true));
    return this.#guard(Promise.all(joins).then(() => {}));
  }

  /** Leaves rooms. */
  unsubscribe(rooms: string | readonly string[]): Promise<void> {
    const names = typeof rooms === 'string' ? [rooms] : rooms;
    return this.#guard(Promise.all(names.map(name => this.#leave(name))).then(() => {}));
  }

  /** Joins a room, appears in its presence, and receives that. */
  joinRoom(room: string, metadata?: unknown, options: JoinOptions = {}): Promise<{ success: true; room: string }> {
    const join = { ...options, metadata, present: true, watch: true };
    const work = this.#join(address(this.#namespace, room), room, join, true);
    return this.#guard(work.then(() => ({ success: true as const, room })));
  }

  leaveRoom(room: string): Promise<{ success: true; room: string }> {
    return this.#guard(this.#leave(room).then(() => ({ success: true as const, room })));
  }

  /**
   * Joins a room to be read by `for await`: taking the next message says that the one before is done, and a room that is not read holds
   * the server back. With `durable`, a later process goes on behind what was done here.
   */
  room(name: string, options: JoinOptions = {}): Promise<Room<Events>> {
    return this.#guard(this.#read(name, options));
  }

  async #read(name: string, options: JoinOptions): Promise<Room<Events>> {
    const where = address(this.#namespace, name);
    const room = await (await this.#core()).join(where, coreJoin(options));
    const host: RoomHost = {
      emit: (event, data) => this.#emit(event, data),
      message: next => this.#message(next, name, where).message,
      send: (event, data, more) => this.send(event, data, { ...more, room: where }),
      presence: () => this.queryPresence(where),
      cast: (event, data) => this.cast(where, event, data),
    };
    return new Room<Events>(name, room, host);
  }

  /** The rooms this client joined, as they were joined. */
  queryRooms(): Promise<string[]> {
    return this.#guard(
      (async () => {
        const known = new Set((await (await this.#core()).queryRooms()).map(room => address('default', room)));
        return [...this.#subscriptions.values()].filter(({ explicit, address }) => explicit && known.has(address)).map(({ name }) => name);
      })(),
    );
  }

  /** Who is in a room now. Nobody twice. */
  queryPresence(room: string): Promise<PresenceInfo[]> {
    return this.#guard(this.#core().then(core => core.queryPresence(address(this.#namespace, room))));
  }

  /** One page of a room's log: the newest, or behind `cursor`, or from the first entry held. */
  history(room: string, options: { cursor?: Cursor; from?: 'first'; limit?: number } = {}): Promise<{ messages: Message[]; cursor: Cursor }> {
    const where = address(this.#namespace, room);
    type Page = { events: (Omit<Message, 'timestamp'> & { seq: number; mark: string; time: number })[]; cursor: Cursor };
    return this.#guard(
      (async () => {
        const { events, cursor } = (await (await this.#core()).query('history', { room: where, ...options })) as Page;
        const messages = events.map(({ seq, mark, time, ...rest }) => {
          const next = { ...rest, type: 'event', timestamp: time, cursor: { seq, mark } } as Incoming & { type: 'event' };
          return this.#message(next, room, where).message;
        });
        return { messages, cursor };
      })(),
    );
  }

  /** Joins, or changes how a room is joined without missing an event in between. */
  async #join(where: string, name: string, options: JoinOptions, explicit: boolean, change = explicit): Promise<void> {
    const wish = coreJoin(options);
    const old = this.#subscriptions.get(where);
    if (old) {
      if (!change) return old.room?.joined();
      old.explicit ||= explicit;
      if (explicit) old.name = name;
      const plain = Object.keys(wish).length === 0;
      if (plain || JSON.stringify(wish) === JSON.stringify(old.options)) return old.room?.joined();
    }
    const cursor = wish.cursor ?? (wish.from === 'first' ? undefined : old?.room?.cursor) ?? undefined;
    const next: Subscription = { address: where, name, explicit: explicit || !!old?.explicit, options: wish, room: undefined, gone: false, members: old?.members ?? new Map() };
    this.#subscriptions.set(where, next);
    try {
      await this.#open(next, cursor);
    } catch (error) {
      if (next.gone) return;
      if (this.#subscriptions.get(where) === next) {
        if (old?.room) this.#subscriptions.set(where, old);
        else this.#subscriptions.delete(where);
      }
      throw error;
    }
    if (old) await this.#end(old);
  }

  async #end(subscription: Subscription): Promise<void> {
    subscription.gone = true;
    await subscription.room?.leave();
  }

  async #open(subscription: Subscription, cursor?: Cursor): Promise<void> {
    const core = await this.#core();
    const { options, address } = subscription;
    if (subscription.gone) return;
    const room = core.open(address, cursor ? { ...options, cursor } : options);
    subscription.room = room;
    await room.joined();
    const { name, explicit } = subscription;
    if (explicit) this.#emit('room:joined', { room: name, ...(options.metadata === undefined ? {} : { metadata: options.metadata }) });
    void this.#pump(subscription, room);
  }

  async #pump(subscription: Subscription, room: CoreRoom): Promise<void> {
    for (;;) {
      const batch = await room.next().catch(() => []);
      if (batch.length === 0) return;
      for (const next of batch) this.#handleIncoming(subscription, next);
    }
  }

  async #leave(name: string): Promise<void> {
    const where = address(this.#namespace, name);
    const subscription = this.#subscriptions.get(where);
    if (!subscription) return;
    this.#subscriptions.delete(where);
    await this.#end(subscription);
    this.#emit('room:left', { room: subscription.name });
  }

  // Sending ---------------------------------------------------------------------------------------------------------------------

  /**
   * Sends an event. It is stored first, then accepted exactly once, however often the network fails meanwhile. Resolves when the server
   * accepted it; while there is no connection, as soon as it is stored. Commands (`stream:start`, `alert:acknowledge`, …) go to whoever
   * handles them.
   */
  send(event: string, data?: unknown, options: SendOptions = {}): Promise<Receipt> {
    const request = options.room === undefined ? this.#request(event, data) : undefined;
    if (request) return request as Promise<Receipt>;
    return this.#guard(this.#submit(event, data, options));
  }

  async #submit(event: string, data: unknown, options: SendOptions): Promise<Receipt> {
    this.#assertOpen();
    const { room, persistent, lane, ttl, key, id } = options;
    const [space, canonicalName] = (room === undefined && command(event)) || [undefined, event];
    const tenant = room === undefined && !space ? this.#tenantRoom() : undefined;
    const where = room !== undefined ? address(this.#namespace, room) : space ? `${space}/commands` : typeof tenant === 'string' ? tenant : await tenant!;
    const more = space ? { lane: 1, ttl: 30_000 } : {};
    const given = { persist: persistent ?? true, ...more, ...defined({ lane, ttl, key, id }) };
    const sending = await this.#track(this.#core().then(core => core.send(where, canonicalName, data ?? null, given)));
    this.#connection.follow(sending, where, canonicalName);
    const outcome = sending.outcome();
    const end = await this.#connection.endOrOffline(outcome);
    const receipt = { id: sending.id, outcome: () => sending.outcome(), cancel: () => sending.cancel() };
    if (end?.outcome === 'accepted') return { ...receipt, state: 'accepted', seq: end.seq };
    if (end) throw ended(end);
    outcome.then(late => late.outcome !== 'accepted' && this.#emitError(ended(late)), () => {});
    return { ...receipt, state: 'queued' };
  }

  /** At once where the token names the tenant, so that what is called in a row is stored in that order. */
  #tenantRoom(): string | Promise<string> {
    const room = (tenant: string) => `${this.#namespace}/tenant:${tenant}`;
    const { tenant } = this.#connection.claims();
    return tenant ? room(tenant) : this.#core().then(async core => room((await core.identified()).tenantId));
  }

  /** What clients of the older services send as events. */
  #request(event: string, data: unknown): Promise<unknown> | undefined {
    const { room = '', payload, persistent, status, metadata } = (data ?? {}) as Record<string, any>;
    switch (event) {
      case 'room:join':
        return this.joinRoom(room, metadata);
      case 'room:leave':
        return this.leaveRoom(room);
      case 'room:send':
        return this.sendMessage(room, payload, persistent).then(messageId => ({ success: true, messageId }));
      case 'query:presence':
        return this.queryPresence(room).then(presence => ({ presence }));
      case 'query:rooms':
        return this.queryRooms().then(rooms => ({ rooms }));
      case 'presence:status':
        return this.setPresenceStatus(status, metadata);
      case 'presence:heartbeat':
        return status ? this.setPresenceStatus(status) : Promise.resolve();
      default:
        return undefined;
    }
  }

  /** Sends a message to a room; everyone in it gets `room:message`. `persistent`: kept, and replayed to who missed it. */
  sendMessage(room: string, payload: unknown, persistent = false): Promise<string> {
    const work = this.#submit('room:message', payload, { room, persistent });
    return this.#guard(work.then(({ id }) => id));
  }

  /** Sends an ephemeral event: at most once, to who is there now, not queued. */
  cast(room: string, event: string, data?: unknown): Promise<void> {
    return this.#guard(this.#track(this.#core().then(core => core.cast(address(this.#namespace, room), event, data ?? null))));
  }

  /** Sends a command to whoever handles a namespace's commands, and waits for its result. */
  command<Result = unknown>(event: string, data?: unknown, namespace = this.#namespace): Promise<Result> {
    return this.#guard(this.#core().then(core => core.command(namespace, event, data ?? null) as Promise<Result>));
  }

  /** Takes the commands of a namespace; the token needs the role `service`. */
  handleCommands(namespace = this.#namespace): Promise<CommandStream> {
    return this.#guard(this.#core().then(core => core.handleCommands(namespace)));
  }

  /** Sets how this user is present, in every room; kept over reconnects. */
  setPresenceStatus(status: PresenceStatus, metadata?: unknown): Promise<void> {
    return this.#guard(this.#track(this.#core().then(core => core.setPresence(status, metadata))));
  }

  /** Receives this user's notifications of these types; `all`, or none, is everything. */
  subscribeToNotifications(types: string | readonly string[] = 'all'): Promise<void> {
    const list = typeof types === 'string' ? [types] : types;
    this.#notifications = list.length === 0 || list.includes('all') ? undefined : new Set(list);
    return this.#guard(
      (async () => {
        const user = this.#connection.claims().user ?? (await (await this.#core()).identified()).userId;
        const room = `default/user:${user}`;
        await this.#join(room, room, {}, false);
      })(),
    );
  }

  // Listening -------------------------------------------------------------------------------------------------------------------

  /** Listens to an event by name; `message` is every event of the rooms. Gives what takes the listener away. */
  on<Name extends keyof Listenable<Events> & string>(
    event: Name,
    listener: (data: Listenable<Events>[Name], message: Message) => void,
  ): Unsubscribe;
  on(event: string, listener: (data: any, message: Message) => void): Unsubscribe;
  on(event: string, listener: Listener): Unsubscribe {
    return this.#listen(event, listener);
  }

  #listen(event: string, listener: Listener): Unsubscribe {
    const key = listenerKey(event);
    const listeners = this.#listeners.get(key) ?? new Set();
    this.#listeners.set(key, listeners.add(listener));
    return () => this.off(event, listener as never);
  }

  /** Listens once. */
  once<Name extends keyof Listenable<Events> & string>(
    event: Name,
    listener: (data: Listenable<Events>[Name], message: Message) => void,
  ): Unsubscribe;
  once(event: string, listener: (data: any, message: Message) => void): Unsubscribe;
  once(event: string, listener: Listener): Unsubscribe {
    const stop = this.#listen(event, (data, message) => {
      stop();
      listener(data, message);
    });
    return stop;
  }

  /** Takes a listener away; without one, all of an event. */
  off(event: string, listener?: (data: any, message: Message) => void): void {
    const key = listenerKey(event);
    if (listener) this.#listeners.get(key)?.delete(listener as Listener);
    else this.#listeners.delete(key);
  }

  /** Every message of this client's rooms from now on: `for await (const message of client)`. Ends with `close`. */
  async *[Symbol.asyncIterator](): AsyncGenerator<MessageOf<Events>, void, undefined> {
    const waiting: MessageOf<Events>[] = [];
    let wake: (() => void) | undefined;
    let missed = false;
    const stop = this.on('message', message => {
      if (waiting.length < WAITING) waiting.push(message as MessageOf<Events>);
      else missed = true;
      wake?.();
    });
    const ended = this.#ended(() => wake?.());
    try {
      for (;;) {
        const next = waiting.shift();
        if (next) yield next;
        else if (missed) throw failure('queue_full', `more than ${WAITING} messages waited; read a room with \`room()\` instead`);
        else if (this.#closing) return;
        else await new Promise<void>(resolve => (wake = resolve));
      }
    } finally {
      stop();
      ended();
    }
  }

  #ended(callback: () => void): Unsubscribe {
    this.#onEnd.add(callback);
    return () => this.#onEnd.delete(callback);
  }

  #emit(event: string, data: unknown, message?: Message): void {
    const listeners = this.#listeners.get(event);
    if (!listeners || listeners.size === 0) return;
    for (const listener of [...listeners]) {
      try {
        (listener as (data: unknown, message: Message | undefined) => void)(data, message);
      } catch (error) {
        // A listener's own fault is the application's: told where uncaught errors are, after the others heard the event.
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }

  #emitError(error: WardlineError): void {
    this.#emit('error', error);
    this.#emit('system:error', { code: error.code, message: error.message });
  }

  #tellStatus(status: Status): void {
    if (this.#told === status) return;
    this.#told = status;
    this.#emit('status:change', status);
    if (!this.#wanted) this.#emit('status:detail', this.statusDetail);
  }

  #handleStatus(detail: StatusDetail): void {
    if (!this.#wanted) return;
    this.#tellStatus(detail.status);
    this.#emit('status:detail', detail);
  }

  #establish({ connectionId, tenantId, userId }: { connectionId: string; tenantId: string; userId: string }): void {
    if (this.#established === connectionId) return;
    this.#established = connectionId;
    this.#emit('connection:established', { connectionId, tenantId, userId });
  }

  #handleEvent(event: ClientEvent): void {
    switch (event.type) {
      case 'established':
        if (this.#wanted) this.#establish(event);
        break;
      case 'restart':
        this.#emit('system:restart', { reason: event.reason, reconnectIn: event.reconnectIn });
        break;
      case 'settled':
        if (event.outcome.outcome !== 'accepted') this.#emitError(ended(event.outcome));
        break;
      case 'acceptedLost':
        this.#emitError(failure('accepted_lost', `the server forgot items ${event.from} to ${event.to} of lane ${event.lane}`));
        break;
      case 'error':
        this.#emitError(new WardlineError(event.code, event.reason));
        break;
      case 'volatile': {
        const { type: _, ...why } = event;
        this.#emit('volatile', why);
        if (why.reason === 'blocked') this.#emitError(new WardlineError('storage', why.message, 'later'));
        break;
      }
      case 'sharing':
        this.#emit('sharing', this.sharing);
    }
  }

  #handleIncoming(subscription: Subscription, next: Incoming): void {
    const { name: room, members } = subscription;
    switch (next.type) {
      case 'event': {
        if (next.id) {
          if (this.#seen.has(next.id)) return;
          this.#seen.add(next.id);
          if (this.#seen.size > REMEMBERED) this.#seen.delete(this.#seen.values().next().value!);
        }
        const { key, message } = this.#message(next, room, subscription.address);
        if (key === 'notification' && this.#notifications && !this.#notifications.has((message.data as { type?: string } | null)?.type ?? '')) return;
        this.#emit(key, message.data, message);
        this.#emit('message', message, message);
        break;
      }
      case 'live':
        this.#emit('live', { room });
        break;
      case 'gap':
        this.#emit('gap', { room, from: next.from, ...(next.to ? { to: next.to } : {}) });
        break;
      case 'left':
        this.#emit('room:left', { room, code: next.code });
        break;
      case 'presence':
        handlePresence(members, next);
        if (next.change === 'joined') this.#emit('presence:join', { room, user: next.member });
        if (next.change === 'left') this.#emit('presence:leave', { room, userId: next.userId });
        this.#emit('presence:update', { room, presence: [...members.values()] });
    }
  }

  /** An event as the application reads it. */
  #message(next: Incoming & { type: 'event' }, room: string, where: string): { key: string; message: Message } {
    const { event, data, id, from, timestamp, cursor, key: kept, gone } = next;
    const { key, name, known } = eventName(where.slice(0, where.indexOf('/')), event);
    let body = known ? canonical(key, data) : data;
    if (event === 'room:message') {
      body = { id: next.id ?? '', room, from: next.from, payload: data, timestamp: next.timestamp } satisfies RoomMessage;
    }
    // Field by field: this is done for every event, and copying the rest of an object is slow.
    const message: { -readonly [Field in keyof Message]: Message[Field] } = { room, event: name, data: body, from, timestamp };
    if (id !== undefined) message.id = id;
    if (cursor) message.cursor = cursor;
    if (kept !== undefined) message.key = kept;
    if (gone) message.gone = gone;
    return { key, message };
  }

  // Calls -----------------------------------------------------------------------------------------------------------------------

  #assertOpen(): void {
    if (this.#closing) throw failure('closed', 'the client has ended');
  }

  async #core(): ReturnType<Connection['core']> {
    this.#assertOpen();
    return this.#connection.core();
  }

  /** The connection's core, for the typed clients. */
  protected core(): ReturnType<Connection['core']> {
    return this.#core();
  }

  /** Changes how the tenant's room of this namespace is filtered. */
  protected filterTenant(filter: JoinOptions): Promise<void> {
    return this.#guard(
      (async () => {
        this.#assertOpen();
        const room = await this.#tenantRoom();
        await this.#join(room, room.slice(room.indexOf('/') + 1), filter, false, true);
      })(),
    );
  }

  /** An error of a call that nobody awaits reaches `error`, and is no unhandled rejection. */
  #guard<Result>(work: Promise<Result>): Promise<Result> {
    const guarded = work.catch(thrown => {
      const error = typed(thrown);
      this.#emitError(error);
      throw error;
    });
    guarded.catch(() => {});
    return guarded;
  }

  /** `disconnect` waits for this to be on its way. */
  #track<Result>(work: Promise<Result>): Promise<Result> {
    this.#pending.add(work);
    const done = () => this.#pending.delete(work);
    work.then(done, done);
    return work;
  }
}

function coreJoin({ filter, ...options }: JoinOptions): CoreJoin {
  return { ...defined(options), ...(filter ? { filter: Array.isArray(filter) ? filter : [filter] } : {}) } as CoreJoin;
}

function handlePresence(members: Map<string, PresenceInfo>, next: Incoming & { type: 'presence' }): void {
  switch (next.change) {
    case 'everyone':
      members.clear();
      for (const member of next.members) members.set(member.userId, member);
      break;
    case 'left':
      members.delete(next.userId);
      break;
    default:
      members.set(next.member.userId, next.member);
  }
}

function ended(end: Outcome): WardlineError {
  if (end.outcome === 'refused') return new WardlineError(end.code, end.reason, 'refused');
  return new WardlineError(end.outcome, `the item is ${end.outcome}`, end.outcome === 'uncertain' ? 'uncertain' : 'refused');
}

/** What is set of an object. */
function defined<Fields extends object>(fields: Fields): { [Name in keyof Fields]?: Exclude<Fields[Name], undefined> } {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as never;
}
