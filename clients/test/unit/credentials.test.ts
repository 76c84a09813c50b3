// Who the client is, and how it stays so.
import type { OmnicastError } from 'omnicast';
import { beforeEach, describe, expect, it } from 'vitest';
import { World } from './world.js';

let world: World;

beforeEach(() => {
  world = new World();
});

const code = (promise: Promise<unknown>) => promise.then(() => 'none', (error: OmnicastError) => error.code);

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
