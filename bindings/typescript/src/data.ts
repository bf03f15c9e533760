// Reads what the old systems wrote: aliases of fields, snake case, ISO times. The canonical spelling is the Rust model's.

type Body = Record<string, unknown>;
type Table = Record<string, string>;

const ALERT: Table = { alertId: 'id', alertType: 'type', message: 'title', timestamp: 'createdAt', resolution: 'note' };
const ASSET: Table = { id: 'assetId', lat: 'latitude', lon: 'longitude', lng: 'longitude', newStatus: 'status' };
const FIELDS: [RegExp, Table][] = [
  [/^stream:/, { streamUrl: 'url' }],
  [/^recording:/, { id: 'recordingId', recordingUrl: 'url' }],
  [/^analytics:/, { results: 'data' }],
  [/^camera:/, { cameraId: 'id' }],
  [/^alert:/, ALERT],
  [/^metrics:/, { service: 'source', host: 'source' }],
  [/^service:/, { name: 'service', serviceName: 'service', message: 'detail' }],
  [/^threshold:/, { name: 'metric', service: 'source' }],
  [/^transmission:/, { transmissionId: 'id' }],
  [/^transcription:/, { transcript: 'text' }],
  [/^incident:/, { incidentId: 'id', newStatus: 'status' }],
  [/^task:/, { taskId: 'id' }],
  [/^asset:/, ASSET],
  [/^notification/, { message: 'body' }],
];
const SEVERITY: Table = { warning: 'medium', error: 'high', emergency: 'critical' };
const ALERT_STATUS: Table = { new: 'active', open: 'active', closed: 'resolved' };
const HEALTH: Table = {
  healthy: 'healthy', up: 'healthy', online: 'healthy', ok: 'healthy', degraded: 'degraded', warning: 'degraded',
  down: 'down', offline: 'down', unhealthy: 'down', error: 'down',
};

const camel = (name: string): string => name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());

/** The data of a known event in canonical spelling; `name` is its key. */
export function canonical(name: string, data: unknown): unknown {
  if (typeof data !== 'object' || data === null || Array.isArray(data)) return data;
  const table = FIELDS.find(([names]) => names.test(name))?.[1];
  if (!table) return data;
  const body: Body = {};
  // Canonical names first: an alias never hides one.
  const entries = Object.entries(data as Body).map(([field, value]) => [camel(field), value] as const);
  const isAlias = (field: string) => field in table;
  for (const [field, value] of entries) if (!isAlias(field)) body[field] = value;
  for (const [field, value] of entries) if (isAlias(field)) body[table[field]!] ??= value;
  for (const field of Object.keys(body)) {
    const value = body[field];
    if (typeof value === 'string' && /^timestamp$|At$/.test(field)) {
      const time = Date.parse(value);
      if (!Number.isNaN(time)) body[field] = time;
    }
  }
  const word = (field: string, words: Table) => {
    const value = body[field];
    if (typeof value === 'string') body[field] = words[value] ?? value;
  };
  if (typeof body['severity'] === 'string') word('severity', SEVERITY);
  if (table === ALERT) {
    body['type'] ??= '';
    body['title'] ??= '';
    body['severity'] ??= 'medium';
    body['status'] ??= 'active';
    word('status', ALERT_STATUS);
  } else if (name === 'service:status') {
    body['status'] = HEALTH[String(body['status'])] ?? 'unknown';
  }
  return body;
}
