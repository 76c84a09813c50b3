// The feed against a node that does what docs/protocol.md says, over connections that break anywhere.
// The oracle knows only the contract: every event that the client wants, once, in order.
import { describe, expect, it } from 'vitest';
import { type Command, createFeed, type RawEvent } from '../../src/client/feed.js';

interface Logged {
  id: number;
  namespace: string;
  key: string;
  /** Needs no subscription. */
  addressed: boolean;
}

interface Replay {
  namespaces: readonly string[];
  next: number;
  to: number;
  replayed: number;
}

type Message =
  | { type: 'event'; event: Logged }
  | { type: 'answer'; command: Command; data: Record<string, unknown> }
  | { type: 'caught_up'; namespaces: readonly string[]; replayed: number };

function dice(seed: number): (below: number) => number {
  let state = seed * 2_654_435_761 + 1;
  return (below) => {
    state = (Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + 0x9e3779b9) >>> 0;
    return ((state ^ (state >>> 13)) >>> 0) % below;
  };
}

/** One connection as the node sees it. */
class Connection {
  readonly wire: Message[] = [];
  readonly #subscriptions = new Map<string, readonly string[] | undefined>();
  readonly #replays: Replay[] = [];
  readonly #sent = new Set<number>();
  /** Everything up to here was looked at for live delivery. */
  #seen: number;

  constructor(
    readonly log: readonly Logged[],
    readonly random: (below: number) => number,
  ) {
    this.#seen = log.length;
  }

  get lastEventId(): string {
    const replay = this.#replays[0];
    return String(replay ? Math.min(replay.next, this.#seen) : this.#seen);
  }

  take(command: Command): void {
    const { namespaces, keys, since } = command.data;
    this.pump();
    const data: Record<string, unknown> = { namespaces, epoch: 'e1' };
    for (const namespace of namespaces) {
      if (command.type === 'unsubscribe') this.#subscriptions.delete(namespace);
      else this.#subscriptions.set(namespace, keys);
    }
    data.lastEventId = this.lastEventId;
    if (since) {
      data.recovered = true;
      this.#replays.push({ namespaces, next: Number(since.id), to: this.log.length, replayed: 0 });
    }
    this.wire.push({ type: 'answer', command, data });
  }

  #admits(event: Logged, namespaces?: readonly string[]): boolean {
    if (event.addressed) return !this.#sent.has(event.id) || (namespaces !== undefined && this.random(2) === 0);
    if (namespaces && !namespaces.includes(event.namespace)) return false;
    if (!this.#subscriptions.has(event.namespace) || this.#sent.has(event.id)) return false;
    return this.#subscriptions.get(event.namespace)?.includes(event.key) ?? true;
  }

  #send(event: Logged): void {
    this.#sent.add(event.id);
    this.wire.push({ type: 'event', event });
  }

  /** One step of a replay, or what is live. */
  pump(): void {
    const [replay] = this.#replays;
    if (replay) {
      const event = this.log[replay.next];
      if (event && replay.next < replay.to) {
        replay.next += 1;
        if (this.#admits(event, replay.namespaces)) {
          replay.replayed += 1;
          this.#send(event);
        }
      } else {
        this.#replays.shift();
        this.wire.push({ type: 'caught_up', namespaces: replay.namespaces, replayed: replay.replayed });
      }
      return;
    }
    for (; this.#seen < this.log.length; this.#seen += 1) {
      const event = this.log[this.#seen] as Logged;
      if (this.#admits(event)) this.#send(event);
    }
  }

  get idle(): boolean {
    return this.#replays.length === 0 && this.#seen === this.log.length && this.wire.length === 0;
  }
}

function run(seed: number): void {
  const random = dice(seed);
  const log: Logged[] = [];
  const got: number[] = [];
  let gaps = 0;
  const feed = createFeed(
    {
      event: (event) => got.push(Number(event.id)),
      gap: () => {
        gaps += 1;
      },
      recovered: () => {},
      refused: (error) => {
        throw error;
      },
    },
    null,
  );
  const fixed: [string, string[] | undefined][] = [['orders', undefined]];
  if (random(3) > 0) fixed.push(['products', ['a', 'b']]);
  if (random(3) > 0) fixed.push(['payments', ['a']]);
  if (random(2) === 0) fixed.reverse();
  const settled = new Map<string, number>();
  for (const [namespace, keys] of fixed) feed.claim(namespace, keys, () => settled.set(namespace, log.length));

  let connection: Connection | undefined;
  let commands: Command[] = [];
  let toggled: ReturnType<typeof feed.claim> | undefined;

  const publish = () => {
    const namespace = ['orders', 'products', 'payments', 'inventory'][random(4)] as string;
    log.push({ id: log.length + 1, namespace, key: 'abc'[random(3)] as string, addressed: random(6) === 0 });
  };
  const connect = () => {
    connection = new Connection(log, random);
    commands = [];
    feed.open('e1', connection.lastEventId, ['orders', 'products', 'payments', 'inventory'], 'u1');
  };
  const hear = () => {
    const message = connection?.wire.shift();
    if (!message) return;
    if (message.type === 'event') {
      const { id, namespace } = message.event;
      feed.event({ type: 'a:b', namespace, data: {}, timestamp: 1, id: String(id) } satisfies RawEvent);
    } else if (message.type === 'answer') feed.answered(message.command, message.data);
    else feed.caughtUp(message);
  };
  const act = () => {
    switch (random(12)) {
      case 0:
      case 1:
      case 2:
        publish();
        break;
      case 3:
        if (connection && random(3) === 0) {
          connection = undefined;
          feed.shut();
        }
        break;
      case 4:
        if (!connection) connect();
        break;
      case 5:
        if (toggled) feed.release([toggled]);
        toggled = toggled ? undefined : feed.claim('inventory', random(2) === 0 ? ['a'] : undefined, undefined);
        break;
      case 6: {
        commands.push(...feed.plan());
        const refresh = connection && commands.length === 0 ? feed.refresh() : undefined;
        if (refresh) commands.push(refresh);
        break;
      }
      case 7:
      case 8: {
        const command = commands.shift();
        if (command) connection?.take(command);
        break;
      }
      case 9:
        connection?.pump();
        break;
      default:
        hear();
    }
  };
  for (let i = 0; i < 600; i += 1) act();
  // At last all is well.
  if (!connection) connect();
  for (let i = 0; i < 10_000; i += 1) {
    commands.push(...feed.plan());
    if (commands.length === 0 && connection?.idle && feed.isWhole()) break;
    for (const command of commands.splice(0)) connection?.take(command);
    connection?.pump();
    hear();
  }
  expect(connection?.idle, `seed ${seed}`).toBe(true);
  expect(feed.isWhole(), `seed ${seed}`).toBe(true);
  expect(gaps, `seed ${seed}`).toBe(0);

  const sorted = [...new Set(got)].sort((a, b) => a - b);
  expect(got, `seed ${seed}: once and in order`).toEqual(sorted);
  const has = new Set(got);
  const missed = log.filter((event) => {
    const wish = fixed.find(([namespace]) => namespace === event.namespace);
    if (!wish || (wish[1] && !wish[1].includes(event.key))) return false;
    return event.id > (settled.get(event.namespace) ?? 0) && !has.has(event.id);
  });
  expect(missed, `seed ${seed}: nothing is missing`).toEqual([]);
  expect(Number(feed.position()?.id), `seed ${seed}`).toBeLessThanOrEqual(log.length);
}

describe('over connections that break anywhere', () => {
  const seeds = process.env.OMNICAST_CLIENT_SEED ? [Number(process.env.OMNICAST_CLIENT_SEED)] : undefined;
  it('every event comes once and in order', () => {
    for (const seed of seeds ?? Array.from({ length: 500 }, (_, i) => i + 1)) run(seed);
  }, 60_000);
});
