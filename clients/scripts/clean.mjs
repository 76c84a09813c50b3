// Removes what `tsc` built before: a file that lost its source must not be published.
import { rmSync } from 'node:fs';

rmSync(new URL('../dist', import.meta.url), { recursive: true, force: true });
