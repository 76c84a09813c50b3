// The TypeScript types of the events.

const KINDS = {
  id: 'string',
  text: 'string',
  number: 'number',
  boolean: 'boolean',
  ms: 'number',
  object: 'Record<string, unknown>',
  roles: 'Role[]',
};

const NOTES = {
  ms: 'ms since the epoch',
  roles: 'only these roles',
};

const union = (values) => values.map((value) => `'${value}'`).join(' | ');

function field({ name, optional, kind, values, enum: named }) {
  const type = kind === 'enum' ? (named ?? union(values)) : KINDS[kind];
  const note = NOTES[kind] ? `  /** ${NOTES[kind]} */\n` : '';
  return `${note}  ${name}${optional ? '?' : ''}: ${type};\n`;
}

/** The text of `src/generated/events.ts`. */
export function typesText({ roles, namespaces, publishes, enums, events }) {
  const out = [
    '// Generated from src/policy/default.json by `npm run generate`. Do not edit.\n\n',
    `export type Role = ${union(roles)};\n\n`,
    `export type Namespace = ${union(namespaces)};\n\n`,
  ];
  for (const { name, values } of enums) out.push(`export type ${name} = ${union(values)};\n\n`);
  for (const event of events) {
    const { type, name, summary, namespace, fields } = event;
    out.push(`/** \`${type}\`, of \`${namespace}\`. ${summary} */\n`);
    out.push(`export interface ${name} {\n${fields.map(field).join('')}}\n\n`);
  }
  out.push('/** The payload of each event type. */\nexport interface EventMap {\n');
  for (const { type, name } of events) out.push(`  '${type}': ${name};\n`);
  out.push('}\n\n/** The event types of each namespace. */\nexport interface NamespaceMap {\n');
  for (const namespace of namespaces) {
    const types = events.filter((event) => event.namespace === namespace).map((event) => event.type);
    out.push(`  ${namespace}: ${union(types)};\n`);
  }
  const publishable = [...new Set(Object.values(publishes).flat())];
  out.push('}\n\n/** What a client may publish, by its role. The node itself says who did it. */\n');
  out.push('export interface PublishMap {\n');
  for (const { type, name, owner } of events.filter((event) => publishable.includes(event.type))) {
    const by = Object.keys(publishes).filter((role) => publishes[role].includes(type));
    const rest = owner ? `Omit<${name}, '${owner}'> & Partial<Pick<${name}, '${owner}'>>` : name;
    out.push(`  /** Role ${by.map((role) => `\`${role}\``).join(', ')}. */\n  '${type}': ${rest};\n`);
  }
  out.push('}\n');
  return out.join('');
}
