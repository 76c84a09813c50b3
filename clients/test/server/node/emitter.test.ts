// The emitter against a real node.
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { configureEmitter, createEmitter, createToken, type EmitError, type EmitterOptions, getEmitter, shopEvents } from 'omnicast/server';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { Node, SECRET } from '../../node/node.js';
import { type Cut, Cutter } from './wire.js';

const TOKEN = 'control-secret';

let node: Node;
const ends: (() => unknown)[] = [];

beforeAll(async () => {
  node = await Node.start();
});
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});
afterAll(() => node.end());

const failure = (emitted: PromiseLike<unknown>): Promise<EmitError> =>
  Promise.resolve(
    emitted.then(
      (value) => {
        throw new Error(`it was published: ${value}`);
      },
      (error: EmitError) => error,
    ),
  );

function emitterOf(options: EmitterOptions = {}) {
  const address = options.url === undefined ? { socketPath: node.control } : {};
  const emitter = createEmitter({ ...address, retryInterval: 5, maxRetryInterval: 50, ...options });
  ends.push(() => emitter.close({ within: 0 }));
  return emitter;
}

/** A client of every namespace, live. */
async function watch(of = node) {
  const namespaces = ['orders', 'customers', 'products', 'inventory', 'payments', 'system'] as const;
  const client = of.client();
  ends.push(() => client.disconnect());
  const { ready } = client.subscribe(namespaces);
  await client.connect();
  await ready;
  return client;
}

describe('an emitter', () => {
  it('publishes, in order, and says by which ids', async () => {
    const client = await watch();
    const emitter = emitterOf();
    const ids = await Promise.all(
      Array.from({ length: 500 }, (_, n) => emitter.emit('product:deleted', { productId: `p_${n}` })),
    );
    await client.count(500);
    expect(client.got.map(({ id }) => id)).toEqual(ids);
    expect(client.got.map(({ data }) => (data as { productId: string }).productId)).toEqual(ids.map((_, n) => `p_${n}`));
  });

  it('refuses what the node refuses, and publishes the rest of the batch', async () => {
    const emitter = emitterOf();
    const bad = failure(emitter.emit('order:created', { orderId: 'o', total: '12' } as never));
    const good = emitter.emit('product:deleted', { productId: 'p' });
    const error = await bad;
    expect(error).toMatchObject({ code: 'wrong_type', index: 0, path: 'data.total', status: 422, maybePublished: false });
    expect(error.message).toMatch(/order:created: data.total must be a number/);
    expect(error.faults.length).toBeGreaterThan(3);
    expect(await good).toMatch(/^\d+$/);
    const nobody = failure(emitter.emit('product:deleted', { productId: 'p' }, { userIds: [] }));
    expect(await nobody).toMatchObject({ code: 'empty_list', path: 'userIds' });
    const slip = failure(emitter.emit('product:deleted', { productId: 'p' }, { userIDs: ['u'] } as never));
    expect(await slip).toMatchObject({ code: 'unknown_field' });
    const many = emitter.emitEvents(Array.from({ length: 300 }, () => ({ type: 'product:deleted', data: {} }) as never));
    const others = Array.from({ length: 300 }, (_, n) => emitter.emit('product:deleted', (n % 2 ? {} : { productId: 'p' }) as never));
    expect((await failure(many)).code).toBe('missing');
    const outcomes = await Promise.allSettled(others);
    expect(outcomes.map(({ status }) => status)).toEqual(others.map((_, n) => (n % 2 ? 'rejected' : 'fulfilled')));
  });

  it('addresses an event', async () => {
    const client = await watch();
    const emitter = emitterOf();
    const product = { productId: 'p' };
    await emitter.emit('product:deleted', product, { roles: ['staff'] });
    await emitter.emit('product:deleted', product, { userIds: ['u2'] });
    await emitter.emit('product:deleted', product, { excludeUserIds: ['u1'] });
    await emitter.emit('product:deleted', product, { excludeSessionId: 's1' });
    const id = await emitter.emit('product:deleted', product, { roles: ['admin'], userIds: ['u1'], key: 'k', timestamp: 7 });
    await client.count(1);
    expect(client.got).toMatchObject([{ id, timestamp: 7 }]);
  });

  it('goes over TCP with a token, and says when it is the wrong one', async () => {
    // Any free port; the node prints only that of its clients.
    const port = await new Promise<number>((resolve) => {
      const probe = createServer().listen(0, '127.0.0.1', () => {
        const { port } = probe.address() as { port: number };
        probe.close(() => resolve(port));
      });
    });
    const other = await Node.start({ WS_CONTROL_ADDR: `127.0.0.1:${port}`, WS_CONTROL_TOKEN: TOKEN, WS_MAX_BODY: '2048' });
    ends.push(() => other.end());
    const url = `http://127.0.0.1:${port}`;
    const emitter = emitterOf({ url, token: TOKEN });
    expect(await emitter.emit('product:deleted', { productId: 'p' })).toBe('1');
    const wrong = emitterOf({ url, token: 'wrong' });
    expect(await failure(wrong.emit('product:deleted', { productId: 'p' }))).toMatchObject({ code: 'unauthorized', status: 401 });
    // More than this node takes at once goes in parts; more than it takes at all is refused.
    const ids = await Promise.all(Array.from({ length: 60 }, (_, n) => emitter.emit('product:deleted', { productId: `p_${n}` })));
    expect(ids).toEqual(Array.from({ length: 60 }, (_, n) => String(n + 2)));
    const changes = { text: 'x'.repeat(3000) };
    const big = failure(emitter.emit('product:updated', { productId: 'p', changes }));
    expect(await big).toMatchObject({ code: 'body_too_large', status: 413, maybePublished: false });
  });

  it('refuses an event that is too large, and no other', async () => {
    const emitter = emitterOf();
    const big = failure(emitter.emit('product:updated', { productId: 'p', changes: { text: 'x'.repeat(300_000) } }));
    const good = emitter.emit('product:deleted', { productId: 'p' });
    expect(await big).toMatchObject({ code: 'too_large', index: 0, status: 413 });
    expect(await good).toMatch(/^\d+$/);
  });

  it('finds a node by WS_CONTROL_SOCKET, and where the node’s command line finds it', async () => {
    const other = await Node.start();
    ends.push(() => other.end(), () => vi.unstubAllEnvs());
    vi.stubEnv('RUNTIME_DIRECTORY', dirname(other.control));
    configureEmitter({});
    expect(await getEmitter().emit('product:deleted', { productId: 'p' })).toBe('1');
    vi.stubEnv('WS_CONTROL_SOCKET', node.control);
    configureEmitter({});
    expect(Number(await getEmitter().emit('product:deleted', { productId: 'p' }))).toBeGreaterThan(1);
    expect(getEmitter()).toBe(getEmitter());
    await getEmitter().close();
  });

  it('does not keep a process from ending, nor lets it end too early', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'omnicast-'));
    ends.push(() => rmSync(dir, { recursive: true }));
    const script = join(dir, 'script.mjs');
    await build({
      stdin: {
        contents: `import { emitProductEvent } from './src/server/index.ts';
          emitProductEvent('deleted', { id: 'at once' });
          emitProductEvent('updated', { id: 'held back', changes: {} }, { debounce: 50 });`,
        resolveDir: fileURLToPath(new URL('../../..', import.meta.url)),
      },
      bundle: true,
      platform: 'node',
      format: 'esm',
      outfile: script,
    });
    const began = performance.now();
    const child = spawn(process.execPath, [script], {
      env: { ...process.env, WS_CONTROL_SOCKET: node.control },
      stdio: 'inherit',
    });
    expect(await new Promise((resolve) => child.on('exit', resolve))).toBe(0);
    // The node hangs up on an idle connection much later.
    expect(performance.now() - began).toBeLessThan(20_000);
    const { body } = await node.call('GET', '/api/events?limit=65536');
    expect(body).toContain('at once');
    expect(body).toContain('held back');
  });
});

describe('exactly once', () => {
  const published = async () => {
    const reply = await node.call('GET', '/api/events?limit=65536');
    return reply.body.trim().split('\n').map((line) => JSON.parse(line) as { id: string; data: { orderId?: string } });
  };

  for (const cut of ['before', 'lost', 'half', 'silent'] as const) {
    it(`where the way back is cut: ${cut}`, async () => {
      const cuts: Cut[] = [cut, cut, 'none', cut];
      const cutter = await Cutter.start(node.control, () => cuts.shift() ?? 'none');
      ends.push(() => cutter.end());
      const client = await watch();
      const emitter = emitterOf({ socketPath: cutter.path, requestTimeout: cut === 'silent' ? 200 : 10_000 });
      const ids: string[] = [];
      for (let n = 0; n < 4; n += 1) ids.push(await emitter.emit('order:deleted', { orderId: `${cut}_${n}` }));
      await client.count(4);
      const mine = (await published()).filter(({ data }) => data.orderId?.startsWith(`${cut}_`));
      expect(mine.map(({ id }) => id)).toEqual(ids);
      expect(mine.map(({ data }) => data.orderId)).toEqual(ids.map((_, n) => `${cut}_${n}`));
      expect(client.got.map(({ id }) => id)).toEqual(ids);
      expect(cutter.cuts).toBe(cut === 'before' ? 0 : 3);
      expect(cuts).toEqual([]);
    });
  }

  it('over a line that is cut at random, a thousand events, many at a time', async () => {
    let seed = 7;
    const random = (n: number) => (seed = (seed * 48_271) % 2_147_483_647) % n;
    const kinds: Cut[] = ['before', 'lost', 'half', 'none', 'none', 'none'];
    const cutter = await Cutter.start(node.control, () => kinds[random(kinds.length)] as Cut);
    ends.push(() => cutter.end());
    const emitter = emitterOf({ socketPath: cutter.path, maxBatch: 20 });
    const emitted: Promise<string>[] = [];
    for (let n = 0; n < 1000; n += 1) {
      emitted.push(emitter.emit('order:deleted', { orderId: `flood_${n}` }));
      if (random(30) === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    const ids = await Promise.all(emitted);
    const mine = (await published()).filter(({ data }) => data.orderId?.startsWith('flood_'));
    expect(mine.map(({ data }) => data.orderId)).toEqual(ids.map((_, n) => `flood_${n}`));
    expect(mine.map(({ id }) => id)).toEqual(ids);
    expect(cutter.cuts).toBeGreaterThan(3);
  });

  it('while the node stands still, and while it is away', async () => {
    const own = await Node.start();
    ends.push(() => own.end());
    const emitter = emitterOf({ socketPath: own.control, requestTimeout: 200 });
    expect(await emitter.emit('order:deleted', { orderId: 'a' })).toBe('1');
    own.pause(true);
    const slow = emitter.emit('order:deleted', { orderId: 'b' });
    await new Promise((resolve) => setTimeout(resolve, 700));
    own.pause(false);
    expect(await slow).toBe('2');
    expect(await emitter.emit('order:deleted', { orderId: 'c' })).toBe('3');
    await own.stop();
    const late = emitter.emit('order:deleted', { orderId: 'd' });
    await own.run();
    expect(await late).toBe('1');
  });
});

describe('the shop’s helpers', () => {
  it('emit events that the node takes: each of the 23', async () => {
    const client = await watch();
    const shop = shopEvents(emitterOf());
    const product = { productName: 'Mug', sku: 'MUG' };
    const money = { orderId: 'o', customerId: 'c', amount: 1 };
    await shop.emitOrderEvent('created', { id: 'o', customerId: 'c', customerName: 'Ada', total: 1, status: 'pending', channel: 'web' });
    await shop.emitOrderEvent('updated', { id: 'o', changes: {} });
    await shop.emitOrderEvent('status_changed', { id: 'o', customerId: 'c', customerName: 'Ada', oldStatus: 'pending', newStatus: 'shipped' });
    await shop.emitOrderEvent('deleted', { id: 'o' });
    await shop.emitCustomerActivity('checkout_start', { id: 'c' });
    await shop.emitCustomerActivity('viewing_product', { id: 'c', productId: 'p', productName: 'Mug' });
    await shop.emitCustomerActivity('added_to_cart', { id: 'c', productId: 'p', productName: 'Mug', quantity: 1 });
    await shop.emitCustomerActivity('online', { id: 'c' });
    await shop.emitCustomerActivity('offline', { id: 'c' });
    await shop.emitProductEvent('price_changed', { id: 'p', ...product, oldPrice: 0, newPrice: 1 });
    await shop.emitProductEvent('created', { id: 'p', productName: 'Mug', category: 'mugs', price: 1 });
    await shop.emitProductEvent('updated', { id: 'p', changes: {} });
    await shop.emitProductEvent('deleted', { id: 'p' });
    await shop.emitInventoryEvent('updated', { id: 'p', ...product, oldStock: 9, newStock: 4, threshold: 5, reason: 'sale' });
    await shop.emitInventoryEvent('updated', { id: 'p', ...product, oldStock: 4, newStock: 0, threshold: 5 });
    await shop.emitInventoryEvent('restocked', { id: 'p', ...product, newStock: 9, addedQuantity: 9 });
    await shop.emitPaymentEvent('received', { id: 'pay', ...money, method: 'card' });
    await shop.emitPaymentEvent('failed', { id: 'pay', ...money, reason: 'r', retryable: true });
    await shop.emitPaymentEvent('refunded', { id: 'pay', ...money });
    await shop.emitSystemNotification({ title: 't', message: 'm' });
    await shop.wsEvents.systemAlert({ title: 't', message: 'm', severity: 'warning' });
    await shop.wsEvents.systemMaintenance({ message: 'm' });
    await client.count(24);
    expect(new Set(client.got.map(({ type }) => type)).size).toBe(23);
    expect(client.got.length).toBe(24);
  });
});

describe('a token', () => {
  it('is taken by the node', async () => {
    const own = await Node.start({ WS_JWT_SECRET: SECRET });
    ends.push(() => own.end());
    const client = own.client({ auth: () => createToken({ sub: 'u_7', role: 'staff', sid: 's_7' }, SECRET) });
    expect(await client.connect()).toMatchObject({ userId: 'u_7', role: 'staff' });
  });
});
