// A shop in a real browser: its pages, what is in front of the node, and the browser.
import { existsSync, readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { type Browser, type BrowserContext, chromium, type Page } from 'playwright-core';
import type { Node } from '../node/node.js';

/** The origin of the pages, in the browser; where it leads is of the system's choice. */
export const ORIGIN = 'http://localhost:3000';

const file = (path: string) => fileURLToPath(new URL(path, import.meta.url));

function browserPath(): string {
  const found = [process.env.CHROMIUM, '/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(
    (path) => path && existsSync(path),
  );
  if (!found) throw new Error('no Chromium: install the package `chromium`, or name one by CHROMIUM');
  return found;
}

export class Site {
  /** Sockets that pages have opened. */
  sockets = 0;
  /** Whether pages reach the node. */
  isOpen = true;
  /** What `/token` gives, by why it is asked for; `undefined` = the service is down. */
  token: (reason: string) => string | undefined = () => undefined;
  readonly #pairs = new Set<[Duplex, Socket]>();
  #node: Node | undefined;

  private constructor(
    readonly server: Server,
    readonly browser: Browser,
    readonly scripts: ReadonlyMap<string, string>,
  ) {
    server.on('request', (request, reply) => {
      const { pathname, searchParams } = new URL(request.url ?? '/', ORIGIN);
      const script = scripts.get(pathname.slice(1));
      if (pathname === '/token') {
        const token = this.token(searchParams.get('reason') ?? '');
        reply.writeHead(token ? 200 : 503).end(token);
      } else if (pathname === '/styles.css') {
        reply.writeHead(200, { 'Content-Type': 'text/css' }).end(readFileSync(file('../../src/react/styles.css')));
      } else if (script !== undefined) {
        reply.writeHead(200, { 'Content-Type': 'text/javascript' }).end(script);
      } else {
        reply.writeHead(200, { 'Content-Type': 'text/html' }).end(
          `<!doctype html><html lang="en"><meta charset="utf-8"><title>Shop</title>
          <link rel="icon" href="data:,"><link rel="stylesheet" href="/styles.css">
          <style>body { font: 15px/1.45 system-ui, sans-serif; margin: 24px; background: #f4f5f7 }</style>
          <div id="root"></div><script type="module" src="${pathname}.js"></script></html>`,
        );
      }
    });
    server.on('upgrade', (request: IncomingMessage, near: Duplex, head: Buffer) => this.#pass(request, near, head));
  }

  static async open(): Promise<Site> {
    const { outputFiles } = await build({
      entryPoints: ['dashboard', 'basic', 'session', 'blank', 'tabs'].map((name) => file(`pages/${name}.tsx`)),
      outdir: '/',
      bundle: true,
      format: 'esm',
      jsx: 'automatic',
      define: { 'process.env.NODE_ENV': '"development"' },
      tsconfig: file('../../tsconfig.json'),
      write: false,
      logLevel: 'error',
    });
    const scripts = new Map(outputFiles.map(({ path, text }) => [path.replace(/^.*\//, ''), text]));
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    const browser = await chromium.launch({
      executablePath: browserPath(),
      args: [
        '--no-sandbox',
        '--disable-background-networking',
        '--disable-component-update',
        '--disable-sync',
        '--disable-default-apps',
        '--disable-domain-reliability',
        '--no-first-run',
        '--no-pings',
        `--host-resolver-rules=MAP localhost:3000 127.0.0.1:${port}, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1`,
      ],
    });
    return new Site(server, browser, scripts);
  }

  /** From now on pages reach this node. */
  use(node: Node): void {
    this.#node = node;
    this.sockets = 0;
    this.isOpen = true;
  }

  /** A browser of its own, as it were: pages of one share what a browser's tabs do. */
  context(): Promise<BrowserContext> {
    return this.browser.newContext({ viewport: { width: 980, height: 640 }, deviceScaleFactor: 2 });
  }

  /** A new page, with all that it says on its console and all that it fails at. */
  async page(name: string, among?: BrowserContext): Promise<Page & { said: string[] }> {
    const context = among ?? (await this.context());
    const page = await context.newPage();
    const said: string[] = [];
    page.on('console', (message) => said.push(message.text()));
    page.on('pageerror', (error) => said.push(String(error)));
    await page.goto(`${ORIGIN}/${name}`);
    return Object.assign(page, { said });
  }

  #pass(request: IncomingMessage, near: Duplex, head: Buffer): void {
    if (!this.isOpen || !this.#node) {
      near.destroy();
      return;
    }
    this.sockets += 1;
    const far = connect(this.#node.port, '127.0.0.1');
    const pair: [Duplex, Socket] = [near, far];
    this.#pairs.add(pair);
    const { rawHeaders } = request;
    const lines = rawHeaders.flatMap((name, i) => (i % 2 === 0 ? [`${name}: ${rawHeaders[i + 1]}`] : []));
    far.write(`GET ${request.url} HTTP/1.1\r\n${lines.join('\r\n')}\r\n\r\n`);
    far.write(head);
    near.pipe(far);
    far.pipe(near);
    const end = () => {
      for (const socket of pair) socket.destroy();
      this.#pairs.delete(pair);
    };
    for (const socket of pair) socket.on('error', end).on('close', end);
  }

  /** Nothing passes any more on the connections of now, and nobody is told. */
  hold(): void {
    for (const [near, far] of this.#pairs) {
      near.unpipe(far);
      far.unpipe(near);
      near.pause();
      far.pause();
    }
  }

  /** Stops the clock of all pages, as a lid that is closed does; or lets them go on. */
  async sleep(asleep: boolean): Promise<void> {
    const devtools = await this.browser.newBrowserCDPSession();
    const { processInfo } = await devtools.send('SystemInfo.getProcessInfo');
    for (const { type, id } of processInfo) if (type === 'renderer') process.kill(id, asleep ? 'SIGSTOP' : 'SIGCONT');
    await devtools.detach();
  }

  async end(): Promise<void> {
    await this.browser.close();
    for (const pair of this.#pairs) for (const socket of pair) socket.destroy();
    await new Promise((resolve) => this.server.close(resolve));
  }
}
