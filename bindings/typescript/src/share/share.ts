// Tabs of one origin, server and user share one connection: who owns it, and what the others do about it (ADR 0010).
//
// The owner holds a Web Lock as long as it lives, and is the one that opens the store and the socket. Whoever waits for the lock owns
// next. An owner that holds it and does not answer (frozen, hung) is replaced by taking the lock away from it; that it has
// written nothing since is the store's word, not the lock's.

import { Desk } from './desk.js';
import { Left } from './left.js';
import { Seat } from './seat.js';
import { line, VERSION, words, type Call, type Kit, type Line, type ToDesk, type ToSeat } from './wire.js';
import type { Helm } from '../core/helm.js';
import type { Store } from '../core/types.js';

export type { Kit };

/** Each tab asks the owner for a sign of life so often; one that owes so many is replaced. */
const TICK = 800;
const OWED = 3;
/** After a failure to own. */
const REST = 500;
/** A tab that had no token may have one later. */
const FORGIVEN = 60_000;

function drawId(): string {
  return Array.from(crypto.getRandomValues(new Uint32Array(4)), part => part.toString(36)).join('');
}

class Tab {
  readonly seat: Seat;
  readonly #kit: Kit;
  readonly #base: string;
  readonly #id = drawId();
  readonly #hall: BroadcastChannel;
  readonly #own: BroadcastChannel;
  readonly #silence: () => void;
  #ticking: ReturnType<typeof setInterval> | undefined;
  #term = 0;
  #owed = 0;
  #ticked = 0;
  /** Its visits to owners are numbered: what was said to an earlier one counts no more. */
  #visit = 1;
  #desk: Desk | undefined;
  #line: Line<ToDesk> | undefined;
  /** Ends the wait for the lock. */
  #giveUp: AbortController | undefined;
  /** Gives the lock back. */
  #release: (() => void) | undefined;
  /** The token that was not taken, and when. */
  #refused: { token: string | undefined; at: number } | undefined;
  #paused = false;
  #ended = false;
  #letLive: (() => void) | undefined;

  constructor(kit: Kit) {
    this.#kit = kit;
    this.#base = `wardline/tabs/${VERSION}/${kit.name}`;
    this.seat = new Seat(kit, () => this.#end());
    this.#hall = new BroadcastChannel(this.#base);
    this.#hall.onmessage = ({ data }) => Array.isArray(data) && this.#hear(data as Call);
    this.#own = new BroadcastChannel(`${this.#base}:${this.#id}`);
    this.#own.onmessage = ({ data }) => this.#hearOwner(data);
    // Held as long as this tab lives: by it the owner knows that it does.
    void navigator.locks.request(`${this.#base}:${this.#id}`, () => {
      if (this.#ended) return;
      this.#begin();
      return new Promise<void>(done => (this.#letLive = done));
    });
    this.#silence = this.#listen();
  }

  /** A page that is put away owns nothing: it could not answer. */
  #listen(): () => void {
    const page = globalThis as typeof globalThis & { document?: Document };
    const pause = (): void => this.#pause();
    const resume = (): void => this.#resume();
    const on: [EventTarget | undefined, string, () => void][] = [
      [page.document, 'freeze', pause], [page.document, 'resume', resume], [page, 'pagehide', pause], [page, 'pageshow', resume],
    ];
    on.forEach(([target, name, listener]) => target?.addEventListener(name, listener));
    return () => on.forEach(([target, name, listener]) => target?.removeEventListener(name, listener));
  }

  #begin(): void {
    this.#ticking = setInterval(() => this.#tick(), TICK);
    this.#greet();
    this.#campaign();
  }

  #pause(): void {
    if (this.#paused || this.#ended) return;
    this.#paused = true;
    clearInterval(this.#ticking);
    this.#giveUp?.abort();
    this.#abdicate();
  }

  #resume(): void {
    if (!this.#paused || this.#ended) return;
    this.#paused = false;
    this.#owed = 0;
    if (this.#letLive) this.#begin();
  }

  #end(): void {
    if (this.#ended) return;
    this.#ended = true;
    clearInterval(this.#ticking);
    this.#silence();
    this.#giveUp?.abort();
    this.#line?.say({ c: 'bye' });
    this.#line?.flush();
    this.#abdicate();
    this.#hall.close();
    this.#own.close();
    this.#letLive?.();
  }

  // The hall.

  #call(...call: Call): void {
    if (!this.#ended) this.#hall.postMessage(call);
  }

  #greet(): void {
    this.#call('hello', this.#id, this.#visit, this.#isTokenless());
  }

  #isTokenless(): boolean {
    const { token, at } = this.#refused ?? { at: 0 };
    return token === this.#kit.options.token && performance.now() - at < FORGIVEN && at > 0;
  }

  #hear(call: Call): void {
    switch (call[0]) {
      case 'electing':
        this.#owed = 0;
        return;
      case 'owner':
        this.#owed = 0;
        if (call[1] > this.#term) this.#greet();
        return;
      case 'hello':
        if (this.#desk && this.#desk.term > 0) this.#desk.welcome(call[1], call[2], call[3]);
    }
  }

  #hearOwner(data: unknown): void {
    const [term, list] = words<ToSeat>(data) ?? [];
    if (term === undefined || list === undefined || this.#paused || this.#ended) return;
    const first = list[0];
    if (first?.c === 'owner' && first.visit === this.#visit && term >= this.#term && !(this.#line && term === this.#term)) {
      this.#attach(term, line(said => this.#own.postMessage([term, said])), first.state);
      this.seat.part('rider');
    }
    if (term !== this.#term || !this.#line) return;
    this.#owed = 0;
    if (list.some(({ c }) => c === 'gone')) return this.#detach();
    this.seat.hear(list);
  }

  #attach(term: number, to: Line<ToDesk>, state: Parameters<Seat['attach']>[1]): void {
    this.#term = term;
    this.#owed = 0;
    this.#line = to;
    this.seat.attach(to, state);
  }

  #detach(): void {
    this.#visit += 1;
    this.#line = undefined;
    this.seat.store = undefined;
    this.seat.detach();
  }

  #tick(): void {
    const now = performance.now();
    // Where this tab is late itself, the owner may be no more than that.
    const late = now - this.#ticked > TICK * 1.5;
    this.#ticked = now;
    if (this.#release) return;
    if (this.#owed >= OWED) {
      this.#owed = 0;
      this.#detach();
      return this.#campaign(true);
    }
    if (!late) this.#owed += 1;
    if (this.#line) this.#line.say({ c: 'tick' });
    else this.#greet();
  }

  // Owning.

  /** Waits for the lock, or takes it away from who does not answer. */
  #campaign(steal = false): void {
    if (this.#paused || this.#ended) return;
    this.#giveUp?.abort();
    const giveUp = new AbortController();
    this.#giveUp = giveUp;
    const options: LockOptions = steal ? { steal: true } : { signal: giveUp.signal };
    let rest = 0;
    let own: (() => void) | undefined;
    navigator.locks
      .request(`${this.#base}!`, options, async () => {
        if (giveUp.signal.aborted || this.#paused || this.#ended) return;
        const over = this.#reign();
        own = this.#release;
        rest = await over;
      })
      // Another took the lock away; or the wait was given up.
      .catch(() => own && this.#release === own && this.#abdicate())
      .finally(() => {
        if (this.#giveUp === giveUp && !giveUp.signal.aborted) setTimeout(() => this.#giveUp === giveUp && !this.#desk && this.#campaign(), rest);
      });
  }

  /** Owns until it is told otherwise; gives how long to rest before it asks to again. */
  #reign(): Promise<number> {
    return new Promise(over => {
      let store: Store | undefined;
      let desk: Desk | undefined;
      const left = new Left(this.#kit, (id, o) => this.seat.hear([{ c: 'settled', id, o }]));
      const electing = setInterval(() => this.#call('electing'), TICK / 2);
      const release = (rest: number): void => {
        clearInterval(electing);
        left.end();
        if (this.#release === leave) this.#release = undefined;
        if (desk && this.#desk === desk) {
          this.#desk = undefined;
          this.#detach();
        }
        desk?.end();
        over(rest);
      };
      const leave = (): void => release(0);
      this.#release = leave;
      this.#call('electing');
      const ready = (): void => {
        clearInterval(electing);
        const term = desk!.term;
        const to = line<ToDesk>(list => this.#desk === desk && desk!.hear(this.#id, list));
        // This tab's own line goes through no channel.
        desk!.welcome(this.#id, this.#visit, this.#isTokenless(), list => {
          const first = list[0];
          if (this.#desk !== desk || this.#release !== leave) return;
          if (first?.c === 'owner') {
            this.#attach(term, to, first.state);
            this.seat.store = () => [...desk!.outbox<never>(this.#id), ...left.outbox<never>()];
            this.seat.part('owner');
          }
          this.seat.hear(list);
        });
        this.#call('owner', term);
      };
      const resign = (tokenless: boolean): void => {
        if (tokenless) this.#refused = { token: this.#kit.options.token, at: performance.now() };
        if (this.#release === leave) release(REST);
      };
      void (async () => {
        try {
          store = await this.#kit.open(`wardline/tabs/${VERSION}/${this.#kit.name}`);
          await left.begin(store);
          if (this.#release !== leave) return void store.close?.();
          desk = new Desk(this.#kit, this.#base, store, ready, resign);
          this.#desk = desk;
          desk.begin();
        } catch (error) {
          if (this.#release !== leave) return;
          release(REST * 2);
          // What no other tab can do better.
          if (/^bad_/.test((error as { code?: string }).code ?? '')) this.seat.fail(error as never);
        }
      })();
    });
  }

  #abdicate(): void {
    this.#release?.();
    this.#detach();
  }
}

/** A seat among the tabs of this origin that share; or why that cannot be here. */
export async function share(kit: Kit): Promise<Helm | string> {
  if (!globalThis.navigator?.locks || typeof BroadcastChannel === 'undefined') return 'this browser has no Web Locks or no BroadcastChannel';
  try {
    const store = await kit.open(`wardline/tabs/${VERSION}/${kit.name}`);
    await store.close?.();
  } catch (error) {
    return `the outbox cannot be opened: ${(error as Error).message}`;
  }
  return new Tab(kit).seat;
}
