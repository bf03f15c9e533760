// One transport, as the machine knows it.

import type { WebSocketConstructor, WebSocketLike } from './types.js';

const SUBPROTOCOL = 'wardline.v1.json';
const DIAL_WITHIN = 20_000;
const CLOSE_WITHIN = 3_000;
/** How often the unsent bytes are looked at while there are any: hosts tell no change. */
const LOOK = 20;
/** RFC 6455 gives a close reason 123 bytes. */
const REASON_BYTES = 123;

/** What a transport reports. */
export interface Reports {
  opened(): void;
  text(text: string): void;
  binary(bytes: Uint8Array): void;
  unsent(bytes: number): void;
  closed(code: number, reason: string): void;
  failed(reason: string): void;
}

/** A transport. After `close` or its end it reports nothing more. */
export class Link {
  readonly #socket: WebSocketLike;
  #reports: Reports | undefined;
  #open = false;
  #limit: ReturnType<typeof setTimeout> | undefined;
  #look: ReturnType<typeof setTimeout> | undefined;
  #unsent = -1;
  #ended: (() => void) | undefined;

  /** Begins to open it. Throws where the host refuses the url. */
  constructor(make: WebSocketConstructor, url: string, reports: Reports) {
    const socket = new make(url, SUBPROTOCOL);
    this.#socket = socket;
    this.#reports = reports;
    socket.binaryType = 'arraybuffer';
    this.#limit = setTimeout(() => {
      const waiting = this.#reports;
      this.drop();
      waiting?.failed('no answer within 20 s');
    }, DIAL_WITHIN);
    socket.onopen = () => {
      clearTimeout(this.#limit);
      this.#open = true;
      this.#reports?.opened();
    };
    socket.onmessage = ({ data }: { data: string | ArrayBuffer }) => {
      if (this.#look !== undefined) this.#tellUnsent();
      if (typeof data === 'string') this.#reports?.text(data);
      else this.#reports?.binary(new Uint8Array(data));
    };
    // A close follows each error.
    socket.onerror = () => {};
    socket.onclose = ({ code, reason }: { code: number; reason: string }) => {
      const reports = this.#reports;
      this.#end();
      if (this.#open) reports?.closed(code, reason);
      else reports?.failed(reason || 'the connection was refused or cut');
    };
  }

  /** Whether it was opened. */
  get open(): boolean {
    return this.#open;
  }

  /** Writes; what is queued counts as unsent. */
  send(data: string | Uint8Array): void {
    try {
      this.#socket.send(data);
    } catch {
      // A socket that closes tells so; what was written to it is lost with it.
    }
    this.#unsent = -1;
    this.#look ??= setTimeout(() => this.#tellUnsent());
  }

  /** Closes in order; resolves when that has ended, or soon. */
  close(code: number, reason: string): Promise<void> {
    this.#reports = undefined;
    return new Promise(done => {
      this.#ended = done;
      this.#limit = setTimeout(() => this.drop(), CLOSE_WITHIN);
      let text = reason;
      while (new TextEncoder().encode(text).length > REASON_BYTES) text = text.slice(0, -1);
      try {
        this.#socket.close(code === 1000 || (code >= 3000 && code < 5000) ? code : 4000, text);
      } catch {
        this.drop();
      }
    });
  }

  /** Ends it without waiting. */
  drop(): void {
    this.#end();
    try {
      this.#socket.close();
    } catch {
      // It was never opened.
    }
  }

  #end(): void {
    clearTimeout(this.#limit);
    clearTimeout(this.#look);
    this.#reports = undefined;
    this.#ended?.();
  }

  #tellUnsent(): void {
    clearTimeout(this.#look);
    const now = this.#socket.bufferedAmount;
    this.#look = now > 0 ? setTimeout(() => this.#tellUnsent(), LOOK) : undefined;
    if (now !== this.#unsent) {
      this.#unsent = now;
      this.#reports?.unsent(now);
    }
  }
}
