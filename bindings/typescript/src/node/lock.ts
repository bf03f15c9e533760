// One process at a time holds an outbox. A lock is a numbered file; the highest number counts. Taking over from a process that died
// means creating the next number, which the file system lets one process do.
import { constants } from 'node:fs';
import { open, readFile, readdir, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { failure } from '../errors.js';

interface Holder {
  pid: number;
  /** When that process began, where the system tells: pids come again. */
  began: string;
}

async function beginning(pid: number): Promise<string> {
  try {
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
    // The name in parentheses may hold blanks; the start time is field 22.
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? '';
  } catch {
    return '';
  }
}

async function lives({ pid, began }: Holder): Promise<boolean> {
  if (pid === process.pid) return true;
  try {
    process.kill(pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false;
  }
  const now = await beginning(pid);
  return began === '' || now === '' || began === now;
}

/** Takes the lock of a path; gives what releases it. */
export async function takeLock(path: string): Promise<() => Promise<void>> {
  const folder = dirname(path);
  const prefix = `${basename(path)}.lock.`;
  const numbered = async () => {
    const numbers = (await readdir(folder)).filter(name => name.startsWith(prefix)).map(name => Number(name.slice(prefix.length)));
    return numbers.filter(Number.isSafeInteger).sort((a, b) => a - b);
  };
  const fileOf = (number: number) => join(folder, prefix + number);
  for (let turn = 0; ; turn++) {
    const highest = (await numbered()).at(-1) ?? 0;
    if (highest > 0) {
      const text = await readFile(fileOf(highest), 'utf8').catch(() => undefined);
      // Gone meanwhile, or not written yet: look again.
      if (!text?.endsWith('\n') && turn < 50) {
        await new Promise(resolve => setTimeout(resolve, 20));
        continue;
      }
      const holder = text?.endsWith('\n') ? (JSON.parse(text) as Holder | null) : null;
      if (holder && (await lives(holder))) throw failure('storage', `the outbox ${path} is held by process ${holder.pid}`);
    }
    const own = fileOf(highest + 1);
    let file;
    try {
      file = await open(own, constants.O_CREAT | constants.O_EXCL | constants.O_RDWR);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EEXIST') continue;
      throw error;
    }
    await file.write(`${JSON.stringify({ pid: process.pid, began: await beginning(process.pid) } satisfies Holder)}\n`);
    await file.close();
    for (const number of await numbered()) if (number <= highest) await rm(fileOf(number), { force: true });
    return async () => {
      // Kept, so that numbers never come again: whoever read an old one cannot take a lock beside another.
      const file = await open(own, 'w');
      await file.write('null\n');
      await file.close();
    };
  }
}
