// The browser snippet of the design, run by another implementation of RFC 6455.
// Usage: node run.mjs <url>. Prints every message as one line of JSON; ends at the first order, or with
// status 1 when the node closes before it.
import WebSocket from 'ws';

const ws = new WebSocket(process.argv[2]);

ws.onopen = () => {
  ws.send(JSON.stringify({
    type: 'auth',
    data: {
      userId: 'test_user',
      role: 'admin',
      sessionId: 'test_session',
      expiresAt: Date.now() + 3600000
    }
  }));

  ws.send(JSON.stringify({
    type: 'subscribe',
    data: { namespace: 'orders' }
  }));
};

let done = false;

ws.onmessage = (event) => {
  const message = JSON.parse(event.data);
  console.log(JSON.stringify(message));
  if (message.type === 'order:created') {
    done = true;
    ws.close(1000, 'seen');
  }
};

ws.onerror = (event) => console.error(event.message);

ws.onclose = (event) => {
  console.log(JSON.stringify({ type: 'closed', code: event.code, clean: event.wasClean }));
  process.exitCode = done ? 0 : 1;
};
