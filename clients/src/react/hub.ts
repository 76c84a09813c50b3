// One connection as the components of a page share it: who uses it, who is signed in, what is known.

import { getSharedClient } from '../client/shared.js';
import type { Auth, ClientOptions, OmnicastClient, Session } from '../client/types.js';
import { createKnowledge } from './knowledge.js';

/** A connection outlives its last user by this long, so that a page may go from one view to the next. */
const LINGER_MS = 1_000;

/** See the functions in {@link createHub}. */
export type Hub = ReturnType<typeof createHub>;

/** What of the options is looked at whenever it is needed: later ones count as well. */
export type Rules = Omit<ClientOptions, 'url' | 'auth' | 'namespaces' | 'since'>;

type AuthFunction = Extract<Auth, (...args: never[]) => unknown>;

const hubs = new WeakMap<OmnicastClient, Hub>();

/** The hub of a client that somebody made. */
export function hubOf(client: OmnicastClient, rules: Rules = {}): Hub {
  let hub = hubs.get(client);
  if (!hub) hubs.set(client, (hub = createHub(client, rules)));
  return hub;
}

/** The hub of the page's connection to this address. What the client takes only once comes from whoever is first. */
export function hubAt(url: string | undefined, { since, debug }: Pick<ClientOptions, 'since' | 'debug'>): Hub {
  // The client looks at the rest as it goes.
  // Nobody is signed in until a component says who.
  const rules: ClientOptions = { url, since, debug, auth: () => null };
  return hubOf(getSharedClient(rules), rules);
}

/** Whom a credential stands for, as far as that can be seen. */
function nameOf(auth: Auth | null): string {
  if (typeof auth === 'function') return 'function';
  // What is made anew with each render (an expiry from the clock, a random session) is not looked at.
  return JSON.stringify(Object(auth).userId ? [Object(auth).userId, Object(auth).role] : auth);
}

function createHub(client: OmnicastClient, rules: Rules) {
  let users = 0;
  let linger: ReturnType<typeof setTimeout> | undefined;
  /** What the components gave last, and whom that stands for. */
  let given: Auth | null = null;
  let name: string | undefined;
  /** It has still to be told to the client. */
  let isNews = false;
  /** Somebody here connected, or said that there shall be no connection. */
  let started = false;
  let stopped = false;

  const phase = () => client.status.getSnapshot().phase;

  function start(own?: Auth): Promise<Session> | undefined {
    let auth = own;
    // Of functions the latest counts.
    if (isNews) auth ??= given && typeof given !== 'function' ? given : (reason) => (given as AuthFunction | null)?.(reason);
    started = true;
    stopped = isNews = false;
    return auth ? client.authenticate(auth) : undefined;
  }

  const connect = () => start() ?? client.connect();

  /** Somebody uses the connection from now on; returns what ends that. */
  function enter(autoConnect: boolean): () => void {
    users += 1;
    clearTimeout(linger);
    // By then all components that were mounted together have said what they know.
    if (autoConnect) queueMicrotask(() => users > 0 && !stopped && phase() === 'idle' && void connect());
    return () => {
      users -= 1;
      if (users > 0 || !started) return;
      linger = setTimeout(() => {
        started = false;
        client.disconnect();
      }, LINGER_MS);
    };
  }

  return {
    client,
    known: createKnowledge(client, () => enter(false)),
    enter,

    connect,

    disconnect(): void {
      stopped = true;
      client.disconnect();
    },

    authenticate: (auth?: Auth) => start(auth) ?? client.authenticate(),

    adopt(options: Rules): void {
      for (const [key, value] of Object.entries(options)) if (value !== undefined) Object.assign(rules, { [key]: value });
    },

    /** Takes what a component says about who is signed in; `undefined` = it says nothing. */
    give(auth: Auth | null | undefined): void {
      if (auth === undefined) return;
      given = auth;
      if (name === nameOf(auth)) return;
      name = nameOf(auth);
      isNews = true;
      if (phase() !== 'idle') void connect();
    },
  };
}
