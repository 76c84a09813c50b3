// Pages that share one connection, in a real browser, against a real node.
import type { BrowserContext, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { Node, order } from '../node/node.js';
import { Site } from './site.js';

type Tab = Page & { said: string[] };

let site: Site;
let node: Node;
let context: BrowserContext;

beforeAll(async () => {
  site = await Site.open();
});

beforeEach(async () => {
  node = await Node.start();
  site.use(node);
  context = await site.context();
});

afterEach(async () => {
  for (const one of site.browser.contexts()) await one.close();
  await node.end();
});

afterAll(() => site.end());

const stats = async () => JSON.parse((await node.call('GET', '/api/ws/stats')).body);

const isLeader = (page: Page) => page.evaluate(() => (window as unknown as { client: { isLeader: boolean } }).client.isLeader);

/** Waits for that text. */
const text = (page: Page, selector: string, wanted: string) =>
  page.waitForFunction(([where, what]) => document.querySelector(where as string)?.textContent === what, [selector, wanted], {
    timeout: 60_000,
  });

const ready = (page: Page) =>
  page.waitForFunction(() => !['none', '', undefined].includes(document.querySelector('#session')?.textContent ?? ''), undefined, {
    timeout: 60_000,
  });

async function tabs(n: number): Promise<[Tab, Tab, Tab]> {
  const all: Tab[] = [];
  for (let i = 0; i < n; i += 1) {
    const page = await site.page('tabs', context);
    await ready(page);
    all.push(page);
  }
  return all as [Tab, Tab, Tab];
}

const status = { orderId: 'order_123', customerId: 'c', customerName: 'Ada', oldStatus: 'pending', newStatus: 'shipped', timestamp: 1 };

describe('pages of one user', () => {
  it('have one socket, and each changes when an event is posted', async () => {
    const all = await tabs(3);
    expect(site.sockets).toBe(1);
    expect(await stats()).toMatchObject({ totalConnections: 1, connectionsByRole: { admin: 1 } });
    await node.post([order(1), { type: 'order:status_changed', data: status }]);
    for (const page of all) {
      await text(page, '#ids', 'order_1');
      await page.locator('.omnicast-badge', { hasText: 'Shipped' }).waitFor();
    }
    expect(await Promise.all(all.map(isLeader))).toEqual([true, false, false]);
    expect(all.map(({ said }) => said.filter((line) => line === 'auth').length)).toEqual([1, 0, 0]);
    expect(await all[2].evaluate(() => (window as any).client.ping())).toBeGreaterThanOrEqual(0);
    expect(await all[2].evaluate(() => (window as any).client.presence())).toEqual({ customersOnline: 0 });
    // A page of another user, and one that signs out.
    const other = await site.page('tabs?user=grace', context);
    await ready(other);
    expect((await stats()).totalConnections).toBe(2);
    await all[1].evaluate(() => (window as any).client.disconnect());
    await node.post(order(2));
    await text(all[2], '#ids', 'order_1 order_2');
    await text(other, '#ids', 'order_2');
    expect(await all[1].textContent('#ids')).toBe('order_1');
  });

  it.each(['closes', 'goes elsewhere', 'crashes', 'freezes', 'disconnects'])('lose nothing when the leader %s', async (how) => {
    const [a, b, c] = await tabs(3);
    await node.post(order(1));
    for (const page of [a, b, c]) await text(page, '#ids', 'order_1');
    // A stream of events, over the whole of it.
    let n = 1;
    let isOver = false;
    const stream = (async () => {
      while (!isOver) await node.post(order((n += 1)));
    })();
    if (how === 'closes') await a.close();
    else if (how === 'goes elsewhere') await a.goto('about:blank');
    else if (how === 'crashes') await a.goto('chrome://crash').catch(() => {});
    else if (how === 'freezes') {
      // What the browser says before it freezes a page; it does so only with pages that nobody looks at.
      await a.evaluate(() => document.dispatchEvent(new Event('freeze')));
    } else await a.evaluate(() => (window as any).client.disconnect());
    for (;;) {
      if (await isLeader(b)) break;
      await b.waitForTimeout(20);
    }
    await ready(b);
    await ready(c);
    await b.waitForTimeout(300);
    isOver = true;
    await stream;
    const wanted = Array.from({ length: n }, (_, i) => `order_${i + 1}`).join(' ');
    await text(b, '#ids', wanted);
    await text(c, '#ids', wanted);
    while ((await stats()).totalConnections !== 1) await b.waitForTimeout(20);
    expect(site.sockets).toBe(2);
    expect([...b.said, ...c.said].filter((line) => line.startsWith('gap'))).toEqual([]);
    if (how === 'freezes') {
      await a.evaluate(() => document.dispatchEvent(new Event('resume')));
      await text(a, '#ids', wanted);
      expect(await isLeader(a)).toBe(false);
      expect((await stats()).totalConnections).toBe(1);
    }
  });
});
