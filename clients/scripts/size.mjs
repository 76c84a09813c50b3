// Holds the entries to their size: bundled, minified, gzipped, as a page would load them.
import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';

/** Each is measured by what it adds to a page that has those named by `onto`. */
const LIMITS = [
  { entry: 'omnicast', file: 'client/index.js', max: 6_000, onto: [] },
  { entry: 'omnicast/react', file: 'react/index.js', max: 5_000, onto: ['client/index.js'] },
  { entry: 'omnicast/tabs', file: 'tabs/index.js', max: 4_500, onto: ['client/index.js'] },
  { entry: 'omnicast/react/NotificationToasts', file: 'react/components/NotificationToasts.js', max: 600, onto: ['client/index.js', 'react/index.js'] },
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
const together = (files) => {
  const contents = files.map((file) => `export * from './dist/${file}';\n`).join('');
  return gzipped({ stdin: { contents, resolveDir: process.cwd() } });
};
for (const { entry, file, max, onto } of LIMITS) {
  const before = onto.length > 0 ? await together(onto) : 0;
  const bytes = (await together([...onto, file])) - before;
  console.log(`${entry}: ${bytes} bytes of ${max}${before > 0 ? ' more' : ''}`);
  over ||= bytes > max;
}
const styles = await gzipped({ entryPoints: ['dist/react/styles.css'] });
console.log(`omnicast/react/styles.css: ${styles} bytes of ${STYLES_MAX}`);
if (over || styles > STYLES_MAX) process.exit(1);
