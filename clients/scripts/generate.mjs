// Generates the types and the documents of the protocol from the policy that is built into the node.
// With `--check` it writes nothing, and fails where a committed file differs.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { asyncapi } from './asyncapi.mjs';
import { readCatalogue } from './catalogue.mjs';
import { openapi } from './openapi.mjs';
import { eventsSchema } from './schema.mjs';
import { typesText } from './types.mjs';

const ROOT = new URL('../../', import.meta.url);

const catalogue = readCatalogue();
const cargo = readFileSync(new URL('Cargo.toml', ROOT), 'utf8');
const version = /^version = "(.+)"$/m.exec(cargo)[1];
const print = (value) => `${JSON.stringify(value, null, 2)}\n`;

const files = {
  'clients/src/generated/events.ts': typesText(catalogue),
  'docs/schemas/events.schema.json': print(eventsSchema(catalogue)),
  'docs/asyncapi.json': print(asyncapi(catalogue, version)),
  'docs/openapi.json': print(openapi(catalogue, version)),
};

const read = (url) => {
  try {
    return readFileSync(url, 'utf8');
  } catch {
    return undefined;
  }
};

let differs = 0;
for (const [path, text] of Object.entries(files)) {
  const url = new URL(path, ROOT);
  if (read(url) === text) continue;
  differs += 1;
  if (process.argv.includes('--check')) {
    console.error(`${path} differs from what src/policy/default.json generates; run \`npm run generate\` in clients/`);
  } else {
    mkdirSync(fileURLToPath(new URL('.', url)), { recursive: true });
    writeFileSync(url, text);
    console.log(`wrote ${path}`);
  }
}
if (differs > 0 && process.argv.includes('--check')) process.exit(1);
