// What a user of the client writes and reads.

import type { EventMap, NamespaceMap, PublishMap } from '../generated/events.js';
import type { OmnicastError } from './error.js';
import type { Phase } from './lifecycle.js';

/** What a node carries: the payload of each event type, the types of each namespace, what may be published. */
export interface Catalogue {
  events: object;
  namespaces: object;
  publishes: object;
}

/** The catalogue that is built into the node. With a `WS_POLICY` of your own, write your own. */
export interface ShopCatalogue {
  events: EventMap;
  namespaces: NamespaceMap;
  publishes: PublishMap;
}

export type EventName<C extends Catalogue = ShopCatalogue> = keyof C['events'] & string;

export type NamespaceName<C extends Catalogue = ShopCatalogue> = keyof C['namespaces'] & string;

/** The namespace of an event type. */
export type NamespaceOf<T, C extends Catalogue = ShopCatalogue> = {
  [N in NamespaceName<C>]: T extends C['namespaces'][N] ? N : never;
}[NamespaceName<C>];

/** An event; of several types, the union that `type` tells apart. */
export type LiveEvent<T = EventName, C extends Catalogue = ShopCatalogue> = T extends EventName<C>
  ? {
      readonly type: T;
      readonly namespace: NamespaceOf<T, C>;
      readonly data: C['events'][T];
      /** When it happened, in ms since the epoch. */
      readonly timestamp: number;
      /** Opaque. Together with the epoch it names the event. */
      readonly id: string;
    }
  : never;

/** Where a client stands in the order of events. Keep it as it is; it is JSON. */
export interface Position {
  readonly epoch: string;
  readonly id: string;
}

/** Events were missed and cannot be had again: fetch the state anew. */
export interface Gap<C extends Catalogue = ShopCatalogue> {
  readonly namespaces: readonly NamespaceName<C>[];
  /** `epoch_changed`, `window_exceeded`, `bad_position`, or the code of an error that refused the return. */
  readonly reason: string;
  /** The position from which the events are missing. */
  readonly since: Position;
}

/** What was missed has been delivered. */
export interface Recovered<C extends Catalogue = ShopCatalogue> {
  readonly namespaces: readonly NamespaceName<C>[];
  /** How many events that were. */
  readonly replayed: number;
}

/** Who the node takes this connection for. */
export interface Session {
  readonly connectionId: string;
  readonly userId: string;
  readonly role: string;
  /** What the role may subscribe to. */
  readonly namespaces: readonly string[];
  /** In ms since the epoch, by the node's clock. */
  readonly expiresAt: number;
}

/** The state of a client. A new object whenever something in it changes, and only then. */
export interface Status {
  readonly phase: Phase;
  /** Attempts in a row that failed. */
  readonly attempts: number;
  /** When the next attempt is made, in ms since the epoch. */
  readonly retryAt: number | null;
  /** Why the connection ended, or why it could not be made. `null` while live. */
  readonly error: OmnicastError | null;
  readonly session: Session | null;
  /** Live, and everything that was missed has been delivered. */
  readonly fresh: boolean;
  /** When what was delivered was last known to be all there is, in ms since the epoch. `null` before the first time. */
  readonly freshAt: number | null;
}

/** The client's own events, beside those of the node. */
export interface ClientEvents<C extends Catalogue = ShopCatalogue> {
  gap: Gap<C>;
  recovered: Recovered<C>;
  error: OmnicastError;
  status: Status;
}

export type HandlerName<C extends Catalogue = ShopCatalogue> =
  | EventName<C>
  | NamespaceName<C>
  | keyof ClientEvents
  | '*';

/** What a handler of that name is given. */
export type HandlerArgument<N, C extends Catalogue = ShopCatalogue> = N extends keyof ClientEvents
  ? ClientEvents<C>[N]
  : N extends '*'
    ? LiveEvent<EventName<C>, C>
    : N extends EventName<C>
      ? LiveEvent<N, C>
      : N extends NamespaceName<C>
        ? LiveEvent<C['namespaces'][N], C>
        : never;

/** The plain identity, for a node in trusted mode. */
export interface Identity {
  userId: string;
  role: string;
  sessionId: string;
  /** In ms since the epoch. */
  expiresAt: number;
}

/** A token, alone or in an object, or the plain identity. */
export type Credential = string | { token: string } | Identity;

/** Why a credential is asked for: a new connection, a session that is about to end, or one that has ended. */
export type AuthReason = 'connect' | 'expiring' | 'expired';

/**
 * A credential, or a function that fetches one before each attempt. A function that gives nothing
 * says that nobody is signed in: the client stays closed.
 */
export type Auth =
  | Credential
  | ((reason: AuthReason) => Credential | null | undefined | Promise<Credential | null | undefined>);

/** What `subscribe` gives: call it to end the subscription. */
export interface Subscription {
  (): void;
  /** Settles with the node's first answer. It waits while there is no connection. */
  readonly ready: Promise<void>;
}

/** A message of the node that answers a command. */
export interface Answer {
  readonly type: string;
  readonly data: Readonly<Record<string, unknown>>;
  readonly timestamp?: number;
}

/** As much of `WebSocket` as the client needs. */
export interface SocketLike {
  onopen: ((event: never) => void) | null;
  onmessage: ((event: never) => void) | null;
  onclose: ((event: never) => void) | null;
  onerror: ((event: never) => void) | null;
  send(text: string): void;
  close(code?: number, reason?: string): void;
}

export interface ClientOptions<C extends Catalogue = ShopCatalogue> {
  /**
   * The node: `wss://shop.example/api/ws`, or relative to the page. By default `/api/ws` of the page's
   * host. Without a page it has to be whole, or `connect` fails with `bad_url`.
   */
  url?: string | URL | undefined;
  auth?: Auth | undefined;
  /** What to subscribe to from the start. */
  namespaces?: readonly NamespaceName<C>[] | undefined;
  /**
   * Where to go on from: a `position` kept from an earlier client, such as that of a page before its reload.
   * What is no position, or none that the node knows, becomes a `gap`.
   */
  since?: Position | null | undefined;
  /** Come back after a connection is lost. By default `true`. */
  reconnect?: boolean | undefined;
  /** The window of the first retry, which doubles with each. By default 1000 ms. */
  reconnectInterval?: number | undefined;
  /** The largest window. By default 30,000 ms. */
  maxReconnectInterval?: number | undefined;
  /** Attempts in a row before giving up. By default there is no limit. */
  maxReconnectAttempts?: number | undefined;
  /** How long an attempt may take, each of: credential, socket, welcome. By default 10,000 ms. */
  connectTimeout?: number | undefined;
  /** After how much silence the node is asked for a sign of life. By default 25,000 ms. */
  pingInterval?: number | undefined;
  /** How long it may take to give one. By default 5000 ms. After waking from sleep it is 2000 ms. */
  pongTimeout?: number | undefined;
  /** How long a command may wait for its answer. By default 10,000 ms. */
  commandTimeout?: number | undefined;
  /** The class to make sockets of. By default the global `WebSocket`; Node.js before 22 has none, use that of `ws`. */
  WebSocket?: (new (url: string) => SocketLike) | undefined;
  /** Tell what happens: `true` on the console, or a function. */
  debug?: boolean | ((what: string, detail?: unknown) => void) | undefined;
}

type Names<C extends Catalogue> = NamespaceName<C> | readonly NamespaceName<C>[];

/** A connection to a node that comes back by itself. Its methods need no `this`. */
export interface OmnicastClient<C extends Catalogue = ShopCatalogue> {
  /** Where the node is. */
  readonly url: string;

  /** The state as a store: `useSyncExternalStore(client.status.subscribe, client.status.getSnapshot)`. */
  readonly status: {
    getSnapshot(): Status;
    subscribe(listener: () => void): () => void;
  };

  /** Where this client stands in the order of events. Give it to another one as `since`. */
  readonly position: Position | null;

  /**
   * Connects, and keeps connected. Settles once it is live, or once it is closed for good. While the client
   * waits for its next attempt, it goes on waiting; `wake` makes it come sooner. Nobody has to wait for it:
   * why it closed for good is told to the handlers of `error` too.
   */
  connect(): Promise<Session>;

  /** Disconnects, and stays so. Subscriptions and the position are kept for the next `connect`. */
  disconnect(): void;

  /**
   * With a credential, or a function that fetches one: takes it from now on, and makes a new connection
   * with it. Without: asks for a fresh one and renews the session in place.
   */
  authenticate(auth?: Auth): Promise<Session>;

  /**
   * Says that the device may have slept or changed its network. In browsers the client sees that by
   * itself; in React Native call it when the app becomes active.
   */
  wake(): void;

  /**
   * Subscribes to namespaces: to all entities, or to some by their keys. Several calls add up; what it
   * returns takes back this one. Subscriptions outlive connections.
   */
  subscribe(namespaces: Names<C>, options?: { keys?: readonly string[] | undefined }): Subscription;

  /** Ends subscriptions to namespaces, or takes entities out of them, whoever asked for them. */
  unsubscribe(namespaces: Names<C>, options?: { keys?: readonly string[] | undefined }): void;

  /**
   * Calls the handler with each event of a type (`order:created`), of a namespace (`orders`), or with
   * any (`*`), and with what happens to the client (`gap`, `recovered`, `error`, `status`). Returns what
   * undoes it. It does not subscribe.
   */
  on<N extends HandlerName<C>>(name: N, handler: (argument: HandlerArgument<N, C>) => void): () => void;

  /** Takes a handler away, or all of that name. */
  off<N extends HandlerName<C>>(name: N, handler?: (argument: HandlerArgument<N, C>) => void): void;

  /** Sends a command and settles with its answer. Rejects at once while there is no connection: nothing is queued. */
  send(type: string, data?: object): Promise<Answer>;

  /**
   * Publishes an event and settles with its id. Where it rejects with `connection_lost` or `timeout`, the
   * event may have been published or not.
   */
  publish<T extends keyof C['publishes'] & string>(type: T, data: C['publishes'][T]): Promise<string>;

  /** Settles with the time there and back, in ms. */
  ping(): Promise<number>;

  /** How many customers are online; for roles that may see `customers`. */
  presence(): Promise<{ customersOnline: number }>;
}
