/** Something that the node refused, or that the client could not do. */
export class OmnicastError extends Error {
  override readonly name = 'OmnicastError';
  /**
   * A code or close reason of the node's protocol, or one of the client's own: `not_connected`,
   * `connection_lost`, `no_answer`, `timeout`, `no_credential`, `auth_function`, `no_socket`,
   * `bad_frame`, `too_large`, `handler`.
   */
  readonly code: string;
  /** Whether the same may succeed later. */
  readonly retryable: boolean;
  readonly retryAfterMs: number | undefined;
  /** What the node told beside code and message: `field`, `path`; for a close its `code` as `closeCode`. */
  readonly detail: Readonly<Record<string, unknown>>;

  constructor(code: string, about = '', detail: Record<string, unknown> = {}, cause?: unknown) {
    super(about ? `${code}: ${about}` : code, cause === undefined ? undefined : { cause });
    this.code = code;
    this.retryable = detail.retryable === true;
    this.retryAfterMs = Number(detail.retryAfterMs) || undefined;
    this.detail = detail;
  }
}
