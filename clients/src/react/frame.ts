// What components have in common.

import type { CSSProperties } from 'react';
import type { Live } from './live.js';

/** What all components take. */
export interface LiveProps {
  className?: string | undefined;
  style?: CSSProperties | undefined;
  /** A BCP 47 tag, such as `de-DE`, for numbers and times. By default `en-US`, so that servers and browsers render the same. */
  locale?: string | undefined;
}

export interface FreshnessLabels {
  /** Where the value is how it stands now. */
  live: string;
  /** Where it is what was known last; behind it comes the time of that, where there is one. */
  stale: string;
}

const FRESHNESS: FreshnessLabels = {
  live: 'Live',
  stale: 'Last known',
};

interface FrameAttributes {
  className: string;
  style: CSSProperties | undefined;
  [data: `data-${string}`]: string | number;
}

type Labelled<L> = LiveProps & { labels?: Partial<L & FreshnessLabels> | undefined };

/** What components share: their texts, and what styles look at. */
export function frameOf<L extends object>(
  kind: string,
  of: Live<unknown>,
  { className = '', style, locale = 'en-US', labels: own }: Labelled<L>,
  defaults: L,
) {
  const labels = { ...FRESHNESS, ...defaults, ...own } as L & FreshnessLabels;
  const { isFresh, freshAt } = of;
  const stale = freshAt === null ? labels.stale : `${labels.stale}: ${clockTime(freshAt, locale)}`;
  return {
    of,
    labels,
    locale,
    /** How far the value can be trusted. */
    note: isFresh ? labels.live : stale,
    frame: { className: `omnicast omnicast-${kind} ${className}`, style, 'data-state': isFresh ? 'live' : 'stale' } as FrameAttributes,
  };
}

export type Frame<L extends object> = ReturnType<typeof frameOf<L>>;

/** The time of day. */
export function clockTime(ms: number, locale: string): string {
  return new Date(ms).toLocaleTimeString(locale, { timeStyle: 'short' });
}
