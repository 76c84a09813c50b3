// Events on their way to a node: held back, waiting, under way. One request at a time, so that order is kept.

import type { Catalogue, ShopCatalogue } from '../client/types.js';
import { Emitted } from './emitted.js';
import { type Envelope, envelope } from './envelope.js';
import { EmitError, type Fault } from './error.js';
import { checkOptions } from './options.js';
import { createPoster, type Outcome } from './post.js';
import type { EmitEvent, EmitOptions, Emitter, EmitterOptions } from './types.js';

/** Bytes at which a request is full. */
const BATCH_BYTES = 1 << 20;
/** Longer than this a timer of the platform cannot wait. */
const TIMER_MAX_MS = 2 ** 31 - 1;

/** Events that are published together or not at all. */
interface Group {
  readonly types: readonly string[];
  readonly parts: readonly Envelope[];
  readonly bytes: number;
  /** When to give up. */
  readonly deadline: number;
  /** A request with it got lost on the way there or back. */
  maybePublished: boolean;
  readonly resolve: (ids: string[]) => void;
  readonly reject: (error: EmitError) => void;
}

/** The latest value of something that is held back. */
interface Held {
  group: Group;
  readonly settled: Promise<string[]>;
}

/** What is held back of one entity. It goes out together, so that its order is kept. */
interface Hold {
  readonly slots: Map<string, Held>;
  timer: ReturnType<typeof setTimeout>;
  due: number;
}

export function createEmitter<C extends Catalogue = ShopCatalogue>(options: EmitterOptions = {}): Emitter<C> {
  checkOptions(options);
  const {
    maxQueue = 10_000,
    maxQueueBytes = 32 << 20,
    maxBatch = 1000,
    requestTimeout = 10_000,
    retryFor = 60_000,
    retryInterval = 100,
    maxRetryInterval = 5000,
    onError = (error: EmitError) => console.error(`omnicast: ${error.message}`),
  } = options;
  const poster = createPoster({ ...options, requestTimeout });
  const queue: Group[] = [];
  const holds = new Map<string, Hold>();
  let count = 0;
  let bytes = 0;
  let closing = false;
  let abandoned = false;
  let running = false;
  let wakeUp: (() => void) | undefined;
  /** What has been taken and is not settled. */
  const open = new Set<Promise<unknown>>();

  /** Several may not have waited for the same thing. */
  const told = new WeakSet<object>();
  const unheard = (failure: unknown) => {
    if (told.has(failure as EmitError)) return;
    told.add(failure as EmitError);
    onError(failure as EmitError);
  };

  // --- taking ----------------------------------------------------------------------------------

  function take(events: readonly (EmitEvent & EmitOptions)[], debounce: number | undefined): Promise<string[]> {
    if (closing) return Promise.reject(new EmitError('closed', 'the emitter is closed'));
    if (events.length === 0) return Promise.resolve([]);
    const parts: Envelope[] = [];
    for (const [index, { type, data, ...rest }] of events.entries()) {
      try {
        parts.push(envelope(type, data, rest));
      } catch (failure) {
        const { code, message, faults, cause } = failure as EmitError;
        return Promise.reject(new EmitError(code, message, { faults: faults.map((each) => ({ ...each, index })), cause }));
      }
    }
    const size = parts.reduce((sum, { json }) => sum + Buffer.byteLength(json) + 1, 0);
    const { entity, slot } = parts[0] as Envelope;
    const held = debounce ? holds.get(entity)?.slots.get(slot) : undefined;
    const [freedCount, freedBytes] = held ? [held.group.parts.length, held.group.bytes] : [0, 0];
    // What is too much for an empty queue too is for the node to judge.
    const others = count - freedCount;
    if (others > 0 && (others + parts.length > maxQueue || bytes - freedBytes + size > maxQueueBytes)) {
      const message = `${count} events (${bytes} bytes) wait for the node already; nothing was published`;
      return Promise.reject(new EmitError('queue_full', message));
    }
    count += parts.length - freedCount;
    bytes += size - freedBytes;

    const group = (resolve: Group['resolve'], reject: Group['reject']): Group => ({
      types: events.map(({ type }) => type),
      parts,
      bytes: size,
      deadline: Date.now() + retryFor + (debounce ?? 0),
      maybePublished: false,
      resolve,
      reject,
    });
    if (held) {
      const { slots } = holds.get(entity) as Hold;
      held.group = group(held.group.resolve, held.group.reject);
      // The latest goes last.
      slots.delete(slot);
      slots.set(slot, held);
      return held.settled;
    }
    let made!: Group;
    const settled = new Promise<string[]>((resolve, reject) => (made = group(resolve, reject)));
    const closeOff = () => open.delete(settled);
    open.add(settled);
    settled.then(closeOff, closeOff);
    if (debounce) {
      hold(entity, slot, { group: made, settled }, debounce);
    } else {
      for (const { entity } of parts) release(entity);
      enqueue(made);
    }
    return settled;
  }

  function hold(entity: string, slot: string, held: Held, ms: number): void {
    const due = Date.now() + ms;
    let row = holds.get(entity);
    const sooner = !row || due < row.due;
    if (row && sooner) clearTimeout(row.timer);
    const timer = sooner ? setTimeout(release, Math.min(ms, TIMER_MAX_MS), entity) : (row as Hold).timer;
    row ??= { slots: new Map(), timer, due };
    if (sooner) Object.assign(row, { timer, due });
    row.slots.set(slot, held);
    holds.set(entity, row);
  }

  /** What is held back of an entity goes ahead of whatever comes now. */
  function release(entity: string): void {
    const row = holds.get(entity);
    if (!row) return;
    clearTimeout(row.timer);
    holds.delete(entity);
    for (const { group } of row.slots.values()) enqueue(group);
  }

  function enqueue(group: Group): void {
    queue.push(group);
    if (!running) void run();
  }

  function settle(group: Group, outcome: string[] | EmitError): void {
    count -= group.parts.length;
    bytes -= group.bytes;
    if (outcome instanceof EmitError) group.reject(outcome);
    else group.resolve(outcome);
  }

  // --- sending ---------------------------------------------------------------------------------

  async function run(): Promise<void> {
    running = true;
    while (queue.length > 0) {
      // Whatever this turn of the event loop emits goes together.
      await new Promise((resolve) => setImmediate(resolve));
      await deliver(nextBatch());
    }
    running = false;
  }

  function nextBatch(): Group[] {
    let [groups, events, size] = [0, 0, 0];
    for (const { parts, bytes } of queue) {
      if (groups > 0 && (events + parts.length > maxBatch || size + bytes > BATCH_BYTES)) break;
      groups += 1;
      events += parts.length;
      size += bytes;
    }
    return queue.splice(0, groups);
  }

  /** Posts these groups until each of them is settled. */
  async function deliver(groups: Group[]): Promise<void> {
    let failures = 0;
    while (groups.length > 0) {
      if (abandoned) {
        for (const group of groups) settle(group, failureOf(group, new EmitError('closed', 'the emitter was closed')));
        return;
      }
      const outcome = await poster.post(`[${groups.flatMap(({ parts }) => parts.map(({ json }) => json)).join()}]`);
      const judged = answered(groups, outcome);
      switch (judged.is) {
        case 'accepted': {
          let at = 0;
          for (const group of groups) settle(group, judged.ids.slice(at, (at += group.parts.length)));
          return;
        }
        case 'faulty':
          groups = withoutFaulty(groups, judged.status, judged.faults);
          break;
        case 'refused':
          if (judged.smaller && groups.length > 1) {
            const half = groups.length >> 1;
            await deliver(groups.slice(0, half));
            groups = groups.slice(half);
            break;
          }
          for (const group of groups) settle(group, failureOf(group, judged.error));
          return;
        case 'again': {
          if (judged.error.maybePublished) for (const group of groups) group.maybePublished = true;
          if (judged.stale && failures === 0) {
            // Nothing is wrong with the node: an idle connection came to its end.
            failures = 1;
            break;
          }
          const wait = pause(failures++, judged.error.retryAfterMs);
          groups = withoutLate(groups, Date.now() + wait, judged.error);
          const late = withoutLate(queue, Date.now() + wait, judged.error);
          queue.splice(0, queue.length, ...late);
          if (groups.length > 0) await sleep(wait);
        }
      }
    }
  }

  /** Full jitter; but not before the node wants to be asked again. */
  function pause(failures: number, retryAfterMs: number | undefined): number {
    const window = Math.min(retryInterval * 2 ** Math.min(failures, 30), maxRetryInterval);
    return (retryAfterMs ?? 0) + Math.random() * window;
  }

  function sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      if (abandoned) return resolve();
      const timer = setTimeout(resolve, Math.min(ms, TIMER_MAX_MS));
      wakeUp = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  /** Those that may still be tried at that time; the others have failed. */
  function withoutLate(groups: readonly Group[], at: number, error: EmitError): Group[] {
    return groups.filter((group) => {
      if (group.deadline > at) return true;
      settle(group, failureOf(group, error));
      return false;
    });
  }

  function flush(): Promise<unknown> {
    for (const entity of [...holds.keys()]) release(entity);
    return Promise.allSettled(open);
  }

  /** Refuses those that have a faulty event. The others are as good as before. */
  function withoutFaulty(groups: readonly Group[], status: number, faults: readonly Fault[]): Group[] {
    let at = 0;
    return groups.filter((group) => {
      const [begin, end] = [at, (at += group.parts.length)];
      const own = faults.filter(({ index }) => index >= begin && index < end);
      const first = own[0];
      if (!first) return true;
      const shifted = own.map((each) => ({ ...each, index: each.index - begin }));
      const where = group.types.length === 1 ? '' : `event ${first.index - begin}, `;
      const about = `${where}${group.types[first.index - begin]}: ${first.path ? `${first.path} ` : ''}${first.message}`;
      const { maybePublished } = group;
      settle(group, new EmitError(first.code, `nothing was published: ${about}`, { status, faults: shifted, maybePublished }));
      return false;
    });
  }

  return {
    emit(type, data, { debounce, ...rest } = {}) {
      const settled = take([{ type, data, ...rest } as unknown as EmitEvent], debounce);
      return new Emitted(settled.then(([id]) => id as string), unheard);
    },
    emitEvents: (events, { debounce } = {}) =>
      new Emitted(take(events as unknown as readonly EmitEvent[], debounce), unheard),
    async flush() {
      await flush();
    },
    async close({ within } = {}) {
      closing = true;
      const abandon = () => {
        abandoned = true;
        poster.close();
        wakeUp?.();
      };
      const timer = within === undefined ? undefined : setTimeout(abandon, within);
      await flush();
      clearTimeout(timer);
      poster.close();
    },
    get pending() {
      return count;
    },
  };
}

/** What an answer means to these groups: one that does not fit them is none. */
function answered(groups: readonly Group[], outcome: Outcome): Outcome {
  const events = groups.reduce((sum, { parts }) => sum + parts.length, 0);
  if (outcome.is === 'accepted' && outcome.ids.length !== events) {
    const message = `the node answered with ${outcome.ids.length} ids for ${events} events`;
    return { is: 'again', stale: false, error: new EmitError('bad_answer', message, { maybePublished: true }) };
  }
  if (outcome.is === 'faulty' && !outcome.faults.some(({ index }) => index < events)) {
    const { status, faults } = outcome;
    const message = `the node answered ${status}: ${faults[0]?.message}`;
    return { is: 'refused', smaller: false, error: new EmitError(faults[0]?.code ?? '', message, { status }) };
  }
  return outcome;
}

/** How an error reads to the one who emitted this group. */
function failureOf({ types, maybePublished }: Group, { code, message, status, retryAfterMs, cause }: EmitError): EmitError {
  const what = types.length === 1 ? types[0] : `${types.length} events`;
  const fate = maybePublished ? 'may or may not have been published' : types.length === 1 ? 'was not published' : 'were not published';
  return new EmitError(code, `${what} ${fate}: ${message}`, { status, maybePublished, retryAfterMs, cause });
}
