export type WasmSource = string|URL|Response|BufferSource|WebAssembly.Module|Promise<unknown>;
export type WebSocketConstructor = new (url: string, protocols?: string|string[]) => WebSocket;
export type Status = 'connecting' | 'connected' | 'reconnecting' | 'disconnected' | 'unauthenticated';
export type Signal = string; export interface Identity {connectionId:string;tenantId:string;userId:string;limits:{message:number;rooms:number;depth:number}}
export interface Cursor {seq:number;mark:string} export interface Clause {events?:string[];types?:string[];severities?:string[];kinds?:string[]}
export interface Outcome {outcome: 'accepted'|'refused'|'expired'|'cancelled'|'uncertain'; seq?:number; code?:string; reason?:string}
import type {PresenceInfo} from '../generated/types.js'; type PresenceStatus = PresenceInfo['status'];



/** Loads the wasm once (idempotent). Source: bytes, Response, Module, URL, or a promise of one. You decide per entry
 *  (browser: `new URL('./wardline_wasm_bg.wasm', import.meta.url)`; node: bytes from the file). Must be awaited before `new Client`. */
export declare function load(source: WasmSource | (() => WasmSource | Promise<WasmSource>)): Promise<void>;
export declare function isLoaded(): boolean;

export interface Options {
  url: string;                       // ws:// or wss://; no path → /wardline
  namespace?: string;                // 'default'
  token?: string;
  tokenProvider?: () => string | null | undefined | Promise<string | null | undefined>;
  autoConnect?: boolean;             // false
  autoReconnect?: boolean;           // true
  maxAttempts?: number;
  maxItems?: number; maxBytes?: number;
  stopLanes?: number[];
  sdk?: string; version?: string; platform?: string;   // what `hello` says
  webSocket?: WebSocketConstructor;  // default globalThis.WebSocket
  store?: Store;                     // default memoryStore(): volatile
  onEvent?: (event: ClientEvent) => void;              // synchronous, in order; also settable: client.onEvent = …
  signals?: boolean;                 // true: listen to online/offline/visibilitychange/pagehide/freeze/resume where they exist
}

export declare class Client {
  constructor(options: Options);     // throws WardlineError (bad_config, bad_room)
  readonly status: Status;           // 'connecting' | 'connected' | 'reconnecting' | 'disconnected' | 'unauthenticated'
  readonly identity: Identity | null; // {connectionId, tenantId, userId, limits: {message, rooms, depth}}
  readonly volatile: boolean;        // the outbox does not outlive the process
  readonly retryAt: number | null;   // while reconnecting: performance.now() of the next attempt; `attempt` its number
  readonly attempt: number;
  connect(): Promise<void>;          // idempotent; rejects only where it is no use to try on
  disconnect(): Promise<void>;       // flushes what was submitted before, then closes
  close(): Promise<void>;            // disconnect, release store, lock and listeners; everything pending ends `closed`; idempotent
  setToken(token: string): void;
  signal(signal: Signal): void;      // 'online'|'offline'|'network'|'visible'|'hidden'|'woke'|'suspending'
  poke(): void;                      // another tab wrote into the store
  identified(): Promise<Identity>;   // waits for the first welcome
  join(room: string, options?: JoinOptions): Promise<Room>;        // waits for the server's answer
  open(room: string, options?: JoinOptions): Room;                 // does not wait; a refusal is read as {type:'left'}
  send(room: string, event: string, data: unknown, options?: SendOptions): Promise<Sending>;  // resolves once stored
  cast(room: string, event: string, data: unknown): Promise<void>; // ephemeral
  command(namespace: string, event: string, data: unknown): Promise<unknown>;  // waits for its result
  query(method: string, params?: unknown): Promise<unknown>;
  queryRooms(): Promise<string[]>;   // as they were joined
  queryPresence(room: string): Promise<PresenceInfo[]>;
  setPresence(status?: PresenceStatus, metadata?: unknown): Promise<void>;
  cancel(id: string): Promise<Outcome>;
  resume(lane: number): Promise<void>;
  outbox(): OutboxItem[];            // what is not settled, in order
  watch(room: string): Promise<PictureStream>;     // a room whose pictures are wanted, e.g. 'video/camera:7'
  publish(room: string, stream: {number: number; codec: 'jpeg' | 'h264'; width: number; height: number}): Promise<Publisher>;
  handleCommands(namespace: string): Promise<CommandStream>;       // role `service`
}

export interface JoinOptions {
  filter?: Clause[];                 // {events?, types?, severities?, kinds?}[] joined by OR
  from?: 'live' | 'first'; cursor?: Cursor; durable?: string;
  metadata?: unknown; present?: boolean; watch?: boolean;
  snapshot?: (head: Cursor) => Cursor | null | undefined | Promise<Cursor | null | undefined>;  // P-R6
}
export interface SendOptions { lane?: number; ttl?: number; persist?: boolean; key?: string; id?: string }

export declare class Room {                  // pull: taking the next batch says the one before is done (P-R11)
  readonly name: string; readonly address: string; readonly cursor: Cursor | null;
  joined(): Promise<void>;
  next(max?: number): Promise<Incoming[]>;   // all that is there, at most max (default 256); [] = left or client closed
  done(): void;                              // what was taken is done, without taking more
  leave(): Promise<void>;                    // pending pulls give []
  [Symbol.asyncIterator](): AsyncIterator<Incoming>;
}
export type Incoming =
  | { type: 'event'; room: string; event: string; data: unknown; id?: string; from: string; timestamp: number;
      cursor?: Cursor; key?: string; gone?: true }          // without cursor: ephemeral
  | { type: 'live' } | { type: 'gap'; from: Cursor; to?: Cursor }
  | { type: 'presence'; change: 'everyone'; members: PresenceInfo[] }
  | { type: 'presence'; change: 'joined' | 'updated'; member: PresenceInfo }
  | { type: 'presence'; change: 'left'; userId: string }
  | { type: 'left'; code: string };

export declare class Sending {
  readonly id: string;
  outcome(): Promise<Outcome>;       // {outcome: 'accepted'|'refused'|'expired'|'cancelled'|'uncertain', seq?, code?, reason?}
  accepted(): Promise<number | undefined>;   // rejects with every other end
  cancel(): Promise<Outcome>;
}
export interface OutboxItem { id: string; lane: number; room: string; event: string; bytes: number;
  state: 'waiting' | 'numbered' | 'sent' | 'ending'; expires: number }

export declare class PictureStream { next(): Promise<Picture | null>; readonly room: Room; leave(): Promise<void>; [Symbol.asyncIterator](): AsyncIterator<any> }
export interface Picture { stream: number; room: string; codec: string; width: number; height: number; seq: number; ptsUs: number;
  key: boolean; data: Uint8Array }   // next() answers `seen` for the picture: ask for the next when this one is drawn
export declare class Publisher { push(picture: Uint8Array, ptsUs: number, key: boolean): number; readonly viewers: number;
  onViewers?: (viewers: number) => void; end(): void }
export declare class CommandStream { next(): Promise<ServiceCommand | null>; leave(): Promise<void>; [Symbol.asyncIterator](): AsyncIterator<any> }
export interface ServiceCommand { id: string; event: string; data: unknown; from: string; answer(result: unknown): Promise<void>;
  refuse(code: string, message: string): Promise<void> }

export type ClientEvent =
  | { type: 'status'; status: Status; code: number; reason: string; retryIn?: number; attempt: number }
  | ({ type: 'established' } & Identity)
  | { type: 'restart'; reason: string; reconnectIn: number }
  | { type: 'settled'; id: string; outcome: Outcome }   // ends no Sending waits for
  | { type: 'result'; id: string; result?: unknown; error?: { code: string; message: string } }  // results nobody waits for
  | { type: 'acceptedLost'; lane: number; from: number; to: number }
  | { type: 'error'; code: string; reason: string }
  | { type: 'volatile' };

export declare class WardlineError extends Error { constructor(code: string, reason: string); code: string; retryable: boolean; kind: 'invalid'|'refused'|'later'|'unauthenticated'|'uncertain'|'closed' }

/** A transactional list of text entries: the core keeps all rules. Entries: key → value, both text. */
export interface Store {
  readonly durable: boolean;
  /** Takes the lock (generation + 1) and reads everything, in one transaction. */
  load(): Promise<{ lock: number; entries: [key: string, value: string][] }>;
  /** Batches in order, each all or nothing, durable together when it resolves. One answer per batch: null (written), 'lost' (lock given and not
   *  the current generation), or the words of the failure. `add` fails the batch where a key exists; then `put`; then `remove`. */
  commit(batches: StoreBatch[]): Promise<(string | null)[]>;
  close?(): void | Promise<void>;
}
export interface StoreBatch { lock?: number; add: [string, string][]; put: [string, string][]; remove: string[] }
export declare function memoryStore(): Store;
/** IndexedDB with strict durability under a Web Lock; where either is missing, blocked or held by another tab for > `wait` ms
 *  (default 1000): memoryStore(), so the client says `volatile`. */
export declare function browserStore(name: string, options?: { wait?: number }): Promise<Store>;
