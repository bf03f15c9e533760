// Where the outbox is kept: memory, or IndexedDB under a Web Lock.

import type { Store, StoreBatch } from './types.js';

/** A store that ends with the process. */
export function memoryStore(): Store {
  const entries = new Map<string, string>();
  let lock = 0;
  const commit = (batch: StoreBatch): string | null => {
    if (batch.lock !== undefined && batch.lock !== lock) return 'lost';
    const added = new Set<string>();
    for (const [key] of batch.add) {
      if (entries.has(key) || added.has(key)) return 'the key exists';
      added.add(key);
    }
    for (const [key, value] of [...batch.add, ...batch.put]) entries.set(key, value);
    for (const key of batch.remove) entries.delete(key);
    return null;
  };
  return {
    durable: false,
    load: async () => ({ lock: ++lock, entries: [...entries] }),
    commit: async batches => batches.map(commit),
  };
}

const ENTRIES = 'entries';
const LOCK = 'lock';
const LOST = 'lost';
/** Past this an open request is taken for blocked: browsers set no limit. */
const OPEN_WITHIN = 3000;
/** Generations that are remembered as over. */
const REMEMBERED = 1000;

function asked<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((done, fail) => {
    request.onsuccess = () => done(request.result);
    request.onerror = () => fail(request.error);
  });
}

async function open(name: string): Promise<IDBDatabase> {
  const request = indexedDB.open(name, 1);
  request.onupgradeneeded = () => {
    request.result.createObjectStore(ENTRIES);
    request.result.createObjectStore(LOCK);
  };
  let timer: ReturnType<typeof setTimeout> | undefined;
  let late = false;
  const opened = asked(request);
  void opened.then(
    database => late && database.close(),
    () => {},
  );
  const limit = new Promise<never>((_, fail) => {
    timer = setTimeout(() => {
      late = true;
      fail(new Error('the database does not open'));
    }, OPEN_WITHIN);
  });
  return Promise.race([opened, limit]).finally(() => clearTimeout(timer));
}

/**
 * Entries in IndexedDB; each commit is on the disk when it resolves. Holds no Web Lock.
 *
 * The generation of the lock is the number under `lock`; each that is over is a key of its own. A commit adds the key of its
 * generation and removes it again, so that one that is over fails by itself: no transaction waits for this page, which may be frozen
 * at any moment, while the next one wants the store.
 */
export async function indexedDbStore(name: string): Promise<Store> {
  let database: IDBDatabase | undefined = await open(name);
  let closed = false;

  const transact = async <T>(work: (tx: IDBTransaction) => T | Promise<T>): Promise<T> => {
    if (closed) throw new Error('the store is closed');
    database ??= await open(name);
    const used = database;
    // A browser may take a database away, as when its data is cleared.
    used.onclose = used.onversionchange = () => {
      used.close();
      if (database === used) database = undefined;
    };
    let tx: IDBTransaction;
    try {
      tx = used.transaction([ENTRIES, LOCK], 'readwrite', { durability: 'strict' });
    } catch (error) {
      database = undefined;
      throw error;
    }
    const ended = new Promise<void>((done, fail) => {
      tx.oncomplete = () => done();
      tx.onabort = () => fail(tx.error ?? new Error('the transaction was aborted'));
    });
    ended.catch(() => {});
    let result: T;
    try {
      const working = work(tx);
      // Before this page gives way to anything else.
      if (!(working instanceof Promise)) tx.commit?.();
      result = await working;
    } catch (error) {
      try {
        tx.abort();
      } catch {
        // It has ended by itself.
      }
      throw error;
    }
    await ended;
    return result;
  };

  const answer = async (batches: StoreBatch[]): Promise<string | null> => {
    let lost = false;
    try {
      await transact(tx => {
        const [entries, locks] = [tx.objectStore(ENTRIES), tx.objectStore(LOCK)];
        // A request that fails aborts the transaction.
        for (const lock of new Set(batches.flatMap(batch => batch.lock ?? []))) {
          locks.add(0, lock).onerror = () => {
            lost = true;
          };
          locks.delete(lock);
        }
        for (const batch of batches) {
          for (const [key, value] of batch.add) entries.add(value, key);
          for (const [key, value] of batch.put) entries.put(value, key);
          for (const key of batch.remove) entries.delete(key);
        }
      });
      return null;
    } catch (error) {
      const { message, name } = error as Error;
      return lost ? LOST : `${name}: ${message}`;
    }
  };

  return {
    durable: true,
    load: () =>
      transact(async tx => {
        const [entries, locks] = [tx.objectStore(ENTRIES), tx.objectStore(LOCK)];
        const [keys, values, held = 0] = await Promise.all([
          asked(entries.getAllKeys()),
          asked<string[]>(entries.getAll()),
          asked<number | undefined>(locks.get(LOCK)),
        ]);
        const lock = held + 1;
        locks.put(0, held);
        locks.put(lock, LOCK);
        locks.delete(IDBKeyRange.upperBound(held - REMEMBERED));
        return { lock, entries: keys.map((key, i) => [key as string, values[i] as string]) };
      }),
    commit: async batches => {
      // One transaction, one sync; where that fails, each learns its own fate.
      if (batches.length > 1 && (await answer(batches)) === null) return batches.map(() => null);
      const answers: (string | null)[] = [];
      for (const batch of batches) answers.push(await answer([batch]));
      return answers;
    },
    close: () => {
      closed = true;
      database?.close();
    },
  };
}

/** Steps in which the wait for a lock goes by. */
const STEPS = 5;

/** Takes a Web Lock within `wait` ms; gives what releases it, or nothing. */
function take(name: string, wait: number): Promise<(() => void) | undefined> {
  const giveUp = new AbortController();
  let left = STEPS;
  // A page that was held up itself must not take itself for a tab that came too late: between the steps it hears of its lock.
  const timer = setInterval(() => --left || giveUp.abort(), wait / STEPS);
  return new Promise((taken, fail) => {
    navigator.locks
      .request(
        name,
        { signal: giveUp.signal },
        () =>
          new Promise<void>(release => {
            clearInterval(timer);
            if (giveUp.signal.aborted) release();
            else taken(release);
          }),
      )
      .catch((error: unknown) => {
        clearInterval(timer);
        if (giveUp.signal.aborted) taken(undefined);
        else fail(error);
      });
  });
}

/**
 * IndexedDB under a Web Lock: one writer per origin and name. Where either is missing or blocked, or
 * another tab holds the lock for longer than `wait` ms (default 1000), memory: the client then says
 * `volatile`, and why.
 */
export async function browserStore(name: string, options?: { wait?: number }): Promise<Store> {
  let release: (() => void) | undefined;
  try {
    release = await take(`wardline:${name}`, options?.wait ?? 1000);
    if (!release) return { ...memoryStore(), why: ['held', 'another tab holds the outbox'] };
    const store = await indexedDbStore(`wardline:${name}`);
    const letGo = release;
    return {
      durable: true,
      load: store.load,
      commit: store.commit,
      close: () => {
        void store.close?.();
        letGo();
      },
    };
  } catch (error) {
    release?.();
    const words = error instanceof Error ? error.message : String(error);
    return { ...memoryStore(), why: ['blocked', `the outbox cannot be opened: ${words}`] };
  }
}
