// Puts the style sheet of the components where the package exports it.
import { copyFileSync } from 'node:fs';

copyFileSync(new URL('../src/react/styles.css', import.meta.url), new URL('../dist/react/styles.css', import.meta.url));
