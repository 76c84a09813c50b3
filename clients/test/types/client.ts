// Checked by `tsc`, never run: what types a user meets. Each `@ts-expect-error` is an error that must be one.
import {
  type Auth,
  createClient,
  type EventMap,
  type LiveEvent,
  type Namespace,
  type OmnicastError,
  type OrderStatus,
  type Role,
} from 'omnicast';

type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
const same = <A, B>(_: Same<A, B>) => {};

const client = createClient();

// A type gives its payload.
client.on('order:created', (event) => {
  same<typeof event.data.total, number>(true);
  same<typeof event.data.status, OrderStatus>(true);
  same<typeof event.type, 'order:created'>(true);
  same<typeof event.namespace, 'orders'>(true);
  same<typeof event.id, string>(true);
  // @ts-expect-error: there is no such field
  event.data.totall;
  // @ts-expect-error: events are not to be changed
  event.id = '3';
});

// Optional fields are optional, enums are enums.
client.on('customer:activity', ({ data }) => {
  same<typeof data.productId, string | undefined>(true);
  same<
    typeof data.action,
    'viewing' | 'cart_add' | 'cart_remove' | 'checkout_start' | 'checkout_complete'
  >(true);
  // @ts-expect-error: no such action
  data.action === 'dance';
});

// A namespace gives the union of its events, which `type` tells apart.
client.on('payments', (event) => {
  same<typeof event.type, 'payment:received' | 'payment:failed' | 'payment:refunded'>(true);
  if (event.type === 'payment:failed') same<typeof event.data.retryable, boolean>(true);
  // @ts-expect-error: not every payment event has one
  event.data.retryable;
});

// Everything.
client.on('*', (event) => {
  same<typeof event.type, keyof EventMap>(true);
  same<typeof event.namespace, Namespace>(true);
  if (event.type === 'product:created') same<typeof event.data.price, number>(true);
});

// What happens to the client.
client.on('gap', (gap) => {
  same<typeof gap.reason, string>(true);
  same<typeof gap.namespaces, readonly Namespace[]>(true);
  // What was lost can be given to whatever takes namespaces.
  client.subscribe(gap.namespaces);
  createClient({ namespaces: gap.namespaces });
  // @ts-expect-error: they are not to be changed
  gap.namespaces.push('orders');
});
client.on('recovered', ({ namespaces }) => client.unsubscribe(namespaces));
client.on('recovered', (recovered) => same<typeof recovered.replayed, number>(true));
client.on('error', (error) => same<typeof error, OmnicastError>(true));
client.on('status', (status) => same<typeof status.fresh, boolean>(true));

// @ts-expect-error: no such event
client.on('order:eaten', () => {});
// @ts-expect-error: no such namespace
client.subscribe('order');
// @ts-expect-error: no such namespace in the list
client.subscribe(['orders', 'order']);
client.subscribe('orders');
client.subscribe(['orders', 'inventory'] as const, { keys: ['order_1'] });
const undo: () => void = client.subscribe('orders');
undo();

// A handler may be named by its type.
const onRefund = (event: LiveEvent<'payment:refunded'>) => event.data.amount;
client.on('payment:refunded', onRefund);
client.off('payment:refunded', onRefund);
// @ts-expect-error: a handler of another event
client.on('payment:failed', onRefund);
client.off('orders');

// Only what a client may publish; the node says who did it.
const id: Promise<string> = client.publish('customer:viewing_product', { productId: 'p', productName: 'Mug' });
void id;
// @ts-expect-error: a field is missing
void client.publish('customer:viewing_product', { productId: 'p' });
// @ts-expect-error: no client may publish that
void client.publish('order:deleted', { orderId: 'o' });

// Credentials.
const role: Role = 'admin';
const auths: Auth[] = [
  'token',
  { token: 'token' },
  { userId: 'u', role, sessionId: 's', expiresAt: 1 },
  () => 'token',
  async (reason) => (reason === 'expired' ? { token: 'fresh' } : null),
];
void auths;
// @ts-expect-error: an identity is whole
createClient({ auth: { userId: 'u' } });
// @ts-expect-error: no such namespace
createClient({ namespaces: ['order'] });

// A node with another catalogue.
interface Fleet {
  events: { 'truck:moved': { truckId: string; km: number } };
  namespaces: { trucks: 'truck:moved' };
  publishes: { 'truck:moved': { truckId: string; km: number } };
}
const fleet = createClient<Fleet>({ namespaces: ['trucks'] });
fleet.on('truck:moved', ({ data, namespace }) => {
  same<typeof data.km, number>(true);
  same<typeof namespace, 'trucks'>(true);
});
fleet.on('trucks', (event) => same<typeof event.type, 'truck:moved'>(true));
fleet.on('gap', ({ namespaces }) => same<typeof namespaces, readonly 'trucks'[]>(true));
void fleet.publish('truck:moved', { truckId: 't', km: 3 });
// @ts-expect-error: that is of the shop
fleet.on('order:created', () => {});

// Methods need no `this`.
const { on, subscribe, connect } = client;
on('orders', () => {});
subscribe('orders');
void connect();
