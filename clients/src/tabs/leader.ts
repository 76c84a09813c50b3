// The tab that leads: it has the connection, and is the node to the ports of all tabs, its own among them.
//
// Each port belongs to a whole client, which keeps its own position, drops what it already had and asks
// for what it missed. So nothing has to be handed over when another tab comes to lead: the ports close,
// their clients come back, each with its own `since`.
//
// What the connection is subscribed to is the union of what the ports asked for. Changes of it are made one
// after the other: the replay of one is over before the next is asked for. A replay brings events of its
// namespaces that are newer than what the others still have to bring (docs/protocol.md, order and resume).
// So all events are held until the node has said how far it is, and are handed on in their order.

import { createClient } from '../client/client.js';
import { OmnicastError } from '../client/error.js';
import { isNewer } from '../client/feed.js';
import type { Auth, ClientOptions, Position, SocketLike, Status } from '../client/types.js';
import type { Down, Standing, Up } from './messages.js';
import type { TabsRuntime } from './runtime.js';

/** The node closes on a message that is longer. */
const MESSAGE_MAX = 65_536;
/** How old the answer may be that a port is given instead of one of the node. */
const REFRESH_MS = 10_000;
/** How soon the node is asked again how far it is, where it could not say. */
const AGAIN_MS = 500;
/** To the client that keeps the connection, in place of what is not for it: a sign of life. */
const BEAT = '{"type":"pong"}';

interface Message {
  readonly type: string;
  readonly id?: unknown;
  readonly replyTo?: unknown;
  readonly namespace?: string;
  readonly data?: Readonly<Record<string, unknown>>;
}

/** An event, and what it came as. */
interface Arrived {
  readonly id: string;
  readonly message: Message;
  readonly text: string;
}

/** A namespace and its keys; `null` = all entities. */
type Lines = Map<string, ReadonlySet<string> | null>;

interface Port {
  readonly name: string;
  readonly tab: string;
  isOpen: boolean;
  readonly lines: Lines;
}

/** What a port asked for. */
interface Wish {
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

/** See the functions in {@link createLeader}. */
export type Leader = ReturnType<typeof createLeader>;

const textOf = (keys: ReadonlySet<string> | null): string => JSON.stringify(keys && [...keys].sort());

/**
 * `by` is its name; `post` reaches all tabs, its own among them. `whenGone` calls back once that tab is no more.
 * `report` is for errors that nobody waits for.
 */
export function createLeader(
  options: ClientOptions,
  auth: Auth | undefined,
  runtime: TabsRuntime,
  by: string,
  post: (message: Down) => void,
  whenGone: (tab: string, signal: AbortSignal, call: () => void) => void,
  report: (text: string) => void,
) {
  const ports = new Map<string, Port>();
  const tabs = new Set<string>();
  const ending = new AbortController();

  // What follows lives as long as one connection.
  let socket: SocketLike | undefined;
  /** The answer to `auth`; `undefined` = not live. */
  let welcome: Message | undefined;
  let status: Status | undefined;
  /** Commands of the ports that the node has not answered. */
  const calls = new Map<unknown, (answer: Message) => void>();
  let called = 0;
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

  const link = createClient(
    { ...options, auth, namespaces: undefined, since: undefined, WebSocket: tap(options.WebSocket ?? runtime.WebSocket) },
    runtime,
  );

  // --- the connection --------------------------------------------------------------------------

  /** Sockets whose messages are looked at before the client has them. */
  function tap(Socket: ClientOptions['WebSocket']) {
    return function (url: string): SocketLike {
      if (!Socket) throw new Error('no WebSocket here: give one as an option');
      const real = new Socket(url);
      const near: SocketLike = {
        onopen: null,
        onmessage: null,
        onclose: null,
        onerror: null,
        send: (text) => real.send(text),
        close: (code) => real.close(code),
      };
      real.onopen = (event) => near.onopen?.(event);
      real.onclose = (event) => near.onclose?.(event);
      real.onerror = () => {};
      real.onmessage = ({ data }: { data: unknown }) =>
        // The client has let go of it where it does not listen.
        near.onmessage?.({ data: take(data) ? BEAT : data } as never);
      socket = near;
      return near;
    } as unknown as new (url: string) => SocketLike;
  }

  /** Takes what is for the ports; `false` = it is not. */
  function take(text: unknown): boolean {
    let message: Message;
    try {
      message = JSON.parse(text as string);
    } catch {
      return false;
    }
    const { type, id, data, replyTo } = Object(message) as Message;
    const call = calls.get(id);
    if (call) {
      calls.delete(id);
      call(message);
    } else if (type === 'caught_up') {
      caughtUp?.();
    } else if (typeof id === 'string' && type?.includes(':') && data) {
      const event = { id, message, text: text as string };
      if (waiting) waiting.push(event);
      else spread(event);
    } else {
      if (replyTo !== undefined && Array.isArray(data?.namespaces)) welcome = message;
      return false;
    }
    return true;
  }

  link.on('error', (failure) => {
    // Why it is closed for good is told to all ports, but for this: it is known here only.
    if (link.status.getSnapshot().phase === 'closed' && failure.code !== 'no_credential') return;
    report(JSON.stringify(refusal(failure)));
  });

  link.on('status', (now) => {
    const before = status;
    status = now;
    if (ending.signal.aborted) return;
    const { phase, session } = now;
    if (phase === 'closed') stayAway();
    if (phase !== 'live' && before?.phase === 'live') lose();
    post({ by, down: 'lead', standing: standing() });
    if (phase !== 'live') return;
    if (before?.phase !== 'live') {
      reach(String(welcome?.data?.lastEventId));
      for (const port of ports.values()) open(port);
    } else if (session !== before.session) renewed();
  });

  /** It is closed for good, and so are all ports. */
  function stayAway(): void {
    const { error } = standing();
    const data = { code: Number(error?.detail.closeCode) || 1006, reason: error?.code, message: error?.message, retry: false };
    say([...ports.keys()], { type: 'closing', data });
    ports.clear();
  }

  function standing(): Standing {
    const { phase, attempts, retryAt, error } = link.status.getSnapshot();
    return { phase, attempts, retryAt, error: error && { code: error.code, message: error.message, detail: error.detail } };
  }

  function lose(): void {
    welcome = undefined;
    calls.clear();
    held.clear();
    head = '';
    queue = [];
    isBusy = false;
    replay = [];
    caughtUp = waiting = undefined;
    stopTimer?.();
    post({ by, down: 'shut', to: [...ports.keys()] });
    ports.clear();
  }

  /** The session was renewed: the ports fetch it, and the node has ended what is no longer allowed. */
  function renewed(): void {
    const allowed = link.status.getSnapshot().session?.namespaces ?? [];
    for (const lines of [held, ...[...ports.values()].map((port) => port.lines)]) {
      for (const name of lines.keys()) if (!allowed.includes(name)) lines.delete(name);
    }
    say(openPorts(), { type: 'session_expiring', data: { expiresAt: 0 } });
  }

  function reach(id: string): void {
    headAt = runtime.now();
    if (isNewer(id, head)) head = id;
  }

  /** Sends a command of a port, under an id of its own. */
  function ask(type: string, data: unknown, reply: (answer: Message) => void): void {
    const id = `t${(called += 1)}`;
    const text = JSON.stringify({ type, id, data });
    if (text.length > MESSAGE_MAX) return reply(refusal(new OmnicastError('too_large', `${type} is too large`)));
    calls.set(id, reply);
    try {
      socket?.send(text);
    } catch {
      // It closes, and with it the ports.
    }
  }

  // --- the ports -------------------------------------------------------------------------------

  const openPorts = () => [...ports.values()].filter((port) => port.isOpen).map((port) => port.name);

  function say(to: readonly string[], message: object): void {
    if (to.length > 0) post({ by, down: 'text', to, text: JSON.stringify(message) });
  }

  function open(port: Port): void {
    port.isOpen = true;
    post({ by, down: 'open', to: [port.name], userId: String(welcome?.data?.userId) });
  }

  function close(name: string): void {
    const port = ports.get(name);
    if (!port) return;
    ports.delete(name);
    // What it alone wanted is wanted by nobody now.
    wish({ port, id: undefined, type: 'unsubscribe', namespaces: [], keys: null, since: undefined, replayed: 0 });
  }

  /** Of those who asked for it; of `system` all, since whom an event is addressed to cannot always be seen. */
  function spread({ id, text, message: { namespace = '', data = {} } }: Arrived): void {
    if (isNewer(id, head)) head = id;
    const values = Object.values(data).map(String);
    const those: string[] = [];
    const keyed: string[] = [];
    let isClaimed = false;
    for (const { name, isOpen, lines } of ports.values()) {
      const keys = lines.get(namespace);
      if (!isOpen || (keys === undefined && namespace !== 'system')) continue;
      if (!keys) isClaimed ||= keys === null;
      else if (!values.some((value) => keys.has(value))) {
        keyed.push(name);
        continue;
      } else isClaimed = true;
      those.push(name);
    }
    // Its publisher gave it a key that it does not show. It was asked for by one of these.
    const to = isClaimed ? those : [...those, ...keyed];
    for (const one of replay) if (one.since && isNewer(id, one.since.id) && to.includes(one.port.name)) one.replayed += 1;
    if (to.length > 0) post({ by, down: 'text', to, text });
  }

  function command(port: Port, { type, id, data = {} }: Message): void {
    const answer = (message: Message) => say([port.name], { ...message, id });
    if (type === 'auth') {
      const { epoch } = welcome?.data ?? {};
      const session = link.status.getSnapshot().session;
      say([port.name], { ...welcome, replyTo: id, data: { ...welcome?.data, ...session, epoch, lastEventId: head } });
    } else if (type === 'subscribe' || type === 'unsubscribe') {
      const { namespaces, keys, since } = data;
      if (!Array.isArray(namespaces)) return answer(refusal(new OmnicastError('bad_message', 'namespaces is missing')));
      wish({
        port,
        id,
        type,
        namespaces,
        keys: Array.isArray(keys) ? new Set(keys) : null,
        since: type === 'subscribe' ? (since as Position | undefined) : undefined,
        replayed: 0,
      });
    } else if (type === 'renew') {
      link.authenticate().then(
        () => answer({ type: 'renewed' }),
        (failure) => answer(refusal(failure)),
      );
    } else ask(type, data, answer);
  }

  // --- subscriptions ---------------------------------------------------------------------------

  function wish(one: Wish): void {
    queue.push(one);
    next();
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
      const ids = [...those.flatMap((one) => one.since?.id ?? []), ...(since.epoch === welcome?.data?.epoch ? [head] : [])];
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
    if (commands.length === 0 && name !== undefined && runtime.now() - headAt >= REFRESH_MS) subscribe([name], keysOf(name));
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
      if (waiting) stopTimer = runtime.timer(AGAIN_MS, () => settle(call));
      else call();
    });
  }

  /** Hands on what waits: all of it, or up to this id. */
  function release(id?: string): void {
    const sorted = (waiting ?? []).sort((a, b) => (isNewer(a.id, b.id) ? 1 : -1));
    const left = id === undefined ? [] : sorted.filter((event) => isNewer(event.id, id));
    waiting = left.length > 0 ? left : undefined;
    for (const event of sorted.slice(0, sorted.length - left.length)) spread(event);
  }

  function next(): void {
    if (isBusy || !welcome || queue.length === 0) return;
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
          const data = { namespaces, epoch: welcome?.data?.epoch, lastEventId: head, ...(since && { recovered, reason }) };
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

  // --- what the tab does with it ---------------------------------------------------------------

  return {
    authenticate: (fresh: Auth) => void link.authenticate(fresh).catch(() => {}),

    hear(message: Up): void {
      const { tab, port: name, up } = message;
      if (up === 'wake') return link.wake();
      if (up === 'close') return close(name);
      const port = ports.get(name);
      if (up === 'text') {
        if (port?.isOpen) command(port, JSON.parse(message.text));
        // It is from before; its tab shall ask anew.
        else post({ by, down: 'shut', to: [name] });
        return;
      }
      post({ by, down: 'lead', standing: standing() });
      if (port) return;
      const made: Port = { name, tab, isOpen: false, lines: new Map() };
      ports.set(name, made);
      if (!tabs.has(tab)) {
        tabs.add(tab);
        whenGone(tab, ending.signal, () => {
          tabs.delete(tab);
          for (const one of [...ports.values()]) if (one.tab === tab) close(one.name);
        });
      }
      if (welcome && link.status.getSnapshot().phase === 'live') open(made);
      else void link.connect().catch(() => {});
    },

    /** Another tab leads from now on, or none. */
    end(): void {
      ending.abort();
      link.disconnect();
      post({ by, down: 'shut', to: [...ports.keys()] });
      ports.clear();
    },
  };
}

/** An error as the node would say it. What was wrong in detail stays here: it may be no JSON. */
const refusal = (error: OmnicastError): Message => {
  const { code, message, retryable, retryAfterMs } = error;
  return { type: 'error', data: { code, message, retryable, retryAfterMs } };
};
