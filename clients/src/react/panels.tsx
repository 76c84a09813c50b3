'use client';
// Parts of a page with a title.

import type { ReactElement, ReactNode } from 'react';
import { clockTime, type Frame, type FreshnessLabels, frameOf, type LiveProps } from './frame.js';
import { type CustomerEvent, type Sale, useCustomerActivity, useCustomersOnline, useSales } from './live.js';
import { type MoneyProps, money } from './money.js';

interface PanelProps extends Pick<Frame<{ title: string; refused: string }>, 'of' | 'note' | 'frame' | 'labels'> {
  children: ReactNode;
}

function Panel({ of, note, frame, labels, children }: PanelProps): ReactElement {
  return (
    <section {...frame} aria-label={labels.title}>
      <header className="omnicast-header">
        <h2 className="omnicast-title">{labels.title}</h2>
        <span className="omnicast-freshness">{of.error ? labels.refused : note}</span>
      </header>
      {children}
    </section>
  );
}

/** Things and when they were, or a word where there is none. */
function Rows<T extends { timestamp: number }>({ none, locale, of, id, row }: {
  of: readonly T[];
  none: string;
  locale: string;
  id(item: T): string;
  row(item: T): ReactNode;
}): ReactElement {
  if (of.length === 0) return <p className="omnicast-none">{none}</p>;
  return (
    <ol className="omnicast-list">
      {of.map((item) => (
        <li key={id(item)} className="omnicast-row">
          {row(item)}
          {/* The time zone of a server is another one. */}
          <time dateTime={new Date(item.timestamp).toISOString()} suppressHydrationWarning>
            {clockTime(item.timestamp, locale)}
          </time>
        </li>
      ))}
    </ol>
  );
}

type Action = 'viewing' | 'cart_add' | 'cart_remove' | 'checkout_start' | 'checkout_complete';

export interface LiveCustomerCountProps extends LiveProps {
  /** Show also what customers did last. */
  showDetails?: boolean | undefined;
  /** How much of that. By default 5. */
  maxDetails?: number | undefined;
  /** `{customer}` and `{product}` stand for those. */
  labels?: Partial<CustomerLabels & FreshnessLabels> | undefined;
}

interface CustomerLabels extends Record<Action, string> {
  title: string;
  details: string;
  none: string;
  unknown: string;
  /** The node does not tell this user. */
  refused: string;
  someone: string;
  something: string;
}

const CUSTOMER_LABELS: CustomerLabels = {
  title: 'Customers online',
  details: 'Latest activity',
  none: 'Nothing yet',
  unknown: '–',
  refused: 'Not available to you',
  someone: 'Someone',
  something: 'a product',
  viewing: '{customer} is looking at {product}',
  cart_add: '{customer} put {product} into the cart',
  cart_remove: '{customer} took {product} out of the cart',
  checkout_start: '{customer} is checking out',
  checkout_complete: '{customer} has checked out',
};

function actionOf({ type, data }: CustomerEvent): Action {
  if (type === 'customer:activity') return data.action;
  return type === 'customer:added_to_cart' ? 'cart_add' : 'viewing';
}

function sentence(event: CustomerEvent, labels: CustomerLabels): string {
  const { data } = event;
  const customer = ('customerName' in data && data.customerName) || labels.someone;
  return (labels[actionOf(event)] ?? '')
    .replace('{customer}', () => customer)
    .replace('{product}', () => data.productName ?? labels.something);
}

/** How many customers are online; for roles that may see `customers`. */
export function LiveCustomerCount(props: LiveCustomerCountProps): ReactElement {
  const of = useCustomersOnline();
  const activity = useCustomerActivity(props.maxDetails);
  const { locale, labels, ...frame } = frameOf('panel', of, props, CUSTOMER_LABELS);
  return (
    <Panel {...frame} labels={labels}>
      <p className="omnicast-count" role="status" aria-label={labels.title}>
        {of.value?.toLocaleString(locale) ?? labels.unknown}
      </p>
      {props.showDetails ? (
        <>
          <h3 className="omnicast-subtitle">{labels.details}</h3>
          {/* Not announced: it would never stop talking. */}
          <Rows
            of={activity.value}
            none={labels.none}
            locale={locale}
            id={({ id }) => id}
            row={(event) => <span className="omnicast-main">{sentence(event, labels)}</span>}
          />
        </>
      ) : null}
    </Panel>
  );
}

export interface LiveSalesTickerProps extends LiveProps, MoneyProps {
  /** How many to show. By default 10. */
  maxItems?: number | undefined;
  /** What the page knows, the newest first. */
  initialItems?: readonly Sale[] | undefined;
  labels?: Partial<Record<'title' | 'none' | 'refused' | 'cancelled', string> & FreshnessLabels> | undefined;
}

const SALES_LABELS = {
  title: 'Latest sales',
  none: 'No sale yet',
  refused: 'Not available to you',
  cancelled: 'Cancelled',
};

/** The latest orders as they come. */
export function LiveSalesTicker(props: LiveSalesTickerProps): ReactElement {
  const of = useSales(props.maxItems, props.initialItems);
  const { locale, labels, ...frame } = frameOf('panel', of, props, SALES_LABELS);
  return (
    <Panel {...frame} labels={labels}>
      <div role="log" aria-label={labels.title} aria-relevant="additions">
        <Rows
          of={of.value}
          none={labels.none}
          locale={locale}
          id={({ orderId }) => orderId}
          row={({ customerName, total, status }) => (
            <>
              <span className="omnicast-main">
                {customerName}
                {status === 'cancelled' ? ` (${labels.cancelled})` : null}
              </span>
              <data value={total} data-status={status}>
                {money(total, locale, props.currency)}
              </data>
            </>
          )}
        />
      </div>
    </Panel>
  );
}
