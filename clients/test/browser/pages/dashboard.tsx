import { PriceTag, StockBadge, useWebSocketEvent, WebSocketProvider } from 'omnicast/react';
import NotificationToasts from 'omnicast/react/NotificationToasts';
import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import { Dashboard } from '../../samples/Dashboard.js';

const auth = () => ({ userId: 'wall', role: 'admin', sessionId: 'wall', expiresAt: Date.now() + 3_600_000 });

function Told() {
  useWebSocketEvent('gap', ({ reason }) => console.log('gap', reason));
  useWebSocketEvent('recovered', ({ replayed }) => console.log('recovered', replayed));
  return null;
}

createRoot(document.getElementById('root') as HTMLElement).render(
  <StrictMode>
    <WebSocketProvider auth={auth} reconnectInterval={200} maxReconnectInterval={1_000}>
      <Told />
      <style>{`
        p { margin: 16px 0 0 }
        main > div { display: grid; grid-template-columns: 1fr 1fr; gap: 16px; align-items: start }
        main > div > .omnicast-badge { justify-self: start }
      `}</style>
      <main>
        <Dashboard />
        <p>
          Mug: <PriceTag productId="mug" initialPrice={12.5} showBefore />{' '}
          <StockBadge productId="mug" initialStock={40} />
        </p>
      </main>
      <NotificationToasts duration={3_000} />
    </WebSocketProvider>
  </StrictMode>,
);
