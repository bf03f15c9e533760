// The clients of the namespaces. Cheap: all of one url and token ride on one socket.
import type { Picture, PictureStream, Publisher } from './core/index.js';
import { WebSocketClient } from './client.js';
import type { Alert, AlertEvents, DispatchEvents, MonitoringEvents, Recording, StreamInfo, VideoEvents } from './events.js';
import type { NewAlert, Quality } from './generated/types.js';
import { address } from './names.js';
import type { ClientOptions, JoinOptions } from './options.js';

export type { NewAlert, Picture, PictureStream, Publisher, Quality };

const words = (list: string | readonly string[] = []): string[] => {
  const all = typeof list === 'string' ? [list] : [...list];
  return all.includes('all') ? [] : all;
};

/** Cameras: streams, recordings, pictures. */
export class VideoWebSocketClient extends WebSocketClient<VideoEvents> {
  constructor(options: ClientOptions) {
    super({ namespace: 'video', ...options });
  }

  /** Starts a camera's stream. */
  startStream(cameraId: string, quality: Quality = 'high'): Promise<StreamInfo> {
    return this.command('stream:start', { cameraId, quality }, 'video');
  }

  /** Stops a camera's stream. */
  stopStream(cameraId: string): Promise<StreamInfo> {
    return this.command('stream:stop', { cameraId }, 'video');
  }

  /** Starts a recording of so many seconds; without a duration it goes on until stopped. */
  startRecording(cameraId: string, duration?: number): Promise<Recording> {
    return this.command('recording:start', { cameraId, duration }, 'video');
  }

  /** Stops a recording: the one that runs, or the one named. */
  stopRecording(cameraId: string, recordingId?: string): Promise<Recording> {
    return this.command('recording:stop', { cameraId, recordingId }, 'video');
  }

  /** Watches a camera: `for await (const picture of await client.watch('7'))`. Asking for the next picture says this one is shown. */
  async watch(cameraId: string): Promise<PictureStream> {
    return (await this.core()).watch(address('video', `camera:${cameraId}`));
  }

  /** Announces a stream of a camera, to push pictures into. Each stream of a client has a number of its own. */
  async publish(cameraId: string, stream: { number: number; codec?: 'jpeg' | 'h264'; width: number; height: number }): Promise<Publisher> {
    return (await this.core()).publish(address('video', `camera:${cameraId}`), { codec: 'jpeg', ...stream });
  }
}

/** Alerts: raised, acknowledged, resolved. */
export class AlertWebSocketClient extends WebSocketClient<AlertEvents> {
  constructor(options: ClientOptions) {
    super({ namespace: 'alerts', ...options });
  }

  /** Receives the tenant's alerts of these types and severities only, filtered on the server. Nothing named: everything. */
  subscribeToAlerts(types?: string | readonly string[], severities?: string | readonly string[], options: JoinOptions = {}): Promise<void> {
    return this.filterTenant({ ...options, filter: [{ types: words(types), severities: words(severities) }] });
  }

  /** Raises an alert. */
  create(alert: Partial<NewAlert> & Pick<NewAlert, 'type' | 'title'>): Promise<Alert> {
    return this.command('alert:create', alert, 'alerts');
  }

  /** Takes an alert. */
  acknowledge(alertId: string, note?: string): Promise<Alert> {
    return this.command('alert:acknowledge', { alertId, note }, 'alerts');
  }

  /** Ends an alert. */
  resolve(alertId: string, note?: string): Promise<Alert> {
    return this.command('alert:resolve', { alertId, note }, 'alerts');
  }

  createAlert = this.create;
  acknowledgeAlert = this.acknowledge;
  resolveAlert = this.resolve;
}

/** Metrics, services, thresholds, security events. */
export class MonitoringWebSocketClient extends WebSocketClient<MonitoringEvents> {
  constructor(options: ClientOptions) {
    super({ namespace: 'monitoring', ...options });
  }

  /**
   * Receives the tenant's events of these kinds only, filtered on the server: `metrics`, `services`, `thresholds`, `security:events`,
   * `incidents`, `all`, or the name of an event.
   */
  subscribeToEvents(kinds?: string | readonly string[], options: JoinOptions = {}): Promise<void> {
    return this.filterTenant({ ...options, filter: [{ kinds: words(kinds) }] });
  }
}

/** Radio dispatch: transmissions, incidents, tasks, assets. */
export class DispatchWebSocketClient extends WebSocketClient<DispatchEvents> {
  constructor(options: ClientOptions) {
    super({ namespace: 'dispatch', ...options });
  }
}
