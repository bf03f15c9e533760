// What a received event costs a page: @wardline/client beside socket.io-client. The method is in README.md.
import { spawn } from 'node:child_process';
import { createHmac, randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { chromium } from 'playwright-core';
import { io } from 'socket.io-client';

const { values } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    rounds: { type: 'string', default: '7' },
    events: { type: 'string', default: '20000' },
    singles: { type: 'string', default: '2000' },
    profile: { type: 'string' },
  },
});
const [rounds, events, singles] = [values.rounds, values.events, values.singles].map(Number);
const here = resolve(fileURLToPath(import.meta.url), '..');
const root = resolve(here, '../..');
const target = process.env.CARGO_TARGET_DIR ?? join(root, 'target');
const program = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(existsSync);
const FLAGS = [
  '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync',
  '--disable-features=SpareRendererForSitePerProcess',
];
const ROOM = 'readings';
/** How long a round may take. */
const WITHIN = 60_000;
const NAMES = ['wardline', 'socketio'];

const wait = ms => new Promise(done => setTimeout(done, ms));
const say = words => process.stderr.write(`${words}\n`);
const median = list => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)];
const rounded = number => Math.round(number * 1000) / 1000;

const ends = [];

/** Starts a server and gives the port it says it listens on. */
async function serve(command, words, env) {
  const child = spawn(command, words, { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'inherit'] });
  const gone = new Promise(done => child.once('exit', done));
  ends.push(async () => (child.kill('SIGKILL'), gone));
  for await (const line of createInterface({ input: child.stdout })) {
    const port = /listening on .*:(\d+)/.exec(line)?.[1];
    if (port) return child.stdout.resume(), Number(port);
  }
  throw new Error(`${command} ended before it listened`);
}

function token(secret, user, roles = []) {
  const part = value => Buffer.from(JSON.stringify(value)).toString('base64url');
  const now = Math.floor(Date.now() / 1000);
  const body = `${part({ alg: 'HS256', typ: 'JWT' })}.${part({ userId: user, tenantId: 'bench', roles, iat: now, exp: now + 3600 })}`;
  return `${body}.${createHmac('sha256', secret).update(body).digest('base64url')}`;
}

/** Serves the page and both clients as they are published. */
async function pages() {
  const types = { html: 'text/html', mjs: 'text/javascript', js: 'text/javascript', wasm: 'application/wasm' };
  const files = {
    '/page.html': join(here, 'page.html'),
    '/page.mjs': join(here, 'page.mjs'),
    ...Object.fromEntries(['web.js', 'share.js', 'wardline.wasm'].map(name => [`/wardline/${name}`, join(root, 'bindings/typescript/dist', name)])),
    '/socket.io.esm.min.js': join(here, 'node_modules/socket.io-client/dist/socket.io.esm.min.js'),
  };
  const server = createServer((request, response) => {
    const file = files[request.url.split('?')[0]];
    if (!file) return response.writeHead(404).end();
    response.writeHead(200, { 'content-type': types[file.split('.').pop()] }).end(readFileSync(file));
  });
  await new Promise(done => server.listen(0, '127.0.0.1', done));
  ends.push(() => server.close());
  return `http://127.0.0.1:${server.address().port}`;
}

/** A reading as a building's sensors send it: about 200 bytes of JSON. */
const reading = n => ({
  n,
  sensor: `sensor-${String(n % 997).padStart(4, '0')}`,
  kind: 'temperature',
  value: Math.round(Math.sin(n) * 1000) / 100,
  unit: '°C',
  site: { id: 'berlin-mitte', zone: 'loading bay' },
  status: n % 50 === 0 ? 'warning' : 'ok',
  at: 1_763_735_400_000 + n,
  tags: ['indoor', 'calibrated'],
});

/** CPU seconds of a process so far: to the nanosecond where the kernel tells it, else to the tick. */
async function cpu(pid, browser) {
  try {
    let nanoseconds = 0;
    for (const task of readdirSync(`/proc/${pid}/task`)) {
      nanoseconds += Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8').split(' ')[0]);
    }
    return nanoseconds / 1e9;
  } catch {
    const { processInfo } = await browser.send('SystemInfo.getProcessInfo');
    return processInfo.find(({ id }) => id === pid).cpuTime;
  }
}

/** The page's process: there may be a spare renderer too, but only one of them works when the page does. */
async function renderer(page, browser) {
  const { processInfo } = await browser.send('SystemInfo.getProcessInfo');
  const ids = processInfo.filter(({ type }) => type === 'renderer').map(({ id }) => id);
  const used = () => Promise.all(ids.map(id => cpu(id, browser)));
  for (;;) {
    const before = await used();
    await page.evaluate(() => {
      for (const end = performance.now() + 1000; performance.now() < end; );
    });
    const spent = (await used()).map((now, index) => now - before[index]);
    const most = Math.max(...spent);
    // Clear of what a process that just starts uses.
    if (most > 0.3 && spent.filter(other => other > most / 4).length === 1) return ids[spent.indexOf(most)];
    await wait(500);
  }
}

/** Sends `count` events, `burst` at a time, every so many ms. */
async function publish(send, count, burst, every) {
  for (let n = 0; n < count; n += burst) {
    const began = performance.now();
    await send(Array.from({ length: Math.min(burst, count - n) }, (_, index) => reading(n + index)));
    await wait(Math.max(0, every - (performance.now() - began)));
  }
}

async function main() {
  if (!program) throw new Error('Chromium is not installed');
  const secret = randomBytes(32).toString('hex');
  const data = mkdtempSync(join(tmpdir(), 'wardline-bench-'));
  ends.push(() => rmSync(data, { recursive: true, force: true }));
  const server = process.env.WARDLINE_SERVER ?? join(target, 'bench-fast/wardline-server');
  const words = ['serve', '--host', '127.0.0.1', '--port', '0', '--log', 'memory', '--data', data];
  const wardline = `ws://127.0.0.1:${await serve(server, words, { JWT_SECRET: secret, LOG_LEVEL: 'error', RATE_LIMIT_POINTS: '1000000000' })}`;
  const socketio = `http://127.0.0.1:${await serve('node', [join(here, '../peers/socketio.mjs')], {})}`;
  const origin = await pages();

  const other = io(socketio, { transports: ['websocket'] });
  await new Promise(done => other.on('connect', done));
  ends.push(() => other.close());
  // Each as its back ends do: a batch over HTTP, events on the server's own socket.
  const headers = { authorization: `Bearer ${token(secret, 'backend', ['service'])}`, 'content-type': 'application/json' };
  const at = wardline.replace('ws:', 'http:');
  const send = {
    wardline: async batch => {
      const events = batch.map(data => ({ room: `default/${ROOM}`, event: 'reading', data }));
      const answer = await fetch(`${at}/publish`, { method: 'POST', headers, body: JSON.stringify({ events }) });
      if (!answer.ok) throw new Error(`publish: ${answer.status} ${await answer.text()}`);
      await answer.arrayBuffer();
    },
    socketio: async batch => {
      for (const data of batch) other.emit('pub', ROOM, data);
    },
  };

  const browser = await chromium.launch({ executablePath: program, args: FLAGS });
  ends.push(() => browser.close());
  const page = await browser.newPage();
  page.on('pageerror', error => say(`page: ${error.message}`));
  await page.goto(`${origin}/page.html`);
  await page.waitForFunction('globalThis.ready');
  await page.evaluate(where => globalThis.connect(where), { wardline, token: token(secret, 'page'), socketio, room: ROOM });
  const inside = await page.context().newCDPSession(page);
  const outside = await browser.newBrowserCDPSession();
  const pid = await renderer(page, outside);
  await inside.send('Performance.enable');
  const tasks = async () => {
    const { metrics } = await inside.send('Performance.getMetrics');
    const of = name => metrics.find(metric => metric.name === name).value;
    return { task: of('TaskDuration'), script: of('ScriptDuration') };
  };

  const round = async (name, [, count, burst, every]) => {
    await page.evaluate(([name, count]) => globalThis.expectEvents(name, count), [name, count]);
    await inside.send('HeapProfiler.collectGarbage');
    await wait(100);
    const [before, spent] = [await tasks(), await cpu(pid, outside)];
    const ended = page.evaluate(name => globalThis.ended(name), name);
    await publish(send[name], count, burst, every);
    const late = wait(WITHIN).then(async () => {
      throw new Error(`${name}: ${await page.evaluate(name => globalThis.counted(name), name)} of ${count} events arrived in time`);
    });
    const got = await Promise.race([ended, late]);
    late.catch(() => {});
    const [after, total] = [await tasks(), await cpu(pid, outside)];
    if (got.count !== count || got.wrong > 0) throw new Error(`${name}: ${got.count} of ${count} events, ${got.wrong} out of order`);
    const each = 1e6 / count;
    return { cpu: (total - spent) * each, task: (after.task - before.task) * each, script: (after.script - before.script) * each };
  };

  const patterns = [
    ['bursts', events, 100, 20],
    // At a pace that both keep: who comes slower pays for more wake-ups.
    ['singles', singles, 1, 5],
  ];
  const figures = {};
  for (const pattern of patterns) {
    const [what] = pattern;
    const all = { wardline: [], socketio: [] };
    // The first of each warms its code up and is not counted.
    for (let number = 0; number <= rounds; number += 1) {
      // Who comes first changes, so that neither always inherits the other's garbage.
      for (const name of number % 2 ? NAMES : [...NAMES].reverse()) {
        const profiled = values.profile && number === rounds;
        if (profiled) {
          await inside.send('Profiler.enable');
          await inside.send('Profiler.setSamplingInterval', { interval: 100 });
          await inside.send('Profiler.start');
        }
        const cost = await round(name, pattern);
        if (profiled) {
          const { profile } = await inside.send('Profiler.stop');
          writeFileSync(`${values.profile}.${what}.${name}.cpuprofile`, JSON.stringify(profile));
        } else if (number > 0) all[name].push(cost);
        say(`${what} ${number} ${name}: ${cost.cpu.toFixed(2)} µs of CPU, ${cost.task.toFixed(2)} µs in tasks, ${cost.script.toFixed(2)} µs in scripts, an event`);
      }
    }
    figures[what] = Object.fromEntries(
      NAMES.map(name => [name, Object.fromEntries(['cpu', 'task', 'script'].map(kind => [kind, median(all[name].map(cost => cost[kind]))]))]),
    );
  }
  const { bursts, singles: alone } = figures;
  const ratio = ({ wardline, socketio }, kind) => rounded(wardline[kind] / socketio[kind]);
  const result = {
    cost_ratio: ratio(bursts, 'cpu'),
    wardline_us_per_event: rounded(bursts.wardline.cpu),
    socketio_us_per_event: rounded(bursts.socketio.cpu),
    rounds,
    events,
    task_ratio: ratio(bursts, 'task'),
    script_ratio: ratio(bursts, 'script'),
    singles: {
      cost_ratio: ratio(alone, 'cpu'),
      wardline_us_per_event: rounded(alone.wardline.cpu),
      socketio_us_per_event: rounded(alone.socketio.cpu),
      events: singles,
      task_ratio: ratio(alone, 'task'),
      script_ratio: ratio(alone, 'script'),
    },
  };
  console.log(values.json ? JSON.stringify(result) : result);
}

try {
  await main();
} catch (error) {
  say(error.stack);
  process.exitCode = 1;
} finally {
  for (const end of ends.reverse()) await Promise.resolve(end()).catch(() => {});
}
