// Socket.IO as its documentation starts it: rooms, broadcast to a room, an acknowledged event.
import { createServer } from 'node:http';
import { Server } from 'socket.io';

const http = createServer();
const io = new Server(http, { transports: ['websocket'] });
io.on('connection', (socket) => {
  socket.on('join', (room, done) => {
    socket.join(room);
    done();
  });
  socket.on('pub', (room, data) => io.to(room).emit('m', data));
  socket.on('ask', (data, done) => done());
});
http.listen(0, '127.0.0.1', () => console.log(`listening on 127.0.0.1:${http.address().port}`));
