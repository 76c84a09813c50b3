import { chownSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { refuseForeign, socketCandidates } from '../../../src/server/locate.js';

describe('the control socket is looked for where the command line looks', () => {
  it('in all the places, best first', () => {
    const env = { RUNTIME_DIRECTORY: '/run/a:/run/b', XDG_RUNTIME_DIR: '/x', TMPDIR: '/t' };
    expect(socketCandidates(env, 7)).toEqual([
      '/run/a/control.sock',
      '/x/omnicast/control.sock',
      '/run/omnicast/control.sock',
      '/t/omnicast-7/control.sock',
    ]);
    expect(socketCandidates({ RUNTIME_DIRECTORY: '/run/omnicast' }, 0)).toEqual([
      '/run/omnicast/control.sock',
      '/tmp/omnicast-0/control.sock',
    ]);
  });

  it('where one is named, nowhere else', () => {
    expect(socketCandidates({ WS_CONTROL_SOCKET: '/n.sock', XDG_RUNTIME_DIR: '/x' }, 7)).toEqual(['/n.sock']);
  });

  it('not in directories that are relative or empty', () => {
    const env = { WS_CONTROL_SOCKET: '', RUNTIME_DIRECTORY: 'a', XDG_RUNTIME_DIR: '', TMPDIR: 'tmp' };
    expect(socketCandidates(env, 7)).toEqual(['/run/omnicast/control.sock', '/tmp/omnicast-7/control.sock']);
  });
});

describe('a socket where everybody may put one', () => {
  const directory = mkdtempSync(join(tmpdir(), 'omnicast-'));
  const path = join(directory, 'control.sock');
  const uid = process.geteuid?.() ?? 0;
  const env = { TMPDIR: dirname(directory) };
  afterAll(() => rmSync(directory, { recursive: true }));

  it('is trusted in a directory of one’s own, and elsewhere', () => {
    refuseForeign(path, env, uid);
    refuseForeign('/nowhere/control.sock', env, uid);
    refuseForeign(join(env.TMPDIR, 'absent/control.sock'), env, uid);
  });

  it.skipIf(uid !== 0)('is not trusted in a directory of somebody else', () => {
    chownSync(directory, 12_345, 12_345);
    expect(() => refuseForeign(path, env, uid)).toThrow('another user');
  });
});
