// A real server for tests, and what they wait with.
import { spawn } from 'node:child_process';
import { createHmac, randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

export const root = resolve(fileURLToPath(import.meta.url), '../..');
const target = process.env.CARGO_TARGET_DIR ?? resolve(root, '../../target');
const binary = process.env.WARDLINE_SERVER ?? join(target, 'debug/wardline-server');

const part = value => Buffer.from(JSON.stringify(value)).toString('base64url');

export function folder(name = 'wardline-npm-') {
  const path = mkdtempSync(join(tmpdir(), name));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

async function freePort() {
  const server = createServer();
  await new Promise(done => server.listen(0, '127.0.0.1', done));
  const { port } = server.address();
  await new Promise(done => server.close(done));
  return port;
}

/** Starts a server that keeps its port, secret and data over its restarts. */
export async function startServer({ env = {} } = {}) {
  const port = await freePort();
  const secret = randomBytes(32).toString('hex');
  const place = folder();
  let child;
  const start = async () => {
    child = spawn(binary, ['serve', '--host', '127.0.0.1', '--port', String(port), '--data', join(place.path, 'data'), '--rate-points', '0'], {
      env: { ...process.env, JWT_SECRET: secret, LOG_LEVEL: 'error', ...env },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    for await (const line of createInterface({ input: child.stdout })) if (line.startsWith('listening')) break;
    child.stdout.resume();
  };
  const end = signal =>
    new Promise(done => {
      if (child.exitCode !== null || child.signalCode !== null) return done();
      child.once('exit', done);
      child.kill(signal);
    });
  await start();
  return {
    url: `ws://127.0.0.1:${port}`,
    http: `http://127.0.0.1:${port}`,
    token(user, { tenant = 'acme', roles = [], organizationId, ttl = 3600 } = {}) {
      const now = Math.floor(Date.now() / 1000);
      const claims = { userId: user, tenantId: tenant, organizationId, roles, iat: now, exp: now + ttl };
      const body = `${part({ alg: 'HS256', typ: 'JWT' })}.${part(claims)}`;
      return `${body}.${createHmac('sha256', secret).update(body).digest('base64url')}`;
    },
    async publish(events, { tenant = 'acme' } = {}) {
      const token = this.token('backend', { tenant, roles: ['service'] });
      const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
      const answer = await fetch(`${this.http}/publish`, { method: 'POST', headers, body: JSON.stringify({ events }) });
      if (!answer.ok) throw new Error(`publish: ${answer.status} ${await answer.text()}`);
      return answer.json();
    },
    async stats() {
      return (await fetch(`${this.http}/stats`)).json();
    },
    start,
    stop: () => end('SIGTERM'),
    kill: () => end('SIGKILL'),
    async close() {
      await end('SIGKILL');
      place.remove();
    },
  };
}

/** Fails loudly instead of hanging. */
export function within(promise, what = 'nothing', ms = 15_000) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: not within ${ms} ms`)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** The next event of a name that passes. */
export function next(client, event, passes = () => true) {
  return within(
    new Promise(done => {
      const stop = client.on(event, (data, message) => {
        if (!passes(data, message)) return;
        stop();
        done(data);
      });
    }),
    `event ${event}`,
  );
}
