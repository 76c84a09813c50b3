// The blocks of the README, as they stand there: all are checked by `tsc`, and those that can be are run.
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
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

/** What `tsc` says of a project in this directory. */
function check(project: string, configuration: object): string {
  writeFileSync(join(project, 'tsconfig.json'), JSON.stringify(configuration));
  try {
    execFileSync(join(ROOT, 'node_modules/.bin/tsc'), ['-p', project], { encoding: 'utf8' });
    return '';
  } catch (failure) {
    return (failure as { stdout: string }).stdout;
  }
}

const OPTIONS = { noUnusedLocals: false, noUncheckedSideEffectImports: false, types: ['node'], typeRoots: [join(ROOT, 'node_modules/@types')] };

it('has types that hold', { timeout: 120_000 }, () => {
  const project = mkdtempSync(join(directory, 'types-'));
  blocks.forEach(({ language, code }, n) => writeFileSync(join(project, `block-${n}.${language}`), `${code}\nexport {};\n`));
  expect(check(project, { extends: join(ROOT, 'tsconfig.json'), compilerOptions: OPTIONS, include: ['*'], exclude: [] })).toBe('');
  expect(blocks.length).toBeGreaterThanOrEqual(5);
});

it('has types that hold without those of a browser', { timeout: 120_000 }, () => {
  // As they are published: what is behind the declarations may use the browser.
  const declared = mkdtempSync(join(directory, 'declared-'));
  for (const part of ['tsconfig.build.json', 'tsconfig.server.json']) {
    execFileSync(join(ROOT, 'node_modules/.bin/tsc'), ['-p', join(ROOT, part), '--emitDeclarationOnly', '--outDir', declared]);
  }
  const paths = Object.fromEntries(['client', 'tabs', 'server'].map((entry) => [
    entry === 'client' ? 'omnicast' : `omnicast/${entry}`,
    [join(declared, entry, 'index.d.ts')],
  ]));
  const project = mkdtempSync(join(directory, 'bare-'));
  blocks.forEach(({ language, code }, n) => {
    if (language === 'ts') writeFileSync(join(project, `block-${n}.ts`), `${code}\nexport {};\n`);
  });
  const compilerOptions = { ...OPTIONS, lib: ['ES2022'], paths, skipLibCheck: false };
  expect(check(project, { extends: join(ROOT, 'tsconfig.json'), compilerOptions, include: ['*'], exclude: [] })).toBe('');
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
