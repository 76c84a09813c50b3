// The tab that leads: it has the connection, and is the node to the ports of all tabs, its own among them.
//
// Each port belongs to a whole client, which keeps its own position, drops what it already had and asks
// for what it missed. So nothing has to be handed over when another tab comes to lead: the ports close,
// their clients come back, each with its own `since`.

import { createClient } from '../client/client.js';
import { OmnicastError } from '../client/error.js';
import type { Auth, ClientOptions, Position, SocketLike, Status } from '../client/types.js';
import type { Down, Standing, Up } from './messages.js';
import type { TabsRuntime } from './runtime.js';
import { type Arrived, createUnion, type Message, type Port } from './union.js';

/** The node closes on a message that is longer. */
const MESSAGE_MAX = 65_536;
/** To the client that keeps the connection, in place of what is not for it: a sign of life. */
const BEAT = '{"type":"pong"}';

/** See the functions in {@link createLeader}. */
export type Leader = ReturnType<typeof createLeader>;

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
  const union = createUnion({ ports, epoch: () => welcome?.data?.epoch, ask, say, spread }, runtime);

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
      union.caughtUp();
    } else if (typeof id === 'string' && type?.includes(':') && data) {
      union.event({ id, message, text: text as string });
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
      union.reach(String(welcome?.data?.lastEventId));
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
    union.shut();
    post({ by, down: 'shut', to: [...ports.keys()] });
    ports.clear();
  }

  /** The session was renewed, and the ports fetch it. */
  function renewed(): void {
    union.restrict(link.status.getSnapshot().session?.namespaces ?? []);
    say(openPorts(), { type: 'session_expiring', data: { expiresAt: 0 } });
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
    union.wish({ port, id: undefined, type: 'unsubscribe', namespaces: [], keys: null, since: undefined, replayed: 0 });
  }

  /** Of those who asked for it; of `system` all, since whom an event is addressed to cannot always be seen. */
  function spread({ text, message: { namespace = '', data = {} } }: Arrived): readonly string[] {
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
    if (to.length > 0) post({ by, down: 'text', to, text });
    return to;
  }

  function command(port: Port, { type, id, data = {} }: Message): void {
    const answer = (message: Message) => say([port.name], { ...message, id });
    if (type === 'auth') {
      const { epoch } = welcome?.data ?? {};
      const session = link.status.getSnapshot().session;
      say([port.name], { ...welcome, replyTo: id, data: { ...welcome?.data, ...session, epoch, lastEventId: union.head() } });
    } else if (type === 'subscribe' || type === 'unsubscribe') {
      const { namespaces, keys, since } = data;
      if (!Array.isArray(namespaces)) return answer(refusal(new OmnicastError('bad_message', 'namespaces is missing')));
      union.wish({
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
