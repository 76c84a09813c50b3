import type { EventMap } from '../generated/events.js';

/** The field of each event that names its entity. A test compares it with the node's own catalogue. */
export const ENTITY = {
  'order:created': 'orderId',
  'order:updated': 'orderId',
  'order:status_changed': 'orderId',
  'order:deleted': 'orderId',
  'customer:activity': 'customerId',
  'customer:viewing_product': 'customerId',
  'customer:added_to_cart': 'customerId',
  'customer:online': 'customerId',
  'customer:offline': 'customerId',
  'inventory:updated': 'productId',
  'inventory:low_stock': 'productId',
  'inventory:out_of_stock': 'productId',
  'inventory:restocked': 'productId',
  'product:price_changed': 'productId',
  'product:created': 'productId',
  'product:updated': 'productId',
  'product:deleted': 'productId',
  'payment:received': 'orderId',
  'payment:failed': 'orderId',
  'payment:refunded': 'orderId',
  'system:notification': undefined,
  'system:alert': undefined,
  'system:maintenance': undefined,
} as const satisfies Record<keyof EventMap, string | undefined>;
