// What every store of the package must do, run on each: what `sdk-core/src/driver/suite.rs` asks of a storage, on the level of entries.
//
// A shelf opens a store of one place as often as it is asked, as tabs and processes do; `failing(work)` makes the medium fail, by its
// own means, while `work` runs.

const batch = (fields = {}) => ({ add: [], put: [], remove: [], ...fields });
const sorted = entries => [...entries].sort(([a], [b]) => (a < b ? -1 : 1));

function same(found, wanted, what = '') {
  const [a, b] = [JSON.stringify(found), JSON.stringify(wanted)];
  if (a !== b) throw new Error(`${what}: ${a} instead of ${b}`);
}

function check(holds, what) {
  if (!holds) throw new Error(what);
}

async function commit(store, ...batches) {
  const answers = await store.commit(batches.map(batch));
  same(answers.length, batches.length, 'answers');
  return answers;
}

const entries = async store => sorted((await store.load()).entries);

export const suite = {
  async 'everything written is read after a reopen, and the lock rises'(shelf) {
    const store = await shelf.open();
    same(store.durable, shelf.durable);
    const empty = await store.load();
    same(empty.entries, []);
    const written = [['0/i/01', '{"a":"ü\\n"}'], ['0/p', 'f'.repeat(32)], ['ü\n', ''], ['x', '"'.repeat(300_000)]];
    same(await commit(store, { lock: empty.lock, add: written.slice(0, 2), put: written.slice(2) }), [null]);
    await shelf.close(store);
    const again = await (await shelf.open()).load();
    same(sorted(again.entries), sorted(written));
    check(again.lock > empty.lock, `lock ${again.lock} after ${empty.lock}`);
  },

  async 'batches that come together are each answered, in their order, and read back in the order of keys'(shelf) {
    const store = await shelf.open();
    await store.load();
    const keys = [3, 1, 2, 200, 10].map(order => `0/i/${String(order).padStart(4, '0')}`);
    same(await commit(store, ...keys.map(key => ({ add: [[key, '']] }))), keys.map(() => null));
    same((await entries(await shelf.open())).map(([key]) => key), [...keys].sort());
  },

  async 'what is removed is gone, others stay, and removing what is not there is no error'(shelf) {
    const store = await shelf.open();
    await store.load();
    await commit(store, { add: [['1', 'a'], ['2', 'b'], ['3', 'c']] });
    same(await commit(store, { remove: ['2'] }), [null]);
    same(await commit(store, { remove: ['2'] }), [null]);
    same(await entries(store), [['1', 'a'], ['3', 'c']]);
  },

  async 'the same name on another shelf is another entry'(shelf) {
    const store = await shelf.open();
    await store.load();
    await commit(store, { add: [['1/i/7', 'a'], ['1/x/7', '']] });
    same(await commit(store, { add: [['2/i/7', 'b'], ['2/x/7', '']], remove: ['2/i/8'] }), [null]);
    await commit(store, { remove: ['2/i/7'] });
    same(await entries(store), [['1/i/7', 'a'], ['1/x/7', ''], ['2/x/7', '']]);
  },

  async 'what is put stands over what was there, also within a batch'(shelf) {
    const store = await shelf.open();
    const { lock } = await store.load();
    await commit(store, { put: [['last', '0']] });
    same(await commit(store, { lock, add: [['owner/1', 'a']], put: [['last', '1'], ['owner/1', 'b']] }), [null]);
    await shelf.close(store);
    same(await entries(await shelf.open()), [['last', '1'], ['owner/1', 'b']]);
  },

  async 'the older holder of the lock writes nothing that needs it, and may still add'(shelf) {
    const first = await shelf.open();
    const { lock } = await first.load();
    same(await commit(first, { lock, add: [['1', 'a']] }), [null]);
    const second = await shelf.open();
    const now = await second.load();
    same(await commit(first, { lock, add: [['2', 'b']], put: [['1/n', '1']] }), ['lost']);
    same(await commit(first, { lock, remove: ['1'] }), ['lost']);
    same(await commit(first, { add: [['3', 'c']] }, { lock, put: [['4', 'd']] }), [null, 'lost']);
    same(await commit(second, { lock: now.lock, put: [['1/n', '1']] }), [null]);
    // A store that loads again is its own next holder.
    const later = await second.load();
    same(await commit(second, { lock: now.lock, put: [['5', 'e']] }), ['lost']);
    same(await commit(second, { lock: later.lock, remove: ['1/n'] }, { lock: later.lock, put: [['6', 'f']] }), [null, null]);
    same(await entries(second), [['1', 'a'], ['3', 'c'], ['6', 'f']]);
  },

  async 'an entry is never added over another, nor over another of its batch'(shelf) {
    const store = await shelf.open();
    const { lock } = await store.load();
    await commit(store, { add: [['1', 'a']] });
    for (const add of [[['1', 'b']], [['2', 'b'], ['1', 'c']], [['3', 'b'], ['3', 'c']]]) {
      for (const more of [{}, { lock }]) {
        const [answer] = await commit(store, { add, put: [['4', 'd']], ...more });
        check(typeof answer === 'string' && answer !== 'lost', `answered ${answer}`);
      }
    }
    // One that fails among others fails alone.
    const answers = await commit(store, { add: [['5', 'e']] }, { add: [['1', 'f']] }, { add: [['6', 'g']] });
    same(answers.map(answer => answer === null), [true, false, true]);
    same(await entries(store), [['1', 'a'], ['5', 'e'], ['6', 'g']]);
  },

  async 'a failed batch leaves nothing, and the store goes on'(shelf) {
    const store = await shelf.open();
    await store.load();
    await commit(store, { add: [['1', 'a']] });
    const answers = await shelf.failing(() => commit(store, { remove: ['1'], add: [['2', 'x'.repeat(200_000)]], put: [['4', '']] }));
    check(answers.every(answer => typeof answer === 'string' && answer !== 'lost'), `answered ${answers}`);
    const again = await shelf.open();
    same(await entries(again), [['1', 'a']]);
    same(await commit(again, { add: [['2', 'b']] }), [null]);
    same(await entries(again), [['1', 'a'], ['2', 'b']]);
  },
};
