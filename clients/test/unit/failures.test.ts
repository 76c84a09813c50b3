// What went wrong: who is told, and in what words.
import { createClient, getSharedClient, OmnicastError } from 'omnicast';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { address } from '../../src/client/runtime.js';
import { World } from './world.js';

let world: World;
let log: ReturnType<typeof vi.spyOn>;

beforeEach(() => {
  world = new World();
  log = vi.spyOn(console, 'error').mockImplementation(() => {});
});

afterEach(() => {
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
});

const failure = (promise: Promise<unknown>) => promise.then(() => undefined, (error: OmnicastError) => error);
const refused = async () => {
  await world.settle();
  world.socket.open();
  world.socket.refuse('bad_message', { message: 'data.token must be text' });
};

describe('a client that closes for good though nobody waits for it', () => {
  it.each([
    ['no_socket', { WebSocket: undefined }, async () => {}],
    ['bad_url', { url: 'nowhere' }, async () => {}],
    ['no_credential', { auth: undefined }, async () => {}],
    ['bad_message', {}, refused],
    ['kicked', {}, async () => (await world.accept()).shut(4004, 'kicked')],
    ['connection_lost', { reconnect: false }, async () => (await world.accept()).shut()],
  ])('tells %s', async (code, options, lead) => {
    const runtime = 'WebSocket' in options ? { ...world, WebSocket: undefined } : world;
    for (const hasHandler of [true, false]) {
      const client = createClient({ url: 'ws://node', auth: 'token', ...options }, runtime);
      const told: OmnicastError[] = [];
      if (hasHandler) client.on('error', (error) => told.push(error));
      void client.connect();
      await lead();
      await world.settle();
      const { phase, error } = client.status.getSnapshot();
      expect([phase, error?.code, error?.retryable]).toEqual(['closed', code, false]);
      if (hasHandler) expect(told).toEqual([error]);
      expect(log.mock.calls).toEqual(hasHandler ? [] : [[error]]);
    }
  });

  it('says it once, however often the end is looked at', async () => {
    const client = world.client();
    void client.connect();
    await world.accept();
    world.socket.shut(4004, 'kicked');
    client.wake();
    client.subscribe('orders');
    await world.advance(600_000);
    expect(client.errors).toEqual(['kicked']);
    void client.connect();
    await world.accept();
    world.socket.shut(4004, 'kicked');
    expect(client.errors).toEqual(['kicked', 'kicked']);
  });

  it('is not told that nobody is signed in where its function says so', async () => {
    const client = world.client({ auth: () => null });
    expect(await failure(client.connect())).toMatchObject({ code: 'no_credential' });
    expect(client.errors).toEqual([]);
  });
});

describe('errors that nobody listens to', () => {
  it('are on the console', async () => {
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
    const client = createClient({ url: 'ws://node', auth: 't' }, world);
    void client.connect();
    await world.accept();
    world.socket.shut();
    expect(log).not.toHaveBeenCalled();
  });
});

describe('a credential that has expired', () => {
  it('is told at each attempt, which goes on', async () => {
    const client = world.client({ auth: () => 'old' });
    void client.connect();
    for (let n = 1; n <= 3; n += 1) {
      await world.settle();
      world.socket.open();
      world.socket.refuse('token_expired');
      world.socket.shut(4101, 'session_expired');
      expect(client.phase()).toBe('waiting');
      expect(client.errors).toEqual(Array(n).fill('token_expired'));
      await world.advance(world.next);
    }
  });
});

describe('an address that is none', () => {
  it('ends the first attempt, before a credential is asked for', async () => {
    const auth = vi.fn(() => 'token');
    for (const url of [undefined, '/api/ws', 'localhost:3001', 'ftp://h', 'http://', 'ws:', '']) {
      const client = world.client({ url, auth });
      const error = await failure(client.connect());
      expect(error, `${url}`).toMatchObject({ code: 'bad_url', retryable: false });
      expect(error?.message).toContain('wss://host/api/ws');
      expect(client.errors).toEqual(['bad_url']);
    }
    expect(auth).not.toHaveBeenCalled();
    expect(world.sockets).toHaveLength(0);
  });

  it('may be so for a socket alone', async () => {
    const client = world.client({
      WebSocket: class {
        constructor(url: string) {
          throw new SyntaxError(`Invalid URL: ${url}`);
        }
      } as never,
    });
    expect(await failure(client.connect())).toMatchObject({ code: 'bad_url', message: 'Invalid URL: ws://node/api/ws' });
    expect(client.errors).toEqual(['bad_url']);
  });

  it('is no reason to throw where a server renders the page', () => {
    expect(createClient({ url: '/api/ws' }).url).toBe('/api/ws');
    expect(getSharedClient({ url: '/api/rt' })).toBe(getSharedClient({ url: '/api/rt' }));
  });

  it('is one on a page', () => {
    vi.stubGlobal('location', { href: 'https://shop.example/cart?x#y' });
    expect(address(undefined)).toBe('wss://shop.example/api/ws');
    expect(address('/rt')).toBe('wss://shop.example/rt');
    expect(address('rt')).toBe('wss://shop.example/rt');
  });
});

describe('the words of an error', () => {
  it('are not its code once more', async () => {
    const client = world.client();
    const arrived = failure(client.connect());
    await refused();
    expect(await arrived).toMatchObject({ code: 'bad_message', message: 'data.token must be text' });
    expect((await failure(client.ping()))?.message).toBe('not connected');
    expect((await failure(world.client({ auth: () => null }).connect()))?.message).toBe('no credential');
  });

  it('name the address of a connection that was lost, and its cause where the socket tells', async () => {
    const client = await world.live();
    world.socket.shut();
    expect(client.status.getSnapshot().error).toMatchObject({ message: 'ws://node/api/ws: closed with 1006' });
    await world.advance(world.next);
    const cause = new Error('connect ECONNREFUSED 127.0.0.1:3001');
    world.socket.onerror?.({ message: cause.message, error: cause } as never);
    world.socket.shut();
    const { error } = client.status.getSnapshot();
    expect(error).toMatchObject({ code: 'connection_lost', message: `ws://node/api/ws: ${cause.message}` });
    expect(error?.cause).toBe(cause);
  });

  it('keep what a function threw', async () => {
    const cause = new Error('offline');
    const client = world.client({ auth: () => Promise.reject(cause) });
    void client.connect();
    await world.settle();
    expect(client.status.getSnapshot().error).toMatchObject({ code: 'auth_function', message: 'Error: offline' });
    expect(client.status.getSnapshot().error?.cause).toBe(cause);
  });

  it('are there in JSON', () => {
    const error = new OmnicastError('rate_limited', 'too fast', { retryable: true, retryAfterMs: 600 });
    expect(JSON.parse(JSON.stringify(error))).toEqual({
      name: 'OmnicastError',
      code: 'rate_limited',
      message: 'too fast',
      retryable: true,
      retryAfterMs: 600,
      detail: { retryable: true, retryAfterMs: 600 },
    });
  });

  it('tell a `disconnect` from a loss', async () => {
    const client = await world.live();
    const ping = failure(client.ping());
    client.disconnect();
    expect(await ping).toMatchObject({ code: 'disconnected', retryable: false });
    const arrived = failure(client.connect());
    client.disconnect();
    expect(await arrived).toMatchObject({ code: 'disconnected', retryable: false });
    expect(client.errors).toEqual([]);
  });
});
