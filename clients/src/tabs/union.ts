// What the connection of the leading tab is subscribed to: the union of what the ports asked for.
//
// Changes of it are made one after the other: the replay of one is over before the next is asked for. A replay
// brings events of its namespaces that are newer than what the others still have to bring (docs/protocol.md,
// order and resume). So all events are held until the node has said how far it is, and are handed on in their order.

import { isNewer } from '../client/feed.js';
import type { Runtime } from '../client/runtime.js';
import type { Position } from '../client/types.js';

/** How old the answer may be that a port is given instead of one of the node. */
const REFRESH_MS = 10_000;
/** How soon the node is asked again how far it is, where it could not say. */
const AGAIN_MS = 500;

/** A message of the node, or of a port. */
export interface Message {
  readonly type: string;
  readonly id?: unknown;
  readonly replyTo?: unknown;
  readonly namespace?: string;
  readonly data?: Readonly<Record<string, unknown>>;
}

/** An event, and what it came as. */
export interface Arrived {
  readonly id: string;
  readonly message: Message;
  readonly text: string;
}

/** A namespace and its keys; `null` = all entities. */
type Lines = Map<string, ReadonlySet<string> | null>;

export interface Port {
  readonly name: string;
  readonly tab: string;
  isOpen: boolean;
  readonly lines: Lines;
}

/** What a port asked for. */
export interface Wish {
  readonly port: Port;
  readonly id: unknown;
  readonly type: 'subscribe' | 'unsubscribe';
  readonly namespaces: readonly string[];
  readonly keys: ReadonlySet<string> | null;
  readonly since: Position | undefined;
  /** Together with others it failed. */
  isAlone?: boolean;
  /** How many events were replayed for it. */
  replayed: number;
}

const textOf = (keys: ReadonlySet<string> | null): string => JSON.stringify(keys && [...keys].sort());

/** What it needs of the leader. */
export interface Surroundings {
  readonly ports: ReadonlyMap<string, Port>;
  /** That of the connection; `undefined` = it is not live. */
  epoch(): unknown;
  /** Sends a command, and calls back with the answer. */
  ask(type: string, data: unknown, reply: (answer: Message) => void): void;
  say(to: readonly string[], message: object): void;
  /** Hands an event on, and says to which ports. */
  spread(event: Arrived): readonly string[];
}

export function createUnion(
  { ports, epoch, ask, say, spread }: Surroundings,
  { now, timer }: Pick<Runtime, 'now' | 'timer'>,
) {
  // What follows lives as long as one connection.
  /** What the node holds: the keys of each namespace as text. */
  const held = new Map<string, string>();
  /** All there was up to here has been handed on, and when the node last said so. */
  let head = '';
  let headAt = 0;
  let queue: Wish[] = [];
  let isBusy = false;
  /** Those for whom events are replayed. */
  let replay: readonly Wish[] = [];
  let caughtUp: (() => void) | undefined;
  /** Events that wait for their place, while some are replayed. */
  let waiting: Arrived[] | undefined;
  let stopTimer: (() => void) | undefined;

  function reach(id: string): void {
    headAt = now();
    if (isNewer(id, head)) head = id;
  }

  function hand(event: Arrived): void {
    const { id } = event;
    if (isNewer(id, head)) head = id;
    const to = spread(event);
    for (const one of replay) if (one.since && isNewer(id, one.since.id) && to.includes(one.port.name)) one.replayed += 1;
  }

  /** Those that can go together: of one position's epoch, the first of their ports. */
  function batch(): Wish[] {
    const first = queue[0];
    const seen = new Set<Port>();
    const those = queue.filter((one) => {
      const isFirst = !seen.has(one.port);
      seen.add(one.port);
      return (
        one === first ||
        (isFirst && !one.isAlone && !first?.isAlone && one.since && one.since.epoch === first?.since?.epoch)
      );
    });
    queue = queue.filter((one) => !those.includes(one));
    return those;
  }

  function union(): Lines {
    const all: Lines = new Map();
    for (const { lines } of ports.values()) {
      for (const [name, keys] of lines) {
        const others = all.get(name);
        all.set(name, keys && others !== null ? new Set([...(others ?? []), ...keys]) : null);
      }
    }
    return all;
  }

  /** The commands that bring the node to the union. That with a replay comes first. */
  function plan(those: readonly Wish[]) {
    const wanted = union();
    const asked = new Map(held);
    const commands: { type: string; data: { namespaces: string[]; keys?: unknown; since?: unknown }; keys: string }[] = [];
    const subscribe = (namespaces: string[], keys: string, since?: Position) => {
      for (const name of namespaces) asked.set(name, keys);
      const list = JSON.parse(keys);
      commands.push({ type: 'subscribe', keys, data: { namespaces, ...(list && { keys: list }), ...(since && { since }) } });
    };
    const keysOf = (name: string) => textOf(wanted.get(name) ?? null);
    let since = those[0]?.since;
    if (since) {
      // Nobody may be behind it: what is replayed is not brought in another way.
      const ids = [...those.flatMap((one) => one.since?.id ?? []), ...(since.epoch === epoch() ? [head] : [])];
      since = { epoch: since.epoch, id: ids.reduce((a, b) => (isNewer(a, b) ? b : a)) };
      const namespaces = [...new Set(those.flatMap((one) => one.namespaces))];
      const kinds = new Set(namespaces.map(keysOf));
      // One replay and one order. Where the keys differ it is one of all entities, narrowed right after.
      subscribe(namespaces, kinds.size === 1 ? ([...kinds][0] as string) : 'null', since);
    }
    const groups = new Map<string, string[]>();
    for (const name of wanted.keys()) {
      const keys = keysOf(name);
      if (asked.get(name) !== keys) groups.set(keys, [...(groups.get(keys) ?? []), name]);
    }
    for (const [keys, namespaces] of groups) subscribe(namespaces, keys);
    const left = [...held.keys()].filter((name) => !wanted.has(name));
    if (left.length > 0) commands.push({ type: 'unsubscribe', keys: '', data: { namespaces: left } });
    const [name] = those[0]?.type === 'subscribe' ? those[0].namespaces : [];
    // To ask for what is there already is to ask how far the node is.
    if (commands.length === 0 && name !== undefined && now() - headAt >= REFRESH_MS) subscribe([name], keysOf(name));
    return commands;
  }

  /** Hands on what waits, in order, and calls back once nothing is left. */
  function settle(call: () => void): void {
    const [[name, keys] = []] = held;
    if (name === undefined || keys === undefined) {
      release();
      return call();
    }
    const list = JSON.parse(keys);
    ask('subscribe', { namespaces: [name], ...(list && { keys: list }) }, ({ type, data }) => {
      // All up to there has come; of what is newer some may still be missing.
      if (type !== 'error') {
        reach(String(data?.lastEventId));
        release(head);
      }
      if (waiting) stopTimer = timer(AGAIN_MS, () => settle(call));
      else call();
    });
  }

  /** Hands on what waits: all of it, or up to this id. */
  function release(id?: string): void {
    const sorted = (waiting ?? []).sort((a, b) => (isNewer(a.id, b.id) ? 1 : -1));
    const left = id === undefined ? [] : sorted.filter((event) => isNewer(event.id, id));
    waiting = left.length > 0 ? left : undefined;
    for (const event of sorted.slice(0, sorted.length - left.length)) hand(event);
  }

  function next(): void {
    if (isBusy || epoch() === undefined || queue.length === 0) return;
    isBusy = true;
    const those = batch().filter(({ port, namespaces }) => ports.has(port.name) || namespaces.length === 0);
    const undo = those.flatMap(({ type, port: { lines }, namespaces, keys }) =>
      namespaces.map((name) => {
        const before = lines.get(name);
        if (type === 'subscribe') lines.set(name, keys);
        else lines.delete(name);
        return () => (before === undefined ? lines.delete(name) : lines.set(name, before));
      }),
    );
    const commands = those.length > 0 ? plan(those) : [];
    let left = commands.length;
    let failure: Message | undefined;
    let result: Message['data'];
    const [replaying] = commands.filter(({ data }) => data.since);
    let isOver = true;

    const done = () => {
      if (left > 0 || !isOver) return;
      caughtUp = undefined;
      if (waiting?.length) return settle(finish);
      waiting = undefined;
      finish();
    };
    const finish = () => {
      for (const { port, namespaces, replayed } of replay) say([port.name], { type: 'caught_up', data: { namespaces, replayed } });
      replay = [];
      isBusy = false;
      next();
    };
    const answered = () => {
      const isWhole = !failure && result?.recovered !== false;
      if (failure) for (const back of undo.reverse()) back();
      // There is no replay: all is in order.
      if (replay.length === 0) release();
      // What is too much for all may do for some.
      if (!isWhole && those.length > 1) queue.unshift(...those.map((one) => ({ ...one, isAlone: true })));
      else {
        for (const { port, id, type, namespaces, since } of those) {
          const { recovered, reason } = result ?? {};
          const data = { namespaces, epoch: epoch(), lastEventId: head, ...(since && { recovered, reason }) };
          if (id !== undefined) say([port.name], failure ? { ...failure, id } : { type: `${type}d`, id, data });
        }
      }
      done();
    };

    if (replaying) {
      replay = those;
      waiting = [];
      caughtUp = () => {
        isOver = true;
        done();
      };
    }
    if (left === 0) return answered();
    for (const one of commands) {
      ask(one.type, one.data, (answer) => {
        left -= 1;
        if (answer.type === 'error') {
          // To narrow what is replayed is for another time.
          if (!replaying || one === replaying) failure ??= answer;
        } else {
          for (const name of one.data.namespaces) {
            if (one.keys) held.set(name, one.keys);
            else held.delete(name);
          }
          if (one.type === 'subscribe') reach(String(answer.data?.lastEventId));
          if (one === replaying) {
            result = answer.data;
            isOver = result?.recovered !== true;
          }
        }
        if (failure || result?.recovered === false) replay = [];
        if (left === 0) answered();
      });
    }
  }

  return {
    reach,

    head: () => head,

    wish(one: Wish): void {
      queue.push(one);
      next();
    },

    /** An event of the node. */
    event(event: Arrived): void {
      if (waiting) waiting.push(event);
      else hand(event);
    },

    /** The replay is over. */
    caughtUp: () => caughtUp?.(),

    /** The node has ended what is no longer allowed. */
    restrict(allowed: readonly string[]): void {
      for (const lines of [held, ...[...ports.values()].map((port) => port.lines)]) {
        for (const name of lines.keys()) if (!allowed.includes(name)) lines.delete(name);
      }
    },

    /** The connection is gone. */
    shut(): void {
      held.clear();
      head = '';
      queue = [];
      isBusy = false;
      replay = [];
      caughtUp = waiting = undefined;
      stopTimer?.();
    },
  };
}
