// The handles: one client, one connection, as many rooms as it likes on it.

import { asError, Driver } from './driver.js';
import { closed, WardlineError, type ErrorKind } from './errors.js';
import type { Helm } from './helm.js';
import { listen } from './signals.js';
import type {
  ClientEvent,
  Cursor,
  Identity,
  Incoming,
  JoinOptions,
  Options,
  Outcome,
  OutboxItem,
  Picture,
  PresenceInfo,
  PresenceStatus,
  SendOptions,
  ServiceCommand,
  Signal,
  Status,
  StreamOptions,
} from './types.js';

/** The lane of what is sent without a word about it, and of commands. */
const LANE = 4;
const COMMAND_LANE = 1;

function drawId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, byte => byte.toString(16).padStart(2, '0')).join('');
}

/** What a pull waits for. */
class Bell {
  #waiting: (() => void)[] = [];

  ring(): void {
    this.#waiting.splice(0).forEach(wake => wake());
  }

  heard(): Promise<void> {
    return new Promise(wake => this.#waiting.push(wake));
  }
}

/** A joined room. Events are pulled: taking the next says that those before are done (P-R11). */
export class Room {
  readonly name: string;
  readonly address: string;
  readonly #driver: Helm;
  readonly #sub: number;
  readonly #bell = new Bell();
  readonly #joining: Promise<unknown>;
  readonly #hook: JoinOptions['snapshot'];
  #left = false;
  #cursor: Cursor | null = null;

  /** @internal */
  constructor(driver: Helm, name: string, address: string, options: JoinOptions, pictures?: Bell) {
    this.name = name;
    this.address = address;
    this.#driver = driver;
    const { snapshot, ...rest } = options;
    this.#hook = snapshot;
    const sub = driver.number();
    this.#sub = sub;
    driver.listeners.set(sub, {
      ready: () => this.#bell.ring(),
      wanted: head => void this.#snapshot(head),
      picture: () => pictures?.ring(),
      ended: () => {
        this.#left = true;
        this.#bell.ring();
        pictures?.ring();
      },
    });
    this.#joining = driver.call('join', { sub, room: address, ...rest, hook: snapshot !== undefined });
    this.#joining.catch(() => {});
    if (pictures) driver.tell({ c: 'look', sub, room: address });
  }

  /** The position of the last event taken; none before the first. */
  get cursor(): Cursor | null {
    return this.#cursor;
  }

  /** @internal */
  get sub(): number {
    return this.#sub;
  }

  /** Whether it was left, or the client has ended. */
  get ended(): boolean {
    return this.#left;
  }

  /** Waits for the server's answer to the join. */
  async joined(): Promise<void> {
    await this.#joining;
  }

  /** Takes all that is there, at most `max`, and waits for the first; empty: the room was left. */
  async next(max = 256): Promise<Incoming[]> {
    while (!this.#left) {
      const taken = this.#driver.take<Incoming>(this.#sub, Math.max(1, max));
      for (const next of taken) {
        if (next.type !== 'event') continue;
        next.room = this.name;
        this.#cursor = next.cursor ?? this.#cursor;
      }
      if (taken.length > 0) return taken;
      await this.#bell.heard();
    }
    return [];
  }

  /** Says that everything taken is done, without taking more. */
  done(): void {
    this.#driver.tell({ c: 'done', sub: this.#sub });
  }

  /** Leaves; pulls that wait give an empty list. */
  async leave(): Promise<void> {
    if (this.#left) return;
    const { listeners } = this.#driver;
    listeners.get(this.#sub)?.ended();
    listeners.delete(this.#sub);
    await this.#driver.call('leave', { sub: this.#sub });
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Incoming, void, undefined> {
    try {
      for (let batch = await this.next(); batch.length > 0; batch = await this.next()) yield* batch;
    } finally {
      await this.leave().catch(() => {});
    }
  }

  async #snapshot(head: Cursor): Promise<void> {
    const sub = this.#sub;
    try {
      const cursor = (await this.#hook?.(head)) ?? undefined;
      this.#driver.tell({ c: 'snapshot', sub, cursor });
    } catch (error) {
      this.#driver.tell({ c: 'snapshot', sub, error: String((error as Error).message) });
    }
  }
}

/** An item that is stored and under way. */
export class Sending {
  readonly id: string;
  readonly #client: Client;
  readonly #outcome: Promise<Outcome>;

  /** @internal */
  constructor(client: Client, id: string, outcome: Promise<Outcome>) {
    this.id = id;
    this.#client = client;
    this.#outcome = outcome;
  }

  /** Waits for its end (P-S6). */
  outcome(): Promise<Outcome> {
    return this.#outcome;
  }

  /** Waits until it is accepted; gives its number where it is kept. Every other end is an error. */
  async accepted(): Promise<number | undefined> {
    const end = await this.#outcome;
    switch (end.outcome) {
      case 'accepted':
        return end.seq;
      case 'refused':
        throw asError(end as typeof end & { kind: ErrorKind });
      case 'uncertain':
        throw new WardlineError('uncertain', 'it may or may not have been accepted', 'uncertain');
      default:
        throw new WardlineError(end.outcome, `the item is ${end.outcome}`, 'refused');
    }
  }

  /** Takes it back, if it can still be; gives what became of it, which may be `accepted` (P-S5). */
  async cancel(): Promise<Outcome> {
    try {
      return await this.#client.cancel(this.id);
    } catch (error) {
      // It has ended before.
      if (error instanceof WardlineError && error.code === 'not_found') return this.#outcome;
      throw error;
    }
  }
}

/** The pictures of a room: the newest, whenever it is asked for. */
export class PictureStream {
  readonly room: Room;
  readonly #driver: Helm;
  readonly #bell: Bell;

  /** @internal */
  constructor(driver: Helm, room: Room, bell: Bell) {
    this.#driver = driver;
    this.room = room;
    this.#bell = bell;
  }

  /** Waits for the next picture, and says that it is being shown (P-V2). Nothing: it has ended. */
  async next(): Promise<Picture | null> {
    while (!this.room.ended) {
      const picture = this.#driver.picture(this.room.sub);
      if (picture) {
        this.#driver.tell({ c: 'seen', stream: picture.stream, seq: picture.seq });
        return picture;
      }
      await this.#bell.heard();
    }
    return null;
  }

  leave(): Promise<void> {
    return this.room.leave();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Picture, void, undefined> {
    try {
      for (let next = await this.next(); next; next = await this.next()) yield next;
    } finally {
      await this.leave().catch(() => {});
    }
  }
}

/** A stream that pictures are pushed into. Announced again on each connection. */
export class Publisher {
  onViewers: ((viewers: number) => void) | undefined;
  readonly #driver: Helm;
  readonly #stream: StreamOptions & { room: string };
  #viewers = 0;
  #seq = 0;

  /** @internal */
  constructor(driver: Helm, stream: StreamOptions & { room: string }) {
    this.#driver = driver;
    this.#stream = stream;
    driver.publishers.set(stream.number, viewers => {
      if (viewers === this.#viewers) return;
      this.#viewers = viewers;
      this.onViewers?.(viewers);
    });
  }

  /** How many watch now. */
  get viewers(): number {
    return this.#viewers;
  }

  /** Sends a picture where there is room for it: pictures are not queued. Gives its number. */
  push(picture: Uint8Array, ptsUs: number, key: boolean): number {
    this.#seq = (this.#seq + 1) >>> 0;
    const { number, codec } = this.#stream;
    const seq = this.#seq;
    this.#driver.push(number, codec === 'h264', key, seq, ptsUs, picture);
    return seq;
  }

  /** Ends the stream. */
  end(): void {
    const { number, room } = this.#stream;
    if (!this.#driver.publishers.delete(number)) return;
    this.#driver
      .call('stream', { stream: number, room, codec: '', width: 0, height: 0 })
      .catch(() => {});
  }
}

/** The commands of a namespace, as they come to a `service` (P-S8). */
export class CommandStream {
  readonly #driver: Helm;
  readonly #room: Room;
  #taken: Incoming[] = [];

  /** @internal */
  constructor(driver: Helm, room: Room) {
    this.#driver = driver;
    this.#room = room;
  }

  /** Waits for the next command; nothing: it was left. */
  async next(): Promise<ServiceCommand | null> {
    for (;;) {
      const next = this.#taken.shift();
      if (!next) {
        this.#taken = await this.#room.next();
        if (this.#taken.length === 0) return null;
        continue;
      }
      if (next.type !== 'event' || !next.cursor || !next.id) continue;
      const room = this.#room.address;
      const { seq } = next.cursor;
      const answer = (body: object): Promise<void> => this.#driver.call('answer', { room, seq, ...body });
      return {
        id: next.id,
        event: next.event,
        data: next.data,
        from: next.from,
        answer: (result: unknown) => answer({ result: result ?? null }),
        refuse: (code, message) => answer({ error: { code, message } }),
      };
    }
  }

  leave(): Promise<void> {
    return this.#room.leave();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<ServiceCommand, void, undefined> {
    try {
      for (let next = await this.next(); next; next = await this.next()) yield next;
    } finally {
      await this.leave().catch(() => {});
    }
  }
}

/** A client: one connection, kept alive. */
export class Client {
  readonly #driver: Helm;
  readonly #namespace: string;
  #silence: (() => void) | undefined;
  #closing: Promise<void> | undefined;

  constructor(options: Options) {
    this.#namespace = options.namespace ?? 'default';
    this.#driver = options.helm ?? new Driver(options);
    this.#driver.onEvent = options.onEvent;
    if (options.signals !== false) this.#silence = listen(signal => this.signal(signal));
    if (options.autoConnect) this.connect().catch(() => {});
  }

  get onEvent(): ((event: ClientEvent) => void) | undefined {
    return this.#driver.onEvent;
  }

  set onEvent(listener: ((event: ClientEvent) => void) | undefined) {
    this.#driver.onEvent = listener;
  }

  /** Where the connection stands. */
  get status(): Status {
    return this.#driver.status;
  }

  /** Who the client is to the server; null before the first welcome. */
  get identity(): Identity | null {
    return this.#driver.identity;
  }

  /** Whether what is queued is lost with the process. */
  get volatile(): boolean {
    return this.#driver.volatile;
  }

  /** While reconnecting: the moment of the next attempt, on `performance.now()`'s clock. */
  get retryAt(): number | null {
    return this.#driver.retryAt;
  }

  /** Which attempt that is. */
  get attempt(): number {
    return this.#driver.attempt;
  }

  /** Connects, and stays so; resolves at the first welcome. */
  connect(): Promise<void> {
    return this.#driver.call('connect');
  }

  /** Sends what was submitted before, then closes. Rooms stay wanted. */
  disconnect(): Promise<void> {
    return this.#driver.call('disconnect', {}, true);
  }

  /** Disconnects, then gives everything back: store, lock, listeners. What waits ends `closed`. */
  close(): Promise<void> {
    this.#closing ??= (async () => {
      await this.disconnect().catch(() => {});
      this.#silence?.();
      await this.#driver.end();
    })();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Sets another token; a connected client shows it in place (P-C6). */
  setToken(token: string): void {
    this.#driver.tell({ c: 'token', token });
  }

  /** Tells what the host noticed. */
  signal(signal: Signal): void {
    this.#driver.tell({ c: 'signal', signal });
  }

  /** Another tab or process wrote into the store. */
  poke(): void {
    this.#driver.tell({ c: 'poked' });
  }

  /** Waits for the first welcome. */
  identified(): Promise<Identity> {
    return this.#driver.identified();
  }

  /** Joins a room, and waits for the server's answer; while offline, until it can answer. */
  async join(room: string, options: JoinOptions = {}): Promise<Room> {
    return this.#joined(this.open(room, options));
  }

  /** Joins without waiting: a refusal is read as `left`. */
  open(room: string, options: JoinOptions = {}): Room {
    if (this.#driver.ended) throw closed();
    return new Room(this.#driver, room, this.#address(room), options);
  }

  /** Queues an event; resolves once it is stored. */
  async send(room: string, event: string, data: unknown, options: SendOptions = {}): Promise<Sending> {
    const { lane = LANE, persist = true, ttl, key, id = drawId() } = options;
    const item = { id, lane, persist, ttl, key, room: this.#address(room), event, data: data ?? null };
    const { queued, outcome } = this.#driver.submit(item);
    await queued;
    return new Sending(this, id, outcome);
  }

  /** Sends an ephemeral event: at most once, to who is there now (P-R8). */
  cast(room: string, event: string, data: unknown): Promise<void> {
    return this.#driver.call('cast', { room: this.#address(room), event, data: data ?? null });
  }

  /** Sends a command to whoever handles a namespace's, and waits for its result (P-S8). */
  async command(namespace: string, event: string, data: unknown): Promise<unknown> {
    const room = `${namespace}/commands`;
    const item = { id: drawId(), lane: COMMAND_LANE, persist: true, room, event, data: data ?? null };
    const { queued, result } = this.#driver.submit({ ...item, command: true });
    await queued;
    return result;
  }

  /** Asks the server something that makes no sense later (P-S7). */
  query(method: string, params?: unknown): Promise<unknown> {
    return this.#driver.call('query', { method, params: params ?? null });
  }

  /** The rooms this connection is in, as they were joined. */
  async queryRooms(): Promise<string[]> {
    const answer = (await this.query('rooms')) as string[] | { rooms: string[] };
    const own = `${this.#namespace}/`;
    const rooms = Array.isArray(answer) ? answer : answer.rooms;
    return rooms.map(room => (room.startsWith(own) ? room.slice(own.length) : room));
  }

  /** Who is in a room now; nobody twice. */
  async queryPresence(room: string): Promise<PresenceInfo[]> {
    type Member = { user: string; status?: PresenceStatus; meta?: unknown };
    const answer = (await this.query('presence', { room: this.#address(room) })) as
      | Member[]
      | { presence?: Member[]; members?: Member[] };
    const members = Array.isArray(answer) ? answer : (answer.presence ?? answer.members ?? []);
    return members.map(({ user, status = 'online', meta }) =>
      meta === undefined ? { userId: user, status } : { userId: user, status, metadata: meta },
    );
  }

  /** Sets how this user is present, in every room; kept over reconnects (P-P1). */
  setPresence(status?: PresenceStatus, metadata?: unknown): Promise<void> {
    return this.#driver.call('status', { status, meta: metadata });
  }

  /** Takes an item back by its id, if it can still be. */
  cancel(id: string): Promise<Outcome> {
    return this.#driver.call('cancel', { id });
  }

  /** Lets a stop lane go on after a refusal (P-S4). */
  resume(lane: number): Promise<void> {
    return this.#driver.call('resume', { lane });
  }

  /** What is not settled, in the order of submits. */
  outbox(): OutboxItem[] {
    return this.#driver
      .outbox<OutboxItem & { order?: string }>()
      .sort((a, b) => ((a.order ?? '') < (b.order ?? '') ? -1 : 1))
      .map(({ order: _, ...item }) => item);
  }

  /** Joins a room whose pictures are wanted. */
  async watch(room: string, options: JoinOptions = {}): Promise<PictureStream> {
    if (this.#driver.ended) throw closed();
    const bell = new Bell();
    const joined = new Room(this.#driver, room, this.#address(room), options, bell);
    return new PictureStream(this.#driver, await this.#joined(joined), bell);
  }

  /** Announces a stream of pictures. */
  async publish(room: string, stream: StreamOptions): Promise<Publisher> {
    const address = this.#address(room);
    const publisher = new Publisher(this.#driver, { ...stream, room: address });
    const { number, codec, width, height } = stream;
    try {
      await this.#driver.call('stream', { stream: number, room: address, codec, width, height });
    } catch (error) {
      this.#driver.publishers.delete(number);
      throw error;
    }
    return publisher;
  }

  /** Takes the commands of a namespace; the token needs the role `service`. */
  async handleCommands(namespace: string): Promise<CommandStream> {
    return new CommandStream(this.#driver, await this.join(`${namespace}/commands`));
  }

  #address(room: string): string {
    return room.includes('/') ? room : `${this.#namespace}/${room}`;
  }

  async #joined(room: Room): Promise<Room> {
    try {
      await room.joined();
      return room;
    } catch (error) {
      room.leave().catch(() => {});
      throw error;
    }
  }
}
