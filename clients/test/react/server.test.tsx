// @vitest-environment node
import { useWebSocket, useWebSocketEvent, useWebSocketNamespace, WebSocketProvider } from 'omnicast/react';
import NotificationToasts from 'omnicast/react/NotificationToasts';
import PriceTag from 'omnicast/react/PriceTag';
import StockBadge from 'omnicast/react/StockBadge';
import { renderToString } from 'react-dom/server';
import { expect, it } from 'vitest';
import { MyComponent } from '../samples/BasicConnection.js';
import { Dashboard } from '../samples/Dashboard.js';

function Inside() {
  useWebSocketEvent('order:created', () => {});
  useWebSocketNamespace('orders');
  return <i>{useWebSocket().status.phase}</i>;
}

it('a server renders what is known, and opens nothing', async () => {
  expect(typeof window).toBe('undefined');
  class Socket {
    constructor() {
      throw new Error('a socket on a server');
    }
  }
  const html = renderToString(
    <WebSocketProvider url="/api/ws" auth="token" WebSocket={Socket as never}>
      <Inside />
      <Dashboard />
      <MyComponent />
      <StockBadge productId="p" initialStock={3} />
      <PriceTag productId="p" initialPrice={1234.5} currency="EUR" locale="de-DE" />
      <NotificationToasts />
    </WebSocketProvider>,
  );
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(html).toContain('<i>idle</i>');
  expect(html).toContain('Disconnected');
  expect(html).toContain('Pending');
  expect(html).toContain('Only 3 left');
  expect(html).toContain('1.234,50\u00a0€');
  expect(html).toContain('Customers online');
});
