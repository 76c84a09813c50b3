// The OpenAPI document of the control API. What is not in the catalogue is written down here.
import { definitions } from './schema.mjs';

const AT = '#/components/schemas/';
const ref = (name) => ({ $ref: `${AT}${name}` });
const json = (schema) => ({ 'application/json': { schema } });

const integer = { type: 'integer', minimum: 0 };
const text = { type: 'string' };
const counts = { type: 'object', additionalProperties: integer };

const object = (properties, optional = [], rest = {}) => ({
  type: 'object',
  required: Object.keys(properties).filter((name) => !optional.includes(name)),
  properties,
  ...rest,
});

const refusal = (description, retry = false) => ({
  description,
  ...(retry && { headers: { 'Retry-After': { schema: integer, description: 'seconds' } } }),
  content: json(ref('Refusal')),
});

const HEALTH = object({ status: { enum: ['ok', 'starting', 'draining'] } });

const health = (summary) => ({
  summary,
  responses: {
    200: { description: 'Yes.', content: json(HEALTH) },
    503: { description: 'No.', content: json(HEALTH) },
  },
});

function postedEvent({ type, name, summary, namespace }) {
  return {
    title: type,
    description: summary,
    allOf: [ref('Posted')],
    type: 'object',
    required: ['type', 'data'],
    properties: { type: { const: type }, namespace: { const: namespace }, data: ref(name) },
  };
}

function schemas(catalogue) {
  const ids = { type: 'array', items: ref('Id'), minItems: 1, maxItems: 1024 };
  const roles = { type: 'array', items: ref('Role'), minItems: 1, maxItems: 1024 };
  const kept = definitions(catalogue, AT);
  for (const { name } of catalogue.events) delete kept[`${name}Event`];
  return {
    ...kept,
    Posted: {
      description: 'What every posted event may have beside `type` and `data`.',
      type: 'object',
      properties: {
        type: text,
        data: { type: 'object' },
        namespace: ref('Namespace'),
        timestamp: ref('Ms'),
        roles: { ...roles, description: 'Only these roles.' },
        targetRoles: { ...roles, description: 'Another name of `roles`.' },
        userIds: { ...ids, description: 'Only these users.' },
        excludeUserIds: { ...ids, description: 'Never these users.' },
        excludeSessionId: { ...ref('Id'), description: 'Never this session.' },
        key: { ...ref('Id'), description: 'The entity, where it is not the one in `data`.' },
        idempotencyKey: { ...ref('Id'), description: 'Posting it again publishes nothing and answers the first id.' },
      },
    },
    PostedEvent: {
      oneOf: catalogue.events.map(({ name }) => ref(`Posted${name}`)),
      discriminator: {
        propertyName: 'type',
        mapping: Object.fromEntries(catalogue.events.map(({ type, name }) => [type, `${AT}Posted${name}`])),
      },
    },
    ...Object.fromEntries(
      catalogue.events.map((event) => [
        `Posted${event.name}`,
        { ...postedEvent(event), unevaluatedProperties: false },
      ]),
    ),
    Refusal: object({ error: object({ code: text, message: text }) }),
    Fault: object({
      index: integer,
      path: { ...text, description: 'Dotted, such as `data.total`; empty for the event as a whole.' },
      code: {
        enum: [
          'missing', 'wrong_type', 'bad_value', 'unknown_type', 'unknown_role', 'unknown_field',
          'namespace_mismatch', 'empty_list', 'too_large',
        ],
      },
      message: text,
    }),
    Faults: object({ errors: { type: 'array', items: ref('Fault') } }),
    Accepted: object({ accepted: integer, ids: { type: 'array', items: ref('Position') } }),
    Connection: object(
      {
        id: text,
        phase: text,
        userId: text,
        sessionId: text,
        role: ref('Role'),
        namespaces: { type: 'array', items: ref('Namespace') },
        keys: integer,
        address: text,
        connectedAt: ref('Ms'),
        expiresAt: ref('Ms'),
        backlogBytes: integer,
      },
      ['userId', 'sessionId', 'role', 'namespaces', 'keys', 'expiresAt', 'backlogBytes'],
    ),
    Statistics: object({
      totalConnections: integer,
      authenticatedConnections: integer,
      connectionsByRole: counts,
      connectionsByNamespace: counts,
      customersOnline: integer,
      backlogBytes: integer,
      eventsAccepted: integer,
      eventsHeld: integer,
      epoch: text,
      lastEventId: text,
      shards: integer,
    }),
    Info: object({
      status: { enum: ['ok', 'draining'] },
      version: text,
      path: text,
      roles: { type: 'array', items: text },
      namespaces: { type: 'object', additionalProperties: { type: 'array', items: text } },
      auth: object({
        mode: { enum: ['jwt', 'trusted'] },
        fields: { type: 'array', items: text },
        timeoutMs: integer,
      }),
      heartbeat: object({ pingIntervalMs: integer, pongTimeoutMs: integer }),
      limits: counts,
    }),
  };
}

const query = (name, description, schema) => ({ name, in: 'query', description, schema });

const kick = (what) => ({
  summary: `Ends every connection of a ${what} with 4004.`,
  parameters: [{ name: 'id', in: 'path', required: true, schema: ref('Id') }],
  responses: {
    200: {
      description: 'Done: not one more byte of an event is written to them.',
      content: json(object({ closed: integer })),
    },
    404: refusal('Nobody is connected by that id.'),
  },
});

/** The text of `docs/openapi.json`. */
export function openapi(catalogue, version) {
  const events = {
    post: {
      summary: 'Publishes events: all of the request, or none.',
      requestBody: {
        required: true,
        description: 'One event, an array, or one JSON text a line. The shape decides, not `Content-Type`.',
        content: {
          'application/json': {
            schema: { oneOf: [ref('PostedEvent'), { type: 'array', items: ref('PostedEvent'), maxItems: 65536 }] },
          },
          'application/x-ndjson': { schema: { type: 'string', description: 'One event a line.' } },
        },
      },
      responses: {
        200: { description: 'Every event has its place in the order.', content: json(ref('Accepted')) },
        400: {
          description: 'Not JSON.',
          content: json({ oneOf: [ref('Refusal'), object({ errors: { type: 'array', items: { type: 'object' } } })] }),
        },
        413: { description: 'Too large.', content: json({ oneOf: [ref('Refusal'), ref('Faults')] }) },
        422: { description: 'An event is not right. Nothing was published.', content: json(ref('Faults')) },
        503: refusal('The node cannot keep up. Nothing was published; send the same again later.', true),
      },
    },
    get: {
      summary: 'The events that the node still holds, oldest first.',
      parameters: [
        query('since', 'Begin behind this id.', text),
        query('epoch', 'The epoch of `since`.', text),
        query('namespace', 'One or several, separated by commas.', text),
        query('limit', 'By default 1000.', { type: 'integer', minimum: 1, maximum: 65536, default: 1000 }),
      ],
      responses: {
        200: {
          description: 'One event a line.',
          headers: {
            'Omnicast-Epoch': { schema: text },
            'Omnicast-Last-Event-Id': { schema: text },
            'Omnicast-More': { schema: { const: 'true' }, description: 'There are more; ask again with the last id.' },
            'Omnicast-Gap': { schema: { const: 'true' }, description: 'Events after `since` are no longer held.' },
          },
          content: { 'application/x-ndjson': { schema: text } },
        },
        400: refusal('A parameter is wrong: `bad_limit`, `bad_position`, `epoch_changed`, `unknown_namespace`.'),
      },
    },
  };
  return {
    openapi: '3.1.0',
    info: {
      title: 'omnicast control API',
      version,
      description:
        'Generated from src/policy/default.json by `npm run generate` in clients/. Do not edit. The rules behind the shapes are in control-api.md. The API listens on a Unix socket, where no token is asked for, and on TCP where `WS_CONTROL_ADDR` is set.',
      license: { name: 'MIT OR Apache-2.0', identifier: 'MIT OR Apache-2.0' },
    },
    servers: [{ url: 'http://localhost', description: 'The host means nothing on a Unix socket.' }],
    security: [{}, { token: [] }],
    paths: {
      '/api/events': events,
      '/api/connections': {
        get: {
          summary: 'Lists connections, in pages.',
          parameters: [
            query('after', 'The `next` of another page.', text),
            query('limit', 'By default 100.', { type: 'integer', minimum: 1, maximum: 1000, default: 100 }),
          ],
          responses: {
            200: {
              description: 'A page.',
              content: json(
                object({
                  connections: { type: 'array', items: ref('Connection') },
                  next: { type: ['string', 'null'] },
                }),
              ),
            },
            400: refusal('`bad_limit` or `bad_cursor`.'),
            503: refusal('A shard does not answer.', true),
          },
        },
      },
      '/api/sessions/{id}': { delete: kick('session') },
      '/api/users/{id}': { delete: kick('user') },
      '/api/drain': {
        post: {
          summary: 'Sends everybody away, spread over time.',
          responses: { 202: { description: 'Under way.', content: json(object({ draining: { const: true } })) } },
        },
      },
      '/api/ws/stats': {
        get: {
          summary: 'Counts, true at the moment of asking.',
          responses: {
            200: { description: 'The counts.', content: json(ref('Statistics')) },
            503: refusal('A shard does not answer.', true),
          },
        },
      },
      '/api/ws/info': {
        get: {
          summary: 'What clients are told.',
          responses: { 200: { description: 'About the node.', content: json(ref('Info')) } },
        },
      },
      '/metrics': {
        get: {
          summary: 'Metrics in the Prometheus text format.',
          responses: { 200: { description: 'The metrics.', content: { 'text/plain': { schema: text } } } },
        },
      },
      '/healthz': { get: health('Whether the node is alive.') },
      '/readyz': { get: health('Whether the node takes clients.') },
    },
    components: {
      securitySchemes: {
        token: { type: 'http', scheme: 'bearer', description: 'Over TCP: the value of `WS_CONTROL_TOKEN`.' },
      },
      schemas: schemas(catalogue),
    },
  };
}
