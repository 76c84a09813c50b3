// app/api/orders/route.ts
import { emitOrderEvent } from 'omnicast/server';

export async function POST(request: Request) {
  // Create order in database
  const order = await createOrder(data);

  // Emit WebSocket event
  emitOrderEvent('created', {
    id: order.id,
    customerId: order.customerId,
    customerName: order.customerName,
    total: order.total,
    status: order.status,
    channel: order.channel,
  });

  return Response.json(order);
}
