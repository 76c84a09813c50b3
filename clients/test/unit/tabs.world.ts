// A browser with tabs, and a node that does what docs/protocol.md says; both in this process.
import { expect } from 'vitest';
import type { LiveEvent } from '../../src/client/types.js';
import { type ChannelLike, type LocksLike, shareAcrossTabs, type TabsOptions, type TabsRuntime } from '../../src/tabs/index.js';
import { FakeSocket, World } from './world.js';

interface Logged {
  readonly id: number;
  readonly namespace: string;
  readonly key: string;
  readonly data: object;
  /** Needs no subscription. */
  readonly isAddressed: boolean;
}

interface Replay {
  readonly namespaces: readonly string[];
  after: number;
  readonly until: number;
  readonly unaskedUntil: number;
  sent: number;
}

const NAMESPACES = ['orders', 'products', 'payments', 'system'];

/** One connection as the node sees it: live, or behind as long as there is something to catch up. */
class Connection {
  readonly subscriptions = new Map<string, readonly string[] | undefined>();
  readonly #replays: Replay[] = [];
  readonly #skips = new Map<string, number>();
  #isBehind = false;
  #seen: number;
  #reachedAfter: number;

  constructor(
    readonly node: FakeNode,
    readonly socket: FakeSocket,
  ) {
    this.#seen = this.#reachedAfter = node.log.length;
  }

  get #sentUpTo(): string {
    return String(Math.min(this.#seen, ...this.#replays.map((replay) => replay.after)));
  }

  take({ type, id, data }: { type: string; id: unknown; data: Record<string, any> }): void {
    const { node, socket } = this;
    const say = (message: object) => socket.say({ ...message, id });
    if (node.refuses(type, data)) return say({ type: 'error', data: { code: 'rate_limited', message: '', retryable: true } });
    if (type === 'auth') {
      node.auths.push(data);
      socket.welcome({ epoch: node.epoch, lastEventId: this.#sentUpTo, namespaces: node.allowed, userId: data.token, expiresAt: node.auths.length });
    } else if (type === 'subscribe' || type === 'unsubscribe') {
      this.#pump();
      const { namespaces, keys, since } = data as { namespaces: string[]; keys?: string[]; since?: { epoch: string; id: string } };
      if (!namespaces.every((name) => node.allowed.includes(name))) {
        return say({ type: 'error', data: { code: 'forbidden_namespace', message: '', retryable: false } });
      }
      const newly = namespaces.filter((name) => !this.subscriptions.has(name));
      for (const name of namespaces) {
        if (type === 'subscribe') this.subscriptions.set(name, keys);
        else this.subscriptions.delete(name);
      }
      const answer: Record<string, unknown> = { namespaces, epoch: node.epoch, lastEventId: this.#sentUpTo };
      const until = node.log.length;
      const after = Number(since?.id);
      const recovered = since?.epoch === node.epoch && after >= node.oldest;
      if (since) Object.assign(answer, recovered ? { recovered } : { recovered, reason: since.epoch === node.epoch ? 'window_exceeded' : 'epoch_changed' });
      say({ type: `${type}d`, data: answer });
      const skip = (names: readonly string[]) => names.forEach((name) => this.#skips.set(name, until));
      if (recovered) {
        this.#isBehind = true;
        skip(namespaces);
        this.#replays.push({ namespaces, after, until, unaskedUntil: Math.min(until, this.#reachedAfter), sent: 0 });
        this.#reachedAfter = Math.min(after, this.#reachedAfter);
      } else if (this.#isBehind) skip(newly);
    } else if (type === 'ping') say({ type: 'pong' });
    else if (type === 'presence') say({ type: 'presence', data: { customersOnline: 7 } });
    else say({ type: 'published', data: { eventId: '99' } });
  }

  #admits({ isAddressed, namespace, key }: Logged): boolean {
    if (isAddressed) return true;
    return this.subscriptions.has(namespace) && (this.subscriptions.get(namespace)?.includes(key) ?? true);
  }

  #send({ id, namespace, data }: Logged): void {
    this.socket.say({ type: `${namespace}:x`, namespace, data, timestamp: 1, id: String(id) });
  }

  /** What is live. */
  #pump(): void {
    if (!this.#isBehind) while (this.step());
  }

  /** One event of a replay, of what came meanwhile, or live; `false` = there is none. */
  step(): boolean {
    const { log } = this.node;
    if (this.#isBehind && (this.node.steps -= 1) < 0) return false;
    const [replay] = this.#replays;
    if (replay) {
      const event = log[replay.after];
      if (event && replay.after < replay.until) {
        replay.after += 1;
        const covers = event.isAddressed ? event.id <= replay.unaskedUntil : replay.namespaces.includes(event.namespace);
        if (covers && this.#admits(event)) {
          replay.sent += 1;
          this.#send(event);
        }
      } else {
        this.#replays.shift();
        this.socket.say({ type: 'caught_up', data: { namespaces: replay.namespaces, replayed: replay.sent } });
      }
      return true;
    }
    const event = log[this.#seen];
    if (!event) {
      this.#isBehind = false;
      this.#skips.clear();
      return false;
    }
    this.#seen += 1;
    const isSkipped = this.#isBehind && !event.isAddressed && event.id <= (this.#skips.get(event.namespace) ?? 0);
    if (!isSkipped && this.#admits(event)) this.#send(event);
    return true;
  }
}

export class FakeNode {
  readonly log: Logged[] = [];
  readonly auths: unknown[] = [];
  epoch = 'e1';
  /** Positions before it are not held any more. */
  oldest = 0;
  allowed: readonly string[] = NAMESPACES;
  /** How many more steps it makes with connections that are behind. */
  steps = Infinity;
  refuses: (type: string, data: object) => boolean = () => false;
  readonly connections = new Map<FakeSocket, Connection>();

  post(namespace: string, key = 'a', rest: { isAddressed?: boolean; data?: object } = {}): number {
    const id = this.log.length + 1;
    this.log.push({ id, namespace, key, isAddressed: rest.isAddressed ?? false, data: rest.data ?? { orderId: key } });
    return id;
  }
}

interface Held {
  readonly tab: Tab;
  readonly done: () => void;
  /** It is taken away. */
  readonly fail: () => void;
}

interface Asking {
  readonly tab: Tab;
  readonly grant: () => void;
}

/** A browser: its locks and channels, and the tabs of one origin. */
export class Browser {
  readonly world = new World();
  readonly node = new FakeNode();
  readonly tabs = new Set<Tab>();
  readonly #locks = new Map<string, { held: Held | undefined; queue: Asking[] }>();
  readonly channels = new Set<{ readonly tab: Tab; readonly name: string; readonly channel: ChannelLike; queue: unknown[] }>();
  names = 0;
  /** Whether everything goes on by itself, or by `step`. */
  isManual = false;

  tab(options: Partial<TabsOptions> = {}): Tab {
    const tab = new Tab(this, options);
    this.tabs.add(tab);
    return tab;
  }

  lock(tab: Tab): LocksLike {
    return {
      request: (name, { signal, steal }, hold) =>
        new Promise((resolve, reject) => {
          const lock = this.#locks.get(name) ?? { held: undefined, queue: [] };
          this.#locks.set(name, lock);
          const failed = () => reject(new DOMException('', 'AbortError'));
          const asking: Asking = {
            tab,
            grant: () => {
              signal?.removeEventListener('abort', withdraw);
              const held: Held = { tab, fail: failed, done: () => this.#release(name, held) };
              lock.held = held;
              queueMicrotask(() => {
                if (!tab.isAlive || lock.held !== held) return;
                Promise.resolve(hold()).then(() => {
                  held.done();
                  resolve(undefined);
                });
              });
            },
          };
          const withdraw = () => {
            lock.queue = lock.queue.filter((other) => other !== asking);
            failed();
          };
          if (signal?.aborted) return failed();
          signal?.addEventListener('abort', withdraw);
          if (steal) {
            const old = lock.held;
            asking.grant();
            queueMicrotask(() => old?.tab.run(old.fail));
          } else if (lock.held) lock.queue.push(asking);
          else asking.grant();
        }),
    };
  }

  #release(name: string, held: Held): void {
    const lock = this.#locks.get(name);
    if (lock?.held !== held) return;
    lock.held = undefined;
    lock.queue.shift()?.grant();
  }

  /** The tab is no more: nothing of it runs, and the browser cleans up behind it. */
  crash(tab: Tab): void {
    tab.isAlive = false;
    this.tabs.delete(tab);
    for (const one of this.channels) if (one.tab === tab) this.channels.delete(one);
    for (const socket of tab.sockets) this.node.connections.delete(socket);
    for (const [name, lock] of this.#locks) {
      lock.queue = lock.queue.filter((asking) => asking.tab !== tab);
      if (lock.held?.tab === tab) this.#release(name, lock.held);
    }
  }

  /** The connections of the node are lost. */
  drop(): void {
    for (const socket of [...this.node.connections.keys()]) {
      this.node.connections.delete(socket);
      socket.shut();
    }
  }

  /** Something that is under way goes on: the choice is `pick`'s. */
  step(pick: (below: number) => number): boolean {
    const ways: (() => void)[] = [];
    for (const one of this.channels) {
      if (one.queue.length > 0 && !one.tab.late) ways.push(() => one.channel.onmessage?.({ data: one.queue.shift() }));
    }
    for (const tab of this.tabs) {
      if (tab.late) continue;
      for (const socket of tab.sockets) {
        const connection = this.node.connections.get(socket);
        if (socket.closed !== undefined) {
          if (connection) ways.push(() => this.node.connections.delete(socket));
        } else if (!connection && !tab.opened.has(socket)) {
          ways.push(() => {
            tab.opened.add(socket);
            this.node.connections.set(socket, new Connection(this.node, socket));
            socket.open();
          });
        } else if (connection) {
          const at = tab.taken.get(socket) ?? 0;
          const message = socket.sent[at];
          if (message) {
            ways.push(() => {
              tab.taken.set(socket, at + 1);
              connection.take(message as never);
            });
          }
          ways.push(() => (this.#moved = connection.step()));
        }
      }
    }
    // Each way once, from a random one on, until one leads somewhere.
    const from = pick(ways.length || 1);
    for (let i = 0; i < ways.length; i += 1) {
      this.#moved = true;
      ways[(from + i) % ways.length]?.();
      if (this.#moved) return true;
    }
    return false;
  }
  #moved = false;

  /** Everything that is under way comes to its end. */
  async settle(pick: (below: number) => number = () => 0): Promise<void> {
    for (let rounds = 0; rounds < 20_000; rounds += 1) {
      await this.world.settle();
      if (!this.step(pick)) return;
    }
    throw new Error('it does not come to an end');
  }

  /** Time passes, in steps in which all settles. */
  async pass(ms: number): Promise<void> {
    await this.settle();
    for (let left = ms; left > 0; left -= 50) {
      await this.world.advance(Math.min(50, left));
      await this.settle();
    }
  }

  get leaders(): Tab[] {
    return [...this.tabs].filter((tab) => tab.client.isLeader);
  }
}

/** A tab, with all that its client told. */
export class Tab {
  isAlive = true;
  readonly sockets: FakeSocket[] = [];
  readonly opened = new Set<FakeSocket>();
  readonly taken = new Map<FakeSocket, number>();
  readonly got: LiveEvent[] = [];
  readonly told: string[] = [];
  readonly client;
  auths = 0;
  freeze = () => {};
  thaw = () => {};

  constructor(
    readonly browser: Browser,
    options: Partial<TabsOptions>,
  ) {
    const { world } = browser;
    const tab = this;
    const runtime: TabsRuntime = {
      now: world.now,
      random: world.random,
      timer: (ms, call) => world.timer(ms, () => this.run(call)),
      onWake: world.onWake,
      WebSocket: class extends FakeSocket {
        constructor(url: string) {
          super(url);
          tab.sockets.push(this);
        }
      },
      locks: browser.lock(this),
      BroadcastChannel: class implements ChannelLike {
        onmessage: ChannelLike['onmessage'] = null;
        readonly #entry;
        constructor(name: string) {
          this.#entry = { tab, name, channel: this, queue: [] };
          browser.channels.add(this.#entry);
        }
        postMessage(message: unknown): void {
          if (!tab.isAlive) return;
          for (const one of browser.channels) {
            if (one !== this.#entry && one.name === this.#entry.name) one.queue.push(structuredClone(message));
          }
        }
        close(): void {
          browser.channels.delete(this.#entry);
        }
      },
      name: () => `n${(browser.names += 1)}`,
      onFreeze: (freeze, thaw) => Object.assign(this, { freeze, thaw }),
    };
    const auth = () => {
      this.auths += 1;
      return 'u1';
    };
    this.client = shareAcrossTabs({ url: 'ws://node', scope: 'u1', auth, ...options }, runtime);
    this.client.on('*', (event) => this.got.push(event));
    this.client.on('gap', ({ reason, namespaces }) => this.told.push(`gap ${reason} ${namespaces}`));
    this.client.on('recovered', ({ replayed }) => this.told.push(`recovered ${replayed}`));
    this.client.on('error', ({ code }) => this.told.push(`error ${code}`));
  }

  /** What it shall do once it does not hang any more. */
  late: (() => void)[] | undefined;

  run(call: () => void): void {
    if (this.late) this.late.push(call);
    else if (this.isAlive) call();
  }

  hang(isHung: boolean): void {
    const { late } = this;
    this.late = isHung ? [] : undefined;
    for (const call of late ?? []) this.run(call);
  }

  get ids(): number[] {
    return this.got.map((event) => Number(event.id));
  }

  get phase(): string {
    return this.client.status.getSnapshot().phase;
  }

  /** Connects; nobody waits. */
  connect(): this {
    this.client.connect().catch(() => {});
    return this;
  }

  expectLive(): void {
    expect(this.client.status.getSnapshot()).toMatchObject({ phase: 'live', fresh: true, error: null });
  }
}
