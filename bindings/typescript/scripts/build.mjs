// Builds `dist` from `src` and the WebAssembly that `cargo xtask wasm` put into `src/generated`.
import { execFileSync } from 'node:child_process';
import { copyFileSync, cpSync, existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync, brotliCompressSync } from 'node:zlib';
import { build } from 'esbuild';

const root = fileURLToPath(new URL('..', import.meta.url));
const at = (...parts) => join(root, ...parts);

rmSync(at('dist'), { recursive: true, force: true });
mkdirSync(at('dist/cjs'), { recursive: true });
if (!existsSync(at('src/generated/wardline_wasm_bg.wasm'))) throw new Error('no WebAssembly: run `cargo xtask wasm` first');
copyFileSync(at('src/generated/wardline_wasm_bg.wasm'), at('dist/wardline.wasm'));

// The generated glue names the WebAssembly by a path of its own; here the entry names it, and bundlers should find one name only.
const oneName = {
  name: 'one name for the WebAssembly',
  setup(build) {
    build.onLoad({ filter: /generated[\\/]wardline_wasm\.js$/ }, ({ path }) => ({
      contents: readFileSync(path, 'utf8').replace(/new URL\('wardline_wasm_bg\.wasm', import\.meta\.url\)/g, 'undefined'),
      loader: 'js',
    }));
  },
};
// Sharing between tabs is loaded by who asks for it.
const apart = {
  name: 'what is loaded later',
  setup(build) {
    build.onResolve({ filter: /^\.\/share\.js$/ }, ({ path, kind }) => (kind === 'dynamic-import' ? { path, external: true } : undefined));
  },
};
const common = {
  plugins: [oneName, apart],
  bundle: true,
  minify: true,
  legalComments: 'none',
  sourcemap: true,
  sourcesContent: false,
  target: 'es2022',
  logLevel: 'warning',
  absWorkingDir: root,
};
const external = ['react', 'react/jsx-runtime', '@wardline/client', 'ws'];
await Promise.all([
  build({ ...common, entryPoints: ['src/web.ts'], outfile: 'dist/web.js', format: 'esm', platform: 'browser' }),
  build({ ...common, entryPoints: ['src/share.ts'], outfile: 'dist/share.js', format: 'esm', platform: 'browser' }),
  build({ ...common, minify: false, entryPoints: ['src/node.ts'], outfile: 'dist/node.js', format: 'esm', platform: 'node', external }),
  build({
    ...common,
    minify: false,
    entryPoints: ['src/node.ts'],
    outfile: 'dist/cjs/node.cjs',
    format: 'cjs',
    platform: 'node',
    external,
    // CommonJS modules have no `import.meta`; the WebAssembly lies one folder above.
    define: { 'import.meta.url': 'wardlineModuleUrl' },
    banner: { js: "const wardlineModuleUrl = require('node:url').pathToFileURL(require('node:path').join(__dirname, '..', 'node.cjs')).href;" },
  }),
  build({ ...common, entryPoints: ['src/react.tsx'], outfile: 'dist/react.js', format: 'esm', platform: 'neutral', external }),
  build({ ...common, entryPoints: ['src/react.tsx'], outfile: 'dist/cjs/react.cjs', format: 'cjs', platform: 'neutral', external }),
]);

// Types: once for `import`, once for `require`, told apart by the nearest package.json.
execFileSync(process.execPath, [at('node_modules/typescript/bin/tsc'), '-p', at('tsconfig.json')], { stdio: 'inherit' });
// tsc copies no declarations that were written by a tool.
const generated = at('src/generated');
mkdirSync(at('dist/types/generated'), { recursive: true });
for (const name of readdirSync(generated)) {
  if (name.endsWith('.d.ts')) copyFileSync(join(generated, name), at('dist/types/generated', name));
}
cpSync(at('dist/types'), at('dist/cjs/types'), { recursive: true });
writeFileSync(at('dist/cjs/package.json'), '{ "type": "commonjs" }\n');

const sizes = {};
for (const name of ['web.js', 'wardline.wasm', 'share.js', 'react.js']) {
  const bytes = readFileSync(at('dist', name));
  sizes[name] = { raw: bytes.length, gzip: gzipSync(bytes, { level: 9 }).length, brotli: brotliCompressSync(bytes).length };
}
console.log(JSON.stringify(sizes));
