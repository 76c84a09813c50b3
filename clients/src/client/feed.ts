// What the user wants to hear, what this connection was asked for, and where in the order of events
// the client stands. Pure: commands come out of `plan`, events out of `out`.
//
// After a return, the namespaces that were subscribed before are *owed* what they missed. All of them
// are asked for in one command, so that there is one replay and one order: with several, one would
// bring events that are newer than what another still has to bring. Where their keys differ, that
// command asks for all entities, and commands right behind it narrow each namespace to its keys; what
// slips through in between is more than was asked for, never less.
//
// Events of the replay are handed on as they come. What came before it began waits for its place among
// them. The position moves only with what was handed on, so a return that breaks goes on from there.

import { OmnicastError } from './error.js';
import type { Gap, Position, Recovered } from './types.js';

/** An event as the node sends it. */
export interface RawEvent {
  readonly type: string;
  readonly namespace: string;
  readonly data: object;
  readonly timestamp: number;
  readonly id: string;
}

/** A command to be sent. */
export interface Command {
  readonly type: 'subscribe' | 'unsubscribe';
  readonly data: { readonly namespaces: string[]; readonly keys?: readonly string[] | undefined; readonly since?: Position };
  /** Those who wait for its answer. */
  readonly claims: Claim[];
}

/** One wish of the user, for one namespace. */
export interface Claim {
  readonly namespace: string;
  /** `null` = all entities. */
  readonly keys: Set<string> | null;
  /** Called once: with an error where the node refused. */
  settle: ((error?: OmnicastError) => void) | undefined;
}

/** Of whatever catalogue. */
interface Names {
  readonly namespaces: readonly string[];
}

/** What comes out. */
export interface Out {
  event(event: RawEvent): void;
  gap(gap: Pick<Gap, 'reason' | 'since'> & Names): void;
  recovered(recovered: Pick<Recovered, 'replayed'> & Names): void;
  refused(error: OmnicastError): void;
}

/** See the functions in {@link createFeed}. */
export type Feed = ReturnType<typeof createFeed>;

/** How it stands with one namespace on this connection. */
interface Line {
  /** Its keys as it was asked for last, as JSON: `null` = all. `UNSURE`: the node may hold something else. */
  asked: string;
  /** The last command that has no answer yet. */
  flying?: Command | undefined;
}

const UNSURE = '';

/**
 * Whether position `a` is newer than `b`. Positions are decimal numbers of any size without leading
 * zeros, so the longer one is newer.
 */
export function isNewer(a: string, b: string): boolean {
  return a.length === b.length ? a > b : a.length > b.length;
}

/** `given` is a position that the user kept. */
export function createFeed(out: Out, given: Position | null | undefined) {
  const claims = new Set<Claim>();
  /** Namespaces that were subscribed, on this connection or an earlier one. */
  const known = new Set<string>();
  let user: string | undefined;
  /** The position that the user gave: as long as it is `position`, all is to be restored from it. */
  let start: Position | null = null;
  // It may come from a storage that holds anything. What is no position is one that the node does not know: a gap.
  if (given != null) start = { epoch: String(given.epoch), id: String(given.id) };
  /** Where to go on from. */
  let position = start;
  /** Where `refresh` was last told about. */
  let refreshed: Position | null = null;

  // What follows lives as long as one connection.
  let epoch: string | undefined;
  let allowed: readonly string[] = [];
  const lines = new Map<string, Line>();
  /** The namespaces for which a replay has to be asked for. */
  let owed: readonly string[] = [];
  /** The command that asked for it. */
  let replay: Command | undefined;
  /** The node has promised it. */
  let streaming = false;
  /** Events that wait for their place. */
  let waiting: RawEvent[] = [];
  /** Everything up to here is known to have come, once nothing is owed. */
  let head = '';

  /** The union of all claims: a namespace and its keys, sorted; `null` = all. */
  function wanted(): Map<string, string[] | null> {
    const union = new Map<string, string[] | null>();
    for (const { namespace, keys } of claims) {
      const others = union.get(namespace);
      union.set(namespace, keys && others !== null ? [...new Set([...(others ?? []), ...keys])].sort() : null);
    }
    return union;
  }

  /** The node has answered it, in whatever way. */
  function land(command: Command): void {
    for (const line of lines.values()) if (line.flying === command) line.flying = undefined;
  }

  function refuse(those: readonly Claim[], error: OmnicastError): void {
    settle(those, error);
    out.refused(error);
  }

  /** There is no replay. */
  function lose({ data: { namespaces, since } }: Command, reason: string): void {
    replay = undefined;
    if (!since) return;
    // A position of the user's own may be of the future; it must not hide what comes.
    if (position === start) position = null;
    out.gap({ namespaces, reason, since });
  }

  function reach(id: string): void {
    if (isNewer(id, head)) head = id;
  }

  const isWhole = () => owed.length === 0 && !replay;

  /** After a change of what is owed: hands on what need not wait any longer. */
  function turn(): void {
    if (!isWhole()) return;
    streaming = false;
    handBefore();
    if (epoch !== undefined && isNew(head)) position = { epoch, id: head };
  }

  function isNew(id: string): boolean {
    return position?.epoch !== epoch || isNewer(id, position?.id ?? '');
  }

  /** Hands on what waits, in order: all of it, or what comes before this id. */
  function handBefore(id?: string): void {
    let end = 0;
    for (const event of waiting) {
      if (id !== undefined && !isNewer(id, event.id)) break;
      end += 1;
    }
    for (const event of waiting.splice(0, end)) hand(event);
  }

  /** Hands an event on, once. A handler may end the connection: the rest is for the next one. */
  function hand(event: RawEvent): void {
    if (epoch === undefined || !isNew(event.id)) return;
    position = { epoch, id: event.id };
    out.event(event);
  }

  function release(those: readonly Claim[]): void {
    for (const claim of those) claims.delete(claim);
    settle(those);
  }

  /** The connection is gone. */
  function shut(): void {
    epoch = undefined;
    lines.clear();
    owed = waiting = [];
    replay = undefined;
    streaming = false;
    head = '';
  }

  /** The session was renewed: the role may be another one. */
  function renew(lastEventId: string, namespaces: readonly string[]): void {
    allowed = namespaces;
    // The node has ended what is no longer allowed.
    for (const namespace of lines.keys()) if (!allowed.includes(namespace)) lines.delete(namespace);
    reach(lastEventId);
    turn();
  }

  return {
    release,
    shut,
    renew,

    /** Whether everything that was missed has been handed on. */
    isWhole,

    position: () => position,

    claim(namespace: string, keys: readonly string[] | undefined, settled: Claim['settle']): Claim {
      const claim: Claim = { namespace, keys: keys ? new Set(keys) : null, settle: settled };
      claims.add(claim);
      return claim;
    },

    /** Takes keys, or all, of these namespaces out of every claim. */
    releaseAll(namespaces: readonly string[], keys: readonly string[] | undefined): void {
      for (const claim of claims) {
        if (!namespaces.includes(claim.namespace)) continue;
        for (const key of keys ?? []) claim.keys?.delete(key);
        if (!keys || claim.keys?.size === 0) release([claim]);
      }
    },

    /** A connection was accepted. */
    open(now: string, lastEventId: string, namespaces: readonly string[], who: string): void {
      shut();
      if (user !== undefined && user !== who) {
        // Somebody else: what they missed is not what the other one missed.
        position = null;
        known.clear();
      }
      user = who;
      epoch = now;
      owed = [...wanted().keys()].filter((namespace) => position && (position === start || known.has(namespace)));
      renew(lastEventId, namespaces);
    },

    /** The commands that bring the connection to what is wanted. */
    plan(): Command[] {
      const wishes = wanted();
      for (const namespace of known) if (!wishes.has(namespace)) known.delete(namespace);
      if (epoch === undefined) return [];
      /** By what the commands are beside their namespaces. */
      const groups = new Map<string, Command>();
      const join = (namespace: string, type: Command['type'], rest: object): Command => {
        const group = type + JSON.stringify(rest);
        const command = groups.get(group) ?? { type, data: { namespaces: [], ...rest }, claims: [] };
        groups.set(group, command);
        command.data.namespaces.push(namespace);
        return command;
      };
      for (const namespace of lines.keys()) {
        if (wishes.has(namespace)) continue;
        join(namespace, 'unsubscribe', {});
        lines.delete(namespace);
      }
      const those = owed.filter((namespace) => wishes.has(namespace) && allowed.includes(namespace));
      if (position) {
        const kinds = new Set(those.map((namespace) => JSON.stringify(wishes.get(namespace))));
        const keys = kinds.size === 1 && wishes.get(those[0] ?? '');
        for (const namespace of those) {
          replay = join(namespace, 'subscribe', { keys: keys || undefined, since: position });
          lines.set(namespace, { asked: JSON.stringify(keys || null), flying: replay });
        }
      }
      owed = [];
      for (const [namespace, keys] of wishes) {
        const waiters = [...claims].filter((claim) => claim.namespace === namespace && claim.settle);
        if (!allowed.includes(namespace)) {
          if (known.delete(namespace) || waiters.length > 0) {
            refuse(waiters, new OmnicastError('forbidden_namespace', `forbidden: ${namespace}`));
          }
          continue;
        }
        const line = lines.get(namespace);
        const asked = JSON.stringify(keys);
        if (line?.asked !== asked) {
          const command = join(namespace, 'subscribe', { keys: keys ?? undefined });
          lines.set(namespace, { asked, flying: command });
          command.claims.push(...waiters);
        } else if (line.flying) line.flying.claims.push(...waiters);
        else settle(waiters);
      }
      turn();
      return [...groups.values()];
    },

    /**
     * A command that changes nothing and whose answer tells a newer position, where the position has not
     * moved since the last call. Without it a quiet subscription would stay at a position that the
     * node's history moves past, and its return would look like a loss.
     */
    refresh(): Command | undefined {
      const moved = position !== refreshed;
      refreshed = position;
      if (moved || !isWhole()) return undefined;
      let least: Command | undefined;
      let length = Infinity;
      for (const [namespace, { asked, flying }] of lines) {
        if (!asked || flying || asked.length >= length) continue;
        ({ length } = asked);
        least = { type: 'subscribe', data: { namespaces: [namespace], keys: JSON.parse(asked) ?? undefined }, claims: [] };
      }
      return least;
    },

    /** The node has done it. */
    answered(command: Command, data: Readonly<Record<string, unknown>>): void {
      land(command);
      if (command.type === 'unsubscribe') return;
      settle(command.claims);
      for (const namespace of command.data.namespaces) known.add(namespace);
      reach(String(data.lastEventId));
      if (command === replay) {
        streaming = data.recovered === true;
        if (!streaming) lose(command, String(data.reason));
      }
      turn();
    },

    /** The node has refused it. Whether to ask again at once. */
    refused(command: Command, error: OmnicastError): boolean {
      const { namespaces } = command.data;
      // The role became another one meanwhile: what it may still see is asked for again.
      const overtaken = namespaces.some((namespace) => !allowed.includes(namespace));
      land(command);
      if (error.retryable || overtaken) {
        for (const namespace of namespaces) lines.set(namespace, { asked: UNSURE });
        if (command === replay) {
          owed = namespaces;
          replay = undefined;
        }
      } else if (command.type === 'subscribe') {
        for (const namespace of namespaces) known.delete(namespace);
        if (command === replay) lose(command, error.code);
        refuse(command.claims, error);
      }
      turn();
      return overtaken;
    },

    /** A replay is over. */
    caughtUp({ replayed }: Pick<Recovered, 'replayed'> & Names): void {
      if (!replay || !streaming) return;
      const { namespaces } = replay.data;
      replay = undefined;
      turn();
      out.recovered({ namespaces, replayed });
    },

    event(event: RawEvent): void {
      if (streaming || isWhole()) {
        handBefore(event.id);
        hand(event);
      } else waiting.push(event);
    },
  };
}

function settle(claims: readonly Claim[], error?: OmnicastError): void {
  for (const claim of claims) {
    claim.settle?.(error);
    claim.settle = undefined;
  }
}
