// The owner's side: the one driver, and what each tab has of it.

import { soon } from '../core/soon.js';
import type { ClientEvent, Cursor, Options, Outcome, Store, StoreBatch } from '../core/types.js';
import { failure, line, words, type Driver, type Failure, type JoinFields, type Kit, type Line, type State, type ToDesk, type ToSeat } from './wire.js';

/** Events a tab is given before it says that they are done. */
const BATCH = 256;
/** A tab that is not done with a batch for so long (frozen, hung, slow) leaves the room to the others, and comes back to it later. */
const PATIENCE = 5000;
const SWEEP = 1000;
/** Ends that no tab asked for are kept so long, and so many. */
const KEEP_MS = 24 * 3_600_000;
const KEEP = 4096;
const RECORD = 'tabs/';
/** The server remembers a result, or answers `timeout` itself, before this. */
const RESULT_WITHIN = 120_000;
const COMMANDS = /\/commands$/;

interface Sub {
  n: number;
  f: JoinFields;
  look: boolean;
  /** Its number at the driver; none while it is parked. */
  real: number | undefined;
  parked: boolean;
  /** The batch under way, and since when. */
  k: number;
  since: number;
  count: number;
  showing: boolean;
}

interface Rider {
  tab: string;
  visit: number;
  line: Line<ToSeat>;
  /** In this tab. */
  local: boolean;
  wants: boolean;
  hidden: boolean;
  tokenless: boolean;
  subs: Map<number, Sub>;
  /** Its streams' numbers at the driver. */
  streams: Map<number, { real: number; f: object }>;
  gone: () => void;
}

interface Record {
  at: number;
  outcome: Outcome;
}

export class Desk {
  /** The generation of the store's lock: each owner's is higher. */
  term = 0;
  readonly #kit: Kit;
  readonly #base: string;
  readonly #riders = new Map<string, Rider>();
  /** Whose an item is. */
  readonly #ids = new Map<string, { rider: Rider; command: boolean }>();
  /** What was in the store when this tab began to own: shown here too until it ends. */
  readonly #inherited = new Set<string>();
  /** Ends that a tab may still ask for. */
  readonly #records = new Map<string, Record>();
  /** Those of them that the store may have. */
  readonly #written = new Set<string>();
  /** Ends that no tab asks for any more. */
  readonly #forget = new Set<string>();
  readonly #store: Store;
  readonly #resign: (tokenless: boolean) => void;
  readonly #ready: () => void;
  readonly #sweeping: ReturnType<typeof setInterval>;
  #driver!: Driver;
  #state: State = { status: undefined, identity: null, volatile: undefined };
  #hidden = false;
  #presence = 0;
  #stream = 0;
  #known: Set<string> | undefined;
  #ended = false;

  /** `ready` is called once the store is loaded; `resign` where another tab should own. */
  constructor(kit: Kit, base: string, store: Store, ready: () => void, resign: (tokenless: boolean) => void) {
    this.#kit = kit;
    this.#base = base;
    this.#store = store;
    this.#ready = ready;
    this.#resign = resign;
    this.#sweeping = setInterval(() => this.#sweep(), SWEEP);
  }

  /** Begins. Throws where the options are wrong. */
  begin(): void {
    const options: Options = { ...this.#kit.options, store: this.#guarded(), onEvent: event => this.#event(event) };
    this.#driver = this.#kit.drive(options);
  }

  /** Ends without a word to the server: whoever owns next goes on. */
  end(): void {
    if (this.#ended) return;
    for (const rider of this.#riders.values()) {
      rider.line.say({ c: 'gone' });
      rider.line.flush();
    }
    this.#ended = true;
    clearInterval(this.#sweeping);
    for (const rider of this.#riders.values()) rider.gone();
    if (this.#driver) void this.#driver.end();
    else void this.#store.close?.();
  }

  outbox<T extends { id: string }>(local: string): T[] {
    return this.#driver.outbox<T>().filter(({ id }) => (this.#ids.get(id)?.rider.tab ?? local) === local);
  }

  // The tabs.

  /** A tab comes; `send` reaches it where it is this one. */
  welcome(tab: string, visit: number, tokenless: boolean, send?: (list: ToSeat[]) => void): void {
    const before = this.#riders.get(tab);
    if (this.#ended || (before && before.visit >= visit)) return;
    // It was frozen, and begins anew.
    if (before) this.#drop(tab);
    let gone: () => void = () => {};
    let tell = send;
    if (!tell) {
      const channel = new BroadcastChannel(`${this.#base}:${tab}`);
      tell = list => channel.postMessage([this.term, list]);
      channel.onmessage = ({ data }) => {
        const heard = words<ToDesk>(data);
        if (heard?.[0] === this.term) this.hear(tab, heard[1]);
      };
      // A tab holds a lock of its name as long as it lives.
      const stop = new AbortController();
      navigator.locks.request(`${this.#base}:${tab}`, { signal: stop.signal }, () => this.#drop(tab)).catch(() => {});
      gone = () => {
        stop.abort();
        channel.close();
      };
    }
    let left = false;
    const rider: Rider = {
      tab, visit, local: !!send, tokenless, wants: false, hidden: false, subs: new Map(), streams: new Map(),
      line: line(list => !this.#ended && !left && tell(list)),
      gone: () => {
        left = true;
        gone();
      },
    };
    this.#riders.set(tab, rider);
    rider.line.say({ c: 'owner', visit, state: this.#state });
  }

  #drop(tab: string): void {
    const rider = this.#riders.get(tab);
    if (!rider || this.#ended) return;
    this.#riders.delete(tab);
    for (const sub of rider.subs.values()) this.#leave(sub, 0);
    for (const { real, f } of rider.streams.values()) this.#endStream(real, f);
    for (const [id, whose] of this.#ids) if (whose.rider === rider) this.#ids.delete(id);
    rider.gone();
    this.#look();
    if (rider.wants && !this.#wanted()) this.#driver.call('disconnect', {}, true).catch(() => {});
  }

  #wanted(): boolean {
    return [...this.#riders.values()].some(({ wants }) => wants);
  }

  /** Hidden is who has no visible tab. */
  #look(): void {
    const hidden = this.#riders.size > 0 && [...this.#riders.values()].every(rider => rider.hidden);
    if (hidden === this.#hidden) return;
    this.#hidden = hidden;
    this.#driver.tell({ c: 'signal', signal: hidden ? 'hidden' : 'visible' });
  }

  /** What a tab says. Words of an unknown kind are another version's, and nothing. */
  hear(tab: string, list: ToDesk[]): void {
    for (const word of list) {
      const rider = this.#riders.get(tab);
      if (!rider || this.#ended) return;
      this.#hear(rider, word);
    }
  }

  #hear(rider: Rider, word: ToDesk): void {
    const driver = this.#driver;
    switch (word.c) {
      case 'tick':
        // A visible tab also keeps the time of an owner that is not.
        driver.tell({ c: 'timeout' });
        return rider.line.say({ c: 'tock' });
      case 'bye':
        return this.#drop(rider.tab);
      case 'hidden':
        rider.hidden = word.on;
        return this.#look();
      case 'call':
        return this.#answer(rider, word.n, driver.call(word.k, word.f));
      case 'connect':
        rider.wants = true;
        // Alone it would try at once; so the wait for the next attempt is cut short.
        if (this.#state.status?.status === 'reconnecting') driver.tell({ c: 'signal', signal: 'online' });
        return this.#answer(rider, word.n, driver.call('connect'));
      case 'disconnect':
        rider.wants = false;
        return this.#answer(rider, word.n, this.#wanted() ? Promise.resolve() : driver.call('disconnect', {}, true));
      case 'presence':
        // Of several tabs the last word counts, also where it is repeated to the next owner.
        if (word.at < this.#presence) return this.#answer(rider, word.n, Promise.resolve());
        this.#presence = word.at;
        return this.#answer(rider, word.n, driver.call('status', word.f));
      case 'submit':
        return this.#submit(rider, word);
      case 'follow':
        return this.#follow(rider, word);
      case 'ack':
        return this.#release(word.id);
      case 'join':
        return this.#join(rider, word);
      case 'leave': {
        const sub = rider.subs.get(word.sub);
        rider.subs.delete(word.sub);
        return this.#answer(rider, word.n, sub ? this.#leave(sub, word.seq ?? 0) : Promise.resolve());
      }
      case 'done': {
        const sub = rider.subs.get(word.sub);
        if (!sub) return;
        if (sub.real !== undefined && word.seq !== undefined) driver.tell({ c: 'done', sub: sub.real, seq: word.seq });
        if (!word.all || word.k !== sub.k) return;
        sub.k = 0;
        if (sub.parked) this.#unpark(rider, sub, word.at);
        else this.#flow(rider, sub);
        return;
      }
      case 'snapshot': {
        const { sub, ...rest } = word;
        const real = rider.subs.get(sub)?.real;
        if (real !== undefined) driver.tell({ ...rest, sub: real });
        return;
      }
      case 'seen': {
        driver.tell(word.f);
        const sub = rider.subs.get(word.sub);
        if (!sub) return;
        sub.showing = false;
        return this.#show(rider, sub);
      }
      case 'token':
        rider.tokenless = false;
        return driver.tell({ c: 'token', token: word.token });
      case 'tell':
        return driver.tell(word.f);
      case 'stream':
        return this.#announce(rider, word);
      case 'push': {
        const real = rider.streams.get(word.stream)?.real;
        if (real !== undefined) driver.push(real, word.h264, word.key, word.seq, word.ptsUs, word.data);
      }
    }
  }

  #answer(rider: Rider, n: number, work: Promise<unknown>): void {
    work.then(
      v => rider.line.say({ c: 'ok', n, v }),
      error => rider.line.say({ c: 'no', n, e: failure(error) }),
    );
  }

  // Rooms.

  #join(rider: Rider, { sub: n, f, look }: ToDesk & { c: 'join' }): void {
    const old = rider.subs.get(n);
    if (old) void this.#leave(old, 0);
    const sub: Sub = { n, f, look, real: undefined, parked: false, k: 0, since: 0, count: old?.count ?? 0, showing: false };
    rider.subs.set(n, sub);
    // A server feeds a namespace's commands to one of its handlers; two on one connection would both get them.
    if (COMMANDS.test(f.room) && this.#active(f.room)) {
      sub.parked = true;
      return rider.line.say({ c: 'joined', sub: n, at: { seq: 0, mark: '0'.repeat(16) } });
    }
    this.#open(rider, sub);
  }

  #active(room: string, but?: Sub): boolean {
    return [...this.#riders.values()].some(({ subs }) => [...subs.values()].some(sub => sub !== but && sub.f.room === room && sub.real !== undefined));
  }

  #open(rider: Rider, sub: Sub): void {
    const driver = this.#driver;
    const real = driver.number();
    sub.real = real;
    driver.listeners.set(real, {
      ready: () => sub.real === real && this.#flow(rider, sub),
      wanted: head => rider.line.say({ c: 'wanted', sub: sub.n, head }),
      picture: () => this.#show(rider, sub),
      ended: () => {},
    });
    driver.call<{ cursor: Cursor }>('join', { ...sub.f, sub: real }).then(
      ({ cursor }) => sub.real === real && rider.line.say({ c: 'joined', sub: sub.n, at: cursor }),
      error => {
        driver.listeners.delete(real);
        if (sub.real !== real) return;
        sub.real = undefined;
        if (rider.subs.get(sub.n) === sub) rider.subs.delete(sub.n);
        rider.line.say({ c: 'refused', sub: sub.n, e: failure(error) });
      },
    );
    if (sub.look) driver.tell({ c: 'look', sub: real, room: sub.f.room });
  }

  /** Leaves; what was handed out behind `seq` is not done. */
  async #leave(sub: Sub, seq: number): Promise<void> {
    const { real } = sub;
    if (real === undefined) return;
    sub.real = undefined;
    this.#driver.listeners.delete(real);
    this.#driver.tell({ c: 'done', sub: real, seq });
    await this.#driver.call('leave', { sub: real }).catch(() => {});
  }

  /** The next batch, once the one before is done. */
  #flow(rider: Rider, sub: Sub): void {
    if (sub.k || sub.real === undefined) return;
    const text = this.#driver.takeText(sub.real, BATCH);
    if (!text) return;
    sub.k = ++sub.count;
    sub.since = performance.now();
    rider.line.say({ c: 'take', sub: sub.n, k: sub.k, text });
  }

  #show(rider: Rider, sub: Sub): void {
    if (sub.showing || sub.real === undefined) return;
    const p = this.#driver.picture(sub.real);
    if (!p) return;
    sub.showing = true;
    rider.line.say({ c: 'picture', sub: sub.n, p });
  }

  #unpark(rider: Rider, sub: Sub, at: Cursor | undefined): void {
    sub.parked = false;
    if (at && !COMMANDS.test(sub.f.room)) sub.f = { ...sub.f, cursor: at };
    this.#open(rider, sub);
  }

  /** What one tab does not take must not hold the room back for the others: a room's credit is all its readers' (P-R5). */
  #sweep(): void {
    const late = performance.now() - PATIENCE;
    for (const rider of this.#riders.values()) {
      for (const sub of rider.subs.values()) {
        if (sub.parked && COMMANDS.test(sub.f.room) && !this.#active(sub.f.room)) this.#unpark(rider, sub, undefined);
        if (!sub.k || sub.parked || sub.since > late || COMMANDS.test(sub.f.room) || !this.#active(sub.f.room, sub)) continue;
        sub.parked = true;
        void this.#leave(sub, 0);
      }
    }
  }

  // Streams.

  #announce(rider: Rider, { n, stream, f, end }: ToDesk & { c: 'stream' }): void {
    const known = rider.streams.get(stream);
    if (end) {
      rider.streams.delete(stream);
      return this.#answer(rider, n, known ? this.#endStream(known.real, f) : Promise.resolve());
    }
    const real = known?.real ?? (this.#stream = (this.#stream % 0xffff) + 1);
    rider.streams.set(stream, { real, f });
    this.#driver.publishers.set(real, viewers => rider.line.say({ c: 'viewers', stream, n: viewers }));
    this.#answer(rider, n, this.#driver.call('stream', { ...f, stream: real }));
  }

  async #endStream(real: number, f: object): Promise<void> {
    this.#driver.publishers.delete(real);
    await this.#driver.call('stream', { ...f, stream: real, codec: '', width: 0, height: 0 }).catch(() => {});
  }

  // Items. A tab that repeats a send is told what became of it: it is in the store, or its end is, or it never was there.

  #submit(rider: Rider, { id, text, command, again }: ToDesk & { c: 'submit' }): void {
    if (again && this.#tellRecord(rider, id, command)) return;
    const whose = this.#ids.get(id);
    this.#ids.set(id, { rider, command });
    this.#driver.call('submit', text).then(
      () => rider.line.say({ c: 'stored', id }),
      (error: unknown) => {
        const e = failure(error);
        // The owner before had stored it, and it came with the store.
        if (again && e.code === 'conflict') return rider.line.say({ c: 'stored', id });
        if (whose) this.#ids.set(id, whose);
        else this.#ids.delete(id);
        rider.line.say({ c: 'unstored', id, e });
      },
    );
  }

  #follow(rider: Rider, { id, command, over }: ToDesk & { c: 'follow' }): void {
    if (over) return this.#awaitResult(rider, id);
    this.#known ??= new Set(this.#driver.outbox<{ id: string }>().map(item => item.id));
    queueMicrotask(() => (this.#known = undefined));
    if (this.#known.has(id)) this.#ids.set(id, { rider, command });
    else if (!this.#tellRecord(rider, id, command)) rider.line.say({ c: 'settled', id, o: { outcome: 'uncertain' } });
  }

  #tellRecord(rider: Rider, id: string, command: boolean): boolean {
    const record = this.#records.get(id);
    if (!record) return false;
    rider.line.say({ c: 'stored', id });
    rider.line.say({ c: 'settled', id, o: record.outcome });
    if (command && record.outcome.outcome === 'accepted') this.#awaitResult(rider, id);
    return true;
  }

  /** The result of a command that an owner before sent: the server keeps it (P-S8). */
  #awaitResult(rider: Rider, id: string): void {
    const until = performance.now() + RESULT_WITHIN;
    const ask = async (): Promise<void> => {
      type Answer = { results?: { [id: string]: { result?: unknown; error?: { code: string; message: string } } } };
      while (!this.#ended && this.#riders.has(rider.tab)) {
        const answer = await this.#driver.call<Answer>('query', { method: 'results', params: { ids: [id] } }).catch(() => undefined);
        const found = answer?.results?.[id];
        const late = performance.now() > until;
        if (found || late) {
          const { code, message } = found?.error ?? { code: 'timeout', message: 'no result in time: the effect is unknown' };
          const e: Failure = { code, reason: message, kind: 'refused' };
          return rider.line.say(found && !found.error ? { c: 'result', id, v: found.result ?? null } : { c: 'result', id, e });
        }
        await new Promise(done => setTimeout(done, 500));
      }
    };
    void ask();
  }

  // The driver's events.

  #event(event: ClientEvent): void {
    if (this.#ended) return;
    switch (event.type) {
      case 'status':
        if (event.status === 'unauthenticated' && [...this.#riders.values()].some(rider => !rider.local && !rider.tokenless)) {
          // Another tab may have a token.
          return this.#resign(true);
        }
        this.#state = { ...this.#state, status: event };
        break;
      case 'established': {
        const { type: _, ...identity } = event;
        this.#state = { ...this.#state, identity };
        break;
      }
      case 'volatile':
        this.#state = { ...this.#state, volatile: event };
        break;
      case 'settled': {
        const { id, outcome } = event;
        const { rider, command } = this.#ids.get(id) ?? {};
        if (!rider?.local) this.#record(id, { at: Date.now(), outcome });
        if (!command || outcome.outcome !== 'accepted') this.#ids.delete(id);
        const here = this.#inherited.delete(id) || !rider;
        for (const to of this.#riders.values()) if (to === rider || (here && to.local)) to.line.say({ c: 'settled', id, o: outcome });
        return;
      }
      case 'result': {
        const { id, result, error } = event;
        this.#ids.get(id)?.rider.line.say(error ? { c: 'result', id, e: failure(error) } : { c: 'result', id, v: result });
        this.#ids.delete(id);
        return;
      }
    }
    for (const rider of this.#riders.values()) rider.line.say({ c: 'event', e: event });
  }

  // The store: whatever is written needs the lock, so that an owner that was replaced writes nothing more; and an item is
  // removed together with a record of its end, until its tab has heard of it.

  #guarded(): Store {
    const store = this.#store;
    let lock = 0;
    const lost = (): void => this.#resign(false);
    return {
      durable: store.durable,
      load: async () => {
        if (this.#ended) throw new Error('another tab owns the store');
        const loaded = await store.load();
        lock = loaded.lock;
        const entries = loaded.entries.filter(([key]) => !key.startsWith(RECORD));
        if (this.term === 0) {
          this.#recall(loaded.entries.filter(([key]) => key.startsWith(RECORD)));
          this.term = lock;
          // Tabs are let in once the machine knows what the store holds; a timer of a hidden page would wait.
          soon(() => {
            if (this.#ended) return;
            for (const { id } of this.#driver.outbox<{ id: string }>()) this.#inherited.add(id);
            this.#ready();
          });
        }
        return { lock, entries };
      },
      commit: async batches => {
        const written = batches.map((batch): StoreBatch => ({ ...batch, lock, put: [...batch.put, ...this.#ends(batch.remove)] }));
        const forgotten = [...this.#forget].splice(0, BATCH);
        if (written[0] && forgotten.length > 0) written[0].remove = [...written[0].remove, ...forgotten.map(id => RECORD + id)];
        const answers = await store.commit(written);
        if (answers[0] === null) forgotten.forEach(id => this.#forget.delete(id));
        if (answers.includes('lost')) lost();
        return answers;
      },
      close: () => store.close?.(),
    };
  }

  /** The records of the items that are removed. */
  #ends(removed: string[]): [string, string][] {
    return removed.flatMap((key): [string, string][] => {
      const id = /\/x\/(\w+)$/.exec(key)?.[1];
      const record = id !== undefined && this.#records.get(id);
      if (!record) return [];
      this.#written.add(id);
      return [[RECORD + id, JSON.stringify(record)]];
    });
  }

  #record(id: string, record: Record): void {
    this.#records.set(id, record);
    const [oldest] = this.#records.keys();
    if (this.#records.size > KEEP) this.#release(oldest!);
  }

  /** Its tab knows the end of an item. */
  #release(id: string): void {
    this.#records.delete(id);
    if (this.#written.delete(id)) this.#forget.add(id);
  }

  #recall(entries: [string, string][]): void {
    const known = entries.map(([key, value]): [string, Record] => [key.slice(RECORD.length), JSON.parse(value) as Record]);
    for (const [id, record] of known.sort(([, a], [, b]) => a.at - b.at)) {
      this.#written.add(id);
      this.#record(id, record);
      if (record.at < Date.now() - KEEP_MS) this.#release(id);
    }
  }
}
