// Both clients on one page. Each has the same handler: it counts, checks the order and reads the payload.
import { WebSocketClient } from './wardline/web.js';
import { io } from './socket.io.esm.min.js';

const states = {};

function watch(name) {
  const state = (states[name] = { count: 0, wanted: Infinity, last: -1, wrong: 0, sum: 0, done: () => {} });
  return reading => {
    if (reading.n !== state.last + 1) state.wrong += 1;
    state.last = reading.n;
    state.sum += reading.value;
    state.count += 1;
    if (state.count === state.wanted) state.done();
  };
}

/** Connects both and joins the room. */
globalThis.connect = async ({ wardline, token, socketio, room }) => {
  const client = new WebSocketClient({ url: wardline, token, autoJoin: false });
  client.on('reading', watch('wardline'));
  await client.connect();
  await client.subscribe(room);
  const socket = io(socketio, { transports: ['websocket'] });
  socket.on('m', watch('socketio'));
  await new Promise(done => socket.on('connect', done));
  await socket.emitWithAck('join', room);
};

/** Begins a round: so many events are expected of one client. */
globalThis.expectEvents = (name, wanted) => {
  Object.assign(states[name], { count: 0, wanted, last: -1, wrong: 0, sum: 0 });
  states[name].ended = new Promise(done => (states[name].done = done));
};

/** Waits for the last event of a round, and says how it went. */
globalThis.ended = async name => {
  const state = states[name];
  await state.ended;
  return { count: state.count, wrong: state.wrong, sum: state.sum };
};
globalThis.counted = name => states[name].count;
globalThis.ready = true;
