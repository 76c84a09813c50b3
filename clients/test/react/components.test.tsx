import { LiveCustomerCount, LiveSalesTicker, OrderStatusBadge, PriceTag, StockBadge, useOrderStatus, useSales, WebSocketProvider } from 'omnicast/react';
import NotificationToasts from 'omnicast/react/NotificationToasts';
import type { ReactNode } from 'react';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Stage } from './stage.js';

let stage: Stage;
let client: ReturnType<Stage['world']['client']>;
let lastId = 0;

beforeEach(() => {
  stage = new Stage();
  client = stage.world.client();
  lastId = 0;
});

afterEach(() => stage.end());

const show = (page: ReactNode) => stage.show(<WebSocketProvider client={client}>{page}</WebSocketProvider>);

async function live(page: ReactNode, welcome: object = {}): Promise<void> {
  await show(page);
  await stage.accept(welcome);
}

/** The node sends an event. */
const send = (type: string, data: object, rest: object = {}) => {
  const [prefix] = type.split(':');
  const namespace = ['inventory', 'system'].includes(prefix ?? '') ? prefix : `${prefix}s`;
  lastId += 1;
  return stage.node(() => stage.world.socket.event(String(lastId), { type, namespace, data, ...rest }));
};

/** The connection breaks, and what was missed cannot be had again. */
async function gap(): Promise<void> {
  await stage.node(() => stage.world.comeBack({ epoch: 'e2' }));
  await stage.confirm({ epoch: 'e2', recovered: false, reason: 'epoch_changed' });
}

const order = (n: number, rest: object = {}) => ({
  orderId: `order_${n}`,
  customerId: 'c',
  customerName: `Customer ${n}`,
  total: n,
  status: 'pending',
  channel: 'web',
  ...rest,
});

const change = (orderId: string, newStatus: string) => ({ orderId, customerId: 'c', customerName: 'Ada', oldStatus: 'pending', newStatus, timestamp: 1 });

describe('OrderStatusBadge', () => {
  const badge = () => stage.find('.omnicast-badge');

  it('shows what the page knows until an event says otherwise', async () => {
    await live(<OrderStatusBadge orderId="order_1" initialStatus="pending" />);
    expect(stage.world.socket.last('subscribe').data).toEqual({ namespaces: ['orders'], keys: ['order_1'] });
    expect(stage.text).toBe('Pending');
    expect(badge().querySelector('[role=status]')?.textContent).toBe('Pending');
    await send('order:status_changed', change('order_2', 'shipped'));
    expect(stage.text).toBe('Pending');
    await send('order:status_changed', change('order_1', 'shipped'));
    expect(stage.text).toBe('Shipped');
    expect(badge().dataset).toMatchObject({ status: 'shipped', state: 'live' });
    await send('order:updated', { orderId: 'order_1', changes: { status: 'delivered' } });
    await send('order:updated', { orderId: 'order_1', changes: { note: 'ring' } });
    expect(stage.text).toBe('Delivered');
    await send('order:deleted', { orderId: 'order_1' });
    expect(stage.text).toBe('Deleted');
  });

  it('prefers what the page fetched since', async () => {
    await live(<OrderStatusBadge orderId="order_1" initialStatus="pending" />);
    await send('order:status_changed', change('order_1', 'shipped'));
    await show(<OrderStatusBadge orderId="order_1" initialStatus="delivered" />);
    expect(stage.text).toBe('Delivered');
    await send('order:status_changed', change('order_1', 'cancelled'));
    expect(stage.text).toBe('Cancelled');
    await show(<OrderStatusBadge orderId="order_2" initialStatus="pending" />);
    await stage.confirm();
    expect(stage.text).toBe('Pending');
  });

  it('says when it may be out of date', async () => {
    await show(<OrderStatusBadge orderId="order_1" initialStatus="pending" />);
    expect(badge().dataset.state).toBe('stale');
    expect(stage.text).toBe('Pending (Last known)');
    await stage.accept();
    expect(badge().dataset.state).toBe('live');
    expect(badge().title).toBe('Live');
    await stage.node(() => stage.world.socket.shut());
    expect(badge().dataset.state).toBe('stale');
    expect(badge().title).toMatch(/^Last known: \d+:\d\d/);
    expect(badge().querySelector('[role=status]')?.textContent).toBe('Pending');
  });

  it('is stale after a gap until an event, or until it is mounted anew', async () => {
    const page = (key: number) => (
      <>
        <OrderStatusBadge orderId="order_1" initialStatus="pending" key={key} />
        <OrderStatusBadge orderId="order_2" initialStatus="pending" />
      </>
    );
    await live(page(1));
    await gap();
    const states = () => [...stage.host.querySelectorAll<HTMLElement>('.omnicast-badge')].map(({ dataset }) => dataset.state);
    expect(states()).toEqual(['stale', 'stale']);
    await send('order:status_changed', change('order_2', 'shipped'));
    expect(states()).toEqual(['stale', 'live']);
    await show(page(2));
    expect(states()).toEqual(['live', 'live']);
  });

  it('knows at once what another one of the same order has heard', async () => {
    await live(<OrderStatusBadge orderId="order_1" key="a" initialStatus="pending" />);
    await send('order:status_changed', change('order_1', 'shipped'));
    await show(
      <>
        <OrderStatusBadge orderId="order_1" key="a" initialStatus="pending" />
        <OrderStatusBadge orderId="order_1" key="b" initialStatus="pending" />
      </>,
    );
    expect(stage.text).toBe('ShippedShipped');
    expect(stage.world.socket.all('subscribe')).toHaveLength(1);
    await show(null);
    expect(stage.world.socket.last('unsubscribe').data).toEqual({ namespaces: ['orders'] });
  });

  it('takes texts, a class and a style, and shows a status of a catalogue of one’s own', async () => {
    await live(<OrderStatusBadge orderId="order_1" labels={{ unknown: '?', live: 'Aktuell' }} className="mine" style={{ color: 'red' }} />);
    expect(stage.text).toBe('?');
    expect(badge().className).toBe('omnicast omnicast-badge mine');
    expect(badge().style.color).toBe('red');
    expect(badge().title).toBe('Aktuell');
    await send('order:created', order(1, { status: 'parked' }));
    expect(stage.text).toBe('parked');
  });
});

describe('StockBadge', () => {
  it('follows the stock', async () => {
    await live(<StockBadge productId="p" initialStock={40} />);
    const product = { productId: 'p', productName: 'Mug', sku: 'M' };
    expect(stage.text).toBe('In stock');
    await send('inventory:updated', { ...product, oldStock: 40, newStock: 5, difference: -35 });
    expect(stage.text).toBe('Only 5 left');
    await send('inventory:restocked', { ...product, newStock: 12, addedQuantity: 7 });
    expect(stage.text).toBe('In stock');
    await send('inventory:low_stock', { ...product, currentStock: 9, threshold: 10, severity: 'low' });
    expect(stage.text).toBe('Only 9 left');
    await send('inventory:out_of_stock', product);
    expect(stage.text).toBe('Sold out');
    await send('inventory:restocked', { ...product, newStock: 10, addedQuantity: 10 });
    expect(stage.text).toBe('Only 10 left');
    await send('inventory:updated', { ...product, productId: 'q', oldStock: 1, newStock: 0, difference: -1 });
    expect(stage.text).toBe('Only 10 left');
  });

  it('says that it does not know', async () => {
    await live(<StockBadge productId="p" />);
    expect(stage.text).toBe('Stock unknown');
  });
});

describe('PriceTag', () => {
  it('follows the price, in any currency', async () => {
    await live(<PriceTag productId="p" initialPrice={1234.5} currency="EUR" locale="de-DE" showBefore />);
    expect(stage.text).toBe('1.234,50\u00a0€');
    const product = { productId: 'p', productName: 'Mug', sku: 'M', changePercentage: -10 };
    await send('product:price_changed', { ...product, oldPrice: 1234.5, newPrice: 1000 });
    expect(stage.text).toBe('1.000,00\u00a0€ Before: 1.234,50\u00a0€');
    expect(stage.find('s').textContent).toBe('1.234,50\u00a0€');
    await send('product:updated', { productId: 'p', changes: { price: 1100 } });
    expect(stage.text).toBe('1.100,00\u00a0€');
    await send('product:updated', { productId: 'p', changes: { name: 'Cup' } });
    expect(stage.text).toBe('1.100,00\u00a0€');
  });
});

describe('LiveCustomerCount', () => {
  const count = () => stage.find('.omnicast-count').textContent;
  const answer = (customersOnline: number) =>
    stage.node(() => {
      const { socket } = stage.world;
      socket.say({ type: 'presence', id: socket.last('presence').id, data: { customersOnline } });
    });
  const online = { customerId: 'c', isOnline: true, lastSeen: 1 };

  it('counts as the node counts, and follows at once', async () => {
    await live(<LiveCustomerCount />);
    expect(count()).toBe('–');
    await answer(1_200);
    expect(count()).toBe('1,200');
    await send('customer:online', online);
    await send('customer:online', online);
    await send('customer:offline', { ...online, isOnline: false });
    expect(count()).toBe('1,201');
    expect(stage.world.socket.all('presence')).toHaveLength(1);
    await stage.settle(5_000);
    expect(stage.world.socket.all('presence')).toHaveLength(2);
    await answer(1_300);
    expect(count()).toBe('1,300');
    expect(stage.text).toBe('Customers onlineLive1,300');
    await stage.node(() => stage.world.comeBack());
    await stage.confirm({ recovered: true });
    await stage.node(() => stage.world.socket.caughtUp(['customers']));
    await answer(7);
    expect(count()).toBe('7');
  });

  it('shows what customers do, if wished', async () => {
    await live(<LiveCustomerCount showDetails maxDetails={2} />);
    expect(stage.text).toContain('Nothing yet');
    await send('customer:viewing_product', { customerId: 'c', productId: 'p', productName: 'Mug' });
    await send('customer:activity', { customerId: 'c', customerName: 'Ada', action: 'checkout_start', timestamp: 1 });
    await send('customer:added_to_cart', { customerId: 'c', productId: 'p', productName: '$& Mug', quantity: 1 });
    const rows = [...stage.host.querySelectorAll('.omnicast-main')].map(({ textContent }) => textContent);
    expect(rows).toEqual(['Someone put $& Mug into the cart', 'Ada is checking out']);
  });

  it('says that it may not know', async () => {
    await live(<LiveCustomerCount />, { namespaces: ['orders'] });
    expect(stage.text).toBe('Customers onlineNot available to you–');
    expect(client.errors).toEqual(['forbidden_namespace']);
  });
});

describe('LiveSalesTicker', () => {
  const rows = () =>
    [...stage.host.querySelectorAll('li')].map((row) => `${row.querySelector('.omnicast-main')?.textContent} ${row.querySelector('data')?.textContent}`);

  it('shows the newest orders first, and no more than it should', async () => {
    await live(<LiveSalesTicker maxItems={3} currency="EUR" />);
    expect(stage.text).toContain('No sale yet');
    expect(stage.find('[role=log]')).toBeTruthy();
    for (const n of [1, 2, 3, 4]) await send('order:created', order(n));
    expect(rows()).toEqual(['Customer 4 €4.00', 'Customer 3 €3.00', 'Customer 2 €2.00']);
    await send('order:status_changed', change('order_3', 'cancelled'));
    await send('order:deleted', { orderId: 'order_4' });
    expect(rows()).toEqual(['Customer 3 (Cancelled) €3.00', 'Customer 2 €2.00', 'Customer 1 €1.00']);
  });

  it('goes on from what the page knows, though it is made anew with each render', async () => {
    const page = () => (
      <LiveSalesTicker maxItems={3} initialItems={[2, 1].map((n) => ({ ...order(n), status: 'pending' as const, timestamp: n }))} />
    );
    await live(page());
    expect(rows()).toEqual(['Customer 2 $2.00', 'Customer 1 $1.00']);
    await send('order:created', order(3));
    await send('order:status_changed', change('order_1', 'cancelled'));
    await show(page());
    expect(rows()).toEqual(['Customer 3 $3.00', 'Customer 2 $2.00', 'Customer 1 (Cancelled) $1.00']);
    await send('order:deleted', { orderId: 'order_2' });
    expect(rows()).toEqual(['Customer 3 $3.00', 'Customer 1 (Cancelled) $1.00']);
  });

  it('after a gap is not whole until it is given anew', async () => {
    const page = (...ns: number[]) => (
      <LiveSalesTicker initialItems={ns.map((n) => ({ ...order(n), status: 'pending' as const, timestamp: n }))} />
    );
    await live(page(1));
    await send('order:created', order(2));
    await gap();
    await send('order:created', order(4));
    expect(stage.find('.omnicast-panel').dataset.state).toBe('stale');
    expect(rows()).toHaveLength(3);
    await show(page(4, 3, 2));
    expect(stage.find('.omnicast-panel').dataset.state).toBe('live');
    expect(rows()).toEqual(['Customer 4 $4.00', 'Customer 3 $3.00', 'Customer 2 $2.00']);
  });

  it('renders once for a flood', async () => {
    let renders = 0;
    function Sales() {
      renders += 1;
      return useSales(5).value.map(({ orderId }) => orderId).join(' ');
    }
    await live(<Sales />);
    renders = 0;
    await stage.node(() => {
      for (let n = 1; n <= 500; n += 1) {
        stage.world.socket.event(String(n), { type: 'order:created', namespace: 'orders', data: order(n) });
      }
    });
    expect(stage.text).toBe('order_500 order_499 order_498 order_497 order_496');
    // StrictMode renders twice.
    expect(renders).toBe(2);
  });
});

describe('NotificationToasts', () => {
  const notice = { title: 'Hello', message: 'World', severity: 'info' };

  it('announces by urgency, and can be dismissed', async () => {
    await live(<NotificationToasts />);
    expect(stage.world.socket.last('subscribe').data).toEqual({ namespaces: ['system'] });
    await send('system:notification', { ...notice, actionUrl: '/orders/1' });
    await send('system:alert', { title: 'Fire', message: 'Run', severity: 'error' });
    await send('system:maintenance', { message: 'Tonight' });
    const roles = [...stage.host.querySelectorAll('li [role]')].map((one) => [one.getAttribute('role'), one.textContent]);
    expect(roles).toEqual([['alert', 'MaintenanceTonight'], ['alert', 'FireRun'], ['status', 'HelloWorld']]);
    expect(stage.find('a').getAttribute('href')).toBe('/orders/1');
    await stage.node(() => stage.find('[aria-label="Dismiss: Fire"]').click());
    expect(stage.text).not.toContain('Fire');
    expect(stage.host.querySelectorAll('li')).toHaveLength(2);
  });

  it('gives good news a time, which the style sheet keeps', async () => {
    await live(<NotificationToasts duration={3_000} />);
    await send('system:notification', notice);
    await send('system:alert', { ...notice, severity: 'warning' });
    const times = [...stage.host.querySelectorAll('li')].map(({ style }) => style.animationDuration);
    expect(times).toEqual(['', '0.3s, 3000ms']);
  });

  it('leads nowhere but to pages', async () => {
    await live(<NotificationToasts />, { namespaces: ['products'] });
    for (const actionUrl of ['javascript:alert(1)', ' JAVASCRIPT:alert(1)', 'data:text/html,x', 'http://[']) {
      await send('system:notification', { ...notice, actionUrl });
    }
    expect(stage.host.querySelectorAll('li')).toHaveLength(4);
    expect(stage.host.querySelector('a')).toBeNull();
  });
});

it('a hook takes another entity', async () => {
  function Status({ id }: { id: string }) {
    return useOrderStatus(id).value ?? 'none';
  }
  await live(<Status id="order_1" />);
  await send('order:status_changed', change('order_1', 'shipped'));
  expect(stage.text).toBe('shipped');
  await show(<Status id="order_2" />);
  expect(stage.text).toBe('none');
  expect(stage.world.socket.last('subscribe').data).toEqual({ namespaces: ['orders'], keys: ['order_2'] });
});
