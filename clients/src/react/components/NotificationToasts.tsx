'use client';
import type { ReactElement } from 'react';
import type { SystemNotification } from '../../generated/events.js';
import { type NotificationEvent, useNotifications } from '../live.js';
import type { LiveProps } from '../frame.js';

export interface NotificationToastsProps extends Omit<LiveProps, 'locale'> {
  /** How many at once. By default 4; the rest waits. */
  max?: number | undefined;
  /**
   * How long good news stay, in ms; 0 = until dismissed, as without the style sheet. Warnings and errors
   * always do. By default 8000.
   */
  duration?: number | undefined;
  labels?: Partial<Record<'title' | 'dismiss' | 'open' | 'maintenance', string>> | undefined;
}

const LABELS = { title: 'Notifications', dismiss: 'Dismiss', open: 'Open', maintenance: 'Maintenance' };

/** An address that a click may lead to: never a script. */
function safeUrl(url: string | undefined): string | undefined {
  try {
    return url && /^https?:$/.test(new URL(url, globalThis.location?.href).protocol) ? url : undefined;
  } catch {
    return undefined;
  }
}

/** Notifications for this user, until they are dismissed. */
export function NotificationToasts(props: NotificationToastsProps): ReactElement {
  const { max = 4, duration = 8_000, className = '', style } = props;
  const labels = { ...LABELS, ...props.labels };
  const { value, dismiss } = useNotifications();
  const toast = ({ id, data }: NotificationEvent): ReactElement => {
    const { title, severity, actionUrl } = { title: labels.maintenance, severity: 'warning', ...data } as SystemNotification;
    const isUrgent = severity === 'warning' || severity === 'error';
    const url = safeUrl(actionUrl);
    return (
      <li
        key={id}
        className="omnicast-toast"
        data-severity={severity}
        // The style sheet keeps the time, and stops it while somebody is at it.
        style={isUrgent || !duration ? undefined : { animationDuration: `0.3s, ${duration}ms` }}
        onAnimationEnd={({ animationName }) => animationName === 'omnicast-stay' && dismiss(id)}
      >
        <div role={isUrgent ? 'alert' : 'status'} className="omnicast-main">
          <strong>{title}</strong>
          <p>{data.message}</p>
        </div>
        {url ? <a href={url}>{labels.open}</a> : null}
        <button type="button" aria-label={`${labels.dismiss}: ${title}`} onClick={() => dismiss(id)}>
          ×
        </button>
      </li>
    );
  };
  return (
    <section className={`omnicast omnicast-toasts ${className}`} style={style} aria-label={labels.title}>
      <ol className="omnicast-list" aria-live="polite" aria-relevant="additions">
        {value.slice(0, max).map(toast)}
      </ol>
    </section>
  );
}

export default NotificationToasts;
