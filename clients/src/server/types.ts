// What a user of the emitter writes and reads.

import type { Catalogue, EventName, ShopCatalogue } from '../client/types.js';
import type { Role } from '../generated/events.js';
import type { Emitted } from './emitted.js';
import type { EmitError } from './error.js';

/** The roles of the built-in policy; with a catalogue of your own, any. */
export type RoleName<C extends Catalogue = ShopCatalogue> = C extends ShopCatalogue ? Role : string;

/** Whom an event is for, and what it is about. Each list narrows; a list that is `undefined` or empty is refused. */
export interface Addressing<C extends Catalogue = ShopCatalogue> {
  /** Only these roles. */
  roles?: readonly RoleName<C>[];
  /** Only these users. */
  userIds?: readonly string[];
  /** Never these users. */
  excludeUserIds?: readonly string[];
  /** Never this session, such as that of the person who caused the event. */
  excludeSessionId?: string | undefined;
  /** The entity, where it is not the one in the payload. */
  key?: string | undefined;
  /** When it happened, in ms since the epoch. By default when the node takes it. */
  timestamp?: number | undefined;
  /** Publishing the same key again publishes nothing. By default one of its own, so that a retry doubles nothing. */
  idempotencyKey?: string | undefined;
}

export interface EmitOptions<C extends Catalogue = ShopCatalogue> extends Addressing<C> {
  /**
   * Hold the event back for so many ms. Of several of the same type, entity and addressees in that time only the
   * latest is published. For values that change fast, such as a stock or a price.
   */
  debounce?: number | undefined;
}

/** An event as `emitEvents` takes it. */
export type EmitEvent<C extends Catalogue = ShopCatalogue> = {
  [T in EventName<C>]: { type: T; data: C['events'][T] } & Addressing<C>;
}[EventName<C>];

export interface EmitterOptions {
  /** The node's control socket. By default it is looked for where the node's command line looks. */
  socketPath?: string | undefined;
  /** The control API over TCP instead: `http://10.0.0.5:3102`. */
  url?: string | URL | undefined;
  /** What the control API asks for over TCP. By default that of `WS_CONTROL_TOKEN`. */
  token?: string | undefined;
  /** How many events may wait. One more is refused with `queue_full`. By default 10,000. */
  maxQueue?: number | undefined;
  /** How many bytes of events may wait. By default 32 MiB. */
  maxQueueBytes?: number | undefined;
  /** Events of one request, at most. By default 1000. */
  maxBatch?: number | undefined;
  /** How long a request may take. By default 10,000 ms. */
  requestTimeout?: number | undefined;
  /**
   * How long to try to publish an event before giving up. By default 60,000 ms. Keep it well below the node's
   * `WS_IDEMPOTENCY_WINDOW` (10 minutes): for that long the node knows a retry when it sees one.
   */
  retryFor?: number | undefined;
  /** The window of the first retry, which doubles with each; the wait is a random part of it. By default 100 ms. */
  retryInterval?: number | undefined;
  /** The largest window. By default 5000 ms. */
  maxRetryInterval?: number | undefined;
  /** Told of failures that nobody waits for. By default they go to the console. */
  onError?: ((error: EmitError) => void) | undefined;
}

/** Publishes events on a node, in the order in which it is given them. Its methods need no `this`. */
export interface Emitter<C extends Catalogue = ShopCatalogue> {
  /** Publishes an event and settles with its id. Events emitted meanwhile go together. */
  emit<T extends EventName<C>>(type: T, data: C['events'][T], options?: EmitOptions<C>): Emitted<string>;

  /** Publishes all of these events or none, and settles with their ids. */
  emitEvents(events: readonly EmitEvent<C>[], options?: { debounce?: number | undefined }): Emitted<string[]>;

  /** Sends at once what is held back, and settles once everything emitted so far is published or has failed. */
  flush(): Promise<void>;

  /** Flushes, takes no more, and hangs up. What is not published within `ms` then fails with `closed`. */
  close(options?: { within?: number | undefined }): Promise<void>;

  /** How many events wait, those under way and held back included. */
  readonly pending: number;
}
