import { type ClientOptions, createClient, getSharedClient, type OmnicastError, type Status } from 'omnicast';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { address } from '../../src/client/runtime.js';
import { World } from './world.js';

let world: World;

beforeEach(() => {
  world = new World();
});

const code = (promise: Promise<unknown>) => promise.then(() => 'none', (error: OmnicastError) => error.code);

describe('connecting', () => {
  it('goes through its phases and settles with the session', async () => {
    const client = world.client();
    const phases: string[] = [];
    client.on('status', ({ phase }) => phases.push(phase));
    const arrived = client.connect();
    await world.settle();
    world.socket.open();
    expect(world.socket.last('auth').data).toEqual({ token: 'token' });
    world.socket.welcome({ role: 'staff' });
    expect(await arrived).toEqual({
      connectionId: 'c1',
      userId: 'u1',
      role: 'staff',
      namespaces: ['orders', 'customers', 'products', 'inventory', 'payments', 'system'],
      expiresAt: 9_000_000,
    });
    expect(phases).toEqual(['connecting', 'authenticating', 'live']);
    expect(client.status.getSnapshot()).toMatchObject({ phase: 'live', fresh: true, error: null, attempts: 0 });
  });

  it('twice is once', async () => {
    const client = world.client();
    const first = client.connect();
    expect(client.connect()).toBe(first);
    await world.accept();
    expect(world.sockets).toHaveLength(1);
    expect((await client.connect()).userId).toBe('u1');
    expect(world.sockets).toHaveLength(1);
  });

  it('does nothing before it is told to', async () => {
    world.client({ namespaces: ['orders'] });
    await world.advance(60_000);
    expect(world.sockets).toHaveLength(0);
    expect(world.timers).toBe(0);
    expect(world.wakers).toBe(0);
  });

  it('can be called off at any point', async () => {
    for (const stage of ['credential', 'opening', 'authenticating', 'live', 'waiting'] as const) {
      world = new World();
      const client = world.client();
      const arrived = code(client.connect());
      if (stage !== 'credential') await world.settle();
      const [socket] = world.sockets;
      if (['authenticating', 'live', 'waiting'].includes(stage)) socket?.open();
      if (stage === 'live') socket?.welcome();
      if (stage === 'waiting') socket?.shut();
      client.disconnect();
      expect(await arrived, stage).toBe(stage === 'live' ? 'none' : 'disconnected');
      expect(client.phase(), stage).toBe('idle');
      if (socket && stage !== 'waiting') expect(socket.closed, stage).toBe(1000);
      // Nothing of it stirs any more.
      socket?.open();
      socket?.shut(4004);
      await world.advance(120_000);
      expect(client.phase(), stage).toBe('idle');
      expect(world.timers, stage).toBe(0);
      expect(world.wakers, stage).toBe(0);
      expect(world.sockets.length, stage).toBe(stage === 'credential' ? 0 : 1);
    }
  });

  it('works again after it was called off', async () => {
    const client = await world.live();
    client.disconnect();
    void client.connect();
    await world.accept();
    expect(client.phase()).toBe('live');
    expect(world.sockets).toHaveLength(2);
  });

  it('comes back after it broke, and counts', async () => {
    const client = world.client();
    void client.connect();
    await world.settle();
    world.socket.shut();
    expect(client.status.getSnapshot()).toMatchObject({ phase: 'waiting', attempts: 1, retryAt: world.time + 500 });
    expect(client.status.getSnapshot().error).toMatchObject({ code: 'connection_lost', retryable: true });
    await world.advance(500);
    expect(world.sockets).toHaveLength(2);
    world.socket.shut();
    expect(client.status.getSnapshot()).toMatchObject({ attempts: 2, retryAt: world.time + 1_000 });
    await world.advance(1_000);
    await world.accept();
    expect(client.status.getSnapshot()).toMatchObject({ phase: 'live', attempts: 0, error: null });
  });

  it('gives up after so many attempts and says so to who waits', async () => {
    const client = world.client({ maxReconnectAttempts: 2 });
    const arrived = code(client.connect());
    for (let i = 0; i < 3; i += 1) {
      await world.settle();
      world.socket.shut();
      if (i < 2) await world.advance(world.next);
    }
    expect(await arrived).toBe('connection_lost');
    expect(client.phase()).toBe('closed');
    expect(client.status.getSnapshot().error?.retryable).toBe(false);
    expect(world.timers).toBe(0);
  });

  it('needs a socket, and says so where there is none', async () => {
    world.refusesSockets = true;
    const client = world.client();
    expect(await code(client.connect())).toBe('no_socket');
    expect(client.phase()).toBe('closed');
    const bare = createClient({ url: 'ws://node', auth: 't' }, { ...world, WebSocket: undefined });
    bare.on('error', () => {});
    expect(await code(bare.connect())).toBe('no_socket');
  });

  it('drops an attempt that takes too long', async () => {
    const client = world.client();
    void client.connect();
    await world.advance(10_000);
    expect(client.phase()).toBe('waiting');
    expect(client.status.getSnapshot().error?.code).toBe('timeout');
    expect(world.sockets[0]?.closed).toBe(1000);
  });

  it('drops a node that does not answer `auth`', async () => {
    const client = world.client({ commandTimeout: 60_000 });
    void client.connect();
    await world.settle();
    world.socket.open();
    await world.advance(10_000);
    expect(client.status.getSnapshot().error?.code).toBe('timeout');
  });
});

describe('credentials', () => {
  it('may be a token, an object, an identity', async () => {
    const identity = { userId: 'u', role: 'admin', sessionId: 's', expiresAt: 1 };
    for (const [auth, data] of [
      ['t', { token: 't' }],
      [{ token: 't' }, { token: 't' }],
      [identity, identity],
    ] as const) {
      await world.live({ auth });
      expect(world.socket.last('auth').data).toEqual(data);
    }
  });

  it('are asked for before each attempt', async () => {
    let n = 0;
    const reasons: string[] = [];
    await world.live({
      auth: async (reason) => {
        reasons.push(reason);
        n += 1;
        return `token ${n}`;
      },
    });
    expect(world.socket.last('auth').data.token).toBe('token 1');
    await world.comeBack();
    expect(world.socket.last('auth').data.token).toBe('token 2');
    world.socket.say({ type: 'closing', data: { code: 4101, reason: 'session_expired', retry: true, retryAfterMs: 0 } });
    await world.advance(world.next);
    await world.accept();
    expect(world.socket.last('auth').data.token).toBe('token 3');
    expect(reasons).toEqual(['connect', 'connect', 'expired']);
  });

  it('are asked for again where that failed', async () => {
    let n = 0;
    const client = world.client({
      auth: () => {
        n += 1;
        if (n === 1) throw new Error('offline');
        return n === 2 ? Promise.reject(new Error('offline')) : 'token';
      },
    });
    void client.connect();
    await world.settle();
    expect(client.status.getSnapshot()).toMatchObject({ phase: 'waiting', error: { code: 'auth_function' } });
    await world.advance(world.next);
    expect(client.phase()).toBe('waiting');
    await world.advance(world.next);
    await world.accept();
    expect(client.phase()).toBe('live');
    expect(client.errors).toEqual(['auth_function', 'auth_function']);
  });

  it('that are none keep the client closed', async () => {
    for (const auth of [undefined, () => null, async () => undefined]) {
      const client = world.client({ auth });
      expect(await code(client.connect())).toBe('no_credential');
      expect(client.phase()).toBe('closed');
    }
    expect(world.sockets).toHaveLength(0);
  });

  it('that come too late belong to nobody', async () => {
    let give: (token: string) => void = () => {};
    const client = world.client({ auth: () => new Promise((resolve) => (give = resolve)) });
    void client.connect();
    await world.advance(10_000);
    const late = give;
    await world.advance(world.next);
    late('late');
    await world.settle();
    expect(world.sockets).toHaveLength(0);
    give('new');
    await world.accept();
    expect(world.socket.last('auth').data.token).toBe('new');
  });

  it('of the wrong shape close, since another attempt would be the same', async () => {
    const client = world.client();
    const arrived = code(client.connect());
    await world.settle();
    world.socket.open();
    world.socket.refuse('bad_message', { field: 'token' });
    expect(await arrived).toBe('bad_message');
    expect(client.phase()).toBe('closed');
  });

  it('that the node could not look at are tried again', async () => {
    const client = world.client();
    void client.connect();
    await world.settle();
    world.socket.open();
    world.socket.refuse('internal', { retryable: true, retryAfterMs: 3_000 });
    expect(client.phase()).toBe('waiting');
    expect(world.next).toBe(3_500);
  });

  it('that are bad close by the close code, not by the error before it', async () => {
    const client = world.client({ auth: () => 'token' });
    void client.connect();
    await world.settle();
    world.socket.open();
    world.socket.refuse('token_expired');
    expect(client.phase()).toBe('authenticating');
    world.socket.shut(4101, 'session_expired');
    expect(client.phase()).toBe('waiting');
    await world.advance(world.next);
    world.socket.open();
    world.socket.refuse('auth_failed');
    world.socket.shut(4002, 'auth_failed');
    expect(client.phase()).toBe('closed');
    expect(client.status.getSnapshot().error).toMatchObject({ code: 'auth_failed', detail: { closeCode: 4002 } });
  });

  it('that are fresh open a closed client', async () => {
    const client = await world.live();
    world.socket.shut(4002, 'auth_failed');
    await world.advance(600_000);
    expect(world.sockets).toHaveLength(1);
    const arrived = client.authenticate('better');
    await world.accept();
    expect((await arrived).userId).toBe('u1');
    expect(world.socket.last('auth').data.token).toBe('better');
  });

  it('of somebody else make a new connection', async () => {
    const client = await world.live();
    const arrived = client.authenticate(() => 'other');
    expect(world.sockets[0]?.closed).toBe(1000);
    await world.accept({ userId: 'u2' });
    expect((await arrived).userId).toBe('u2');
    expect(world.sockets).toHaveLength(2);
  });

  it('are renewed in place when the session is about to end', async () => {
    let n = 0;
    const reasons: string[] = [];
    const client = await world.live({
      auth: (reason) => {
        reasons.push(reason);
        n += 1;
        return `token ${n}`;
      },
    });
    world.socket.say({ type: 'session_expiring', data: { expiresAt: world.time + 60_000 } });
    await world.advance(14_999);
    expect(reasons).toEqual(['connect']);
    await world.advance(1);
    expect(world.socket.last('auth').data.token).toBe('token 2');
    world.socket.welcome({ expiresAt: 99_000_000 });
    expect(client.status.getSnapshot().session?.expiresAt).toBe(99_000_000);
    expect(reasons).toEqual(['connect', 'expiring']);
    expect(world.sockets).toHaveLength(1);
  });

  it('are asked for again where the renewal failed', async () => {
    let n = 0;
    const client = await world.live({
      auth: () => {
        n += 1;
        if (n === 2) throw new Error('offline');
        return `token ${n}`;
      },
    });
    world.socket.say({ type: 'session_expiring', data: { expiresAt: world.time + 60_000 } });
    await world.advance(15_000);
    expect(client.errors).toEqual(['auth_function']);
    await world.advance(5_000);
    expect(world.socket.last('auth').data.token).toBe('token 3');
  });

  it('can be renewed by hand', async () => {
    const client = await world.live({ auth: () => 'again' });
    const renewed = client.authenticate();
    await world.settle();
    world.socket.welcome({ role: 'manager' });
    expect((await renewed).role).toBe('manager');
    const lost = code(client.authenticate());
    world.socket.shut();
    expect(await lost).toBe('connection_lost');
  });

  it('follow a new role', async () => {
    const client = await world.live({ auth: () => 'again', namespaces: ['orders', 'payments'] });
    world.socket.subscribed();
    void client.authenticate();
    await world.settle();
    world.socket.welcome({ role: 'staff', namespaces: ['orders'] });
    expect(client.errors).toEqual(['forbidden_namespace']);
    expect(client.status.getSnapshot().session?.role).toBe('staff');
  });
});

describe('the node\'s closing', () => {
  const closing = (data: object) => world.socket.say({ type: 'closing', data });

  it('is obeyed: stay away', async () => {
    const client = await world.live();
    closing({ code: 4004, reason: 'kicked', retry: false, retryAfterMs: 0 });
    expect(client.phase()).toBe('closed');
    expect(client.status.getSnapshot().error).toMatchObject({ code: 'kicked', retryable: false });
    await world.advance(3_600_000);
    expect(world.sockets).toHaveLength(1);
  });

  it('is obeyed: come back in your slot', async () => {
    const client = await world.live();
    closing({ code: 1001, reason: 'going_away', retry: true, retryAfterMs: 2_166 });
    expect(client.phase()).toBe('waiting');
    await world.advance(2_165);
    world.wake();
    await world.advance(0);
    expect(world.sockets).toHaveLength(1);
    await world.advance(501);
    expect(world.sockets).toHaveLength(2);
  });

  it('is not counted twice with the close that follows', async () => {
    const client = await world.live();
    const [socket] = world.sockets;
    closing({ code: 4201, reason: 'pong_timeout', retry: true, retryAfterMs: 0 });
    socket?.shut(4201, 'pong_timeout');
    expect(client.status.getSnapshot().attempts).toBe(1);
  });

  it('of the client\'s own doing ends quietly', async () => {
    const client = await world.live();
    client.disconnect();
    expect(client.status.getSnapshot()).toMatchObject({ phase: 'idle', error: null, session: null });
  });
});

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

describe('what the node says wrong', () => {
  it('is told and survived', async () => {
    const client = await world.live({ namespaces: ['orders'] });
    const before = client.status.getSnapshot();
    const { socket } = world;
    const frames = [
      'not json', '', 'null', '7', '"text"', '[]', '{}', '{"type":7}', '{"type":"order:created"}',
      '{"type":"order:created","id":3,"data":{}}', '{"type":"order:created","id":"3"}',
      '{"type":"caught_up","data":[]}', '{"type":"closing","data":null}', '{"type":"subscribed","data":"x"}',
      '{"type":"system:notification","replyTo":1,"data":{}}',
    ];
    for (const frame of frames) socket.raw(frame);
    socket.raw(new ArrayBuffer(3));
    socket.raw(undefined);
    expect(client.phase()).toBe('live');
    expect(client.status.getSnapshot().session).toBe(before.session);
    for (const error of client.errors) expect(error).toBe('bad_frame');
    expect(client.errors.length).toBeGreaterThan(8);
    const got: string[] = [];
    client.on('orders', (event) => got.push(event.id));
    socket.event('1');
    expect(got).toEqual(['1']);
  });

  it('is ignored where it is new', async () => {
    const client = await world.live();
    world.socket.say({ type: 'weather', data: { rain: true } });
    world.socket.say({ type: 'pong', id: 12345, timestamp: 1 });
    world.socket.say({ type: 'subscribed', id: 12345, data: { namespaces: ['orders'] } });
    expect(client.errors).toEqual([]);
  });

  it('cannot take a prototype for a handler or a command', async () => {
    const client = await world.live();
    world.socket.raw('{"type":"__proto__","id":"__proto__","data":{"__proto__":{"x":1}}}');
    world.socket.raw('{"type":"a:constructor","namespace":"constructor","id":"1","data":{}}');
    expect(client.errors).toEqual([]);
    expect(({} as { x?: number }).x).toBeUndefined();
  });

  it('in an error without an id is told', async () => {
    const client = await world.live();
    world.socket.say({ type: 'error', data: { code: 'internal', message: 'x', retryable: true } });
    expect(client.errors).toEqual(['internal']);
  });
});

describe('commands', () => {
  it('settle with their answers', async () => {
    const client = await world.live();
    const published = client.publish('customer:viewing_product', { productId: 'p', productName: 'Mug' });
    const sent = world.socket.last('publish');
    expect(sent.data).toEqual({ type: 'customer:viewing_product', data: { productId: 'p', productName: 'Mug' } });
    const presence = client.presence();
    const ping = client.ping();
    world.sleep(30);
    world.socket.say({ type: 'pong', id: world.socket.last('ping').id, timestamp: 1 });
    world.socket.say({ type: 'presence', id: world.socket.last('presence').id, data: { customersOnline: 3 } });
    world.socket.say({ type: 'published', id: sent.id, data: { eventId: '12' } });
    expect(await published).toBe('12');
    expect(await presence).toEqual({ customersOnline: 3 });
    expect(await ping).toBe(30);
    const raw = client.send('weather', { place: 'here' });
    world.socket.say({ type: 'weather', id: world.socket.last('weather').id, data: { rain: true } });
    expect(await raw).toMatchObject({ type: 'weather', data: { rain: true } });
  });

  it('reject with what the node says', async () => {
    const client = await world.live();
    const refused = client.publish('customer:viewing_product', { productId: 'p', productName: 'Mug' });
    world.socket.refuse('rate_limited', { retryable: true, retryAfterMs: 600 });
    await expect(refused).rejects.toMatchObject({ code: 'rate_limited', retryable: true, retryAfterMs: 600 });
    const invalid = client.send('publish', {});
    world.socket.refuse('invalid_event', { path: 'data.productId' });
    await expect(invalid).rejects.toMatchObject({ code: 'invalid_event', detail: { path: 'data.productId' } });
    expect(client.errors).toEqual([]);
  });

  it('reject at once while there is no connection', async () => {
    const client = world.client();
    expect(await code(client.ping())).toBe('not_connected');
    expect(await code(client.presence())).toBe('not_connected');
    expect(await code(client.send('x'))).toBe('not_connected');
  });

  it('reject when the connection is lost, or nothing comes', async () => {
    const client = await world.live({ pingInterval: 1e9 });
    const slow = code(client.ping());
    await world.advance(10_000);
    expect(await slow).toBe('timeout');
    const lost = code(client.ping());
    world.socket.shut();
    expect(await lost).toBe('connection_lost');
    await world.advance(world.next);
    await world.accept();
    world.socket.broken = true;
    expect(await code(client.ping())).toBe('connection_lost');
  });

  it('reject what the node would close for', async () => {
    const client = await world.live();
    expect(await code(client.send('publish', { text: 'x'.repeat(70_000) }))).toBe('too_large');
    expect(world.socket.all('publish')).toHaveLength(0);
  });

  it('nobody waits for do no harm', async () => {
    const client = world.client();
    void client.ping().catch(() => {});
    void client.send('x');
    void client.connect();
    client.disconnect();
    void client.subscribe('orders').ready;
    await world.settle();
  });
});

describe('signs of life', () => {
  it('are asked for after silence; without one the client comes back', async () => {
    const client = await world.live({ pingInterval: 25_000 });
    await world.advance(25_000);
    expect(world.socket.all('ping')).toHaveLength(1);
    world.socket.say({ type: 'pong', id: world.socket.last('ping').id, timestamp: 1 });
    await world.advance(25_000);
    expect(world.socket.all('ping')).toHaveLength(2);
    await world.advance(5_000);
    expect(client.phase()).toBe('waiting');
    expect(client.status.getSnapshot().error?.code).toBe('no_answer');
  });

  it('keep the position of a quiet subscription fresh', async () => {
    const client = await world.live({ namespaces: ['orders'] });
    world.socket.subscribed({ lastEventId: '5' });
    await world.advance(25_000);
    world.socket.say({ type: 'pong', id: world.socket.last('ping').id, timestamp: 1 });
    await world.advance(25_000);
    expect(world.socket.all('ping')).toHaveLength(1);
    expect(world.socket.all('subscribe')).toHaveLength(2);
    world.socket.subscribed({ lastEventId: '70000' });
    expect(client.position?.id).toBe('70000');
  });

  it('are asked for on a wake; a dead socket is replaced within 2 s', async () => {
    const client = await world.live();
    const [dead] = world.sockets;
    await world.advance(1_000);
    world.wake();
    expect(dead?.all('ping')).toHaveLength(1);
    await world.advance(2_000);
    expect(dead?.closed).toBe(1000);
    expect(world.sockets).toHaveLength(2);
    await world.accept();
    expect(client.phase()).toBe('live');
    expect(client.errors).toEqual([]);
  });

  it('that come on a wake keep the socket', async () => {
    const client = await world.live();
    world.wake();
    await world.advance(500);
    world.socket.say({ type: 'pong', id: world.socket.last('ping').id, timestamp: 1 });
    await world.advance(10_000);
    expect(world.sockets).toHaveLength(1);
    client.wake();
    expect(world.socket.all('ping')).toHaveLength(2);
  });

  it('are asked for after a sleep that nobody told of', async () => {
    const client = await world.live();
    world.sleep(3_600_000);
    await world.advance(0);
    expect(world.socket.all('ping')).toHaveLength(1);
    await world.advance(2_000);
    expect(world.sockets).toHaveLength(2);
    expect(client.phase()).toBe('connecting');
  });

  it('are not missed by a page that was busy itself', async () => {
    const client = await world.live({ pingInterval: 10_000 });
    await world.advance(10_000);
    expect(world.socket.all('ping')).toHaveLength(1);
    // The pong waits behind 4.5 s of work, and the timer fires first.
    world.sleep(9_500);
    await world.advance(0);
    expect(client.phase()).toBe('live');
    world.socket.say({ type: 'pong', id: world.socket.last('ping').id, timestamp: 1 });
    await world.advance(5_000);
    expect(client.phase()).toBe('live');
  });

  it('cut a wait short', async () => {
    const client = await world.live();
    for (let i = 0; i < 6; i += 1) {
      world.socket.shut();
      if (i < 5) await world.advance(world.next);
    }
    expect(world.next).toBeGreaterThan(10_000);
    world.dice = [0.2];
    world.wake();
    expect(world.next).toBe(200);
    expect(client.status.getSnapshot().retryAt).toBe(world.time + 200);
  });
});

describe('the state', () => {
  it('is a store: one object as long as nothing changes', async () => {
    const client = world.client();
    const { getSnapshot, subscribe } = client.status;
    const seen: Status[] = [];
    const undo = subscribe(() => seen.push(getSnapshot()));
    const before = getSnapshot();
    expect(getSnapshot()).toBe(before);
    void client.connect();
    await world.accept();
    const live = getSnapshot();
    world.socket.event('1');
    world.socket.say({ type: 'pong', timestamp: 1 });
    await world.advance(5_000);
    expect(getSnapshot()).toBe(live);
    expect(seen.map(({ phase }) => phase)).toEqual(['connecting', 'authenticating', 'live']);
    expect(new Set(seen).size).toBe(3);
    undo();
    client.disconnect();
    expect(seen).toHaveLength(3);
  });

  it('says since when it is stale', async () => {
    const client = await world.live();
    await world.advance(3_000);
    world.socket.event('1');
    const heardAt = world.time;
    await world.advance(9_000);
    world.socket.shut();
    expect(client.status.getSnapshot()).toMatchObject({ fresh: false, freshAt: heardAt });
    await world.advance(world.next);
    await world.accept();
    expect(client.status.getSnapshot().fresh).toBe(true);
  });

  it('may lead on from a handler', async () => {
    const client = world.client();
    client.on('status', ({ phase }) => {
      if (phase === 'closed') void client.authenticate('fresh');
    });
    void client.connect();
    await world.accept();
    world.socket.shut(4002, 'auth_failed');
    await world.accept();
    expect(client.phase()).toBe('live');
    expect(world.socket.last('auth').data.token).toBe('fresh');
  });
});

describe('errors that nobody listens to', () => {
  afterEach(() => {
    vi.restoreAllMocks();
  });

  it('are on the console', async () => {
    const log = vi.spyOn(console, 'error').mockImplementation(() => {});
    const client = createClient({ url: 'ws://node', auth: 't' }, world);
    void client.connect();
    await world.accept();
    world.socket.raw('x');
    expect(log).toHaveBeenCalledTimes(1);
    const undo = client.on('error', () => {
      throw new Error('again');
    });
    world.socket.raw('x');
    expect(log).toHaveBeenCalledTimes(2);
    undo();
    world.socket.raw('x');
    expect(log).toHaveBeenCalledTimes(3);
  });

  it('are not joined by a loss, after which the client comes back', async () => {
    const log = vi.spyOn(console, 'error').mockImplementation(() => {});
    const client = createClient({ url: 'ws://node', auth: 't' }, world);
    void client.connect();
    await world.accept();
    world.socket.shut();
    expect(log).not.toHaveBeenCalled();
  });
});

describe('debug', () => {
  it('tells what happens, but no token', async () => {
    const told: string[] = [];
    await world.live({ auth: 'secret', debug: (what, detail) => told.push(`${what} ${JSON.stringify(detail)}`) });
    expect(told.join('\n')).toContain('idle → connecting');
    expect(told.join('\n')).toContain('Authentication successful');
    expect(told.join('\n')).not.toContain('secret');
  });
});

describe('the address', () => {
  afterEach(() => {
    vi.unstubAllGlobals();
  });

  it('is made of what there is', () => {
    expect(address('ws://h:1/api/ws')).toBe('ws://h:1/api/ws');
    expect(address('https://h')).toBe('wss://h/api/ws');
    expect(address(new URL('http://h:3001/'))).toBe('ws://h:3001/api/ws');
    expect(address('wss://h/other')).toBe('wss://h/other');
  });

  it('needs no URL of the platform for a whole address: that of React Native refuses `ws:`', () => {
    vi.stubGlobal('URL', undefined);
    expect(address('wss://h/api/ws')).toBe('wss://h/api/ws');
    expect(address('https://h')).toBe('wss://h/api/ws');
  });
});

describe('a shared client', () => {
  it('is one per address', () => {
    const options: ClientOptions = { url: 'ws://shared-a', auth: 't' };
    const one = getSharedClient(options);
    expect(getSharedClient({ url: 'ws://shared-a/api/ws' })).toBe(one);
    expect(getSharedClient({ url: 'ws://shared-b' })).not.toBe(one);
  });
});

describe('in a browser', () => {
  afterEach(() => {
    vi.unstubAllGlobals();
  });

  it('hears of a wake from the page, and lets go of it', async () => {
    const page = new EventTarget();
    const tab = Object.assign(new EventTarget(), { visibilityState: 'hidden' });
    const line = new EventTarget();
    vi.stubGlobal('addEventListener', page.addEventListener.bind(page));
    vi.stubGlobal('document', tab);
    vi.stubGlobal('navigator', { connection: line });
    const { platform } = await import('../../src/client/runtime.js');
    const call = vi.fn();
    const stop = platform().onWake(call);
    page.dispatchEvent(new Event('online'));
    page.dispatchEvent(new Event('offline'));
    page.dispatchEvent(new Event('pageshow'));
    line.dispatchEvent(new Event('change'));
    tab.dispatchEvent(new Event('visibilitychange'));
    expect(call).toHaveBeenCalledTimes(4);
    tab.visibilityState = 'visible';
    tab.dispatchEvent(new Event('visibilitychange'));
    expect(call).toHaveBeenCalledTimes(5);
    stop();
    page.dispatchEvent(new Event('online'));
    tab.dispatchEvent(new Event('visibilitychange'));
    expect(call).toHaveBeenCalledTimes(5);
  });
});
