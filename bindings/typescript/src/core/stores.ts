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

function asked<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((done, fail) => {
    request.onsuccess = () => done(request.result);
    request.onerror = () => fail(request.error);
  });
}

function open(name: string): Promise<IDBDatabase> {
  const request = indexedDB.open(name, 1);
  request.onupgradeneeded = () => {
    request.result.createObjectStore(ENTRIES);
    request.result.createObjectStore(LOCK);
  };
  return asked(request);
}

/** Entries in IndexedDB; each commit is on the disk when it resolves. Holds no Web Lock. */
export async function indexedDbStore(name: string): Promise<Store> {
  let database: IDBDatabase | undefined = await open(name);

  const transact = async <T>(work: (tx: IDBTransaction) => Promise<T>): Promise<T> => {
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
      tx.onabort = () => fail(tx.error ?? new Error(LOST));
    });
    ended.catch(() => {});
    const result = await work(tx);
    await ended;
    return result;
  };

  const commit = (batches: StoreBatch[]): Promise<void> =>
    transact(async tx => {
      const entries = tx.objectStore(ENTRIES);
      const locks = batches.flatMap(batch => batch.lock ?? []);
      if (locks.length > 0) {
        const held = await asked<unknown>(tx.objectStore(LOCK).get(LOCK));
        if (locks.some(lock => lock !== held)) {
          tx.abort();
          throw new Error(LOST);
        }
      }
      // A request that fails aborts the transaction, which says so.
      for (const batch of batches) {
        for (const [key, value] of batch.add) entries.add(value, key);
        for (const [key, value] of batch.put) entries.put(value, key);
        for (const key of batch.remove) entries.delete(key);
      }
    });

  const answer = async (batches: StoreBatch[]): Promise<string | null> => {
    try {
      await commit(batches);
      return null;
    } catch (error) {
      const { message, name } = error as Error;
      return message === LOST ? LOST : `${name}: ${message}`;
    }
  };

  return {
    durable: true,
    load: () =>
      transact(async tx => {
        const [entries, locks] = [tx.objectStore(ENTRIES), tx.objectStore(LOCK)];
        const [keys, values, held] = await Promise.all([
          asked(entries.getAllKeys()),
          asked<string[]>(entries.getAll()),
          asked<number | undefined>(locks.get(LOCK)),
        ]);
        const lock = (held ?? 0) + 1;
        locks.put(lock, LOCK);
        return { lock, entries: keys.map((key, i) => [key as string, values[i] as string]) };
      }),
    commit: async batches => {
      // One transaction, one sync; where that fails, each learns its own fate.
      if (batches.length > 1 && (await answer(batches)) === null) return batches.map(() => null);
      const answers: (string | null)[] = [];
      for (const batch of batches) answers.push(await answer([batch]));
      return answers;
    },
    close: () => database?.close(),
  };
}

/** Takes a Web Lock within `wait` ms; gives what releases it, or nothing. */
function take(name: string, wait: number): Promise<(() => void) | undefined> {
  const giveUp = new AbortController();
  const timer = setTimeout(() => giveUp.abort(), wait);
  return new Promise(taken => {
    navigator.locks
      .request(
        name,
        { signal: giveUp.signal },
        () =>
          new Promise<void>(release => {
            clearTimeout(timer);
            taken(release);
          }),
      )
      .catch(() => taken(undefined));
  });
}

/**
 * IndexedDB under a Web Lock: one writer per origin and name. Where either is missing or blocked, or
 * another tab holds the lock for longer than `wait` ms (default 1000), memory: the client then says
 * `volatile`.
 */
export async function browserStore(name: string, options?: { wait?: number }): Promise<Store> {
  let release: (() => void) | undefined;
  try {
    release = await take(`wardline:${name}`, options?.wait ?? 1000);
    if (!release) return memoryStore();
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
  } catch {
    release?.();
    return memoryStore();
  }
}
