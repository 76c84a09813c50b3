import { type AuthReason } from 'omnicast';
import { OrderStatusBadge, useWebSocket } from 'omnicast/react';
import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';

async function auth(reason: AuthReason): Promise<string> {
  const reply = await fetch(`/token?reason=${reason}`);
  if (!reply.ok) throw new Error(`no token: ${reply.status}`);
  return reply.text();
}

function Page() {
  const { session, error, reconnectAttempts } = useWebSocket({ auth, reconnectInterval: 200 });
  return (
    <>
      <p id="session">{session ? `${session.userId} on ${session.connectionId} until ${session.expiresAt}` : 'none'}</p>
      <p id="error">{error?.code ?? 'none'}</p>
      <p id="attempts">{reconnectAttempts}</p>
      <OrderStatusBadge orderId="order_1" initialStatus="pending" />
    </>
  );
}

createRoot(document.getElementById('root') as HTMLElement).render(
  <StrictMode>
    <Page />
  </StrictMode>,
);
