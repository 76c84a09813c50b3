// The events of a shop, as its backend says them.

import type {
  CustomerAction,
  CustomerActivity,
  CustomerAddedToCart,
  CustomerOffline,
  CustomerOnline,
  CustomerViewingProduct,
  EventMap,
  InventoryLowStock,
  InventoryOutOfStock,
  InventoryRestocked,
  InventoryUpdated,
  OrderCreated,
  OrderDeleted,
  OrderStatusChanged,
  OrderUpdated,
  PaymentFailed,
  PaymentReceived,
  PaymentRefunded,
  ProductCreated,
  ProductDeleted,
  ProductPriceChanged,
  ProductUpdated,
  SystemNotification,
} from '../generated/events.js';
import { ENTITY } from './catalogue.js';
import type { Emitted } from './emitted.js';
import type { EmitEvent, EmitOptions, Emitter } from './types.js';

/** The entity's id may be called `id` as well. */
type Named<D, I extends keyof D & string> = Omit<D, I> &
  (({ [K in I]: string } & { id?: string }) | ({ [K in I]?: never } & { id: string }));

/** These fields have a value by themselves. */
type Given<D, K extends keyof D> = Omit<D, K> & Partial<Pick<D, K>>;

/** What `emitOrderEvent` takes, by action. */
export interface OrderInputs {
  created: Named<OrderCreated, 'orderId'>;
  updated: Named<OrderUpdated, 'orderId'>;
  /** `timestamp` is now, where it is not there. */
  status_changed: Named<Given<OrderStatusChanged, 'timestamp'>, 'orderId'>;
  deleted: Named<OrderDeleted, 'orderId'>;
}

type Activity = Named<Given<Omit<CustomerActivity, 'action'>, 'timestamp'>, 'customerId'>;

/** What `emitCustomerActivity` takes, by action. */
export interface CustomerInputs extends Record<CustomerAction, Activity> {
  viewing_product: Named<CustomerViewingProduct, 'customerId'>;
  added_to_cart: Named<CustomerAddedToCart, 'customerId'>;
  online: Named<Given<CustomerOnline, 'isOnline' | 'lastSeen'>, 'customerId'>;
  offline: Named<Given<CustomerOffline, 'isOnline' | 'lastSeen'>, 'customerId'>;
}

/** What `emitProductEvent` takes, by action. */
export interface ProductInputs {
  /** `changePercentage` follows from the prices. */
  price_changed: Named<Given<ProductPriceChanged, 'changePercentage'>, 'productId'>;
  created: Named<ProductCreated, 'productId'>;
  updated: Named<ProductUpdated, 'productId'>;
  deleted: Named<ProductDeleted, 'productId'>;
}

/** What `emitInventoryEvent` takes, by action. */
export interface InventoryInputs {
  /**
   * `difference` follows from the stocks. With a `threshold`, a stock at or below it also emits `low_stock`; a
   * stock of nothing emits `out_of_stock`, with or without.
   */
  updated: Named<Given<InventoryUpdated, 'difference'>, 'productId'> & { threshold?: number };
  /** `severity` is `critical` at or below half of the threshold. */
  low_stock: Named<Given<InventoryLowStock, 'severity'>, 'productId'>;
  out_of_stock: Named<InventoryOutOfStock, 'productId'>;
  restocked: Named<InventoryRestocked, 'productId'>;
}

/** What `emitPaymentEvent` takes, by action. */
export interface PaymentInputs {
  /** `status` is `success`, where it is not there. */
  received: Named<Given<PaymentReceived, 'status'>, 'paymentId'>;
  failed: Named<PaymentFailed, 'paymentId'>;
  refunded: Named<PaymentRefunded, 'paymentId'>;
}

/** `order:status_changed` → `orderStatusChanged`. */
type MethodName<T extends string> = T extends `${infer A}:${infer B}`
  ? `${A}${Pascal<B>}`
  : never;
type Pascal<T extends string> = T extends `${infer A}_${infer B}`
  ? `${Capitalize<A>}${Pascal<B>}`
  : Capitalize<T>;

/** A method for each event type: `wsEvents.orderCreated(payload, options)`. */
export type WsEvents = {
  readonly [T in keyof EventMap as MethodName<T>]: (data: EventMap[T], options?: EmitOptions) => Emitted<string>;
};

/** What a shop emits, over one emitter. Settles with the id of the event. */
export interface ShopEvents {
  readonly wsEvents: WsEvents;
  emitOrderEvent<A extends keyof OrderInputs>(action: A, data: OrderInputs[A], options?: EmitOptions): Emitted<string>;
  emitCustomerActivity<A extends keyof CustomerInputs>(action: A, data: CustomerInputs[A], options?: EmitOptions): Emitted<string>;
  emitProductEvent<A extends keyof ProductInputs>(action: A, data: ProductInputs[A], options?: EmitOptions): Emitted<string>;
  /** Settles with the ids of what it emitted, which may be two events; then both are published or none. */
  emitInventoryEvent<A extends keyof InventoryInputs>(action: A, data: InventoryInputs[A], options?: EmitOptions): Emitted<string[]>;
  emitPaymentEvent<A extends keyof PaymentInputs>(action: A, data: PaymentInputs[A], options?: EmitOptions): Emitted<string>;
  /** `severity` is `info`, where it is not there. */
  emitSystemNotification(data: Given<SystemNotification, 'severity'>, options?: EmitOptions): Emitted<string>;
}

type Fields = Record<string, unknown>;
type Type = keyof EventMap;

/** Says `id` as the event says it. */
function named(field: string, data: object): Fields {
  const { id, ...rest } = data as Fields;
  if (id === undefined) return rest;
  return field in rest ? { ...rest, id } : { ...rest, [field]: id };
}

const ACTIONS: ReadonlySet<string> = new Set<CustomerAction>([
  'viewing',
  'cart_add',
  'cart_remove',
  'checkout_start',
  'checkout_complete',
]);

function percentage({ oldPrice, newPrice }: Fields): number {
  const [before, after] = [Number(oldPrice), Number(newPrice)];
  if (before === 0) return after === 0 ? 0 : 100;
  return Math.round(((after - before) / before) * 10_000) / 100;
}

const severity = (stock: unknown, threshold: unknown) => (Number(stock) <= Number(threshold) / 2 ? 'critical' : 'low');

/** The name of the method that emits this type. */
export const methodName = (type: string) => type.replace(/[:_](.)/g, (_, letter: string) => letter.toUpperCase());

/** The shop's own words over this emitter. */
export function shopEvents(emitter: Emitter): ShopEvents {
  const emit = (type: string, data: Fields, options?: EmitOptions) => emitter.emit(type as Type, data as never, options);
  const wsEvents = Object.fromEntries(
    Object.keys(ENTITY).map((type) => [
      methodName(type),
      (data: EventMap[Type], options?: EmitOptions) => emitter.emit(type as Type, data, options),
    ]),
  ) as unknown as WsEvents;

  return {
    wsEvents,
    emitOrderEvent(action, data, options) {
      const defaults = action === 'status_changed' ? { timestamp: Date.now() } : {};
      return emit(`order:${action}`, { ...defaults, ...named('orderId', data) }, options);
    },
    emitCustomerActivity(action, data, options) {
      const fields = named('customerId', data);
      if (ACTIONS.has(action)) return emit('customer:activity', { timestamp: Date.now(), ...fields, action }, options);
      const presence = action === 'online' || action === 'offline';
      const defaults = presence ? { isOnline: action === 'online', lastSeen: Date.now() } : {};
      return emit(`customer:${action}`, { ...defaults, ...fields }, options);
    },
    emitProductEvent(action, data, options) {
      const fields = named('productId', data);
      const defaults = action === 'price_changed' ? { changePercentage: percentage(fields) } : {};
      return emit(`product:${action}`, { ...defaults, ...fields }, options);
    },
    emitInventoryEvent(action, data, { debounce, ...options } = {}) {
      const events: { type: string; data: Fields }[] = [];
      const fields = named('productId', data);
      if (action === 'updated') {
        const { threshold, ...rest } = fields;
        const { productId, productName, sku, newStock } = rest;
        const product = { productId, productName, sku };
        const difference = Number(rest.newStock) - Number(rest.oldStock);
        events.push({ type: 'inventory:updated', data: { difference, ...rest } });
        if (Number(newStock) <= 0) {
          events.push({ type: 'inventory:out_of_stock', data: product });
        } else if (threshold !== undefined && Number(newStock) <= Number(threshold)) {
          const about = { currentStock: newStock, threshold, severity: severity(newStock, threshold) };
          events.push({ type: 'inventory:low_stock', data: { ...product, ...about } });
        }
      } else if (action === 'low_stock') {
        const { currentStock, threshold } = fields;
        events.push({ type: 'inventory:low_stock', data: { severity: severity(currentStock, threshold), ...fields } });
      } else {
        events.push({ type: `inventory:${action}`, data: fields });
      }
      const addressed = events.map((event, index) => {
        // The second event is another one.
        const again = index > 0 && options.idempotencyKey ? { idempotencyKey: `${options.idempotencyKey}:${index}` } : {};
        return { ...event, ...options, ...again } as unknown as EmitEvent;
      });
      return emitter.emitEvents(addressed, { debounce });
    },
    emitPaymentEvent(action, data, options) {
      const defaults = action === 'received' ? { status: 'success' } : {};
      return emit(`payment:${action}`, { ...defaults, ...named('paymentId', data) }, options);
    },
    emitSystemNotification: (data, options) => emit('system:notification', { severity: 'info', ...data }, options),
  };
}
