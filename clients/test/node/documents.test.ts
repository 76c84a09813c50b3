// The generated documents against what a node says and takes.
import { readFileSync } from 'node:fs';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import WebSocket from 'ws';
import { Node } from './node.js';

const json = (path: string) => JSON.parse(readFileSync(new URL(`../../../${path}`, import.meta.url), 'utf8'));

const asyncapi = json('docs/asyncapi.json');
const openapi = json('docs/openapi.json');
const events = json('docs/schemas/events.schema.json');

/** A schema is any JSON. */
type Schema = any;

const ajv = new Ajv2020({ strict: false, discriminator: false });
ajv.addSchema({ ...asyncapi, $id: 'urn:omnicast:asyncapi' });
ajv.addSchema({ ...openapi, $id: 'urn:omnicast:openapi' });
ajv.addSchema(events);

const errorsOf = (ref: string, value: unknown) => {
  const validate = ajv.getSchema(ref) ?? ajv.compile({ $ref: ref });
  return validate(value) ? [] : validate.errors;
};

let node: Node;

beforeAll(async () => {
  node = await Node.start();
});

afterAll(() => node.end());

/** A payload that has every field of an event type, made from its schema. */
function example(schema: Schema): unknown {
  if (schema.$ref) return example(events.$defs[schema.$ref.replace('#/$defs/', '')]);
  if (schema.enum) return schema.enum[0];
  switch (schema.type) {
    case 'object':
      return Object.fromEntries(
        Object.entries(schema.properties ?? {}).map(([name, each]) => [name, example(each)]),
      );
    case 'array':
      return [example(schema.items)];
    case 'string':
      return 'x';
    case 'boolean':
      return true;
    default:
      return 7;
  }
}

/** Says these commands to the node and gives what came until the answer to the last. */
function talk(commands: object[]): Promise<Record<string, unknown>[]> {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(node.url);
    const got: Record<string, unknown>[] = [];
    socket.on('error', reject);
    socket.on('open', () => commands.forEach((command, id) => socket.send(JSON.stringify({ id, ...command }))));
    socket.on('message', (data) => {
      const message = JSON.parse(String(data));
      got.push(message);
      if (message.id === commands.length - 1 || message.type === 'closing') {
        socket.terminate();
        resolve(got);
      }
    });
  });
}

describe('the catalogue', () => {
  it('is that of the node', async () => {
    const info = JSON.parse((await node.call('GET', '/api/ws/info')).body);
    expect(errorsOf('urn:omnicast:openapi#/components/schemas/Info', info)).toEqual([]);
    const types = Object.entries(info.namespaces).flatMap(([namespace, list]) =>
      (list as string[]).map((type) => `${namespace} ${type}`),
    );
    const generated = events.oneOf.map(({ $ref }: Schema) => {
      const { properties } = events.$defs[$ref.replace('#/$defs/', '')];
      return `${properties.namespace.const} ${properties.type.const}`;
    });
    expect([...generated].sort()).toEqual(types.sort());
    expect(events.$defs.Role.enum).toEqual(info.roles);
  });

  it('describes events that the node takes and sends', async () => {
    const socket = new WebSocket(node.url);
    const got: Schema[] = [];
    socket.on('message', (data) => got.push(JSON.parse(String(data))));
    await new Promise((resolve) => socket.once('open', resolve));
    socket.send(JSON.stringify({ type: 'auth', data: node.identity() }));
    const namespaces = ['orders', 'customers', 'products', 'inventory', 'payments', 'system'];
    socket.send(JSON.stringify({ type: 'subscribe', data: { namespaces } }));
    const posts = events.oneOf.map(({ $ref }: Schema) => {
      const { properties } = events.$defs[$ref.replace('#/$defs/', '')];
      return { type: properties.type.const, data: example(properties.data) };
    });
    while (got.length < 2) await new Promise((resolve) => socket.once('message', resolve));
    for (const post of posts) {
      expect(errorsOf('urn:omnicast:openapi#/components/schemas/PostedEvent', post), post.type).toEqual([]);
      expect((await node.call('POST', '/api/events', post)).status, post.type).toBe(200);
    }
    while (got.length < 2 + posts.length) await new Promise((resolve) => socket.once('message', resolve));
    for (const event of got.slice(2)) {
      expect(errorsOf('urn:omnicast:events', event), event.type).toEqual([]);
      const [name] = Object.entries(asyncapi.components.messages).find(([, row]) => (row as Schema).name === event.type) ?? [];
      expect(errorsOf(`urn:omnicast:asyncapi#/components/messages/${name}/payload`, event), event.type).toEqual([]);
    }
    expect(got.slice(2).map((event) => event.type)).toEqual(posts.map((post: Schema) => post.type));
    socket.terminate();
  });

  it('refuses what the node refuses', async () => {
    const good = { type: 'order:deleted', data: { orderId: 'o' } };
    for (const bad of [
      { ...good, data: {} },
      { ...good, data: { orderId: 7 } },
      { ...good, data: { orderId: '' } },
      { ...good, type: 'order:eaten' },
      { ...good, namespace: 'products' },
      { ...good, userIds: [] },
      { ...good, roles: ['king'] },
      { ...good, extra: 1 },
      { ...good, timestamp: 1.5 },
    ]) {
      expect(errorsOf('urn:omnicast:openapi#/components/schemas/PostedEvent', bad), JSON.stringify(bad)).not.toEqual([]);
      const reply = await node.call('POST', '/api/events', bad);
      expect(reply.status, JSON.stringify(bad)).toBe(422);
      expect(errorsOf('urn:omnicast:openapi#/components/schemas/Faults', JSON.parse(reply.body))).toEqual([]);
    }
  });
});

describe('the messages', () => {
  const message = (name: string) => `urn:omnicast:asyncapi#/components/messages/${name}/payload`;

  it('are as described, both ways', async () => {
    const identity = node.identity();
    const since = { epoch: 'none', id: '1' };
    const commands: [string, object, string][] = [
      ['auth', { type: 'auth', data: identity }, 'welcome'],
      ['subscribe', { type: 'subscribe', data: { namespace: 'orders', keys: ['a'] } }, 'subscribed'],
      ['subscribe', { type: 'subscribe', data: { namespaces: ['orders', 'products'], since } }, 'subscribed'],
      ['unsubscribe', { type: 'unsubscribe', data: { namespace: 'orders' } }, 'unsubscribed'],
      ['ping', { type: 'ping' }, 'pong'],
      ['presence', { type: 'presence' }, 'presence_count'],
      [
        'publish',
        { type: 'publish', data: { type: 'customer:viewing_product', data: { productId: 'p', productName: 'Mug' } } },
        'error',
      ],
    ];
    const got = await talk(commands.map(([, command]) => command));
    commands.forEach(([name, command, answer], id) => {
      expect(errorsOf(message(name), { id, ...command }), name).toEqual([]);
      const reply = got.find((each) => (each.id ?? each.replyTo) === id);
      expect(errorsOf(message(answer), reply), `${answer} ${JSON.stringify(reply)}`).toEqual([]);
    });
  });

  it('of a session that is short and bad, too', async () => {
    const short = node.identity({ expiresAt: Date.now() + 2_000 });
    const [welcome, ...rest] = await talk([{ type: 'auth', data: short }, { type: 'ping', id: 'never' }]);
    expect(errorsOf(message('welcome'), welcome)).toEqual([]);
    // The answer to the ping may come before the notice.
    const expiring = rest.find(({ type }) => type === 'session_expiring');
    expect(errorsOf(message('session_expiring'), expiring)).toEqual([]);
    expect(errorsOf(message('closing'), rest.at(-1))).toEqual([]);
  });
});

describe('the control API', () => {
  it('answers as described', async () => {
    const body = async (path: string, method = 'GET') => JSON.parse((await node.call(method, path)).body);
    const schema = (name: string) => `urn:omnicast:openapi#/components/schemas/${name}`;
    const socket = new WebSocket(node.url);
    await new Promise((resolve) => socket.once('open', resolve));
    socket.send(JSON.stringify({ type: 'auth', data: node.identity() }));
    await new Promise((resolve) => socket.once('message', resolve));
    expect(errorsOf(schema('Statistics'), await body('/api/ws/stats'))).toEqual([]);
    const { connections } = await body('/api/connections');
    expect(connections).toHaveLength(1);
    expect(errorsOf(schema('Connection'), connections[0])).toEqual([]);
    expect(errorsOf(schema('Refusal'), await body('/api/users/nobody', 'DELETE'))).toEqual([]);
    const posted = await node.call('POST', '/api/events', { type: 'product:deleted', data: { productId: 'p' } });
    expect(errorsOf(schema('Accepted'), JSON.parse(posted.body))).toEqual([]);
    socket.terminate();
  });
});
