// A tab's side: what the tab asked for, and how it stands. Whoever owns next is told all of it again.

import type { Helm, Listener, Submitted } from '../core/helm.js';
import type { WardlineError } from '../core/index.js';
import type { ClientEvent, Cursor, Identity, Incoming, Outcome, Picture, PresenceInfo, Status } from '../core/types.js';
import type { Failure, JoinFields, Kit, Line, State, StatusEvent, ToDesk, ToSeat } from './wire.js';

/** Calls that wait for their answers. */
const CALLS = 1000;
/** As of the outbox, where the application set no other. */
const ITEMS = 100_000;
const BYTES = 256 * 1024 * 1024;
/** Keys of a latest room that are known. */
const KEYS = 20_000;
const TAKEN_OVER = 'another tab takes the connection over';

interface Waiting<T> {
  done: (value: T) => void;
  fail: (error: WardlineError) => void;
}

interface Asked extends Waiting<never> {
  word: ToDesk;
  /** Lost with its owner, not repeated. */
  once: boolean;
}

interface Sub {
  f: JoinFields;
  joining: Waiting<unknown> | undefined;
  look: boolean;
  queue: Incoming[];
  /** The batch that is not done; 0: none. */
  k: number;
  /** Taken last, and not known to be done. */
  taken: Cursor | undefined;
  done: Cursor | undefined;
  /** Where it began. */
  start: Cursor | undefined;
  /** Where a join goes on: everything up to here came. */
  at: Cursor | undefined;
  /** What its hook was told, as long as that is at work. */
  head: Cursor | undefined;
  /** A loss was told that the hook has not made good yet. */
  lost: boolean;
  live: boolean;
  /** Taken away, and to be asked for again. */
  out: boolean;
  /** To be joined once what was taken is done. */
  late: boolean;
  keys: Map<string, number>;
  members: Map<string, PresenceInfo> | undefined;
  /** All members come again, of another connection. */
  retold: boolean;
  picture: Picture | undefined;
}

interface Sent {
  text: string | undefined;
  bytes: number;
  shown: object;
  command: boolean;
  queued: Waiting<void>;
  outcome: Waiting<Outcome> | undefined;
  result: Waiting<unknown> | undefined;
}

function promised<T>(): [Promise<T>, Waiting<T>] {
  let waiting!: Waiting<T>;
  const promise = new Promise<T>((done, fail) => (waiting = { done, fail }));
  promise.catch(() => {});
  return [promise, waiting];
}

const isCommands = ({ f }: Sub): boolean => f.room.endsWith('/commands');

export class Seat implements Helm {
  onEvent: ((event: ClientEvent) => void) | undefined;
  identity: Identity | null = null;
  volatile = false;
  status: Status = 'disconnected';
  retryAt: number | null = null;
  attempt = 0;
  ended = false;
  readonly listeners = new Map<number, Listener>();
  readonly publishers = new Map<number, (viewers: number) => void>();
  readonly #kit: Kit;
  readonly #calls = new Map<number, Asked>();
  readonly #subs = new Map<number, Sub>();
  readonly #sends = new Map<string, Sent>();
  readonly #streams = new Map<number, object>();
  readonly #end: () => void;
  /** The outbox, where this tab owns it. */
  store: (<T extends { id: string }>() => T[]) | undefined;
  #line: Line<ToDesk> | undefined;
  #identified: Waiting<Identity>[] = [];
  #still: (() => void)[] = [];
  #next = 1;
  #bytes = 0;
  #wanted = false;
  #was = false;
  #hidden = false;
  #presence: (ToDesk & { c: 'presence' }) | undefined;
  /** What the owner said last, and what this tab was shown of it. */
  #state: StatusEvent | undefined;
  #shown: StatusEvent | undefined;
  #known = '';

  constructor(kit: Kit, end: () => void) {
    this.#kit = kit;
    this.#end = end;
  }

  number(): number {
    return this.#next++;
  }

  // The owner.

  /** Another owner: everything that lives is asked of it again. */
  attach(line: Line<ToDesk>, state: State): void {
    this.detach();
    this.#line = line;
    line.say({ c: 'hidden', on: this.#hidden });
    if (this.#presence) line.say(this.#presence);
    if (this.#wanted) line.say({ c: 'connect', n: 0 });
    for (const [id, sent] of this.#sends) {
      if (sent.text !== undefined) line.say({ c: 'submit', id, text: sent.text, command: sent.command, again: true });
      else line.say({ c: 'follow', id, command: sent.command, over: !sent.outcome });
    }
    if (this.#wanted) this.#joinAll();
    for (const [stream, f] of this.#streams) line.say({ c: 'stream', n: 0, stream, f, end: false });
    for (const { word } of this.#calls.values()) line.say(word);
    if (state.volatile) this.#handle({ c: 'event', e: state.volatile });
    if (state.identity) this.#identify(state.identity);
    if (state.status && state.status.status !== 'disconnected') this.#handle({ c: 'event', e: state.status });
  }

  /** The owner is gone. */
  detach(): void {
    if (!this.#line) return;
    this.#line = undefined;
    for (const [n, asked] of this.#calls) {
      const left = asked.word.c === 'leave';
      if (!left && !asked.once) continue;
      this.#calls.delete(n);
      if (left) asked.done(undefined as never);
      else asked.fail(this.#error({ code: 'disconnected', reason: TAKEN_OVER, kind: 'later' }));
    }
    for (const sub of this.#subs.values()) {
      sub.k = 0;
      sub.live = false;
      sub.retold = sub.members !== undefined;
    }
    this.publishers.forEach(tell => tell(0));
    this.#state = undefined;
    this.#shift();
    if (this.#was && this.status === 'connected') this.#show({ type: 'status', status: 'reconnecting', code: 0, reason: TAKEN_OVER, attempt: 0 });
  }

  /** What the owner says. Words of an unknown kind are another version's, and nothing. */
  hear(list: ToSeat[]): void {
    for (const word of list) if (!this.ended) this.#handle(word);
  }

  #handle(word: ToSeat): void {
    switch (word.c) {
      case 'ok':
      case 'no': {
        const asked = this.#calls.get(word.n);
        this.#calls.delete(word.n);
        if (word.c === 'no') return asked?.fail(this.#error(word.e));
        return asked?.done(word.v as never);
      }
      case 'stored':
        return this.#stored(word.id);
      case 'unstored': {
        const sent = this.#sends.get(word.id);
        const error = this.#error(word.e);
        this.#sends.delete(word.id);
        this.#bytes -= sent?.bytes ?? 0;
        for (const waiting of [sent?.queued, sent?.outcome, sent?.result]) waiting?.fail(error);
        return;
      }
      case 'settled':
        return this.#settled(word.id, word.o);
      case 'result': {
        const sent = this.#sends.get(word.id);
        this.#sends.delete(word.id);
        if (word.e) sent?.result?.fail(this.#error(word.e));
        else sent?.result?.done(word.v);
        return;
      }
      case 'joined': {
        const sub = this.#subs.get(word.sub);
        if (!sub) return;
        sub.start ??= word.at;
        sub.at ??= word.at;
        sub.out = false;
        sub.joining?.done({ cursor: word.at });
        sub.joining = undefined;
        return;
      }
      case 'refused':
        return this.#refused(word.sub, word.e);
      case 'take':
        return this.#given(word.sub, word.k, JSON.parse(word.text) as Incoming[]);
      case 'wanted': {
        const sub = this.#subs.get(word.sub);
        // At work for the owner before: what it answers is of a state that was fetched behind the head it knows, and serves this one too.
        if (!sub || sub.head) return;
        sub.head = word.head;
        return this.listeners.get(word.sub)?.wanted(word.head);
      }
      case 'picture': {
        const sub = this.#subs.get(word.sub);
        if (sub) sub.picture = word.p;
        return this.listeners.get(word.sub)?.picture();
      }
      case 'viewers':
        return this.publishers.get(word.stream)?.(word.n);
      case 'event':
        return this.#event(word.e);
    }
  }

  #event(event: ClientEvent): void {
    switch (event.type) {
      case 'status':
        this.#state = event;
        return this.#showState();
      case 'established': {
        const { type: _, ...identity } = event;
        this.#identify(identity);
        // What was refused may not be, under another token.
        for (const [n, sub] of this.#subs) if (sub.out) this.#join(n, sub);
        return;
      }
      case 'volatile':
        this.volatile = true;
    }
    this.#report(event);
  }

  #identify(identity: Identity): void {
    this.identity = identity;
    this.#identified.splice(0).forEach(({ done }) => done(identity));
    this.#introduce();
  }

  /** Tells the application of a connection, once. */
  #introduce(): void {
    if (!this.#wanted || !this.identity || this.#state?.status !== 'connected' || this.#known === this.identity.connectionId) return;
    this.#known = this.identity.connectionId;
    this.#report({ type: 'established', ...this.identity });
  }

  #showState(): void {
    const state = this.#state;
    if (!state || !this.#wanted) return;
    this.#show(this.#was && state.status === 'connecting' ? { ...state, status: 'reconnecting' } : state);
    this.#introduce();
  }

  #show(event: StatusEvent): void {
    if (this.#shown === event) return;
    this.#shown = event;
    const { status, attempt, retryIn } = event;
    this.status = status;
    this.attempt = attempt;
    this.retryAt = retryIn === undefined ? null : performance.now() + retryIn;
    if (status === 'connected') this.#was = true;
    else this.#shift();
    this.#report(event);
  }

  /** Whoever waits only as long as there is a connection. */
  #shift(): void {
    this.#still.splice(0).forEach(go => go());
  }

  #report(event: ClientEvent): void {
    try {
      this.onEvent?.(event);
    } catch (error) {
      queueMicrotask(() => {
        throw error;
      });
    }
  }

  /** Tells the application which part this tab has. */
  part(state: 'owner' | 'rider'): void {
    this.#report({ type: 'sharing', state });
  }

  #error({ code, reason, kind }: Failure): WardlineError {
    return this.#kit.fail(code, reason, kind);
  }

  // Calls.

  tell(input: object): void {
    const word = input as { c: string; sub?: number; [field: string]: unknown };
    switch (word.c) {
      case 'done': {
        const sub = this.#subs.get(word.sub!);
        if (sub) this.#done(word.sub!, sub);
        return;
      }
      case 'look': {
        const sub = this.#subs.get(word.sub!);
        if (sub) sub.look = true;
        return;
      }
      case 'snapshot': {
        const sub = this.#subs.get(word.sub!);
        if (!sub?.head) return;
        const { cursor = sub.head, error } = word as { cursor?: Cursor; error?: string };
        sub.head = undefined;
        if (error !== undefined) return this.#line?.say({ c: 'snapshot', sub: word.sub!, error });
        sub.lost = false;
        sub.at = sub.start = cursor;
        return this.#line?.say({ c: 'snapshot', sub: word.sub!, cursor });
      }
      case 'seen': {
        const found = [...this.#subs].find(([, { picture }]) => picture?.stream === word['stream']);
        if (found) this.#line?.say({ c: 'seen', sub: found[0], f: word });
        return;
      }
      case 'signal': {
        const { signal } = word;
        if (signal !== 'hidden' && signal !== 'visible') return this.#line?.say({ c: 'tell', f: word });
        this.#hidden = signal === 'hidden';
        return this.#line?.say({ c: 'hidden', on: this.#hidden });
      }
      case 'token':
        // Also for when this tab owns.
        this.#kit.options.token = word['token'] as string;
        return this.#line?.say({ c: 'token', token: word['token'] as string });
      default:
        return this.#line?.say({ c: 'tell', f: word });
    }
  }

  /** `once`: lost with its owner, not repeated to the next. */
  #ask<T>(make: (n: number) => ToDesk, { once = false } = {}): Promise<T> {
    const n = this.number();
    const [answer, waiting] = promised<T>();
    if (this.#calls.size >= CALLS) waiting.fail(this.#error({ code: 'queue_full', reason: `${CALLS} calls wait for their answers`, kind: 'later' }));
    else if (once && !this.#line) waiting.fail(this.#error({ code: 'disconnected', reason: 'there is no connection', kind: 'later' }));
    else {
      const word = make(n);
      this.#calls.set(n, { ...(waiting as Waiting<never>), word, once });
      this.#line?.say(word);
    }
    return answer;
  }

  call<T>(c: string, fields: object = {}, _last = false): Promise<T> {
    if (this.ended) return Promise.reject(this.#closed());
    let f: { [field: string]: unknown };
    try {
      f = JSON.parse(JSON.stringify(fields)) as never;
    } catch (error) {
      return Promise.reject(this.#kit.fail('bad_data', (error as Error).message));
    }
    switch (c) {
      case 'join':
        return this.#begin(f as unknown as JoinFields & { sub: number }) as Promise<T>;
      case 'leave': {
        const sub = f['sub'] as number;
        const seq = this.#subs.get(sub)?.done?.seq;
        const held = !this.#wanted || this.#subs.get(sub)?.late;
        this.#drop(sub);
        return held || !this.#line ? Promise.resolve(undefined as T) : this.#ask<T>(n => ({ c: 'leave', n, sub, seq }));
      }
      case 'connect':
        return this.#connect() as Promise<T>;
      case 'disconnect':
        return this.#disconnect() as Promise<T>;
      case 'status': {
        const at = Date.now();
        return this.#ask<T>(n => {
          this.#presence = { c: 'presence', n: 0, f, at };
          return { c: 'presence', n, f, at };
        });
      }
      case 'stream': {
        const stream = f['stream'] as number;
        const end = f['codec'] === '';
        if (end) this.#streams.delete(stream);
        else this.#streams.set(stream, f);
        return this.#ask<T>(n => ({ c: 'stream', n, stream, f, end }), { once: end });
      }
      default:
        if (c === 'query' && !this.#wanted) {
          const reason = 'a query needs a connection, or one in the making';
          return Promise.reject(this.#error({ code: 'disconnected', reason, kind: 'later' }));
        }
        return this.#ask<T>(n => ({ c: 'call', n, k: c, f }), { once: c === 'cast' });
    }
  }

  async #connect(): Promise<void> {
    const begins = !this.#wanted;
    this.#wanted = true;
    if (begins) {
      if (this.#state?.status !== 'connecting') this.#show({ type: 'status', status: 'connecting', code: 0, reason: 'asked to', attempt: 0 });
      if (this.#state?.status !== 'disconnected') this.#showState();
      this.#joinAll();
    }
    await this.#ask(n => ({ c: 'connect', n }));
  }

  /** What was sent before goes first, while there is a connection. */
  async #disconnect(): Promise<void> {
    if (this.#wanted && this.status === 'connected' && this.#sends.size > 0) {
      const ends = [...this.#sends.values()].map(sent => this.#ended(sent));
      await Promise.race([Promise.all(ends), new Promise<void>(go => this.#still.push(go))]);
    }
    const wanted = this.#wanted;
    this.#wanted = false;
    this.#was = false;
    for (const [sub, { done }] of this.#subs) if (wanted) this.#line?.say({ c: 'leave', n: 0, sub, seq: done?.seq });
    if (this.#line) await this.#ask(n => ({ c: 'disconnect', n }), { once: true }).catch(() => {});
    if (this.#wanted || this.ended) return;
    this.#known = '';
    if (this.status !== 'disconnected') this.#show({ type: 'status', status: 'disconnected', code: 1000, reason: 'asked to', attempt: 0 });
  }

  #ended(sent: Sent): Promise<void> {
    return new Promise(go => {
      const { outcome } = sent;
      if (!outcome) return go();
      sent.outcome = {
        done: end => (go(), outcome.done(end)),
        fail: error => (go(), outcome.fail(error)),
      };
    });
  }

  identified(): Promise<Identity> {
    if (this.identity) return Promise.resolve(this.identity);
    if (this.ended) return Promise.reject(this.#closed());
    const [identity, waiting] = promised<Identity>();
    this.#identified.push(waiting);
    return identity;
  }

  // Rooms.

  #begin({ sub: n, ...f }: JoinFields & { sub: number }): Promise<unknown> {
    const [joined, joining] = promised<unknown>();
    const sub: Sub = {
      f, joining, look: false, queue: [], k: 0, taken: undefined, done: undefined, start: f.cursor, at: f.cursor, head: undefined, lost: false, live: false, out: false,
      late: false, keys: new Map(), members: undefined, retold: false, picture: undefined,
    };
    this.#subs.set(n, sub);
    // Behind what is said of it in the same turn.
    queueMicrotask(() => this.#wanted && this.#subs.get(n) === sub && this.#join(n, sub));
    return joined;
  }

  #joinAll(): void {
    for (const [n, sub] of this.#subs) this.#join(n, sub);
  }

  /** Joins, or goes on with another owner, behind the last event that came. */
  #join(n: number, sub: Sub): void {
    if (!this.#line) return;
    if (sub.f.durable !== undefined && !sub.joining) {
      // The stored position must not pass what is not done: what waits comes again, what is taken is waited for.
      sub.queue = [];
      sub.late = sub.taken !== undefined;
      if (sub.late) return;
      sub.at = sub.done ?? sub.start;
    }
    sub.k = 0;
    const { from: _, ...rest } = sub.f as JoinFields & { from?: string };
    const goesOn = sub.at && !isCommands(sub);
    this.#line.say({ c: 'join', sub: n, f: goesOn ? { ...rest, cursor: sub.at } : sub.f, look: sub.look });
  }

  #refused(n: number, e: Failure): void {
    const sub = this.#subs.get(n);
    if (!sub) return;
    if (sub.joining) {
      sub.joining.fail(this.#error(e));
      sub.joining = undefined;
      return this.#drop(n);
    }
    // It had been joined before.
    if (!sub.out) sub.queue.push({ type: 'left', code: e.code });
    sub.out = true;
    this.listeners.get(n)?.ready();
  }

  #drop(n: number): void {
    this.#subs.get(n)?.joining?.fail(this.#error({ code: 'cancelled', reason: 'unsubscribed before the server answered', kind: 'refused' }));
    this.#subs.delete(n);
  }

  #given(n: number, k: number, list: Incoming[]): void {
    const sub = this.#subs.get(n);
    if (!sub) return;
    sub.k = k;
    const fresh = list.flatMap(next => this.#admit(sub, next));
    sub.queue.push(...fresh);
    if (sub.queue.length > 0) this.listeners.get(n)?.ready();
    else this.#finish(n, sub);
  }

  /** What of it is new to this tab. */
  #admit(sub: Sub, next: Incoming): Incoming[] {
    switch (next.type) {
      case 'event': {
        const { cursor, key } = next;
        if (!cursor || isCommands(sub)) return [next];
        if (key === undefined) {
          if (sub.at && cursor.seq <= sub.at.seq) return [];
          sub.at = cursor;
          return [next];
        }
        if (cursor.seq <= (sub.keys.get(key) ?? -1)) return [];
        sub.keys.set(key, cursor.seq);
        if (sub.keys.size > KEYS) sub.keys.delete(sub.keys.keys().next().value!);
        // Before `live` keys come in no order.
        if (sub.live) sub.at = cursor;
        return [next];
      }
      case 'live':
        sub.live = true;
        return [next];
      case 'gap':
        sub.live = false;
        sub.keys.clear();
        if (!sub.f.hook) sub.at = sub.start = next.to;
        // The next owner tells the same loss again.
        else if (sub.lost) return [];
        sub.lost = sub.f.hook;
        return [next];
      case 'presence':
        return this.#present(sub, next);
      default:
        return [next];
    }
  }

  /** After another took over, only real differences are events (P-P1). */
  #present(sub: Sub, next: Incoming & { type: 'presence' }): Incoming[] {
    const before = sub.members ?? new Map<string, PresenceInfo>();
    sub.members = new Map(before);
    if (next.change === 'left') sub.members.delete(next.userId);
    else if (next.change !== 'everyone') sub.members.set(next.member.userId, next.member);
    else {
      sub.members = new Map(next.members.map(member => [member.userId, member]));
      if (!sub.retold) return [next];
      sub.retold = false;
      const changes: Incoming[] = [];
      for (const [userId, member] of sub.members) {
        const known = before.get(userId);
        if (JSON.stringify(known) !== JSON.stringify(member)) changes.push({ type: 'presence', change: known ? 'updated' : 'joined', member });
      }
      for (const userId of before.keys()) if (!sub.members.has(userId)) changes.push({ type: 'presence', change: 'left', userId });
      return changes;
    }
    return [next];
  }

  take<T>(n: number, max: number): T[] {
    const sub = this.#subs.get(n);
    if (!sub) return [];
    this.#mark(n, sub);
    const taken = sub.queue.splice(0, max);
    for (const next of taken) if (next.type === 'event' && next.cursor) sub.taken = next.cursor;
    if (taken.length === 0) this.#finish(n, sub);
    return taken as T[];
  }

  /** What was taken is done. */
  #mark(n: number, sub: Sub): void {
    sub.done = sub.taken ?? sub.done;
    sub.taken = undefined;
    if (!sub.late) return;
    sub.late = false;
    if (this.#wanted) this.#join(n, sub);
  }

  #done(n: number, sub: Sub): void {
    this.#mark(n, sub);
    if (sub.queue.length === 0) this.#finish(n, sub);
    else if (sub.k) this.#line?.say({ c: 'done', sub: n, k: sub.k, seq: sub.done?.seq, at: undefined, all: false });
  }

  #finish(n: number, sub: Sub): void {
    if (!sub.k) return;
    this.#line?.say({ c: 'done', sub: n, k: sub.k, seq: sub.done?.seq, at: sub.at, all: true });
    sub.k = 0;
  }

  picture(n: number): Picture | null {
    const sub = this.#subs.get(n);
    const picture = sub?.picture;
    if (!picture || picture.data.length === 0) return null;
    // Its stream is what `seen` names.
    sub.picture = { ...picture, data: new Uint8Array(0) };
    return picture;
  }

  push(stream: number, h264: boolean, key: boolean, seq: number, ptsUs: number, data: Uint8Array): void {
    this.#line?.say({ c: 'push', stream, h264, key, seq, ptsUs, data });
  }

  // Items.

  submit(fields: { id: string; command?: boolean; data?: unknown }): Submitted {
    const { id, command = false } = fields;
    const [queued, asked] = promised<void>();
    const [outcome, end] = promised<Outcome>();
    const [result, answer] = promised<unknown>();
    if (!command) answer.done(undefined);
    const refuse = (error: WardlineError): void => [asked, end, answer].forEach(({ fail }) => fail(error));
    let text = '';
    try {
      text = JSON.stringify(fields);
    } catch (error) {
      refuse(this.#kit.fail('bad_data', (error as Error).message));
    }
    const { maxItems = ITEMS, maxBytes = BYTES } = this.#kit.options;
    if (this.ended) refuse(this.#closed());
    else if (this.#sends.has(id)) refuse(this.#error({ code: 'conflict', reason: 'an item of this id waits already', kind: 'invalid' }));
    else if (this.#sends.size >= maxItems || this.#bytes + text.length > maxBytes) refuse(this.#error({ code: 'queue_full', reason: 'the outbox is full', kind: 'later' }));
    else if (text) {
      const { lane, room, event } = fields as { lane?: number; room?: string; event?: string };
      const shown = { id, lane, room, event, bytes: text.length, state: 'waiting', expires: 0, order: 'z' };
      this.#sends.set(id, { text, bytes: text.length, shown, command, queued: asked, outcome: end, result: command ? answer : undefined });
      this.#bytes += text.length;
      this.#line?.say({ c: 'submit', id, text, command, again: false });
    }
    return { queued, outcome, result };
  }

  /** It is stored: from here on only its end is asked for. */
  #stored(id: string): void {
    const sent = this.#sends.get(id);
    if (!sent || sent.text === undefined) return;
    this.#bytes -= sent.bytes;
    sent.bytes = 0;
    sent.text = undefined;
    sent.queued.done();
  }

  #settled(id: string, end: Outcome): void {
    const sent = this.#sends.get(id);
    // Of a tab that is closed, or comes back later and asks for it.
    if (!sent) return this.#report({ type: 'settled', id, outcome: end });
    this.#line?.say({ c: 'ack', id });
    this.#stored(id);
    const { outcome, result } = sent;
    sent.outcome = undefined;
    if (result && end.outcome === 'accepted') {
      outcome?.done(end);
      return;
    }
    this.#sends.delete(id);
    result?.fail(this.#unaccepted(end));
    outcome?.done(end);
  }

  #unaccepted(end: Outcome): WardlineError {
    if (end.outcome === 'refused') return this.#kit.fail(end.code, end.reason, 'refused');
    const uncertain = end.outcome === 'uncertain';
    return this.#kit.fail(end.outcome, uncertain ? 'it may or may not have been accepted' : `it is ${end.outcome}`, uncertain ? 'uncertain' : 'refused');
  }

  outbox<T>(): T[] {
    const own = [...this.#sends.values()].filter(({ outcome }) => outcome).map(({ shown }) => shown as T & { id: string });
    const stored = this.store?.<T & { id: string }>() ?? [];
    const known = new Set(stored.map(({ id }) => id));
    return [...stored, ...own.filter(({ id }) => !known.has(id))];
  }

  // The end.

  #closed(): WardlineError {
    return this.#error({ code: 'closed', reason: 'the client has ended', kind: 'closed' });
  }

  async end(): Promise<void> {
    this.fail(this.#closed());
  }

  /** Ends with an error. */
  fail(error: WardlineError): void {
    if (this.ended) return;
    this.ended = true;
    this.#line = undefined;
    this.#shift();
    const waiting: { fail(error: WardlineError): void }[] = [...this.#calls.values(), ...this.#identified];
    for (const { joining } of this.#subs.values()) if (joining) waiting.push(joining);
    for (const { queued, outcome, result } of this.#sends.values()) for (const one of [queued, outcome, result]) if (one) waiting.push(one);
    waiting.forEach(({ fail }) => fail(error));
    this.listeners.forEach(listener => listener.ended());
    this.listeners.clear();
    this.#end();
  }
}
