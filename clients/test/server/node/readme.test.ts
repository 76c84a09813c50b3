// The blocks of the README, as they stand there: all are checked by `tsc`, and those that can be are run.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { configureEmitter, getEmitter } from 'omnicast/server';
import { afterAll, afterEach, beforeAll, expect, it, vi } from 'vitest';
import WebSocket from 'ws';
import { Node, order } from '../../node/node.js';

const ROOT = fileURLToPath(new URL('../../..', import.meta.url));
const text = readFileSync(join(ROOT, 'README.md'), 'utf8');
const blocks = [...text.matchAll(/^```(tsx?)\n(.*?)^```/gms)].map(([, language, code]) => ({
  language: language as 'ts' | 'tsx',
  code: code as string,
}));

let directory: string;
let node: Node;

beforeAll(async () => {
  // Below the package, so that its names are found.
  mkdirSync(join(ROOT, 'node_modules/.cache'), { recursive: true });
  directory = mkdtempSync(join(ROOT, 'node_modules/.cache/readme-'));
  node = await Node.start();
});
afterEach(() => {
  vi.restoreAllMocks();
  vi.unstubAllEnvs();
  vi.unstubAllGlobals();
});
afterAll(async () => {
  await node.end();
  rmSync(directory, { recursive: true, force: true });
});

/** Runs the block that has these words, with this replaced. Gives what it said on the console. */
async function run(words: string, replaced: Record<string, string> = {}): Promise<unknown[][]> {
  const block = blocks.find(({ code }) => code.includes(words));
  if (!block) throw new Error(`no block with ${words}`);
  let { code } = block;
  for (const [from, to] of Object.entries(replaced)) {
    expect(code).toContain(from);
    code = code.replace(from, to);
  }
  const file = join(directory, `run-${words.replace(/\W/g, '')}.ts`);
  writeFileSync(file, code);
  const said = vi.spyOn(console, 'log').mockImplementation(() => {});
  await import(/* @vite-ignore */ file);
  return said.mock.calls;
}

it('has types that hold', { timeout: 120_000 }, () => {
  const hasReact = existsSync(join(ROOT, 'src/react/index.ts'));
  const checked = blocks.filter(({ language }) => language === 'ts' || hasReact);
  checked.forEach(({ language, code }, n) => writeFileSync(join(directory, `block-${n}.${language}`), `${code}\nexport {};\n`));
  const configuration = {
    extends: join(ROOT, 'tsconfig.json'),
    compilerOptions: { noUnusedLocals: false, noUncheckedSideEffectImports: false, types: ['node'], typeRoots: [join(ROOT, 'node_modules/@types')] },
    include: ['block-*'],
    exclude: [],
  };
  writeFileSync(join(directory, 'tsconfig.json'), JSON.stringify(configuration));
  const tsc = join(ROOT, 'node_modules/.bin/tsc');
  let said = '';
  try {
    execFileSync(tsc, ['-p', directory], { encoding: 'utf8' });
  } catch (failure) {
    said = (failure as { stdout: string }).stdout;
  }
  expect(said).toBe('');
  expect(checked.length).toBeGreaterThanOrEqual(5);
});

it('goes live in one minute', async () => {
  vi.stubGlobal('WebSocket', WebSocket);
  const said = await run("from 'omnicast';", { 'ws://localhost:3001/api/ws': node.url });
  // Its client is its own: when it is live, the node counts it.
  await vi.waitFor(async () => {
    const { body } = await node.call('GET', '/api/ws/stats');
    expect(JSON.parse(body).connectionsByNamespace).toMatchObject({ orders: 1, products: 1 });
  }, 10_000);
  await node.post(order(1));
  await vi.waitFor(() => expect(said).toContainEqual(['New order:', 12.5]), 10_000);
});

it('emits from a backend', async () => {
  configureEmitter({ socketPath: node.control });
  const said = await run('emitInventoryEvent, emitOrderEvent');
  const [, id, ids] = said.find(([word]) => word === 'Published:') ?? [];
  expect(id).toMatch(/^\d+$/);
  expect((ids as string[]).length).toBe(2);
  await getEmitter().close();
  const { body } = await node.call('GET', '/api/events');
  const types = body.trim().split('\n').map((line) => JSON.parse(line).type).slice(-4);
  expect(types).toEqual(['order:created', 'system:notification', 'inventory:updated', 'inventory:low_stock']);
});

it('emits with an emitter of its own', async () => {
  await run('createEmitter', { '/run/omnicast/control.sock': node.control });
  const { body } = await node.call('GET', '/api/events');
  const types = body.trim().split('\n').map((line) => JSON.parse(line).type).slice(-3);
  expect(types).toEqual(['product:deleted', 'product:deleted', 'product:price_changed']);
});

it('makes a token', async () => {
  const said = await run('createToken');
  expect(said).toEqual([['Token:', expect.stringMatching(/^[\w-]+\.[\w-]+\.[\w-]+$/)]]);
});
