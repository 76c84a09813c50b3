/** Something that the node refused, or that the client could not do. */
export class OmnicastError extends Error {
  override readonly name = 'OmnicastError';
  /**
   * A code or close reason of the node's protocol, or one of the client's own: `not_connected`,
   * `connection_lost`, `disconnected`, `no_answer`, `timeout`, `no_credential`, `auth_function`,
   * `bad_url`, `no_socket`, `bad_frame`, `too_large`, `handler`.
   */
  declare readonly code: string;
  /** Whether the same may succeed later. */
  declare readonly retryable: boolean;
  declare readonly retryAfterMs: number | undefined;
  /** What the node told beside code and message: `field`, `path`; for a close its `code` as `closeCode`. */
  declare readonly detail: Readonly<Record<string, unknown>>;

  constructor(code: string, message?: string, detail: Record<string, unknown> = {}, cause?: unknown) {
    super(message || `${code}`.replace(/_/g, ' '), cause ? { cause } : undefined);
    this.code = code;
    this.retryable = detail.retryable === true;
    this.retryAfterMs = Number(detail.retryAfterMs) || undefined;
    this.detail = detail;
  }

  /** With the message, which JSON leaves out of an error otherwise. */
  toJSON(): object {
    return { ...this, message: this.message };
  }
}
