// The outbox of a Node service: an append-only file, synced before anything is told, that survives a crash at any byte.
import { mkdir, open, readFile, rename, type FileHandle } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import type { Store, StoreBatch } from '../core/index.js';
import { failure } from '../errors.js';
import { crc32 } from './crc32.js';
import { takeLock } from './lock.js';

/** Written again from what lives when it is larger than this and four times what lives. */
const COMPACT_FROM = 1 << 20;

type Record = { lock?: number; add?: [string, string][]; put?: [string, string][]; remove?: string[] };

/** What was written together is one line: a crash cuts all of it or, where it was synced, none. */
const line = (records: Record[]): string => {
  const text = JSON.stringify(records);
  return `${crc32(text).toString(16).padStart(8, '0')} ${text}\n`;
};

function parse(text: string): Record[] | undefined {
  const body = text.slice(9);
  return parseInt(text.slice(0, 8), 16) === crc32(body) ? (JSON.parse(body) as Record[]) : undefined;
}

/** What several stores of one path in one process share. */
class Journal {
  readonly entries = new Map<string, string>();
  users = 0;
  lock = 0;
  #file: FileHandle = undefined as never;
  #release!: () => Promise<void>;
  #size = 0;
  #alive = 0;
  #broken = '';
  #turn: Promise<unknown> = Promise.resolve();

  private constructor(readonly path: string) {}

  static async open(path: string): Promise<Journal> {
    const journal = new Journal(path);
    await mkdir(dirname(path), { recursive: true });
    journal.#release = await takeLock(path);
    try {
      await journal.#read();
    } catch (error) {
      await journal.#file?.close().catch(() => {});
      await journal.#release();
      throw error;
    }
    return journal;
  }

  async #read(): Promise<void> {
    this.#file = await open(this.path, 'a+');
    const bytes = await readFile(this.path);
    let at = 0;
    for (;;) {
      const end = bytes.indexOf(10, at);
      if (end < 0) break;
      const records = parse(bytes.toString('utf8', at, end));
      if (!records) {
        // A write that a crash cut is the last one: whatever follows another line was told, and must not be dropped.
        if (bytes.indexOf(10, end + 1) >= 0) throw failure('storage', `${this.path} is damaged at byte ${at}`);
        break;
      }
      for (const record of records) this.#apply(record);
      at = end + 1;
    }
    this.#size = at;
    if (at < bytes.length) {
      await this.#file.truncate(at);
      await this.#file.datasync();
    }
    await syncFolder(this.path);
    await this.#compactIfWorth();
  }

  #apply({ lock, add = [], put = [], remove = [] }: Record): [string, string | undefined][] {
    const before: [string, string | undefined][] = [];
    const set = (key: string, value: string | undefined) => {
      const old = this.entries.get(key);
      before.push([key, old]);
      if (old !== undefined) this.#alive -= key.length + old.length;
      if (value === undefined) this.entries.delete(key);
      else {
        this.entries.set(key, value);
        this.#alive += key.length + value.length;
      }
    };
    if (lock !== undefined) this.lock = lock;
    for (const [key, value] of [...add, ...put]) set(key, value);
    for (const key of remove) set(key, undefined);
    return before;
  }

  #undo(before: [string, string | undefined][]): void {
    for (const [key, value] of before.reverse()) this.#apply(value === undefined ? { remove: [key] } : { put: [[key, value]] });
  }

  /** One thing at a time. */
  #queue<Result>(work: () => Promise<Result>): Promise<Result> {
    const next = this.#turn.then(work, work);
    this.#turn = next.catch(() => {});
    return next;
  }

  load(): Promise<{ lock: number; entries: [string, string][] }> {
    return this.#queue(async () => {
      const lock = this.lock + 1;
      await this.#append(line([{ lock }]));
      this.lock = lock;
      return { lock, entries: [...this.entries] };
    });
  }

  commit(batches: StoreBatch[]): Promise<(string | null)[]> {
    return this.#queue(async () => {
      const undo: [string, string | undefined][] = [];
      const records: Record[] = [];
      const answers = batches.map(({ lock, add, put, remove }): string | null => {
        if (lock !== undefined && lock !== this.lock) return 'lost';
        const keys = new Set<string>();
        for (const [key] of add) {
          if (this.entries.has(key) || keys.has(key)) return `${key} is there already`;
          keys.add(key);
        }
        const record = { add, put, remove };
        undo.push(...this.#apply(record));
        records.push(record);
        return null;
      });
      try {
        if (records.length > 0) await this.#append(line(records));
      } catch (error) {
        this.#undo(undo);
        const words = error instanceof Error ? error.message : String(error);
        return answers.map(answer => answer ?? words);
      }
      await this.#compactIfWorth().catch(() => {});
      return answers;
    });
  }

  async #append(text: string): Promise<void> {
    if (this.#broken) throw new Error(this.#broken);
    const bytes = Buffer.from(text);
    try {
      let written = 0;
      while (written < bytes.length) written += (await this.#file.write(bytes, written)).bytesWritten;
      await this.#file.datasync();
      this.#size += bytes.length;
    } catch (error) {
      // What was half written must not stay in front of the next record.
      try {
        await this.#file.truncate(this.#size);
        await this.#file.datasync();
      } catch (again) {
        this.#broken = `${this.path}: ${again instanceof Error ? again.message : again}`;
      }
      throw error;
    }
  }

  async #compactIfWorth(): Promise<void> {
    if (this.#size < COMPACT_FROM || this.#size < this.#alive * 4) return;
    const fresh = `${this.path}.new`;
    const bytes = Buffer.from(line([{ lock: this.lock, put: [...this.entries] }]));
    const file = await open(fresh, 'w');
    try {
      await file.writeFile(bytes);
      await file.sync();
    } finally {
      await file.close();
    }
    await this.#file.close();
    try {
      await rename(fresh, this.path);
      await syncFolder(this.path);
      this.#size = bytes.length;
    } finally {
      this.#file = await open(this.path, 'a+');
    }
  }

  close(): Promise<void> {
    return this.#queue(async () => {
      await this.#file.close();
      await this.#release();
    });
  }
}

async function syncFolder(path: string): Promise<void> {
  // Windows opens no folders; there the file's own sync is all there is.
  const folder = await open(dirname(path), 'r').catch(() => undefined);
  await folder?.sync().catch(() => {});
  await folder?.close();
}

const journals = new Map<string, Promise<Journal>>();
const closing = new Map<string, Promise<void>>();

/**
 * A durable store in a file, held by one process at a time. Every write is appended and synced before it is told; a write that a crash
 * cut is dropped when the file is read again, and damage anywhere else is an error, never a loss.
 */
export async function fileStore(path: string): Promise<Store> {
  const full = resolve(path);
  while (closing.has(full)) await closing.get(full);
  const before = journals.get(full);
  const opening = before ? before.catch(() => Journal.open(full)) : Journal.open(full);
  journals.set(full, opening);
  const journal = await opening.catch(error => {
    if (journals.get(full) === opening) journals.delete(full);
    throw error;
  });
  journal.users += 1;
  let open = true;
  return {
    durable: true,
    load: () => journal.load(),
    commit: batches => journal.commit(batches),
    async close() {
      if (!open) return;
      open = false;
      journal.users -= 1;
      if (journal.users > 0) return;
      journals.delete(full);
      const end = journal.close().finally(() => closing.delete(full));
      closing.set(full, end);
      await end;
    },
  };
}
