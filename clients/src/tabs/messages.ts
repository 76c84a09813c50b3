// What the tabs of a browser say to each other.

import type { Session, Status } from '../client/types.js';

/** Counts up when what follows changes: tabs whose scripts differ in it do not hear each other. */
export const VERSION = 1;

/** From a tab to the one that leads. A port is what stands for a socket in a tab; its name is its own among all tabs. */
export type Up = {
  readonly tab: string;
  readonly port: string;
} & (
  | { readonly up: 'open' | 'close' | 'wake' }
  /** A command, as a socket takes it. */
  | { readonly up: 'text'; readonly text: string }
);

/** From the tab that leads. `by` is new with each that comes to lead. */
export type Down = { readonly by: string } & (
  /** It leads; and how its connection stands. */
  | { readonly down: 'lead'; readonly standing: Standing }
  /** The port is open, for this user. */
  | { readonly down: 'open'; readonly to: readonly string[]; readonly userId: Session['userId'] }
  /** The ports are closed; come back. */
  | { readonly down: 'shut'; readonly to: readonly string[] }
  /** A message of the node, for these ports. */
  | { readonly down: 'text'; readonly to: readonly string[]; readonly text: string }
);

/** The state of the connection. An error does not pass as it is. */
export interface Standing extends Pick<Status, 'phase' | 'attempts' | 'retryAt'> {
  readonly error: { readonly code: string; readonly message: string; readonly detail: Record<string, unknown> } | null;
}
