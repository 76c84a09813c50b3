import { emitOrderEvent } from 'omnicast/server';
import { advanceOrder } from '@/lib/orders';

export async function PATCH(_: Request, { params }: { params: Promise<{ id: string }> }) {
  const moved = await advanceOrder((await params).id);
  if (!moved) return Response.json({ error: 'there is nothing to do' }, { status: 409 });
  const { order, oldStatus } = moved;
  const { id, customerId, customerName, status } = order;

  emitOrderEvent('status_changed', { id, customerId, customerName, oldStatus, newStatus: status });

  return Response.json(order);
}
