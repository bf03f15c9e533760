// What the page notices, for hosts that are one.

import type { Signal } from './types.js';

interface Target {
  addEventListener?(name: string, listener: () => void): void;
  removeEventListener?(name: string, listener: () => void): void;
}

/** Listens to network, visibility and freeze; gives what ends it. */
export function listen(tell: (signal: Signal) => void): () => void {
  const page = globalThis as Target & {
    document?: Target & { visibilityState: string };
    navigator?: { connection?: Target };
  };
  const ends: (() => void)[] = [];
  const on = (target: Target | undefined, name: string, signal: () => Signal): void => {
    if (!target?.addEventListener) return;
    const listener = (): void => tell(signal());
    target.addEventListener(name, listener);
    ends.push(() => target.removeEventListener?.(name, listener));
  };
  const seen = (): Signal => (page.document?.visibilityState === 'hidden' ? 'hidden' : 'visible');
  on(page, 'online', () => 'online');
  on(page, 'offline', () => 'offline');
  on(page, 'pagehide', () => 'suspending');
  on(page, 'pageshow', () => 'woke');
  on(page.navigator?.connection, 'change', () => 'network');
  on(page.document, 'visibilitychange', seen);
  on(page.document, 'freeze', () => 'suspending');
  on(page.document, 'resume', () => 'woke');
  if (page.document && seen() === 'hidden') tell('hidden');
  return () => ends.forEach(end => end());
}
