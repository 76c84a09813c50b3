import { afterEach, describe, expect, it, vi } from 'vitest';
import { configureEmitter, createEmitter, EmitError } from 'omnicast/server';
import { failure, gone, type Request, Wire } from './wire.js';

const wires: Wire[] = [];
const start = async (...args: Parameters<typeof Wire.start>) => {
  const wire = await Wire.start(...args);
  wires.push(wire);
  return wire;
};
afterEach(() => Promise.all(wires.splice(0).map((wire) => wire.end())));

/** The answer to one that has been published. */
const published = (request: Request) => {
  request.publish();
  return request;
};

const low = { index: 0, path: 'data.total', code: 'wrong_type', message: 'must be a number' };

describe('batches', () => {
  it('put what one turn emits into one request, in order, over one connection', async () => {
    const wire = await start();
    const emitter = wire.emitter();
    const first = await Promise.all(['a', 'b', 'c'].map((id) => emitter.emit('product:deleted', { productId: id })));
    const more = await emitter.emitEvents([gone('d'), gone('e')]);
    expect([...first, ...more]).toEqual(['1', '2', '3', '4', '5']);
    expect(wire.requests.map((events) => events.length)).toEqual([3, 2]);
    expect(wire.products).toEqual(['a', 'b', 'c', 'd', 'e']);
    expect(wire.sockets.size).toBe(1);
  });

  it('put what comes while a request is under way into the next', async () => {
    let go = () => {};
    const wire = await start((request, n) => {
      if (n === 1) go = request.accept;
      else request.accept();
    });
    const emitter = wire.emitter();
    const emitted = [emitter.emit('product:deleted', { productId: '0' })];
    await vi.waitFor(() => expect(wire.requests.length).toBe(1));
    for (let n = 1; n < 50; n += 1) {
      emitted.push(emitter.emit('product:deleted', { productId: String(n) }));
      await Promise.resolve();
    }
    go();
    await Promise.all(emitted);
    expect(wire.requests.map((events) => events.length)).toEqual([1, 49]);
    expect(wire.products).toEqual(Array.from({ length: 50 }, (_, n) => String(n)));
  });

  it('are of at most `maxBatch` events, and do not cut what goes together', async () => {
    const wire = await start();
    const emitter = wire.emitter({ maxBatch: 3 });
    await Promise.all([
      emitter.emitEvents([gone('a'), gone('b')]),
      emitter.emitEvents([gone('c'), gone('d')]),
      emitter.emitEvents([gone('e'), gone('f'), gone('g'), gone('h')]),
      emitter.emitEvents([]),
    ]);
    expect(wire.requests.map((events) => events.length)).toEqual([2, 2, 4]);
  });

  it('are of at most a megabyte', async () => {
    const wire = await start();
    const emitter = wire.emitter();
    const changes = { text: 'x'.repeat(400_000) };
    await Promise.all([1, 2, 3].map((n) => emitter.emit('product:updated', { productId: `${n}`, changes })));
    expect(wire.requests.map((events) => events.length)).toEqual([2, 1]);
  });

  it('say what they were given at that time, not later', async () => {
    const wire = await start();
    const data = { productId: 'a' };
    const emitted = wire.emitter().emit('product:deleted', data);
    data.productId = 'b';
    await emitted;
    expect(wire.products).toEqual(['a']);
  });
});

describe('a fault', () => {
  const refuseBad = (request: Request) => {
    const errors = request.events.flatMap(({ data }, index) => (String(data.productId).startsWith('bad') ? [{ ...low, index }] : []));
    if (errors.length > 0) request.answer(422, { errors });
    else request.accept();
  };

  it('refuses its own event and no other of the batch', async () => {
    const wire = await start(refuseBad);
    const emitter = wire.emitter();
    const [a, bad, b] = [gone('a'), gone('bad'), gone('b')].map(({ type, data }) => emitter.emit(type, data));
    const error = await failure(bad as NonNullable<typeof bad>);
    expect(error).toBeInstanceOf(EmitError);
    expect(error).toMatchObject({ code: 'wrong_type', index: 0, path: 'data.total', status: 422, maybePublished: false });
    expect(error.faults).toEqual([low]);
    expect(error.message).toBe('nothing was published: product:deleted: data.total must be a number');
    expect([await a, await b]).toEqual(['1', '2']);
  });

  it('refuses all events of one call, and counts them from its first', async () => {
    const wire = await start(refuseBad);
    const emitter = wire.emitter();
    const [, refused] = [emitter.emitEvents([gone('a')]), emitter.emitEvents([gone('b'), gone('bad'), gone('bad2')])];
    const error = await failure(refused);
    expect(error.index).toBe(1);
    expect(error.faults.map(({ index }) => index)).toEqual([1, 2]);
    expect(error.message).toContain('event 1, product:deleted');
    await emitter.flush();
    expect(wire.products).toEqual(['a']);
  });

  it('that points at no event refuses all, and is not asked about again', async () => {
    const wire = await start((request) => request.answer(422, { errors: [{ ...low, index: 9 }] }));
    expect(await failure(wire.emitter().emit('product:deleted', { productId: 'a' }))).toMatchObject({ code: 'wrong_type' });
    expect(wire.requests.length).toBe(1);
  });

  it('is told without a node: a payload that is no JSON, a list that got lost', async () => {
    const wire = await start();
    const emitter = wire.emitter();
    const round: Record<string, unknown> = {};
    round.round = round;
    const bad = (options: object) => failure(emitter.emit('product:deleted', { productId: 'a' }, options as never));
    expect(await failure(emitter.emit('product:updated', { productId: 'a', changes: round }))).toMatchObject({ code: 'not_json' });
    expect(await failure(emitter.emit('product:updated', { productId: 'a', changes: { n: 1n } }))).toMatchObject({ code: 'not_json' });
    for (const name of ['roles', 'userIds', 'excludeUserIds']) {
      expect(await bad({ [name]: undefined })).toMatchObject({ code: 'undefined_list', path: name });
    }
    const nobody = { title: 't', message: 'm', severity: 'info', targetRoles: undefined } as never;
    expect(await failure(emitter.emit('system:alert', nobody))).toMatchObject({ path: 'data.targetRoles' });
    const second = failure(emitter.emitEvents([gone('a'), { ...gone('b'), userIds: undefined } as never]));
    expect((await second).index).toBe(1);
    expect(wire.requests).toEqual([]);
    expect(emitter.pending).toBe(0);
  });

  it('of an option that is none is the node’s to find', async () => {
    const wire = await start();
    await wire.emitter().emit('product:deleted', { productId: 'a' }, { userIDs: ['u'] } as never);
    expect(wire.published[0]).toMatchObject({ userIDs: ['u'] });
  });
});

describe('a retry', () => {
  const cases: [string, (request: Request) => void][] = [
    ['a 503 with Retry-After', (r) => r.answer(503, { error: { code: 'overloaded', message: 'no room' } }, { 'Retry-After': '0' })],
    ['a 500', (r) => r.answer(500, { error: { code: 'internal', message: 'a bug' } })],
    ['a proxy that finds nobody', (r) => r.answer(502, '<html>Bad Gateway</html>')],
    ['a reset before anything was done', (r) => r.socket.destroy()],
    ['a reset after it was published', (r) => published(r).socket.destroy()],
    ['a reset over TCP', (r) => published(r).socket.resetAndDestroy()],
    [
      'half an answer',
      (r) => {
        const body = r.publish();
        r.reply.writeHead(200, { 'Content-Length': String(body.length) });
        r.reply.write(body.slice(0, body.length >> 1), () => r.socket.destroy());
      },
    ],
    [
      'half an answer that says nothing of its length',
      (r) => {
        const body = r.publish();
        r.socket.end(`HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n${body.slice(0, body.length >> 1)}`);
      },
    ],
    ['half a head', (r) => published(r).socket.end('HTTP/1.1 200 O')],
    ['no HTTP at all', (r) => published(r).socket.end('hello\r\n\r\n')],
    ['a success that speaks of other events', (r) => published(r).answer(200, { accepted: 0, ids: [] })],
    ['silence', (r) => void r.publish()],
  ];
  for (const [what, handler] of cases) {
    it(`follows ${what}, and nothing is published twice`, async () => {
      const tcp = what.endsWith('TCP');
      const wire = await start((request, n) => (n <= 2 ? handler(request) : request.accept()), tcp ? 0 : undefined);
      const emitter = wire.emitter({
        requestTimeout: what === 'silence' ? 50 : 5000,
        ...(tcp ? { url: `http://127.0.0.1:${wire.port}`, token: 't' } : {}),
      });
      const ids = await emitter.emitEvents([gone('a'), gone('b')]);
      expect(ids).toEqual(['1', '2']);
      expect(await emitter.emit('product:deleted', { productId: 'c' })).toBe('3');
      expect(wire.products).toEqual(['a', 'b', 'c']);
      expect(wire.requests.slice(0, 3).map((events) => events.map(({ idempotencyKey }) => idempotencyKey))).toEqual(
        Array(3).fill(wire.requests[0]?.map(({ idempotencyKey }) => idempotencyKey)),
      );
      expect(wire.failures).toEqual([]);
    });
  }

  it('waits as long as the node says', async () => {
    let refusedAt = 0;
    const wire = await start((request, n) => {
      if (n > 1) return request.accept();
      refusedAt = performance.now();
      request.answer(503, { error: { code: 'overloaded', message: 'no room' } }, { 'Retry-After': '1' });
    });
    await wire.emitter().emit('product:deleted', { productId: 'a' });
    expect(performance.now() - refusedAt).toBeGreaterThanOrEqual(999);
  });

  it('keeps the order of everything behind it', async () => {
    const wire = await start((request, n) => (n % 3 === 0 ? request.accept() : published(request).socket.destroy()));
    const emitter = wire.emitter({ maxBatch: 2 });
    const ids = await Promise.all(Array.from({ length: 9 }, (_, n) => emitter.emit('product:deleted', { productId: `${n}` })));
    expect(ids).toEqual(['1', '2', '3', '4', '5', '6', '7', '8', '9']);
    expect(wire.products).toEqual(['0', '1', '2', '3', '4', '5', '6', '7', '8']);
  });

  it('of a connection that ended while idle costs no wait', async () => {
    const wire = await start();
    const emitter = wire.emitter({ retryInterval: 1e6, maxRetryInterval: 1e6 });
    await emitter.emit('product:deleted', { productId: 'a' });
    wire.handler = (request, n) => (n === 2 ? request.socket.destroy() : request.accept());
    await emitter.emit('product:deleted', { productId: 'b' });
    expect(wire.products).toEqual(['a', 'b']);
  });

  it('finds a node that starts later', async () => {
    const wire = await start();
    await wire.stop();
    const emitted = wire.emitter().emit('product:deleted', { productId: 'a' });
    await new Promise((resolve) => setTimeout(resolve, 20));
    await wire.listen();
    expect(await emitted).toBe('1');
  });

  it('ends in time, and says whether it may have been published', async () => {
    const wire = await start();
    await wire.stop();
    const emitter = wire.emitter({ retryFor: 30 });
    expect(await failure(emitter.emit('product:deleted', { productId: 'a' }))).toMatchObject({
      code: 'unreachable',
      maybePublished: false,
    });
    wire.handler = (request) => request.socket.destroy();
    await wire.listen();
    const [first, behind] = await Promise.all(
      ['b', 'c'].map((productId) => failure(emitter.emit('product:deleted', { productId }))),
    );
    expect(first).toMatchObject({ code: 'connection_lost', maybePublished: true });
    expect(first?.message).toContain('product:deleted may or may not have been published');
    expect(behind?.code).toBe('connection_lost');
    wire.handler = (request) => request.accept();
    await emitter.emit('product:deleted', { productId: 'd' });
    expect(wire.products).toEqual(['d']);
    expect(emitter.pending).toBe(0);
  });

  it('is not made of what the node will never take', async () => {
    const wire = await start((request) => request.answer(401, { error: { code: 'unauthorized', message: 'the control token is needed' } }));
    const error = await failure(wire.emitter().emit('product:deleted', { productId: 'a' }));
    expect(error).toMatchObject({ code: 'unauthorized', status: 401, maybePublished: false });
    expect(wire.requests.length).toBe(1);
  });

  it('is made in parts, where the whole was too much', async () => {
    const wire = await start((request) => {
      const big = request.events.length > 2 || request.events.some(({ data }) => data.productId === 'big');
      if (big) request.answer(413, { error: { code: 'body_too_large', message: 'too large' } }, { Connection: 'close' });
      else request.accept();
    });
    const emitter = wire.emitter();
    const emitted = ['a', 'b', 'c', 'big', 'd'].map((productId) => emitter.emit('product:deleted', { productId }));
    const outcomes = await Promise.allSettled(emitted);
    expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled', 'fulfilled', 'rejected', 'fulfilled']);
    expect(outcomes[3]).toMatchObject({ reason: { code: 'body_too_large', status: 413 } });
    expect(wire.products).toEqual(['a', 'b', 'c', 'd']);
  });
});

describe('the queue', () => {
  it('is bounded in events and in bytes, and says so', async () => {
    const wire = await start();
    await wire.stop();
    const emitter = wire.emitter({ maxQueue: 3 });
    const kept = emitter.emitEvents([gone('a'), gone('b'), gone('c')]);
    const error = await failure(emitter.emit('product:deleted', { productId: 'd' }));
    expect(error).toMatchObject({ code: 'queue_full', maybePublished: false });
    expect(emitter.pending).toBe(3);
    const bytes = wire.emitter({ maxQueueBytes: 300 });
    const big = bytes.emit('product:updated', { productId: 'x', changes: { text: 'x'.repeat(1000) } });
    expect((await failure(bytes.emit('product:deleted', { productId: 'e' }))).code).toBe('queue_full');
    await wire.listen();
    await Promise.all([kept, big]);
    expect([emitter.pending, bytes.pending]).toEqual([0, 0]);
    await emitter.emit('product:deleted', { productId: 'f' });
    expect(wire.products).toContain('f');
  });

  it('is told of nobody’s failures once, and of somebody’s never', async () => {
    const wire = await start((request) => request.answer(403, { error: { code: 'no', message: 'no' } }));
    const emitter = wire.emitter();
    emitter.emit('product:deleted', { productId: 'a' });
    await vi.waitFor(() => expect(wire.failures.map(({ code }) => code)).toEqual(['no']));
    await failure(emitter.emit('product:deleted', { productId: 'b' }));
    await emitter.emit('product:deleted', { productId: 'c' }).catch(() => {});
    await emitter.emit('product:deleted', { productId: 'd' }).finally(() => {}).catch(() => {});
    await Promise.allSettled([emitter.emit('product:deleted', { productId: 'e' })]);
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(wire.failures.length).toBe(1);
  });

  it('closes: what is in it is published, what comes is refused', async () => {
    const wire = await start();
    const emitter = wire.emitter();
    const emitted = emitter.emit('product:deleted', { productId: 'a' });
    const held = emitter.emit('product:deleted', { productId: 'b' }, { debounce: 1e6 });
    const closed = emitter.close();
    expect((await failure(emitter.emit('product:deleted', { productId: 'c' }))).code).toBe('closed');
    await closed;
    expect([await emitted, await held]).toEqual(['1', '2']);
  });

  it('closes in time where the node is gone', async () => {
    const wire = await start();
    await wire.stop();
    const emitter = wire.emitter({ retryInterval: 1e6, maxRetryInterval: 1e6, retryFor: 1e9 });
    const emitted = failure(emitter.emit('product:deleted', { productId: 'a' }));
    await emitter.close({ within: 20 });
    expect(await emitted).toMatchObject({ code: 'closed', maybePublished: false });
    const hanging = await start(() => {});
    const other = hanging.emitter();
    const lost = failure(other.emit('product:deleted', { productId: 'a' }));
    await vi.waitFor(() => expect(hanging.requests.length).toBe(1));
    await other.close({ within: 0 });
    expect(await lost).toMatchObject({ code: 'closed', maybePublished: true });
  });
});

describe('debounce', () => {
  it('publishes the latest value of an entity, for all who emitted one', async () => {
    const wire = await start();
    const emitter = wire.emitter();
    const price = (productId: string, newPrice: number) =>
      emitter.emit(
        'product:price_changed',
        { productId, productName: 'Mug', sku: 'MUG', oldPrice: 1, newPrice, changePercentage: 0 },
        { debounce: 20 },
      );
    const emitted = [price('a', 2), price('b', 7), price('a', 3), price('a', 4)];
    expect(emitter.pending).toBe(2);
    const ids = await Promise.all(emitted);
    expect(wire.published.map(({ data }) => [data.productId, data.newPrice])).toEqual([['a', 4], ['b', 7]]);
    expect(ids).toEqual(['1', '2', '1', '1']);
    await price('a', 5);
    expect(wire.published.at(-1)?.data.newPrice).toBe(5);
    expect(emitter.pending).toBe(0);
  });

  it('is no wait without end: a steady stream gets through', async () => {
    const wire = await start();
    const emitter = wire.emitter();
    let n = 0;
    while (wire.published.length < 3) {
      void emitter.emit('product:updated', { productId: 'a', changes: { n: n++ } }, { debounce: 20 });
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    await emitter.flush();
    expect(wire.published.at(-1)?.data.changes).toEqual({ n: n - 1 });
  });

  it('keeps other addressees and other types apart, and the order of an entity', async () => {
    const wire = await start();
    const emitter = wire.emitter();
    const update = (n: number, options: object) =>
      emitter.emit('product:updated', { productId: 'a', changes: { n } }, { debounce: 1e6, ...options });
    const emitted = [update(1, {}), update(2, { roles: ['admin'] }), update(3, { userIds: ['u'] }), update(4, {})];
    emitted.push(emitter.emit('product:deleted', { productId: 'b' }));
    emitted.push(emitter.emit('product:deleted', { productId: 'a' }));
    await Promise.all(emitted);
    expect(wire.published.map(({ type, data }) => [type, (data.changes as { n: number } | undefined)?.n])).toEqual([
      ['product:deleted', undefined],
      ['product:updated', 2],
      ['product:updated', 3],
      ['product:updated', 4],
      ['product:deleted', undefined],
    ]);
  });

  it('ends at a flush', async () => {
    const wire = await start();
    const emitter = wire.emitter();
    void emitter.emit('product:updated', { productId: 'a', changes: {} }, { debounce: 1e6, key: 'k' });
    void emitter.emitEvents([gone('b'), gone('c')], { debounce: 1e6 });
    await emitter.flush();
    expect(wire.published.length).toBe(3);
  });
});

describe('the way to the node', () => {
  it('over TCP brings the token', async () => {
    let authorization: string | undefined;
    const wire = await start((request) => {
      authorization = request.headers.authorization;
      request.accept();
    }, 0);
    const emitter = wire.emitter({ url: `http://127.0.0.1:${wire.port}`, token: 'control-secret' });
    expect(await emitter.emit('product:deleted', { productId: 'a' })).toBe('1');
    expect(authorization).toBe('Bearer control-secret');
  });

  it('is named once, and rightly', async () => {
    const wire = await start();
    for (const url of ['ws://127.0.0.1', '', 'localhost:3102', '10.0.0.5', 'http://', 'http://h:99999', '/run/control.sock']) {
      const message = `omnicast: url must be like http://10.0.0.5:3102, not ${url}`;
      expect(() => wire.emitter({ url, token: 't' })).toThrow(new TypeError(message));
    }
    expect(() => wire.emitter({ url: 'http://127.0.0.1' })).toThrow('WS_CONTROL_TOKEN');
    expect(() => wire.emitter({ url: 'http://127.0.0.1', token: 't', socketPath: '/s' })).toThrow('not both');
  });
});

describe('options', () => {
  it('that do not exist are refused, and those that do are named', () => {
    const message = /no option socketpath; there are socketPath, url, token, maxQueue,.* onError$/;
    expect(() => createEmitter({ socketpath: '/run/node.sock' } as object)).toThrow(message);
    expect(() => configureEmitter({ socketpath: '/run/node.sock' } as object)).toThrow(message);
    expect(() => configureEmitter({ url: 'localhost:3102', token: 't' })).toThrow('url must be like');
    // As a setting that is not set gives it.
    void createEmitter({ socketPath: undefined, maxQueue: undefined }).close();
  });
});

it('an error has its message in JSON', () => {
  const error = new EmitError('wrong_type', 'data.total must be a number', { status: 422, faults: [low] });
  expect(JSON.parse(JSON.stringify(error))).toMatchObject({
    code: 'wrong_type', message: 'data.total must be a number', status: 422, faults: [low], maybePublished: false,
  });
});
