// The events of each namespace by name. Their data comes from the Rust model; nothing of it is written here again.
import type {
  Alert as ModelAlert, AlertEvent, Analytics, Camera, DispatchEvent, MonitoringEvent, Metrics, Motion, NotificationEvent,
  PresenceInfo, Recording, SecurityEvent, ServiceStatus, StreamInfo, Threshold, VideoEvent,
} from './generated/types.js';
import type { Cursor, Sharing, Volatile, WardlineError } from './core/index.js';

export type { Cursor, Sharing, Volatile };

/** Turns `{event: "a"; data: A} | {event: "b"; data: B} | {event: string; data: unknown}` into `{a: A; b: B}`. */
export type ByName<Union extends { event: string; data: unknown }> = {
  [Member in Union as string extends Member['event'] ? never : Member['event']]: Member['data'];
};


/** An event of a room: who sent it, where, and what it carries. */
export interface Message<Name extends string = string, Data = unknown> {
  /** The event's name, in its canonical spelling. */
  readonly event: Name;
  readonly data: Data;
  /** The room, as it was joined. */
  readonly room: string;
  /** The key under which effects outside the log are made once; absent for ephemeral events of the server. */
  readonly id?: string;
  /** The sender's user id; empty for the server's own. */
  readonly from: string;
  /** The server's time, ms since 1970. Orders nothing. */
  readonly timestamp: number;
  /** Absent for ephemeral events: those come at most once. */
  readonly cursor?: Cursor;
  /** The key in a room that keeps the latest value of each key. */
  readonly key?: string;
  /** The key has no value any more. */
  readonly gone?: boolean;
}

/**
 * The messages of an event map: one type for each known name, so that comparing `event` narrows `data`. An event that is not in the map
 * arrives as it came; name your own events by `new WebSocketClient<Events>(…)`, or read any as `Message`.
 */
export type MessageOf<Events> = { [Name in keyof Events & string]: Message<Name, Events[Name]> }[keyof Events & string];

/** Where the connection stands. */
export type Status = 'connecting' | 'connected' | 'reconnecting' | 'disconnected' | 'unauthenticated';
export type {
  Analytics, Camera, Metrics, Motion, PresenceInfo, Recording, SecurityEvent, ServiceStatus, StreamInfo, Threshold,
};
export type PresenceStatus = PresenceInfo['status'];

/** A message sent with `sendMessage`. */
export interface RoomMessage<Payload = unknown> {
  id: string;
  room: string;
  /** The sender's user id. */
  from: string;
  payload: Payload;
  /** ms since 1970. */
  timestamp: number;
}

/** How a sent item stands. */
export type ItemState = 'queued' | 'accepted' | 'refused' | 'expired' | 'cancelled' | 'uncertain';

/** One item of the outbox. */
export interface OutboxItem {
  readonly id: string;
  readonly room: string;
  readonly event: string;
  readonly state: ItemState;
  /** When it was submitted, ms since 1970; absent for items of an earlier process. */
  readonly queuedAt?: number;
  /** When it ended. */
  readonly endedAt?: number;
  /** Its number in the room's log, once accepted and where it is kept. */
  readonly seq?: number;
  readonly code?: string;
  readonly reason?: string;
}

/** Why the connection stands where it stands. */
export interface StatusDetail {
  status: Status;
  /** The code of the last close, 0 for none. */
  code: number;
  reason: string;
  /** While reconnecting: ms to the next attempt, counted from `since`. */
  retryIn?: number | undefined;
  /** The number of the attempt. */
  attempt: number;
  /** When it came to stand so, ms since 1970. */
  since: number;
}

/** What every client tells besides the events of its rooms. */
export interface SystemEvents {
  'status:change': Status;
  /** Every change, the next attempt's time included. */
  'status:detail': StatusDetail;
  'connection:established': { connectionId: string; tenantId: string; userId: string };
  'room:joined': { room: string; metadata?: unknown };
  'room:left': { room: string; code?: string };
  'room:message': RoomMessage;
  'presence:update': { room: string; presence: PresenceInfo[] };
  'presence:join': { room: string; user: PresenceInfo };
  'presence:leave': { room: string; userId: string };
  'system:restart': { reason: string; reconnectIn: number };
  'system:error': { code: string; message: string };
  /** Events of a room are lost to retention or a fail-over. Comes before anything newer. */
  gap: { room: string; from: Cursor; to?: Cursor };
  /** Everything kept so far was handed over. */
  live: { room: string };
  /** An item of the outbox changed. */
  outbox: OutboxItem;
  /** What is queued is lost with this process. Where the store is `blocked`, an `error` with code `storage` says so too. */
  volatile: Volatile;
  /** Whether this tab shares a connection, and which part it has; for those that asked for it. */
  sharing: Sharing;
  error: WardlineError;
}

type Both<Namespace extends string, Events> = Events & {
  [Name in keyof Events & string as `${Namespace}:${Name}`]: Events[Name];
};

/** Events of namespace `video`. */
export interface VideoEvents extends ByName<VideoEvent> {}
export declare namespace VideoEvents {
  export type StreamStarted = StreamInfo;
  export type StreamReady = StreamInfo;
  export type StreamStopped = StreamInfo;
  export type RecordingStarted = Recording;
  export type RecordingStopped = Recording;
  export type MotionDetected = Motion;
  export type AnalyticsResult = Analytics;
  export type CameraStatus = Camera;
}

/** An alert as it stands. Where the sender left something out, it is handed over with its default. */
export type Alert = ModelAlert & Required<Pick<ModelAlert, 'type' | 'severity' | 'status' | 'title'>>;

type OfAlerts = { [Name in keyof ByName<AlertEvent>]: Alert };

/** Events of namespace `alerts`. */
export interface AlertEvents extends OfAlerts {}
export declare namespace AlertEvents {
  export type Created = Alert;
  export type Updated = Alert;
  export type Acknowledged = Alert;
  export type Resolved = Alert;
}

/** Events of namespace `monitoring`. */
export interface MonitoringEvents extends ByName<MonitoringEvent> {}
export declare namespace MonitoringEvents {
  export type MetricsUpdate = Metrics;
  export type ServiceState = ServiceStatus;
  export type ThresholdBreached = Threshold;
  export type Security = SecurityEvent;
}

/** Events of namespace `dispatch`. */
export interface DispatchEvents extends Omit<ByName<DispatchEvent>, 'alert_created' | 'alert_acknowledged'> {
  alert_created: Alert;
  alert_acknowledged: Alert;
}
/** Notifications of a user. */
export interface NotificationEvents extends ByName<NotificationEvent> {}

/** What a client without a namespace hears: alerts, dispatch and notifications. */
export interface DefaultEvents extends AlertEvents, DispatchEvents, NotificationEvents {}

/** What a listener of a client can name. */
export type Listenable<Events> = SystemEvents &
  Both<'video' | 'alerts' | 'monitoring' | 'dispatch', Events> & { message: MessageOf<Events> };
