// A switch in this page's network: what a pulled cable does, without pulling it. Open sockets go silent and new ones do not open; the
// client is told nothing and has to notice by itself.
const Real = globalThis.WebSocket;
const open = new Set<CuttableWebSocket>();
const listeners = new Set<() => void>();
let cut = false;

class CuttableWebSocket extends Real {
  constructor(url: string | URL, protocols?: string | string[]) {
    super(cut ? 'ws://127.0.0.1:9/cut' : url, protocols);
    open.add(this);
    super.addEventListener('close', () => open.delete(this));
    // First in line, so that nothing behind it hears what a cut cable would not have carried.
    super.addEventListener('message', event => cut && event.stopImmediatePropagation());
  }

  override send(data: Parameters<WebSocket['send']>[0]): void {
    if (!cut) super.send(data);
  }
}

export function installSwitch(): void {
  globalThis.WebSocket = CuttableWebSocket;
}

export const network = {
  get cut(): boolean {
    return cut;
  },
  set(to: boolean): void {
    cut = to;
    // What was lost on the way is lost: a cable that is plugged in again finds the old connections dead.
    if (!to) for (const socket of [...open]) socket.close();
    for (const listener of [...listeners]) listener();
  },
  subscribe(listener: () => void): () => void {
    listeners.add(listener);
    return () => listeners.delete(listener);
  },
};
