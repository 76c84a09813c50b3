// What components show, kept once for all that show the same, and only for as long as any does.

import type { OmnicastError } from '../client/error.js';
import type { LiveEvent, OmnicastClient } from '../client/types.js';

/** Changes within so long are told as one: a flood of events must not be a flood of renders. */
const FRAME_MS = 16;
/** How often what the node counts is asked for, at most. */
const RECOUNT_MS = 5_000;

/** One thing to be known, and how it follows from events. */
export interface Topic<T> {
  /** The same for all who want to know the same. */
  readonly name: string;
  readonly namespace: string;
  /** Only these entities. */
  readonly keys?: readonly string[] | undefined;
  /** The field of events that names the entity, where there is one key. */
  readonly field?: string;
  /** The value after an event; `undefined` where the event does not matter. */
  next?(value: T | undefined, event: LiveEvent, moment: number): T | undefined;
  /** Each event counts: another one does not make up for one that was missed. */
  readonly isLog?: boolean;
  /** Asks the node, where events alone do not tell. */
  count?(client: OmnicastClient): Promise<T>;
  /** A role that may not subscribe still gets what is addressed to it. */
  readonly isAddressed?: boolean;
}

/** What is known. Moments are numbers of one row, over all topics. */
export interface Known<T> {
  readonly value: T | undefined;
  /** The moment of the value. */
  readonly changed: number;
  /** The moment at which something was missed for good. */
  readonly gap: number;
  /** When it happened, in ms since the epoch. */
  readonly updatedAt: number | null;
  /** The node has confirmed the subscription. */
  readonly isReady: boolean;
  readonly error: OmnicastError | null;
}

export const NOTHING: Known<never> = { value: undefined, changed: 0, gap: 0, updatedAt: null, isReady: false, error: null };

interface Entry {
  known: Known<unknown>;
  readonly listeners: Set<() => void>;
  readonly close: () => void;
}

let moment = 0;

/** `enter` keeps the connection for somebody. */
export function createKnowledge(client: OmnicastClient, enter: () => () => void) {
  const entries = new Map<string, Entry>();

  function open<T>({ namespace, keys, field, next, count, isAddressed }: Topic<T>): Entry {
    let planned: ReturnType<typeof setTimeout> | undefined;
    let recount: ReturnType<typeof setTimeout> | undefined;
    let wasFresh = true;
    let isOpen = true;
    let isClaimed = false;

    function change(part: Partial<Known<T>>): void {
      // Answers may come after the end.
      if (!isOpen) return;
      entry.known = { ...entry.known, ...part };
      planned ??= setTimeout(() => {
        planned = undefined;
        for (const listener of [...entry.listeners]) listener();
      }, FRAME_MS);
    }

    function set(value: T, updatedAt: number): void {
      moment += 1;
      change({ value, updatedAt, changed: moment });
    }

    function ask(): void {
      clearTimeout(recount);
      recount = undefined;
      if (isOpen) count?.(client).then(
        (value) => set(value, Date.now()),
        () => isOpen && client.status.getSnapshot().session && plan(),
      );
    }

    function plan(): void {
      recount ??= setTimeout(ask, RECOUNT_MS);
    }

    function claim(): void {
      const subscription = client.subscribe(namespace as never, { keys });
      undo.push(subscription);
      subscription.ready.then(confirm, (error: OmnicastError) => change({ error }));
    }

    function confirm(): void {
      change({ isReady: true });
      ask();
    }

    /** Something of the connection is another thing now. */
    function look(): void {
      const { fresh, session } = client.status.getSnapshot();
      if (fresh && !wasFresh && entry.known.isReady) ask();
      wasFresh = fresh;
      if (!isAddressed || !session || isClaimed) return;
      isClaimed = session.namespaces.includes(namespace);
      if (isClaimed) claim();
      else confirm();
    }

    const undo: (() => void)[] = [
      client.on(namespace as '*', (event) => {
        if (field && (event.data as unknown as Record<string, unknown>)[field] !== keys?.[0]) return;
        const value = next?.(entry.known.value as T | undefined, event, moment + 1);
        if (value === undefined) return;
        set(value, event.timestamp);
        if (count) plan();
      }),
      client.on('gap', ({ namespaces }) => {
        moment += 1;
        if (namespaces.some((name) => name === namespace)) change({ gap: moment });
      }),
      client.status.subscribe(look),
    ];
    const entry: Entry = {
      known: NOTHING,
      listeners: new Set(),
      close() {
        isOpen = false;
        clearTimeout(planned);
        clearTimeout(recount);
        for (const end of undo) end();
      },
    };
    if (isAddressed) look();
    else claim();
    return entry;
  }

  return {
    get: (name: string): Known<unknown> => entries.get(name)?.known ?? NOTHING,

    /** Keeps it known for as long as somebody listens. */
    listen<T>(topic: Topic<T>, listener: () => void): () => void {
      let entry = entries.get(topic.name);
      if (!entry) entries.set(topic.name, (entry = open(topic)));
      const { listeners, close } = entry;
      const own = () => listener();
      const leave = enter();
      listeners.add(own);
      return () => {
        leave();
        listeners.delete(own);
        // Who leaves may come back at once.
        queueMicrotask(() => {
          if (listeners.size > 0 || entries.get(topic.name) !== entry) return;
          entries.delete(topic.name);
          close();
        });
      };
    },
  };
}
