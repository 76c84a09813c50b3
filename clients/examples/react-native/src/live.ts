// The connection of the app. It knows nothing of React Native but what it is given, so it runs anywhere.
import { type Auth, createClient, type OmnicastClient, type SocketLike } from 'omnicast';

/** As much of `AppState` as it takes. */
export interface AppStateLike {
  addEventListener(type: 'change', listener: (state: string) => void): { remove(): void };
}

export interface LiveOptions {
  /** The shop's own host: `https://shop.example`. */
  shop: string;
  auth: Auth;
  appState: AppStateLike;
  /** For tests: React Native has its own. */
  WebSocket?: new (url: string) => SocketLike;
}

/** Connects, and looks after the connection when the app comes back to the front. */
export function startLive({ shop, auth, appState, WebSocket }: LiveOptions): { client: OmnicastClient; stop(): void } {
  const client = createClient({ url: `${shop}/api/ws`, auth, namespaces: ['orders'], WebSocket });
  // While an app is in the background its sockets die without a word.
  const listening = appState.addEventListener('change', (state) => {
    if (state === 'active') client.wake();
  });
  client.connect().catch(() => {
    // The status tells why, and the app shows it.
  });
  return {
    client,
    stop() {
      listening.remove();
      client.disconnect();
    },
  };
}

export interface Order {
  readonly id: string;
  readonly customerName: string;
  readonly total: number;
  readonly status: string;
}

/** The orders as events tell of them, newest first: a store for `useSyncExternalStore`. */
export function ordersOf(client: OmnicastClient, load: () => Promise<readonly Order[]>) {
  let orders: readonly Order[] = [];
  const listeners = new Set<() => void>();
  const set = (next: readonly Order[]) => {
    orders = next.slice(0, 50);
    for (const listener of listeners) listener();
  };
  const reload = () => load().then(set, () => undefined);
  client.on('orders', (event) => {
    const { orderId } = event.data;
    if (event.type === 'order:created') {
      const { customerName, total, status } = event.data;
      set([{ id: orderId, customerName, total, status }, ...orders.filter(({ id }) => id !== orderId)]);
    } else if (event.type === 'order:status_changed') {
      const { newStatus } = event.data;
      set(orders.map((order) => (order.id === orderId ? { ...order, status: newStatus } : order)));
    } else if (event.type === 'order:deleted') {
      set(orders.filter(({ id }) => id !== orderId));
    }
  });
  // What was missed cannot be had from the node any more.
  client.on('gap', () => void reload());
  void reload();
  return {
    getSnapshot: () => orders,
    subscribe(listener: () => void) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
  };
}
