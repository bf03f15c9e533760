// Where to connect, from the part of the address that never leaves this page: `#token=…&url=ws://…&control=http://…`.
export interface Session {
  url: string;
  token: string;
  /** Where the demo takes orders to restart the server; none outside of the demo. */
  control: string | null;
}

export function sessionOf(location: Location): Session | null {
  const words = new URLSearchParams(location.hash.slice(1));
  const token = words.get('token');
  const here = location.origin.replace(/^http/, 'ws');
  return token ? { token, url: words.get('url') ?? here, control: words.get('control') } : null;
}
