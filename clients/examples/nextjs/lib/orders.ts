// The shop's database, as far as an example needs one: it is gone when the process ends.
import { randomUUID } from 'node:crypto';
import type { OrderStatus } from 'omnicast/server';

export interface Order {
  id: string;
  customerId: string;
  customerName: string;
  total: number;
  status: OrderStatus;
  channel: string;
  createdAt: number;
}

// On the process: each route is a bundle of its own.
const shop = globalThis as { orders?: Map<string, Order> };
const orders = (shop.orders ??= new Map<string, Order>());

const STEPS: readonly OrderStatus[] = ['pending', 'processing', 'shipped', 'delivered'];

export async function createOrder(data: Partial<Order>): Promise<Order> {
  const order: Order = {
    id: `order_${randomUUID().slice(0, 8)}`,
    customerId: data.customerId ?? 'cust_1',
    customerName: data.customerName ?? 'Ada',
    total: data.total ?? 42.5,
    status: 'pending',
    channel: 'web',
    createdAt: Date.now(),
  };
  orders.set(order.id, order);
  return order;
}

/** Moves an order on. Gives what it was before. */
export async function advanceOrder(id: string): Promise<{ order: Order; oldStatus: OrderStatus } | undefined> {
  const order = orders.get(id);
  const next = order && STEPS[STEPS.indexOf(order.status) + 1];
  if (!order || !next) return undefined;
  const oldStatus = order.status;
  order.status = next;
  return { order, oldStatus };
}

/** The latest orders, newest first. */
export async function latestOrders(count: number): Promise<Order[]> {
  return [...orders.values()].slice(-count).reverse();
}
