import { LiveCustomerCount, LiveSalesTicker, OrderStatusBadge } from 'omnicast/react';
import { latestOrders } from '@/lib/orders';
import { AdvanceButton, OrderButton } from './buttons';

// What is in the database now; from there on the page follows the events.
export const dynamic = 'force-dynamic';

export default async function Page() {
  const orders = await latestOrders(10);
  return (
    <main>
      <h1>A small shop</h1>
      <div style={{ display: 'grid', gap: '1rem' }}>
        <LiveCustomerCount showDetails />
        <LiveSalesTicker maxItems={10} />
      </div>
      <h2>Orders</h2>
      <OrderButton />
      <ul>
        {orders.map(({ id, customerName, status }) => (
          <li key={id}>
            {customerName}: <OrderStatusBadge orderId={id} initialStatus={status} /> <AdvanceButton id={id} />
          </li>
        ))}
      </ul>
    </main>
  );
}
