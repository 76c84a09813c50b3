// What sharing needs of the browser, beside what the client needs. Tests bring their own.

import { platform, type Runtime } from '../client/runtime.js';

/** As much of `BroadcastChannel` as is needed. */
export interface ChannelLike {
  onmessage: ((event: { readonly data: unknown }) => void) | null;
  postMessage(message: unknown): void;
  close(): void;
}

/** As much of `navigator.locks` as is needed. */
export interface LocksLike {
  request(
    name: string,
    options: { signal?: AbortSignal; steal?: boolean },
    hold: () => Promise<void> | undefined,
  ): Promise<unknown>;
}

export interface TabsRuntime extends Runtime {
  /** Both are there, or nothing is shared. */
  readonly locks: LocksLike | undefined;
  readonly BroadcastChannel: (new (name: string) => ChannelLike) | undefined;
  /** A name that no other tab has. */
  name(): string;
  /** Calls the first before the page stops running for a while (or for good), the second when it runs again. */
  onFreeze(freeze: () => void, thaw: () => void): void;
}

/** A browser; elsewhere there is nobody to share with. */
export function tabsPlatform(): TabsRuntime {
  const world = globalThis as Partial<Pick<typeof globalThis, 'document' | 'navigator' | 'addEventListener' | 'BroadcastChannel'>>;
  return {
    ...platform(),
    // Without a document (a server, a worker) there is no tab.
    locks: world.document && (world.navigator?.locks as LocksLike | undefined),
    BroadcastChannel: world.BroadcastChannel as TabsRuntime['BroadcastChannel'],
    name: () => crypto.randomUUID(),
    onFreeze(freeze, thaw) {
      world.addEventListener?.('pagehide', freeze);
      world.addEventListener?.('pageshow', thaw);
      world.document?.addEventListener('freeze', freeze);
      world.document?.addEventListener('resume', thaw);
    },
  };
}
