export { WebSocketClient, type Receipt, type Unsubscribe } from './client.js';
export { WebSocketClient as default } from './client.js';
export { configure, ready, VERSION } from './connection.js';
export { WardlineError, type ErrorCode } from './errors.js';
export type * from './events.js';
export type { ClientOptions, Clause, JoinOptions, SendOptions, TokenProvider } from './options.js';
export type { Room } from './room.js';
export type { CommandStream, Outcome, ServiceCommand, Store, StoreBatch } from './core/index.js';
export {
  AlertWebSocketClient, DispatchWebSocketClient, MonitoringWebSocketClient, VideoWebSocketClient,
  type NewAlert, type Picture, type PictureStream, type Publisher, type Quality,
} from './typed.js';
export type {
  Detection, Health, Incident, Measure, Notification, Place, Region, Severity, Task, Transcription, Transmission, AlertStatus,
  AssetPosition, AssetStatus,
} from './generated/types.js';
