'use client';
// Values within a text: badges and prices.

import type { ReactElement, ReactNode } from 'react';
import type { OrderStatus } from '../generated/events.js';
import { type Frame, type FreshnessLabels, frameOf, type LiveProps } from './frame.js';
import { useOrderStatus, usePrice, useStock } from './live.js';
import { type MoneyProps, money } from './money.js';

interface MarkProps extends Pick<Frame<object>, 'of' | 'note' | 'frame'> {
  children: ReactNode;
  more?: ReactNode;
}

function Mark({ of, note, frame, children, more }: MarkProps): ReactElement {
  return (
    <span {...frame} title={note}>
      <span role="status">{children}</span>
      {more}
      {/* Not announced: a page may have hundreds. */}
      {of.isFresh ? null : <Hidden>{` (${note})`}</Hidden>}
    </span>
  );
}

/** For those who hear the page. */
function Hidden({ children }: { children: string }): ReactElement {
  return <span className="omnicast-hidden">{children}</span>;
}

export interface OrderStatusBadgeProps extends LiveProps {
  orderId: string;
  /** What the page knows. A change of it counts more than what events said before. */
  initialStatus?: OrderStatus | undefined;
  labels?: Partial<Record<OrderStatus | 'deleted' | 'unknown', string> & FreshnessLabels> | undefined;
}

const STATUS_LABELS = {
  pending: 'Pending',
  processing: 'Processing',
  shipped: 'Shipped',
  delivered: 'Delivered',
  cancelled: 'Cancelled',
  deleted: 'Deleted',
  unknown: 'Unknown',
};

/** The status of an order. */
export function OrderStatusBadge(props: OrderStatusBadgeProps): ReactElement {
  const of = useOrderStatus(props.orderId, props.initialStatus);
  const { value: status = 'unknown' } = of;
  const { frame, note, labels } = frameOf('badge', of, props, STATUS_LABELS);
  return (
    <Mark of={of} note={note} frame={{ ...frame, 'data-status': status }}>
      {labels[status] ?? status}
    </Mark>
  );
}

type Level = 'in' | 'low' | 'out' | 'unknown';

export interface StockBadgeProps extends LiveProps {
  productId: string;
  /** What the page knows. A change of it counts more than what events said before. */
  initialStock?: number | undefined;
  /** So many or fewer are few, where no event said what the shop calls low. By default 5. */
  lowAt?: number | undefined;
  /** By level; `{count}` stands for how many there are. */
  labels?: Partial<Record<Level, string> & FreshnessLabels> | undefined;
}

const STOCK_LABELS = {
  in: 'In stock',
  low: 'Only {count} left',
  out: 'Sold out',
  unknown: 'Stock unknown',
};

/** Whether a product can be had. */
export function StockBadge(props: StockBadgeProps): ReactElement {
  const of = useStock(props.productId, props.initialStock);
  const { count = NaN, threshold = props.lowAt ?? 5 } = of.value ?? {};
  const level = count <= 0 ? 'out' : count <= threshold ? 'low' : count > 0 ? 'in' : 'unknown';
  const { frame, note, labels, locale } = frameOf('badge', of, props, STOCK_LABELS);
  return (
    <Mark of={of} note={note} frame={{ ...frame, 'data-stock': level }}>
      {labels[level].replace('{count}', () => count.toLocaleString(locale))}
    </Mark>
  );
}

export interface PriceTagProps extends LiveProps, MoneyProps {
  productId: string;
  /** What the page knows. A change of it counts more than what events said before. */
  initialPrice?: number | undefined;
  /** Show the price before as well, where it was higher. */
  showBefore?: boolean | undefined;
  labels?: Partial<{ before: string; unknown: string } & FreshnessLabels> | undefined;
}

const PRICE_LABELS = { before: 'Before:', unknown: '–' };

/** The price of a product. */
export function PriceTag(props: PriceTagProps): ReactElement {
  const { currency } = props;
  const of = usePrice(props.productId, props.initialPrice);
  const { amount = NaN, before = 0 } = of.value ?? {};
  const { frame, note, labels, locale } = frameOf('price', of, props, PRICE_LABELS);
  const was = props.showBefore && before > amount && (
    <>
      <Hidden>{` ${labels.before}`}</Hidden> <s>{money(before, locale, currency)}</s>
    </>
  );
  return (
    <Mark of={of} note={note} frame={{ ...frame, 'data-price': amount }} more={was}>
      {amount === amount ? money(amount, locale, currency) : labels.unknown}
    </Mark>
  );
}
