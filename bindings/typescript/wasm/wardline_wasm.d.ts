/* tslint:disable */
/* eslint-disable */

export type AlertId = string;
export type CameraId = string;
export type DispatchId = string;
export type RecordingId = string;
export type UserId = string;


/**
 * A camera.
 */
export interface Camera {
    /**
     * Its name in rooms and commands.
     */
    id: CameraId;
    /**
     * Its name for people.
     */
    name?: string;
    /**
     * Where it hangs.
     */
    location?: string;
    /**
     * Whether it gives pictures now.
     */
    online?: boolean;
}

/**
 * A notification.
 */
export interface Notification {
    /**
     * Its name, where it has one.
     */
    id?: string;
    /**
     * What kind; `subscribe_to_notifications(types)` filters by it.
     */
    type?: string;
    /**
     * One line for people.
     */
    title?: string;
    /**
     * More words.
     */
    body?: string;
    /**
     * How grave.
     */
    severity?: Severity;
    /**
     * The application's own data.
     */
    data?: unknown;
    /**
     * ms since 1970.
     */
    timestamp?: number;
}

/**
 * A part of a picture, as shares of its width and height from the upper left corner.
 */
export interface Region {
    /**
     * Left edge, 0–1.
     */
    x: number;
    /**
     * Upper edge, 0–1.
     */
    y: number;
    /**
     * Width, 0–1.
     */
    width: number;
    /**
     * Height, 0–1.
     */
    height: number;
}

/**
 * A place on earth.
 */
export interface Place {
    /**
     * Degrees north.
     */
    latitude: number;
    /**
     * Degrees east.
     */
    longitude: number;
}

/**
 * A radio transmission.
 */
export interface Transmission {
    /**
     * Its name.
     */
    id: DispatchId;
    /**
     * The radio channel.
     */
    channelId?: DispatchId;
    /**
     * The incident it belongs to.
     */
    incidentId?: DispatchId;
    /**
     * The asset that spoke.
     */
    assetId?: DispatchId;
    /**
     * Seconds, once completed.
     */
    duration?: number;
    /**
     * What it was marked with.
     */
    tags?: string[];
    /**
     * Where the sound is.
     */
    audioUrl?: string;
    /**
     * ms since 1970.
     */
    timestamp?: number;
}

/**
 * A recording that started or stopped.
 */
export interface Recording {
    /**
     * Its name.
     */
    recordingId: RecordingId;
    /**
     * The camera.
     */
    cameraId: CameraId;
    /**
     * Seconds: asked for at the start, measured at the end.
     */
    duration?: number;
    /**
     * Where the file is.
     */
    url?: string;
    /**
     * Bytes of the file.
     */
    size?: number;
    /**
     * Pictures in it.
     */
    frames?: number;
    /**
     * ms since 1970.
     */
    timestamp?: number;
}

/**
 * A security event and what the analysis made of it: both are the application's own.
 */
export interface SecurityEvent {
    /**
     * What happened.
     */
    event: unknown;
    /**
     * What it means.
     */
    analysis?: unknown;
}

/**
 * A service and how it is.
 */
export interface ServiceStatus {
    /**
     * The service.
     */
    service: string;
    /**
     * How it is.
     */
    status?: Health;
    /**
     * Words for people.
     */
    detail?: string;
    /**
     * ms since 1970.
     */
    timestamp?: number;
}

/**
 * A stream that started, is ready or stopped.
 */
export interface StreamInfo {
    /**
     * The camera.
     */
    cameraId: CameraId;
    /**
     * The stream's name, where the service names its streams.
     */
    streamId?: string;
    /**
     * Where the pictures are besides the media of this connection.
     */
    url?: string;
    /**
     * How good.
     */
    quality?: Quality;
    /**
     * `jpeg`, `h264` or what the service says.
     */
    codec?: string;
    /**
     * Pixels.
     */
    width?: number;
    /**
     * Pixels.
     */
    height?: number;
    /**
     * Why it stopped.
     */
    reason?: string;
    /**
     * ms since 1970.
     */
    timestamp?: number;
}

/**
 * A task of an incident.
 */
export interface Task {
    /**
     * Its name.
     */
    id: DispatchId;
    /**
     * The incident.
     */
    incidentId?: DispatchId;
    /**
     * One line for people.
     */
    title?: string;
    /**
     * Where it stands.
     */
    status?: string;
    /**
     * Who does it.
     */
    assignedTo?: UserId;
    /**
     * The asset that does it.
     */
    assetId?: DispatchId;
    /**
     * ms since 1970.
     */
    timestamp?: number;
}

/**
 * A value passed its threshold.
 */
export interface Threshold {
    /**
     * What was measured.
     */
    metric: string;
    /**
     * Where.
     */
    source?: string;
    /**
     * How much it is.
     */
    value: number;
    /**
     * How much it may be.
     */
    threshold: number;
    /**
     * How grave; filters look at it.
     */
    severity?: Severity;
    /**
     * ms since 1970.
     */
    timestamp?: number;
}

/**
 * An alert as it stands now. Every event of an alert carries the whole of it.
 */
export interface Alert {
    /**
     * Its name; where the server made it, the id of the command that raised it.
     */
    id: AlertId;
    /**
     * What kind: a word filters can name, such as `intrusion` or `fire`.
     */
    type?: string;
    /**
     * How grave.
     */
    severity?: Severity;
    /**
     * Where it stands.
     */
    status?: AlertStatus;
    /**
     * One line for people.
     */
    title?: string;
    /**
     * More words.
     */
    description?: string;
    /**
     * What raised it: a camera, a service, a rule.
     */
    source?: string;
    /**
     * The application's own data.
     */
    metadata?: unknown;
    /**
     * When it was raised, ms since 1970.
     */
    createdAt?: number;
    /**
     * Who raised it; absent for the server's own.
     */
    createdBy?: UserId;
    /**
     * When it last changed, ms since 1970.
     */
    updatedAt?: number;
    /**
     * When it was acknowledged, ms since 1970.
     */
    acknowledgedAt?: number;
    /**
     * Who acknowledged it.
     */
    acknowledgedBy?: UserId;
    /**
     * When it was resolved, ms since 1970.
     */
    resolvedAt?: number;
    /**
     * Who resolved it.
     */
    resolvedBy?: UserId;
    /**
     * What was written with the last acknowledgement or resolution.
     */
    note?: string;
}

/**
 * An incident.
 */
export interface Incident {
    /**
     * Its name.
     */
    id: DispatchId;
    /**
     * What kind.
     */
    type?: string;
    /**
     * One line for people.
     */
    title?: string;
    /**
     * Where it stands, in the dispatcher's words.
     */
    status?: string;
    /**
     * How grave; filters look at it.
     */
    severity?: Severity;
    /**
     * Where it is.
     */
    place?: Place;
    /**
     * The system's own data.
     */
    metadata?: unknown;
    /**
     * ms since 1970.
     */
    timestamp?: number;
}

/**
 * How a user is present.
 */
export type Status = "online" | "away" | "busy" | "offline";

/**
 * How good a stream is to be.
 */
export type Quality = "low" | "medium" | "high" | "auto";

/**
 * How grave an alert is.
 */
export type Severity = "info" | "low" | "medium" | "high" | "critical";

/**
 * How well a service is.
 */
export type Health = "healthy" | "degraded" | "down" | "unknown";

/**
 * One measured value.
 */
export interface Measure {
    /**
     * What was measured, such as `cpu`, `memory`, `disk` or `network.in`.
     */
    name: string;
    /**
     * How much.
     */
    value: number;
    /**
     * Of what, such as `%`, `B` or `B/s`.
     */
    unit?: string;
}

/**
 * One thing that analytics found in a picture.
 */
export interface Detection {
    /**
     * What it is.
     */
    label: string;
    /**
     * How sure, 0–1.
     */
    confidence?: number;
    /**
     * Where.
     */
    region?: Region;
}

/**
 * One user present in a room. Nobody is there twice.
 */
export interface PresenceInfo {
    /**
     * The user.
     */
    userId: UserId;
    /**
     * How.
     */
    status?: Status;
    /**
     * The user's own data.
     */
    metadata?: unknown;
}

/**
 * Presence of a room: everyone once, then differences (P-P1).
 */
export type PresenceEvent = { event: "presence:update"; data: PresenceInfo[] } | { event: "presence:join"; data: PresenceInfo } | { event: "presence:change"; data: PresenceInfo } | { event: "presence:leave"; data: UserId };

/**
 * Something moved before a camera.
 */
export interface Motion {
    /**
     * The camera.
     */
    cameraId: CameraId;
    /**
     * How sure, 0–1.
     */
    confidence?: number;
    /**
     * Where.
     */
    regions?: Region[];
    /**
     * ms since 1970.
     */
    timestamp?: number;
}

/**
 * The data of [`START_RECORDING`].
 */
export interface StartRecording {
    /**
     * The camera.
     */
    cameraId: CameraId;
    /**
     * Seconds; absent: until stopped.
     */
    duration?: number;
}

/**
 * The data of [`START_STREAM`].
 */
export interface StartStream {
    /**
     * The camera.
     */
    cameraId: CameraId;
    /**
     * How good.
     */
    quality?: Quality;
}

/**
 * The data of [`STOP_RECORDING`].
 */
export interface StopRecording {
    /**
     * The camera.
     */
    cameraId: CameraId;
    /**
     * Which of its recordings; absent: the one that runs.
     */
    recordingId?: RecordingId;
}

/**
 * The data of [`STOP_STREAM`].
 */
export interface StopStream {
    /**
     * The camera.
     */
    cameraId: CameraId;
}

/**
 * What a source measured at one moment.
 */
export interface Metrics {
    /**
     * The machine or service.
     */
    source?: string;
    /**
     * CPU in use, percent of all cores.
     */
    cpu?: number;
    /**
     * Memory in use, percent.
     */
    memory?: number;
    /**
     * Disk in use, percent.
     */
    disk?: number;
    /**
     * Bytes received per second.
     */
    networkIn?: number;
    /**
     * Bytes sent per second.
     */
    networkOut?: number;
    /**
     * Everything else.
     */
    values?: Measure[];
    /**
     * ms since 1970.
     */
    timestamp?: number;
}

/**
 * What acknowledges or resolves an alert: the data of [`ACKNOWLEDGE`] and [`RESOLVE`].
 */
export interface AlertAction {
    /**
     * The alert.
     */
    alertId: AlertId;
    /**
     * Words to keep with it.
     */
    note?: string;
    /**
     * The room of namespace `alerts` it belongs to, bare; absent: the tenant's own.
     */
    room?: string;
}

/**
 * What an asset does.
 */
export interface AssetStatus {
    /**
     * The asset.
     */
    assetId: DispatchId;
    /**
     * In the dispatcher's words, such as `available` or `en_route`.
     */
    status: string;
    /**
     * The incident it is assigned to.
     */
    incidentId?: DispatchId;
    /**
     * ms since 1970.
     */
    timestamp?: number;
}

/**
 * What analytics found.
 */
export interface Analytics {
    /**
     * The camera.
     */
    cameraId: CameraId;
    /**
     * What kind of analysis.
     */
    type?: string;
    /**
     * The things found.
     */
    detections?: Detection[];
    /**
     * The analysis' own data.
     */
    data?: unknown;
    /**
     * ms since 1970.
     */
    timestamp?: number;
}

/**
 * What raises an alert: the data of [`CREATE`].
 */
export interface NewAlert {
    /**
     * What kind: a word filters can name.
     */
    type: string;
    /**
     * How grave.
     */
    severity?: Severity;
    /**
     * One line for people.
     */
    title: string;
    /**
     * More words.
     */
    description?: string;
    /**
     * What raised it.
     */
    source?: string;
    /**
     * The application's own data.
     */
    metadata?: unknown;
    /**
     * The room of namespace `alerts` it belongs to, bare; absent: the tenant's own.
     */
    room?: string;
}

/**
 * What was said in a transmission.
 */
export interface Transcription {
    /**
     * The transmission.
     */
    transmissionId: DispatchId;
    /**
     * The words.
     */
    text?: string;
    /**
     * How sure, 0–1.
     */
    confidence?: number;
    /**
     * The language, such as `en`.
     */
    language?: string;
    /**
     * The radio channel.
     */
    channelId?: DispatchId;
    /**
     * The incident it belongs to.
     */
    incidentId?: DispatchId;
    /**
     * ms since 1970.
     */
    timestamp?: number;
}

/**
 * Where an alert stands.
 */
export type AlertStatus = "active" | "acknowledged" | "resolved";

/**
 * Where an asset is.
 */
export interface AssetPosition {
    /**
     * The asset.
     */
    assetId: DispatchId;
    /**
     * Degrees north.
     */
    latitude: number;
    /**
     * Degrees east.
     */
    longitude: number;
    /**
     * Degrees clockwise from north.
     */
    heading?: number;
    /**
     * Metres per second.
     */
    speed?: number;
    /**
     * The incident it is assigned to.
     */
    incidentId?: DispatchId;
    /**
     * ms since 1970.
     */
    timestamp?: number;
}

export type AlertEvent =
| { event: "alert:created"; data: Alert }
| { event: "alert:updated"; data: Alert }
| { event: "alert:acknowledged"; data: Alert }
| { event: "alert:resolved"; data: Alert }
| { event: string; data: unknown };


export type DispatchEvent =
| { event: "transmission_started"; data: Transmission }
| { event: "transmission_completed"; data: Transmission }
| { event: "transmission_tagged"; data: Transmission }
| { event: "transcription_completed"; data: Transcription }
| { event: "incident_created"; data: Incident }
| { event: "incident_updated"; data: Incident }
| { event: "incident_status_changed"; data: Incident }
| { event: "task_assigned"; data: Task }
| { event: "task_completed"; data: Task }
| { event: "task_updated"; data: Task }
| { event: "asset_position_updated"; data: AssetPosition }
| { event: "asset_status_changed"; data: AssetStatus }
| { event: "alert_created"; data: Alert }
| { event: "alert_acknowledged"; data: Alert }
| { event: string; data: unknown };


export type MonitoringEvent =
| { event: "metrics:update"; data: Metrics }
| { event: "service:status"; data: ServiceStatus }
| { event: "threshold:breached"; data: Threshold }
| { event: "security:event"; data: SecurityEvent }
| { event: string; data: unknown };


export type NotificationEvent =
| { event: "notification"; data: Notification }
| { event: string; data: unknown };


export type VideoEvent =
| { event: "stream:started"; data: StreamInfo }
| { event: "stream:ready"; data: StreamInfo }
| { event: "stream:stopped"; data: StreamInfo }
| { event: "recording:started"; data: Recording }
| { event: "recording:stopped"; data: Recording }
| { event: "motion:detected"; data: Motion }
| { event: "analytics:result"; data: Analytics }
| { event: "camera:status"; data: Camera }
| { event: string; data: unknown };



/**
 * A client: one connection, kept alive.
 */
export class Client {
    free(): void;
    [Symbol.dispose](): void;
    /**
     * Sends an ephemeral event: at most once, to who is there now.
     */
    cast(room: string, event: string, data: string): Promise<any>;
    /**
     * Sends a command and waits for its result: JSON.
     */
    command(namespace: string, event: string, data: string): Promise<any>;
    /**
     * Connects, and stays so; resolves at the first welcome.
     */
    connect(): Promise<any>;
    /**
     * Sends what was submitted before, then closes the connection.
     */
    disconnect(): Promise<any>;
    /**
     * Joins the tenant's room of a namespace. JSON options. Gives a `Room`.
     */
    joinTenant(namespace: string, options?: string | null): Promise<any>;
    /**
     * Joins a room: of the client's namespace by its bare name, or of any by its address. JSON
     * options. Gives a `Room`.
     */
    join(room: string, options?: string | null): Promise<any>;
    /**
     * Makes a client from JSON options; `provider` answers a token, or a promise of one.
     *
     * # Errors
     * `bad_config`, `bad_params`.
     */
    constructor(options: string, provider?: Function | null);
    /**
     * Takes the next event that concerns the whole client: JSON, or nothing when it has ended.
     */
    nextEvent(): Promise<any>;
    /**
     * The rooms this connection is in: a JSON array.
     */
    queryRooms(): Promise<any>;
    /**
     * Asks the server something that makes no sense later: JSON.
     */
    query(method: string, params: string): Promise<any>;
    /**
     * Queues an event for a room; resolves to a `Sending` once it is stored.
     */
    send(room: string, event: string, data: string, options?: string | null): Promise<any>;
    /**
     * Sets another token.
     */
    setToken(token: string): void;
    /**
     * Tells what the host noticed: `online`, `offline`, `network`, `visible`, `hidden`, `woke` or
     * `suspending`. Anything else is passed over.
     */
    signal(signal: string): void;
    /**
     * Where the connection stands.
     */
    readonly status: string;
}

/**
 * A joined room. Events are pulled: taking the next says that the one before is done.
 */
export class Room {
    private constructor();
    free(): void;
    [Symbol.dispose](): void;
    /**
     * Leaves; pending pulls give an empty array.
     */
    leave(): Promise<any>;
    /**
     * Takes all that is there, at most `max`, and waits for the first: a JSON array, empty when
     * the room was left or the client has ended.
     */
    nextBatch(max: number): Promise<any>;
    /**
     * Who is in the room now: a JSON array.
     */
    presence(): Promise<any>;
    /**
     * Queues an event; resolves once it is stored.
     */
    send(event: string, data: string, options?: string | null): Promise<any>;
    /**
     * The room's name, as it was joined.
     */
    readonly name: string;
}

/**
 * An item that is stored and under way.
 */
export class Sending {
    private constructor();
    free(): void;
    [Symbol.dispose](): void;
    /**
     * Takes it back, if it can still be; gives what became of it.
     */
    cancel(): Promise<any>;
    /**
     * Waits for its end: JSON `{outcome, seq?, code?, reason?}`.
     */
    outcome(): Promise<any>;
    /**
     * The item's id, which becomes the event's.
     */
    readonly id: string;
}

export type InitInput = RequestInfo | URL | Response | BufferSource | WebAssembly.Module;

export interface InitOutput {
    readonly memory: WebAssembly.Memory;
    readonly __wbg_client_free: (a: number, b: number) => void;
    readonly __wbg_room_free: (a: number, b: number) => void;
    readonly __wbg_sending_free: (a: number, b: number) => void;
    readonly client_cast: (a: number, b: number, c: number, d: number, e: number, f: number, g: number) => any;
    readonly client_command: (a: number, b: number, c: number, d: number, e: number, f: number, g: number) => any;
    readonly client_connect: (a: number) => any;
    readonly client_disconnect: (a: number) => any;
    readonly client_join: (a: number, b: number, c: number, d: number, e: number) => any;
    readonly client_joinTenant: (a: number, b: number, c: number, d: number, e: number) => any;
    readonly client_new: (a: number, b: number, c: number, d: number) => void;
    readonly client_nextEvent: (a: number) => any;
    readonly client_query: (a: number, b: number, c: number, d: number, e: number) => any;
    readonly client_queryRooms: (a: number) => any;
    readonly client_send: (a: number, b: number, c: number, d: number, e: number, f: number, g: number, h: number, i: number) => any;
    readonly client_setToken: (a: number, b: number, c: number) => void;
    readonly client_signal: (a: number, b: number, c: number) => void;
    readonly client_status: (a: number, b: number) => void;
    readonly room_leave: (a: number) => any;
    readonly room_name: (a: number, b: number) => void;
    readonly room_nextBatch: (a: number, b: number) => any;
    readonly room_presence: (a: number) => any;
    readonly room_send: (a: number, b: number, c: number, d: number, e: number, f: number, g: number) => any;
    readonly sending_cancel: (a: number) => any;
    readonly sending_id: (a: number, b: number) => void;
    readonly sending_outcome: (a: number) => any;
    readonly __wasm_bindgen_func_elem_5180: (a: number, b: number, c: number, d: any) => void;
    readonly __wasm_bindgen_func_elem_5183: (a: number, b: number, c: any, d: any) => void;
    readonly __wasm_bindgen_func_elem_443: (a: number, b: number, c: any) => void;
    readonly __wasm_bindgen_func_elem_444: (a: number, b: number, c: any) => void;
    readonly __wasm_bindgen_func_elem_444_26: (a: number, b: number, c: any) => void;
    readonly __wasm_bindgen_func_elem_1188: (a: number, b: number) => void;
    readonly __wbindgen_export: (a: number, b: number) => number;
    readonly __wbindgen_export2: (a: number, b: number, c: number, d: number) => number;
    readonly __wbindgen_export3: (a: number, b: number, c: number) => void;
    readonly __wbindgen_export4: (a: number) => void;
    readonly __wbindgen_export5: () => number;
    readonly __wbindgen_externrefs: WebAssembly.Table;
    readonly __wbindgen_export6: (a: number, b: number) => void;
    readonly __wbindgen_add_to_stack_pointer: (a: number) => number;
    readonly __wbindgen_export7: (a: number) => void;
    readonly __wbindgen_start: () => void;
}

export type SyncInitInput = BufferSource | WebAssembly.Module;

/**
 * Instantiates the given `module`, which can either be bytes or
 * a precompiled `WebAssembly.Module`.
 *
 * @param {{ module: SyncInitInput }} module - Passing `SyncInitInput` directly is deprecated.
 *
 * @returns {InitOutput}
 */
export function initSync(module: { module: SyncInitInput } | SyncInitInput): InitOutput;

/**
 * If `module_or_path` is {RequestInfo} or {URL}, makes a request and
 * for everything else, calls `WebAssembly.instantiate` directly.
 *
 * @param {{ module_or_path: InitInput | Promise<InitInput> }} module_or_path - Passing `InitInput` directly is deprecated.
 *
 * @returns {Promise<InitOutput>}
 */
export default function __wbg_init (module_or_path?: { module_or_path: InitInput | Promise<InitInput> } | InitInput | Promise<InitInput>): Promise<InitOutput>;
