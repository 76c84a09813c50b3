// What the client needs of the place it runs in. Tests bring their own.

import type { SocketLike } from './types.js';

export interface Runtime {
  now(): number;
  random(): number;
  /** Calls back once; returns what stops it. */
  timer(ms: number, call: () => void): () => void;
  /** Calls back when the machine may have slept or the network changed; returns what stops it. */
  onWake(call: () => void): () => void;
  readonly WebSocket: (new (url: string) => SocketLike) | undefined;
}

interface Target {
  addEventListener?(type: string, call: () => void, options: { signal: AbortSignal }): void;
}

/** Longer than this a timer of the platform cannot wait. */
const TIMER_MAX_MS = 2 ** 31 - 1;

/** A browser, React Native or Node.js: what is there is used, what is not is not missed. */
export function platform(): Runtime {
  const world = globalThis as typeof globalThis & {
    document?: Target & { visibilityState?: string };
    navigator?: { connection?: Target };
  } & Target;
  return {
    now: () => Date.now(),
    random: () => Math.random(),
    timer(ms, call) {
      const timer = setTimeout(call, Math.min(ms, TIMER_MAX_MS));
      return () => clearTimeout(timer);
    },
    onWake(call) {
      const stop = new AbortController();
      const listen = (target: Target | undefined, type: string, heard = call) =>
        target?.addEventListener?.(type, heard, { signal: stop.signal });
      for (const type of ['online', 'offline', 'pageshow']) listen(world, type);
      listen(world.navigator?.connection, 'change');
      listen(world.document, 'visibilitychange', () => world.document?.visibilityState === 'visible' && call());
      return () => stop.abort();
    },
    WebSocket: world.WebSocket as Runtime['WebSocket'],
  };
}

/** Whether an address is whole. It needs no `URL`: that of React Native knows no `ws:`, and older ones add to the path. */
export const isWhole = (url: string): boolean => /^(ws|http)s?:\/\/[^/]/.test(url);

/** The address of the node as a socket takes it; one that is no address is left as it is. */
export function address(url: string | URL | undefined): string {
  const page = (globalThis as { location?: { href?: string } }).location?.href;
  let text = String(url ?? '/api/ws');
  try {
    if (!isWhole(text)) text = new URL(text, page).href;
  } catch {
    // It is told when it is needed: a server that renders the page knows no location.
  }
  return text.replace(/^http/, 'ws').replace(/^(wss?:\/\/[^/?]+)\/?$/, '$1/api/ws');
}
