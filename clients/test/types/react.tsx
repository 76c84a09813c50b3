// What a page may write, and what it may not. Checked by `tsc` alone.
import type { OmnicastError, OrderCreated, OrderStatus } from 'omnicast';
import { OrderStatusBadge, PriceTag, useOrderStatus, useWebSocket, useWebSocketEvent, useWebSocketNamespace } from 'omnicast/react';
import DefaultBadge from 'omnicast/react/OrderStatusBadge';

const is = <T,>(_: T): void => {};

interface Fleet {
  events: { 'truck:moved': { truckId: string; km: number } };
  namespaces: { trucks: 'truck:moved' };
  publishes: {};
}

export function Page() {
  const ws = useWebSocket({ namespaces: ['orders'], auth: null });
  ws.on('order:created', (data, event) => {
    is<OrderCreated>(data);
    is<'orders'>(event.namespace);
    // @ts-expect-error: an order has no price
    data.price;
  });
  ws.on('orders', (data, event) => {
    is<string>(data.orderId);
    if (event.type === 'order:status_changed') is<OrderStatus>(event.data.newStatus);
  });
  ws.on('gap', (gap) => is<readonly string[]>(gap.namespaces));
  is<OmnicastError | null>(ws.error);
  // @ts-expect-error: there is no such event
  ws.on('order:eaten', () => {});
  // @ts-expect-error: there is no such namespace
  ws.subscribe('fleet');
  // @ts-expect-error: there is no such namespace
  useWebSocket({ namespaces: ['fleet'] });

  useWebSocketEvent('inventory:low_stock', ({ currentStock }) => is<number>(currentStock));
  useWebSocketEvent('error', (error) => is<string>(error.code), []);
  useWebSocketNamespace('orders', { keys: ['order_1'] });
  is<OrderStatus | 'deleted' | undefined>(useOrderStatus('order_1', 'pending').value);
  // @ts-expect-error: there is no such status
  useOrderStatus('order_1', 'lost');

  const fleet = useWebSocket<Fleet>({ namespaces: ['trucks'] });
  fleet.on('truck:moved', ({ km }) => is<number>(km));
  // @ts-expect-error: these trucks take no orders
  fleet.on('order:created', () => {});
  useWebSocketEvent<'truck:moved', Fleet>('truck:moved', ({ km }) => is<number>(km));

  return (
    <>
      <OrderStatusBadge orderId="order_1" initialStatus="pending" labels={{ pending: 'Offen', live: 'Aktuell' }} />
      <DefaultBadge orderId="order_1" locale="de-DE" className="mine" style={{ color: 'red' }} />
      <PriceTag productId="p" currency="EUR" showBefore />
      {/* @ts-expect-error: of which order? */}
      <OrderStatusBadge />
    </>
  );
}
