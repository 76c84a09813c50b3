import { createHmac, randomUUID } from 'node:crypto';

/** The node takes no shorter secret. */
const SECRET_MIN_BYTES = 32;
const ID_MAX_BYTES = 256;
/** The first message of a client may have 4096 bytes, the token included. */
const TOKEN_MAX_BYTES = 4000;
/** Seconds since the epoch have a digit more in the year 5138; ms have had since 1973. */
const LATEST_S = 1e11;

export interface TokenClaims {
  /** The user. */
  sub: string;
  role: string;
  /** The session. By default a new one. */
  sid?: string | undefined;
  /** When it ends, in seconds since the epoch. By default in an hour. */
  exp?: number | undefined;
  /** From when it holds, in seconds since the epoch. */
  nbf?: number | undefined;
}

/**
 * A token by which the node knows a client: a JWT signed with HS256 and the node's own `WS_JWT_SECRET`. Make it
 * after your own sign-in; whoever has the secret can be anybody.
 *
 * @throws TypeError where the node would not take it.
 */
export function createToken(claims: TokenClaims, secret = process.env.WS_JWT_SECRET): string {
  const { sub, role, sid = randomUUID(), exp = Math.floor(Date.now() / 1000) + 3600, nbf } = claims;
  if (secret === undefined) throw refusal('the secret is missing: give it, or set WS_JWT_SECRET');
  if (Buffer.byteLength(secret) < SECRET_MIN_BYTES) throw refusal(`the secret needs at least ${SECRET_MIN_BYTES} bytes`);
  for (const [name, id] of Object.entries({ sub, role, sid })) {
    if (typeof id !== 'string' || id === '' || Buffer.byteLength(id) > ID_MAX_BYTES || /\p{Cc}/u.test(id)) {
      throw refusal(`${name} must be text of 1 to ${ID_MAX_BYTES} bytes without control characters`);
    }
  }
  if (!(exp > 0 && exp < LATEST_S)) throw refusal('exp is in seconds since the epoch');
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const text = `${part({ alg: 'HS256', typ: 'JWT' })}.${part({ sub, role, sid, exp, nbf })}`;
  const token = `${text}.${createHmac('sha256', secret).update(text).digest('base64url')}`;
  if (token.length > TOKEN_MAX_BYTES) throw refusal('the token is too long for the node');
  return token;
}

const refusal = (why: string) => new TypeError(`omnicast: no token: ${why}`);
