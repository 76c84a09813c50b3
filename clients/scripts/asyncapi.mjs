// The AsyncAPI 3 document of the WebSocket protocol. What is not in the catalogue (commands, answers,
// errors, closes) is written down here; a test holds the codes against docs/protocol.md.
import { definitions } from './schema.mjs';

const AT = '#/components/schemas/';
const ref = (name) => ({ $ref: `${AT}${name}` });

export const ERROR_CODES = [
  'bad_json', 'bad_message', 'unknown_type', 'not_authenticated', 'auth_failed', 'token_expired',
  'unknown_namespace', 'forbidden_namespace', 'forbidden_event', 'invalid_event', 'rate_limited', 'internal',
];

export const CLOSES = {
  1001: 'going_away', 1002: 'protocol_error', 1003: 'binary', 1007: 'bad_utf8', 1009: 'message_too_big',
  4001: 'auth_timeout', 4002: 'auth_failed', 4004: 'kicked', 4101: 'session_expired', 4102: 'rate_abuse',
  4103: 'slow_consumer', 4201: 'pong_timeout',
};

const object = (properties, optional = [], rest = {}) => ({
  type: 'object',
  required: Object.keys(properties).filter((name) => !optional.includes(name)),
  properties,
  ...rest,
});

const command = (type, data, summary) => ({
  summary,
  payload: object({ type: { const: type }, id: ref('MessageId'), data }, data ? ['id'] : ['id', 'data']),
});

const answer = (type, data, summary) => ({
  summary,
  payload: object({ type: { const: type }, id: ref('MessageId'), data }, ['id']),
});

function schemas(catalogue) {
  const publishable = [...new Set(Object.values(catalogue.publishes).flat())];
  return {
    ...definitions(catalogue, AT),
    MessageId: {
      description: 'Chosen by the client, at most 128 bytes as JSON; comes back in the answer as it was sent.',
      oneOf: [{ type: 'string' }, { type: 'number' }],
    },
    Identity: object(
      { userId: ref('Id'), role: ref('Role'), sessionId: ref('Id'), expiresAt: ref('Ms') },
      [],
      { description: 'The plain identity, in trusted mode only.' },
    ),
    Token: object({ token: { type: 'string', maxLength: 8192 } }, [], {
      description: 'A JWT with the claims `sub`, `role`, `sid` and `exp`.',
    }),
    Since: object({ epoch: { type: 'string' }, id: { type: 'string' } }, [], {
      description: 'What was seen last. What came after it is sent first.',
    }),
    Keys: {
      type: 'array',
      items: ref('Id'),
      minItems: 1,
      description: 'Only these entities. Without it: all.',
    },
    Interest: {
      oneOf: [
        object({ namespace: ref('Namespace'), keys: ref('Keys'), since: ref('Since') }, ['keys', 'since'], {
          not: { required: ['namespaces'] },
        }),
        object(
          {
            namespaces: { type: 'array', items: ref('Namespace'), minItems: 1, maxItems: 32 },
            keys: ref('Keys'),
            since: ref('Since'),
          },
          ['keys', 'since'],
          { not: { required: ['namespace'] } },
        ),
      ],
    },
    Published: {
      description: 'What a client may publish. The node sets `customerId` to the connection\'s user.',
      oneOf: catalogue.events
        .filter((event) => publishable.includes(event.type))
        .map((event) =>
          object({
            type: { const: event.type },
            data: {
              type: 'object',
              required: event.fields.filter((f) => !f.optional && f.name !== event.owner).map((f) => f.name),
              properties: Object.fromEntries(
                event.fields.map((f) => [f.name, { $ref: `${AT}${event.name}/properties/${f.name}` }]),
              ),
            },
          }),
        ),
    },
    ErrorCode: { type: 'string', enum: ERROR_CODES },
    CloseCode: {
      type: 'integer',
      enum: Object.keys(CLOSES).map(Number),
      description: '40xx: stay away. 41xx: back off and come back. 42xx and 1001: come back at once, with jitter.',
    },
  };
}

function messages(catalogue) {
  const names = { type: 'array', items: ref('Namespace') };
  const sent = {
    auth: command('auth', { oneOf: [ref('Token'), ref('Identity')] }, 'The first message. Again: renews the session.'),
    subscribe: command('subscribe', ref('Interest'), 'Subscribes to namespaces, or to entities in them.'),
    unsubscribe: command('unsubscribe', ref('Interest'), 'Ends subscriptions.'),
    ping: command('ping', undefined, 'Asks for a pong.'),
    presence: command('presence', undefined, 'Asks how many customers are online.'),
    publish: command('publish', ref('Published'), 'Publishes an event of the client\'s own.'),
  };
  const welcome = {
    summary: 'The answer to an accepted `auth`: a notification without a position.',
    payload: object(
      {
        type: { const: 'system:notification' },
        namespace: { const: 'system' },
        data: object({
          title: { type: 'string' },
          message: { const: 'Authentication successful' },
          severity: { const: 'success' },
          connectionId: { type: 'string' },
          userId: ref('Id'),
          role: ref('Role'),
          namespaces: names,
          expiresAt: ref('Ms'),
          epoch: { type: 'string' },
          lastEventId: ref('Position'),
        }),
        timestamp: ref('Ms'),
        replyTo: ref('MessageId'),
      },
      ['replyTo'],
      { not: { required: ['id'] } },
    ),
  };
  const received = {
    welcome,
    subscribed: answer(
      'subscribed',
      object(
        {
          namespaces: names,
          epoch: { type: 'string' },
          lastEventId: ref('Position'),
          recovered: { type: 'boolean', description: 'Only where `since` was given.' },
          reason: { enum: ['epoch_changed', 'window_exceeded', 'bad_position'], description: 'Where not recovered.' },
        },
        ['recovered', 'reason'],
      ),
      'The answer to `subscribe`.',
    ),
    unsubscribed: answer('unsubscribed', object({ namespaces: names }), 'The answer to `unsubscribe`.'),
    caught_up: {
      summary: 'A replay is over; live events follow.',
      payload: object({
        type: { const: 'caught_up' },
        data: object({ namespaces: names, replayed: { type: 'integer', minimum: 0 } }),
      }),
    },
    pong: {
      summary: 'The answer to `ping`.',
      payload: object({ type: { const: 'pong' }, id: ref('MessageId'), timestamp: ref('Ms') }, ['id']),
    },
    presence_count: answer(
      'presence',
      object({ customersOnline: { type: 'integer', minimum: 0 } }),
      'The answer to `presence`.',
    ),
    published: answer('published', object({ eventId: ref('Position') }), 'The answer to `publish`.'),
    error: answer(
      'error',
      object(
        {
          code: ref('ErrorCode'),
          message: { type: 'string' },
          retryable: { type: 'boolean' },
          field: { type: 'string' },
          path: { type: 'string' },
          retryAfterMs: { type: 'integer', minimum: 0 },
        },
        ['field', 'path', 'retryAfterMs'],
      ),
      'Refuses one message. It does not close; a close may follow.',
    ),
    session_expiring: {
      summary: 'One minute before the session ends.',
      payload: object({ type: { const: 'session_expiring' }, data: object({ expiresAt: ref('Ms') }) }),
    },
    closing: {
      summary: 'Before every close that the node starts.',
      payload: object({
        type: { const: 'closing' },
        data: object({
          code: ref('CloseCode'),
          reason: { enum: Object.values(CLOSES) },
          retry: { type: 'boolean' },
          retryAfterMs: { type: 'integer', minimum: 0 },
        }),
      }),
    },
  };
  const events = Object.fromEntries(
    catalogue.events.map((event) => [
      event.name,
      { name: event.type, title: event.type, summary: event.summary, payload: ref(`${event.name}Event`) },
    ]),
  );
  return { sent, received, events };
}

const ANSWERS = {
  auth: ['welcome', 'error'],
  subscribe: ['subscribed', 'error'],
  unsubscribe: ['unsubscribed', 'error'],
  ping: ['pong', 'error'],
  presence: ['presence_count', 'error'],
  publish: ['published', 'error'],
};

const PUSHED = ['caught_up', 'session_expiring', 'closing'];

/** The text of `docs/asyncapi.json`. */
export function asyncapi(catalogue, version) {
  const { sent, received, events } = messages(catalogue);
  const all = { ...sent, ...received, ...events };
  const inChannel = (name) => ({ $ref: `#/channels/node/messages/${name}` });
  const operations = {};
  for (const [name, answers] of Object.entries(ANSWERS)) {
    operations[name] = {
      action: 'receive',
      channel: { $ref: '#/channels/node' },
      summary: sent[name].summary,
      messages: [inChannel(name)],
      reply: { channel: { $ref: '#/channels/node' }, messages: answers.map(inChannel) },
    };
  }
  operations.events = {
    action: 'send',
    channel: { $ref: '#/channels/node' },
    summary: 'Events, in one order.',
    messages: Object.keys(events).map(inChannel),
  };
  operations.notices = {
    action: 'send',
    channel: { $ref: '#/channels/node' },
    summary: 'What the node says unasked.',
    messages: PUSHED.map(inChannel),
  };
  return {
    asyncapi: '3.0.0',
    info: {
      title: 'omnicast WebSocket protocol',
      version,
      description:
        'Generated from src/policy/default.json by `npm run generate` in clients/. Do not edit. The rules behind the shapes are in protocol.md.',
    },
    defaultContentType: 'application/json',
    servers: { local: { host: '127.0.0.1:3001', protocol: 'ws', description: 'The default of the node.' } },
    channels: {
      node: {
        address: '/api/ws',
        description: 'One JSON object a text message, both ways.',
        messages: Object.fromEntries(
          Object.keys(all).map((name) => [name, { $ref: `#/components/messages/${name}` }]),
        ),
      },
    },
    operations,
    components: {
      messages: Object.fromEntries(
        Object.entries(all).map(([name, message]) => [name, { name, contentType: 'application/json', ...message }]),
      ),
      schemas: schemas(catalogue),
    },
  };
}
