import { useWebSocket } from 'omnicast/react';
import { useEffect } from 'react';

export function MyComponent() {
  const ws = useWebSocket({
    autoConnect: true,
    reconnect: true,
    maxReconnectAttempts: 5,
    namespaces: ['orders', 'products'],
    auth: {
      userId: 'user_123',
      role: 'admin',
      sessionId: 'session_456',
      expiresAt: Date.now() + 86400000,
    },
  });

  useEffect(() => {
    // Listen to order created events
    const cleanup = ws.on('order:created', (data) => {
      console.log('New order:', data);
    });

    return cleanup;
  }, [ws]);

  return (
    <div>
      {ws.isConnected ? 'Connected' : 'Disconnected'}
    </div>
  );
}
