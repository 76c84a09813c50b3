import { OrderStatusBadge, useWebSocket, useWebSocketEvent, WebSocketProvider } from 'omnicast/react';
import { shareAcrossTabs } from 'omnicast/tabs';
import { StrictMode, useState } from 'react';
import { createRoot } from 'react-dom/client';

const userId = new URLSearchParams(location.search).get('user') ?? 'ada';

const client = shareAcrossTabs({
  scope: userId,
  reconnectInterval: 200,
  auth: () => {
    console.log('auth');
    return { userId, role: 'admin', sessionId: userId, expiresAt: Date.now() + 3_600_000 };
  },
});

Object.assign(window, { client });

function Page() {
  const { session, isReady } = useWebSocket({ namespaces: ['orders'] });
  const [ids, setIds] = useState<string[]>([]);
  useWebSocketEvent('order:created', ({ orderId }) => setIds((before) => [...before, orderId]));
  useWebSocketEvent('gap', ({ reason }) => console.log('gap', reason));
  return (
    <>
      <p id="session">{isReady ? session?.connectionId : 'none'}</p>
      <p id="ids">{ids.join(' ')}</p>
      <OrderStatusBadge orderId="order_123" initialStatus="pending" />
    </>
  );
}

createRoot(document.getElementById('root') as HTMLElement).render(
  <StrictMode>
    <WebSocketProvider client={client}>
      <Page />
    </WebSocketProvider>
  </StrictMode>,
);
