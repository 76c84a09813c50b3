// The client against a real node.
import { connect, createServer, type Server, type Socket } from 'node:net';
import type { OmnicastError } from 'omnicast';
import { afterEach, describe, expect, it } from 'vitest';
import { Node, order, SECRET, token } from './node.js';

let node: Node;

afterEach(() => node.end());

const code = (promise: Promise<unknown>) => promise.then(() => 'none', (error: OmnicastError) => error.code);
const ids = (events: readonly { id: string }[]) => events.map((event) => event.id);

describe('a session', () => {
  it('begins, subscribes, gets what is posted', async () => {
    node = await Node.start();
    const client = node.client();
    const session = await client.connect();
    expect(session).toMatchObject({ userId: 'u1', role: 'admin' });
    expect(session.namespaces).toContain('orders');
    await client.subscribe('orders').ready;
    const posted = await node.post([order(1), { type: 'product:deleted', data: { productId: 'p' } }, order(2)]);
    await client.count(2);
    expect(ids(client.got)).toEqual([posted[0], posted[2]]);
    expect(client.got[0]).toMatchObject({ type: 'order:created', namespace: 'orders', data: { total: 12.5 } });
    expect(client.position?.id).toBe(posted[2]);
  });

  it('answers commands', async () => {
    node = await Node.start();
    const admin = node.client({ namespaces: ['customers'] });
    await admin.connect();
    expect(await admin.ping()).toBeLessThan(1_000);
    const ada = node.client({ auth: node.identity({ userId: 'ada', role: 'customer', sessionId: 's2' }) });
    await ada.connect();
    await admin.count(1);
    expect(admin.got[0]).toMatchObject({ type: 'customer:online', data: { customerId: 'ada', isOnline: true } });
    expect(await admin.presence()).toEqual({ customersOnline: 1 });
    const id = await ada.publish('customer:viewing_product', { productId: 'p', productName: 'Mug' });
    await admin.count(2);
    expect(admin.got[1]).toMatchObject({ id, data: { customerId: 'ada', productId: 'p' } });
    expect(await code(ada.presence())).toBe('forbidden_namespace');
    expect(await code(ada.publish('customer:activity', { action: 'dancing' as 'viewing', timestamp: 1 }))).toBe(
      'invalid_event',
    );
    expect(await code(admin.publish('customer:viewing_product', { productId: 'p', productName: 'Mug' }))).toBe(
      'forbidden_event',
    );
    expect(await code(ada.send('dance'))).toBe('unknown_type');
    expect(await code(ada.subscribe(['orders', 'payments']).ready)).toBe('forbidden_namespace');
  });

  it('hears of the entities it asked for only', async () => {
    node = await Node.start();
    const client = node.client();
    await client.connect();
    const one = client.subscribe('orders', { keys: ['order_1'] });
    const two = client.subscribe('orders', { keys: ['order_2'] });
    await Promise.all([one.ready, two.ready]);
    await node.post([order(1), order(2), order(3)]);
    await client.count(2);
    one();
    await client.subscribe('products').ready;
    await node.post([order(1), order(3), order(2)]);
    await client.count(3);
    expect(client.got.map((event) => (event.data as { orderId: string }).orderId)).toEqual([
      'order_1', 'order_2', 'order_2',
    ]);
    client.unsubscribe('orders', { keys: ['order_2'] });
    await client.ping();
    await node.post([order(2), { type: 'product:deleted', data: { productId: 'p' } }]);
    await client.count(4);
    expect(client.got[3]?.type).toBe('product:deleted');
  });

  it('is given by a token, and ends with a bad one', async () => {
    node = await Node.start({ WS_JWT_SECRET: SECRET });
    const exp = Math.floor(Date.now() / 1_000) + 600;
    const claims = { sub: 'u1', role: 'staff', sid: 's1', exp };
    const good = node.client({ auth: async () => ({ token: token(claims) }) });
    expect((await good.connect()).role).toBe('staff');
    const bad = node.client({ auth: token(claims, 'another secret of at least thirty-two bytes') });
    expect(await code(bad.connect())).toBe('auth_failed');
    expect(bad.status.getSnapshot()).toMatchObject({ phase: 'closed', error: { detail: { closeCode: 4002 } } });
    expect((await bad.authenticate(token(claims))).userId).toBe('u1');
    const shape = node.client({ auth: node.identity() });
    expect(await code(shape.connect())).toBe('bad_message');
  });

  it('is renewed in place before it ends', async () => {
    node = await Node.start({ WS_JWT_SECRET: SECRET });
    const reasons: string[] = [];
    const client = node.client({
      namespaces: ['orders'],
      auth: (reason) => {
        reasons.push(reason);
        // Shorter than a minute: notice is given at once.
        const exp = Math.floor(Date.now() / 1_000) + (reasons.length === 1 ? 3 : 600);
        return token({ sub: 'u1', role: 'staff', sid: 's1', exp });
      },
    });
    const before = await client.connect();
    await client.when((status) => (status.session?.expiresAt ?? 0) > before.expiresAt);
    expect(client.status.getSnapshot().session?.connectionId).toBe(before.connectionId);
    expect(reasons).toEqual(['connect', 'expiring']);
  });

  it('of short tokens lasts as long as they are renewed', async () => {
    node = await Node.start({ WS_JWT_SECRET: SECRET });
    let asked = 0;
    const client = node.client({
      namespaces: ['orders'],
      auth: () => {
        asked += 1;
        return token({ sub: 'u1', role: 'staff', sid: 's1', exp: Math.floor(Date.now() / 1_000) + 4 });
      },
    });
    const { connectionId } = await client.connect();
    await new Promise((resolve) => setTimeout(resolve, 10_000));
    expect(client.status.getSnapshot()).toMatchObject({ phase: 'live', session: { connectionId } });
    expect(asked).toBeLessThan(14);
    expect(client.told).toEqual([]);
  });

  it('of a token that had expired is told, and begins with one that has not', async () => {
    node = await Node.start({ WS_JWT_SECRET: SECRET });
    let asked = 0;
    const client = node.client({
      auth: () => {
        asked += 1;
        return token({ sub: 'u1', role: 'staff', sid: 's1', exp: Math.floor(Date.now() / 1_000) + (asked < 3 ? -60 : 600) });
      },
    });
    await client.connect();
    expect(client.told).toEqual(['error token_expired', 'error token_expired']);
  });

  it('that has ended begins anew with a fresh token', async () => {
    node = await Node.start({ WS_JWT_SECRET: SECRET });
    const reasons: string[] = [];
    const client = node.client({
      namespaces: ['orders'],
      auth: (reason) => {
        reasons.push(reason);
        if (reason === 'expiring') throw new Error('the token service is down');
        const exp = Math.floor(Date.now() / 1_000) + (reasons.length === 1 ? 2 : 600);
        return token({ sub: 'u1', role: 'staff', sid: 's1', exp });
      },
    });
    const before = await client.connect();
    await client.when(({ session }) => session !== null && session.connectionId !== before.connectionId);
    expect(reasons.at(-1)).toBe('expired');
    await node.post(order(1));
    await client.count(1);
  });
});

describe('a return', () => {
  it('after a restart of the node says that events are missing, and goes on', async () => {
    node = await Node.start();
    const client = node.client({ namespaces: ['orders'] });
    await client.connect();
    await node.post([order(1), order(2)]);
    await client.count(2);
    const before = client.position;
    await node.stop();
    await client.when((status) => status.phase !== 'live');
    expect(client.status.getSnapshot().fresh).toBe(false);
    await node.run();
    await client.when((status) => status.fresh);
    expect(client.told).toEqual(['gap epoch_changed']);
    expect(client.position?.epoch).not.toBe(before?.epoch);
    await node.post(order(3));
    await client.count(3);
    expect(client.got.map((event) => (event.data as { orderId: string }).orderId)).toEqual([
      'order_1', 'order_2', 'order_3',
    ]);
  });

  it('after a stop waits for its slot', async () => {
    node = await Node.start({ WS_DRAIN_TIMEOUT: '1000' });
    const client = node.client({ namespaces: ['orders'] });
    await client.connect();
    const stopped = node.stop('SIGTERM');
    await client.when((status) => status.phase === 'waiting');
    expect(client.status.getSnapshot().error).toMatchObject({ code: 'going_away', detail: { closeCode: 1001 } });
    await stopped;
    await node.run();
    await client.when((status) => status.phase === 'live');
  });

  it('does not happen after a kick', async () => {
    node = await Node.start();
    const client = node.client({ namespaces: ['orders'] });
    await client.connect();
    expect((await node.call('DELETE', '/api/users/u1')).status).toBe(200);
    await client.when((status) => status.phase === 'closed');
    expect(client.status.getSnapshot().error).toMatchObject({ code: 'kicked', retryable: false });
    const stats = JSON.parse((await node.call('GET', '/api/ws/stats')).body);
    expect(stats.totalConnections).toBe(0);
  });

  it('brings what was missed, once and in order, whatever breaks', async () => {
    node = await Node.start();
    const cable = await Cable.to(node);
    const client = node.client({ url: cable.url, namespaces: ['orders', 'inventory'] });
    client.subscribe('products', { keys: ['p_1'] });
    const other = node.client({ url: cable.url, auth: node.identity({ userId: 'u2', role: 'staff', sessionId: 's2' }) });
    await Promise.all([client.connect(), client.subscribe('orders').ready, other.connect()]);
    await client.ping();
    const wanted: string[] = [];
    let n = 0;
    const post = async () => {
      n += 1;
      const stock = { productId: 'p', productName: 'Mug', sku: 'M' };
      const events = [
        order(n),
        { type: 'product:deleted', data: { productId: 'p_1' } },
        { type: 'product:deleted', data: { productId: 'p_2' } },
        { type: 'inventory:out_of_stock', data: stock },
        { type: 'system:alert', data: { title: 't', message: 'm', severity: 'info' }, userIds: ['u1'] },
        { type: 'system:alert', data: { title: 't', message: 'm', severity: 'info' }, userIds: ['u9'] },
      ];
      const posted = await node.post(events);
      wanted.push(...[0, 1, 3, 4].map((i) => posted[i] as string));
    };
    for (let round = 0; round < 20; round += 1) {
      for (let i = 0; i < 10; i += 1) await post();
      // Now at a quiet moment, now in the middle of a return.
      if (round % 3 > 0) await client.when((status) => status.fresh);
      cable.cut(round % 2 === 0 ? 200 + 700 * round : 0);
      for (let i = 0; i < 5; i += 1) await post();
    }
    cable.cut(0);
    await client.when((status) => status.phase !== 'live');
    await client.when((status) => status.fresh);
    await client.ping();
    const got = ids(client.got);
    expect(got, 'in order, once').toEqual([...new Set(got)].sort((a, b) => Number(a) - Number(b)));
    const has = new Set(got);
    expect(wanted.filter((id) => !has.has(id)), 'nothing is missing').toEqual([]);
    expect(client.told.filter((line) => !line.startsWith('recovered'))).toEqual([]);
    await cable.end();
  });

  it('goes on over a page that was reloaded', async () => {
    node = await Node.start();
    const before = node.client({ namespaces: ['orders'] });
    await before.connect();
    await before.subscribe('orders').ready;
    await node.post(order(1));
    await before.count(1);
    before.disconnect();
    const kept = JSON.stringify(before.position);
    const [second] = await node.post(order(2));
    const after = node.client({ namespaces: ['orders'], since: JSON.parse(kept) });
    await after.connect();
    await after.count(1);
    expect(ids(after.got)).toEqual([second]);
  });

  it('from what was no position is a gap', async () => {
    node = await Node.start();
    for (const since of ['nonsense', { epoch: 7 }, {}]) {
      const client = node.client({ namespaces: ['orders'], since: since as never });
      await client.connect();
      await client.when((status) => status.fresh);
      expect(client.told).toEqual(['gap epoch_changed']);
      await node.post(order(1));
      await client.count(1);
    }
  });

  it('to a node that is not there says why', async () => {
    node = await Node.start();
    const client = node.client();
    await node.stop();
    void client.connect();
    await client.when((status) => status.phase === 'waiting');
    const { error } = client.status.getSnapshot();
    expect(error).toMatchObject({ code: 'connection_lost', retryable: true, cause: { code: 'ECONNREFUSED' } });
    expect(error?.message).toBe(`${node.url}: connect ECONNREFUSED 127.0.0.1:${node.port}`);
  });

  it('of a quiet subscription is no loss, however much happened elsewhere', async () => {
    node = await Node.start({ WS_HISTORY_EVENTS: '100' });
    const cable = await Cable.to(node);
    const client = node.client({ url: cable.url, namespaces: ['orders'], pingInterval: 20 });
    await client.connect();
    await client.subscribe('orders').ready;
    const deleted = Array.from({ length: 500 }, (_, i) => ({ type: 'product:deleted', data: { productId: `p${i}` } }));
    const last = (await node.post(deleted)).at(-1);
    while (client.position?.id !== last) await new Promise((resolve) => setTimeout(resolve, 10));
    cable.cut(0);
    await client.when((status) => status.phase !== 'live');
    await client.when((status) => status.fresh);
    expect(client.told).toEqual(['recovered 0']);
    await cable.end();
  });

  it('replaces a dead socket within 2 s of a wake', async () => {
    node = await Node.start();
    const cable = await Cable.to(node);
    const client = node.client({ url: cable.url, namespaces: ['orders'] });
    await client.connect();
    await client.subscribe('orders').ready;
    cable.hold();
    await node.post(order(1));
    const woken = Date.now();
    client.wake();
    await client.count(1);
    expect(Date.now() - woken).toBeLessThan(3_000);
    expect(client.told).toEqual(['recovered 1']);
    await cable.end();
  });
});

/** A way to the node that can be cut, and that can go dead without a word. */
class Cable {
  readonly #pairs = new Set<[Socket, Socket]>();
  readonly #held: Socket[] = [];
  #server: Server | undefined;
  /** How many bytes the next connections may bring before they are cut; 0 = any number. */
  #budget = 0;
  url = '';

  static async to(target: Node): Promise<Cable> {
    const cable = new Cable();
    const server = createServer((near) => {
      const far = connect(target.port, '127.0.0.1');
      const pair: [Socket, Socket] = [near, far];
      cable.#pairs.add(pair);
      let left = cable.#budget;
      const end = () => {
        for (const socket of pair) socket.destroy();
        cable.#pairs.delete(pair);
      };
      near.pipe(far);
      far.on('data', (chunk: Buffer) => {
        if (left > 0 && chunk.length >= left) {
          near.write(chunk.subarray(0, left), end);
          far.pause();
          cable.#budget = 0;
        } else {
          if (left > 0) left -= chunk.length;
          near.write(chunk);
        }
      });
      for (const socket of pair) socket.on('error', end).on('close', end);
    });
    cable.#server = server;
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    cable.url = `ws://127.0.0.1:${(server.address() as { port: number }).port}/api/ws`;
    return cable;
  }

  /** Cuts every connection now, and the next one after so many bytes. */
  cut(budget: number): void {
    this.#budget = budget;
    for (const pair of this.#pairs) for (const socket of pair) socket.destroy();
  }

  /** Nothing passes any more on the connections of now, and nobody is told. */
  hold(): void {
    for (const [near, far] of this.#pairs) {
      near.unpipe(far);
      near.pause();
      far.removeAllListeners('data');
      far.pause();
      this.#held.push(near, far);
    }
    this.#pairs.clear();
  }

  async end(): Promise<void> {
    this.cut(0);
    for (const socket of this.#held) socket.destroy();
    await new Promise((resolve) => this.#server?.close(resolve));
  }
}
