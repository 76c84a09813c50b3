// Where a node's control socket lies, in the same places and the same order as the node's command line looks.
import { statSync } from 'node:fs';
import { dirname, isAbsolute, join, relative } from 'node:path';

const FILE = 'control.sock';
const SYSTEM_DIRECTORY = '/run/omnicast';

type Env = Readonly<Record<string, string | undefined>>;

/** A relative or empty directory is none. */
const absolute = (directory: string | undefined) => (directory && isAbsolute(directory) ? directory : undefined);

const temporary = (env: Env) => absolute(env.TMPDIR) ?? '/tmp';

/** Where to look for a node, best first. Whoever names one by `WS_CONTROL_SOCKET` must not reach another. */
export function socketCandidates(env: Env, uid: number): string[] {
  if (env.WS_CONTROL_SOCKET) return [env.WS_CONTROL_SOCKET];
  const runtime = absolute(env.RUNTIME_DIRECTORY?.split(':')[0]);
  const xdg = absolute(env.XDG_RUNTIME_DIR);
  const directories = [
    ...(runtime ? [runtime] : []),
    ...(xdg ? [join(xdg, 'omnicast')] : []),
    SYSTEM_DIRECTORY,
    join(temporary(env), `omnicast-${uid}`),
  ];
  return [...new Set(directories.map((directory) => join(directory, FILE)))];
}

/**
 * In a directory that everybody may write to, somebody else could have put a socket of that name first, and
 * would then be told every event. Root and this user are trusted.
 */
export function refuseForeign(path: string, env: Env, uid: number): void {
  const directory = dirname(path);
  const below = relative(temporary(env), directory);
  if (below.startsWith('..') || isAbsolute(below)) return;
  let owner: number;
  try {
    owner = statSync(directory).uid;
  } catch {
    return; // Connecting will say why.
  }
  if (owner !== 0 && owner !== uid) throw new Error('its directory belongs to another user');
}
