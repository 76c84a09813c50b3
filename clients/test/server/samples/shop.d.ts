// What the samples take for granted: a shop's own database, and an order that came in.
import type { OrderStatus } from 'omnicast/server';

interface Order {
  id: string;
  customerId: string;
  customerName: string;
  total: number;
  status: OrderStatus;
  channel: string;
}

declare global {
  function createOrder(data: unknown): Promise<Order>;
  var data: unknown;
}
