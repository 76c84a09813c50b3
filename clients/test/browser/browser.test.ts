// The hooks and components in a real browser, against a real node.
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { Node, order, SECRET, token } from '../node/node.js';
import { Site } from './site.js';

let site: Site;
let node: Node;
const journals: string[] = [];

beforeAll(async () => {
  site = await Site.open();
});

afterEach(async () => {
  for (const context of site.browser.contexts()) await context.close();
  await node.end();
  for (const journal of journals.splice(0)) rmSync(journal, { recursive: true, force: true });
});

afterAll(() => site.end());

async function start(settings: Record<string, string> = {}): Promise<void> {
  node = await Node.start(settings);
  site.use(node);
}

/** Pictures for the documents are made only when asked for; a run of the tests changes no file. */
async function picture(page: Page, name: string): Promise<void> {
  const dir = process.env.OMNICAST_PICTURES;
  if (!dir) return;
  mkdirSync(dir, { recursive: true });
  const { height } = (await page.locator('main').boundingBox()) ?? { height: 0 };
  const clip = { x: 0, y: 0, width: 980, height: height + 48 };
  await page.screenshot({ path: join(dir, name), animations: 'disabled', clip });
}

/** Waits until it is so in the page. */
const until = (page: Page, is: (argument: never) => unknown, argument?: unknown) =>
  page.waitForFunction(is as (argument: unknown) => unknown, argument, { timeout: 60_000 });

/** Waits for that text in the first element. */
const text = (page: Page, selector: string, wanted: string) =>
  until(
    page,
    ([where, what]: [string, string]) => document.querySelector(where)?.textContent?.includes(what),
    [selector, wanted],
  );

const BADGE = '.omnicast-badge[data-status]';
const live = (page: Page, count = 5) =>
  until(page, (n: number) => document.querySelectorAll('[data-state=live]').length === n, count);

const rows = (page: Page) =>
  page.locator('[role=log] li').evaluateAll((all) => all.map((row) => row.querySelector('.omnicast-main')?.textContent));

const sale = (n: number, customerName: string, total = n) => {
  const { type, data } = order(n);
  return { type, data: { ...data, customerName, total } };
};

const status = (newStatus: string, oldStatus = 'pending', orderId = 'order_123') => ({
  type: 'order:status_changed',
  data: { orderId, customerId: 'c', customerName: 'Ada', oldStatus, newStatus, timestamp: Date.now() },
});

const customer = (n: number) => node.client({ auth: node.identity({ userId: `c${n}`, role: 'customer', sessionId: `c${n}` }) });

describe('the samples', () => {
  it('of the basic connection runs: one socket under StrictMode, for two components', async () => {
    await start();
    const page = await site.page('basic');
    await text(page, '#root', 'ConnectedConnected');
    // Connected is before subscribed.
    const stats = async () => JSON.parse((await node.call('GET', '/api/ws/stats')).body);
    while ((await stats()).connectionsByNamespace?.orders !== 1) await page.waitForTimeout(20);
    await node.post(order(1));
    while (page.said.filter((line) => line.startsWith('New order:')).length < 2) await page.waitForTimeout(20);
    expect(site.sockets).toBe(1);
    expect((await stats()).totalConnections).toBe(1);
    expect(page.said.filter((line) => !line.startsWith('New order:') && !line.includes('React DevTools'))).toEqual([]);
  });

  it('of a plain WebSocket runs', async () => {
    await start();
    const page = await site.page('blank');
    await page.addScriptTag({
      content: readFileSync(fileURLToPath(new URL('../samples/raw.js', import.meta.url)), 'utf8'),
      type: 'module',
    });
    const said = async (what: string) => {
      while (!page.said.some((line) => line.includes(what))) await page.waitForTimeout(20);
    };
    await said('Connected');
    await said('subscribed');
    await node.post(order(1));
    await said('order:created');
  });

  it('of the components runs: they change when an event is posted', async () => {
    await start();
    const page = await site.page('dashboard');
    await text(page, BADGE, 'Pending');
    await live(page);
    await text(page, '.omnicast-count', '0');
    await Promise.all([1, 2, 3].map((n) => customer(n).connect()));
    const ada = customer(4);
    await ada.connect();
    await text(page, '.omnicast-count', '4');
    await ada.publish('customer:viewing_product', { productId: 'mug', productName: 'Mug' });
    await ada.publish('customer:activity', {
      customerName: 'Ada Lovelace', action: 'cart_add', productName: 'Mug', timestamp: Date.now(),
    });
    await ada.publish('customer:activity', { customerName: 'Ada Lovelace', action: 'checkout_start', timestamp: Date.now() });
    const names = ['Grace Hopper', 'Edsger Dijkstra', 'Barbara Liskov', 'Donald Knuth', 'Ada Lovelace'];
    await node.post(names.map((name, i) => sale(i + 1, name, [49, 12.5, 129.99, 8.2, 74][i])));
    await node.post([status('processing'), status('shipped', 'processing')]);
    await text(page, BADGE, 'Shipped');
    await text(page, '[role=log] li', 'Ada Lovelace');
    expect(await rows(page)).toEqual([...names].reverse());
    const product = { productId: 'mug', productName: 'Mug', sku: 'M' };
    await node.post([
      { type: 'product:price_changed', data: { ...product, oldPrice: 12.5, newPrice: 9.9, changePercentage: -20.8 } },
      { type: 'inventory:updated', data: { ...product, oldStock: 40, newStock: 3, difference: -37 } },
    ]);
    await text(page, '.omnicast-price', '$9.90');
    await text(page, '[data-stock]', 'Only 3 left');
    await picture(page, 'components.png');
    expect(site.sockets).toBe(1);
  });

  it('of the components tells what a screen reader needs', async () => {
    await start();
    const page = await site.page('dashboard');
    await live(page);
    expect(await page.getByRole('region', { name: 'Customers online' }).count()).toBe(1);
    expect(await page.getByRole('log', { name: 'Latest sales' }).count()).toBe(1);
    await node.post({ type: 'system:alert', data: { title: 'Payments fail', message: 'Look at it', severity: 'error' } });
    await page.getByRole('alert').waitFor();
    await node.post({ type: 'system:notification', data: { title: 'Paid', message: 'Order 7', severity: 'success' } });
    const good = page.locator('[data-severity=success]');
    await good.waitFor();
    // Good news go by themselves, though not while somebody is at them.
    await good.hover();
    await page.waitForTimeout(4_000);
    expect(await good.count()).toBe(1);
    await page.mouse.move(0, 0);
    await good.waitFor({ state: 'detached' });
    await page.getByRole('button', { name: 'Dismiss: Payments fail' }).click();
    expect(await page.getByRole('alert').count()).toBe(0);
  });
});

describe('a page', () => {
  it('survives a restart of a node with a journal, without loss', async () => {
    const journal = mkdtempSync(join(tmpdir(), 'omnicast-journal-'));
    journals.push(journal);
    await start({ WS_JOURNAL: journal });
    const page = await site.page('dashboard');
    await live(page);
    await node.post([sale(1, 'Before'), status('processing')]);
    await text(page, BADGE, 'Processing');
    // The page cannot come back before more has happened.
    site.isOpen = false;
    await node.post(sale(2, 'At the end'));
    await node.stop();
    await live(page, 0);
    await text(page, BADGE, 'Last known');
    await picture(page, 'stale.png');
    await node.run();
    await node.post([sale(3, 'Meanwhile'), status('shipped', 'processing')]);
    site.isOpen = true;
    await live(page);
    await text(page, BADGE, 'Shipped');
    await node.post(sale(4, 'After'));
    await text(page, '[role=log] li', 'After');
    expect(await rows(page)).toEqual(['After', 'Meanwhile', 'At the end', 'Before']);
    expect(page.said.filter((line) => line.startsWith('gap'))).toEqual([]);
    expect(page.said.filter((line) => line.startsWith('recovered'))).toHaveLength(1);
  });

  it('says so where a restart lost events, and takes up again', async () => {
    await start();
    const page = await site.page('dashboard');
    await live(page);
    await node.stop();
    await node.run();
    while (!page.said.includes('gap epoch_changed')) await page.waitForTimeout(20);
    expect(await page.locator(BADGE).getAttribute('data-state')).toBe('stale');
    await node.post(status('shipped'));
    await text(page, BADGE, 'Shipped');
    expect(await page.locator(BADGE).getAttribute('data-state')).toBe('live');
  });

  it('that slept replaces its dead socket and shows what it missed', async () => {
    await start();
    const page = await site.page('dashboard');
    await live(page);
    await site.sleep(true);
    site.hold();
    await node.post([sale(1, 'Asleep'), status('delivered')]);
    await page.waitForTimeout(11_000);
    const woken = Date.now();
    await site.sleep(false);
    await text(page, '[role=log] li', 'Asleep');
    await text(page, BADGE, 'Delivered');
    // 2 s for the dead socket, and something for a machine that has other things to do.
    expect(Date.now() - woken).toBeLessThan(8_000);
    expect(site.sockets).toBe(2);
  });

  it('renews its session in place before the token expires', async () => {
    await start({ WS_JWT_SECRET: SECRET });
    const reasons: string[] = [];
    site.token = (reason) => {
      reasons.push(reason);
      const exp = Math.floor(Date.now() / 1_000) + (reasons.length === 1 ? 20 : 600);
      return token({ sub: 'ada', role: 'admin', sid: 's1', exp });
    };
    const page = await site.page('session');
    await live(page, 1);
    const before = await page.locator('#session').textContent();
    await until(page, (was: string) => document.querySelector('#session')?.textContent !== was, before);
    const after = await page.locator('#session').textContent();
    expect(after?.split(' until ')[0]).toBe(before?.split(' until ')[0]);
    expect(reasons).toEqual(['connect', 'expiring']);
    expect(site.sockets).toBe(1);
  });

  it('whose token has expired fetches another one and goes on', async () => {
    await start({ WS_JWT_SECRET: SECRET });
    const reasons: string[] = [];
    site.token = (reason) => {
      reasons.push(reason);
      if (reason === 'expiring') return undefined;
      const exp = Math.floor(Date.now() / 1_000) + (reasons.length === 1 ? 4 : 600);
      return token({ sub: 'ada', role: 'admin', sid: 's1', exp });
    };
    const page = await site.page('session');
    await text(page, '#session', 'ada on');
    while (!reasons.includes('expired')) await page.waitForTimeout(20);
    await live(page, 1);
    await node.post(status('shipped', 'pending', 'order_1'));
    await text(page, BADGE, 'Shipped');
  });
});
