// The tabs of a browser with one connection. Each test says what a page may rely on.
import { describe, expect, it, vi } from 'vitest';
import { OmnicastError } from 'omnicast';
import { shareAcrossTabs } from 'omnicast/tabs';
import { tabsPlatform } from '../../src/tabs/runtime.js';
import { Browser, type Tab } from './tabs.world.js';

/** Tabs that subscribed to `orders`, and are live. */
async function live(n: number, namespaces: readonly 'orders'[] = ['orders']): Promise<[Browser, ...Tab[]]> {
  const browser = new Browser();
  const tabs = Array.from({ length: n }, () => browser.tab({ namespaces }).connect());
  await browser.pass(200);
  for (const tab of tabs) tab.expectLive();
  return [browser, ...tabs];
}

const subscriptions = ({ node }: Browser) =>
  [...node.connections.values()].map((connection) => Object.fromEntries(connection.subscriptions));

describe('tabs of one user', () => {
  it('have one connection and one call of auth, and all get what happens', async () => {
    const [browser, a, b, c] = (await live(3)) as [Browser, Tab, Tab, Tab];
    expect(browser.node.connections.size).toBe(1);
    expect(browser.leaders).toEqual([a]);
    expect([a.auths, b.auths, c.auths]).toEqual([1, 0, 0]);
    browser.node.post('orders');
    await browser.settle();
    for (const tab of [a, b, c]) expect(tab.ids).toEqual([1]);
    expect(a.client.position).toEqual({ epoch: 'e1', id: '1' });
    expect(b.client.position).toEqual({ epoch: 'e1', id: '1' });
    expect(await b.client.connect()).toEqual(await a.client.connect());
  });

  it('get only what they asked for; the node is asked for the union', async () => {
    const browser = new Browser();
    const [a, b, c] = [browser.tab(), browser.tab(), browser.tab()].map((tab) => tab.connect()) as [Tab, Tab, Tab];
    a.client.subscribe('orders', { keys: ['x'] });
    b.client.subscribe('orders', { keys: ['y'] });
    const wide = c.client.subscribe('products');
    await browser.pass(200);
    expect(subscriptions(browser)).toEqual([{ orders: ['x', 'y'], products: undefined }]);
    const post = () => {
      for (const key of ['x', 'y', 'z']) browser.node.post('orders', key);
      browser.node.post('products', 'x');
    };
    post();
    await browser.settle();
    expect([a.ids, b.ids, c.ids]).toEqual([[1], [2], [4]]);
    // A tab without keys widens it for itself alone.
    c.client.subscribe('orders');
    wide();
    await browser.settle();
    expect(subscriptions(browser)).toEqual([{ orders: undefined }]);
    post();
    await browser.settle();
    expect([a.ids, b.ids, c.ids]).toEqual([[1, 5], [2, 6], [4, 5, 6, 7]]);
    // And with it goes what it alone wanted.
    c.client.disconnect();
    await browser.settle();
    expect(subscriptions(browser)).toEqual([{ orders: ['x', 'y'] }]);
    browser.crash(b);
    await browser.settle();
    expect(subscriptions(browser)).toEqual([{ orders: ['x'] }]);
  });

  it('get what needs no subscription, and what is keyed by what it does not show', async () => {
    const browser = new Browser();
    const [a, b] = [browser.tab().connect(), browser.tab().connect()] as [Tab, Tab];
    a.client.subscribe('orders', { keys: ['x'] });
    await browser.settle();
    browser.node.post('system', '', { isAddressed: true });
    browser.node.post('orders', 'x', { data: { orderId: 'other' } });
    await browser.settle();
    expect([a.ids, b.ids]).toEqual([[1, 2], [1]]);
  });

  it('settle each subscription, or say why not, without harm to the others', async () => {
    const [browser, a, b] = (await live(2)) as [Browser, Tab, Tab];
    const good = b.client.subscribe('products');
    const bad = b.client.subscribe('customers');
    await browser.settle();
    await good.ready;
    await expect(bad.ready).rejects.toMatchObject({ code: 'forbidden_namespace' });
    browser.node.refuses = (type) => type === 'subscribe';
    const later = b.client.subscribe('payments');
    await browser.settle();
    expect(subscriptions(browser)).toEqual([{ orders: undefined, products: undefined }]);
    browser.node.refuses = () => false;
    await browser.pass(1_500);
    await later.ready;
    browser.node.post('payments');
    browser.node.post('orders');
    await browser.settle();
    expect([a.ids, b.ids]).toEqual([[2], [1, 2]]);
  });

  it('have their commands answered, each its own', async () => {
    const [browser, a, b] = (await live(2)) as [Browser, Tab, Tab];
    const answers = Promise.all([
      b.client.presence(),
      a.client.presence(),
      b.client.publish('customer:viewing_product', { productId: 'p', productName: 'P' } as never),
      b.client.ping(),
      b.client.send('presence'),
    ]);
    await browser.settle();
    expect(await answers).toMatchObject([{ customersOnline: 7 }, { customersOnline: 7 }, '99', 0, { type: 'presence' }]);
    browser.node.refuses = (type) => type === 'publish';
    const refused = b.client.publish('customer:viewing_product', {} as never);
    await browser.settle();
    await expect(refused).rejects.toMatchObject({ code: 'rate_limited', retryable: true });
    const large = b.client.send('presence', { text: 'x'.repeat(70_000) });
    await browser.settle();
    await expect(large).rejects.toMatchObject({ code: 'too_large' });
    // A leader that does not answer.
    const slow = b.client.presence();
    await browser.world.advance(10_000);
    await expect(slow).rejects.toMatchObject({ code: 'timeout' });
  });

  it('renew one session, wherever that is asked for', async () => {
    const [browser, a, b] = (await live(2)) as [Browser, Tab, Tab];
    const renewed = b.client.authenticate();
    await browser.pass(6_000);
    expect(await renewed).toMatchObject({ userId: 'u1', expiresAt: 2 });
    expect([a.auths, b.auths, browser.node.auths.length]).toEqual([2, 0, 2]);
    expect(a.client.status.getSnapshot().session).toEqual(b.client.status.getSnapshot().session);
  });

  it('lose what a new role forbids', async () => {
    const [browser, a, b] = (await live(2)) as [Browser, Tab, Tab];
    browser.node.allowed = ['products'];
    browser.node.connections.forEach((connection) => connection.subscriptions.clear());
    a.client.authenticate().catch(() => {});
    await browser.pass(6_000);
    expect(b.told).toContain('error forbidden_namespace');
    browser.node.allowed = ['orders', 'products'];
    b.client.authenticate().catch(() => {});
    await browser.pass(6_000);
    b.client.subscribe('products');
    await browser.pass(100);
    expect(subscriptions(browser)).toEqual([{ orders: undefined, products: undefined }]);
  });

  it('show the state of the one connection', async () => {
    const [browser, a, b] = (await live(2)) as [Browser, Tab, Tab];
    const phases: string[] = [];
    const stop = b.client.on('status', ({ phase }) => phases.push(phase));
    browser.world.dice = [0.5, 0.5, 0.5];
    browser.drop();
    await browser.settle();
    await browser.world.advance(100);
    await browser.settle();
    expect(b.client.status.getSnapshot()).toMatchObject({ phase: 'waiting', attempts: 1, fresh: false, session: null });
    expect(b.client.status.getSnapshot().retryAt).toBe(a.client.status.getSnapshot().retryAt);
    expect(b.client.status.getSnapshot().error).toBeInstanceOf(OmnicastError);
    expect(b.client.status.getSnapshot().error?.code).toBe('connection_lost');
    browser.node.post('orders');
    await browser.pass(2_000);
    b.expectLive();
    expect([a.ids, b.ids]).toEqual([[1], [1]]);
    expect(phases.at(-1)).toBe('live');
    stop();
    expect(a.sockets.length + b.sockets.length).toBe(2);
  });

  it('are told together that it is over, and one may begin anew', async () => {
    const [browser, a, b] = (await live(2)) as [Browser, Tab, Tab];
    const [socket] = [...browser.node.connections.keys()];
    browser.node.connections.clear();
    socket?.say({ type: 'closing', data: { code: 4004, reason: 'kicked', retry: false } });
    await browser.pass(5_000);
    for (const { client } of [a, b]) {
      expect(client.status.getSnapshot()).toMatchObject({ phase: 'closed', error: { code: 'kicked', detail: { closeCode: 4004 } } });
    }
    expect([a.told, b.told]).toEqual([['error kicked'], ['error kicked']]);
    expect(a.sockets.length + b.sockets.length).toBe(1);
    b.connect();
    await browser.pass(200);
    b.expectLive();
    expect(browser.leaders).toEqual([a]);
  });

  it('learn of a gap, each of them', async () => {
    const [browser, a, b] = (await live(2)) as [Browser, Tab, Tab];
    browser.node.epoch = 'e2';
    browser.drop();
    await browser.pass(3_000);
    expect([a.told, b.told]).toEqual([['gap epoch_changed orders'], ['gap epoch_changed orders']]);
    b.expectLive();
  });
});

describe('when the leader', () => {
  it.each(['closes', 'crashes', 'freezes', 'disconnects'])('%s, another one takes over without loss', async (how) => {
    const [browser, a, b, c] = (await live(3)) as [Browser, Tab, Tab, Tab];
    b.client.subscribe('products');
    await browser.settle();
    browser.node.post('orders');
    browser.node.post('products');
    await browser.settle();
    if (how === 'crashes') browser.crash(a);
    else if (how === 'disconnects') a.client.disconnect();
    else a.freeze();
    if (how === 'closes') browser.crash(a);
    for (const name of ['orders', 'products', 'orders']) browser.node.post(name);
    await browser.pass(500);
    browser.node.post('orders');
    await browser.settle();
    expect(browser.node.connections.size).toBe(1);
    expect(browser.leaders).toEqual([b]);
    expect([b.ids, c.ids]).toEqual([[1, 2, 3, 4, 5, 6], [1, 3, 5, 6]]);
    expect([b.told, c.told]).toEqual([['recovered 3'], ['recovered 2']]);
    b.expectLive();
    c.expectLive();
  });

  it('freezes and thaws, it comes back as one of the others and has missed nothing', async () => {
    const [browser, a, b] = (await live(2)) as [Browser, Tab, Tab];
    a.freeze();
    browser.node.post('orders');
    await browser.pass(1_000);
    browser.node.post('orders');
    a.thaw();
    await browser.pass(1_000);
    expect(browser.leaders).toEqual([b]);
    expect(a.ids).toEqual([1, 2]);
    a.expectLive();
  });

  it('disconnects, that is for this tab alone, until it connects again', async () => {
    const [browser, a, b] = (await live(2)) as [Browser, Tab, Tab];
    a.client.disconnect();
    await browser.pass(200);
    expect([a.phase, b.phase]).toEqual(['idle', 'live']);
    browser.node.post('orders');
    await browser.pass(5_000);
    expect([a.ids, b.ids]).toEqual([[], [1]]);
    a.thaw();
    await browser.pass(200);
    expect(a.phase).toBe('idle');
    a.connect();
    await browser.pass(200);
    expect(a.ids).toEqual([1]);
    expect(browser.node.connections.size).toBe(1);
  });

  it('hangs, it is replaced; and where it goes on, it follows', async () => {
    const [browser, a, b] = (await live(2)) as [Browser, Tab, Tab];
    a.hang(true);
    browser.node.post('orders');
    await browser.pass(60_000);
    expect(browser.leaders.includes(b)).toBe(true);
    b.expectLive();
    a.hang(false);
    browser.node.post('orders');
    await browser.pass(1_000);
    expect(browser.leaders.indexOf(b)).toBe(0);
    expect(browser.leaders.length).toBe(1);
    expect([a.ids, b.ids]).toEqual([[1, 2], [1, 2]]);
    expect(browser.node.connections.size).toBe(1);
  });

  it('is not the last one, everything ends with the last', async () => {
    const [browser, a, b] = (await live(2)) as [Browser, Tab, Tab];
    a.client.disconnect();
    b.client.disconnect();
    await browser.pass(100);
    expect(browser.node.connections.size).toBe(0);
    expect(browser.channels.size).toBe(0);
    expect(browser.world.timers).toBe(0);
    expect(browser.world.wakers).toBe(0);
  });
});

describe('a tab', () => {
  it('of another user, address or version has nothing to do with it', async () => {
    const browser = new Browser();
    const a = browser.tab({ namespaces: ['orders'] }).connect();
    const b = browser.tab({ namespaces: ['orders'], scope: 'u2', auth: 'u2' }).connect();
    const c = browser.tab({ url: 'ws://other' }).connect();
    await browser.pass(200);
    expect(browser.leaders).toEqual([a, b, c]);
    expect(browser.node.connections.size).toBe(3);
    const name = [...browser.channels][0]?.name as string;
    expect(JSON.parse(name)).toEqual(['omnicast', 1, 'ws://node/api/ws', 'u1']);
    a.client.disconnect();
    await browser.settle();
    expect(b.phase).toBe('live');
  });

  it('shows nothing of another user, whatever the scope says', async () => {
    const browser = new Browser();
    const a = browser.tab({ namespaces: ['orders'] }).connect();
    const b = browser.tab({ namespaces: ['orders'], auth: 'u2' }).connect();
    await browser.pass(200);
    browser.crash(a);
    browser.node.post('orders');
    await browser.pass(200);
    expect(b.client.status.getSnapshot()).toMatchObject({ phase: 'closed', error: { code: 'other_user' } });
    expect(b.ids).toEqual([]);
  });

  it('with a newer credential leads', async () => {
    const [browser, a, b] = (await live(2)) as [Browser, Tab, Tab];
    const auth = vi.fn(() => 'u1');
    const session = b.client.authenticate(auth);
    await browser.pass(500);
    expect(await session).toMatchObject({ userId: 'u1', expiresAt: 2 });
    expect(browser.leaders).toEqual([b]);
    expect(auth).toHaveBeenCalledTimes(1);
    expect(browser.node.connections.size).toBe(1);
    a.expectLive();
    // Before there is a connection it is what there is to lead with, no more.
    const c = browser.tab();
    c.client.authenticate('u1').catch(() => {});
    await browser.pass(500);
    expect(browser.leaders).toEqual([b]);
    c.expectLive();
  });

  it('that comes with a position of its own gets what it missed, and the others nothing twice', async () => {
    const [browser, a, b] = (await live(2)) as [Browser, Tab, Tab];
    for (let i = 0; i < 5; i += 1) browser.node.post('orders');
    await browser.settle();
    const c = browser.tab({ namespaces: ['orders'], since: { epoch: 'e1', id: '2' } }).connect();
    const d = browser.tab({ namespaces: ['orders'], since: { epoch: 'e0', id: '2' } }).connect();
    await browser.pass(1_000);
    expect([a.ids, b.ids, c.ids, d.ids]).toEqual([[1, 2, 3, 4, 5], [1, 2, 3, 4, 5], [3, 4, 5], []]);
    expect([a.told, b.told, c.told, d.told]).toEqual([[], [], ['recovered 3'], ['gap epoch_changed orders']]);
    expect(subscriptions(browser)).toEqual([{ orders: undefined }]);
  });

  it('gets all in order while others are replayed what they missed, one after the other', async () => {
    const [browser, a, b, c] = (await live(3)) as [Browser, Tab, Tab, Tab];
    a.client.subscribe('products');
    b.freeze();
    c.freeze();
    await browser.settle();
    const { node } = browser;
    node.post('orders');
    await browser.settle();
    node.steps = 0;
    b.thaw();
    await browser.pass(200);
    node.post('products');
    node.post('orders');
    // The replay, and nothing of what has come meanwhile.
    node.steps = 2;
    await browser.pass(100);
    expect(b.told).toEqual(['recovered 1']);
    node.steps = 0;
    c.thaw();
    await browser.pass(200);
    // Another replay, which is ahead of that.
    node.steps = 4;
    await browser.pass(100);
    node.steps = Infinity;
    await browser.pass(2_000);
    expect([a.ids, b.ids, c.ids]).toEqual([[1, 2, 3], [1, 3], [1, 3]]);
  });

  it('is not harmed by one whose position is too old', async () => {
    const [browser, a, b, c] = (await live(3)) as [Browser, Tab, Tab, Tab];
    c.freeze();
    for (let i = 0; i < 5; i += 1) browser.node.post('orders');
    await browser.pass(100);
    browser.node.oldest = 4;
    browser.crash(a);
    c.thaw();
    browser.node.post('orders');
    await browser.pass(2_000);
    expect(b.told).toEqual(['recovered 1']);
    expect(b.ids).toEqual([1, 2, 3, 4, 5, 6]);
    expect(c.told).toEqual(['gap window_exceeded orders']);
    c.expectLive();
  });

  it('asks the node little where nothing happens', async () => {
    const [browser, a] = (await live(8)) as [Browser, Tab];
    const before = a.sockets[0]?.sent.length ?? 0;
    await browser.pass(120_000);
    // 8 tabs and the connection itself look every 25 s.
    expect((a.sockets[0]?.sent.length ?? 0) - before).toBeLessThan(40);
  });

  it('tells its handler of errors what its own auth function threw', async () => {
    const browser = new Browser();
    const a = browser.tab({ auth: () => Promise.reject(new Error('down')) }).connect();
    const b = browser.tab().connect();
    await browser.settle();
    expect(a.told).toEqual(['error auth_function']);
    expect(b.told).toEqual([]);
    expect(b.client.status.getSnapshot()).toMatchObject({ phase: 'waiting', error: { code: 'auth_function' } });
    a.client.disconnect();
    await browser.pass(200);
    b.expectLive();
  });

  it('tells that there is no auth; but not that its function gives nothing', async () => {
    for (const [auth, told] of [[undefined, ['error no_credential']], [() => null, []]] as const) {
      const browser = new Browser();
      const a = browser.tab({ auth }).connect();
      await browser.pass(1_000);
      expect(a.told).toEqual(told);
      expect(a.client.status.getSnapshot()).toMatchObject({ phase: 'closed', error: { code: 'no_credential' } });
    }
  });

  it('needs to know whose it is', () => {
    for (const scope of ['', undefined, null]) expect(() => shareAcrossTabs({ scope: scope as string })).toThrow(TypeError);
  });

  it('has a connection of its own where nothing can be shared', async () => {
    const browser = new Browser();
    for (const missing of [{ locks: undefined }, { BroadcastChannel: undefined }]) {
      const runtime = { ...tabsPlatform(), ...browser.world, WebSocket: browser.world.WebSocket, ...missing };
      const client = shareAcrossTabs({ url: 'ws://node', scope: 'u1', auth: 'u1' }, runtime);
      void client.connect();
      await browser.world.accept();
      expect(client.status.getSnapshot().phase).toBe('live');
      expect(client.isLeader).toBe(true);
      client.disconnect();
    }
    // Here as well: there is no document.
    expect(tabsPlatform().locks).toBeUndefined();
  });
});

describe('tabs that come and go in any order', () => {
  const seeds = process.env.OMNICAST_CLIENT_SEED ? [Number(process.env.OMNICAST_CLIENT_SEED)] : undefined;

  async function run(seed: number): Promise<void> {
    let state = seed * 2_654_435_761 + 1;
    const random = (below: number) => {
      state = (Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + 0x9e3779b9) >>> 0;
      return ((state ^ (state >>> 13)) >>> 0) % below;
    };
    const browser = new Browser();
    const { node } = browser;
    const names = ['orders', 'products', 'payments'] as const;
    /** What each tab wants, and from which event on. */
    const wishes = new Map<Tab, { name: string; keys: string[] | undefined; from: number }[]>();
    const begin = () => {
      const tab = browser.tab().connect();
      const mine = names.filter(() => random(2) === 0).map((name) => ({ name, keys: random(2) === 0 ? ['a', 'bc'[random(2)] as string] : undefined, from: Infinity }));
      wishes.set(tab, mine);
      for (const wish of mine) {
        tab.client.subscribe(wish.name as 'orders', { keys: wish.keys }).ready.then(() => (wish.from = node.log.length), () => {});
      }
    };
    const frozen = new Set<Tab>();
    const any = () => [...browser.tabs][random(browser.tabs.size)] as Tab;
    for (let i = 0; i < 3; i += 1) begin();
    for (let i = 0; i < 400; i += 1) {
      const what = random(40);
      if (what < 10) node.post(names[random(3)] as string, 'abc'[random(3)]);
      else if (what === 10) node.post('system', '', { isAddressed: true });
      else if (what === 11 && browser.tabs.size < 5) begin();
      else if (what === 12 && browser.tabs.size > 2) browser.crash(any());
      else if (what === 13) {
        const tab = any();
        frozen.add(tab);
        tab.freeze();
      } else if (what === 14) for (const tab of frozen) tab.thaw();
      else if (what === 15 && random(2) === 0) browser.drop();
      else if (what < 18) await browser.world.advance(20);
      else browser.step(random);
      await browser.world.settle();
    }
    for (const tab of frozen) if (tab.isAlive) tab.thaw();
    await browser.pass(3_000);
    expect(node.connections.size, `seed ${seed}`).toBe(1);
    for (const tab of browser.tabs) {
      tab.expectLive();
      const got = tab.ids;
      expect(got, `seed ${seed}: once and in order`).toEqual([...new Set(got)].sort((a, b) => a - b));
      const mine = wishes.get(tab) ?? [];
      const wished = ({ namespace, key, id }: (typeof node.log)[number]) =>
        mine.some(({ name, keys, from }) => name === namespace && (!keys || keys.includes(key)) && id > from);
      const missed = node.log.filter((event) => wished(event) && !got.includes(event.id));
      expect(missed, `seed ${seed}: nothing is missing`).toEqual([]);
      // What keys leave out may come with a replay, as it does to a client that is alone.
      const foreign = tab.got.filter(
        ({ namespace }) => (namespace as string) !== 'system' && !mine.some(({ name }) => name === namespace),
      );
      expect(foreign, `seed ${seed}: nothing else`).toEqual([]);
      expect(tab.told.filter((what) => !what.startsWith('recovered')), `seed ${seed}`).toEqual([]);
    }
    const union = new Set([...browser.tabs].flatMap((tab) => wishes.get(tab)?.map(({ name }) => name) ?? []));
    expect(new Set([...node.connections.values()].flatMap(({ subscriptions: all }) => [...all.keys()]))).toEqual(union);
  }

  it('get every event once and in order', async () => {
    for (const seed of seeds ?? Array.from({ length: 150 }, (_, i) => i + 1)) await run(seed);
  }, 60_000);
});
