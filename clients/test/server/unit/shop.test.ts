// What the helpers say, and that they say it of every event.
import { describe, expect, it } from 'vitest';
import { type EmitEvent, type Emitter, shopEvents } from 'omnicast/server';
import { readCatalogue } from '../../../scripts/catalogue.mjs';
import { ENTITY } from '../../../src/server/catalogue.js';

const { events } = readCatalogue();

/** An emitter that keeps what it is given. */
function told() {
  const got: object[] = [];
  const emitter = {
    emit: (type: string, data: object, options: object = {}) => void got.push({ type, data, ...options }),
    emitEvents: (list: EmitEvent[], options: object) => void got.push(...list.map((event) => ({ ...event, ...options }))),
  } as unknown as Emitter;
  return { got, ...shopEvents(emitter) };
}

const product = { productId: 'p', productName: 'Mug', sku: 'MUG' };

describe('the catalogue', () => {
  it('is the node’s, with the field of each entity', () => {
    const keys = Object.fromEntries(events.map(({ type, key }: { type: string; key?: string }) => [type, key]));
    expect(ENTITY).toEqual(keys);
  });

  it('has a method for each of its types', () => {
    const { wsEvents, got } = told();
    const camel = (name: string) => name.charAt(0).toLowerCase() + name.slice(1);
    const names = events.map(({ name }: { name: string }) => camel(name)).sort();
    expect(Object.keys(wsEvents).sort()).toEqual(names);
    expect(names.length).toBe(23);
    for (const { type, name } of events) {
      const emit = wsEvents[camel(name) as keyof typeof wsEvents] as (data: object, options: object) => void;
      emit({ x: 1 }, { userIds: ['u'] });
      expect(got.at(-1)).toEqual({ type, data: { x: 1 }, userIds: ['u'] });
    }
  });
});

describe('the helpers', () => {
  it('take the id of the thing by either name', () => {
    const { emitOrderEvent, emitPaymentEvent, emitProductEvent, got } = told();
    emitOrderEvent('deleted', { id: 'o' });
    emitOrderEvent('deleted', { orderId: 'o' });
    emitOrderEvent('deleted', { orderId: 'o', id: 'other' });
    emitPaymentEvent('failed', { id: 'pay', orderId: 'o', customerId: 'c', amount: 1, reason: 'r', retryable: true });
    emitProductEvent('deleted', { id: 'p' }, { roles: ['guest'] });
    expect(got).toEqual([
      { type: 'order:deleted', data: { orderId: 'o' } },
      { type: 'order:deleted', data: { orderId: 'o' } },
      { type: 'order:deleted', data: { orderId: 'o', id: 'other' } },
      {
        type: 'payment:failed',
        data: { paymentId: 'pay', orderId: 'o', customerId: 'c', amount: 1, reason: 'r', retryable: true },
      },
      { type: 'product:deleted', data: { productId: 'p' }, roles: ['guest'] },
    ]);
  });

  it('fill in what follows from the rest, and leave what is said', () => {
    const { emitOrderEvent, emitCustomerActivity, emitProductEvent, emitPaymentEvent, emitSystemNotification, got } = told();
    const now = Date.now();
    const data = () => (got.at(-1) as { data: Record<string, unknown> }).data;
    const change = { id: 'o', customerId: 'c', customerName: 'Ada', oldStatus: 'pending', newStatus: 'shipped' } as const;
    emitOrderEvent('status_changed', change);
    expect(data().timestamp).toBeGreaterThanOrEqual(now);
    emitOrderEvent('status_changed', { ...change, timestamp: 7 });
    expect(data().timestamp).toBe(7);
    emitCustomerActivity('cart_add', { id: 'c', productId: 'p' });
    expect(got.at(-1)).toMatchObject({ type: 'customer:activity', data: { customerId: 'c', action: 'cart_add', productId: 'p' } });
    expect(data().timestamp).toBeGreaterThanOrEqual(now);
    emitCustomerActivity('offline', { customerId: 'c' });
    expect(got.at(-1)).toMatchObject({ type: 'customer:offline', data: { customerId: 'c', isOnline: false } });
    expect(data().lastSeen).toBeGreaterThanOrEqual(now);
    emitCustomerActivity('added_to_cart', { customerId: 'c', productId: 'p', productName: 'Mug', quantity: 1 });
    expect(got.at(-1)).toMatchObject({ type: 'customer:added_to_cart' });
    for (const [oldPrice, newPrice, percentage] of [[10, 12.5, 25], [3, 2, -33.33], [0, 5, 100], [0, 0, 0]] as const) {
      emitProductEvent('price_changed', { ...product, oldPrice, newPrice });
      expect(data()).toEqual({ ...product, oldPrice, newPrice, changePercentage: percentage });
    }
    emitPaymentEvent('received', { id: 'pay', orderId: 'o', customerId: 'c', amount: 1, method: 'card' });
    expect(data().status).toBe('success');
    emitSystemNotification({ title: 't', message: 'm', targetRoles: ['staff'] }, { excludeSessionId: 's' });
    expect(got.at(-1)).toEqual({
      type: 'system:notification',
      data: { title: 't', message: 'm', severity: 'info', targetRoles: ['staff'] },
      excludeSessionId: 's',
    });
  });

  const stocks: [newStock: number, threshold: number | undefined, also: object | undefined][] = [
    [6, 5, undefined],
    [5, 5, { currentStock: 5, threshold: 5, severity: 'low' }],
    [3, 5, { currentStock: 3, threshold: 5, severity: 'low' }],
    [2, 5, { currentStock: 2, threshold: 5, severity: 'critical' }],
    [0, 5, {}],
    [-1, 5, {}],
    [0, undefined, {}],
    [1, undefined, undefined],
    [0, 0, {}],
    [1, 0, undefined],
  ];
  for (const [newStock, threshold, also] of stocks) {
    it(`of a stock of ${newStock} with the threshold ${threshold}`, () => {
      const { emitInventoryEvent, got } = told();
      const limit = threshold === undefined ? {} : { threshold };
      emitInventoryEvent('updated', { ...product, oldStock: 9, newStock, ...limit }, { roles: ['staff'], idempotencyKey: 'k' });
      const { type, data, ...rest } = got[0] as { type: string; data: object };
      expect({ type, data }).toEqual({ type: 'inventory:updated', data: { ...product, oldStock: 9, newStock, difference: newStock - 9 } });
      expect(rest).toMatchObject({ roles: ['staff'], idempotencyKey: 'k' });
      expect(got.length).toBe(also ? 2 : 1);
      if (!also) return;
      const second = newStock > 0 ? 'inventory:low_stock' : 'inventory:out_of_stock';
      expect(got[1]).toMatchObject({ type: second, data: { ...product, ...also }, roles: ['staff'], idempotencyKey: 'k:1' });
    });
  }

  it('of a stock that is said to be low', () => {
    const { emitInventoryEvent, got } = told();
    emitInventoryEvent('low_stock', { ...product, currentStock: 2, threshold: 4 });
    emitInventoryEvent('low_stock', { ...product, currentStock: 2, threshold: 4, severity: 'low' });
    emitInventoryEvent('restocked', { ...product, newStock: 2, addedQuantity: 1 });
    expect(got).toMatchObject([
      { type: 'inventory:low_stock', data: { severity: 'critical' } },
      { type: 'inventory:low_stock', data: { severity: 'low' } },
      { type: 'inventory:restocked' },
    ]);
  });
});
