import type { Clause, Cursor } from './core/index.js';

export type { Clause };

/** Answers a token; asked again when the one before expires. Nothing: there is none now. */
export type TokenProvider = () => string | null | undefined | Promise<string | null | undefined>;

/** Options of a client. */
export interface ClientOptions {
  /** `ws://` or `wss://`; without a path it gets `/wardline`. */
  url: string;
  /** The namespace of rooms named without one. Default: `default`, with the tenant's alerts and dispatch events. */
  namespace?: string | undefined;
  /** A token, or who answers one. */
  token?: string | TokenProvider | undefined;
  /** The tenant this client means: connecting with a token of another fails with `forbidden`. */
  tenantId?: string | undefined;
  /** Join the rooms of the tenant (and, without a namespace, of the user and organization) on connecting. Default: true. */
  autoJoin?: boolean | undefined;
  /** Connect without a call. Default: false. */
  autoConnect?: boolean | undefined;
  /** Reconnect after a loss. Default: true. */
  autoReconnect?: boolean | undefined;
  /** Attempts before giving up. Default: for ever. */
  maxAttempts?: number | undefined;
  /** Probes the link every so many ms, besides what the protocol does by itself. Default: off. */
  heartbeat?: { interval: number } | undefined;
  /** What the outbox holds at most. Defaults: 100,000 items, 256 MiB. */
  limits?: { items?: number; bytes?: number } | undefined;
  /**
   * Where what is sent waits, so that it outlives this process: in browsers the name of a database (default `wardline`), in Node
   * the path of a file (default: none). `false`: in memory only.
   */
  outbox?: string | false | undefined;
  /**
   * Browsers: the tabs of this origin that use the same `url` as the same user share one connection and one outbox. `true`: the user is
   * whom the token names; a text: whoever gives the same text. Where it cannot be, each tab has a connection of its own, and the event
   * `sharing` says why. Default: false.
   */
  share?: boolean | string | undefined;
  /** Lanes that hold one item in flight and wait after a refusal. */
  stopLanes?: number[] | undefined;
}

/** How to send. */
export interface SendOptions {
  /** The room; absent: the tenant's own in the client's namespace. */
  room?: string | undefined;
  /** Kept by the room and replayed to who missed it. Default: true. */
  persistent?: boolean | undefined;
  /** 0 (most urgent) to 7; order is kept within a lane. Default: 4. */
  lane?: number | undefined;
  /** How long it may wait, in ms. Default: seven days. */
  ttl?: number | undefined;
  /** Its key in a room that keeps the latest value of each key. */
  key?: string | undefined;
  /** Its id, where the application has one of its own: sent again, it is the same item. 32 hex digits. */
  id?: string | undefined;
}

/** How to join a room. */
export interface JoinOptions {
  /** Clauses joined by OR; what a clause leaves out passes everything. */
  filter?: Clause | Clause[] | undefined;
  /** `first`: begin at the first event the server still holds. Default: `live`. */
  from?: 'live' | 'first' | undefined;
  /** Go on behind a cursor the application stored. */
  cursor?: Cursor | undefined;
  /** Keep the position in the client's store under this name: the next process goes on there. */
  durable?: string | undefined;
  /** Shown in the room's presence; at most 4 KiB. */
  metadata?: unknown;
  /** Appear in the room's presence. */
  present?: boolean | undefined;
  /** Receive the room's presence. */
  watch?: boolean | undefined;
  /** Fetches the room's state where events are lost; answers the cursor of what it fetched, or nothing for the head. */
  snapshot?: ((head: Cursor) => Cursor | null | undefined | Promise<Cursor | null | undefined>) | undefined;
}
