// The npm package ws: `node ws.js PORT [framed]`. Subscribers come to /, publishers to /publish.
// With `framed` the frame is made once for all instead of once for each client, which ws does not offer by itself.
const { createServer } = require('node:http');
const { Sender, WebSocketServer } = require('ws');

const framed = process.argv[3] === 'framed';
const http = createServer();
const server = new WebSocketServer({ noServer: true, perMessageDeflate: false, clientTracking: false });
const subscribers = new Set();

http.on('upgrade', (request, socket, head) => {
    socket.setNoDelay(true);
    server.handleUpgrade(request, socket, head, (client) => {
        client.on('error', () => {});
        if (request.url === '/publish') {
            client.on('message', framed ? publishFramed : publish);
        } else {
            subscribers.add(client);
            client.on('close', () => subscribers.delete(client));
        }
    });
});

function publish(text) {
    for (const client of subscribers) client.send(text, { binary: false });
}

function publishFramed(text) {
    const frame = Buffer.concat(Sender.frame(text, { fin: true, opcode: 1, mask: false, readOnly: false, rsv1: false }));
    for (const client of subscribers) client._socket.write(frame);
}

http.listen({ host: '127.0.0.1', port: Number(process.argv[2]), backlog: 4096 });
