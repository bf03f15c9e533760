// What tabs say to each other. Types only, and the line they say it on.
//
// Every tab has a seat, one tab a desk. The hall is the channel of all tabs; a seat and the desk have a line of their own, so that no
// tab reads what is another's. The version is part of every name: tabs of another version do not meet.

import type { Driver, WardlineError } from '../core/index.js';
import type { ErrorKind } from '../core/errors.js';
import type { ClientEvent, Cursor, Identity, Options, Outcome, Picture, Store } from '../core/types.js';

export const VERSION = 1;

export interface Failure {
  code: string;
  reason: string;
  kind: ErrorKind;
}

export type StatusEvent = Extract<ClientEvent, { type: 'status' }>;

/** What sharing needs of the package, which it does not import: so it is a file of its own, loaded by who shares. */
export interface Kit {
  /** Of server, user and outbox: tabs that agree on it share. */
  name: string;
  options: Options;
  open(database: string): Promise<Store>;
  drive(options: Options): Driver;
  fail(code: string, reason: string, kind?: ErrorKind): WardlineError;
}

/** What the hall hears. */
export type Call =
  | ['owner', term: number]
  /** Someone is about to own. */
  | ['electing']
  | ['hello', tab: string, visit: number, tokenless: boolean];

/** A seat's words to the desk. */
export type ToDesk =
  | { c: 'tick' | 'bye' }
  | { c: 'hidden'; on: boolean }
  | { c: 'call'; n: number; k: string; f: object | undefined }
  | { c: 'connect' | 'disconnect'; n: number }
  | { c: 'presence'; n: number; f: object | undefined; at: number }
  /** `again`: the owner before may have stored it. */
  | { c: 'submit'; id: string; text: string; command: boolean; again: boolean }
  /** It is stored; `over`: its end is known, its result is not. */
  | { c: 'follow'; id: string; command: boolean; over: boolean }
  | { c: 'ack'; id: string }
  | { c: 'join'; sub: number; f: JoinFields; look: boolean }
  | { c: 'leave'; n: number; sub: number; seq: number | undefined }
  /** Done up to `seq`; `all`: the batch `k`, whose last event was `at`. */
  | { c: 'done'; sub: number; k: number; seq: number | undefined; at: Cursor | undefined; all: boolean }
  | { c: 'snapshot'; sub: number; cursor?: Cursor | undefined; error?: string | undefined }
  | { c: 'seen'; sub: number; f: object }
  | { c: 'token'; token: string }
  | { c: 'tell'; f: object }
  | { c: 'stream'; n: number; stream: number; f: object; end: boolean }
  | { c: 'push'; stream: number; h264: boolean; key: boolean; seq: number; ptsUs: number; data: Uint8Array };

export interface JoinFields {
  room: string;
  cursor?: Cursor | undefined;
  durable?: string;
  hook: boolean;
}

/** How things stand, for a seat that comes. */
export interface State {
  status: StatusEvent | undefined;
  identity: Identity | null;
  volatile: ClientEvent | undefined;
}

/** The desk's words to a seat. */
export type ToSeat =
  | { c: 'owner'; visit: number; state: State }
  | { c: 'tock' | 'gone' }
  | { c: 'ok'; n: number; v: unknown }
  | { c: 'no'; n: number; e: Failure }
  | { c: 'stored'; id: string }
  | { c: 'unstored'; id: string; e: Failure }
  | { c: 'settled'; id: string; o: Outcome }
  | { c: 'result'; id: string; v?: unknown; e?: Failure | undefined }
  | { c: 'joined'; sub: number; at: Cursor }
  | { c: 'refused'; sub: number; e: Failure }
  | { c: 'take'; sub: number; k: number; text: string }
  | { c: 'wanted'; sub: number; head: Cursor }
  | { c: 'picture'; sub: number; p: Picture }
  | { c: 'viewers'; stream: number; n: number }
  | { c: 'event'; e: ClientEvent };

/** One direction to one peer. What is said in one turn travels together. */
export interface Line<Message> {
  say(message: Message): void;
  /** Says now what waits. */
  flush(): void;
}

/** Words that travel together at most. */
const TOGETHER = 64;

export function line<Message>(send: (words: Message[]) => void): Line<Message> {
  let waiting: Message[] = [];
  const flush = (): void => {
    if (waiting.length === 0) return;
    const words = waiting;
    waiting = [];
    send(words);
  };
  return {
    say(message) {
      const size = waiting.push(message);
      if (size === 1) queueMicrotask(flush);
      else if (size >= TOGETHER) flush();
    },
    flush,
  };
}

/** Reads what came on a channel; what is of no known form is nothing. */
export function words<Message>(data: unknown): [term: number, words: Message[]] | undefined {
  const [term, list] = Array.isArray(data) ? (data as unknown[]) : [];
  return typeof term === 'number' && Array.isArray(list) ? [term, list as Message[]] : undefined;
}

export function failure(error: unknown): Failure {
  const { code = 'internal', message = String(error), kind = 'invalid' } = error as Partial<WardlineError>;
  return { code, reason: message, kind };
}

export type { Driver };
