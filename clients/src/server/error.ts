/** What is wrong with an event, as the node says it. */
export interface Fault {
  /** Which event of the call, from 0. */
  readonly index: number;
  /** Where in the event: `data.total`, `userIds`; empty for the event as a whole. */
  readonly path: string;
  /** `missing`, `wrong_type`, `bad_value`, `unknown_type`, `unknown_field`, `empty_list`, `too_large` and so on. */
  readonly code: string;
  /** For people. */
  readonly message: string;
}

interface Detail {
  status?: number | undefined;
  faults?: readonly Fault[];
  maybePublished?: boolean;
  retryAfterMs?: number | undefined;
  cause?: unknown;
}

/** Events that the node did not accept, or of which it is not known whether it did. */
export class EmitError extends Error {
  override readonly name = 'EmitError';
  /**
   * The code of the first fault; or of the node's answer (`unauthorized`, `overloaded`, `body_too_large`); or one
   * of the emitter's own: `unreachable`, `connection_lost`, `timeout`, `bad_answer`, `queue_full`, `closed`,
   * `not_json`, `undefined_list`.
   */
  readonly code: string;
  /** The HTTP status, where the node answered. */
  readonly status: number | undefined;
  /** Everything that is wrong with the events, as far as the node lists it. */
  readonly faults: readonly Fault[];
  /** Of the first fault. */
  readonly index: number | undefined;
  /** Of the first fault. */
  readonly path: string | undefined;
  /** False: nothing was published. True: the answer got lost, and with it the knowledge. */
  readonly maybePublished: boolean;
  readonly retryAfterMs: number | undefined;

  constructor(code: string, message: string, detail: Detail = {}) {
    super(message, detail.cause === undefined ? undefined : { cause: detail.cause });
    this.code = code;
    this.status = detail.status;
    this.faults = detail.faults ?? [];
    this.index = this.faults[0]?.index;
    this.path = this.faults[0]?.path;
    this.maybePublished = detail.maybePublished ?? false;
    this.retryAfterMs = detail.retryAfterMs;
  }

  /** With the message, which JSON leaves out of an error otherwise. */
  toJSON(): object {
    return { ...this, message: this.message };
  }
}
