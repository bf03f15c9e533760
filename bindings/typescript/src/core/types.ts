// What the core takes and gives.

import type { WardlineError } from './errors.js';
import type { Helm } from './helm.js';

export type Status =
  | 'connecting'
  | 'connected'
  | 'reconnecting'
  | 'disconnected'
  | 'unauthenticated';

/** What the host can notice (P-C4). */
export type Signal =
  | 'online'
  | 'offline'
  | 'network'
  | 'visible'
  | 'hidden'
  | 'woke'
  | 'suspending';

export type PresenceStatus = 'online' | 'away' | 'busy' | 'offline';

/** A position in a room's log, opaque. */
export interface Cursor {
  seq: number;
  mark: string;
}

export interface Limits {
  message: number;
  rooms: number;
  depth: number;
}

/** Who the client is to the server. */
export interface Identity {
  connectionId: string;
  tenantId: string;
  userId: string;
  limits: Limits;
}

export interface PresenceInfo {
  userId: string;
  status: PresenceStatus;
  metadata?: unknown;
}

/** Fields joined by AND; an absent field passes everything (P-R10). */
export interface Clause {
  events?: string[];
  types?: string[];
  severities?: string[];
  kinds?: string[];
}

/** The part of the host's WebSocket that is used. */
export interface WebSocketLike {
  binaryType: string;
  readonly bufferedAmount: number;
  onopen: ((event: never) => void) | null;
  onmessage: ((event: never) => void) | null;
  onclose: ((event: never) => void) | null;
  onerror: ((event: never) => void) | null;
  send(data: string | Uint8Array): void;
  close(code?: number, reason?: string): void;
}

export type WebSocketConstructor = new (url: string, protocols: string) => WebSocketLike;

type Maybe<T> = T | null | undefined;

export interface Options {
  /** `ws://` or `wss://`; without a path it gets `/wardline`. */
  url: string;
  /** The namespace of rooms named without one. Default: `default`. */
  namespace?: string;
  token?: string;
  /** Asked when a token is wanted; nothing: there is none now. */
  tokenProvider?: () => Maybe<string> | Promise<Maybe<string>>;
  autoConnect?: boolean;
  autoReconnect?: boolean;
  maxAttempts?: number;
  maxItems?: number;
  maxBytes?: number;
  /** Lanes that hold one item in flight and wait after a refusal (P-S4). */
  stopLanes?: number[];
  sdk?: string;
  version?: string;
  platform?: string;
  /** Default: the host's own. */
  webSocket?: WebSocketConstructor;
  /** Default: memory, which ends with the process. */
  store?: Store | Promise<Store>;
  onEvent?: (event: ClientEvent) => void;
  /** Who drives the machine. Default: a driver of its own. */
  helm?: Helm;
  /** Listen to what the page notices: network, visibility, freeze. Default: true. */
  signals?: boolean;
}

export interface JoinOptions {
  /** Clauses joined by OR; none: everything. */
  filter?: Clause[];
  /** Where to begin without a cursor. Default: `live`. */
  from?: 'live' | 'first';
  cursor?: Cursor;
  /** Keep the position in the store under this name (P-R11). */
  durable?: string;
  metadata?: unknown;
  /** Appear in the room's presence. */
  present?: boolean;
  /** Receive the room's presence. */
  watch?: boolean;
  /** Fetches the room's state where events are lost; answers its cursor, or nothing for the head (P-R6). */
  snapshot?: (head: Cursor) => Maybe<Cursor> | Promise<Maybe<Cursor>>;
}

export interface SendOptions {
  /** 0 (most urgent) to 7. Default: 4. */
  lane?: number;
  /** Time to live in ms. Default: seven days. */
  ttl?: number;
  /** Kept by the room and replayed. Default: true. */
  persist?: boolean;
  /** Key in a `latest` room (P-R9). */
  key?: string;
  /** 32 hex digits; sent again, it is the same item. */
  id?: string;
}

/** How an item ended (P-S6). */
export type Outcome =
  | { outcome: 'accepted'; seq?: number }
  | { outcome: 'refused'; code: string; reason: string }
  | { outcome: 'expired' }
  | { outcome: 'cancelled' }
  | { outcome: 'uncertain' };

/** What comes next in a room. */
export type Incoming =
  | {
      type: 'event';
      room: string;
      event: string;
      data: unknown;
      id?: string;
      from: string;
      timestamp: number;
      /** Its position; without: ephemeral, at most once (P-R8). */
      cursor?: Cursor;
      key?: string;
      gone?: true;
    }
  | { type: 'live' }
  | { type: 'gap'; from: Cursor; to?: Cursor }
  | { type: 'presence'; change: 'everyone'; members: PresenceInfo[] }
  | { type: 'presence'; change: 'joined' | 'updated'; member: PresenceInfo }
  | { type: 'presence'; change: 'left'; userId: string }
  | { type: 'left'; code: string };

export interface OutboxItem {
  id: string;
  lane: number;
  room: string;
  event: string;
  bytes: number;
  /** `numbered`: about to be sent; `sent`: it may have been. */
  state: 'waiting' | 'numbered' | 'sent' | 'ending';
  /** ms since 1970; 0 while the store is not loaded. */
  expires: number;
}

export interface Picture {
  stream: number;
  room: string;
  codec: string;
  width: number;
  height: number;
  seq: number;
  ptsUs: number;
  /** It can be decoded by itself. */
  key: boolean;
  data: Uint8Array;
}

export interface StreamOptions {
  /** The stream's number on this connection. */
  number: number;
  codec: 'jpeg' | 'h264';
  width: number;
  height: number;
}

/** A command that waits for its answer. It comes at least once: key on the id. */
export interface ServiceCommand {
  id: string;
  event: string;
  data: unknown;
  from: string;
  answer(result: unknown): Promise<void>;
  refuse(code: string, message: string): Promise<void>;
}

/** What concerns the whole client. */
export type ClientEvent =
  | {
      type: 'status';
      status: Status;
      code: number;
      reason: string;
      /** ms to the next attempt. */
      retryIn?: number;
      attempt: number;
    }
  | ({ type: 'established' } & Identity)
  | { type: 'restart'; reason: string; reconnectIn: number }
  | { type: 'settled'; id: string; outcome: Outcome }
  | { type: 'result'; id: string; result?: unknown; error?: WardlineError }
  | { type: 'acceptedLost'; lane: number; from: number; to: number }
  | { type: 'error'; code: string; reason: string }
  | ({ type: 'volatile' } & Volatile)
  | ({ type: 'sharing' } & Sharing);

/** Whether the tabs of one user share a connection, and which part this one has. */
export interface Sharing {
  /** `off`: not asked for; `alone`: asked for, and it cannot be; `rider`: another tab, or none yet, owns socket and outbox. */
  state: 'off' | 'alone' | 'owner' | 'rider';
  /** Why it is `alone`. */
  reason?: string;
}

/** Why what is queued is lost with the process: that was asked for, another tab holds the store, or it cannot be opened. */
export interface Volatile {
  reason: 'asked' | 'held' | 'blocked';
  message: string;
}

/** Writes on the entries of a store. */
export interface StoreBatch {
  /** The generation of the lock that must still stand. */
  lock?: number;
  /** Fails the batch where one of these keys exists, or comes twice. */
  add: [key: string, value: string][];
  put: [key: string, value: string][];
  remove: string[];
}

/** A transactional list of text entries. The core keeps the rules, the store keeps the entries. */
export interface Store {
  /** Whether what was committed outlives the process. */
  readonly durable: boolean;
  /** Why it is not durable, where that was not asked for, and words on it. */
  readonly why?: [reason: 'held' | 'blocked', message: string];
  /** Takes the lock (its generation + 1) and reads everything, in one transaction. */
  load(): Promise<{ lock: number; entries: [key: string, value: string][] }>;
  /**
   * Writes batches in order, each all or nothing, durable when it resolves. One answer per batch:
   * null, `lost` (the lock is another's), or words on what failed.
   */
  commit(batches: StoreBatch[]): Promise<(string | null)[]>;
  close?(): void | Promise<void>;
}
