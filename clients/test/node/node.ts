// A node in its own process, on a port of the system's choice.
import { type ChildProcess, spawn } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { type ClientOptions, createClient, type LiveEvent, type SocketLike } from 'omnicast';
import WebSocket from 'ws';

export const SECRET = 'a secret of at least thirty-two bytes';

function binary(): string {
  const named = process.env.OMNICAST_BIN;
  if (named) return named;
  const built = ['release', 'debug']
    .map((profile) => fileURLToPath(new URL(`../../../target/${profile}/omnicast`, import.meta.url)))
    .find((path) => existsSync(path));
  if (!built) throw new Error('no node to test against: run `cargo build`, or name one by OMNICAST_BIN');
  return built;
}

export interface Reply {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  body: string;
}

export class Node {
  readonly #dir = mkdtempSync(join(tmpdir(), 'omnicast-'));
  readonly control = join(this.#dir, 'control.sock');
  readonly #clients: { disconnect(): void }[] = [];
  #process: ChildProcess | undefined;
  port = 0;

  private constructor(readonly settings: Record<string, string>) {}

  static async start(settings: Record<string, string> = {}): Promise<Node> {
    const node = new Node(settings);
    await node.run();
    return node;
  }

  /** Runs it: on any port, and again on the same one. */
  async run(): Promise<void> {
    const child = spawn(binary(), [], {
      env: { WS_SHARDS: '2', ...this.settings, WS_PORT: String(this.port), WS_CONTROL_SOCKET: this.control },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#process = child;
    let log = '';
    child.stderr?.on('data', (chunk) => (log += chunk));
    this.port = await new Promise<number>((resolve, reject) => {
      createInterface({ input: child.stdout as NonNullable<typeof child.stdout> }).on('line', (line) => {
        const port = /ws:\/\/[^:]+:(\d+)\//.exec(line)?.[1];
        if (port) resolve(Number(port));
      });
      child.on('exit', (status) => reject(new Error(`the node ended with ${status}: ${log}`)));
    });
    for (;;) if ((await this.call('GET', '/readyz')).status === 200) return;
  }

  async stop(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const child = this.#process;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill(signal);
    await ended;
  }

  /** Stands still, with all its sockets open; or goes on. */
  pause(paused: boolean): void {
    this.#process?.kill(paused ? 'SIGSTOP' : 'SIGCONT');
  }

  async end(): Promise<void> {
    for (const client of this.#clients) client.disconnect();
    await this.stop();
    rmSync(this.#dir, { recursive: true, force: true });
  }

  get url(): string {
    return `ws://127.0.0.1:${this.port}/api/ws`;
  }

  /** A request to the control socket. */
  call(method: string, path: string, body?: unknown): Promise<Reply> {
    return new Promise((resolve, reject) => {
      const text = body === undefined ? undefined : JSON.stringify(body);
      const headers = text === undefined ? {} : { 'Content-Length': Buffer.byteLength(text) };
      const sent = request({ socketPath: this.control, method, path, headers, agent: false }, (reply) => {
        let got = '';
        reply.setEncoding('utf8');
        reply.on('data', (chunk) => (got += chunk));
        reply.on('end', () => resolve({ status: reply.statusCode ?? 0, headers: reply.headers, body: got }));
      });
      sent.on('error', reject);
      sent.end(text);
    });
  }

  /** Posts events; they must be accepted. Returns their ids. */
  async post(events: unknown): Promise<string[]> {
    const { status, body } = await this.call('POST', '/api/events', events);
    if (status !== 200) throw new Error(`${status} ${body}`);
    return JSON.parse(body).ids;
  }

  identity(rest: object = {}) {
    return { userId: 'u1', role: 'admin', sessionId: 's1', expiresAt: Date.now() + 3_600_000, ...rest };
  }

  /** A client of this node, which keeps what it got. */
  client(options: ClientOptions = {}) {
    const client = createClient({
      url: this.url,
      auth: () => this.identity(),
      // Tests do not wait for the sake of waiting.
      reconnectInterval: 50,
      maxReconnectInterval: 200,
      WebSocket: WebSocket as unknown as new (url: string) => SocketLike,
      ...options,
    });
    const got: LiveEvent[] = [];
    const told: string[] = [];
    client.on('*', (event) => got.push(event));
    client.on('gap', (gap) => told.push(`gap ${gap.reason}`));
    client.on('recovered', ({ replayed }) => told.push(`recovered ${replayed}`));
    client.on('error', ({ code }) => told.push(`error ${code}`));
    this.#clients.push(client);
    /** Waits until the state is so. */
    const when = (is: (status: ReturnType<typeof client.status.getSnapshot>) => boolean) =>
      new Promise<void>((resolve) => {
        const look = () => is(client.status.getSnapshot()) && resolve();
        client.status.subscribe(look);
        look();
      });
    /** Waits until that many events have come. */
    const count = (n: number) =>
      new Promise<void>((resolve) => {
        const look = () => got.length >= n && resolve();
        client.on('*', look);
        look();
      });
    return Object.assign(client, { got, told, when, count });
  }
}

/** A token as the node takes it. */
export function token(claims: object, secret = SECRET): string {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const text = `${part({ alg: 'HS256', typ: 'JWT' })}.${part(claims)}`;
  return `${text}.${createHmac('sha256', secret).update(text).digest('base64url')}`;
}

export const order = (n: number, rest: object = {}) => ({
  type: 'order:created',
  data: {
    orderId: `order_${n}`,
    customerId: 'cust_1',
    customerName: 'Ada',
    total: 12.5,
    status: 'pending',
    channel: 'web',
  },
  ...rest,
});
