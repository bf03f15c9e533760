import type { Cursor, Incoming, Room as CoreRoom } from './core/index.js';
import type { Receipt } from './client.js';
import type { Message, MessageOf, PresenceInfo } from './events.js';
import type { SendOptions } from './options.js';
import { asyncDispose } from './symbols.js';

/** What a room needs of its client. */
export interface RoomHost {
  emit(event: string, data: unknown): void;
  message(next: Incoming & { type: 'event' }): Message;
  send(event: string, data: unknown, options: SendOptions): Promise<Receipt>;
  cast(event: string, data: unknown): Promise<void>;
  presence(): Promise<PresenceInfo[]>;
}

/**
 * A room that is read by `for await`. Messages with a cursor come once each, in order, none missing but behind a gap, which the client
 * tells as `gap` before anything newer.
 */
export class Room<Events> {
  readonly #room: CoreRoom;
  readonly #host: RoomHost;

  constructor(
    /** The room's name, as it was joined. */
    readonly name: string,
    room: CoreRoom,
    host: RoomHost,
  ) {
    this.#room = room;
    this.#host = host;
  }

  /** Behind the last message that is done. */
  get cursor(): Cursor | null {
    return this.#room.cursor;
  }

  /** Takes all messages that are there, and waits for the first; empty when the room was left. Says that those before are done. */
  async next(max?: number): Promise<MessageOf<Events>[]> {
    for (;;) {
      const batch = await this.#room.next(max);
      if (batch.length === 0) return [];
      const messages: MessageOf<Events>[] = [];
      for (const next of batch) {
        if (next.type === 'event') messages.push(this.#host.message(next) as MessageOf<Events>);
        else if (next.type === 'gap') this.#host.emit('gap', { room: this.name, from: next.from, ...(next.to ? { to: next.to } : {}) });
        else if (next.type === 'live') this.#host.emit('live', { room: this.name });
        else if (next.type === 'left') this.#host.emit('room:left', { room: this.name, code: next.code });
      }
      if (messages.length > 0) return messages;
    }
  }

  /** Sends an event to this room. */
  send(event: string, data?: unknown, options: Omit<SendOptions, 'room'> = {}): Promise<Receipt> {
    return this.#host.send(event, data, options);
  }

  /** Sends an ephemeral event: at most once, to who is there now. */
  cast(event: string, data?: unknown): Promise<void> {
    return this.#host.cast(event, data);
  }

  /** Who is here now. */
  presence(): Promise<PresenceInfo[]> {
    return this.#host.presence();
  }

  /** Leaves; a pending read ends. */
  leave(): Promise<void> {
    return this.#room.leave();
  }

  /** One message at a time; the one before is done when the next is taken. Leaving the loop leaves the room. */
  async *[Symbol.asyncIterator](): AsyncGenerator<MessageOf<Events>, void, undefined> {
    try {
      for (;;) {
        const [message] = await this.next(1);
        if (!message) return;
        yield message;
      }
    } finally {
      await this.leave();
    }
  }

  [asyncDispose](): Promise<void> {
    return this.leave();
  }
}
