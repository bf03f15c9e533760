// The loop between the machine and the host: sockets, timers, the store, promises.
//
// A turn feeds the machine and does what it then says, in order. What happens during a turn, such as
// a listener that sends, waits for its end.

import { closed, WardlineError, type ErrorKind } from './errors.js';
import type { Helm, Listener, Submitted } from './helm.js';
import { Link } from './link.js';
import { memoryStore } from './stores.js';
import type {
  ClientEvent,
  Cursor,
  Identity,
  Options,
  Outcome,
  Picture,
  Store,
  StoreBatch,
  WebSocketConstructor,
} from './types.js';
import { soon } from './soon.js';
import { makeCore, type Core } from './wasm.js';

/** Texts that come within so many ms of a turn are read together in the next one: a task more, so only where they come in heaps. */
const CLOSE_BY = 0.2;
/** As many wait at most. */
const TOGETHER = 1024;
/** The longest a host's timer takes. */
const LONGEST = 2 ** 31 - 1;

export interface Failure {
  code: string;
  reason: string;
  kind: ErrorKind;
}

interface Waiting {
  done(value: never): void;
  fail(error: WardlineError): void;
  /** Answered when the transport is closed. */
  last?: boolean;
}

type Told =
  | Exclude<ClientEvent, { type: 'result' | 'volatile' }>
  | { type: 'volatile' }
  | { type: 'result'; id: string; result?: unknown; error?: Failure }
  | { type: 'demand'; stream: number; viewers: number };

type Said =
  | ['dial', number, string]
  | ['text', number, string]
  | ['binary', number]
  | ['close', number, number, string]
  | ['load']
  | ['store', number, StoreBatch]
  | ['fetch']
  | ['reply', number, never]
  | ['fail', number, Failure]
  | ['event', Told]
  | ['ready' | 'picture', number]
  | ['wanted', number, Cursor];


/** Feeds the machine, with both clocks; what it then says. */
type Feed = (core: Core, mono: number, wall: number) => string | undefined;

export const asError = ({ code, reason, kind }: Failure): WardlineError =>
  new WardlineError(code, reason, kind);

/** The error of a command whose item ended otherwise than accepted. */
export function resultOf(outcome: Outcome): WardlineError {
  switch (outcome.outcome) {
    case 'refused':
      return asError(outcome as unknown as Failure);
    case 'expired':
      return new WardlineError('expired', 'it was not taken in time', 'refused');
    case 'cancelled':
      return new WardlineError('cancelled', 'taken back', 'refused');
    default:
      return new WardlineError('uncertain', 'it may or may not have been accepted', 'uncertain');
  }
}

export class Driver implements Helm {
  onEvent: ((event: ClientEvent) => void) | undefined;
  identity: Identity | null = null;
  volatile = false;
  status: Extract<ClientEvent, { type: 'status' }>['status'] = 'disconnected';
  retryAt: number | null = null;
  attempt = 0;
  ended = false;
  readonly listeners = new Map<number, Listener>();
  readonly publishers = new Map<number, (viewers: number) => void>();

  readonly #core: Core;
  readonly #options: Options;
  readonly #start = performance.now();
  readonly #calls = new Map<number, Waiting>();
  readonly #outcomes = new Map<string, Waiting>();
  readonly #results = new Map<string, Waiting>();
  #identified: Waiting[] = [];
  #next = 1;
  #turning = false;
  #feeds: Feed[] = [];
  #link: Link | undefined;
  #generation = 0;
  #closing: Promise<void> | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** When the timer fires; it may be before anything is due, and then looks again. */
  #armed = 0;
  #due = Infinity;
  /** What the link brought and no turn has read yet. */
  #heard: string[] = [];
  #turned = 0;
  #waking = false;
  #store: Promise<Store>;
  #durable = false;
  #why: Store['why'];
  #asks: (StoreBatch & { id: number } | 'load')[] = [];
  #keeping = false;

  constructor(options: Options) {
    this.#options = options;
    this.onEvent = options.onEvent;
    const random = crypto.getRandomValues(new Uint32Array(2));
    const { url, token, autoReconnect, maxAttempts, maxItems, maxBytes, stopLanes } = options;
    this.#core = makeCore({
      url,
      token,
      autoReconnect,
      maxAttempts,
      maxItems,
      maxBytes,
      stopLanes,
      namespace: options.namespace ?? 'default',
      hasProvider: options.tokenProvider !== undefined,
      sdk: options.sdk ?? 'wardline-js',
      version: options.version ?? '0.1.0',
      platform: options.platform ?? '',
      seed: (random[0] ?? 0) * 2 ** 20 + ((random[1] ?? 0) & 0xfffff),
    });
    this.#store = Promise.resolve(options.store ?? memoryStore());
    // No event fires inside a constructor.
    queueMicrotask(() => this.tell({ c: 'timeout' }));
  }

  number(): number {
    return this.#next++;
  }

  /** Feeds the machine, then does what it says. */
  turn(feed?: Feed): void {
    if (this.ended) return;
    if (this.#heard.length > 0) this.#read();
    if (feed) this.#feeds.push(feed);
    if (this.#turning) return;
    this.#turning = true;
    try {
      for (let next = this.#feeds.shift(); next && !this.ended; next = this.#feeds.shift()) {
        const said = this.#feed(next);
        // Most turns only read: no text crosses then.
        if (said !== undefined) {
          for (const one of JSON.parse(said) as Said[]) if (!this.ended) this.#do(one);
        }
        if (!this.ended) this.#arm(this.#core.due());
      }
    } finally {
      this.#turning = false;
      this.#turned = performance.now();
    }
  }

  #mono(): number {
    return performance.now() - this.#start;
  }

  #feed(feed: Feed): string | undefined {
    return feed(this.#core, this.#mono(), Date.now());
  }

  /**
   * Hears a text of the link. One that comes alone is read at once. Of many that come on each other's heels, each would cost a turn and two
   * texts across the border to the WebAssembly; those are read together, as if they had come in one frame (P-F1).
   */
  #hear(text: string): void {
    this.#heard.push(text);
    const alone = this.#heard.length === 1 && performance.now() - this.#turned > CLOSE_BY;
    if (alone || this.#heard.length >= TOGETHER) return this.turn();
    if (this.#waking) return;
    this.#waking = true;
    soon(() => {
      this.#waking = false;
      if (this.#heard.length > 0) this.turn();
    });
  }

  /** Feeds what was heard: first of all, whatever the turn is for. */
  #read(): void {
    const [gen, texts] = [this.#generation, this.#heard.join('\n')];
    this.#heard = [];
    this.#feeds.push((core, mono, wall) => core.text(mono, wall, gen, texts));
  }

  tell(input: object): void {
    this.#input(JSON.stringify(input));
  }

  #input(text: string): void {
    this.turn((core, mono, wall) => core.input(mono, wall, text));
  }

  /** As of [`Helm`]; fields may be the text of an object that is not empty. */
  call<T>(c: string, fields?: object | string, last = false): Promise<T> {
    if (this.ended) return Promise.reject(closed());
    const call = this.number();
    let text: string;
    try {
      text = typeof fields === 'string' ? `{"c":"${c}","call":${call},${fields.slice(1)}` : JSON.stringify({ c, call, ...fields });
    } catch (error) {
      return Promise.reject(new WardlineError('bad_data', (error as Error).message));
    }
    return new Promise((done, fail) => {
      this.#calls.set(call, { done: done as never, fail, last });
      this.#input(text);
    });
  }

  submit(fields: { id: string; command?: boolean; data?: unknown }): Submitted {
    const { id } = fields;
    const wait = <T>(map: Map<string, Waiting>): Promise<T> => {
      const end = new Promise<T>((done, fail) => map.set(id, { done: done as never, fail }));
      // An error nobody awaits is not the process's end.
      end.catch(() => {});
      return end;
    };
    const outcome = wait<Outcome>(this.#outcomes);
    const result = fields.command ? wait(this.#results) : Promise.resolve();
    const queued = this.call<void>('submit', fields).catch((error: unknown) => {
      for (const map of [this.#outcomes, this.#results]) {
        map.get(id)?.fail(error as WardlineError);
        map.delete(id);
      }
      throw error;
    });
    return { queued, outcome, result };
  }

  take<T>(sub: number, max: number): T[] {
    const taken = this.takeText(sub, max);
    return taken ? (JSON.parse(taken) as T[]) : [];
  }

  /** The same as text, empty where there is nothing. */
  takeText(sub: number, max: number): string {
    let taken = '';
    if (this.ended) return taken;
    const take: Feed = (core, mono, wall) => {
      const said = core.take(mono, wall, sub, max) ?? '';
      const lines = said.split('\n');
      taken = lines[0] ?? '';
      return lines[1];
    };
    if (this.#turning) {
      // What is to be done waits for the end of this turn.
      const said = this.#feed(take);
      this.#feeds.push(() => said);
    } else this.turn(take);
    return taken;
  }

  push(stream: number, h264: boolean, key: boolean, seq: number, ptsUs: number, data: Uint8Array): void {
    this.turn((core, mono, wall) =>
      core.picture(mono, wall, stream, +key + 2 * +h264, seq, ptsUs, data),
    );
  }

  picture(sub: number): Picture | null {
    const head = this.ended ? undefined : this.#core.takePicture(sub);
    if (head === undefined) return null;
    const picture = JSON.parse(head) as Picture;
    picture.data = this.#core.bytes();
    return picture;
  }

  outbox<T>(): T[] {
    return this.ended ? [] : (JSON.parse(this.#core.outbox()) as T[]);
  }

  identified(): Promise<Identity> {
    if (this.identity) return Promise.resolve(this.identity);
    if (this.ended) return Promise.reject(closed());
    return new Promise((done, fail) => this.#identified.push({ done: done as never, fail }));
  }

  async end(): Promise<void> {
    if (this.ended) return;
    this.ended = true;
    clearTimeout(this.#timer);
    this.#link?.drop();
    const maps = [this.#calls, this.#outcomes, this.#results];
    const waiting = [...maps.flatMap(map => [...map.values()]), ...this.#identified];
    maps.forEach(map => map.clear());
    waiting.forEach(({ fail }) => fail(closed()));
    this.listeners.forEach(listener => listener.ended());
    this.listeners.clear();
    // A turn under way still holds the machine.
    queueMicrotask(() => this.#core.free());
    await (await this.#store.catch(() => undefined))?.close?.();
  }

  #do(said: Said): void {
    switch (said[0]) {
      case 'dial':
        return this.#dial(said[1], said[2]);
      case 'text':
        if (said[1] === this.#generation) this.#link?.send(said[2]);
        return;
      case 'binary': {
        const bytes = this.#core.bytes();
        if (said[1] === this.#generation) this.#link?.send(bytes);
        return;
      }
      case 'close': {
        const link = this.#link;
        this.#link = undefined;
        if (!link || said[1] !== this.#generation) return;
        if (!link.open) return link.drop();
        const closing = link.close(said[2], said[3]).then(() => {
          if (this.#closing === closing) this.#closing = undefined;
        });
        this.#closing = closing;
        return;
      }
      case 'load':
        return this.#keep('load');
      case 'store':
        return this.#keep({ id: said[1], ...said[2] });
      case 'fetch':
        return this.#fetch();
      case 'reply':
      case 'fail': {
        const waiting = this.#calls.get(said[1]);
        this.#calls.delete(said[1]);
        if (!waiting) return;
        const answer =
          said[0] === 'reply'
            ? () => waiting.done(said[2])
            : () => waiting.fail(asError(said[2]));
        if (waiting.last && this.#closing) void this.#closing.then(answer);
        else answer();
        return;
      }
      case 'event':
        return this.#event(said[1]);
      case 'ready':
        return this.listeners.get(said[1])?.ready();
      case 'picture':
        return this.listeners.get(said[1])?.picture();
      case 'wanted':
        return this.listeners.get(said[1])?.wanted(said[2]);
    }
  }

  #arm(due: number): void {
    this.#due = due;
    // Each frame moves the next probe: a timer that fires too early is cheaper than a new one for each.
    if (this.#timer !== undefined && due !== Infinity && this.#armed <= due) return;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (due === Infinity) return;
    this.#armed = due;
    const span = Math.max(0, Math.ceil(due - this.#mono()));
    this.#timer = setTimeout(
      () => {
        this.#timer = undefined;
        if (this.#due > this.#mono()) this.#arm(this.#due);
        else this.tell({ c: 'timeout' });
      },
      Math.min(span, LONGEST),
    );
  }

  #dial(gen: number, url: string): void {
    this.#link?.drop();
    this.#link = undefined;
    this.#heard = [];
    this.#generation = gen;
    const failed = (reason: string): void => this.tell({ c: 'failed', gen, reason });
    try {
      const make =
        this.#options.webSocket ??
        (globalThis as unknown as { WebSocket: WebSocketConstructor }).WebSocket;
      this.#link = new Link(make, url, {
        opened: () => this.tell({ c: 'opened', gen }),
        text: text => this.#hear(text),
        binary: bytes => this.turn((core, mono, wall) => core.binary(mono, wall, gen, bytes)),
        unsent: bytes => this.tell({ c: 'unsent', gen, bytes }),
        closed: (code, reason) => this.tell({ c: 'closed', gen, code, reason }),
        failed,
      });
    } catch (error) {
      failed((error as Error).message);
    }
  }

  #fetch(): void {
    void (async () => {
      let token: string | null | undefined;
      try {
        token = await this.#options.tokenProvider?.();
      } catch (error) {
        const reason = `the token provider failed: ${(error as Error).message}`;
        this.#report({ type: 'error', code: 'unauthenticated', reason });
      }
      this.tell({ c: 'provided', token: token ?? undefined });
    })();
  }

  /** Does what the store is asked, in order; batches that wait together share one sync. */
  #keep(ask: (StoreBatch & { id: number }) | 'load'): void {
    this.#asks.push(ask);
    if (this.#keeping) return;
    this.#keeping = true;
    void (async () => {
      // Asks of one turn are taken together.
      await undefined;
      while (this.#asks.length > 0 && !this.ended) {
        if (this.#asks[0] === 'load') {
          this.#asks.shift();
          await this.#load();
          continue;
        }
        const end = this.#asks.indexOf('load');
        const batches = this.#asks.splice(0, end < 0 ? this.#asks.length : end);
        await this.#commit(batches as (StoreBatch & { id: number })[]);
      }
      this.#keeping = false;
    })();
  }

  async #load(): Promise<void> {
    try {
      const store = await this.#store;
      const { lock, entries } = await store.load();
      this.#durable = store.durable;
      this.#why = store.why;
      entries.sort(([a], [b]) => (a < b ? -1 : 1));
      this.tell({ c: 'loaded', lock, durable: this.#durable, entries });
    } catch (error) {
      this.tell({ c: 'loaded', error: `load: ${(error as Error).message}` });
    }
  }

  async #commit(batches: (StoreBatch & { id: number })[]): Promise<void> {
    let answers: (string | null)[];
    try {
      answers = await (await this.#store).commit(batches);
    } catch (error) {
      answers = batches.map(() => `commit: ${(error as Error).message}`);
    }
    batches.forEach(({ id }, at) =>
      this.tell({ c: 'stored', batch: id, error: answers[at] ?? undefined }),
    );
  }

  #event(told: Told): void {
    switch (told.type) {
      case 'status':
        this.status = told.status;
        this.attempt = told.attempt;
        this.retryAt = told.retryIn === undefined ? null : performance.now() + told.retryIn;
        if (told.status !== 'connected') this.publishers.forEach(tell => tell(0));
        return this.#report(told);
      case 'established': {
        const { connectionId, tenantId, userId, limits } = told;
        this.identity = { connectionId, tenantId, userId, limits };
        const waiting = this.#identified.splice(0);
        this.#report(told);
        return waiting.forEach(({ done }) => done(this.identity as never));
      }
      case 'settled': {
        const { id, outcome } = told;
        if (outcome.outcome !== 'accepted') {
          this.#results.get(id)?.fail(resultOf(outcome));
          this.#results.delete(id);
        }
        const waiting = this.#outcomes.get(id);
        this.#outcomes.delete(id);
        return waiting ? waiting.done(outcome as never) : this.#report(told);
      }
      case 'result': {
        const { id, result, error } = told;
        const waiting = this.#results.get(id);
        this.#results.delete(id);
        const failed = error && asError(error);
        if (!waiting) return this.#report(failed ? { type: 'result', id, error: failed } : { type: 'result', id, result });
        return failed ? waiting.fail(failed) : waiting.done(result as never);
      }
      case 'demand':
        return this.publishers.get(told.stream)?.(told.viewers);
      case 'volatile': {
        this.volatile = true;
        const [reason, message] = this.#why ?? ['asked', 'the outbox is kept in memory'];
        return this.#report({ ...told, reason, message });
      }
      default:
        return this.#report(told);
    }
  }

  #report(event: ClientEvent): void {
    try {
      this.onEvent?.(event);
    } catch (error) {
      // A listener's fault is the listener's; the host says so as it does for any other.
      queueMicrotask(() => {
        throw error;
      });
    }
  }
}
