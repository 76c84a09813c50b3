// The life of a client, as its user sees it.
import { createClient, type OmnicastError, type Status } from 'omnicast';
import { beforeEach, describe, expect, it } from 'vitest';
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

describe('debug', () => {
  it('tells what happens, but no token', async () => {
    const told: string[] = [];
    await world.live({ auth: 'secret', debug: (what, detail) => told.push(`${what} ${JSON.stringify(detail)}`) });
    expect(told.join('\n')).toContain('idle → connecting');
    expect(told.join('\n')).toContain('Authentication successful');
    expect(told.join('\n')).not.toContain('secret');
  });
});
