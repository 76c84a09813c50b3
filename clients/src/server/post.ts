// One request to the node's control API, and what its answer means.
import { Agent, type ClientRequest, type IncomingMessage, request as requestHttp, type RequestOptions } from 'node:http';
import { Agent as SecureAgent, request as requestHttps } from 'node:https';
import { EmitError, type Fault } from './error.js';
import { refuseForeign, socketCandidates } from './locate.js';
import { controlUrl } from './options.js';

/** Longest answer that is read: the ids of the most events that one request may have. */
const ANSWER_MAX = 16 << 20;

/** What became of a request. */
export type Outcome =
  | { readonly is: 'accepted'; readonly ids: readonly string[] }
  /** Events of it are not right, and nothing was published. */
  | { readonly is: 'faulty'; readonly status: number; readonly faults: readonly Fault[] }
  /** It will not be taken as it is. `smaller`: in parts it may. */
  | { readonly is: 'refused'; readonly smaller: boolean; readonly error: EmitError }
  /** Not now. `stale`: it met the end of a connection that had been idle. */
  | { readonly is: 'again'; readonly stale: boolean; readonly error: EmitError };

export interface Address {
  socketPath?: string | undefined;
  url?: string | URL | undefined;
  token?: string | undefined;
  requestTimeout: number;
}

/** Connects to a node, keeps the connection, and posts over it. */
export interface Poster {
  post(body: string): Promise<Outcome>;
  close(): void;
}

interface Place {
  readonly name: string;
  readonly options: RequestOptions;
}

type Code = { code?: unknown };

export function createPoster(address: Address): Poster {
  const { url, requestTimeout } = address;
  const { places, secure, token } = url === undefined ? overSocket(address.socketPath) : overTcp(url, address.token);
  const settings = { keepAlive: true, maxSockets: 1, maxFreeSockets: 1 };
  const agent = secure ? new SecureAgent(settings) : new Agent(settings);
  const request = secure ? requestHttps : requestHttp;
  /** Once a node has been found, no other is looked for: while it restarts, the next one is not the right one. */
  let found: Place | undefined;

  async function post(body: string): Promise<Outcome> {
    const bytes = Buffer.from(body);
    const failures: EmitError[] = [];
    for (const place of found ? [found] : places) {
      const outcome = await attempt(place, bytes);
      if (outcome.is === 'again' && outcome.error.code === 'unreachable') {
        failures.push(outcome.error);
        continue;
      }
      found = place;
      return outcome;
    }
    const message = failures.map((failure) => failure.message).join(', ');
    const error = new EmitError('unreachable', `no node found: ${message}`, { cause: failures.at(-1)?.cause });
    return { is: 'again', stale: false, error };
  }

  function attempt(place: Place, body: Uint8Array): Promise<Outcome> {
    return new Promise((resolve) => {
      let sent: ClientRequest | undefined;
      let connected = false;
      let timer: ReturnType<typeof setTimeout> | undefined;
      const settle = (outcome: Outcome) => {
        clearTimeout(timer);
        resolve(outcome);
      };
      const lost = (cause: unknown) => {
        const { code } = cause as Code;
        const stale = sent?.reusedSocket === true && (code === 'ECONNRESET' || code === 'EPIPE');
        const message = `${place.name} (${cause instanceof Error ? cause.message : String(cause)})`;
        const error = connected
          ? new EmitError('connection_lost', `no answer from ${message}`, { maybePublished: true, cause })
          : new EmitError('unreachable', message, { cause });
        settle({ is: 'again', stale, error });
      };
      try {
        if (place.options.socketPath) refuseForeign(place.options.socketPath, process.env, userId());
        sent = request({
          ...place.options,
          agent,
          method: 'POST',
          headers: {
            'Content-Type': 'application/json',
            'Content-Length': body.byteLength,
            ...(token === undefined ? {} : { Authorization: `Bearer ${token}` }),
          },
        });
      } catch (cause) {
        lost(cause);
        return;
      }
      sent.on('socket', (socket) => {
        if (!socket.connecting) connected = true;
        else socket.once(secure ? 'secureConnect' : 'connect', () => (connected = true));
      });
      sent.on('response', (answer) => {
        read(answer).then((text) => settle(meaning(answer, text, place.name)), lost);
      });
      sent.on('error', lost);
      timer = setTimeout(() => {
        const message = `no answer from ${place.name} within ${requestTimeout} ms`;
        const error = new EmitError('timeout', message, { maybePublished: connected });
        settle({ is: 'again', stale: false, error });
        sent?.destroy();
      }, requestTimeout);
      sent.end(body);
    });
  }

  return { post, close: () => agent.destroy() };
}

const userId = () => process.geteuid?.() ?? 0;

function overSocket(named: string | undefined) {
  const paths = named === undefined ? socketCandidates(process.env, userId()) : [named];
  const places = paths.map(
    (socketPath): Place => ({ name: socketPath, options: { socketPath, host: 'localhost', path: '/api/events' } }),
  );
  return { places, secure: false, token: undefined };
}

function overTcp(url: string | URL, named: string | undefined) {
  const { protocol, hostname, port, pathname, origin } = controlUrl(url);
  const token = named ?? process.env.WS_CONTROL_TOKEN;
  if (!token) throw new TypeError('omnicast: over TCP a node asks for a token: give `token`, or set WS_CONTROL_TOKEN');
  // Brackets are how a URL writes an IPv6 address, not how a socket takes it.
  const host = hostname.replace(/^\[(.*)\]$/, '$1');
  const options = { host, port: port || undefined, path: `${pathname.replace(/\/$/, '')}/api/events` };
  return { places: [{ name: origin, options }], secure: protocol === 'https:', token };
}

/** The whole answer; half of one is none. */
function read(answer: IncomingMessage): Promise<string> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let length = 0;
    answer.on('data', (chunk: Buffer) => {
      length += chunk.byteLength;
      if (length > ANSWER_MAX) answer.destroy(new Error('its answer is too long'));
      else chunks.push(chunk);
    });
    answer.on('error', reject);
    answer.on('close', () => reject(new Error('its answer broke off')));
    answer.on('end', () => resolve(Buffer.concat(chunks).toString()));
  });
}

interface Answer {
  ids?: unknown;
  errors?: unknown;
  error?: { code?: unknown; message?: unknown };
}

function meaning(answer: IncomingMessage, text: string, place: string): Outcome {
  const status = answer.statusCode ?? 0;
  let told: Answer = {};
  try {
    told = (JSON.parse(text) as Answer | null) ?? {};
  } catch {
    // What stands before a node, such as a proxy, does not speak JSON.
  }
  if (status === 200 && Array.isArray(told.ids)) return { is: 'accepted', ids: told.ids.map(String) };
  const faults = Array.isArray(told.errors) ? told.errors.map(fault) : [];
  if (faults.length > 0) return { is: 'faulty', status, faults };

  // 408 and 503 of a node say that nothing was done; the same of a proxy say nothing.
  const ofNode = typeof told.error?.code === 'string';
  const later = status >= 500 || status === 408 || status === 429;
  const code = ofNode ? String(told.error?.code) : status === 200 ? 'bad_answer' : `status_${status}`;
  const message = `${place} answered ${status}: ${String(told.error?.message ?? (text.slice(0, 200) || 'nothing'))}`;
  const untouched = status < 500 ? status !== 200 : ofNode && status === 503;
  const seconds = Number(answer.headers['retry-after']);
  const error = new EmitError(code, message, {
    status,
    maybePublished: !untouched,
    retryAfterMs: seconds >= 0 ? seconds * 1000 : undefined,
  });
  if (later || status === 200) return { is: 'again', stale: false, error };
  return { is: 'refused', smaller: status === 413, error };
}

function fault(told: unknown): Fault {
  const { index, path, code, message } = (told ?? {}) as Partial<Record<keyof Fault, unknown>>;
  return { index: Number(index) || 0, path: String(path ?? ''), code: String(code ?? ''), message: String(message ?? '') };
}
