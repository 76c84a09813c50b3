// What a backend developer types, as it stands in the samples, against a real node. Nobody awaits in them.
import { configureEmitter, getEmitter } from 'omnicast/server';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Node } from '../../node/node.js';

/** They are checked by a configuration of their own: a sample may leave a parameter unused. */
const sample = (name: string) => import(`../samples/${name}.ts`);

let node: Node;

beforeAll(async () => {
  node = await Node.start();
  configureEmitter({ socketPath: node.control });
});
afterAll(async () => {
  await getEmitter().close({ within: 0 });
  await node.end();
});

it('an API route emits the order that it created', async () => {
  const order = {
    id: 'order_1',
    customerId: 'cust_1',
    customerName: 'Ada',
    total: 12.5,
    status: 'pending',
    channel: 'web',
  } as const;
  Object.assign(globalThis, { data: { any: 'order' }, createOrder: async () => order });
  const client = node.client({ namespaces: ['orders'] });
  await client.connect();
  await client.subscribe('orders').ready;
  const { POST } = await sample('route');
  const answer = await POST(new Request('http://localhost/api/orders', { method: 'POST' }));
  expect(await answer.json()).toEqual(order);
  await client.count(1);
  const { id, ...rest } = order;
  expect(client.got).toMatchObject([{ type: 'order:created', data: { orderId: id, ...rest } }]);
});

it('custom events reach the roles and users that they name, and nobody else', async () => {
  const people = (['admin', 'manager', 'staff'] as const).map((role) => ({ role, userId: role }));
  const customers = ['cust_456', 'cust_457'].map((userId) => ({ role: 'customer' as const, userId }));
  const clients = [...people, ...customers].map((who) =>
    node.client({ auth: () => node.identity({ ...who, sessionId: who.userId }) }),
  );
  await Promise.all(
    clients.map(async (client) => {
      await client.connect();
      const { namespaces } = client.status.getSnapshot().session ?? { namespaces: [] };
      const wanted = namespaces.filter((name) => name === 'orders' || name === 'products') as ('orders' | 'products')[];
      await client.subscribe(wanted).ready;
    }),
  );
  await sample('broadcast');
  await getEmitter().emit('product:deleted', { productId: 'the end' });
  const told = await Promise.all(
    clients.map(async (client) => {
      while (client.got.at(-1)?.type !== 'product:deleted') await client.count(client.got.length + 1);
      return client.got.map(({ type }) => type).slice(0, -1);
    }),
  );
  expect(told).toEqual([['system:notification'], ['system:notification'], [], ['order:status_changed'], []]);
});
