// An event as it is posted, made when it is emitted: what the caller changes afterwards changes nothing.
import { randomBytes } from 'node:crypto';
import { ENTITY } from './catalogue.js';
import { EmitError } from './error.js';
import type { Addressing } from './types.js';

/** Lists that narrow an event. Where one gets lost, an event for few would become one for all. */
const NARROWING = ['roles', 'userIds', 'excludeUserIds'] as const;

type Loose = Omit<Addressing, 'roles'> & { roles?: readonly string[] };

export interface Envelope {
  readonly json: string;
  /** What it is about, within which order matters. */
  readonly entity: string;
  /** Events of the same slot are values of one thing: the later one replaces the earlier. */
  readonly slot: string;
}

/** @throws EmitError where it cannot be written, or where a list that narrows it is `undefined`. */
export function envelope(type: string, data: unknown, options: Loose): Envelope {
  const { roles, userIds, excludeUserIds, excludeSessionId, key, idempotencyKey } = options;
  const payload = (typeof data === 'object' && data !== null ? data : {}) as Record<string, unknown>;
  const lost =
    NARROWING.find((name) => name in options && options[name] === undefined) ??
    ('targetRoles' in payload && payload.targetRoles === undefined ? 'data.targetRoles' : undefined);
  if (lost) {
    const message = 'is undefined; leave it out to narrow nothing';
    const faults = [{ index: 0, path: lost, code: 'undefined_list', message }];
    throw new EmitError('undefined_list', `${type}: ${lost} ${message}`, { faults });
  }
  const audience = { roles, userIds, excludeUserIds, excludeSessionId };
  const field: string | undefined = ENTITY[type as keyof typeof ENTITY];
  const entity = key ?? (field && String(payload[field])) ?? type;
  try {
    const json = JSON.stringify({
      // What is no option goes along: the node refuses it, where it is a slip of `userIds`.
      ...options,
      type,
      data,
      // Not of a counter or a cache: of two copies of a frozen machine each needs its own.
      idempotencyKey: idempotencyKey ?? randomBytes(15).toString('base64url'),
    });
    return { json, entity, slot: `${type}${JSON.stringify([audience, payload.targetRoles])}` };
  } catch (cause) {
    throw new EmitError('not_json', `${type}: its payload cannot be written as JSON (${String(cause)})`, { cause });
  }
}
