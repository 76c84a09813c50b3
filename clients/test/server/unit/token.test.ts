import { createHmac } from 'node:crypto';
import { afterEach, expect, it, vi } from 'vitest';
import { createToken } from 'omnicast/server';

const SECRET = 'a secret of at least thirty-two bytes';
const parts = (token: string) => token.split('.').map((part) => Buffer.from(part, 'base64url').toString());

afterEach(() => vi.unstubAllEnvs());

it('is a JWT signed with HS256', () => {
  const token = createToken({ sub: 'u_1', role: 'staff', sid: 's_1', exp: 2_000_000_000, nbf: 3 }, SECRET);
  const [head, claims] = parts(token);
  expect(JSON.parse(head as string)).toEqual({ alg: 'HS256', typ: 'JWT' });
  expect(JSON.parse(claims as string)).toEqual({ sub: 'u_1', role: 'staff', sid: 's_1', exp: 2_000_000_000, nbf: 3 });
  const at = token.lastIndexOf('.');
  expect(token.slice(at + 1)).toBe(createHmac('sha256', SECRET).update(token.slice(0, at)).digest('base64url'));
});

it('is of a new session and of an hour, and of the node’s own secret, where nothing else is said', () => {
  vi.stubEnv('WS_JWT_SECRET', SECRET);
  const claims = () => JSON.parse(parts(createToken({ sub: 'u', role: 'guest' }))[1] as string);
  const [one, other] = [claims(), claims()];
  expect(one.sid).not.toBe(other.sid);
  expect(one.exp - Date.now() / 1000).toBeGreaterThan(3590);
  expect(one.exp - Date.now() / 1000).toBeLessThanOrEqual(3600);
});

it('is not made where the node would refuse it', () => {
  const claims = { sub: 'u', role: 'guest' };
  vi.stubEnv('WS_JWT_SECRET', undefined);
  expect(() => createToken(claims)).toThrow('WS_JWT_SECRET');
  expect(() => createToken(claims, 'hush')).toThrow('at least 32 bytes');
  expect(() => createToken({ ...claims, sub: '' }, SECRET)).toThrow('sub must be');
  expect(() => createToken({ ...claims, sub: undefined as never }, SECRET)).toThrow('sub must be');
  expect(() => createToken({ ...claims, sid: 'a\nb' }, SECRET)).toThrow('sid must be');
  expect(() => createToken({ ...claims, role: 'ö'.repeat(129) }, SECRET)).toThrow('role must be');
  expect(() => createToken({ ...claims, exp: Date.now() }, SECRET)).toThrow('in seconds');
  expect(() => createToken({ ...claims, exp: Number.NaN }, SECRET)).toThrow('in seconds');
});
