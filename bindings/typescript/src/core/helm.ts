// What the handles need of whoever drives the machine: a driver in this tab, or a seat at another's.

import type { ClientEvent, Cursor, Identity, Outcome, Picture, Status } from './types.js';

/** What a subscription hears of. */
export interface Listener {
  ready(): void;
  wanted(head: Cursor): void;
  picture(): void;
  ended(): void;
}

/** An item that is queued: when it is stored, its end, and its result where it is a command. */
export interface Submitted {
  queued: Promise<void>;
  outcome: Promise<Outcome>;
  result: Promise<unknown>;
}

export interface Helm {
  onEvent: ((event: ClientEvent) => void) | undefined;
  readonly identity: Identity | null;
  readonly volatile: boolean;
  readonly status: Status;
  readonly retryAt: number | null;
  readonly attempt: number;
  readonly ended: boolean;
  readonly listeners: Map<number, Listener>;
  readonly publishers: Map<number, (viewers: number) => void>;
  /** Draws the number of a call or subscription. */
  number(): number;
  /** Tells the machine. */
  tell(input: object): void;
  /** Calls the machine; gives its answer. `last`: behind the end of the transport. */
  call<T>(c: string, fields?: object, last?: boolean): Promise<T>;
  /** Queues an item. */
  submit(fields: { id: string; command?: boolean; data?: unknown }): Submitted;
  /** Takes what waits for a subscription, and says that what was taken before is done. */
  take<T>(sub: number, max: number): T[];
  /** Takes the newest picture of a subscription. */
  picture(sub: number): Picture | null;
  /** Sends a picture of a stream. */
  push(stream: number, h264: boolean, key: boolean, seq: number, ptsUs: number, data: Uint8Array): void;
  /** What is not settled. */
  outbox<T>(): T[];
  /** Waits for the first welcome. */
  identified(): Promise<Identity>;
  /** Ends: whoever waits is answered `closed`. */
  end(): Promise<void>;
}
