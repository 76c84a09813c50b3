// A control API that does as it is told: answers, breaks off, resets, stands still. It knows keys as a node does.
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createEmitter, type EmitError, type EmitterOptions } from 'omnicast/server';

export interface Posted {
  type: string;
  data: Record<string, unknown>;
  idempotencyKey: string;
  [field: string]: unknown;
}

export interface Request {
  readonly events: Posted[];
  readonly headers: IncomingMessage['headers'];
  readonly socket: Socket;
  readonly reply: ServerResponse;
  /** Publishes, as a node does: a key that was there before publishes nothing. Gives the body of the answer. */
  publish(): string;
  /** Answers like a node that has published. */
  accept(): void;
  answer(status: number, body: unknown, headers?: Record<string, string>): void;
}

type Handler = (request: Request, n: number) => void;

export class Wire {
  readonly #dir = mkdtempSync(join(tmpdir(), 'omnicast-'));
  readonly path = join(this.#dir, 'control.sock');
  readonly published: Posted[] = [];
  readonly requests: Posted[][] = [];
  readonly sockets = new Set<Socket>();
  readonly failures: EmitError[] = [];
  readonly #ids = new Map<string, string>();
  readonly #emitters: { close(options: { within: number }): Promise<void> }[] = [];
  #server: Server | undefined;
  handler: Handler = (request) => request.accept();

  static async start(handler?: Handler, port?: number): Promise<Wire> {
    const wire = new Wire();
    if (handler) wire.handler = handler;
    await wire.listen(port);
    return wire;
  }

  listen(port?: number): Promise<void> {
    this.#server = createServer((incoming, reply) => {
      let text = '';
      incoming.setEncoding('utf8');
      incoming.on('data', (chunk) => (text += chunk));
      incoming.on('end', () => {
        const events: Posted[] = JSON.parse(text);
        this.requests.push(events);
        const publish = () => {
          const ids = events.map((event) => {
            const known = this.#ids.get(event.idempotencyKey);
            if (known) return known;
            this.published.push(event);
            this.#ids.set(event.idempotencyKey, String(this.published.length));
            return String(this.published.length);
          });
          return JSON.stringify({ accepted: ids.length, ids });
        };
        const answer: Request['answer'] = (status, body, headers = {}) => {
          reply.writeHead(status, { 'Content-Type': 'application/json', ...headers });
          reply.end(typeof body === 'string' ? body : JSON.stringify(body));
        };
        const { headers, socket } = incoming;
        const accept = () => answer(200, publish());
        this.handler({ events, headers, socket, reply, publish, accept, answer }, this.requests.length);
      });
    });
    this.#server.on('connection', (socket) => {
      this.sockets.add(socket);
    });
    return new Promise((resolve) => this.#server?.listen(port ?? this.path, resolve));
  }

  get port(): number {
    return (this.#server?.address() as AddressInfo).port;
  }

  async stop(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    for (const socket of this.sockets) socket.destroy();
    await new Promise((resolve) => (server ? server.close(resolve) : resolve(undefined)));
  }

  async end(): Promise<void> {
    await Promise.all(this.#emitters.map((emitter) => emitter.close({ within: 0 })));
    await this.stop();
    rmSync(this.#dir, { recursive: true, force: true });
  }

  /** Whatever it fails with, without anybody waiting for it, is in `failures`. */
  emitter(options: EmitterOptions = {}) {
    const emitter = createEmitter({
      ...(options.url === undefined ? { socketPath: this.path } : {}),
      retryInterval: 2,
      maxRetryInterval: 10,
      onError: (error) => this.failures.push(error),
      ...options,
    });
    this.#emitters.push(emitter);
    return emitter;
  }

  /** The payload's ids of what was published, in order. */
  get products(): unknown[] {
    return this.published.map(({ data }) => data.productId);
  }
}

export const gone = (productId: string) => ({ type: 'product:deleted', data: { productId } }) as const;

/** What it was refused with. */
export const failure = (emitted: PromiseLike<unknown>) =>
  emitted.then(
    (value) => {
      throw new Error(`it was published: ${value}`);
    },
    (error: EmitError) => error,
  );
