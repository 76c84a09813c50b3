'use client';
// State of the shop that follows its events. What a hook was given to begin with counts until an event
// says otherwise, and again when the page gives something else. After events were missed for good, a value
// is not fresh before the next event, before something else is given, or before its component is mounted anew.

import { useCallback, useState } from 'react';
import type { OmnicastError } from '../client/error.js';
import type { EventName, LiveEvent } from '../client/types.js';
import type { OrderStatus } from '../generated/events.js';
import { useHub, useKnown, useStatus } from './hooks.js';
import type { Topic } from './knowledge.js';

/** A value that follows events. */
export interface Live<T> {
  readonly value: T;
  /** When it came to be, in ms since the epoch. `null` where no event said so. */
  readonly updatedAt: number | null;
  /** Whether this is how it stands now. Otherwise it is what was known last. */
  readonly isFresh: boolean;
  /** Not fresh: when it was last known to be right, where it ever was. */
  readonly freshAt: number | null;
  /** Why the node does not tell. */
  readonly error: OmnicastError | null;
}

interface Base<G> {
  /** Of what. */
  readonly name: string;
  /** What the page gave, as JSON. */
  readonly text: string | undefined;
  readonly value: G | undefined;
  /** The moment up to which it replaces what events said. */
  readonly at: number;
}

/** How to see a topic, given what events said since the moment of what there was to begin with. */
type View<T, G, V> = (told: T | undefined, given: G | undefined, at: number) => V;

function useLive<T, G, V>(topic: Topic<T>, view: View<T, G, V>, given?: G): Live<V> {
  const hub = useHub();
  const { name, isLog } = topic;
  const known = useKnown(hub, topic);
  const { fresh, freshAt } = useStatus(hub);
  const text = JSON.stringify(given);
  const [base, setBase] = useState<Base<G>>({ name, text, value: given, at: known.gap });
  if (base.name !== name || base.text !== text) {
    // Of another entity, events are as good as what is given; of the same one this is newer.
    setBase({ name, text, value: given, at: base.name === name ? Math.max(known.changed, known.gap) : known.gap });
  }
  const isNews = known.changed > base.at;
  // The next event makes up for what was missed, except where each counts.
  const hasGap = known.gap > (isNews && !isLog ? known.changed : base.at);
  const isFresh = fresh && known.isReady && !hasGap;
  return {
    value: view(isNews ? known.value : undefined, base.value, base.at),
    updatedAt: isNews ? known.updatedAt : null,
    isFresh,
    freshAt: isFresh ? null : freshAt,
    error: known.error,
  };
}

/** The status of an order; `deleted` where there is none any more. */
export function useOrderStatus(
  orderId: string,
  initialStatus?: OrderStatus,
): Live<OrderStatus | 'deleted' | undefined> {
  return useLive(
    {
      name: `order ${orderId}`,
      namespace: 'orders',
      keys: [orderId],
      field: 'orderId',
      next(_, { type, data }): OrderStatus | 'deleted' | undefined {
        if (type === 'order:deleted') return 'deleted';
        if (type === 'order:status_changed') return data.newStatus;
        if (type === 'order:updated') return data.changes.status as OrderStatus | undefined;
        return type === 'order:created' ? data.status : undefined;
      },
    },
    (told, given) => told ?? given,
    initialStatus,
  );
}

export interface Stock {
  readonly count: number;
  /** Where the shop calls it low, as far as an event said so. */
  readonly threshold?: number | undefined;
}

/** How many of a product there are. */
export function useStock(productId: string, initialStock?: number): Live<Stock | undefined> {
  return useLive(
    {
      name: `stock ${productId}`,
      namespace: 'inventory',
      keys: [productId],
      field: 'productId',
      next(before, { type, data }): Stock | undefined {
        if (type === 'inventory:low_stock') return { count: data.currentStock, threshold: data.threshold };
        if (type === 'inventory:out_of_stock') return { ...before, count: 0 };
        const isCount = type === 'inventory:updated' || type === 'inventory:restocked';
        return isCount ? { ...before, count: data.newStock } : undefined;
      },
    },
    (told, count) => told ?? (count === undefined ? told : { count }),
    initialStock,
  );
}

export interface Price {
  readonly amount: number;
  /** What it was before. */
  readonly before?: number | undefined;
}

/** The price of a product. */
export function usePrice(productId: string, initialPrice?: number): Live<Price | undefined> {
  return useLive(
    {
      name: `price ${productId}`,
      namespace: 'products',
      keys: [productId],
      field: 'productId',
      next(before, { type, data }): Price | undefined {
        if (type === 'product:price_changed') return { amount: data.newPrice, before: data.oldPrice };
        const amount = type === 'product:created' ? data.price : type === 'product:updated' && data.changes.price;
        return typeof amount === 'number' ? { amount, before: before?.amount } : undefined;
      },
    },
    (told, amount) => told ?? (amount === undefined ? told : { amount }),
    initialPrice,
  );
}

/** How many customers are online; for roles that may see `customers`. */
export function useCustomersOnline(): Live<number | undefined> {
  return useLive(
    {
      name: 'online',
      namespace: 'customers',
      next(before, { type }): number | undefined {
        const change = type === 'customer:online' ? 1 : type === 'customer:offline' ? -1 : 0;
        return change && before !== undefined ? Math.max(0, before + change) : undefined;
      },
      count: async (client) => (await client.presence()).customersOnline,
    },
    (told) => told,
  );
}

type Logged<T extends EventName> = LiveEvent<T> & { readonly moment: number };

/** A log of events of some types, the newest first, at most so many. */
function logOf<T extends EventName>(namespace: string, max: number, types: readonly T[]): Topic<readonly Logged<T>[]> {
  return {
    name: `log ${max} ${types}`,
    namespace,
    isLog: true,
    next: (before = [], event, moment) =>
      (types as readonly string[]).includes(event.type)
        ? [{ ...event, moment } as unknown as Logged<T>, ...before].slice(0, max)
        : undefined,
  };
}

/** What a customer did, as an event told it. */
export type CustomerEvent = LiveEvent<'customer:activity' | 'customer:viewing_product' | 'customer:added_to_cart'>;

/** What customers did last, the newest first. */
export function useCustomerActivity(max = 5): Live<readonly CustomerEvent[]> {
  return useLive(
    logOf('customers', max, ['customer:activity', 'customer:viewing_product', 'customer:added_to_cart']),
    (told): readonly CustomerEvent[] => told ?? [],
  );
}

export interface Sale {
  readonly orderId: string;
  readonly customerName: string;
  readonly total: number;
  readonly status: OrderStatus;
  readonly channel?: string | undefined;
  /** In ms since the epoch. */
  readonly timestamp: number;
}

/** So many events are kept beyond what is shown, for what they say about older orders. */
const MORE = 100;

/**
 * The latest orders, the newest first: those of events, and before them those that were given. Once
 * something was missed for good it is not fresh until it is given anew.
 */
export function useSales(
  max = 10,
  initial?: readonly Sale[],
): Live<readonly Sale[]> {
  return useLive(
    logOf('orders', max + MORE, ['order:created', 'order:status_changed', 'order:deleted']),
    (told = [], given: readonly Sale[] | undefined = [], at) =>
      told
        .filter(({ moment }) => moment > at)
        .reduceRight((sales, { type, data, timestamp }) => {
          const { orderId } = data;
          if (type === 'order:status_changed') {
            return sales.map((sale) => (sale.orderId === orderId ? { ...sale, status: data.newStatus } : sale));
          }
          const others = sales.filter((sale) => sale.orderId !== orderId);
          return type === 'order:created' ? [{ ...data, timestamp }, ...others] : others;
        }, given)
        .slice(0, max),
    initial,
  );
}

export type NotificationEvent = LiveEvent<'system:notification' | 'system:alert' | 'system:maintenance'>;

export interface Notifications extends Live<readonly NotificationEvent[]> {
  dismiss(id: string): void;
}

/** Notifications for this user, the newest first, until they are dismissed here. */
export function useNotifications(max = 20): Notifications {
  const [dismissed, setDismissed] = useState<readonly string[]>([]);
  const live = useLive(
    { ...logOf('system', max, ['system:notification', 'system:alert', 'system:maintenance']), isAddressed: true },
    (told): readonly NotificationEvent[] => (told ?? []).filter(({ id }) => !dismissed.includes(id)),
  );
  const dismiss = useCallback((id: string) => setDismissed((before) => [...before, id].slice(-2 * max)), [max]);
  return { ...live, dismiss };
}
