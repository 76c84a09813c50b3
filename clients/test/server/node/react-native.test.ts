// The part of the React Native example that is no user interface, in Node, against a real node.
import { createEmitter, shopEvents } from 'omnicast/server';
import { afterAll, beforeAll, expect, it } from 'vitest';
import WebSocket from 'ws';
import { type Order, ordersOf, startLive } from '../../../examples/react-native/src/live.js';
import { Node } from '../../node/node.js';

let node: Node;

beforeAll(async () => {
  node = await Node.start();
});
afterAll(() => node.end());

/** Waits until the list is so. */
const until = (orders: ReturnType<typeof ordersOf>, is: (list: readonly Order[]) => boolean) =>
  new Promise<readonly Order[]>((resolve) => {
    const look = () => is(orders.getSnapshot()) && resolve(orders.getSnapshot());
    orders.subscribe(look);
    look();
  });

it('follows the orders of the shop, and comes back with what it missed once the app is active', async () => {
  let change = (_: string) => {};
  let removed = false;
  const sockets: WebSocket[] = [];
  const { client, stop } = startLive({
    shop: `http://127.0.0.1:${node.port}`,
    auth: () => node.identity(),
    appState: {
      addEventListener(_, listener) {
        change = listener;
        return { remove: () => (removed = true) };
      },
    },
    WebSocket: class extends WebSocket {
      constructor(url: string) {
        super(url);
        sockets.push(this);
      }
    } as never,
  });
  await client.subscribe('orders').ready;
  const known = { id: 'o_0', customerName: 'Ada', total: 1, status: 'pending' };
  const orders = ordersOf(client, async () => [known]);
  await until(orders, ([first]) => first?.id === 'o_0');

  const emitter = createEmitter({ socketPath: node.control });
  const { emitOrderEvent } = shopEvents(emitter);
  const order = { customerId: 'c', customerName: 'Grace', total: 2, status: 'pending', channel: 'app' } as const;
  await emitOrderEvent('created', { id: 'o_1', ...order });
  await until(orders, ([first]) => first?.id === 'o_1');

  // In the background the socket dies without a word; what happens meanwhile comes when the app does.
  const [socket] = sockets;
  socket?.pause();
  await emitOrderEvent('status_changed', { id: 'o_0', ...order, oldStatus: 'pending', newStatus: 'shipped' });
  await emitOrderEvent('deleted', { id: 'o_1' });
  change('background');
  change('active');
  const list = await until(orders, ([first, ...rest]) => rest.length === 0 && first?.status === 'shipped');
  expect(list).toEqual([{ ...known, status: 'shipped' }]);
  expect(sockets.length).toBe(2);

  stop();
  await emitter.close();
  expect(removed).toBe(true);
});
