// Installs, type-checks and builds the examples against the package as it is published, and runs the shop in
// front of a real node. It takes minutes and asks the registry, so it is no part of `npm run check`.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import WebSocket from 'ws';

const at = (path) => fileURLToPath(new URL(path, import.meta.url));

function run(directory, ...command) {
  console.log(`\n== ${directory}: ${command.join(' ')}`);
  const env = { ...process.env, ...settings };
  const { status } = spawnSync(command[0], command.slice(1), { cwd: at(directory), env, stdio: 'inherit' });
  if (status !== 0) throw new Error(`${command.join(' ')} in ${directory} ended with ${status}`);
}

/** Starts a program on a port of the system's choice, and reads from its output which. */
function start(command, options) {
  const child = spawn(command[0], command.slice(1), { stdio: ['ignore', 'pipe', 'inherit'], ...options });
  running.push(child);
  return new Promise((resolve, reject) => {
    createInterface({ input: child.stdout }).on('line', (line) => {
      const port = /(?:ws|http):\/\/[^/]+:(\d+)/.exec(line)?.[1];
      if (port) resolve(Number(port));
    });
    child.on('exit', (status) => reject(new Error(`${command.join(' ')} ended with ${status}`)));
  });
}

const running = [];
const directory = mkdtempSync(join(tmpdir(), 'omnicast-'));
const settings = { NEXT_TELEMETRY_DISABLED: '1', WS_CONTROL_SOCKET: join(directory, 'control.sock') };

try {
  const built = ['release', 'debug'].map((profile) => at(`../../target/${profile}/omnicast`)).find(existsSync);
  const node = process.env.OMNICAST_BIN ?? built;
  if (!node) throw new Error('no node to test against: run `cargo build`, or name one by OMNICAST_BIN');
  const nodePort = await start([node], { env: { ...process.env, ...settings, WS_PORT: '0' } });
  // The shop is built for it: rewrites are fixed by then.
  settings.OMNICAST_ORIGIN = `http://127.0.0.1:${nodePort}`;

  run('..', 'npm', 'run', 'build');
  for (const example of ['react-native', 'nextjs']) {
    // npm takes a copy of the same version for the same.
    rmSync(at(`${example}/node_modules/omnicast`), { recursive: true, force: true });
    run(example, 'npm', 'install', '--ignore-scripts', '--no-audit', '--no-fund');
    if (example === 'nextjs') run(example, 'npm', 'run', 'build');
    run(example, 'npm', 'run', 'check');
  }

  const next = at('nextjs/node_modules/next/dist/bin/next');
  const env = { ...process.env, ...settings };
  const shopPort = await start([process.execPath, next, 'start', '-p', '0'], { cwd: at('nextjs'), env });

  // A page's connection, through the shop's own address.
  const shop = `http://127.0.0.1:${shopPort}`;
  const identity = await (await fetch(`${shop}/api/token`)).json();
  const socket = new WebSocket(`ws://127.0.0.1:${shopPort}/api/ws`, { origin: shop });
  const got = [];
  const until = (type) =>
    new Promise((resolve, reject) => {
      const look = () => got.some((message) => message.type === type) && resolve(got.find((message) => message.type === type));
      socket.on('message', look);
      socket.on('close', () => reject(new Error(`closed before ${type}`)));
      look();
    });
  socket.on('message', (text) => got.push(JSON.parse(String(text))));
  await new Promise((resolve, reject) => socket.on('open', resolve).on('error', reject));
  socket.send(JSON.stringify({ type: 'auth', data: identity }));
  socket.send(JSON.stringify({ type: 'subscribe', data: { namespace: 'orders' } }));
  await until('subscribed');
  const order = await (await fetch(`${shop}/api/orders`, { method: 'POST', body: '{"total":7}' })).json();
  const created = await until('order:created');
  if (created.data.orderId !== order.id || created.data.total !== 7) throw new Error(JSON.stringify(created));
  await fetch(`${shop}/api/orders/${order.id}`, { method: 'PATCH' });
  const changed = await until('order:status_changed');
  if (changed.data.newStatus !== 'processing') throw new Error(JSON.stringify(changed));
  const page = await (await fetch(shop)).text();
  for (const text of ['A small shop', order.id, 'Customers online', 'Latest sales', 'Processing']) {
    if (!page.includes(text)) throw new Error(`the page lacks ${text}`);
  }
  socket.close();
  console.log('\nthe examples work');
} finally {
  for (const child of running) {
    child.removeAllListeners('exit');
    child.kill();
  }
  rmSync(directory, { recursive: true, force: true });
}
