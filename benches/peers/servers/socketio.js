// Socket.IO with a room: `node socketio.js PORT`. Whoever says `subscribe` joins, whoever says `publish` publishes.
const { createServer } = require('node:http');
const { Server } = require('socket.io');

const http = createServer();
const io = new Server(http, { perMessageDeflate: false, httpCompression: false, serveClient: false });

io.on('connection', (socket) => {
    socket.on('subscribe', (room, done) => {
        socket.join(room);
        done();
    });
    socket.on('publish', (data) => io.to('inventory').emit('inventory:updated', data));
});

http.listen({ host: '127.0.0.1', port: Number(process.argv[2]), backlog: 4096 });
