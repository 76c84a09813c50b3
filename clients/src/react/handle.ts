// What one component does with a connection that it shares with others. It ends with the component.

import type {
  Answer,
  Auth,
  Catalogue,
  ClientEvents,
  HandlerArgument,
  HandlerName,
  LiveEvent,
  NamespaceName,
  OmnicastClient,
  Session,
  ShopCatalogue,
  Subscription,
} from '../client/types.js';
import type { Hub } from './hub.js';

/**
 * A handler: of an event it is given the payload and then the event as a whole, of what happens to the
 * client (`gap`, `recovered`, `error`, `status`) what there is to know.
 */
export type WebSocketHandler<N, C extends Catalogue = ShopCatalogue> = N extends keyof ClientEvents
  ? (what: ClientEvents<C>[N]) => void
  : (
      data: HandlerArgument<N, C> extends { readonly data: infer D } ? D : never,
      event: HandlerArgument<N, C>,
    ) => void;

type Names<C extends Catalogue> = NamespaceName<C> | readonly NamespaceName<C>[];

/** The methods of a component. They stay the same for as long as the connection does. */
export interface WebSocketMethods<C extends Catalogue = ShopCatalogue> {
  readonly client: OmnicastClient<C>;
  connect(): Promise<Session>;
  /** Disconnects, for all components. */
  disconnect(): void;
  /** Sends a command and settles with its answer. */
  send(type: string, data?: object): Promise<Answer>;
  publish: OmnicastClient<C>['publish'];
  /** Subscribes for as long as this component is there. */
  subscribe(namespaces: Names<C>, options?: { keys?: readonly string[] | undefined }): Subscription;
  /** Takes back what this component subscribed to, or some keys of it. */
  unsubscribe(namespaces: Names<C>, options?: { keys?: readonly string[] | undefined }): void;
  /** Calls the handler for as long as this component is there. Returns what undoes it. It does not subscribe. */
  on<N extends HandlerName<C>>(name: N, handler: WebSocketHandler<N, C>): () => void;
  /** Takes a handler of this component away, or all of that name. */
  off<N extends HandlerName<C>>(name: N, handler?: WebSocketHandler<N, C>): void;
  /** Signs in as somebody else, or renews the session. */
  authenticate(auth?: Auth): Promise<Session>;
  /** Settles with the time there and back, in ms. */
  ping(): Promise<number>;
  presence(): Promise<{ customersOnline: number }>;
}

/** Listens with a handler as components have it. */
export function listen(client: OmnicastClient, name: string, handler: (...args: never[]) => void): () => void {
  const call = handler as (...args: unknown[]) => void;
  return client.on(name as '*', (argument: LiveEvent | ClientEvents[keyof ClientEvents]) =>
    'namespace' in argument ? call(argument.data, argument) : call(argument),
  );
}

const list = (names: string | readonly string[]): readonly string[] => (typeof names === 'string' ? [names] : names);

/** What a component subscribed to, or listens to. */
interface Tie {
  readonly name: string;
  /** The handler; of a subscription the key, `undefined` for all. */
  readonly what: unknown;
  readonly undo: () => void;
}

export function createHandle({ client, connect, disconnect, authenticate }: Hub) {
  const { send, publish, ping, presence } = client;
  const ties = new Set<Tie>();

  function untie(is: (tie: Tie) => boolean): void {
    for (const tie of [...ties]) {
      if (!is(tie)) continue;
      ties.delete(tie);
      tie.undo();
    }
  }

  function tie(name: string, what: unknown, undo: () => void): () => void {
    const made = { name, what, undo };
    ties.add(made);
    return () => untie((one) => one === made);
  }

  const methods: WebSocketMethods = {
    client,
    connect,
    disconnect,
    authenticate,
    send,
    publish,
    ping,
    presence,
    subscribe(namespaces, { keys } = {}) {
      // One claim for each key, so that each can be taken back; the client asks for them in one.
      const claims = list(namespaces).flatMap((name) =>
        (keys?.length ? keys.map((key) => [key]) : [keys]).map((one) => {
          const claim = client.subscribe(name as never, { keys: one });
          return { ready: claim.ready, end: tie(name, one?.[0], claim) };
        }),
      );
      const ready = Promise.all(claims.map((claim) => claim.ready)).then(() => {});
      // Nobody has to wait for it.
      ready.catch(() => {});
      return Object.assign(() => claims.forEach((claim) => claim.end()), { ready });
    },
    unsubscribe: (namespaces, { keys } = {}) =>
      untie(({ name, what }) => isSubscription(what) && list(namespaces).includes(name) && (keys?.includes(what) ?? true)),
    on: (name, handler) => tie(name, handler, listen(client, name, handler)),
    off: (name, handler) =>
      untie((one) => one.name === name && !isSubscription(one.what) && (!handler || one.what === handler)),
  };

  return { methods, close: () => untie(() => true) };
}

const isSubscription = (what: unknown): what is string => typeof what !== 'function';
