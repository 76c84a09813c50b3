// Holds the entries to their size: bundled, minified, gzipped, as a page would load them.
import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';

/** Each is measured by what it adds to a page that has those before it. */
const LIMITS = [
  { entry: 'omnicast', file: 'client/index.js', max: 6_000 },
  { entry: 'omnicast/react', file: 'react/index.js', max: 5_000 },
  { entry: 'omnicast/react/NotificationToasts', file: 'react/components/NotificationToasts.js', max: 600 },
];
const STYLES_MAX = 2_000;

async function gzipped(input) {
  const { outputFiles } = await build({
    ...input,
    bundle: true,
    minify: true,
    format: 'esm',
    target: 'es2022',
    external: ['react'],
    write: false,
  });
  return gzipSync(outputFiles[0].contents, { level: 9 }).length;
}

let over = false;
let text = '';
let before = 0;
for (const { entry, file, max } of LIMITS) {
  text += `export * from './dist/${file}';\n`;
  const bytes = await gzipped({ stdin: { contents: text, resolveDir: process.cwd() } });
  console.log(`${entry}: ${bytes - before} bytes of ${max}${before > 0 ? ' more' : ''}`);
  over ||= bytes - before > max;
  before = bytes;
}
const styles = await gzipped({ entryPoints: ['dist/react/styles.css'] });
console.log(`omnicast/react/styles.css: ${styles} bytes of ${STYLES_MAX}`);
if (over || styles > STYLES_MAX) process.exit(1);
