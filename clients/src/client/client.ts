// The shell around the machine: sockets, timers, credentials, handlers, promises.

import { OmnicastError } from './error.js';
import { type Claim, type Command, createFeed, type RawEvent } from './feed.js';
import { BORN, type Cause, type Effect, type Input, step } from './lifecycle.js';
import { address, isWhole, platform, type Runtime } from './runtime.js';
import type {
  Answer,
  AuthReason,
  Catalogue,
  ClientEvents,
  ClientOptions,
  Credential,
  OmnicastClient,
  Recovered,
  Session,
  ShopCatalogue,
  SocketLike,
  Status,
} from './types.js';

/** The node closes on a message that is longer. */
const MESSAGE_MAX = 65_536;
/** Where the node does not say when to try again. */
const RETRY_MS = 1_000;

/** A message of the node. */
interface Message {
  readonly type?: unknown;
  readonly id?: unknown;
  readonly replyTo?: unknown;
  readonly data?: Readonly<Record<string, unknown>>;
}

/** The data of the answer to `auth`. */
interface Welcome extends Session {
  readonly epoch: string;
  readonly lastEventId: string;
}

interface Entry {
  readonly handler: (argument: never) => void;
}

/**
 * Is called once, with the answer to a command or with the error that came instead of it; never later
 * than its message.
 */
type Reply<T = Answer> = (error?: OmnicastError | null, answer?: T) => void;

/** A promise, and what settles it from outside. Nobody has to wait for it. */
function defer<T>(): [promise: Promise<T>, settle: Reply<T>] {
  let settle!: Reply<T>;
  const promise = new Promise<T>((resolve, reject) => {
    settle = (error, value) => (error ? reject(error) : resolve(value as T));
  });
  promise.catch(() => {});
  return [promise, settle];
}

const list = (names: string | readonly string[]): readonly string[] => [names].flat();

/** Makes a client. It connects when told to. Its methods need no `this`. */
export function createClient<C extends Catalogue = ShopCatalogue>(
  options: ClientOptions<C> = {},
  runtime: Runtime = platform(),
): OmnicastClient<C> {
  const url = address(options.url);
  const { now, timer } = runtime;
  const debug = options.debug === true ? console.debug : options.debug;

  const handlers = new Map<string, readonly Entry[]>();
  /** Commands that wait for their answers. */
  const pending = new Map<unknown, Reply>();
  let { auth } = options;
  let life = BORN;
  let error: OmnicastError | null = null;
  /** The rest is told below. */
  let snapshot = { freshAt: null } as Status;
  let socket: SocketLike | undefined;
  let credential: Credential | undefined;
  let session: Session | undefined;
  let lastId = 0;
  let heard = 0;
  let heardAt = 0;
  let planned = false;
  let stopTimer: (() => void) | undefined;
  let stopWake: (() => void) | undefined;
  /** Commands wait until the node takes some again. */
  let stopPause: (() => void) | undefined;
  /** Those who wait for `connect`. */
  let arrival: [Promise<Session>, Reply<Session>] | undefined;

  /** What those hear who wait for something when the connection goes. */
  function lost(): OmnicastError {
    const retryable = life.phase !== 'idle';
    return new OmnicastError(retryable ? 'connection_lost' : 'disconnected', error?.message, { retryable });
  }

  // --- handlers --------------------------------------------------------------------------------

  function emit(name: string, argument: unknown): void {
    for (const { handler } of handlers.get(name) ?? []) {
      try {
        handler(argument as never);
      } catch (cause) {
        const failure = new OmnicastError('handler', `${name}: ${cause}`, {}, cause);
        if (name === 'error') console.error(failure);
        else report(failure);
      }
    }
  }

  /** Tells the handlers of `error`, or the console where there is none. */
  function report(failure: OmnicastError): void {
    if (handlers.get('error' satisfies keyof ClientEvents)?.length) emit('error', failure);
    else console.error(failure);
  }

  function on(name: string, handler: Entry['handler']): () => void {
    const entry = { handler };
    handlers.set(name, [...(handlers.get(name) ?? []), entry]);
    return () => remove(name, (other) => other === entry);
  }

  function remove(name: string, which: (entry: Entry) => boolean): void {
    handlers.set(name, (handlers.get(name) ?? []).filter((entry) => !which(entry)));
  }

  /** Tells the state, where it is another one. */
  function tell(): void {
    const { phase, failures, due } = life;
    const fresh = phase === 'live' && feed.isWhole();
    const status: Status = {
      phase,
      attempts: phase === 'live' ? 0 : failures,
      retryAt: phase === 'waiting' ? due : null,
      error,
      session: session ?? null,
      fresh,
      // What was delivered was all there is as of the last message, not as of the loss.
      freshAt: snapshot.fresh && !fresh ? heardAt : snapshot.freshAt,
    };
    const isOther = (key: string) => status[key as keyof Status] !== snapshot[key as keyof Status];
    if (Object.keys(status).some(isOther)) emit('status', (snapshot = status));
  }

  // --- the machine -----------------------------------------------------------------------------

  function dispatch(input: Input): void {
    const before = life;
    const world = { now: now(), random: runtime.random, heard, heardAt, renewable: typeof auth === 'function', rules: options };
    const next = step(before, world, input);
    const { phase, cause } = next.life;
    life = next.life;
    if (before.phase !== phase && debug) debug(`${before.phase} → ${phase}`, cause);
    if (before.cause !== cause) {
      const { code: closeCode, reason = '', message, retryAfterMs } = cause ?? {};
      const detail = { closeCode, retryable: phase !== 'closed', retryAfterMs };
      error = cause && new OmnicastError(reason, message, detail, cause?.cause);
    }
    for (const effect of next.effects) perform(effect);
    // An effect may already have led on.
    if (life !== next.life) return;
    if (phase === 'idle' || phase === 'closed') {
      stopWake?.();
      stopWake = undefined;
      arrive(error ?? lost());
    } else stopWake ??= runtime.onWake(wake);
    const final = phase === 'closed' && before.phase !== phase && error;
    tell();
    // That nobody is signed in is no failure.
    if (final && (final.code !== 'no_credential' || !auth)) report(final);
  }

  function perform(effect: Effect): void {
    const { turn, cause } = life;
    switch (effect) {
      case 'ask':
        fetchCredential(cause?.code === 4101 ? 'expired' : 'connect').then(
          (fetched) => {
            if (turn !== life.turn) return;
            credential = fetched;
            dispatch({ type: 'credential', turn });
          },
          (failure: OmnicastError) => {
            // One that is final is told by the status.
            if (turn === life.turn && failure.retryable) report(failure);
            fail(turn, failure);
          },
        );
        break;
      case 'open':
        open(turn);
        break;
      case 'authenticate':
        sendAuth(credential as Credential, (failure) => {
          // These two are followed by a close, which says what to do; but not that a fresh one had expired.
          if (failure?.code === 'token_expired') report(failure);
          else if (failure && failure.code !== 'auth_failed') fail(turn, failure);
        });
        break;
      case 'drop':
        drop();
        break;
      case 'ping': {
        const command = feed.refresh();
        if (command) run(command);
        else ask('ping', undefined, () => {});
        break;
      }
      case 'renew':
        renew();
        break;
      default:
        stopTimer?.();
        stopTimer = effect.timer === null ? undefined : timer(effect.timer, () => dispatch({ type: 'timer' }));
    }
  }

  function lose(turn: number, cause: Cause): void {
    dispatch({ type: 'lost', turn, cause });
  }

  /** The connection could not be made. */
  function fail(turn: number, { code: reason, message, retryable: retry, retryAfterMs, cause }: OmnicastError): void {
    lose(turn, { reason, message, retry, retryAfterMs, cause });
  }

  function wake(): void {
    dispatch({ type: 'wake' });
  }

  function connect(): Promise<Session> {
    if (session) return Promise.resolve(session);
    const [promise] = (arrival ??= defer());
    dispatch({ type: 'connect' });
    return promise;
  }

  /** Tells those who wait for `connect`. */
  function arrive(failure: OmnicastError | null): void {
    arrival?.[1](failure, session);
    arrival = undefined;
  }

  // --- credentials -----------------------------------------------------------------------------

  async function fetchCredential(reason: AuthReason): Promise<Credential> {
    let fetched: Credential | null | undefined;
    // Another attempt would be the same.
    if (!isWhole(url)) throw new OmnicastError('bad_url', `url must be like wss://host/api/ws, not ${url}`);
    try {
      fetched = await (typeof auth === 'function' ? auth(reason) : auth);
    } catch (cause) {
      throw new OmnicastError('auth_function', String(cause), { retryable: true }, cause);
    }
    if (!fetched) throw new OmnicastError('no_credential');
    return fetched;
  }

  /** Sends `auth` and takes the welcome. */
  function sendAuth(signIn: Credential, reply: Reply<Session>): void {
    const { turn } = life;
    ask('auth', typeof signIn === 'string' ? { token: signIn } : signIn, (failure, answer) => {
      if (!answer) return reply(failure);
      const { connectionId, userId, role, namespaces, expiresAt, epoch, lastEventId } = answer.data as unknown as Welcome;
      const renewed = session;
      session = { connectionId, userId, role, namespaces, expiresAt };
      if (renewed) feed.renew(lastEventId, namespaces);
      else {
        feed.open(epoch, lastEventId, namespaces, userId);
        dispatch({ type: 'welcome', turn });
        arrive(null);
      }
      flush();
      reply(null, session);
    });
  }

  /** Renews the session in place. */
  function renew(): Promise<Session> {
    const { turn } = life;
    const [promise, settle] = defer<Session>();
    const reply: Reply<Session> = (failure, renewed) => {
      settle(failure, renewed);
      if (!failure || turn !== life.turn) return;
      report(failure);
      dispatch({ type: 'not_renewed', turn });
    };
    fetchCredential('expiring').then((fetched) => {
      if (turn !== life.turn) reply(lost());
      else sendAuth((credential = fetched), reply);
    }, reply);
    return promise;
  }

  // --- the socket ------------------------------------------------------------------------------

  function open(turn: number): void {
    const Socket = options.WebSocket ?? runtime.WebSocket;
    let told: { error?: unknown; message?: string } = {};
    try {
      if (!Socket) throw new Error('no WebSocket here: give one as an option');
      socket = new Socket(url);
      heard = 0;
      socket.onopen = () => dispatch({ type: 'opened', turn });
      socket.onmessage = ({ data }: { data: unknown }) => hear(turn, data);
      socket.onclose = ({ code = 1006, reason }: { code?: number; reason?: string }) =>
        lose(turn, {
          code,
          reason: reason || 'connection_lost',
          message: `${url}: ${told.message ?? `closed with ${code}`}`,
          cause: told.error,
        });
      // The close comes after it. Browsers do not tell what it was.
      socket.onerror = (event) => {
        told = event;
      };
    } catch (cause) {
      const { name, message } = cause as Error;
      fail(turn, new OmnicastError(name === 'SyntaxError' ? 'bad_url' : 'no_socket', message, {}, cause));
    }
  }

  function drop(): void {
    const old = socket;
    socket = undefined;
    session = undefined;
    feed.shut();
    stopPause?.();
    stopPause = undefined;
    if (old) {
      // `onerror` stays: a socket that was never open says so once more.
      old.onopen = old.onmessage = old.onclose = null;
      try {
        old.close(1000);
      } catch {
        // It is of no use any more, whatever it says.
      }
    }
    for (const reply of [...pending.values()]) reply(lost());
  }

  /** Sends a command; its answer comes by its id. */
  function ask(type: string, data: object | undefined, reply: Reply): void {
    const id = (lastId += 1);
    const text = JSON.stringify({ type, id, data });
    if (text.length > MESSAGE_MAX) return reply(new OmnicastError('too_large', `${type} is too large`));
    const once: Reply = (failure, answer) => {
      stop();
      pending.delete(id);
      reply(failure, answer);
    };
    const stop = timer(options.commandTimeout ?? 10_000, () =>
      once(new OmnicastError('timeout', `no answer to ${type}`, { retryable: true })),
    );
    pending.set(id, once);
    // A token is nobody's business.
    if (debug) debug('→', type === 'auth' ? type : text);
    try {
      socket?.send(text);
    } catch {
      once(lost());
    }
  }

  function hear(turn: number, text: unknown): void {
    if (turn !== life.turn) return;
    heard += 1;
    heardAt = now();
    if (debug) debug('←', text);
    try {
      take(turn, JSON.parse(text as string));
    } catch (cause) {
      report(new OmnicastError('bad_frame', String(cause), { frame: text }, cause));
    }
  }

  function take(turn: number, message: Message): void {
    const { type, id, data = {}, replyTo } = message;
    if (typeof type !== 'string' || Object(data) !== data) throw new TypeError('no message');
    const reply = pending.get(id ?? replyTo);
    if (type.includes(':')) {
      // The welcome is an event in form; it answers `auth`.
      if (typeof id === 'string' && message.data) feed.event(message as unknown as RawEvent);
      else if (Array.isArray(data.namespaces)) reply?.(null, message as Answer);
      else throw new TypeError('no message');
    } else if (type === 'closing') {
      lose(turn, data as unknown as Cause);
    } else if (type === 'session_expiring') {
      dispatch({ type: 'expiring', turn, expiresAt: data.expiresAt as number });
    } else if (type === 'caught_up') {
      feed.caughtUp(data as unknown as Recovered);
      tell();
    } else if (type === 'error') {
      (reply ?? report)(new OmnicastError(data.code as string, data.message as string, data));
    } else reply?.(null, { ...message, data } as Answer);
  }

  // --- subscriptions ---------------------------------------------------------------------------

  const feed = createFeed(
    {
      event(event) {
        emit(event.type, event);
        emit(event.namespace, event);
        emit('*', event);
      },
      gap: (gap) => emit('gap', gap),
      recovered: (recovered) => emit('recovered', recovered),
      refused: report,
    },
    options.since,
  );

  /** What is asked for in one turn of the page goes out as one. */
  function plan(): void {
    if (!planned) queueMicrotask(flush);
    planned = true;
  }

  function flush(): void {
    planned = false;
    if (stopPause) return;
    for (const command of feed.plan()) run(command);
    tell();
  }

  function run(command: Command): void {
    const { turn } = life;
    ask(command.type, command.data, (failure, answer) => {
      // What was not answered is asked for anew on the next connection.
      if (turn !== life.turn) return;
      if (answer) feed.answered(command, answer.data);
      else if (failure && feed.refused(command, failure)) flush();
      else if (failure?.retryable) {
        stopPause?.();
        stopPause = timer(failure.retryAfterMs ?? RETRY_MS, () => {
          stopPause = undefined;
          flush();
        });
      }
      tell();
    });
  }

  function subscribe(namespaces: string | readonly string[], keys?: readonly string[]) {
    // What the node refuses anyway: a slip must not become a subscription to all or to nothing.
    if (keys?.length === 0) throw new TypeError('omnicast: keys is empty');
    const claims: Claim[] = [];
    const answers = [...new Set(list(namespaces))].map((name) => {
      const [answer, settle] = defer<void>();
      claims.push(feed.claim(name, keys, settle));
      return answer;
    });
    const ready = Promise.all(answers).then(() => {});
    ready.catch(() => {});
    plan();
    const undo = () => {
      feed.release(claims);
      plan();
    };
    return Object.assign(undo, { ready });
  }

  // --- what the user sees ----------------------------------------------------------------------

  /** Sends a command for the user. */
  function send(type: string, data?: object): Promise<Answer> {
    const [promise, settle] = defer<Answer>();
    if (session) ask(type, data, settle);
    else settle(new OmnicastError('not_connected', undefined, { retryable: true }));
    return promise;
  }

  subscribe(options.namespaces ?? []);
  tell();

  return {
    url,
    status: {
      getSnapshot: () => snapshot,
      subscribe: (listener) => on('status', () => listener()),
    },
    get position() {
      return feed.position();
    },
    connect,
    disconnect: () => dispatch({ type: 'disconnect' }),
    authenticate(fresh) {
      if (!fresh && session) return renew();
      auth = fresh ?? auth;
      if (life.phase !== 'idle') dispatch({ type: 'restart' });
      return connect();
    },
    wake,
    subscribe: (namespaces, { keys } = {}) => subscribe(namespaces, keys),
    unsubscribe(namespaces, { keys } = {}) {
      feed.releaseAll(list(namespaces), keys);
      plan();
    },
    on,
    off: (name, handler) => remove(name, (entry) => !handler || entry.handler === handler),
    send,
    publish: async (type, data) => String((await send('publish', { type, data })).data.eventId),
    async ping() {
      const sent = now();
      await send('ping');
      return now() - sent;
    },
    presence: async () => (await send('presence')).data as { customersOnline: number },
  };
}
