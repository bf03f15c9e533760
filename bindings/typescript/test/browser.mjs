// Chromium, and pages for it that are bundled from this package.
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { build } from 'esbuild';
import { chromium } from 'playwright-core';
import { root, startServer } from './support.mjs';

const program = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(existsSync);
const args = ['--no-sandbox', '--disable-gpu'];

/** Starts a browser; with a folder, one that keeps its profile there. */
export async function startBrowser({ profile, more = [] } = {}) {
  assert.ok(program, 'Chromium is not installed');
  const options = { executablePath: program, args: [...args, ...more] };
  return profile ? chromium.launchPersistentContext(profile, options) : chromium.launch(options);
}

/** Serves a page whose module is `script`, bundled, on an origin of its own. */
export async function servePage(script) {
  const { outputFiles } = await build({
    stdin: { contents: script, resolveDir: join(root, 'test') },
    bundle: true,
    write: false,
    format: 'esm',
    logLevel: 'error',
    // The package itself, not the sources that tsconfig.json maps its name to.
    tsconfigRaw: '{}',
  });
  const files = {
    '/': ['text/html', '<!doctype html><link rel="icon" href="data:,"><title>test</title><script type="module" src="/page.js"></script>'],
    '/page.js': ['text/javascript', outputFiles[0].text],
    '/wardline.wasm': ['application/wasm', readFileSync(join(root, 'dist/wardline.wasm'))],
  };
  const pages = createServer((request, response) => {
    const [type, body] = files[request.url.split('?')[0]] ?? [];
    response.writeHead(body ? 200 : 404, { 'content-type': type ?? 'text/plain' });
    response.end(body);
  });
  await new Promise(done => pages.listen(0, '127.0.0.1', done));
  return { url: `http://127.0.0.1:${pages.address().port}/`, close: () => pages.close() };
}

/** A server, a page and a browser, which most tests need together. `more` goes to the server. */
export async function startStage(script, more) {
  const parts = await Promise.allSettled([startServer(more), servePage(script), startBrowser()]);
  const [server, pages, browser] = parts.map(({ value }) => value);
  const close = async () => {
    await browser?.close();
    pages?.close();
    await server?.close();
  };
  const failed = parts.find(({ status }) => status === 'rejected');
  if (!failed) return { server, pages, browser, close };
  await close();
  throw failed.reason;
}
