// The package's stores, as `cargo xtask wasm-tests` bundles them beside this: a file in Node, IndexedDB in a browser.

const inNode = globalThis.process?.versions?.node !== undefined;
const BUNDLED = 'tests/generated';

async function inFile() {
  const [{ fileStore }, fs, os, { join }] = await Promise.all([
    import(`file://${process.cwd()}/${BUNDLED}/node.mjs`),
    import('node:fs'),
    import('node:os'),
    import('node:path'),
  ]);
  const folder = fs.mkdtempSync(join(os.tmpdir(), 'wardline-wasm-'));
  process.on('exit', () => fs.rmSync(folder, { recursive: true, force: true }));
  return {
    open: place => fileStore(join(folder, `${place}`)),
    async failNext() {
      // The disk does not take it.
      const probe = await fs.promises.open(join(folder, 'probe'), 'a+');
      const file = Object.getPrototypeOf(probe);
      await probe.close();
      const real = file.datasync;
      file.datasync = async () => {
        file.datasync = real;
        throw new Error('planted');
      };
    },
  };
}

async function inBrowser() {
  const { indexedDbStore } = await import(`/${BUNDLED}/web.js`);
  return {
    open: place => indexedDbStore(`wasm-${place}`),
    async failNext() {
      const { add } = IDBObjectStore.prototype;
      // What the browser itself refuses: a key of no valid type.
      IDBObjectStore.prototype.add = function (value) {
        IDBObjectStore.prototype.add = add;
        return add.call(this, value, {});
      };
    },
  };
}

let medium;
const ready = () => (medium ??= inNode ? inFile() : inBrowser());

export const open = async place => (await ready()).open(place);
export const failNext = async () => (await ready()).failNext();
