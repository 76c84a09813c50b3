// Holds the entries to their size: bundled, minified, gzipped, as a page would load them.
import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';

const LIMITS = [{ entry: 'omnicast', file: 'dist/client/index.js', max: 6_000 }];

let over = false;
for (const { entry, file, max } of LIMITS) {
  const { outputFiles } = await build({
    entryPoints: [file],
    bundle: true,
    minify: true,
    format: 'esm',
    target: 'es2022',
    write: false,
  });
  const bytes = gzipSync(outputFiles[0].contents, { level: 9 }).length;
  console.log(`${entry}: ${bytes} bytes of ${max} (${outputFiles[0].contents.length} before gzip)`);
  over ||= bytes > max;
}
if (over) process.exit(1);
