// Bun's own publish: `bun bun.js PORT`. Subscribers come to /, publishers to /publish.
const server = Bun.serve({
    hostname: '127.0.0.1',
    port: Number(process.argv[2]),
    fetch(request, server) {
        const publisher = new URL(request.url).pathname === '/publish';
        return server.upgrade(request, { data: { publisher } }) ? undefined : new Response('upgrade', { status: 426 });
    },
    websocket: {
        perMessageDeflate: false,
        idleTimeout: 960,
        backpressureLimit: 64 << 20,
        open(socket) {
            if (!socket.data.publisher) socket.subscribe('inventory');
        },
        message(socket, text) {
            if (socket.data.publisher) server.publish('inventory', text);
        },
    },
});
