// What is written twice must say the same: the pages in docs/, the generated documents, the client.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { Validator } from '@seriousme/openapi-schema-validator';
import { Ajv } from 'ajv';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { describe, expect, it } from 'vitest';
import { CLOSES, ERROR_CODES } from '../../scripts/asyncapi.mjs';
import { BORN, step } from '../../src/client/lifecycle.js';

const read = (path: string) => readFileSync(new URL(`../../../${path}`, import.meta.url), 'utf8');
const json = (path: string) => JSON.parse(read(path));

/** The rows of a table of a page, below this heading, as their cells. */
function rows(page: string, heading: string): string[][] {
  const section = read(page).split(`\n## ${heading}\n`)[1]?.split('\n## ')[0] ?? '';
  return section
    .split('\n')
    .filter((line) => line.startsWith('|') && !line.startsWith('|---'))
    .slice(1)
    .map((line) => line.split('|').slice(1, -1).map((cell) => cell.trim()));
}

describe('the closes of docs/protocol.md', () => {
  const closes = rows('docs/protocol.md', 'Closes').filter(([code]) => /^\d+$/.test(code ?? ''));

  it('are those of the documents', () => {
    const listed = Object.fromEntries(closes.map(([code, reason]) => [code, reason?.replaceAll('`', '')]));
    expect(listed).toEqual(CLOSES);
  });

  for (const [code, reason, , action = ''] of closes) {
    it(`${code} ${reason}: the client does what the page says: ${action}`, () => {
      const life = { ...BORN, phase: 'live' as const, turn: 1 };
      const world = { now: 1, random: () => 0, heard: 0, heardAt: 0, renewable: true, rules: {} };
      const cause = { code: Number(code), reason: 'x' };
      const { phase } = step(life, world, { type: 'lost', turn: 1, cause }).life;
      expect(phase).toBe(action.startsWith('stay away') ? 'closed' : 'waiting');
      if (!action.startsWith('stay away')) expect(action).toContain('come back');
    });
  }
});

describe('the errors of docs/protocol.md', () => {
  it('are those of the documents', () => {
    const codes = rows('docs/protocol.md', 'Errors').map(([code]) => code?.replaceAll('`', ''));
    expect([...codes].sort()).toEqual([...ERROR_CODES].sort());
  });
});

describe('docs/asyncapi.json', () => {
  it('is a sound AsyncAPI document', () => {
    const meta = createRequire(import.meta.url)('@asyncapi/specs/schemas/3.0.0.json');
    const ajv = new Ajv({ strict: false, validateFormats: false, meta: false, validateSchema: false });
    const validate = ajv.compile(meta);
    validate(json('docs/asyncapi.json'));
    expect(validate.errors ?? []).toEqual([]);
  });

  it('points only to what is there', () => {
    const document = json('docs/asyncapi.json');
    const look = (value: unknown): void => {
      if (typeof value !== 'object' || value === null) return;
      const { $ref } = value as { $ref?: string };
      if ($ref) {
        const path = $ref.slice(2).split('/');
        const target = path.reduce((at: unknown, name) => (at as Record<string, unknown> | undefined)?.[name], document);
        expect(target, $ref).toBeDefined();
      }
      Object.values(value).forEach(look);
    };
    look(document);
  });
});

describe('docs/openapi.json', () => {
  it('is a sound OpenAPI document', async () => {
    const { valid, errors } = await new Validator().validate(json('docs/openapi.json'));
    expect(errors ?? []).toEqual([]);
    expect(valid).toBe(true);
  });

  it('has every request of docs/control-api.md', () => {
    const page = read('docs/control-api.md').split('\n## ')[0] ?? '';
    const named = [...page.matchAll(/`(GET|POST|DELETE) (\/\S+?)`/g)].map(
      ([, method, path]) => `${method} ${path?.replace(/\/ID$/, '/{id}')}`,
    );
    const { paths } = json('docs/openapi.json');
    const listed = Object.entries(paths).flatMap(([path, row]) =>
      Object.keys(row as object).map((method) => `${method.toUpperCase()} ${path}`),
    );
    expect([...new Set(named)].sort()).toEqual(listed.sort());
  });
});

describe('docs/schemas/events.schema.json', () => {
  const validate = new Ajv2020({ strict: false }).compile(json('docs/schemas/events.schema.json'));
  const event = (type: string, namespace: string, data: object) => ({ type, namespace, data, timestamp: 1, id: '1' });

  it('takes what the node sends', () => {
    expect(validate(event('order:deleted', 'orders', { orderId: 'o', more: [1] }))).toBe(true);
    expect(validate(event('system:maintenance', 'system', { message: 'm', scheduledAt: 5 }))).toBe(true);
  });

  it('takes nothing else', () => {
    expect(validate(event('order:deleted', 'orders', {}))).toBe(false);
    expect(validate(event('order:deleted', 'orders', { orderId: '' }))).toBe(false);
    expect(validate(event('order:deleted', 'orders', { orderId: 'a\nb' }))).toBe(false);
    expect(validate(event('order:deleted', 'products', { orderId: 'o' }))).toBe(false);
    expect(validate(event('order:eaten', 'orders', { orderId: 'o' }))).toBe(false);
    expect(validate(event('system:maintenance', 'system', { message: 'm', scheduledAt: 5.5 }))).toBe(false);
    expect(validate(event('customer:online', 'customers', { customerId: 'c', isOnline: 'yes', lastSeen: 1 }))).toBe(
      false,
    );
  });
});
