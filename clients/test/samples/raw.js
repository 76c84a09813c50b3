// @ts-nocheck: as somebody types it into a console.
const ws = new WebSocket('ws://localhost:3000/api/ws');

ws.onopen = () => {
  console.log('Connected');

  // Authenticate
  ws.send(JSON.stringify({
    type: 'auth',
    data: {
      userId: 'test_user',
      role: 'admin',
      sessionId: 'test_session',
      expiresAt: Date.now() + 3600000
    }
  }));

  // Subscribe to namespace
  ws.send(JSON.stringify({
    type: 'subscribe',
    data: { namespace: 'orders' }
  }));
};

ws.onmessage = (event) => {
  console.log('Message:', JSON.parse(event.data));
};
