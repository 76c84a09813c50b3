// The life of the connection as a declared machine. It is pure: what happened and the time go in, the
// next life and what is to be done come out. Sockets, timers and credentials are the shell's.
//
//   idle ──connect──▶ connecting ──opened──▶ authenticating ──welcome──▶ live
//    ▲                 ▲   │                       │                      │
//    │                 │   └──────── lost ─────────┴──────── lost ────────┤
//    │               timer                         │                      │
//    └─disconnect──  waiting ◀─── come back ───────┴───── stay away ───▶ closed

import type { ClientOptions } from './types.js';

export type Phase = 'idle' | 'connecting' | 'authenticating' | 'live' | 'waiting' | 'closed';

/** Why a connection ended, or why there was none. */
export interface Cause {
  /** The close code, where there was a close. */
  readonly code?: number | undefined;
  readonly reason: string;
  readonly message?: string | undefined;
  /** What was thrown or told beneath it. */
  readonly cause?: unknown;
  /** Whether to come back, where that was said. Otherwise the close code decides. */
  readonly retry?: boolean | undefined;
  readonly retryAfterMs?: number | undefined;
}

export interface Life {
  readonly phase: Phase;
  /** Counts attempts: what belongs to an earlier one is stale. */
  readonly turn: number;
  /** Attempts in a row without a session that lasted. */
  readonly failures: number;
  /** When this phase began. */
  readonly since: number;
  /** Waiting: not before this, whatever happens. */
  readonly notBefore: number;
  /** Waiting: the next attempt. Live: when the timer is due. */
  readonly due: number;
  /** Live: a sign of life was asked for. */
  readonly probe: {
    /** How many messages had come by then. */
    readonly heard: number;
    readonly until: number;
    /** Because something woke. */
    readonly awake: boolean;
    /** The one before could not be judged. */
    readonly again: boolean;
  } | null;
  /** Live: when to ask for a fresh credential; 0 = not. */
  readonly renewAt: number;
  readonly renewedAt: number;
  /** Why the last connection ended. */
  readonly cause: Cause | null;
}

export type Input =
  | { readonly type: 'connect' | 'disconnect' | 'restart' | 'wake' | 'timer' }
  | { readonly type: 'credential' | 'opened' | 'welcome' | 'not_renewed'; readonly turn: number }
  | { readonly type: 'expiring'; readonly turn: number; readonly expiresAt: number }
  | { readonly type: 'lost'; readonly turn: number; readonly cause: Cause };

export type Effect =
  /** Ask for a credential, answer by `credential` or `lost`. */
  | 'ask'
  /** Open a socket, answer by `opened` or `lost`. */
  | 'open'
  /** Send `auth`, answer by `welcome` or `lost`. */
  | 'authenticate'
  /** Let go of the socket, if there is one. */
  | 'drop'
  /** Ask the node for a sign of life. */
  | 'ping'
  /** Fetch a fresh credential and send it, say `not_renewed` where that fails. */
  | 'renew'
  /** Set the one timer, in this many ms; `null` stops it. */
  | { readonly timer: number | null };

/** Options of the client. */
export type Rules = Pick<
  ClientOptions,
  | 'reconnect'
  | 'reconnectInterval'
  | 'maxReconnectInterval'
  | 'maxReconnectAttempts'
  | 'connectTimeout'
  | 'pingInterval'
  | 'pongTimeout'
>;

export interface World {
  readonly now: number;
  readonly random: () => number;
  /** How many messages have come on this connection, and when the last one. */
  readonly heard: number;
  readonly heardAt: number;
  /** Whether asking again may give another credential. */
  readonly renewable: boolean;
  readonly rules: Rules;
}

export interface Step {
  readonly life: Life;
  readonly effects: readonly Effect[];
}

/** A session that lasted this long ends a row of failures. */
const LASTING_MS = 10_000;
/** How often a live connection is looked at, at least. */
const TICK_MS = 5_000;
/** A timer that is this late was asleep. */
const ASLEEP_MS = 5_000;
/** A timer this late says nothing about the node: messages may wait behind it. */
const LATE_MS = 1_000;
/** What a node may take to give a sign of life after a sleep. */
const AWAKE_MS = 2_000;
/** A credential is not renewed more often than this, unless it is good for less than twice as long. */
const RENEW_EVERY_MS = 5_000;
/** However short a session is. */
const RENEW_LEAST_MS = 1_000;
/** Notice is given this long before a session ends. */
const NOTICE_MS = 60_000;

export const BORN: Life = {
  phase: 'idle',
  turn: 0,
  failures: 0,
  since: 0,
  notBefore: 0,
  due: 0,
  probe: null,
  renewAt: 0,
  renewedAt: 0,
  cause: null,
};

type Handler = (life: Life, world: World, input: never) => Step;

function enter(life: Life, world: World, phase: Phase, timer: number | null, ...effects: Effect[]): Step {
  const due = world.now + (timer ?? 0);
  return { life: { ...life, phase, since: world.now, due, probe: null, renewAt: 0 }, effects: [{ timer }, ...effects] };
}

/** Enters a phase that must not last. */
function pass(life: Life, world: World, phase: Phase, ...effects: Effect[]): Step {
  return enter(life, world, phase, world.rules.connectTimeout ?? 10_000, ...effects);
}

function attempt(life: Life, world: World): Step {
  return pass({ ...life, turn: life.turn + 1, renewedAt: 0 }, world, 'connecting', 'drop', 'ask');
}

const afresh: Handler = (life, world) => attempt({ ...life, failures: 0, cause: null }, world);

const stop: Handler = (life, world) =>
  enter({ ...life, turn: life.turn + 1, failures: 0, cause: null }, world, 'idle', null, 'drop');

/** Whether a close code says to stay away. */
export function staysAway(code: number): boolean {
  return /^(40\d\d|100[2379])$/.test(String(code));
}

/** The row of failures, which a session that lasted ends. */
function failuresOf(life: Life, world: World): number {
  return life.phase === 'live' && world.now - life.since >= LASTING_MS ? 0 : life.failures;
}

const baseOf = (world: World) => world.rules.reconnectInterval ?? 1_000;

function ended(life: Life, world: World, cause: Cause): Step {
  const { reconnect = true, maxReconnectInterval = 30_000, maxReconnectAttempts = Infinity } = world.rules;
  const base = baseOf(world);
  const { code = 0, retry = !staysAway(code) } = cause;
  const failures = failuresOf(life, world);
  const next = { ...life, cause, failures, turn: life.turn + 1 };
  // The same credential has expired for good.
  const spent = code === 4101 && !world.renewable;
  if (!reconnect || !retry || spent || failures >= maxReconnectAttempts) return enter(next, world, 'closed', null, 'drop');
  const least = Math.max(Number(cause.retryAfterMs) || 0, /^41/.test(String(code)) ? base : 0);
  const delay = least + world.random() * Math.min(maxReconnectInterval, base * 2 ** failures);
  return enter({ ...next, failures: failures + 1, notBefore: world.now + least }, world, 'waiting', delay, 'drop');
}

const lost = (life: Life, world: World, input: { cause: Cause }) => ended(life, world, input.cause);

const tooLate: Handler = (life, world) =>
  ended(life, world, { reason: 'timeout' });

/** An attempt that sleep or a change of network has gone over is begun anew. */
const hasten: Handler = (life, world) =>
  world.now - life.since < AWAKE_MS ? { life, effects: [] } : attempt(life, world);

/** Something woke: come back sooner, though not sooner than the node allows, and not all at once. */
const hurry: Handler = (life, world) => {
  const wait = world.random() * baseOf(world);
  return until({ ...life, due: Math.min(life.due, Math.max(life.notBefore, world.now) + wait) }, world);
};

/** Looks after a live connection. */
function look(life: Life, world: World, woken: boolean): Step {
  const { now, heard, heardAt } = world;
  const { pingInterval = 25_000, pongTimeout = 5_000 } = world.rules;
  let { probe, renewAt, renewedAt } = life;
  const effects: Effect[] = [];
  const late = woken ? Math.max(0, now - life.due) : Math.abs(now - life.due);
  const awake = woken || late > ASLEEP_MS;
  if (probe && probe.heard !== heard) probe = null;
  if (probe && now >= probe.until) {
    // A page in the background is late every time: then two without an answer will do.
    if (late < LATE_MS || probe.again) {
      if (probe.awake) return attempt({ ...life, failures: failuresOf(life, world) }, world);
      return ended(life, world, { reason: 'no_answer' });
    }
    effects.push('ping');
  } else if (awake ? !probe?.awake : !probe && now - heardAt >= pingInterval) {
    effects.push('ping');
  }
  if (effects.length > 0) {
    const urgent = awake || late >= LATE_MS;
    probe = { heard, until: now + (urgent ? AWAKE_MS : pongTimeout), awake: urgent, again: !!probe && now >= probe.until };
  }
  if (renewAt && now >= renewAt) {
    renewAt = 0;
    renewedAt = now;
    effects.push('renew');
  }
  const wait = Math.min(TICK_MS, pingInterval, (probe?.until ?? Infinity) - now, (renewAt || Infinity) - now);
  return { life: { ...life, probe, renewAt, renewedAt, due: now + wait }, effects: [{ timer: wait }, ...effects] };
}

/** Renews at a moment of one's own in the first half of what is left, so that not all ask at once. */
function expiring(life: Life, world: World, input: { expiresAt: number }): Step {
  if (!world.renewable) return { life, effects: [] };
  // The clock of this machine may be wrong; the notice is not.
  const left = Math.max(Math.min(input.expiresAt - world.now, NOTICE_MS) || 0, 0);
  const gap = Math.min(RENEW_EVERY_MS, Math.max(RENEW_LEAST_MS, (left || NOTICE_MS) / 2));
  return renewIn(life, world, Math.max((world.random() * left) / 2, life.renewedAt + gap - world.now));
}

function renewIn(life: Life, world: World, wait: number): Step {
  const renewAt = world.now + wait;
  return until({ ...life, renewAt, due: Math.min(life.due, renewAt) }, world);
}

/** Sets the timer to what is due. */
function until(life: Life, world: World): Step {
  return { life, effects: [{ timer: Math.max(0, life.due - world.now) }] };
}

/** What each phase does with each input. What is not listed changes nothing. */
export const MACHINE: { readonly [P in Phase]: { readonly [T in Input['type']]?: Handler } } = {
  idle: {
    connect: afresh,
    restart: afresh,
  },
  connecting: {
    credential: (life, world) => pass(life, world, 'connecting', 'open'),
    opened: (life, world) => pass(life, world, 'authenticating', 'authenticate'),
    lost,
    timer: tooLate,
    wake: hasten,
    restart: afresh,
    disconnect: stop,
  },
  authenticating: {
    welcome: (life, world) => enter({ ...life, cause: null }, world, 'live', TICK_MS),
    lost,
    timer: tooLate,
    wake: hasten,
    restart: afresh,
    disconnect: stop,
  },
  live: {
    lost,
    timer: (life, world) => look(life, world, false),
    wake: (life, world) => look(life, world, true),
    expiring,
    not_renewed: (life, world) => renewIn(life, world, RENEW_EVERY_MS),
    restart: afresh,
    disconnect: stop,
  },
  waiting: {
    timer: attempt,
    wake: hurry,
    restart: afresh,
    disconnect: stop,
  },
  closed: {
    connect: afresh,
    restart: afresh,
    disconnect: stop,
  },
};

/** The next life. */
export function step(life: Life, world: World, input: Input): Step {
  const { turn = life.turn } = input as { readonly turn?: number };
  const handler = turn === life.turn && MACHINE[life.phase][input.type];
  return handler ? handler(life, world, input as never) : { life, effects: [] };
}
