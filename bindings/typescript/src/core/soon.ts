// A task of its own behind those that wait now; unlike a timer not held back in a hidden page.

const works: (() => void)[] = [];
let channel: MessageChannel | undefined;

/** Does some work soon. */
export function soon(work: () => void): void {
  const { setImmediate } = globalThis as { setImmediate?: (work: () => void) => void };
  // In Node an open channel would keep the process alive.
  if (setImmediate) return setImmediate(work);
  if (!channel) {
    channel = new MessageChannel();
    channel.port1.onmessage = () => works.shift()?.();
  }
  works.push(work);
  channel.port2.postMessage(null);
}
