// The one emitter of this process, for whoever does not want to pass one around.

import { createEmitter } from './emitter.js';
import { checkOptions } from './options.js';
import { type ShopEvents, shopEvents } from './shop.js';
import type { Emitter, EmitterOptions } from './types.js';

interface Shared {
  options: EmitterOptions;
  emitter?: Emitter;
  events?: ShopEvents;
}

// On the process itself: bundlers load a module several times, and development servers again and again.
const KEY = Symbol.for('omnicast.emitter');

const shared = () => ((globalThis as { [KEY]?: Shared })[KEY] ??= { options: {} });

/**
 * Says where the node of this process is. What was emitted before goes where it was going. Without it, the node
 * is looked for where its command line looks.
 */
export function configureEmitter(options: EmitterOptions): void {
  // Here rather than at the first event, where nobody would look for it.
  checkOptions(options);
  const { emitter } = shared();
  (globalThis as { [KEY]?: Shared })[KEY] = { options };
  void emitter?.close();
}

/** The emitter of this process, made by the first call. */
export function getEmitter(): Emitter {
  const own = shared();
  return (own.emitter ??= createEmitter(own.options));
}

function events(): ShopEvents {
  const own = shared();
  return (own.events ??= shopEvents(getEmitter()));
}

/** Of an order: `emitOrderEvent('created', { id, customerId, customerName, total, status, channel })`. */
export const emitOrderEvent: ShopEvents['emitOrderEvent'] = (...args) => events().emitOrderEvent(...args);

/** Of a customer: `emitCustomerActivity('cart_add', { customerId, productId, productName })`. */
export const emitCustomerActivity: ShopEvents['emitCustomerActivity'] = (...args) => events().emitCustomerActivity(...args);

/** Of a product: `emitProductEvent('price_changed', { id, productName, sku, oldPrice, newPrice })`. */
export const emitProductEvent: ShopEvents['emitProductEvent'] = (...args) => events().emitProductEvent(...args);

/** Of a stock: `emitInventoryEvent('updated', { id, productName, sku, oldStock, newStock, threshold })`. */
export const emitInventoryEvent: ShopEvents['emitInventoryEvent'] = (...args) => events().emitInventoryEvent(...args);

/** Of a payment: `emitPaymentEvent('received', { id, orderId, customerId, amount, method })`. */
export const emitPaymentEvent: ShopEvents['emitPaymentEvent'] = (...args) => events().emitPaymentEvent(...args);

/** For people: `emitSystemNotification({ title, message, targetRoles: ['staff'] })`. */
export const emitSystemNotification: ShopEvents['emitSystemNotification'] = (...args) => events().emitSystemNotification(...args);

/** Publishes all of these events or none. */
export const emitEvents: Emitter['emitEvents'] = (...args) => getEmitter().emitEvents(...args);

/** Any of the 23 events, with its exact payload: `wsEvents.orderCreated(payload, { userIds: ['u_1'] })`. */
export const wsEvents: ShopEvents['wsEvents'] = new Proxy({} as ShopEvents['wsEvents'], {
  get: (_, name) => Reflect.get(events().wsEvents, name),
  has: (_, name) => Reflect.has(events().wsEvents, name),
  ownKeys: () => Reflect.ownKeys(events().wsEvents),
  getOwnPropertyDescriptor: (_, name) => Reflect.getOwnPropertyDescriptor(events().wsEvents, name),
});
