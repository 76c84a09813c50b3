// Puts the style sheet of the components where the package exports it, and beside it what a strict compiler asks of an
// import that has only effects.
import { copyFileSync, writeFileSync } from 'node:fs';

const built = new URL('../dist/react/', import.meta.url);
copyFileSync(new URL('../src/react/styles.css', import.meta.url), new URL('styles.css', built));
writeFileSync(new URL('styles.css.d.ts', built), 'export {};\n');
