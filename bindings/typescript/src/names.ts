// One canonical spelling of an event's name: the old systems wrote several.

const KNOWN: Record<string, string> = {
  video: 'stream:started stream:ready stream:stopped recording:started recording:stopped motion:detected analytics:result camera:status',
  alerts: 'alert:created alert:updated alert:acknowledged alert:resolved',
  monitoring: 'metrics:update service:status threshold:breached security:event',
  dispatch:
    'transmission:started transmission:completed transmission:tagged transcription:completed incident:created incident:updated ' +
    'incident:status:changed task:assigned task:completed task:updated asset:position:updated asset:status:changed alert:created ' +
    'alert:acknowledged',
  default: 'notification',
};
const NAMES = new Map(Object.entries(KNOWN).map(([namespace, names]) => [namespace, new Set(names.split(' '))]));
const ALL = new Set([...NAMES.values()].flatMap(names => [...names]));
const NAMESPACE = /^(?:video|alerts|monitoring|dispatch):/;
const OTHER: Record<string, string> = {
  analytics: 'analytics:result',
  'analytics:update': 'analytics:result',
  metrics: 'metrics:update',
  'notification:new': 'notification',
};

function plain(name: string): string {
  const words = name.replace(NAMESPACE, '').replace(/[._]/g, ':');
  return OTHER[words] ?? words;
}

/** The key under which a listener waits: `video:stream_started` and `stream:started` are one. */
export function listenerKey(name: string): string {
  const key = plain(name);
  return ALL.has(key) ? key : name;
}

interface Named {
  key: string;
  name: string;
  known: boolean;
}

/** Names that were read; an application has few, and whoever sends more makes it begin anew. */
const read = new Map<string, Named>();
const READ = 512;

/** Of an event as it came: its key, and its canonical name. Names this version does not know stay as they are. */
export function eventName(namespace: string, name: string): Named {
  const both = `${namespace}/${name}`;
  let named = read.get(both);
  if (!named) {
    const key = plain(name);
    if (!NAMES.get(namespace)?.has(key)) named = { key: name, name, known: false };
    else named = { key, name: namespace === 'dispatch' ? key.replace(/:/g, '_') : key, known: true };
    if (read.size >= READ) read.clear();
    read.set(both, named);
  }
  return named;
}

const COMMAND = /^(?:video:)?((?:stream|recording):(?:start|stop))$|^(?:alerts:)?(alert:(?:create|acknowledge|resolve))$/;

/** The namespace and canonical name of a command, where `name` is one. */
export function command(name: string): [namespace: string, event: string] | undefined {
  const found = COMMAND.exec(name);
  if (found?.[1]) return ['video', found[1]];
  if (found?.[2]) return ['alerts', found[2]];
  return undefined;
}

/** The address of a room named within a namespace, or of a name that is a whole address. */
export const address = (namespace: string, room: string): string => (room.includes('/') ? room : `${namespace}/${room}`);

export interface Claims {
  tenant?: string | undefined;
  user?: string | undefined;
  organization?: string | undefined;
}

/** Names from a token's claims, unverified: to name rooms with, never to allow anything. */
export function claims(token: string | undefined): Claims {
  try {
    const part = token!.split('.')[1]!.replace(/-/g, '+').replace(/_/g, '/');
    const bytes = Uint8Array.from(atob(part), char => char.charCodeAt(0));
    const body = JSON.parse(new TextDecoder().decode(bytes)) as Record<string, unknown>;
    const text = (...names: string[]) =>
      names.map(name => body[name]).filter(value => typeof value === 'string' || typeof value === 'number').map(String)[0];
    const organization = text('organizationId', 'organization_id', 'orgId', 'org_id');
    return {
      tenant: text('tenantId', 'tenant_id', 'tenant') ?? organization,
      user: text('userId', 'user_id', 'sub'),
      organization,
    };
  } catch {
    return {};
  }
}
