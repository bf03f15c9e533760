// The package as others meet it: packed, installed, typed, bundled.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { promisify } from 'node:util';
import { gzipSync } from 'node:zlib';
import { folder, root } from './support.mjs';

const run = promisify(execFile);
const tool = name => join(root, 'node_modules/.bin', name);
let place;
let tarball;

const say = async (program, words, cwd = place.path) => {
  try {
    return await run(program, words, { cwd, maxBuffer: 1 << 26 });
  } catch (error) {
    throw new Error(`${program} ${words.join(' ')}\n${error.stdout}\n${error.stderr}`);
  }
};

before(async () => {
  place = folder('wardline-packed-');
  const { stdout } = await say('npm', ['pack', '--json', '--silent', '--pack-destination', place.path], root);
  const packed = JSON.parse(stdout);
  tarball = join(place.path, (Array.isArray(packed) ? packed[0] : Object.values(packed)[0]).filename);
  writeFileSync(join(place.path, 'package.json'), '{ "type": "module", "private": true }');
  // As npm would install it; what it depends on comes from this checkout, so that no registry is needed.
  const installed = join(place.path, 'node_modules/@wardline/client');
  mkdirSync(installed, { recursive: true });
  await say('tar', ['-xzf', tarball, '--strip-components=1', '-C', installed]);
  for (const name of ['ws', 'react', 'react-dom', 'scheduler', '@types/react', '@types/react-dom', 'csstype', '@types/node', 'undici-types']) {
    const from = join(root, 'node_modules', name);
    if (!existsSync(from)) continue;
    mkdirSync(join(place.path, 'node_modules', name, '..'), { recursive: true });
    symlinkSync(from, join(place.path, 'node_modules', name));
  }
});
after(() => place?.remove());

describe('types', () => {
  it('compile strictly, for import and for require', async () => {
    for (const name of ['usage.ts', 'tsconfig.json']) cpSync(join(root, 'test/types', name), join(place.path, name));
    await say(tool('tsc'), ['-p', 'tsconfig.json']);
    mkdirSync(join(place.path, 'cjs'));
    writeFileSync(join(place.path, 'cjs/package.json'), '{ "type": "commonjs" }');
    cpSync(join(root, 'test/types/usage.ts'), join(place.path, 'cjs/usage.ts'));
    writeFileSync(join(place.path, 'cjs/tsconfig.json'), readFileSync(join(place.path, 'tsconfig.json')));
    await say(tool('tsc'), ['-p', 'cjs/tsconfig.json']);
  });

  it('the README for React compiles as strictly', async () => {
    const [, piece] = /```tsx\n([^]*?)```/.exec(readFileSync(join(root, 'README.md'), 'utf8'));
    mkdirSync(join(place.path, 'app'));
    writeFileSync(join(place.path, 'app/App.tsx'), piece);
    const { compilerOptions } = JSON.parse(readFileSync(join(root, 'test/types/tsconfig.json'), 'utf8'));
    const options = { ...compilerOptions, jsx: 'react-jsx', module: 'esnext', moduleResolution: 'bundler' };
    writeFileSync(join(place.path, 'app/tsconfig.json'), JSON.stringify({ compilerOptions: options, files: ['App.tsx'] }));
    await say(tool('tsc'), ['-p', 'app/tsconfig.json']);
  });

  it('publint and are-the-types-wrong find nothing', async () => {
    await say(tool('publint'), ['--strict', tarball]);
    // The WebAssembly is a file, not a module; node10 knows no `exports`.
    await say(tool('attw'), [tarball, '--profile', 'node16', '--exclude-entrypoints', './wardline.wasm']);
  });
});

describe('hosts', () => {
  const use = `const client = new WebSocketClient({ url: 'ws://127.0.0.1:9' });
    if (client.status !== 'disconnected' || client.namespace !== 'default') throw new Error('not as made');`;

  it('Node imports it', async () => {
    writeFileSync(join(place.path, 'esm.mjs'), `import Default, { WebSocketClient } from '@wardline/client';\nif (Default !== WebSocketClient) throw new Error('default');\n${use}\nconst { ready } = await import('@wardline/client'); await ready();`);
    await say(process.execPath, ['esm.mjs']);
  });

  it('Node requires it', async () => {
    writeFileSync(join(place.path, 'cjs.cjs'), `const { WebSocketClient, ready } = require('@wardline/client');\n${use}\nready().then(() => require('@wardline/client/react').WardlineProvider.name || process.exit(1));`);
    await say(process.execPath, ['cjs.cjs']);
  });

  it('importing it touches nothing: no WebAssembly, no window, no socket, no timer', async () => {
    for (const entry of ['node.js', 'web.js']) {
      const script = `
        const touched = [];
        for (const name of ['window', 'document', 'indexedDB', 'navigator', 'WebSocket', 'localStorage'])
          Object.defineProperty(globalThis, name, { configurable: true, get() { touched.push(name); return undefined; } });
        for (const name of ['compile', 'instantiate', 'compileStreaming', 'instantiateStreaming']) WebAssembly[name] = () => touched.push(name);
        const before = process.getActiveResourcesInfo().length;
        await import(${JSON.stringify(join(place.path, 'node_modules/@wardline/client/dist', entry))});
        if (touched.length) throw new Error(touched.join());
        if (process.getActiveResourcesInfo().length > before) throw new Error('something runs');`;
      writeFileSync(join(place.path, 'touch.mjs'), script);
      await say(process.execPath, ['touch.mjs']);
    }
  });

  it('React renders it on a server', async () => {
    const script = `import { createElement as h } from 'react';
      import { renderToString } from 'react-dom/server';
      import { WardlineProvider, useConnection } from '@wardline/client/react';
      const Line = () => useConnection().status;
      const html = renderToString(h(WardlineProvider, { options: { url: 'ws://x' } }, h(Line)));
      if (html !== 'disconnected') throw new Error(html);`;
    writeFileSync(join(place.path, 'ssr.mjs'), script);
    await say(process.execPath, ['ssr.mjs']);
  });
});

describe('bundlers', () => {
  const entry = `import { WebSocketClient } from '@wardline/client';
    globalThis.client = new WebSocketClient({ url: 'ws://127.0.0.1:9' });`;
  const size = at => readdirSync(at, { recursive: true }).filter(name => name.endsWith('.wasm'));

  before(() => {
    mkdirSync(join(place.path, 'src'), { recursive: true });
    writeFileSync(join(place.path, 'src/main.js'), entry);
    writeFileSync(join(place.path, 'index.html'), '<script type="module" src="/src/main.js"></script>');
  });

  it('Vite', async () => {
    await say(tool('vite'), ['build', '--outDir', 'out-vite', '--logLevel', 'error']);
    assert.equal(size(join(place.path, 'out-vite')).length, 1);
  });

  it('webpack', async () => {
    const config = `export default { mode: 'production', entry: './src/main.js', output: { path: ${JSON.stringify(join(place.path, 'out-webpack'))} }, performance: { hints: false } };`;
    writeFileSync(join(place.path, 'webpack.config.mjs'), config);
    await say(process.execPath, [join(root, 'node_modules/webpack-cli/bin/cli.js'), '--config', 'webpack.config.mjs']);
    assert.equal(size(join(place.path, 'out-webpack')).length, 1);
  });

  it('esbuild, with the WebAssembly named', async () => {
    writeFileSync(join(place.path, 'src/esbuild.js'), `import wasm from '@wardline/client/wardline.wasm';\nimport { configure } from '@wardline/client';\nconfigure({ wasm: new URL(wasm, location.href) });\n${entry}`);
    await say(tool('esbuild'), ['src/esbuild.js', '--bundle', '--format=esm', '--loader:.wasm=file', '--outdir=out-esbuild', '--log-level=error']);
    assert.equal(size(join(place.path, 'out-esbuild')).length, 1);
  });

  it('what a browser loads is small', () => {
    const dist = join(place.path, 'node_modules/@wardline/client/dist');
    const bytes = ['web.js', 'wardline.wasm'].map(name => gzipSync(readFileSync(join(dist, name)), { level: 9 }).length);
    const total = bytes[0] + bytes[1];
    console.log(`web.js ${bytes[0]} B, wardline.wasm ${bytes[1]} B, together ${total} B gzip`);
    assert.ok(bytes[0] < 16_000, `web.js: ${bytes[0]} B`);
    rmSync(join(place.path, 'out-vite'), { recursive: true });
  });
});
