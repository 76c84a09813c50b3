import { emitOrderEvent } from 'omnicast/server';
import { createOrder, latestOrders } from '@/lib/orders';

export async function GET() {
  return Response.json(await latestOrders(50));
}

export async function POST(request: Request) {
  const order = await createOrder(await request.json().catch(() => ({})));

  // Nobody has to wait for it: it is sent in the background, in order, and again where it got lost.
  emitOrderEvent('created', {
    id: order.id,
    customerId: order.customerId,
    customerName: order.customerName,
    total: order.total,
    status: order.status,
    channel: order.channel,
  });

  return Response.json(order, { status: 201 });
}
