// Checked by `tsc`, never run: what types a user of `omnicast/server` meets.
import {
  createEmitter,
  type EmitError,
  emitEvents,
  emitInventoryEvent,
  emitOrderEvent,
  emitProductEvent,
  emitSystemNotification,
  wsEvents,
} from 'omnicast/server';

type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
const same = <A, B>(_: Same<A, B>) => {};

const created = { customerId: 'c', customerName: 'Ada', total: 1, status: 'pending', channel: 'web' } as const;

// The id by either name, but by one.
emitOrderEvent('created', { id: 'o', ...created });
emitOrderEvent('created', { orderId: 'o', ...created });
// @ts-expect-error: by none
emitOrderEvent('created', created);
// @ts-expect-error: no such action
emitOrderEvent('eaten', { id: 'o' });
// @ts-expect-error: no such status
emitOrderEvent('created', { id: 'o', ...created, status: 'eaten' });
// @ts-expect-error: no such field
emitOrderEvent('deleted', { id: 'o', total: 1 });

// What follows from the rest may be left out.
const product = { id: 'p', productName: 'Mug', sku: 'MUG' };
emitProductEvent('price_changed', { ...product, oldPrice: 1, newPrice: 2 });
const stocked = emitInventoryEvent('updated', { ...product, oldStock: 1, newStock: 2, threshold: 3 });
same<Awaited<typeof stocked>, string[]>(true);
emitSystemNotification({ title: 't', message: 'm', targetRoles: ['staff'] });
// @ts-expect-error: no such role
emitSystemNotification({ title: 't', message: 'm', targetRoles: ['king'] });

// Each type has a method, with its exact payload.
const id = wsEvents.inventoryOutOfStock({ productId: 'p', productName: 'Mug', sku: 'MUG' }, { roles: ['staff'] });
same<Awaited<typeof id>, string>(true);
// @ts-expect-error: no such method
wsEvents.orderEaten({});
// @ts-expect-error: a field is missing
wsEvents.orderStatusChanged({ orderId: 'o' });
// @ts-expect-error: no such role
wsEvents.productDeleted({ productId: 'p' }, { roles: ['king'] });
// @ts-expect-error: no such option
wsEvents.productDeleted({ productId: 'p' }, { userIDs: ['u'] });
// @ts-expect-error: a list that may be missing must not turn an event for few into one for all
wsEvents.productDeleted({ productId: 'p' }, { userIds: undefined });

void emitEvents([
  { type: 'product:deleted', data: { productId: 'p' }, roles: ['staff'] },
  // @ts-expect-error: the payload of another type
  { type: 'order:deleted', data: { productId: 'p' } },
]);

// A node with another catalogue.
interface Fleet {
  events: { 'truck:moved': { truckId: string; km: number } };
  namespaces: { trucks: 'truck:moved' };
  publishes: {};
}
const fleet = createEmitter<Fleet>({ url: 'http://127.0.0.1:3102', token: 't', onError: (error) => same<typeof error, EmitError>(true) });
void fleet.emit('truck:moved', { truckId: 't', km: 3 }, { roles: ['dispatcher'], key: 't', debounce: 100 });
// @ts-expect-error: that is of the shop
void fleet.emit('order:deleted', { orderId: 'o' });
// Methods need no `this`.
const { emit, flush, close } = fleet;
void emit('truck:moved', { truckId: 't', km: 3 }).then(flush).then(() => close());
