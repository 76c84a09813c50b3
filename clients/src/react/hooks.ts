'use client';
// The hooks around a connection. The connection itself is made outside of rendering: what renders twice,
// is thrown away, or runs on a server opens no socket.

import {
  createContext,
  createElement,
  type DependencyList,
  type ReactElement,
  type ReactNode,
  useCallback,
  useContext,
  useEffect,
  useMemo,
  useRef,
  useSyncExternalStore,
} from 'react';
import type { OmnicastError } from '../client/error.js';
import { address } from '../client/runtime.js';
import type {
  Auth,
  Catalogue,
  ClientOptions,
  HandlerName,
  NamespaceName,
  OmnicastClient,
  Session,
  ShopCatalogue,
  Status,
} from '../client/types.js';
import { createHandle, listen, type WebSocketHandler, type WebSocketMethods } from './handle.js';
import { type Hub, hubAt, hubOf } from './hub.js';
import { type Known, NOTHING, type Topic } from './knowledge.js';

export interface WebSocketOptions<C extends Catalogue = ShopCatalogue> extends Omit<ClientOptions<C>, 'auth'> {
  /** Connect without being told to. By default `true`; inside a provider, the provider decides. */
  autoConnect?: boolean | undefined;
  /**
   * Who is signed in, or a function that fetches a credential before each attempt. `null` = nobody;
   * left out, another component says it. A changed user or token makes a new connection.
   */
  auth?: Auth | null | undefined;
}

/** The state of the connection. */
export interface WebSocketState {
  /** There is a socket; the node may not have accepted us yet. */
  readonly isConnected: boolean;
  /** An attempt is under way. */
  readonly isConnecting: boolean;
  /** The node has accepted us. */
  readonly isAuthenticated: boolean;
  /** Accepted, and everything that was missed has been delivered. */
  readonly isReady: boolean;
  /** Why there is no connection. */
  readonly error: OmnicastError | null;
  /** Attempts in a row that failed. */
  readonly reconnectAttempts: number;
  readonly session: Session | null;
  /** All there is to know. */
  readonly status: Status;
}

/** Another object whenever the state changes, and only then. */
export interface WebSocketConnection<C extends Catalogue = ShopCatalogue> extends WebSocketState, WebSocketMethods<C> {}

/** What servers render, and browsers at first. */
const IDLE: Status = {
  phase: 'idle',
  attempts: 0,
  retryAt: null,
  error: null,
  session: null,
  fresh: false,
  freshAt: null,
};

const Outer = createContext<Hub | undefined>(undefined);

/** The connection for these options: the nearest provider's, or the page's own one to that address. */
export function useHub(options: Pick<ClientOptions, 'url' | 'since' | 'debug'> = {}): Hub {
  const outer = useContext(Outer);
  const text = options.url && String(options.url);
  return useMemo(
    () => (outer && (!text || address(text) === outer.client.url) ? outer : hubAt(text, options)),
    [outer, text],
  );
}

export function useStatus({ client }: Hub): Status {
  return useSyncExternalStore(client.status.subscribe, client.status.getSnapshot, () => IDLE);
}

export function useKnown<T>(hub: Hub, topic: Topic<T>): Known<T> {
  const { name } = topic;
  return useSyncExternalStore(
    // The name says all about a topic.
    useCallback((listener: () => void) => hub.known.listen(topic, listener), [hub, name]),
    () => hub.known.get(name) as Known<T>,
    () => NOTHING,
  );
}

/** Tells the hub what a component wants. */
function useOptions<C extends Catalogue>(hub: Hub, options: WebSocketOptions<C>, autoConnect: boolean): void {
  const { url, since, debug, namespaces, auth, autoConnect: _, ...rules } = options;
  useEffect(() => {
    hub.adopt(rules);
    hub.give(auth);
  });
  useEffect(() => hub.enter(autoConnect), [hub, autoConnect]);
}

/** Namespaces as a dependency: what counts is which ones. */
function useNamespaces(names: readonly string[] | undefined, subscribe: (names: string[]) => () => void): void {
  const text = names?.length ? JSON.stringify([...names].sort()) : '';
  useEffect(() => (text ? subscribe(JSON.parse(text)) : undefined), [text, subscribe]);
}

export interface WebSocketProviderProps<C extends Catalogue = ShopCatalogue> extends WebSocketOptions<C> {
  /** A client of your own, such as one of several users on one page. */
  client?: OmnicastClient<C> | undefined;
  children?: ReactNode;
}

/** Gives the components inside one connection. */
export function WebSocketProvider<C extends Catalogue = ShopCatalogue>(
  props: WebSocketProviderProps<C>,
): ReactElement {
  const { client, children, ...options } = props;
  const text = options.url && String(options.url);
  const hub = useMemo(
    () => (client ? hubOf(client as unknown as OmnicastClient) : hubAt(text, options)),
    [client, text],
  );
  useOptions(hub, options, options.autoConnect ?? true);
  useNamespaces(options.namespaces, hub.client.subscribe as (names: string[]) => () => void);
  return createElement(Outer.Provider, { value: hub }, children);
}

/**
 * The connection and its state. Components that ask for the same address share one connection, and so
 * one user; for two users on one page use two providers, each with a client of its own.
 */
export function useWebSocket<C extends Catalogue = ShopCatalogue>(
  options: WebSocketOptions<C> = {},
): WebSocketConnection<C> {
  const outer = useContext(Outer);
  const hub = useHub(options);
  const handle = useMemo(() => createHandle(hub), [hub]);
  useOptions(hub, options, options.autoConnect ?? hub !== outer);
  useNamespaces(options.namespaces, handle.methods.subscribe as (names: string[]) => () => void);
  useEffect(() => handle.close, [handle]);
  const status = useStatus(hub);
  return useMemo(() => {
    const { phase, error, attempts, session, fresh } = status;
    const isAuthenticated = phase === 'live';
    return {
      ...(handle.methods as unknown as WebSocketMethods<C>),
      isConnected: isAuthenticated || phase === 'authenticating',
      isConnecting: phase === 'connecting' || phase === 'authenticating',
      isAuthenticated,
      isReady: fresh,
      error,
      reconnectAttempts: attempts,
      session,
      status,
    };
  }, [handle, status]);
}

const NAMESPACES = ['orders', 'customers', 'products', 'inventory', 'payments', 'system'];

/**
 * Calls the handler with each event of a type or a namespace, and subscribes to what that needs (with a
 * catalogue of your own, `useWebSocketNamespace` does that). The handler may close over anything: without `deps` the latest one is called, with them the one of when
 * they last changed.
 */
export function useWebSocketEvent<N extends HandlerName<C>, C extends Catalogue = ShopCatalogue>(
  name: N,
  handler: WebSocketHandler<N, C>,
  deps?: DependencyList,
): void {
  const hub = useHub();
  const latest = useRef(handler as (...args: never[]) => void);
  useEffect(() => {
    latest.current = handler as (...args: never[]) => void;
  }, deps);
  useEffect(() => listen(hub.client, name, (...args) => latest.current(...args)), [hub, name]);
  useEffect(() => {
    const namespace = NAMESPACES.find((one) => one.startsWith(name.split(':')[0] ?? ''));
    if (!namespace) return undefined;
    const isAddressed = name.startsWith('system:');
    return hub.known.listen({ name: `all ${namespace} ${isAddressed}`, namespace, isAddressed }, () => {});
  }, [hub, name]);
}

export interface NamespaceState {
  /** The node has confirmed the subscription. */
  readonly isSubscribed: boolean;
  /** Subscribed, live, and everything that was missed has been delivered. */
  readonly isReady: boolean;
  /** Why there is no subscription. */
  readonly error: OmnicastError | null;
}

/** Subscribes to a namespace, or to some of its entities, for as long as the component is there. */
export function useWebSocketNamespace<C extends Catalogue = ShopCatalogue>(
  namespace: NamespaceName<C>,
  options: { keys?: readonly string[] | undefined } = {},
): NamespaceState {
  const hub = useHub();
  const { keys } = options;
  const { isReady, error } = useKnown(hub, { name: JSON.stringify([namespace, keys]), namespace, keys });
  const { fresh } = useStatus(hub);
  return { isSubscribed: isReady, isReady: isReady && fresh, error };
}
