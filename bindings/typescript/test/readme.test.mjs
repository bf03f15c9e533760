// What the README shows is run.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, it } from 'node:test';
import { promisify } from 'node:util';
import { transform } from 'esbuild';
import { root, startServer } from './support.mjs';

const run = promisify(execFile);
const readme = readFileSync(join(root, 'README.md'), 'utf8');
const blocks = language => [...readme.matchAll(new RegExp('```' + language + '\\n([^]*?)```', 'g'))].map(([, text]) => text);
const file = join(root, 'test/.readme.mjs');

let server;
before(async () => {
  server = await startServer();
});
after(async () => {
  await server.close();
  rmSync(file, { force: true });
});

it('the five minutes, a send and a read', async () => {
  const [example, send, read] = blocks('js');
  // The later pieces go on with the client of the first.
  const [head, tail] = [example.slice(0, example.indexOf('await Promise.all([alerts.close()')), example.slice(example.indexOf('await Promise.all([alerts.close()'))];
  const pasted = head.replace('ws://127.0.0.1:9001/wardline', server.url).replace('the token it printed', server.token('newcomer'));
  assert.ok(pasted.includes(server.url) && !pasted.includes('it printed'), pasted);
  writeFileSync(file, `${pasted}\n${send}\n${read}\n${tail}`);
  const { stdout, stderr } = await run(process.execPath, [file], { cwd: root, timeout: 30_000 });
  assert.equal(stderr, '');
  for (const line of ['connecting', 'connected', 'newcomer { text: \'seen at the gate\' }', 'high Door forced']) {
    assert.ok(stdout.includes(line), `${line} is missing in\n${stdout}`);
  }
  assert.match(stdout, /[0-9a-f]{32} accepted/);
  assert.match(stdout, /1 note \{ text: 'seen' \}/);
});

it('the React piece renders', async () => {
  const [piece] = blocks('tsx');
  const { code } = await transform(piece, { loader: 'tsx', jsx: 'automatic' });
  const script = `${code}
    import { renderToString } from 'react-dom/server';
    import { createElement } from 'react';
    console.log(renderToString(createElement(App)));`;
  writeFileSync(file, script);
  const { stdout } = await run(process.execPath, [file], { cwd: root });
  assert.equal(stdout.trim(), '<section><p>disconnected</p><button>Raise an alert</button><ul></ul></section>');
});

it('names every option and every hook', () => {
  const options = readFileSync(join(root, 'src/options.ts'), 'utf8').split('export interface SendOptions')[0];
  for (const [, name] of options.matchAll(/^ {2}(\w+)\??:/gm)) assert.ok(readme.includes(`\`${name}`) || readme.includes(name), `option ${name}`);
  const hooks = readFileSync(join(root, 'src/react.tsx'), 'utf8').matchAll(/^export function (use\w+)/gm);
  for (const [, name] of hooks) assert.ok(readme.includes(name), `hook ${name}`);
});
