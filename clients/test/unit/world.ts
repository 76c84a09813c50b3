// A world for the client: a clock that stands still, sockets that go nowhere, dice that are loaded.
import { type Answer, type ClientOptions, createClient, type Runtime, type SocketLike } from 'omnicast';
import { expect } from 'vitest';

export interface Sent {
  type: string;
  id: number;
  /** What a test looks at. */
  data?: any;
}

export class FakeSocket implements SocketLike {
  onopen: ((event: never) => void) | null = null;
  onmessage: ((event: never) => void) | null = null;
  onclose: ((event: never) => void) | null = null;
  onerror: ((event: never) => void) | null = null;
  readonly sent: Sent[] = [];
  /** Set by the client's `close`. */
  closed: number | undefined;
  /** Whether `send` throws. */
  broken = false;

  constructor(readonly url: string) {}

  send(text: string): void {
    if (this.broken) throw new Error('broken');
    this.sent.push(JSON.parse(text));
  }

  close(code?: number): void {
    this.closed = code ?? 1005;
  }

  open(): void {
    this.onopen?.({} as never);
  }

  /** A text of the node, as it is. */
  raw(data: unknown): void {
    this.onmessage?.({ data } as never);
  }

  say(message: object): void {
    this.raw(JSON.stringify(message));
  }

  /** The node, or the network, closes. */
  shut(code = 1006, reason = ''): void {
    this.onclose?.({ code, reason } as never);
  }

  /** The last command of a type. */
  last(type: string): Sent {
    const found = this.all(type).at(-1);
    if (!found) throw new Error(`no ${type} was sent: ${JSON.stringify(this.sent)}`);
    return found;
  }

  all(type: string): Sent[] {
    return this.sent.filter((message) => message.type === type);
  }

  welcome(data: object = {}): void {
    this.say({
      type: 'system:notification',
      namespace: 'system',
      data: {
        title: 'Connected',
        message: 'Authentication successful',
        severity: 'success',
        connectionId: 'c1',
        userId: 'u1',
        role: 'admin',
        namespaces: ['orders', 'customers', 'products', 'inventory', 'payments', 'system'],
        expiresAt: 9_000_000,
        epoch: 'e1',
        lastEventId: '0',
        ...data,
      },
      timestamp: 1,
      replyTo: this.last('auth').id,
    });
  }

  /** Answers the last `subscribe`, or the one given. */
  subscribed(data: object = {}, command: Sent = this.last('subscribe')): void {
    const { namespaces } = command.data;
    this.say({ type: 'subscribed', id: command.id, data: { namespaces, epoch: 'e1', lastEventId: '0', ...data } });
  }

  event(id: string, rest: object = {}): void {
    this.say({ type: 'order:deleted', namespace: 'orders', data: { orderId: `o${id}` }, timestamp: 1, ...rest, id });
  }

  caughtUp(namespaces: string[], replayed = 0): void {
    this.say({ type: 'caught_up', data: { namespaces, replayed } });
  }

  refuse(code: string, rest: object = {}, command: Sent | undefined = this.sent.at(-1)): void {
    this.say({ type: 'error', id: command?.id, data: { code, message: code, retryable: false, ...rest } });
  }
}

export class World implements Runtime {
  time = 1_000_000;
  /** What the next dice show; 0.5 when there is none. */
  dice: number[] = [];
  readonly sockets: FakeSocket[] = [];
  readonly #timers = new Set<{ at: number; call: () => void }>();
  readonly #wakers = new Set<() => void>();
  readonly WebSocket: new (url: string) => FakeSocket;
  /** Whether a new socket throws. */
  refusesSockets = false;

  constructor() {
    const world = this;
    this.WebSocket = class extends FakeSocket {
      constructor(url: string) {
        super(url);
        if (world.refusesSockets) throw new Error('refused');
        world.sockets.push(this);
      }
    };
  }

  now = () => this.time;
  random = () => this.dice.shift() ?? 0.5;

  timer = (ms: number, call: () => void) => {
    const timer = { at: this.time + ms, call };
    this.#timers.add(timer);
    return () => void this.#timers.delete(timer);
  };

  onWake = (call: () => void) => {
    this.#wakers.add(call);
    return () => void this.#wakers.delete(call);
  };

  wake(): void {
    for (const call of this.#wakers) call();
  }

  get wakers(): number {
    return this.#wakers.size;
  }

  get timers(): number {
    return this.#timers.size;
  }

  /** When the next timer is due, from now. */
  get next(): number {
    return Math.min(...[...this.#timers].map((timer) => timer.at)) - this.time;
  }

  /** The clock jumps; no timer fires before `advance`. */
  sleep(ms: number): void {
    this.time += ms;
  }

  /** Lets promises settle. */
  async settle(): Promise<void> {
    for (let i = 0; i < 20; i += 1) await Promise.resolve();
  }

  async advance(ms: number): Promise<void> {
    const until = this.time + ms;
    for (;;) {
      await this.settle();
      const due = [...this.#timers].filter((timer) => timer.at <= until).sort((a, b) => a.at - b.at)[0];
      if (!due) break;
      this.#timers.delete(due);
      this.time = Math.max(this.time, due.at);
      due.call();
    }
    this.time = until;
    await this.settle();
  }

  get socket(): FakeSocket {
    const socket = this.sockets.at(-1);
    if (!socket) throw new Error('no socket');
    return socket;
  }

  client(options: ClientOptions = {}) {
    const client = createClient({ url: 'ws://node', auth: 'token', ...options }, this);
    const errors: string[] = [];
    client.on('error', (error) => errors.push(error.code));
    return Object.assign(client, { errors, phase: () => client.status.getSnapshot().phase });
  }

  /** A client that is live. */
  async live(options: ClientOptions = {}, welcome: object = {}) {
    const client = this.client(options);
    void client.connect();
    await this.settle();
    await this.accept(welcome);
    return client;
  }

  /** The node accepts the newest socket. */
  async accept(welcome: object = {}): Promise<FakeSocket> {
    await this.settle();
    this.socket.open();
    this.socket.welcome(welcome);
    await this.settle();
    return this.socket;
  }

  /** The connection breaks, and the next one is accepted. */
  async comeBack(welcome: object = {}): Promise<FakeSocket> {
    const before = this.sockets.length;
    this.socket.shut();
    await this.advance(this.next);
    expect(this.sockets.length).toBe(before + 1);
    return this.accept(welcome);
  }
}

export type { Answer };
