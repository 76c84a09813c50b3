// JSON Schema of the payloads and of the events, in the dialect 2020-12.

const ID_DESCRIPTION = 'At most 256 bytes, no control characters.';
const ID_PATTERN = '^[^\\u0000-\\u001F\\u007F-\\u009F]*$';

/** The definitions that others build on. `at` is where definitions live, such as `#/$defs/`. */
function base({ roles, namespaces, enums }) {
  return {
    Id: { type: 'string', minLength: 1, maxLength: 256, pattern: ID_PATTERN, description: ID_DESCRIPTION },
    Ms: { type: 'integer', minimum: 0, description: 'ms since the epoch' },
    Position: {
      type: 'string',
      minLength: 1,
      description:
        'The id of an event: opaque to applications. Within an epoch it grows: of two ids the longer one is newer, and of two of the same length the one that sorts last.',
    },
    Role: { type: 'string', enum: roles },
    Namespace: { type: 'string', enum: namespaces },
    ...Object.fromEntries(enums.map(({ name, values }) => [name, { type: 'string', enum: values }])),
  };
}

function fieldSchema({ optional, kind, values, enum: named }, at) {
  switch (kind) {
    case 'id':
      // An optional id may be empty.
      return optional
        ? { type: 'string', maxLength: 256, pattern: ID_PATTERN, description: ID_DESCRIPTION }
        : { $ref: `${at}Id` };
    case 'text':
      return { type: 'string' };
    case 'ms':
      return { $ref: `${at}Ms` };
    case 'roles':
      return { type: 'array', items: { $ref: `${at}Role` }, minItems: 1, maxItems: 1024 };
    case 'enum':
      return named ? { $ref: `${at}${named}` } : { type: 'string', enum: values };
    default:
      return { type: kind };
  }
}

function payloadSchema({ type, summary, fields, key, owner }, at) {
  const notes = [key && `Key: \`${key}\`.`, owner && `Owner: \`${owner}\`.`].filter(Boolean);
  return {
    type: 'object',
    title: `data of ${type}`,
    description: [summary, ...notes, 'Further fields pass through unchanged.'].join(' '),
    required: fields.filter((field) => !field.optional).map((field) => field.name),
    properties: Object.fromEntries(fields.map((field) => [field.name, fieldSchema(field, at)])),
    additionalProperties: true,
  };
}

function eventSchema({ type, name, summary, namespace }, at) {
  return {
    type: 'object',
    title: type,
    description: summary,
    required: ['type', 'namespace', 'data', 'timestamp', 'id'],
    properties: {
      type: { const: type },
      namespace: { const: namespace },
      data: { $ref: `${at}${name}` },
      timestamp: { $ref: `${at}Ms` },
      id: { $ref: `${at}Position` },
    },
  };
}

/** All definitions: the base, `OrderCreated` (a payload) and `OrderCreatedEvent` for each type. */
export function definitions(catalogue, at) {
  const out = base(catalogue);
  for (const event of catalogue.events) out[event.name] = payloadSchema(event, at);
  for (const event of catalogue.events) out[`${event.name}Event`] = eventSchema(event, at);
  return out;
}

/** The text of `docs/schemas/events.schema.json`: any event as a client gets it. */
export function eventsSchema(catalogue) {
  return {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    $id: 'urn:omnicast:events',
    title: 'An event as the omnicast node sends it',
    description: 'Generated from src/policy/default.json by `npm run generate` in clients/. Do not edit.',
    oneOf: catalogue.events.map(({ name }) => ({ $ref: `#/$defs/${name}Event` })),
    $defs: definitions(catalogue, '#/$defs/'),
  };
}
