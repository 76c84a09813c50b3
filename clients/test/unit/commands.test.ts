// What the client asks the node, and what it makes of what the node says.
import type { OmnicastError } from 'omnicast';
import { beforeEach, describe, expect, it } from 'vitest';
import { World } from './world.js';

let world: World;

beforeEach(() => {
  world = new World();
});

const code = (promise: Promise<unknown>) => promise.then(() => 'none', (error: OmnicastError) => error.code);

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
