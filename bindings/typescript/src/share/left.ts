// What tabs that did not share left behind: their outbox is another database. Its items are sent out by the tab that owns, under the lock
// that they held, over a connection of its own: only the producer that numbered an item may say it again (P-S2). Its positions are
// copied, once, into a shared outbox that is new.

import type { Outcome, Store } from '../core/types.js';
import type { Driver, Kit } from './wire.js';

/** How often it looks whether everything has ended. */
const LOOK = 250;

type Entries = [key: string, value: string][];

interface Owner {
  server: string;
  tenant: string;
  user: string;
}

export class Left {
  readonly #kit: Kit;
  /** Of the database and of its lock, as `browserStore` names them. */
  readonly #name: string;
  readonly #told: (id: string, outcome: Outcome) => void;
  readonly #giveUp = new AbortController();
  #driver: Driver | undefined;
  #over: (() => void) | undefined;

  /** `told` hears how items end. */
  constructor(kit: Kit, told: (id: string, outcome: Outcome) => void) {
    this.#kit = kit;
    this.#told = told;
    const [outbox] = JSON.parse(kit.name) as [string];
    this.#name = `wardline:${outbox}`;
  }

  /** Resolves once the shared store may be used. */
  begin(shared: Store): Promise<void> {
    return new Promise(ready => {
      const { locks } = navigator;
      locks
        .request(this.#name, { ifAvailable: true }, lock => lock && this.#take(shared, ready).then(() => true))
        // A tab that does not share lives: what it leaves is taken when it is gone.
        .then(taken => {
          ready();
          return taken ? undefined : locks.request(this.#name, { signal: this.#giveUp.signal }, () => this.#take());
        })
        .catch(() => {})
        .finally(ready);
    });
  }

  /** What is not settled of it. */
  outbox<T>(): T[] {
    return this.#driver?.outbox<T>() ?? [];
  }

  /** Leaves it as it stands: whoever owns next goes on. */
  end(): void {
    this.#giveUp.abort();
    this.#over?.();
  }

  async #take(shared?: Store, ready?: () => void): Promise<void> {
    const store = await this.#kit.open(this.#name);
    try {
      const { entries } = await store.load();
      const [shelf, owner] = this.#shelf(entries);
      if (shared && owner) await this.#copy(entries, `${shelf}/c/`, owner, shared);
      ready?.();
      // Of an unnamed user it cannot be told before the server names him.
      const isItem = shelf === undefined ? /^\d+\/i\// : new RegExp(`^${shelf}/i/`);
      if (entries.some(([key]) => isItem.test(key)) && !this.#giveUp.signal.aborted) await this.#send(store);
    } finally {
      await store.close?.();
    }
  }

  /** Where the entries of this user are, and the entry that says so; what was never bound is whoever's comes. */
  #shelf(entries: Entries): [shelf: string | undefined, owner?: string] {
    const [, url, tenant, user] = JSON.parse(this.#kit.name) as (string | undefined)[];
    if (user === undefined) return [undefined];
    const [server = ''] = url!.split(/[?#]/);
    const owners = entries.filter(([key]) => key.startsWith('owner/'));
    for (const [key, value] of owners) {
      const owner = JSON.parse(value) as Owner;
      // Without a path it has the default one.
      const same = owner.server === server || owner.server === `${server.replace(/\/$/, '')}/wardline`;
      if (same && owner.tenant === tenant && owner.user === user) return [key.slice('owner/'.length), value];
    }
    // No shelf has such a name.
    return [owners.length > 0 ? '-' : (entries.find(([key]) => key === 'last')?.[1] ?? '0')];
  }

  async #copy(entries: Entries, prefix: string, owner: string, shared: Store): Promise<void> {
    const { lock, entries: there } = await shared.load();
    const positions = entries.filter(([key]) => key.startsWith(prefix)).map(([key, value]): [string, string] => [`0/c/${key.slice(prefix.length)}`, value]);
    if (there.length > 0 || positions.length === 0) return;
    await shared.commit([{ lock, add: [], put: [['last', '0'], ['owner/0', owner], ...positions], remove: [] }]);
  }

  /** Sends until nothing waits. */
  async #send(store: Store): Promise<void> {
    const driver = this.#kit.drive({
      ...this.#kit.options,
      store: { ...store, close: async () => {} },
      onEvent: event => event.type === 'settled' && this.#told(event.id, event.outcome),
    });
    this.#driver = driver;
    let looking: ReturnType<typeof setInterval> | undefined;
    let empty = 0;
    await new Promise<void>(over => {
      this.#over = over;
      driver.call('connect').catch(() => {});
      looking = setInterval(() => {
        // Twice: at the welcome of another user the items of his are still to be loaded.
        empty = driver.status === 'connected' && driver.outbox().length === 0 ? empty + 1 : 0;
        if (empty > 1) driver.call<void>('disconnect', {}, true).then(over, over);
      }, LOOK);
    });
    clearInterval(looking);
    this.#driver = undefined;
    await driver.end();
  }
}
