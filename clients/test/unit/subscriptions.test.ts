// What the client subscribes to, and what comes of it.
import type { OmnicastError } from 'omnicast';
import { beforeEach, describe, expect, it } from 'vitest';
import { World } from './world.js';

let world: World;

beforeEach(() => {
  world = new World();
});

const code = (promise: Promise<unknown>) => promise.then(() => 'none', (error: OmnicastError) => error.code);

describe('subscriptions', () => {
  it('of one turn go out as one command', async () => {
    const client = await world.live();
    client.subscribe('orders');
    client.subscribe(['products', 'inventory']);
    expect(world.socket.all('subscribe')).toHaveLength(0);
    await world.settle();
    expect(world.socket.all('subscribe').map((sent) => sent.data)).toEqual([
      { namespaces: ['orders', 'products', 'inventory'] },
    ]);
  });

  it('wait for a connection, and for its welcome', async () => {
    const client = world.client({ namespaces: ['orders'] });
    const subscription = client.subscribe('products', { keys: ['p'] });
    let ready = false;
    void subscription.ready.then(() => (ready = true));
    void client.connect();
    await world.settle();
    world.socket.open();
    await world.settle();
    expect(world.socket.all('subscribe')).toHaveLength(0);
    world.socket.welcome();
    const [orders, products] = world.socket.all('subscribe');
    expect([orders?.data, products?.data]).toEqual([
      { namespaces: ['orders'] },
      { namespaces: ['products'], keys: ['p'] },
    ]);
    world.socket.subscribed({}, orders);
    await world.settle();
    expect(ready).toBe(false);
    world.socket.subscribed({}, products);
    await world.settle();
    expect(ready).toBe(true);
  });

  it('tell when they are refused', async () => {
    const client = await world.live({}, { namespaces: ['orders'] });
    expect(await code(client.subscribe(['orders', 'payments']).ready)).toBe('forbidden_namespace');
    expect(client.errors).toEqual(['forbidden_namespace']);
    expect(world.socket.last('subscribe').data).toEqual({ namespaces: ['orders'] });
    const other = client.subscribe('orders', { keys: ['k'] });
    expect(() => client.subscribe('orders', { keys: [] })).toThrow('keys');
    other();
    await world.settle();
    expect(world.socket.all('unsubscribe')).toHaveLength(0);
  });

  it('are ready at once where the connection has them already', async () => {
    const client = await world.live({ namespaces: ['orders'] });
    const early = client.subscribe('orders');
    await world.settle();
    world.socket.subscribed();
    await early.ready;
    await client.subscribe('orders').ready;
    expect(world.socket.all('subscribe')).toHaveLength(1);
  });

  it('left while offline are not restored', async () => {
    const client = await world.live({ namespaces: ['orders'] });
    const undo = client.subscribe('products');
    await world.settle();
    for (const command of world.socket.all('subscribe')) world.socket.subscribed({}, command);
    world.socket.shut();
    undo();
    client.unsubscribe('orders');
    client.subscribe('inventory');
    await world.advance(world.next);
    await world.accept();
    expect(world.socket.all('subscribe').map((sent) => sent.data)).toEqual([{ namespaces: ['inventory'] }]);
    await undo.ready;
  });

  it('wait as long as the node says when it is asked too much', async () => {
    const client = await world.live();
    client.subscribe('orders');
    await world.settle();
    world.socket.refuse('rate_limited', { retryable: true, retryAfterMs: 600 });
    client.subscribe('products');
    await world.advance(599);
    expect(world.socket.all('subscribe')).toHaveLength(1);
    await world.advance(1);
    expect(world.socket.last('subscribe').data).toEqual({ namespaces: ['orders', 'products'] });
    expect(client.errors).toEqual([]);
  });

  it('do not carry a wait over to the next connection', async () => {
    const client = await world.live();
    client.subscribe('orders');
    await world.settle();
    world.socket.refuse('rate_limited', { retryable: true, retryAfterMs: 60_000 });
    await world.comeBack();
    expect(world.socket.all('subscribe')).toHaveLength(1);
  });
});

describe('events', () => {
  it('reach the handlers of their type, their namespace, and all', async () => {
    const client = await world.live({ namespaces: ['orders'] });
    const got: string[] = [];
    client.on('order:deleted', (event) => got.push(`type ${event.data.orderId}`));
    client.on('orders', (event) => got.push(`namespace ${event.type}`));
    client.on('*', (event) => got.push(`all ${event.id}`));
    client.on('order:created', () => got.push('no'));
    client.on('products', () => got.push('no'));
    world.socket.event('1');
    expect(got).toEqual(['type o1', 'namespace order:deleted', 'all 1']);
  });

  it('stop where a handler is taken away', async () => {
    const client = await world.live();
    const got: string[] = [];
    const one = () => got.push('one');
    const undo = client.on('orders', one);
    client.on('orders', one);
    const two = client.on('orders', () => got.push('two'));
    world.socket.event('1');
    expect(got).toEqual(['one', 'one', 'two']);
    undo();
    undo();
    world.socket.event('2');
    expect(got.splice(0)).toEqual(['one', 'one', 'two', 'one', 'two']);
    client.off('orders', one);
    world.socket.event('3');
    expect(got.splice(0)).toEqual(['two']);
    two();
    client.on('orders', one);
    client.off('orders');
    world.socket.event('4');
    expect(got).toEqual([]);
  });

  it('reach the others where one handler fails', async () => {
    const client = await world.live();
    const got: string[] = [];
    client.on('orders', () => {
      throw new Error('mine');
    });
    client.on('orders', (event) => got.push(event.id));
    world.socket.event('1');
    world.socket.event('2');
    expect(got).toEqual(['1', '2']);
    expect(client.errors).toEqual(['handler', 'handler']);
    expect(client.phase()).toBe('live');
  });

  it('come once and in order over any number of returns', async () => {
    const client = await world.live({ namespaces: ['orders'] });
    world.socket.subscribed();
    const got: string[] = [];
    client.on('orders', (event) => got.push(event.id));
    client.on('recovered', (recovered) => got.push(`recovered ${recovered.replayed}`));
    world.socket.event('1');
    for (let round = 1; round <= 5; round += 1) {
      const socket = await world.comeBack({ lastEventId: String(round + 1) });
      expect(socket.last('subscribe').data.since).toEqual({ epoch: 'e1', id: String(round) });
      expect(client.status.getSnapshot().fresh).toBe(false);
      socket.subscribed({ lastEventId: String(round + 1), recovered: true });
      socket.event(String(round));
      socket.event(String(round + 1));
      socket.caughtUp(['orders'], 2);
      expect(client.status.getSnapshot().fresh).toBe(true);
      await world.advance(20_000);
    }
    expect(got.filter((each) => !each.startsWith('r'))).toEqual(['1', '2', '3', '4', '5', '6']);
    expect(client.position).toEqual({ epoch: 'e1', id: '6' });
  });

  it('that are lost for good are told as a gap', async () => {
    const client = await world.live({ namespaces: ['orders'] });
    world.socket.subscribed();
    world.socket.event('7');
    const gaps: unknown[] = [];
    client.on('gap', (gap) => gaps.push(gap));
    const socket = await world.comeBack({ epoch: 'e2', lastEventId: '2' });
    socket.subscribed({ epoch: 'e2', lastEventId: '2', recovered: false, reason: 'epoch_changed' });
    expect(gaps).toEqual([{ namespaces: ['orders'], reason: 'epoch_changed', since: { epoch: 'e1', id: '7' } }]);
    expect(client.position).toEqual({ epoch: 'e2', id: '2' });
    expect(client.status.getSnapshot().fresh).toBe(true);
  });

  it('go on from a position of another client', async () => {
    const first = await world.live({ namespaces: ['orders'] });
    world.socket.subscribed();
    world.socket.event('7');
    const since = JSON.parse(JSON.stringify(first.position));
    await world.live({ namespaces: ['orders'], since });
    expect(world.socket.last('subscribe').data.since).toEqual({ epoch: 'e1', id: '7' });
  });

  it('stop with a disconnect within a handler', async () => {
    const client = await world.live({ namespaces: ['orders'] });
    const got: string[] = [];
    client.on('orders', (event) => {
      got.push(event.id);
      client.disconnect();
    });
    const { socket } = world;
    socket.event('1');
    socket.event('2');
    expect(got).toEqual(['1']);
    expect(client.position?.id).toBe('1');
  });
});
